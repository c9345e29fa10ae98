//! `tenantry plan` and `tenantry apply`, as a person or a script would use them.

use serde_json::{Value, json};
use tenantry::sandbox::{Sandbox, Settings};

use crate::cli_run::{local, run_locally};
use crate::support::command_line::{Ended, Folder, Served};

const ONBOARD: &str = "playbooks/onboard.rhai";

/// A screen without what chance decides.
fn screen(ended: &Ended) -> String {
    format!("[exit {}]\n{}", ended.code.unwrap_or(-1), screen_of(&ended.out))
}

fn screen_of(text: &str) -> String {
    let host = regex::Regex::new(r"[a-z0-9]{15}\.(eu|uk|us)\.qlikcloud\.com").unwrap();
    let text = host.replace_all(text, "<host>.$1.qlikcloud.com");
    let text = regex::Regex::new(r"/[0-9a-f]{24}\b").unwrap().replace_all(&text, "/<id>");
    let text = regex::Regex::new(r"\b[0-9a-f]{24}\b").unwrap().replace_all(&text, "<id>");
    let text = regex::Regex::new(r"\b01[0-9a-f]{6}(-[0-9a-f-]+)?").unwrap().replace_all(&text, "<run>");
    text.into_owned()
}

#[track_caller]
fn good(ended: &Ended, code: i32) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
}

#[test]
fn a_plan_shows_what_a_run_would_do_and_apply_does_it() {
    let project = Folder::stock();
    let planned = project.run(&format!("plan {ONBOARD} --customer customers/harbour.yaml --out hb.plan.json"));
    insta::assert_snapshot!("planned", screen(&planned));
    let listed = project.run("tenants list --json").json();
    assert_eq!(listed["tenants"], json!([]), "a plan makes nothing");
    assert_eq!(project.run("runs list --json").json()["runs"], json!([]), "and is no run");

    let saved: Value =
        serde_json::from_str(&std::fs::read_to_string(project.path().join("hb.plan.json")).unwrap()).unwrap();
    let applied = project.run("apply hb.plan.json --json");
    good(&applied, 0);
    let run = &applied.json()["runs"][0];
    assert_eq!(run["writes"].as_u64(), saved["writes"].as_array().map(|writes| writes.len() as u64));

    let again = project.run(&format!("plan {ONBOARD} --customer customers/harbour.yaml"));
    insta::assert_snapshot!("planned_again", screen(&again));

    // Somebody changes the customer's file: that is what differs, and nothing else.
    let path = project.path().join("customers/harbour.yaml");
    let customer = std::fs::read_to_string(&path).unwrap().replace("#F2A104", "#112233");
    std::fs::write(&path, customer).unwrap();
    let drift = project.run(&format!("drift {ONBOARD} --customer customers/harbour.yaml --out drift.json -v"));
    insta::assert_snapshot!("drift", screen(&drift));
    good(&project.run("apply drift.json"), 0);
    good(&project.run(&format!("plan {ONBOARD} --customers customers --json")), 2);
    good(&project.run(&format!("plan {ONBOARD} --customer customers/harbour.yaml")), 0);
}

#[test]
fn many_customers_are_planned_into_a_folder_and_applied_from_there() {
    let project = Folder::stock();
    for playbook in [ONBOARD, "playbooks/hydrate.rhai"] {
        let planned = project.run(&format!("plan {playbook} --customers customers --out plans --json"));
        good(&planned, 2);
        let planned = planned.json();
        let plans = planned["plans"].as_array().unwrap();
        let codes: Vec<&str> = plans.iter().map(|plan| plan["customer"].as_str().unwrap()).collect();
        assert_eq!((codes, &planned["version"]), (vec!["fw", "hb", "pu"], &json!(1)));
        assert!(!planned.to_string().contains("made-up") && plans.iter().all(|plan| plan["error"].is_null()));
        let files = "plans/fw.plan.json plans/hb.plan.json plans/pu.plan.json";
        let applied = project.run(&format!("apply {files} --json"));
        good(&applied, 0);
        for (run, plan) in applied.json()["runs"].as_array().unwrap().iter().zip(plans) {
            let writes: u64 = plan["writes"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
            assert_eq!(run["writes"].as_u64(), Some(writes), "{}", run["customer"]);
        }
        good(&project.run(&format!("plan {playbook} --customers customers")), 0);
    }
}

#[test]
fn who_reviews_many_plans_reads_their_shapes_and_what_changes_in_their_files() {
    let project = Folder::stock();
    good(&project.run(&format!("run {ONBOARD} --customers customers --json")), 0);
    let customers = project.path().join("customers");
    let change = |name: &str, of: &[(&str, &str)]| {
        let path = customers.join(name);
        let text = of.iter().fold(std::fs::read_to_string(&path).unwrap(), |text, (old, new)| {
            assert!(text.contains(old), "{name} has {old}");
            text.replace(old, new)
        });
        std::fs::write(path, text).unwrap();
    };
    change("harbour.yaml", &[("#F2A104", "#112233")]);
    change("fenwick.yaml", &[("#B08D57", "#445566")]);
    // The third differs in kind: a name in its file, and a group.
    change("pulsewise.yaml", &[("groups:\n", "groups:\n  - { name: auditors, roles: [] }\n")]);

    let plan = format!("plan {ONBOARD} --customers customers");
    insta::assert_snapshot!("shapes", screen(&project.run(&plan)));
    let narrow = project.command(&format!("{plan} -vv")).env("COLUMNS", "50").output().unwrap();
    insta::assert_snapshot!("shapes_in_full", screen(&Ended::of(narrow)));
    let ended = project.run(&format!("{plan} --json --html page.html"));
    good(&ended, 2);
    assert_eq!(ended.json()["shapes"], json!([["fw", "hb"], ["pu"]]));
    let page = std::fs::read_to_string(project.path().join("page.html")).unwrap();
    for part in ["2 customers alike: fw, hb", "-   --customer-accent: #F2A104;", "group &quot;auditors&quot;"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("src=") && !page.contains("href=\"http"), "it needs nothing else");

    let nowhere = project.run(&format!("{plan} --html no/such/page.html"));
    insta::assert_snapshot!("page_nowhere", format!("[exit {}]\n{}", nowhere.code.unwrap(), nowhere.error));
}

#[test]
fn what_a_playbook_does_not_mention_any_more_is_told() {
    let project = Folder::stock();
    let plan = format!("plan {ONBOARD} --customer customers/harbour.yaml --prune");
    assert_eq!(project.run(&format!("{plan} --json")).json()["plans"][0]["unmentioned"], json!([]), "there was no run");
    good(&project.run(&format!("run {ONBOARD} --customer customers/harbour.yaml --json")), 0);
    let path = project.path().join("customers/harbour.yaml");
    let customer = std::fs::read_to_string(&path).unwrap();
    let without = customer
        .replace("  - { name: hb-planners, roles: [] }\n", "")
        .replace("      hb-planners: [consumer, contributor]\n", "");
    let without = without.replace("      hb-planners: [consumer, dataconsumer]", "      hb-keyusers: [consumer]");
    assert_eq!(without.matches("hb-planners").count(), 0);
    std::fs::write(&path, without).unwrap();
    insta::assert_snapshot!("unmentioned", screen(&project.run(&plan)));
    let unasked = project.run(plan.trim_end_matches(" --prune"));
    assert!(!unasked.out.contains("hb-planners"), "{}", unasked.out);
    let hydrate = "playbooks/hydrate.rhai --customer customers/harbour.yaml";
    good(&project.run(&format!("run {hydrate} --json")), 0);
    let run = project.run("runs list --json").json()["runs"][0]["id"].as_str().unwrap().to_owned();
    good(&project.run(&format!("runs undo {run} --yes --json")), 0);
    std::fs::write(&path, customer.replace("extensions: [route-map]", "extensions: []")).unwrap();
    let planned = project.run(&format!("plan {hydrate} --prune --json"));
    assert_eq!(planned.json()["plans"][0]["unmentioned"], json!([]), "it was undone");
}

#[test]
fn a_plan_that_cannot_be_applied_is_refused_before_anything_is_sent() {
    let project = Folder::stock();
    good(&project.run(&format!("plan {ONBOARD} --customer customers/harbour.yaml --out hb.plan.json")), 2);
    let plan = std::fs::read_to_string(project.path().join("hb.plan.json")).unwrap();
    let mut told = Vec::new();
    let mut refused = |name: &str, arguments: &str| {
        let ended = project.run(&format!("apply {arguments}"));
        good(&ended, 4);
        told.push(format!("{name}\n{}", ended.error));
    };
    refused("missing", "nowhere.json");
    project.write("other.json", "{ \"format\": 1 }");
    refused("something else", "other.json");
    project.write("broken.json", &plan.lines().take(5).collect::<String>());
    refused("cut off", "broken.json");
    project.write("edited.json", &plan.replacen("Production", "Productions", 1));
    refused("edited", "edited.json");
    project.write("newer.json", &plan.replacen("\"format\": 2", "\"format\": 9", 1));
    refused("of another format", "newer.json");
    project.write("unknown.json", &plan.replacen("\"format\": 2", "\"format\": 2, \"fromat\": 2", 1));
    refused("with a field that nobody knows", "unknown.json");
    project.add_settings("[targets.other]\ntenant = \"x.eu.qlikcloud.com\"\napi_key = { env = \"KEY\" }\n");
    refused("for another target", "hb.plan.json --target other");
    let library = project.path().join("playbooks/lib/access.rhai");
    let text = std::fs::read_to_string(&library).unwrap();
    std::fs::write(&library, format!("{text}\n")).unwrap();
    refused("stale", "hb.plan.json");
    let places = regex::Regex::new(r"line \d+ column \d+").unwrap();
    insta::assert_snapshot!("refused", places.replace_all(&told.join("\n"), "line <n> column <n>"));
    assert_eq!(project.run("runs list --json").json()["runs"], json!([]));
}

#[test]
fn what_differs_from_the_plan_stops_before_it_is_sent() {
    let project = Folder::stock();
    good(&project.run(&format!("plan {ONBOARD} --customer customers/harbour.yaml --out hb.plan.json")), 2);
    // Somebody onboards the customer meanwhile.
    good(&project.run(&format!("run {ONBOARD} --customer customers/harbour.yaml")), 0);
    let late = project.run("apply hb.plan.json --json");
    good(&late, 1);
    let run = &late.json()["runs"][0];
    assert_eq!((&run["writes"], &run["error"]["failure"]["code"]), (&json!(0), &json!("tenantry/not-as-planned")));

    // A plan makes a group; before it is applied somebody makes one of this name, with a role.
    let path = project.path().join("customers/harbour.yaml");
    let customer = std::fs::read_to_string(&path).unwrap();
    let with = |roles: &str| {
        let group = format!("groups:\n  - {{ name: hb-auditors, roles: [{roles}] }}\n");
        std::fs::write(&path, customer.replacen("groups:\n", &group, 1)).unwrap();
    };
    with("");
    good(&project.run(&format!("plan {ONBOARD} --customer customers/harbour.yaml --out hb.plan.json")), 2);
    with("SharedSpaceCreator");
    good(&project.run(&format!("run {ONBOARD} --customer customers/harbour.yaml")), 0);
    let differs = project.run("apply hb.plan.json");
    good(&differs, 1);
    let why = differs.error.find("error: ").map_or("", |start| &differs.error[start..]);
    insta::assert_snapshot!("not_as_planned", screen_of(why));
}

#[test]
fn a_dry_run_over_http_leaves_everything_as_it_was() {
    let project = Folder::stock();
    let state = || {
        let sandbox = Sandbox::open(&project.path().join("served.db"), Settings::default()).unwrap();
        sandbox.snapshot().to_json()
    };
    let serve =
        || Served::start(&project, "--state served.db --client-id partner --client-secret known --license-key k");
    let settings = std::fs::read_to_string(project.path().join("tenantry.toml")).unwrap();
    let as_target = |served: &Served| {
        project.write("tenantry.toml", &settings);
        project.add_settings(&local(served));
    };
    let served = serve();
    as_target(&served);
    good(&run_locally(&project, &served, &format!("run {ONBOARD} --customers customers")), 0);
    // The first token on a tenant makes a bot there, a plan's too; that of the source tenant comes with this one.
    let first = "plan playbooks/hydrate.rhai --customers customers --allow-first-token";
    good(&run_locally(&project, &served, first), 2);
    served.end();
    let before = state();
    let served = serve();
    as_target(&served);
    good(&run_locally(&project, &served, &format!("plan {ONBOARD} --customers customers")), 0);
    good(&run_locally(&project, &served, &format!("{first} --json")), 2);
    served.end();
    assert!(before == state(), "a plan changed what the service holds");
}

#[test]
fn a_data_connection_that_is_there_is_planned_by_what_of_it_differs() {
    let project = Folder::stock();
    for playbook in [ONBOARD, "playbooks/hydrate.rhai"] {
        good(&project.run(&format!("run {playbook} --customer customers/harbour.yaml -q")), 0);
    }
    let path = project.path().join("customers/harbour.yaml");
    let customer = std::fs::read_to_string(&path).unwrap().replace("db.harbour.example", "db2.harbour.example");
    std::fs::write(&path, customer).unwrap();
    let hydrate = "playbooks/hydrate.rhai --customer customers/harbour.yaml";
    let planned = project.run(&format!("plan {hydrate} --out hb.plan.json --json"));
    good(&planned, 2);
    let written: Value =
        serde_json::from_str(&std::fs::read_to_string(project.path().join("hb.plan.json")).unwrap()).unwrap();
    assert_eq!(written["writes"].as_array().unwrap().len(), 1, "{written}");
    let change = planned.json()["plans"][0]["changes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|change| change["change"] == "updated")
        .cloned();
    assert_eq!(change.unwrap()["subject"], "data connection \"Shipment database\" in space \"Staging\"");
    good(&project.run("apply hb.plan.json"), 0);
    good(&project.run(&format!("plan {hydrate}")), 0);
}

#[test]
fn a_data_file_that_is_as_it_was_left_is_no_change_and_one_that_differs_is_planned_and_uploaded_anew() {
    let project = Folder::stock();
    let hydrate = "playbooks/hydrate.rhai --customer customers/fenwick.yaml";
    for playbook in [&format!("{ONBOARD} --customer customers/fenwick.yaml"), hydrate] {
        good(&project.run(&format!("run {playbook} -q")), 0);
    }
    let marks = || {
        let state = rusqlite::Connection::open(project.path().join(".tenantry/state.db")).unwrap();
        let mut rows = state.prepare("SELECT mark FROM marks").unwrap();
        let marks: Vec<String> = rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        marks
    };
    let left = marks();
    assert_eq!(left.len(), 1);
    good(&project.run(&format!("plan {hydrate}")), 0);
    let path = project.path().join("templates/data/section-access.csv");
    let template = std::fs::read_to_string(&path).unwrap().replace("CLIENT", "PORTFOLIO");
    std::fs::write(&path, template).unwrap();
    let planned = project.run(&format!("plan {hydrate} --out fw.plan.json --json"));
    good(&planned, 2);
    let written: Value =
        serde_json::from_str(&std::fs::read_to_string(project.path().join("fw.plan.json")).unwrap()).unwrap();
    let writes = written["writes"].as_array().unwrap();
    assert_eq!((writes.len(), &writes[0]["request"]["operation"]), (1, &json!("reuploadDataFile")), "{written}");
    assert_eq!(marks(), left, "a plan notes nothing");
    good(&project.run("apply fw.plan.json"), 0);
    assert_ne!(marks(), left);
    good(&project.run(&format!("plan {hydrate}")), 0);
    // On a machine that knows nothing of what was sent.
    rusqlite::Connection::open(project.path().join(".tenantry/state.db"))
        .unwrap()
        .execute("DELETE FROM marks", [])
        .unwrap();
    good(&project.run(&format!("plan {hydrate}")), 2);
}

#[test]
fn a_large_data_file_is_planned_without_its_content_and_uploaded_once() {
    let project = Folder::stock();
    let customer = "--customer customers/harbour.yaml";
    good(&project.run(&format!("run {ONBOARD} {customer} -q")), 0);
    project.write(
        "playbooks/rates.rhai",
        "tenants::get(customer).spaces.get(\"Staging\").data_files.ensure(\"rates.csv\", #{ file: \"content/rates.csv\" });",
    );
    for (content, operation) in [(7, "uploadDataFile"), (8, "reuploadDataFile")] {
        std::fs::write(project.path().join("content/rates.csv"), vec![content; 3 << 20]).unwrap();
        good(&project.run(&format!("plan playbooks/rates.rhai {customer} --out hb.json")), 2);
        let planned: Value =
            serde_json::from_str(&std::fs::read_to_string(project.path().join("hb.json")).unwrap()).unwrap();
        let writes: Vec<&Value> =
            planned["writes"].as_array().unwrap().iter().map(|write| &write["request"]["operation"]).collect();
        assert_eq!(writes, [operation]);
        good(&project.run("apply hb.json -q"), 0);
        good(&project.run(&format!("plan playbooks/rates.rhai {customer}")), 0);
    }
}

/// Somebody makes a group that the playbook does not name: it makes no difference to what is written.
const SOMEBODY: &str = "let tenant = tenants::get(customer); tenant.groups.ensure(\"somebody's\");";
const LISTS: &str =
    "let tenant = tenants::get(customer); tenant.groups.list(); tenant.spaces.ensure(\"Extra\", \"shared\");";

#[test]
fn a_read_that_is_answered_otherwise_stops_only_who_asked_for_that() {
    let project = Folder::stock();
    project.write("playbooks/lists.rhai", LISTS);
    project.write("playbooks/somebody.rhai", SOMEBODY);
    let customer = "--customer customers/harbour.yaml";
    good(&project.run(&format!("run {ONBOARD} {customer}")), 0);
    good(&project.run(&format!("plan playbooks/lists.rhai {customer} --out lists.json")), 2);
    good(&project.run(&format!("run playbooks/somebody.rhai {customer}")), 0);
    let strict = project.run("apply lists.json --only-if-unchanged --json");
    good(&strict, 1);
    let error = &strict.json()["runs"][0]["error"]["failure"];
    assert_eq!(error["code"], "tenantry/not-as-planned", "{strict:?}");
    good(&project.run("apply lists.json"), 0);
    good(&project.run(&format!("plan playbooks/lists.rhai {customer}")), 0);
}

#[test]
fn an_apply_that_failed_half_way_goes_on_with_its_run() {
    let project = Folder::stock();
    project
        .write("faults.toml", "[[strike]]\noperation = \"createSpace\"\nfrom = 2\nfault = \"refused:403:HTTP-403\"\n");
    let served = Served::start(&project, "--faults faults.toml");
    project.add_settings(&local(&served));
    let customer = "--customer customers/harbour.yaml";
    good(&run_locally(&project, &served, &format!("plan {ONBOARD} {customer} --out hb.json")), 2);
    let first = run_locally(&project, &served, "apply hb.json --json");
    good(&first, 1);
    let id = first.json()["runs"][0]["run"].as_str().unwrap().to_owned();
    let without = run_locally(&project, &served, &format!("runs resume {id}"));
    assert!(
        without.code == Some(4) && without.error.contains("carries out a plan, and writes nothing else"),
        "{without:?}"
    );
    let shown = run_locally(&project, &served, &format!("runs show {id}"));
    assert!(shown.out.contains("`tenantry apply` with that plan goes on with it"), "{}", shown.out);
    let second = run_locally(&project, &served, "apply hb.json --json");
    good(&second, 0);
    let (first, second) = (&first.json()["runs"][0], &second.json()["runs"][0]);
    assert_eq!(first["run"], second["run"], "the same run");
    assert!(second["replayed"].as_u64() > Some(0) && second["writes"].as_u64() > Some(0), "{second}");
    good(&run_locally(&project, &served, &format!("plan {ONBOARD} {customer}")), 0);
}

#[test]
fn a_large_app_is_planned_without_its_content() {
    let project = Folder::stock();
    let customer = "--customer customers/harbour.yaml";
    good(&project.run(&format!("run {ONBOARD} {customer} -q")), 0);
    let app = project.path().join("content/apps/Shipment Tracking.qvf");
    assert!(app.exists());
    std::fs::write(&app, vec![7; 3 << 20]).unwrap();
    good(&project.run(&format!("plan playbooks/hydrate.rhai {customer} --out hb.json")), 2);
    good(&project.run("apply hb.json -q"), 0);
    good(&project.run(&format!("plan playbooks/hydrate.rhai {customer}")), 0);
}

#[test]
fn what_nobody_simulates_is_marked_and_what_would_fail_is_shown_with_what_comes_before() {
    let project = Folder::stock();
    let customer = "--customer customers/harbour.yaml";
    good(&project.run(&format!("run {ONBOARD} {customer}")), 0);
    project.write(
        "playbooks/odd.rhai",
        "let tenant = tenants::get(customer);\ntenant.request(\"createGlossary\", #{ body: #{ name: \"Terms\" } });\n\
         tenant.spaces.ensure(\"Odd\", \"shared\");\ntenant.spaces.get(\"Nowhere\");\n",
    );
    project.write("odd.json", "an older plan");
    let planned = project.run(&format!("plan playbooks/odd.rhai {customer} --out odd.json -v"));
    insta::assert_snapshot!("failing", format!("{}\n{}", screen(&planned), planned.error));
    assert!(!project.path().join("odd.json").exists(), "what fails cannot be applied, nor what lay there before");
}
