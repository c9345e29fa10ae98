//! Looking after a state file through the library: copies, exports, imports.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;
use tenantry::store::{Ending, Entry, Opening, State, Tenant};
use tenantry::surroundings::{Clock, SystemClock};
use tenantry::{CareError, RunState};

use crate::support::past::{opening, tenant};

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::default())
}

pub(crate) fn folder() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    (folder, path)
}

pub(crate) fn run(id: &str, customer: &str) -> Opening {
    opening(id, json!({ "code": customer, "name": "Harbour Logistics" }))
}

pub(crate) fn line(number: usize) -> Entry {
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

fn exported(state: &State) -> String {
    let mut bytes = Vec::new();
    state.export(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// A state with a bit of everything: tenants, a creation that is open, runs that ended, failed and are at work, files.
async fn everything(path: &Path) -> State {
    let state = State::open(path, clock()).unwrap();
    let registry = state.registry();
    for (number, customer) in ["hb", "fw", "hb"].iter().enumerate() {
        let log = state.journal().begin(run(&format!("run-{number}"), customer)).await.unwrap();
        log.note_file("playbooks/onboard.rhai", b"let tenant = tenants::ensure(customer);\n");
        log.note_file("logo.png", &[0, 159, 146, 150]);
        log.append(&line(0)).await.unwrap();
        // The words of an export, in a text of somebody else.
        let hostile = "{\"end\":{\"lines\":1}}\n\u{2028}\"entry\":\u{0}".to_owned();
        log.append(&Entry::Log { level: "info".to_owned(), message: hostile, site: None }).await.unwrap();
        if number < 2 {
            log.end(Ending::Succeeded, json!({ "changes": number })).await.unwrap();
        }
    }
    registry.begin_create("org-1", "fw", "run-1", "0:createTenant#0", "ab12").unwrap();
    registry.adopt("org-1", &tenant("hb", "run-0")).unwrap();
    registry.adopt("org-2", &tenant("hb", "run-0")).unwrap();
    registry.set_mark("org-1", "hb", "data file", Some(&json!({ "size": 20 }))).unwrap();
    state
}

#[tokio::test]
async fn an_export_brings_everything_to_another_machine() {
    let (folder, path) = folder();
    let state = everything(&path).await;
    let file = folder.path().join("state.jsonl");
    let written = state.export_file(&file).unwrap();
    assert_eq!((written.tenants, written.runs, written.entries, written.files), (2, 3, 14, 2));
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(exported(&state), text, "the same state gives the same bytes");
    #[cfg(unix)]
    assert_eq!(mode(&file), 0o600);
    assert!(matches!(state.export_file(&file), Err(CareError::Exists { .. })));
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        assert_eq!(value.as_object().unwrap().len(), 1, "{line}");
    }

    let (_other, path) = self::folder();
    let other = State::open(&path, clock()).unwrap();
    let imported = other.import(&file).unwrap();
    assert_eq!((imported.tenants, imported.runs, imported.known), (2, 3, 0));
    assert_eq!(exported(&other), text);
    assert!(other.check().unwrap().is_whole());
    for run in ["run-0", "run-1", "run-2"] {
        assert_eq!(other.journal().entries(run).unwrap(), state.journal().entries(run).unwrap());
    }
    let marks = [("data file".to_owned(), json!({ "size": 20 }))];
    assert_eq!(other.registry().marks("org-1", "hb").unwrap(), marks);
    assert_eq!(other.registry().intents("org-1").unwrap(), state.registry().intents("org-1").unwrap());
    // The process at work on the last run is not of that machine.
    let (record, entries, log) = other.journal().reopen("run-2").await.unwrap();
    assert_eq!(record.status, RunState::Interrupted);
    log.append(&line(entries.len())).await.unwrap();
    assert!(other.check().unwrap().is_whole());
}

#[tokio::test]
async fn what_is_there_already_just_so_is_passed_over() {
    let (folder, path) = folder();
    let state = everything(&path).await;
    let file = folder.path().join("state.jsonl");
    state.export_file(&file).unwrap();
    let imported = state.import(&file).unwrap();
    assert_eq!((imported.tenants, imported.runs, imported.known), (0, 0, 5));

    // A project that has other customers gets these too.
    let (_other, path) = self::folder();
    let other = State::open(&path, clock()).unwrap();
    other.registry().adopt("org-1", &tenant("nw", "run-9")).unwrap();
    let log = other.journal().begin(run("run-9", "nw")).await.unwrap();
    log.append(&line(0)).await.unwrap();
    let imported = other.import(&file).unwrap();
    assert_eq!((imported.tenants, imported.runs, imported.known), (2, 3, 0));
    log.append(&line(1)).await.unwrap();
    assert!(other.check().unwrap().is_whole());
    assert_eq!(other.registry().tenants("org-1").unwrap().len(), 2);
}

#[tokio::test]
async fn what_says_otherwise_is_told_and_nothing_is_imported() {
    let (folder, path) = folder();
    let state = everything(&path).await;
    let file = folder.path().join("state.jsonl");
    state.export_file(&file).unwrap();

    let there = |customer: &str, id: &str| Tenant { id: id.to_owned(), ..tenant(customer, "run-0") };
    let conflicts = |other: State| {
        let before = exported(&other);
        let error = other.import(&file).unwrap_err();
        assert!(error.hint().is_some());
        assert_eq!(exported(&other), before, "nothing has changed");
        let CareError::Conflicts { what } = error else { panic!("{error}") };
        what
    };
    let empty = || State::in_memory(clock()).unwrap();

    let other = empty();
    other.registry().adopt("org-1", &there("hb", "another")).unwrap();
    assert_eq!(conflicts(other), ["customer `hb` has tenant another here, entered in another way"]);
    let other = empty();
    other.registry().adopt("org-1", &there("nw", "id-hb")).unwrap();
    assert_eq!(conflicts(other), ["tenant id-hb is customer `nw`'s here"]);
    let other = empty();
    other.registry().begin_create("org-1", "hb", "run-7", "0:createTenant#0", "cd").unwrap();
    assert_eq!(conflicts(other), ["a tenant may have been created for customer `hb` here"]);
    let other = empty();
    other.registry().begin_create("org-1", "fw", "run-7", "0:createTenant#0", "cd").unwrap();
    assert_eq!(conflicts(other), ["another tenant may have been created for customer `fw` here"]);
    let other = empty();
    other.registry().adopt("org-1", &there("fw", "id-fw")).unwrap();
    assert_eq!(conflicts(other), ["customer `fw` has a tenant here, and there its creation has no known end"]);
    let other = empty();
    drop(other.journal().begin(run("run-7", "fw")).await.unwrap());
    assert_eq!(conflicts(other), ["there are other runs of playbooks/onboard.rhai for customer `fw` here"]);

    // The same run, gone on with here, or there.
    let other = empty();
    other.import(&file).unwrap();
    let (_, _, log) = other.journal().reopen("run-2").await.unwrap();
    log.append(&line(9)).await.unwrap();
    assert_eq!(conflicts(other), ["run run-2 went on otherwise here"]);
    let other = empty();
    other.import(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let (_, _, log) = state.journal().reopen("run-2").await.unwrap();
    log.append(&line(9)).await.unwrap();
    state.export_file(&file).unwrap();
    assert_eq!(conflicts(other), ["run run-2 went on otherwise here"]);
}

#[tokio::test]
async fn whatever_is_wrong_with_an_export_it_is_refused_with_the_line() {
    let (folder, path) = folder();
    let text = exported(&everything(&path).await);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let file = folder.path().join("wrong.jsonl");
    let other = State::in_memory(clock()).unwrap();
    let nothing = exported(&other);
    let mut tried = 0;
    let mut refused = |what: &str, wrong: &[u8]| {
        std::fs::write(&file, wrong).unwrap();
        let error = other.import(&file).expect_err(what);
        let CareError::Export { line, why, .. } = error else { panic!("{what}: {error}") };
        assert!(exported(&other) == nothing, "{what}: something was entered");
        tried += 1;
        (line, why)
    };
    for (place, own) in lines.iter().enumerate() {
        let number = u64::try_from(place).unwrap() + 1;
        let with = |line: &str| [&lines[..place], &[line], &lines[place + 1..]].concat().concat().into_bytes();
        let (line, _) = refused(&format!("without line {number}"), &with(""));
        assert!(line >= number, "{line}");
        refused(&format!("line {number} twice"), &with(&own.repeat(2)));
        // Cut off within it, and before it.
        assert_eq!(refused("cut", with("")[..lines[..place].concat().len()].as_ref()).0, number);
        let cut = [lines[..place].concat().as_bytes(), &own.as_bytes()[..own.len() / 2]].concat();
        assert_eq!(refused("cut within", &cut).0, number);
        // Any character is another.
        for (at, char) in own.char_indices().step_by(7).filter(|(_, char)| char.is_ascii_alphanumeric()) {
            let other = if char == 'a' { 'b' } else { 'a' };
            let changed = format!("{}{other}{}", &own[..at], &own[at + 1..]);
            let (line, why) = refused(&format!("line {number} changed at {at}"), &with(&changed));
            let told = line == number || why.contains("not those that were written");
            assert!(told || own.contains("\"entries\":"), "line {number} at {at}: {line}: {why}");
        }
    }
    assert_eq!(refused("more", format!("{text}\n").as_bytes()).0, lines.len() as u64 + 1);
    assert_eq!(refused("nothing", b"").0, 1);
    assert_eq!(refused("binary", &vec![0xff; 100_000]), (1, "this is no export of tenantry".to_owned()));
    assert_eq!(refused("another's", b"{\"tenantry\":1}\n{}").0, 1);
    assert!(tried > 200, "{tried}");
    std::fs::write(&file, "{\"tenantry\":{\"version\":3,\"more\":true}}\n{\"new\":1}\n").unwrap();
    let error = other.import(&file).unwrap_err();
    assert!(matches!(error, CareError::Newer { found: 3, .. }), "{error}");
    std::fs::write(&file, &text).unwrap();
    other.import(&file).unwrap();
}

#[tokio::test]
async fn what_is_damaged_is_not_exported_as_if_it_were_good() {
    let (folder, path) = folder();
    let state = everything(&path).await;
    rusqlite::Connection::open(&path).unwrap().execute("DELETE FROM entries WHERE sequence = 2", []).unwrap();
    let file = folder.path().join("state.jsonl");
    let error = state.export_file(&file).unwrap_err();
    assert!(error.to_string().contains("the journal of run run-0 is damaged at entry 2"), "{error}");
    assert!(!file.exists());
    let mut bytes = Vec::new();
    assert!(state.export(&mut bytes).is_err());
    std::fs::write(&file, bytes).unwrap();
    let error = State::in_memory(clock()).unwrap().import(&file).unwrap_err();
    assert!(matches!(error, CareError::Export { .. }), "{error}");
}
