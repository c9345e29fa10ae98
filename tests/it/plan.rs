//! Plans: what a dry run says is what a run does.

use std::path::Path;

use tenantry::Project;
use tenantry::simulate::{Case, Many};

/// How many tenants and customers are drawn by chance.
const SEEDS: u64 = 500;

fn paused() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
}

#[test]
fn whatever_the_tenant_and_the_customer_a_plan_is_what_applying_it_does() {
    let project = Project::open(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap().state_in(env!("CARGO_TARGET_TMPDIR"));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let many = Many { cases: Case::alone(&project).unwrap(), threads, runtime: paused };
    let done = many.rehearse(0..SEEDS).unwrap();
    println!("{done:?}");
    let shown: Vec<_> = done.failures.iter().take(3).collect();
    assert!(done.failures.is_empty(), "{} plans were not right: {shown:#?}", done.failures.len());
    assert_eq!(done.plans, SEEDS);
    assert!(done.writes > SEEDS * 3 && done.empty > SEEDS / 10, "{done:?}");
    assert!(done.failing > SEEDS / 20 && done.stopped > SEEDS / 30, "{done:?}");
}
