//! What is different between two states, in words of people: by tenant, resource and name, field by field.
//!
//! [`State::diff`](super::State::diff) compares two moments of one sandbox, document by document. Here they may be two
//! sandboxes: tenants and things are the same when they have the same id, or else the same name, and fields that name a
//! thing by its id are compared, and shown, by its name. Times, and what only tells of past work, are left out; secrets
//! are told to differ and not shown.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::blobs::CONTENT;
use super::context::text;
use super::state::{Document, SELF, Scope, State};

/// What is different.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Comparison {
    /// Thing by thing, those of an organization before those of its tenants.
    pub differences: Vec<Compared>,
}

/// One thing that is not the same.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Compared {
    /// The tenant it is in, by its name; none for a thing of the organization's.
    pub tenant: Option<String>,
    /// What it is: `space`, `web integration`.
    pub resource: String,
    /// Its name.
    pub name: String,
    /// What became of it.
    pub how: How,
    /// What is different in it; for one that came or went, what it has.
    pub fields: Vec<FieldCompared>,
}

/// What became of a thing from the first state to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Only the second has it.
    Added,
    /// Only the first has it.
    Removed,
    /// Both have it, and it is not the same.
    Changed,
}

/// One field that is not the same.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FieldCompared {
    /// A JSON pointer.
    pub path: String,
    /// Its value in the first state.
    pub before: Option<Value>,
    /// Its value in the second.
    pub after: Option<Value>,
}

/// Collections that tell of past work or of the sandbox itself.
const PASSED: &[&str] = &[
    "usedTokens",
    "revokedTokens",
    "oauthTokens",
    "counters",
    "reloads",
    "automationRuns",
    "tempContents",
    "temp_contents",
    "uploads",
    "keyMigrations",
];

/// Fields of which nobody is interested whether they are the same.
const TIMES: &[&str] = &[
    "id",
    "tenantId",
    "tenantIds",
    "createdAt",
    "updatedAt",
    "updateAt",
    "created",
    "lastUpdated",
    "lastUpdatedAt",
    "createdDate",
    "modifiedDate",
    "createdBy",
    "updatedBy",
    "createdByUser",
    "modifierId",
    "statusLastUpdatedAt",
    "creatorId",
    "eTag",
    "userId",
];

/// What people know things by: the first of these that it has.
const NAMES: &[&str] = &[
    "/subject",
    "/qextFilename",
    "/origin",
    "/clientName",
    "/name",
    "/qName",
    "/hint",
    "/options/issuer",
    "/options/discoveryUrl",
    "/description",
    "/provider",
];

/// The name of a thing, when it has one.
fn name_of(document: &Value) -> Option<&str> {
    let named = NAMES.iter().filter_map(|path| document.pointer(path)?.as_str());
    named.into_iter().find(|name| !name.is_empty())
}

/// What a thing without a name is known by: the things it joins.
const JOINED: &[&str] = &["clientId", "spaceId", "assigneeId", "collectionId", "resourceId", "appId", "type"];

/// Collections whose names do not say what is in them.
const CALLED: &[(&str, &str)] = &[
    ("assignments", "space assignment"),
    ("shares", "space share"),
    ("oauthClients", "OAuth client"),
    ("oauthSecrets", "OAuth client secret"),
    ("cspOrigins", "CSP origin"),
    ("ipPolicies", "IP policy"),
    ("settings", "settings"),
    ("collectionItems", "item of a collection"),
    ("organization", "organization"),
];

const HIDDEN: &str = "***";

impl Comparison {
    /// What is different in `after`.
    #[must_use]
    pub fn of(before: &State, after: &State) -> Self {
        let mut differences = Vec::new();
        for (left, right) in homes(before, after) {
            compare(&mut differences, None, &Side::new(before, left), &Side::new(after, right));
        }
        let tenants = |state: &State| -> Vec<(String, Document)> {
            let homes = state.organizations();
            let collections = homes.iter().map(|home| state.collection(home, "tenants"));
            collections
                .flat_map(|held| held.iter().map(|(id, held)| (id.to_owned(), held.clone())).collect::<Vec<_>>())
                .collect()
        };
        for (left, right) in pairs(&tenants(before), &tenants(after), |_, tenant| tenant_name(tenant)) {
            let name = right.as_ref().or(left.as_ref()).map(|(_, tenant)| tenant_name(tenant)).unwrap_or_default();
            let scope = |side: Option<(String, Document)>| side.map(|(id, _)| Scope::tenant(&id));
            compare(&mut differences, Some(name), &Side::new(before, scope(left)), &Side::new(after, scope(right)));
        }
        Self { differences }
    }

    /// How many things came, went and changed.
    #[must_use]
    pub fn count(&self, how: How) -> usize {
        self.differences.iter().filter(|difference| difference.how == how).count()
    }
}

/// The organizations of both, the first with the first.
fn homes(before: &State, after: &State) -> Vec<(Option<Scope>, Option<Scope>)> {
    let all: BTreeSet<Scope> = before.organizations().into_iter().chain(after.organizations()).collect();
    let held = |state: &State, scope: &Scope| state.organizations().contains(scope).then(|| scope.clone());
    all.into_iter().map(|scope| (held(before, &scope), held(after, &scope))).collect()
}

/// What people call a tenant: its alias, else its name.
fn tenant_name(tenant: &Value) -> String {
    let alias = tenant["hostnames"][1].as_str().filter(|alias| !alias.is_empty());
    alias.unwrap_or_else(|| text(tenant, "name")).to_owned()
}

type Pair = (Option<(String, Document)>, Option<(String, Document)>);

/// The same things of both sides: by id, then by name.
fn pairs(
    before: &[(String, Document)],
    after: &[(String, Document)],
    name: impl Fn(bool, &Document) -> String,
) -> Vec<Pair> {
    let mut left: BTreeMap<usize, &(String, Document)> = before.iter().enumerate().collect();
    let by_id: BTreeMap<&str, usize> = before.iter().enumerate().map(|(place, (id, _))| (&**id, place)).collect();
    let mut found: Vec<Option<&(String, Document)>> =
        after.iter().map(|(id, _)| by_id.get(&**id).and_then(|place| left.remove(place))).collect();
    let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (place, (_, document)) in left.iter().rev() {
        by_name.entry(name(true, document)).or_default().push(*place);
    }
    for ((_, document), found) in after.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
        let place = by_name.get_mut(&name(false, document)).and_then(Vec::pop);
        *found = place.and_then(|place| left.remove(&place));
    }
    let gone = left.into_values().map(|gone| (Some(gone.clone()), None));
    let both = after.iter().zip(found).map(|(after, before)| (before.cloned(), Some(after.clone())));
    gone.chain(both).collect()
}

/// The documents of one scope, and what their ids stand for.
struct Side<'s> {
    state: &'s State,
    scope: Option<Scope>,
    names: BTreeMap<String, String>,
}

impl<'s> Side<'s> {
    fn new(state: &'s State, scope: Option<Scope>) -> Self {
        let mut side = Self { state, scope, names: BTreeMap::new() };
        let mut names = BTreeMap::new();
        for name in side.collections() {
            for (id, document) in side.documents(&name) {
                if let Some(name) = name_of(&document) {
                    names.insert(id, name.to_owned());
                }
            }
        }
        side.names = names;
        side
    }

    fn collections(&self) -> BTreeSet<String> {
        let here = self.state.all().filter(|(scope, ..)| Some(*scope) == self.scope.as_ref());
        here.map(|(_, name, _)| name.to_string()).filter(|name| !PASSED.contains(&&**name)).collect()
    }

    fn documents(&self, collection: &str) -> Vec<(String, Document)> {
        let Some(scope) = &self.scope else { return Vec::new() };
        let held = self.state.collection(scope, collection);
        held.iter().map(|(id, document)| (id.to_owned(), document.clone())).collect()
    }

    /// What a thing is called.
    fn name(&self, id: &str, document: &Value) -> String {
        if let Some(name) = name_of(document) {
            return name.to_owned();
        }
        let joined = JOINED.iter().map(|field| self.resolved(text(document, field))).filter(|part| !part.is_empty());
        let joined = joined.collect::<Vec<_>>().join(" / ");
        if joined.is_empty() { id.to_owned() } else { joined }
    }

    fn resolved<'t>(&'t self, text: &'t str) -> &'t str {
        self.names.get(text).map_or(text, String::as_str)
    }

    /// A document's fields as they are compared, by their JSON pointers.
    fn fields(&self, collection: &str, document: &Value) -> Map<String, Value> {
        let mut fields = Map::new();
        let Some(held) = document.as_object() else { return fields };
        for (name, value) in held {
            let inner = name.starts_with('$') && name != CONTENT;
            if inner || TIMES.contains(&&**name) || (collection == "organization" && name == "tokenKey") {
                continue;
            }
            if collection == "oauthSecrets" && name == "text" {
                fields.insert(format!("/{name}"), json!({ SECRET: value }));
                continue;
            }
            self.gather(&mut fields, &format!("/{}", name.replace('~', "~0").replace('/', "~1")), name, value);
        }
        fields
    }

    fn gather(&self, fields: &mut Map<String, Value>, path: &str, name: &str, value: &Value) {
        match value {
            Value::Object(held) if !is_secret(name) => {
                for (name, value) in held.iter().filter(|(name, _)| !TIMES.contains(&&***name)) {
                    let name_part = name.replace('~', "~0").replace('/', "~1");
                    self.gather(fields, &format!("{path}/{name_part}"), name, value);
                }
            }
            value if is_secret(name) => drop(fields.insert(path.to_owned(), json!({ SECRET: value }))),
            value => drop(fields.insert(path.to_owned(), self.plain(value))),
        }
    }

    /// A value with names in place of ids.
    fn plain(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => json!(self.resolved(text)),
            Value::Array(items) => items.iter().map(|item| self.plain(item)).collect(),
            Value::Object(held) => {
                // A reference that has a name is that name.
                if let Some(name) = held.get("name").and_then(Value::as_str).filter(|_| held.contains_key("id")) {
                    return json!(name);
                }
                if let Some(id) = held.get("id").and_then(Value::as_str).filter(|_| held.len() == 1) {
                    return json!(self.resolved(id));
                }
                let inner = held.iter().filter(|(name, _)| !TIMES.contains(&&***name));
                let inner = inner.map(|(name, value)| {
                    let value = if is_secret(name) { json!({ SECRET: value }) } else { self.plain(value) };
                    (name.clone(), value)
                });
                Value::Object(inner.collect())
            }
            other => other.clone(),
        }
    }
}

/// What stands around a secret until it has been compared.
const SECRET: &str = "$secret";

/// Whether a field of this name holds a secret.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let ends =
        ["secret", "secrets", "password", "token", "licensekey", "privatekey", "apikey", "jwks", "decryptingkey"];
    // The values of a connection's parameters may be secrets, and nothing says which are.
    ends.iter().any(|end| name.ends_with(end)) || name == "params" || name == "connectionproperties"
}

/// The value with its secrets hidden.
fn hidden(value: Value) -> Value {
    match value {
        Value::Object(held) if held.contains_key(SECRET) => json!(HIDDEN),
        Value::Object(held) => Value::Object(held.into_iter().map(|(name, value)| (name, hidden(value))).collect()),
        Value::Array(items) => items.into_iter().map(hidden).collect(),
        other => other,
    }
}

fn compare(differences: &mut Vec<Compared>, tenant: Option<String>, before: &Side<'_>, after: &Side<'_>) {
    let collections: BTreeSet<String> = before.collections().union(&after.collections()).cloned().collect();
    for collection in collections {
        let (left, right) = (before.documents(&collection), after.documents(&collection));
        // What the organization says of itself, and settings, are known by their ids.
        let named = |side: &Side<'_>, id: &str, document: &Value| match &*collection {
            "settings" | "organization" | "counters" => id.to_owned(),
            _ => side.name(id, document),
        };
        let ids = |list: &[(String, Document)]| -> BTreeMap<*const Value, String> {
            list.iter().map(|(id, document)| (std::sync::Arc::as_ptr(document), id.clone())).collect()
        };
        let (left_ids, right_ids) = (ids(&left), ids(&right));
        let name = |is_left: bool, document: &Document| {
            let (side, ids) = if is_left { (before, &left_ids) } else { (after, &right_ids) };
            let id = ids.get(&std::sync::Arc::as_ptr(document)).map(String::as_str).unwrap_or_default();
            named(side, id, document)
        };
        for (was, is) in pairs(&left, &right, name) {
            let (how, name) = match (&was, &is) {
                (Some((id, was)), None) => (How::Removed, named(before, id, was)),
                (None, Some((id, is))) => (How::Added, named(after, id, is)),
                (Some(_), Some((id, is))) => (How::Changed, named(after, id, is)),
                (None, None) => continue,
            };
            let of = |side: &Side<'_>, held: Option<(String, Document)>| {
                held.map(|(_, document)| side.fields(&collection, &document)).unwrap_or_default()
            };
            let fields = different(of(before, was), of(after, is));
            if how == How::Changed && fields.is_empty() {
                continue;
            }
            let name = if name == SELF { text_of(after, before) } else { name };
            differences.push(Compared { tenant: tenant.clone(), resource: called(&collection), name, how, fields });
        }
    }
}

/// The name of the organization itself.
fn text_of(after: &Side<'_>, before: &Side<'_>) -> String {
    let name = |side: &Side<'_>| {
        let document = side.state.get(side.scope.as_ref()?, "organization", SELF)?;
        Some(text(&document, "name").to_owned()).filter(|name| !name.is_empty())
    };
    name(after).or_else(|| name(before)).unwrap_or_else(|| "itself".to_owned())
}

fn different(mut before: Map<String, Value>, after: Map<String, Value>) -> Vec<FieldCompared> {
    let mut fields = Vec::new();
    let field = |path: String, before: Option<Value>, after: Option<Value>| FieldCompared {
        path,
        before: before.map(hidden),
        after: after.map(hidden),
    };
    for (path, value) in after {
        let was = before.shift_remove(&path);
        if was.as_ref() != Some(&value) {
            fields.push(field(path, was, Some(value)));
        }
    }
    fields.extend(before.into_iter().map(|(path, value)| field(path, Some(value), None)));
    fields
}

/// What a collection holds, in the singular: `webIntegrations` holds a `web integration`.
fn called(collection: &str) -> String {
    if let Some((_, called)) = CALLED.iter().find(|(name, _)| *name == collection) {
        return (*called).to_owned();
    }
    let mut words = String::new();
    for letter in collection.chars() {
        if letter.is_ascii_uppercase() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    match words.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None => words.strip_suffix('s').unwrap_or(&words).to_owned(),
    }
}
