use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{Stream, unfold};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{Instrument as _, Span, info_span};

use super::connection::Connection;
use super::drive::{Abandoned, Driven, Ending, Listener, Performer, drive, is_to_end};
use super::{Host, Inner, Playbook};
use crate::event::{Event, Step};
use crate::interpreter::Interpreter;
use crate::operation::{Key, Operation, Outcome};
use crate::playbook::{Diagnostic, RUN_TIMEOUT, Session, Start, Told};
use crate::project::Customer;

/// What came of a run.
#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    /// The run's id.
    pub run: String,
    /// The customer's code.
    pub customer: String,
    /// How it ended.
    pub status: RunStatus,
    /// The customer's tenant, when there is one.
    pub tenant: Option<TenantSummary>,
    /// Requests to Qlik Cloud that ended: reads, writes and probes together. Tokens are not counted.
    pub requests: u32,
    /// Requests that changed nothing.
    pub reads: u32,
    /// Requests that made, changed, removed or set in motion something.
    pub writes: u32,
    /// What was made, changed or removed, in the order of the program.
    pub changes: Vec<Step>,
    /// What the playbook put out.
    pub output: Map<String, Value>,
    /// Why it failed.
    pub error: Option<Diagnostic>,
}

impl RunReport {
    /// Whether the run was ended because it took longer than it was given.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        let failure = self.error.as_ref().and_then(|error| error.failure.as_ref());
        failure.is_some_and(|failure| failure.code == RUN_TIMEOUT)
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// The playbook came to its end.
    Succeeded,
    /// It did not.
    Failed,
    /// It was cancelled, or had no time left.
    Cancelled,
}

impl RunStatus {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The customer's tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TenantSummary {
    /// Its id; empty for a pinned target.
    pub id: String,
    /// Its system host name.
    pub hostname: String,
    /// Where people reach it.
    pub url: String,
}

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
        let span = work.told.span();
        let run = async {
            work.told.started();
            let opened = match work.open(ending.subscribe()).await {
                Ok(opened) => opened,
                Err(diagnostic) => return work.refused(diagnostic),
            };
            let driven = match work.start(runtime) {
                Ok(session) => {
                    let performer = Performer::Here(Arc::clone(&opened.interpreter));
                    drive(session, performer, &*work.told, ending.subscribe()).await
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
            report = run.instrument(span) => report,
            report = timer => report,
        }
    }

    fn prepare(self) -> (Work, watch::Sender<Option<Ending>>) {
        let told = Teller {
            run: run_id(&self.host.0),
            customer: self.customer.code().to_owned(),
            target: self.target.clone(),
            listeners: self.listeners,
        };
        let work = Work {
            host: self.host,
            playbook: self.playbook,
            customer: self.customer,
            target: self.target,
            verify: self.verify,
            timeouts: self.timeouts,
            told: Arc::new(told),
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
            let (span, work) = (work.told.span(), Arc::new(work));
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
    target: String,
    verify: bool,
    timeouts: Timeouts,
    told: Arc<Teller>,
}

/// What is there while a run goes.
struct Opened {
    connection: Arc<Connection>,
    interpreter: Arc<dyn Interpreter>,
}

impl Work {
    /// Opens the target. A run that is to end meanwhile does not wait for it.
    async fn open(&self, mut ending: watch::Receiver<Option<Ending>>) -> Result<Opened, Diagnostic> {
        let host = &self.host.0;
        let connection = tokio::select! {
            biased;
            () = is_to_end(&mut ending) => {
                let reason = ending.borrow().unwrap_or(Ending::Cancelled);
                return Err(Diagnostic::of_stop(&reason.into()));
            }
            connection = host.connections.get(host, &self.target) => {
                connection.map_err(|failure| Diagnostic::of_failure(&failure))?
            }
        };
        let interpreter = connection.interpreter(
            host,
            &self.playbook.permits,
            self.customer.code(),
            &self.told.run,
            self.timeouts.operation,
        );
        Ok(Opened { connection, interpreter })
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

    /// The report of a run that has ended.
    async fn close(&self, opened: Opened, driven: Driven) -> RunReport {
        let tenant = opened.connection.tenant_of(&self.host.0, self.customer.code()).await;
        self.report(driven, tenant)
    }

    fn refused(&self, diagnostic: Diagnostic) -> RunReport {
        self.report(Driven::refused(diagnostic), None)
    }

    fn report(&self, driven: Driven, tenant: Option<TenantSummary>) -> RunReport {
        let report = self.told.report(driven, tenant);
        self.told.finished(&report);
        report
    }

    /// Opens and closes here, on the host's I/O runtime, and drives on a lane.
    async fn run(self: Arc<Self>, io: Handle, ending: watch::Sender<Option<Ending>>) -> RunReport {
        let (limit, timer) = (self.timeouts.run, ending.clone());
        let _timer = Abandoned::new(io.spawn(async move { wait(limit, &timer).await }));
        self.told.started();
        let opened = match self.open(ending.subscribe()).await {
            Ok(opened) => opened,
            Err(diagnostic) => return self.refused(diagnostic),
        };
        let (sender, receiver) = oneshot::channel();
        let (work, interpreter, span) = (Arc::clone(&self), Arc::clone(&opened.interpreter), Span::current());
        self.host.0.lanes.run(move |runtime| {
            let session = work.start(&runtime);
            let driven = async move {
                let driven = match session {
                    Ok(session) => {
                        drive(session, Performer::On(io, interpreter), &*work.told, ending.subscribe()).await
                    }
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

/// Turns what happens in a run into events and, at the end, a report.
struct Teller {
    run: String,
    customer: String,
    target: String,
    listeners: Vec<mpsc::UnboundedSender<Event>>,
}

impl Teller {
    /// What tells in logs which run something belongs to.
    fn span(&self) -> Span {
        info_span!("run", run = %self.run, customer = %self.customer, target = %self.target)
    }

    fn tell(&self, event: &Event) {
        for listener in &self.listeners {
            // Nobody has to listen to the end.
            let _ = listener.send(event.clone());
        }
    }

    fn started(&self) {
        self.tell(&Event::RunStarted {
            run: self.run.clone(),
            customer: self.customer.clone(),
            target: self.target.clone(),
        });
    }

    fn finished(&self, report: &RunReport) {
        self.tell(&Event::RunFinished {
            run: self.run.clone(),
            customer: self.customer.clone(),
            status: report.status.as_str().to_owned(),
        });
    }

    fn report(&self, driven: Driven, tenant: Option<TenantSummary>) -> RunReport {
        let (status, output, error) = match driven.output {
            Ok(output) => (RunStatus::Succeeded, output, None),
            Err(error) if error.cancelled => (RunStatus::Cancelled, Map::new(), Some(error)),
            Err(error) => (RunStatus::Failed, Map::new(), Some(error)),
        };
        let counts = driven.counts;
        RunReport {
            run: self.run.clone(),
            customer: self.customer.clone(),
            status,
            tenant,
            requests: counts.reads + counts.writes + counts.probes,
            reads: counts.reads,
            writes: counts.writes,
            changes: driven.changes,
            output,
            error,
        }
    }
}

impl Listener for Teller {
    fn told(&self, told: &Told) {
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
