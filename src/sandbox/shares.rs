//! Single apps of a space shown to users, groups or anyone with the link (spaces API, shares).

use serde_json::{Value, json};

use super::assignments::roles;
use super::context::{Answer, Context, Handled, text};
use super::paging::page_counted;
use super::patch;
use super::refusal::Refusal;
use super::resources::Resource;
use super::spaces::{self, MISSING, PAGING, known};
use super::state::Document;

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("getSpaceShares", list),
        ("createSpaceShare", create),
        ("getSpaceShare", get),
        ("patchShare", change),
        ("deleteSpaceShare", delete),
    ],
    seed: None,
};

/// The roles a share can give, by the space's type.
fn shareable(space: &Value) -> &'static [&'static str] {
    match text(space, "type") {
        "shared" => &["consumer"],
        "managed" => &["basicconsumer", "consumer", "contributor"],
        _ => &[],
    }
}

/// A share with its links.
fn shown(context: &Context<'_>, share: &Value) -> Value {
    let space = context.link(&format!("/api/v1/spaces/{}", text(share, "spaceId")));
    let mut shown = share.clone();
    shown["links"] = json!({
        "self": {"href": format!("{space}/shares/{}", text(share, "id"))}, "space": {"href": space},
    });
    shown
}

fn list(context: &mut Context<'_>) -> Handled {
    let space = spaces::asked(context)?;
    let equals = |parameter: &str, share: &Value, field: &str| {
        context.parameter(parameter).is_none_or(|value| text(share, field) == value)
    };
    let to = |parameter: &str, kind: &str, share: &Value| {
        context.parameter(parameter).is_none_or(|id| text(share, "type") == kind && text(share, "assigneeId") == id)
    };
    let passes = |share: &Document| {
        equals("resourceId", share, "resourceId")
            && equals("resourceType", share, "resourceType")
            && equals("name", share, "resourceName")
            && equals("type", share, "type")
            && to("userId", "user", share)
            && to("groupId", "group", share)
    };
    let shares = context.collection("shares").find("spaceId", text(&space, "id"));
    page_counted(context, shares.into_iter().filter(passes).collect(), PAGING, shown)
}

fn create(context: &mut Context<'_>) -> Handled {
    let space = spaces::asked(context)?;
    let mut share = context.body.clone();
    share["roles"] = json!(roles(&share["roles"], shareable(&space), text(&space, "type"))?);
    let (kind, assignee) = (text(&share, "type").to_owned(), text(&share, "assigneeId").to_owned());
    if kind != "link" && !known(context, &kind, &assignee) {
        return Err(Refusal::bad_request(format!("there is no {kind} {assignee}")).pointer("/assigneeId"));
    }
    if text(&share, "resourceType") != "app" {
        return Err(Refusal::bad_request("only an app can be shared").pointer("/resourceType"));
    }
    let same =
        |held: &Document| ["assigneeId", "resourceId", "type"].into_iter().all(|field| held[field] == share[field]);
    if context.collection("shares").find("spaceId", text(&space, "id")).iter().any(same) {
        return Err(Refusal::conflict("HTTP-409", "the resource is shared with the assignee already"));
    }
    let (id, now, user) = (context.new_id(), context.timestamp(), context.user_id());
    share["id"] = json!(id);
    share["spaceId"] = space["id"].clone();
    share["tenantId"] = json!(context.tenant_id());
    share["disabled"] = json!(false);
    share["createdAt"] = json!(now);
    share["createdBy"] = json!(user);
    share["updatedAt"] = json!(now);
    share["updatedBy"] = json!(user);
    context.put("shares", &id, share.clone());
    Ok(Answer::created(&shown(context, &share)))
}

/// The share of the path, and its space.
fn asked(context: &Context<'_>) -> Result<(Document, Document), Refusal> {
    let space = spaces::asked(context)?;
    let share = context
        .get("shares", &context.var("shareId"))
        .filter(|share| share["spaceId"] == space["id"])
        .ok_or_else(|| Refusal::not_found(MISSING))?;
    Ok((space, share))
}

fn get(context: &mut Context<'_>) -> Handled {
    let (_, share) = asked(context)?;
    Ok(Answer::ok(&shown(context, &share)))
}

fn change(context: &mut Context<'_>) -> Handled {
    let (space, before) = asked(context)?;
    let mut share = (*before).clone();
    for step in patch::steps(context, &[("replace", &["/roles", "/disabled"])])? {
        if step.path == "/roles" {
            share["roles"] = json!(roles(&step.value, shareable(&space), text(&space, "type"))?);
        } else {
            share["disabled"] = json!(step.flag()?);
        }
    }
    if share != *before {
        share["updatedAt"] = json!(context.timestamp());
        share["updatedBy"] = json!(context.user_id());
        context.put("shares", &context.var("shareId"), share.clone());
    }
    Ok(Answer::ok(&shown(context, &share)))
}

fn delete(context: &mut Context<'_>) -> Handled {
    asked(context)?;
    context.remove("shares", &context.var("shareId"));
    Ok(Answer::no_content())
}
