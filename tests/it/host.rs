//! Whole runs through the library's face, on a sandbox in memory.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::process::Command;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{Thread, current, park};
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tenantry::operation::{Effect, Failure, FailureKind};
use tenantry::playbook::{Call, ScriptError};
use tenantry::sandbox::{Sandbox, Settings};
use tenantry::store::{State, Vault};
use tenantry::surroundings::{Clock, RuntimeClock, SystemClock};
use tenantry::{Change, Customer, Event, Host, HostBuilder, LocalOperation, RunReport, RunStatus, Step};
use tokio::sync::{Notify, oneshot};

fn builder(folder: &tempfile::TempDir) -> HostBuilder {
    Host::builder()
        .root(folder.path())
        .environment(Arc::new(BTreeMap::new()))
        .vault(Vault::in_memory())
        .state(State::in_memory(Arc::new(SystemClock::default())).unwrap())
        .sandbox(Sandbox::in_memory(Settings::default()))
        .lanes(1)
}

fn customer() -> Customer {
    let values = json!({ "code": "hb", "name": "Harbour Logistics", "region": "eu", "alias": "halyard-hb" });
    Customer::from_value(values).unwrap()
}

/// Waits for a future on this thread, with no runtime around it.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => park(),
        }
    }
}

fn is_send<T: Send>(value: T) -> T {
    value
}

fn run(host: &Host, source: &str) -> RunReport {
    let playbook = host.playbook_from_text("playbooks/test.rhai", source).unwrap();
    let customer = customer();
    block_on(is_send(async move { host.run(&playbook, &customer, "sandbox").await }))
}

const SPACE: &str = r#"
    let tenant = tenants::ensure(customer);
    let staging = tenant.spaces.ensure("Staging", "shared");
    output(#{ space: staging.name });
"#;

#[test]
fn a_tenant_is_created_once_and_a_repeat_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let host = builder(&folder).build().unwrap();
    let first = run(&host, SPACE);
    assert_eq!(first.status, RunStatus::Succeeded, "{:?}", first.error);
    assert_eq!(first.output["space"], "Staging");
    assert_eq!(first.tenant.as_ref().unwrap().url, "https://halyard-hb.eu.qlikcloud.com");
    let second = run(&host, SPACE);
    assert_eq!((second.writes, second.changes.len()), (0, 0));
    assert_eq!(second.tenant, first.tenant);
}

#[test]
fn a_run_tells_what_happens_as_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let host = builder(&folder).build().unwrap();
    let playbook = host.playbook_from_text("playbooks/test.rhai", SPACE).unwrap();
    let mut run = host.run(&playbook, &customer(), "sandbox");
    let events = run.events();
    let (report, events) = block_on(async { tokio::join!(async { run.await }, events.collect::<Vec<Event>>()) });
    assert!(matches!(events.first(), Some(Event::RunStarted { run, .. }) if *run == report.run));
    assert!(matches!(events.last(), Some(Event::RunFinished { status, .. }) if status == "succeeded"));
    let operations = events.iter().filter(|event| matches!(event, Event::Operation { .. })).count();
    assert!(operations > usize::try_from(report.requests).unwrap(), "local operations are told too");
    let steps: Vec<&str> = events
        .iter()
        .filter_map(|event| match event {
            Event::Step { step, .. } => Some(step.subject.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(steps.last(), Some(&"space \"Staging\""));
}

/// A host whose playbooks can `ask(name)` for an embedder's operation that says when it began and waits to be let go.
fn waiting_host(folder: &tempfile::TempDir, effect: Effect) -> (Host, Arc<Notify>, oneshot::Receiver<()>, Arc<Notify>) {
    let (began, let_go, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()), oneshot::channel());
    let (begins, waits) = (Arc::clone(&began), Arc::clone(&let_go));
    let ends = Arc::new(std::sync::Mutex::new(Some(ended.0)));
    let handler = move |_: Value| {
        let (begins, waits, ends) = (Arc::clone(&begins), Arc::clone(&waits), Arc::clone(&ends));
        async move {
            begins.notify_one();
            waits.notified().await;
            if let Some(ends) = ends.lock().unwrap().take() {
                let _ = ends.send(());
            }
            Ok::<_, Failure>(json!(null))
        }
    };
    let host = builder(folder)
        .functions(move |engine| {
            engine.register_fn("ask", move |context: rhai::NativeCallContext| -> Result<(), ScriptError> {
                Call::begin(&context, "ask")?.ask_local("crm.wait", effect, "the CRM", json!({})).map(|_| ())
            });
        })
        .operation(LocalOperation::new("crm.wait", effect, handler))
        .build()
        .unwrap();
    (host, began, ended.1, let_go)
}

#[test]
fn cancel_waits_for_a_write_in_flight_and_asks_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let (host, began, ended, let_go) = waiting_host(&folder, Effect::Create);
    let playbook = host.playbook_from_text("playbooks/test.rhai", "ask(); tenants::ensure(customer);").unwrap();
    let run = host.run(&playbook, &customer(), "sandbox");
    let canceller = run.canceller();
    let report = block_on(async {
        let stop = async {
            began.notified().await;
            canceller.cancel();
            let_go.notify_one();
        };
        tokio::join!(async { run.await }, stop).0
    });
    assert_eq!(report.status, RunStatus::Cancelled);
    assert_eq!(report.requests, 0);
    block_on(ended).expect("the write was waited for");
}

#[test]
fn dropping_the_future_cancels_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let (host, began, ended, let_go) = waiting_host(&folder, Effect::Create);
    let playbook = host.playbook_from_text("playbooks/test.rhai", "ask(); tenants::ensure(customer);").unwrap();
    let customer = customer();
    let mut run = Box::pin(host.run(&playbook, &customer, "sandbox").into_future());
    block_on(async {
        tokio::select! {
            _ = &mut run => panic!("the run cannot have ended"),
            () = began.notified() => {}
        }
    });
    drop(run);
    let_go.notify_one();
    block_on(ended).expect("the write in flight was not abandoned");
    // The one lane is free again, and the run that was dropped created nothing.
    let listing = block_on(host.tenants("sandbox")).unwrap();
    assert!(listing.tenants.is_empty() && listing.unsettled.is_empty());
}

#[test]
fn a_busy_script_does_not_hold_up_another_on_its_lane() {
    let folder = tempfile::tempdir().unwrap();
    let host = builder(&folder).build().unwrap();
    let busy = host.playbook_from_text("playbooks/busy.rhai", "let n = 0; loop { n += 1; }").unwrap();
    let quick = host.playbook_from_text("playbooks/quick.rhai", "output(#{ done: true });").unwrap();
    let other = Customer::from_value(json!({ "code": "fw", "name": "Fenwick" })).unwrap();
    let (first, second) = (host.run(&busy, &customer(), "sandbox"), host.run(&quick, &other, "sandbox"));
    let stop = first.canceller();
    let (busy, quick) = block_on(async {
        tokio::join!(async { first.await }, async {
            let report = second.await;
            stop.cancel();
            report
        })
    });
    assert_eq!((busy.status, quick.status), (RunStatus::Cancelled, RunStatus::Succeeded));
}

#[test]
fn what_a_playbook_does_not_permit_is_refused_before_it_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let host = builder(&folder).build().unwrap();
    let report = run(
        &host,
        "//! @permits tenants:create tenants:update\nlet t = tenants::ensure(customer);\nt.spaces.ensure(\"A\", \"shared\");",
    );
    assert_eq!(report.writes, 2, "a request that was not sent is not counted");
    let error = report.error.unwrap();
    assert_eq!(error.failure.unwrap().code, "tenantry/not-permitted");
    assert_eq!(error.site.unwrap().to_string(), "playbooks/test.rhai:3:10");
    assert_eq!(error.hints, ["add `spaces:create` to the playbook's @permits line"]);
    let unknown = host.playbook_from_text("p.rhai", "//! Text.\n//! @permits space:write").err().unwrap();
    assert_eq!(unknown.site.unwrap().to_string(), "p.rhai:2:14");
    assert_eq!(unknown.hints, ["did you mean `spaces:write`?"]);
}

#[test]
fn a_tenant_whose_name_could_not_be_set_is_taken_up_by_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let host = builder(&folder).build().unwrap();
    let first = run(&host, "//! @permits tenants:create\ntenants::ensure(customer);");
    assert_eq!(first.error.unwrap().failure.unwrap().code, "tenantry/not-permitted");
    let second = run(&host, SPACE);
    assert_eq!(second.status, RunStatus::Succeeded, "{:?}", second.error);
    assert_eq!(second.tenant.as_ref().unwrap().url, "https://halyard-hb.eu.qlikcloud.com");
    let listing = block_on(host.tenants("sandbox")).unwrap();
    assert_eq!(listing.tenants.len(), 1);
    assert_eq!(listing.tenants[0].created_by_run.as_ref(), Some(&first.run), "it is the first run's tenant");
}

#[test]
fn the_example_runs() {
    // Through cargo, which builds it when only this test was asked for; into the folder this very binary comes from.
    let own = std::env::current_exe().unwrap();
    let (profile, target) = (own.ancestors().nth(2).unwrap(), own.ancestors().nth(3).unwrap());
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into()));
    command.args(["run", "--quiet", "--offline", "--example", "embed"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let output = command.env("CARGO_TARGET_DIR", target).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["status"], &report["output"]["ticket"]), (&json!("succeeded"), &json!("T-64")));
}

#[test]
fn a_failure_that_ends_the_run_is_not_caught_and_is_its_error() {
    let folder = tempfile::tempdir().unwrap();
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counts = Arc::clone(&asked);
    let handler = move |_: Value| {
        counts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let failure = Failure::new(FailureKind::Cancelled, "crm/closed", "the CRM has closed").hint("open it");
        async { Err::<Value, _>(failure) }
    };
    let host = builder(&folder)
        .functions(|engine| {
            engine.register_fn("ask", |context: rhai::NativeCallContext| -> Result<(), ScriptError> {
                Call::begin(&context, "ask")?.ask_local("crm.ask", Effect::Create, "the CRM", json!({})).map(|_| ())
            });
        })
        .operation(LocalOperation::new("crm.ask", Effect::Create, handler))
        .build()
        .unwrap();
    let source = "parallel([1], |n| {\n  try { ask(); } catch { }\n  ask();\n});\nask();";
    let report = run(&host, source);
    assert_eq!((report.status, asked.load(std::sync::atomic::Ordering::Relaxed)), (RunStatus::Failed, 1));
    let error = report.error.unwrap();
    assert_eq!((error.message.as_str(), error.hints), ("the CRM has closed", vec!["open it".to_owned()]));
    assert_eq!(error.site.unwrap().to_string(), "playbooks/test.rhai:2:9");
    assert_eq!(
        (error.line.as_deref(), error.operation.as_deref()),
        (Some("  try { ask(); } catch { }"), Some("crm.ask"))
    );
    assert_eq!(error.failure.unwrap().kind, FailureKind::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn changes_are_reported_in_the_order_of_the_program_whichever_branch_was_faster() {
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(RuntimeClock::starting_at("2026-11-24T08:00:00Z".parse().unwrap()));
    let host = builder(&folder)
        .clock(clock)
        .functions(|engine| {
            let make = |context: rhai::NativeCallContext, seconds: i64| -> Result<(), ScriptError> {
                let mut call = Call::begin(&context, "make")?;
                call.ask_local("crm.make", Effect::Create, "the CRM", json!(seconds))?;
                call.step(Change::Created, format!("entry {seconds}"), Vec::new());
                Ok(())
            };
            engine.register_fn("make", make);
        })
        .operation(LocalOperation::new("crm.make", Effect::Create, |seconds| async move {
            tokio::time::sleep(Duration::from_secs(seconds.as_u64().unwrap())).await;
            Ok(json!(null))
        }))
        .build()
        .unwrap();
    let source = "make(9); parallel([5, 3, 4], |n| { make(n); make(10 - n); }); make(1);";
    let playbook = host.playbook_from_text("playbooks/test.rhai", source).unwrap();
    let mut run = host.run(&playbook, &customer(), "sandbox");
    let events = run.events();
    let report = run.run_here(&host.local_runtime()).await;
    let steps = |step: &Step| (step.subject.clone(), step.call.as_ref().unwrap().to_string());
    let told: Vec<_> = events
        .filter_map(|event| async move { if let Event::Step { step, .. } = event { Some(step.subject) } else { None } })
        .collect()
        .await;
    assert_eq!(told[..3], ["entry 9", "entry 3", "entry 4"], "as it happens: the fastest first");
    let changes: Vec<_> = report.changes.iter().map(steps).collect();
    let expected = [
        ("entry 9", "0"),
        ("entry 5", "1[0].0"),
        ("entry 5", "1[0].1"),
        ("entry 3", "1[1].0"),
        ("entry 7", "1[1].1"),
        ("entry 4", "1[2].0"),
        ("entry 6", "1[2].1"),
        ("entry 1", "2"),
    ];
    assert_eq!(changes, expected.map(|(subject, call)| (subject.to_owned(), call.to_owned())));
}
