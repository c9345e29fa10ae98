use std::error::Error;
use std::fmt::Write as _;

use serde::Serialize;
use tenantry::{Diagnostic, Failure, Problem};

use super::place::Place;
use super::style::{Paint, Style};
use super::text::clean;

/// The label of a trace id.
const TRACE: &str = "trace";

/// How grave a trouble is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// It ended something.
    Error,
    /// Somebody has to look.
    Warning,
}

/// Something a person has to know: what, where, why, and what to do. All errors of all rooms are shown as one of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Trouble {
    level: Level,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<Place>,
    /// What stood there in the playbook as a run had used it.
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded: Option<Place>,
    /// More of it, perhaps on several lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// Labelled facts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<(String, String)>,
    help: Vec<String>,
}

impl Trouble {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            level: Level::Error,
            message: message.into(),
            place: None,
            recorded: None,
            detail: None,
            notes: Vec::new(),
            help: Vec::new(),
        }
    }

    /// The same as a warning.
    pub(crate) fn warning(message: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::new(message) }
    }

    /// The same with a labelled fact.
    pub(crate) fn note(mut self, label: &str, text: impl Into<String>) -> Self {
        self.notes.push((label.to_owned(), text.into()));
        self
    }

    /// The same with advice.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        let help = help.into();
        if !self.help.contains(&help) {
            self.help.push(help);
        }
        self
    }

    /// Whether it is the same fault, met another time: traces differ.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let facts = |trouble: &Self| -> Vec<(String, String)> {
            trouble.notes.iter().filter(|(label, _)| label != TRACE).cloned().collect()
        };
        (&self.message, &self.place, &self.detail, &self.help)
            == (&other.message, &other.place, &other.detail, &other.help)
            && facts(self) == facts(other)
    }

    /// As a screen shows it.
    pub(crate) fn screen(&self, style: Style) -> String {
        let head = match self.level {
            Level::Error => style.paint(Paint::BoldRed, "error"),
            Level::Warning => style.paint(Paint::BoldYellow, "warning"),
        };
        let mut screen =
            format!("{head}{} {}", style.paint(Paint::Bold, ":"), style.paint(Paint::Bold, &clean(&self.message)));
        if let Some(place) = &self.place {
            place.show(&mut screen, "-->", "", style);
        }
        if let Some(place) = &self.recorded {
            place.show(&mut screen, ":::", ", as the run had it", style);
        }
        if let Some(detail) = &self.detail {
            for line in clean(detail).lines() {
                let _ = write!(screen, "\n  {line}");
            }
        }
        let mut labelled = |label: &str, paint: Paint, text: &str| {
            let text = clean(text);
            let mut lines = text.lines();
            let _ = write!(screen, "\n   = {}: {}", style.paint(paint, label), lines.next().unwrap_or_default());
            for line in lines {
                let _ = write!(screen, "\n     {line}");
            }
        };
        for (label, text) in &self.notes {
            labelled(label, Paint::Bold, text);
        }
        for text in &self.help {
            labelled("help", Paint::Cyan, text);
        }
        screen
    }

    fn with_failure(mut self, failure: &Failure) -> Self {
        self.message.clone_from(&failure.title);
        self.detail.clone_from(&failure.detail);
        if !failure.code.starts_with("tenantry/") {
            let answer = match failure.status {
                Some(status) if failure.code == format!("HTTP-{status}") => failure.code.replace('-', " "),
                Some(status) => format!("HTTP {status}, {}", failure.code),
                None => failure.code.clone(),
            };
            self = self.note("answer", answer);
        } else if let Some(status) = failure.status {
            self = self.note("answer", format!("HTTP {status}"));
        }
        if let Some(pointer) = &failure.pointer {
            self = self.note("field", pointer);
        }
        if let Some(trace) = &failure.trace {
            self = self.note(TRACE, format!("{trace} (for Qlik's support)"));
        }
        match &failure.hint {
            Some(hint) => self.help(hint),
            None => self,
        }
    }
}

impl From<&Problem> for Trouble {
    fn from(problem: &Problem) -> Self {
        let file = problem.file.as_ref().map(|file| file.display().to_string());
        let mut trouble = Self::new(match (&file, &problem.place) {
            // A file that cannot be used at all is the subject: `customers/hb.yaml cannot be read`.
            (Some(file), None) => format!("{file} {}", problem.message),
            (Some(_), Some(_)) if problem.message.starts_with("is ") => format!("the file {}", problem.message),
            _ => problem.message.clone(),
        });
        if let (Some(file), Some(place)) = (file, &problem.place) {
            trouble.place = Some(Place {
                file,
                line: place.line,
                column: place.column,
                width: place.length,
                text: Some(place.text.clone()),
            });
        }
        match &problem.hint {
            Some(hint) => trouble.help(hint),
            None => trouble,
        }
    }
}

impl From<&Diagnostic> for Trouble {
    fn from(diagnostic: &Diagnostic) -> Self {
        let mut trouble = Self::new(&diagnostic.message);
        trouble.place = diagnostic.site.as_ref().map(|site| Place {
            file: site.file.clone(),
            line: site.line,
            column: site.column,
            width: diagnostic.width,
            text: diagnostic.line.clone(),
        });
        trouble.recorded = diagnostic.recorded.as_ref().map(|recorded| Place {
            file: recorded.site.file.clone(),
            line: recorded.site.line,
            column: recorded.site.column,
            width: recorded.width,
            text: recorded.line.clone(),
        });
        for frame in &diagnostic.stack {
            let at = frame.site.as_ref().map(|site| format!(", called at {site}")).unwrap_or_default();
            trouble = trouble.note("in", format!("{}{at}", frame.function));
        }
        if let Some(operation) = &diagnostic.operation {
            trouble = trouble.note("operation", operation);
        }
        if let Some(failure) = &diagnostic.failure {
            trouble = trouble.with_failure(failure);
            let operation = diagnostic.operation.as_deref().and_then(|id| tenantry::contract().operation(id));
            if failure.may_have_acted() && operation.is_some_and(|operation| operation.effect.is_write()) {
                trouble = trouble
                    .note("state", "not known: Qlik Cloud may have done it; the next run looks before it writes");
            }
        }
        diagnostic.hints.iter().fold(trouble, Self::help)
    }
}

impl From<&Failure> for Trouble {
    fn from(failure: &Failure) -> Self {
        Self::new("").with_failure(failure)
    }
}

impl From<&tenantry::BuildError> for Trouble {
    fn from(error: &tenantry::BuildError) -> Self {
        let mut trouble = Self::new(error.to_string());
        if let tenantry::BuildError::State(registry) = error
            && let Some(hint) = registry.hint()
        {
            trouble = trouble.help(hint);
        }
        let mut source = error.source();
        while let Some(inner) = source {
            let text = inner.to_string();
            if !trouble.message.contains(&text) {
                trouble = trouble.note("because", text);
            }
            source = inner.source();
        }
        trouble
    }
}
