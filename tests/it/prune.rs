//! Which runs go when old ones are removed, and what is left then.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tempfile::TempDir;
use tenantry::Retention;
use tenantry::store::{Ending, Opening, RunFilter, RunKind, RunLog, State};
use tenantry::surroundings::Clock;

use crate::care::{folder, line, run};
use crate::support::past::tenant;

/// The state of a project in the past, and what is taken for now.
struct Aged {
    state: State,
    clock: Arc<ManualClock>,
    _folder: TempDir,
}

/// A clock that stands until the test moves it.
struct ManualClock(AtomicI64);

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::Relaxed)).unwrap()
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

const NOW: i64 = 1_800_000_000;

impl Aged {
    fn new() -> Self {
        let (folder, path) = folder();
        let clock = Arc::new(ManualClock(AtomicI64::new(NOW)));
        let state = State::open(&path, Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
        Self { state, clock, _folder: folder }
    }

    /// A run so many days ago that ended so, or did not.
    async fn run(&self, days: i64, opening: Opening, end: Option<Ending>) -> RunLog {
        self.days_ago(days);
        let log = self.state.journal().begin(opening).await.unwrap();
        log.append(&line(0)).await.unwrap();
        if let Some(end) = end {
            log.end(end, Value::Null).await.unwrap();
        }
        self.days_ago(0);
        log
    }

    fn days_ago(&self, days: i64) {
        self.clock.0.store(NOW - days * 86_400, Ordering::Relaxed);
    }

    /// The runs that go, when one stays of each customer and playbook.
    fn goes(&self, days: i64) -> Vec<String> {
        let retention = Retention { older_than: SignedDuration::from_hours(days * 24), keep: 1 };
        self.state.prunable(retention).unwrap().runs.into_iter().map(|run| run.run).collect()
    }
}

fn undo(id: &str, customer: &str, of: &str) -> Opening {
    Opening { kind: RunKind::Undo(of.to_owned()), ..run(id, customer) }
}

#[tokio::test]
async fn what_is_needed_stays_however_old_it_is() {
    let aged = Aged::new();
    let (ok, failed, cancelled) = (Some(Ending::Succeeded), Some(Ending::Failed), Some(Ending::Cancelled));
    // The last that succeeded stays, and the last of all, which can be resumed.
    aged.run(400, run("hb-1", "hb"), ok).await;
    aged.run(399, run("hb-2", "hb"), ok).await;
    aged.run(398, run("hb-3", "hb"), failed).await;
    aged.run(397, run("hb-4", "hb"), cancelled).await;
    aged.run(396, run("hb-5", "hb"), failed).await;
    // The registry names two.
    aged.run(400, run("fw-1", "fw"), ok).await;
    aged.run(399, run("fw-2", "fw"), failed).await;
    aged.run(398, run("fw-3", "fw"), ok).await;
    aged.state.registry().adopt("org-1", &tenant("fw", "fw-1")).unwrap();
    aged.run(400, run("nw-1", "nw"), failed).await;
    aged.run(399, run("nw-2", "nw"), ok).await;
    aged.state.registry().begin_create("org-1", "nw", "nw-1", "0:createTenant#0", "ab").unwrap();
    // An undo that stays needs the run that it took back; one that goes does not.
    aged.run(400, run("ea-1", "ea"), ok).await;
    aged.run(399, run("ea-2", "ea"), ok).await;
    aged.run(398, undo("ea-3", "ea", "ea-1"), failed).await;
    aged.run(397, undo("ea-4", "ea", "ea-2"), ok).await;
    aged.run(396, run("ea-5", "ea"), ok).await;
    // One whose process died and whose place another took; one that a process of today is at work on.
    drop(aged.run(400, run("so-1", "so"), None).await);
    aged.run(399, run("so-2", "so"), ok).await;
    // Of another playbook there is only one.
    aged.run(400, Opening { playbook: "playbooks/other.rhai".to_owned(), ..run("hb-0", "hb") }, failed).await;
    // What is young stays.
    aged.run(10, run("we-1", "we"), ok).await;
    aged.run(9, run("we-2", "we"), ok).await;

    // This process is at work on the one that did not end.
    let expected = ["hb-1", "hb-3", "hb-4", "fw-2", "ea-1", "ea-3"];
    assert_eq!(sorted(aged.goes(90)), sorted(expected));
    assert_eq!(sorted(aged.goes(0)), sorted(expected.into_iter().chain(["we-1"])));
    assert_eq!(aged.goes(398), ["hb-1", "fw-2"].map(str::to_owned), "the undo of ea-1 stays");
    assert_eq!(aged.goes(1000), [""; 0]);
    assert!(aged.state.prunable(Retention::default()).unwrap().is_empty(), "five of each stay unless it is said");
    std::fs::remove_dir_all(aged.state.path().with_file_name("holders")).unwrap();
    let other = State::open(aged.state.path(), Arc::clone(&aged.clock) as Arc<dyn Clock>).unwrap();
    let goes = other.prunable(Retention { keep: 1, ..Retention::default() }).unwrap();
    assert!(goes.runs.iter().any(|run| run.run == "so-1"), "its process is dead: {goes:?}");
}

fn sorted<T: Into<String>>(ids: impl IntoIterator<Item = T>) -> Vec<String> {
    let mut ids: Vec<String> = ids.into_iter().map(Into::into).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn what_stays_is_whole_and_nothing_of_what_goes_is_left() {
    let aged = Aged::new();
    let at_work = aged.run(0, run("other", "fw"), None).await;
    for number in 0..120 {
        let log = aged.run(400 - number, run(&format!("run-{number:03}"), "hb"), None).await;
        log.note_file("playbooks/onboard.rhai", format!("// {}", number / 40).as_bytes());
        aged.days_ago(400 - number);
        log.end(if number == 50 { Ending::Succeeded } else { Ending::Failed }, Value::Null).await.unwrap();
    }
    aged.days_ago(0);
    let before = aged.state.check().unwrap().counts.unwrap();
    assert_eq!((before.runs, before.files), (121, 3));
    let plan = |keep| aged.state.prunable(Retention { older_than: SignedDuration::from_hours(24), keep }).unwrap();
    let prunable = plan(10);
    assert_eq!((prunable.runs.len(), prunable.files), (109, 1), "one file of the three is used by what stays alone");
    assert!(prunable.bytes > 109 * 10, "{}", prunable.bytes);
    // Meanwhile somebody goes to work on one of them, and something new is written.
    let (_, _, resumed) = aged.state.journal().reopen("run-100").await.unwrap();
    at_work.append(&line(1)).await.unwrap();
    assert_eq!(aged.state.prune(prunable).unwrap(), 108);
    resumed.append(&line(1)).await.unwrap();
    at_work.append(&line(2)).await.unwrap();

    let health = aged.state.check().unwrap();
    assert!(health.is_whole() && health.findings.is_empty(), "{:?}", health.findings);
    assert_eq!(health.counts.unwrap().files, 2);
    let runs: Vec<String> =
        aged.state.journal().runs(&RunFilter::default()).unwrap().into_iter().map(|run| run.opening.id).collect();
    let last = (110..120).rev().map(|number| format!("run-{number:03}"));
    let expected: Vec<String> = last.chain(["run-100", "run-050", "other"].map(str::to_owned)).collect();
    assert_eq!(runs, expected);
    for run in &runs {
        assert!(!aged.state.journal().entries(run).unwrap().is_empty());
    }
    // The list goes on as lists do.
    aged.run(0, run("run-120", "hb"), Some(Ending::Succeeded)).await;
    assert!(aged.state.check().unwrap().is_whole());
    let rows = rusqlite::Connection::open(aged.state.path()).unwrap();
    for table in ["heads", "uses", "entries"] {
        let of: i64 =
            rows.query_row(&format!("SELECT count(DISTINCT run) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert!(of <= 14, "{table} has something of {of} runs");
    }
}

#[tokio::test]
async fn a_damaged_run_goes_like_any_other_once_its_place_was_taken() {
    let aged = Aged::new();
    aged.run(400, run("run-1", "hb"), Some(Ending::Succeeded)).await;
    aged.run(399, run("run-2", "hb"), Some(Ending::Succeeded)).await;
    rusqlite::Connection::open(aged.state.path()).unwrap().execute("DELETE FROM entries WHERE run = 1", []).unwrap();
    assert!(!aged.state.check().unwrap().is_whole());
    assert_eq!(aged.goes(90), ["run-1"]);
    let prunable = aged.state.prunable(Retention { keep: 1, ..Retention::default() }).unwrap();
    assert_eq!(aged.state.prune(prunable).unwrap(), 1);
    assert!(aged.state.check().unwrap().is_whole());
}
