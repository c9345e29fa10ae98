//! Values that a service chooses, by name: what a plan has in place of an id that does not exist yet.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::BuildHasher;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::operation::{Call, HeaderText, Key, Operation, Request};

/// Values that were chosen elsewhere, each with the name by which a plan knows it.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    names: HashMap<String, String>,
    /// The names that have a value.
    bound: HashSet<String>,
}

/// Where a value that the service chooses stands in the answer to an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Symbol {
    /// The operation.
    pub key: Key,
    /// The JSON pointer to the value in the answer; empty when it is the answer.
    pub pointer: String,
    /// The `name` of the item of a list that holds it: another answer may have the items in another order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// The name it has from another answer: several may show the same value, and any of them may come first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<String>,
}

impl Symbol {
    /// How requests of the plan refer to it.
    #[must_use]
    pub fn name(&self) -> String {
        self.named.clone().unwrap_or_else(|| format!("${{{}{}}}", self.key, self.pointer))
    }

    /// The value in an answer.
    #[must_use]
    pub fn find<'a>(&self, answer: &'a Value) -> Option<&'a str> {
        let Some(of) = &self.of else { return answer.pointer(&self.pointer)?.as_str() };
        let (list, rest) = split(&self.pointer)?;
        let items = answer.pointer(list)?.as_array()?;
        items.iter().find(|item| item["name"] == **of)?.pointer(rest)?.as_str()
    }
}

/// The pointer to a list and the one within its item: `/data` and `/id` of `/data/3/id`.
fn split(pointer: &str) -> Option<(&str, &str)> {
    let rest = pointer.strip_prefix("/data/")?;
    let end = rest.find('/')?;
    rest[..end].parse::<usize>().ok()?;
    Some((&pointer[..5], &rest[end..]))
}

impl Symbols {
    /// Notes a value by its name. A value that has one keeps it.
    ///
    /// A name that has one does not get another by where else it was seen: lists of ids come in any order.
    pub fn note(&mut self, value: &str, symbol: &Symbol) {
        let is_known = !self.bound.insert(symbol.name());
        if is_known && symbol.named.is_some() {
            return;
        }
        self.names.entry(value.to_owned()).or_insert_with(|| symbol.name());
        // Certificates travel in one line.
        if value.contains('\n') {
            let line: String = value.chars().filter(|sign| !matches!(sign, '\r' | '\n')).collect();
            self.names.entry(line.trim().to_owned()).or_insert_with(|| symbol.name());
        }
    }

    /// The name of a value.
    #[must_use]
    pub fn name_of(&self, value: &str) -> Option<&str> {
        self.names.get(value).map(String::as_str)
    }

    /// What an operation does, with names in place of values that were chosen.
    #[must_use]
    pub fn canonical(&self, operation: &Operation) -> Value {
        let mut whole = match &operation.call {
            Call::Local { arguments } => json!({ "arguments": self.named(arguments) }),
            Call::Request(request) => self.request(request),
        };
        whole["operation"] = json!(operation.id);
        whole.sort_all_objects();
        whole
    }

    fn request(&self, request: &Request) -> Value {
        let headers: Map<String, Value> = request
            .headers
            .iter()
            .map(|(name, text)| {
                let text = match text {
                    HeaderText::Text(text) => self.text(text),
                    HeaderText::Bearer(_) => "***".to_owned(),
                };
                (name.clone(), Value::String(text))
            })
            .collect();
        let query: Vec<Value> = request.query.iter().map(|(name, value)| json!([name, self.text(value)])).collect();
        let mut whole = json!({
            "host": self.text(&request.host.name()),
            "method": request.method.as_str(),
            "path": self.text(&request.path),
            "body": self.named(&request.body.describe()),
        });
        if !query.is_empty() {
            whole["query"] = Value::Array(query);
        }
        if !headers.is_empty() {
            whole["headers"] = Value::Object(headers);
        }
        whole
    }

    /// A document with names in place of values that were chosen.
    #[must_use]
    pub fn named(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.named(item)).collect(),
            Value::Object(map) => map.iter().map(|(key, item)| (self.text(key), self.named(item))).collect(),
            plain => plain.clone(),
        }
    }

    /// A text with names in place of values that were chosen.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        if let Some(name) = self.names.get(text) {
            return name.clone();
        }
        let mut named = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(|sign| !is_of_word(sign)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            named.push_str(self.names.get(word).map_or(word, String::as_str));
            let next = after.chars().next().map_or(0, char::len_utf8);
            named.push_str(&after[..next]);
            rest = &after[next..];
        }
        named
    }
}

/// What ids, host names and times are made of.
fn is_of_word(sign: char) -> bool {
    sign.is_ascii_alphanumeric() || matches!(sign, '-' | '.' | '_' | ':')
}

/// The values in an answer that look as if the service had chosen them.
#[must_use]
pub fn chosen(key: &Key, answer: &Value) -> Vec<(Symbol, String)> {
    let mut found = Vec::new();
    walk(answer, &mut String::new(), None, &mut |pointer, of, value| {
        if is_chosen(value) || pointer.ends_with("/id") && is_id(value) {
            let symbol =
                Symbol { key: key.clone(), pointer: pointer.to_owned(), of: of.map(str::to_owned), named: None };
            found.push((symbol, value.to_owned()));
        }
    });
    found
}

/// The words of a document that could be taken for ones that a service chose.
pub fn words<S: BuildHasher>(document: &Value, found: &mut HashSet<String, S>) {
    match document {
        Value::String(text) => {
            found.extend(text.split(|sign| !is_of_word(sign)).filter(|word| is_chosen(word)).map(str::to_owned));
        }
        Value::Array(items) => items.iter().for_each(|item| words(item, found)),
        Value::Object(map) => {
            if let Some(id) = map.get("id").and_then(Value::as_str).filter(|id| is_id(id)) {
                found.insert(id.to_owned());
            }
            map.values().for_each(|item| words(item, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn walk<'v>(
    value: &'v Value,
    pointer: &mut String,
    of: Option<&'v str>,
    found: &mut impl FnMut(&str, Option<&str>, &'v str),
) {
    let length = pointer.len();
    match value {
        Value::String(text) => found(pointer, of, text),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let _ = write!(pointer, "/{index}");
                let of = if &pointer[..length] == "/data" { item["name"].as_str() } else { of };
                walk(item, pointer, of, found);
                pointer.truncate(length);
            }
        }
        Value::Object(map) => {
            for (name, item) in map.iter().filter(|(name, _)| *name != "links") {
                pointer.push('/');
                pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
                walk(item, pointer, of, found);
                pointer.truncate(length);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// An id is one by its place, when chance has left out the digits: that of a tenant is 32 letters, digits and signs.
fn is_id(value: &str) -> bool {
    value.len() >= 20 && value.chars().all(is_of_word)
}

/// Ids, host names, times and certificates: long, without spaces, with a digit somewhere. One of few different signs is
/// the same everywhere, as the id of the group of everyone is.
fn is_chosen(value: &str) -> bool {
    let various = || value.bytes().collect::<HashSet<u8>>().len() >= 5;
    value.starts_with("-----BEGIN ")
        || (value.len() >= 12
            && various()
            && value.chars().all(is_of_word)
            && (value.bytes().any(|byte| byte.is_ascii_digit()) || value.ends_with(".qlikcloud.com")))
}
