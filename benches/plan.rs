//! A dry run: what a plan of many objects in one tenant costs, and the stock onboarding's.
//!
//! `cargo bench --bench plan` prints processor time and memory for 1,000 and 2,000 groups that are to be made and that are to
//! be changed, on a sandbox in this process.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(clippy::unchecked_time_subtraction, reason = "the clock does not go back")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

mod support;

use std::path::Path;

use serde_json::json;
use tenantry::store::{SecretSource, Vault};
use tenantry::surroundings::{Clock, SystemClock};
use tenantry::{Customer, Plan, RunStatus};

use support::{cpu, host, milliseconds, resident};

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
                    milliseconds(times[ROUNDS / 2])
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
            let median = milliseconds(times[times.len() / 2]);
            println!(
                "{} onboarded, planned again: {median:.1} ms, its reads from a sandbox in process included",
                customer.code()
            );
        }
    });
}
