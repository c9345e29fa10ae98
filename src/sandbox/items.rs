//! Items: the index of what lies in spaces (items API). So far of apps alone.

use std::sync::Arc;

use serde_json::{Value, json};

use super::apps::{self, APPS, SIZE};
use super::context::{Answer, Context, Handled, text};
use super::paging::{self, Paging};
use super::refusal::Refusal;
use super::resources::Resource;
use super::spaces::Caller;
use super::state::Document;

pub(super) const RESOURCE: Resource = Resource { routes: &[("getItems", list), ("getItem", get)], seed: None };

const PAGING: Paging = Paging::next_prev(10, 100);

/// The code for what is not there; the service publishes none.
const MISSING: &str = "HTTP-404";

/// The id of an app's entry: another than the app's own, and as lasting.
fn id_of(app: &Value) -> String {
    text(app, "id").chars().filter(|sign| *sign != '-').take(24).collect()
}

/// The entry of an app.
fn item(context: &Context<'_>, caller: &Caller, app: &Value) -> Value {
    let id = id_of(app);
    let link = context.link(&format!("/api/v1/items/{id}"));
    let actions = apps::privileges(context, caller, app);
    let mut item = json!({
        "id": id, "name": app["name"], "description": app["description"], "tenantId": context.tenant_id(),
        "ownerId": app["ownerId"], "creatorId": app["ownerId"], "updaterId": app["ownerId"],
        "createdAt": app["createdDate"], "updatedAt": app["modifiedDate"],
        "resourceType": "app", "resourceId": app["id"],
        "resourceCreatedAt": app["createdDate"], "resourceUpdatedAt": app["modifiedDate"],
        "resourceSize": {"appFile": app[SIZE], "appMemory": 0},
        "resourceAttributes": apps::attributes(app), "resourceCustomAttributes": {},
        "isFavorited": false, "collectionIds": [], "actions": actions,
        "meta": {"isFavorited": false, "actions": actions, "tags": [], "collections": []},
        "links": {
            "self": {"href": link}, "collections": {"href": format!("{link}/collections")},
            "open": {"href": context.link(&format!("/sense/app/{}", text(app, "id")))},
        },
    });
    if let Some(space) = app.get("spaceId") {
        item["spaceId"] = space.clone();
    }
    item
}

/// The entries of all apps that the caller sees and `passes` lets through.
fn items(context: &Context<'_>, apps: Vec<Document>, passes: impl Fn(&Value) -> bool) -> Vec<Document> {
    let caller = Caller::of(context);
    let seen = apps.into_iter().filter(|app| apps::sees(context, &caller, app));
    seen.map(|app| item(context, &caller, &app)).filter(passes).map(Arc::new).collect()
}

fn list(context: &mut Context<'_>) -> Handled {
    let given = |name: &str| context.parameter(name).filter(|value| !value.is_empty());
    if (given("resourceId").or(given("resourceLink"))).is_some() && given("resourceType").is_none() {
        return Err(Refusal::bad_request("resourceType is needed with it").parameter("resourceType"));
    }
    let equal = [
        ("id", "id"),
        ("ownerId", "ownerId"),
        ("createdByUserId", "creatorId"),
        ("resourceId", "resourceId"),
        ("resourceLink", "resourceLink"),
        ("resourceSubType", "resourceSubType"),
    ];
    let other = [("notOwnerId", "ownerId"), ("notCreatedByUserId", "creatorId")];
    let kind = |item: &Value| match context.get("spaces", text(item, "spaceId")) {
        Some(space) => text(&space, "type").to_owned(),
        None => "personal".to_owned(),
    };
    let holds = |text: &str, part: &str| text.to_lowercase().contains(&part.to_lowercase());
    let passes = |item: &Value| {
        equal.iter().all(|(name, field)| given(name).is_none_or(|value| text(item, field) == value))
            && other.iter().all(|(name, field)| given(name).is_none_or(|value| text(item, field) != value))
            && given("resourceType").is_none_or(|kinds| kinds.split(',').any(|kind| text(item, "resourceType") == kind))
            && given("resourceIds").is_none_or(|ids| ids.split(',').any(|id| text(item, "resourceId") == id))
            && given("spaceId").is_none_or(|id| match id {
                "personal" => text(item, "spaceId").is_empty(),
                id => text(item, "spaceId") == id,
            })
            && given("spaceType").is_none_or(|wanted| wanted.split(',').any(|wanted| kind(item) == wanted))
            && given("name").is_none_or(|name| holds(text(item, "name"), name))
            && given("query").is_none_or(|part| holds(text(item, "name"), part) || holds(text(item, "description"), part))
            // Nothing is in a collection yet.
            && given("collectionId").is_none()
    };
    let apps = match given("spaceId").filter(|id| *id != "personal") {
        Some(space) => context.collection(APPS).find("spaceId", space),
        None => context.collection(APPS).documents(),
    };
    let mut found = items(context, apps, passes);
    paging::sort(context, &mut found, &["createdAt", "name", "updatedAt", "recentlyUsed"], "+createdAt")?;
    paging::page(context, found, PAGING)
}

/// The entry of the path.
fn asked(context: &Context<'_>) -> Result<Document, Refusal> {
    let id = context.var("itemId");
    let all = context.collection(APPS).documents();
    items(context, all, |item| text(item, "id") == id).pop().ok_or_else(|| Refusal::not_found(MISSING))
}

fn get(context: &mut Context<'_>) -> Handled {
    Ok(Answer::ok(&*asked(context)?))
}
