use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use serde::Serialize;

use crate::store::journal::row::{OPEN, RunRow};
use crate::store::journal::{Opening, RunKind, chain};
use crate::store::lease::Holders;
use crate::store::registry::rows::{IntentRow, TenantRow};
use crate::store::{State, StateError, format};

/// Which runs are old enough to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Runs that ended longer ago than this.
    pub older_than: SignedDuration,
    /// Of each customer and playbook so many stay, the latest, however old.
    pub keep: usize,
}

impl Default for Retention {
    /// Ninety days, and five runs of each customer and playbook.
    fn default() -> Self {
        Self { older_than: SignedDuration::from_hours(90 * 24), keep: 5 }
    }
}

/// What may go from a state file.
#[derive(Clone, Debug, Serialize)]
pub struct Prunable {
    /// The runs, the oldest first.
    pub runs: Vec<PrunableRun>,
    /// How many files no other run uses.
    pub files: u64,
    /// How large all of it is, in bytes.
    pub bytes: u64,
    #[serde(skip)]
    rows: Vec<RunRow>,
}

/// A run that may go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrunableRun {
    /// Its id.
    pub run: String,
    /// The customer's code.
    pub customer: String,
    /// The playbook.
    pub playbook: String,
    /// How it ended.
    pub status: String,
    /// When it began.
    pub began: String,
    /// How many entries it has.
    pub entries: u64,
}

impl Prunable {
    /// Whether there is nothing that may go.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.files == 0
    }
}

/// So many runs go in one transaction: others must get to write in between.
const AT_ONCE: usize = 50;

impl State {
    /// What this retention lets go. Whatever it says these stay, of each customer and playbook: the latest run, the
    /// latest that succeeded, and the latest undo that did; a run that can be resumed or is at work; a run that the
    /// registry names as the one that created a tenant, or may have; and a run that an undo which stays took back.
    /// Blocks.
    ///
    /// # Errors
    /// When the state file cannot be read, or its registry or list of runs is damaged.
    pub fn prunable(&self, retention: Retention) -> Result<Prunable, StateError> {
        let before = self.clock().now().checked_sub(retention.older_than).unwrap_or(Timestamp::MIN);
        self.look(|connection| {
            let named = named(connection)?;
            let rows = old(RunRow::all(connection)?, named, before, retention.keep, self.holders());
            measure(connection, rows)
        })
    }

    /// Takes out what [`State::prunable`] told, and files that no run uses any more. A run that has changed since stays.
    /// Gives how many runs went. Blocks.
    ///
    /// # Errors
    /// When the state file cannot be written; what went before that is gone.
    pub fn prune(&self, prunable: Prunable) -> Result<u64, StateError> {
        let (mut gone, mut rows) = (0, prunable.rows.into_iter().peekable());
        while rows.peek().is_some() {
            let some: Vec<RunRow> = rows.by_ref().take(AT_ONCE).collect();
            gone += self.change::<_, StateError>(move |connection| {
                let mut gone = 0;
                for row in some {
                    gone += u64::from(remove(connection, &row)?);
                }
                Ok(Ok(gone))
            })?;
        }
        self.change::<_, StateError>(|connection| {
            connection.execute("DELETE FROM uses WHERE run NOT IN (SELECT number FROM runs)", [])?;
            connection.execute("DELETE FROM contents WHERE number NOT IN (SELECT content FROM uses)", [])?;
            Ok(Ok(()))
        })?;
        Ok(gone)
    }
}

/// The runs that the registry names: they prove whose a tenant is.
fn named(connection: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    let tenants = format::all(connection, "SELECT * FROM tenants", TenantRow::read)?;
    let intents = format::all(connection, "SELECT * FROM intents", IntentRow::read)?;
    let creations = tenants.into_iter().filter_map(|row| row.tenant.created_by_run);
    Ok(creations.chain(intents.into_iter().map(|row| row.intent.run)).collect())
}

/// What was seen of the runs of a customer and playbook, from the latest on.
#[derive(Default)]
struct Seen {
    runs: usize,
    run_succeeded: bool,
    undo_succeeded: bool,
}

/// Those that may go, the oldest first, of all runs, the latest first. `named` stay.
fn old(
    rows: Vec<RunRow>,
    mut named: BTreeSet<String>,
    before: Timestamp,
    keep: usize,
    holders: &Holders,
) -> Vec<RunRow> {
    let mut seen: BTreeMap<(String, String, String), Seen> = BTreeMap::new();
    let mut old = Vec::new();
    for row in rows {
        let seen = seen.entry((row.scope.clone(), row.customer.clone(), row.playbook.clone())).or_default();
        seen.runs += 1;
        let undone = match serde_json::from_slice(&row.opening) {
            Ok(Opening { kind: RunKind::Undo(of), .. }) => Some(of),
            _ => None,
        };
        let succeeded = if undone.is_some() { &mut seen.undo_succeeded } else { &mut seen.run_succeeded };
        let last_success = row.status == "succeeded" && !std::mem::replace(succeeded, true);
        let end: Option<Timestamp> = row.ended.as_ref().unwrap_or(&row.began).parse().ok();
        let stays = row.superseded_by.is_none()
            || seen.runs <= keep
            || last_success
            || named.contains(&row.id)
            || end.is_none_or(|end| end >= before)
            || (row.status == OPEN && holders.is_alive(&row.holder));
        if stays {
            named.extend(undone);
        } else {
            old.push(row);
        }
    }
    old.reverse();
    old
}

fn measure(connection: &Connection, rows: Vec<RunRow>) -> rusqlite::Result<Prunable> {
    let going: BTreeSet<i64> = rows.iter().map(|row| row.number).collect();
    let mut runs = Vec::with_capacity(rows.len());
    let mut bytes = 0_u64;
    for row in &rows {
        let (entries, size) = chain::measure(connection, row.number)?;
        bytes += size;
        runs.push(PrunableRun {
            run: row.id.clone(),
            customer: row.customer.clone(),
            playbook: row.playbook.clone(),
            status: if row.status == OPEN { "interrupted".to_owned() } else { row.status.clone() },
            began: row.began.clone(),
            entries,
        });
    }
    let uses = format::all(connection, "SELECT content, run FROM uses", |row| Ok((row.get(0)?, row.get(1)?)))?;
    let kept: BTreeSet<i64> =
        uses.into_iter().filter(|(_, run)| !going.contains(run)).map(|(content, _)| content).collect();
    let contents = format::all(connection, "SELECT number, length(bytes) FROM contents", |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
    })?;
    let mut files = 0;
    for (_, size) in contents.into_iter().filter(|(number, _)| !kept.contains(number)) {
        files += 1;
        bytes += size.unsigned_abs();
    }
    Ok(Prunable { runs, files, bytes, rows })
}

/// Takes a run out; whether it was still as it was.
fn remove(connection: &Connection, row: &RunRow) -> rusqlite::Result<bool> {
    let now = RunRow::of(connection, &row.id)?;
    if now.is_none_or(|now| now.seal() != row.seal()) {
        return Ok(false);
    }
    chain::remove(connection, row.number)?;
    row.remove(connection)?;
    Ok(true)
}
