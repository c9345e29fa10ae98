//! Reloads: queued, waited for, told when they fail, and left alone while the data is newer than the content.
#![allow(clippy::needless_raw_string_hashes, reason = "scripts are quoted alike, whatever they hold")]

use serde_json::{Value, json};
use tenantry::event::Change;

use crate::functions_driver::{Project, Report};

const SPACES: &str = r#"let staging = tenant.spaces.ensure("Staging", "shared");
    let live = tenant.spaces.ensure("Production", "managed");
    let app = staging.import_app("content/Fleet.qvf").publish_to(live, #{ data: "target" });
"#;

fn content(project: &Project, what: &str, reload: &Value) {
    let stand_in = json!({ "stand-in": what, "lastReloadTime": "2026-11-20T04:00:00.000Z", "reload": reload });
    project.file("content/Fleet.qvf", stand_in.to_string());
}

fn run(project: &Project, script: &str) -> Report {
    project.run(&format!("{SPACES}{script}"))
}

fn reloads(report: &Report) -> Vec<&Value> {
    let asked = report.operations.iter().filter(|operation| operation.id == "queueReload");
    asked
        .map(|operation| match &operation.request().unwrap().body {
            tenantry::operation::Body::Json(body) => body,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_reload_is_waited_for_and_carries_the_customers_variables() {
    let project = Project::new();
    content(&project, "one", &json!({ "seconds": 90 }));
    let script = r#"let done = app.reload(#{ variables: #{ vCustomerID: "HB01" }, partial: true, wait: 600 });
        output(#{ status: done.status, id: app.id, loaded: live.apps.get("Fleet").document.lastReloadTime });"#;
    let report = run(&project, script).good();
    assert_eq!(report.output["status"], "SUCCEEDED");
    let asked = json!({ "appId": report.output["id"], "partial": true, "variables": { "vCustomerID": "HB01" } });
    assert_eq!(reloads(&report), [&asked]);
    assert_eq!(report.last().change, Change::Acted);
    assert_eq!(report.last().subject, "reload of app \"Fleet\" in space \"Production\"");
    assert!(report.output["loaded"].as_str().unwrap() > "2026-11-24T09:01:30", "{:?}", report.output);
    let polls = report.requests().iter().filter(|id| **id == "getReload").count();
    assert!((5..30).contains(&polls), "{polls} polls");
}

#[test]
fn data_is_loaded_once_for_each_content() {
    let project = Project::new();
    let script = r#"app.ensure_reloaded(#{ variables: #{ vCustomerID: "HB01" } });"#;
    content(&project, "one", &Value::Null);
    assert_eq!(run(&project, script).good().writes().last(), Some(&"queueReload"));
    let again = run(&project, script).good();
    assert_eq!(again.writes(), [""; 0]);
    assert_eq!(again.last().change, Change::Unchanged);
    content(&project, "two", &Value::Null);
    let report = run(&project, script).good();
    assert_eq!(reloads(&report).len(), 1, "new content");
    assert_eq!(run(&project, script).good().writes(), [""; 0]);
}

#[test]
fn a_reload_that_fails_is_an_error_with_what_its_log_says() {
    let project = Project::new();
    content(&project, "one", &json!({ "error": "Table 'Shipments' not found" }));
    let script = r#"try { app.ensure_reloaded(#{}); } catch (e) { output(#{ code: e.code, title: e.title, detail: e.detail }); }"#;
    let report = run(&project, script).good();
    assert_eq!(report.output["code"], "tenantry/reload-failed");
    assert_eq!(report.output["title"], "the reload of app \"Fleet\" in space \"Production\" ended with FAILED");
    let detail = report.output["detail"].as_str().unwrap();
    assert!(detail.starts_with("EngineScriptError: Table 'Shipments' not found\n"), "{detail}");
    assert!(detail.ends_with("Execution failed"), "{detail}");
    assert_eq!(reloads(&run(&project, script).good()).len(), 1, "it is tried again");
}

#[test]
fn one_need_not_wait_to_the_end() {
    let project = Project::new();
    content(&project, "one", &json!({ "seconds": 900 }));
    let report = run(&project, r#"output(#{ status: app.reload(#{ wait: false }).status });"#).good();
    assert_eq!(report.output["status"], "QUEUED");
    content(&project, "two", &json!({ "seconds": 9000 }));
    let script = r#"wait_until(|| tenant.request("getReloads", #{ query: #{ appId: app.id } }).data[0].status == "SUCCEEDED", #{ every: 60, within: 2000 });
        try { app.reload(#{ wait: 30 }); } catch (e) { output(#{ code: e.code, title: e.title }); }"#;
    let report = run(&project, script).good();
    assert_eq!(report.output["code"], "tenantry/waited");
    assert_eq!(report.output["title"], "the reload of app \"Fleet\" in space \"Production\" takes longer than 30 s");
}

#[test]
fn what_qlik_would_not_take_is_refused_before_anything_is_sent() {
    let project = Project::new();
    content(&project, "one", &Value::Null);
    let long = "x".repeat(257);
    for (options, says) in [
        (
            "variables: #{ vYear: 2026 }".to_owned(),
            "`variables` is a map of at most 20 texts of at most 256 characters",
        ),
        (format!("variables: #{{ v: \"{long}\" }}"), "at most 256 characters"),
        ("wait: 0".to_owned(), "`wait` is a boolean, or a whole number of seconds from 1 to 10800"),
        ("variable: #{}".to_owned(), "did you mean `variables`?"),
    ] {
        let report = run(&project, &format!("app.reload(#{{ {options} }});"));
        assert!(report.failure().contains(says), "{}", report.failure());
        assert!(reloads(&report).is_empty());
    }
}
