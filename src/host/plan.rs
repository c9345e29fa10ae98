//! Dry runs: what a playbook would do for a customer, and nothing of it done.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::stream::Stream;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::Instrument as _;

use super::drive::{Driven, Listener, Performer, drive, is_to_end};
use super::report::RunStatus;
use super::run::{Cancel, CancelOnDrop, run_id};
use super::teller::{Teller, listen};
use super::{Host, Playbook};
use crate::contract::{Tier, contract};
use crate::event::{Change, Event, FieldChange, Step};
use crate::interpreter::{Enrolment, Interpreter, Locals, Overlay, Permitted, Planned, Registered, Seen, Sourced};
use crate::operation::{CallKey, Effect, Failure, Host as Place, Key, Operation, Outcome, Site};
use crate::plan::{Allowed, FORMAT, Reading, SavedPlan};
use crate::playbook::{Diagnostic, Runtime, Session, Start, Told};
use crate::project::Customer;
use crate::sandbox::{Difference, Scope};
use crate::store::{State, content_digest};
use crate::surroundings::{AheadClock, Clock, Random};

/// What a playbook would do for a customer.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The playbook.
    pub playbook: String,
    /// The customer's code.
    pub customer: String,
    /// The target it was planned against.
    pub target: String,
    /// Whether the playbook would come to its end.
    pub status: RunStatus,
    /// What would change, in the order of the program.
    pub changes: Vec<PlannedChange>,
    /// What the playbook would put out; ids and times in it are those of the plan.
    pub output: Map<String, Value>,
    /// Requests to read that were made, by rate limit.
    pub reads: BTreeMap<Tier, u32>,
    /// Requests to write that a run would make, by rate limit.
    pub writes: BTreeMap<Tier, u32>,
    /// The least time that the rate limits allow a run to take, in seconds.
    pub least_seconds: u64,
    /// Why it would fail.
    pub error: Option<Diagnostic>,
    /// What it takes to apply it.
    #[serde(skip)]
    pub(super) material: Option<Box<Material>>,
}

/// What a plan is applied by.
#[derive(Clone, Debug)]
pub(super) struct Material {
    scope: String,
    inputs: Value,
    verify: bool,
    made: String,
    files: BTreeMap<String, String>,
    planned: Vec<Planned>,
    seen: Seen,
    changes: Vec<Difference>,
}

/// One thing that would change.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedChange {
    /// What would happen to it.
    pub change: Change,
    /// The thing: `space "Staging"`.
    pub subject: String,
    /// Field by field, as far as it is known. Secrets appear as `***`.
    pub fields: Vec<FieldChange>,
    /// Where in the playbook.
    pub site: Option<Site>,
    /// The requests it takes.
    pub requests: Vec<PlannedRequest>,
}

/// One request that would be made.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedRequest {
    /// Its key in the run.
    pub key: String,
    /// The operation.
    pub operation: String,
    /// What it does.
    pub effect: Effect,
    /// The host it goes to.
    pub host: String,
    /// The method.
    pub method: String,
    /// The path; ids of things that are planned too are those of the plan.
    pub path: String,
    /// Whether its outcome is assumed from the contract, because nothing is known of what it does.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub assumed: bool,
}

impl Plan {
    /// Whether a run would change anything.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// What a run would change in what the target has, document by document, as the model of it has them.
    #[must_use]
    pub fn modelled(&self) -> &[Difference] {
        self.material.as_ref().map_or(&[], |material| &material.changes)
    }

    /// The plan in the form in which it is kept and applied. None when the playbook would not come to its end.
    #[must_use]
    pub fn saved(&self) -> Option<SavedPlan> {
        let material = self.material.as_ref().filter(|_| self.error.is_none())?;
        let mut writes: Vec<Allowed> = material
            .planned
            .iter()
            .map(|write| Allowed {
                key: write.key.clone(),
                effect: write.operation.effect,
                subject: write.operation.subject.clone(),
                site: write.operation.site.clone(),
                request: write.canonical.clone(),
            })
            .collect();
        let order = |one: &Key, other: &Key| one.call_key().cmp(&other.call_key());
        writes.sort_by(|one, other| order(&one.key, &other.key));
        let mut symbols = material.seen.symbols.clone();
        symbols.sort_by(|one, other| order(&one.key, &other.key).then_with(|| one.pointer.cmp(&other.pointer)));
        let mut reads: Vec<Reading> = material
            .seen
            .reads
            .iter()
            .map(|(key, subject, digest)| Reading {
                key: key.clone(),
                subject: subject.clone(),
                digest: digest.clone(),
            })
            .collect();
        reads.sort_by(|one, other| order(&one.key, &other.key));
        let plan = SavedPlan {
            format: FORMAT,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            made: material.made.clone(),
            playbook: self.playbook.clone(),
            target: self.target.clone(),
            scope: material.scope.clone(),
            customer: self.customer.clone(),
            inputs: material.inputs.clone(),
            verify: material.verify,
            contract: crate::contract::digest(),
            files: material.files.clone(),
            writes,
            symbols,
            reads,
            // A plan is data of our own and always has a form.
            shown: serde_json::to_value(self).unwrap_or_default(),
            digest: String::new(),
        };
        Some(plan.sealed())
    }
}

/// A plan to be made: await it. Dropping it cancels it.
#[must_use = "a plan is not made until it is awaited"]
pub struct Planning {
    host: Host,
    playbook: Playbook,
    customer: Customer,
    target: String,
    verify: bool,
    listeners: Vec<mpsc::UnboundedSender<Event>>,
    ending: watch::Sender<Option<super::drive::Ending>>,
}

impl Host {
    /// What `playbook` would do for `customer` on the target of this name. Nothing is written: not there, and not here.
    pub fn plan(&self, playbook: &Playbook, customer: &Customer, target: &str) -> Planning {
        Planning {
            host: self.clone(),
            playbook: playbook.clone(),
            customer: customer.clone(),
            target: target.to_owned(),
            verify: false,
            listeners: Vec::new(),
            ending: watch::Sender::new(None),
        }
    }
}

impl Planning {
    /// Plans the verification of logins even when no identity provider changes.
    pub fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    /// What is told while the plan is made. The stream ends with it.
    pub fn events(&mut self) -> impl Stream<Item = Event> + Send + Unpin + use<> {
        listen(&mut self.listeners)
    }

    /// What ends it at its next operation, from elsewhere.
    #[must_use]
    pub fn canceller(&self) -> Cancel {
        Cancel(self.ending.clone())
    }

    /// Plans on the thread and runtime of the caller, which must be tokio's: for a paused clock.
    pub async fn plan_here(self, runtime: &Runtime) -> Plan {
        let (work, ending) = self.prepare();
        let _cancel = CancelOnDrop(Cancel(ending.clone()));
        let made = async {
            let opened = work.open(ending.subscribe()).await?;
            let driven = work.drive(runtime, &opened, Performer::Here(work.permitted(&opened)), &ending).await;
            Ok(work.plan(&opened, driven))
        };
        let made: Result<Plan, Diagnostic> = made.instrument(work.teller.span()).await;
        made.unwrap_or_else(|diagnostic| work.failed(diagnostic))
    }

    fn prepare(self) -> (Work, watch::Sender<Option<super::drive::Ending>>) {
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
            teller: Arc::new(teller),
        };
        (work, self.ending)
    }
}

impl std::future::IntoFuture for Planning {
    type Output = Plan;
    type IntoFuture = std::pin::Pin<Box<dyn std::future::Future<Output = Plan> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let (work, ending) = self.prepare();
            let _cancel = CancelOnDrop(Cancel(ending.clone()));
            let (span, work) = (work.teller.span(), Arc::new(work));
            let ended = || work.failed(Diagnostic::new("the host has ended"));
            let Some(io) = work.host.0.io.as_ref() else { return ended() };
            let plan = io.spawn(on_a_lane(Arc::clone(&work), io.handle().clone(), ending).instrument(span));
            plan.await.unwrap_or_else(|_| ended())
        })
    }
}

/// Opens here, on the host's I/O runtime, and drives on a lane.
async fn on_a_lane(work: Arc<Work>, io: Handle, ending: watch::Sender<Option<super::drive::Ending>>) -> Plan {
    let opened = match work.open(ending.subscribe()).await {
        Ok(opened) => Arc::new(opened),
        Err(diagnostic) => return work.failed(diagnostic),
    };
    let (sender, receiver) = oneshot::channel();
    let (own, lent) = (Arc::clone(&work), Arc::clone(&opened));
    work.host.0.lanes.run(move |runtime: Rc<Runtime>| {
        tokio::task::spawn_local(async move {
            let performer = Performer::On(io, own.permitted(&lent));
            let _ = sender.send(own.drive(&runtime, &lent, performer, &ending).await);
        });
    });
    match receiver.await {
        Ok(driven) => work.plan(&opened, driven),
        Err(_) => work.failed(Diagnostic::new("the host's lanes have ended")),
    }
}

/// What a plan is about.
struct Work {
    host: Host,
    playbook: Playbook,
    customer: Customer,
    verify: bool,
    teller: Arc<Teller>,
}

/// What is there while a plan is made.
struct Opened {
    scope: String,
    overlay: Arc<Overlay>,
    performs: Arc<dyn Interpreter>,
}

/// What came of the script, with the writes that no model knows of.
struct Made {
    driven: Driven,
    told: Vec<Step>,
    files: BTreeMap<String, String>,
}

impl Work {
    async fn open(&self, mut ending: watch::Receiver<Option<super::drive::Ending>>) -> Result<Opened, Diagnostic> {
        self.teller.started();
        tokio::select! {
            biased;
            () = is_to_end(&mut ending) => {
                let reason = ending.borrow().unwrap_or(super::drive::Ending::Cancelled);
                Err(Diagnostic::of_stop(&reason.into()))
            }
            opened = self.lay() => opened.map_err(|failure| Diagnostic::of_failure(&failure)),
        }
    }

    /// Puts the model over the target, with a registry of its own.
    async fn lay(&self) -> Result<Opened, Failure> {
        let host = &self.host.0;
        let connection = host.connections.get(host, &self.teller.target).await?;
        let (state, enrolment) = self.registry(connection.enrolment()).await?;
        let clock = Arc::new(AheadClock::of(Arc::clone(&host.clock)));
        let mut seed = [0; 8];
        host.random.fill(&mut seed);
        let random = Random::from_seed(u64::from_le_bytes(seed));
        let vault = host.vault.over();
        let passing = Arc::clone(&clock);
        let clock: Arc<dyn Clock> = clock;
        let locals = host.locals.planning(
            Arc::clone(&clock),
            random.clone(),
            vault.clone(),
            Arc::new(move |span| passing.pass(span)),
        );
        let overlay = Arc::new(Overlay::new(connection.shared(), vault, clock, random, self.customer.values()));
        let performing: Arc<dyn Interpreter> = Arc::<Overlay>::clone(&overlay);
        let locals = Locals::new(performing, Arc::new(locals));
        let performs = Registered::new(locals, state.registry(), enrolment, self.customer.code(), &self.teller.run);
        let performs = Arc::new(Sourced::new(performs, connection.source()));
        Ok(Opened { scope: connection.scope(), overlay, performs })
    }

    /// A registry in memory that knows of this customer what the real one does.
    async fn registry(&self, enrolment: &Enrolment) -> Result<(State, Enrolment), Failure> {
        let host = &self.host.0;
        let state = State::in_memory(Arc::clone(&host.clock)).map_err(Failure::from)?;
        let Enrolment::Organization { identity, may_begin, lists, license } = enrolment else {
            return Ok((state, enrolment.clone()));
        };
        let (organization, code) = (identity.clone(), self.customer.code().to_owned());
        let known = host.registry.ask(move |registry| {
            let tenant = registry.tenant(&organization, &code)?;
            Ok((tenant, registry.intent(&organization, &code)?, registry.knows(&organization)?))
        });
        let (tenant, unsettled, begun) = known.await?;
        if let Some(intent) = unsettled {
            return Err(Failure::from(crate::store::RegistryError::Unsettled(Box::new(intent))));
        }
        if let Some(tenant) = tenant {
            state.registry().adopt(identity, &tenant)?;
        }
        let enrolment = Enrolment::Organization {
            identity: identity.clone(),
            may_begin: *may_begin || begun,
            lists: *lists,
            license: license.clone(),
        };
        Ok((state, enrolment))
    }

    fn permitted(&self, opened: &Opened) -> Arc<dyn Interpreter> {
        Arc::new(Permitted::new(Arc::clone(&opened.performs), self.playbook.permits.clone()))
    }

    async fn drive(
        &self,
        runtime: &Runtime,
        opened: &Opened,
        performer: Performer,
        ending: &watch::Sender<Option<super::drive::Ending>>,
    ) -> Made {
        let heard = Rc::new(RefCell::new(Heard::default()));
        if let Some((path, content)) = self.playbook.schema_file() {
            heard.borrow_mut().files.insert(path.to_owned(), content_digest(content));
        }
        let audience = Audience {
            teller: Arc::clone(&self.teller),
            overlay: Arc::clone(&opened.overlay),
            heard: Rc::clone(&heard),
        };
        let driven = match self.start(runtime) {
            Ok(session) => drive(session, performer, audience, ending.subscribe()).await,
            Err(diagnostic) => Driven::refused(diagnostic),
        };
        let Heard { steps, files } = heard.take();
        Made { driven, told: steps, files }
    }

    fn start(&self, runtime: &Runtime) -> Result<Session, Diagnostic> {
        let host = &self.host.0;
        let start = Start {
            customer: self.customer.values().clone(),
            limits: host.limits,
            clock: Arc::clone(&host.clock),
            verify: self.verify,
        };
        runtime.start(&self.playbook.text, start)
    }

    fn plan(&self, opened: &Opened, made: Made) -> Plan {
        let planned = opened.overlay.planned();
        let mut plan = self.blank();
        plan.reads = opened.overlay.reads();
        for write in &planned {
            let tier = contract().operation(&write.operation.id).map_or(Tier::Tier2, |published| published.tier);
            *plan.writes.entry(tier).or_default() += 1;
        }
        plan.least_seconds = least_seconds(&planned);
        plan.changes = changes(made.told, planned.clone());
        plan.material = Some(Box::new(Material {
            scope: opened.scope.clone(),
            inputs: self.customer.values().clone(),
            verify: self.verify,
            made: self.host.0.clock.now().to_string(),
            files: made.files,
            planned,
            seen: opened.overlay.seen(),
            changes: opened.overlay.changes(),
        }));
        match made.driven.output {
            Ok(output) => plan.output = output,
            Err(error) => {
                plan.status = if error.cancelled { RunStatus::Cancelled } else { RunStatus::Failed };
                plan.error = Some(error);
            }
        }
        plan
    }

    fn blank(&self) -> Plan {
        Plan {
            playbook: self.playbook.file().to_owned(),
            customer: self.customer.code().to_owned(),
            target: self.teller.target.clone(),
            status: RunStatus::Succeeded,
            changes: Vec::new(),
            output: Map::new(),
            reads: BTreeMap::new(),
            writes: BTreeMap::new(),
            least_seconds: 0,
            error: None,
            material: None,
        }
    }

    fn failed(&self, error: Diagnostic) -> Plan {
        let status = if error.cancelled { RunStatus::Cancelled } else { RunStatus::Failed };
        Plan { status, error: Some(error), ..self.blank() }
    }
}

/// Hears what the script tells.
struct Audience {
    teller: Arc<Teller>,
    overlay: Arc<Overlay>,
    heard: Rc<RefCell<Heard>>,
}

#[derive(Default)]
struct Heard {
    steps: Vec<Step>,
    files: BTreeMap<String, String>,
}

impl Listener for Audience {
    fn told(&self, told: &Told) {
        match told {
            Told::Step(step) => {
                self.heard.borrow_mut().steps.push(step.clone());
                self.teller.stepped(step);
            }
            Told::Log { level, message, site } => self.teller.logged(level, message, site.as_ref(), false),
            Told::Read { path, content } => {
                self.heard.borrow_mut().files.insert(path.clone(), content_digest(content));
            }
        }
    }

    fn answered(&self, key: &Key, operation: &Operation, outcome: &Outcome) -> bool {
        self.overlay.note_local(key, operation, outcome);
        self.teller.answered(key, operation, outcome, false);
        false
    }
}

/// What the script told, with the requests that each takes; and the requests that nobody told of.
fn changes(told: Vec<Step>, planned: Vec<Planned>) -> Vec<PlannedChange> {
    let mut by_call: BTreeMap<CallKey, Vec<Planned>> = BTreeMap::new();
    for write in planned {
        by_call.entry(write.key.call_key()).or_default().push(write);
    }
    let mut changes: Vec<(Option<CallKey>, PlannedChange)> = Vec::new();
    for step in told.into_iter().filter(|step| step.change.is_write()) {
        let writes = step.call.as_ref().and_then(|call| by_call.remove(call)).unwrap_or_default();
        let fields = if step.fields.is_empty() { seen(&writes) } else { step.fields.iter().map(shown).collect() };
        let change = PlannedChange {
            change: step.change,
            subject: step.subject,
            fields,
            site: step.site,
            requests: writes.iter().map(PlannedRequest::of).collect(),
        };
        changes.push((step.call, change));
    }
    for (call, writes) in by_call {
        let Some(first) = writes.first() else { continue };
        let change = match first.operation.effect {
            Effect::Create => Change::Created,
            Effect::Delete => Change::Deleted,
            Effect::Act => Change::Acted,
            Effect::Update | Effect::Read | Effect::Probe => Change::Updated,
        };
        let change = PlannedChange {
            change,
            subject: first.operation.subject.clone(),
            fields: seen(&writes),
            site: first.operation.site.clone(),
            requests: writes.iter().map(PlannedRequest::of).collect(),
        };
        changes.push((Some(call), change));
    }
    changes.sort_by(|one, other| one.0.cmp(&other.0));
    changes.into_iter().map(|(_, change)| change).collect()
}

impl PlannedRequest {
    fn of(planned: &Planned) -> Self {
        let request = planned.operation.request();
        Self {
            key: planned.key.to_string(),
            operation: planned.operation.id.clone(),
            effect: planned.operation.effect,
            host: request.map(|request| request.host.name()).unwrap_or_default(),
            method: request.map(|request| request.method.to_string()).unwrap_or_default(),
            path: request.map(|request| request.path.clone()).unwrap_or_default(),
            assumed: planned.assumed,
        }
    }
}

/// The fields of a document that change in what a tenant has, where the script did not tell.
fn seen(writes: &[Planned]) -> Vec<FieldChange> {
    /// What every change changes.
    const NOISE: [&str; 8] = [
        "updatedAt",
        "lastUpdated",
        "lastUpdatedAt",
        "modifiedDate",
        "updatedBy",
        "statusLastUpdatedAt",
        "links",
        "etag",
    ];
    let mut fields = Vec::new();
    for difference in writes.iter().flat_map(|write| &write.changed) {
        let Difference { scope: Scope::Tenant(_), before: Some(before), after: Some(after), .. } = difference else {
            continue;
        };
        let names = before.as_object().into_iter().flatten().chain(after.as_object().into_iter().flatten());
        for (name, _) in names {
            let known = fields.iter().any(|field: &FieldChange| field.field == *name);
            if before[name] != after[name] && !known && !NOISE.contains(&name.as_str()) && !name.starts_with('$') {
                let field =
                    FieldChange { field: name.clone(), before: before[name].clone(), after: after[name].clone() };
                fields.push(shown(&field));
            }
        }
    }
    fields
}

/// A change as it may be shown: with `***` for secrets.
fn shown(field: &FieldChange) -> FieldChange {
    FieldChange { field: field.field.clone(), before: masked(&field.before), after: masked(&field.after) }
}

fn masked(value: &Value) -> Value {
    match value {
        reference if crate::operation::secret::name(reference).is_some() => Value::from("***"),
        Value::String(text) if text.starts_with("secret:") => Value::from("***"),
        Value::Array(items) => items.iter().map(masked).collect(),
        Value::Object(map) => map.iter().map(|(key, item)| (key.clone(), masked(item))).collect(),
        plain => plain.clone(),
    }
}

/// The least time in which the rate limits allow these writes: a tier gives its figure a minute, measured over five, and an
/// operation with a limit of its own gives that a minute.
fn least_seconds(planned: &[Planned]) -> u64 {
    let mut counts: BTreeMap<(String, &'static str), (u64, u64, u64)> = BTreeMap::new();
    for write in planned {
        let (Some(published), Some(request)) = (contract().operation(&write.operation.id), write.operation.request())
        else {
            continue;
        };
        let host = match &request.host {
            Place::Tenant(host) => host.clone(),
            other => other.name(),
        };
        let minute = u64::from(published.per_minute);
        let (lane, budget, window) = match published.tier {
            Tier::Tier1 => ("tier1", minute * 5, 300),
            Tier::Tier2 => ("tier2", minute * 5, 300),
            Tier::Special => (published.id, minute, 60),
        };
        counts.entry((host, lane)).or_insert((0, budget, window)).0 += 1;
    }
    // A window's budget goes out at once; each further one waits for the window before it to pass.
    let windows = |(count, budget, window): &(u64, u64, u64)| count.saturating_sub(1) / (*budget).max(1) * window;
    counts.values().map(windows).max().unwrap_or(0)
}
