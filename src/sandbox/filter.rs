//! SCIM filters (RFC 7644, section 3.4.2.2) in the part Qlik's lists take: `eq`, `co`, `and`, `or`, `not`, groups.

use serde_json::Value;

use super::refusal::Refusal;
use super::state::Document;

/// How deep groups may nest.
const DEPTH: usize = 32;

/// A filter that was understood.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    /// The field of this path equals the value, text without regard to case.
    Equals(String, Value),
    /// The text of the field of this path contains the text, without regard to case.
    Contains(String, String),
}

/// What a resource's filters may name: paths for `eq`, and those that also take `co`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields {
    pub(super) eq: &'static [&'static str],
    pub(super) co: &'static [&'static str],
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// 400 when it is no filter, or names a field that cannot be filtered so.
    pub(super) fn parse(text: &str, fields: Fields) -> Result<Self, Refusal> {
        let refuse = |reason: String| Refusal::bad_request(format!("invalid filter: {reason}")).parameter("filter");
        let tokens = tokens(text).map_err(refuse)?;
        let mut parser = Parser { tokens, at: 0, fields };
        let filter = parser.any(0).map_err(refuse)?;
        match parser.tokens.get(parser.at) {
            None => Ok(filter),
            Some(token) => Err(refuse(format!("unexpected {token:?}"))),
        }
    }

    /// Whether a document passes.
    pub(super) fn passes(&self, document: &Value) -> bool {
        match self {
            Self::And(parts) => parts.iter().all(|part| part.passes(document)),
            Self::Or(parts) => parts.iter().any(|part| part.passes(document)),
            Self::Not(part) => !part.passes(document),
            Self::Equals(path, value) => any_at(document, path, &mut |held| match (held, value) {
                (Value::String(held), Value::String(value)) => held.to_lowercase() == value.to_lowercase(),
                (held, value) => held == value,
            }),
            Self::Contains(path, text) => any_at(document, path, &mut |held| {
                held.as_str().is_some_and(|held| held.to_lowercase().contains(&text.to_lowercase()))
            }),
        }
    }

    /// The text that a field must equal for any document to pass: lets a caller look it up instead of walking all.
    pub(super) fn demands(&self, field: &str) -> Option<&str> {
        match self {
            Self::Equals(path, Value::String(value)) if path == field => Some(value),
            Self::And(parts) => parts.iter().find_map(|part| part.demands(field)),
            _ => None,
        }
    }

    /// Whether any comparison names a field that begins so.
    pub(super) fn mentions(&self, field: &str) -> bool {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().any(|part| part.mentions(field)),
            Self::Not(part) => part.mentions(field),
            Self::Equals(path, _) | Self::Contains(path, _) => path.starts_with(field),
        }
    }

    /// Whether the comparisons of a field stand together and apply to the whole filter, as users want it of `status`.
    pub(super) fn groups(&self, field: &str) -> bool {
        let apart = |part: &Self| !part.mentions(field) || part.only(field);
        match self {
            Self::And(parts) => parts.iter().all(apart),
            whole => apart(whole),
        }
    }

    fn only(&self, field: &str) -> bool {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().all(|part| part.only(field)),
            Self::Not(part) => part.only(field),
            Self::Equals(path, _) | Self::Contains(path, _) => path == field,
        }
    }

    /// How many comparisons of a field there are.
    pub(super) fn count(&self, field: &str) -> usize {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().map(|part| part.count(field)).sum(),
            Self::Not(part) => part.count(field),
            Self::Equals(path, _) | Self::Contains(path, _) => usize::from(path == field),
        }
    }

    /// The documents that pass.
    pub(super) fn apply(&self, documents: Vec<Document>) -> Vec<Document> {
        documents.into_iter().filter(|document| self.passes(document)).collect()
    }
}

/// Whether any value at a dotted path passes; lists on the way stand for each of their members.
fn any_at(value: &Value, path: &str, test: &mut impl FnMut(&Value) -> bool) -> bool {
    if let Value::Array(list) = value {
        return list.iter().any(|item| any_at(item, path, test));
    }
    if path.is_empty() {
        return test(value);
    }
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    value.get(first).is_some_and(|held| any_at(held, rest, test))
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Open,
    Close,
    Word(String),
    Text(String),
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        match first {
            '(' | ')' => {
                tokens.push(if first == '(' { Token::Open } else { Token::Close });
                rest = &rest[1..];
            }
            '"' => {
                let mut values = serde_json::Deserializer::from_str(rest).into_iter::<String>();
                let value = values.next().and_then(Result::ok).ok_or_else(|| format!("text without an end: {rest}"))?;
                rest = &rest[values.byte_offset()..];
                tokens.push(Token::Text(value));
            }
            space if space.is_whitespace() => rest = rest.trim_start(),
            _ => {
                let end = rest.find(|c: char| c.is_whitespace() || "()\"".contains(c)).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..end].to_owned()));
                rest = &rest[end..];
            }
        }
    }
    Ok(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    fields: Fields,
}

impl Parser {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn takes(&mut self, word: &str) -> bool {
        let is = matches!(self.tokens.get(self.at), Some(Token::Word(held)) if held.eq_ignore_ascii_case(word));
        self.at += usize::from(is);
        is
    }

    fn any(&mut self, depth: usize) -> Result<Filter, String> {
        let mut parts = vec![self.all(depth)?];
        while self.takes("or") {
            parts.push(self.all(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::Or(parts) })
    }

    fn all(&mut self, depth: usize) -> Result<Filter, String> {
        let mut parts = vec![self.one(depth)?];
        while self.takes("and") {
            parts.push(self.one(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::And(parts) })
    }

    fn one(&mut self, depth: usize) -> Result<Filter, String> {
        if depth > DEPTH {
            return Err("nested too deep".to_owned());
        }
        if self.takes("not") {
            return Ok(Filter::Not(Box::new(self.one(depth + 1)?)));
        }
        match self.next() {
            Some(Token::Open) => {
                let inner = self.any(depth + 1)?;
                match self.next() {
                    Some(Token::Close) => Ok(inner),
                    _ => Err("a group has no end".to_owned()),
                }
            }
            Some(Token::Word(path)) => self.comparison(&path),
            Some(other) => Err(format!("a field name was expected, not {other:?}")),
            None => Err("it ends too early".to_owned()),
        }
    }

    fn comparison(&mut self, path: &str) -> Result<Filter, String> {
        let Some(Token::Word(operator)) = self.next() else {
            return Err(format!("an operator was expected after `{path}`"));
        };
        let operator = operator.to_ascii_lowercase();
        let allowed = match operator.as_str() {
            "eq" => self.fields.eq,
            "co" => self.fields.co,
            _ => return Err(format!("the operator `{operator}` is not supported; supported: eq, co")),
        };
        let Some(path) = allowed.iter().find(|held| held.eq_ignore_ascii_case(path)) else {
            return Err(format!("`{path}` cannot be filtered with `{operator}`; it can on: {}", allowed.join(", ")));
        };
        let value = match self.next() {
            Some(Token::Text(text)) => Value::String(text),
            Some(Token::Word(word)) => serde_json::from_str(&word).map_err(|_| format!("`{word}` is no value"))?,
            _ => return Err(format!("a value was expected after `{path} {operator}`")),
        };
        match (operator.as_str(), value) {
            ("co", Value::String(text)) => Ok(Filter::Contains((*path).to_owned(), text)),
            ("co", _) => Err("`co` takes text".to_owned()),
            (_, value) => Ok(Filter::Equals((*path).to_owned(), value)),
        }
    }
}
