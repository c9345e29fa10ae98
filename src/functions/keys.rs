use rhai::Map as ScriptMap;
use rhai::plugin::*;
use serde_json::{Value, json};

use super::options::{options, script};
use super::request;
use crate::event::Change;
use crate::operation::Effect;
use crate::playbook::{Call, ScriptError};

/// The note that says which key a certificate belongs to.
pub(super) fn note_of(certificate: &str) -> String {
    format!("key of {}", one_line(certificate))
}

/// A certificate or key in one line, as Qlik Cloud takes and compares it.
pub(super) fn one_line(pem: &str) -> String {
    pem.chars().filter(|letter| !matches!(letter, '\r' | '\n')).collect::<String>().trim().to_owned()
}

fn ensure(call: &mut Call, name: &str, given: ScriptMap) -> Result<Dynamic, ScriptError> {
    let given = options(call, given, &["bits"])?;
    call.claim("keys", name)?;
    let mut arguments = json!({ "name": name });
    if let Some(bits) = given.get("bits") {
        arguments["bits"] = bits.clone();
    }
    let subject = format!("key pair \"{name}\"");
    // Nothing in Qlik Cloud changes: the pair is made in the secret sink.
    let mut pair = call.ask_local("tenantry.ensureKey", Effect::Probe, subject.clone(), arguments)?;
    let certificate = request::text_of(call, "tenantry.ensureKey", &pair, "certificate")?;
    let change = if pair["created"].as_bool() == Some(true) { Change::Created } else { Change::Unchanged };
    call.step(change, subject, Vec::new());
    if pair["expired"].as_bool() == Some(true) {
        let expires = pair["expires"].as_str().unwrap_or_default();
        call.log("warn", format!("the certificate of key \"{name}\" expired at {expires}"));
    }
    call.set_note(&note_of(&certificate), json!(name));
    if let Value::Object(map) = &mut pair {
        map.insert("name".to_owned(), json!(name));
        // Whether it was made just now must not decide what a playbook does.
        map.shift_remove("created");
        map.shift_remove("key");
    }
    script(call, &pair)
}

pub(super) fn module() -> Module {
    exported_module!(namespace)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod namespace {
    /// The key pair of this name, made once into the secret sink with a self-signed certificate. The private key never
    /// reaches the script.
    ///
    /// Gives `#{ name, certificate, publicKey, expires, expired }`.
    ///
    /// - `name`: letters, digits, `.`, `_` and `-`.
    ///
    /// ```rhai
    /// let key = keys::ensure("hb-portal");
    /// log(key.expires);
    /// ```
    #[rhai_fn(name = "ensure", return_raw)]
    pub fn ensure_key(context: NativeCallContext, name: &str) -> Result<Dynamic, Box<EvalAltResult>> {
        ensure(&mut Call::begin(&context, "keys::ensure")?, name, ScriptMap::new())
    }

    /// The key pair of this name, made with these options when there is none.
    ///
    /// - `name`: letters, digits, `.`, `_` and `-`.
    /// - `options`: `bits`, the size of the RSA key: 2048, 3072 or 4096.
    ///
    /// ```rhai
    /// let key = keys::ensure("hb-portal", #{ bits: 2048 });
    /// ```
    #[rhai_fn(name = "ensure", return_raw)]
    pub fn ensure_key_with(
        context: NativeCallContext,
        name: &str,
        options: ScriptMap,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        ensure(&mut Call::begin(&context, "keys::ensure")?, name, options)
    }
}
