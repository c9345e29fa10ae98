//! One tree for YAML, JSON and TOML, each node with its place.

use std::ops::Range;

use serde_json::{Map, Number, Value};
use toml::de::{DeTable, DeValue};

use super::input::{InputError, Problem, Source};
use super::{json, yaml};
use crate::operation::secret;

/// The deepest nesting that values may have on their way into a playbook.
pub(super) const DEEPEST: usize = 128;

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) span: Range<usize>,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) value: Node,
}

/// The file extensions that documents have.
pub(super) const EXTENSIONS: [&str; 4] = ["yaml", "yml", "json", "toml"];

impl Node {
    /// Reads a document by its file's extension.
    pub(super) fn read(source: &Source) -> Result<Self, InputError> {
        let extension = source.path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let mut builder = Builder { source, problems: Vec::new() };
        let root = match extension.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => yaml::read(&mut builder)?,
            "json" => json::read(&mut builder)?,
            "toml" => {
                let table = parse_toml(source)?;
                builder.toml_table(table.span(), table.get_ref())
            }
            other => {
                let problem = Problem::new(format!("`.{other}` is no known kind of document")).file(&source.path);
                return Err(problem.hint(format!("known are .{}", EXTENSIONS.join(", ."))).into());
            }
        };
        builder.check(&root, 1);
        let mut problems = builder.problems;
        problems.sort_by_key(|problem| problem.place.as_ref().map(|place| (place.line, place.column)));
        if problems.is_empty() { Ok(root) } else { Err(InputError::new(problems)) }
    }

    pub(super) fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(number) => Value::Number(number.clone()),
            Kind::Text(text) => Value::String(text.clone()),
            Kind::List(items) => items.iter().map(Self::to_value).collect(),
            Kind::Map(entries) => Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_value())).collect::<Map<_, _>>(),
            ),
        }
    }

    /// The place of the value at the end of `path`, or of its nearest ancestor that is there.
    pub(super) fn place_of<'p>(&self, path: impl IntoIterator<Item = &'p str>) -> Range<usize> {
        let mut node = self;
        for step in path {
            let next = match &node.kind {
                Kind::List(items) => step.parse().ok().and_then(|index: usize| items.get(index)),
                Kind::Map(entries) => entries.iter().find(|entry| entry.key == step).map(|entry| &entry.value),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node.span.clone()
    }

    /// The place of the key `key` in the map at the end of `path`.
    pub(super) fn place_of_key<'p>(&self, path: impl IntoIterator<Item = &'p str>, key: &str) -> Option<Range<usize>> {
        let mut node = self;
        for step in path {
            node = match &node.kind {
                Kind::List(items) => items.get(step.parse::<usize>().ok()?)?,
                Kind::Map(entries) => &entries.iter().find(|entry| entry.key == step)?.value,
                _ => return None,
            };
        }
        match &node.kind {
            Kind::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| entry.key_span.clone()),
            _ => None,
        }
    }
}

/// Parses TOML.
pub(super) fn parse_toml(source: &Source) -> Result<toml::Spanned<DeTable<'_>>, Problem> {
    DeTable::parse(&source.text).map_err(|error| {
        let message = format!("is not TOML: {}", error.message().lines().collect::<Vec<_>>().join("; "));
        match error.span() {
            Some(span) => source.problem(span, message),
            None => Problem::new(message).file(&source.path),
        }
    })
}

/// Makes nodes, and notes what JSON values cannot hold.
pub(super) struct Builder<'s> {
    pub(super) source: &'s Source,
    pub(super) problems: Vec<Problem>,
}

impl Builder<'_> {
    fn wrong(&mut self, span: Range<usize>, message: impl Into<String>, hint: &str) {
        self.problems.push(self.source.problem(span, message).hint(hint));
    }

    /// A whole number; playbooks know 64 signed bits.
    pub(super) fn integer(&mut self, span: Range<usize>, number: Option<i128>) -> Kind {
        if let Some(number) = number.and_then(|number| i64::try_from(number).ok()) {
            return Kind::Number(number.into());
        }
        self.wrong(span, "this number is too large to be kept exactly", "write it in quotes, as text");
        Kind::Null
    }

    /// A fraction, refused when reading it loses digits that were `written`.
    pub(super) fn float(&mut self, span: Range<usize>, number: f64, written: &str) -> Kind {
        let exact = digits(written).is_none_or(|written| digits(&format!("{number:e}")) == Some(written));
        match Number::from_f64(number) {
            Some(number) if exact => Kind::Number(number),
            Some(_) => {
                self.wrong(span, "this number has more digits than can be kept exactly", "write it in quotes, as text");
                Kind::Null
            }
            None => {
                self.wrong(span, "this is not a finite number", "leave it out, or write it in quotes, as text");
                Kind::Null
            }
        }
    }

    fn toml_table(&mut self, span: Range<usize>, table: &DeTable<'_>) -> Node {
        let entries = table.iter().map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_span: key.span(),
            value: self.toml_value(value.span(), value.get_ref()),
        });
        Node { span, kind: Kind::Map(entries.collect()) }
    }

    fn toml_value(&mut self, span: Range<usize>, value: &DeValue<'_>) -> Node {
        let kind = match value {
            DeValue::String(text) => Kind::Text(text.to_string()),
            DeValue::Integer(number) => {
                let whole = i128::from_str_radix(number.as_str(), number.radix()).ok();
                self.integer(span.clone(), whole)
            }
            DeValue::Float(number) => {
                let written = number.as_str();
                self.float(span.clone(), written.parse().unwrap_or(f64::NAN), written)
            }
            DeValue::Boolean(value) => Kind::Bool(*value),
            DeValue::Datetime(moment) => Kind::Text(moment.to_string()),
            DeValue::Array(items) => {
                Kind::List(items.iter().map(|item| self.toml_value(item.span(), item.get_ref())).collect())
            }
            DeValue::Table(table) => return self.toml_table(span, table),
        };
        Node { span, kind }
    }

    /// What no value may have, whatever the language it was written in.
    fn check(&mut self, node: &Node, depth: usize) {
        if depth > DEEPEST {
            let problem = self.source.problem(node.span.clone(), format!("values are nested more than {DEEPEST} deep"));
            return self.problems.push(problem);
        }
        match &node.kind {
            Kind::List(items) => items.iter().for_each(|item| self.check(item, depth + 1)),
            Kind::Map(entries) => {
                let mut seen = std::collections::HashSet::new();
                for entry in entries {
                    if entry.key == secret::KEY {
                        let hint =
                            "give the secret a source in tenantry.toml and read it in the playbook: secret(\"name\")";
                        self.wrong(entry.key_span.clone(), "the key `$secret` is reserved", hint);
                    }
                    if !seen.insert(&entry.key) {
                        let message = format!("the key `{}` is here twice", entry.key);
                        self.wrong(entry.key_span.clone(), message, "keep one of them");
                    }
                    self.check(&entry.value, depth + 1);
                }
            }
            _ => {}
        }
    }
}

/// The significant digits of a decimal number; `None` when the text is not one.
fn digits(text: &str) -> Option<String> {
    let mantissa = text.trim_start_matches(['+', '-']).split(['e', 'E']).next()?;
    if !mantissa.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'_')) {
        return None;
    }
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    Some(digits.trim_matches('0').to_owned())
}
