//! What the journal has of a run that goes on.

use std::collections::{HashMap, HashSet};

use crate::event::Step;
use crate::interpreter::Record;
use crate::operation::Key;
use crate::store::{Entry, Logged, RunLog, content_digest};

/// What an earlier process, or an earlier pass of this one, recorded of a run.
#[derive(Default)]
pub(super) struct Earlier {
    /// The operations.
    pub(super) record: Record,
    /// Steps of host calls that had finished: the script tells them again when it goes through the record.
    pub(super) kept: Vec<Step>,
    /// Steps of host calls that start again, perhaps with less left to do.
    again: Vec<Step>,
    /// Steps of a playbook that has changed since, which was accepted.
    past: Vec<Step>,
    /// The digest of each file as it was used last.
    pub(super) files: HashMap<String, String>,
    /// How many lines were logged.
    pub(super) logs: usize,
}

impl Earlier {
    /// What these entries of a run say to a process that goes on with it.
    pub(super) fn of(entries: &[Logged]) -> Self {
        let mut earlier = Self::up_to_now(entries);
        earlier.begin(entries);
        earlier
    }

    /// What these entries say as they stand: `kept` are the steps that the last process told or had on record.
    pub(super) fn up_to_now(entries: &[Logged]) -> Self {
        let mut earlier = Self::default();
        for (place, logged) in entries.iter().enumerate() {
            match &logged.entry {
                Entry::Began { .. } if place > 0 => earlier.begin(&entries[..place]),
                Entry::Accepted { key } => earlier.accept(key),
                Entry::Step(step) => earlier.kept.push(step.clone()),
                Entry::Log { .. } => earlier.logs += 1,
                Entry::File { path, digest } => drop(earlier.files.insert(path.clone(), digest.clone())),
                _ => {}
            }
        }
        earlier.record = Record::of(entries);
        earlier
    }

    /// A process goes to work when there are these entries: it begins again with what they leave unfinished.
    fn begin(&mut self, entries: &[Logged]) {
        let record = Record::of(entries);
        let finished = |step: &Step| step.call.as_ref().is_some_and(|call| record.is_finished(&call.branch, call.call));
        let (kept, again): (Vec<Step>, Vec<Step>) = std::mem::take(&mut self.kept).into_iter().partition(finished);
        self.kept = kept;
        self.again.extend(again);
    }

    /// What the playbook did from this call on, it does no more.
    fn accept(&mut self, from: &Key) {
        let from = from.call_key();
        for steps in [&mut self.kept, &mut self.again] {
            let stays = |step: &Step| step.call.as_ref().is_some_and(|call| !call.is_from(&from));
            let (stay, past): (Vec<Step>, Vec<Step>) = std::mem::take(steps).into_iter().partition(stays);
            *steps = stay;
            self.past.extend(past);
        }
    }

    /// What the run has changed in all, with what the last process told: nothing that was done is lost because it was
    /// right already when the script came by again.
    pub(super) fn changes(&self, told: Vec<Step>) -> Vec<Step> {
        let same = |one: &Step, other: &Step| {
            // A line that was added above moves it.
            (one.change, &one.subject, &one.fields, &one.call)
                == (other.change, &other.subject, &other.fields, &other.call)
        };
        let mut changes = self.past.clone();
        for step in &self.again {
            if !told.iter().chain(&changes).any(|other| same(step, other)) {
                changes.push(step.clone());
            }
        }
        // A process that ended early did not come by all of them.
        let calls: HashSet<_> = told.iter().map(|step| &step.call).collect();
        changes.extend(self.kept.iter().filter(|step| !calls.contains(&step.call)).cloned());
        changes.retain(|step| step.change.is_write());
        changes.extend(told);
        changes.sort_by(|one, other| one.call.cmp(&other.call));
        changes
    }

    /// Notes a file, unless the journal has it.
    pub(super) fn note_file(&mut self, log: &RunLog, path: &str, content: &[u8]) {
        let digest = content_digest(content);
        if self.files.get(path) != Some(&digest) {
            log.note_file(path, content);
            self.files.insert(path.to_owned(), digest);
        }
    }
}
