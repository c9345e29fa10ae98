//! What a resource's handler is given, and what it gives back.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::blobs::CONTENT;
use super::collection::Collection;
use super::dispatch::Sight;
use super::events::{self, Event};
use super::hosts::Place;
use super::ids;
use super::lags::Lags;
use super::multipart::Part;
use super::refusal::Refusal;
use super::state::{Document, SELF, Scope, State};
use super::store::Change;
use super::token::Grant;
use crate::contract::Published;
use crate::surroundings::Random;

/// What a handler gives back: an answer, or a refusal that is put in its service's words.
pub(super) type Handled = Result<Answer, Refusal>;

/// One request on its way through a handler. Changes are kept when the answer is no error, else forgotten.
pub(super) struct Context<'r> {
    pub(super) place: &'r Place,
    /// The host name the request came for.
    pub(super) host: &'r str,
    /// The address links to this host begin with.
    pub(super) base: &'r str,
    pub(super) path: &'r str,
    /// The path's variables, decoded.
    pub(super) vars: BTreeMap<String, String>,
    /// The query, decoded, in its order.
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: &'r HeaderMap,
    /// The body as it came.
    pub(super) bytes: &'r Bytes,
    /// The body as JSON; null when it is none.
    pub(super) body: Value,
    /// The parts of a form.
    pub(super) parts: Vec<Part>,
    /// How long contents are that the form has the digests of, by digest.
    pub(super) lengths: BTreeMap<String, u64>,
    /// What the bearer token grants; none for operations that need none.
    pub(super) grant: Option<Grant>,
    pub(super) now: Timestamp,
    pub(super) random: &'r Random,
    pub(super) lags: Lags,
    state: State,
    changes: Vec<Change>,
    scope: Scope,
    /// The organization that the request is for.
    home: Scope,
    /// What the handler looked at, when somebody wants to know.
    looked: Option<RefCell<BTreeSet<Look>>>,
}

/// One thing that a handler looked at: a collection of the tenant, or one document of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Look {
    pub(super) collection: String,
    pub(super) id: Option<String>,
}

/// What comes with a request, for [`Context::new`].
pub(super) struct Asked<'r> {
    pub(super) place: &'r Place,
    /// The organization whose tenant the place is; the first one elsewhere.
    pub(super) home: Scope,
    pub(super) host: &'r str,
    pub(super) base: &'r str,
    pub(super) path: &'r str,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: &'r HeaderMap,
    pub(super) bytes: &'r Bytes,
    pub(super) now: Timestamp,
    pub(super) random: &'r Random,
    pub(super) lags: Lags,
}

impl<'r> Context<'r> {
    pub(super) fn new(asked: Asked<'r>, state: State) -> Self {
        let scope = match asked.place {
            Place::Tenant(tenant) => Scope::tenant(text(tenant, "id")),
            _ => Scope::Organization,
        };
        Self {
            place: asked.place,
            host: asked.host,
            base: asked.base,
            path: asked.path,
            vars: BTreeMap::new(),
            query: asked.query,
            headers: asked.headers,
            bytes: asked.bytes,
            body: Value::Null,
            parts: Vec::new(),
            lengths: BTreeMap::new(),
            grant: None,
            now: asked.now,
            random: asked.random,
            lags: asked.lags,
            state,
            changes: Vec::new(),
            scope,
            home: asked.home,
            looked: None,
        }
    }

    /// Notes from now on what is looked at.
    pub(super) fn watch(&mut self) {
        self.looked = Some(RefCell::default());
    }

    /// What was looked at since.
    pub(super) fn looked(&self) -> Vec<Look> {
        self.looked.iter().flat_map(|looked| looked.borrow().iter().cloned().collect::<Vec<_>>()).collect()
    }

    fn note(&self, collection: &str, id: Option<&str>) {
        if let Some(looked) = &self.looked {
            looked.borrow_mut().insert(Look { collection: collection.to_owned(), id: id.map(str::to_owned) });
        }
    }

    /// Shows the handler what `sight` says in place of the state.
    pub(super) fn look_back(&mut self, sight: Sight<'_>) {
        let user = self.grant.as_ref().and_then(|grant| grant.user.as_deref());
        if let Some(earlier) = sight(&self.scope, user) {
            self.state = earlier;
        }
    }

    /// Adds what the audits will tell of the request, which found the state `before` and went well.
    pub(super) fn leave_events(&mut self, before: &State, operation: &Published) {
        let events = events::left(before, self, operation, &self.changes);
        for change in events {
            if let Change::Event { tenant, event, .. } = &change {
                self.state.happened(tenant, event.clone());
            }
            self.changes.push(change);
        }
    }

    /// What happened in the tenant, oldest first.
    pub(super) fn trail(&self) -> imbl::Vector<Arc<Event>> {
        self.state.trails().of(&self.tenant_id())
    }

    /// The state and what was changed in it.
    pub(super) fn into_changes(self) -> (State, Vec<Change>) {
        (self.state, self.changes)
    }

    // What was asked.

    /// A variable of the path.
    pub(super) fn var(&self, name: &str) -> String {
        self.vars.get(name).cloned().unwrap_or_default()
    }

    /// A part of the form.
    pub(super) fn part(&self, name: &str) -> Option<&Part> {
        self.parts.iter().find(|part| part.name == name)
    }

    /// How many bytes the content of a part has, also where the form only has its digest.
    pub(super) fn length(&self, part: &Part) -> u64 {
        let brief = std::str::from_utf8(&part.bytes).ok().and_then(|digest| self.lengths.get(digest));
        brief.copied().unwrap_or(part.bytes.len() as u64)
    }

    /// A query parameter, its first value.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(held, _)| held == name).map(|(_, value)| value.as_str())
    }

    /// Whether a query parameter says `true`.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.parameter(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// A header's text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The id of the tenant the request came for.
    pub(super) fn tenant_id(&self) -> String {
        match &self.scope {
            Scope::Tenant(id) => id.to_string(),
            Scope::Organization | Scope::Another(_) => String::new(),
        }
    }

    /// The user the token acts as.
    pub(super) fn user_id(&self) -> String {
        self.grant.as_ref().and_then(|grant| grant.user.clone()).unwrap_or_default()
    }

    /// An absolute link on this host.
    pub(super) fn link(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    // The documents of the tenant the request came for.

    /// A collection of the tenant.
    pub(super) fn collection(&self, name: &str) -> Collection {
        self.note(name, None);
        self.state.collection(&self.scope, name)
    }

    /// A document of the tenant.
    pub(super) fn get(&self, collection: &str, id: &str) -> Option<Document> {
        self.note(collection, Some(id));
        self.state.get(&self.scope, collection, id)
    }

    /// Stores a document of the tenant.
    pub(super) fn put(&mut self, collection: &str, id: &str, document: Value) {
        self.put_in(&self.scope.clone(), collection, id, document);
    }

    /// Removes a document of the tenant.
    pub(super) fn remove(&mut self, collection: &str, id: &str) -> Option<Document> {
        self.remove_in(&self.scope.clone(), collection, id)
    }

    // Those of any scope.

    /// A collection of any scope.
    pub(super) fn collection_in(&self, scope: &Scope, name: &str) -> Collection {
        self.state.collection(scope, name)
    }

    /// A document of any scope.
    pub(super) fn get_in(&self, scope: &Scope, collection: &str, id: &str) -> Option<Document> {
        self.state.get(scope, collection, id)
    }

    /// Stores a document of any scope.
    pub(super) fn put_in(&mut self, scope: &Scope, collection: &str, id: &str, document: Value) {
        let document = Arc::new(document);
        let place = self.state.put(scope, collection, id, document.clone());
        self.changed(scope, collection, id, Some((place, document)));
    }

    /// Removes a document of any scope.
    pub(super) fn remove_in(&mut self, scope: &Scope, collection: &str, id: &str) -> Option<Document> {
        let gone = self.state.remove(scope, collection, id)?;
        self.changed(scope, collection, id, None);
        Some(gone)
    }

    fn changed(&mut self, scope: &Scope, collection: &str, id: &str, now: Option<(u64, Document)>) {
        let (scope, collection, id) = (scope.clone(), collection.into(), id.into());
        self.changes.push(Change::Document { scope, collection, id, now });
    }

    /// Keeps content and returns its name. A document that names it in the field `blobs::CONTENT` must be stored with
    /// the same answer: content that no document names is dropped.
    pub(super) fn keep(&mut self, bytes: Bytes) -> Arc<str> {
        let name = self.state.keep(bytes.clone());
        self.changes.push(Change::Blob(name.clone(), bytes));
        name
    }

    /// The content that a document names.
    pub(super) fn content(&self, document: &Value) -> Option<Bytes> {
        self.state.blob(text(document, CONTENT))
    }

    /// Does something on another tenant's documents: `put` and its like mean that tenant's meanwhile.
    pub(super) fn within<T>(&mut self, scope: Scope, work: impl FnOnce(&mut Self) -> T) -> T {
        let outer = std::mem::replace(&mut self.scope, scope);
        let done = work(self);
        self.scope = outer;
        done
    }

    /// The organization that the request is for: its collections are reached by it.
    pub(super) fn home(&self) -> Scope {
        self.home.clone()
    }

    /// Says which organization it is, once its client is known.
    pub(super) fn is_of(&mut self, home: Scope) {
        self.home = home;
    }

    /// The organizations it may be for: a tenant's own, else any, each with its document.
    pub(super) fn homes(&self) -> Vec<(Scope, Document)> {
        let homes = match self.place {
            Place::Tenant(_) => vec![self.home()],
            _ => self.state.organizations(),
        };
        let with_document = |home: Scope| Some((home.clone(), self.state.get(&home, "organization", SELF)?));
        homes.into_iter().filter_map(with_document).collect()
    }

    /// The organization's own document.
    pub(super) fn organization(&self) -> Document {
        self.state.get(&self.home, "organization", SELF).unwrap_or_default()
    }

    /// The state as it is at this point, for look-ups across tenants.
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    // New things.

    /// A new id of the common form: 24 hexadecimal digits.
    pub(super) fn new_id(&self) -> String {
        ids::hex(self.random, 24)
    }

    /// The moment, as Qlik writes it.
    pub(super) fn timestamp(&self) -> String {
        ids::timestamp(self.now)
    }
}

/// The text of a field, empty when there is none.
pub(super) fn text<'d>(document: &'d Value, field: &str) -> &'d str {
    document.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// What is sent back.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
}

impl Answer {
    /// JSON with a status.
    pub(super) fn json(status: StatusCode, body: &Value) -> Self {
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self { status, headers: vec![kind], body: body.to_string().into() }
    }

    /// 200 with JSON.
    pub(super) fn ok(body: &Value) -> Self {
        Self::json(StatusCode::OK, body)
    }

    /// 201 with JSON.
    pub(super) fn created(body: &Value) -> Self {
        Self::json(StatusCode::CREATED, body)
    }

    /// 204.
    pub(super) fn no_content() -> Self {
        Self { status: StatusCode::NO_CONTENT, headers: Vec::new(), body: Bytes::new() }
    }

    /// 207: the items say each how it went, under `data`.
    pub(super) fn multi(items: Vec<Value>) -> Self {
        Self::json(StatusCode::MULTI_STATUS, &json!({"data": items}))
    }

    /// Bytes of some kind.
    pub(super) fn bytes(kind: &'static str, body: Bytes) -> Self {
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static(kind));
        Self { status: StatusCode::OK, headers: vec![kind], body }
    }

    /// A redirect to a link, with the page browsers show.
    pub(super) fn redirect(status: StatusCode, link: &str) -> Self {
        let body = format!("<a href=\"{link}\">{}</a>.\n", status.canonical_reason().unwrap_or_default());
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        Self { status, headers: vec![kind], body: body.into() }.with(header::LOCATION, link)
    }

    /// The same with a header; one whose value no header can hold is left out.
    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }
}
