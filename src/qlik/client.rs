//! Performs operations: finds the address, shows the token, keeps the limits, tries again, and reads the answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tokio::time::Instant;
use tracing::{Instrument as _, debug, debug_span};
use url::Url;

use super::addresses::{Addresses, Base};
use super::answer::{self, Expected};
use super::compose;
use super::credentials::{Access, Credentials};
use super::disclosed::Disclosed;
use super::limiter::{Limiter, Quota};
use super::payload::Payload as Sendable;
use super::retry::{Attempts, Remedy, RetryPolicy, Setback};
use super::tokens::Tokens;
use super::transport::{Incoming, Outgoing, Transport};
use crate::contract::{Published, Tier, contract, replace_secrets};
use crate::operation::secret::{self, SecretStore};
use crate::operation::{
    Call, Effect, Failure, FailureKind, HeaderText, Host, Key, Operation, Outcome, Payload, Request, Response,
};
use crate::surroundings::{Clock, Random};

/// What the client calls itself.
pub(super) const AGENT: &str = concat!("tenantry/", env!("CARGO_PKG_VERSION"));

/// Headers an operation may not set: they belong to the connection.
const RESERVED: [&str; 6] = ["host", "content-length", "transfer-encoding", "connection", "cookie", "expect"];

/// What a [`Client`] needs to know.
#[derive(Clone)]
pub struct Settings {
    /// Where the target's hosts are.
    pub addresses: Addresses,
    /// Who tenantry is to them.
    pub credentials: Credentials,
    /// Where secrets come from and go to.
    pub secrets: Arc<dyn SecretStore>,
    /// Whether the published rate limits are kept. Off only for a service that has none; a 429 is heeded either way.
    pub limits: bool,
    /// When a request is sent again.
    pub retry: RetryPolicy,
    /// The time of day, for dates in answers. Waiting goes by the runtime's clock.
    pub clock: Arc<dyn Clock>,
    /// Chance, for pauses and boundaries.
    pub random: Random,
}

/// Performs operations on the hosts of one target over a transport.
///
/// One client serves any number of runs at once, on one runtime: tokens and limits are shared.
pub struct Client<T> {
    pub(super) transport: T,
    pub(super) settings: Settings,
    pub(super) tokens: Tokens,
    pub(super) limiter: Limiter,
    /// Hosts of tenants this client has created, and when.
    pub(super) newcomers: Mutex<HashMap<String, Instant>>,
}

/// A request that is the same at every attempt.
struct Prepared {
    base: Base,
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Sendable,
    quota: Quota,
    expected: Expected,
    effect: Effect,
    /// Whether the client shows its token.
    bearer: bool,
}

impl Prepared {
    /// Takes a body that was opened for one attempt.
    fn take(&mut self, body: Sendable) -> Result<(), Setback> {
        if let Some(content_type) = body.content_type() {
            let content_type = header_value(CONTENT_TYPE.as_str(), content_type).map_err(Setback::last)?;
            self.headers.insert(CONTENT_TYPE, content_type);
        }
        self.body = body;
        Ok(())
    }
}

impl<T: Transport> Client<T> {
    /// A client.
    pub fn new(transport: T, settings: Settings) -> Self {
        let limiter = Limiter::new(settings.limits);
        Self { transport, settings, tokens: Tokens::default(), limiter, newcomers: Mutex::default() }
    }

    /// Performs a request. Dropping the future abandons it, and then it may or may not have been carried out.
    ///
    /// # Errors
    /// A [`Failure`] whose kind tells what is known about whether the service acted.
    pub async fn perform(&self, key: &Key, operation: &Operation) -> Outcome {
        let Call::Request(request) = &operation.call else {
            let title = format!("`{}` is not a request to Qlik Cloud", operation.id);
            return Err(Failure::new(FailureKind::Denied, "tenantry/not-a-request", title));
        };
        let span = debug_span!("operation", tenant = %request.host, operation = %operation.id, key = %key);
        self.request(key, operation, request).instrument(span).await
    }

    async fn request(&self, key: &Key, operation: &Operation, request: &Request) -> Outcome {
        let host = lower_case(&request.host);
        let access = self.settings.credentials.access(&host)?;
        let base = self.settings.addresses.base(&host.name())?;
        let mut secrets = Disclosed::of(request, &*self.settings.secrets).await?;
        let mut prepared = self.prepare(operation, request, base, &secrets)?;
        let elsewhere = self.elsewhere(request)?;
        let harmless = request.is_harmless_to_repeat(operation.effect);
        let mut attempts =
            Attempts::new(&self.settings.retry, &self.settings.random, harmless, operation.effect.is_write());
        loop {
            let span = debug_span!("attempt", number = attempts.number());
            let attempt = async {
                if let Some(place) = &elsewhere {
                    prepared.take(self.opened(place, &mut secrets).await?)?;
                }
                self.attempt(&prepared, &access, &mut secrets, &mut attempts).await
            };
            let attempt = attempt.instrument(span).await;
            match attempt {
                Ok(mut response) => {
                    self.note_tenant(operation, &response);
                    secrets.hide_in_response(&mut response);
                    self.keep_secrets(key, &prepared, operation, &mut response).await?;
                    return Ok(response);
                }
                Err(Setback { failure, remedy }) => {
                    let failure = secrets.hide_in_failure(failure);
                    debug!(code = %failure.code, status = failure.status, ?remedy, "failed");
                    let pause = attempts.after(Setback { failure, remedy })?;
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                }
            }
        }
    }

    fn prepare(
        &self,
        operation: &Operation,
        request: &Request,
        base: Base,
        secrets: &Disclosed,
    ) -> Result<Prepared, Failure> {
        let published = contract().operation(&operation.id);
        let url = match &request.next {
            Some(link) => base.follow(&base.url, link)?,
            None => base.at(&request.path, &request.query)?,
        };
        let expected = match published {
            Some(published) if published.answers_json() => Expected::Json,
            _ => Expected::Anything,
        };
        let body = compose::payload(&request.body, secrets, &self.settings.random)?;
        let mut headers = HeaderMap::new();
        headers.insert(
            ACCEPT,
            HeaderValue::from_static(match expected {
                Expected::Json => "application/json",
                Expected::Anything => "*/*",
            }),
        );
        if let Some(content_type) = body.content_type() {
            headers.insert(CONTENT_TYPE, header_value(CONTENT_TYPE.as_str(), content_type)?);
        }
        let mut bearer = !published.is_some_and(|published| published.anonymous);
        for (name, text) in &request.headers {
            let header: HeaderName = name.parse().map_err(|_| bad_header(name))?;
            if RESERVED.contains(&header.as_str()) {
                return Err(bad_header(name));
            }
            bearer &= header != AUTHORIZATION;
            let mut value = match text {
                HeaderText::Text(text) => header_value(name, text)?,
                HeaderText::Bearer(secret) => header_value(name, &format!("Bearer {}", secrets.text(secret)))?,
            };
            value.set_sensitive(header == AUTHORIZATION || matches!(text, HeaderText::Bearer(_)));
            headers.insert(header, value);
        }
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let quota = quota(published, &request.method);
        let effect = operation.effect;
        Ok(Prepared { base, method: request.method.clone(), url, headers, body, quota, expected, effect, bearer })
    }

    /// Sends the request once and follows its redirects.
    async fn attempt(
        &self,
        prepared: &Prepared,
        access: &Access,
        secrets: &mut Disclosed,
        attempts: &mut Attempts<'_>,
    ) -> Result<Response, Setback> {
        let mut headers = prepared.headers.clone();
        let mut serial = None;
        if prepared.bearer {
            let token = self
                .bearer(&prepared.base, access)
                .await
                .map_err(|failure| Setback::last(tokenless(failure, &prepared.base.host)))?;
            let mut value = header_value("authorization", &format!("Bearer {}", token.text.expose_secret()))
                .map_err(Setback::last)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
            secrets.add(token.text.clone());
            serial = Some(token.serial);
        }
        let is_write = prepared.effect.is_write();
        let (mut method, mut url, mut body) = (prepared.method.clone(), prepared.url.clone(), prepared.body.clone());
        for _ in 0..=self.settings.retry.redirects {
            let outgoing = Outgoing {
                method: method.clone(),
                url: url.clone(),
                base: prepared.base.url.clone(),
                host: prepared.base.host.clone(),
                headers: headers.clone(),
                body: body.clone(),
            };
            let incoming = self.exchange(&prepared.base, &prepared.quota, outgoing, attempts, is_write).await?;
            let status = incoming.status;
            if status.is_success() {
                return answer::response(&incoming, prepared.expected).map_err(|mut failure| {
                    if !is_write {
                        failure.kind = FailureKind::Refused;
                    }
                    Setback::last(failure)
                });
            }
            let Some(location) = redirection(&incoming) else {
                let setback = self.setback(&prepared.base, &prepared.quota, &incoming, is_write);
                // An API key, or a token the operation brought along, cannot be had anew.
                let renewable = matches!(access, Access::Client(_)).then_some(serial).flatten();
                return Err(match (setback.remedy, renewable) {
                    (Remedy::NewToken, None) => Setback::last(setback.failure),
                    (Remedy::NewToken, Some(serial)) => {
                        self.tokens.forget(prepared.base.key(), serial);
                        setback
                    }
                    _ => setback,
                });
            };
            let stuck = |title: String| {
                let untouched = matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
                let kind = if is_write && !untouched { FailureKind::Unknown } else { FailureKind::Refused };
                let mut failure = Failure::new(kind, "tenantry/redirect", title);
                failure.status = Some(status.as_u16());
                failure
            };
            let next = prepared.base.follow(&url, &location).map_err(|foreign| {
                let mut failure = stuck(format!("{} redirects to another place", prepared.base.host));
                failure.code = foreign.code;
                failure.detail = foreign.detail;
                failure.hint = foreign.hint;
                Setback::last(failure)
            })?;
            match status {
                _ if method == Method::GET || method == Method::HEAD => {}
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => {}
                StatusCode::SEE_OTHER => {
                    attempts.carried_out();
                    method = Method::GET;
                    body = Sendable::default();
                    headers.remove(CONTENT_TYPE);
                }
                _ => {
                    let title =
                        format!("{} answers a {method} with a redirect that says nothing about it", prepared.base.host);
                    return Err(Setback::last(stuck(title)));
                }
            }
            debug!(status = status.as_u16(), path = next.path(), "redirected");
            url = next;
        }
        let title = format!("{} redirects without end", prepared.base.host);
        Err(Setback::last(Failure::new(
            if is_write { FailureKind::Unknown } else { FailureKind::Refused },
            "tenantry/redirect",
            title,
        )))
    }

    /// One exchange within the limits.
    pub(super) async fn exchange(
        &self,
        base: &Base,
        quota: &Quota,
        outgoing: Outgoing,
        attempts: &mut Attempts<'_>,
        is_write: bool,
    ) -> Result<Incoming, Setback> {
        let came = Instant::now();
        let place = self.limiter.enter(base.key(), quota).await;
        attempts.queued(came.elapsed());
        let sent = Instant::now();
        let (method, path) = (outgoing.method.clone(), outgoing.url.path().to_owned());
        let result = self.transport.send(outgoing).await;
        drop(place);
        let took = sent.elapsed();
        match result {
            Ok(incoming) => {
                debug!(%method, path, status = incoming.status.as_u16(), ?took, "answered");
                Ok(incoming)
            }
            Err(error) => {
                debug!(%method, path, %error, ?took, "not answered");
                let failure = answer::transport_failure(&error, base, is_write);
                let remedy = match failure.kind {
                    _ if error.kind == super::TransportErrorKind::File => Remedy::None,
                    _ if error.kind == super::TransportErrorKind::Elsewhere => Remedy::Again,
                    _ if error.kind == super::TransportErrorKind::TooLarge => Remedy::None,
                    FailureKind::Unsent => Remedy::Again,
                    FailureKind::Refused if error.status.is_some_and(|status| status.is_client_error()) => Remedy::None,
                    _ => Remedy::WhereHarmless(None),
                };
                Err(Setback { failure, remedy })
            }
        }
    }

    /// Reads an answer that says no, and pauses the lane when it was one too many.
    pub(super) fn setback(&self, base: &Base, quota: &Quota, incoming: &Incoming, is_write: bool) -> Setback {
        let mut failure = answer::refusal(incoming, is_write);
        if answer::is_disabled_tenant(&failure) {
            let hint =
                format!("{} is deactivated: reactivate it first, or adopt another tenant for the customer.", base.host);
            failure.hint = Some(hint);
        }
        let asked = || answer::retry_after(&incoming.headers, &failure, self.settings.clock.now());
        let remedy = match incoming.status {
            StatusCode::TOO_MANY_REQUESTS => match asked() {
                Some(span) => {
                    let span = span.max(Duration::from_secs(1));
                    // The others wait as long as a request may be put off, not as long as a server may claim.
                    self.limiter.pause(base.key(), quota, span.min(self.settings.retry.throttle_budget));
                    Remedy::Later(span)
                }
                // Not a rate limit: a reload of the same app is still waiting, say.
                None => Remedy::Again,
            },
            StatusCode::UNAUTHORIZED if !answer::is_disabled_tenant(&failure) => Remedy::NewToken,
            StatusCode::REQUEST_TIMEOUT
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Remedy::WhereHarmless(asked()),
            _ => Remedy::None,
        };
        Setback { failure, remedy }
    }

    /// Puts the secrets that the service handed out into the store and references in their place. What a write hands out
    /// is shown only once, so it is kept for good before anybody hears that the write was done.
    ///
    /// Their names tell where they came from. With a `/` in them, they are never the name of a secret that a playbook or a
    /// settings file may use; with the host in them, runs for different tenants keep theirs apart, and with the id of what
    /// was made, so do runs for the same one. A later run that knows the id finds them again.
    async fn keep_secrets(
        &self,
        key: &Key,
        prepared: &Prepared,
        operation: &Operation,
        response: &mut Response,
    ) -> Result<(), Failure> {
        let Some(published) = contract().operation(&operation.id) else { return Ok(()) };
        let Payload::Json(body) = &mut response.payload else { return Ok(()) };
        let pointers = published.secrets_in_response(body);
        let host = &prepared.base.host;
        let origin = match made(body).filter(|_| operation.effect.is_write()) {
            Some(id) => format!("answer/{host}/{}/{id}", published.tag),
            None => format!("answer/{host}/{key}"),
        };
        let mut found = Vec::new();
        replace_secrets(body, &pointers, |pointer, text| {
            if text.is_empty() {
                return json!(text);
            }
            let name = format!("{origin}{pointer}");
            let reference = secret::reference(&name);
            found.push((name, SecretString::from(text)));
            reference
        });
        for (name, text) in found {
            if operation.effect.is_write() {
                self.settings.secrets.keep_for_good(&name, text).await.map_err(|failure| Failure {
                    kind: FailureKind::Unknown,
                    status: Some(response.status),
                    ..failure.hint(format!(
                        "{} was made and its secret is lost: remove it, see that the secret sink can be written, and run again",
                        operation.subject
                    ))
                })?;
            } else {
                self.settings.secrets.keep(&name, text);
            }
        }
        Ok(())
    }
}

/// What tells the thing that an answer is about from all others of its kind. Clients have an id of their own name, and of
/// each of their secrets only a hint may be known.
fn made(body: &serde_json::Value) -> Option<String> {
    if let Some(id) = body["id"].as_str() {
        return Some(id.to_owned());
    }
    let client = body["clientId"].as_str()?;
    let hint = body["hint"].as_str().or_else(|| body["clientSecrets"][0]["hint"].as_str());
    Some(hint.map_or_else(|| client.to_owned(), |hint| format!("{client}/{hint}")))
}

/// The failure of an operation that was not sent because there is no token for it.
pub(super) fn tokenless(mut failure: Failure, host: &str) -> Failure {
    if failure.kind == FailureKind::Unknown {
        failure.kind = FailureKind::Unsent;
    }
    if failure.kind != FailureKind::Denied {
        let of = if failure.title.contains(host) { String::new() } else { format!(" for {host}") };
        failure.title = format!("no token{of}: {}", failure.title);
    }
    if failure.status == Some(401) && failure.hint.is_none() {
        failure.hint = Some(format!("Check the client_id and client_secret that the target has for {host}."));
    }
    failure
}

/// Where a redirect leads.
fn redirection(incoming: &Incoming) -> Option<String> {
    let redirects = matches!(
        incoming.status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    if redirects { incoming.headers.get(LOCATION)?.to_str().ok().map(str::to_owned) } else { None }
}

pub(super) fn quota(published: Option<&'static Published>, method: &Method) -> Quota {
    match published {
        Some(published) => match published.tier {
            Tier::Tier1 => Quota::tier("tier1", published.per_minute),
            Tier::Tier2 => Quota::tier("tier2", published.per_minute),
            Tier::Special => Quota::special(published.id, published.per_minute),
        },
        // Without exception in what Qlik publishes: reads are tier 1, everything else tier 2.
        None if method == Method::GET => Quota::tier("tier1", 1_000),
        None => Quota::tier("tier2", 100),
    }
}

fn lower_case(host: &Host) -> Host {
    match host {
        Host::Register(region) => Host::Register(region.to_ascii_lowercase()),
        Host::Console => Host::Console,
        Host::Tenant(name) => Host::Tenant(name.to_ascii_lowercase()),
    }
}

pub(super) fn header_value(name: &str, text: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(text).map_err(|_| bad_header(name))
}

fn bad_header(name: &str) -> Failure {
    Failure::new(FailureKind::Denied, "tenantry/bad-header", format!("the header `{name}` cannot be sent"))
}
