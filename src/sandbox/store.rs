//! The file in which a sandbox keeps its state: one `SQLite` database, held by one process at a time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OpenFlags, params};
use serde_json::Value;

use super::events::Event;
use super::state::{Document, Scope, State};

/// `tsbx`: tells our files from other databases.
const APPLICATION: i32 = 0x7473_6278;
/// The version of the tables below.
const FORMAT: i32 = 1;

/// What a scope begins with that is another organization's: no tenant's id has it.
const ANOTHER: char = '@';

/// Why a sandbox's file could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no such file.
    #[error("there is no sandbox file {}", .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Another process, or another sandbox of this one, works on the file.
    #[error("the sandbox {} is in use by another process", .path.display())]
    Held {
        /// The file.
        path: PathBuf,
    },
    /// The file is not a sandbox's state, or is damaged.
    #[error("the sandbox file {} cannot be read: {reason}", .path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A newer version of this program wrote the file.
    #[error("the sandbox file {} has format {found}, this version reads up to {FORMAT}", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i32,
    },
    /// The file system refused.
    #[error("the sandbox file {} cannot be opened: {reason}", .path.display())]
    Unreachable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

impl OpenError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Missing { .. } => {
                "`tenantry sandbox --state FILE` makes one, and so does a run on the embedded sandbox"
            }
            Self::Held { .. } => "wait until it has ended; one process at a time works on a sandbox",
            Self::Corrupt { .. } => "move it away or delete it, and a fresh sandbox is made",
            Self::Newer { .. } => "use the newer version, or move the file away, and a fresh sandbox is made",
            Self::Unreachable { .. } => "look at its path, the permissions of its folder, and the space on the disk",
        }
    }
}

/// What to write down.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// A document to write down or to strike out.
    Document {
        /// Whose it is.
        scope: Scope,
        /// The collection's name.
        collection: Arc<str>,
        /// The document's id.
        id: Arc<str>,
        /// Its place and text; none when it is gone.
        now: Option<(u64, Document)>,
    },
    /// Content, by its name. What no document names any more is struck out when the file is opened next.
    Blob(Arc<str>, Bytes),
    /// Something that happened in a tenant; what happened before the event with the number `first` is forgotten.
    Event { tenant: Arc<str>, event: Arc<Event>, first: u64 },
}

/// The open file.
#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
}

impl Store {
    /// Opens or makes the file and reads what it holds.
    pub(super) fn open(path: &Path) -> Result<(Self, State), OpenError> {
        let unreachable =
            |error: std::io::Error| OpenError::Unreachable { path: path.to_owned(), reason: error.to_string() };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(unreachable)?;
        }
        private(path).map_err(unreachable)?;
        let connection = Connection::open(path).map_err(|error| explain(path, &error))?;
        let mut store = Self { connection };
        store.hold().map_err(|error| explain(path, &error))?;
        let fresh = store.is_fresh(path)?;
        store.journal().map_err(|error| explain(path, &error))?;
        if fresh {
            store.make().map_err(|error| explain(path, &error))?;
        }
        store.extend().map_err(|error| explain(path, &error))?;
        let mut state = store.read(path)?;
        let unnamed = state.sweep();
        store.strike(&unnamed).map_err(|error| explain(path, &error))?;
        Ok((store, state))
    }

    /// Reads what a file holds and changes nothing in it.
    pub(super) fn look(path: &Path) -> Result<State, OpenError> {
        if !path.exists() {
            return Err(OpenError::Missing { path: path.to_owned() });
        }
        let failed = |error: rusqlite::Error| explain(path, &error);
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
        connection.busy_timeout(Duration::ZERO).map_err(failed)?;
        let store = Self { connection };
        if store.is_fresh(path)? {
            return Err(OpenError::Corrupt { path: path.to_owned(), reason: "it is empty".to_owned() });
        }
        store.read(path)
    }

    /// Strikes out everything.
    pub(super) fn empty(&mut self) -> rusqlite::Result<()> {
        self.connection
            .execute_batch("BEGIN; DELETE FROM documents; DELETE FROM blobs; DELETE FROM audits; COMMIT; VACUUM;")
    }

    /// Whether the file has a table: those of earlier versions lack some.
    fn has(&self, table: &str) -> rusqlite::Result<bool> {
        self.connection
            .query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?1)", [table], |row| row.get(0))
    }

    /// Takes the file for this process until it is closed.
    fn hold(&mut self) -> rusqlite::Result<()> {
        self.connection.busy_timeout(Duration::ZERO)?;
        self.connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        // The mode alone takes no lock: the first write does.
        self.connection.execute_batch("BEGIN EXCLUSIVE; COMMIT")
    }

    /// Makes each commit durable.
    fn journal(&mut self) -> rusqlite::Result<()> {
        let journal: String = self.connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
        if journal != "wal" {
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
                Some(format!("the file system gives no write-ahead log (journal mode {journal})")),
            ));
        }
        self.connection.pragma_update(None, "synchronous", "FULL")?;
        // Without these macOS answers before the disk has the data.
        self.connection.pragma_update(None, "fullfsync", true)?;
        self.connection.pragma_update(None, "checkpoint_fullfsync", true)
    }

    /// Whether there is nothing in the file yet. Changes nothing, so that another program's file stays as it is.
    fn is_fresh(&self, path: &Path) -> Result<bool, OpenError> {
        let failed = |error: rusqlite::Error| explain(path, &error);
        let number = |name: &str| self.connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let (application, format) =
            (number("application_id").map_err(failed)?, number("user_version").map_err(failed)?);
        let tables: i64 =
            self.connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
        if tables == 0 && application == 0 {
            return Ok(true);
        }
        if application != APPLICATION {
            let reason = "it is a database of something else".to_owned();
            return Err(OpenError::Corrupt { path: path.to_owned(), reason });
        }
        if format > FORMAT {
            return Err(OpenError::Newer { path: path.to_owned(), found: format });
        }
        Ok(false)
    }

    fn make(&mut self) -> rusqlite::Result<()> {
        self.connection.execute_batch(&format!(
            "BEGIN;
             CREATE TABLE documents (
                 scope TEXT NOT NULL, collection TEXT NOT NULL, id TEXT NOT NULL,
                 place INTEGER NOT NULL, document TEXT NOT NULL,
                 PRIMARY KEY (scope, collection, id)
             ) WITHOUT ROWID;
             PRAGMA application_id = {APPLICATION};
             PRAGMA user_version = {FORMAT};
             COMMIT;"
        ))
    }

    /// Adds what files of earlier versions lack; the documents are read as before, so the format stays.
    fn extend(&mut self) -> rusqlite::Result<()> {
        self.connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS blobs (name TEXT PRIMARY KEY, bytes BLOB NOT NULL);
             CREATE TABLE IF NOT EXISTS audits (
                 tenant TEXT NOT NULL, number INTEGER NOT NULL, event TEXT NOT NULL, PRIMARY KEY (tenant, number)
             ) WITHOUT ROWID;",
        )
    }

    /// Strikes contents out.
    fn strike(&mut self, names: &[Arc<str>]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        for name in names {
            transaction.execute("DELETE FROM blobs WHERE name = ?1", params![&**name])?;
        }
        transaction.commit()
    }

    fn read(&self, path: &Path) -> Result<State, OpenError> {
        let failed = |error: rusqlite::Error| explain(path, &error);
        let corrupt = |reason: String| OpenError::Corrupt { path: path.to_owned(), reason };
        let verdict: String =
            self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
        if verdict != "ok" {
            return Err(corrupt(verdict));
        }
        let mut state = State::default();
        let blobs =
            if self.has("blobs").map_err(failed)? { "blobs" } else { "(SELECT '' AS name, x'' AS bytes WHERE 0)" };
        let mut statement = self.connection.prepare(&format!("SELECT name, bytes FROM {blobs}")).map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let (name, bytes): (String, Vec<u8>) = (row.get(0).map_err(failed)?, row.get(1).map_err(failed)?);
            if *state.keep(bytes.into()) != *name {
                return Err(corrupt(format!("content `{name}` is not what its name says")));
            }
        }
        let mut statement =
            self.connection.prepare("SELECT scope, collection, id, place, document FROM documents").map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let text = |column: usize| row.get::<_, String>(column).map_err(failed);
            let (scope, collection, id, document) = (text(0)?, text(1)?, text(2)?, text(4)?);
            let place: i64 = row.get(3).map_err(failed)?;
            let place = u64::try_from(place).map_err(|_| corrupt(format!("`{id}` has no place in `{collection}`")))?;
            let document: Value = serde_json::from_str(&document)
                .map_err(|error| corrupt(format!("document `{id}` of `{collection}`: {error}")))?;
            let scope = match scope.strip_prefix(ANOTHER) {
                Some(name) => Scope::Another(name.into()),
                None if scope.is_empty() => Scope::Organization,
                None => Scope::tenant(&scope),
            };
            state.place(&scope, &collection, place, &id, Arc::new(document));
        }
        self.read_audits(&mut state, path)?;
        Ok(state)
    }

    fn read_audits(&self, state: &mut State, path: &Path) -> Result<(), OpenError> {
        let failed = |error: rusqlite::Error| explain(path, &error);
        if !self.has("audits").map_err(failed)? {
            return Ok(());
        }
        let mut statement =
            self.connection.prepare("SELECT tenant, event FROM audits ORDER BY tenant, number").map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let (tenant, event): (String, String) = (row.get(0).map_err(failed)?, row.get(1).map_err(failed)?);
            let event = serde_json::from_str(&event).ok().and_then(|event| Event::from_json(&event));
            let Some(event) = event else {
                let reason = format!("an event of tenant `{tenant}` is none");
                return Err(OpenError::Corrupt { path: path.to_owned(), reason });
            };
            state.happened(&tenant.into(), Arc::new(event));
        }
        Ok(())
    }

    /// Writes changes down; they are on the disk when this returns.
    pub(super) fn write(&mut self, changes: &[Change]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut put = transaction.prepare_cached(
                "INSERT INTO documents (scope, collection, id, place, document) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (scope, collection, id) DO UPDATE SET place = ?4, document = ?5",
            )?;
            let mut strike =
                transaction.prepare_cached("DELETE FROM documents WHERE scope = ?1 AND collection = ?2 AND id = ?3")?;
            let mut keep = transaction.prepare_cached("INSERT OR IGNORE INTO blobs (name, bytes) VALUES (?1, ?2)")?;
            let mut tell = transaction
                .prepare_cached("INSERT OR REPLACE INTO audits (tenant, number, event) VALUES (?1, ?2, ?3)")?;
            let mut forget = transaction.prepare_cached("DELETE FROM audits WHERE tenant = ?1 AND number < ?2")?;
            for change in changes {
                match change {
                    Change::Document { scope, collection, id, now } => {
                        let scope = match scope {
                            Scope::Organization => String::new(),
                            Scope::Another(name) => format!("{ANOTHER}{name}"),
                            Scope::Tenant(id) => id.to_string(),
                        };
                        match now {
                            Some((place, document)) => {
                                let place = i64::try_from(*place).unwrap_or(i64::MAX);
                                put.execute(params![scope, &**collection, &**id, place, document.to_string()])?
                            }
                            None => strike.execute(params![scope, &**collection, &**id])?,
                        }
                    }
                    Change::Blob(name, bytes) => keep.execute(params![&**name, &**bytes])?,
                    Change::Event { tenant, event, first } => {
                        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
                        if *first > 1 {
                            forget.execute(params![&**tenant, number(*first)])?;
                        }
                        tell.execute(params![&**tenant, number(event.number), event.to_json().to_string()])?
                    }
                };
            }
        }
        transaction.commit()
    }
}

#[cfg(test)]
impl Store {
    /// Makes every write fail from here on, as a full disk does.
    pub(super) fn refuse_writes(&mut self, refuse: bool) {
        self.connection.pragma_update(None, "query_only", refuse).unwrap();
    }
}

/// Makes the file readable by its owner only, before anything is in it: it holds a client secret.
fn private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn explain(path: &Path, error: &rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Held { path },
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::DiskFull) => {
            OpenError::Unreachable { path, reason: error.to_string() }
        }
        _ => OpenError::Corrupt { path, reason: error.to_string() },
    }
}
