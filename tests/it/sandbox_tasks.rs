//! Scheduled tasks of the sandbox: they load apps by its clock.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::sandbox_support::{Cloud, Reply};

const TASKS: &str = "/api/scheduling/tasks";
const HOURLY: &str = "RRULE:FREQ=HOURLY;INTERVAL=1;BYMINUTE=0;BYSECOND=0";

struct Home {
    cloud: Cloud,
    host: String,
    space: String,
}

impl Home {
    /// At 08:00.
    fn new() -> Self {
        let cloud = Cloud::new();
        let host = cloud.tenant_host();
        let space = cloud.space(&host, "Staging", "shared");
        Self { cloud, host, space }
    }

    #[track_caller]
    fn app(&self, inside: &Value) -> String {
        self.cloud.app(&self.host, &self.space, inside)
    }

    fn schedule(&self, app: &str, kind: &str, body: Value) -> Reply {
        self.cloud.post(&self.host, &format!("{TASKS}/resources/{app}/actions/reload/{kind}"), body)
    }

    #[track_caller]
    fn hourly(&self, app: &str, name: &str) -> Value {
        let body = json!({"name": name, "enabled": true, "recurrence": HOURLY});
        self.schedule(app, "on-time-schedule", body).expect(StatusCode::CREATED)
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        self.cloud.get(&self.host, path).expect(StatusCode::OK)
    }

    #[track_caller]
    fn task(&self, task: &Value) -> Value {
        self.get(&format!("{TASKS}/{}", id(task)))
    }

    #[track_caller]
    fn names(&self, query: &str) -> Vec<String> {
        self.cloud.names(&self.host, &format!("{TASKS}?{query}"))
    }

    #[track_caller]
    fn runs(&self, task: &Value) -> Vec<(String, String)> {
        let listed = self.get(&format!("{TASKS}/{}/runs", id(task)));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let runs = listed["data"].as_array().unwrap().iter();
        runs.map(|run| (text(&run["startedAt"])[11..16].to_owned(), text(&run["status"]))).collect()
    }

    fn patch(&self, task: &Value, steps: Value) -> Reply {
        self.cloud.patch(&self.host, &format!("{TASKS}/{}", id(task)), steps)
    }

    #[track_caller]
    fn loaded(&self, app: &str) -> Value {
        self.get(&format!("/api/v1/apps/{app}"))["attributes"]["lastReloadTime"].clone()
    }

    fn forward(&self, minutes: u64) {
        self.cloud.clock.forward(Duration::from_secs(minutes * 60));
    }
}

fn id(task: &Value) -> &str {
    task["id"].as_str().unwrap()
}

fn of(runs: &[(&str, &str)]) -> Vec<(String, String)> {
    runs.iter().map(|(at, status)| ((*at).to_owned(), (*status).to_owned())).collect()
}

#[test]
fn a_task_that_is_enabled_loads_its_app_by_the_clock() {
    let home = Home::new();
    let app = home.app(&json!({}));
    let made = home.schedule(&app, "on-time-schedule", json!({"recurrence": HOURLY})).expect(StatusCode::CREATED);
    assert_eq!(
        (&made["enabled"], &made["resourceId"], &made["name"]),
        (&json!(false), &json!(app), &json!("Reload of Fleet"))
    );
    assert_eq!(made["start"]["schedule"], json!({"recurrence": HOURLY, "timezone": "UTC"}));
    home.forward(90);
    assert_eq!((home.runs(&made), home.loaded(&app)), (of(&[]), Value::Null), "it is disabled");
    assert_eq!(home.cloud.get(&home.host, &format!("{TASKS}/{}/runs/last", id(&made))).status, 404);

    let enabled = home.patch(&made, json!([{"op": "replace", "path": "/enabled", "value": true}]));
    assert_eq!(enabled.expect(StatusCode::OK)["enabled"], true);
    assert_eq!(home.runs(&made), of(&[]), "what is past does not count");
    home.forward(31);
    assert_eq!(home.runs(&made), of(&[("10:00", "SUCCEEDED")]));
    assert_eq!(home.loaded(&app), "2026-11-24T10:00:00.900Z");
    home.forward(60);
    assert_eq!(home.runs(&made), of(&[("11:00", "SUCCEEDED"), ("10:00", "SUCCEEDED")]));
    let reloads = home.get(&format!("/api/v1/reloads?appId={app}&filter=type%20eq%20%22choreographer%22"));
    let reloads = reloads["data"].as_array().unwrap();
    assert_eq!(reloads.len(), 2);
    assert_eq!((&reloads[0]["resourceType"], &reloads[0]["resourceId"]), (&json!("tasks"), &made["id"]));
    let worker = &home.get(&format!("{TASKS}/{}/runs/last", id(&made)))["workerId"];
    assert_eq!(home.get(&format!("/api/v1/reloads/{}", worker.as_str().unwrap()))["status"], "SUCCEEDED");
    let told = home.task(&made);
    assert_eq!(told["metadata"]["orchestration"]["lastRun"]["status"], "SUCCEEDED");
    let log = home.get(&format!("{TASKS}/{}/runs/{}/log", id(&made), worker.as_str().unwrap()));
    assert!(log["logContent"].as_str().unwrap().contains("Finished successfully"), "{log}");

    home.patch(&made, json!([{"op": "replace", "path": "/enabled", "value": false}])).expect(StatusCode::OK);
    home.forward(600);
    assert_eq!(home.runs(&made).len(), 2, "what it did stays on record, and no more comes");
    assert_eq!(home.task(&made)["metadata"]["disabledCode"], "MANUALLY");
    assert_eq!(home.loaded(&app), "2026-11-24T11:00:00.900Z");
}

#[test]
fn a_schedule_that_fails_five_times_is_switched_off() {
    let home = Home::new();
    let app = home.app(&json!({"reload": {"error": "Table not found"}}));
    let task = home.hourly(&app, "Hourly");
    home.forward(4 * 60 + 10);
    assert_eq!(home.task(&task)["enabled"], true);
    home.forward(6 * 60);
    let told = home.task(&task);
    assert_eq!((&told["enabled"], &told["metadata"]["disabledCode"]), (&json!(false), &json!("CONSECUTIVE-FAILURES")));
    assert_eq!(home.runs(&task).len(), 5);
    assert_eq!(home.loaded(&app), Value::Null);
}

#[test]
fn a_task_is_started_by_hand_and_after_another() {
    let home = Home::new();
    let (first, second) = (home.app(&json!({})), home.app(&json!({})));
    let parent = home.hourly(&first, "First");
    let body = json!({"name": "Second", "enabled": true, "onTaskId": parent["id"], "onTaskStatus": "succeeded"});
    let child = home.schedule(&second, "on-task-event", body).expect(StatusCode::CREATED);
    let started = home.cloud.post(&home.host, &format!("{TASKS}/{}/actions/start", id(&parent)), Value::Null);
    assert_eq!(started.expect(StatusCode::OK)["message"], "Task started successfully");
    home.forward(1);
    assert_eq!(home.runs(&parent), of(&[("08:00", "SUCCEEDED")]));
    assert_eq!(home.runs(&child), of(&[("08:00", "SUCCEEDED")]));
    home.forward(60);
    assert_eq!(home.runs(&child), of(&[("09:00", "SUCCEEDED"), ("08:00", "SUCCEEDED")]));
    assert_eq!(home.loaded(&second), "2026-11-24T09:00:01.800Z", "after the other has ended");
    assert_eq!(home.task(&child)["metadata"]["topology"], json!({"isChild": true, "isParent": false}));

    for (path, names) in [("children", vec!["Second"]), ("parents", vec![])] {
        let told = home.get(&format!("{TASKS}/{}/graphs/{path}", id(&parent)));
        let told: Vec<&str> =
            told["data"].as_array().unwrap().iter().map(|task| task["name"].as_str().unwrap()).collect();
        assert_eq!(told, names);
    }
    let edge = json!([{"source": parent["id"], "target": child["id"], "attrs": {"depth": 1}}]);
    for (path, of, edges) in [
        ("descendants", &parent, &edge),
        ("ancestors", &child, &edge),
        ("subgraph?withTask=true&level=1", &child, &edge),
        ("ancestors", &parent, &json!([])),
    ] {
        let graph = home.get(&format!("{TASKS}/{}/graphs/{path}", id(of)));
        assert_eq!((&graph["taskId"], &graph["edges"]), (&of["id"], edges), "{path}");
    }
    home.cloud.delete(&home.host, &format!("{TASKS}/{}", id(&parent))).expect(StatusCode::NO_CONTENT);
    home.forward(120);
    assert_eq!(home.runs(&child).len(), 0, "what the other had started is known no more, and nothing comes");
}

#[test]
fn tasks_are_listed_filtered_sorted_and_paged() {
    let home = Home::new();
    let (one, other) = (home.app(&json!({})), home.app(&json!({})));
    for (app, name) in [(&one, "b"), (&one, "a"), (&other, "c")] {
        home.hourly(app, name);
        home.forward(1);
    }
    let plain = home.schedule(&other, "on-time-schedule", json!({"name": "d", "recurrence": HOURLY}));
    plain.expect(StatusCode::CREATED);
    assert_eq!(home.names(""), ["d", "c", "a", "b"], "what changed last comes first");
    assert_eq!(home.names("sort=%2BcreatedAt"), ["b", "a", "c", "d"]);
    assert_eq!(home.names(&format!("resourceId={one}&sort=%2Bname")), ["a", "b"]);
    assert_eq!(home.names("filter=enabled%20eq%20false"), ["d"]);
    assert_eq!(home.names("filter=name%20eq%20%22C%22"), ["c"]);
    let page = home.get(&format!("{TASKS}?limit=3&sort=-name"));
    let next = page["links"]["next"]["href"].as_str().unwrap().split_once(".com").unwrap().1.to_owned();
    assert_eq!(home.get(&next)["data"][0]["name"], "a");
    home.forward(60);
    assert_eq!(home.get(&format!("{TASKS}/resources/{one}/runs"))["data"].as_array().unwrap().len(), 2);
    assert_eq!(home.names("filter=lastStatus%20eq%20%22SUCCEEDED%22&sort=%2Bname"), ["a", "b", "c"]);
}

#[test]
fn a_task_is_defined_anew_as_a_whole() {
    let home = Home::new();
    let app = home.app(&json!({}));
    let made = home.hourly(&app, "Hourly");
    let mut whole = home.task(&made);
    whole["description"] = json!("by cron");
    whole["start"] = json!({"schedule": {"cron": "30 * * * *"}});
    let path = format!("{TASKS}/{}", id(&made));
    let put = home.cloud.put(&home.host, &path, whole.clone()).expect(StatusCode::OK);
    assert_eq!((&put["id"], &put["description"]), (&made["id"], &json!("by cron")));
    assert_eq!(put["metadata"]["createdAt"], made["metadata"]["createdAt"]);
    home.forward(65);
    assert_eq!(home.runs(&made), of(&[("08:30", "SUCCEEDED")]));
    whole["name"] = json!("Another");
    let another = home.cloud.post(&home.host, TASKS, whole).expect(StatusCode::CREATED);
    assert_ne!(another["id"], made["id"]);
    home.cloud.delete(&home.host, &path).expect(StatusCode::NO_CONTENT);
    assert_eq!(home.cloud.get(&home.host, &path).status, 404);
    home.cloud.delete(&home.host, &format!("/api/v1/apps/{app}")).expect(StatusCode::OK);
    assert_eq!(home.names(""), [""; 0], "an app's tasks go with it");
}

#[test]
fn what_cannot_be_scheduled_is_refused() {
    let home = Home::new();
    let app = home.app(&json!({}));
    let refused = |kind: &str, app: &str, body: Value| {
        let reply = home.schedule(app, kind, body);
        let code = reply.body["errors"][0]["title"].as_str().unwrap()[..7].to_owned();
        assert_eq!(reply.body["errors"][0]["code"], reply.status);
        (reply.status, code)
    };
    let is = |status: u16, code: &str| (status, code.to_owned());
    let nowhere = "00000000-0000-4000-8000-000000000000";
    let hourly = json!({"recurrence": HOURLY});
    assert_eq!(refused("on-time-schedule", nowhere, hourly.clone()), is(403, "CHO-003"));
    assert_eq!(refused("on-time-schedule", &app, json!({"recurrence": "FREQ=OFTEN"})), is(400, "CHO-017"));
    assert_eq!(
        refused("on-time-schedule", &app, json!({"recurrence": HOURLY, "timezone": "Mars"})),
        is(400, "CHO-017")
    );
    let long = "x".repeat(101);
    assert_eq!(refused("on-time-schedule", &app, json!({"recurrence": HOURLY, "name": long})), is(400, "CHO-001"));
    let event = json!({"onTaskId": nowhere, "onTaskStatus": "any"});
    assert_eq!(refused("on-task-event", &app, event), is(400, "CHO-016"));
    assert_eq!(refused("on-dataset-updated", &app, json!({})), is(422, "CHO-030"));
    for number in 0..10 {
        home.hourly(&app, &format!("Task {number}"));
    }
    assert_eq!(refused("on-time-schedule", &app, hourly), is(422, "CHO-014"));
    let bare = json!({"name": "Bare", "specVersion": "1.16.0"});
    assert_eq!(home.cloud.post(&home.host, TASKS, bare).status, 400);
}

#[test]
fn an_app_that_moves_is_loaded_no_more() {
    let home = Home::new();
    let app = home.app(&json!({}));
    let task = home.hourly(&app, "Hourly");
    let other = home.cloud.post(&home.host, "/api/v1/spaces", json!({"name": "Other", "type": "shared"}));
    let space = other.expect(StatusCode::CREATED)["id"].clone();
    home.cloud.put(&home.host, &format!("/api/v1/apps/{app}/space"), json!({"spaceId": space})).expect(StatusCode::OK);
    let told = home.task(&task);
    assert_eq!((&told["enabled"], &told["metadata"]["disabledCode"]), (&json!(false), &json!("APP-MOVED-SPACE")));
}
