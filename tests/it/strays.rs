//! Tenants that no registry row owns: how a creation with an unknown end finds its own, and what a person is shown.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};
use tenantry::contract::contract;
use tenantry::interpreter::{Embedded, Enrolment, Interpreter, License, Registered, Settlement};
use tenantry::operation::secret::SecretStore as _;
use tenantry::operation::{
    Body, Call, Effect, Failure, FailureKind, Host, Key, Operation, Outcome, Payload, Request, Response,
};
use tenantry::sandbox::{self, Sandbox};
use tenantry::store::{CommitHook, Entry, Opening, RunKind, State, Tenant, Vault, Verdict};
use tenantry::surroundings::{Clock, Random, RuntimeClock, SystemClock};

use crate::support::command_line::Folder;

fn clock() -> Arc<dyn Clock> {
    Arc::new(RuntimeClock::starting_at("2026-11-24T08:00:00Z".parse().unwrap()))
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn create_tenant(region: &str) -> Operation {
    let published = contract().operation("createTenant").unwrap();
    Operation {
        id: published.id.to_owned(),
        call: Call::Request(Request {
            host: Host::Register(region.to_owned()),
            method: published.method.clone(),
            path: published.path.to_owned(),
            query: Vec::new(),
            headers: BTreeMap::new(),
            body: Body::Json(json!({ "licenseKey": { "$secret": "license" } })),
            next: None,
        }),
        effect: Effect::Create,
        subject: "tenant of harbour".to_owned(),
        site: None,
    }
}

fn look_up() -> Operation {
    Operation {
        id: "tenantry.registry.lookup".to_owned(),
        call: Call::Local { arguments: json!({ "customer": "harbour", "region": "eu" }) },
        effect: Effect::Read,
        subject: "tenant of harbour".to_owned(),
        site: None,
    }
}

/// Answers as told, in order, and remembers what was asked.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<(VecDeque<Outcome>, Vec<String>)>>);

impl Interpreter for Scripted {
    fn perform<'a>(&'a self, _: &'a Key, operation: &'a Operation) -> BoxFuture<'a, Outcome> {
        let mut script = self.0.lock().unwrap();
        script.1.push(format!("{} {}", operation.id, operation.request().unwrap().host));
        std::future::ready(script.0.pop_front().expect("nothing more is asked")).boxed()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it stands where an outcome is expected")]
fn answer(body: Value) -> Outcome {
    Ok(Response { status: 200, headers: BTreeMap::new(), payload: Payload::Json(body) })
}

/// A tenant in the organization's list, as nobody has touched it, created so many minutes after eight.
fn listed(id: &str, minutes: i64) -> Value {
    let created: Timestamp = "2026-11-24T08:00:00Z".parse().unwrap();
    let created = (created + jiff::SignedDuration::from_mins(minutes)).to_string();
    json!({
        "id": id, "name": format!("{id}label"), "hostnames": [format!("{id}label.eu.qlikcloud.com")],
        "regionCode": "eu-west-1", "status": "active", "createdAt": created,
    })
}

fn list(tenants: &[Value]) -> Outcome {
    answer(json!({ "data": tenants }))
}

struct World {
    state: State,
    inner: Scripted,
    clock: Arc<dyn Clock>,
}

impl World {
    fn new() -> Self {
        let clock = clock();
        Self { state: State::in_memory(Arc::clone(&clock)).unwrap(), inner: Scripted::default(), clock }
    }

    fn layer(&self, answers: impl IntoIterator<Item = Outcome>, lists: bool) -> Registered<Scripted> {
        *self.inner.0.lock().unwrap() = (answers.into_iter().collect(), Vec::new());
        let target = Enrolment::Organization {
            identity: "org".to_owned(),
            may_begin: true,
            lists,
            license: License::Key("license".to_owned()),
        };
        Registered::new(self.inner.clone(), self.state.registry(), target, "harbour", "run-1")
    }

    /// A creation that was begun and whose end is not known, and its record.
    async fn begun(&self, customer: &str, run: &str, region: &str) {
        let key = "0:createTenant#0";
        begun(&self.state, customer, run, region).await;
        self.state.registry().begin_create("org", customer, run, key, "digest").unwrap();
    }

    async fn settle(&self, answers: impl IntoIterator<Item = Outcome>) -> Result<Settlement, Failure> {
        let layer = self.layer(answers, true);
        layer.settle(&key("0:createTenant#0"), &create_tenant("eu"), self.clock.now()).await
    }

    fn asked(&self) -> Vec<String> {
        self.inner.0.lock().unwrap().1.clone()
    }

    fn row(&self) -> Option<Tenant> {
        self.state.registry().tenant("org", "harbour").unwrap()
    }

    fn is_open(&self) -> bool {
        self.state.registry().intent("org", "harbour").unwrap().is_some()
    }
}

async fn begun(state: &State, customer: &str, run: &str, region: &str) {
    let opening = Opening {
        id: run.to_owned(),
        kind: RunKind::Run,
        playbook: "play.rhai".to_owned(),
        scope: "org".to_owned(),
        customer: customer.to_owned(),
        target: "sandbox".to_owned(),
        inputs: json!({}),
        verify: false,
        release: "0".to_owned(),
        plan: None,
    };
    let log = state.journal().begin(opening).await.unwrap();
    let operation = Box::new((&create_tenant(region)).into());
    let intent = Entry::Intent { key: key("0:createTenant#0"), attempt: 0, operation, secrets: BTreeMap::new() };
    log.append(&intent).await.unwrap();
}

fn document(id: &str) -> Outcome {
    answer(json!({ "id": id, "hostnames": [format!("{id}label.eu.qlikcloud.com")], "status": "active" }))
}

fn id(settlement: Result<Settlement, Failure>) -> Value {
    match settlement {
        Ok(Settlement::Performed(answer)) => {
            assert_eq!(answer.status, 201);
            answer.json()["id"].clone()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_only_the_list_knows_is_adopted_in_one_step() {
    let world = World::new();
    world.begun("harbour", "run-1", "eu").await;
    let registry = world.state.registry();
    let owned = Tenant {
        customer: "fenwick".to_owned(),
        id: "owned".to_owned(),
        hostname: "ownedlabel.eu.qlikcloud.com".to_owned(),
        alias: None,
        region: "eu".to_owned(),
        name: None,
        status: "active".to_owned(),
        created_by_run: None,
    };
    registry.adopt("org", &owned).unwrap();
    let with = |mut tenant: Value, field: &str, value: Value| {
        tenant[field] = value;
        tenant
    };
    let others = [
        listed("owned", 0),
        listed("older", -6),
        listed("later", 61),
        with(listed("named", 0), "name", json!("Fenwick")),
        with(listed("alias", 0), "hostnames", json!(["aliaslabel.eu.qlikcloud.com", "fw.eu.qlikcloud.com"])),
        with(listed("off", 0), "status", json!("disabled")),
        with(listed("gone", 0), "status", json!("deleted")),
        with(listed("other", 0), "hostnames", json!(["otherlabel.us.qlikcloud.com"])),
        json!({ "id": "odd" }),
    ];
    let page = answer(json!({ "data": others, "links": { "next": { "href": "https://console/next" } } }));
    let settled = world.settle([page, list(&[listed("t1", 0)]), document("t1")]).await;
    assert_eq!(id(settled), "t1");
    assert_eq!(
        world.asked(),
        [
            "listOrganizationTenants console.qlikcloud.com",
            "listOrganizationTenants console.qlikcloud.com",
            "getMyTenant t1label.eu.qlikcloud.com",
        ]
    );
    let row = world.row().unwrap();
    assert_eq!((row.id.as_str(), row.created_by_run.as_deref()), ("t1", Some("run-1")));
    assert!(!world.is_open());
    // Asked again, the registry knows.
    assert_eq!(id(world.settle([document("t1")]).await), "t1");
}

#[tokio::test(start_paused = true)]
async fn a_creation_that_made_none_is_taken_back_when_lists_had_their_time() {
    let world = World::new();
    world.begun("harbour", "run-1", "eu").await;
    let begun = world.clock.now();
    let answers = std::iter::repeat_with(|| list(&[listed("older", -6)])).take(20);
    assert_eq!(world.settle(answers).await, Ok(Settlement::NotPerformed));
    assert!(world.asked().len() > 3 && !world.is_open());
    let waited = Duration::try_from(world.clock.now().duration_since(begun)).unwrap();
    assert!(waited >= tenantry::interpreter::PATIENCE);
    // One that shows up late is found.
    world.state.registry().begin_create("org", "harbour", "run-1", "0:createTenant#0", "digest").unwrap();
    assert_eq!(id(world.settle([list(&[]), list(&[listed("t1", 0)]), document("t1")]).await), "t1");
}

#[tokio::test(start_paused = true)]
async fn what_never_went_out_made_no_tenant() {
    let world = World::new();
    assert_eq!(world.settle([]).await, Ok(Settlement::NotPerformed));
    // Another run's creation is not this one's.
    world.begun("harbour", "run-0", "eu").await;
    assert_eq!(world.settle([]).await, Ok(Settlement::NotPerformed));
    assert!(world.is_open() && world.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_person_entered_settles_it() {
    let world = World::new();
    let mut tenant = Tenant {
        customer: "harbour".to_owned(),
        id: "t1".to_owned(),
        hostname: "t1label.eu.qlikcloud.com".to_owned(),
        alias: None,
        region: "eu".to_owned(),
        name: None,
        status: "active".to_owned(),
        created_by_run: None,
    };
    world.state.registry().adopt("org", &tenant).unwrap();
    assert_eq!(id(world.settle([document("t1")]).await), "t1");
    // When it does not answer, nothing is known for certain.
    let down = Err(Failure::new(FailureKind::Unsent, "tenantry/connect", "no route"));
    assert_eq!(world.settle([down]).await.unwrap_err().code, "tenantry/unsettled");
    // The tenant of another run was there before.
    world.state.registry().forget("org", "harbour").unwrap();
    tenant.created_by_run = Some("run-0".to_owned());
    world.state.registry().adopt("org", &tenant).unwrap();
    assert_eq!(world.settle([]).await, Ok(Settlement::NotPerformed));
}

#[tokio::test(start_paused = true)]
async fn of_several_that_may_be_it_none_is_taken() {
    let world = World::new();
    world.begun("harbour", "run-1", "eu").await;
    let both = || list(&[listed("t2", 1), listed("t1", 0)]);
    let failure = world.settle([both()]).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Unknown, "tenantry/unsettled"));
    let detail = failure.detail.unwrap();
    assert!(detail.contains("t1 (t1label.eu.qlikcloud.com, created 2026-11-24T08:00:00Z), t2 (t2label"), "{detail}");
    assert!(failure.hint.unwrap().contains("tenantry tenants adopt harbour HOSTNAME"));
    assert!(world.is_open() && world.row().is_none());
    // A creation in another region made none of them.
    world.begun("brook", "run-2", "us").await;
    world.settle([both()]).await.unwrap_err();
    // One in the same region may have: they are alike, so each takes one.
    world.begun("fenwick", "run-3", "eu").await;
    assert_eq!(id(world.settle([both(), document("t1")]).await), "t1");
    assert_eq!(world.row().unwrap().id, "t1");
}

#[tokio::test(start_paused = true)]
async fn without_a_list_nobody_can_tell() {
    let world = World::new();
    world.begun("harbour", "run-1", "eu").await;
    let layer = world.layer([], false);
    let settled = layer.settle(&key("0:createTenant#0"), &create_tenant("eu"), world.clock.now()).await;
    let failure = settled.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Unknown, "tenantry/unsettled"));
    assert!(failure.hint.unwrap().contains("tenantry tenants adopt harbour --not-created"));
    let pinned = Enrolment::Pinned { hostname: "h.eu.qlikcloud.com".to_owned() };
    let layer = Registered::new(world.inner.clone(), world.state.registry(), pinned, "harbour", "run-1");
    layer.settle(&key("0:createTenant#0"), &create_tenant("eu"), world.clock.now()).await.unwrap_err();
    assert!(world.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_later_run_settles_what_an_earlier_one_left() {
    let world = World::new();
    world.begun("harbour", "run-0", "eu").await;
    let asking = key("0:tenantry.registry.lookup#0");
    let layer = world.layer([list(&[listed("t2", 1), listed("t1", 0)])], true);
    let found = layer.perform(&asking, &look_up()).await.unwrap().json().clone();
    assert_eq!((&found["state"], &found["run"]), (&json!("unsettled"), &json!("run-0")));
    assert!(found["hint"].as_str().unwrap().contains("t1label.eu.qlikcloud.com"), "{found}");

    let layer = world.layer([list(&[listed("t1", 0)])], true);
    let found = layer.perform(&asking, &look_up()).await.unwrap().json().clone();
    assert_eq!((&found["state"], &found["id"]), (&json!("known"), &json!("t1")));
    assert_eq!(world.row().unwrap().created_by_run.as_deref(), Some("run-0"));

    let world = World::new();
    world.begun("harbour", "run-0", "eu").await;
    let layer = world.layer(std::iter::repeat_with(|| list(&[])).take(20), true);
    let found = layer.perform(&asking, &look_up()).await.unwrap().json().clone();
    assert_eq!((&found["state"], &found["create"]), (&json!("absent"), &json!(true)));
    assert!(!world.is_open());
}

/// The process dies after so many commits.
struct DiesAfter(AtomicU32);

impl CommitHook for DiesAfter {
    fn before(&self) -> Verdict {
        let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() { Verdict::Go } else { Verdict::Dead }
    }

    fn after(&self) -> Verdict {
        Verdict::Go
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_between_the_creation_and_the_registry_loses_no_tenant() {
    let clock = clock();
    let settings = sandbox::Settings { clock: Arc::clone(&clock), random: Random::from_seed(7), ..Default::default() };
    let sandbox = Sandbox::in_memory(settings);
    let vault = Vault::in_memory();
    vault.keep("license", SecretString::from(sandbox.credentials().license_key));
    let embedded = Arc::new(Embedded::new(sandbox, Arc::new(vault), Arc::clone(&clock), Random::from_seed(2)));
    let state = State::in_memory(Arc::clone(&clock)).unwrap();
    let layer = |state: &State| {
        let target = Enrolment::Organization {
            identity: "org".to_owned(),
            may_begin: true,
            lists: true,
            license: License::Key("license".to_owned()),
        };
        Registered::new(Arc::clone(&embedded), state.registry(), target, "harbour", "run-1")
    };
    let (create, at, since) = (create_tenant("eu"), key("0:createTenant#0"), clock.now());
    // The intent is its one commit; the tenant is made, and nobody writes it down.
    let dying = layer(&state.as_process(Arc::new(DiesAfter(AtomicU32::new(1)))));
    dying.perform(&at, &create).await.unwrap_err();
    drop(dying);
    assert!(state.registry().tenants("org").unwrap().is_empty());
    let Settlement::Performed(found) = layer(&state).settle(&at, &create, since).await.unwrap() else {
        panic!("it was made")
    };
    let row = state.registry().tenant("org", "harbour").unwrap().unwrap();
    assert_eq!(found.json()["id"], json!(row.id));
    assert_eq!(found.json()["hostnames"][0], json!(row.hostname));
    // There is one tenant, and it is the customer's.
    let failure = layer(&state).perform(&at, &create).await.unwrap_err();
    assert_eq!(failure.code, "tenantry/registered");
}

/// A project with the embedded sandbox, in which a run made a tenant and died before it could write it down.
async fn stray_project() -> (Folder, String) {
    let folder = Folder::stock();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let kept = folder.path().join(".tenantry");
    std::fs::create_dir_all(&kept).unwrap();
    let settings = sandbox::Settings { clock: Arc::clone(&clock), ..Default::default() };
    let sandbox = Sandbox::open(&kept.join("sandbox.db"), settings).unwrap();
    let organization = sandbox.organization();
    let vault = Vault::in_memory();
    vault.keep("license", SecretString::from(sandbox.credentials().license_key));
    let embedded = Embedded::new(sandbox, Arc::new(vault), Arc::clone(&clock), Random::from_system());
    let state = State::open(&kept.join("state.db"), clock).unwrap();
    begun(&state, "hb", "0193a000-0000-7000-8000-00000000000a", "eu").await;
    let run = "0193a000-0000-7000-8000-00000000000a";
    state.registry().begin_create(&organization, "hb", run, "0:createTenant#0", "digest").unwrap();
    let made = embedded.perform(&key("0:createTenant#0"), &create_tenant("eu")).await.unwrap();
    (folder, made.json()["hostnames"][0].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn strays_are_shown_with_what_past_runs_say_and_taken_by_the_next_run() {
    let (folder, hostname) = stray_project().await;
    let told = folder.run("tenants strays --json").json();
    let stray = &told["strays"][0];
    assert_eq!(
        (&stray["hostname"], &stray["region"], &stray["status"]),
        (&json!(hostname), &json!("eu"), &json!("active"))
    );
    assert!(stray["name"].is_null() && stray["created"].is_string());
    let run = "0193a000-0000-7000-8000-00000000000a";
    assert_eq!(stray["past"], json!([{ "run": run, "customer": "hb", "says": "may_have_created" }]));
    let shown = folder.run("tenants strays");
    assert_eq!(shown.code, Some(0));
    let head = shown.out.lines().next().unwrap().to_owned();
    assert!(head.starts_with("CREATED") && head.contains("PAST RUNS"), "{head}");
    assert!(shown.out.contains(&hostname) && shown.out.contains("may have created it for `hb`"), "{}", shown.out);
    assert!(shown.error.contains("tenantry tenants adopt CUSTOMER HOSTNAME"), "{}", shown.error);

    folder.write("play.rhai", "let tenant = tenants::ensure(customer); output(#{ host: tenant.hostname });");
    folder.write("customer.json", r#"{ "code": "hb", "name": "Harbour", "region": "eu" }"#);
    let ended = folder.run("run play.rhai --customer customer.json --json");
    assert_eq!(ended.json()["runs"][0]["output"]["host"], json!(hostname), "{}", ended.error);
    let shown = folder.run("tenants strays");
    assert_eq!((shown.code, shown.out.as_str()), (Some(0), ""));
    assert!(shown.error.contains("the registry knows every tenant"), "{}", shown.error);
}

#[tokio::test]
async fn a_target_that_cannot_list_says_so() {
    let folder = Folder::empty();
    folder.add_settings(
        "[targets.prod]\norganization = \"9999000000001069\"\nregions.eu = { client_id = \"c\", client_secret = { env = \"S\" } }\n\
         [targets.one]\ntenant = \"q7m2.eu.qlikcloud.com\"\napi_key = { env = \"S\" }\n",
    );
    for (target, word) in [("prod", "cannot list the tenants"), ("one", "pinned to the tenant")] {
        let mut command = folder.command(&format!("tenants strays --target {target}"));
        let ended = crate::support::command_line::Ended::of(command.env("S", "secret").output().unwrap());
        assert_ne!(ended.code, Some(0));
        assert!(ended.error.contains(word), "{}", ended.error);
    }
}
