//! `tenantry sandbox snapshot`: a copy of a sandbox's state, from which a sandbox can go on.

use std::path::Path;

use serde_json::json;
use tenantry::sandbox::State;

use super::super::arguments::Common;
use super::super::console::Console;
use super::super::exit::Exit;
use super::super::project::{self, Stopped};

pub(super) fn snapshot(console: &Console, common: &Common, file: &Path, state: Option<&Path>) -> Result<Exit, Stopped> {
    let from = super::file(&project::find(common)?, state);
    let state = State::load(&from).map_err(super::stopped)?;
    state.save(file).map_err(super::stopped)?;
    let tenants = state.tenants().len();
    if common.json {
        console.json(&json!({
            "version": super::VERSION, "state": from.display().to_string(), "file": file.display().to_string(),
            "tenants": tenants,
        }));
    } else {
        let tenants = crate::report::count(tenants as u64, "tenant");
        console.told(&format!(
            "{} has {tenants} of {}: `tenantry sandbox --state` goes on from it",
            file.display(),
            from.display()
        ));
    }
    Ok(Exit::Success)
}
