//! Apps: `staging` imports them, `publishing` shows them to users, `members` is what scripts see of both.

mod members;
mod publishing;
mod staging;

use std::sync::Arc;

use rhai::Map as ScriptMap;
use serde_json::{Map, Value, json};

pub(super) use members::methods;

use super::converge;
use super::listing::Listing;
use super::marker::Marker;
use super::options::options;
use super::request::{Ask, text_of, unexpected};
use super::spaces::Space;
use super::tenant::Tenant;
use crate::event::{Change, FieldChange};
use crate::playbook::{Call, ScriptError};

/// `space.apps`.
#[derive(Clone, Debug)]
pub(super) struct Apps(pub(super) Space);

/// One app in a space.
#[derive(Clone, Debug)]
pub(super) struct App {
    space: Space,
    id: String,
    /// Its attributes.
    document: Arc<Value>,
}

impl App {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn name(&self) -> &str {
        self.document["name"].as_str().unwrap_or_default()
    }

    fn marker(&self) -> Marker {
        marker(&self.document)
    }

    pub(super) fn subject(&self) -> String {
        subject(&self.space, self.name())
    }

    /// Its attributes as they are now; `None` when it is gone.
    pub(super) fn read(&self, call: &mut Call) -> Result<Option<Value>, ScriptError> {
        attributes(call, &self.space, self.name(), &self.id)
    }

    pub(super) fn tenant(&self) -> &Tenant {
        &self.space.tenant
    }

    /// As an entry of the index shows it. That `resourceAttributes` are the app's attributes is assumed: the index gives them
    /// no schema.
    fn listed(call: &Call, space: &Space, entry: &Value) -> Result<Self, ScriptError> {
        let id = text_of(call, "getItems", entry, "resourceId")?;
        let mut document = entry["resourceAttributes"].clone();
        for field in ["name", "description"] {
            document[field] = entry[field].clone();
        }
        document["id"] = json!(id);
        Ok(Self { space: space.clone(), id, document: Arc::new(document) })
    }

    /// Its attributes as the space's apps were listed in this run, when it was not written since.
    pub(super) fn noted(&self, call: &Call) -> Option<Value> {
        let list = listing(call, &self.space).noted(call, self.name())?;
        let entry = list.into_iter().find(|entry| entry["resourceId"].as_str() == Some(&self.id))?;
        Some(entry["resourceAttributes"].clone()).filter(Value::is_object)
    }

    fn of(call: &Call, space: &Space, operation: &str, document: Value) -> Result<Self, ScriptError> {
        let id = text_of(call, operation, &document, "id")?;
        Ok(Self { space: space.clone(), id, document: Arc::new(document) })
    }
}

fn marker(document: &Value) -> Marker {
    Marker::read(document["description"].as_str().unwrap_or_default())
}

fn subject(space: &Space, name: &str) -> String {
    format!("app \"{name}\" in space \"{}\"", space.name())
}

/// The entries of the space's apps in the index of items.
fn entries(space: &Space, name: Option<&str>) -> Ask {
    let subject = name.map_or_else(|| format!("apps of space \"{}\"", space.name()), |name| subject(space, name));
    let ask = space.tenant.ask("getItems", subject).query("resourceType", "app").query("spaceId", &space.id);
    let ask = name.into_iter().fold(ask, |ask, name| ask.query("name", name));
    ask.query("limit", "100")
}

/// The app's attributes; `None` when it is gone: the index of items lags.
fn attributes(call: &mut Call, space: &Space, name: &str, id: &str) -> Result<Option<Value>, ScriptError> {
    match space.tenant.ask("getAppInfo", subject(space, name)).var("appId", id).attempt(call)? {
        Ok(response) => Ok(Some(response.json()["attributes"].clone()).filter(Value::is_object)),
        Err(failure) if failure.status == Some(404) => Ok(None),
        Err(failure) => Err(call.throw(failure)),
    }
}

/// The list of what the space has, once a script has asked for it.
fn listing(call: &Call, space: &Space) -> Listing {
    Listing::of(call, &space.tenant, &format!("apps of {}", space.id))
}

/// Entries of the space among which are all of this name.
fn look(call: &mut Call, space: &Space, name: &str) -> Result<Vec<Value>, ScriptError> {
    match listing(call, space).noted(call, name) {
        Some(list) => Ok(list),
        None => entries(space, Some(name)).list(call),
    }
}

/// Notes that apps of this name were written: what was listed of them does not hold any more.
fn wrote(call: &Call, space: &Space, name: &str) {
    listing(call, space).wrote(call, name, Value::Bool(true));
}

/// All apps of exactly this name in the space, the newest first.
fn named(call: &mut Call, space: &Space, name: &str) -> Result<Vec<App>, ScriptError> {
    let entries = look(call, space, name)?;
    newest(call, space, name, &entries)
}

/// The newest app of exactly this name: as it was listed in this run, else as it is.
fn found(call: &mut Call, space: &Space, name: &str) -> Result<Option<App>, ScriptError> {
    let found = match listing(call, space).noted(call, name) {
        Some(list) => shown(call, space, name, &list)?,
        None => named(call, space, name)?,
    };
    Ok(found.into_iter().next())
}

/// Those apps among the entries that have exactly this name, each read, the newest first. Qlik's search finds every name that
/// contains it, and names repeat.
fn newest(call: &mut Call, space: &Space, name: &str, entries: &[Value]) -> Result<Vec<App>, ScriptError> {
    let mut found = Vec::new();
    for entry in entries.iter().filter(|entry| entry["name"].as_str() == Some(name)) {
        let id = text_of(call, "getItems", entry, "resourceId")?;
        if let Some(document) = attributes(call, space, name, &id)? {
            found.push(App { space: space.clone(), id, document: Arc::new(document) });
        }
    }
    Ok(sorted(found))
}

/// The same as the entries show them: enough to see that nothing is to be done.
fn shown(call: &Call, space: &Space, name: &str, entries: &[Value]) -> Result<Vec<App>, ScriptError> {
    let same = entries.iter().filter(|entry| entry["name"].as_str() == Some(name));
    Ok(sorted(same.map(|entry| App::listed(call, space, entry)).collect::<Result<_, _>>()?))
}

/// By the moment, then in the index's order turned round: of two made at once the later entry is the newer.
fn sorted(mut found: Vec<App>) -> Vec<App> {
    found.reverse();
    found.sort_by_key(|app| std::cmp::Reverse(created(app)));
    found
}

fn created(app: &App) -> Option<jiff::Timestamp> {
    moment(&app.document, "createdDate")
}

pub(super) fn moment(document: &Value, field: &str) -> Option<jiff::Timestamp> {
    document[field].as_str()?.parse().ok()
}

/// Gives the app this name and description.
fn describe(call: &mut Call, space: &Space, id: &str, name: &str, attributes: &Value) -> Result<Value, ScriptError> {
    wrote(call, space, name);
    wrote(call, space, attributes["name"].as_str().unwrap_or(name));
    let ask = space.tenant.ask("updateAppInfo", subject(space, name)).var("appId", id);
    let response = ask.json(json!({ "attributes": attributes })).send(call)?;
    let document = response.json()["attributes"].clone();
    if document.is_object() { Ok(document) } else { Err(unexpected(call, "updateAppInfo", "`attributes`")) }
}

fn difference(field: &str, before: impl Into<Value>, after: impl Into<Value>) -> Option<FieldChange> {
    let (before, after) = (before.into(), after.into());
    (before != after).then(|| FieldChange { field: field.to_owned(), before, after })
}
fn text_or(call: &Call, given: &Map<String, Value>, field: &str, otherwise: &str) -> Result<String, ScriptError> {
    match given.get(field) {
        None => Ok(otherwise.to_owned()),
        Some(_) => super::options::text(call, given, field),
    }
}

fn update(call: &mut Call, app: &App, given: ScriptMap) -> Result<App, ScriptError> {
    let given = options(call, given, &["name", "description"])?;
    let thing = subject(&app.space, app.name());
    call.claim(app.tenant().host_name(), &thing)?;
    let Some(current) = attributes(call, &app.space, app.name(), &app.id)? else {
        return Err(call.throw(app.tenant().lacks(&thing)));
    };
    // What the description says of content and version stays.
    let mut wanted = given.clone();
    if given.contains_key("description") {
        let words = text_or(call, &given, "description", "")?;
        wanted.insert("description".to_owned(), json!(Marker { words, ..marker(&current) }.to_string()));
    }
    let changes = converge::changes(&wanted, &current, |_, value| value.clone());
    if changes.is_empty() {
        call.step(converge::earlier(call, &thing), thing, changes);
        return App::of(call, &app.space, "getAppInfo", current);
    }
    let document = describe(call, &app.space, &app.id, app.name(), &Value::Object(wanted))?;
    call.step(Change::Updated, thing, changes);
    App::of(call, &app.space, "updateAppInfo", document)
}

fn delete(call: &mut Call, space: &Space, name: &str) -> Result<(), ScriptError> {
    let thing = subject(space, name);
    call.claim(space.tenant.host_name(), &thing)?;
    let copies = named(call, space, name)?;
    if copies.is_empty() {
        call.step(converge::earlier(call, &thing), thing, Vec::new());
        return Ok(());
    }
    for copy in &copies {
        remove(call, copy)?;
    }
    call.step(Change::Deleted, thing, Vec::new());
    Ok(())
}

fn remove(call: &mut Call, app: &App) -> Result<(), ScriptError> {
    wrote(call, &app.space, app.name());
    app.tenant().ask("deleteApp", subject(&app.space, app.name())).var("appId", &app.id).remove(call)
}
