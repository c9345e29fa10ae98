use serde::Serialize;
use serde_json::Value;

use super::address::Address;
use super::call::{self, ExplainedCall};
use super::error::ExplainError;
use super::sighting::{Object, Sightings};
use crate::history::{Fate, History, PastOperation};
use crate::operation::{Effect, RecordedBody, RecordedRequest};
use crate::store::{Journal, JournalError, RunFilter};
use crate::suggest;

/// Names less alike than this are no help.
const ALIKE: f64 = 0.6;

/// A thing, and every call that dealt with it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExplainedObject {
    /// The thing.
    pub object: Object,
    /// The call that made it; `None` when no run on record did.
    pub made: Option<ExplainedCall>,
    /// What dealt with it, the latest first.
    pub mentions: Vec<Mention>,
    /// The runs they are of, the latest first.
    pub runs: Vec<History>,
    /// Why runs could not be searched.
    pub unread: Vec<String>,
    /// The id of the only run that was searched; `None` when all were.
    pub only: Option<String>,
}

/// An operation that dealt with a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mention {
    /// Which of the runs.
    pub run: usize,
    /// Which of its operations.
    pub operation: usize,
    /// What it had to do with the thing.
    pub relation: Relation,
}

/// What an operation had to do with a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// It made it.
    Made,
    /// It changed it.
    Changed,
    /// It removed it.
    Removed,
    /// It wrote something that names it, or lies in it.
    Used,
    /// It looked at it, or at something in it.
    Read,
}

impl Relation {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Changed => "changed",
            Self::Removed => "removed",
            Self::Used => "used",
            Self::Read => "read",
        }
    }
}

impl ExplainedObject {
    /// The run and the operation of a mention.
    #[must_use]
    pub fn of(&self, mention: Mention) -> Option<(&History, &PastOperation)> {
        let run = self.runs.get(mention.run)?;
        Some((run, run.operations.get(mention.operation)?))
    }
}

/// The thing of this name, id or address, in all runs or in one.
pub(super) fn find(journal: &Journal, text: &str, run: Option<&str>) -> Result<ExplainedObject, ExplainError> {
    let search = Search { journal, only: run.map(|run| journal.run(run)).transpose()?.map(|run| run.opening.id) };
    let address = Address::of(text);
    let object = search.object(&address)?;
    search.explain(object)
}

struct Search<'j> {
    journal: &'j Journal,
    /// The id of the only run that is searched.
    only: Option<String>,
}

impl Search<'_> {
    /// What the runs did that have one of these texts, the latest first; and why others could not be read.
    fn histories(&self, texts: &[&str]) -> Result<(Vec<History>, Vec<String>), ExplainError> {
        let mentions = match &self.only {
            Some(run) => return Ok((vec![self.history(run)?], Vec::new())),
            None => self.journal.mentioning(texts)?,
        };
        let mut histories = Vec::new();
        let mut unread: Vec<String> = mentions.unread.iter().map(JournalError::to_string).collect();
        for run in &mentions.runs {
            match self.history(run) {
                Ok(history) => histories.push(history),
                Err(error @ JournalError::Damaged { .. }) => unread.push(error.to_string()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok((histories, unread))
    }

    /// Without scripts: most runs have nothing to do with what is wanted.
    fn history(&self, run: &str) -> Result<History, JournalError> {
        Ok(History::of(self.journal.run(run)?, self.journal.entries(run)?))
    }

    fn object(&self, address: &Address) -> Result<Object, ExplainError> {
        let names: Vec<&str> = address.names().collect();
        // A subject may be given without its quotes; a step has no other.
        let words = address.text.split(' ').max_by_key(|word| word.len()).filter(|_| address.text.contains(' '));
        let texts: Vec<&str> = names.iter().copied().chain(words).filter(|text| !text.is_empty()).collect();
        let (histories, _) = self.histories(&texts)?;
        let mut sightings = Sightings::default();
        // What was first is what it was made as.
        histories.iter().rev().for_each(|history| sightings.add(history));
        let hosts: Vec<&str> = address.hosts.iter().map(|host| sightings.host(host)).collect();
        for name in names {
            let called: Vec<&Object> = sightings.called(sightings.host(name)).collect();
            let there: Vec<&Object> =
                called.iter().copied().filter(|object| hosts.contains(&object.host.as_str())).collect();
            match if there.is_empty() { called } else { there }.as_slice() {
                [] => {}
                [only] => return Ok((*only).clone()),
                several => {
                    let mut objects: Vec<Object> = several.iter().copied().cloned().collect();
                    objects.sort_by(|one, other| one.customer.cmp(&other.customer));
                    return Err(ExplainError::Several { name: name.to_owned(), objects });
                }
            }
        }
        self.nothing(address)
    }

    /// Nothing is called so; what is called almost so?
    fn nothing(&self, address: &Address) -> Result<Object, ExplainError> {
        let runs: Vec<String> = match &self.only {
            Some(run) => vec![run.clone()],
            None => self.journal.runs(&RunFilter::default())?.into_iter().map(|run| run.opening.id).collect(),
        };
        let (mut sightings, mut unread) = (Sightings::default(), Vec::new());
        for run in &runs {
            match self.history(run) {
                Ok(history) => sightings.add(&history),
                Err(error) => unread.push(error.to_string()),
            }
        }
        let wanted = address.segments.last().unwrap_or(&address.text);
        let nearest = suggest::alike(wanted, sightings.names(), ALIKE).into_iter().map(str::to_owned).collect();
        Err(ExplainError::NoObject {
            name: address.text.clone(),
            run: self.only.clone(),
            searched: runs.len() - unread.len(),
            nearest,
            unread,
        })
    }

    fn explain(&self, object: Object) -> Result<ExplainedObject, ExplainError> {
        let (mut runs, unread) = self.histories(&[object.id.as_deref().unwrap_or(&object.subject)])?;
        let mut mentions = Vec::new();
        for (run, history) in runs.iter().enumerate() {
            for (operation, attempt) in history.operations.iter().enumerate().rev() {
                if let Some(relation) = relation(&object, attempt, history.fate(attempt)) {
                    mentions.push(Mention { run, operation, relation });
                }
            }
        }
        let used: Vec<usize> =
            (0..runs.len()).filter(|run| mentions.iter().any(|mention| mention.run == *run)).collect();
        for mention in &mut mentions {
            mention.run = used.iter().position(|run| *run == mention.run).unwrap_or_default();
        }
        let mut number = 0..;
        runs.retain(|_| number.next().is_some_and(|number| used.contains(&number)));
        for history in &mut runs {
            *history = History::read(self.journal, &history.run.opening.id)?;
        }
        let made = mentions.iter().find(|mention| mention.relation == Relation::Made);
        let made = made.and_then(|made| {
            let history = runs.get(made.run)?;
            let key = history.operations.get(made.operation)?.key.clone();
            Some(call::of_key(history.clone(), &key))
        });
        Ok(ExplainedObject { object, made, mentions, runs, unread, only: self.only.clone() })
    }
}

/// What an operation had to do with a thing; `None` when nothing, or when it did nothing.
fn relation(object: &Object, attempt: &PastOperation, fate: Fate) -> Option<Relation> {
    let operation = &attempt.operation;
    let request = operation.request()?;
    let effect = operation.effect;
    let did = fate == Fate::Done || (fate == Fate::Unknown && effect.is_write());
    if !did {
        return None;
    }
    let here = request.host.name() == object.host;
    let Some(id) = object.id.as_deref() else {
        let same = here && operation.subject == object.subject;
        return same.then_some(match effect {
            Effect::Create => Relation::Made,
            Effect::Delete => Relation::Removed,
            Effect::Update | Effect::Act => Relation::Changed,
            Effect::Read | Effect::Probe => Relation::Read,
        });
    };
    let answer = attempt.json().unwrap_or(&Value::Null);
    let made = answer["id"].as_str().or_else(|| answer["data"][0]["id"].as_str()) == Some(id);
    if effect == Effect::Create && made && (here || is_of_organization(object, request)) {
        return Some(Relation::Made);
    }
    if !here && !is_of_organization(object, request) {
        return None;
    }
    let mut segments = request.path.split('/').rev();
    let last = segments.next() == Some(id);
    match effect {
        Effect::Update | Effect::Act if last => Some(Relation::Changed),
        Effect::Delete if last => Some(Relation::Removed),
        // `POST /tenants/actions/deactivate` names the tenant in its body.
        Effect::Update | Effect::Act if operation.subject == object.subject && sends(request, id) => {
            Some(Relation::Changed)
        }
        Effect::Read | Effect::Probe if last || segments.any(|segment| segment == id) || holds(answer, id) => {
            Some(Relation::Read)
        }
        _ if effect.is_write() && (segments.any(|segment| segment == id) || sends(request, id)) => Some(Relation::Used),
        _ => None,
    }
}

/// A tenant is made, listed and deactivated on hosts of the organization.
fn is_of_organization(object: &Object, request: &RecordedRequest) -> bool {
    object.is_tenant() && !matches!(request.host, crate::operation::Host::Tenant(_))
}

fn sends(request: &RecordedRequest, id: &str) -> bool {
    match &request.body {
        RecordedBody::Json(body) => holds(body, id),
        RecordedBody::Form(parts) => parts.iter().any(|(_, _, content)| holds(content, id)),
        RecordedBody::Empty | RecordedBody::File(_) | RecordedBody::Exported { .. } => false,
    }
}

/// Whether the document has exactly this text in it.
fn holds(document: &Value, text: &str) -> bool {
    match document {
        Value::String(own) => own == text,
        Value::Array(items) => items.iter().any(|item| holds(item, text)),
        Value::Object(map) => map.values().any(|item| holds(item, text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
