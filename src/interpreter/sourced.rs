use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use jiff::Timestamp;
use serde_json::json;

use super::{Interpreter, Settlement};
use crate::operation::{Call, Failure, FailureKind, Host, Key, Operation, Outcome, Response};

/// The local operation that tells the source tenant.
const SOURCE: &str = "tenantry.source";

/// What may be written to a source tenant: exports, and what gives whoever exports its role in a space.
const NEEDED: [&str; 3] = ["exportApp", "createSpaceAssignment", "updateSpaceAssignment"];

/// Answers `tenantry.source`, and sees to it that a run writes nothing to the source tenant but what exports need: it is
/// the partner's own, and every customer's copies come from it.
#[derive(Clone, Debug)]
pub struct Sourced<I> {
    inner: I,
    /// Its host name.
    source: Option<String>,
}

impl<I: Interpreter> Sourced<I> {
    /// The source tenant of this host name around `inner`; none where the target has none.
    pub fn new(inner: I, source: Option<String>) -> Self {
        Self { inner, source: source.map(|source| source.to_ascii_lowercase()) }
    }

    fn tell(&self) -> Outcome {
        if let Some(source) = &self.source {
            return Ok(Response::local(json!({ "hostname": source })));
        }
        let failure = Failure::new(FailureKind::Denied, "tenantry/no-source", "this target has no source tenant");
        Err(failure.hint("name it in tenantry.toml, in the target's table: source = \"HOSTNAME\""))
    }

    /// Refuses what has no place on the source tenant.
    fn check(&self, operation: &Operation) -> Result<(), Failure> {
        let (Some(source), Some(request)) = (&self.source, operation.request()) else { return Ok(()) };
        let there = matches!(&request.host, Host::Tenant(host) if host.eq_ignore_ascii_case(source));
        if !there || !operation.effect.is_write() || NEEDED.contains(&operation.id.as_str()) {
            return Ok(());
        }
        let title = format!("`{}` would write {} to the source tenant {source}", operation.id, operation.subject);
        let failure = Failure::new(FailureKind::Denied, "tenantry/source-kept", title);
        Err(failure.detail("nothing was sent: playbooks only read it and export from it").hint(
            "change the source tenant by hand or in a target of its own; a customer's tenant is `tenants::get(customer)`",
        ))
    }
}

impl<I: Interpreter> Interpreter for Sourced<I> {
    fn perform<'a>(&'a self, key: &'a Key, operation: &'a Operation) -> BoxFuture<'a, Outcome> {
        if matches!(operation.call, Call::Local { .. }) && operation.id == SOURCE {
            return ready(self.tell()).boxed();
        }
        match self.check(operation) {
            Ok(()) => self.inner.perform(key, operation),
            Err(failure) => ready(Err(failure)).boxed(),
        }
    }

    fn settle<'a>(
        &'a self,
        key: &'a Key,
        operation: &'a Operation,
        since: Timestamp,
    ) -> BoxFuture<'a, Result<Settlement, Failure>> {
        self.inner.settle(key, operation, since)
    }
}
