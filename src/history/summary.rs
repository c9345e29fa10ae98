use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::{History, HistoryError, Tally};
use crate::event::Change;
use crate::store::{Journal, RunFilter, RunRecord};
use crate::suggest;

/// Runs are named by at least so much of their ids.
const SHORTEST: usize = 8;

/// A run in a few figures.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RunSummary {
    /// The run.
    pub run: RunRecord,
    /// Enough of its id to name it.
    pub short: String,
    /// What it did; why that cannot be told, when its journal is damaged.
    pub figures: Result<Figures, String>,
}

/// What a run did.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Figures {
    /// What was made, changed, removed or set in motion.
    pub changes: Vec<Change>,
    /// Requests that went out.
    pub requests: Tally,
    /// Writes whose end is not known.
    pub unsettled: usize,
    /// Processes that went to work on it.
    pub processes: usize,
    /// How long they were at work.
    pub took: SignedDuration,
}

impl Figures {
    fn of(history: &History) -> Self {
        Self {
            changes: history.changes().map(|step| step.change).collect(),
            requests: history.tally(),
            unsettled: history.unsettled().count(),
            processes: history.process_count(),
            took: history.at_work(),
        }
    }
}

/// The runs that are meant, the latest first. Blocks.
pub(crate) fn summaries(journal: &Journal, filter: &RunFilter) -> Result<Vec<RunSummary>, HistoryError> {
    let mut filter = filter.clone();
    if let Some(customer) = &filter.customer {
        let known = journal.customers()?;
        if !known.contains(customer) {
            return Err(HistoryError::no_runs("for the customer", customer, &known));
        }
    }
    if let Some(playbook) = &filter.playbook {
        filter.playbook = Some(whole_path(playbook, &journal.playbooks()?)?);
    }
    let runs = journal.runs(&filter)?;
    let short = Shortener::new(&journal.ids()?);
    let summary = |run: RunRecord| {
        let short = short.of(&run.opening.id);
        let figures = match journal.entries(&run.opening.id) {
            Ok(entries) => Ok(Figures::of(&History::of(run.clone(), entries))),
            // One run that cannot be read must not hide the others.
            Err(error) => Err(error.to_string()),
        };
        RunSummary { run, short, figures }
    };
    Ok(runs.into_iter().map(summary).collect())
}

/// The playbook that is meant by its path, or by the end of it: `onboard` for `playbooks/onboard.rhai`.
fn whole_path(given: &str, known: &[String]) -> Result<String, HistoryError> {
    let plain = |path: &str| path.strip_suffix(".rhai").unwrap_or(path).to_owned();
    let end = format!("/{}", plain(given));
    if let Some(exact) = known.iter().find(|path| *path == given) {
        return Ok(exact.clone());
    }
    let mut ends = known.iter().filter(|path| format!("/{}", plain(path)).ends_with(&end));
    match (ends.next(), ends.next()) {
        (Some(only), None) => Ok(only.clone()),
        (Some(one), Some(other)) => {
            Err(HistoryError::Playbooks { given: given.to_owned(), known: vec![one.clone(), other.clone()] })
        }
        (None, _) => Err(HistoryError::no_runs("of the playbook", given, known)),
    }
}

/// Shortens ids to beginnings that no other run's id has.
pub(crate) struct Shortener(BTreeSet<String>);

impl Shortener {
    pub(crate) fn new(ids: &[String]) -> Self {
        Self(ids.iter().cloned().collect())
    }

    /// Enough of this id.
    pub(crate) fn of(&self, id: &str) -> String {
        use std::ops::Bound::{Excluded, Unbounded};
        let shared = |other: Option<&String>| {
            other.map_or(0, |other| other.chars().zip(id.chars()).take_while(|(other, own)| other == own).count())
        };
        let before = self.0.range::<str, _>((Unbounded, Excluded(id))).next_back();
        let after = self.0.range::<str, _>((Excluded(id), Unbounded)).next();
        let least = (shared(before).max(shared(after)) + 1).max(SHORTEST);
        id.chars().take(least).collect()
    }
}

impl HistoryError {
    fn no_runs(of: &'static str, name: &str, known: &[String]) -> Self {
        let nearest = suggest::nearest(name, known.iter().map(String::as_str)).map(str::to_owned);
        Self::NoRuns { of, name: name.to_owned(), nearest }
    }
}
