//! Collections of items: tags, collections of one's own, governed ones, favourites (collections API).
//!
//! Not published, and so assumed: that a private collection is its creator's alone while every other is everybody's, that
//! whoever sees one may change it, that a governed one cannot be made as such (it would have no item), that names are
//! told apart by case, and what the collection of favourites is called.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::context::{Answer, Context, Handled, text};
use super::items;
use super::paging::{self, Paging};
use super::patch;
use super::refusal::Refusal;
use super::resources::Resource;
use super::state::Document;

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("getCollections", list),
        ("createCollection", create),
        ("getFavoritesCollection", favorites),
        ("getCollection", get),
        ("updateCollection", replace),
        ("patchCollection", change),
        ("deleteCollection", delete),
        ("getCollectionItems", list_items),
        ("addCollectionItem", add_item),
        ("getCollectionItem", get_item),
        ("deleteCollectionItem", remove_item),
        ("getItemCollections", list_of_item),
    ],
    seed: None,
};

const COLLECTIONS: &str = "collections";
/// What is in which collection: one document for each pair of a collection and a resource.
pub(super) const MEMBERS: &str = "collectionItems";

const PAGING: Paging = Paging::next_prev(10, 100);
const SORTABLE: &[&str] = &["createdAt", "updatedAt", "name"];

fn missing() -> Refusal {
    Refusal::not_found(items::MISSING)
}

fn member_key(collection: &str, resource: &str) -> String {
    format!("{collection}/{resource}")
}

/// A resource in a collection, with the id it is kept by.
pub(super) fn member(collection: &str, resource: &str) -> (String, Value) {
    (member_key(collection, resource), json!({"collectionId": collection, "resourceId": resource}))
}

/// The id of the caller's favourites: there as long as the user is.
fn favorites_id(context: &Context<'_>) -> String {
    context.user_id().chars().rev().collect()
}

/// The caller's favourites as a collection.
fn favorites_of(context: &Context<'_>) -> Document {
    let user = context.user_id();
    let since = context.get("users", &user).map_or_else(|| context.timestamp(), |held| text(&held, "createdAt").into());
    Arc::new(json!({
        "id": favorites_id(context), "name": "Favorites", "type": "favorite", "tenantId": context.tenant_id(),
        "createdAt": since, "creatorId": user, "updatedAt": since, "updaterId": user,
    }))
}

fn sees(context: &Context<'_>, collection: &Value) -> bool {
    text(collection, "type") != "private" || text(collection, "creatorId") == context.user_id()
}

/// The collection of this id, when the caller sees it: `favorites` and their own id too.
fn visible(context: &Context<'_>, id: &str) -> Result<Document, Refusal> {
    if id == "favorites" || id == favorites_id(context) {
        return Ok(favorites_of(context));
    }
    context.get(COLLECTIONS, id).filter(|held| sees(context, held)).ok_or_else(missing)
}

/// The collection of the path.
fn asked(context: &Context<'_>) -> Result<Document, Refusal> {
    visible(context, &context.var("collectionId"))
}

/// The collection of the path, when it is one that can be changed.
fn changeable(context: &Context<'_>) -> Result<Document, Refusal> {
    asked(context).and_then(|held| if text(&held, "type") == "favorite" { Err(missing()) } else { Ok(held) })
}

/// The ids of the resources in a collection, in the order in which they were added.
fn resources(context: &Context<'_>, collection: &str) -> Vec<String> {
    let members = context.collection(MEMBERS).find("collectionId", collection);
    members.iter().map(|member| text(member, "resourceId").to_owned()).collect()
}

fn shown(context: &Context<'_>, collection: &Value) -> Value {
    let id = text(collection, "id");
    let link = context.link(&format!("/api/v1/collections/{id}"));
    let mut shown = collection.clone();
    shown["itemCount"] = json!(items::of_resources(context, &resources(context, id)).len());
    shown["full"] = json!(false);
    shown["links"] = json!({"self": {"href": link}, "items": {"href": format!("{link}/items")}});
    shown
}

/// What an item says of the collections it is in.
pub(super) struct Memberships {
    pub(super) favorite: bool,
    /// All but the favourites.
    pub(super) collections: Vec<Document>,
}

/// The collections that a resource is in and the caller sees.
pub(super) fn memberships(context: &Context<'_>, resource: &str) -> Memberships {
    let favorites = favorites_id(context);
    let members = context.collection(MEMBERS).find("resourceId", resource);
    let (liked, others): (Vec<_>, Vec<_>) =
        members.iter().map(|member| text(member, "collectionId")).partition(|id| *id == favorites);
    let collections = others.iter().filter_map(|id| visible(context, id).ok()).collect();
    Memberships { favorite: !liked.is_empty(), collections }
}

/// Takes a resource out of all collections.
pub(super) fn forget(context: &mut Context<'_>, resource: &str) {
    for member in context.collection(MEMBERS).find("resourceId", resource) {
        context.remove(MEMBERS, &member_key(text(&member, "collectionId"), resource));
    }
}

/// One page of those that pass the filters which every list of collections has.
fn page(context: &Context<'_>, mut found: Vec<Document>) -> Handled {
    let given = |name: &str| context.parameter(name).filter(|value| !value.is_empty());
    let holds = |text: &str, part: &str| text.to_lowercase().contains(&part.to_lowercase());
    found.retain(|held| {
        given("type").is_none_or(|kind| text(held, "type") == kind)
            && given("name").is_none_or(|name| text(held, "name").contains(name))
            && given("query")
                .is_none_or(|part| holds(text(held, "name"), part) || holds(text(held, "description"), part))
    });
    paging::sort(context, &mut found, SORTABLE, "+createdAt")?;
    paging::page_as(context, found, PAGING, shown)
}

fn list(context: &mut Context<'_>) -> Handled {
    let given = |name: &str| context.parameter(name).filter(|value| !value.is_empty());
    if given("includeItems").is_some() {
        let title = "getCollections with includeItems is not simulated";
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "SANDBOX-501", title));
    }
    let passes = |held: &Document| {
        sees(context, held)
            && given("id").is_none_or(|id| text(held, "id") == id)
            && given("creatorId").is_none_or(|id| text(held, "creatorId") == id)
            && given("types").is_none_or(|kinds| kinds.split(',').any(|kind| text(held, "type") == kind))
    };
    let found = context.collection(COLLECTIONS).documents().into_iter().filter(passes).collect();
    page(context, found)
}

fn list_of_item(context: &mut Context<'_>) -> Handled {
    let item = items::asked(context)?;
    let found = memberships(context, text(&item, "resourceId")).collections;
    page(context, found)
}

/// Only tags have names that are unique.
fn free(context: &Context<'_>, name: &str, kind: &str, own: &str) -> Result<(), Refusal> {
    if name.is_empty() {
        return Err(Refusal::bad_request("name must not be empty").pointer("/name"));
    }
    let same =
        |held: &Document| text(held, "name") == name && text(held, "type") == "public" && text(held, "id") != own;
    if kind == "public" && context.collection(COLLECTIONS).find("name", name).iter().any(same) {
        return Err(Refusal::conflict("HTTP-409", format!("a tag named {name} already exists")).pointer("/name"));
    }
    Ok(())
}

fn create(context: &mut Context<'_>) -> Handled {
    let mut collection = context.body.clone();
    let kind = text(&collection, "type").to_owned();
    if kind == "publicgoverned" {
        let detail = "a collection is made private, and made publicgoverned once it has an item";
        return Err(Refusal::bad_request(detail).pointer("/type"));
    }
    free(context, text(&collection, "name"), &kind, "")?;
    let (id, now, user) = (context.new_id(), context.timestamp(), context.user_id());
    collection["id"] = json!(id);
    collection["tenantId"] = json!(context.tenant_id());
    collection["createdAt"] = json!(now);
    collection["creatorId"] = json!(user);
    collection["updatedAt"] = json!(now);
    collection["updaterId"] = json!(user);
    context.put(COLLECTIONS, &id, collection.clone());
    Ok(Answer::created(&shown(context, &collection)))
}

/// Leads to the caller's favourites.
fn favorites(context: &mut Context<'_>) -> Handled {
    let link = context.link(&format!("/api/v1/collections/{}", favorites_id(context)));
    // The reference promises an object as the body.
    Ok(Answer::json(StatusCode::FOUND, &json!({})).with(http::header::LOCATION, &link))
}

fn get(context: &mut Context<'_>) -> Handled {
    let collection = asked(context)?;
    Ok(Answer::ok(&shown(context, &collection)))
}

fn keep(context: &mut Context<'_>, before: &Value, mut collection: Value) -> Handled {
    if collection != *before {
        collection["updatedAt"] = json!(context.timestamp());
        collection["updaterId"] = json!(context.user_id());
        let id = text(&collection, "id").to_owned();
        context.put(COLLECTIONS, &id, collection.clone());
    }
    Ok(Answer::ok(&shown(context, &collection)))
}

/// What is left out stays; an empty description is one.
fn replace(context: &mut Context<'_>) -> Handled {
    let before = changeable(context)?;
    let mut collection = (*before).clone();
    for field in ["name", "description"] {
        if let Some(value) = context.body.get(field) {
            collection[field] = value.clone();
        }
    }
    free(context, text(&collection, "name"), text(&collection, "type"), text(&collection, "id"))?;
    keep(context, &before, collection)
}

fn change(context: &mut Context<'_>) -> Handled {
    let before = changeable(context)?;
    let mut collection = (*before).clone();
    for step in patch::steps(context, &[("replace", &["/name", "/description", "/type"])])? {
        let value = step.text()?;
        if step.path == "/type" {
            let toggles = ["private", "publicgoverned"];
            if !toggles.contains(&value) || !toggles.contains(&text(&collection, "type")) {
                return Err(step.refuse("the type changes between private and publicgoverned only"));
            }
            if value == "publicgoverned" && resources(context, text(&collection, "id")).is_empty() {
                return Err(step.refuse("a collection without an item cannot be publicgoverned"));
            }
        }
        patch::set(&mut collection, &step.path, json!(value));
    }
    free(context, text(&collection, "name"), text(&collection, "type"), text(&collection, "id"))?;
    keep(context, &before, collection)
}

fn delete(context: &mut Context<'_>) -> Handled {
    let collection = changeable(context)?;
    let id = text(&collection, "id");
    for resource in resources(context, id) {
        context.remove(MEMBERS, &member_key(id, &resource));
    }
    context.remove(COLLECTIONS, id);
    Ok(Answer::no_content())
}

fn list_items(context: &mut Context<'_>) -> Handled {
    let collection = asked(context)?;
    let found = items::of_resources(context, &resources(context, text(&collection, "id")));
    items::page(context, found, &["createdAt", "name", "updatedAt"])
}

/// The item of the path, when it is in the collection of the path.
fn asked_item(context: &Context<'_>) -> Result<(Document, Document), Refusal> {
    let (collection, item) = (asked(context)?, items::asked(context)?);
    let key = member_key(text(&collection, "id"), text(&item, "resourceId"));
    context.get(MEMBERS, &key).ok_or_else(missing)?;
    Ok((collection, item))
}

fn get_item(context: &mut Context<'_>) -> Handled {
    let (_, item) = asked_item(context)?;
    Ok(Answer::ok(&item))
}

fn add_item(context: &mut Context<'_>) -> Handled {
    let collection = asked(context)?;
    let item = items::visible(context, text(&context.body, "id"))?;
    let (id, resource) = (text(&collection, "id"), text(&item, "resourceId"));
    let (key, member) = member(id, resource);
    if context.get(MEMBERS, &key).is_some() {
        return Err(Refusal::conflict("HTTP-409", "the item is in the collection already").pointer("/id"));
    }
    context.put(MEMBERS, &key, member);
    Ok(Answer::created(&*items::visible(context, text(&item, "id"))?))
}

fn remove_item(context: &mut Context<'_>) -> Handled {
    let (collection, item) = asked_item(context)?;
    context.remove(MEMBERS, &member_key(text(&collection, "id"), text(&item, "resourceId")));
    Ok(Answer::no_content())
}
