//! What went wrong in a playbook, where, why, and what to do next.

use rhai::{Dynamic, Engine, EvalAltResult, Position};
use serde::{Deserialize, Serialize};

use super::branch::Stop;
use super::header::HeaderError;
use super::resolver::Sources;
use super::signature;
use super::thrown::Thrown;
use crate::operation::{Failure, FailureKind, Site};

/// The code of a run that took longer than it was given.
pub(crate) const RUN_TIMEOUT: &str = "tenantry/run-timeout";

/// A problem with its place in the playbook.
#[derive(Clone, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Diagnostic {
    /// What happened, in one sentence without a full stop.
    pub message: String,
    /// The place, when there is one.
    pub site: Option<Site>,
    /// The line at that place.
    pub line: Option<String>,
    /// How many characters of the line are meant.
    pub width: usize,
    /// The calls that led there, innermost first.
    pub stack: Vec<Frame>,
    /// What to do next.
    pub hints: Vec<String>,
    /// The operation that failed, when one did.
    pub operation: Option<String>,
    /// What the service or the host said of it.
    pub failure: Option<Failure>,
    /// What stood there in the playbook as it was, when a run that is resumed finds another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Box<RecordedLine>>,
    /// Whether the run was cancelled, or had no time left, rather than failed.
    pub cancelled: bool,
}

/// A line of a playbook as it was when a run used it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedLine {
    /// The place.
    pub site: Site,
    /// The line at that place.
    pub line: Option<String>,
    /// How many characters of the line are meant.
    pub width: usize,
}

impl RecordedLine {
    /// The line at this place of `text`, when it is known.
    pub(crate) fn of(site: Site, text: Option<&str>) -> Self {
        let line = text.and_then(|text| text.lines().nth(site.line.checked_sub(1)?)).map(str::to_owned);
        let width = line.as_deref().map_or(1, |line| site.width(line));
        Self { site, line, width }
    }
}

/// One call of the script's call stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// The function called, or the file imported.
    pub function: String,
    /// Where it was called.
    pub site: Option<Site>,
}

impl Diagnostic {
    /// A problem without a place.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            site: None,
            line: None,
            width: 1,
            stack: Vec::new(),
            hints: Vec::new(),
            operation: None,
            failure: None,
            recorded: None,
            cancelled: false,
        }
    }

    /// A failure that no line of the playbook asked for.
    #[must_use]
    pub fn of_failure(failure: &Failure) -> Self {
        let message = match &failure.detail {
            Some(detail) => format!("{}: {detail}", failure.title),
            None => failure.title.clone(),
        };
        let mut diagnostic = Self::new(message);
        diagnostic.hints.extend(failure.hint.clone());
        diagnostic.failure = Some(failure.clone());
        diagnostic
    }

    /// Why a session ended before its script did.
    pub(crate) fn of_stop(stop: &Stop) -> Self {
        if let Stop::Ended { failure, operation, .. } = stop {
            let mut diagnostic = Self::of_failure(failure);
            diagnostic.operation = Some(operation.clone());
            return diagnostic;
        }
        let mut diagnostic = Self::new(stop.to_string());
        diagnostic.hints.extend(stop.hint().map(str::to_owned));
        diagnostic.cancelled = matches!(stop, Stop::Cancelled | Stop::TimedOut(_));
        if matches!(stop, Stop::TimedOut(_)) {
            diagnostic.failure = Some(Failure::new(FailureKind::Cancelled, RUN_TIMEOUT, stop.to_string()));
        }
        diagnostic
    }

    /// The same with advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The same at a place in `text`.
    #[must_use]
    pub fn at(mut self, site: Site, text: Option<&str>) -> Self {
        self.line = text.and_then(|text| text.lines().nth(site.line.checked_sub(1)?)).map(str::to_owned);
        self.width = self.line.as_deref().map_or(1, |line| site.width(line));
        self.site = Some(site);
        self
    }

    pub(super) fn of_header(error: HeaderError, file: &str, source: &str) -> Self {
        let site = Site { file: file.to_owned(), line: error.line, column: error.column };
        Self::new(error.message).at(site, Some(source)).hint(error.hint)
    }

    /// Follows an error to its root through functions and files.
    pub(super) fn of_error(error: &EvalAltResult, main: &str, sources: &Sources, engine: &Engine) -> Self {
        let mut stack = Vec::new();
        let mut file = main.to_owned();
        let mut inner = error;
        loop {
            match inner {
                EvalAltResult::ErrorInFunctionCall(function, source, next, position) => {
                    stack.push(Frame { function: function_name(function), site: site(&file, *position) });
                    if !source.is_empty() {
                        file.clone_from(source);
                    }
                    inner = next;
                }
                EvalAltResult::ErrorInModule(module, next, position) => {
                    if !position.is_none() {
                        stack.push(Frame { function: format!("import {module}"), site: site(&file, *position) });
                    }
                    file.clone_from(module);
                    inner = next;
                }
                _ => break,
            }
        }
        stack.reverse();
        let mut diagnostic = describe(inner, engine);
        // The innermost error without a place of its own stands where the innermost call stands.
        let place = site(&file, inner.position()).or_else(|| stack.first().and_then(|frame| frame.site.clone()));
        let origin = origin(inner);
        diagnostic.stack = stack;
        match origin.or(place) {
            Some(site) => {
                let text = sources.text(&site.file);
                diagnostic.at(site, text.as_deref())
            }
            None => diagnostic,
        }
    }
}

fn site(file: &str, position: Position) -> Option<Site> {
    Some(Site { file: file.to_owned(), line: position.line()?, column: position.position().unwrap_or(1) })
}

fn function_name(name: &str) -> String {
    if name.starts_with("anon$") { "closure".to_owned() } else { name.to_owned() }
}

/// The place that an error carries with it, wherever it was thrown on since.
fn origin(error: &EvalAltResult) -> Option<Site> {
    match error {
        EvalAltResult::ErrorRuntime(value, _) => value.read_lock::<Thrown>()?.site().cloned(),
        EvalAltResult::ErrorTerminated(value, _) => match &*value.read_lock::<Stop>()? {
            Stop::Ended { site, .. } => site.clone(),
            _ => None,
        },
        _ => None,
    }
}

/// The message and advice for the root error.
fn describe(error: &EvalAltResult, engine: &Engine) -> Diagnostic {
    match error {
        EvalAltResult::ErrorRuntime(value, _) => of_value(value),
        EvalAltResult::ErrorTerminated(value, _) => match value.read_lock::<Stop>() {
            Some(stop) => Diagnostic::of_stop(&stop),
            None => Diagnostic::new("the playbook was ended"),
        },
        EvalAltResult::ErrorFunctionNotFound(signature, _) => signature::unknown_function(signature, engine),
        EvalAltResult::ErrorModuleNotFound(name, _) => signature::unknown_namespace(name, engine),
        EvalAltResult::ErrorVariableNotFound(name, _) => Diagnostic::new(format!("there is no variable `{name}`"))
            .hint("declare it with `let`; a function sees only its parameters, its own variables and `customer`"),
        EvalAltResult::ErrorPropertyNotFound(name, _) => Diagnostic::new(format!("there is no property `{name}`"))
            .hint(format!("for a property that may be missing write `map.get(\"{name}\") ?? default`")),
        EvalAltResult::ErrorIndexNotFound(index, _) => Diagnostic::new(format!("there is no element `{index}`")),
        EvalAltResult::ErrorStackOverflow(_) => Diagnostic::new("functions call each other more than 64 deep")
            .hint("look for a function that calls itself without end"),
        EvalAltResult::ErrorAssignmentToConstant(name, _) => Diagnostic::new(format!("`{name}` cannot be changed"))
            .hint("`customer` is read-only; copy what you need with `let`"),
        EvalAltResult::ErrorNonPureMethodCallOnConstant(name, _) => {
            Diagnostic::new(format!("`{name}` would change a value that cannot be changed"))
                .hint("`customer` is read-only; copy what you need with `let`")
        }
        EvalAltResult::ErrorParsing(kind, _) => syntax(&kind.to_string()),
        EvalAltResult::ErrorDataRace(..) => Diagnostic::new("a value is used while one of its own methods runs")
            .hint("copy it first: `let list = customer.users;`, and use the copy inside the closure"),
        other => {
            let plain = unplaced(other);
            if let Some(diagnostic) = signature::unknown_property(&plain, engine) {
                return diagnostic;
            }
            Diagnostic::new(plain)
        }
    }
}

fn syntax(message: &str) -> Diagnostic {
    let diagnostic = Diagnostic::new(format!("syntax error: {}", lower_first(message)));
    if message.contains("eval") {
        return diagnostic.hint("`eval` is switched off: a playbook is what stands in its files");
    }
    if message.contains("reserved") {
        return diagnostic
            .hint("as the name of a map entry a reserved word needs quotes: `#{ \"default\": 3 }`, `m[\"default\"]`");
    }
    if message.contains("complex") {
        return diagnostic.hint("expressions and blocks may be nested 64 deep; move parts into functions");
    }
    diagnostic
}

fn of_value(value: &Dynamic) -> Diagnostic {
    if let Some(thrown) = value.read_lock::<Thrown>() {
        let mut diagnostic = Diagnostic::of_failure(thrown.failure());
        diagnostic.operation = Some(thrown.operation().to_owned());
        return diagnostic;
    }
    Diagnostic::new(super::natives::told(value).unwrap_or_else(|refused| unplaced(&refused)))
}

/// The error's text without its place, which the diagnostic shows itself.
fn unplaced(error: &EvalAltResult) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("Runtime error: ").unwrap_or(&text);
    match text.rfind(" (line ") {
        Some(end) if text.ends_with(')') => text[..end].to_owned(),
        _ => text.to_owned(),
    }
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) if characters.clone().next().is_some_and(char::is_lowercase) => {
            first.to_lowercase().chain(characters).collect()
        }
        _ => text.to_owned(),
    }
}
