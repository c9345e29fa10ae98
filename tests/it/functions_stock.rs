//! The stock content: playbook, templates, reference customers and their schema.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
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
