use rhai::{Array, Dynamic, Map as ScriptMap};
use serde_json::{Map, Value};

use crate::operation::{Failure, FailureKind};
use crate::playbook::{Call, ScriptError, value};

/// The JSON form of what a script passed.
pub(super) fn json(call: &Call, what: &str, given: &Dynamic) -> Result<Value, ScriptError> {
    value::to_json(given).map_err(|error| invalid(call, format!("{what}: {error}"), None))
}

/// The script form of a document.
pub(super) fn script(call: &Call, document: &Value) -> Result<Dynamic, ScriptError> {
    value::from_json(document)
        .map_err(|error| call.throw(Failure::new(FailureKind::Unknown, "tenantry/value", error.to_string())))
}

/// The script form of a document that was looked for: `()` when there is none.
pub(super) fn script_or_unit(call: &Call, document: Option<&Value>) -> Result<Dynamic, ScriptError> {
    document.map_or(Ok(Dynamic::UNIT), |document| script(call, document))
}

/// The script form of a list of documents.
pub(super) fn scripts(call: &Call, documents: &[Value]) -> Result<Array, ScriptError> {
    documents.iter().map(|document| script(call, document)).collect()
}

/// The call itself is wrong: nothing is sent.
pub(super) fn invalid(call: &Call, title: impl Into<String>, hint: Option<String>) -> ScriptError {
    let mut failure = Failure::new(FailureKind::Denied, "tenantry/invalid", title);
    failure.hint = hint;
    call.throw(failure)
}

/// A map of options. A field that is not known is refused with the nearest that is.
pub(super) fn options(call: &Call, given: ScriptMap, known: &[&str]) -> Result<Map<String, Value>, ScriptError> {
    let Value::Object(map) = json(call, "options", &given.into())? else { return Ok(Map::new()) };
    only(call, &map, known)?;
    Ok(map)
}

/// Refuses fields that are not known.
pub(super) fn only(call: &Call, map: &Map<String, Value>, known: &[&str]) -> Result<(), ScriptError> {
    match map.keys().find(|field| !known.contains(&field.as_str())) {
        None => Ok(()),
        Some(field) => Err(invalid(call, format!("unknown field `{field}`"), Some(suggestion(field, known)))),
    }
}

/// "did you mean `x`?", or the list of what is known.
pub(super) fn suggestion(name: &str, known: &[&str]) -> String {
    match crate::suggest::nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known are {}", listed(known)),
    }
}

/// "`a`, `b`, `c`".
pub(super) fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A text field that must be given.
pub(super) fn text(call: &Call, map: &Map<String, Value>, field: &str) -> Result<String, ScriptError> {
    match map.get(field) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        Some(Value::String(_)) => Err(invalid(call, format!("`{field}` is empty"), None)),
        Some(other) => Err(invalid(call, format!("`{field}` is {}; a text is needed", kind(other)), None)),
        None => Err(invalid(call, format!("`{field}` is missing"), None)),
    }
}

/// The wanted roles as Qlik takes them, from names (`"Steward"`) or `#{ name: "Steward" }`.
pub(super) fn roles_by_name(call: &Call, map: &mut Map<String, Value>, field: &str) -> Result<(), ScriptError> {
    let Some(given) = map.get_mut(field) else { return Ok(()) };
    let named: Option<Vec<Value>> = given.as_array().and_then(|roles| {
        roles
            .iter()
            .map(|role| role.as_str().or_else(|| role["name"].as_str()))
            .map(|name| name.map(|name| serde_json::json!({ "name": name })))
            .collect()
    });
    match named {
        Some(named) => *given = named.into(),
        None => {
            return Err(invalid(
                call,
                format!("`{field}` must be a list of role names"),
                Some("role ids differ from tenant to tenant: assign by name, such as [\"Steward\"]".to_owned()),
            ));
        }
    }
    Ok(())
}

/// Role lists as sorted names: the service's order and ids carry no meaning.
pub(super) fn role_names(roles: &Value) -> Value {
    sorted(roles.as_array().into_iter().flatten().filter_map(|role| role["name"].as_str()))
}

/// A list of texts whose order carries no meaning, each once.
pub(super) fn text_set(list: &Value) -> Value {
    sorted(list.as_array().into_iter().flatten().filter_map(Value::as_str))
}

fn sorted<'t>(texts: impl Iterator<Item = &'t str>) -> Value {
    let texts: std::collections::BTreeSet<&str> = texts.collect();
    texts.into_iter().collect()
}

/// What a value is, in a script's words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "()",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}
