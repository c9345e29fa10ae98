//! A caller of the sandbox in process, for the tests of its resources.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use tenantry::contract::{Strictness, contract};
use tenantry::sandbox::{Sandbox, Settings};
use tenantry::surroundings::{Clock, Random};

pub(crate) const REGISTER: &str = "register.eu.qlikcloud.com";
pub(crate) const CONSOLE: &str = "console.qlikcloud.com";

/// A clock that stands until it is moved.
#[derive(Clone)]
pub(crate) struct Hand(Arc<Mutex<Timestamp>>);

impl Hand {
    pub(crate) fn at(moment: &str) -> Self {
        Self(Arc::new(Mutex::new(moment.parse().unwrap())))
    }

    pub(crate) fn forward(&self, span: Duration) {
        let mut now = self.0.lock().unwrap();
        *now += span;
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) bytes: Bytes,
    /// The body as JSON, null when it is none.
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) fn of(response: Response<Bytes>) -> Self {
        let (parts, bytes) = response.into_parts();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Self { status: parts.status.as_u16(), headers: parts.headers, bytes, body }
    }

    #[track_caller]
    pub(crate) fn expect(self, status: StatusCode) -> Value {
        assert_eq!(self.status, status.as_u16(), "{}", String::from_utf8_lossy(&self.bytes));
        self.body
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The code of the first error, wherever the service puts it.
    pub(crate) fn code(&self) -> String {
        let code = self.body.pointer("/errors/0/code").or_else(|| self.body.get("code"));
        code.map(|code| code.as_str().map_or_else(|| code.to_string(), str::to_owned)).unwrap_or_default()
    }
}

/// Holds an answer to the contract: what the sandbox says must be what Qlik could say.
#[track_caller]
fn published(method: &Method, path: &str, reply: &Reply) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let Some((operation, _)) = contract().find(method, path) else { return };
    // Wished fields leave out required ones; the published code of a failed invitation is text and a number at once.
    if query.contains("fields=") || operation.id == "inviteUsers" {
        return;
    }
    let strictness = if reply.status < 400 { Strictness::Exact } else { Strictness::Tolerant };
    let body = reply.header("content-type").starts_with("application/json").then_some(&reply.body);
    if let Err(violations) = operation.check_response(reply.status, body, strictness) {
        let told: Vec<String> = violations.iter().map(ToString::to_string).collect();
        panic!("{operation} answers {} {}: {}", reply.status, reply.body, told.join("; "));
    }
}

/// A sandbox with a clock that is moved by hand.
pub(crate) struct Cloud {
    pub(crate) sandbox: Sandbox,
    pub(crate) clock: Hand,
}

pub(crate) fn settings(clock: &Hand) -> Settings {
    Settings { clock: Arc::new(clock.clone()), random: Random::from_seed(7), ..Settings::default() }
}

impl Cloud {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let clock = Hand::at("2026-11-24T08:00:00Z");
        let mut settings = settings(&clock);
        change(&mut settings);
        Self { sandbox: Sandbox::in_memory(settings), clock }
    }

    /// A new space; its id.
    #[track_caller]
    pub(crate) fn space(&self, host: &str, name: &str, kind: &str) -> String {
        let made = self.post(host, "/api/v1/spaces", json!({"name": name, "type": kind}));
        made.expect(StatusCode::CREATED)["id"].as_str().unwrap().to_owned()
    }

    /// A new app of this stand-in in a space; its id.
    #[track_caller]
    pub(crate) fn app(&self, host: &str, space: &str, inside: &Value) -> String {
        let bearer = format!("Bearer {}", self.token(host));
        let headers = [("authorization", &*bearer), ("content-type", "application/octet-stream")];
        let path = format!("/api/v1/apps/import?spaceId={space}&name=Fleet");
        let made = self.send(&Method::POST, host, &path, &headers, Bytes::from(inside.to_string()));
        made.expect(StatusCode::OK)["attributes"]["id"].as_str().unwrap().to_owned()
    }

    /// The names of what a list has.
    #[track_caller]
    pub(crate) fn names(&self, host: &str, path: &str) -> Vec<String> {
        let body = self.get(host, path).expect(StatusCode::OK);
        body["data"].as_array().unwrap().iter().map(|held| held["name"].as_str().unwrap().to_owned()).collect()
    }

    /// A request with any headers and body; the answer is held to the contract.
    #[track_caller]
    pub(crate) fn send(&self, method: &Method, host: &str, path: &str, headers: &[(&str, &str)], body: Bytes) -> Reply {
        let reply = self.send_unchecked(method, host, path, headers, body);
        published(method, path, &reply);
        reply
    }

    /// A request with any headers and body.
    pub(crate) fn send_unchecked(
        &self,
        method: &Method,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(format!("https://{host}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Reply::of(self.sandbox.handle(request.body(body).unwrap()))
    }

    /// A token of the organization's client on a host.
    #[track_caller]
    pub(crate) fn token(&self, host: &str) -> String {
        let credentials = self.sandbox.credentials();
        let body = json!({
            "client_id": credentials.client_id, "client_secret": credentials.client_secret,
            "grant_type": "client_credentials",
        });
        let headers = [("content-type", "application/json")];
        let reply = self.send(&Method::POST, host, "/oauth/token", &headers, body.to_string().into());
        reply.expect(StatusCode::OK)["access_token"].as_str().unwrap().to_owned()
    }

    /// A JSON request with a fresh token; a null body is none.
    #[track_caller]
    pub(crate) fn call(&self, method: Method, host: &str, path: &str, body: Value) -> Reply {
        let bearer = format!("Bearer {}", self.token(host));
        let headers = [("authorization", &*bearer), ("content-type", "application/json")];
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        self.send(&method, host, path, &headers, body)
    }

    #[track_caller]
    pub(crate) fn get(&self, host: &str, path: &str) -> Reply {
        self.call(Method::GET, host, path, Value::Null)
    }

    #[track_caller]
    pub(crate) fn post(&self, host: &str, path: &str, body: Value) -> Reply {
        self.call(Method::POST, host, path, body)
    }

    #[track_caller]
    pub(crate) fn put(&self, host: &str, path: &str, body: Value) -> Reply {
        self.call(Method::PUT, host, path, body)
    }

    #[track_caller]
    pub(crate) fn patch(&self, host: &str, path: &str, body: Value) -> Reply {
        self.call(Method::PATCH, host, path, body)
    }

    #[track_caller]
    pub(crate) fn delete(&self, host: &str, path: &str) -> Reply {
        self.call(Method::DELETE, host, path, Value::Null)
    }

    /// A new tenant of region eu.
    #[track_caller]
    pub(crate) fn tenant(&self) -> Value {
        let body = json!({"licenseKey": self.sandbox.credentials().license_key});
        self.post(REGISTER, "/api/v1/tenants", body).expect(StatusCode::CREATED)
    }

    /// The host name of a new tenant of region eu.
    #[track_caller]
    pub(crate) fn tenant_host(&self) -> String {
        self.tenant()["hostnames"][0].as_str().unwrap().to_owned()
    }
}
