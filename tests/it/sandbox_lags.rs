//! How far parts of the sandbox lag behind, and its rate limits: both switched on by a file.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tenantry::sandbox::FaultFile;

use crate::sandbox_support::{Cloud, Reply};

/// A cloud that a file of faults says of how it lags, and a tenant in it.
struct Home {
    cloud: Cloud,
    host: String,
    token: String,
}

impl Home {
    fn new(file: &str) -> Self {
        let file = FaultFile::parse(file).unwrap();
        let cloud = Cloud::with(|settings| {
            settings.lags = file.lags();
            settings.limits = file.limits();
        });
        let host = cloud.tenant_host();
        let token = cloud.token(&host);
        Self { cloud, host, token }
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Reply {
        self.ask_as(&self.token, method, path, body).await
    }

    async fn ask_as(&self, token: &str, method: Method, path: &str, body: Value) -> Reply {
        let request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.host))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", if body.is_string() { "application/octet-stream" } else { "application/json" });
        let bytes = match &body {
            Value::Null => Bytes::new(),
            Value::String(text) => text.clone().into(),
            json => json.to_string().into(),
        };
        Reply::of(self.cloud.sandbox.exchange(request.body(bytes).unwrap()).await.unwrap())
    }

    async fn space(&self, name: &str, kind: &str) -> String {
        let made = self.ask(Method::POST, "/api/v1/spaces", json!({"name": name, "type": kind})).await;
        made.expect(StatusCode::CREATED)["id"].as_str().unwrap().to_owned()
    }

    /// A new app in this space; its id.
    async fn app(&self, space: &str) -> String {
        let path = format!("/api/v1/apps/import?spaceId={space}&name=Fleet");
        let made = self.ask(Method::POST, &path, json!("{}")).await;
        made.expect(StatusCode::OK)["attributes"]["id"].as_str().unwrap().to_owned()
    }

    async fn reads(&self, count: usize) -> Vec<u16> {
        let mut statuses = Vec::new();
        for _ in 0..count {
            statuses.push(self.ask(Method::GET, "/api/v1/spaces", Value::Null).await.status);
        }
        statuses
    }

    fn forward(&self, seconds: u64) {
        self.cloud.clock.forward(Duration::from_secs(seconds));
    }
}

#[tokio::test]
async fn a_new_app_is_in_the_index_later() {
    let home = Home::new("[lags]\nindex = 5");
    let space = home.space("Staging", "shared").await;
    home.app(&space).await;
    let found = async || {
        let items = home.ask(Method::GET, "/api/v1/items?resourceType=app", Value::Null).await;
        items.expect(StatusCode::OK)["data"].as_array().unwrap().len()
    };
    assert_eq!(found().await, 0);
    home.forward(5);
    assert_eq!(found().await, 1);
}

#[tokio::test]
async fn a_new_space_cannot_be_published_to_at_once() {
    let home = Home::new("[lags]\npublish = 3");
    let (staging, live) = (home.space("Staging", "shared").await, home.space("Live", "managed").await);
    let app = home.app(&staging).await;
    let publish = async || {
        let body = json!({"spaceId": live});
        home.ask(Method::POST, &format!("/api/v1/apps/{app}/publish"), body).await.status
    };
    assert_eq!(publish().await, 404);
    home.forward(3);
    assert_eq!(publish().await, 200);
}

#[tokio::test]
async fn readers_by_a_group_see_a_published_app_later() {
    let home = Home::new("[lags]\nreaders = 120");
    let (staging, live) = (home.space("Staging", "shared").await, home.space("Live", "managed").await);
    let post = async |path: &str, body: Value| home.ask(Method::POST, path, body).await.expect(StatusCode::CREATED);
    let group = post("/api/v1/groups", json!({"name": "readers", "status": "active", "providerType": "custom"})).await;
    let member = post("/api/v1/users", json!({"subject": "hb|ada", "status": "active"})).await;
    let direct = post("/api/v1/users", json!({"subject": "hb|bea", "status": "active"})).await;
    let path = format!("/api/v1/users/{}", member["id"].as_str().unwrap());
    let groups = json!([{"op": "add", "path": "/assignedGroups/-", "value": {"id": group["id"]}}]);
    assert_eq!(home.ask(Method::PATCH, &path, groups).await.status, 204);
    let assignments = format!("/api/v1/spaces/{live}/assignments");
    for (kind, id) in [("group", &group["id"]), ("user", &direct["id"])] {
        post(&assignments, json!({"type": kind, "assigneeId": id, "roles": ["consumer"]})).await;
    }
    let client = json!({
        "clientName": "server", "appType": "web", "allowedScopes": ["user_default"],
        "allowedGrantTypes": ["urn:qlik:oauth:user-impersonation"], "connectionConfig": {"consentMethod": "trusted"},
    });
    let client = post("/api/v1/oauth-clients", client).await;
    let token = async |user: &Value| {
        let body = json!({
            "client_id": client["clientId"], "client_secret": client["clientSecret"], "scope": "user_default",
            "grant_type": "urn:qlik:oauth:user-impersonation",
            "user_lookup": {"field": "userId", "value": user["id"]},
        });
        let answer = home.ask(Method::POST, "/oauth/token", body).await;
        answer.expect(StatusCode::OK)["access_token"].as_str().unwrap().to_owned()
    };
    let app = home.app(&staging).await;
    let published = home.ask(Method::POST, &format!("/api/v1/apps/{app}/publish"), json!({"spaceId": live})).await;
    let path = format!("/api/v1/apps/{}", published.expect(StatusCode::OK)["attributes"]["id"].as_str().unwrap());
    let (member, direct) = (token(&member).await, token(&direct).await);
    let sees = async |token: &str| home.ask_as(token, Method::GET, &path, Value::Null).await.status;
    assert_eq!((sees(&member).await, sees(&direct).await, sees(&home.token).await), (403, 200, 200));
    home.forward(120);
    assert_eq!(sees(&member).await, 200);
}

#[tokio::test]
async fn the_first_call_wakes_a_tenants_automations() {
    let home = Home::new("[lags]\nautomations = 2");
    let ask = async |path: &str| home.ask(Method::GET, path, Value::Null).await;
    let asleep = ask("/api/workflows/automations").await;
    assert_eq!((asleep.status, asleep.code()), (503, "HTTP-503".to_owned()));
    assert_eq!(ask("/api/v1/spaces").await.status, 200, "nothing else sleeps");
    home.forward(1);
    assert_eq!(ask("/api/v1/automation-connections").await.status, 503);
    home.forward(1);
    assert_eq!(ask("/api/workflows/automations").await.status, 200);
    home.forward(3_600);
    assert_eq!(ask("/api/v1/automations").await.status, 200);
}

#[tokio::test]
async fn each_tier_has_its_limit_and_says_how_long_to_wait() {
    let home = Home::new("[limits]\ntiers = true");
    let reads = home.reads(5_001).await;
    assert!(reads[..5_000].iter().all(|status| *status == 200));
    home.forward(100);
    let late = home.ask(Method::GET, "/api/v1/groups", Value::Null).await;
    assert_eq!((late.status, late.code()), (429, "HTTP-429".to_owned()));
    assert_eq!(
        late.header("retry-after"),
        "201",
        "the whole tier has to wait until the first of them is five minutes old"
    );
    assert_eq!(late.body["errors"][0]["detail"], "You need to wait 201 seconds until limit is lifted.");
    home.space("Staging", "shared").await;
    home.forward(201);
    assert_eq!(home.reads(1).await, [200]);
}

#[tokio::test]
async fn an_operation_may_have_a_limit_of_its_own() {
    let home = Home::new("[limits]\ntiers = true");
    let mut statuses = Vec::new();
    for _ in 0..51 {
        let body = json!({"appId": "00000000-0000-4000-8000-000000000000"});
        statuses.push(home.ask(Method::POST, "/api/v1/reloads", body).await.status);
    }
    assert!(statuses[..50].iter().all(|status| *status == 403), "{statuses:?}");
    assert_eq!(statuses[50], 429);
    home.space("Staging", "shared").await;
}

#[tokio::test]
async fn a_tenant_of_one_user_allows_half_of_what_a_user_may() {
    let home = Home::new("[limits]\ntenant = true");
    let reads = home.reads(2_501).await;
    assert_eq!((reads[2_499], reads[2_500]), (200, 429));
    let body = json!({"subject": "hb|ada", "status": "active"});
    home.ask(Method::POST, "/api/v1/users", body).await.expect(StatusCode::CREATED);
    assert_eq!(home.reads(1).await, [200], "two users, two halves");
}

#[tokio::test]
async fn without_a_word_nothing_lags_and_nothing_is_limited() {
    let home = Home::new("");
    assert!(home.reads(5_100).await.iter().all(|status| *status == 200));
    let (staging, live) = (home.space("Staging", "shared").await, home.space("Live", "managed").await);
    let app = home.app(&staging).await;
    let body = json!({"spaceId": live});
    assert_eq!(home.ask(Method::POST, &format!("/api/v1/apps/{app}/publish"), body).await.status, 200);
    assert_eq!(home.ask(Method::GET, "/api/workflows/automations", Value::Null).await.status, 200);
}
