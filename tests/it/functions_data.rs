//! `space.data_connections`: made once, changed where what Qlik Cloud tells differs, and their secrets told to nobody.
#![allow(clippy::needless_raw_string_hashes, reason = "scripts are quoted alike, whatever they hold")]

use serde_json::{Value, json};
use tenantry::event::Change;

use crate::functions_driver::{Project, Report, converges};

const STAGING: &str = r#"let staging = tenant.spaces.ensure("Staging", "shared");
"#;

fn ensure(properties: &str, more: &str) -> String {
    format!(
        r#"{STAGING} let made = staging.data_connections.ensure("Orders", #{{ datasourceID: "postgres",
            connectionProperties: #{{ {properties} }} {more} }});
           output(#{{ id: made.qID }});"#
    )
}

fn run(project: &Project, script: &str) -> Report {
    project.run(&format!("{STAGING}{script}"))
}

/// What the service tells of the connection.
fn told(project: &Project) -> Value {
    let script = r#"let held = staging.data_connections.get("Orders");
        output(#{ properties: held.connectionProperties, tags: held.tags });"#;
    Value::Object(run(project, script).good().output)
}

/// The steps of the one patch that was sent.
fn patch(report: &Report) -> Value {
    assert_eq!(report.writes(), ["patchDataConnection"]);
    let sent = report.operations.iter().find(|operation| operation.id == "patchDataConnection").unwrap();
    match &sent.request().unwrap().body {
        tenantry::operation::Body::Json(body) => body.clone(),
        other => panic!("{other:?}"),
    }
}

const GIVEN: &str = r#"host: "db.harbour.example", port: 5432, password: secret("entra")"#;

#[test]
fn a_connection_is_made_once_and_only_what_differs_is_changed() {
    let project = Project::new();
    run(&project, "").good();
    let other = r#"host: "db2.harbour.example", port: 5432, password: secret("entra")"#;
    let [made, changed] = converges(&project, &ensure(GIVEN, ""), Some(&ensure(other, r#", tags: ["b", "a"]"#)));
    assert_eq!(made.writes(), ["createDataConnection"]);
    assert_eq!(made.last().subject, "data connection \"Orders\" in space \"Staging\"");
    let steps = json!([
        { "op": "replace", "path": "/connectionProperties/host", "value": "db2.harbour.example" },
        { "op": "replace", "path": "/tags", "value": ["b", "a"] },
    ]);
    assert_eq!(patch(&changed), steps);
    assert_eq!((changed.last().change, changed.last().fields.len()), (Change::Updated, 2));
    assert_eq!(changed.output["id"], made.output["id"]);
    let now = json!({ "properties": { "host": "db2.harbour.example", "port": 5432 }, "tags": ["b", "a"] });
    assert_eq!(told(&project), now);
    let again = project.run(&ensure(r#"host: "db2.harbour.example", port: "5432""#, r#", tags: ["a", "b"]"#)).good();
    assert_eq!(again.writes(), [""; 0], "order and form of what is told carry no meaning, what is not named stays");
    assert_eq!(project.sandbox.violations(), [], "nothing that was sent broke the contract");
}

#[test]
fn a_secret_is_sent_when_it_is_asked_for_and_told_to_nobody() {
    let project = Project::new();
    let made = project.run(&ensure(GIVEN, "")).good();
    assert_eq!(project.run(&ensure(r#"password: "another""#, "")).good().writes(), [""; 0], "it cannot be compared");
    let update = r#"staging.data_connections.update("Orders", #{ connectionProperties: #{ password: "quay-side" } });"#;
    let updated = run(&project, update).good();
    let step = json!([{ "op": "replace", "path": "/connectionProperties/password", "value": "quay-side" }]);
    assert_eq!((patch(&updated), updated.last().change), (step, Change::Updated));
    let shown = format!("{:?} {:?} {:?}", made.operations, made.steps, updated.steps);
    assert!(!shown.contains("entra-client-secret") && !shown.contains("quay-side"), "{shown}");
    assert!(shown.contains("***"), "{shown}");
    assert_eq!(told(&project)["properties"], json!({ "host": "db.harbour.example", "port": 5432 }));
}

#[test]
fn connections_belong_to_their_space_and_are_found_listed_and_deleted() {
    let project = Project::new();
    project.run(&ensure(GIVEN, "")).good();
    let script = r#"let other = tenant.spaces.ensure("Other", "shared").data_connections;
        output(#{
            names: staging.data_connections.list().map(|held| held.qName),
            other: other.find("Orders") == (),
            any_case: staging.data_connections.find("orders") == (),
            found: staging.data_connections.find("Orders").datasourceID,
        });
        other.ensure("Orders", #{ datasourceID: "postgres" });"#;
    let report = run(&project, script).good();
    let found = json!({ "names": ["Orders"], "other": true, "any_case": true, "found": "postgres" });
    assert_eq!(Value::Object(report.output.clone()), found);
    assert_eq!(report.last().change, Change::Created, "the name is free in another space");
    let gone = r#"staging.data_connections.delete("Orders"); staging.data_connections.delete("Orders");"#;
    assert_eq!(run(&project, gone).good().writes(), ["deleteDataConnection"]);
    for call in [r#"get("Orders")"#, r#"update("Orders", #{ connectionProperties: #{ host: "x" } })"#] {
        let failed = run(&project, &format!("staging.data_connections.{call};")).failure();
        assert!(failed.contains("there is no data connection \"Orders\" in space \"Staging\""), "{failed}");
    }
}

#[test]
fn a_connection_keeps_its_source() {
    let project = Project::new();
    project.run(&ensure(GIVEN, "")).good();
    let report = run(&project, r#"staging.data_connections.ensure("Orders", #{ datasourceID: "snowflake" });"#);
    assert!(report.failure().contains("is one to `postgres`, not to `snowflake`"), "{}", report.failure());
    assert_eq!(report.writes(), [""; 0]);
}

#[test]
fn bad_connections_are_refused_before_anything_is_sent() {
    let project = Project::new();
    for (call, says) in [
        (r#"ensure("", #{ datasourceID: "postgres" })"#, "a data connection needs a name"),
        (r#"ensure("x", #{ dataSourceID: "postgres" })"#, "did you mean `datasourceID`?"),
        (r#"ensure("x", #{})"#, "`datasourceID` is missing"),
        (r#"ensure("x", #{ datasourceID: "p", connectionProperties: 5 })"#, "`connectionProperties` is a number"),
        (r#"ensure("x", #{ datasourceID: "p", connectionProperties: #{ a: #{} } })"#, "the property `a` is a map"),
        (r#"ensure("x", #{ datasourceID: "p", connectionProperties: #{ a: () } })"#, "the property `a` is ()"),
        (r#"ensure("x", #{ datasourceID: "p", connectionProperties: secret("entra") })"#, "a map is needed"),
        (r#"ensure("x", #{ datasourceID: "p", tags: [1] })"#, "`tags` is a list of at most 31 texts"),
        (r#"update("x", #{})"#, "`connectionProperties` is missing"),
    ] {
        let report = run(&project, &format!("staging.data_connections.{call};"));
        assert!(report.failure().contains(says), "{call}: {}", report.failure());
        assert!(report.requests().iter().all(|id| !id.contains("DataConnection")), "{call}");
    }
}
