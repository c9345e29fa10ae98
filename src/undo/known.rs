//! What a run knew of the things it dealt with, as its journal tells it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::values::set;
use crate::operation::{Host, PatchStep, RecordedBody, RecordedRequest};

/// Documents by host and path, as they were last seen or left.
#[derive(Debug, Default)]
pub(super) struct Known {
    documents: BTreeMap<(Host, String), Value>,
    /// What each of them was asked with.
    queries: BTreeMap<(Host, String), Vec<(String, String)>>,
}

impl Known {
    /// The document that answers at this path.
    pub(super) fn document(&self, host: &Host, path: &str) -> Option<&Value> {
        self.documents.get(&(host.clone(), path.to_owned()))
    }

    /// The query with which the document at this path was last read.
    pub(super) fn query(&self, host: &Host, path: &str) -> &[(String, String)] {
        self.queries.get(&(host.clone(), path.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// The documents right below a path, with theirs.
    pub(super) fn below(&self, host: &Host, path: &str) -> impl Iterator<Item = (&str, &Value)> {
        let host = host.clone();
        let held = self.documents.iter().filter(move |((at, _), _)| *at == host);
        held.filter_map(move |((_, held), document)| {
            held.rsplit_once('/').filter(|(parent, _)| *parent == path).map(|_| (held.as_str(), document))
        })
    }

    /// Takes in the answer to a read or a create.
    pub(super) fn seen(&mut self, request: &RecordedRequest, answer: &Value) {
        let path = request.path.as_str();
        match answer {
            Value::Object(map) => {
                let path = match (app_made(request, answer), answer["id"].as_str()) {
                    (Some(app), _) => format!("{APPS}/{app}"),
                    (None, Some(id)) => own_path(request, id),
                    (None, None) => path.to_owned(),
                };
                if request.method == "GET" && path == request.path {
                    self.queries.insert((request.host.clone(), path.clone()), request.query.clone());
                }
                self.put(request, path, answer);
                if let Some(Value::Array(items)) = map.get("data") {
                    self.list(request, items);
                }
            }
            Value::Array(items) => self.list(request, items),
            _ => {}
        }
    }

    /// Takes in a change that was made.
    pub(super) fn changed(&mut self, request: &RecordedRequest, answer: &Value) {
        let key = (request.host.clone(), request.path.clone());
        if answer.get("id").is_some() {
            self.documents.insert(key, answer.clone());
            return;
        }
        let RecordedBody::Json(body) = &request.body else {
            self.documents.remove(&key);
            return;
        };
        let document = self.documents.entry(key).or_insert_with(|| Value::Object(serde_json::Map::new()));
        for (pointer, value) in written(body) {
            set(document, &pointer, value);
        }
    }

    pub(super) fn gone(&mut self, request: &RecordedRequest) {
        self.documents.remove(&(request.host.clone(), request.path.clone()));
    }

    fn list(&mut self, request: &RecordedRequest, items: &[Value]) {
        for item in items {
            if let Some(id) = item["id"].as_str() {
                self.put(request, format!("{}/{id}", request.path), item);
            }
        }
    }

    fn put(&mut self, request: &RecordedRequest, path: String, document: &Value) {
        self.documents.insert((request.host.clone(), path), document.clone());
    }
}

/// The path that apps lie under.
pub(super) const APPS: &str = "/api/v1/apps";

/// The id of the app that a request has made: whatever its path is, the app lies under [`APPS`].
pub(super) fn app_made<'a>(request: &RecordedRequest, answer: &'a Value) -> Option<&'a str> {
    let made = request.method == "POST" && request.path.starts_with(APPS);
    answer["attributes"]["id"].as_str().filter(|_| made)
}

/// The path below which lies what a POST to this one makes. A task is made by an action on the app it is for.
pub(super) fn collection(path: &str) -> &str {
    match path.split_once("/resources/") {
        Some((tasks, action)) if action.contains("/actions/") => tasks,
        _ => path,
    }
}

/// The path of the one thing that an answer shows: `/users/me` shows `/users/<id>`, `POST /spaces` makes `/spaces/<id>`.
fn own_path(request: &RecordedRequest, id: &str) -> String {
    let path = request.path.as_str();
    if path.ends_with(&format!("/{id}")) {
        return path.to_owned();
    }
    match path.rsplit_once('/') {
        Some((parent, "me")) => format!("{parent}/{id}"),
        _ if request.method == "POST" => format!("{}/{id}", collection(path)),
        // A setting that has an id of its own.
        _ => path.to_owned(),
    }
}

/// What a body says, field by field: a JSON Patch by its paths, an object by its fields.
pub(super) fn written(body: &Value) -> Vec<(String, Value)> {
    match body {
        Value::Array(steps) => steps
            .iter()
            .map(PatchStep::of)
            .filter_map(|step| Some((step.path?.to_owned(), step.value.clone())))
            .collect(),
        Value::Object(map) => map.iter().map(|(field, value)| (format!("/{field}"), value.clone())).collect(),
        _ => Vec::new(),
    }
}
