//! Every variable of the environment that means something, and the one place that reads them.

use tenantry::Environment;

/// What is logged for operators, as a filter of `tracing`: `info`, `debug`, `tenantry::qlik=debug`. Off when unset.
pub(crate) const LOG: &str = "TENANTRY_LOG";
/// How logs are written: `text` (the default) or `json`.
pub(crate) const LOG_FORMAT: &str = "TENANTRY_LOG_FORMAT";
/// The file that logs are added to; standard error when unset.
pub(crate) const LOG_FILE: &str = "TENANTRY_LOG_FILE";
/// Switches colours off when it is set to anything: see no-color.org.
pub(crate) const NO_COLOR: &str = "NO_COLOR";
/// `dumb` for a terminal that can only print: no colours, no progress line.
pub(crate) const TERM: &str = "TERM";
/// How many columns tables may take on standard output; by default as many as the terminal has.
pub(crate) const COLUMNS: &str = "COLUMNS";

/// What `--help` says of them.
pub(crate) const TABLE: &str = "Environment:
  TENANTRY_LOG         what is logged: `debug`, or a filter (`tenantry::qlik=trace`); off by default
  TENANTRY_LOG_FORMAT  `text` or `json`
  TENANTRY_LOG_FILE    the file that logs are added to, in place of standard error
  NO_COLOR             no colours, when set
  COLUMNS              how wide a list may be, in place of the terminal's width
";

/// The environment of this process, for secrets whose source is a variable.
pub(crate) struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn variable(&self, name: &str) -> Option<String> {
        variable(name)
    }
}

/// A variable's value, when it is set, and not to nothing.
pub(crate) fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
