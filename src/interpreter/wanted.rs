//! What a request asks to be there, and how to recognise it.

use serde_json::{Map, Value};

use super::shown::{Shown, shows};
use crate::contract::{From, NaturalKey, Same, contract};
use crate::operation::{Body, Content, Part, Request, secret};

/// One thing that a request asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    /// Its fields.
    pub(super) document: Value,
    file: Option<File>,
}

/// The zip that a form carries.
#[derive(Clone, Debug, PartialEq)]
struct File {
    /// What the zip holds, by its name.
    name: Option<String>,
    /// `None` where it cannot be known without reading the file.
    md5: Option<String>,
}

/// The things that a request asks for, when it holds all that makes them recognisable by `key`.
pub(super) fn wanted(key: &NaturalKey, request: &Request) -> Option<Vec<Wanted>> {
    let (document, file) = match &request.body {
        _ if key.from == From::Query => {
            let said = request.query.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
            (Value::Object(said.collect()), None)
        }
        Body::Json(document) => (document.clone(), None),
        Body::Multipart(parts) => {
            let file = key.file.as_ref().and_then(|file| parts.iter().find(|part| part.name == file.part));
            (form(parts.iter().filter(|part| part.file_name.is_none())), file.map(File::of))
        }
        Body::Empty | Body::File { .. } | Body::Exported { .. } => return None,
    };
    let document = at_path(key, request, document);
    let documents = match &key.each {
        Some(each) => document.pointer(each)?.as_array()?.clone(),
        None => vec![document],
    };
    let complete = |document: &Value| key.same.iter().all(|same| value(same, &same.request, document).is_some());
    if documents.is_empty() || !documents.iter().all(complete) || (key.file.is_some() && file.is_none() && named(key)) {
        return None;
    }
    Some(documents.into_iter().map(|document| Wanted { document, file: file.clone() }).collect())
}

/// The document with what the request's path says of the thing.
fn at_path(key: &NaturalKey, request: &Request, mut document: Value) -> Value {
    if key.path.is_empty() {
        return document;
    }
    let variables = contract().find(&request.method, &request.path).map(|(_, variables)| variables).unwrap_or_default();
    for (variable, field) in &key.path {
        if let (Some(fields), Some(value)) = (document.as_object_mut(), variables.get(variable)) {
            fields.insert(field.trim_start_matches('/').to_owned(), value.as_str().into());
        }
    }
    document
}

/// Whether the file tells which thing it is.
fn named(key: &NaturalKey) -> bool {
    key.file.as_ref().is_some_and(|file| file.name.is_some())
}

/// What a form says in its JSON parts; an object among them says it of the thing itself.
fn form<'p>(parts: impl Iterator<Item = &'p Part>) -> Value {
    let mut fields = Map::new();
    for part in parts {
        match &part.content {
            Content::Json(Value::Object(members)) => fields.extend(members.clone()),
            Content::Json(value) => {
                fields.insert(part.name.clone(), value.clone());
            }
            Content::File { .. } | Content::Text(_) | Content::Bundle(_) => {}
        }
    }
    Value::Object(fields)
}

/// What stands at `pointer`, or what it is when nothing is said. A secret makes nothing recognisable.
fn value<'d>(same: &'d Same, pointer: &str, document: &'d Value) -> Option<&'d Value> {
    let said = document.pointer(pointer).filter(|value| !value.is_null());
    said.or(same.default.as_ref()).filter(|value| secret::name(value).is_none())
}

impl Wanted {
    /// Its fields, with what may have become of them in `item` since it was made.
    fn since(&self, key: &NaturalKey, item: &Value) -> Value {
        let mut document = self.document.clone();
        for same in key.same.iter().filter(|same| !same.becomes.is_empty()) {
            if let Some(field) = document.pointer_mut(&same.request)
                && let Some(became) = field.as_str().and_then(|text| same.becomes.get(text))
                && let Some(held) = item.pointer(&same.item).and_then(Value::as_str)
                && became.iter().any(|became| became == held)
            {
                *field = Value::from(held);
            }
        }
        document
    }

    /// Whether `item` has its natural key, exactly.
    pub(super) fn is(&self, key: &NaturalKey, item: &Value) -> bool {
        let document = self.since(key, item);
        let same = key.same.iter().all(|same| {
            let wanted = value(same, &same.request, &document);
            wanted.is_some() && wanted == value(same, &same.item, item)
        });
        let named = match (key.file.as_ref().and_then(|file| file.name.as_ref()), &self.file) {
            (Some(field), Some(file)) => {
                let held = item.pointer(field).and_then(Value::as_str);
                let held = held.map(|name| name.strip_suffix(".qext").unwrap_or(name));
                held.is_some() && held == file.name.as_deref()
            }
            (Some(_), None) => false,
            (None, _) => true,
        };
        same && named
    }

    /// Whether `item` shows all the rest that was asked for.
    pub(super) fn shows(&self, key: &NaturalKey, item: &Value) -> Shown {
        let content = match (&key.file, &self.file) {
            (Some(field), Some(file)) => {
                let wanted = file.md5.as_deref().map_or(Value::Null, Value::from);
                match item.pointer(&field.md5) {
                    Some(held) if !wanted.is_null() => shows(&wanted, held),
                    _ => Shown::Untold,
                }
            }
            _ => Shown::So,
        };
        content.max(shows(&self.since(key, item), item))
    }

    /// The parameters that narrow the list.
    pub(super) fn query(&self, key: &NaturalKey) -> Vec<(String, String)> {
        let text = |pointer: &String| self.document.pointer(pointer).and_then(Value::as_str);
        let plain = key.query.iter().filter_map(|(name, pointer)| Some((name.clone(), text(pointer)?.to_owned())));
        // A SCIM filter writes texts as JSON does (RFC 7644, section 3.4.2.2).
        let filter = key.filter.iter().filter_map(|(field, pointer)| {
            Some(("filter".to_owned(), format!("{field} eq {}", Value::from(text(pointer)?))))
        });
        plain.chain(filter).collect()
    }
}

impl File {
    fn of(part: &Part) -> Self {
        let sent = part.file_name.as_deref().map(|name| name.strip_suffix(".zip").unwrap_or(name).to_owned());
        match &part.content {
            Content::Bundle(bundle) => {
                Self { name: named_by(bundle.files().map(|(path, _)| path)).or(sent), md5: bundle.zip_md5().ok() }
            }
            // A record names the files of a bundle.
            Content::Json(Value::Object(files)) => {
                Self { name: named_by(files.keys().map(String::as_str)).or(sent), md5: None }
            }
            Content::File { .. } | Content::Text(_) | Content::Json(_) => Self { name: sent, md5: None },
        }
    }
}

/// The one `.qext` file at the top names a theme or an extension, whatever its zip is called.
fn named_by<'f>(files: impl Iterator<Item = &'f str>) -> Option<String> {
    let mut tops = files.filter_map(|path| path.strip_suffix(".qext")).filter(|name| !name.contains('/'));
    tops.next().filter(|_| tops.next().is_none()).map(str::to_owned)
}
