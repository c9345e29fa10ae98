//! Whether a document shows what a request wanted.

use serde_json::Value;

use crate::operation::{PatchStep, secret};

/// How a wanted value compares with what the service tells, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shown {
    /// It is there.
    So,
    /// The service does not tell: a secret, or a field it leaves out.
    Untold,
    /// Something else is there.
    Otherwise,
}

/// Compares a value with a document, which may hold more: fields the service adds, lists in another order.
pub(crate) fn shows(wanted: &Value, held: &Value) -> Shown {
    match (wanted, held) {
        (Value::Null, Value::Null) => Shown::So,
        (Value::Null, _) => Shown::Otherwise,
        (wanted, _) if secret::name(wanted).is_some() => Shown::Untold,
        (_, Value::Null) => Shown::Untold,
        (Value::Object(wanted), Value::Object(held)) => {
            all(wanted.iter().map(|(name, value)| shows(value, held.get(name).unwrap_or(&Value::Null))))
        }
        (Value::Array(wanted), Value::Array(held)) if wanted.len() == held.len() => {
            all(wanted.iter().map(|wanted| among(wanted, held)))
        }
        (Value::Number(wanted), Value::Number(held)) if wanted.as_f64() == held.as_f64() => Shown::So,
        (wanted, held) if wanted == held => Shown::So,
        _ => Shown::Otherwise,
    }
}

/// Compares the steps of a JSON Patch, in Qlik's dialect, with the document after it.
pub(super) fn shows_patch(steps: &[Value], held: &Value) -> Shown {
    all(steps.iter().map(|step| shows_step(step, held)))
}

fn shows_step(step: &Value, held: &Value) -> Shown {
    let step = PatchStep::of(step);
    let (word, wanted) = (step.word.as_str(), step.value);
    let Some(path) = step.pointer() else { return Shown::Untold };
    let at = |path: &str| held.pointer(path).unwrap_or(&Value::Null);
    match word {
        "replace" | "set" => shows(wanted, at(&path)),
        "add" => match path.strip_suffix("/-") {
            Some(list) => at(list).as_array().map_or(Shown::Untold, |items| among(wanted, items)),
            // At a place in a list it pushes the others on.
            None if path.rsplit('/').next().is_some_and(|last| last.parse::<usize>().is_ok()) => Shown::Untold,
            None => shows(wanted, at(&path)),
        },
        "unset" if at(&path).is_null() => Shown::So,
        "unset" => Shown::Otherwise,
        "remove-value" => match at(&path) {
            Value::Array(items) if among(wanted, items) == Shown::So => Shown::Otherwise,
            Value::Array(_) => Shown::So,
            _ => Shown::Untold,
        },
        _ => Shown::Untold,
    }
}

fn among(wanted: &Value, items: &[Value]) -> Shown {
    items.iter().map(|item| shows(wanted, item)).min().unwrap_or(Shown::Otherwise)
}

fn all(parts: impl Iterator<Item = Shown>) -> Shown {
    parts.max().unwrap_or(Shown::So)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_may_hold_more_but_nothing_else() {
        let held = json!({
            "id": "g1", "name": "viewers", "description": "", "count": 5.0,
            "roles": [{ "id": "r2", "name": "b" }, { "id": "r1", "name": "a" }],
        });
        for (wanted, shown) in [
            (json!({ "name": "viewers", "count": 5 }), Shown::So),
            (json!({ "name": "Viewers" }), Shown::Otherwise),
            (json!({ "roles": [{ "name": "a" }, { "name": "b" }] }), Shown::So),
            (json!({ "roles": [{ "name": "a" }] }), Shown::Otherwise),
            (json!({ "roles": [{ "name": "a" }, { "name": "c" }] }), Shown::Otherwise),
            (json!({ "name": "viewers", "secret": { "$secret": "s" } }), Shown::Untold),
            (json!({ "name": { "$secret": "s" } }), Shown::Untold),
            (json!({ "flag": false }), Shown::Untold),
            (json!({ "name": "x", "flag": false }), Shown::Otherwise),
            (json!({ "flag": null }), Shown::So),
            (json!({ "name": null }), Shown::Otherwise),
            (json!({}), Shown::So),
        ] {
            assert_eq!(shows(&wanted, &held), shown, "{wanted}");
        }
    }

    #[test]
    fn a_patch_shows_when_every_step_does() {
        let held = json!({ "name": "n", "roles": [{ "name": "a" }], "hostnames": ["h", "alias"], "gone": null });
        for (step, shown) in [
            (json!({ "op": "replace", "path": "/name", "value": "n" }), Shown::So),
            (json!({ "op": "replace", "path": "name", "value": "n" }), Shown::So),
            (json!({ "Op": "Replace", "Path": "/name", "Value": "m" }), Shown::Otherwise),
            (json!({ "op": "replace", "path": "/hostnames/1", "value": "alias" }), Shown::So),
            (json!({ "op": "add", "path": "/roles/-", "value": { "name": "a" } }), Shown::So),
            (json!({ "op": "add", "path": "/roles/-", "value": { "name": "b" } }), Shown::Otherwise),
            (json!({ "op": "add", "path": "/roles/0", "value": { "name": "a" } }), Shown::Untold),
            (json!({ "op": "add", "path": "/name", "value": "n" }), Shown::So),
            (json!({ "op": "unset", "path": "/gone" }), Shown::So),
            (json!({ "op": "unset", "path": "/name" }), Shown::Otherwise),
            (json!({ "op": "remove-value", "path": "/roles", "value": { "name": "b" } }), Shown::So),
            (json!({ "op": "remove-value", "path": "/roles", "value": { "name": "a" } }), Shown::Otherwise),
            (json!({ "op": "promote-options", "path": "/options" }), Shown::Untold),
            (json!({ "op": "replace" }), Shown::Untold),
        ] {
            assert_eq!(shows_patch(std::slice::from_ref(&step), &held), shown, "{step}");
        }
        let steps = [
            json!({ "op": "replace", "path": "/name", "value": "n" }),
            json!({ "op": "replace", "path": "/x", "value": 1 }),
        ];
        assert_eq!(shows_patch(&steps, &held), Shown::Untold);
    }
}
