//! How many rows a part of a table has and what their seals come to: a row that is gone shows.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::seal::{self, Seal};

/// Rows, counted, and their seals, added up so that order does not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    rows: i64,
    sum: u64,
}

impl Tally {
    pub(super) fn add(&mut self, seal: Seal) {
        self.rows += 1;
        self.sum ^= u64::from_le_bytes(seal);
    }

    fn take(&mut self, seal: Seal) {
        self.rows -= 1;
        self.sum ^= u64::from_le_bytes(seal);
    }

    fn from(rows: i64, sum: &[u8]) -> rusqlite::Result<Self> {
        let sum = sum.try_into().map(u64::from_le_bytes).map_err(|_| seal::damage("a sum of totals has no 8 bytes"))?;
        Ok(Self { rows, sum })
    }
}

/// Notes that rows of a part of a table were removed or added; a row that changed is both.
pub(super) fn change(
    connection: &Connection,
    table: &str,
    part: &str,
    removed: Option<Seal>,
    added: Option<Seal>,
) -> rusqlite::Result<()> {
    let mut tally = noted(connection, table, part)?;
    if let Some(seal) = removed {
        tally.take(seal);
    }
    if let Some(seal) = added {
        tally.add(seal);
    }
    if tally == Tally::default() {
        connection.prepare_cached("DELETE FROM totals WHERE name = ?1 AND part = ?2")?.execute([table, part])?;
    } else {
        connection
            .prepare_cached(
                "INSERT INTO totals (name, part, rows, sum) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (name, part) DO UPDATE SET rows = excluded.rows, sum = excluded.sum",
            )?
            .execute(params![table, part, tally.rows, tally.sum.to_le_bytes()])?;
    }
    Ok(())
}

/// Notes that nothing of a part of a table is left.
pub(super) fn forget(connection: &Connection, table: &str, part: &str) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM totals WHERE name = ?1 AND part = ?2", [table, part])?;
    Ok(())
}

/// Makes sure that what was found of a part of a table is all of it.
pub(super) fn check(connection: &Connection, table: &str, part: &str, found: Tally) -> rusqlite::Result<()> {
    compare(table, part, noted(connection, table, part)?, found)
}

/// Makes sure that what was found of a whole table, part by part, is all of it.
pub(super) fn check_all(connection: &Connection, table: &str, found: &BTreeMap<String, Tally>) -> rusqlite::Result<()> {
    let mut rows = connection.prepare_cached("SELECT part, rows, sum FROM totals WHERE name = ?1")?;
    let mut rows = rows.query([table])?;
    let mut known = 0;
    while let Some(row) = rows.next()? {
        let (part, sum): (String, Vec<u8>) = (row.get(0)?, row.get(2)?);
        compare(table, &part, Tally::from(row.get(1)?, &sum)?, found.get(&part).copied().unwrap_or_default())?;
        known += 1;
    }
    if known == found.len() { Ok(()) } else { Err(seal::damage(format!("totals lacks a line of {table}"))) }
}

fn compare(table: &str, part: &str, noted: Tally, found: Tally) -> rusqlite::Result<()> {
    if noted == found {
        return Ok(());
    }
    let of = if part.is_empty() { String::new() } else { format!(" of `{part}`") };
    Err(seal::damage(format!("{table}{of} should have {} rows and has {} that are right", noted.rows, found.rows)))
}

fn noted(connection: &Connection, table: &str, part: &str) -> rusqlite::Result<Tally> {
    let found: Option<(i64, Vec<u8>)> = connection
        .prepare_cached("SELECT rows, sum FROM totals WHERE name = ?1 AND part = ?2")?
        .query_row([table, part], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    found.map_or(Ok(Tally::default()), |(rows, sum)| Tally::from(rows, &sum))
}
