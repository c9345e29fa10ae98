//! What a real tenant answered, with the changes of a model laid over it.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// The real answer, changed where the model's two answers differ: `before` is what it answers without what was asked of it,
/// `after` with it.
pub(super) fn over(real: &Value, before: &Value, after: &Value) -> Value {
    if before == after {
        return real.clone();
    }
    match (real["data"].as_array(), before["data"].as_array(), after["data"].as_array()) {
        (Some(real_items), before_items, Some(after_items)) => {
            let before_items = before_items.map(Vec::as_slice).unwrap_or_default();
            let mut laid = real.clone();
            laid["data"] = Value::Array(items(real_items, before_items, after_items));
            laid
        }
        _ => match (real.as_array(), before.as_array(), after.as_array()) {
            (Some(real), Some(before), Some(after)) => Value::Array(items(real, before, after)),
            _ => fields(real, before, after),
        },
    }
}

/// What tells one item of a list from another.
fn name(item: &Value) -> Option<String> {
    let text = |field: &str| item[field].as_str();
    let seat = || Some(format!("{}:{}", text("type")?, text("subject")?));
    // An item of the index is known by what it is of: its own id the model cannot know before the service tells it.
    ["resourceId", "id", "clientId", "arnFingerPrint", "qID"]
        .into_iter()
        .find_map(text)
        .map(str::to_owned)
        .or_else(seat)
}

fn by_name(items: &[Value]) -> HashMap<String, &Value> {
    items.iter().filter_map(|item| Some((name(item)?, item))).collect()
}

fn items(real: &[Value], before: &[Value], after: &[Value]) -> Vec<Value> {
    let (shown, known, now) = (by_name(real), by_name(before), by_name(after));
    let mut laid = Vec::new();
    for item in real {
        let Some(name) = name(item) else {
            laid.push(item.clone());
            continue;
        };
        match (known.get(&name), now.get(&name)) {
            (Some(_), None) => {}
            (Some(before), Some(after)) => laid.push(fields(item, before, after)),
            (None, _) => laid.push(item.clone()),
        }
    }
    let is_new = |item: &&Value| name(item).is_none_or(|name| !known.contains_key(&name) && !shown.contains_key(&name));
    laid.extend(after.iter().filter(is_new).cloned());
    laid
}

/// One document: each field as the real service shows it, unless the model changed it.
fn fields(real: &Value, before: &Value, after: &Value) -> Value {
    let (Value::Object(real), Value::Object(before), Value::Object(after)) = (real, before, after) else {
        return if before == after { real.clone() } else { after.clone() };
    };
    let mut laid = Map::new();
    for (field, value) in real {
        match (before.get(field), after.get(field)) {
            (Some(before), Some(after)) if before != after => {
                laid.insert(field.clone(), fields(value, before, after));
            }
            (Some(_), None) => {}
            _ => {
                laid.insert(field.clone(), value.clone());
            }
        }
    }
    for (field, value) in after {
        if !real.contains_key(field) && before.get(field) != Some(value) {
            laid.insert(field.clone(), value.clone());
        }
    }
    Value::Object(laid)
}
