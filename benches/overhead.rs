//! What the host adds to the requests themselves: a 45-request onboarding through the host, against a bare loop that
//! sends the same requests with the same HTTP client, in turn, over loopback to a served sandbox in another process.
//!
//! `cargo bench --bench overhead` prints wall and CPU time of both per onboarding, and their ratios. The registry is in
//! memory, so that the disk's fsync is not counted; `docs/benchmarks.md` says what that leaves out.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(clippy::unchecked_time_subtraction, reason = "the clock does not go back")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tenantry::store::{SecretSource, State, Vault};
use tenantry::surroundings::{Clock as _, SystemClock};
use tenantry::{Customer, Host, RunReport, RunStatus};

use support::cpu;

#[global_allocator]
static ALLOCATOR: tenantry::MeteredAllocator = tenantry::MeteredAllocator;

const ROUNDS: usize = 60;

const PLAYBOOK: &str = r#"
    let tenant = tenants::ensure(customer);
    for step in customer.steps { tenant.request(step.operation, step.get("options") ?? #{}); }
"#;

/// The requests after the tenant is made and named: a mix of look-ups and creations as an onboarding has it.
fn steps() -> Vec<Value> {
    let mut steps = Vec::new();
    for index in 0..10 {
        steps.push(json!({ "operation": "getSpaces", "options": { "query": { "name": format!("Space {index}") } } }));
        steps.push(json!({
            "operation": "createSpace",
            "options": { "body": { "name": format!("Space {index}"), "type": "managed", "description": "made by a benchmark" } },
        }));
        steps.push(json!({ "operation": "getGroups", "options": { "query": { "filter": format!("name eq \"group-{index}\"") } } }));
        steps.push(json!({
            "operation": "createGroup",
            "options": { "body": { "name": format!("group-{index}"), "status": "active", "providerType": "idp" } },
        }));
    }
    steps.push(json!({ "operation": "getWebIntegrations" }));
    steps.push(json!({ "operation": "getLicenseSettings" }));
    steps
}

/// A sandbox in another process, ended with this value.
struct Served {
    child: Child,
    facts: Value,
}

impl Served {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tenantry"))
            .args(["sandbox", "--port", "0", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, facts: serde_json::from_str(&line).unwrap() }
    }

    fn fact(&self, name: &str) -> &str {
        self.facts[name].as_str().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One onboarding without a host: token, tenant, token, name, then the steps one after another.
async fn bare(client: &reqwest::Client, served: &Served, register_token: &str, steps: &[Value]) {
    let url = served.fact("url");
    let body = json!({ "licenseKey": served.fact("license_key"), "datacenter": "eu-west-1" });
    let created: Value = send(
        client.post(format!("{url}/register.eu.qlikcloud.com/api/v1/tenants")).bearer_auth(register_token).json(&body),
    )
    .await;
    let base = format!("{url}/{}", created["hostnames"][0].as_str().unwrap());
    let token = token(client, &base, served).await;
    // Redirects to the user's own page.
    send(client.get(format!("{base}/api/v1/users/me")).bearer_auth(&token)).await;
    let patch = json!([{ "op": "replace", "path": "/name", "value": "A customer" }]);
    let id = created["id"].as_str().unwrap();
    send(client.patch(format!("{base}/api/v1/tenants/{id}")).bearer_auth(&token).json(&patch)).await;
    for step in steps {
        let published = tenantry::contract::contract().operation(step["operation"].as_str().unwrap()).unwrap();
        let mut request =
            client.request(published.method.clone(), format!("{base}{}", published.path)).bearer_auth(&token);
        if let Some(query) = step["options"]["query"].as_object() {
            request = request.query(query);
        }
        if !step["options"]["body"].is_null() {
            request = request.json(&step["options"]["body"]);
        }
        send(request).await;
    }
}

async fn token(client: &reqwest::Client, base: &str, served: &Served) -> String {
    let body = json!({
        "client_id": served.fact("client_id"),
        "client_secret": served.fact("client_secret"),
        "grant_type": "client_credentials",
    });
    let answer = send(client.post(format!("{base}/oauth/token")).json(&body)).await;
    answer["access_token"].as_str().unwrap().to_owned()
}

async fn send(request: reqwest::RequestBuilder) -> Value {
    let response = request.send().await.unwrap().error_for_status().unwrap();
    let bytes = response.bytes().await.unwrap();
    if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() }
}

fn host(served: &Served, folder: &std::path::Path) -> Host {
    let settings = format!(
        "[targets.served]\naddress = \"{}\"\norganization = \"bench\"\nlicense_key = {{ env = \"KEY\" }}\n[targets.served.regions.eu]\nclient_id = \"{}\"\nclient_secret = {{ env = \"SECRET\" }}\n",
        served.fact("url"),
        served.fact("client_id"),
    );
    std::fs::write(folder.join("tenantry.toml"), settings).unwrap();
    let project = tenantry::Project::open(folder).unwrap();
    let vault = Vault::in_memory();
    vault.add("target/served/license_key", SecretSource::literal(served.fact("license_key")));
    vault.add("target/served/regions/eu/client_id", SecretSource::literal(served.fact("client_id")));
    vault.add("target/served/regions/eu/client_secret", SecretSource::literal(served.fact("client_secret")));
    Host::builder()
        .project(project)
        .vault(vault)
        .state(State::in_memory(Arc::new(SystemClock::default())).unwrap())
        .new_registry(true)
        .lanes(1)
        .build()
        .unwrap()
}

fn main() {
    let served = Served::start();
    let folder = tempfile::tempdir().unwrap();
    let host = host(&served, folder.path());
    let here = self::host(&served, folder.path());
    let playbook = host.playbook_from_text("bench.rhai", PLAYBOOK).unwrap();
    let steps = steps();
    let watch = SystemClock::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let register_token =
        runtime.block_on(token(&client, &format!("{}/register.eu.qlikcloud.com", served.fact("url")), &served));
    let local = host.local_runtime();
    let (mut lanes, mut inline, mut bares) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let customer = |kind: &str| {
            let values =
                json!({ "code": format!("{kind}{round}"), "name": "A customer", "region": "eu", "steps": steps });
            Customer::from_value(values).unwrap()
        };
        let (one, other) = (customer("lane"), customer("here"));
        lanes.push(measured(&watch, || {
            runtime.block_on(async { check(&host.run(&playbook, &one, "served").await) });
        }));
        inline.push(measured(&watch, || {
            runtime.block_on(async { check(&here.run(&playbook, &other, "served").run_here(&local).await) });
        }));
        bares.push(measured(&watch, || runtime.block_on(bare(&client, &served, &register_token, &steps))));
    }
    println!("45-request onboarding over loopback, medians of {ROUNDS} rounds");
    let (bare_wall, bare_cpu) = medians(&bares);
    for (name, times) in [("bare loop", &bares), ("host, one thread", &inline), ("host, lanes", &lanes)] {
        let (wall, cpu) = medians(times);
        println!(
            "  {name:<17} wall {wall:>6.2} ms ({:.2}x)   CPU {cpu:>6.2} ms ({:.2}x)",
            wall / bare_wall,
            cpu / bare_cpu
        );
    }
}

type Times = Vec<(Duration, Duration)>;

fn measured(watch: &SystemClock, work: impl FnOnce()) -> (Duration, Duration) {
    let (wall, busy) = (watch.elapsed(), cpu());
    work();
    (watch.elapsed() - wall, cpu() - busy)
}

fn check(report: &RunReport) {
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
    assert_eq!(report.requests, 45, "{:?}", report.changes);
}

/// In milliseconds; without the first round, which opens connections and compiles the playbook.
fn medians(times: &Times) -> (f64, f64) {
    let median = |pick: fn(&(Duration, Duration)) -> Duration| {
        let mut picked: Vec<Duration> = times.iter().skip(1).map(pick).collect();
        picked.sort();
        picked[picked.len() / 2].as_secs_f64() * 1000.0
    };
    (median(|time| time.0), median(|time| time.1))
}
