//! What runs did: one log for each run, only ever added to.

mod entry;
mod log;
mod look;
mod seal;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

pub use entry::{Ending, Entry, Logged, Opening, RunKind, RunRecord, RunState};
pub use log::RunLog;
pub use look::Mentions;

use self::seal::Seal;
use super::{State, StateError};
use crate::operation::{Failure, FailureKind};

/// The journal of all runs of a state file.
#[derive(Clone, Debug)]
pub struct Journal(State);

/// The journal cannot do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The state file cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// There is no such run.
    #[error("there is no run `{id}`")]
    Unknown {
        /// The id, or its beginning.
        id: String,
        /// A run whose id is almost the same.
        nearest: Option<String>,
    },
    /// Several runs' ids begin so.
    #[error("several runs begin with `{id}`: {}", runs.join(", "))]
    Ambiguous {
        /// The beginning.
        id: String,
        /// Some of the runs.
        runs: Vec<String>,
    },
    /// An entry is missing or is not what was written.
    #[error("the journal of run {run} is damaged at entry {sequence}: {why}")]
    Damaged {
        /// The run.
        run: String,
        /// The entry.
        sequence: u64,
        /// What is wrong.
        why: String,
    },
}

impl JournalError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::State(error) => return error.hint(),
            Self::Unknown { nearest: Some(nearest), .. } => format!("did you mean `{nearest}`?"),
            Self::Unknown { .. } => "see `tenantry runs list`".to_owned(),
            Self::Ambiguous { .. } => "give more of the id".to_owned(),
            Self::Damaged { .. } => {
                "restore .tenantry/state.db from a backup, or run the playbook anew: what is right already is left alone"
                    .to_owned()
            }
        })
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        let failure = Self::new(FailureKind::Denied, "tenantry/journal", error.to_string());
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// Which runs are meant; what is not said is not asked for.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Of this organization (or pinned tenant).
    pub scope: Option<String>,
    /// For this customer.
    pub customer: Option<String>,
    /// Of this playbook.
    pub playbook: Option<String>,
    /// At most so many, the latest.
    pub limit: Option<u32>,
}

impl Journal {
    pub(super) fn new(state: State) -> Self {
        Self(state)
    }

    /// Begins a run: durable when this returns.
    ///
    /// # Errors
    /// When the state file cannot be written.
    pub async fn begin(&self, opening: Opening) -> Result<RunLog, JournalError> {
        let state = self.0.clone();
        let (holder, began) = (self.holder()?, state.clock().now().to_string());
        // An opening is data of our own and always has a text.
        let text = serde_json::to_string(&opening).unwrap_or_default();
        let first = seal::first(&text);
        let number = state
            .change_soon::<_, JournalError>(move |connection| {
                connection
                    .prepare_cached(
                        "INSERT INTO runs (id, scope, customer, playbook, opening, began, status, holder)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'open', ?7)",
                    )?
                    .execute(params![
                        opening.id,
                        opening.scope,
                        opening.customer,
                        opening.playbook,
                        text,
                        began,
                        holder
                    ])?;
                Ok(Ok(connection.last_insert_rowid()))
            })
            .await?;
        Ok(RunLog::new(state, number, 0, first))
    }

    /// Opens a run's log again, to go on with it: what it holds so far, and where to add.
    ///
    /// # Errors
    /// When there is no such run, an entry is damaged, or the state file cannot be used.
    pub async fn reopen(&self, id: &str) -> Result<(RunRecord, Vec<Logged>, RunLog), JournalError> {
        let record = self.run(id)?;
        let (entries, number, seal) = self.read_entries(&record.opening.id)?;
        let (state, holder) = (self.0.clone(), self.holder()?);
        state
            .change_soon::<_, JournalError>(move |connection| {
                connection
                    .prepare_cached("UPDATE runs SET status = 'open', ended = NULL, holder = ?2 WHERE number = ?1")?
                    .execute(params![number, holder])?;
                Ok(Ok(()))
            })
            .await?;
        let next = entries.len() as u64;
        Ok((record, entries, RunLog::new(state, number, next, seal)))
    }

    /// The runs that are meant, the latest first. Blocks.
    ///
    /// # Errors
    /// When the state file cannot be read.
    pub fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRecord>, JournalError> {
        self.0.read(|connection| {
            let mut rows = connection.prepare_cached(&format!(
                "{RECORD} WHERE (?1 IS NULL OR scope = ?1) AND (?2 IS NULL OR customer = ?2)
                 AND (?3 IS NULL OR playbook = ?3) ORDER BY number DESC LIMIT ?4"
            ))?;
            let limit = filter.limit.map_or(-1, i64::from);
            rows.query_map(params![filter.scope, filter.customer, filter.playbook, limit], |row| self.record(row))?
                .collect()
        })
    }

    /// The run of this id, or the only one whose id begins so. Blocks.
    ///
    /// # Errors
    /// When there is none or there are several, or the state file cannot be read.
    pub fn run(&self, id: &str) -> Result<RunRecord, JournalError> {
        let end = format!("{id}\u{10ffff}");
        let mut found: Vec<RunRecord> = self.0.read::<_, JournalError>(|connection| {
            let mut rows =
                connection.prepare_cached(&format!("{RECORD} WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 4"))?;
            rows.query_map(params![id, end], |row| self.record(row))?.collect()
        })?;
        if let Some(exact) = found.iter().position(|run| run.opening.id == id) {
            return Ok(found.swap_remove(exact));
        }
        match found.len() {
            1 if !id.is_empty() => Ok(found.swap_remove(0)),
            0 => {
                let known: Vec<String> = self.0.read::<_, JournalError>(|connection| {
                    let mut rows = connection.prepare_cached("SELECT id FROM runs ORDER BY number DESC LIMIT 1000")?;
                    rows.query_map([], |row| row.get(0))?.collect()
                })?;
                let nearest = crate::suggest::nearest(id, known.iter().map(String::as_str)).map(str::to_owned);
                Err(JournalError::Unknown { id: id.to_owned(), nearest })
            }
            _ => Err(JournalError::Ambiguous {
                id: id.to_owned(),
                runs: found.into_iter().map(|run| run.opening.id).collect(),
            }),
        }
    }

    /// What the run of exactly this id did, entry by entry. Blocks.
    ///
    /// # Errors
    /// When there is no such run, an entry is damaged, or the state file cannot be read.
    pub fn entries(&self, id: &str) -> Result<Vec<Logged>, JournalError> {
        self.read_entries(id).map(|(entries, ..)| entries)
    }

    /// The content of a file that a run used, by its digest in hex. Blocks.
    ///
    /// # Errors
    /// When the state file cannot be read, or the content is not what its digest says.
    pub fn content(&self, digest: &str) -> Result<Option<Vec<u8>>, JournalError> {
        use sha2::Digest as _;
        let Some(key) = unhex(digest) else { return Ok(None) };
        let packed: Option<Vec<u8>> = self.0.read::<_, JournalError>(|connection| {
            connection
                .prepare_cached("SELECT bytes FROM contents WHERE digest = ?1")?
                .query_row([&key], |row| row.get(0))
                .optional()
        })?;
        let Some(packed) = packed else { return Ok(None) };
        match seal::unpack(&packed) {
            Some(bytes) if sha2::Sha256::digest(&bytes).as_slice() == key.as_slice() => Ok(Some(bytes)),
            _ => Err(StateError::Damaged {
                path: self.0.path().to_owned(),
                why: format!("the content {digest} is not what was written"),
            }
            .into()),
        }
    }

    /// Does work that may wait for the disk where that holds up nobody.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Self) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let journal = self.clone();
        self.0.off_thread(move || question(&journal)).await
    }

    fn holder(&self) -> Result<String, StateError> {
        self.0.holders().own().map_err(|source| StateError::Access {
            path: self.0.path().to_owned(),
            source: format!("the lock of this process: {source}").into(),
        })
    }

    fn record(&self, row: &Row<'_>) -> rusqlite::Result<RunRecord> {
        let opening: String = row.get("opening")?;
        let (began, ended): (String, Option<String>) = (row.get("began")?, row.get("ended")?);
        let (status, holder): (String, String) = (row.get("status")?, row.get("holder")?);
        let status = match status.as_str() {
            "succeeded" => RunState::Succeeded,
            "failed" => RunState::Failed,
            "cancelled" => RunState::Cancelled,
            _ if self.0.holders().is_alive(&holder) => RunState::Running,
            _ => RunState::Interrupted,
        };
        Ok(RunRecord {
            opening: serde_json::from_str(&opening).map_err(unreadable)?,
            began: began.parse().map_err(unreadable)?,
            ended: ended.map(|ended| ended.parse()).transpose().map_err(unreadable)?,
            status,
            superseded_by: row.get("superseded_by")?,
        })
    }

    fn read_entries(&self, id: &str) -> Result<(Vec<Logged>, i64, Seal), JournalError> {
        let found: Option<(i64, String, Vec<Raw>)> = self.0.read::<_, JournalError>(|connection| {
            let run: Option<(i64, String)> = connection
                .prepare_cached("SELECT number, opening FROM runs WHERE id = ?1")?
                .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((number, opening)) = run else { return Ok(None) };
            let rows = raw_entries(connection, number)?;
            Ok(Some((number, opening, rows)))
        })?;
        let Some((number, opening, rows)) = found else {
            return Err(JournalError::Unknown { id: id.to_owned(), nearest: None });
        };
        let (texts, last) = checked(id, &opening, rows)?;
        let mut entries = Vec::with_capacity(texts.len());
        for (sequence, at, text) in texts {
            let damaged = |why: String| JournalError::Damaged { run: id.to_owned(), sequence, why };
            let entry = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
            let at = Timestamp::from_microsecond(at).map_err(|error| damaged(error.to_string()))?;
            entries.push(Logged { sequence, at, entry });
        }
        Ok((entries, number, last))
    }
}

/// Sequence, time and text of each entry, found to be what was written, and the seal of the last.
fn checked(id: &str, opening: &str, rows: Vec<Raw>) -> Result<(Vec<Text>, Seal), JournalError> {
    let mut texts = Vec::with_capacity(rows.len());
    let mut before = seal::first(opening);
    for (place, (sequence, at, body, sealed)) in rows.into_iter().enumerate() {
        let damaged =
            |why: &str| JournalError::Damaged { run: id.to_owned(), sequence: place as u64, why: why.to_owned() };
        if sequence != place as u64 {
            return Err(damaged("it is missing"));
        }
        let seal = seal::next(before, sequence, at, &body);
        if seal.as_slice() != sealed.as_slice() {
            return Err(damaged("it is not what was written"));
        }
        before = seal;
        texts.push((sequence, at, seal::unpack(&body).ok_or_else(|| damaged("it cannot be unpacked"))?));
    }
    Ok((texts, before))
}

/// Sequence, time and text of an entry.
type Text = (u64, i64, Vec<u8>);

/// Sequence, time, body and seal of an entry.
type Raw = (u64, i64, Vec<u8>, Vec<u8>);

const RECORD: &str = "SELECT *, (SELECT later.id FROM runs AS later WHERE later.scope = runs.scope
    AND later.customer = runs.customer AND later.playbook = runs.playbook AND later.number > runs.number
    ORDER BY later.number DESC LIMIT 1) AS superseded_by FROM runs";

fn raw_entries(connection: &Connection, number: i64) -> rusqlite::Result<Vec<Raw>> {
    let mut rows =
        connection.prepare_cached("SELECT sequence, at, body, seal FROM entries WHERE run = ?1 ORDER BY sequence")?;
    rows.query_map([number], |row| {
        let sequence: i64 = row.get(0)?;
        Ok((u64::try_from(sequence).unwrap_or(u64::MAX), row.get(1)?, row.get(2)?, row.get(3)?))
    })?
    .collect()
}

/// What was read is not what was ever written.
fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[place * 2..place * 2 + 2], 16).ok()?;
    }
    Some(bytes)
}
