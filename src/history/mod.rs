//! What runs did, read back from the journal: for a person who wants to see it, or to know why.

mod course;
mod error;
mod past;
mod summary;

pub use course::{Moment, PastEvent};
pub use error::HistoryError;
pub use past::{
    Accepted, Fate, History, PastLog, PastOperation, PastStep, Process, Settled, SourceLine, Tally, UsedFile,
};
pub use summary::{Figures, RunSummary};

pub(crate) use summary::{Shortener, summaries};
