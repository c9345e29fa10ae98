//! Settings and customers: what good ones become, and the whole screen that bad ones get. Cases lie in `tests/cases`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tenantry::interpreter::{IdentitySource, License};
use tenantry::project::{Customer, InputError, Project, Schema, Target};
use tenantry::qlik::{Access, Addresses, Credentials, OauthClient};

fn cases(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(folder)
}

/// Compares with the screen that lies beside the case.
fn screen(folder: &str, name: &str, error: &InputError) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(cases(folder));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let prefix = format!("{}/", cases("").display().to_string().trim_end_matches('/'));
    let screen = error.to_string().replace(&prefix, "");
    settings.bind(|| insta::assert_snapshot!(name, screen));
}

fn settings(text: &str) -> Result<Project, InputError> {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("tenantry.toml"), text).unwrap();
    Project::open(folder.path())
}

#[test]
fn bad_settings_get_their_screen() {
    let mut seen = 0;
    for entry in std::fs::read_dir(cases("settings")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        seen += 1;
        let name = path.file_stem().unwrap().to_str().unwrap();
        let folder = TempDir::new().unwrap();
        std::fs::copy(&path, folder.path().join("tenantry.toml")).unwrap();
        let error = Project::open(folder.path()).unwrap_err();
        assert!(!error.to_string().contains("canary"), "a secret is shown: {error}");
        let mut settings = insta::Settings::clone_current();
        settings.add_filter(&regex(folder.path()), "");
        settings.bind(|| screen("settings", name, &error));
    }
    assert!(seen >= 7);
}

fn regex(folder: &Path) -> String {
    format!("{}/", folder.display()).replace('.', "\\.")
}

#[test]
fn without_a_settings_file_the_sandbox_is_the_target() {
    let folder = TempDir::new().unwrap();
    let project = Project::open(folder.path()).unwrap();
    assert_eq!(project.defaults().target, "sandbox");
    assert!(matches!(project.target("sandbox").unwrap(), Target::Sandbox));
    assert_eq!(project.state_folder(), folder.path().join(".tenantry"));
    let error = project.target("prod").unwrap_err();
    insta::assert_snapshot!(error, @r#"
    there is no target `prod`
     hint: known are sandbox; others are described in tenantry.toml under [targets.prod]
    "#);
    let error = project.target("sandbx").unwrap_err();
    insta::assert_snapshot!(error, @r#"
    there is no target `sandbx`
     hint: did you mean `sandbox`?
    "#);
}

#[test]
fn the_project_is_found_from_an_inner_folder() {
    let folder = TempDir::new().unwrap();
    let inner = folder.path().join("customers/eu");
    std::fs::create_dir_all(&inner).unwrap();
    assert_eq!(Project::find(&inner).unwrap().root(), inner);
    std::fs::write(folder.path().join("tenantry.toml"), "").unwrap();
    assert_eq!(Project::find(&inner).unwrap().root(), folder.path());
}

const GOOD: &str = r#"
[targets.prod]
license_key = { command = ["printf", "eyJ.license"] }
console = { client_id = { env = "CONSOLE_ID" }, client_secret = { env = "CONSOLE_SECRET" } }
regions.eu = { client_id = "cl_eu", client_secret = { env = "EU_SECRET" } }
regions.us = { client_id = "cl_us", client_secret = { file = "us.secret" } }

[targets.staging]
organization = "halyard-staging"
license_from = "SOURCE.eu.qlikcloud.com"
address = "http://127.0.0.1:8080/gateway"
[targets.staging.regions.console]
client_id = "cl_odd"
client_secret = { env = "EU_SECRET" }

[targets.trial]
tenant = "q7m2.eu.qlikcloud.com"
api_key = { env = "TRIAL_KEY" }

[secrets]
smtp = { env = "SMTP" }

[defaults]
target = "staging"
concurrency = 8

[limits]
operations = 500
"#;

#[tokio::test]
async fn good_settings_become_what_a_run_needs() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("tenantry.toml"), GOOD).unwrap();
    std::fs::write(folder.path().join("us.secret"), "us\n").unwrap();
    let project = Project::open(folder.path()).unwrap();
    assert_eq!((project.defaults().target.as_str(), project.defaults().concurrency), ("staging", Some(8)));
    assert_eq!((project.limits().operations, project.limits().steps), (Some(500), None));
    let environment = [("CONSOLE_ID", "cl_org"), ("CONSOLE_SECRET", "org"), ("EU_SECRET", "eu"), ("SMTP", "mail")];
    let environment: BTreeMap<String, String> =
        environment.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
    let vault = project.vault(Arc::new(environment));
    let text = async |name: &str| vault.text(name).await.unwrap().expose_secret().to_owned();
    assert_eq!(text("smtp").await, "mail");

    let Target::Organization(prod) = project.target("prod").unwrap() else { panic!("an organization") };
    let client = |id: &str, secret: &str| OauthClient { id: id.to_owned(), secret: secret.to_owned() };
    let credentials = prod.credentials(&vault).await.unwrap();
    assert_eq!(
        credentials,
        Credentials::Organization {
            regions: BTreeMap::from([
                ("eu".to_owned(), client("cl_eu", "target/prod/regions/eu/client_secret")),
                ("us".to_owned(), client("cl_us", "target/prod/regions/us/client_secret")),
            ]),
            console: Some(client("cl_org", "target/prod/console/client_secret")),
        }
    );
    assert_eq!(text("target/prod/regions/us/client_secret").await, "us");
    assert_eq!(text("target/prod/license_key").await, "eyJ.license");
    assert_eq!(prod.identity(), IdentitySource::LicenseKey("target/prod/license_key".to_owned()));
    assert_eq!(prod.license(), License::Key("target/prod/license_key".to_owned()));
    assert_eq!(prod.addresses(), Addresses::Direct);

    let Target::Organization(staging) = project.target("staging").unwrap() else { panic!("an organization") };
    assert_eq!(staging.identity(), IdentitySource::Given("halyard-staging".to_owned()));
    assert_eq!(staging.license(), License::From("source.eu.qlikcloud.com".to_owned()));
    assert_ne!(staging.addresses(), Addresses::Direct);
    assert!(staging.console.is_none(), "a region may be called anything");

    let Target::Pinned(trial) = project.target("trial").unwrap() else { panic!("pinned") };
    let host = "q7m2.eu.qlikcloud.com".to_owned();
    let access = Access::ApiKey("target/trial/api_key".to_owned());
    assert_eq!(trial.credentials(&vault).await.unwrap(), Credentials::Pinned { host, access });
    let shown = format!("{project:?} {vault:?}");
    assert!(!shown.contains("eyJ") && !shown.contains("\"us\\n\""), "{shown}");
}

#[tokio::test]
async fn a_source_tenant_is_opened_by_the_client_of_its_region_or_by_its_own() {
    let project = settings(
        r#"
        [targets.prod]
        organization = "halyard"
        regions.eu = { client_id = "cl_eu", client_secret = { env = "EU" } }
        source = "apps.eu.qlikcloud.com"

        [targets.trial]
        tenant = "q7m2.eu.qlikcloud.com"
        api_key = { env = "TRIAL_KEY" }
        source = { tenant = "apps.us.qlikcloud.com", client_id = "cl_apps", client_secret = { env = "APPS" } }
        "#,
    )
    .unwrap();
    let vault = project.vault(Arc::new(BTreeMap::from([("APPS".to_owned(), "apps".to_owned())])));
    let client = |id: &str, secret: &str| Access::Client(OauthClient { id: id.to_owned(), secret: secret.to_owned() });
    let host = |name: &str| tenantry::operation::Host::Tenant(name.to_owned());

    let Target::Organization(prod) = project.target("prod").unwrap() else { panic!("an organization") };
    let opened = prod.credentials(&vault).await.unwrap().access(&host("apps.eu.qlikcloud.com")).unwrap();
    assert_eq!(opened, client("cl_eu", "target/prod/regions/eu/client_secret"));

    let Target::Pinned(trial) = project.target("trial").unwrap() else { panic!("pinned") };
    let credentials = trial.credentials(&vault).await.unwrap();
    let opened = credentials.access(&host("APPS.us.qlikcloud.com")).unwrap();
    assert_eq!(opened, client("cl_apps", "target/trial/source/client_secret"));
    assert_eq!(vault.text("target/trial/source/client_secret").await.unwrap().expose_secret(), "apps");
    let own = credentials.access(&host("q7m2.eu.qlikcloud.com")).unwrap();
    assert_eq!(own, Access::ApiKey("target/trial/api_key".to_owned()));
    credentials.access(&host("other.us.qlikcloud.com")).unwrap_err();
}

#[test]
fn a_source_tenant_that_nothing_opens_is_told() {
    for (source, told) in [
        (r#"source = "apps.us.qlikcloud.com""#, "target `prod` has no client for the region `us` of its source"),
        (r#"source = "apps""#, "`apps` is not a host name"),
        ("source = 7", "`source` must be text"),
        (
            r#"source = { tenant = "apps.us.qlikcloud.com" }"#,
            "needs either `client_id` and `client_secret` or `api_key`",
        ),
        (r#"source = { host = "apps.us.qlikcloud.com", api_key = { env = "K" } }"#, "unknown key `host`"),
    ] {
        let text = format!(
            "[targets.prod]\norganization = \"halyard\"\nregions.eu = {{ client_id = \"c\", client_secret = {{ env = \"EU\" }} }}\n{source}"
        );
        let error = settings(&text).unwrap_err();
        assert!(error.problems().iter().any(|problem| problem.message.contains(told)), "{source}: {error}");
    }
    let text = "[targets.one]\ntenant = \"q7m2.eu.qlikcloud.com\"\napi_key = { env = \"K\" }\nsource = \"apps.eu.qlikcloud.com\"";
    let error = settings(text).unwrap_err();
    assert!(error.to_string().contains("nothing opens the source"), "{error}");
}

#[test]
fn a_licence_is_not_needed_where_nothing_is_created() {
    let project = settings(
        "[targets.prod]\norganization = \"halyard\"\nconsole = { client_id = \"a\", client_secret = { env = \"B\" } }\n",
    )
    .unwrap();
    let Target::Organization(prod) = project.target("prod").unwrap() else { panic!("an organization") };
    assert_eq!(prod.license(), License::None);
}

#[test]
fn a_folder_of_customers_is_read_in_order_with_nothing_lost() {
    let customers = Customer::load(&cases("customers/good")).unwrap();
    let values: Vec<&Value> = customers.iter().map(Customer::values).collect();
    assert_eq!(
        values[0],
        &json!({ "code": "fenwick", "name": "Fenwick \"Wealth\" é😀", "seats": -3, "share": 1500.0, "none": null, "list": [], "map": {} })
    );
    let groups = json!([{ "name": "hb-viewers", "roles": ["SharedSpaceCreator"] }]);
    assert_eq!(
        values[1],
        &json!({ "code": "harbour", "name": "Harbour Logistics", "region": "eu", "country": "no", "customer_number": "007",
                 "seats": 12, "share": 0.25, "groups": groups, "again": groups })
    );
    assert_eq!(
        values[2],
        &json!({ "brand": { "color": "#0a4d8c" }, "code": "pulsewise", "name": "Pulsewise", "seats": 16, "since": "2026-11-24" })
    );
    assert_eq!(customers.len(), 3);
}

#[test]
fn bad_customers_get_their_screen() {
    for case in ["many-problems", "two-codes", "empty"] {
        let error = Customer::load(&cases("customers").join(case)).unwrap_err();
        screen("customers", case, &error);
    }
    for case in ["columns", "ragged", "none"] {
        let error = Customer::load(&cases("customers/rows").join(format!("{case}.csv"))).unwrap_err();
        screen("customers", &format!("rows-{case}"), &error);
    }
    assert!(Customer::load(&cases("customers/nowhere")).unwrap_err().to_string().contains("cannot be read"));
}

#[test]
fn rows_keep_their_text_until_the_schema_says_what_they_are() {
    let customers = Customer::load(&cases("customers/rows/good.csv")).unwrap();
    assert_eq!(customers.len(), 2);
    assert_eq!(
        customers[0].values(),
        &json!({ "code": "harbour", "name": "Harbour; Logistics", "region": "eu", "seats": "12", "trial": "true",
                 "postcode": "00420", "brand": { "color": "#0a4d8c", "size": "1.5" } })
    );
    let schema = Schema::load(&cases("customers/schema/customer.json")).unwrap();
    assert_eq!(
        schema.admit(&customers[0]).unwrap().values(),
        &json!({ "code": "harbour", "name": "Harbour; Logistics", "region": "eu", "seats": 12, "trial": true,
                 "postcode": "00420", "brand": { "color": "#0a4d8c", "size": 1.5 } })
    );
    assert_eq!(
        schema.admit(&customers[1]).unwrap().values(),
        &json!({ "code": "fenwick", "name": "Fenwick \"Wealth\"", "region": "us", "trial": false, "postcode": "1000" })
    );
    let untyped = Customer::load(&cases("customers/rows/untyped.csv")).unwrap();
    screen("customers", "rows-untyped", &schema.admit(&untyped[0]).unwrap_err());
}

#[test]
fn a_customer_that_breaks_the_schema_is_told_every_place() {
    let schema = Schema::load(&cases("customers/schema/customer.json")).unwrap();
    let customer = Customer::load(&cases("customers/broken-schema.yaml")).unwrap().remove(0);
    screen("customers", "broken-schema", &schema.admit(&customer).unwrap_err());
    // The same values without a file: by pointer only.
    let given =
        Customer::from_value(json!({ "code": "x", "name": "X", "region": "eu", "groups": [{ "name": 3 }] })).unwrap();
    insta::assert_snapshot!(schema.admit(&given).unwrap_err(), @"/groups/0/name: must be text and is `3`");
}

#[test]
fn what_is_no_schema_is_refused() {
    let error = |schema: Value| Schema::from_value(schema).unwrap_err().to_string();
    assert!(error(json!({ "type": "strng" })).starts_with("is not a JSON Schema: "));
    let outside = error(json!({ "$ref": "https://example.com/customer.json" }));
    assert!(outside.starts_with("is not a JSON Schema: "), "{outside}");
}

#[test]
fn values_that_a_playbook_cannot_hold_are_refused() {
    let deep = (0..130).fold(json!("x"), |inner, _| json!([inner]));
    let refuse = |values: Value| Customer::from_value(values).unwrap_err().to_string();
    assert_eq!(refuse(json!({ "code": "x", "deep": deep })), "values are nested more than 128 deep");
    assert!(refuse(json!({ "code": "x", "id": u64::MAX })).starts_with("the number 18446744073709551615 is too large"));
    assert_eq!(refuse(json!({ "code": "x", "key": { "$secret": "l" } })), "the key `$secret` is reserved");
    let folder = TempDir::new().unwrap();
    for (file, text) in [
        ("a.json", format!("{{\"code\":\"x\",\"deep\":{}1{}}}", "[".repeat(200), "]".repeat(200))),
        ("a.yaml", format!("code: x\ndeep: {}1{}\n", "[".repeat(200), "]".repeat(200))),
        ("a.toml", format!("code = \"x\"\ndeep = {}1{}\n", "[".repeat(200), "]".repeat(200))),
        ("b.json", "[".repeat(200_000)),
        ("b.yaml", "[".repeat(200_000)),
        ("bomb.yaml", alias_bomb()),
    ] {
        let path = folder.path().join(file);
        std::fs::write(&path, text).unwrap();
        let error = Customer::load(&path).unwrap_err();
        assert!(error.to_string().len() < 1000, "{file}: {error}");
    }
}

/// Nine times the line before on each line: 9^25 values.
fn alias_bomb() -> String {
    let mut text = "code: x\na: &a [x, x]\n".to_owned();
    for letter in b'b'..=b'z' {
        let before = format!("*{}", char::from(letter - 1));
        let letter = char::from(letter);
        writeln!(text, "{letter}: &{letter} [{}]", vec![before; 9].join(", ")).unwrap();
    }
    text
}

proptest::proptest! {
    #[test]
    fn no_text_makes_reading_panic(text in "[\\PC\n\t\\[\\]{}:\"',.#=&*-]{0,80}", kind in 0..4_usize) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join(["a.yaml", "a.json", "a.toml", "a.csv"][kind]);
        std::fs::write(&path, &text).unwrap();
        let _ = Customer::load(&path).map_err(|error| error.to_string());
        let _ = settings(&text).map_err(|error| error.to_string());
    }
}
