//! The runs of scheduled tasks: each is a reload of the task's app (scheduling tasks API).

use std::sync::Arc;

use serde_json::{Value, json};

use super::context::{Answer, Context, Handled, text};
use super::paging;
use super::refusal::Refusal;
use super::reloads::{self, RELOADS};
use super::resources::Resource;
use super::state::Document;
use super::tasks::{self, PAGING, TASKS};

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("schedulingGetTaskRuns", list),
        ("getTaskLastRun", last),
        ("schedulingGetTaskRunLog", log),
        ("getTaskResourceRuns", list_of_resource),
    ],
    seed: None,
};

/// In a reload: what started it.
pub(super) const SOURCE: &str = "$source";

const SORTED: [&str; 5] = ["startedAt", "endedAt", "status", "taskId", "actionId"];

/// The reloads that a task has started by now, oldest first.
pub(super) fn of(context: &Context<'_>, task: &Value) -> Vec<Value> {
    on_record(context, task, tasks::due_of_task(context, task, 0))
}

/// The same, with what is due at some place of a chain.
pub(super) fn on_record(context: &Context<'_>, task: &Value, due: Vec<Value>) -> Vec<Value> {
    let held = context.collection(RELOADS).find("resourceId", text(task, "id"));
    let mut all: Vec<Value> = held.iter().map(|reload| (**reload).clone()).chain(due).collect();
    all.sort_by(|one, other| text(one, "creationTime").cmp(text(other, "creationTime")));
    all
}

/// What a task tells of its last run.
pub(super) fn base(context: &Context<'_>, reload: &Value) -> Value {
    let shown = reloads::shown(context, reload, false);
    let status = match text(&shown, "status") {
        "SUCCEEDED" => "SUCCEEDED",
        "QUEUED" | "RELOADING" => "RUNNING",
        _ => "FAILED",
    };
    let mut run = json!({
        "id": reload["id"], "status": status, "workerId": reload["id"], "workerType": "reloads",
        "executedAs": reload["userId"], "triggeredBy": reload[SOURCE], "startedAt": reload["creationTime"],
    });
    if let Some(ended) = shown.get("endTime") {
        run["endedAt"] = ended.clone();
    }
    run
}

fn shown(context: &Context<'_>, task: &Value, reload: &Value) -> Value {
    let mut run = base(context, reload);
    run["taskId"] = task["id"].clone();
    run["taskName"] = task["name"].clone();
    run["taskMeta"] = task["metadata"].clone();
    run["resourceId"] = reload["appId"].clone();
    let action = task.pointer("/states/0/onEvents/0/actions/0/name");
    run["actionId"] = action.cloned().unwrap_or_else(|| json!("app-reload"));
    run
}

fn page(context: &Context<'_>, tasks: &[Document]) -> Handled {
    let runs = |task: &Document| -> Vec<Document> {
        of(context, task).iter().map(|reload| Arc::new(shown(context, task, reload))).collect()
    };
    let mut found: Vec<Document> = tasks.iter().flat_map(runs).collect();
    paging::sort(context, &mut found, &SORTED, "-startedAt")?;
    paging::page(context, found, PAGING)
}

fn list(context: &mut Context<'_>) -> Handled {
    let task = tasks::asked(context)?;
    page(context, &[task])
}

/// Of all tasks that a resource has; a task that was deleted tells nothing more.
fn list_of_resource(context: &mut Context<'_>) -> Handled {
    let held = context.collection(TASKS).find("resourceId", &context.var("id"));
    let open: Vec<Document> = held.into_iter().filter(|task| tasks::is_open(context, task)).collect();
    page(context, &open)
}

fn missing() -> Refusal {
    Refusal::not_found("CHO-004").detail("there is no such run")
}

fn last(context: &mut Context<'_>) -> Handled {
    let task = tasks::asked(context)?;
    let last = of(context, &task).pop().ok_or_else(missing)?;
    Ok(Answer::ok(&shown(context, &task, &last)))
}

fn log(context: &mut Context<'_>) -> Handled {
    let task = tasks::asked(context)?;
    let id = context.var("runId");
    let run = of(context, &task).into_iter().find(|reload| text(reload, "id") == id).ok_or_else(missing)?;
    let told = reloads::shown(context, &run, true)["log"].clone();
    if context.header("accept").is_some_and(|accept| accept.starts_with("text/plain")) {
        return Ok(Answer::bytes("text/plain", told.as_str().unwrap_or_default().to_owned().into()));
    }
    Ok(Answer::ok(&json!({"logContent": told})))
}
