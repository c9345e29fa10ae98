//! `tenantry runs show`: what one run did.

use std::path::Path;

use tenantry::History;

use super::super::arguments::{Common, RunsShowArguments};
use super::super::console::Console;
use super::super::exit::Exit;
use super::super::html;
use super::super::project::Stopped;
use crate::report;

pub(super) async fn show(console: &Console, common: &Common, arguments: &RunsShowArguments) -> Result<Exit, Stopped> {
    let host = super::host(common)?;
    let history = host.history(&arguments.run).await.map_err(|error| super::stopped(&error))?;
    match &arguments.html {
        Some(file) => page(console, &history, file.as_deref())?,
        None if common.json => console.json(&report::history_json(&history)),
        None => console.data(&report::run_text(&history, console.verbose(), console.out())),
    }
    Ok(Exit::Success)
}

fn page(console: &Console, history: &History, file: Option<&Path>) -> Result<(), Stopped> {
    let page = report::run_html(history);
    match file {
        None => console.data(html::made(page)?.trim_end()),
        Some(file) => {
            html::write(file, page)?;
            console.told(&format!("{} shows run {}", file.display(), history.short));
        }
    }
    Ok(())
}
