//! `tenantry runs undo`: takes back what a run did.

use std::sync::Arc;

use futures_util::StreamExt as _;
use serde_json::json;
use tenantry::{Event, RunStatus, Undo, UndoReport, UndoStep};

use super::super::arguments::{Common, UndoArguments};
use super::super::console::Console;
use super::super::exit::Exit;
use super::super::interrupt::Interrupts;
use super::super::project::{self, Stopped};
use crate::report::{self, Trouble};

/// The version of what `--json` prints: raised when a reader must change.
const VERSION: u32 = 1;

pub(super) async fn undo(console: &Arc<Console>, common: &Common, arguments: &UndoArguments) -> Result<Exit, Stopped> {
    let host = super::host(common)?;
    console.progress("looking how things stand".to_owned());
    let planned = host.undo(&arguments.run).await;
    console.end_progress();
    let undo = planned.map_err(|error| (vec![Trouble::from(&error.failure)], Exit::of(&error.failure)))?;
    let writes = undo.steps().any(|step| step.verdict.is_write());
    if !common.json {
        show(console, &undo);
    }
    if !writes || arguments.dry_run || !project::agreed(console, common, arguments.yes)? {
        if common.json {
            let steps: Vec<&UndoStep> = undo.steps().collect();
            let of = &undo.record().opening.id;
            console.json(&json!({ "version": VERSION, "undo": of, "done": false, "steps": steps }));
        }
        return Ok(Exit::Success);
    }
    let of = undo.record().opening.id.clone();
    let UndoReport { steps, report } = perform(console, undo).await;
    if common.json {
        console.json(&json!({ "version": VERSION, "undo": of, "done": true, "steps": steps, "run": report }));
    } else {
        if !console.quiet() {
            console.line("");
        }
        lines(console, steps.iter(), true);
    }
    if let Some(error) = &report.error {
        console.trouble(&Trouble::from(error));
    }
    Ok(match report.status {
        RunStatus::Succeeded => Exit::Success,
        RunStatus::Failed => Exit::Failed,
        RunStatus::Cancelled => Exit::Interrupted,
    })
}

fn show(console: &Console, undo: &Undo) {
    let opening = &undo.record().opening;
    console.told(&format!(
        "run {} of {} for {} on {}: {}",
        opening.id,
        report::clean_line(&opening.playbook),
        report::clean_line(&opening.customer),
        report::clean_line(&opening.target),
        report::undo_sum(undo.steps()),
    ));
    lines(console, undo.steps(), false);
}

fn lines<'s>(console: &Console, steps: impl Iterator<Item = &'s UndoStep>, done: bool) {
    for line in report::undo_steps(steps, done, console.out()) {
        console.data(&line);
    }
}

async fn perform(console: &Console, mut undo: Undo) -> UndoReport {
    let mut events = undo.events();
    let cancel = undo.canceller();
    let mut interrupts = Interrupts::listen();
    let mut performed = std::pin::pin!(undo.perform());
    let mut done = 0;
    let report = loop {
        tokio::select! {
            biased;
            () = interrupts.next() => {
                cancel.cancel();
                console.line("interrupted: the step in progress is ended");
            }
            Some(event) = events.next() => {
                if let Event::Step { .. } = event {
                    done += 1;
                    console.progress(format!("{done} steps"));
                }
            }
            report = &mut performed => break report,
        }
    };
    console.end_progress();
    report
}
