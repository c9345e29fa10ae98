//! Recorded tenants: `tenantry sandbox record`, and plans against what it leaves.

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
    assert!(by_host.error.contains("with `***` in place of secret fields"), "{}", by_host.error);
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

/// The changes that a plan on the embedded sandbox finds, as `what subject`.
fn planned(folder: &Folder, playbook: &str) -> Vec<String> {
    let plan = folder.run(&format!("plan playbooks/{playbook}.rhai --customer customers/harbour.yaml --json"));
    let told = plan.json();
    assert_eq!(told["plans"][0]["status"], "succeeded", "{playbook}: {}{}", plan.out, plan.error);
    let changes = told["plans"][0]["changes"].as_array().unwrap().iter();
    let changes: Vec<String> = changes
        .map(|one| format!("{} {}", one["change"].as_str().unwrap(), one["subject"].as_str().unwrap()))
        .collect();
    assert_eq!(plan.code, Some(if changes.is_empty() { 0 } else { 2 }), "{playbook}: {}", plan.error);
    changes
}

#[test]
fn a_plan_against_a_recorded_tenant_needs_nobody_who_is_far_away() {
    let folder = Folder::stock();
    let served = Served::start(&folder, "--state there.db");
    hydrated(&served, &folder);
    // What the page says, with another target.
    let page = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/concepts/plan.md"))
        .unwrap();
    let section = page.split("## Without the real tenant").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut commands = section.lines().filter_map(|line| line.strip_prefix("tenantry "));
    let record = commands.next().unwrap();
    let recorded = fine(at(&served, &folder, &record.replace(" --target prod", "")));
    assert!(recorded.error.contains("not in it: what is inside apps"), "{}", recorded.error);
    served.end();
    let others: Vec<_> = commands.map(|command| fine(folder.run(command))).collect();
    assert_eq!(others.len(), 3);

    for playbook in ["onboard", "hydrate", "republish"] {
        assert_eq!(planned(&folder, playbook), Vec::<String>::new(), "{playbook}");
    }
    let customer = std::fs::read_to_string(folder.path().join("customers/harbour.yaml")).unwrap();
    folder.write("customers/harbour.yaml", &customer.replace("#F2A104", "#112233"));
    assert_eq!(planned(&folder, "onboard"), ["updated theme \"hb-theme\""]);
    assert_eq!(planned(&folder, "hydrate"), Vec::<String>::new());
}
