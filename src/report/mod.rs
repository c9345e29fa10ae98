//! What people see: steps, errors and tables as text for a terminal.

mod step;
mod style;
mod table;
mod text;
mod trouble;

pub(crate) use step::{fields, step};
pub(crate) use style::{Paint, Style};
pub(crate) use table::{changes, table};
pub(crate) use text::clean_line;
pub(crate) use trouble::Trouble;
