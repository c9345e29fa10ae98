//! How entries lie in the file: in the order in which they came, whichever run they are of, each naming the one before it
//! in its run.
//!
//! So the entries of many runs that are written together stand together, and a commit costs as many pages as it has
//! text. In the order of their runs, each would cost a page.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::store::seal::Seal;

/// Where an entry stands in its run's log.
pub(in crate::store) struct Place {
    pub(in crate::store) run: i64,
    pub(in crate::store) sequence: u64,
    /// The seal of the entry before it.
    pub(in crate::store) before: Seal,
    pub(in crate::store) seal: Seal,
}

/// An entry as it lies in the file.
pub(super) struct Raw {
    pub(super) sequence: u64,
    pub(super) at: i64,
    pub(super) body: Vec<u8>,
    pub(super) seal: Vec<u8>,
}

impl Raw {
    /// From these four columns on.
    fn read(row: &Row<'_>, first: usize) -> rusqlite::Result<Self> {
        let sequence: i64 = row.get(first)?;
        Ok(Self {
            sequence: u64::try_from(sequence).unwrap_or(u64::MAX),
            at: row.get(first + 1)?,
            body: row.get(first + 2)?,
            seal: row.get(first + 3)?,
        })
    }
}

/// How many entries a run should have, and the seal of the last.
pub(in crate::store) type Head = (u64, Seal);

/// Begins a run's log.
pub(super) fn begin(connection: &Connection, run: i64, first: Seal) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO heads (run, count, seal, last) VALUES (?1, 0, ?2, NULL)")?
        .execute(params![run, first])
        .map(drop)
}

/// Adds an entry when the one before it is the last: a log with a gap would be worth nothing. Whether it is.
pub(in crate::store) fn add(connection: &Connection, place: &Place, at: i64, body: &[u8]) -> rusqlite::Result<bool> {
    let Place { run, sequence, before, seal } = place;
    let sequence = sequence.cast_signed();
    let added = connection
        .prepare_cached(
            "INSERT INTO entries (run, sequence, before, at, body, seal)
             SELECT run, count, last, ?4, ?5, ?6 FROM heads WHERE run = ?1 AND count = ?2 AND seal = ?3",
        )?
        .execute(params![run, sequence, before, at, body, seal])?;
    if added == 0 {
        return Ok(false);
    }
    connection
        .prepare_cached("UPDATE heads SET count = ?2 + 1, seal = ?3, last = ?4 WHERE run = ?1")?
        .execute(params![run, sequence, seal, connection.last_insert_rowid()])?;
    Ok(true)
}

/// What a run's log should end with; `None` when nothing is known of it.
pub(in crate::store) fn head(connection: &Connection, run: i64) -> rusqlite::Result<Option<Head>> {
    Ok(end(connection, run)?.map(|(head, _)| head))
}

/// The entries of a run that are there, the first one first.
pub(super) fn entries(connection: &Connection, run: i64) -> rusqlite::Result<Vec<Raw>> {
    let mut found = Vec::new();
    let whole = walk(connection, run, |_, entry| {
        found.push(entry);
        Ok(())
    })?;
    if !whole {
        // Then it takes a look at the entries of all runs to tell what is left of this one.
        return connection
            .prepare("SELECT sequence, at, body, seal FROM entries WHERE run = ?1 ORDER BY sequence")?
            .query_map([run], |row| Raw::read(row, 0))?
            .collect();
    }
    found.reverse();
    Ok(found)
}

/// When the last entry of a run was written, in microseconds since 1970.
pub(super) fn last_at(connection: &Connection, run: i64) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT at FROM entries WHERE number = (SELECT last FROM heads WHERE run = ?1)")?
        .query_row([run], |row| row.get(0))
        .optional()
}

/// Takes a run's log out.
pub(in crate::store) fn remove(connection: &Connection, run: i64) -> rusqlite::Result<()> {
    let whole = walk(connection, run, |number, _| {
        connection.prepare_cached("DELETE FROM entries WHERE number = ?1")?.execute([number]).map(drop)
    })?;
    if !whole {
        connection.execute("DELETE FROM entries WHERE run = ?1", [run])?;
    }
    connection.prepare_cached("DELETE FROM heads WHERE run = ?1")?.execute([run]).map(drop)
}

/// How many entries of a run are there, and how many bytes they take.
pub(in crate::store) fn measure(connection: &Connection, run: i64) -> rusqlite::Result<(u64, u64)> {
    let entries = entries(connection, run)?;
    Ok((entries.len() as u64, entries.iter().map(|entry| entry.body.len() as u64).sum()))
}

fn end(connection: &Connection, run: i64) -> rusqlite::Result<Option<(Head, Option<i64>)>> {
    let found: Option<(i64, Vec<u8>, Option<i64>)> = connection
        .prepare_cached("SELECT count, seal, last FROM heads WHERE run = ?1")?
        .query_row([run], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    Ok(found.and_then(|(count, seal, last)| Some(((u64::try_from(count).ok()?, seal.try_into().ok()?), last))))
}

/// Goes from the last entry of a run to its first, with each one's number. `false` when it does not come to the first.
fn walk(
    connection: &Connection,
    run: i64,
    mut visit: impl FnMut(i64, Raw) -> rusqlite::Result<()>,
) -> rusqlite::Result<bool> {
    let Some(((count, _), mut next)) = end(connection, run)? else { return Ok(false) };
    let mut statement = connection
        .prepare_cached("SELECT before, sequence, at, body, seal FROM entries WHERE number = ?1 AND run = ?2")?;
    let mut visited = 0;
    while let Some(number) = next {
        let found = statement
            .query_row([number, run], |row| Ok((row.get::<_, Option<i64>>(0)?, Raw::read(row, 1)?)))
            .optional()?;
        let Some((before, entry)) = found else { break };
        visit(number, entry)?;
        visited += 1;
        // What came before has a smaller number, or a flipped bit would lead round in circles.
        next = before.filter(|before| *before < number);
    }
    Ok(visited == count)
}
