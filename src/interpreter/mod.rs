//! What performs operations. An interpreter never knows Rhai, and a playbook never knows which one it has.
//!
//! Promises (permissions, a registry entry before a tenant is created) are layers: interpreters around an interpreter.

mod applied;
mod creation;
mod files;
mod journaled;
mod leased;
mod live;
mod locals;
mod looked_up;
mod organization;
mod patience;
mod permitted;
mod plan;
mod reading;
mod record;
mod registered;
mod replay;
mod sandbox;
mod settlement;
mod shown;
mod sourced;
mod strays;
mod timed;
mod wanted;

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use jiff::Timestamp;

use crate::operation::{Failure, Key, Operation, Outcome};

pub use applied::{Applied, answer_digest};
pub(crate) use journaled::BORROWED;
pub use journaled::{Decision, Journaled, Journaling};
pub use leased::Leased;
pub use live::Live;
pub use locals::{LocalOperation, LocalOperationError, LocalOperations, Locals, Passes};
pub use looked_up::LookedUp;
pub use organization::{IdentitySource, Organization};
pub use patience::PATIENCE;
pub use permitted::{PermitError, Permits, Permitted};
pub use plan::{FIRST_TOKEN, FirstToken, Overlay, Planned, Presence, STAND_IN, Seen, refused_first_token};
pub use record::{Record, Unsettled};
pub use registered::{Enrolment, License, Registered};
pub use replay::Replay;
pub use sandbox::Embedded;
pub use settlement::Settlement;
pub use sourced::Sourced;
pub use strays::{Stray, Trace, TraceKind};
pub use timed::Timed;

pub(crate) use reading::{all_items, reading};
pub(crate) use settlement::cannot_tell;
pub(crate) use shown::{Shown, shows};
pub(crate) use strays::{strays, trace};

/// Performs operations, one at a time or many at once.
pub trait Interpreter: Send + Sync {
    /// Performs one operation. Dropping the future abandons it.
    fn perform<'a>(&'a self, key: &'a Key, operation: &'a Operation) -> BoxFuture<'a, Outcome>;

    /// Finds out whether an operation, whose end is not known, was performed. `since`: when it was begun.
    ///
    /// Nothing is written. What cannot be told is a failure of kind `Unknown` with the code `tenantry/unsettled`; by
    /// default nothing can. A layer passes the question on unless it knows better.
    fn settle<'a>(
        &'a self,
        key: &'a Key,
        operation: &'a Operation,
        since: Timestamp,
    ) -> BoxFuture<'a, Result<Settlement, Failure>> {
        let _ = (key, since);
        ready(Err(cannot_tell(operation, "nobody here can look it up"))).boxed()
    }
}

/// Puts a layer around an interpreter.
pub type Layer = Arc<dyn Fn(Arc<dyn Interpreter>) -> Arc<dyn Interpreter> + Send + Sync>;

impl<I: Interpreter + ?Sized> Interpreter for Arc<I> {
    fn perform<'a>(&'a self, key: &'a Key, operation: &'a Operation) -> BoxFuture<'a, Outcome> {
        (**self).perform(key, operation)
    }

    fn settle<'a>(
        &'a self,
        key: &'a Key,
        operation: &'a Operation,
        since: Timestamp,
    ) -> BoxFuture<'a, Result<Settlement, Failure>> {
        (**self).settle(key, operation, since)
    }
}
