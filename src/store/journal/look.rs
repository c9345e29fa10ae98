//! Looking for something in all runs there are.

use std::collections::HashSet;
use std::path::Path;

use jiff::Timestamp;
use rusqlite::Connection;

use super::row::RunRow;
use super::{Entry, Journal, JournalError, Logged, RunFilter, chain};
use crate::operation::{Host, Key, RecordedOperation, RecordedOutcome};
use crate::store::seal;

/// Where a text was found.
#[derive(Debug, Default)]
pub struct Mentions {
    /// The ids of the runs that have it, the latest first.
    pub runs: Vec<String>,
    /// Runs that could not be searched.
    pub unread: Vec<JournalError>,
}

impl Journal {
    /// The state file it lies in.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The ids of all runs, in their order. Blocks.
    ///
    /// # Errors
    /// When the state file cannot be read.
    pub fn ids(&self) -> Result<Vec<String>, JournalError> {
        self.0.read(|connection| texts(connection, "SELECT id FROM runs ORDER BY id"))
    }

    /// The customers that runs were for. Blocks.
    ///
    /// # Errors
    /// When the state file cannot be read.
    pub fn customers(&self) -> Result<Vec<String>, JournalError> {
        self.0.read(|connection| texts(connection, "SELECT DISTINCT customer FROM runs ORDER BY customer"))
    }

    /// The playbooks that were run. Blocks.
    ///
    /// # Errors
    /// When the state file cannot be read.
    pub fn playbooks(&self) -> Result<Vec<String>, JournalError> {
        self.0.read(|connection| texts(connection, "SELECT DISTINCT playbook FROM runs ORDER BY playbook"))
    }

    /// When the last run for a customer did something last, as far as its journal tells. Blocks.
    ///
    /// # Errors
    /// When the state file cannot be read.
    pub(crate) fn last_work(&self, scope: &str, customer: &str) -> Result<Option<Timestamp>, JournalError> {
        self.0.read(|connection| {
            let Some(run) = RunRow::last_for(connection, scope, customer)? else { return Ok(None) };
            let Some(last) = chain::last_at(connection, run.number)? else { return Ok(None) };
            let moment = Timestamp::from_microsecond(last).map_err(|error| seal::damage(error.to_string()))?;
            Ok(Some(moment))
        })
    }

    /// The runs that have an entry with one of these texts in it. Unpacks every entry of every run, one run at a time,
    /// so that others get at the file in between. Blocks.
    ///
    /// # Errors
    /// When the state file cannot be read.
    pub fn mentioning(&self, wanted: &[&str]) -> Result<Mentions, JournalError> {
        let as_written: Vec<String> = wanted.iter().map(|text| within_json(text)).collect();
        let runs = self
            .0
            .read::<_, JournalError>(|connection| texts(connection, "SELECT id FROM runs ORDER BY number DESC"))?;
        let mut mentions = Mentions::default();
        for id in runs {
            match self.mentions(&id, &as_written) {
                Ok(true) => mentions.runs.push(id),
                Ok(false) => {}
                Err(error @ JournalError::Damaged { .. }) => mentions.unread.push(error),
                Err(error) => return Err(error),
            }
        }
        Ok(mentions)
    }

    /// Whether a run of this scope was answered by the tenant of this host name. Looks at the latest runs first, and blocks.
    ///
    /// # Errors
    /// When the state file cannot be read.
    pub(crate) fn was_at(&self, scope: &str, hostname: &str) -> Result<bool, JournalError> {
        let wanted = [within_json(&hostname.to_ascii_lowercase())];
        for run in self.runs(&RunFilter { scope: Some(scope.to_owned()), ..RunFilter::default() })? {
            let id = &run.opening.id;
            let found =
                self.mentions(id, &wanted).and_then(|named| Ok(named && answered(&self.entries(id)?, hostname)));
            match found {
                Ok(true) => return Ok(true),
                // What cannot be read shows nothing.
                Ok(false) | Err(JournalError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    fn mentions(&self, id: &str, wanted: &[String]) -> Result<bool, JournalError> {
        // It may have been pruned meanwhile.
        let Some((_, entries, _)) = self.read_texts(id)? else { return Ok(false) };
        Ok(entries.iter().any(|(_, _, text)| {
            std::str::from_utf8(text).is_ok_and(|text| wanted.iter().any(|wanted| text.contains(wanted.as_str())))
        }))
    }
}

/// Whether the tenant of this host name answered to anything among these.
fn answered(entries: &[Logged], hostname: &str) -> bool {
    let is_there = |operation: &RecordedOperation| match operation.request().map(|request| &request.host) {
        Some(Host::Tenant(name)) => name.eq_ignore_ascii_case(hostname),
        _ => false,
    };
    let mut asked: HashSet<(&Key, u32)> = HashSet::new();
    entries.iter().any(|logged| match &logged.entry {
        Entry::Intent { key, attempt, operation, .. } => {
            if is_there(operation) {
                asked.insert((key, *attempt));
            }
            false
        }
        Entry::Outcome { key, attempt, operation, outcome: RecordedOutcome::Answer { .. } } => {
            operation.as_deref().is_some_and(is_there) || asked.contains(&(key, *attempt))
        }
        _ => false,
    })
}

fn texts(connection: &Connection, question: &str) -> rusqlite::Result<Vec<String>> {
    connection.prepare_cached(question)?.query_map([], |row| row.get(0))?.collect()
}

/// The text as it stands within a JSON document.
fn within_json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}
