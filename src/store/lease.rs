use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::seal::{self, Seal};
use super::{State, StateError, durable, totals};
use crate::operation::{Failure, FailureKind};

/// Who works on what: a customer, a tenant. At most one run at a time has a lease of a name, over all processes that
/// use the state file; a lease is taken over only from a process that has ended.
#[derive(Clone, Debug)]
pub struct Leases(State);

/// A lease that is held; dropping it gives it back.
#[derive(Debug)]
pub struct Lease {
    state: State,
    name: String,
    run: String,
}

/// Someone else works on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("run {run} is at work on {} since {since} ({process})", shown(name))]
pub struct Held {
    /// The lease's name.
    pub name: String,
    /// The run that has it.
    pub run: String,
    /// Since when.
    pub since: Timestamp,
    /// Which process runs it, as a person would say it.
    pub process: String,
}

/// A lease cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// Someone else has it.
    #[error(transparent)]
    Held(#[from] Box<Held>),
    /// The state file cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
}

/// A lease's name, for people.
fn shown(name: &str) -> String {
    match name.split_once(':') {
        Some(("customer", rest)) => format!("customer `{}`", rest.rsplit('/').next().unwrap_or(rest)),
        Some(("tenant", host)) => format!("tenant {host}"),
        _ => name.to_owned(),
    }
}

impl Leases {
    pub(super) fn new(state: State) -> Self {
        Self(state)
    }

    /// The name under which a customer of an organization is leased.
    #[must_use]
    pub fn customer(organization: &str, customer: &str) -> String {
        format!("customer:{organization}/{customer}")
    }

    /// The name under which a tenant is leased.
    #[must_use]
    pub fn tenant(hostname: &str) -> String {
        format!("tenant:{hostname}")
    }

    /// Takes the lease of this name for `run`.
    ///
    /// # Errors
    /// When a run whose process is alive has it, be it this one, or the state file cannot be written.
    pub async fn take(&self, name: &str, run: &str) -> Result<Lease, LeaseError> {
        let (state, holders) = (self.0.clone(), Arc::clone(self.0.holders()));
        let holder = holders.own().map_err(|source| StateError::Access {
            path: state.path().to_owned(),
            source: format!("the lock of this process: {source}").into(),
        })?;
        let since = state.clock().now().to_string();
        let (name, run) = (name.to_owned(), run.to_owned());
        let lease = Lease { state: state.clone(), name: name.clone(), run: run.clone() };
        state
            .change_soon(move |connection| {
                let before = LeaseRow::of(connection, &name)?;
                if let Some(held) = before.as_ref().and_then(|row| held(row, &holders)) {
                    return Ok(Err(LeaseError::Held(Box::new(held))));
                }
                LeaseRow { name, run, since, holder }.put(connection, before.as_ref()).map(Ok)
            })
            .await?;
        Ok(lease)
    }
}

/// A row of `leases`.
pub(super) struct LeaseRow {
    pub(super) name: String,
    pub(super) run: String,
    since: String,
    pub(super) holder: String,
}

impl LeaseRow {
    pub(super) const TABLE: &str = "leases";

    pub(super) fn seal(&self) -> Seal {
        seal::texts(Self::TABLE, [Some(&self.name), Some(&self.run), Some(&self.since), Some(&self.holder)])
    }

    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let own =
            Self { name: row.get("name")?, run: row.get("run")?, since: row.get("since")?, holder: row.get("holder")? };
        let beside: Vec<u8> = row.get("seal")?;
        seal::check(&beside, own.seal(), || format!("the lease of {} in leases", shown(&own.name)))?;
        Ok(own)
    }

    fn of(connection: &Connection, name: &str) -> rusqlite::Result<Option<Self>> {
        connection.prepare_cached("SELECT * FROM leases WHERE name = ?1")?.query_row([name], Self::read).optional()
    }

    fn put(&self, connection: &Connection, before: Option<&Self>) -> rusqlite::Result<()> {
        connection
            .prepare_cached(
                "INSERT INTO leases (name, run, since, holder, seal) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (name) DO UPDATE SET
                     run = excluded.run, since = excluded.since, holder = excluded.holder, seal = excluded.seal",
            )?
            .execute(params![self.name, self.run, self.since, self.holder, self.seal()])?;
        totals::change(connection, Self::TABLE, "", before.map(Self::seal), Some(self.seal()))
    }

    fn remove(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection.prepare_cached("DELETE FROM leases WHERE name = ?1")?.execute([&self.name])?;
        totals::change(connection, Self::TABLE, "", Some(self.seal()), None)
    }
}

/// Who has the lease, when their process is alive.
fn held(row: &LeaseRow, holders: &Holders) -> Option<Held> {
    let own = holders.is_own(&row.holder);
    if !holders.is_alive(&row.holder) {
        return None;
    }
    let process = if own { "this process".to_owned() } else { process(&row.holder) };
    let since = row.since.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    Some(Held { name: row.name.clone(), run: row.run.clone(), since, process })
}

/// A process, as a person would say it.
pub(super) fn process(holder: &str) -> String {
    match holder.split_once('-') {
        Some((pid, _)) => format!("process {pid}"),
        None => "another process".to_owned(),
    }
}

impl Lease {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl From<LeaseError> for Failure {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::State(error) => error.into(),
            LeaseError::Held(held) => Self::new(FailureKind::Denied, "tenantry/busy", held.to_string())
                .detail("one run at a time works on a customer and on a tenant")
                .hint("wait until it has ended, or end its process; a process that has died holds nothing up"),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (name, run) = (std::mem::take(&mut self.name), std::mem::take(&mut self.run));
        // Nobody waits: what does not reach the disk is taken over once this process has ended.
        drop(self.state.change_soon::<_, StateError>(move |connection| match LeaseRow::of(connection, &name)? {
            Some(row) if row.run == run => row.remove(connection).map(Ok),
            _ => Ok(Ok(())),
        }));
    }
}

/// Which processes are alive: each holds a lock that the operating system takes back when it ends, however it ends.
pub(super) struct Holders {
    place: Place,
    own: OnceLock<Own>,
}

enum Place {
    Folder(PathBuf),
    Memory(Arc<Mutex<Living>>),
}

#[derive(Default)]
struct Living {
    alive: BTreeSet<String>,
    born: u32,
}

struct Own {
    name: String,
    place: OwnPlace,
}

enum OwnPlace {
    /// The open file is the lock.
    File(PathBuf, #[expect(dead_code, reason = "held, not read")] File),
    Memory(Arc<Mutex<Living>>),
}

impl Drop for Own {
    fn drop(&mut self) {
        match &self.place {
            // Removed before it is unlocked, so that nobody takes a name that is not a process any more for one.
            OwnPlace::File(path, _) => drop(std::fs::remove_file(path)),
            OwnPlace::Memory(living) => {
                living.lock().unwrap_or_else(PoisonError::into_inner).alive.remove(&self.name);
            }
        }
    }
}

impl Holders {
    pub(super) fn in_folder(folder: PathBuf) -> Self {
        Self { place: Place::Folder(folder), own: OnceLock::new() }
    }

    pub(super) fn in_memory() -> Self {
        Self { place: Place::Memory(Arc::default()), own: OnceLock::new() }
    }

    /// Another process that sees the same ones.
    pub(super) fn another(&self) -> Self {
        let place = match &self.place {
            Place::Folder(folder) => Place::Folder(folder.clone()),
            Place::Memory(living) => Place::Memory(Arc::clone(living)),
        };
        Self { place, own: OnceLock::new() }
    }

    /// The name of this process, which is alive as long as this value.
    pub(super) fn own(&self) -> std::io::Result<String> {
        if let Some(own) = self.own.get() {
            return Ok(own.name.clone());
        }
        let made = match &self.place {
            Place::Folder(folder) => {
                durable::private_folder(folder)?;
                // The process's number tells a person which one it is; the rest makes the name its own for ever.
                let name = format!("{}-{}", std::process::id(), uuid::Uuid::new_v4().simple());
                let path = folder.join(format!("{name}.lock"));
                let file = durable::new_file(&path)?;
                file.try_lock().map_err(std::io::Error::from)?;
                Own { name, place: OwnPlace::File(path, file) }
            }
            Place::Memory(living) => {
                let mut all = living.lock().unwrap_or_else(PoisonError::into_inner);
                all.born += 1;
                let name = format!("{}-simulated", all.born);
                all.alive.insert(name.clone());
                drop(all);
                Own { name, place: OwnPlace::Memory(Arc::clone(living)) }
            }
        };
        // Of two threads that come here at once one makes a name in vain.
        Ok(self.own.get_or_init(|| made).name.clone())
    }

    pub(super) fn is_own(&self, name: &str) -> bool {
        self.own.get().is_some_and(|own| own.name == name)
    }

    /// Whether the process of this name is alive. In doubt it is.
    pub(super) fn is_alive(&self, name: &str) -> bool {
        if self.is_own(name) {
            return true;
        }
        match &self.place {
            Place::Memory(living) => living.lock().unwrap_or_else(PoisonError::into_inner).alive.contains(name),
            Place::Folder(folder) => {
                let path = folder.join(format!("{name}.lock"));
                match File::open(&path) {
                    Err(error) => error.kind() != std::io::ErrorKind::NotFound,
                    Ok(file) => match file.try_lock() {
                        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => true,
                        Ok(()) => {
                            let _ = std::fs::remove_file(&path);
                            false
                        }
                    },
                }
            }
        }
    }
}
