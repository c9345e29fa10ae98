//! A dry run: what a plan of many objects in one tenant costs, and the stock onboarding's.
//!
//! `cargo bench --bench plan` prints processor time and memory for 1,000 and 2,000 groups that are to be made and that are to
//! be changed, on a sandbox in this process.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(clippy::unchecked_time_subtraction, reason = "the clock does not go back")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tenantry::sandbox::{Sandbox, Settings};
use tenantry::store::{SecretSource, State, Vault};
use tenantry::surroundings::{Clock, RuntimeClock, SystemClock};
use tenantry::{Customer, Host, Plan, RunStatus};

#[global_allocator]
static ALLOCATOR: tenantry::MeteredAllocator = tenantry::MeteredAllocator;

const ROUNDS: usize = 5;

const PLAYBOOK: &str = r"
let tenant = tenants::ensure(customer);
tenant.groups.list();
for number in 0..customer.groups {
    tenant.groups.ensure(`group ${number}`, #{ assignedRoles: customer.roles });
}
";

fn host(vault: &Vault) -> Host {
    let clock: Arc<dyn Clock> = Arc::new(RuntimeClock::starting_at("2026-11-24T08:00:00Z".parse().unwrap()));
    Host::builder()
        .root(Path::new(env!("CARGO_MANIFEST_DIR")))
        .environment(Arc::new(BTreeMap::new()))
        .vault(vault.clone())
        .state(State::in_memory(Arc::clone(&clock)).unwrap())
        .sandbox(Sandbox::in_memory(Settings { clock: Arc::clone(&clock), ..Settings::default() }))
        .clock(clock)
        .lanes(1)
        .build()
        .unwrap()
}

/// Processor time of all threads of this process.
fn cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let nanoseconds = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .sum();
    Duration::from_nanos(nanoseconds)
}

/// Resident memory of this process, in megabytes.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.split_whitespace().next().and_then(|number| number.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

fn checked(plan: &Plan) {
    assert!(plan.error.is_none(), "{:?}", plan.error);
}

fn main() {
    let paused = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let vault = Vault::in_memory();
    vault.add("fenwick-entra", SecretSource::literal("bench"));
    paused.block_on(async {
        for count in [1_000, 2_000] {
            let host = host(&vault);
            let runtime = host.local_runtime();
            let playbook = host.playbook_from_text("bench.rhai", PLAYBOOK).unwrap();
            let customer = |roles: &[&str]| {
                let values =
                    json!({ "code": "one", "name": "A customer", "region": "eu", "groups": count, "roles": roles });
                Customer::from_value(values).unwrap()
            };
            for (what, customer) in [("made", customer(&[])), ("changed", customer(&["Steward"]))] {
                let mut times = Vec::new();
                let before = resident();
                let mut most: f64 = 0.0;
                for _ in 0..ROUNDS {
                    let began = cpu();
                    let plan = host.plan(&playbook, &customer, "sandbox").plan_here(&runtime).await;
                    times.push(cpu() - began);
                    most = most.max(resident() - before);
                    checked(&plan);
                    assert!(plan.changes.len() >= count);
                }
                times.sort();
                println!(
                    "{count:>5} groups to be {what:<8} {:>7.1} ms of processor, {most:>5.1} MB more than before",
                    times[ROUNDS / 2].as_secs_f64() * 1000.0
                );
                let report = host.run(&playbook, &customer, "sandbox").run_here(&runtime).await;
                assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
            }
        }
        let customers = Customer::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("customers")).unwrap();
        let watch = SystemClock::default();
        for customer in customers {
            let host = host(&vault);
            let runtime = host.local_runtime();
            let playbook = host.playbook("playbooks/onboard.rhai").unwrap();
            let customer = playbook.admit(&customer).unwrap();
            let report = host.run(&playbook, &customer, "sandbox").run_here(&runtime).await;
            assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
            let mut times = Vec::new();
            for _ in 0..ROUNDS * 4 {
                let began = watch.elapsed();
                checked(&host.plan(&playbook, &customer, "sandbox").plan_here(&runtime).await);
                times.push(watch.elapsed() - began);
            }
            times.sort();
            let median = times[times.len() / 2].as_secs_f64() * 1000.0;
            println!(
                "{} onboarded, planned again: {median:.1} ms, its reads from a sandbox in process included",
                customer.code()
            );
        }
    });
}
