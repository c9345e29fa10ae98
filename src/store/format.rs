//! The formats of the state file: what brings a file of each to the next, and what must hold when one is opened.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, Row, TransactionBehavior, params};

use super::lease::LeaseRow;
use super::registry::rows::{IntentRow, TenantRow};
use super::seal::Seal;
use super::totals::{self, Tally};

/// The version of the state file's format that this release writes; it reads every earlier one and brings it up to date.
pub const FORMAT: i64 = 4;

/// Marks a state file as tenantry's (`TNRY`).
const APPLICATION: i64 = 0x544e_5259;

/// How long to wait for another process that is writing.
const PATIENCE: Duration = Duration::from_secs(10);

/// What brings a file of each format to the next one, from nothing on. A step that was released never changes.
const STEPS: [fn(&Connection) -> rusqlite::Result<()>; 4] = [registry, journal, chain, marks];

/// Format 1: the registry.
fn registry(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "
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
",
    )
}

/// Format 2: seals for the registry's rows; the journal of runs; leases.
///
/// What is gone shows: `totals` counts rows, `latest` tells of each customer and playbook how many runs there are and
/// which is the last, `heads` how long each run's log is and its last seal. `uses` tells which run used which content.
fn journal(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "
CREATE TABLE totals (
    name TEXT NOT NULL,
    part TEXT NOT NULL,
    rows INTEGER NOT NULL,
    sum  BLOB NOT NULL,
    PRIMARY KEY (name, part)
) STRICT, WITHOUT ROWID;
ALTER TABLE tenants ADD COLUMN seal BLOB NOT NULL DEFAULT x'';
ALTER TABLE intents ADD COLUMN seal BLOB NOT NULL DEFAULT x'';
CREATE TABLE runs (
    number        INTEGER PRIMARY KEY,
    id            TEXT NOT NULL UNIQUE,
    scope         TEXT NOT NULL,
    customer      TEXT NOT NULL,
    playbook      TEXT NOT NULL,
    began         TEXT NOT NULL,
    status        TEXT NOT NULL,
    ended         TEXT,
    holder        TEXT NOT NULL,
    superseded_by TEXT,
    seal          BLOB NOT NULL,
    opening       BLOB NOT NULL
) STRICT;
CREATE INDEX runs_by_customer ON runs (scope, customer, playbook, number);
CREATE TABLE latest (
    scope    TEXT NOT NULL,
    customer TEXT NOT NULL,
    playbook TEXT NOT NULL,
    run      TEXT NOT NULL,
    count    INTEGER NOT NULL,
    PRIMARY KEY (scope, customer, playbook)
) STRICT, WITHOUT ROWID;
CREATE TABLE entries (
    run      INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    body     BLOB NOT NULL,
    seal     BLOB NOT NULL,
    PRIMARY KEY (run, sequence)
) STRICT, WITHOUT ROWID;
CREATE TABLE heads (
    run   INTEGER PRIMARY KEY,
    count INTEGER NOT NULL,
    seal  BLOB NOT NULL
) STRICT;
CREATE TABLE contents (
    number INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    bytes  BLOB NOT NULL
) STRICT;
CREATE TABLE uses (
    content INTEGER NOT NULL,
    run     INTEGER NOT NULL,
    PRIMARY KEY (content, run)
) STRICT, WITHOUT ROWID;
CREATE TABLE leases (
    name   TEXT PRIMARY KEY,
    run    TEXT NOT NULL,
    since  TEXT NOT NULL,
    holder TEXT NOT NULL,
    seal   BLOB NOT NULL
) STRICT, WITHOUT ROWID;
",
    )?;
    let tenants: Vec<TenantRow> = all(connection, "SELECT * FROM tenants", TenantRow::read_unsealed)?;
    for row in tenants {
        seal_row(connection, TenantRow::TABLE, &row.organization, &row.tenant.customer, row.seal())?;
    }
    let intents: Vec<IntentRow> = all(connection, "SELECT * FROM intents", IntentRow::read_unsealed)?;
    for row in intents {
        seal_row(connection, IntentRow::TABLE, &row.organization, &row.intent.customer, row.seal())?;
    }
    Ok(())
}

/// Format 3: entries lie in the order in which they came, see [`super::journal::chain`].
fn chain(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "
CREATE TABLE chained (
    number   INTEGER PRIMARY KEY,
    run      INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    before   INTEGER,
    at       INTEGER NOT NULL,
    body     BLOB NOT NULL,
    seal     BLOB NOT NULL
) STRICT;
INSERT INTO chained (run, sequence, at, body, seal)
    SELECT run, sequence, at, body, seal FROM entries ORDER BY run, sequence;
UPDATE chained SET before = number - 1 WHERE sequence > 0;
ALTER TABLE heads ADD COLUMN last INTEGER;
UPDATE heads SET last = ends.number
    FROM (SELECT run, max(number) AS number FROM chained GROUP BY run) AS ends WHERE ends.run = heads.run;
DROP TABLE entries;
ALTER TABLE chained RENAME TO entries;
",
    )
}

/// Format 4: what tenantry knows of things in tenants that the service does not tell of them.
fn marks(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "
CREATE TABLE marks (
    organization TEXT NOT NULL,
    customer     TEXT NOT NULL,
    name         TEXT NOT NULL,
    mark         TEXT NOT NULL,
    seal         BLOB NOT NULL,
    PRIMARY KEY (organization, customer, name)
) STRICT, WITHOUT ROWID;
",
    )
}

fn seal_row(
    connection: &Connection,
    table: &str,
    organization: &str,
    customer: &str,
    seal: Seal,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(&format!("UPDATE {table} SET seal = ?3 WHERE organization = ?1 AND customer = ?2"))?
        .execute(params![organization, customer, seal])?;
    totals::change(connection, table, organization, None, Some(seal))
}

pub(super) fn all<T>(
    connection: &Connection,
    query: &str,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare(query)?.query_map([], |row| read(row))?.collect()
}

/// What a file turned out to be.
pub(super) enum Found {
    Ready,
    Foreign,
    Newer(i64),
    Damaged(String),
}

/// Makes a file ready for use, and waits for others who do the same.
pub(super) fn set_up(connection: &mut Connection) -> rusqlite::Result<Found> {
    const PAUSE: Duration = Duration::from_millis(10);
    let mut waited = Duration::ZERO;
    loop {
        // The very first opening changes the journal mode, for which the database does not wait when another process
        // does it too.
        match set_up_once(connection) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && waited < PATIENCE => {
                std::thread::sleep(PAUSE);
                waited += PAUSE;
            }
            done => return done,
        }
    }
}

fn set_up_once(connection: &mut Connection) -> rusqlite::Result<Found> {
    connection.busy_timeout(PATIENCE)?;
    // Before anything is written: whose file is it?
    let application: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let format: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let tables: Vec<String> = all(connection, "SELECT name FROM sqlite_schema", |row| row.get(0))?;
    if application != APPLICATION && (application != 0 || format != 0 || !tables.is_empty()) {
        let ours = ["tenants", "intents"].iter().all(|own| tables.iter().any(|table| table == own));
        return Ok(if ours { Found::Damaged("its header is not what was written".to_owned()) } else { Found::Foreign });
    }
    if format > FORMAT {
        return Ok(Found::Newer(format));
    }
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;")?;
    connection.set_prepared_statement_cache_capacity(64);
    // Two processes may come here at once: the second finds the work done.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let format: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if format < FORMAT {
        if format > 0
            && let Some(why) = broken(&transaction, &["tenants", "intents"])?
        {
            return Ok(Found::Damaged(why));
        }
        for step in STEPS.iter().skip(usize::try_from(format).unwrap_or(0)) {
            step(&transaction)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
    }
    if let Some(why) = broken(&transaction, &["tenants", "intents", "leases", "totals"])? {
        return Ok(Found::Damaged(why));
    }
    check_rows(&transaction)?;
    transaction.commit()?;
    Ok(Found::Ready)
}

/// What is wrong with the pages of these tables and their indexes.
fn broken(connection: &Connection, tables: &[&str]) -> rusqlite::Result<Option<String>> {
    for table in tables {
        let report: String =
            connection.query_row(&format!("PRAGMA integrity_check('{table}')"), [], |row| row.get(0))?;
        if report != "ok" {
            return Ok(Some(report));
        }
    }
    Ok(None)
}

/// Makes sure that every row that stands for something outside this file is there and is what was written: a tenant
/// that is not found is created once more.
fn check_rows(connection: &Connection) -> rusqlite::Result<()> {
    let tenants: Vec<TenantRow> = all(connection, "SELECT * FROM tenants", TenantRow::read)?;
    check_table(connection, TenantRow::TABLE, tenants.iter().map(|row| (row.organization.as_str(), row.seal())))?;
    let intents: Vec<IntentRow> = all(connection, "SELECT * FROM intents", IntentRow::read)?;
    check_table(connection, IntentRow::TABLE, intents.iter().map(|row| (row.organization.as_str(), row.seal())))?;
    let leases: Vec<LeaseRow> = all(connection, "SELECT * FROM leases", LeaseRow::read)?;
    check_table(connection, LeaseRow::TABLE, leases.iter().map(|row| ("", row.seal())))
}

/// Makes sure that these seals are all that a table should have, part by part.
pub(super) fn check_table<'r>(
    connection: &Connection,
    table: &str,
    rows: impl Iterator<Item = (&'r str, Seal)>,
) -> rusqlite::Result<()> {
    let mut found: BTreeMap<String, Tally> = BTreeMap::new();
    for (part, seal) in rows {
        match found.get_mut(part) {
            Some(tally) => tally.add(seal),
            None => found.entry(part.to_owned()).or_default().add(seal),
        }
    }
    totals::check_all(connection, table, &found)
}
