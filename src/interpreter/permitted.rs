use std::collections::BTreeSet;
use std::fmt;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use jiff::Timestamp;

use super::{Interpreter, Settlement};
use crate::contract::contract;
use crate::operation::{Call, Effect, Failure, FailureKind, Key, Operation, Outcome};
use crate::suggest::nearest;

/// Refuses what a playbook's `@permits` line does not name. Reads and probes are always allowed.
#[derive(Clone, Debug)]
pub struct Permitted<I> {
    inner: I,
    permits: Permits,
}

impl<I: Interpreter> Permitted<I> {
    /// These permissions around `inner`.
    pub fn new(inner: I, permits: Permits) -> Self {
        Self { inner, permits }
    }
}

impl<I: Interpreter> Interpreter for Permitted<I> {
    fn perform<'a>(&'a self, key: &'a Key, operation: &'a Operation) -> BoxFuture<'a, Outcome> {
        match self.permits.check(operation) {
            Ok(()) => self.inner.perform(key, operation),
            Err(failure) => ready(Err(failure)).boxed(),
        }
    }

    fn settle<'a>(
        &'a self,
        key: &'a Key,
        operation: &'a Operation,
        since: Timestamp,
    ) -> BoxFuture<'a, Result<Settlement, Failure>> {
        self.inner.settle(key, operation, since)
    }
}

/// What a playbook may do: `spaces:write`, `tenants:create`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permits {
    /// `None` allows everything.
    words: Option<BTreeSet<(String, Action)>>,
}

/// What may be done to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    Read,
    Create,
    Update,
    Delete,
    Act,
    Write,
}

const ACTIONS: [(&str, Action); 6] = [
    ("read", Action::Read),
    ("create", Action::Create),
    ("update", Action::Update),
    ("delete", Action::Delete),
    ("act", Action::Act),
    ("write", Action::Write),
];

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = ACTIONS.iter().find(|(_, action)| action == self).map_or("", |(word, _)| word);
        f.write_str(word)
    }
}

/// A word of an `@permits` line means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not a permission: {reason}")]
pub struct PermitError {
    /// The word.
    pub word: String,
    /// What is wrong with it.
    pub reason: String,
    /// What to write in its place.
    pub hint: Option<String>,
}

impl Permits {
    /// Everything is allowed: the playbook declares nothing.
    #[must_use]
    pub fn everything() -> Self {
        Self { words: None }
    }

    /// What these words allow: `<resource>:<action>`, where the resource is one of Qlik's (`spaces`,
    /// `identity-providers`) or one of `namespaces` (embedders' local operations), and the action is `read`, `create`,
    /// `update`, `delete`, `act`, or `write` for the last four.
    ///
    /// # Errors
    /// The first word that is none.
    pub fn parse<'w>(words: impl IntoIterator<Item = &'w str>, namespaces: &[&str]) -> Result<Self, PermitError> {
        let words = words.into_iter().map(|word| permit(word, namespaces)).collect::<Result<_, _>>()?;
        Ok(Self { words: Some(words) })
    }

    /// Whether the operation is allowed.
    ///
    /// # Errors
    /// A failure of kind `Denied` that names the permission to add.
    pub fn check(&self, operation: &Operation) -> Result<(), Failure> {
        let Some(words) = &self.words else { return Ok(()) };
        let action = match operation.effect {
            Effect::Read | Effect::Probe => return Ok(()),
            Effect::Create => Action::Create,
            Effect::Update => Action::Update,
            Effect::Delete => Action::Delete,
            Effect::Act => Action::Act,
        };
        let resource = match &operation.call {
            Call::Local { .. } => match operation.id.split('.').next() {
                // Keys and registry entries come with what the playbook may do anyway.
                Some("tenantry") => return Ok(()),
                word => word,
            },
            Call::Request(request) => contract()
                .operation(&operation.id)
                .or_else(|| contract().find(&request.method, &request.path).map(|(published, _)| published))
                .map(|published| published.tag),
        };
        let refuse = || {
            Failure::new(
                FailureKind::Denied,
                "tenantry/not-permitted",
                format!("this playbook is not permitted to {action} {}", operation.subject),
            )
        };
        let Some(resource) = resource else {
            return Err(refuse().detail(format!("`{}` is no operation that a permission can name", operation.id)));
        };
        let allowed = |action| words.contains(&(resource.to_owned(), action));
        if allowed(action) || allowed(Action::Write) {
            return Ok(());
        }
        Err(refuse().hint(format!("add `{resource}:{action}` to the playbook's @permits line")))
    }
}

fn permit(word: &str, namespaces: &[&str]) -> Result<(String, Action), PermitError> {
    let error = |reason: String, hint: Option<String>| PermitError { word: word.to_owned(), reason, hint };
    let Some((resource, action)) = word.rsplit_once(':') else {
        return Err(error("it has no action".to_owned(), Some(format!("write `{word}:write`"))));
    };
    let resources: BTreeSet<&str> =
        contract().operations().map(|published| published.tag).chain(namespaces.iter().copied()).collect();
    if !resources.contains(resource) {
        let hint = nearest(resource, resources).map(|nearest| format!("did you mean `{nearest}:{action}`?"));
        return Err(error(format!("there is no resource `{resource}`"), hint));
    }
    let Some((_, action)) = ACTIONS.iter().find(|(known, _)| *known == action) else {
        let known = ACTIONS.map(|(known, _)| known).join(", ");
        return Err(error(format!("there is no action `{action}`"), Some(format!("known are {known}"))));
    };
    Ok((resource.to_owned(), *action))
}
