//! What the last run of a playbook has ensured and a plan of it does not mention any more.

use std::collections::HashSet;

use serde::Serialize;

use super::Host;
use crate::event::{Change, Step};
use crate::history::History;
use crate::operation::Site;
use crate::store::{JournalError, RunFilter, RunKind, RunRecord, RunState};

/// A thing that the last run of this playbook made, changed or found right, and the plan says nothing of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Unmentioned {
    /// The thing: `space "Staging"`.
    pub subject: String,
    /// Where the playbook asked for it then.
    pub site: Option<Site>,
    /// The run.
    pub run: String,
    /// When that had come to its end.
    pub ended: Option<String>,
}

/// What the last run that came to its end has ensured, unless it was undone. Nothing when there was none.
pub(super) async fn ensured(
    host: &Host,
    scope: String,
    playbook: &str,
    customer: &str,
) -> Result<Vec<Unmentioned>, JournalError> {
    let filter = RunFilter {
        scope: Some(scope),
        customer: Some(customer.to_owned()),
        playbook: Some(playbook.to_owned()),
        limit: None,
    };
    let journal = host.0.state.journal();
    let looking = journal.ask(move |journal| {
        let records = journal.runs(&filter)?;
        last(&records).map(|last| History::read(journal, &last.opening.id)).transpose()
    });
    let Some(history) = looking.await? else { return Ok(Vec::new()) };
    let (run, ended) = (history.run.opening.id, history.run.ended.map(|ended| ended.to_string()));
    let mut ensured: Vec<Unmentioned> = Vec::new();
    let mut steps: Vec<Step> = history.steps.into_iter().map(|told| told.step).collect();
    // Branches tell in no order; the program has one.
    steps.sort_by(|one, other| one.call.cmp(&other.call));
    for step in steps {
        if let Change::Deleted = step.change {
            ensured.retain(|thing| thing.subject != step.subject);
        }
        if is_ensured(&step) && ensured.iter().all(|thing| thing.subject != step.subject) {
            ensured.push(Unmentioned {
                subject: step.subject,
                site: step.site,
                run: run.clone(),
                ended: ended.clone(),
            });
        }
    }
    Ok(ensured)
}

/// The things that none of these steps is about.
pub(super) fn without(mut ensured: Vec<Unmentioned>, told: &[Step]) -> Vec<Unmentioned> {
    let told: HashSet<&str> = told.iter().map(|step| step.subject.as_str()).collect();
    ensured.retain(|thing| !told.contains(thing.subject.as_str()));
    ensured
}

fn last(latest_first: &[RunRecord]) -> Option<&RunRecord> {
    let mut undone = HashSet::new();
    latest_first.iter().filter(|record| record.status == RunState::Succeeded).find(|record| {
        match &record.opening.kind {
            RunKind::Undo(of) => {
                undone.insert(of.as_str());
                false
            }
            RunKind::Run => !undone.contains(record.opening.id.as_str()),
        }
    })
}

/// Whether a step keeps something there. How many there are of something (`4 seats`) is no thing.
fn is_ensured(step: &Step) -> bool {
    let keeps = matches!(step.change, Change::Created | Change::Updated | Change::Replaced | Change::Unchanged);
    keeps && !step.subject.starts_with(|sign: char| sign.is_ascii_digit())
}
