//! Runs as they lie in the file.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::chain;
use super::entry::Opening;
use crate::store::pack::{pack, unpack};
use crate::store::seal::{self, Seal};
use crate::store::totals::{self, Tally};

/// A row of `runs`. Each names the one that took its place, so that a list with a gap shows.
#[derive(Clone, Debug)]
pub(in crate::store) struct RunRow {
    /// Its place among all runs; none before it is written.
    pub(in crate::store) number: i64,
    pub(in crate::store) id: String,
    pub(in crate::store) scope: String,
    pub(in crate::store) customer: String,
    pub(in crate::store) playbook: String,
    pub(in crate::store) began: String,
    pub(in crate::store) status: String,
    pub(in crate::store) ended: Option<String>,
    pub(in crate::store) holder: String,
    pub(in crate::store) superseded_by: Option<String>,
    /// The text of its opening.
    pub(in crate::store) opening: Vec<u8>,
}

/// The status of a run that has not ended.
pub(in crate::store) const OPEN: &str = "open";

impl RunRow {
    pub(in crate::store) const TABLE: &str = "runs";

    pub(super) fn new(opening: &Opening, began: String, holder: String) -> Self {
        Self {
            number: 0,
            id: opening.id.clone(),
            scope: opening.scope.clone(),
            customer: opening.customer.clone(),
            playbook: opening.playbook.clone(),
            began,
            status: OPEN.to_owned(),
            ended: None,
            holder,
            superseded_by: None,
            // An opening is data of our own and always has a text.
            opening: serde_json::to_vec(opening).unwrap_or_default(),
        }
    }

    pub(in crate::store) fn seal(&self) -> Seal {
        let texts = [&self.id, &self.scope, &self.customer, &self.playbook, &self.began, &self.status, &self.holder];
        let optional = [&self.ended, &self.superseded_by];
        seal::row(
            Self::TABLE,
            texts
                .into_iter()
                .map(|text| Some(text.as_bytes()))
                .chain(optional.into_iter().map(|text| text.as_deref().map(str::as_bytes)))
                .chain([Some(self.opening.as_slice())]),
        )
    }

    /// The seal before the run's first entry.
    pub(in crate::store) fn first(&self) -> Seal {
        seal::first(&self.opening)
    }

    pub(in crate::store) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let (id, opening, beside): (String, Vec<u8>, Vec<u8>) = (row.get("id")?, row.get("opening")?, row.get("seal")?);
        let damaged = || seal::damage(format!("the row of run {id} in runs is not what was written"));
        let own = Self {
            number: row.get("number")?,
            scope: row.get("scope")?,
            customer: row.get("customer")?,
            playbook: row.get("playbook")?,
            began: row.get("began")?,
            status: row.get("status")?,
            ended: row.get("ended")?,
            holder: row.get("holder")?,
            superseded_by: row.get("superseded_by")?,
            opening: unpack(&opening).ok_or_else(damaged)?,
            id: id.clone(),
        };
        if own.seal() == beside.as_slice() { Ok(own) } else { Err(damaged()) }
    }

    pub(in crate::store) fn of(connection: &Connection, id: &str) -> rusqlite::Result<Option<Self>> {
        connection.prepare_cached("SELECT * FROM runs WHERE id = ?1")?.query_row([id], Self::read).optional()
    }

    /// The runs whose ids begin so, the first few.
    pub(super) fn beginning(connection: &Connection, id: &str, most: u32) -> rusqlite::Result<Vec<Self>> {
        let end = format!("{id}\u{10ffff}");
        let mut rows =
            connection.prepare_cached("SELECT * FROM runs WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3")?;
        rows.query_map(params![id, end, most], Self::read)?.collect()
    }

    /// The runs of a playbook for a customer, the latest first.
    pub(in crate::store) fn of_customer(
        connection: &Connection,
        scope: &str,
        customer: &str,
        playbook: &str,
        most: Option<u32>,
    ) -> rusqlite::Result<Vec<Self>> {
        let mut rows = connection.prepare_cached(
            "SELECT * FROM runs WHERE scope = ?1 AND customer = ?2 AND playbook = ?3 ORDER BY number DESC LIMIT ?4",
        )?;
        let found = rows.query_map(params![scope, customer, playbook, most.map_or(-1, i64::from)], Self::read)?;
        let found = found.collect::<rusqlite::Result<Vec<Self>>>()?;
        let latest = Latest::of(connection, scope, customer, playbook)?;
        let missing = || seal::damage(format!("a run of {playbook} for customer `{customer}` is missing in runs"));
        let cut = most.is_some_and(|most| found.len() >= most as usize);
        if (!cut && found.len() != latest.count)
            || found.first().is_some_and(|row| Some(&row.id) != latest.run.as_ref())
        {
            return Err(missing());
        }
        let mut later = None;
        for row in &found {
            if row.superseded_by != later {
                return Err(missing());
            }
            later = Some(row.id.clone());
        }
        Ok(found)
    }

    /// The last run for a customer, whichever its playbook.
    pub(super) fn last_for(connection: &Connection, scope: &str, customer: &str) -> rusqlite::Result<Option<Self>> {
        connection
            .prepare_cached("SELECT * FROM runs WHERE scope = ?1 AND customer = ?2 ORDER BY number DESC LIMIT 1")?
            .query_row([scope, customer], Self::read)
            .optional()
    }

    /// Every run, the latest first.
    pub(in crate::store) fn all(connection: &Connection) -> rusqlite::Result<Vec<Self>> {
        let mut rows = connection.prepare_cached("SELECT * FROM runs ORDER BY number DESC")?;
        let found = rows.query_map([], Self::read)?.collect::<rusqlite::Result<Vec<Self>>>()?;
        let mut tally = Tally::default();
        for row in &found {
            tally.add(row.seal());
        }
        totals::check(connection, Self::TABLE, "", tally)?;
        Ok(found)
    }

    /// Adds the row as the latest, which takes the place of the one before it. Gives its number.
    pub(in crate::store) fn add(&self, connection: &Connection) -> rusqlite::Result<i64> {
        let before = Self::of_customer(connection, &self.scope, &self.customer, &self.playbook, Some(1))?;
        if let Some(before) = before.first() {
            Self { superseded_by: Some(self.id.clone()), ..before.clone() }.change(connection, before)?;
        }
        self.append(connection)
    }

    /// Whether the last run of its playbook and customer names this one as the next, or there is none.
    pub(in crate::store) fn continues(&self, connection: &Connection) -> rusqlite::Result<bool> {
        let Latest { run, .. } = Latest::of(connection, &self.scope, &self.customer, &self.playbook)?;
        let Some(last) = run else { return Ok(true) };
        Ok(Self::of(connection, &last)?.is_some_and(|last| last.superseded_by.as_ref() == Some(&self.id)))
    }

    /// Adds the row, as it is, as the latest. Gives its number.
    pub(in crate::store) fn append(&self, connection: &Connection) -> rusqlite::Result<i64> {
        connection
            .prepare_cached(
                "INSERT INTO latest (scope, customer, playbook, run, count) VALUES (?1, ?2, ?3, ?4, 1)
                 ON CONFLICT (scope, customer, playbook) DO UPDATE SET run = excluded.run, count = count + 1",
            )?
            .execute([&self.scope, &self.customer, &self.playbook, &self.id])?;
        connection
            .prepare_cached(
                "INSERT INTO runs (id, scope, customer, playbook, began, status, ended, holder, superseded_by, seal,
                                   opening)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?
            .execute(params![
                self.id,
                self.scope,
                self.customer,
                self.playbook,
                self.began,
                self.status,
                self.ended,
                self.holder,
                self.superseded_by,
                self.seal(),
                pack(&self.opening),
            ])?;
        let number = connection.last_insert_rowid();
        chain::begin(connection, number, self.first())?;
        totals::change(connection, Self::TABLE, "", None, Some(self.seal()))?;
        Ok(number)
    }

    /// Writes what of a row may change, in place of the one `before`.
    pub(in crate::store) fn change(&self, connection: &Connection, before: &Self) -> rusqlite::Result<()> {
        connection
            .prepare_cached(
                "UPDATE runs SET status = ?2, ended = ?3, holder = ?4, superseded_by = ?5, seal = ?6 WHERE number = ?1",
            )?
            .execute(params![self.number, self.status, self.ended, self.holder, self.superseded_by, self.seal()])?;
        totals::change(connection, Self::TABLE, "", Some(before.seal()), Some(self.seal()))
    }

    /// Takes the row out; the one before it then names the one after it.
    pub(in crate::store) fn remove(&self, connection: &Connection) -> rusqlite::Result<()> {
        let before = connection
            .prepare_cached(
                "SELECT * FROM runs WHERE scope = ?1 AND customer = ?2 AND playbook = ?3 AND number < ?4
                 ORDER BY number DESC LIMIT 1",
            )?
            .query_row(params![self.scope, self.customer, self.playbook, self.number], Self::read)
            .optional()?;
        if let Some(before) = before {
            Self { superseded_by: self.superseded_by.clone(), ..before.clone() }.change(connection, &before)?;
        }
        connection.prepare_cached("DELETE FROM runs WHERE number = ?1")?.execute([self.number])?;
        connection
            .prepare_cached("UPDATE latest SET count = count - 1 WHERE scope = ?1 AND customer = ?2 AND playbook = ?3")?
            .execute([&self.scope, &self.customer, &self.playbook])?;
        totals::change(connection, Self::TABLE, "", Some(self.seal()), None)
    }

    /// Changes the row of this number as `change` says.
    pub(super) fn update(connection: &Connection, number: i64, change: impl FnOnce(&mut Self)) -> rusqlite::Result<()> {
        let before =
            connection.prepare_cached("SELECT * FROM runs WHERE number = ?1")?.query_row([number], Self::read)?;
        let mut row = before.clone();
        change(&mut row);
        row.change(connection, &before)
    }
}

/// What there should be of a playbook's runs for a customer.
#[derive(Default)]
struct Latest {
    run: Option<String>,
    count: usize,
}

impl Latest {
    fn of(connection: &Connection, scope: &str, customer: &str, playbook: &str) -> rusqlite::Result<Self> {
        let found = connection
            .prepare_cached("SELECT run, count FROM latest WHERE scope = ?1 AND customer = ?2 AND playbook = ?3")?
            .query_row([scope, customer, playbook], |row| {
                let count: i64 = row.get(1)?;
                Ok(Self { run: row.get(0)?, count: usize::try_from(count).unwrap_or_default() })
            })
            .optional()?;
        Ok(found.unwrap_or_default())
    }
}
