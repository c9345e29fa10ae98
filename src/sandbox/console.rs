//! The organization's list of tenants, on the console host (organization API, get started).

use serde_json::{Value, json};

use super::context::{Context, Handled, text};
use super::hosts::{self, PURGE};
use super::paging::{Paging, page_of};
use super::resources::Resource;

pub(super) const RESOURCE: Resource = Resource { routes: &[("listOrganizationTenants", list)], seed: None };

/// Where the regions are (tenants API), as the codes of their countries.
const COUNTRIES: [(&str, &str); 7] =
    [("us", "US"), ("eu", "IE"), ("uk", "GB"), ("de", "DE"), ("jp", "JP"), ("ap", "AU"), ("sg", "SG")];

fn list(context: &mut Context<'_>) -> Handled {
    let tenants = context.collection_in(&context.home(), "tenants");
    page_of(context, &tenants, Paging::forward("offset", 20, 100), shown)
}

/// A tenant as the console shows it: other names for the same facts.
fn shown(context: &Context<'_>, tenant: &Value) -> Value {
    let organization = context.organization();
    let country = COUNTRIES.into_iter().find(|(region, _)| *region == text(tenant, "region"));
    let status = if hosts::is_purged(tenant, context.now) { json!("deleted") } else { tenant["status"].clone() };
    let mut shown = json!({
        "id": tenant["id"], "name": tenant["name"], "hostnames": tenant["hostnames"],
        "regionCode": tenant["datacenter"], "countryCode": country.map(|(_, country)| country),
        "status": status, "createdBy": tenant["createdByUser"],
        "createdAt": tenant["created"], "updatedAt": tenant["lastUpdated"],
        "licenseNumber": organization["licenseNumber"], "subscriptionId": organization["subscriptionId"],
        "licenseStartsAt": organization["startsAt"], "licenseEndsAt": organization["endsAt"],
        "links": {"self": {"href": context.link(&format!("/api/core/tenants/{}", text(tenant, "id")))}},
    });
    if let Some(ends) = tenant.get(PURGE) {
        shown[PURGE] = ends.clone();
    }
    shown
}
