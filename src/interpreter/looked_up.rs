use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::shown::{Shown, shows, shows_patch};
use super::wanted::{Wanted, wanted};
use super::{Interpreter, Settlement, cannot_tell};
use crate::contract::{LookUp, NaturalKey, ParameterPlace, Published, Repeat, contract};
use crate::operation::{Body, Call, Effect, Failure, FailureKind, Key, Operation, Outcome, Payload, Request, Response};
use crate::surroundings::Clock;

/// For how long after an operation was begun a look-up that finds nothing is not believed: lists lag behind.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The pause before the second look; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// How far the service's clock may be behind this one's.
pub(super) const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// More pages than this is a list that never ends.
const MAX_PAGES: usize = 10_000;

/// Finds out by reading whether a request, whose end is not known, took place: by the natural keys of the contract
/// (`contract/natural_keys.toml`), by whether what it set is set, or by whether what it removed is gone.
#[derive(Clone)]
pub struct LookedUp<I> {
    inner: I,
    clock: Arc<dyn Clock>,
    patience: Duration,
}

impl<I: Interpreter> LookedUp<I> {
    /// Look-ups through `inner`.
    pub fn new(inner: I, clock: Arc<dyn Clock>) -> Self {
        Self { inner, clock, patience: PATIENCE }
    }

    /// The same with another patience than [`PATIENCE`]: none where lists never lag.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

impl<I: Interpreter> Interpreter for LookedUp<I> {
    fn perform<'a>(&'a self, key: &'a Key, operation: &'a Operation) -> BoxFuture<'a, Outcome> {
        self.inner.perform(key, operation)
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

/// How long a look-up that finds nothing is not believed.
pub(super) struct Patience<'a> {
    clock: &'a dyn Clock,
    since: Timestamp,
    length: Duration,
    pause: Duration,
    waited: Duration,
}

impl<'a> Patience<'a> {
    /// Patience of this length with what was begun at `since`.
    pub(super) fn new(clock: &'a dyn Clock, since: Timestamp, length: Duration) -> Self {
        Self { clock, since, length, pause: FIRST_PAUSE, waited: Duration::ZERO }
    }

    /// Waits before another look; `false` when patience has ended.
    pub(super) async fn another_look(&mut self) -> bool {
        let passed = self.clock.now().duration_since(self.since);
        let passed = Duration::try_from(passed).unwrap_or_default().max(self.waited);
        let left = self.length.saturating_sub(passed);
        if left.is_zero() {
            return false;
        }
        let pause = self.pause.min(left);
        tokio::time::sleep(pause).await;
        self.waited += pause;
        self.pause *= 2;
        true
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
    async fn read(
        &self,
        read: &Published,
        page: usize,
        path: &str,
        query: &[(String, String)],
        next: Option<String>,
    ) -> Outcome {
        let key = Key { id: read.id.to_owned(), ordinal: u32::try_from(page).unwrap_or(u32::MAX), ..self.key.clone() };
        let operation = Operation {
            id: read.id.to_owned(),
            call: Call::Request(Request {
                host: self.request.host.clone(),
                method: read.method.clone(),
                path: path.to_owned(),
                query: query.to_vec(),
                headers: BTreeMap::new(),
                body: Body::Empty,
                next,
            }),
            effect: Effect::Read,
            subject: self.operation.subject.clone(),
            site: self.operation.site.clone(),
        };
        self.interpreter.perform(&key, &operation).await
    }

    /// All items of a list.
    async fn list(&self, list: &Published, path: &str, query: &[(String, String)]) -> Result<Vec<Value>, Failure> {
        let mut query = query.to_vec();
        if list.parameters_in(ParameterPlace::Query).any(|known| known.name == "limit") {
            let most = list.paging.and_then(|paging| paging.max_limit).unwrap_or(100).min(100);
            query.push(("limit".to_owned(), most.to_string()));
        }
        let mut found = Vec::new();
        let mut next: Option<String> = None;
        for page in 0..MAX_PAGES {
            let answer = self.read(list, page, path, &query, next.clone()).await.map_err(|why| self.failed(&why))?;
            let items = answer.json()["data"].as_array().or_else(|| answer.json().as_array());
            let Some(items) = items else { break };
            found.extend(items.iter().cloned());
            match answer.json()["links"]["next"]["href"].as_str().filter(|link| !link.is_empty()) {
                None => return Ok(found),
                Some(link) if Some(link) == next.as_deref() => break,
                Some(link) => next = Some(link.to_owned()),
            }
        }
        Err(cannot_tell(self.operation, &format!("`{}` does not answer with a list that ends", list.id)))
    }

    /// What is at the path of the request; `None` when there is nothing.
    async fn document(&self, read: &Published) -> Result<Option<Value>, Failure> {
        match self.read(read, 0, &self.request.path, &[], None).await {
            Ok(answer) => Ok(Some(answer.json().clone())),
            Err(failure) if matches!(failure.status, Some(404 | 410)) => Ok(None),
            Err(failure) => Err(self.failed(&failure)),
        }
    }

    /// A look-up that failed tells nothing; one that was cancelled is no look-up.
    fn failed(&self, why: &Failure) -> Failure {
        if why.kind == FailureKind::Cancelled {
            return why.clone();
        }
        cannot_tell(self.operation, &format!("looking it up failed: {why}"))
    }
}

/// The question whether one write took place.
struct Question<'a, I> {
    reader: Reader<'a, I>,
    published: &'static Published,
    since: Timestamp,
}

impl<I: Interpreter> Question<'_, I> {
    async fn answer(&self, mut patience: Patience<'_>) -> Result<Settlement, Failure> {
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
            Body::Empty | Body::Multipart(_) | Body::File { .. } => Shown::Untold,
        }
    }

    async fn by_key(&self, keys: &'static [NaturalKey], mut patience: Patience<'_>) -> Result<Settlement, Failure> {
        let operation = self.reader.operation;
        let found = keys.iter().find_map(|key| Some((key, wanted(key, &self.reader.request.body)?)));
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
            let found: Vec<&Value> = items.iter().filter(|item| thing.is(key, item)).collect();
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

    /// Whether what has the natural key came from this request.
    fn judge(&self, key: &NaturalKey, thing: &Wanted, found: &[&Value]) -> Result<Settlement, Failure> {
        let before = |item: &Value| {
            let created = key.created.as_deref().and_then(|field| item.pointer(field)).and_then(Value::as_str);
            let created = created.and_then(|text| text.parse::<Timestamp>().ok());
            created.is_some_and(|created| created < self.since - CLOCK_SKEW)
        };
        let ours: Vec<&Value> =
            found.iter().copied().filter(|item| !before(item) && thing.shows(key, item) != Shown::Otherwise).collect();
        match (&ours[..], key.repeat) {
            ([one], _) => Ok(Settlement::Performed(self.told((*one).clone()))),
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

fn empty() -> Response {
    Response { status: 204, headers: BTreeMap::new(), payload: Payload::Empty }
}
