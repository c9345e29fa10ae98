use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use secrecy::{ExposeSecret as _, SecretString};

use super::{CommitHook, Verdict};

/// A sink for secrets in memory that outlives the vaults on it: what a folder is to processes, for simulations of them.
///
/// A cheap handle; clones are the same sink.
#[derive(Clone, Default)]
pub struct SharedSink {
    texts: Arc<Mutex<BTreeMap<String, SecretString>>>,
    hook: Option<Arc<dyn CommitHook>>,
}

impl SharedSink {
    /// The same sink as another process sees it, with `hook` around what it writes.
    #[must_use]
    pub fn as_process(&self, hook: Arc<dyn CommitHook>) -> Self {
        Self { texts: Arc::clone(&self.texts), hook: Some(hook) }
    }

    /// The private keys in it, in a sink of their own.
    #[must_use]
    pub fn private_keys(&self) -> Self {
        let texts =
            self.texts().iter().filter(|(name, _)| is_private_key(name)).map(|(n, t)| (n.clone(), t.clone())).collect();
        Self { texts: Arc::new(Mutex::new(texts)), hook: None }
    }

    /// The same secrets in a sink of their own.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self { texts: Arc::new(Mutex::new(self.texts().clone())), hook: None }
    }

    /// A piece of each private key by which it is recognized where it should not be: one of its primes, since the modulus
    /// that it begins with is public.
    #[must_use]
    pub fn recognizable(&self) -> Vec<String> {
        let texts = self.texts();
        let middle = |text: &SecretString| text.expose_secret().lines().nth(15).map(str::to_owned);
        texts.iter().filter(|(name, _)| is_private_key(name)).filter_map(|(_, text)| middle(text)).collect()
    }

    /// Whether one of the secrets has this text.
    #[must_use]
    pub fn holds(&self, text: &str) -> bool {
        self.texts().values().any(|held| held.expose_secret() == text)
    }

    pub(super) fn get(&self, name: &str) -> Option<SecretString> {
        self.texts().get(name).cloned()
    }

    /// Keeps a text in place of one of the same name.
    pub(super) fn put(&self, name: &str, text: SecretString) -> io::Result<()> {
        self.write(|texts| drop(texts.insert(name.to_owned(), text)))
    }

    /// Keeps a text unless one of the same name is there; whether it was kept.
    pub(super) fn put_new(&self, name: &str, text: SecretString) -> io::Result<bool> {
        self.write(|texts| {
            let vacant = !texts.contains_key(name);
            texts.entry(name.to_owned()).or_insert(text);
            vacant
        })
    }

    fn write<T>(&self, work: impl FnOnce(&mut BTreeMap<String, SecretString>) -> T) -> io::Result<T> {
        let heeded = |verdict| match verdict {
            Verdict::Go => Ok(()),
            Verdict::Full => Err(io::Error::from(io::ErrorKind::StorageFull)),
            Verdict::Dead => Err(io::Error::other("the process has died")),
        };
        let hook = self.hook.as_deref();
        hook.map_or(Ok(()), |hook| heeded(hook.before()))?;
        let done = work(&mut self.texts());
        match hook.map(CommitHook::after) {
            Some(Verdict::Dead) => heeded(Verdict::Dead).map(|()| done),
            _ => Ok(done),
        }
    }

    fn texts(&self) -> MutexGuard<'_, BTreeMap<String, SecretString>> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a secret of this name is the private half of a key pair.
fn is_private_key(name: &str) -> bool {
    name.strip_prefix("keys/").and_then(|name| name.strip_suffix(".key")).is_some()
}

impl fmt::Debug for SharedSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.texts().keys()).finish()
    }
}
