//! Settings that a tenant has as one document each: session timeouts, API keys, data alerts, sharing (core auth-settings,
//! API keys, data alerts and sharing tasks APIs). What a new tenant has is published for API keys only; the rest is
//! assumed.

use serde_json::{Value, json};

use super::context::{Answer, Context, Handled};
use super::patch::{self, Step};
use super::refusal::Refusal;
use super::resources::Resource;

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("getAuthSettings", get_sessions),
        ("patchAuthSettings", change_sessions),
        ("getApiKeysConfig", get_api_keys),
        ("patchApiKeysConfig", change_api_keys),
        ("getDataAlertsSettings", get_data_alerts),
        ("setDataAlertsSettings", set_data_alerts),
        ("getSharingTasksSettings", get_sharing),
        ("configureSharingTasksSettings", set_sharing),
        ("updateSharingTasksSettings", change_sharing),
    ],
    seed: None,
};

/// The document of this name, or what a new tenant has.
fn held(context: &Context<'_>, name: &str, fresh: impl FnOnce() -> Value) -> Value {
    context.get("settings", name).map_or_else(fresh, |held| (*held).clone())
}

/// The document with the request's steps in it, each held against what its path takes.
fn patched(
    context: &Context<'_>,
    mut document: Value,
    paths: &[&str],
    check: impl Fn(&Step) -> Result<(), Refusal>,
) -> Result<Value, Refusal> {
    for step in patch::steps(context, &[("replace", paths)])? {
        check(&step)?;
        patch::set(&mut document, &step.path, step.value);
    }
    Ok(document)
}

fn sessions(context: &Context<'_>) -> Value {
    held(context, "sessions", || {
        json!({
            "userSessionInactivityTimeoutMinutes": 60, "maxUserSessionLifespanMinutes": 1440,
            "dynamicClientRegistrationEnabled": false, "isDefault": true,
        })
    })
}

fn shown_sessions(context: &Context<'_>, mut document: Value) -> Answer {
    document["tenantId"] = json!(context.tenant_id());
    Answer::ok(&document)
}

fn get_sessions(context: &mut Context<'_>) -> Handled {
    Ok(shown_sessions(context, sessions(context)))
}

fn change_sessions(context: &mut Context<'_>) -> Handled {
    const PATHS: &[&str] = &[
        "/userSessionInactivityTimeoutMinutes",
        "/maxUserSessionLifespanMinutes",
        "/dynamicClientRegistrationEnabled",
        "/dcrAllowedAuthenticationMethods",
    ];
    let before = sessions(context);
    let mut document = patched(context, before.clone(), PATHS, |step| match &*step.path {
        "/dynamicClientRegistrationEnabled" => step.flag().map(drop),
        "/dcrAllowedAuthenticationMethods" if step.value.is_array() => Ok(()),
        "/dcrAllowedAuthenticationMethods" => Err(step.refuse("a list is needed")),
        "/maxUserSessionLifespanMinutes" if step.value.as_u64().is_some_and(|minutes| minutes % 60 != 0) => {
            Err(step.refuse("the lifespan of a session must be whole hours"))
        }
        _ if step.value.as_u64().is_some_and(|minutes| minutes > 0) => Ok(()),
        _ => Err(step.refuse("whole minutes are needed")),
    })?;
    if document != before {
        document["isDefault"] = json!(false);
        context.put("settings", "sessions", document.clone());
    }
    Ok(shown_sessions(context, document))
}

/// The configuration for the tenant of the path, which must be the one asked.
fn api_keys(context: &Context<'_>) -> Result<Value, Refusal> {
    if context.var("tenantId") != context.tenant_id() {
        return Err(Refusal::not_found("HTTP-404"));
    }
    Ok(held(
        context,
        "apiKeys",
        || json!({"max_keys_per_user": 5, "max_api_key_expiry": "PT24H", "scim_externalClient_expiry": "P365D"}),
    ))
}

fn get_api_keys(context: &mut Context<'_>) -> Handled {
    Ok(Answer::ok(&api_keys(context)?))
}

fn change_api_keys(context: &mut Context<'_>) -> Handled {
    const PATHS: &[&str] = &["/max_keys_per_user", "/max_api_key_expiry", "/scim_externalClient_expiry"];
    let document = patched(context, api_keys(context)?, PATHS, |step| match &*step.path {
        "/max_keys_per_user" if step.value.as_u64().is_some_and(|count| count <= 1000) => Ok(()),
        "/max_keys_per_user" => Err(step.refuse("a number from 0 to 1000 is needed")),
        _ if step.text()?.starts_with('P') && step.text()?.len() > 2 => Ok(()),
        _ => Err(step.refuse("a duration such as P365D is needed")),
    })?;
    context.put("settings", "apiKeys", document);
    Ok(Answer::no_content())
}

fn data_alerts(context: &Context<'_>) -> Value {
    held(context, "dataAlerts", || json!({"enable-data-alerting": true}))
}

/// Switching takes a moment at Qlik, in which another switch is refused with 409; here it is done at once.
fn get_data_alerts(context: &mut Context<'_>) -> Handled {
    let mut document = data_alerts(context);
    document["tenantId"] = json!(context.tenant_id());
    document["data-alerting-feature-operation-status"] = json!("none");
    document["data-alerting-license-status"] = json!("enabled");
    Ok(Answer::ok(&document))
}

fn set_data_alerts(context: &mut Context<'_>) -> Handled {
    let document = json!({"enable-data-alerting": context.body["enable-data-alerting"]});
    context.put("settings", "dataAlerts", document);
    Ok(Answer::no_content())
}

fn sharing(context: &Context<'_>) -> Value {
    held(context, "sharing", || json!({"enable-sharing": true, "enable-report-subscription": true}))
}

fn get_sharing(context: &mut Context<'_>) -> Handled {
    let mut document = sharing(context);
    document["tenantId"] = json!(context.tenant_id());
    document["reportSubscriptionStatus"] = json!("none");
    document["reporting-service-license-status"] = json!("enabled");
    Ok(Answer::ok(&document))
}

fn set_sharing(context: &mut Context<'_>) -> Handled {
    let mut document = sharing(context);
    document["enable-sharing"] = context.body["enable-sharing"].clone();
    context.put("settings", "sharing", document);
    Ok(Answer::no_content())
}

fn change_sharing(context: &mut Context<'_>) -> Handled {
    const PATHS: &[&str] = &["/enable-sharing", "/enable-report-subscription"];
    let document = patched(context, sharing(context), PATHS, |step| step.flag().map(drop))?;
    context.put("settings", "sharing", document);
    Ok(Answer::no_content())
}
