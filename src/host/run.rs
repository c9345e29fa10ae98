use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{Stream, unfold};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{Instrument as _, Span};

use super::connection::{Connection, Turn};
use super::drive::{Abandoned, Driven, Ending, Performer, drive, is_to_end};
use super::open_log::OpenLog;
use super::report::RunReport;
use super::teller::{Scribe, Teller};
use super::{Host, Inner, Playbook};
use crate::event::Event;
use crate::interpreter::Interpreter;
use crate::operation::Failure;
use crate::playbook::{Diagnostic, Session, Start};
use crate::project::Customer;
use crate::store::{Entry, Lease, Opening, RunKind, RunLog};

/// A run to be started: await it for its report. Dropping it cancels it.
#[must_use = "a run does nothing until it is awaited"]
pub struct Run {
    host: Host,
    playbook: Playbook,
    customer: Customer,
    target: String,
    verify: bool,
    timeouts: Timeouts,
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
pub struct Cancel(watch::Sender<Option<Ending>>);

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
        let (sender, receiver) = mpsc::unbounded_channel();
        self.listeners.push(sender);
        Box::pin(unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|event| (event, receiver)) }))
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
        let run = async {
            work.teller.started();
            let opened = match work.open(ending.subscribe()).await {
                Ok(opened) => opened,
                Err(diagnostic) => return work.refused(diagnostic),
            };
            let driven = match work.start(runtime) {
                Ok(session) => {
                    let performer = Performer::Here(Arc::clone(&opened.interpreter));
                    let scribe = Scribe::new(&work.teller, &opened.log);
                    drive(session, performer, &scribe, ending.subscribe()).await
                }
                Err(diagnostic) => Driven::refused(diagnostic),
            };
            work.close(opened, driven).await
        };
        let timer = async {
            wait(work.timeouts.run, &ending).await;
            std::future::pending().await
        };
        tokio::select! {
            biased;
            report = run.instrument(work.teller.span()) => report,
            report = timer => report,
        }
    }

    fn prepare(self) -> (Work, watch::Sender<Option<Ending>>) {
        let teller = Teller {
            run: run_id(&self.host.0),
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
            teller,
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
            let run = io.spawn(Arc::clone(&work).run(io.handle().clone(), ending).instrument(span));
            run.await.unwrap_or_else(|_| ended())
        })
    }
}

/// A run's work, wherever it is done.
struct Work {
    host: Host,
    playbook: Playbook,
    customer: Customer,
    verify: bool,
    timeouts: Timeouts,
    teller: Teller,
}

impl Work {
    /// Opens the target and the journal. A run that is to end meanwhile does not wait for it.
    async fn open(&self, mut ending: watch::Receiver<Option<Ending>>) -> Result<Opened, Diagnostic> {
        let host = &self.host.0;
        let place = async {
            let connection = host.connections.get(host, &self.teller.target).await?;
            let (lease, turn) = connection.take(host, self.customer.code(), &self.teller.run).await?;
            Ok::<_, Failure>((connection, lease, turn))
        };
        let place = tokio::select! {
            biased;
            () = is_to_end(&mut ending) => {
                let reason = ending.borrow().unwrap_or(Ending::Cancelled);
                return Err(Diagnostic::of_stop(&reason.into()));
            }
            place = place => place,
        };
        let opened = async {
            let (connection, lease, turn) = place?;
            self.begin(connection, lease, turn).await
        };
        opened.await.map_err(|failure: Failure| Diagnostic::of_failure(&failure))
    }

    async fn begin(&self, connection: Arc<Connection>, lease: Lease, turn: Turn) -> Result<Opened, Failure> {
        let host = &self.host.0;
        let opening = Opening {
            id: self.teller.run.clone(),
            kind: RunKind::Run,
            playbook: self.playbook.file().to_owned(),
            scope: connection.scope(),
            customer: self.customer.code().to_owned(),
            target: self.teller.target.clone(),
            inputs: self.customer.values().clone(),
            verify: self.verify,
            release: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let log = host.state.journal().begin(opening).await?;
        let log = OpenLog::new(log, &self.teller.run, self.customer.code());
        log.note(&Entry::Began { process: host.state.process() });
        if let Some((path, content)) = self.playbook.schema_file() {
            log.note_file(path, content);
        }
        let (permits, limit) = (&self.playbook.permits, self.timeouts.operation);
        let interpreter = connection.interpreter(host, lease, permits, self.customer.code(), &self.teller.run, limit);
        Ok(Opened { connection, interpreter, log, turn })
    }

    fn start(&self, runtime: &crate::playbook::Runtime) -> Result<Session, Diagnostic> {
        let host = &self.host.0;
        let start = Start {
            customer: self.customer.values().clone(),
            limits: host.limits,
            clock: Arc::clone(&host.clock),
            verify: self.verify,
        };
        runtime.start(&self.playbook.text, start)
    }

    /// Ends a run in the journal and gives its report.
    async fn close(&self, opened: Opened, driven: Driven) -> RunReport {
        let Opened { connection, interpreter, mut log, turn } = opened;
        let tenant = connection.tenant_of(&self.host.0, self.customer.code()).await;
        let mut report = RunReport::new(&self.teller.run, self.customer.code(), driven, tenant);
        report.recorded = true;
        if let Err(error) = log.end(&report).await {
            report.not_recorded(error);
        }
        // With the layers go the leases, and then the turn.
        drop(interpreter);
        drop(turn);
        self.teller.finished(&report);
        report
    }

    /// The report of a run that did not begin.
    fn refused(&self, diagnostic: Diagnostic) -> RunReport {
        let report = RunReport::new(&self.teller.run, self.customer.code(), Driven::refused(diagnostic), None);
        self.teller.finished(&report);
        report
    }

    /// Opens and closes here, on the host's I/O runtime, and drives on a lane.
    async fn run(self: Arc<Self>, io: Handle, ending: watch::Sender<Option<Ending>>) -> RunReport {
        let (limit, timer) = (self.timeouts.run, ending.clone());
        let _timer = Abandoned::new(io.spawn(async move { wait(limit, &timer).await }));
        self.teller.started();
        let opened = match self.open(ending.subscribe()).await {
            Ok(opened) => opened,
            Err(diagnostic) => return self.refused(diagnostic),
        };
        let (sender, receiver) = oneshot::channel();
        let (work, span) = (Arc::clone(&self), Span::current());
        let (interpreter, log) = (Arc::clone(&opened.interpreter), RunLog::clone(&opened.log));
        self.host.0.lanes.run(move |runtime| {
            let session = work.start(&runtime);
            let driven = async move {
                let scribe = Scribe::new(&work.teller, &log);
                let driven = match session {
                    Ok(session) => drive(session, Performer::On(io, interpreter), &scribe, ending.subscribe()).await,
                    Err(diagnostic) => Driven::refused(diagnostic),
                };
                let _ = sender.send(driven);
            };
            tokio::task::spawn_local(driven.instrument(span));
        });
        let driven = receiver.await.unwrap_or_else(|_| Driven::refused(Diagnostic::new("the host's lanes have ended")));
        self.close(opened, driven).await
    }
}

/// What is there while a run goes.
struct Opened {
    connection: Arc<Connection>,
    interpreter: Arc<dyn Interpreter>,
    log: OpenLog,
    turn: Turn,
}

/// Ends the run when its time is up.
async fn wait(limit: Option<Duration>, ending: &watch::Sender<Option<Ending>>) {
    if let Some(limit) = limit {
        tokio::time::sleep(limit).await;
        end(ending, Ending::TimedOut(limit));
    }
}

/// Cancels the run when the future that waits for it is dropped.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A run's id: sorted by time, from the host's own clock and chance.
fn run_id(host: &Inner) -> String {
    let mut random = [0; 10];
    host.random.fill(&mut random);
    let milliseconds = u64::try_from(host.clock.now().as_millisecond()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid().to_string()
}
