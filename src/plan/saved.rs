use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Guard, Symbol};
use crate::operation::{Effect, Key, Site, hex};

/// The version of the file's form.
pub const FORMAT: u32 = 2;

/// A plan that can be applied: exactly these writes, and what they stand on. Secrets are in it by name only.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedPlan {
    /// The version of this form.
    pub format: u32,
    /// The release that made it.
    pub release: String,
    /// When it was made.
    pub made: String,
    /// The playbook.
    pub playbook: String,
    /// The target's name.
    pub target: String,
    /// The organization or tenant that the target stood for.
    pub scope: String,
    /// The customer's code.
    pub customer: String,
    /// The customer's values, as the playbook got them.
    pub inputs: Value,
    /// Whether logins are verified whatever changed.
    pub verify: bool,
    /// SHA-256 of the contract it was planned by.
    pub contract: String,
    /// The files that the playbook used, each with its SHA-256.
    pub files: BTreeMap<String, String>,
    /// The writes, in the order of the program.
    pub writes: Vec<Allowed>,
    /// Values that the service will choose.
    pub symbols: Vec<Symbol>,
    /// What the target answered, by which `--only-if-unchanged` tells whether it still does.
    pub reads: Vec<Reading>,
    /// What the guards said. A plan in which one fired is not applied.
    pub guards: Vec<Guard>,
    /// What people were shown.
    pub shown: Value,
    /// SHA-256 of everything above: a plan that was edited is none any more. No signature: who can edit it can write
    /// this too.
    pub digest: String,
}

/// A write that the plan allows.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    /// Its key in the run.
    pub key: Key,
    /// What it does.
    pub effect: Effect,
    /// The thing it is about.
    pub subject: String,
    /// Where the playbook asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Site>,
    /// The request, with names in place of what the service will choose.
    pub request: Value,
}

/// What the target answered to a read.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// Its key in the run.
    pub key: Key,
    /// The thing it is about.
    pub subject: String,
    /// SHA-256 of the answer.
    pub digest: String,
}

/// A file is no plan that can be applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanFileError {
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is something else.
    #[error("{} is no plan: {why}", path.display())]
    NotAPlan {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It is of another release's form.
    #[error("{} is a plan of format {found}; this release applies format {FORMAT}", path.display())]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// The format it has.
        found: u64,
    },
    /// It is not what was saved.
    #[error("{} was changed since it was saved", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

impl PlanFileError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "`tenantry plan ... --out FILE` writes one",
            Self::NotAPlan { .. } => "a plan is what `tenantry plan ... --out FILE` wrote",
            Self::OtherFormat { .. } => "plan again with this release",
            Self::Changed { .. } => "a plan is applied as it was made: plan again",
        }
    }
}

impl SavedPlan {
    /// The plan with its digest.
    #[must_use]
    pub fn sealed(mut self) -> Self {
        self.digest = self.own_digest();
        self
    }

    fn own_digest(&self) -> String {
        let bare = Self { digest: String::new(), ..self.clone() };
        // A plan is data of our own and always has a text.
        let mut value = serde_json::to_value(&bare).unwrap_or_default();
        value.sort_all_objects();
        hex(&Sha256::digest(value.to_string().as_bytes()))
    }

    /// Writes it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), PlanFileError> {
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        std::fs::write(path, text + "\n").map_err(|source| PlanFileError::Unreadable { path: path.to_owned(), source })
    }

    /// Reads one.
    ///
    /// # Errors
    /// When it cannot be read, is something else, of another format, or was changed.
    pub fn load(path: &Path) -> Result<Self, PlanFileError> {
        let unreadable = |source| PlanFileError::Unreadable { path: path.to_owned(), source };
        let not = |why: String| PlanFileError::NotAPlan { path: path.to_owned(), why };
        let bytes = std::fs::read(path).map_err(unreadable)?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| not(error.to_string()))?;
        match value["format"].as_u64() {
            Some(format) if format == u64::from(FORMAT) && value["writes"].is_array() => {}
            Some(found) if value["writes"].is_array() => {
                return Err(PlanFileError::OtherFormat { path: path.to_owned(), found });
            }
            _ => return Err(not("it has no `format` and no `writes`".to_owned())),
        }
        let plan: Self = serde_json::from_value(value).map_err(|error| not(error.to_string()))?;
        if plan.digest != plan.own_digest() {
            return Err(PlanFileError::Changed { path: path.to_owned() });
        }
        Ok(plan)
    }
}
