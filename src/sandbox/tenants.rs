//! Tenants: made on a region's register host, looked after on their own.

use http::StatusCode;
use serde_json::{Value, json};

use super::context::{Answer, Context, Handled, text};
use super::hosts::{self, Place, REGIONS};
use super::ids;
use super::refusal::Refusal;
use super::resources::{self, Resource};
use super::state::{Document, Scope};

pub(super) const RESOURCE: Resource =
    Resource { routes: &[("createTenant", create), ("getTenant", get), ("getMyTenant", me)], seed: None };

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
    if key != text(&organization, "licenseKey") {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "TENANTS-23", "Invalid license"));
    }
    let datacenter = REGIONS.into_iter().find(|(held, _)| held == region).map_or("", |(_, datacenter)| datacenter);
    let wish = text(&context.body, "datacenter");
    if !wish.is_empty() && wish != datacenter {
        let detail = format!("the register host of region {region} makes tenants in {datacenter}, not in {wish}");
        return Err(Refusal::bad_request(detail).pointer("/datacenter"));
    }
    let tenants = context.collection_in(&Scope::Organization, "tenants");
    let quota = organization.get("tenantQuota").and_then(Value::as_u64).unwrap_or(u64::MAX);
    // A deactivated tenant frees its place at once (delete a tenant).
    let counted = tenants.iter().filter(|(_, tenant)| counts(tenant, region)).count();
    if u64::try_from(counted).unwrap_or(u64::MAX) >= quota {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "TENANTS-22", "License quota limit reached"));
    }
    let label = loop {
        let label = ids::label(context.random, LABEL);
        if hosts::tenant(context.state(), &hosts::name(&label, region)).is_none() {
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
    context.put_in(&Scope::Organization, "tenants", &id, tenant.clone());
    context.within(Scope::tenant(&id), resources::seed);
    Ok(Answer::created(&shown(context, &tenant)))
}

fn counts(tenant: &Document, region: &str) -> bool {
    text(tenant, "region") == region && text(tenant, "status") == "active"
}

/// A tenant with its link.
fn shown(context: &Context<'_>, tenant: &Value) -> Value {
    let mut tenant = tenant.clone();
    tenant["links"] = json!({"self": {"href": context.link(&format!("/api/v1/tenants/{}", text(&tenant, "id")))}});
    tenant
}

/// The tenant of the path: on its own host only itself, on a register host those of the region.
fn asked(context: &Context<'_>) -> Result<Document, Refusal> {
    let id = context.var("tenantId");
    let tenant = context.get_in(&Scope::Organization, "tenants", &id).ok_or_else(|| Refusal::not_found(MISSING))?;
    let here = match context.place {
        Place::Tenant(own) => own["id"] == tenant["id"],
        Place::Register { region } => text(&tenant, "region") == *region,
        _ => false,
    };
    if here { Ok(tenant) } else { Err(Refusal::not_found(MISSING)) }
}

fn get(context: &mut Context<'_>) -> Handled {
    let tenant = asked(context)?;
    Ok(Answer::ok(&shown(context, &tenant)))
}

fn me(context: &mut Context<'_>) -> Handled {
    let link = context.link(&format!("/api/v1/tenants/{}", context.tenant_id()));
    Ok(Answer::redirect(StatusCode::FOUND, &link))
}
