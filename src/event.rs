//! What a run tells while it goes: typed, versioned events. Terminal, JSON lines and reports are all readers of these.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::operation::{CallKey, Effect, Failure, Site};

/// The version of the event format: raised when a reader must change.
pub const EVENT_VERSION: u32 = 1;

/// One thing that happened in a run.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// The run began.
    RunStarted {
        /// The run's id.
        run: String,
        /// The customer's code.
        customer: String,
        /// The target's name.
        target: String,
    },
    /// The run is one that had ended before its playbook did, and goes on.
    RunResumed {
        /// The run's id.
        run: String,
        /// The customer's code.
        customer: String,
        /// How many operations it has on record.
        recorded: usize,
        /// Of how many writes it had to be found out first what became of them.
        settled: usize,
    },
    /// A host function finished a piece of work worth a line.
    Step {
        /// The run's id.
        run: String,
        /// The customer's code.
        customer: String,
        /// What was done.
        #[serde(flatten)]
        step: Step,
        /// Whether an earlier process did it: the run goes through it on the record.
        #[serde(skip_serializing_if = "is_false")]
        replayed: bool,
    },
    /// An operation was answered.
    Operation {
        /// The run's id.
        run: String,
        /// The operation's key within the run.
        key: String,
        /// The operation's id.
        operation: String,
        /// What it does to the world.
        effect: Effect,
        /// The status, when there was an answer.
        status: Option<u16>,
        /// Why it failed, when it did.
        failure: Option<Failure>,
        /// Whether it was answered from the record, and nothing was sent.
        #[serde(skip_serializing_if = "is_false")]
        replayed: bool,
    },
    /// The playbook logged a line.
    Log {
        /// The run's id.
        run: String,
        /// The customer's code.
        customer: String,
        /// `info`, `warn` or `debug`.
        level: String,
        /// The text.
        message: String,
        /// Where in the playbook.
        site: Option<Site>,
        /// Whether an earlier process logged it.
        #[serde(skip_serializing_if = "is_false")]
        replayed: bool,
    },
    /// The run ended.
    RunFinished {
        /// The run's id.
        run: String,
        /// The customer's code.
        customer: String,
        /// `succeeded`, `failed` or `cancelled`.
        status: String,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// A piece of work a host function finished, as a person would tell it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What happened to it.
    pub change: Change,
    /// The thing: `space "Staging"`.
    pub subject: String,
    /// What differed, field by field; empty when nothing did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldChange>,
    /// Where in the playbook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Site>,
    /// The host call that did it: what the keys of its operations begin with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallKey>,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Made.
    Created,
    /// Changed.
    Updated,
    /// Removed.
    Deleted,
    /// Removed and made anew, because it cannot be changed in place.
    Replaced,
    /// Already right: nothing was written.
    Unchanged,
    /// Set in motion.
    Acted,
    /// Checked and found good.
    Verified,
}

impl Change {
    /// Whether the step wrote anything.
    #[must_use]
    pub fn is_write(self) -> bool {
        !matches!(self, Self::Unchanged | Self::Verified)
    }
}

/// One field's change. Secrets appear as `***`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// The field, in Qlik's name.
    pub field: String,
    /// Its value before; `null` when there was none.
    pub before: Value,
    /// Its value after.
    pub after: Value,
}
