//! What defines an automation: as a script says it, as an exported file has it, and as Qlik shows it.

use rhai::Map as ScriptMap;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::options::{invalid, kind, listed, options};
use super::request::unexpected;
use crate::operation::{Digest, Effect};
use crate::playbook::{Call, ScriptError};

/// What an automation is made of. Source: Qlik's workflows automations specification.
pub(super) const SENT: [&str; 4] = ["description", "workspace", "schedules", "maxConcurrentRuns"];
pub(super) const STATE: &str = "state";
pub(super) const SPACE: &str = "spaceId";

/// What an exported automation holds besides, which Qlik drops too (deploy an automation to a tenant). Where it lay there
/// says nothing about here.
const EXPORTED: [&str; 15] = [
    "id",
    "name",
    "ownerId",
    SPACE,
    "executionToken",
    "runMode",
    "snippetIds",
    "endpointIds",
    "connectorIds",
    "lastRun",
    "lastRunAt",
    "lastRunStatus",
    "duration",
    "createdAt",
    "updatedAt",
];

/// What a request takes of a schedule; what it shows of one besides is its own.
const SCHEDULE: [&str; 5] = ["startAt", "stopAt", "interval", "timezone", "recurrence"];

pub(super) const STATES: [&str; 2] = ["available", "disabled"];

/// Whether `held` says all that `wanted` says. It may say more, and leave out what is nothing.
pub(super) fn holds(held: &Value, wanted: &Value) -> bool {
    match (held, wanted) {
        (Value::Object(held), Value::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| holds(held.get(name).unwrap_or(&Value::Null), wanted))
        }
        (Value::Array(held), Value::Array(wanted)) => {
            held.len() == wanted.len() && held.iter().zip(wanted).all(|(held, wanted)| holds(held, wanted))
        }
        (Value::Number(held), Value::Number(wanted)) => held.as_f64() == wanted.as_f64(),
        (held, wanted) => held == wanted,
    }
}

/// A workspace in a few words: how many blocks, and a digest that tells one from another.
pub(super) fn told(workspace: &Value) -> String {
    let mut sorted = workspace.clone();
    sorted.sort_all_objects();
    let digest = Digest(Sha256::digest(sorted.to_string()).into()).to_string();
    let blocks = workspace["blocks"].as_array().map_or(0, Vec::len);
    format!("blocks: {blocks}, sha256:{}", &digest[..16])
}

/// What a request says of schedules.
pub(super) fn schedules(given: &Value) -> Value {
    let plain = given.as_array().into_iter().flatten().map(|schedule| {
        let fields = SCHEDULE.iter().filter_map(|field| Some(((*field).to_owned(), schedule.get(*field)?.clone())));
        Value::Object(fields.filter(|(_, value)| !value.is_null()).collect())
    });
    plain.collect()
}

/// Refuses what Qlik would refuse, and leaves out what it would drop.
fn check(call: &Call, given: Map<String, Value>) -> Result<Map<String, Value>, ScriptError> {
    let mut fields = Map::new();
    for field in SENT.into_iter().chain([STATE]) {
        let Some(value) = given.get(field).filter(|value| !value.is_null()) else { continue };
        let is_good = match field {
            "description" => value.is_string(),
            "workspace" => value.is_object(),
            "schedules" => value.as_array().is_some_and(|all| all.iter().all(Value::is_object)),
            "maxConcurrentRuns" => value.as_u64().is_some_and(|most| most > 0),
            _ => value.as_str().is_some_and(|state| STATES.contains(&state)),
        };
        if !is_good {
            let needed = match field {
                "description" => "a text",
                "workspace" => "a map",
                "schedules" => "a list of maps",
                "maxConcurrentRuns" => "a whole number from 1 on",
                _ => {
                    let state = value.as_str().unwrap_or_else(|| kind(value));
                    let title = format!("`state` cannot be `{state}`");
                    let hint = format!("one of {}, or leave it out", listed(&STATES));
                    return Err(invalid(call, title, Some(hint)));
                }
            };
            return Err(invalid(call, format!("`{field}` is {}; {needed} is needed", kind(value)), None));
        }
        let value = if field == "schedules" { schedules(value) } else { value.clone() };
        fields.insert(field.to_owned(), value);
    }
    Ok(fields)
}

/// What a map of the script says.
pub(super) fn from_map(call: &Call, given: ScriptMap) -> Result<Map<String, Value>, ScriptError> {
    let known: Vec<&str> = SENT.into_iter().chain([STATE]).chain(EXPORTED).collect();
    let mut given = options(call, given, &known)?;
    given.retain(|field, _| !EXPORTED.contains(&field.as_str()));
    check(call, given)
}

/// What an exported file says. Only what is used of it is read: a token in it goes nowhere.
pub(super) fn from_file(call: &mut Call, path: &str) -> Result<Map<String, Value>, ScriptError> {
    let members: Vec<&str> = SENT.into_iter().chain([STATE]).collect();
    let arguments = json!({ "path": path, "members": members });
    match call.ask_local("tenantry.json", Effect::Read, format!("file `{path}`"), arguments)? {
        Value::Object(given) => {
            if !given.contains_key("workspace") {
                let hint = "export it from the editor, or by `GET /automations/{id}`";
                return Err(invalid(
                    call,
                    format!("`{path}` holds no automation: it has no `workspace`"),
                    Some(hint.to_owned()),
                ));
            }
            check(call, given)
        }
        _ => Err(unexpected(call, "tenantry.json", "an object")),
    }
}
