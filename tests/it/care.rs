//! Looking after a state file through the library: copies, exports, imports, retention.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;
use tenantry::store::{Ending, Entry, Opening, RunFilter, RunKind, RunLog, State, Tenant};
use tenantry::surroundings::{Clock, SystemClock};
use tenantry::{CareError, Retention, RunState};

use crate::support::past::{opening, tenant};

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
    std::fs::write(&file, "{\"tenantry\":{\"version\":2,\"more\":true}}\n{\"new\":1}\n").unwrap();
    let error = other.import(&file).unwrap_err();
    assert!(matches!(error, CareError::Newer { found: 2, .. }), "{error}");
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
