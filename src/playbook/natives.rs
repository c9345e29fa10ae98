//! Rhai's built-in functions that could make much out of little in one call, with a check before they do.
//!
//! The memory budget is looked at between script steps; one native call can jump past it. These replacements estimate
//! first. Formatting and comparing also stop at a depth, because Rust does both recursively.

use std::fmt::Write as _;

use rhai::{Array, Blob, Dynamic, Engine, FnPtr, INT, ImmutableString, Map};
use serde_json::Value;

use super::branch::{Stop, with_current};
use super::call::ScriptError;
use super::coroutine::{memory_is_metered, meter};
use super::value::{MAX_DEPTH, ValueError, from_json, to_json};
use super::{Limits, Secret, thrown::Thrown};
use crate::operation::secret;

const BYTES_PER_VALUE: usize = std::mem::size_of::<Dynamic>();

/// Makes sure that `bytes` more fit into the memory budget.
fn room(bytes: usize) -> Result<(), ScriptError> {
    let refused = with_current(|shared, _| {
        let limit = shared.limits.memory;
        let held = if memory_is_metered() { usize::try_from(meter()).unwrap_or(0) } else { 0 };
        (held.saturating_add(bytes) > limit).then(|| {
            shared.stop(Stop::Memory(limit));
            shared.termination()
        })
    });
    match refused {
        Some(refused) => refused.map_or(Ok(()), Err),
        // What was thrown is shown after its session has ended.
        None if bytes > Limits::default().memory => Err("the value is too large to be shown".into()),
        None => Ok(()),
    }
}

fn size(number: INT) -> usize {
    usize::try_from(number).unwrap_or(0)
}

fn wrong(error: ValueError) -> ScriptError {
    error.to_string().into()
}

/// Roughly what a copy of `value` takes, in bytes; counting ends at the budget, so a shared structure that unfolds
/// without end is found out early.
fn weight(value: &Dynamic) -> Result<usize, ScriptError> {
    fn add(value: &Dynamic, depth: usize, limit: usize, total: &mut usize) -> Result<(), ScriptError> {
        if depth > MAX_DEPTH {
            return Err(wrong(ValueError::Depth));
        }
        *total = total.saturating_add(BYTES_PER_VALUE);
        if *total > limit {
            return Ok(());
        }
        if let Ok(items) = value.as_array_ref() {
            for item in items.iter() {
                add(item, depth + 1, limit, total)?;
            }
        } else if let Ok(map) = value.as_map_ref() {
            for (key, item) in map.iter() {
                *total = total.saturating_add(key.len() + 2 * BYTES_PER_VALUE);
                add(item, depth + 1, limit, total)?;
            }
        } else if let Ok(text) = value.as_immutable_string_ref() {
            *total = total.saturating_add(text.len());
        } else if let Ok(blob) = value.as_blob_ref() {
            *total = total.saturating_add(blob.len());
        }
        Ok(())
    }
    let limit = with_current(|shared, _| shared.limits.memory).unwrap_or(Limits::default().memory);
    let mut total = 0;
    add(value, 0, limit, &mut total)?;
    Ok(total)
}

/// How a value looks in text: strings plain, containers as Rhai writes them, secrets hidden.
fn show(value: &Dynamic, quoted: bool) -> Result<String, ScriptError> {
    room(weight(value)?.saturating_mul(2))?;
    let mut text = String::new();
    write_value(value, quoted, &mut text);
    Ok(text)
}

/// What a script threw, as text for a person: a map as JSON, so that it can be read by programs too.
pub(super) fn told(value: &Dynamic) -> Result<String, ScriptError> {
    if value.is_map() {
        room(weight(value)?.saturating_mul(2))?;
        return to_json(value).map(|json| json.to_string()).map_err(wrong);
    }
    show(value, false)
}

fn write_value(value: &Dynamic, quoted: bool, out: &mut String) {
    // Writing to a string cannot fail.
    if let Ok(items) = value.as_array_ref() {
        out.push('[');
        for (index, item) in items.iter().enumerate() {
            out.push_str(if index == 0 { "" } else { ", " });
            write_value(item, true, out);
        }
        out.push(']');
    } else if let Ok(map) = value.as_map_ref() {
        out.push_str("#{");
        for (index, (key, item)) in map.iter().enumerate() {
            let _ = write!(out, "{}{key:?}: ", if index == 0 { "" } else { ", " });
            write_value(item, true, out);
        }
        out.push('}');
    } else if value.is::<Secret>() {
        out.push_str("***");
    } else if let Some(thrown) = value.read_lock::<Thrown>() {
        let _ = write!(out, "{}", thrown.failure());
    } else if value.is_fnptr() {
        out.push_str("Fn");
    } else if quoted {
        let _ = write!(out, "{value:?}");
    } else {
        let _ = write!(out, "{value}");
    }
}

fn equal(one: &Dynamic, other: &Dynamic, depth: usize) -> Result<bool, ScriptError> {
    if depth > MAX_DEPTH {
        return Err(wrong(ValueError::Depth));
    }
    if let (Ok(one), Ok(other)) = (one.as_array_ref(), other.as_array_ref()) {
        return arrays_equal(&one, &other, depth);
    }
    if let (Ok(one), Ok(other)) = (one.as_map_ref(), other.as_map_ref()) {
        return maps_equal(&one, &other, depth);
    }
    if let (Ok(one), Ok(other)) = (one.as_immutable_string_ref(), other.as_immutable_string_ref()) {
        return Ok(*one == *other);
    }
    if let (Ok(one), Ok(other)) = (one.as_int(), other.as_int()) {
        return Ok(one == other);
    }
    if let (Ok(one), Ok(other)) = (number(one), number(other)) {
        return Ok(one.total_cmp(&other).is_eq());
    }
    if let (Ok(one), Ok(other)) = (one.as_bool(), other.as_bool()) {
        return Ok(one == other);
    }
    if let (Ok(one), Ok(other)) = (one.as_char(), other.as_char()) {
        return Ok(one == other);
    }
    Ok(one.is_unit() && other.is_unit())
}

fn number(value: &Dynamic) -> Result<f64, &'static str> {
    #[expect(clippy::cast_precision_loss, reason = "as Rhai compares an integer with a float")]
    value.as_float().or_else(|_| value.as_int().map(|integer| integer as f64))
}

fn arrays_equal(one: &Array, other: &Array, depth: usize) -> Result<bool, ScriptError> {
    if one.len() != other.len() {
        return Ok(false);
    }
    for (one, other) in one.iter().zip(other) {
        if !equal(one, other, depth + 1)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn maps_equal(one: &Map, other: &Map, depth: usize) -> Result<bool, ScriptError> {
    if one.len() != other.len() {
        return Ok(false);
    }
    for (key, one) in one {
        let Some(other) = other.get(key) else { return Ok(false) };
        if !equal(one, other, depth + 1)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Replaces the built-ins.
pub(super) fn register(engine: &mut Engine) {
    strings(engine);
    containers(engine);
    text_forms(engine);
    engine.register_fn("sleep", |_: INT| sleep()).register_fn("sleep", |_: f64| sleep());
}

fn sleep() -> Result<(), ScriptError> {
    Err("a playbook does not sleep: operations wait by themselves".into())
}

fn strings(engine: &mut Engine) {
    engine
        .register_fn("pad", |text: &mut ImmutableString, len: INT, fill: char| {
            pad(text, len, fill.encode_utf8(&mut [0; 4]))
        })
        .register_fn("pad", |text: &mut ImmutableString, len: INT, fill: &str| pad(text, len, fill))
        .register_fn("replace", |text: &mut ImmutableString, find: &str, put: &str| replace(text, find, put))
        .register_fn("replace", |text: &mut ImmutableString, find: char, put: char| {
            replace(text, find.encode_utf8(&mut [0; 4]), put.encode_utf8(&mut [0; 4]))
        })
        .register_fn("replace", |text: &mut ImmutableString, find: char, put: &str| {
            replace(text, find.encode_utf8(&mut [0; 4]), put)
        })
        .register_fn("replace", |text: &mut ImmutableString, find: &str, put: char| {
            replace(text, find, put.encode_utf8(&mut [0; 4]))
        })
        .register_fn("split", |text: &str| split(text, |text| text.split_whitespace().map(piece).collect()))
        .register_fn("split", |text: &str, by: &str| split(text, |text| text.split(by).map(piece).collect()))
        .register_fn("split", |text: &str, by: char| split(text, |text| text.split(by).map(piece).collect()))
        .register_fn("split_rev", |text: &str, by: &str| split(text, |text| text.rsplit(by).map(piece).collect()))
        .register_fn("split_rev", |text: &str, by: char| split(text, |text| text.rsplit(by).map(piece).collect()))
        .register_fn("split", |text: &str, by: &str, most: INT| {
            split(text, |text| text.splitn(pieces(most), by).map(piece).collect())
        })
        .register_fn("split", |text: &str, by: char, most: INT| {
            split(text, |text| text.splitn(pieces(most), by).map(piece).collect())
        })
        .register_fn("split_rev", |text: &str, by: &str, most: INT| {
            split(text, |text| text.rsplitn(pieces(most), by).map(piece).collect())
        })
        .register_fn("split_rev", |text: &str, by: char, most: INT| {
            split(text, |text| text.rsplitn(pieces(most), by).map(piece).collect())
        })
        .register_fn("to_chars", |text: &str| split(text, |text| text.chars().map(Dynamic::from).collect()))
        .register_fn("to_blob", |text: &str| -> Result<Blob, ScriptError> {
            room(text.len())?;
            Ok(text.as_bytes().to_vec())
        });
}

/// Into how many pieces at most, as Rhai counts: at least one.
fn pieces(most: INT) -> usize {
    size(most).max(1)
}

fn piece(text: &str) -> Dynamic {
    text.into()
}

fn pad(text: &mut ImmutableString, len: INT, fill: &str) -> Result<(), ScriptError> {
    let missing = size(len).saturating_sub(text.chars().count());
    if missing == 0 || fill.is_empty() {
        return Ok(());
    }
    room(missing.saturating_mul(4))?;
    let mut longer = text.to_string();
    longer.extend(fill.chars().cycle().take(missing));
    *text = longer.into();
    Ok(())
}

fn replace(text: &mut ImmutableString, find: &str, put: &str) -> Result<(), ScriptError> {
    room(text.matches(find).count().saturating_mul(put.len()).saturating_add(text.len()))?;
    *text = text.replace(find, put).into();
    Ok(())
}

fn split(text: &str, pieces: impl FnOnce(&str) -> Array) -> Result<Array, ScriptError> {
    // In the worst case every character becomes a string of its own.
    room(text.len().saturating_mul(3 * BYTES_PER_VALUE))?;
    Ok(pieces(text))
}

fn containers(engine: &mut Engine) {
    engine
        .register_fn("pad", |array: &mut Array, len: INT, item: Dynamic| -> Result<(), ScriptError> {
            let missing = size(len).saturating_sub(array.len());
            room(missing.saturating_mul(weight(&item)?))?;
            array.resize(array.len() + missing, item);
            Ok(())
        })
        .register_fn("blob", |len: INT| blob(len, 0))
        .register_fn("blob", blob)
        .register_fn("pad", |blob: &mut Blob, len: INT, value: INT| -> Result<(), ScriptError> {
            let missing = size(len).saturating_sub(blob.len());
            room(missing)?;
            blob.resize(blob.len() + missing, value.to_le_bytes()[0]);
            Ok(())
        })
        .register_fn("to_array", |blob: &mut Blob| -> Result<Array, ScriptError> {
            room(blob.len().saturating_mul(BYTES_PER_VALUE))?;
            Ok(blob.iter().map(|byte| Dynamic::from(INT::from(*byte))).collect())
        })
        .register_fn("==", |one: Array, other: Array| arrays_equal(&one, &other, 0))
        .register_fn("!=", |one: Array, other: Array| arrays_equal(&one, &other, 0).map(|equal| !equal))
        .register_fn("==", |one: Map, other: Map| maps_equal(&one, &other, 0))
        .register_fn("!=", |one: Map, other: Map| maps_equal(&one, &other, 0).map(|equal| !equal))
        .register_fn("to_json", |map: Map| -> Result<String, ScriptError> {
            let map = Dynamic::from_map(map);
            room(weight(&map)?.saturating_mul(2))?;
            to_json(&map).map(|json| json.to_string()).map_err(wrong)
        })
        .register_fn("parse_json", |text: &str| -> Result<Dynamic, ScriptError> {
            room(text.len().saturating_mul(2 * BYTES_PER_VALUE))?;
            let json: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
            if secret::holds_key(&json) {
                return Err(wrong(ValueError::Reserved));
            }
            from_json(&json).map_err(wrong)
        });
}

fn blob(len: INT, value: INT) -> Result<Blob, ScriptError> {
    room(size(len))?;
    Ok(vec![value.to_le_bytes()[0]; size(len)])
}

fn text_forms(engine: &mut Engine) {
    for name in ["to_string", "print"] {
        engine
            .register_fn(name, |array: Array| show(&Dynamic::from_array(array), false))
            .register_fn(name, |map: Map| show(&Dynamic::from_map(map), false))
            .register_fn(name, |_: FnPtr| "Fn".to_owned())
            .register_fn(name, |_: Secret| "***".to_owned());
    }
    for name in ["to_debug", "debug"] {
        engine
            .register_fn(name, |array: Array| show(&Dynamic::from_array(array), true))
            .register_fn(name, |map: Map| show(&Dynamic::from_map(map), true))
            .register_fn(name, |_: FnPtr| "Fn".to_owned())
            .register_fn(name, |_: Secret| "***".to_owned());
    }
    engine.register_fn("join", |array: Array, by: &str| -> Result<String, ScriptError> {
        room(weight(&Dynamic::from_array(array.clone()))?.saturating_add(by.len().saturating_mul(array.len())))?;
        let pieces: Result<Vec<String>, ScriptError> = array.iter().map(|item| show(item, false)).collect();
        Ok(pieces?.join(by))
    });
}
