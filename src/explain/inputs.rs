//! Which values of a request equal values that the customer's file has.
//!
//! Nothing follows a value through a script. That two values are equal is a fact; that one comes from the other is not
//! known, and not said.

use std::collections::{BTreeMap, BTreeSet};

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::operation::{RecordedBody, RecordedCall, RecordedOperation, RecordedRequest, secret};

/// A value of a request that equals values of the customer.
#[derive(Clone, Debug, PartialEq)]
pub struct EqualInput {
    /// Where in the request: `body.name`, `path`, `query.filter`.
    pub place: String,
    /// The value.
    pub value: Value,
    /// Where in the customer: `customer.groups[1].name`. The likeliest first: beside one that another value equals.
    pub equals: Vec<String>,
}

/// The values of a customer, to find those that an operation's equal.
#[derive(Clone, Debug)]
pub struct CustomerValues(BTreeMap<String, Vec<String>>);

impl CustomerValues {
    /// Those that say something.
    #[must_use]
    pub fn of(customer: &Value) -> Self {
        let mut known = BTreeMap::new();
        gather("customer".to_owned(), customer, &mut known);
        Self(known)
    }

    /// The values of an operation that equal some of these, in the order of the request.
    #[must_use]
    pub fn equal_to(&self, operation: &RecordedOperation) -> Vec<EqualInput> {
        let mut search = Search { known: &self.0, found: Vec::new() };
        match &operation.call {
            RecordedCall::Local(arguments) => search.value("arguments".to_owned(), arguments),
            RecordedCall::Request(request) => search.request(request),
        }
        ranked(search.found)
    }
}

/// Every telling value with its places.
fn gather(place: String, value: &Value, known: &mut BTreeMap<String, Vec<String>>) {
    for (place, value) in parts(&place, value) {
        gather(place, value, known);
    }
    if is_telling(value) {
        known.entry(canonical(value)).or_default().push(place);
    }
}

/// Whether it says something that two values are equal: `true`, `0` and `""` are everywhere.
fn is_telling(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) => false,
        Value::Number(number) => number.as_f64().is_some_and(|number| number.abs() > 9.0),
        Value::String(text) => text.chars().count() > 1,
        Value::Array(items) => items.iter().any(is_telling),
        Value::Object(map) => map.values().any(is_telling),
    }
}

/// Equal for equal values, whatever the order of their fields.
fn canonical(value: &Value) -> String {
    let mut value = value.clone();
    value.sort_all_objects();
    value.to_string()
}

/// What a list or a map holds, with the place of each.
fn parts<'v>(place: &str, value: &'v Value) -> Vec<(String, &'v Value)> {
    match value {
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, item)| (format!("{place}[{index}]"), item)).collect()
        }
        Value::Object(map) => map.iter().map(|(name, item)| (format!("{place}{}", field(name)), item)).collect(),
        _ => Vec::new(),
    }
}

/// A field as a script would write it.
fn field(name: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || character == '_';
    if !name.is_empty() && name.chars().all(plain) { format!(".{name}") } else { format!("[{}]", Value::from(name)) }
}

struct Search<'k> {
    known: &'k BTreeMap<String, Vec<String>>,
    found: Vec<EqualInput>,
}

impl Search<'_> {
    fn request(&mut self, request: &RecordedRequest) {
        for segment in request.path.split('/').filter(|segment| !segment.is_empty()) {
            if let Ok(text) = percent_decode_str(segment).decode_utf8() {
                self.value("path".to_owned(), &Value::from(text));
            }
        }
        for (name, text) in &request.query {
            self.value(format!("query.{name}"), &Value::from(text.as_str()));
        }
        match &request.body {
            RecordedBody::Json(body) => self.value("body".to_owned(), body),
            RecordedBody::Form(parts) => {
                for (name, _, content) in parts {
                    self.value(format!("body.{name}"), content);
                }
            }
            RecordedBody::Empty | RecordedBody::File(_) | RecordedBody::Exported { .. } => {}
        }
    }

    /// What is equal as a whole is not taken apart.
    fn value(&mut self, place: String, value: &Value) {
        if secret::name(value).is_some() {
            return;
        }
        if is_telling(value)
            && let Some(equals) = self.known.get(&canonical(value))
        {
            self.found.push(EqualInput { place, value: value.clone(), equals: equals.clone() });
            return;
        }
        for (place, value) in parts(&place, value) {
            self.value(place, value);
        }
    }
}

/// Puts first what stands beside something that another value of the request equals: of two spaces with one type, the one
/// that has the name too.
fn ranked(mut found: Vec<EqualInput>) -> Vec<EqualInput> {
    let mut beside: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for (number, input) in found.iter().enumerate() {
        for place in &input.equals {
            beside.entry(parent(place).to_owned()).or_default().insert(number);
        }
    }
    for input in &mut found {
        input.equals.sort_by_key(|place| std::cmp::Reverse(beside.get(parent(place)).map_or(0, BTreeSet::len)));
    }
    found
}

fn parent(place: &str) -> &str {
    place.rfind(['.', '[']).map_or(place, |end| &place[..end])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::operation::{Body, Call, Effect, Host, Operation, Request};

    fn equal(path: &str, body: Value, customer: &Value) -> Vec<(String, Vec<String>)> {
        let mut request = Request::new(Host::Console, http::Method::POST, path);
        request.body = Body::Json(body);
        let (id, subject) = ("createSpace".to_owned(), "space".to_owned());
        let operation = Operation { id, call: Call::Request(request), effect: Effect::Create, subject, site: None };
        let found = CustomerValues::of(customer).equal_to(&RecordedOperation::from(&operation));
        found.into_iter().map(|input| (input.place, input.equals)).collect()
    }

    fn at(place: &str, equals: &[&str]) -> (String, Vec<String>) {
        (place.to_owned(), equals.iter().map(|place| (*place).to_owned()).collect())
    }

    #[test]
    fn values_are_named_by_their_places() {
        let customer = json!({ "code": "hb", "spaces": [
            { "name": "Staging", "type": "managed" },
            { "name": "Carrier exchange", "type": "managed" },
        ], "odd names": { "a.b": 4711 } });
        let body = json!({ "type": "managed", "name": "Carrier exchange", "size": [4711], "code": "hbx" });
        let found = equal("/api/v1/spaces/Carrier%20exchange/hb", body, &customer);
        let both = ["customer.spaces[1].type", "customer.spaces[0].type"];
        assert_eq!(
            found,
            [
                at("path", &["customer.spaces[1].name"]),
                at("path", &["customer.code"]),
                at("body.type", &both),
                at("body.name", &["customer.spaces[1].name"]),
                at("body.size[0]", &["customer[\"odd names\"][\"a.b\"]"]),
            ]
        );
    }

    #[test]
    fn whole_documents_are_named_once_and_what_says_nothing_never() {
        let customer =
            json!({ "seats": [{ "subject": "hb|1", "type": "analyzer" }], "flag": true, "n": 3, "none": "" });
        let body = json!({ "add": [{ "type": "analyzer", "subject": "hb|1" }], "flag": true, "n": 3, "none": "" });
        assert_eq!(equal("/", body, &customer), [at("body.add", &["customer.seats"])]);
    }

    #[test]
    fn a_secret_is_no_value() {
        let customer = json!({ "idp": { "clientSecret": "portal" } });
        assert_eq!(equal("/", json!({ "secret": secret::reference("portal") }), &customer), []);
    }
}
