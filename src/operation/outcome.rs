use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What came back of an operation.
pub type Outcome = Result<Response, Failure>;

/// The answer to an operation that was performed.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The HTTP status; 200 for local operations.
    pub status: u16,
    /// The headers, names in lower case. Cookies and tokens are left out.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub payload: Payload,
}

/// The body of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Payload {
    /// None.
    #[default]
    Empty,
    /// A JSON document; secret fields are references.
    Json(Value),
    /// Anything else.
    Bytes(Bytes),
}

impl Response {
    /// The answer of a local operation.
    #[must_use]
    pub fn local(value: Value) -> Self {
        Self { status: 200, headers: BTreeMap::new(), payload: Payload::Json(value) }
    }

    /// The JSON body; `null` when there is none.
    #[must_use]
    pub fn json(&self) -> &Value {
        match &self.payload {
            Payload::Json(value) => value,
            Payload::Empty | Payload::Bytes(_) => &Value::Null,
        }
    }
}

/// Why an operation did not succeed, whichever of Qlik Cloud's error bodies said so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct Failure {
    /// What is known about whether the service acted.
    pub kind: FailureKind,
    /// The service's code (`TENANTS-22`), or one of ours (`tenantry/timeout`).
    pub code: String,
    /// The HTTP status, when there was an answer.
    pub status: Option<u16>,
    /// What happened, in a few words.
    pub title: String,
    /// More about it.
    pub detail: Option<String>,
    /// JSON pointer or parameter the service blames.
    pub pointer: Option<String>,
    /// The service's trace id, for its support.
    pub trace: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
}

/// What is known about whether a failed operation changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureKind {
    /// The service answered no: it did not act.
    Refused,
    /// Nothing reached the service: it did not act.
    Unsent,
    /// It was sent and the answer is missing or cannot be understood: it may have acted.
    Unknown,
    /// A rule on this side forbade it; nothing was sent.
    Denied,
    /// The run has ended before it was sent: no script is to go on after it.
    Cancelled,
}

impl Failure {
    /// A failure with the facts that every failure has.
    #[must_use]
    pub fn new(kind: FailureKind, code: impl Into<String>, title: impl Into<String>) -> Self {
        Self {
            kind,
            code: code.into(),
            status: None,
            title: title.into(),
            detail: None,
            pointer: None,
            trace: None,
            hint: None,
        }
    }

    /// The same with more detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same with advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whether the service may have acted although no answer says so.
    #[must_use]
    pub fn may_have_acted(&self) -> bool {
        self.kind == FailureKind::Unknown
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.title)?;
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        match self.status {
            Some(status) => write!(f, " ({}, HTTP {status})", self.code),
            None => write!(f, " ({})", self.code),
        }
    }
}

/// The items of a 207 that were refused: the status of such an answer as a whole says nothing.
pub fn refused_items(body: &Value) -> impl Iterator<Item = &Value> {
    body["data"].as_array().into_iter().flatten().filter(|item| {
        // Some services write the status as text.
        let status = item["status"].as_i64().or_else(|| item["status"].as_str()?.parse().ok());
        status.is_some_and(|status| status >= 400)
    })
}
