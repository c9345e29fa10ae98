use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, params};
use sha2::{Digest as _, Sha256};

use super::{Counts, Finding, Health};
use crate::operation::{FailureKind, RecordedOutcome, hex};
use crate::store::journal::row::{OPEN, RunRow};
use crate::store::journal::{Entry, Logged, Opening, RunKind, read_log, unhex};
use crate::store::lease::{Holders, LeaseRow};
use crate::store::pack::unpack;
use crate::store::registry::marks::MarkRow;
use crate::store::registry::rows::{IntentRow, TenantRow};
use crate::store::totals::{self, Tally};
use crate::store::{State, StateError, format};
use crate::surroundings::Clock;

impl State {
    /// Looks over everything in the state file at this path. One that cannot be opened because it is damaged is told so
    /// and not touched. Blocks.
    ///
    /// # Errors
    /// When it cannot be accessed, belongs to another program, or was written by a later release.
    pub fn check_file(path: &Path, clock: Arc<dyn Clock>) -> Result<Health, StateError> {
        match Self::open(path, clock) {
            Ok(state) => state.check(),
            Err(StateError::Damaged { why, .. }) => {
                Ok(Health { findings: vec![Finding::Damage { why }], counts: None })
            }
            Err(error) => Err(error),
        }
    }

    /// Looks over everything: pages, seals, files, writes whose end is not known, leftovers. Others go on writing
    /// meanwhile. Blocks.
    ///
    /// # Errors
    /// When the state file cannot be read at all.
    pub fn check(&self) -> Result<Health, StateError> {
        self.look(|connection| Ok(examine(connection, self.holders())))
    }
}

/// Looks over everything that this connection sees.
pub(super) fn examine(connection: &Connection, holders: &Holders) -> Health {
    let mut examined = Examined {
        connection,
        holders,
        findings: Vec::new(),
        counts: Counts::default(),
        runs: BTreeSet::new(),
        at_work: BTreeSet::new(),
    };
    let parts = [
        Examined::pages,
        Examined::journal,
        Examined::strays,
        Examined::files,
        Examined::registry,
        Examined::leases,
        Examined::sizes,
    ];
    for part in parts {
        if let Err(error) = part(&mut examined) {
            examined.damage(error.to_string());
        }
    }
    examined.findings.sort_by_key(Finding::gravity);
    Health { findings: examined.findings, counts: Some(examined.counts) }
}

struct Examined<'c> {
    connection: &'c Connection,
    holders: &'c Holders,
    findings: Vec<Finding>,
    counts: Counts,
    /// The ids of all runs.
    runs: BTreeSet<String>,
    /// Those that a process is at work on: what of them is not known yet is no finding.
    at_work: BTreeSet<String>,
}

impl Examined<'_> {
    fn damage(&mut self, why: String) {
        let finding = Finding::Damage { why };
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    fn right(&mut self, found: rusqlite::Result<()>) {
        if let Err(error) = found {
            self.damage(error.to_string());
        }
    }

    fn pages(&mut self) -> rusqlite::Result<()> {
        let lines: Vec<String> = format::all(self.connection, "PRAGMA integrity_check(20)", |row| row.get(0))?;
        lines.into_iter().filter(|line| line != "ok").for_each(|line| self.damage(line));
        Ok(())
    }

    /// Every row of a table that is right; the others are damage.
    fn rows<T>(
        &mut self,
        query: &str,
        read: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        let rows = format::all(self.connection, query, |row| Ok(read(row)))?;
        let mut right = Vec::with_capacity(rows.len());
        for row in rows {
            match row {
                Ok(row) => right.push(row),
                Err(error) => self.damage(error.to_string()),
            }
        }
        Ok(right)
    }

    fn journal(&mut self) -> rusqlite::Result<()> {
        let runs = self.rows("SELECT * FROM runs ORDER BY number", RunRow::read)?;
        self.counts.runs = runs.len() as u64;
        let mut tally = Tally::default();
        for run in &runs {
            tally.add(run.seal());
        }
        self.right(totals::check(self.connection, RunRow::TABLE, "", tally));
        let lists: BTreeSet<_> = runs.iter().map(|run| (&run.scope, &run.customer, &run.playbook)).collect();
        for (scope, customer, playbook) in lists {
            self.right(RunRow::of_customer(self.connection, scope, customer, playbook, None).map(drop));
        }
        for run in &runs {
            self.runs.insert(run.id.clone());
            if run.status == OPEN && self.holders.is_alive(&run.holder) {
                self.at_work.insert(run.id.clone());
            }
            let looked = self.run(run);
            self.right(looked);
        }
        Ok(())
    }

    fn run(&mut self, run: &RunRow) -> rusqlite::Result<()> {
        let entries = read_log(self.connection, run)?;
        self.counts.entries += entries.len() as u64;
        let mut kept = self
            .connection
            .prepare_cached("SELECT 1 FROM contents JOIN uses ON content = number WHERE digest = ?1 AND run = ?2")?;
        for logged in &entries {
            if let Entry::File { path, digest } = &logged.entry
                && !kept.exists(params![unhex(digest), run.number])?
            {
                self.damage(format!("the file {path}, as run {} used it, is missing ({digest})", run.id));
            }
        }
        if run.status == "succeeded" || self.at_work.contains(&run.id) {
            return Ok(());
        }
        let command = run.superseded_by.is_none().then(|| go_on(run));
        for open in unsettled(&entries) {
            let Entry::Intent { key, operation, .. } = &open.entry else { continue };
            self.findings.push(Finding::Unsettled {
                run: run.id.clone(),
                customer: run.customer.clone(),
                key: key.to_string(),
                operation: operation.id.clone(),
                subject: operation.subject.clone(),
                since: open.at.to_string(),
                command: command.clone(),
            });
        }
        if run.status == OPEN {
            let (run, customer, playbook) = (run.id.clone(), run.customer.clone(), run.playbook.clone());
            self.findings.push(Finding::Interrupted { run, customer, playbook, command });
        }
        Ok(())
    }

    /// What belongs to no run: a run and all of it come and go together.
    fn strays(&mut self) -> rusqlite::Result<()> {
        for table in ["entries", "heads", "uses"] {
            let count = format!("SELECT count(*) FROM {table} WHERE run NOT IN (SELECT number FROM runs)");
            let rows: i64 = self.connection.query_row(&count, [], |row| row.get(0))?;
            if rows > 0 {
                self.damage(format!("of {table} {rows} belong to no run"));
            }
        }
        let count = "SELECT (SELECT count(*) FROM entries) - (SELECT total(count) FROM heads)";
        let rows: f64 = self.connection.query_row(count, [], |row| row.get(0))?;
        if rows > 0.0 {
            self.damage(format!("of entries {rows} have no place in the log of their run"));
        }
        Ok(())
    }

    fn files(&mut self) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare(
            "SELECT digest, bytes, EXISTS (SELECT 1 FROM uses WHERE content = contents.number) FROM contents",
        )?;
        let mut rows = statement.query([])?;
        let (mut files, mut size) = (0, 0);
        while let Some(row) = rows.next()? {
            let (digest, packed, used): (Vec<u8>, Vec<u8>, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
            self.counts.files += 1;
            if unpack(&packed).is_none_or(|bytes| Sha256::digest(&bytes).as_slice() != digest.as_slice()) {
                self.damage(format!("the file with the digest {} is not what was written", hex(&digest)));
            }
            if !used {
                files += 1;
                size += packed.len() as u64;
            }
        }
        if files > 0 {
            self.findings.push(Finding::Unused { files, bytes: size });
        }
        Ok(())
    }

    fn registry(&mut self) -> rusqlite::Result<()> {
        let tenants = self.rows("SELECT * FROM tenants", TenantRow::read)?;
        self.counts.tenants = tenants.len() as u64;
        let seals = tenants.iter().map(|row| (row.organization.as_str(), row.seal()));
        self.right(format::check_table(self.connection, TenantRow::TABLE, seals));
        for TenantRow { organization, tenant, .. } in tenants {
            if let Some(run) = tenant.created_by_run.filter(|run| !self.runs.contains(run)) {
                self.findings.push(Finding::Unproven { organization, customer: tenant.customer, run });
            }
        }
        let intents = self.rows("SELECT * FROM intents", IntentRow::read)?;
        let seals = intents.iter().map(|row| (row.organization.as_str(), row.seal()));
        self.right(format::check_table(self.connection, IntentRow::TABLE, seals));
        for IntentRow { organization, intent } in intents {
            if self.at_work.contains(&intent.run) {
                continue;
            }
            // The run's own journal tells the same: once is enough.
            let told = self.findings.iter().position(
                |finding| matches!(finding, Finding::Unsettled { run, key, .. } if *run == intent.run && *key == intent.key),
            );
            let command = match told.map(|place| self.findings.remove(place)) {
                Some(Finding::Unsettled { command, .. }) => command,
                _ => None,
            };
            let (customer, run, since) = (intent.customer, intent.run, intent.since.to_string());
            self.findings.push(Finding::Creation { organization, customer, run, since, command });
        }
        self.rows("SELECT * FROM marks", MarkRow::read).map(drop)
    }

    fn leases(&mut self) -> rusqlite::Result<()> {
        let leases = self.rows("SELECT * FROM leases", LeaseRow::read)?;
        self.right(format::check_table(self.connection, LeaseRow::TABLE, leases.iter().map(|row| ("", row.seal()))));
        for lease in leases.into_iter().filter(|lease| !self.holders.is_alive(&lease.holder)) {
            self.findings.push(Finding::Lease { name: lease.name, run: lease.run });
        }
        Ok(())
    }

    fn sizes(&mut self) -> rusqlite::Result<()> {
        let number = |pragma: &str| self.connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
        let page = number("PRAGMA page_size")?.unsigned_abs();
        self.counts.bytes = page * number("PRAGMA page_count")?.unsigned_abs();
        self.counts.free = page * number("PRAGMA freelist_count")?.unsigned_abs();
        Ok(())
    }
}

/// The command that goes on with a run. An undo is taken up by the next one of the same run.
fn go_on(run: &RunRow) -> String {
    match serde_json::from_slice(&run.opening) {
        Ok(Opening { kind: RunKind::Undo(of), .. }) => format!("tenantry runs undo {of}"),
        _ => format!("tenantry runs resume {}", run.id),
    }
}

/// The intents of a run whose end is not known, in their order.
fn unsettled(entries: &[Logged]) -> Vec<&Logged> {
    let mut open = BTreeMap::new();
    for logged in entries {
        match &logged.entry {
            Entry::Intent { key, attempt, .. } => {
                open.insert((key, *attempt), logged);
            }
            Entry::Outcome { outcome: RecordedOutcome::Failure(failure), .. }
                if failure.kind == FailureKind::Unknown => {}
            Entry::Outcome { key, attempt, .. } | Entry::Settled { key, attempt, .. } => {
                open.remove(&(key, *attempt));
            }
            _ => {}
        }
    }
    let mut open: Vec<&Logged> = open.into_values().collect();
    open.sort_by_key(|logged| logged.sequence);
    open
}
