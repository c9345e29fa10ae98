use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde_json::Value;

use super::record::{Answer, Record};
use super::settlement::decide_hint;
use super::{Interpreter, Settlement};
use crate::operation::{
    Body, Call, CallKey, Content, Failure, FailureKind, HeaderText, Key, Operation, Outcome, Payload, Processes,
    RecordedOutcome, Response, Site, Written, secret,
};
use crate::store::{Entry, Fingerprints, RunLog, StateError};
use crate::surroundings::Clock;

/// How often a write is attempted in all when its end is not known and a look-up says that it was not carried out.
const ATTEMPTS: u32 = 3;

/// Records every operation of a run, and answers from the record what the run has done before.
///
/// The intent to write is durable before anything is sent, its outcome before the script goes on. Reads are handed to the
/// log without waiting: whatever is written later makes them durable first.
///
/// In a run that goes on with an earlier one, what finished host calls asked is answered from the record, and nothing is sent. A host
/// call that was not finished starts again: what it reads is read again, and what it wrote is not written twice. A
/// playbook that asks something else than before ends the run, unless changes are accepted.
///
/// Nothing is sent when the journal cannot be written: the run ends with the code `tenantry/journal`.
pub struct Journaled<I> {
    inner: I,
    journal: Journaling,
    accepts_changes: bool,
    ending: Option<Ending>,
    progress: Mutex<Progress>,
}

/// How the evidence begins for a write that was not performed at its key, because it is on record under another.
pub(crate) const BORROWED: &str = "recorded as ";

/// What a journal is written with.
#[derive(Clone)]
pub struct Journaling {
    /// The run's id.
    pub run: String,
    /// The run's log.
    pub log: RunLog,
    /// What the log held when the run went on; empty for a new run.
    pub record: Record,
    /// Fingerprints for the secrets that writes refer to.
    pub fingerprints: Fingerprints,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

/// Resolves when the run is to end.
type Ending = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

#[derive(Default)]
struct Progress {
    record: Record,
    /// What was answered from the record.
    replayed: HashSet<Key>,
    /// Where changes were met that can only be accepted by starting again.
    restart: Option<Key>,
    /// Where what was recorded had stood, when the playbook asks something else.
    diverged: Option<Site>,
}

/// What a person says about a write whose end is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It was carried out.
    Performed,
    /// It was not.
    NotPerformed,
}

impl<I> fmt::Debug for Journaled<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journaled").field("run", &self.journal.run).finish_non_exhaustive()
    }
}

impl<I: Interpreter> Journaled<I> {
    /// A journal of what `inner` performs. Before a run that goes on starts its script, [`settle_left`](Self::settle_left)
    /// must have succeeded.
    pub fn new(inner: I, mut journal: Journaling) -> Self {
        let record = std::mem::take(&mut journal.record);
        let progress = Mutex::new(Progress { record, ..Progress::default() });
        Self { inner, journal, accepts_changes: false, ending: None, progress }
    }

    /// The same, going on live where the playbook has changed.
    ///
    /// A changed host call goes on live as a whole. When part of it was answered from the record already, the run ends
    /// with the code `tenantry/diverged`, and [`restart`](Self::restart) says where: start the script again with
    /// [`live_from`](Self::live_from) that key.
    #[must_use]
    pub fn accept_changes(mut self, accept: bool) -> Self {
        self.accepts_changes = accept;
        self
    }

    /// The same, giving up look-ups when the run is to end: `ending` resolves then.
    #[must_use]
    pub fn until(mut self, ending: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        self.ending = Some(Arc::new(ending));
        self
    }

    /// Goes on live from the host call of this key: what was recorded of it and of all after it does not count any more.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn live_from(&self, key: &Key) -> Result<(), Failure> {
        self.append(&Entry::Accepted { key: key.clone() }).await?;
        self.progress().record.accept(key);
        Ok(())
    }

    /// What earlier processes of the run have written, for its session to know.
    #[must_use]
    pub fn written(&self) -> Written {
        self.progress().record.written()
    }

    /// Which process carried out each host call, for its session to know.
    #[must_use]
    pub fn processes(&self) -> Processes {
        self.progress().record.processes()
    }

    /// Where changes were met that can only be accepted by starting the script again.
    #[must_use]
    pub fn restart(&self) -> Option<Key> {
        self.progress().restart.clone()
    }

    /// Where in the playbook as it was stood what the run had asked, when the run ended because it asks something else.
    #[must_use]
    pub fn diverged(&self) -> Option<Site> {
        self.progress().diverged.clone()
    }

    /// Whether this host call had finished before this process went to work, so that it is gone through on the record.
    #[must_use]
    pub fn is_finished(&self, call: &CallKey) -> bool {
        self.progress().record.is_finished(&call.branch, call.call)
    }

    /// Whether the operation of this key was answered from the record: nothing was sent for it.
    #[must_use]
    pub fn is_replayed(&self, key: &Key) -> bool {
        self.progress().replayed.contains(key)
    }

    /// Settles every write that an earlier process has begun and whose end is not known: by a look-up, or as `decided` says. Durable
    /// when this returns.
    ///
    /// # Errors
    /// When it cannot be told of one, or somebody decides what needs no decision; nothing was sent then that writes.
    pub async fn settle_left(&self, decided: &BTreeMap<Key, Decision>) -> Result<(), Failure> {
        let left = self.progress().record.unsettled();
        if let Some(idle) = decided.keys().find(|key| !left.iter().any(|unsettled| unsettled.key == **key)) {
            let title = format!("what became of {idle} is known: there is nothing to settle");
            let failure = Failure::new(FailureKind::Denied, "tenantry/settled", title);
            return Err(match left.first() {
                Some(one) => failure.hint(format!("not known is what became of {}", one.key)),
                None => failure.hint("leave --settled out"),
            });
        }
        for unsettled in left {
            let key = &unsettled.key;
            let (settlement, evidence) = match decided.get(key) {
                Some(Decision::Performed) => (Settlement::Performed(decided_answer()), "a person"),
                Some(Decision::NotPerformed) => (Settlement::NotPerformed, "a person"),
                None => {
                    let operation = unsettled.operation.restore();
                    let found = self.inner.settle(key, &operation, unsettled.since).await;
                    (found.map_err(|failure| self.with_key(key, failure))?, "a look-up")
                }
            };
            let performed = self.settled(key, unsettled.attempt, settlement, evidence).await?;
            self.progress().record.settle(key, unsettled.attempt, performed);
        }
        Ok(())
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn append(&self, entry: &Entry) -> Result<(), Failure> {
        self.journal.log.append(entry).await.map_err(|error| self.broken(&error))
    }

    fn broken(&self, error: &StateError) -> Failure {
        let failure =
            Failure::new(FailureKind::Cancelled, "tenantry/journal", "the run cannot be recorded, so it ends")
                .detail(error.to_string());
        let resume = format!("put that right, then `tenantry runs resume {}`", self.journal.run);
        failure.hint(match error.hint() {
            Some(hint) => format!("{hint}; {resume}"),
            None => resume,
        })
    }

    async fn answer(&self, key: &Key, operation: &Operation) -> Outcome {
        let answer = self.progress().record.answer(key, operation);
        match answer {
            Answer::Recorded(outcome) => {
                self.progress().replayed.insert(key.clone());
                outcome
            }
            Answer::Borrowed(outcome, lender) => {
                self.borrow(key, operation, &outcome, &lender).await?;
                self.progress().replayed.insert(key.clone());
                outcome
            }
            Answer::Live => self.live(key, operation).await,
            Answer::Diverged(divergence) => {
                let failure = divergence.failure(key);
                self.progress().diverged.clone_from(&divergence.place);
                let run = &self.journal.run;
                if !self.accepts_changes {
                    return Err(failure.hint(format!(
                        "resume with the playbook as it was, or go on with the changed one from there: \
                         `tenantry runs resume {run} --accept-changes`"
                    )));
                }
                let begun = {
                    let mut progress = self.progress();
                    let in_call = |other: &Key| other.branch == key.branch && other.call == key.call;
                    let begun = progress.replayed.iter().any(in_call);
                    if begun {
                        progress.restart = Some(key.clone());
                    }
                    begun
                };
                if begun {
                    return Err(failure.hint("the script must be started again to go on live from there"));
                }
                self.live_from(key).await?;
                self.live(key, operation).await
            }
        }
    }

    async fn live(&self, key: &Key, operation: &Operation) -> Outcome {
        if operation.effect.is_write() {
            return self.write(key, operation).await;
        }
        let outcome = self.inner.perform(key, operation).await;
        if !matches!(&outcome, Err(failure) if failure.kind == FailureKind::Cancelled) {
            let attempt = self.progress().record.next_attempt(key);
            self.journal.log.note(&Entry::Outcome {
                key: key.clone(),
                attempt,
                operation: Some(Box::new(operation.into())),
                outcome: (&outcome).into(),
            });
        }
        outcome
    }

    async fn write(&self, key: &Key, operation: &Operation) -> Outcome {
        let mut left = ATTEMPTS;
        loop {
            let attempt = self.intend(key, operation).await?;
            let since = self.journal.clock.now();
            let outcome = self.inner.perform(key, operation).await;
            left -= 1;
            let failure = match outcome {
                Err(failure) if failure.kind == FailureKind::Unknown => failure,
                outcome => return self.concluded(key, attempt, outcome).await,
            };
            let settlement = match self.look_up(key, operation, since).await {
                Some(Ok(settlement)) => settlement,
                // Cancelled is cancelled: what became of it is found out when the run goes on.
                Some(Err(unsettled)) if unsettled.kind == FailureKind::Cancelled => return Err(unsettled),
                Some(Err(unsettled)) => {
                    let failure = merged(failure, self.with_key(key, unsettled));
                    return self.concluded(key, attempt, Err(failure)).await;
                }
                None => return self.concluded(key, attempt, Err(failure)).await,
            };
            let performed = self.settled(key, attempt, settlement, "a look-up").await?;
            match performed {
                Some(answer) => return answer.into(),
                None if left > 0 => {}
                // It is known now that nothing was done.
                None => {
                    return self.concluded(key, attempt, Err(Failure { kind: FailureKind::Unsent, ..failure })).await;
                }
            }
        }
    }

    /// Makes the intent durable.
    async fn intend(&self, key: &Key, operation: &Operation) -> Result<u32, Failure> {
        let attempt = self.progress().record.next_attempt(key);
        let mut secrets = BTreeMap::new();
        for name in references(operation) {
            // A secret that cannot be read is told by whoever needs its text.
            if let Ok(fingerprint) = self.journal.fingerprints.of(&name).await {
                secrets.insert(name, fingerprint);
            }
        }
        let operation = Box::new(operation.into());
        self.append(&Entry::Intent { key: key.clone(), attempt, operation, secrets }).await?;
        Ok(attempt)
    }

    /// Makes the outcome of an attempt durable.
    async fn concluded(&self, key: &Key, attempt: u32, outcome: Outcome) -> Outcome {
        let recorded = RecordedOutcome::from(&outcome);
        self.append(&Entry::Outcome { key: key.clone(), attempt, operation: None, outcome: recorded }).await?;
        outcome
    }

    /// Makes what was found out of an attempt durable. Gives its answer when it was carried out.
    async fn settled(
        &self,
        key: &Key,
        attempt: u32,
        settlement: Settlement,
        evidence: &str,
    ) -> Result<Option<RecordedOutcome>, Failure> {
        let performed = match settlement {
            Settlement::Performed(response) => Some(RecordedOutcome::from(&Ok(response))),
            Settlement::NotPerformed => None,
        };
        let (key, evidence) = (key.clone(), evidence.to_owned());
        self.append(&Entry::Settled { key, attempt, performed: performed.clone(), evidence }).await?;
        Ok(performed)
    }

    /// Records here what was recorded of the same write elsewhere in its host call.
    async fn borrow(&self, key: &Key, operation: &Operation, outcome: &Outcome, lender: &Key) -> Result<(), Failure> {
        let attempt = self.progress().record.next_attempt(key);
        let (operation, secrets) = (Box::new(operation.into()), BTreeMap::new());
        self.journal.log.note(&Entry::Intent { key: key.clone(), attempt, operation, secrets });
        let performed = Some(RecordedOutcome::from(outcome));
        let evidence = format!("{BORROWED}{lender}");
        self.append(&Entry::Settled { key: key.clone(), attempt, performed, evidence }).await
    }

    /// Looks what became of a write; `None` when the run is to end.
    async fn look_up(&self, key: &Key, operation: &Operation, since: Timestamp) -> Option<Result<Settlement, Failure>> {
        let look_up = self.inner.settle(key, operation, since);
        let Some(ending) = &self.ending else { return Some(look_up.await) };
        tokio::select! {
            biased;
            () = ending() => None,
            settled = look_up => Some(settled),
        }
    }

    /// The failure with the command that decides it.
    fn with_key(&self, key: &Key, failure: Failure) -> Failure {
        if failure.code == "tenantry/unsettled" && failure.hint.as_deref() == Some(&decide_hint("RUN", "KEY")) {
            return failure.hint(decide_hint(&self.journal.run, &key.to_string()));
        }
        failure
    }
}

impl<I: Interpreter> Interpreter for Journaled<I> {
    fn perform<'a>(&'a self, key: &'a Key, operation: &'a Operation) -> BoxFuture<'a, Outcome> {
        self.answer(key, operation).boxed()
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

/// What failed, and why it cannot be told what became of it.
fn merged(failure: Failure, unsettled: Failure) -> Failure {
    let detail = match (failure.detail.clone(), unsettled.detail) {
        (Some(first), Some(second)) if first != second => Some(format!("{first}; {second}")),
        (first, second) => first.or(second),
    };
    let hint = failure.hint.clone().or(unsettled.hint);
    Failure { detail, hint, ..failure }
}

/// A person knows that it was carried out, not what it answered.
fn decided_answer() -> Response {
    Response { status: 200, headers: BTreeMap::new(), payload: Payload::Empty }
}

/// The names of the secrets that an operation refers to.
fn references(operation: &Operation) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    match &operation.call {
        Call::Local { arguments } => collect(arguments, &mut names),
        Call::Request(request) => {
            let bearers = request.headers.values().filter_map(|header| match header {
                HeaderText::Bearer(name) => Some(name.clone()),
                HeaderText::Text(_) => None,
            });
            names.extend(bearers);
            match &request.body {
                Body::Json(body) => collect(body, &mut names),
                Body::Multipart(parts) => {
                    for part in parts {
                        if let Content::Json(content) = &part.content {
                            collect(content, &mut names);
                        }
                    }
                }
                Body::Empty | Body::File { .. } | Body::Exported { .. } => {}
            }
        }
    }
    names
}

fn collect(value: &Value, names: &mut BTreeSet<String>) {
    if let Some(name) = secret::name(value) {
        names.insert(name.to_owned());
        return;
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, names)),
        Value::Object(members) => members.values().for_each(|member| collect(member, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
