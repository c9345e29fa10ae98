//! Items: the index of what lies in spaces (items API). So far of apps alone.
//!
//! Not published, and so assumed: that what is put into an entry stays there and changes nothing in the app itself, that a
//! deleted entry does not come back, and that an entry without its actions still has the empty list its type asks for.

use std::sync::Arc;

use serde_json::{Value, json};

use super::apps::{self, APPS, SIZE};
use super::context::{Answer, Context, Handled, text};
use super::item_collections::{self, Memberships};
use super::lags::Lags;
use super::paging::{self, Paging};
use super::patch;
use super::refusal::Refusal;
use super::resources::Resource;
use super::spaces::Caller;
use super::state::{Document, SELF};

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("getItems", list),
        ("getItem", get),
        ("updateItem", update),
        ("deleteItem", delete),
        ("getPublishedItems", published),
        ("getItemsSettings", settings),
        ("patchItemsSettings", change_settings),
    ],
    seed: None,
};

/// What was put into entries, by the id of what each entry is of.
const FIELDS: &str = "itemFields";
/// In [`FIELDS`]: the entry was deleted.
const GONE: &str = "$gone";
/// The fields that can be put into an entry of something that has an API of its own.
const OPEN: [&str; 7] = [
    "name",
    "description",
    "thumbnailId",
    "resourceSubType",
    "resourceUpdatedAt",
    "resourceAttributes",
    "resourceCustomAttributes",
];

const SETTINGS: &str = "itemsSettings";

const PAGING: Paging = Paging::next_prev(10, 100);

/// The code for what is not there; the service publishes none.
pub(super) const MISSING: &str = "HTTP-404";

/// Where an app keeps the id of its entry, when it is known to have a certain one.
pub(super) const ITEM: &str = "$item";

/// The id of an app's entry: another than the app's own, and as lasting.
fn id_of(app: &Value) -> String {
    let known = text(app, ITEM);
    if !known.is_empty() {
        return known.to_owned();
    }
    text(app, "id").chars().filter(|sign| *sign != '-').take(24).collect()
}

/// The entry of an app; none when it was deleted.
fn item(context: &Context<'_>, caller: &Caller, app: &Value) -> Option<Value> {
    let put = context.get(FIELDS, text(app, "id")).unwrap_or_default();
    if put.get(GONE).is_some() {
        return None;
    }
    let id = id_of(app);
    let link = context.link(&format!("/api/v1/items/{id}"));
    let actions = if context.flag("noActions") { Vec::new() } else { apps::privileges(context, caller, app) };
    let Memberships { favorite, collections } = item_collections::memberships(context, text(app, "id"));
    let named = |tags: bool| -> Vec<Value> {
        let of_kind = collections.iter().filter(|held| (text(held, "type") == "public") == tags);
        of_kind.map(|held| json!({"id": held["id"], "name": held["name"]})).collect()
    };
    let mut item = json!({
        "id": id, "name": app["name"], "description": app["description"], "tenantId": context.tenant_id(),
        "ownerId": app["ownerId"], "creatorId": app["ownerId"], "updaterId": app["ownerId"],
        "createdAt": app["createdDate"], "updatedAt": app["modifiedDate"],
        "resourceType": "app", "resourceId": app["id"],
        "resourceCreatedAt": app["createdDate"], "resourceUpdatedAt": app["modifiedDate"],
        "resourceSize": {"appFile": app[SIZE], "appMemory": 0},
        "resourceAttributes": apps::attributes(context, app), "resourceCustomAttributes": {},
        "isFavorited": favorite, "actions": actions,
        "collectionIds": collections.iter().map(|held| held["id"].clone()).collect::<Value>(),
        "meta": {
            "isFavorited": favorite, "actions": actions, "tags": named(true), "collections": named(false),
        },
        "links": {
            "self": {"href": link}, "collections": {"href": format!("{link}/collections")},
            "open": {"href": context.link(&format!("/sense/app/{}", text(app, "id")))},
        },
    });
    if let Some(space) = app.get("spaceId") {
        item["spaceId"] = space.clone();
    }
    for (field, value) in put.as_object().into_iter().flatten().filter(|(field, _)| OPEN.contains(&&***field)) {
        item[field] = value.clone();
    }
    Some(item)
}

/// The entries of those apps that the caller sees.
fn entries(context: &Context<'_>, apps: Vec<Document>) -> Vec<Document> {
    let caller = Caller::of(context);
    let (index, now) = (context.lags.index, context.now);
    let indexed = apps.into_iter().filter(|app| !Lags::holds(index, text(app, "createdDate"), now));
    let seen = indexed.filter(|app| apps::sees(context, &caller, app));
    seen.filter_map(|app| item(context, &caller, &app)).map(Arc::new).collect()
}

/// The entries of these resources, as far as the caller sees them.
pub(super) fn of_resources(context: &Context<'_>, ids: &[String]) -> Vec<Document> {
    entries(context, ids.iter().filter_map(|id| context.get(APPS, id)).collect())
}

/// One kind of resource that a list is asked for.
struct Kind<'q> {
    name: &'q str,
    /// Its kinds within that; any when they are not said.
    within: Option<Vec<&'q str>>,
}

/// `app,qvapp`, or with the kinds within a kind: `app[qvd,chart-monitoring,],qvapp`.
fn kinds(asked: &str) -> Vec<Kind<'_>> {
    let mut found = Vec::new();
    let mut rest = asked;
    while !rest.is_empty() {
        let end = rest.find([',', '[']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let (within, after) = match after.strip_prefix('[') {
            Some(inner) => {
                let (inner, after) = inner.split_once(']').unwrap_or((inner, ""));
                (Some(inner.split(',').collect()), after)
            }
            None => (None, after),
        };
        found.push(Kind { name, within });
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    found
}

/// One page of those that pass the filters which lists of items have.
pub(super) fn page(context: &Context<'_>, mut found: Vec<Document>, sortable: &[&str]) -> Handled {
    let given = |name: &str| context.parameter(name).filter(|value| !value.is_empty());
    if given("resourceId").or(given("resourceIds")).or(given("resourceLink")).is_some()
        && given("resourceType").is_none()
    {
        return Err(Refusal::bad_request("resourceType is needed with it").parameter("resourceType"));
    }
    let kinds = given("resourceType").map(kinds);
    if given("resourceSubType").is_some() && kinds.iter().flatten().any(|kind| kind.within.is_some()) {
        let detail = "resourceType names the kinds within a kind already";
        return Err(Refusal::bad_request(detail).parameter("resourceSubType"));
    }
    let equal = [
        ("id", "id"),
        ("ownerId", "ownerId"),
        ("createdByUserId", "creatorId"),
        ("resourceId", "resourceId"),
        ("resourceLink", "resourceLink"),
    ];
    let other = [("notOwnerId", "ownerId"), ("notCreatedByUserId", "creatorId")];
    let space_kind = |item: &Value| match context.get("spaces", text(item, "spaceId")) {
        Some(space) => text(&space, "type").to_owned(),
        None => "personal".to_owned(),
    };
    let holds = |text: &str, part: &str| text.to_lowercase().contains(&part.to_lowercase());
    let sub = |item: &Value, wanted: &[&str]| wanted.contains(&text(item, "resourceSubType"));
    let is_kind = |item: &Value, kind: &Kind<'_>| {
        text(item, "resourceType") == kind.name && kind.within.as_ref().is_none_or(|within| sub(item, within))
    };
    found.retain(|item| {
        equal.iter().all(|(name, field)| given(name).is_none_or(|value| text(item, field) == value))
            && other.iter().all(|(name, field)| given(name).is_none_or(|value| text(item, field) != value))
            && kinds.as_ref().is_none_or(|kinds| kinds.iter().any(|kind| is_kind(item, kind)))
            && given("resourceSubType").is_none_or(|kinds| sub(item, &kinds.split(',').collect::<Vec<_>>()))
            && given("resourceIds").is_none_or(|ids| ids.split(',').any(|id| text(item, "resourceId") == id))
            && given("spaceId").is_none_or(|id| match id {
                "personal" => text(item, "spaceId").is_empty(),
                id => text(item, "spaceId") == id,
            })
            && given("spaceType").is_none_or(|wanted| wanted.split(',').any(|wanted| space_kind(item) == wanted))
            && given("name").is_none_or(|name| holds(text(item, "name"), name))
            && given("query")
                .is_none_or(|part| holds(text(item, "name"), part) || holds(text(item, "description"), part))
            && given("collectionId").is_none_or(|id| {
                item["collectionIds"].as_array().is_some_and(|held| held.iter().any(|held| held == id))
            })
    });
    paging::sort(context, &mut found, sortable, "+createdAt")?;
    paging::page(context, found, PAGING)
}

fn list(context: &mut Context<'_>) -> Handled {
    let apps = match context.parameter("spaceId").filter(|id| !["", "personal"].contains(id)) {
        Some(space) => context.collection(APPS).find("spaceId", space),
        None => context.collection(APPS).documents(),
    };
    page(context, entries(context, apps), &["createdAt", "name", "updatedAt", "recentlyUsed"])
}

/// The entry of this id, when the caller sees what it is of.
pub(super) fn visible(context: &Context<'_>, id: &str) -> Result<Document, Refusal> {
    let apps = context.collection(APPS).documents().into_iter().filter(|app| id_of(app) == id).collect();
    entries(context, apps).pop().ok_or_else(|| Refusal::not_found(MISSING))
}

/// The entry of the path.
pub(super) fn asked(context: &Context<'_>) -> Result<Document, Refusal> {
    visible(context, &context.var("itemId"))
}

fn get(context: &mut Context<'_>) -> Handled {
    Ok(Answer::ok(&*asked(context)?))
}

/// The entry of the path, when the caller may do `action` with what it is of.
fn permitted(context: &Context<'_>, action: &str) -> Result<Document, Refusal> {
    let item = asked(context)?;
    if item["actions"].as_array().is_some_and(|actions| actions.iter().any(|held| held == action)) {
        return Ok(item);
    }
    Err(Refusal::forbidden("the item may not be changed by this user"))
}

/// What is left out stays; what belongs to the resource itself, such as its space, is passed over.
fn update(context: &mut Context<'_>) -> Handled {
    let item = permitted(context, "update")?;
    if context.body["resourceType"] != item["resourceType"] {
        return Err(Refusal::bad_request("an item keeps its resourceType").pointer("/resourceType"));
    }
    let resource = text(&item, "resourceId");
    let mut fields = context.get(FIELDS, resource).map_or_else(|| json!({}), |held| (*held).clone());
    for field in OPEN {
        if let Some(value) = context.body.get(field) {
            fields[field] = value.clone();
        }
    }
    context.put(FIELDS, resource, fields);
    Ok(Answer::ok(&*asked(context)?))
}

fn delete(context: &mut Context<'_>) -> Handled {
    let item = permitted(context, "delete")?;
    let resource = text(&item, "resourceId");
    item_collections::forget(context, resource);
    context.put(FIELDS, resource, json!({GONE: true}));
    Ok(Answer::no_content())
}

/// Forgets the entry of something that is gone.
pub(super) fn forget(context: &mut Context<'_>, resource: &str) {
    item_collections::forget(context, resource);
    context.remove(FIELDS, resource);
}

/// The entries of what was published from an app.
fn published(context: &mut Context<'_>) -> Handled {
    let item = asked(context)?;
    let apps = context.collection(APPS).find("originAppId", text(&item, "resourceId"));
    page(context, entries(context, apps), &["createdAt", "name", "updatedAt"])
}

fn settings_of(context: &Context<'_>) -> Value {
    context.get(SETTINGS, SELF).map_or_else(|| json!({"usageMetricsEnabled": true}), |held| (*held).clone())
}

fn settings(context: &mut Context<'_>) -> Handled {
    Ok(Answer::ok(&settings_of(context)))
}

fn change_settings(context: &mut Context<'_>) -> Handled {
    if !Caller::of(context).is_admin() {
        return Err(Refusal::forbidden("only administrators change these settings"));
    }
    let mut settings = settings_of(context);
    for step in patch::steps(context, &[("replace", &["/usageMetricsEnabled"])])? {
        patch::set(&mut settings, &step.path, json!(step.flag()?));
    }
    context.put(SETTINGS, SELF, settings.clone());
    Ok(Answer::ok(&settings))
}
