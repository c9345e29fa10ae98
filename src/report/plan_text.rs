//! A plan as text: what would change, where the playbook says so, and the sum.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;
use tenantry::contract::Tier;
use tenantry::{Change, FieldChange, Plan, PlannedChange};

use super::style::{Paint, Style};
use super::text::{clean_line, count};
use super::trouble::Trouble;

/// A value is cut here unless more is asked for.
const VALUE: usize = 60;

/// The plan on a screen. `verbose` 1 adds the fields of what is made and every request.
pub(crate) fn plan_text(plan: &Plan, verbose: u8, style: Style) -> String {
    let customer = clean_line(&plan.customer);
    let mut screen = String::new();
    if !plan.has_changes() && plan.error.is_none() {
        let _ = write!(
            screen,
            "{} {}: nothing to change ({} read)",
            style.paint(Paint::Bold, "plan for"),
            style.paint(Paint::Bold, &customer),
            total(&plan.reads)
        );
        return screen;
    }
    let title = format!("plan for {customer}: {} on {}", clean_line(&plan.playbook), clean_line(&plan.target));
    let _ = writeln!(screen, "{}\n", style.paint(Paint::Bold, &title));
    for change in &plan.changes {
        screen.push_str(&shown(change, verbose, style));
    }
    if let Some(error) = &plan.error {
        let _ = write!(screen, "\n{}\n", Trouble::from(error).screen(style));
        if plan.has_changes() {
            let _ = writeln!(screen, "\nA run would make the changes above and then fail.");
        }
    }
    let _ = write!(screen, "\n{}", sum(plan, style));
    screen
}

fn shown(planned: &PlannedChange, verbose: u8, style: Style) -> String {
    let (sign, paint) = match planned.change {
        Change::Created => ("+", Paint::Green),
        Change::Updated => ("~", Paint::Yellow),
        Change::Deleted => ("-", Paint::Red),
        Change::Replaced => ("±", Paint::Magenta),
        Change::Acted => ("!", Paint::Cyan),
        Change::Unchanged | Change::Verified => (" ", Paint::Dim),
    };
    let site = planned.site.as_ref().map(|site| format!("  {}:{}", site.file, site.line)).unwrap_or_default();
    let mut text = format!(
        "  {} {}{}\n",
        style.paint(paint, sign),
        clean_line(&planned.subject),
        style.paint(Paint::Dim, &clean_line(&site))
    );
    let is_new = planned.change == Change::Created;
    if !is_new || verbose > 0 {
        for field in &planned.fields {
            let _ = writeln!(text, "      {}", line(field, is_new, verbose, style));
        }
    }
    for request in &planned.requests {
        if verbose > 0 {
            let request = format!("{} {} ({})", request.method, request.path, request.operation);
            let _ = writeln!(text, "      {}", style.paint(Paint::Dim, &clean_line(&request)));
        }
        if request.assumed {
            let note = format!("outcome of {} assumed from the contract", request.operation);
            let _ = writeln!(text, "      {}", style.paint(Paint::Yellow, &clean_line(&note)));
        }
    }
    text
}

fn line(field: &FieldChange, is_new: bool, verbose: u8, style: Style) -> String {
    let value = |value: &Value| {
        let text = value.to_string();
        match text.char_indices().nth(VALUE) {
            Some((end, _)) if verbose < 2 => format!("{}...", &text[..end]),
            _ => text,
        }
    };
    let name = style.paint(Paint::Dim, &clean_line(&field.field));
    if is_new || field.before.is_null() {
        return format!("{name}: {}", clean_line(&value(&field.after)));
    }
    format!("{name}: {} -> {}", clean_line(&value(&field.before)), clean_line(&value(&field.after)))
}

fn total(counts: &BTreeMap<Tier, u32>) -> u32 {
    counts.values().sum()
}

/// How many would be made, changed and removed, and what that takes.
fn sum(plan: &Plan, style: Style) -> String {
    let of = |changes: &[Change]| plan.changes.iter().filter(|planned| changes.contains(&planned.change)).count();
    let parts = [
        format!("{} to create", of(&[Change::Created])),
        format!("{} to change", of(&[Change::Updated, Change::Replaced])),
        format!("{} to delete", of(&[Change::Deleted])),
        format!("{} to do", of(&[Change::Acted])),
    ];
    let writes: Vec<String> = plan.writes.iter().map(|(tier, number)| format!("{number} {}", name_of(*tier))).collect();
    let mut text = format!("{} {}\n", style.paint(Paint::Bold, "sum:"), parts.join(", "));
    let _ = write!(
        text,
        "     {} made for this plan; a run makes {} ({})",
        count(total(&plan.reads).into(), "request"),
        count(total(&plan.writes).into(), "write"),
        if writes.is_empty() { "none".to_owned() } else { writes.join(", ") }
    );
    if plan.least_seconds > 0 {
        let _ = write!(text, "\n     the rate limits let it take no less than {} s", plan.least_seconds);
    }
    text
}

fn name_of(tier: Tier) -> &'static str {
    match tier {
        Tier::Tier1 => "in tier 1",
        Tier::Tier2 => "in tier 2",
        Tier::Special => "with a limit of their own",
    }
}
