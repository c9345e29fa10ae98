//! Content that another host of the target has, passed on as the body of a request: read from the one while it is sent to
//! the other, a piece at a time.

use bytes::BytesMut;
use futures_util::StreamExt as _;
use http::header::{ACCEPT, AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use secrecy::ExposeSecret as _;
use url::Url;

use super::addresses::Base;
use super::answer;
use super::client::{AGENT, Client, header_value, quota, tokenless};
use super::credentials::Access;
use super::disclosed::Disclosed;
use super::payload::Payload;
use super::retry::{Remedy, Setback};
use super::transport::{Incoming, Outgoing, Transport};
use crate::contract::contract;
use crate::operation::{Body, Failure, FailureKind, Request};

/// The code of content that is not there any more: it was kept for a while only.
const GONE: &str = "tenantry/content-gone";

/// How much of a refusal's body is read.
const REFUSAL: usize = 64 << 10;

/// Where the content is.
pub(super) struct Elsewhere {
    base: Base,
    access: Access,
    url: Url,
}

impl<T: Transport> Client<T> {
    /// Where the body of this request is, when another host has it.
    pub(super) fn elsewhere(&self, request: &Request) -> Result<Option<Elsewhere>, Failure> {
        let Body::Exported { host, path, .. } = &request.body else { return Ok(None) };
        let base = self.settings.addresses.base(&host.name().to_ascii_lowercase())?;
        let url = base.at(path, &[])?;
        Ok(Some(Elsewhere { access: self.settings.credentials.access(host)?, base, url }))
    }

    /// The content, opened: nothing is sent to anybody before the host that has it has agreed to give it.
    pub(super) async fn opened(&self, place: &Elsewhere, secrets: &mut Disclosed) -> Result<Payload, Setback> {
        let Elsewhere { base, access, url } = place;
        let token = self.bearer(base, access).await.map_err(|failure| Setback::last(tokenless(failure, &base.host)))?;
        let mut bearer =
            header_value("authorization", &format!("Bearer {}", token.text.expose_secret())).map_err(Setback::last)?;
        bearer.set_sensitive(true);
        secrets.add(token.text.clone());
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, bearer);
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let quota = quota(contract().operation("downloadTempFile"), &Method::GET);
        let place = self.limiter.enter(base.key(), &quota).await;
        let outgoing = Outgoing {
            method: Method::GET,
            url: url.clone(),
            base: base.url.clone(),
            host: base.host.clone(),
            headers,
            body: Payload::default(),
        };
        let answer = self.transport.open(outgoing).await;
        drop(place);
        let mut answer = answer.map_err(|error| {
            let failure = Failure { kind: FailureKind::Unsent, ..answer::transport_failure(&error, base, false) };
            Setback { failure, remedy: Remedy::Again }
        })?;
        if answer.status == StatusCode::OK {
            return Ok(Payload::stream("application/octet-stream", answer.length, answer.body));
        }
        let mut body = BytesMut::new();
        while let Some(Ok(chunk)) = answer.body.next().await {
            body.extend_from_slice(&chunk);
            if body.len() > REFUSAL {
                break;
            }
        }
        let incoming = Incoming { status: answer.status, headers: answer.headers, body: body.freeze() };
        let mut setback = self.setback(base, &quota, &incoming, false);
        if matches!(incoming.status, StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::NO_CONTENT) {
            GONE.clone_into(&mut setback.failure.code);
            setback.failure.title = format!("{} does not have the content any more", base.host);
        }
        setback.failure.kind = FailureKind::Refused;
        match (setback.remedy, access) {
            (Remedy::NewToken, Access::ApiKey(_)) => setback.remedy = Remedy::None,
            (Remedy::NewToken, Access::Client(_)) => self.tokens.forget(base.key(), token.serial),
            // Whatever is to become of the content, nobody has it yet.
            (Remedy::WhereHarmless(_), _) => setback.remedy = Remedy::Again,
            _ => {}
        }
        Err(setback)
    }
}
