//! `tenantry sandbox`: a simulated Qlik Cloud over HTTP, and what is done with the states it leaves.

mod diff;
mod record;
mod reset;
mod serve;
mod snapshot;

use std::path::{Path, PathBuf};

use serde_json::json;
use tenantry::{Project, SandboxError};

use super::arguments::{Common, SandboxArguments, SandboxCommand};
use super::console::Console;
use super::exit::Exit;
use super::project::Stopped;
use crate::report::Trouble;

/// The version of what `--json` prints: raised when a reader must change.
const VERSION: u32 = 1;

pub(crate) async fn sandbox(console: &Console, common: &Common, arguments: &SandboxArguments) -> Exit {
    let done = match &arguments.command {
        None => return serve::serve(console, common, arguments).await,
        Some(SandboxCommand::Diff { before, after }) => diff::diff(console, common, before, after),
        Some(SandboxCommand::Record(arguments)) => record::record(console, common, arguments).await,
        Some(SandboxCommand::Reset(arguments)) => reset::reset(console, common, arguments),
        Some(SandboxCommand::Snapshot { file, state }) => snapshot::snapshot(console, common, file, state.as_deref()),
    };
    done.unwrap_or_else(|(troubles, exit)| {
        if common.json {
            console.json(&json!({ "errors": troubles }));
        }
        console.troubles(troubles);
        exit
    })
}

fn unusable(error: &SandboxError) -> Trouble {
    Trouble::new(error.to_string()).help(error.hint())
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn stopped(error: SandboxError) -> Stopped {
    (vec![unusable(&error)], Exit::Configuration)
}

/// The file that is meant: the one that is named, else that of the project's embedded sandbox.
fn file(project: &Project, named: Option<&Path>) -> PathBuf {
    named.map_or_else(|| project.state_folder().join(tenantry::sandbox::STATE_FILE), Path::to_owned)
}
