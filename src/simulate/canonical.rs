//! A sandbox's state without what chance and the clock decided: equal for equal outcomes.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use crate::sandbox::State;

/// What a state holds, one line for each document, with names in place of ids and without times.
///
/// Ids, random host labels and the like are replaced by what people know the document by, wherever they stand; times
/// and certificates by a word. Documents are sorted, so the order in which they were made does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical(Vec<String>);

impl Canonical {
    /// The canonical form of a state.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let json = state.to_json();
        let documents = documents(&json);
        let mut names = BTreeMap::new();
        let client = json["organization"]["organization"][0]["document"]["clientId"].as_str();
        names.extend(client.map(|client| (client.to_owned(), "<client>".to_owned())));
        for document in &documents {
            name(&mut names, document);
        }
        // Once more: what a document is known by may hold the id of another.
        for document in &documents {
            name(&mut names, document);
        }
        let mut lines: Vec<String> = documents
            .iter()
            .map(|document| {
                let scope =
                    document.scope.map_or("organization", |scope| names.get(scope).map_or(scope, String::as_str));
                let id = replaced(document.id, &names);
                let mut value = plain(document.value, &names);
                value.sort_all_objects();
                format!("{scope} {}/{id} {value}", document.collection)
            })
            .collect();
        lines.sort();
        Self(lines)
    }

    /// The lines that only one of the two has: `-` for those of `self`, `+` for those of `other`.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
        for line in &self.0 {
            *counts.entry(line).or_default() -= 1;
        }
        for line in &other.0 {
            *counts.entry(line).or_default() += 1;
        }
        let sides = counts.into_iter().filter(|(_, count)| *count != 0);
        sides
            .map(|(line, count)| match count {
                1 => format!("+ {line}"),
                -1 => format!("- {line}"),
                more if more > 0 => format!("+ {more} times {line}"),
                less => format!("- {} times {line}", -less),
            })
            .collect()
    }
}

impl fmt::Display for Canonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Collections of which it does not matter how often something was put into them. A login may be tried again, each time with a
/// token that is good once; a client whose secret was lost gets another; a temporary file is gone after an hour.
pub(super) const REPEATED: [&str; 3] = ["usedTokens", "oauthSecrets", "tempContents"];

struct Document<'s> {
    /// The tenant's id; none for the organization's.
    scope: Option<&'s str>,
    collection: &'s str,
    id: &'s str,
    value: &'s Value,
}

fn documents(state: &Value) -> Vec<Document<'_>> {
    let mut all = Vec::new();
    let tenants = state["tenants"].as_object().into_iter().flatten();
    let homes = tenants.map(|(id, home)| (Some(id.as_str()), home)).chain([(None, &state["organization"])]);
    for (scope, home) in homes {
        for (collection, list) in home.as_object().into_iter().flatten() {
            // What the organization is given, its secrets among it, no playbook changes.
            if (scope.is_none() && collection == "organization") || REPEATED.contains(&collection.as_str()) {
                continue;
            }
            for item in list.as_array().into_iter().flatten() {
                let id = item["id"].as_str().unwrap_or_default();
                all.push(Document { scope, collection, id, value: &item["document"] });
            }
        }
    }
    all
}

/// Gives the document's id, and a tenant's host label, the name people know it by.
fn name(names: &mut BTreeMap<String, String>, document: &Document<'_>) {
    const FIELDS: [&str; 9] =
        ["subject", "name", "qName", "clientName", "origin", "provider", "assigneeId", "spaceId", "type"];
    let label = document.value["hostnames"][0].as_str().and_then(|host| host.split('.').next());
    let known = if document.collection == "tenants" {
        // A tenant without a name is called by its host's label.
        let name = document.value["name"].as_str().filter(|name| Some(*name) != label);
        name.unwrap_or("unnamed").to_owned()
    } else {
        let told = FIELDS.iter().filter_map(|field| document.value[*field].as_str());
        told.map(|text| replaced(text, names)).collect::<Vec<String>>().join(" ")
    };
    let known = format!("<{} {known}>", document.collection);
    if let Some(label) = label {
        names.insert(label.to_owned(), format!("{known}-host"));
    }
    // Chance also made the token by which an automation is started, the ids of its schedules, and of a connection's credentials.
    let others = ["executionToken", "qCredentialsID"].iter().filter_map(|field| document.value[*field].as_str());
    let schedules = document.value["schedules"].as_array().into_iter().flatten();
    for within in others.chain(schedules.filter_map(|schedule| schedule["id"].as_str())) {
        names.insert(within.to_owned(), format!("{known}-within"));
    }
    if is_random(document.id) {
        names.insert(document.id.to_owned(), known);
    }
}

/// Whether chance made this id.
fn is_random(id: &str) -> bool {
    id.len() >= 24 && id.bytes().all(is_of_id)
}

fn is_of_id(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn plain(value: &Value, names: &BTreeMap<String, String>) -> Value {
    match value {
        Value::String(text) => json!(replaced(text, names)),
        Value::Array(items) => items.iter().map(|item| plain(item, names)).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), plain(value, names))).collect(),
        other => other.clone(),
    }
}

/// A text with names in place of ids, and a word in place of a moment or a certificate.
fn replaced(text: &str, names: &BTreeMap<String, String>) -> String {
    if text.parse::<jiff::Timestamp>().is_ok() {
        return "<time>".to_owned();
    }
    if text.starts_with("-----BEGIN CERTIFICATE-----") {
        return "<certificate>".to_owned();
    }
    let mut done = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest.bytes().take_while(|byte| is_of_id(*byte)).count();
        let (word, after) = rest.split_at(word);
        done.push_str(names.get(word).map_or(word, String::as_str));
        let mut others = after.chars();
        done.extend(others.next());
        rest = others.as_str();
    }
    done
}
