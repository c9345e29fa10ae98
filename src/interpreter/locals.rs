use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Interpreter, Settlement, cannot_tell, files};
use crate::operation::secret::{self, SecretStore as _};
use crate::operation::{Call, Effect, Failure, FailureKind, Key, Operation, Outcome, PAUSE, Response};
use crate::store::{KeySize, Keys, Vault, VaultError};
use crate::suggest::nearest;
use crate::surroundings::{Clock, Random};

/// Answers local operations by their handlers, and passes requests on, with the files they send named by where they lie.
#[derive(Clone, Debug)]
pub struct Locals<I> {
    inner: I,
    operations: Arc<LocalOperations>,
}

impl<I: Interpreter> Locals<I> {
    /// These local operations around `inner`.
    pub fn new(inner: I, operations: Arc<LocalOperations>) -> Self {
        Self { inner, operations }
    }
}

impl<I> Locals<I> {
    async fn settled(&self, operation: &Operation, arguments: &Value) -> Result<Settlement, Failure> {
        let Some(local) = self.operations.get(&operation.id) else {
            return Err(self.operations.unknown(&operation.id));
        };
        if !local.effect.is_write() {
            return Ok(Settlement::NotPerformed);
        }
        let Some(found) = local.settled(arguments.clone()) else {
            let why = format!("`{}` has no look-up; the program that registers it can give it one", operation.id);
            return Err(cannot_tell(operation, &why));
        };
        match found.await {
            Ok(Some(answer)) => Ok(Settlement::Performed(Response::local(answer))),
            Ok(None) => Ok(Settlement::NotPerformed),
            Err(failure) => Err(cannot_tell(operation, &format!("its look-up failed: {failure}"))),
        }
    }
}

impl<I: Interpreter> Interpreter for Locals<I> {
    fn perform<'a>(&'a self, key: &'a Key, operation: &'a Operation) -> BoxFuture<'a, Outcome> {
        match &operation.call {
            Call::Request(_) => match self.operations.root.as_deref().and_then(|root| files::placed(root, operation)) {
                Some(placed) => async move { self.inner.perform(key, &placed).await }.boxed(),
                None => self.inner.perform(key, operation),
            },
            Call::Local { arguments } => match self.operations.get(&operation.id) {
                Some(local) => local.handle(arguments.clone()).map(|answer| answer.map(Response::local)).boxed(),
                None => futures_util::future::ready(Err(self.operations.unknown(&operation.id))).boxed(),
            },
        }
    }

    fn settle<'a>(
        &'a self,
        key: &'a Key,
        operation: &'a Operation,
        since: Timestamp,
    ) -> BoxFuture<'a, Result<Settlement, Failure>> {
        match &operation.call {
            Call::Request(_) => self.inner.settle(key, operation, since),
            Call::Local { arguments } => self.settled(operation, arguments).boxed(),
        }
    }
}

type Answering<T> = Arc<dyn Fn(Value) -> BoxFuture<'static, Result<T, Failure>> + Send + Sync>;
/// Lets time pass where nobody waits.
pub type Passes = Arc<dyn Fn(Duration) + Send + Sync>;
type Saying<T> = Arc<dyn Fn(&Value) -> T + Send + Sync>;

/// An operation that the host itself performs: an embedder's own step, such as an entry in its CRM.
///
/// Its arguments and answers are JSON; secrets in them are references.
#[derive(Clone)]
pub struct LocalOperation {
    name: String,
    effect: Effect,
    handler: Answering<Value>,
    natural_key: Option<Saying<String>>,
    settle: Option<Answering<Option<Value>>>,
    plan: Option<Saying<Value>>,
}

impl fmt::Debug for LocalOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalOperation")
            .field("name", &self.name)
            .field("effect", &self.effect)
            .field("settles", &self.settle.is_some())
            .field("plans", &self.plan.is_some())
            .finish_non_exhaustive()
    }
}

impl LocalOperation {
    /// An operation called `name` (`crm.notify`: a word of the embedder's, a dot, a verb) with this effect.
    ///
    /// The handler may be dropped when a run is cancelled. A [`Failure`] it returns says by its kind whether it acted.
    pub fn new<F, R>(name: impl Into<String>, effect: Effect, handler: F) -> Self
    where
        F: Fn(Value) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Value, Failure>> + Send + 'static,
    {
        Self {
            name: name.into(),
            effect,
            handler: Arc::new(move |arguments| handler(arguments).boxed()),
            natural_key: None,
            settle: None,
            plan: None,
        }
    }

    /// What the operation acts on, by its arguments: two operations with the same key touch the same thing.
    #[must_use]
    pub fn natural_key(mut self, key: impl Fn(&Value) -> String + Send + Sync + 'static) -> Self {
        self.natural_key = Some(Arc::new(key));
        self
    }

    /// How to find out whether an operation whose end is not known was performed: its answer when it was, `None` when
    /// it was not.
    #[must_use]
    pub fn settle<F, R>(mut self, look_up: F) -> Self
    where
        F: Fn(Value) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Option<Value>, Failure>> + Send + 'static,
    {
        self.settle = Some(Arc::new(move |arguments| look_up(arguments).boxed()));
        self
    }

    /// What a plan answers in its place.
    #[must_use]
    pub fn plan(mut self, answer: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Self {
        self.plan = Some(Arc::new(answer));
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it does to the world.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// Performs it.
    #[must_use]
    pub fn handle(&self, arguments: Value) -> BoxFuture<'static, Result<Value, Failure>> {
        (self.handler)(arguments)
    }

    /// What it acts on, when the embedder said so.
    #[must_use]
    pub fn key_of(&self, arguments: &Value) -> Option<String> {
        self.natural_key.as_ref().map(|key| key(arguments))
    }

    /// Looks up whether it was performed; `None` when the embedder gave no look-up.
    #[must_use]
    pub fn settled(&self, arguments: Value) -> Option<BoxFuture<'static, Result<Option<Value>, Failure>>> {
        self.settle.as_ref().map(|settle| settle(arguments))
    }

    /// What a plan answers, when the embedder said so.
    #[must_use]
    pub fn planned(&self, arguments: &Value) -> Option<Value> {
        self.plan.as_ref().map(|plan| plan(arguments))
    }
}

/// The local operations of a host, by name.
#[derive(Clone, Debug, Default)]
pub struct LocalOperations {
    by_name: BTreeMap<String, LocalOperation>,
    /// The project's folder, where operations may send files of it.
    root: Option<Arc<Path>>,
}

/// A local operation cannot be registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocalOperationError {
    /// The name has not the form of one.
    #[error("`{0}` cannot name a local operation: take a word of your own, a dot and a verb, such as `crm.notify`")]
    Name(String),
    /// The names that begin with `tenantry.` are the host's.
    #[error("`{0}` begins with `tenantry.`, which names the host's own operations")]
    Reserved(String),
    /// There is one of this name.
    #[error("there already is a local operation `{0}`")]
    Taken(String),
}

impl LocalOperations {
    /// The host's own: time, chance, secrets and keys; the files of a project come with [`files`](Self::files).
    #[must_use]
    pub fn standard(clock: Arc<dyn Clock>, random: Random, vault: Vault) -> Self {
        let mut by_name = BTreeMap::new();
        for operation in standard(clock, random, vault) {
            by_name.insert(operation.name.clone(), operation);
        }
        Self { by_name, root: None }
    }

    /// The same with the files of the project in `root`: what they are, and where they lie when they are sent.
    #[must_use]
    pub fn files(mut self, root: &Path) -> Self {
        let folder = root.to_owned();
        // { path } -> { sha256, size }; the path is relative to the project.
        let operation = LocalOperation::new("tenantry.file", Effect::Read, move |arguments| {
            let folder = folder.clone();
            async move {
                let name = text(&arguments, "path")?.to_owned();
                files::describe(folder, name).await
            }
        });
        self.by_name.insert(operation.name.clone(), operation);
        let folder = root.to_owned();
        // { path, members } -> those members of the object that the JSON file holds.
        let operation = LocalOperation::new("tenantry.json", Effect::Read, move |arguments| {
            let folder = folder.clone();
            async move {
                let name = text(&arguments, "path")?.to_owned();
                let members = arguments["members"].as_array().into_iter().flatten();
                let members = members.filter_map(Value::as_str).map(str::to_owned).collect();
                files::members(folder, name, members).await
            }
        });
        self.by_name.insert(operation.name.clone(), operation);
        self.root = Some(root.into());
        self
    }

    /// The same operations for a dry run: pauses pass at once on `passes`, keys are made in `vault` alone, and what would
    /// write is answered as its embedder says a plan does.
    #[must_use]
    pub fn planning(&self, clock: Arc<dyn Clock>, random: Random, vault: Vault, passes: Passes) -> Self {
        let mut planning = self.clone();
        for operation in standard(clock, random, vault) {
            planning.by_name.insert(operation.name.clone(), operation);
        }
        let pause = LocalOperation::new(PAUSE, Effect::Read, move |arguments| {
            passes(Duration::from_secs(arguments["seconds"].as_u64().unwrap_or(0)));
            async { Ok(Value::Null) }
        });
        planning.by_name.insert(pause.name.clone(), pause);
        for operation in planning.by_name.values_mut() {
            let own = !operation.name.starts_with("tenantry.");
            if own && operation.effect.is_write() {
                let plan = operation.plan.clone();
                operation.handler = Arc::new(move |arguments| {
                    let answer = plan.as_ref().map_or(Value::Null, |plan| plan(&arguments));
                    async move { Ok(answer) }.boxed()
                });
            }
        }
        planning
    }

    /// Adds an embedder's operation.
    ///
    /// # Errors
    /// When its name is not one for an embedder, or taken.
    pub fn add(&mut self, operation: LocalOperation) -> Result<(), LocalOperationError> {
        let name = operation.name.clone();
        let word = |word: &str| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        };
        if !name.contains('.') || !name.split('.').all(word) {
            return Err(LocalOperationError::Name(name));
        }
        if name.starts_with("tenantry.") {
            return Err(LocalOperationError::Reserved(name));
        }
        if self.by_name.contains_key(&name) {
            return Err(LocalOperationError::Taken(name));
        }
        self.by_name.insert(name, operation);
        Ok(())
    }

    /// The operation of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&LocalOperation> {
        self.by_name.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &LocalOperation> {
        self.by_name.values()
    }

    /// The words before the dot of embedders' operations: what `@permits` may name besides Qlik's resources.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.by_name
            .keys()
            .filter_map(|name| name.split_once('.'))
            .map(|(word, _)| word)
            .filter(|word| *word != "tenantry")
    }

    fn unknown(&self, name: &str) -> Failure {
        let title = format!("there is no operation `{name}`");
        let failure = Failure::new(FailureKind::Denied, "tenantry/unknown-operation", title);
        match nearest(name, self.by_name.keys().map(String::as_str)) {
            Some(nearest) => failure.hint(format!("did you mean `{nearest}`?")),
            None => failure,
        }
    }
}

fn standard(clock: Arc<dyn Clock>, random: Random, vault: Vault) -> [LocalOperation; 7] {
    let keys = Keys::new(vault.clone(), Arc::clone(&clock));
    let signing = keys.clone();
    let kept = vault.clone();
    let now = Arc::clone(&clock);
    [
        // The moment, as RFC 3339 text.
        LocalOperation::new("tenantry.now", Effect::Read, move |_| {
            let moment = now.now().to_string();
            async move { Ok(json!(moment)) }
        }),
        // { seconds } -> nothing, after so many seconds.
        LocalOperation::new(PAUSE, Effect::Read, |arguments| async move {
            let seconds = arguments["seconds"].as_u64();
            let seconds = seconds.ok_or_else(|| bad_argument("`seconds` must be a whole number".to_owned()))?;
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Ok(Value::Null)
        }),
        // A random identifier.
        LocalOperation::new("tenantry.uuid", Effect::Read, move |_| {
            let id = random.uuid().to_string();
            async move { Ok(json!(id)) }
        }),
        // { name } -> a reference, once the text could be read: a missing secret shows before anything is sent.
        LocalOperation::new("tenantry.secret", Effect::Read, move |arguments| {
            let vault = vault.clone();
            async move {
                let name = text(&arguments, "name")?;
                if !crate::store::plain_name(name) {
                    return Err(VaultError::Name { name: name.to_owned() }.into());
                }
                vault.read(name).await?;
                Ok(secret::reference(name))
            }
        }),
        // { names } -> a reference to the first of these secrets, told once in earlier answers, that is there; else null
        LocalOperation::new("tenantry.kept", Effect::Read, move |arguments| {
            let vault = kept.clone();
            async move {
                for name in arguments["names"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                    match vault.text(name).await {
                        Ok(_) => return Ok(secret::reference(name)),
                        Err(VaultError::Unknown { .. }) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok(Value::Null)
            }
        }),
        // { name, bits? } -> { certificate, publicKey, expires, expired, created, key }
        LocalOperation::new("tenantry.ensureKey", Effect::Create, move |arguments| {
            let (keys, clock) = (keys.clone(), Arc::clone(&clock));
            async move {
                let size = match &arguments["bits"] {
                    Value::Null => KeySize::default(),
                    bits => bits.as_u64().and_then(KeySize::from_bits).ok_or_else(|| {
                        bad_argument(format!("`bits` cannot be {bits}")).hint("use 2048, 3072 or 4096")
                    })?,
                };
                let pair = keys.ensure(text(&arguments, "name")?, size).await?;
                Ok(json!({
                    "certificate": pair.certificate,
                    "publicKey": pair.public_key,
                    "expires": pair.expires.to_string(),
                    "expired": pair.expires <= clock.now(),
                    "created": pair.created,
                    "key": secret::reference(&pair.secret),
                }))
            }
        })
        // A pair that was made is found again.
        .settle(|_| async { Ok(None) }),
        // { key, kid, claims } -> { token }
        LocalOperation::new("tenantry.signJwt", Effect::Probe, move |arguments| {
            let keys = signing.clone();
            async move {
                let claims = &arguments["claims"];
                if !claims.is_object() {
                    return Err(bad_argument("`claims` must be an object".to_owned()));
                }
                let token = keys.sign(text(&arguments, "key")?, text(&arguments, "kid")?, claims).await?;
                Ok(json!({ "token": secret::reference(&token) }))
            }
        }),
    ]
}

/// A text argument of a local operation.
pub(super) fn text<'v>(arguments: &'v Value, name: &str) -> Result<&'v str, Failure> {
    arguments[name].as_str().ok_or_else(|| bad_argument(format!("`{name}` must be given as text")))
}

fn bad_argument(title: String) -> Failure {
    Failure::new(FailureKind::Denied, "tenantry/argument", title)
}
