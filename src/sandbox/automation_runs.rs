//! Runs of automations (automations and workflows automations specifications).
//!
//! A run takes its time on the sandbox's clock. What the blocks do is not simulated; a stand-in's workspace may say how its
//! runs go: `"run": {"seconds": 90, "status": "finished with warnings", "error": "Space not found"}`; else each takes a second
//! and is finished. Assumed, since nothing is published of it: how long a run waits and takes, that what is over the limit of
//! runs at a time waits in the queue, that a disabled automation answers 400, and what the debug log holds.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::automations::{asked, forbidden, moment, owns, works};
use super::context::{Answer, Context, Handled, text};
use super::filter::{Fields, Filter};
use super::paging::{self, Paging, page_as};
use super::refusal::Refusal;
use super::resources::Resource;
use super::spaces::Caller;
use super::state::Document;

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("getAutomationRuns", list),
        ("workflowsGetAutomationRuns", list),
        ("queueAutomationRun", create),
        ("createAutomationRun", create),
        ("getAutomationRun", get),
        ("workflowsGetAutomationRun", get),
        ("getAutomationRunDetails", export),
        ("exportAutomationRun", export),
        ("retryAutomationRun", retry),
        ("workflowsRetryAutomationRun", retry),
        ("stopAutomationRun", stop),
        ("workflowsStopAutomationRun", stop),
        ("getAutomationRunDebug", debug),
        ("getAutomationsUsageMetrics", usage),
        ("workflowsGetAutomationsUsageMetrics", usage),
    ],
    seed: None,
};

/// The collection's name.
pub(super) const RUNS: &str = "automationRuns";

const PAGING: Paging = Paging::forward("cursor", 10, 200).without_self();
const FILTERS: Fields = Fields {
    eq: &["status", "context", "startTime", "title", "spaceId", "ownerId", "executedById", "billable"],
    co: &[],
};

/// How long a run waits before it starts, how long it starts, and how long it runs unless its stand-in says otherwise, in
/// milliseconds.
const WAITS: i64 = 200;
const STARTS: i64 = 100;
const RUNS_FOR: i64 = 700;

/// When a run starts, when it ends and how, whether it had to queue, and when it was stopped.
const BEGINS: &str = "$begins";
const ENDS: &str = "$ends";
const OUTCOME: &str = "$outcome";
const QUEUED: &str = "$queued";
const STOPPED: &str = "$stopped";

/// How a run can end.
const OUTCOMES: [&str; 4] = ["finished", "finished with warnings", "failed", "exceeded limit"];

/// Sorts by age when that is what `sort=id` asks for: ids count up in the real service, as its cursors show.
pub(super) fn by_age(context: &Context<'_>, documents: &mut [Document]) -> bool {
    match context.parameter("sort").unwrap_or("id") {
        "id" | "+id" | " id" => true,
        "-id" => {
            documents.reverse();
            true
        }
        _ => false,
    }
}

fn at(run: &Value, field: &str) -> Timestamp {
    text(run, field).parse().unwrap_or_default()
}

/// The status by now.
fn status<'r>(context: &Context<'_>, run: &'r Value) -> &'r str {
    let starts = at(run, BEGINS);
    if run.get(STOPPED).is_some() {
        "stopped"
    } else if context.now < starts {
        if run[QUEUED] == true { "queued" } else { "not started" }
    } else if context.now < starts + SignedDuration::from_millis(STARTS) {
        "starting"
    } else if context.now < at(run, ENDS) {
        "running"
    } else {
        text(run, OUTCOME)
    }
}

fn is_over(status: &str) -> bool {
    OUTCOMES.contains(&status) || status == "stopped"
}

/// When it was over, if it is.
fn ended(context: &Context<'_>, run: &Value) -> Option<Timestamp> {
    let field = if run.get(STOPPED).is_some() { STOPPED } else { ENDS };
    is_over(status(context, run)).then(|| at(run, field))
}

fn shown(context: &Context<'_>, run: &Value) -> Value {
    let now = status(context, run);
    let mut document: Map<String, Value> = run.as_object().cloned().unwrap_or_default();
    document.retain(|field, _| !field.starts_with('$'));
    document.insert("status".to_owned(), json!(now));
    let failed = run.get("error").filter(|_| now == text(run, OUTCOME)).cloned();
    document.insert("error".to_owned(), failed.unwrap_or_default());
    let began = at(run, BEGINS);
    if context.now >= began && run.get(STOPPED).is_none_or(|_| at(run, STOPPED) >= began) {
        document.insert("startTime".to_owned(), json!(moment(began)));
    }
    if let Some(end) = ended(context, run) {
        document.insert("stopTime".to_owned(), json!(moment(end)));
        document.insert("updatedAt".to_owned(), json!(moment(end)));
    }
    Value::Object(document)
}

/// The same as lists have it: with how long it took, in seconds.
fn brief(context: &Context<'_>, run: &Value) -> Value {
    let mut document = shown(context, run);
    if document.get("startTime").is_some()
        && let Some(end) = ended(context, run)
    {
        document["duration"] = json!(end.duration_since(at(run, BEGINS)).as_secs());
    }
    document
}

fn of(context: &Context<'_>, automation: &str) -> Vec<Document> {
    context.collection(RUNS).find("automationId", automation)
}

/// The latest run of an automation.
pub(super) fn last(context: &Context<'_>, automation: &str) -> Option<Value> {
    of(context, automation).last().map(|run| without_owner(shown(context, run)))
}

/// Only the store knows by this field whose run it is; the API's path says it.
fn without_owner(mut run: Value) -> Value {
    if let Some(map) = run.as_object_mut() {
        map.shift_remove("automationId");
    }
    run
}

/// Forgets the runs of an automation.
pub(super) fn forget(context: &mut Context<'_>, automation: &str) {
    for run in of(context, automation) {
        context.remove(RUNS, text(&run, "id"));
    }
}

/// The automation of the path, when the caller may run it.
fn runnable(context: &Context<'_>) -> Result<Document, Refusal> {
    let (automation, caller) = (asked(context)?, Caller::of(context));
    if owns(&caller, &automation) || works(context, &caller, &automation) {
        return Ok(automation);
    }
    Err(forbidden("only its owner, or who works in its space, may run the automation"))
}

fn list(context: &mut Context<'_>) -> Handled {
    let automation = match runnable(context) {
        Err(_) if Caller::of(context).is_admin() => asked(context)?,
        other => other?,
    };
    let runs = of(context, text(&automation, "id"));
    let mut found: Vec<Document> = runs.iter().map(|run| Document::new(without_owner(brief(context, run)))).collect();
    if let Some(filter) = context.parameter("filter").filter(|filter| !filter.is_empty()) {
        found = Filter::parse(filter, FILTERS)?.apply(found);
    }
    if !by_age(context, &mut found) {
        paging::sort(context, &mut found, &["status", "startTime"], "")?;
    }
    page_as(context, found, PAGING, |_, run| run.clone())
}

/// When the next run of an automation can begin, and whether it must wait for others.
fn place_in_queue(context: &Context<'_>, automation: &Value) -> (Timestamp, bool) {
    let most = automation["maxConcurrentRuns"].as_u64().and_then(|most| usize::try_from(most).ok()).unwrap_or(1);
    let mut ends: Vec<Timestamp> = of(context, text(automation, "id"))
        .iter()
        .filter(|run| !is_over(status(context, run)))
        .map(|run| at(run, ENDS))
        .collect();
    ends.sort();
    let soon = context.now + SignedDuration::from_millis(WAITS);
    match ends.len().checked_sub(most.max(1)).and_then(|place| ends.get(place)) {
        Some(end) => (soon.max(*end), true),
        None => (soon, false),
    }
}

fn add(context: &mut Context<'_>, automation: &Value, how: &str) -> Value {
    let stand_in = &automation["workspace"]["run"];
    let seconds = stand_in["seconds"].as_i64().filter(|seconds| (0..=86_400).contains(seconds));
    let error = stand_in["error"].as_str();
    let told = OUTCOMES.into_iter().find(|outcome| *outcome == text(stand_in, "status"));
    let outcome = told.unwrap_or(if error.is_some() { "failed" } else { "finished" });
    let (begins, queued) = place_in_queue(context, automation);
    let ends = begins + SignedDuration::from_millis(STARTS + seconds.map_or(RUNS_FOR, |seconds| seconds * 1_000));
    let (id, now) = (context.random.uuid().to_string(), moment(context.now));
    let mut run = json!({
        "id": id, "automationId": automation["id"], "context": how, "ownerId": automation["ownerId"],
        "executedById": context.user_id(), "isTestRun": false, "testRun": false, "isArchived": false, "archived": false,
        "scheduledStartTime": null, "createdAt": now, "updatedAt": now,
        BEGINS: moment(begins), ENDS: moment(ends), OUTCOME: outcome, QUEUED: queued,
    });
    if let Some(error) = error {
        run["error"] = json!([{"message": error}]);
    }
    if let Some(space) = automation.get("spaceId") {
        run["spaceId"] = space.clone();
    }
    context.put(RUNS, &id, run.clone());
    run
}

fn startable(context: &Context<'_>) -> Result<Document, Refusal> {
    let automation = runnable(context)?;
    if text(&automation, "state") == "available" {
        return Ok(automation);
    }
    Err(Refusal::bad_request(format!("the automation is {}", text(&automation, "state"))))
}

/// The specification knows no context `api` in an answer; that it is `api_async` there is assumed.
fn create(context: &mut Context<'_>) -> Handled {
    let automation = startable(context)?;
    let run = add(context, &automation, "api_async");
    Ok(Answer::created(&without_owner(shown(context, &run))))
}

/// The run of the path.
fn one(context: &Context<'_>) -> Result<Document, Refusal> {
    let automation = runnable(context)?;
    let run = context.get(RUNS, &context.var("runId")).filter(|run| run["automationId"] == automation["id"]);
    run.ok_or_else(|| Refusal::not_found("HTTP-404"))
}

fn get(context: &mut Context<'_>) -> Handled {
    let run = one(context)?;
    Ok(Answer::ok(&without_owner(shown(context, &run))))
}

fn stop(context: &mut Context<'_>) -> Handled {
    let mut run = (*one(context)?).clone();
    let now = status(context, &run).to_owned();
    if is_over(&now) {
        return Err(Refusal::bad_request(format!("a run that is {now} cannot be stopped")));
    }
    run[STOPPED] = json!(moment(context.now));
    context.put(RUNS, &context.var("runId"), run);
    Ok(Answer::no_content())
}

/// The answer does not say which run it has made.
fn retry(context: &mut Context<'_>) -> Handled {
    let (automation, run) = (startable(context)?, one(context)?);
    let now = status(context, &run);
    if !is_over(now) {
        return Err(Refusal::bad_request(format!("a run that is {now} cannot be retried")));
    }
    let how = text(&run, "context").to_owned();
    add(context, &automation, &how);
    Ok(Answer::no_content())
}

fn export(context: &mut Context<'_>) -> Handled {
    one(context)?;
    let (id, run) = (context.var("id"), context.var("runId"));
    let url = context.link(&format!("/api/workflows/automations/{id}/runs/{run}/debug"));
    Ok(Answer::ok(&json!({"url": url})))
}

fn debug(context: &mut Context<'_>) -> Handled {
    let run = one(context)?;
    let shown = shown(context, &run);
    let mut log = format!("Run: {}\nStatus: {}\n", text(&shown, "id"), text(&shown, "status"));
    for error in shown["error"].as_array().into_iter().flatten() {
        log = format!("{log}Error: {}\n", text(error, "message"));
    }
    Ok(Answer::bytes("text/plain", log.into()))
}

/// What is counted, with the names that a filter may give it.
const METRICS: [(&str, &str); 7] = [
    ("runs", "runs"),
    ("scheduledRun", "scheduledRuns"),
    ("triggeredRun", "triggeredRuns"),
    ("webhookRuns", "webhookRuns"),
    ("duration", "duration"),
    ("bandwidthIn", "bandwidthIn"),
    ("bandwidthOut", "bandwidthOut"),
];

/// What the tenant's automations did, day by day. Runs that a request started are counted as runs and no more; what went
/// through the network is not simulated and 0.
fn usage(context: &mut Context<'_>) -> Handled {
    const FILTERS: Fields = Fields { eq: &["name", "date"], co: &[] };
    if !Caller::of(context).is_admin() {
        return Err(forbidden("only an administrator may see what automations use"));
    }
    let filter = Filter::parse(context.parameter("filter").unwrap_or_default(), FILTERS)?;
    let apart = context.parameter("breakdownBy").is_some_and(|by| !by.is_empty());
    let mut days: BTreeMap<(String, String), [i64; METRICS.len()]> = BTreeMap::new();
    for run in context.collection(RUNS).documents() {
        let day = text(&run, "createdAt").get(..10).unwrap_or_default().to_owned();
        let whose = if apart { text(&run, "automationId").to_owned() } else { String::new() };
        let counts = days.entry((day, whose)).or_default();
        counts[0] += 1;
        counts[3] += i64::from(text(&run, "context") == "webhook");
        counts[4] += ended(context, &run).map_or(0, |end| end.duration_since(at(&run, BEGINS)).as_secs().max(0));
    }
    let mut data = Vec::new();
    for ((day, whose), counts) in days {
        for ((name, filtered), value) in METRICS.iter().zip(counts) {
            if filter.passes(&json!({"name": [name, filtered], "date": day})) {
                let mut metric = json!({"date": day, "name": name, "value": value});
                if let Some(automation) = context.get(super::automations::AUTOMATIONS, &whose) {
                    metric["automation"] = json!({
                        "guid": whose, "ownerId": automation["ownerId"],
                        "name": text(&automation, "name").chars().take(50).collect::<String>(),
                    });
                }
                data.push(metric);
            }
        }
    }
    Ok(Answer::ok(&json!({"data": data})))
}
