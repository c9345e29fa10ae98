//! Publishing: which of the staged copies users see.

use std::sync::Arc;

use rhai::Map as ScriptMap;
use serde_json::{Map, Value, json};

use super::{App, attributes, difference, entries, listing, moment, named, newest, remove, subject, text_or, wrote};
use crate::event::Change;
use crate::functions::converge;
use crate::functions::items;
use crate::functions::marker::Marker;
use crate::functions::options::{invalid, options, suggestion};
use crate::functions::spaces::Space;
use crate::functions::waiting;
use crate::operation::Failure;
use crate::playbook::{Call, ScriptError};

/// How long a new space may take until it can be published to, in seconds. Qlik's samples try again after a second (deploy
/// content to a tenant); how often is an assumption.
const SETTLED: u64 = 10;

/// How many earlier versions stay in the staging space unless a playbook says otherwise: the one to roll back to.
const KEEP: u64 = 1;

/// What is published from `app` in a managed space, as the index shows it: by where it came from, else by its name.
fn published(call: &mut Call, app: &App, space: &Space, name: &str) -> Result<Option<App>, ScriptError> {
    let entries = match listing(call, space).noted(call, name) {
        Some(list) => list,
        None => entries(space, None).list(call)?,
    };
    let came = |entry: &&Value| entry["resourceAttributes"]["originAppId"].as_str() == Some(&app.id);
    let called = |entry: &&Value| entry["name"].as_str() == Some(name);
    let found = entries.iter().find(|entry| came(entry) && called(entry));
    let Some(entry) = found.or_else(|| entries.iter().find(called)).or_else(|| entries.iter().find(came)) else {
        return Ok(None);
    };
    items::saw(call, &space.tenant, entry);
    App::listed(call, space, entry).map(Some)
}

pub(super) fn publish(call: &mut Call, app: &App, space: &Space, given: ScriptMap) -> Result<App, ScriptError> {
    let given = options(call, given, &["name", "description", "data", "checkOriginAppId", "keep"])?;
    let name = text_or(call, &given, "name", app.name())?;
    let keep = match given.get("keep") {
        None => KEEP,
        Some(keep) => keep.as_u64().ok_or_else(|| invalid(call, "`keep` is a whole number from 0", None))?,
    };
    if space.kind() != "managed" {
        let title = format!("\"{}\" is a {} space; apps are published to managed ones", space.name(), space.kind());
        return Err(invalid(call, title, None));
    }
    if space.tenant.host_name() != app.tenant().host_name() {
        return Err(invalid(call, format!("\"{}\" belongs to another tenant", space.name()), None));
    }
    let mut marker = app.marker();
    if given.contains_key("description") {
        marker.words = text_or(call, &given, "description", "")?;
    }
    let thing = subject(space, &name);
    call.claim(space.tenant.host_name(), &thing)?;
    let shown = published(call, app, space, &name)?;
    let is_current = |target: &App| {
        let content = if marker.content.is_some() {
            target.marker().content == marker.content
        } else {
            // Not imported by a playbook: then it is current while nobody has changed its origin since.
            let came = target.document["originAppId"].as_str() == Some(&app.id);
            came && moment(&app.document, "modifiedDate") <= moment(&target.document, "publishTime")
        };
        content && target.name() == name && target.document["description"].as_str() == Some(&marker.to_string())
    };
    // The index is enough to see that nothing is to be done, when what it shows can be told from what is wanted.
    let enough = |shown: &App| marker.content.is_some() && is_current(shown);
    let target = match shown {
        Some(shown) if !enough(&shown) => {
            let document = attributes(call, space, &name, &shown.id)?;
            document.map(|document| App { document: Arc::new(document), ..shown })
        }
        shown => shown,
    };
    if let Some(current) = target.as_ref().filter(|target| is_current(target)) {
        let change = converge::earlier(call, &thing);
        call.step(change, thing, Vec::new());
        if change.is_write() {
            tidy(call, app, keep)?;
        }
        return Ok(current.clone());
    }
    let published = send(call, app, space, &name, &marker, target.as_ref(), &given)?;
    tidy(call, app, keep)?;
    Ok(published)
}

/// Publishes, or replaces what is published and keeps its id and what its users have made in it. Tells the step.
fn send(
    call: &mut Call,
    app: &App,
    space: &Space,
    name: &str,
    marker: &Marker,
    target: Option<&App>,
    given: &Map<String, Value>,
) -> Result<App, ScriptError> {
    let thing = subject(space, name);
    wrote(call, space, name);
    let mut body = json!({ "attributes": { "name": name, "description": marker.to_string() } });
    match given.get("data") {
        None => {}
        Some(Value::String(data)) if ["source", "target"].contains(&data.as_str()) => body["data"] = json!(data),
        Some(other) => {
            let hint = other.as_str().map(|other| suggestion(other, &["source", "target"]));
            return Err(invalid(call, "`data` is `source` or `target`: whose data stays", hint));
        }
    }
    let operation = if target.is_some() { "republishApp" } else { "publishApp" };
    match target {
        Some(target) => {
            body["targetId"] = json!(target.id);
            // Each version is another app, and the published one keeps its id.
            body["checkOriginAppId"] = given.get("checkOriginAppId").cloned().unwrap_or(json!(false));
        }
        None => body["spaceId"] = json!(space.id),
    }
    let ask = || space.tenant.ask(operation, thing.clone()).var("appId", &app.id).json(body.clone());
    // A space made a moment ago may not be there yet for who publishes to it.
    let early = |failure: &Failure| target.is_none() && failure.status == Some(404);
    let published = waiting::wait(call, SETTLED, |call| match ask().attempt(call)? {
        Ok(response) => Ok(Some(response)),
        Err(failure) if early(&failure) => Ok(None),
        Err(failure) => Err(call.throw(failure)),
    })?;
    let published = match published {
        Some(response) => response,
        None => ask().send(call)?,
    };
    let document = published.json()["attributes"].clone();
    let before = target.map(App::marker).unwrap_or_default();
    let told = |text: Option<String>| text.map_or(Value::Null, Value::from);
    let changes = [
        difference("version", told(before.version), told(marker.version.clone())),
        difference("content", told(before.content), told(marker.content.clone())),
        difference("description", told(target.map(|_| before.words)), told(Some(marker.words.clone()))),
    ];
    let change = if target.is_some() { Change::Updated } else { Change::Created };
    call.step(change, thing, changes.into_iter().flatten().collect());
    App::of(call, space, operation, document)
}

/// Removes earlier copies of an app from its space: those that a playbook imported, but for the newest `keep`, and those that
/// were never finished.
fn tidy(call: &mut Call, app: &App, keep: u64) -> Result<(), ScriptError> {
    let own = app.marker();
    if own.content.is_none() {
        return Ok(());
    }
    let entries = entries(&app.space, Some(app.name())).list(call)?;
    for entry in &entries {
        let name = entry["name"].as_str().unwrap_or_default();
        let marker = Marker::read(name);
        if marker.content.is_none() || marker.words != app.name() {
            continue;
        }
        // The index lags: an app that has its name by now is finished.
        for left in
            newest(call, &app.space, name, std::slice::from_ref(entry))?.iter().filter(|left| left.name() == name)
        {
            remove(call, left)?;
            call.step(Change::Deleted, format!("unfinished {}", subject(&app.space, app.name())), Vec::new());
        }
    }
    let copies = newest(call, &app.space, app.name(), &entries)?;
    let others = copies.into_iter().filter(|copy| copy.id != app.id && copy.marker().content.is_some());
    for copy in others.skip(usize::try_from(keep).unwrap_or(usize::MAX)) {
        remove(call, &copy)?;
        let version = copy.marker().version.map(|version| format!(" v{version}")).unwrap_or_default();
        call.step(Change::Deleted, format!("earlier{version} {}", subject(&app.space, app.name())), Vec::new());
    }
    Ok(())
}

pub(super) fn roll_back(call: &mut Call, live: &App, staging: &Space, given: ScriptMap) -> Result<App, ScriptError> {
    let mut given = options(call, given, &["version", "data"])?;
    if live.space.kind() != "managed" {
        return Err(invalid(call, format!("{} is not published", subject(&live.space, live.name())), None));
    }
    let wanted = given.shift_remove("version");
    let thing = subject(&live.space, live.name());
    call.claim(live.tenant().host_name(), &thing)?;
    let Some(live) = attributes(call, &live.space, live.name(), &live.id)?
        .map(|document| App { document: Arc::new(document), ..live.clone() })
    else {
        return Err(call.throw(live.tenant().lacks(&thing)));
    };
    let copies: Vec<App> =
        named(call, staging, live.name())?.into_iter().filter(|copy| copy.marker().content.is_some()).collect();
    let is_live = |copy: &&App| copy.marker().content == live.marker().content;
    let earlier = match &wanted {
        Some(version) => {
            let version = version.as_str().map(Marker::version_of);
            copies.iter().find(|copy| copy.marker().version == version)
        }
        None => copies.iter().skip_while(|copy| !is_live(copy)).find(|copy| !is_live(copy)),
    };
    let Some(earlier) = earlier else {
        let kept: Vec<String> = copies.iter().filter_map(|copy| copy.marker().version).collect();
        let mut failure = live.tenant().lacks(&format!("earlier version of {thing} to go back to"));
        failure.hint = Some(if kept.is_empty() {
            format!("`publish_to` keeps one earlier copy in space \"{}\"; `keep` says how many", staging.name())
        } else {
            format!("space \"{}\" has the versions {}", staging.name(), kept.join(", "))
        });
        return Err(call.throw(failure));
    };
    if is_live(&earlier) {
        call.step(converge::earlier(call, &thing), thing, Vec::new());
        return Ok(live);
    }
    send(call, earlier, &live.space, live.name(), &earlier.marker(), Some(&live), &given)
}
