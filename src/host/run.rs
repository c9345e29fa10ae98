use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::Stream;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{Instrument as _, Span};

use super::apply::Keeping;
use super::drive::{Abandoned, Driven, Ending, Performer, drive};
use super::report::RunReport;
use super::resume::Resume;
use super::teller::{Scribe, Teller, listen};
use super::work::Work;
use super::{Host, Inner, Playbook};
use crate::event::Event;
use crate::playbook::Diagnostic;
use crate::project::Customer;

/// A run to be started: await it for its report. Dropping it cancels it.
#[must_use = "a run does nothing until it is awaited"]
pub struct Run {
    host: Host,
    pub(super) playbook: Playbook,
    pub(super) customer: Customer,
    target: String,
    verify: bool,
    timeouts: Timeouts,
    pub(super) resume: Option<Resume>,
    /// The plan it keeps to.
    pub(super) keeping: Option<Keeping>,
    listeners: Vec<mpsc::UnboundedSender<Event>>,
    ending: watch::Sender<Option<Ending>>,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timeouts {
    pub(super) run: Option<Duration>,
    pub(super) operation: Option<Duration>,
}

/// Ends a run at its next operation boundary.
#[derive(Clone, Debug)]
pub struct Cancel(pub(super) watch::Sender<Option<Ending>>);

impl Cancel {
    /// Asks the run to end; a run that has ended does not mind.
    pub fn cancel(&self) {
        end(&self.0, Ending::Cancelled);
    }
}

/// Says why a run is to end; the first reason counts.
fn end(ending: &watch::Sender<Option<Ending>>, reason: Ending) {
    ending.send_if_modified(|known| {
        let first = known.is_none();
        known.get_or_insert(reason);
        first
    });
}

impl Run {
    pub(super) fn new(host: Host, playbook: Playbook, customer: Customer, target: String) -> Self {
        let timeouts = host.0.timeouts;
        Self {
            host,
            playbook,
            customer,
            target,
            verify: false,
            timeouts,
            resume: None,
            keeping: None,
            listeners: Vec::new(),
            ending: watch::Sender::new(None),
        }
    }

    /// Verifies logins even when no identity provider changed.
    pub fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    /// How long the run may take; by default as long as the project says, and without a limit when it says nothing. After
    /// that the run ends at its next operation boundary, as if it were cancelled.
    pub fn timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.timeouts.run = limit.into();
        self
    }

    /// How long one operation may take, its repeats and its waiting for rate limits included; by default as the project
    /// says. One that takes longer fails with the code `tenantry/timeout`.
    pub fn operation_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.timeouts.operation = limit.into();
        self
    }

    /// What the run tells while it goes. The stream ends with the run.
    pub fn events(&mut self) -> impl Stream<Item = Event> + Send + Unpin + use<> {
        listen(&mut self.listeners)
    }

    /// What ends the run at its next operation boundary, from elsewhere.
    #[must_use]
    pub fn canceller(&self) -> Cancel {
        Cancel(self.ending.clone())
    }

    /// Runs on the thread and runtime of the caller, which must be tokio's: for a paused clock.
    pub async fn run_here(self, runtime: &crate::playbook::Runtime) -> RunReport {
        let (work, ending) = self.prepare();
        let _cancel = CancelOnDrop(Cancel(ending.clone()));
        let pass = async |scribe: Scribe, interpreter| match work.start(runtime, &scribe) {
            Ok(session) => drive(session, Performer::Here(interpreter), scribe, ending.subscribe()).await,
            Err(diagnostic) => Driven::refused(diagnostic),
        };
        let timer = async {
            wait(work.timeouts.run, &ending).await;
            std::future::pending().await
        };
        tokio::select! {
            biased;
            report = work.run(&ending, pass).instrument(work.teller.span()) => report,
            report = timer => report,
        }
    }

    fn prepare(self) -> (Work, watch::Sender<Option<Ending>>) {
        let teller = Teller {
            run: self.resume.as_ref().map_or_else(|| run_id(&self.host.0), |resume| resume.run.clone()),
            customer: self.customer.code().to_owned(),
            target: self.target.clone(),
            listeners: self.listeners,
        };
        let work = Work {
            host: self.host,
            playbook: self.playbook,
            customer: self.customer,
            verify: self.verify,
            timeouts: self.timeouts,
            resume: self.resume,
            keeping: self.keeping,
            teller: Arc::new(teller),
        };
        (work, self.ending)
    }
}

impl IntoFuture for Run {
    type Output = RunReport;
    type IntoFuture = Pin<Box<dyn Future<Output = RunReport> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (work, ending) = self.prepare();
            let _cancel = CancelOnDrop(Cancel(ending.clone()));
            let (span, work) = (work.teller.span(), Arc::new(work));
            let ended = || work.refused(Diagnostic::new("the host has ended"));
            let Some(io) = work.host.0.io.as_ref() else { return ended() };
            // A task of its own: whoever stops waiting for the run, it comes to its end.
            let run = io.spawn(on_a_lane(Arc::clone(&work), io.handle().clone(), ending).instrument(span));
            run.await.unwrap_or_else(|_| ended())
        })
    }
}

/// Opens and closes here, on the host's I/O runtime, and drives on a lane.
async fn on_a_lane(work: Arc<Work>, io: Handle, ending: watch::Sender<Option<Ending>>) -> RunReport {
    let (limit, timer) = (work.timeouts.run, ending.clone());
    let _timer = Abandoned::new(io.spawn(async move { wait(limit, &timer).await }));
    let pass = |scribe: Scribe, interpreter| {
        let (sender, receiver) = oneshot::channel();
        let (own, io, ending, span) = (Arc::clone(&work), io.clone(), ending.subscribe(), Span::current());
        work.host.0.lanes.run(move |runtime| {
            let session = own.start(&runtime, &scribe);
            let driven = async move {
                let driven = match session {
                    Ok(session) => drive(session, Performer::On(io, interpreter), scribe, ending).await,
                    Err(diagnostic) => Driven::refused(diagnostic),
                };
                let _ = sender.send(driven);
            };
            tokio::task::spawn_local(driven.instrument(span));
        });
        async { receiver.await.unwrap_or_else(|_| Driven::refused(Diagnostic::new("the host's lanes have ended"))) }
    };
    work.run(&ending, pass).await
}

/// Ends the run when its time is up.
async fn wait(limit: Option<Duration>, ending: &watch::Sender<Option<Ending>>) {
    if let Some(limit) = limit {
        tokio::time::sleep(limit).await;
        end(ending, Ending::TimedOut(limit));
    }
}

/// Cancels the run when the future that waits for it is dropped.
pub(super) struct CancelOnDrop(pub(super) Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A run's id: sorted by time, from the host's own clock and chance.
pub(super) fn run_id(host: &Inner) -> String {
    let mut random = [0; 10];
    host.random.fill(&mut random);
    let milliseconds = u64::try_from(host.clock.now().as_millisecond()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid().to_string()
}
