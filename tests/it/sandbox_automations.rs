//! Automations of the sandbox, their runs and their connections, in both generations of the API.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::sandbox_support::{Cloud, Reply};

const OLD: &str = "/api/v1";
const NEW: &str = "/api/workflows";
const AIRTABLE: &str = "0d87347d-27c0-11ea-921c-022e6b5ea1e2";
const GITHUB: &str = "0d87808f-27c0-11ea-921c-022e6b5ea1e2";

struct Home {
    cloud: Cloud,
    host: String,
}

impl Home {
    fn new() -> Self {
        let cloud = Cloud::new();
        let host = cloud.tenant_host();
        Self { cloud, host }
    }

    fn call(&self, method: Method, path: &str, body: Value) -> Reply {
        self.cloud.call(method, &self.host, path, body)
    }

    fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, Value::Null)
    }

    fn post(&self, path: &str, body: Value) -> Reply {
        self.call(Method::POST, path, body)
    }

    /// A new automation whose workspace is this; its id.
    #[track_caller]
    fn automation(&self, name: &str, workspace: &Value) -> String {
        let body = json!({"name": name, "workspace": workspace});
        let made = self.post(&format!("{NEW}/automations"), body).expect(StatusCode::CREATED);
        made["id"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn run(&self, automation: &str) -> Value {
        let path = format!("{NEW}/automations/{automation}/runs");
        self.post(&path, json!({"context": "api"})).expect(StatusCode::CREATED)
    }

    #[track_caller]
    fn status(&self, automation: &str, run: &Value) -> String {
        let path = format!("{NEW}/automations/{automation}/runs/{}", run["id"].as_str().unwrap());
        self.get(&path).expect(StatusCode::OK)["status"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn names(&self, path: &str) -> Vec<String> {
        self.cloud.names(&self.host, path)
    }

    fn me(&self) -> String {
        let users = self.get("/api/v1/users").expect(StatusCode::OK);
        users["data"][0]["id"].as_str().unwrap().to_owned()
    }

    /// The token of a client of the tenant's own that administers it, besides this scope.
    #[track_caller]
    fn other(&self, scope: &str) -> String {
        let body = json!({
            "clientName": "m2m", "appType": "web", "allowedGrantTypes": ["client_credentials"],
            "allowedScopes": ["admin_classic", scope], "connectionConfig": {"consentMethod": "trusted"},
        });
        let client = self.post("/api/v1/oauth-clients", body).expect(StatusCode::CREATED);
        let body = json!({
            "client_id": client["clientId"], "client_secret": client["clientSecret"], "grant_type": "client_credentials",
        });
        let headers = [("content-type", "application/json")];
        let reply = self.cloud.send(&Method::POST, &self.host, "/oauth/token", &headers, body.to_string().into());
        reply.expect(StatusCode::OK)["access_token"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn with(&self, token: &str, method: &Method, path: &str, body: &Value) -> Reply {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", &*bearer), ("content-type", "application/json")];
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        self.cloud.send(method, &self.host, path, &headers, body)
    }

    fn forward(&self, milliseconds: u64) {
        self.cloud.clock.forward(Duration::from_millis(milliseconds));
    }
}

/// What a webhook starts: its first block says so, and what it uses.
fn workspace(connection: &Value) -> Value {
    json!({
        "blocks": [
            {"id": "A", "type": "StartBlock", "inputs": [{"id": "run_mode", "type": "select", "value": "webhook"}]},
            {
                "id": "B", "type": "EndpointBlock", "endpoint_guid": "590a1a20-6d2e-11eb-9714-df1bbaac055d",
                "datasourcetype_guid": "61a87510-c7a3-11ea-95da-0fb0c241e75c",
                "settings": [{"id": "datasource", "type": "select", "value": connection}],
            },
        ],
        "variables": [],
    })
}

#[test]
fn both_generations_see_the_same_automations() {
    let home = Home::new();
    // As Qlik's tutorial posts what it exported from another tenant.
    let exported = json!({
        "id": "74b4a630-8225-11ed-a03f-afd11588e895", "ownerId": "637390ec6541614d3a88d6c1", "name": "Greet",
        "state": "disabled", "description": "Says hello", "executionToken": "of another", "runMode": "webhook",
        "schedules": [{"id": "74c5be00-8225-11ed-b81c-77de9cdb8edd", "startAt": null, "stopAt": null, "lastStartAt": null,
                       "interval": -1, "timezone": "Europe/London"}],
        "workspace": workspace(&Value::Null), "lastRun": {"status": "finished"}, "createdAt": "2022-12-22T18:21:30.000000Z",
    });
    let made = home.post(&format!("{OLD}/automations"), exported.clone()).expect(StatusCode::CREATED);
    let id = made["id"].as_str().unwrap();
    assert_ne!(made["id"], exported["id"]);
    assert_eq!(
        (&made["state"], &made["runMode"], &made["ownerId"]),
        (&json!("available"), &json!("webhook"), &json!(home.me()))
    );
    assert_eq!(made["createdAt"], "2026-11-24T08:00:00.000000Z");
    assert_eq!(made["schedules"][0]["interval"], -1);
    assert_eq!(made["connectorIds"], json!(["61a87510-c7a3-11ea-95da-0fb0c241e75c"]));
    assert_eq!(made["executionToken"].as_str().unwrap().len(), 64);
    assert!(made.get("lastRun").is_none(), "{made}");
    let read = home.get(&format!("{NEW}/automations/{id}")).expect(StatusCode::OK);
    assert_eq!(read, made);
    let listed = home.get(&format!("{NEW}/automations?filter=name%20eq%20%22greet%22")).expect(StatusCode::OK);
    assert_eq!(listed["data"][0]["id"], made["id"]);
    assert!(listed["data"][0].get("workspace").is_none() && listed["data"][0].get("executionToken").is_none());
    let change = json!({"name": "Greet all", "workspace": {"blocks": []}, "maxConcurrentRuns": 2});
    home.forward(1_000);
    let changed = home.call(Method::PUT, &format!("{NEW}/automations/{id}"), change).expect(StatusCode::OK);
    assert_eq!(
        (&changed["name"], &changed["description"], &changed["runMode"]),
        (&json!("Greet all"), &json!(""), &json!("manual"))
    );
    assert_eq!(changed["updatedAt"], "2026-11-24T08:00:01.000000Z");
    assert_eq!(changed["executionToken"], made["executionToken"]);
    assert_eq!(home.call(Method::DELETE, &format!("{OLD}/automations/{id}"), Value::Null).status, 204);
    assert_eq!(home.get(&format!("{NEW}/automations/{id}")).status, 404);
}

#[test]
fn automations_are_listed_sorted_and_paged() {
    let home = Home::new();
    for name in ["Tidy", "Greet", "Tidy"] {
        home.automation(name, &json!({}));
    }
    let path = format!("{NEW}/automations");
    assert_eq!(home.names(&path), ["Tidy", "Greet", "Tidy"], "names may repeat");
    assert_eq!(home.names(&format!("{path}?sort=%2Bname")), ["Greet", "Tidy", "Tidy"]);
    assert_eq!(home.names(&format!("{path}?sort=-id")), ["Tidy", "Greet", "Tidy"]);
    assert_eq!(
        home.names(&format!("{path}?filter=name%20eq%20%22Greet%22%20and%20runMode%20eq%20%22manual%22")),
        ["Greet"]
    );
    let page = home.get(&format!("{path}?limit=2")).expect(StatusCode::OK);
    let next = page["links"]["next"]["href"].as_str().unwrap();
    let rest = next.strip_prefix(&format!("https://{}", home.host)).unwrap();
    assert_eq!(home.names(rest), ["Tidy"]);
    for wrong in ["limit=201", "sort=workspace", "filter=description%20eq%20%22x%22"] {
        assert_eq!(home.get(&format!("{path}?{wrong}")).status, 400, "{wrong}");
    }
    for body in [
        json!({"name": " "}),
        json!({"name": "x", "workspace": 1}),
        json!({"name": "x", "maxConcurrentRuns": 11}),
        json!({"name": "x", "spaceId": "none"}),
        json!({"name": "x", "schedules": [{"interval": 90}]}),
    ] {
        assert_eq!(home.post(&path, body.clone()).status, 400, "{body}");
    }
    assert_eq!(home.names(&path).len(), 3);
}

#[test]
fn a_run_takes_its_time_and_ends_as_its_stand_in_says() {
    let home = Home::new();
    let good = home.automation("Greet", &json!({"run": {"seconds": 60}}));
    let run = home.run(&good);
    assert_eq!((&run["status"], &run["context"]), (&json!("not started"), &json!("api_async")));
    for (milliseconds, status) in [(200, "starting"), (100, "running"), (60_000, "finished")] {
        home.forward(milliseconds);
        assert_eq!(home.status(&good, &run), status);
    }
    let read = home.get(&format!("{OLD}/automations/{good}")).expect(StatusCode::OK);
    assert_eq!(
        (&read["lastRunStatus"], &read["lastRunAt"]),
        (&json!("finished"), &json!("2026-11-24T08:01:00.300000Z"))
    );
    let runs =
        home.get(&format!("{OLD}/automations/{good}/runs?filter=status%20eq%20%22finished%22")).expect(StatusCode::OK);
    assert_eq!(runs["data"][0]["duration"], 60);
    let bad = home.automation("Fail", &json!({"run": {"error": "Space not found"}}));
    let run = home.run(&bad);
    home.forward(5_000);
    let path = format!("{NEW}/automations/{bad}/runs/{}", run["id"].as_str().unwrap());
    let failed = home.get(&path).expect(StatusCode::OK);
    assert_eq!((&failed["status"], &failed["error"]), (&json!("failed"), &json!([{"message": "Space not found"}])));
    let url = home.post(&format!("{path}/actions/export"), Value::Null).expect(StatusCode::OK);
    assert_eq!(url["url"], format!("https://{}{path}/debug", home.host));
    let log = home.get(&format!("{path}/debug"));
    assert!(String::from_utf8_lossy(&log.bytes).contains("Error: Space not found"), "{log:?}");
    let odd = home.automation("Warn", &json!({"run": {"status": "finished with warnings"}}));
    let run = home.run(&odd);
    home.forward(5_000);
    assert_eq!(home.status(&odd, &run), "finished with warnings");
}

#[test]
fn runs_are_stopped_retried_queued_and_refused() {
    let home = Home::new();
    let id = home.automation("Greet", &json!({"run": {"seconds": 60}}));
    let (first, second) = (home.run(&id), home.run(&id));
    assert_eq!(home.status(&id, &second), "queued", "one at a time");
    home.forward(61_000);
    assert_eq!((home.status(&id, &first), home.status(&id, &second)), ("finished".to_owned(), "running".to_owned()));
    let of = |run: &Value, action: &str| {
        let run = run["id"].as_str().unwrap();
        home.post(&format!("{OLD}/automations/{id}/runs/{run}/actions/{action}"), Value::Null).status
    };
    assert_eq!(of(&second, "stop"), 204);
    assert_eq!(home.status(&id, &second), "stopped");
    assert_eq!((of(&second, "stop"), of(&second, "retry")), (400, 204));
    let path = format!("{NEW}/automations/{id}");
    let runs = home.get(&format!("{path}/runs?sort=-id&limit=1")).expect(StatusCode::OK);
    assert_eq!(runs["data"][0]["status"], "not started");
    assert_eq!(home.post(&format!("{path}/actions/disable"), Value::Null).status, 204);
    assert_eq!(home.get(&path).expect(StatusCode::OK)["state"], "disabled");
    assert_eq!(home.post(&format!("{path}/runs"), json!({"context": "api"})).status, 400);
    assert_eq!(home.post(&format!("{path}/actions/enable"), Value::Null).status, 204);
    assert_eq!(home.post(&format!("{path}/runs"), json!({"context": "webhook"})).status, 400);
    assert_eq!(home.get(&format!("{path}/runs/00000000-0000-4000-8000-000000000000")).status, 404);
}

#[test]
fn a_definition_is_its_owners_and_a_new_owner_gets_no_history() {
    let home = Home::new();
    let connection = home
        .post(&format!("{NEW}/automation-connections"), json!({"connectorId": AIRTABLE, "name": "table"}))
        .expect(StatusCode::CREATED);
    let id = home.automation("Greet", &workspace(&connection["id"]));
    home.run(&id);
    let path = format!("{NEW}/automations/{id}");
    let other = home.other("user_default");
    let them = home.with(&other, &Method::GET, "/api/v1/users?filter=name%20co%20%22Client%22", &Value::Null);
    let them = them.expect(StatusCode::OK)["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|user| user["id"].clone())
        .find(|user| *user != json!(home.me()))
        .unwrap();
    assert_eq!(home.with(&other, &Method::GET, &path, &Value::Null).status, 403);
    let all = home.with(&other, &Method::GET, &format!("{NEW}/automations"), &Value::Null).expect(StatusCode::OK);
    assert_eq!(all["data"].as_array().unwrap().len(), 1, "an administrator sees that it is there");
    let own = home.with(&other, &Method::GET, &format!("{NEW}/automations?listAll=false"), &Value::Null);
    assert!(own.expect(StatusCode::OK)["data"].as_array().unwrap().is_empty());
    let trusted = home.other("admin.automations");
    assert_eq!(home.with(&trusted, &Method::GET, &path, &Value::Null).status, 200);
    let moved = home.post(&format!("{OLD}/automations/{id}/actions/move"), json!({"userId": them}));
    assert_eq!(moved.status, 204);
    assert_eq!(home.get(&path).status, 403);
    let held = home.with(&other, &Method::GET, &path, &Value::Null).expect(StatusCode::OK);
    assert_eq!(held["workspace"]["blocks"][1]["settings"][0]["value"], Value::Null, "detached");
    let runs = home.with(&other, &Method::GET, &format!("{path}/runs"), &Value::Null).expect(StatusCode::OK);
    assert!(runs["data"].as_array().unwrap().is_empty(), "{runs}");
    assert_eq!(home.post(&format!("{path}/actions/change-owner"), json!({"userId": "nobody"})).status, 400);
    assert_eq!(home.call(Method::DELETE, &path, Value::Null).status, 204, "administrators may delete");
}

#[test]
fn automations_are_copied_put_into_spaces_and_counted() {
    let home = Home::new();
    let id = home.automation("Greet", &json!({"blocks": []}));
    let copy = home.post(&format!("{NEW}/automations/{id}/actions/copy"), json!({"name": "Again"}));
    let copy = copy.expect(StatusCode::CREATED)["id"].as_str().unwrap().to_owned();
    let (first, second) =
        (home.get(&format!("{NEW}/automations/{id}")).body, home.get(&format!("{NEW}/automations/{copy}")).body);
    assert_eq!((&second["name"], &second["workspace"]), (&json!("Again"), &first["workspace"]));
    assert_ne!(first["executionToken"], second["executionToken"]);
    let space = |name: &str, kind: &str| {
        let made = home.post("/api/v1/spaces", json!({"name": name, "type": kind})).expect(StatusCode::CREATED);
        made["id"].as_str().unwrap().to_owned()
    };
    let (shared, managed) = (space("Shared", "shared"), space("Managed", "managed"));
    let to = |space: &str| {
        home.post(&format!("{NEW}/automations/{id}/actions/change-space"), json!({"spaceId": space})).status
    };
    assert_eq!((to(&shared), to(&managed), to("none")), (204, 400, 400));
    assert_eq!(
        home.get(&format!("{NEW}/automations?filter=spaceId%20eq%20%22{shared}%22")).body["data"][0]["id"],
        json!(id)
    );
    assert_eq!(home.call(Method::DELETE, &format!("/api/v1/spaces/{shared}"), Value::Null).status, 412);
    home.run(&id);
    home.run(&copy);
    let usage = |rest: &str| home.get(&format!("{NEW}/automations/usage?filter=name%20eq%20%22runs%22{rest}"));
    assert_eq!(usage("").expect(StatusCode::OK)["data"], json!([{"date": "2026-11-24", "name": "runs", "value": 2}]));
    let apart = usage("&breakdownBy=automation").expect(StatusCode::OK);
    assert_eq!(apart["data"].as_array().unwrap().len(), 2);
    assert_eq!(home.get(&format!("{OLD}/automations/usage")).status, 400, "the filter must be given");
    let settings = format!("{NEW}/automations/settings");
    assert_eq!(home.get(&settings).body["maxConcurrentRunsPerAutomation"], 10);
    let one = json!({"maxConcurrentRunsPerAutomation": 1});
    assert_eq!(home.call(Method::PUT, &settings, one.clone()).expect(StatusCode::OK), one);
    assert_eq!(home.post(&format!("{NEW}/automations"), json!({"name": "x", "maxConcurrentRuns": 2})).status, 400);
}

#[test]
fn connections_are_good_when_their_connector_has_what_it_needs() {
    let home = Home::new();
    let path = format!("{NEW}/automation-connections");
    let body = json!({"name": "table", "connectorId": AIRTABLE, "params": [{"name": "base_id", "value": "b1"}]});
    let made = home.post(&path, body).expect(StatusCode::CREATED);
    assert_eq!((&made["isConnected"], &made["error"]), (&json!(false), &json!({"message": "api_key is missing"})));
    let one = format!("{path}/{}", made["id"].as_str().unwrap());
    let key = made["params"][0]["id"].clone();
    let put = |value: &str| {
        home.call(Method::PUT, &one, json!({"params": [{"id": key, "value": value}]})).expect(StatusCode::OK)
    };
    let checked =
        || home.post(&format!("{one}/actions/check"), Value::Null).expect(StatusCode::OK)["connected"].clone();
    assert_eq!((put("wrong")["isConnected"].clone(), checked()), (json!(false), json!(false)));
    let good = put("k1");
    assert_eq!((&good["isConnected"], checked()), (&json!(true), json!(true)));
    assert!(good["params"][0].get("value").is_none(), "secrets are not shown: {good}");
    assert_eq!(good["params"][1]["value"], "b1");
    assert_eq!(
        home.get(&format!("{OLD}/automation-connections?filter=name%20eq%20%22table%22")).body["data"][0]["isConnected"],
        true
    );
    let oauth = home.post(&path, json!({"connectorId": GITHUB, "name": "code"})).expect(StatusCode::CREATED);
    assert_eq!(oauth["isConnected"], false);
    assert!(oauth["redirect"].as_str().unwrap().starts_with(&format!("https://{}/", home.host)), "{oauth}");
    assert_eq!(home.post(&path, json!({"connectorId": "none"})).status, 400);
    let unknown = json!({"connectorId": AIRTABLE, "params": [{"name": "apikey", "value": "x"}]});
    assert_eq!(home.post(&path, unknown).status, 400);
    home.automation("Greet", &workspace(&made["id"]));
    assert_eq!(home.call(Method::DELETE, &one, Value::Null).status, 400, "it is in use");
    assert_eq!(home.call(Method::DELETE, &format!("{one}?forced=true"), Value::Null).status, 204);
    assert_eq!(home.get(&one).status, 404);
}

#[test]
fn connections_change_their_owner_and_their_space() {
    let home = Home::new();
    let path = format!("{OLD}/automation-connections");
    let made = home.post(&path, json!({"connectorId": AIRTABLE, "name": "table"})).expect(StatusCode::CREATED);
    let one = format!("{path}/{}", made["id"].as_str().unwrap());
    let space = home.post("/api/v1/spaces", json!({"name": "Shared", "type": "shared"})).expect(StatusCode::CREATED);
    let to = |space: &Value| home.post(&format!("{one}/actions/change-space"), json!({"spaceId": space})).status;
    assert_eq!((to(&space["id"]), to(&json!("none"))), (204, 400));
    assert_eq!(home.get(&one).body["spaceId"], space["id"]);
    assert_eq!(to(&json!("")), 204);
    assert!(home.get(&one).body.get("spaceId").is_none(), "its owner's own again");
    let user = home.post("/api/v1/users", json!({"subject": "hb|ada", "status": "active"})).expect(StatusCode::CREATED);
    assert_eq!(home.post(&format!("{one}/actions/change-owner"), json!({"userId": user["id"]})).status, 204);
    assert_eq!(home.get(&one).status, 403);
    assert_eq!(home.names(&path), [""; 0]);
    assert_eq!(home.names(&format!("{path}?listAll=true")), ["table"]);
}

#[test]
fn connectors_say_what_a_connection_needs() {
    let home = Home::new();
    let path = format!("{NEW}/automation-connectors");
    assert_eq!(home.names(&format!("{path}?sort=name")), ["Airtable", "GitHub", "Qlik Cloud Services"]);
    assert_eq!(home.names(&format!("{OLD}/automation-connectors?filter=name%20eq%20%22Airtable%22")), ["Airtable"]);
    let detail = home.get(&format!("{path}/{AIRTABLE}")).expect(StatusCode::OK);
    assert_eq!((&detail["params"][0]["name"], &detail["params"][0]["optional"]), (&json!("api_key"), &json!(false)));
    let hooks = "61a87510-c7a3-11ea-95da-0fb0c241e75c/webhooks/configuration";
    assert_eq!(home.get(&format!("{path}/{hooks}")).body["events"][0]["name"], "User Created");
    assert_eq!(home.get(&format!("{path}/{AIRTABLE}/webhooks/configuration")).status, 404);
}
