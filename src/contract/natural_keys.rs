//! How to find out whether a write took place when its answer is missing.

use std::collections::{BTreeMap, HashMap};

use http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::published::Published;
use super::{Contract, EMBEDDED, contract};
use crate::operation::Effect;

const SOURCE: &str = include_str!("../../contract/natural_keys.toml");

/// The natural keys by operation, in the order of the file.
pub(super) type NaturalKeys = HashMap<String, Vec<NaturalKey>>;

/// How one looks whether a write took place.
#[derive(Clone, Copy, Debug)]
pub enum LookUp {
    /// Not at all: performing it again changes nothing more.
    Harmless,
    /// By what makes the thing it is. The first entry whose fields the request holds is the one.
    ByKey(&'static [NaturalKey]),
    /// By whether `read`, a GET of the same path, shows what the request sets.
    ByState {
        /// The operation that shows it.
        read: &'static Published,
    },
    /// By whether `read`, a GET of the same path, still finds it.
    ByAbsence {
        /// The operation that finds it.
        read: &'static Published,
    },
    /// By whether its id, the last part of the path, is still in the list that the rest of the path names.
    ByAbsenceIn {
        /// The operation that lists.
        list: &'static Published,
    },
}

/// What makes a thing the one that was asked for, and where to look for it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NaturalKey {
    /// The thing, as a message names it: `a space of this name`.
    pub thing: String,
    of: Vec<String>,
    /// Where the request says what it wants.
    #[serde(default)]
    pub from: From,
    /// The operation that lists what is there; without one, a GET of the request's own path shows the thing.
    #[serde(default)]
    list: Option<String>,
    /// Variables of the request's path, each with a JSON pointer to the field of the item that it is.
    #[serde(default)]
    pub path: BTreeMap<String, String>,
    /// Parameters of the list, each with a JSON pointer to what fills it.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// A SCIM filter of the list: a field of its items, and a JSON pointer to what it must be.
    #[serde(default)]
    pub filter: BTreeMap<String, String>,
    /// A JSON pointer to the list in the request whose every item is one thing.
    #[serde(default)]
    pub each: Option<String>,
    /// What must be equal.
    #[serde(default)]
    pub same: Vec<Same>,
    /// The zip that is the thing's content.
    #[serde(default)]
    pub file: Option<FileKey>,
    /// A JSON pointer to the time since when an item is there.
    #[serde(default)]
    pub created: Option<String>,
    /// Whether there may be older ones of the same key, each made by a request of its own.
    #[serde(default)]
    pub piles: bool,
    /// What the answer to the write holds, where it is not the item itself: JSON pointers in it, each with one in the item.
    #[serde(default)]
    pub told: BTreeMap<String, String>,
    /// What performing it a second time does.
    pub repeat: Repeat,
    /// Whether it was performed when there is none.
    #[serde(default)]
    pub gone: bool,
    /// For readers of the file.
    #[serde(rename = "source")]
    _source: String,
}

/// A field of the request and the field of the item that must be equal to it, as JSON pointers.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Written")]
pub struct Same {
    /// In the request, or in one item of its list.
    pub request: String,
    /// In the item that was found.
    pub item: String,
    /// What either is when it is not said.
    pub default: Option<Value>,
    /// What a value may have become since the thing was made.
    pub becomes: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Both(String),
    Apart {
        request: String,
        item: String,
        #[serde(default)]
        default: Option<Value>,
        #[serde(default)]
        becomes: BTreeMap<String, Vec<String>>,
    },
}

impl std::convert::From<Written> for Same {
    fn from(written: Written) -> Self {
        match written {
            Written::Both(field) => {
                Self { request: field.clone(), item: field, default: None, becomes: BTreeMap::new() }
            }
            Written::Apart { request, item, default, becomes } => Self { request, item, default, becomes },
        }
    }
}

/// A zip in a form, and the fields of an item that are made from it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileKey {
    /// The part of the form.
    pub part: String,
    /// A JSON pointer to the name of what the zip holds; without one, the name tells nothing.
    #[serde(default)]
    pub name: Option<String>,
    /// A JSON pointer to the zip's MD5.
    pub md5: String,
}

/// Where a request says what it wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// In its body.
    #[default]
    Body,
    /// In its query.
    Query,
}

/// What performing an operation a second time does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Repeat {
    /// It is refused: there is never a second one.
    Refused,
    /// It may make a second one.
    Another,
    /// It changes nothing more.
    Harmless,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    natural_keys: Vec<NaturalKey>,
}

/// Reads the embedded file.
pub(super) fn read() -> NaturalKeys {
    let file: File = toml::from_str(SOURCE).expect(EMBEDDED);
    let mut keys = NaturalKeys::new();
    for entry in file.natural_keys {
        for id in &entry.of {
            keys.entry(id.clone()).or_default().push(entry.clone());
        }
    }
    keys
}

impl NaturalKey {
    /// The operation that lists what is there, when there is one.
    #[must_use]
    pub fn list(&self) -> Option<&'static Published> {
        self.list.as_deref().map(|id| contract().operation(id).expect(EMBEDDED))
    }
}

impl Contract {
    /// The operation that reads what is at this path (a template).
    fn reads(&self, path: &str) -> Option<&Published> {
        let entry = self.entries.iter().find(|entry| entry.method == Method::GET && entry.path == path)?;
        Some(self.facts(entry)).filter(|read| read.answers_json())
    }
}

impl Published {
    /// The operation that shows what is at this operation's path, when there is one.
    #[must_use]
    pub fn shown_by(&self) -> Option<&'static Self> {
        contract().reads(self.path)
    }

    /// Whether somebody who reads this list may decide by it to make a thing of which the service would make a second one.
    #[must_use]
    pub fn decides_a_create(&self) -> bool {
        let mut keys = contract().natural_keys().values().flatten();
        keys.any(|key| key.repeat == Repeat::Another && key.list.as_deref() == Some(self.id))
    }

    /// How to find out whether this write took place; `None` when nothing tells. What only reads is harmless.
    ///
    /// The natural keys stand in `contract/natural_keys.toml`, with the rules for the rest.
    #[must_use]
    pub fn look_up(&self) -> Option<LookUp> {
        let contract = contract();
        if let Some(keys) = contract.natural_keys().get(self.id) {
            let blind = keys.iter().all(|key| key.list.is_none() && key.file.is_none());
            return Some(if blind { LookUp::Harmless } else { LookUp::ByKey(keys) });
        }
        // By HTTP's own rules; of a PATCH only the request itself knows.
        let harmless = [Method::PUT, Method::DELETE].contains(&self.method).then_some(LookUp::Harmless);
        match self.effect {
            Effect::Read | Effect::Probe => Some(LookUp::Harmless),
            Effect::Update if [Method::PUT, Method::PATCH].contains(&self.method) => {
                let json = self.body.as_ref().is_some_and(|body| body.kind.is_json());
                self.shown_by().filter(|_| json).map_or(harmless, |read| Some(LookUp::ByState { read }))
            }
            Effect::Delete if self.method == Method::DELETE => {
                if let Some(read) = self.shown_by() {
                    return Some(LookUp::ByAbsence { read });
                }
                let list = self.path.rsplit_once('/').filter(|(_, id)| id.starts_with('{'));
                match list.and_then(|(parent, _)| contract.reads(parent)) {
                    Some(list) => Some(LookUp::ByAbsenceIn { list }),
                    None => harmless,
                }
            }
            Effect::Create | Effect::Act | Effect::Update | Effect::Delete => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::published::{BodyKind, ParameterPlace};
    use super::super::schema::Schema;
    use super::*;

    fn steps(pointer: &str) -> Vec<&str> {
        assert!(pointer.starts_with('/'), "{pointer}");
        pointer.split('/').skip(1).map(|step| if step.parse::<usize>().is_ok() { "*" } else { step }).collect()
    }

    /// The items of the lists, or the one document, that an operation answers with.
    fn holds(read: &Published, pointer: &str) -> bool {
        let mut item = vec!["data", "*"];
        item.extend(steps(pointer));
        let answers = read.answers().iter().filter(|answer| answer.status.starts_with('2'));
        let mut schemas = answers.filter_map(|answer| answer.schema.as_ref()).map(super::super::schema::Lazy::get);
        schemas.any(|schema| schema.leads(&item) || schema.leads(&steps(pointer)))
    }

    fn takes(published: &Published, key: &NaturalKey, pointer: &str) -> bool {
        // What its path says joins the fields of the request.
        if key.path.iter().any(|(name, held)| held == pointer && published.variables().any(|known| known == name)) {
            return true;
        }
        if key.from == From::Query {
            return published.parameters_in(ParameterPlace::Query).any(|known| format!("/{}", known.name) == pointer);
        }
        let schema: &Schema = published.body.as_ref().expect(published.id).schema();
        let mut field = Vec::new();
        if let Some(each) = &key.each {
            field.extend(steps(each));
            field.push("*");
        }
        field.extend(steps(pointer));
        // An object among the parts of a form says what it says of the thing itself.
        let mut parts = Vec::new();
        if published.body.as_ref().is_some_and(|body| body.kind == BodyKind::Multipart) {
            schema.known(&mut parts);
        }
        let within = |part: &&str| schema.leads(&[&[*part], &field[..]].concat());
        schema.leads(&field) || parts.iter().any(within)
    }

    /// A misspelt name would find nothing, and what finds nothing is done once more.
    #[test]
    fn every_entry_names_operations_parameters_and_fields_that_exist() {
        let contract = contract();
        for (id, keys) in contract.natural_keys() {
            let published = contract.operation(id).unwrap_or_else(|| panic!("{id}"));
            assert!(published.effect.is_write(), "{id}");
            for key in keys {
                let list = match &key.list {
                    Some(list) => contract.operation(list).unwrap_or_else(|| panic!("{list}")),
                    None if key.file.is_some() => contract.reads(published.path).expect(id),
                    None => {
                        assert_eq!(key.repeat, Repeat::Harmless, "{id}: what is not looked up must do no harm");
                        continue;
                    }
                };
                assert_eq!(list.effect, Effect::Read, "{id}");
                assert!(list.variables().all(|name| published.variables().any(|known| known == name)), "{id}");
                let query: Vec<&str> = list.parameters_in(ParameterPlace::Query).map(|known| known.name).collect();
                for (name, pointer) in &key.query {
                    assert!(query.contains(&name.as_str()), "{id} {name}");
                    assert!(takes(published, key, pointer), "{id} {pointer}");
                }
                for (field, pointer) in &key.filter {
                    assert!(query.contains(&"filter"), "{id} filter");
                    assert!(holds(list, &format!("/{field}")) && takes(published, key, pointer), "{id} {pointer}");
                }
                for same in &key.same {
                    let optional = same.default.is_some();
                    assert!(optional || takes(published, key, &same.request), "{id} {}", same.request);
                    assert!(holds(list, &same.item), "{id} {}", same.item);
                }
                if let Some(created) = &key.created {
                    assert!(holds(list, created), "{id} {created}");
                }
                for (answer, item) in &key.told {
                    assert!(holds(published, answer) && holds(list, item), "{id} {answer} {item}");
                }
                assert!(!key.piles || key.created.is_some(), "{id}: which are older must be told");
                if let Some(file) = &key.file {
                    assert_eq!(published.body.as_ref().expect(id).kind, BodyKind::Multipart, "{id}");
                    assert!(takes(published, key, &format!("/{}", file.part)), "{id} {}", file.part);
                    // What is inside `file` is not published.
                    let top = |pointer: &String| pointer.split('/').take(2).collect::<Vec<_>>().join("/");
                    assert!(file.name.iter().chain([&file.md5]).all(|field| holds(list, &top(field))), "{id}");
                }
                assert!(key.filter.len() <= 1 && (!key.same.is_empty() || key.file.is_some()), "{id}");
            }
        }
    }
}
