//! What people see: steps, errors and tables as text for a terminal.

mod explain_json;
mod explain_text;
mod page;
mod place;
mod plan_field;
mod plan_html;
mod plan_notes;
mod plan_shape;
mod plan_text;
mod run_html;
mod run_json;
mod run_text;
mod step;
mod style;
mod table;
mod text;
mod time;
mod trouble;
mod undo;

pub(crate) use explain_json::{explained_json, object_json};
pub(crate) use explain_text::{explained_text, objects_table};
pub(crate) use plan_html::plans_html;
pub(crate) use plan_shape::shapes;
pub(crate) use plan_text::{Look, plans_text};
pub(crate) use run_html::run_html;
pub(crate) use run_json::{VERSION, history_json, milliseconds, run_json};
pub(crate) use run_text::run_text;
pub(crate) use step::{fields, step};
pub(crate) use style::{Paint, Style};
pub(crate) use table::{changes, fitted, table};
pub(crate) use text::{clean_line, count, size};
pub(crate) use time::{moment, span};
pub(crate) use trouble::Trouble;
pub(crate) use undo::{undo_steps, undo_sum};
