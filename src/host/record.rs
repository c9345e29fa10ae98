//! A tenant's configuration, copied into a state that a sandbox goes on from.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;

use super::connection::{Connection, my_tenant};
use super::{Host, Inner, TenantsError};
use crate::contract::contract;
use crate::interpreter::{all_items, reading};
use crate::operation::{self, Failure, FailureKind, Key, Payload};
use crate::sandbox::{Gives, Recording, SOURCES, Source, State};

/// Which tenant is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The one that the target is pinned to.
    Pinned,
    /// The one that the registry has for the customer of this code.
    Customer(String),
    /// The one with this host name.
    Host(String),
}

/// A tenant that was recorded.
#[derive(Debug)]
#[non_exhaustive]
pub struct RecordedTenant {
    /// Its host name.
    pub hostname: String,
    /// Its configuration, with `***` in place of every secret.
    pub state: State,
    /// How many things were found.
    pub things: usize,
    /// What could not be read, by operation: the tenant has no such service, or the client may not look.
    pub missing: Vec<(&'static str, Failure)>,
}

impl Host {
    /// Copies the configuration of a tenant at the target, with operations that only read. As with any use of a client, its
    /// first token in a tenant makes its bot user there.
    ///
    /// # Errors
    /// When the target cannot be used, there is no such tenant, or it does not answer.
    pub async fn record(&self, target: &str, whose: Whose) -> Result<RecordedTenant, TenantsError> {
        let (host, target) = (self.clone(), target.to_owned());
        self.on_io(async move { record(&host.0, &target, whose).await }).await
    }
}

async fn record(host: &Inner, target: &str, whose: Whose) -> Result<RecordedTenant, Failure> {
    let connection = host.connections.get(host, target).await?;
    let hostname = match whose {
        Whose::Host(hostname) => hostname.to_ascii_lowercase(),
        Whose::Pinned => connection.pinned().ok_or_else(|| {
            let title = format!("the target `{target}` is an organization: which of its tenants is meant?");
            Failure::new(FailureKind::Denied, "tenantry/which-tenant", title).hint("say it with --customer or --tenant")
        })?,
        Whose::Customer(customer) => {
            connection.tenant_of(host, &customer).await.map(|tenant| tenant.hostname).ok_or_else(|| {
                let title = format!("the registry has no tenant for the customer `{customer}` (target {target})");
                Failure::new(FailureKind::Denied, "tenantry/no-tenant", title).hint("see `tenantry tenants list`")
            })?
        }
    };
    let me = my_tenant(&hostname);
    let answer = connection.target().perform(&key(&me.id, 0), &me).await?;
    let Some(mut recording) = Recording::of(answer.json().clone()) else {
        let title = format!("{hostname} did not say which tenant it is");
        return Err(Failure::new(FailureKind::Denied, "tenantry/not-a-tenant", title));
    };
    let mut missing: Vec<(&'static str, Failure)> = Vec::new();
    for source in SOURCES {
        for (number, filling) in (0..).zip(recording.fillings(source)) {
            match read(&connection, &hostname, source, &filling, number).await {
                Ok(Told::Items(items)) => recording.take(source, items),
                Ok(Told::File(bytes)) => recording.take_file(source, &filling, bytes),
                Err(failure) if matches!(failure.status, Some(400..=499 | 501)) && failure.status != Some(401) => {
                    if missing.iter().all(|(operation, _)| *operation != source.operation) {
                        missing.push((source.operation, failure));
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
    }
    let things = recording.count();
    Ok(RecordedTenant { hostname, things, state: recording.into_state(), missing })
}

/// What a read gave.
enum Told {
    Items(Vec<Value>),
    File(Bytes),
}

fn key(id: &str, call: u32) -> Key {
    Key { branch: Vec::new(), call, id: id.to_owned(), ordinal: 0 }
}

async fn read(
    connection: &Connection,
    hostname: &str,
    source: &Source,
    filling: &[String],
    number: u32,
) -> Result<Told, Failure> {
    let unknown = || Failure::new(FailureKind::Denied, "tenantry/contract", format!("{} is unknown", source.operation));
    let operation = contract().operation(source.operation).ok_or_else(unknown)?;
    let filled = source.each.iter().zip(filling).map(|(name, value)| ((*name).to_owned(), value.clone()));
    let (variables, more): (Vec<_>, Vec<_>) =
        filled.partition(|(name, _)| operation.variables().any(|variable| variable == name));
    let variables: BTreeMap<String, String> = variables.into_iter().collect();
    let path = operation
        .expand(&variables)
        .map_err(|violation| Failure::new(FailureKind::Denied, "tenantry/contract", violation.to_string()))?;
    let query =
        source.query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).chain(more).collect();
    let host = operation::Host::Tenant(hostname.to_owned());
    let asked = reading(operation, host, path, query, &format!("tenant {hostname}"));
    let key = key(source.operation, number);
    let target = connection.target();
    if source.gives == Gives::List {
        return all_items(target, &key, operation, asked).await.map(Told::Items);
    }
    let answer = target.perform(&key, &asked).await?;
    Ok(match (source.gives, answer.payload) {
        (Gives::File, Payload::Bytes(bytes)) => Told::File(bytes),
        // A file of JSON is read as such.
        (Gives::File, Payload::Json(value)) => Told::File(value.to_string().into()),
        (Gives::File, Payload::Empty) => Told::File(Bytes::new()),
        (Gives::Page, Payload::Json(value)) => Told::Items(value["data"].as_array().cloned().unwrap_or_default()),
        (_, Payload::Json(value)) => Told::Items(vec![value]),
        (_, Payload::Bytes(_) | Payload::Empty) => Told::Items(Vec::new()),
    })
}
