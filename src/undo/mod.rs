//! Taking back what a run did: from its journal, in reverse.
//!
//! What was created is deleted, what was changed gets its former value, unless someone changed it since. What cannot be
//! taken back is named. Pure data from the journal on; nothing here performs anything.

mod known;
mod reversal;
mod values;

pub use reversal::{Form, NotReversible, Restored, Reversal, Standing, Way, reversals};
