//! `tenantry state`: looking after the state file.

mod backup;
mod check;
mod export;
mod import;
mod prune;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use tenantry::surroundings::SystemClock;
use tenantry::{CareError, Counts, State};

use super::arguments::{Common, StateArguments, StateCommand};
use super::console::Console;
use super::exit::Exit;
use super::project::{self, Stopped};
use crate::report::{self, Trouble, count};

/// The version of what `--json` prints: raised when a reader must change.
const VERSION: u32 = 1;

pub(crate) fn state(console: &Console, common: &Common, arguments: &StateArguments) -> Exit {
    let done = match &arguments.command {
        StateCommand::Backup { file } => backup::backup(console, common, file),
        StateCommand::Check => check::check(console, common),
        StateCommand::Export { file } => export::export(console, common, file),
        StateCommand::Import { file } => import::import(console, common, file),
        StateCommand::Prune(arguments) => prune::prune(console, common, arguments),
    };
    done.unwrap_or_else(|(troubles, exit)| {
        if common.json {
            console.json(&json!({ "errors": troubles }));
        }
        console.troubles(troubles);
        exit
    })
}

/// The project's state file, which is there.
fn file(common: &Common) -> Result<PathBuf, Stopped> {
    let path = project::find(common)?.state_file();
    if path.exists() {
        return Ok(path);
    }
    let trouble = Trouble::new(format!("there is no state file {}", path.display()))
        .help("the first run in a project makes it; --project names another project");
    Err((vec![trouble], Exit::Configuration))
}

/// The project's state, opened.
fn open(common: &Common) -> Result<State, Stopped> {
    open_file(&file(common)?)
}

fn open_file(path: &Path) -> Result<State, Stopped> {
    State::open(path, Arc::new(SystemClock::default())).map_err(|error| stopped(error.into()))
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn stopped(error: CareError) -> Stopped {
    let mut trouble = Trouble::new(error.to_string());
    if let CareError::Conflicts { what } = &error {
        trouble = what.iter().fold(trouble, |trouble, what| trouble.note("here", what));
    }
    (vec![error.hint().into_iter().fold(trouble, Trouble::help)], Exit::Configuration)
}

/// What a state holds, in a few words.
fn contents(counts: &Counts) -> String {
    format!(
        "{}, {} with {} entries, {}, {}",
        count(counts.tenants, "tenant"),
        count(counts.runs, "run"),
        counts.entries,
        count(counts.files, "file"),
        report::size(counts.bytes)
    )
}
