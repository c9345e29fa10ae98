//! Deterministic simulation: what a playbook and the whole host under it do when things go wrong.
//!
//! A [`World`] is a simulated Qlik Cloud, a state file and a secret sink, all in memory, on a paused clock and with
//! seeded chance. Processes are born in it ([`World::process`]), run playbooks, and die where their [`Fate`] says:
//! from that moment on nothing they do has any effect, and what they were about to do is never done. The next process
//! in the same world finds what is left, as after a crash.
//!
//! A [`Plan`] says who runs what in a world and what goes wrong there; [`Storm::weather`] carries it out and holds the
//! end against what a run without faults comes to. The same plan comes to the same end, byte by byte, so a plan that
//! fails is its own reproduction, and [`Storm::shrink`] leaves only what it takes.
//!
//! Everything here runs on one thread, on a tokio runtime of the `current_thread` kind whose clock is paused
//! (`start_paused`, in tokio's feature `test-util`).

mod canonical;
mod case;
mod fate;
mod hearing;
mod ledger;
mod many;
mod oracle;
mod plan;
mod rehearsal;
mod storm;
mod world;

pub use canonical::Canonical;
pub use case::Case;
pub use fate::Fate;
pub use ledger::{Ledger, Told};
pub use many::{Draw, Failed, Many, Storms, Tally};
pub use oracle::Finding;
pub use plan::{Actor, Calm, Full, Harm, Life, Plan, PlanError};
pub use rehearsal::{Rehearsals, Rehearsed};
pub use storm::{Outcome, Storm, StormError};
pub use world::{Ended, Process, World, WorldSettings};
