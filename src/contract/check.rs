//! Whether a request is one Qlik would understand, and an answer one Qlik could give.

use http::HeaderMap;
use serde_json::Value;

use super::published::{Answer, BodyFacts, BodyKind, Parameter, ParameterPlace, Published};
use super::route::PathVars;
use super::schema::{Format, Lazy, Schema, Types};
use super::text::Text;
use super::violation::{Place, Violation, list};
use super::walk::{Manner, faults};
use super::{EMBEDDED, contract};
use crate::operation::{Body, Content, HeaderText, Request};
use crate::suggest::did_you_mean;

/// A request as it is checked: by part, borrowed, decoded.
#[derive(Clone, Debug, Default)]
pub struct Asked<'r> {
    /// The path's variables.
    pub variables: PathVars,
    /// Query parameters, decoded, in order.
    pub query: Vec<(&'r str, &'r str)>,
    /// Headers; `None` where the text is a secret. `None` as a whole when they are not known yet: then none is missed.
    pub headers: Option<Vec<(&'r str, Option<&'r str>)>>,
    /// The body.
    pub body: Sent<'r>,
}

/// The body of a request as it is checked.
#[derive(Clone, Debug, Default)]
pub enum Sent<'r> {
    /// None.
    #[default]
    Nothing,
    /// A JSON document, or a form read into one.
    Json(&'r Value),
    /// `multipart/form-data`: each part's name, and its document when it is not a file.
    Parts(Vec<(&'r str, Option<&'r Value>)>),
    /// Bytes.
    Bytes,
}

/// How closely an answer is held to the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Only published statuses and published fields: what the sandbox answers must be this.
    Exact,
    /// Fields beyond the published ones and unpublished error statuses are fine: the service grows.
    Tolerant,
}

impl<'r> From<&'r Body> for Sent<'r> {
    fn from(body: &'r Body) -> Self {
        match body {
            Body::Empty => Self::Nothing,
            Body::Json(value) => Self::Json(value),
            Body::File { .. } | Body::Exported { .. } => Self::Bytes,
            Body::Multipart(parts) => Self::Parts(
                parts
                    .iter()
                    .map(|part| match &part.content {
                        Content::Json(value) => (part.name.as_str(), Some(value)),
                        Content::File { .. } | Content::Text(_) | Content::Bundle(_) => (part.name.as_str(), None),
                    })
                    .collect(),
            ),
        }
    }
}

impl<'r> Asked<'r> {
    /// A request that only has a body.
    #[must_use]
    pub fn body(body: Sent<'r>) -> Self {
        Self { body, ..Self::default() }
    }

    /// The headers of an HTTP message, those that are text.
    #[must_use]
    pub fn with_headers(mut self, headers: &'r HeaderMap) -> Self {
        self.headers = Some(headers.iter().map(|(name, value)| (name.as_str(), value.to_str().ok())).collect());
        self
    }
}

impl Published {
    /// Checks a request against what is published.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with the name of the field and what would be right.
    pub fn check(&self, asked: &Asked) -> Result<(), Vec<Violation>> {
        let mut violations = Vec::new();
        self.check_variables(&asked.variables, &mut violations);
        self.check_query(&asked.query, &mut violations);
        if let Some(headers) = &asked.headers {
            self.check_headers(headers, &mut violations);
        }
        self.check_body(&asked.body, &mut violations);
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }

    /// Checks a request of this operation as a playbook asks it.
    ///
    /// # Errors
    /// As [`Published::check`]; also when the path is not this operation's.
    pub fn check_request(&self, request: &Request) -> Result<(), Vec<Violation>> {
        // The link to a page was made by the service.
        if request.next.is_some() {
            return Ok(());
        }
        let found = contract().find(&request.method, &request.path).filter(|(found, _)| found.id == self.id);
        let Some((_, variables)) = found else {
            let message = format!("`{} {}` is not {self}", request.method, request.path);
            return Err(vec![Violation::new(Place::Path, "", message)]);
        };
        self.check(&Asked {
            variables,
            query: request.query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            headers: Some(
                request
                    .headers
                    .iter()
                    .map(|(name, value)| match value {
                        HeaderText::Text(text) => (name.as_str(), Some(text.as_str())),
                        HeaderText::Bearer(_) => (name.as_str(), None),
                    })
                    .collect(),
            ),
            body: Sent::from(&request.body),
        })
    }

    fn check_variables(&self, variables: &PathVars, violations: &mut Vec<Violation>) {
        for parameter in self.parameters_in(ParameterPlace::Path) {
            // A missing one is told when the path is made; a request that has come in by its path has all.
            if let Some(value) = variables.get(parameter.name) {
                parameter.check(value, violations);
            }
        }
    }

    fn check_query(&self, query: &[(&str, &str)], violations: &mut Vec<Violation>) {
        for (index, (name, value)) in query.iter().enumerate() {
            match self.parameters_in(ParameterPlace::Query).find(|known| known.name == *name) {
                Some(parameter) => {
                    parameter.check(value, violations);
                    if !parameter.is_list() && query[..index].iter().any(|(before, _)| before == name) {
                        violations.push(Violation::new(
                            Place::Query,
                            *name,
                            format!("query parameter `{name}` is given twice"),
                        ));
                    }
                }
                None if self.free_query => {}
                None => violations.push(self.unknown_query(name)),
            }
        }
        for parameter in self.parameters_in(ParameterPlace::Query).filter(|parameter| parameter.required) {
            if !query.iter().any(|(name, _)| *name == parameter.name) {
                violations.push(parameter.missing());
            }
        }
    }

    fn unknown_query(&self, name: &str) -> Violation {
        let known = || self.parameters_in(ParameterPlace::Query).map(|parameter| parameter.name);
        let hint = did_you_mean(name, known()).unwrap_or_else(|| match known().next() {
            None => format!("{} takes no query parameters", self.id),
            Some(_) => format!("known are {}", list(known(), "and")),
        });
        Violation::new(Place::Query, name, format!("unknown query parameter `{name}`")).hint(Some(hint))
    }

    /// Headers beyond the published ones are fine: every client sends its own.
    fn check_headers(&self, headers: &[(&str, Option<&str>)], violations: &mut Vec<Violation>) {
        for parameter in self.parameters_in(ParameterPlace::Header) {
            match headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(parameter.name)) {
                Some((_, Some(value))) => parameter.check(value, violations),
                None if parameter.required => violations.push(parameter.missing()),
                Some((_, None)) | None => {}
            }
        }
    }

    fn check_body(&self, sent: &Sent, violations: &mut Vec<Violation>) {
        let Some(body) = &self.body else {
            // Some clients send an empty document where nothing is asked.
            let empty = matches!(sent, Sent::Json(Value::Object(members)) if members.is_empty());
            if !empty && !matches!(sent, Sent::Nothing | Sent::Json(Value::Null)) {
                violations.push(Violation::new(Place::Body, "", format!("{} takes no body", self.id)));
            }
            return;
        };
        let manner = Manner { request: true, unknown: true };
        match (sent, body.kind) {
            (Sent::Nothing, _) => {
                if body.required {
                    let message = format!("the body is missing: {} takes {}", self.id, body.kind.in_words());
                    violations.push(Violation::new(Place::Body, "", message));
                }
            }
            (Sent::Json(value), kind) if kind.is_json() => {
                violations.extend(faults(body.schema(), value, manner, Place::Body, "the body"));
            }
            (Sent::Parts(parts), BodyKind::Multipart) => check_parts(body.schema(), parts, manner, violations),
            (Sent::Bytes, BodyKind::Bytes | BodyKind::Chunk) => {}
            (_, kind) => {
                let message = format!("the body must be {}", kind.in_words());
                violations.push(Violation::new(Place::Body, "", message));
            }
        }
    }

    /// Checks an answer against what is published. A body that is not JSON is only known to be there.
    ///
    /// # Errors
    /// Everything in which it differs.
    pub fn check_response(
        &self,
        status: u16,
        body: Option<&Value>,
        strictness: Strictness,
    ) -> Result<(), Vec<Violation>> {
        let Some(answer) = self.answer(status) else {
            if strictness == Strictness::Tolerant && status >= 400 {
                return Ok(());
            }
            let published = list(self.statuses.iter().copied(), "and");
            return Err(vec![
                Violation::new(Place::Status, status.to_string(), format!("{} does not answer {status}", self.id))
                    .hint(Some(format!("published are {published}"))),
            ]);
        };
        let violations = match (body, &answer.schema) {
            // HTTP leaves both without a body, whatever is published (RFC 9110, sections 15.3.5 and 15.3.6).
            (None, Some(_)) if matches!(status, 204 | 205) => return Ok(()),
            (Some(value), Some(schema)) => {
                let manner = Manner { request: false, unknown: strictness == Strictness::Exact };
                faults(schema.get(), value, manner, Place::Body, "the body")
            }
            (None, Some(_)) if strictness == Strictness::Exact || status < 400 => {
                vec![Violation::new(Place::Body, "", format!("{status} of {} has a body", self.id))]
            }
            (Some(_), None) if strictness == Strictness::Exact => {
                vec![Violation::new(Place::Body, "", format!("{status} of {} has no JSON body", self.id))]
            }
            (None, Some(_)) | (_, None) => Vec::new(),
        };
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }

    /// What is published of the answer with this status.
    fn answer(&self, status: u16) -> Option<&Answer> {
        let answers = self.answers();
        let exact = status.to_string();
        let range = format!("{}XX", status / 100);
        let of = |wanted: &str| answers.iter().find(|answer| answer.status.eq_ignore_ascii_case(wanted));
        of(&exact).or_else(|| of(&range)).or_else(|| of("default"))
    }

    /// The published answers.
    pub(super) fn answers(&self) -> &[Answer] {
        self.answers.get_or_init(|| self.read_answers())
    }

    fn read_answers(&self) -> Vec<Answer> {
        let responses = self.text.get("responses").into_iter().flat_map(Text::members);
        responses
            .map(|(status, answer)| {
                let answer = match answer.get("$ref").and_then(Text::as_str) {
                    Some(reference) => contract().response(reference).expect(EMBEDDED),
                    None => answer,
                };
                let json = answer.get("content").and_then(|content| content.get("application/json"));
                let schema = json.and_then(|json| json.get("schema")).map(|schema| Lazy::new(schema, None));
                Answer { status, schema }
            })
            .collect()
    }
}

/// Each part against the property of its name: files where bytes are published, documents elsewhere.
fn check_parts(schema: &Schema, parts: &[(&str, Option<&Value>)], manner: Manner, violations: &mut Vec<Violation>) {
    let known = || schema.properties().map(|(name, _)| name);
    for (name, document) in parts {
        let pointer = format!("/{name}");
        let Some(property) = schema.property(name) else {
            let hint = did_you_mean(name, known()).unwrap_or_else(|| format!("known are {}", list(known(), "and")));
            let message = format!("unknown part `{name}`");
            violations.push(Violation::new(Place::Body, pointer, message).hint(Some(hint)));
            continue;
        };
        match (document, property.resolved().format == Some(Format::Binary)) {
            (None, true) => {}
            (Some(value), false) => {
                let within = faults(property, value, manner, Place::Body, &format!("`{name}`"));
                violations.extend(
                    within
                        .into_iter()
                        .map(|violation| Violation { pointer: format!("{pointer}{}", violation.pointer), ..violation }),
                );
            }
            (None, false) => {
                let message = format!("part `{name}` must be a document, not a file");
                violations.push(Violation::new(Place::Body, pointer, message));
            }
            (Some(_), true) => {
                let message = format!("part `{name}` must be a file");
                violations.push(Violation::new(Place::Body, pointer, message));
            }
        }
    }
    for name in &schema.required {
        if !parts.iter().any(|(given, _)| given == name) {
            violations.push(Violation::new(Place::Body, "", format!("part `{name}` is missing")));
        }
    }
}

impl Parameter {
    /// Checks the text of one value. Lists are separated by commas, as Qlik's toolkit joins them.
    fn check(&self, text: &str, violations: &mut Vec<Violation>) {
        let Some(schema) = self.schema.as_ref().map(|schema| schema.get().resolved()) else { return };
        match schema.items.as_ref().filter(|_| self.is_list()) {
            Some(items) => text.split(',').for_each(|item| self.check_one(items.resolved(), item, violations)),
            None => self.check_one(schema, text, violations),
        }
    }

    fn check_one(&self, schema: &Schema, text: &str, violations: &mut Vec<Violation>) {
        let value = read_as(schema.types, text);
        let (place, kind) = match self.place {
            ParameterPlace::Path => (Place::Path, "path variable"),
            ParameterPlace::Query => (Place::Query, "query parameter"),
            ParameterPlace::Header => (Place::Header, "header"),
        };
        let subject = format!("{kind} `{}`", self.name);
        let manner = Manner { request: true, unknown: true };
        // Every parameter is a string; its text says more.
        let shown = |message: String| match message.strip_suffix("not a string") {
            Some(wanted) => format!("{wanted}not `{text}`"),
            None => message,
        };
        violations.extend(faults(schema, &value, manner, place, &subject).into_iter().map(|violation| Violation {
            pointer: self.name.to_owned(),
            message: shown(violation.message),
            ..violation
        }));
    }

    fn is_list(&self) -> bool {
        self.schema.as_ref().is_some_and(|schema| schema.get().resolved().types.has("array"))
    }

    fn missing(&self) -> Violation {
        let (place, kind) = match self.place {
            ParameterPlace::Path => (Place::Path, "path variable"),
            ParameterPlace::Query => (Place::Query, "query parameter"),
            ParameterPlace::Header => (Place::Header, "header"),
        };
        Violation::new(place, self.name, format!("{kind} `{}` is missing", self.name))
    }
}

/// The text as the type that is wanted; as a string when it is none. A yes or no may be written `True` or `False`: so
/// does Qlik's client for Python.
fn read_as(types: Types, text: &str) -> Value {
    let flag = ["true", "false"].into_iter().find(|flag| types.has("boolean") && text.eq_ignore_ascii_case(flag));
    let text = flag.unwrap_or(text);
    let other = (types.has("integer") || types.has("number") || types.has("boolean")) && !types.has("string");
    if other && let Ok(value @ (Value::Number(_) | Value::Bool(_))) = serde_json::from_str(text) {
        return value;
    }
    Value::String(text.to_owned())
}

impl BodyFacts {
    /// The schema of the body.
    pub(super) fn schema(&self) -> &Schema {
        self.schema.get().resolved()
    }
}

impl BodyKind {
    fn in_words(self) -> &'static str {
        match self {
            Self::Json | Self::JsonOrForm => "a JSON document",
            Self::JsonPatch => "a list of changes, each with `op`, `path` and `value`",
            Self::Multipart => "a form with parts",
            Self::Bytes | Self::Chunk => "the bytes of a file",
        }
    }
}
