//! Where everything printed goes: data to standard output, all else to standard error, around the progress line.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::environment::{self, COLUMNS, NO_COLOR, TERM};
use crate::report::{Style, Trouble};

/// The two streams of this process, and the progress line on the second.
pub(crate) struct Console {
    quiet: bool,
    verbose: u8,
    out: Style,
    error: Style,
    progress: ProgressBar,
    ticking: AtomicBool,
}

impl Console {
    pub(crate) fn new(quiet: bool, verbose: u8) -> Self {
        let dumb = environment::variable(TERM).is_some_and(|term| term == "dumb");
        let plain = dumb || environment::variable(NO_COLOR).is_some();
        let terminal = std::io::stderr().is_terminal();
        let progress = if terminal && !dumb && !quiet {
            let progress = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{spinner} {msg}");
            progress.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        } else {
            ProgressBar::hidden()
        };
        Self {
            quiet,
            verbose,
            out: Style::new(std::io::stdout().is_terminal() && !plain),
            error: Style::new(terminal && !plain),
            progress,
            ticking: AtomicBool::new(false),
        }
    }

    /// How much more than usual is told.
    pub(crate) fn verbose(&self) -> u8 {
        self.verbose
    }

    /// Whether only results and errors are told.
    pub(crate) fn quiet(&self) -> bool {
        self.quiet
    }

    /// How standard output is styled.
    pub(crate) fn out(&self) -> Style {
        self.out
    }

    /// How standard error is styled.
    pub(crate) fn error(&self) -> Style {
        self.error
    }

    /// Whether somebody sits there who can be asked.
    pub(crate) fn can_ask(&self) -> bool {
        !self.quiet && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Asks a question; `usual` is the answer of whoever only presses return. Whoever ends the input says no.
    pub(crate) fn ask(&self, question: &str, usual: bool) -> bool {
        let answers = if usual { "Y/n" } else { "y/N" };
        loop {
            let mut error = std::io::stderr().lock();
            let _ = write!(error, "{question} [{answers}] ").and_then(|()| error.flush());
            drop(error);
            let mut answer = String::new();
            if !std::io::stdin().read_line(&mut answer).is_ok_and(|read| read > 0) {
                self.line("");
                return false;
            }
            match answer.trim().to_ascii_lowercase().as_str() {
                "" => return usual,
                "y" | "yes" => return true,
                "n" | "no" => return false,
                _ => self.line("answer `y` or `n`"),
            }
        }
    }

    /// How wide a list may be on standard output; whatever is no terminal has room for all of it.
    #[expect(clippy::unused_self, reason = "what goes to the streams goes through the console")]
    pub(crate) fn width(&self) -> Option<usize> {
        let asked = environment::variable(COLUMNS).and_then(|columns| columns.parse().ok());
        asked.or_else(|| comfy_table::Table::new().width().map(usize::from))
    }

    /// Whether standard error shows colours.
    pub(crate) fn colours(&self) -> bool {
        self.error.coloured()
    }

    /// Prints data. Whoever reads it may have stopped, as `head` does.
    #[expect(clippy::unused_self, reason = "everything printed goes through the console")]
    pub(crate) fn data(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
    }

    /// Prints data as JSON on one line.
    pub(crate) fn json(&self, value: &Value) {
        self.data(&value.to_string());
    }

    /// Prints a line to standard error, above the progress line.
    pub(crate) fn line(&self, text: &str) {
        self.progress.suspend(|| {
            let mut error = std::io::stderr().lock();
            let _ = error.write_all(text.as_bytes()).and_then(|()| error.write_all(b"\n"));
        });
    }

    /// Prints a line of progress.
    pub(crate) fn told(&self, text: &str) {
        if !self.quiet {
            self.line(text);
        }
    }

    /// Prints an error.
    pub(crate) fn trouble(&self, trouble: &Trouble) {
        self.troubles([trouble.clone()]);
    }

    /// Prints errors, with a blank line between them.
    pub(crate) fn troubles(&self, troubles: impl IntoIterator<Item = Trouble>) {
        let screens: Vec<String> = troubles.into_iter().map(|trouble| trouble.screen(self.error)).collect();
        if !screens.is_empty() {
            self.line(&screens.join("\n\n"));
        }
    }

    /// Says in the progress line what goes on. It moves by itself until it is cleared.
    pub(crate) fn progress(&self, text: String) {
        if self.progress.is_hidden() {
            return;
        }
        self.progress.set_message(text);
        // Each call would start a thread.
        if !self.ticking.swap(true, Ordering::Relaxed) {
            self.progress.enable_steady_tick(Duration::from_millis(120));
        }
    }

    /// Takes the progress line away.
    pub(crate) fn end_progress(&self) {
        self.progress.finish_and_clear();
    }
}
