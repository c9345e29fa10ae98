//! Groups, spaces and assignments.
#![allow(clippy::needless_raw_string_hashes, reason = "scripts are quoted alike, whatever they hold")]

use serde_json::json;
use tenantry::event::Change;
use tenantry::operation::Response;

use crate::functions_driver::{Project, converges};

#[test]
fn groups_converge_by_exact_name() {
    let project = Project::new();
    let [made, changed] = converges(
        &project,
        r#"let g = tenant.groups.ensure("hb-viewers", #{ assignedRoles: ["Steward"], description: "Who look" });
           output(#{ id: g.id, name: g.name });"#,
        Some(r#"tenant.groups.ensure("hb-viewers", #{ assignedRoles: ["SharedSpaceCreator", "Steward"] });"#),
    );
    assert_eq!(made.output["name"], json!("hb-viewers"));
    assert_eq!(changed.writes(), ["patchGroup"]);
    assert_eq!(changed.last().fields[0].before, json!(["Steward"]));

    // Qlik's filter ignores case; the names do not.
    let other = project
        .run(
            r#"output(#{ none: tenant.groups.find("HB-VIEWERS") == (), id: tenant.groups.get("hb-viewers").id,
                         n: tenant.groups.list().len(), d: tenant.groups.get("hb-viewers").document.description });"#,
        )
        .good();
    assert_eq!((&other.output["none"], &other.output["id"]), (&json!(true), &made.output["id"]));
    assert_eq!((&other.output["n"], &other.output["d"]), (&json!(1), &json!("Who look")));
    project.run(r#"tenant.groups.ensure("HB-VIEWERS");"#).good();
}

#[test]
fn wrong_groups_are_refused_before_anything_is_sent() {
    let project = Project::new();
    project.run(r#"tenant.groups.ensure("held", #{ description: "first" });"#).good();
    for (script, problem) in [
        (r#"tenant.groups.ensure("");"#, "1 to 256 characters"),
        (r#"tenant.groups.ensure("a", #{ assignedRole: [] });"#, "did you mean `assignedRoles`?"),
        (r#"tenant.groups.ensure("a", #{ assignedRoles: [#{ id: "1" }] });"#, "assign by name"),
        (r#"tenant.groups.ensure("a", #{ providerType: "ldap" });"#, "\"idp\" or \"custom\""),
        (
            r#"tenant.groups.ensure("held", #{ description: "other" });"#,
            "the description of group \"held\" cannot be changed",
        ),
        (r#"tenant.groups.get("a");"#, "there is no group \"a\""),
        ("tenant.groups.everyone(#{});", "`assignedRoles` is missing"),
        ("tenant.groups.settings(#{ autoCreate: true });", "did you mean `autoCreateGroups`?"),
    ] {
        let report = project.run(script);
        assert!(report.failure().contains(problem), "{script}: {}", report.failure());
        assert!(report.writes().is_empty(), "{script}");
    }
}

#[test]
fn group_settings_and_everyone_converge() {
    let project = Project::new();
    let script = r#"tenant.groups.settings(#{ autoCreateGroups: true });
        tenant.groups.everyone_without(["AutomationCreator", "SharedSpaceCreator"]);"#;
    let first = project.run(script).good();
    assert!(!first.writes().is_empty());
    let again = project.run(script).good();
    assert!(again.writes().is_empty());
    let full = project.run(r#"tenant.groups.everyone(#{ assignedRoles: ["Steward"] });"#).good();
    assert_eq!(full.writes(), ["patchGroup"]);
    assert_eq!(full.last().change, Change::Updated);
    assert!(project.run(r#"tenant.groups.everyone(#{ assignedRoles: ["Steward"] });"#).good().writes().is_empty());
}

#[test]
fn spaces_converge_by_exact_name() {
    let project = Project::new();
    project.run(r#"tenant.spaces.ensure("Production archive", "shared");"#).good();
    let [made, changed] = converges(
        &project,
        r#"let s = tenant.spaces.ensure("Production", "managed", #{ description: "Live" });
           output(#{ id: s.id, name: s.name, type: s.type });"#,
        Some(r#"tenant.spaces.ensure("Production", "managed", #{ description: "What customers see" });"#),
    );
    assert_eq!((&made.output["name"], &made.output["type"]), (&json!("Production"), &json!("managed")));
    assert_eq!(changed.writes(), ["patchSpace"]);
    let got = project
        .run(
            r#"output(#{ id: tenant.spaces.get("Production").id, none: tenant.spaces.find("production") == (),
                         n: tenant.spaces.list().len(), d: tenant.spaces.get("Production").document.description });"#,
        )
        .good();
    assert_eq!((&got.output["id"], &got.output["none"]), (&made.output["id"], &json!(true)));
    assert_eq!((&got.output["n"], &got.output["d"]), (&json!(2), &json!("What customers see")));
}

#[test]
fn many_spaces_are_all_found() {
    let project = Project::new();
    let report = project
        .run(
            r#"for i in 0..130 { tenant.spaces.ensure(`Team ${i}`, "shared"); }
               output(#{ n: tenant.spaces.list().len(), seven: tenant.spaces.get("Team 7").name });"#,
        )
        .good();
    assert_eq!((&report.output["n"], &report.output["seven"]), (&json!(130), &json!("Team 7")));
}

#[test]
fn wrong_spaces_are_refused_before_anything_is_sent() {
    let project = Project::new();
    project.run(r#"tenant.spaces.ensure("Staging", "shared");"#).good();
    for (script, problem) in [
        (r#"tenant.spaces.ensure("a/b", "shared");"#, "`/` is not allowed"),
        (r#"tenant.spaces.ensure("", "shared");"#, "1 to 256 characters"),
        (r#"tenant.spaces.ensure("a", "manged");"#, "did you mean `managed`?"),
        (r#"tenant.spaces.ensure("a", "shared", #{ descripton: "x" });"#, "did you mean `description`?"),
        (r#"tenant.spaces.ensure("Staging", "managed");"#, "is a shared space, not a managed one"),
        (r#"tenant.spaces.get("a");"#, "there is no space \"a\""),
    ] {
        let report = project.run(script);
        assert!(report.failure().contains(problem), "{script}: {}", report.failure());
        assert!(report.writes().is_empty(), "{script}");
    }
}

#[test]
fn a_space_is_removed_once() {
    let project = Project::new();
    let script = r#"tenant.spaces.delete("Scratch");"#;
    assert_eq!(project.run(script).good().last().change, Change::Unchanged);
    project.run(r#"tenant.spaces.ensure("Scratch", "shared");"#).good();
    let gone = project.run(script).good();
    assert_eq!((gone.writes(), gone.last().change), (vec!["deleteSpace"], Change::Deleted));
}

#[test]
fn assignments_converge_and_are_read_once_per_space() {
    let project = Project::new();
    let script = |roles: &str| {
        format!(
            r#"let live = tenant.spaces.ensure("Production", "managed");
               for name in ["a", "b", "c"] {{ live.assign(tenant.groups.ensure(name), {roles}); }}"#
        )
    };
    let first = project.run(&script(r#"["consumer"]"#)).good();
    assert_eq!(first.writes().iter().filter(|id| **id == "createSpaceAssignment").count(), 3);
    assert_eq!(first.requests().iter().filter(|id| **id == "getSpaceAssignments").count(), 1);
    let again = project.run(&script(r#"["consumer", "consumer"]"#)).good();
    assert!(again.writes().is_empty());
    let changed = project.run(&script(r#"["contributor", "consumer"]"#)).good();
    assert_eq!(changed.writes(), ["updateSpaceAssignment"; 3]);
    assert_eq!(changed.last().subject, "group \"c\" in space \"Production\"");
    assert_eq!(changed.last().fields[0].after, json!(["consumer", "contributor"]));

    // Twice in one run: the second time the first is known.
    let twice = project.run(
        r#"let live = tenant.spaces.get("Production"); let g = tenant.groups.ensure("d");
           live.assign(g, ["consumer"]); live.assign(g, ["consumer"]); live.assign(g, ["operator"]);"#,
    );
    assert_eq!(twice.good().writes(), ["createGroup", "createSpaceAssignment", "updateSpaceAssignment"]);
}

#[test]
fn users_ids_and_maps_can_be_assigned() {
    let project = Project::new();
    let report = project
        .run(
            r#"let staging = tenant.spaces.ensure("Staging", "shared");
               staging.assign(tenant.users.ensure(#{ subject: "hb|1", name: "A", email: "a@x.example" }), ["producer"]);
               staging.assign(tenant.groups.ensure("g").id, ["consumer"]);
               staging.assign(#{ type: "group", assigneeId: tenant.groups.ensure("h").id }, ["consumer"]);
               output(#{ n: staging.assignments().len() });"#,
        )
        .good();
    assert_eq!(report.output["n"], json!(3));
}

#[test]
fn roles_are_checked_against_the_type_of_the_space() {
    let project = Project::new();
    let prepare = r#"let live = tenant.spaces.ensure("Production", "managed"); let g = tenant.groups.ensure("g");"#;
    project.run(prepare).good();
    for (script, problem) in [
        (r#"live.assign(g, ["producer"]);"#, "a managed space such as \"Production\" has no role `producer`"),
        (r#"live.assign(g, ["consummer"]);"#, "did you mean `consumer`?"),
        (r#"live.assign(g, []);"#, "at least one role"),
        (r#"live.assign(g, [1]);"#, "a list of texts"),
        (r#"live.assign(#{ type: "team", assigneeId: "x" }, ["consumer"]);"#, "`team` is not an assignee's type"),
    ] {
        let report = project.run(&format!("{prepare}{script}"));
        assert!(report.failure().contains(problem), "{script}: {}", report.failure());
        assert!(report.writes().is_empty(), "{script}");
    }
}

#[test]
fn two_branches_on_one_thing_are_told_apart_from_two_things() {
    let project = Project::new();
    let report = project.run(r#"parallel(["a", "b", "c"], |name| tenant.spaces.ensure(name, "shared"));"#).good();
    assert_eq!(report.writes(), ["createTenant", "patchTenant", "createSpace", "createSpace", "createSpace"]);
    let report = project.run(r#"parallel(["a", "x", "x"], |name| tenant.spaces.ensure(name, "shared"));"#);
    assert!(
        report.failure().contains("two branches of one `parallel` both deal with space \"x\""),
        "{}",
        report.failure()
    );
}

#[test]
fn what_somebody_else_made_in_between_is_made_right() {
    let mut project = Project::new();
    project
        .run(
            r#"let s = tenant.spaces.ensure("S", "managed"); let g = tenant.groups.ensure("g");
               tenant.users.ensure(#{ subject: "u", name: "n" }); s.assign(g, ["consumer"]);"#,
        )
        .good();
    // Every first look comes too early.
    project.instead = Some(|operation, number| {
        let looks = ["getSpaces", "getGroups", "getUsers", "getSpaceAssignments"];
        (number == 0 && looks.contains(&operation.id.as_str())).then(|| Ok(Response::local(json!({ "data": [] }))))
    });
    let report = project.run(
        r#"let s = tenant.spaces.ensure("S", "managed", #{ description: "d" });
           let g = tenant.groups.ensure("g", #{ assignedRoles: ["Steward"] });
           tenant.users.ensure(#{ subject: "u", name: "m" }); s.assign(g, ["consumer", "operator"]);"#,
    );
    let told = report.good().told();
    assert_eq!(told.len(), 4);
    assert!(told.iter().all(|step| step.starts_with("Updated")), "{told:?}");
}

#[test]
fn one_assignee_named_in_two_ways_is_one_thing() {
    let project = Project::new();
    let report = project.run(
        r#"let s = tenant.spaces.ensure("S", "shared"); let g = tenant.groups.ensure("g");
           parallel([g, g.id], |who| s.assign(who, ["consumer"]));"#,
    );
    assert!(report.failure().contains("both deal with assignee"), "{}", report.failure());
}

#[test]
fn what_branches_wrote_is_known_after_them() {
    let project = Project::new();
    let report = project
        .run(
            r#"let live = tenant.spaces.ensure("Production", "managed"); live.assignments();
               let gs = parallel(["a", "b"], |name| tenant.groups.ensure(name));
               parallel(gs, |g| live.assign(g, ["consumer"]));
               for g in gs { live.assign(g, ["consumer"]); }"#,
        )
        .good();
    assert_eq!(report.requests().iter().filter(|id| **id == "getSpaceAssignments").count(), 1);
    assert_eq!(report.writes().iter().filter(|id| id.contains("Assignment")).count(), 2);
}
