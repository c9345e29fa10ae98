use rhai::Array;
use rhai::Map as ScriptMap;
use rhai::plugin::*;
use serde_json::{Map, Value, json};

use super::apps::App;
use super::converge::{self, Resource, Updated, oldest};
use super::options::{invalid, json as to_json, only, script, script_or_unit, scripts, text};
use super::request::{Ask, replace, text_of};
use super::tenant::Tenant;
use crate::event::{Change, FieldChange};
use crate::operation::Outcome;
use crate::playbook::{Call, ScriptError};

/// `tenant.tasks`.
#[derive(Clone, Debug)]
pub(super) struct Tasks(pub(super) Tenant);

/// What Qlik Cloud makes a task's schedule of.
const SCHEDULE: [&str; 4] = ["recurrence", "timezone", "startDateTime", "endDateTime"];

/// What a task that follows another is asked with.
const EVENT: [&str; 2] = ["onTaskId", "onTaskStatus"];

/// How long names and descriptions may be (scheduling tasks specification).
const NAME: usize = 100;
const DESCRIPTION: usize = 1024;

struct Wanted<'t> {
    tenant: &'t Tenant,
    subject: String,
    /// The app that is loaded.
    app: String,
    name: String,
    /// `description`, `enabled`, and `start` with the schedule when there is one.
    fields: Map<String, Value>,
    /// The other task and its end, when it runs after one.
    after: Map<String, Value>,
}

impl Resource for Wanted<'_> {
    fn scope(&self) -> String {
        self.tenant.host_name().to_owned()
    }

    fn subject(&self) -> String {
        self.subject.clone()
    }

    fn wanted(&self) -> &Map<String, Value> {
        &self.fields
    }

    fn find(&self, call: &mut Call) -> Result<Option<Value>, ScriptError> {
        let held = all(self.tenant, &self.subject).query("resourceId", &self.app).list(call)?;
        Ok(oldest(call, held, "tasks", ("name", &self.name), ""))
    }

    fn accept(&self, call: &Call, current: &Value) -> Result<(), ScriptError> {
        let awaited = current["events"].as_array().into_iter().flatten();
        let mut values = awaited.filter_map(|event| event["correlation"].as_array()).flatten();
        let follows = self.after.get("onTaskId").map_or(Value::Null, Value::clone);
        let is_right = if follows.is_null() {
            current.pointer("/start/schedule").is_some()
        } else {
            values.any(|held| held["contextAttributeName"] == "id" && held["contextAttributeValue"] == follows)
        };
        if is_right {
            return Ok(());
        }
        let title = format!("the {} is there and is started by something else", self.subject);
        let hint = "take another name, or delete it first: `tenant.tasks.delete(name)`";
        Err(invalid(call, title, Some(hint.to_owned())))
    }

    /// Qlik Cloud makes the definition of a task from what is said here: what one that goes by the clock must look like is
    /// not published.
    fn create(&self, call: &mut Call) -> Result<Outcome, ScriptError> {
        let mut body = self.fields.clone();
        let operation = match body.shift_remove("start") {
            Some(start) => {
                body.extend(start["schedule"].as_object().cloned().unwrap_or_default());
                "createReloadTaskOnTimeSchedule"
            }
            None => "createReloadTaskOnTaskEvent",
        };
        body.insert("name".to_owned(), json!(self.name));
        body.extend(self.after.clone());
        self.tenant.ask(operation, self.subject()).var("id", &self.app).json(Value::Object(body)).attempt(call)
    }

    fn update(&self, call: &mut Call, current: &Value, changes: &[FieldChange]) -> Result<Updated, ScriptError> {
        let id = text_of(call, "schedulingGetTasks", current, "id")?;
        let mut values = Map::new();
        for change in changes {
            let mut value = self.fields[&change.field].clone();
            // What is not asked for of its schedule stays.
            if change.field == "start"
                && let (Some(schedule), Some(held)) =
                    (value["schedule"].as_object_mut(), current["start"]["schedule"].as_object())
            {
                for (field, held) in held {
                    schedule.entry(field).or_insert_with(|| held.clone());
                }
            }
            values.insert(change.field.clone(), value);
        }
        let body = replace(values.iter().map(|(field, value)| (format!("/{field}"), value)));
        self.tenant.ask("patchTask", self.subject()).var("id", id).json(body).send(call)?;
        Ok(Updated::InPlace)
    }

    /// Of a schedule only what is asked for counts, however the rule is introduced.
    fn view(&self, field: &str, value: &Value) -> Value {
        if field != "start" {
            return value.clone();
        }
        let asked = self.fields["start"]["schedule"].as_object().into_iter().flatten();
        asked
            .map(|(name, _)| {
                let held = value["schedule"][name].clone();
                let rule = held.as_str().map(|text| Value::from(text.trim_start_matches("RRULE:")));
                (name.clone(), rule.unwrap_or(held))
            })
            .collect::<Map<String, Value>>()
            .into()
    }
}

fn subject(name: &str) -> String {
    format!("task \"{name}\"")
}

/// All tasks, the oldest first.
fn all(tenant: &Tenant, subject: &str) -> Ask {
    tenant.ask("schedulingGetTasks", subject).query("sort", "+createdAt").query("limit", "100")
}

fn named(call: &mut Call, tenant: &Tenant, name: &str) -> Result<Option<Value>, ScriptError> {
    let held = all(tenant, &subject(name)).query("filter", super::request::equals("name", name)).list(call)?;
    Ok(oldest(call, held, "tasks", ("name", name), ""))
}

/// What was asked for, sorted into what a task has and what it follows.
fn wanted<'t>(
    call: &Call,
    tenant: &'t Tenant,
    (subject, name): (String, &str),
    app: String,
    given: Map<String, Value>,
) -> Result<Wanted<'t>, ScriptError> {
    if name.is_empty() || name.chars().count() > NAME {
        return Err(invalid(call, format!("a task's name has 1 to {NAME} characters"), None));
    }
    for field in ["description"].iter().chain(&SCHEDULE).chain(&EVENT).filter(|field| given.contains_key(**field)) {
        text(call, &given, field)?;
    }
    if given.get("enabled").is_some_and(|enabled| !enabled.is_boolean()) {
        return Err(invalid(call, "`enabled` is a boolean", None));
    }
    if given.get("description").and_then(Value::as_str).is_some_and(|text| text.chars().count() > DESCRIPTION) {
        return Err(invalid(call, format!("`description` has at most {DESCRIPTION} characters"), None));
    }
    let (mut fields, mut schedule, mut after) = (Map::new(), Map::new(), Map::new());
    for (field, value) in given {
        let place = match field.as_str() {
            "recurrence" | "timezone" | "startDateTime" | "endDateTime" => &mut schedule,
            "onTaskId" | "onTaskStatus" => &mut after,
            _ => &mut fields,
        };
        place.insert(field, value);
    }
    match (schedule.contains_key("recurrence"), after.len()) {
        (true, 0) => {
            fields.insert("start".to_owned(), json!({ "schedule": schedule }));
        }
        (false, 2) if schedule.is_empty() => {}
        _ => {
            let hint = "such as `recurrence: \"RRULE:FREQ=DAILY;BYHOUR=3;BYMINUTE=0;BYSECOND=0\"`";
            let title = "a task has either a `recurrence`, or `onTaskId` and `onTaskStatus`";
            return Err(invalid(call, title, Some(hint.to_owned())));
        }
    }
    Ok(Wanted { tenant, subject, app, name: name.to_owned(), fields, after })
}

/// What a word about a schedule means.
fn worded(call: &Call, word: &str) -> Result<ScriptMap, ScriptError> {
    let rule = match word {
        "hourly" => "RRULE:FREQ=HOURLY;INTERVAL=1;BYMINUTE=0;BYSECOND=0",
        "daily" => "RRULE:FREQ=DAILY;INTERVAL=1;BYHOUR=3;BYMINUTE=0;BYSECOND=0",
        other => {
            let title = format!("`{other}` is no schedule: known are `hourly` and `daily`");
            let hint = "for any other give a map: `#{ recurrence: \"RRULE:FREQ=WEEKLY;BYDAY=MO;BYHOUR=4;BYMINUTE=0;BYSECOND=0\" }`";
            return Err(invalid(call, title, Some(hint.to_owned())));
        }
    };
    Ok(ScriptMap::from([("recurrence".into(), rule.into())]))
}

fn known<'k>(further: &[&'k str]) -> Vec<&'k str> {
    [&["description", "enabled"], &SCHEDULE[..], &EVENT[..], further].concat()
}

fn given(call: &Call, given: ScriptMap, further: &[&str]) -> Result<Map<String, Value>, ScriptError> {
    let Value::Object(map) = to_json(call, "options", &given.into())? else { return Ok(Map::new()) };
    only(call, &map, &known(further))?;
    Ok(map)
}

fn schedule(call: &mut Call, app: &App, options: ScriptMap) -> Result<Value, ScriptError> {
    let mut given = given(call, options, &["name"])?;
    let default = || format!("Reload of {}", app.name()).chars().take(NAME).collect();
    let name = match given.shift_remove("name") {
        None => default(),
        Some(name) => name.as_str().map(str::to_owned).ok_or_else(|| invalid(call, "`name` is a text", None))?,
    };
    given.entry("enabled").or_insert(json!(true));
    let subject = format!("{} of {}", subject(&name), app.subject());
    let wanted = wanted(call, app.tenant(), (subject, &name), app.id().to_owned(), given)?;
    Ok(converge::ensure(call, &wanted)?.document)
}

fn ensure(call: &mut Call, tenant: &Tenant, name: &str, options: ScriptMap) -> Result<Value, ScriptError> {
    let mut given = given(call, options, &["resourceId"])?;
    let app = text(call, &given, "resourceId")?;
    drop(given.shift_remove("resourceId"));
    let wanted = wanted(call, tenant, (subject(name), name), app, given)?;
    Ok(converge::ensure(call, &wanted)?.document)
}

fn required(call: &mut Call, tenant: &Tenant, name: &str) -> Result<Value, ScriptError> {
    match named(call, tenant, name)? {
        Some(task) => Ok(task),
        None => Err(call.throw(tenant.lacks(&subject(name)))),
    }
}

fn switch(call: &mut Call, tenant: &Tenant, name: &str, enabled: bool) -> Result<Value, ScriptError> {
    let wanted = Map::from_iter([("enabled".to_owned(), json!(enabled))]);
    let write = |call: &mut Call, current: &Value, _: &[FieldChange]| {
        let id = text_of(call, "schedulingGetTasks", current, "id")?;
        let body = replace([("/enabled".to_owned(), &wanted["enabled"])]);
        tenant.ask("patchTask", subject(name)).var("id", id).json(body).send(call).map(drop)
    };
    let view = |_: &str, value: &Value| value.clone();
    let read = |call: &mut Call| required(call, tenant, name);
    converge::settle(call, tenant.host_name(), &subject(name), &wanted, view, read, write)
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// The scheduled tasks of the tenant.
    #[rhai_fn(get = "tasks", pure)]
    pub fn tasks(tenant: &mut Tenant) -> Tasks {
        Tasks(tenant.clone())
    }

    /// Makes sure the app's data is loaded anew by the clock, and that this is switched on; gives the task as Qlik describes
    /// it. Its name is "Reload of" and the app's.
    ///
    /// Qlik Cloud publishes no way to give such a reload variables: what the load script needs to know it must find by itself.
    ///
    /// - `often`: `"hourly"` (on the hour) or `"daily"` (at 3:00 UTC).
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let app = tenant.spaces.ensure("Staging", "shared").import_app("content/apps/Shipment Tracking.qvf");
    /// app.schedule("hourly");
    /// ```
    #[rhai_fn(name = "schedule", pure, return_raw)]
    pub fn schedule_worded(
        context: NativeCallContext,
        app: &mut App,
        often: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "app.schedule")?;
        let options = worded(&call, often)?;
        let document = schedule(&mut call, app, options)?;
        script(&call, &document)
    }

    /// The same with any schedule, or after another task. An app may have ten tasks, each of another name.
    ///
    /// - `options`: Qlik's own `recurrence` (a rule as in RFC 5545), `timezone`, `startDateTime` and `endDateTime`; or
    ///   `onTaskId` and `onTaskStatus` (`"succeeded"`, `"failed"` or `"any"`) of another task; `description`; `name`, and
    ///   `enabled`, true unless given.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let app = tenant.spaces.ensure("Staging", "shared").import_app("content/apps/Shipment Tracking.qvf");
    /// app.schedule(#{ recurrence: "RRULE:FREQ=WEEKLY;BYDAY=MO;BYHOUR=4;BYMINUTE=30;BYSECOND=0", timezone: "Europe/Zurich" });
    /// ```
    #[rhai_fn(name = "schedule", pure, return_raw)]
    pub fn schedule_with(
        context: NativeCallContext,
        app: &mut App,
        options: ScriptMap,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "app.schedule")?;
        let document = schedule(&mut call, app, options)?;
        script(&call, &document)
    }

    /// Makes sure an app has a task of this name; gives it as Qlik describes it. A new task does nothing before it is enabled.
    ///
    /// - `name`: exact, case matters, at most 100 characters.
    /// - `options`: `resourceId`, the app's id; `enabled`, left as it is unless given; the rest as of `app.schedule`.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let app = tenant.spaces.ensure("Staging", "shared").import_app("content/apps/Shipment Tracking.qvf");
    /// tenant.tasks.ensure("Nightly", #{ resourceId: app.id, recurrence: "RRULE:FREQ=DAILY;BYHOUR=2;BYMINUTE=0;BYSECOND=0" });
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_task(
        context: NativeCallContext,
        tasks: &mut Tasks,
        name: &str,
        options: ScriptMap,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.tasks.ensure")?;
        let document = ensure(&mut call, &tasks.0, name, options)?;
        script(&call, &document)
    }

    /// The task of this name as Qlik describes it, with its last run; an error when there is none. Names repeat: of several
    /// the oldest is meant.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let app = tenant.spaces.ensure("Staging", "shared").import_app("content/apps/Shipment Tracking.qvf");
    /// app.schedule(#{ name: "Hourly", recurrence: "RRULE:FREQ=HOURLY;BYMINUTE=0;BYSECOND=0" });
    /// log(tenant.tasks.get("Hourly").enabled);
    /// ```
    #[rhai_fn(name = "get", pure, return_raw)]
    pub fn get_task(context: NativeCallContext, tasks: &mut Tasks, name: &str) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.tasks.get")?;
        let task = required(&mut call, &tasks.0, name)?;
        script(&call, &task)
    }

    /// The task of this name as Qlik describes it, or `()`.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// if tenant.tasks.find("Nightly") == () { log("not scheduled"); }
    /// ```
    #[rhai_fn(name = "find", pure, return_raw)]
    pub fn find_task(context: NativeCallContext, tasks: &mut Tasks, name: &str) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.tasks.find")?;
        let found = named(&mut call, &tasks.0, name)?;
        script_or_unit(&call, found.as_ref())
    }

    /// All tasks of the tenant as Qlik describes them, the oldest first.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// for task in tenant.tasks.list() { log(task.name); }
    /// ```
    #[rhai_fn(name = "list", pure, return_raw)]
    pub fn list_tasks(context: NativeCallContext, tasks: &mut Tasks) -> Result<Array, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.tasks.list")?;
        let found = all(&tasks.0, "tasks").list(&mut call)?;
        scripts(&call, &found)
    }

    /// Makes sure there is no task of this name.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.tasks.delete("Nightly");
    /// ```
    #[rhai_fn(name = "delete", pure, return_raw)]
    pub fn delete_task(context: NativeCallContext, tasks: &mut Tasks, name: &str) -> Result<(), Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.tasks.delete")?;
        let tenant = &tasks.0;
        let find = |call: &mut Call| named(call, tenant, name);
        let delete = |call: &mut Call, held: &Value| {
            let id = text_of(call, "schedulingGetTasks", held, "id")?;
            tenant.ask("schedulingDeleteTask", subject(name)).var("id", id).remove(call)
        };
        converge::remove(&mut call, tenant.host_name(), &subject(name), find, delete)
    }

    /// Makes sure the task of this name is switched on; gives it as Qlik describes it.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// for task in tenant.tasks.list() { tenant.tasks.enable(task.name); }
    /// ```
    #[rhai_fn(name = "enable", pure, return_raw)]
    pub fn enable_task(
        context: NativeCallContext,
        tasks: &mut Tasks,
        name: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.tasks.enable")?;
        let task = switch(&mut call, &tasks.0, name, true)?;
        script(&call, &task)
    }

    /// Makes sure the task of this name is switched off; gives it as Qlik describes it.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// for task in tenant.tasks.list() { tenant.tasks.disable(task.name); }
    /// ```
    #[rhai_fn(name = "disable", pure, return_raw)]
    pub fn disable_task(
        context: NativeCallContext,
        tasks: &mut Tasks,
        name: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.tasks.disable")?;
        let task = switch(&mut call, &tasks.0, name, false)?;
        script(&call, &task)
    }

    /// Runs the task of this name at once, switched on or not, and does not wait for its end.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// for task in tenant.tasks.list() { tenant.tasks.start(task.name); }
    /// ```
    #[rhai_fn(name = "start", pure, return_raw)]
    pub fn start_task(context: NativeCallContext, tasks: &mut Tasks, name: &str) -> Result<(), Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.tasks.start")?;
        let task = required(&mut call, &tasks.0, name)?;
        let id = text_of(&call, "schedulingGetTasks", &task, "id")?;
        call.claim(tasks.0.host_name(), &subject(name))?;
        tasks.0.ask("schedulingStartTask", subject(name)).var("id", id).send(&mut call)?;
        call.step(Change::Acted, subject(name), Vec::new());
        Ok(())
    }

    /// What the task of this name has done so far, as Qlik describes it, the last run first.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// for task in tenant.tasks.list() { for run in tenant.tasks.runs(task.name) { log(run.status); } }
    /// ```
    #[rhai_fn(name = "runs", pure, return_raw)]
    pub fn task_runs(context: NativeCallContext, tasks: &mut Tasks, name: &str) -> Result<Array, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.tasks.runs")?;
        let task = required(&mut call, &tasks.0, name)?;
        let id = text_of(&call, "schedulingGetTasks", &task, "id")?;
        let ask = tasks.0.ask("schedulingGetTaskRuns", subject(name)).var("id", id).query("limit", "100");
        let runs = ask.list(&mut call)?;
        scripts(&call, &runs)
    }
}
