//! The embedded sandbox: the same client, over a road that ends in this process.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::Method;
use secrecy::SecretString;
use serde_json::{Value, json};
use tenantry::interpreter::{Embedded, Interpreter as _};
use tenantry::operation::secret::{self, SecretStore as _};
use tenantry::operation::{Body, Effect, FailureKind, Host, Operation};
use tenantry::sandbox::{self, Sandbox};
use tenantry::surroundings::{Random, RuntimeClock};

use crate::live::{key, operation, secrets, with};

fn clock() -> Arc<RuntimeClock> {
    Arc::new(RuntimeClock::starting_at("2026-11-24T02:00:00Z".parse().unwrap()))
}

fn sandbox() -> Sandbox {
    Sandbox::in_memory(sandbox::Settings { clock: clock(), random: Random::from_seed(7), ..Default::default() })
}

fn embedded(sandbox: &Sandbox) -> Embedded {
    let secrets = secrets();
    secrets.keep("sandbox-license", SecretString::from(sandbox.credentials().license_key));
    Embedded::new(sandbox.clone(), secrets, clock(), Random::from_seed(2))
}

async fn ask(embedded: &Embedded, operation: &Operation) -> Value {
    embedded.perform(&key(operation), operation).await.unwrap().json().clone()
}

fn create_tenant(license: &str) -> Operation {
    with(operation("createTenant", Effect::Create, Method::POST, "/api/v1/tenants"), |request| {
        request.host = Host::Register("eu".to_owned());
        request.body = Body::Json(json!({ "licenseKey": secret::reference(license), "datacenter": "eu-west-1" }));
    })
}

#[tokio::test(start_paused = true)]
async fn a_tenant_is_made_and_asked_who_is_there() {
    let sandbox = sandbox();
    let embedded = embedded(&sandbox);
    let refused = embedded.perform(&key(&create_tenant("license")), &create_tenant("license")).await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.kind), ("TENANTS-23", FailureKind::Refused));

    let tenant = ask(&embedded, &create_tenant("sandbox-license")).await;
    let host = Host::Tenant(tenant["hostnames"][0].as_str().unwrap().to_owned());
    let on = |operation: Operation| with(operation, |request| request.host = host.clone());
    // Answered by a redirect to the user's own address.
    let me = ask(&embedded, &on(operation("getMyUser", Effect::Read, Method::GET, "/api/v1/users/me"))).await;
    assert_eq!(me["tenantId"], tenant["id"]);

    let mine = ask(&embedded, &on(operation("getMyTenant", Effect::Read, Method::GET, "/api/v1/tenants/me"))).await;
    assert_eq!(mine["hostnames"], tenant["hostnames"]);
    for number in 0..4 {
        let user =
            json!({ "name": format!("User {number}"), "subject": format!("auth0|{number}"), "status": "invited" });
        let create = operation("createUser", Effect::Create, Method::POST, "/api/v1/users");
        ask(&embedded, &on(with(create, |request| request.body = Body::Json(user)))).await;
    }
    let (mut next, mut pages) = (None, 0);
    let mut names = BTreeSet::new();
    loop {
        let page = on(with(operation("getUsers", Effect::Read, Method::GET, "/api/v1/users"), |request| {
            request.query = vec![("limit".into(), "2".into())];
            request.next = next.take();
        }));
        let page = ask(&embedded, &page).await;
        names.extend(page["data"].as_array().unwrap().iter().map(|user| user["name"].to_string()));
        pages += 1;
        match page["links"]["next"]["href"].as_str() {
            Some(link) => next = Some(link.to_owned()),
            None => break,
        }
    }
    // The four, and the bot that the first token made.
    assert_eq!((names.len(), pages), (5, 3));
    assert_eq!(sandbox.violations(), []);
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_in_a_file_is_asked_without_holding_up_the_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let settings = sandbox::Settings { clock: clock(), random: Random::from_seed(7), ..Default::default() };
    let sandbox = Sandbox::open(&folder.path().join("sandbox.db"), settings).unwrap();
    assert!(sandbox.waits_for_disk(&Method::POST) && !sandbox.waits_for_disk(&Method::GET));
    let tenant = ask(&embedded(&sandbox), &create_tenant("sandbox-license")).await;
    assert_eq!(tenant["status"], "active");
}
