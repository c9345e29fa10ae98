use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{Stream, unfold};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{Instrument as _, Span, info_span};

use super::drive::{Driven, Listener, Performer, drive};
use super::{Host, Inner, Playbook};
use crate::event::{Event, Step};
use crate::operation::{Key, Operation, Outcome};
use crate::playbook::{Diagnostic, Start, Told};
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
    /// What was made, changed or removed, in order.
    pub changes: Vec<Step>,
    /// What the playbook put out.
    pub output: Map<String, Value>,
    /// Why it failed.
    pub error: Option<Diagnostic>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// The playbook came to its end.
    Succeeded,
    /// It did not.
    Failed,
    /// It was cancelled.
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
    listeners: Vec<mpsc::UnboundedSender<Event>>,
    cancel: watch::Sender<bool>,
}

/// Ends a run at its next operation boundary.
#[derive(Clone, Debug)]
pub struct Cancel(watch::Sender<bool>);

impl Cancel {
    /// Asks the run to end; a run that has ended does not mind.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }
}

impl Run {
    pub(super) fn new(host: Host, playbook: Playbook, customer: Customer, target: String) -> Self {
        Self {
            host,
            playbook,
            customer,
            target,
            verify: false,
            listeners: Vec::new(),
            cancel: watch::Sender::new(false),
        }
    }

    /// Verifies logins even when no identity provider changed.
    pub fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
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
        Cancel(self.cancel.clone())
    }

    /// Runs on the thread and runtime of the caller, which must be tokio's: for a paused clock.
    pub async fn run_here(self, runtime: &crate::playbook::Runtime) -> RunReport {
        let prepared = self.prepare();
        let Prepared { host, playbook, customer, target, verify, told, cancelled, .. } = prepared;
        told.started();
        let report = match host.0.connections.get(&host.0, &target).await {
            Err(failure) => told.refused(Diagnostic::of_failure(&failure)),
            Ok(connection) => {
                let interpreter = connection.interpreter(&host.0, playbook.permits.clone(), customer.code(), &told.run);
                match runtime.start(&playbook.text, start(&host.0, &customer, verify)) {
                    Err(diagnostic) => told.refused(diagnostic),
                    Ok(session) => {
                        let driven = drive(session, Performer::Here(interpreter), &*told, cancelled);
                        let driven = driven.instrument(told.span()).await;
                        let tenant = connection.tenant_of(&host.0, customer.code()).await;
                        told.report(driven, tenant)
                    }
                }
            }
        };
        told.finished(&report);
        report
    }

    fn prepare(self) -> Prepared {
        let id = run_id(&self.host.0);
        let told = Arc::new(Teller {
            run: id,
            customer: self.customer.code().to_owned(),
            target: self.target.clone(),
            listeners: self.listeners,
        });
        Prepared {
            host: self.host,
            playbook: self.playbook,
            customer: self.customer,
            target: self.target,
            verify: self.verify,
            told,
            cancelled: self.cancel.subscribe(),
            cancel: self.cancel,
        }
    }
}

struct Prepared {
    host: Host,
    playbook: Playbook,
    customer: Customer,
    target: String,
    verify: bool,
    told: Arc<Teller>,
    cancelled: watch::Receiver<bool>,
    cancel: watch::Sender<bool>,
}

impl IntoFuture for Run {
    type Output = RunReport;
    type IntoFuture = Pin<Box<dyn Future<Output = RunReport> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.prepare().run())
    }
}

impl Prepared {
    async fn run(self) -> RunReport {
        let _cancel = CancelOnDrop(self.cancel.clone());
        let (told, span) = (Arc::clone(&self.told), self.told.span());
        told.started();
        let report = self.attempt(span.clone()).instrument(span).await;
        told.finished(&report);
        report
    }

    async fn attempt(self, span: Span) -> RunReport {
        let Self { host, playbook, customer, target, verify, told, cancelled, .. } = self;
        let connected = {
            let (host, target) = (host.clone(), target.clone());
            let own = host.clone();
            own.on_io(async move { host.0.connections.get(&host.0, &target).await }.in_current_span()).await
        };
        let connection = match connected {
            Ok(connection) => connection,
            Err(error) => return told.refused(Diagnostic::of_failure(&error.failure)),
        };
        let interpreter = connection.interpreter(&host.0, playbook.permits.clone(), customer.code(), &told.run);
        let (sender, receiver) = oneshot::channel();
        let job = (host.clone(), Arc::clone(&told), customer.clone());
        host.0.lanes.run(move |runtime| {
            let (host, told, customer) = job;
            let session = runtime.start(&playbook.text, start(&host.0, &customer, verify));
            let Some(io) = host.0.io.as_ref().map(|io| io.handle().clone()) else { return };
            let work = async move {
                let driven = match session {
                    Ok(session) => Ok(drive(session, Performer::On(io, interpreter), &*told, cancelled).await),
                    Err(diagnostic) => Err(diagnostic),
                };
                let _ = sender.send(driven);
                // The host lives until the last answer is in, whoever has stopped waiting for it.
                drop(host);
            };
            tokio::task::spawn_local(work.instrument(span));
        });
        match receiver.await {
            Ok(Ok(driven)) => {
                let (own, code) = (host.clone(), customer.code().to_owned());
                let tenant = host.on_io(async move { Ok(connection.tenant_of(&own.0, &code).await) }).await;
                told.report(driven, tenant.ok().flatten())
            }
            Ok(Err(diagnostic)) => told.refused(diagnostic),
            Err(_) => told.refused(Diagnostic::new("the host's lanes have ended")),
        }
    }
}

/// Cancels the run when the future that waits for it is dropped.
struct CancelOnDrop(watch::Sender<bool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

fn start(host: &Inner, customer: &Customer, verify: bool) -> Start {
    Start { customer: customer.values().clone(), limits: host.limits, clock: Arc::clone(&host.clock), verify }
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

    fn refused(&self, diagnostic: Diagnostic) -> RunReport {
        let nothing = Driven { output: Err(diagnostic), counts: super::drive::Counts::default(), changes: Vec::new() };
        self.report(nothing, None)
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
