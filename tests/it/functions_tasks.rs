//! Scheduled tasks: made once, left alone, changed where they differ, and never mistaken for a load with variables.
#![allow(clippy::needless_raw_string_hashes, reason = "scripts are quoted alike, whatever they hold")]

use serde_json::{Value, json};
use tenantry::event::Change;
use tenantry::operation::Body;

use crate::functions_driver::{Project, Report, converges};

const APP: &str = r#"let app = tenant.spaces.ensure("Staging", "shared").import_app("content/Fleet.qvf");
"#;

fn project() -> Project {
    let project = Project::new();
    project.file("content/Fleet.qvf", json!({ "stand-in": "one" }).to_string());
    project
}

fn run(project: &Project, script: &str) -> Report {
    project.run(&format!("{APP}{script}"))
}

/// The bodies of these requests.
fn bodies<'r>(report: &'r Report, id: &str) -> Vec<&'r Value> {
    let asked = report.operations.iter().filter(|operation| operation.id == id);
    asked
        .map(|operation| match &operation.request().unwrap().body {
            Body::Json(body) => body,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn an_app_is_scheduled_once_and_changed_where_it_differs() {
    let project = project();
    run(&project, "").good();
    let [made, changed] = converges(
        &project,
        &format!(r#"{APP} app.schedule("hourly");"#),
        Some(&format!(r#"{APP} output(#{{ rule: app.schedule("daily").start.schedule.recurrence }});"#)),
    );
    let rule = |of: &str| format!("RRULE:FREQ={of};BYMINUTE=0;BYSECOND=0");
    let body = json!({ "enabled": true, "recurrence": rule("HOURLY;INTERVAL=1"), "name": "Reload of Fleet" });
    assert_eq!(bodies(&made, "createReloadTaskOnTimeSchedule"), [&body]);
    assert_eq!(made.last().subject, "task \"Reload of Fleet\" of app \"Fleet\" in space \"Staging\"");
    assert_eq!(changed.writes(), ["patchTask"]);
    let schedule = json!({ "recurrence": rule("DAILY;INTERVAL=1;BYHOUR=3"), "timezone": "UTC" });
    let step = json!([{ "op": "replace", "path": "/start", "value": { "schedule": schedule } }]);
    assert_eq!(bodies(&changed, "patchTask"), [&step], "what was not asked for stays");
    assert_eq!((changed.last().change, changed.last().fields.len()), (Change::Updated, 1));
}

#[test]
fn what_qlik_cloud_switched_off_is_switched_on_again() {
    let project = project();
    run(&project, r#"app.schedule("hourly"); tenant.tasks.disable("Reload of Fleet");"#).good();
    let again = run(&project, r#"output(#{ enabled: app.schedule("hourly").enabled });"#).good();
    assert_eq!((again.writes(), &again.output["enabled"]), (vec!["patchTask"], &json!(true)));
    assert_eq!(run(&project, r#"tenant.tasks.enable("Reload of Fleet");"#).good().writes(), [""; 0]);
}

#[test]
fn tasks_are_found_started_listed_and_deleted() {
    let project = project();
    let report = run(
        &project,
        r#"let first = tenant.tasks.ensure("Nightly", #{ resourceId: app.id, recurrence: "FREQ=DAILY;BYHOUR=2;BYMINUTE=0;BYSECOND=0" });
        tenant.tasks.ensure("After", #{ resourceId: app.id, onTaskId: first.id, onTaskStatus: "failed", description: "tells" });
        tenant.tasks.start("Nightly");
        wait_until(|| tenant.tasks.runs("Nightly")[0].status == "SUCCEEDED", #{ every: 1, within: 60 });
        output(#{
            names: tenant.tasks.list().map(|task| task.name),
            enabled: tenant.tasks.get("Nightly").enabled,
            none: tenant.tasks.find("nightly") == (),
        });"#,
    )
    .good();
    let told = json!({ "names": ["Nightly", "After"], "enabled": false, "none": true });
    assert_eq!(Value::Object(report.output.clone()), told);
    let script = r#"tenant.tasks.delete("After"); tenant.tasks.delete("After");"#;
    assert_eq!(run(&project, script).good().writes(), ["schedulingDeleteTask"]);
    let failed = run(&project, r#"tenant.tasks.get("After");"#);
    assert!(failed.failure().contains("there is no task \"After\" in"), "{}", failed.failure());
    let other = r#"tenant.tasks.ensure("Nightly", #{ resourceId: app.id, onTaskId: "x", onTaskStatus: "any" });"#;
    let failed = run(&project, other);
    assert!(failed.failure().contains("is started by something else"), "{}", failed.failure());
}

#[test]
fn an_eleventh_task_is_refused_by_the_service() {
    let project = project();
    let script = r#"for number in 0..11 { app.schedule(#{ name: `Task ${number}`, recurrence: "FREQ=DAILY" }); }"#;
    let failed = run(&project, script).failure();
    assert!(failed.contains("CHO-014"), "{failed}");
}

#[test]
fn what_a_schedule_loads_is_no_load_with_variables() {
    let project = project();
    let load = r#"app.ensure_reloaded(#{ variables: #{ vCustomerID: "HB01" } });"#;
    let hour = r#"app.schedule("hourly");
        wait_until(|| tenant.tasks.runs("Reload of Fleet").len() > 0, #{ every: 600, within: 4000 });"#;
    run(&project, hour).good();
    let report = run(&project, load).good();
    assert_eq!(report.writes(), ["queueReload"], "the schedule loaded without them");
    assert_eq!(run(&project, load).good().writes(), [""; 0]);
    assert_eq!(run(&project, "app.ensure_reloaded(#{});").good().writes(), [""; 0], "any load is good without");
    let more = r#"wait_until(|| tenant.tasks.runs("Reload of Fleet").len() > 3, #{ every: 600, within: 20000 });"#;
    run(&project, more).good();
    assert_eq!(run(&project, load).good().writes(), [""; 0], "it was loaded with them, and the schedule goes on");
}

#[test]
fn bad_schedules_are_refused_before_anything_is_sent() {
    let project = project();
    for (script, says) in [
        (r#"app.schedule("often");"#, "`often` is no schedule: known are `hourly` and `daily`"),
        (r#"app.schedule(#{ recurence: "x" });"#, "did you mean `recurrence`?"),
        (
            r#"app.schedule(#{ timezone: "UTC" });"#,
            "a task has either a `recurrence`, or `onTaskId` and `onTaskStatus`",
        ),
        (r#"app.schedule(#{ recurrence: 5 });"#, "`recurrence` is a number; a text is needed"),
        (r#"app.schedule(#{ recurrence: "FREQ=DAILY", enabled: "yes" });"#, "`enabled` is a boolean"),
        (r#"app.schedule(#{ recurrence: "FREQ=DAILY", name: "" });"#, "a task's name has 1 to 100 characters"),
        (r#"tenant.tasks.ensure("x", #{ recurrence: "FREQ=DAILY" });"#, "`resourceId` is missing"),
    ] {
        let report = run(&project, script);
        assert!(report.failure().contains(says), "{}", report.failure());
        assert!(report.requests().iter().all(|id| !id.contains("Task")), "{script}");
    }
}
