//! Plans as one page that needs nothing else, to be read by whoever agrees to them.

use serde_json::{Value, json};
use tenantry::{Change, Plan, PlannedChange};

use super::page::html_page;
use super::plan_field::{Line, lines};
use super::plan_notes::{notes, warnings};
use super::plan_shape::{Shape, shapes};
use super::plan_text::{counted, listed, sign, tally, total};
use super::text::count;
use super::time::moment;

const PAGE: &str = include_str!("plan.html");

/// The page of these plans, which are of one playbook on one target.
///
/// # Errors
/// When the page of this release is wrong.
pub(crate) fn plans_html(plans: &[Plan]) -> Result<String, minijinja::Error> {
    html_page(PAGE, &page(plans))
}

fn page(plans: &[Plan]) -> Value {
    let first = plans.first();
    let all: Vec<&Plan> = plans.iter().collect();
    let (status, tone) = if plans.iter().any(|plan| plan.error.is_some()) {
        ("would fail", "bad")
    } else if plans.iter().any(Plan::has_changes) {
        ("changes", "busy")
    } else {
        ("nothing to change", "good")
    };
    let reads: u32 = plans.iter().map(|plan| total(&plan.reads)).sum();
    let writes: u32 = plans.iter().map(|plan| total(&plan.writes)).sum();
    let customers = listed(plans.iter().map(|plan| plan.customer.as_str()));
    let facts = [
        ("Playbook", first.map(|plan| plan.playbook.clone())),
        ("Target", first.map(|plan| plan.target.clone())),
        ("Customers", Some(customers.clone())),
        ("Made", first.map(made)),
        ("Release", Some(format!("tenantry {}", env!("CARGO_PKG_VERSION")))),
    ];
    let facts: Vec<Value> =
        facts.into_iter().filter_map(|(name, value)| Some(json!({ "name": name, "value": value? }))).collect();
    let mut totals = vec![(plans.len(), "customers")];
    totals.extend(tally(&all));
    totals.extend([(writes as usize, "writes"), (reads as usize, "reads made for it")]);
    json!({
        "title": format!("Plan for {customers}"),
        "status": status,
        "tone": tone,
        "customers": plans.len(),
        "facts": facts,
        "totals": totals.iter().map(|(number, name)| json!({ "number": number, "name": name })).collect::<Vec<_>>(),
        "shapes": shapes(plans).iter().map(shape).collect::<Vec<_>>(),
        "foot": "Nothing of this has been done. Secrets are never in a plan; `***` stands for each.",
    })
}

fn made(plan: &Plan) -> String {
    plan.made.parse().map_or_else(|_| plan.made.clone(), |made| format!("{} UTC", moment(made)))
}

fn shape(shape: &Shape<'_>) -> Value {
    let customers = listed(shape.customers());
    let title = match shape.plans.len() {
        1 => customers,
        number => format!("{} alike: {customers}", count(number as u64, "customer")),
    };
    let error = shape.first().error.as_ref().map(|error| {
        let site = error.site.as_ref().map(ToString::to_string);
        json!({ "message": error.message, "site": site, "line": error.line, "hints": error.hints })
    });
    let plan = |plan: &&Plan| {
        json!({
            "customer": plan.customer,
            "sum": counted(&[plan]),
            "unmentioned": plan.unmentioned.iter().flatten().map(|thing| &thing.subject).collect::<Vec<_>>(),
            "changes": plan.changes.iter().map(change).collect::<Vec<_>>(),
        })
    };
    let sum = if shape.first().has_changes() { counted(&shape.plans) } else { "nothing to change".to_owned() };
    let notes = notes(&shape.plans);
    json!({ "title": title, "sum": sum, "notes": notes, "error": error, "plans": shape.plans.iter().map(plan).collect::<Vec<_>>() })
}

fn change(planned: &PlannedChange) -> Value {
    let (word, tone) = match planned.change {
        Change::Created => ("create", "good"),
        Change::Updated => ("change", "care"),
        Change::Replaced => ("replace", "care"),
        Change::Deleted => ("delete", "bad"),
        Change::Acted => ("do", "busy"),
        Change::Unchanged | Change::Verified => ("keep", ""),
    };
    let notes = warnings(planned);
    let requests: Vec<String> = planned
        .requests
        .iter()
        .map(|request| format!("{} {} ({}, {})", request.method, request.path, request.operation, request.key))
        .collect();
    json!({
        "sign": sign(planned.change).0,
        "word": word,
        "tone": tone,
        "subject": planned.subject,
        "site": planned.site.as_ref().map(ToString::to_string),
        "fields": planned.fields.iter().flat_map(|field| fields(&lines(field))).collect::<Vec<_>>(),
        "notes": notes,
        "requests": requests,
    })
}

/// Each field with the lines that follow it.
fn fields(lines: &[Line]) -> Vec<Value> {
    let is_field = |line: &Line| matches!(line, Line::Field { .. });
    let mut fields = Vec::new();
    for part in lines.chunk_by(|_, next| !is_field(next)) {
        let [Line::Field { name, text }, rest @ ..] = part else { continue };
        let line = |line: &Line| match line {
            Line::Gone(text) => Some(json!({ "tone": "bad", "text": format!("- {text}") })),
            Line::Come(text) => Some(json!({ "tone": "good", "text": format!("+ {text}") })),
            Line::Kept(text) => Some(json!({ "tone": "quiet", "text": format!("  {text}") })),
            Line::Skipped => Some(json!({ "tone": "quiet", "text": "..." })),
            Line::Field { .. } => None,
        };
        fields.push(json!({ "name": name, "text": text, "lines": rest.iter().filter_map(line).collect::<Vec<_>>() }));
    }
    fields
}
