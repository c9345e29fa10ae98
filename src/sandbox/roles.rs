//! Roles.

use serde_json::{Value, json};

use super::context::{Context, text};
use super::refusal::Refusal;
use super::resources::Resource;

pub(super) const RESOURCE: Resource = Resource { routes: &[], seed: Some(seed) };

/// The default roles and their level (access control, default roles). Names are case-sensitive.
const DEFAULTS: &[(&str, &str)] = &[
    ("AnalyticsAdmin", "admin"),
    ("AuditAdmin", "admin"),
    ("DataAdmin", "admin"),
    ("TenantAdmin", "admin"),
    ("AutomationCreator", "user"),
    ("AutomlDeploymentContributor", "user"),
    ("AutomlExperimentContributor", "user"),
    ("CollaborationPlatformUser", "user"),
    ("DataProductManager", "user"),
    ("DataServicesContributor", "user"),
    ("DataSpaceCreator", "user"),
    ("EmbeddedAnalyticsUser", "user"),
    ("ManagedSpaceCreator", "user"),
    ("PrivateAnalyticsContentCreator", "user"),
    ("SharedSpaceCreator", "user"),
    ("Steward", "user"),
    ("UserDefault", "user"),
];

fn seed(context: &mut Context<'_>) {
    for (name, level) in DEFAULTS {
        let id = context.new_id();
        let now = context.timestamp();
        let role = json!({
            "id": id, "name": name, "type": "default", "level": level, "assignedScopes": [],
            "tenantId": context.tenant_id(), "createdAt": now, "lastUpdatedAt": now,
        });
        context.put("roles", &id, role);
    }
}

/// A list of `{"id"}` or `{"name"}` as users and groups show their roles: `{id, name, type, level}`. Names are
/// compared with their case.
///
/// # Errors
/// 400 when the list names a role the tenant does not have.
pub(super) fn assigned(context: &Context<'_>, list: &Value) -> Result<Value, Refusal> {
    let roles = context.collection("roles");
    let Some(list) = list.as_array() else {
        return Err(Refusal::bad_request("assignedRoles must be a list").pointer("/assignedRoles"));
    };
    let mut shown: Vec<Value> = Vec::with_capacity(list.len());
    for (index, item) in list.iter().enumerate() {
        let (id, name) = (text(item, "id"), text(item, "name"));
        let role = if id.is_empty() { roles.find_exact("name", name) } else { roles.get(id) };
        let Some(role) = role else {
            let named = if id.is_empty() { name } else { id };
            let detail = format!("there is no role `{named}`");
            return Err(Refusal::bad_request(detail).pointer(format!("/assignedRoles/{index}")));
        };
        let brief = json!({
            "id": role["id"], "name": role["name"], "type": role["type"], "level": role["level"],
        });
        if !shown.contains(&brief) {
            shown.push(brief);
        }
    }
    Ok(Value::Array(shown))
}
