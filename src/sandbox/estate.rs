//! An estate: the organizations of one sandbox, each with a licence, tenants and clients of its own.
//!
//! Told by a TOML file. An organization that names no clients has one that acts in every region and on the console host,
//! as the sandbox's only organization has without a file. Qlik Cloud knows no such client: one that is named acts in one
//! region, or on the console host (create a regional client; create an organization-level client).

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::context::text;
use super::hosts::{Place, REGIONS};
use super::ids;
use super::quotas::Edition;
use crate::surroundings::Random;

/// The organizations that a sandbox is to have.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estate {
    organizations: Vec<Organization>,
}

/// One of them; what is left out is made up, and stays what it is in a state that is kept.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Organization {
    pub(super) name: String,
    edition: Option<Edition>,
    license_key: Option<String>,
    tenants: Option<usize>,
    seats: Option<BTreeMap<String, i64>>,
    console: Option<Credential>,
    #[serde(default)]
    regions: BTreeMap<String, Credential>,
}

impl std::fmt::Debug for Organization {
    /// Without the secrets.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Organization").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Credential {
    client_id: Option<String>,
    client_secret: Option<String>,
}

/// Why a text is no estate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EstateError(String);

impl Estate {
    /// Reads an estate.
    ///
    /// # Errors
    /// When it is no TOML, has fields there are not, names an organization, a client or a licence twice, or a region
    /// there is not.
    pub fn parse(text: &str) -> Result<Self, EstateError> {
        let estate: Self = toml::from_str(text).map_err(|error| EstateError(error.to_string()))?;
        let refuse = |what: String| Err(EstateError(what));
        if estate.organizations.is_empty() {
            return refuse("there is no organization in it: [[organizations]] begins one".to_owned());
        }
        let (mut names, mut unique) = (BTreeSet::new(), BTreeSet::new());
        for organization in &estate.organizations {
            let name = &organization.name;
            let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if name.is_empty() || name.len() > 64 || !name.bytes().all(fits) {
                return refuse(format!(
                    "organization `{name}`: a name has small letters, digits and hyphens, at most 64"
                ));
            }
            if !names.insert(name) {
                return refuse(format!("organization `{name}` is there twice"));
            }
            if let Some(region) = organization.regions.keys().find(|region| region_of(region).is_none()) {
                let known = REGIONS.map(|(region, _)| region).join(", ");
                return refuse(format!("organization `{name}`: there is no region `{region}`; there are {known}"));
            }
            let credentials = organization.regions.values().chain(&organization.console);
            let told = credentials.filter_map(|held| held.client_id.as_ref()).chain(&organization.license_key);
            for one in told {
                if one.is_empty() || !unique.insert(one) {
                    return refuse(format!(
                        "organization `{name}`: client ids and licence keys must be told apart, and not be empty"
                    ));
                }
            }
        }
        Ok(estate)
    }

    pub(super) fn organizations(&self) -> &[Organization] {
        &self.organizations
    }
}

fn region_of(name: &str) -> Option<&'static str> {
    REGIONS.into_iter().map(|(region, _)| region).find(|region| *region == name)
}

impl Organization {
    /// Brings an organization's document up to what the estate says of it.
    pub(super) fn apply(&self, document: &mut Value, random: &Random) {
        document["name"] = json!(self.name);
        if let Some(edition) = self.edition {
            document["edition"] = json!(edition.name());
        }
        if let Some(key) = &self.license_key {
            document["licenseKey"] = json!(key);
        }
        if let Some(tenants) = self.tenants {
            document["tenantQuota"] = json!(tenants);
        }
        if let Some(seats) = &self.seats {
            document["seats"] = json!(seats);
        }
        let named = self.console.iter().map(|held| (CONSOLE, held));
        let named = named.chain(self.regions.iter().map(|(region, held)| (region.as_str(), held)));
        let held = document.get(CLIENTS).cloned().unwrap_or_default();
        let clients: Map<String, Value> = named
            .map(|(place, credential)| {
                let or = |given: &Option<String>, field: &str, length: usize| {
                    let kept = || text(&held[place], field).to_owned();
                    let made = || ids::hex(random, length);
                    given.clone().or_else(|| Some(kept()).filter(|kept| !kept.is_empty())).unwrap_or_else(made)
                };
                let id = or(&credential.client_id, "clientId", 32);
                let secret = or(&credential.client_secret, "clientSecret", 64);
                (place.to_owned(), json!({"clientId": id, "clientSecret": secret}))
            })
            .collect();
        if clients.is_empty() {
            return;
        }
        document[CLIENTS] = Value::Object(clients);
        if let Some(fields) = document.as_object_mut() {
            fields.shift_remove("clientId");
            fields.shift_remove("clientSecret");
        }
    }
}

/// Where an organization's document has its clients, by the region they act in.
const CLIENTS: &str = "clients";
/// What stands in the region's place for the one of the console host.
const CONSOLE: &str = "console";

/// Where a client of an organization acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// In every region and on the console host.
    Everywhere,
    /// In this region: on its register host and in the organization's tenants there.
    Region(&'static str),
    /// On the console host.
    Console,
}

/// A client of an organization.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Client {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
    /// Where it acts.
    pub reach: Reach,
}

impl std::fmt::Debug for Client {
    /// Without the secret.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Client").field("id", &self.id).field("reach", &self.reach).finish_non_exhaustive()
    }
}

impl Client {
    /// Whether it gets tokens there.
    pub(super) fn acts_at(&self, place: &Place) -> bool {
        match (self.reach, place) {
            (_, Place::Nowhere) => false,
            (Reach::Everywhere, _) | (Reach::Console, Place::Console) => true,
            (Reach::Region(held), Place::Register { region }) => held == *region,
            (Reach::Region(held), Place::Tenant(tenant)) => held == text(tenant, "region"),
            _ => false,
        }
    }
}

/// The clients that an organization's document names.
pub(super) fn clients(organization: &Value) -> Vec<Client> {
    let client = |held: &Value, reach: Reach| Client {
        id: text(held, "clientId").to_owned(),
        secret: text(held, "clientSecret").to_owned(),
        reach,
    };
    let everywhere = Some(client(organization, Reach::Everywhere)).filter(|client| !client.id.is_empty());
    let named = organization.get(CLIENTS).and_then(Value::as_object).into_iter().flatten();
    let named = named.filter_map(|(place, held)| {
        let reach = if place == CONSOLE { Reach::Console } else { Reach::Region(region_of(place)?) };
        Some(client(held, reach))
    });
    everywhere.into_iter().chain(named).collect()
}
