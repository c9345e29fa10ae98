//! The one place where the simulation asks the contract.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use http::Method;

/// The operation that a request means.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Its operationId.
    pub(super) id: &'static str,
    /// The values of the path's variables, decoded.
    pub(super) vars: BTreeMap<String, String>,
}

struct Row {
    method: &'static str,
    path: Vec<&'static str>,
    id: &'static str,
}

static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let rows = include_str!("published.txt").lines().filter_map(|line| {
        let mut parts = line.split(' ');
        Some(Row { method: parts.next()?, path: parts.next()?.split('/').collect(), id: parts.next()? })
    });
    rows.collect()
});

/// The published operation of this method and path; literal segments win over variables.
pub(super) fn find(method: &Method, path: &str) -> Option<Found> {
    let segments: Vec<&str> = path.split('/').collect();
    let fits = |row: &&Row| {
        row.method == method.as_str()
            && row.path.len() == segments.len()
            && row.path.iter().zip(&segments).all(
                |(held, asked)| {
                    if held.starts_with('{') { !asked.is_empty() } else { held == asked }
                },
            )
    };
    let literals = |row: &&Row| row.path.iter().map(|held| !held.starts_with('{')).collect::<Vec<bool>>();
    let row = ROWS.iter().filter(fits).max_by_key(literals)?;
    let vars = row.path.iter().zip(&segments).filter_map(|(held, asked)| {
        let name = held.strip_prefix('{')?.strip_suffix('}')?;
        let value = percent_encoding::percent_decode_str(asked).decode_utf8().ok()?;
        Some((name.to_owned(), value.into_owned()))
    });
    Some(Found { id: row.id, vars: vars.collect() })
}
