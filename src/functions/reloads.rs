use rhai::Map as ScriptMap;
use rhai::plugin::*;
use serde_json::{Map, Value, json};

use super::apps::{App, moment};
use super::converge;
use super::options::{invalid, options, script};
use super::request::text_of;
use super::waiting;
use crate::event::Change;
use crate::operation::{Failure, FailureKind};
use crate::playbook::{Call, ScriptError};

/// How long Qlik Cloud lets a reload run, in seconds (reloads, 3 h): longer nobody needs to wait.
const LONGEST: u64 = 10_800;

/// What Qlik takes: so many variables, each name and value of so many characters (reloads specification).
const VARIABLES: usize = 20;
const LENGTH: usize = 256;

/// How many of the last lines of a log an error shows.
const TAIL: usize = 5;

/// What a reload is asked with.
struct Wanted {
    body: Map<String, Value>,
    /// How long to wait for its end, in seconds; `None` not at all.
    within: Option<u64>,
}

fn wanted(call: &Call, app: &App, given: ScriptMap) -> Result<Wanted, ScriptError> {
    let mut body = options(call, given, &["variables", "partial", "weight", "wait"])?;
    let within = waiting::within(call, body.shift_remove("wait"), LONGEST)?;
    if let Some(variables) = body.get("variables") {
        let fits = |text: &str| text.chars().count() <= LENGTH;
        let is_good = |(name, value): (&String, &Value)| fits(name) && value.as_str().is_some_and(fits);
        let held = variables.as_object().filter(|held| held.len() <= VARIABLES && held.iter().all(is_good));
        if held.is_none() {
            let title = format!("`variables` is a map of at most {VARIABLES} texts of at most {LENGTH} characters");
            return Err(invalid(call, title, Some("write numbers as texts: `\"2026\"`".to_owned())));
        }
    }
    body.insert("appId".to_owned(), json!(app.id()));
    Ok(Wanted { body, within })
}

fn subject(app: &App) -> String {
    format!("reload of {}", app.subject())
}

fn reload(call: &mut Call, app: &App, wanted: Wanted) -> Result<Value, ScriptError> {
    let thing = subject(app);
    let response = app.tenant().ask("queueReload", thing.clone()).json(Value::Object(wanted.body)).send(call)?;
    let queued = response.json().clone();
    let Some(within) = wanted.within else {
        call.step(Change::Acted, thing, Vec::new());
        return Ok(queued);
    };
    let id = text_of(call, "queueReload", &queued, "id")?;
    let ended = waiting::wait(call, within, |call| {
        let response = app.tenant().ask("getReload", thing.clone()).var("reloadId", &id).send(call)?;
        let document = response.json();
        let is_active = matches!(document["status"].as_str(), Some("QUEUED" | "RELOADING" | "CANCELING"));
        Ok(Some(document.clone()).filter(|_| !is_active))
    })?;
    match ended {
        None => {
            let failure = Failure::new(
                FailureKind::Refused,
                "tenantry/waited",
                format!("the {thing} takes longer than {within} s"),
            );
            let hint = "it goes on in Qlik Cloud; wait longer with `wait`, or run the playbook again later";
            Err(call.throw(failure.hint(hint)))
        }
        Some(document) if document["status"] == "SUCCEEDED" => {
            call.step(Change::Acted, thing, Vec::new());
            Ok(document)
        }
        Some(document) => Err(call.throw(failed(&thing, &document))),
    }
}

/// What went wrong, in the words of the reload.
fn failed(thing: &str, document: &Value) -> Failure {
    let told = |field: &str| document[field].as_str().filter(|text| !text.is_empty());
    let title = format!("the {thing} ended with {}", told("status").unwrap_or("no status"));
    let why = [told("errorCode"), told("errorMessage")].into_iter().flatten().collect::<Vec<_>>().join(": ");
    let lines: Vec<&str> = told("log").unwrap_or_default().trim_end().lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
    let detail = [why, tail].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n");
    let mut failure = Failure::new(FailureKind::Refused, "tenantry/reload-failed", title);
    failure.detail = Some(detail).filter(|detail| !detail.is_empty());
    failure
}

/// Whether the app's data was loaded since its content came: since it was published, else since it was made.
///
/// A schedule loads it too, and without variables: where some are wanted, only a reload that was asked for over the API
/// counts (`external`, as reloads tell what initiated them). Which variables that had Qlik Cloud does not tell; they are taken
/// to be these. It is also taken that the latest of them stays on record.
fn is_loaded(call: &mut Call, app: &App, document: &Value, wanted: &Wanted) -> Result<bool, ScriptError> {
    let came = moment(document, "publishTime").or_else(|| moment(document, "createdDate"));
    let since = |loaded: Option<jiff::Timestamp>| loaded.is_some_and(|loaded| Some(loaded) >= came);
    if !since(moment(document, "lastReloadTime")) {
        return Ok(false);
    }
    if wanted.body.get("variables").and_then(Value::as_object).is_none_or(Map::is_empty) {
        return Ok(true);
    }
    let ask = app.tenant().ask("getReloads", subject(app)).query("appId", app.id()).query("limit", "1");
    let latest = ask.query("filter", "status eq \"SUCCEEDED\" and type eq \"external\"").send(call)?;
    Ok(since(moment(&latest.json()["data"][0], "creationTime")))
}

fn ensure(call: &mut Call, app: &App, given: ScriptMap) -> Result<(), ScriptError> {
    let wanted = wanted(call, app, given)?;
    let thing = subject(app);
    call.claim(app.tenant().host_name(), &thing)?;
    let noted = match app.noted(call) {
        Some(document) => is_loaded(call, app, &document, &wanted)?,
        None => false,
    };
    let loaded = noted
        || match app.read(call)? {
            Some(document) => is_loaded(call, app, &document, &wanted)?,
            None => return Err(call.throw(app.tenant().lacks(&app.subject()))),
        };
    if loaded {
        call.step(converge::earlier(call, &thing), thing, Vec::new());
        return Ok(());
    }
    reload(call, app, wanted).map(drop)
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// Loads the app's data anew and waits until that has ended; gives the reload as Qlik describes it. An error with the
    /// code `tenantry/reload-failed` and the end of its log when it fails.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let app = tenant.spaces.ensure("Staging", "shared").import_app("content/apps/Shipment Tracking.qvf");
    /// log(app.reload().status);
    /// ```
    #[rhai_fn(name = "reload", pure, return_raw)]
    pub fn reload_plain(context: NativeCallContext, app: &mut App) -> Result<Dynamic, Box<EvalAltResult>> {
        reload_with(context, app, ScriptMap::new())
    }

    /// Loads the app's data anew with these options.
    ///
    /// - `options`: Qlik's own `variables` (at most 20 texts, for the load script), `partial` and `weight`; `wait`, how many
    ///   seconds to wait for its end: `true`, as long as it takes, unless given; `false` not at all.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let app = tenant.spaces.ensure("Staging", "shared").import_app("content/apps/Shipment Tracking.qvf");
    /// app.reload(#{ variables: #{ vCustomerID: "HB01" }, wait: 600 });
    /// ```
    #[rhai_fn(name = "reload", pure, return_raw)]
    pub fn reload_with(
        context: NativeCallContext,
        app: &mut App,
        options: ScriptMap,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "app.reload")?;
        let wanted = wanted(&call, app, options)?;
        call.claim(app.tenant().host_name(), &subject(app))?;
        let document = reload(&mut call, app, wanted)?;
        script(&call, &document)
    }

    /// Makes sure the app's data was loaded after its content came: after it was published, or imported when it is not
    /// published. Nothing happens when it was. With `variables` what a schedule loaded does not count: it had none.
    ///
    /// - `options`: as of `reload`; they count when it is loaded.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let staged = tenant.spaces.ensure("Staging", "shared").import_app("content/apps/Shipment Tracking.qvf");
    /// let app = staged.publish_to(tenant.spaces.ensure("Production", "managed"), #{ data: "target" });
    /// app.ensure_reloaded(#{ variables: #{ vCustomerID: "HB01" } });
    /// ```
    #[rhai_fn(name = "ensure_reloaded", pure, return_raw)]
    pub fn ensure_reloaded(
        context: NativeCallContext,
        app: &mut App,
        options: ScriptMap,
    ) -> Result<(), Box<EvalAltResult>> {
        ensure(&mut Call::begin(&context, "app.ensure_reloaded")?, app, options)
    }
}
