//! References to secrets inside JSON: `{"$secret": "name"}` stands where the text will go.
//!
//! Only the interpreter that talks to the socket replaces a reference by its text. Scripts cannot forge one: the
//! boundary between script values and JSON refuses maps with this key.

use futures_util::future::BoxFuture;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::Failure;

/// The reserved key of a secret reference.
pub const KEY: &str = "$secret";

/// The reference to the secret called `name`.
#[must_use]
pub fn reference(name: &str) -> Value {
    json!({ KEY: name })
}

/// The name inside a reference, when `value` is one.
#[must_use]
pub fn name(value: &Value) -> Option<&str> {
    let map = value.as_object()?;
    if map.len() == 1 { map.get(KEY)?.as_str() } else { None }
}

/// Whether the reserved key stands anywhere in `value`.
#[must_use]
pub fn holds_key(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(holds_key),
        Value::Object(map) => map.contains_key(KEY) || map.values().any(holds_key),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// A copy of `value` as it may be shown: with `***` in place of every reference.
#[must_use]
pub fn masked(value: &Value) -> Value {
    match value {
        reference if name(reference).is_some() => json!("***"),
        Value::Array(items) => items.iter().map(masked).collect(),
        Value::Object(map) => map.iter().map(|(key, item)| (key.clone(), masked(item))).collect(),
        plain => plain.clone(),
    }
}

/// A copy of `value` in which every reference is replaced by what `resolve` says; the first error ends it.
///
/// # Errors
/// Whatever `resolve` returns.
pub fn resolve<E>(value: &Value, resolve_one: &mut impl FnMut(&str) -> Result<String, E>) -> Result<Value, E> {
    if let Some(name) = name(value) {
        return resolve_one(name).map(Value::String);
    }
    Ok(match value {
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| resolve(item, resolve_one)).collect::<Result<_, E>>()?)
        }
        Value::Object(map) => Value::Object(
            map.iter().map(|(key, item)| Ok((key.clone(), resolve(item, resolve_one)?))).collect::<Result<_, E>>()?,
        ),
        plain => plain.clone(),
    })
}

/// Where references get their text from, and where secrets that a service hands out are kept.
pub trait SecretStore: Send + Sync {
    /// The text of the secret called `name`.
    ///
    /// # Errors
    /// When there is none of that name, or its source cannot be read: a [`Failure`] of kind `Denied`.
    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<SecretString, Failure>>;

    /// Keeps a secret found in an answer for the life of this process: it can be read again.
    fn keep(&self, name: &str, text: SecretString);

    /// Keeps a secret that a service hands out only once, durably where the store can.
    ///
    /// # Errors
    /// When it cannot be kept.
    fn keep_for_good<'a>(&'a self, name: &'a str, text: SecretString) -> BoxFuture<'a, Result<(), Failure>> {
        self.keep(name, text);
        Box::pin(std::future::ready(Ok(())))
    }
}
