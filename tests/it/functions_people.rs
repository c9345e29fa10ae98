//! Users, roles, licences and their seats.
#![allow(clippy::needless_raw_string_hashes, reason = "scripts are quoted alike, whatever they hold")]

use serde_json::json;
use tenantry::event::Change;
use tenantry::operation::{Failure, FailureKind, Response};

use crate::functions_driver::{Project, converges};

#[test]
fn users_converge_by_subject() {
    let project = Project::new();
    let [made, changed] = converges(
        &project,
        r#"let u = tenant.users.ensure(#{ subject: "hb|1001", email: "ada@harbour.example", name: "Ada",
               assignedRoles: ["Steward"] }); output(#{ id: u.id, subject: u.subject, email: u.email });"#,
        Some(
            r#"tenant.users.ensure(#{ subject: "hb|1001", email: "ada@harbour.example", name: "Ada L.",
               assignedRoles: ["Steward", "DataSpaceCreator"] });"#,
        ),
    );
    assert_eq!(made.output["subject"], json!("hb|1001"));
    assert_eq!(changed.writes(), ["patchUser"]);
    assert_eq!(changed.last().change, Change::Updated);
    let fields: Vec<_> = changed.last().fields.iter().map(|change| (change.field.as_str(), &change.after)).collect();
    assert_eq!(fields, [("name", &json!("Ada L.")), ("assignedRoles", &json!(["DataSpaceCreator", "Steward"]))]);

    let got = project.run(
        r#"output(#{ id: tenant.users.get(#{ email: "ADA@harbour.example" }).id,
                     none: tenant.users.find(#{ subject: "hb|9" }) == (),
                     n: tenant.users.list().filter(|u| u.subject == "hb|1001").len() });"#,
    );
    let got = got.good();
    assert_eq!(
        (&got.output["id"], &got.output["none"], &got.output["n"]),
        (&made.output["id"], &json!(true), &json!(1))
    );
}

#[test]
fn subjects_are_compared_exactly() {
    let project = Project::new();
    project.run(r#"tenant.users.ensure(#{ subject: "HB|1", email: "a@x.example", name: "A" });"#).good();
    let other = project.run(r#"output(#{ none: tenant.users.find(#{ subject: "hb|1" }) == () });"#).good();
    assert_eq!(other.output["none"], json!(true));
}

#[test]
fn changes_that_were_refused_inside_a_good_answer_are_told() {
    let mut project = Project::new();
    let script = |name: &str| format!(r#"tenant.users.ensure(#{{ subject: "hb|1", name: "{name}" }});"#);
    project.run(&script("Ada")).good();
    project.instead = Some(|operation, _| {
        let errors = json!({ "errors": [{ "code": "USERS-9", "title": "Bad", "detail": "the name is taken" }] });
        let answer = Response { status: 207, ..Response::local(errors) };
        (operation.id == "patchUser").then_some(Ok(answer))
    });
    let report = project.run(&script("Ada L."));
    assert!(report.failure().contains("1 of the changes were refused: the name is taken"), "{}", report.failure());
    assert_ne!(report.last().change, Change::Updated);
}

#[test]
fn subjects_may_hold_any_character() {
    let project = Project::new();
    let script = r#"let odd = "dom\\joe \"x\"\t\n\x01 100% & + ü😀";
        output(#{ s: tenant.users.ensure(#{ subject: odd, name: "n" }).subject == odd,
                  g: tenant.groups.ensure(odd).id == tenant.groups.get(odd).id });"#;
    let made = project.run(script).good();
    assert_eq!((&made.output["s"], &made.output["g"]), (&json!(true), &json!(true)));
    assert!(project.run(script).good().writes().is_empty());
}

#[test]
fn wrong_users_are_refused_before_anything_is_sent() {
    let project = Project::new();
    project.run(r#"tenant.users.ensure(#{ subject: "hb|1", email: "a@x.example", name: "A" });"#).good();
    for (script, problem) in [
        (r#"tenant.users.ensure(#{ email: "a@x.example" });"#, "`subject` is missing"),
        (r#"tenant.users.ensure(#{ subject: "a", mail: "a@x.example" });"#, "did you mean `email`?"),
        (r#"tenant.users.ensure(#{ subject: "a", assignedRoles: "Steward" });"#, "must be a list of role names"),
        (r#"tenant.users.find(#{ name: "A" });"#, "unknown field `name`"),
        (r#"tenant.users.find(#{});"#, "looked up by one of"),
        (r#"tenant.users.get(#{ subject: "zz" });"#, "there is no user with subject \"zz\""),
        (
            r#"tenant.users.ensure(#{ subject: "hb|1", email: "b@x.example", name: "A" });"#,
            "it cannot be changed to b@x.example",
        ),
        (
            r#"tenant.users.ensure_recovery_admin(#{ subject: "a", email: "a@x.example", name: "A", status: "invited" });"#,
            "`status` is given by what a recovery admin is",
        ),
    ] {
        let report = project.run(script);
        assert!(report.failure().contains(problem), "{script}: {}", report.failure());
        assert!(report.writes().is_empty(), "{script}");
    }
}

#[test]
fn a_recovery_admin_keeps_other_roles() {
    let project = Project::new();
    project
        .run(r#"tenant.users.ensure(#{ subject: "auth0|1", email: "ops@halyard.example", name: "Ops", assignedRoles: ["Steward"] });"#)
        .good();
    let script = r#"let u = tenant.users.ensure_recovery_admin(#{ subject: "auth0|1", email: "ops@halyard.example", name: "Ops" });
        output(#{ roles: tenant.users.get(#{ subject: "auth0|1" }).document.assignedRoles.map(|r| r.name) });"#;
    let made = project.run(script).good();
    assert_eq!(made.writes(), ["patchUser"]);
    let mut roles: Vec<&str> =
        made.output["roles"].as_array().unwrap().iter().filter_map(serde_json::Value::as_str).collect();
    roles.sort_unstable();
    assert_eq!(roles, ["Steward", "TenantAdmin"]);
    let again = project.run(script).good();
    assert!(again.writes().is_empty());
    assert_eq!(again.last().change, Change::Unchanged);
}

#[test]
fn what_the_service_refuses_names_the_operation_and_what_is_refused_here_the_function() {
    let mut project = Project::new();
    project.run("").good();
    let here = project.run(r#"tenant.groups.get("Nobody");"#).error.unwrap();
    assert_eq!(here.operation.as_deref(), Some("tenant.groups.get"));
    project.instead = Some(|operation, _| {
        let mut failure = Failure::new(FailureKind::Refused, "GROUPS-1", "no");
        failure.status = Some(400);
        (operation.id == "createGroup").then_some(Err(failure))
    });
    let there = project.run(r#"tenant.groups.ensure("new");"#).error.unwrap();
    assert_eq!(there.operation.as_deref(), Some("createGroup"));
    let caught = project.run(r#"try { tenant.groups.ensure("new"); } catch (err) { output(#{ o: err.operation }); }"#);
    assert_eq!(caught.output["o"], json!("createGroup"));
}

#[test]
fn roles_are_found_by_exact_name() {
    let project = Project::new();
    let report = project
        .run(
            r#"output(#{ name: tenant.roles.get("TenantAdmin").name, none: tenant.roles.find("tenantadmin") == (),
                         many: tenant.roles.list().len() > 5 });"#,
        )
        .good();
    assert_eq!(report.output["name"], json!("TenantAdmin"));
    assert_eq!((&report.output["none"], &report.output["many"]), (&json!(true), &json!(true)));
    let report = project.run(r#"tenant.roles.get("Nobody");"#);
    assert!(report.failure().contains("there is no role `Nobody`"), "{}", report.failure());
}

#[test]
fn automatic_assignment_is_replaced_as_a_whole() {
    let project = Project::new();
    let script = "tenant.licenses.auto_assign(#{ professional: true, analyzer: true });";
    let first = project.run(script).good();
    assert_eq!(first.last().change, Change::Updated);
    assert!(project.run(script).good().writes().is_empty());
    let one = project.run("tenant.licenses.auto_assign(#{ professional: false });").good();
    assert_eq!(one.last().fields.len(), 1);
    let held = project.run(r#"output(#{ s: tenant.request("getLicenseSettings") });"#).good();
    assert_eq!(held.output["s"]["autoAssignAnalyzer"], json!(true), "the other flag stays");

    let report = project.run(r#"tenant.licenses.auto_assign(#{ professional: "no" });"#);
    assert!(report.failure().contains("`autoAssignProfessional` is a text; true or false is needed"));
    let report = project.run("tenant.licenses.auto_assign(#{ analyser: true });");
    assert!(report.failure().contains("did you mean `analyzer`?"), "{}", report.failure());
}

#[test]
fn seats_are_given_once_and_changed() {
    let project = Project::new();
    let script = r#"tenant.licenses.ensure_seats([#{ subject: "hb|1", type: "analyzer" }, #{ subject: "hb|2", type: "professional" }]);"#;
    let [made, changed] = converges(
        &project,
        script,
        Some(r#"tenant.licenses.ensure_seats([#{ subject: "hb|1", type: "professional" }]);"#),
    );
    assert_eq!(made.last().fields.len(), 2);
    assert_eq!(changed.writes(), ["updateLicenseAssignments"]);
    assert_eq!(changed.last().fields[0].before, json!("analyzer"));
    let overview = project.run("output(#{ a: tenant.licenses.overview().allotments });").good();
    let pools = overview.output["a"].as_array().unwrap();
    let used =
        |name: &str| pools.iter().find(|pool| pool["name"] == json!(name)).unwrap()["unitsUsed"].as_i64().unwrap();
    assert!(used("professional") >= 2);
    assert_eq!(used("analyzer"), 0);
}

#[test]
fn a_seat_that_a_change_frees_can_be_given_in_the_same_call() {
    let project = Project::new();
    let script = r#"let all = [#{ subject: "a", type: "professional" }];
        for pool in tenant.licenses.overview().allotments {
            if pool.name == "professional" {
                for i in 1..(pool.units - pool.unitsUsed) { all.push(#{ subject: `f${i}`, type: "professional" }); }
            }
        }
        tenant.licenses.ensure_seats(all);
        tenant.licenses.ensure_seats([#{ subject: "a", type: "analyzer" }, #{ subject: "b", type: "professional" }]);"#;
    let report = project.run(script).good();
    assert_eq!(report.writes()[3..], ["updateLicenseAssignments", "addLicenseAssignments"]);
}

#[test]
fn wrong_seats_are_refused() {
    let project = Project::new();
    for (script, problem) in [
        (r#"tenant.licenses.ensure_seats(["hb|1"]);"#, "a seat is a map"),
        (r#"tenant.licenses.ensure_seats([#{ subject: "hb|1", type: "analyser" }]);"#, "did you mean `analyzer`?"),
        (r#"tenant.licenses.ensure_seats([#{ type: "analyzer" }]);"#, "`subject` is missing"),
        (
            r#"tenant.licenses.ensure_seats([#{ subject: "a", type: "analyzer" }, #{ subject: "a", type: "professional" }]);"#,
            "given two different seats",
        ),
        (
            r#"let all = []; for i in 0..101 { all.push(#{ subject: `hb|${i}`, type: "professional" }); }
               tenant.licenses.ensure_seats(all);"#,
            "101 professional seats are needed and",
        ),
    ] {
        let report = project.run(script);
        assert!(report.failure().contains(problem), "{script}: {}", report.failure());
        assert_eq!(report.writes().iter().filter(|id| id.contains("License")).count(), 0, "{script}");
    }
}
