use tokio::sync::mpsc;
use tracing::{Span, info_span};

use super::drive::Listener;
use super::report::RunReport;
use crate::event::Event;
use crate::operation::{Key, Operation, Outcome};
use crate::playbook::Told;
use crate::store::{Entry, RunLog};

/// Turns what happens in a run into events.
pub(super) struct Teller {
    pub(super) run: String,
    pub(super) customer: String,
    pub(super) target: String,
    pub(super) listeners: Vec<mpsc::UnboundedSender<Event>>,
}

impl Teller {
    /// What tells in logs which run something belongs to.
    pub(super) fn span(&self) -> Span {
        info_span!("run", run = %self.run, customer = %self.customer, target = %self.target)
    }

    fn tell(&self, event: &Event) {
        for listener in &self.listeners {
            // Nobody has to listen to the end.
            let _ = listener.send(event.clone());
        }
    }

    pub(super) fn started(&self) {
        self.tell(&Event::RunStarted {
            run: self.run.clone(),
            customer: self.customer.clone(),
            target: self.target.clone(),
        });
    }

    pub(super) fn finished(&self, report: &RunReport) {
        self.tell(&Event::RunFinished {
            run: self.run.clone(),
            customer: self.customer.clone(),
            status: report.status.as_str().to_owned(),
        });
    }

    fn told(&self, told: &Told) {
        if self.listeners.is_empty() {
            return;
        }
        let (run, customer) = (self.run.clone(), self.customer.clone());
        self.tell(&match told {
            Told::Read { .. } => return,
            Told::Step(step) => Event::Step { run, customer, step: step.clone() },
            Told::Log { level, message, site } => {
                Event::Log { run, customer, level: level.clone(), message: message.clone(), site: site.clone() }
            }
        });
    }

    fn answered(&self, key: &Key, operation: &Operation, outcome: &Outcome) {
        if self.listeners.is_empty() {
            return;
        }
        self.tell(&Event::Operation {
            run: self.run.clone(),
            key: key.to_string(),
            operation: operation.id.clone(),
            effect: operation.effect,
            status: outcome.as_ref().map_or_else(|failure| failure.status, |response| Some(response.status)),
            failure: outcome.as_ref().err().cloned(),
        });
    }
}

/// Tells what happens in a run and notes it in the journal.
pub(super) struct Scribe<'r> {
    teller: &'r Teller,
    log: &'r RunLog,
}

impl<'r> Scribe<'r> {
    pub(super) fn new(teller: &'r Teller, log: &'r RunLog) -> Self {
        Self { teller, log }
    }
}

impl Listener for Scribe<'_> {
    fn told(&self, told: &Told) {
        match told {
            Told::Read { path, content } => self.log.note_file(path, content),
            Told::Step(step) => self.log.note(&Entry::Step(step.clone())),
            Told::Log { level, message, site } => {
                let (level, message, site) = (level.clone(), message.clone(), site.clone());
                self.log.note(&Entry::Log { level, message, site });
            }
        }
        self.teller.told(told);
    }

    fn answered(&self, key: &Key, operation: &Operation, outcome: &Outcome) {
        self.teller.answered(key, operation, outcome);
    }
}
