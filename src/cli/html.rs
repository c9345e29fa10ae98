//! Pages for who would rather look than read a terminal.

use std::path::Path;

use super::exit::Exit;
use super::project::Stopped;
use crate::report::Trouble;

/// The page that was made.
pub(super) fn made(page: Result<String, minijinja::Error>) -> Result<String, Stopped> {
    page.map_err(|error| {
        let trouble = Trouble::new(format!("the page cannot be made: {error}")).help("please report it");
        (vec![trouble], Exit::Internal)
    })
}

/// Writes the page that was made into this file.
pub(super) fn write(file: &Path, page: Result<String, minijinja::Error>) -> Result<(), Stopped> {
    std::fs::write(file, made(page)?).map_err(|error| {
        let trouble = Trouble::new(format!("the page {} cannot be written: {error}", file.display()));
        (vec![trouble], Exit::Configuration)
    })
}
