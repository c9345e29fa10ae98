//! One collection of documents: by id, in order, and by the fields they are looked up with.

use std::ops::RangeBounds;
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use imbl::{OrdMap, OrdSet};
use serde_json::Value;

use super::state::Document;

/// The fields by which documents of a collection are looked up. Without an entry here a look-up still works, by
/// walking the collection.
fn keys(collection: &str) -> &'static [&'static str] {
    match collection {
        "tenants" => &["hostnames", "region", "status"],
        "seats" => &["subject", "type"],
        "users" => &["subject", "email"],
        "groups" | "roles" | "spaces" | "webIntegrations" | "ipPolicies" | "collections" => &["name"],
        "assignments" | "shares" => &["spaceId", "assigneeId"],
        "apps" => &["spaceId", "originAppId"],
        "reloads" => &["appId", "resourceId"],
        "tasks" => &["resourceId"],
        "dataFiles" | "dataConnections" => &["spaceId"],
        "collectionItems" => &["collectionId", "resourceId"],
        "cspOrigins" => &["origin"],
        "themes" | "extensions" => &["qextFilename"],
        "oauthSecrets" => &["clientId"],
        _ => &[],
    }
}

#[derive(Clone, Debug)]
struct Entry {
    id: Arc<str>,
    document: Document,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && (Arc::ptr_eq(&self.document, &other.document) || self.document == other.document)
    }
}

/// Documents by id, in the order in which they were first stored.
#[derive(Clone, Debug)]
pub struct Collection {
    entries: OrdMap<u64, Entry>,
    places: OrdMap<Arc<str>, u64>,
    keys: &'static [&'static str],
    found_by: OrdMap<(&'static str, String), OrdSet<u64>>,
}

impl PartialEq for Collection {
    /// Whether both hold the same documents in the same order.
    fn eq(&self, other: &Self) -> bool {
        // Two states mostly share what they hold: what they do not share is looked at first.
        match self.entries.diff(&other.entries).next() {
            None => true,
            Some(DiffItem::Update { old, new }) if old.1.id == new.1.id => false,
            Some(_) => self.len() == other.len() && self.entries.values().eq(other.entries.values()),
        }
    }
}

impl Collection {
    /// An empty collection of this name.
    pub(super) fn named(name: &str) -> Self {
        Self { entries: OrdMap::new(), places: OrdMap::new(), keys: keys(name), found_by: OrdMap::new() }
    }

    /// How many documents there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The document with this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Document> {
        let place = self.places.get(id)?;
        Some(self.entries.get(place)?.document.clone())
    }

    /// All documents with their ids, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Document)> {
        self.entries.values().map(|entry| (&*entry.id, &entry.document))
    }

    /// Where a document stands in the order.
    pub(super) fn place_of(&self, id: &str) -> Option<u64> {
        self.places.get(id).copied()
    }

    /// The documents that stand at these places, oldest first, with their places.
    pub(super) fn range(&self, places: impl RangeBounds<u64>) -> impl DoubleEndedIterator<Item = (u64, &Document)> {
        self.entries.range(places).map(|(place, entry)| (*place, &entry.document))
    }

    /// All documents, oldest first.
    #[must_use]
    pub fn documents(&self) -> Vec<Document> {
        self.entries.values().map(|entry| entry.document.clone()).collect()
    }

    /// The documents, oldest first, whose text field, or one text of whose list field, equals `text` without regard
    /// to case.
    #[must_use]
    pub fn find(&self, field: &str, text: &str) -> Vec<Document> {
        let text = text.to_lowercase();
        if let Some(key) = self.keys.iter().find(|key| **key == field) {
            let places = self.found_by.get(&(*key, text));
            let entries = places.into_iter().flatten().filter_map(|place| self.entries.get(place));
            return entries.map(|entry| entry.document.clone()).collect();
        }
        let holds = |document: &Value| texts(document, field).any(|held| held.to_lowercase() == text);
        self.entries.values().map(|entry| &entry.document).filter(|held| holds(held)).cloned().collect()
    }

    /// How many documents [`find`](Self::find) finds; where the field is one that is looked up, without a walk.
    #[must_use]
    pub fn count(&self, field: &str, text: &str) -> usize {
        match self.keys.iter().find(|key| **key == field) {
            Some(key) => self.found_by.get(&(*key, text.to_lowercase())).map_or(0, OrdSet::len),
            None => self.find(field, text).len(),
        }
    }

    /// The oldest document whose text field equals `text`, case included.
    #[must_use]
    pub fn find_exact(&self, field: &str, text: &str) -> Option<Document> {
        self.find(field, text).into_iter().find(|document| texts(document, field).any(|held| held == text))
    }

    pub(super) fn put(&mut self, id: &str, document: Document) -> u64 {
        let place = match self.places.get(id) {
            Some(place) => *place,
            None => self.entries.get_max().map_or(0, |(last, _)| last + 1),
        };
        self.place(place, id, document);
        place
    }

    pub(super) fn place(&mut self, place: u64, id: &str, document: Document) {
        let id: Arc<str> = id.into();
        self.index(place, &document);
        self.places.insert(id.clone(), place);
        if let Some(before) = self.entries.insert(place, Entry { id, document: document.clone() }) {
            self.forget(place, &before.document, Some(&document));
        }
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Document> {
        let place = self.places.remove(id)?;
        let gone = self.entries.remove(&place)?.document;
        self.forget(place, &gone, None);
        Some(gone)
    }

    pub(super) fn diff(&self, later: &Self, mut report: impl FnMut(Arc<str>, Option<Document>, Option<Document>)) {
        // Places may differ between two states that grew apart, so what left one place and came to another is
        // matched by id before it is reported.
        let mut touched: Vec<Arc<str>> = Vec::new();
        for item in self.entries.diff(&later.entries) {
            match item {
                DiffItem::Add(_, entry) | DiffItem::Remove(_, entry) => {
                    touched.push(entry.id.clone());
                }
                DiffItem::Update { old, new } => touched.extend([old.1.id.clone(), new.1.id.clone()]),
            }
        }
        let mut seen = std::collections::HashSet::new();
        for id in touched {
            if seen.insert(id.clone()) {
                let (before, after) = (self.get(&id), later.get(&id));
                if before != after {
                    report(id, before, after);
                }
            }
        }
    }

    fn index(&mut self, place: u64, document: &Value) {
        for key in self.keys {
            for text in texts(document, key) {
                self.found_by.entry((*key, text.to_lowercase())).or_default().insert(place);
            }
        }
    }

    /// Takes `before` out of the index, but for what `after` holds as well.
    fn forget(&mut self, place: u64, before: &Value, after: Option<&Value>) {
        for key in self.keys {
            for text in texts(before, key) {
                let text = text.to_lowercase();
                if after.is_some_and(|after| texts(after, key).any(|held| held.to_lowercase() == text)) {
                    continue;
                }
                let slot = (*key, text);
                if let Some(places) = self.found_by.get_mut(&slot) {
                    places.remove(&place);
                    if places.is_empty() {
                        self.found_by.remove(&slot);
                    }
                }
            }
        }
    }
}

/// The text of a field, or the texts of a field that is a list.
fn texts<'d>(document: &'d Value, field: &str) -> impl Iterator<Item = &'d str> {
    let held = document.get(field);
    let list = held.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    held.and_then(Value::as_str).into_iter().chain(list.iter().filter_map(Value::as_str))
}
