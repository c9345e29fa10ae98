use std::collections::{BTreeMap, BTreeSet};

use super::{CallKey, Effect, Key};

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
