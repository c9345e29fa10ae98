//! `tenantry state check`: whether the state file is as it was written, and what somebody should find out.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tenantry::surroundings::SystemClock;
use tenantry::{Finding, Gravity, Health, State};

use super::super::arguments::Common;
use super::super::console::Console;
use super::super::exit::Exit;
use super::super::project::Stopped;
use crate::report::{self, Trouble};

pub(super) fn check(console: &Console, common: &Common) -> Result<Exit, Stopped> {
    let path = super::file(common)?;
    console.progress("looking the state file over".to_owned());
    let looked = State::check_file(&path, Arc::new(SystemClock::default()));
    console.end_progress();
    let health = looked.map_err(|error| super::stopped(error.into()))?;
    if common.json {
        console.json(&as_json(&path, &health));
    } else {
        console.data(&summary(&path, &health));
        let notes = health.findings.iter().filter(|finding| finding.gravity() == Gravity::Note);
        notes.for_each(|note| console.data(&told(note)));
    }
    console.troubles(health.findings.iter().filter_map(trouble));
    Ok(if health.is_whole() { Exit::Success } else { Exit::Failed })
}

fn summary(path: &Path, health: &Health) -> String {
    let state = if health.is_whole() { "as it was written" } else { "DAMAGED" };
    let counts = health.counts.as_ref().map(|counts| format!(": {}", super::contents(counts)));
    format!("{} is {state}{}", path.display(), counts.unwrap_or_default())
}

fn told(note: &Finding) -> String {
    let hint = note.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
    report::clean_line(&format!("note: {}{hint}", note.message()))
}

fn trouble(finding: &Finding) -> Option<Trouble> {
    let trouble = match finding.gravity() {
        Gravity::Damage => Trouble::new(finding.message()),
        Gravity::Open => Trouble::warning(finding.message()),
        Gravity::Note => return None,
    };
    Some(finding.hint().into_iter().fold(trouble, Trouble::help))
}

fn as_json(path: &Path, health: &Health) -> Value {
    let findings = health.findings.iter().map(|finding| {
        let mut value = serde_json::to_value(finding).unwrap_or_default();
        value["gravity"] = json!(finding.gravity());
        value["message"] = json!(finding.message());
        value["hint"] = json!(finding.hint());
        value
    });
    json!({
        "version": super::VERSION,
        "file": path.display().to_string(),
        "whole": health.is_whole(),
        "counts": health.counts,
        "findings": findings.collect::<Vec<_>>(),
    })
}
