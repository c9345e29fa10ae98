//! `tenantry plan`: what a playbook would do for one or many customers.

use std::path::Path;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use serde_json::json;
use tenantry::interpreter::FIRST_TOKEN;
use tenantry::plan::PlanFileError;
use tenantry::{Cancel, Plan, RunStatus, share_seats};

use super::arguments::{Common, PlanArguments};
use super::console::Console;
use super::exit::Exit;
use super::html;
use super::interrupt::Interrupts;
use super::project::{self, Stopped};
use crate::report::{Look, Trouble, count, plans_html, plans_text, shapes};

/// The version of the JSON document: raised when a reader must change.
const VERSION: u32 = 1;

pub(crate) async fn plan(console: &Arc<Console>, common: &Common, arguments: &PlanArguments) -> Exit {
    let plans = match make(console, common, arguments).await {
        Ok(plans) => plans,
        Err((troubles, exit)) => {
            if common.json {
                console.json(&json!({ "version": VERSION, "plans": [], "errors": troubles }));
            }
            console.troubles(troubles);
            return exit;
        }
    };
    if let Some(out) = &arguments.out
        && let Err(trouble) = save(console, &plans, out)
    {
        console.trouble(&trouble);
        return Exit::Configuration;
    }
    if let Some(file) = &arguments.html
        && let Err((troubles, exit)) = html::write(file, plans_html(&plans))
    {
        console.troubles(troubles);
        return exit;
    }
    if common.json {
        let shapes: Vec<Vec<&str>> = shapes(&plans).iter().map(|shape| shape.customers().collect()).collect();
        console.json(&json!({ "version": VERSION, "plans": plans, "shapes": shapes }));
    } else {
        let look = Look { verbose: common.verbose, style: console.out(), width: console.width() };
        console.data(&format!("{}\n", plans_text(&plans, look)));
    }
    exit(&plans)
}

/// Keeps the plans to be applied: one in the file, several in a folder, each by its customer's code.
fn save(console: &Console, plans: &[Plan], out: &Path) -> Result<(), Trouble> {
    let unusable = |error: &PlanFileError| Trouble::new(error.to_string());
    let folder = plans.len() > 1;
    if folder {
        let failed = |error: std::io::Error| Trouble::new(format!("{}: {error}", out.display()));
        std::fs::create_dir_all(out).map_err(failed)?;
    }
    for plan in plans {
        let path = if folder { out.join(format!("{}.plan.json", plan.customer)) } else { out.to_owned() };
        let Some(saved) = plan.saved() else {
            // An older one of this name must not be taken for it.
            let removed = std::fs::remove_file(&path);
            let left = removed.is_err_and(|error| error.kind() != std::io::ErrorKind::NotFound);
            let more = if left { ", and the older one there could not be removed" } else { "" };
            console.told(&format!("note: the plan for `{}` fails, so it was not saved{more}", plan.customer));
            continue;
        };
        saved.save(&path).map_err(|error| unusable(&error))?;
    }
    Ok(())
}

fn exit(plans: &[Plan]) -> Exit {
    if plans.iter().any(|plan| plan.status == RunStatus::Cancelled) {
        return Exit::Interrupted;
    }
    if plans.iter().any(|plan| plan.error.is_some()) {
        return Exit::Failed;
    }
    if plans.iter().any(Plan::has_changes) { Exit::Changes } else { Exit::Success }
}

async fn make(console: &Console, common: &Common, arguments: &PlanArguments) -> Result<Vec<Plan>, Stopped> {
    let (host, target) = project::host(common, |builder| builder.new_registry(arguments.what.new_registry))?;
    let (playbook, customers) = project::read(&host, &arguments.what)?;
    console.progress(format!("opening {target}"));
    // Where a first token is not allowed, each plan says so itself.
    if let Err(error) = host.open_target_to_plan(&target, arguments.allow_first_token).await
        && error.failure.code != FIRST_TOKEN
    {
        console.end_progress();
        let exit = Exit::of(&error.failure);
        return Err((vec![Trouble::from(&error.failure).note("target", target)], exit));
    }
    console.progress(format!("planning for {}", count(customers.len() as u64, "customer")));
    let planning: Vec<_> = customers
        .iter()
        .map(|customer| {
            let planning = host.plan(&playbook, customer, &target).verify(arguments.what.verify);
            planning.prune(arguments.prune).allow_first_token(arguments.allow_first_token)
        })
        .collect();
    let cancels: Vec<Cancel> = planning.iter().map(tenantry::Planning::canceller).collect();
    let parallel = arguments.parallel.map_or(super::run::PARALLEL, usize::from);
    let making = stream::iter(planning).map(std::future::IntoFuture::into_future).buffered(parallel).collect();
    let mut making = std::pin::pin!(making);
    let mut interrupts = Interrupts::listen();
    let mut plans: Vec<Plan> = loop {
        tokio::select! {
            biased;
            () = interrupts.next() => cancels.iter().for_each(Cancel::cancel),
            plans = &mut making => break plans,
        }
    };
    console.end_progress();
    share_seats(&mut plans);
    Ok(plans)
}
