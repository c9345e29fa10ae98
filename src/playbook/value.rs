//! The boundary between script values and JSON.
//!
//! Depth is at most 128; integers that Rhai cannot hold are refused rather than rounded; a secret crosses as a
//! reference, and scripts cannot write one themselves.

use rhai::{Array, Dynamic, Map};
use serde_json::{Number, Value};

use super::Secret;
use super::thrown::Thrown;
use crate::operation::secret;

/// How deep values may be nested.
pub const MAX_DEPTH: usize = 128;

/// A value cannot cross.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// Nested too deep, perhaps within itself.
    #[error("the value is nested more than {MAX_DEPTH} deep")]
    Depth,
    /// A number that does not survive.
    #[error("the number {0} cannot be held exactly; write it as a string")]
    Number(String),
    /// A function, blob or handle.
    #[error("a value of type {0} cannot be sent; {1}")]
    Type(String, &'static str),
    /// A map that looks like a secret reference.
    #[error("the key `{}` is reserved; use secret(\"name\")", secret::KEY)]
    Reserved,
}

/// The JSON form of a script value.
///
/// # Errors
/// When the value has no JSON form; see [`ValueError`].
pub fn to_json(value: &Dynamic) -> Result<Value, ValueError> {
    to_json_at(value, 0)
}

fn to_json_at(value: &Dynamic, depth: usize) -> Result<Value, ValueError> {
    if depth > MAX_DEPTH {
        return Err(ValueError::Depth);
    }
    if value.is_unit() {
        return Ok(Value::Null);
    }
    if let Ok(flag) = value.as_bool() {
        return Ok(Value::Bool(flag));
    }
    if let Ok(number) = value.as_int() {
        return Ok(Value::from(number));
    }
    if let Ok(number) = value.as_float() {
        return Number::from_f64(number).map(Value::Number).ok_or_else(|| ValueError::Number(number.to_string()));
    }
    if let Ok(character) = value.as_char() {
        return Ok(Value::String(character.to_string()));
    }
    if let Ok(text) = value.as_immutable_string_ref() {
        return Ok(Value::String(text.to_string()));
    }
    if let Ok(items) = value.as_array_ref() {
        return items.iter().map(|item| to_json_at(item, depth + 1)).collect();
    }
    if let Ok(map) = value.as_map_ref() {
        if map.contains_key(secret::KEY) {
            return Err(ValueError::Reserved);
        }
        let entries = map.iter().map(|(key, item)| Ok((key.to_string(), to_json_at(item, depth + 1)?)));
        return Ok(Value::Object(entries.collect::<Result<_, ValueError>>()?));
    }
    if let Some(secret) = value.read_lock::<Secret>() {
        return Ok(secret::reference(secret.name()));
    }
    if let Some(thrown) = value.read_lock::<Thrown>() {
        return Ok(thrown.to_json());
    }
    let advice =
        if value.is_fnptr() { "call it and use its result" } else { "use one of its properties, such as `id`" };
    let name = value.type_name().rsplit("::").next().unwrap_or_default().to_owned();
    Err(ValueError::Type(name, advice))
}

/// The script form of a JSON value.
///
/// # Errors
/// When it is nested too deep or holds a number that Rhai cannot.
pub fn from_json(value: &Value) -> Result<Dynamic, ValueError> {
    convert(value, 0, &|container, _| container)
}

/// The script form of the customer's values, which are read over and over: a script gets a copy at each access, so in
/// a large customer what lies deep is shared, and what is shared cannot be written to.
///
/// The lists and maps at the top are never shared. Rhai locks a shared value while one of its methods runs, so a closure
/// that looks at what is being mapped, or a branch that does so meanwhile, would be refused.
///
/// # Errors
/// As [`from_json`]; also when it holds a secret reference, which only the host may write.
pub fn from_json_read_only(value: &Value) -> Result<Dynamic, ValueError> {
    if secret::holds_key(value) {
        return Err(ValueError::Reserved);
    }
    let large = size(value) > SHARED_FROM;
    convert(value, 0, &|container, depth| {
        if large && depth >= 2 { container.into_read_only().into_shared() } else { container }
    })
}

/// A customer of more values than this is large.
const SHARED_FROM: usize = 256;

fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(size).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}

fn convert(value: &Value, depth: usize, wrap: &impl Fn(Dynamic, usize) -> Dynamic) -> Result<Dynamic, ValueError> {
    if depth > MAX_DEPTH {
        return Err(ValueError::Depth);
    }
    Ok(match value {
        Value::Null => Dynamic::UNIT,
        Value::Bool(flag) => (*flag).into(),
        Value::String(text) => text.into(),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => integer.into(),
            // A JSON integer too large for 64 bits arrives as a float: it has lost digits already.
            (None, Some(float)) if number.is_f64() && float.abs() < 9.0e15 => float.into(),
            _ => return Err(ValueError::Number(number.to_string())),
        },
        Value::Array(items) => {
            let items = items.iter().map(|item| convert(item, depth + 1, wrap));
            wrap(Dynamic::from_array(items.collect::<Result<Array, _>>()?), depth)
        }
        Value::Object(_) if secret::name(value).is_some() => {
            Dynamic::from(Secret::new(secret::name(value).unwrap_or_default()))
        }
        Value::Object(map) => {
            let entries = map.iter().map(|(key, item)| Ok((key.as_str().into(), convert(item, depth + 1, wrap)?)));
            wrap(Dynamic::from_map(entries.collect::<Result<Map, ValueError>>()?), depth)
        }
    })
}

/// Makes a value share nothing that could be changed, function pointers' captured values included. What it shares is
/// copied; what is its own already stays as it is.
///
/// Read-only values stay shared: nobody can change them.
pub(super) fn detach(value: &mut Dynamic) {
    // What is locked is in use by the method that waits for this branch; it cannot be looked into.
    if value.is_read_only() || value.is_locked() {
        return;
    }
    if value.is_shared() {
        *value = std::mem::take(value).flatten();
    }
    if let Ok(mut items) = value.as_array_mut() {
        items.iter_mut().for_each(detach);
    } else if let Ok(mut map) = value.as_map_mut() {
        map.values_mut().for_each(detach);
    } else if let Some(mut function) = value.write_lock::<rhai::FnPtr>() {
        function.iter_curry_mut().for_each(detach);
    }
}
