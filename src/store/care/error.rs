use std::error::Error;
use std::path::{Path, PathBuf};

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
}

impl CareError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::State(error) => return error.hint(),
            Self::Exists { .. } => "name another file, or move that one away".to_owned(),
            Self::DamagedCopy { .. } => "`tenantry state check` tells all that is wrong".to_owned(),
            Self::File { .. } => return None,
        })
    }

    /// Makes the error of working on this file.
    pub(super) fn file<E: Into<Box<dyn Error + Send + Sync>>>(path: &Path) -> impl Fn(E) -> Self + use<'_, E> {
        |source| Self::File { path: path.to_owned(), source: source.into() }
    }
}
