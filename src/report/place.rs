use std::fmt::Write as _;

use serde::Serialize;

use super::style::{Paint, Style};
use super::text::clean_line;

/// Longer source lines are shown in part.
const LINE: usize = 120;

/// A place in a file, with its line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Place {
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) column: usize,
    /// How many characters are meant.
    pub(super) width: usize,
    /// The line itself.
    pub(super) text: Option<String>,
}

impl Place {
    /// Adds the place, its line and the marks below.
    pub(super) fn show(&self, screen: &mut String, arrow: &str, after: &str, style: Style) {
        let dim = |text: &str| style.paint(Paint::Cyan, text);
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        let Self { file, line, column, .. } = self;
        let _ = write!(screen, "\n{gutter}{} {}:{line}:{column}{after}", dim(arrow), clean_line(file));
        let Some(text) = &self.text else { return };
        let (text, before, width) = self.cut(text);
        let _ = write!(screen, "\n{gutter} {}\n{} {} {text}", dim("|"), dim(&number), dim("|"));
        let carets = style.paint(Paint::BoldRed, &"^".repeat(width));
        let _ = write!(screen, "\n{gutter} {} {}{carets}", dim("|"), " ".repeat(before));
    }

    /// The part of the line that is shown, and where in it the marks stand.
    fn cut(&self, text: &str) -> (String, usize, usize) {
        let start = self.column.saturating_sub(1);
        let skipped = if start + 20 > LINE { start.saturating_sub(20) } else { 0 };
        let shown: String = clean_line(text).chars().skip(skipped).take(LINE).collect();
        let before = start - skipped;
        let width = self.width.min(shown.chars().count().saturating_sub(before)).max(1);
        (shown.trim_end().to_owned(), before, width)
    }
}
