use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, params};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::chain::{self, Place};
use super::entry::{Ending, Entry};
use super::row::RunRow;
use crate::operation::hex;
use crate::store::pack::pack;
use crate::store::seal::{self, Seal};
use crate::store::{State, StateError};

/// The journal of one run, being written. Clones write the same one.
///
/// Entries become durable in the order in which they are handed in. When one could not be written, none after it is.
#[derive(Clone)]
pub struct RunLog(Arc<Shared>);

struct Shared {
    state: State,
    run: i64,
    next: Mutex<Next>,
}

struct Next {
    sequence: u64,
    seal: Seal,
}

impl std::fmt::Debug for RunLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunLog").field("run", &self.0.run).finish_non_exhaustive()
    }
}

/// What goes to the file besides an entry.
enum Beside {
    Nothing,
    /// A file's content, as it is: most often the state file has it already.
    Content([u8; 32], Vec<u8>),
    Ending(Ending, String),
}

impl RunLog {
    pub(super) fn new(state: State, run: i64, sequence: u64, seal: Seal) -> Self {
        Self(Arc::new(Shared { state, run, next: Mutex::new(Next { sequence, seal }) }))
    }

    /// Adds an entry: durable when this returns.
    ///
    /// # Errors
    /// When the state file cannot be written, now or for an earlier entry.
    pub fn append(&self, entry: &Entry) -> impl Future<Output = Result<(), StateError>> + Send + use<> {
        self.add(entry, Beside::Nothing)
    }

    /// Adds an entry without waiting: it is durable once a later one is, or the log is flushed.
    pub fn note(&self, entry: &Entry) {
        drop(self.append(entry));
    }

    /// Notes that a file was used, and keeps its content.
    pub fn note_file(&self, path: &str, content: &[u8]) {
        let digest: [u8; 32] = Sha256::digest(content).into();
        let entry = Entry::File { path: path.to_owned(), digest: hex(&digest) };
        drop(self.add(&entry, Beside::Content(digest, content.to_vec())));
    }

    /// Adds the last entry and closes the run.
    ///
    /// # Errors
    /// When the state file cannot be written, now or for an earlier entry.
    pub async fn end(&self, status: Ending, report: Value) -> Result<(), StateError> {
        let ended = self.0.state.clock().now().to_string();
        self.add(&Entry::Ended { status, report }, Beside::Ending(status, ended)).await
    }

    fn add(&self, entry: &Entry, beside: Beside) -> impl Future<Output = Result<(), StateError>> + Send + use<> {
        // An entry is data of our own and always has a text.
        let text = serde_json::to_vec(entry).unwrap_or_default();
        let body = pack(&text);
        let (run, path) = (self.0.run, self.0.state.path().to_owned());
        let mut next = self.0.next.lock().unwrap_or_else(PoisonError::into_inner);
        let at = self.0.state.clock().now().as_microsecond();
        let (sequence, before) = (next.sequence, next.seal);
        let seal = seal::next(before, sequence, at, &text);
        *next = Next { sequence: sequence + 1, seal };
        // Handed in while the place is held, so that the file gets entries in order.
        let done = self.0.state.change_soon(move |connection| {
            if !chain::add(connection, &Place { run, sequence, before, seal }, at, &body)? {
                let source = "an earlier entry of this run could not be written".into();
                return Ok(Err(StateError::Access { path, source }));
            }
            beside.write(connection, run).map(Ok)
        });
        drop(next);
        done
    }
}

impl Beside {
    fn write(self, connection: &Connection, run: i64) -> rusqlite::Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::Content(digest, content) => {
                let known = connection.prepare_cached("SELECT 1 FROM contents WHERE digest = ?1")?.exists([&digest])?;
                if !known {
                    connection
                        .prepare_cached("INSERT INTO contents (digest, bytes) VALUES (?1, ?2)")?
                        .execute(params![digest, pack(&content)])?;
                }
                connection
                    .prepare_cached(
                        "INSERT INTO uses (content, run) SELECT number, ?2 FROM contents WHERE digest = ?1
                         ON CONFLICT DO NOTHING",
                    )?
                    .execute(params![digest, run])?;
                Ok(())
            }
            Self::Ending(status, ended) => RunRow::update(connection, run, |row| {
                status.as_str().clone_into(&mut row.status);
                row.ended = Some(ended);
            }),
        }
    }
}
