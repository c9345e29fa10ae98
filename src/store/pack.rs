//! How texts lie in the file: compressed where that helps.

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Shorter texts hardly shrink.
const WORTH_IT: usize = 256;

thread_local! {
    // Making one costs more than packing an entry, or unpacking it.
    static PACKER: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
    static UNPACKER: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// The room that a text gets at least while it is unpacked: what grows by its own size must not begin with none.
const LEAST: usize = 256;

/// Nothing we write unpacks to more than this: a bit that flipped must not cost all memory.
const MOST: usize = 1 << 30;

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
        (b'z', deflated) => UNPACKER.with_borrow_mut(|inflate| inflated(inflate, deflated)),
        _ => None,
    }
}

fn inflated(inflate: &mut Decompress, deflated: &[u8]) -> Option<Vec<u8>> {
    inflate.reset(false);
    let mut text = Vec::with_capacity(deflated.len().saturating_mul(4).max(LEAST));
    loop {
        let read = usize::try_from(inflate.total_in()).ok()?;
        let status = inflate.decompress_vec(deflated.get(read..)?, &mut text, FlushDecompress::None).ok()?;
        if status == Status::StreamEnd {
            return Some(text);
        }
        // Room was left, so it ends too early.
        if text.len() < text.capacity() || text.len() >= MOST {
            return None;
        }
        text.reserve(text.len());
    }
}
