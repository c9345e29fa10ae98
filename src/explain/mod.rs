//! Why something is as it is: from a call of a run to the line, the template and the customer's values behind it, and
//! from a thing in a tenant back to the calls that dealt with it. From the journal alone; nothing is sent.

mod address;
mod call;
mod error;
mod inputs;
mod object;
mod sighting;

use crate::store::Journal;

pub use call::{ExplainedCall, ExplainedOperation, TracedCall};
pub use error::ExplainError;
pub use inputs::{CustomerValues, EqualInput};
pub use object::{ExplainedObject, Mention, Relation};
pub use sighting::Object;

/// What was found for a key or a name.
#[derive(Clone, Debug)]
pub enum Explained {
    /// A call.
    Call(Box<ExplainedCall>),
    /// A thing that runs dealt with.
    Object(Box<ExplainedObject>),
}

impl Explained {
    /// The call that was asked for, or that made the thing.
    pub(crate) fn call_mut(&mut self) -> Option<&mut ExplainedCall> {
        match self {
            Self::Call(call) => Some(call),
            Self::Object(object) => object.made.as_mut(),
        }
    }
}

/// Explains a call or a thing, as far as the journal says it. Blocks.
pub(crate) fn explain(journal: &Journal, wanted: &str, run: Option<&str>) -> Result<Explained, ExplainError> {
    match call::find(journal, wanted, run)? {
        Some(call) => Ok(Explained::Call(Box::new(call))),
        None => object::find(journal, wanted, run).map(|object| Explained::Object(Box::new(object))),
    }
}
