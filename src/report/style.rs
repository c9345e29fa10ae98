/// How a piece of text is shown. It never carries meaning alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Stands out.
    Bold,
    /// Stands back.
    Dim,
    /// Made.
    Green,
    /// Changed.
    Yellow,
    /// Removed or wrong.
    Red,
    /// Made anew.
    Magenta,
    /// Advice, places, things set in motion.
    Cyan,
    /// An error's head.
    BoldRed,
    /// A warning's head.
    BoldYellow,
}

/// Whether colours are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    coloured: bool,
}

impl Style {
    pub(crate) fn new(coloured: bool) -> Self {
        Self { coloured }
    }

    pub(crate) fn coloured(self) -> bool {
        self.coloured
    }

    /// The text in this paint.
    pub(crate) fn paint(self, paint: Paint, text: &str) -> String {
        if !self.coloured || text.is_empty() {
            return text.to_owned();
        }
        let code = match paint {
            Paint::Bold => "1",
            Paint::Dim => "2",
            Paint::Green => "32",
            Paint::Yellow => "33",
            Paint::Red => "31",
            Paint::Magenta => "35",
            Paint::Cyan => "36",
            Paint::BoldRed => "1;31",
            Paint::BoldYellow => "1;33",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}
