//! Identity providers: JWT ones, one interactive one, and machine-to-machine ones (identity providers API).
//!
//! Every tenant begins with Qlik's own provider for people. Another interactive one replaces it for logins, and takes
//! its place back to it when it is switched off.

use http::{HeaderName, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::context::{Answer, Context, Handled, text};
use super::identity_options as options;
use super::paging::{Paging, page_as};
use super::patch::{self, Step};
use super::refusal::Refusal;
use super::resources::Resource;
use super::state::Document;

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("getIdps", list),
        ("createIdp", create),
        ("getIdpWellKnownMetaData", metadata),
        ("getMyIdpMeta", meta),
        ("getIdpStatuses", statuses),
        ("getIdp", get),
        ("patchIdp", change),
        ("deleteIdp", delete),
    ],
    seed: Some(seed),
};

const COLLECTION: &str = "identityProviders";
const PAGING: Paging = Paging::next_prev(20, 100);
/// The service publishes no codes.
const MISSING: &str = "HTTP-404";
/// The header that names the settings under test.
const UNDER_TEST: HeaderName = HeaderName::from_static("qlik-idp-popts");

/// What a provider shows of itself.
const SHOWN: &[&str] = &[
    "id",
    "active",
    "clockToleranceSec",
    "createNewUsersOnLogin",
    "created",
    "description",
    "interactive",
    "lastUpdated",
    "meta",
    "postLogoutRedirectUri",
    "protocol",
    "provider",
    "tenantIds",
    "pendingState",
    "pendingResult",
];

/// Qlik Account, the provider of every new tenant.
fn seed(context: &mut Context<'_>) {
    let (id, now) = (context.new_id(), context.timestamp());
    let provider = json!({
        "id": id, "tenantIds": [context.tenant_id()], "provider": "qlik", "protocol": "OIDC", "interactive": true,
        "active": true, "created": now, "lastUpdated": now,
    });
    context.put(COLLECTION, &id, provider);
}

fn is_set(provider: &Value, field: &str) -> bool {
    provider.get(field) == Some(&Value::Bool(true))
}

fn is_default(provider: &Value) -> bool {
    text(provider, "provider") == "qlik"
}

/// Whether people sign in with this provider.
fn is_in_use(provider: &Value) -> bool {
    is_set(provider, "interactive") && is_set(provider, "active")
}

fn shown(_: &Context<'_>, provider: &Value) -> Value {
    let fields = SHOWN.iter().filter_map(|field| Some(((*field).to_owned(), provider.get(*field)?.clone())));
    let mut shown = Value::Object(fields.collect());
    for field in ["options", "pendingOptions"] {
        if let Some(held) = provider.get(field) {
            shown[field] = options::shown(text(provider, "protocol"), held);
        }
    }
    shown
}

/// The name of a provider's settings: those under test, else those in use. In the form of a UUID, the same for the same
/// settings.
fn fingerprint(provider: &Value) -> String {
    let settings = provider.get("pendingOptions").or_else(|| provider.get("options")).cloned().unwrap_or_default();
    let digest = Sha256::digest(format!("{} {settings}", text(provider, "id")));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

fn list(context: &mut Context<'_>) -> Handled {
    let active = context.parameter("active").map(|value| value.eq_ignore_ascii_case("true"));
    let passes = |provider: &Document| active.is_none_or(|active| is_set(provider, "active") == active);
    page_as(context, context.collection(COLLECTION).documents().into_iter().filter(passes).collect(), PAGING, shown)
}

/// The provider of the path.
fn asked(context: &Context<'_>) -> Result<Document, Refusal> {
    context.get(COLLECTION, &context.var("id")).ok_or_else(|| Refusal::not_found(MISSING))
}

fn get(context: &mut Context<'_>) -> Handled {
    let provider = asked(context)?;
    Ok(Answer::ok(&shown(context, &provider)).with(UNDER_TEST, &fingerprint(&provider)))
}

fn statuses(context: &mut Context<'_>) -> Handled {
    let providers = context.collection(COLLECTION).documents();
    let in_use = providers.iter().filter(|provider| is_in_use(provider)).count();
    let told = providers.iter().map(|provider| {
        json!({
            "active": is_set(provider, "active"), "interactive": is_set(provider, "interactive"),
            "provider": provider["provider"],
        })
    });
    let told: Vec<Value> = told.collect();
    Ok(Answer::ok(&json!({"active_interactive_idps_count": in_use, "idps_metadata": told})))
}

/// What stands in it is not published.
fn metadata(_: &mut Context<'_>) -> Handled {
    Ok(Answer::ok(&json!({})))
}

/// Only Qlik's own provider has such a thing; which links it gives is not published.
fn meta(context: &mut Context<'_>) -> Handled {
    let default =
        context.collection(COLLECTION).documents().into_iter().any(|held| is_default(&held) && is_in_use(&held));
    if default { Ok(Answer::ok(&json!({}))) } else { Err(Refusal::not_found(MISSING)) }
}

fn create(context: &mut Context<'_>) -> Handled {
    let mut provider = context.body.clone();
    let tenant = context.tenant_id();
    match provider.get("tenantIds").and_then(Value::as_array) {
        Some(ids) if !ids.iter().any(|id| *id == *tenant) => {
            return Err(Refusal::forbidden("the tenant of the token is none of tenantIds").pointer("/tenantIds"));
        }
        Some(_) => {}
        None => provider["tenantIds"] = json!([tenant]),
    }
    options::check(&mut provider)?;
    if text(&provider, "protocol") == "jwtAuth" {
        unused_key(context, &provider)?;
    }
    let (id, now) = (context.new_id(), context.timestamp());
    provider["id"] = json!(id);
    provider["created"] = json!(now);
    provider["lastUpdated"] = json!(now);
    if let Some(fields) = provider.as_object_mut() {
        fields.remove("skipVerify");
    }
    if provider.get("pendingOptions").is_some() {
        provider["pendingState"] = json!("pending");
        provider["active"] = json!(false);
    } else if provider.get("active").is_none() {
        provider["active"] = json!(true);
    }
    if is_in_use(&provider) {
        take_logins(context, &id);
    }
    context.put(COLLECTION, &id, provider.clone());
    Ok(Answer::created(&shown(context, &provider)).with(UNDER_TEST, &fingerprint(&provider)))
}

/// Refuses a JWT provider whose issuer and key id another one has: a token must lead to one provider.
fn unused_key(context: &Context<'_>, provider: &Value) -> Result<(), Refusal> {
    let same = |held: &Document| {
        text(held, "protocol") == "jwtAuth"
            && held["options"]["issuer"] == provider["options"]["issuer"]
            && held["options"]["staticKeys"][0]["kid"] == provider["options"]["staticKeys"][0]["kid"]
    };
    if context.collection(COLLECTION).documents().iter().any(same) {
        let detail = "an identity provider with this issuer and kid exists";
        return Err(Refusal::bad_request(detail).pointer("/options/issuer"));
    }
    Ok(())
}

/// Switches off the interactive providers that are in use, but for one.
fn take_logins(context: &mut Context<'_>, id: &str) {
    for provider in context.collection(COLLECTION).documents() {
        if is_in_use(&provider) && text(&provider, "id") != id {
            switch(context, &provider, false);
        }
    }
}

fn switch(context: &mut Context<'_>, provider: &Value, active: bool) {
    let mut provider = provider.clone();
    provider["active"] = json!(active);
    provider["lastUpdated"] = json!(context.timestamp());
    let id = text(&provider, "id").to_owned();
    context.put(COLLECTION, &id, provider);
}

const OIDC: &[&str] = &[
    "/active",
    "/description",
    "/meta",
    "/options",
    "/options/realm",
    "/options/discoveryUrl",
    "/options/claimsMapping",
    "/pendingOptions",
    "/pendingOptions/realm",
    "/pendingOptions/discoveryUrl",
    "/pendingOptions/clientId",
    "/pendingOptions/clientSecret",
    "/pendingOptions/emailVerifiedAlwaysTrue",
    "/pendingOptions/claimsMapping",
    "/postLogoutRedirectUri",
    "/clockToleranceSec",
    "/pendingOptions/idTokenSignatureAlg",
    "/pendingOptions/decryptingKey",
];
const SAML: &[&str] = &[
    "/active",
    "/description",
    "/pendingOptions",
    "/pendingOptions/nameIdFormat",
    "/pendingOptions/allowIdpInitiatedLogin",
    "/pendingOptions/entityId",
    "/pendingOptions/signOnUrl",
    "/pendingOptions/metadata",
    "/pendingOptions/certificates",
    "/pendingOptions/claimsMapping",
    "/postLogoutRedirectUri",
    "/clockToleranceSec",
];
const PROMOTE: &str = "promote-options";
/// A promotion needs no path; one that says what is promoted is understood.
const PROMOTED: &[&str] = &["/", "/options", "/pendingOptions"];

fn change(context: &mut Context<'_>) -> Handled {
    let before = asked(context)?;
    let steps = match text(&before, "protocol") {
        "jwtAuth" => patch::steps(context, &[("replace", &["/description"])])?,
        "SAML" => patch::steps(context, &[("replace", SAML), (PROMOTE, PROMOTED)])?,
        _ => patch::steps(context, &[("replace", OIDC), (PROMOTE, PROMOTED)])?,
    };
    let mut provider = (*before).clone();
    for step in steps {
        apply(context, &mut provider, &step)?;
    }
    if provider == *before {
        return Ok(Answer::no_content());
    }
    options::check(&mut provider)?;
    provider["lastUpdated"] = json!(context.timestamp());
    let id = text(&provider, "id").to_owned();
    if is_in_use(&provider) && !is_in_use(&before) {
        take_logins(context, &id);
    }
    context.put(COLLECTION, &id, provider.clone());
    if is_in_use(&before) && !is_in_use(&provider) {
        let providers = context.collection(COLLECTION).documents();
        if let Some(default) = providers.iter().find(|held| is_default(held)) {
            switch(context, default, true);
        }
    }
    Ok(Answer::no_content())
}

fn apply(context: &Context<'_>, provider: &mut Value, step: &Step) -> Result<(), Refusal> {
    if step.op == PROMOTE {
        return promote(context, provider);
    }
    if is_default(provider) && step.path != "/active" && step.path != "/meta" {
        return Err(step.refuse("Qlik's own identity provider has nothing to change"));
    }
    match &*step.path {
        "/active" => {
            let active = step.flag()?;
            if active && provider.get("options").is_none() && !is_default(provider) {
                return Err(step.refuse("settings that were never tested cannot be made active"));
            }
            if !active && is_default(provider) && is_in_use(provider) {
                return Err(step.refuse("people could not sign in any more"));
            }
            provider["active"] = json!(active);
        }
        "/description" => {
            if step.text()?.chars().count() > 128 {
                return Err(step.refuse("a description has at most 128 characters"));
            }
            provider["description"] = step.value.clone();
        }
        path => {
            if step.value.is_null() {
                return Err(step.refuse("the step has no value"));
            }
            patch::set(provider, path, step.value.clone());
            if path.starts_with("/pendingOptions") {
                provider["pendingState"] = json!("pending");
            }
        }
    }
    Ok(())
}

/// Puts the settings under test in use. That somebody tested them in a browser is taken for granted: nobody can here.
fn promote(context: &Context<'_>, provider: &mut Value) -> Result<(), Refusal> {
    let named = context.header("qlik-idp-popts-match");
    if named != Some(&fingerprint(provider)) {
        let refusal = Refusal::new(StatusCode::PRECONDITION_FAILED, "HTTP-412", "Precondition failed");
        return Err(refusal.detail("the header QLIK-IDP-POPTS-MATCH does not name the settings under test"));
    }
    let pending = provider.as_object_mut().and_then(|fields| fields.remove("pendingOptions"));
    let Some(pending) = pending else {
        return Err(Refusal::bad_request("there are no settings under test"));
    };
    provider["options"] = pending;
    provider["active"] = json!(true);
    provider["pendingState"] = json!("verified");
    Ok(())
}

fn delete(context: &mut Context<'_>) -> Handled {
    let provider = asked(context)?;
    if is_in_use(&provider) || is_default(&provider) {
        return Err(Refusal::bad_request("the interactive identity provider of the tenant cannot be deleted"));
    }
    context.remove(COLLECTION, text(&provider, "id"));
    Ok(Answer::no_content())
}
