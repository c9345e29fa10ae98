//! A transport that answers from a closure and writes down what it was asked: no sockets, so the clock can be paused.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use tenantry::qlik::{Incoming, Outgoing, Transport, TransportError, TransportErrorKind};
use tokio::time::Instant;

/// A request as it would have gone to the socket.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) host: String,
    pub(crate) url: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// When, since the transport was made.
    pub(crate) at: Duration,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn is_token(&self) -> bool {
        self.url.ends_with("/oauth/token")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What the other side does.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(crate) result: Result<Incoming, TransportError>,
    pub(crate) after: Duration,
}

impl Reply {
    pub(crate) fn raw(status: u16, content_type: &str, body: impl Into<String>) -> Self {
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            headers.insert("content-type", content_type.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        Self { result: Ok(Incoming { status, headers, body: body.into().into() }), after: Duration::ZERO }
    }

    pub(crate) fn json(status: u16, body: Value) -> Self {
        Self::raw(status, "application/json; charset=utf-8", body.to_string())
    }

    pub(crate) fn ok() -> Self {
        Self::json(200, json!({ "id": "1" }))
    }

    pub(crate) fn status(status: u16) -> Self {
        Self::raw(status, "", "")
    }

    pub(crate) fn token(number: usize) -> Self {
        Self::json(
            200,
            json!({ "access_token": format!("token-{number}"), "token_type": "bearer", "expires_in": 21600 }),
        )
    }

    pub(crate) fn error(kind: TransportErrorKind, sent: bool) -> Self {
        let error = TransportError { kind, sent, status: None, message: "scripted".to_owned() };
        Self { result: Err(error), after: Duration::ZERO }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().unwrap();
        self.result.as_mut().unwrap().headers.insert(name, HeaderValue::from_str(value).unwrap());
        self
    }

    pub(crate) fn after(mut self, span: Duration) -> Self {
        self.after = span;
        self
    }
}

type Handler = Box<dyn Fn(&Asked, usize) -> Reply + Send + Sync>;

/// The transport. The handler is given the request and how many of its kind (token or not) came before it.
#[derive(Clone)]
pub(crate) struct Scripted(Arc<Inner>);

struct Inner {
    handler: Handler,
    began: Instant,
    asked: Mutex<Vec<Asked>>,
}

impl Scripted {
    pub(crate) fn new(handler: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { handler: Box::new(handler), began: Instant::now(), asked: Mutex::default() }))
    }

    /// Hands out tokens and answers everything else by `handler`.
    pub(crate) fn service(handler: impl Fn(&Asked, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::new(move |asked, before| if asked.is_token() { Reply::token(before + 1) } else { handler(asked, before) })
    }

    /// Answers these, one after the other, and hands out tokens.
    pub(crate) fn list(replies: Vec<Reply>) -> Self {
        Self::service(move |_, before| replies.get(before).cloned().expect("no more requests than scripted"))
    }

    /// Forgets what was asked, and begins the list anew.
    pub(crate) fn again(self) -> Self {
        self.0.asked.lock().unwrap().clear();
        self
    }

    /// Everything that was asked but tokens.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.all().into_iter().filter(|asked| !asked.is_token()).collect()
    }

    /// Every request for a token.
    pub(crate) fn tokens(&self) -> Vec<Asked> {
        self.all().into_iter().filter(Asked::is_token).collect()
    }

    pub(crate) fn all(&self) -> Vec<Asked> {
        self.0.asked.lock().unwrap().clone()
    }
}

impl Transport for Scripted {
    fn send(&self, request: Outgoing) -> BoxFuture<'_, Result<Incoming, TransportError>> {
        Box::pin(async move {
            assert!(!format!("{request:?}").contains("canary"), "a request must not show its secrets");
            let body = request.body.collect().await?;
            let asked = Asked {
                method: request.method,
                host: request.host,
                url: request.url.to_string(),
                headers: request.headers,
                body: String::from_utf8_lossy(&body).into_owned(),
                at: self.0.began.elapsed(),
            };
            let before = {
                let mut all = self.0.asked.lock().unwrap();
                let before = all.iter().filter(|other| other.is_token() == asked.is_token()).count();
                all.push(asked.clone());
                before
            };
            let reply = (self.0.handler)(&asked, before);
            tokio::time::sleep(reply.after).await;
            reply.result
        })
    }
}
