//! Operations the host answers itself.

use serde_json::Value;

use crate::operation::{Call as Asked, Effect, Operation};
use crate::playbook::{Call, ScriptError};

/// Asks the host; gives its answer.
pub(super) fn ask(
    call: &mut Call,
    id: &str,
    arguments: Value,
    effect: Effect,
    subject: impl Into<String>,
) -> Result<Value, ScriptError> {
    let operation =
        Operation { id: id.to_owned(), call: Asked::Local { arguments }, effect, subject: subject.into(), site: None };
    Ok(call.ask(operation)?.json().clone())
}
