use serde_json::Value;
use tenantry::{Change, FieldChange, Step};

use super::style::{Paint, Style};
use super::text::clean_line;

/// How wide the longest word for a change is.
const WIDEST: usize = 9;

/// A field's value is cut here: a line is no place for documents.
const VALUE: usize = 60;

/// The line of a step: `hb  created    space "Staging"`, where `hb  ` is the prefix.
pub(crate) fn step(prefix: &str, step: &Step, style: Style) -> String {
    let (word, paint) = match step.change {
        Change::Created => ("created", Paint::Green),
        Change::Updated => ("updated", Paint::Yellow),
        Change::Deleted => ("deleted", Paint::Red),
        Change::Replaced => ("replaced", Paint::Magenta),
        Change::Unchanged => ("unchanged", Paint::Dim),
        Change::Acted => ("done", Paint::Cyan),
        Change::Verified => ("verified", Paint::Dim),
    };
    let subject = clean_line(&step.subject);
    if step.change.is_write() {
        let named = match step.fields.as_slice() {
            [] => String::new(),
            fields => {
                let names: Vec<String> = fields.iter().map(|field| clean_line(&field.field)).collect();
                style.paint(Paint::Dim, &format!("  ({})", names.join(", ")))
            }
        };
        let word = style.paint(paint, &format!("{word:WIDEST$}"));
        return format!("{}{word}  {subject}{named}", style.paint(Paint::Dim, prefix));
    }
    style.paint(paint, &format!("{prefix}{word:WIDEST$}  {subject}"))
}

/// A line for each field that a step changed.
pub(crate) fn fields(step: &Step, style: Style) -> Vec<String> {
    let line = |field: &FieldChange| {
        let text = match &field.before {
            Value::Null => format!("{}: {}", field.field, value(&field.after)),
            before => format!("{}: {} -> {}", field.field, value(before), value(&field.after)),
        };
        style.paint(Paint::Dim, &format!("{:WIDEST$}    {}", "", clean_line(&text)))
    };
    step.fields.iter().map(line).collect()
}

fn value(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(VALUE) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
