//! Diagnostics for operators: `tracing` to standard error or a file, off unless asked for.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, filter, fmt};

use super::console::Console;
use super::environment::{self, LOG, LOG_FILE, LOG_FORMAT};
use crate::report::Trouble;

/// Starts logging as the environment says.
pub(crate) fn start(console: &Arc<Console>) -> Result<(), Trouble> {
    let Some(directives) = environment::variable(LOG) else { return Ok(()) };
    let wanted = EnvFilter::builder().parse(&directives).map_err(|error| {
        Trouble::new(format!("{LOG} is not a filter: {error}"))
            .help("write a level (`info`, `debug`, `trace`), or parts with levels: `tenantry::qlik=debug`")
    })?;
    let json = match environment::variable(LOG_FORMAT).as_deref() {
        None | Some("text") => false,
        Some("json") => true,
        Some(other) => {
            return Err(Trouble::new(format!("{LOG_FORMAT} is `{other}`")).help("it is `text` or `json`"));
        }
    };
    let (to, colours) = match environment::variable(LOG_FILE) {
        None => (To::Console(Arc::clone(console)), console.colours()),
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(&path).map_err(|error| {
                Trouble::new(format!("the log file {path} cannot be written: {error}"))
                    .help(format!("{LOG_FILE} names it"))
            })?;
            (To::File(Arc::new(Mutex::new(file))), false)
        }
    };
    // Other crates see requests with their tokens: what they would log is not ours to judge.
    let ours = filter::filter_fn(|metadata| metadata.target().starts_with("tenantry"));
    let layer = fmt::layer().with_writer(to).with_ansi(colours);
    let layer = if json { layer.json().with_span_list(true).boxed() } else { layer.boxed() };
    tracing_subscriber::registry().with(layer.with_filter(ours).with_filter(wanted)).init();
    Ok(())
}

/// Where log lines go.
#[derive(Clone)]
enum To {
    Console(Arc<Console>),
    File(Arc<Mutex<std::fs::File>>),
}

/// One log line: written in one piece, so that it tears no progress line.
struct Line {
    text: Vec<u8>,
    to: To,
}

impl<'w> MakeWriter<'w> for To {
    type Writer = Line;

    fn make_writer(&'w self) -> Line {
        Line { text: Vec::new(), to: self.clone() }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.text.is_empty() {
            return;
        }
        match &self.to {
            To::Console(console) => console.line(String::from_utf8_lossy(&self.text).trim_end_matches('\n')),
            To::File(file) => {
                let mut file = file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                // A full disk must not end a run.
                let _ = file.write_all(&self.text);
            }
        }
    }
}
