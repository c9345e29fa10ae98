//! A run of the past as text: its head, what happened in order, what went wrong, what to do next.

use std::fmt::Write as _;

use tenantry::{Ending, Fate, History, PastEvent, PastOperation, PastStep, Process, RunKind, RunState, Site};

use super::step::fields;
use super::style::{Paint, Style};
use super::table::changes;
use super::text::clean_line;
use super::time::{moment, span};
use super::trouble::Trouble;

/// How wide the time before a line is.
const TIME: usize = 12;

/// The run on a screen. `verbose` 1 adds fields that changed and every operation.
pub(crate) fn run_text(history: &History, verbose: u8, style: Style) -> String {
    let mut screen = head(history, style);
    for line in course(history, verbose, style) {
        let _ = write!(screen, "\n{line}");
    }
    for trouble in troubles(history) {
        let _ = write!(screen, "\n\n{}", trouble.screen(style));
    }
    let next = next(history);
    if !next.is_empty() {
        screen.push('\n');
    }
    for line in next {
        let _ = write!(screen, "\n{} {line}", style.paint(Paint::Cyan, "next:"));
    }
    screen
}

/// What the run is, by which everything else is read.
fn head(history: &History, style: Style) -> String {
    let (run, opening) = (&history.run, &history.run.opening);
    let status = style.paint(paint(run.status), run.status.as_str());
    let what = match &opening.kind {
        RunKind::Run => "run".to_owned(),
        RunKind::Undo(_) => "undo".to_owned(),
    };
    let title = style.paint(Paint::Bold, &format!("{what} {} for {}", history.short, clean_line(&opening.customer)));
    let mut lines = vec![format!("{title}: {status}")];
    let mut fact = |name: &str, value: &str| {
        lines.push(format!("  {} {}", style.paint(Paint::Dim, &format!("{name:9}")), clean_line(value)));
    };
    fact("id", &opening.id);
    if let RunKind::Undo(of) = &opening.kind {
        fact("undoes", of);
    }
    fact("playbook", &opening.playbook);
    fact("target", &opening.target);
    if let Some(url) = history.report.as_ref().and_then(|report| report["tenant"]["url"].as_str()) {
        fact("tenant", url);
    }
    fact("began", &format!("{} UTC", moment(run.began)));
    fact("took", &took(history));
    let tally = history.tally();
    let count = |number: u32, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
    let requests = [(tally.reads, "read"), (tally.writes, "write"), (tally.probes, "probe")];
    fact("requests", &requests.map(|(number, word)| count(number, word)).join(", "));
    fact("changes", &changes(history.changes().map(|step| step.change).collect::<Vec<_>>()));
    lines.push(String::new());
    lines.join("\n")
}

/// How long it was worked on, and over which time when that is another.
pub(crate) fn took(history: &History) -> String {
    let at_work = span(history.at_work());
    match (history.processes.first(), history.processes.last()) {
        (Some(first), Some(last)) if history.process_count() > 1 => {
            let over = span(last.until.duration_since(first.began));
            format!("{at_work}, in {} processes over {over}", history.process_count())
        }
        _ => at_work,
    }
}

fn paint(status: RunState) -> Paint {
    match status {
        RunState::Succeeded => Paint::Green,
        RunState::Running => Paint::Cyan,
        RunState::Failed => Paint::Red,
        RunState::Interrupted | RunState::Cancelled => Paint::Yellow,
    }
}

/// What happened, line by line.
fn course(history: &History, verbose: u8, style: Style) -> Vec<String> {
    let mut lines = Vec::new();
    for moment in history.course() {
        let time = format!("{:>TIME$}  ", span(moment.since));
        let dated = |text: &str| format!("{}  {text}", style.paint(Paint::Bold, &super::time::moment(moment.at)));
        match moment.event {
            PastEvent::Began(process) => {
                let word = match moment.process {
                    0 => "went to work",
                    _ if process.again => "started the script again",
                    _ => "went on with it",
                };
                lines.push(dated(&format!("{} {word}", clean_line(&process.name))));
            }
            PastEvent::Left(process) => lines.push(dated(&farewell(history, process, moment.process))),
            PastEvent::Step(PastStep { step, .. }) => {
                lines.push(format!("{}{}", super::step::step(&time, step, style), placed(step.site.as_ref(), style)));
                if verbose > 0 && step.change.is_write() {
                    lines.extend(fields(step, style).into_iter().map(|field| format!("{:TIME$}  {field}", "")));
                }
            }
            PastEvent::Log(line) => {
                if verbose > 0 || line.level != "debug" {
                    let (time, site) = (style.paint(Paint::Dim, &time), placed(line.site.as_ref(), style));
                    lines.push(format!("{time}{:9}  {}{site}", clean_line(&line.level), clean_line(&line.message)));
                }
            }
            PastEvent::Operation(attempt) => {
                let fate = history.fate(attempt);
                // A read that fails is part of many a look-up.
                if verbose > 0 || (fate != Fate::Done && attempt.operation.effect.is_write()) {
                    lines.push(operation(attempt, fate, &time, style));
                }
            }
            PastEvent::Accepted(accepted) => {
                lines.push(dated(&format!("changes of the playbook were accepted: live from {} on", accepted.key)));
            }
        }
    }
    lines
}

/// How a process left the run.
fn farewell(history: &History, process: &Process, number: usize) -> String {
    let name = clean_line(&process.name);
    let last = number + 1 == history.processes.len();
    match process.ending {
        Some(Ending::Succeeded) => "succeeded".to_owned(),
        Some(Ending::Failed) => "failed".to_owned(),
        Some(Ending::Cancelled) => "cancelled".to_owned(),
        None if last && history.run.status == RunState::Running => format!("{name} is at work on it"),
        None => format!("the last that is known of {name}"),
    }
}

/// The line of an attempt at an operation.
fn operation(attempt: &PastOperation, fate: Fate, time: &str, style: Style) -> String {
    let (word, paint) = match fate {
        Fate::Done => (attempt.status().map_or_else(|| "done".to_owned(), |status| status.to_string()), Paint::Dim),
        Fate::Failed if !attempt.operation.effect.is_write() => ("failed".to_owned(), Paint::Dim),
        Fate::Failed => ("failed".to_owned(), Paint::Red),
        Fate::NotPerformed => ("not done".to_owned(), Paint::Yellow),
        Fate::Unknown => ("unknown".to_owned(), Paint::BoldYellow),
        Fate::InProgress => ("going on".to_owned(), Paint::Cyan),
    };
    let request = attempt.operation.request().map(|request| format!(", {} {}", request.method, request.path));
    let mut text = format!("{}{}", attempt.key, request.unwrap_or_default());
    if attempt.attempt > 0 {
        let _ = write!(text, ", attempt {}", attempt.attempt + 1);
    }
    if let (Some(began), Some(ended)) = (attempt.began, attempt.ended) {
        let _ = write!(text, ", {}", span(ended.duration_since(began)));
    }
    if let Some(failure) = attempt.failure() {
        let _ = write!(text, ": {failure}");
    }
    if let Some(settled) = &attempt.settled {
        let found = if fate == Fate::Done { "carried out" } else { "not carried out" };
        let _ = write!(text, "; {}: {found}", settled.evidence);
    }
    if attempt.set_aside {
        text.push_str("; set aside since");
    }
    format!(
        "{}{}  {}",
        style.paint(Paint::Dim, time),
        style.paint(paint, &format!("{word:9}")),
        style.paint(Paint::Dim, &clean_line(&text))
    )
}

fn placed(site: Option<&Site>, style: Style) -> String {
    site.map(|site| style.paint(Paint::Dim, &format!("  ({})", clean_line(&site.to_string())))).unwrap_or_default()
}

/// What went wrong and what is not known.
fn troubles(history: &History) -> Vec<Trouble> {
    let mut troubles: Vec<Trouble> = Vec::new();
    if let Some(error) = history.error().filter(|_| history.run.status == RunState::Failed) {
        troubles.push(Trouble::from(&error));
    }
    troubles.extend(history.unsettled().map(|attempt| {
        let operation = &attempt.operation;
        let request = operation.request().map(|request| format!(": {} {}", request.method, request.path));
        let trouble = Trouble::warning(format!("it is not known whether {} was carried out", attempt.key))
            .note("operation", format!("`{}` for {}{}", operation.id, operation.subject, request.unwrap_or_default()));
        match attempt.began {
            Some(began) => trouble.note("begun", format!("{} UTC", moment(began))),
            None => trouble,
        }
    }));
    troubles
}

/// What a person can do now.
pub(crate) fn next(history: &History) -> Vec<String> {
    let (run, short) = (&history.run, &history.short);
    if let Some(later) = &run.superseded_by {
        let unfinished = run.status != RunState::Succeeded;
        return if unfinished {
            vec![format!("a later run took its place: tenantry runs show {later}")]
        } else {
            Vec::new()
        };
    }
    if !run.is_resumable() {
        return Vec::new();
    }
    if run.opening.plan.is_some() {
        return vec!["it carries out a plan: `tenantry apply` with that plan goes on with it".to_owned()];
    }
    let mut lines = vec![format!("tenantry runs resume {short}")];
    if history.unsettled().next().is_some() {
        lines.push("it looks up what is not known; what it cannot find out it asks you".to_owned());
    }
    lines
}
