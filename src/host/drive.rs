//! Drives one session to its end: hands its operations to an interpreter and the outcomes back.

use std::future::Future;
use std::ops::AddAssign;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{FutureExt as _, LocalBoxFuture};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tracing::Instrument as _;

use crate::event::Step;
use crate::interpreter::Interpreter;
use crate::operation::{Effect, Failure, FailureKind, Key, Operation, Outcome};
use crate::playbook::{Diagnostic, Progress, Session, Stop, Told};

/// What a run did, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) reads: u32,
    pub(super) writes: u32,
    pub(super) probes: u32,
    pub(super) replayed: u32,
}

impl Counts {
    /// Counts a request that was answered. One that a rule on this side forbade never went out.
    pub(super) fn add(&mut self, operation: &Operation, outcome: &Outcome, replayed: bool) {
        if replayed {
            self.replayed += 1;
            return;
        }
        let forbidden = [FailureKind::Denied, FailureKind::Cancelled];
        let forbidden = outcome.as_ref().is_err_and(|failure| forbidden.contains(&failure.kind));
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

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.reads += other.reads;
        self.writes += other.writes;
        self.probes += other.probes;
        self.replayed += other.replayed;
    }
}

/// What came of a session.
pub(super) struct Driven {
    pub(super) output: Result<Map<String, Value>, Diagnostic>,
    pub(super) counts: Counts,
    pub(super) changes: Vec<Step>,
}

impl Driven {
    /// Nothing was done.
    pub(super) fn refused(diagnostic: Diagnostic) -> Self {
        Self { output: Err(diagnostic), counts: Counts::default(), changes: Vec::new() }
    }
}

/// Why a run is to end before its playbook does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Someone asked for it.
    Cancelled,
    /// It has taken longer than this.
    TimedOut(Duration),
}

impl From<Ending> for Stop {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Cancelled => Self::Cancelled,
            Ending::TimedOut(limit) => Self::TimedOut(limit),
        }
    }
}

/// Who hears of a run while it goes.
pub(super) trait Listener {
    fn told(&self, told: &Told);
    /// Hears of an answer, and says whether it came from the record.
    fn answered(&self, key: &Key, operation: &Operation, outcome: &Outcome) -> bool;
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
                let task = Abandoned::new(runtime.spawn(performed.in_current_span()));
                async move {
                    let outcome = task.await.unwrap_or_else(|error| {
                        let title = "the operation's handler failed unexpectedly";
                        Err(Failure::new(FailureKind::Unknown, "tenantry/handler", title).detail(error.to_string()))
                    });
                    (key, operation, outcome)
                }
                .boxed_local()
            }
        }
    }
}

/// A task that ends when nobody waits for it any more.
pub(super) struct Abandoned<T>(JoinHandle<T>);

impl<T> Abandoned<T> {
    pub(super) fn new(task: JoinHandle<T>) -> Self {
        Self(task)
    }
}

impl<T> Future for Abandoned<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_unpin(context)
    }
}

impl<T> Drop for Abandoned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Drives `session` until it ends, is to end, or an operation fails with [`FailureKind::Cancelled`].
///
/// When it does not end by itself, reads in flight are dropped and writes are waited for, so that what they did is known; nothing new is
/// asked.
pub(super) async fn drive(
    mut session: Session,
    performer: Performer,
    listener: impl Listener,
    mut ending: watch::Receiver<Option<Ending>>,
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
        if ending.borrow().is_some() {
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
                if ending.borrow().is_some() {
                    break;
                }
                writes.next().now_or_never().flatten().or_else(|| reads.next().now_or_never().flatten())
            }
            Progress::Waiting => tokio::select! {
                biased;
                () = is_to_end(&mut ending) => break,
                Some(answered) = writes.next() => Some(answered),
                Some(answered) = reads.next() => Some(answered),
                else => break,
            },
        };
        if let Some((key, operation, outcome)) = answered {
            let replayed = listener.answered(&key, &operation, &outcome);
            counts.add(&operation, &outcome, replayed);
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
        let replayed = listener.answered(&key, &operation, &outcome);
        counts.add(&operation, &outcome, replayed);
    }
    // A session that has ended by itself does not mind.
    if let Some(Ending::TimedOut(limit)) = *ending.borrow() {
        session.time_out(limit);
    }
    // What the branches of a `parallel` did was told in the order in which they were answered.
    changes.sort_by(|one: &Step, other| one.call.cmp(&other.call));
    Driven { output: session.finish(), counts, changes }
}

/// Waits until the run is to end; for ever when nobody is left to say so.
pub(super) async fn is_to_end(ending: &mut watch::Receiver<Option<Ending>>) {
    if ending.wait_for(Option::is_some).await.is_err() {
        std::future::pending::<()>().await;
    }
}
