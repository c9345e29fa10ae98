//! The storm: every stock playbook under faults and kills.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tenantry::simulate::{Case, Plan, Storm};
use tenantry::{Customer, Project};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

fn playbooks() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(root().join("playbooks"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rhai"))
        .map(|path| path.strip_prefix(root()).unwrap().to_owned())
        .collect();
    all.sort();
    all
}

fn case(playbook: &Path, customers: Vec<Customer>) -> Case {
    Case {
        project: Project::open(root()).unwrap(),
        playbook: playbook.to_owned(),
        customers,
        secrets: BTreeMap::from([("fenwick-entra".to_owned(), "canary-entra-secret-90d2".to_owned())]),
    }
}

#[test]
fn the_same_plan_comes_to_the_same_end_byte_by_byte() {
    let customers = Customer::load(&root().join("customers")).unwrap();
    for playbook in playbooks() {
        paused().block_on(async {
            let storm = Storm::new(case(&playbook, customers[..2].to_vec())).await.unwrap();
            for seed in 0..5 {
                let plan = Plan::drawn(seed, storm.actors(), storm.calm());
                let (first, second) = (storm.weather(&plan).await.unwrap(), storm.weather(&plan).await.unwrap());
                if let Some((one, other)) =
                    first.trace.lines().zip(second.trace.lines()).find(|(one, other)| one != other)
                {
                    panic!("{plan}\n{one}\n{other}");
                }
                assert_eq!(first.trace.len(), second.trace.len(), "{plan}");
                assert!(first.requests > 0 && first.trace.contains("\"event\":\"run_started\""), "{}", first.trace);
            }
        });
    }
}
