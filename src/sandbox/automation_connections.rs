//! What automations log in with elsewhere (automation connections specifications, both generations over one store).
//!
//! Nobody is asked elsewhere: a connection is good when all that its connector needs is there and no value of it is `wrong`.
//! Assumed besides: names may repeat; secret values are not shown; where a person must log in (OAuth), the answer says so by
//! `redirect`; a connection that an automation uses is only deleted with `forced`, else 400 (409 is not among the statuses).

use serde_json::{Value, json};

use super::automation_connectors::{Connector, connector};
use super::automation_runs::by_age;
use super::automations::{PAGING, destination, forbidden, listed, moment, new_owner, owns, place, uses};
use super::context::{Answer, Context, Handled, text};
use super::filter::{Fields, Filter};
use super::paging::{self, page_as};
use super::refusal::Refusal;
use super::resources::Resource;
use super::spaces::Caller;
use super::state::Document;

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("getAutomationConnections", list),
        ("workflowsGetAutomationConnections", list),
        ("createAutomationConnection", create),
        ("workflowsCreateAutomationConnection", create),
        ("getAutomationConnection", get),
        ("workflowsGetAutomationConnection", get),
        ("updateAutomationConnection", update),
        ("workflowsUpdateAutomationConnection", update),
        ("deleteAutomationConnection", delete),
        ("workflowsDeleteAutomationConnection", delete),
        ("checkAutomationConnection", check),
        ("workflowsCheckAutomationConnection", check),
        ("changeOwnerAutomationConnection", change_owner),
        ("workflowsChangeOwnerAutomationConnection", change_owner),
        ("changeSpaceAutomationConnection", change_space),
        ("workflowsChangeSpaceAutomationConnection", change_space),
    ],
    seed: None,
};

/// The collection's name.
pub(super) const CONNECTIONS: &str = "automationConnections";

const FILTERS: Fields = Fields { eq: &["name", "connectorId", "ownerId", "spaceId"], co: &[] };

/// The values by the names of their parameters; no answer has them as they are here.
const VALUES: &str = "$values";

/// The value with which nothing can be reached.
const WRONG: &str = "wrong";

/// What keeps a connection from being one.
fn fault(connector: &Connector, values: &Value) -> Option<String> {
    if connector.by_oauth {
        return Some("somebody must log in".to_owned());
    }
    let missing = connector.params.iter().find(|param| !param.optional && text(values, param.name).is_empty());
    if let Some(param) = missing {
        return Some(format!("{} is missing", param.name));
    }
    let wrong = connector.params.iter().find(|param| text(values, param.name) == WRONG);
    wrong.map(|param| format!("{} is not taken", param.name))
}

fn of(connection: &Value) -> Result<&'static Connector, Refusal> {
    let id = text(connection, "connectorId");
    connector(id).ok_or_else(|| Refusal::bad_request(format!("there is no connector {id}")).pointer("/connectorId"))
}

fn shown(context: &Context<'_>, connection: &Value) -> Value {
    // One that was recorded may be of a connector that is not among the few here.
    let Some(connector) = connector(text(connection, "connectorId")) else { return brief(connection) };
    let mut document = connection.clone();
    let params = connector.params.iter().enumerate().map(|(order, param)| {
        let mut shown = json!({
            "id": param.id, "name": param.name, "fieldType": param.kind(), "isOptional": param.optional, "order": order,
            "meta": [], "paramOptions": [],
        });
        if !param.secret
            && let Some(value) = connection[VALUES].get(param.name)
        {
            shown["value"] = value.clone();
        }
        shown
    });
    document["params"] = params.collect::<Vec<Value>>().into();
    if let Some(why) = fault(connector, &connection[VALUES]) {
        document["error"] = json!({"message": why});
    }
    if connector.by_oauth {
        let path = format!("/automations/connections/{}/authorize", text(connection, "id"));
        document["redirect"] = json!(context.link(&path));
    }
    if let Some(map) = document.as_object_mut() {
        map.shift_remove(VALUES);
    }
    document
}

fn brief(connection: &Value) -> Value {
    let mut document = connection.clone();
    if let Some(map) = document.as_object_mut() {
        map.shift_remove(VALUES);
    }
    document
}

/// A connection as it is kept here, of what is shown of one. What a connected one has and does not show stands there as `***`.
pub(super) fn recorded(mut connection: Value) -> Value {
    let is_connected = connection["isConnected"] == true;
    let params = connection.as_object_mut().and_then(|fields| fields.shift_remove("params"));
    let mut values = json!({});
    for param in params.as_ref().and_then(Value::as_array).into_iter().flatten() {
        let hidden = || Some(json!("***")).filter(|_| is_connected && param["isOptional"] != true);
        if let Some(value) = param.get("value").cloned().filter(|value| !value.is_null()).or_else(hidden) {
            values[text(param, "name")] = value;
        }
    }
    connection[VALUES] = values;
    connection
}

fn list(context: &mut Context<'_>) -> Handled {
    let mut found = listed(context, CONNECTIONS, context.flag("listAll"));
    if let Some(filter) = context.parameter("filter").filter(|filter| !filter.is_empty()) {
        found = Filter::parse(filter, FILTERS)?.apply(found);
    }
    if !by_age(context, &mut found) {
        paging::sort(context, &mut found, &["name", "createdAt", "updatedAt"], "")?;
    }
    page_as(context, found, PAGING, |_, connection| brief(connection))
}

/// Takes the parameters of a request: a new connection names them, a change gives their ids.
fn take(context: &Context<'_>, connection: &mut Value, by: &str) -> Result<(), Refusal> {
    let connector = of(connection)?;
    for (index, given) in context.body["params"].as_array().into_iter().flatten().enumerate() {
        let word = text(given, by);
        let known = connector.params.iter().find(|param| word == if by == "id" { param.id } else { param.name });
        let Some(param) = known else {
            let detail = format!("the connector has no parameter `{word}`");
            return Err(Refusal::bad_request(detail).pointer(format!("/params/{index}/{by}")));
        };
        connection[VALUES][param.name] = json!(text(given, "value"));
    }
    connection["isConnected"] = json!(fault(connector, &connection[VALUES]).is_none());
    connection["updatedAt"] = json!(moment(context.now));
    Ok(())
}

fn create(context: &mut Context<'_>) -> Handled {
    let given = context.body.clone();
    let (id, space) = (context.random.uuid().to_string(), text(&given, "spaceId"));
    destination(context, space)?;
    let mut connection = json!({
        "id": id, "name": text(&given, "name"), "connectorId": given["connectorId"], "ownerId": context.user_id(),
        "createdAt": moment(context.now), VALUES: {},
    });
    place(&mut connection, space);
    take(context, &mut connection, "name")?;
    context.put(CONNECTIONS, &id, connection.clone());
    Ok(Answer::created(&shown(context, &connection)))
}

/// The connection of the path, when the caller may see it.
fn asked(context: &Context<'_>, by_administrators: bool) -> Result<Document, Refusal> {
    let connection = context.get(CONNECTIONS, &context.var("id")).ok_or_else(|| Refusal::not_found("HTTP-404"))?;
    let caller = Caller::of(context);
    if owns(&caller, &connection) || (by_administrators && caller.is_admin()) {
        return Ok(connection);
    }
    Err(forbidden("the connection is somebody else's"))
}

fn get(context: &mut Context<'_>) -> Handled {
    let connection = asked(context, false)?;
    Ok(Answer::ok(&shown(context, &connection)))
}

fn update(context: &mut Context<'_>) -> Handled {
    let mut connection = (*asked(context, false)?).clone();
    if let Some(name) = context.body.get("name") {
        connection["name"] = name.clone();
    }
    take(context, &mut connection, "id")?;
    context.put(CONNECTIONS, &context.var("id"), connection.clone());
    Ok(Answer::ok(&shown(context, &connection)))
}

fn delete(context: &mut Context<'_>) -> Handled {
    asked(context, true)?;
    let id = context.var("id");
    if !context.flag("forced") && uses(context, &id) {
        return Err(Refusal::bad_request("an automation uses the connection; delete it with forced=true"));
    }
    context.remove(CONNECTIONS, &id);
    Ok(Answer::no_content())
}

fn check(context: &mut Context<'_>) -> Handled {
    let mut connection = (*asked(context, false)?).clone();
    let good = fault(of(&connection)?, &connection[VALUES]).is_none();
    if connection["isConnected"] != json!(good) {
        connection["isConnected"] = json!(good);
        context.put(CONNECTIONS, &context.var("id"), connection);
    }
    Ok(Answer::ok(&json!({"connected": good, "is_connected": good})))
}

fn change_owner(context: &mut Context<'_>) -> Handled {
    let mut connection = (*asked(context, true)?).clone();
    connection["ownerId"] = json!(new_owner(context)?);
    connection["updatedAt"] = json!(moment(context.now));
    context.put(CONNECTIONS, &context.var("id"), connection);
    Ok(Answer::no_content())
}

/// Without a space it goes to its owner's own.
fn change_space(context: &mut Context<'_>) -> Handled {
    let mut connection = (*asked(context, true)?).clone();
    let space = text(&context.body, "spaceId").to_owned();
    destination(context, &space)?;
    place(&mut connection, &space);
    connection["updatedAt"] = json!(moment(context.now));
    context.put(CONNECTIONS, &context.var("id"), connection);
    Ok(Answer::no_content())
}
