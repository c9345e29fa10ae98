//! What benchmarks measure with.

#![allow(dead_code, reason = "each benchmark uses a part")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tenantry::Host;
use tenantry::sandbox::{Sandbox, Settings};
use tenantry::store::{State, Vault};
use tenantry::surroundings::{Clock, RuntimeClock};

/// A host of this project on a sandbox in this process, on the clock of the runtime.
pub(crate) fn host(vault: &Vault) -> Host {
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
pub(crate) fn cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let nanoseconds = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .sum();
    Duration::from_nanos(nanoseconds)
}

/// Resident memory of this process, in megabytes.
pub(crate) fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.split_whitespace().next().and_then(|number| number.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
