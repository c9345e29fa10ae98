//! Worlds, fates and plans: the tools of the storm themselves.

use std::collections::BTreeMap;
use std::path::Path;

use tenantry::sandbox::{self, Fault};
use tenantry::simulate::{Actor, Calm, Canonical, Ended, Fate, Full, Harm, Life, Plan, World, WorldSettings};
use tenantry::store::SharedSink;
use tenantry::{Host, Project, RunStatus};

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

fn world(seed: u64, faults: &[(u64, &str)]) -> World {
    let settings = WorldSettings {
        project: Project::open(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap(),
        seed,
        start: "2026-11-24T08:00:00Z".parse().unwrap(),
        secrets: BTreeMap::new(),
        organization: sandbox::Settings::default(),
        sink: SharedSink::default(),
        faults: faults.iter().map(|(request, fault)| (*request, fault.parse::<Fault>().unwrap())).collect(),
        layer: None,
    };
    World::new(settings).unwrap()
}

const SPACES: &str = r#"
    let tenant = tenants::ensure(customer);
    parallel(["One", "Two", "Three"], |name| tenant.spaces.ensure(name, "shared"));
"#;

fn customer() -> tenantry::Customer {
    let values = serde_json::json!({ "code": "hb", "name": "Harbour Logistics", "region": "eu" });
    tenantry::Customer::from_value(values).unwrap()
}

/// Runs the playbook above in a new process; how it ended, and the points it passed.
async fn run(world: &World, life: Life) -> (Ended, u64) {
    let process = world.process(Fate::of(life)).unwrap();
    let host: &Host = process.host();
    let playbook = host.playbook_from_text("playbooks/spaces.rhai", SPACES).unwrap();
    let runtime = host.local_runtime();
    let ended = process.run(&playbook, &customer(), &runtime).await;
    (ended, process.fate().points())
}

fn succeeded(ended: &Ended) -> bool {
    matches!(ended, Ended::Reported(report) if report.status == RunStatus::Succeeded)
}

#[test]
fn worlds_of_any_seed_come_to_the_same_end() {
    let ends: Vec<Canonical> = (0..3)
        .map(|seed| {
            paused().block_on(async {
                let world = world(seed, &[]);
                assert!(succeeded(&run(&world, Life::default()).await.0));
                let snapshot = world.sandbox().snapshot();
                assert!(!Canonical::of(&snapshot).to_string().contains(&snapshot.tenants()[0]));
                Canonical::of(&snapshot)
            })
        })
        .collect();
    assert_eq!(ends[0].differences(&ends[1]), Vec::<String>::new());
    assert_eq!(ends[1], ends[2]);
    assert!(ends[0].to_string().contains("<tenants Harbour Logistics>"), "{}", ends[0]);
}

#[test]
fn what_differs_is_told_line_by_line() {
    paused().block_on(async {
        let world = world(1, &[]);
        run(&world, Life::default()).await;
        let full = Canonical::of(&world.sandbox().snapshot());
        let other = self::world(1, &[(9, "refused:403:HTTP-403"), (10, "refused:403:HTTP-403")]);
        run(&other, Life::default()).await;
        let less = Canonical::of(&other.sandbox().snapshot());
        let differences = less.differences(&full);
        assert!(!differences.is_empty());
        assert!(differences.iter().all(|line| line.starts_with("+ <tenants Harbour Logistics> spaces/<spaces ")));
    });
}

#[test]
fn a_process_that_died_has_no_effect_any_more() {
    paused().block_on(async {
        let (ended, points) = run(&world(4, &[]), Life::default()).await;
        assert!(succeeded(&ended) && points > 20, "{points}");
        let mut left = BTreeMap::new();
        for point in 1..=points {
            let world = world(4, &[]);
            let (ended, passed) = run(&world, Life::until(point)).await;
            assert!(matches!(ended, Ended::Died), "{point}: {ended:?}");
            assert_eq!(passed, point);
            let at_death = world.sandbox().snapshot();
            tokio::time::sleep(std::time::Duration::from_secs(600)).await;
            assert_eq!(world.sandbox().snapshot(), at_death, "{point}");
            let intents = world.state().registry().intents(&world.sandbox().organization()).unwrap().len();
            *left.entry((intents, at_death.tenants().len())).or_insert(0) += 1;
        }
        // Before the creation, between its intent and the tenant, between the tenant and its entry, and after.
        let met: Vec<(usize, usize)> = left.keys().copied().collect();
        assert_eq!(met, [(0, 0), (0, 1), (1, 0), (1, 1)], "{left:?}");
    });
}

#[test]
fn the_next_process_finds_what_is_left() {
    paused().block_on(async {
        let world = world(5, &[]);
        assert!(matches!(run(&world, Life::until(30)).await.0, Ended::Died));
        assert!(succeeded(&run(&world, Life::default()).await.0));
        assert_eq!(world.sandbox().snapshot().tenants().len(), 1);
    });
}

#[test]
fn a_full_disk_fails_the_run_and_not_the_process() {
    paused().block_on(async {
        let world = world(6, &[]);
        let full = Life { kill: None, full: Some(Full { from: 1, commits: 1000 }) };
        let (ended, _) = run(&world, full).await;
        assert!(matches!(&ended, Ended::Reported(report) if report.status == RunStatus::Failed), "{ended:?}");
        assert_eq!(world.sandbox().snapshot().tenants().len(), 0, "nothing is done that cannot be noted");
        assert!(succeeded(&run(&world, Life::default()).await.0));
    });
}

#[test]
fn plans_are_written_and_read() {
    let text = "seed=7 3=refused:403:HTTP-403 12=lost-done 15=stale:2 0:kill=57 0:live 0:kill=3&full=30+4 2:left=20 2:full=1+1";
    let plan: Plan = text.parse().unwrap();
    assert_eq!(plan.to_string(), text);
    assert_eq!((plan.weight(), plan.actors[2].left), (8, Some(20)));
    assert_eq!(plan.actors[1], Actor::default());
    assert_eq!(plan.actors[0].lives[2], Life { kill: Some(3), full: Some(Full { from: 30, commits: 4 }) });
    for wrong in
        ["seed", "seed=x", "3=los", "x=lost", "0:kill", "0:kill=x", "0:full=3", "0:left=", "0:die", "99:live", "lost"]
    {
        let error = wrong.parse::<Plan>().unwrap_err().to_string();
        assert!(error.starts_with(&format!("`{wrong}` is not a word of a plan: write seed=N")), "{error}");
    }
    let calm = Calm { points: 100, requests: 40, before: 80 };
    let is_left = |plan: &Plan| plan.actors.iter().any(|actor| actor.left.is_some());
    assert!((0..50).any(|seed| is_left(&Plan::drawn(seed, 2, calm))));
    assert!(!(0..50).any(|seed| is_left(&Plan::drawn(seed, 2, Calm { before: 0, ..calm }))));
    for seed in 0..50 {
        let plan = Plan::drawn(seed, 2, calm);
        assert_eq!(plan, Plan::drawn(seed, 2, calm));
        assert_ne!(plan, Plan::drawn(seed + 1, 2, calm));
        let mut read: Plan = plan.to_string().parse().unwrap();
        read.actors.resize(2, Actor::default());
        assert_eq!(read, plan);
    }
}

#[test]
fn a_plan_can_do_without_some_of_its_harm() {
    let left: Plan = "seed=7 1:left=9 1:kill=3".parse().unwrap();
    assert_eq!(left.harms(), [Harm::Left { actor: 1 }, Harm::Kill { actor: 1, life: 0 }]);
    assert_eq!(left.without(&left.harms()[..1]).to_string(), "seed=7 1:kill=3");
    let plan: Plan = "seed=7 3=lost 12=lost-done 0:kill=57 0:kill=3&full=30+4 1:full=1+1".parse().unwrap();
    let harms = plan.harms();
    assert_eq!(
        harms,
        [
            Harm::Fault(3),
            Harm::Fault(12),
            Harm::Kill { actor: 0, life: 0 },
            Harm::Kill { actor: 0, life: 1 },
            Harm::Full { actor: 0, life: 1 },
            Harm::Full { actor: 1, life: 0 },
        ]
    );
    let simpler: Vec<String> = harms.iter().map(|harm| plan.without(&[*harm]).to_string()).collect();
    assert_eq!(
        simpler,
        [
            "seed=7 12=lost-done 0:kill=57 0:kill=3&full=30+4 1:full=1+1",
            "seed=7 3=lost 0:kill=57 0:kill=3&full=30+4 1:full=1+1",
            "seed=7 3=lost 12=lost-done 0:live 0:kill=3&full=30+4 1:full=1+1",
            "seed=7 3=lost 12=lost-done 0:kill=57 0:full=30+4 1:full=1+1",
            "seed=7 3=lost 12=lost-done 0:kill=57 0:kill=3 1:full=1+1",
            "seed=7 3=lost 12=lost-done 0:kill=57 0:kill=3&full=30+4",
        ]
    );
    assert_eq!(plan.without(&harms), Plan::calm(7, 2));
}
