//! What a run has recorded so far, and what that means for a run that goes on with it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::operation::{
    BranchStep, CallKey, Failure, FailureKind, Key, Operation, Outcome, Processes, RecordedOperation, RecordedOutcome,
    Site, Written, is_before, refused_items,
};
use crate::store::{Entry, Logged};

/// What a run has recorded: every operation, every attempt at it, and what became of each.
///
/// A host call is *finished* when something was recorded that came after it. What it asked is answered from the record.
/// In a call that was not finished nothing that was read counts any more; a write that was carried out is not repeated.
#[derive(Clone, Debug, Default)]
pub struct Record {
    operations: HashMap<Key, Vec<Attempt>>,
    /// How often each key was attempted, also where the attempts do not count any more.
    attempts: HashMap<Key, u32>,
    /// For each path of branches, the furthest call in it.
    reach: HashMap<Vec<BranchStep>, u32>,
    /// The process that each host call last asked something in, counted from 1, and how many there were.
    processes: HashMap<CallKey, u64>,
    process: u64,
    /// Writes that have answered a question of this process: none answers two.
    used: HashSet<(Key, u32)>,
}

/// One attempt at an operation.
#[derive(Clone, Debug)]
struct Attempt {
    number: u32,
    place: u64,
    since: Timestamp,
    operation: Arc<RecordedOperation>,
    /// What the run was told: the outcome, or what a look-up found.
    told: Option<Arc<RecordedOutcome>>,
    /// A write of which nobody knows yet whether it was carried out.
    open: bool,
}

impl Attempt {
    /// Whether it was answered and did something: where all of several things were refused, it may be asked once more.
    fn is_done(&self) -> bool {
        match self.told.as_deref() {
            Some(RecordedOutcome::Answer { status: 207, json: Some(body), .. }) => {
                let items = body["data"].as_array().map_or(0, Vec::len);
                items == 0 || refused_items(body).count() < items
            }
            Some(RecordedOutcome::Answer { .. }) => true,
            _ => false,
        }
    }
}

/// A write that was begun and whose end is not known.
#[derive(Clone, Debug, PartialEq)]
pub struct Unsettled {
    /// Its key.
    pub key: Key,
    /// Which attempt at it.
    pub attempt: u32,
    /// When it was begun.
    pub since: Timestamp,
    /// What was asked.
    pub operation: RecordedOperation,
}

/// How an operation is answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// By what was recorded.
    Recorded(Outcome),
    /// By what was recorded of another attempt, or of another key of the same call: it must be recorded here too.
    Borrowed(Outcome, Key),
    /// By performing it.
    Live,
    /// Not at all: the run had asked something else here.
    Diverged(Divergence),
}

/// Where a playbook asks something else than its run had asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Divergence {
    /// What is asked now.
    asked: Asked,
    /// What had been asked in that host call.
    recorded: Option<Asked>,
    /// Where that had stood.
    pub(super) place: Option<Site>,
}

/// An operation as a message names it.
#[derive(Clone, Debug, PartialEq)]
struct Asked(String);

impl Asked {
    fn of(id: &str, subject: &str, site: Option<&Site>) -> Self {
        let place = site.map(|site| format!(" at {site}")).unwrap_or_default();
        Self(format!("`{id}` for {subject}{place}"))
    }
}

impl Divergence {
    /// The failure that ends the run. `key`: where it happened.
    pub(super) fn failure(&self, key: &Key) -> Failure {
        let title = "the playbook does not do what its run had done";
        let now = &self.asked.0;
        let detail = match &self.recorded {
            Some(recorded) if recorded == &self.asked => {
                format!("it asks {now} ({key}), with other values than before")
            }
            Some(recorded) => format!("it asks {now} ({key}), where the run had asked {}", recorded.0),
            None => format!("it asks {now} ({key}), where the run had asked nothing"),
        };
        Failure::new(FailureKind::Cancelled, "tenantry/diverged", title).detail(detail)
    }
}

impl Record {
    /// The record that these entries of a run make.
    #[must_use]
    pub fn of(entries: &[Logged]) -> Self {
        let mut record = Self::default();
        for logged in entries {
            match &logged.entry {
                Entry::Intent { key, attempt, operation, .. } => {
                    let told = Attempt {
                        number: *attempt,
                        place: logged.sequence,
                        since: logged.at,
                        operation: Arc::new((**operation).clone()),
                        told: None,
                        open: true,
                    };
                    record.add(key, told);
                }
                Entry::Outcome { key, attempt, operation: Some(operation), outcome } => {
                    let told = Attempt {
                        number: *attempt,
                        place: logged.sequence,
                        since: logged.at,
                        operation: Arc::new((**operation).clone()),
                        told: Some(Arc::new(outcome.clone())),
                        open: false,
                    };
                    record.add(key, told);
                }
                Entry::Outcome { key, attempt, operation: None, outcome } => {
                    record.tell(key, *attempt, Some(outcome.clone()));
                }
                Entry::Settled { key, attempt, performed, .. } => record.settle(key, *attempt, performed.clone()),
                Entry::Accepted { key } => record.accept(key),
                Entry::Began { .. } => record.process += 1,
                Entry::File { .. } | Entry::Step(_) | Entry::Log { .. } | Entry::Ended { .. } => {}
            }
        }
        record
    }

    fn add(&mut self, key: &Key, attempt: Attempt) {
        let made = self.attempts.entry(key.clone()).or_default();
        *made = (*made).max(attempt.number + 1);
        self.reached(key);
        self.processes.insert(key.call_key(), self.process);
        self.operations.entry(key.clone()).or_default().push(attempt);
    }

    fn reached(&mut self, key: &Key) {
        let calls = key.branch.iter().map(|step| step.call).chain([key.call]);
        for (depth, call) in calls.enumerate() {
            let furthest = self.reach.entry(key.branch[..depth].to_vec()).or_default();
            *furthest = (*furthest).max(call);
        }
    }

    fn attempt(&mut self, key: &Key, number: u32) -> Option<&mut Attempt> {
        self.operations.get_mut(key)?.iter_mut().find(|attempt| attempt.number == number)
    }

    fn tell(&mut self, key: &Key, number: u32, told: Option<RecordedOutcome>) {
        if let Some(attempt) = self.attempt(key, number) {
            let unknown = |told: &RecordedOutcome| matches!(told, RecordedOutcome::Failure(failure) if failure.kind == FailureKind::Unknown);
            attempt.open = told.as_ref().is_none_or(unknown);
            attempt.told = told.map(Arc::new);
        }
    }

    /// Notes what a look-up found.
    pub(super) fn settle(&mut self, key: &Key, number: u32, performed: Option<RecordedOutcome>) {
        self.tell(key, number, performed);
        if let Some(attempt) = self.attempt(key, number) {
            attempt.open = false;
        }
    }

    /// Forgets this call and all after it: the playbook has changed here, and that was accepted.
    pub(super) fn accept(&mut self, from: &Key) {
        // What was asked in branches of the call belongs to it.
        let from = from.call_key();
        self.operations.retain(|key, _| !key.call_key().is_from(&from));
        self.processes.retain(|call, _| !call.is_from(&from));
        self.reach.clear();
        for key in self.operations.keys().cloned().collect::<Vec<_>>() {
            self.reached(&key);
        }
    }

    /// How many operations were recorded.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.operations.len()
    }

    /// Whether an operation of this key was recorded.
    #[must_use]
    pub fn knows(&self, key: &Key) -> bool {
        self.operations.contains_key(key)
    }

    /// Whether something was recorded that came after this host call.
    #[must_use]
    pub fn is_finished(&self, branch: &[BranchStep], call: u32) -> bool {
        is_before(&self.reach, branch, call)
    }

    /// Which process carried out each host call, for a process that goes on with the run.
    #[must_use]
    pub fn processes(&self) -> Processes {
        Processes::of(self.processes.clone(), self.reach.clone(), u64::MAX)
    }

    /// The same, for a replay: what has no end on record is of the last process.
    #[must_use]
    pub fn processes_as_they_were(&self) -> Processes {
        Processes::of(self.processes.clone(), self.reach.clone(), self.process)
    }

    /// Writes that were begun and whose end is not known, in the order in which they were begun.
    ///
    /// One whose end the playbook has learnt to be unknown, and went on, is left alone.
    #[must_use]
    pub fn unsettled(&self) -> Vec<Unsettled> {
        let mut found = BTreeMap::new();
        for (key, attempts) in &self.operations {
            for attempt in attempts.iter().filter(|attempt| attempt.open) {
                if attempt.told.is_some() && self.is_finished(&key.branch, key.call) {
                    continue;
                }
                let unsettled = Unsettled {
                    key: key.clone(),
                    attempt: attempt.number,
                    since: attempt.since,
                    operation: (*attempt.operation).clone(),
                };
                found.insert(attempt.place, unsettled);
            }
        }
        found.into_values().collect()
    }

    /// The writes that were carried out.
    #[must_use]
    pub fn written(&self) -> Written {
        let mut written = Written::default();
        for (key, attempts) in &self.operations {
            for attempt in attempts {
                let operation = &attempt.operation;
                if operation.effect.is_write() && attempt.is_done() {
                    written.note(key, &operation.subject, operation.effect);
                }
            }
        }
        written
    }

    /// The number of the next attempt at this key.
    pub(super) fn next_attempt(&mut self, key: &Key) -> u32 {
        let next = self.attempts.entry(key.clone()).or_default();
        *next += 1;
        *next - 1
    }

    /// How an operation is answered by a run that goes on.
    pub(super) fn answer(&mut self, key: &Key, operation: &Operation) -> Answer {
        if self.is_finished(&key.branch, key.call) {
            return match self.replayed(key, operation) {
                Ok(Some(outcome)) => Answer::Recorded(outcome),
                Ok(None) => Answer::Diverged(self.divergence(key, operation)),
                Err(divergence) => Answer::Diverged(divergence),
            };
        }
        // A new run has nothing that a digest would have to be made for.
        if !operation.effect.is_write() || self.operations.is_empty() {
            return Answer::Live;
        }
        self.carried_out(key, operation).unwrap_or(Answer::Live)
    }

    /// What the run was told at this key; `Ok(None)` where its record ends.
    pub(super) fn replayed(&self, key: &Key, operation: &Operation) -> Result<Option<Outcome>, Divergence> {
        match self.operations.get(key).and_then(|attempts| attempts.last()) {
            Some(last) if last.operation.digest != operation.digest() => Err(self.divergence(key, operation)),
            Some(last) => Ok(last.told.as_deref().cloned().map(Outcome::from)),
            None if self.is_finished(&key.branch, key.call) => Err(self.divergence(key, operation)),
            None => Ok(None),
        }
    }

    /// The record of a write of this call that was carried out and did the same.
    fn carried_out(&mut self, key: &Key, operation: &Operation) -> Option<Answer> {
        let digest = operation.digest();
        let good = |attempt: &Attempt| attempt.operation.digest == digest && attempt.is_done();
        let mut others: Vec<&Key> = self
            .operations
            .keys()
            .filter(|other| other.branch == key.branch && other.call == key.call && other.id == key.id && *other != key)
            .collect();
        others.sort_unstable();
        let (own, found) = std::iter::once(key)
            .chain(others)
            .filter_map(|own| Some((own, self.operations.get(own)?)))
            .flat_map(|(own, attempts)| attempts.iter().rev().map(move |attempt| (own, attempt)))
            .find(|(own, attempt)| good(attempt) && !self.used.contains(&((*own).clone(), attempt.number)))?;
        let told = found.told.as_deref().cloned()?;
        let is_last = own == key
            && self.operations.get(key).and_then(|all| all.last()).is_some_and(|last| last.number == found.number);
        let (own, number) = (own.clone(), found.number);
        self.used.insert((own.clone(), number));
        Some(if is_last { Answer::Recorded(told.into()) } else { Answer::Borrowed(told.into(), own) })
    }

    /// The first operation that was recorded in the host call of `key`.
    fn asked_in_call(&self, key: &Key) -> Option<&Attempt> {
        let same = |other: &&Key| other.branch == key.branch && other.call == key.call;
        let attempts = self.operations.keys().filter(same).filter_map(|other| self.operations.get(other));
        attempts.filter_map(|attempts| attempts.last()).min_by_key(|attempt| attempt.place)
    }

    fn divergence(&self, key: &Key, operation: &Operation) -> Divergence {
        let own = self.operations.get(key).and_then(|attempts| attempts.last());
        let recorded = own.or_else(|| self.asked_in_call(key));
        Divergence {
            asked: Asked::of(&operation.id, &operation.subject, operation.site.as_ref()),
            place: recorded.and_then(|attempt| attempt.operation.site.clone()),
            recorded: recorded.map(|attempt| {
                let recorded = &attempt.operation;
                Asked::of(&recorded.id, &recorded.subject, recorded.site.as_ref())
            }),
        }
    }
}
