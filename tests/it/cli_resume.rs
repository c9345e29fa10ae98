//! `tenantry runs resume`, and what `tenantry run` offers of it.

use serde_json::{Value, json};

use crate::support::command_line::{Ended, Folder};

const CUSTOMER: &str = "code: hb\nname: Harbour Logistics\nregion: eu\nalias: halyard-hb\n";
const PLAYBOOK: &str = "let tenant = tenants::ensure(customer);
tenant.spaces.ensure(\"Staging\", \"shared\");
tenant.spaces.list();
log(\"half way\");
tenant.spaces.ensure(render(\"name.txt\", customer), \"shared\");
";

/// A project whose playbook fails half way until there is a template.
fn half_way() -> Folder {
    let project = Folder::empty();
    project.write("hb.yaml", CUSTOMER);
    project.write("play.rhai", PLAYBOOK);
    project
}

fn repair(project: &Folder) {
    project.write("templates/name.txt", "{{ name }}");
}

fn only_run(ended: &Ended) -> Value {
    ended.json()["runs"][0].clone()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn a_run_that_failed_half_way_is_resumed_by_its_id() {
    let project = half_way();
    let first = project.run("run play.rhai --customer hb.yaml --json");
    assert_eq!(first.code, Some(1), "{first:?}");
    let first = only_run(&first);
    repair(&project);
    let id = text(&first["run"]);
    let resumed = project.run(&format!("runs resume {} --json --events events.jsonl", &id[..18]));
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    let run = only_run(&resumed);
    assert_eq!((text(&run["run"]), text(&run["status"]), &run["writes"]), (id, "succeeded", &json!(1)));
    assert!(run["requests"].as_u64() < first["requests"].as_u64() && run["replayed"].as_u64() > Some(3), "{run}");
    assert!(resumed.error.contains(&format!("run {id} goes on: ")), "{}", resumed.error);
    assert!(
        !resumed.error.contains("half way") && !resumed.error.contains("Staging"),
        "told before: {}",
        resumed.error
    );
    assert!(resumed.error.contains("created    space \"Harbour Logistics\""), "{}", resumed.error);
    let subjects: Vec<&str> = run["changes"].as_array().unwrap().iter().map(|step| text(&step["subject"])).collect();
    assert_eq!(subjects[1..], ["space \"Staging\"", "space \"Harbour Logistics\""], "all that the run did");
    let events = std::fs::read_to_string(project.path().join("events.jsonl")).unwrap();
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let replayed = events.iter().filter(|event| event["event"] == "operation" && event["replayed"] == true).count();
    assert_eq!(json!(replayed), run["replayed"]);
    assert!(events.iter().any(|event| event["event"] == "run_resumed"));

    let again = project.run(&format!("runs resume {id} --json"));
    assert_eq!(again.code, Some(4), "{again:?}");
    assert!(text(&again.json()["errors"][0]["message"]).contains("has come to its end"));
}

#[test]
fn run_says_what_it_does_not_go_on_with_unless_it_is_told_to() {
    let project = half_way();
    let first = only_run(&project.run("run play.rhai --customer hb.yaml --json"));
    let anew = project.run("run play.rhai --customer hb.yaml --json");
    assert!(anew.error.contains(&format!("`tenantry runs resume {}`", text(&first["run"]))), "{}", anew.error);
    let anew = only_run(&anew);
    assert_ne!(anew["run"], first["run"]);
    assert_eq!(anew["replayed"], 0);
    let fresh = project.run("run play.rhai --customer hb.yaml --json --fresh");
    assert!(!fresh.error.contains("tenantry runs resume"), "{}", fresh.error);
    let fresh = only_run(&fresh);
    repair(&project);
    project.write("fw.yaml", &CUSTOMER.replace("hb", "fw").replace("Harbour", "Fenwick"));
    project.write("hb.yaml", &CUSTOMER.replace("Logistics", "Ltd"));
    let both = project.run("run play.rhai --customer fw.yaml --customer hb.yaml --json --resume");
    assert_eq!(both.code, Some(0), "{both:?}");
    let runs = both.json();
    assert_eq!(runs["runs"][0]["replayed"], 0, "there was none to resume");
    assert_eq!(runs["runs"][1]["run"], fresh["run"]);
    assert!(both.error.contains("the values of `hb` have changed since run"), "{}", both.error);
    let told = runs["runs"][1]["changes"].to_string();
    assert!(told.contains("Harbour Logistics") && !told.contains("Ltd"), "{told}");
    let last = project.run("run play.rhai --customer hb.yaml --json --resume");
    assert_ne!(only_run(&last)["run"], fresh["run"], "that one has come to its end");
}

#[test]
fn a_changed_playbook_is_shown_and_the_choice_is_the_persons() {
    let project = half_way();
    let first = only_run(&project.run("run play.rhai --customer hb.yaml --json"));
    let id = text(&first["run"]);
    repair(&project);
    project.write("play.rhai", &format!("// Changed.\n{}", PLAYBOOK.replace("Staging", "Test")));
    let stopped = project.run(&format!("runs resume {id}"));
    assert_eq!(stopped.code, Some(1), "{stopped:?}");
    for part in [
        "error: the playbook does not do what its run had done",
        "--> play.rhai:3:15",
        "3 | tenant.spaces.ensure(\"Test\", \"shared\");",
        "::: play.rhai:2:15, as the run had it",
        "2 | tenant.spaces.ensure(\"Staging\", \"shared\");",
        &format!("`tenantry runs resume {id} --accept-changes`"),
    ] {
        assert!(stopped.error.contains(part), "{part}: {}", stopped.error);
    }
    let accepted = project.run(&format!("runs resume {id} --accept-changes --json"));
    assert_eq!(accepted.code, Some(0), "{accepted:?}");
    let spaces = project
        .write("look.rhai", "output(#{ names: tenants::ensure(customer).spaces.list().map(|space| space.name) });");
    let looked = only_run(&project.run(&format!("run {} --customer hb.yaml --json", spaces.display())));
    let mut names: Vec<&str> = looked["output"]["names"].as_array().unwrap().iter().map(text).collect();
    names.sort_unstable();
    assert_eq!(names, ["Harbour Logistics", "Staging", "Test"]);
}

#[test]
#[cfg(target_os = "linux")]
fn on_a_terminal_it_asks() {
    let project = half_way();
    let first = only_run(&project.run("run play.rhai --customer hb.yaml --json"));
    let id = text(&first["run"]);
    repair(&project);
    let (code, shown) = project.on_a_terminal("run play.rhai --customer hb.yaml", "what\nn\n");
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains(&format!("did not come to its end: run {id}, failed")), "{shown}");
    assert_eq!(shown.matches("Resume it? [Y/n] ").count(), 2, "a wrong answer is asked again: {shown}");
    assert!(!shown.contains("goes on"), "{shown}");

    // This time the answer is the usual one.
    std::fs::remove_file(project.path().join("templates/name.txt")).unwrap();
    project.write("fw.yaml", &CUSTOMER.replace("hb", "fw").replace("Harbour", "Fenwick"));
    project.run("run play.rhai --customer fw.yaml");
    repair(&project);
    let (code, shown) = project.on_a_terminal("run play.rhai --customer fw.yaml", "\n");
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("goes on: "), "{shown}");
    let (code, shown) = project.on_a_terminal("run play.rhai --customer fw.yaml", "");
    assert_eq!((code, shown.contains("[Y/n]")), (Some(0), false), "there is nothing to ask: {shown}");
}
