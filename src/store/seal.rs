//! Seals: eight bytes of a hash beside what lies in the file, so that what is not as it was written is noticed.

use rusqlite::types::Type;
use sha2::{Digest as _, Sha256};

/// Eight bytes of a hash over a row, or over an entry and everything before it. Chance finds no other text with the
/// same ones; it is no protection against somebody who means to change a row.
pub(super) type Seal = [u8; 8];

/// The seal before the first entry of a run.
pub(super) fn first(opening: &[u8]) -> Seal {
    cut(Sha256::digest(opening))
}

/// The seal of an entry, whose text this is, after the one `before`.
pub(super) fn next(before: Seal, sequence: u64, at: i64, text: &[u8]) -> Seal {
    let mut hash = Sha256::new();
    hash.update(before);
    hash.update(sequence.to_le_bytes());
    hash.update(at.to_le_bytes());
    hash.update(text);
    cut(hash.finalize())
}

/// The seal of a row: over its table's name and each of its columns.
pub(super) fn row<'a>(table: &str, columns: impl IntoIterator<Item = Option<&'a [u8]>>) -> Seal {
    let mut hash = Sha256::new();
    let mut add = |column: Option<&[u8]>| {
        // With its length before it no text can pass for two.
        hash.update(column.map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes());
        hash.update(column.unwrap_or_default());
    };
    add(Some(table.as_bytes()));
    columns.into_iter().for_each(add);
    cut(hash.finalize())
}

/// The seal of a row of texts.
pub(super) fn texts<const N: usize>(table: &str, columns: [Option<&str>; N]) -> Seal {
    row(table, columns.map(|text| text.map(str::as_bytes)))
}

fn cut(hash: impl AsRef<[u8]>) -> Seal {
    let mut seal = Seal::default();
    seal.copy_from_slice(&hash.as_ref()[..8]);
    seal
}

/// What lies in the file is not what was written.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Damage(String);

/// The error of a look that found damage; the state file is then told as damaged.
pub(super) fn damage(why: impl Into<String>) -> rusqlite::Error {
    // This place makes its text the error's own.
    rusqlite::Error::FromSqlConversionFailure(usize::MAX, Type::Null, Box::new(Damage(why.into())))
}

/// Compares the seal that lies beside a row with the one it should have.
pub(super) fn check(beside: &[u8], seal: Seal, what: impl FnOnce() -> String) -> rusqlite::Result<()> {
    if beside == seal { Ok(()) } else { Err(damage(format!("{} is not what was written", what()))) }
}
