//! A run once more, from its record alone: no network, no project, no secret.

use std::collections::{HashSet, VecDeque};

use serde::Serialize;
use serde_json::Value;

use super::Host;
use super::drive::{Counts, Driven};
use super::recorded_run::{RecordedRun, answer, last_began};
use super::report::RunReport;
use crate::event::Step;
use crate::interpreter::{BORROWED, Permitted, Replay};
use crate::operation::{Failure, FailureKind, Key, Operation, Outcome};
use crate::playbook::{Diagnostic, Session, Told};
use crate::store::{Entry, Logged};

/// What came of a replay.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Replayed {
    /// The run.
    pub run: String,
    /// Its playbook.
    pub playbook: String,
    /// Its customer's code.
    pub customer: String,
    /// How many operations were answered from the record.
    pub operations: usize,
    /// How many steps were told.
    pub steps: usize,
    /// Whether the record reaches to the end of the playbook. When it does not, as of a run that was cancelled, what was
    /// told so far is compared, and no report.
    pub complete: bool,
    /// Where it first differs from what was recorded.
    pub difference: Option<Difference>,
}

/// Where a replay differs from its record.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// What differs.
    pub what: String,
    /// What was recorded; `None` when nothing was.
    pub recorded: Option<Value>,
    /// What the replay came to; `None` when it came to nothing.
    pub replayed: Option<Value>,
}

impl Replayed {
    /// Whether report and steps are, byte for byte, the ones that were recorded.
    #[must_use]
    pub fn is_identical(&self) -> bool {
        self.difference.is_none()
    }
}

impl Host {
    /// Runs a recorded run once more from its record alone, and compares what it tells and reports with what was recorded.
    /// The beginning of its id is enough.
    ///
    /// # Errors
    /// When there is no such run, it is none of a playbook, or its journal cannot be read.
    pub async fn replay(&self, id: &str) -> Result<Replayed, Diagnostic> {
        let (host, id) = (self.clone(), id.to_owned());
        let ended = || Diagnostic::new("the host has ended");
        let Some(io) = self.0.io.as_ref() else { return Err(ended()) };
        io.spawn_blocking(move || replay(&host, &id)).await.unwrap_or_else(|_| Err(ended()))
    }
}

fn replay(host: &Host, id: &str) -> Result<Replayed, Diagnostic> {
    let recorded = RecordedRun::open(host, id)?;
    let (session, answers) = recorded.start(host)?;
    let mut pass = Pass::of(&recorded);
    pass.drive(session, &answers);
    Ok(pass.compared())
}

/// The script gone through once.
struct Pass<'r> {
    recorded: &'r RecordedRun,
    last: Last<'r>,
    operations: usize,
    counts: Counts,
    steps: Vec<Step>,
    /// Why it ended before the script did.
    ended: Option<Failure>,
    output: Option<Result<serde_json::Map<String, Value>, Diagnostic>>,
}

impl<'r> Pass<'r> {
    fn of(recorded: &'r RecordedRun) -> Self {
        let last = Last::of(&recorded.entries);
        Self { recorded, last, operations: 0, counts: Counts::default(), steps: Vec::new(), ended: None, output: None }
    }

    fn answered(&mut self, key: &Key, operation: &Operation, outcome: &Outcome) {
        // What a rule forbade was never recorded.
        let on_record = self.recorded.earlier.record.knows(key) && !self.last.performed.contains(key);
        self.counts.add(operation, outcome, on_record);
        self.operations += 1;
    }

    /// Nobody waits for anything, so the answers go in as they are asked for.
    fn drive(&mut self, mut session: Session, answers: &Permitted<Replay>) {
        let mut open: VecDeque<(Key, Operation)> = VecDeque::new();
        loop {
            open.extend(session.asked());
            self.steps.extend(session.told().into_iter().filter_map(|told| match told {
                Told::Step(step) => Some(step),
                Told::Log { .. } | Told::Read { .. } => None,
            }));
            if session.is_finished() {
                break;
            }
            let Some((key, operation)) = open.pop_front() else { break };
            let outcome = answer(answers, &key, &operation);
            if let Err(failure) = &outcome
                && failure.kind == FailureKind::Cancelled
            {
                self.ended = Some(failure.clone());
                session.end(&operation, failure.clone());
                break;
            }
            self.answered(&key, &operation, &outcome);
            session.answer(&key, outcome);
        }
        // Writes that were under way when the script ended were waited for.
        for (key, operation) in open.into_iter().filter(|(_, operation)| operation.effect.is_write()) {
            let outcome = answer(answers, &key, &operation);
            if !matches!(&outcome, Err(failure) if failure.kind == FailureKind::Cancelled) {
                self.answered(&key, &operation, &outcome);
            }
        }
        self.output = Some(session.finish());
        self.steps.sort_by(|one, other| one.call.cmp(&other.call));
    }

    fn compared(self) -> Replayed {
        let RecordedRun { record, earlier, .. } = self.recorded;
        let opening = &record.opening;
        let diverged = self.ended.as_ref().filter(|failure| failure.code != "tenantry/record-ends");
        let complete = self.ended.is_none() && self.last.is_of_script();
        let (operations, steps) = (self.operations, self.steps.len());
        let mut recorded = earlier.kept.clone();
        recorded.sort_by(|one, other| one.call.cmp(&other.call));
        let difference = match diverged {
            Some(failure) => {
                let what = failure.detail.clone().unwrap_or_else(|| failure.title.clone());
                Some(Difference { what, recorded: None, replayed: None })
            }
            None if complete => different_steps(&recorded, &self.steps).or_else(|| {
                let recorded = self.last.report?;
                let replayed = self.report(recorded);
                first_difference("report", recorded, &replayed).or_else(|| {
                    // The same fields in another order are other bytes.
                    let what = "the order of the report's fields".to_owned();
                    let bytes = |value: &Value| serde_json::to_vec(value).unwrap_or_default();
                    (bytes(recorded) != bytes(&replayed)).then_some(Difference { what, recorded: None, replayed: None })
                })
            }),
            None => {
                let both = |steps: &[Step], others: &[Step]| -> Vec<Step> {
                    let calls: HashSet<_> = others.iter().map(|step| &step.call).collect();
                    steps.iter().filter(|step| calls.contains(&step.call)).cloned().collect()
                };
                different_steps(&both(&recorded, &self.steps), &both(&self.steps, &recorded))
            }
        };
        Replayed {
            run: opening.id.clone(),
            playbook: opening.playbook.clone(),
            customer: opening.customer.clone(),
            operations,
            steps,
            complete,
            difference,
        }
    }

    /// The report as the last process would have written it.
    fn report(self, recorded: &Value) -> Value {
        let RecordedRun { record, earlier, .. } = self.recorded;
        let told = self.steps.into_iter().filter(|step| step.change.is_write()).collect();
        let output = self.output.unwrap_or_else(|| Err(Diagnostic::new("the playbook was not driven")));
        let driven = Driven { output, counts: self.counts, changes: earlier.changes(told) };
        let report = RunReport::new(&record.opening.id, &record.opening.customer, driven, None);
        // A report is data of our own and always has a text.
        let mut report = serde_json::to_value(&report).unwrap_or_default();
        // The tenant is the registry's word, not the playbook's; and who went through a script twice counted twice.
        let counts = ["requests", "reads", "writes", "replayed"];
        let others = counts.into_iter().filter(|_| self.last.accepted);
        for field in others.chain(["tenant"]) {
            report[field] = recorded[field].clone();
        }
        report
    }
}

/// What the last process that was at work on a run did.
struct Last<'e> {
    /// The operations that it performed, in place of finding them on record.
    performed: HashSet<&'e Key>,
    /// Whether it was accepted that the playbook had changed.
    accepted: bool,
    report: Option<&'e Value>,
}

impl<'e> Last<'e> {
    fn of(entries: &'e [Logged]) -> Self {
        let began = last_began(entries);
        let accepted = entries.iter().any(|logged| matches!(logged.entry, Entry::Accepted { .. }));
        let mut last = Self { performed: HashSet::new(), accepted, report: None };
        let mut intended: HashSet<&Key> = HashSet::new();
        for logged in &entries[began..] {
            match &logged.entry {
                Entry::Intent { key, .. } => drop(intended.insert(key)),
                Entry::Outcome { key, .. } => drop(last.performed.insert(key)),
                Entry::Settled { key, evidence, .. } => {
                    if intended.contains(key) && !evidence.starts_with(BORROWED) {
                        last.performed.insert(key);
                    }
                }
                Entry::Ended { report, .. } => last.report = Some(report),
                Entry::Began { .. }
                | Entry::Accepted { .. }
                | Entry::File { .. }
                | Entry::Step(_)
                | Entry::Log { .. } => {}
            }
        }
        last
    }

    /// Whether the script itself decided how the run ended: nobody cancelled it, and no rule of the host ended it.
    fn is_of_script(&self) -> bool {
        let Some(report) = self.report else { return false };
        let error = &report["error"];
        let of_host = error["failure"].is_object() && error["operation"].is_null();
        error["cancelled"] != true && error["failure"]["kind"] != "cancelled" && !of_host
    }
}

fn different_steps(recorded: &[Step], replayed: &[Step]) -> Option<Difference> {
    let value = |step: &Step| serde_json::to_value(step).unwrap_or_default();
    (0..recorded.len().max(replayed.len())).find_map(|place| {
        let (one, other) = (recorded.get(place).map(value), replayed.get(place).map(value));
        if one == other {
            return None;
        }
        Some(Difference { what: format!("step {}", place + 1), recorded: one, replayed: other })
    })
}

/// The first place at which two documents differ.
fn first_difference(place: &str, recorded: &Value, replayed: &Value) -> Option<Difference> {
    match (recorded, replayed) {
        (Value::Object(one), Value::Object(other)) => {
            let keys = one.keys().chain(other.keys().filter(|key| !one.contains_key(*key)));
            keys.into_iter().find_map(|key| differing(&format!("{place}.{key}"), one.get(key), other.get(key)))
        }
        (Value::Array(one), Value::Array(other)) => (0..one.len().max(other.len()))
            .find_map(|index| differing(&format!("{place}[{index}]"), one.get(index), other.get(index))),
        _ if recorded == replayed => None,
        _ => Some(Difference {
            what: place.to_owned(),
            recorded: Some(recorded.clone()),
            replayed: Some(replayed.clone()),
        }),
    }
}

fn differing(place: &str, recorded: Option<&Value>, replayed: Option<&Value>) -> Option<Difference> {
    if let (Some(one), Some(other)) = (recorded, replayed) {
        return first_difference(place, one, other);
    }
    (recorded.is_some() || replayed.is_some()).then(|| Difference {
        what: place.to_owned(),
        recorded: recorded.cloned(),
        replayed: replayed.cloned(),
    })
}
