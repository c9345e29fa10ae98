//! `tenantry state prune`: old runs are removed from the journal.

use serde_json::json;
use tenantry::{Prunable, Retention};

use super::super::arguments::{Common, PruneArguments};
use super::super::console::Console;
use super::super::exit::Exit;
use super::super::project::{self, Stopped};
use crate::report::{self, count};

pub(super) fn prune(console: &Console, common: &Common, arguments: &PruneArguments) -> Result<Exit, Stopped> {
    let state = super::open(common)?;
    let older_than = jiff::SignedDuration::try_from(arguments.older_than).unwrap_or(jiff::SignedDuration::MAX);
    let retention = Retention { older_than, keep: arguments.keep.into() };
    let prunable = state.prunable(retention).map_err(|error| super::stopped(error.into()))?;
    if !common.json {
        show(console, &prunable);
    }
    let (mut document, mut removed) = (json!(&prunable), None);
    if !prunable.is_empty() && !arguments.dry_run && project::agreed(console, common, arguments.yes)? {
        removed = Some(state.prune(prunable).map_err(|error| super::stopped(error.into()))?);
    }
    if common.json {
        document["version"] = json!(super::VERSION);
        document["removed"] = json!(removed);
        console.json(&document);
    } else if let Some(removed) = removed {
        console.told(&format!("removed {}", count(removed, "run")));
    }
    Ok(Exit::Success)
}

fn show(console: &Console, prunable: &Prunable) {
    let Prunable { runs, files, bytes, .. } = prunable;
    if prunable.is_empty() {
        console.told("there is nothing to remove");
        return;
    }
    if !runs.is_empty() {
        let rows = runs.iter().map(|run| {
            let began = run.began.parse().map_or_else(|_| run.began.clone(), report::moment);
            let (run, entries) = (run.clone(), run.entries.to_string());
            vec![run.run, run.customer, run.playbook, run.status, began, entries]
        });
        let head = ["ID", "CUSTOMER", "PLAYBOOK", "STATUS", "BEGAN (UTC)", "ENTRIES"];
        console.data(&report::table(&head, rows.collect(), console.out()));
    }
    let (runs, files) = (count(runs.len() as u64, "run"), count(*files, "file"));
    console.told(&format!("to be removed: {runs}, and {files} that no other run uses; {}", report::size(*bytes)));
}
