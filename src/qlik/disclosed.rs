//! The secrets of one request: read for the socket, and taken out again of everything that comes back.

use std::collections::BTreeMap;
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::operation::secret::{self, SecretStore};
use crate::operation::{Body, Content, Failure, HeaderText, Payload, Request, Response};

/// Shorter texts are not looked for in answers: they would be found everywhere.
const SHORTEST: usize = 6;

/// What stands where a secret was.
const MASK: &str = "***";

/// Secrets by name that a request carries.
#[derive(Default)]
pub(super) struct Disclosed {
    by_name: BTreeMap<String, SecretString>,
    /// Secrets that no reference stands for: tokens.
    nameless: Vec<Arc<SecretString>>,
}

impl Disclosed {
    /// Reads every secret that `request` refers to.
    pub(super) async fn of(request: &Request, store: &dyn SecretStore) -> Result<Self, Failure> {
        let mut names = Vec::new();
        for header in request.headers.values() {
            if let HeaderText::Bearer(name) = header {
                names.push(name.clone());
            }
        }
        match &request.body {
            Body::Json(value) => collect(value, &mut names),
            Body::Multipart(parts) => {
                for part in parts {
                    if let Content::Json(value) = &part.content {
                        collect(value, &mut names);
                    }
                }
            }
            Body::Empty | Body::File { .. } | Body::Exported { .. } => {}
        }
        names.sort_unstable();
        names.dedup();
        let mut disclosed = Self::default();
        for name in names {
            let text = store.read(&name).await?;
            disclosed.by_name.insert(name, text);
        }
        Ok(disclosed)
    }

    /// Adds a secret that the request carries outside its body.
    pub(super) fn add(&mut self, text: Arc<SecretString>) {
        self.nameless.push(text);
    }

    /// The text of a secret of the request.
    pub(super) fn text(&self, name: &str) -> &str {
        self.by_name.get(name).map_or("", SecretString::expose_secret)
    }

    /// A document with every reference replaced by its text.
    pub(super) fn resolve(&self, value: &Value) -> Value {
        let resolved: Result<Value, std::convert::Infallible> =
            secret::resolve(value, &mut |name| Ok(self.text(name).to_owned()));
        match resolved {
            Ok(value) => value,
        }
    }

    /// Takes the request's secrets out of a failure, should the service repeat them.
    pub(super) fn hide_in_failure(&self, mut failure: Failure) -> Failure {
        for text in [
            Some(&mut failure.code),
            Some(&mut failure.title),
            failure.detail.as_mut(),
            failure.pointer.as_mut(),
            failure.trace.as_mut(),
        ]
        .into_iter()
        .flatten()
        {
            self.mask(text);
        }
        failure
    }

    /// Takes the request's secrets out of a response: a field that is one becomes a reference to it.
    pub(super) fn hide_in_response(&self, response: &mut Response) {
        for text in response.headers.values_mut() {
            self.mask(text);
        }
        match &mut response.payload {
            Payload::Json(value) => self.hide_in_value(value),
            Payload::Bytes(bytes) => {
                if let Ok(text) = std::str::from_utf8(bytes) {
                    let mut masked = text.to_owned();
                    self.mask(&mut masked);
                    if masked != text {
                        *bytes = masked.into();
                    }
                }
            }
            Payload::Empty => {}
        }
    }

    fn hide_in_value(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                let whole = self
                    .by_name
                    .iter()
                    .find(|(_, secret)| is_searched(secret) && secret.expose_secret() == text)
                    .map(|(name, _)| name);
                match whole {
                    Some(name) => *value = secret::reference(name),
                    None => self.mask(text),
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.hide_in_value(item)),
            Value::Object(map) => {
                *map = std::mem::take(map)
                    .into_iter()
                    .map(|(mut key, mut item)| {
                        self.mask(&mut key);
                        self.hide_in_value(&mut item);
                        (key, item)
                    })
                    .collect();
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn mask(&self, text: &mut String) {
        let secrets = self.by_name.values().chain(self.nameless.iter().map(Arc::as_ref));
        for secret in secrets.filter(|secret| is_searched(secret)) {
            // Tokens and licence keys are longer than nearly every field: most need no search.
            if text.len() >= secret.expose_secret().len() && text.contains(secret.expose_secret()) {
                *text = text.replace(secret.expose_secret(), MASK);
            }
        }
    }
}

fn is_searched(secret: &SecretString) -> bool {
    secret.expose_secret().len() >= SHORTEST
}

fn collect(value: &Value, names: &mut Vec<String>) {
    if let Some(name) = secret::name(value) {
        names.push(name.to_owned());
        return;
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, names)),
        Value::Object(map) => map.values().for_each(|item| collect(item, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
