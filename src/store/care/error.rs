use std::error::Error;
use std::path::{Path, PathBuf};

use super::line::EXPORT_VERSION;
use crate::store::StateError;

/// A state file cannot be copied, moved or cleared out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CareError {
    /// The state file cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// There is such a file already.
    #[error("there is a file {} already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("the file {} cannot be used: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The state file is damaged, so what was made of it was not kept.
    #[error("the state file is damaged, so {} was not made: {why}", path.display())]
    DamagedCopy {
        /// The file that was asked for.
        path: PathBuf,
        /// What was found first.
        why: String,
    },
    /// The file is no export of tenantry, was damaged, or was cut off. Nothing was imported.
    #[error("{} cannot be imported: line {line}: {why}", path.display())]
    Export {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The file was exported by a later release. Nothing was imported.
    #[error("{} is an export of version {found}; this release reads versions up to {EXPORT_VERSION}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// The state file says otherwise about something already. Nothing was imported.
    #[error("nothing was imported: the state file here says otherwise already")]
    Conflicts {
        /// What, the first few.
        what: Vec<String>,
    },
}

impl CareError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::State(error) => return error.hint(),
            Self::Exists { .. } => "name another file, or move that one away".to_owned(),
            Self::DamagedCopy { .. } => "`tenantry state check` tells all that is wrong".to_owned(),
            Self::Export { .. } => "make it again with `tenantry state export FILE`, and copy it whole".to_owned(),
            Self::Newer { .. } => "use the release that wrote it, or a later one".to_owned(),
            Self::Conflicts { .. } => {
                "import it into a project without a state file, or into one that knows none of these".to_owned()
            }
            Self::File { .. } => return None,
        })
    }

    /// Makes the error of working on this file.
    pub(super) fn file<E: Into<Box<dyn Error + Send + Sync>>>(path: &Path) -> impl Fn(E) -> Self + use<'_, E> {
        |source| Self::File { path: path.to_owned(), source: source.into() }
    }
}
