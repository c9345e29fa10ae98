//! The command line of tenantry.

mod cli;
mod report;

/// Counts what playbooks hold, so that one that grows without end is stopped before the machine suffers.
#[global_allocator]
static ALLOCATOR: tenantry::MeteredAllocator = tenantry::MeteredAllocator;

fn main() -> std::process::ExitCode {
    cli::main()
}
