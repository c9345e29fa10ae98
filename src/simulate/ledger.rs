//! What happened in a world, in order.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::StatusCode;

use crate::contract::contract;
use crate::event::Event;
use crate::sandbox::{Arrival, Fault, Faults, Served};

/// Everything that was done and told in a world, in order. Clones are the same ledger.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    served: Vec<Served>,
    told: Vec<Told>,
    trace: String,
}

/// An event and the process it came from.
#[derive(Clone, Debug)]
pub struct Told {
    /// The process, counted from 1 in its world.
    pub process: u32,
    /// What it told.
    pub event: Event,
}

impl Ledger {
    /// What became of every request, in the order in which they were done.
    #[must_use]
    pub fn served(&self) -> Vec<Served> {
        self.pages().served.clone()
    }

    /// What the processes told.
    #[must_use]
    pub fn told(&self) -> Vec<Told> {
        self.pages().told.clone()
    }

    /// All of it as text: equal for equal plans.
    #[must_use]
    pub fn trace(&self) -> String {
        self.pages().trace.clone()
    }

    pub(super) fn tell(&self, process: u32, event: Event) {
        let text = serde_json::to_string(&event).unwrap_or_default();
        let mut pages = self.pages();
        let _ = writeln!(pages.trace, "{process} {text}");
        pages.told.push(Told { process, event });
    }

    /// Adds a line about a process.
    pub(super) fn line(&self, process: u32, text: &str) {
        let _ = writeln!(self.pages().trace, "{process} {text}");
    }

    fn serve(&self, served: &Served) {
        let mut pages = self.pages();
        let status = served.status.map_or_else(|| "-".to_owned(), |status| status.as_u16().to_string());
        let _ = write!(pages.trace, "#{} {} {} {status}", served.ordinal, served.host, served.operation);
        if let Some(fault) = &served.fault {
            let _ = write!(pages.trace, " {fault}");
        }
        for touched in &served.touched {
            let _ =
                write!(pages.trace, " {:?} {}/{} {:?}", touched.how, touched.collection, touched.id, touched.subject);
        }
        pages.trace.push('\n');
        pages.served.push(served.clone());
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The faults of a plan, with a ledger of what came of every request.
pub(super) struct Weather {
    pub(super) faults: BTreeMap<u64, Fault>,
    pub(super) ledger: Ledger,
}

impl Faults for Weather {
    fn strike(&self, arrival: &Arrival<'_>) -> Option<Fault> {
        let fault = self.faults.get(&arrival.ordinal)?;
        match fault {
            // No service says what it does not document.
            Fault::Refused { status, .. } if !documents(arrival.operation, *status) => None,
            fault => Some(fault.clone()),
        }
    }

    fn note(&self, served: &Served) {
        self.ledger.serve(served);
    }
}

fn documents(operation: &str, status: StatusCode) -> bool {
    contract().operation(operation).is_some_and(|published| published.statuses.contains(&status.as_str()))
}
