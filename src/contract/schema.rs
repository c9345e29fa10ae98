//! The part of JSON Schema that the contract uses, read into a form that is quick to walk.

use std::collections::HashMap;
use std::sync::OnceLock;

use regex::Regex;
use serde_json::Value;

use super::text::Text;
use super::{EMBEDDED, contract};

/// A schema that is read when somebody asks for it.
#[derive(Debug)]
pub(super) struct Lazy {
    text: Text,
    amendment: Option<Text>,
    schema: OnceLock<Schema>,
}

impl Lazy {
    /// The schema written as `text`, with what `amendment` says in place of or beside it.
    pub(super) fn new(text: Text, amendment: Option<Text>) -> Self {
        Self { text, amendment, schema: OnceLock::new() }
    }

    pub(super) fn text(&self) -> Text {
        self.text
    }

    pub(super) fn get(&self) -> &Schema {
        self.schema.get_or_init(|| Schema::read(Some(self.text), self.amendment))
    }
}

/// The schemas that have a name, by it.
pub(super) type Named = HashMap<&'static str, Lazy>;

/// One schema.
#[derive(Debug, Default)]
pub(super) struct Schema {
    /// The named schema that stands here instead.
    pub(super) reference: Option<&'static str>,
    pub(super) types: Types,
    pub(super) format: Option<Format>,
    /// The only values allowed, when not empty.
    pub(super) choices: Vec<Value>,
    pub(super) minimum: Option<f64>,
    pub(super) maximum: Option<f64>,
    pub(super) multiple_of: Option<f64>,
    pub(super) min_length: Option<usize>,
    pub(super) max_length: Option<usize>,
    pub(super) pattern: Option<Pattern>,
    pub(super) min_items: Option<usize>,
    pub(super) max_items: Option<usize>,
    pub(super) unique_items: bool,
    pub(super) max_properties: Option<usize>,
    pub(super) items: Option<Box<Schema>>,
    /// Sorted by name.
    properties: Vec<(&'static str, Schema)>,
    pub(super) required: Vec<&'static str>,
    pub(super) additional: Additional,
    pub(super) all_of: Vec<Schema>,
    /// `anyOf` and `oneOf` alike: the published alternatives overlap, so "exactly one" would refuse what Qlik takes.
    pub(super) any_of: Vec<Schema>,
    pub(super) read_only: bool,
}

/// What a schema says about members that it does not list.
#[derive(Debug, Default)]
pub(super) enum Additional {
    /// Nothing: then they are taken for mistakes.
    #[default]
    Unstated,
    /// They may be anything.
    Any,
    /// They must be like this.
    Like(Box<Schema>),
}

/// A regular expression, compiled when it is first needed.
#[derive(Debug)]
pub(super) struct Pattern {
    source: String,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| Regex::new(&self.source).ok());
        compiled.as_ref().is_none_or(|regex| regex.is_match(text))
    }
}

/// The formats that are checked. The others are either no format at all (`string`), never published exactly (`uid`),
/// or not what the service insists on (`uri`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Uuid,
    DateTime,
    Date,
    Int32,
    Binary,
}

/// A set of JSON types; empty means any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Types(u8);

/// Names of the types, each at the bit that stands for it.
const TYPE_NAMES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];

impl Types {
    pub(super) fn named(name: &str) -> Self {
        Self(TYPE_NAMES.iter().position(|known| *known == name).map_or(0, |bit| 1 << bit))
    }

    /// The type of a value; a whole number is both an integer and a number.
    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::named("null"),
            Value::Bool(_) => Self::named("boolean"),
            Value::Number(number) if number.as_f64().is_some_and(|number| number.fract() == 0.0) => {
                Self::named("integer").or(Self::named("number"))
            }
            Value::Number(_) => Self::named("number"),
            Value::String(_) => Self::named("string"),
            Value::Array(_) => Self::named("array"),
            Value::Object(_) => Self::named("object"),
        }
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn admits(self, other: Self) -> bool {
        self.0 == 0 || self.0 & other.0 != 0
    }

    pub(super) fn has(self, name: &str) -> bool {
        self.0 & Self::named(name).0 != 0
    }

    /// The names in the set.
    pub(super) fn names(self) -> impl Iterator<Item = &'static str> {
        TYPE_NAMES.into_iter().enumerate().filter(move |(bit, _)| self.0 & (1 << bit) != 0).map(|(_, name)| name)
    }
}

impl Schema {
    /// The schema written as `text`. An `amendment` adds to properties and items and replaces any other member.
    fn read(text: Option<Text>, amendment: Option<Text>) -> Self {
        let mut schema = Self::default();
        for source in [text, amendment].into_iter().flatten() {
            for (name, value) in source.members() {
                schema.take(name, value);
            }
        }
        let items = |source: Option<Text>| source.and_then(|source| source.get("items"));
        if items(text).or(items(amendment)).is_some() {
            schema.items = Some(Box::new(Self::read(items(text), items(amendment))));
        }
        schema.properties = properties(text, amendment);
        schema
    }

    fn take(&mut self, name: &str, value: Text) {
        let list = |value: Text| value.items().map(|item| Self::read(Some(item), None)).collect();
        match name {
            "$ref" => self.reference = value.as_str().and_then(|path| path.rsplit('/').next()),
            "type" => {
                self.types = match value.as_str() {
                    Some(name) => Types::named(name),
                    None => value
                        .items()
                        .filter_map(Text::as_str)
                        .fold(Types::default(), |all, name| all.or(Types::named(name))),
                };
            }
            "format" => {
                self.format = match value.as_str() {
                    Some("uuid") => Some(Format::Uuid),
                    Some("date-time") => Some(Format::DateTime),
                    Some("date") => Some(Format::Date),
                    Some("int32") => Some(Format::Int32),
                    Some("binary") => Some(Format::Binary),
                    _ => None,
                };
            }
            "enum" => self.choices = value.parse().unwrap_or_default(),
            "minimum" => self.minimum = value.parse(),
            "maximum" => self.maximum = value.parse(),
            "multipleOf" => self.multiple_of = value.parse(),
            "minLength" => self.min_length = value.parse(),
            "maxLength" => self.max_length = value.parse(),
            "pattern" => {
                self.pattern = value.parse().map(|source| Pattern { source, compiled: OnceLock::new() });
            }
            "minItems" => self.min_items = value.parse(),
            "maxItems" => self.max_items = value.parse(),
            "uniqueItems" => self.unique_items = value.is_true(),
            "maxProperties" => self.max_properties = value.parse(),
            // The service refuses a request without these, although the published types call them optional.
            "required" | "x-effectively-required" => self.required = value.items().filter_map(Text::as_str).collect(),
            "additionalProperties" => {
                self.additional = if value.is_true() {
                    Additional::Any
                } else {
                    Additional::Like(Box::new(Self::read(Some(value), None)))
                };
            }
            "allOf" => self.all_of = list(value),
            "anyOf" | "oneOf" => self.any_of = list(value),
            "readOnly" => self.read_only = value.is_true(),
            _ => {}
        }
    }

    /// The schema that is meant: itself, or the named one it refers to.
    pub(super) fn resolved(&self) -> &Self {
        let mut schema = self;
        while let Some(name) = schema.reference {
            schema = contract().named().get(name).expect(EMBEDDED).get();
        }
        schema
    }

    pub(super) fn property(&self, name: &str) -> Option<&Self> {
        let place = self.properties.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
        Some(&self.properties[place].1)
    }

    pub(super) fn properties(&self) -> impl Iterator<Item = (&'static str, &Self)> {
        self.properties.iter().map(|(name, schema)| (*name, schema))
    }

    /// Whether nothing is said of what a value has inside.
    pub(super) fn is_open(&self) -> bool {
        let schema = self.resolved();
        let told = schema.items.is_some() || !schema.all_of.is_empty() || !schema.any_of.is_empty();
        schema.properties.is_empty() && !told
    }

    /// Whether some value of the schema can have something at `pattern`: members by name, `*` for any item or member,
    /// `**` for anything at any depth.
    #[cfg(test)]
    pub(super) fn leads(&self, pattern: &[&str]) -> bool {
        let schema = self.resolved();
        let Some((first, rest)) = pattern.split_first() else { return true };
        let open = matches!(schema.additional, Additional::Like(_) | Additional::Any);
        let further = match *first {
            "**" => true,
            "*" => schema.items.as_ref().is_some_and(|items| items.leads(rest)) || open,
            name => schema.property(name).is_some_and(|property| property.leads(rest)),
        };
        further || schema.all_of.iter().chain(&schema.any_of).any(|part| part.leads(pattern))
    }

    /// Adds the names of all members known here or in any part this is composed of. `false` when a part leaves its
    /// members open, so that no name can be called unknown.
    pub(super) fn known(&self, names: &mut Vec<&'static str>) -> bool {
        let schema = self.resolved();
        names.extend(schema.properties.iter().map(|(name, _)| *name));
        let stated = !matches!(schema.additional, Additional::Unstated);
        let composed = !schema.all_of.is_empty() || !schema.any_of.is_empty();
        // A part that only says `required` adds no names and opens nothing; one that is just an object opens all.
        let open = stated
            || (schema.properties.is_empty()
                && !composed
                && schema.required.is_empty()
                && schema.types.admits(Types::named("object")));
        let mut closed = !open;
        for part in schema.all_of.iter().chain(&schema.any_of) {
            closed &= part.known(names);
        }
        closed
    }
}

fn properties(text: Option<Text>, amendment: Option<Text>) -> Vec<(&'static str, Schema)> {
    let of = |source: Option<Text>| source.and_then(|source| source.get("properties"));
    let (written, amended) = (of(text), of(amendment));
    let mut properties: Vec<(&'static str, Schema)> = Vec::new();
    for (name, text) in written.into_iter().flat_map(Text::members) {
        properties.push((name, Schema::read(Some(text), amended.and_then(|amended| amended.get(name)))));
    }
    for (name, text) in amended.into_iter().flat_map(Text::members) {
        if !properties.iter().any(|(known, _)| *known == name) {
            properties.push((name, Schema::read(Some(text), None)));
        }
    }
    properties.sort_by_key(|(name, _)| *name);
    properties
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows every schema, so that a reference to nothing or a pattern that does not compile shows here.
    fn follow(schema: &Schema, count: &mut usize) {
        *count += 1;
        if let Some(name) = schema.reference {
            assert!(contract().named().contains_key(name), "{name}");
        }
        if let Some(pattern) = &schema.pattern {
            Regex::new(pattern.source()).unwrap();
        }
        let like = match &schema.additional {
            Additional::Like(like) => Some(&**like),
            Additional::Any | Additional::Unstated => None,
        };
        let parts = schema.all_of.iter().chain(&schema.any_of).chain(schema.items.as_deref()).chain(like);
        for part in parts.chain(schema.properties().map(|(_, property)| property)) {
            follow(part, count);
        }
    }

    #[test]
    fn every_schema_can_be_read_and_every_reference_leads_somewhere() {
        let mut count = 0;
        for schema in contract().named().values() {
            follow(schema.get(), &mut count);
        }
        for published in contract().operations() {
            if let Some(body) = &published.body {
                follow(body.schema(), &mut count);
            }
            for parameter in &published.parameters {
                follow(parameter.schema.as_ref().unwrap().get(), &mut count);
            }
            for schema in published.answers().iter().filter_map(|answer| answer.schema.as_ref()) {
                follow(schema.get(), &mut count);
            }
        }
        assert!(count > 10_000, "{count}");
    }
}
