use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use super::Interpreter;
use super::record::Record;
use crate::operation::{Failure, FailureKind, Key, Operation, Outcome};

/// Answers only from what a run has recorded; nothing is sent. Where the record ends, or the playbook asks something
/// else than the run had asked, the run ends with a failure that says so (`tenantry/record-ends`, `tenantry/diverged`).
#[derive(Clone, Debug)]
pub struct Replay(Record);

impl Replay {
    /// Answers from this record.
    #[must_use]
    pub fn new(record: Record) -> Self {
        Self(record)
    }
}

impl Interpreter for Replay {
    fn perform<'a>(&'a self, key: &'a Key, operation: &'a Operation) -> BoxFuture<'a, Outcome> {
        let outcome = match self.0.replayed(key, operation) {
            Ok(Some(outcome)) => outcome,
            Ok(None) => Err(Failure::new(
                FailureKind::Cancelled,
                "tenantry/record-ends",
                format!("the record of the run ends before `{}` for {}", operation.id, operation.subject),
            )),
            Err(divergence) => Err(divergence.failure(key)),
        };
        ready(outcome).boxed()
    }
}
