use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use futures_util::stream::{Stream, unfold};
use tokio::sync::mpsc;
use tracing::{Span, info_span};

use super::drive::Listener;
use super::report::RunReport;
use crate::event::{Event, Step};
use crate::interpreter::{Interpreter, Journaled};
use crate::operation::{Key, Operation, Outcome, Site};
use crate::playbook::Told;
use crate::store::{Entry, RunLog, content_digest};

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

    fn tell(&self, event: impl FnOnce(String, String) -> Event) {
        if self.listeners.is_empty() {
            return;
        }
        let event = event(self.run.clone(), self.customer.clone());
        for listener in &self.listeners {
            // Nobody has to listen to the end.
            let _ = listener.send(event.clone());
        }
    }

    pub(super) fn started(&self) {
        self.tell(|run, customer| Event::RunStarted { run, customer, target: self.target.clone() });
    }

    pub(super) fn resumed(&self, recorded: usize, settled: usize) {
        self.tell(|run, customer| Event::RunResumed { run, customer, recorded, settled });
    }

    /// Tells a step that no script did.
    pub(super) fn stepped(&self, step: &Step) {
        self.tell(|run, customer| Event::Step { run, customer, step: step.clone(), replayed: false });
    }

    pub(super) fn logged(&self, level: &str, message: &str, site: Option<&Site>, replayed: bool) {
        self.tell(|run, customer| Event::Log {
            run,
            customer,
            level: level.to_owned(),
            message: message.to_owned(),
            site: site.cloned(),
            replayed,
        });
    }

    pub(super) fn answered(&self, key: &Key, operation: &Operation, outcome: &Outcome, replayed: bool) {
        self.tell(|run, _| Event::Operation {
            run,
            key: key.to_string(),
            operation: operation.id.clone(),
            effect: operation.effect,
            status: outcome.as_ref().map_or_else(|failure| failure.status, |response| Some(response.status)),
            failure: outcome.as_ref().err().cloned(),
            replayed,
        });
    }

    pub(super) fn finished(&self, report: &RunReport) {
        let status = report.status.as_str().to_owned();
        self.tell(|run, customer| Event::RunFinished { run, customer, status });
    }
}

/// Adds a listener, and gives what it hears: the stream ends with the teller.
pub(super) fn listen(
    listeners: &mut Vec<mpsc::UnboundedSender<Event>>,
) -> impl Stream<Item = Event> + Send + Unpin + use<> {
    let (sender, receiver) = mpsc::unbounded_channel();
    listeners.push(sender);
    Box::pin(unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|event| (event, receiver)) }))
}

/// Tells what happens in a run and notes it in the journal. What an earlier process noted is told as that, and not noted
/// again.
pub(super) struct Scribe {
    pub(super) teller: Arc<Teller>,
    pub(super) log: RunLog,
    pub(super) journaled: Arc<Journaled<Arc<dyn Interpreter>>>,
    /// The digests of the files that the journal has.
    pub(super) files: RefCell<HashMap<String, String>>,
    /// How many lines an earlier process logged that the script has yet to log again.
    pub(super) logs: Cell<usize>,
}

impl Listener for Scribe {
    fn told(&self, told: &Told) {
        match told {
            Told::Read { path, content } => {
                let mut files = self.files.borrow_mut();
                let known = files.get(path).is_some_and(|known| *known == content_digest(content));
                if !known {
                    self.log.note_file(path, content);
                    files.remove(path);
                }
            }
            Told::Step(step) => {
                let replayed = step.call.as_ref().is_some_and(|call| self.journaled.is_finished(call));
                if !replayed {
                    self.log.note(&Entry::Step(step.clone()));
                }
                self.teller.tell(|run, customer| Event::Step { run, customer, step: step.clone(), replayed });
            }
            Told::Log { level, message, site } => {
                let left = self.logs.get();
                let replayed = left > 0;
                self.logs.set(left.saturating_sub(1));
                if !replayed {
                    let (level, message, site) = (level.clone(), message.clone(), site.clone());
                    self.log.note(&Entry::Log { level, message, site });
                }
                self.teller.logged(level, message, site.as_ref(), replayed);
            }
        }
    }

    fn answered(&self, key: &Key, operation: &Operation, outcome: &Outcome) -> bool {
        let replayed = self.journaled.is_replayed(key);
        self.teller.answered(key, operation, outcome, replayed);
        replayed
    }
}
