//! The stock onboarding of the three reference customers on a sandbox in this process.
//!
//! `cargo bench --bench onboarding` prints requests and writes of a first and a second run, and the time of one run on
//! the paused clock. Key pairs are made beforehand: making one takes longer than everything else together.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(clippy::unchecked_time_subtraction, reason = "the clock does not go back")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

mod support;

use std::path::Path;

use tenantry::playbook::Runtime;
use tenantry::store::{SecretSource, Vault};
use tenantry::surroundings::{Clock, SystemClock};
use tenantry::{Customer, Host, Playbook, RunReport, RunStatus};

use support::{host, milliseconds};

#[global_allocator]
static ALLOCATOR: tenantry::MeteredAllocator = tenantry::MeteredAllocator;

const ROUNDS: u32 = 50;

async fn run(host: &Host, playbook: &Playbook, runtime: &Runtime, customer: &Customer) -> RunReport {
    let report = host.run(playbook, customer, "sandbox").run_here(runtime).await;
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
    report
}

fn main() {
    let paused = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let customers = Customer::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("customers")).unwrap();
    let vault = Vault::in_memory();
    vault.add("fenwick-entra", SecretSource::literal("bench"));
    let watch = SystemClock::default();
    paused.block_on(async {
        let first_host = host(&vault);
        let runtime = first_host.local_runtime();
        let playbook = first_host.playbook("playbooks/onboard.rhai").unwrap();
        let customers: Vec<Customer> = customers.iter().map(|customer| playbook.admit(customer).unwrap()).collect();
        println!("customer  first run                second run");
        for customer in &customers {
            let first = run(&first_host, &playbook, &runtime, customer).await;
            let second = run(&first_host, &playbook, &runtime, customer).await;
            println!(
                "{:<9} {:>3} requests, {:>2} writes   {:>3} requests, {:>2} writes  ({:.2} of the first)",
                customer.code(),
                first.requests,
                first.writes,
                second.requests,
                second.writes,
                f64::from(second.requests) / f64::from(first.requests),
            );
        }
        for customer in &customers {
            let mut times = Vec::new();
            for _ in 0..ROUNDS {
                let host = host(&vault);
                let began = watch.elapsed();
                run(&host, &playbook, &runtime, customer).await;
                times.push(watch.elapsed() - began);
            }
            times.sort();
            println!(
                "{:<9} one first run in process: median {:.2} ms, best {:.2} ms",
                customer.code(),
                milliseconds(times[times.len() / 2]),
                milliseconds(times[0]),
            );
        }
    });
}
