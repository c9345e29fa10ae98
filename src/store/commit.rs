//! One database, many writers, few syncs: whoever comes while a commit is under way shares the next one.
//!
//! A commit costs a disk sync, and a fleet of customers writes all the time. Each writer puts its work into a queue and
//! waits for the connection; who gets it first does the work of all, each in a savepoint of its own, and commits once.
//! Nobody hears of success before that commit, and work is done in the order in which it came.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rusqlite::Connection;
use tokio::sync::oneshot;

/// What stands around a commit: lets a simulation decide that the disk is full, or that the process dies.
pub trait CommitHook: Send + Sync {
    /// Before anything is written.
    fn before(&self) -> Verdict;
    /// After it is durable, before anybody hears of it.
    fn after(&self) -> Verdict;
}

/// What a [`CommitHook`] decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Go,
    /// Nothing is written: the disk is full.
    Full,
    /// The process has died: nothing is written any more and nobody hears of anything.
    Dead,
}

pub(super) struct Committer {
    connection: Mutex<Connection>,
    queue: Mutex<Vec<Box<dyn Job>>>,
    /// Whether somebody is at work on the queue on behalf of all.
    flushing: AtomicBool,
    /// Everything is done at once, on the thread that asks: for a simulation, whose order must not depend on threads.
    inline: bool,
}

/// Why a piece of work did not become durable: the database's error, which the work of others may have met.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The database refused.
    Database(rusqlite::Error),
    /// The commit that this work shared failed, or its writer was lost.
    Shared(String),
}

/// What a piece of work comes to: an `Err` of its own takes back what it wrote.
type Done<T, E> = Result<Result<T, E>, Stopped>;

trait Job: Send {
    /// Does it in a transaction. What it wrote is taken back when it fails; `false`, when it had none to share with others
    /// and the transaction itself has to be.
    fn run(&mut self, connection: &Connection, alone: bool) -> bool;
    fn end(self: Box<Self>, failure: Option<&str>);
}

struct Work<F, T, E> {
    pending: Option<F>,
    done: Option<rusqlite::Result<Result<T, E>>>,
    answer: oneshot::Sender<Done<T, E>>,
}

impl<F, T, E> Job for Work<F, T, E>
where
    F: FnOnce(&Connection) -> rusqlite::Result<Result<T, E>> + Send,
    T: Send,
    E: Send,
{
    fn run(&mut self, connection: &Connection, alone: bool) -> bool {
        let Some(work) = self.pending.take() else { return true };
        if alone {
            let done = work(connection);
            let good = matches!(done, Ok(Ok(_)));
            self.done = Some(done);
            return good;
        }
        self.done = Some((|| {
            step(connection, "SAVEPOINT job")?;
            let done = work(connection);
            if !matches!(done, Ok(Ok(_))) {
                step(connection, "ROLLBACK TO job")?;
            }
            step(connection, "RELEASE job")?;
            done
        })());
        true
    }

    fn end(self: Box<Self>, failure: Option<&str>) {
        let done = match (failure, self.done) {
            (None, Some(done)) => done.map_err(Stopped::Database),
            // A refusal stands whatever became of the commit: it wrote nothing.
            (Some(_), Some(Ok(Err(refusal)))) => Ok(Err(refusal)),
            (Some(failure), _) => Err(Stopped::Shared(failure.to_owned())),
            (None, None) => Err(Stopped::Shared("the work was not done".to_owned())),
        };
        // Whoever asked may have gone away: nobody needs the answer then.
        let _ = self.answer.send(done);
    }
}

impl Committer {
    pub(super) fn new(connection: Connection, inline: bool) -> Self {
        Self { connection: Mutex::new(connection), queue: Mutex::default(), flushing: AtomicBool::new(false), inline }
    }

    pub(super) fn is_inline(&self) -> bool {
        self.inline
    }

    /// Does `work` in a transaction and makes it durable, perhaps together with the work of others. Blocks until then.
    pub(super) fn write<T: Send + 'static, E: Send + 'static>(
        &self,
        hook: Option<&dyn CommitHook>,
        work: impl FnOnce(&Connection) -> rusqlite::Result<Result<T, E>> + Send + 'static,
    ) -> Done<T, E> {
        let mut answered = self.queue(work);
        self.flush_once(hook);
        answered.try_recv().unwrap_or_else(|_| Err(lost()))
    }

    /// As [`Committer::write`], without holding up the caller: what is handed in first is done first, whether or not
    /// anyone waits for the answer.
    pub(super) fn write_soon<T: Send + 'static, E: Send + 'static>(
        self: &Arc<Self>,
        hook: Option<&dyn CommitHook>,
        work: impl FnOnce(&Connection) -> rusqlite::Result<Result<T, E>> + Send + 'static,
    ) -> BoxFuture<'static, Done<T, E>> {
        let answered = self.queue(work);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if !self.inline => {
                if !self.flushing.swap(true, Ordering::AcqRel) {
                    let committer = Arc::clone(self);
                    drop(runtime.spawn_blocking(move || committer.flush()));
                }
            }
            _ => {
                self.flush_once(hook);
            }
        }
        async move { answered.await.unwrap_or_else(|_| Err(lost())) }.boxed()
    }

    fn queue<T: Send + 'static, E: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<Result<T, E>> + Send + 'static,
    ) -> oneshot::Receiver<Done<T, E>> {
        let (answer, answered) = oneshot::channel();
        let job = Box::new(Work { pending: Some(work), done: None, answer });
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push(job);
        answered
    }

    /// Works on the queue until it is empty.
    fn flush(&self) {
        loop {
            while self.flush_once(None) {}
            self.flushing.store(false, Ordering::Release);
            // Who came between the last look and the line above found somebody at work.
            let empty = self.queue.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
            if empty || self.flushing.swap(true, Ordering::AcqRel) {
                return;
            }
        }
    }

    /// Commits what is queued; whether there was anything.
    fn flush_once(&self, hook: Option<&dyn CommitHook>) -> bool {
        let connection = self.lock();
        let jobs = std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner));
        // Empty when an earlier holder of the connection did this work too.
        let any = !jobs.is_empty();
        if any {
            commit(&connection, jobs, hook);
        }
        any
    }

    /// Reads, all at one moment.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Stopped> {
        let mut connection = self.lock();
        let transaction = connection.transaction().map_err(Stopped::Database)?;
        look(&transaction).map_err(Stopped::Database)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic between two statements rolled its transaction back when it unwound.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A transaction, rolled back when it is dropped without a commit. Its statements are compiled once, which for small
/// commits is much of their cost.
struct Open<'c>(&'c Connection);

impl<'c> Open<'c> {
    /// The write lock from the start: what the work reads stays true until it is durable.
    fn begin(connection: &'c Connection) -> rusqlite::Result<Self> {
        step(connection, "BEGIN IMMEDIATE")?;
        Ok(Self(connection))
    }

    fn commit(self) -> rusqlite::Result<()> {
        step(self.0, "COMMIT")
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        // After a commit, or an error that rolled back by itself, there is nothing left to do.
        if !self.0.is_autocommit() {
            let _ = step(self.0, "ROLLBACK");
        }
    }
}

fn step(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(drop)
}

fn lost() -> Stopped {
    Stopped::Shared("the writer of this commit was lost".to_owned())
}

fn commit(connection: &Connection, mut jobs: Vec<Box<dyn Job>>, hook: Option<&dyn CommitHook>) {
    let verdict = hook.map_or(Verdict::Go, CommitHook::before);
    let failure = match verdict {
        Verdict::Dead => Some("the process has died".to_owned()),
        Verdict::Full => Some("database or disk is full".to_owned()),
        Verdict::Go => {
            let committed = (|| {
                let transaction = Open::begin(connection)?;
                let alone = jobs.len() == 1;
                let mut good = true;
                for job in &mut jobs {
                    // A full disk rolls back all of it by itself: what came after would be on its own.
                    if connection.is_autocommit() {
                        break;
                    }
                    good &= job.run(connection, alone);
                }
                if good { transaction.commit() } else { Ok(()) }
            })();
            match committed {
                Err(error) => Some(error.to_string()),
                Ok(()) if hook.is_some_and(|hook| hook.after() == Verdict::Dead) => {
                    Some("the process has died".to_owned())
                }
                Ok(()) => None,
            }
        }
    };
    for job in jobs {
        job.end(failure.as_deref());
    }
}
