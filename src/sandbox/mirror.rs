//! What a real tenant has: how the answers of its operations become documents. A model of it learns so, and a recording.
//!
//! Only what a plan changes need be known exactly: everything else is answered by the real tenant itself. So a document
//! is kept as it was shown, whatever fields it has.

use serde_json::{Map, Value, json};

use super::context::{Context, text};
use super::data_connections::{CONNECTIONS, PROPERTIES};
use super::state::{SELF, Scope};
use super::{items, licenses};

pub(super) const SEATS: &str = "seats";

/// One collection, and the operations that show what is in it.
pub(super) struct Mirror {
    pub(super) collection: &'static str,
    /// The field that tells one document from another.
    key: &'static str,
    /// Answers one document, named by a variable of its path.
    pub(super) get: &'static str,
    /// Answers all of them; empty where there may be too many to ask for.
    pub(super) list: &'static str,
    /// Others that show some.
    others: &'static [&'static str],
    /// The variable of the list's path that the documents lie under.
    parent: &'static str,
}

const fn mirror(collection: &'static str, key: &'static str, get: &'static str, list: &'static str) -> Mirror {
    Mirror { collection, key, get, list, others: &[], parent: "" }
}

const fn under(
    parent: &'static str,
    collection: &'static str,
    key: &'static str,
    get: &'static str,
    list: &'static str,
) -> Mirror {
    Mirror { collection, key, get, list, others: &[], parent }
}

pub(super) const MIRRORS: &[Mirror] = &[
    Mirror { others: &["getUsers", "filterUsers", "getMyUser"], ..mirror("users", "id", "getUser", "") },
    Mirror { others: &["getGroups", "filterGroups"], ..mirror("groups", "id", "getGroup", "") },
    mirror("roles", "id", "getRole", "getRoles"),
    Mirror { others: &["getSpaces"], ..mirror("spaces", "id", "getSpace", "") },
    under("spaceId", "assignments", "id", "getSpaceAssignment", "getSpaceAssignments"),
    under("spaceId", "shares", "id", "getSpaceShare", "getSpaceShares"),
    mirror("identityProviders", "id", "getIdp", "getIdps"),
    mirror("webIntegrations", "id", "getWebIntegration", "getWebIntegrations"),
    mirror("cspOrigins", "id", "getCSPEntry", "getCSPEntries"),
    mirror("ipPolicies", "id", "getIpPolicy", "getIpPolicies"),
    mirror("oauthClients", "clientId", "getOAuthClient", "getOAuthClients"),
    mirror("keyProviders", "arnFingerPrint", "getEncryptionKeyprovider", "listEncryptionKeyproviders"),
    mirror("brands", "id", "getBrand", "getBrands"),
    mirror("themes", "id", "getTheme", "getThemes"),
    mirror("extensions", "id", "getExtension", "getExtensions"),
    mirror("apps", "id", "getAppInfo", ""),
    Mirror { others: &["getCollections"], ..mirror("collections", "id", "getCollection", "") },
    Mirror { others: &["schedulingGetTasks"], ..mirror("tasks", "id", "schedulingGetTask", "") },
    mirror("dataConnections", "qID", "getDataConnection", "getDataConnections"),
    Mirror { others: &["getDataFiles"], ..mirror("dataFiles", "id", "getDataFile", "") },
    mirror("dataFileConnections", "id", "getDataFileConnection", "getDataFilesConnections"),
    Mirror {
        others: &["getAutomation", "getAutomations", "workflowsGetAutomations"],
        ..mirror("automations", "id", "workflowsGetAutomation", "")
    },
    Mirror {
        others: &["getAutomationConnection", "getAutomationConnections", "workflowsGetAutomationConnections"],
        ..mirror("automationConnections", "id", "workflowsGetAutomationConnection", "")
    },
];

/// Documents of which a tenant has one each, with the operation that shows it.
const SINGLE: &[(&str, &str)] = &[
    ("getGroupsSettings", "groups"),
    ("getLicenseSettings", "licenses"),
    ("getAuthSettings", "sessions"),
    ("getApiKeysConfig", "apiKeys"),
    ("getAutomationsSettings", "automations"),
    ("getDataAlertsSettings", "dataAlerts"),
    ("getSharingTasksSettings", "sharing"),
];

/// Where a document that an operation shows is kept: the collection, and its id there.
pub(super) fn place(operation: &str, document: &Value) -> Option<(&'static str, String)> {
    if let Some((_, name)) = SINGLE.iter().find(|(shows, _)| *shows == operation) {
        return Some(("settings", (*name).to_owned()));
    }
    let mirror = MIRRORS.iter().find(|mirror| mirror.shows(operation))?;
    let id = document.get(mirror.key)?.as_str().filter(|id| !id.is_empty())?;
    Some((mirror.collection, id.to_owned()))
}

impl Mirror {
    fn shows(&self, operation: &str) -> bool {
        self.get == operation || self.list == operation || self.others.contains(&operation)
    }
}

/// An app, as far as its item in the index tells of it, with what is known of it besides; what is inside it stays where it is.
pub(super) fn app_of(item: &Value, known: Option<&Value>) -> Value {
    let told = known.or_else(|| item.get("resourceAttributes")).cloned();
    let mut app = told.filter(Value::is_object).unwrap_or_else(|| json!({}));
    app["id"] = item["resourceId"].clone();
    app[items::ITEM] = item["id"].clone();
    for (field, of_item) in [
        ("name", "name"),
        ("description", "description"),
        ("ownerId", "ownerId"),
        ("createdDate", "createdAt"),
        ("modifiedDate", "updatedAt"),
        ("spaceId", "spaceId"),
    ] {
        if let Some(value) = item.get(of_item) {
            app[field] = value.clone();
        }
    }
    app
}

/// The documents of an answer: those of a list, or the one it is.
fn shown(answer: &Value) -> Vec<&Value> {
    match answer["data"].as_array().or_else(|| answer.as_array()) {
        Some(list) => list.iter().collect(),
        None if answer.is_object() => vec![answer],
        None => Vec::new(),
    }
}

/// Keeps what an answer of the real tenant shows. The path's variables and the query are those of the context.
pub(super) fn learn(context: &mut Context<'_>, operation: &str, answer: &Value) {
    match operation {
        "getGroups" if context.flag("systemGroups") => keep_all(context, "systemGroups", "id", &shown(answer)),
        "getGroupsSettings" => {
            let groups: Vec<&Value> = answer["systemGroups"].as_object().into_iter().flat_map(Map::values).collect();
            keep_all(context, "systemGroups", "id", &groups);
            keep(context, "settings", "groups", answer.clone());
        }
        "getItems" | "getItem" | "getCollectionItems" | "getPublishedItems" => learn_items(context, answer),
        "getAppInfo" => keep_app(context, answer["attributes"].clone()),
        "getDataConnection" | "getDataConnections" => {
            for connection in shown(answer) {
                learn_connection(context, connection.clone());
            }
        }
        "getLicenseOverview" => learn_pool(context, answer),
        "getLicenseAssignments" => {
            for seat in shown(answer) {
                learn_seat(context, seat);
            }
        }
        _ => {
            for document in shown(answer) {
                let Some((collection, id)) = place(operation, document) else { continue };
                let mut document = document.clone();
                let parent = MIRRORS.iter().find(|mirror| mirror.shows(operation)).map_or("", |mirror| mirror.parent);
                if !parent.is_empty() {
                    document[parent] = json!(context.var(parent));
                }
                if collection == "identityProviders" {
                    document = with_secret(document);
                }
                keep(context, collection, &id, document);
            }
        }
    }
}

/// A provider with a word in place of the secret that it has and nobody is shown.
fn with_secret(mut provider: Value) -> Value {
    let is_oidc = text(&provider, "protocol").eq_ignore_ascii_case("oidc");
    if let Some(options) = provider["options"].as_object_mut().filter(|_| is_oidc) {
        options.entry("clientSecret").or_insert_with(|| json!("secret:not-shown"));
    }
    provider
}

fn keep_all(context: &mut Context<'_>, collection: &str, key: &str, documents: &[&Value]) {
    for document in documents {
        keep(context, collection, text(document, key), (*document).clone());
    }
}

fn keep(context: &mut Context<'_>, collection: &str, id: &str, document: Value) {
    if !id.is_empty() && document.is_object() {
        context.put(collection, id, document);
    }
}

fn keep_app(context: &mut Context<'_>, app: Value) {
    let id = text(&app, "id").to_owned();
    let mut app = app;
    // What the index of items says of it stays.
    if let Some(item) = context.get("apps", &id).and_then(|held| held.get(items::ITEM).cloned()) {
        app[items::ITEM] = item;
    }
    keep(context, "apps", &id, app);
}

fn learn_connection(context: &mut Context<'_>, connection: Value) {
    let id = text(&connection, "qID").to_owned();
    let known = context.get(CONNECTIONS, &id);
    let connection = connection_of(connection, known.as_deref());
    keep(context, CONNECTIONS, &id, connection);
}

/// A connection is shown with its space under another name, and with its properties only when they are asked for.
pub(super) fn connection_of(mut connection: Value, known: Option<&Value>) -> Value {
    let told = connection.as_object_mut().and_then(|fields| fields.shift_remove("connectionProperties"));
    if let Some(properties) = told.or_else(|| known?.get(PROPERTIES).cloned()) {
        connection[PROPERTIES] = properties;
    }
    let space = connection.as_object_mut().and_then(|fields| fields.shift_remove("space"));
    connection["id"] = connection["qID"].clone();
    connection["spaceId"] = space.filter(Value::is_string).unwrap_or_else(|| json!(""));
    connection
}

/// An item shows most of what its app has.
fn learn_items(context: &mut Context<'_>, answer: &Value) {
    for item in shown(answer) {
        if text(item, "resourceType") != "app" {
            continue;
        }
        let id = text(item, "resourceId").to_owned();
        let app = app_of(item, context.get("apps", &id).as_deref());
        keep(context, "apps", &id, app);
    }
}

fn learn_pool(context: &mut Context<'_>, answer: &Value) {
    let mut organization = (*context.organization()).clone();
    let seats = context.collection_in(&Scope::Organization, SEATS);
    let (units, unlisted) = pool_of(answer, |kind| seats.count("type", kind));
    organization["seats"] = units;
    organization[licenses::UNLISTED] = unlisted;
    organization["licenseNumber"] = answer["licenseNumber"].clone();
    context.put_in(&Scope::Organization, "organization", SELF, organization);
}

/// What the organization's licence allows of each kind, and how much of it is taken by seats that nobody has listed here.
pub(super) fn pool_of(overview: &Value, listed: impl Fn(&str) -> usize) -> (Value, Value) {
    let (mut units, mut unlisted) = (Map::new(), Map::new());
    for allotment in overview["allotments"].as_array().into_iter().flatten() {
        let name = text(allotment, "name");
        let used = allotment["unitsUsed"].as_u64().unwrap_or(0);
        units.insert(name.to_owned(), allotment["units"].clone());
        unlisted.insert(name.to_owned(), json!(used.saturating_sub(listed(name) as u64)));
    }
    (units.into(), unlisted.into())
}

/// A seat with the id it is kept by.
pub(super) fn seat_of(mut seat: Value) -> (String, Value) {
    let id = format!("{}:{}", text(&seat, "type"), text(&seat, "subject"));
    seat["id"] = json!(id);
    (id, seat)
}

fn learn_seat(context: &mut Context<'_>, seat: &Value) {
    let kind = text(seat, "type").to_owned();
    let (id, seat) = seat_of(seat.clone());
    let known = context.get_in(&Scope::Organization, SEATS, &id).is_some();
    let mut organization = (*context.organization()).clone();
    if let Some(left) = organization[licenses::UNLISTED][&kind].as_u64().filter(|left| !known && *left > 0) {
        organization[licenses::UNLISTED][&kind] = json!(left - 1);
        context.put_in(&Scope::Organization, "organization", SELF, organization);
    }
    context.put_in(&Scope::Organization, SEATS, &id, seat);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::contract;
    use crate::operation::Effect;
    use crate::sandbox::resources;

    /// A misspelt name would show nothing, and what is not shown is not known.
    #[test]
    fn everything_is_a_read_that_the_sandbox_answers() {
        let named = MIRRORS.iter().flat_map(|mirror| mirror.others.iter().chain([&mirror.get, &mirror.list]));
        for id in named.chain(SINGLE.iter().map(|(operation, _)| operation)).filter(|id| !id.is_empty()) {
            let operation = contract().operation(id).unwrap_or_else(|| panic!("{id}"));
            assert_eq!(operation.effect, Effect::Read, "{operation}");
            assert!(resources::handler(operation.id).is_some(), "{operation}");
        }
        for mirror in MIRRORS.iter().filter(|mirror| !mirror.parent.is_empty()) {
            let list = contract().operation(mirror.list).unwrap();
            assert_eq!(list.variables().collect::<Vec<_>>(), [mirror.parent], "{list}");
        }
    }
}
