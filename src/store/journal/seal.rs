//! How an entry lies in the file: compressed where that helps, and sealed to the one before it.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use sha2::{Digest as _, Sha256};

/// Shorter texts do not shrink.
const WORTH_IT: usize = 96;

/// Nothing we write unpacks to more than this: a bit that flipped must not cost all memory.
const MOST: u64 = 1 << 30;

/// Eight bytes of a hash over everything before an entry and the entry itself: damage and gaps show.
pub(super) type Seal = [u8; 8];

/// The seal before the first entry.
pub(super) fn first(opening: &str) -> Seal {
    cut(Sha256::digest(opening))
}

/// The seal of an entry.
pub(super) fn next(before: Seal, sequence: u64, at: i64, body: &[u8]) -> Seal {
    let mut hash = Sha256::new();
    hash.update(before);
    hash.update(sequence.to_le_bytes());
    hash.update(at.to_le_bytes());
    hash.update(body);
    cut(hash.finalize())
}

fn cut(hash: impl AsRef<[u8]>) -> Seal {
    let mut seal = Seal::default();
    seal.copy_from_slice(&hash.as_ref()[..8]);
    seal
}

/// A text as it lies in the file.
pub(crate) fn pack(text: &[u8]) -> Vec<u8> {
    if text.len() >= WORTH_IT {
        let mut encoder = DeflateEncoder::new(vec![b'z'], Compression::fast());
        let packed = encoder.write_all(text).and_then(|()| encoder.finish());
        if let Some(packed) = packed.ok().filter(|packed| packed.len() <= text.len()) {
            return packed;
        }
    }
    let mut plain = Vec::with_capacity(text.len() + 1);
    plain.push(b'p');
    plain.extend_from_slice(text);
    plain
}

/// The text of what lies in the file.
pub(crate) fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    match packed.split_first()? {
        (b'p', plain) => Some(plain.to_vec()),
        (b'z', deflated) => {
            let mut text = Vec::new();
            DeflateDecoder::new(deflated).take(MOST).read_to_end(&mut text).ok()?;
            Some(text)
        }
        _ => None,
    }
}
