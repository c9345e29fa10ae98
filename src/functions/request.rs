use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::contract::{Published, Violation, contract};
use crate::event::FieldChange;
use crate::operation::{
    Body, Call as Asked, Content, Failure, FailureKind, HeaderText, Host, Operation, Outcome, Part, Request, Response,
};
use crate::playbook::{Call, ScriptError};

/// More pages than this is a list that never ends.
const MAX_PAGES: usize = 10_000;

/// A request being made from the contract, by operationId. It is checked against the contract before it is asked.
pub(super) struct Ask {
    published: &'static Published,
    host: Host,
    variables: BTreeMap<String, String>,
    query: Vec<(String, String)>,
    headers: BTreeMap<String, HeaderText>,
    body: Body,
    subject: String,
}

impl Ask {
    /// One of the operations this crate uses by name.
    pub(super) fn new(host: &Host, id: &'static str, subject: impl Into<String>) -> Self {
        let published = contract().operation(id).expect("the contract holds every operation that functions name");
        Self::of(host, published, subject)
    }

    pub(super) fn of(host: &Host, published: &'static Published, subject: impl Into<String>) -> Self {
        Self {
            published,
            host: host.clone(),
            variables: BTreeMap::new(),
            query: Vec::new(),
            headers: BTreeMap::new(),
            body: Body::Empty,
            subject: subject.into(),
        }
    }

    pub(super) fn var(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn query(mut self, name: &str, value: impl Into<String>) -> Self {
        self.query.push((name.to_owned(), value.into()));
        self
    }

    pub(super) fn header(mut self, name: &str, value: HeaderText) -> Self {
        self.headers.insert(name.to_ascii_lowercase(), value);
        self
    }

    pub(super) fn json(mut self, body: Value) -> Self {
        self.body = Body::Json(body);
        self
    }

    /// A file of the project as the body, streamed when it is sent.
    pub(super) fn file(mut self, path: &str, sha256: &str) -> Self {
        self.body = Body::File { path: path.into(), sha256: sha256.to_owned() };
        self
    }

    /// What an export has left at another host as the body, streamed from there when it is sent. `content` is what says which
    /// content it is.
    pub(super) fn exported(mut self, host: &Host, path: &str, content: &str) -> Self {
        self.body = Body::Exported { host: host.clone(), path: path.to_owned(), content: content.to_owned() };
        self
    }

    pub(super) fn part(mut self, name: &str, file_name: Option<&str>, content: Content) -> Self {
        let part = Part { name: name.to_owned(), file_name: file_name.map(str::to_owned), content };
        match &mut self.body {
            Body::Multipart(parts) => parts.push(part),
            body => *body = Body::Multipart(vec![part]),
        }
        self
    }

    fn operation(self, call: &Call) -> Result<Operation, ScriptError> {
        let id = self.published.id;
        let refuse = |violations: &[Violation]| {
            let problems: Vec<String> = violations.iter().map(Violation::to_string).collect();
            let mut failure =
                Failure::new(FailureKind::Denied, "tenantry/contract", format!("`{id}` would not be accepted"))
                    .detail(problems.join("\n"));
            failure.pointer = violations.first().map(|violation| violation.pointer.clone());
            call.throw(failure)
        };
        let path = self.published.expand(&self.variables).map_err(|violation| refuse(&[violation]))?;
        let request = Request {
            host: self.host,
            method: self.published.method.clone(),
            path,
            query: self.query,
            headers: self.headers,
            body: self.body,
            next: None,
        };
        self.published.check_request(&request).map_err(|violations| refuse(&violations))?;
        Ok(Operation {
            id: id.to_owned(),
            call: Asked::Request(request),
            effect: self.published.effect,
            subject: self.subject,
            site: None,
        })
    }

    /// Asks; a failure is thrown.
    pub(super) fn send(self, call: &mut Call) -> Result<Response, ScriptError> {
        let operation = self.operation(call)?;
        call.ask(operation)
    }

    /// Asks and hands back the outcome, good or bad.
    pub(super) fn attempt(self, call: &mut Call) -> Result<Outcome, ScriptError> {
        let operation = self.operation(call)?;
        call.try_ask(operation)
    }

    /// Asks for a deletion. What is gone already is as good: 404, or 410 where the service remembers it.
    pub(super) fn remove(self, call: &mut Call) -> Result<(), ScriptError> {
        match self.attempt(call)? {
            Err(failure) if !matches!(failure.status, Some(404 | 410)) => Err(call.throw(failure)),
            _ => Ok(()),
        }
    }

    /// All items of a list, page by page.
    pub(super) fn list(self, call: &mut Call) -> Result<Vec<Value>, ScriptError> {
        let operation = self.operation(call)?;
        let mut found = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let mut page = operation.clone();
            if let Asked::Request(request) = &mut page.call {
                request.next.clone_from(&next);
            }
            let response = call.ask(page)?;
            let Some(items) = response.json()["data"].as_array() else {
                return Err(unexpected(call, &operation.id, "a list in `data`"));
            };
            found.extend(items.iter().cloned());
            let link = response.json()["links"]["next"]["href"].as_str().filter(|link| !link.is_empty());
            match link {
                None => return Ok(found),
                Some(link) if Some(link) == next.as_deref() => break,
                Some(link) => next = Some(link.to_owned()),
            }
        }
        Err(unexpected(call, &operation.id, "a list that ends"))
    }
}

/// The answer is not what the contract promises.
pub(super) fn unexpected(call: &Call, operation: &str, wanted: &str) -> ScriptError {
    call.throw(Failure::new(
        FailureKind::Unknown,
        "tenantry/unexpected-answer",
        format!("the answer to `{operation}` does not hold {wanted}"),
    ))
}

/// A text field of an answer that must be there.
pub(super) fn text_of(call: &Call, operation: &str, document: &Value, field: &str) -> Result<String, ScriptError> {
    match document[field].as_str() {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(unexpected(call, operation, &format!("`{field}`"))),
    }
}

/// A JSON-Patch body that replaces one value per path.
pub(super) fn replace<'a>(values: impl IntoIterator<Item = (String, &'a Value)>) -> Value {
    values
        .into_iter()
        .map(|(path, value)| serde_json::json!({ "op": "replace", "path": path, "value": value }))
        .collect()
}

/// A JSON-Patch body that gives the changed fields their wanted values, each at the path `path` makes of its name.
pub(super) fn patch(changes: &[FieldChange], wanted: &Map<String, Value>, path: impl Fn(&str) -> String) -> Value {
    replace(changes.iter().filter_map(|change| Some((path(&change.field), wanted.get(&change.field)?))))
}

/// A SCIM filter for one exact value. Its texts are written as JSON writes them (RFC 7644, section 3.4.2.2).
pub(super) fn equals(field: &str, value: &str) -> String {
    format!("{field} eq {}", Value::from(value))
}
