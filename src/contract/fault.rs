use std::fmt::Write as _;

use serde_json::Value;

use super::schema::Types;
use super::violation::{Place, Violation, list};
use crate::suggest::did_you_mean;

/// What can be wrong with a value. Kept apart from its words, because most faults are found while alternatives are
/// tried and nobody ever reads them.
#[derive(Debug)]
pub(super) enum Fault {
    Unknown { name: String, known: Vec<&'static str> },
    Missing { name: &'static str },
    Type { wanted: Types, found: Types },
    Choice { found: Value, allowed: Vec<Value> },
    TooLong { length: usize, most: usize },
    TooShort { length: usize, least: usize },
    TooLarge { number: f64, most: f64 },
    TooSmall { number: f64, least: f64 },
    NotMultiple { number: f64, of: f64 },
    Pattern { text: String, pattern: String },
    Format { text: String, wanted: &'static str },
    TooManyItems { count: usize, most: usize },
    TooFewItems { count: usize, least: usize },
    Repeated { index: usize },
    TooManyMembers { count: usize, most: usize },
}

impl Fault {
    /// How strongly the fault says that another alternative was meant. A value of the wrong type or with another
    /// discriminator was meant for another; a long name was not. Deep inside a value the alternative has been
    /// recognised, and a wrong type is the writer's mistake.
    pub(super) fn weight(&self, deep: bool) -> u32 {
        match self {
            Self::Type { .. } if !deep => 100,
            Self::Choice { allowed, .. } if allowed.len() == 1 && !deep => 1000,
            Self::Unknown { .. } => 4,
            Self::Missing { .. } => 3,
            _ => 2,
        }
    }

    /// The one value allowed, where it tells alternatives apart.
    pub(super) fn discriminator(&mut self) -> Option<&mut Vec<Value>> {
        match self {
            Self::Choice { allowed, .. } if allowed.len() == 1 => Some(allowed),
            _ => None,
        }
    }

    /// Whether it is a member with a name like none that is known.
    pub(super) fn is_strange(&self) -> bool {
        matches!(self, Self::Unknown { name, known } if did_you_mean(name, known.iter().copied()).is_none())
    }

    /// The fault in words. `subject` is what is wrong: "`name`", "the body".
    pub(super) fn violation(self, place: Place, pointer: String, subject: &str) -> Violation {
        let (message, hint) = match self {
            Self::Unknown { name, known } => {
                let hint = did_you_mean(&name, known.iter().copied()).unwrap_or_else(|| known_names(&known));
                (format!("unknown field `{}`", short(&name)), Some(hint))
            }
            Self::Missing { name } => (format!("`{name}` is missing"), None),
            Self::Type { wanted, found } => {
                let found = match found.names().next() {
                    Some("integer") => "a number".to_owned(),
                    Some("number") if wanted.has("integer") => "a fraction".to_owned(),
                    name => article(name.unwrap_or("nothing")),
                };
                (format!("{subject} must be {}, not {found}", types(wanted)), None)
            }
            Self::Choice { found, allowed } => choice(subject, &found, &allowed),
            Self::TooLong { length, most } => {
                (format!("{subject} is {length} characters long"), Some(format!("at most {most} are allowed")))
            }
            Self::TooShort { length, least } => {
                (format!("{subject} is {length} characters long"), Some(format!("at least {least} are needed")))
            }
            Self::TooLarge { number, most } => {
                (format!("{subject} is {number}"), Some(format!("the largest allowed is {most}")))
            }
            Self::TooSmall { number, least } => {
                (format!("{subject} is {number}"), Some(format!("the smallest allowed is {least}")))
            }
            Self::NotMultiple { number, of } => {
                (format!("{subject} is {number}"), Some(format!("it must be a multiple of {of}")))
            }
            Self::Pattern { text, pattern } => {
                (format!("{subject} may not be `{}`", short(&text)), Some(format!("it must match {pattern}")))
            }
            Self::Format { text, wanted } => (format!("{subject} is not {wanted}: `{}`", short(&text)), None),
            Self::TooManyItems { count, most } => {
                (format!("{subject} has {count} items"), Some(format!("at most {most} are allowed")))
            }
            Self::TooFewItems { count, least } => {
                (format!("{subject} has {count} items"), Some(format!("at least {least} are needed")))
            }
            Self::Repeated { index } => (format!("{subject} has item {index} twice"), None),
            Self::TooManyMembers { count, most } => {
                (format!("{subject} has {count} members"), Some(format!("at most {most} are allowed")))
            }
        };
        Violation::new(place, pointer, message).hint(hint)
    }
}

fn choice(subject: &str, found: &Value, allowed: &[Value]) -> (String, Option<String>) {
    let texts: Vec<String> = allowed.iter().map(plain).collect();
    let names = || texts.iter().map(String::as_str);
    let found = plain(found);
    let mut hint = did_you_mean(&found, names()).unwrap_or_default();
    if !hint.is_empty() {
        hint.push(' ');
    }
    let verb = if texts.len() == 1 { "is" } else { "are" };
    let _ = write!(hint, "allowed {verb} {}", list(names(), "or"));
    (format!("{subject} may not be `{}`", short(&found)), Some(hint))
}

fn known_names(known: &[&'static str]) -> String {
    match known {
        [] => "no fields are known here".to_owned(),
        _ => format!("known are {}", list(known.iter().copied(), "and")),
    }
}

/// Strings without quotes, everything else as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Enough of a text to recognise it by.
fn short(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// "a string or null".
fn types(wanted: Types) -> String {
    wanted.names().map(article).collect::<Vec<_>>().join(" or ")
}

fn article(name: &str) -> String {
    match name {
        "null" | "nothing" => name.to_owned(),
        "integer" => "a whole number".to_owned(),
        "array" => "a list".to_owned(),
        "object" => "an object".to_owned(),
        _ => format!("a {name}"),
    }
}
