use serde_json::{Map, Value};

use crate::event::{Change, FieldChange};
use crate::operation::{Effect, Outcome, secret};
use crate::playbook::{Call, ScriptError};

/// One thing that is to be as wanted: how to find it, make it and change it.
pub(super) trait Resource {
    /// Within what its natural key is unique; normally the tenant's host name.
    fn scope(&self) -> String;

    /// The thing as a person would name it: `space "Staging"`.
    fn subject(&self) -> String;

    /// The fields it shall have, in Qlik's names.
    fn wanted(&self) -> &Map<String, Value>;

    /// The thing as it is, found by its natural key, exactly.
    fn find(&self, call: &mut Call) -> Result<Option<Value>, ScriptError>;

    /// Refuses what cannot be made right by a change.
    fn accept(&self, _call: &Call, _current: &Value) -> Result<(), ScriptError> {
        Ok(())
    }

    /// Makes it.
    fn create(&self, call: &mut Call) -> Result<Outcome, ScriptError>;

    /// Makes these changes. Gives the document as the service now has it, when it says so.
    fn update(&self, call: &mut Call, current: &Value, changes: &[FieldChange]) -> Result<Updated, ScriptError>;

    /// The form in which a field's values are compared and shown.
    fn view(&self, _field: &str, value: &Value) -> Value {
        value.clone()
    }
}

/// What an update came to.
pub(super) enum Updated {
    /// It was changed in place; the wanted values hold.
    InPlace,
    /// It was changed in place, and this is how it is now.
    To(Value),
    /// It was removed and made anew.
    Replaced(Value),
}

/// How it is now, and what was done to get there.
pub(super) struct Converged {
    pub(super) document: Value,
    pub(super) change: Change,
}

/// Makes a resource as wanted and tells the step. What is right already is left alone.
///
/// A create that is answered with 409 met somebody else's: it is looked up again and made right like any other.
pub(super) fn ensure(call: &mut Call, resource: &impl Resource) -> Result<Converged, ScriptError> {
    call.claim(&resource.scope(), &resource.subject())?;
    let current = match resource.find(call)? {
        Some(current) => current,
        None => match resource.create(call)? {
            Ok(response) => {
                let changes = differences(resource, &Value::Null);
                call.step(Change::Created, resource.subject(), changes);
                let mut document = response.json().clone();
                if !document.is_object() {
                    document = Value::Object(resource.wanted().clone());
                }
                return Ok(Converged { document, change: Change::Created });
            }
            Err(failure) if failure.status == Some(409) => match resource.find(call)? {
                Some(current) => current,
                None => return Err(call.throw(failure)),
            },
            Err(failure) => return Err(call.throw(failure)),
        },
    };
    resource.accept(call, &current)?;
    let changes = differences(resource, &current);
    if changes.is_empty() {
        let change = earlier(call, &resource.subject());
        let changes = if change == Change::Created { differences(resource, &Value::Null) } else { changes };
        call.step(change, resource.subject(), changes);
        return Ok(Converged { document: current, change });
    }
    let (document, change) = match resource.update(call, &current, &changes)? {
        Updated::InPlace => (merged(&current, resource.wanted()), Change::Updated),
        Updated::To(document) => (document, Change::Updated),
        Updated::Replaced(document) => (document, Change::Replaced),
    };
    call.step(change, resource.subject(), changes);
    Ok(Converged { document, change })
}

/// What has this name exactly: Qlik's lists find more. Where Qlik lets names repeat, the oldest is meant. `things` is what
/// they are called, `field` the one that holds the name, `created` the one that says since when a thing is there.
pub(super) fn oldest(
    call: &Call,
    mut same: Vec<Value>,
    things: &str,
    (field, name): (&str, &str),
    created: &str,
) -> Option<Value> {
    same.retain(|held| held[field].as_str() == Some(name));
    if same.len() > 1 {
        call.log("warn", format!("{} {things} are called \"{name}\"; the oldest is used", same.len()));
        same.sort_by(|a, b| a[created].as_str().cmp(&b[created].as_str()));
    }
    same.into_iter().next()
}

/// Makes sure that a thing is not there and tells the step: what `find` finds, `delete` removes.
pub(super) fn remove(
    call: &mut Call,
    scope: &str,
    subject: &str,
    find: impl FnOnce(&mut Call) -> Result<Option<Value>, ScriptError>,
    delete: impl FnOnce(&mut Call, &Value) -> Result<(), ScriptError>,
) -> Result<(), ScriptError> {
    call.claim(scope, subject)?;
    let change = match find(call)? {
        Some(held) => {
            delete(call, &held)?;
            Change::Deleted
        }
        None => earlier(call, subject),
    };
    call.step(change, subject, Vec::new());
    Ok(())
}

/// What was done to a thing that is right already: nothing, unless this call did it before it had to start again.
pub(super) fn earlier(call: &Call, subject: &str) -> Change {
    let effects = call.written(subject);
    let did = |effect| effects.contains(&effect);
    match (did(Effect::Create), did(Effect::Delete)) {
        (true, true) => Change::Replaced,
        (true, false) => Change::Created,
        (false, true) => Change::Deleted,
        (false, false) if did(Effect::Update) => Change::Updated,
        (false, false) if did(Effect::Act) => Change::Acted,
        (false, false) => Change::Unchanged,
    }
}

/// The wanted fields that the current document does not have so, field by field.
pub(super) fn differences(resource: &impl Resource, current: &Value) -> Vec<FieldChange> {
    changes(resource.wanted(), current, |field, value| resource.view(field, value))
}

/// As [`differences`], for what is no [`Resource`].
pub(super) fn changes(
    wanted: &Map<String, Value>,
    current: &Value,
    view: impl Fn(&str, &Value) -> Value,
) -> Vec<FieldChange> {
    wanted
        .iter()
        .filter_map(|(field, after)| {
            let before = current.get(field).map_or(Value::Null, |value| view(field, value));
            let after = view(field, after);
            (before != after).then(|| FieldChange { field: field.clone(), before: shown(before), after: shown(after) })
        })
        .collect()
}

/// A value without its secrets.
fn shown(value: Value) -> Value {
    match value {
        value if secret::name(&value).is_some() => Value::from("***"),
        Value::Array(items) => items.into_iter().map(shown).collect(),
        Value::Object(map) => map.into_iter().map(|(key, item)| (key, shown(item))).collect(),
        plain => plain,
    }
}

/// The document with these fields in place of its own.
pub(super) fn merged(document: &Value, fields: &Map<String, Value>) -> Value {
    let mut document = document.clone();
    if let Some(map) = document.as_object_mut() {
        map.extend(fields.clone());
    }
    document
}

/// Settings that always exist: reads them with `read`, writes what differs with `write`, tells the step.
pub(super) fn settle(
    call: &mut Call,
    scope: &str,
    subject: &str,
    wanted: &Map<String, Value>,
    view: impl Fn(&str, &Value) -> Value,
    read: impl FnOnce(&mut Call) -> Result<Value, ScriptError>,
    write: impl FnOnce(&mut Call, &Value, &[FieldChange]) -> Result<(), ScriptError>,
) -> Result<Value, ScriptError> {
    call.claim(scope, subject)?;
    let current = read(call)?;
    let changes = changes(wanted, &current, view);
    if changes.is_empty() {
        call.step(earlier(call, subject), subject, changes);
        return Ok(current);
    }
    write(call, &current, &changes)?;
    call.step(Change::Updated, subject, changes);
    Ok(merged(&current, wanted))
}
