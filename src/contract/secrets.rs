//! Which parts of a body are secrets.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use super::published::Published;
use super::{EMBEDDED, contract};
use crate::operation::secret;

const SOURCE: &str = include_str!("../../contract/secrets.toml");

/// A member below `**` is a secret when its name, in lower case, has one of these in it.
const SOUNDS_SECRET: [&str; 12] = [
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "privatekey",
    "apikey",
    "accesskey",
    "accountkey",
    "sharedkey",
];

/// Such a name is not a secret's after all: it tells where to fetch or how to find one.
const SOUNDS_OPEN: [&str; 4] = ["url", "uri", "endpoint", "id"];

/// The secret fields by operation.
pub(super) type Secrets = HashMap<String, Fields>;

/// The secret fields of one operation, as pointers with wildcards.
#[derive(Debug, Default)]
pub(super) struct Fields {
    request: Vec<String>,
    patch: Vec<String>,
    response: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    secrets: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// For readers of the file.
    #[serde(rename = "fields")]
    _fields: String,
    of: Vec<String>,
    #[serde(default)]
    request: Vec<String>,
    #[serde(default)]
    patch: Vec<String>,
    #[serde(default)]
    response: Vec<String>,
}

/// Reads the embedded file.
pub(super) fn read() -> Secrets {
    let file: File = toml::from_str(SOURCE).expect(EMBEDDED);
    let mut secrets = Secrets::new();
    for entry in file.secrets {
        for id in entry.of {
            let fields = secrets.entry(id).or_default();
            fields.request.extend_from_slice(&entry.request);
            fields.patch.extend_from_slice(&entry.patch);
            fields.response.extend_from_slice(&entry.response);
        }
    }
    secrets
}

impl Published {
    /// JSON pointers to every secret text in a JSON body that is sent. References to secrets are none: they give
    /// nothing away.
    #[must_use]
    pub fn secrets_in_request(&self, body: &Value) -> Vec<String> {
        let Some(fields) = contract().secrets().get(self.id) else { return Vec::new() };
        let mut found = Vec::new();
        for pattern in &fields.request {
            find(&steps(pattern), body, &mut String::new(), &mut found);
        }
        for (index, change) in body.as_array().into_iter().flatten().enumerate() {
            let (Some(path), Some(value)) = (change.get("path").and_then(Value::as_str), change.get("value")) else {
                continue;
            };
            for pattern in &fields.patch {
                if let Some(rest) = below(&steps(pattern), path) {
                    find(&rest, value, &mut format!("/{index}/value"), &mut found);
                }
            }
        }
        in_order(found)
    }

    /// JSON pointers to every secret text in a JSON body that came back.
    #[must_use]
    pub fn secrets_in_response(&self, body: &Value) -> Vec<String> {
        let Some(fields) = contract().secrets().get(self.id) else { return Vec::new() };
        let mut found = Vec::new();
        for pattern in &fields.response {
            find(&steps(pattern), body, &mut String::new(), &mut found);
        }
        in_order(found)
    }

    /// Whether an answer of this operation can hold secrets at all.
    #[must_use]
    pub fn answers_secrets(&self) -> bool {
        contract().secrets().get(self.id).is_some_and(|fields| !fields.response.is_empty())
    }
}

/// Puts what `replacement` makes of each secret text in its place. `pointers` come from
/// [`Published::secrets_in_request`] or [`Published::secrets_in_response`].
pub fn replace_secrets(body: &mut Value, pointers: &[String], mut replacement: impl FnMut(&str, &str) -> Value) {
    for pointer in pointers {
        if let Some(place) = body.pointer_mut(pointer)
            && let Some(text) = place.as_str()
        {
            *place = replacement(pointer, text);
        }
    }
}

fn in_order(mut found: Vec<String>) -> Vec<String> {
    found.sort_unstable();
    found.dedup();
    found
}

fn steps(pattern: &str) -> Vec<&str> {
    pattern.split('/').skip(1).collect()
}

/// What is left of a pattern when `path`, the place a change is made at, has been gone. `None`: it leads elsewhere.
fn below<'p>(pattern: &[&'p str], path: &str) -> Option<Vec<&'p str>> {
    let mut pattern = pattern.iter().copied().peekable();
    let mut path = path.strip_prefix('/').unwrap_or(path).split('/');
    while let Some(step) = path.next() {
        match pattern.peek() {
            // The change is inside a secret.
            None => break,
            Some(&"**") => {
                let inside = sounds_secret(step) || path.any(sounds_secret);
                return Some(if inside { Vec::new() } else { vec!["**"] });
            }
            Some(&wanted) if wanted == "*" || wanted == step => {
                pattern.next();
            }
            Some(_) => return None,
        }
    }
    Some(pattern.collect())
}

fn find(pattern: &[&str], value: &Value, at: &mut String, found: &mut Vec<String>) {
    let Some((first, rest)) = pattern.split_first() else {
        texts(value, at, found);
        return;
    };
    if secret::name(value).is_some() {
        return;
    }
    match (*first, value) {
        ("*" | "**", Value::Array(items)) => {
            let next = if *first == "*" { rest } else { pattern };
            for (index, item) in items.iter().enumerate() {
                step(at, &index.to_string(), |at| find(next, item, at, found));
            }
        }
        ("*", Value::Object(members)) => {
            for (name, member) in members {
                step(at, name, |at| find(rest, member, at, found));
            }
        }
        ("**", Value::Object(members)) => {
            for (name, member) in members {
                let next = if sounds_secret(name) { rest } else { pattern };
                step(at, name, |at| find(next, member, at, found));
            }
        }
        (name, Value::Object(members)) => {
            if let Some(member) = members.get(name) {
                step(at, name, |at| find(rest, member, at, found));
            }
        }
        _ => {}
    }
}

/// Every text in `value`.
fn texts(value: &Value, at: &mut String, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(at.clone()),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                step(at, &index.to_string(), |at| texts(item, at, found));
            }
        }
        Value::Object(members) if secret::name(value).is_none() => {
            for (name, member) in members {
                step(at, name, |at| texts(member, at, found));
            }
        }
        _ => {}
    }
}

fn step(at: &mut String, name: &str, inside: impl FnOnce(&mut String)) {
    let length = at.len();
    at.push('/');
    at.push_str(&name.replace('~', "~0").replace('/', "~1"));
    inside(at);
    at.truncate(length);
}

/// Whether a field of this name holds a secret, as far as its name tells.
pub(crate) fn sounds_secret(name: &str) -> bool {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    SOUNDS_SECRET.iter().any(|word| name.contains(word)) && !SOUNDS_OPEN.iter().any(|word| name.ends_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A misspelt operation or field would silently leave a secret in the open.
    #[test]
    fn every_entry_names_an_operation_and_fields_it_has() {
        for (id, fields) in contract().secrets() {
            let published = contract().operation(id).expect(id);
            for pattern in &fields.request {
                let body = published.body.as_ref().expect(id);
                assert!(body.schema().leads(&steps(pattern)), "{id} {pattern}");
            }
            for pattern in &fields.response {
                let answers = published.answers().iter().filter(|answer| answer.status.starts_with('2'));
                let mut schemas = answers.filter_map(|answer| answer.schema.as_ref());
                let found = schemas.any(|schema| schema.get().leads(&steps(pattern)));
                assert!(found, "{id} {pattern}");
            }
            if !fields.patch.is_empty() {
                assert_eq!(published.method, http::Method::PATCH, "{id}");
            }
        }
    }
}
