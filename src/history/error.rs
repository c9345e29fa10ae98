use crate::store::JournalError;

/// What runs did cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The journal cannot be read, or has no such run.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// No run is for this customer, or of this playbook.
    #[error("there are no runs {of} `{name}`")]
    NoRuns {
        /// What the name is of.
        of: &'static str,
        /// The name.
        name: String,
        /// A name that there are runs of, almost the same.
        nearest: Option<String>,
    },
    /// Several playbooks' paths end so.
    #[error("several playbooks are called `{given}`: {}", known.join(", "))]
    Playbooks {
        /// The end.
        given: String,
        /// Two of them.
        known: Vec<String>,
    },
}

impl HistoryError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Journal(error) => return error.hint(),
            Self::NoRuns { nearest: Some(nearest), .. } => format!("did you mean `{nearest}`?"),
            Self::NoRuns { .. } => "see `tenantry runs list`".to_owned(),
            Self::Playbooks { .. } => "give the whole path".to_owned(),
        })
    }
}
