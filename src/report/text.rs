//! Text of others (customers, services, scripts) on its way to a terminal.

/// The text without control characters: an answer of a service must not move the cursor or change colours.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .filter(|char| *char != '\r')
        .map(|char| if harmless(char) || char == '\n' { char } else { ' ' })
        .collect()
}

/// The same on one line.
pub(crate) fn clean_line(text: &str) -> String {
    text.chars().map(|char| if harmless(char) { char } else { ' ' }).collect()
}

/// So many of it: `1 run`, `2 runs`.
pub(crate) fn count(number: u64, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

/// So many bytes: `812 bytes`, `40 KB`, `3.2 MB`.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{} KB", bytes / 1_000),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
    }
}

/// Controls move the cursor, and some formatting characters turn the direction of what follows.
fn harmless(char: char) -> bool {
    !char.is_control() && !matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_cannot_play_with_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\r\nc\u{7}\u{202e}d"), "a [2Jb\nc  d");
        assert_eq!(clean_line("a\nb\té"), "a b é");
    }

    #[test]
    fn sizes_are_told_in_two_figures() {
        assert_eq!([size(0), size(999), size(1_000)], ["0 bytes", "999 bytes", "1 KB"]);
        assert_eq!([size(999_999), size(1_000_000), size(3_250_000)], ["999 KB", "1.0 MB", "3.2 MB"]);
    }
}
