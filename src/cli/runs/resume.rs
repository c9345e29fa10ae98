//! `tenantry runs resume`: a run that did not come to its end goes on.

use std::sync::Arc;

use tenantry::Diagnostic;

use super::super::arguments::{Common, ResumeArguments};
use super::super::console::Console;
use super::super::exit::Exit;
use super::super::follow::{self, Events};
use super::super::project::{self, Stopped};
use crate::report::Trouble;

pub(super) async fn resume(
    console: &Arc<Console>,
    common: &Common,
    arguments: &ResumeArguments,
) -> Result<Exit, Stopped> {
    let (host, _) = project::host(common, |builder| builder.new_registry(arguments.new_registry))?;
    let record = host.run_record(&arguments.run).await.map_err(|error| super::stopped(&error))?;
    let opening = record.opening;
    if let Some(target) = common.target.as_ref().filter(|target| **target != opening.target) {
        let title = format!("run {} worked on target `{}`, not on `{target}`", opening.id, opening.target);
        let trouble = Trouble::new(title).help("leave --target out: a run goes on where it was");
        return Err((vec![trouble], Exit::Configuration));
    }
    let refused = |diagnostic: Diagnostic| (vec![Trouble::from(&diagnostic)], Exit::Configuration);
    let mut run = host.resume(&opening.id).map_err(refused)?.accept_changes(arguments.accept_changes);
    for (key, decision) in &arguments.settled {
        run = run.settled(key.clone(), *decision);
    }
    let events = match &arguments.events {
        None => None,
        Some(path) => Some(Events::open(path).map_err(|trouble| (vec![trouble], Exit::Configuration))?),
    };
    console.progress(format!("opening {}", opening.target));
    if let Err(error) = host.open_target(&opening.target).await {
        console.end_progress();
        let trouble = Trouble::from(&error.failure).note("target", &opening.target);
        return Err((vec![trouble], Exit::of(&error.failure)));
    }
    let run = arguments.pace.of(run);
    Ok(follow::follow(console, common, vec![run], &[&opening.customer], 1, events).await)
}
