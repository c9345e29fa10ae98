use std::sync::Arc;

use rhai::plugin::*;
use rhai::{Array, Map as ScriptMap};
use serde_json::{Map, Value, json};

use super::converge;
use super::items;
use super::marker::Marker;
use super::options::{invalid, options, script, suggestion};
use super::request::{Ask, text_of, unexpected};
use super::spaces::Space;
use super::tenants::Tenant;
use super::waiting;
use crate::event::{Change, FieldChange};
use crate::operation::{Effect, Failure};
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

/// How long a new space may take until it can be published to, in seconds. Qlik's samples try again after a second (deploy
/// content to a tenant); how often is an assumption.
const SETTLED: u64 = 10;

/// How many earlier versions stay in the staging space unless a playbook says otherwise: the one to roll back to.
const KEEP: u64 = 1;

/// Qlik's query parameters of an import that are passed on as they are.
const PASSED: [&str; 4] = ["NoData", "appId", "fallbackName", "mode"];

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

/// All apps of exactly this name in the space, the newest first. Qlik's search finds every name that contains it, and
/// names repeat.
fn named(call: &mut Call, space: &Space, name: &str) -> Result<Vec<App>, ScriptError> {
    let entries = entries(space, Some(name)).list(call)?;
    let mut found = Vec::new();
    for entry in entries.iter().filter(|entry| entry["name"].as_str() == Some(name)) {
        let id = text_of(call, "getItems", entry, "resourceId")?;
        if let Some(document) = attributes(call, space, name, &id)? {
            found.push(App { space: space.clone(), id, document: Arc::new(document) });
        }
    }
    // By the moment, then in the index's order turned round: of two made at once the later entry is the newer.
    found.reverse();
    found.sort_by_key(|app| std::cmp::Reverse(created(app)));
    Ok(found)
}

fn created(app: &App) -> Option<jiff::Timestamp> {
    moment(&app.document, "createdDate")
}

pub(super) fn moment(document: &Value, field: &str) -> Option<jiff::Timestamp> {
    document[field].as_str()?.parse().ok()
}

/// Gives the app this name and description.
fn describe(call: &mut Call, space: &Space, id: &str, name: &str, attributes: &Value) -> Result<Value, ScriptError> {
    let ask = space.tenant.ask("updateAppInfo", subject(space, name)).var("appId", id);
    let response = ask.json(json!({ "attributes": attributes })).send(call)?;
    let document = response.json()["attributes"].clone();
    if document.is_object() { Ok(document) } else { Err(unexpected(call, "updateAppInfo", "`attributes`")) }
}

fn difference(field: &str, before: impl Into<Value>, after: impl Into<Value>) -> Option<FieldChange> {
    let (before, after) = (before.into(), after.into());
    (before != after).then(|| FieldChange { field: field.to_owned(), before, after })
}

fn import(call: &mut Call, space: &Space, file: &str, given: ScriptMap) -> Result<App, ScriptError> {
    let known = ["name", "description", "version", PASSED[0], PASSED[1], PASSED[2], PASSED[3]];
    let given = options(call, given, &known)?;
    let stem = file.rsplit('/').next().unwrap_or(file);
    let stem = stem.rsplit_once('.').map_or(stem, |(stem, _)| stem);
    let name = text_or(call, &given, "name", stem)?;
    if given.get("mode").is_some_and(|mode| mode.as_str().is_none_or(|mode| !mode.eq_ignore_ascii_case("new"))) {
        let hint = "leave `mode` out: each import makes a new app, and `publish_to` replaces the published one";
        return Err(invalid(call, "the only `mode` open to others than Qlik is `NEW`", Some(hint.to_owned())));
    }
    if space.kind() != "shared" {
        let hint = "import into a shared space and publish from there: `app.publish_to(space)`";
        let title = format!("\"{}\" is a {} space; apps are imported into shared ones", space.name(), space.kind());
        return Err(invalid(call, title, Some(hint.to_owned())));
    }
    let thing = subject(space, &name);
    call.claim(space.tenant.host_name(), &thing)?;
    let about = call.ask_local("tenantry.file", Effect::Read, format!("file `{file}`"), json!({ "path": file }))?;
    let sha256 = text_of(call, "tenantry.file", &about, "sha256")?;
    let wanted = Marker {
        version: match given.get("version") {
            Some(_) => Some(Marker::version_of(&text_or(call, &given, "version", "")?)),
            None => None,
        },
        words: text_or(call, &given, "description", "")?,
        content: Some(Marker::short(&sha256)),
    };
    let copies = named(call, space, &name)?;
    let told = |marker: &Marker| marker.content.clone().map_or(Value::Null, Value::from);
    let description = json!({ "description": wanted.to_string() });
    if let Some(held) = copies.iter().find(|copy| copy.marker().content == wanted.content) {
        let before = held.document["description"].clone();
        let Some(change) = difference("description", before, description["description"].clone()) else {
            call.step(converge::earlier(call, &thing), thing, Vec::new());
            return Ok(held.clone());
        };
        let document = describe(call, space, &held.id, &name, &description)?;
        call.step(Change::Updated, thing, vec![change]);
        return App::of(call, space, "updateAppInfo", document);
    }
    let mut ask = space.tenant.ask("importApp", thing.clone()).query("spaceId", &space.id).query("name", &name);
    for option in PASSED {
        match given.get(option) {
            Some(Value::String(text)) => ask = ask.query(option, text),
            Some(Value::Bool(flag)) => ask = ask.query(option, flag.to_string()),
            Some(_) => return Err(invalid(call, format!("`{option}` is a text or a boolean"), None)),
            None => {}
        }
    }
    let response = ask.file(file, &sha256).send(call)?;
    let id = text_of(call, "importApp", &response.json()["attributes"], "id")?;
    let document = describe(call, space, &id, &name, &description)?;
    let before = copies.first().map_or(Value::Null, |copy| told(&copy.marker()));
    call.step(Change::Created, thing, difference("content", before, told(&wanted)).into_iter().collect());
    App::of(call, space, "updateAppInfo", document)
}

fn text_or(call: &Call, given: &Map<String, Value>, field: &str, otherwise: &str) -> Result<String, ScriptError> {
    match given.get(field) {
        None => Ok(otherwise.to_owned()),
        Some(_) => super::options::text(call, given, field),
    }
}

/// What is published from `app` in a managed space: by where it came from, else by its name.
fn published(call: &mut Call, app: &App, space: &Space, name: &str) -> Result<Option<App>, ScriptError> {
    let entries = entries(space, None).list(call)?;
    let came = |entry: &&Value| entry["resourceAttributes"]["originAppId"].as_str() == Some(&app.id);
    let called = |entry: &&Value| entry["name"].as_str() == Some(name);
    let found = entries.iter().find(|entry| came(entry) && called(entry));
    let Some(entry) = found.or_else(|| entries.iter().find(called)).or_else(|| entries.iter().find(came)) else {
        return Ok(None);
    };
    items::saw(call, &space.tenant, entry);
    let id = text_of(call, "getItems", entry, "resourceId")?;
    let document = attributes(call, space, name, &id)?;
    Ok(document.map(|document| App { space: space.clone(), id, document: Arc::new(document) }))
}

fn publish(call: &mut Call, app: &App, space: &Space, given: ScriptMap) -> Result<App, ScriptError> {
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
    let target = published(call, app, space, &name)?;
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

/// Removes earlier copies of an app from its space: those that a playbook imported, but for the newest `keep`.
fn tidy(call: &mut Call, app: &App, keep: u64) -> Result<(), ScriptError> {
    let own = app.marker();
    if own.content.is_none() {
        return Ok(());
    }
    let copies = named(call, &app.space, app.name())?;
    let others = copies.into_iter().filter(|copy| copy.id != app.id && copy.marker().content.is_some());
    for copy in others.skip(usize::try_from(keep).unwrap_or(usize::MAX)) {
        remove(call, &copy)?;
        let version = copy.marker().version.map(|version| format!(" v{version}")).unwrap_or_default();
        call.step(Change::Deleted, format!("earlier{version} {}", subject(&app.space, app.name())), Vec::new());
    }
    Ok(())
}

fn remove(call: &mut Call, app: &App) -> Result<(), ScriptError> {
    app.tenant().ask("deleteApp", subject(&app.space, app.name())).var("appId", &app.id).remove(call)
}

fn roll_back(call: &mut Call, live: &App, staging: &Space, given: ScriptMap) -> Result<App, ScriptError> {
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

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// The apps of a space.
    #[rhai_fn(get = "apps", pure)]
    pub fn apps(space: &mut Space) -> Apps {
        Apps(space.clone())
    }

    /// Makes sure the space has an app with the content of this file; gives that copy. It is called as the file is, without
    /// its ending.
    ///
    /// A file that was imported before is not imported again: the app's description holds a digest of it. A changed file
    /// makes another app of the same name beside the earlier one, as each import does; `publish_to` tidies them. The file
    /// is streamed, whatever its size.
    ///
    /// - `file`: its place in the project.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let staging = tenant.spaces.ensure("Staging", "shared");
    /// let app = staging.import_app("content/apps/Shipment Tracking.qvf");
    /// ```
    #[rhai_fn(name = "import_app", pure, return_raw)]
    pub fn import_plain(context: NativeCallContext, space: &mut Space, file: &str) -> Result<App, Box<EvalAltResult>> {
        import(&mut Call::begin(&context, "space.import_app")?, space, file, ScriptMap::new())
    }

    /// Makes sure the space has an app with the content of this file, with these options.
    ///
    /// - `file`: its place in the project.
    /// - `options`: `name`; `description` and `version` (`"2.3.0"`), which the app's description says together with a digest
    ///   of the file; and Qlik's own `NoData`, `fallbackName`, `appId` and `mode`, which count when the file is imported.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let staging = tenant.spaces.ensure("Staging", "shared");
    /// staging.import_app("content/apps/Shipment Tracking.qvf", #{ name: "Tracking", version: "2.3.0", NoData: true });
    /// ```
    #[rhai_fn(name = "import_app", pure, return_raw)]
    pub fn import_with(
        context: NativeCallContext,
        space: &mut Space,
        file: &str,
        options: ScriptMap,
    ) -> Result<App, Box<EvalAltResult>> {
        import(&mut Call::begin(&context, "space.import_app")?, space, file, options)
    }

    /// Makes sure this app is what is published in the managed space; gives the published app.
    ///
    /// The first time it is published. Later, what is published is replaced when its content, version or description
    /// differs; it keeps its id and what its users have made in it. Earlier copies beside `app` are then removed, but for
    /// one to roll back to; only copies that a playbook imported are.
    ///
    /// - `space`: a managed space of the same tenant.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let app = tenant.spaces.ensure("Staging", "shared").import_app("content/apps/Shipment Tracking.qvf");
    /// app.publish_to(tenant.spaces.ensure("Production", "managed"));
    /// ```
    #[rhai_fn(name = "publish_to", pure, return_raw)]
    pub fn publish_plain(context: NativeCallContext, app: &mut App, space: Space) -> Result<App, Box<EvalAltResult>> {
        publish(&mut Call::begin(&context, "app.publish_to")?, app, &space, ScriptMap::new())
    }

    /// Makes sure this app is what is published in the managed space, with these options.
    ///
    /// - `space`: a managed space of the same tenant.
    /// - `options`: `name` and `description` of the published app, those of `app` unless given; `data`, whose data stays
    ///   when it is replaced: `"source"` or `"target"`; `checkOriginAppId`, false unless given; `keep`, how many earlier
    ///   copies stay: 1 unless given.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let app = tenant.spaces.ensure("Staging", "shared").import_app("content/apps/Shipment Tracking.qvf");
    /// app.publish_to(tenant.spaces.ensure("Production", "managed"), #{ data: "target", keep: 2 });
    /// ```
    #[rhai_fn(name = "publish_to", pure, return_raw)]
    pub fn publish_with(
        context: NativeCallContext,
        app: &mut App,
        space: Space,
        options: ScriptMap,
    ) -> Result<App, Box<EvalAltResult>> {
        publish(&mut Call::begin(&context, "app.publish_to")?, app, &space, options)
    }

    /// Publishes the version before the one that is published now, from the copy that `publish_to` has kept. Called again
    /// it goes back one further, or fails when there is none.
    ///
    /// - `staging`: the space in which the copies lie.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let staging = tenant.spaces.ensure("Staging", "shared");
    /// let production = tenant.spaces.ensure("Production", "managed");
    /// let first = staging.import_app("content/apps/Shipment Tracking.qvf", #{ name: "Tracking" });
    /// first.publish_to(production);
    /// let live = staging.import_app("content/apps/Carrier Scorecard.qvf", #{ name: "Tracking" }).publish_to(production);
    /// live.rollback(staging);
    /// ```
    #[rhai_fn(name = "rollback", pure, return_raw)]
    pub fn rollback_plain(
        context: NativeCallContext,
        app: &mut App,
        staging: Space,
    ) -> Result<App, Box<EvalAltResult>> {
        roll_back(&mut Call::begin(&context, "app.rollback")?, app, &staging, ScriptMap::new())
    }

    /// Publishes an earlier version with these options.
    ///
    /// - `staging`: the space in which the copies lie.
    /// - `options`: `version`, the one to go back to, which changes nothing when it is published already; `data`, whose data
    ///   stays: `"source"` or `"target"`.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let staging = tenant.spaces.ensure("Staging", "shared");
    /// let production = tenant.spaces.ensure("Production", "managed");
    /// let app = staging.import_app("content/apps/Shipment Tracking.qvf", #{ version: "2.2.0" });
    /// app.publish_to(production).rollback(staging, #{ version: "2.2.0", data: "target" });
    /// ```
    #[rhai_fn(name = "rollback", pure, return_raw)]
    pub fn rollback_with(
        context: NativeCallContext,
        app: &mut App,
        staging: Space,
        options: ScriptMap,
    ) -> Result<App, Box<EvalAltResult>> {
        roll_back(&mut Call::begin(&context, "app.rollback")?, app, &staging, options)
    }

    /// Makes sure the app has this name or description. What its description says of content and version stays.
    ///
    /// - `options`: `name`, `description`. What is left out is left as it is.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let staging = tenant.spaces.ensure("Staging", "shared");
    /// staging.import_app("content/apps/Shipment Tracking.qvf").update(#{ description: "Where every shipment is" });
    /// ```
    #[rhai_fn(name = "update", pure, return_raw)]
    pub fn update_app(
        context: NativeCallContext,
        app: &mut App,
        options: ScriptMap,
    ) -> Result<App, Box<EvalAltResult>> {
        update(&mut Call::begin(&context, "app.update")?, app, options)
    }

    /// The app of this name in the space, the newest when there are several; an error when there is none.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let staging = tenant.spaces.ensure("Staging", "shared");
    /// staging.import_app("content/apps/Shipment Tracking.qvf");
    /// log(staging.apps.get("Shipment Tracking").id);
    /// ```
    #[rhai_fn(name = "get", pure, return_raw)]
    pub fn get_app(context: NativeCallContext, apps: &mut Apps, name: &str) -> Result<App, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "space.apps.get")?;
        match named(&mut call, &apps.0, name)?.into_iter().next() {
            Some(app) => Ok(app),
            None => Err(call.throw(apps.0.tenant.lacks(&subject(&apps.0, name)))),
        }
    }

    /// The app of this name in the space, the newest when there are several, or `()`.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let staging = tenant.spaces.ensure("Staging", "shared");
    /// if staging.apps.find("Shipment Tracking") == () { log("not yet"); }
    /// ```
    #[rhai_fn(name = "find", pure, return_raw)]
    pub fn find_app(context: NativeCallContext, apps: &mut Apps, name: &str) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "space.apps.find")?;
        Ok(named(&mut call, &apps.0, name)?.into_iter().next().map_or(Dynamic::UNIT, Dynamic::from))
    }

    /// All apps of the space, as the tenant's index has them.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// for app in tenant.spaces.ensure("Staging", "shared").apps.list() { log(app.name); }
    /// ```
    #[rhai_fn(name = "list", pure, return_raw)]
    pub fn list_apps(context: NativeCallContext, apps: &mut Apps) -> Result<Array, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "space.apps.list")?;
        let found = entries(&apps.0, None).list(&mut call)?;
        let handle = |entry: Value| {
            let id = text_of(&call, "getItems", &entry, "resourceId")?;
            let mut document = entry["resourceAttributes"].clone();
            for field in ["name", "description"] {
                document[field] = entry[field].clone();
            }
            document["id"] = json!(id);
            Ok(Dynamic::from(App { space: apps.0.clone(), id, document: Arc::new(document) }))
        };
        found.into_iter().map(handle).collect()
    }

    /// Removes every app of this name from the space. Nothing happens when there is none.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.spaces.ensure("Staging", "shared").apps.delete("Shipment Tracking");
    /// ```
    #[rhai_fn(name = "delete", pure, return_raw)]
    pub fn delete_app(context: NativeCallContext, apps: &mut Apps, name: &str) -> Result<(), Box<EvalAltResult>> {
        delete(&mut Call::begin(&context, "space.apps.delete")?, &apps.0, name)
    }

    /// The app's id.
    #[rhai_fn(get = "id", pure)]
    pub fn id(app: &mut App) -> String {
        app.id.clone()
    }

    /// The app's name.
    #[rhai_fn(get = "name", pure)]
    pub fn name(app: &mut App) -> String {
        app.name().to_owned()
    }

    /// The version that its description says, or `()`.
    #[rhai_fn(get = "version", pure)]
    pub fn version(app: &mut App) -> Dynamic {
        app.marker().version.map_or(Dynamic::UNIT, Dynamic::from)
    }

    /// The app's attributes as Qlik describes them.
    #[rhai_fn(get = "document", pure, return_raw)]
    pub fn document(context: NativeCallContext, app: &mut App) -> Result<Dynamic, Box<EvalAltResult>> {
        script(&Call::begin(&context, "app.document")?, &app.document)
    }

    /// The app as text: its name and its space.
    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn to_text(app: &mut App) -> String {
        subject(&app.space, app.name())
    }
}
