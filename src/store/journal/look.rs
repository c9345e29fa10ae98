//! Looking for something in all runs there are.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::Connection;

use super::row::RunRow;
use super::{Journal, JournalError, chain};
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

    fn mentions(&self, id: &str, wanted: &[String]) -> Result<bool, JournalError> {
        // It may have been pruned meanwhile.
        let Some((_, entries, _)) = self.read_texts(id)? else { return Ok(false) };
        Ok(entries.iter().any(|(_, _, text)| {
            std::str::from_utf8(text).is_ok_and(|text| wanted.iter().any(|wanted| text.contains(wanted.as_str())))
        }))
    }
}

fn texts(connection: &Connection, question: &str) -> rusqlite::Result<Vec<String>> {
    connection.prepare_cached(question)?.query_map([], |row| row.get(0))?.collect()
}

/// The text as it stands within a JSON document.
fn within_json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}
