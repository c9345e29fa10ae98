//! How texts lie in the file: compressed where that helps.

use std::cell::RefCell;
use std::io::Read as _;

use flate2::read::DeflateDecoder;
use flate2::{Compress, Compression, FlushCompress, Status};

/// Shorter texts hardly shrink.
const WORTH_IT: usize = 256;

thread_local! {
    /// Making one costs more than packing an entry.
    static PACKER: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
}

/// Nothing we write unpacks to more than this: a bit that flipped must not cost all memory.
const MOST: u64 = 1 << 30;

/// A text as it lies in the file.
pub(super) fn pack(text: &[u8]) -> Vec<u8> {
    if text.len() >= WORTH_IT
        && let Some(packed) = PACKER.with_borrow_mut(|deflate| deflated(deflate, text))
    {
        return packed;
    }
    let mut plain = Vec::with_capacity(text.len() + 1);
    plain.push(b'p');
    plain.extend_from_slice(text);
    plain
}

/// The text deflated, when that makes it shorter.
fn deflated(deflate: &mut Compress, text: &[u8]) -> Option<Vec<u8>> {
    deflate.reset();
    let mut packed = Vec::with_capacity(text.len());
    packed.push(b'z');
    // What does not fit into the room of the text itself is not worth it.
    let status = deflate.compress_vec(text, &mut packed, FlushCompress::Finish).ok()?;
    (status == Status::StreamEnd).then_some(packed)
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
