use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rusqlite::{Connection, ErrorCode};

use super::commit::{CommitHook, Committer, Stopped};
use super::format::{self, FORMAT, Found};
use super::lease::Holders;
use super::source::blocking;
use super::{Journal, Leases, Registry, durable, wal};
use crate::operation::{Failure, FailureKind};
use crate::surroundings::Clock;

static OPENING: Mutex<()> = Mutex::new(());

/// An open state file (`.tenantry/state.db`): the registry of tenants, the journal of runs, the leases.
///
/// A cheap handle; clones share one connection and its commits. Other processes may open the same file.
#[derive(Clone)]
pub struct State(Arc<Shared>);

struct Shared {
    database: Arc<Committer>,
    path: PathBuf,
    clock: Arc<dyn Clock>,
    holders: Arc<Holders>,
    hook: Option<Arc<dyn CommitHook>>,
}

/// The state file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file cannot be opened, read or written.
    #[error("cannot use the state file {}: {source}", path.display())]
    Access {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file is not a state file, or it is damaged.
    #[error("the state file {} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The file is a database of another program.
    #[error("{} is not a state file of tenantry", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a later release.
    #[error("the state file {} has format {found}; this release reads formats up to {FORMAT}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
    },
}

impl StateError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Damaged { .. } => "restore it from a backup, or move it away and enter each tenant again with \
                 `tenantry tenants adopt CUSTOMER HOSTNAME`"
                .to_owned(),
            Self::Foreign { .. } => "move it away; tenantry makes its own".to_owned(),
            Self::Newer { .. } => "use the release that wrote it, or a later one".to_owned(),
            Self::Access { .. } => {
                "make sure that there is room on the disk and that you may write in the file's folder".to_owned()
            }
        })
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let failure = Self::new(FailureKind::Denied, "tenantry/registry", error.to_string());
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("path", &self.0.path).finish_non_exhaustive()
    }
}

impl State {
    /// Opens the state file, or makes it with its folder. A file of an earlier format is brought up to date.
    ///
    /// # Errors
    /// When it cannot be opened, is damaged, belongs to another program, or was written by a later release.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, StateError> {
        let access = |source: std::io::Error| StateError::Access { path: path.to_owned(), source: Box::new(source) };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        durable::private_folder(folder).map_err(access)?;
        // One opening at a time in this process: see `private_file`.
        let _turn = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = wal::damage(path).map_err(access)? {
            return Err(StateError::Damaged { path: path.to_owned(), why });
        }
        // SQLite gives its side files the mode of the database file.
        durable::private_file(path).map_err(access)?;
        let connection = Connection::open(path).map_err(|error| sort(path, error))?;
        Self::prepare(connection, path, clock, Holders::in_folder(folder.join("holders")), false)
    }

    /// A state that lives as long as its handles, all of whose work is done on the thread that asks: for tests and
    /// simulations.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn in_memory(clock: Arc<dyn Clock>) -> Result<Self, StateError> {
        let path = Path::new(":memory:");
        let connection = Connection::open_in_memory().map_err(|error| sort(path, error))?;
        Self::prepare(connection, path, clock, Holders::in_memory(), true)
    }

    /// The same state as another process sees it, with `hook` around its commits: for simulations. Its leases end with
    /// the last clone of this handle.
    #[must_use]
    pub fn as_process(&self, hook: Arc<dyn CommitHook>) -> Self {
        Self(Arc::new(Shared {
            database: Arc::clone(&self.0.database),
            path: self.0.path.clone(),
            clock: Arc::clone(&self.0.clock),
            holders: Arc::new(self.0.holders.another()),
            hook: Some(hook),
        }))
    }

    fn prepare(
        mut connection: Connection,
        path: &Path,
        clock: Arc<dyn Clock>,
        holders: Holders,
        inline: bool,
    ) -> Result<Self, StateError> {
        match format::set_up(&mut connection).map_err(|error| sort(path, error))? {
            Found::Ready => {}
            Found::Foreign => return Err(StateError::Foreign { path: path.to_owned() }),
            Found::Newer(found) => return Err(StateError::Newer { path: path.to_owned(), found }),
            Found::Damaged(why) => return Err(StateError::Damaged { path: path.to_owned(), why }),
        }
        Ok(Self(Arc::new(Shared {
            database: Arc::new(Committer::new(connection, inline)),
            path: path.to_owned(),
            clock,
            holders: Arc::new(holders),
            hook: None,
        })))
    }

    /// Which customer has which tenant.
    #[must_use]
    pub fn registry(&self) -> Registry {
        Registry::new(self.clone())
    }

    /// What runs did.
    #[must_use]
    pub fn journal(&self) -> Journal {
        Journal::new(self.clone())
    }

    /// Who works on what.
    #[must_use]
    pub fn leases(&self) -> Leases {
        Leases::new(self.clone())
    }

    /// This process, as a person would say it.
    pub(crate) fn process(&self) -> String {
        self.0.holders.own().map_or_else(|_| "this process".to_owned(), |own| super::lease::process(&own))
    }

    /// The file; `:memory:` when there is none.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }

    pub(super) fn holders(&self) -> &Arc<Holders> {
        &self.0.holders
    }

    /// Does work that may wait for the disk where that holds up nobody.
    pub(crate) async fn off_thread<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        if self.0.database.is_inline() { work() } else { blocking(work).await }
    }

    /// Does `work` in one transaction; durable when this returns.
    pub(super) fn change<T: Send + 'static, E: From<StateError> + Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<Result<T, E>> + Send + 'static,
    ) -> Result<T, E> {
        self.0.database.write(self.0.hook.as_deref(), work).map_err(|stopped| self.stopped(stopped))?
    }

    /// As [`State::change`], without holding up the caller; work is done in the order in which it is handed in.
    pub(super) fn change_soon<T: Send + 'static, E: From<StateError> + Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<Result<T, E>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, E>> {
        let (state, done) = (self.clone(), self.0.database.write_soon(self.0.hook.as_deref(), work));
        async move { done.await.map_err(|stopped| state.stopped(stopped))? }.boxed()
    }

    pub(super) fn read<T, E: From<StateError>>(
        &self,
        look: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, E> {
        self.0.database.read(look).map_err(|stopped| self.stopped(stopped).into())
    }

    /// An error of the database, as one of the state file.
    pub(super) fn error(&self, error: rusqlite::Error) -> StateError {
        sort(&self.0.path, error)
    }

    fn stopped(&self, stopped: Stopped) -> StateError {
        match stopped {
            Stopped::Database(error) => sort(&self.0.path, error),
            Stopped::Shared(why) => StateError::Access { path: self.0.path.clone(), source: why.into() },
        }
    }
}

/// Tells damage from mere trouble with access.
fn sort(path: &Path, error: rusqlite::Error) -> StateError {
    // Without a code, what was read is not what was ever written: a type, a missing column, a bad time.
    let damaged = match error.sqlite_error_code() {
        Some(code) => matches!(code, ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt),
        None => true,
    };
    if damaged || error.to_string().starts_with("no such ") {
        StateError::Damaged { path: path.to_owned(), why: error.to_string() }
    } else {
        StateError::Access { path: path.to_owned(), source: Box::new(error) }
    }
}
