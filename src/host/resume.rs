use std::collections::BTreeMap;

use super::{Host, Playbook, Run, TenantsError};
use crate::interpreter::Decision;
use crate::operation::{Failure, FailureKind, Key};
use crate::playbook::Diagnostic;
use crate::project::Customer;
use crate::store::{RunFilter, RunKind, RunRecord, RunState};

/// How a run goes on.
#[derive(Clone, Debug, Default)]
pub(super) struct Resume {
    pub(super) run: String,
    pub(super) accept_changes: bool,
    pub(super) decided: BTreeMap<Key, Decision>,
}

impl Host {
    /// A run that has not come to its end, to go on with: with the playbook as it is in the project now, for the customer's
    /// values as it had them, against the target it had. The beginning of its id is enough.
    ///
    /// What it has done is not done again: its script goes through the record and then on. Await it for its report, as
    /// any other run.
    ///
    /// # Errors
    /// When there is no such run, it has come to its end, a later one took its place, it carries out a plan, or its playbook
    /// cannot be used.
    pub fn resume(&self, id: &str) -> Result<Run, Diagnostic> {
        let record = self.0.state.journal().run(id).map_err(|error| Diagnostic::of_failure(&error.into()))?;
        if record.opening.plan.is_some() {
            let title = format!("run {} carries out a plan, and writes nothing else", record.opening.id);
            let hint = "`tenantry apply` with that plan goes on with it";
            let failure = Failure::new(FailureKind::Denied, "tenantry/run-kind", title).hint(hint);
            return Err(Diagnostic::of_failure(&failure));
        }
        self.going_on(record)
    }

    /// The run of this record, to go on with.
    pub(super) fn going_on(&self, record: RunRecord) -> Result<Run, Diagnostic> {
        check(&record).map_err(|failure| Diagnostic::of_failure(&failure))?;
        let opening = record.opening;
        let playbook = self.playbook(&opening.playbook)?;
        let customer = Customer::from_value(opening.inputs)
            .map_err(|error| Diagnostic::new(format!("the recorded values of the customer cannot be used: {error}")))?;
        let mut run = self.run(&playbook, &customer, &opening.target).verify(opening.verify);
        run.resume = Some(Resume { run: opening.id, ..Resume::default() });
        Ok(run)
    }
}

impl Host {
    /// The last run of this playbook for this customer, when it did not come to its end and can be resumed.
    ///
    /// # Errors
    /// When the target or the state file cannot be used.
    pub async fn unfinished(
        &self,
        playbook: &Playbook,
        customer: &Customer,
        target: &str,
    ) -> Result<Option<RunRecord>, TenantsError> {
        self.unfinished_of(playbook, customer, target, None).await
    }

    /// The same, of the runs that carry out the plan of this digest; without one, of those that carry out none.
    pub(super) async fn unfinished_of(
        &self,
        playbook: &Playbook,
        customer: &Customer,
        target: &str,
        plan: Option<String>,
    ) -> Result<Option<RunRecord>, TenantsError> {
        let (host, target) = (self.clone(), target.to_owned());
        let (playbook, customer) = (playbook.file().to_owned(), customer.code().to_owned());
        self.on_io(async move {
            let scope = host.0.connections.get(&host.0, &target).await?.scope();
            let filter =
                RunFilter { scope: Some(scope), customer: Some(customer), playbook: Some(playbook), limit: Some(1) };
            let last = host.0.state.journal().ask(move |journal| journal.runs(&filter)).await?;
            let is_meant = |record: &RunRecord| record.opening.target == target && record.opening.plan == plan;
            Ok(last.into_iter().find(|record| is_meant(record) && record.is_resumable() && check(record).is_ok()))
        })
        .await
    }
}

impl Run {
    /// Goes on live where the playbook asks something else than the run had asked, in place of ending there. For a run
    /// that is resumed.
    pub fn accept_changes(mut self, accept: bool) -> Self {
        if let Some(resume) = &mut self.resume {
            resume.accept_changes = accept;
        }
        self
    }

    /// Says of a write, whose end nobody could find out, whether it was carried out. For a run that is resumed.
    pub fn settled(mut self, key: Key, decision: Decision) -> Self {
        if let Some(resume) = &mut self.resume {
            resume.decided.insert(key, decision);
        }
        self
    }

    /// The id of the run that this one goes on with.
    #[must_use]
    pub fn resumes(&self) -> Option<&str> {
        self.resume.as_ref().map(|resume| resume.run.as_str())
    }
}

/// Whether a run can go on. One that is at work is found out when its lease is taken.
pub(super) fn check(record: &RunRecord) -> Result<(), Failure> {
    let id = &record.opening.id;
    let refuse = |code: &str, title: String| Failure::new(FailureKind::Denied, code, title);
    if let RunKind::Undo(other) = &record.opening.kind {
        let title = format!("run {id} takes back run {other}: it has no playbook to go on with");
        return Err(refuse("tenantry/run-kind", title).hint(format!("`tenantry runs undo {other}` takes it up again")));
    }
    if record.status == RunState::Succeeded {
        let hint = "run the playbook anew: what is right already is left alone";
        return Err(
            refuse("tenantry/run-ended", format!("run {id} has come to its end: nothing is left to do")).hint(hint)
        );
    }
    if let Some(later) = &record.superseded_by {
        let title = format!("run {id} cannot be resumed: run {later} of the same playbook and customer came after it");
        return Err(
            refuse("tenantry/run-superseded", title).hint(format!("look at that one: `tenantry runs show {later}`"))
        );
    }
    Ok(())
}

/// Whether the target is still the one that the run worked on.
pub(super) fn check_scope(record: &RunRecord, scope: &str) -> Result<(), Failure> {
    let opening = &record.opening;
    if opening.scope == scope {
        return Ok(());
    }
    let title = format!("target `{}` is now {scope}; run {} worked on {}", opening.target, opening.id, opening.scope);
    let hint = "bring the target in tenantry.toml back to where it was, or run the playbook anew";
    Err(Failure::new(FailureKind::Denied, "tenantry/other-organization", title).hint(hint))
}
