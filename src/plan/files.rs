//! What differs between two archives, file by file.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::operation::{Bundle, hex};

/// A file with more bytes than this is told by size and digest.
const TEXT: usize = 64 << 10;

/// A file that is not the same in two archives.
#[derive(Clone, Debug, PartialEq)]
pub struct FileChange {
    /// Its path in them.
    pub path: String,
    /// What it holds in the first: a text as it is, anything else as `{ bytes, sha256 }`, `null` when it is not there.
    pub before: Value,
    /// The same in the second.
    pub after: Value,
}

/// The files that are not the same in both.
#[must_use]
pub fn file_changes(before: Option<&Bundle>, after: &Bundle) -> Vec<FileChange> {
    let old = |path: &str| before.and_then(|before| before.file(path));
    let names = before.into_iter().flat_map(Bundle::files).chain(after.files()).map(|(path, _)| path);
    let names: BTreeSet<&str> = names.collect();
    let differing = names.into_iter().filter(|path| old(path) != after.file(path));
    let change =
        |path: &str| FileChange { path: path.to_owned(), before: shown(old(path)), after: shown(after.file(path)) };
    differing.map(change).collect()
}

fn shown(content: Option<&Bytes>) -> Value {
    let Some(content) = content else { return Value::Null };
    match std::str::from_utf8(content) {
        Ok(text) if text.len() <= TEXT && !text.contains('\0') => Value::from(text),
        _ => json!({ "bytes": content.len(), "sha256": hex(&Sha256::digest(content)) }),
    }
}
