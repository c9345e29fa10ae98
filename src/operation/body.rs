use std::path::PathBuf;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Bundle, Digest, Host};

/// The body of a request.
#[derive(Clone, Debug, Default)]
pub enum Body {
    /// None.
    #[default]
    Empty,
    /// A JSON document; secrets are references.
    Json(Value),
    /// `multipart/form-data`; file parts are streamed when sent.
    Multipart(Vec<Part>),
    /// A file, streamed as `application/octet-stream` and reopened for every attempt.
    File {
        /// Where it lies.
        path: PathBuf,
        /// SHA-256 of its content, taken when the operation was made.
        sha256: String,
    },
    /// A file that an export has left at another host, streamed from there as `application/octet-stream` and asked for anew
    /// at every attempt.
    Exported {
        /// The host that has it.
        host: Host,
        /// Where it has it: another place after each export, and so no part of what the body says.
        path: String,
        /// What tells this content from another.
        content: String,
    },
}

/// One part of a multipart body.
#[derive(Clone, Debug)]
pub struct Part {
    /// The form field's name.
    pub name: String,
    /// The file name, for file parts.
    pub file_name: Option<String>,
    /// The part's content.
    pub content: Content,
}

/// What a part carries.
#[derive(Clone, Debug)]
pub enum Content {
    /// A JSON document, sent as `application/json`.
    Json(Value),
    /// A file on disk, streamed.
    File {
        /// Where it lies.
        path: PathBuf,
        /// SHA-256 of its content.
        sha256: String,
    },
    /// A text that was made in the run, sent as a file.
    Text(String),
    /// A list of files, zipped when sent.
    Bundle(Bundle),
}

impl Body {
    /// What the body says, without file contents: the form that digests and records use.
    #[must_use]
    pub fn describe(&self) -> Value {
        match self {
            Self::Empty => Value::Null,
            Self::Json(value) => value.clone(),
            Self::File { sha256, .. } => json!({ "sha256": sha256 }),
            Self::Exported { host, content, .. } => json!({ "exported": { "host": host.name(), "content": content } }),
            Self::Multipart(parts) => parts
                .iter()
                .map(|part| json!({ "name": part.name, "fileName": part.file_name, "content": part.describe() }))
                .collect(),
        }
    }
}

impl Part {
    /// What the part says, without file contents.
    #[must_use]
    pub fn describe(&self) -> Value {
        match &self.content {
            Content::Json(value) => value.clone(),
            Content::File { sha256, .. } => json!({ "sha256": sha256 }),
            Content::Text(text) => json!({ "sha256": Digest(Sha256::digest(text).into()).to_string() }),
            Content::Bundle(bundle) => bundle.describe(),
        }
    }
}
