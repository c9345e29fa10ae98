//! Getting a token from a host.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{Instrument as _, debug, debug_span};

use super::TransportErrorKind;
use super::addresses::Base;
use super::answer::{self, Expected};
use super::client::{AGENT, Client, quota};
use super::credentials::{Access, OauthClient};
use super::disclosed::Disclosed;
use super::limiter::Quota;
use super::payload::Payload;
use super::retry::{Attempts, Remedy, Setback};
use super::tokens::{Fetched, Token};
use super::transport::{Outgoing, Transport};
use crate::contract::contract;
use crate::operation::{Failure, FailureKind, Operation, Response};

/// How long a token lives when its answer does not say (<https://qlik.dev/authenticate/oauth/>: six hours).
const TOKEN_LIFE: Duration = Duration::from_secs(6 * 3600);

/// No token is believed to live longer.
const LONGEST_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

impl<T: Transport> Client<T> {
    /// What to show as bearer at `base`.
    pub(super) async fn bearer(&self, base: &Base, access: &Access) -> Result<Token, Failure> {
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
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
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
    pub(super) fn note_tenant(&self, operation: &Operation, response: &Response) {
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
        None => failure.code == TransportErrorKind::Unreachable.code(),
    }
}
