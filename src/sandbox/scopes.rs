//! What a token's scopes allow (scopes; create a regional OAuth client).
//!
//! No published document says which operation needs which scope. Known is what `tenants:*` are for; that `admin.spaces` and
//! its like are enough to write their resource, where `admin_classic` is enough for everything, follows from how the list of
//! scopes describes them.

use super::refusal::Refusal;
use crate::contract::Published;

/// Operations that nothing but one scope allows.
const NEEDED: &[(&str, &str)] = &[
    ("createTenant", "tenants:create"),
    ("deactivateTenant", "tenants:deactivate"),
    ("reactivateTenant", "tenants:reactivate"),
    ("listOrganizationTenants", "cloud-console.tenants:read"),
];

/// Scopes that allow to write a service's things, by the end of the service's name. Those without `admin.` are for what the
/// client's own user has access to.
const WRITERS: &[(&str, &[&str])] = &[
    ("apps", &["admin.apps", "apps"]),
    ("automations", &["admin.automations", "automations"]),
    ("spaces", &["admin.spaces", "spaces"]),
    ("users", &["admin.users"]),
    ("themes", &["admin.themes"]),
    ("extensions", &["admin.extensions"]),
    ("ip-policies", &["admin.ip-policies"]),
    ("auth-settings", &["admin.auth-settings"]),
    ("webhooks", &["admin.webhooks"]),
];

fn has(scopes: &str, wanted: &str) -> bool {
    scopes.split(' ').any(|scope| scope == wanted)
}

/// Refuses what needs a scope that the token has not.
pub(super) fn check(operation: &Published, scopes: &str) -> Result<(), Refusal> {
    match NEEDED.iter().find(|(id, _)| *id == operation.id) {
        Some((_, needed)) if !has(scopes, needed) => {
            Err(Refusal::forbidden(&format!("the token has not the scope {needed}")))
        }
        _ => Ok(()),
    }
}

/// Whether the scopes allow to write with an operation of a tenant.
pub(super) fn may_write(operation: &Published, scopes: &str) -> bool {
    let service = operation.tag.rsplit('/').next().unwrap_or(operation.tag);
    let writers = WRITERS.iter().find(|(held, _)| *held == service).map_or(&[][..], |(_, scopes)| *scopes);
    has(scopes, "admin_classic") || writers.iter().any(|writer| has(scopes, writer))
}
