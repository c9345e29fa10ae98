//! What a host keeps of its runs, and that one run at a time works on a customer and on a tenant.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use jiff::Timestamp;
use rhai::NativeCallContext;
use serde_json::{Value, json};
use tenantry::operation::{Effect, Failure};
use tenantry::playbook::{Call, ScriptError};
use tenantry::sandbox::{Sandbox, Settings};
use tenantry::store::{CommitHook, Entry, Logged, RunFilter, RunKind, RunState, State, Vault, Verdict};
use tenantry::surroundings::{Clock, RuntimeClock};
use tenantry::{Customer, Host, HostBuilder, LocalOperation, Run, RunReport, RunStatus};
use tokio::sync::Notify;

use crate::support::command_line::{Ended, Folder, Served};

fn clock() -> Arc<dyn Clock> {
    Arc::new(RuntimeClock::starting_at(Timestamp::from_second(1_800_000_000).unwrap()))
}

/// A host whose playbooks can `wait()` until it lets them go on.
struct Waiting {
    folder: tempfile::TempDir,
    host: Host,
    began: Arc<Notify>,
    go: Arc<Notify>,
}

fn waiting(state: State, set: impl FnOnce(HostBuilder) -> HostBuilder) -> Waiting {
    let folder = tempfile::tempdir().unwrap();
    let (began, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, goes) = (Arc::clone(&began), Arc::clone(&go));
    let builder = Host::builder()
        .root(folder.path())
        .environment(Arc::new(BTreeMap::new()))
        .vault(Vault::in_memory())
        .sandbox(Sandbox::in_memory(Settings::default()))
        .clock(clock())
        .state(state)
        .lanes(1)
        .functions(|engine| {
            engine.register_fn("wait", |context: NativeCallContext| -> Result<(), ScriptError> {
                Call::begin(&context, "wait")?.ask_local("crm.wait", Effect::Read, "the CRM", json!({})).map(|_| ())
            });
        })
        .operation(LocalOperation::new("crm.wait", Effect::Read, move |_| {
            let (begins, goes) = (Arc::clone(&begins), Arc::clone(&goes));
            async move {
                begins.notify_one();
                goes.notified().await;
                Ok::<_, Failure>(Value::Null)
            }
        }));
    Waiting { host: set(builder).build().unwrap(), folder, began, go }
}

fn customer(code: &str) -> Customer {
    let values = json!({ "code": code, "name": format!("{code} Logistics"), "region": "eu", "alias": format!("halyard-{code}") });
    Customer::from_value(values).unwrap()
}

impl Waiting {
    fn run(&self, source: &str, code: &str) -> Run {
        let playbook = self.host.playbook_from_text("playbooks/test.rhai", source).unwrap();
        self.host.run(&playbook, &customer(code), "sandbox")
    }

    async fn here(&self, source: &str, code: &str) -> RunReport {
        self.run(source, code).run_here(&self.host.local_runtime()).await
    }

    fn entries(&self, run: &str) -> Vec<Logged> {
        self.host.state().journal().entries(run).unwrap()
    }
}

const PLAYBOOK: &str = "//! @inputs schemas/customer.json
import \"lib/names\" as names;
let tenant = tenants::ensure(customer);
tenant.spaces.ensure(names::STAGING, \"shared\");
log(\"made\");
output(#{ text: render(\"text.txt\", customer) });
";

#[tokio::test(start_paused = true)]
async fn a_run_is_kept_with_all_it_used_and_told() {
    let waiting = waiting(State::in_memory(clock()).unwrap(), |builder| builder);
    let files = [
        ("playbooks/test.rhai", PLAYBOOK),
        ("playbooks/lib/names.rhai", "export const STAGING = \"Staging\";"),
        ("schemas/customer.json", "{ \"type\": \"object\" }"),
        ("templates/text.txt", "for {{ name }}"),
    ];
    for (path, text) in files {
        let path = waiting.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let playbook = waiting.host.playbook("playbooks/test.rhai").unwrap();
    let run = waiting.host.run(&playbook, &customer("hb"), "sandbox").verify(true);
    let report = run.run_here(&waiting.host.local_runtime()).await;
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);

    let record = waiting.host.run_record(&report.run[..12]).await.unwrap();
    let entries = waiting.entries(&report.run);
    let opening = &record.opening;
    assert_eq!((&opening.id, &opening.kind, opening.verify), (&report.run, &RunKind::Run, true));
    assert_eq!((opening.playbook.as_str(), opening.customer.as_str()), ("playbooks/test.rhai", "hb"));
    assert_eq!((opening.target.as_str(), &opening.inputs), ("sandbox", customer("hb").values()));
    assert_eq!((record.status, record.superseded_by), (RunState::Succeeded, None));
    assert!(!opening.scope.is_empty() && record.ended.is_some());

    assert!(matches!(&entries[0].entry, Entry::Began { process } if process == "process 1"), "{:?}", entries[0]);
    let mut kept: Vec<(String, Vec<u8>)> = Vec::new();
    for entry in &entries {
        if let Entry::File { path, digest } = &entry.entry {
            kept.push((path.clone(), waiting.host.state().journal().content(digest).unwrap().unwrap()));
        }
    }
    kept.sort();
    let mut expected = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
    expected.sort();
    assert_eq!(kept, expected);
    let steps: Vec<&str> = entries
        .iter()
        .filter_map(|entry| if let Entry::Step(step) = &entry.entry { Some(step.subject.as_str()) } else { None })
        .collect();
    assert_eq!(steps.last(), Some(&"space \"Staging\""));
    assert_eq!(steps.len(), report.changes.len());
    assert!(entries.iter().any(|entry| matches!(&entry.entry, Entry::Log { message, .. } if message == "made")));
    let Entry::Ended { report: kept, .. } = &entries.last().unwrap().entry else { panic!("{entries:?}") };
    assert_eq!(*kept, serde_json::to_value(&report).unwrap());

    let again = waiting.here("log(\"again\");", "hb").await;
    let runs = waiting.host.state().journal().runs(&RunFilter::default()).unwrap();
    assert_eq!(runs.iter().map(|run| run.opening.id.as_str()).collect::<Vec<_>>(), [&again.run, &report.run]);
    assert_eq!(runs[1].superseded_by.as_ref(), Some(&again.run));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_fails_or_is_cancelled_is_kept_as_that() {
    let waiting = waiting(State::in_memory(clock()).unwrap(), |builder| builder);
    let failed = waiting.here("throw \"no\";", "hb").await;
    assert!(failed.is_resumable());
    assert_eq!(waiting.host.run_record(&failed.run).await.unwrap().status, RunState::Failed);
    let run = waiting.run("wait();", "hb");
    let stop = run.canceller();
    let runtime = waiting.host.local_runtime();
    let ((), cancelled) = tokio::join!(
        async {
            waiting.began.notified().await;
            stop.cancel();
        },
        run.run_here(&runtime)
    );
    assert_eq!(cancelled.status, RunStatus::Cancelled);
    assert_eq!(waiting.host.run_record(&cancelled.run).await.unwrap().status, RunState::Cancelled);
    // Nobody waits for its end any more.
    tokio::select! {
        _ = waiting.run("wait();", "hb").run_here(&runtime) => panic!("it waits for ever"),
        () = waiting.began.notified() => {}
    }
    let last = waiting.host.state().journal().runs(&RunFilter::default()).unwrap().remove(0);
    assert_eq!(last.status, RunState::Cancelled);
    let entries = waiting.entries(&last.opening.id);
    assert!(matches!(entries.last().unwrap().entry, Entry::Ended { .. }), "{entries:?}");
    // A target that cannot be opened is no run.
    let playbook = waiting.host.playbook_from_text("playbooks/test.rhai", "").unwrap();
    let refused = waiting.host.run(&playbook, &customer("hb"), "nowhere").run_here(&runtime).await;
    assert!(!refused.is_resumable());
    assert!(waiting.host.run_record(&refused.run).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn one_run_at_a_time_works_for_a_customer() {
    let waiting = waiting(State::in_memory(clock()).unwrap(), |builder| builder);
    let runtime = waiting.host.local_runtime();
    let other = async {
        waiting.began.notified().await;
        let second = waiting.here("log(\"second\");", "hb").await;
        let another = waiting.here("log(\"another\");", "fw").await;
        waiting.go.notify_one();
        (second, another)
    };
    let (first, (second, another)) = tokio::join!(waiting.run("wait();", "hb").run_here(&runtime), other);
    assert_eq!(first.status, RunStatus::Succeeded, "{:?}", first.error);
    assert_eq!(another.status, RunStatus::Succeeded, "{:?}", another.error);
    let error = second.error.as_ref().unwrap();
    let told = format!("run {} is at work on customer `hb` since 2027-01-15T08:00:0", first.run);
    assert!(error.message.starts_with(&told), "{}", error.message);
    assert_eq!(error.failure.as_ref().unwrap().code, "tenantry/busy");
    assert!(!second.is_resumable() && waiting.host.run_record(&second.run).await.is_err());
    assert_eq!(waiting.here("log(\"later\");", "hb").await.status, RunStatus::Succeeded, "it is given back");
}

#[tokio::test(start_paused = true)]
async fn one_run_at_a_time_writes_to_a_tenant() {
    let waiting = waiting(State::in_memory(clock()).unwrap(), |builder| builder);
    let made = waiting.here("tenants::ensure(customer);", "hb").await;
    let host = made.tenant.unwrap().hostname;
    let runtime = waiting.host.local_runtime();
    let other = async {
        waiting.began.notified().await;
        let source = format!(
            "let tenant = tenants::get(\"{host}\"); tenant.spaces.list();
             try {{ tenant.spaces.ensure(\"Mine\", \"shared\"); }} catch (error) {{ output(#{{ code: error.code }}); }}"
        );
        let second = waiting.here(&source, "fw").await;
        waiting.go.notify_one();
        second
    };
    let source = "tenants::ensure(customer).spaces.ensure(\"Staging\", \"shared\"); wait();";
    let (first, second) = tokio::join!(waiting.run(source, "hb").run_here(&runtime), other);
    assert_eq!(first.status, RunStatus::Succeeded, "{:?}", first.error);
    assert_eq!(second.status, RunStatus::Succeeded, "{:?}", second.error);
    assert_eq!(second.output["code"], "tenantry/busy", "it may read, and is refused when it is to write");
    let third = waiting.here(&format!("tenants::get(\"{host}\").spaces.ensure(\"Mine\", \"shared\");"), "fw").await;
    assert_eq!(third.status, RunStatus::Succeeded, "{:?}", third.error);
}

#[tokio::test(start_paused = true)]
async fn two_processes_share_the_leases_of_a_state_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    // They see one organization.
    let sandbox = Sandbox::in_memory(Settings::default());
    let [one, two] =
        [(); 2].map(|()| waiting(State::open(&path, clock()).unwrap(), |builder| builder.sandbox(sandbox.clone())));
    let runtime = one.host.local_runtime();
    let other = async {
        one.began.notified().await;
        let second = two.here("log(\"second\");", "hb").await;
        one.go.notify_one();
        second
    };
    let (_, second) = tokio::join!(one.run("wait();", "hb").run_here(&runtime), other);
    let message = second.error.unwrap().message;
    assert!(message.contains(&format!("(process {})", std::process::id())), "{message}");
}

#[test]
fn the_runs_of_a_pinned_tenant_take_their_turns() {
    let project = Folder::empty();
    let served = Served::start(&project, "");
    let client = format!("client_id = \"{}\"\nclient_secret = {{ env = \"SECRET\" }}", served.text("client_id"));
    let url = served.text("url");
    let target = format!(
        "[targets.local]\naddress = \"{url}\"\nlicense_key = {{ env = \"KEY\" }}\nregions.eu = {{ client_id = \"{}\", client_secret = {{ env = \"SECRET\" }} }}\n",
        served.text("client_id")
    );
    project.write("tenantry.toml", &target);
    for code in ["a1", "b2", "c3"] {
        project.write(
            &format!("customers/{code}.yaml"),
            &format!("code: {code}\nname: {code}\nregion: eu\nalias: halyard-{code}\n"),
        );
    }
    let run = |arguments: &str| {
        let mut command = project.command(arguments);
        command.env("SECRET", served.text("client_secret")).env("KEY", served.text("license_key"));
        Ended::of(command.output().unwrap())
    };
    project.write("make.rhai", "tenants::ensure(customer);");
    let made = run("run make.rhai --customer customers/a1.yaml --target local --new-registry --json");
    assert_eq!(made.code, Some(0), "{made:?}");
    let host = made.json()["runs"][0]["tenant"]["hostname"].as_str().unwrap().to_owned();
    let pinned = format!("{target}[targets.pinned]\naddress = \"{url}\"\ntenant = \"{host}\"\n{client}\n");
    project.write("tenantry.toml", &pinned);
    project.write("play.rhai", "tenants::ensure(customer).spaces.ensure(customer.code, \"shared\");");
    let ended = run("run play.rhai --customers customers --target pinned --json");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let runs = ended.json();
    assert!(runs["runs"].as_array().unwrap().iter().all(|run| run["writes"] == 1), "{runs}");
}

/// Lets so many commits through, then the disk is full.
struct FullAfter(AtomicU32);

impl CommitHook for FullAfter {
    fn before(&self) -> Verdict {
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_ok() { Verdict::Go } else { Verdict::Full }
    }

    fn after(&self) -> Verdict {
        Verdict::Go
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_end_cannot_be_recorded_does_not_say_that_it_succeeded() {
    let mut kinds = [0, 0];
    for commits in 0.. {
        let state = State::in_memory(clock()).unwrap().as_process(Arc::new(FullAfter(AtomicU32::new(commits))));
        let waiting = waiting(state, |builder| builder);
        let report = waiting.here("log(\"one\");", "hb").await;
        let status = waiting.host.run_record(&report.run).await.map(|record| record.status);
        match report.status {
            RunStatus::Succeeded => {
                assert_eq!(status.unwrap(), RunState::Succeeded);
                break;
            }
            _ if report.is_resumable() => {
                assert_eq!(report.error.unwrap().failure.unwrap().code, "tenantry/journal");
                assert_eq!(status.unwrap(), RunState::Running, "its process is alive");
                kinds[1] += 1;
            }
            _ => {
                assert!(status.is_err(), "nothing was begun");
                kinds[0] += 1;
            }
        }
        assert!(commits < 20);
    }
    assert!(kinds.iter().all(|count| *count > 0), "{kinds:?}");
}
