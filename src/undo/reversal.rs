use std::collections::BTreeMap;

use http::Method;
use serde_json::{Map, Value, json};

use super::known::{APPS, Known, app_made, collection, written};
use super::values::{at, is_secret, project};
use crate::contract::{ParameterPlace, Published, contract};
use crate::interpreter::{Shown, shows};
use crate::operation::{
    Body, Call, Effect, HeaderText, Host, Key, Operation, PatchStep, RecordedBody, RecordedCall, RecordedOperation,
    RecordedOutcome, RecordedRequest, Request, Site, refused_items,
};
use crate::store::{Entry, Logged};

/// How one write of a run is taken back.
#[derive(Clone, Debug)]
pub struct Reversal {
    /// The write.
    pub of: Key,
    /// The operation's id.
    pub operation: String,
    /// The thing it was about.
    pub subject: String,
    /// Where in the playbook it was asked.
    pub site: Option<Site>,
    /// How.
    pub way: Way,
}

/// What is done to take back a write.
#[derive(Clone, Debug)]
pub enum Way {
    /// What was made is removed; when it is gone already, nothing is left to do.
    Remove(Box<Operation>),
    /// What was changed gets its former values, field by field, where it still has those of the run.
    Restore {
        /// Reads it as it is now.
        look: Box<Operation>,
        /// The fields.
        fields: Vec<Restored>,
        /// How the change is written.
        form: Form,
    },
    /// The opposite is asked for: a seat that was given is taken, a tenant that was made is deactivated.
    Reverse(Box<Operation>),
    /// It goes with the tenant, which this run made.
    WithTenant,
    /// It cannot be taken back.
    Not(NotReversible),
}

/// One field to be given its former value.
#[derive(Clone, Debug, PartialEq)]
pub struct Restored {
    /// A pointer to it.
    pub field: String,
    /// What the run wrote.
    pub written: Value,
    /// What it was before; none when it was not there.
    pub before: Option<Value>,
}

/// How a change is written.
#[derive(Clone, Debug)]
pub enum Form {
    /// A JSON Patch that replaces fields; the operation's body is filled in.
    Patch(Box<Operation>),
    /// The whole document, of which only these fields are taken; the operation's body is filled in.
    Whole(Box<Operation>, Vec<String>),
    /// A switch is turned by an operation of its own.
    Switch(Box<Operation>),
}

/// Why a write cannot be taken back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReversible {
    /// Nobody knows how it was before.
    #[error("the run did not see how it was before")]
    NotSeen,
    /// What it was before cannot be written: a secret, a file.
    #[error("{0}")]
    Lost(&'static str),
    /// It was removed.
    #[error("it was deleted, and what it held is not kept")]
    Deleted,
    /// It was set in motion.
    #[error("it was set in motion, and has no opposite")]
    Act,
    /// The contract has no operation that would.
    #[error("Qlik Cloud has no operation that takes it back")]
    NoOperation,
    /// It was done outside Qlik Cloud.
    #[error("{0}")]
    Outside(&'static str),
}

/// What leaves a temporary file, which expires by itself.
const LEAVES_NOTHING: [&str; 3] = ["exportApp", "uploadTempFile", "createTusUpload"];

/// How everything that a run wrote is taken back, in the order in which to do it: the last write first.
///
/// Only writes that were performed count. A write whose end is not known must have been settled before.
#[must_use]
pub fn reversals(entries: &[Logged]) -> Vec<Reversal> {
    let mut intents: BTreeMap<(&Key, u32), &RecordedOperation> = BTreeMap::new();
    let mut known = Known::default();
    let mut made = Vec::new();
    let mut all = Vec::new();
    for logged in entries {
        let (key, attempt, own, outcome) = match &logged.entry {
            Entry::Intent { key, attempt, operation, .. } => {
                intents.insert((key, *attempt), operation);
                continue;
            }
            Entry::Outcome { key, attempt, operation, outcome } => (key, attempt, operation.as_deref(), outcome),
            Entry::Settled { key, attempt, performed: Some(outcome), .. } => (key, attempt, None, outcome),
            _ => continue,
        };
        let RecordedOutcome::Answer { json, .. } = outcome else { continue };
        let answer = json.as_ref().unwrap_or(&Value::Null);
        let Some(operation) = own.or_else(|| intents.get(&(key, *attempt)).copied()) else { continue };
        if operation.effect.is_write() {
            if let Some(way) = way(operation, answer, &known, &made) {
                all.push(Reversal {
                    of: key.clone(),
                    operation: operation.id.clone(),
                    subject: operation.subject.clone(),
                    site: operation.site.clone(),
                    way,
                });
            }
            if operation.id == "createTenant"
                && let Some(host) = answer["hostnames"][0].as_str()
            {
                made.push(Host::Tenant(host.to_owned()));
            }
        }
        if let Some(request) = operation.request() {
            match operation.effect {
                Effect::Read | Effect::Create => known.seen(request, answer),
                Effect::Update => known.changed(request, answer),
                Effect::Delete => known.gone(request),
                Effect::Act | Effect::Probe => {}
            }
        }
    }
    all.reverse();
    all
}

fn way(operation: &RecordedOperation, answer: &Value, known: &Known, made: &[Host]) -> Option<Way> {
    let request = match &operation.call {
        RecordedCall::Local(_) => return Some(Way::Not(outside(operation))),
        RecordedCall::Request(request) => request,
    };
    if LEAVES_NOTHING.contains(&operation.id.as_str()) {
        return None;
    }
    if let Some(seats) = seats(operation, request, answer) {
        return Some(seats);
    }
    if operation.id == "createTenant" {
        return Some(
            deactivation(operation, request, answer).map_or(Way::Not(NotReversible::NoOperation), Way::Reverse),
        );
    }
    if made.contains(&request.host) {
        return Some(Way::WithTenant);
    }
    Some(match operation.effect {
        Effect::Create => removal(operation, request, answer),
        Effect::Update => restoration(operation, request, known),
        Effect::Delete => Way::Not(NotReversible::Deleted),
        Effect::Act => switch(operation, request, known).unwrap_or(Way::Not(NotReversible::Act)),
        Effect::Read | Effect::Probe => return None,
    })
}

/// What the host itself did stays; it holds no data of the tenant.
fn outside(operation: &RecordedOperation) -> NotReversible {
    match operation.id.as_str() {
        "tenantry.registry.adopt" => NotReversible::Outside("the tenant stays in the registry as the customer's"),
        _ => NotReversible::Outside("it was performed by the program that embeds tenantry"),
    }
}

/// The host and operation of a new request at this path.
fn ask(published: &'static Published, host: &Host, path: &str, subject: &str) -> Operation {
    Operation {
        id: published.id.to_owned(),
        call: Call::Request(Request::new(host.clone(), published.method.clone(), path)),
        effect: published.effect,
        subject: subject.to_owned(),
        site: None,
    }
}

fn with_body(mut operation: Operation, body: Value) -> Operation {
    if let Call::Request(request) = &mut operation.call {
        request.body = Body::Json(body);
    }
    operation
}

fn removal(operation: &RecordedOperation, request: &RecordedRequest, answer: &Value) -> Way {
    // Some services wrap the one thing they made in a list, apps tell it among their attributes.
    let app = app_made(request, answer);
    let id = answer["id"].as_str().or_else(|| answer["data"][0]["id"].as_str()).or(app);
    // A client's secret is known by its hint, the client itself by an id of another name.
    let id = id.or_else(|| answer["hint"].as_str()).or_else(|| answer["clientId"].as_str());
    // So is a data connection.
    let id = id.or_else(|| answer["qID"].as_str());
    let Some(id) = id else { return Way::Not(NotReversible::NoOperation) };
    let path = match app {
        // An app is made by an action: an import, a publish, a copy.
        Some(_) => format!("{APPS}/id"),
        // What has its place before it is made, such as a brand's logo, is removed where it was put.
        None if request.path.ends_with(&format!("/{id}")) => request.path.clone(),
        None => format!("{}/id", collection(&request.path)),
    };
    let Some((published, mut variables)) = contract().find(&Method::DELETE, &path) else {
        return Way::Not(NotReversible::NoOperation);
    };
    if let Some(last) = published.variables().last() {
        variables.insert(last.to_owned(), id.to_owned());
    }
    match published.expand(&variables) {
        Ok(path) if published.effect == Effect::Delete => {
            Way::Remove(Box::new(confirmed(ask(published, &request.host, &path, &operation.subject), published, id)))
        }
        _ => Way::Not(NotReversible::NoOperation),
    }
}

/// Some deletions want to be told twice what they delete (oauth-clients specification).
fn confirmed(mut operation: Operation, published: &Published, id: &str) -> Operation {
    const CONFIRM: &str = "qlik-confirm-delete";
    if published.parameters_in(ParameterPlace::Header).any(|parameter| parameter.name == CONFIRM)
        && let Call::Request(request) = &mut operation.call
    {
        request.headers.insert(CONFIRM.to_owned(), HeaderText::Text(id.to_owned()));
    }
    operation
}

fn restoration(operation: &RecordedOperation, request: &RecordedRequest, known: &Known) -> Way {
    let RecordedBody::Json(body) = &request.body else {
        return Way::Not(NotReversible::Lost("the files it had before are not kept"));
    };
    let only_replaces =
        body.as_array().is_none_or(|steps| steps.iter().all(|step| PatchStep::of(step).word == "replace"));
    if !only_replaces {
        return Way::Not(NotReversible::Lost("it was changed by more than replacing values"));
    }
    let Some((published, _)) = contract().find(&Method::GET, &request.path) else {
        return Way::Not(NotReversible::NoOperation);
    };
    let Some(document) = known.document(&request.host, &request.path) else {
        return Way::Not(NotReversible::NotSeen);
    };
    let mut fields = Vec::new();
    let writer = contract().operation(&operation.id);
    // What has no published form is taken as it was shown: its parts need not be like each other.
    let is_open = |field: &str| body.is_object() && writer.is_some_and(|writer| writer.leaves_open(&field[1..]));
    for (field, value) in written(body) {
        let before = at(document, &field);
        let before = before.map(|held| if is_open(&field) { held.clone() } else { project(held, &value) });
        if is_secret(&value) || before.as_ref().is_some_and(is_secret) {
            return Way::Not(NotReversible::Lost("it holds a secret whose earlier text is not kept"));
        }
        if before.as_ref() != Some(&value) {
            fields.push(Restored { field, written: value, before });
        }
    }
    let mut writing = operation.restore();
    writing.site = None;
    let form = if body.is_array() {
        if !fields.is_empty() && fields.iter().all(|field| field.before.is_none()) {
            return Way::Not(NotReversible::Lost("it had no value before, and Qlik Cloud cannot take one away"));
        }
        Form::Patch(Box::new(writing))
    } else {
        let all = body.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default();
        Form::Whole(Box::new(writing), all)
    };
    let mut look = ask(published, &request.host, &request.path, &operation.subject);
    if let Call::Request(looking) = &mut look.call {
        // Some fields only show when they are asked for.
        looking.query = known.query(&request.host, &request.path).to_vec();
    }
    Way::Restore { look: Box::new(look), fields, form }
}

/// What this method does at another path of the same host.
fn at_path(
    operation: &RecordedOperation,
    request: &RecordedRequest,
    method: Method,
    path: &str,
) -> Option<Box<Operation>> {
    let (published, _) = contract().find(&method, path)?;
    Some(Box::new(ask(published, &request.host, path, &operation.subject)))
}

/// What was switched on is switched off, and the other way round.
fn switch(operation: &RecordedOperation, request: &RecordedRequest, known: &Known) -> Option<Way> {
    let (path, action) = request.path.rsplit_once("/actions/")?;
    let (written, before, opposite) = match (action, operation.id.ends_with("Automation")) {
        ("enable", true) => ("available", "disabled", "disable"),
        ("disable", true) => ("disabled", "available", "enable"),
        _ => return brand_switch(operation, request, known),
    };
    let asked = |method: Method, path: &str| at_path(operation, request, method, path);
    let (look, turn) = (asked(Method::GET, path)?, asked(Method::POST, &format!("{path}/actions/{opposite}"))?);
    let field = Restored { field: "/state".to_owned(), written: json!(written), before: Some(json!(before)) };
    Some(Way::Restore { look, fields: vec![field], form: Form::Switch(turn) })
}

/// One brand is in use, or none: the one that was before comes back.
fn brand_switch(operation: &RecordedOperation, request: &RecordedRequest, known: &Known) -> Option<Way> {
    let on = match operation.id.as_str() {
        "activateBrand" => true,
        "deactivateBrand" => false,
        _ => return None,
    };
    let (brand, _) = request.path.rsplit_once("/actions/")?;
    let (brands, _) = brand.rsplit_once('/')?;
    if known.document(&request.host, brand).is_none() {
        return Some(Way::Not(NotReversible::NotSeen));
    }
    let earlier = known.below(&request.host, brands).find(|(path, held)| *path != brand && held["active"] == true);
    let (opposite, path) = match (on, earlier) {
        (true, Some((earlier, _))) => ("activate", earlier),
        (true, None) => ("deactivate", brand),
        (false, _) => ("activate", brand),
    };
    let asked = |method: Method, path: &str| at_path(operation, request, method, path);
    let (look, turn) = (asked(Method::GET, brand)?, asked(Method::POST, &format!("{path}/actions/{opposite}"))?);
    let field = Restored { field: "/active".to_owned(), written: json!(on), before: Some(json!(!on)) };
    Some(Way::Restore { look, fields: vec![field], form: Form::Switch(turn) })
}

/// Seats are given and taken by actions. Taken before the tenant is deactivated: later it would refuse.
fn seats(operation: &RecordedOperation, request: &RecordedRequest, answer: &Value) -> Option<Way> {
    let (list, opposite) = match operation.id.as_str() {
        "addLicenseAssignments" => ("add", "deleteLicenseAssignments"),
        "updateLicenseAssignments" => ("update", "updateLicenseAssignments"),
        _ => return None,
    };
    let RecordedBody::Json(body) = &request.body else { return None };
    let refused: Vec<&str> = refused_items(answer).filter_map(|item| item["subject"].as_str()).collect();
    let given = body[list]
        .as_array()?
        .iter()
        .filter(|seat| !seat["subject"].as_str().is_some_and(|subject| refused.contains(&subject)));
    let body = if list == "add" {
        json!({ "delete": given.map(|seat| json!({ "subject": seat["subject"], "type": seat["type"] })).collect::<Vec<_>>() })
    } else {
        json!({ "update": given.map(|seat| json!({ "subject": seat["subject"], "sourceType": seat["type"], "type": seat["sourceType"] })).collect::<Vec<_>>() })
    };
    let published = contract().operation(opposite)?;
    Some(Way::Reverse(Box::new(with_body(ask(published, &request.host, published.path, &operation.subject), body))))
}

/// A tenant cannot be deleted at once: it is deactivated, and purged after the days that Qlik Cloud takes by itself
/// (qlik.dev, deactivate a tenant).
fn deactivation(operation: &RecordedOperation, request: &RecordedRequest, answer: &Value) -> Option<Box<Operation>> {
    let (id, host) = (answer["id"].as_str()?, answer["hostnames"][0].as_str()?);
    let published = contract().operation("deactivateTenant")?;
    let path = published.expand(&BTreeMap::from([("tenantId".to_owned(), id.to_owned())])).ok()?;
    let mut asked = with_body(ask(published, &request.host, &path, &operation.subject), json!({}));
    if let Call::Request(request) = &mut asked.call {
        request.headers.insert("qlik-confirm-hostname".to_owned(), HeaderText::Text(host.to_owned()));
    }
    Some(Box::new(asked))
}

impl Restored {
    /// Where the field stands now.
    #[must_use]
    pub fn standing(&self, current: &Value) -> Standing {
        match (at(current, &self.field), &self.before) {
            (Some(now), _) if shows(&self.written, now) == Shown::So => Standing::AsTheRunLeftIt,
            (Some(now), Some(before)) if shows(before, now) == Shown::So => Standing::AsBefore,
            (None, None) => Standing::AsBefore,
            _ => Standing::ChangedSince,
        }
    }
}

/// Where a field stands that a run wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has the run's value.
    AsTheRunLeftIt,
    /// It has its former value.
    AsBefore,
    /// It has another one: someone changed it since.
    ChangedSince,
}

impl Form {
    /// The operation that gives these fields their former values.
    #[must_use]
    pub fn write(&self, current: &Value, fields: &[&Restored]) -> Operation {
        match self {
            Self::Switch(operation) => (**operation).clone(),
            Self::Patch(operation) => {
                let steps = fields.iter().filter_map(|field| {
                    Some(json!({ "op": "replace", "path": field.field, "value": field.before.as_ref()? }))
                });
                with_body((**operation).clone(), steps.collect())
            }
            Self::Whole(operation, all) => {
                let mut whole: Map<String, Value> =
                    all.iter().filter_map(|name| Some((name.clone(), current.get(name)?.clone()))).collect();
                for field in fields {
                    let name = field.field.trim_start_matches('/');
                    match &field.before {
                        Some(before) => whole.insert(name.to_owned(), before.clone()),
                        None => whole.shift_remove(name),
                    };
                }
                with_body((**operation).clone(), Value::Object(whole))
            }
        }
    }
}
