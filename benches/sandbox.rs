//! What the sandbox costs: requests a second, over loopback and in process; ten thousand tenants; a fork; its start.
//!
//! `cargo bench --bench sandbox` prints them. Clients and server share the machine's cores: what is measured is both.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(clippy::unchecked_time_subtraction, reason = "the clock does not go back")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]
#![allow(clippy::cast_precision_loss, reason = "counts are small")]

mod support;

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use tenantry::sandbox::Sandbox;
use tenantry::surroundings::{Clock as _, SystemClock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use support::{milliseconds, resident};

const ROUNDS: usize = 5;
const CONNECTIONS: usize = 16;
const REQUESTS: usize = 40_000;
const TENANTS: usize = 10_000;

/// A sandbox and the way to speak to it in process.
struct Cloud {
    sandbox: Sandbox,
    register_token: String,
    licence: String,
}

/// A tenant with a token for it.
#[derive(Clone)]
struct Tenant {
    host: String,
    token: String,
}

impl Cloud {
    fn new() -> Self {
        let settings =
            tenantry::SandboxSettings { tenant_quota: Some(1_000_000), ..tenantry::SandboxSettings::default() };
        let sandbox = Sandbox::in_memory(settings);
        let licence = sandbox.credentials().license_key;
        let mut cloud = Self { sandbox, register_token: String::new(), licence };
        cloud.register_token = cloud.token("register.eu.qlikcloud.com");
        cloud
    }

    fn token(&self, host: &str) -> String {
        let credentials = self.sandbox.credentials();
        let body = json!({
            "client_id": credentials.client_id,
            "client_secret": credentials.client_secret,
            "grant_type": "client_credentials",
        });
        let answer = self.ask("POST", &format!("https://{host}/oauth/token"), "", &body);
        answer["access_token"].as_str().unwrap().to_owned()
    }

    fn ask(&self, method: &str, url: &str, token: &str, body: &Value) -> Value {
        let mut request = Request::builder().method(method).uri(url).header("content-type", "application/json");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let bytes = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let response = self.sandbox.handle(request.body(bytes).unwrap());
        assert!(response.status().is_success() || response.status().is_redirection(), "{method} {url}: {response:?}");
        serde_json::from_slice(response.body()).unwrap_or_default()
    }

    fn of(&self, tenant: &Tenant, method: &str, path: &str, body: &Value) -> Value {
        self.ask(method, &format!("https://{}/api/v1/{path}", tenant.host), &tenant.token, body)
    }

    /// Makes a tenant and what an onboarding without uploads makes in it.
    fn onboard(&self) -> Tenant {
        let body = json!({ "licenseKey": self.licence, "datacenter": "eu-west-1" });
        let made = self.ask("POST", "https://register.eu.qlikcloud.com/api/v1/tenants", &self.register_token, &body);
        let host = made["hostnames"][0].as_str().unwrap().to_owned();
        let tenant = Tenant { token: self.token(&host), host };
        let id = made["id"].as_str().unwrap();
        let name = json!([{ "op": "replace", "path": "/name", "value": "A customer" }]);
        self.of(&tenant, "PATCH", &format!("tenants/{id}"), &name);
        let mut groups = Vec::new();
        for name in ["viewers", "planners", "keyusers"] {
            let group = self.of(&tenant, "POST", "groups", &json!({ "name": name, "status": "active" }));
            groups.push(group["id"].as_str().unwrap().to_owned());
        }
        for (name, kind) in [("Staging", "shared"), ("Production", "managed"), ("Exchange", "managed")] {
            let space = self.of(&tenant, "POST", "spaces", &json!({ "name": name, "type": kind }));
            let id = space["id"].as_str().unwrap();
            for group in groups.iter().filter(|_| kind == "managed") {
                let assignment = json!({ "type": "group", "assigneeId": group, "roles": ["consumer"] });
                self.of(&tenant, "POST", &format!("spaces/{id}/assignments"), &assignment);
            }
        }
        let portal = json!({ "name": "portal", "validOrigins": ["https://portal.example"] });
        self.of(&tenant, "POST", "web-integrations", &portal);
        let origin = json!({ "name": "tiles", "origin": "tiles.example", "imgSrc": true });
        self.of(&tenant, "POST", "csp-origins", &origin);
        tenant
    }
}

/// What is asked again and again: three reads of one thing, four lists, three writes.
fn mix(number: usize, space: &str) -> (&'static str, String, Value) {
    match number % 10 {
        0..=2 => ("GET", format!("spaces/{space}"), Value::Null),
        3 => ("GET", "spaces?name=Production".to_owned(), Value::Null),
        4 => ("GET", "groups?filter=name%20eq%20%22viewers%22".to_owned(), Value::Null),
        5 => ("GET", "roles?limit=20".to_owned(), Value::Null),
        6 => ("GET", "web-integrations".to_owned(), Value::Null),
        7 | 8 => ("PATCH", format!("spaces/{space}"), {
            json!([{ "op": "replace", "path": "/description", "value": format!("change {number}") }])
        }),
        _ => ("POST", "csp-origins".to_owned(), json!({ "name": "x", "origin": format!("h{number}.example") })),
    }
}

fn space_of(cloud: &Cloud, tenant: &Tenant) -> String {
    let found = cloud.of(tenant, "GET", "spaces?name=Production", &Value::Null);
    found["data"][0]["id"].as_str().unwrap().to_owned()
}

/// Asks the mix in process; the requests are made beforehand.
fn in_process(watch: &SystemClock) -> f64 {
    let cloud = Cloud::new();
    let tenants: Vec<Tenant> = (0..CONNECTIONS).map(|_| cloud.onboard()).collect();
    let spaces: Vec<String> = tenants.iter().map(|tenant| space_of(&cloud, tenant)).collect();
    let requests: Vec<Request<Bytes>> = (0..REQUESTS)
        .map(|number| {
            let at = number % CONNECTIONS;
            // A tenant has room for 256 origins.
            let (method, path, body) = mix(number / CONNECTIONS % 2_000, &spaces[at]);
            Request::builder()
                .method(method)
                .uri(format!("https://{}/api/v1/{path}", tenants[at].host))
                .header("authorization", format!("Bearer {}", tenants[at].token))
                .header("content-type", "application/json")
                .body(if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) })
                .unwrap()
        })
        .collect();
    let began = watch.elapsed();
    for request in requests {
        let answer = cloud.sandbox.handle(request);
        assert!(answer.status().as_u16() < 500);
    }
    REQUESTS as f64 / (watch.elapsed() - began).as_secs_f64()
}

/// Asks the mix over sockets, from as many connections as there are tenants.
fn over_loopback(watch: &SystemClock) -> f64 {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let cloud = Cloud::new();
        let listeners = tenantry::listen_for_sandbox(0).await.unwrap();
        let address = listeners[0].local_addr().unwrap();
        let server = cloud.sandbox.clone();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            server.serve(listeners, async { stopped.await.unwrap_or_default() }).await;
        });
        let clients: Vec<(Tenant, String)> = (0..CONNECTIONS)
            .map(|_| {
                let tenant = cloud.onboard();
                let space = space_of(&cloud, &tenant);
                (tenant, space)
            })
            .collect();
        let began = watch.elapsed();
        let asking: Vec<_> = clients
            .into_iter()
            .map(|(tenant, space)| {
                tokio::spawn(async move {
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    let mut answer = Vec::with_capacity(64 * 1024);
                    for number in 0..REQUESTS / CONNECTIONS {
                        let (method, path, body) = mix(number % 2_000, &space);
                        let body = if body.is_null() { String::new() } else { body.to_string() };
                        let mut request = format!(
                            "{method} /{}/api/v1/{path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\n",
                            tenant.host, tenant.token
                        );
                        if !body.is_empty() {
                            let _ =
                                write!(request, "content-type: application/json\r\ncontent-length: {}\r\n", body.len());
                        }
                        let _ = write!(request, "\r\n{body}");
                        stream.write_all(request.as_bytes()).await.unwrap();
                        read_answer(&mut stream, &mut answer).await;
                    }
                })
            })
            .collect();
        for client in asking {
            client.await.unwrap();
        }
        let rate = (REQUESTS / CONNECTIONS * CONNECTIONS) as f64 / (watch.elapsed() - began).as_secs_f64();
        let _ = stop.send(());
        serving.await.unwrap();
        rate
    })
}

/// Reads one answer to its end; its length stands in its head, unless it has no body.
async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) {
    answer.clear();
    loop {
        let read = stream.read_buf(answer).await.unwrap();
        assert!(read > 0, "the connection ended: {}", String::from_utf8_lossy(answer));
        let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
        assert!(!text.starts_with("http/1.1 5"), "{text}");
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.trim().parse::<usize>().unwrap());
        if answer.len() >= head + 4 + length {
            return;
        }
    }
}

/// How long a look-up in a tenant, a list in it, and the first page of the organization's tenants take, each the
/// median of many, in microseconds.
fn reading(watch: &SystemClock, cloud: &Cloud, tenant: &Tenant) -> [f64; 3] {
    let console = cloud.token("console.qlikcloud.com");
    let space = space_of(cloud, tenant);
    let look_up = || cloud.of(tenant, "GET", &format!("spaces/{space}"), &Value::Null);
    let list = || cloud.of(tenant, "GET", "spaces", &Value::Null);
    let tenants =
        || cloud.ask("GET", "https://console.qlikcloud.com/api/core/tenants?limit=20", &console, &Value::Null);
    let works: [&dyn Fn() -> Value; 3] = [&look_up, &list, &tenants];
    works.map(|work| {
        let mut times: Vec<f64> = (0..301)
            .map(|_| {
                let began = watch.elapsed();
                let _ = work();
                (watch.elapsed() - began).as_secs_f64() * 1e6
            })
            .collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    })
}

fn estate(watch: &SystemClock) {
    let cloud = Cloud::new();
    let before = resident();
    let began = watch.elapsed();
    let first = cloud.onboard();
    for _ in 1..100 {
        cloud.onboard();
    }
    let few = reading(watch, &cloud, &first);
    for _ in 100..TENANTS {
        cloud.onboard();
    }
    let took = (watch.elapsed() - began).as_secs_f64();
    let held = resident() - before;
    println!(
        "{TENANTS} tenants onboarded in {took:.1} s, {held:.0} MB ({:.1} KB each)",
        held * 1024.0 / TENANTS as f64
    );
    let many = reading(watch, &cloud, &first);
    for (index, what) in ["look-up in a tenant", "list in a tenant", "first page of the tenants"].iter().enumerate() {
        println!("  {what:<26} {:>6.1} us among 100, {:>6.1} us among {TENANTS}", few[index], many[index]);
    }
}

fn fork(watch: &SystemClock) {
    let cloud = Cloud::new();
    let tenant = cloud.onboard();
    for number in 0..5_000 {
        cloud.of(&tenant, "POST", "groups", &json!({ "name": format!("group {number}"), "status": "active" }));
        cloud.of(&tenant, "POST", "spaces", &json!({ "name": format!("space {number}"), "type": "managed" }));
    }
    let mut times: Vec<Duration> = (0..101)
        .map(|_| {
            let began = watch.elapsed();
            let fork = Cloud {
                sandbox: cloud.sandbox.fork(),
                register_token: cloud.register_token.clone(),
                licence: cloud.licence.clone(),
            };
            // The first change on it counts as well: what a fork puts off is its price too.
            fork.of(&tenant, "POST", "spaces", &json!({ "name": "Of the fork", "type": "shared" }));
            watch.elapsed() - began
        })
        .collect();
    times.sort();
    println!("fork of a tenant with 10,000 objects, with its first write: {:.3} ms", milliseconds(times[50]));
}

/// From starting the binary to the line that says where it listens.
fn start(watch: &SystemClock) {
    let mut times: Vec<Duration> = (0..=20)
        .map(|_| {
            let began = watch.elapsed();
            let mut child = Command::new(env!("CARGO_BIN_EXE_tenantry"))
                .args(["sandbox", "--port", "0", "--json"])
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let took = watch.elapsed() - began;
            assert!(line.contains("url"), "{line}");
            child.kill().unwrap();
            child.wait().unwrap();
            took
        })
        .collect();
    times.sort();
    println!(
        "start of `tenantry sandbox`: median {:.1} ms, worst {:.1} ms",
        milliseconds(times[10]),
        milliseconds(times[20])
    );
}

fn main() {
    let watch = SystemClock::default();
    start(&watch);
    for (name, measure) in
        [("in process, one thread", in_process as fn(&SystemClock) -> f64), ("over loopback", over_loopback)]
    {
        let mut rates: Vec<f64> = (0..ROUNDS).map(|_| measure(&watch)).collect();
        rates.sort_by(f64::total_cmp);
        println!("{name}: {:.0} requests/s (median of {ROUNDS}, best {:.0})", rates[ROUNDS / 2], rates[ROUNDS - 1]);
    }
    fork(&watch);
    estate(&watch);
}
