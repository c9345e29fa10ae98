//! Looking after the state file from the command line.

use std::path::PathBuf;

use serde_json::{Value, json};
use tenantry::operation::{Effect, Failure, FailureKind};
use tenantry::store::{Ending, RunKind};

use crate::support::command_line::{Ended, Folder};
use crate::support::past::{Past, opening, tenant};

const PLAYBOOK: &str = "let tenant = tenants::ensure(customer);\n";
const SITE: &str = "playbooks/onboard.rhai:1:14";

fn customer(code: &str) -> Value {
    json!({ "code": code, "name": "Harbour Logistics" })
}

fn state_file(folder: &Folder) -> PathBuf {
    folder.path().join(".tenantry/state.db")
}

fn sql(folder: &Folder, statement: &str) {
    let connection = rusqlite::Connection::open(state_file(folder)).unwrap();
    assert!(connection.execute(statement, []).unwrap() > 0, "{statement} changes something");
}

/// A project whose state has all kinds of things in it that have no end yet.
async fn unfinished() -> Folder {
    let folder = Folder::empty();
    let past = Past::of(&folder);
    let registry = past.registry();
    past.at(0).ended(opening("run-1", customer("hb")), 3, Ending::Succeeded).await;
    registry.adopt("org-1", &tenant("hb", "run-1")).unwrap();
    registry.adopt("org-1", &tenant("old", "run-of-another-time")).unwrap();
    registry.set_mark("org-1", "hb", "data file", Some(&json!({ "size": 20 }))).unwrap();

    let run = past.at(1_000).begin(opening("run-2", customer("fw"))).await;
    run.file("playbooks/onboard.rhai", PLAYBOOK);
    run.asks("0:createTenant#0", Effect::Create, "POST /api/v1/tenants", "tenant of fw", SITE, json!({}));
    registry.begin_create("org-1", "fw", "run-2", "0:createTenant#0", "ab12").unwrap();
    run.dies().await;

    let run = past.at(2_000).begin(opening("run-3", customer("nw"))).await;
    run.asks("1:createSpace#0", Effect::Create, "POST /api/v1/spaces", "space \"Desk\"", SITE, json!({}));
    run.answers("1:createSpace#0", 201, json!({ "id": "s1" }));
    run.asks("2:createSpace#0", Effect::Create, "POST /api/v1/spaces", "space \"Attic\"", SITE, json!({}));
    run.fails("2:createSpace#0", Failure::new(FailureKind::Unknown, "tenantry/unsettled", "no answer came"));
    run.asks("3:createGroup#0", Effect::Create, "POST /api/v1/groups", "group \"Readers\"", SITE, json!({}));
    run.fails("3:createGroup#0", Failure::new(FailureKind::Unknown, "tenantry/unsettled", "no answer came"));
    run.settles("3:createGroup#0", None, "a look-up");
    run.end(Ending::Failed).await;

    // One that another took the place of, and an undo.
    past.at(3_000).begin(opening("run-4", customer("ea"))).await.dies().await;
    let mut undo = opening("run-5", customer("ea"));
    undo.kind = RunKind::Undo("run-4".to_owned());
    past.at(4_000).begin(undo).await.dies().await;
    folder
}

#[tokio::test]
async fn a_check_tells_what_is_open_and_what_to_do() {
    let folder = unfinished().await;
    // A lease of a process that was killed.
    let past = Past::of(&folder);
    past.lease("customer:org-1/fw", "run-2").await;
    std::fs::remove_dir_all(folder.path().join(".tenantry/holders")).unwrap();
    sql(
        &folder,
        "INSERT INTO contents (digest, bytes) VALUES (x'2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae', CAST('pfoo' AS BLOB))",
    );
    let ended = folder.run("state check");
    assert_eq!(ended.code, Some(0), "nothing is damaged: {ended:?}");
    insta::assert_snapshot!(shown(&ended));
    let told = folder.run("state check --json").json();
    insta::assert_snapshot!(serde_json::to_string_pretty(&without_sizes(told)).unwrap());
}

/// What the size of a database comes to is its own business.
fn shown(ended: &Ended) -> String {
    let out = regex::Regex::new(r", \d+ KB\n").unwrap().replace(&ended.out, ", [SIZE]\n").into_owned();
    format!("[exit {}]\n[stdout]\n{out}[stderr]\n{}", ended.code.unwrap(), ended.error)
}

fn without_sizes(mut told: Value) -> Value {
    assert!(told["counts"]["bytes"].as_u64().unwrap() > 4_096);
    told["counts"]["bytes"] = json!("[SIZE]");
    told
}

#[tokio::test]
async fn what_is_in_progress_is_no_finding() {
    let folder = Folder::empty();
    let past = Past::of(&folder);
    let run = past.begin(opening("run-1", customer("hb"))).await;
    past.lease("customer:org-1/hb", "run-1").await;
    past.registry().begin_create("org-1", "hb", "run-1", "0:createTenant#0", "ab12").unwrap();
    run.asks("0:createTenant#0", Effect::Create, "POST /api/v1/tenants", "tenant of hb", SITE, json!({}));
    run.dies().await;
    // Its process is this one, which lives.
    let told = folder.run("state check --json").json();
    assert_eq!((&told["findings"], &told["whole"]), (&json!([]), &json!(true)));
}

#[tokio::test]
async fn every_kind_of_damage_is_found_and_told() {
    let damages = [
        ("DELETE FROM entries WHERE run = 3 AND sequence = 2", "the journal of run run-3 is damaged at entry 2"),
        (
            "UPDATE entries SET at = at + 1 WHERE run = 1 AND sequence = 1",
            "the journal of run run-1 is damaged at entry 1",
        ),
        ("DELETE FROM entries WHERE run = 1 AND sequence > 5", "the log does not end as it was written"),
        ("DELETE FROM heads WHERE run = 2", "the log does not end as it was written"),
        ("DELETE FROM runs WHERE number = 3", "runs should have 5 rows and has 4 that are right"),
        (
            "UPDATE runs SET status = 'succeeded' WHERE number = 2",
            "the row of run run-2 in runs is not what was written",
        ),
        (
            "UPDATE latest SET run = 'run-4' WHERE run = 'run-5'",
            "a run of playbooks/onboard.rhai for customer `ea` is missing",
        ),
        (
            "INSERT INTO entries (run, sequence, at, body, seal) VALUES (99, 0, 0, x'', x'')",
            "of entries 1 belong to no run",
        ),
        ("DELETE FROM contents", "the file playbooks/onboard.rhai, as run run-2 used it, is missing"),
        ("UPDATE contents SET bytes = x'70'", "is not what was written"),
        ("UPDATE tenants SET status = 'disabled' WHERE customer = 'hb'", "the row of customer `hb` in tenants"),
        ("UPDATE marks SET mark = replace(mark, '20', '21')", "the mark `data file` of customer `hb` is not what"),
        ("DELETE FROM intents", "intents of `org-1` should have 1 rows and has 0"),
    ];
    let mut screens = String::new();
    for (damage, told) in damages {
        let folder = unfinished().await;
        sql(&folder, damage);
        let ended = folder.run("state check");
        assert_eq!(ended.code, Some(1), "{damage}: {ended:?}");
        assert!(ended.out.starts_with(".tenantry/state.db is DAMAGED"), "{}", ended.out);
        assert!(ended.error.contains(told), "{damage}: {}", ended.error);
        assert!(ended.error.contains("restore the state file from a backup"), "{damage}: {}", ended.error);
        let json = folder.run("state check --json");
        assert_eq!((json.code, &json.json()["whole"]), (Some(1), &json!(false)), "{damage}");
        assert_eq!(json.json()["findings"][0]["finding"], "damage", "the gravest comes first");
        screens = shown(&ended);
    }
    insta::assert_snapshot!(screens);
}

#[tokio::test]
async fn pages_that_are_no_longer_what_they_were_are_found() {
    let folder = unfinished().await;
    let connection = rusqlite::Connection::open(state_file(&folder)).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let mut bytes = std::fs::read(state_file(&folder)).unwrap();
    // The page of an index of the runs.
    let root: usize = connection
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'runs_by_customer'", [], |row| row.get::<_, i64>(0))
        .unwrap()
        .try_into()
        .unwrap();
    drop(connection);
    bytes[(root - 1) * 4096 + 3] ^= 0x40;
    std::fs::write(state_file(&folder), &bytes).unwrap();
    let ended = folder.run("state check");
    assert_eq!(ended.code, Some(1), "{ended:?}");
    insta::assert_snapshot!(shown(&ended));
}

#[tokio::test]
async fn a_backup_is_made_while_a_run_is_at_work() {
    let folder = unfinished().await;
    let past = Past::of(&folder);
    let run = past.at(5_000).begin(opening("run-6", customer("hb"))).await;
    run.dies().await;
    let ended = folder.run("state backup copies.db");
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), ""), "{ended:?}");
    assert!(
        ended.error.starts_with("copies.db has everything: 2 tenants, 6 runs with 25 entries, 1 file, "),
        "{ended:?}"
    );
    let told = folder.run("state backup other.db --json").json();
    assert_eq!((&told["file"], &told["counts"]["runs"]), (&json!("other.db"), &json!(6)));

    let again = folder.run("state backup copies.db");
    assert_eq!((again.code, again.out.as_str()), (Some(4), ""));
    insta::assert_snapshot!(again.error);

    // It takes the place of the one it was made of.
    let restored = Folder::empty();
    std::fs::create_dir(restored.path().join(".tenantry")).unwrap();
    std::fs::rename(folder.path().join("copies.db"), state_file(&restored)).unwrap();
    assert_eq!(restored.run("state check").code, Some(0));
    let listed = restored.run("runs list --json").json();
    assert_eq!((&listed["runs"][0]["id"], &listed["runs"][0]["status"]), (&json!("run-6"), &json!("interrupted")));
}

#[test]
fn an_export_holds_no_secret_and_brings_a_project_to_another_machine() {
    let folder = Folder::stock();
    assert_eq!(folder.run("run playbooks/onboard.rhai --customers customers/ --quiet").code, Some(0));
    let ended = folder.run("state export state.jsonl");
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), ""), "{ended:?}");
    assert!(ended.error.starts_with("exported 3 tenants, 3 runs with "), "{}", ended.error);
    let text = std::fs::read_to_string(folder.path().join("state.jsonl")).unwrap();
    let output = folder.run("state export --quiet");
    assert!(output.out == text && output.error.is_empty(), "the same on standard output");
    let mut secrets = 0;
    for secret in std::fs::read_dir(folder.path().join(".tenantry/secrets")).unwrap() {
        let secret = secret.unwrap().path();
        let public = secret.extension().is_some_and(|ending| ending == "certificate");
        if public || secret.ends_with(".gitignore") {
            continue;
        }
        let text_of_it = std::fs::read_to_string(&secret).unwrap();
        // Of a private key the middle is secret: it begins with what is public.
        let telling = if secret.extension().is_some_and(|ending| ending == "key") { 15 } else { 0 };
        let line = text_of_it.lines().nth(telling).unwrap();
        assert!(line.len() > 20 && !text.contains(line), "{} is in it", secret.display());
        secrets += 1;
    }
    assert!(secrets > 1);

    let other = Folder::stock();
    std::fs::rename(folder.path().join("state.jsonl"), other.path().join("state.jsonl")).unwrap();
    let ended = other.run("state import state.jsonl");
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), ""), "{ended:?}");
    assert_eq!(ended.error, "entered 3 tenants and 3 runs; 0 of both were here already\n");
    let told = other.run("state import state.jsonl --json").json();
    assert_eq!(told["imported"], json!({ "tenants": 0, "runs": 0, "known": 6 }));
    let listed = |folder: &Folder| folder.run("runs list --json").json();
    assert_eq!(listed(&other), listed(&folder));
    let run = listed(&other)["runs"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(other.run(&format!("runs replay {run}")).code, Some(0), "a run replays from what was brought");
    assert_eq!(other.run("state check").code, Some(0));
    let both = other.run("state export --json");
    assert_eq!(both.code, Some(3), "{both:?}");
}

const DAY: i64 = 24 * 3600 * 1000;

/// Eight runs of one customer, all of them years ago; they use two files, one of them all.
async fn old() -> Folder {
    let folder = Folder::empty();
    let past = Past::of(&folder);
    for number in 0..8 {
        let run = past.at((number - 5_000) * DAY).begin(opening(&format!("run-{number}"), customer("hb"))).await;
        run.file("playbooks/onboard.rhai", PLAYBOOK);
        run.file("logo.svg", if number < 3 { "<svg/>" } else { PLAYBOOK });
        run.at((number - 5_000) * DAY + 5_000).end(Ending::Succeeded).await;
    }
    folder
}

#[tokio::test]
async fn old_runs_are_shown_before_they_are_removed() {
    let folder = old().await;
    let dry = folder.run("state prune --dry-run");
    assert_eq!(dry.code, Some(0), "{dry:?}");
    insta::assert_snapshot!(format!("{}{}", dry.out, dry.error));
    let alone = folder.run("state prune");
    assert_eq!((alone.code, alone.out.lines().count()), (Some(3), 4), "nobody can be asked: {alone:?}");
    let told = folder.run("state prune --keep 2 --dry-run --json").json();
    assert_eq!(
        (told["runs"].as_array().unwrap().len(), &told["removed"], &told["version"]),
        (6, &Value::Null, &json!(1))
    );
    assert_eq!(folder.run("state prune --json").code, Some(3));
    assert_eq!(folder.run("runs list --json").json()["runs"].as_array().unwrap().len(), 8, "nothing is gone");

    let done = folder.run("state prune --yes");
    assert_eq!((done.code, done.out), (Some(0), alone.out), "{}", done.error);
    assert!(done.error.ends_with("removed 3 runs\n"), "{}", done.error);
    let listed = folder.run("runs list --json").json();
    let ids: Vec<&str> = listed["runs"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["run-7", "run-6", "run-5", "run-4", "run-3"]);
    let checked = folder.run("state check --json").json();
    assert_eq!((&checked["whole"], &checked["counts"]["files"]), (&json!(true), &json!(1)), "{checked}");
    let again = folder.run("state prune");
    assert_eq!((again.code, again.error.as_str()), (Some(0), "there is nothing to remove\n"));
    let all = folder.run("state prune --keep 1 --older-than 0d --yes --json").json();
    assert_eq!((&all["removed"], all["runs"].as_array().unwrap().len()), (&json!(4), 4));
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn on_a_terminal_it_asks_before_it_removes() {
    let folder = old().await;
    let (code, shown) = folder.on_a_terminal("state prune", "n\n");
    assert!(code == Some(0) && shown.contains("Do this? [y/N] ") && !shown.contains("removed "), "{shown}");
    let (code, shown) = folder.on_a_terminal("state prune", "y\n");
    assert!(code == Some(0) && shown.contains("removed 3 runs"), "{shown}");
}
