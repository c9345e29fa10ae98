//! Tokens of the sandbox.

use base64::Engine as _;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::sandbox_support::{CONSOLE, Cloud, REGISTER, Reply};

const JSON: (&str, &str) = ("content-type", "application/json");

fn ask(cloud: &Cloud, host: &str, body: &Value) -> Reply {
    cloud.send(&Method::POST, host, "/oauth/token", &[JSON], body.to_string().into())
}

fn proof(cloud: &Cloud) -> Value {
    let held = cloud.sandbox.credentials();
    json!({"client_id": held.client_id, "client_secret": held.client_secret, "grant_type": "client_credentials"})
}

#[test]
fn a_token_comes_for_json_a_form_and_basic_authentication() {
    let cloud = Cloud::new();
    let held = cloud.sandbox.credentials();
    let answer = ask(&cloud, REGISTER, &proof(&cloud)).expect(StatusCode::OK);
    assert_eq!(answer["token_type"], "bearer");
    assert_eq!(answer["expires_in"], 21_600);
    assert_eq!(answer["expires_at"], "2026-11-24T14:00:00.000Z");
    assert_eq!(answer["scope"], "admin_classic tenants:create tenants:deactivate tenants:reactivate");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body =
        format!("client_id={}&client_secret={}&grant_type=client_credentials", held.client_id, held.client_secret);
    cloud.send(&Method::POST, REGISTER, "/oauth/token", &form, body.into()).expect(StatusCode::OK);
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", held.client_id, held.client_secret));
    let basic = format!("Basic {basic}");
    let headers = [("authorization", &*basic), form[0]];
    let body = "grant_type=client_credentials";
    cloud.send(&Method::POST, REGISTER, "/oauth/token", &headers, body.into()).expect(StatusCode::OK);
}

#[test]
fn the_console_gives_its_own_scope() {
    let cloud = Cloud::new();
    let answer = ask(&cloud, CONSOLE, &proof(&cloud)).expect(StatusCode::OK);
    assert_eq!(answer["token_type"], "Bearer");
    assert_eq!(answer["scope"], "cloud-console.tenants:read");
}

#[test]
fn a_scope_can_only_narrow() {
    let cloud = Cloud::new();
    let mut body = proof(&cloud);
    body["scope"] = json!("tenants:create admin.apps");
    assert_eq!(ask(&cloud, REGISTER, &body).expect(StatusCode::OK)["scope"], "tenants:create");
    body["scope"] = json!("admin.apps");
    assert_eq!(ask(&cloud, REGISTER, &body).status, 400);
}

#[test]
fn the_scope_that_qliks_clients_always_ask_for_takes_nothing_away() {
    let cloud = Cloud::new();
    let mut body = proof(&cloud);
    body["scope"] = json!("user_default");
    let answer = ask(&cloud, REGISTER, &body).expect(StatusCode::OK);
    assert_eq!(answer["scope"], "admin_classic tenants:create tenants:deactivate tenants:reactivate");
    assert_eq!(ask(&cloud, CONSOLE, &body).expect(StatusCode::OK)["scope"], "cloud-console.tenants:read");
}

#[test]
fn bad_requests_are_400_and_bad_clients_401() {
    let cloud = Cloud::new();
    let without = |field: &str| {
        let mut body = proof(&cloud);
        body.as_object_mut().unwrap().remove(field);
        body
    };
    for field in ["client_id", "client_secret", "grant_type"] {
        assert_eq!(ask(&cloud, REGISTER, &without(field)).status, 400, "{field}");
    }
    assert_eq!(ask(&cloud, REGISTER, &json!([])).status, 400);
    assert_eq!(cloud.send(&Method::POST, REGISTER, "/oauth/token", &[JSON], Bytes::new()).status, 400);
    let with = |field: &str, value: &str| {
        let mut body = proof(&cloud);
        body[field] = json!(value);
        ask(&cloud, REGISTER, &body)
    };
    assert_eq!(with("grant_type", "password").status, 400);
    assert_eq!(with("grant_type", "refresh_token").status, 501);
    assert_eq!(with("grant_type", "urn:qlik:oauth:user-impersonation").status, 400, "a regional client is no user");
    for field in ["client_id", "client_secret"] {
        let reply = with(field, "wrong");
        assert_eq!(reply.status, 401, "{field}");
        assert_eq!(reply.body["errors"][0]["status"], "401");
    }
}

#[test]
fn metadata_names_the_endpoints_of_the_host() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let path = "/.well-known/oauth-authorization-server";
    let answer = cloud.send(&Method::GET, &host, path, &[], Bytes::new()).expect(StatusCode::OK);
    assert_eq!(answer["token_endpoint"], format!("https://{host}/oauth/token"));
}
