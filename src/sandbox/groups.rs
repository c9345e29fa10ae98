//! Groups, their settings, and the one system group, Everyone (groups API; access control, groups).

use serde_json::{Value, json};

use super::context::{Answer, Context, Handled, text};
use super::filter::{Fields, Filter};
use super::paging::{self, Paging, page_as};
use super::patch::{self, Step};
use super::refusal::Refusal;
use super::resources::Resource;
use super::roles;
use super::state::Document;

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("getGroups", list),
        ("createGroup", create),
        ("filterGroups", filter),
        ("getGroupsSettings", settings),
        ("patchGroupsSettings", change_settings),
        ("getGroup", get),
        ("patchGroup", change),
        ("deleteGroup", delete),
    ],
    seed: Some(seed),
};

/// The service's one published code.
const CODE: &str = "GROUPS-7";
const PAGING: Paging = Paging::next_prev(20, 100);
/// Everyone's id, the same on every tenant.
const EVERYONE: &str = "000000000000000000000001";
/// The roles a group may have at most.
const ROLES: usize = 100;
/// The most groups a tenant may have of either kind (capacity, Qlik Cloud specifications).
const LIMITS: [(&str, usize); 2] = [("idp", 10_000), ("custom", 20_000)];

/// What Everyone may do on a new tenant. The facts only name what a partner takes away.
const EVERYONES_ROLES: [&str; 5] = [
    "AutomationCreator",
    "AutomlDeploymentContributor",
    "AutomlExperimentContributor",
    "PrivateAnalyticsContentCreator",
    "SharedSpaceCreator",
];

fn seed(context: &mut Context<'_>) {
    let named: Vec<Value> = EVERYONES_ROLES.iter().map(|name| json!({"name": name})).collect();
    let now = context.timestamp();
    let everyone = json!({
        "id": EVERYONE, "tenantId": context.tenant_id(), "name": "com.qlik.Everyone", "status": "active",
        "assignedRoles": roles::assigned(context, &json!(named)).unwrap_or_else(|_| json!([])),
        "createdAt": now, "lastUpdatedAt": now,
    });
    context.put("systemGroups", EVERYONE, everyone);
    context.put("settings", "groups", json!({"autoCreateGroups": false, "syncIdpGroups": false}));
}

/// Whether there is a group, of the tenant or of the system, with this id.
pub(super) fn exists(context: &Context<'_>, id: &str) -> bool {
    context.get("groups", id).or_else(|| context.get("systemGroups", id)).is_some()
}

/// A group with its link.
fn shown(context: &Context<'_>, group: &Value) -> Value {
    let mut group = group.clone();
    group["links"] = json!({"self": {"href": context.link(&format!("/api/v1/groups/{}", text(&group, "id")))}});
    group
}

const FILTERS: Fields = Fields {
    eq: &["id", "name", "status", "providerType", "description", "assignedRoles.id", "assignedRoles.name"],
    co: &["name", "description"],
};
const SORTS: &[&str] = &["id", "name", "status", "providerType", "description", "createdAt", "lastUpdatedAt"];

fn listed(context: &Context<'_>, filter: Option<&str>) -> Handled {
    let groups = context.collection("groups");
    let mut found = match filter {
        Some(filter) => {
            let filter = Filter::parse(filter, FILTERS)?;
            if filter.count("id") > 100 {
                return Err(Refusal::bad_request("the filter has more than 100 ids").parameter("filter"));
            }
            let candidates = match (filter.demands("id"), filter.demands("name")) {
                (Some(id), _) => groups.get(id).into_iter().collect(),
                (_, Some(name)) => groups.find("name", name),
                _ => groups.documents(),
            };
            filter.apply(candidates)
        }
        None => groups.documents(),
    };
    paging::sort(context, &mut found, SORTS, "+name")?;
    page_as(context, found, PAGING, shown)
}

fn list(context: &mut Context<'_>) -> Handled {
    if context.flag("systemGroups") {
        if context.query.len() > 1 {
            let detail = "systemGroups cannot be combined with any other query parameters";
            return Err(Refusal::bad_request(detail).parameter("systemGroups"));
        }
        return page_as(context, context.collection("systemGroups").documents(), PAGING, shown);
    }
    listed(context, context.parameter("filter"))
}

fn filter(context: &mut Context<'_>) -> Handled {
    listed(context, context.body.get("filter").and_then(Value::as_str))
}

/// The roles a request gives a group.
fn given(context: &Context<'_>, list: &Value) -> Result<Value, Refusal> {
    if list.as_array().is_some_and(|list| list.len() > ROLES) {
        return Err(Refusal::bad_request(format!("a group has at most {ROLES} roles")).pointer("/assignedRoles"));
    }
    roles::assigned(context, list)
}

/// The group of this name and kind; names are compared with their case, and each kind has its own.
fn named(context: &Context<'_>, name: &str, kind: &str) -> Option<Document> {
    let same = |group: &Document| text(group, "name") == name && text(group, "providerType") == kind;
    context.collection("groups").find("name", name).into_iter().find(same)
}

fn create(context: &mut Context<'_>) -> Handled {
    let mut group = context.body.clone();
    let name = text(&group, "name").to_owned();
    if name.is_empty() {
        return Err(Refusal::bad_request("a group needs a name").pointer("/name"));
    }
    if group.get("providerType").is_none() {
        group["providerType"] = json!("idp");
    }
    let kind = text(&group, "providerType").to_owned();
    if named(context, &name, &kind).is_some() {
        return Err(Refusal::conflict(CODE, format!("a group named {name} exists")).pointer("/name"));
    }
    let limit = LIMITS.into_iter().find(|(held, _)| *held == kind).map_or(usize::MAX, |(_, limit)| limit);
    let groups = context.collection("groups");
    if groups.len() >= limit && groups.iter().filter(|(_, held)| text(held, "providerType") == kind).count() >= limit {
        return Err(Refusal::bad_request(format!("the tenant has {limit} {kind} groups, which is the most it may")));
    }
    let wished = group.get("assignedRoles").cloned().unwrap_or_else(|| json!([]));
    group["assignedRoles"] = given(context, &wished)?;
    let (id, now, user) = (context.new_id(), context.timestamp(), context.user_id());
    group["id"] = json!(id);
    group["tenantId"] = json!(context.tenant_id());
    group["status"] = json!("active");
    group["createdAt"] = json!(now);
    group["lastUpdatedAt"] = json!(now);
    group["createdBy"] = json!(user);
    group["updatedBy"] = json!(user);
    context.put("groups", &id, group.clone());
    Ok(Answer::created(&shown(context, &group)))
}

/// The group of the path and the collection it is in.
fn asked(context: &Context<'_>) -> Result<(&'static str, Document), Refusal> {
    let id = context.var("groupId");
    ["groups", "systemGroups"]
        .into_iter()
        .find_map(|collection| Some((collection, context.get(collection, &id)?)))
        .ok_or_else(|| Refusal::not_found(CODE))
}

fn get(context: &mut Context<'_>) -> Handled {
    let (_, group) = asked(context)?;
    Ok(Answer::ok(&shown(context, &group)))
}

fn change(context: &mut Context<'_>) -> Handled {
    let (collection, before) = asked(context)?;
    let mut group = (*before).clone();
    // The types write the paths without a slash, the tutorials with one: both are understood.
    for step in patch::steps(context, &[("replace", &["/assignedRoles", "/name", "/description"])])? {
        if step.path == "/assignedRoles" {
            group["assignedRoles"] = given(context, &step.value)?;
            continue;
        }
        if text(&group, "providerType") != "custom" {
            return Err(step.refuse("name and description can be changed on custom groups only"));
        }
        if step.path == "/name" {
            valid_name(context, &group, &step)?;
        }
        patch::set(&mut group, &step.path, json!(step.text()?));
    }
    if group != *before {
        group["lastUpdatedAt"] = json!(context.timestamp());
        group["updatedBy"] = json!(context.user_id());
        context.put(collection, &context.var("groupId"), group);
    }
    Ok(Answer::no_content())
}

/// Whether a custom group can take a new name. A PATCH has no published 409.
fn valid_name(context: &Context<'_>, group: &Value, step: &Step) -> Result<(), Refusal> {
    let name = step.text()?;
    if name.is_empty() || name.chars().count() > 256 {
        return Err(step.refuse("a name has 1 to 256 characters"));
    }
    match named(context, name, "custom") {
        Some(other) if other["id"] != group["id"] => Err(step.refuse(format!("a group named {name} exists"))),
        _ => Ok(()),
    }
}

fn delete(context: &mut Context<'_>) -> Handled {
    let (collection, group) = asked(context)?;
    if collection == "systemGroups" {
        return Err(Refusal::bad_request("a system group cannot be deleted"));
    }
    let reference = json!({"id": group["id"]});
    let member = |user: &Document| {
        user.get("assignedGroups").and_then(Value::as_array).is_some_and(|held| held.contains(&reference))
    };
    let members: Vec<Document> = context.collection("users").documents().into_iter().filter(member).collect();
    if text(&group, "providerType") == "custom" && !members.is_empty() {
        return Err(Refusal::bad_request(format!("the group has {} members", members.len())));
    }
    for user in members {
        let mut user = (*user).clone();
        if let Some(held) = user["assignedGroups"].as_array_mut() {
            held.retain(|held| *held != reference);
        }
        let id = text(&user, "id").to_owned();
        context.put("users", &id, user);
    }
    for assignment in context.collection("assignments").find("assigneeId", text(&group, "id")) {
        context.remove("assignments", text(&assignment, "id"));
    }
    context.remove("groups", text(&group, "id"));
    Ok(Answer::no_content())
}

fn settings(context: &mut Context<'_>) -> Handled {
    let mut settings = context.get("settings", "groups").map(|held| (*held).clone()).unwrap_or_default();
    settings["tenantId"] = json!(context.tenant_id());
    settings["links"] = json!({"self": {"href": context.link("/api/v1/groups/settings")}});
    let system = context.collection("systemGroups").documents().into_iter().map(|group| {
        let shown = json!({
            "id": group["id"], "name": group["name"], "enabled": true, "assignedRoles": group["assignedRoles"],
            "createdAt": group["createdAt"], "lastUpdatedAt": group["lastUpdatedAt"],
        });
        (text(&group, "id").to_owned(), shown)
    });
    settings["systemGroups"] = Value::Object(system.collect());
    Ok(Answer::ok(&settings))
}

fn change_settings(context: &mut Context<'_>) -> Handled {
    let before = context.get("settings", "groups").unwrap_or_default();
    let mut settings = (*before).clone();
    let everyone = format!("/systemGroups/{EVERYONE}/assignedRoles");
    for step in patch::steps(context, &[("replace", &["/autoCreateGroups", "/syncIdpGroups", &everyone])])? {
        if step.path == everyone {
            let before = context.get("systemGroups", EVERYONE).unwrap_or_default();
            let mut group = (*before).clone();
            group["assignedRoles"] = given(context, &step.value)?;
            if group != *before {
                group["lastUpdatedAt"] = json!(context.timestamp());
                context.put("systemGroups", EVERYONE, group);
            }
        } else {
            patch::set(&mut settings, &step.path, json!(step.flag()?));
        }
    }
    if settings != *before {
        context.put("settings", "groups", settings);
    }
    Ok(Answer::no_content())
}
