//! What `runs explain` tells, as JSON: the documents that docs/runs.md describes.

use serde_json::{Value, json};
use tenantry::operation::secret::masked;
use tenantry::operation::{RecordedBody, RecordedCall, RecordedOperation, RecordedOutcome};
use tenantry::{Explained, ExplainedCall, ExplainedObject, ExplainedOperation, Object, PastOperation};

use super::run_json::{VERSION, operation_json, run_json};

/// A call, or a thing.
pub(crate) fn explained_json(explained: &Explained) -> Value {
    match explained {
        Explained::Call(call) => json!({ "version": VERSION, "call": call_json(call) }),
        Explained::Object(object) => whole_object(object),
    }
}

/// What a thing is.
pub(crate) fn object_json(object: &Object) -> Value {
    json!({ "subject": object.subject, "id": object.id, "host": object.host, "customer": object.customer })
}

fn call_json(explained: &ExplainedCall) -> Value {
    let history = &explained.history;
    let line = explained.line();
    json!({
        "call": explained.call,
        "run": run_json(&history.run, &history.short),
        "site": line.as_ref().map(|line| &line.site),
        "line": line.as_ref().map(|line| &line.text),
        "stack": explained.traced.as_ref().and_then(|traced| traced.stack.as_ref()),
        "files": explained.traced.as_ref().map(|traced| {
            traced.files.iter().map(|file| json!({
                "path": file.path,
                "sha256": history.files.iter().rev().find(|used| used.path == file.path).map(|used| &used.digest),
                "call": file.call,
                "site": file.site,
            })).collect::<Vec<_>>()
        }),
        "steps": explained.steps().map(|past| json!({
            "at": past.at.to_string(),
            "change": past.step.change,
            "subject": past.step.subject,
        })).collect::<Vec<_>>(),
        "operations": explained.operations.iter().map(|operation| of_operation(explained, operation)).collect::<Vec<_>>(),
    })
}

fn of_operation(explained: &ExplainedCall, operation: &ExplainedOperation) -> Value {
    let attempts = operation.attempts.iter().filter_map(|place| explained.attempt(*place));
    let last = explained.last(operation);
    json!({
        "key": operation.key,
        "attempts": attempts.map(|attempt| operation_json(&explained.history, attempt)).collect::<Vec<_>>(),
        "sent": last.map(|attempt| sent(&attempt.operation)),
        "answer": last.and_then(PastOperation::answer).and_then(|answer| match answer {
            RecordedOutcome::Answer { json, .. } => json.as_ref().map(masked),
            RecordedOutcome::Failure(_) => None,
        }),
        "inputs": operation.inputs.iter().map(|input| json!({
            "place": input.place,
            "value": masked(&input.value),
            "equals": input.equals,
        })).collect::<Vec<_>>(),
    })
}

/// What was sent, without secrets.
pub(super) fn sent(operation: &RecordedOperation) -> Value {
    match &operation.call {
        RecordedCall::Local(arguments) => masked(arguments),
        RecordedCall::Request(request) => match &request.body {
            RecordedBody::Empty => Value::Null,
            RecordedBody::Json(body) => masked(body),
            RecordedBody::File(sha256) => json!({ "sha256": sha256 }),
            RecordedBody::Exported { host, content } => json!({ "from": host.name(), "content": content }),
            RecordedBody::Form(parts) => {
                parts.iter().map(|(name, _, content)| (name.clone(), masked(content))).collect()
            }
        },
    }
}

fn whole_object(explained: &ExplainedObject) -> Value {
    json!({
        "version": VERSION,
        "object": object_json(&explained.object),
        "made": explained.made.as_ref().map(call_json),
        "mentions": explained.mentions.iter().filter_map(|mention| {
            let (history, attempt) = explained.of(*mention)?;
            Some(json!({
                "relation": mention.relation,
                "run": run_json(&history.run, &history.short),
                "operation": operation_json(history, attempt),
            }))
        }).collect::<Vec<_>>(),
        "unread": explained.unread,
    })
}
