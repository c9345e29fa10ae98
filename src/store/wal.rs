//! A look at the database and its log before the database is opened.
//!
//! The database takes a frame of its log (`state.db-wal`) that is not right for the place where power failed, and
//! silently leaves out everything after it. That is right for the last transaction, which nobody was told of. But a
//! transaction begins only after the one before it was synced: a frame that is wrong with a later transaction behind it
//! is damage, and leaving that out would forget what was promised to be kept.

use std::io;
use std::path::Path;

const HEADER: usize = 32;
const FRAME: usize = 24;

/// The smallest database.
const LEAST: u64 = 512;

/// What is wrong with this database or the log beside it, if anything shows before it is opened.
///
/// Other processes may be writing: what looks like damage must look so again.
pub(super) fn damage(database: &Path) -> io::Result<Option<String>> {
    // Read without being opened: closing it again would release the locks that others in this process hold on it.
    let length = || std::fs::metadata(database).map_or(0, |file| file.len());
    // The database would take such a file for a new one.
    if (1..LEAST).contains(&length()) {
        return Ok(Some("it was cut off".to_owned()));
    }
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    let mut seen = None;
    for _ in 0..8 {
        let bytes = match std::fs::read(Path::new(&name)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // Before there is a log there is a database; with an empty one the log would be dropped.
        if !bytes.is_empty() && length() == 0 {
            return Ok(Some("it is empty although its log is not".to_owned()));
        }
        match look(&bytes) {
            None => return Ok(None),
            Some(found) if seen == Some(found) => {
                return Ok(Some(format!("its log is damaged at frame {} and goes on after it", found.frame)));
            }
            found => seen = found,
        }
    }
    Ok(None)
}

/// A frame that is wrong although there is a later transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Wrong {
    frame: usize,
    /// The log is begun anew now and then, with another salt.
    salt: [u8; 8],
}

type Sum = (u32, u32);
type Order = fn([u8; 4]) -> u32;

/// The frames of a log, and how they add up.
struct Log<'b> {
    frames: Vec<&'b [u8]>,
    order: Order,
    salt: [u8; 8],
}

fn look(bytes: &[u8]) -> Option<Wrong> {
    let (header, rest) = bytes.split_at_checked(HEADER)?;
    let salt: [u8; 8] = header[16..24].try_into().ok()?;
    let noted: Sum = (number(header, 24), number(header, 28));
    let orders: [(u32, Order); 2] = [(0x377f_0682, u32::from_le_bytes), (0x377f_0683, u32::from_be_bytes)];
    let log = |order: Order, size: usize| Log { frames: rest.chunks_exact(FRAME + size).collect(), order, salt };
    let right = orders
        .into_iter()
        .find(|(mark, order)| number(header, 0) == *mark && sum(*order, (0, 0), &header[..24]) == noted);
    if let Some((_, order)) = right {
        return log(order, number(header, 8) as usize).wrong(noted);
    }
    // The database leaves out the whole log. Whichever field of the header is damaged, the first frame follows on it.
    let sizes = (9..=16).map(|power| 1 << power);
    let begun = sizes.flat_map(|size| orders.map(|(_, order)| log(order, size))).any(|log| {
        let headers = [noted, sum(log.order, (0, 0), &header[..24])];
        let follow = log.frames.first().is_some_and(|frame| headers.iter().any(|sum| log.adds_up(*sum, frame)));
        follow && (log.is_commit(0) || log.chain(0).any(|place| log.is_commit(place)))
    });
    begun.then_some(Wrong { frame: 0, salt })
}

impl Log<'_> {
    fn wrong(&self, header: Sum) -> Option<Wrong> {
        let mut before = header;
        let first = self.frames.iter().position(|frame| {
            let right = frame[8..16] == self.salt && self.adds_up(before, frame);
            if right {
                before = noted(frame);
            }
            !right
        })?;
        // What follows must follow on this very frame: what earlier transactions, or an earlier log, have left behind
        // does not.
        let wrong = self.frames[first];
        let sums = [noted(wrong), self.sum(before, wrong)];
        let next = self.frames.get(first + 1)?;
        if next[8..16] != self.salt || !sums.iter().any(|sum| self.adds_up(*sum, next)) {
            return None;
        }
        let mut chain = std::iter::once(first + 1).chain(self.chain(first + 1));
        let ended = self.is_commit(first) || self.was_commit(before, wrong) || chain.any(|place| self.is_commit(place));
        (ended && chain.next().is_some()).then_some(Wrong { frame: first, salt: self.salt })
    }

    /// The places of the frames that follow on this one without a gap.
    fn chain(&self, place: usize) -> impl Iterator<Item = usize> {
        (place + 1..self.frames.len()).take_while(|place| {
            let (before, frame) = (self.frames[place - 1], self.frames[*place]);
            frame[8..16] == before[8..16] && self.adds_up(noted(before), frame)
        })
    }

    fn is_commit(&self, place: usize) -> bool {
        number(self.frames[place], 4) != 0
    }

    /// Whether the wrong frame ended a transaction and the bit that says so has flipped.
    fn was_commit(&self, before: Sum, frame: &[u8]) -> bool {
        (4..8).flat_map(|byte| (0..8).map(move |bit| (byte, 1_u8 << bit))).any(|(byte, bit)| {
            let mut head: [u8; 8] = [0; 8];
            head.copy_from_slice(&frame[..8]);
            head[byte] ^= bit;
            sum(self.order, sum(self.order, before, &head), &frame[FRAME..]) == noted(frame)
        })
    }

    fn adds_up(&self, before: Sum, frame: &[u8]) -> bool {
        self.sum(before, frame) == noted(frame)
    }

    fn sum(&self, before: Sum, frame: &[u8]) -> Sum {
        sum(self.order, sum(self.order, before, &frame[..8]), &frame[FRAME..])
    }
}

/// The sum that lies in a frame.
fn noted(frame: &[u8]) -> Sum {
    (number(frame, 16), number(frame, 20))
}

fn number(bytes: &[u8], place: usize) -> u32 {
    bytes.get(place..place + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
}

/// The checksum of a log, as <https://www.sqlite.org/fileformat2.html#checksum_algorithm> says.
fn sum(order: Order, before: Sum, bytes: &[u8]) -> Sum {
    let (mut one, mut two) = before;
    for [a, b, c, d, e, f, g, h] in bytes.as_chunks::<8>().0 {
        one = one.wrapping_add(order([*a, *b, *c, *d])).wrapping_add(two);
        two = two.wrapping_add(order([*e, *f, *g, *h])).wrapping_add(one);
    }
    (one, two)
}
