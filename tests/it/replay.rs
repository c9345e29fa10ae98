//! A run replayed from its record: byte for byte the same, with nothing there but the journal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tenantry::interpreter::Decision;
use tenantry::operation::FailureKind;
use tenantry::sandbox;
use tenantry::simulate::{self, Ended, Fate, Life, WorldSettings};
use tenantry::store::{RunFilter, RunState, SharedSink, Vault};
use tenantry::{Customer, Host, Project, Replayed, RunStatus};

use crate::support::command_line::Folder;
use crate::support::crm::World;

impl World {
    /// Replays a run in a host that has nothing but the journal: no project, no secrets, nobody to ask.
    async fn replay(&self, run: &str) -> Replayed {
        let empty = tempfile::tempdir().unwrap();
        let host = Host::builder()
            .root(empty.path())
            .environment(Arc::new(BTreeMap::new()))
            .vault(Vault::in_memory())
            .state(self.host.state().clone())
            .functions(crate::support::crm::functions)
            .lanes(1)
            .build()
            .unwrap();
        let replayed = host.replay(run).await.unwrap();
        let left = std::fs::read_dir(empty.path().join(".tenantry/replay")).unwrap().count();
        assert_eq!(left, 0, "what it wrote to replay is gone");
        replayed
    }

    async fn replays(&self, run: &str, complete: bool) -> Replayed {
        let replayed = self.replay(run).await;
        assert_eq!((&replayed.difference, replayed.complete), (&None, complete), "{replayed:?}");
        assert!(replayed.is_identical());
        replayed
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_identical_without_project_secrets_or_anybody_to_ask() {
    let world = World::new(
        "//! @permits tenants:create tenants:update spaces:write
         import \"lib/names\" as names;
         let tenant = tenants::ensure(customer);
         let made = parallel([3, 1, 2], |n| tenant.spaces.ensure(names::of(n), \"shared\").name);
         let refused = \"\";
         try { tenant.groups.ensure(\"A\"); } catch (error) { refused = error.code; }
         log(now());
         output(#{ made: made, id: uuid(), at: now(), refused: refused, text: render(\"text.txt\", customer) });",
    );
    world.write("lib/names.rhai", "fn of(n) { `Space ${n}` }");
    world.write("templates/text.txt", "for {{ name }}");
    let report = world.first().await;
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
    assert_eq!(report.output["refused"], "tenantry/not-permitted");
    let replayed = world.replays(&report.run[..16], true).await;
    assert_eq!((replayed.run.as_str(), replayed.playbook.as_str()), (report.run.as_str(), "play.rhai"));
    assert!(replayed.operations > report.requests.try_into().unwrap() && replayed.steps == 4, "{replayed:?}");
    // What the project says by now is nothing to a run that was.
    world.write("play.rhai", "throw \"something else\";");
    world.write("lib/names.rhai", "fn of(n) { `Other ${n}` }");
    assert!(world.host.replay(&report.run).await.unwrap().is_identical());
}

#[tokio::test(start_paused = true)]
async fn whichever_branch_was_faster_it_is_identical() {
    let slow = |numbers: &str| {
        format!("parallel({numbers}, |n| {{ take(n); make(`a${{n}}`); take(9 - n); make(`b${{n}}`); }}); make(\"c\");")
    };
    for numbers in ["[1, 5, 3]", "[8, 2, 4]", "[3, 3, 3, 1, 9, 2, 7, 6, 5, 4]"] {
        let world = World::new(&slow(numbers));
        let report = world.first().await;
        assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
        world.replays(&report.run, true).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_failed_fails_the_same_way() {
    for playbook in [
        "make(\"a\");\nfn inner() {\n  throw \"no\";\n}\ninner();",
        "make(\"a\"); render(\"missing.txt\", customer);",
        "make(\"a\"); import \"lib/nme\" as name; name::of(1);",
        "make(\"a\"); tenants::ensure(customer).spaces.get(\"none\");",
        "make(\"a\"); parallel([1, 2], |n| { make(`${n}`); if n == 1 { throw n; } make(`again ${n}`); });",
        "let n = 0; loop { n += 1; if n % 100 == 0 { make(`${n}`); } if n > 500 { customer.nothing } }",
    ] {
        let world = World::new(playbook);
        world.write("lib/name.rhai", "fn of(n) { n }");
        let report = world.first().await;
        assert_eq!(report.status, RunStatus::Failed, "{playbook}");
        world.replays(&report.run, true).await;
    }
    let world = World::new("make(\"a\"); make(\"b\");");
    world.refuse_next(FailureKind::Refused);
    let report = world.first().await;
    assert_eq!(report.status, RunStatus::Failed);
    world.replays(&report.run, true).await;
}

#[tokio::test(start_paused = true)]
async fn of_a_run_that_was_cancelled_it_is_what_there_is() {
    let world = World::new("make(\"a\"); make(\"b\"); make(\"c\");");
    let report = world.drive(world.start().timeout(Duration::from_millis(1_500))).await;
    assert_eq!(report.status, RunStatus::Cancelled);
    let replayed = world.replays(&report.run, false).await;
    assert_eq!(replayed.operations, 2);
    let world = World::new("make(\"a\"); make(\"b\");");
    let mut run = Box::pin(world.first());
    tokio::select! {
        _ = &mut run => panic!("it takes two seconds"),
        () = tokio::time::sleep(Duration::from_millis(1_500)) => {}
    }
    drop(run);
    let id = world.host.state().journal().ids().unwrap().remove(0);
    assert_eq!(world.replays(&id, false).await.operations, 1, "nobody knows what the second answered");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_resumed_is_identical_too() {
    let world = World::new(
        "ensure(\"a\"); ensure(\"b\"); parallel([1, 2], |n| { make(`${n}`); make(`${n} again`); });
         let text = render(\"text.txt\", customer); make(text); output(#{ text: text });",
    );
    let mut report = world.drive(world.start().timeout(Duration::from_millis(2_500))).await;
    assert_eq!(report.status, RunStatus::Cancelled);
    report = world.resume(&report.run).await;
    assert_eq!(report.status, RunStatus::Failed, "there is no template");
    world.replays(&report.run, true).await;
    world.write("templates/text.txt", "for {{ name }}");
    report = world.resume(&report.run).await;
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
    assert!(report.replayed > 0);
    world.replays(&report.run, true).await;

    // A write of which a person said what became of it.
    let world = World::new("make(\"a\"); make(\"b\");");
    world.refuse_next(FailureKind::Unknown);
    let first = world.first().await;
    let run = world.host.resume(&first.run).unwrap().settled("0:crm.make#0".parse().unwrap(), Decision::Performed);
    let report = world.drive(run).await;
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
    world.replays(&report.run, true).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_changed_playbook_was_accepted_is_identical_too() {
    let world = World::new("make(\"a\"); make(\"b\"); make(\"c\"); throw \"no\";");
    let first = world.first().await;
    world.write("play.rhai", "make(\"a\"); make(\"x\"); make(\"c\");");
    let stopped = world.resume(&first.run).await;
    assert_eq!(stopped.status, RunStatus::Failed);
    world.replay(&first.run).await;
    let report = world.drive(world.host.resume(&first.run).unwrap().accept_changes(true)).await;
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
    world.replays(&first.run, true).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_the_same_is_shown_where_it_first_differs() {
    let throws = Arc::new(AtomicI64::new(0));
    let dice = move |engine: &mut rhai::Engine| {
        let throws = Arc::clone(&throws);
        engine.register_fn("dice", move || throws.fetch_add(1, Ordering::Relaxed));
    };
    for (playbook, what, recorded, replayed) in [
        ("output(#{ list: [1, #{ n: dice() }] });", "report.output.list[1].n", json!(0), json!(1)),
        ("note(`n${dice() % 2}`);", "step 1", json!("n0"), json!("n1")),
    ] {
        let world = World::with(playbook, |builder| builder.functions(dice.clone()));
        let report = world.first().await;
        assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
        let difference = world.host.replay(&report.run).await.unwrap().difference.unwrap();
        let told = |value: &Option<Value>| {
            let value = value.clone().unwrap();
            value.get("subject").cloned().unwrap_or(value)
        };
        let shown = (difference.what.as_str(), told(&difference.recorded), told(&difference.replayed));
        assert_eq!(shown, (what, recorded, replayed));
    }
    // It asks something that the run had not asked.
    let world = World::with("make(`n${dice()}`);", |builder| builder.functions(dice));
    let report = world.first().await;
    let difference = world.host.replay(&report.run).await.unwrap().difference.unwrap();
    assert!(difference.what.contains("`crm.make`"), "{difference:?}");
    assert!(world.host.replay("0000").await.is_err());
}

#[test]
fn the_stock_onboarding_is_replayed_by_the_program() {
    let project = Folder::stock();
    let runs = project.run("run playbooks/onboard.rhai --customers customers --json").json();
    for folder in ["playbooks", "templates", "customers", "schemas"] {
        std::fs::remove_dir_all(project.path().join(folder)).unwrap();
    }
    std::fs::remove_file(project.path().join(".tenantry/sandbox.db")).unwrap();
    for run in runs["runs"].as_array().unwrap() {
        let id = run["run"].as_str().unwrap();
        let replayed = project.run(&format!("runs replay {id} --json"));
        assert_eq!(replayed.code, Some(0), "{replayed:?}");
        let replayed = replayed.json();
        assert_eq!(
            (&replayed["run"], &replayed["identical"], &replayed["complete"], &replayed["difference"]),
            (&run["run"], &json!(true), &json!(true), &Value::Null)
        );
        assert!(replayed["operations"].as_u64() >= run["requests"].as_u64());
    }
    let id = runs["runs"][0]["run"].as_str().unwrap();
    let told = project.run(&format!("runs replay {id}"));
    assert!(told.out.contains(&format!("run {id} of playbooks/onboard.rhai for `fw`: identical")), "{told:?}");
}

/// Once killed at this point, then resumed until it has come to its end. `None` when it came to its end before.
async fn killed_at(point: u64, project: &Project, sink: &SharedSink, customer: &Customer) -> Option<String> {
    let world = simulate::World::new(WorldSettings {
        project: project.clone(),
        seed: 7,
        start: "2026-11-24T08:00:00Z".parse().unwrap(),
        secrets: BTreeMap::from([("fenwick-entra".to_owned(), "a secret".to_owned())]),
        organization: sandbox::Settings::default(),
        sink: sink.clone(),
        faults: BTreeMap::new(),
        layer: None,
    })
    .unwrap();
    let mut fate = Life::until(point);
    loop {
        let process = world.process(Fate::of(fate)).unwrap();
        let (host, runtime) = (process.host(), process.host().local_runtime());
        let last = host.state().journal().runs(&RunFilter::default()).unwrap().into_iter().next();
        let ended = match last {
            // It had come to its end, and died before anybody heard of it.
            Some(last) if last.status == RunState::Succeeded => {
                let replayed = host.replay(&last.opening.id).await.unwrap();
                assert_eq!((replayed.difference, replayed.complete), (None, true), "point {point}");
                return Some(last.opening.id);
            }
            Some(last) => process.follow(host.resume(&last.opening.id).unwrap(), &runtime).await,
            None => process.run(&host.playbook("play.rhai").unwrap(), customer, &runtime).await,
        };
        match ended {
            Ended::Died | Ended::Refused => {
                fate = Life::default();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Ended::Reported(report) => {
                assert_eq!(report.status, RunStatus::Succeeded, "point {point}: {:?}", report.error);
                let replayed = host.replay(&report.run).await.unwrap();
                assert_eq!((replayed.difference, replayed.complete), (None, true), "point {point}");
                return (process.number() > 1).then_some(report.run);
            }
        }
    }
}

#[test]
fn wherever_a_run_died_once_it_was_resumed_its_replay_is_identical() {
    let folder = tempfile::tempdir().unwrap();
    let playbook = "let tenant = tenants::ensure(customer);
        let groups = parallel([\"A\", \"B\"], |name| tenant.groups.ensure(name));
        let space = tenant.spaces.ensure(\"Staging\", \"shared\");
        log(now());
        for group in groups { space.assign(group, [\"consumer\"]); }
        output(#{ id: uuid(), url: tenant.url });";
    std::fs::write(folder.path().join("play.rhai"), playbook).unwrap();
    let project = Project::open(folder.path()).unwrap();
    let values = json!({ "code": "hb", "name": "Harbour Logistics", "region": "eu" });
    let customer = Customer::from_value(values).unwrap();
    let paused = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let sink = SharedSink::default();
    let deaths = (1..10_000)
        .take_while(|point| paused().block_on(killed_at(*point, &project, &sink, &customer)).is_some())
        .count();
    assert!(deaths > 50, "{deaths}");
}
