//! Recorded tenants: `tenantry sandbox record`.

use serde_json::json;

use crate::support::command_line::{Ended, Folder, Served};

#[track_caller]
fn fine(ended: Ended) -> Ended {
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.error);
    ended
}

/// A target of the project: the served sandbox, with its one client.
fn target(served: &Served) -> String {
    let id = served.text("client_id");
    let client = format!("{{ client_id = \"{id}\", client_secret = {{ env = \"SECRET\" }} }}");
    format!(
        "[targets.local]\naddress = \"{}\"\nlicense_key = {{ env = \"KEY\" }}\nconsole = {client}\nregions.eu = {client}",
        served.text("url")
    )
}

fn at(served: &Served, folder: &Folder, arguments: &str) -> Ended {
    let mut command = folder.command(&format!("{arguments} --target local"));
    command.env("SECRET", served.text("client_secret")).env("KEY", served.text("license_key"));
    Ended::of(command.output().unwrap())
}

/// A project whose customer has a tenant on a served sandbox, with all that the stock playbooks put there.
fn hydrated(served: &Served, folder: &Folder) {
    folder.add_settings(&target(served));
    for playbook in ["onboard", "hydrate"] {
        fine(at(served, folder, &format!("run playbooks/{playbook}.rhai --customer customers/harbour.yaml --quiet")));
    }
}

/// What is different between two states, as lines: what it is and how it differs.
fn differences(folder: &Folder, before: &str, after: &str) -> Vec<String> {
    let diff = fine(folder.run(&format!("sandbox diff {before} {after} --json"))).json();
    let lines = diff["differences"].as_array().unwrap().iter().flat_map(|one| {
        let what = format!("{} {}", one["how"].as_str().unwrap(), one["resource"].as_str().unwrap());
        let fields = one["fields"].as_array().unwrap().iter();
        let lines: Vec<_> = fields
            .map(|field| match one["resource"].as_str() {
                Some("settings") => format!("{what} {}", one["name"].as_str().unwrap()),
                _ => format!("{what} {}", field["path"].as_str().unwrap()),
            })
            .collect();
        lines
    });
    let mut lines: Vec<String> = lines.filter(|line| !line.contains(" organization ")).collect();
    lines.sort();
    lines.dedup();
    lines
}

#[test]
fn a_tenant_of_a_target_is_recorded_without_secrets_and_served_again() {
    let folder = Folder::stock();
    let served = Served::start(&folder, "--state there.db");
    hydrated(&served, &folder);
    let told = fine(at(&served, &folder, "sandbox record --customer hb --out here.db --json")).json();
    assert_eq!((&told["version"], &told["missing"]), (&json!(1), &json!([])));
    let host = told["tenant"].as_str().unwrap();
    let by_host = fine(at(&served, &folder, &format!("sandbox record --tenant {host} --out same.db")));
    assert!(by_host.error.contains("without secrets"), "{}", by_host.error);
    for (command, code, reason) in [
        ("sandbox record --customer hb --out here.db", 4, "exists, and stays as it is"),
        ("sandbox record --customer nobody --out x.db", 4, "no tenant for the customer `nobody`"),
        ("sandbox record --out x.db", 4, "which of its tenants"),
        ("sandbox record --tenant nowhere.eu.qlikcloud.com --out x.db", 5, "LOGIN-2"),
    ] {
        let refused = at(&served, &folder, command);
        assert_eq!(refused.code, Some(code), "{command}: {}", refused.error);
        assert!(refused.error.contains(reason), "{command}: {}", refused.error);
    }
    assert!(!folder.path().join("x.db").exists());
    let secret = served.text("client_secret").to_owned();
    served.end();
    let whole = std::fs::read(folder.path().join("here.db")).unwrap();
    assert!(!whole.windows(secret.len()).any(|part| part == secret.as_bytes()));
    assert_eq!(differences(&folder, "here.db", "same.db"), Vec::<String>::new());

    // What was recorded is what was there. Settings that were never touched are the defaults; what a schedule loads is
    // known when somebody looks.
    let expected = [
        "added settings apiKeys",
        "added settings automations",
        "added settings dataAlerts",
        "added settings licenses",
        "added settings sessions",
        "added settings sharing",
        "changed app /$content",
        "changed app /lastReloadTime",
        "changed automation /executionToken",
        "changed data connection /qConnectStatement",
    ];
    assert_eq!(differences(&folder, "there.db", "here.db"), expected);

    // And a sandbox goes on from it.
    let again = Served::start(&folder, "--state here.db");
    folder.write("tenantry.toml", &target(&again));
    let record = fine(at(&again, &folder, &format!("sandbox record --tenant {host} --out again.db --json"))).json();
    assert_eq!((&record["missing"], &record["things"]), (&json!([]), &told["things"]));
    again.end();
    assert_eq!(
        differences(&folder, "here.db", "again.db"),
        Vec::<String>::new(),
        "a recording of a recording is the same"
    );
}
