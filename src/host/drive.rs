//! Drives one session to its end: hands its operations to an interpreter and the outcomes back.

use std::future::Future;
use std::sync::Arc;

use futures_util::future::{FutureExt as _, LocalBoxFuture};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::Instrument as _;

use crate::event::Step;
use crate::interpreter::Interpreter;
use crate::operation::{Effect, Failure, FailureKind, Key, Operation, Outcome};
use crate::playbook::{Diagnostic, Progress, Session, Told};

/// What a run did, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) reads: u32,
    pub(super) writes: u32,
    pub(super) probes: u32,
}

impl Counts {
    /// Counts a request that was answered. One that a rule on this side forbade never went out.
    fn add(&mut self, operation: &Operation, outcome: &Outcome) {
        let forbidden = outcome.as_ref().is_err_and(|failure| failure.kind == FailureKind::Denied);
        if forbidden || operation.request().is_none() {
            return;
        }
        match operation.effect {
            Effect::Read => self.reads += 1,
            Effect::Probe => self.probes += 1,
            Effect::Create | Effect::Update | Effect::Delete | Effect::Act => self.writes += 1,
        }
    }
}

/// What came of a session.
pub(super) struct Driven {
    pub(super) output: Result<Map<String, Value>, Diagnostic>,
    pub(super) counts: Counts,
    pub(super) changes: Vec<Step>,
}

/// Who hears of a run while it goes.
pub(super) trait Listener {
    fn told(&self, told: &Told);
    fn answered(&self, key: &Key, operation: &Operation, outcome: &Outcome);
}

/// Where operations are performed.
pub(super) enum Performer {
    /// On another runtime, so that a busy script delays no answer.
    On(Handle, Arc<dyn Interpreter>),
    /// On the thread that runs the script: for a paused clock.
    Here(Arc<dyn Interpreter>),
}

impl Performer {
    fn perform(&self, key: Key, operation: Operation) -> LocalBoxFuture<'static, (Key, Operation, Outcome)> {
        match self {
            Self::Here(interpreter) => {
                let interpreter = Arc::clone(interpreter);
                async move {
                    let outcome = interpreter.perform(&key, &operation).await;
                    (key, operation, outcome)
                }
                .boxed_local()
            }
            Self::On(runtime, interpreter) => {
                let interpreter = Arc::clone(interpreter);
                let (own_key, own) = (key.clone(), operation.clone());
                let performed = async move { interpreter.perform(&own_key, &own).await };
                let task = Abandoned(runtime.spawn(performed.in_current_span()));
                async move {
                    let outcome = task.await;
                    (key, operation, outcome)
                }
                .boxed_local()
            }
        }
    }
}

/// A task that ends when nobody waits for it any more.
struct Abandoned(tokio::task::JoinHandle<Outcome>);

impl Future for Abandoned {
    type Output = Outcome;

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Outcome> {
        self.0.poll_unpin(context).map(|joined| {
            joined.unwrap_or_else(|error| {
                let title = "the operation's handler failed unexpectedly";
                Err(Failure::new(FailureKind::Unknown, "tenantry/handler", title).detail(error.to_string()))
            })
        })
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Drives `session` until it ends, `cancelled` turns true, or an operation fails with [`FailureKind::Cancelled`].
///
/// When it does not end by itself, reads in flight are dropped and writes are waited for, so that what they did is known; nothing new is
/// asked.
pub(super) async fn drive(
    mut session: Session,
    performer: Performer,
    listener: &dyn Listener,
    mut cancelled: watch::Receiver<bool>,
) -> Driven {
    let mut counts = Counts::default();
    let mut changes = Vec::new();
    let mut reads = FuturesUnordered::new();
    let mut writes = FuturesUnordered::new();
    loop {
        let progress = session.advance();
        for told in session.told() {
            listener.told(&told);
            if let Told::Step(step) = told
                && step.change.is_write()
            {
                changes.push(step);
            }
        }
        if *cancelled.borrow() {
            break;
        }
        for (key, operation) in session.take_asked() {
            let waiting = if operation.effect.is_write() { &writes } else { &reads };
            waiting.push(performer.perform(key, operation));
        }
        let answered = match progress {
            Progress::Finished => break,
            Progress::Busy => {
                tokio::task::yield_now().await;
                if *cancelled.borrow() {
                    break;
                }
                writes.next().now_or_never().flatten().or_else(|| reads.next().now_or_never().flatten())
            }
            Progress::Waiting => tokio::select! {
                biased;
                () = until_true(&mut cancelled) => break,
                Some(answered) = writes.next() => Some(answered),
                Some(answered) = reads.next() => Some(answered),
                else => break,
            },
        };
        if let Some((key, operation, outcome)) = answered {
            counts.add(&operation, &outcome);
            listener.answered(&key, &operation, &outcome);
            match outcome {
                // Whoever performs operations has ended the run: no script is to go on after that.
                Err(failure) if failure.kind == FailureKind::Cancelled => {
                    session.end(&operation, failure);
                    break;
                }
                outcome => session.answer(&key, outcome),
            }
        }
    }
    drop(reads);
    while let Some((key, operation, outcome)) = writes.next().await {
        counts.add(&operation, &outcome);
        listener.answered(&key, &operation, &outcome);
    }
    Driven { output: session.finish(), counts, changes }
}

/// Waits until the sender says `true`; for ever when it is gone without.
async fn until_true(cancelled: &mut watch::Receiver<bool>) {
    if cancelled.wait_for(|cancelled| *cancelled).await.is_err() {
        std::future::pending::<()>().await;
    }
}
