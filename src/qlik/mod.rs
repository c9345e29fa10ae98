//! HTTP to Qlik Cloud.
//!
//! A [`Client`] performs the requests of a target: it knows where the hosts live ([`Addresses`]), who it is to them
//! ([`Credentials`]), keeps the published rate limits, and makes one [`Failure`](crate::operation::Failure) of every error body Qlik Cloud
//! has. The bytes travel over a [`Transport`]: a socket ([`HttpTransport`]), or anything else that answers requests.
//!
//! # When a request is sent again
//!
//! | what happened | read, probe, replacing write | create, act, other write |
//! |---|---|---|
//! | no connection (name, refused, TLS, connect timeout) | again, backing off | again, backing off |
//! | 429 with `Retry-After` or its sentence | the whole tier of that host waits, then again | the same |
//! | 429 without | again, backing off | again, backing off |
//! | 401, first time | again with a new token | again with a new token |
//! | 401 of a disabled tenant, any other 4xx, 501 | refused | refused |
//! | the page a 303 leads to fails, in whatever way | as above | unknown: it acted |
//! | 408 | again, backing off | refused |
//! | 500, 502, 503, 504 | again, backing off, not before `Retry-After` | unknown: it may have acted |
//! | connection broken, answer cut short, no answer in time | again, backing off | unknown: it may have acted |
//! | not JSON, too large, redirect without end or elsewhere | fails | unknown: it may have acted |
//! | a file to be sent is gone or has changed | fails | fails |
//! | content that another host has breaks off on its way | asked for again, backing off | asked for again, backing off |
//!
//! A *replacing write* is a `PUT`, a `DELETE`, or a `PATCH` that only sets fields. When a write fails after an earlier
//! attempt may have acted, its failure is `Unknown`, whatever the last attempt says: settle it by a look-up.
//! A 503 counts as unknown for a create because a gateway sends it for a service that died while it worked.

mod addresses;
mod answer;
mod client;
mod compose;
mod credentials;
mod disclosed;
mod elsewhere;
mod http_transport;
mod limiter;
mod payload;
mod retry;
mod sign_in;
mod tokens;
mod transport;

pub use addresses::{AddressError, Addresses};
pub use client::{Client, Settings};
pub use credentials::{Access, Credentials, OauthClient};
pub use http_transport::{HttpSettings, HttpTransport, Proxy};
pub use payload::{Fault, OpenPayload, Payload};
pub use retry::RetryPolicy;
pub use transport::{Incoming, Opened, Outgoing, Transport, TransportError, TransportErrorKind};
