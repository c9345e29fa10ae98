use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::time::timeout;

use super::{Interpreter, Settlement, cannot_tell};
use crate::operation::{Failure, FailureKind, Key, Operation, Outcome, PAUSE};
use crate::surroundings::span;

/// Gives every operation but pauses so much time, its repeats and its waiting for rate limits included.
///
/// One that takes longer is abandoned. A write may have been carried out all the same: its failure is of kind
/// `Unknown`, so that a layer around this one finds out. The code is `tenantry/timeout`.
#[derive(Clone, Debug)]
pub struct Timed<I> {
    inner: I,
    limit: Option<Duration>,
}

impl<I: Interpreter> Timed<I> {
    /// So much time for each operation of `inner`; without a limit all the time it takes.
    pub fn new(inner: I, limit: Option<Duration>) -> Self {
        Self { inner, limit }
    }
}

impl<I: Interpreter> Interpreter for Timed<I> {
    fn perform<'a>(&'a self, key: &'a Key, operation: &'a Operation) -> BoxFuture<'a, Outcome> {
        let performed = self.inner.perform(key, operation);
        let Some(limit) = self.limit.filter(|_| operation.id != PAUSE) else { return performed };
        async move { timeout(limit, performed).await.unwrap_or_else(|_| Err(too_long(operation, limit))) }.boxed()
    }

    fn settle<'a>(
        &'a self,
        key: &'a Key,
        operation: &'a Operation,
        since: Timestamp,
    ) -> BoxFuture<'a, Result<Settlement, Failure>> {
        let settled = self.inner.settle(key, operation, since);
        let Some(limit) = self.limit else { return settled };
        async move {
            let late = || Err(cannot_tell(operation, &format!("looking it up took longer than {}", span(limit))));
            timeout(limit, settled).await.unwrap_or_else(|_| late())
        }
        .boxed()
    }
}

fn too_long(operation: &Operation, limit: Duration) -> Failure {
    let title = format!("`{}` took longer than {}", operation.id, span(limit));
    if operation.effect.is_write() {
        Failure::new(FailureKind::Unknown, "tenantry/timeout", title).detail("it may have been carried out")
    } else {
        Failure::new(FailureKind::Unsent, "tenantry/timeout", title)
            .hint("try again later, or give operations more time with --operation-timeout")
    }
}
