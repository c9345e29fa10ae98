//! What performs operations. An interpreter never knows Rhai, and a playbook never knows which one it has.
//!
//! Promises (permissions, a registry entry before a tenant is created) are layers: interpreters around an interpreter.

mod live;
mod locals;
mod organization;
mod permitted;
mod registered;
mod sandbox;

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::operation::{Key, Operation, Outcome};

pub use live::Live;
pub use locals::{LocalOperation, LocalOperationError, LocalOperations, Locals};
pub use organization::{IdentitySource, Organization};
pub use permitted::{PermitError, Permits, Permitted};
pub use registered::{Enrolment, License, Registered};
pub use sandbox::Embedded;

/// Performs operations, one at a time or many at once.
pub trait Interpreter: Send + Sync {
    /// Performs one operation. Dropping the future abandons it.
    fn perform<'a>(&'a self, key: &'a Key, operation: &'a Operation) -> BoxFuture<'a, Outcome>;
}

impl<I: Interpreter + ?Sized> Interpreter for Arc<I> {
    fn perform<'a>(&'a self, key: &'a Key, operation: &'a Operation) -> BoxFuture<'a, Outcome> {
        (**self).perform(key, operation)
    }
}
