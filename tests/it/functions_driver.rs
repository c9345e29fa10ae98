//! Runs playbook text against an embedded sandbox, as a user would, and tells what happened.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tenantry::event::{Change, Step};
use tenantry::interpreter::{
    Embedded, Enrolment, Interpreter as _, License, LocalOperations, Locals, Permits, Permitted, Registered, Sourced,
};
use tenantry::operation::{Call, Operation, Outcome, Written};
use tenantry::playbook::{Diagnostic, Extension, Limits, Playbook, Runtime, Start, Told};
use tenantry::render::Templates;
use tenantry::sandbox::{Sandbox, Settings};
use tenantry::store::{Registry, SecretSource, State, Vault};
use tenantry::surroundings::{Clock, Random, RuntimeClock};

/// A project on an embedded sandbox; several playbooks can be run one after another.
pub(crate) struct Project {
    folder: TempDir,
    root: PathBuf,
    pub(crate) sandbox: Sandbox,
    vault: Vault,
    registry: Registry,
    clock: Arc<dyn Clock>,
    random: Random,
    pub(crate) customer: Value,
    pub(crate) verify: bool,
    /// How long every request takes, on the paused clock.
    pub(crate) latency: Duration,
    pub(crate) enrolment: Option<Enrolment>,
    /// The target's source tenant.
    pub(crate) source: Option<String>,
    /// What an earlier process of the run has written.
    pub(crate) written: Written,
    /// Answers some requests in the service's place, by their number among those of their operation.
    pub(crate) instead: Option<fn(&Operation, usize) -> Option<Outcome>>,
    /// How much of the paused time earlier runs took.
    past: Cell<Duration>,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) output: Map<String, Value>,
    pub(crate) steps: Vec<Step>,
    pub(crate) logs: Vec<String>,
    pub(crate) operations: Vec<Operation>,
    pub(crate) error: Option<Diagnostic>,
    /// How long it took on the paused clock.
    pub(crate) elapsed: Duration,
}

impl Report {
    /// The operations that reached the service, by id.
    pub(crate) fn requests(&self) -> Vec<&str> {
        self.operations
            .iter()
            .filter(|operation| matches!(operation.call, Call::Request(_)))
            .map(|operation| operation.id.as_str())
            .collect()
    }

    pub(crate) fn writes(&self) -> Vec<&str> {
        self.operations
            .iter()
            .filter(|operation| matches!(operation.call, Call::Request(_)) && operation.effect.is_write())
            .map(|operation| operation.id.as_str())
            .collect()
    }

    /// `Created space "Staging"`, without the tenant's own step.
    pub(crate) fn told(&self) -> Vec<String> {
        self.steps
            .iter()
            .filter(|step| !step.subject.starts_with("tenant "))
            .map(|step| format!("{:?} {}", step.change, step.subject))
            .collect()
    }

    pub(crate) fn last(&self) -> &Step {
        self.steps.last().expect("a step was told")
    }

    /// The run's end, which must be good.
    #[track_caller]
    pub(crate) fn good(self) -> Self {
        if let Some(error) = &self.error {
            panic!("{error:#?}");
        }
        self
    }

    /// What the error that ended the run says, and its hints.
    #[track_caller]
    pub(crate) fn failure(&self) -> String {
        let error = self.error.as_ref().expect("the run failed");
        format!("{} | {}", error.message, error.hints.join("; "))
    }
}

impl Project {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// The same on a sandbox of other settings.
    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(RuntimeClock::starting_at("2026-11-24T09:00:00Z".parse().unwrap()));
        let mut settings = Settings { clock, random: Random::from_seed(7), ..Settings::default() };
        change(&mut settings);
        Self::on(Sandbox::in_memory(settings))
    }

    /// A project on a machine whose registry knows nothing of this sandbox's tenants.
    pub(crate) fn on(sandbox: Sandbox) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(RuntimeClock::starting_at("2026-11-24T09:00:00Z".parse().unwrap()));
        let random = Random::from_seed(8);
        let vault = Vault::in_memory();
        vault.add("target/license-key", SecretSource::literal(sandbox.credentials().license_key));
        vault.add("entra", SecretSource::literal("entra-client-secret"));
        let folder = tempfile::tempdir().unwrap();
        Self {
            root: folder.path().to_owned(),
            folder,
            registry: State::in_memory(Arc::clone(&clock)).unwrap().registry(),
            sandbox: sandbox.clone(),
            vault,
            clock,
            random,
            customer: json!({ "code": "hb", "name": "Harbour Logistics", "region": "eu", "alias": "halyard-hb" }),
            verify: false,
            latency: Duration::ZERO,
            enrolment: None,
            source: Some(sandbox.source_tenant().to_owned()),
            written: Written::default(),
            instead: None,
            past: Cell::default(),
        }
    }

    /// The project this repository is, with this customer.
    pub(crate) fn stock(customer: Value) -> Self {
        Self::new().into_stock(customer)
    }

    /// The same on the sandbox this project has.
    pub(crate) fn into_stock(self, customer: Value) -> Self {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let project = Self { root: root.clone(), customer, ..self };
        for (name, source) in tenantry::Project::open(&root).unwrap().secrets() {
            project.vault.add(name, source.clone());
        }
        project.vault.add("entra", SecretSource::literal("entra-client-secret"));
        project
    }

    /// Lets time pass between two runs.
    pub(crate) fn later(&self, span: Duration) {
        self.past.set(self.past.get() + span);
    }

    /// Another customer in the same project.
    pub(crate) fn with_customer(mut self, customer: Value) -> Self {
        self.customer = customer;
        self
    }

    /// Runs a playbook of the project as its file says, permissions included.
    pub(crate) fn play_file(&self, path: &str) -> Report {
        self.play_text(&Playbook::load(&self.root, Path::new(path)).unwrap())
    }

    /// Puts a file under `templates/`.
    pub(crate) fn template(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.folder.path().join("templates").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Puts a file into the project.
    pub(crate) fn file(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Runs `script` with `tenant` as the customer's tenant.
    pub(crate) fn run(&self, script: &str) -> Report {
        self.play(&format!("let tenant = tenants::ensure(customer);\n{script}"))
    }

    /// Runs `script` as it is.
    pub(crate) fn play(&self, script: &str) -> Report {
        self.play_text(&Playbook::from_source("playbooks/test.rhai", script).unwrap())
    }

    fn play_text(&self, playbook: &Playbook) -> Report {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            // Time goes on from run to run.
            tokio::time::advance(self.past.get()).await;
            let report = self.drive(playbook).await;
            self.past.set(self.past.get() + report.elapsed);
            report
        })
    }

    async fn drive(&self, playbook: &Playbook) -> Report {
        let templates = Arc::new(Templates::new(&self.root));
        let extension: Extension =
            Arc::new(move |engine: &mut rhai::Engine| tenantry::functions::register(engine, &templates));
        let runtime = Runtime::new(&self.root, &[extension]);
        let start = Start {
            customer: self.customer.clone(),
            limits: Limits::default(),
            clock: Arc::clone(&self.clock),
            verify: self.verify,
        };
        let mut session = runtime.start(playbook, start).unwrap();
        session.set_written(self.written.clone());
        let embedded = Embedded::new(
            self.sandbox.clone(),
            Arc::new(self.vault.clone()),
            Arc::clone(&self.clock),
            self.random.clone(),
        );
        let locals = LocalOperations::standard(Arc::clone(&self.clock), self.random.clone(), self.vault.clone());
        let locals = locals.files(&self.root);
        let enrolment = self.enrolment.clone().unwrap_or_else(|| Enrolment::Organization {
            identity: self.sandbox.organization(),
            may_begin: true,
            lists: false,
            license: License::Key("target/license-key".to_owned()),
        });
        let code = self.customer["code"].as_str().unwrap_or("none").to_owned();
        let permits = match &playbook.header().permits {
            Some(words) => Permits::parse(words.iter().map(String::as_str), &[]).unwrap(),
            None => Permits::everything(),
        };
        let interpreter =
            Registered::new(Locals::new(embedded, Arc::new(locals)), self.registry.clone(), enrolment, code, "run-1");
        let interpreter = Permitted::new(Sourced::new(interpreter, self.source.clone()), permits);
        let began = tokio::time::Instant::now();
        let (mut steps, mut logs, mut operations) = (Vec::new(), Vec::new(), Vec::new());
        let mut open = FuturesUnordered::new();
        loop {
            let interpreter = &interpreter;
            for (key, operation) in session.asked() {
                let number = operations.iter().filter(|earlier: &&Operation| earlier.id == operation.id).count();
                operations.push(operation.clone());
                let instead = self.instead.and_then(|instead| instead(&operation, number));
                let latency = if matches!(operation.call, Call::Request(_)) { self.latency } else { Duration::ZERO };
                open.push(async move {
                    tokio::time::sleep(latency).await;
                    let outcome = match instead {
                        Some(outcome) => outcome,
                        None => interpreter.perform(&key, &operation).await,
                    };
                    (key, outcome)
                });
            }
            for told in session.told() {
                match told {
                    Told::Step(step) => steps.push(step),
                    Told::Log { message, .. } => logs.push(message),
                    Told::Read { .. } => {}
                }
            }
            match open.next().await {
                Some((key, outcome)) => session.answer(&key, outcome),
                None => break,
            }
        }
        let (output, error) = match session.finish() {
            Ok(output) => (output, None),
            Err(error) => (Map::new(), Some(error)),
        };
        Report { output, steps, logs, operations, error, elapsed: began.elapsed() }
    }
}

/// Three runs of one function: it makes something, then leaves it alone, then `changed` changes it.
#[track_caller]
pub(crate) fn converges(project: &Project, first: &str, changed: Option<&str>) -> [Report; 2] {
    let made = project.run(first).good();
    assert_eq!(made.last().change, Change::Created, "{:?}", made.told());
    let again = project.run(first).good();
    assert_eq!(again.writes(), Vec::<&str>::new(), "a second run writes nothing");
    assert_eq!(again.last().change, Change::Unchanged, "{:?}", again.told());
    let changed = match changed {
        Some(changed) => project.run(changed).good(),
        None => again,
    };
    [made, changed]
}
