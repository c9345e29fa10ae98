use std::ops::Deref;

use futures_util::FutureExt as _;

use super::drive::Driven;
use super::report::RunReport;
use crate::playbook::{Diagnostic, Stop};
use crate::store::{RunLog, StateError};

/// The journal of a run that has not ended. When it is dropped so, because nobody drives the run any more, the run is
/// cancelled.
pub(super) struct OpenLog {
    log: RunLog,
    run: String,
    customer: String,
    ended: bool,
}

impl OpenLog {
    pub(super) fn new(log: RunLog, run: &str, customer: &str) -> Self {
        Self { log, run: run.to_owned(), customer: customer.to_owned(), ended: false }
    }

    /// Ends the run: durable when this returns.
    pub(super) async fn end(&mut self, report: &RunReport) -> Result<(), StateError> {
        self.ended = true;
        // A report is data of our own and always has a text.
        let text = serde_json::to_value(report).unwrap_or_default();
        self.log.end(report.status.into(), text).await
    }
}

impl Deref for OpenLog {
    type Target = RunLog;

    fn deref(&self) -> &RunLog {
        &self.log
    }
}

impl Drop for OpenLog {
    fn drop(&mut self) {
        if !self.ended {
            let driven = Driven::refused(Diagnostic::of_stop(&Stop::Cancelled));
            let report = RunReport::new(&self.run, &self.customer, driven, None);
            // Handed in at once; nobody is there to wait.
            let _ = self.end(&report).now_or_never();
        }
    }
}
