//! Users.

use serde_json::{Value, json};

use super::context::{Answer, Context, Handled, text};
use super::hosts::split;
use super::refusal::Refusal;
use super::resources::Resource;
use super::roles;

pub(super) const RESOURCE: Resource = Resource { routes: &[("getMyUser", me), ("getUser", get)], seed: None };

/// The service's code for what is not there.
const MISSING: &str = "USERS-7";

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

/// A user with its link.
fn shown(context: &Context<'_>, user: &Value) -> Value {
    let mut user = user.clone();
    user["links"] = json!({"self": {"href": context.link(&format!("/api/v1/users/{}", text(&user, "id")))}});
    user
}

fn me(context: &mut Context<'_>) -> Handled {
    let link = context.link(&format!("/api/v1/users/{}", context.user_id()));
    Ok(Answer::redirect(http::StatusCode::MOVED_PERMANENTLY, &link))
}

fn get(context: &mut Context<'_>) -> Handled {
    let user = context.get("users", &context.var("userId")).ok_or_else(|| Refusal::not_found(MISSING))?;
    Ok(Answer::ok(&shown(context, &user)))
}
