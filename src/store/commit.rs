//! One database, many writers, few syncs: whoever comes while a commit is under way shares the next one.
//!
//! A commit costs a disk sync, and a fleet of customers writes all the time. Each writer puts its work into a queue and
//! waits for the connection; who gets it first does the work of all, each in a savepoint of its own, and commits once.
//! Nobody hears of success before that commit.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Transaction, TransactionBehavior};

pub(super) struct Committer {
    connection: Mutex<Connection>,
    queue: Mutex<Vec<Box<dyn Job>>>,
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
    fn run(&mut self, transaction: &mut Transaction<'_>);
    fn end(self: Box<Self>, failure: Option<&str>);
}

struct Work<F, T, E> {
    pending: Option<F>,
    done: Option<rusqlite::Result<Result<T, E>>>,
    answer: SyncSender<Done<T, E>>,
}

impl<F, T, E> Job for Work<F, T, E>
where
    F: FnOnce(&Connection) -> rusqlite::Result<Result<T, E>> + Send,
    T: Send,
    E: Send,
{
    fn run(&mut self, transaction: &mut Transaction<'_>) {
        let Some(work) = self.pending.take() else { return };
        self.done = Some((|| {
            let savepoint = transaction.savepoint()?;
            let done = work(&savepoint)?;
            // Dropped without a commit, a savepoint rolls back.
            if done.is_ok() {
                savepoint.commit()?;
            }
            Ok(done)
        })());
    }

    fn end(self: Box<Self>, failure: Option<&str>) {
        let done = match (failure, self.done) {
            (None, Some(done)) => done.map_err(Stopped::Database),
            // A refusal stands whatever became of the commit: it wrote nothing.
            (Some(_), Some(Ok(Err(refusal)))) => Ok(Err(refusal)),
            (Some(failure), _) => Err(Stopped::Shared(failure.to_owned())),
            (None, None) => Err(Stopped::Shared("the work was not done".to_owned())),
        };
        // Whoever asked is waiting for it; when that thread is gone, nobody needs the answer.
        let _ = self.answer.send(done);
    }
}

impl Committer {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection: Mutex::new(connection), queue: Mutex::default() }
    }

    /// Does `work` in a transaction and makes it durable, perhaps together with the work of others.
    pub(super) fn write<T: Send + 'static, E: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<Result<T, E>> + Send + 'static,
    ) -> Done<T, E> {
        let (answer, answered) = sync_channel(1);
        let job = Box::new(Work { pending: Some(work), done: None, answer });
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push(job);
        {
            let mut connection = self.lock();
            let jobs = std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner));
            // Empty when an earlier holder of the connection did this work too.
            if !jobs.is_empty() {
                commit(&mut connection, jobs);
            }
        }
        answered.recv().unwrap_or_else(|_| Err(Stopped::Shared("the writer of this commit was lost".to_owned())))
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

fn commit(connection: &mut Connection, mut jobs: Vec<Box<dyn Job>>) {
    let committed = (|| {
        // The write lock from the start: what the work reads stays true until it is durable.
        let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for job in &mut jobs {
            job.run(&mut transaction);
        }
        transaction.commit()
    })();
    let failure = committed.err().map(|error| error.to_string());
    for job in jobs {
        job.end(failure.as_deref());
    }
}
