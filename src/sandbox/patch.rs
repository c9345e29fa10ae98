//! Qlik's dialect of JSON Patch: a list of `{op, path, value}` over a fixed list of paths, mostly `replace` only.

use serde_json::Value;

use super::context::{Context, text};
use super::refusal::Refusal;

/// One step of a patch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    /// `replace`, and what else the resource takes.
    pub(super) op: String,
    /// The path, always with its slash.
    pub(super) path: String,
    /// The value; null when there is none.
    pub(super) value: Value,
    /// Which step of the patch this is.
    index: usize,
}

impl Step {
    /// A refusal that points at this step.
    pub(super) fn refuse(&self, detail: impl Into<String>) -> Refusal {
        Refusal::bad_request(detail).pointer(&self.path)
    }

    /// The step's text.
    ///
    /// # Errors
    /// 400 when the value is none.
    pub(super) fn text(&self) -> Result<&str, Refusal> {
        self.value.as_str().ok_or_else(|| self.refuse(format!("the value of step {} must be text", self.index)))
    }

    /// The step's yes or no.
    ///
    /// # Errors
    /// 400 when the value is neither.
    pub(super) fn flag(&self) -> Result<bool, Refusal> {
        self.value
            .as_bool()
            .ok_or_else(|| self.refuse(format!("the value of step {} must be true or false", self.index)))
    }
}

/// Reads the request's patch: `allowed` names each operation with its paths. A path may come without its slash, as
/// the groups API has it. A path that ends in `/-` adds to a list.
///
/// # Errors
/// 400 when the body is no patch, or a step is none of the allowed.
pub(super) fn steps(context: &Context<'_>, allowed: &[(&str, &[&str])]) -> Result<Vec<Step>, Refusal> {
    let steps = any_steps(context)?;
    for step in &steps {
        let (op, path) = (&*step.op, &*step.path);
        match allowed.iter().find(|(held, _)| *held == op) {
            None => {
                let ops: Vec<&str> = allowed.iter().map(|(op, _)| *op).collect();
                let detail = format!("the operation `{op}` is not supported; supported: {}", ops.join(", "));
                return Err(step.refuse(detail));
            }
            Some((_, paths)) if !paths.contains(&path) => {
                let detail = format!("`{op}` is not supported on `{path}`; it is on: {}", paths.join(", "));
                return Err(step.refuse(detail));
            }
            Some(_) => {}
        }
    }
    Ok(steps)
}

/// Reads the request's patch, whatever its operations and paths.
///
/// # Errors
/// 400 when the body is no list.
pub(super) fn any_steps(context: &Context<'_>) -> Result<Vec<Step>, Refusal> {
    let Some(list) = context.body.as_array() else {
        return Err(Refusal::bad_request("the body must be a list of {op, path, value}"));
    };
    let steps = list.iter().enumerate().map(|(index, item)| Step {
        op: text(item, "op").to_owned(),
        path: format!("/{}", text(item, "path").trim_start_matches('/')),
        value: item.get("value").cloned().unwrap_or(Value::Null),
        index,
    });
    Ok(steps.collect())
}

/// Puts a value at a top-level or nested path of a document; objects on the way are made.
pub(super) fn set(document: &mut Value, path: &str, value: Value) {
    let mut place = document;
    for segment in path.trim_start_matches('/').split('/') {
        if !place.is_object() {
            *place = Value::Object(serde_json::Map::new());
        }
        place = &mut place[segment];
    }
    *place = value;
}
