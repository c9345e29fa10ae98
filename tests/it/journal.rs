//! The journal of runs and the leases: what they keep, in which order, and what they say of damage.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;
use tempfile::TempDir;
use tenantry::event::{Change, Step};
use tenantry::store::{
    CommitHook, Ending, Entry, Journal, JournalError, LeaseError, Leases, Opening, RunFilter, RunKind, RunLog,
    RunState, State, StateError, Verdict,
};
use tenantry::surroundings::{Clock, RuntimeClock};

fn clock() -> Arc<dyn Clock> {
    Arc::new(RuntimeClock::starting_at("2026-11-24T08:00:00Z".parse().unwrap()))
}

fn folder() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(".tenantry/state.db");
    (folder, path)
}

fn open(path: &Path) -> Journal {
    State::open(path, clock()).unwrap().journal()
}

fn opening(id: &str, customer: &str) -> Opening {
    Opening {
        id: id.to_owned(),
        kind: RunKind::Run,
        playbook: "playbooks/onboard.rhai".to_owned(),
        scope: "org".to_owned(),
        customer: customer.to_owned(),
        target: "sandbox".to_owned(),
        inputs: json!({ "code": customer, "name": "Harbour Logistics" }),
        verify: false,
        release: "0.1.0".to_owned(),
        plan: None,
    }
}

fn step(number: u32) -> Entry {
    let subject = format!("space \"{number}\", {}", "which has a long name of its own ".repeat(8));
    Entry::Step(Step { change: Change::Created, subject, fields: Vec::new(), site: None, call: None })
}

async fn written(journal: &Journal, id: &str) -> RunLog {
    let log = journal.begin(opening(id, "hb")).await.unwrap();
    log.note(&Entry::Began { process: "process 1".to_owned() });
    log.note_file("playbooks/onboard.rhai", b"output(#{});");
    for number in 0..20 {
        log.note(&step(number));
    }
    log.append(&step(20)).await.unwrap();
    log
}

#[tokio::test]
async fn what_was_written_is_read_back_in_order_by_another_opening() {
    let (_folder, path) = folder();
    let journal = open(&path);
    let log = written(&journal, "run-1").await;
    let later = open(&path);
    let entries = later.entries("run-1").unwrap();
    assert_eq!(entries.len(), 23);
    assert!(entries.iter().zip(0..).all(|(logged, place)| logged.sequence == place));
    assert_eq!(entries[22].entry, step(20));
    let Entry::File { path: file, digest } = &entries[1].entry else { panic!("{:?}", entries[1]) };
    assert_eq!(file, "playbooks/onboard.rhai");
    assert_eq!(later.content(digest).unwrap().unwrap(), b"output(#{});");
    assert_eq!(later.run("run-1").unwrap().status, RunState::Running);

    log.end(Ending::Succeeded, json!({ "output": 1 })).await.unwrap();
    let record = later.run("run-").unwrap();
    assert_eq!((record.status, record.is_resumable()), (RunState::Succeeded, false));
    assert_eq!(record.opening, opening("run-1", "hb"));
    assert!(matches!(later.entries("run-1").unwrap()[23].entry, Entry::Ended { status: Ending::Succeeded, .. }));
}

#[tokio::test]
async fn a_run_whose_process_ended_is_interrupted_and_goes_on_where_it_stopped() {
    let (_folder, path) = folder();
    let first = open(&path);
    drop(written(&first, "run-1").await);
    drop(first);
    let journal = open(&path);
    let record = journal.run("run-1").unwrap();
    assert_eq!((record.status, record.is_resumable()), (RunState::Interrupted, true));
    let (_, entries, log) = journal.reopen("run-1").await.unwrap();
    assert_eq!(entries.len(), 23);
    log.append(&step(99)).await.unwrap();
    assert_eq!(journal.entries("run-1").unwrap()[23].entry, step(99));
    assert_eq!(journal.run("run-1").unwrap().status, RunState::Running);
}

#[tokio::test]
async fn a_later_run_of_the_same_playbook_takes_the_place_of_an_unfinished_one() {
    let journal = State::in_memory(clock()).unwrap().journal();
    let log = journal.begin(opening("run-1", "hb")).await.unwrap();
    log.end(Ending::Failed, json!(null)).await.unwrap();
    assert!(journal.run("run-1").unwrap().is_resumable());
    journal.begin(opening("run-2", "fw")).await.unwrap();
    assert!(journal.run("run-1").unwrap().is_resumable(), "another customer's run");
    journal.begin(opening("run-3", "hb")).await.unwrap();
    let record = journal.run("run-1").unwrap();
    assert_eq!((record.superseded_by.as_deref(), record.is_resumable()), (Some("run-3"), false));
    let of_harbour = RunFilter { customer: Some("hb".to_owned()), ..RunFilter::default() };
    let ids: Vec<String> = journal.runs(&of_harbour).unwrap().into_iter().map(|run| run.opening.id).collect();
    assert_eq!(ids, ["run-3", "run-1"]);
}

#[tokio::test]
async fn an_id_that_is_not_known_or_not_enough_is_told() {
    let journal = State::in_memory(clock()).unwrap().journal();
    for id in ["0193-aa", "0193-ab", "0194-cc"] {
        journal.begin(opening(id, "hb")).await.unwrap();
    }
    assert_eq!(journal.run("0194").unwrap().opening.id, "0194-cc");
    let error = journal.run("0193").unwrap_err();
    assert_eq!(error.to_string(), "several runs begin with `0193`: 0193-aa, 0193-ab");
    let error = journal.run("0194-cd").unwrap_err();
    assert_eq!(error.hint().unwrap(), "did you mean `0194-cc`?");
    assert!(matches!(journal.run(""), Err(JournalError::Ambiguous { .. })));
}

#[tokio::test]
async fn an_entry_that_is_gone_or_changed_is_named() {
    let (_folder, path) = folder();
    let journal = open(&path);
    drop(written(&journal, "run-1").await);
    let connection = rusqlite::Connection::open(&path).unwrap();
    let body: Vec<u8> =
        connection.query_row("SELECT body FROM entries WHERE sequence = 7", [], |row| row.get(0)).unwrap();
    let whole = journal.entries("run-1").unwrap();
    let mut harmless = 0;
    for place in 0..body.len() {
        let mut changed = body.clone();
        changed[place] ^= 1 << (place % 8);
        connection.execute("UPDATE entries SET body = ?1 WHERE sequence = 7", [changed]).unwrap();
        match journal.entries("run-1") {
            Err(error) => assert!(matches!(error, JournalError::Damaged { sequence: 7, .. }), "{error}"),
            // A bit that fills up the last byte says nothing.
            Ok(entries) => {
                assert_eq!(entries, whole);
                harmless += 1;
            }
        }
    }
    assert!(harmless <= 1, "{harmless} of {} bits", body.len());
    for length in 0..body.len() {
        connection.execute("UPDATE entries SET body = ?1 WHERE sequence = 7", [&body[..length]]).unwrap();
        let error = journal.entries("run-1").unwrap_err();
        assert!(matches!(error, JournalError::Damaged { sequence: 7, .. }), "{length} bytes: {error}");
    }
    connection.execute("UPDATE entries SET body = ?1 WHERE sequence = 7", [body]).unwrap();
    assert!(journal.entries("run-1").is_ok());
    connection.execute("DELETE FROM entries WHERE sequence = 9", []).unwrap();
    let error = journal.reopen("run-1").await.unwrap_err();
    assert!(matches!(error, JournalError::Damaged { sequence: 9, .. }), "{error}");
    assert!(error.hint().unwrap().contains("backup"));
}

#[tokio::test]
async fn an_end_of_a_log_that_is_gone_is_named() {
    let (_folder, path) = folder();
    let journal = open(&path);
    drop(written(&journal, "run-1").await);
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute("DELETE FROM entries WHERE sequence > 19", []).unwrap();
    let error = journal.entries("run-1").unwrap_err();
    assert!(matches!(error, JournalError::Damaged { sequence: 20, .. }), "{error}");
    connection.execute("DELETE FROM entries", []).unwrap();
    let error = journal.reopen("run-1").await.unwrap_err();
    assert!(matches!(error, JournalError::Damaged { sequence: 0, .. }), "{error}");
}

#[tokio::test]
async fn every_column_of_a_run_and_every_run_of_a_list_is_looked_after() {
    let (_folder, path) = folder();
    let journal = open(&path);
    for id in ["run-1", "run-2", "run-3"] {
        drop(written(&journal, id).await);
    }
    let of_harbour = RunFilter {
        scope: Some("org".to_owned()),
        customer: Some("hb".to_owned()),
        playbook: Some("playbooks/onboard.rhai".to_owned()),
        limit: Some(1),
    };
    assert_eq!(journal.runs(&of_harbour).unwrap()[0].opening.id, "run-3");
    let connection = rusqlite::Connection::open(&path).unwrap();
    for column in ["id", "customer", "playbook", "began", "status", "holder", "superseded_by"] {
        connection.execute(&format!("UPDATE runs SET {column} = {column} || 'x' WHERE number = 2"), []).unwrap();
        let error = journal.runs(&RunFilter::default()).unwrap_err().to_string();
        assert!(error.contains("in runs is not what was written"), "{column}: {error}");
        connection
            .execute(
                &format!("UPDATE runs SET {column} = substr({column}, 1, length({column}) - 1) WHERE number = 2"),
                [],
            )
            .unwrap();
        assert_eq!(journal.runs(&RunFilter::default()).unwrap().len(), 3);
    }
    // The latest run is gone: the one before must not pass for it.
    connection.execute("DELETE FROM runs WHERE number = 3", []).unwrap();
    for filter in [of_harbour, RunFilter::default()] {
        let error = journal.runs(&filter).unwrap_err();
        assert!(matches!(error, JournalError::State(StateError::Damaged { .. })), "{error}");
    }
    assert!(journal.begin(opening("run-4", "hb")).await.is_err());
}

/// Refuses the commits of these numbers.
struct Refusing {
    commits: AtomicU32,
    refused: std::ops::Range<u32>,
    verdict: Verdict,
}

impl CommitHook for Refusing {
    fn before(&self) -> Verdict {
        let commit = self.commits.fetch_add(1, Ordering::Relaxed);
        if self.refused.contains(&commit) { self.verdict } else { Verdict::Go }
    }

    fn after(&self) -> Verdict {
        Verdict::Go
    }
}

fn refusing(refused: std::ops::Range<u32>, verdict: Verdict) -> Arc<Refusing> {
    Arc::new(Refusing { commits: AtomicU32::new(0), refused, verdict })
}

#[tokio::test]
async fn after_an_entry_that_could_not_be_written_none_is() {
    let state = State::in_memory(clock()).unwrap();
    let process = state.as_process(refusing(2..3, Verdict::Full));
    let log = process.journal().begin(opening("run-1", "hb")).await.unwrap();
    log.append(&step(0)).await.unwrap();
    // This one finds the disk full and nobody waits for it.
    log.note(&step(1));
    for number in 2..5 {
        assert!(matches!(log.append(&step(number)).await, Err(StateError::Access { .. })));
    }
    assert_eq!(state.journal().entries("run-1").unwrap().len(), 1);
    // Whoever opens the log again goes on after what is there.
    let (_, entries, log) = state.journal().reopen("run-1").await.unwrap();
    assert_eq!(entries.len(), 1);
    log.append(&step(5)).await.unwrap();
    assert_eq!(state.journal().entries("run-1").unwrap().len(), 2);
}

#[tokio::test]
async fn a_dead_process_writes_nothing_and_its_leases_are_free() {
    let state = State::in_memory(clock()).unwrap();
    let process = state.as_process(refusing(1..u32::MAX, Verdict::Dead));
    let lease = process.leases().take("customer:org/hb", "run-1").await.unwrap();
    assert!(process.journal().begin(opening("run-1", "hb")).await.is_err());
    drop(lease);
    let error = state.leases().take("customer:org/hb", "run-2").await.unwrap_err();
    let LeaseError::Held(held) = error else { panic!("{error}") };
    assert_eq!((held.run.as_str(), held.process.as_str()), ("run-1", "process 1"));
    drop(process);
    state.leases().take("customer:org/hb", "run-2").await.unwrap();
}

#[tokio::test]
async fn a_lease_has_one_run_and_comes_back_when_it_is_dropped() {
    let (_folder, path) = folder();
    let (one, two) = (State::open(&path, clock()).unwrap(), State::open(&path, clock()).unwrap());
    let name = Leases::customer("org", "hb");
    let lease = one.leases().take(&name, "run-1").await.unwrap();
    drop(one.leases().take(&Leases::customer("org", "fw"), "run-2").await.unwrap());
    let error = two.leases().take(&name, "run-2").await.unwrap_err().to_string();
    assert!(error.starts_with("run run-1 is at work on customer `hb` since 2026-11-24T08:00:0"), "{error}");
    assert!(error.ends_with(&format!("(process {})", std::process::id())), "{error}");
    let error = one.leases().take(&name, "run-3").await.unwrap_err().to_string();
    assert!(error.ends_with("(this process)"), "{error}");
    drop(lease);
    // What hands in first is done first, so this finds the lease given back.
    one.leases().take(&name, "run-3").await.unwrap();
}

#[tokio::test]
async fn a_lease_is_taken_over_from_a_process_that_has_ended() {
    let (_folder, path) = folder();
    let one = State::open(&path, clock()).unwrap();
    // Forgotten rather than dropped: a process that is killed gives nothing back.
    std::mem::forget(one.leases().take("tenant:t.eu.qlikcloud.com", "run-1").await.unwrap());
    let holders = path.with_file_name("holders");
    let lock = std::fs::read_dir(&holders).unwrap().next().unwrap().unwrap().path();
    let two = State::open(&path, clock()).unwrap();
    assert!(two.leases().take("tenant:t.eu.qlikcloud.com", "run-2").await.is_err());
    std::fs::remove_file(lock).unwrap();
    two.leases().take("tenant:t.eu.qlikcloud.com", "run-2").await.unwrap();
}

#[tokio::test]
async fn many_runs_at_once_lose_nothing() {
    let (_folder, path) = folder();
    let journal = open(&path);
    let runs = (0..50).map(|run| {
        let journal = journal.clone();
        tokio::spawn(async move {
            let id = format!("run-{run:02}");
            let log = journal.begin(opening(&id, &id)).await.unwrap();
            for number in 0..20 {
                log.note(&step(number));
                log.append(&step(number)).await.unwrap();
            }
            log.end(Ending::Succeeded, json!({})).await.unwrap();
        })
    });
    futures_util::future::join_all(runs.collect::<Vec<_>>()).await.into_iter().for_each(|run| run.unwrap());
    let later = open(&path);
    for run in 0..50 {
        assert_eq!(later.entries(&format!("run-{run:02}")).unwrap().len(), 41);
    }
}
