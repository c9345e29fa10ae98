use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::patience::{PATIENCE, Patience};
use super::reading::{all_items, key_of, reading};
use super::settlement::look_up_failed;
use super::shown::{Shown, shows, shows_patch};
use super::wanted::{Wanted, wanted};
use super::{Interpreter, Settlement, cannot_tell};
use crate::contract::{LookUp, NaturalKey, Published, Repeat, contract};
use crate::operation::{Body, Call, Effect, Failure, Key, Operation, Outcome, Payload, Request, Response};
use crate::surroundings::Clock;

/// How far the service's clock may be behind this one's.
pub(super) const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Finds out by reading whether a request, whose end is not known, took place: by the natural keys of the contract
/// (`contract/natural_keys.toml`), by whether what it set is set, or by whether what it removed is gone.
#[derive(Clone)]
pub struct LookedUp<I> {
    inner: I,
    clock: Arc<dyn Clock>,
    patience: Duration,
    recent: Option<Timestamp>,
}

impl<I: Interpreter> LookedUp<I> {
    /// Look-ups through `inner`.
    pub fn new(inner: I, clock: Arc<dyn Clock>) -> Self {
        Self { inner, clock, patience: PATIENCE, recent: None }
    }

    /// The same with another patience than [`PATIENCE`]: none where lists never lag.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The same after other work on the tenant, which did something last at `recent`. A list by which somebody may decide to
    /// make a thing, of which the service would make a second one, is not read before it shows what that work made.
    #[must_use]
    pub fn after(mut self, recent: Option<Timestamp>) -> Self {
        self.recent = recent;
        self
    }

    /// How long the list that the operation reads may still lag behind what other work made.
    fn lag(&self, operation: &Operation) -> Option<Duration> {
        let past = self.clock.now().duration_since(self.recent?).unsigned_abs();
        let left = self.patience.checked_sub(past).filter(|left| !left.is_zero())?;
        contract().operation(&operation.id).filter(|read| read.decides_a_create()).map(|_| left)
    }
}

impl<I: Interpreter> Interpreter for LookedUp<I> {
    fn perform<'a>(&'a self, key: &'a Key, operation: &'a Operation) -> BoxFuture<'a, Outcome> {
        match self.lag(operation) {
            Some(lag) => async move {
                tokio::time::sleep(lag).await;
                self.inner.perform(key, operation).await
            }
            .boxed(),
            None => self.inner.perform(key, operation),
        }
    }

    fn settle<'a>(
        &'a self,
        key: &'a Key,
        operation: &'a Operation,
        since: Timestamp,
    ) -> BoxFuture<'a, Result<Settlement, Failure>> {
        match &operation.call {
            Call::Local { .. } => self.inner.settle(key, operation, since),
            Call::Request(request) => async move {
                if !operation.effect.is_write() {
                    return Ok(Settlement::NotPerformed);
                }
                let Some(published) = contract().operation(&operation.id) else {
                    return Err(cannot_tell(operation, "it is not in Qlik's published contract"));
                };
                let reader = Reader { interpreter: &self.inner, key, operation, request };
                let question = Question { reader, published, since };
                question.answer(Patience::new(&*self.clock, since, self.patience)).await
            }
            .boxed(),
        }
    }
}

/// Reads on behalf of an operation, at its host.
struct Reader<'a, I> {
    interpreter: &'a I,
    key: &'a Key,
    operation: &'a Operation,
    request: &'a Request,
}

impl<I: Interpreter> Reader<'_, I> {
    fn reading(&self, read: &Published, path: &str, query: &[(String, String)]) -> Operation {
        let (host, subject) = (self.request.host.clone(), &self.operation.subject);
        reading(read, host, path.to_owned(), query.to_vec(), subject)
    }

    /// All items of a list.
    async fn list(&self, list: &Published, path: &str, query: &[(String, String)]) -> Result<Vec<Value>, Failure> {
        let first = self.reading(list, path, query);
        all_items(self.interpreter, self.key, list, first).await.map_err(|failure| self.failed(&failure))
    }

    /// What is at the path of the request; `None` when there is nothing.
    async fn document(&self, read: &Published) -> Result<Option<Value>, Failure> {
        let operation = self.reading(read, &self.request.path, &[]);
        match self.interpreter.perform(&key_of(self.key, read, 0), &operation).await {
            Ok(answer) => Ok(Some(answer.json().clone())),
            Err(failure) if matches!(failure.status, Some(404 | 410)) => Ok(None),
            Err(failure) => Err(self.failed(&failure)),
        }
    }

    fn failed(&self, why: &Failure) -> Failure {
        look_up_failed(self.operation, why)
    }
}

/// The question whether one write took place.
struct Question<'a, I> {
    reader: Reader<'a, I>,
    published: &'static Published,
    since: Timestamp,
}

impl<I: Interpreter> Question<'_, I> {
    async fn answer(&self, mut patience: Patience) -> Result<Settlement, Failure> {
        let Reader { operation, request, .. } = self.reader;
        let harmless = request.is_harmless_to_repeat(operation.effect);
        match self.published.look_up() {
            Some(LookUp::Harmless) => Ok(Settlement::NotPerformed),
            Some(LookUp::ByKey(keys)) => self.by_key(keys, patience).await,
            Some(LookUp::ByState { read }) => loop {
                let shown = self.reader.document(read).await?;
                if let Some(document) = shown.filter(|document| self.state(document) == Shown::So) {
                    return Ok(Settlement::Performed(self.told(document)));
                }
                if harmless {
                    return Ok(Settlement::NotPerformed);
                }
                if !patience.another_look().await {
                    return Err(cannot_tell(operation, "what it sets does not show, and a repeat might do harm"));
                }
            },
            Some(LookUp::ByAbsence { read }) => Ok(match self.reader.document(read).await? {
                None => Settlement::Performed(empty()),
                Some(_) => Settlement::NotPerformed,
            }),
            Some(LookUp::ByAbsenceIn { list }) => {
                let (parent, id) = request.path.rsplit_once('/').unwrap_or_default();
                let id = percent_encoding::percent_decode_str(id).decode_utf8_lossy();
                let items = self.reader.list(list, parent, &[]).await?;
                let there = items.iter().any(|item| item["id"].as_str() == Some(&id));
                Ok(if there { Settlement::NotPerformed } else { Settlement::Performed(empty()) })
            }
            None if harmless => Ok(Settlement::NotPerformed),
            None => Err(cannot_tell(operation, "nothing in Qlik Cloud tells what it did")),
        }
    }

    /// Whether the document shows what an update sets.
    fn state(&self, document: &Value) -> Shown {
        match &self.reader.request.body {
            Body::Json(Value::Array(steps)) => shows_patch(steps, document),
            Body::Json(fields) => shows(fields, document),
            Body::Empty | Body::Multipart(_) | Body::File { .. } | Body::Exported { .. } => Shown::Untold,
        }
    }

    async fn by_key(&self, keys: &'static [NaturalKey], mut patience: Patience) -> Result<Settlement, Failure> {
        let operation = self.reader.operation;
        let found = keys.iter().find_map(|key| Some((key, wanted(key, self.reader.request)?)));
        let Some((key, things)) = found else {
            let why = "the request does not hold what tells one such thing from another";
            return Err(cannot_tell(operation, why));
        };
        let Some(list) = key.list() else { return self.content(key, &things).await };
        let path = self.list_path(list)?;
        let query = match &things[..] {
            [one] => one.query(key),
            _ => Vec::new(),
        };
        if key.gone {
            let items = self.reader.list(list, &path, &query).await?;
            let left = things.iter().any(|thing| items.iter().any(|item| thing.is(key, item)));
            return Ok(if left { Settlement::NotPerformed } else { Settlement::Performed(self.each_done(&things)) });
        }
        loop {
            let items = self.reader.list(list, &path, &query).await?;
            if let Some(settlement) = self.found(key, &things, &items)? {
                return Ok(settlement);
            }
            if !patience.another_look().await {
                return Ok(Settlement::NotPerformed);
            }
        }
    }

    /// What these items of the list say, when all things that were asked for are among them.
    fn found(&self, key: &NaturalKey, things: &[Wanted], items: &[Value]) -> Result<Option<Settlement>, Failure> {
        let mut all = Vec::new();
        for thing in things {
            let passed = |item: &Value| key.piles && self.is_older(key, item);
            let found: Vec<&Value> = items.iter().filter(|item| thing.is(key, item) && !passed(item)).collect();
            if found.is_empty() {
                return Ok(None);
            }
            all.push((thing, found));
        }
        match &all[..] {
            [(thing, found)] if key.each.is_none() => self.judge(key, thing, found).map(Some),
            _ => Ok(Some(Settlement::Performed(self.each_done(things)))),
        }
    }

    /// Whether an item was there before the request was sent.
    fn is_older(&self, key: &NaturalKey, item: &Value) -> bool {
        let created = key.created.as_deref().and_then(|field| item.pointer(field)).and_then(Value::as_str);
        let created = created.and_then(|text| text.parse::<Timestamp>().ok());
        created.is_some_and(|created| created < self.since - CLOCK_SKEW)
    }

    /// Whether what has the natural key came from this request.
    fn judge(&self, key: &NaturalKey, thing: &Wanted, found: &[&Value]) -> Result<Settlement, Failure> {
        let ours: Vec<&Value> = found
            .iter()
            .copied()
            .filter(|item| !self.is_older(key, item) && thing.shows(key, item) != Shown::Otherwise)
            .collect();
        match (&ours[..], key.repeat) {
            ([one], _) => Ok(Settlement::Performed(self.told(as_answered(key, one)))),
            // Somebody else's: a repeat is refused as the first one was, and whoever asked learns of it.
            (_, Repeat::Refused | Repeat::Harmless) => Ok(Settlement::NotPerformed),
            (_, Repeat::Another) => {
                let name = |item: &&Value| item["id"].as_str().unwrap_or("without an id").to_owned();
                let ids = found.iter().map(name).collect::<Vec<_>>().join(", ");
                let why = format!("there already is {}, which may be another: {ids}", key.thing);
                Err(cannot_tell(self.reader.operation, &why))
            }
        }
    }

    /// For a thing that is changed by sending its content anew.
    async fn content(&self, key: &NaturalKey, things: &[Wanted]) -> Result<Settlement, Failure> {
        let Some(read) = self.published.shown_by() else { return Ok(Settlement::NotPerformed) };
        let document = self.reader.document(read).await?;
        let shown = |document: &Value| things.iter().all(|thing| thing.shows(key, document) == Shown::So);
        Ok(match document.filter(shown) {
            Some(document) => Settlement::Performed(self.told(document)),
            None => Settlement::NotPerformed,
        })
    }

    /// The path of a list that stands under the same things as the request.
    fn list_path(&self, list: &Published) -> Result<String, Failure> {
        let variables = contract()
            .find(&self.reader.request.method, &self.reader.request.path)
            .map(|(_, variables)| variables)
            .unwrap_or_default();
        let variables: BTreeMap<String, String> =
            list.variables().filter_map(|name| Some((name.to_owned(), variables.get(name)?.to_owned()))).collect();
        list.expand(&variables).map_err(|violation| cannot_tell(self.reader.operation, &violation.to_string()))
    }

    /// The document as the answer to the write.
    fn told(&self, document: Value) -> Response {
        let good = |status: &&&str| status.starts_with('2') && **status != "204";
        if self.published.effect == Effect::Update && self.published.statuses.contains(&"204") {
            return empty();
        }
        let status = self.published.statuses.iter().find(good).and_then(|status| status.parse().ok());
        Response { status: status.unwrap_or(200), headers: BTreeMap::new(), payload: Payload::Json(document) }
    }

    /// The answer of an operation that takes many at once: each with its own status.
    fn each_done(&self, things: &[Wanted]) -> Response {
        let data: Vec<Value> = things
            .iter()
            .map(|thing| {
                let mut line = thing.document.clone();
                line["status"] = json!(200);
                line
            })
            .collect();
        self.told(json!({ "data": data }))
    }
}

/// The item as the write would have answered with it.
fn as_answered(key: &NaturalKey, item: &Value) -> Value {
    if key.told.is_empty() {
        return item.clone();
    }
    let mut answer = json!({});
    for (place, field) in &key.told {
        let mut at = &mut answer;
        for step in place.split('/').skip(1) {
            at = &mut at[step];
        }
        *at = item.pointer(field).cloned().unwrap_or_default();
    }
    answer
}

fn empty() -> Response {
    Response { status: 204, headers: BTreeMap::new(), payload: Payload::Empty }
}
