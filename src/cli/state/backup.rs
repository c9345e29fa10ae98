//! `tenantry state backup`: a copy that can take the state file's place.

use std::path::Path;

use serde_json::json;

use super::super::arguments::Common;
use super::super::console::Console;
use super::super::exit::Exit;
use super::super::project::Stopped;

pub(super) fn backup(console: &Console, common: &Common, file: &Path) -> Result<Exit, Stopped> {
    let state = super::open(common)?;
    console.progress("copying the state file".to_owned());
    let copied = state.backup(file);
    console.end_progress();
    let counts = copied.map_err(super::stopped)?;
    if common.json {
        console.json(&json!({ "version": super::VERSION, "file": file.display().to_string(), "counts": counts }));
    } else {
        console.told(&format!("{} has everything: {}", file.display(), super::contents(&counts)));
    }
    Ok(Exit::Success)
}
