//! States in files, apart from a sandbox that works on them: read for a look, written as a copy, emptied.

use std::path::{Path, PathBuf};

use super::settings;
use super::state::{SELF, State};
use super::store::{Change, OpenError, Store};

impl State {
    /// Reads the state that a sandbox keeps in a file, and changes nothing there.
    ///
    /// # Errors
    /// When there is no such file, a process works on it, or it is not a state that this version reads.
    pub fn load(path: &Path) -> Result<Self, OpenError> {
        Store::look(path)
    }

    /// Writes the state into a new file, from which [`Sandbox::open`](super::Sandbox::open) goes on. Its owner alone may
    /// read it: it holds the secrets of the state.
    ///
    /// # Errors
    /// When there is such a file already, or it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), OpenError> {
        let unreachable = |reason: String| OpenError::Unreachable { path: path.to_owned(), reason };
        if path.exists() {
            return Err(unreachable("it exists, and stays as it is".to_owned()));
        }
        let (mut store, _) = Store::open(path)?;
        store.write(&self.as_changes()).map_err(|error| unreachable(error.to_string()))
    }

    /// Everything in it, as if it had just been made.
    fn as_changes(&self) -> Vec<Change> {
        let blobs = self.contents().map(|(name, bytes)| Change::Blob(name.clone(), bytes.clone()));
        let mut changes: Vec<Change> = blobs.collect();
        for (scope, name, collection) in self.all() {
            for (place, (id, document)) in (0..).zip(collection.iter()) {
                let now = Some((place, document.clone()));
                changes.push(Change::Document { scope: scope.clone(), collection: name.clone(), id: id.into(), now });
            }
        }
        for (tenant, trail) in self.trails().iter() {
            for event in trail {
                changes.push(Change::Event { tenant: tenant.clone(), event: event.clone(), first: 0 });
            }
        }
        changes
    }
}

/// A sandbox's file that is held, to be emptied: nobody works on it meanwhile.
#[derive(Debug)]
pub struct Reset {
    path: PathBuf,
    store: Store,
    state: State,
}

impl Reset {
    /// Takes hold of a sandbox's file.
    ///
    /// # Errors
    /// When there is no such file, another process has it, or it is no sandbox's.
    pub fn hold(path: &Path) -> Result<Self, OpenError> {
        if !path.exists() {
            return Err(OpenError::Missing { path: path.to_owned() });
        }
        let (store, state) = Store::open(path)?;
        Ok(Self { path: path.to_owned(), store, state })
    }

    /// What it holds.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The identities of its organizations, by which a registry knows them.
    #[must_use]
    pub fn organizations(&self) -> Vec<String> {
        let documents = self.state.organizations().into_iter();
        let documents = documents.filter_map(|home| self.state.get(&home, "organization", SELF));
        // A recorded one has none before a sandbox is opened on it.
        let numbers = documents.map(|document| settings::text(&document, "licenseNumber"));
        numbers.filter(|number| !number.is_empty()).collect()
    }

    /// Empties it: the next sandbox on the file begins anew, as another organization.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn empty(mut self) -> Result<(), OpenError> {
        let emptied = self.store.empty();
        emptied.map_err(|error| OpenError::Unreachable { path: self.path, reason: error.to_string() })
    }
}
