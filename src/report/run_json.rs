//! Runs as JSON: the documents that docs/runs.md describes.

use jiff::SignedDuration;
use jiff::Timestamp;
use serde_json::{Value, json};
use tenantry::operation::secret::masked;
use tenantry::{Fate, History, PastOperation, RunKind, RunRecord, Site};

/// The version of these documents: raised when a reader must change.
pub(crate) const VERSION: u32 = 1;

/// A span in whole milliseconds.
pub(crate) fn milliseconds(length: SignedDuration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}

/// What is known of a run without its journal.
pub(crate) fn run_json(run: &RunRecord, short: &str) -> Value {
    let opening = &run.opening;
    json!({
        "id": opening.id,
        "short": short,
        "undo_of": match &opening.kind {
            RunKind::Run => None,
            RunKind::Undo(of) => Some(of),
        },
        "customer": opening.customer,
        "playbook": opening.playbook,
        "target": opening.target,
        "organization": opening.scope,
        "status": run.status.as_str(),
        "began": run.began.to_string(),
        "ended": run.ended.map(|ended| ended.to_string()),
        "resumable": run.is_resumable(),
        "superseded_by": run.superseded_by,
        "release": opening.release,
    })
}

/// A whole run.
pub(crate) fn history_json(history: &History) -> Value {
    let tally = history.tally();
    let report = |field: &str| history.report.as_ref().map(|report| masked(&report[field]));
    json!({
        "version": VERSION,
        "run": run_json(&history.run, &history.short),
        "totals": {
            "took_ms": milliseconds(history.at_work()),
            "processes": history.process_count(),
            "reads": tally.reads,
            "writes": tally.writes,
            "probes": tally.probes,
            "changes": history.changes().count(),
            "unsettled": history.unsettled().count(),
        },
        "processes": history.processes.iter().map(|process| json!({
            "name": process.name,
            "began": process.began.to_string(),
            "until": process.until.to_string(),
            "ending": process.ending,
            "again": process.again,
        })).collect::<Vec<_>>(),
        "steps": history.steps.iter().map(|past| json!({
            "at": past.at.to_string(),
            "change": past.step.change,
            "subject": past.step.subject,
            "call": past.step.call,
            "site": past.step.site,
            "line": line(history, past.step.site.as_ref(), past.sequence),
            "fields": past.step.fields.iter().map(|field| json!({
                "field": field.field,
                "before": masked(&field.before),
                "after": masked(&field.after),
            })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "operations": history.operations.iter().map(|attempt| operation_json(history, attempt)).collect::<Vec<_>>(),
        "logs": history.logs.iter().map(|line| json!({
            "at": line.at.to_string(),
            "level": line.level,
            "message": line.message,
            "site": line.site,
        })).collect::<Vec<_>>(),
        "files": history.files.iter().map(|file| json!({
            "path": file.path,
            "sha256": file.digest,
            "at": file.at.to_string(),
        })).collect::<Vec<_>>(),
        "accepted": history.accepted.iter().map(|accepted| json!({
            "at": accepted.at.to_string(),
            "key": accepted.key,
        })).collect::<Vec<_>>(),
        "tenant": report("tenant"),
        "output": report("output"),
        "error": report("error"),
    })
}

/// One attempt at an operation, without what was sent and answered.
pub(crate) fn operation_json(history: &History, attempt: &PastOperation) -> Value {
    let operation = &attempt.operation;
    let request = operation.request();
    let settled = attempt.settled.as_ref().map(|settled| {
        json!({
            "at": settled.at.to_string(),
            "performed": settled.performed.is_some(),
            "evidence": settled.evidence,
        })
    });
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
    json!({
        "key": attempt.key,
        "call": attempt.key.call_key(),
        "attempt": attempt.attempt,
        "process": attempt.process,
        "id": operation.id,
        "effect": operation.effect,
        "subject": operation.subject,
        "host": request.map(|request| request.host.name()),
        "method": request.map(|request| &request.method),
        "path": request.map(|request| &request.path),
        "site": operation.site,
        "began": time(attempt.began),
        "ended": time(attempt.ended),
        "fate": fate(history, attempt),
        "status": attempt.status(),
        "failure": attempt.failure(),
        "settled": settled,
        "set_aside": attempt.set_aside,
    })
}

fn fate(history: &History, attempt: &PastOperation) -> &'static str {
    Fate::as_str(history.fate(attempt))
}

/// The line of the playbook, as it was run.
fn line(history: &History, site: Option<&Site>, sequence: u64) -> Option<String> {
    Some(history.line(site?, sequence)?.text)
}
