//! Values inside documents: where a change put them, and how a service takes them.

use serde_json::{Map, Value};

use crate::operation::secret;

/// `value` with only those fields that `like` has: services show more of an object than they take.
pub(super) fn project(value: &Value, like: &Value) -> Value {
    match (value, like) {
        (Value::Object(map), Value::Object(like)) => map
            .iter()
            .filter_map(|(field, value)| Some((field.clone(), project(value, like.get(field)?))))
            .collect::<Map<_, _>>()
            .into(),
        (Value::Array(items), Value::Array(like)) => {
            let Some(like) = like.first() else { return value.clone() };
            items.iter().map(|item| project(item, like)).collect()
        }
        (value, _) => value.clone(),
    }
}

/// The parts of a JSON pointer; Qlik's patches leave the first slash out at times.
pub(super) fn parts(pointer: &str) -> Vec<String> {
    let pointer = pointer.strip_prefix('/').unwrap_or(pointer);
    pointer.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect()
}

/// The value at a pointer.
pub(super) fn at<'v>(document: &'v Value, pointer: &str) -> Option<&'v Value> {
    parts(pointer).iter().try_fold(document, |value, part| match value {
        Value::Object(map) => map.get(part),
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Sets the value at a pointer, where there is a place for it.
pub(super) fn set(document: &mut Value, pointer: &str, value: Value) {
    let parts = parts(pointer);
    let Some((last, path)) = parts.split_last() else { return };
    let place = path.iter().try_fold(document, |value, part| match value {
        Value::Object(map) => Some(map.entry(part.clone()).or_insert_with(|| Value::Object(Map::new()))),
        Value::Array(items) => items.get_mut(part.parse::<usize>().ok()?),
        _ => None,
    });
    match place {
        Some(Value::Object(map)) => drop(map.insert(last.clone(), value)),
        Some(Value::Array(items)) => match last.parse::<usize>() {
            Ok(index) if index < items.len() => items[index] = value,
            Ok(index) if index == items.len() => items.push(value),
            _ => {}
        },
        _ => {}
    }
}

/// Whether a value holds a secret, or what a service shows in place of one.
pub(super) fn is_secret(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty() && text.chars().all(|letter| letter == '*'),
        Value::Array(items) => items.iter().any(is_secret),
        Value::Object(map) => map.contains_key(secret::KEY) || map.values().any(is_secret),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
