//! Which files a rendering used. The template engine keeps templates once they are read and does not say which of them
//! a rendering went through, so it is noted here, on the thread that renders.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// A file of the project as it was used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedFile {
    /// The file, relative to the project, with `/` between folders.
    pub path: String,
    /// What it held.
    pub content: Bytes,
}

/// What was found in each template when it was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents(Arc<Mutex<HashMap<String, Bytes>>>);

impl Contents {
    pub(super) fn keep(&self, name: &str, content: Bytes) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), content);
    }

    fn get(&self, name: &str) -> Option<Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

/// Templates by name, other files with their content.
enum Note {
    Template(String),
    File(String, Bytes),
}

thread_local! {
    static NOTES: RefCell<Option<Vec<Note>>> = const { RefCell::new(None) };
}

/// Notes that the template of this name was asked for; there may be none.
pub(super) fn template(name: &str) {
    NOTES.with_borrow_mut(|notes| {
        if let Some(notes) = notes {
            notes.push(Note::Template(name.to_owned()));
        }
    });
}

/// Notes that a file that is no template was read.
pub(super) fn file(name: &str, content: &Bytes) {
    NOTES.with_borrow_mut(|notes| {
        if let Some(notes) = notes {
            notes.push(Note::File(name.to_owned(), content.clone()));
        }
    });
}

/// Does `work` and says which files it used, in order, each once.
pub(super) fn noting<T>(contents: &Contents, work: impl FnOnce() -> T) -> (T, Vec<UsedFile>) {
    // Put back even when the work panics: a lane's thread goes on to other sessions.
    struct Before(Option<Vec<Note>>);
    impl Drop for Before {
        fn drop(&mut self) {
            NOTES.set(self.0.take());
        }
    }
    let before = Before(NOTES.replace(Some(Vec::new())));
    let done = work();
    let notes = NOTES.take().unwrap_or_default();
    drop(before);
    let mut used: Vec<UsedFile> = Vec::new();
    for note in notes {
        let (name, content) = match note {
            Note::Template(name) => match contents.get(&name) {
                Some(content) => (name, content),
                None => continue,
            },
            Note::File(name, content) => (name, content),
        };
        let path = format!("{}/{name}", super::FOLDER);
        if !used.iter().any(|known| known.path == path) {
            used.push(UsedFile { path, content });
        }
    }
    (done, used)
}
