//! What outlives a run: the registry of tenants, and secrets with the keys made from them.
//!
//! Everything here is durable before it is answered: written, synced, renamed into place and the folder synced.

mod certificate;
mod commit;
mod durable;
mod keys;
mod registry;
mod source;
mod vault;

pub(crate) use registry::unsettled_hint;
pub(crate) use source::blocking;
pub(crate) use vault::plain_name;

pub use keys::{KeyPair, KeySize, Keys};
pub use registry::{FORMAT, Intent, Registry, RegistryError, Tenant};
pub use source::{CommandLimits, Environment, SecretSource};
pub use vault::{Sink, Vault, VaultError};
