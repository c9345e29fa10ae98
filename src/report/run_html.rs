//! A run of the past as one page that needs nothing else: for a browser, a phone, a printer.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use tenantry::explain::CustomerValues;
use tenantry::operation::secret::masked;
use tenantry::operation::{BranchStep, CallKey};
use tenantry::{Change, Ending, Fate, History, PastEvent, PastOperation, Process, RunKind, RunState, Site};

use super::page::html_page;
use super::run_text::{next, took};
use super::step::word;
use super::table::changes;
use super::time::{moment, span};

const PAGE: &str = include_str!("run.html");

/// Values are cut here: a page is no place for certificates.
const VALUE: usize = 400;

/// A `parallel` over very many elements has its later lanes in one.
const LANES: usize = 200;

/// The page of a run.
///
/// # Errors
/// When the page of this release is wrong.
pub(crate) fn run_html(history: &History) -> Result<String, minijinja::Error> {
    html_page(PAGE, &page(history))
}

fn page(history: &History) -> Value {
    let (run, opening) = (&history.run, &history.run.opening);
    let what = match &opening.kind {
        RunKind::Run => "Run",
        RunKind::Undo(_) => "Undo",
    };
    let tally = history.tally();
    let output = history.report.as_ref().map(|report| masked(&report["output"])).filter(has_content);
    json!({
        "title": format!("{what} {} for {}", history.short, opening.customer),
        "status": run.status.as_str(),
        "tone": match run.status {
            RunState::Succeeded => "good",
            RunState::Failed => "bad",
            RunState::Running => "busy",
            RunState::Interrupted | RunState::Cancelled => "care",
        },
        "facts": facts(history),
        "totals": [
            { "number": changes(history.changes().map(|step| step.change).collect::<Vec<_>>()), "name": "changes" },
            { "number": tally.writes, "name": "writes" },
            { "number": tally.reads, "name": "reads" },
            { "number": tally.probes, "name": "probes" },
            { "number": history.unsettled().count(), "name": "writes with unknown end" },
        ],
        "error": error(history),
        "unsettled": history.unsettled().map(|attempt| json!({
            "key": attempt.key.to_string(),
            "id": attempt.operation.id,
            "subject": attempt.operation.subject,
            "request": request(attempt),
            "began": attempt.began.map(|began| format!("{} UTC", moment(began))),
        })).collect::<Vec<_>>(),
        "next": next(history),
        "processes": processes(history),
        "steps": steps(history),
        "operations": operations(history),
        "logs": history.logs.iter().map(|line| json!({
            "when": moment(line.at),
            "level": line.level,
            "message": line.message,
            "site": line.site.as_ref().map_or_else(String::new, Site::to_string),
        })).collect::<Vec<_>>(),
        "files": history.files.iter().map(|file| json!({ "path": file.path, "digest": file.digest })).collect::<Vec<_>>(),
        "output": output.map(|output| serde_json::to_string_pretty(&output).unwrap_or_default()),
        "foot": format!("Times are UTC. Secrets are never in a journal. Shown by tenantry {}.", env!("CARGO_PKG_VERSION")),
    })
}

fn has_content(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Object(map) => !map.is_empty(),
        _ => true,
    }
}

fn facts(history: &History) -> Vec<Value> {
    let (run, opening) = (&history.run, &history.run.opening);
    let tenant = history.report.as_ref().and_then(|report| report["tenant"]["url"].as_str());
    let undoes = match &opening.kind {
        RunKind::Run => None,
        RunKind::Undo(of) => Some(of.clone()),
    };
    [
        ("Run", Some(opening.id.clone())),
        ("Undoes", undoes),
        ("Customer", Some(opening.customer.clone())),
        ("Playbook", Some(opening.playbook.clone())),
        ("Target", Some(opening.target.clone())),
        ("Tenant", tenant.map(str::to_owned)),
        ("Began", Some(format!("{} UTC", moment(run.began)))),
        ("Ended", run.ended.map(|ended| format!("{} UTC", moment(ended)))),
        ("Took", Some(took(history))),
        ("Release", Some(format!("tenantry {}", opening.release))),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some(json!({ "name": name, "value": value? })))
    .collect()
}

fn error(history: &History) -> Option<Value> {
    let error = history.error().filter(|_| matches!(history.run.status, RunState::Failed | RunState::Cancelled))?;
    let mut notes: Vec<(&str, String)> = Vec::new();
    notes.extend(error.operation.clone().map(|operation| ("Operation", operation)));
    notes.extend(error.failure.as_ref().map(|failure| ("Answer", failure.to_string())));
    notes.extend(error.failure.as_ref().and_then(|failure| Some(("Trace", failure.trace.clone()?))));
    notes.extend(error.hints.iter().map(|hint| ("Help", hint.clone())));
    let notes: Vec<Value> = notes.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    let site = error.site.as_ref().map(Site::to_string);
    Some(json!({ "message": error.message, "site": site, "line": error.line, "notes": notes }))
}

/// What happened in a branch while one process was at work.
#[derive(Default)]
struct Lane {
    about: String,
    marks: Vec<Value>,
}

fn processes(history: &History) -> Vec<Value> {
    let course = history.course();
    let mut shown = Vec::with_capacity(history.processes.len());
    for (number, process) in history.processes.iter().enumerate() {
        let scale = Scale::of(process);
        let mut lanes: BTreeMap<Vec<BranchStep>, Lane> = BTreeMap::new();
        for event in course.iter().filter(|moment| moment.process == number).map(|moment| moment.event) {
            match event {
                PastEvent::Operation(attempt) => {
                    let lane = lanes.entry(attempt.key.branch.clone()).or_default();
                    if lane.about.is_empty() {
                        lane.about.clone_from(&attempt.operation.subject);
                    }
                    lane.marks.push(mark(history, attempt, process, &scale));
                }
                PastEvent::Step(past) => {
                    let Some(call) = &past.step.call else { continue };
                    lanes.entry(call.branch.clone()).or_default().marks.push(json!({
                        "kind": "told",
                        "left": scale.place(past.at),
                        "title": format!("{} {}", word(past.step.change), past.step.subject),
                    }));
                }
                _ => {}
            }
        }
        let before = number.checked_sub(1).and_then(|before| history.processes.get(before));
        let gap = before
            .filter(|_| !process.again)
            .map(|before| format!("{} later", span(process.began.duration_since(before.until))));
        let verb = match number {
            0 => "went to work",
            _ if process.again => "started the script again",
            _ => "went on with it",
        };
        shown.push(json!({
            "gap": gap,
            "title": format!("{} {verb} at {}", process.name, moment(process.began)),
            "lanes": drawn(lanes),
            "axis": scale.axis(),
            "end": end(history, process, number),
        }));
    }
    shown
}

fn end(history: &History, process: &Process, number: usize) -> String {
    let (at, last) = (moment(process.until), number + 1 == history.processes.len());
    match process.ending {
        Some(Ending::Succeeded) => format!("It came to the run's end at {at}."),
        Some(Ending::Failed) => format!("The run failed at {at}."),
        Some(Ending::Cancelled) => format!("The run was cancelled at {at}."),
        None if last && history.run.status == RunState::Running => "It is at work.".to_owned(),
        None => format!("The last that is known of it is from {at}."),
    }
}

/// Lanes in the order of the playbook, the many last ones in one.
fn drawn(lanes: BTreeMap<Vec<BranchStep>, Lane>) -> Vec<Value> {
    let more = lanes.len().saturating_sub(LANES);
    let mut drawn: Vec<Value> = Vec::new();
    let mut rest = Lane::default();
    for (number, (branch, lane)) in lanes.into_iter().enumerate() {
        if number >= LANES {
            rest.marks.extend(lane.marks);
            continue;
        }
        let path = if branch.is_empty() { "script".to_owned() } else { path(&branch) };
        drawn.push(json!({ "path": path, "about": lane.about, "title": format!("{path} {}", lane.about), "marks": lane.marks }));
    }
    if more > 0 {
        let about = format!("{more} more branches");
        drawn.push(json!({ "path": "...", "about": about, "title": about, "marks": rest.marks }));
    }
    drawn
}

fn path(branch: &[BranchStep]) -> String {
    let steps: Vec<String> = branch.iter().map(|step| format!("{}[{}]", step.call, step.index)).collect();
    steps.join(".")
}

/// Where moments lie within a process.
struct Scale {
    from: Timestamp,
    microseconds: f64,
}

impl Scale {
    fn of(process: &Process) -> Self {
        let length = process.until.duration_since(process.began).as_micros();
        Self { from: process.began, microseconds: as_float(length.max(1)) }
    }

    /// How far from the start, in hundredths of the whole.
    fn place(&self, at: Timestamp) -> String {
        let since = as_float(at.duration_since(self.from).as_micros());
        format!("{:.2}", (since / self.microseconds * 100.0).clamp(0.0, 100.0))
    }

    fn width(&self, from: Timestamp, to: Timestamp) -> String {
        let length = as_float(to.duration_since(from).as_micros());
        format!("{:.2}", (length / self.microseconds * 100.0).clamp(0.0, 100.0))
    }

    fn axis(&self) -> Vec<String> {
        let quarter = |part: f64| {
            let seconds = self.microseconds / 1e6 * part / 4.0;
            jiff::SignedDuration::try_from_secs_f64(seconds).map_or_else(|_| String::new(), span)
        };
        [0.0, 1.0, 2.0, 3.0].map(quarter).to_vec()
    }
}

#[expect(clippy::cast_precision_loss, reason = "a place on a screen")]
fn as_float(microseconds: i128) -> f64 {
    microseconds as f64
}

fn mark(history: &History, attempt: &PastOperation, process: &Process, scale: &Scale) -> Value {
    let fate = history.fate(attempt);
    let title = format!("{}: {}, {}", attempt.key, attempt.operation.subject, result(attempt, fate));
    let place = attempt.sequence;
    let Some(began) = attempt.began else {
        let at = attempt.ended.unwrap_or(process.began);
        return json!({ "kind": "read", "place": place, "left": scale.place(at), "title": title });
    };
    // An end that came when another process was at work lies beyond this one.
    let ended = attempt.ended.unwrap_or(began).min(process.until);
    let sign = match fate {
        Fate::Failed => "×",
        Fate::Unknown => "?",
        Fate::Done | Fate::NotPerformed | Fate::InProgress => "",
    };
    json!({
        "kind": fate.as_str(),
        "place": place,
        "left": scale.place(began),
        "width": scale.width(began, ended),
        "sign": sign,
        "title": title,
    })
}

fn steps(history: &History) -> Vec<Value> {
    let (course, writes) = (history.course(), writes(history));
    let steps = course.iter().filter_map(|moment| match moment.event {
        PastEvent::Step(past) => Some((moment, past)),
        _ => None,
    });
    steps
        .map(|(moment, past)| {
            let step = &past.step;
            let site = step.site.as_ref();
            json!({
                "when": span(moment.since),
                "word": word(step.change),
                "tone": match step.change {
                    Change::Created | Change::Verified => "good",
                    Change::Updated | Change::Replaced => "care",
                    Change::Deleted => "bad",
                    Change::Acted => "busy",
                    Change::Unchanged => "quiet",
                },
                "subject": step.subject,
                "site": site.map(Site::to_string),
                "line": line(history, site, past.sequence),
                "call": step.call.as_ref().map(ToString::to_string),
                "writes": step.call.as_ref().and_then(|call| writes.get(call)),
                "fields": step.fields.iter().map(|field| json!({
                    "name": field.field,
                    "before": value(&field.before),
                    "after": value(&field.after),
                })).collect::<Vec<_>>(),
            })
        })
        .collect()
}

/// The writes of each call, with the customer's values that theirs equal.
fn writes(history: &History) -> BTreeMap<CallKey, Vec<Value>> {
    let values = CustomerValues::of(&history.run.opening.inputs);
    let mut writes: BTreeMap<CallKey, Vec<Value>> = BTreeMap::new();
    for attempt in history.operations.iter().filter(|attempt| attempt.operation.effect.is_write()) {
        let equal = values.equal_to(&attempt.operation).into_iter();
        let equal = equal.map(|input| format!("{} equals {}", input.place, input.equals.join(", ")));
        writes.entry(attempt.key.call_key()).or_default().push(json!({
            "place": attempt.sequence,
            "key": attempt.key.to_string(),
            "equal": equal.collect::<Vec<_>>(),
        }));
    }
    writes
}

fn operations(history: &History) -> Vec<Value> {
    let row = |attempt: &PastOperation| {
        let fate = history.fate(attempt);
        let operation = &attempt.operation;
        let process = history.processes.get(attempt.process).map_or(history.run.began, |process| process.began);
        let since = |at: Timestamp| span(at.duration_since(process));
        json!({
            "place": attempt.sequence,
            "key": attempt.key.to_string(),
            "attempt": attempt.attempt + 1,
            "write": operation.effect.is_write(),
            "effect": operation.effect,
            "subject": operation.subject,
            "request": request(attempt),
            "result": result(attempt, fate),
            "tone": match fate {
                Fate::Done => "",
                Fate::Failed => "bad",
                Fate::NotPerformed | Fate::Unknown => "care",
                Fate::InProgress => "busy",
            },
            "notes": notes(attempt),
            "began": attempt.began.or(attempt.ended).map_or_else(String::new, since),
            "took": match (attempt.began, attempt.ended) {
                (Some(began), Some(ended)) => span(ended.duration_since(began)),
                _ => String::new(),
            },
            "site": operation.site.as_ref().map(Site::to_string),
            "line": line(history, operation.site.as_ref(), attempt.sequence),
        })
    };
    history.operations.iter().map(row).collect()
}

/// What became of an attempt, in words.
pub(crate) fn result(attempt: &PastOperation, fate: Fate) -> String {
    let status = attempt.status().map(|status| format!(" ({status})")).unwrap_or_default();
    match fate {
        Fate::Done => format!("done{status}"),
        Fate::Failed => format!("failed{status}"),
        Fate::NotPerformed => "not carried out".to_owned(),
        Fate::Unknown => "end not known".to_owned(),
        Fate::InProgress => "in progress".to_owned(),
    }
}

fn notes(attempt: &PastOperation) -> String {
    let mut notes: Vec<String> = Vec::new();
    notes.extend(attempt.failure().map(ToString::to_string));
    notes.extend(attempt.settled.as_ref().map(|settled| {
        let found = if settled.performed.is_some() { "carried out" } else { "not carried out" };
        format!("found at {}: {found} ({})", moment(settled.at), settled.evidence)
    }));
    if attempt.set_aside {
        notes.push("set aside when changes of the playbook were accepted".to_owned());
    }
    notes.join("; ")
}

pub(crate) fn request(attempt: &PastOperation) -> Option<String> {
    attempt.operation.request().map(|request| format!("{} {}", request.method, request.path))
}

fn line(history: &History, site: Option<&Site>, sequence: u64) -> String {
    let line = site.and_then(|site| history.line(site, sequence));
    line.map_or_else(String::new, |line| line.text.trim().to_owned())
}

fn value(value: &Value) -> String {
    let text = match masked(value) {
        Value::Null => "-".to_owned(),
        Value::String(text) => text,
        other => other.to_string(),
    };
    match text.char_indices().nth(VALUE) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
