//! Users.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::context::{Answer, Context, Handled, text};
use super::filter::{Fields, Filter};
use super::hosts::split;
use super::paging::{self, Paging, page_as};
use super::patch::{self, Step};
use super::refusal::Refusal;
use super::resources::Resource;
use super::state::Document;
use super::{licenses, roles};

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("createUser", create),
        ("getUsers", list),
        ("filterUsers", filter),
        ("countUsers", count),
        ("getMyUser", me),
        ("getUser", get),
        ("patchUser", change),
        ("deleteUser", delete),
        ("inviteUsers", invite),
    ],
    seed: None,
};

/// The service's one published code.
const CODE: &str = "USERS-7";
const PAGING: Paging = Paging::next_prev(20, 100);

/// The id of the bot user a client acts as; it appears with the client's first token on a tenant.
pub(super) fn bot(context: &mut Context<'_>, client: &str) -> Result<String, Refusal> {
    let subject = format!("qlikbot\\{client}");
    if let Some(user) = context.collection("users").find_exact("subject", &subject) {
        return Ok(text(&user, "id").to_owned());
    }
    let region = split(context.host).map_or_else(String::new, |(_, region)| region.to_uppercase());
    let user = json!({
        "name": format!("{region} OAuth Client"), "subject": subject, "status": "active", "clientId": client,
        "assignedRoles": roles::assigned(context, &json!([{"name": "TenantAdmin"}]))?,
    });
    licenses::take_for_bot(context, &subject);
    Ok(add(context, user))
}

/// Stores a new user and returns its id.
pub(super) fn add(context: &mut Context<'_>, fields: Value) -> String {
    let id = context.new_id();
    let now = context.timestamp();
    let mut user = json!({
        "id": id, "tenantId": context.tenant_id(), "createdAt": now, "lastUpdatedAt": now,
        "assignedRoles": [], "assignedGroups": [],
    });
    if let (Some(user), Value::Object(fields)) = (user.as_object_mut(), fields) {
        user.extend(fields);
    }
    context.put("users", &id, user);
    id
}

/// A user with its link and what its groups give it; only the wished fields when the request names some.
fn shown(context: &Context<'_>, user: &Value) -> Value {
    let mut user = with_groups(context, user);
    user["links"] = json!({"self": {"href": context.link(&format!("/api/v1/users/{}", text(&user, "id")))}});
    if let (Some(fields), Value::Object(all)) = (context.parameter("fields"), &user) {
        let kept = fields.split(',').map(str::trim);
        let kept: Map<String, Value> =
            kept.filter_map(|field| Some((field.to_owned(), all.get(field)?.clone()))).collect();
        return Value::Object(kept);
    }
    user
}

/// Groups are kept by id only, so that a group's new name or roles show at once.
fn with_groups(context: &Context<'_>, user: &Value) -> Value {
    let groups = user["assignedGroups"].as_array().cloned().unwrap_or_default();
    let groups = groups.iter().filter_map(|held| context.get("groups", text(held, "id"))).map(|group| {
        json!({
            "id": group["id"], "name": group["name"], "providerType": group["providerType"],
            "assignedRoles": group.get("assignedRoles").cloned().unwrap_or_else(|| json!([])),
        })
    });
    let groups: Vec<Value> = groups.collect();
    let mut user = user.clone();
    user["assignedGroups"] = json!(groups);
    user
}

fn create(context: &mut Context<'_>) -> Handled {
    let mut fields = context.body.clone();
    let subject = text(&fields, "subject").to_owned();
    if subject.is_empty() {
        return Err(Refusal::bad_request("subject is missing").pointer("/subject"));
    }
    // The reference allows `invited` only, the tutorial sends `active`.
    match text(&fields, "status") {
        "" => fields["status"] = json!("invited"),
        "invited" | "active" => {}
        other => return Err(Refusal::bad_request(format!("status cannot be `{other}`")).pointer("/status")),
    }
    if fields.get("tenantId").is_some_and(|tenant| *tenant != *context.tenant_id()) {
        return Err(Refusal::bad_request("tenantId is not this tenant's").pointer("/tenantId"));
    }
    let users = context.collection("users");
    let email = text(&fields, "email");
    if users.find_exact("subject", &subject).is_some() {
        return Err(Refusal::conflict(CODE, format!("a user with subject {subject} exists")));
    }
    if !email.is_empty() && !users.find("email", email).is_empty() {
        return Err(Refusal::conflict(CODE, format!("a user with email {email} exists")));
    }
    if text(&fields, "name").is_empty() {
        fields["name"] = json!(if email.is_empty() { &subject } else { email });
    }
    let wished = fields.get("assignedRoles").cloned().unwrap_or_else(|| json!([]));
    fields["assignedRoles"] = roles::assigned(context, &wished)?;
    let id = add(context, fields);
    let user = context.get("users", &id).unwrap_or_default();
    Ok(Answer::created(&shown(context, &user)))
}

const FILTERS: Fields = Fields {
    eq: &[
        "id",
        "subject",
        "name",
        "email",
        "status",
        "clientId",
        "assignedRoles.id",
        "assignedRoles.name",
        "assignedGroups.id",
        "assignedGroupsAssignedRoles.name",
        "assignedScopes",
    ],
    co: &["name", "email", "subject"],
};

const SORTS: &[&str] =
    &["name", "id", "_id", "tenantId", "clientId", "status", "subject", "email", "inviteExpiry", "createdAt"];

/// The users that pass a filter.
fn filtered(context: &Context<'_>, text: &str) -> Result<Vec<Document>, Refusal> {
    let filter = Filter::parse(text, FILTERS)?;
    if !filter.groups("status") {
        let detail = "filters for status must be grouped together and applied to the whole query";
        return Err(Refusal::bad_request(detail).parameter("filter"));
    }
    if filter.count("id") > 100 {
        return Err(Refusal::bad_request("the filter has more than 100 ids").parameter("filter"));
    }
    let users = context.collection("users");
    if filter.mentions("assignedGroupsAssignedRoles") {
        let passes = |user: &Document| {
            let mut view = with_groups(context, user);
            let groups = view["assignedGroups"].as_array().cloned().unwrap_or_default();
            let held = groups.iter().filter_map(|group| group["assignedRoles"].as_array().cloned()).flatten();
            view["assignedGroupsAssignedRoles"] = Value::Array(held.collect());
            filter.passes(&view)
        };
        return Ok(users.documents().into_iter().filter(passes).collect());
    }
    let candidates = match (filter.demands("id"), filter.demands("subject"), filter.demands("email")) {
        (Some(id), ..) => users.get(id).into_iter().collect(),
        (_, Some(subject), _) => users.find("subject", subject),
        (.., Some(email)) => users.find("email", email),
        _ => users.documents(),
    };
    Ok(filter.apply(candidates))
}

fn found(context: &Context<'_>, filter: Option<&str>) -> Result<Vec<Document>, Refusal> {
    filter.map_or_else(|| Ok(context.collection("users").documents()), |filter| filtered(context, filter))
}

fn paged(context: &Context<'_>, mut users: Vec<Document>) -> Handled {
    paging::sort(context, &mut users, SORTS, "+name")?;
    page_as(context, users, PAGING, shown)
}

/// With the old filters, which are assumed to hold beside the new one. `sortBy` has one value, and the list is by name
/// already; which way it goes, `sort` says.
fn list(context: &mut Context<'_>) -> Handled {
    let mut users = found(context, context.parameter("filter"))?;
    for field in ["email", "status", "subject", "tenantId"] {
        if let Some(wanted) = context.parameter(field) {
            users.retain(|user| wanted.split(',').any(|wanted| text(user, field).eq_ignore_ascii_case(wanted)));
        }
    }
    paged(context, users)
}

fn filter(context: &mut Context<'_>) -> Handled {
    let users = found(context, context.body.get("filter").and_then(Value::as_str))?;
    paged(context, users)
}

fn count(context: &mut Context<'_>) -> Handled {
    Ok(Answer::ok(&json!({"total": context.collection("users").len()})))
}

fn me(context: &mut Context<'_>) -> Handled {
    let link = context.link(&format!("/api/v1/users/{}", context.user_id()));
    Ok(Answer::redirect(StatusCode::MOVED_PERMANENTLY, &link))
}

/// The user of the path.
fn asked(context: &Context<'_>) -> Result<Document, Refusal> {
    context.get("users", &context.var("userId")).ok_or_else(|| Refusal::not_found(CODE))
}

fn get(context: &mut Context<'_>) -> Handled {
    let user = asked(context)?;
    Ok(Answer::ok(&shown(context, &user)))
}

fn delete(context: &mut Context<'_>) -> Handled {
    let user = asked(context)?;
    let id = text(&user, "id");
    if id == context.user_id() {
        return Err(Refusal::bad_request("a user cannot delete itself"));
    }
    context.remove("users", id);
    Ok(Answer::no_content())
}

const LISTS: &[&str] = &["/assignedRoles", "/assignedGroups"];
/// What a user may be without; the types require the rest.
const UNSET: &[&str] = &["/preferredZoneinfo", "/preferredLocale", "/inviteExpiry"];
const REPLACES: &[&str] = &[
    "/name",
    "/preferredZoneinfo",
    "/preferredLocale",
    "/status",
    "/inviteExpiry",
    "/roles",
    "/assignedRoles",
    "/assignedGroups",
];

/// What each operation may touch. `set` and `unset` are old names that still work.
const PATCHES: &[(&str, &[&str])] = &[
    ("replace", REPLACES),
    ("set", REPLACES),
    ("unset", UNSET),
    ("add", &["/assignedRoles", "/assignedRoles/-", "/assignedGroups", "/assignedGroups/-"]),
    ("remove-value", LISTS),
    ("renew", &["/inviteExpiry"]),
];

fn change(context: &mut Context<'_>) -> Handled {
    let before = asked(context)?;
    let mut user = (*before).clone();
    for step in patch::steps(context, PATCHES)? {
        let field = step.path.trim_end_matches("/-");
        match (&*step.op, field) {
            ("renew", _) => {}
            ("unset", _) => {
                if let Some(fields) = user.as_object_mut() {
                    fields.remove(&field[1..]);
                }
            }
            (_, "/roles" | "/assignedRoles") => roles_of(context, &mut user, &step)?,
            (_, "/assignedGroups") => groups_of(context, &mut user, &step)?,
            (_, "/status") if !["active", "disabled", "invited"].contains(&step.text()?) => {
                return Err(step.refuse(format!("status cannot be `{}`", step.text()?)));
            }
            (_, "/inviteExpiry") => patch::set(&mut user, field, step.value.clone()),
            _ => patch::set(&mut user, field, json!(step.text()?)),
        }
    }
    if user != *before {
        user["lastUpdatedAt"] = json!(context.timestamp());
        let id = text(&user, "id").to_owned();
        context.put("users", &id, user);
    }
    Ok(Answer::no_content())
}

/// The references of a step: a list, or one by itself.
fn references(step: &Step) -> Vec<Value> {
    let one = |value: &Value| match value {
        // The deprecated path takes names.
        Value::String(name) => json!({"name": name}),
        other => other.clone(),
    };
    match &step.value {
        Value::Array(list) => list.iter().map(one).collect(),
        value => vec![one(value)],
    }
}

fn roles_of(context: &Context<'_>, user: &mut Value, step: &Step) -> Result<(), Refusal> {
    let named = roles::assigned(context, &json!(references(step)))?;
    let mut held = user["assignedRoles"].as_array().cloned().unwrap_or_default();
    let named = named.as_array().cloned().unwrap_or_default();
    match &*step.op {
        "add" => held.extend(named.into_iter().filter(|role| !user_has(user, "assignedRoles", role))),
        "remove-value" => held.retain(|role| !named.iter().any(|gone| gone["id"] == role["id"])),
        _ => held = named,
    }
    user["assignedRoles"] = json!(held);
    Ok(())
}

fn user_has(user: &Value, field: &str, item: &Value) -> bool {
    user[field].as_array().is_some_and(|held| held.iter().any(|held| held["id"] == item["id"]))
}

/// Only custom groups are given here; those of an identity provider come from its claims (access control, groups).
fn groups_of(context: &Context<'_>, user: &mut Value, step: &Step) -> Result<(), Refusal> {
    let groups = context.collection("groups");
    let mut named = Vec::new();
    for reference in references(step) {
        let (id, name) = (text(&reference, "id"), text(&reference, "name"));
        let custom = |group: &Document| text(group, "providerType") == "custom";
        let group = if id.is_empty() {
            groups.find("name", name).into_iter().find(|group| custom(group) && text(group, "name") == name)
        } else {
            groups.get(id)
        };
        let group = group.ok_or_else(|| step.refuse(format!("there is no group `{id}{name}`")))?;
        if !custom(&group) {
            return Err(step.refuse("groups of an identity provider cannot be assigned"));
        }
        named.push(json!({"id": group["id"]}));
    }
    let mut held = user["assignedGroups"].as_array().cloned().unwrap_or_default();
    match &*step.op {
        "add" => {
            if named.iter().any(|group| user_has(user, "assignedGroups", group)) {
                return Err(step.refuse("the user has the group already"));
            }
            held.extend(named);
        }
        "remove-value" => held.retain(|group| !named.contains(group)),
        _ => {
            let from_claims = |group: &Value| {
                groups.get(text(group, "id")).is_some_and(|group| text(&group, "providerType") != "custom")
            };
            held.retain(from_claims);
            held.extend(named);
        }
    }
    user["assignedGroups"] = json!(held);
    Ok(())
}

/// Answers 207: an item for each invitee, whatever became of it.
fn invite(context: &mut Context<'_>) -> Handled {
    let invitees = context.body.get("invitees").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut told = Vec::with_capacity(invitees.len());
    for invitee in invitees {
        let email = text(&invitee, "email");
        let error = |code: &str, title: &str| json!({"email": email, "status": "error", "code": code, "title": title});
        if email.split_once('@').is_none_or(|(name, host)| name.is_empty() || host.is_empty()) {
            told.push(error("400", "Invalid email"));
            continue;
        }
        let Some(user) = context.collection("users").find("email", email).into_iter().next() else {
            let subject = context.random.uuid().to_string();
            let name = Some(text(&invitee, "name")).filter(|name| !name.is_empty()).unwrap_or(email);
            let user = json!({"name": name, "email": email, "subject": subject, "status": "invited"});
            let id = add(context, user);
            told.push(json!({"email": email, "status": "ok", "subject": subject, "userId": id}));
            continue;
        };
        let again = invitee.get("resend") == Some(&Value::Bool(true));
        told.push(match text(&user, "status") {
            "active" => error("1001", "Active User"),
            "disabled" => error("1002", "Disabled User"),
            _ => {
                let status = if again { "ok" } else { "exists" };
                json!({"email": email, "status": status, "subject": user["subject"], "userId": user["id"]})
            }
        });
    }
    Ok(Answer::multi(told))
}
