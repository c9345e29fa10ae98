//! The layers around an interpreter: registry, local operations, permissions.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, poll};
use http::Method;
use serde_json::{Value, json};
use tenantry::contract::contract;
use tenantry::interpreter::{
    Embedded, Enrolment, IdentitySource, Interpreter, License, LocalOperation, LocalOperations, Locals, Organization,
    Permits, Permitted, Registered, Settlement,
};
use tenantry::operation::{
    Body, Call, Effect, Failure, FailureKind, Host, Key, Operation, Outcome, Payload, Request, Response,
};
use tenantry::sandbox::{self, Sandbox};
use tenantry::store::{Registry, SecretSource, State, Vault};
use tenantry::surroundings::{Clock, Random, RuntimeClock};

/// Answers as told, in order, and remembers what was asked. With nothing left to say it never answers.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    answers: VecDeque<Outcome>,
    asked: Vec<String>,
    look: Option<(Registry, Vec<bool>)>,
}

impl Scripted {
    fn answering(answers: impl IntoIterator<Item = Outcome>) -> Self {
        let scripted = Self::default();
        scripted.0.lock().unwrap().answers.extend(answers);
        scripted
    }

    fn asked(&self) -> Vec<String> {
        self.0.lock().unwrap().asked.clone()
    }
}

impl Interpreter for Scripted {
    fn perform<'a>(&'a self, _: &'a Key, operation: &'a Operation) -> BoxFuture<'a, Outcome> {
        let mut script = self.0.lock().unwrap();
        script.asked.push(operation.id.clone());
        if let Some((registry, seen)) = &mut script.look {
            seen.push(registry.intent("org", "harbour").unwrap().is_some());
        }
        match script.answers.pop_front() {
            Some(answer) => std::future::ready(answer).boxed(),
            None => std::future::pending().boxed(),
        }
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(RuntimeClock::starting_at("2026-11-24T08:00:00Z".parse().unwrap()))
}

fn key(id: &str) -> Key {
    Key { branch: Vec::new(), call: 0, id: id.to_owned(), ordinal: 0 }
}

fn request(id: &str, host: Host, path: &str, body: Value) -> Operation {
    let published = contract().operation(id).unwrap();
    Operation {
        id: id.to_owned(),
        call: Call::Request(Request {
            host,
            method: published.method.clone(),
            path: path.to_owned(),
            query: Vec::new(),
            headers: BTreeMap::new(),
            body: if published.method == Method::GET { Body::Empty } else { Body::Json(body) },
            next: None,
        }),
        effect: published.effect,
        subject: format!("thing of {id}"),
        site: None,
    }
}

fn create_tenant() -> Operation {
    request("createTenant", Host::Register("eu".into()), "/api/v1/tenants", json!({ "licenseKey": { "$secret": "l" } }))
}

fn local(id: &str, arguments: Value) -> Operation {
    Operation {
        id: id.to_owned(),
        call: Call::Local { arguments },
        effect: Effect::Read,
        subject: id.to_owned(),
        site: None,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it stands where an outcome is expected")]
fn answer(status: u16, body: Value) -> Outcome {
    Ok(Response { status, headers: BTreeMap::new(), payload: Payload::Json(body) })
}

fn created() -> Outcome {
    answer(
        201,
        json!({ "id": "t1", "name": "q7m2", "hostnames": ["q7m2.eu.qlikcloud.com"], "region": "eu", "status": "active" }),
    )
}

async fn perform(interpreter: &impl Interpreter, operation: &Operation) -> Outcome {
    interpreter.perform(&key(&operation.id), operation).await
}

fn organization(may_begin: bool) -> Enrolment {
    Enrolment::Organization {
        identity: "org".to_owned(),
        may_begin,
        lists: false,
        license: License::Key("target/prod/license_key".to_owned()),
    }
}

fn registry() -> Registry {
    State::in_memory(clock()).unwrap().registry()
}

fn layer(inner: &Scripted, registry: &Registry, enrolment: Enrolment) -> Registered<Scripted> {
    Registered::new(inner.clone(), registry.clone(), enrolment, "harbour", "run-1")
}

async fn look_up(layer: &Registered<Scripted>) -> Value {
    perform(layer, &local("tenantry.registry.lookup", json!({ "customer": "harbour", "region": "eu" })))
        .await
        .unwrap()
        .json()
        .clone()
}

#[tokio::test]
async fn the_intent_is_durable_before_the_request_and_the_tenant_before_its_answer() {
    let (inner, registry) = (Scripted::answering([created()]), registry());
    inner.0.lock().unwrap().look = Some((registry.clone(), Vec::new()));
    let layer = layer(&inner, &registry, organization(true));
    assert_eq!(
        look_up(&layer).await,
        json!({ "state": "absent", "list": false, "create": true, "license": { "key": { "$secret": "target/prod/license_key" } } })
    );
    perform(&layer, &create_tenant()).await.unwrap();
    assert_eq!(inner.0.lock().unwrap().look.as_ref().unwrap().1, [true]);
    let row = registry.tenant("org", "harbour").unwrap().unwrap();
    assert_eq!((row.id.as_str(), row.created_by_run.as_deref()), ("t1", Some("run-1")));
    assert_eq!(look_up(&layer).await["state"], "known");
    assert_eq!(look_up(&layer).await["hostname"], "q7m2.eu.qlikcloud.com");

    let again = perform(&layer, &create_tenant()).await.unwrap_err();
    assert_eq!((again.kind, again.code.as_str()), (FailureKind::Denied, "tenantry/registered"));
    assert_eq!(inner.asked(), ["createTenant"], "the second request never went out");
}

#[tokio::test]
async fn a_creation_that_certainly_did_not_happen_may_be_repeated() {
    for kind in [FailureKind::Refused, FailureKind::Unsent, FailureKind::Denied, FailureKind::Cancelled] {
        let (inner, registry) =
            (Scripted::answering([Err(Failure::new(kind, "TENANTS-22", "no")), created()]), registry());
        let layer = layer(&inner, &registry, organization(true));
        let failure = perform(&layer, &create_tenant()).await.unwrap_err();
        assert_eq!((failure.kind, failure.hint), (kind, None));
        perform(&layer, &create_tenant()).await.unwrap();
    }
}

#[tokio::test]
async fn a_creation_whose_end_is_not_known_is_never_repeated() {
    let unknown = || Err(Failure::new(FailureKind::Unknown, "tenantry/timeout", "no answer within 30 s"));
    let html = || Ok(Response { status: 201, headers: BTreeMap::new(), payload: Payload::Bytes("<html>".into()) });
    for outcome in [unknown(), html(), answer(201, json!({ "id": "t1" })), answer(201, json!({ "hostnames": [] }))] {
        let (inner, registry) = (Scripted::answering([outcome]), registry());
        let layer = layer(&inner, &registry, organization(true));
        let failure = perform(&layer, &create_tenant()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unknown);
        assert!(failure.hint.unwrap().contains("tenantry tenants adopt harbour --not-created"));

        let found = look_up(&layer).await;
        assert_eq!((&found["state"], &found["run"]), (&json!("unsettled"), &json!("run-1")));
        let failure = perform(&layer, &create_tenant()).await.unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Denied, "tenantry/unsettled"));
        assert_eq!(inner.asked(), ["createTenant"]);
    }
}

#[tokio::test]
async fn a_tenant_that_the_registry_cannot_keep_is_named() {
    let (inner, registry) = (Scripted::answering([created(), created()]), registry());
    let other = Registered::new(inner.clone(), registry.clone(), organization(true), "fenwick", "run-1");
    perform(&other, &create_tenant()).await.unwrap();
    // A service that answers with the same tenant again.
    let failure = perform(&layer(&inner, &registry, organization(true)), &create_tenant()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unknown);
    let detail = "tenant t1 (q7m2.eu.qlikcloud.com) was created, and the registry could not keep it";
    assert_eq!(failure.detail.as_deref(), Some(detail));
    assert!(registry.intent("org", "harbour").unwrap().is_some());
}

#[tokio::test]
async fn a_run_cancelled_after_sending_leaves_the_intent() {
    let (inner, registry) = (Scripted::default(), registry());
    let layer = layer(&inner, &registry, organization(true));
    let operation = create_tenant();
    {
        let mut going = Box::pin(perform(&layer, &operation));
        while inner.asked().is_empty() {
            assert!(poll!(&mut going).is_pending());
            tokio::task::yield_now().await;
        }
    }
    assert!(registry.intent("org", "harbour").unwrap().is_some());
}

#[tokio::test]
async fn a_run_cancelled_before_sending_takes_the_intent_back() {
    let (inner, registry) = (Scripted::default(), registry());
    let layer = layer(&inner, &registry, organization(true));
    let operation = create_tenant();
    {
        let mut going = Box::pin(perform(&layer, &operation));
        while registry.intent("org", "harbour").unwrap().is_none() {
            assert!(inner.asked().is_empty());
            // Polled only as far as the registry's writing, never on to the request.
            if poll!(&mut going).is_ready() {
                unreachable!("nothing answers");
            }
            if !inner.asked().is_empty() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
    while registry.intent("org", "harbour").unwrap().is_some() {
        tokio::task::yield_now().await;
    }
    assert!(inner.asked().is_empty());
}

#[tokio::test]
async fn an_empty_registry_creates_nothing_unless_told() {
    let (inner, registry) = (Scripted::answering([created()]), registry());
    let layer = layer(&inner, &registry, organization(false));
    let found = look_up(&layer).await;
    assert_eq!(found["create"], false);
    assert!(found["hint"].as_str().unwrap().contains("--new-registry"));
    let failure = perform(&layer, &create_tenant()).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Denied, "tenantry/new-registry"));
    assert!(inner.asked().is_empty());
    assert_eq!(registry.intent("org", "harbour").unwrap(), None);

    // One known tenant shows that this is the organization's registry.
    let other = Registered::new(inner.clone(), registry.clone(), organization(false), "fenwick", "run-2");
    let entry = json!({ "customer": "fenwick", "id": "t9", "hostname": "x.eu.qlikcloud.com", "alias": null, "name": "Fenwick", "region": "eu" });
    assert_eq!(perform(&other, &local("tenantry.registry.adopt", entry)).await.unwrap().json()["name"], "Fenwick");
    assert_eq!(look_up(&layer).await["create"], true);
    perform(&layer, &create_tenant()).await.unwrap();
}

#[tokio::test]
async fn a_run_registers_only_its_own_customer() {
    let (inner, registry) = (Scripted::default(), registry());
    let layer = layer(&inner, &registry, organization(true));
    let of = |customer: &str| json!({ "customer": customer, "region": "eu", "id": "t1", "hostname": "h" });
    let found = perform(&layer, &local("tenantry.registry.lookup", of("fenwick"))).await.unwrap();
    assert_eq!((&found.json()["state"], &found.json()["create"]), (&json!("absent"), &json!(false)));
    let failure = perform(&layer, &local("tenantry.registry.adopt", of("fenwick"))).await.unwrap_err();
    assert_eq!(failure.code, "tenantry/other-customer");
}

#[tokio::test]
async fn a_pinned_target_creates_nothing() {
    let (inner, registry) = (Scripted::default(), registry());
    let pinned = Enrolment::Pinned { hostname: "q7m2.eu.qlikcloud.com".to_owned() };
    let layer = layer(&inner, &registry, pinned);
    assert_eq!(look_up(&layer).await, json!({ "state": "pinned", "hostname": "q7m2.eu.qlikcloud.com" }));
    assert_eq!(perform(&layer, &create_tenant()).await.unwrap_err().code, "tenantry/pinned");
}

#[tokio::test]
async fn without_a_licence_nothing_is_created() {
    let (inner, registry) = (Scripted::default(), registry());
    let target =
        Enrolment::Organization { identity: "org".into(), may_begin: true, lists: true, license: License::None };
    let layer = layer(&inner, &registry, target);
    let found = look_up(&layer).await;
    assert_eq!((&found["create"], &found["list"]), (&json!(false), &json!(true)));
    assert_eq!(perform(&layer, &create_tenant()).await.unwrap_err().code, "tenantry/no-license");
}

#[tokio::test]
async fn writes_to_the_tenant_keep_its_entry_up_to_date() {
    let patch = json!([
        { "op": "replace", "path": "/name", "value": "Harbour Logistics" },
        { "op": "replace", "path": "/hostnames/1", "value": "halyard-harbour.eu.qlikcloud.com" },
    ]);
    let host = Host::Tenant("q7m2.eu.qlikcloud.com".into());
    let patch = request("patchTenant", host, "/api/v1/tenants/t1", patch);
    let off =
        request("deactivateTenant", Host::Register("eu".into()), "/api/v1/tenants/t1/actions/deactivate", json!({}));
    let refused = Err(Failure::new(FailureKind::Refused, "TENANTS-10", "taken"));
    let inner = Scripted::answering([
        created(),
        refused,
        answer(204, Value::Null),
        answer(200, json!({ "id": "t1", "status": "disabled" })),
    ]);
    let registry = registry();
    let layer = layer(&inner, &registry, organization(true));
    perform(&layer, &create_tenant()).await.unwrap();
    perform(&layer, &patch).await.unwrap_err();
    assert_eq!(registry.tenant("org", "harbour").unwrap().unwrap().alias, None);
    perform(&layer, &patch).await.unwrap();
    perform(&layer, &off).await.unwrap();
    let row = registry.tenant("org", "harbour").unwrap().unwrap();
    assert_eq!(row.name.as_deref(), Some("Harbour Logistics"));
    assert_eq!(row.alias.as_deref(), Some("halyard-harbour.eu.qlikcloud.com"));
    assert_eq!(row.status, "disabled");
}

#[tokio::test]
async fn targets_of_one_organization_come_to_one_identity() {
    let vault = Vault::in_memory();
    vault.add("target/prod/license_key", SecretSource::literal("eyJ.license"));
    let inner = Scripted::answering([
        Err(Failure::new(FailureKind::Unsent, "tenantry/connect", "no route")),
        answer(200, json!({ "licenseNumber": "9999000000001069" })),
    ]);
    let licensed = Organization::new(IdentitySource::LicenseOf("source.eu.qlikcloud.com".into()));
    licensed.identity(&inner, &vault).await.unwrap_err();
    assert_eq!(licensed.identity(&inner, &vault).await.unwrap(), "9999000000001069");
    assert_eq!(licensed.identity(&inner, &vault).await.unwrap(), "9999000000001069");
    assert_eq!(inner.asked().len(), 2, "asked until it is known, then never again");

    let given = Organization::new(IdentitySource::Given("9999000000001069".into()));
    assert_eq!(given.identity(&inner, &vault).await.unwrap(), "9999000000001069");
    let by_key = Organization::new(IdentitySource::LicenseKey("target/prod/license_key".into()));
    let identity = by_key.identity(&inner, &vault).await.unwrap();
    assert!(identity.starts_with("license-key-") && !identity.contains("eyJ"), "{identity}");

    let silent = Scripted::answering([answer(200, json!({ "licenseKey": "x" }))]);
    let failure = Organization::new(IdentitySource::LicenseOf("h".into())).identity(&silent, &vault).await.unwrap_err();
    assert!(failure.hint.unwrap().contains("organization = "));
}

fn locals(vault: &Vault) -> LocalOperations {
    LocalOperations::standard(clock(), Random::from_seed(7), vault.clone())
}

#[tokio::test(start_paused = true)]
async fn the_hosts_own_operations_answer() {
    let vault = Vault::in_memory();
    vault.add("smtp", SecretSource::literal("canary"));
    let layer = Locals::new(Scripted::default(), Arc::new(locals(&vault)));
    let ask = async |id: &str, arguments: Value| match perform(&layer, &local(id, arguments)).await {
        Ok(answer) => Ok(answer.json().clone()),
        Err(failure) => Err(failure),
    };
    assert_eq!(ask("tenantry.now", json!({})).await.unwrap(), "2026-11-24T08:00:00Z");
    let ids = [ask("tenantry.uuid", json!({})).await.unwrap(), ask("tenantry.uuid", json!({})).await.unwrap()];
    assert!(ids[0] != ids[1] && ids[0].as_str().unwrap().len() == 36);
    assert_eq!(ask("tenantry.secret", json!({ "name": "smtp" })).await.unwrap(), json!({ "$secret": "smtp" }));
    assert_eq!(
        ask("tenantry.secret", json!({ "name": "smpt" })).await.unwrap_err().hint.unwrap(),
        "did you mean `smtp`?"
    );

    let pair = ask("tenantry.ensureKey", json!({ "name": "portal" })).await.unwrap();
    assert_eq!((&pair["created"], &pair["expired"]), (&json!(true), &json!(false)));
    assert_eq!(pair["key"], json!({ "$secret": "keys/portal.key" }));
    assert!(!pair.to_string().contains("PRIVATE"));
    let failure = ask("tenantry.ensureKey", json!({ "name": "portal", "bits": 512 })).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Denied);

    let claims = json!({ "sub": "hb|1" });
    let token = ask("tenantry.signJwt", json!({ "key": "portal", "kid": "a", "claims": claims })).await.unwrap();
    assert!(token["token"]["$secret"].as_str().unwrap().starts_with("jwt/portal/"));
    // The private key and the program's own secrets are not to be had by name.
    for name in ["keys/portal.key", "target/prod/license_key", ""] {
        assert_eq!(ask("tenantry.secret", json!({ "name": name })).await.unwrap_err().kind, FailureKind::Denied);
    }
    let failure = ask("tenantry.nwo", json!({})).await.unwrap_err();
    assert_eq!(failure.hint.unwrap(), "did you mean `tenantry.now`?");
}

#[tokio::test]
async fn an_embedders_operation_is_answered_by_its_handler() {
    let mut operations = locals(&Vault::in_memory());
    let notify = LocalOperation::new("crm.notify", Effect::Act, |arguments| async move {
        Ok(json!({ "noted": arguments["customer"] }))
    })
    .natural_key(|arguments| format!("crm entry {}", arguments["customer"]))
    .settle(|_| async { Ok(Some(json!({ "noted": "before" }))) })
    .plan(|_| json!({ "noted": "planned" }));
    operations.add(notify.clone()).unwrap();
    insta::assert_snapshot!(operations.add(notify).unwrap_err(), @"there already is a local operation `crm.notify`");
    for (name, part) in
        [("tenantry.mine", "begins with"), ("notify", "cannot name"), (".x", "cannot"), ("a b.c", "cannot")]
    {
        let error = operations.add(LocalOperation::new(name, Effect::Read, |_| async { Ok(Value::Null) })).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(operations.namespaces().collect::<Vec<_>>(), ["crm"]);
    let registered = operations.get("crm.notify").unwrap().clone();
    assert_eq!(registered.key_of(&json!({ "customer": 1 })).unwrap(), "crm entry 1");
    assert_eq!(registered.planned(&Value::Null).unwrap(), json!({ "noted": "planned" }));
    assert_eq!(registered.settled(Value::Null).unwrap().await.unwrap().unwrap(), json!({ "noted": "before" }));

    let inner = Scripted::answering([answer(200, json!([]))]);
    let layer = Locals::new(inner.clone(), Arc::new(operations));
    let told = perform(&layer, &local("crm.notify", json!({ "customer": "harbour" }))).await.unwrap();
    assert_eq!(told.json(), &json!({ "noted": "harbour" }));
    let host = Host::Tenant("h.eu.qlikcloud.com".into());
    perform(&layer, &request("getSpaces", host, "/api/v1/spaces", Value::Null)).await.unwrap();
    assert_eq!(inner.asked(), ["getSpaces"], "requests go on");
}

#[tokio::test]
async fn only_what_is_permitted_goes_on() {
    let host = || Host::Tenant("h.eu.qlikcloud.com".into());
    let create_space = request("createSpace", host(), "/api/v1/spaces", json!({ "name": "Staging" }));
    let list_spaces = request("getSpaces", host(), "/api/v1/spaces", Value::Null);
    let delete_space = request("deleteSpace", host(), "/api/v1/spaces/s1", Value::Null);
    let notify = Operation { effect: Effect::Act, ..local("crm.notify", json!({})) };
    let key_pair = Operation { effect: Effect::Create, ..local("tenantry.ensureKey", json!({})) };
    let allowed = |words: &[&str], operation: &Operation| {
        Permits::parse(words.iter().copied(), &["crm"]).unwrap().check(operation).is_ok()
    };
    assert!(Permits::everything().check(&create_space).is_ok());
    assert!(allowed(&[], &list_spaces) && allowed(&[], &key_pair));
    assert!(!allowed(&[], &create_space));
    assert!(allowed(&["spaces:create"], &create_space) && !allowed(&["spaces:create"], &delete_space));
    assert!(allowed(&["spaces:write"], &create_space) && allowed(&["spaces:write"], &delete_space));
    assert!(!allowed(&["tenants:write", "spaces:read", "spaces:update"], &create_space));
    assert!(allowed(&["crm:act"], &notify) && allowed(&["crm:write"], &notify) && !allowed(&["spaces:write"], &notify));

    let inner = Scripted::default();
    let layer = Permitted::new(inner.clone(), Permits::parse(["tenants:create"], &[]).unwrap());
    let failure = perform(&layer, &create_space).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Denied, "tenantry/not-permitted"));
    insta::assert_snapshot!(format!("{} | {}", failure.title, failure.hint.unwrap()), @"this playbook is not permitted to create thing of createSpace | add `spaces:create` to the playbook's @permits line");
    assert!(inner.asked().is_empty());
}

#[test]
fn a_permission_that_means_nothing_is_refused() {
    let error = |word: &str| {
        let error = Permits::parse([word], &["crm"]).unwrap_err();
        format!("{error} | {}", error.hint.as_deref().unwrap_or("no hint"))
    };
    insta::assert_snapshot!(error("space:write"), @"`space:write` is not a permission: there is no resource `space` | did you mean `spaces:write`?");
    insta::assert_snapshot!(error("spaces:wirte"), @"`spaces:wirte` is not a permission: there is no action `wirte` | known are read, create, update, delete, act, write");
    insta::assert_snapshot!(error("spaces"), @"`spaces` is not a permission: it has no action | write `spaces:write`");
}

#[tokio::test(start_paused = true)]
async fn the_whole_stack_makes_one_tenant_in_the_sandbox() {
    let vault = Vault::in_memory();
    let settings = sandbox::Settings { clock: clock(), random: Random::from_seed(7), ..Default::default() };
    let sandbox = Sandbox::in_memory(settings);
    vault.add("sandbox/license_key", SecretSource::literal(sandbox.credentials().license_key));
    let embedded = Embedded::new(sandbox.clone(), Arc::new(vault.clone()), clock(), Random::from_seed(2));
    let folder = tempfile::TempDir::new().unwrap();
    let registry = State::open(&folder.path().join("state.db"), clock()).unwrap().registry();
    let identity = sandbox.organization();
    let target = Enrolment::Organization {
        identity: identity.clone(),
        may_begin: true,
        lists: true,
        license: License::Key("sandbox/license_key".into()),
    };
    let locals = Locals::new(embedded, Arc::new(locals(&vault)));
    let registered = Registered::new(locals, registry.clone(), target, "harbour", "run-1");
    let stack = Permitted::new(registered, Permits::parse(["tenants:write"], &[]).unwrap());

    let arguments = json!({ "customer": "harbour", "region": "eu" });
    let absent = perform(&stack, &local("tenantry.registry.lookup", arguments.clone())).await.unwrap().json().clone();
    let body = json!({ "licenseKey": absent["license"]["key"] });
    let create = request("createTenant", Host::Register("eu".into()), "/api/v1/tenants", body);
    let tenant = perform(&stack, &create).await.unwrap().json().clone();
    let host = Host::Tenant(tenant["hostnames"][0].as_str().unwrap().to_owned());
    let changes = json!([
        { "op": "replace", "path": "/name", "value": "Harbour" },
        { "op": "replace", "path": "/hostnames/1", "value": "halyard-harbour.eu.qlikcloud.com" },
    ]);
    let path = format!("/api/v1/tenants/{}", tenant["id"].as_str().unwrap());
    perform(&stack, &request("patchTenant", host, &path, changes)).await.unwrap();

    let known = perform(&stack, &local("tenantry.registry.lookup", arguments)).await.unwrap().json().clone();
    assert_eq!((&known["state"], &known["id"], &known["region"]), (&json!("known"), &tenant["id"], &json!("eu")));
    assert_eq!(known["alias"], "halyard-harbour.eu.qlikcloud.com");
    assert_eq!(known["name"], "Harbour");
    assert_eq!(perform(&stack, &create).await.unwrap_err().code, "tenantry/registered");
    let invite = json!({ "name": "A", "subject": "a", "status": "invited" });
    let user = request("createUser", Host::Console, "/api/v1/users", invite);
    assert_eq!(perform(&stack, &user).await.unwrap_err().code, "tenantry/not-permitted");
    registry.drop_organization(&identity).unwrap();
    assert!(registry.tenants(&identity).unwrap().is_empty());
}

fn since() -> jiff::Timestamp {
    "2026-11-24T08:00:00Z".parse().unwrap()
}

async fn settle(interpreter: &impl Interpreter, operation: &Operation) -> Result<Settlement, Failure> {
    interpreter.settle(&key(&operation.id), operation, since()).await
}

#[tokio::test]
async fn what_became_of_a_local_operation_is_asked_of_who_performs_it() {
    let write = |name: &'static str| {
        LocalOperation::new(name, Effect::Act, |_| async { Ok(Value::Null) })
            .settle(|arguments| async move { Ok(arguments["done"].as_bool().map(|_| json!({ "noted": true }))) })
    };
    let mut operations = locals(&Vault::in_memory());
    operations.add(write("crm.notify")).unwrap();
    operations.add(LocalOperation::new("crm.mail", Effect::Act, |_| async { Ok(Value::Null) })).unwrap();
    operations.add(LocalOperation::new("crm.find", Effect::Read, |_| async { Ok(Value::Null) })).unwrap();
    let broken = LocalOperation::new("crm.odd", Effect::Act, |_| async { Ok(Value::Null) })
        .settle(|_| async { Err(Failure::new(FailureKind::Unsent, "crm/down", "no route")) });
    operations.add(broken).unwrap();
    let layer = Arc::new(Permitted::new(
        Registered::new(
            Locals::new(Scripted::default(), Arc::new(operations)),
            registry(),
            organization(true),
            "harbour",
            "run-1",
        ),
        Permits::everything(),
    ));

    let performed = Settlement::Performed(Response::local(json!({ "noted": true })));
    assert_eq!(settle(&layer, &local("crm.notify", json!({ "done": true }))).await, Ok(performed));
    assert_eq!(settle(&layer, &local("crm.notify", json!({}))).await, Ok(Settlement::NotPerformed));
    assert_eq!(settle(&layer, &local("crm.find", json!({}))).await, Ok(Settlement::NotPerformed));
    for (name, why) in [("crm.mail", "has no look-up"), ("crm.odd", "its look-up failed: no route (crm/down)")] {
        let failure = settle(&layer, &local(name, json!({}))).await.unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Unknown, "tenantry/unsettled"));
        assert!(failure.detail.as_ref().unwrap().contains(why), "{failure:?}");
        assert!(failure.hint.unwrap().contains("--settled"));
    }
    // The host's own do no harm when they are repeated.
    for name in ["now", "uuid", "secret", "ensureKey", "signJwt", "registry.lookup", "registry.adopt"] {
        let operation = local(&format!("tenantry.{name}"), json!({}));
        assert_eq!(settle(&layer, &operation).await, Ok(Settlement::NotPerformed), "{name}");
    }
}

#[tokio::test]
async fn an_interpreter_that_knows_nothing_cannot_tell() {
    let operation = request("createSpace", Host::Tenant("h.eu.qlikcloud.com".into()), "/api/v1/spaces", json!({}));
    let failure = settle(&Scripted::default(), &operation).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Unknown, "tenantry/unsettled"));
}
