//! The road over sockets.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::stream::StreamExt as _;
use http::header::CONTENT_LENGTH;
use tokio::time::Instant;

use super::transport::{Incoming, Opened, Outgoing, Transport, TransportError, TransportErrorKind};

/// How sockets are used.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// How long a connection may take to stand, name look-up and TLS included.
    pub connect_timeout: Duration,
    /// How long nothing may arrive and nothing may be sent. Qlik Cloud publishes and imports within one request, which takes minutes.
    pub stall_timeout: Duration,
    /// How long an exchange may take in all. A request that streams a file is bound by `stall_timeout` only.
    pub total_timeout: Duration,
    /// The largest answer that is accepted, in bytes.
    pub largest_answer: usize,
    /// What stands between.
    pub proxy: Proxy,
}

/// Whether requests go through a proxy.
#[derive(Clone, PartialEq, Eq)]
pub enum Proxy {
    /// As the system's settings say.
    System,
    /// No.
    None,
    /// Through this one.
    At(String),
}

impl fmt::Debug for Proxy {
    /// Without the address, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "System",
            Self::None => "None",
            Self::At(_) => "At(***)",
        })
    }
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(300),
            total_timeout: Duration::from_secs(900),
            largest_answer: 256 * 1024 * 1024,
            proxy: Proxy::System,
        }
    }
}

/// HTTP/1.1 and HTTP/2 over TLS, by reqwest.
///
/// Its connections live on the runtime of its first request: make one for each runtime. reqwest itself sends a request again in
/// one case only, when an HTTP/2 server says that it has not looked at it.
pub struct HttpTransport {
    settings: HttpSettings,
    client: OnceLock<reqwest::Client>,
}

impl HttpTransport {
    /// A transport. Nothing is opened before the first request.
    #[must_use]
    pub fn new(settings: HttpSettings) -> Self {
        Self { settings, client: OnceLock::new() }
    }

    fn client(&self) -> Result<&reqwest::Client, TransportError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(self.settings.connect_timeout)
            // A pooled connection that the server has closed meanwhile would leave a write in doubt.
            .pool_idle_timeout(Duration::from_secs(20))
            .tcp_nodelay(true)
            .referer(false);
        builder = match &self.settings.proxy {
            Proxy::System => builder,
            Proxy::None => builder.no_proxy(),
            Proxy::At(address) => {
                builder.proxy(reqwest::Proxy::all(address).map_err(|error| unsent(error.without_url()))?)
            }
        };
        let client = builder.build().map_err(unsent)?;
        Ok(self.client.get_or_init(|| client))
    }

    async fn exchange(&self, outgoing: Outgoing) -> Result<Incoming, TransportError> {
        let client = self.client()?;
        let progress = Progress::default();
        let mut request = client.request(outgoing.method, outgoing.url).headers(outgoing.headers);
        let mut fault = None;
        let mut streams = false;
        if let Some(bytes) = outgoing.body.in_memory() {
            if !outgoing.body.is_empty() {
                request = request.body(bytes);
            }
        } else {
            let open = outgoing.body.open().await?;
            fault = Some(open.fault());
            streams = true;
            if let Some(length) = open.length() {
                request = request.header(CONTENT_LENGTH, length);
            }
            let noted = progress.clone();
            let stream = open.stream().inspect(move |_: &io::Result<Bytes>| noted.note());
            request = request.body(reqwest::Body::wrap_stream(stream));
        }
        let failed =
            |error: reqwest::Error| fault.as_ref().and_then(|fault| fault.error(true)).unwrap_or_else(|| broken(error));
        let conversation = async {
            let mut response = progress.watch(self.settings.stall_timeout, request.send()).await?.map_err(failed)?;
            let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
            let late = |mut error: TransportError| {
                error.status = Some(status);
                error
            };
            let mut body = BytesMut::new();
            loop {
                progress.note();
                let chunk = progress.watch(self.settings.stall_timeout, response.chunk()).await.map_err(late)?;
                match chunk {
                    Ok(Some(chunk)) if body.len() + chunk.len() > self.settings.largest_answer => {
                        return Err(TransportError {
                            kind: TransportErrorKind::TooLarge,
                            sent: true,
                            status: Some(status),
                            message: format!("more than {} bytes", self.settings.largest_answer),
                        });
                    }
                    Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                    Ok(None) => return Ok(Incoming { status, headers, body: body.freeze() }),
                    Err(error) => {
                        return Err(TransportError {
                            kind: TransportErrorKind::Truncated,
                            sent: true,
                            status: Some(status),
                            message: causes(&error.without_url()),
                        });
                    }
                }
            }
        };
        if streams {
            return conversation.await;
        }
        tokio::time::timeout(self.settings.total_timeout, conversation)
            .await
            .unwrap_or_else(|_| Err(silent(self.settings.total_timeout)))
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: Outgoing) -> BoxFuture<'_, Result<Incoming, TransportError>> {
        Box::pin(self.exchange(request))
    }

    fn open(&self, request: Outgoing) -> BoxFuture<'_, Result<Opened, TransportError>> {
        Box::pin(async move {
            let sending = self.client()?.request(request.method, request.url).headers(request.headers).send();
            let mut response =
                Progress::default().watch(self.settings.stall_timeout, sending).await?.map_err(broken)?;
            let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
            let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
            let body = response
                .bytes_stream()
                .map(|chunk| chunk.map_err(|error| io::Error::other(causes(&error.without_url()))));
            Ok(Opened { status, headers, length, body: body.boxed() })
        })
    }
}

/// When something last moved.
#[derive(Clone)]
struct Progress(Arc<Mutex<Instant>>);

impl Default for Progress {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl Progress {
    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for `work`, but not through a silence of `limit`.
    async fn watch<F: Future>(&self, limit: Duration, work: F) -> Result<F::Output, TransportError> {
        let mut work = std::pin::pin!(work);
        loop {
            let deadline = self.last() + limit;
            tokio::select! {
                output = &mut work => return Ok(output),
                () = tokio::time::sleep_until(deadline) => {
                    if self.last() + limit <= Instant::now() {
                        return Err(silent(limit));
                    }
                }
            }
        }
    }
}

fn silent(limit: Duration) -> TransportError {
    TransportError {
        kind: TransportErrorKind::TimedOut,
        sent: true,
        status: None,
        message: format!("nothing within {limit:?}"),
    }
}

fn unsent(error: reqwest::Error) -> TransportError {
    TransportError { kind: TransportErrorKind::Unreachable, sent: false, status: None, message: causes(&error) }
}

fn broken(error: reqwest::Error) -> TransportError {
    let error = error.without_url();
    if error.is_connect() || error.is_builder() {
        return unsent(error);
    }
    let kind = if error.is_timeout() { TransportErrorKind::TimedOut } else { TransportErrorKind::Broken };
    TransportError { kind, sent: true, status: None, message: causes(&error) }
}

/// An error and its causes in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
