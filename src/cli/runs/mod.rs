//! `tenantry runs`: what runs did.

mod explain;
mod list;
mod replay;
mod resume;
mod show;
mod undo;

use std::sync::Arc;

use serde_json::json;
use tenantry::{HistoryError, Host};

use super::arguments::{Common, RunsArguments, RunsCommand};
use super::console::Console;
use super::exit::Exit;
use super::project::{self, Stopped};
use crate::report::Trouble;

pub(crate) async fn runs(console: &Arc<Console>, common: &Common, arguments: &RunsArguments) -> Exit {
    let done = match &arguments.command {
        RunsCommand::Explain(arguments) => explain::explain(console, common, arguments).await,
        RunsCommand::List(arguments) => list::list(console, common, arguments).await,
        RunsCommand::Replay { run } => replay::replay(console, common, run).await,
        RunsCommand::Resume(arguments) => resume::resume(console, common, arguments).await,
        RunsCommand::Undo(arguments) => undo::undo(console, common, arguments).await,
        RunsCommand::Show(arguments) => show::show(console, common, arguments).await,
    };
    done.unwrap_or_else(|(troubles, exit)| {
        if common.json {
            console.json(&json!({ "errors": troubles }));
        }
        console.troubles(troubles);
        exit
    })
}

fn host(common: &Common) -> Result<Host, Stopped> {
    project::host(common, |builder| builder).map(|(host, _)| host)
}

fn stopped(error: &HistoryError) -> Stopped {
    let trouble = Trouble::new(error.to_string());
    (vec![error.hint().into_iter().fold(trouble, Trouble::help)], Exit::Configuration)
}
