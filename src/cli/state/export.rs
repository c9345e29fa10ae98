//! `tenantry state export`: everything as lines of JSON.

use std::path::Path;

use serde_json::json;
use tenantry::Exported;

use super::super::arguments::Common;
use super::super::console::Console;
use super::super::exit::Exit;
use super::super::project::Stopped;
use crate::report::{Trouble, count};

pub(super) fn export(console: &Console, common: &Common, file: &Path) -> Result<Exit, Stopped> {
    let to_output = file == Path::new("-");
    if to_output && common.json {
        let trouble = Trouble::new("the export and its report cannot both go to standard output")
            .help("name a file, or leave out --json: an export is lines of JSON anyway");
        return Err((vec![trouble], Exit::Usage));
    }
    let state = super::open(common)?;
    console.progress("exporting the state".to_owned());
    let done = if to_output { state.export(std::io::stdout().lock()) } else { state.export_file(file) };
    console.end_progress();
    let exported = done.map_err(super::stopped)?;
    if common.json {
        console.json(&json!({
            "version": super::VERSION,
            "file": file.display().to_string(),
            "exported": exported,
        }));
    } else {
        let Exported { tenants, runs, entries, files } = exported;
        let (tenants, runs, files) = (count(tenants, "tenant"), count(runs, "run"), count(files, "file"));
        console.told(&format!("exported {tenants}, {runs} with {entries} entries, {files}"));
    }
    Ok(Exit::Success)
}
