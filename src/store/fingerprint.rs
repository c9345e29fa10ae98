use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use tokio::sync::OnceCell;

use super::{Vault, VaultError};
use crate::operation::hex;
use crate::surroundings::Random;

/// The secret that keys fingerprints. No playbook can name it.
const KEY: &str = "journal/fingerprint-key";

/// Fingerprints of secrets, by which a record tells whether a secret is still the one it was, and gives nothing away.
///
/// They are keyed (HMAC-SHA256) with a secret of the project's own, made at first use in the secret sink
/// (`.tenantry/secrets/journal+fingerprint-key`): without it nobody can try out guesses.
#[derive(Clone, Debug)]
pub struct Fingerprints {
    vault: Vault,
    random: Random,
    key: Arc<OnceCell<SecretString>>,
}

impl Fingerprints {
    /// Fingerprints of the secrets in `vault`.
    #[must_use]
    pub fn new(vault: Vault, random: Random) -> Self {
        Self { vault, random, key: Arc::default() }
    }

    /// The fingerprint of the secret called `name`.
    ///
    /// # Errors
    /// When the secret cannot be read, or the key neither read nor made.
    pub async fn of(&self, name: &str) -> Result<String, VaultError> {
        let text = self.vault.text(name).await?;
        let key = self.key.get_or_try_init(|| self.find_or_make()).await?;
        // A key of any length is taken.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose_secret().as_bytes()) else {
            return Err(VaultError::Key { name: KEY.to_owned(), why: "it cannot be used".to_owned() });
        };
        mac.update(text.expose_secret().as_bytes());
        Ok(hex(&mac.finalize().into_bytes()[..16]))
    }

    async fn find_or_make(&self) -> Result<SecretString, VaultError> {
        match self.vault.text(KEY).await {
            Err(VaultError::Unknown { .. }) => {}
            found => return found,
        }
        let mut bytes = [0; 32];
        self.random.fill(&mut bytes);
        // Another process may have made one at the same time; then that one is taken.
        self.vault.store_new(KEY, hex(&bytes).into()).await?;
        self.vault.text(KEY).await
    }
}
