//! The things that a run dealt with, as its requests and answers show them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::contract::contract;
use crate::history::{Fate, History, PastOperation};
use crate::operation::{Effect, Host, RecordedOutcome, RecordedRequest};

/// A thing in an organization or a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Object {
    /// What it is, as a step would name it: `space "Staging"`.
    pub subject: String,
    /// Its id, when it has one and it is known.
    pub id: Option<String>,
    /// The host it is on.
    pub host: String,
    /// The customer that the run was for which saw it first.
    pub customer: String,
    /// What else it is called.
    #[serde(skip)]
    pub(super) names: Vec<String>,
    /// How well it is known what it is.
    #[serde(skip)]
    known: Known,
}

/// How a thing was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Known {
    /// In a list.
    Listed,
    /// By itself.
    Seen,
    /// When it was made, or may have been.
    Made,
}

impl Object {
    /// Whether it is a tenant: it is called as its host is.
    pub(super) fn is_tenant(&self) -> bool {
        self.names.contains(&self.host) || self.is_in_organization()
    }

    fn is_in_organization(&self) -> bool {
        self.host == Host::Console.name() || self.host.starts_with("register.")
    }

    pub(super) fn is_called(&self, name: &str) -> bool {
        self.id.as_deref() == Some(name)
            || self.subject == name
            || self.subject.replace('"', "") == name
            || self.names.iter().any(|known| known == name)
    }

    /// By what it may be asked for.
    pub(super) fn all_names(&self) -> impl Iterator<Item = &str> {
        self.id.as_deref().into_iter().chain([self.subject.as_str()]).chain(self.names.iter().map(String::as_str))
    }
}

/// Things by host and id; those without an id by what they are.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    objects: BTreeMap<(String, String), Object>,
    /// The names that a tenant's host has besides its own.
    aliases: BTreeMap<String, String>,
}

impl Sightings {
    /// Takes in what a run saw.
    pub(super) fn add(&mut self, history: &History) {
        let tenant = history.report.as_ref().map(|report| &report["tenant"]);
        if let Some((Some(url), Some(host))) =
            tenant.map(|tenant| (tenant["url"].as_str(), tenant["hostname"].as_str()))
        {
            let alias = url.trim_start_matches("https://").trim_end_matches('/');
            self.aliases.insert(alias.to_owned(), host.to_owned());
        }
        for attempt in &history.operations {
            self.operation(history, attempt);
        }
    }

    /// The host that this is a name of.
    pub(super) fn host<'n>(&'n self, name: &'n str) -> &'n str {
        self.aliases.get(name).map_or(name, String::as_str)
    }

    pub(super) fn called<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s Object> {
        let called = self.objects.values().filter(move |object| object.is_called(name));
        // The organization's list of tenants shows what is elsewhere.
        called.filter(|object| {
            !object.is_in_organization()
                || !self.objects.values().any(|other| other.id == object.id && !other.is_in_organization())
        })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.objects.values().flat_map(Object::all_names)
    }

    fn operation(&mut self, history: &History, attempt: &PastOperation) {
        let Some(request) = attempt.operation.request() else { return };
        let host = &request.host;
        let answer = match attempt.answer() {
            Some(RecordedOutcome::Answer { json, .. }) => json.as_ref().unwrap_or(&Value::Null),
            // It may have been made.
            _ if attempt.operation.effect == Effect::Create && history.fate(attempt) == Fate::Unknown => &Value::Null,
            _ => return,
        };
        let last = request.path.rsplit('/').next().unwrap_or_default();
        let mut see = |document: &Value, subject: &str, known| self.see(history, host, document, subject, known);
        let subject = attempt.operation.subject.as_str();
        match attempt.operation.effect {
            Effect::Create => {
                // Some services wrap the one thing they made in a list.
                let made = if answer["id"].is_string() { answer } else { &answer["data"][0] };
                see(made, subject, Known::Made);
            }
            Effect::Update | Effect::Delete => match own_id(request) {
                Some(id) => see(&json!({ "id": id }), subject, Known::Seen),
                None if answer["id"].is_string() => see(answer, subject, Known::Seen),
                None => {}
            },
            Effect::Read => {
                if answer["id"].as_str() == Some(last) {
                    see(answer, subject, Known::Seen);
                }
                for item in answer.as_array().or_else(|| answer["data"].as_array()).into_iter().flatten() {
                    let subject = match called(item) {
                        Some(name) => format!("{name}, one of {last}"),
                        None => format!("one of {last}"),
                    };
                    see(item, &subject, Known::Listed);
                }
            }
            Effect::Act | Effect::Probe => {}
        }
    }

    fn see(&mut self, history: &History, host: &Host, document: &Value, subject: &str, known: Known) {
        let id = document["id"].as_str().map(str::to_owned);
        if id.is_none() && known != Known::Made {
            return;
        }
        let own = document["hostnames"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let own: Vec<String> = own.map(str::to_owned).collect();
        // A tenant is on its own host, and not on the one that was asked to make it.
        let host = own.first().cloned().unwrap_or_else(|| host.name());
        let customer = &history.run.opening.customer;
        let key = (host.clone(), id.clone().unwrap_or_else(|| subject.to_owned()));
        let object = self.objects.entry(key).or_insert_with(|| Object {
            subject: subject.to_owned(),
            id,
            host,
            customer: customer.clone(),
            names: Vec::new(),
            known,
        });
        if known > object.known {
            subject.clone_into(&mut object.subject);
            object.customer.clone_from(customer);
            object.known = known;
        }
        let short = short_name(subject).filter(|_| known != Known::Listed).map(str::to_owned);
        for name in own.into_iter().chain(called(document)).chain(short) {
            if !object.names.contains(&name) {
                object.names.push(name);
            }
        }
    }
}

/// The id at the end of a request's path, where the contract has one there.
fn own_id(request: &RecordedRequest) -> Option<String> {
    let (published, variables) = contract().find(&request.method.parse().ok()?, &request.path)?;
    let last = published.variables().last()?;
    let id = variables.get(last)?;
    request.path.ends_with(&format!("/{id}")).then(|| id.clone())
}

/// What a document says its name is.
fn called(document: &Value) -> Option<String> {
    document["name"].as_str().map(str::to_owned)
}

/// `Staging` of `space "Staging"`, `tiles.example` of `CSP origin tiles.example`. `group "A" in space "B"` has none.
fn short_name(subject: &str) -> Option<&str> {
    match subject.matches('"').count() {
        0 => subject.rsplit(' ').next(),
        2 => subject.strip_suffix('"')?.split('"').nth(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_has_a_short_name_when_it_has_one_name() {
        assert_eq!(short_name("space \"Carrier exchange\""), Some("Carrier exchange"));
        assert_eq!(short_name("CSP origin tiles.example"), Some("tiles.example"));
        assert_eq!(short_name("group \"A\" in space \"B\""), None);
        assert_eq!(short_name("roles of \"A\" in it"), None);
    }
}
