use serde_json::Value;
use tenantry::{FieldChange, UndoStep, UndoVerdict};

use super::style::{Paint, Style};
use super::text::clean_line;

/// How wide the longest word for a step is.
const WIDEST: usize = 11;

/// The steps of an undo, a line for each, with what is to be said of it below.
pub(crate) fn undo_steps<'s>(steps: impl Iterator<Item = &'s UndoStep>, done: bool, style: Style) -> Vec<String> {
    let mut lines = Vec::new();
    let mut with_tenant = 0;
    for step in steps {
        let Some((word, paint)) = word(step.verdict, done) else {
            with_tenant += 1;
            continue;
        };
        let site = step.site.as_ref().map(|site| style.paint(Paint::Dim, &format!("  {}:{}", site.file, site.line)));
        let word = style.paint(paint, &format!("{word:WIDEST$}"));
        lines.push(format!("{word}  {}{}", clean_line(&step.subject), site.unwrap_or_default()));
        let mut below = |text: &str| {
            lines.push(style.paint(Paint::Dim, &format!("{:WIDEST$}    {}", "", clean_line(text))));
        };
        step.fields.iter().for_each(|field| below(&changed(field)));
        step.kept.iter().for_each(|kept| below(kept));
        if let Some(why) = &step.why {
            below(why);
        }
    }
    if with_tenant > 0 {
        let word = style.paint(Paint::Dim, &format!("{:WIDEST$}", "goes along"));
        lines.push(format!("{word}  {with_tenant} more writes: what they made is in the tenant"));
    }
    lines
}

/// The word for what is done, or was; none for what goes with the tenant.
fn word(verdict: UndoVerdict, done: bool) -> Option<(&'static str, Paint)> {
    Some(match (verdict, done) {
        (UndoVerdict::Remove, false) => ("delete", Paint::Red),
        (UndoVerdict::Remove, true) => ("deleted", Paint::Red),
        (UndoVerdict::Restore, false) => ("restore", Paint::Yellow),
        (UndoVerdict::Restore, true) => ("restored", Paint::Yellow),
        (UndoVerdict::Release, false) => ("take back", Paint::Red),
        (UndoVerdict::Release, true) => ("taken back", Paint::Red),
        (UndoVerdict::Deactivate, false) => ("deactivate", Paint::Red),
        (UndoVerdict::Deactivate, true) => ("deactivated", Paint::Red),
        (UndoVerdict::Nothing, _) => ("as before", Paint::Dim),
        (UndoVerdict::ChangedSince, _) => ("changed", Paint::Magenta),
        (UndoVerdict::Irreversible, _) => ("stays", Paint::Magenta),
        (UndoVerdict::Failed, _) => ("failed", Paint::Red),
        (UndoVerdict::WithTenant, _) => return None,
    })
}

fn changed(field: &FieldChange) -> String {
    let text = |value: &Value| value.to_string();
    format!("{}: {} -> {}", field.field, text(&field.before), text(&field.after))
}

/// How many steps there are of each kind, in words.
pub(crate) fn undo_sum<'s>(steps: impl Iterator<Item = &'s UndoStep>) -> String {
    let mut counts = [0_usize; 4];
    for step in steps {
        let place = match step.verdict {
            verdict if verdict.is_write() => 0,
            UndoVerdict::Irreversible => 1,
            UndoVerdict::ChangedSince => 2,
            UndoVerdict::Failed => 3,
            _ => continue,
        };
        counts[place] += 1;
    }
    let words = ["to take back", "cannot be taken back", "changed since and left alone", "failed"];
    let parts =
        counts.iter().zip(words).filter(|(count, _)| **count > 0).map(|(count, word)| format!("{count} {word}"));
    let sum = parts.collect::<Vec<_>>().join(", ");
    if sum.is_empty() { "nothing to take back".to_owned() } else { sum }
}
