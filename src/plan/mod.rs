//! What a plan is when it is kept: the writes it allows, by key, and what they stand on.

mod files;
mod guard;
mod saved;
mod symbols;

pub use files::{FileChange, file_changes};
pub use guard::{Guard, verdicts};
pub use saved::{Allowed, FORMAT, PlanFileError, Reading, SavedPlan};
pub use symbols::{Symbol, Symbols, chosen, words};
