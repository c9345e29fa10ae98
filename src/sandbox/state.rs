//! What a simulated Qlik Cloud holds: JSON documents and nothing else.
//!
//! An organization has its own collections (its licence, its tenants, its seats) and each tenant has collections of
//! its own (users, spaces, ...). Documents are kept whole, whatever fields they have: a field that the simulation
//! does not know today must survive a full replace tomorrow. Everything lives in persistent maps, so that a copy
//! costs nothing and shares what did not change.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use imbl::OrdMap;
use serde_json::{Map, Value, json};

use super::blobs::{self, Blobs};
use super::collection::Collection;
use super::events::{Event, Trails};

/// One stored document, shared between the states that hold it.
pub type Document = Arc<Value>;

/// Whose collections are meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The organization, above all tenants; the first where there are several.
    Organization,
    /// Another organization, by its name.
    Another(Arc<str>),
    /// The tenant with this id.
    Tenant(Arc<str>),
}

impl Scope {
    /// The scope of the tenant with this id.
    #[must_use]
    pub fn tenant(id: &str) -> Self {
        Self::Tenant(id.into())
    }
}

/// One document that came, went or changed between two states.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Whose it is.
    pub scope: Scope,
    /// The collection's name.
    pub collection: Arc<str>,
    /// The document's id.
    pub id: Arc<str>,
    /// What it was; none when it is new.
    pub before: Option<Document>,
    /// What it is; none when it is gone.
    pub after: Option<Document>,
}

/// Why a value is no state.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a sandbox state: {0}")]
pub struct NotAState(String);

/// Everything a simulated organization holds. A plain value: copy it, compare it, save it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    collections: OrdMap<(Scope, Arc<str>), Collection>,
    blobs: Blobs,
    /// What happened, beside what there is: no part of a difference.
    trails: Trails,
}

/// The version of the JSON form.
const FORMAT: u64 = 1;

impl State {
    /// The collection of this name; an empty one when nothing was stored in it.
    #[must_use]
    pub fn collection(&self, scope: &Scope, name: &str) -> Collection {
        let key = (scope.clone(), Arc::from(name));
        self.collections.get(&key).cloned().unwrap_or_else(|| Collection::named(name))
    }

    /// The document with this id.
    #[must_use]
    pub fn get(&self, scope: &Scope, collection: &str, id: &str) -> Option<Document> {
        self.collections.get(&(scope.clone(), Arc::from(collection)))?.get(id)
    }

    /// Stores a document; one that exists keeps its place in the order. Returns that place.
    pub fn put(&mut self, scope: &Scope, collection: &str, id: &str, document: Document) -> u64 {
        let name: Arc<str> = collection.into();
        let held = self.collections.entry((scope.clone(), name)).or_insert_with(|| Collection::named(collection));
        self.blobs.follow(held.get(id).as_deref(), Some(&document));
        held.put(id, document)
    }

    /// Stores a document at a given place in the order, as when it is read back from a file.
    pub(super) fn place(&mut self, scope: &Scope, collection: &str, place: u64, id: &str, document: Document) {
        let name: Arc<str> = collection.into();
        let held = self.collections.entry((scope.clone(), name)).or_insert_with(|| Collection::named(collection));
        self.blobs.follow(held.get(id).as_deref(), Some(&document));
        held.place(place, id, document);
    }

    /// Removes a document and returns it.
    pub fn remove(&mut self, scope: &Scope, collection: &str, id: &str) -> Option<Document> {
        let key = (scope.clone(), Arc::from(collection));
        let held = self.collections.get_mut(&key)?;
        let gone = held.remove(id);
        self.blobs.follow(gone.as_deref(), None);
        if held.is_empty() {
            self.collections.remove(&key);
        }
        gone
    }

    /// Every collection with its scope and its name.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Scope, &Arc<str>, &Collection)> {
        self.collections.iter().map(|((scope, name), collection)| (scope, name, collection))
    }

    /// Every content with its name.
    pub(super) fn contents(&self) -> impl Iterator<Item = (&Arc<str>, &Bytes)> {
        self.blobs.iter()
    }

    /// What happened in the tenants.
    pub(super) fn trails(&self) -> &Trails {
        &self.trails
    }

    /// Notes what happened in a tenant.
    pub(super) fn happened(&mut self, tenant: &Arc<str>, event: Arc<Event>) {
        self.trails.add(tenant, event);
    }

    /// The content of this name: the SHA-256 of its bytes in hexadecimal digits.
    #[must_use]
    pub fn blob(&self, name: &str) -> Option<Bytes> {
        self.blobs.get(name)
    }

    /// Keeps content for a document to name, and returns its name.
    pub(super) fn keep(&mut self, bytes: Bytes) -> Arc<str> {
        let name = blobs::name(&bytes);
        self.blobs.keep(name.clone(), bytes);
        name
    }

    /// Drops the contents that no document names, and returns their names.
    pub(super) fn sweep(&mut self) -> Vec<Arc<str>> {
        self.blobs.sweep()
    }

    /// The tenants' ids, in the order in which they were created, those of the first organization first.
    #[must_use]
    pub fn tenants(&self) -> Vec<String> {
        let ids = |scope: &Scope| -> Vec<String> {
            self.collection(scope, "tenants").iter().map(|(id, _)| id.to_owned()).collect()
        };
        self.organizations().iter().flat_map(ids).collect()
    }

    /// The scopes of all organizations, the first one first.
    #[must_use]
    pub fn organizations(&self) -> Vec<Scope> {
        let first: Arc<str> = Arc::from("");
        // The scopes of other organizations follow the first one's and stand before the tenants'.
        let others = self
            .collections
            .range((Scope::Another(first), Arc::from(""))..)
            .take_while(|((scope, _), _)| matches!(scope, Scope::Another(_)))
            .filter(|((_, name), _)| **name == *"organization")
            .map(|((scope, _), _)| scope.clone());
        std::iter::once(Scope::Organization).chain(others).collect()
    }

    /// What changed from this state to `later`. Costs what changed, not what is held.
    #[must_use]
    pub fn diff(&self, later: &Self) -> Vec<Difference> {
        let mut found = Vec::new();
        for item in self.collections.diff(&later.collections) {
            let nothing = Collection::named("");
            let (key, before, after) = match item {
                imbl::ordmap::DiffItem::Add(key, after) => (key, &nothing, after),
                imbl::ordmap::DiffItem::Remove(key, before) => (key, before, &nothing),
                imbl::ordmap::DiffItem::Update { old, new } => (new.0, old.1, new.1),
            };
            before.diff(after, |id, before, after| {
                found.push(Difference { scope: key.0.clone(), collection: key.1.clone(), id, before, after });
            });
        }
        found
    }

    /// The state as JSON: `{"format", "organization": {collection: [{"id", "document"}]}, "tenants": {id: {...}}}`, and
    /// `"organizations": {name: {...}}` when there are others, `"blobs": {name: base64}` when there is content, `"audits": {id: [event]}` when something happened.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut organization = Map::new();
        let mut others = Map::new();
        let mut tenants = Map::new();
        for ((scope, name), collection) in &self.collections {
            let list: Vec<Value> =
                collection.iter().map(|(id, document)| json!({"id": id, "document": &**document})).collect();
            let home = match scope {
                Scope::Organization => &mut organization,
                Scope::Another(id) | Scope::Tenant(id) => {
                    let homes = if matches!(scope, Scope::Another(_)) { &mut others } else { &mut tenants };
                    let home = homes.entry(id.to_string()).or_insert_with(|| Value::Object(Map::new()));
                    home.as_object_mut().expect("made as an object one line above")
                }
            };
            home.insert(name.to_string(), Value::Array(list));
        }
        let mut json = json!({"format": FORMAT, "organization": organization, "tenants": tenants});
        if !others.is_empty() {
            json["organizations"] = Value::Object(others);
        }
        let blobs: Map<String, Value> =
            self.blobs.iter().map(|(name, bytes)| (name.to_string(), json!(STANDARD.encode(bytes)))).collect();
        if !blobs.is_empty() {
            json["blobs"] = Value::Object(blobs);
        }
        let audits: Map<String, Value> = self
            .trails
            .iter()
            .map(|(tenant, trail)| (tenant.to_string(), trail.iter().map(|event| event.to_json()).collect()))
            .collect();
        if !audits.is_empty() {
            json["audits"] = Value::Object(audits);
        }
        json
    }

    /// The state that [`State::to_json`] wrote.
    ///
    /// # Errors
    /// When the value has another form or a newer format.
    pub fn from_json(value: &Value) -> Result<Self, NotAState> {
        let wrong = |text: &str| NotAState(text.to_owned());
        match value.get("format").and_then(Value::as_u64) {
            Some(FORMAT) => {}
            Some(other) => return Err(NotAState(format!("its format is {other}, this version reads {FORMAT}"))),
            None => return Err(wrong("it has no `format`")),
        }
        let mut state = Self::default();
        for (name, encoded) in value.get("blobs").and_then(Value::as_object).into_iter().flatten() {
            let bytes = encoded.as_str().and_then(|encoded| STANDARD.decode(encoded).ok());
            let bytes = bytes.filter(|bytes| *blobs::name(bytes) == **name);
            state.keep(bytes.ok_or_else(|| NotAState(format!("blob `{name}` is not what its name says")))?.into());
        }
        let organization = value.get("organization").ok_or_else(|| wrong("it has no `organization`"))?;
        state.read_collections(&Scope::Organization, organization)?;
        for (name, collections) in value.get("organizations").and_then(Value::as_object).into_iter().flatten() {
            state.read_collections(&Scope::Another(name.as_str().into()), collections)?;
        }
        let tenants = value.get("tenants").and_then(Value::as_object).ok_or_else(|| wrong("it has no `tenants`"))?;
        for (id, collections) in tenants {
            state.read_collections(&Scope::tenant(id), collections)?;
        }
        for (tenant, events) in value.get("audits").and_then(Value::as_object).into_iter().flatten() {
            let tenant: Arc<str> = tenant.as_str().into();
            for event in events.as_array().into_iter().flatten() {
                let event = Event::from_json(event).ok_or_else(|| NotAState(format!("not an event: {event}")))?;
                state.happened(&tenant, Arc::new(event));
            }
        }
        Ok(state)
    }

    fn read_collections(&mut self, scope: &Scope, collections: &Value) -> Result<(), NotAState> {
        let wrong = |name: &str| NotAState(format!("collection `{name}` is not a list of {{\"id\", \"document\"}}"));
        let collections = collections.as_object().ok_or_else(|| wrong("*"))?;
        for (name, list) in collections {
            for item in list.as_array().ok_or_else(|| wrong(name))? {
                let id = item.get("id").and_then(Value::as_str).ok_or_else(|| wrong(name))?;
                let document = item.get("document").ok_or_else(|| wrong(name))?;
                self.put(scope, name, id, Arc::new(document.clone()));
            }
        }
        Ok(())
    }
}

/// What the organization says about itself: its only document of that kind.
pub(super) const SELF: &str = "self";
