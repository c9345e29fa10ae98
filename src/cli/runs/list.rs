//! `tenantry runs list`: a line for each run.

use serde_json::{Value, json};
use tenantry::{Figures, RunFilter, RunKind, RunSummary};

use super::super::arguments::{Common, RunsListArguments};
use super::super::console::Console;
use super::super::exit::Exit;
use super::super::project::Stopped;
use crate::report::{self, Trouble};

pub(super) async fn list(console: &Console, common: &Common, arguments: &RunsListArguments) -> Result<Exit, Stopped> {
    let host = super::host(common)?;
    let filter = RunFilter {
        customer: arguments.customer.clone(),
        playbook: arguments.playbook.clone(),
        // One more tells whether there are more.
        limit: Some(arguments.limit.saturating_add(1)),
        ..RunFilter::default()
    };
    let mut runs = host.runs(filter).await.map_err(|error| super::stopped(&error))?;
    let limit = usize::try_from(arguments.limit).unwrap_or(usize::MAX);
    let more = runs.len() > limit;
    runs.truncate(limit);
    if common.json {
        let runs: Vec<Value> = runs.iter().map(as_json).collect();
        console.json(&json!({ "version": report::VERSION, "runs": runs, "more": more }));
    } else if runs.is_empty() {
        console.told("there are no runs yet");
    } else {
        console.data(&table(&runs, console));
        if more {
            console.told(&format!("the latest {limit}; --limit shows more"));
        }
    }
    console.troubles(runs.iter().filter_map(damage));
    Ok(Exit::Success)
}

/// The columns, and in which order they are left out where there is no room.
const COLUMNS: [(&str, u8); 9] = [
    ("ID", 0),
    ("CUSTOMER", 0),
    ("PLAYBOOK", 3),
    ("TARGET", 5),
    ("STATUS", 0),
    ("BEGAN (UTC)", 2),
    ("TOOK", 4),
    ("WRITES", 6),
    ("CHANGES", 1),
];

fn table(runs: &[RunSummary], console: &Console) -> String {
    let length = runs.iter().map(|run| run.short.chars().count()).max().unwrap_or_default();
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|RunSummary { run, figures, .. }| {
            let opening = &run.opening;
            let figure = |told: &dyn Fn(&Figures) -> String| figures.as_ref().map_or_else(|_| "?".to_owned(), told);
            vec![
                opening.id.chars().take(length).collect(),
                opening.customer.clone(),
                match &opening.kind {
                    RunKind::Run => opening.playbook.clone(),
                    RunKind::Undo(of) => format!("undo of {}", of.chars().take(length).collect::<String>()),
                },
                opening.target.clone(),
                run.status.as_str().to_owned(),
                report::moment(run.began),
                figure(&|figures| report::span(figures.took)),
                figure(&|figures| figures.requests.writes.to_string()),
                figure(&|figures| report::changes(figures.changes.iter().copied())),
            ]
        })
        .collect();
    report::fitted(&COLUMNS, &rows, console.out(), console.width())
}

fn as_json(summary: &RunSummary) -> Value {
    let mut value = report::run_json(&summary.run, &summary.short);
    let figures = match &summary.figures {
        Ok(figures) => json!({
            "took_ms": report::milliseconds(figures.took),
            "processes": figures.processes,
            "reads": figures.requests.reads,
            "writes": figures.requests.writes,
            "probes": figures.requests.probes,
            "changes": figures.changes.len(),
            "unsettled": figures.unsettled,
            "damaged": null,
        }),
        Err(why) => json!({ "damaged": why }),
    };
    if let (Some(value), Value::Object(figures)) = (value.as_object_mut(), figures) {
        value.extend(figures);
    }
    value
}

/// A run whose journal cannot be read is told beside the table.
fn damage(summary: &RunSummary) -> Option<Trouble> {
    let why = summary.figures.as_ref().err()?;
    Some(
        Trouble::warning(why.clone())
            .help("`tenantry state check` looks at all of it; restore a backup if there is one"),
    )
}
