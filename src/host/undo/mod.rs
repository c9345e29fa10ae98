//! Takes back what a run did: shows first what would be done, then does it, itself in the journal.

mod perform;

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use tokio::sync::{mpsc, watch};

use super::Host;
use super::connection::Connection;
use super::drive::Ending;
use crate::event::{Event, FieldChange};
use crate::interpreter::{Record, Settlement};
use crate::operation::{Failure, FailureKind, Key, Operation, Site};
use crate::store::{JournalError, Logged, RunKind, RunRecord, RunState};
use crate::undo::{Restored, Reversal, Standing, Way, reversals};

pub use perform::UndoReport;

/// A run cannot be undone.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{failure}")]
pub struct UndoError {
    /// What went wrong.
    pub failure: Failure,
}

impl From<Failure> for UndoError {
    fn from(failure: Failure) -> Self {
        Self { failure }
    }
}

impl From<JournalError> for UndoError {
    fn from(error: JournalError) -> Self {
        Self { failure: error.into() }
    }
}

/// What taking back a run comes to, looked up and ready to be done.
pub struct Undo {
    host: Host,
    record: RunRecord,
    connection: Arc<Connection>,
    steps: Vec<(Reversal, UndoStep)>,
    listeners: Vec<mpsc::UnboundedSender<Event>>,
    ending: watch::Sender<Option<Ending>>,
}

/// What becomes of one write of the run.
#[derive(Clone, Debug, Serialize)]
pub struct UndoStep {
    /// The write's key in its run.
    pub of: String,
    /// The write's operation.
    pub operation: String,
    /// The thing it was about.
    pub subject: String,
    /// Where in the playbook it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<Site>,
    /// What is done about it.
    pub verdict: UndoVerdict,
    /// The fields that get their former values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldChange>,
    /// Fields that stay as they are, because someone changed them since or they had no value before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
    /// Why it cannot be taken back, or why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What is done about one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoVerdict {
    /// What was made is removed.
    Remove,
    /// Fields get their former values.
    Restore,
    /// Seats that were given are taken back, or moved back.
    Release,
    /// The tenant is deactivated; Qlik Cloud purges it after its delay.
    Deactivate,
    /// It is as it was before already.
    Nothing,
    /// Someone changed it since: it is left alone.
    ChangedSince,
    /// It goes with the tenant.
    WithTenant,
    /// It cannot be taken back.
    Irreversible,
    /// Taking it back failed.
    Failed,
}

impl UndoStep {
    fn of(reversal: &Reversal) -> Self {
        Self {
            of: reversal.of.to_string(),
            operation: reversal.operation.clone(),
            subject: reversal.subject.clone(),
            site: reversal.site.clone(),
            verdict: UndoVerdict::Nothing,
            fields: Vec::new(),
            kept: Vec::new(),
            why: None,
        }
    }
}

impl UndoVerdict {
    /// Whether something is written.
    #[must_use]
    pub fn is_write(self) -> bool {
        matches!(self, Self::Remove | Self::Restore | Self::Release | Self::Deactivate)
    }
}

impl Host {
    /// Finds out what taking back a run comes to. Nothing is written.
    ///
    /// # Errors
    /// When there is no such run, it is at work, it is an undo, the end of one of its writes is not known, or its target
    /// cannot be read.
    pub async fn undo(&self, run: &str) -> Result<Undo, UndoError> {
        let (host, run) = (self.clone(), run.to_owned());
        self.on_io(async move { Undo::plan(host, &run).await.map_err(|error| error.failure) })
            .await
            .map_err(|error| error.failure.into())
    }
}

impl Undo {
    async fn plan(host: Host, run: &str) -> Result<Self, UndoError> {
        let journal = host.0.state.journal();
        let id = run.to_owned();
        let (record, entries) = journal
            .ask(move |journal| {
                let record = journal.run(&id)?;
                let entries = journal.entries(&record.opening.id)?;
                Ok((record, entries))
            })
            .await?;
        refuse(&record, &entries)?;
        let connection = host.0.connections.get(&host.0, &record.opening.target).await?;
        super::resume::check_scope(&record, &connection.scope())?;
        let (steps, listeners) = (Vec::new(), Vec::new());
        let mut undo = Self { host, record, connection, steps, listeners, ending: watch::Sender::new(None) };
        let reversals = reversals(&entries);
        let makes_tenant = reversals.iter().any(|reversal| reversal.operation == "createTenant");
        let active = undo.connection.tenant_is_active(&undo.host.0, &undo.record.opening.customer).await;
        for reversal in reversals {
            let step = if makes_tenant && !active { Self::gone(&reversal) } else { undo.look(&reversal).await? };
            undo.steps.push((reversal, step));
        }
        Ok(undo)
    }

    /// The run that is taken back.
    #[must_use]
    pub fn record(&self) -> &RunRecord {
        &self.record
    }

    /// What becomes of each write, in the order in which it is done: the last write first.
    #[must_use]
    pub fn steps(&self) -> impl ExactSizeIterator<Item = &UndoStep> {
        self.steps.iter().map(|(_, step)| step)
    }

    /// How one write stands, and so what is to be done about it.
    async fn look(&self, reversal: &Reversal) -> Result<UndoStep, UndoError> {
        let mut step = UndoStep::of(reversal);
        match &reversal.way {
            Way::WithTenant => step.verdict = UndoVerdict::WithTenant,
            Way::Not(reason) => {
                step.verdict = UndoVerdict::Irreversible;
                step.why = Some(reason.to_string());
            }
            Way::Remove(operation) => step.verdict = self.unless_done(operation, UndoVerdict::Remove).await,
            Way::Reverse(operation) if operation.id == "deactivateTenant" => {
                step.verdict = UndoVerdict::Deactivate;
            }
            Way::Reverse(operation) => step.verdict = self.unless_done(operation, UndoVerdict::Release).await,
            Way::Restore { look, fields, .. } => {
                let current = match self.connection.target().perform(&key(0, look), look).await {
                    Ok(answer) => answer.json().clone(),
                    Err(failure) if matches!(failure.status, Some(404 | 410)) => {
                        step.why = Some("it is gone".to_owned());
                        return Ok(step);
                    }
                    Err(failure) => return Err(failure.into()),
                };
                restore(&mut step, fields, &current);
            }
        }
        Ok(step)
    }

    /// The tenant that the run made is deactivated already: it refuses everything, and nothing is left to do there.
    fn gone(reversal: &Reversal) -> UndoStep {
        let mut step = UndoStep::of(reversal);
        match &reversal.way {
            Way::Not(reason) => {
                step.verdict = UndoVerdict::Irreversible;
                step.why = Some(reason.to_string());
            }
            Way::Reverse(operation) if operation.id == "deactivateTenant" => {}
            _ => step.verdict = UndoVerdict::WithTenant,
        }
        step
    }

    /// `verdict`, unless what `operation` would do is done already.
    async fn unless_done(&self, operation: &Operation, verdict: UndoVerdict) -> UndoVerdict {
        let since = jiff::Timestamp::UNIX_EPOCH;
        match self.connection.target().settle(&key(0, operation), operation, since).await {
            Ok(Settlement::Performed(_)) => UndoVerdict::Nothing,
            // In doubt it is asked for: removing what is gone changes nothing.
            Ok(Settlement::NotPerformed) | Err(_) => verdict,
        }
    }
}

/// Which fields are given their former values, and which are left alone.
fn restore<'r>(step: &mut UndoStep, fields: &'r [Restored], current: &Value) -> Vec<&'r Restored> {
    let mut given = Vec::new();
    let mut changed = false;
    for field in fields {
        let name = || field.field.trim_start_matches('/').to_owned();
        match (field.standing(current), &field.before) {
            (Standing::AsTheRunLeftIt, Some(before)) => {
                step.fields.push(FieldChange { field: name(), before: field.written.clone(), after: before.clone() });
                given.push(field);
            }
            (Standing::AsTheRunLeftIt, None) => step.kept.push(format!("{}: it had no value before", name())),
            (Standing::AsBefore, _) => {}
            (Standing::ChangedSince, _) => {
                changed = true;
                step.kept.push(format!("{}: changed since", name()));
            }
        }
    }
    step.verdict = match (given.is_empty(), changed, step.kept.is_empty()) {
        (false, ..) => UndoVerdict::Restore,
        (true, true, _) => UndoVerdict::ChangedSince,
        (true, false, true) => UndoVerdict::Nothing,
        (true, false, false) => UndoVerdict::Irreversible,
    };
    given
}

fn refuse(record: &RunRecord, entries: &[Logged]) -> Result<(), UndoError> {
    let id = &record.opening.id;
    let refusal = |title: String, hint: String| {
        UndoError::from(Failure::new(FailureKind::Denied, "tenantry/not-undoable", title).hint(hint))
    };
    if let RunKind::Undo(of) = &record.opening.kind {
        return Err(refusal(
            format!("run {id} is an undo of run {of}"),
            format!("to do again what run {of} did, run its playbook"),
        ));
    }
    if record.status == RunState::Running {
        return Err(refusal(format!("run {id} is at work"), "end it first, or wait until it has ended".to_owned()));
    }
    if let Some(unsettled) = Record::of(entries).unsettled().first() {
        let title = format!("it is not known whether run {id} did {} ({})", unsettled.key, unsettled.operation.subject);
        return Err(refusal(title, format!("`tenantry runs resume {id}` finds it out")));
    }
    Ok(())
}

/// The key of the only operation of an undo's step.
fn key(step: usize, operation: &Operation) -> Key {
    Key { branch: Vec::new(), call: u32::try_from(step).unwrap_or(u32::MAX), id: operation.id.clone(), ordinal: 0 }
}
