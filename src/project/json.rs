//! JSON with the place of every value: `serde_json` says whether the text is JSON, and this finds out where things are.

use std::ops::Range;

use serde::de::IgnoredAny;

use super::document::{Builder, DEEPEST, Entry, Kind, Node};
use super::input::{InputError, Problem};

pub(super) fn read(builder: &mut Builder<'_>) -> Result<Node, InputError> {
    let source = builder.source;
    if let Err(error) = serde_json::from_str::<IgnoredAny>(&source.text) {
        let start = line_start(&source.text, error.line()) + error.column().saturating_sub(1);
        let message = error.to_string();
        let message = message.rsplit_once(" at line").map_or(message.as_str(), |(message, _)| message);
        return Err(source.problem(start..start + 1, format!("is not JSON: {message}")).into());
    }
    let mut walk = Walk { builder, at: 0 };
    walk.value(1).map_err(Into::into)
}

fn line_start(text: &str, line: usize) -> usize {
    text.match_indices('\n').map(|(at, _)| at + 1).nth(line.wrapping_sub(2)).unwrap_or(0)
}

/// Goes over a text that is known to be JSON.
struct Walk<'b, 's> {
    builder: &'b mut Builder<'s>,
    at: usize,
}

impl Walk<'_, '_> {
    fn value(&mut self, depth: usize) -> Result<Node, Problem> {
        if depth > DEEPEST {
            let message = format!("values are nested more than {DEEPEST} deep");
            return Err(self.builder.source.problem(self.at..self.at + 1, message));
        }
        let start = self.skip_space();
        let kind = match self.byte() {
            b'{' => {
                let mut entries = Vec::new();
                self.at += 1;
                while self.more(b'}') {
                    let key_start = self.at;
                    let key = self.string()?;
                    let key_span = key_start..self.at;
                    self.skip_space();
                    self.at += 1;
                    entries.push(Entry { key, key_span, value: self.value(depth + 1)? });
                }
                Kind::Map(entries)
            }
            b'[' => {
                let mut items = Vec::new();
                self.at += 1;
                while self.more(b']') {
                    items.push(self.value(depth + 1)?);
                }
                Kind::List(items)
            }
            b'"' => Kind::Text(self.string()?),
            _ => {
                while self.at < self.text().len()
                    && !matches!(self.byte(), b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r')
                {
                    self.at += 1;
                }
                self.word(start..self.at)
            }
        };
        Ok(Node { span: start..self.at, kind })
    }

    fn word(&mut self, span: Range<usize>) -> Kind {
        let source = self.builder.source;
        match &source.text[span.clone()] {
            "null" => Kind::Null,
            "true" => Kind::Bool(true),
            "false" => Kind::Bool(false),
            number if number.contains(['.', 'e', 'E']) => {
                self.builder.float(span, number.parse().unwrap_or(f64::NAN), number)
            }
            number => self.builder.integer(span, number.parse().ok()),
        }
    }

    /// Whether another element follows before `close`, which is passed when none does.
    fn more(&mut self, close: u8) -> bool {
        self.skip_space();
        if self.byte() == b',' {
            self.at += 1;
            self.skip_space();
        }
        if self.byte() == close {
            self.at += 1;
            return false;
        }
        true
    }

    fn string(&mut self) -> Result<String, Problem> {
        let start = self.at;
        self.at += 1;
        while self.byte() != b'"' {
            self.at += if self.byte() == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
        let span = start..self.at;
        serde_json::from_str(&self.text()[span.clone()])
            .map_err(|_| self.builder.source.problem(span, "this text has half a character (a lone surrogate)"))
    }

    fn skip_space(&mut self) -> usize {
        while matches!(self.byte(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        self.at
    }

    fn text(&self) -> &str {
        &self.builder.source.text
    }

    /// The byte under way. The text is JSON, so whoever asks is never at its end but for a number that ends it.
    fn byte(&self) -> u8 {
        self.text().as_bytes().get(self.at).copied().unwrap_or(b'"')
    }
}
