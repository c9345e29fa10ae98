use std::collections::BTreeMap;

use super::reader::{Reader, Table};
use crate::qlik::Addresses;
use crate::store::SecretSource;

/// The name of the target that is always there: the embedded sandbox.
pub const SANDBOX: &str = "sandbox";

/// Where runs act.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Target {
    /// The embedded sandbox.
    Sandbox,
    /// An organization of Qlik Cloud: tenants are created in it.
    Organization(OrganizationTarget),
    /// One tenant of Qlik Cloud.
    Pinned(PinnedTarget),
}

/// An organization and who tenantry is in it.
#[derive(Clone, Debug)]
pub struct OrganizationTarget {
    /// The target's name.
    pub name: String,
    /// The organization's identity, when the settings say it.
    pub organization: Option<String>,
    /// The client that lists the organization's tenants.
    pub console: Option<ClientCredentials>,
    /// The licence key for new tenants.
    pub license_key: Option<SecretSource>,
    /// The tenant that tells the licence key, by its host name.
    pub license_from: Option<String>,
    /// One client for each region.
    pub regions: BTreeMap<String, ClientCredentials>,
    /// The tenant whose apps customers get copies of.
    pub source: Option<SourceTarget>,
    /// Where its hosts are reached.
    pub addresses: Addresses,
}

/// One tenant and what opens it.
#[derive(Clone, Debug)]
pub struct PinnedTarget {
    /// The target's name.
    pub name: String,
    /// The tenant's host name.
    pub tenant: String,
    /// What opens it.
    pub access: Access,
    /// The tenant whose apps it gets copies of.
    pub source: Option<SourceTarget>,
    /// Where it is reached.
    pub addresses: Addresses,
}

/// A source tenant.
#[derive(Clone, Debug)]
pub struct SourceTarget {
    /// Its host name.
    pub tenant: String,
    /// What opens it; the client of its region when nothing is said.
    pub access: Option<Access>,
}

/// What opens one tenant.
#[derive(Clone, Debug)]
pub enum Access {
    /// An OAuth client of the tenant.
    Client(ClientCredentials),
    /// An API key of a user of the tenant.
    ApiKey(SecretSource),
}

/// An OAuth client.
#[derive(Clone, Debug)]
pub struct ClientCredentials {
    /// Its id: no secret, but it may come from the same places.
    pub client_id: SecretSource,
    /// Its secret.
    pub client_secret: SecretSource,
}

impl Target {
    pub(super) fn read(reader: &mut Reader<'_>, name: &str, mut table: Table<'_>) -> Option<Self> {
        let addresses = addresses(reader, &mut table);
        let target = if table.has("tenant") {
            pinned(reader, name, &mut table, addresses).map(Self::Pinned)
        } else {
            Some(Self::Organization(organization(reader, name, &mut table, addresses)))
        };
        table.finish(reader);
        target
    }
}

fn pinned(reader: &mut Reader<'_>, name: &str, table: &mut Table<'_>, addresses: Addresses) -> Option<PinnedTarget> {
    let tenant = host(reader, table, "tenant");
    let access = access(reader, table);
    for key in ["regions", "console", "license_key", "license_from", "organization"] {
        if table.has(key) {
            let message = format!("`{key}` has no place in {}: it is pinned to one tenant", table.what);
            reader.wrong(
                table.key_span(key),
                message,
                Some("take out `tenant`, or give the organization a target of its own"),
            );
        }
    }
    ask_for(table, &["regions", "console", "license_key", "license_from", "organization"]);
    let source = source(reader, table);
    if let Some(SourceTarget { access: None, .. }) = &source {
        let message = format!("nothing opens the source of {}", table.what);
        let hint = "give it what opens it: source = { tenant = \"HOSTNAME\", client_id = \"...\", client_secret = { env = \"NAME\" } }";
        reader.wrong(table.key_span("source"), message, Some(hint));
    }
    Some(PinnedTarget { name: name.to_owned(), tenant: tenant?, access: access?, source, addresses })
}

/// What opens one tenant: a client or an API key.
fn access(reader: &mut Reader<'_>, table: &mut Table<'_>) -> Option<Access> {
    let api_key = table.secret(reader, "api_key");
    let with_key = table.has("api_key");
    let with_client = table.has("client_id") || table.has("client_secret");
    if with_key == with_client {
        let message = format!("{} needs either `client_id` and `client_secret` or `api_key`", table.what);
        reader.wrong(table.key_span("tenant"), message, None);
    }
    let client = with_client.then(|| client(reader, table)).flatten();
    match (api_key, client) {
        (Some(key), _) => Some(Access::ApiKey(key)),
        (None, client) => client.map(Access::Client),
    }
}

/// The source tenant: its host name, or a table that also says what opens it.
fn source(reader: &mut Reader<'_>, table: &mut Table<'_>) -> Option<SourceTarget> {
    if !table.has_table("source") {
        return host(reader, table, "source").map(|tenant| SourceTarget { tenant, access: None });
    }
    let mut own = table.table(reader, "source", format!("the source of {}", table.what))?;
    let tenant = host(reader, &mut own, "tenant");
    if !own.has("tenant") && !own.misspells("tenant") {
        reader.wrong(own.span.clone(), format!("{} has no `tenant`", own.what), None);
    }
    let access = access(reader, &mut own);
    own.finish(reader);
    Some(SourceTarget { tenant: tenant?, access: Some(access?) })
}

fn organization(
    reader: &mut Reader<'_>,
    name: &str,
    table: &mut Table<'_>,
    addresses: Addresses,
) -> OrganizationTarget {
    let organization = table.text(reader, "organization").map(|text| text.value);
    let console =
        table.table(reader, "console", format!("the console client of {}", table.what)).and_then(|mut console| {
            let read = client(reader, &mut console);
            console.finish(reader);
            read
        });
    let license_key = table.secret(reader, "license_key");
    let license_from = host(reader, table, "license_from");
    match (table.has("license_key"), table.has("license_from")) {
        (true, true) => {
            let message = format!("{} has both `license_key` and `license_from`", table.what);
            reader.wrong(table.key_span("license_from"), message, Some("keep one of them"));
        }
        (false, false) if organization.is_none() => {
            let message = format!("{} does not say its licence", table.what);
            let hint =
                "add license_key = { env = \"NAME\" }, or license_from = \"HOSTNAME\" of a tenant of the organization";
            reader.wrong(table.span.clone(), message, Some(hint));
        }
        _ => {}
    }
    let mut regions = BTreeMap::new();
    if let Some(named) = table.table(reader, "regions", format!("the regions of {}", table.what)) {
        for (region, mut credentials) in named.named(reader, "region") {
            if !label(&region.value) {
                let message = format!("`{}` cannot be a region", region.value);
                reader.wrong(region.span, message, Some("regions read like eu, us, ap"));
            }
            let read = client(reader, &mut credentials);
            credentials.finish(reader);
            if let Some(read) = read {
                regions.insert(region.value, read);
            }
        }
    }
    if !table.has("regions") && !table.has("console") {
        let message = format!("{} has no client", table.what);
        let hint = "add a client for each region: regions.eu = { client_id = \"...\", client_secret = { env = \"NAME\" } }, \
                    or pin the target to one tenant with tenant = \"HOSTNAME\"";
        reader.wrong(table.span.clone(), message, Some(hint));
    }
    let source = source(reader, table);
    if let Some(SourceTarget { tenant, access: None }) = &source {
        let region = tenant.split('.').nth(1).unwrap_or_default();
        if !regions.contains_key(region) {
            let message = format!("{} has no client for the region `{region}` of its source", table.what);
            let hint = "add one, or give the source what opens it: source = { tenant = \"HOSTNAME\", client_id = \"...\", client_secret = { env = \"NAME\" } }";
            reader.wrong(table.key_span("source"), message, Some(hint));
        }
    }
    ask_for(table, &["tenant"]);
    let name = name.to_owned();
    OrganizationTarget { name, organization, console, license_key, license_from, regions, source, addresses }
}

/// Makes keys known that were judged elsewhere, so that they are not called unknown.
fn ask_for(table: &mut Table<'_>, keys: &[&'static str]) {
    for key in keys {
        table.know(key);
    }
}

fn client(reader: &mut Reader<'_>, table: &mut Table<'_>) -> Option<ClientCredentials> {
    table.know("client_id");
    table.know("client_secret");
    for key in ["client_id", "client_secret"] {
        if !table.has(key) && !table.misspells(key) {
            reader.wrong(table.span.clone(), format!("{} has no `{key}`", table.what), None);
        }
    }
    let client_id = table.text_or_source(reader, "client_id");
    let client_secret = table.secret(reader, "client_secret");
    Some(ClientCredentials { client_id: client_id?, client_secret: client_secret? })
}

fn addresses(reader: &mut Reader<'_>, table: &mut Table<'_>) -> Addresses {
    let Some(address) = table.text(reader, "address") else { return Addresses::Direct };
    match Addresses::under(&address.value) {
        Ok(addresses) => addresses,
        Err(error) => {
            let hint = "for a served sandbox: address = \"http://127.0.0.1:PORT\"";
            reader.wrong(address.span, error.to_string(), Some(hint));
            Addresses::Direct
        }
    }
}

/// A host name: what people paste is often a whole address.
fn host(reader: &mut Reader<'_>, table: &mut Table<'_>, key: &'static str) -> Option<String> {
    let text = table.text(reader, key)?;
    let name = text.value.to_ascii_lowercase();
    if name.contains('.') && name.len() <= 253 && name.split('.').all(label) {
        return Some(name);
    }
    let inside = name.split_once("://").map_or(name.as_str(), |(_, rest)| rest);
    let inside = inside.split('/').next().unwrap_or_default();
    let hint = if inside.contains('.') && inside.split('.').all(label) {
        format!("write only the host name: {key} = \"{inside}\"")
    } else {
        format!("it reads like {key} = \"q7m2v9k4x1b8tz0.eu.qlikcloud.com\"")
    };
    reader.wrong(text.span, format!("`{}` is not a host name", text.value), Some(&hint));
    None
}

/// Whether this can stand between the dots of a host name.
fn label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}
