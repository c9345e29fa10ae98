use std::fmt;

use serde::{Deserialize, Serialize};

/// One way in which a request or an answer breaks the contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which part of the message it is in.
    pub place: Place,
    /// A JSON pointer into the body (empty for the body as a whole), or the name of the parameter or header.
    pub pointer: String,
    /// What is wrong, naming the field: "unknown field `assignedRole`".
    pub message: String,
    /// What to write instead: "did you mean `assignedRoles`?", "one of `shared`, `managed`, `data`".
    pub hint: Option<String>,
}

/// The parts of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A variable of the path.
    Path,
    /// A query parameter.
    Query,
    /// A header.
    Header,
    /// The body.
    Body,
    /// The status of an answer.
    Status,
}

impl Violation {
    pub(super) fn new(place: Place, pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place, pointer: pointer.into(), message: message.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        // The message names the last step; the whole way is told where it is longer.
        let told = self.pointer.strip_prefix('/').is_none_or(|name| self.message.contains(&format!("`{name}`")));
        if self.place == Place::Body && !told {
            write!(f, " at {}", self.pointer)?;
        }
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Violation {}

/// "`a`, `b` or `c`", cut where a reader would stop reading. `last`: the word before the last.
pub(super) fn list<'n>(names: impl IntoIterator<Item = &'n str>, last: &str) -> String {
    const SHOWN: usize = 16;
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        _ if names.len() > SHOWN => format!("{} and {} more", names[..SHOWN].join(", "), names.len() - SHOWN),
        [first @ .., end] => format!("{} {last} {end}", first.join(", ")),
    }
}
