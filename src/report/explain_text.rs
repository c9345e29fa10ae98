//! What `runs explain` tells, as text.

use std::fmt::Write as _;

use serde_json::Value;
use tenantry::operation::secret::masked;
use tenantry::playbook::Frame;
use tenantry::{
    Explained, ExplainedCall, ExplainedObject, ExplainedOperation, Fate, History, Object, PastOperation, Relation,
};

use super::explain_json::sent;
use super::place::Place;
use super::step::word;
use super::style::{Paint, Style};
use super::table::{fitted, table};
use super::text::clean_line;
use super::time::{moment, span};

/// How wide the names of facts are.
const NAME: usize = 9;

/// How many places of equal values, and how many templates, a line is no longer read for.
const SHOWN: usize = 3;

/// A value on a line is cut here.
const VALUE: usize = 60;

/// A line of a document is cut here, and a document after so many lines unless more is asked for.
const LINE: usize = 160;
const LINES: usize = 40;

/// A call, or a thing. `verbose` 1 adds answers and reads; a list is at most so wide, if that can be.
pub(crate) fn explained_text(explained: &Explained, verbose: u8, style: Style, width: Option<usize>) -> String {
    match explained {
        Explained::Call(explained) => call(explained, verbose, style),
        Explained::Object(explained) => object(explained, verbose, style, width),
    }
}

/// Things to choose from.
pub(crate) fn objects_table(objects: &[Object], style: Style) -> String {
    let row = |object: &Object| {
        let id = object.id.clone().unwrap_or_else(|| "-".to_owned());
        vec![id, object.subject.clone(), object.customer.clone(), object.host.clone()]
    };
    table(&["ID", "WHAT", "CUSTOMER", "HOST"], objects.iter().map(row).collect(), style)
}

fn call(explained: &ExplainedCall, verbose: u8, style: Style) -> String {
    let history = &explained.history;
    let title = format!("call {} of run {} for {}", explained.call, history.short, history.run.opening.customer);
    let mut screen = style.paint(Paint::Bold, &clean_line(&title));
    if let Some(line) = explained.line() {
        let (file, text) = (line.site.file, Some(line.text));
        let place = Place { file, line: line.site.line, column: line.site.column, width: line.width, text };
        place.show(&mut screen, "-->", "", style);
    }
    let mut note = |label: &str, text: &str| {
        let _ = write!(screen, "\n   = {}: {}", style.paint(Paint::Bold, label), clean_line(text));
    };
    if let Some(traced) = &explained.traced {
        // Nobody looks for a `parallel` and its closures by name.
        let named = |frame: &&Frame| verbose > 0 || !matches!(frame.function.as_str(), "closure" | "parallel");
        for frame in traced.stack.iter().flatten().filter(named) {
            let at = frame.site.as_ref().map(|site| format!(", called at {site}")).unwrap_or_default();
            note("in", &format!("{}{at}", frame.function));
        }
        for file in traced.files.iter().take(if verbose > 0 { usize::MAX } else { SHOWN }) {
            let at = file.site.as_ref().map(|site| format!(", at {site}")).unwrap_or_default();
            note("rendered", &format!("{}{at}", file.path));
        }
        if verbose == 0 && traced.files.len() > SHOWN {
            note("rendered", &format!("and {} more: -v shows them", traced.files.len() - SHOWN));
        }
    }
    for past in explained.steps() {
        note("step", &format!("{} {}", word(past.step.change), past.step.subject));
    }
    for operation in &explained.operations {
        let _ = write!(screen, "\n\n{}", of_operation(explained, operation, verbose, style));
    }
    screen
}

fn of_operation(explained: &ExplainedCall, operation: &ExplainedOperation, verbose: u8, style: Style) -> String {
    let Some(last) = explained.last(operation) else { return String::new() };
    let history = &explained.history;
    let fate = history.fate(last);
    let paint = match fate {
        Fate::Done => Paint::Green,
        Fate::Failed => Paint::Red,
        Fate::NotPerformed | Fate::Unknown => Paint::Yellow,
        Fate::InProgress => Paint::Cyan,
    };
    let mut lines = vec![format!(
        "{}: {}",
        style.paint(Paint::Bold, &operation.key.to_string()),
        style.paint(paint, &fate.as_str().replace('_', " "))
    )];
    let mut fact = |name: &str, value: &str| lines.push(fact(name, value, style));
    match last.operation.request() {
        Some(request) => {
            let query: Vec<String> = request.query.iter().map(|(name, text)| format!("{name}={text}")).collect();
            let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
            fact("request", &format!("{} {}{query}", request.method, request.path));
            fact("host", &request.host.name());
        }
        None => fact("request", "none: done by this host itself"),
    }
    let effect = serde_json::to_value(last.operation.effect).unwrap_or_default();
    fact("effect", &format!("{}: {}", effect.as_str().unwrap_or_default(), last.operation.subject));
    for place in &operation.attempts {
        let Some(attempt) = explained.attempt(*place) else { continue };
        let name =
            if operation.attempts.len() > 1 { format!("attempt {}", attempt.attempt + 1) } else { "answer".to_owned() };
        fact(&name, &result(history, attempt));
    }
    for input in &operation.inputs {
        let mut places: Vec<&str> = input.equals.iter().map(String::as_str).collect();
        let more = places.len().saturating_sub(SHOWN);
        places.truncate(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        fact(
            "input",
            &format!(
                "{} equals {}{more}: {}",
                input.place,
                places.join(", "),
                cut(&masked(&input.value).to_string(), VALUE)
            ),
        );
    }
    let sent = sent(&last.operation);
    if !sent.is_null() {
        lines.extend(document("sent", &sent, verbose, style));
    }
    if let (true, Some(answer)) = (verbose > 0, last.json()) {
        lines.extend(document("answered", &masked(answer), verbose, style));
    }
    lines.join("\n")
}

fn fact(name: &str, value: &str, style: Style) -> String {
    format!("  {} {}", style.paint(Paint::Dim, &format!("{name:NAME$}")), clean_line(value))
}

/// What came of an attempt, and when.
fn result(history: &History, attempt: &PastOperation) -> String {
    let mut text = match (history.fate(attempt), attempt.status()) {
        (Fate::Done, Some(status)) => status.to_string(),
        (Fate::Failed, _) => "failed".to_owned(),
        (fate, _) => fate.as_str().replace('_', " "),
    };
    if let Some(failure) = attempt.failure() {
        let _ = write!(text, ": {failure}");
    }
    if let Some(settled) = &attempt.settled {
        let found = if settled.performed.is_some() { "carried out" } else { "not carried out" };
        let _ = write!(text, "; {}: {found} ({} UTC)", settled.evidence, moment(settled.at));
    }
    if attempt.set_aside {
        text.push_str("; set aside since, as the playbook had changed");
    }
    match (attempt.began, attempt.ended) {
        (Some(began), Some(ended)) => {
            let _ = write!(text, ", {} UTC, after {}", moment(began), span(ended.duration_since(began)));
        }
        (Some(at), None) => {
            let _ = write!(text, ", begun {} UTC", moment(at));
        }
        (None, Some(at)) => {
            let _ = write!(text, ", {} UTC", moment(at));
        }
        (None, None) => {}
    }
    text
}

/// A document, indented.
fn document(name: &str, value: &Value, verbose: u8, style: Style) -> Vec<String> {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let most = if verbose > 1 { usize::MAX } else { LINES };
    let mut lines = vec![format!("  {}", style.paint(Paint::Dim, name))];
    lines.extend(text.lines().take(most).map(|line| format!("    {}", cut(&clean_line(line), LINE))));
    let left = text.lines().count().saturating_sub(most);
    if left > 0 {
        lines.push(format!("    and {left} more lines: -vv shows them"));
    }
    lines
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn object(explained: &ExplainedObject, verbose: u8, style: Style, width: Option<usize>) -> String {
    let object = &explained.object;
    let id = object.id.as_ref().map(|id| format!(", id {id}")).unwrap_or_default();
    let mut screen = style.paint(Paint::Bold, &clean_line(&format!("{}{id}", object.subject)));
    let mut lines = vec![fact("host", &object.host, style)];
    let made = match &explained.made {
        Some(made) => {
            let run = &made.history.run;
            let unknown =
                explained.mentions.iter().filter(|mention| mention.relation == Relation::Made).all(|mention| {
                    explained.of(*mention).is_some_and(|(history, attempt)| history.fate(attempt) == Fate::Unknown)
                });
            let perhaps = if unknown { "it is not known whether, " } else { "" };
            format!("{perhaps}by run {} for {}, {} UTC", made.history.short, run.opening.customer, moment(run.began))
        }
        None if explained.only.is_some() => "not by this run".to_owned(),
        None => "not by a run on record".to_owned(),
    };
    lines.push(fact("made", &made, style));
    let _ = write!(screen, "\n{}\n\n{}", lines.join("\n"), mentions(explained, verbose, style, width));
    let reads = explained.mentions.iter().filter(|mention| mention.relation == Relation::Read).count();
    if verbose == 0 && reads > 0 {
        let _ = write!(screen, "\nand {reads} {}: -v shows them", if reads == 1 { "read" } else { "reads" });
    }
    if let Some(made) = &explained.made {
        let _ = write!(screen, "\n\n{}", call(made, verbose, style));
    }
    screen
}

/// The columns, and in which order they are left out where there is no room.
const COLUMNS: [(&str, u8); 7] =
    [("WHEN (UTC)", 1), ("RUN", 0), ("CUSTOMER", 4), ("DID", 0), ("CALL", 0), ("WHAT", 2), ("LINE", 3)];

/// What dealt with a thing, the latest first.
fn mentions(explained: &ExplainedObject, verbose: u8, style: Style, width: Option<usize>) -> String {
    let shown = explained.mentions.iter().filter(|mention| verbose > 0 || mention.relation != Relation::Read);
    let rows: Vec<Vec<String>> = shown
        .filter_map(|mention| {
            let (history, attempt) = explained.of(*mention)?;
            let site = attempt.operation.site.as_ref().map(|site| format!("{}:{}", site.file, site.line));
            let at = attempt.began.or(attempt.ended).unwrap_or(history.run.began);
            Some(vec![
                moment(at),
                history.short.clone(),
                history.run.opening.customer.clone(),
                if history.fate(attempt) == Fate::Unknown { "unknown" } else { mention.relation.as_str() }.to_owned(),
                attempt.key.to_string(),
                cut(&attempt.operation.subject, VALUE),
                site.unwrap_or_else(|| "-".to_owned()),
            ])
        })
        .collect();
    if rows.is_empty() {
        return "no run on record has written to it".to_owned();
    }
    fitted(&COLUMNS, &rows, style, width)
}
