//! One HTTP exchange, whatever road its bytes take.

use std::fmt;
use std::io;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use http::{HeaderMap, Method, StatusCode};
use url::Url;

use super::payload::Payload;

/// Carries one request to a server and its answer back: no redirect is followed and nothing is tried twice.
pub trait Transport: Send + Sync {
    /// Performs the exchange. Dropping the future abandons it.
    fn send(&self, request: Outgoing) -> BoxFuture<'_, Result<Incoming, TransportError>>;

    /// Performs the exchange, and gives the answer before its body has come. Unless a transport knows better, the body comes
    /// first.
    fn open(&self, request: Outgoing) -> BoxFuture<'_, Result<Opened, TransportError>> {
        Box::pin(async move {
            let Incoming { status, headers, body } = self.send(request).await?;
            let length = Some(body.len() as u64);
            Ok(Opened { status, headers, length, body: stream::once(async { Ok(body) }).boxed() })
        })
    }
}

impl<T: Transport + ?Sized> Transport for std::sync::Arc<T> {
    fn send(&self, request: Outgoing) -> BoxFuture<'_, Result<Incoming, TransportError>> {
        (**self).send(request)
    }

    fn open(&self, request: Outgoing) -> BoxFuture<'_, Result<Opened, TransportError>> {
        (**self).open(request)
    }
}

/// An answer whose body is still to come.
pub struct Opened {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// How many bytes will come, when that is known.
    pub length: Option<u64>,
    /// The body.
    pub body: BoxStream<'static, io::Result<Bytes>>,
}

/// A request as it goes to the socket: secrets are text by now, so its `Debug` shows neither values of headers nor body.
#[derive(Clone)]
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// The absolute address.
    pub url: Url,
    /// The part of `url` that stands for the Qlik Cloud host: links in answers begin with it. Ends with `/`.
    pub base: Url,
    /// The Qlik Cloud host that is meant, by its real name.
    pub host: String,
    /// The headers; `Content-Type` and `Content-Length` come from the body.
    pub headers: HeaderMap,
    /// The body.
    pub body: Payload,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("method", &self.method)
            .field("host", &self.host)
            .field("path", &self.url.path())
            .finish_non_exhaustive()
    }
}

/// An answer as it came from the socket. Its body may hold secrets, so `Debug` leaves it out.
#[derive(Clone)]
pub struct Incoming {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body, decompressed.
    pub body: Bytes,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("status", &self.status)
            .field("length", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Why an exchange did not end with an answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct TransportError {
    /// What went wrong.
    pub kind: TransportErrorKind,
    /// Whether any of the request may have reached the server.
    pub sent: bool,
    /// The status, when it came before the rest was lost.
    pub status: Option<StatusCode>,
    /// The cause in words, without address and without content.
    pub message: String,
}

/// What went wrong with an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportErrorKind {
    /// No connection: name not found, refused, TLS not agreed, connect timeout.
    Unreachable,
    /// The server was silent for too long.
    TimedOut,
    /// The connection broke before the answer began.
    Broken,
    /// The answer ended before its end, or could not be decompressed.
    Truncated,
    /// The answer is larger than this side accepts.
    TooLarge,
    /// A file of the request's body cannot be read, or is not the file it was when the operation was made.
    File,
    /// The request's body comes from another host, and did not come whole.
    Elsewhere,
}

impl TransportErrorKind {
    /// The code a failure of this kind carries.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Unreachable => "tenantry/unreachable",
            Self::TimedOut => "tenantry/timeout",
            Self::Broken => "tenantry/connection-broken",
            Self::Truncated => "tenantry/truncated",
            Self::TooLarge => "tenantry/too-large",
            Self::File => "tenantry/file",
            Self::Elsewhere => "tenantry/content-broken",
        }
    }
}
