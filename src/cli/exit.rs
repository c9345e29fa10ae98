use std::fmt::Write as _;
use std::process::ExitCode;

use tenantry::Failure;

/// How the process ends. Scripts rely on these numbers: they are part of the interface.
///
/// The line between 1 and 4: with 4 nothing was sent to the target, with 1 a run had begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything that was asked is done.
    Success = 0,
    /// A run failed; with several customers, all of them failed.
    Failed = 1,
    /// A plan has changes.
    Changes = 2,
    /// The command line, or a variable of the environment, is wrong.
    Usage = 3,
    /// Project, playbook, customers or target cannot be used: nothing was sent.
    Configuration = 4,
    /// The target did not accept who we are.
    Authentication = 5,
    /// Some runs failed, others succeeded.
    Partial = 6,
    /// tenantry itself failed.
    Internal = 70,
    /// Ctrl-C, SIGTERM or the end of its time ended it.
    Interrupted = 130,
}

/// What `--help` says of them.
const MEANINGS: [(u8, &str); 9] = [
    (0, "success"),
    (1, "the run failed (with several customers: every run)"),
    (2, "a plan has changes"),
    (3, "wrong usage of the command line"),
    (4, "project, playbook, customers or target cannot be used; nothing was sent"),
    (5, "the target did not accept the credentials"),
    (6, "some runs failed, others succeeded"),
    (70, "an error of tenantry itself"),
    (130, "interrupted, or out of time"),
];

impl Exit {
    /// The table of all codes.
    pub(crate) fn table() -> String {
        MEANINGS.iter().fold("Exit codes:\n".to_owned(), |mut table, (code, meaning)| {
            let _ = writeln!(table, "  {code:>3}  {meaning}");
            table
        })
    }

    /// How a command ends that failed before it could do anything.
    pub(crate) fn of(failure: &Failure) -> Self {
        match failure.status {
            Some(401) => Self::Authentication,
            _ if failure.code.starts_with("tenantry/") => Self::Configuration,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_meaning() {
        let codes: Vec<u8> = MEANINGS.iter().map(|(code, _)| *code).collect();
        let own = [
            Exit::Success,
            Exit::Failed,
            Exit::Changes,
            Exit::Usage,
            Exit::Configuration,
            Exit::Authentication,
            Exit::Partial,
            Exit::Internal,
            Exit::Interrupted,
        ];
        assert!(own.iter().all(|exit| codes.contains(&(*exit as u8))));
        assert_eq!(codes.len(), own.len());
    }
}
