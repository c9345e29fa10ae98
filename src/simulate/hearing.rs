//! Hears the log lines of this thread.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tracing::Dispatch;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

/// Every log line of the host on this thread, of every level, while it is held.
pub(super) struct Hearing {
    lines: Lines,
    _guard: DefaultGuard,
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Hearing {
    pub(super) fn begin() -> Self {
        // While tracing knows of one subscriber only, a thread that has none and comes first to a line decides for all
        // threads that nobody wants it.
        static ANOTHER: OnceLock<Dispatch> = OnceLock::new();
        ANOTHER.get_or_init(|| Dispatch::new(NoSubscriber::default()));
        let lines = Lines::default();
        let format = tracing_subscriber::fmt::layer().without_time().with_ansi(false).with_writer(lines.clone());
        let ours = Targets::new().with_target("tenantry", LevelFilter::TRACE);
        let subscriber = tracing_subscriber::registry().with(ours).with(format);
        Self { lines, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// What was said so far.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.lines.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
