//! Identity providers of the sandbox.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::sandbox_support::{Cloud, Reply};

const PATH: &str = "/api/v1/identity-providers";
const PEM: &str = "-----BEGIN CERTIFICATE-----MIIDazCC-----END CERTIFICATE-----";

fn jwt(issuer: &str, kid: &str) -> Value {
    json!({
        "provider": "external", "protocol": "jwtAuth", "interactive": false, "active": true, "description": "portal",
        "options": {"jwtLoginEnabled": true, "issuer": issuer, "staticKeys": [{"kid": kid, "pem": PEM}]},
    })
}

fn oidc_options() -> Value {
    json!({
        "discoveryUrl": "https://login.fenwick.example/.well-known/openid-configuration", "clientId": "app",
        "clientSecret": "hush", "realm": "fenwick", "scope": "openid profile email",
        "claimsMapping": {"sub": ["sub"], "name": ["name"], "email": ["email"], "groups": ["groups"]},
    })
}

fn oidc(field: &str, options: Value) -> Value {
    let mut body = json!({"provider": "azureAD", "protocol": "OIDC", "interactive": true, "description": "Fenwick"});
    body[field] = options;
    if field == "options" {
        body["skipVerify"] = json!(true);
    }
    body
}

fn made(cloud: &Cloud, host: &str, body: Value) -> (Value, String) {
    let made = cloud.post(host, PATH, body).expect(StatusCode::CREATED);
    let path = format!("{PATH}/{}", made["id"].as_str().unwrap());
    (made, path)
}

/// The provider people sign in with.
fn in_use(cloud: &Cloud, host: &str) -> Vec<String> {
    let list = cloud.get(host, &format!("{PATH}?active=true")).expect(StatusCode::OK);
    let list = list["data"].as_array().unwrap();
    let found = list.iter().filter(|held| held["interactive"] == true);
    found.map(|held| held["provider"].as_str().unwrap().to_owned()).collect()
}

fn replace(path: &str, value: Value) -> Value {
    json!([{"op": "replace", "path": path, "value": value}])
}

#[test]
fn a_jwt_provider_is_made_once_per_issuer_and_key() {
    let cloud = Cloud::new();
    let tenant = cloud.tenant();
    let host = tenant["hostnames"][0].as_str().unwrap();
    let mut body = jwt("https://id.halyard.example/harbour", "2026-11-a");
    body["tenantIds"] = json!([tenant["id"]]);
    let reply = cloud.post(host, PATH, body.clone());
    assert!(uuid::Uuid::parse_str(reply.header("qlik-idp-popts")).is_ok());
    let provider = reply.expect(StatusCode::CREATED);
    assert_eq!((&provider["active"], &provider["clockToleranceSec"]), (&json!(true), &json!(5)));
    assert_eq!(provider["options"]["staticKeys"][0]["pem"], PEM);
    let path = format!("{PATH}/{}", provider["id"].as_str().unwrap());
    assert_eq!(cloud.get(host, &path).expect(StatusCode::OK), provider);
    assert_eq!(cloud.post(host, PATH, body.clone()).status, 400, "issuer and kid are taken");
    body["options"]["staticKeys"][0]["kid"] = json!("2026-11-b");
    cloud.post(host, PATH, body.clone()).expect(StatusCode::CREATED);
    body["tenantIds"] = json!(["another"]);
    assert_eq!(cloud.post(host, PATH, body).status, 403, "the tenant of the token must be among tenantIds");
    let list = cloud.get(host, &format!("{PATH}?limit=100")).expect(StatusCode::OK);
    assert_eq!(list["data"].as_array().unwrap().len(), 3, "Qlik's own is there too");
    assert_eq!(cloud.delete(host, &path).status, 204);
    assert_eq!(cloud.get(host, &path).status, 404);
    assert_eq!(cloud.delete(host, &path).status, 404);
}

#[test]
fn wrong_jwt_providers_are_refused() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let with = |change: fn(&mut Value)| {
        let mut body = jwt("https://id.example", "k");
        change(&mut body);
        body
    };
    for body in [
        with(|body| body["options"]["issuer"] = json!("")),
        with(|body| body["options"]["staticKeys"] = json!([])),
        with(|body| body["options"]["staticKeys"] = json!([{"kid": "a", "pem": PEM}, {"kid": "b", "pem": PEM}])),
        with(|body| body["options"]["staticKeys"][0]["pem"] = json!("not a key")),
        with(|body| {
            body["options"]["staticKeys"][0]["pem"] = json!("-----BEGIN PRIVATE KEY-----MIID-----END PRIVATE KEY-----");
        }),
        with(|body| body["options"]["staticKeys"][0] = json!({"pem": PEM})),
        with(|body| body["interactive"] = json!(true)),
        with(|body| body["clockToleranceSec"] = json!(7201)),
        with(|body| body["description"] = json!("x".repeat(129))),
        with(|body| body["provider"] = json!("okta")),
        with(|body| body["options"]["jwksUrl"] = json!("https://id.example/jwks")),
    ] {
        assert_eq!(cloud.post(&host, PATH, body.clone()).status, 400, "{body}");
    }
}

#[test]
fn only_the_description_of_a_jwt_provider_can_be_changed() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let (_, path) = made(&cloud, &host, jwt("https://id.example", "k"));
    assert_eq!(cloud.patch(&host, &path, replace("/description", json!("new"))).status, 204);
    assert_eq!(cloud.get(&host, &path).expect(StatusCode::OK)["description"], "new");
    for (field, value) in [("/active", json!(false)), ("/options", json!({})), ("/clockToleranceSec", json!(7))] {
        assert_eq!(cloud.patch(&host, &path, replace(field, value)).status, 400, "{field}");
    }
    assert_eq!(cloud.patch(&host, &path, replace("/description", json!("x".repeat(129)))).status, 400);
    assert_eq!(cloud.patch(&host, &format!("{PATH}/0123"), replace("/description", json!("x"))).status, 404);
}

#[test]
fn an_interactive_provider_replaces_the_one_before_it() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    assert_eq!(in_use(&cloud, &host), ["qlik"]);
    assert_eq!(cloud.get(&host, &format!("{PATH}/me/meta")).status, 200);
    let (provider, path) = made(&cloud, &host, oidc("options", oidc_options()));
    assert_eq!(in_use(&cloud, &host), ["azureAD"]);
    assert_eq!(cloud.get(&host, &format!("{PATH}/me/meta")).status, 404);
    assert!(provider["options"].get("clientSecret").is_none(), "a secret is never shown");
    assert_eq!(provider["options"]["clientId"], "app");
    let status = cloud.get(&host, &format!("{PATH}/status")).expect(StatusCode::OK);
    assert_eq!(status["active_interactive_idps_count"], 1);
    assert_eq!(status["idps_metadata"].as_array().unwrap().len(), 2);
    assert_eq!(cloud.delete(&host, &path).status, 400, "people sign in with it");
    assert_eq!(cloud.patch(&host, &path, replace("/active", json!(false))).status, 204);
    assert_eq!(in_use(&cloud, &host), ["qlik"]);
    assert_eq!(cloud.patch(&host, &path, replace("/active", json!(true))).status, 204);
    let mut other = oidc("options", oidc_options());
    other["provider"] = json!("adfs");
    made(&cloud, &host, other);
    assert_eq!(in_use(&cloud, &host), ["adfs"]);
    assert_eq!(cloud.delete(&host, &path).status, 204);
    let list = cloud.get(&host, PATH).expect(StatusCode::OK);
    let default = list["data"].as_array().unwrap().iter().find(|held| held["provider"] == "qlik").unwrap();
    let default = format!("{PATH}/{}", default["id"].as_str().unwrap());
    assert_eq!(cloud.delete(&host, &default).status, 400);
    assert_eq!(cloud.get(&host, &format!("{PATH}/.well-known/metadata.json")).status, 200);
}

#[test]
fn wrong_interactive_providers_are_refused() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let without = |field: &str| {
        let mut options = oidc_options();
        options.as_object_mut().unwrap().remove(field);
        options
    };
    let with = |field: &str, value: Value| {
        let mut options = oidc_options();
        options[field] = value;
        oidc("options", options)
    };
    let mut unverified = oidc("options", oidc_options());
    unverified["skipVerify"] = json!(false);
    let mut both = oidc("options", oidc_options());
    both["pendingOptions"] = oidc_options();
    let mut okta = with("emailVerifiedAlwaysTrue", json!(true));
    okta["provider"] = json!("okta");
    for body in [
        unverified,
        both,
        okta,
        oidc("options", without("clientId")),
        oidc("options", without("clientSecret")),
        oidc("options", without("discoveryUrl")),
        oidc("pendingOptions", without("claimsMapping")),
        with("realm", json!("-fenwick")),
        with("scope", json!("x".repeat(255))),
        with("colour", json!("red")),
        json!({"provider": "okta", "protocol": "OIDC", "interactive": true}),
        json!({"provider": "okta", "protocol": "SAML", "interactive": true, "skipVerify": true, "options": {
            "claimsMapping": {"sub": [], "name": [], "email": [], "groups": [], "picture": []}, "entityId": "x",
        }}),
    ] {
        assert_eq!(cloud.post(&host, PATH, body.clone()).status, 400, "{body}");
    }
    assert_eq!(in_use(&cloud, &host), ["qlik"]);
}

#[test]
fn saml_and_machine_providers_are_made() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let mapping = json!({"sub": ["sub"], "name": ["name"], "email": ["email"], "groups": ["g"], "picture": ["p"]});
    let saml = json!({
        "provider": "okta", "protocol": "SAML", "interactive": true, "skipVerify": true,
        "options": {
            "entityId": "https://idp.example", "signOnUrl": "https://idp.example/sso", "claimsMapping": mapping,
            "certificates": [{"name": "one", "certificate": PEM, "signature": true}],
        },
    });
    let (provider, path) = made(&cloud, &host, saml);
    assert_eq!(provider["options"]["entityId"], "https://idp.example");
    assert_eq!(in_use(&cloud, &host), ["okta"]);
    assert_eq!(cloud.patch(&host, &path, replace("/options", json!({}))).status, 400);
    let machine = json!({
        "provider": "auth0", "protocol": "OIDC", "interactive": false,
        "options": {"discoveryUrl": "https://a.example", "audience": "qlik", "claimsMapping": {"sub": ["sub"]}},
    });
    let (_, path) = made(&cloud, &host, machine);
    assert_eq!(in_use(&cloud, &host), ["okta"]);
    assert_eq!(cloud.patch(&host, &path, replace("/options/realm", json!("halyard"))).status, 204);
    assert_eq!(cloud.get(&host, &path).expect(StatusCode::OK)["options"]["realm"], "halyard");
    assert_eq!(cloud.patch(&host, &path, replace("/options/realm", json!("no spaces"))).status, 400);
    assert_eq!(cloud.delete(&host, &path).status, 204);
}

fn promote(cloud: &Cloud, host: &str, path: &str, matching: Option<&str>) -> Reply {
    let bearer = format!("Bearer {}", cloud.token(host));
    let mut headers = vec![("authorization", &*bearer), ("content-type", "application/json")];
    headers.extend(matching.map(|matching| ("qlik-idp-popts-match", matching)));
    let body = json!([{"op": "promote-options"}]).to_string();
    cloud.send(&Method::PATCH, host, path, &headers, Bytes::from(body))
}

#[test]
fn settings_under_test_are_promoted_by_their_name() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let reply = cloud.post(&host, PATH, oidc("pendingOptions", oidc_options()));
    let first = reply.header("qlik-idp-popts").to_owned();
    let provider = reply.expect(StatusCode::CREATED);
    assert_eq!((&provider["active"], &provider["pendingState"]), (&json!(false), &json!("pending")));
    assert!(provider["pendingOptions"].get("clientSecret").is_none());
    let path = format!("{PATH}/{}", provider["id"].as_str().unwrap());
    assert_eq!(cloud.patch(&host, &path, replace("/active", json!(true))).status, 400);
    assert_eq!(cloud.patch(&host, &path, replace("/pendingOptions/realm", json!("other"))).status, 204);
    let second = cloud.get(&host, &path).header("qlik-idp-popts").to_owned();
    assert_ne!(first, second);
    assert_eq!(promote(&cloud, &host, &path, None).status, 412);
    assert_eq!(promote(&cloud, &host, &path, Some(&first)).status, 412);
    assert_eq!(in_use(&cloud, &host), ["qlik"]);
    assert_eq!(promote(&cloud, &host, &path, Some(&second)).status, 204);
    let provider = cloud.get(&host, &path).expect(StatusCode::OK);
    assert_eq!((&provider["active"], &provider["options"]["realm"]), (&json!(true), &json!("other")));
    assert!(provider.get("pendingOptions").is_none());
    assert_eq!(in_use(&cloud, &host), ["azureAD"]);
}
