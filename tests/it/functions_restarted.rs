//! A host call that starts again in a resumed run: what it finds done is its own work.

use serde_json::json;
use tenantry::event::Change;
use tenantry::operation::Effect;

use crate::functions_driver::Project;

/// The changes a second process tells when the first wrote these in the script's calls.
#[track_caller]
fn told(script: &str, written: &[(&str, &str, Effect)]) -> Vec<String> {
    let mut project = Project::new();
    project.run(script).good();
    for (key, subject, effect) in written {
        project.written.note(&key.parse().unwrap(), subject, *effect);
    }
    let again = project.run(script).good();
    assert_eq!(again.writes(), Vec::<&str>::new(), "it is all done already");
    again.steps.iter().map(|step| format!("{:?} {}", step.change, step.subject)).collect()
}

const SCRIPT: &str = r#"
    let space = tenant.spaces.ensure("Staging", "shared");
    let viewers = tenant.groups.ensure("viewers");
    space.assign(viewers, ["consumer"]);
    tenant.licenses.auto_assign(#{ analyzer: true });
    tenant.groups.everyone_without(["AutomationCreator"]);
    tenant.licenses.ensure_seats([#{ subject: "hb|1", type: "analyzer" }]);
    tenant.spaces.delete("Old");
"#;

#[test]
fn work_of_the_call_itself_is_told_as_done() {
    let written = [
        ("1:createSpace#0", "space \"Staging\"", Effect::Create),
        ("2:createGroup#0", "group \"viewers\"", Effect::Create),
        ("2:patchGroup#0", "group \"viewers\"", Effect::Update),
        ("4:updateLicenseSettings#0", "automatic assignment of seats", Effect::Update),
        ("5:patchGroup#0", "group Everyone", Effect::Update),
        ("6:addLicenseAssignments#0", "analyzer seat of hb|1", Effect::Create),
        ("7:deleteSpace#0", "space \"Old\"", Effect::Delete),
        // Another call's work, and work on another thing, are not its own.
        ("9:createSpaceAssignment#0", "group \"viewers\" in space \"Staging\"", Effect::Create),
        ("3:createSpaceAssignment#0", "group \"others\" in space \"Staging\"", Effect::Create),
    ];
    let told = told(SCRIPT, &written);
    assert_eq!(
        told[1..],
        [
            "Created space \"Staging\"",
            "Created group \"viewers\"",
            "Unchanged group \"viewers\" in space \"Staging\"",
            "Updated automatic assignment of seats",
            "Updated group Everyone",
            "Created analyzer seat of hb|1",
            "Deleted space \"Old\"",
        ]
    );
}

#[test]
fn without_earlier_work_nothing_has_changed() {
    assert!(told(SCRIPT, &[]).iter().all(|line| line.starts_with("Unchanged ")));
}

#[test]
fn a_tenant_that_the_call_made_is_told_with_its_name() {
    let mut project = Project::new();
    project.play("tenants::ensure(customer);").good();
    project.written.note(&"0:createTenant#0".parse().unwrap(), "tenant of hb", Effect::Create);
    let again = project.play("tenants::ensure(customer);").good();
    assert_eq!(again.writes(), Vec::<&str>::new());
    let step = again.last();
    assert_eq!(step.change, Change::Created);
    let fields: Vec<(&str, &serde_json::Value)> =
        step.fields.iter().map(|field| (field.field.as_str(), &field.after)).collect();
    assert_eq!(fields, [("name", &json!("Harbour Logistics")), ("alias", &json!("halyard-hb.eu.qlikcloud.com"))]);
}

/// A login proves an identity provider that the run has made, whichever of its processes made it.
#[test]
fn a_provider_that_the_call_made_is_proved_by_a_login() {
    let script = r#"
        let key = keys::ensure("portal");
        tenant.identity_providers.ensure(#{
            provider: "external", protocol: "jwtAuth", interactive: false,
            options: #{ jwtLoginEnabled: true, issuer: "https://id.example/hb", staticKeys: [#{ kid: "a", pem: key.certificate }] },
        });
        tenant.verify_login(#{ subject: "hb|probe", name: "Probe", email: "probe@hb.example" });
    "#;
    let mut project = Project::new();
    project.run(script).good();
    assert_eq!(project.run(script).good().last().change, Change::Unchanged);
    let subject = "identity provider jwtAuth https://id.example/hb";
    project.written.note(&"2:createIdp#0".parse().unwrap(), subject, Effect::Create);
    let again = project.run(script).good();
    assert_eq!(again.last().change, Change::Verified);
    assert!(again.requests().contains(&"exchangeJwtForSession"));
}
