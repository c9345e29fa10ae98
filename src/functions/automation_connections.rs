use rhai::plugin::*;
use rhai::{Array, Map as ScriptMap};
use serde_json::{Map, Value, json};

use super::converge::{self, oldest};
use super::options::{invalid, kind, listed, options, script, script_or_unit, scripts, suggestion, text};
use super::request::{Ask, equals, text_of};
use super::tenant::Tenant;
use super::users::User;
use crate::event::{Change, FieldChange};
use crate::operation::secret;
use crate::playbook::{Call, ScriptError};

/// `tenant.automation_connections`.
#[derive(Clone, Debug)]
pub(super) struct AutomationConnections(Tenant);

fn subject(name: &str) -> String {
    format!("automation connection \"{name}\"")
}

fn all(tenant: &Tenant) -> Ask {
    let ask = tenant.ask("workflowsGetAutomationConnections", "automation connections");
    ask.query("limit", "200").query("listAll", "true")
}

/// Names may repeat; of several the oldest is meant.
fn named(call: &mut Call, tenant: &Tenant, name: &str) -> Result<Option<Value>, ScriptError> {
    let found = all(tenant).query("filter", equals("name", name)).list(call)?;
    Ok(oldest(call, found, "automation connections", ("name", name), "createdAt"))
}

/// The whole of it, with its parameters.
fn read(call: &mut Call, tenant: &Tenant, name: &str) -> Result<Value, ScriptError> {
    let Some(entry) = named(call, tenant, name)? else {
        return Err(call.throw(tenant.lacks(&subject(name))));
    };
    let id = text_of(call, "workflowsGetAutomationConnections", &entry, "id")?;
    Ok(tenant.ask("workflowsGetAutomationConnection", subject(name)).var("id", id).send(call)?.json().clone())
}

/// The values by the names of their parameters.
fn params(call: &Call, given: &Value) -> Result<Map<String, Value>, ScriptError> {
    let is_value = |value: &Value| value.is_string() || secret::name(value).is_some();
    match given {
        Value::Null => Ok(Map::new()),
        Value::Object(map) if secret::name(given).is_none() && map.values().all(is_value) => Ok(map.clone()),
        other => {
            let title = format!("`params` is {}; a map of texts and secrets by their names is needed", kind(other));
            Err(invalid(call, title, Some("such as `#{ api_key: secret(\"airtable\") }`".to_owned())))
        }
    }
}

/// Refuses names that the connector does not know, with what it knows.
fn known(call: &Call, wanted: &Map<String, Value>, params: &Value) -> Result<(), ScriptError> {
    let names: Vec<&str> = params.as_array().into_iter().flatten().filter_map(|param| param["name"].as_str()).collect();
    match wanted.keys().find(|name| !names.contains(&name.as_str())) {
        Some(name) if names.is_empty() => Err(invalid(call, format!("the connector takes no `{name}`"), None)),
        Some(name) => {
            let hint = Some(suggestion(name, &names));
            Err(invalid(call, format!("the connector takes no `{name}`; it takes {}", listed(&names)), hint))
        }
        None => Ok(()),
    }
}

/// Sends values to a connection, by the ids that its parameters have there.
fn send(
    call: &mut Call,
    tenant: &Tenant,
    name: &str,
    connection: &Value,
    wanted: &Map<String, Value>,
) -> Result<Value, ScriptError> {
    known(call, wanted, &connection["params"])?;
    let all = connection["params"].as_array().into_iter().flatten();
    let sent = all.filter_map(|param| {
        let value = wanted.get(param["name"].as_str()?)?;
        Some(json!({ "id": param["id"], "value": value }))
    });
    let body = json!({ "name": name, "params": sent.collect::<Vec<Value>>() });
    let id = text_of(call, "workflowsGetAutomationConnection", connection, "id")?;
    let ask = tenant.ask("workflowsUpdateAutomationConnection", subject(name)).var("id", id);
    Ok(ask.json(body).send(call)?.json().clone())
}

fn ensure(call: &mut Call, tenant: &Tenant, name: &str, given: ScriptMap) -> Result<Value, ScriptError> {
    if name.is_empty() {
        return Err(invalid(call, "an automation connection needs a name", None));
    }
    let given = options(call, given, &["connectorId", "params", "spaceId"])?;
    let connector = text(call, &given, "connectorId")?;
    let wanted = params(call, given.get("params").unwrap_or(&Value::Null))?;
    let thing = subject(name);
    call.claim(tenant.host_name(), &thing)?;
    let filter = format!("{} and {}", equals("name", name), equals("connectorId", &connector));
    let mut found = all(tenant).query("filter", filter).list(call)?;
    found.retain(|held| held["connectorId"].as_str() == Some(&connector));
    let held = oldest(call, found, "automation connections", ("name", name), "createdAt");
    let document = match held {
        None => create(call, tenant, name, &connector, &wanted, given.get("spaceId"))?,
        // What is connected has what it needs: secrets are not shown, so they cannot be compared.
        Some(held) if held["isConnected"] == true || wanted.is_empty() => {
            call.step(converge::earlier(call, &thing), thing.clone(), Vec::new());
            held
        }
        Some(held) => {
            let id = text_of(call, "workflowsGetAutomationConnections", &held, "id")?;
            let ask = tenant.ask("workflowsGetAutomationConnection", &thing).var("id", id);
            let whole = ask.send(call)?.json().clone();
            let document = send(call, tenant, name, &whole, &wanted)?;
            call.step(Change::Updated, thing.clone(), vec![hidden("params")]);
            document
        }
    };
    if document["isConnected"] != true {
        let why = document["error"]["message"].as_str().unwrap_or("Qlik Cloud does not say why");
        let how = document["redirect"].as_str().map_or_else(String::new, |link| format!("; log in at {link}"));
        call.log("warn", format!("{thing} is not connected: {why}{how}"));
    }
    Ok(document)
}

/// A field whose values are secrets.
fn hidden(field: &str) -> FieldChange {
    FieldChange { field: field.to_owned(), before: Value::Null, after: json!("***") }
}

fn create(
    call: &mut Call,
    tenant: &Tenant,
    name: &str,
    connector: &str,
    wanted: &Map<String, Value>,
    space: Option<&Value>,
) -> Result<Value, ScriptError> {
    let thing = subject(name);
    if !wanted.is_empty() {
        let ask = tenant.ask("getAutomationConnector", format!("connector {connector}")).var("connectorId", connector);
        let about = ask.send(call)?.json().clone();
        known(call, wanted, &about["params"])?;
    }
    let sent = wanted.iter().map(|(name, value)| json!({ "name": name, "value": value }));
    let mut body = json!({ "name": name, "connectorId": connector, "params": sent.collect::<Vec<Value>>() });
    if let Some(space) = space {
        body["spaceId"] = space.clone();
    }
    let document = tenant.ask("workflowsCreateAutomationConnection", &thing).json(body).send(call)?.json().clone();
    call.step(Change::Created, thing, Vec::new());
    Ok(document)
}

fn update(call: &mut Call, tenant: &Tenant, name: &str, given: ScriptMap) -> Result<Value, ScriptError> {
    let given = options(call, given, &["params"])?;
    let wanted = params(call, given.get("params").unwrap_or(&Value::Null))?;
    if wanted.is_empty() {
        return Err(invalid(call, "`params` is missing: nothing else of a connection can be changed", None));
    }
    call.claim(tenant.host_name(), &subject(name))?;
    let held = read(call, tenant, name)?;
    let document = send(call, tenant, name, &held, &wanted)?;
    call.step(Change::Updated, subject(name), vec![hidden("params")]);
    Ok(document)
}

fn check(call: &mut Call, tenant: &Tenant, name: &str) -> Result<bool, ScriptError> {
    let Some(entry) = named(call, tenant, name)? else {
        return Err(call.throw(tenant.lacks(&subject(name))));
    };
    let id = text_of(call, "workflowsGetAutomationConnections", &entry, "id")?;
    let response = tenant.ask("workflowsCheckAutomationConnection", subject(name)).var("id", id).send(call)?;
    let said = response.json();
    Ok(said["connected"] == true || said["is_connected"] == true)
}

fn change_owner(call: &mut Call, tenant: &Tenant, name: &str, user: &User) -> Result<(), ScriptError> {
    let thing = subject(name);
    if user.tenant.host_name() != tenant.host_name() {
        return Err(invalid(call, "the user belongs to another tenant", None));
    }
    call.claim(tenant.host_name(), &thing)?;
    let Some(entry) = named(call, tenant, name)? else {
        return Err(call.throw(tenant.lacks(&thing)));
    };
    if entry["ownerId"] == *user.id {
        call.step(converge::earlier(call, &thing), thing, Vec::new());
        return Ok(());
    }
    let id = text_of(call, "workflowsGetAutomationConnections", &entry, "id")?;
    let ask = tenant.ask("workflowsChangeOwnerAutomationConnection", &thing).var("id", id);
    ask.json(json!({ "userId": user.id })).send(call)?;
    let change = FieldChange { field: "ownerId".to_owned(), before: entry["ownerId"].clone(), after: json!(user.id) };
    call.step(Change::Updated, thing, vec![change]);
    Ok(())
}

fn delete(call: &mut Call, tenant: &Tenant, name: &str) -> Result<(), ScriptError> {
    let subject = subject(name);
    let find = |call: &mut Call| named(call, tenant, name);
    converge::remove(call, tenant.host_name(), &subject, find, |call, entry| {
        let id = text_of(call, "workflowsGetAutomationConnections", entry, "id")?;
        tenant.ask("workflowsDeleteAutomationConnection", &subject).var("id", id).remove(call)
    })
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// What the tenant's automations log in with elsewhere, whoever owns it.
    #[rhai_fn(get = "automation_connections", pure)]
    pub fn automation_connections(tenant: &mut Tenant) -> AutomationConnections {
        AutomationConnections(tenant.clone())
    }

    /// Makes sure there is a connection of this name by this connector; gives it as Qlik describes it. Its parameters are sent
    /// when it is new, and when it is there and not connected: Qlik does not show secrets, so what is connected is left alone
    /// (`update` sends them in any case). Where somebody must log in, it stays unconnected; its `redirect` says where.
    ///
    /// - `name`: exact, case matters.
    /// - `options`: Qlik's own `connectorId`, `spaceId`, and `params`, texts and secrets by the names of the connector's
    ///   parameters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.automation_connections.ensure("shipments", #{
    ///     connectorId: "0d87347d-27c0-11ea-921c-022e6b5ea1e2",                // Airtable
    ///     params: #{ api_key: secret("entra"), base_id: "app1" },
    /// });
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_connection(
        context: NativeCallContext,
        connections: &mut AutomationConnections,
        name: &str,
        options: ScriptMap,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.automation_connections.ensure")?;
        let document = ensure(&mut call, &connections.0, name, options)?;
        script(&call, &document)
    }

    /// Sends these parameters to a connection, as after a secret was changed; gives it as Qlik describes it. An error when
    /// there is none of this name.
    ///
    /// - `name`: exact, case matters.
    /// - `options`: `params`, texts and secrets by the names of the connector's parameters; the others stay.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.automation_connections.ensure("shipments", #{ connectorId: "0d87347d-27c0-11ea-921c-022e6b5ea1e2" });
    /// tenant.automation_connections.update("shipments", #{ params: #{ api_key: secret("entra") } });
    /// ```
    #[rhai_fn(name = "update", pure, return_raw)]
    pub fn update_connection(
        context: NativeCallContext,
        connections: &mut AutomationConnections,
        name: &str,
        options: ScriptMap,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.automation_connections.update")?;
        let document = update(&mut call, &connections.0, name, options)?;
        script(&call, &document)
    }

    /// Asks the other side whether the connection works.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.automation_connections.ensure("shipments", #{ connectorId: "0d87347d-27c0-11ea-921c-022e6b5ea1e2" });
    /// if !tenant.automation_connections.check("shipments") { log("warn", "shipments are not connected"); }
    /// ```
    #[rhai_fn(name = "check", pure, return_raw)]
    pub fn check_connection(
        context: NativeCallContext,
        connections: &mut AutomationConnections,
        name: &str,
    ) -> Result<bool, Box<EvalAltResult>> {
        check(&mut Call::begin(&context, "tenant.automation_connections.check")?, &connections.0, name)
    }

    /// The connection of this name as Qlik describes it, with its parameters; an error when there is none.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.automation_connections.ensure("shipments", #{ connectorId: "0d87347d-27c0-11ea-921c-022e6b5ea1e2" });
    /// log(tenant.automation_connections.get("shipments").isConnected);
    /// ```
    #[rhai_fn(name = "get", pure, return_raw)]
    pub fn get_connection(
        context: NativeCallContext,
        connections: &mut AutomationConnections,
        name: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.automation_connections.get")?;
        let document = read(&mut call, &connections.0, name)?;
        script(&call, &document)
    }

    /// The connection of this name as Qlik lists it, or `()`.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// if tenant.automation_connections.find("shipments") == () { log("not yet"); }
    /// ```
    #[rhai_fn(name = "find", pure, return_raw)]
    pub fn find_connection(
        context: NativeCallContext,
        connections: &mut AutomationConnections,
        name: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.automation_connections.find")?;
        let found = named(&mut call, &connections.0, name)?;
        script_or_unit(&call, found.as_ref())
    }

    /// All connections, as Qlik lists them.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// for connection in tenant.automation_connections.list() { log(connection.name); }
    /// ```
    #[rhai_fn(name = "list", pure, return_raw)]
    pub fn list_connections(
        context: NativeCallContext,
        connections: &mut AutomationConnections,
    ) -> Result<Array, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.automation_connections.list")?;
        let found = all(&connections.0).list(&mut call)?;
        scripts(&call, &found)
    }

    /// Makes sure the connection is this user's, whoever owns it now; an error when there is none of this name.
    ///
    /// - `name`: exact, case matters.
    /// - `user`: a user of the same tenant.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.automation_connections.ensure("shipments", #{ connectorId: "0d87347d-27c0-11ea-921c-022e6b5ea1e2" });
    /// let ada = tenant.users.ensure(#{ subject: "hb|ada", name: "Ada" });
    /// tenant.automation_connections.change_owner("shipments", ada);
    /// ```
    #[rhai_fn(name = "change_owner", pure, return_raw)]
    pub fn change_owner_of_connection(
        context: NativeCallContext,
        connections: &mut AutomationConnections,
        name: &str,
        user: User,
    ) -> Result<(), Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.automation_connections.change_owner")?;
        change_owner(&mut call, &connections.0, name, &user)
    }

    /// Makes sure there is no connection of this name. Qlik refuses it while an automation uses it.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.automation_connections.delete("shipments");
    /// ```
    #[rhai_fn(name = "delete", pure, return_raw)]
    pub fn delete_connection(
        context: NativeCallContext,
        connections: &mut AutomationConnections,
        name: &str,
    ) -> Result<(), Box<EvalAltResult>> {
        delete(&mut Call::begin(&context, "tenant.automation_connections.delete")?, &connections.0, name)
    }
}
