//! Spaces (spaces API; access control, spaces).

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Value, json};

use super::context::{Answer, Context, Handled, text};
use super::groups;
use super::paging::{self, Paging, page_counted};
use super::patch;
use super::refusal::Refusal;
use super::resources::Resource;
use super::state::Document;

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("getSpaces", list),
        ("createSpace", create),
        ("getSpaceTypes", types),
        ("getSpace", get),
        ("updateSpace", replace),
        ("patchSpace", change),
        ("deleteSpace", delete),
    ],
    seed: None,
};

/// The default is published, the maximum is what Qlik's own examples use.
pub(super) const PAGING: Paging = Paging::next_prev(10, 100);

/// The roles that can be assigned in each type of space (roles in spaces).
const ASSIGNABLE: &[(&str, &[&str])] = &[
    ("shared", &["codeveloper", "consumer", "dataconsumer", "facilitator", "producer"]),
    ("managed", &["basicconsumer", "consumer", "contributor", "dataconsumer", "facilitator", "operator", "publisher"]),
    ("data", &["consumer", "dataconsumer", "datapreview", "facilitator", "operator", "producer", "publisher"]),
];

/// Collections whose documents lie in a space, by `spaceId`, and keep it from being deleted.
const CONTENT: &[&str] = &["apps", "items", "automations", "dataConnections", "dataFiles"];

/// What may not be in a name.
const FORBIDDEN: &str = "\"*?<>/|\\:";

/// The roles that can be assigned in a space.
pub(super) fn assignable(space: &Value) -> &'static [&'static str] {
    let kind = text(space, "type");
    ASSIGNABLE.iter().find(|(held, _)| *held == kind).map_or(&[], |(_, roles)| roles)
}

/// The code for what is not there; the service publishes none.
pub(super) const MISSING: &str = "HTTP-404";

/// Who asks, as far as spaces care.
pub(super) struct Caller {
    id: String,
    /// Administrators see every space.
    admin: bool,
    /// The roles that were assigned, to the user or to a group of the user's, by space.
    roles: BTreeMap<String, Vec<String>>,
}

impl Caller {
    pub(super) fn of(context: &Context<'_>) -> Self {
        let id = context.user_id();
        let user = context.get("users", &id).unwrap_or_default();
        let mut holders = vec![(*user).clone()];
        for held in user.get("assignedGroups").and_then(Value::as_array).into_iter().flatten() {
            holders.extend(context.get("groups", text(held, "id")).map(|group| (*group).clone()));
        }
        holders.extend(context.collection("systemGroups").documents().into_iter().map(|group| (*group).clone()));
        let admin = holders
            .iter()
            .filter_map(|holder| holder.get("assignedRoles")?.as_array())
            .flatten()
            .any(|role| ["TenantAdmin", "AnalyticsAdmin"].contains(&text(role, "name")));
        let assignments = context.collection("assignments");
        let mut roles: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for holder in &holders {
            for assignment in assignments.find("assigneeId", text(holder, "id")) {
                let held = roles.entry(text(&assignment, "spaceId").to_owned()).or_default();
                let given = assignment["roles"].as_array().cloned().unwrap_or_default();
                held.extend(given.iter().filter_map(Value::as_str).map(str::to_owned));
                held.sort();
                held.dedup();
            }
        }
        Self { id, admin, roles }
    }

    /// The user's id.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Whether it is an administrator.
    pub(super) fn is_admin(&self) -> bool {
        self.admin
    }

    fn owns(&self, space: &Value) -> bool {
        text(space, "ownerId") == self.id
    }

    pub(super) fn sees(&self, space: &Value) -> bool {
        self.admin || self.has_role_in(space)
    }

    /// Whether it owns the space or was given a role in it.
    pub(super) fn has_role_in(&self, space: &Value) -> bool {
        self.owns(space) || self.roles.contains_key(text(space, "id"))
    }

    /// The owner has every role without an assignment.
    pub(super) fn roles(&self, space: &Value) -> Vec<String> {
        if self.owns(space) {
            return assignable(space).iter().map(|role| (*role).to_owned()).collect();
        }
        self.roles.get(text(space, "id")).cloned().unwrap_or_default()
    }

    pub(super) fn publishes(&self, space: &Value) -> bool {
        text(space, "type") == "managed" && (self.admin || self.roles(space).iter().any(|role| role == "publisher"))
    }

    fn actions(&self, space: &Value) -> Vec<&'static str> {
        let mut actions = vec!["read"];
        if self.admin || self.owns(space) {
            actions.extend(["create", "update", "delete", "change_owner"]);
        } else if self.roles(space).iter().any(|role| role == "facilitator") {
            actions.push("update");
        }
        if self.publishes(space) {
            actions.push("publish");
        }
        actions
    }
}

/// A space with its links and what the caller may do in it.
fn shown(context: &Context<'_>, caller: &Caller, space: &Value) -> Value {
    let link = context.link(&format!("/api/v1/spaces/{}", text(space, "id")));
    let mut shown = space.clone();
    shown["meta"] = json!({
        "actions": caller.actions(space), "roles": caller.roles(space), "assignableRoles": assignable(space),
    });
    shown["links"] = json!({"self": {"href": link}, "assignments": {"href": format!("{link}/assignments")}});
    shown
}

fn told(context: &Context<'_>, space: &Value) -> Value {
    shown(context, &Caller::of(context), space)
}

fn list(context: &mut Context<'_>) -> Handled {
    let caller = Caller::of(context);
    let given = |name: &str| context.parameter(name).filter(|value| !value.is_empty());
    let several = |name: &str| -> Option<Vec<&str>> {
        let values = context.query.iter().filter(|(held, _)| held == name).map(|(_, value)| value);
        let values: Vec<&str> = values.flat_map(|value| value.split(',')).filter(|value| !value.is_empty()).collect();
        (!values.is_empty()).then_some(values)
    };
    if let Some(action) = given("action").filter(|action| *action != "publish") {
        let detail = format!("action supports only `publish`, not `{action}`");
        return Err(Refusal::bad_request(detail).parameter("action"));
    }
    // No space has an environment here, so only the wish for none finds any.
    let in_environment = given("environment.name").or(given("environmentId")).is_some();
    let name = given("name").map(str::to_lowercase);
    let (kinds, roles) = (several("type"), several("roles"));
    let passes = |space: &Document| {
        caller.sees(space)
            && !in_environment
            && name.as_ref().is_none_or(|name| text(space, "name").to_lowercase().contains(name))
            && given("ownerId").is_none_or(|owner| text(space, "ownerId") == owner)
            && kinds.as_ref().is_none_or(|kinds| kinds.contains(&text(space, "type")))
            && roles.as_ref().is_none_or(|roles| caller.roles(space).iter().any(|held| roles.contains(&held.as_str())))
            && given("action").is_none_or(|_| caller.publishes(space))
    };
    let mut found: Vec<Document> = context.collection("spaces").documents().into_iter().filter(passes).collect();
    paging::sort(context, &mut found, &["type", "name", "createdAt"], "")?;
    page_counted(context, found, PAGING, |context, space| shown(context, &caller, space))
}

fn types(_: &mut Context<'_>) -> Handled {
    let types: Vec<&str> = ASSIGNABLE.iter().map(|(kind, _)| *kind).collect();
    Ok(Answer::ok(&json!({"data": types})))
}

/// The space of the path, when the caller may see it.
pub(super) fn asked(context: &Context<'_>) -> Result<Document, Refusal> {
    let space = context.get("spaces", &context.var("spaceId"));
    space.filter(|space| Caller::of(context).sees(space)).ok_or_else(|| Refusal::not_found(MISSING))
}

fn get(context: &mut Context<'_>) -> Handled {
    let space = asked(context)?;
    Ok(Answer::ok(&told(context, &space)))
}

/// Whether a space may be named so. Names are unique over all types.
fn free(context: &Context<'_>, name: &str, own: &str) -> Result<(), Refusal> {
    if name.is_empty() || name.chars().count() > 256 || name.contains(|sign| FORBIDDEN.contains(sign)) {
        let detail = format!("a name has 1 to 256 characters and none of {FORBIDDEN}");
        return Err(Refusal::bad_request(detail).pointer("/name"));
    }
    match context.collection("spaces").find_exact("name", name) {
        Some(other) if text(&other, "id") != own => {
            let detail = format!("a space named {name} already exists");
            Err(Refusal::conflict("HTTP-409", detail).pointer("/name"))
        }
        _ => Ok(()),
    }
}

fn create(context: &mut Context<'_>) -> Handled {
    let mut space = context.body.clone();
    free(context, text(&space, "name"), "")?;
    if assignable(&space).is_empty() {
        return Err(Refusal::bad_request("type is one of shared, managed, data").pointer("/type"));
    }
    let (id, now, user) = (context.new_id(), context.timestamp(), context.user_id());
    space["id"] = json!(id);
    space["tenantId"] = json!(context.tenant_id());
    space["ownerId"] = json!(user);
    space["createdAt"] = json!(now);
    space["createdBy"] = json!(user);
    space["updatedAt"] = json!(now);
    context.put("spaces", &id, space.clone());
    Ok(Answer::created(&told(context, &space)))
}

/// Changes one field of a space.
fn set(context: &Context<'_>, space: &mut Value, field: &str, value: &Value) -> Result<(), Refusal> {
    let pointer = format!("/{field}");
    let Some(new) = value.as_str() else {
        return Err(Refusal::bad_request(format!("{field} must be text")).pointer(pointer));
    };
    match field {
        "name" => free(context, new, text(space, "id"))?,
        "ownerId" if context.get("users", new).is_none() => {
            return Err(Refusal::bad_request(format!("there is no user {new}")).pointer(pointer));
        }
        _ => {}
    }
    space[field] = json!(new);
    Ok(())
}

fn keep(context: &mut Context<'_>, before: &Value, mut space: Value) -> Answer {
    if space != *before {
        space["updatedAt"] = json!(context.timestamp());
        let id = text(&space, "id").to_owned();
        context.put("spaces", &id, space.clone());
    }
    Answer::ok(&told(context, &space))
}

/// What the request leaves out stays: the reference calls no field required.
fn replace(context: &mut Context<'_>) -> Handled {
    let before = asked(context)?;
    let mut space = (*before).clone();
    for field in ["name", "description", "ownerId"] {
        if let Some(value) = context.body.get(field).cloned() {
            set(context, &mut space, field, &value)?;
        }
    }
    Ok(keep(context, &before, space))
}

/// Unlike most patches, this one answers 200 with the space.
fn change(context: &mut Context<'_>) -> Handled {
    let before = asked(context)?;
    let mut space = (*before).clone();
    for step in patch::steps(context, &[("replace", &["/name", "/description", "/ownerId"])])? {
        set(context, &mut space, &step.path[1..], &step.value)?;
    }
    Ok(keep(context, &before, space))
}

fn delete(context: &mut Context<'_>) -> Handled {
    let space = asked(context)?;
    let id = text(&space, "id");
    if CONTENT.iter().any(|collection| !context.collection(collection).find("spaceId", id).is_empty()) {
        let refusal = Refusal::new(StatusCode::PRECONDITION_FAILED, "HTTP-412", "Precondition failed");
        return Err(refusal.detail("the space is not empty"));
    }
    for collection in ["assignments", "shares"] {
        for held in context.collection(collection).find("spaceId", id) {
            context.remove(collection, text(&held, "id"));
        }
    }
    context.remove("spaces", id);
    Ok(Answer::no_content())
}

/// Whether there is such an assignee.
pub(super) fn known(context: &Context<'_>, kind: &str, id: &str) -> bool {
    match kind {
        "group" => groups::exists(context, id),
        _ => context.get("users", id).is_some(),
    }
}
