//! The storm from the command line: many seeds, every kill, or one plan again.
//!
//! `cargo run --release --example storm -- --seeds 0..1000` prints what was tried and every plan that did not end well,
//! shrunk, with the command that repeats it.

#![allow(clippy::print_stdout, reason = "an example prints its figures")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tenantry::sandbox::Fault;
use tenantry::simulate::{Case, Many, Plan, Storm, StormError, Tally};
use tenantry::surroundings::{Clock as _, SystemClock};
use tenantry::{Customer, Project};

/// Each kind of fault.
const FAULTS: [&str; 9] = [
    "refused:403:HTTP-403",
    "limited:3",
    "failed:503",
    "failed-done:503",
    "lost",
    "lost-done",
    "expired",
    "stale:3",
    "late:2000",
];

/// Runs playbooks under faults and kills, and tells what did not end well.
#[derive(Parser)]
struct Arguments {
    /// The project
    #[arg(long, default_value = env!("CARGO_MANIFEST_DIR"))]
    root: PathBuf,
    /// Only this playbook
    #[arg(long)]
    playbook: Option<PathBuf>,
    /// Only these customers, all at once; one code twice makes two runs race for it
    #[arg(long, value_delimiter = ',')]
    customers: Vec<String>,
    /// The plan of this seed
    #[arg(long)]
    seed: Option<u64>,
    /// The plans of these seeds, as FIRST..END
    #[arg(long, value_parser = range)]
    seeds: Option<Range<u64>>,
    /// This plan, as a failure prints it
    #[arg(long, value_name = "PLAN")]
    faults: Option<Plan>,
    /// Kill the first process at every point
    #[arg(long)]
    kills: bool,
    /// Strike each request with each kind of fault, one at a time
    #[arg(long)]
    each: bool,
    /// Plan, apply and plan again what the seeds draw, in place of harming runs
    #[arg(long)]
    rehearse: bool,
    /// How many threads work
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    threads: usize,
    /// Print what happened, for one seed or plan
    #[arg(long)]
    trace: bool,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (first, end) = text.split_once("..").ok_or("write FIRST..END")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
    Ok(number(first)?..number(end)?)
}

fn paused() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::from(2)
        }
    }
}

/// Whether all ended well.
fn run(arguments: &Arguments) -> Result<bool, StormError> {
    let cases = cases(arguments)?;
    let many = Many { cases, threads: arguments.threads, runtime: paused };
    if let Some(plan) = &arguments.faults {
        return one(&many.cases[0], plan, arguments.trace);
    }
    if let Some(seed) = arguments.seed {
        let case = &many.cases[many.case_of(seed)];
        let plan = paused()?.block_on(async {
            let storm = Storm::new(case.clone()).await?;
            Ok::<_, StormError>(Plan::drawn(seed, storm.actors(), storm.calm()))
        })?;
        return one(case, &plan, arguments.trace);
    }
    let watch = SystemClock::default();
    if arguments.rehearse {
        let done = many.rehearse(arguments.seeds.clone().unwrap_or(0..500))?;
        println!(
            "{} plans with {} writes in {:.1} s: {} had nothing to do, {} fail, {} stopped; {} were not right",
            done.plans,
            done.writes,
            watch.elapsed().as_secs_f64(),
            done.empty,
            done.failing,
            done.stopped,
            done.failures.len()
        );
        for (case, seed, findings) in done.failures.iter().take(10) {
            println!("{case}, seed {seed}:");
            findings.iter().take(3).for_each(|finding| println!("    {}", shortened(finding)));
        }
        return Ok(done.failures.is_empty());
    }
    let tally = if arguments.kills {
        many.every_kill()?
    } else if arguments.each {
        let faults: Vec<Fault> = FAULTS.iter().filter_map(|fault| fault.parse().ok()).collect();
        many.every_fault(&faults)?
    } else {
        many.by_chance(arguments.seeds.clone().unwrap_or(0..300))?
    };
    tell(&many, &tally, watch.elapsed());
    Ok(tally.failures.is_empty())
}

fn cases(arguments: &Arguments) -> Result<Vec<Case>, StormError> {
    let project = Project::open(&arguments.root)?.state_in(std::env::temp_dir().join("tenantry-storm"));
    let mut cases = Case::alone(&project)?;
    if !arguments.kills && !arguments.each && !arguments.rehearse {
        cases.extend(Case::together(&project)?);
    }
    if let Some(playbook) = &arguments.playbook {
        cases.retain(|case| case.playbook == *playbook);
    }
    if !arguments.customers.is_empty() {
        let all = Customer::load(&arguments.root.join("customers"))?;
        let wanted = arguments.customers.iter().filter_map(|code| all.iter().find(|customer| customer.code() == code));
        let customers: Vec<Customer> = wanted.cloned().collect();
        let playbook = cases.first().map(|case| case.playbook.clone()).unwrap_or_default();
        cases = vec![Case::new(&project, playbook, customers)];
    }
    Ok(cases)
}

/// Carries out one plan and tells how it ended.
fn one(case: &Case, plan: &Plan, trace: bool) -> Result<bool, StormError> {
    let outcome = paused()?.block_on(async { Storm::new(case.clone()).await?.weather(plan).await })?;
    if trace {
        println!("{}", outcome.trace);
    }
    println!("{case}: {plan}");
    println!("{} processes, {} of them died, {} requests", outcome.points.len(), outcome.deaths, outcome.requests);
    for finding in &outcome.findings {
        println!("    {finding}");
    }
    Ok(outcome.is_right())
}

fn tell(many: &Many, tally: &Tally, took: Duration) {
    println!(
        "{} plans in {:.1} s on {} threads: {} things went wrong, {} of {} processes died, {} requests",
        tally.plans,
        took.as_secs_f64(),
        many.threads,
        tally.harm,
        tally.deaths,
        tally.processes,
        tally.requests,
    );
    for (case, points) in &tally.points {
        println!("    {case}: up to {points} points in one life");
    }
    println!("{} plans did not end well", tally.failures.len());
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for failed in &tally.failures {
        let first = failed.outcome.findings.first().map(|finding| shortened(&finding.to_string()));
        *kinds.entry(first.unwrap_or_default()).or_default() += 1;
    }
    for (kind, count) in kinds {
        println!("    {count} times {kind}");
    }
    for failed in tally.failures.iter().take(10) {
        let case = &many.cases[failed.case];
        println!("{case}\n    {}", case.command(&failed.plan));
        for finding in failed.outcome.findings.iter().take(3) {
            println!("    {}", shortened(&finding.to_string()));
        }
    }
}

fn shortened(text: &str) -> String {
    const MOST: usize = 200;
    if text.chars().count() <= MOST { text.to_owned() } else { text.chars().take(MOST).chain(['…']).collect() }
}
