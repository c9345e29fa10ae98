//! Several organizations in one sandbox, the reach of their clients, and what scopes allow.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tenantry::sandbox::{Client, Estate, Reach, Sandbox, State};

use crate::sandbox_support::{CONSOLE, Cloud, Hand, REGISTER, Reply, settings};

const TWO: &str = r#"
[[organizations]]
name = "halyard"
tenants = 1
seats = { professional = 3 }
console = {}
regions.eu = {}
regions.uk = { client_id = "halyard-uk", client_secret = "s3cret" }

[[organizations]]
name = "northwind"
license_key = "northwind-key"
"#;

const UK: &str = "register.uk.qlikcloud.com";
const JSON: (&str, &str) = ("content-type", "application/json");

struct Two {
    cloud: Cloud,
    keys: [String; 2],
    clients: [Vec<Client>; 2],
}

impl Two {
    fn new() -> Self {
        Self::around(Cloud::with(|settings| settings.estate = Some(Estate::parse(TWO).unwrap())))
    }

    fn around(cloud: Cloud) -> Self {
        let [first, second] = <[_; 2]>::try_from(cloud.sandbox.organizations()).unwrap();
        assert_eq!((&*first.0, &*second.0), ("halyard", "northwind"));
        Self { cloud, keys: [first.1, second.1], clients: [first.2, second.2] }
    }

    fn client(&self, organization: usize, reach: Reach) -> &Client {
        self.clients[organization].iter().find(|client| client.reach == reach).unwrap()
    }

    #[track_caller]
    fn ask(&self, client: &Client, host: &str, scope: &str) -> Reply {
        let mut body = json!({
            "client_id": client.id, "client_secret": client.secret, "grant_type": "client_credentials",
        });
        if !scope.is_empty() {
            body["scope"] = json!(scope);
        }
        self.cloud.send(&Method::POST, host, "/oauth/token", &[JSON], body.to_string().into())
    }

    #[track_caller]
    fn token(&self, client: &Client, host: &str, scope: &str) -> String {
        let body = self.ask(client, host, scope).expect(StatusCode::OK);
        format!("Bearer {}", body["access_token"].as_str().unwrap())
    }

    #[track_caller]
    fn send(&self, token: &str, method: Method, host: &str, path: &str, body: &Value) -> Reply {
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        self.cloud.send(&method, host, path, &[("authorization", token), JSON], body)
    }

    #[track_caller]
    fn make(&self, token: &str, host: &str, key: &str) -> Reply {
        self.send(token, Method::POST, host, "/api/v1/tenants", &json!({"licenseKey": key}))
    }
}

fn host(tenant: &Value) -> &str {
    tenant["hostnames"][0].as_str().unwrap()
}

#[test]
fn each_client_acts_where_it_may_and_nowhere_else() {
    let two = Two::new();
    let (eu, console) = (two.client(0, Reach::Region("eu")), two.client(0, Reach::Console));
    for (client, host, status) in [
        (eu, REGISTER, 200),
        (eu, UK, 401),
        (eu, CONSOLE, 401),
        (console, CONSOLE, 200),
        (console, REGISTER, 401),
        (two.client(0, Reach::Region("uk")), UK, 200),
        (two.client(1, Reach::Everywhere), UK, 200),
        (two.client(1, Reach::Everywhere), CONSOLE, 200),
    ] {
        assert_eq!(two.ask(client, host, "").status, status, "{client:?} on {host}");
    }
    assert_eq!(two.client(0, Reach::Region("uk")).id, "halyard-uk");
}

#[test]
fn organizations_share_nothing_but_host_names() {
    let two = Two::new();
    let (eu, other) = (two.client(0, Reach::Region("eu")), two.client(1, Reach::Everywhere));
    let (ours, theirs) = (two.token(eu, REGISTER, ""), two.token(other, REGISTER, ""));
    let refused = two.make(&ours, REGISTER, &two.keys[1]);
    assert_eq!((refused.status, &*refused.code()), (403, "TENANTS-23"), "another's licence");
    let first = two.make(&ours, REGISTER, &two.keys[0]).expect(StatusCode::CREATED);
    let full = two.make(&ours, REGISTER, &two.keys[0]);
    assert_eq!((full.status, &*full.code()), (403, "TENANTS-22"), "its own quota");
    let second = two.make(&theirs, REGISTER, &two.keys[1]).expect(StatusCode::CREATED);
    assert_eq!(two.ask(other, host(&first), "").status, 401, "another's tenant");
    let path = format!("/api/v1/tenants/{}", second["id"].as_str().unwrap());
    two.send(&ours, Method::GET, REGISTER, &path, &Value::Null).expect(StatusCode::NOT_FOUND);

    let listed = |client: &Client| {
        let token = two.token(client, CONSOLE, "");
        let body = two.send(&token, Method::GET, CONSOLE, "/api/core/tenants", &Value::Null).expect(StatusCode::OK);
        body["data"].as_array().unwrap().iter().map(|tenant| tenant["id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(listed(two.client(0, Reach::Console)), [first["id"].clone()]);
    assert_eq!(listed(other), [second["id"].clone()]);

    let overview = |client: &Client, host: &str| {
        let token = two.token(client, host, "");
        two.send(&token, Method::GET, host, "/api/v1/licenses/overview", &Value::Null).expect(StatusCode::OK)
    };
    let (mine, yours) = (overview(eu, host(&first)), overview(other, host(&second)));
    assert_eq!(
        mine["allotments"],
        json!([
            {"name": "professional", "units": 3, "unitsUsed": 1, "overage": 0, "usageClass": "assigned"},
        ]),
        "the bot's seat"
    );
    assert_eq!(yours["licenseKey"], "northwind-key");
    let of =
        |kind: &str| yours["allotments"].as_array().unwrap().iter().find(|held| held["name"] == kind).unwrap().clone();
    assert_eq!(of("professional")["unitsUsed"], 1);

    let alias = json!([{"op": "replace", "path": "/hostnames/1", "value": "acme.eu.qlikcloud.com"}]);
    let change = |client: &Client, tenant: &Value| {
        let token = two.token(client, host(tenant), "");
        let path = format!("/api/v1/tenants/{}", tenant["id"].as_str().unwrap());
        two.send(&token, Method::PATCH, host(tenant), &path, &alias).status
    };
    assert_eq!((change(eu, &first), change(other, &second)), (204, 400), "names are unique over all");
}

#[test]
fn each_client_has_its_own_bot_in_a_tenant() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let client = json!({
        "appType": "web", "clientName": "second", "allowedScopes": ["admin_classic"],
        "allowedGrantTypes": ["client_credentials"],
    });
    let made = cloud.post(&host, "/api/v1/oauth-clients", client).expect(StatusCode::CREATED);
    let body = json!({
        "client_id": made["clientId"], "client_secret": made["clientSecret"], "grant_type": "client_credentials",
    });
    for _ in 0..2 {
        cloud.send(&Method::POST, &host, "/oauth/token", &[JSON], body.to_string().into()).expect(StatusCode::OK);
    }
    let users = cloud.get(&host, "/api/v1/users").expect(StatusCode::OK);
    let subjects: Vec<_> =
        users["data"].as_array().unwrap().iter().map(|user| user["subject"].as_str().unwrap()).collect();
    let expected = [cloud.sandbox.credentials().client_id, made["clientId"].as_str().unwrap().to_owned()];
    assert_eq!(subjects, expected.map(|id| format!("qlikbot\\{id}")));
}

#[test]
fn a_token_does_what_its_scopes_allow() {
    let two = Two::new();
    let client = two.client(1, Reach::Everywhere);
    let key = &*two.keys[1];
    let narrow = two.token(client, REGISTER, "tenants:deactivate");
    let refused = two.make(&narrow, REGISTER, key);
    assert_eq!((refused.status, &*refused.code()), (403, "HTTP-403"));
    assert!(refused.body["errors"][0]["detail"].as_str().unwrap().contains("tenants:create"));
    let tenant = two.make(&two.token(client, REGISTER, "tenants:create"), REGISTER, key).expect(StatusCode::CREATED);
    let end = format!("/api/v1/tenants/{}/actions/deactivate", tenant["id"].as_str().unwrap());
    let makes = two.token(client, REGISTER, "tenants:create");
    two.send(&makes, Method::POST, REGISTER, &end, &json!({})).expect(StatusCode::FORBIDDEN);

    let host = host(&tenant);
    let space = json!({"name": "Sales", "type": "shared"});
    let bare = two.token(client, host, "tenants:create");
    two.send(&bare, Method::POST, host, "/api/v1/spaces", &space).expect(StatusCode::FORBIDDEN);
    let full = two.token(client, host, "");
    let own = json!({
        "appType": "web", "clientName": "spaces only", "allowedScopes": ["admin.spaces"],
        "allowedGrantTypes": ["client_credentials"],
    });
    let own = two.send(&full, Method::POST, host, "/api/v1/oauth-clients", &own).expect(StatusCode::CREATED);
    let body = json!({
        "client_id": own["clientId"], "client_secret": own["clientSecret"], "grant_type": "client_credentials",
    });
    let answer = two.cloud.send(&Method::POST, host, "/oauth/token", &[JSON], body.to_string().into());
    let token = format!("Bearer {}", answer.expect(StatusCode::OK)["access_token"].as_str().unwrap());
    two.send(&token, Method::POST, host, "/api/v1/spaces", &space).expect(StatusCode::CREATED);
    let group = json!({"name": "g", "status": "active"});
    two.send(&token, Method::POST, host, "/api/v1/groups", &group).expect(StatusCode::FORBIDDEN);
    two.send(&token, Method::GET, host, "/api/v1/groups", &Value::Null).expect(StatusCode::OK);
}

#[test]
fn an_estate_is_kept_with_its_state() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Hand::at("2026-11-24T08:00:00Z");
    let open = |estate: &str| {
        let mut settings = settings(&clock);
        settings.random = tenantry::surroundings::Random::from_system();
        settings.estate = Some(Estate::parse(estate).unwrap());
        let sandbox = Sandbox::open(&folder.path().join("sandbox.db"), settings).unwrap();
        Two::around(Cloud { sandbox, clock: clock.clone() })
    };
    let two = open(TWO);
    let other = two.client(1, Reach::Everywhere).clone();
    let made = two.make(&two.token(&other, REGISTER, ""), REGISTER, &two.keys[1]).expect(StatusCode::CREATED);
    let (keys, clients) = (two.keys.clone(), two.clients.clone());
    drop(two);
    let two = open(TWO);
    assert_eq!((&two.keys, &two.clients), (&keys, &clients), "what was made up stays");
    two.token(&other, host(&made), "");
    let state = two.cloud.sandbox.snapshot();
    assert_eq!(State::from_json(&state.to_json()).unwrap(), state);
    assert_eq!(state.tenants(), [made["id"].as_str().unwrap()]);
}

#[test]
fn a_text_that_is_no_estate_is_refused_with_its_reason() {
    for (text, reason) in [
        ("", "organizations"),
        ("organizations = []", "there is no organization"),
        ("[[organizations]]\nname = \"A b\"", "small letters"),
        ("[[organizations]]\nname = \"a\"\n[[organizations]]\nname = \"a\"", "twice"),
        ("[[organizations]]\nname = \"a\"\nregions.mars = {}", "no region `mars`"),
        ("[[organizations]]\nname = \"a\"\nseat = 1", "unknown field `seat`"),
        ("[[organizations]]\nname = \"a\"\nedition = \"gold\"", "gold"),
        (
            "[[organizations]]\nname = \"a\"\nconsole.client_id = \"x\"\nregions.eu.client_id = \"x\"",
            "must be told apart",
        ),
    ] {
        let error = Estate::parse(text).unwrap_err().to_string();
        assert!(error.contains(reason), "{text:?}: {error}");
    }
}
