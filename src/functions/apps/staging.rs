//! Imports: a copy of each version in a shared space, from which it is published.
//!
//! Each import makes another app, so a copy's description carries a digest of what was imported, and a copy that has it
//! is not imported again. Until the description is written, the digest stands in the copy's name: whoever finds such a
//! copy, by a look-up after a lost answer or in a later run, finishes it in place of making a second one. What an app's
//! file says in its own description cannot be taken for ours that way.

use rhai::Map as ScriptMap;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{App, describe, difference, look, moment, newest, shown, subject, text_or};
use crate::event::Change;
use crate::functions::converge;
use crate::functions::marker::Marker;
use crate::functions::options::{invalid, options};
use crate::functions::request::{Ask, text_of, unexpected};
use crate::functions::sources;
use crate::functions::spaces::Space;
use crate::operation::{Digest, Effect, Outcome};
use crate::playbook::{Call, ScriptError};

/// Qlik's query parameters of an import that are passed on as they are.
const PASSED: [&str; 4] = ["NoData", "appId", "fallbackName", "mode"];

/// What the client says when a file that an export left is not there any more.
const GONE: &str = "tenantry/content-gone";

/// Where an app's content comes from.
pub(super) enum Content<'c> {
    /// A file of the project.
    File(&'c str),
    /// An app, exported when it has to be.
    App(&'c App),
}

impl Content<'_> {
    /// What the copy is called when nobody says.
    fn name(&self) -> &str {
        match self {
            Self::File(path) => {
                let file = path.rsplit('/').next().unwrap_or(path);
                file.rsplit_once('.').map_or(file, |(stem, _)| stem)
            }
            Self::App(app) => app.name(),
        }
    }

    /// What says which content it is, in hex.
    ///
    /// Nothing that Qlik Cloud tells of an app is a digest of it. Assumed is that its content is the same for as long as
    /// it is the same app, was not modified (`modifiedDate`) and, with its data, not reloaded (`lastReloadTime`).
    fn digest(&self, call: &mut Call, no_data: bool) -> Result<String, ScriptError> {
        match self {
            Self::File(path) => {
                let arguments = json!({ "path": path });
                let about = call.ask_local("tenantry.file", Effect::Read, format!("file `{path}`"), arguments)?;
                text_of(call, "tenantry.file", &about, "sha256")
            }
            Self::App(app) => {
                let moment = |field: &str| moment(&app.document, field).map(|moment| moment.to_string());
                let loaded = moment("lastReloadTime").filter(|_| !no_data);
                let facts = json!([app.tenant().host_name(), app.id, moment("modifiedDate"), loaded]);
                Ok(Digest(Sha256::digest(facts.to_string()).into()).to_string())
            }
        }
    }

    fn send(
        &self,
        call: &mut Call,
        sha256: &str,
        no_data: bool,
        ask: &dyn Fn() -> Ask,
    ) -> Result<Outcome, ScriptError> {
        let app = match self {
            Self::File(path) => return ask().file(path, sha256).attempt(call),
            Self::App(app) => app,
        };
        sources::let_edit(call, &app.space)?;
        let mut place = export(call, app, no_data)?;
        // In a call that starts again the record answers for an export that was made: it may be of an earlier version.
        if !is_current(call, app, &place)? {
            place = export(call, app, no_data)?;
        }
        let host = app.tenant().host();
        match ask().exported(host, &place, sha256).attempt(call)? {
            Err(failure) if failure.code == GONE => {
                let place = export(call, app, no_data)?;
                ask().exported(host, &place, sha256).attempt(call)
            }
            outcome => Ok(outcome),
        }
    }
}

fn export_subject(app: &App) -> String {
    format!("export of {}", app.subject())
}

/// Has the app exported; gives the path at which its tenant has the file for an hour (apps and temp-contents APIs).
fn export(call: &mut Call, app: &App, no_data: bool) -> Result<String, ScriptError> {
    let mut ask = app.tenant().ask("exportApp", export_subject(app)).var("appId", &app.id);
    if no_data {
        ask = ask.query("NoData", "true");
    }
    match ask.attempt(call)? {
        Ok(response) => match response.headers.get("location").filter(|place| place.starts_with('/')) {
            Some(place) => Ok(place.clone()),
            None => Err(unexpected(call, "exportApp", "the place of the file in `Location`")),
        },
        Err(failure) if matches!(failure.status, Some(403 | 404)) => {
            let hint =
                "whoever exports needs the role producer in the app's space; one that was just given may take a while";
            Err(call.throw(failure.hint(hint)))
        }
        Err(failure) => Err(call.throw(failure)),
    }
}

/// Whether the file that an export left is there and not older than what the app holds now.
fn is_current(call: &mut Call, app: &App, place: &str) -> Result<bool, ScriptError> {
    let id = place.rsplit('/').next().unwrap_or_default();
    let details = app.tenant().ask("getTempFileDetails", export_subject(app)).var("id", id).attempt(call)?;
    let details = match details {
        Ok(response) => response.json().clone(),
        Err(failure) if matches!(failure.status, Some(404 | 410)) => return Ok(false),
        Err(failure) => return Err(call.throw(failure)),
    };
    let changed = ["modifiedDate", "lastReloadTime"].iter().filter_map(|field| moment(&app.document, field)).max();
    Ok(moment(&details, "CreatedAt").is_some_and(|made| changed.is_none_or(|changed| changed <= made)))
}

/// Makes sure that the space has a copy with this content; gives that copy.
pub(super) fn import(
    call: &mut Call,
    space: &Space,
    content: &Content<'_>,
    given: ScriptMap,
) -> Result<App, ScriptError> {
    let known = ["name", "description", "version", PASSED[0], PASSED[1], PASSED[2], PASSED[3]];
    let given = options(call, given, &known)?;
    let name = text_or(call, &given, "name", content.name())?;
    check(call, space, content, &given)?;
    let thing = subject(space, &name);
    call.claim(space.tenant.host_name(), &thing)?;
    let no_data = given.get("NoData").is_some_and(|flag| *flag == json!(true) || *flag == json!("true"));
    let sha256 = content.digest(call, no_data)?;
    let wanted = wanted(call, content, &given, &sha256)?;
    let unfinished = format!("{name} {}", Marker { words: String::new(), version: None, ..wanted.clone() });
    let entries = look(call, space, &name)?;
    let is_it = |copy: &&App| copy.marker().content == wanted.content;
    let described = |copy: &App| copy.document["description"].as_str() == Some(&wanted.to_string());
    if let Some(held) = shown(call, space, &name, &entries)?.iter().find(is_it).filter(|held| described(held)) {
        call.step(converge::earlier(call, &thing), thing, Vec::new());
        return Ok(held.clone());
    }
    let copies = newest(call, space, &name, &entries)?;
    let description = json!({ "description": wanted.to_string() });
    if let Some(held) = copies.iter().find(is_it) {
        let before = held.document["description"].clone();
        let Some(change) = difference("description", before, description["description"].clone()) else {
            call.step(converge::earlier(call, &thing), thing, Vec::new());
            return Ok(held.clone());
        };
        let document = describe(call, space, &held.id, &name, &description)?;
        call.step(Change::Updated, thing, vec![change]);
        return App::of(call, space, "updateAppInfo", document);
    }
    let left = newest(call, space, &unfinished, &entries)?.into_iter().next();
    let id = if let Some(left) = left {
        left.id
    } else {
        let ask = || {
            let ask = space.tenant.ask("importApp", thing.clone()).query("spaceId", &space.id);
            let given = PASSED.iter().filter_map(|option| Some((*option, said(given.get(*option)?)?)));
            given.fold(ask.query("name", &unfinished), |ask, (option, text)| ask.query(option, text))
        };
        let response = content.send(call, &sha256, no_data, &ask)?.map_err(|failure| call.throw(failure))?;
        text_of(call, "importApp", &response.json()["attributes"], "id")?
    };
    let finished = json!({ "name": name, "description": description["description"] });
    let document = describe(call, space, &id, &name, &finished)?;
    let told = |marker: &Marker| marker.content.clone().map_or(Value::Null, Value::from);
    let before = copies.first().map_or(Value::Null, |copy| told(&copy.marker()));
    call.step(Change::Created, thing, difference("content", before, told(&wanted)).into_iter().collect());
    App::of(call, space, "updateAppInfo", document)
}

/// Refuses what cannot come to a good end.
fn check(call: &Call, space: &Space, content: &Content<'_>, given: &Map<String, Value>) -> Result<(), ScriptError> {
    if given.get("mode").is_some_and(|mode| mode.as_str().is_none_or(|mode| !mode.eq_ignore_ascii_case("new"))) {
        let hint = "leave `mode` out: each import makes a new app, and `publish_to` replaces the published one";
        return Err(invalid(call, "the only `mode` open to others than Qlik is `NEW`", Some(hint.to_owned())));
    }
    if let Some(option) = PASSED.iter().find(|option| given.get(**option).is_some_and(|value| said(value).is_none())) {
        return Err(invalid(call, format!("`{option}` is a text or a boolean"), None));
    }
    if space.kind() != "shared" {
        let hint = "import into a shared space and publish from there: `app.publish_to(space)`";
        let title = format!("\"{}\" is a {} space; apps are imported into shared ones", space.name(), space.kind());
        return Err(invalid(call, title, Some(hint.to_owned())));
    }
    match content {
        Content::App(app) if app.space.kind() == "managed" => {
            let title = format!("{} is published: apps of managed spaces cannot be exported", app.subject());
            let hint = "take the app that it was published from, in a shared space";
            Err(invalid(call, title, Some(hint.to_owned())))
        }
        _ => Ok(()),
    }
}

/// An option as the query has it.
fn said(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// What the copy's description shall say. What nobody says of an app's copy, the app itself says.
fn wanted(call: &Call, content: &Content<'_>, given: &Map<String, Value>, sha256: &str) -> Result<Marker, ScriptError> {
    let own = match content {
        Content::File(_) => Marker::default(),
        Content::App(app) => app.marker(),
    };
    Ok(Marker {
        version: match given.get("version") {
            Some(_) => Some(Marker::version_of(&text_or(call, given, "version", "")?)),
            None => own.version,
        },
        words: text_or(call, given, "description", &own.words)?,
        content: Some(Marker::short(sha256)),
    })
}
