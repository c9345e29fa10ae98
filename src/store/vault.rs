use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::OnceCell;

use super::source::blocking;
use super::{CommandLimits, Environment, SecretSource, SharedSink, durable};
use crate::operation::secret::SecretStore;
use crate::operation::{Failure, FailureKind};

/// Secrets by name: read from their sources, made during a run into the sink, or found in answers and kept only in memory.
///
/// A source is read once per process. Nothing here prints a secret's text.
#[derive(Clone)]
pub struct Vault(Arc<Inner>);

struct Inner {
    environment: Arc<dyn Environment>,
    limits: CommandLimits,
    sources: RwLock<BTreeMap<String, Arc<Entry>>>,
    kept: RwLock<HashMap<String, SecretString>>,
    sink: Sink,
}

struct Entry {
    source: SecretSource,
    text: OnceCell<SecretString>,
}

/// Where secrets that are made during a run go.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Sink {
    /// A folder of files that only their owner may read; normally `.tenantry/secrets`.
    Folder(PathBuf),
    /// Nowhere: they live as long as the vault.
    Memory,
    /// Into memory that several vaults share, one after the other or side by side.
    Shared(SharedSink),
    /// Into memory, over another vault that is read and left as it is.
    Over(Vault),
}

/// A secret cannot be had or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// No source, no made secret and no kept one has this name.
    #[error("there is no secret called `{name}`")]
    Unknown {
        /// The name asked for.
        name: String,
        /// A known name that is almost the same.
        nearest: Option<String>,
    },
    /// The name cannot be a secret's.
    #[error("`{name}` cannot be the name of a secret or key")]
    Name {
        /// The name.
        name: String,
    },
    /// Its environment variable is not set.
    #[error("secret `{name}`: environment variable {variable} is not set")]
    Unset {
        /// The secret's name.
        name: String,
        /// The variable.
        variable: String,
    },
    /// Its source gave nothing.
    #[error("secret `{name}`: {origin} is empty")]
    Empty {
        /// The secret's name.
        name: String,
        /// The source.
        origin: String,
    },
    /// Its source gave too much.
    #[error("secret `{name}`: {origin} gives more than {most} bytes")]
    TooLarge {
        /// The secret's name.
        name: String,
        /// The source.
        origin: String,
        /// The most that is read.
        most: u64,
    },
    /// Its source gave something else than UTF-8 text.
    #[error("secret `{name}`: {origin} does not give UTF-8 text")]
    NotText {
        /// The secret's name.
        name: String,
        /// The source.
        origin: String,
    },
    /// Its file cannot be read.
    #[error("secret `{name}`: cannot read {}: {source}", path.display())]
    File {
        /// The secret's name.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its command failed.
    #[error("secret `{name}`: command `{program}` {why}")]
    Command {
        /// The secret's name.
        name: String,
        /// The program.
        program: String,
        /// What it did.
        why: String,
    },
    /// Its command took too long and was killed.
    #[error("secret `{name}`: command `{program}` did not end within {limit:?}")]
    TimedOut {
        /// The secret's name.
        name: String,
        /// The program.
        program: String,
        /// How long it had.
        limit: Duration,
    },
    /// The sink cannot be written or read.
    #[error("secret `{name}`: cannot keep it in {}: {source}", path.display())]
    Sink {
        /// The secret's name.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The stored key pair cannot be used.
    #[error("key `{name}`: {why}")]
    Key {
        /// The key's name.
        name: String,
        /// Why.
        why: String,
    },
}

impl VaultError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unknown { nearest: Some(nearest), .. } => format!("did you mean `{nearest}`?"),
            Self::Unknown { name, .. } if plain_name(name) => {
                format!("name its source in tenantry.toml: [secrets] {name} = {{ env = \"NAME\" }}")
            }
            Self::Name { .. } => "use letters, digits, `.`, `_` and `-`, at most 64".to_owned(),
            Self::Unset { variable, .. } => format!("set {variable}, or change the secret's source in tenantry.toml"),
            Self::TimedOut { .. } => {
                "secret commands cannot ask anything: sign in beforehand, or give them what they need".to_owned()
            }
            Self::Key { .. } => "move the key's files away from the secret sink to have a new pair made".to_owned(),
            _ => return None,
        })
    }
}

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        let failure = Self::new(FailureKind::Denied, "tenantry/secret", error.to_string());
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// Whether a playbook or a settings file may use this as the name of a secret or key. Names that the program makes by
/// itself contain a `/` and so never meet these.
#[must_use]
pub(crate) fn plain_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

impl Vault {
    /// A vault without named sources.
    #[must_use]
    pub fn new(environment: Arc<dyn Environment>, sink: Sink, limits: CommandLimits) -> Self {
        Self(Arc::new(Inner { environment, limits, sources: RwLock::default(), kept: RwLock::default(), sink }))
    }

    /// A vault that reads and writes nothing outside this process: for tests and embedders with their own store.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new(Arc::new(BTreeMap::new()), Sink::Memory, CommandLimits::default())
    }

    /// A vault over this one: what is kept or made there stays in its memory, everything else is read from here.
    #[must_use]
    pub fn over(&self) -> Self {
        Self::new(Arc::clone(&self.0.environment), Sink::Over(self.clone()), self.0.limits)
    }

    /// The text of a secret that was kept in this vault's memory.
    pub(crate) fn kept(&self, name: &str) -> Option<SecretString> {
        self.0.kept.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Gives the secret called `name` a source, in place of the one it had.
    pub fn add(&self, name: impl Into<String>, source: SecretSource) {
        let entry = Arc::new(Entry { source, text: OnceCell::new() });
        self.0.sources.write().unwrap_or_else(PoisonError::into_inner).insert(name.into(), entry);
    }

    /// The text of the secret called `name`.
    ///
    /// # Errors
    /// When there is none, or its source cannot be read. A later read tries again.
    pub async fn text(&self, name: &str) -> Result<SecretString, VaultError> {
        if let Some(text) = self.kept(name) {
            return Ok(text);
        }
        let entry = self.0.sources.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(entry) = entry {
            let read = || entry.source.read(name, &*self.0.environment, self.0.limits);
            return entry.text.get_or_try_init(read).await.cloned();
        }
        match self.made(name).await? {
            Some(text) => Ok(text),
            None => Err(VaultError::Unknown { name: name.to_owned(), nearest: self.nearest(name) }),
        }
    }

    /// The text of a secret that an earlier run made into the sink.
    pub(crate) async fn made(&self, name: &str) -> Result<Option<SecretString>, VaultError> {
        let folder = match &self.0.sink {
            Sink::Folder(folder) => folder,
            Sink::Memory => return Ok(None),
            Sink::Shared(shared) => return Ok(shared.get(name)),
            Sink::Over(lower) => {
                return match Box::pin(lower.text(name)).await {
                    Ok(text) => Ok(Some(text)),
                    Err(VaultError::Unknown { .. }) => Ok(None),
                    Err(error) => Err(error),
                };
            }
        };
        let path = folder.join(file_name(name));
        let name = name.to_owned();
        blocking(move || read_made(&path).map_err(|source| VaultError::Sink { name, path, source })).await
    }

    /// Does work that takes long where it holds up nobody; in a simulation at once, so that no thread decides the order.
    pub(super) async fn off_thread<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        if matches!(self.0.sink, Sink::Shared(_)) { work() } else { blocking(work).await }
    }

    /// Makes a secret durable in the sink, in place of one of the same name.
    ///
    /// # Errors
    /// When the sink cannot be written.
    pub async fn store(&self, name: &str, text: SecretString) -> Result<(), VaultError> {
        if let Sink::Shared(shared) = &self.0.sink {
            return shared.put(name, text).map_err(|source| unshared(name, source));
        }
        self.write(name, text, |path, bytes| durable::replace(path, bytes).map(|()| true)).await.map(|_| ())
    }

    /// Makes a secret durable in the sink unless one of the same name is there: then `false`, and that one stays.
    ///
    /// # Errors
    /// When the sink cannot be written.
    pub async fn store_new(&self, name: &str, text: SecretString) -> Result<bool, VaultError> {
        if let Sink::Over(_) = &self.0.sink
            && self.made(name).await?.is_some()
        {
            return Ok(false);
        }
        if matches!(self.0.sink, Sink::Memory | Sink::Over(_)) {
            let mut kept = self.0.kept.write().unwrap_or_else(PoisonError::into_inner);
            let vacant = !kept.contains_key(name);
            kept.entry(name.to_owned()).or_insert(text);
            return Ok(vacant);
        }
        if let Sink::Shared(shared) = &self.0.sink {
            return shared.put_new(name, text).map_err(|source| unshared(name, source));
        }
        self.write(name, text, durable::create_new).await
    }

    async fn write(
        &self,
        name: &str,
        text: SecretString,
        write: fn(&Path, &[u8]) -> io::Result<bool>,
    ) -> Result<bool, VaultError> {
        let Sink::Folder(folder) = &self.0.sink else {
            self.keep(name, text);
            return Ok(true);
        };
        let (folder, path, name) = (folder.clone(), folder.join(file_name(name)), name.to_owned());
        blocking(move || {
            durable::private_folder(&folder)
                .and_then(|()| keep_out_of_git(&folder))
                .and_then(|()| write(&path, text.expose_secret().as_bytes()))
                .map_err(|source| VaultError::Sink { name, path, source })
        })
        .await
    }

    fn nearest(&self, name: &str) -> Option<String> {
        if let Sink::Over(lower) = &self.0.sink {
            return lower.nearest(name);
        }
        let sources = self.0.sources.read().unwrap_or_else(PoisonError::into_inner);
        crate::suggest::nearest(name, sources.keys().map(String::as_str).filter(|name| plain_name(name)))
            .map(str::to_owned)
    }
}

fn unshared(name: &str, source: io::Error) -> VaultError {
    VaultError::Sink { name: name.to_owned(), path: PathBuf::from(":memory:"), source }
}

/// Made secrets must not slip into the project's repository.
fn keep_out_of_git(folder: &Path) -> io::Result<()> {
    let ignore = folder.join(".gitignore");
    if !ignore.exists() {
        durable::create_new(&ignore, b"*\n")?;
    }
    Ok(())
}

fn read_made(path: &Path) -> io::Result<Option<SecretString>> {
    let mut text = String::new();
    match std::fs::File::open(path) {
        Ok(file) => file.take(1024 * 1024).read_to_string(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(text.into()))
}

/// A file name for any secret name: no two names share one, on file systems that ignore case either.
fn file_name(name: &str) -> String {
    use std::fmt::Write as _;
    let mut file = String::new();
    for (place, byte) in name.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => file.push(char::from(byte)),
            b'.' if place > 0 => file.push('.'),
            b'/' => file.push('+'),
            _ => {
                let _ = write!(file, "%{byte:02x}");
            }
        }
    }
    file
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = self.0.sources.read().unwrap_or_else(PoisonError::into_inner);
        let sources: BTreeMap<&String, &SecretSource> =
            sources.iter().map(|(name, entry)| (name, &entry.source)).collect();
        f.debug_struct("Vault").field("sources", &sources).field("sink", &self.0.sink).finish_non_exhaustive()
    }
}

impl SecretStore for Vault {
    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<SecretString, Failure>> {
        async move { Ok(self.text(name).await?) }.boxed()
    }

    fn keep(&self, name: &str, text: SecretString) {
        self.0.kept.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), text);
    }

    fn keep_for_good<'a>(&'a self, name: &'a str, text: SecretString) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            self.keep(name, text.clone());
            Ok(self.store(name, text).await?)
        }
        .boxed()
    }
}
