//! A dry run: reads go to the target, writes to a model that is laid over it.
//!
//! The script is answered as if its writes had been performed. Nothing that leaves is a write: the overlay passes only
//! reads on, each once, and asks the target nothing about things that only the model has.

mod archives;
mod first_token;
mod laid;
mod pool;
mod road;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

pub use self::first_token::{FIRST_TOKEN, FirstToken, Presence, refused_first_token};
use self::pool::License;
use self::road::{Effects, Lane, Road, Shared};
use super::reading::{key_of, reading, whole};
use super::sandbox::in_process;
use super::{Interpreter, answer_digest};
use crate::contract::{Published, Tier, contract};
use crate::operation::secret::SecretStore;
use crate::operation::{
    Body, Call, Digest, Effect, Failure, FailureKind, Host, Key, Operation, Outcome, Payload, Request, Response,
};
use crate::plan::{FileChange, Symbol, Symbols, chosen, words};
use crate::qlik::{Client, OauthClient, RetryPolicy, Settings};
use crate::sandbox::{Difference, Model, View, Wanted};
use crate::store::Vault;
use crate::surroundings::{Clock, Random};

/// How often a write that the model refuses is tried anew with more known of the tenant.
const ROUNDS: usize = 8;
/// What a secret's stand-in begins with; its name follows.
pub const STAND_IN: &str = "secret:";

/// What performs a dry run's requests.
pub struct Overlay {
    target: Arc<dyn Interpreter>,
    shared: Shared,
    before: Client<Road>,
    now: Client<Road>,
    write: Client<Road>,
    /// One write at a time: each is worked out on what the one before left.
    turn: tokio::sync::Mutex<()>,
    /// What the target answered, by request: nothing is asked twice.
    seen: Mutex<HashMap<Digest, Arc<OnceCell<Outcome>>>>,
    wanted: Mutex<BTreeSet<(String, Wanted)>>,
    notes: Mutex<Notes>,
    reads: Mutex<BTreeMap<Tier, u32>>,
    license: License,
}

/// What is known of a plan that is being made.
#[derive(Default)]
struct Notes {
    planned: Vec<Planned>,
    seen: Seen,
    /// What the script asked, with its answers, in their order.
    asked: Vec<(Key, Operation, Response)>,
    symbols: Symbols,
    /// What the customer, the playbook and the target have said: no service would choose that.
    given: HashSet<String>,
}

/// What the answers of a plan were made of.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Values that a service would have chosen.
    pub symbols: Vec<Symbol>,
    /// Reads that the target answered as the script got them: key, what they are about, digest of the answer.
    pub reads: Vec<(Key, String, String)>,
}

/// A write that a run would make.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Its key in the run.
    pub key: Key,
    /// The operation, with secrets as references.
    pub operation: Operation,
    /// What it does, with names in place of what a service would choose.
    pub canonical: Value,
    /// What it would change.
    pub changed: Vec<Difference>,
    /// Of an archive that it sends: the files that are not those the target has.
    pub files: Vec<FileChange>,
    /// The answer the script was given.
    pub answer: Response,
    /// Whether nothing is known of what it does but what the contract says.
    pub assumed: bool,
    /// Why it cannot be taken back; filled in when the plan is complete.
    pub irreversible: Option<String>,
}

impl Planned {
    fn new(key: &Key, operation: &Operation, answer: &Response) -> Self {
        Self {
            key: key.clone(),
            operation: operation.clone(),
            canonical: Value::Null,
            changed: Vec::new(),
            files: Vec::new(),
            answer: answer.clone(),
            assumed: false,
            irreversible: None,
        }
    }
}

impl Overlay {
    /// A model laid over `target`. What the model hands out is kept in the memory of `vault`, whose own secrets it never
    /// sees.
    #[must_use]
    pub fn new(
        target: Arc<dyn Interpreter>,
        vault: Vault,
        clock: Arc<dyn Clock>,
        random: Random,
        inputs: &Value,
    ) -> Self {
        const SECRET: &str = "plan/model";
        let secrets: Arc<dyn SecretStore> = Arc::new(StandIns(vault));
        let shared = Shared::new(Model::new(Arc::clone(&clock), random.clone()));
        let client = OauthClient { id: "plan".to_owned(), secret: SECRET.to_owned() };
        let lane = |lane| {
            let settings = in_process(client.clone(), Arc::clone(&secrets), Arc::clone(&clock), random.clone());
            let retry = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
            Client::new(Road { shared: shared.clone(), lane }, Settings { retry, ..settings })
        };
        let mut notes = Notes::default();
        words(inputs, &mut notes.given);
        Self {
            target,
            before: lane(Lane::Read(View::Base)),
            now: lane(Lane::Read(View::Now)),
            write: lane(Lane::Write),
            shared,
            turn: tokio::sync::Mutex::default(),
            seen: Mutex::default(),
            wanted: Mutex::default(),
            notes: Mutex::new(notes),
            reads: Mutex::default(),
            license: License::default(),
        }
    }

    /// The writes that were asked for so far, in their order.
    #[must_use]
    pub fn planned(&self) -> Vec<Planned> {
        self.notes().planned.clone()
    }

    /// What the script was answered so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.notes().seen.clone()
    }

    /// The values that a service would have chosen, with their names.
    #[must_use]
    pub fn symbols(&self) -> Symbols {
        self.notes().symbols.clone()
    }

    /// Gives away what the script asked, with its answers, in their order.
    #[must_use]
    pub fn take_asked(&self) -> Vec<(Key, Operation, Response)> {
        std::mem::take(&mut self.notes().asked)
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many reads the target answered, by rate limit.
    #[must_use]
    pub fn reads(&self) -> BTreeMap<Tier, u32> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes a local operation: a write of the embedder's own, which a plan has as any other; and what another run would be
    /// answered otherwise: times, ids, keys.
    pub fn note_local(&self, key: &Key, operation: &Operation, outcome: &Outcome) {
        let (Ok(answer), None) = (outcome, operation.request()) else { return };
        if operation.is_write_elsewhere() {
            self.note(Planned::new(key, operation, answer));
        }
        let chance = ["tenantry.now", "tenantry.uuid", "tenantry.ensureKey"];
        if chance.contains(&operation.id.as_str()) || operation.is_write_elsewhere() {
            self.answered(key, operation, answer, None);
        }
    }

    /// Takes a write into the plan.
    fn note(&self, write: Planned) {
        let mut notes = self.notes();
        let canonical = notes.symbols.canonical(&write.operation);
        notes.planned.push(Planned { canonical, ..write });
    }

    /// What differs in the model from what the target showed.
    #[must_use]
    pub fn changes(&self) -> Vec<Difference> {
        self.shared.model().changes()
    }

    /// Asks the target, once for the same request.
    async fn ask(&self, key: &Key, operation: &Operation) -> Outcome {
        if operation.effect.is_write() {
            let title = format!("a plan does not write: `{}` was not sent", operation.id);
            return Err(Failure::new(FailureKind::Denied, "tenantry/plan", title));
        }
        let cell = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(seen.entry(operation.digest()).or_default())
        };
        let answered = cell.get_or_try_init(|| async {
            let outcome = self.target.perform(key, operation).await;
            if let Ok(real) = &outcome {
                words(real.json(), &mut self.notes().given);
                self.license.hear(&operation.id, real.json());
            }
            if !matches!(&outcome, Err(failure) if failure.kind == FailureKind::Cancelled) {
                let tier = contract().operation(&operation.id).map_or(Tier::Tier1, |published| published.tier);
                *self.reads.lock().unwrap_or_else(PoisonError::into_inner).entry(tier).or_default() += 1;
            }
            match outcome {
                // What never came may come when it is asked for again.
                Err(failure) if failure.kind != FailureKind::Refused => Err(failure),
                outcome => Ok(outcome),
            }
        });
        answered.await?.clone()
    }

    /// Tells the model what the target answered.
    fn learn(&self, operation: &Operation, request: &Request, answer: &Response) {
        let Some(http) = plain(request) else { return };
        self.shared.model().learn(&operation.id, &http, answer.json());
    }

    /// Makes the model acquainted with a real tenant.
    async fn meet(&self, key: &Key, host: &str) -> Result<(), Failure> {
        if self.shared.model().knows(host) {
            return Ok(());
        }
        let mut shown = Vec::new();
        for id in ["getMyTenant", "getMyUser"] {
            let Some(published) = contract().operation(id) else { continue };
            let subject = format!("tenant {host}");
            let look =
                reading(published, Host::Tenant(host.to_owned()), published.path.to_owned(), Vec::new(), &subject);
            shown.push(self.ask(&key_of(key, published, 0), &look).await?.json().clone());
        }
        if let [tenant, user] = &shown[..] {
            self.shared.model().meet(host, tenant, user);
        }
        Ok(())
    }

    /// Whether a request is about something that only the model has.
    fn names_made(&self, request: &Request) -> bool {
        let mut said = HashSet::new();
        words(&json!([request.path, request.query, request.body.describe()]), &mut said);
        let model = self.shared.model();
        said.iter().any(|word| model.has_made(word))
    }

    /// Answers a read, with what the target itself said when it was asked.
    async fn read(&self, key: &Key, operation: &Operation, request: &Request) -> (Outcome, Option<Response>) {
        let as_is = |outcome: Outcome| {
            let real = outcome.as_ref().ok().cloned();
            (outcome, real)
        };
        if !Model::simulates(&operation.id) {
            return as_is(self.ask(key, operation).await);
        }
        if let Host::Tenant(host) = &request.host {
            if self.shared.model().is_born(host) {
                self.look_at_license(key, operation, request).await;
                return (self.now.perform(key, operation).await, None);
            }
            if let Err(failure) = self.meet(key, host).await {
                return (Err(failure), None);
            }
            if !self.shared.model().is_changed(host) {
                let outcome = self.ask(key, operation).await;
                if let Ok(real) = &outcome {
                    self.learn(operation, request, real);
                }
                return as_is(outcome);
            }
        }
        if self.names_made(request) {
            return (self.now.perform(key, operation).await, None);
        }
        let real = self.whole(Of::Target, key, operation).await;
        if let Ok(real) = &real {
            self.learn(operation, request, real);
        }
        let before = self.whole(Of::Before, key, operation).await;
        let after = self.whole(Of::Now, key, operation).await;
        match (real, before, after) {
            (Ok(real), Ok(before), Ok(after)) => {
                let json = laid::over(real.json(), before.json(), after.json());
                let payload = if real.json().is_null() { real.payload.clone() } else { Payload::Json(json) };
                (Ok(Response { payload, ..real.clone() }), Some(real))
            }
            // What it is in was made.
            (Ok(real), Err(_), Ok(after)) => {
                let json = laid::over(real.json(), &Value::Null, after.json());
                (Ok(Response { payload: Payload::Json(json), ..real.clone() }), Some(real))
            }
            // It was removed, or made.
            (Ok(real), Ok(_), Err(gone)) => (Err(gone), Some(real)),
            (Err(_), Err(_), Ok(made)) => (Ok(made), None),
            (real, _, _) => as_is(real),
        }
    }

    /// An answer with all its pages in one, when it is a list.
    async fn whole(&self, of: Of, key: &Key, operation: &Operation) -> Outcome {
        let ask = |_, page: Operation| -> BoxFuture<'_, Outcome> {
            Box::pin(async move {
                match of {
                    Of::Target => self.ask(key, &page).await,
                    Of::Before => self.before.perform(key, &page).await,
                    Of::Now => self.now.perform(key, &page).await,
                }
            })
        };
        whole(operation, ask).await
    }

    async fn change(&self, key: &Key, operation: &Operation, request: &Request) -> Outcome {
        if let Host::Tenant(host) = &request.host
            && !self.shared.model().is_born(host)
        {
            self.meet(key, host).await?;
        }
        let files = self.archive_changes(key, operation, request).await;
        let _turn = self.turn.lock().await;
        let is_assumed = !Model::simulates(&operation.id);
        let (answer, changed) = if is_assumed {
            (assumed(operation, request), Vec::new())
        } else {
            let (answer, effects) = self.in_model(key, operation, request).await?;
            (answer, effects.changed)
        };
        self.note(Planned { changed, files, assumed: is_assumed, ..Planned::new(key, operation, &answer) });
        Ok(answer)
    }

    /// Has the model do what is asked. Its refusal is believed when there is nothing left to learn about.
    async fn in_model(
        &self,
        key: &Key,
        operation: &Operation,
        request: &Request,
    ) -> Result<(Response, Effects), Failure> {
        let mut rounds = 0;
        loop {
            let outcome = self.write.perform(key, operation).await;
            let effects = self.shared.take_effects();
            match outcome {
                Ok(answer) => return Ok((answer, effects)),
                Err(failure) => {
                    rounds += 1;
                    if rounds == ROUNDS || !self.look_closer(key, &request.host, effects.wanted).await? {
                        return Err(failure);
                    }
                }
            }
        }
    }

    /// Notes what a request says, unless a service would have chosen it.
    fn give(&self, request: &Request) {
        let mut said = HashSet::new();
        let about = json!([request.host.name(), request.path, request.query, request.body.describe()]);
        words(&about, &mut said);
        let notes = &mut *self.notes();
        notes.given.extend(said.into_iter().filter(|word| notes.symbols.name_of(word).is_none()));
    }

    /// Notes what the script is answered: which values in it a service would have chosen.
    fn answered(&self, key: &Key, operation: &Operation, answer: &Response, real: Option<&Response>) {
        let mut notes = self.notes();
        if let Some(real) = real.filter(|real| *real == answer) {
            let digest = answer_digest(real.json());
            notes.seen.reads.push((key.clone(), operation.subject.clone(), digest));
            return;
        }
        for (mut symbol, value) in chosen(key, answer.json()) {
            if notes.given.contains(&value) {
                continue;
            }
            match notes.symbols.name_of(&value) {
                None => notes.symbols.note(&value, &symbol),
                Some(name) => symbol.named = Some(name.to_owned()),
            }
            notes.seen.symbols.push(symbol);
        }
    }

    /// Asks the target for what the model must know before its refusal is believed. Whether there was anything new.
    async fn look_closer(&self, key: &Key, host: &Host, wanted: Vec<Wanted>) -> Result<bool, Failure> {
        let mut any = false;
        for wanted in wanted {
            let Some(published) = contract().operation(wanted.operation) else { continue };
            let Ok(path) = published.expand(&wanted.variables) else { continue };
            let first = {
                let mut asked = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
                asked.insert((host.name(), wanted.clone()))
            };
            let look = reading(published, host.clone(), path, Vec::new(), &host.name());
            let Some(request) = look.request().filter(|request| first && !self.names_made(request)) else { continue };
            match self.whole(Of::Target, &key_of(key, published, 0), &look).await {
                Ok(answer) => {
                    self.learn(&look, request, &answer);
                    any = true;
                }
                // It is not there either: then the refusal is right.
                Err(failure) if failure.kind == FailureKind::Refused => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(any)
    }

    /// What is no change that a partner manages leaves traces all the same: a login, an export. The model has them, not
    /// the target.
    async fn probe(&self, key: &Key, operation: &Operation, request: &Request) -> Outcome {
        if !Model::simulates(&operation.id) {
            return self.ask(key, operation).await;
        }
        if let Host::Tenant(host) = &request.host
            && !self.shared.model().is_born(host)
        {
            self.meet(key, host).await?;
        }
        let _turn = self.turn.lock().await;
        self.in_model(key, operation, request).await.map(|(answer, _)| answer)
    }
}

/// What a model is shown of secrets: a text that stands for each. Only what the model itself handed out is what it is.
struct StandIns(Vault);

impl SecretStore for StandIns {
    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<SecretString, Failure>> {
        let stand_in = || SecretString::from(format!("{STAND_IN}{name}"));
        let text = self.0.kept(name).unwrap_or_else(stand_in);
        async move { Ok(text) }.boxed()
    }

    fn keep(&self, name: &str, text: SecretString) {
        self.0.keep(name, text);
    }
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Target,
    Before,
    Now,
}

/// The request as the model sees it, without its body.
fn plain(request: &Request) -> Option<http::Request<Bytes>> {
    let mut url = url::Url::parse(&format!("https://{}{}", request.host.name(), request.path)).ok()?;
    if !request.query.is_empty() {
        url.query_pairs_mut().extend_pairs(&request.query);
    }
    http::Request::builder().method(request.method.clone()).uri(url.as_str()).body(Bytes::new()).ok()
}

/// What an operation that the model does not simulate is taken to answer: what was sent, and nothing where the contract
/// has no body.
fn assumed(operation: &Operation, request: &Request) -> Response {
    let published: Option<&Published> = contract().operation(&operation.id);
    let status = published.and_then(|published| published.statuses.iter().find(|status| status.starts_with('2')));
    let status = status.and_then(|status| status.parse().ok()).unwrap_or(200);
    let payload = match (&request.body, status) {
        (_, 204) => Payload::Empty,
        (Body::Json(body), _) if body.is_object() => Payload::Json(body.clone()),
        _ => Payload::Empty,
    };
    Response { status, headers: BTreeMap::new(), payload }
}

impl Interpreter for Overlay {
    fn perform<'a>(&'a self, key: &'a Key, operation: &'a Operation) -> BoxFuture<'a, Outcome> {
        async move {
            let Call::Request(request) = &operation.call else {
                return self.target.perform(key, operation).await;
            };
            self.give(request);
            let (outcome, real) = match operation.effect {
                Effect::Read => self.read(key, operation, request).await,
                Effect::Probe => (self.probe(key, operation, request).await, None),
                Effect::Create | Effect::Update | Effect::Delete | Effect::Act => {
                    (self.change(key, operation, request).await, None)
                }
            };
            if let Ok(answer) = &outcome {
                self.answered(key, operation, answer, real.as_ref());
                self.notes().asked.push((key.clone(), operation.clone(), answer.clone()));
            }
            outcome
        }
        .boxed()
    }
}
