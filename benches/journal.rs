//! What the journal costs: a durable step, many runs at once, replay, and the size of it.
//!
//! `cargo bench --bench journal` works on a state file in the folder for temporary files (`TMPDIR` names another). A
//! durable step is a write performed under the journal: its intent on the disk before, its outcome after. Beside it
//! stands the disk's own floor, measured in the same run: appending the same bytes to a file, with the same syncs.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(clippy::unchecked_time_subtraction, reason = "the clock does not go back")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, try_join_all};
use serde_json::{Value, json};
use tenantry::interpreter::{Interpreter, Journaled, Journaling, Record};
use tenantry::operation::{
    Body, Call, Effect, Host as Place, Key, Operation, Outcome, Payload, Request, Response, Site,
};
use tenantry::sandbox::{Sandbox, Settings};
use tenantry::store::{Fingerprints, Opening, RunKind, State, Vault};
use tenantry::surroundings::{Clock, Random, RuntimeClock, SystemClock};
use tenantry::{Customer, Host, RunStatus};

use support::milliseconds;

#[global_allocator]
static ALLOCATOR: tenantry::MeteredAllocator = tenantry::MeteredAllocator;

const ALONE: usize = 2_000;
const RUNS: usize = 1_000;
const STEPS: usize = 40;
const REPLAYS: usize = 30;

/// Has done everything as soon as it is asked.
struct AtOnce;

impl Interpreter for AtOnce {
    fn perform<'a>(&'a self, _: &'a Key, operation: &'a Operation) -> BoxFuture<'a, Outcome> {
        let body = json!({
            "id": "64e4c1d2a8f94b2f9d3c1a70", "type": "managed", "name": operation.subject, "description": "",
            "tenantId": "Pd8pZx0yR1cYtmYHcGkQzVtT2mJ3uLwS", "ownerId": "WQ1vDsx0bUEbQYf4RjV1qLs9iQzS3mVY",
            "createdAt": "2026-11-24T08:00:00.000Z", "updatedAt": "2026-11-24T08:00:00.000Z",
            "meta": { "actions": ["create", "read", "update", "delete"], "roles": [], "assignableRoles": ["consumer"] },
            "links": { "self": { "href": "https://h.eu.qlikcloud.com/api/v1/spaces/64e4c1d2a8f94b2f9d3c1a70" } },
        });
        let payload = Payload::Json(body);
        std::future::ready(Ok(Response { status: 201, headers: BTreeMap::new(), payload })).boxed()
    }
}

fn operation(number: usize) -> Operation {
    let mut request =
        Request::new(Place::Tenant("h.eu.qlikcloud.com".to_owned()), "POST".parse().unwrap(), "/api/v1/spaces");
    let body: Value = json!({ "name": format!("Space {number}"), "type": "managed", "description": "of a benchmark" });
    request.body = Body::Json(body);
    Operation {
        id: "createSpace".to_owned(),
        call: Call::Request(request),
        effect: Effect::Create,
        subject: format!("space \"Space {number}\""),
        site: Some(Site { file: "playbooks/onboard.rhai".to_owned(), line: number, column: 5 }),
    }
}

async fn layer(state: &State, clock: &Arc<dyn Clock>, number: usize) -> Journaled<AtOnce> {
    let run = format!("run-{number}");
    let opening = Opening {
        id: run.clone(),
        kind: RunKind::Run,
        playbook: "playbooks/onboard.rhai".to_owned(),
        scope: "org".to_owned(),
        customer: format!("customer-{number}"),
        target: "sandbox".to_owned(),
        inputs: json!({}),
        verify: false,
        release: "0".to_owned(),
        plan: None,
    };
    let log = state.journal().begin(opening).await.unwrap();
    let fingerprints = Fingerprints::new(Vault::in_memory(), Random::from_seed(7));
    let record = Record::default();
    Journaled::new(AtOnce, Journaling { run, log, record, fingerprints, clock: Arc::clone(clock) })
}

async fn step(layer: &Journaled<AtOnce>, number: usize) -> Outcome {
    let key: Key = format!("{number}:createSpace#0").parse().unwrap();
    layer.perform(&key, &operation(number)).await
}

fn show(name: &str, times: &mut [Duration]) {
    times.sort();
    let at = |share: usize| milliseconds(times[(times.len() - 1) * share / 100]);
    println!("{name:<44} p50 {:>7.3} ms, p99 {:>7.3} ms", at(50), at(99));
}

/// Each of so many rounds of work, timed.
fn timed(rounds: usize, mut work: impl FnMut(usize)) -> Vec<Duration> {
    let watch = SystemClock::default();
    (0..rounds)
        .map(|round| {
            let began = watch.elapsed();
            work(round);
            watch.elapsed() - began
        })
        .collect()
}

/// The time it takes to append so many bytes and to have them on the disk.
fn sync_floor(folder: &Path, bytes: usize, rounds: usize) -> Vec<Duration> {
    let mut file = File::create(folder.join("floor")).unwrap();
    let content = vec![0x5a; bytes];
    timed(rounds, |_| {
        file.write_all(&content).unwrap();
        file.sync_data().unwrap();
    })
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let state = State::open(&folder.path().join("one/state.db"), Arc::clone(&clock)).unwrap();
    alone(&runtime, &state, &clock, folder.path());
    let state = State::open(&folder.path().join("many/state.db"), Arc::clone(&clock)).unwrap();
    together(&runtime, &state, &clock, folder.path());
    replay(folder.path());
}

fn alone(runtime: &tokio::runtime::Runtime, state: &State, clock: &Arc<dyn Clock>, folder: &Path) {
    let layer = runtime.block_on(layer(state, clock, 0));
    let mut steps = timed(ALONE, |number| drop(runtime.block_on(step(&layer, number)).unwrap()));
    // A commit writes a page or two and their headers to the log.
    let mut floor: Vec<Duration> =
        sync_floor(folder, 8192, ALONE * 2).chunks(2).map(|pair| pair.iter().sum()).collect();
    show("durable step, one run (two commits)", &mut steps);
    show("floor: 8 KB appended and synced, twice", &mut floor);
}

fn together(runtime: &tokio::runtime::Runtime, state: &State, clock: &Arc<dyn Clock>, folder: &Path) {
    let watch = SystemClock::default();
    let layers = runtime.block_on(async {
        try_join_all((0..RUNS).map(|run| layer(state, clock, run).map(Ok::<_, ()>))).await.unwrap()
    });
    let began = watch.elapsed();
    runtime.block_on(async {
        let runs = layers.into_iter().map(|layer| {
            tokio::spawn(async move {
                for number in 0..STEPS {
                    step(&layer, number).await.unwrap();
                }
            })
        });
        try_join_all(runs).await.unwrap();
    });
    let took = watch.elapsed() - began;
    let steps = RUNS * STEPS;
    let size = state_size(&folder.join("many"));
    // Each of a run's steps has to wait for the one before it: so many rounds of two syncs, whatever is grouped.
    let rounds = STEPS * 2;
    let floor: Duration = sync_floor(folder, size / rounds, rounds).iter().sum();
    let each = took / u32::try_from(steps).unwrap();
    println!(
        "durable steps, {RUNS} runs at once               {:.0} steps/s ({steps} in {:.0} ms; each run's own steps one after \
         the other)",
        1.0 / each.as_secs_f64(),
        milliseconds(took),
    );
    println!(
        "floor: the same bytes in {rounds} syncs            {:.0} ms; measured / floor = {:.1}",
        milliseconds(floor),
        took.as_secs_f64() / floor.as_secs_f64(),
    );
}

fn state_size(folder: &Path) -> usize {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap())
        .filter(std::fs::Metadata::is_file)
        .map(|file| usize::try_from(file.len()).unwrap())
        .sum()
}

/// A run of a thousand operations, written and then replayed.
fn replay(folder: &Path) {
    let root = folder.join("project");
    std::fs::create_dir_all(&root).unwrap();
    std::fs::write(root.join("tenantry.toml"), "").unwrap();
    let playbook = "//! @permits tenants:create tenants:update spaces:write
        let tenant = tenants::ensure(customer);
        for number in 0..495 { tenant.spaces.ensure(`Space ${number}`, \"shared\"); }";
    std::fs::write(root.join("many.rhai"), playbook).unwrap();
    std::fs::write(root.join("hb.yaml"), "code: hb\nname: Harbour\nregion: eu\n").unwrap();
    let paused = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(RuntimeClock::starting_at("2026-11-24T08:00:00Z".parse().unwrap()));
    let database = root.join(".tenantry");
    paused.block_on(async {
        let host = Host::builder()
            .root(&root)
            .environment(Arc::new(BTreeMap::new()))
            .vault(Vault::in_memory())
            .state(State::open(&database.join("state.db"), Arc::clone(&clock)).unwrap())
            .sandbox(Sandbox::in_memory(Settings { clock: Arc::clone(&clock), ..Settings::default() }))
            .clock(clock)
            .lanes(1)
            .build()
            .unwrap();
        let playbook = host.playbook("many.rhai").unwrap();
        let customer = playbook.admit(&Customer::load(&root.join("hb.yaml")).unwrap()[0]).unwrap();
        let runtime = host.local_runtime();
        let report = host.run(&playbook, &customer, "sandbox").run_here(&runtime).await;
        assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
        let watch = SystemClock::default();
        let mut times = Vec::new();
        let mut operations = 0;
        for _ in 0..REPLAYS {
            let began = watch.elapsed();
            let replayed = host.replay(&report.run).await.unwrap();
            times.push(watch.elapsed() - began);
            assert!(replayed.is_identical() && replayed.complete);
            operations = replayed.operations;
        }
        show(&format!("replay of {operations} operations"), &mut times);
        drop(host);
        println!(
            "journal, file in all                         {} bytes an operation",
            state_size(&database) / operations
        );
    });
}
