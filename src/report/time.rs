//! Times and spans, short enough for a table.

use jiff::{SignedDuration, Timestamp};

/// The moment in UTC, to the second: `2026-11-24 08:00:05`.
pub(crate) fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// How long: `240 ms`, `3.2 s`, `5 min 20 s`, `2 h 05 min`, `3 d 04 h`.
pub(crate) fn span(length: SignedDuration) -> String {
    let milliseconds = length.as_millis().max(0);
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds} ms"),
        1..60 => format!("{seconds}.{} s", milliseconds % 1000 / 100),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_two_figures() {
        let told = |milliseconds| span(SignedDuration::from_millis(milliseconds));
        assert_eq!([told(-5), told(0), told(999)], ["0 ms", "0 ms", "999 ms"]);
        assert_eq!([told(1000), told(59_999), told(60_000)], ["1.0 s", "59.9 s", "1 min 00 s"]);
        assert_eq!([told(3_599_999), told(3_600_000)], ["59 min 59 s", "1 h 00 min"]);
        assert_eq!([told(86_399_000), told(273_600_000)], ["23 h 59 min", "3 d 04 h"]);
        assert_eq!(moment("2026-11-24T08:00:05.678Z".parse().unwrap()), "2026-11-24 08:00:05");
    }
}
