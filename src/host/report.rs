use serde::Serialize;
use serde_json::{Map, Value};

use super::drive::Driven;
use crate::event::Step;
use crate::operation::Failure;
use crate::playbook::{Diagnostic, RUN_TIMEOUT};
use crate::store::{Ending, StateError};

/// The code of a run that could not be recorded.
const JOURNAL: &str = "tenantry/journal";

/// What came of a run.
#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    /// The run's id.
    pub run: String,
    /// The customer's code.
    pub customer: String,
    /// How it ended.
    pub status: RunStatus,
    /// The customer's tenant, when there is one.
    pub tenant: Option<TenantSummary>,
    /// Requests to Qlik Cloud that ended: reads, writes and probes together. Tokens are not counted.
    pub requests: u32,
    /// Requests that changed nothing.
    pub reads: u32,
    /// Requests that made, changed, removed or set in motion something.
    pub writes: u32,
    /// Operations that were answered from the record when the run was resumed: they count as no request.
    pub replayed: u32,
    /// What was made, changed or removed, in the order of the program; by a run that was resumed, since its beginning.
    pub changes: Vec<Step>,
    /// What the playbook put out.
    pub output: Map<String, Value>,
    /// Why it failed.
    pub error: Option<Diagnostic>,
    /// Whether the journal has the run, so that it can be resumed.
    #[serde(skip)]
    pub(super) recorded: bool,
    /// Whether it carries out a plan.
    #[serde(skip)]
    pub(super) keeps_plan: bool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// The playbook came to its end.
    Succeeded,
    /// It did not.
    Failed,
    /// It was cancelled, or had no time left.
    Cancelled,
}

/// The customer's tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TenantSummary {
    /// Its id; empty for a pinned target.
    pub id: String,
    /// Its system host name.
    pub hostname: String,
    /// Where people reach it.
    pub url: String,
}

impl RunReport {
    /// The report of what was driven; nothing has been recorded of it.
    pub(super) fn new(run: &str, customer: &str, driven: Driven, tenant: Option<TenantSummary>) -> Self {
        let (status, output, error) = match driven.output {
            Ok(output) => (RunStatus::Succeeded, output, None),
            Err(error) if error.cancelled => (RunStatus::Cancelled, Map::new(), Some(error)),
            Err(error) => (RunStatus::Failed, Map::new(), Some(error)),
        };
        let counts = driven.counts;
        Self {
            run: run.to_owned(),
            customer: customer.to_owned(),
            status,
            tenant,
            requests: counts.reads + counts.writes + counts.probes,
            reads: counts.reads,
            writes: counts.writes,
            replayed: counts.replayed,
            changes: driven.changes,
            output,
            error,
            recorded: false,
            keeps_plan: false,
        }
    }

    /// Says that the end of the run could not be recorded: whoever looks there finds it interrupted.
    pub(super) fn not_recorded(&mut self, error: StateError) {
        let known = self.error.as_ref().and_then(|error| error.failure.as_ref());
        if known.is_some_and(|failure| failure.code == JOURNAL) {
            return;
        }
        let title = "the end of the run could not be recorded".to_owned();
        let failure = Failure { code: JOURNAL.to_owned(), title, detail: Some(error.to_string()), ..error.into() };
        self.status = RunStatus::Failed;
        self.error = Some(Diagnostic::of_failure(&failure));
    }

    /// Whether the run was ended because it took longer than it was given.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        let failure = self.error.as_ref().and_then(|error| error.failure.as_ref());
        failure.is_some_and(|failure| failure.code == RUN_TIMEOUT)
    }

    /// Whether the run carries out a plan: applying that again is how it goes on.
    #[must_use]
    pub fn keeps_plan(&self) -> bool {
        self.keeps_plan
    }

    /// Whether the run can be resumed: it has begun, and has not come to its end.
    #[must_use]
    pub fn is_resumable(&self) -> bool {
        self.recorded && self.status != RunStatus::Succeeded
    }
}

impl RunStatus {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl From<RunStatus> for Ending {
    fn from(status: RunStatus) -> Self {
        match status {
            RunStatus::Succeeded => Self::Succeeded,
            RunStatus::Failed => Self::Failed,
            RunStatus::Cancelled => Self::Cancelled,
        }
    }
}
