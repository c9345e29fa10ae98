//! What runs did: one log for each run, only ever added to.

pub(super) mod chain;
mod entry;
mod log;
mod look;
pub(super) mod row;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _};

pub use entry::{Ending, Entry, Logged, Opening, RunKind, RunRecord, RunState};
pub use log::RunLog;
pub use look::Mentions;

use self::row::{OPEN, RunRow};
use super::pack::unpack;
use super::seal::{self, Seal};
use super::{State, StateError};
use crate::operation::{Failure, FailureKind, hex};

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
        let row = RunRow::new(&opening, state.clock().now().to_string(), self.holder()?);
        let first = row.first();
        let number = state.change_soon::<_, JournalError>(move |connection| row.add(connection).map(Ok)).await?;
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
                RunRow::update(connection, number, |row| {
                    OPEN.clone_into(&mut row.status);
                    row.ended = None;
                    row.holder = holder;
                })
                .map(Ok)
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
        let RunFilter { scope, customer, playbook, limit } = filter;
        self.0.read(|connection| {
            let rows = if let (Some(scope), Some(customer), Some(playbook)) = (scope, customer, playbook) {
                RunRow::of_customer(connection, scope, customer, playbook, *limit)?
            } else {
                let is = |wanted: &Option<String>, own: &str| wanted.as_ref().is_none_or(|wanted| wanted == own);
                let meant =
                    |row: &RunRow| is(scope, &row.scope) && is(customer, &row.customer) && is(playbook, &row.playbook);
                let most = limit.map_or(usize::MAX, |limit| limit as usize);
                RunRow::all(connection)?.into_iter().filter(meant).take(most).collect()
            };
            rows.into_iter().map(|row| self.record(row)).collect()
        })
    }

    /// The run of this id, or the only one whose id begins so. Blocks.
    ///
    /// # Errors
    /// When there is none or there are several, or the state file cannot be read.
    pub fn run(&self, id: &str) -> Result<RunRecord, JournalError> {
        let mut found: Vec<RunRecord> = self.0.read::<_, JournalError>(|connection| {
            RunRow::beginning(connection, id, 4)?.into_iter().map(|row| self.record(row)).collect()
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
        match unpack(&packed) {
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

    fn record(&self, row: RunRow) -> rusqlite::Result<RunRecord> {
        let status = match row.status.as_str() {
            "succeeded" => RunState::Succeeded,
            "failed" => RunState::Failed,
            "cancelled" => RunState::Cancelled,
            _ if self.0.holders().is_alive(&row.holder) => RunState::Running,
            _ => RunState::Interrupted,
        };
        let time = |text: &str| text.parse().map_err(|error: jiff::Error| seal::damage(error.to_string()));
        Ok(RunRecord {
            opening: serde_json::from_slice(&row.opening).map_err(|error| seal::damage(error.to_string()))?,
            began: time(&row.began)?,
            ended: row.ended.as_deref().map(time).transpose()?,
            status,
            superseded_by: row.superseded_by,
        })
    }

    fn read_entries(&self, id: &str) -> Result<(Vec<Logged>, i64, Seal), JournalError> {
        let Some((run, texts, last)) = self.read_texts(id)? else {
            return Err(JournalError::Unknown { id: id.to_owned(), nearest: None });
        };
        Ok((parsed(id, texts)?, run, last))
    }

    /// The texts of all entries of the run of exactly this id, found to be what was written; its number, and the seal of
    /// the last.
    fn read_texts(&self, id: &str) -> Result<Option<(i64, Vec<Text>, Seal)>, JournalError> {
        let found: Option<(RunRow, Vec<chain::Raw>, Option<chain::Head>)> =
            self.0.read::<_, JournalError>(|connection| {
                let Some(run) = RunRow::of(connection, id)? else { return Ok(None) };
                let (rows, head) = (chain::entries(connection, run.number)?, chain::head(connection, run.number)?);
                Ok(Some((run, rows, head)))
            })?;
        let Some((run, rows, head)) = found else { return Ok(None) };
        let (texts, last) = checked(&run, rows, head)?;
        Ok(Some((run.number, texts, last)))
    }
}

/// Sequence, time and text of each entry, found to be what was written, and the seal of the last.
fn checked(run: &RunRow, rows: Vec<chain::Raw>, head: Option<chain::Head>) -> Result<(Vec<Text>, Seal), JournalError> {
    let damaged =
        |sequence: u64, why: &str| JournalError::Damaged { run: run.id.clone(), sequence, why: why.to_owned() };
    let mut texts = Vec::with_capacity(rows.len());
    let mut before = run.first();
    for (place, chain::Raw { sequence, at, body, seal: sealed }) in (0..).zip(rows) {
        if sequence != place {
            return Err(damaged(place, "it is missing"));
        }
        let text = unpack(&body).ok_or_else(|| damaged(place, "it is not what was written"))?;
        let seal = seal::next(before, sequence, at, &text);
        if seal.as_slice() != sealed.as_slice() {
            return Err(damaged(place, "it is not what was written"));
        }
        before = seal;
        texts.push((sequence, at, text));
    }
    let count = texts.len() as u64;
    if head.is_none_or(|head| head != (count, before)) {
        return Err(damaged(count, "the log does not end as it was written"));
    }
    Ok((texts, before))
}

/// What these texts of a run's entries say.
fn parsed(id: &str, texts: Vec<Text>) -> Result<Vec<Logged>, JournalError> {
    let parse = |(sequence, at, text): Text| {
        let damaged = |why: String| JournalError::Damaged { run: id.to_owned(), sequence, why };
        let entry = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        let at = Timestamp::from_microsecond(at).map_err(|error| damaged(error.to_string()))?;
        Ok(Logged { sequence, at, entry })
    };
    texts.into_iter().map(parse).collect()
}

/// The texts of a run's entries, for whoever looks at the whole file; damage is an error of the look.
pub(super) fn log_texts(connection: &Connection, run: &RunRow) -> rusqlite::Result<Vec<Text>> {
    let (rows, head) = (chain::entries(connection, run.number)?, chain::head(connection, run.number)?);
    checked(run, rows, head).map(|(texts, _)| texts).map_err(|error| seal::damage(error.to_string()))
}

/// A run's entries, in the same way.
pub(super) fn read_log(connection: &Connection, run: &RunRow) -> rusqlite::Result<Vec<Logged>> {
    parsed(&run.id, log_texts(connection, run)?).map_err(|error| seal::damage(error.to_string()))
}

/// Sequence, time and text of an entry.
pub(super) type Text = (u64, i64, Vec<u8>);

/// The digest by which the content of a file is kept.
pub(crate) fn content_digest(content: &[u8]) -> String {
    use sha2::Digest as _;
    hex(&sha2::Sha256::digest(content))
}

pub(super) fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[place * 2..place * 2 + 2], 16).ok()?;
    }
    Some(bytes)
}
