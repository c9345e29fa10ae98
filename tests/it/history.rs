//! What runs did, read back from the journal.

use serde_json::{Value, json};
use tenantry::event::Change;
use tenantry::operation::{Effect, Failure, FailureKind};
use tenantry::store::Ending;
use tenantry::{History, Host};

use crate::support::command_line::Folder;
use crate::support::past::{Past, opening, site};

const RUN: &str = "01939a00-0000-7000-8000-000000000001";
const PLAYBOOK: &str = "playbooks/onboard.rhai";
const BEFORE: &str =
    "import \"lib/access\" as access;\nlet tenant = tenants::ensure(customer);\naccess::grant(tenant);\n";
const AFTER: &str =
    "import \"lib/access\" as access;\nlet tenant = tenants::ensure(customer); // changed\naccess::grant(tenant);\n";

fn lost() -> Failure {
    Failure::new(FailureKind::Unknown, "tenantry/connection", "the answer was lost")
}

/// A run whose process died, and that another process brought to its end.
async fn resumed(past: &Past) {
    let run = past.at(0).begin(opening(RUN, json!({ "code": "hb" }))).await;
    let tenant = |run: &crate::support::past::PastRun, at| {
        run.at(at).step(Change::Created, "tenant hb", "0", "playbooks/onboard.rhai:2:23", &[]);
        run.logs("info", "the tenant is there", "playbooks/onboard.rhai:3:1");
    };
    run.process("process 1").file(PLAYBOOK, BEFORE).file("lib/access.rhai", "\n\n  spaces.ensure();");
    run.at(10).asks(
        "0:getTenants#0",
        Effect::Read,
        "GET /api/v1/tenants",
        "tenant hb",
        "playbooks/onboard.rhai:2:23",
        Value::Null,
    );
    run.at(20).answers("0:getTenants#0", 200, json!({ "data": [] }));
    run.at(30).asks(
        "0:createTenant#0",
        Effect::Create,
        "POST /api/v1/tenants",
        "tenant hb",
        "playbooks/onboard.rhai:2:23",
        json!({}),
    );
    run.at(90).answers("0:createTenant#0", 201, json!({ "id": "t1" }));
    tenant(&run, 91);
    for (branch, at) in [(0, 100), (1, 110)] {
        let (key, path) = (format!("1[{branch}].0:createSpace#0"), "POST /api/v1/spaces");
        run.at(at).asks(&key, Effect::Create, path, &format!("space \"{branch}\""), "lib/access.rhai:3:10", json!({}));
    }
    run.at(150).fails("1[0].0:createSpace#0", lost());
    run.at(200).dies().await;

    let run = past.at(60_000).resume(RUN).await;
    run.process("process 2").file(PLAYBOOK, AFTER);
    run.at(60_010).settles("1[0].0:createSpace#0", Some(json!({ "id": "s0" })), "a space of this name is there");
    run.at(60_020).settles("1[1].0:createSpace#0", None, "no space of this name is there");
    tenant(&run, 60_021);
    run.at(60_022).step(Change::Created, "space \"0\"", "1[0].0", "lib/access.rhai:3:10", &[]);
    let again = ("1[1].0:createSpace#0", "POST /api/v1/spaces", "space \"1\"", "lib/access.rhai:3:10");
    run.at(60_030).attempts(again.0, 1, Effect::Create, again.1, again.2, again.3, json!({}));
    run.at(60_050).outcome(again.0, 1, &Err(Failure::new(FailureKind::Refused, "SPACES-3", "the name is taken")));
    run.at(60_060).asks(
        "2:deleteSpace#0",
        Effect::Delete,
        "DELETE /api/v1/spaces/s9",
        "space \"9\"",
        "playbooks/onboard.rhai:3:1",
        Value::Null,
    );
    run.at(60_100).dies().await;
}

async fn read(folder: &Folder) -> History {
    let host = Host::builder().root(folder.path()).build().unwrap();
    host.history("01939a00").await.unwrap()
}

#[tokio::test]
async fn every_attempt_is_told_with_what_became_of_it() {
    let folder = Folder::empty();
    let past = Past::of(&folder);
    resumed(&past).await;
    let told = |history: &History| -> Vec<String> {
        let attempt = |attempt: &tenantry::PastOperation| {
            let (key, fate) = (&attempt.key, history.fate(attempt));
            format!("{key} attempt {} of process {}: {}", attempt.attempt, attempt.process, fate.as_str())
        };
        history.operations.iter().map(attempt).collect()
    };
    let history = read(&folder).await;
    let mut expected = vec![
        "0:getTenants#0 attempt 0 of process 0: done",
        "0:createTenant#0 attempt 0 of process 0: done",
        "1[0].0:createSpace#0 attempt 0 of process 0: done",
        "1[1].0:createSpace#0 attempt 0 of process 0: not_performed",
        "1[1].0:createSpace#0 attempt 1 of process 1: failed",
        "2:deleteSpace#0 attempt 0 of process 1: in_progress",
    ];
    assert_eq!(told(&history), expected, "the process that resumed it lives");
    drop(past);
    let history = read(&folder).await;
    expected[5] = "2:deleteSpace#0 attempt 0 of process 1: unknown";
    assert_eq!(told(&history), expected);
    let unsettled: Vec<String> = history.unsettled().map(|attempt| attempt.key.to_string()).collect();
    assert_eq!(unsettled, ["2:deleteSpace#0"]);
    let tally = history.tally();
    assert_eq!((tally.reads, tally.writes, tally.probes), (1, 5, 0));
    assert_eq!(history.operations[2].json(), Some(&json!({ "id": "s0" })), "as it was found");
    assert_eq!(history.operations[4].failure().unwrap().code, "SPACES-3");
    assert_eq!(history.operations[0].began, None, "of a read only the answer is noted");
}

#[tokio::test]
async fn what_a_resume_tells_again_is_told_once() {
    let folder = Folder::empty();
    resumed(&Past::of(&folder)).await;
    let history = read(&folder).await;
    let steps: Vec<&str> = history.changes().map(|step| step.subject.as_str()).collect();
    assert_eq!(steps, ["tenant hb", "space \"0\""]);
    let lines: Vec<&str> = history.logs.iter().map(|line| line.message.as_str()).collect();
    assert_eq!(lines, ["the tenant is there", "going on"]);
    let processes: Vec<(&str, Option<Ending>)> =
        history.processes.iter().map(|process| (process.name.as_str(), process.ending)).collect();
    assert_eq!(processes, [("process 1", None), ("process 2", None)]);
    assert_eq!(history.at_work().as_millis(), 300, "without the time between them");
    assert_eq!(history.short, "01939a00");
}

#[tokio::test]
async fn a_line_is_shown_as_it_was_when_it_was_run() {
    let folder = Folder::empty();
    resumed(&Past::of(&folder)).await;
    let history = read(&folder).await;
    let ensure = site("playbooks/onboard.rhai:2:23");
    let line = |sequence| history.line(&ensure, sequence).unwrap().text;
    assert_eq!(line(history.operations[1].sequence), "let tenant = tenants::ensure(customer);");
    assert_eq!(line(history.operations[4].sequence), "let tenant = tenants::ensure(customer); // changed");
    let library = history.line(&site("lib/access.rhai:3:10"), history.operations[4].sequence).unwrap();
    assert_eq!((library.text.as_str(), library.width), ("  spaces.ensure();", 6));
    assert!(history.line(&site("lib/access.rhai:9:1"), 99).is_none());
    assert!(history.line(&site("lib/none.rhai:1:1"), 99).is_none());
}

#[tokio::test]
async fn a_run_that_ended_has_its_report() {
    let folder = Folder::empty();
    let past = Past::of(&folder);
    let run = past.at(0).begin(opening(RUN, json!({ "code": "hb" }))).await;
    run.process("process 1").at(1_500).end_with(Ending::Failed, json!({ "error": "no" })).await;
    let history = read(&folder).await;
    assert_eq!(history.report, Some(json!({ "error": "no" })));
    assert_eq!((history.processes[0].ending, history.at_work().as_millis()), (Some(Ending::Failed), 1_500));
    assert_eq!(history.unsettled().count(), 0);
}

#[tokio::test]
async fn what_an_accepted_change_set_aside_is_marked() {
    let folder = Folder::empty();
    let past = Past::of(&folder);
    let run = past.at(0).begin(opening(RUN, json!({ "code": "hb" }))).await;
    run.process("process 1");
    let asks = |key: &str| {
        run.asks(key, Effect::Create, "POST /api/v1/spaces", "space", "playbooks/onboard.rhai:3:1", json!({}));
        run.answers(key, 201, json!({ "id": key }));
    };
    ["0:a#0", "1:b#0", "1:c#0", "2[0].0:d#0"].into_iter().for_each(asks);
    run.process("process 2").accepts("1:c#0");
    asks("1:e#0");
    run.dies().await;
    let history = read(&folder).await;
    let set_aside: Vec<bool> = history.operations.iter().map(|attempt| attempt.set_aside).collect();
    assert_eq!(set_aside, [false, true, true, true, false]);
    assert_eq!(history.accepted[0].key.to_string(), "1:c#0");
}
