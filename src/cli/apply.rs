//! `tenantry apply`: plans carried out, each exactly as it was made.

use std::sync::Arc;

use serde_json::json;
use tenantry::plan::{PlanFileError, SavedPlan};
use tenantry::{Host, Run};

use super::arguments::{ApplyArguments, Common};
use super::console::Console;
use super::exit::Exit;
use super::follow::{self, Events};
use super::project::{self, Stopped};
use crate::report::Trouble;

pub(crate) async fn apply(console: &Arc<Console>, common: &Common, arguments: &ApplyArguments) -> Exit {
    let (host, runs, customers, events) = match prepare(console, common, arguments).await {
        Ok(prepared) => prepared,
        Err((troubles, exit)) => {
            if common.json {
                console.json(&json!({ "runs": [], "errors": troubles }));
            }
            console.troubles(troubles);
            return exit;
        }
    };
    let parallel = host.project().defaults().concurrency.unwrap_or(super::run::PARALLEL);
    let codes: Vec<&str> = customers.iter().map(String::as_str).collect();
    follow::follow(console, common, runs, &codes, parallel, events).await
}

type Prepared = (Host, Vec<Run>, Vec<String>, Option<Events>);

/// Reads and checks every plan before anything is sent.
async fn prepare(console: &Console, common: &Common, arguments: &ApplyArguments) -> Result<Prepared, Stopped> {
    let (host, _) = project::host(common, |builder| builder.new_registry(arguments.new_registry))?;
    let mut troubles = Vec::new();
    let mut plans = Vec::new();
    for path in &arguments.plans {
        match SavedPlan::load(path) {
            Ok(plan) => plans.push(plan),
            Err(error) => troubles.push(unusable(&error)),
        }
    }
    if let Some(target) = &common.target {
        for plan in plans.iter().filter(|plan| plan.target != *target) {
            let title = format!("the plan for `{}` was made for target `{}`", plan.customer, plan.target);
            troubles.push(Trouble::new(title).help("a plan is applied where it was made for: leave out --target"));
        }
    }
    let mut runs = Vec::new();
    let customers: Vec<String> = plans.iter().map(|plan| plan.customer.clone()).collect();
    for plan in plans {
        match begun(console, &host, plan).await {
            Ok(run) => runs.push(arguments.pace.of(run.only_if_unchanged(arguments.only_if_unchanged))),
            Err(trouble) => troubles.push(trouble),
        }
    }
    if !troubles.is_empty() {
        return Err((troubles, Exit::Configuration));
    }
    let events = match &arguments.events {
        None => None,
        Some(path) => Some(Events::open(path).map_err(|trouble| (vec![trouble], Exit::Configuration))?),
    };
    Ok((host, runs, customers, events))
}

/// The run that applies a plan: the one that was begun with it and has not come to its end, or a new one.
async fn begun(console: &Console, host: &Host, plan: SavedPlan) -> Result<Run, Trouble> {
    let (customer, target) = (plan.customer.clone(), plan.target.clone());
    if let Err(error) = host.open_target(&target).await {
        return Err(Trouble::from(&error.failure).note("target", target));
    }
    let found = host.applying(plan).await.map_err(|diagnostic| Trouble::from(&diagnostic))?;
    if let Some(run) = found.resumes() {
        console.told(&format!("note: applying the plan for `{customer}` goes on with run {run}"));
    }
    Ok(found)
}

fn unusable(error: &PlanFileError) -> Trouble {
    Trouble::new(error.to_string()).help(error.hint())
}
