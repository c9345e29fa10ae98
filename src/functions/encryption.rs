use rhai::plugin::*;
use rhai::{Array, Map as ScriptMap};
use serde_json::{Map, Value, json};

use super::converge::{self, Resource, Updated};
use super::options::{invalid, options, script, scripts, text};
use super::request::{patch, text_of};
use super::tenant::Tenant;
use crate::event::{Change, FieldChange};
use crate::operation::Outcome;
use crate::playbook::{Call, ScriptError};

/// `tenant.encryption`.
#[derive(Clone, Debug)]
pub(super) struct Encryption(pub(super) Tenant);

struct Wanted<'t> {
    tenant: &'t Tenant,
    arn: String,
    /// `name` and `description`.
    fields: Map<String, Value>,
}

impl Resource for Wanted<'_> {
    fn scope(&self) -> String {
        self.tenant.host_name().to_owned()
    }

    fn subject(&self) -> String {
        subject(&self.arn)
    }

    fn wanted(&self) -> &Map<String, Value> {
        &self.fields
    }

    fn find(&self, call: &mut Call) -> Result<Option<Value>, ScriptError> {
        key(call, self.tenant, &self.arn)
    }

    fn create(&self, call: &mut Call) -> Result<Outcome, ScriptError> {
        let mut body = Value::Object(self.fields.clone());
        body["arn"] = json!(self.arn);
        // The only kind there is (encryption specification).
        body["keyprovider"] = json!("AWS-KMS");
        self.tenant.ask("createEncryptionKeyprovider", self.subject()).json(body).attempt(call)
    }

    fn update(&self, call: &mut Call, current: &Value, changes: &[FieldChange]) -> Result<Updated, ScriptError> {
        let fingerprint = text_of(call, "listEncryptionKeyproviders", current, "arnFingerPrint")?;
        let body = patch(changes, &self.fields, |field| format!("/{field}"));
        let ask = self.tenant.ask("patchEncryptionKeyprovider", self.subject());
        ask.var("arnFingerPrint", fingerprint).json(body).send(call)?;
        Ok(Updated::InPlace)
    }
}

fn subject(arn: &str) -> String {
    format!("encryption key {arn}")
}

/// All keys, Qlik's own among them. The published type wraps them in `errors`, its examples are bare lists: both are read.
fn all(call: &mut Call, tenant: &Tenant) -> Result<Vec<Value>, ScriptError> {
    let response = tenant.ask("listEncryptionKeyproviders", "encryption keys").send(call)?;
    let held = response.json();
    let items = held.as_array().or_else(|| held["errors"].as_array()).or_else(|| held["data"].as_array());
    Ok(items.cloned().unwrap_or_default())
}

fn key(call: &mut Call, tenant: &Tenant, arn: &str) -> Result<Option<Value>, ScriptError> {
    Ok(all(call, tenant)?.into_iter().find(|key| key["arn"].as_str() == Some(arn)))
}

/// Refuses what is no key that Qlik takes: AWS KMS, multi-region (encryption specification and its examples).
fn checked(call: &Call, arn: &str) -> Result<(), ScriptError> {
    let parts: Vec<&str> = arn.split(':').collect();
    if let ["arn", "aws" | "aws-us-gov", "kms", _, account, key] = parts[..]
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && key.starts_with("key/mrk-")
    {
        return Ok(());
    }
    let hint = "write `arn:aws:kms:eu-west-2:111122223333:key/mrk-..`: the key must be a multi-region one".to_owned();
    Err(invalid(call, format!("`{arn}` is not the ARN of a multi-region AWS KMS key"), Some(hint)))
}

fn ensure(call: &mut Call, tenant: &Tenant, given: ScriptMap) -> Result<Value, ScriptError> {
    let mut fields = options(call, given, &["name", "arn", "description"])?;
    let arn = text(call, &fields, "arn")?;
    checked(call, &arn)?;
    text(call, &fields, "name")?;
    if fields.contains_key("description") {
        text(call, &fields, "description")?;
    }
    fields.shift_remove("arn");
    Ok(converge::ensure(call, &Wanted { tenant, arn, fields })?.document)
}

/// Makes a key the one that the tenant's data is encrypted with, after a test that Qlik can use it.
fn activate(call: &mut Call, tenant: &Tenant, arn: &str) -> Result<(), ScriptError> {
    checked(call, arn)?;
    call.claim(tenant.host_name(), &in_use(arn))?;
    let Some(held) = key(call, tenant, arn)? else { return Err(call.throw(tenant.lacks(&subject(arn)))) };
    let fingerprint = text_of(call, "listEncryptionKeyproviders", &held, "arnFingerPrint")?;
    if held["current"] == true || is_underway(call, tenant, &fingerprint)? {
        call.step(converge::earlier(call, &in_use(arn)), in_use(arn), Vec::new());
        return Ok(());
    }
    tenant.ask("testEncryptionKeyprovider", subject(arn)).var("arnFingerPrint", &fingerprint).send(call)?;
    let ask = tenant.ask("migrateEncryptionKeyprovider", in_use(arn)).var("arnFingerPrint", &fingerprint);
    match ask.attempt(call)? {
        Ok(_) => {}
        // It may be in use already: by this very request, whose answer was lost.
        Err(failure) if matches!(failure.status, Some(412 | 428)) => {
            let now = key(call, tenant, arn)?;
            if now.is_none_or(|held| held["current"] != true) && !is_underway(call, tenant, &fingerprint)? {
                return Err(call.throw(failure));
            }
        }
        Err(failure) => return Err(call.throw(failure)),
    }
    call.step(Change::Acted, in_use(arn), Vec::new());
    Ok(())
}

fn in_use(arn: &str) -> String {
    format!("use of {}", subject(arn))
}

/// Whether the tenant's data is on its way to this key.
fn is_underway(call: &mut Call, tenant: &Tenant, fingerprint: &str) -> Result<bool, ScriptError> {
    match tenant.ask("getEncryptionKeyprovidersMigrationDetails", "migration between keys").attempt(call)? {
        Ok(response) => {
            let migration = response.json();
            let open = matches!(migration["state"].as_str(), Some("New" | "InProgress"));
            Ok(open && migration["migratingToFingerprint"].as_str() == Some(fingerprint))
        }
        Err(failure) if failure.status == Some(404) => Ok(false),
        Err(failure) => Err(call.throw(failure)),
    }
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// Makes sure this key of the customer's own is registered; gives it as Qlik describes it. It is not in use before it is
    /// activated.
    ///
    /// - `options`: `arn`, of a multi-region AWS KMS key, by which it is found; `name`; `description`.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let arn = "arn:aws:kms:eu-west-1:111122223333:key/mrk-1f0c";
    /// tenant.encryption.ensure(#{ name: "customer's key", arn: arn });
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_key(
        context: NativeCallContext,
        encryption: &mut Encryption,
        options: ScriptMap,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.encryption.ensure")?;
        let document = ensure(&mut call, &encryption.0, options)?;
        script(&call, &document)
    }

    /// Makes sure the tenant's data is encrypted with this key. It is tested first; then Qlik goes over from the earlier one,
    /// which may take time and which users do not notice. It is not waited for. Who takes the key from Qlik later takes the
    /// tenant's data away.
    ///
    /// - `arn`: the ARN of a registered key.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let arn = "arn:aws:kms:eu-west-1:111122223333:key/mrk-1f0c";
    /// tenant.encryption.ensure(#{ name: "customer's key", arn: arn });
    /// tenant.encryption.activate(arn);
    /// ```
    #[rhai_fn(name = "activate", pure, return_raw)]
    pub fn activate_key(
        context: NativeCallContext,
        encryption: &mut Encryption,
        arn: &str,
    ) -> Result<(), Box<EvalAltResult>> {
        activate(&mut Call::begin(&context, "tenant.encryption.activate")?, &encryption.0, arn)
    }

    /// All keys of the tenant as Qlik describes them, Qlik's own among them; the one in use is `current`.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// for key in tenant.encryption.list() { log(key.name); }
    /// ```
    #[rhai_fn(name = "list", pure, return_raw)]
    pub fn list_keys(context: NativeCallContext, encryption: &mut Encryption) -> Result<Array, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.encryption.list")?;
        let found = all(&mut call, &encryption.0)?;
        scripts(&call, &found)
    }
}
