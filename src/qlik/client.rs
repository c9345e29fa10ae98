//! Performs operations: finds the address, shows the token, keeps the limits, tries again, and reads the answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{Instrument as _, debug, debug_span};
use url::Url;

use super::addresses::{Addresses, Base};
use super::answer::{self, Expected};
use super::compose;
use super::credentials::{Access, Credentials, OauthClient};
use super::disclosed::Disclosed;
use super::limiter::{Limiter, Quota};
use super::payload::Payload;
use super::retry::{Attempts, Remedy, RetryPolicy, Setback, is_harmless_to_repeat};
use super::tokens::{Fetched, Token, Tokens};
use super::transport::{Incoming, Outgoing, Transport};
use crate::contract::{Published, Tier, contract};
use crate::operation::secret::SecretStore;
use crate::operation::{
    Call, Effect, Failure, FailureKind, HeaderText, Host, Key, Operation, Outcome, Request, Response,
};
use crate::surroundings::{Clock, Random};

/// How long a token lives when its answer does not say (<https://qlik.dev/authenticate/oauth/>: six hours).
const TOKEN_LIFE: Duration = Duration::from_secs(6 * 3600);

/// No token is believed to live longer.
const LONGEST_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

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
    transport: T,
    settings: Settings,
    tokens: Tokens,
    limiter: Limiter,
    /// Hosts of tenants this client has created, and when.
    newcomers: Mutex<HashMap<String, Instant>>,
}

/// A request that is the same at every attempt.
struct Prepared {
    base: Base,
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Payload,
    quota: Quota,
    expected: Expected,
    effect: Effect,
    /// Whether the client shows its token.
    bearer: bool,
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
        let prepared = self.prepare(operation, request, base, &secrets)?;
        let harmless = is_harmless_to_repeat(operation.effect, request);
        let mut attempts =
            Attempts::new(&self.settings.retry, &self.settings.random, harmless, operation.effect.is_write());
        loop {
            let span = debug_span!("attempt", number = attempts.number());
            let attempt = self.attempt(&prepared, &access, &mut secrets, &mut attempts).instrument(span).await;
            match attempt {
                Ok(mut response) => {
                    self.note_tenant(operation, &response);
                    secrets.hide_in_response(&mut response);
                    self.keep_secrets(key, &prepared, operation, &mut response);
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
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("tenantry/", env!("CARGO_PKG_VERSION"))));
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
            let token =
                self.bearer(&prepared.base, access).await.map_err(|failure| Setback::last(tokenless(failure)))?;
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
                    method = Method::GET;
                    body = Payload::default();
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
    async fn exchange(
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
                let failure = answer::transport_failure(&error, &base.host, is_write);
                let remedy = match failure.kind {
                    _ if error.kind == super::TransportErrorKind::File => Remedy::None,
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
    fn setback(&self, base: &Base, quota: &Quota, incoming: &Incoming, is_write: bool) -> Setback {
        let failure = answer::refusal(incoming, is_write);
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

    /// What to show as bearer at `base`.
    async fn bearer(&self, base: &Base, access: &Access) -> Result<Token, Failure> {
        match access {
            Access::ApiKey(name) => {
                let text = self.settings.secrets.read(name).await?;
                Ok(Token { text: Arc::new(text), serial: 0 })
            }
            Access::Client(client) => self.tokens.get(base.key(), || self.fetch_token(base, client)).await,
        }
    }

    /// Asks the host for a token.
    async fn fetch_token(&self, base: &Base, client: &OauthClient) -> Result<Fetched, Failure> {
        let secret = self.settings.secrets.read(&client.secret).await?;
        let mut secrets = Disclosed::default();
        let body = json!({
            "client_id": client.id,
            "client_secret": secret.expose_secret(),
            "grant_type": "client_credentials",
        });
        secrets.add(Arc::new(secret));
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("tenantry/", env!("CARGO_PKG_VERSION"))));
        let outgoing = Outgoing {
            method: Method::POST,
            url: base.at("/oauth/token", &[])?,
            base: base.url.clone(),
            host: base.host.clone(),
            headers,
            body: Payload::bytes("application/json", body.to_string()),
        };
        let published = contract().find(&Method::POST, "/oauth/token").map(|(published, _)| published);
        let quota = quota(published, &Method::POST);
        let mut attempts = Attempts::new(&self.settings.retry, &self.settings.random, true, false);
        let mut settling = Duration::from_millis(250);
        loop {
            let number = attempts.number();
            let fetched = self
                .ask_for_token(base, &quota, outgoing.clone(), &mut attempts)
                .instrument(debug_span!("token", number))
                .await;
            let setback = match fetched {
                Ok(fetched) => return Ok(fetched),
                Err(setback) => setback,
            };
            let hidden = Setback { failure: secrets.hide_in_failure(setback.failure), remedy: setback.remedy };
            if self.is_settling(base) && may_settle(&hidden.failure) {
                debug!(code = %hidden.failure.code, "the tenant is new; waiting");
                tokio::time::sleep(settling).await;
                settling = (settling * 2).min(Duration::from_secs(2));
                continue;
            }
            let pause = attempts.after(match hidden.remedy {
                Remedy::NewToken => Setback::last(hidden.failure),
                _ => hidden,
            })?;
            tokio::time::sleep(pause).await;
        }
    }

    async fn ask_for_token(
        &self,
        base: &Base,
        quota: &Quota,
        outgoing: Outgoing,
        attempts: &mut Attempts<'_>,
    ) -> Result<Fetched, Setback> {
        let incoming = self.exchange(base, quota, outgoing, attempts, false).await?;
        if incoming.status.is_redirection() {
            let title = format!("{} redirects the request for a token", base.host);
            let failure = Failure::new(FailureKind::Refused, "tenantry/redirect", title)
                .hint("Secrets are sent to one place only. Check the target's address.");
            return Err(Setback::last(failure));
        }
        if !incoming.status.is_success() {
            return Err(self.setback(base, quota, &incoming, false));
        }
        let response = answer::response(&incoming, Expected::Json).map_err(|mut failure| {
            failure.kind = FailureKind::Refused;
            // What this answer holds may be a token in a form nobody expected.
            failure.detail = None;
            Setback::last(failure)
        })?;
        token(response.json(), self.settings.clock.now()).ok_or_else(|| {
            let title = format!("{} answered the request for a token without one", base.host);
            Setback::last(Failure::new(FailureKind::Refused, answer::NOT_JSON, title))
        })
    }

    fn is_settling(&self, base: &Base) -> bool {
        let newcomers = self.newcomers.lock().unwrap_or_else(PoisonError::into_inner);
        newcomers.get(base.key()).is_some_and(|created| created.elapsed() < self.settings.retry.settling)
    }

    /// Remembers the hosts of a tenant that was just created.
    fn note_tenant(&self, operation: &Operation, response: &Response) {
        if operation.id != "createTenant" {
            return;
        }
        let hosts = response.json().get("hostnames").and_then(Value::as_array);
        let mut newcomers = self.newcomers.lock().unwrap_or_else(PoisonError::into_inner);
        newcomers.retain(|_, created| created.elapsed() < self.settings.retry.settling);
        for host in hosts.into_iter().flatten().filter_map(Value::as_str) {
            if let Ok(base) = self.settings.addresses.base(&host.to_ascii_lowercase()) {
                newcomers.insert(base.key().to_owned(), Instant::now());
            }
        }
    }

    /// Puts the secrets that the service handed out into the store and references in their place.
    #[expect(clippy::unused_self, reason = "the contract does not name secret fields yet")]
    fn keep_secrets(&self, _key: &Key, _prepared: &Prepared, _operation: &Operation, _response: &mut Response) {}
}

/// The token in an answer, and how long it lives.
fn token(answer: &Value, now: jiff::Timestamp) -> Option<Fetched> {
    let fits = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let text = answer.get("access_token").and_then(Value::as_str).filter(fits)?;
    let seconds = answer.get("expires_in").and_then(|value| value.as_f64().or_else(|| value.as_str()?.parse().ok()));
    let until = || {
        let moment: jiff::Timestamp = answer.get("expires_at")?.as_str()?.parse().ok()?;
        Duration::try_from(moment.duration_since(now)).ok()
    };
    let life =
        seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).or_else(until).unwrap_or(TOKEN_LIFE);
    Some(Fetched { text: SecretString::from(text), life: life.min(LONGEST_LIFE) })
}

/// Whether a host that is still being set up could have answered like this.
fn may_settle(failure: &Failure) -> bool {
    match failure.status {
        Some(401) => failure.code == "LOGIN-2",
        Some(404) => true,
        Some(status) => status >= 500,
        None => failure.code == super::TransportErrorKind::Unreachable.code(),
    }
}

/// The failure of an operation that was not sent because there is no token for it.
fn tokenless(mut failure: Failure) -> Failure {
    if failure.kind == FailureKind::Unknown {
        failure.kind = FailureKind::Unsent;
    }
    if failure.kind != FailureKind::Denied {
        failure.title = format!("no token: {}", failure.title);
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

fn quota(published: Option<&'static Published>, method: &Method) -> Quota {
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

fn header_value(name: &str, text: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(text).map_err(|_| bad_header(name))
}

fn bad_header(name: &str) -> Failure {
    Failure::new(FailureKind::Denied, "tenantry/bad-header", format!("the header `{name}` cannot be sent"))
}
