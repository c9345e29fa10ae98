//! What can go wrong between a client and the cloud, on demand.
//!
//! A sandbox whose [`Settings`](super::Settings) name a [`Faults`] asks it about every request that comes over a road
//! that can break: from the embedded interpreter and over HTTP. [`Sandbox::handle`](super::Sandbox::handle) itself is
//! never struck, so that a test can look and prepare.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};

use super::refusal::{Refusal, Shape};
use super::state::{Document, Scope, State};
use super::store::Change;

/// What becomes of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It is refused; nothing was done.
    Refused {
        /// One that the operation documents.
        status: StatusCode,
        /// Qlik's code: `HTTP-403`, `TENANTS-22`.
        code: String,
    },
    /// It is one too many (429): nothing was done.
    Limited {
        /// What `Retry-After` says, in whole seconds.
        wait: Duration,
    },
    /// It is answered with a server's error.
    Failed {
        /// From 500 on.
        status: StatusCode,
        /// Whether it was done all the same.
        done: bool,
    },
    /// The connection is lost before an answer comes.
    Lost {
        /// Whether it was done all the same.
        done: bool,
    },
    /// No answer comes, ever, and the connection stays.
    Silent {
        /// Whether it was done all the same.
        done: bool,
    },
    /// Its token is not taken any more (401); a request without one goes well.
    Expired,
    /// It reads what was there before the last changes of its tenant, as far as they are not older than the cloud lags
    /// behind (8 seconds); a request that is not a read goes well.
    Stale {
        /// How many changes are not seen.
        changes: usize,
    },
    /// It is done, and its answer breaks off; one without a body goes well.
    Cut {
        /// After how many bytes of the body.
        bytes: usize,
    },
    /// It is done, and the body of its answer comes slowly, by tokio's clock.
    Slow {
        /// Over how much time.
        over: Duration,
    },
    /// One thing of several that it asks for is refused (207), the last one; the others are done. Where nothing is answered
    /// so, it goes well: only seats of licences are.
    Partly {
        /// What the one is refused with.
        status: StatusCode,
        /// Qlik's code.
        code: String,
    },
    /// Its tenant is disabled (401), with the one code for tokens and the other for all else; on other hosts it goes well.
    Disabled,
    /// It arrives later, by tokio's clock, even when nobody waits for its answer any more.
    Late {
        /// How much later.
        by: Duration,
    },
}

/// A request that has come and was not looked at yet.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'r> {
    /// Which request of the sandbox's life it is, counted from 1.
    pub ordinal: u64,
    /// The operationId; empty when the request is no operation.
    pub operation: &'static str,
    /// The method.
    pub method: &'r Method,
    /// The host it came for.
    pub host: &'r str,
}

/// What became of a request, told in the order in which requests were done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Which request it was, as in its [`Arrival`].
    pub ordinal: u64,
    /// The operationId; empty when the request was no operation.
    pub operation: &'static str,
    /// The host it came for.
    pub host: String,
    /// The status the operation came to; none when it was never looked at.
    pub status: Option<StatusCode>,
    /// What it did, in order.
    pub touched: Vec<Touched>,
    /// What struck it.
    pub fault: Option<Fault>,
}

/// One document that a request made, changed or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// Whose it is.
    pub scope: Scope,
    /// Its collection.
    pub collection: String,
    /// Its id.
    pub id: String,
    /// What people know it by: subject, name, origin and the like.
    pub subject: String,
    /// What was done to it.
    pub how: Touch,
}

/// What was done to a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Touch {
    /// It was not there before.
    Made,
    /// It was there and is another now.
    Changed,
    /// It is gone.
    Removed,
}

/// Decides what becomes of requests, and hears what became of them.
pub trait Faults: Send + Sync {
    /// What strikes this request, if anything. Asked once for each, in the order in which they come.
    fn strike(&self, arrival: &Arrival<'_>) -> Option<Fault>;

    /// Hears what became of a request: told for each, changes in the order in which they were made.
    fn note(&self, served: &Served) {
        let _ = served;
    }
}

impl Fault {
    /// Whether the request is done all the same.
    pub(super) fn is_done(&self, wants_token: bool) -> bool {
        match self {
            Self::Refused { .. } | Self::Limited { .. } | Self::Disabled => false,
            Self::Failed { done, .. } | Self::Lost { done } | Self::Silent { done } => *done,
            Self::Expired => !wants_token,
            Self::Stale { .. } | Self::Late { .. } | Self::Cut { .. } | Self::Slow { .. } | Self::Partly { .. } => true,
        }
    }

    /// What comes in place of a request that is not done; none when the connection just ends.
    pub(super) fn instead(&self, path: &str) -> Option<Response<Bytes>> {
        let words = Shape::of(path);
        match self {
            Self::Refused { status, code } => Some(refusal(*status, code).response(words)),
            Self::Limited { wait } => {
                let seconds = wait.as_secs();
                let limited = Refusal::new(StatusCode::TOO_MANY_REQUESTS, "HTTP-429", "API rate limit reached.");
                let limited = limited.detail(format!("You need to wait {seconds} seconds until limit is lifted."));
                let mut response = limited.response(Shape::Plain);
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
                Some(response)
            }
            Self::Failed { status, .. } => Some(failed(*status).response(words)),
            Self::Expired => {
                Some(Refusal::unauthorized("the token is not valid on this host, or no longer").response(words))
            }
            Self::Disabled => {
                let code = if path == "/oauth/token" { "TENANT_DEACTIVATED" } else { "TENANT_DISABLED" };
                let refusal = Refusal::new(StatusCode::UNAUTHORIZED, code, "Tenant is disabled");
                Some(refusal.response(words))
            }
            _ => None,
        }
    }

    /// What comes back of a request that was done; none when its answer is lost.
    pub(super) fn after(&self, response: Response<Bytes>, path: &str) -> Option<Response<Bytes>> {
        match self {
            Self::Lost { .. } | Self::Silent { .. } => None,
            Self::Failed { status, .. } => Some(failed(*status).response(Shape::of(path))),
            // The head says how much there would be.
            Self::Cut { bytes } => Some(response.map(|body| body.slice(..(*bytes).min(body.len().saturating_sub(1))))),
            _ => Some(response),
        }
    }
}

fn failed(status: StatusCode) -> Refusal {
    refusal(status, &format!("HTTP-{}", status.as_u16()))
}

fn refusal(status: StatusCode, code: &str) -> Refusal {
    Refusal::new(status, code, status.canonical_reason().unwrap_or("Refused"))
}

impl Touched {
    /// What a request did to the state it found.
    pub(super) fn all(before: &State, changes: &[Change]) -> Vec<Self> {
        let mut now = before.clone();
        let mut touched = Vec::new();
        for change in changes {
            let Change::Document { scope, collection, id, now: then } = change else { continue };
            let held = now.get(scope, collection, id);
            let (how, document) = match (held, then) {
                (None, Some((_, then))) => (Touch::Made, then.clone()),
                (Some(held), Some((_, then))) if held != *then => (Touch::Changed, then.clone()),
                (Some(held), None) => (Touch::Removed, held),
                _ => continue,
            };
            match then {
                Some((_, then)) => drop(now.put(scope, collection, id, then.clone())),
                None => drop(now.remove(scope, collection, id)),
            }
            touched.push(Self {
                scope: scope.clone(),
                collection: collection.to_string(),
                id: id.to_string(),
                subject: subject(id, &document),
                how,
            });
        }
        touched
    }
}

/// What tells a document from others of its collection, whatever its id is; the id where nothing else does.
fn subject(id: &str, document: &Document) -> String {
    const FIELDS: [&str; 8] = ["subject", "name", "clientName", "origin", "provider", "assigneeId", "spaceId", "type"];
    let told = FIELDS.iter().filter_map(|field| document.get(*field)?.as_str());
    let told = told.collect::<Vec<&str>>().join(" ");
    if told.is_empty() { id.to_owned() } else { told }
}

/// A fault in one word: `refused:403:HTTP-403`, `limited:3`, `failed:503`, `failed-done:503`, `lost`, `lost-done`,
/// `silent`, `silent-done`, `expired`, `stale:2`, `cut:40` (bytes), `slow:250` (milliseconds), `partly:403:LICENSES-011`,
/// `disabled`, `late:250` (milliseconds).
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { status, code } => write!(f, "refused:{}:{code}", status.as_u16()),
            Self::Limited { wait } => write!(f, "limited:{}", wait.as_secs()),
            Self::Failed { status, done: false } => write!(f, "failed:{}", status.as_u16()),
            Self::Failed { status, done: true } => write!(f, "failed-done:{}", status.as_u16()),
            Self::Lost { done: false } => f.write_str("lost"),
            Self::Lost { done: true } => f.write_str("lost-done"),
            Self::Silent { done: false } => f.write_str("silent"),
            Self::Silent { done: true } => f.write_str("silent-done"),
            Self::Expired => f.write_str("expired"),
            Self::Stale { changes } => write!(f, "stale:{changes}"),
            Self::Cut { bytes } => write!(f, "cut:{bytes}"),
            Self::Slow { over } => write!(f, "slow:{}", over.as_millis()),
            Self::Partly { status, code } => write!(f, "partly:{}:{code}", status.as_u16()),
            Self::Disabled => f.write_str("disabled"),
            Self::Late { by } => write!(f, "late:{}", by.as_millis()),
        }
    }
}

/// The text is not a fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a fault: write refused:STATUS:CODE, limited:SECONDS, failed:STATUS, failed-done:STATUS, lost, \
     lost-done, silent, silent-done, expired, stale:CHANGES, cut:BYTES, slow:MILLISECONDS, partly:STATUS:CODE, disabled or \
     late:MILLISECONDS"
)]
pub struct FaultError(String);

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        parse(text).ok_or_else(|| FaultError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Fault> {
    let (word, rest) = text.split_once(':').map_or((text, None), |(word, rest)| (word, Some(rest)));
    let status = |text: &str| text.parse().ok().and_then(|code: u16| StatusCode::from_u16(code).ok());
    let broken = |text: &str| status(text).filter(StatusCode::is_server_error);
    Some(match (word, rest) {
        ("refused", Some(rest)) => {
            let (number, code) = rest.split_once(':')?;
            Fault::Refused { status: status(number).filter(StatusCode::is_client_error)?, code: code.to_owned() }
        }
        ("partly", Some(rest)) => {
            let (number, code) = rest.split_once(':')?;
            let refuses = |status: &StatusCode| status.is_client_error() || status.is_server_error();
            Fault::Partly { status: status(number).filter(refuses)?, code: code.to_owned() }
        }
        ("limited", Some(seconds)) => Fault::Limited { wait: Duration::from_secs(seconds.parse().ok()?) },
        ("failed", Some(number)) => Fault::Failed { status: broken(number)?, done: false },
        ("failed-done", Some(number)) => Fault::Failed { status: broken(number)?, done: true },
        ("lost", None) => Fault::Lost { done: false },
        ("lost-done", None) => Fault::Lost { done: true },
        ("silent", None) => Fault::Silent { done: false },
        ("silent-done", None) => Fault::Silent { done: true },
        ("expired", None) => Fault::Expired,
        ("stale", Some(changes)) => Fault::Stale { changes: changes.parse().ok()? },
        ("cut", Some(bytes)) => Fault::Cut { bytes: bytes.parse().ok()? },
        ("slow", Some(milliseconds)) => Fault::Slow { over: Duration::from_millis(milliseconds.parse().ok()?) },
        ("disabled", None) => Fault::Disabled,
        ("late", Some(milliseconds)) => Fault::Late { by: Duration::from_millis(milliseconds.parse().ok()?) },
        _ => return None,
    })
}
