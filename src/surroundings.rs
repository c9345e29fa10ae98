//! Time and chance, given from outside so that a test or a replay decides them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The moment.
    fn now(&self) -> Timestamp;
    /// Time since some fixed point, never going back: for measuring spans.
    fn elapsed(&self) -> Duration;
}

/// A span of time as people write it: `5 min`, `90 s`, `250 ms`.
pub(crate) fn span(span: Duration) -> String {
    match (span.as_secs(), span.subsec_millis()) {
        (0, milliseconds) => format!("{milliseconds} ms"),
        (seconds, 0) if seconds >= 3_600 && seconds.is_multiple_of(3_600) => format!("{} h", seconds / 3_600),
        (seconds, 0) if seconds >= 60 && seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        (seconds, 0) => format!("{seconds} s"),
        (seconds, milliseconds) => format!("{seconds}.{milliseconds:03} s"),
    }
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    origin: std::time::Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
        Self { origin: std::time::Instant::now() }
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// A clock that begins at a given moment and goes with tokio's, so that a paused runtime decides both.
#[derive(Debug)]
pub struct RuntimeClock {
    start: Timestamp,
    origin: tokio::time::Instant,
}

impl RuntimeClock {
    /// A clock that reads `start` now.
    #[must_use]
    pub fn starting_at(start: Timestamp) -> Self {
        Self { start, origin: tokio::time::Instant::now() }
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        self.start + self.origin.elapsed()
    }

    fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// A clock that goes with another one and can be put forward.
pub(crate) struct AheadClock {
    clock: Arc<dyn Clock>,
    ahead: Mutex<Duration>,
}

impl AheadClock {
    pub(crate) fn of(clock: Arc<dyn Clock>) -> Self {
        Self { clock, ahead: Mutex::default() }
    }

    /// Lets a span of time be over.
    pub(crate) fn pass(&self, span: Duration) {
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) += span;
    }

    fn ahead(&self) -> Duration {
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for AheadClock {
    fn now(&self) -> Timestamp {
        self.clock.now() + self.ahead()
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed() + self.ahead()
    }
}

/// Where chance comes from.
#[derive(Clone, Debug)]
pub struct Random(Arc<Mutex<StdRng>>);

impl Random {
    /// Chance from the operating system.
    #[must_use]
    pub fn from_system() -> Self {
        Self(Arc::new(Mutex::new(StdRng::from_os_rng())))
    }

    /// The same chance every time.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// Fills `bytes`.
    pub fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes);
    }

    /// A number from 0 up to but not including 1.
    #[must_use]
    pub fn fraction(&self) -> f64 {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
    }

    /// A random identifier of the version 4 form.
    #[must_use]
    pub fn uuid(&self) -> uuid::Uuid {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }
}
