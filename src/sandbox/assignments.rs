//! Who has which roles in a space (spaces API, assignments).

use serde_json::{Value, json};

use super::context::{Answer, Context, Handled, text};
use super::paging::page_counted;
use super::refusal::Refusal;
use super::resources::Resource;
use super::spaces::{self, MISSING, PAGING, known};
use super::state::Document;

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("getSpaceAssignments", list),
        ("createSpaceAssignment", create),
        ("getSpaceAssignment", get),
        ("updateSpaceAssignment", replace),
        ("deleteSpaceAssignment", delete),
    ],
    seed: None,
};

/// What is left of a list when each entry is kept once.
pub(super) fn once(list: &Value) -> Vec<Value> {
    let mut kept: Vec<Value> = Vec::new();
    for item in list.as_array().into_iter().flatten() {
        if !kept.contains(item) {
            kept.push(item.clone());
        }
    }
    kept
}

/// The roles of a request, when the space takes them.
///
/// # Errors
/// 400 when there is none, or one that spaces of this type do not have.
pub(super) fn roles(list: &Value, allowed: &[&str], kind: &str) -> Result<Vec<Value>, Refusal> {
    let roles = once(list);
    if roles.is_empty() {
        return Err(Refusal::bad_request("roles must not be empty").pointer("/roles"));
    }
    for (index, role) in roles.iter().enumerate() {
        if !role.as_str().is_some_and(|role| allowed.contains(&role)) {
            let detail = format!("{role} cannot be given in a {kind} space; possible: {}", allowed.join(", "));
            return Err(Refusal::bad_request(detail).pointer(format!("/roles/{index}")));
        }
    }
    Ok(roles)
}

/// An assignment with its links.
fn shown(context: &Context<'_>, assignment: &Value) -> Value {
    let space = context.link(&format!("/api/v1/spaces/{}", text(assignment, "spaceId")));
    let mut shown = assignment.clone();
    shown["links"] = json!({
        "self": {"href": format!("{space}/assignments/{}", text(assignment, "id"))}, "space": {"href": space},
    });
    shown
}

fn list(context: &mut Context<'_>) -> Handled {
    let space = spaces::asked(context)?;
    let (assignee, kind) = (context.parameter("assigneeId"), context.parameter("type"));
    let passes = |assignment: &Document| {
        assignee.is_none_or(|id| text(assignment, "assigneeId") == id)
            && kind.is_none_or(|kind| text(assignment, "type") == kind)
    };
    let assignments = context.collection("assignments").find("spaceId", text(&space, "id"));
    page_counted(context, assignments.into_iter().filter(passes).collect(), PAGING, shown)
}

fn create(context: &mut Context<'_>) -> Handled {
    let space = spaces::asked(context)?;
    let mut assignment = context.body.clone();
    let (kind, assignee) = (text(&assignment, "type").to_owned(), text(&assignment, "assigneeId").to_owned());
    assignment["roles"] = json!(roles(&assignment["roles"], spaces::assignable(&space), text(&space, "type"))?);
    if !known(context, &kind, &assignee) {
        return Err(Refusal::bad_request(format!("there is no {kind} {assignee}")).pointer("/assigneeId"));
    }
    let held = context.collection("assignments").find("assigneeId", &assignee);
    if held.iter().any(|held| held["spaceId"] == space["id"]) {
        return Err(Refusal::conflict("AssignmentConflict", "assignment of assignee already exists in space"));
    }
    let (id, now, user) = (context.new_id(), context.timestamp(), context.user_id());
    assignment["id"] = json!(id);
    assignment["spaceId"] = space["id"].clone();
    assignment["tenantId"] = json!(context.tenant_id());
    assignment["createdAt"] = json!(now);
    assignment["createdBy"] = json!(user);
    assignment["updatedAt"] = json!(now);
    assignment["updatedBy"] = json!(user);
    context.put("assignments", &id, assignment.clone());
    Ok(Answer::created(&shown(context, &assignment)))
}

/// The assignment of the path.
fn asked(context: &Context<'_>) -> Result<(Document, Document), Refusal> {
    let space = spaces::asked(context)?;
    let assignment = context
        .get("assignments", &context.var("assignmentId"))
        .filter(|assignment| assignment["spaceId"] == space["id"])
        .ok_or_else(|| Refusal::not_found(MISSING))?;
    Ok((space, assignment))
}

fn get(context: &mut Context<'_>) -> Handled {
    let (_, assignment) = asked(context)?;
    Ok(Answer::ok(&shown(context, &assignment)))
}

fn replace(context: &mut Context<'_>) -> Handled {
    let (space, before) = asked(context)?;
    let mut assignment = (*before).clone();
    assignment["roles"] = json!(roles(&context.body["roles"], spaces::assignable(&space), text(&space, "type"))?);
    if assignment != *before {
        assignment["updatedAt"] = json!(context.timestamp());
        assignment["updatedBy"] = json!(context.user_id());
        context.put("assignments", &context.var("assignmentId"), assignment.clone());
    }
    Ok(Answer::ok(&shown(context, &assignment)))
}

fn delete(context: &mut Context<'_>) -> Handled {
    asked(context)?;
    context.remove("assignments", &context.var("assignmentId"));
    Ok(Answer::no_content())
}
