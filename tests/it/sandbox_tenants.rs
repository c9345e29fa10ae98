//! Tenants of the sandbox: made, named, retired, listed.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::sandbox_support::{CONSOLE, Cloud, REGISTER, Reply};

fn create(cloud: &Cloud, register: &str, body: Value) -> Reply {
    cloud.post(register, "/api/v1/tenants", body)
}

fn key(cloud: &Cloud) -> Value {
    json!({"licenseKey": cloud.sandbox.credentials().license_key})
}

#[test]
fn a_tenant_gets_a_random_host_in_its_region() {
    let cloud = Cloud::new();
    let mut body = key(&cloud);
    body["datacenter"] = json!("eu-west-2");
    let tenant = create(&cloud, "register.uk.qlikcloud.com", body).expect(StatusCode::CREATED);
    let host = tenant["hostnames"][0].as_str().unwrap();
    assert_eq!(tenant["hostnames"].as_array().unwrap().len(), 1);
    assert_eq!(host, format!("{}.uk.qlikcloud.com", tenant["name"].as_str().unwrap()));
    assert_eq!((&tenant["status"], &tenant["region"]), (&json!("active"), &json!("uk")));
    assert_eq!(tenant["id"].as_str().unwrap().len(), 32);
    let link = tenant["links"]["self"]["href"].as_str().unwrap();
    let path = link.strip_prefix("https://register.uk.qlikcloud.com").unwrap();
    assert_eq!(cloud.get("register.uk.qlikcloud.com", path).expect(StatusCode::OK), tenant);
    let me = cloud.get(host, "/api/v1/tenants/me");
    assert_eq!(me.status, 302);
    let path = me.header("location").strip_prefix(&format!("https://{host}")).unwrap().to_owned();
    assert_eq!(cloud.get(host, &path).expect(StatusCode::OK)["id"], tenant["id"]);
}

#[test]
fn refused_creations_carry_their_codes() {
    let cloud = Cloud::with(|settings| settings.tenant_quota = Some(1));
    let missing = create(&cloud, REGISTER, json!({}));
    assert_eq!((missing.status, &*missing.code()), (400, "TENANTS-21"));
    let invalid = create(&cloud, REGISTER, json!({"licenseKey": "eyJwrong"}));
    assert_eq!((invalid.status, &*invalid.code()), (403, "TENANTS-23"));
    let mut elsewhere = key(&cloud);
    elsewhere["datacenter"] = json!("us-east-1");
    assert_eq!(create(&cloud, REGISTER, elsewhere).status, 400);
    create(&cloud, REGISTER, key(&cloud)).expect(StatusCode::CREATED);
    let full = create(&cloud, REGISTER, key(&cloud));
    assert_eq!((full.status, &*full.code()), (403, "TENANTS-22"));
    create(&cloud, "register.us.qlikcloud.com", key(&cloud)).expect(StatusCode::CREATED);
    assert_eq!(cloud.sandbox.snapshot().tenants().len(), 2);
}

#[test]
fn a_tenant_knows_only_itself() {
    let cloud = Cloud::new();
    let (one, other) = (cloud.tenant(), cloud.tenant());
    let path = |tenant: &Value| format!("/api/v1/tenants/{}", tenant["id"].as_str().unwrap());
    let host = one["hostnames"][0].as_str().unwrap();
    assert_eq!(cloud.get(host, &path(&one)).status, 200);
    let foreign = cloud.get(host, &path(&other));
    assert_eq!((foreign.status, &*foreign.code()), (404, "TENANTS-8"));
    assert_eq!(cloud.get("register.us.qlikcloud.com", &path(&one)).status, 404);
}

struct Named {
    cloud: Cloud,
    host: String,
    path: String,
}

impl Named {
    fn new() -> Self {
        Self::beside(Cloud::new())
    }

    fn beside(cloud: Cloud) -> Self {
        let tenant = cloud.tenant();
        let (host, id) = (tenant["hostnames"][0].as_str().unwrap(), tenant["id"].as_str().unwrap());
        Self { host: host.to_owned(), path: format!("/api/v1/tenants/{id}"), cloud }
    }

    fn patch(&self, path: &str, value: impl Into<Value>) -> Reply {
        let value = value.into();
        self.cloud.patch(&self.host, &self.path, json!([{"op": "replace", "path": path, "value": value}]))
    }

    fn get(&self) -> Value {
        self.cloud.get(&self.host, &self.path).expect(StatusCode::OK)
    }
}

#[test]
fn name_alias_and_flags_are_replaced() {
    let named = Named::new();
    let flag = "/autoAssignCreateSharedSpacesRoleToProfessionals";
    for (path, value) in [
        ("/name", json!("Harbour Logistics")),
        ("/hostnames/1", json!("Halyard-HB.eu.qlikcloud.com")),
        (flag, json!(false)),
    ] {
        assert_eq!(named.patch(path, value).status, 204, "{path}");
    }
    let tenant = named.get();
    assert_eq!(tenant["name"], "Harbour Logistics");
    assert_eq!(tenant["hostnames"], json!([named.host, "halyard-hb.eu.qlikcloud.com"]));
    assert_eq!(tenant[&flag[1..]], false);
    let before = named.cloud.sandbox.snapshot();
    assert_eq!(named.patch("/name", "Harbour Logistics").status, 204);
    assert_eq!(named.cloud.sandbox.snapshot(), before, "the same patch again changes nothing");
}

#[test]
fn an_alias_is_a_host_of_the_tenant_and_its_old_one_is_free() {
    let named = Named::new();
    let (old, new) = ("halyard-hb.eu.qlikcloud.com", "harbour.eu.qlikcloud.com");
    named.patch("/hostnames/1", old).expect(StatusCode::NO_CONTENT);
    assert_eq!(named.cloud.get(old, "/api/v1/tenants/me").status, 302);
    let other = Named::beside(named.cloud);
    let taken = other.patch("/hostnames/1", old);
    assert_eq!((taken.status, &*taken.code()), (400, "TENANTS-10"));
    let first = Named { cloud: other.cloud, host: named.host, path: named.path };
    first.patch("/hostnames/1", new).expect(StatusCode::NO_CONTENT);
    let gone = first.cloud.send(&Method::GET, old, "/api/v1/tenants/me", &[], Bytes::new());
    assert_eq!(gone.code(), "LOGIN-2");
    let second = Named { cloud: first.cloud, host: other.host, path: other.path };
    second.patch("/hostnames/1", old).expect(StatusCode::NO_CONTENT);
}

#[test]
fn bad_aliases_are_refused_with_the_reason_in_meta() {
    let named = Named::new();
    let short = named.patch("/hostnames/1", "hb.eu.qlikcloud.com");
    assert_eq!((short.status, &*short.code()), (400, "TENANTS-10"));
    let error = &short.body["errors"][0];
    assert_eq!(error["title"], "Invalid PATCH request");
    assert_eq!(error["meta"]["title"], "Subdomain should be between 3 and 63 characters");
    assert_eq!(error["source"]["pointer"], "/hostnames/1");
    let own = named.host.clone();
    let long = format!("{}.eu.qlikcloud.com", "a".repeat(64));
    for alias in [
        &*long,
        &own,
        "harbour.us.qlikcloud.com",
        "harbour.example.com",
        "harbour",
        "",
        "har bour.eu.qlikcloud.com",
        "-harbour.eu.qlikcloud.com",
        "a.harbour.eu.qlikcloud.com",
        "register.eu.qlikcloud.com",
    ] {
        assert_eq!(named.patch("/hostnames/1", alias).code(), "TENANTS-10", "{alias}");
    }
    named.patch("/hostnames/1", format!("{}.eu.qlikcloud.com", "a".repeat(63))).expect(StatusCode::NO_CONTENT);
    named.patch("/hostnames/1", "abc.eu.qlikcloud.com").expect(StatusCode::NO_CONTENT);
}

#[test]
fn a_patch_is_done_whole_or_not_at_all() {
    let named = Named::new();
    let before = named.get();
    for wrong in [
        json!({"op": "add", "path": "/name", "value": "x"}),
        json!({"op": "replace", "path": "/hostnames/0", "value": "abc.eu.qlikcloud.com"}),
        json!({"op": "replace", "path": "/id", "value": "x"}),
        json!({"op": "replace", "path": "/name", "value": 3}),
        json!({"op": "replace", "path": "/enableAnalyticCreation", "value": "yes"}),
    ] {
        let good = json!({"op": "replace", "path": "/name", "value": "Changed"});
        let reply = named.cloud.patch(&named.host, &named.path, json!([good, wrong]));
        assert_eq!(reply.status, 400, "{wrong}");
        assert_eq!(named.get(), before);
    }
    assert_eq!(named.cloud.patch(&named.host, &named.path, json!({"name": "x"})).status, 400);
}

fn act(cloud: &Cloud, path: &str, action: &str, confirm: Option<&str>, body: &Value) -> Reply {
    let bearer = format!("Bearer {}", cloud.token(REGISTER));
    let mut headers = vec![("authorization", &*bearer), ("content-type", "application/json")];
    headers.extend(confirm.map(|host| ("qlik-confirm-hostname", host)));
    let path = format!("{path}/actions/{action}");
    cloud.send(&Method::POST, REGISTER, &path, &headers, body.to_string().into())
}

#[test]
fn a_deactivated_tenant_answers_nobody_until_it_is_reactivated() {
    let named = Named::new();
    let (cloud, host) = (&named.cloud, Some(&*named.host));
    let bearer = format!("Bearer {}", cloud.token(&named.host));
    assert_eq!(act(cloud, &named.path, "deactivate", Some("other.eu.qlikcloud.com"), &json!({})).status, 412);
    for days in [9, 91] {
        assert_eq!(act(cloud, &named.path, "deactivate", host, &json!({"purgeAfterDays": days})).status, 400);
    }
    let answer = act(cloud, &named.path, "deactivate", host, &json!({})).expect(StatusCode::OK);
    assert_eq!(answer["status"], "disabled");
    assert_eq!(answer["estimatedPurgeDate"], "2026-12-24T00:00:00.000Z");
    let headers = [("authorization", &*bearer)];
    let refused = cloud.send(&Method::GET, &named.host, "/api/v1/users/me", &headers, Bytes::new());
    assert_eq!((refused.status, &*refused.code()), (401, "TENANT_DISABLED"));
    let refused = cloud.send(&Method::POST, &named.host, "/oauth/token", &[], Bytes::new());
    assert_eq!((refused.status, &*refused.code()), (401, "TENANT_DEACTIVATED"));
    let listed = cloud.get(CONSOLE, "/api/core/tenants").expect(StatusCode::OK);
    assert_eq!(listed["data"][0]["status"], "disabled");
    assert_eq!(listed["data"][0]["deletionStartsAt"], answer["estimatedPurgeDate"]);
    // Qlik's client for Python sends no body.
    let register = format!("Bearer {}", cloud.token(REGISTER));
    let confirmed = [("authorization", &*register), ("qlik-confirm-hostname", &*named.host)];
    let path = format!("{}/actions/reactivate", named.path);
    let reply = cloud.send(&Method::POST, REGISTER, &path, &confirmed, Bytes::new());
    assert_eq!(reply.expect(StatusCode::OK)["status"], "active");
    assert_eq!(cloud.send(&Method::GET, &named.host, "/api/v1/users/me", &headers, Bytes::new()).status, 301);
}

#[test]
fn a_purged_tenant_does_not_come_back() {
    let named = Named::new();
    let (cloud, host) = (&named.cloud, Some(&*named.host));
    act(cloud, &named.path, "deactivate", host, &json!({"purgeAfterDays": 10})).expect(StatusCode::OK);
    cloud.clock.forward(Duration::from_secs(10 * 24 * 3600));
    assert_eq!(act(cloud, &named.path, "reactivate", host, &json!({})).status, 404);
    let gone = cloud.send(&Method::POST, &named.host, "/oauth/token", &[], Bytes::new());
    assert_eq!(gone.code(), "LOGIN-2");
    let listed = cloud.get(CONSOLE, "/api/core/tenants").expect(StatusCode::OK);
    assert_eq!(listed["data"][0]["status"], "deleted");
}

#[test]
fn deactivating_frees_the_quota_and_reactivating_needs_it() {
    let named = Named::beside(Cloud::with(|settings| settings.tenant_quota = Some(1)));
    let (cloud, host) = (&named.cloud, Some(&*named.host));
    act(cloud, &named.path, "deactivate", host, &json!({})).expect(StatusCode::OK);
    cloud.tenant();
    assert_eq!(act(cloud, &named.path, "reactivate", host, &json!({})).code(), "TENANTS-22");
}

#[test]
fn the_console_lists_all_tenants_in_pages() {
    let cloud = Cloud::new();
    let made: Vec<Value> = (0..45).map(|_| cloud.tenant()["id"].clone()).collect();
    let mut found = Vec::new();
    let mut path = "/api/core/tenants?limit=20".to_owned();
    let mut pages = 0;
    loop {
        let page = cloud.get(CONSOLE, &path).expect(StatusCode::OK);
        found.extend(page["data"].as_array().unwrap().iter().map(|tenant| tenant["id"].clone()));
        pages += 1;
        let Some(next) = page.pointer("/links/next/href").and_then(Value::as_str) else { break };
        path = next.strip_prefix("https://console.qlikcloud.com").unwrap().to_owned();
        assert!(path.contains("offset="), "{path}");
    }
    assert_eq!((found, pages), (made, 3));
    let first = &cloud.get(CONSOLE, "/api/core/tenants").expect(StatusCode::OK)["data"][0];
    assert_eq!((&first["regionCode"], &first["countryCode"]), (&json!("eu-west-1"), &json!("IE")));
    assert_eq!(first["licenseNumber"], cloud.sandbox.organization());
    assert_eq!(cloud.get(CONSOLE, "/api/core/tenants?limit=0").status, 400);
    assert_eq!(cloud.get(CONSOLE, "/api/core/tenants?offset=???").status, 400);
}
