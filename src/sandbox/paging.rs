//! Lists in pages, as each service numbers them (fact sheet, section 4.2).

use std::cmp::Reverse;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::collection::Collection;
use super::context::{Answer, Context, Handled, text};
use super::refusal::Refusal;
use super::state::Document;

/// How a service pages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paging {
    /// The parameter of the link to the next page.
    next: &'static str,
    /// That of the link to the page before; empty when there are no such links.
    prev: &'static str,
    default: usize,
    max: usize,
    /// Whether a page links to itself.
    own: bool,
}

impl Paging {
    /// `next` and `prev`.
    pub(super) const fn next_prev(default: usize, max: usize) -> Self {
        Self { next: "next", prev: "prev", default, max, own: true }
    }

    /// `startingAfter` and `endingBefore`.
    pub(super) const fn after_before(default: usize, max: usize) -> Self {
        Self { next: "startingAfter", prev: "endingBefore", default, max, own: true }
    }

    /// The same without a page's link to itself, as licences have it.
    pub(super) const fn without_self(self) -> Self {
        Self { own: false, ..self }
    }

    /// One parameter for the next page only: `page`, `cursor` or `offset`.
    pub(super) const fn forward(parameter: &'static str, default: usize, max: usize) -> Self {
        Self { next: parameter, prev: "", default, max, own: true }
    }
}

/// Documents in an order, of which a page shows some. Each stands at a place; places rise, and may leave some out.
pub(super) trait Ordered {
    fn count(&self) -> usize;
    fn place_of(&self, id: &str) -> Option<usize>;
    /// The first documents that stand at a place or after it.
    fn from(&self, place: usize, most: usize) -> Vec<(usize, Document)>;
    /// The last documents that stand before a place, in their order.
    fn before(&self, place: usize, most: usize) -> Vec<(usize, Document)>;
}

impl Ordered for Vec<Document> {
    fn count(&self) -> usize {
        self.len()
    }

    fn place_of(&self, id: &str) -> Option<usize> {
        self.iter().position(|document| text(document, "id") == id)
    }

    fn from(&self, place: usize, most: usize) -> Vec<(usize, Document)> {
        self.iter().cloned().enumerate().skip(place).take(most).collect()
    }

    fn before(&self, place: usize, most: usize) -> Vec<(usize, Document)> {
        let end = place.min(self.len());
        let start = end.saturating_sub(most);
        (start..end).map(|place| (place, self[place].clone())).collect()
    }
}

/// A whole collection, without a walk through it.
impl Ordered for Collection {
    fn count(&self) -> usize {
        self.len()
    }

    fn place_of(&self, id: &str) -> Option<usize> {
        self.place_of(id).and_then(|place| usize::try_from(place).ok())
    }

    fn from(&self, place: usize, most: usize) -> Vec<(usize, Document)> {
        self.range(place as u64..).take(most).map(|(place, document)| (as_place(place), document.clone())).collect()
    }

    fn before(&self, place: usize, most: usize) -> Vec<(usize, Document)> {
        let backwards = self.range(..place as u64).rev().take(most);
        let mut found: Vec<_> = backwards.map(|(place, document)| (as_place(place), document.clone())).collect();
        found.reverse();
        found
    }
}

fn as_place(place: u64) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

/// Answers 200 with one page of documents as `{"data", "links"}`.
pub(super) fn page(context: &Context<'_>, documents: Vec<Document>, paging: Paging) -> Handled {
    page_as(context, documents, paging, |_, document| document.clone())
}

/// The same, with each document of the page shown in another form.
pub(super) fn page_as(
    context: &Context<'_>,
    documents: Vec<Document>,
    paging: Paging,
    show: impl Fn(&Context<'_>, &Value) -> Value,
) -> Handled {
    page_of(context, &documents, paging, show)
}

/// The same of what can be read in pieces: a whole collection costs what the page shows.
pub(super) fn page_of(
    context: &Context<'_>,
    documents: &impl Ordered,
    paging: Paging,
    show: impl Fn(&Context<'_>, &Value) -> Value,
) -> Handled {
    let mut body = Map::new();
    if context.flag("totalResults") {
        body.insert("totalResults".to_owned(), json!(documents.count()));
    }
    paged(context, documents, paging, show, body)
}

/// The same, with the number of all documents in `meta.count`, as spaces have it.
pub(super) fn page_counted(
    context: &Context<'_>,
    documents: Vec<Document>,
    paging: Paging,
    show: impl Fn(&Context<'_>, &Value) -> Value,
) -> Handled {
    let mut body = Map::new();
    body.insert("meta".to_owned(), json!({"count": documents.count()}));
    paged(context, &documents, paging, show, body)
}

fn paged(
    context: &Context<'_>,
    documents: &impl Ordered,
    paging: Paging,
    show: impl Fn(&Context<'_>, &Value) -> Value,
    mut body: Map<String, Value>,
) -> Handled {
    let window = Window::open(context, documents, paging)?;
    let data: Vec<Value> = window.shown.iter().map(|(_, document)| show(context, document)).collect();
    body.insert("data".to_owned(), Value::Array(data));
    body.insert("links".to_owned(), window.links(context, paging));
    Ok(Answer::ok(&Value::Object(body)))
}

/// What a page shows, and where the pages beside it begin.
struct Window {
    shown: Vec<(usize, Document)>,
    next: Option<String>,
    prev: Option<String>,
}

impl Window {
    fn open(context: &Context<'_>, documents: &impl Ordered, paging: Paging) -> Result<Self, Refusal> {
        let limit = match context.parameter("limit") {
            None => paging.default,
            Some(limit) => match limit.parse::<usize>() {
                Ok(limit) if (1..=paging.max).contains(&limit) => limit,
                _ => {
                    let allowed = format!("limit must be a whole number from 1 to {}", paging.max);
                    return Err(Refusal::bad_request(allowed).parameter("limit"));
                }
            },
        };
        let both = || context.parameter(paging.next).is_some() && context.parameter(paging.prev).is_some();
        if !paging.prev.is_empty() && both() {
            let detail = format!("{} cannot be combined with {}", paging.next, paging.prev);
            return Err(Refusal::bad_request(detail).parameter(paging.next));
        }
        let (start, limit) = match (place(context, documents, paging.next)?, place(context, documents, paging.prev)?) {
            (Some(start), _) => (start, limit),
            (None, Some(end)) => {
                let earlier = documents.before(end, limit);
                (earlier.first().map_or(end, |(place, _)| *place), earlier.len())
            }
            (None, None) => (0, limit),
        };
        let mut shown = documents.from(start, limit + 1);
        let next = (shown.len() > limit).then(|| shown.pop()).flatten().map(|(place, anchor)| write(&anchor, place));
        let first = shown.first().map_or_else(|| write(&Value::Null, start), |(place, anchor)| write(anchor, *place));
        let prev = (!paging.prev.is_empty() && !documents.before(start, 1).is_empty()).then_some(first);
        Ok(Self { shown, next, prev })
    }

    fn links(&self, context: &Context<'_>, paging: Paging) -> Value {
        let mut links = Map::new();
        let query = |change: Option<(&str, &str)>| {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            for (name, value) in &context.query {
                if change.is_none() || (name != paging.next && name != paging.prev) {
                    query.append_pair(name, value);
                }
            }
            if let Some((name, value)) = change {
                query.append_pair(name, value);
            }
            let query = query.finish();
            let mark = if query.is_empty() { "" } else { "?" };
            json!({"href": context.link(&format!("{}{mark}{query}", context.path))})
        };
        if paging.own {
            links.insert("self".to_owned(), query(None));
        }
        for (name, parameter, cursor) in [("next", paging.next, &self.next), ("prev", paging.prev, &self.prev)] {
            if let Some(cursor) = cursor {
                links.insert(name.to_owned(), query(Some((parameter, cursor))));
            }
        }
        Value::Object(links)
    }
}

/// The place that a parameter of the query names; none when it is not given.
fn place(context: &Context<'_>, documents: &impl Ordered, parameter: &str) -> Result<Option<usize>, Refusal> {
    let given = context.parameter(parameter).filter(|cursor| !parameter.is_empty() && !cursor.is_empty());
    let Some(cursor) = given else { return Ok(None) };
    // `startingAfter` and `endingBefore` are published as ids, so a plain id is understood too.
    let plain = || {
        let place = documents.place_of(cursor)?;
        let next = usize::from(parameter == "startingAfter");
        matches!(parameter, "startingAfter" | "endingBefore").then_some((String::new(), place + next))
    };
    let (id, place) = read(cursor)
        .or_else(plain)
        .ok_or_else(|| Refusal::bad_request("the page cursor is not one of ours").parameter(parameter))?;
    // Items may have come and gone since: the anchor itself is better than its old place.
    let found = Some(id).filter(|id| !id.is_empty()).and_then(|id| documents.place_of(&id));
    Ok(Some(found.unwrap_or(place)))
}

/// A cursor: opaque to clients, an anchor and its place to us.
fn write(anchor: &Value, place: usize) -> String {
    URL_SAFE_NO_PAD.encode(format!("{place}:{}", text(anchor, "id")))
}

fn read(cursor: &str) -> Option<(String, usize)> {
    let decoded = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let (place, id) = decoded.split_once(':')?;
    Some((id.to_owned(), place.parse().ok()?))
}

/// Sorts as the `sort` parameter says: a field with `+` or `-` before it, or `default` when it is not given. Text is
/// compared without regard to case; equal documents keep their order.
///
/// # Errors
/// 400 when the field is none of `allowed`.
pub(super) fn sort(
    context: &Context<'_>,
    documents: &mut [Document],
    allowed: &[&str],
    default: &str,
) -> Result<(), Refusal> {
    let asked = context.parameter("sort").unwrap_or(default);
    // A `+` that was not percent-encoded arrives as a space.
    let (falling, field) = match asked.strip_prefix('-') {
        Some(field) => (true, field),
        None => (false, asked.trim_start_matches(['+', ' '])),
    };
    if field.is_empty() {
        return Ok(());
    }
    if !allowed.contains(&field) {
        let detail = format!("cannot sort by `{field}`; allowed: {}", allowed.join(", "));
        return Err(Refusal::bad_request(detail).parameter("sort"));
    }
    let field = if field == "_id" { "id" } else { field };
    if falling {
        documents.sort_by_cached_key(|document| Reverse(Rank::of(document.get(field))));
    } else {
        documents.sort_by_cached_key(|document| Rank::of(document.get(field)));
    }
    Ok(())
}

/// Where a value stands in a sorted list: what is missing first, text without regard to case.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Missing,
    Number(i64),
    Text(String, String),
}

impl Rank {
    fn of(value: Option<&Value>) -> Self {
        match value {
            Some(Value::String(text)) => Self::Text(text.to_lowercase(), text.clone()),
            Some(value) => value.as_i64().map_or(Self::Missing, Self::Number),
            None => Self::Missing,
        }
    }
}
