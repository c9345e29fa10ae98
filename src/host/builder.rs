use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::connection::{Connections, Wiring};
use super::lane::Lanes;
use super::run::Timeouts;
use super::{Host, Inner};
use crate::interpreter::{Layer, LocalOperation, LocalOperationError, LocalOperations};
use crate::playbook::{Extension, Limits};
use crate::project::{InputError, Project};
use crate::qlik::HttpSettings;
use crate::render::Templates;
use crate::sandbox::Sandbox;
use crate::store::{Environment, Fingerprints, State, StateError, Vault};
use crate::surroundings::{Clock, Random, SystemClock};

/// What a [`Host`] is made from. Everything has a default: a project in the current folder, the machine's clock.
#[derive(Default)]
pub struct HostBuilder {
    root: Option<PathBuf>,
    project: Option<Project>,
    environment: Option<Arc<dyn Environment>>,
    clock: Option<Arc<dyn Clock>>,
    random: Option<Random>,
    vault: Option<Vault>,
    state: Option<State>,
    sandbox: Option<Sandbox>,
    http: HttpSettings,
    extensions: Vec<Extension>,
    operations: Vec<LocalOperation>,
    layers: Vec<Layer>,
    lanes: Option<usize>,
    new_registry: bool,
}

/// A host cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The project's settings are wrong.
    #[error(transparent)]
    Project(#[from] InputError),
    /// The state file cannot be opened.
    #[error(transparent)]
    State(#[from] StateError),
    /// A local operation cannot be registered.
    #[error(transparent)]
    Operation(#[from] LocalOperationError),
    /// Threads cannot be started.
    #[error("cannot start threads: {0}")]
    Threads(#[from] std::io::Error),
}

impl HostBuilder {
    /// The folder of the project: playbooks, templates, `tenantry.toml`. Its state is kept in `.tenantry` there.
    #[must_use]
    pub fn root(mut self, folder: impl Into<PathBuf>) -> Self {
        self.root = Some(folder.into());
        self
    }

    /// A project that has been opened already.
    #[must_use]
    pub fn project(mut self, project: Project) -> Self {
        self.project = Some(project);
        self
    }

    /// The environment variables that secret sources may name; none by default.
    #[must_use]
    pub fn environment(mut self, environment: Arc<dyn Environment>) -> Self {
        self.environment = Some(environment);
        self
    }

    /// Where the time comes from.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Where chance comes from.
    #[must_use]
    pub fn random(mut self, random: Random) -> Self {
        self.random = Some(random);
        self
    }

    /// Where secrets come from and go to, in place of the project's settings.
    #[must_use]
    pub fn vault(mut self, vault: Vault) -> Self {
        self.vault = Some(vault);
        self
    }

    /// The registry of tenants and the journal of runs, in place of `.tenantry/state.db`.
    #[must_use]
    pub fn state(mut self, state: State) -> Self {
        self.state = Some(state);
        self
    }

    /// The sandbox behind the target `sandbox`, in place of the one in `.tenantry`.
    #[must_use]
    pub fn sandbox(mut self, sandbox: Sandbox) -> Self {
        self.sandbox = Some(sandbox);
        self
    }

    /// Timeouts and proxy of real requests.
    #[must_use]
    pub fn http(mut self, http: HttpSettings) -> Self {
        self.http = http;
        self
    }

    /// Adds functions to the playbook language. Called once for every lane.
    #[must_use]
    pub fn functions(mut self, register: impl Fn(&mut rhai::Engine) + Send + Sync + 'static) -> Self {
        self.extensions.push(Arc::new(register));
        self
    }

    /// Adds an operation of the embedder's own; a function reaches it with [`Call::ask`](crate::playbook::Call::ask).
    #[must_use]
    pub fn operation(mut self, operation: LocalOperation) -> Self {
        self.operations.push(operation);
        self
    }

    /// Adds a layer of the embedder's own around what performs a run's operations. It stands under the journal: it sees
    /// each operation that is really performed, and each question what became of one. A later layer goes around an
    /// earlier one.
    #[must_use]
    pub fn layer(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// How many threads run scripts; by default one for each core, at most four.
    #[must_use]
    pub fn lanes(mut self, count: usize) -> Self {
        self.lanes = Some(count);
        self
    }

    /// Lets tenants be created although the registry is empty and the organization's tenants cannot be listed.
    #[must_use]
    pub fn new_registry(mut self, allowed: bool) -> Self {
        self.new_registry = allowed;
        self
    }

    /// The host.
    ///
    /// # Errors
    /// When the settings are wrong, the state file cannot be opened, or a local operation cannot be registered.
    pub fn build(self) -> Result<Host, BuildError> {
        let project = match self.project {
            Some(project) => project,
            None => Project::open(&self.root.unwrap_or_else(|| PathBuf::from(".")))?,
        };
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::default()));
        let random = self.random.unwrap_or_else(Random::from_system);
        let environment = self.environment.unwrap_or_else(|| Arc::new(BTreeMap::new()));
        let vault = self.vault.unwrap_or_else(|| project.vault(environment));
        let state = match self.state {
            Some(state) => state,
            None => State::open(&project.state_file(), Arc::clone(&clock))?,
        };
        let mut locals =
            LocalOperations::standard(Arc::clone(&clock), random.clone(), vault.clone()).files(project.root());
        for operation in self.operations {
            locals.add(operation)?;
        }
        let extensions = extensions(project.root(), &self.extensions);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let lanes = Lanes::start(self.lanes.unwrap_or_else(|| cores.min(4)), project.root(), &extensions)?;
        let io = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(cores.clamp(1, 4))
            .thread_name("io")
            .enable_all()
            .build()?;
        let limits = limits(&project);
        let seconds = |seconds: Option<u64>| seconds.map(Duration::from_secs);
        let timeouts = Timeouts {
            run: seconds(project.limits().run_seconds),
            operation: seconds(project.limits().operation_seconds),
        };
        let fingerprints = Fingerprints::new(vault.clone(), random.clone());
        let wiring =
            Wiring { http: self.http, sandbox: self.sandbox, layers: self.layers, new_registry: self.new_registry };
        Ok(Host(Arc::new(Inner {
            connections: Connections::new(wiring),
            project,
            clock,
            random,
            limits,
            timeouts,
            fingerprints,
            vault,
            registry: state.registry(),
            state,
            locals: Arc::new(locals),
            lanes,
            extensions,
            functions: self.extensions,
            io: Some(io),
        })))
    }
}

/// The language for a project in this folder: what comes with it, and the embedder's `functions`.
pub(super) fn extensions(root: &Path, functions: &[Extension]) -> Vec<Extension> {
    let templates = Arc::new(Templates::new(root));
    let standard: Extension = Arc::new(move |engine: &mut rhai::Engine| crate::functions::register(engine, &templates));
    std::iter::once(standard).chain(functions.iter().cloned()).collect()
}

fn limits(project: &Project) -> Limits {
    let (set, standard) = (project.limits(), Limits::default());
    Limits {
        steps: set.steps.unwrap_or(standard.steps),
        script_time: set.script_seconds.map_or(standard.script_time, Duration::from_secs),
        memory: set
            .memory_mb
            .and_then(|megabytes| usize::try_from(megabytes).ok()?.checked_mul(1 << 20))
            .unwrap_or(standard.memory),
        operations: set.operations.and_then(|count| u32::try_from(count).ok()).unwrap_or(standard.operations),
    }
}
