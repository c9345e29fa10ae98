//! Operations and outcomes as records keep them: everything that was said, nothing that was secret, no file's content.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Body, Call, Content, Digest, Effect, Failure, HeaderText, Host, Operation, Outcome, Part, Payload, Request,
    Response, Site,
};

/// An operation in a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedOperation {
    /// The operation's id.
    pub id: String,
    /// What was asked.
    pub call: RecordedCall,
    /// What it does to the world.
    pub effect: Effect,
    /// The thing it is about.
    pub subject: String,
    /// Where in the playbook it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Site>,
    /// [`Operation::digest`] of the original.
    pub digest: Digest,
}

/// What a recorded operation asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordedCall {
    /// A request to Qlik Cloud.
    Request(RecordedRequest),
    /// The arguments of a local operation.
    Local(Value),
}

/// A request in a record. Files are named by their fingerprints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedRequest {
    /// Which Qlik Cloud host.
    pub host: Host,
    /// The HTTP method.
    pub method: String,
    /// The path.
    pub path: String,
    /// Query parameters, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<(String, String)>,
    /// Extra headers; secrets are references.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Value>,
    /// The body.
    #[serde(default, skip_serializing_if = "RecordedBody::is_empty")]
    pub body: RecordedBody,
    /// The page that was followed in place of path and query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A request's body in a record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordedBody {
    /// None.
    #[default]
    Empty,
    /// A JSON document; secrets are references.
    Json(Value),
    /// A form: name, file name and content of each part. A file's content is its fingerprint, a bundle's those of its files.
    Form(Vec<(String, Option<String>, Value)>),
    /// A file, by its SHA-256.
    File(String),
    /// What another host had exported.
    Exported {
        /// The host.
        host: Host,
        /// What tells the content from another.
        content: String,
    },
}

impl RecordedBody {
    fn is_empty(&self) -> bool {
        *self == Self::Empty
    }
}

impl From<&Operation> for RecordedOperation {
    fn from(operation: &Operation) -> Self {
        Self {
            id: operation.id.clone(),
            call: match &operation.call {
                Call::Local { arguments } => RecordedCall::Local(arguments.clone()),
                Call::Request(request) => RecordedCall::Request(request.into()),
            },
            effect: operation.effect,
            subject: operation.subject.clone(),
            site: operation.site.clone(),
            digest: operation.digest(),
        }
    }
}

impl From<&Request> for RecordedRequest {
    fn from(request: &Request) -> Self {
        let header = |text: &HeaderText| match text {
            HeaderText::Text(text) => Value::from(text.clone()),
            HeaderText::Bearer(name) => super::secret::reference(name),
        };
        Self {
            host: request.host.clone(),
            method: request.method.to_string(),
            path: request.path.clone(),
            query: request.query.clone(),
            headers: request.headers.iter().map(|(name, text)| (name.clone(), header(text))).collect(),
            body: (&request.body).into(),
            next: request.next.clone(),
        }
    }
}

impl From<&Body> for RecordedBody {
    fn from(body: &Body) -> Self {
        match body {
            Body::Empty => Self::Empty,
            Body::Json(value) => Self::Json(value.clone()),
            Body::File { sha256, .. } => Self::File(sha256.clone()),
            Body::Exported { host, content, .. } => Self::Exported { host: host.clone(), content: content.clone() },
            Body::Multipart(parts) => Self::Form(
                parts.iter().map(|part| (part.name.clone(), part.file_name.clone(), part.describe())).collect(),
            ),
        }
    }
}

impl RecordedOperation {
    /// The operation again, good enough to look up what it did and to show it; a form's files are their descriptions.
    #[must_use]
    pub fn restore(&self) -> Operation {
        let call = match &self.call {
            RecordedCall::Local(arguments) => Call::Local { arguments: arguments.clone() },
            RecordedCall::Request(request) => Call::Request(request.restore()),
        };
        Operation {
            id: self.id.clone(),
            call,
            effect: self.effect,
            subject: self.subject.clone(),
            site: self.site.clone(),
        }
    }

    /// The request, when it was one.
    #[must_use]
    pub fn request(&self) -> Option<&RecordedRequest> {
        match &self.call {
            RecordedCall::Request(request) => Some(request),
            RecordedCall::Local(_) => None,
        }
    }
}

impl RecordedRequest {
    fn restore(&self) -> Request {
        let header = |value: &Value| match super::secret::name(value) {
            Some(name) => HeaderText::Bearer(name.to_owned()),
            None => HeaderText::Text(value.as_str().unwrap_or_default().to_owned()),
        };
        Request {
            host: self.host.clone(),
            method: self.method.parse().unwrap_or_default(),
            path: self.path.clone(),
            query: self.query.clone(),
            headers: self.headers.iter().map(|(name, value)| (name.clone(), header(value))).collect(),
            body: match &self.body {
                RecordedBody::Empty => Body::Empty,
                RecordedBody::Json(value) => Body::Json(value.clone()),
                RecordedBody::File(sha256) => Body::File { path: std::path::PathBuf::new(), sha256: sha256.clone() },
                RecordedBody::Exported { host, content } => {
                    Body::Exported { host: host.clone(), path: String::new(), content: content.clone() }
                }
                RecordedBody::Form(parts) => Body::Multipart(
                    parts
                        .iter()
                        .map(|(name, file_name, content)| Part {
                            name: name.clone(),
                            file_name: file_name.clone(),
                            content: Content::Json(content.clone()),
                        })
                        .collect(),
                ),
            },
            next: self.next.clone(),
        }
    }
}

/// An outcome in a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordedOutcome {
    /// The answer.
    Answer {
        /// The HTTP status.
        status: u16,
        /// The headers.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        headers: BTreeMap<String, String>,
        /// A JSON body.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
        json: Option<Value>,
        /// Any other body, in base64.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes: Option<String>,
    },
    /// Why there was none.
    Failure(Failure),
}

/// `null` is a body too.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl From<&Outcome> for RecordedOutcome {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Ok(response) => {
                let (json, bytes) = match &response.payload {
                    Payload::Empty => (None, None),
                    Payload::Json(value) => (Some(value.clone()), None),
                    Payload::Bytes(bytes) => (None, Some(STANDARD.encode(bytes))),
                };
                Self::Answer { status: response.status, headers: response.headers.clone(), json, bytes }
            }
            Err(failure) => Self::Failure(failure.clone()),
        }
    }
}

impl From<RecordedOutcome> for Outcome {
    fn from(recorded: RecordedOutcome) -> Self {
        match recorded {
            RecordedOutcome::Failure(failure) => Err(failure),
            RecordedOutcome::Answer { status, headers, json, bytes } => {
                let payload = match (json, bytes) {
                    (Some(value), _) => Payload::Json(value),
                    (None, Some(text)) => Payload::Bytes(STANDARD.decode(text).unwrap_or_default().into()),
                    (None, None) => Payload::Empty,
                };
                Ok(Response { status, headers, payload })
            }
        }
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
        bytes.try_into().map(Self).map_err(|_| D::Error::custom("a digest has 32 bytes"))
    }
}
