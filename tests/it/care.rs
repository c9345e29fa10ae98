//! Looking after a state file through the library: copies, exports, imports, retention.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use tempfile::TempDir;
use tenantry::store::{Entry, Opening, State};
use tenantry::surroundings::{Clock, SystemClock};
use tenantry::{CareError, RunState};

use crate::support::past::opening;

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::default())
}

fn folder() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    (folder, path)
}

fn run(id: &str, customer: &str) -> Opening {
    opening(id, json!({ "code": customer, "name": "Harbour Logistics" }))
}

fn line(number: usize) -> Entry {
    Entry::Log { level: "info".to_owned(), message: format!("line {number}"), site: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_made_while_runs_write_have_all_that_was_durable_before() {
    let (folder, path) = folder();
    let state = State::open(&path, clock()).unwrap();
    let durable: Arc<Vec<AtomicUsize>> = Arc::new((0..4).map(|_| AtomicUsize::new(0)).collect());
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..durable.len())
        .map(|number| {
            let (state, durable, done) = (state.clone(), Arc::clone(&durable), Arc::clone(&done));
            tokio::spawn(async move {
                let log = state.journal().begin(run(&format!("run-{number}"), &format!("c{number}"))).await.unwrap();
                while !done.load(Ordering::SeqCst) {
                    log.append(&line(durable[number].load(Ordering::SeqCst))).await.unwrap();
                    durable[number].fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    while durable.iter().any(|count| count.load(Ordering::SeqCst) == 0) {
        tokio::task::yield_now().await;
    }
    let mut copies = Vec::new();
    for number in 0..5 {
        let before: Vec<usize> = durable.iter().map(|count| count.load(Ordering::SeqCst)).collect();
        let copy = folder.path().join(format!("copy-{number}.db"));
        let (state, to) = (state.clone(), copy.clone());
        tokio::task::spawn_blocking(move || state.backup(&to)).await.unwrap().unwrap();
        copies.push((copy, before));
    }
    done.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.unwrap();
    }
    for (copy, before) in &copies {
        let copy = State::open(copy, clock()).unwrap();
        assert!(copy.check().unwrap().is_whole());
        for (number, before) in before.iter().enumerate() {
            let entries = copy.journal().entries(&format!("run-{number}")).unwrap();
            assert!(entries.len() >= *before, "{} of {before}", entries.len());
            assert!(entries.iter().enumerate().all(|(place, logged)| logged.entry == line(place)));
        }
    }
}

#[tokio::test]
async fn a_backup_takes_the_place_of_the_state_file() {
    let (folder, path) = folder();
    let state = State::open(&path, clock()).unwrap();
    let log = state.journal().begin(run("run-1", "hb")).await.unwrap();
    log.append(&line(0)).await.unwrap();
    let copy = folder.path().join("elsewhere.db");
    let counts = state.backup(&copy).unwrap();
    assert_eq!((counts.runs, counts.entries), (1, 1));
    log.append(&line(1)).await.unwrap();
    assert_eq!(mode(&copy), mode(&path));
    #[cfg(unix)]
    assert_eq!(mode(&copy), 0o600);
    assert_eq!(names(folder.path()), ["elsewhere.db", "holders", "state.db", "state.db-shm", "state.db-wal"]);

    // On another machine the process at work is not there: the run can be gone on with.
    let other = TempDir::new().unwrap();
    let path = other.path().join("state.db");
    std::fs::copy(&copy, &path).unwrap();
    let state = State::open(&path, clock()).unwrap();
    let (record, entries, log) = state.journal().reopen("run-1").await.unwrap();
    assert_eq!((record.status, entries.len()), (RunState::Interrupted, 1));
    log.append(&line(1)).await.unwrap();
    assert_eq!(state.journal().entries("run-1").unwrap().len(), 2);
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[cfg(not(unix))]
fn mode(_: &Path) -> u32 {
    0
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_backup_overwrites_nothing_and_leaves_nothing_half_done() {
    let (folder, path) = folder();
    let state = State::open(&path, clock()).unwrap();
    let log = state.journal().begin(run("run-1", "hb")).await.unwrap();
    log.append(&line(0)).await.unwrap();
    let there = folder.path().join("there.txt");
    std::fs::write(&there, "mine").unwrap();
    for to in [&there, &path] {
        let error = state.backup(to).unwrap_err();
        assert!(matches!(error, CareError::Exists { .. }), "{error}");
    }
    assert_eq!(std::fs::read_to_string(&there).unwrap(), "mine");
    let error = state.backup(&folder.path().join("no/such/folder.db")).unwrap_err();
    assert!(matches!(error, CareError::File { .. }), "{error}");

    // What is damaged is not kept as if it were good.
    rusqlite::Connection::open(&path).unwrap().execute("DELETE FROM entries", []).unwrap();
    let error = state.backup(&folder.path().join("damaged.db")).unwrap_err();
    assert!(error.to_string().contains("the journal of run run-1 is damaged at entry 0"), "{error}");
    assert_eq!(names(folder.path()), ["holders", "state.db", "state.db-shm", "state.db-wal", "there.txt"]);
    let error = State::in_memory(clock()).unwrap().backup(&folder.path().join("memory.db")).unwrap_err();
    assert!(matches!(error, CareError::File { .. }), "{error}");
}
