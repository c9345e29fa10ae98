//! Carries plans out and holds their ends against what must be.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;

use super::canonical::Canonical;
use super::case::Case;
use super::fate::Fate;
use super::hearing::Hearing;
use super::oracle::{self, Finding};
use super::plan::{Actor, Calm, Life, Plan};
use super::world::{Ended, Process, World, WorldSettings};
use crate::host::{BuildError, Playbook, RunStatus};
use crate::playbook::{Diagnostic, Runtime};
use crate::project::{Customer, InputError};
use crate::sandbox::{self, Fault, Scope};
use crate::store::{RunFilter, RunState, SharedSink, StateError};
use crate::surroundings::Random;

/// How many processes an actor starts before it is given up.
const LIVES: usize = 40;

/// How long an actor waits at least before it goes on.
const SHORTEST: Duration = Duration::from_millis(500);

/// How much longer it may wait than that.
const PAUSE: Duration = Duration::from_secs(30);

/// When a world begins.
const START: &str = "2026-11-24T08:00:00Z";

/// What a storm needs to know of its case: the playbook, read once, and how all ends when nothing goes wrong.
pub struct Storm {
    pub(super) case: Case,
    pub(super) playbook: Playbook,
    first: Vec<Playbook>,
    pub(super) customers: Vec<Customer>,
    pub(super) runtime: Runtime,
    organization: sandbox::Settings,
    keys: SharedSink,
    expected: Canonical,
    calm: Calm,
}

/// A storm cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StormError {
    /// The playbook cannot be read.
    #[error("{0}")]
    Playbook(Box<Diagnostic>),
    /// A customer does not fit the playbook.
    #[error(transparent)]
    Customer(#[from] InputError),
    /// There is no memory for a world.
    #[error(transparent)]
    State(#[from] StateError),
    /// No host can be made.
    #[error(transparent)]
    Host(#[from] BuildError),
    /// The system gives no runtime.
    #[error("cannot make a runtime: {0}")]
    Runtime(#[from] std::io::Error),
    /// The playbook does not come to its end even when nothing goes wrong.
    #[error("without faults: {0}")]
    Calm(String),
}

/// How a plan ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What must not be; empty when all is right.
    pub findings: Vec<Finding>,
    /// What happened, as text: the same for the same plan.
    pub trace: String,
    /// The points that each process passed, in the order of their births.
    pub points: Vec<u64>,
    /// How many of them died.
    pub deaths: usize,
    /// How many requests were made.
    pub requests: usize,
}

impl Outcome {
    /// Whether all is right.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.findings.is_empty()
    }
}

impl Storm {
    /// Reads the case, and runs it once without faults to know its end.
    ///
    /// # Errors
    /// When the case cannot be run, or does not end well even when nothing goes wrong.
    pub async fn new(case: Case) -> Result<Self, StormError> {
        let organization = sandbox::Settings {
            client_id: Some("simulated-client".to_owned()),
            client_secret: Some("canary-client-secret-5f1c".to_owned()),
            license_key: Some("eyJcanary-license-key-77ab".to_owned()),
            ..sandbox::Settings::default()
        };
        let first = World::new(settings(&case, &organization, SharedSink::default(), &Plan::default()))?;
        let process = first.process(Fate::kind())?;
        let playbook =
            process.host().playbook(&case.playbook).map_err(|error| StormError::Playbook(Box::new(error)))?;
        let first_playbook = case.first.iter().map(|first| process.host().playbook(first)).collect::<Result<_, _>>();
        let first_playbook = first_playbook.map_err(|error| StormError::Playbook(Box::new(error)))?;
        let customers: Vec<Customer> =
            case.customers.iter().map(|customer| playbook.admit(customer)).collect::<Result<_, _>>()?;
        let runtime = process.host().local_runtime();
        drop(process);
        let mut storm = Self {
            case,
            playbook,
            first: first_playbook,
            customers,
            runtime,
            organization,
            keys: SharedSink::default(),
            expected: Canonical::of(&sandbox::State::default()),
            calm: Calm::default(),
        };
        // The first run makes the key pairs, the second tells how all ends with them in place.
        storm.calm_run(&first).await?;
        storm.keys = first.sink().private_keys();
        storm.organization.seats = Some(seats(&first.sandbox().snapshot()));
        let second = World::new(storm.settings(&Plan::default()))?;
        storm.calm = storm.calm_run(&second).await?;
        storm.expected = Canonical::of(&second.sandbox().snapshot());
        Ok(storm)
    }

    /// How all ends when nothing goes wrong.
    #[must_use]
    pub fn expected(&self) -> &Canonical {
        &self.expected
    }

    /// What runs without harm come to.
    #[must_use]
    pub fn calm(&self) -> Calm {
        self.calm
    }

    /// How many actors work in it.
    #[must_use]
    pub fn actors(&self) -> usize {
        self.customers.len()
    }

    /// Makes what the playbook works on.
    pub(super) async fn prepare(&self, world: &World) -> Result<(), StormError> {
        for first in &self.first {
            for customer in self.each_once() {
                succeeded(&world.sheltered()?, first, customer, &self.runtime).await?;
            }
        }
        Ok(())
    }

    /// The same, but that the last playbook of them is left where the plan says so. Gives the processes that died there.
    async fn prepare_as(&self, plan: &Plan, world: &World) -> Result<Act, StormError> {
        let mut left = Act::default();
        for (place, first) in self.first.iter().enumerate() {
            let is_last = place + 1 == self.first.len();
            for customer in self.each_once() {
                let actors = self.customers.iter().zip(&plan.actors);
                let mut points =
                    actors.filter(|(of, _)| of.code() == customer.code()).filter_map(|(_, actor)| actor.left);
                let Some(point) = points.next().filter(|_| is_last) else {
                    succeeded(&world.sheltered()?, first, customer, &self.runtime).await?;
                    continue;
                };
                let process = world.process(Fate::of(Life::until(point)))?;
                if matches!(process.run(first, customer, &self.runtime).await, Ended::Died) {
                    left.deaths += 1;
                }
                left.points.insert(process.number(), process.fate().points());
            }
        }
        Ok(left)
    }

    fn each_once(&self) -> impl Iterator<Item = &Customer> {
        let is_first = |place: usize, customer: &Customer| {
            self.customers[..place].iter().all(|before| before.code() != customer.code())
        };
        self.customers
            .iter()
            .enumerate()
            .filter(move |(place, customer)| is_first(*place, customer))
            .map(|(_, one)| one)
    }

    /// Each customer once, one after the other.
    async fn calm_run(&self, world: &World) -> Result<Calm, StormError> {
        let mut calm = Calm::default();
        let mut before = 0;
        for playbook in self.first.iter().chain([&self.playbook]) {
            calm.before = std::mem::take(&mut calm.points);
            before = world.ledger().served().len() as u64;
            for customer in self.each_once() {
                let process = world.process(Fate::kind())?;
                succeeded(&process, playbook, customer, &self.runtime).await?;
                calm.points += process.fate().points();
            }
        }
        calm.requests = world.ledger().served().len() as u64 - before;
        Ok(calm)
    }

    /// Carries a plan out, and looks at what came of it.
    ///
    /// # Errors
    /// When no world or host can be made.
    pub async fn weather(&self, plan: &Plan) -> Result<Outcome, StormError> {
        let hearing = Hearing::begin();
        let world = World::new(WorldSettings { layer: self.case.layer.clone(), ..self.settings(plan) })?;
        // Without tokio's budgets: how much of one is left must not depend on what was done before.
        let left = tokio::task::unconstrained(self.prepare_as(plan, &world)).await?;
        let calm = Actor::default();
        let actors = self.customers.iter().enumerate();
        let acts = actors.map(|(number, customer)| {
            let actor = plan.actors.get(number).unwrap_or(&calm);
            self.act(&world, plan.seed, actor, customer)
        });
        let mut findings = Vec::new();
        let (mut points, mut deaths) = (left.points, left.deaths);
        for act in tokio::task::unconstrained(join_all(acts)).await {
            let act = act?;
            points.extend(act.points);
            deaths += act.deaths;
            findings.extend(act.finding);
        }
        // What is still under way arrives before anybody looks.
        tokio::time::sleep(PAUSE).await;
        findings.extend(self.replays(&world).await?);
        let logs = hearing.text();
        drop(hearing);
        let (told, journal) = (world.ledger().trace(), oracle::journal(&world));
        let outputs = [("events", &*told), ("logs", &*logs), ("the journal", &*journal)];
        findings.extend(oracle::examine(&world, &self.expected, &outputs, &self.secrets()));
        let trace = [&*told, &*logs, &*journal].concat();
        let (points, requests) = (points.into_values().collect(), world.ledger().served().len());
        Ok(Outcome { findings, trace, points, deaths, requests })
    }

    /// Replays each run that came to its end, from its record alone.
    async fn replays(&self, world: &World) -> Result<Vec<Finding>, StormError> {
        let playbook = Some(self.case.playbook.to_string_lossy().replace('\\', "/"));
        let filter = RunFilter { playbook, ..RunFilter::default() };
        let runs = world.state().journal().runs(&filter).unwrap_or_default();
        let process = world.process(Fate::kind())?;
        let mut found = Vec::new();
        for run in runs.iter().filter(|run| run.status == RunState::Succeeded) {
            let id = &run.opening.id;
            match process.host().replay(id).await {
                Ok(replayed) if replayed.is_identical() => {}
                Ok(replayed) => found.push(Finding::new("replay", format!("run {id}: {:?}", replayed.difference))),
                Err(diagnostic) => found.push(Finding::new("replay", format!("run {id}: {diagnostic}"))),
            }
        }
        Ok(found)
    }

    /// Starts processes until the customer's playbook has come to its end. Where the one before was left, it may not be able
    /// to: then that one is gone on with, and this one once more.
    async fn act(&self, world: &World, seed: u64, actor: &Actor, customer: &Customer) -> Result<Act, StormError> {
        let own = (&*self.case.playbook, &self.playbook);
        let before = self.case.first.last().zip(self.first.last()).filter(|_| actor.left.is_some());
        let Some(before) = before else {
            return self.insist(world, seed, &actor.lives, customer, own, LIVES).await;
        };
        let mut act = self.insist(world, seed, &actor.lives, customer, own, actor.lives.len() + 1).await?;
        act.finding = None;
        for work in [(&**before.0, before.1), own] {
            let more = self.insist(world, seed, &[], customer, work, LIVES).await?;
            act.points.extend(more.points);
            act.deaths += more.deaths;
            act.finding = act.finding.or(more.finding);
        }
        Ok(act)
    }

    /// Starts processes, so many at most, until a playbook has come to its end: each goes on with the run that is unfinished,
    /// or begins one.
    async fn insist(
        &self,
        world: &World,
        seed: u64,
        lives: &[Life],
        customer: &Customer,
        (path, playbook): (&Path, &Playbook),
        most: usize,
    ) -> Result<Act, StormError> {
        let mut act = Act::default();
        let mut last = String::new();
        for number in 0..most {
            let life = lives.get(number).copied().unwrap_or_default();
            let process = world.process(Fate::of(life))?;
            let run = match world.unfinished(path, customer) {
                Some(run) => process.host().resume(&run),
                None => Ok(process.host().run(playbook, customer, "sandbox")),
            };
            let ended = match run {
                Ok(run) => process.follow(run, &self.runtime).await,
                Err(diagnostic) => {
                    last = diagnostic.to_string();
                    Ended::Refused
                }
            };
            act.points.insert(process.number(), process.fate().points());
            let random = Random::from_seed(seed ^ (u64::from(process.number()) << 40));
            drop(process);
            match ended {
                Ended::Reported(report) if report.status == RunStatus::Succeeded => return Ok(act),
                Ended::Reported(report) => last = format!("{:?}", report.error),
                Ended::Refused => {}
                Ended::Died => act.deaths += 1,
            }
            tokio::time::sleep(SHORTEST + PAUSE.mul_f64(random.fraction())).await;
        }
        let what = format!("{} for {} after {most} processes: {last}", path.display(), customer.code());
        act.finding = Some(Finding::new("stuck", what));
        Ok(act)
    }

    /// Leaves out of a plan that fails what it does not need to fail.
    ///
    /// # Errors
    /// When no world or host can be made.
    pub async fn shrink(&self, plan: Plan) -> Result<Plan, StormError> {
        let mut least = plan;
        // First in large pieces: most of what a drawn plan holds has no part in the failure.
        let mut piece = least.weight().div_ceil(2).max(1);
        loop {
            let harms = least.harms();
            let mut shrunk = false;
            for part in harms.chunks(piece) {
                let simpler = least.without(part);
                if !self.weather(&simpler).await?.is_right() {
                    least = simpler;
                    shrunk = true;
                    break;
                }
            }
            match (shrunk, piece) {
                (true, _) => piece = piece.min(least.weight()).max(1),
                (false, 1) => return Ok(least),
                (false, _) => piece = piece.div_ceil(2),
            }
        }
    }

    /// The plan that kills the first process at this point.
    #[must_use]
    pub fn kill_at(&self, point: u64) -> Plan {
        let mut plan = Plan::calm(1, self.actors());
        plan.actors[0].lives.push(Life::until(point));
        plan
    }

    /// The plan in which nothing but this fault strikes, at this request.
    #[must_use]
    pub fn fault_at(&self, request: u64, fault: Fault) -> Plan {
        let mut plan = Plan::calm(1, self.actors());
        plan.faults.insert(request, fault);
        plan
    }

    pub(super) fn settings(&self, plan: &Plan) -> WorldSettings {
        settings(&self.case, &self.organization, self.keys.copy(), plan)
    }

    /// Texts that must not show up anywhere.
    fn secrets(&self) -> Vec<String> {
        let organization = [&self.organization.client_secret, &self.organization.license_key];
        let mut all: Vec<String> = organization.into_iter().flatten().cloned().collect();
        all.extend(self.case.secrets.values().cloned());
        all.extend(self.keys.recognizable());
        // What every token of the sandbox begins with.
        all.push("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.".to_owned());
        all
    }
}

/// Runs a playbook that nothing gets in the way of.
async fn succeeded(
    process: &Process,
    playbook: &Playbook,
    customer: &Customer,
    runtime: &Runtime,
) -> Result<(), StormError> {
    match process.run(playbook, customer, runtime).await {
        Ended::Reported(report) if report.status == RunStatus::Succeeded => Ok(()),
        ended => Err(StormError::Calm(format!("{}: {ended:?}", customer.code()))),
    }
}

#[derive(Default)]
struct Act {
    points: BTreeMap<u32, u64>,
    deaths: usize,
    finding: Option<Finding>,
}

fn settings(case: &Case, organization: &sandbox::Settings, sink: SharedSink, plan: &Plan) -> WorldSettings {
    WorldSettings {
        project: case.project.clone(),
        seed: plan.seed,
        start: START.parse().unwrap_or(jiff::Timestamp::UNIX_EPOCH),
        secrets: case.secrets.clone(),
        organization: organization.clone(),
        sink,
        faults: plan.faults.clone(),
        layer: None,
    }
}

/// The seats that are taken, by kind: one more would be too many.
fn seats(state: &sandbox::State) -> BTreeMap<String, i64> {
    let mut taken = BTreeMap::from([("professional".to_owned(), 0), ("analyzer".to_owned(), 0)]);
    for (_, seat) in state.collection(&Scope::Organization, "seats").iter() {
        *taken.entry(seat["type"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    taken
}
