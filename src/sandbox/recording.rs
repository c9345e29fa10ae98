//! A real tenant's configuration, as the sandbox keeps one.
//!
//! What is read is data: [`SOURCES`]; where it goes, `mirror` knows. Whoever reads (the host, over the live client) gives each
//! answer to a [`Recording`], which takes off what answers add to the documents themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::blobs::CONTENT;
use super::context::text;
use super::state::{SELF, Scope, State};
use super::{automation_connections, brands, data_connections, item_collections, licenses, mirror, reloads, tasks};

/// One read of a recording.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Source {
    /// The operation.
    pub operation: &'static str,
    /// Its query.
    pub query: &'static [(&'static str, &'static str)],
    /// It is asked once for each thing that this other read found; empty when it is asked once.
    of: &'static str,
    /// The parameters of its path or query that take what the thing is known by.
    pub each: &'static [&'static str],
    /// What it answers with.
    pub gives: Gives,
    /// Fields that the answer has and the document has not.
    added: &'static [&'static str],
}

/// What a read answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gives {
    /// A list, all of its pages.
    List,
    /// A list that is asked for as it is, its first page only.
    Page,
    /// One document.
    Document,
    /// The content of a file.
    File,
}

impl Source {
    const fn of(self, each: &'static [&'static str], of: &'static str) -> Self {
        Self { of, each, ..self }
    }

    const fn without(self, added: &'static [&'static str]) -> Self {
        Self { added, ..self }
    }

    const fn asking(self, query: &'static [(&'static str, &'static str)]) -> Self {
        Self { query, ..self }
    }
}

const fn list(operation: &'static str) -> Source {
    Source { operation, query: &[], of: "", each: &[], gives: Gives::List, added: &["links"] }
}

const fn page(operation: &'static str) -> Source {
    Source { gives: Gives::Page, ..list(operation) }
}

const fn single(operation: &'static str) -> Source {
    Source { gives: Gives::Document, added: &["links", "tenantId"], ..list(operation) }
}

const fn file(operation: &'static str) -> Source {
    Source { gives: Gives::File, ..list(operation) }
}

/// Everything that is read, in this order.
pub const SOURCES: &[Source] = &[
    list("getRoles").without(&["links", "canDelete", "canEdit"]),
    page("getGroups").asking(&[(SYSTEM_GROUPS, "true")]),
    list("getGroups"),
    list("getUsers"),
    single(ME).without(&["links"]),
    list("getIdps"),
    list("getSpaces").without(&["links", "meta"]),
    list("getSpaceAssignments").of(&["spaceId"], "getSpaces"),
    list("getSpaceShares").of(&["spaceId"], "getSpaces"),
    list("getWebIntegrations"),
    list("getCSPEntries"),
    list("getThemes"),
    file("downloadTheme").of(&["id"], "getThemes"),
    list("getExtensions"),
    file("downloadExtension").of(&["id"], "getExtensions"),
    list(BRANDS).without(&["files"]),
    file(BRAND_FILE).of(&["brand-id", "brand-file-id"], BRAND_FILE),
    list("getOAuthClients").without(&["links", "clientSecrets"]),
    list("getIpPolicies"),
    list("getCollections").without(&["links", "itemCount", "full"]),
    list(ITEMS).asking(&[("resourceType", "app")]),
    // What a schedule loads, and what failed, tells nothing that a playbook goes by.
    page(RELOADS)
        .asking(&[("limit", "1"), ("filter", "status eq \"SUCCEEDED\" and type eq \"external\"")])
        .of(&["appId"], ITEMS)
        .without(&["links", "status", "engineTime", "log"]),
    list(TASKS),
    list(CONNECTIONS).asking(&[("extended", "true"), ("noDatafiles", "true")]).without(&["links", "privileges"]),
    list("getDataFiles").asking(&[("includeAllSpaces", "true"), ("includeFolders", "true")]).without(&[
        "links",
        "actions",
        "folderStats",
    ]),
    list(AUTOMATION_CONNECTIONS).asking(&[("listAll", "true")]),
    single(AUTOMATION_CONNECTION).of(&["id"], AUTOMATION_CONNECTIONS).without(&["links", "error", "redirect"]),
    list(AUTOMATIONS).asking(&[("listAll", "true")]).without(AUTOMATION_ADDED),
    // Lists leave out what only its owner may know.
    single("workflowsGetAutomation").of(&["id"], AUTOMATIONS).without(AUTOMATION_ADDED),
    list(SEATS),
    single(LICENSE),
    single("getLicenseSettings"),
    single("getGroupsSettings").without(&["links", "tenantId", "systemGroups"]),
    single("getAuthSettings"),
    single("getDataAlertsSettings"),
    single("getSharingTasksSettings"),
    single("getAutomationsSettings"),
    single("getApiKeysConfig").of(&["tenantId"], TENANT),
];

/// The index of items, which tells of apps.
const ITEMS: &str = "getItems";
const TENANT: &str = "getMyTenant";
const ME: &str = "getMyUser";
const BRANDS: &str = "getBrands";
const BRAND_FILE: &str = "getBrandFile";
const RELOADS: &str = "getReloads";
const TASKS: &str = "schedulingGetTasks";
const CONNECTIONS: &str = "getDataConnections";
const AUTOMATIONS: &str = "workflowsGetAutomations";
const AUTOMATION_CONNECTIONS: &str = "workflowsGetAutomationConnections";
const AUTOMATION_CONNECTION: &str = "workflowsGetAutomationConnection";
const SEATS: &str = "getLicenseAssignments";
const LICENSE: &str = "getLicenseOverview";

/// What an automation's answers tell of its workspace and of its runs.
const AUTOMATION_ADDED: &[&str] =
    &["links", "snippetIds", "endpointIds", "connectorIds", "runMode", "lastRun", "lastRunAt", "lastRunStatus"];

/// The parameter that asks for the groups of the system; where they are kept has its name.
const SYSTEM_GROUPS: &str = "systemGroups";

/// What stands in a secret's place.
const HIDDEN: &str = "***";

/// A tenant that is being recorded.
#[derive(Debug)]
pub struct Recording {
    state: State,
    tenant: Scope,
    /// What the things that each read found are known by.
    found: BTreeMap<&'static str, Vec<Vec<String>>>,
}

impl Recording {
    /// Begins with what the tenant says of itself; none when it does not say its id.
    #[must_use]
    pub fn of(mut tenant: Value) -> Option<Self> {
        strip(&mut tenant, &["links"]);
        let id = tenant.get("id")?.as_str()?.to_owned();
        let mut state = State::default();
        state.put(&Scope::Organization, "tenants", &id, Arc::new(redacted(tenant)));
        let found = BTreeMap::from([(TENANT, vec![vec![id.clone()]])]);
        Some(Self { state, tenant: Scope::tenant(&id), found })
    }

    /// What [`Source::each`] takes, one after the other: nothing, once, when the read is of no other thing.
    #[must_use]
    pub fn fillings(&self, source: &Source) -> Vec<Vec<String>> {
        if source.each.is_empty() {
            return vec![Vec::new()];
        }
        self.found.get(source.of).cloned().unwrap_or_default()
    }

    /// Takes what a read gave: the items of a list, or the one document.
    pub fn take(&mut self, source: &Source, items: Vec<Value>) {
        for mut item in items {
            if source.operation == BRANDS {
                self.note_files(&item);
            }
            strip(&mut item, source.added);
            match source.operation {
                ME => self.act_as(&item),
                SEATS => self.take_seat(item),
                LICENSE => self.take_pool(&item),
                _ => self.take_document(source, item),
            }
        }
    }

    fn take_document(&mut self, source: &Source, item: Value) {
        let (reading, system) = (source.operation, source.query.iter().any(|(name, _)| *name == SYSTEM_GROUPS));
        let document = match reading {
            ITEMS => {
                self.take_members(&item);
                mirror::app_of(&item, None)
            }
            RELOADS => reloads::recorded(item),
            TASKS => tasks::recorded(item),
            CONNECTIONS => data_connections::recorded(mirror::connection_of(item, None)),
            AUTOMATION_CONNECTION => automation_connections::recorded(item),
            "getUsers" => user(item),
            _ => item,
        };
        let shown = if reading == ITEMS { "getAppInfo" } else { reading };
        let reload = || Some((reloads::RELOADS, text(&document, "id").to_owned())).filter(|_| reading == RELOADS);
        let Some((collection, id)) = reload().or_else(|| mirror::place(shown, &document)) else { return };
        self.found.entry(reading).or_default().push(vec![id.clone()]);
        let collection = if system { SYSTEM_GROUPS } else { collection };
        self.state.put(&self.tenant, collection, &id, Arc::new(redacted(document)));
    }

    /// Takes the content of a file, of what a read was asked for with these fillings.
    pub fn take_file(&mut self, source: &Source, filling: &[String], bytes: Bytes) {
        let collection = match source.operation {
            BRAND_FILE => brands::FILES,
            "downloadTheme" => "themes",
            _ => "extensions",
        };
        let id = filling.join("/");
        if let Some(held) = self.state.get(&self.tenant, collection, &id) {
            let mut document = (*held).clone();
            document[CONTENT] = json!(&*self.state.keep(bytes));
            self.state.put(&self.tenant, collection, &id, Arc::new(document));
        }
    }

    /// How many things were found.
    #[must_use]
    pub fn count(&self) -> usize {
        let of_tenant = self.state.all().filter(|(scope, ..)| **scope == self.tenant);
        of_tenant.map(|(.., collection)| collection.iter().count()).sum()
    }

    /// The state with the tenant in it. What an organization has besides, the sandbox that is opened on it makes.
    #[must_use]
    pub fn into_state(self) -> State {
        self.state
    }

    /// The sandbox's client will be the bot that is there already, with a secret of its own.
    fn act_as(&mut self, me: &Value) {
        if let Some(client) = text(me, "subject").strip_prefix("qlikbot\\") {
            self.say_of_organization([("clientId", json!(client))]);
        }
    }

    fn take_seat(&mut self, seat: Value) {
        let (id, seat) = mirror::seat_of(seat);
        self.state.put(&Scope::Organization, mirror::SEATS, &id, Arc::new(seat));
    }

    fn take_pool(&mut self, overview: &Value) {
        let seats = self.state.collection(&Scope::Organization, mirror::SEATS);
        let (units, unlisted) = mirror::pool_of(overview, |kind| seats.count("type", kind));
        self.say_of_organization([("seats", units), (licenses::UNLISTED, unlisted)]);
    }

    fn say_of_organization<const N: usize>(&mut self, fields: [(&str, Value); N]) {
        let held = self.state.get(&Scope::Organization, "organization", SELF);
        let mut organization = held.map_or_else(|| json!({}), |held| (*held).clone());
        for (field, value) in fields {
            organization[field] = value;
        }
        self.state.put(&Scope::Organization, "organization", SELF, Arc::new(organization));
    }

    /// The collections that an app's entry says it is in.
    fn take_members(&mut self, item: &Value) {
        for collection in item["collectionIds"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let (id, member) = item_collections::member(collection, text(item, "resourceId"));
            self.state.put(&self.tenant, item_collections::MEMBERS, &id, Arc::new(member));
        }
    }

    fn note_files(&mut self, brand: &Value) {
        for file in brand["files"].as_array().into_iter().flatten() {
            let known_by = vec![text(brand, "id").to_owned(), text(file, "id").to_owned()];
            self.state.put(&self.tenant, brands::FILES, &known_by.join("/"), Arc::new(file.clone()));
            self.found.entry(BRAND_FILE).or_default().push(known_by);
        }
    }
}

fn strip(document: &mut Value, fields: &[&str]) {
    if let Some(held) = document.as_object_mut() {
        held.retain(|name, _| !fields.contains(&&**name));
    }
}

/// A user, with its groups by their ids alone.
fn user(mut user: Value) -> Value {
    let groups = user["assignedGroups"].as_array().into_iter().flatten();
    user["assignedGroups"] = groups.map(|group| json!({"id": group["id"]})).collect();
    user
}

/// The document with `***` where a secret stood: a reference to one is an object with this one field.
fn redacted(value: Value) -> Value {
    match value {
        Value::Object(held) if held.len() == 1 && held.contains_key("$secret") => json!(HIDDEN),
        Value::Object(held) => Value::Object(held.into_iter().map(|(name, value)| (name, redacted(value))).collect()),
        Value::Array(items) => items.into_iter().map(redacted).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{ParameterPlace, contract};
    use crate::operation::Effect;
    use crate::sandbox::resources;

    #[test]
    fn everything_is_a_read_that_the_sandbox_answers() {
        for source in SOURCES {
            let operation = contract().operation(source.operation).unwrap();
            assert_eq!(operation.effect, Effect::Read, "{operation}");
            assert!(resources::handler(operation.id).is_some(), "{operation}");
            let (in_path, in_query): (Vec<&str>, Vec<&str>) =
                source.each.iter().partition(|name| operation.variables().any(|variable| variable == **name));
            assert_eq!(operation.variables().collect::<Vec<_>>(), in_path, "{operation}");
            let is_known = |name: &str| operation.parameters_in(ParameterPlace::Query).any(|known| known.name == name);
            let asked = source.query.iter().map(|(name, _)| *name);
            assert!(in_query.into_iter().chain(asked).all(is_known), "{operation}");
            let before = SOURCES.iter().take_while(|other| other.operation != source.operation);
            let found = [TENANT, BRAND_FILE].into_iter().chain(before.map(|other| other.operation));
            assert!(source.of.is_empty() || found.into_iter().any(|other| other == source.of), "{operation}");
        }
    }
}
