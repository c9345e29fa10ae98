//! A plan as people see it: names in place of what the service will choose.

use serde_json::Value;

use super::planned::Plan;
use crate::event::FieldChange;
use crate::plan::Symbols;
use crate::playbook::Diagnostic;

/// Puts the names that the saved plan has in place of the ids, host names and times that the model made up.
pub(super) fn name_values(plan: &mut Plan, symbols: &Symbols) {
    let named = |text: &mut String| *text = symbols.text(text);
    for change in &mut plan.changes {
        named(&mut change.subject);
        for FieldChange { field, before, after } in &mut change.fields {
            named(field);
            *before = symbols.named(before);
            *after = symbols.named(after);
        }
        for request in &mut change.requests {
            named(&mut request.host);
            named(&mut request.path);
        }
    }
    if let Value::Object(output) = symbols.named(&Value::Object(std::mem::take(&mut plan.output))) {
        plan.output = output;
    }
}

/// The same for what ended it.
pub(super) fn name_in_error(error: &mut Diagnostic, symbols: &Symbols) {
    let failure = error.failure.iter_mut().flat_map(|failure| {
        [Some(&mut failure.title), failure.detail.as_mut(), failure.hint.as_mut()].into_iter().flatten()
    });
    for text in [&mut error.message].into_iter().chain(&mut error.hints).chain(failure) {
        *text = symbols.text(text);
    }
}
