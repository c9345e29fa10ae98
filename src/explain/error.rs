use crate::history::HistoryError;
use crate::store::JournalError;

use super::Object;

/// There is nothing to explain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExplainError {
    /// The journal cannot be read, or has no such run.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// No run has asked this.
    #[error("{} the call `{key}`", of_run("has", "does not have", run.as_deref()))]
    NoCall {
        /// The key that was given.
        key: String,
        /// The run that was searched; `None` when all were.
        run: Option<String>,
        /// Keys that are almost the same.
        nearest: Vec<String>,
        /// Why runs could not be searched.
        unread: Vec<String>,
    },
    /// Nothing that runs have dealt with is called so.
    #[error("{} anything called `{name}`", of_run("has dealt with", "has not dealt with", run.as_deref()))]
    NoObject {
        /// The name that was given.
        name: String,
        /// The run that was searched; `None` when all were.
        run: Option<String>,
        /// How many runs were searched.
        searched: usize,
        /// Names that are almost the same.
        nearest: Vec<String>,
        /// Why runs could not be searched.
        unread: Vec<String>,
    },
    /// Several things are called so.
    #[error("{} things are called `{name}`", objects.len())]
    Several {
        /// The name that was given.
        name: String,
        /// The things.
        objects: Vec<Object>,
    },
}

fn of_run(has: &str, has_not: &str, run: Option<&str>) -> String {
    run.map_or_else(|| format!("no run on record {has}"), |run| format!("run {run} {has_not}"))
}

impl ExplainError {
    /// What to do next.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let alike = |nearest: &[String]| {
            let names: Vec<String> = nearest.iter().map(|name| format!("`{name}`")).collect();
            (!names.is_empty()).then(|| format!("did you mean {}?", names.join(" or ")))
        };
        match self {
            Self::History(error) => error.hint().into_iter().collect(),
            Self::NoCall { run, nearest, .. } => {
                let run = run.as_deref().unwrap_or("RUN");
                let all = format!("`tenantry runs show {run} -v` shows the keys of a run");
                alike(nearest).into_iter().chain([all]).collect()
            }
            Self::NoObject { nearest, searched, .. } => {
                let runs = if *searched == 1 { "1 run was".to_owned() } else { format!("{searched} runs were") };
                let what = format!(
                    "{runs} searched for an id, a name and an address of something they made, changed or looked at; \
                     a call's key reads like `2[0].3:createSpace#0`"
                );
                alike(nearest).into_iter().chain([what]).collect()
            }
            Self::Several { .. } => {
                vec![
                    "give the id of the one that is meant, its address, or `--run` with the run that made it"
                        .to_owned(),
                ]
            }
        }
    }

    /// Why runs could not be searched.
    #[must_use]
    pub fn unread(&self) -> &[String] {
        match self {
            Self::NoCall { unread, .. } | Self::NoObject { unread, .. } => unread,
            Self::History(_) | Self::Several { .. } => &[],
        }
    }
}

impl From<JournalError> for ExplainError {
    fn from(error: JournalError) -> Self {
        Self::History(error.into())
    }
}
