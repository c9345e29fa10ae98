use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{BranchStep, CallKey, Effect, Key};

/// What earlier processes of a run have written, by the host call that asked for it and the thing it was about.
///
/// A host call that was not finished starts again and finds its own work done; this tells it apart from what was there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written(BTreeMap<CallKey, BTreeMap<String, BTreeSet<Effect>>>);

impl Written {
    /// Notes that the write of this key, about `subject`, was carried out.
    pub fn note(&mut self, key: &Key, subject: &str, effect: Effect) {
        self.0.entry(key.call_key()).or_default().entry(subject.to_owned()).or_default().insert(effect);
    }

    /// What a host call did to `subject`.
    pub fn of(&self, call: &CallKey, subject: &str) -> impl Iterator<Item = Effect> {
        self.0.get(call).and_then(|subjects| subjects.get(subject)).into_iter().flatten().copied()
    }
}

/// Which process of a run carried out each host call. What was read before a process went to work, somebody else may have
/// changed since: what a call reads counts for calls of the same process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processes {
    /// The process of each call that had finished; none of one that asked nothing, and went by what it knew.
    finished: HashMap<CallKey, u64>,
    /// The furthest call that was finished, for each path of branches.
    reach: HashMap<Vec<BranchStep>, u32>,
    /// The process of every other call.
    now: u64,
}

impl Processes {
    /// What a record knows of them: the processes of calls, how far calls reach, and which process carries out all others.
    #[must_use]
    pub(crate) fn of(finished: HashMap<CallKey, u64>, reach: HashMap<Vec<BranchStep>, u32>, now: u64) -> Self {
        Self { finished, reach, now }
    }

    /// The process that carries out a call; none when it has finished without asking anything.
    #[must_use]
    pub fn of_call(&self, call: &CallKey) -> Option<u64> {
        if !is_before(&self.reach, &call.branch, call.call) {
            return Some(self.now);
        }
        self.finished.get(call).copied()
    }
}

/// Whether something reaches beyond this host call, or beyond one that it is a part of.
pub(crate) fn is_before(reach: &HashMap<Vec<BranchStep>, u32>, branch: &[BranchStep], call: u32) -> bool {
    let calls = branch.iter().map(|step| step.call).chain([call]);
    calls.enumerate().any(|(depth, call)| reach.get(&branch[..depth]).is_some_and(|furthest| *furthest > call))
}
