use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What a person wrote cannot be used. Holds every problem that was found, not just the first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct InputError {
    problems: Vec<Problem>,
}

impl InputError {
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        Self { problems }
    }

    /// The problems, in the order of their places.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

/// One problem after the other, each with its line.
impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, problem) in self.problems.iter().enumerate() {
            if count > 0 {
                f.write_str("\n\n")?;
            }
            fmt::Display::fmt(problem, f)?;
        }
        Ok(())
    }
}

/// One thing that is wrong, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// The file, as the caller named it.
    pub file: Option<PathBuf>,
    /// Where in the file.
    pub place: Option<Place>,
    /// What to do.
    pub hint: Option<String>,
}

/// A place in a text file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    /// How many characters are meant, at least 1; within the line.
    pub length: usize,
    /// The line's text.
    pub text: String,
}

impl Problem {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), file: None, place: None, hint: None }
    }

    pub(super) fn file(mut self, file: &Path) -> Self {
        self.file = Some(file.to_owned());
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn maybe_hint(self, hint: Option<String>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }
}

impl From<Problem> for InputError {
    fn from(problem: Problem) -> Self {
        Self::new(vec![problem])
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
            if let Some(place) = &self.place {
                write!(f, "{}:{}:", place.line, place.column)?;
            }
            f.write_str(" ")?;
        }
        f.write_str(&self.message)?;
        if let Some(place) = &self.place {
            let (number, shown) = (place.line.to_string(), Shown::of(place));
            let gutter = " ".repeat(number.len());
            write!(
                f,
                "\n {number} | {}\n {gutter} | {}{}",
                shown.text,
                " ".repeat(shown.before),
                "^".repeat(shown.length)
            )?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n hint: {hint}")?;
        }
        Ok(())
    }
}

/// The part of a line that is shown: a very long one is cut, tabs count one.
struct Shown {
    text: String,
    before: usize,
    length: usize,
}

impl Shown {
    fn of(place: &Place) -> Self {
        const MOST: usize = 120;
        let skipped = if place.column > MOST - 20 { place.column - 21 } else { 0 };
        let printable = |char: char| if char.is_control() { ' ' } else { char };
        let text: String = place.text.chars().skip(skipped).take(MOST).map(printable).collect();
        let before = place.column - 1 - skipped;
        let length = place.length.min(text.chars().count().saturating_sub(before)).max(1);
        Self { text: text.trim_end().to_owned(), before, length }
    }
}

/// A text file that is read for its content.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// Files of settings and customers are written by people; what is larger is something else.
const MOST_BYTES: u64 = 32 * 1024 * 1024;

impl Source {
    /// Reads a file; a byte-order mark is left out.
    pub(super) fn read(path: &Path) -> Result<Self, Problem> {
        let broken = |why: String| Problem::new(why).file(path);
        let cannot = |error: std::io::Error| broken(format!("cannot be read: {error}"));
        let size = std::fs::metadata(path).map_err(cannot)?.len();
        if size > MOST_BYTES {
            return Err(broken(format!("is too large: {size} bytes, at most {MOST_BYTES} are read")));
        }
        let bytes = std::fs::read(path).map_err(cannot)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = String::from_utf8_lossy(before).matches('\n').count();
            broken(format!("is not UTF-8 text (line {})", line + 1)).hint("save it as UTF-8")
        })?;
        let text = text.strip_prefix('\u{feff}').map_or_else(|| text.clone(), str::to_owned);
        Ok(Self { path: path.to_owned(), text })
    }

    /// The problem, at the place of these bytes.
    pub(super) fn problem(&self, span: Range<usize>, message: impl Into<String>) -> Problem {
        let mut problem = Problem::new(message).file(&self.path);
        problem.place = Some(self.place(span));
        problem
    }

    fn place(&self, span: Range<usize>) -> Place {
        let floor = |mut at: usize| {
            at = at.min(self.text.len());
            while !self.text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let (start, end) = (floor(span.start), floor(span.end));
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |at| start + at);
        Place {
            line: self.text[..line_start].matches('\n').count() + 1,
            column: self.text[line_start..start].chars().count() + 1,
            length: self.text[start..end.clamp(start, line_end)].trim_end().chars().count().max(1),
            text: self.text[line_start..line_end].trim_end_matches('\r').to_owned(),
        }
    }
}
