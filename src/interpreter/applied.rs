use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Interpreter, Settlement};
use crate::operation::{Failure, FailureKind, Key, Operation, Outcome, hex};
use crate::plan::{Allowed, Reading, SavedPlan, Symbol, Symbols};

/// So many reads are named as the reason of a refusal.
const NAMED: usize = 3;

/// Lets through what a plan allows: each write must be the planned write of the same key, else the run ends before it is
/// sent.
pub struct Applied<I> {
    inner: I,
    allowed: BTreeMap<Key, Allowed>,
    /// Where the values stand that the plan has names for.
    symbols: Vec<Symbol>,
    /// What reads were answered, by digest.
    reads: BTreeMap<Key, Reading>,
    /// Whether all of them must be answered so again.
    unchanged: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    symbols: Symbols,
    done: BTreeSet<Key>,
    /// Keys of writes that the plan has under another one.
    instead: BTreeMap<Key, Key>,
    /// Writes that an earlier process of the run made, and checked.
    recalled: BTreeSet<Key>,
    /// Reads that were answered otherwise than when the plan was made: why a write may not be the planned one.
    changed: Vec<(Key, String)>,
}

impl<I: Interpreter> Applied<I> {
    /// A plan around `inner`. `unchanged`: reads must be answered as they were, too.
    pub fn new(inner: I, plan: &SavedPlan, unchanged: bool) -> Self {
        Self {
            inner,
            allowed: plan.writes.iter().map(|write| (write.key.clone(), write.clone())).collect(),
            symbols: plan.symbols.clone(),
            reads: plan.reads.iter().map(|read| (read.key.clone(), read.clone())).collect(),
            unchanged,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what an earlier process of the run was answered: a call that starts again finds what it did by a look,
    /// and does not ask for it any more.
    pub fn recall(&self, key: &Key, outcome: &Outcome) {
        if outcome.is_ok() {
            let mut state = self.state();
            state.done.insert(key.clone());
            state.recalled.insert(key.clone());
            drop(state);
            self.bind(key, outcome);
        }
    }

    /// The planned writes that were not asked for.
    #[must_use]
    pub fn left(&self) -> Vec<Allowed> {
        let state = self.state();
        let mut left: Vec<Allowed> =
            self.allowed.values().filter(|allowed| !state.done.contains(&allowed.key)).cloned().collect();
        left.sort_by(|one, other| one.key.call_key().cmp(&other.key.call_key()).then(one.key.cmp(&other.key)));
        left
    }

    /// Whether the plan has this write, and everything that comes before it in the same branch has been asked for.
    fn check(&self, key: &Key, operation: &Operation) -> Result<(), Failure> {
        let mut state = self.state();
        let asked = state.symbols.canonical(operation);
        let allowed = self.allowed.get(key).filter(|allowed| !state.done.contains(&allowed.key));
        if allowed.is_none_or(|allowed| allowed.request != asked) {
            // Of branches that want the same thing, the one that comes first does it: which one that is, is chance.
            let same = |other: &&Allowed| {
                other.request == asked && other.key.branch != key.branch && !state.done.contains(&other.key)
            };
            let other = self.allowed.values().find(same).map(|other| other.key.clone());
            let Some(other) = other else {
                let failure = Self::refusal(allowed, key, operation, &asked);
                let detail = failure.detail.clone().unwrap_or_default();
                return Err(failure.detail(format!("{detail}; {}", reason(&state.changed, key))));
            };
            state.done.insert(other.clone());
            state.instead.insert(key.clone(), other);
            return Ok(());
        }
        let skipped = self
            .allowed
            .keys()
            .find(|other| !state.done.contains(other) && other.branch == key.branch && other.call < key.call);
        if let Some(skipped) = skipped.and_then(|skipped| self.allowed.get(skipped)) {
            let title = format!("the planned write to {} is not asked for any more", skipped.subject);
            return Err(differs(title).detail(format!("`{}` comes before {key}", skipped.key)));
        }
        state.done.insert(key.clone());
        Ok(())
    }

    fn refusal(allowed: Option<&Allowed>, key: &Key, operation: &Operation, asked: &Value) -> Failure {
        match allowed {
            None => {
                let title = format!("the plan has no write to {} here", operation.subject);
                differs(title).detail(format!("the playbook now asks for `{}` ({key})", operation.id))
            }
            Some(allowed) => {
                let title = format!("the write to {} is not the planned one", operation.subject);
                differs(title).detail(first_difference(&allowed.request, asked))
            }
        }
    }

    /// Takes note of what an answer has for the names of the plan.
    fn bind(&self, key: &Key, outcome: &Outcome) {
        let Ok(answer) = outcome else { return };
        let mut state = self.state();
        let key = &state.instead.get(key).unwrap_or(key).clone();
        let same = |symbol: &&Symbol| {
            // A list may have come in other pages.
            symbol.key.call_key() == key.call_key() && symbol.key.id == key.id
        };
        for symbol in self.symbols.iter().filter(same) {
            let exact = symbol.key == *key || symbol.of.is_some();
            if let Some(value) = symbol.find(answer.json()).filter(|_| exact) {
                state.symbols.note(value, symbol);
            }
        }
    }

    /// Compares what a read was answered with what it was when the plan was made.
    fn compare(&self, key: &Key, outcome: &Outcome) -> Result<(), Failure> {
        let (Some(read), Ok(answer)) = (self.reads.get(key), outcome) else { return Ok(()) };
        if read.digest == answer_digest(answer.json()) {
            return Ok(());
        }
        if self.unchanged {
            return Err(differs(format!("{} is not as it was when the plan was made", read.subject)));
        }
        self.state().changed.push((key.clone(), read.subject.clone()));
        Ok(())
    }
}

/// What was read before `key` in its branch, or in one that holds it, and was not answered as it was.
fn reason(changed: &[(Key, String)], key: &Key) -> String {
    let before = changed.iter().filter(|(read, _)| key.branch.starts_with(&read.branch));
    let mut reads: Vec<String> = before.map(|(read, subject)| format!("{subject} (`{read}`)")).collect();
    reads.dedup();
    let shown = reads.split_off(reads.len().saturating_sub(NAMED));
    if shown.is_empty() {
        return "what was read before it in this branch is as it was".to_owned();
    }
    format!("not as it was when the plan was made: {}", shown.join(", "))
}

/// SHA-256 of an answer, whatever the order of its fields.
#[must_use]
pub fn answer_digest(answer: &Value) -> String {
    let mut answer = answer.clone();
    answer.sort_all_objects();
    hex(&Sha256::digest(answer.to_string().as_bytes()))
}

fn differs(title: String) -> Failure {
    Failure::new(FailureKind::Cancelled, "tenantry/not-as-planned", title)
        .hint("nothing that differs was sent; look at what changed and plan again")
}

/// What differs first, in words.
fn first_difference(planned: &Value, asked: &Value) -> String {
    fn find(place: &str, planned: &Value, asked: &Value) -> Option<String> {
        match (planned, asked) {
            (Value::Object(one), Value::Object(other)) => {
                let names = one.keys().chain(other.keys().filter(|name| !one.contains_key(*name)));
                names.into_iter().find_map(|name| find(&format!("{place}/{name}"), &planned[name], &asked[name]))
            }
            (Value::Array(one), Value::Array(other)) if one.len() == other.len() => one
                .iter()
                .zip(other)
                .enumerate()
                .find_map(|(index, (one, other))| find(&format!("{place}/{index}"), one, other)),
            _ if planned == asked => None,
            _ => Some(format!("{}: planned {planned}, asked {asked}", place.trim_start_matches('/'))),
        }
    }
    find("", planned, asked).unwrap_or_default()
}

impl<I: Interpreter> Interpreter for Applied<I> {
    fn perform<'a>(&'a self, key: &'a Key, operation: &'a Operation) -> BoxFuture<'a, Outcome> {
        async move {
            let recalled = self.state().recalled.contains(key);
            if operation.is_write_elsewhere() && !recalled {
                self.check(key, operation)?;
            }
            let outcome = self.inner.perform(key, operation).await;
            self.compare(key, &outcome)?;
            self.bind(key, &outcome);
            outcome
        }
        .boxed()
    }

    fn settle<'a>(
        &'a self,
        key: &'a Key,
        operation: &'a Operation,
        since: Timestamp,
    ) -> BoxFuture<'a, Result<Settlement, Failure>> {
        self.inner.settle(key, operation, since)
    }
}
