//! Signing in to the sandbox with a user JWT.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tenantry::sandbox::{Sandbox, Scope};
use tenantry::surroundings::Clock as _;

use crate::sandbox_support::{Cloud, Reply, settings};

const ISSUER: &str = "https://id.halyard.example/hb";

struct Portal {
    cloud: Cloud,
    host: String,
    tenant: String,
    key: EncodingKey,
}

/// A key of a partner's portal and its self-signed certificate.
fn pair() -> (EncodingKey, String) {
    let pair = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap().self_signed(&pair).unwrap();
    (EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap(), certificate.pem())
}

impl Portal {
    fn new() -> Self {
        let (key, pem) = pair();
        Self::with(key, &pem, |_| {})
    }

    fn with(key: EncodingKey, pem: &str, change: impl FnOnce(&mut Value)) -> Self {
        let cloud = Cloud::new();
        let tenant = cloud.tenant();
        let (host, id) = (tenant["hostnames"][0].as_str().unwrap(), tenant["id"].as_str().unwrap());
        let mut provider = json!({
            "id": "idp", "provider": "external", "protocol": "jwtAuth", "interactive": false, "active": true,
            "options": {
                "jwtLoginEnabled": true, "issuer": ISSUER,
                "staticKeys": [{"kid": "2026-11-a", "pem": pem.replace('\n', "")}],
            },
        });
        change(&mut provider);
        let mut portal = Self { host: host.to_owned(), tenant: id.to_owned(), key, cloud };
        portal.store("identityProviders", "idp", provider);
        portal
    }

    /// Puts a document of the tenant in place.
    fn store(&mut self, collection: &str, id: &str, document: Value) {
        let mut state = self.cloud.sandbox.snapshot();
        state.put(&Scope::tenant(&self.tenant), collection, id, Arc::new(document));
        self.cloud.sandbox = Sandbox::from_state(state, settings(&self.cloud.clock));
    }

    fn claims(&self) -> Value {
        let now = self.cloud.clock.now().as_second();
        let id = self.cloud.sandbox.snapshot().to_json().to_string().len();
        json!({
            "sub": "hb|1001", "subType": "user", "name": "Ann Planner", "email": "ann@harbour.example",
            "email_verified": true, "iss": ISSUER, "aud": "qlik.api/login/jwt-session",
            "jti": format!("token-{id}"), "iat": now, "nbf": now, "exp": now + 60, "groups": ["hb-planners"],
        })
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_as(Algorithm::ES256, claims)
    }

    fn sign_as(&self, algorithm: Algorithm, claims: &Value) -> String {
        let mut header = Header::new(algorithm);
        header.kid = Some("2026-11-a".to_owned());
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }

    fn enter(&self, token: &str) -> Reply {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", &*bearer)];
        self.cloud.send(&Method::POST, &self.host, "/login/jwt-session", &headers, Bytes::new())
    }

    fn login(&self, claims: &Value) -> Reply {
        self.enter(&self.sign(claims))
    }

    fn user(&self) -> Value {
        let list = self.cloud.get(&self.host, "/api/v1/users?filter=subject%20eq%20%22hb%7C1001%22");
        list.expect(StatusCode::OK)["data"][0].clone()
    }
}

#[test]
fn a_signed_token_opens_a_session_and_makes_the_user() {
    let portal = Portal::new();
    let reply = portal.login(&portal.claims());
    assert_eq!((reply.status, &reply.body), (200, &json!({})));
    let cookies: Vec<&str> =
        reply.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap()).collect();
    for (cookie, name) in cookies.iter().zip(["eas.sid=", "eas.sid.sig=", "_csrfToken="]) {
        assert!(cookie.starts_with(name), "{cookie}");
    }
    let user = portal.user();
    assert_eq!((&user["name"], &user["status"]), (&json!("Ann Planner"), &json!("active")));
    let cookie: Vec<&str> = cookies.iter().map(|cookie| cookie.split(';').next().unwrap()).collect();
    let cookie = cookie.join("; ");
    let headers = [("cookie", &*cookie)];
    let me = portal.cloud.send(&Method::GET, &portal.host, "/api/v1/users/me", &headers, Bytes::new());
    assert!(me.header("location").ends_with(user["id"].as_str().unwrap()), "{me:?}");
    let other = portal.cloud.tenant_host();
    assert_eq!(portal.cloud.send(&Method::GET, &other, "/api/v1/users/me", &headers, Bytes::new()).status, 401);
}

#[test]
fn rsa_keys_work_as_certificate_and_bare() {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    let rsa = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der = rsa.as_der().unwrap();
    let pair = rcgen::KeyPair::try_from(der.as_ref()).unwrap();
    let certificate = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap().self_signed(&pair).unwrap();
    for (pem, algorithm) in [
        (certificate.pem(), Algorithm::RS256),
        (pair.public_key_pem(), Algorithm::RS512),
        (certificate.pem(), Algorithm::PS256),
    ] {
        let key = EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).unwrap();
        let portal = Portal::with(key, &pem, |_| {});
        assert_eq!(portal.enter(&portal.sign_as(algorithm, &portal.claims())).status, 200, "{algorithm:?} {pem}");
    }
}

#[test]
fn a_token_is_good_once() {
    let portal = Portal::new();
    let token = portal.sign(&portal.claims());
    assert_eq!(portal.enter(&token).status, 200);
    assert_eq!(portal.enter(&token).status, 401);
}

#[test]
fn claims_are_checked() {
    let portal = Portal::new();
    for claim in ["sub", "subType", "name", "email", "email_verified", "aud", "jti", "iat", "nbf", "exp"] {
        let mut claims = portal.claims();
        claims.as_object_mut().unwrap().remove(claim);
        let reply = portal.login(&claims);
        assert_eq!((reply.status, &*reply.code()), (400, "INTERNAL-TOKEN-1"), "{claim}");
        let error = &reply.body["errors"][0];
        assert_eq!(error["detail"], format!("JWT_LOGIN_VALIDATIONS Missing required claim: {claim}"));
        assert_eq!(error["status"], "400");
        assert!(reply.body["traceId"].is_string());
    }
    let now = portal.cloud.clock.now().as_second();
    for (claim, value, status) in [
        ("aud", json!("another"), 400),
        ("subType", json!("bot"), 400),
        ("exp", json!(now + 3601), 400),
        ("exp", json!("soon"), 400),
        ("iss", json!("https://id.other.example"), 401),
        ("exp", json!(now - 6), 401),
        ("nbf", json!(now + 6), 401),
    ] {
        let mut claims = portal.claims();
        claims[claim] = value;
        assert_eq!(portal.login(&claims).status, status, "{claim}");
    }
    assert!(portal.user().is_null(), "nobody came in");
    let mut claims = portal.claims();
    claims["exp"] = json!(now + 3600);
    assert_eq!(portal.login(&claims).status, 200);
}

#[test]
fn clocks_may_differ_a_little() {
    let portal = Portal::new();
    let claims = portal.claims();
    portal.cloud.clock.forward(Duration::from_secs(64));
    assert_eq!(portal.login(&claims).status, 200);
}

#[test]
fn only_the_providers_key_is_trusted() {
    let portal = Portal::new();
    let (stranger, _) = pair();
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some("2026-11-a".to_owned());
    let forged = jsonwebtoken::encode(&header, &portal.claims(), &stranger).unwrap();
    assert_eq!(portal.enter(&forged).status, 401);
    header.kid = Some("2025-01".to_owned());
    let other = jsonwebtoken::encode(&header, &portal.claims(), &portal.key).unwrap();
    assert_eq!(portal.enter(&other).status, 401);
    header.kid = None;
    let nameless = jsonwebtoken::encode(&header, &portal.claims(), &portal.key).unwrap();
    assert_eq!(portal.enter(&nameless).status, 401);
    let mut shared = Header::new(Algorithm::HS256);
    shared.kid = Some("2026-11-a".to_owned());
    let shared = jsonwebtoken::encode(&shared, &portal.claims(), &EncodingKey::from_secret(b"x")).unwrap();
    assert_eq!(portal.enter(&shared).status, 401);
    for token in ["", "x", "a.b.c", "eyJhbGciOiJub25lIn0.e30."] {
        assert_eq!(portal.enter(token).status, 401, "{token}");
    }
    assert_eq!(portal.cloud.send(&Method::POST, &portal.host, "/login/jwt-session", &[], Bytes::new()).status, 401);
}

#[test]
fn an_inactive_provider_lets_nobody_in() {
    let (key, pem) = pair();
    let portal = Portal::with(key, &pem, |provider| provider["active"] = json!(false));
    assert_eq!(portal.login(&portal.claims()).status, 401);
    let (key, pem) = pair();
    let portal = Portal::with(key, &pem, |provider| provider["options"]["jwtLoginEnabled"] = json!(false));
    assert_eq!(portal.login(&portal.claims()).status, 401);
    let (key, _) = pair();
    let portal = Portal::with(key, "no key at all", |_| {});
    assert_eq!(portal.login(&portal.claims()).status, 401);
}

#[test]
fn groups_come_from_claims_and_are_made_only_when_the_tenant_says_so() {
    let mut portal = Portal::new();
    portal.store("settings", "groups", json!({"autoCreateGroups": false}));
    portal.login(&portal.claims()).expect(StatusCode::OK);
    assert_eq!(portal.user()["assignedGroups"], json!([]));
    portal.store("settings", "groups", json!({"autoCreateGroups": true}));
    portal.login(&portal.claims()).expect(StatusCode::OK);
    let user = portal.user();
    assert_eq!(user["assignedGroups"][0]["name"], "hb-planners");
    assert_eq!(user["assignedGroups"][0]["providerType"], "idp");
    let mut claims = portal.claims();
    claims["groups"] = json!([]);
    portal.login(&claims).expect(StatusCode::OK);
    assert_eq!(portal.user()["assignedGroups"], json!([]));
}

#[test]
fn a_disabled_user_is_no_member() {
    let portal = Portal::new();
    portal.login(&portal.claims()).expect(StatusCode::OK);
    let path = format!("/api/v1/users/{}", portal.user()["id"].as_str().unwrap());
    let off = json!([{"op": "replace", "path": "/status", "value": "disabled"}]);
    portal.cloud.patch(&portal.host, &path, off).expect(StatusCode::NO_CONTENT);
    let reply = portal.login(&portal.claims());
    assert_eq!((reply.status, &*reply.code()), (403, "AUTH-5"));
}

#[test]
fn a_seat_is_taken_at_the_first_sign_in_when_the_tenant_assigns_them() {
    let portal = Portal::new();
    let seats =
        || portal.cloud.get(&portal.host, "/api/v1/licenses/assignments").expect(StatusCode::OK)["data"].clone();
    portal.login(&portal.claims()).expect(StatusCode::OK);
    assert_eq!(seats().as_array().unwrap().len(), 1, "only the bot's");
    let on = json!({"autoAssignProfessional": false, "autoAssignAnalyzer": true});
    portal.cloud.put(&portal.host, "/api/v1/licenses/settings", on).expect(StatusCode::OK);
    portal.login(&portal.claims()).expect(StatusCode::OK);
    portal.login(&portal.claims()).expect(StatusCode::OK);
    let seats = seats();
    assert_eq!(seats.as_array().unwrap().len(), 2);
    assert_eq!((&seats[1]["subject"], &seats[1]["type"]), (&json!("hb|1001"), &json!("analyzer")));
}
