//! The long life of a state file: looking it over, copying it, moving it, and taking old runs out.

mod backup;
mod check;
mod error;
mod export;
mod health;
mod import;
mod line;
mod prune;

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

pub use error::CareError;
pub use export::Exported;
pub use health::{Counts, Finding, Gravity, Health};
pub use import::Imported;
pub use prune::{Prunable, PrunableRun, Retention};

use super::{State, StateError};

impl State {
    /// Looks at everything of one moment, without holding up others who write.
    fn look<T>(&self, look: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StateError> {
        if self.path() == Path::new(":memory:") {
            return self.read(look);
        }
        let looked = open_again(self.path()).and_then(|mut connection| look(&*connection.transaction()?));
        looked.map_err(|error| self.error(error))
    }
}

/// Why work on a whole state ends.
enum Stop {
    Database(rusqlite::Error),
    Care(CareError),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

/// One more connection to a state file that was opened.
fn open_again(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    Ok(connection)
}
