//! A project with one playbook and an embedder's CRM, on the paused clock.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use rhai::NativeCallContext;
use serde_json::{Value, json};
use tenantry::operation::{Effect, Failure, FailureKind};
use tenantry::playbook::{Call, ScriptError};
use tenantry::sandbox::{Sandbox, Settings};
use tenantry::store::{State, Vault};
use tenantry::surroundings::{Clock, RuntimeClock};
use tenantry::{Change, Customer, Host, HostBuilder, LocalOperation, Run, RunReport};

/// A project with one playbook. `make(name)` asks the embedder's CRM for an entry, which takes a second; what it is to do
/// with the next ones can be said beforehand. `look(name)` says how many entries there are.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) host: Host,
    pub(crate) crm: Arc<Crm>,
}

#[derive(Default)]
pub(crate) struct Crm {
    pub(crate) made: Mutex<Vec<String>>,
    pub(crate) looked: AtomicU32,
    pub(crate) next: Mutex<Vec<Failure>>,
}

fn make(context: NativeCallContext, name: &str) -> Result<(), ScriptError> {
    let mut call = Call::begin(&context, "make")?;
    call.ask_local("crm.make", Effect::Create, format!("entry \"{name}\""), json!({ "name": name }))?;
    call.step(Change::Created, format!("entry \"{name}\""), Vec::new());
    Ok(())
}

/// Asks for an entry that takes so many seconds to make.
fn take(context: NativeCallContext, seconds: i64) -> Result<(), ScriptError> {
    let mut call = Call::begin(&context, "take")?;
    let arguments = json!({ "name": format!("slow {seconds}"), "seconds": seconds });
    call.ask_local("crm.make", Effect::Create, format!("slow entry {seconds}"), arguments).map(|_| ())
}

/// Tells a step.
fn note(context: NativeCallContext, subject: &str) -> Result<(), ScriptError> {
    Call::begin(&context, "note")?.step(Change::Acted, subject, Vec::new());
    Ok(())
}

pub(crate) fn functions(engine: &mut rhai::Engine) {
    engine.register_fn("make", make);
    engine.register_fn("take", take);
    engine.register_fn("ensure", ensure);
    engine.register_fn("note", note);
}

/// Makes it unless it is there, as Qlik's functions do.
fn ensure(context: NativeCallContext, name: &str) -> Result<(), ScriptError> {
    let mut call = Call::begin(&context, "ensure")?;
    let there = call.ask_local("crm.look", Effect::Read, "the CRM", json!({}))?;
    if there.as_array().unwrap().contains(&json!(name)) {
        call.step(Change::Unchanged, format!("entry \"{name}\""), Vec::new());
    } else {
        call.ask_local("crm.make", Effect::Create, format!("entry \"{name}\""), json!({ "name": name }))?;
        call.step(Change::Created, format!("entry \"{name}\""), Vec::new());
    }
    Ok(())
}

impl World {
    pub(crate) fn new(playbook: &str) -> Self {
        Self::with(playbook, |builder| builder)
    }

    pub(crate) fn with(playbook: &str, set: impl FnOnce(HostBuilder) -> HostBuilder) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(RuntimeClock::starting_at(Timestamp::from_second(1_800_000_000).unwrap()));
        let (folder, crm) = (tempfile::tempdir().unwrap(), Arc::new(Crm::default()));
        let (making, looking) = (Arc::clone(&crm), Arc::clone(&crm));
        let builder = Host::builder()
            .root(folder.path())
            .environment(Arc::new(BTreeMap::new()))
            .vault(Vault::in_memory())
            .sandbox(Sandbox::in_memory(Settings { clock: Arc::clone(&clock), ..Settings::default() }))
            .state(State::in_memory(Arc::clone(&clock)).unwrap())
            .clock(clock)
            .lanes(1)
            .functions(functions)
            .operation(LocalOperation::new("crm.make", Effect::Create, move |arguments| {
                let crm = Arc::clone(&making);
                async move {
                    tokio::time::sleep(
                        arguments["seconds"].as_u64().map_or(Duration::from_secs(1), Duration::from_secs),
                    )
                    .await;
                    let failure = { crm.next.lock().unwrap().pop() };
                    if failure.as_ref().is_none_or(|failure| failure.kind == FailureKind::Unknown) {
                        crm.made.lock().unwrap().push(arguments["name"].as_str().unwrap().to_owned());
                    }
                    failure.map_or(Ok(Value::Null), Err)
                }
            }))
            .operation(LocalOperation::new("crm.look", Effect::Read, move |_| {
                let crm = Arc::clone(&looking);
                async move {
                    crm.looked.fetch_add(1, Ordering::Relaxed);
                    Ok(json!(*crm.made.lock().unwrap()))
                }
            }));
        let world = Self { folder, host: set(builder).build().unwrap(), crm };
        world.write("play.rhai", playbook);
        world
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn start(&self) -> Run {
        let playbook = self.host.playbook("play.rhai").unwrap();
        let values = json!({ "code": "hb", "name": "Harbour", "region": "eu", "alias": "halyard-hb" });
        self.host.run(&playbook, &Customer::from_value(values).unwrap(), "sandbox")
    }

    pub(crate) async fn drive(&self, run: Run) -> RunReport {
        run.run_here(&self.host.local_runtime()).await
    }

    pub(crate) async fn first(&self) -> RunReport {
        self.drive(self.start()).await
    }

    pub(crate) async fn resume(&self, run: &str) -> RunReport {
        self.drive(self.host.resume(run).unwrap()).await
    }

    pub(crate) fn made(&self) -> Vec<String> {
        self.crm.made.lock().unwrap().clone()
    }

    pub(crate) fn refuse_next(&self, kind: FailureKind) {
        self.crm.next.lock().unwrap().push(Failure::new(kind, "CRM-1", "the CRM did not answer"));
    }
}
