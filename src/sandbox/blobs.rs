//! Content that documents only name: archives and the like, kept once however many documents have it.

use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The field in which a document names its content by its hash. No field of Qlik's is called so.
pub(super) const CONTENT: &str = "$content";

/// Contents by the SHA-256 of their bytes, in hexadecimal digits.
#[derive(Clone, Default)]
pub(super) struct Blobs(OrdMap<Arc<str>, Blob>);

#[derive(Clone)]
struct Blob {
    bytes: Bytes,
    /// How many documents name it.
    named: usize,
}

impl PartialEq for Blobs {
    /// Whether both hold the same contents: the names say it.
    fn eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0) || self.0.keys().eq(other.0.keys())
    }
}

impl std::fmt::Debug for Blobs {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

/// The name of a content.
pub(super) fn name(bytes: &[u8]) -> Arc<str> {
    hex(&Sha256::digest(bytes)).into()
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The content a document names.
fn named(document: &Value) -> Option<&str> {
    document.get(CONTENT)?.as_str()
}

impl Blobs {
    /// The bytes of this name.
    pub(super) fn get(&self, name: &str) -> Option<Bytes> {
        self.0.get(name).map(|blob| blob.bytes.clone())
    }

    /// Keeps bytes under their name. They stay for as long as a document names them.
    pub(super) fn keep(&mut self, name: Arc<str>, bytes: Bytes) {
        self.0.entry(name).or_insert(Blob { bytes, named: 0 });
    }

    /// All contents with their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Bytes)> {
        self.0.iter().map(|(name, blob)| (name, &blob.bytes))
    }

    /// Notes that a document came, went or changed. Contents that none names any more are dropped.
    pub(super) fn follow(&mut self, before: Option<&Value>, after: Option<&Value>) {
        let (before, after) = (before.and_then(named), after.and_then(named));
        if before == after {
            return;
        }
        if let Some(blob) = after.and_then(|name| self.0.get_mut(name)) {
            blob.named += 1;
        }
        if let Some(name) = before
            && let Some(blob) = self.0.get_mut(name)
        {
            blob.named = blob.named.saturating_sub(1);
            if blob.named == 0 {
                self.0.remove(name);
            }
        }
    }

    /// Drops what no document names, and returns the names.
    pub(super) fn sweep(&mut self) -> Vec<Arc<str>> {
        let unnamed = self.0.iter().filter(|(_, blob)| blob.named == 0).map(|(name, _)| name.clone());
        let unnamed: Vec<Arc<str>> = unnamed.collect();
        for name in &unnamed {
            self.0.remove(name);
        }
        unnamed
    }
}
