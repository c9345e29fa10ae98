//! Roles: the default ones every tenant has, and a tenant's own (roles API; access control, roles).

use serde_json::{Value, json};

use super::context::{Answer, Context, Handled, text};
use super::filter::{Fields, Filter};
use super::paging::{self, Paging, page_as};
use super::patch::{self, Step};
use super::refusal::Refusal;
use super::resources::Resource;
use super::state::Document;

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("getRoles", list),
        ("createRole", create),
        ("getRole", get),
        ("patchRole", change),
        ("deleteRole", delete),
    ],
    seed: Some(seed),
};

/// The service's one published code.
const MISSING: &str = "IDENTITIES-10402";
const PAGING: Paging = Paging::next_prev(20, 100);
/// The most custom roles a tenant may have.
const CUSTOM: usize = 500;

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
    (USER_DEFAULT, "user"),
];

/// The one default role that is not fixed: its scopes can be chosen (create a tenant, permissions).
const USER_DEFAULT: &str = "UserDefault";

fn seed(context: &mut Context<'_>) {
    for (name, level) in DEFAULTS {
        let id = context.new_id();
        let now = context.timestamp();
        let role = json!({
            "id": id, "name": name, "type": "default", "level": level, "description": "", "assignedScopes": [],
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
        let brief = brief(&role);
        if !shown.contains(&brief) {
            shown.push(brief);
        }
    }
    Ok(Value::Array(shown))
}

/// A role as users and groups show it.
fn brief(role: &Value) -> Value {
    json!({"id": role["id"], "name": role["name"], "type": role["type"], "level": role["level"]})
}

fn is_custom(role: &Value) -> bool {
    text(role, "type") == "custom"
}

/// A role with its link and what may be done with it.
fn shown(context: &Context<'_>, role: &Value) -> Value {
    let mut shown = role.clone();
    shown["links"] = json!({"self": {"href": context.link(&format!("/api/v1/roles/{}", text(role, "id")))}});
    shown["canDelete"] = json!(is_custom(role));
    shown["canEdit"] = json!(is_custom(role) || text(role, "name") == USER_DEFAULT);
    shown
}

const FILTERS: Fields = Fields { eq: &["id", "name", "type", "level", "description"], co: &["name", "description"] };
const SORTS: &[&str] = &["id", "name", "type", "level", "description", "createdAt", "lastUpdatedAt"];

fn list(context: &mut Context<'_>) -> Handled {
    let roles = context.collection("roles");
    let mut found = match context.parameter("filter") {
        Some(filter) => Filter::parse(filter, FILTERS)?.apply(roles.documents()),
        None => roles.documents(),
    };
    paging::sort(context, &mut found, SORTS, "+name")?;
    page_as(context, found, PAGING, shown)
}

/// The role of the path.
fn asked(context: &Context<'_>) -> Result<Document, Refusal> {
    context.get("roles", &context.var("id")).ok_or_else(|| Refusal::not_found(MISSING))
}

fn get(context: &mut Context<'_>) -> Handled {
    let role = asked(context)?;
    Ok(Answer::ok(&shown(context, &role)))
}

/// Whether a name can be given to a role: it is none's yet. The API publishes no 409 for roles.
fn free(context: &Context<'_>, name: &str) -> Result<(), Refusal> {
    if name.trim().is_empty() {
        return Err(Refusal::bad_request("a role needs a name").pointer("/name"));
    }
    match context.collection("roles").find_exact("name", name) {
        Some(_) => Err(Refusal::bad_request(format!("a role named `{name}` exists")).pointer("/name")),
        None => Ok(()),
    }
}

fn create(context: &mut Context<'_>) -> Handled {
    free(context, text(&context.body, "name"))?;
    let custom = context.collection("roles").iter().filter(|(_, role)| is_custom(role)).count();
    if custom >= CUSTOM {
        return Err(Refusal::bad_request(format!("the tenant has {CUSTOM} custom roles, which is the most it may")));
    }
    let (id, now, user) = (context.new_id(), context.timestamp(), context.user_id());
    let mut role = json!({"description": "", "assignedScopes": []});
    let own = json!({
        "id": id, "type": "custom", "level": "user", "tenantId": context.tenant_id(),
        "createdAt": now, "lastUpdatedAt": now, "createdBy": user, "updatedBy": user,
    });
    for fields in [&context.body, &own].into_iter().filter_map(Value::as_object) {
        for (name, value) in fields {
            role[name] = value.clone();
        }
    }
    context.put("roles", &id, role.clone());
    Ok(Answer::created(&shown(context, &role)))
}

const PATCHES: &[(&str, &[&str])] = &[
    ("replace", &["/name", "/description", "/assignedScopes"]),
    ("add", &["/assignedScopes", "/assignedScopes/-"]),
    ("remove-value", &["/assignedScopes"]),
];

fn change(context: &mut Context<'_>) -> Handled {
    let before = asked(context)?;
    let mut role = (*before).clone();
    for step in patch::steps(context, PATCHES)? {
        let field = step.path.trim_end_matches("/-");
        if !(is_custom(&role) || (text(&role, "name") == USER_DEFAULT && field == "/assignedScopes")) {
            return Err(step.refuse(format!("the default role `{}` cannot be changed", text(&role, "name"))));
        }
        match field {
            "/assignedScopes" => scopes(&mut role, &step)?,
            "/name" if step.value != role["name"] => {
                free(context, step.text()?)?;
                role["name"] = step.value;
            }
            _ => patch::set(&mut role, field, json!(step.text()?)),
        }
    }
    if role != *before {
        role["lastUpdatedAt"] = json!(context.timestamp());
        role["updatedBy"] = json!(context.user_id());
        if role["name"] != before["name"] {
            rename(context, &role);
        }
        context.put("roles", &context.var("id"), role);
    }
    Ok(Answer::no_content())
}

fn scopes(role: &mut Value, step: &Step) -> Result<(), Refusal> {
    let named: Vec<Value> = match &step.value {
        Value::Array(list) => list.clone(),
        one => vec![one.clone()],
    };
    if named.iter().any(|scope| !scope.is_string()) {
        return Err(step.refuse("scopes are text"));
    }
    let mut held = role["assignedScopes"].as_array().cloned().unwrap_or_default();
    match &*step.op {
        "add" => held.extend(
            named
                .into_iter()
                .filter(|scope| !role["assignedScopes"].as_array().is_some_and(|held| held.contains(scope))),
        ),
        "remove-value" => held.retain(|scope| !named.contains(scope)),
        _ => held = named,
    }
    role["assignedScopes"] = json!(held);
    Ok(())
}

/// Where roles are assigned.
const HOLDERS: &[&str] = &["users", "groups", "systemGroups"];

/// The users or groups of a collection that have a role.
fn holders(context: &Context<'_>, collection: &str, id: &str) -> Vec<Document> {
    let has = |holder: &Document| {
        let roles = holder.get("assignedRoles").and_then(Value::as_array);
        roles.is_some_and(|roles| roles.iter().any(|role| text(role, "id") == id))
    };
    context.collection(collection).documents().into_iter().filter(has).collect()
}

/// Shows a role's new name where it is assigned.
fn rename(context: &mut Context<'_>, role: &Value) {
    for collection in HOLDERS {
        for holder in holders(context, collection, text(role, "id")) {
            let mut holder = (*holder).clone();
            for held in holder["assignedRoles"].as_array_mut().into_iter().flatten() {
                if held["id"] == role["id"] {
                    *held = brief(role);
                }
            }
            let id = text(&holder, "id").to_owned();
            context.put(collection, &id, holder);
        }
    }
}

fn delete(context: &mut Context<'_>) -> Handled {
    let role = asked(context)?;
    let (id, name) = (text(&role, "id"), text(&role, "name"));
    if !is_custom(&role) {
        return Err(Refusal::bad_request(format!("the default role `{name}` cannot be deleted")));
    }
    for collection in HOLDERS {
        let count = holders(context, collection, id).len();
        if count > 0 {
            return Err(Refusal::bad_request(format!("the role `{name}` is assigned to {count} {collection}")));
        }
    }
    context.remove("roles", id);
    Ok(Answer::no_content())
}
