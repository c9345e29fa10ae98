use std::fs::{self, File};
use std::path::Path;

use super::check::examine;
use super::{CareError, Counts, Gravity, open_again};
use crate::store::lease::Holders;
use crate::store::{State, StateError, durable};

impl State {
    /// Copies everything as it is at one moment into a state file of its own, while others go on writing. The copy is
    /// looked over before it gets its name; only its owner may read it. Gives what is in it. Blocks.
    ///
    /// # Errors
    /// When there is such a file, it cannot be written, or the state file is damaged.
    pub fn backup(&self, to: &Path) -> Result<Counts, CareError> {
        if to.exists() {
            return Err(CareError::Exists { path: to.to_owned() });
        }
        let waiting = durable::write_beside(to, b"").map_err(CareError::file(to))?;
        let copied = self.copy(&waiting, to).and_then(|counts| {
            let named = durable::name_new(&waiting, to).map_err(CareError::file(to))?;
            named.then_some(counts).ok_or_else(|| CareError::Exists { path: to.to_owned() })
        });
        // After a good end nothing is left of it.
        let _ = fs::remove_file(&waiting);
        copied
    }

    fn copy(&self, waiting: &Path, to: &Path) -> Result<Counts, CareError> {
        if self.path() == Path::new(":memory:") {
            return Err(CareError::file(to)("the state lies in memory"));
        }
        let name = waiting.to_str().ok_or_else(|| CareError::file(to)("its name is no text"))?;
        let connection = open_again(self.path()).map_err(|error| self.error(error))?;
        connection.execute("VACUUM INTO ?1", [name]).map_err(|error| match self.error(error) {
            StateError::Access { source, .. } => CareError::File { path: to.to_owned(), source },
            damaged => damaged.into(),
        })?;
        File::open(waiting).and_then(|copy| copy.sync_all()).map_err(CareError::file(to))?;
        let health = examine(&open_again(waiting).map_err(CareError::file(to))?, &Holders::in_memory());
        match health.findings.into_iter().find(|finding| finding.gravity() == Gravity::Damage) {
            Some(damage) => Err(CareError::DamagedCopy { path: to.to_owned(), why: damage.message() }),
            None => Ok(health.counts.unwrap_or_default()),
        }
    }
}
