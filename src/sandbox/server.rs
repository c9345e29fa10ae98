//! The sandbox over HTTP: many hosts on one port.
//!
//! A client names the host it means in one of three ways, and links in answers begin with the address it used:
//!
//! - the path form, `http://127.0.0.1:4848/<host name>/api/v1/...`, for clients that take a base address;
//! - the `Host` header: the real name, or `<label>.localhost` and `<label>.<region>.localhost`, which browsers and
//!   most resolvers send to this machine;
//! - an absolute request line, as a client sends it to a proxy. Only the sandbox's own names are answered: it is no
//!   proxy for others.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::dispatch::Base;
use super::hosts;
use super::service::Sandbox;

/// What clients may take of a served sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// How many bytes a request's body may have (64 MB: twice the largest upload with a limit of its own, so that this can
    /// answer).
    pub body: usize,
    /// How many bytes a request's line and headers may have together (64 KB); hyper needs 8 KB at least.
    pub head: usize,
    /// How many headers a request may have (128).
    pub headers: usize,
    /// How long a client may take to send its headers, and again to send its body (60 seconds).
    pub sending: Duration,
    /// How many connections there may be at one time; others wait to be accepted (1,024).
    pub connections: usize,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            body: 64 * 1024 * 1024,
            head: 64 * 1024,
            headers: 128,
            sending: Duration::from_secs(60),
            connections: 1_024,
        }
    }
}

impl ServerLimits {
    /// The least that hyper takes for a head; less is a mistake that would end the process.
    const HEAD: usize = 8 * 1024;
}

/// How long running requests may take when the server stops.
const GRACE: Duration = Duration::from_secs(5);

/// Opens a port of this machine for IPv4 and, where there is any, for IPv6. Port 0 lets the system choose one.
///
/// # Errors
/// When the port is taken or may not be opened.
pub async fn listen(port: u16) -> std::io::Result<Vec<TcpListener>> {
    // A port that the system chose for one family may be taken in the other; then another is tried.
    let mut tries = if port == 0 { 16 } else { 1 };
    loop {
        tries -= 1;
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let chosen = first.local_addr()?.port();
        match TcpListener::bind((Ipv6Addr::LOCALHOST, chosen)).await {
            Ok(second) => return Ok(vec![first, second]),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && tries > 0 => {}
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => return Err(error),
            Err(_) => return Ok(vec![first]),
        }
    }
}

impl Sandbox {
    /// Answers over HTTP on the listeners until `stop` is done, then lets running requests end.
    pub async fn serve(&self, listeners: Vec<TcpListener>, stop: impl Future<Output = ()>) {
        self.serve_within(ServerLimits::default(), listeners, stop).await;
    }

    /// The same with other limits.
    pub async fn serve_within(
        &self,
        limits: ServerLimits,
        listeners: Vec<TcpListener>,
        stop: impl Future<Output = ()>,
    ) {
        let (stopping, tasks) = (CancellationToken::new(), TaskTracker::new());
        let free = Arc::new(Semaphore::new(limits.connections.clamp(1, Semaphore::MAX_PERMITS)));
        for listener in listeners {
            let (sandbox, stopping, tasks) = (self.clone(), stopping.clone(), tasks.clone());
            let free = Arc::clone(&free);
            tasks.clone().spawn(async move {
                let accept = async || {
                    let accepted = listener.accept().await;
                    // After it, so that the listener of one address does not keep the last place from the other's.
                    (Arc::clone(&free).acquire_owned().await.ok(), accepted)
                };
                while let Some((room, accepted)) = stopping.run_until_cancelled(accept()).await {
                    match accepted {
                        Ok((stream, _)) => {
                            let work = connection(sandbox.clone(), stream, stopping.clone(), limits);
                            tasks.spawn(async move {
                                let _room = room;
                                work.await;
                            });
                        }
                        // The client went away, or no file is free: the next one may do better.
                        Err(error) => {
                            tracing::debug!(%error, "the sandbox could not accept a connection");
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                }
            });
        }
        tasks.close();
        // Dropping this future must end the tasks as well.
        let guard = stopping.drop_guard();
        stop.await;
        drop(guard);
        if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
            tracing::debug!("the sandbox stopped before every request had ended");
        }
    }
}

async fn connection(sandbox: Sandbox, stream: TcpStream, stopping: CancellationToken, limits: ServerLimits) {
    let _ = stream.set_nodelay(true);
    let here = stream.local_addr().ok();
    let sandbox = Arc::new(sandbox);
    let service = service_fn(move |request| {
        let sandbox = sandbox.clone();
        async move { answer(&sandbox, request, here, limits).await }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.sending)
        .max_buf_size(limits.head.max(ServerLimits::HEAD))
        .max_headers(limits.headers)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the sandbox broke");
    }
}

async fn answer(
    sandbox: &Sandbox,
    request: Request<Incoming>,
    here: Option<SocketAddr>,
    limits: ServerLimits,
) -> Result<Response<Body>, Lost> {
    let (mut head, body) = request.into_parts();
    let road = match road(sandbox, &head, here) {
        Ok(road) => road,
        Err(response) => return Ok(*response),
    };
    let body = match tokio::time::timeout(limits.sending, Limited::new(body, limits.body).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let detail = format!("a request may have {} bytes", limits.body);
            return Ok(closing(refuse(StatusCode::PAYLOAD_TOO_LARGE, "Payload too large", &detail)));
        }
        Ok(Err(error)) => {
            let detail = format!("the body broke off: {error}");
            return Ok(closing(refuse(StatusCode::BAD_REQUEST, "Bad request", &detail)));
        }
        Err(_) => {
            let detail = "the body did not arrive in time";
            return Ok(closing(refuse(StatusCode::REQUEST_TIMEOUT, "Request timeout", detail)));
        }
    };
    head.uri = road.uri;
    head.version = Version::HTTP_11;
    head.extensions.insert(Base(road.base));
    let request = Request::from_parts(head, body);
    let Some((response, over)) = sandbox.travel(request).await else { return Err(Lost) };
    let told = response.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let breaks = told.is_some_and(|told: usize| response.body().len() < told);
    Ok(response.map(|body| match (over, breaks) {
        (None, false) => whole(body),
        _ => in_pieces(body, over.unwrap_or_default(), breaks),
    }))
}

/// What is sent back of a request.
type Body = UnsyncBoxBody<Bytes, Lost>;

fn whole(body: Bytes) -> Body {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

/// How many pieces a body comes in that comes slowly.
const PIECES: usize = 8;

/// A body that comes over so much time, and breaks off at its end or not.
fn in_pieces(body: Bytes, over: Duration, breaks: bool) -> Body {
    let size = body.len().div_ceil(PIECES).max(1);
    let pause = over / u32::try_from(PIECES).unwrap_or(1);
    let pieces = futures_util::stream::unfold((body, breaks), move |(mut rest, breaks)| async move {
        if rest.is_empty() {
            return breaks.then_some((Err(Lost), (rest, false)));
        }
        tokio::time::sleep(pause).await;
        let piece = rest.split_to(size.min(rest.len()));
        Some((Ok(Frame::data(piece)), (rest, breaks)))
    });
    BodyExt::boxed_unsync(StreamBody::new(pieces))
}

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is to be lost")]
struct Lost;

/// Where a request goes: its address on the simulated cloud, and what links begin with.
struct Road {
    uri: Uri,
    base: String,
}

fn road(sandbox: &Sandbox, head: &http::request::Parts, here: Option<SocketAddr>) -> Result<Road, Box<Response<Body>>> {
    let refused = |status, title, detail: &str| Err(Box::new(closing(refuse(status, title, detail))));
    if head.method == Method::CONNECT {
        return refused(
            StatusCode::METHOD_NOT_ALLOWED,
            "Method not allowed",
            "the sandbox opens no tunnels: use http://",
        );
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let absolute = head.uri.authority().map(|authority| (head.uri.scheme_str().unwrap_or("http"), authority.as_str()));
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let (scheme, authority) = match (absolute, host) {
        (Some(absolute), _) => absolute,
        (None, Some(host)) => ("http", host),
        (None, None) => ("http", ""),
    };
    let name = name_of(authority);
    if let Some(host) = own(sandbox, &name) {
        return to(&host, path, format!("{scheme}://{authority}"));
    }
    let machine = name.parse::<IpAddr>().is_ok() || name == "localhost" || name.is_empty();
    if absolute.is_some() && !machine {
        let detail = format!("{name} is no host of the sandbox, and the sandbox is no proxy for others");
        return refused(StatusCode::FORBIDDEN, "Forbidden", &detail);
    }
    let (segment, rest) = path[1..].split_at(path[1..].find(['/', '?']).unwrap_or(path.len() - 1));
    if !hosts::is_host(&segment.to_ascii_lowercase()) {
        let detail = "name a host of the sandbox first: http://<address>/register.<region>.qlikcloud.com/..., \
                      http://<address>/console.qlikcloud.com/... or http://<address>/<tenant host>/...";
        return refused(StatusCode::NOT_FOUND, "Not found", detail);
    }
    let authority = match (authority, here) {
        ("", Some(here)) => here.to_string(),
        (authority, _) => authority.to_owned(),
    };
    let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    to(segment, &rest, format!("{scheme}://{authority}/{segment}"))
}

fn to(host: &str, path: &str, base: String) -> Result<Road, Box<Response<Body>>> {
    let uri = Uri::builder().scheme("https").authority(host).path_and_query(path).build();
    uri.map(|uri| Road { uri, base })
        .map_err(|error| Box::new(refuse(StatusCode::BAD_REQUEST, "Bad request", &error.to_string())))
}

/// The host name of an authority: small letters, without port and brackets.
fn name_of(authority: &str) -> String {
    let name = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// The simulated host that a name means: itself, or what `.localhost` stands for.
fn own(sandbox: &Sandbox, name: &str) -> Option<String> {
    let Some(label) = name.strip_suffix(".localhost") else {
        return hosts::is_host(name).then(|| name.to_owned());
    };
    let whole = format!("{label}.{}", hosts::DOMAIN);
    if hosts::is_host(&whole) {
        return Some(whole);
    }
    let (state, now) = (sandbox.snapshot(), sandbox.now());
    hosts::REGIONS
        .into_iter()
        .map(|(region, _)| hosts::name(label, region))
        .find(|host| hosts::tenant(&state, host, now).is_some())
}

fn refuse(status: StatusCode, title: &str, detail: &str) -> Response<Body> {
    let error = json!({"code": format!("HTTP-{}", status.as_u16()), "title": title, "detail": detail});
    let mut response = Response::new(whole(Bytes::from(json!({"errors": [error]}).to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The same, and the connection is closed after it: what the client still sends is not read.
fn closing(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
