//! What a playbook asks of the world, and what comes back: plain data, no behaviour.
//!
//! An [`Operation`] is one question (a request to Qlik Cloud, or a call the host itself answers); an [`Outcome`] is
//! its answer; a [`Key`] names the question within its run. All of it is `Send`, comparable and printable: secrets
//! appear only as references (see [`secret`]), never as text.

mod body;
mod bundle;
mod key;
mod outcome;
mod patch;
mod recorded;
mod repeat;
pub mod secret;
mod written;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub use body::{Body, Content, Part};
pub use bundle::Bundle;
pub use key::{BranchStep, CallKey, CallKeyError, Key, KeyError};
pub use outcome::{Failure, FailureKind, Outcome, Payload, Response, refused_items};
pub use patch::PatchStep;
pub use recorded::{RecordedBody, RecordedCall, RecordedOperation, RecordedOutcome, RecordedRequest};
pub(crate) use written::is_before;
pub use written::{Processes, Written};

/// The host's own operation that waits: `{ seconds }`. How long it takes is what it was asked for.
pub const PAUSE: &str = "tenantry.pause";

/// One thing a playbook asks of the world.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The contract's operationId (`createSpace`), or the name of a local operation (`tenantry.now`, `crm.notify`).
    pub id: String,
    /// What is to be performed.
    pub call: Call,
    /// What performing it does to the world.
    pub effect: Effect,
    /// The thing it is about, as a person would name it: `space "Staging"`.
    pub subject: String,
    /// Where in the playbook it was asked.
    pub site: Option<Site>,
}

/// Who performs an operation.
#[derive(Clone, Debug)]
pub enum Call {
    /// Qlik Cloud, over HTTP or in the sandbox.
    Request(Request),
    /// A handler of the host or of its embedder, found by the operation's id.
    Local {
        /// What the handler is given; secrets are references.
        arguments: Value,
    },
}

/// A request to Qlik Cloud, addressed by role rather than by URL: the target decides where a host lives.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which Qlik Cloud host is meant.
    pub host: Host,
    /// The HTTP method.
    pub method: http::Method,
    /// The path with its variables filled in and percent-encoded, beginning with `/`.
    pub path: String,
    /// Query parameters, decoded, in order.
    pub query: Vec<(String, String)>,
    /// Extra headers. One named `authorization` replaces the client's own token.
    pub headers: BTreeMap<String, HeaderText>,
    /// The body.
    pub body: Body,
    /// The `links.next.href` of the page before: when set, it is followed verbatim in place of path and query.
    pub next: Option<String>,
}

/// A header's value: text, or a secret that only the interpreter can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderText {
    /// Plain text.
    Text(String),
    /// `Bearer` followed by the secret of this name.
    Bearer(String),
}

/// A Qlik Cloud host by its role.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Host {
    /// `register.<region>.qlikcloud.com`: creates, deactivates and reactivates tenants.
    Register(String),
    /// `console.qlikcloud.com`: lists the organization's tenants.
    Console,
    /// One tenant, by its random system host name.
    Tenant(String),
}

impl Host {
    /// The real service's name of this host.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Register(region) => format!("register.{region}.qlikcloud.com"),
            Self::Console => "console.qlikcloud.com".to_owned(),
            Self::Tenant(name) => name.clone(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// What an operation does to the world. Comes from a table over the contract, not from the HTTP method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Changes nothing.
    Read,
    /// Makes something new.
    Create,
    /// Changes something that exists.
    Update,
    /// Removes something.
    Delete,
    /// Sets something in motion: reload, publish, activate.
    Act,
    /// Changes nothing a partner manages, though the service may note it: a token, a login.
    Probe,
}

impl Effect {
    /// Whether performing it changes what a partner manages.
    #[must_use]
    pub fn is_write(self) -> bool {
        !matches!(self, Self::Read | Self::Probe)
    }
}

/// A place in a playbook.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Site {
    /// The file, relative to the project.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
}

impl Site {
    /// How many characters the word at this place of its line has; at least one.
    #[must_use]
    pub fn width(&self, line: &str) -> usize {
        let rest = line.chars().skip(self.column.saturating_sub(1));
        rest.take_while(|character| character.is_alphanumeric() || *character == '_').count().max(1)
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A fingerprint of everything about an operation that decides what it does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Operation {
    /// The request, when the operation is one.
    #[must_use]
    pub fn request(&self) -> Option<&Request> {
        match &self.call {
            Call::Request(request) => Some(request),
            Call::Local { .. } => None,
        }
    }

    /// Whether it changes something beyond this program: at Qlik Cloud, or where an embedder's operation acts. What the host
    /// keeps for itself is none of it.
    #[must_use]
    pub fn is_write_elsewhere(&self) -> bool {
        self.effect.is_write() && (self.request().is_some() || !self.id.starts_with("tenantry."))
    }

    /// A fingerprint of what the operation does: equal for equal requests, whatever line of the playbook asked them.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let call = match &self.call {
            Call::Local { arguments } => json!({ "arguments": arguments }),
            Call::Request(request) => json!({
                "host": request.host.name(),
                "method": request.method.as_str(),
                "path": request.path,
                "query": request.query,
                "headers": request.headers.iter().map(|(name, value)| (name.clone(), match value {
                    HeaderText::Text(text) => json!(text),
                    HeaderText::Bearer(name) => secret::reference(name),
                })).collect::<serde_json::Map<_, _>>(),
                "body": request.body.describe(),
                "next": request.next,
            }),
        };
        let mut whole = json!({ "id": self.id, "call": call });
        whole.sort_all_objects();
        Digest(Sha256::digest(whole.to_string().as_bytes()).into())
    }
}

impl Request {
    /// A request without query, headers and body.
    #[must_use]
    pub fn new(host: Host, method: http::Method, path: impl Into<String>) -> Self {
        let path = path.into();
        Self { host, method, path, query: Vec::new(), headers: BTreeMap::new(), body: Body::Empty, next: None }
    }
}

/// Bytes in lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
