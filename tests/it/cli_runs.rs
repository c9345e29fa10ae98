//! Looking at runs from the command line.

use serde_json::{Value, json};
use tenantry::store::{Ending, RunKind};

use crate::support::command_line::{Ended, Folder};
use crate::support::past::{Past, opening};

fn customer(code: &str) -> Value {
    json!({ "code": code, "name": "Harbour Logistics" })
}

/// A project with runs of several customers, playbooks and ends.
async fn several() -> Folder {
    let folder = Folder::empty();
    let past = Past::of(&folder);
    past.at(0).ended(opening("01939a00-0000-7000-8000-000000000001", customer("hb")), 12, Ending::Succeeded).await;
    past.at(1_000).ended(opening("01939a00-03e8-7000-8000-000000000002", customer("fw")), 3, Ending::Failed).await;
    let mut undo = opening("01939a00-07d0-7000-8000-000000000003", customer("hb"));
    undo.kind = RunKind::Undo("01939a00-0000-7000-8000-000000000001".to_owned());
    past.at(2_000).ended(undo, 0, Ending::Succeeded).await;
    let mut staging = opening("01939a00-0bb8-7000-8000-000000000004", customer("hb"));
    "playbooks/staging.rhai".clone_into(&mut staging.playbook);
    let run = past.at(3_000).begin(staging).await;
    run.process("process 7").at(5_500).dies().await;
    past.at(90_000).ended(opening("01939a01-5f90-7000-8000-000000000005", customer("fw")), 1, Ending::Cancelled).await;
    folder
}

fn in_columns(folder: &Folder, arguments: &str, columns: &str) -> Ended {
    Ended::of(folder.command(arguments).env("COLUMNS", columns).output().unwrap())
}

#[tokio::test]
async fn runs_are_listed_the_latest_first_in_as_many_columns_as_there_is_room_for() {
    let folder = several().await;
    let ended = folder.run("runs list");
    assert_eq!((ended.code, ended.error.as_str()), (Some(0), ""));
    insta::assert_snapshot!(ended.out);
    insta::assert_snapshot!(in_columns(&folder, "runs list", "80").out);
    let narrow = in_columns(&folder, "runs list", "40").out;
    insta::assert_snapshot!(narrow);
    assert!(
        in_columns(&folder, "runs list", "1").out.lines().next().unwrap().starts_with("ID "),
        "what names a run stays"
    );
}

#[tokio::test]
async fn runs_are_chosen_by_customer_and_playbook_and_limited() {
    let folder = several().await;
    let customers = |arguments: &str| -> Vec<String> {
        let told = folder.run(&format!("runs list --json {arguments}")).json();
        assert_eq!(told["version"], 1);
        let runs = told["runs"].as_array().unwrap();
        runs.iter().map(|run| run["customer"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(customers(""), ["fw", "hb", "hb", "fw", "hb"]);
    assert_eq!(customers("--customer fw"), ["fw", "fw"]);
    assert_eq!(customers("--playbook playbooks/staging.rhai"), ["hb"]);
    assert_eq!(customers("--playbook staging"), ["hb"]);
    assert_eq!(customers("--customer fw --playbook staging"), [""; 0]);
    assert_eq!(customers("--limit 2"), ["fw", "hb"]);
    let ended = folder.run("runs list --limit 2");
    assert_eq!((ended.out.lines().count(), ended.error.as_str()), (3, "the latest 2; --limit shows more\n"));
    assert_eq!(folder.run("runs list --json --limit 2").json()["more"], true);
    assert_eq!(folder.run("runs list --json --limit 5").json()["more"], false);
    // The short id names the run.
    let told = folder.run("runs list --json").json();
    let shorts: Vec<&str> = told["runs"].as_array().unwrap().iter().map(|run| run["short"].as_str().unwrap()).collect();
    assert_eq!(shorts, ["01939a01", "01939a00-0b", "01939a00-07", "01939a00-03", "01939a00-00"]);
    insta::assert_snapshot!(serde_json::to_string_pretty(&told["runs"][1]).unwrap());
}

#[tokio::test]
async fn what_no_run_has_is_told_with_what_is_near_to_it() {
    let empty = Folder::empty().run("runs list");
    assert_eq!((empty.code, empty.out.as_str(), empty.error.as_str()), (Some(0), "", "there are no runs yet\n"));
    let folder = several().await;
    let screens = ["--customer hbb", "--customer nobody", "--playbook stagin", "--limit 0"].map(|arguments| {
        let ended = folder.run(&format!("runs list {arguments}"));
        assert_eq!(ended.out, "");
        format!("$ runs list {arguments}\n[exit {}]\n{}", ended.code.unwrap(), ended.error)
    });
    insta::assert_snapshot!(screens.join("\n"));
    let ended = folder.run("runs list --customer hbb --json");
    assert_eq!(ended.json()["errors"][0]["help"], json!(["did you mean `hb`?"]));
}

#[tokio::test]
async fn a_damaged_run_hides_no_other() {
    let folder = several().await;
    let connection = rusqlite::Connection::open(folder.path().join(".tenantry/state.db")).unwrap();
    connection.execute("DELETE FROM entries WHERE run = 2 AND sequence = 3", []).unwrap();
    let ended = folder.run("runs list");
    assert_eq!((ended.code, ended.out.lines().count()), (Some(0), 6));
    insta::assert_snapshot!(ended.error);
    let line = ended.out.lines().find(|line| line.contains("failed")).unwrap();
    assert!(line.split_whitespace().rev().take(3).all(|figure| figure == "?"), "{line}");
}
