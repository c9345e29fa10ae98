//! What outlives a run: the state file (registry of tenants, journal of runs, leases), and secrets with the keys made
//! from them.
//!
//! Everything here is durable before it is answered: written, synced, renamed into place and the folder synced.

mod care;
mod certificate;
mod commit;
mod durable;
mod fingerprint;
mod format;
mod journal;
mod keys;
mod lease;
mod pack;
mod registry;
mod seal;
mod shared;
mod source;
mod state;
mod totals;
mod vault;
mod wal;

pub(crate) use durable::private_folder;
pub(crate) use journal::content_digest;
pub(crate) use registry::unsettled_hint;
pub(crate) use source::blocking;
pub(crate) use vault::plain_name;

pub use care::{CareError, Counts, Exported, Finding, Gravity, Health, Imported, Prunable, PrunableRun, Retention};
pub use commit::{CommitHook, Verdict};
pub use fingerprint::Fingerprints;
pub use format::FORMAT;
pub use journal::{
    Ending, Entry, Journal, JournalError, Logged, Mentions, Opening, RunFilter, RunKind, RunLog, RunRecord, RunState,
};
pub use keys::{KeyPair, KeySize, Keys};
pub use lease::{Held, Lease, LeaseError, Leases};
pub use registry::{Intent, Registry, RegistryError, Tenant};
pub use shared::SharedSink;
pub use source::{CommandLimits, Environment, SecretSource};
pub use state::{State, StateError};
pub use vault::{Sink, Vault, VaultError};
