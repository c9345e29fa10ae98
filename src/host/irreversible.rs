//! Which planned writes cannot be taken back, and why.

use std::collections::HashMap;

use serde_json::Value;

use crate::contract::contract;
use crate::interpreter::Planned;
use crate::operation::{Effect, Key, Operation, Payload, RecordedOutcome, Response, secret};
use crate::store::{Entry, Logged};
use crate::undo::{Way, reversals};

/// Notes at each write why it cannot be taken back: what the contract's table says, else what an undo of such a run would
/// say. `asked` is everything that the script asked, with its answer: an undo knows no more of how things were before.
pub(super) fn note(planned: &mut [Planned], asked: Vec<(Key, Operation, Response)>) {
    if planned.is_empty() {
        return;
    }
    // How things were before matters where something that is there changes.
    let adds_only = planned.iter().all(|write| write.operation.effect == Effect::Create);
    let tells = |(_, operation, answer): &(Key, Operation, Response)| {
        operation.effect.is_write() || (!adds_only && matches!(answer.payload, Payload::Json(_)))
    };
    let entries: Vec<Logged> = (0..)
        .zip(asked.into_iter().filter(tells))
        .map(|(sequence, (key, operation, answer))| Logged {
            sequence,
            at: jiff::Timestamp::UNIX_EPOCH,
            entry: Entry::Outcome {
                key,
                attempt: 0,
                operation: Some(Box::new((&operation).into())),
                outcome: RecordedOutcome::from(&Ok(answer)),
            },
        })
        .collect();
    let mut undone: HashMap<Key, String> = HashMap::new();
    for reversal in reversals(&entries) {
        if let Way::Not(why) = reversal.way {
            undone.insert(reversal.of, why.to_string());
        }
    }
    for write in planned {
        let told = contract().irreversible(&write.operation.id);
        let told = told.filter(|told| !told.with_secret || has_secret(write.answer.json()));
        // Of an answer that is assumed nobody knows what it would name.
        let undone = if write.assumed { None } else { undone.remove(&write.key) };
        write.irreversible = told.map(|told| told.reason.clone()).or(undone);
    }
}

fn has_secret(answer: &Value) -> bool {
    match answer {
        Value::Object(map) => secret::name(answer).is_some() || map.values().any(has_secret),
        Value::Array(items) => items.iter().any(has_secret),
        _ => false,
    }
}
