//! A partner's project: settings and customers, read with their places so that an error points at the line.

mod csv;
mod customer;
mod document;
mod input;
mod json;
mod open;
mod reader;
mod schema;
mod settings;
mod target;
mod yaml;

pub use customer::Customer;
pub use input::{InputError, Place, Problem};
pub use schema::Schema;
pub use settings::{Defaults, Project, RunLimits, SETTINGS_FILE};
pub use target::{Access, ClientCredentials, OrganizationTarget, PinnedTarget, SANDBOX, SourceTarget, Target};
