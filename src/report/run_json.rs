//! Runs as JSON: the documents that docs/runs.md describes.

use jiff::SignedDuration;
use serde_json::{Value, json};
use tenantry::{RunKind, RunRecord};

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
