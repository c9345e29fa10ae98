//! A real tenant's configuration, as the sandbox keeps one.
//!
//! What is read is data: [`SOURCES`]; where it goes, `mirror` knows. Whoever reads (the host, over the live client) gives each
//! answer to a [`Recording`], which takes off what answers add to the documents themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::mirror;
use super::state::{Scope, State};

/// One read of a recording.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Source {
    /// The operation.
    pub operation: &'static str,
    /// Its query.
    pub query: &'static [(&'static str, &'static str)],
    /// The variable of its path, filled with the id of each thing that this other read found: `("spaceId", "getSpaces")`.
    pub each: Option<(&'static str, &'static str)>,
    /// Whether the answer is one document and no list.
    single: bool,
    /// Whether it takes no other parameter, not even how many it shows.
    pub alone: bool,
    /// Fields that the answer has and the document has not.
    added: &'static [&'static str],
}

const fn list(operation: &'static str) -> Source {
    Source { operation, query: &[], each: None, single: false, alone: false, added: &["links"] }
}

const fn single(operation: &'static str) -> Source {
    Source { single: true, added: &["links", "tenantId"], ..list(operation) }
}

/// Everything that is read, in this order.
pub const SOURCES: &[Source] = &[
    Source { added: &["links", "canDelete", "canEdit"], ..list("getRoles") },
    Source { query: &[(SYSTEM_GROUPS, "true")], alone: true, ..list("getGroups") },
    list("getGroups"),
    list("getUsers"),
    list("getIdps"),
    Source { added: &["links", "meta"], ..list("getSpaces") },
    Source { each: Some(("spaceId", "getSpaces")), ..list("getSpaceAssignments") },
    Source { each: Some(("spaceId", "getSpaces")), ..list("getSpaceShares") },
    list("getWebIntegrations"),
    list("getCSPEntries"),
    list("getThemes"),
    list("getExtensions"),
    Source { added: &["files"], ..list("getBrands") },
    Source { added: &["links", "clientSecrets"], ..list("getOAuthClients") },
    list("getIpPolicies"),
    Source { added: &["links", "itemCount", "full"], ..list("getCollections") },
    Source { query: &[("resourceType", "app")], ..list(ITEMS) },
    single("getLicenseSettings"),
    single("getGroupsSettings"),
    single("getAuthSettings"),
    single("getDataAlertsSettings"),
    single("getSharingTasksSettings"),
];

/// The index of items, which tells of apps.
const ITEMS: &str = "getItems";

/// The parameter that asks for the groups of the system; where they are kept has its name.
const SYSTEM_GROUPS: &str = "systemGroups";

/// What stands in a secret's place.
const HIDDEN: &str = "***";

/// A tenant that is being recorded.
#[derive(Debug)]
pub struct Recording {
    state: State,
    tenant: Scope,
    /// The ids that each read found.
    found: BTreeMap<&'static str, Vec<String>>,
}

impl Recording {
    /// Begins with what the tenant says of itself; none when it does not say its id.
    #[must_use]
    pub fn of(mut tenant: Value) -> Option<Self> {
        strip(&mut tenant, &["links"]);
        let id = tenant.get("id")?.as_str()?.to_owned();
        let mut state = State::default();
        state.put(&Scope::Organization, "tenants", &id, Arc::new(redacted(tenant)));
        Some(Self { state, tenant: Scope::tenant(&id), found: BTreeMap::new() })
    }

    /// What the variable of a read's path takes, one after the other; one empty text when it has none.
    #[must_use]
    pub fn fillings(&self, source: &Source) -> Vec<String> {
        match source.each {
            None => vec![String::new()],
            Some((_, of)) => self.found.get(of).cloned().unwrap_or_default(),
        }
    }

    /// Takes what a read gave: the items of a list, or the one document.
    pub fn take(&mut self, source: &Source, items: Vec<Value>) {
        for mut item in items {
            strip(&mut item, source.added);
            let document = if source.operation == ITEMS { mirror::app_of(&item, None) } else { item };
            let (reading, system) = (source.operation, source.query.iter().any(|(name, _)| *name == SYSTEM_GROUPS));
            let shown = if reading == ITEMS { "getAppInfo" } else { reading };
            let Some((collection, id)) = mirror::place(shown, &document) else { continue };
            let document = redacted(if collection == "users" { user(document) } else { document });
            self.found.entry(reading).or_default().push(id.clone());
            let collection = if system { SYSTEM_GROUPS } else { collection };
            self.state.put(&self.tenant, collection, &id, Arc::new(document));
        }
    }

    /// Whether a read gives one document and no list.
    #[must_use]
    pub fn is_single(source: &Source) -> bool {
        source.single
    }

    /// How many things were found.
    #[must_use]
    pub fn count(&self) -> usize {
        self.found.values().map(Vec::len).sum()
    }

    /// The state with the tenant in it, and no organization: the sandbox that is opened on it makes one.
    #[must_use]
    pub fn into_state(self) -> State {
        self.state
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
    use crate::contract::contract;
    use crate::operation::Effect;
    use crate::sandbox::resources;

    #[test]
    fn everything_is_a_read_that_the_sandbox_answers() {
        for source in SOURCES {
            let operation = contract().operation(source.operation).unwrap();
            assert_eq!(operation.effect, Effect::Read, "{operation}");
            assert!(resources::handler(operation.id).is_some(), "{operation}");
            if let Some((variable, _)) = source.each {
                assert_eq!(operation.variables().collect::<Vec<_>>(), [variable], "{operation}");
            }
        }
    }
}
