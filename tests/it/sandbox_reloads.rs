//! Reloads of the sandbox: they take their time on its clock.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::sandbox_support::{Cloud, Reply};

struct Home {
    cloud: Cloud,
    host: String,
    space: String,
}

impl Home {
    fn new() -> Self {
        let cloud = Cloud::new();
        let host = cloud.tenant_host();
        let space = cloud.space(&host, "Staging", "shared");
        Self { cloud, host, space }
    }

    /// A new app of this stand-in; its id.
    #[track_caller]
    fn app(&self, inside: &Value) -> String {
        self.cloud.app(&self.host, &self.space, inside)
    }

    fn queue(&self, app: &str) -> Reply {
        self.cloud.post(&self.host, "/api/v1/reloads", json!({"appId": app, "variables": {"vCustomerID": "HB01"}}))
    }

    #[track_caller]
    fn queued(&self, app: &str) -> String {
        let reload = self.queue(app).expect(StatusCode::CREATED);
        assert_eq!((&reload["status"], &reload["type"]), (&json!("QUEUED"), &json!("external")));
        reload["id"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn reload(&self, id: &str) -> Value {
        self.cloud.get(&self.host, &format!("/api/v1/reloads/{id}")).expect(StatusCode::OK)
    }

    #[track_caller]
    fn loaded(&self, app: &str) -> Value {
        let held = self.cloud.get(&self.host, &format!("/api/v1/apps/{app}")).expect(StatusCode::OK);
        let items = self.cloud.get(&self.host, "/api/v1/items?resourceType=app&limit=100").expect(StatusCode::OK);
        let mut items = items["data"].as_array().unwrap().iter();
        let item = items.find(|item| item["resourceId"] == json!(app)).unwrap();
        let loaded = held["attributes"]["lastReloadTime"].clone();
        assert_eq!(item["resourceAttributes"]["lastReloadTime"], loaded);
        loaded
    }

    #[track_caller]
    fn statuses(&self, query: &str) -> Vec<String> {
        let body = self.cloud.get(&self.host, &format!("/api/v1/reloads?{query}")).expect(StatusCode::OK);
        body["data"].as_array().unwrap().iter().map(|reload| reload["status"].as_str().unwrap().to_owned()).collect()
    }

    fn cancel(&self, id: &str) -> Reply {
        self.cloud.post(&self.host, &format!("/api/v1/reloads/{id}/actions/cancel"), Value::Null)
    }

    fn forward(&self, milliseconds: u64) {
        self.cloud.clock.forward(Duration::from_millis(milliseconds));
    }
}

#[test]
fn a_reload_is_queued_runs_and_loads() {
    let home = Home::new();
    let before = "2026-11-20T04:00:00.000Z";
    let app = home.app(&json!({"lastReloadTime": before, "reload": {"seconds": 60}}));
    let id = home.queued(&app);
    assert_eq!(home.queue(&app).status, 429, "one is pending");
    home.forward(200);
    let running = home.reload(&id);
    assert_eq!((&running["status"], &running["startTime"]), (&json!("RELOADING"), &json!("2026-11-24T08:00:00.200Z")));
    assert_eq!(home.loaded(&app), before);
    home.forward(60_000);
    let done = home.reload(&id);
    assert_eq!((&done["status"], &done["endTime"]), (&json!("SUCCEEDED"), &json!("2026-11-24T08:01:00.200Z")));
    assert!(done["log"].as_str().unwrap().ends_with("Finished successfully\n"), "{done}");
    assert_eq!(home.loaded(&app), "2026-11-24T08:01:00.200Z");
    home.queued(&app);
    assert_eq!(home.loaded(&app), "2026-11-24T08:01:00.200Z", "the next one loads later");
}

#[test]
fn a_reload_fails_as_its_app_says() {
    let home = Home::new();
    let app = home.app(&json!({"lastReloadTime": "2026-11-20T04:00:00.000Z", "reload": {"error": "Table not found"}}));
    let id = home.queued(&app);
    home.forward(5_000);
    let failed = home.reload(&id);
    assert_eq!((&failed["status"], &failed["errorMessage"]), (&json!("FAILED"), &json!("Table not found")));
    assert!(failed["log"].as_str().unwrap().contains("Error: Table not found"), "{failed}");
    assert_eq!(home.loaded(&app), "2026-11-20T04:00:00.000Z");
}

#[test]
fn a_reload_is_cancelled_before_its_end() {
    let home = Home::new();
    let app = home.app(&json!({}));
    let id = home.queued(&app);
    assert_eq!(home.cancel(&id).status, 204);
    assert_eq!(home.reload(&id)["status"], "CANCELED");
    assert_eq!(home.cancel(&id).status, 409);
    let id = home.queued(&app);
    home.forward(300);
    assert_eq!(home.cancel(&id).expect(StatusCode::ACCEPTED)["status"], "CANCELING");
    home.forward(5_000);
    assert_eq!(home.loaded(&app), Value::Null);
    assert_eq!(home.cancel("0000000000000000000000ff").status, 404);
}

#[test]
fn reloads_are_listed_filtered_and_paged() {
    let home = Home::new();
    let (app, bad) = (home.app(&json!({})), home.app(&json!({"reload": {"error": "no"}})));
    for app in [&app, &bad, &app] {
        home.queued(app);
        home.forward(5_000);
    }
    home.queued(&bad);
    let all = |query: &str| home.statuses(&format!("appId={app}{query}")).len();
    assert_eq!((all(""), all("&limit=1"), all("&partial=true"), all("&partial=false")), (2, 1, 0, 2));
    assert_eq!(home.statuses(&format!("appId={bad}")), ["QUEUED", "FAILED"], "the newest first");
    assert_eq!(home.statuses(&format!("appId={bad}&sort=%2BcreationTime")), ["FAILED", "QUEUED"]);
    assert_eq!(home.statuses(&format!("appId={bad}&filter=status%20eq%20%22FAILED%22")), ["FAILED"]);
    let logs = home.cloud.get(&home.host, &format!("/api/v1/reloads?appId={bad}&log=true")).expect(StatusCode::OK);
    assert!(logs["data"][1]["log"].as_str().unwrap().contains("Error: no"), "{logs}");
    assert_eq!(home.cloud.get(&home.host, &format!("/api/v1/reloads?appId={bad}&filter=appId%20eq%201")).status, 400);
}

#[test]
fn what_cannot_be_reloaded_is_refused() {
    let home = Home::new();
    let reply = home.queue("00000000-0000-4000-8000-000000000000");
    assert_eq!((reply.status, reply.code()), (403, "RELOADS-003".to_owned()));
}
