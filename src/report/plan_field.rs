//! What a plan changes in a field, as lines: `before -> after` where it is short, a unified diff where it is not.

use serde_json::Value;
use similar::{ChangeTag, TextDiff};
use tenantry::FieldChange;

/// A value longer than this does not share its line.
const SHORT: usize = 60;

/// Unchanged lines that are shown around changed ones.
const AROUND: usize = 2;

/// One line, and what it says of the text that follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A name, and what is short enough to follow it.
    Field {
        /// The field's path.
        name: String,
        /// What it changes to.
        text: String,
    },
    /// A line that stays.
    Kept(String),
    /// A line that goes.
    Gone(String),
    /// A line that comes.
    Come(String),
    /// Lines that stay and are not shown.
    Skipped,
}

/// The lines of a field.
pub(crate) fn lines(field: &FieldChange) -> Vec<Line> {
    let mut lines = Vec::new();
    add(&field.field, &field.before, &field.after, &mut lines);
    lines
}

fn add(name: &str, before: &Value, after: &Value, lines: &mut Vec<Line>) {
    let line = |text: String| Line::Field { name: name.to_owned(), text };
    if let (Value::Object(old), Value::Object(new)) = (before, after) {
        let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
        for field in names.filter(|field| before[*field] != after[*field]) {
            add(&format!("{name}.{field}"), &before[field], &after[field], lines);
        }
        return;
    }
    let texts = [before, after].map(Value::to_string);
    let long = [before, after].into_iter().zip(&texts).any(|(value, text)| is_text(value) || text.len() > SHORT);
    if long {
        let [old, new] = [before, after].map(whole);
        let about = match (before, after) {
            (Value::Null, _) => "",
            (_, Value::Null) => "removed",
            _ => "changed",
        };
        lines.push(line(about.to_owned()));
        lines.extend(difference(&old, &new));
        return;
    }
    let [old, new] = texts;
    lines.push(line(if before.is_null() { new } else { format!("{old} -> {new}") }));
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains('\n'))
}

/// A value as lines of its own.
fn whole(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().flat_map(|item| [item.to_string(), "\n".to_owned()]).collect(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    }
}

fn difference(old: &str, new: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let diff = TextDiff::from_lines(old, new);
    for (number, hunk) in diff.grouped_ops(AROUND).iter().enumerate() {
        if number > 0 {
            lines.push(Line::Skipped);
        }
        for change in hunk.iter().flat_map(|operation| diff.iter_changes(operation)) {
            let text = change.value().trim_end_matches(['\r', '\n']).to_owned();
            lines.push(match change.tag() {
                ChangeTag::Equal => Line::Kept(text),
                ChangeTag::Delete => Line::Gone(text),
                ChangeTag::Insert => Line::Come(text),
            });
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(before: Value, after: Value) -> String {
        let field = FieldChange { field: "f".to_owned(), before, after };
        let line = |line: Line| match line {
            Line::Field { name, text } => format!("{name}: {text}"),
            Line::Kept(text) => format!("  {text}"),
            Line::Gone(text) => format!("- {text}"),
            Line::Come(text) => format!("+ {text}"),
            Line::Skipped => "...".to_owned(),
        };
        lines(&field).into_iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn short_values_share_a_line_and_long_ones_are_compared_line_by_line() {
        assert_eq!(told(json!(1), json!("a")), "f: 1 -> \"a\"");
        assert_eq!(told(Value::Null, json!([])), "f: []");
        assert_eq!(
            told(json!({ "a": { "b": 1, "c": 2 } }), json!({ "a": { "b": 1 }, "d": 3 })),
            "f.a.c: 2 -> null\nf.d: 3"
        );
        let text: String = (0..20).flat_map(|line| [line.to_string(), "\n".to_owned()]).collect();
        let changed = text.replace("\n3\n", "\nthree\n").replace("\n15\n", "\n");
        assert_eq!(
            told(json!(text), json!(changed)),
            "f: changed\n  1\n  2\n- 3\n+ three\n  4\n  5\n...\n  13\n  14\n- 15\n  16\n  17"
        );
        assert_eq!(told(Value::Null, json!("a\nb")), "f: \n+ a\n+ b");
        let origins = |more: &str| json!(["https://one.example/with/a/long/path", more, "https://three.example"]);
        assert_eq!(
            told(origins("https://two.example"), origins("https://2.example")),
            "f: changed\n  \"https://one.example/with/a/long/path\"\n- \"https://two.example\"\n+ \"https://2.example\"\n  \
             \"https://three.example\""
        );
    }
}
