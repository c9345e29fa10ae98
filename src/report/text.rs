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
}
