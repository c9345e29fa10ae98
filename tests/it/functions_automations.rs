//! `tenant.automations`, their runs, and `tenant.automation_connections`.
#![allow(clippy::needless_raw_string_hashes, reason = "scripts are quoted alike, whatever they hold")]

use serde_json::{Value, json};
use tenantry::event::Change;
use tenantry::operation::Body;

use crate::functions_driver::{Project, Report, converges};

const AIRTABLE: &str = "0d87347d-27c0-11ea-921c-022e6b5ea1e2";
const GITHUB: &str = "0d87808f-27c0-11ea-921c-022e6b5ea1e2";

/// An exported automation; `run` is what the sandbox's stand-in for its blocks says.
fn export(description: &str, run: &Value) -> String {
    json!({
        "id": "74b4a630-8225-11ed-a03f-afd11588e895", "ownerId": "somebody", "name": "Greet", "description": description,
        "executionToken": "TokenOfTheOtherTenant", "state": "available", "spaceId": "elsewhere",
        "schedules": [{"id": "74c5be00-8225-11ed-b81c-77de9cdb8edd", "startAt": null, "interval": -1, "timezone": "Europe/Dublin"}],
        "workspace": {"blocks": [{"id": "A", "type": "StartBlock", "x": 1.0, "comment": null}], "variables": [], "run": run},
    })
    .to_string()
}

const GREET: &str = r#"let a = tenant.automations.ensure("Greet", "content/automations/Greet.json");
    output(#{ id: a.id, token: type_of(a.document.executionToken), state: a.document.state });"#;

const GREETING: &str = r#"tenant.automations.ensure("Greet", #{ workspace: #{ blocks: [#{ id: "A", comment: () }] }, maxConcurrentRuns: 2 });"#;

fn bodies(report: &Report, id: &str) -> Vec<Value> {
    let asked = report.operations.iter().filter(|operation| operation.id == id);
    asked
        .map(|operation| match &operation.request().unwrap().body {
            Body::Json(body) => body.clone(),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn an_exported_automation_converges_by_its_name() {
    let project = Project::new();
    project.file("content/automations/Greet.json", export("Says hello", &Value::Null));
    let [made, _] = converges(&project, GREET, None);
    assert_eq!(made.writes(), ["createTenant", "patchTenant", "workflowsCreateAutomation"]);
    let sent = &bodies(&made, "workflowsCreateAutomation")[0];
    let fields: Vec<&str> = sent.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["description", "workspace", "schedules", "name"], "the rest of the export stays where it is");
    assert_eq!((&made.output["token"], &made.output["state"]), (&json!("Secret"), &json!("available")));
    let workspace = made.last().fields.iter().find(|field| field.field == "workspace").unwrap();
    assert!(workspace.after.as_str().unwrap().starts_with("blocks: 1, sha256:"), "{workspace:?}");
    let told = format!("{:?} {:?}", made.operations, made.steps);
    assert!(!told.contains("TokenOfTheOtherTenant"), "{told}");
    project.file("content/automations/Greet.json", export("Says hello loudly", &json!({"seconds": 3})));
    let changed = project.run(GREET).good();
    assert_eq!(changed.writes(), ["workflowsUpdateAutomation"]);
    assert_eq!(changed.output["id"], made.output["id"]);
    let fields: Vec<&str> = changed.last().fields.iter().map(|field| field.field.as_str()).collect();
    assert_eq!(fields, ["description", "workspace"]);
    assert_eq!(project.run(GREET).good().writes(), [""; 0]);
}

#[test]
fn what_somebody_changed_in_the_editor_is_undone_and_what_the_editor_adds_is_left() {
    let project = Project::new();
    let [made, _] = converges(&project, GREETING, None);
    assert_eq!(made.last().subject, "automation \"Greet\"");
    let edit = |workspace: &str| {
        let script = format!(
            r#"let id = tenant.automations.get("Greet").id;
               tenant.request("workflowsUpdateAutomation", #{{ path: #{{ id: id }}, body: #{{
                   name: "Greet", maxConcurrentRuns: 2, workspace: {workspace} }} }});"#
        );
        project.run(&script).good();
        project.run(GREETING).good()
    };
    let added = edit(r#"#{ blocks: [#{ id: "A", comment: (), logo: (), x: 12 }], variables: [] }"#);
    assert_eq!(added.writes(), [""; 0]);
    let changed = edit(r#"#{ blocks: [#{ id: "B" }] }"#);
    assert_eq!(changed.writes(), ["workflowsUpdateAutomation"]);
    assert_eq!(bodies(&changed, "workflowsUpdateAutomation")[0]["maxConcurrentRuns"], 2);
}

#[test]
fn the_state_and_the_space_are_as_wanted() {
    let project = Project::new();
    let of = |state: &str, rest: &str| {
        let script = format!(
            r#"let space = tenant.spaces.ensure("Staging", "shared");
               let a = tenant.automations.ensure("Greet", #{{ workspace: #{{}}, state: "{state}" }}{rest});
               output(#{{ state: a.document.state, lies: a.document.get("spaceId") == space.id }});"#
        );
        project.run(&script).good()
    };
    let made = of("disabled", "");
    assert_eq!(made.writes()[3..], ["workflowsCreateAutomation", "workflowsDisableAutomation"]);
    assert_eq!((&made.output["state"], &made.output["lies"]), (&json!("disabled"), &json!(false)));
    assert_eq!(of("disabled", "").writes(), [""; 0]);
    let moved = of("available", ", space");
    assert_eq!(moved.writes(), ["workflowsChangeSpaceAutomation", "workflowsEnableAutomation"]);
    assert_eq!((&moved.output["state"], &moved.output["lies"]), (&json!("available"), &json!(true)));
    assert_eq!(of("available", ", space").writes(), [""; 0]);
    let off = project.run(r#"tenant.automations.get("Greet").disable();"#).good();
    assert_eq!((off.writes(), off.last().change), (vec!["workflowsDisableAutomation"], Change::Acted));
    assert_eq!(project.run(r#"tenant.automations.get("Greet").disable();"#).good().writes(), [""; 0]);
    assert_eq!(project.run(r#"tenant.automations.get("Greet").enable();"#).good().writes().len(), 1);
}

#[test]
fn automations_are_found_listed_and_deleted() {
    let project = Project::new();
    let script = r#"for name in ["Tidy", "Greet"] { tenant.automations.ensure(name, #{ workspace: #{} }); }
        output(#{ names: tenant.automations.list().map(|a| a.name), none: tenant.automations.find("greet") == (),
                  mode: tenant.automations.get("Greet").document.runMode, text: `${tenant.automations.find("Tidy")}` });"#;
    let report = project.run(script).good();
    assert_eq!(report.output["names"], json!(["Tidy", "Greet"]));
    assert_eq!((&report.output["none"], &report.output["mode"]), (&json!(true), &json!("manual")));
    assert_eq!(report.output["text"], "automation \"Tidy\"");
    assert_eq!(project.run(r#"tenant.automations.delete("Tidy");"#).good().writes(), ["workflowsDeleteAutomation"]);
    assert_eq!(project.run(r#"tenant.automations.delete("Tidy");"#).good().writes(), [""; 0]);
    let missing = project.run(r#"tenant.automations.get("Tidy");"#);
    assert!(missing.failure().contains("there is no automation \"Tidy\""), "{}", missing.failure());
}

#[test]
fn an_automation_of_somebody_elses_is_told_and_not_made_again() {
    let project = Project::new();
    let script = r#"let a = tenant.automations.ensure("Greet", #{ workspace: #{} });
        let ada = tenant.users.ensure(#{ subject: "hb|ada", name: "Ada" });
        a.change_owner(ada);
        a.change_owner(ada);"#;
    let given = project.run(script).good();
    assert_eq!(given.writes().iter().filter(|id| **id == "workflowsChangeOwnerAutomation").count(), 1);
    assert_eq!(given.last().change, Change::Unchanged);
    let again = project.run(r#"tenant.automations.ensure("Greet", #{ workspace: #{} });"#);
    assert!(again.failure().contains("or give the client the scope `admin.automations`"), "{}", again.failure());
    assert_eq!(again.writes(), [""; 0]);
}

#[test]
fn a_run_is_waited_for_and_told_when_it_fails() {
    let project = Project::new();
    let run = |stand_in: &Value, options: &str| {
        project.file("content/automations/Greet.json", export("Says hello", stand_in));
        project
            .run(&format!(
                r#"let a = tenant.automations.ensure("Greet", "content/automations/Greet.json");
               try {{ output(#{{ status: a.run({options}).status }}); }}
               catch (e) {{ output(#{{ code: e.code, title: e.title, detail: e.detail }}); }}"#
            ))
            .good()
    };
    let good = run(&json!({"seconds": 90}), "");
    assert_eq!(good.output["status"], "finished");
    assert_eq!((good.last().change, &*good.last().subject), (Change::Acted, "run of automation \"Greet\""));
    assert_eq!(bodies(&good, "createAutomationRun"), [json!({"context": "api"})]);
    let polls = good.requests().iter().filter(|id| **id == "workflowsGetAutomationRun").count();
    assert!((5..30).contains(&polls), "{polls} polls");
    let bad = run(&json!({"error": "Space not found"}), "");
    assert_eq!(bad.output["code"], "tenantry/run-failed");
    assert_eq!(bad.output["title"], "the run of automation \"Greet\" ended as \"failed\"");
    assert_eq!(bad.output["detail"], "Space not found");
    let odd = run(&json!({"status": "finished with warnings"}), "");
    assert_eq!(odd.output["status"], "finished with warnings");
    assert!(odd.logs.iter().any(|line| line.contains("finished with warnings")), "{:?}", odd.logs);
    assert_eq!(run(&json!({"seconds": 600}), "#{ wait: false }").output["status"], "not started");
    let long = run(&json!({"seconds": 6000}), "#{ wait: 30 }");
    assert_eq!(long.output["code"], "tenantry/waited");
}

#[test]
fn a_connection_is_given_its_secrets_until_it_is_connected() {
    let project = Project::new();
    let ensure = |params: &str| {
        project.run(&format!(
            r#"let c = tenant.automation_connections.ensure("table", #{{ connectorId: "{AIRTABLE}", params: {params} }});
               output(#{{ good: c.isConnected, id: c.id }});"#
        ))
    };
    let made = ensure(r#"#{ base_id: "b1" }"#).good();
    assert_eq!(made.output["good"], false);
    assert!(made.logs.iter().any(|line| line.ends_with("is not connected: api_key is missing")), "{:?}", made.logs);
    let given = ensure(r#"#{ api_key: secret("entra") }"#).good();
    assert_eq!(given.writes(), ["workflowsUpdateAutomationConnection"]);
    assert_eq!((&given.output["good"], &given.output["id"]), (&json!(true), &made.output["id"]));
    let told = format!("{:?} {:?}", given.operations, given.steps);
    assert!(!told.contains("entra-client-secret"), "{told}");
    assert_eq!(ensure(r#"#{ api_key: secret("entra") }"#).good().writes(), [""; 0]);
    let rotated = project
        .run(
            r#"tenant.automation_connections.update("table", #{ params: #{ api_key: "wrong" } });
               let bad = tenant.automation_connections.check("table");
               tenant.automation_connections.update("table", #{ params: #{ api_key: secret("entra") } });
               output(#{ bad: bad, good: tenant.automation_connections.check("table"),
                         shown: tenant.automation_connections.get("table").params.len(),
                         names: tenant.automation_connections.list().map(|c| c.name) });"#,
        )
        .good();
    assert_eq!(Value::Object(rotated.output), json!({"bad": false, "good": true, "shown": 2, "names": ["table"]}));
    let moved = project.run(
        r#"tenant.automation_connections.change_owner("table", tenant.users.ensure(#{ subject: "hb|ada", name: "Ada" }));"#,
    );
    assert_eq!(moved.good().writes().last(), Some(&"workflowsChangeOwnerAutomationConnection"));
    assert_eq!(ensure("#{}").good().writes(), [""; 0], "it is there, whoever owns it");
    let gone = project.run(r#"tenant.automation_connections.delete("table");"#).good();
    assert_eq!(gone.writes(), ["workflowsDeleteAutomationConnection"]);
    assert_eq!(
        project.run(r#"output(#{ none: tenant.automation_connections.find("table") == () });"#).good().output["none"],
        true
    );
}

#[test]
fn where_somebody_must_log_in_the_connection_says_where() {
    let project = Project::new();
    let script = format!(r#"tenant.automation_connections.ensure("code", #{{ connectorId: "{GITHUB}" }});"#);
    let [made, _] = converges(&project, &script, None);
    assert!(made.logs.iter().any(|line| line.contains("; log in at https://")), "{:?}", made.logs);
}

#[test]
fn what_could_not_work_is_refused_before_anything_is_sent() {
    let project = Project::new();
    project.run("").good();
    project.file("content/odd.json", "[1]");
    project.file("content/other.json", r#"{"name": "theme"}"#);
    project.file("content/broken.json", "{\"workspace\": ");
    let a = |rest: &str| format!(r#"tenant.automations.ensure("x", {rest});"#);
    for (script, problem) in [
        (a("#{ workspce: #{} }"), "did you mean `workspace`?"),
        (a("#{ workspace: [] }"), "`workspace` is a list; a map is needed"),
        (a("#{ maxConcurrentRuns: 0 }"), "a whole number from 1 on is needed"),
        (a("#{ schedules: #{} }"), "a list of maps is needed"),
        (a("#{ state: \"on\" }"), "`state` cannot be `on`"),
        (a("\"content/none.json\""), "there is no file `content/none.json`"),
        (a("\"content/odd.json\""), "holds no JSON object"),
        (a("\"content/other.json\""), "it has no `workspace`"),
        (a("\"content/broken.json\""), "is not JSON: EOF"),
        (r#"tenant.automations.ensure("", #{});"#.to_owned(), "needs a name"),
    ] {
        let report = project.run(&script);
        assert!(report.failure().contains(problem), "{script}: {}", report.failure());
        assert_eq!(report.requests(), ["getTenant"], "{script}");
    }
    let c = |rest: &str| format!(r#"tenant.automation_connections.ensure("x", #{{ {rest} }});"#);
    for (script, problem) in [
        (c(""), "`connectorId` is missing"),
        (c("connectorId: \"c\", params: [1]"), "`params` is a list"),
        (c("connectorId: \"c\", params: #{ a: 1 }"), "a map of texts and secrets"),
        (c("connector: \"c\""), "did you mean `connectorId`?"),
        (c(&format!("connectorId: \"{AIRTABLE}\", params: #{{ apikey: \"k\" }}")), "did you mean `api_key`?"),
        (c(&format!("connectorId: \"{GITHUB}\", params: #{{ apikey: \"k\" }}")), "the connector takes no `apikey`"),
        ("tenant.automation_connections.update(\"x\", #{});".to_owned(), "`params` is missing"),
        ("tenant.automation_connections.get(\"x\");".to_owned(), "there is no automation connection \"x\""),
        ("tenant.automation_connections.check(\"x\");".to_owned(), "there is no automation connection \"x\""),
    ] {
        let report = project.run(&script);
        assert!(report.failure().contains(problem), "{script}: {}", report.failure());
        assert_eq!(report.writes(), [""; 0], "{script}");
    }
    let managed = r#"let s = tenant.spaces.ensure("Live", "managed"); tenant.automations.ensure("x", #{}, s);"#;
    assert!(project.run(managed).failure().contains("automations lie in shared ones"));
}
