//! The stock content: playbook, templates, reference customers and their schema.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tenantry::event::Change;
use tenantry::project::{Customer, Schema};
use tenantry::sandbox::FaultFile;

use crate::functions_driver::Project;

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn customers() -> Vec<Customer> {
    let schema = Schema::load(&project().join("schemas/customer.json")).unwrap();
    Customer::load(&project().join("customers"))
        .unwrap()
        .iter()
        .map(|customer| schema.admit(customer).unwrap())
        .collect()
}

#[test]
fn the_reference_customers_satisfy_the_schema() {
    let codes: Vec<String> = customers().iter().map(|customer| customer.code().to_owned()).collect();
    assert_eq!(codes, ["fw", "hb", "pu"]);
}

#[test]
fn the_schema_refuses_what_onboarding_could_not_use() {
    let schema = Schema::load(&project().join("schemas/customer.json")).unwrap();
    let customers = customers();
    let of = |code: &str| customers.iter().find(|customer| customer.code() == code).unwrap().values().clone();
    let broken = |code: &str, change: &dyn Fn(&mut Value)| {
        let mut values = of(code);
        change(&mut values);
        schema.admit(&Customer::from_value(values).unwrap()).unwrap_err().to_string()
    };
    broken("hb", &|values| values["alias"] = json!("hb"));
    broken("hb", &|values| values["spaces"][0]["name"] = json!("a/b"));
    broken("hb", &|values| values["web_integration"][0] = json!("https://*.harbour.example"));
    broken("hb", &|values| values["regoin"] = json!("eu"));
    broken("hb", &|values| values["idp"]["discoveryUrl"] = json!("https://x"));
    broken("hb", &|values| values["theme"]["primary"] = json!("blue"));
    broken("fw", &|values| {
        values.as_object_mut().unwrap().remove("recovery_admin");
    });
}

fn onboard(project: &Project) -> crate::functions_driver::Report {
    project.play_file("playbooks/onboard.rhai").good()
}

#[test]
fn the_reference_customers_are_onboarded_and_a_second_time_nothing_is_written() {
    let mut all = customers().into_iter();
    let mut project = Project::stock(all.next().unwrap().values().clone());
    loop {
        let code = project.customer["code"].clone();
        let first = onboard(&project);
        assert!(first.output["url"].as_str().unwrap().starts_with("https://"), "{code}");
        let again = onboard(&project);
        assert_eq!(again.writes(), Vec::<&str>::new(), "{code}: {:?}", again.told());
        assert_eq!(again.output, first.output);
        assert!(again.steps.iter().all(|step| !step.change.is_write()), "{code}: {:?}", again.told());
        let (first, again) = (first.requests().len(), again.requests().len());
        println!("{code}: {first} requests, then {again}");
        assert!(again * 2 <= first, "{code}: {first} requests, then {again}");
        match all.next() {
            Some(customer) => project = project.with_customer(customer.values().clone()),
            None => break,
        }
    }
    assert_eq!(project.sandbox.violations(), [], "nothing that was sent broke the contract");
}

#[test]
fn the_reference_customers_are_hydrated_and_a_second_time_nothing_is_written() {
    for customer in customers() {
        let project = Project::stock(customer.values().clone());
        let early = project.play_file("playbooks/hydrate.rhai");
        assert!(early.error.is_some() && early.writes().is_empty(), "there is no tenant yet");
        onboard(&project);
        let hydrate = || project.play_file("playbooks/hydrate.rhai").good();
        let first = hydrate();
        let published = |name: &&Value| {
            let app = format!(
                "app \"{}\" in space \"{}\"",
                name["name"].as_str().unwrap(),
                name["publish"].as_str().unwrap()
            );
            first.steps.iter().any(|step| step.subject == app && step.change.is_write())
        };
        let apps = customer.values()["apps"].as_array().unwrap();
        assert_eq!((apps.len(), apps.iter().filter(published).count()), (2, 2), "{:?}", first.told());
        let scheduled = first.steps.iter().filter(|step| step.subject.starts_with("task \"Reload of")).count();
        assert_eq!(scheduled, apps.iter().filter(|app| app.get("reload").is_some()).count(), "{:?}", first.told());
        let again = hydrate();
        assert_eq!(again.writes(), Vec::<&str>::new(), "{:?}", again.told());
        assert_eq!(again.output, first.output);
        println!("{}: {} requests, then {}", customer.code(), first.requests().len(), again.requests().len());
        assert_eq!(project.sandbox.violations(), [], "nothing that was sent broke the contract");
    }
}

#[test]
fn a_cloud_that_lags_and_limits_is_onboarded_and_hydrated_all_the_same() {
    let file = "[lags]\nindex = 5\npublish = 3\nreaders = 120\nautomations = 2\n[limits]\ntiers = true\ntenant = true";
    let file = FaultFile::parse(file).unwrap();
    for customer in customers() {
        let project = Project::with(|settings| {
            settings.lags = file.lags();
            settings.limits = file.limits();
        });
        let project = project.into_stock(customer.values().clone());
        onboard(&project);
        project.play_file("playbooks/hydrate.rhai").good();
        // What a run does before the lists show the one before is `looked_up`'s.
        project.later(Duration::from_secs(10));
        let again = project.play_file("playbooks/hydrate.rhai").good();
        assert_eq!(again.writes(), Vec::<&str>::new(), "{:?}", again.told());
    }
}

/// Runs the stock republishing with this version wanted of Harbour's first app; the change of what users see, the versions,
/// the writes.
fn republished(project: Project, version: Option<&str>) -> (Project, Option<Change>, Value, Vec<String>) {
    let mut customer = project.customer.clone();
    match version {
        Some(version) => customer["apps"][0]["version"] = json!(version),
        None => drop(customer["apps"][0].as_object_mut().unwrap().remove("version")),
    }
    let project = project.with_customer(customer);
    let report = project.play_file("playbooks/republish.rhai").good();
    let live = r#"app "Shipment Tracking" in space "Production""#;
    let change = report.steps.iter().find(|step| step.subject == live).map(|step| step.change);
    let writes = report.writes().into_iter().map(str::to_owned).collect();
    (project, change, report.output["versions"]["Shipment Tracking"].clone(), writes)
}

#[test]
fn a_release_is_republished_taken_back_and_brought_again() {
    const SOURCE: &str = "halyardapps0000.eu.qlikcloud.com";
    let mut customer = customers().into_iter().find(|customer| customer.code() == "hb").unwrap().values().clone();
    // Its first app comes from the source tenant.
    customer["apps"][0]["from"] = json!("Apps");
    let project = Project::stock(customer);
    onboard(&project);
    project.play_file("playbooks/hydrate.rhai").good();
    let (mut project, change, version, writes) = republished(project, None);
    assert_eq!((change, version, writes), (Some(Change::Unchanged), json!("1.0.0"), vec![]), "there is nothing new");

    let source = project.source.take();
    let develop = r#"let source = tenants::get("SOURCE");
        let app = source.spaces.get("Apps").apps.get("Shipment Tracking");
        source.request("updateAppInfo", #{ path: #{ appId: app.id }, body: #{ attributes: #{ description: "{v1.1.0} With delays" } } });"#;
    project.play(&develop.replace("SOURCE", SOURCE)).good();
    project.source = source;
    let (project, change, version, writes) = republished(project, None);
    assert_eq!((change, version), (Some(Change::Updated), json!("1.1.0")));
    assert_eq!(writes, ["exportApp", "importApp", "updateAppInfo", "republishApp", "queueReload"]);
    let (project, change, _, writes) = republished(project, None);
    assert_eq!((change, writes), (Some(Change::Unchanged), vec![]));

    let mut project = project;
    for (wanted, shown) in [(Some("1.0.0"), "1.0.0"), (None, "1.1.0")] {
        let (same, change, version, writes) = republished(project, wanted);
        assert_eq!((change, version), (Some(Change::Updated), json!(shown)));
        assert_eq!(writes, ["republishApp", "queueReload"]);
        let (same, change, version, writes) = republished(same, wanted);
        assert_eq!((change, version, writes), (Some(Change::Unchanged), json!(shown), vec![]));
        project = same;
    }
}

#[test]
fn an_app_that_must_have_section_access_is_not_published_without() {
    let fenwick = customers().into_iter().find(|customer| customer.code() == "fw").unwrap();
    let mut values = fenwick.values().clone();
    assert_eq!(values["apps"][0]["section_access"], true, "its clients see their own portfolios");
    values["apps"][1]["section_access"] = json!(true);
    let project = Project::stock(values);
    onboard(&project);
    let report = project.play_file("playbooks/hydrate.rhai");
    let failure = report.failure();
    assert!(failure.contains("the app \"Adviser Book\" has no section access, which its customer needs"), "{failure}");
    assert_eq!(report.writes().iter().filter(|id| **id == "publishApp").count(), 1, "the other one is");
}

/// What must wait for what: the tenant (create, stamp, prove), groups or spaces (look, make), who is in a space, the
/// assignment, the proof of a login.
const CRITICAL_PATH: u32 = 3 + 2 + 1 + 1 + 1;

#[test]
fn one_onboarding_takes_little_longer_than_what_must_wait_for_what() {
    for customer in customers() {
        let mut project = Project::stock(customer.values().clone());
        project.latency = Duration::from_millis(100);
        let report = onboard(&project);
        println!("{}: {:?} for {} requests", customer.code(), report.elapsed, report.requests().len());
        assert!(report.elapsed <= project.latency * CRITICAL_PATH * 13 / 10, "{:?}", report.elapsed);
    }
}
