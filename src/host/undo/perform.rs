use std::sync::Arc;

use futures_util::stream::Stream;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tracing::Instrument as _;

use super::{Undo, UndoStep, UndoVerdict, key, restore};
use crate::event::{Change, Event, Step};
use crate::host::connection::Turn;
use crate::host::drive::{Counts, Driven};
use crate::host::open_log::OpenLog;
use crate::host::report::RunReport;
use crate::host::run::{Cancel, run_id};
use crate::host::teller::{Teller, listen};
use crate::interpreter::{Interpreter, Journaled, Journaling, Record};
use crate::operation::{Failure, FailureKind, Operation, Outcome, refused_items};
use crate::playbook::{Diagnostic, Stop};
use crate::store::{Entry, Logged, Opening, RunFilter, RunKind, RunLog, RunRecord, RunState};
use crate::undo::{Reversal, Way};

/// What came of an undo.
#[derive(Clone, Debug, Serialize)]
pub struct UndoReport {
    /// What became of each write of the run, in the order in which it was done.
    pub steps: Vec<UndoStep>,
    /// The undo as a run of its own.
    #[serde(flatten)]
    pub report: RunReport,
}

/// The layer that records.
type Recorder = Journaled<Arc<dyn Interpreter>>;

impl Undo {
    /// What the undo tells while it goes. The stream ends with it.
    pub fn events(&mut self) -> impl Stream<Item = Event> + Send + Unpin + use<> {
        listen(&mut self.listeners)
    }

    /// What ends the undo at its next operation boundary, from elsewhere.
    #[must_use]
    pub fn canceller(&self) -> Cancel {
        Cancel(self.ending.clone())
    }

    /// Does it, step by step; each is looked at again first. A step that fails does not stop the others, but a tenant is
    /// deactivated only when everything before went well. What failed is taken up again by another undo of the run.
    pub async fn perform(mut self) -> UndoReport {
        let listeners = std::mem::take(&mut self.listeners);
        let host = self.host.clone();
        let (id, customer) = (run_id(&host.0), self.record.opening.customer.clone());
        let teller = Teller {
            run: id.clone(),
            customer: customer.clone(),
            target: self.record.opening.target.clone(),
            listeners,
        };
        let done = host.on_io(async move { Ok(self.all(teller).await) }).await;
        done.unwrap_or_else(|error| UndoReport {
            steps: Vec::new(),
            report: RunReport::new(&id, &customer, Driven::refused(Diagnostic::of_failure(&error.failure)), None),
        })
    }

    async fn all(self, teller: Teller) -> UndoReport {
        let span = teller.span();
        self.in_journal(teller).instrument(span).await
    }

    async fn in_journal(self, mut teller: Teller) -> UndoReport {
        let customer = self.record.opening.customer.clone();
        let begun = match self.begin(&mut teller).await {
            Ok(begun) => begun,
            Err(failure) => {
                let driven = Driven::refused(Diagnostic::of_failure(&failure));
                let report = RunReport::new(&teller.run, &customer, driven, None);
                return UndoReport { steps: self.steps.into_iter().map(|(_, step)| step).collect(), report };
            }
        };
        teller.started();
        let Begun { mut log, recorder, first, turn } = begun;
        let mut doing =
            Doing { teller: &teller, log: &log, recorder: &recorder, counts: Counts::default(), next: first };
        let mut steps = Vec::with_capacity(self.steps.len());
        let (mut changes, mut stopped, mut failed) = (Vec::new(), None, 0);
        for (reversal, mut step) in self.steps {
            if stopped.is_none() && self.ending.borrow().is_some() {
                stopped = Some(Diagnostic::of_stop(&Stop::Cancelled));
            }
            if stopped.is_none() && step.verdict.is_write() {
                if step.verdict == UndoVerdict::Deactivate && failed > 0 {
                    step.fail("a step before it failed; later the tenant would refuse to have that done");
                } else {
                    match doing.step(&reversal, &mut step).await {
                        Ok(told) => changes.extend(told),
                        Err(failure) if failure.kind == FailureKind::Cancelled => {
                            stopped = Some(Diagnostic::of_failure(&failure));
                        }
                        Err(failure) => step.fail(&failure.to_string()),
                    }
                }
                failed += usize::from(step.verdict == UndoVerdict::Failed);
            }
            steps.push(step);
        }
        let counts = doing.counts;
        let output = match (stopped, failed) {
            (Some(diagnostic), _) => Err(diagnostic),
            (None, 0) => Ok(Map::from_iter([("undone".to_owned(), json!(self.record.opening.id))])),
            (None, failed) => {
                let of = &self.record.opening.id;
                let why =
                    steps.iter().find_map(|step| step.why.clone().filter(|_| step.verdict == UndoVerdict::Failed));
                Err(Diagnostic::new(format!("{failed} of the steps failed: {}", why.unwrap_or_default()))
                    .hint(format!("put that right, then `tenantry runs undo {of}` does what is left")))
            }
        };
        let tenant = self.connection.tenant_of(&self.host.0, &customer).await;
        let driven = Driven { output, counts, changes };
        let mut report = RunReport::new(&teller.run, &customer, driven, tenant);
        if let Err(error) = log.end(&report).await {
            report.not_recorded(error);
        }
        // With the layers go the leases, and then the turn.
        drop(recorder);
        drop(turn);
        teller.finished(&report);
        UndoReport { steps, report }
    }

    /// Begins the undo in the journal, or takes up an earlier one that did not come to its end.
    async fn begin(&self, teller: &mut Teller) -> Result<Begun, Failure> {
        let host = &self.host.0;
        let opening = &self.record.opening;
        let earlier = self.earlier().await?;
        if let Some(earlier) = &earlier {
            teller.run.clone_from(&earlier.opening.id);
        }
        let run = teller.run.clone();
        let (lease, turn) = self.connection.take(host, &opening.customer, &run).await?;
        let journal = host.state.journal();
        let (log, entries) = if earlier.is_some() {
            let (_, entries, log) = journal.reopen(&run).await?;
            (log, entries)
        } else {
            let log = journal
                .begin(Opening {
                    id: run.clone(),
                    kind: RunKind::Undo(opening.id.clone()),
                    release: env!("CARGO_PKG_VERSION").to_owned(),
                    plan: None,
                    ..opening.clone()
                })
                .await?;
            (log, Vec::new())
        };
        log.note(&Entry::Began { process: host.state.process() });
        for open in Record::of(&entries).unsettled() {
            let evidence = "an undo looks at each step again".to_owned();
            log.note(&Entry::Settled { key: open.key, attempt: open.attempt, performed: None, evidence });
        }
        let journaling = Journaling {
            run: run.clone(),
            log: RunLog::clone(&log),
            record: Record::of(&entries),
            fingerprints: host.fingerprints.clone(),
            clock: Arc::clone(&host.clock),
        };
        let performs = self.connection.interpreter(host, lease, &opening.customer, &run, None, host.timeouts.operation);
        let recorder = Journaled::new(performs, journaling);
        Ok(Begun { log: OpenLog::new(log, &run, &opening.customer), recorder, first: after(&entries), turn })
    }

    /// The last undo of the run, when it did not come to its end.
    async fn earlier(&self) -> Result<Option<RunRecord>, Failure> {
        let opening = self.record.opening.clone();
        let filter = RunFilter {
            scope: Some(opening.scope),
            customer: Some(opening.customer),
            playbook: Some(opening.playbook),
            limit: None,
        };
        let runs = self.host.0.state.journal().ask(move |journal| journal.runs(&filter)).await?;
        let last = runs.into_iter().find(|run| run.opening.kind == RunKind::Undo(opening.id.clone()));
        Ok(last.filter(|run| run.status != RunState::Succeeded))
    }
}

/// The first step's number that no entry uses: an undo that goes on answers nothing from its record, it looks again.
fn after(entries: &[Logged]) -> usize {
    let calls = entries.iter().filter_map(|logged| match &logged.entry {
        Entry::Intent { key, .. } | Entry::Outcome { key, .. } | Entry::Settled { key, .. } => Some(key.call),
        _ => None,
    });
    calls.max().map_or(0, |call| usize::try_from(call).unwrap_or(usize::MAX).saturating_add(1))
}

struct Begun {
    log: OpenLog,
    recorder: Recorder,
    first: usize,
    turn: Turn,
}

/// An undo at work.
struct Doing<'u> {
    teller: &'u Teller,
    log: &'u RunLog,
    recorder: &'u Recorder,
    counts: Counts,
    next: usize,
}

impl Doing<'_> {
    async fn ask(&mut self, operation: &Operation) -> Outcome {
        let key = key(self.next, operation);
        let outcome = self.recorder.perform(&key, operation).await;
        self.counts.add(operation, &outcome, false);
        outcome
    }

    /// Takes back one write; what there is to tell of it.
    async fn step(&mut self, reversal: &Reversal, step: &mut UndoStep) -> Result<Option<Step>, Failure> {
        let done = self.take_back(reversal, step).await;
        self.next += 1;
        let Some(change) = done? else { return Ok(None) };
        let told = Step {
            change,
            subject: step.subject.clone(),
            fields: step.fields.clone(),
            site: step.site.clone(),
            call: None,
        };
        self.log.note(&Entry::Step(told.clone()));
        self.teller.stepped(&told);
        Ok(Some(told))
    }

    async fn take_back(&mut self, reversal: &Reversal, step: &mut UndoStep) -> Result<Option<Change>, Failure> {
        match &reversal.way {
            Way::WithTenant | Way::Not(_) => Ok(None),
            Way::Remove(operation) => match self.ask(operation).await {
                Ok(_) => Ok(Some(Change::Deleted)),
                Err(failure) if matches!(failure.status, Some(404 | 410)) => {
                    step.verdict = UndoVerdict::Nothing;
                    Ok(None)
                }
                Err(failure) => Err(failure),
            },
            Way::Reverse(operation) => {
                let answer = self.ask(operation).await?;
                match refused(answer.json()) {
                    Some(why) => step.fail(&why),
                    None if step.verdict == UndoVerdict::Release => return Ok(Some(Change::Deleted)),
                    None => return Ok(Some(Change::Acted)),
                }
                Ok(None)
            }
            Way::Restore { look, fields, form } => {
                let current = self.ask(look).await?.json().clone();
                (step.fields, step.kept) = (Vec::new(), Vec::new());
                let given = restore(step, fields, &current);
                if given.is_empty() {
                    return Ok(None);
                }
                let operation = form.write(&current, &given);
                self.ask(&operation).await?;
                Ok(Some(Change::Updated))
            }
        }
    }
}

impl UndoStep {
    fn fail(&mut self, why: &str) {
        self.verdict = UndoVerdict::Failed;
        self.why = Some(why.to_owned());
    }
}

/// What a 207 refused, item by item; what is gone already is no refusal.
fn refused(answer: &Value) -> Option<String> {
    let refused: Vec<String> = refused_items(answer)
        .filter(|item| item["status"] != 404 && item["status"] != "404")
        .map(|item| {
            let what = item["title"].as_str().or_else(|| item["detail"].as_str()).unwrap_or("refused");
            format!("{}: {what}", item["subject"].as_str().unwrap_or("?"))
        })
        .collect();
    (!refused.is_empty()).then(|| refused.join("; "))
}
