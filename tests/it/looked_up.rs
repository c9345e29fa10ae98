//! What became of a request whose answer is missing: looked up by what makes a thing the one that was asked for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tenantry::contract::contract;
use tenantry::interpreter::{Embedded, Interpreter, LookedUp, PATIENCE, Settlement};
use tenantry::operation::secret::SecretStore as _;
use tenantry::operation::{
    Body, Bundle, Call, Content, Effect, Failure, FailureKind, Host, Key, Operation, Outcome, Part, Payload,
    RecordedOperation, Request, Response,
};
use tenantry::sandbox::{self, Sandbox};
use tenantry::store::Vault;
use tenantry::surroundings::{Clock, Random, RuntimeClock};

fn clock() -> Arc<dyn Clock> {
    Arc::new(RuntimeClock::starting_at("2026-11-24T08:00:00Z".parse().unwrap()))
}

/// A request of the contract, with the variables of its path.
fn request(host: &Host, id: &str, variables: &[(&str, &str)], body: Body) -> Operation {
    let published = contract().operation(id).unwrap();
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Operation {
        id: id.to_owned(),
        call: Call::Request(Request {
            host: host.clone(),
            method: published.method.clone(),
            path: published.expand(&variables).unwrap(),
            query: Vec::new(),
            headers: BTreeMap::new(),
            body,
            next: None,
        }),
        effect: published.effect,
        subject: format!("thing of {id}"),
        site: None,
    }
}

fn key(operation: &Operation) -> Key {
    Key { branch: Vec::new(), call: 3, id: operation.id.clone(), ordinal: 0 }
}

/// A tenant in a sandbox, and a layer that looks there.
struct World {
    embedded: Arc<Embedded>,
    layer: LookedUp<Arc<Embedded>>,
    host: Host,
    tenant: String,
    clock: Arc<dyn Clock>,
}

impl World {
    async fn new() -> Self {
        let clock = clock();
        let settings =
            sandbox::Settings { clock: Arc::clone(&clock), random: Random::from_seed(7), ..Default::default() };
        let sandbox = Sandbox::in_memory(settings);
        let vault = Vault::in_memory();
        vault.keep("license", SecretString::from(sandbox.credentials().license_key));
        let embedded = Arc::new(Embedded::new(sandbox, Arc::new(vault), Arc::clone(&clock), Random::from_seed(2)));
        let body = Body::Json(json!({ "licenseKey": { "$secret": "license" } }));
        let create = request(&Host::Register("eu".into()), "createTenant", &[], body);
        let tenant = embedded.perform(&key(&create), &create).await.unwrap().json().clone();
        let host = Host::Tenant(tenant["hostnames"][0].as_str().unwrap().to_owned());
        let layer = LookedUp::new(Arc::clone(&embedded), Arc::clone(&clock));
        Self { embedded, layer, host, tenant: tenant["id"].as_str().unwrap().to_owned(), clock }
    }

    fn ask(&self, id: &str, variables: &[(&str, &str)], body: Value) -> Operation {
        request(&self.host, id, variables, if body.is_null() { Body::Empty } else { Body::Json(body) })
    }

    async fn perform(&self, operation: &Operation) -> Response {
        self.embedded.perform(&key(operation), operation).await.unwrap()
    }

    async fn made(&self, id: &str, variables: &[(&str, &str)], body: Value) -> Value {
        self.perform(&self.ask(id, variables, body)).await.json().clone()
    }

    async fn settle(&self, operation: &Operation) -> Result<Settlement, Failure> {
        self.settle_since(operation, self.clock.now()).await
    }

    async fn settle_since(&self, operation: &Operation, since: Timestamp) -> Result<Settlement, Failure> {
        self.layer.settle(&key(operation), operation, since).await
    }

    /// Before the request the look-up finds nothing, and says so only when patience has ended; after it, what the
    /// answer said.
    async fn both_ways(&self, operation: &Operation) -> Response {
        let begun = self.clock.now();
        assert_eq!(self.settle(operation).await, Ok(Settlement::NotPerformed), "{}", operation.id);
        let patience = tenantry::interpreter::PATIENCE;
        let waited = Duration::try_from(self.clock.now().duration_since(begun)).unwrap();
        assert!(waited >= patience && waited < patience * 2, "{}: {waited:?}", operation.id);

        let since = self.clock.now();
        let answer = self.perform(operation).await;
        let Ok(Settlement::Performed(found)) = self.settle_since(operation, since).await else {
            panic!("{} is not found", operation.id);
        };
        assert_eq!(self.clock.now(), since, "what is found is believed at once");
        assert_eq!(found.status, answer.status, "{}", operation.id);
        // A record of the operation tells the same.
        let restored = RecordedOperation::from(operation).restore();
        assert_eq!(self.settle_since(&restored, since).await, Ok(Settlement::Performed(found.clone())));
        found
    }
}

fn theme(color: &str) -> Bundle {
    Bundle::new(BTreeMap::from([
        ("hb-theme.qext".to_owned(), Bytes::from(r#"{ "name": "Harbour", "type": "theme", "version": "1.0.0" }"#)),
        ("theme.json".to_owned(), Bytes::from(format!("{{ \"color\": \"{color}\" }}"))),
    ]))
}

fn form(bundle: Bundle) -> Body {
    let part = |name: &str, file_name: Option<&str>, content| Part {
        name: name.to_owned(),
        file_name: file_name.map(str::to_owned),
        content,
    };
    Body::Multipart(vec![
        part("file", Some("bundle.zip"), Content::Bundle(bundle)),
        part("data", None, Content::Json(json!({ "tags": ["a"] }))),
    ])
}

#[tokio::test(start_paused = true)]
async fn what_was_made_is_found_by_its_natural_key_with_the_answer_of_its_making() {
    let world = World::new().await;
    let group = world.made("createGroup", &[], json!({ "name": "hb-other", "status": "active" })).await;
    let space = world.made("createSpace", &[], json!({ "name": "Live", "type": "managed" })).await;
    let in_space = [("spaceId", space["id"].as_str().unwrap())];
    let assignment = json!({ "type": "group", "assigneeId": group["id"], "roles": ["consumer", "contributor"] });
    let roles = json!([{ "name": "SharedSpaceCreator" }]);
    let jwt = json!({
        "tenantIds": [world.tenant], "provider": "external", "protocol": "jwtAuth", "interactive": false,
        "description": "portal",
        "options": { "jwtLoginEnabled": true, "issuer": "https://id.example/hb", "staticKeys": [{ "kid": "a",
            "pem": "-----BEGIN PUBLIC KEY-----MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA-----END PUBLIC KEY-----" }] },
    });
    let oidc = json!({
        "tenantIds": [world.tenant], "provider": "azureAD", "protocol": "OIDC", "interactive": true, "skipVerify": true,
        "options": { "discoveryUrl": "https://login.example/.well-known/openid-configuration", "clientId": "c",
            "clientSecret": { "$secret": "license" }, "realm": "fenwick", "claimsMapping": { "sub": ["sub"], "name": ["name"] } },
    });
    for (id, variables, body) in [
        ("createSpace", &[][..], json!({ "name": "Staging", "type": "shared", "description": "first" })),
        ("createSpaceAssignment", &in_space, assignment),
        ("createGroup", &[], json!({ "name": "hb-viewers", "status": "active", "assignedRoles": roles })),
        ("createUser", &[], json!({ "name": "A", "subject": "hb|1", "email": "a@hb.example", "status": "invited" })),
        ("createIdp", &[], jwt),
        ("createIdp", &[], oidc),
        ("createWebIntegration", &[], json!({ "name": "portal", "validOrigins": ["https://hb.example"] })),
        ("createCSPEntry", &[], json!({ "name": "maps", "origin": "tiles.hb.example", "imgSrc": true })),
    ] {
        let operation = world.ask(id, variables, body);
        let found = world.both_ways(&operation).await;
        let field = operation.request().unwrap().path.clone();
        let made = world.perform(&request(&world.host, list_of(id), variables, Body::Empty)).await;
        let items = made.json()["data"].as_array().unwrap();
        assert!(items.contains(found.json()), "{field}: {}", found.json());
        assert!(found.json()["id"].is_string(), "{field}");
    }
    let upload = request(&world.host, "uploadTheme", &[], form(theme("red")));
    let found = world.both_ways(&upload).await;
    assert_eq!(found.json()["qextFilename"], "hb-theme");
    assert_eq!(found.json()["file"]["md5"], theme("red").zip_md5().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_list_is_read_when_it_shows_what_a_run_just_before_made() {
    let world = World::new().await;
    let worked = world.clock.now();
    let read = async |id: &str| {
        let asked = world.clock.now();
        let operation = world.ask(id, &[], Value::Null);
        let answer = world.layer.clone().after(Some(worked)).perform(&key(&operation), &operation).await;
        assert!(answer.is_ok(), "{id}: {answer:?}");
        world.clock.now().duration_since(asked).unsigned_abs()
    };
    // What the service itself keeps single, and what is no list, waits for nothing.
    for id in ["getSpaces", "getGroups", "getMyTenant"] {
        assert_eq!(read(id).await, Duration::ZERO, "{id}");
    }
    assert_eq!(read("getItems").await, PATIENCE);
    assert_eq!(read("getWebIntegrations").await, Duration::ZERO, "by now lists are to be believed");
}

fn list_of(create: &str) -> &'static str {
    match create {
        "createSpace" => "getSpaces",
        "createSpaceAssignment" => "getSpaceAssignments",
        "createGroup" => "getGroups",
        "createUser" => "getUsers",
        "createIdp" => "getIdps",
        "createWebIntegration" => "getWebIntegrations",
        _ => "getCSPEntries",
    }
}

#[tokio::test(start_paused = true)]
async fn seats_are_looked_up_each_by_its_subject() {
    let world = World::new().await;
    let seats = json!([{ "subject": "hb|1", "type": "analyzer" }, { "subject": "hb|2", "type": "professional" }]);
    let add = world.ask("addLicenseAssignments", &[], json!({ "add": seats }));
    let found = world.both_ways(&add).await;
    let expected = json!({ "data": [
        { "subject": "hb|1", "type": "analyzer", "status": 200 },
        { "subject": "hb|2", "type": "professional", "status": 200 },
    ] });
    assert_eq!(found.json(), &expected);
    // One of them alone is not what was asked for.
    let more = json!({ "add": [{ "subject": "hb|1", "type": "analyzer" }, { "subject": "hb|3", "type": "analyzer" }] });
    assert_eq!(world.settle(&world.ask("addLicenseAssignments", &[], more)).await, Ok(Settlement::NotPerformed));

    let change = json!({ "update": [{ "subject": "hb|1", "sourceType": "analyzer", "type": "professional" }] });
    let found = world.both_ways(&world.ask("updateLicenseAssignments", &[], change)).await;
    assert_eq!(found.json()["data"][0]["type"], "professional");

    let free = world.ask(
        "deleteLicenseAssignments",
        &[],
        json!({ "delete": [{ "subject": "hb|2", "type": "professional" }] }),
    );
    assert_eq!(world.settle(&free).await, Ok(Settlement::NotPerformed));
    world.perform(&free).await;
    let Ok(Settlement::Performed(freed)) = world.settle(&free).await else { panic!("it is gone") };
    assert_eq!((freed.status, &freed.json()["data"][0]["status"]), (207, &json!(200)));
}

#[tokio::test(start_paused = true)]
async fn only_what_is_exactly_that_counts_on_whatever_page_it_stands() {
    let world = World::new().await;
    for number in 0..120 {
        world.made("createSpace", &[], json!({ "name": format!("Staging {number}"), "type": "shared" })).await;
    }
    world.made("createSpace", &[], json!({ "name": "staging", "type": "shared" })).await;
    world.made("createGroup", &[], json!({ "name": "HB-Viewers", "status": "active" })).await;
    let space = |kind: &str| world.ask("createSpace", &[], json!({ "name": "Staging", "type": kind }));
    assert_eq!(world.settle(&space("shared")).await, Ok(Settlement::NotPerformed));
    let group = world.ask("createGroup", &[], json!({ "name": "hb-viewers", "status": "active" }));
    assert_eq!(world.settle(&group).await, Ok(Settlement::NotPerformed));
    // A custom group of the same name is another.
    world.made("createGroup", &[], json!({ "name": "hb-viewers", "status": "active", "providerType": "custom" })).await;
    assert_eq!(world.settle(&group).await, Ok(Settlement::NotPerformed));

    world.made("createSpace", &[], json!({ "name": "Staging", "type": "shared" })).await;
    assert!(matches!(world.settle(&space("shared")).await, Ok(Settlement::Performed(_))));
    assert_eq!(world.settle(&space("managed")).await, Ok(Settlement::NotPerformed), "of another type");
}

#[tokio::test(start_paused = true)]
async fn a_collection_is_found_although_it_was_made_governed_since() {
    let world = World::new().await;
    let featured = world.ask("createCollection", &[], json!({ "name": "Featured", "type": "private" }));
    let made = world.both_ways(&featured).await.json()["id"].as_str().unwrap().to_owned();
    let space = world.made("createSpace", &[], json!({ "name": "Staging", "type": "shared" })).await;
    let app = json!({ "attributes": { "name": "Fleet", "spaceId": space["id"] } });
    world.made("createApp", &[], app).await;
    let items = world.made("getItems", &[], Value::Null).await;
    let add = world.ask("addCollectionItem", &[("collectionId", &made)], json!({ "id": items["data"][0]["id"] }));
    assert_eq!(world.both_ways(&add).await.json()["name"], "Fleet");
    let govern = json!([{ "op": "replace", "path": "/type", "value": "publicgoverned" }]);
    let govern = world.ask("patchCollection", &[("collectionId", &made)], govern);
    assert_eq!(world.settle(&govern).await, Ok(Settlement::NotPerformed));
    world.perform(&govern).await;
    assert!(matches!(world.settle(&govern).await, Ok(Settlement::Performed(_))));
    let Ok(Settlement::Performed(found)) = world.settle(&featured).await else { panic!("it is there") };
    assert_eq!(found.json()["type"], "publicgoverned");
    let tag = world.ask("createCollection", &[], json!({ "name": "Featured", "type": "public" }));
    assert_eq!(world.settle(&tag).await, Ok(Settlement::NotPerformed), "a tag is another thing");
}

#[tokio::test(start_paused = true)]
async fn what_was_there_before_was_not_made_by_the_request() {
    let world = World::new().await;
    let space = json!({ "name": "Staging", "type": "shared" });
    let portal = json!({ "name": "portal", "validOrigins": ["https://hb.example"] });
    world.made("createSpace", &[], space.clone()).await;
    world.made("createWebIntegration", &[], portal.clone()).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;

    // The service keeps names of spaces unique: a repeat is refused, and whoever asked learns of the other.
    let space = world.ask("createSpace", &[], space);
    assert_eq!(world.settle(&space).await, Ok(Settlement::NotPerformed));
    // Of web integrations it would make a second one.
    let create = world.ask("createWebIntegration", &[], portal.clone());
    let failure = world.settle(&create).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Unknown, "tenantry/unsettled"));
    assert!(failure.detail.unwrap().contains("which may be another"));

    // Beside the old one, the new one is known by its age.
    let made = world.made("createWebIntegration", &[], portal.clone()).await;
    let Ok(Settlement::Performed(found)) = world.settle(&create).await else { panic!("it is there") };
    assert_eq!(found.json()["id"], made["id"]);
    // Of two new ones nobody knows which it is.
    world.made("createWebIntegration", &[], portal).await;
    world.settle(&create).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn an_app_is_told_from_earlier_ones_of_its_name() {
    let world = World::new().await;
    let staging = world.made("createSpace", &[], json!({ "name": "Staging", "type": "shared" })).await;
    let live = world.made("createSpace", &[], json!({ "name": "Production", "type": "managed" })).await;
    let space = |space: &Value| space["id"].as_str().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Fleet.qvf");
    // Its file says what a description says that somebody has written after the import.
    let file = json!({ "description": "{sha256:0123456789abcdef}" }).to_string();
    std::fs::write(&path, &file).unwrap();
    let sha256 = tenantry::operation::Digest(Sha256::digest(file).into()).to_string();
    let mut import = request(&world.host, "importApp", &[], Body::File { path, sha256 });
    let Call::Request(asked) = &mut import.call else { unreachable!() };
    let name = "Fleet {sha256:0123456789abcdef}";
    asked.query = vec![("spaceId".to_owned(), space(&staging)), ("name".to_owned(), name.to_owned())];
    let describe = |id: &str, description: &str| {
        world.ask("updateAppInfo", &[("appId", id)], json!({ "attributes": { "description": description } }))
    };
    // One that is long there, and one that somebody has just imported and finished: neither is this request's.
    world.perform(&import).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let earlier = world.perform(&import).await.json()["attributes"]["id"].as_str().unwrap().to_owned();
    let finished = json!({ "attributes": { "name": "Fleet", "description": "{sha256:0123456789abcdef}" } });
    world.perform(&world.ask("updateAppInfo", &[("appId", &earlier)], finished)).await;
    let found = world.both_ways(&import).await;
    let staged = found.json()["attributes"]["id"].as_str().unwrap().to_owned();
    assert_eq!(found.json()["attributes"]["name"], name);
    world.perform(&import).await;
    let failure = world.settle(&import).await.unwrap_err();
    assert!(failure.detail.unwrap().contains("an app of this name"), "of two new ones nobody knows which it is");

    let attributes = json!({ "name": "Fleet", "description": "{v1}" });
    let publish = json!({ "spaceId": space(&live), "attributes": attributes });
    let publish = world.ask("publishApp", &[("appId", &staged)], publish);
    let published = world.both_ways(&publish).await.json()["attributes"]["id"].as_str().unwrap().to_owned();
    let update = describe(&published, "{v2}");
    assert_eq!(world.settle(&update).await, Ok(Settlement::NotPerformed));
    world.perform(&update).await;
    assert!(matches!(world.settle(&update).await, Ok(Settlement::Performed(_))));
    let delete = world.ask("deleteApp", &[("appId", &staged)], Value::Null);
    assert_eq!(world.settle(&delete).await, Ok(Settlement::NotPerformed));
    world.perform(&delete).await;
    assert!(matches!(world.settle(&delete).await, Ok(Settlement::Performed(_))));
}

#[tokio::test(start_paused = true)]
async fn what_has_the_key_and_another_content_was_not_made_by_the_request() {
    let world = World::new().await;
    world.made("createSpace", &[], json!({ "name": "Staging", "type": "shared", "description": "theirs" })).await;
    let ours = world.ask("createSpace", &[], json!({ "name": "Staging", "type": "shared", "description": "ours" }));
    assert_eq!(world.settle(&ours).await, Ok(Settlement::NotPerformed));
    world.perform(&request(&world.host, "uploadTheme", &[], form(theme("red")))).await;
    let upload = request(&world.host, "uploadTheme", &[], form(theme("blue")));
    assert_eq!(world.settle(&upload).await, Ok(Settlement::NotPerformed));
    world.made("createCSPEntry", &[], json!({ "name": "a", "origin": "hb.example", "imgSrc": true })).await;
    let entry = world.ask("createCSPEntry", &[], json!({ "name": "a", "origin": "hb.example", "fontSrc": true }));
    world.settle(&entry).await.unwrap_err();
    let nameless = world.ask("createIdp", &[], json!({ "provider": "external", "protocol": "jwtAuth", "options": {} }));
    assert!(world.settle(&nameless).await.unwrap_err().detail.unwrap().contains("does not hold"));
}

#[tokio::test(start_paused = true)]
async fn a_change_is_found_by_what_it_sets() {
    let world = World::new().await;
    let space = world.made("createSpace", &[], json!({ "name": "Staging", "type": "shared" })).await;
    let user = world.made("createUser", &[], json!({ "name": "A", "subject": "hb|1", "status": "invited" })).await;
    let at_space = [("spaceId", space["id"].as_str().unwrap())];
    let at_user = [("userId", user["id"].as_str().unwrap())];
    let set = |path: &str, value: Value| json!([{ "op": "replace", "path": path, "value": value }]);
    let theme_id = world.perform(&request(&world.host, "uploadTheme", &[], form(theme("red")))).await;
    let theme_id = theme_id.json()["id"].as_str().unwrap().to_owned();
    let patch_theme = request(&world.host, "patchTheme", &[("id", &theme_id)], form(theme("blue")));
    let begun = world.clock.now();
    for (operation, told) in [
        (world.ask("patchSpace", &at_space, set("/description", json!("new"))), true),
        (world.ask("patchTenant", &[("tenantId", &world.tenant)], set("/name", json!("Harbour"))), false),
        (world.ask("patchGroupsSettings", &[], set("/autoCreateGroups", json!(true))), false),
        (world.ask("updateLicenseSettings", &[], json!({ "autoAssignAnalyzer": true })), true),
        (world.ask("patchUser", &at_user, set("/assignedRoles", json!([{ "name": "TenantAdmin" }]))), false),
        (patch_theme, true),
    ] {
        assert_eq!(world.settle(&operation).await, Ok(Settlement::NotPerformed), "{}", operation.id);
        let answer = world.perform(&operation).await;
        let Ok(Settlement::Performed(found)) = world.settle(&operation).await else { panic!("{}", operation.id) };
        assert_eq!(found.status, answer.status, "{}", operation.id);
        assert_eq!(!found.json().is_null(), told, "{}", operation.id);
    }
    assert_eq!(world.clock.now(), begun, "a repeat does no harm, so there is nothing to wait for");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_would_do_more_the_second_time_is_not_repeated_blindly() {
    let world = World::new().await;
    let user = world.made("createUser", &[], json!({ "name": "A", "subject": "hb|1", "status": "invited" })).await;
    let add = json!([{ "op": "add", "path": "/assignedRoles/-", "value": { "name": "TenantAdmin" } }]);
    let add = world.ask("patchUser", &[("userId", user["id"].as_str().unwrap())], add);
    let failure = world.settle(&add).await.unwrap_err();
    assert_eq!(failure.code, "tenantry/unsettled");
    world.perform(&add).await;
    assert!(matches!(world.settle(&add).await, Ok(Settlement::Performed(_))));
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_was_removed() {
    let world = World::new().await;
    let space = world.made("createSpace", &[], json!({ "name": "Staging", "type": "shared" })).await;
    let delete = world.ask("deleteSpace", &[("spaceId", space["id"].as_str().unwrap())], Value::Null);
    assert_eq!(world.settle(&delete).await, Ok(Settlement::NotPerformed));
    world.perform(&delete).await;
    let gone = Response { status: 204, headers: BTreeMap::new(), payload: Payload::Empty };
    assert_eq!(world.settle(&delete).await, Ok(Settlement::Performed(gone.clone())));
    // A deleted theme answers 410.
    let upload = world.perform(&request(&world.host, "uploadTheme", &[], form(theme("red")))).await;
    let delete = world.ask("deleteTheme", &[("id", upload.json()["id"].as_str().unwrap())], Value::Null);
    world.perform(&delete).await;
    assert_eq!(world.settle(&delete).await, Ok(Settlement::Performed(gone)));
}

/// Answers as told, in order, and remembers what was asked.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<(VecDeque<Outcome>, Vec<String>)>>);

impl Interpreter for Scripted {
    fn perform<'a>(&'a self, key: &'a Key, operation: &'a Operation) -> BoxFuture<'a, Outcome> {
        let mut script = self.0.lock().unwrap();
        let request = operation.request().unwrap();
        let asked = match &request.next {
            Some(next) => format!("{key} {next}"),
            None => format!("{key} {}{:?}", request.path, request.query),
        };
        script.1.push(asked);
        std::future::ready(script.0.pop_front().expect("nothing more is asked")).boxed()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it stands where an outcome is expected")]
fn answer(body: Value) -> Outcome {
    Ok(Response { status: 200, headers: BTreeMap::new(), payload: Payload::Json(body) })
}

fn scripted(answers: impl IntoIterator<Item = Outcome>) -> (Scripted, LookedUp<Scripted>, Timestamp) {
    let (inner, clock) = (Scripted::default(), clock());
    inner.0.lock().unwrap().0.extend(answers);
    let since = clock.now();
    (inner.clone(), LookedUp::new(inner, clock), since)
}

fn tenant() -> Host {
    Host::Tenant("h.eu.qlikcloud.com".to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_list_that_lags_behind_is_asked_again() {
    let found = json!({ "data": [{ "id": "s1", "name": "Staging", "type": "shared" }] });
    let (inner, layer, since) = scripted([answer(json!({ "data": [] })), answer(json!({ "data": [] })), answer(found)]);
    let create = request(&tenant(), "createSpace", &[], Body::Json(json!({ "name": "Staging", "type": "shared" })));
    let Ok(Settlement::Performed(found)) = layer.settle(&key(&create), &create, since).await else {
        panic!("it comes in the end")
    };
    assert_eq!((found.status, &found.json()["id"]), (201, &json!("s1")));
    let look = r#"3:getSpaces#0 /api/v1/spaces[("name", "Staging"), ("limit", "100")]"#;
    assert_eq!(inner.0.lock().unwrap().1, [look, look, look]);

    // What was begun long ago is believed at the first look.
    let (inner, layer, since) = scripted([answer(json!({ "data": [] }))]);
    let settled = layer.settle(&key(&create), &create, since - SignedDuration::from_hours(1)).await;
    assert_eq!(settled, Ok(Settlement::NotPerformed));
    assert_eq!(inner.0.lock().unwrap().1.len(), 1);
    // And where lists never lag there is nothing to wait for.
    let (_, layer, since) = scripted([answer(json!({ "data": [] }))]);
    let settled = layer.patience(Duration::ZERO).settle(&key(&create), &create, since).await;
    assert_eq!(settled, Ok(Settlement::NotPerformed));
}

#[tokio::test(start_paused = true)]
async fn where_no_get_by_id_is_published_the_list_is_read_to_its_end() {
    let page = json!({ "data": [{ "id": "a" }], "links": { "next": { "href": "https://h/next" } } });
    let last = json!({ "data": [{ "id": "b c" }] });
    let delete = |id: &str| request(&tenant(), "deleteOauthToken", &[("tokenId", id)], Body::Empty);
    let (inner, layer, since) = scripted([answer(page.clone()), answer(last.clone())]);
    let operation = delete("b c");
    assert_eq!(layer.settle(&key(&operation), &operation, since).await, Ok(Settlement::NotPerformed));
    let asked = inner.0.lock().unwrap().1.clone();
    assert_eq!(asked[1], "3:getOauthTokens#1 https://h/next");
    let (_, layer, since) = scripted([answer(page.clone()), answer(last)]);
    let operation = delete("d");
    assert!(matches!(layer.settle(&key(&operation), &operation, since).await, Ok(Settlement::Performed(_))));
    // A list that goes round in circles tells nothing.
    let (_, layer, since) = scripted([answer(page.clone()), answer(page)]);
    let failure = layer.settle(&key(&operation), &operation, since).await.unwrap_err();
    assert!(failure.detail.unwrap().contains("list that ends"));
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_fails_tells_nothing() {
    let create = request(&tenant(), "createSpace", &[], Body::Json(json!({ "name": "Staging", "type": "shared" })));
    let down = Failure::new(FailureKind::Unsent, "tenantry/connect", "no route");
    let (_, layer, since) = scripted([Err(down)]);
    let failure = layer.settle(&key(&create), &create, since).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Unknown, "tenantry/unsettled"));
    assert_eq!(failure.detail.unwrap(), "looking it up failed: no route (tenantry/connect)");
    let (_, layer, since) = scripted([Err(Failure::new(FailureKind::Cancelled, "tenantry/cancelled", "cancelled"))]);
    let failure = layer.settle(&key(&create), &create, since).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn what_nothing_tells_is_not_guessed() {
    let (inner, layer, since) = scripted([]);
    for operation in [
        request(&tenant(), "createApp", &[], Body::Json(json!({ "attributes": { "name": "Fleet" } }))),
        request(&tenant(), "createReport", &[], Body::Json(json!({ "type": "sense-image-1.0" }))),
        Operation { id: "noSuch".into(), effect: Effect::Create, ..request(&tenant(), "createApp", &[], Body::Empty) },
    ] {
        let failure = layer.settle(&key(&operation), &operation, since).await.unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Unknown, "tenantry/unsettled"));
    }
    for operation in [
        request(&tenant(), "getSpaces", &[], Body::Empty),
        request(&tenant(), "exchangeJwtForSession", &[], Body::Empty),
        request(&tenant(), "activateBrand", &[("brand-id", "b")], Body::Empty),
        request(&tenant(), "updateAppOwner", &[("appId", "a")], Body::Json(json!({ "ownerId": "u" }))),
    ] {
        assert_eq!(layer.settle(&key(&operation), &operation, since).await, Ok(Settlement::NotPerformed));
    }
    assert!(inner.0.lock().unwrap().1.is_empty(), "nothing was asked");
}

/// Whatever a stock function writes must be settled by a look-up when its answer is lost.
#[test]
fn every_write_that_functions_name_can_be_looked_up() {
    let mut named = BTreeSet::new();
    let mut places = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/functions")];
    while let Some(place) = places.pop() {
        if place.is_dir() {
            places.extend(std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = std::fs::read_to_string(place).unwrap();
        for word in text.split('"').filter(|word| word.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
            named.extend(contract().operation(word).filter(|published| published.effect.is_write()).map(|one| one.id));
        }
    }
    assert!(named.len() > 15 && named.contains("createSpace"), "{named:?}");
    // The registry and the organization's list tell of tenants.
    named.remove("createTenant");
    for id in named {
        assert!(contract().operation(id).unwrap().look_up().is_some(), "{id}");
    }
}
