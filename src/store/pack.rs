//! How texts lie in the file: compressed where that helps.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

/// Shorter texts do not shrink.
const WORTH_IT: usize = 96;

/// Nothing we write unpacks to more than this: a bit that flipped must not cost all memory.
const MOST: u64 = 1 << 30;

/// A text as it lies in the file.
pub(super) fn pack(text: &[u8]) -> Vec<u8> {
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
pub(super) fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
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
