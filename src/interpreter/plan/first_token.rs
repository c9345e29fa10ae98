//! The first token that a client gets on a tenant: it makes the client's bot user there, so a dry run asks before.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::contract::contract;
use crate::interpreter::Interpreter;
use crate::operation::{Call, Failure, FailureKind, HeaderText, Host, Key, Operation, Outcome, Request};

/// The code of the refusal.
pub const FIRST_TOKEN: &str = "tenantry/first-token";

/// Whether anything on this side shows that the target's client was on the tenant of this host name before.
pub type Presence = Arc<dyn Fn(String) -> BoxFuture<'static, Result<bool, Failure>> + Send + Sync>;

/// Stands between a dry run and its target, and lets no request through that would need a client's first token on a
/// tenant, unless that is allowed.
///
/// "A bot user appears in a tenant the first time a client gets a token there", as `TenantAdmin`, and takes up to one
/// professional seat in each region (qlik.dev, platform operations: overview; create a tenant).
pub struct FirstToken {
    inner: Arc<dyn Interpreter>,
    was_at: Presence,
    allowed: bool,
    hosts: Mutex<Hosts>,
}

#[derive(Default)]
struct Hosts {
    /// Where requests may go.
    open: BTreeSet<String>,
    /// Those among them where the token is the client's first.
    first: BTreeSet<String>,
}

impl FirstToken {
    /// Around `inner`. `first` are tenants where opening the target needed a first token already.
    pub fn new(
        inner: Arc<dyn Interpreter>,
        was_at: Presence,
        allowed: bool,
        first: impl IntoIterator<Item = String>,
    ) -> Self {
        let first: BTreeSet<String> = first.into_iter().collect();
        Self { inner, was_at, allowed, hosts: Mutex::new(Hosts { open: first.clone(), first }) }
    }

    /// The tenants where the client got its first token, by host name.
    #[must_use]
    pub fn first(&self) -> Vec<String> {
        self.hosts().first.iter().cloned().collect()
    }

    /// Whether a request to this tenant needs no first token: the client was there before, or is by now.
    pub async fn is_open(&self, hostname: &str) -> bool {
        let hostname = hostname.to_ascii_lowercase();
        let open = self.hosts().open.contains(&hostname);
        open || (self.was_at)(hostname).await.unwrap_or(false)
    }

    fn hosts(&self) -> std::sync::MutexGuard<'_, Hosts> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn check(&self, hostname: &str) -> Result<(), Failure> {
        let hostname = hostname.to_ascii_lowercase();
        if self.hosts().open.contains(&hostname) {
            return Ok(());
        }
        let was_there = (self.was_at)(hostname.clone()).await?;
        if !was_there && !self.allowed {
            return Err(refused_first_token(&hostname));
        }
        let mut hosts = self.hosts();
        if !was_there {
            hosts.first.insert(hostname.clone());
        }
        hosts.open.insert(hostname);
        Ok(())
    }
}

/// Why a plan does not go on: no script is asked whether it minds.
#[must_use]
pub fn refused_first_token(hostname: &str) -> Failure {
    Failure::new(
        FailureKind::Cancelled,
        FIRST_TOKEN,
        format!("this plan would have to read {hostname}, and nothing here shows that this client was ever there"),
    )
    .detail(
        "reading takes a token, and the first one a client gets on a tenant makes its bot user there, a TenantAdmin that \
         may take a professional seat; nothing was sent",
    )
    .hint("`--allow-first-token` plans all the same, and the plan names the tenant; a run gets that token in any case")
}

/// The tenant whose token a request needs.
fn tenant_of<'r>(operation: &Operation, request: &'r Request) -> Option<&'r str> {
    let Host::Tenant(hostname) = &request.host else { return None };
    let is_anonymous = contract().operation(&operation.id).is_some_and(|published| published.anonymous);
    let brings_its_own = request
        .headers
        .iter()
        .any(|(name, text)| name.eq_ignore_ascii_case("authorization") || matches!(text, HeaderText::Bearer(_)));
    (!is_anonymous && !brings_its_own).then_some(hostname)
}

impl Interpreter for FirstToken {
    fn perform<'a>(&'a self, key: &'a Key, operation: &'a Operation) -> BoxFuture<'a, Outcome> {
        async move {
            if let Call::Request(request) = &operation.call
                && let Some(hostname) = tenant_of(operation, request)
            {
                self.check(hostname).await?;
            }
            self.inner.perform(key, operation).await
        }
        .boxed()
    }
}
