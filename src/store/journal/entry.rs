use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::Step;
use crate::operation::{Key, RecordedOperation, RecordedOutcome, Site};

/// What a run is, as it begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    /// The run's id.
    pub id: String,
    /// What it does.
    pub kind: RunKind,
    /// The playbook's path in its project; for an undo that of the run it undoes.
    pub playbook: String,
    /// The organization's identity, or `tenant:<hostname>` for a pinned target.
    pub scope: String,
    /// The customer's code.
    pub customer: String,
    /// The target's name.
    pub target: String,
    /// The customer's values as the playbook got them.
    pub inputs: Value,
    /// Whether logins are verified even when nothing changed.
    pub verify: bool,
    /// The release that began it.
    pub release: String,
    /// The digest of the plan that it carries out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
}

/// What a run does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunKind {
    /// It runs a playbook.
    Run,
    /// It takes back what the run of this id did.
    Undo(String),
}

/// One entry of a run's journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Entry {
    /// A process went to work on the run: the first, or one that resumes it.
    Began {
        /// The process, as a person would say it.
        process: String,
    },
    /// A file of the project was used; its content is kept by its digest.
    File {
        /// Its path in the project.
        path: String,
        /// SHA-256 of its content, in hex.
        digest: String,
    },
    /// A write is about to be performed.
    Intent {
        /// Its key.
        key: Key,
        /// Which attempt at this key, counted from 0.
        attempt: u32,
        /// What is asked.
        operation: Box<RecordedOperation>,
        /// A keyed fingerprint of each secret it refers to, by name.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        secrets: BTreeMap<String, String>,
    },
    /// An operation was answered.
    Outcome {
        /// Its key.
        key: Key,
        /// Which attempt.
        attempt: u32,
        /// What was asked, when no intent says it: a read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        operation: Option<Box<RecordedOperation>>,
        /// What came back.
        outcome: RecordedOutcome,
    },
    /// It was found out whether a write, whose end was not known, was performed.
    Settled {
        /// Its key.
        key: Key,
        /// Which attempt.
        attempt: u32,
        /// Its answer, when it was performed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        performed: Option<RecordedOutcome>,
        /// Who or what says so.
        evidence: String,
    },
    /// The playbook had changed in this host call, and that was accepted: what was recorded of the call and of all after
    /// it does not count any more.
    Accepted {
        /// The operation at which it showed.
        key: Key,
    },
    /// A host function finished a piece of work.
    Step(Step),
    /// The playbook logged a line.
    Log {
        /// `debug`, `info` or `warn`.
        level: String,
        /// The text.
        message: String,
        /// Where in the playbook.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        site: Option<Site>,
    },
    /// The run ended.
    Ended {
        /// How.
        status: Ending,
        /// Its report.
        report: Value,
    },
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// It came to its end.
    Succeeded,
    /// It did not.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl Ending {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// An entry with its place and time.
#[derive(Clone, Debug, PartialEq)]
pub struct Logged {
    /// Its place in the run, counted from 0.
    pub sequence: u64,
    /// When it was handed in.
    pub at: Timestamp,
    /// The entry.
    pub entry: Entry,
}

/// A run as the journal has it.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRecord {
    /// What it is.
    pub opening: Opening,
    /// When it began.
    pub began: Timestamp,
    /// When it ended, if it did.
    pub ended: Option<Timestamp>,
    /// Where it stands.
    pub status: RunState,
    /// A later run of the same playbook for the same customer, if there is one.
    pub superseded_by: Option<String>,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// A process is at work on it.
    Running,
    /// The process at work on it has ended without saying how.
    Interrupted,
    /// It came to its end.
    Succeeded,
    /// It failed.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl RunState {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Interrupted => "interrupted",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl RunRecord {
    /// Whether it can be resumed: it has not come to its end, nobody is at work on it, and no later run took its place.
    #[must_use]
    pub fn is_resumable(&self) -> bool {
        !matches!(self.status, RunState::Succeeded | RunState::Running) && self.superseded_by.is_none()
    }
}
