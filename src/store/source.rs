use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use secrecy::{SecretString, zeroize::Zeroize as _};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::VaultError;

/// More than this is no secret but a mistake.
const MOST_BYTES: u64 = 64 * 1024;

/// The environment variables of whoever runs tenantry. The library never reads them by itself.
pub trait Environment: Send + Sync {
    /// The value of a variable, when it is set.
    fn variable(&self, name: &str) -> Option<String>;
}

impl Environment for BTreeMap<String, String> {
    fn variable(&self, name: &str) -> Option<String> {
        self.get(name).cloned()
    }
}

/// Where the text of a secret comes from.
#[derive(Clone)]
#[non_exhaustive]
pub enum SecretSource {
    /// An environment variable.
    Env(String),
    /// A file; one line end at its end is left out.
    File(PathBuf),
    /// What a program writes to its standard output; one line end at its end is left out. No shell is involved.
    Command {
        /// The program and its arguments.
        arguments: Vec<String>,
        /// The folder it runs in.
        folder: PathBuf,
    },
    /// The text itself, for embedders that keep secrets their own way.
    Literal(SecretString),
}

impl SecretSource {
    /// The text itself.
    #[must_use]
    pub fn literal(text: impl Into<String>) -> Self {
        Self::Literal(SecretString::from(text.into()))
    }
}

/// Names the place, never the text. Arguments of a command stay out too: people put tokens there.
impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(variable) => write!(f, "environment variable {variable}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Command { arguments, .. } => {
                write!(f, "command `{}`", arguments.first().map_or("", String::as_str))
            }
            Self::Literal(_) => f.write_str("a given text"),
        }
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How long a secret command may take.
#[derive(Clone, Copy, Debug)]
pub struct CommandLimits {
    /// After this it is killed.
    pub time: Duration,
}

impl Default for CommandLimits {
    fn default() -> Self {
        Self { time: Duration::from_secs(30) }
    }
}

impl SecretSource {
    /// Reads the secret called `name`.
    pub(super) async fn read(
        &self,
        name: &str,
        environment: &dyn Environment,
        limits: CommandLimits,
    ) -> Result<SecretString, VaultError> {
        let text = match self {
            Self::Literal(text) => return Ok(text.clone()),
            Self::Env(variable) => environment
                .variable(variable)
                .ok_or_else(|| VaultError::Unset { name: name.to_owned(), variable: variable.clone() })?,
            Self::File(path) => {
                let (path, owner) = (path.clone(), name.to_owned());
                let bytes = blocking(move || read_file(&owner, &path)).await?;
                self.text(name, bytes)?
            }
            Self::Command { arguments, folder } => {
                let bytes = run(name, arguments, folder, limits).await?;
                self.text(name, bytes)?
            }
        };
        if text.is_empty() {
            return Err(VaultError::Empty { name: name.to_owned(), origin: self.to_string() });
        }
        Ok(text.into())
    }

    fn text(&self, name: &str, bytes: Vec<u8>) -> Result<String, VaultError> {
        if bytes.len() as u64 > MOST_BYTES {
            return Err(VaultError::TooLarge { name: name.to_owned(), origin: self.to_string(), most: MOST_BYTES });
        }
        let mut text = String::from_utf8(bytes).map_err(|error| {
            error.into_bytes().zeroize();
            VaultError::NotText { name: name.to_owned(), origin: self.to_string() }
        })?;
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Ok(text)
    }
}

fn read_file(name: &str, path: &Path) -> Result<Vec<u8>, VaultError> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|source| VaultError::File { name: name.to_owned(), path: path.to_owned(), source })?;
    Ok(bytes)
}

async fn run(name: &str, arguments: &[String], folder: &Path, limits: CommandLimits) -> Result<Vec<u8>, VaultError> {
    let (program, rest) = arguments.split_first().ok_or_else(|| VaultError::Command {
        name: name.to_owned(),
        program: String::new(),
        why: "no program".into(),
    })?;
    let failed = |why: String| VaultError::Command { name: name.to_owned(), program: program.clone(), why };
    // A path is meant from the project's folder; a bare name is looked up where programs are.
    let located = if program.contains(std::path::MAIN_SEPARATOR) { folder.join(program) } else { program.into() };
    let mut child = tokio::process::Command::new(located)
        .args(rest)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(format!("cannot be started: {error}")))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let finished = async {
        let (output, complaint) = tokio::join!(read_capped(stdout, MOST_BYTES + 1), read_capped(stderr, 4096));
        // The rest of a too long answer is nobody's: leaving the pipes lets the program end.
        let status = if output.len() as u64 > MOST_BYTES { None } else { Some(child.wait().await) };
        (output, complaint, status)
    };
    let Ok((output, complaint, status)) = tokio::time::timeout(limits.time, finished).await else {
        return Err(VaultError::TimedOut { name: name.to_owned(), program: program.clone(), limit: limits.time });
    };
    match status {
        None => Ok(output),
        Some(Ok(status)) if status.success() => Ok(output),
        Some(Ok(status)) => {
            let complaint = String::from_utf8_lossy(&complaint);
            let line = complaint.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
            let line: String = line.chars().filter(|char| !char.is_control()).take(200).collect();
            Err(failed(if line.is_empty() {
                format!("ended with {status}")
            } else {
                format!("ended with {status}: {line}")
            }))
        }
        Some(Err(error)) => Err(failed(format!("cannot be waited for: {error}"))),
    }
}

/// Reads to the end, keeping the first bytes; a program that writes more than is kept must not block on its pipe.
async fn read_capped(pipe: Option<impl AsyncRead + Unpin>, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = (&mut pipe).take(most).read_to_end(&mut bytes).await;
    }
    bytes
}

/// Runs blocking work where it holds up nobody.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that is being shut down refuses the work; whoever waits here goes with it.
            Err(_) => std::future::pending().await,
        },
    }
}
