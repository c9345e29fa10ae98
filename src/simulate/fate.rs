//! What becomes of one process: it dies at a point, or its disk is full for a while.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::plan::{Full, Life};
use crate::sandbox::{Arrival, Fault, Faults, Served};
use crate::store::{CommitHook, Verdict};

/// Counts the points of one process's life and decides at each whether it goes on.
///
/// There is a point before and after everything that has an effect outside the process: each write of the state file,
/// each secret that is made durable, each request to Qlik Cloud. A process that dies between two points leaves behind
/// the same as one that dies at the second of them. Clones are the same fate.
#[derive(Clone)]
pub struct Fate(Arc<Inner>);

struct Inner {
    kill: Option<u64>,
    full: Option<Full>,
    points: AtomicU64,
    commits: AtomicU64,
    dead: AtomicBool,
    died: Notify,
    /// What became of the requests of this process, for whoever keeps it.
    road: Mutex<Option<Arc<dyn Faults>>>,
}

impl Fate {
    /// The fate of this life.
    #[must_use]
    pub fn of(life: Life) -> Self {
        Self(Arc::new(Inner {
            kill: life.kill,
            full: life.full,
            points: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            dead: AtomicBool::new(false),
            died: Notify::new(),
            road: Mutex::new(None),
        }))
    }

    /// A life in which nothing happens.
    #[must_use]
    pub fn kind() -> Self {
        Self::of(Life::default())
    }

    /// How many points were passed, the last one included.
    #[must_use]
    pub fn points(&self) -> u64 {
        self.0.points.load(Ordering::Relaxed)
    }

    /// Whether the process has died.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.0.dead.load(Ordering::Relaxed)
    }

    /// Ends the process here, wherever it is.
    pub fn kill(&self) {
        self.0.dead.store(true, Ordering::Relaxed);
        self.0.died.notify_waiters();
    }

    /// Waits until the process has died.
    pub async fn died(&self) {
        let died = self.0.died.notified();
        if !self.is_dead() {
            died.await;
        }
    }

    /// Passes a point; whether the process is alive after it.
    fn pass(&self) -> bool {
        if self.is_dead() {
            return false;
        }
        let point = self.0.points.fetch_add(1, Ordering::Relaxed) + 1;
        if self.0.kill == Some(point) {
            self.kill();
        }
        !self.is_dead()
    }

    /// The road of this process: `weather` strikes its requests while it lives, and nothing comes or goes after.
    pub(super) fn road(&self, weather: Arc<dyn Faults>) -> Arc<dyn Faults> {
        *self.0.road.lock().unwrap_or_else(PoisonError::into_inner) = Some(weather);
        Arc::new(self.clone())
    }

    fn weather(&self) -> Option<Arc<dyn Faults>> {
        self.0.road.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl CommitHook for Fate {
    fn before(&self) -> Verdict {
        if !self.pass() {
            return Verdict::Dead;
        }
        let commit = self.0.commits.fetch_add(1, Ordering::Relaxed) + 1;
        if self.0.full.is_some_and(|full| full.holds(commit)) { Verdict::Full } else { Verdict::Go }
    }

    fn after(&self) -> Verdict {
        if self.pass() { Verdict::Go } else { Verdict::Dead }
    }
}

impl Faults for Fate {
    fn strike(&self, arrival: &Arrival<'_>) -> Option<Fault> {
        if !self.pass() {
            return Some(Fault::Silent { done: false });
        }
        let struck = self.weather().and_then(|weather| weather.strike(arrival));
        // Whoever dies right after a request was done has sent it all the same.
        if self.pass() { struck } else { Some(Fault::Silent { done: true }) }
    }

    fn note(&self, served: &Served) {
        if let Some(weather) = self.weather() {
            weather.note(served);
        }
    }
}

impl std::fmt::Debug for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fate").field("points", &self.points()).field("dead", &self.is_dead()).finish_non_exhaustive()
    }
}
