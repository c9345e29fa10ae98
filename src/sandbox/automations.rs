//! Automations, in both generations of their API over one store (automations and workflows automations specifications; deploy
//! an automation to a tenant).
//!
//! What an automation's blocks do is not simulated: nothing but a request starts one, and its runs go as `automation_runs`
//! says. Published is who may do what by owner, administrator and the scope `admin.automations`; assumed is what roles in a
//! shared space add to it, and which status says no.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::automation_connections::CONNECTIONS;
use super::automation_runs::{self, by_age};
use super::context::{Answer, Context, Handled, text};
use super::filter::{Fields, Filter};
use super::ids;
use super::paging::{self, Paging, page_as};
use super::refusal::Refusal;
use super::resources::Resource;
use super::spaces::Caller;
use super::state::Document;

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("getAutomations", list),
        ("workflowsGetAutomations", list),
        ("createAutomation", create),
        ("workflowsCreateAutomation", create),
        ("getAutomation", get),
        ("workflowsGetAutomation", get),
        ("updateAutomation", update),
        ("workflowsUpdateAutomation", update),
        ("deleteAutomation", delete),
        ("workflowsDeleteAutomation", delete),
        ("enableAutomation", enable),
        ("workflowsEnableAutomation", enable),
        ("disableAutomation", disable),
        ("workflowsDisableAutomation", disable),
        ("copyAutomation", copy),
        ("workflowsCopyAutomation", copy),
        ("changeOwnerAutomation", change_owner),
        ("workflowsChangeOwnerAutomation", change_owner),
        ("moveAutomation", change_owner),
        ("workflowsMoveAutomation", change_owner),
        ("changeSpaceAutomation", change_space),
        ("workflowsChangeSpaceAutomation", change_space),
        ("getAutomationsSettings", settings),
        ("updateAutomationsSettings", change_settings),
    ],
    seed: None,
};

/// The collection's name; spaces know it too.
pub(super) const AUTOMATIONS: &str = "automations";

pub(super) const PAGING: Paging = Paging::forward("cursor", 100, 200).without_self();
const FILTERS: Fields = Fields { eq: &["name", "runMode", "lastRunStatus", "ownerId", "spaceId"], co: &[] };
const SORTS: &[&str] =
    &["name", "runMode", "state", "createdAt", "updatedAt", "lastRunAt", "lastRunStatus", "maxConcurrentRuns"];

/// What a request says of an automation; whatever else a whole exported one holds is dropped.
const GIVEN: [&str; 5] = ["name", "description", "workspace", "schedules", "maxConcurrentRuns"];

/// How many runs of one automation a tenant allows at a time, until it is told otherwise. The specification's example.
const MAX_RUNS: i64 = 10;

/// The scope with which a client reads and changes what is not its own.
const EVERYBODYS: &str = "admin.automations";

/// Roles in a shared space with which one works on what lies in it.
const WORKS: [&str; 3] = ["producer", "codeveloper", "facilitator"];

pub(super) fn forbidden(detail: &str) -> Refusal {
    Refusal::forbidden(detail)
}

/// A moment as this service writes it: with six digits (deploy an automation to a tenant).
pub(super) fn moment(at: jiff::Timestamp) -> String {
    format!("{at:.6}")
}

/// Whether the caller made it or was given it.
pub(super) fn owns(caller: &Caller, thing: &Value) -> bool {
    text(thing, "ownerId") == caller.id()
}

/// Whether the caller works in the space that the thing lies in.
pub(super) fn works(context: &Context<'_>, caller: &Caller, thing: &Value) -> bool {
    let space = context.get("spaces", text(thing, "spaceId"));
    space.is_some_and(|space| caller.roles(&space).iter().any(|role| WORKS.contains(&role.as_str())))
}

/// Whether the caller has access to it without being an administrator.
pub(super) fn has_access(context: &Context<'_>, caller: &Caller, thing: &Value) -> bool {
    let in_space = || context.get("spaces", text(thing, "spaceId")).is_some_and(|space| caller.has_role_in(&space));
    owns(caller, thing) || in_space()
}

fn has_scope(context: &Context<'_>, wanted: &str) -> bool {
    context.grant.as_ref().is_some_and(|grant| grant.scope.split(' ').any(|scope| scope == wanted))
}

/// What of a kind the caller is shown in a list: an administrator sees all when it asks for all.
pub(super) fn listed(context: &Context<'_>, collection: &str, all: bool) -> Vec<Document> {
    let caller = Caller::of(context);
    let all = all && caller.is_admin();
    let shows = |thing: &Document| all || has_access(context, &caller, thing);
    context.collection(collection).documents().into_iter().filter(shows).collect()
}

/// The space that a thing is to lie in; nothing for the owner's own.
pub(super) fn destination(context: &Context<'_>, id: &str) -> Result<(), Refusal> {
    if id.is_empty() {
        return Ok(());
    }
    let refuse = |detail: String| Refusal::bad_request(detail).pointer("/spaceId");
    let space = context.get("spaces", id).ok_or_else(|| refuse(format!("there is no space {id}")))?;
    if text(&space, "type") != "shared" {
        return Err(refuse("only a shared space can hold it".to_owned()));
    }
    Ok(())
}

/// The user that is to own a thing.
pub(super) fn new_owner(context: &Context<'_>) -> Result<String, Refusal> {
    let id = text(&context.body, "userId").to_owned();
    if context.get("users", &id).is_none() {
        return Err(Refusal::bad_request(format!("there is no user {id}")).pointer("/userId"));
    }
    Ok(id)
}

/// The automation of the path, whoever asks.
pub(super) fn asked(context: &Context<'_>) -> Result<Document, Refusal> {
    context.get(AUTOMATIONS, &context.var("id")).ok_or_else(|| Refusal::not_found("HTTP-404"))
}

/// The same, when the caller may know its definition.
fn own(context: &Context<'_>) -> Result<Document, Refusal> {
    let automation = asked(context)?;
    if owns(&Caller::of(context), &automation) || has_scope(context, EVERYBODYS) {
        return Ok(automation);
    }
    Err(forbidden("only its owner may do this with the automation"))
}

/// The same, when the caller may remove it or switch it.
fn administered(context: &Context<'_>) -> Result<Document, Refusal> {
    let automation = asked(context)?;
    let caller = Caller::of(context);
    if owns(&caller, &automation) || caller.is_admin() {
        return Ok(automation);
    }
    Err(forbidden("only its owner or an administrator may do this with the automation"))
}

/// The ids of one kind that the workspace's blocks name, each once.
fn named_in(workspace: &Value, field: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for block in workspace["blocks"].as_array().into_iter().flatten() {
        let id = text(block, field);
        if !id.is_empty() && !found.iter().any(|held| held == id) {
            found.push(id.to_owned());
        }
    }
    found
}

/// How it is started, which its first block says; by its schedule where it says nothing.
fn run_mode(automation: &Value) -> Value {
    let blocks = automation["workspace"]["blocks"].as_array().into_iter().flatten();
    let mut inputs = blocks.filter(|block| text(block, "type") == "StartBlock").flat_map(|block| {
        block["inputs"].as_array().into_iter().flatten().filter(|input| text(input, "id") == "run_mode")
    });
    let told = inputs.next().map(|input| text(input, "value")).unwrap_or_default();
    let runs = |schedule: &Value| schedule["interval"].as_i64().is_some_and(|interval| interval > 0);
    let known = ["manual", "scheduled", "triggered", "webhook"].into_iter().find(|mode| *mode == told);
    let scheduled = || automation["schedules"].as_array().into_iter().flatten().any(runs);
    json!(known.unwrap_or_else(|| if scheduled() { "scheduled" } else { "manual" }))
}

/// An automation as it is shown to who may know all of it.
fn shown(context: &Context<'_>, automation: &Value) -> Value {
    let mut document = automation.clone();
    for (field, kind) in
        [("snippetIds", "snippet_guid"), ("endpointIds", "endpoint_guid"), ("connectorIds", "datasourcetype_guid")]
    {
        document[field] = json!(named_in(&automation["workspace"], kind));
    }
    document["runMode"] = run_mode(automation);
    if let Some(run) = automation_runs::last(context, text(automation, "id")) {
        for (field, of) in [("lastRunStatus", "status"), ("lastRunAt", "stopTime")] {
            document[field] = run[of].clone();
        }
        // Until it has ended, the moment of the end is not there.
        if document["lastRunAt"].is_null()
            && let Some(map) = document.as_object_mut()
        {
            map.shift_remove("lastRunAt");
        }
        document["lastRun"] = run;
    }
    document
}

/// The same as lists have it: without what only the owner may know (deploy an automation to a tenant).
fn brief(context: &Context<'_>, automation: &Value) -> Value {
    let mut document = shown(context, automation);
    if let Some(map) = document.as_object_mut() {
        map.retain(|field, _| !["workspace", "executionToken", "schedules"].contains(&field.as_str()));
    }
    document
}

fn list(context: &mut Context<'_>) -> Handled {
    let all = context.parameter("listAll").is_none() || context.flag("listAll");
    let mut found: Vec<Document> =
        listed(context, AUTOMATIONS, all).iter().map(|automation| Document::new(brief(context, automation))).collect();
    if let Some(filter) = context.parameter("filter").filter(|filter| !filter.is_empty()) {
        found = Filter::parse(filter, FILTERS)?.apply(found);
    }
    if !by_age(context, &mut found) {
        paging::sort(context, &mut found, SORTS, "")?;
    }
    page_as(context, found, PAGING, |_, document| document.clone())
}

fn allowed_runs(context: &Context<'_>) -> i64 {
    context
        .get("settings", AUTOMATIONS)
        .map_or(MAX_RUNS, |held| held["maxConcurrentRunsPerAutomation"].as_i64().unwrap_or(MAX_RUNS))
}

/// Each schedule with an id of its own. One that never runs has the interval -1, as the service itself exports it.
fn schedules(context: &Context<'_>, given: &Value) -> Result<Value, Refusal> {
    let mut made = Vec::new();
    for (index, schedule) in given.as_array().into_iter().flatten().enumerate() {
        let interval = schedule["interval"].as_i64();
        if interval.is_some_and(|interval| interval != -1 && (interval < 60 || interval % 60 != 0)) {
            let detail = "interval must be a multiple of 60 seconds";
            return Err(Refusal::bad_request(detail).pointer(format!("/schedules/{index}/interval")));
        }
        let mut kept = Map::new();
        kept.insert("id".to_owned(), json!(context.random.uuid().to_string()));
        for field in ["startAt", "stopAt", "interval", "timezone", "recurrence"] {
            if let Some(value) = schedule.get(field) {
                kept.insert(field.to_owned(), value.clone());
            }
        }
        made.push(Value::Object(kept));
    }
    Ok(made.into())
}

/// Takes what a request says of an automation, and holds it against what the tenant allows.
fn take(context: &Context<'_>, automation: &mut Value) -> Result<(), Refusal> {
    for field in GIVEN {
        if let Some(value) = context.body.get(field) {
            automation[field] = if field == "schedules" { schedules(context, value)? } else { value.clone() };
        }
    }
    if text(automation, "name").trim().is_empty() {
        return Err(Refusal::bad_request("name must not be empty").pointer("/name"));
    }
    let (wanted, most) = (automation["maxConcurrentRuns"].as_i64().unwrap_or(1), allowed_runs(context));
    if wanted > most {
        let detail = format!("maxConcurrentRuns can be {most} at most in this tenant");
        return Err(Refusal::bad_request(detail).pointer("/maxConcurrentRuns"));
    }
    if !automation["workspace"].is_object() {
        return Err(Refusal::bad_request("workspace must be an object").pointer("/workspace"));
    }
    Ok(())
}

/// Stores a new automation of the caller's.
fn add(context: &mut Context<'_>, mut automation: Value) -> Value {
    let (id, now) = (context.random.uuid().to_string(), moment(context.now));
    automation["id"] = json!(id);
    automation["ownerId"] = json!(context.user_id());
    automation["state"] = json!("available");
    automation["executionToken"] = json!(ids::alphanumeric(context.random, 64));
    automation["createdAt"] = json!(now);
    automation["updatedAt"] = json!(now);
    context.put(AUTOMATIONS, &id, automation.clone());
    automation
}

/// A name may be given again: each request makes another automation.
fn create(context: &mut Context<'_>) -> Handled {
    let space = text(&context.body, "spaceId").to_owned();
    destination(context, &space)?;
    let mut automation = json!({"description": "", "workspace": {}, "schedules": [], "maxConcurrentRuns": 1});
    take(context, &mut automation)?;
    if !space.is_empty() {
        automation["spaceId"] = json!(space);
    }
    let automation = add(context, automation);
    Ok(Answer::created(&shown(context, &automation)))
}

fn get(context: &mut Context<'_>) -> Handled {
    let automation = own(context)?;
    Ok(Answer::ok(&shown(context, &automation)))
}

/// What has a published default and is left out takes it; the rest is assumed to stay.
fn update(context: &mut Context<'_>) -> Handled {
    let before = own(context)?;
    let mut automation = (*before).clone();
    (automation["description"], automation["maxConcurrentRuns"]) = (json!(""), json!(1));
    take(context, &mut automation)?;
    automation["updatedAt"] = json!(moment(context.now));
    context.put(AUTOMATIONS, &context.var("id"), automation.clone());
    Ok(Answer::ok(&shown(context, &automation)))
}

fn delete(context: &mut Context<'_>) -> Handled {
    administered(context)?;
    let id = context.var("id");
    automation_runs::forget(context, &id);
    context.remove(AUTOMATIONS, &id);
    Ok(Answer::no_content())
}

/// Switching to the state it has is assumed to do nothing.
fn switch(context: &mut Context<'_>, state: &str) -> Handled {
    let mut automation = (*administered(context)?).clone();
    if text(&automation, "state") != state {
        automation["state"] = json!(state);
        automation["updatedAt"] = json!(moment(context.now));
        context.put(AUTOMATIONS, &context.var("id"), automation);
    }
    Ok(Answer::no_content())
}

fn enable(context: &mut Context<'_>) -> Handled {
    switch(context, "available")
}

fn disable(context: &mut Context<'_>) -> Handled {
    switch(context, "disabled")
}

/// The copy is the caller's, and by its own token.
fn copy(context: &mut Context<'_>) -> Handled {
    let source = own(context)?;
    let mut automation = (*source).clone();
    if let Some(map) = automation.as_object_mut() {
        map.shift_remove("spaceId");
    }
    automation["name"] = context.body["name"].clone();
    automation["schedules"] = schedules(context, &source["schedules"])?;
    let made = add(context, automation);
    Ok(Answer::created(&json!({"id": made["id"]})))
}

/// Takes the connections out of the workspace's blocks: they stay behind with the former owner.
fn detach(context: &Context<'_>, automation: &mut Value) {
    for block in automation["workspace"]["blocks"].as_array_mut().into_iter().flatten() {
        for setting in block["settings"].as_array_mut().into_iter().flatten() {
            let linked =
                text(setting, "id") == "datasource" && context.get(CONNECTIONS, text(setting, "value")).is_some();
            if linked {
                setting["value"] = Value::Null;
            }
        }
    }
}

/// The history goes, and the connections are detached.
fn change_owner(context: &mut Context<'_>) -> Handled {
    let mut automation = (*asked(context)?).clone();
    if !Caller::of(context).is_admin() {
        return Err(forbidden("only an administrator may change the owner of an automation"));
    }
    automation["ownerId"] = json!(new_owner(context)?);
    automation["updatedAt"] = json!(moment(context.now));
    detach(context, &mut automation);
    let id = context.var("id");
    automation_runs::forget(context, &id);
    context.put(AUTOMATIONS, &id, automation);
    Ok(Answer::no_content())
}

fn change_space(context: &mut Context<'_>) -> Handled {
    let mut automation = (*administered(context)?).clone();
    let space = text(&context.body, "spaceId").to_owned();
    destination(context, &space)?;
    place(&mut automation, &space);
    automation["updatedAt"] = json!(moment(context.now));
    context.put(AUTOMATIONS, &context.var("id"), automation);
    Ok(Answer::no_content())
}

/// Puts a thing into a space, or back among its owner's own.
pub(super) fn place(thing: &mut Value, space: &str) {
    if !space.is_empty() {
        thing["spaceId"] = json!(space);
    } else if let Some(map) = thing.as_object_mut() {
        map.shift_remove("spaceId");
    }
}

fn settings(context: &mut Context<'_>) -> Handled {
    Ok(Answer::ok(&json!({"maxConcurrentRunsPerAutomation": allowed_runs(context)})))
}

fn change_settings(context: &mut Context<'_>) -> Handled {
    if !Caller::of(context).is_admin() {
        return Err(forbidden("only an administrator may change the settings of automations"));
    }
    let wanted = context.body["maxConcurrentRunsPerAutomation"].as_i64().unwrap_or_else(|| allowed_runs(context));
    if wanted < 1 {
        let refusal = Refusal::new(StatusCode::BAD_REQUEST, "HTTP-400", "Bad request");
        return Err(refusal.detail("at least 1").pointer("/maxConcurrentRunsPerAutomation"));
    }
    let document = json!({"maxConcurrentRunsPerAutomation": wanted});
    context.put("settings", AUTOMATIONS, document.clone());
    Ok(Answer::ok(&document))
}

/// Whether any automation uses the connection.
pub(super) fn uses(context: &Context<'_>, connection: &str) -> bool {
    context.collection(AUTOMATIONS).documents().iter().any(|automation| {
        let blocks = automation["workspace"]["blocks"].as_array().into_iter().flatten();
        let mut settings = blocks.flat_map(|block| block["settings"].as_array().into_iter().flatten());
        settings.any(|setting| text(setting, "id") == "datasource" && text(setting, "value") == connection)
    })
}
