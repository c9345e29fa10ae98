//! A world: what outlives processes, and how they are born into it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::StreamExt as _;
use jiff::Timestamp;

use super::fate::Fate;
use super::ledger::{Ledger, Weather};
use crate::host::{BuildError, Host, Playbook, Run, RunReport};
use crate::interpreter::Layer;
use crate::playbook::Runtime;
use crate::project::{Customer, Project};
use crate::sandbox::{self, Fault, Faults, Sandbox};
use crate::store::{CommandLimits, RunFilter, RunRecord, SecretSource, SharedSink, Sink, State, StateError, Vault};
use crate::surroundings::{Clock, Random, RuntimeClock};

/// What a world is made from.
#[derive(Clone)]
pub struct WorldSettings {
    /// The project whose playbooks run there.
    pub project: Project,
    /// Decides ids, host names and pauses.
    pub seed: u64,
    /// The moment at which it begins.
    pub start: Timestamp,
    /// Texts of the secrets that the project names, in place of their sources.
    pub secrets: BTreeMap<String, String>,
    /// The organization's client secret and licence key, its seats.
    pub organization: sandbox::Settings,
    /// What is in the secret sink at the beginning: key pairs take long to make.
    pub sink: SharedSink,
    /// The faults of the n-th requests.
    pub faults: BTreeMap<u64, Fault>,
    /// A layer around what performs operations, to see what a defect there does.
    pub layer: Option<Layer>,
}

/// A simulated Qlik Cloud, a state file and a secret sink in memory. A cheap handle; clones are the same world.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    settings: WorldSettings,
    clock: Arc<dyn Clock>,
    sandbox: Sandbox,
    state: State,
    ledger: Ledger,
    weather: Arc<dyn Faults>,
    born: AtomicU32,
}

/// How a run ended in a process that may die.
#[derive(Debug)]
pub enum Ended {
    /// The process died; nobody heard of it.
    Died,
    /// There was no run to follow.
    Refused,
    /// The run came to its report.
    Reported(Box<RunReport>),
}

impl World {
    /// A new world, on the runtime whose clock it goes by.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn new(settings: WorldSettings) -> Result<Self, StateError> {
        let clock: Arc<dyn Clock> = Arc::new(RuntimeClock::starting_at(settings.start));
        let ledger = Ledger::default();
        let weather = Arc::new(Weather { faults: settings.faults.clone(), ledger: ledger.clone() });
        let sandbox = Sandbox::in_memory(sandbox::Settings {
            clock: Arc::clone(&clock),
            random: Random::from_seed(settings.seed),
            faults: None,
            ..settings.organization.clone()
        });
        let state = State::in_memory(Arc::clone(&clock))?;
        let born = AtomicU32::new(0);
        Ok(Self(Arc::new(Inner { settings, clock, sandbox, state, ledger, weather, born })))
    }

    /// The simulated Qlik Cloud. Requests through this handle meet no faults and are not in the ledger.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.0.sandbox
    }

    /// The state file, as somebody who only looks sees it.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.0.state
    }

    /// What happened so far.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// The secret sink.
    #[must_use]
    pub fn sink(&self) -> &SharedSink {
        &self.0.settings.sink
    }

    /// The world's clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// The run of a playbook for a customer that has not come to its end and can be gone on with.
    #[must_use]
    pub fn unfinished(&self, playbook: &Path, customer: &Customer) -> Option<String> {
        let filter = RunFilter {
            scope: Some(self.0.sandbox.organization()),
            customer: Some(customer.code().to_owned()),
            playbook: Some(playbook.to_string_lossy().replace('\\', "/")),
            limit: Some(1),
        };
        let runs = self.0.state.journal().runs(&filter).ok()?;
        runs.into_iter().find(RunRecord::is_resumable).map(|run| run.opening.id)
    }

    /// A new process with this fate.
    ///
    /// # Errors
    /// When the project's settings do not make a host.
    pub fn process(&self, fate: Fate) -> Result<Process, BuildError> {
        let road = fate.road(Arc::clone(&self.0.weather));
        self.begin(fate, self.0.sandbox.through(road))
    }

    /// A new process without harm, whose requests meet no faults and are not in the ledger.
    ///
    /// # Errors
    /// When the project's settings do not make a host.
    pub fn sheltered(&self) -> Result<Process, BuildError> {
        self.begin(Fate::kind(), self.0.sandbox.clone())
    }

    fn begin(&self, fate: Fate, sandbox: Sandbox) -> Result<Process, BuildError> {
        let number = self.0.born.fetch_add(1, Ordering::Relaxed) + 1;
        let settings = &self.0.settings;
        let hook = Arc::new(fate.clone());
        let sink = Sink::Shared(settings.sink.as_process(hook.clone()));
        let vault = Vault::new(Arc::new(BTreeMap::new()), sink, CommandLimits::default());
        for (name, text) in &settings.secrets {
            vault.add(name, SecretSource::literal(text));
        }
        let mut builder = Host::builder();
        if let Some(layer) = &settings.layer {
            builder = builder.layer(Arc::clone(layer));
        }
        let host = builder
            .project(settings.project.clone())
            .clock(Arc::clone(&self.0.clock))
            .random(Random::from_seed(settings.seed ^ (u64::from(number) << 32)))
            .vault(vault)
            .state(self.0.state.as_process(hook))
            .sandbox(sandbox)
            .lanes(1)
            .build()?;
        Ok(Process { host, fate, number, ledger: self.0.ledger.clone() })
    }
}

/// A process in a world: a host that lives until its fate is fulfilled. Dropping it ends the process.
pub struct Process {
    host: Host,
    fate: Fate,
    number: u32,
    ledger: Ledger,
}

impl Process {
    /// Its host, for what is not a run.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Which process of its world it is, counted from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Its fate.
    #[must_use]
    pub fn fate(&self) -> &Fate {
        &self.fate
    }

    /// Runs a playbook for a customer on the world's Qlik Cloud.
    pub async fn run(&self, playbook: &Playbook, customer: &Customer, runtime: &Runtime) -> Ended {
        self.follow(self.host.run(playbook, customer, "sandbox"), runtime).await
    }

    /// Follows a run of this process's host to its end or the process's.
    pub async fn follow(&self, mut run: Run, runtime: &Runtime) -> Ended {
        let mut events = run.events();
        let mut running = Box::pin(run.run_here(runtime));
        let ended = loop {
            tokio::select! {
                biased;
                () = self.fate.died() => break Ended::Died,
                Some(event) = events.next() => self.ledger.tell(self.number, event),
                report = &mut running => break Ended::Reported(Box::new(report)),
            }
        };
        drop(running);
        // The stream ends with the run.
        while let Some(event) = events.next().await {
            self.ledger.tell(self.number, event);
        }
        let ended = if self.fate.is_dead() { Ended::Died } else { ended };
        match &ended {
            Ended::Died | Ended::Refused => self.ledger.line(self.number, "died"),
            Ended::Reported(report) => {
                self.ledger.line(self.number, &serde_json::to_string(report).unwrap_or_default());
            }
        }
        ended
    }
}
