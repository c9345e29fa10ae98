//! Data connections: how apps reach the sources they load from (data-connections and data-credentials APIs).
//!
//! No connector runs here. Assumed, since it differs from source to source and is not published: the connect statement that
//! is made of `connectionProperties`, and that secrets among them (by the sound of their names) are given back by nobody. The
//! roles of a space that may write are those for its files.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::context::{Answer, Context, Handled, text};
use super::data_files;
use super::filter::{Fields, Filter};
use super::paging::{self, Paging};
use super::patch;
use super::refusal::Refusal;
use super::resources::Resource;
use super::spaces::Caller;
use super::state::Document;

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("getDataConnections", list),
        ("createDataConnection", create),
        ("getDataConnection", get),
        ("updateDataConnection", replace),
        ("patchDataConnection", change),
        ("deleteDataConnection", delete),
        ("deleteDataConnections", delete_many),
        ("updateDataConnections", update_many),
        ("duplicateDataAConnection", duplicate),
    ],
    seed: None,
};

/// The collection's name; spaces know it too. The space stands in `spaceId` there, and in `space` for whoever asks.
pub(super) const CONNECTIONS: &str = "dataConnections";

const PAGING: Paging = Paging::forward("page", 100, 100);
const FILTERS: Fields =
    Fields { eq: &["qName", "qType", "datasourceID", "qri", "created", "updated"], co: &["qName", "qri"] };

/// What a request may say of a connection.
const GIVEN: [&str; 11] = [
    "qName",
    "qType",
    "qConnectStatement",
    "qUsername",
    "qPassword",
    "qConnectionSecret",
    "qLogOn",
    "qArchitecture",
    "qSeparateCredentials",
    "datasourceID",
    "tags",
];
/// What nobody is told.
const SECRET: [&str; 3] = ["qPassword", "qConnectionSecret", PROPERTIES];
pub(super) const PROPERTIES: &str = "$properties";

/// Parts of names that sound like a secret.
const SOUNDS: [&str; 6] = ["password", "secret", "token", "apikey", "api_key", "privatekey"];

fn refuse(status: StatusCode, code: &str, title: &str) -> Refusal {
    Refusal::new(status, code, title)
}

fn bad(detail: impl Into<String>) -> Refusal {
    refuse(StatusCode::BAD_REQUEST, "DCERROR-0010", "Bad or invalid request").detail(detail)
}

fn missing() -> Refusal {
    refuse(StatusCode::NOT_FOUND, "HTTP-404", "Data connection not found")
}

fn conflict() -> Refusal {
    refuse(StatusCode::CONFLICT, "HTTP-409", "Data connection already exists")
}

fn sees(context: &Context<'_>, caller: &Caller, connection: &Value) -> bool {
    match text(connection, "spaceId") {
        "" => text(connection, "user") == caller.id(),
        space => context.get("spaces", space).is_some_and(|space| caller.sees(&space)),
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    SOUNDS.iter().any(|sound| name.contains(sound))
}

/// What of properties may be told.
fn told(properties: &Value) -> Value {
    let told = properties.as_object().into_iter().flatten().filter(|(name, _)| !is_secret(name));
    Value::Object(told.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>())
}

fn shown(context: &Context<'_>, connection: &Value, with_properties: bool) -> Value {
    let mut shown = connection.clone();
    if let Some(fields) = shown.as_object_mut() {
        fields.retain(|field, _| {
            !SECRET.contains(&field.as_str()) && !["id", "spaceId", "qUsername"].contains(&field.as_str())
        });
    }
    let space = text(connection, "spaceId");
    if !space.is_empty() {
        shown["space"] = json!(space);
    }
    let mut privileges = vec!["list", "read"];
    if sees(context, &Caller::of(context), connection) && data_files::writes(context, &Caller::of(context), space) {
        privileges.extend(["update", "delete", "change_owner", "change_space"]);
    }
    shown["privileges"] = json!(privileges);
    if with_properties && let Some(properties) = connection.get(PROPERTIES) {
        shown["connectionProperties"] = told(properties);
    }
    let link = context.link(&format!("/api/v1/data-connections/{}", text(connection, "qID")));
    shown["links"] = json!({"self": {"href": link}});
    shown
}

/// A connection as a recording keeps it: its statement may spell out a password.
pub(super) fn recorded(mut connection: Value) -> Value {
    if connection.get("qConnectStatement").is_some() {
        connection["qConnectStatement"] = json!("***");
    }
    connection
}

fn list(context: &mut Context<'_>) -> Handled {
    let caller = Caller::of(context);
    let given = |name: &str| context.parameter(name).filter(|value| !value.is_empty());
    let held = context.collection(CONNECTIONS).documents();
    let ignores_case = context.flag("caseinsensitive");
    let mut found: Vec<Document> = held
        .into_iter()
        .filter(|held| {
            let is_named = |name: &str| {
                let held = text(held, "qName");
                held == name || (ignores_case && held.to_lowercase() == name.to_lowercase())
            };
            sees(context, &caller, held)
                && given("spaceId").is_none_or(|space| space == text(held, "spaceId"))
                && (!context.flag("personal") || text(held, "spaceId").is_empty())
                && (!context.flag("ownedByMe") || text(held, "user") == caller.id())
                && given("userId").is_none_or(|user| user == text(held, "user"))
                && given("dataName").is_none_or(is_named)
        })
        .collect();
    if let Some(filter) = given("filter") {
        found = Filter::parse(filter, FILTERS)?.apply(found);
    }
    paging::sort(context, &mut found, &["_id", "qName", "created", "updated"], "")?;
    let extended = context.flag("extended");
    paging::page_counted(context, found, PAGING, |context, held| shown(context, held, extended))
}

/// The connection of the path, by its id, or by its name when `type` says so.
fn asked(context: &Context<'_>) -> Result<Document, Refusal> {
    let wanted = context.var("qID");
    let caller = Caller::of(context);
    let found = if context.parameter("type") == Some("connectionname") {
        let space = context.parameter("spaceId").unwrap_or_default();
        let held = context.collection(CONNECTIONS).documents();
        held.into_iter().find(|held| text(held, "qName") == wanted && text(held, "spaceId") == space)
    } else if wanted.parse::<uuid::Uuid>().is_err() {
        return Err(bad("the qID is not a valid UUID"));
    } else {
        context.get(CONNECTIONS, &wanted)
    };
    found.filter(|held| sees(context, &caller, held)).ok_or_else(missing)
}

fn changeable(context: &Context<'_>) -> Result<Document, Refusal> {
    let held = asked(context)?;
    if data_files::writes(context, &Caller::of(context), text(&held, "spaceId")) {
        return Ok(held);
    }
    Err(Refusal::forbidden("User has no access to the connection or space"))
}

/// A name is unique in its space, and among a user's own.
fn is_taken(context: &Context<'_>, connection: &Value) -> bool {
    let held = context.collection(CONNECTIONS).documents();
    held.iter().any(|held| {
        held["qID"] != connection["qID"]
            && held["qName"] == connection["qName"]
            && text(held, "spaceId") == text(connection, "spaceId")
            && (!text(held, "spaceId").is_empty() || held["user"] == connection["user"])
    })
}

fn into_space(context: &Context<'_>, space: &str) -> Result<(), Refusal> {
    let caller = Caller::of(context);
    let seen = space.is_empty() || context.get("spaces", space).is_some_and(|space| caller.sees(&space));
    if seen && data_files::writes(context, &caller, space) {
        return Ok(());
    }
    Err(Refusal::forbidden("User has no access to the connection or space"))
}

/// The statement that a connector would make of these properties.
fn statement(datasource: &str, properties: &Value) -> String {
    let told = told(properties);
    let parts = told.as_object().into_iter().flatten().map(|(name, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{name}={value};")
    });
    let parts: String = parts.collect();
    format!("CUSTOM CONNECT TO \"provider=QvRestConnector.exe;driver={datasource};{parts}\"")
}

/// Takes over what a request says.
fn say(connection: &mut Value, given: &Value) {
    for field in GIVEN {
        if let Some(value) = given.get(field) {
            connection[field] = value.clone();
        }
    }
    if let Some(properties) = given.get("connectionProperties") {
        connection["qConnectStatement"] = json!(statement(text(connection, "datasourceID"), properties));
        connection[PROPERTIES] = properties.clone();
    }
    // It is asked for as text, and told as a number.
    let log_on = match &connection["qLogOn"] {
        Value::String(text) if text == "1" || text == "LOG_ON_CURRENT_USER" => 1,
        Value::Number(number) => number.as_i64().unwrap_or_default(),
        _ => 0,
    };
    connection["qLogOn"] = json!(log_on);
}

fn created(context: &Context<'_>, connection: &Value) -> Answer {
    let mut shown = shown(context, connection, false);
    shown["qLogOn"] = json!(connection["qLogOn"].to_string());
    if let Some(fields) = shown.as_object_mut() {
        fields.retain(|field, _| !["tags", "datasourceID", "tenant"].contains(&field.as_str()));
    }
    Answer::created(&shown)
}

fn new(context: &Context<'_>, space: &str) -> Value {
    let (id, now) = (context.random.uuid().to_string(), context.timestamp());
    json!({
        "id": id, "qID": id, "qEngineObjectID": id, "qArchitecture": 0, "qLogOn": 0, "qSeparateCredentials": false,
        "qType": "QvRestConnector.exe", "qCredentialsID": context.random.uuid().to_string(), "tags": [],
        "user": context.user_id(), "tenant": context.tenant_id(), "spaceId": space, "created": now, "updated": now,
    })
}

fn create(context: &mut Context<'_>) -> Handled {
    let given = context.body.clone();
    if given["authUrlOnly"] == true {
        return Err(bad("the sandbox has no source that is signed in to at an address of its own"));
    }
    let space = text(&given, "space").to_owned();
    into_space(context, &space)?;
    let mut connection = new(context, &space);
    say(&mut connection, &given);
    if text(&connection, "qName").trim().is_empty() {
        return Err(bad("qName is empty"));
    }
    if is_taken(context, &connection) {
        return Err(conflict());
    }
    context.put(CONNECTIONS, text(&connection, "qID"), connection.clone());
    Ok(created(context, &connection))
}

fn get(context: &mut Context<'_>) -> Handled {
    let held = asked(context)?;
    Ok(Answer::ok(&shown(context, &held, context.flag("parseConnection") || context.flag("extended"))))
}

fn changed(context: &mut Context<'_>, before: &Value, mut connection: Value) -> Handled {
    if text(&connection, "qName").trim().is_empty() {
        return Err(bad("qName is empty"));
    }
    if is_taken(context, &connection) {
        return Err(conflict());
    }
    if connection != *before {
        connection["updated"] = json!(context.timestamp());
        context.put(CONNECTIONS, text(&connection, "qID"), connection.clone());
    }
    Ok(Answer::no_content())
}

fn replace(context: &mut Context<'_>) -> Handled {
    let before = changeable(context)?;
    let given = context.body.clone();
    let mut connection = (*before).clone();
    say(&mut connection, &given);
    if let Some(space) = given["space"].as_str() {
        into_space(context, space)?;
        connection["spaceId"] = json!(space);
    }
    changed(context, &before, connection)
}

fn change(context: &mut Context<'_>) -> Handled {
    let before = changeable(context)?;
    let mut connection = (*before).clone();
    let mut given = json!({});
    for step in patch::any_steps(context)? {
        let field = step.path.trim_start_matches('/').to_owned();
        let inner = field.strip_prefix("connectionProperties/");
        match (step.op.as_str(), inner) {
            ("add" | "replace", Some(inner)) => {
                let held = connection.get(PROPERTIES).cloned().unwrap_or_else(|| json!({}));
                let mut properties = given.get("connectionProperties").cloned().unwrap_or(held);
                properties[inner] = step.value.clone();
                given["connectionProperties"] = properties;
            }
            ("add" | "replace", None) if GIVEN.contains(&field.as_str()) => given[&field] = step.value.clone(),
            ("remove", None) if field == "tags" => given["tags"] = json!([]),
            ("remove", None) if GIVEN.contains(&field.as_str()) => given[&field] = json!(""),
            _ => return Err(step.refuse(format!("`{}` cannot be changed so", step.path))),
        }
    }
    say(&mut connection, &given);
    changed(context, &before, connection)
}

fn delete(context: &mut Context<'_>) -> Handled {
    let held = changeable(context)?;
    context.remove(CONNECTIONS, text(&held, "qID"));
    Ok(Answer::no_content())
}

/// The list of a bulk request, which is for administrators.
fn bulk(context: &Context<'_>) -> Result<Vec<Value>, Refusal> {
    if !Caller::of(context).is_admin() {
        return Err(Refusal::forbidden("The endpoint requires Admin role"));
    }
    Ok(context.body["connections"].as_array().cloned().unwrap_or_default())
}

fn line(id: &str, done: Result<(), Refusal>) -> Value {
    match done {
        Ok(()) => json!({"id": id, "status": 204}),
        Err(refusal) => {
            let status = refusal.status().as_u16();
            let error = json!({"code": format!("HTTP-{status}"), "title": refusal.to_string(), "status": status});
            json!({"id": id, "status": status, "error": error})
        }
    }
}

fn delete_many(context: &mut Context<'_>) -> Handled {
    let mut lines = Vec::new();
    for wanted in bulk(context)? {
        let id = text(&wanted, "id").to_owned();
        let done = context.remove(CONNECTIONS, &id).map(drop).ok_or_else(missing);
        lines.push(line(&id, done));
    }
    Ok(Answer::multi(lines))
}

/// A new owner gets no credentials: they are the earlier one's.
fn update_many(context: &mut Context<'_>) -> Handled {
    let mut lines = Vec::new();
    for wanted in bulk(context)? {
        let id = text(&wanted, "id").to_owned();
        let mut update = || {
            let before = context.get(CONNECTIONS, &id).ok_or_else(missing)?;
            let mut connection = (*before).clone();
            if let Some(owner) = wanted["ownerId"].as_str() {
                context.get("users", owner).ok_or_else(|| bad("there is no such user"))?;
                connection["user"] = json!(owner);
                if let Some(fields) = connection.as_object_mut() {
                    fields.retain(|field, _| !["qPassword", "qUsername"].contains(&field.as_str()));
                }
            }
            if let Some(space) = wanted["spaceId"].as_str() {
                if !space.is_empty() && context.get("spaces", space).is_none() {
                    return Err(bad("there is no such space"));
                }
                connection["spaceId"] = json!(space);
            }
            changed(context, &before, connection).map(drop)
        };
        let done = update();
        lines.push(line(&id, done));
    }
    Ok(Answer::multi(lines))
}

fn duplicate(context: &mut Context<'_>) -> Handled {
    let given = context.body.clone();
    let caller = Caller::of(context);
    let source = context.get(CONNECTIONS, text(&given, "id")).filter(|held| sees(context, &caller, held));
    let source = source.ok_or_else(missing)?;
    let space = given["spaceId"].as_str().unwrap_or_else(|| text(&source, "spaceId")).to_owned();
    into_space(context, &space)?;
    let mut connection = (*source).clone();
    let own = new(context, &space);
    for field in ["id", "qID", "qEngineObjectID", "qCredentialsID", "user", "spaceId", "created", "updated"] {
        connection[field] = own[field].clone();
    }
    say(&mut connection, &given);
    let named = given["name"].as_str().map(str::to_owned);
    connection["qName"] = json!(named.unwrap_or_else(|| format!("{} (copy)", text(&source, "qName"))));
    if is_taken(context, &connection) {
        return Err(conflict());
    }
    context.put(CONNECTIONS, text(&connection, "qID"), connection.clone());
    Ok(created(context, &Arc::new(connection)))
}
