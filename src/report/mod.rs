//! What people see: steps, errors and tables as text for a terminal.

mod run_json;
mod step;
mod style;
mod table;
mod text;
mod time;
mod trouble;
mod undo;

pub(crate) use run_json::{milliseconds, run_json};
pub(crate) use step::{fields, step};
pub(crate) use style::{Paint, Style};
pub(crate) use table::{changes, fitted, table};
pub(crate) use text::clean_line;
pub(crate) use time::{moment, span};
pub(crate) use trouble::Trouble;
pub(crate) use undo::{undo_steps, undo_sum};
