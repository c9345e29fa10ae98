use std::collections::HashMap;
use std::collections::hash_map::Entry;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::Mutex;

use super::{Interpreter, Settlement};
use crate::operation::{Failure, Host, Key, Operation, Outcome};
use crate::store::{Lease, Leases};

/// Makes sure that no other run is at work on a tenant: takes its lease before the first write to it, and gives all
/// leases back when it is dropped. A source tenant has none: any number of runs export from it.
pub struct Leased<I> {
    inner: I,
    leases: Leases,
    run: String,
    source: Option<String>,
    held: Mutex<HashMap<String, Lease>>,
}

impl<I: Interpreter> Leased<I> {
    /// The leases of one run around `inner`; those in `held` it has already.
    pub fn new(inner: I, leases: Leases, run: impl Into<String>, held: impl IntoIterator<Item = Lease>) -> Self {
        let held = held.into_iter().map(|lease| (lease.name().to_owned(), lease)).collect();
        Self { inner, leases, run: run.into(), source: None, held: Mutex::new(held) }
    }

    /// The same beside this source tenant.
    #[must_use]
    pub fn beside(mut self, source: Option<String>) -> Self {
        self.source = source;
        self
    }

    async fn lease(&self, tenant: &str) -> Result<(), Failure> {
        // Held over the wait, so that operations that go out at once ask once.
        let mut held = self.held.lock().await;
        if let Entry::Vacant(free) = held.entry(Leases::tenant(tenant)) {
            let lease = self.leases.take(free.key(), &self.run).await?;
            free.insert(lease);
        }
        Ok(())
    }
}

impl<I: Interpreter> Interpreter for Leased<I> {
    fn perform<'a>(&'a self, key: &'a Key, operation: &'a Operation) -> BoxFuture<'a, Outcome> {
        match operation.request().map(|request| &request.host) {
            Some(Host::Tenant(tenant)) if operation.effect.is_write() && self.source.as_ref() != Some(tenant) => {
                async move {
                    self.lease(tenant).await?;
                    self.inner.perform(key, operation).await
                }
                .boxed()
            }
            _ => self.inner.perform(key, operation),
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
