use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use http::Method;
use serde::{Deserialize, Serialize};

use super::amendments::Amendments;
use super::route;
use super::schema::{Lazy, Schema};
use super::text::Text;
use super::violation::Violation;
use crate::operation::Effect;

/// One operation as Qlik publishes it.
#[derive(Debug)]
pub struct Published {
    /// The operationId: `createSpace`.
    pub id: &'static str,
    /// The HTTP method.
    pub method: Method,
    /// The path with its variables in braces: `/api/v1/spaces/{spaceId}`.
    pub path: &'static str,
    /// The resource it belongs to: `spaces`, `workflows/automations`.
    pub tag: &'static str,
    /// What performing it does to the world.
    pub effect: Effect,
    /// Which rate limit it counts on.
    pub tier: Tier,
    /// How many times a minute one user may call it (its tier's figure, or its own for [`Tier::Special`]).
    pub per_minute: u32,
    /// How its list is paged, when it is one.
    pub paging: Option<Paging>,
    /// Which host answers it.
    pub host: Role,
    /// Whether the raw answer is a redirect to the resource meant (`users/me`).
    pub redirects: bool,
    /// Whether it is performed without a token (`/oauth/token`).
    pub anonymous: bool,
    /// Whether Qlik has announced its end.
    pub deprecated: bool,
    /// When it ends, as published: a date or a year and month.
    pub sunset: Option<&'static str>,
    /// What to use instead, as published: `GET /api/analytics/apps/evaluations/{id}`.
    pub replaced_by: Vec<&'static str>,
    /// How settled Qlik calls it: `stable`, `experimental`; absent where nothing is published.
    pub stability: Option<&'static str>,
    /// Path variables, query parameters and headers.
    pub parameters: Vec<Parameter>,
    /// Whether query parameters beyond the listed ones are allowed.
    pub free_query: bool,
    /// What it takes as a body, when it takes one.
    pub body: Option<BodyFacts>,
    /// The published statuses, as written: `200`, `default`.
    pub statuses: Vec<&'static str>,
    pub(super) takes_rest: bool,
    pub(super) text: Text,
    /// Read when an answer is first checked.
    pub(super) answers: OnceLock<Vec<Answer>>,
}

/// A published answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// As written: `200`, `4XX`, `default`.
    pub(super) status: &'static str,
    /// The schema of its JSON body, when it has one.
    pub(super) schema: Option<Lazy>,
}

/// A rate limit that operations share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Reads: 1,000 a minute.
    Tier1,
    /// Writes: 100 a minute.
    Tier2,
    /// The operation has a limit of its own.
    Special,
}

/// Which Qlik Cloud host answers an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The tenant's own.
    Tenant,
    /// `register.<region>.qlikcloud.com`.
    Register,
    /// `console.qlikcloud.com`.
    Console,
    /// Each of them, for itself: tokens.
    Any,
}

/// How a list is paged. The next page is always `links.next.href` of the answer, followed verbatim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// The query parameter that carries the cursor inside that link: `next`, `page`, `startingAfter`, `cursor`,
    /// `offset`; `None` where none is published.
    pub cursor: Option<&'static str>,
    /// Items on a page when nothing is asked.
    pub default_limit: Option<u32>,
    /// The most items one page can hold.
    pub max_limit: Option<u32>,
}

/// A path variable, query parameter or header.
#[derive(Debug)]
pub struct Parameter {
    /// Its name as Qlik spells it.
    pub name: &'static str,
    /// Where it goes.
    pub place: ParameterPlace,
    /// Whether it must be given.
    pub required: bool,
    /// Whether Qlik has announced its end.
    pub deprecated: bool,
    pub(super) schema: Option<Lazy>,
}

/// Where a parameter goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParameterPlace {
    /// A variable of the path.
    Path,
    /// The query string.
    Query,
    /// A header.
    Header,
}

/// What an operation takes as its body.
#[derive(Debug)]
pub struct BodyFacts {
    /// Its form.
    pub kind: BodyKind,
    /// Whether it must be given.
    pub required: bool,
    pub(super) schema: Lazy,
}

/// The forms of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BodyKind {
    /// A JSON document.
    Json,
    /// An array of `{op, path, value}`, sent as plain `application/json`.
    JsonPatch,
    /// A JSON document or the same as a form (`/oauth/token`).
    JsonOrForm,
    /// `multipart/form-data`.
    Multipart,
    /// Bytes, as `application/octet-stream`.
    Bytes,
    /// Bytes of a resumable upload, as `application/offset+octet-stream`.
    Chunk,
}

impl BodyKind {
    /// Whether the body is a JSON document.
    #[must_use]
    pub fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::JsonPatch | Self::JsonOrForm)
    }

    /// The content type to send it with.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json | Self::JsonPatch | Self::JsonOrForm => "application/json",
            Self::Multipart => "multipart/form-data",
            Self::Bytes => "application/octet-stream",
            Self::Chunk => "application/offset+octet-stream",
        }
    }
}

impl Published {
    /// Reads the facts out of one operation's text. `None` when it is not written as the contract writes them.
    pub(super) fn read(
        method: Method,
        path: &'static str,
        text: Text,
        effect: Effect,
        amendments: &Amendments,
    ) -> Option<Self> {
        let id = text.get("operationId")?.as_str()?;
        let mut published = Self {
            id,
            method,
            path,
            tag: "",
            effect,
            tier: Tier::Tier2,
            per_minute: 0,
            paging: None,
            host: Role::Tenant,
            redirects: false,
            anonymous: false,
            deprecated: false,
            sunset: None,
            replaced_by: Vec::new(),
            stability: None,
            parameters: Vec::new(),
            free_query: false,
            body: None,
            statuses: Vec::new(),
            takes_rest: takes_rest(text),
            text,
            answers: OnceLock::new(),
        };
        let mut paged = false;
        let mut json_patch = false;
        for (name, value) in text.members() {
            match name {
                "tags" => published.tag = value.items().next()?.as_str()?,
                "x-rate-limit-tier" => published.tier = tier(value.as_str()?)?,
                "x-rate-limit-per-minute" => published.per_minute = value.parse()?,
                "x-pagination" => paged = true,
                "x-body-kind" => json_patch = value.as_str()? == "json-patch",
                "x-free-query" => published.free_query = value.is_true(),
                "x-redirects" => published.redirects = value.is_true(),
                "x-sunset" => published.sunset = value.as_str(),
                "x-stability" => published.stability = value.as_str(),
                "x-replaced-by" => published.replaced_by = value.items().filter_map(Text::as_str).collect(),
                "deprecated" => published.deprecated = value.is_true(),
                "servers" => published.host = role(value),
                // `[{}]` is OpenAPI's way of saying that nothing is needed.
                "security" => {
                    published.anonymous = value.items().next().is_some_and(|first| first.members().next().is_none());
                }
                "parameters" => published.parameters = value.items().filter_map(parameter).collect(),
                "requestBody" => published.body = Some(body(value)?),
                "responses" => published.statuses = value.members().map(|(status, _)| status).collect(),
                _ => {}
            }
        }
        published.paging = paged.then(|| paging(&published.parameters));
        published.parameters.retain(|held| amendments.queries(id).all(|(name, _)| name != held.name));
        published.parameters.extend(amendments.queries(id).map(|(name, schema)| Parameter {
            name,
            place: ParameterPlace::Query,
            required: false,
            deprecated: false,
            schema: Some(Lazy::new(schema, None)),
        }));
        if let Some(body) = &mut published.body {
            body.required &= !amendments.is_body_optional(id);
            if json_patch {
                body.kind = BodyKind::JsonPatch;
            }
        }
        Some(published)
    }

    /// The path with its variables filled in and percent-encoded.
    ///
    /// # Errors
    /// Names the variable that is missing, unknown, empty, or a dot segment.
    pub fn expand(&self, variables: &BTreeMap<String, String>) -> Result<String, Violation> {
        route::expand(self.path, self.takes_rest, variables)
    }

    /// The names of the path's variables, in order.
    pub fn variables(&self) -> impl Iterator<Item = &'static str> {
        route::variables(self.path)
    }

    /// The parameters of one place.
    pub fn parameters_in(&self, place: ParameterPlace) -> impl Iterator<Item = &Parameter> {
        self.parameters.iter().filter(move |parameter| parameter.place == place)
    }

    /// Whether a good answer is a JSON document or empty: neither a file nor something nobody has described.
    #[must_use]
    pub fn answers_json(&self) -> bool {
        let responses = self.text.get("responses");
        responses.into_iter().flat_map(Text::members).filter(|(status, _)| status.starts_with('2')).all(
            |(status, response)| match response.get("content") {
                Some(content) => content.members().all(|(kind, _)| kind == "application/json"),
                None => status == "204" || self.method != Method::GET,
            },
        )
    }

    /// Whether a request may have anything inside this field of its JSON body: nothing is published of its form.
    #[must_use]
    pub fn leaves_open(&self, field: &str) -> bool {
        let Some(body) = self.body.as_ref().filter(|body| body.kind == BodyKind::Json) else { return false };
        body.schema().property(field).is_some_and(Schema::is_open)
    }

    /// Whether the answer is one page of a list.
    #[must_use]
    pub fn is_paged(&self) -> bool {
        self.paging.is_some()
    }
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} {})", self.id, self.method, self.path)
    }
}

/// Whether the operation's last path variable may contain slashes.
pub(super) fn takes_rest(operation: Text) -> bool {
    operation.get("parameters").into_iter().flat_map(Text::items).any(|parameter| {
        // A file in a theme's or an extension's archive: "folders separated with forward slashes", says the reference.
        parameter.get("x-multi-segment").is_some_and(Text::is_true)
            || parameter.get("name").and_then(Text::as_str) == Some("filepath")
    })
}

fn tier(name: &str) -> Option<Tier> {
    match name {
        "tier1" => Some(Tier::Tier1),
        "tier2" => Some(Tier::Tier2),
        "special" => Some(Tier::Special),
        _ => None,
    }
}

fn role(servers: Text) -> Role {
    let mut servers = servers.items();
    let first = servers.next().and_then(|server| server.get("url")).and_then(Text::as_str);
    match first {
        _ if servers.next().is_some() => Role::Any,
        Some(url) if url.contains("//register.") => Role::Register,
        Some(url) if url.contains("//console.") => Role::Console,
        _ => Role::Tenant,
    }
}

fn parameter(text: Text) -> Option<Parameter> {
    let place = match text.get("in")?.as_str()? {
        "path" => ParameterPlace::Path,
        "query" => ParameterPlace::Query,
        "header" => ParameterPlace::Header,
        _ => return None,
    };
    Some(Parameter {
        name: text.get("name")?.as_str()?,
        place,
        required: text.get("required").is_some_and(Text::is_true),
        deprecated: text.get("deprecated").is_some_and(Text::is_true),
        schema: text.get("schema").map(|schema| Lazy::new(schema, None)),
    })
}

fn body(text: Text) -> Option<BodyFacts> {
    let types: Vec<(&str, Text)> = text.get("content")?.members().collect();
    let (content_type, media) = types.first()?;
    let kind = match *content_type {
        "application/json" if types.len() > 1 => BodyKind::JsonOrForm,
        "application/json" => BodyKind::Json,
        "multipart/form-data" => BodyKind::Multipart,
        "application/octet-stream" => BodyKind::Bytes,
        "application/offset+octet-stream" => BodyKind::Chunk,
        _ => return None,
    };
    let schema = Lazy::new(media.get("schema")?, None);
    Some(BodyFacts { kind, required: text.get("required").is_some_and(Text::is_true), schema })
}

fn paging(parameters: &[Parameter]) -> Paging {
    // Where two are published (`offset` beside `page` or `next`), the link uses the cursor.
    const CURSORS: [&str; 5] = ["next", "page", "startingAfter", "cursor", "offset"];
    let query = |name: &str| parameters.iter().find(|known| known.place == ParameterPlace::Query && known.name == name);
    let limit = query("limit").and_then(|limit| limit.schema.as_ref());
    let figure = |name: &str| limit.and_then(|schema| schema.text().get(name)).and_then(Text::parse);
    Paging {
        cursor: CURSORS.into_iter().find(|name| query(name).is_some()),
        default_limit: figure("default"),
        max_limit: figure("maximum"),
    }
}
