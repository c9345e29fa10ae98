//! The lines of an export, which docs/state.md describes.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The version of exports that this release writes, and the latest it reads.
pub(super) const EXPORT_VERSION: u64 = 2;

/// A line: an object with one field, which says what it is.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Line {
    /// The first line.
    Tenantry { version: u64 },
    /// A tenant of the registry.
    Tenant {
        organization: String,
        customer: String,
        id: String,
        hostname: String,
        alias: Option<String>,
        region: String,
        name: Option<String>,
        status: String,
        created_by_run: Option<String>,
        created_at: String,
        updated_at: String,
        seal: String,
    },
    /// The creation of a tenant whose end is not known.
    Creation {
        organization: String,
        customer: String,
        run: String,
        key: String,
        digest: String,
        since: String,
        seal: String,
    },
    /// What is known of a thing in a tenant that the service does not tell of it, as the text of a JSON document.
    Mark { organization: String, customer: String, name: String, mark: String, seal: String },
    /// The content of a file that runs used.
    File { digest: String, base64: String },
    /// A run, whose entries follow. Its seal is over the text of its opening as it stands here.
    Run {
        began: String,
        status: String,
        ended: Option<String>,
        holder: String,
        superseded_by: Option<String>,
        entries: u64,
        seal: String,
        opening: Box<RawValue>,
    },
    /// An entry of the run before it, with its time in microseconds. Its seal is over its text as it stands here.
    Entry { at: i64, seal: String, entry: Box<RawValue> },
    /// The last line: how many lines are before it, and their SHA-256.
    End { lines: u64, sha256: String },
}
