use rhai::Map as ScriptMap;
use rhai::plugin::*;
use serde_json::{Map, Value, json};

use super::converge::settle;
use super::options::{invalid, kind, options, script, text};
use super::request::replace;
use super::tenant::Tenant;
use crate::playbook::{Call, ScriptError};

/// `tenant.settings`.
#[derive(Clone, Debug)]
pub(super) struct TenantSettings(pub(super) Tenant);

/// The fields a tenant's patch knows; `alias` stands for `/hostnames/1`.
/// Source: Qlik's tenants specification, `PATCH /tenants/{tenantId}`.
const FIELDS: [&str; 7] = [
    "name",
    "alias",
    "autoAssignCreateSharedSpacesRoleToProfessionals",
    "autoAssignPrivateAnalyticsContentCreatorRoleToProfessionals",
    "autoAssignDataServicesContributorRoleToProfessionals",
    "enableAnalyticCreation",
    "enableAppOpeningFeedback",
];

/// The whole alias host name, from it or from its label alone.
///
/// An alias is `{label}.{region}.qlikcloud.com` with a label of 3 to 63 characters (qlik.dev, update tenants).
pub(super) fn alias(call: &Call, given: &str, region: &str) -> Result<String, ScriptError> {
    let domain = format!(".{region}.qlikcloud.com");
    let lower = given.to_ascii_lowercase();
    let label = match lower.strip_suffix(&domain) {
        Some(label) => label,
        None if lower.contains('.') => {
            return Err(invalid(
                call,
                format!("the alias `{given}` is not in the tenant's region"),
                Some(format!("an alias there ends in `{domain}`; the label alone is enough")),
            ));
        }
        None => &lower,
    };
    if !(3..=63).contains(&label.len()) {
        return Err(invalid(
            call,
            format!("the alias label `{label}` is {} long; 3 to 63 characters are allowed", label.len()),
            None,
        ));
    }
    let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !plain || label.starts_with('-') || label.ends_with('-') {
        return Err(invalid(
            call,
            format!("the alias label `{label}` is not a host name's label"),
            Some("use letters, digits and hyphens, with no hyphen at either end".to_owned()),
        ));
    }
    Ok(format!("{label}{domain}"))
}

/// Patches the tenant and keeps its noted document in step.
pub(super) fn write(call: &mut Call, tenant: &Tenant, fields: &Map<String, Value>) -> Result<(), ScriptError> {
    let patch = replace(fields.iter().map(|(field, value)| (path(field), value)));
    let ask = tenant.ask("patchTenant", subject(tenant)).var("tenantId", tenant.id()).json(patch);
    if let Err(mut failure) = ask.attempt(call)? {
        if failure.status == Some(400) && fields.contains_key("alias") {
            let hint =
                "an alias must be free in its whole region: choose another and run again; the tenant itself stays";
            failure.hint.get_or_insert_with(|| hint.to_owned());
        }
        return Err(call.throw(failure));
    }
    let mut document = tenant.document(call)?;
    for (field, value) in fields {
        if field == "alias" {
            document["hostnames"] = json!([tenant.host_name(), value]);
        } else {
            document[field] = value.clone();
        }
    }
    tenant.remember(call, document);
    Ok(())
}

fn path(field: &str) -> String {
    if field == "alias" { "/hostnames/1".to_owned() } else { format!("/{field}") }
}

fn subject(tenant: &Tenant) -> String {
    format!("settings of tenant {}", tenant.host_name())
}

/// The tenant's document with its alias under that name.
fn with_alias(mut document: Value) -> Value {
    let alias = document["hostnames"][1].clone();
    document["alias"] = alias;
    document
}

fn update(call: &mut Call, tenant: &Tenant, given: ScriptMap) -> Result<(), ScriptError> {
    let mut wanted = options(call, given, &FIELDS)?;
    for (field, value) in &wanted {
        if ["name", "alias"].contains(&field.as_str()) {
            text(call, &wanted, field)?;
        } else if !value.is_boolean() {
            return Err(invalid(call, format!("`{field}` is {}; true or false is needed", kind(value)), None));
        }
    }
    if let Some(given) = wanted.get("alias").and_then(Value::as_str) {
        let whole = alias(call, given, tenant.region())?;
        wanted.insert("alias".to_owned(), json!(whole));
    }
    settle(
        call,
        tenant.host_name(),
        &subject(tenant),
        &wanted,
        |_, value| value.clone(),
        |call| tenant.document(call).map(with_alias),
        |call, _, changes| {
            let changed = changes.iter().filter_map(|change| wanted.get_key_value(&change.field));
            let changed = changed.map(|(field, value)| (field.clone(), value.clone())).collect();
            write(call, tenant, &changed)
        },
    )?;
    Ok(())
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// Sets what differs of the tenant's own settings.
    ///
    /// - `options`: `name`; `alias`, the whole alias host name or its label alone; and Qlik's flags
    ///   `autoAssignCreateSharedSpacesRoleToProfessionals`, `autoAssignPrivateAnalyticsContentCreatorRoleToProfessionals`,
    ///   `autoAssignDataServicesContributorRoleToProfessionals`, `enableAnalyticCreation`, `enableAppOpeningFeedback`.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.settings.update(#{ name: "Harbour Logistics", alias: "halyard-hb" });
    /// ```
    #[rhai_fn(name = "update", pure, return_raw)]
    pub fn update_settings(
        context: NativeCallContext,
        settings: &mut TenantSettings,
        options: ScriptMap,
    ) -> Result<(), Box<EvalAltResult>> {
        update(&mut Call::begin(&context, "tenant.settings.update")?, &settings.0, options)
    }

    /// The tenant as Qlik describes it, with `alias` beside its `hostnames`.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// log(tenant.settings.get().name);
    /// ```
    #[rhai_fn(name = "get", pure, return_raw)]
    pub fn get_settings(
        context: NativeCallContext,
        settings: &mut TenantSettings,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.settings.get")?;
        let document = settings.0.document(&mut call).map(with_alias)?;
        script(&call, &document)
    }
}
