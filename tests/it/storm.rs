//! The storm: every stock playbook under faults and kills.

use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use serde_json::json;
use tenantry::Project;
use tenantry::interpreter::{Interpreter, Layer, Settlement};
use tenantry::operation::{Failure, Key, Operation, Outcome, Response};
use tenantry::sandbox::Fault;
use tenantry::simulate::{Case, Many, Plan, Storm, Tally};

/// How many plans are drawn by chance.
const SEEDS: u64 = 300;

fn project() -> Project {
    Project::open(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap().state_in(env!("CARGO_TARGET_TMPDIR"))
}

/// The onboarding of one customer.
fn onboarding() -> Case {
    let mut cases = Case::alone(&project()).unwrap();
    cases.retain(|case| case.playbook.ends_with("onboard.rhai"));
    cases.remove(0)
}

fn paused() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
}

fn many(cases: Vec<Case>) -> Many {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Many { cases, threads, runtime: paused }
}

/// Fails with the command that repeats each plan that did not end well.
#[track_caller]
fn all_right(many: &Many, tally: &Tally) {
    let told: Vec<String> = tally
        .failures
        .iter()
        .take(5)
        .map(|failed| {
            let findings: Vec<String> = failed.outcome.findings.iter().take(3).map(ToString::to_string).collect();
            format!("{}\n    {}", many.cases[failed.case].command(&failed.plan), findings.join("\n    "))
        })
        .collect();
    assert!(told.is_empty(), "{} plans did not end well:\n{}", tally.failures.len(), told.join("\n"));
}

#[test]
fn whatever_point_a_process_dies_at_the_run_goes_on_and_nothing_is_lost_or_done_twice() {
    let many = many(Case::alone(&project()).unwrap());
    let tally = many.every_kill().unwrap();
    all_right(&many, &tally);
    for case in &many.cases {
        // What comes after another playbook has less to do.
        let least = match case.first.len() {
            0 => 250,
            1 => 50,
            _ => 5,
        };
        assert!(tally.points[&case.to_string()] > least, "{:?}", tally.points);
    }
    assert!(tally.deaths + 2 * many.cases.len() as u64 >= tally.plans, "each plan but the last ones killed");
}

#[test]
fn a_playbook_meets_whatever_the_one_before_it_has_left() {
    let mut cases = Case::alone(&project()).unwrap();
    cases.retain(|case| case.playbook.ends_with("republish.rhai"));
    paused().unwrap().block_on(async {
        let storm = Storm::new(cases.remove(0)).await.unwrap();
        let points = storm.calm().before;
        assert!(points > 100, "{points}");
        for point in (1..=points).step_by(6) {
            let plan: Plan = format!("seed={point} 0:left={point}").parse().unwrap();
            let outcome = storm.weather(&plan).await.unwrap();
            assert!(outcome.is_right(), "{plan}: {:?}", outcome.findings);
            assert_eq!(outcome.deaths, 1, "{plan}");
        }
    });
}

#[test]
fn whatever_goes_wrong_the_end_is_right() {
    let project = project();
    let cases = [Case::alone(&project).unwrap(), Case::together(&project).unwrap()].concat();
    let many = many(cases);
    let tally = many.by_chance(0..SEEDS).unwrap();
    all_right(&many, &tally);
    assert_eq!(tally.plans, SEEDS);
    assert!(tally.deaths > SEEDS / 4 && tally.harm > SEEDS * 10, "{tally:?}");
}

#[test]
fn the_same_plan_comes_to_the_same_end_byte_by_byte() {
    for case in Case::together(&project()).unwrap() {
        paused().unwrap().block_on(async {
            let storm = Storm::new(case).await.unwrap();
            for seed in 0..5 {
                let plan = Plan::drawn(seed, storm.actors(), storm.calm());
                let (first, second) = (storm.weather(&plan).await.unwrap(), storm.weather(&plan).await.unwrap());
                let mut lines = first.trace.lines().zip(second.trace.lines());
                if let Some((one, other)) = lines.find(|(one, other)| one != other) {
                    panic!("{plan}\n{one}\n{other}");
                }
                assert_eq!(first.trace.len(), second.trace.len(), "{plan}");
                assert!(first.requests > 0 && first.trace.contains("\"event\":\"run_started\""), "{}", first.trace);
            }
        });
    }
}

/// A defect of a layer.
#[derive(Clone, Copy, Debug)]
enum Defect {
    /// What was begun counts as not done.
    NeverDone,
    /// What was begun counts as done.
    AlwaysDone,
    /// A create is performed twice.
    Twice,
    /// A create is not performed, and counts as done.
    Swallowed,
}

struct Broken {
    inner: Arc<dyn Interpreter>,
    defect: Defect,
}

impl Interpreter for Broken {
    fn perform<'a>(&'a self, key: &'a Key, operation: &'a Operation) -> BoxFuture<'a, Outcome> {
        async move {
            match self.defect {
                Defect::Swallowed if operation.id == "patchGroupsSettings" => Ok(Response::local(json!({}))),
                Defect::Twice if operation.id == "createWebIntegration" => {
                    self.inner.perform(key, operation).await?;
                    self.inner.perform(key, operation).await
                }
                _ => self.inner.perform(key, operation).await,
            }
        }
        .boxed()
    }

    fn settle<'a>(
        &'a self,
        key: &'a Key,
        operation: &'a Operation,
        since: jiff::Timestamp,
    ) -> BoxFuture<'a, Result<Settlement, Failure>> {
        match self.defect {
            Defect::NeverDone => ready(Ok(Settlement::NotPerformed)).boxed(),
            Defect::AlwaysDone => ready(Ok(Settlement::Performed(Response::local(json!({}))))).boxed(),
            Defect::Twice | Defect::Swallowed => self.inner.settle(key, operation, since),
        }
    }
}

/// Whether the storm finds that this promise is broken by the defect, when the fault strikes one request after the other.
fn is_found(defect: Defect, fault: &str, promise: &str) -> bool {
    let layer: Layer = Arc::new(move |inner| Arc::new(Broken { inner, defect }));
    let case = Case { layer: Some(layer), ..onboarding() };
    paused().unwrap().block_on(async {
        let storm = Storm::new(case).await.unwrap();
        for request in 1..=storm.calm().requests {
            let plan = storm.fault_at(request, fault.parse().unwrap());
            let outcome = storm.weather(&plan).await.unwrap();
            if outcome.findings.iter().any(|finding| finding.promise == promise) {
                return true;
            }
        }
        false
    })
}

#[test]
fn a_layer_with_a_defect_is_found() {
    for (defect, fault, promise) in [
        (Defect::NeverDone, "lost-done", "twice"),
        (Defect::AlwaysDone, "lost", "state"),
        (Defect::Twice, "late:1", "twice"),
        (Defect::Swallowed, "late:1", "state"),
    ] {
        assert!(is_found(defect, fault, promise), "{defect:?}");
    }
}

#[test]
fn a_plan_that_fails_is_shrunk_to_what_it_takes() {
    let layer: Layer = Arc::new(|inner| Arc::new(Broken { inner, defect: Defect::NeverDone }));
    let case = Case { layer: Some(layer), ..onboarding() };
    paused().unwrap().block_on(async {
        let storm = Storm::new(case).await.unwrap();
        let is_harmless = |fault: &Fault| matches!(fault, Fault::Late { .. } | Fault::Limited { .. });
        let mut shrunk = Vec::new();
        for request in 1..=storm.calm().requests {
            let mut plan = Plan::drawn(request, 1, storm.calm());
            plan.actors[0].lives.clear();
            plan.faults.retain(|_, fault| is_harmless(fault));
            plan.faults.insert(request, Fault::Lost { done: true });
            // Beside others, the lost answer may be that of another request: such a plan needs them all.
            let alone = storm.fault_at(request, Fault::Lost { done: true });
            let does_it = !storm.weather(&alone).await.unwrap().is_right();
            if does_it && !storm.weather(&plan).await.unwrap().is_right() {
                shrunk.push(storm.shrink(plan).await.unwrap());
            }
        }
        assert!(!shrunk.is_empty());
        for plan in shrunk {
            assert_eq!(plan.weight(), 1, "{plan}");
        }
    });
}
