//! Plans as text: what would change, where the playbook says so, and the sum.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tenantry::contract::Tier;
use tenantry::{Change, Plan, PlannedChange};

use super::plan_field::{Line, lines};
use super::plan_notes::{notes, warnings};
use super::plan_shape::{Kind, Shape, shapes};
use super::style::{Paint, Style};
use super::text::{clean_line, count};
use super::trouble::Trouble;

/// So many lines of a long text are shown, unless all are asked for.
const LINES: usize = 12;

/// So many are named of what there are many of.
const NAMED: usize = 3;

/// How plans are looked at.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    /// 1 shows each customer's plan, the fields of what is made and every request; 2 long texts whole.
    pub(crate) verbose: u8,
    pub(crate) style: Style,
    /// How wide the screen is.
    pub(crate) width: Option<usize>,
}

/// Plans on a screen: those of one shape as one.
pub(crate) fn plans_text(plans: &[Plan], look: Look) -> String {
    let shapes = shapes(plans);
    let mut screens = Vec::new();
    if shapes.len() < plans.len() && look.verbose == 0 {
        screens.extend(shapes.iter().map(|shape| look.shape(shape)));
        if shapes.len() > 1 {
            screens.push(format!("{} in {}", count(plans.len() as u64, "plan"), count(shapes.len() as u64, "shape")));
        }
    } else {
        screens.extend(plans.iter().map(|plan| look.plan(plan)));
    }
    screens.join("\n\n")
}

impl Look {
    fn plan(self, plan: &Plan) -> String {
        self.whole(&[plan], |text, change| text.push_str(&self.change(change)))
    }

    fn shape(self, shape: &Shape<'_>) -> String {
        let first = shape.first();
        let kinds: Vec<Kind> = first.changes.iter().map(Kind::of).collect();
        let mut place = 0;
        self.whole(&shape.plans, |text, change| {
            text.push_str(&self.change(change));
            let is_last = !kinds[place + 1..].contains(&kinds[place]);
            if is_last && shape.plans.len() > 1 {
                text.push_str(&self.others(shape, &kinds[place]));
            }
            place += 1;
        })
    }

    /// The plans of one shape: what the first changes, and the sum over all.
    fn whole(self, plans: &[&Plan], mut show: impl FnMut(&mut String, &PlannedChange)) -> String {
        let style = self.style;
        let Some(first) = plans.first() else { return String::new() };
        let codes = listed(plans.iter().map(|plan| plan.customer.as_str()));
        let leaves = plans.iter().any(|plan| plan.unmentioned.as_ref().is_some_and(|left| !left.is_empty()));
        if !first.has_changes() && first.error.is_none() && !leaves {
            let mut screen = format!(
                "{} {}: nothing to change ({} read)",
                style.paint(Paint::Bold, "plan for"),
                style.paint(Paint::Bold, &codes),
                plans.iter().map(|plan| total(&plan.reads)).sum::<u32>()
            );
            note(&mut screen, plans);
            return screen;
        }
        let mut screen = String::new();
        let title = format!("plan for {codes}: {} on {}", clean_line(&first.playbook), clean_line(&first.target));
        let _ = writeln!(screen, "{}", style.paint(Paint::Bold, &title));
        if plans.len() > 1 {
            let note = format!("alike; shown is what {} gets, -v shows each", clean_line(&first.customer));
            let _ = writeln!(screen, "{}", style.paint(Paint::Dim, &note));
        }
        screen.push('\n');
        for change in &first.changes {
            show(&mut screen, change);
        }
        if let Some(error) = &first.error {
            let _ = write!(screen, "\n{}\n", Trouble::from(error).screen(style));
            // The plan's own questions to the target are no business of a run.
            let is_unasked = first.guards.iter().any(|guard| guard.fired && guard.name == "first_token");
            if is_unasked {
                let _ = writeln!(screen, "\nThe plan ends there; a run would go on.");
            } else if first.has_changes() {
                let _ = writeln!(screen, "\nA run would make the changes above and then fail.");
            }
        }
        screen.push_str(&self.unmentioned(plans));
        let _ = write!(screen, "\n{}", sum(plans, style));
        screen
    }

    fn change(self, planned: &PlannedChange) -> String {
        let style = self.style;
        let (sign, paint) = sign(planned.change);
        let subject = clean_line(&planned.subject);
        let site = planned.site.as_ref().map(|site| clean_line(&format!("{}:{}", site.file, site.line)));
        let mut text = format!("  {} {subject}", style.paint(paint, sign));
        if let Some(site) = site {
            let fits = self.width.is_none_or(|width| subject.chars().count() + site.chars().count() + 6 <= width);
            let gap = if fits { "  " } else { "\n      " };
            let _ = write!(text, "{gap}{}", style.paint(Paint::Dim, &site));
        }
        text.push('\n');
        if planned.change != Change::Created || self.verbose > 0 {
            for field in &planned.fields {
                text.push_str(&self.field(&lines(field)));
            }
        }
        for request in &planned.requests {
            if self.verbose > 0 {
                let request = format!("{} {} ({})", request.method, request.path, request.operation);
                let _ = writeln!(text, "      {}", style.paint(Paint::Dim, &clean_line(&request)));
            }
        }
        for note in warnings(planned) {
            let _ = writeln!(text, "      {}", style.paint(Paint::Yellow, &note));
        }
        text
    }

    /// What no plan mentions any more, and who has it.
    fn unmentioned(self, plans: &[&Plan]) -> String {
        let mut text = String::new();
        let left = plans.iter().flat_map(|plan| plan.unmentioned.iter().flatten().map(|thing| (*plan, thing)));
        for (plan, thing) in left {
            if text.is_empty() {
                text.push_str("\n  left as it is, and not mentioned any more since the run before:\n");
            }
            let of = if plans.len() > 1 { format!("{}: ", plan.customer) } else { String::new() };
            let site = thing.site.as_ref().map(|site| format!("  {}:{}", site.file, site.line)).unwrap_or_default();
            let _ = writeln!(
                text,
                "  ? {}{}",
                clean_line(&format!("{of}{}", thing.subject)),
                self.style.paint(Paint::Dim, &clean_line(&site))
            );
        }
        text
    }

    fn field(self, lines: &[Line]) -> String {
        let style = self.style;
        let shown = if self.verbose > 1 { lines.len() } else { lines.len().min(LINES) };
        let mut text = String::new();
        for line in &lines[..shown] {
            let line = match line {
                Line::Field { name, text } => {
                    format!("{} {}", style.paint(Paint::Dim, &clean_line(&format!("{name}:"))), clean_line(text))
                }
                Line::Kept(line) => style.paint(Paint::Dim, &format!("    {}", clean_line(line))),
                Line::Gone(line) => style.paint(Paint::Red, &format!("  - {}", clean_line(line))),
                Line::Come(line) => style.paint(Paint::Green, &format!("  + {}", clean_line(line))),
                Line::Skipped => style.paint(Paint::Dim, "  ..."),
            };
            let _ = writeln!(text, "      {}", line.trim_end());
        }
        if shown < lines.len() {
            let more = format!("  {} (-vv shows them)", count((lines.len() - shown) as u64, "more line"));
            let _ = writeln!(text, "      {}", style.paint(Paint::Dim, &more));
        }
        text
    }

    /// What the others have in place of the first's.
    fn others(self, shape: &Shape<'_>, kind: &Kind) -> String {
        let own = |change: &&PlannedChange| Kind::of(change) == *kind;
        let known: Vec<&PlannedChange> = shape.first().changes.iter().filter(own).collect();
        let is_same = |change: &PlannedChange| {
            known.iter().any(|own| own.subject == change.subject && own.fields == change.fields)
        };
        let others: Vec<String> = shape
            .others(kind)
            .filter(|(_, change)| !is_same(change))
            .map(|(plan, change)| format!("{}: {}", plan.customer, change.subject))
            .collect();
        if others.is_empty() {
            return String::new();
        }
        let note = listed(others.iter().map(String::as_str));
        format!("      {}\n", self.style.paint(Paint::Dim, &note))
    }
}

/// The first few of them, and how many more there are.
pub(super) fn listed<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let more = names.len().saturating_sub(NAMED);
    let names: Vec<String> = names.take(NAMED).map(clean_line).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", names.join(", "))
}

pub(super) fn sign(change: Change) -> (&'static str, Paint) {
    match change {
        Change::Created => ("+", Paint::Green),
        Change::Updated => ("~", Paint::Yellow),
        Change::Deleted => ("-", Paint::Red),
        Change::Replaced => ("±", Paint::Magenta),
        Change::Acted => ("!", Paint::Cyan),
        Change::Unchanged | Change::Verified => (" ", Paint::Dim),
    }
}

pub(super) fn total(counts: &BTreeMap<Tier, u32>) -> u32 {
    counts.values().sum()
}

/// How many would be made, changed and removed, and what that takes.
fn sum(plans: &[&Plan], style: Style) -> String {
    let mut writes: BTreeMap<Tier, u32> = BTreeMap::new();
    for (tier, number) in plans.iter().flat_map(|plan| &plan.writes) {
        *writes.entry(*tier).or_default() += number;
    }
    let reads: u32 = plans.iter().map(|plan| total(&plan.reads)).sum();
    let each: Vec<String> = writes.iter().map(|(tier, number)| format!("{number} {}", name_of(*tier))).collect();
    let (these, makes) =
        if plans.len() > 1 { ("these plans", "their runs make") } else { ("this plan", "a run makes") };
    let mut text = format!("{} {}\n", style.paint(Paint::Bold, "sum:"), counted(plans));
    let _ = write!(
        text,
        "     {} made for {these}; {makes} {} ({})",
        count(reads.into(), "request"),
        count(total(&writes).into(), "write"),
        if each.is_empty() { "none".to_owned() } else { each.join(", ") }
    );
    let least = plans.iter().map(|plan| plan.least_seconds).max().unwrap_or(0);
    if least > 0 {
        let _ = write!(text, "\n     the rate limits let it take no less than {least} s");
    }
    note(&mut text, plans);
    text
}

fn note(text: &mut String, plans: &[&Plan]) {
    for line in notes(plans) {
        let _ = write!(text, "\n     {line}");
    }
}

/// How many of what.
pub(super) fn tally(plans: &[&Plan]) -> [(usize, &'static str); 4] {
    let changes = || plans.iter().flat_map(|plan| &plan.changes);
    let of = |wanted: &[Change]| changes().filter(|planned| wanted.contains(&planned.change)).count();
    [
        (of(&[Change::Created]), "to create"),
        (of(&[Change::Updated, Change::Replaced]), "to change"),
        (of(&[Change::Deleted]), "to delete"),
        (of(&[Change::Acted]), "to do"),
    ]
}

pub(super) fn counted(plans: &[&Plan]) -> String {
    tally(plans).map(|(number, what)| format!("{number} {what}")).join(", ")
}

pub(super) fn name_of(tier: Tier) -> &'static str {
    match tier {
        Tier::Tier1 => "in tier 1",
        Tier::Tier2 => "in tier 2",
        Tier::Special => "with a limit of their own",
    }
}
