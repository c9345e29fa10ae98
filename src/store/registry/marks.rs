//! Marks: what tenantry knows of things in a tenant that the service does not tell of them.

use rusqlite::{Connection, OptionalExtension as _, Row};
use serde_json::Value;

use super::{Registry, RegistryError};
use crate::store::seal::{self, Seal};

/// A row of `marks`.
///
/// No total counts them: a mark that is gone costs one more upload, while one that is wrong would spare one that is needed.
/// That its seal shows.
pub(in crate::store) struct MarkRow {
    pub(in crate::store) organization: String,
    pub(in crate::store) customer: String,
    pub(in crate::store) name: String,
    /// The mark as JSON.
    pub(in crate::store) mark: String,
}

impl MarkRow {
    pub(in crate::store) fn seal(&self) -> Seal {
        let columns = [&self.organization, &self.customer, &self.name, &self.mark];
        seal::texts("marks", columns.map(|text| Some(text.as_str())))
    }

    pub(in crate::store) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let own = Self {
            organization: row.get("organization")?,
            customer: row.get("customer")?,
            name: row.get("name")?,
            mark: row.get("mark")?,
        };
        let beside: Vec<u8> = row.get("seal")?;
        seal::check(&beside, own.seal(), || format!("the mark `{}` of customer `{}`", own.name, own.customer))?;
        Ok(own)
    }

    /// Writes the row, in place of an earlier one.
    pub(in crate::store) fn put(&self, connection: &Connection) -> rusqlite::Result<()> {
        let columns: [&dyn rusqlite::ToSql; 5] =
            [&self.organization, &self.customer, &self.name, &self.mark, &self.seal()];
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO marks (organization, customer, name, mark, seal) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(columns)?;
        Ok(())
    }

    /// Whether there is one of this name.
    pub(in crate::store) fn exists(&self, connection: &Connection) -> rusqlite::Result<bool> {
        connection
            .prepare_cached("SELECT 1 FROM marks WHERE organization = ?1 AND customer = ?2 AND name = ?3")?
            .exists([&self.organization, &self.customer, &self.name])
    }

    fn value(self) -> rusqlite::Result<(String, Value)> {
        let value = serde_json::from_str(&self.mark).map_err(|error| seal::damage(error.to_string()))?;
        Ok((self.name, value))
    }
}

impl Registry {
    /// The mark of this name that was set for the customer.
    ///
    /// # Errors
    /// When the state file cannot be read.
    pub fn mark(&self, organization: &str, customer: &str, name: &str) -> Result<Option<Value>, RegistryError> {
        self.read(|state| {
            let mut row =
                state.prepare_cached("SELECT * FROM marks WHERE organization = ?1 AND customer = ?2 AND name = ?3")?;
            let row = row.query_row([organization, customer, name], MarkRow::read).optional()?;
            Ok(row.map(MarkRow::value).transpose()?.map(|(_, mark)| mark))
        })
    }

    /// All marks of the customer, by name.
    ///
    /// # Errors
    /// When the state file cannot be read.
    pub fn marks(&self, organization: &str, customer: &str) -> Result<Vec<(String, Value)>, RegistryError> {
        self.read(|state| {
            let mut rows =
                state.prepare_cached("SELECT * FROM marks WHERE organization = ?1 AND customer = ?2 ORDER BY name")?;
            rows.query_map([organization, customer], MarkRow::read)?.map(|row| row?.value()).collect()
        })
    }

    /// Sets the mark of this name for the customer; `None` takes it away. Durable when this returns.
    ///
    /// # Errors
    /// When the state file cannot be written.
    pub fn set_mark(
        &self,
        organization: &str,
        customer: &str,
        name: &str,
        mark: Option<&Value>,
    ) -> Result<(), RegistryError> {
        let mark = mark.map(Value::to_string);
        let [organization, customer, name] = [organization, customer, name].map(str::to_owned);
        self.change(move |state| {
            if let Some(mark) = mark {
                MarkRow { organization, customer, name, mark }.put(state)?;
            } else {
                let gone = "DELETE FROM marks WHERE organization = ?1 AND customer = ?2 AND name = ?3";
                state.prepare_cached(gone)?.execute([organization, customer, name])?;
            }
            Ok(Ok(()))
        })
    }
}
