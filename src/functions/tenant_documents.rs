use rhai::Map as ScriptMap;
use rhai::plugin::*;
use serde_json::Value;

use super::converge::settle;
use super::options::{invalid, kind, options, script};
use super::request::{Ask, patch};
use super::tenant::Tenant;
use crate::playbook::{Call, ScriptError};

/// Settings that a tenant has as one document: `tenant.sessions`, `tenant.api_keys`, `tenant.data_alerts`,
/// `tenant.sharing`.
#[derive(Clone, Debug)]
pub(super) struct TenantDocument {
    tenant: Tenant,
    facts: &'static Facts,
}

/// What a document holds and how it is reached.
#[derive(Debug)]
struct Facts {
    /// The functions' own names: `update` and `get`.
    calls: [&'static str; 2],
    subject: &'static str,
    read: &'static str,
    write: &'static str,
    /// Whether it is written as a whole; else field by field.
    whole: bool,
    /// Whether its path names the tenant.
    named: bool,
    fields: &'static [(&'static str, Takes)],
}

/// What a field takes.
#[derive(Clone, Copy, Debug)]
enum Takes {
    Flag,
    Minutes,
    /// Minutes that are whole hours.
    Hours,
    /// A number up to this.
    Count(u64),
    /// A span as ISO 8601 writes it: `P365D`.
    Span,
}

/// Source: Qlik's core auth-settings specification.
static SESSIONS: Facts = Facts {
    calls: ["tenant.sessions.update", "tenant.sessions.get"],
    subject: "session timeouts",
    read: "getAuthSettings",
    write: "patchAuthSettings",
    whole: false,
    named: false,
    fields: &[
        ("userSessionInactivityTimeoutMinutes", Takes::Minutes),
        ("maxUserSessionLifespanMinutes", Takes::Hours),
        ("dynamicClientRegistrationEnabled", Takes::Flag),
    ],
};
/// Source: Qlik's api-keys specification.
static API_KEYS: Facts = Facts {
    calls: ["tenant.api_keys.update", "tenant.api_keys.get"],
    subject: "rules for API keys",
    read: "getApiKeysConfig",
    write: "patchApiKeysConfig",
    whole: false,
    named: true,
    fields: &[
        ("max_keys_per_user", Takes::Count(1000)),
        ("max_api_key_expiry", Takes::Span),
        ("scim_externalClient_expiry", Takes::Span),
    ],
};
/// Source: Qlik's data-alerts specification.
static DATA_ALERTS: Facts = Facts {
    calls: ["tenant.data_alerts.update", "tenant.data_alerts.get"],
    subject: "data alerts",
    read: "getDataAlertsSettings",
    write: "setDataAlertsSettings",
    whole: true,
    named: false,
    fields: &[("enable-data-alerting", Takes::Flag)],
};
/// Source: Qlik's sharing-tasks specification.
static SHARING: Facts = Facts {
    calls: ["tenant.sharing.update", "tenant.sharing.get"],
    subject: "sharing by e-mail",
    read: "getSharingTasksSettings",
    write: "updateSharingTasksSettings",
    whole: false,
    named: false,
    fields: &[("enable-sharing", Takes::Flag), ("enable-report-subscription", Takes::Flag)],
};

impl TenantDocument {
    pub(super) fn sessions(tenant: Tenant) -> Self {
        Self { tenant, facts: &SESSIONS }
    }

    pub(super) fn api_keys(tenant: Tenant) -> Self {
        Self { tenant, facts: &API_KEYS }
    }

    pub(super) fn data_alerts(tenant: Tenant) -> Self {
        Self { tenant, facts: &DATA_ALERTS }
    }

    pub(super) fn sharing(tenant: Tenant) -> Self {
        Self { tenant, facts: &SHARING }
    }

    fn ask(&self, operation: &'static str) -> Ask {
        let ask = self.tenant.ask(operation, self.facts.subject);
        if self.facts.named { ask.var("tenantId", self.tenant.id()) } else { ask }
    }

    fn read(&self, call: &mut Call) -> Result<Value, ScriptError> {
        Ok(self.ask(self.facts.read).send(call)?.json().clone())
    }

    fn update(&self, call: &mut Call, given: ScriptMap) -> Result<(), ScriptError> {
        let known: Vec<&str> = self.facts.fields.iter().map(|(name, _)| *name).collect();
        let wanted = options(call, given, &known)?;
        for (field, takes) in self.facts.fields {
            if let Some(value) = wanted.get(*field) {
                takes.check(call, field, value)?;
            }
        }
        settle(
            call,
            self.tenant.host_name(),
            self.facts.subject,
            &wanted,
            |_, value| value.clone(),
            |call| self.read(call),
            |call, _, changes| {
                let body = if self.facts.whole {
                    Value::Object(wanted.clone())
                } else {
                    patch(changes, &wanted, |field| format!("/{field}"))
                };
                self.ask(self.facts.write).json(body).send(call).map(drop)
            },
        )?;
        Ok(())
    }
}

impl Takes {
    fn check(self, call: &Call, field: &str, value: &Value) -> Result<(), ScriptError> {
        let number = value.as_u64();
        let (good, needed) = match self {
            Self::Flag => (value.is_boolean(), "true or false is needed".to_owned()),
            Self::Minutes => (number.is_some_and(|count| count > 0), "whole minutes are needed".to_owned()),
            Self::Hours => (
                number.is_some_and(|count| count > 0 && count % 60 == 0),
                "minutes that make whole hours are needed".to_owned(),
            ),
            Self::Count(most) => {
                (number.is_some_and(|count| count <= most), format!("a number from 0 to {most} is needed"))
            }
            Self::Span => (
                value.as_str().is_some_and(|text| text.starts_with('P') && text.parse::<jiff::Span>().is_ok()),
                "a span such as \"P365D\" or \"PT24H\" is needed".to_owned(),
            ),
        };
        if good {
            return Ok(());
        }
        let held = if value.is_number() || value.is_string() { value.to_string() } else { kind(value).to_owned() };
        Err(invalid(call, format!("`{field}` is {held}; {needed}"), None))
    }
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// Sets what differs of these settings of the tenant.
    ///
    /// - `options`: of `tenant.sessions`: `userSessionInactivityTimeoutMinutes`, `maxUserSessionLifespanMinutes` (whole
    ///   hours), `dynamicClientRegistrationEnabled`; of `tenant.api_keys`: `max_keys_per_user` (up to 1000) and the spans
    ///   `max_api_key_expiry`, `scim_externalClient_expiry` (`"P365D"`); of `tenant.data_alerts`: `enable-data-alerting`; of
    ///   `tenant.sharing`: `enable-sharing`, `enable-report-subscription`. What is not mentioned is left alone.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.sessions.update(#{ userSessionInactivityTimeoutMinutes: 20, maxUserSessionLifespanMinutes: 480 });
    /// tenant.api_keys.update(#{ max_keys_per_user: 0 });
    /// tenant.data_alerts.update(#{ "enable-data-alerting": false });
    /// tenant.sharing.update(#{ "enable-sharing": false });
    /// ```
    #[rhai_fn(name = "update", pure, return_raw)]
    pub fn update_document(
        context: NativeCallContext,
        settings: &mut TenantDocument,
        options: ScriptMap,
    ) -> Result<(), Box<EvalAltResult>> {
        settings.update(&mut Call::begin(&context, settings.facts.calls[0])?, options)
    }

    /// These settings of the tenant as Qlik describes them.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// log(`idle sessions end after ${tenant.sessions.get().userSessionInactivityTimeoutMinutes} minutes`);
    /// ```
    #[rhai_fn(name = "get", pure, return_raw)]
    pub fn get_document(
        context: NativeCallContext,
        settings: &mut TenantDocument,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, settings.facts.calls[1])?;
        let document = settings.read(&mut call)?;
        script(&call, &document)
    }
}
