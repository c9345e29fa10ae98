//! Tenants: made on a region's register host, looked after on their own.

use http::StatusCode;
use serde_json::{Value, json};

use super::context::{Answer, Context, Handled, text};
use super::hosts::{self, PURGE, Place, REGIONS};
use super::ids;
use super::patch::{self, Step};
use super::refusal::Refusal;
use super::resources::{self, Resource};
use super::source_tenant;
use super::state::{Document, Scope};

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("createTenant", create),
        ("getTenant", get),
        ("getMyTenant", me),
        ("patchTenant", change),
        ("deactivateTenant", deactivate),
        ("reactivateTenant", reactivate),
    ],
    seed: None,
};

/// The service's code for what is not there.
const MISSING: &str = "TENANTS-8";
/// How long the random label of a tenant's host name is.
const LABEL: usize = 15;

fn create(context: &mut Context<'_>) -> Handled {
    let Place::Register { region } = context.place else {
        return Err(Refusal::not_found(MISSING));
    };
    let organization = context.organization();
    let key = text(&context.body, "licenseKey").to_owned();
    if key.is_empty() {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "TENANTS-21", "Missing licenseKey property"));
    }
    // A model of an organization does not know its licence key.
    let held = text(&organization, "licenseKey");
    if !held.is_empty() && key != held {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "TENANTS-23", "Invalid license"));
    }
    let datacenter = REGIONS.into_iter().find(|(held, _)| held == region).map_or("", |(_, datacenter)| datacenter);
    let wish = text(&context.body, "datacenter");
    if !wish.is_empty() && wish != datacenter {
        let detail = format!("the register host of region {region} makes tenants in {datacenter}, not in {wish}");
        return Err(Refusal::bad_request(detail).pointer("/datacenter"));
    }
    room(context, region)?;
    let label = loop {
        let label = ids::label(context.random, LABEL);
        if hosts::tenant(context.state(), &hosts::name(&label, region), context.now).is_none() {
            break label;
        }
    };
    let id = ids::letters(context.random, 32);
    let now = context.timestamp();
    let tenant = json!({
        "id": id, "name": label, "hostnames": [hosts::name(&label, region)],
        "datacenter": datacenter, "region": region, "status": "active",
        "created": now, "lastUpdated": now, "statusLastUpdatedAt": now, "createdByUser": "",
        "autoAssignCreateSharedSpacesRoleToProfessionals": true,
        "autoAssignPrivateAnalyticsContentCreatorRoleToProfessionals": true,
        "autoAssignDataServicesContributorRoleToProfessionals": true,
        "enableAnalyticCreation": false, "enableAppOpeningFeedback": false,
    });
    context.put_in(&context.home(), "tenants", &id, tenant.clone());
    context.within(Scope::tenant(&id), resources::seed);
    Ok(Answer::created(&shown(context, &tenant)))
}

/// Whether the licence allows one more active tenant in a region. A deactivated one frees its place at once (delete a
/// tenant).
fn room(context: &Context<'_>, region: &str) -> Result<(), Refusal> {
    let quota = context.organization().get("tenantQuota").and_then(Value::as_u64).unwrap_or(u64::MAX);
    let tenants = context.collection_in(&context.home(), "tenants");
    let disabled = tenants.find("status", "disabled");
    let disabled = disabled.iter().filter(|tenant| text(tenant, "region") == region).count();
    let counted = tenants.count("region", region) - disabled;
    if u64::try_from(counted).is_ok_and(|counted| counted < quota) {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::FORBIDDEN, "TENANTS-22", "License quota limit reached"))
}

/// A tenant with its link.
fn shown(context: &Context<'_>, tenant: &Value) -> Value {
    let mut tenant = tenant.clone();
    if let Some(fields) = tenant.as_object_mut() {
        fields.remove(PURGE);
    }
    tenant["links"] = json!({"self": {"href": context.link(&format!("/api/v1/tenants/{}", text(&tenant, "id")))}});
    tenant
}

/// The tenant of the path: on its own host only itself, on a register host those of the region.
fn asked(context: &Context<'_>) -> Result<Document, Refusal> {
    let id = context.var("tenantId");
    if let Place::Tenant(own) = context.place
        && source_tenant::is(own)
    {
        return if text(own, "id") == id { Ok(own.clone()) } else { Err(Refusal::not_found(MISSING)) };
    }
    let tenant = context.get_in(&context.home(), "tenants", &id).ok_or_else(|| Refusal::not_found(MISSING))?;
    let here = match context.place {
        Place::Tenant(own) => own["id"] == tenant["id"],
        Place::Register { region } => text(&tenant, "region") == *region,
        _ => false,
    };
    if here && !hosts::is_purged(&tenant, context.now) { Ok(tenant) } else { Err(Refusal::not_found(MISSING)) }
}

fn get(context: &mut Context<'_>) -> Handled {
    let tenant = asked(context)?;
    Ok(Answer::ok(&shown(context, &tenant)))
}

fn me(context: &mut Context<'_>) -> Handled {
    let link = context.link(&format!("/api/v1/tenants/{}", context.tenant_id()));
    Ok(Answer::redirect(StatusCode::FOUND, &link))
}

const FLAGS: &[&str] = &[
    "/autoAssignCreateSharedSpacesRoleToProfessionals",
    "/autoAssignPrivateAnalyticsContentCreatorRoleToProfessionals",
    "/autoAssignDataServicesContributorRoleToProfessionals",
    "/enableAnalyticCreation",
    "/enableAppOpeningFeedback",
];

/// A refused patch, with the reason where this service puts it.
fn invalid(step: &Step, reason: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "TENANTS-10", "Invalid PATCH request")
        .meta(json!({"code": "TENANTS-10", "title": reason}))
        .pointer(&step.path)
}

fn change(context: &mut Context<'_>) -> Handled {
    let mut tenant = (*asked(context)?).clone();
    if source_tenant::is(&tenant) {
        return Err(Refusal::forbidden("the sandbox's source tenant stays as it is"));
    }
    for step in patch::any_steps(context)? {
        if step.op != "replace" {
            return Err(invalid(&step, &format!("Operation {} is not supported, only replace is", step.op)));
        }
        match &*step.path {
            "/name" => match step.value.as_str().filter(|name| !name.is_empty()) {
                Some(name) => tenant["name"] = json!(name),
                None => return Err(invalid(&step, "name must be text")),
            },
            "/hostnames/1" => {
                let alias = alias(context, &tenant, &step)?;
                tenant["hostnames"] = json!([tenant["hostnames"][0], alias]);
            }
            path if FLAGS.contains(&path) => match step.value {
                Value::Bool(_) => tenant[&path[1..]] = step.value,
                _ => return Err(invalid(&step, "the value must be true or false")),
            },
            path => return Err(invalid(&step, &format!("{path} cannot be changed"))),
        }
    }
    let id = text(&tenant, "id").to_owned();
    if context.get_in(&context.home(), "tenants", &id).is_some_and(|held| *held != tenant) {
        tenant["lastUpdated"] = json!(context.timestamp());
        context.put_in(&context.home(), "tenants", &id, tenant);
    }
    Ok(Answer::no_content())
}

/// The host name that an alias step asks for (update tenants: 3 to 63 characters before the region, unique in it).
fn alias(context: &Context<'_>, tenant: &Value, step: &Step) -> Result<String, Refusal> {
    let wish = step.value.as_str().unwrap_or_default().to_ascii_lowercase();
    let region = text(tenant, "region");
    let Some((label, _)) = hosts::split(&wish).filter(|(_, held)| *held == region) else {
        return Err(invalid(step, &format!("Hostname should be of the form {}", hosts::name("<alias>", region))));
    };
    if !(3..=63).contains(&label.len()) {
        return Err(invalid(step, "Subdomain should be between 3 and 63 characters"));
    }
    let fits = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !fits || label.starts_with('-') || label.ends_with('-') {
        return Err(invalid(step, "Subdomain should have letters, digits and inner hyphens only"));
    }
    let taken = label == "register"
        || hosts::tenant(context.state(), &wish, context.now).is_some_and(|held| held["id"] != tenant["id"]);
    if taken || tenant["hostnames"][0] == *wish {
        return Err(invalid(step, "Hostname is already in use"));
    }
    Ok(wish)
}

/// The tenant of the path, when the caller confirms its host name.
fn confirmed(context: &Context<'_>) -> Result<Document, Refusal> {
    let tenant = asked(context)?;
    let host = context.header("qlik-confirm-hostname").unwrap_or_default().to_ascii_lowercase();
    let hostnames = tenant["hostnames"].as_array().cloned().unwrap_or_default();
    if hostnames.iter().any(|held| *held == *host) {
        return Ok(tenant);
    }
    let detail = "the header qlik-confirm-hostname does not name a host of the tenant";
    Err(Refusal::new(StatusCode::PRECONDITION_FAILED, "HTTP-412", "Precondition failed").detail(detail))
}

fn deactivate(context: &mut Context<'_>) -> Handled {
    let mut tenant = (*confirmed(context)?).clone();
    let days = match context.body.get("purgeAfterDays") {
        None | Some(Value::Null) => 30,
        Some(days) => days.as_i64().filter(|days| (10..=90).contains(days)).ok_or_else(|| {
            Refusal::bad_request("purgeAfterDays must be a whole number from 10 to 90").pointer("/purgeAfterDays")
        })?,
    };
    let ends = context.now + jiff::SignedDuration::from_hours(24 * days);
    // The day is what counts: the published example ends at midnight.
    let ends = format!("{}T00:00:00.000Z", ends.strftime("%Y-%m-%d"));
    let (id, now) = (text(&tenant, "id").to_owned(), context.timestamp());
    // Asking again starts the countdown anew.
    patch::set(&mut tenant, "/status", json!("disabled"));
    patch::set(&mut tenant, "/statusLastUpdatedAt", json!(now));
    patch::set(&mut tenant, PURGE, json!(ends));
    context.put_in(&context.home(), "tenants", &id, tenant);
    Ok(Answer::ok(&json!({"id": id, "status": "disabled", "estimatedPurgeDate": ends})))
}

fn reactivate(context: &mut Context<'_>) -> Handled {
    let mut tenant = (*confirmed(context)?).clone();
    let id = text(&tenant, "id").to_owned();
    if text(&tenant, "status") != "active" {
        room(context, text(&tenant, "region"))?;
        patch::set(&mut tenant, "/status", json!("active"));
        patch::set(&mut tenant, "/statusLastUpdatedAt", json!(context.timestamp()));
        if let Some(fields) = tenant.as_object_mut() {
            fields.remove(PURGE);
        }
        context.put_in(&context.home(), "tenants", &id, tenant);
    }
    Ok(Answer::ok(&json!({"id": id, "status": "active"})))
}
