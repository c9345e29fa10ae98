//! From a playbook's text to a session.
//!
//! A [`Playbook`] is text with a header. A [`Runtime`] compiles and starts it; what it starts is a [`Session`], a pure
//! generator of operations that stays on its thread. Host functions talk to their session through a [`Call`].

#![allow(clippy::unnecessary_box_returns, reason = "Rhai's errors are boxed everywhere")]

mod branch;
mod call;
mod coroutine;
mod diagnostic;
mod engine;
mod header;
mod natives;
mod parallel;
mod resolver;
mod runtime;
mod secret;
mod session;
mod signature;
mod thrown;
pub mod value;
mod waiting;

use std::sync::Arc;

pub use branch::{FileUse, Stop, Told};
pub use call::{Call, ScriptError};
pub use coroutine::MeteredAllocator;
pub(crate) use diagnostic::RUN_TIMEOUT;
pub use diagnostic::{Diagnostic, Frame, RecordedLine};
pub use engine::Limits;
pub use header::{Header, HeaderError};
pub use runtime::{Playbook, Runtime, Start};
pub use secret::Secret;
pub use session::{Progress, Session};
pub use thrown::Thrown;

/// Adds functions to an engine; called once for every lane.
pub type Extension = Arc<dyn Fn(&mut rhai::Engine) + Send + Sync>;
