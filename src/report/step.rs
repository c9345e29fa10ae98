use serde_json::Value;
use tenantry::{Change, FieldChange, Step};

use super::style::{Paint, Style};
use super::text::clean_line;

/// How wide the longest word for a change is.
const WIDEST: usize = 9;

/// How many fields a step's line names.
const NAMED: usize = 3;

/// A field's value is cut here: a line is no place for documents.
const VALUE: usize = 60;

/// The line of a step: `hb  created    space "Staging"`, where `hb  ` is the prefix.
pub(crate) fn step(prefix: &str, step: &Step, style: Style) -> String {
    let paint = match step.change {
        Change::Created => Paint::Green,
        Change::Updated => Paint::Yellow,
        Change::Deleted => Paint::Red,
        Change::Replaced => Paint::Magenta,
        Change::Acted => Paint::Cyan,
        Change::Unchanged | Change::Verified => Paint::Dim,
    };
    let word = word(step.change);
    let subject = clean_line(&step.subject);
    if step.change.is_write() {
        let named = match step.change {
            Change::Updated | Change::Replaced => named(step, style),
            _ => String::new(),
        };
        let word = style.paint(paint, &format!("{word:WIDEST$}"));
        return format!("{}{word}  {subject}{named}", style.paint(Paint::Dim, prefix));
    }
    style.paint(paint, &format!("{prefix}{word:WIDEST$}  {subject}"))
}

/// What a step did, in a word.
pub(super) fn word(change: Change) -> &'static str {
    match change {
        Change::Created => "created",
        Change::Updated => "updated",
        Change::Deleted => "deleted",
        Change::Replaced => "replaced",
        Change::Unchanged => "unchanged",
        Change::Acted => "done",
        Change::Verified => "verified",
    }
}

/// The fields that a step changed, by name: the first few.
fn named(step: &Step, style: Style) -> String {
    let names: Vec<String> = step.fields.iter().take(NAMED).map(|field| clean_line(&field.field)).collect();
    let more = match step.fields.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    if names.is_empty() { names.concat() } else { style.paint(Paint::Dim, &format!("  {}{more}", names.join(", "))) }
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
