//! Identifiers and timestamps in the forms Qlik gives them.

use jiff::Timestamp;

use crate::surroundings::Random;

fn drawn(random: &Random, length: usize, alphabet: &[u8]) -> String {
    // Bytes beyond the last whole multiple of the alphabet would favour its beginning, so they are drawn again.
    let bound = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(length);
    let mut bytes = [0; 64];
    while text.len() < length {
        random.fill(&mut bytes);
        let fitting = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < bound);
        text.extend(fitting.take(length - text.len()).map(|byte| char::from(alphabet[byte % alphabet.len()])));
    }
    text
}

/// Hexadecimal digits: most of Qlik's ids are 24 of them.
pub(super) fn hex(random: &Random, length: usize) -> String {
    drawn(random, length, b"0123456789abcdef")
}

/// Letters of both cases, digits, `-` and `_`: tenant ids are 32 of them.
pub(super) fn letters(random: &Random, length: usize) -> String {
    drawn(random, length, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
}

/// Letters of both cases and digits: an automation's execution token is 64 of them.
pub(super) fn alphanumeric(random: &Random, length: usize) -> String {
    drawn(random, length, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
}

/// Small letters and digits: a tenant's random host label is 15 of them.
pub(super) fn label(random: &Random, length: usize) -> String {
    drawn(random, length, b"abcdefghijklmnopqrstuvwxyz0123456789")
}

/// Decimal digits.
pub(super) fn digits(random: &Random, length: usize) -> String {
    drawn(random, length, b"0123456789")
}

/// A moment as Qlik writes it: UTC with milliseconds.
pub(super) fn timestamp(moment: Timestamp) -> String {
    format!("{moment:.3}")
}
