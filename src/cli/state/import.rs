//! `tenantry state import`: what an export holds is entered here.

use std::path::Path;

use serde_json::json;
use tenantry::Imported;

use super::super::arguments::Common;
use super::super::console::Console;
use super::super::exit::Exit;
use super::super::project::{self, Stopped};
use crate::report::count;

pub(super) fn import(console: &Console, common: &Common, file: &Path) -> Result<Exit, Stopped> {
    // The first thing that a project on a new machine has may be this.
    let state = super::open_file(&project::find(common)?.state_file())?;
    console.progress("importing the state".to_owned());
    let done = state.import(file);
    console.end_progress();
    let imported = done.map_err(super::stopped)?;
    if common.json {
        console.json(&json!({
            "version": super::VERSION,
            "file": file.display().to_string(),
            "imported": imported,
        }));
    } else {
        let Imported { tenants, runs, known } = imported;
        let (tenants, runs) = (count(tenants, "tenant"), count(runs, "run"));
        console.told(&format!("entered {tenants} and {runs}; {known} of both were here already"));
    }
    Ok(Exit::Success)
}
