//! Reloads: an app's data is loaded anew (reloads API).
//!
//! A reload takes its time on the sandbox's clock: it waits in the queue, runs, and ends. A stand-in for an app may say how its
//! reloads go: `"reload": {"seconds": 90, "error": "Table not found"}`; else each takes a second and succeeds. Assumed, since
//! nothing is published of it: how long a reload waits, what the log holds, that a cancelled reload ends at once, that a
//! reload needs whoever may change the app, and that an app nobody may see is answered as one that may not be reloaded.

use std::sync::Arc;

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::apps::{self, APPS, LOADS, SCRIPT};
use super::context::{Answer, Context, Handled, text};
use super::filter::{Fields, Filter};
use super::ids;
use super::paging::{self, Paging};
use super::refusal::Refusal;
use super::resources::Resource;
use super::spaces::Caller;
use super::state::Document;
use super::tasks;

pub(super) const RESOURCE: Resource = Resource {
    routes: &[("getReloads", list), ("queueReload", queue), ("getReload", get), ("cancelReload", cancel)],
    seed: None,
};

/// The collection's name.
pub(super) const RELOADS: &str = "reloads";

const PAGING: Paging = Paging::next_prev(10, 100);

const FIELDS: Fields = Fields { eq: &["status", "partial", "type"], co: &[] };

/// How long a reload waits in the queue, and how long it runs unless the app's stand-in says otherwise, in milliseconds.
const QUEUED: i64 = 200;
const RUNS: i64 = 700;

/// When it leaves the queue, when it ends, what it fails with, and when it was cancelled.
const BEGINS: &str = "$begins";
const ENDS: &str = "$ends";
const ERROR: &str = "$error";
const CANCELLED: &str = "$cancelled";

const SORTED: [&str; 4] = ["creationTime", "status", "startTime", "endTime"];

fn forbidden(detail: &str) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "RELOADS-003", "Forbidden").detail(detail)
}

/// The status by now.
pub(super) fn status(context: &Context<'_>, reload: &Value) -> &'static str {
    let now = context.timestamp();
    if reload.get(CANCELLED).is_some() {
        "CANCELED"
    } else if *now < *text(reload, BEGINS) {
        "QUEUED"
    } else if *now < *text(reload, ENDS) {
        "RELOADING"
    } else if reload.get(ERROR).is_some() {
        "FAILED"
    } else {
        "SUCCEEDED"
    }
}

fn is_active(status: &str) -> bool {
    ["QUEUED", "RELOADING"].contains(&status)
}

pub(super) fn shown(context: &Context<'_>, reload: &Value, with_log: bool) -> Value {
    let status = status(context, reload);
    let mut document = reload.clone();
    if let Some(fields) = document.as_object_mut() {
        fields.retain(|field, _| !field.starts_with('$'));
    }
    document["status"] = json!(status);
    let mut log = format!("ReloadID: {}\n", text(reload, "id"));
    let began = reload.get(CANCELLED).is_none_or(|at| at.as_str() >= reload[BEGINS].as_str());
    if status != "QUEUED" && began {
        document["startTime"] = reload[BEGINS].clone();
        log.push_str("Started loading\n");
    }
    match status {
        "SUCCEEDED" => {
            document["endTime"] = reload[ENDS].clone();
            document["engineTime"] = reload[ENDS].clone();
            log.push_str("App saved\nFinished successfully\n");
        }
        "FAILED" => {
            document["endTime"] = reload[ENDS].clone();
            document["errorCode"] = json!("EngineScriptError");
            document["errorMessage"] = reload[ERROR].clone();
            log = format!("{log}Error: {}\nExecution failed\n", text(reload, ERROR));
        }
        "CANCELED" => document["endTime"] = reload[CANCELLED].clone(),
        _ => {}
    }
    if with_log {
        document["log"] = json!(log);
    }
    let link = context.link(&format!("/api/v1/reloads/{}", text(reload, "id")));
    document["links"] = json!({"self": {"href": link}});
    document
}

/// A reload that has ended, as it is kept here.
pub(super) fn recorded(mut reload: Value) -> Value {
    let fields = reload.as_object_mut();
    let (begins, ends) =
        fields.map_or((None, None), |fields| (fields.shift_remove("startTime"), fields.shift_remove("endTime")));
    let created = reload["creationTime"].clone();
    reload[BEGINS] = begins.unwrap_or_else(|| created.clone());
    reload[ENDS] = ends.unwrap_or(created);
    reload
}

fn queue(context: &mut Context<'_>) -> Handled {
    let given = context.body.clone();
    let id = text(&given, "appId").to_owned();
    let caller = Caller::of(context);
    let app =
        context.get(APPS, &id).filter(|app| apps::sees(context, &caller, app) && apps::edits(context, &caller, app));
    let app = app.ok_or_else(|| forbidden("the app may not be reloaded by this user"))?;
    if is_busy(context, &id) {
        return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "RELOADS-004", "Too many requests")
            .detail("a pending reload request already exists for this app"));
    }
    let mut document = begun(context, &app, &context.new_id(), context.now);
    document["type"] = json!("external");
    document["userId"] = json!(context.user_id());
    document["partial"] = json!(given["partial"].as_bool() == Some(true));
    document["weight"] = json!(given["weight"].as_i64().unwrap_or(1));
    for field in ["resourceType", "resourceId"] {
        if let Some(value) = given.get(field) {
            document[field] = value.clone();
        }
    }
    start(context, &app, &document);
    Ok(Answer::created(&shown(context, &document, false)))
}

/// A reload of the app that is put into the queue at some moment: when it runs and how it ends.
pub(super) fn begun(context: &Context<'_>, app: &Value, id: &str, at: Timestamp) -> Value {
    let seconds = app[SCRIPT]["seconds"].as_i64().filter(|seconds| (0..=10_800).contains(seconds));
    let runs = seconds.map_or(RUNS, |seconds| seconds * 1_000);
    let later = |milliseconds| ids::timestamp(at + SignedDuration::from_millis(milliseconds));
    let mut document = json!({
        "id": id, "appId": app["id"], "tenantId": context.tenant_id(), "partial": false, "weight": 1,
        "creationTime": ids::timestamp(at), BEGINS: later(QUEUED), ENDS: later(QUEUED + runs),
    });
    if let Some(error) = app[SCRIPT]["error"].as_str() {
        document[ERROR] = json!(error);
    }
    document
}

/// Starts a reload: it is on record, and the app will have its data.
pub(super) fn start(context: &mut Context<'_>, app: &Value, reload: &Value) {
    let mut app = apps::by_now(context, app);
    if !fails(reload) {
        app[LOADS] = reload[ENDS].clone();
    }
    let id = text(&app, "id").to_owned();
    context.put(APPS, &id, app);
    context.put(RELOADS, text(reload, "id"), reload.clone());
}

/// When it ends by itself.
pub(super) fn end(reload: &Value) -> &str {
    text(reload, ENDS)
}

/// Whether it will fail.
pub(super) fn fails(reload: &Value) -> bool {
    reload.get(ERROR).is_some()
}

/// All reloads of an app by now, those that schedules made among them.
fn of_app(context: &Context<'_>, app: &str) -> Vec<Document> {
    let mut held = context.collection(RELOADS).find("appId", app);
    held.extend(tasks::due_of(context, app));
    held
}

/// Whether a reload of the app waits or runs.
pub(super) fn is_busy(context: &Context<'_>, app: &str) -> bool {
    of_app(context, app).iter().any(|reload| is_active(status(context, reload)))
}

fn list(context: &mut Context<'_>) -> Handled {
    let caller = Caller::of(context);
    let app = context.parameter("appId").unwrap_or_default().to_owned();
    let held = if app.is_empty() {
        let mut held = context.collection(RELOADS).documents();
        held.extend(tasks::due(context));
        held
    } else {
        of_app(context, &app)
    };
    let sees = |reload: &&Document| {
        let app = context.get(APPS, text(reload, "appId"));
        app.map_or(caller.is_admin(), |app| apps::sees(context, &caller, &app))
    };
    let with_log = context.flag("log");
    let mut found: Vec<Document> =
        held.iter().filter(sees).map(|reload| Arc::new(shown(context, reload, with_log))).collect();
    if let Some(filter) = context.parameter("filter").filter(|filter| !filter.is_empty()) {
        found = Filter::parse(filter, FIELDS)?.apply(found);
    }
    if context.parameter("partial").is_some() {
        let partial = context.flag("partial");
        found.retain(|reload| reload["partial"] == json!(partial));
    }
    paging::sort(context, &mut found, &SORTED, "-creationTime")?;
    paging::page(context, found, PAGING)
}

/// The reload of the path.
fn asked(context: &Context<'_>) -> Result<Document, Refusal> {
    let missing = || Refusal::not_found("HTTP-404");
    let id = context.var("reloadId");
    let scheduled = || tasks::due(context).into_iter().find(|reload| text(reload, "id") == id);
    let reload = context.get(RELOADS, &id).or_else(scheduled).ok_or_else(missing)?;
    let caller = Caller::of(context);
    match context.get(APPS, text(&reload, "appId")) {
        Some(app) if !apps::sees(context, &caller, &app) => Err(forbidden("the app may not be seen by this user")),
        _ => Ok(reload),
    }
}

fn get(context: &mut Context<'_>) -> Handled {
    let reload = asked(context)?;
    Ok(Answer::ok(&shown(context, &reload, true)))
}

fn cancel(context: &mut Context<'_>) -> Handled {
    let reload = asked(context)?;
    let status = status(context, &reload);
    if !is_active(status) {
        return Err(Refusal::conflict("HTTP-409", format!("a reload that is {status} cannot be cancelled")));
    }
    let mut document = (*reload).clone();
    document[CANCELLED] = json!(context.timestamp());
    context.put(RELOADS, text(&reload, "id"), document);
    if let Some(app) = context.get(APPS, text(&reload, "appId")) {
        let mut app = (*app).clone();
        apps::forget_reload(&mut app);
        context.put(APPS, text(&reload, "appId"), app);
    }
    Ok(match status {
        "QUEUED" => Answer::no_content(),
        _ => Answer::json(StatusCode::ACCEPTED, &json!({"status": "CANCELING"})),
    })
}
