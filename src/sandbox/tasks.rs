//! Scheduled tasks: what loads apps by the clock, or after another task (scheduling tasks API; qlik-cli, scheduling task
//! resource reload; changelog 262).
//!
//! Nothing runs between requests: what a schedule has started by now follows from the task and the clock whenever somebody
//! looks, and is put on record when the task changes. Published are the codes and that an app has at most ten tasks; assumed,
//! since nothing tells, is what definition the service makes of a schedule, that an app's tasks go with it, that a moment that
//! comes while the app is loaded is passed over, and the rest that `assumptions.toml` names.

use std::sync::Arc;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::apps::{self, APPS, LOADS, SCRIPT};
use super::context::{Answer, Context, Handled, text};
use super::filter::{Fields, Filter};
use super::paging::{self, Paging};
use super::patch;
use super::recurrence::Schedule;
use super::refusal::Refusal;
use super::reloads;
use super::resources::Resource;
use super::spaces::Caller;
use super::state::Document;
use super::task_graphs;
use super::task_runs;

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("schedulingGetTasks", list),
        ("schedulingCreateTask", create),
        ("createReloadTaskOnTimeSchedule", create_on_time),
        ("createReloadTaskOnTaskEvent", create_on_event),
        ("createReloadTaskOnDatasetUpdated", create_on_dataset),
        ("schedulingGetTask", get),
        ("schedulingUpdateTask", replace),
        ("patchTask", change),
        ("schedulingDeleteTask", delete),
        ("schedulingStartTask", start),
    ],
    seed: None,
};

/// The collection's name.
pub(super) const TASKS: &str = "tasks";

pub(super) const PAGING: Paging = Paging::forward("page", 20, 100);

/// What lists are filtered and sorted by; all but the first three stand deeper in a task.
const FIELDS: [&str; 14] = [
    "name",
    "enabled",
    "resourceId",
    "ownerId",
    "spaceId",
    "createdAt",
    "updatedAt",
    "updatedBy",
    "lastStatus",
    "lastTriggeredBy",
    "lastStartedAt",
    "lastEndedAt",
    "lastExecutedAs",
    "triggerType",
];

/// How many tasks an app may have (qlik-cli: CHO-014; changelog 135).
const MOST: usize = 10;

/// How many of a schedule's runs are told, and after how many failures in a row Qlik switches it off (reload-tasks
/// specification).
const KEPT: usize = 100;
const FAILURES: usize = 5;

/// How long a chain of tasks may get.
const CHAIN: usize = 10;

/// Since when a schedule's runs follow from the clock; those before are on record.
const SINCE: &str = "$since";
/// When its schedule was given: where a schedule without a beginning begins.
const ANCHOR: &str = "$anchor";
/// How the attributes begin that tell of the last run.
const LAST_RUN: &str = "last_run_";
/// Who changed it last.
const UPDATED_BY: &str = "$updatedBy";

/// What a request may not say of a task: the service knows.
const OWN: [&str; 3] = ["id", "resourceId", "metadata"];

fn refuse(status: StatusCode, code: &str, words: impl std::fmt::Display) -> Refusal {
    Refusal::new(status, code, &format!("{code}: {words}"))
}

fn invalid(words: impl std::fmt::Display) -> Refusal {
    refuse(StatusCode::BAD_REQUEST, "CHO-001", words)
}

/// The app that is to be reloaded, when the caller may do that.
fn app(context: &Context<'_>, id: &str) -> Result<Document, Refusal> {
    let caller = Caller::of(context);
    let app = context.get(APPS, id).filter(|app| apps::sees(context, &caller, app));
    app.filter(|app| apps::edits(context, &caller, app)).ok_or_else(|| {
        let words = "the app does not exist, or may not be reloaded by this user";
        refuse(StatusCode::FORBIDDEN, "CHO-003", words)
    })
}

/// The app that a task's states reload.
fn resource(task: &Value) -> Option<&str> {
    let states = task["states"].as_array()?.iter();
    let actions = states.filter_map(|state| state["onEvents"].as_array()).flatten();
    let mut actions = actions.filter_map(|on| on["actions"].as_array()).flatten();
    actions.find_map(|action| action.pointer("/functionRef/arguments/appId")?.as_str())
}

/// The schedule of a task; none when it waits for events, or for being started.
fn schedule(task: &Value) -> Option<Schedule> {
    let anchor = text(task, ANCHOR).parse().ok()?;
    Schedule::read(task.pointer("/start/schedule")?, anchor).ok()
}

fn check_schedule(context: &Context<'_>, task: &Value) -> Result<(), Refusal> {
    let Some(schedule) = task.pointer("/start/schedule") else { return Ok(()) };
    let read = Schedule::read(schedule, context.now);
    read.map(drop)
        .map_err(|wrong| refuse(StatusCode::BAD_REQUEST, "CHO-017", format!("the schedule was rejected: {wrong}")))
}

/// 0 by the clock, 1 and 2 by one and more events.
fn trigger(task: &Value) -> u8 {
    match task["events"].as_array().map_or(0, Vec::len) {
        0 => 0,
        1 => 1,
        _ => 2,
    }
}

/// Takes over what a request says of a task.
fn defined(context: &Context<'_>, before: &Value, mut task: Value, app: &Value) -> Value {
    let now = context.timestamp();
    let space = context.get("spaces", text(app, "spaceId"));
    let kind = space.as_ref().map_or("personal", |space| text(space, "type"));
    let held = |field: &str, new: Value| before.pointer(&format!("/metadata/{field}")).cloned().unwrap_or(new);
    let id = before.get("id").cloned().unwrap_or_else(|| json!(context.random.uuid().to_string()));
    task["id"] = id.clone();
    task["resourceId"] = app["id"].clone();
    for (field, default) in [("enabled", json!(false)), ("keepActive", json!(false)), ("version", json!("1.0.0"))] {
        if task.get(field).is_none() {
            task[field] = default;
        }
    }
    task["metadata"] = json!({
        "usage": "ANALYTICS", "ownerId": context.user_id(), "tenantId": context.tenant_id(),
        "createdBy": held("createdBy", json!(context.user_id())), "createdAt": held("createdAt", json!(now)),
        "updatedAt": now, "spaceId": text(app, "spaceId"), "spaceType": kind,
        "resourceName": app["name"], "resourceType": "app",
        "trigger": {"id": id, "type": trigger(&task)},
        "orchestration": {"id": id, "type": 3, "attrs": {}},
    });
    if task["enabled"] == false && before["enabled"] == true {
        task["metadata"]["disabledCode"] = json!("MANUALLY");
    }
    task[UPDATED_BY] = json!(context.user_id());
    task[SINCE] = json!(now);
    task[ANCHOR] =
        if before["start"] == task["start"] && !before.is_null() { before[ANCHOR].clone() } else { json!(now) };
    task
}

fn without_own(mut given: Value) -> Value {
    if let Some(fields) = given.as_object_mut() {
        fields.retain(|field, _| !OWN.contains(&field.as_str()) && !field.starts_with('$'));
    }
    given
}

fn make(context: &mut Context<'_>, given: Value, app: &Value, full: StatusCode) -> Handled {
    check_schedule(context, &given)?;
    if context.collection(TASKS).count("resourceId", text(app, "id")) >= MOST {
        return Err(refuse(full, "CHO-014", format!("the app already has {MOST} tasks")));
    }
    let task = defined(context, &Value::Null, given, app);
    context.put(TASKS, text(&task, "id"), task.clone());
    Ok(Answer::created(&shown(context, &task)))
}

fn create(context: &mut Context<'_>) -> Handled {
    let given = without_own(context.body.clone());
    let id = resource(&given).ok_or_else(|| invalid("no state reloads an app"))?.to_owned();
    let app = app(context, &id)?;
    make(context, given, &app, StatusCode::BAD_REQUEST)
}

/// The definition that the service makes of a short request.
fn generated(context: &Context<'_>, app: &Value, event: &str) -> Result<Value, Refusal> {
    let given = &context.body;
    let name = Some(text(given, "name")).filter(|name| !name.is_empty());
    let name =
        name.map_or_else(|| format!("Reload of {}", text(app, "name")).chars().take(100).collect(), str::to_owned);
    if name.chars().count() > 100 || text(given, "description").chars().count() > 1024 {
        return Err(invalid("the name has more than 100 characters, or the description more than 1024"));
    }
    Ok(json!({
        "name": name, "description": text(given, "description"), "enabled": given["enabled"] == true, "specVersion": "1.16.0",
        "states": [{
            "name": "reload", "type": "EVENT", "end": true, "exclusive": false,
            "onEvents": [{
                "eventRefs": [event],
                "actions": [{
                    "name": "app-reload",
                    "functionRef": {"refName": "app.reload", "arguments": {"appId": app["id"], "partial": false}},
                }],
            }],
        }],
    }))
}

fn create_on_time(context: &mut Context<'_>) -> Handled {
    let app = app(context, &context.var("id"))?;
    let mut task = generated(context, &app, "time-schedule")?;
    let mut schedule = json!({"timezone": "UTC"});
    for field in ["recurrence", "timezone", "startDateTime", "endDateTime"] {
        if let Some(value) = context.body.get(field) {
            schedule[field] = value.clone();
        }
    }
    task["start"] = json!({"schedule": schedule});
    make(context, task, &app, StatusCode::UNPROCESSABLE_ENTITY)
}

fn create_on_event(context: &mut Context<'_>) -> Handled {
    let app = app(context, &context.var("id"))?;
    let given = context.body.clone();
    let parent = context
        .get(TASKS, text(&given, "onTaskId"))
        .ok_or_else(|| refuse(StatusCode::BAD_REQUEST, "CHO-016", "there is no such task as onTaskId names"))?;
    let caller = Caller::of(context);
    let other = context.get(APPS, text(&parent, "resourceId"));
    if !other.is_some_and(|other| apps::sees(context, &caller, &other)) {
        return Err(refuse(StatusCode::FORBIDDEN, "CHO-015", "the other task's app may not be read by this user"));
    }
    let mut task = generated(context, &app, "task-finished")?;
    let attribute = |name: &str, value: &Value| json!({"contextAttributeName": name, "contextAttributeValue": value});
    let mut correlation = vec![attribute("id", &parent["id"]), attribute("appId", &parent["resourceId"])];
    if !text(&parent["metadata"], "spaceId").is_empty() {
        correlation.push(attribute("spaceId", &parent["metadata"]["spaceId"]));
    }
    if given["onTaskStatus"] != "any" {
        correlation.push(attribute("status", &json!(text(&given, "onTaskStatus").to_uppercase())));
    }
    task["events"] = json!([{
        "name": "task-finished", "type": "com.qlik.v1.task.run.finished", "source": "system-events.task",
        "correlation": correlation,
    }]);
    make(context, task, &app, StatusCode::UNPROCESSABLE_ENTITY)
}

/// There are no pipelines here, so no app uses what one makes.
fn create_on_dataset(context: &mut Context<'_>) -> Handled {
    app(context, &context.var("id"))?;
    let words = "the app does not use any dataset that a pipeline produces";
    Err(refuse(StatusCode::UNPROCESSABLE_ENTITY, "CHO-030", words))
}

/// The task of the path, when the caller may see it: administrators see all.
pub(super) fn asked(context: &Context<'_>) -> Result<Document, Refusal> {
    let task = context.get(TASKS, &context.var("id"));
    task.filter(|task| is_open(context, task))
        .ok_or_else(|| refuse(StatusCode::NOT_FOUND, "CHO-004", "there is no such task"))
}

pub(super) fn is_open(context: &Context<'_>, task: &Value) -> bool {
    let caller = Caller::of(context);
    let app = context.get(APPS, text(task, "resourceId"));
    caller.is_admin() || app.is_some_and(|app| apps::sees(context, &caller, &app))
}

/// The task as it is by now.
pub(super) fn shown(context: &Context<'_>, task: &Value) -> Value {
    let mut task = ended(context, task);
    let runs = task_runs::of(context, &task);
    if let Some(last) = runs.last() {
        let last = task_runs::base(context, last);
        let attributes =
            [("status", "status"), ("startedAt", "startedAt"), ("endedAt", "endedAt"), ("workerType", "worker_type")];
        for (field, name) in attributes {
            if let Some(value) = last.get(field) {
                task["metadata"]["orchestration"]["attrs"][format!("{LAST_RUN}{name}")] = value.clone();
            }
        }
        task["metadata"]["orchestration"]["lastRun"] = last;
    }
    let is_child = !task_graphs::parents_of(context, &task).is_empty();
    let is_parent = !task_graphs::children_of(context, &task).is_empty();
    task["metadata"]["topology"] = json!({"isChild": is_child, "isParent": is_parent});
    if let Some(fields) = task.as_object_mut() {
        fields.retain(|field, _| !field.starts_with('$'));
    }
    task
}

/// A task as it is kept here, of what is shown of one. What its schedule has started follows from when it was changed last.
pub(super) fn recorded(mut task: Value) -> Value {
    let changed = task["metadata"]["updatedAt"].clone();
    if let Some(metadata) = task["metadata"].as_object_mut() {
        metadata.shift_remove("topology");
    }
    if let Some(orchestration) = task.pointer_mut("/metadata/orchestration").and_then(Value::as_object_mut) {
        orchestration.shift_remove("lastRun");
        if let Some(attributes) = orchestration.get_mut("attrs").and_then(Value::as_object_mut) {
            attributes.retain(|name, _| !name.starts_with(LAST_RUN));
        }
    }
    task[SINCE] = changed.clone();
    task[ANCHOR] = changed;
    task
}

/// A page of tasks.
pub(super) fn page(context: &Context<'_>, tasks: Vec<Document>) -> Handled {
    const SHOWN: &str = "$shown";
    let flat = |task: Document| {
        let shown = shown(context, &task);
        let mut flat = json!({"id": task["id"], "name": task["name"], "enabled": shown["enabled"], "resourceId": task["resourceId"]});
        let meta = &shown["metadata"];
        for field in ["ownerId", "spaceId", "createdAt", "updatedAt"] {
            flat[field] = meta[field].clone();
        }
        let last = &meta["orchestration"]["lastRun"];
        for field in ["status", "triggeredBy", "startedAt", "endedAt", "executedAs"] {
            let (first, rest) = field.split_at(1);
            flat[format!("last{}{rest}", first.to_uppercase())] = last[field].clone();
        }
        flat["updatedBy"] = task[UPDATED_BY].clone();
        flat["triggerType"] = meta["trigger"]["type"].clone();
        flat[SHOWN] = shown;
        Arc::new(flat)
    };
    let mut found: Vec<Document> = tasks.into_iter().filter(|task| is_open(context, task)).map(flat).collect();
    if let Some(filter) = context.parameter("filter").filter(|filter| !filter.is_empty()) {
        found = Filter::parse(filter, Fields { eq: &FIELDS, co: &[] })?.apply(found);
    }
    paging::sort(context, &mut found, &FIELDS, "-updatedAt")?;
    paging::page_as(context, found, PAGING, |_, flat| flat[SHOWN].clone())
}

fn list(context: &mut Context<'_>) -> Handled {
    let held = context.collection(TASKS);
    let found = match context.parameter("resourceId").filter(|id| !id.is_empty()) {
        Some(id) => held.find("resourceId", id),
        None => held.documents(),
    };
    page(context, found)
}

fn get(context: &mut Context<'_>) -> Handled {
    let task = asked(context)?;
    Ok(Answer::ok(&shown(context, &task)))
}

/// Puts a new definition in a task's place. Whoever does it owns it from then on.
fn redefine(context: &mut Context<'_>, before: &Value, given: Value) -> Handled {
    let id = resource(&given).ok_or_else(|| invalid("no state reloads an app"))?.to_owned();
    app(context, text(before, "resourceId"))?;
    let app = app(context, &id)?;
    if given["start"] != before["start"] {
        check_schedule(context, &given)?;
    }
    settle(context, before);
    let task = defined(context, before, given, &app);
    context.put(TASKS, text(&task, "id"), task.clone());
    Ok(Answer::ok(&shown(context, &task)))
}

fn replace(context: &mut Context<'_>) -> Handled {
    let before = ended(context, &*asked(context)?);
    let given = without_own(context.body.clone());
    redefine(context, &before, given)
}

fn change(context: &mut Context<'_>) -> Handled {
    let before = ended(context, &*asked(context)?);
    let mut task = without_own(before.clone());
    for step in patch::any_steps(context)? {
        let field = step.path.split('/').nth(1).unwrap_or_default();
        if field.is_empty() || OWN.contains(&field) || field.starts_with('$') {
            return Err(invalid(format!("`{}` cannot be changed", step.path)));
        }
        match step.op.as_str() {
            "remove" => {
                let (parent, last) = step.path.rsplit_once('/').unwrap_or_default();
                drop(task.pointer_mut(parent).and_then(Value::as_object_mut).and_then(|held| held.remove(last)));
            }
            "add" | "replace" => match task.pointer_mut(&step.path) {
                Some(place) => *place = step.value,
                None => patch::set(&mut task, &step.path, step.value),
            },
            other => return Err(invalid(format!("`{other}` is not simulated"))),
        }
    }
    redefine(context, &before, task)
}

fn delete(context: &mut Context<'_>) -> Handled {
    let task = asked(context)?;
    let caller = Caller::of(context);
    if !caller.is_admin() {
        app(context, text(&task, "resourceId"))?;
    }
    settle(context, &task);
    context.remove(TASKS, text(&task, "id"));
    Ok(Answer::no_content())
}

/// Loads the app at once, whether the task is enabled or not.
fn start(context: &mut Context<'_>) -> Handled {
    let task = asked(context)?;
    let app = app(context, text(&task, "resourceId"))?;
    if reloads::is_busy(context, text(&app, "id")) {
        return Err(invalid("a reload of the app is pending"));
    }
    let source = context.parameter("source").unwrap_or("manual").to_owned();
    let reload = reload(context, &task, &app, context.now, &context.new_id(), &source);
    reloads::start(context, &app, &reload);
    Ok(Answer::ok(&json!({"message": "Task started successfully"})))
}

fn reload(context: &Context<'_>, task: &Value, app: &Value, at: Timestamp, id: &str, source: &str) -> Value {
    let mut reload = reloads::begun(context, app, id, at);
    reload["type"] = json!("choreographer");
    reload["userId"] = task["metadata"]["ownerId"].clone();
    reload["resourceType"] = json!("tasks");
    reload["resourceId"] = task["id"].clone();
    reload[task_runs::SOURCE] = json!(source);
    reload
}

/// An id that is the same whenever somebody looks.
fn made_id(of: &str) -> String {
    let digest = Sha256::digest(of);
    digest.iter().take(12).fold(String::new(), |id, byte| format!("{id}{byte:02x}"))
}

/// What a task has started by itself since it was last changed: reloads that are not on record.
pub(super) fn due_of_task(context: &Context<'_>, task: &Value, chain: usize) -> Vec<Value> {
    let since = text(task, SINCE).parse::<Timestamp>().ok().filter(|_| task["enabled"] == true && chain < CHAIN);
    let (Some(since), Some(app)) = (since, context.get(APPS, text(task, "resourceId"))) else { return Vec::new() };
    let fails = app[SCRIPT]["error"].is_string();
    let moments: Vec<(Timestamp, String)> = if let Some(schedule) = schedule(task) {
        let moments =
            if fails { schedule.first(since, context.now, FAILURES) } else { schedule.last(since, context.now, KEPT) };
        moments.into_iter().map(|at| (at, "schedule".to_owned())).collect()
    } else {
        let mut moments = task_graphs::fired(context, task, since, chain);
        let passed = if fails { moments.len() } else { KEPT };
        moments.drain(..moments.len().saturating_sub(passed));
        moments.truncate(if fails { FAILURES } else { KEPT });
        moments
    };
    let mut made: Vec<Value> = Vec::new();
    for (at, source) in moments {
        let free = made.last().is_none_or(|last| reloads::end(last) <= super::ids::timestamp(at).as_str());
        if free {
            let id = made_id(&format!("{} {at}", text(task, "id")));
            made.push(reload(context, task, &app, at, &id, &source));
        }
    }
    // One that was cancelled is on record.
    made.retain(|reload| context.get(reloads::RELOADS, text(reload, "id")).is_none());
    made
}

/// The same of all tasks of an app.
pub(super) fn due_of(context: &Context<'_>, app: &str) -> Vec<Document> {
    let tasks = context.collection(TASKS).find("resourceId", app);
    tasks.iter().flat_map(|task| due_of_task(context, task, 0)).map(Arc::new).collect()
}

/// The same of all tasks.
pub(super) fn due(context: &Context<'_>) -> Vec<Document> {
    let tasks = context.collection(TASKS);
    tasks.iter().flat_map(|(_, task)| due_of_task(context, task, 0)).map(Arc::new).collect()
}

/// Whether an app has tasks.
pub(super) fn has(context: &Context<'_>, app: &str) -> bool {
    context.collection(TASKS).count("resourceId", app) > 0
}

/// When a schedule last loaded an app's data, of what is not on record.
pub(super) fn loaded(context: &Context<'_>, app: &Value) -> Option<String> {
    if !has(context, text(app, "id")) {
        return None;
    }
    let now = context.timestamp();
    let due = due_of(context, text(app, "id"));
    let good = due.iter().filter(|reload| !reloads::fails(reload)).map(|reload| reloads::end(reload));
    good.filter(|end| *end <= now.as_str()).max().map(str::to_owned)
}

/// A task that has come to its end: its schedule is over, or its app failed too often.
fn ended(context: &Context<'_>, task: &Value) -> Value {
    let mut task = task.clone();
    if task["enabled"] != true {
        return task;
    }
    let failures = due_of_task(context, &task, 0);
    let failures = failures.iter().filter(|reload| reloads::status(context, reload) == "FAILED").count();
    let code = if failures >= FAILURES {
        "CONSECUTIVE-FAILURES"
    } else if schedule(&task).is_some_and(|schedule| schedule.is_over(context.now)) {
        "SCHEDULE-EXPIRED"
    } else {
        return task;
    };
    task["enabled"] = json!(false);
    task["metadata"]["disabledCode"] = json!(code);
    task
}

/// Puts on record what a task has started until now.
fn settle(context: &mut Context<'_>, task: &Value) {
    let due = due_of_task(context, task, 0);
    if let Some(app) = context.get(APPS, text(task, "resourceId")) {
        let mut now = apps::by_now(context, &app);
        let runs = due.last().filter(|reload| !reloads::fails(reload) && reloads::end(reload) > &*context.timestamp());
        if let Some(reload) = runs {
            now[LOADS] = json!(reloads::end(reload));
        }
        if now != *app {
            context.put(APPS, text(task, "resourceId"), now);
        }
    }
    for reload in due {
        let id = text(&reload, "id").to_owned();
        context.put(reloads::RELOADS, &id, reload);
    }
    let mut task = ended(context, task);
    task[SINCE] = json!(context.timestamp());
    context.put(TASKS, text(&task, "id"), task.clone());
}

/// The same for all tasks of an app.
pub(super) fn settle_of(context: &mut Context<'_>, app: &str) {
    for task in context.collection(TASKS).find("resourceId", app) {
        settle(context, &task);
    }
}

/// The app's tasks go with it.
pub(super) fn forget(context: &mut Context<'_>, app: &str) {
    for task in context.collection(TASKS).find("resourceId", app) {
        context.remove(TASKS, text(&task, "id"));
    }
}

/// An app that moves to another space is no longer loaded by the clock.
pub(super) fn moved(context: &mut Context<'_>, app: &str) {
    settle_of(context, app);
    for task in context.collection(TASKS).find("resourceId", app) {
        if task["enabled"] == true {
            let mut task = (*task).clone();
            task["enabled"] = json!(false);
            task["metadata"]["disabledCode"] = json!("APP-MOVED-SPACE");
            context.put(TASKS, text(&task, "id"), task.clone());
        }
    }
}
