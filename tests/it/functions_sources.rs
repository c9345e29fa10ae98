//! Apps of a source tenant: exported and imported when they change, and nothing else is written there.
#![allow(clippy::needless_raw_string_hashes, reason = "scripts are quoted alike, whatever they hold")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tenantry::event::Change;
use tenantry::operation::{Body, Call, Failure, FailureKind, Operation, Outcome, Payload, Response};

use crate::functions_driver::{Project, Report};

const SOURCE: &str = "halyardapps0000.eu.qlikcloud.com";

/// Imports the app of the source tenant with these options.
fn import(project: &Project, options: &str) -> Report {
    let script = r#"let staging = tenant.spaces.ensure("Staging", "shared");
        let app = staging.import_app(tenants::source().spaces.get("Apps").apps.get("Shipment Tracking"), #{OPTIONS});
        output(#{ id: app.id, name: app.name, version: app.version, document: app.document });"#;
    project.run(&script.replace("OPTIONS", options)).good()
}

/// Works in the source tenant by hand, as its developers do.
fn develop(project: &mut Project, script: &str) -> Report {
    let source = project.source.take();
    let prelude = format!("let apps = tenants::get(\"{SOURCE}\").spaces.get(\"Apps\").apps;\n");
    let report = project.play(&format!("{prelude}{script}"));
    project.source = source;
    report.good()
}

fn staged(project: &Project) -> Vec<Value> {
    let script =
        r#"let staging = tenant.spaces.get("Staging"); output(#{ all: staging.apps.list().map(|app| app.name) });"#;
    project.run(script).good().output["all"].as_array().unwrap().clone()
}

#[test]
fn an_app_is_exported_only_when_it_changes() {
    let mut project = Project::new();
    let first = import(&project, "");
    let writes = [
        "createTenant",
        "patchTenant",
        "createSpace",
        "createSpaceAssignment",
        "exportApp",
        "importApp",
        "updateAppInfo",
    ];
    assert_eq!(first.writes(), writes);
    assert_eq!((&first.output["version"], &first.output["name"]), (&json!("1.0.0"), &json!("Shipment Tracking")));
    assert_eq!(first.output["document"]["lastReloadTime"], "2026-11-20T04:00:00.000Z");
    let told = first.told();
    assert_eq!(told[1], format!("Created own access to space \"Apps\" of {SOURCE}"));
    assert_eq!(told[2], r#"Created app "Shipment Tracking" in space "Staging""#);

    let again = import(&project, "");
    assert_eq!((again.writes(), &again.output["id"]), (vec![], &first.output["id"]));

    develop(&mut project, r#"apps.get("Shipment Tracking").update(#{ description: "Where it is" });"#);
    let second = import(&project, r#"version: "1.1.0""#);
    assert_eq!(second.writes(), ["exportApp", "importApp", "updateAppInfo"]);
    let description = second.output["document"]["description"].as_str().unwrap();
    assert!(description.starts_with("{v1.1.0} Where it is {sha256:"), "{description}");
    assert_eq!(staged(&project), ["Shipment Tracking", "Shipment Tracking"]);
    assert_eq!(import(&project, r#"version: "1.1.0""#).writes(), Vec::<&str>::new());
}

#[test]
fn an_app_is_taken_without_its_data() {
    let project = Project::new();
    let taken = import(&project, r#"name: "Tracking", NoData: true, fallbackName: "none""#);
    assert_eq!(
        (&taken.output["name"], &taken.output["document"]["lastReloadTime"]),
        (&json!("Tracking"), &Value::Null)
    );
    for id in ["exportApp", "importApp"] {
        let asked = taken.operations.iter().find(|operation| operation.id == id).unwrap();
        let said = ("NoData".to_owned(), "true".to_owned());
        assert!(asked.request().unwrap().query.contains(&said), "{asked:?}");
    }
    // It is another content than the one with data.
    let whole = import(&project, r#"name: "Tracking""#);
    assert_eq!(whole.writes(), ["exportApp", "importApp", "updateAppInfo"]);
}

#[test]
fn nothing_else_is_written_to_the_source_tenant() {
    let mut project = Project::new();
    for (script, what) in [
        (r#"tenants::source().spaces.ensure("Mine", "shared");"#, "`createSpace` would write space \"Mine\""),
        (
            r#"tenants::source().spaces.get("Apps").apps.get("My Training").update(#{ description: "x" });"#,
            "`updateAppInfo`",
        ),
        (r#"tenants::source().spaces.get("Apps").apps.delete("My Training");"#, "`deleteApp`"),
        (r#"tenants::get(tenants::source().hostname).settings.update(#{ name: "x" });"#, "`patchTenant`"),
        (r#"tenants::source().request("createGroup", #{ body: #{ name: "x" } });"#, "`createGroup`"),
    ] {
        let report = project.run(script);
        let failure = report.failure();
        assert!(failure.contains(what) && failure.contains("to the source tenant"), "{failure}");
    }
    let left = develop(&mut project, r#"output(#{ spaces: apps.list().len() });"#);
    assert_eq!(left.output["spaces"], 6);

    project.source = None;
    let failure = project.run("tenants::source();").failure();
    assert!(failure.contains("this target has no source tenant | name it in tenantry.toml"), "{failure}");
    project.source = Some("halyard-hb.eu.qlikcloud.com".to_owned());
    let failure = project.run("tenants::source();").failure();
    assert!(failure.contains("is an alias") && failure.contains(".eu.qlikcloud.com\""), "{failure}");
}

#[test]
fn what_cannot_be_exported_is_refused_before_anything_is_sent() {
    let project = Project::new();
    let report = project.run(
        r#"let app = tenant.spaces.ensure("Staging", "shared").import_app(tenants::source().spaces.get("Apps").apps.get("My Training"));
           let live = app.publish_to(tenant.spaces.ensure("Members", "managed"));
           tenant.spaces.get("Staging").import_app(live);"#,
    );
    assert!(report.failure().contains("apps of managed spaces cannot be exported"), "{}", report.failure());
    assert_eq!(report.writes().iter().filter(|id| **id == "exportApp").count(), 1);
}

/// Answers in the service's place: the temporary file is gone, the first time.
fn gone(operation: &Operation, number: usize) -> Option<Outcome> {
    let gone = Failure::new(FailureKind::Refused, "tenantry/content-gone", "gone");
    (operation.id == "importApp" && number == 0).then_some(Err(gone))
}

/// The same: the file that was exported is an old one.
fn old(operation: &Operation, number: usize) -> Option<Outcome> {
    let told = json!({ "ID": "f", "CreatedAt": "2026-11-19T08:00:00.000Z" });
    let told = Response { status: 200, headers: BTreeMap::new(), payload: Payload::Json(told) };
    (operation.id == "getTempFileDetails" && number == 0).then_some(Ok(told))
}

#[test]
fn a_file_that_is_gone_is_exported_again() {
    let mut project = Project::new();
    project.instead = Some(gone);
    let report = import(&project, "");
    let writes = report.writes();
    assert_eq!(writes[writes.len() - 5..], ["exportApp", "importApp", "exportApp", "importApp", "updateAppInfo"]);
    let places: Vec<&str> = report
        .operations
        .iter()
        .filter_map(|operation| match &operation.call {
            Call::Request(request) => match &request.body {
                Body::Exported { path, .. } => Some(path.as_str()),
                _ => None,
            },
            Call::Local { .. } => None,
        })
        .collect();
    assert_ne!(places[0], places[1]);
    let digests: Vec<String> = report
        .operations
        .iter()
        .filter(|operation| operation.id == "importApp")
        .map(|operation| operation.digest().to_string())
        .collect();
    assert_eq!(digests[0], digests[1], "where the file lies is no part of what is imported");
    assert_eq!(staged(&project), ["Shipment Tracking"]);
}

#[test]
fn an_old_export_is_not_taken_for_a_new_one() {
    let exports = |report: &Report| report.writes().iter().filter(|id| **id == "exportApp").count();
    for (instead, count) in [(None, 1), (Some(old as fn(&Operation, usize) -> Option<Outcome>), 2)] {
        let mut project = Project::new();
        project.instead = instead;
        let report = import(&project, "");
        assert_eq!((exports(&report), report.requests().contains(&"getTempFileDetails")), (count, true));
        assert_eq!(staged(&project), ["Shipment Tracking"]);
    }
}

#[test]
fn a_copy_that_an_earlier_run_left_unfinished_is_finished() {
    let mut project = Project::new();
    // The file says in its description what only a finished copy would say: that does not make it one.
    let file = json!({ "name": "Fleet", "description": "Where it is {sha256:0123456789abcdef}" });
    project.file("content/Fleet.qvf", file.to_string());
    project.instead = Some(|operation, number| {
        let lost = Failure::new(FailureKind::Refused, "HTTP-503", "down");
        (operation.id == "updateAppInfo" && number == 0).then_some(Err(lost))
    });
    let script = r#"tenant.spaces.ensure("Staging", "shared").import_app("content/Fleet.qvf");"#;
    assert!(project.run(script).failure().contains("down"));
    let left = staged(&project);
    assert!(left[0].as_str().unwrap().starts_with("Fleet {sha256:"), "{left:?}");
    project.instead = None;
    let report = project.run(script).good();
    assert_eq!((report.writes(), report.last().change), (vec!["updateAppInfo"], Change::Created));
    assert_eq!(staged(&project), ["Fleet"]);
    assert_eq!(project.run(script).good().writes(), Vec::<&str>::new());
}
