//! How long a run and one of its operations may take.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use rhai::NativeCallContext;
use serde_json::{Value, json};
use tenantry::operation::{Effect, Failure, FailureKind};
use tenantry::playbook::{Call, ScriptError};
use tenantry::sandbox::{Arrival, Fault, Faults, Sandbox, Settings};
use tenantry::store::{State, Vault};
use tenantry::surroundings::{Clock, RuntimeClock};
use tenantry::{Customer, Host, Run, RunReport, RunStatus};
use tokio::time::Instant;

use crate::support::command_line::Folder;

/// A host on this runtime's clock. `slowly(effect, seconds)` asks for an operation that takes so long; how many were
/// begun and how many came to their end is counted.
struct Slow {
    folder: tempfile::TempDir,
    host: Host,
    begun: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
}

impl Slow {
    fn new(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tenantry.toml"), settings).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(RuntimeClock::starting_at(Timestamp::from_second(1_800_000_000).unwrap()));
        let counters = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut builder = Host::builder()
            .root(folder.path())
            .environment(Arc::new(BTreeMap::new()))
            .vault(Vault::in_memory())
            .state(State::in_memory(Arc::clone(&clock)).unwrap())
            .sandbox(Sandbox::in_memory(Settings::default()))
            .clock(clock)
            .lanes(1)
            .functions(|engine| {
                let slowly = |context: NativeCallContext, effect: &str, seconds: i64| -> Result<(), ScriptError> {
                    let mut call = Call::begin(&context, "slowly")?;
                    let effects = [("read", Effect::Read), ("create", Effect::Create)];
                    let effect = effects.into_iter().find(|(name, _)| *name == effect).unwrap();
                    let id = format!("slow.{}", effect.0);
                    call.ask_local(&id, effect.1, "something slow", json!({ "seconds": seconds })).map(|_| ())
                };
                engine.register_fn("slowly", slowly);
            });
        for (name, effect) in [("slow.read", Effect::Read), ("slow.create", Effect::Create)] {
            let (begun, ended) = counters.clone();
            let handler = move |arguments: Value| {
                let (begun, ended) = (Arc::clone(&begun), Arc::clone(&ended));
                async move {
                    begun.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_secs(arguments["seconds"].as_u64().unwrap())).await;
                    ended.fetch_add(1, Ordering::Relaxed);
                    Ok::<_, Failure>(json!(null))
                }
            };
            builder = builder.operation(tenantry::LocalOperation::new(name, effect, handler));
        }
        let (begun, ended) = counters;
        Self { folder, host: builder.build().unwrap(), begun, ended }
    }

    /// The report, and how long it took.
    async fn run(&self, source: &str, set: impl FnOnce(Run) -> Run) -> (RunReport, Duration) {
        assert!(self.folder.path().exists());
        let playbook = self.host.playbook_from_text("test.rhai", source).unwrap();
        let customer = Customer::from_value(json!({ "code": "hb", "name": "Harbour" })).unwrap();
        let began = Instant::now();
        let report = set(self.host.run(&playbook, &customer, "sandbox")).run_here(&self.host.local_runtime()).await;
        (report, began.elapsed())
    }

    fn counts(&self) -> (usize, usize) {
        (self.begun.load(Ordering::Relaxed), self.ended.load(Ordering::Relaxed))
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_run_whose_time_is_up_ends_at_a_boundary_and_says_why() {
    let slow = Slow::new("");
    let (report, took) = slow.run("loop { slowly(\"create\", 25); }", |run| run.timeout(MINUTE)).await;
    assert_eq!(report.status, RunStatus::Cancelled);
    assert!(report.timed_out());
    let error = report.error.unwrap();
    assert_eq!((error.message.as_str(), error.cancelled), ("the run took longer than its 1 min", true));
    assert_eq!(error.failure.unwrap().code, "tenantry/run-timeout");
    assert_eq!((slow.counts(), took.as_secs()), ((3, 3), 75), "the write in flight was waited for, none began after");
}

#[tokio::test(start_paused = true)]
async fn a_read_in_flight_is_not_waited_for_and_one_in_time_is_left_alone() {
    let slow = Slow::new("[limits]\nrun_seconds = 60\n");
    let (report, took) = slow.run("slowly(\"read\", 5); slowly(\"read\", 500);", |run| run).await;
    assert!(report.timed_out());
    assert_eq!((slow.counts(), took.as_secs()), ((2, 1), 60));
    let (report, _) = slow.run("slowly(\"read\", 59);", |run| run).await;
    assert_eq!(report.status, RunStatus::Succeeded);
    let (report, took) = slow.run("slowly(\"read\", 500);", |run| run.timeout(None)).await;
    assert_eq!((report.status, took.as_secs()), (RunStatus::Succeeded, 500), "the run's own word is the last");
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_takes_too_long_fails_and_the_script_may_go_on() {
    let slow = Slow::new("[limits]\noperation_seconds = 30\n");
    let source = "let codes = [];
        for effect in [\"read\", \"create\"] { try { slowly(effect, 31); } catch (error) { codes += error.code; } }
        slowly(\"create\", 29);
        output(#{ codes: codes });
        slowly(\"create\", 31);";
    let (report, took) = slow.run(source, |run| run).await;
    assert_eq!((report.status, took.as_secs()), (RunStatus::Failed, 30 + 30 + 29 + 30));
    let failure = report.error.unwrap().failure.unwrap();
    assert_eq!((failure.code.as_str(), failure.kind), ("tenantry/timeout", FailureKind::Unknown), "it may have acted");
    assert_eq!(failure.title, "`slow.create` took longer than 30 s");
    let read = "try { slowly(\"read\", 3); } catch (error) { throw error; }";
    let (report, _) = slow.run(read, |run| run.operation_timeout(Duration::from_secs(2))).await;
    let failure = report.error.unwrap().failure.unwrap();
    assert_eq!((failure.kind, failure.may_have_acted()), (FailureKind::Unsent, false), "a read changes nothing");
}

#[test]
fn the_command_line_says_who_had_no_time_left() {
    let project = Folder::empty();
    project.write("hb.yaml", "code: hb\nname: Harbour Logistics\nregion: eu\nalias: halyard-hb\n");
    project.write("play.rhai", "let tenant = tenants::ensure(customer);\nloop { tenant.spaces.find(\"Staging\"); }\n");
    let ended = project.run("run play.rhai --customer hb.yaml --timeout 0.1 --json");
    assert_eq!(ended.code, Some(130), "{ended:?}");
    let run = &ended.json()["runs"][0];
    assert_eq!(
        (&run["status"], &run["error"]["failure"]["code"]),
        (&json!("cancelled"), &json!("tenantry/run-timeout"))
    );
    assert!(ended.error.contains("warning: out of time before the end"), "{}", ended.error);
    for wrong in ["0", "5x", "-3", "s", "1e3", ""] {
        let ended = project.run(&format!("run play.rhai --customer hb.yaml --timeout={wrong}"));
        assert_eq!(ended.code, Some(3), "{wrong}");
    }
}

/// Swallows the first creation of a space: no answer ever comes.
struct Swallows(AtomicUsize);

impl Faults for Swallows {
    fn strike(&self, arrival: &Arrival<'_>) -> Option<Fault> {
        let first = arrival.operation == "createSpace" && self.0.fetch_add(1, Ordering::Relaxed) == 0;
        first.then_some(Fault::Silent { done: false })
    }
}

/// Finding out takes longer than the operation had, because lists lag: that time is its own.
#[tokio::test(start_paused = true)]
async fn a_look_up_is_not_bound_by_the_time_of_the_operation_that_it_is_about() {
    let clock: Arc<dyn Clock> = Arc::new(RuntimeClock::starting_at(Timestamp::from_second(1_800_000_000).unwrap()));
    let settings = Settings { clock: Arc::clone(&clock), ..Settings::default() };
    let folder = tempfile::tempdir().unwrap();
    let host = Host::builder()
        .root(folder.path())
        .environment(Arc::new(BTreeMap::new()))
        .vault(Vault::in_memory())
        .state(State::in_memory(Arc::clone(&clock)).unwrap())
        .sandbox(Sandbox::in_memory(settings).through(Arc::new(Swallows(AtomicUsize::new(0)))))
        .clock(clock)
        .lanes(1)
        .build()
        .unwrap();
    let source = "tenants::ensure(customer).spaces.ensure(\"Staging\", \"shared\");";
    let playbook = host.playbook_from_text("test.rhai", source).unwrap();
    let customer = json!({ "code": "hb", "name": "Harbour", "region": "eu" });
    let customer = Customer::from_value(customer).unwrap();
    let run = host.run(&playbook, &customer, "sandbox").operation_timeout(Duration::from_secs(2));
    let began = Instant::now();
    let report = run.run_here(&host.local_runtime()).await;
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
    assert_eq!(began.elapsed(), Duration::from_secs(2) + tenantry::interpreter::PATIENCE);
}
