//! Tenants and their own settings.

use serde_json::json;
use tenantry::event::Change;
use tenantry::interpreter::{Enrolment, License};

use crate::functions_driver::Project;

#[test]
fn a_tenant_is_created_once_and_stamped_at_once() {
    let project = Project::new();
    let first =
        project.play("let t = tenants::ensure(customer); output(#{ id: t.id, host: t.hostname, url: t.url });").good();
    assert_eq!(first.writes(), ["createTenant", "patchTenant"]);
    assert_eq!(first.last().change, Change::Created);
    let host = first.output["host"].as_str().unwrap();
    assert!(host.ends_with(".eu.qlikcloud.com"), "{host}");
    assert_eq!(first.output["url"], json!(format!("https://{host}")));

    let again =
        project.play("let t = tenants::ensure(customer); output(#{ id: t.id, host: t.hostname, url: t.url });").good();
    assert_eq!(again.output, first.output);
    assert_eq!(again.requests(), ["getTenant"]);
    assert_eq!(again.last().change, Change::Unchanged);

    let document = project.play("output(#{ t: tenants::get(customer).settings.get() });").good().output["t"].clone();
    assert_eq!(document["name"], json!("Harbour Logistics"));
    assert_eq!(document["alias"], json!("halyard-hb.eu.qlikcloud.com"));
}

#[test]
fn a_customer_must_say_who_it_is() {
    let mut project = Project::new();
    project.customer = json!({ "name": "x" });
    let report = project.play("tenants::ensure(customer);");
    assert!(report.failure().contains("the customer has no `code`"), "{}", report.failure());
    let report = project.play("tenants::ensure(42);");
    assert!(report.failure().contains("a customer is a map"), "{}", report.failure());
    assert!(report.operations.is_empty());
}

#[test]
fn a_tenant_that_could_not_be_found_again_is_not_created() {
    let mut project = Project::new();
    project.customer = json!({ "code": "hb", "region": "eu" });
    let report = project.play("tenants::ensure(customer);");
    assert!(report.failure().contains("neither `name` nor `alias`"), "{}", report.failure());
    assert!(report.writes().is_empty());
}

#[test]
fn a_bad_alias_is_found_before_a_tenant_is_created() {
    let mut project = Project::new();
    for (alias, problem) in [
        ("hb", "is 2 long; 3 to 63 characters are allowed"),
        ("halyard-hb.us.qlikcloud.com", "is not in the tenant's region"),
        ("halyard_hb", "is not a host name's label"),
    ] {
        project.customer["alias"] = json!(alias);
        let report = project.play("tenants::ensure(customer);");
        assert!(report.failure().contains(problem), "{}", report.failure());
        assert!(report.operations.is_empty());
    }
}

#[test]
fn settings_are_patched_where_they_differ() {
    let project = Project::new();
    let script = r#"tenant.settings.update(#{ name: "Harbour", alias: "halyard-harbour",
        autoAssignCreateSharedSpacesRoleToProfessionals: false });"#;
    let first = project.run(script).good();
    assert_eq!(first.writes(), ["createTenant", "patchTenant", "patchTenant"]);
    let changed: Vec<&str> = first.last().fields.iter().map(|change| change.field.as_str()).collect();
    assert_eq!(changed, ["alias", "autoAssignCreateSharedSpacesRoleToProfessionals", "name"]);
    assert_eq!(first.last().fields[2].before, json!("Harbour Logistics"));

    let again = project.run(script).good();
    assert_eq!(again.requests(), ["getTenant"], "the tenant is read once for both calls");
    assert_eq!(again.last().change, Change::Unchanged);

    let report = project.run(r#"tenant.settings.update(#{ nmae: "x" });"#);
    assert!(report.failure().contains("unknown field `nmae` | did you mean `name`?"), "{}", report.failure());
    let report = project.run("tenant.settings.update(#{ name: 5 });");
    assert!(report.failure().contains("`name` is a number; a text is needed"), "{}", report.failure());
    let report = project.run(r#"tenant.settings.update(#{ enableAnalyticCreation: "no" });"#);
    assert!(report.failure().contains("is a text; true or false is needed"), "{}", report.failure());
    assert!(report.writes().is_empty());
}

#[test]
fn a_tenant_can_be_had_by_host_name_and_adopted() {
    let mut project = Project::new();
    let host = project.play("output(#{ h: tenants::ensure(customer).hostname });").good().output["h"].clone();
    let got = project.play(&format!("output(#{{ r: tenants::get({host}).region }});")).good();
    assert_eq!(got.output["r"], json!("eu"));
    let report = project.play(r#"tenants::get("nonsense");"#);
    assert!(report.failure().contains("is not a tenant's host name"), "{}", report.failure());

    let unchanged = project.play(&format!("tenants::adopt(customer, {host});")).good();
    assert_eq!(unchanged.last().change, Change::Unchanged);

    // A registry that knows nothing, as on another machine.
    let other = Project::on(project.sandbox.clone());
    let report = other.play("tenants::get(customer);");
    assert!(report.failure().contains("customer `hb` has no tenant"), "{}", report.failure());
    let adopted =
        other.play(&format!("tenants::adopt(customer, {host}); output(#{{ h: tenants::get(customer).hostname }});"));
    assert_eq!(adopted.good().output["h"], host);

    project.enrolment = Some(Enrolment::Pinned { hostname: host.as_str().unwrap().to_owned() });
    let pinned = project.play("output(#{ h: tenants::ensure(customer).hostname });").good();
    assert_eq!(pinned.output["h"], host);
    assert!(pinned.writes().is_empty());
}

#[test]
fn the_organization_is_looked_through_before_a_tenant_is_created() {
    let project = Project::new();
    let host = project.play("output(#{ h: tenants::ensure(customer).hostname });").good().output["h"].clone();
    let mut other = Project::on(project.sandbox.clone());
    let lists = |may_begin| {
        Some(Enrolment::Organization {
            identity: project.sandbox.organization(),
            may_begin,
            lists: true,
            license: License::Key("target/license-key".to_owned()),
        })
    };
    other.enrolment = lists(true);
    let found = other.play("output(#{ h: tenants::ensure(customer).hostname });").good();
    assert_eq!(found.output["h"], host);
    assert!(found.writes().is_empty(), "{:?}", found.writes());
    assert!(found.requests().contains(&"listOrganizationTenants"));

    let mut refused = Project::on(project.sandbox.clone());
    refused.customer["code"] = json!("zz");
    refused.customer["name"] = json!("Another");
    refused.customer["alias"] = json!("halyard-zz");
    refused.enrolment = lists(false);
    let report = refused.play("tenants::ensure(customer);");
    assert!(report.writes().is_empty());
    assert!(report.failure().contains("--new-registry"), "{}", report.failure());
}

#[test]
fn a_tenant_whose_name_and_alias_were_lost_gets_them_with_the_next_run() {
    let mut project = Project::new();
    project.play("tenants::ensure(customer);").good();
    project.customer = json!({ "code": "fw", "name": "Fenwick", "region": "eu", "alias": "halyard-hb" });
    let script = "output(#{ t: tenants::ensure(customer).settings.get() });";
    let taken = project.play(script);
    assert_eq!(taken.writes(), ["createTenant", "patchTenant"]);
    assert!(taken.failure().contains("already in use"), "{}", taken.failure());
    assert!(taken.failure().contains("free in its whole region"), "{}", taken.failure());

    project.customer["alias"] = json!("halyard-fw");
    let mended = project.play(script).good();
    assert_eq!(mended.writes(), ["patchTenant"], "it is not created again");
    assert_eq!(mended.last().change, Change::Updated);
    assert_eq!(mended.output["t"]["alias"], json!("halyard-fw.eu.qlikcloud.com"));
    assert_eq!(mended.output["t"]["name"], json!("Fenwick"));
    assert_eq!(project.play(script).good().requests(), ["getTenant"]);

    // What the tenant has is left to `tenant.settings.update`.
    project.customer["name"] = json!("Fenwick Wealth");
    assert!(project.play(script).good().writes().is_empty());
}

#[test]
fn a_deactivated_tenant_is_named_as_such_and_not_made_again() {
    let project = Project::new();
    let off = r#"tenant.request("deactivateTenant", #{ path: #{ tenantId: tenant.id }, body: #{},
        headers: #{ "qlik-confirm-hostname": tenant.hostname } });"#;
    let ended = project.run(&format!("{off} tenant.groups.list();"));
    assert!(ended.failure().contains("is deactivated: reactivate it first"), "{}", ended.failure());
    let after = project.play("tenants::ensure(customer);");
    assert!(after.failure().contains("is deactivated: reactivate it first"), "{}", after.failure());
    assert!(after.writes().is_empty());

    // Its alias stays taken, so the organization's list must not be read as if it were gone.
    let mut other = Project::on(project.sandbox.clone());
    other.enrolment = Some(Enrolment::Organization {
        identity: project.sandbox.organization(),
        may_begin: true,
        lists: true,
        license: License::Key("target/license-key".to_owned()),
    });
    let listed = other.play("tenants::ensure(customer);");
    assert!(listed.failure().contains("is disabled | reactivate it first"), "{}", listed.failure());
    assert!(listed.writes().is_empty(), "{:?}", listed.writes());
}
