use std::cell::RefCell;

use rhai::plugin::*;
use rhai::{Array, Map as ScriptMap};
use serde_json::{Map, Value, json};

use super::converge::{self, Resource, Updated, oldest};
use super::options::{invalid, kind, options, script, script_or_unit, scripts, text, text_set};
use super::request::{Ask, replace, text_of};
use super::spaces::Space;
use crate::contract::sounds_secret;
use crate::event::{Change, FieldChange};
use crate::operation::{Outcome, secret};
use crate::playbook::{Call, ScriptError};

/// `space.data_connections`.
#[derive(Clone, Debug)]
pub(super) struct DataConnections(Space);

const PROPERTIES: &str = "connectionProperties";

/// How many tags a connection that is made of properties may have (data-connections specification).
const TAGS: usize = 31;

struct Wanted<'s> {
    space: &'s Space,
    name: String,
    source: String,
    /// `connectionProperties`, and `tags` when they were given.
    fields: Map<String, Value>,
    /// The properties that Qlik Cloud tells of the one that is there.
    told: RefCell<Option<Value>>,
}

impl Wanted<'_> {
    fn properties(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.fields[PROPERTIES].as_object().into_iter().flatten()
    }

    /// Whether a property can be compared: it is no secret, and Qlik Cloud tells it.
    fn is_told(&self, name: &str) -> bool {
        let told = self.told.borrow();
        let Some(told) = &*told else { return true };
        let held = &told[name];
        let is_masked = held.as_str().is_some_and(|text| !text.is_empty() && text.chars().all(|letter| letter == '*'));
        !is_secret(name, &self.fields[PROPERTIES][name]) && !held.is_null() && !secret::holds_key(held) && !is_masked
    }
}

impl Resource for Wanted<'_> {
    fn scope(&self) -> String {
        self.space.tenant.host_name().to_owned()
    }

    fn subject(&self) -> String {
        subject(self.space, &self.name)
    }

    fn wanted(&self) -> &Map<String, Value> {
        &self.fields
    }

    fn find(&self, call: &mut Call) -> Result<Option<Value>, ScriptError> {
        let Some(mut held) = named(call, self.space, &self.name)? else { return Ok(None) };
        if self.properties().any(|(name, value)| !is_secret(name, value)) {
            held = whole(call, self.space, &self.name, &held)?;
        }
        if !held[PROPERTIES].is_object() {
            held[PROPERTIES] = json!({});
        }
        *self.told.borrow_mut() = Some(held[PROPERTIES].clone());
        Ok(Some(held))
    }

    fn accept(&self, call: &Call, current: &Value) -> Result<(), ScriptError> {
        match current["datasourceID"].as_str() {
            Some(held) if held != self.source => Err(invalid(
                call,
                format!("the {} is one to `{held}`, not to `{}`", self.subject(), self.source),
                Some("take another name, or delete it first: `space.data_connections.delete(name)`".to_owned()),
            )),
            _ => Ok(()),
        }
    }

    fn create(&self, call: &mut Call) -> Result<Outcome, ScriptError> {
        let mut body = json!({ "qName": self.name, "datasourceID": self.source, "space": self.space.id });
        if let Some(map) = body.as_object_mut() {
            map.extend(self.fields.clone());
        }
        self.space.tenant.ask("createDataConnection", self.subject()).json(body).attempt(call)
    }

    fn update(&self, call: &mut Call, current: &Value, changes: &[FieldChange]) -> Result<Updated, ScriptError> {
        let mut document = current.clone();
        let mut values = Vec::new();
        for change in changes {
            if change.field != PROPERTIES {
                document[&change.field] = self.fields[&change.field].clone();
                values.push((format!("/{}", change.field), &self.fields[&change.field]));
                continue;
            }
            for (name, value) in self.properties().filter(|(name, _)| self.is_told(name)) {
                if plain(value) != plain(&current[PROPERTIES][name]) {
                    document[PROPERTIES][name] = value.clone();
                    values.push((path(name), value));
                }
            }
        }
        send(call, self.space, &self.name, current, replace(values))?;
        Ok(Updated::To(document))
    }

    fn view(&self, field: &str, value: &Value) -> Value {
        if field != PROPERTIES {
            return text_set(value);
        }
        let compared = self.properties().filter(|(name, _)| self.is_told(name));
        compared
            .map(|(name, wanted)| {
                let shown = if is_secret(name, wanted) { json!("***") } else { plain(&value[name]) };
                (name.clone(), shown)
            })
            .collect::<Map<_, _>>()
            .into()
    }
}

fn subject(space: &Space, name: &str) -> String {
    format!("data connection \"{name}\" in space \"{}\"", space.name())
}

fn is_secret(name: &str, value: &Value) -> bool {
    secret::name(value).is_some() || sounds_secret(name)
}

/// What Qlik Cloud parses from a connect statement may be texts, whatever was sent.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(_) | Value::Bool(_) => Value::from(value.to_string()),
        other => other.clone(),
    }
}

fn path(property: &str) -> String {
    format!("/{PROPERTIES}/{}", property.replace('~', "~0").replace('/', "~1"))
}

fn all(space: &Space) -> Ask {
    let ask = space.tenant.ask("getDataConnections", format!("data connections in space \"{}\"", space.name()));
    ask.query("spaceId", &space.id).query("limit", "100")
}

fn named(call: &mut Call, space: &Space, name: &str) -> Result<Option<Value>, ScriptError> {
    let held = all(space).list(call)?;
    Ok(oldest(call, held, "data connections", ("qName", name), "created"))
}

fn must(call: &mut Call, space: &Space, name: &str) -> Result<Value, ScriptError> {
    match named(call, space, name)? {
        Some(held) => Ok(held),
        None => Err(call.throw(space.tenant.lacks(&subject(space, name)))),
    }
}

/// The whole of a connection that a list shows, with its properties.
fn whole(call: &mut Call, space: &Space, name: &str, listed: &Value) -> Result<Value, ScriptError> {
    let id = text_of(call, "getDataConnections", listed, "qID")?;
    let ask = space.tenant.ask("getDataConnection", subject(space, name)).var("qID", id);
    Ok(ask.query("parseConnection", "true").send(call)?.json().clone())
}

fn send(call: &mut Call, space: &Space, name: &str, held: &Value, steps: Value) -> Result<(), ScriptError> {
    let id = text_of(call, "getDataConnections", held, "qID")?;
    let ask = space.tenant.ask("patchDataConnection", subject(space, name)).var("qID", id);
    ask.json(steps).send(call).map(drop)
}

/// The properties that were given: Qlik Cloud patches texts, numbers, booleans and lists.
fn properties(call: &Call, given: Option<&Value>) -> Result<Map<String, Value>, ScriptError> {
    let hint = || Some("such as `#{ host: \"db.harbour.example\", password: secret(\"harbour-db\") }`".to_owned());
    let map = match given {
        None => return Ok(Map::new()),
        Some(Value::Object(map)) if !map.contains_key(secret::KEY) => map,
        Some(other) => {
            let title = format!("`{PROPERTIES}` is {}; a map is needed", kind(other));
            return Err(invalid(call, title, hint()));
        }
    };
    let is_good = |value: &Value| !(value.is_null() || value.is_object()) || secret::name(value).is_some();
    match map.iter().find(|(_, value)| !is_good(value)) {
        None => Ok(map.clone()),
        Some((name, value)) => {
            let title =
                format!("the property `{name}` is {}; a text, number, boolean, list or secret is needed", kind(value));
            Err(invalid(call, title, hint()))
        }
    }
}

fn ensure(call: &mut Call, space: &Space, name: &str, given: ScriptMap) -> Result<Value, ScriptError> {
    if name.trim().is_empty() {
        return Err(invalid(call, "a data connection needs a name", None));
    }
    let given = options(call, given, &["datasourceID", PROPERTIES, "tags"])?;
    let source = text(call, &given, "datasourceID")?;
    let mut fields = Map::new();
    fields.insert(PROPERTIES.to_owned(), properties(call, given.get(PROPERTIES))?.into());
    if let Some(tags) = given.get("tags") {
        let is_good = |tags: &Vec<Value>| tags.len() <= TAGS && tags.iter().all(Value::is_string);
        if !tags.as_array().is_some_and(is_good) {
            return Err(invalid(call, format!("`tags` is a list of at most {TAGS} texts"), None));
        }
        fields.insert("tags".to_owned(), tags.clone());
    }
    let wanted = Wanted { space, name: name.to_owned(), source, fields, told: RefCell::default() };
    Ok(converge::ensure(call, &wanted)?.document)
}

fn update(call: &mut Call, space: &Space, name: &str, given: ScriptMap) -> Result<(), ScriptError> {
    let given = options(call, given, &[PROPERTIES])?;
    let wanted = properties(call, given.get(PROPERTIES))?;
    if wanted.is_empty() {
        return Err(invalid(call, format!("`{PROPERTIES}` is missing: nothing is to be sent"), None));
    }
    let subject = subject(space, name);
    call.claim(space.tenant.host_name(), &subject)?;
    let held = must(call, space, name)?;
    send(call, space, name, &held, replace(wanted.iter().map(|(name, value)| (path(name), value))))?;
    let fields = wanted.iter().map(|(name, value)| {
        let after = if is_secret(name, value) { json!("***") } else { value.clone() };
        FieldChange { field: format!("{PROPERTIES}/{name}"), before: Value::Null, after }
    });
    call.step(Change::Updated, subject, fields.collect());
    Ok(())
}

fn delete(call: &mut Call, space: &Space, name: &str) -> Result<(), ScriptError> {
    let subject = subject(space, name);
    let find = |call: &mut Call| named(call, space, name);
    converge::remove(call, space.tenant.host_name(), &subject, find, |call, held| {
        let id = text_of(call, "getDataConnections", held, "qID")?;
        space.tenant.ask("deleteDataConnection", &subject).var("qID", id).remove(call)
    })
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// What the space's apps load their data from.
    #[rhai_fn(get = "data_connections", pure)]
    pub fn data_connections(space: &mut Space) -> DataConnections {
        DataConnections(space.clone())
    }

    /// Makes sure the space has a data connection of this name to this source; gives it as Qlik describes it. What of it
    /// differs is changed; properties that are not named stay.
    ///
    /// Secrets are sent when it is made, and then only by `update`: Qlik Cloud shows none, so they cannot be compared. That it
    /// holds for every property that Qlik Cloud does not show, and that numbers and booleans may be shown as texts, is assumed.
    /// So is that a property is changed at `/connectionProperties/NAME`: the specification names no paths.
    ///
    /// - `name`: exact, case matters; unique in the space.
    /// - `options`: Qlik's own `datasourceID`, `connectionProperties` (which a source takes, its `GET
    ///   /data-sources/{dataSourceId}/api-specs` tells), and `tags`.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let staging = tenant.spaces.ensure("Staging", "shared");
    /// staging.data_connections.ensure("Orders", #{
    ///     datasourceID: "postgres",
    ///     connectionProperties: #{ host: "db.harbour.example", username: "halyard", password: secret("entra") },
    /// });
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_data_connection(
        context: NativeCallContext,
        connections: &mut DataConnections,
        name: &str,
        options: ScriptMap,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "space.data_connections.ensure")?;
        let document = ensure(&mut call, &connections.0, name, options)?;
        script(&call, &document)
    }

    /// Sends these properties to a connection in any case, as after a password was changed. An error when there is none of
    /// this name.
    ///
    /// - `name`: exact, case matters.
    /// - `options`: `connectionProperties`; the others stay.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let staging = tenant.spaces.ensure("Staging", "shared");
    /// staging.data_connections.ensure("Orders", #{ datasourceID: "postgres" });
    /// staging.data_connections.update("Orders", #{ connectionProperties: #{ password: secret("entra") } });
    /// ```
    #[rhai_fn(name = "update", pure, return_raw)]
    pub fn update_data_connection(
        context: NativeCallContext,
        connections: &mut DataConnections,
        name: &str,
        options: ScriptMap,
    ) -> Result<(), Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "space.data_connections.update")?;
        update(&mut call, &connections.0, name, options)
    }

    /// The connection of this name as Qlik describes it, with the properties it tells; an error when there is none.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let staging = tenant.spaces.ensure("Staging", "shared");
    /// staging.data_connections.ensure("Orders", #{ datasourceID: "postgres" });
    /// log(staging.data_connections.get("Orders").qConnectStatement);
    /// ```
    #[rhai_fn(name = "get", pure, return_raw)]
    pub fn get_data_connection(
        context: NativeCallContext,
        connections: &mut DataConnections,
        name: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "space.data_connections.get")?;
        let held = must(&mut call, &connections.0, name)?;
        let document = whole(&mut call, &connections.0, name, &held)?;
        script(&call, &document)
    }

    /// The connection of this name as Qlik lists it, or `()`.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let staging = tenant.spaces.ensure("Staging", "shared");
    /// if staging.data_connections.find("Orders") == () { log("not yet"); }
    /// ```
    #[rhai_fn(name = "find", pure, return_raw)]
    pub fn find_data_connection(
        context: NativeCallContext,
        connections: &mut DataConnections,
        name: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "space.data_connections.find")?;
        let found = named(&mut call, &connections.0, name)?;
        script_or_unit(&call, found.as_ref())
    }

    /// All connections of the space, as Qlik lists them.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let staging = tenant.spaces.ensure("Staging", "shared");
    /// for connection in staging.data_connections.list() { log(connection.qName); }
    /// ```
    #[rhai_fn(name = "list", pure, return_raw)]
    pub fn list_data_connections(
        context: NativeCallContext,
        connections: &mut DataConnections,
    ) -> Result<Array, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "space.data_connections.list")?;
        let found = all(&connections.0).list(&mut call)?;
        scripts(&call, &found)
    }

    /// Makes sure the space has no connection of this name.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let staging = tenant.spaces.ensure("Staging", "shared");
    /// staging.data_connections.delete("Orders");
    /// ```
    #[rhai_fn(name = "delete", pure, return_raw)]
    pub fn delete_data_connection(
        context: NativeCallContext,
        connections: &mut DataConnections,
        name: &str,
    ) -> Result<(), Box<EvalAltResult>> {
        delete(&mut Call::begin(&context, "space.data_connections.delete")?, &connections.0, name)
    }
}
