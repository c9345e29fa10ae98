use rhai::Map as ScriptMap;
use rhai::plugin::*;
use serde_json::{Value, json};

use super::automations::Automation;
use super::options::{options as given_options, script};
use super::request::text_of;
use super::waiting;
use crate::event::Change;
use crate::operation::{Failure, FailureKind};
use crate::playbook::{Call, ScriptError};

/// How long a run is waited for at most, in seconds. How long Qlik Cloud lets one take is not published; this is its limit
/// for reloads.
const LONGEST: u64 = 10_800;

/// The statuses of a run that has not ended. Source: Qlik's workflows automations specification.
const ACTIVE: [&str; 5] = ["not started", "queued", "starting", "running", "must stop"];

fn run(call: &mut Call, automation: &Automation, within: Option<u64>) -> Result<Value, ScriptError> {
    let tenant = automation.tenant();
    let thing = format!("run of {}", automation.subject());
    call.claim(tenant.host_name(), &thing)?;
    let ask = tenant.ask("createAutomationRun", &thing).var("id", automation.id());
    let started = ask.json(json!({ "context": "api" })).send(call)?.json().clone();
    let Some(within) = within else {
        call.step(Change::Acted, thing, Vec::new());
        return Ok(started);
    };
    let id = text_of(call, "createAutomationRun", &started, "id")?;
    let ended = waiting::wait(call, within, |call| {
        let ask = tenant.ask("workflowsGetAutomationRun", &thing).var("id", automation.id()).var("runId", &id);
        let document = ask.send(call)?.json().clone();
        let is_active = document["status"].as_str().is_some_and(|status| ACTIVE.contains(&status));
        Ok(Some(document).filter(|_| !is_active))
    })?;
    let Some(document) = ended else {
        let title = format!("the {thing} takes longer than {within} s");
        let hint = "it goes on in Qlik Cloud; wait longer with `wait`, or look at it in the editor";
        return Err(call.throw(Failure::new(FailureKind::Refused, "tenantry/waited", title).hint(hint)));
    };
    match document["status"].as_str().unwrap_or_default() {
        "finished" => {}
        "finished with warnings" => call.log("warn", format!("the {thing} finished with warnings")),
        status => return Err(call.throw(failed(&thing, status, &document["error"]))),
    }
    call.step(Change::Acted, thing, Vec::new());
    Ok(document)
}

/// What went wrong, in the words of the run.
fn failed(thing: &str, status: &str, errors: &Value) -> Failure {
    let told = |error: &Value| error["message"].as_str().map_or_else(|| error.to_string(), str::to_owned);
    let told: Vec<String> = errors.as_array().into_iter().flatten().map(told).collect();
    let title = format!("the {thing} ended as \"{status}\"");
    let mut failure = Failure::new(FailureKind::Refused, "tenantry/run-failed", title);
    failure.detail = Some(told.join("\n")).filter(|told| !told.is_empty());
    failure
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// Runs the automation and waits until that has ended; gives the run as Qlik describes it. An error with the code
    /// `tenantry/run-failed` and what went wrong when it does not finish. A run takes no inputs: Qlik's API has none.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let tidy = tenant.automations.ensure("Tidy", #{ workspace: #{ blocks: [], variables: [] } });
    /// log(tidy.run().status);
    /// ```
    #[rhai_fn(name = "run", pure, return_raw)]
    pub fn run_plain(context: NativeCallContext, automation: &mut Automation) -> Result<Dynamic, Box<EvalAltResult>> {
        run_with(context, automation, ScriptMap::new())
    }

    /// Runs the automation with these options.
    ///
    /// - `options`: `wait`, how many seconds to wait for its end: `true`, up to three hours, unless given; `false` not at all.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let tidy = tenant.automations.ensure("Tidy", #{ workspace: #{ blocks: [], variables: [] } });
    /// tidy.run(#{ wait: false });
    /// ```
    #[rhai_fn(name = "run", pure, return_raw)]
    pub fn run_with(
        context: NativeCallContext,
        automation: &mut Automation,
        options: ScriptMap,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "automation.run")?;
        let wait = given_options(&call, options, &["wait"])?.shift_remove("wait");
        let within = waiting::within(&call, wait, LONGEST)?;
        let document = run(&mut call, automation, within)?;
        script(&call, &document)
    }
}
