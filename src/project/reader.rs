//! Reads the tables of a settings file: every key is known or refused, every value has its kind or a place to mend it.

use std::ops::{Range, RangeInclusive};
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::input::{Problem, Source};
use crate::store::SecretSource;
use crate::suggest::nearest;

pub(super) struct Reader<'s> {
    pub(super) source: &'s Source,
    pub(super) problems: Vec<Problem>,
    /// The project's folder: paths in settings begin there.
    pub(super) root: &'s Path,
    /// Where secrets stand that ought not to, or may stand: no message shows these bytes.
    pub(super) hidden: Vec<Range<usize>>,
}

impl Reader<'_> {
    pub(super) fn wrong(&mut self, span: Range<usize>, message: impl Into<String>, hint: Option<&str>) {
        let problem = self.source.problem(span, message).maybe_hint(hint.map(str::to_owned));
        self.problems.push(problem);
    }

    /// The problems in the order of their places, none of which shows a secret.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        let mut bytes = self.source.text.clone().into_bytes();
        for byte in self.hidden.iter().flat_map(Clone::clone) {
            // Columns must stay, so a letter of many bytes becomes one star and nothing.
            bytes[byte] = match bytes[byte] {
                b'\n' | b'\r' => bytes[byte],
                continued if continued & 0xc0 == 0x80 => 0,
                _ => b'*',
            };
        }
        bytes.retain(|byte| *byte != 0);
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        for place in self.problems.iter_mut().filter_map(|problem| problem.place.as_mut()) {
            lines.get(place.line - 1).copied().unwrap_or_default().clone_into(&mut place.text);
        }
        self.problems.sort_by_key(|problem| problem.place.as_ref().map(|place| (place.line, place.column)));
        self.problems
    }
}

/// A table under way: remembers which keys were asked for.
pub(super) struct Table<'t> {
    /// How a person calls it: `target prod`.
    pub(super) what: String,
    pub(super) span: Range<usize>,
    entries: &'t DeTable<'t>,
    known: Vec<&'static str>,
}

/// A value with its place.
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<'t> Table<'t> {
    pub(super) fn new(what: impl Into<String>, span: Range<usize>, entries: &'t DeTable<'t>) -> Self {
        Self { what: what.into(), span, entries, known: Vec::new() }
    }

    fn get(&mut self, key: &'static str) -> Option<&'t toml::Spanned<DeValue<'t>>> {
        self.known.push(key);
        self.entries.get(key)
    }

    /// Where the key stands, or else the table.
    pub(super) fn key_span(&self, key: &str) -> Range<usize> {
        self.entries.get_key_value(key).map_or_else(|| self.span.clone(), |(key, _)| key.span())
    }

    /// The tables inside, under names that the user chose.
    pub(super) fn named(self, reader: &mut Reader<'_>, what: &str) -> Vec<(Placed<String>, Table<'t>)> {
        let mut tables = Vec::new();
        for (key, value) in self.entries {
            let name = Placed { value: key.get_ref().to_string(), span: key.span() };
            if let DeValue::Table(table) = value.get_ref() {
                let span = header_or(value.span(), &name.span);
                tables.push((
                    Placed { value: name.value.clone(), span: name.span },
                    Table::new(format!("{what} `{}`", name.value), span, table),
                ));
            } else {
                reader.wrong(value.span(), format!("{what} `{}` must be a table", name.value), None);
            }
        }
        // As written, not by name: problems come in the file's order.
        tables.sort_by_key(|(name, _)| name.span.start);
        tables
    }

    /// The secret sources inside, under names that the user chose.
    pub(super) fn named_secrets(self, reader: &mut Reader<'_>) -> Vec<(Placed<String>, SecretSource)> {
        let mut sources = Vec::new();
        for (key, value) in self.entries {
            if let Some(source) = secret(reader, key.get_ref(), value) {
                sources.push((Placed { value: key.get_ref().to_string(), span: key.span() }, source));
            }
        }
        sources
    }

    pub(super) fn table(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        what: impl Into<String>,
    ) -> Option<Table<'t>> {
        let value = self.get(key)?;
        if let DeValue::Table(table) = value.get_ref() {
            let span = header_or(value.span(), &self.key_span(key));
            return Some(Table::new(what, span, table));
        }
        reader.wrong(value.span(), format!("`{key}` must be a table"), None);
        None
    }

    pub(super) fn text(&mut self, reader: &mut Reader<'_>, key: &'static str) -> Option<Placed<String>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::String(text) if !text.trim().is_empty() => {
                Some(Placed { value: text.to_string(), span: value.span() })
            }
            DeValue::String(_) => {
                reader.wrong(value.span(), format!("`{key}` is empty"), None);
                None
            }
            _ => {
                reader.wrong(value.span(), format!("`{key}` must be text"), Some("write it in quotes"));
                None
            }
        }
    }

    pub(super) fn number(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let value = self.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let message = format!("`{key}` must be a whole number from {} to {}", range.start(), range.end());
            reader.wrong(value.span(), message, None);
        }
        number
    }

    /// A secret's source.
    pub(super) fn secret(&mut self, reader: &mut Reader<'_>, key: &'static str) -> Option<SecretSource> {
        let value = self.get(key)?;
        secret(reader, key, value)
    }

    /// A text that is no secret, or where to get it.
    pub(super) fn text_or_source(&mut self, reader: &mut Reader<'_>, key: &'static str) -> Option<SecretSource> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::String(text) if !text.trim().is_empty() => Some(SecretSource::literal(text.to_string())),
            _ => secret(reader, key, value),
        }
    }

    /// Makes a key known that is judged elsewhere.
    pub(super) fn know(&mut self, key: &'static str) {
        self.known.push(key);
    }

    /// Whether a key that nobody asked for was probably meant to be this one: then it is not missing.
    pub(super) fn misspells(&self, key: &str) -> bool {
        let unknown = |name: &str| !self.known.contains(&name) && name != key;
        self.entries.keys().any(|name| unknown(name.get_ref()) && nearest(name.get_ref(), [key]).is_some())
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether a table stands there.
    pub(super) fn has_table(&self, key: &str) -> bool {
        self.entries.get(key).is_some_and(|value| matches!(value.get_ref(), DeValue::Table(_)))
    }

    /// Refuses the keys that nobody asked for.
    pub(super) fn finish(self, reader: &mut Reader<'_>) {
        for (key, value) in self.entries {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            // Perhaps a secret under a misspelt name.
            hide_texts(value, &mut reader.hidden);
            let hint = match nearest(name, self.known.iter().copied()) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => format!("known are {}", self.known.join(", ")),
            };
            reader.wrong(key.span(), format!("unknown key `{name}` in {}", self.what), Some(&hint));
        }
    }
}

fn hide_texts(value: &toml::Spanned<DeValue<'_>>, hidden: &mut Vec<Range<usize>>) {
    match value.get_ref() {
        DeValue::String(_) => hidden.push(value.span()),
        DeValue::Array(items) => items.iter().for_each(|item| hide_texts(item, hidden)),
        DeValue::Table(table) => table.values().for_each(|item| hide_texts(item, hidden)),
        _ => {}
    }
}

/// A table that only its dotted keys make (`regions.eu = …`) has no place of its own that a person would know.
fn header_or(span: Range<usize>, key: &Range<usize>) -> Range<usize> {
    if span.is_empty() { key.clone() } else { span }
}

const SOURCES: &str =
    "write where it comes from: { env = \"NAME\" }, { file = \"path\" } or { command = [\"program\", \"argument\"] }";

fn secret(reader: &mut Reader<'_>, key: &str, value: &toml::Spanned<DeValue<'_>>) -> Option<SecretSource> {
    let table = match value.get_ref() {
        DeValue::Table(table) => table,
        DeValue::String(_) => {
            reader.hidden.push(value.span());
            let message = format!("`{key}` is a secret and must not stand in this file");
            reader.wrong(value.span(), message, Some(SOURCES));
            return None;
        }
        _ => {
            reader.wrong(value.span(), format!("`{key}` must be the source of a secret"), Some(SOURCES));
            return None;
        }
    };
    let mut table = Table::new(format!("`{key}`"), value.span(), table);
    let given = ["env", "file", "command"].iter().filter(|key| table.has(key)).count();
    let source = (
        table.text(reader, "env").map(|name| SecretSource::Env(name.value)),
        table.text(reader, "file").map(|path| SecretSource::File(reader.root.join(path.value))),
        table.get("command").and_then(|command| self::command(reader, command)),
    );
    let span = table.span.clone();
    let before = reader.problems.len();
    table.finish(reader);
    if given != 1 && reader.problems.len() == before {
        reader.wrong(span, format!("`{key}` must have exactly one source"), Some(SOURCES));
        return None;
    }
    source.0.or(source.1).or(source.2)
}

fn command(reader: &mut Reader<'_>, value: &toml::Spanned<DeValue<'_>>) -> Option<SecretSource> {
    let arguments: Option<Vec<String>> = match value.get_ref() {
        DeValue::Array(items) => items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    match arguments {
        Some(arguments) if arguments.first().is_some_and(|program| !program.is_empty()) => {
            Some(SecretSource::Command { arguments, folder: reader.root.to_owned() })
        }
        _ => {
            let hint = "there is no shell: write command = [\"op\", \"read\", \"op://vault/item/field\"]";
            reader.wrong(value.span(), "`command` must be a list of texts: a program and its arguments", Some(hint));
            None
        }
    }
}
