//! Apps: files that are imported into shared spaces and published from there to managed ones (apps API; deploy content
//! to a tenant).
//!
//! What is inside an app's file only Qlik's engine knows. The simulation keeps the bytes, and reads a *stand-in*, a JSON
//! object in place of them, for what an import would find there: `name`, `description`, `lastReloadTime`,
//! `hasSectionAccess`, and `reload`: how its reloads go (see there). Refusals have no published codes or statuses; the ones here are assumptions.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::blobs::CONTENT;
use super::context::{Answer, Context, Handled, text};
use super::items;
use super::lags::Lags;
use super::quotas;
use super::refusal::Refusal;
use super::resources::Resource;
use super::spaces::{Caller, MISSING};
use super::state::Document;
use super::tasks;
use super::temp_contents;

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("importApp", import),
        ("exportApp", export),
        ("createApp", create),
        ("copyApp", copy),
        ("getAppInfo", get),
        ("updateAppInfo", update),
        ("deleteApp", delete),
        ("publishApp", publish),
        ("republishApp", republish),
        ("moveAppToSpace", move_to_space),
        ("removeAppFromSpace", remove_from_space),
        ("updateAppOwner", change_owner),
    ],
    seed: None,
};

/// The collection's name.
pub(super) const APPS: &str = "apps";

/// How many bytes an app's file has.
pub(super) const SIZE: &str = "$size";

/// What a stand-in says of its reloads.
pub(super) const SCRIPT: &str = "$reload";

/// When the reload that is under way will have loaded its data; until then `lastReloadTime` tells of the one before.
pub(super) const LOADS: &str = "$loads";

/// The content whose data the app shows: another's than its own after a republish that kept the target's.
const DATA: &str = "$data";

/// What may be done with an app, as its answer lists it.
pub(super) fn privileges(context: &Context<'_>, caller: &Caller, app: &Value) -> Vec<&'static str> {
    let mut privileges = vec!["read"];
    if edits(context, caller, app) {
        privileges.extend(["update", "reload", "publish", "duplicate", "export"]);
    }
    if removes(context, caller, app) {
        privileges.extend(["delete", "change_owner", "change_space"]);
    }
    privileges
}

/// The space an app lies in; none for a personal one.
fn space_of(context: &Context<'_>, app: &Value) -> Option<Document> {
    context.get("spaces", text(app, "spaceId"))
}

fn owns(caller: &Caller, app: &Value) -> bool {
    text(app, "ownerId") == caller.id()
}

/// A personal app is its owner's alone; what lies in a space, everyone sees who sees the space.
pub(super) fn sees(context: &Context<'_>, caller: &Caller, app: &Value) -> bool {
    owns(caller, app) || space_of(context, app).is_some_and(|space| caller.sees(&space))
}

/// Whether the caller may put an app into this shared space or change one there. Administrators too need a role
/// (fact sheet, section 2.12: the bot must be assigned to the space).
fn edits_in(caller: &Caller, space: &Value) -> bool {
    text(space, "type") == "shared"
        && caller.roles(space).iter().any(|role| ["producer", "facilitator"].contains(&&**role))
}

/// Whether the caller may change an app: producers in shared spaces, publishers in managed ones.
pub(super) fn edits(context: &Context<'_>, caller: &Caller, app: &Value) -> bool {
    match space_of(context, app) {
        None => owns(caller, app),
        Some(space) if text(&space, "type") == "managed" => caller.publishes(&space),
        Some(space) => edits_in(caller, &space),
    }
}

fn removes(context: &Context<'_>, caller: &Caller, app: &Value) -> bool {
    edits(context, caller, app) || (caller.is_admin() && space_of(context, app).is_some())
}

/// An app as it is by now: with the data of a reload that has ended since it was stored.
pub(super) fn by_now(context: &Context<'_>, app: &Value) -> Value {
    let mut app = app.clone();
    let loaded = text(&app, LOADS).to_owned();
    if !loaded.is_empty() && loaded <= context.timestamp() {
        app["lastReloadTime"] = json!(loaded);
        forget_reload(&mut app);
    }
    if let Some(loaded) = tasks::loaded(context, &app).filter(|at| at.as_str() > text(&app, "lastReloadTime")) {
        app["lastReloadTime"] = json!(loaded);
    }
    app
}

/// The reload under way will load nothing.
pub(super) fn forget_reload(app: &mut Value) {
    drop(app.as_object_mut().and_then(|fields| fields.remove(LOADS)));
}

/// The attributes of an app.
pub(super) fn attributes(context: &Context<'_>, app: &Value) -> Value {
    let mut attributes = by_now(context, app);
    if let Some(fields) = attributes.as_object_mut() {
        fields.retain(|field, _| !field.starts_with('$'));
    }
    attributes
}

fn shown(context: &Context<'_>, app: &Value) -> Value {
    let caller = Caller::of(context);
    let creates = edits(context, &caller, app);
    let create = |resource: &str| json!({"resource": resource, "canCreate": creates});
    json!({
        "attributes": attributes(context, app),
        "privileges": privileges(context, &caller, app),
        "create": [create("sheet"), create("bookmark"), create("story"), create("dimension"), create("measure")],
    })
}

fn missing() -> Refusal {
    Refusal::not_found(MISSING)
}

/// The app of this id, when the caller may see it.
fn visible(context: &Context<'_>, id: &str) -> Result<Document, Refusal> {
    let caller = Caller::of(context);
    let app = context.get(APPS, id).filter(|app| sees(context, &caller, app)).ok_or_else(missing)?;
    if Lags::holds(context.lags.readers, text(&app, "publishTime"), context.now)
        && by_group_only(context, &caller, &app)
    {
        return Err(Refusal::forbidden("the user may not see the app"));
    }
    let moves = app.get(LOADS).is_some() || tasks::has(context, id);
    Ok(if moves { Arc::new(by_now(context, &app)) } else { app })
}

/// Whether the caller sees the app by nothing but a group's role in its space.
fn by_group_only(context: &Context<'_>, caller: &Caller, app: &Value) -> bool {
    let space = text(app, "spaceId");
    let own = context.collection("assignments").find("assigneeId", caller.id());
    let assigned = own.iter().any(|assignment| text(assignment, "spaceId") == space);
    let owned = space_of(context, app).is_some_and(|space| text(&space, "ownerId") == caller.id());
    !(caller.is_admin() || owns(caller, app) || owned || assigned)
}

/// The app of the path, when the caller may change it.
fn editable(context: &Context<'_>) -> Result<Document, Refusal> {
    let app = visible(context, &context.var("appId"))?;
    if edits(context, &Caller::of(context), &app) {
        return Ok(app);
    }
    Err(Refusal::forbidden("the app may not be changed by this user"))
}

/// The shared space an app is to be put into; an empty id is the caller's personal space.
fn shared(context: &Context<'_>, id: &str) -> Result<(), Refusal> {
    if id.is_empty() {
        return Ok(());
    }
    let caller = Caller::of(context);
    let space = context.get("spaces", id).filter(|space| caller.sees(space)).ok_or_else(missing)?;
    match text(&space, "type") {
        "shared" if edits_in(&caller, &space) => Ok(()),
        "shared" => Err(Refusal::forbidden("the user may not edit in this space")),
        "managed" => Err(Refusal::forbidden("apps come into a managed space by being published")),
        kind => Err(Refusal::forbidden(&format!("a {kind} space holds no apps"))),
    }
}

/// A new app of the caller's.
pub(super) fn new(context: &Context<'_>, name: &str, space: &str) -> Value {
    let (now, user) = (context.timestamp(), context.user_id());
    let mut app = json!({
        "id": context.random.uuid().to_string(), "name": name, "description": "", "thumbnail": "", "dynamicColor": "",
        "owner": user, "ownerId": user, "originAppId": "", "published": false, "encrypted": false,
        "hasSectionAccess": false, "isDirectQueryMode": false, "usage": "ANALYTICS", "custom": {},
        "createdDate": now, "modifiedDate": now,
        SIZE: 0,
    });
    if !space.is_empty() {
        app["spaceId"] = json!(space);
    }
    app
}

fn keep(context: &mut Context<'_>, app: Value) -> Handled {
    let id = text(&app, "id").to_owned();
    context.put(APPS, &id, app.clone());
    Ok(Answer::ok(&shown(context, &app)))
}

/// Takes over what the file of an app holds.
fn fill(app: &mut Value, from: &Value, with_data: bool) {
    for field in [CONTENT, SIZE, SCRIPT, "hasSectionAccess", "isDirectQueryMode", "usage", "thumbnail", "dynamicColor"]
    {
        if let Some(value) = from.get(field) {
            app[field] = value.clone();
        }
    }
    if with_data {
        for field in [DATA, "lastReloadTime"] {
            match from.get(field) {
                Some(value) => app[field] = value.clone(),
                None => drop(app.as_object_mut().and_then(|fields| fields.remove(field))),
            }
        }
    }
}

/// Each import makes a new app; names repeat.
fn import(context: &mut Context<'_>) -> Handled {
    let given = |name: &str| context.parameter(name).unwrap_or_default().to_owned();
    let (space, name, fallback) = (given("spaceId"), given("name"), given("fallbackName"));
    if !given("mode").is_empty() && !given("mode").eq_ignore_ascii_case("new") {
        return Err(Refusal::bad_request("this mode is for Qlik's own use").parameter("mode"));
    }
    shared(context, &space)?;
    let bytes = match given("fileId") {
        id if id.is_empty() => context.bytes.clone(),
        id => temp_contents::content(context, &id)
            .ok_or_else(|| missing().detail("there is no such temporary content").parameter("fileId"))?,
    };
    if bytes.is_empty() {
        return Err(Refusal::bad_request("neither a file nor fileId is given"));
    }
    quotas::import(context)?;
    let mut app = new(context, "", &space);
    let with_data = !context.flag("NoData");
    load(context, &mut app, bytes, with_data);
    let names = [name, text(&app, "name").to_owned(), fallback, "Untitled".to_owned()];
    app["name"] = json!(names.into_iter().find(|name| !name.is_empty()));
    keep(context, app)
}

/// Puts the content of an app's file into a new app, with its name and description there. Without its data it has none.
pub(super) fn load(context: &mut Context<'_>, app: &mut Value, bytes: Bytes, with_data: bool) {
    let inside: Map<String, Value> = serde_json::from_slice(&bytes).unwrap_or_default();
    for field in ["name", "description"] {
        app[field] = json!(inside.get(field).and_then(Value::as_str).unwrap_or_default());
    }
    for (said, field) in
        [("lastReloadTime", "lastReloadTime"), ("hasSectionAccess", "hasSectionAccess"), ("reload", SCRIPT)]
    {
        if let Some(value) = inside.get(said) {
            app[field] = value.clone();
        }
    }
    app[SIZE] = json!(bytes.len());
    let held = context.keep(bytes);
    app[CONTENT] = json!(&*held);
    if with_data {
        app[DATA] = json!(&*held);
    } else {
        drop(app.as_object_mut().and_then(|fields| fields.remove("lastReloadTime")));
    }
}

/// Leaves the app's file as temporary content. A stand-in tells of the app what an import would find in its file; any other
/// file leaves as it came.
fn export(context: &mut Context<'_>) -> Handled {
    let app = visible(context, &context.var("appId"))?;
    if space_of(context, &app).is_some_and(|space| text(&space, "type") == "managed") {
        return Err(Refusal::forbidden("apps in managed spaces cannot be exported"));
    }
    let app = editable(context).map(|_| app)?;
    let held = context.content(&app);
    let inside = match &held {
        None => Some(Map::new()),
        Some(bytes) => serde_json::from_slice::<Map<String, Value>>(bytes).ok(),
    };
    let bytes = match (inside, held) {
        (Some(mut inside), _) => {
            for field in ["name", "description", "lastReloadTime", "hasSectionAccess"] {
                match app.get(field).filter(|_| field != "lastReloadTime" || !context.flag("NoData")) {
                    Some(value) => inside.insert(field.to_owned(), value.clone()),
                    None => inside.remove(field),
                };
            }
            Value::Object(inside).to_string().into()
        }
        (None, held) => held.unwrap_or_default(),
    };
    temp_contents::exported(context, &format!("{}.qvf", text(&app, "name")), bytes)
}

fn create(context: &mut Context<'_>) -> Handled {
    let given = context.body.get("attributes").cloned().unwrap_or_default();
    let space = text(&given, "spaceId").to_owned();
    shared(context, &space)?;
    if text(&given, "name").is_empty() {
        return Err(Refusal::bad_request("an app needs a name").pointer("/attributes/name"));
    }
    let mut app = new(context, text(&given, "name"), &space);
    app["description"] = json!(text(&given, "description"));
    keep(context, app)
}

fn copy(context: &mut Context<'_>) -> Handled {
    let source = editable(context)?;
    let given = context.body.get("attributes").cloned().unwrap_or_default();
    let space = text(&given, "spaceId").to_owned();
    shared(context, &space)?;
    let name = Some(text(&given, "name")).filter(|name| !name.is_empty()).unwrap_or(text(&source, "name"));
    let mut app = new(context, name, &space);
    app["description"] = source["description"].clone();
    say(&mut app, &given);
    fill(&mut app, &source, true);
    keep(context, app)
}

fn get(context: &mut Context<'_>) -> Handled {
    let app = visible(context, &context.var("appId"))?;
    Ok(Answer::ok(&shown(context, &app)))
}

/// Gives an app the name and the description that stand in `attributes`.
fn say(app: &mut Value, attributes: &Value) {
    for field in ["name", "description"] {
        if let Some(value) = attributes.get(field).filter(|value| value.is_string()) {
            app[field] = value.clone();
        }
    }
}

fn changed(context: &mut Context<'_>, before: &Value, mut app: Value) -> Handled {
    if app != *before {
        app["modifiedDate"] = json!(context.timestamp());
    }
    keep(context, app)
}

fn update(context: &mut Context<'_>) -> Handled {
    let before = editable(context)?;
    let mut app = (*before).clone();
    say(&mut app, &context.body["attributes"]);
    if text(&app, "name").is_empty() {
        return Err(Refusal::bad_request("an app needs a name").pointer("/attributes/name"));
    }
    changed(context, &before, app)
}

/// Answers 200 with nothing, unlike most deletes.
fn delete(context: &mut Context<'_>) -> Handled {
    let app = visible(context, &context.var("appId"))?;
    if !removes(context, &Caller::of(context), &app) {
        return Err(Refusal::forbidden("the app may not be removed by this user"));
    }
    tasks::forget(context, text(&app, "id"));
    context.remove(APPS, text(&app, "id"));
    items::forget(context, text(&app, "id"));
    Ok(Answer { status: StatusCode::OK, headers: Vec::new(), body: Bytes::new() })
}

/// The managed space that is published to.
fn managed(context: &Context<'_>, id: &str) -> Result<Document, Refusal> {
    let caller = Caller::of(context);
    let space = context.get("spaces", id).filter(|space| caller.sees(space)).ok_or_else(missing)?;
    if Lags::holds(context.lags.publish, text(&space, "createdAt"), context.now) {
        return Err(missing());
    }
    if text(&space, "type") != "managed" {
        return Err(Refusal::bad_request("apps are published to managed spaces").pointer("/spaceId"));
    }
    if !caller.publishes(&space) {
        return Err(Refusal::forbidden("the user may not publish to this space"));
    }
    Ok(space)
}

/// The app of the path, to be published: one that is not published itself.
fn source(context: &Context<'_>) -> Result<Document, Refusal> {
    let app = editable(context)?;
    if space_of(context, &app).is_some_and(|space| text(&space, "type") == "managed") {
        return Err(Refusal::bad_request("the app lies in a managed space already"));
    }
    Ok(app)
}

/// Each publish makes another app; the fact sheet says so of a repeat as an assumption.
fn publish(context: &mut Context<'_>) -> Handled {
    let source = source(context)?;
    let given = context.body.clone();
    let space = managed(context, text(&given, "spaceId"))?;
    let moves = given["moveApp"].as_bool() == Some(true);
    let origin = text(&given, "originAppId");
    if moves && origin.is_empty() {
        return Err(Refusal::bad_request("a move needs originAppId").pointer("/originAppId"));
    }
    let mut app = if moves { (*source).clone() } else { new(context, text(&source, "name"), "") };
    app["spaceId"] = space["id"].clone();
    app["originAppId"] = if moves { json!(origin) } else { source["id"].clone() };
    app["publishTime"] = json!(context.timestamp());
    app["description"] = source["description"].clone();
    fill(&mut app, &source, true);
    say(&mut app, &given["attributes"]);
    keep(context, app)
}

/// Gives a published app new content and keeps its id. Without `data` the source's comes along: the default is not
/// published. What `attributes` leaves out stays: neither is that.
fn republish(context: &mut Context<'_>) -> Handled {
    let source = source(context)?;
    let given = context.body.clone();
    let target = visible(context, text(&given, "targetId"))?;
    managed(context, text(&target, "spaceId"))?;
    if given["checkOriginAppId"].as_bool() != Some(false) && target["originAppId"] != source["id"] {
        let detail = "the target was published from another app";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "HTTP-400", "Bad request")
            .detail(detail)
            .pointer("/targetId"));
    }
    // What schedules loaded until now is of the content before.
    tasks::settle_of(context, text(&target, "id"));
    let mut app = (*target).clone();
    fill(&mut app, &source, text(&given, "data") != "target");
    say(&mut app, &given["attributes"]);
    app["publishTime"] = json!(context.timestamp());
    changed(context, &target, app)
}

fn move_to_space(context: &mut Context<'_>) -> Handled {
    let before = editable(context)?;
    let space = text(&context.body, "spaceId").to_owned();
    shared(context, &space)?;
    let mut app = (*before).clone();
    app["spaceId"] = json!(space);
    tasks::moved(context, text(&before, "id"));
    changed(context, &before, app)
}

/// Into its owner's personal space.
fn remove_from_space(context: &mut Context<'_>) -> Handled {
    let before = editable(context)?;
    let mut app = (*before).clone();
    drop(app.as_object_mut().and_then(|fields| fields.remove("spaceId")));
    tasks::moved(context, text(&before, "id"));
    changed(context, &before, app)
}

fn change_owner(context: &mut Context<'_>) -> Handled {
    let before = visible(context, &context.var("appId"))?;
    if !removes(context, &Caller::of(context), &before) {
        return Err(Refusal::forbidden("the app's owner may not be changed by this user"));
    }
    let owner = text(&context.body, "ownerId").to_owned();
    if context.get("users", &owner).is_none() {
        return Err(missing().detail("there is no such user"));
    }
    let mut app = (*before).clone();
    app["ownerId"] = json!(owner);
    app["owner"] = json!(owner);
    changed(context, &before, app)
}
