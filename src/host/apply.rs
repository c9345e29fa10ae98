//! A plan carried out: exactly what it says, or nothing that differs.

use std::sync::Arc;

use super::{Host, Run};
use crate::operation::{Failure, FailureKind};
use crate::plan::{Allowed, SavedPlan};
use crate::playbook::Diagnostic;
use crate::project::Customer;
use crate::store::content_digest;

/// The plan that a run keeps to.
#[derive(Clone, Debug)]
pub(super) struct Keeping {
    pub(super) plan: Arc<SavedPlan>,
    /// Whether every read must be answered as it was, too.
    pub(super) unchanged: bool,
}

impl Host {
    /// A run that makes the writes of this plan and no others: await it for its report. One that would write anything
    /// else ends before that is sent.
    ///
    /// # Errors
    /// When the plan was made by another release's contract, a guard ended it, or the project's files are not what they were.
    pub fn apply(&self, plan: SavedPlan) -> Result<Run, Diagnostic> {
        if plan.contract != crate::contract::digest() {
            let title = format!("the plan was made by release {}, whose Qlik Cloud contract is another", plan.release);
            return Err(Diagnostic::of_failure(&stale(title)));
        }
        if let Some(guard) = plan.guards.iter().find(|guard| guard.fired) {
            let why = guard.why.as_deref().unwrap_or("it does not say why");
            let title = format!("the guard `{}` ended the plan: {why}", guard.name);
            return Err(Diagnostic::of_failure(&stale(title)));
        }
        for (path, digest) in &plan.files {
            let content = std::fs::read(self.project().root().join(path));
            let now = content.map(|content| content_digest(&content));
            if now.as_ref().ok() != Some(digest) {
                let what = if now.is_ok() { "has changed" } else { "is gone" };
                let title = format!("`{path}` {what} since the plan was made");
                return Err(Diagnostic::of_failure(&stale(title)));
            }
        }
        let playbook = self.playbook(&plan.playbook)?;
        let customer = Customer::from_value(plan.inputs.clone())
            .map_err(|error| Diagnostic::new(format!("the plan's values of the customer cannot be used: {error}")))?;
        let mut run = self.run(&playbook, &customer, &plan.target).verify(plan.verify);
        run.keeping = Some(Keeping { plan: Arc::new(plan), unchanged: false });
        Ok(run)
    }

    /// The same, going on with the run that was begun with this plan and has not come to its end, when there is one.
    ///
    /// # Errors
    /// As [`Host::apply`]; or when the target or the state file cannot be used.
    pub async fn applying(&self, plan: SavedPlan) -> Result<Run, Diagnostic> {
        let fresh = self.apply(plan)?;
        let Some(keeping) = &fresh.keeping else { return Ok(fresh) };
        let plan = Some(keeping.plan.digest.clone());
        let unfinished = self.unfinished_of(&fresh.playbook, &fresh.customer, &keeping.plan.target, plan).await;
        let unfinished = unfinished.map_err(|error| Diagnostic::of_failure(&error.failure))?;
        match unfinished {
            Some(record) => {
                let mut run = self.going_on(record)?;
                run.keeping.clone_from(&fresh.keeping);
                Ok(run)
            }
            None => Ok(fresh),
        }
    }
}

impl Run {
    /// Ends also when anything that the plan read is not as it was, whether or not that matters. For a run that applies
    /// a plan.
    pub fn only_if_unchanged(mut self, only: bool) -> Self {
        if let Some(keeping) = &mut self.keeping {
            keeping.unchanged = only;
        }
        self
    }
}

/// Whether the target is still the one that was planned against.
pub(super) fn check_scope(plan: &SavedPlan, scope: &str) -> Result<(), Failure> {
    if plan.scope == scope {
        return Ok(());
    }
    Err(stale(format!("target `{}` is now {scope}; the plan was made against {}", plan.target, plan.scope)))
}

fn stale(title: String) -> Failure {
    Failure::new(FailureKind::Denied, "tenantry/stale-plan", title).hint("nothing was sent: plan again")
}

/// Why a run that came to its end did not do what its plan says.
pub(super) fn unfinished(left: &[Allowed]) -> Diagnostic {
    let subjects: Vec<&str> = left.iter().take(3).map(|write| write.subject.as_str()).collect();
    let more = left.len().saturating_sub(subjects.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let title = format!("{} planned writes were not asked for any more: {}{more}", left.len(), subjects.join(", "));
    let failure = Failure::new(FailureKind::Denied, "tenantry/not-as-planned", title)
        .hint("somebody else has done them meanwhile, or they are not needed any more: plan again to see what is left");
    Diagnostic::of_failure(&failure)
}
