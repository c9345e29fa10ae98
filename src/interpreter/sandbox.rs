//! Tries a playbook with nothing set up: the same client as for real, over a road that ends in this process.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use secrecy::SecretString;

use super::Interpreter;
use crate::operation::secret::SecretStore;
use crate::operation::{Key, Operation, Outcome};
use crate::qlik::{
    Addresses, Client, Credentials, Incoming, OauthClient, Outgoing, RetryPolicy, Settings, Transport, TransportError,
    TransportErrorKind,
};
use crate::sandbox::{Base, Sandbox};
use crate::surroundings::{Clock, Random};

/// The regions of the commercial cloud (<https://qlik.dev/apis/rest/tenants/>).
const REGIONS: [&str; 7] = ["ap", "de", "eu", "jp", "sg", "uk", "us"];

/// Performs requests on a sandbox in this process. Tokens, redirects, pages and errors go the same way as with
/// [`Live`](super::Live); there is no socket and no limit.
pub struct Embedded(Client<InProcess>);

impl Embedded {
    /// An interpreter on `sandbox`. The sandbox's own client secret is kept in `secrets` for the life of the process.
    #[must_use]
    pub fn new(sandbox: Sandbox, secrets: Arc<dyn SecretStore>, clock: Arc<dyn Clock>, random: Random) -> Self {
        let given = sandbox.credentials();
        let secret = format!("sandbox/{}/client-secret", sandbox.organization());
        secrets.keep(&secret, SecretString::from(given.client_secret));
        let client = OauthClient { id: given.client_id, secret };
        Self(Client::new(InProcess(sandbox), in_process(client, secrets, clock, random)))
    }
}

/// The settings of a client whose road ends in this process: one client everywhere, real names, no limits.
pub(super) fn in_process(
    client: OauthClient,
    secrets: Arc<dyn SecretStore>,
    clock: Arc<dyn Clock>,
    random: Random,
) -> Settings {
    let regions: BTreeMap<String, OauthClient> =
        REGIONS.into_iter().map(|region| (region.to_owned(), client.clone())).collect();
    Settings {
        addresses: Addresses::Direct,
        credentials: Credentials::Organization { regions, console: Some(client) },
        secrets,
        limits: false,
        retry: RetryPolicy::default(),
        clock,
        random,
    }
}

/// The request as a sandbox takes it.
pub(super) fn as_http(outgoing: Outgoing, body: Bytes) -> Result<http::Request<Bytes>, TransportError> {
    let mut request = http::Request::builder()
        .method(outgoing.method)
        .uri(outgoing.url.as_str())
        .extension(Base(outgoing.base.as_str().trim_end_matches('/').to_owned()))
        .body(body)
        .map_err(|error| broken(error.to_string(), false))?;
    *request.headers_mut() = outgoing.headers;
    Ok(request)
}

fn broken(message: String, sent: bool) -> TransportError {
    TransportError { kind: TransportErrorKind::Broken, sent, status: None, message }
}

impl Interpreter for Embedded {
    fn perform<'a>(&'a self, key: &'a Key, operation: &'a Operation) -> BoxFuture<'a, Outcome> {
        Box::pin(self.0.perform(key, operation))
    }
}

/// The road to a sandbox in this process.
struct InProcess(Sandbox);

impl Transport for InProcess {
    fn send(&self, request: Outgoing) -> BoxFuture<'_, Result<Incoming, TransportError>> {
        Box::pin(async move {
            let body = request.body.collect().await?;
            let (status, headers, body) = self.handle(request, body).await?;
            Ok(Incoming { status, headers, body })
        })
    }
}

impl InProcess {
    async fn handle(
        &self,
        outgoing: Outgoing,
        body: Bytes,
    ) -> Result<(http::StatusCode, http::HeaderMap, Bytes), TransportError> {
        let response = self.0.exchange(as_http(outgoing, body)?).await;
        let response = response.ok_or_else(|| broken("the connection was lost".to_owned(), true))?;
        let (head, body) = response.into_parts();
        let told = head.headers.get(http::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if told.is_some_and(|told: usize| body.len() < told) {
            let message = format!("{} of {} bytes came", body.len(), told.unwrap_or_default());
            return Err(TransportError {
                kind: TransportErrorKind::Truncated,
                sent: true,
                status: Some(head.status),
                message,
            });
        }
        Ok((head.status, head.headers, body))
    }
}
