//! A view of JSON text that is read only where somebody looks.
//!
//! Building a tree of the whole contract costs more than the rest of a start, and one run looks at some tens of its 599
//! operations. This view walks members by skipping over their values; what is wanted is then parsed for good.
//! It trusts its text: minified, valid, no escapes in member names. Only the embedded contract is read with it, and a
//! test holds that file to these three.

use std::fmt;

/// A JSON value somewhere in the contract's text.
#[derive(Clone, Copy)]
pub(super) struct Text(&'static str);

impl fmt::Debug for Text {
    /// Its beginning: the whole is pages long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.chars().take(60).collect::<String>())
    }
}

impl Text {
    pub(super) fn new(text: &'static str) -> Self {
        Self(text)
    }

    /// The members of an object, in order; nothing for any other value.
    pub(super) fn members(self) -> impl Iterator<Item = (&'static str, Self)> {
        let mut rest = self.0.strip_prefix('{').unwrap_or("}");
        std::iter::from_fn(move || {
            rest = rest.strip_prefix(',').unwrap_or(rest);
            let after_quote = rest.strip_prefix('"')?;
            let (name, after_name) = after_quote.split_once('"')?;
            let after_colon = after_name.strip_prefix(':')?;
            let (value, after) = split_value(after_colon);
            rest = after;
            Some((name, Self(value)))
        })
    }

    /// The items of an array, in order; nothing for any other value.
    pub(super) fn items(self) -> impl Iterator<Item = Self> {
        let mut rest = self.0.strip_prefix('[').unwrap_or("]");
        std::iter::from_fn(move || {
            rest = rest.strip_prefix(',').unwrap_or(rest);
            if rest.starts_with(']') || rest.is_empty() {
                return None;
            }
            let (value, after) = split_value(rest);
            rest = after;
            Some(Self(value))
        })
    }

    /// The member called `name`.
    pub(super) fn get(self, name: &str) -> Option<Self> {
        self.members().find(|(member, _)| *member == name).map(|(_, value)| value)
    }

    /// The member called `name`, not cut off at its end: its members and items can be walked without having been skipped
    /// over first.
    pub(super) fn open(self, name: &str) -> Option<Self> {
        let mut rest = self.0.strip_prefix('{')?;
        loop {
            let (member, value) = rest.strip_prefix('"')?.split_once("\":")?;
            if member == name {
                return Some(Self(value));
            }
            rest = split_value(value).1.strip_prefix(',')?;
        }
    }

    /// A string without escapes, as it stands.
    pub(super) fn as_str(self) -> Option<&'static str> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        (!inner.contains('\\')).then_some(inner)
    }

    pub(super) fn is_true(self) -> bool {
        self.0 == "true"
    }

    /// The value, parsed.
    pub(super) fn parse<T: serde::de::DeserializeOwned>(self) -> Option<T> {
        serde_json::from_str(self.0).ok()
    }
}

/// The first value of `text` and what follows it.
fn split_value(text: &'static str) -> (&'static str, &'static str) {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_string(bytes, at),
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' if depth == 0 => break,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 && matches!(byte, b'"' | b'}' | b']') {
            break;
        }
    }
    text.split_at(at.min(text.len()))
}

/// The place of the quote that closes the string opening at `start`.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    loop {
        match bytes.get(at) {
            Some(b'\\') => at += 2,
            Some(b'"') | None => return at,
            Some(_) => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_members_and_items_without_parsing() {
        let text = Text::new(r#"{"a":{"x":"}\"]"},"b":[1,"2,",[3,4],{"c":null}],"d":-1.5,"e":"","f":{},"g":[]}"#);
        let names: Vec<_> = text.members().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "b", "d", "e", "f", "g"]);
        let items: Vec<_> = text.get("b").unwrap().items().map(|item| item.0).collect();
        assert_eq!(items, ["1", "\"2,\"", "[3,4]", r#"{"c":null}"#]);
        assert_eq!(text.get("d").unwrap().parse::<f64>(), Some(-1.5));
        assert_eq!(text.get("e").unwrap().as_str(), Some(""));
        assert_eq!(text.get("a").unwrap().get("x").unwrap().parse::<String>().as_deref(), Some("}\"]"));
        assert_eq!(text.get("f").unwrap().members().count(), 0);
        assert_eq!(text.get("g").unwrap().items().count(), 0);
        assert!(text.get("nothing").is_none());
        assert_eq!(text.open("b").unwrap().items().count(), 4);
        assert!(text.open("nothing").is_none());
    }
}
