use std::collections::BTreeSet;
use std::str::FromStr;

use super::ExplainError;
use super::inputs::{CustomerValues, EqualInput};
use crate::history::{History, PastOperation, PastStep, SourceLine};
use crate::operation::{CallKey, Key, Site};
use crate::playbook::{FileUse, Frame};
use crate::store::{Journal, RunFilter};
use crate::suggest;

/// Keys less alike than this are no help: most of a key's characters are those of every key.
const ALIKE: f64 = 0.8;

/// One host call of a run: what it asked, what came of it, and where it stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExplainedCall {
    /// The run.
    pub history: History,
    /// The call.
    pub call: CallKey,
    /// The operations that are meant, in the order in which they were asked.
    pub operations: Vec<ExplainedOperation>,
    /// What a replay of the run found out; `None` when it could not be replayed up to this call.
    pub traced: Option<TracedCall>,
}

/// One operation of a call, with all attempts at it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExplainedOperation {
    /// Its key.
    pub key: Key,
    /// The attempts, by their places in the history's operations; never empty.
    pub attempts: Vec<usize>,
    /// The values of the last attempt that equal values of the customer.
    pub inputs: Vec<EqualInput>,
}

/// How the script came to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedCall {
    /// The functions it is in, the innermost first; `None` when the script did not let that be seen.
    pub stack: Option<Vec<Frame>>,
    /// The templates that were rendered on its line; when none was, those before it in its branch. The last one first.
    pub files: Vec<FileUse>,
}

impl ExplainedCall {
    /// An attempt at one of its operations.
    #[must_use]
    pub fn attempt(&self, place: usize) -> Option<&PastOperation> {
        self.history.operations.get(place)
    }

    /// What counts of an operation: its last attempt.
    #[must_use]
    pub fn last(&self, operation: &ExplainedOperation) -> Option<&PastOperation> {
        self.attempt(*operation.attempts.last()?)
    }

    /// The line of the script that made the call, as it was when the run used it.
    #[must_use]
    pub fn line(&self) -> Option<SourceLine> {
        let (site, sequence) = self.placed()?;
        self.history.line(site, sequence)
    }

    /// Where the call stands in the script.
    #[must_use]
    pub fn site(&self) -> Option<&Site> {
        self.placed().map(|(site, _)| site)
    }

    fn placed(&self) -> Option<(&Site, u64)> {
        let asked = self.operations.iter().find_map(|operation| {
            let last = self.last(operation)?;
            Some((last.operation.site.as_ref()?, last.sequence))
        });
        asked.or_else(|| self.steps().find_map(|told| Some((told.step.site.as_ref()?, told.sequence))))
    }

    /// What the call told.
    pub fn steps(&self) -> impl Iterator<Item = &PastStep> {
        self.history.steps.iter().filter(|told| told.step.call.as_ref() == Some(&self.call))
    }
}

/// The name of a call as a person gives it: a key, a key without its ordinal, or the call that keys begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    call: CallKey,
    id: Option<String>,
    ordinal: Option<u32>,
}

impl Wanted {
    pub(super) fn of(text: &str) -> Option<Self> {
        if let Ok(key) = Key::from_str(text) {
            return Some(Self { call: key.call_key(), id: Some(key.id), ordinal: Some(key.ordinal) });
        }
        let (call, id) = match text.split_once(':') {
            Some((call, id)) if !id.is_empty() && !id.contains('#') => (call, Some(id.to_owned())),
            Some(_) => return None,
            None => (text, None),
        };
        Some(Self { call: call.parse().ok()?, id, ordinal: None })
    }

    /// Whether it can be nothing but a call: a number may be the name of something.
    pub(super) fn is_surely_a_call(&self) -> bool {
        self.id.is_some() || !self.call.branch.is_empty()
    }

    fn means(&self, key: &Key) -> bool {
        self.call.call == key.call
            && self.call.branch == key.branch
            && self.id.as_ref().is_none_or(|id| *id == key.id)
            && self.ordinal.is_none_or(|ordinal| ordinal == key.ordinal)
    }

    fn is_in(&self, history: &History) -> bool {
        let told = || history.steps.iter().any(|told| told.step.call.as_ref() == Some(&self.call));
        history.operations.iter().any(|attempt| self.means(&attempt.key)) || (self.id.is_none() && told())
    }

    fn explain(self, history: History) -> ExplainedCall {
        let values = CustomerValues::of(&history.run.opening.inputs);
        let mut operations: Vec<ExplainedOperation> = Vec::new();
        for (place, attempt) in history.operations.iter().enumerate().filter(|(_, attempt)| self.means(&attempt.key)) {
            let known = operations.iter().position(|known| known.key == attempt.key).unwrap_or_else(|| {
                let (attempts, inputs) = (Vec::new(), Vec::new());
                operations.push(ExplainedOperation { key: attempt.key.clone(), attempts, inputs });
                operations.len() - 1
            });
            operations[known].attempts.push(place);
            operations[known].inputs = values.equal_to(&attempt.operation);
        }
        ExplainedCall { history, call: self.call, operations, traced: None }
    }
}

/// The call of this key.
pub(super) fn of_key(history: History, key: &Key) -> ExplainedCall {
    let (id, ordinal) = (Some(key.id.clone()), Some(key.ordinal));
    Wanted { call: key.call_key(), id, ordinal }.explain(history)
}

/// The call in the run that is meant, or in the latest that has it. `None` when it may be something else.
pub(super) fn find(journal: &Journal, text: &str, run: Option<&str>) -> Result<Option<ExplainedCall>, ExplainError> {
    let Some(wanted) = Wanted::of(text) else { return Ok(None) };
    let runs = match run {
        Some(run) => vec![journal.run(run)?],
        None => journal.runs(&RunFilter::default())?,
    };
    let (mut keys, mut unread) = (BTreeSet::new(), Vec::new());
    for record in runs {
        let entries = match journal.entries(&record.opening.id) {
            Ok(entries) => entries,
            // One run that cannot be read must not hide the others.
            Err(error) if run.is_none() => {
                unread.push(error.to_string());
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let history = History::of(record, entries);
        if wanted.is_in(&history) {
            return Ok(Some(wanted.explain(History::read(journal, &history.run.opening.id)?)));
        }
        keys.extend(history.operations.iter().map(|attempt| attempt.key.to_string()));
    }
    if !wanted.is_surely_a_call() {
        return Ok(None);
    }
    let nearest = suggest::alike(text, keys.iter().map(String::as_str), ALIKE);
    let nearest = nearest.into_iter().map(str::to_owned).collect();
    let run = run.map(|run| journal.run(run)).transpose()?.map(|run| run.opening.id);
    Err(ExplainError::NoCall { key: text.to_owned(), run, nearest, unread })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_named_in_full_or_shortened() {
        let means = |text: &str, key: &str| Wanted::of(text).unwrap().means(&key.parse().unwrap());
        for text in ["2[0].3:createSpace#0", "2[0].3:createSpace", "2[0].3"] {
            assert!(means(text, "2[0].3:createSpace#0"), "{text}");
            assert!(!means(text, "2[0].4:createSpace#0") && !means(text, "3:createSpace#0"), "{text}");
        }
        assert!(means("2[0].3:createSpace", "2[0].3:createSpace#1"));
        assert!(!means("2[0].3:createSpace#0", "2[0].3:createSpace#1"));
        for text in ["", "Staging", "2[0]", "2[0].3:", "2[0].3:createSpace#", "https://x/1:2", "02"] {
            assert_eq!(Wanted::of(text), None, "{text}");
        }
        assert!(!Wanted::of("3").unwrap().is_surely_a_call());
    }
}
