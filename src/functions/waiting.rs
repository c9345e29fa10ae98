use serde_json::Value;

use super::options::invalid;
use crate::playbook::{Call, ScriptError};

/// The shortest and the longest pause between two looks, in seconds.
const SHORTEST: u64 = 1;
const LONGEST: u64 = 15;

/// How long to wait, in seconds, as an option `wait` says it: as long as `longest` unless it says otherwise; `None` when not
/// at all.
pub(super) fn within(call: &Call, given: Option<Value>, longest: u64) -> Result<Option<u64>, ScriptError> {
    match given {
        None | Some(Value::Bool(true)) => Ok(Some(longest)),
        Some(Value::Bool(false)) => Ok(None),
        Some(seconds) => match seconds.as_u64() {
            Some(seconds) if (1..=longest).contains(&seconds) => Ok(Some(seconds)),
            _ => {
                let title = format!("`wait` is a boolean, or a whole number of seconds from 1 to {longest}");
                Err(invalid(call, title, None))
            }
        },
    }
}

/// Looks until something is there, at most `within` seconds of pauses long; `None` when it did not come.
///
/// Pauses grow with the time waited: what takes a second is seen soon, what takes hours costs few requests.
pub(super) fn wait<T>(
    call: &mut Call,
    within: u64,
    mut look: impl FnMut(&mut Call) -> Result<Option<T>, ScriptError>,
) -> Result<Option<T>, ScriptError> {
    let mut waited = 0;
    loop {
        if let Some(found) = look(call)? {
            return Ok(Some(found));
        }
        if waited >= within {
            return Ok(None);
        }
        let pause = (waited / 4).clamp(SHORTEST, LONGEST).min(within - waited);
        call.pause(pause)?;
        waited += pause;
    }
}
