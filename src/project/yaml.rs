//! YAML 1.2 with the place of every value. Words like `no` stay text, and so do numbers with leading zeros.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Location, Spanned};

use super::document::{Builder, DEEPEST, Entry, Kind, Node};
use super::input::{InputError, Problem};

pub(super) fn read(builder: &mut Builder<'_>) -> Result<Node, InputError> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        duplicate_keys: DuplicateKeyPolicy::Error,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        reject_unsupported_tags: true,
        with_snippet: false,
        budget: serde_saphyr::budget! { max_depth: DEEPEST, flow_nesting_limit: DEEPEST },
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(&builder.source.text, options) {
        Ok(raw) => Ok(node(builder, raw)),
        Err(error) => Err(syntax(builder, &error).into()),
    }
}

fn syntax(builder: &Builder<'_>, error: &serde_saphyr::Error) -> Problem {
    let error = error.without_snippet();
    let message = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
    let message = message.split(" at line ").next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let message = if message.contains("recursion limit") {
        format!("is nested more than {DEEPEST} deep")
    } else {
        format!("is not YAML: {message}")
    };
    match error.location() {
        Some(location) => builder.source.problem(span(builder, location), message),
        None => Problem::new(message).file(&builder.source.path),
    }
}

fn span(builder: &Builder<'_>, location: Location) -> Range<usize> {
    let text = &builder.source.text;
    let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    if let (Some(start), Some(length)) = (location.span().byte_offset(), location.span().byte_len()) {
        return whole(start)..whole(start.saturating_add(length.max(1)));
    }
    let line_start =
        text.match_indices('\n').map(|(at, _)| at + 1).nth(whole(location.line()).wrapping_sub(2)).unwrap_or(0);
    let column = text[line_start..].char_indices().nth(whole(location.column()).saturating_sub(1));
    let start = line_start + column.map_or(0, |(at, _)| at);
    start..start + 1
}

fn node(builder: &mut Builder<'_>, raw: Spanned<Raw>) -> Node {
    let place = span(builder, raw.referenced);
    let written = {
        let defined = span(builder, raw.defined);
        builder.source.text.get(defined).unwrap_or_default().to_owned()
    };
    let kind = match raw.value {
        Raw::Null => Kind::Null,
        Raw::Bool(value) => Kind::Bool(value),
        Raw::Integer(number) => builder.integer(place.clone(), number),
        Raw::Float(number) => builder.float(place.clone(), number, written.trim()),
        Raw::Text(text) => Kind::Text(text),
        Raw::List(items) => Kind::List(items.into_iter().map(|item| node(builder, item)).collect()),
        Raw::Map(entries) => Kind::Map(
            entries
                .into_iter()
                .map(|(key, value)| Entry {
                    key_span: span(builder, key.referenced),
                    key: key.value,
                    value: node(builder, value),
                })
                .collect(),
        ),
    };
    Node { span: place, kind }
}

enum Raw {
    Null,
    Bool(bool),
    /// `None` when it does not even fit 128 bits.
    Integer(Option<i128>),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Integer(Some(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Integer(Some(value.into())))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Integer(Some(value)))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Integer(value.try_into().ok()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}
