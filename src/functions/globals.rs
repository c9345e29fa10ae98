use rhai::Map as ScriptMap;
use rhai::plugin::*;
use serde_json::{Value, json};

use super::options::{invalid, json};
use crate::operation::{Effect, secret};
use crate::playbook::{Call, ScriptError, Secret};

/// The time, as the host has it.
pub(super) fn now(call: &mut Call) -> Result<String, ScriptError> {
    text(call, "tenantry.now")
}

/// A new random identifier.
pub(super) fn uuid(call: &mut Call) -> Result<String, ScriptError> {
    text(call, "tenantry.uuid")
}

fn text(call: &mut Call, id: &str) -> Result<String, ScriptError> {
    let answer = call.ask_local(id, Effect::Read, "", Value::Null)?;
    match answer.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(super::request::unexpected(call, id, "a text")),
    }
}

pub(super) fn module() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// The time the host has, as text: `2026-11-24T09:00:00Z`. It is recorded: a resumed run sees the same.
    ///
    /// ```rhai
    /// log("begun at " + now());
    /// ```
    #[rhai_fn(name = "now", return_raw)]
    pub fn now_text(context: NativeCallContext) -> Result<String, Box<EvalAltResult>> {
        now(&mut Call::begin(&context, "now")?)
    }

    /// A new random identifier (UUID version 4). It is recorded: a resumed run sees the same.
    ///
    /// ```rhai
    /// log("run " + uuid());
    /// ```
    #[rhai_fn(name = "uuid", return_raw)]
    pub fn uuid_text(context: NativeCallContext) -> Result<String, Box<EvalAltResult>> {
        uuid(&mut Call::begin(&context, "uuid")?)
    }

    /// The secret of this name, from where the project says. It may go into a request or into a `.json` or `.yaml` template;
    /// it cannot be printed, compared or joined to a text. An error when there is none.
    ///
    /// - `name`: its name in `tenantry.toml`.
    ///
    /// ```rhai
    /// let client_secret = secret("entra");
    /// ```
    #[rhai_fn(name = "secret", return_raw)]
    pub fn secret_named(context: NativeCallContext, name: &str) -> Result<Secret, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "secret")?;
        let arguments = json!({ "name": name });
        let answer = call.ask_local("tenantry.secret", Effect::Read, format!("secret {name}"), arguments)?;
        Ok(Secret::new(secret::name(&answer).unwrap_or(name)))
    }

    /// Adds to the run's output, which the report shows. Later values replace earlier ones of the same name.
    ///
    /// - `values`: a map.
    ///
    /// ```rhai
    /// output(#{ url: tenants::ensure(customer).url });
    /// ```
    #[rhai_fn(name = "output", return_raw)]
    pub fn output_values(context: NativeCallContext, values: ScriptMap) -> Result<(), Box<EvalAltResult>> {
        let call = Call::begin(&context, "output")?;
        let Value::Object(map) = json(&call, "output", &values.into())? else { return Ok(()) };
        call.output(map);
        Ok(())
    }

    /// Writes a line to the run's log.
    ///
    /// - `message`: any value.
    ///
    /// ```rhai
    /// log("groups done");
    /// ```
    #[rhai_fn(name = "log", return_raw)]
    pub fn log_info(context: NativeCallContext, message: Dynamic) -> Result<(), Box<EvalAltResult>> {
        let call = Call::begin(&context, "log")?;
        call.log("info", said(&context, &call, message)?);
        Ok(())
    }

    /// Writes a line of this level to the run's log.
    ///
    /// - `level`: `"debug"`, `"info"` or `"warn"`.
    /// - `message`: any value.
    ///
    /// ```rhai
    /// log("warn", "no groups given");
    /// ```
    #[rhai_fn(name = "log", return_raw)]
    pub fn log_level(context: NativeCallContext, level: &str, message: Dynamic) -> Result<(), Box<EvalAltResult>> {
        let call = Call::begin(&context, "log")?;
        if !["debug", "info", "warn"].contains(&level) {
            let hint = "the levels are `debug`, `info` and `warn`".to_owned();
            return Err(invalid(&call, format!("`{level}` is not a log level"), Some(hint)));
        }
        call.log(level, said(&context, &call, message)?);
        Ok(())
    }
}

/// A text as it is, a handle as it names itself, anything else as JSON; secrets are hidden.
fn said(context: &NativeCallContext, call: &Call, message: Dynamic) -> Result<String, ScriptError> {
    if let Ok(text) = message.as_immutable_string_ref() {
        return Ok(text.to_string());
    }
    if message.is::<Secret>() {
        return Ok("***".to_owned());
    }
    if message.is_variant() {
        return context.call_native_fn::<ImmutableString>("to_string", (message,)).map(Into::into);
    }
    Ok(hidden(json(call, "log", &message)?).to_string())
}

fn hidden(value: Value) -> Value {
    match value {
        value if secret::name(&value).is_some() => Value::from("***"),
        Value::Array(items) => items.into_iter().map(hidden).collect(),
        Value::Object(map) => map.into_iter().map(|(key, item)| (key, hidden(item))).collect(),
        plain => plain,
    }
}
