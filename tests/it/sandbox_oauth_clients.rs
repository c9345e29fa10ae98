//! OAuth clients of the sandbox, and the tokens they get.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::sandbox_support::{Cloud, Reply};

const PATH: &str = "/api/v1/oauth-clients";
const IMPERSONATION: &str = "urn:qlik:oauth:user-impersonation";
const JSON: (&str, &str) = ("content-type", "application/json");

fn made(cloud: &Cloud, host: &str, body: Value) -> Value {
    cloud.post(host, PATH, body).expect(StatusCode::CREATED)
}

fn token(cloud: &Cloud, host: &str, body: &Value) -> Reply {
    cloud.send(&Method::POST, host, "/oauth/token", &[JSON], body.to_string().into())
}

fn bearer(cloud: &Cloud, method: Method, host: &str, path: &str, token: &str, body: &Value) -> Reply {
    let bearer = format!("Bearer {token}");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    cloud.send(&method, host, path, &[("authorization", &bearer), JSON], body.into())
}

#[test]
fn one_is_made_changed_trusted_and_deleted() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let body = json!({"appType": "web", "clientName": "portal", "allowedScopes": ["user_default"]});
    let first = made(&cloud, &host, body.clone());
    let id = first["clientId"].as_str().unwrap();
    let secret = first["clientSecret"].as_str().unwrap();
    assert!(secret.ends_with(first["clientSecrets"][0]["hint"].as_str().unwrap()));
    assert_ne!(made(&cloud, &host, body)["clientId"], first["clientId"], "a repeat makes a second one");
    let path = format!("{PATH}/{id}");
    let steps = json!([
        {"op": "replace", "path": "/clientName", "value": "other"},
        {"op": "add", "path": "/redirectUris", "value": ["https://a.example/back"]},
        {"op": "remove", "path": "/allowedScopes"},
    ]);
    assert_eq!(cloud.patch(&host, &path, steps).status, 204);
    let held = cloud.get(&host, &path).expect(StatusCode::OK);
    assert_eq!((&held["clientName"], &held["redirectUris"]), (&json!("other"), &json!(["https://a.example/back"])));
    assert!(held.get("allowedScopes").is_none() && held.get("clientSecret").is_none(), "{held}");
    let consent = format!("{path}/connection-configs/me");
    assert_eq!(cloud.get(&host, &consent).expect(StatusCode::OK)["consentMethod"], "required");
    let step = json!([{"op": "replace", "path": "/consentMethod", "value": "trusted"}]);
    assert_eq!(cloud.patch(&host, &consent, step).status, 204);
    assert_eq!(cloud.get(&host, &consent).expect(StatusCode::OK)["consentMethod"], "trusted");
    assert_eq!(cloud.delete(&host, &consent).status, 204);
    assert_eq!(cloud.get(&host, &consent).expect(StatusCode::OK)["consentMethod"], "required");
    let published = cloud.post(&host, &format!("{path}/actions/publish"), Value::Null).expect(StatusCode::CREATED);
    assert_eq!(cloud.get(&host, &path).expect(StatusCode::OK)["publishedAt"], published["publishedAt"]);
    assert_eq!(cloud.delete(&host, &path).status, 400, "without the header that confirms");
    let bearer = format!("Bearer {}", cloud.token(&host));
    let headers = [("authorization", &*bearer), ("qlik-confirm-delete", id)];
    assert_eq!(cloud.send(&Method::DELETE, &host, &path, &headers, "".into()).status, 204);
    assert_eq!(cloud.get(&host, &path).status, 404);
}

#[test]
fn lists_are_filtered_and_sorted() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    for (name, kind) in [("b", "web"), ("a", "spa"), ("c", "web")] {
        made(&cloud, &host, json!({"appType": kind, "clientName": name}));
    }
    let names = |query: &str| -> Vec<String> {
        let list = cloud.get(&host, &format!("{PATH}?{query}")).expect(StatusCode::OK);
        list["data"].as_array().unwrap().iter().map(|held| held["clientName"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("sort=%2BclientName"), ["a", "b", "c"]);
    assert_eq!(names("filter=appType+eq+%22web%22"), ["b", "c"]);
    assert_eq!(names("filter=clientName+eq+%22A%22"), ["a"], "whatever the case");
    assert_eq!(cloud.get(&host, &format!("{PATH}?filter=description+eq+%22x%22")).status, 400);
}

#[test]
fn what_does_not_go_together_is_refused() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    for body in [
        json!({"appType": "web"}),
        json!({"appType": "web", "clientName": " "}),
        json!({"appType": "sap", "clientName": "x"}),
        json!({"appType": "spa", "clientName": "x", "allowedGrantTypes": ["client_credentials"]}),
        json!({"appType": "web", "clientName": "x", "allowedAuthMethods": ["private_key_jwt"]}),
        json!({"appType": "web", "clientName": "x", "redirectUris": ["a", "b", "c", "d", "e", "f"]}),
    ] {
        assert_eq!(cloud.post(&host, PATH, body.clone()).status, 400, "{body}");
    }
    assert_eq!(cloud.get(&host, &format!("{PATH}/nobody")).status, 404);
}

#[test]
fn a_client_has_at_most_five_secrets_each_good_until_it_is_deleted() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let body = json!({
        "appType": "web", "clientName": "m2m", "allowedScopes": ["admin_classic"],
        "allowedGrantTypes": ["client_credentials"],
    });
    let client = made(&cloud, &host, body);
    let id = client["clientId"].as_str().unwrap();
    let path = format!("{PATH}/{id}/client-secrets");
    let ask = |secret: &Value| {
        let body = json!({"client_id": id, "client_secret": secret, "grant_type": "client_credentials"});
        token(&cloud, &host, &body)
    };
    let second = cloud.post(&host, &path, Value::Null).expect(StatusCode::CREATED);
    for _ in 0..3 {
        cloud.post(&host, &path, Value::Null).expect(StatusCode::CREATED);
    }
    assert_eq!(cloud.post(&host, &path, Value::Null).status, 409);
    assert_eq!((ask(&client["clientSecret"]).status, ask(&second["clientSecret"]).status), (200, 200));
    let first = format!("{path}/{}", client["clientSecrets"][0]["hint"].as_str().unwrap());
    assert_eq!((cloud.delete(&host, &first).status, cloud.delete(&host, &first).status), (204, 404));
    assert_eq!((ask(&client["clientSecret"]).status, ask(&second["clientSecret"]).status), (401, 200));
    // Its token acts as a user of its own, and administers.
    let answer = ask(&second["clientSecret"]).expect(StatusCode::OK);
    let token = answer["access_token"].as_str().unwrap();
    let new = json!({"name": "Staging", "type": "shared"});
    assert_eq!(bearer(&cloud, Method::POST, &host, "/api/v1/spaces", token, &new).status, 201);
    let users = cloud.get(&host, &format!("/api/v1/users?filter=clientId+eq+%22{id}%22")).expect(StatusCode::OK);
    assert_eq!(users["data"][0]["subject"], format!("qlikbot\\{id}"));
    // When the client goes, so do its tokens.
    let admin = format!("Bearer {}", cloud.token(&host));
    let headers = [("authorization", &*admin), ("qlik-confirm-delete", id)];
    assert_eq!(cloud.send(&Method::DELETE, &host, &format!("{PATH}/{id}"), &headers, "".into()).status, 204);
    assert_eq!(bearer(&cloud, Method::GET, &host, "/api/v1/spaces", token, &Value::Null).status, 401);
}

#[test]
fn a_trusted_client_acts_as_a_user_that_exists() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let user = json!({"name": "Ada", "email": "ada@pulsewise.example", "subject": "pu|1", "status": "active"});
    let user = cloud.post(&host, "/api/v1/users", user).expect(StatusCode::CREATED);
    let client = |consent: bool, grants: Value| {
        let mut body = json!({
            "appType": "web", "clientName": "server", "allowedScopes": ["user_default"], "allowedGrantTypes": grants,
        });
        if consent {
            body["connectionConfig"] = json!({"consentMethod": "trusted"});
        }
        made(&cloud, &host, body)
    };
    let ask = |client: &Value, change: &dyn Fn(&mut Value)| {
        let mut body = json!({
            "client_id": client["clientId"], "client_secret": client["clientSecret"], "grant_type": IMPERSONATION,
            "user_lookup": {"field": "subject", "value": "pu|1"}, "scope": "user_default",
        });
        change(&mut body);
        token(&cloud, &host, &body)
    };
    let same = |_: &mut Value| {};
    assert_eq!(ask(&client(false, json!([IMPERSONATION])), &same).status, 403, "not trusted");
    assert_eq!(ask(&client(true, json!(["client_credentials"])), &same).status, 400, "not one of its grants");
    let server = client(true, json!([IMPERSONATION]));
    assert_eq!(ask(&server, &|body| body["user_lookup"]["value"] = json!("pu|2")).status, 400, "there is no such user");
    assert_eq!(ask(&server, &|body| body["scope"] = json!("admin_classic")).status, 400, "not one of its scopes");
    let without = |body: &mut Value| drop(body.as_object_mut().unwrap().remove("scope"));
    assert_eq!(ask(&server, &without).status, 400, "the scope is to be said");
    let by_id = |body: &mut Value| body["user_lookup"] = json!({"field": "userId", "value": user["id"]});
    for lookup in [&same as &dyn Fn(&mut Value), &by_id] {
        cloud.clock.forward(Duration::from_secs(1));
        let answer = ask(&server, lookup).expect(StatusCode::OK);
        assert_eq!(answer["scope"], "user_default");
        let token = answer["access_token"].as_str().unwrap();
        let me = bearer(
            &cloud,
            Method::GET,
            &host,
            &format!("/api/v1/users/{}", user["id"].as_str().unwrap()),
            token,
            &Value::Null,
        );
        assert_eq!(me.expect(StatusCode::OK)["subject"], "pu|1");
        let write =
            bearer(&cloud, Method::POST, &host, "/api/v1/spaces", token, &json!({"name": "x", "type": "shared"}));
        assert_eq!(write.status, 403, "roles of users are not simulated, so it only reads");
        let revoked =
            cloud.send(&Method::POST, &host, "/oauth/revoke", &[JSON], json!({"token": token}).to_string().into());
        assert_eq!(revoked.status, 200);
        assert_eq!(bearer(&cloud, Method::GET, &host, "/api/v1/spaces", token, &Value::Null).status, 401);
    }
    let nonsense = json!({"token": "none of ours"}).to_string();
    assert_eq!(cloud.send(&Method::POST, &host, "/oauth/revoke", &[JSON], nonsense.into()).status, 200);
}

#[test]
fn authorization_leads_to_the_login_or_back_with_an_error() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let client = json!({
        "appType": "spa", "clientName": "portal", "redirectUris": ["https://portal.example/back"],
        "allowedScopes": ["user_default"],
    });
    let client = cloud.post(&host, "/api/v1/oauth-clients", client).expect(StatusCode::CREATED);
    let id = client["clientId"].as_str().unwrap();
    let ask = |id: &str, kind: &str, more: &str| {
        let path = format!(
            "/oauth/authorize?client_id={id}&response_type={kind}&scope=user_default&state=s1&code_challenge_method=S256{more}"
        );
        cloud.send(&Method::GET, &host, &path, &[], Bytes::new())
    };
    let back = "&redirect_uri=https://portal.example/back";
    assert_eq!(ask(id, "code", back).header("location"), format!("https://{host}/login"));
    let silent = ask(id, "code", &format!("{back}&prompt=none"));
    assert_eq!(
        (silent.status, silent.header("location")),
        (302, "https://portal.example/back?error=login_required&state=s1")
    );
    let implicit = ask(id, "token", back);
    assert_eq!(implicit.header("location"), "https://portal.example/back?error=unsupported_response_type&state=s1");
    assert_eq!(ask("nobody", "code", back).status, 400);
    let bare = format!("/oauth/authorize?client_id={id}{back}");
    assert_eq!(cloud.send(&Method::GET, &host, &bare, &[], Bytes::new()).status, 400);
    assert_eq!(ask(id, "code", "&redirect_uri=https://elsewhere.example/").status, 400);
}

#[test]
fn a_client_for_anonymous_embedding_reads_as_nobody() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let client = json!({"appType": "anonymous-embed", "clientName": "page", "allowedScopes": ["user_default"]});
    let client = cloud.post(&host, "/api/v1/oauth-clients", client).expect(StatusCode::CREATED);
    let token = |id: &str| {
        let body = json!({"eac": "x", "client_id": id, "grant_type": "urn:qlik:oauth:anonymous-embed"}).to_string();
        let headers = [("content-type", "application/json")];
        cloud.send(&Method::POST, &host, "/oauth/token/anonymous-embed", &headers, body.into())
    };
    let token = token(client["clientId"].as_str().unwrap()).expect(StatusCode::OK);
    let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
    let headers = [("authorization", &*bearer), ("content-type", "application/json")];
    cloud.send(&Method::GET, &host, "/api/v1/spaces", &headers, Bytes::new()).expect(StatusCode::OK);
    let body = json!({"name": "Mine", "type": "shared"}).to_string();
    cloud.send(&Method::POST, &host, "/api/v1/spaces", &headers, body.into()).expect(StatusCode::FORBIDDEN);
}

#[test]
fn tokens_that_act_as_users_are_listed_and_given_up_one_by_one() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let users: Vec<Value> = ["pu|1", "pu|2"]
        .map(|subject| {
            cloud
                .post(&host, "/api/v1/users", json!({"name": subject, "subject": subject, "status": "active"}))
                .expect(StatusCode::CREATED)
        })
        .into();
    let body = json!({
        "appType": "web", "clientName": "portal", "allowedScopes": ["user_default"],
        "allowedGrantTypes": [IMPERSONATION],
    });
    let client = made(&cloud, &host, body);
    let id = client["clientId"].as_str().unwrap();
    let trust = json!([{"op": "replace", "path": "/consentMethod", "value": "trusted"}]);
    assert_eq!(cloud.patch(&host, &format!("{PATH}/{id}/connection-configs/me"), trust).status, 204);
    let list = |query: &str| cloud.get(&host, &format!("/api/v1/oauth-tokens{query}")).expect(StatusCode::OK);
    assert_eq!(list("")["data"], json!([]), "what a client gets for itself is none of them");

    let issue = |subject: &str| {
        cloud.clock.forward(Duration::from_secs(1));
        let ask = json!({
            "client_id": client["clientId"], "client_secret": client["clientSecret"], "grant_type": IMPERSONATION,
            "user_lookup": {"field": "subject", "value": subject}, "scope": "user_default",
        });
        let answer = token(&cloud, &host, &ask).expect(StatusCode::OK);
        answer["access_token"].as_str().unwrap().to_owned()
    };
    let tokens = ["pu|2", "pu|1", "pu|1"].map(issue);
    let listed = list("");
    let owners: Vec<_> = listed["data"].as_array().unwrap().iter().map(|token| token["userId"].clone()).collect();
    let mut expected = [&users[0], &users[0], &users[1]].map(|user| user["id"].clone());
    expected.sort_by_key(Value::to_string);
    assert_eq!(owners, expected, "by their users");
    let first = list("?limit=1");
    assert_eq!(first["data"][0], listed["data"][0]);
    assert!(first["links"]["next"]["href"].as_str().unwrap().contains("/oauth-tokens?"), "{first}");
    let told = listed["data"][0].as_object().unwrap();
    assert_eq!(told.keys().collect::<Vec<_>>(), ["id", "userId", "tenantId", "description"]);
    assert_eq!(told["description"], "portal");
    let of_second = list(&format!("?userId={}", users[1]["id"].as_str().unwrap()));
    assert_eq!(of_second["data"].as_array().unwrap().len(), 1);

    // A user sees its own.
    let own = bearer(&cloud, Method::GET, &host, "/api/v1/oauth-tokens", &tokens[0], &Value::Null);
    assert_eq!(own.expect(StatusCode::OK)["data"], of_second["data"]);

    let path = format!("/api/v1/oauth-tokens/{}", of_second["data"][0]["id"].as_str().unwrap());
    let by_user = bearer(&cloud, Method::DELETE, &host, &path, &tokens[1], &Value::Null);
    assert_eq!(by_user.status, 403, "who acts as a user only reads");
    assert_eq!(cloud.delete(&host, &path).status, 204);
    assert_eq!(cloud.delete(&host, &path).status, 404, "it is given up once");
    let spaces = |token: &str| bearer(&cloud, Method::GET, &host, "/api/v1/spaces", token, &Value::Null).status;
    assert_eq!(tokens.each_ref().map(|token| spaces(token)), [401, 200, 200]);
    let given_up =
        cloud.send(&Method::POST, &host, "/oauth/revoke", &[JSON], json!({"token": tokens[1]}).to_string().into());
    assert_eq!((given_up.status, list("")["data"].as_array().unwrap().len()), (200, 1));

    // They end with their time, and with their user.
    cloud.clock.forward(Duration::from_secs(6 * 3600));
    assert_eq!(list("")["data"], json!([]));
    issue("pu|2");
    let user = format!("/api/v1/users/{}", users[1]["id"].as_str().unwrap());
    assert_eq!(cloud.delete(&host, &user).status, 204);
    assert_eq!(list("")["data"], json!([]));
}
