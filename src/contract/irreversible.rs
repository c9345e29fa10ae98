//! What cannot be taken back, where the contract itself does not tell.

use std::collections::HashMap;

use serde::Deserialize;

use super::EMBEDDED;

const TABLE: &str = include_str!("../../contract/irreversible.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    irreversible: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    of: Vec<String>,
    reason: String,
    when: Option<When>,
    #[serde(rename = "source")]
    _source: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum When {
    Secret,
}

/// Why an operation cannot be taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Irreversible {
    /// In one sentence without a full stop.
    pub reason: String,
    /// Whether that holds only when the answer hands out a secret.
    pub with_secret: bool,
}

pub(super) fn read() -> HashMap<String, Irreversible> {
    let table: Table = toml::from_str(TABLE).expect(EMBEDDED);
    let entries = table.irreversible.into_iter().flat_map(|entry| {
        let with_secret = matches!(entry.when, Some(When::Secret));
        let why = Irreversible { reason: entry.reason, with_secret };
        entry.of.into_iter().map(move |id| (id, why.clone()))
    });
    entries.collect()
}
