//! `tenantry sandbox diff`: what is different between two states, by names.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use tenantry::sandbox::{Compared, Comparison, How, State};

use super::super::arguments::Common;
use super::super::console::Console;
use super::super::exit::Exit;
use super::super::project::Stopped;
use crate::report::{Paint, Style, count};

/// How much of a value is shown in a line.
const SHOWN: usize = 120;

pub(super) fn diff(console: &Console, common: &Common, before: &Path, after: &Path) -> Result<Exit, Stopped> {
    let load = |path: &Path| State::load(path).map_err(super::stopped);
    let comparison = Comparison::of(&load(before)?, &load(after)?);
    if common.json {
        console.json(&json!({
            "version": super::VERSION, "before": before.display().to_string(), "after": after.display().to_string(),
            "differences": comparison.differences,
        }));
    } else if comparison.differences.is_empty() {
        console.told("there is no difference");
    } else {
        console.data(&text(&comparison, console.out()));
        let [added, changed, removed] = [How::Added, How::Changed, How::Removed].map(|how| comparison.count(how));
        let all = count(comparison.differences.len() as u64, "difference");
        console.told(&format!("{all}: {added} added, {changed} changed, {removed} removed"));
    }
    Ok(Exit::Success)
}

fn text(comparison: &Comparison, style: Style) -> String {
    let mut text = String::new();
    let mut place: Option<Option<&str>> = None;
    for difference in &comparison.differences {
        let here = difference.tenant.as_deref();
        if place != Some(here) {
            let head = here.map_or_else(|| "organization".to_owned(), |tenant| format!("tenant {tenant}"));
            let gap = if place.is_some() { "\n" } else { "" };
            let _ = writeln!(text, "{gap}{}", style.paint(Paint::Bold, &head));
            place = Some(here);
        }
        thing(&mut text, difference, style);
    }
    text.truncate(text.trim_end().len());
    text
}

fn thing(text: &mut String, difference: &Compared, style: Style) {
    let (mark, paint) = match difference.how {
        How::Added => ("+", Paint::Green),
        How::Removed => ("-", Paint::Red),
        How::Changed => ("~", Paint::Yellow),
    };
    let _ = writeln!(text, "  {} {} {}", style.paint(paint, mark), difference.resource, json!(difference.name));
    for field in &difference.fields {
        let path = field.path.trim_start_matches('/');
        let line = match (&field.before, &field.after) {
            (Some(before), Some(after)) => format!("{path}: {} -> {}", short(before), short(after)),
            (None, Some(after)) if difference.how == How::Added => format!("{path}: {}", short(after)),
            (None, Some(after)) => format!("{path}: (nothing) -> {}", short(after)),
            (Some(before), None) if difference.how == How::Removed => format!("{path}: {}", short(before)),
            (Some(before), None) => format!("{path}: {} -> (nothing)", short(before)),
            (None, None) => continue,
        };
        let _ = writeln!(text, "      {line}");
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
