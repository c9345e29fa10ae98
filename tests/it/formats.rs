//! State files that earlier releases wrote keep opening, with everything in them.
//!
//! `tests/fixtures/state/README.md` says how the file of a new format is made.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;
use tenantry::event::{Change, Step};
use tenantry::store::{Ending, Entry, FORMAT, Logged, Opening, RunFilter, RunKind, RunState, State, Tenant};
use tenantry::surroundings::{Clock, RuntimeClock};

/// Every format that was ever written.
const FORMATS: [i64; 4] = [1, 2, 3, 4];

fn fixture(format: i64) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/state/format-{format}.db"))
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(RuntimeClock::starting_at("2026-11-24T08:00:00Z".parse().unwrap()))
}

/// A copy of the fixture, opened by this release.
fn open(format: i64) -> (TempDir, State) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    std::fs::copy(fixture(format), &path).unwrap();
    let state = State::open(&path, clock()).unwrap();
    (folder, state)
}

fn harbour() -> Tenant {
    Tenant {
        customer: "hb".to_owned(),
        id: "R5u9xZ2hQ0m7cVb1nK4tYd8sLw6pEj3A".to_owned(),
        hostname: "k3v9x2q7m1c8b5n.eu.qlikcloud.com".to_owned(),
        alias: Some("halyard-hb.eu.qlikcloud.com".to_owned()),
        region: "eu".to_owned(),
        name: Some("Harbour Logistics".to_owned()),
        status: "active".to_owned(),
        created_by_run: Some("019365aa-0000-7000-8000-000000000001".to_owned()),
    }
}

fn fenwick() -> Tenant {
    Tenant {
        customer: "fw".to_owned(),
        id: "A1".to_owned(),
        hostname: "a1.uk.qlikcloud.com".to_owned(),
        alias: None,
        region: "uk".to_owned(),
        name: None,
        status: "disabled".to_owned(),
        created_by_run: None,
    }
}

fn opening(id: &str, customer: &str) -> Opening {
    Opening {
        id: id.to_owned(),
        kind: RunKind::Run,
        playbook: "playbooks/onboard.rhai".to_owned(),
        scope: "org".to_owned(),
        customer: customer.to_owned(),
        target: "prod".to_owned(),
        inputs: json!({ "code": customer, "name": "Harbour Logistics", "region": "eu" }),
        verify: false,
        plan: None,
        release: "0.1.0".to_owned(),
    }
}

const ENDED: &str = "019365aa-0000-7000-8000-000000000001";
const OPEN: &str = "019365aa-0000-7000-8000-000000000002";
const PLAYBOOK: &[u8] = b"let tenant = tenants::ensure(customer);\n";

const MARK: &str = "data file k3v9x2q7m1c8b5n.eu.qlikcloud.com 6a1 rates.csv";

fn mark() -> serde_json::Value {
    json!({ "id": "ee6a390c-5d33-11e8-9c2d-fa7ae01bbebc", "size": 20, "sha256": "ab12" })
}

fn step(subject: &str) -> Entry {
    Entry::Step(Step {
        change: Change::Created,
        subject: subject.to_owned(),
        fields: Vec::new(),
        call: None,
        site: None,
    })
}

/// Made by the statements of format 1 themselves, as the first release had them.
fn write_1(path: &Path) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL;
CREATE TABLE tenants (
    organization   TEXT NOT NULL,
    customer       TEXT NOT NULL,
    id             TEXT NOT NULL,
    hostname       TEXT NOT NULL,
    alias          TEXT,
    region         TEXT NOT NULL,
    name           TEXT,
    status         TEXT NOT NULL,
    created_by_run TEXT,
    created_at     TEXT NOT NULL,
    updated_at     TEXT NOT NULL,
    PRIMARY KEY (organization, customer)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX tenants_by_id ON tenants (organization, id);
CREATE TABLE intents (
    organization TEXT NOT NULL,
    customer     TEXT NOT NULL,
    run          TEXT NOT NULL,
    key          TEXT NOT NULL,
    digest       TEXT NOT NULL,
    since        TEXT NOT NULL,
    PRIMARY KEY (organization, customer)
) STRICT, WITHOUT ROWID;
PRAGMA application_id = 0x544e5259;
PRAGMA user_version = 1;",
        )
        .unwrap();
    for tenant in [harbour(), fenwick()] {
        connection
            .execute(
                "INSERT INTO tenants VALUES ('org', ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, '2026-10-01T08:00:00Z',
                                             '2026-10-02T08:00:00.5Z')",
                rusqlite::params![
                    tenant.customer,
                    tenant.id,
                    tenant.hostname,
                    tenant.alias,
                    tenant.region,
                    tenant.name,
                    tenant.status,
                    tenant.created_by_run
                ],
            )
            .unwrap();
    }
    connection
        .execute(
            "INSERT INTO intents VALUES ('org', 'pu', 'run-9', '0:createTenant#0', 'ab12', '2026-10-03T08:00:00Z')",
            [],
        )
        .unwrap();
}

/// Made by this release: the registry with a mark, a run that ended and one whose process died.
async fn write_4(path: &Path) {
    let state = State::open(path, clock()).unwrap();
    let (registry, journal) = (state.registry(), state.journal());
    for tenant in [harbour(), fenwick()] {
        registry.adopt("org", &tenant).unwrap();
    }
    registry.begin_create("org", "pu", "run-9", "0:createTenant#0", "ab12").unwrap();
    registry.set_mark("org", "hb", MARK, Some(&mark())).unwrap();
    for (id, customer) in [(ENDED, "hb"), (OPEN, "fw")] {
        let log = journal.begin(opening(id, customer)).await.unwrap();
        log.note(&Entry::Began { process: "process 7".to_owned() });
        log.note_file("playbooks/onboard.rhai", PLAYBOOK);
        log.append(&step(&format!("tenant of {customer}, whose name is long enough to be packed {}", "x".repeat(400))))
            .await
            .unwrap();
        if id == ENDED {
            log.end(Ending::Succeeded, json!({ "output": { "url": "https://halyard-hb.eu.qlikcloud.com" } }))
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
#[ignore = "makes the files that the tests read; for a new format only"]
async fn write() {
    std::fs::create_dir_all(fixture(1).parent().unwrap()).unwrap();
    if !fixture(1).exists() {
        write_1(&fixture(1));
    }
    assert!(!fixture(FORMAT).exists(), "a file of a released format stays as it is");
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("state.db");
    write_4(&path).await;
    std::fs::copy(path, fixture(FORMAT)).unwrap();
}

#[test]
fn every_format_has_its_file() {
    assert_eq!(FORMATS.last(), Some(&FORMAT), "tests/fixtures/state/README.md says what to do");
    for format in FORMATS {
        let connection = rusqlite::Connection::open_with_flags(
            format!("file:{}?immutable=1", fixture(format).display()),
            rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_URI,
        )
        .unwrap();
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(version, format);
    }
}

#[tokio::test]
async fn the_registry_of_every_format_is_read_and_goes_on() {
    for format in FORMATS {
        let (_folder, state) = open(format);
        let registry = state.registry();
        assert_eq!(registry.tenants("org").unwrap(), [fenwick(), harbour()], "format {format}");
        let intent = registry.intent("org", "pu").unwrap().unwrap();
        assert_eq!((intent.run.as_str(), intent.key.as_str()), ("run-9", "0:createTenant#0"), "format {format}");
        // What is there holds up, and what is not is written.
        assert!(registry.begin_create("org", "hb", "run-10", "k", "d").is_err());
        assert!(registry.update("org", "A1", Some("Fenwick"), None, None).unwrap());
        registry.begin_create("org", "new", "run-10", "k", "d").unwrap();
        let path = state.path().to_owned();
        drop((registry, state));
        let again = State::open(&path, clock()).unwrap().registry();
        assert_eq!(again.tenant("org", "fw").unwrap().unwrap().name.as_deref(), Some("Fenwick"));
        assert_eq!(again.intents("org").unwrap().len(), 2, "format {format}");
    }
}

#[tokio::test]
async fn the_runs_of_every_format_with_a_journal_are_read_and_go_on() {
    for format in [2, 3, 4] {
        let (_folder, state) = open(format);
        let journal = state.journal();
        let runs = journal.runs(&RunFilter::default()).unwrap();
        let states: Vec<(&str, RunState)> = runs.iter().map(|run| (run.opening.id.as_str(), run.status)).collect();
        assert_eq!(states, [(OPEN, RunState::Interrupted), (ENDED, RunState::Succeeded)]);
        assert_eq!(runs[1].opening, opening(ENDED, "hb"));
        let entries: Vec<Logged> = journal.entries(ENDED).unwrap();
        assert_eq!(entries.len(), 4);
        let Entry::File { path, digest } = &entries[1].entry else { panic!("{:?}", entries[1]) };
        assert_eq!(path, "playbooks/onboard.rhai");
        assert_eq!(journal.content(digest).unwrap().unwrap(), PLAYBOOK);
        let (_, entries, log) = journal.reopen(OPEN).await.unwrap();
        assert_eq!(entries.len(), 3);
        log.append(&step("space \"Staging\"")).await.unwrap();
        assert_eq!(journal.entries(OPEN).unwrap()[3].entry, step("space \"Staging\""));
    }
}

#[test]
fn marks_are_read_and_go_on() {
    for format in FORMATS {
        let (_folder, state) = open(format);
        let registry = state.registry();
        let known = (format >= 4).then(mark);
        assert_eq!(registry.mark("org", "hb", MARK).unwrap(), known, "format {format}");
        registry.set_mark("org", "hb", "another", Some(&json!(1))).unwrap();
        let names: Vec<String> = registry.marks("org", "hb").unwrap().into_iter().map(|(name, _)| name).collect();
        let all = if format >= 4 { vec!["another", MARK] } else { vec!["another"] };
        assert_eq!(names, all, "format {format}");
    }
}
