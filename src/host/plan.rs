//! Dry runs: what a playbook would do for a customer, and nothing of it done.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use futures_util::stream::Stream;
use serde_json::Map;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::Instrument as _;

use super::connection::Connection;
use super::drive::{Driven, Ending, Listener, Performer, drive, is_to_end};
use super::irreversible;
use super::named::{name_in_error, name_values};
use super::planned::{Material, Plan, changes, least_seconds};
use super::report::RunStatus;
use super::run::{Cancel, CancelOnDrop, run_id};
use super::seats::{self, Need, share_seats};
use super::teller::{Teller, listen};
use super::unmentioned::{self, Unmentioned};
use super::{Host, Playbook};
use crate::contract::contract;
use crate::event::{Event, Step};
use crate::interpreter::{
    Enrolment, FirstToken, Interpreter, Locals, Overlay, Permitted, Presence, Registered, Sourced,
};
use crate::operation::{Failure, Key, Operation, Outcome};
use crate::plan::verdicts;
use crate::playbook::{Diagnostic, Runtime, Session, Start, Told};
use crate::project::Customer;
use crate::sandbox::Sandbox;
use crate::store::{State, content_digest};
use crate::surroundings::{AheadClock, Clock, Random};

/// A plan to be made: await it. Dropping it cancels it.
#[must_use = "a plan is not made until it is awaited"]
pub struct Planning {
    host: Host,
    playbook: Playbook,
    customer: Customer,
    target: String,
    verify: bool,
    prune: bool,
    allow_first_token: bool,
    listeners: Vec<mpsc::UnboundedSender<Event>>,
    ending: watch::Sender<Option<Ending>>,
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
            prune: false,
            allow_first_token: false,
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

    /// Shows also what the last run of this playbook has ensured and this plan does not mention.
    pub fn prune(mut self, prune: bool) -> Self {
        self.prune = prune;
        self
    }

    /// Goes on where reading a tenant takes the client's first token there, which makes its bot user and may take a seat.
    /// Without it such a plan stops before that, unless the registry or a run shows that the client was there before. In
    /// the embedded sandbox nobody minds.
    pub fn allow_first_token(mut self, allow: bool) -> Self {
        self.allow_first_token = allow;
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
            Ok(work.plan(&opened, driven).await)
        };
        let made: Result<Plan, Diagnostic> = made.instrument(work.teller.span()).await;
        made.unwrap_or_else(|diagnostic| work.failed(diagnostic))
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
            prune: self.prune,
            allow_first_token: self.allow_first_token,
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
async fn on_a_lane(work: Arc<Work>, io: Handle, ending: watch::Sender<Option<Ending>>) -> Plan {
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
        Ok(driven) => work.plan(&opened, driven).await,
        Err(_) => work.failed(Diagnostic::new("the host's lanes have ended")),
    }
}

/// What a plan is about.
struct Work {
    host: Host,
    playbook: Playbook,
    customer: Customer,
    verify: bool,
    prune: bool,
    allow_first_token: bool,
    teller: Arc<Teller>,
}

/// What is there while a plan is made.
struct Opened {
    scope: String,
    connection: Arc<Connection>,
    /// The clients whose bots have a seat already.
    seated: BTreeSet<String>,
    /// What lets reads through to the target.
    gate: Arc<FirstToken>,
    overlay: Arc<Overlay>,
    performs: Arc<dyn Interpreter>,
    /// What the last run has ensured, when it is asked for.
    ensured: Option<Vec<Unmentioned>>,
}

/// What came of the script: what it told, and the files it used.
struct Made {
    driven: Driven,
    told: Vec<Step>,
    files: BTreeMap<String, String>,
}

impl Work {
    async fn open(&self, mut ending: watch::Receiver<Option<Ending>>) -> Result<Opened, Diagnostic> {
        self.teller.started();
        tokio::select! {
            biased;
            () = is_to_end(&mut ending) => {
                let reason = ending.borrow().unwrap_or(Ending::Cancelled);
                Err(Diagnostic::of_stop(&reason.into()))
            }
            opened = self.lay() => opened.map_err(|failure| Diagnostic::of_failure(&failure)),
        }
    }

    /// Puts the model over the target, with a registry of its own.
    async fn lay(&self) -> Result<Opened, Failure> {
        let host = &self.host.0;
        let target = &self.teller.target;
        let connection = host.connections.get_to_plan(host, target, self.allow_first_token).await?;
        let (state, enrolment) = self.registry(&connection).await?;
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
        let gate = self.gate(&connection);
        let reached: Arc<dyn Interpreter> = Arc::<FirstToken>::clone(&gate);
        let overlay = Overlay::new(reached, vault, clock, random, self.customer.values());
        let seated = seats::seated(host, &connection).await;
        let shows_license =
            if connection.own().is_some() { None } else { seats::licensed(host, &connection, &gate).await };
        let overlay = Arc::new(overlay.organization(shows_license, seats::in_regions(&connection, &seated)));
        for (operation, answer) in connection.own().into_iter().flat_map(Sandbox::pool) {
            overlay.know_license(operation, &answer);
        }
        let performing: Arc<dyn Interpreter> = Arc::<Overlay>::clone(&overlay);
        let locals = Locals::new(performing, Arc::new(locals));
        let performs = Registered::new(locals, state.registry(), enrolment, self.customer.code(), &self.teller.run);
        let performs = Arc::new(Sourced::new(performs, connection.source()));
        let scope = connection.scope();
        let ensured = if self.prune {
            let ensured = unmentioned::ensured(&self.host, scope.clone(), self.playbook.file(), self.customer.code());
            Some(ensured.await.map_err(Failure::from)?)
        } else {
            None
        };
        Ok(Opened { scope, connection, seated, gate, overlay, performs, ensured })
    }

    /// What keeps a client from coming to a tenant for the first time unasked.
    fn gate(&self, connection: &Arc<Connection>) -> Arc<FirstToken> {
        let (host, at) = (self.host.clone(), Arc::clone(connection));
        let was_at: Presence = Arc::new(move |hostname| {
            let (host, at) = (host.clone(), Arc::clone(&at));
            Box::pin(async move { at.was_at(&host.0, &hostname).await })
        });
        let first = self.host.0.connections.first(&self.teller.target);
        let allowed = self.allow_first_token || connection.own().is_some();
        Arc::new(FirstToken::new(connection.shared(), was_at, allowed, first))
    }

    /// A registry in memory that knows of this customer what the real one does.
    async fn registry(&self, connection: &Connection) -> Result<(State, Enrolment), Failure> {
        let host = &self.host.0;
        let state = State::in_memory(Arc::clone(&host.clock)).map_err(Failure::from)?;
        let (scope, code) = (connection.scope(), self.customer.code().to_owned());
        let marks = host.registry.ask(move |registry| Ok((registry.marks(&scope, &code)?, scope))).await;
        let (marks, scope) = marks?;
        for (name, mark) in marks {
            state.registry().set_mark(&scope, self.customer.code(), &name, Some(&mark))?;
        }
        let enrolment = connection.enrolment();
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
        ending: &watch::Sender<Option<Ending>>,
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

    async fn plan(&self, opened: &Opened, made: Made) -> Plan {
        let mut planned = opened.overlay.planned();
        let symbols = opened.overlay.symbols();
        irreversible::note(&mut planned, opened.overlay.take_asked());
        let mut plan = self.blank();
        let first = opened.gate.first();
        let need = Need::of(&opened.overlay, &planned, &opened.connection, &opened.seated, &first).await;
        plan.reads = opened.overlay.reads();
        plan.first_tokens = first;
        for write in &planned {
            if let Some(published) = contract().operation(&write.operation.id) {
                *plan.writes.entry(published.tier).or_default() += 1;
            }
        }
        plan.least_seconds = least_seconds(&planned);
        if made.driven.output.is_ok() {
            let without = |ensured: &Vec<Unmentioned>| unmentioned::without(ensured.clone(), &made.told);
            plan.unmentioned = opened.ensured.as_ref().map(without);
        }
        plan.changes = changes(made.told, planned.clone());
        plan.material = Some(Box::new(Material {
            scope: opened.scope.clone(),
            inputs: self.customer.values().clone(),
            verify: self.verify,
            files: made.files,
            planned,
            seen: opened.overlay.seen(),
            changes: opened.overlay.changes(),
            need,
        }));
        match made.driven.output {
            Ok(output) => plan.output = output,
            Err(mut error) => {
                name_in_error(&mut error, &symbols);
                plan.fail(error);
            }
        }
        name_values(&mut plan, &symbols);
        share_seats(std::slice::from_mut(&mut plan));
        plan
    }

    fn blank(&self) -> Plan {
        Plan {
            playbook: self.playbook.file().to_owned(),
            customer: self.customer.code().to_owned(),
            target: self.teller.target.clone(),
            made: self.host.0.clock.now().to_string(),
            status: RunStatus::Succeeded,
            changes: Vec::new(),
            unmentioned: None,
            output: Map::new(),
            reads: BTreeMap::new(),
            writes: BTreeMap::new(),
            least_seconds: 0,
            seats: Vec::new(),
            first_tokens: Vec::new(),
            guards: verdicts(None),
            error: None,
            material: None,
        }
    }

    fn failed(&self, error: Diagnostic) -> Plan {
        let mut plan = self.blank();
        plan.fail(error);
        plan
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
