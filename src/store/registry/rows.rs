//! The registry's rows as they lie in the file: each with its seal, all of them counted.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};

use super::{Intent, Tenant};
use crate::store::seal::{self, Seal};
use crate::store::totals::{self, Tally};

/// A row of `tenants`.
#[derive(Clone)]
pub(in crate::store) struct TenantRow {
    pub(in crate::store) organization: String,
    pub(in crate::store) tenant: Tenant,
    pub(in crate::store) created_at: String,
    pub(in crate::store) updated_at: String,
}

/// A row of `intents`.
pub(in crate::store) struct IntentRow {
    pub(in crate::store) organization: String,
    pub(in crate::store) intent: Intent,
}

impl TenantRow {
    pub(in crate::store) const TABLE: &str = "tenants";

    pub(in crate::store) fn seal(&self) -> Seal {
        let tenant = &self.tenant;
        seal::texts(
            Self::TABLE,
            [
                Some(&self.organization),
                Some(&tenant.customer),
                Some(&tenant.id),
                Some(&tenant.hostname),
                tenant.alias.as_deref(),
                Some(&tenant.region),
                tenant.name.as_deref(),
                Some(&tenant.status),
                tenant.created_by_run.as_deref(),
                Some(&self.created_at),
                Some(&self.updated_at),
            ],
        )
    }

    /// A row without a look at its seal: for files of a format that had none.
    pub(in crate::store) fn read_unsealed(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            organization: row.get("organization")?,
            tenant: Tenant {
                customer: row.get("customer")?,
                id: row.get("id")?,
                hostname: row.get("hostname")?,
                alias: row.get("alias")?,
                region: row.get("region")?,
                name: row.get("name")?,
                status: row.get("status")?,
                created_by_run: row.get("created_by_run")?,
            },
            created_at: row.get("created_at")?,
            updated_at: row.get("updated_at")?,
        })
    }

    pub(in crate::store) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let own = Self::read_unsealed(row)?;
        let beside: Vec<u8> = row.get("seal")?;
        seal::check(&beside, own.seal(), || format!("the row of customer `{}` in tenants", own.tenant.customer))?;
        Ok(own)
    }

    pub(in crate::store) fn of(
        connection: &Connection,
        organization: &str,
        customer: &str,
    ) -> rusqlite::Result<Option<Self>> {
        connection
            .prepare_cached("SELECT * FROM tenants WHERE organization = ?1 AND customer = ?2")?
            .query_row([organization, customer], Self::read)
            .optional()
    }

    pub(in crate::store) fn by_id(
        connection: &Connection,
        organization: &str,
        id: &str,
    ) -> rusqlite::Result<Option<Self>> {
        connection
            .prepare_cached("SELECT * FROM tenants WHERE organization = ?1 AND id = ?2")?
            .query_row([organization, id], Self::read)
            .optional()
    }

    /// Every row of an organization, by customer.
    pub(super) fn all(connection: &Connection, organization: &str) -> rusqlite::Result<Vec<Self>> {
        let mut rows = connection.prepare_cached("SELECT * FROM tenants WHERE organization = ?1 ORDER BY customer")?;
        let rows: Vec<Self> = rows.query_map([organization], Self::read)?.collect::<rusqlite::Result<_>>()?;
        all_there(connection, Self::TABLE, organization, rows.iter().map(Self::seal))?;
        Ok(rows)
    }

    /// Writes the row, in place of the one `before`.
    pub(in crate::store) fn put(&self, connection: &Connection, before: Option<&Self>) -> rusqlite::Result<()> {
        let (tenant, seal) = (&self.tenant, self.seal());
        connection
            .prepare_cached(
                "INSERT INTO tenants (organization, customer, id, hostname, alias, region, name, status, created_by_run,
                                      created_at, updated_at, seal)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
                 ON CONFLICT (organization, customer) DO UPDATE SET
                     hostname = excluded.hostname, alias = excluded.alias, region = excluded.region,
                     name = excluded.name, status = excluded.status, updated_at = excluded.updated_at,
                     seal = excluded.seal",
            )?
            .execute(params![
                self.organization,
                tenant.customer,
                tenant.id,
                tenant.hostname,
                tenant.alias,
                tenant.region,
                tenant.name,
                tenant.status,
                tenant.created_by_run,
                self.created_at,
                self.updated_at,
                seal,
            ])?;
        totals::change(connection, Self::TABLE, &self.organization, before.map(Self::seal), Some(seal))
    }

    pub(super) fn remove(&self, connection: &Connection) -> rusqlite::Result<()> {
        remove(connection, Self::TABLE, &self.organization, &self.tenant.customer, self.seal())
    }
}

impl IntentRow {
    pub(in crate::store) const TABLE: &str = "intents";

    pub(in crate::store) fn seal(&self) -> Seal {
        let intent = &self.intent;
        let texts = [&self.organization, &intent.customer, &intent.run, &intent.key, &intent.digest];
        let since = intent.since.to_string();
        let [organization, customer, run, key, digest] = texts.map(|text| Some(text.as_str()));
        seal::texts(Self::TABLE, [organization, customer, run, key, digest, Some(&since)])
    }

    /// A row without a look at its seal: for files of a format that had none.
    pub(in crate::store) fn read_unsealed(row: &Row<'_>) -> rusqlite::Result<Self> {
        let since: String = row.get("since")?;
        let since: Timestamp = since.parse().map_err(|error: jiff::Error| seal::damage(error.to_string()))?;
        Ok(Self {
            organization: row.get("organization")?,
            intent: Intent {
                customer: row.get("customer")?,
                run: row.get("run")?,
                key: row.get("key")?,
                digest: row.get("digest")?,
                since,
            },
        })
    }

    pub(in crate::store) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let own = Self::read_unsealed(row)?;
        let beside: Vec<u8> = row.get("seal")?;
        seal::check(&beside, own.seal(), || format!("the row of customer `{}` in intents", own.intent.customer))?;
        Ok(own)
    }

    pub(in crate::store) fn of(
        connection: &Connection,
        organization: &str,
        customer: &str,
    ) -> rusqlite::Result<Option<Self>> {
        connection
            .prepare_cached("SELECT * FROM intents WHERE organization = ?1 AND customer = ?2")?
            .query_row([organization, customer], Self::read)
            .optional()
    }

    /// Every row of an organization, by customer.
    pub(super) fn all(connection: &Connection, organization: &str) -> rusqlite::Result<Vec<Self>> {
        let mut rows = connection.prepare_cached("SELECT * FROM intents WHERE organization = ?1 ORDER BY customer")?;
        let rows: Vec<Self> = rows.query_map([organization], Self::read)?.collect::<rusqlite::Result<_>>()?;
        all_there(connection, Self::TABLE, organization, rows.iter().map(Self::seal))?;
        Ok(rows)
    }

    /// Writes the row, where there is none.
    pub(in crate::store) fn put(&self, connection: &Connection) -> rusqlite::Result<()> {
        let (intent, seal) = (&self.intent, self.seal());
        let since = intent.since.to_string();
        let columns: [&dyn ToSql; 7] =
            [&self.organization, &intent.customer, &intent.run, &intent.key, &intent.digest, &since, &seal];
        connection
            .prepare_cached(
                "INSERT INTO intents (organization, customer, run, key, digest, since, seal)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(columns)?;
        totals::change(connection, Self::TABLE, &self.organization, None, Some(seal))
    }

    pub(super) fn remove(&self, connection: &Connection) -> rusqlite::Result<()> {
        remove(connection, Self::TABLE, &self.organization, &self.intent.customer, self.seal())
    }
}

fn all_there(
    connection: &Connection,
    table: &str,
    organization: &str,
    seals: impl Iterator<Item = Seal>,
) -> rusqlite::Result<()> {
    let mut tally = Tally::default();
    seals.for_each(|seal| tally.add(seal));
    totals::check(connection, table, organization, tally)
}

fn remove(
    connection: &Connection,
    table: &str,
    organization: &str,
    customer: &str,
    seal: Seal,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(&format!("DELETE FROM {table} WHERE organization = ?1 AND customer = ?2"))?
        .execute([organization, customer])?;
    totals::change(connection, table, organization, Some(seal), None)
}
