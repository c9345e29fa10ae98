//! Data files: what the apps of a space load, uploaded only when their content differs.
//!
//! Nothing that Qlik Cloud tells of a data file is a digest of it. So after each upload a *mark* is kept in the state file:
//! what was sent, and what the service then told of the file. A file that is as its mark says, in everything that is told of
//! it, has that content; of any other nobody knows, and it is uploaded anew, which may be repeated.

use rhai::plugin::*;
use rhai::{Array, Map as ScriptMap};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::converge::{self, Resource, Updated};
use super::listing;
use super::options::{invalid, options, script, script_or_unit, scripts, text};
use super::request::{Ask, text_of, unexpected};
use super::spaces::Space;
use crate::event::FieldChange;
use crate::operation::{Content, Digest, Effect, Outcome, Response};
use crate::playbook::{Call, ScriptError};

/// `space.data_files`.
#[derive(Clone, Debug)]
pub(super) struct DataFiles(Space);

/// How many bytes Qlik Cloud takes in one upload (`maxFileSize` in the data-files specification's example of quotas). Larger
/// ones would have to go by temporary content, in pieces.
const MOST: u64 = 524_288_000;

/// Signs that no name may have (data-files specification).
const FORBIDDEN: [char; 8] = ['<', '>', '"', ':', '\0', '|', '?', '*'];

/// The digest of what is wanted, among the fields that are compared.
const CONTENT: &str = "content";

/// What is told of a file and changes with it (data-files specification).
const TOLD: [&str; 5] = ["id", "size", "createdDate", "modifiedDate", "contentUpdatedDate"];

struct Wanted<'s> {
    space: &'s Space,
    /// With its folders.
    name: String,
    content: Content,
    sha256: String,
    size: u64,
    fields: Map<String, Value>,
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
        let arguments = json!({ "name": mark_name(self.space, &self.name) });
        let mark = call.ask_local("tenantry.findMark", Effect::Read, self.subject(), arguments)?;
        if TOLD.into_iter().all(|field| mark[field] == held[field]) {
            held[CONTENT] = mark["sha256"].clone();
        } else if self.is_just_made(call, &held)? {
            held[CONTENT] = json!(self.sha256);
        }
        Ok(Some(held))
    }

    fn create(&self, call: &mut Call) -> Result<Outcome, ScriptError> {
        match self.post(call)? {
            // A look-up after a lost answer may have found somebody else's.
            Ok(answer) if !self.is_sized(&answer) => self.put(call, answer.json()).map(Ok),
            outcome => Ok(outcome),
        }
    }

    fn update(&self, call: &mut Call, current: &Value, _: &[FieldChange]) -> Result<Updated, ScriptError> {
        Ok(Updated::To(self.put(call, current)?.json().clone()))
    }
}

impl Wanted<'_> {
    /// What is noted of a file that has the wanted content.
    fn mark(&self, held: &Value) -> Value {
        let told = TOLD.into_iter().map(|field| (field.to_owned(), held[field].clone()));
        let mut mark: Map<String, Value> = told.collect();
        mark.insert("sha256".to_owned(), json!(self.sha256));
        mark.into()
    }

    fn note(&self, call: &mut Call, held: &Value) -> Result<(), ScriptError> {
        note(call, self.space, &self.name, self.mark(held))
    }

    /// Whether this very call made the file before it had to start again. The record then answers for what is not sent once
    /// more; where the content is another by now, there is nothing on record, and Qlik Cloud refuses a second file.
    fn is_just_made(&self, call: &mut Call, held: &Value) -> Result<bool, ScriptError> {
        if !call.written(&self.subject()).contains(&Effect::Create) {
            return Ok(false);
        }
        let made = self.post(call)?;
        // A look-up may have taken somebody else's file for this one.
        Ok(made.is_ok_and(|made| self.is_sized(&made) && self.mark(made.json()) == self.mark(held)))
    }

    fn post(&self, call: &mut Call) -> Result<Outcome, ScriptError> {
        let ask = self.space.tenant.ask("uploadDataFile", self.subject());
        let outcome = self.with_content(call, ask)?.attempt(call)?;
        if let Ok(answer) = &outcome
            && self.is_sized(answer)
        {
            self.note(call, answer.json())?;
        }
        Ok(outcome)
    }

    fn put(&self, call: &mut Call, held: &Value) -> Result<Response, ScriptError> {
        let id = text_of(call, "getDataFiles", held, "id")?;
        let ask = self.space.tenant.ask("reuploadDataFile", self.subject()).var("id", id);
        let answer = self.with_content(call, ask)?.send(call)?;
        self.note(call, answer.json())?;
        Ok(answer)
    }

    fn is_sized(&self, answer: &Response) -> bool {
        answer.json()["size"] == json!(self.size)
    }

    /// The space is named each time: a file that is uploaded anew without it goes to the personal space (data-files
    /// specification).
    fn with_content(&self, call: &mut Call, ask: Ask) -> Result<Ask, ScriptError> {
        let about = json!({ "name": self.name, "connectionId": connection(call, self.space)? });
        Ok(ask.part("Json", None, Content::Json(about)).part("File", Some(base(&self.name)), self.content.clone()))
    }
}

fn subject(space: &Space, name: &str) -> String {
    format!("data file \"{name}\" in space \"{}\"", space.name())
}

/// The name without its folders.
fn base(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn mark_name(space: &Space, name: &str) -> String {
    format!("data file {} {} {name}", space.tenant.host_name(), space.id)
}

/// Notes in the state file what is known of a file; `null` when it is gone.
fn note(call: &mut Call, space: &Space, name: &str, mark: Value) -> Result<(), ScriptError> {
    let arguments = json!({ "name": mark_name(space, name), "mark": mark });
    // Nothing in Qlik Cloud changes.
    call.ask_local("tenantry.noteMark", Effect::Probe, subject(space, name), arguments).map(drop)
}

/// The id of the built-in connection by which the space's files are reached; asked for once in a branch.
fn connection(call: &mut Call, space: &Space) -> Result<String, ScriptError> {
    let known = listing::note(call, &space.tenant, &format!("data files of {}", space.id));
    if let Some(Value::String(id)) = call.note(&known) {
        return Ok(id);
    }
    let operation = "getDataFilesConnections";
    let ask = space.tenant.ask(operation, format!("data files of space \"{}\"", space.name()));
    let held = ask.query("spaceId", &space.id).list(call)?;
    let Some(held) = held.iter().find(|held| held["spaceId"].as_str() == Some(&space.id)) else {
        return Err(unexpected(call, operation, &format!("the connection of space \"{}\"", space.name())));
    };
    let id = text_of(call, operation, held, "id")?;
    call.set_note(&known, json!(id));
    Ok(id)
}

fn all(call: &mut Call, space: &Space) -> Result<Ask, ScriptError> {
    let connection = connection(call, space)?;
    let ask = space.tenant.ask("getDataFiles", format!("data files of space \"{}\"", space.name()));
    Ok(ask.query("connectionId", connection).query("limit", "100"))
}

/// The file of exactly this name. Whether the list's `name` means it with or without its folders is not published: so what is
/// asked for is all that is called so in any folder.
fn named(call: &mut Call, space: &Space, name: &str) -> Result<Option<Value>, ScriptError> {
    let found = all(call, space)?.query("baseNameWildcard", base(name)).list(call)?;
    Ok(found.into_iter().find(|held| held["name"].as_str() == Some(name)))
}

fn get(call: &mut Call, space: &Space, name: &str) -> Result<Value, ScriptError> {
    match named(call, space, name)? {
        Some(held) => Ok(held),
        None => Err(call.throw(space.tenant.lacks(&subject(space, name)))),
    }
}

fn check_name(call: &Call, name: &str) -> Result<(), ScriptError> {
    if name.contains(FORBIDDEN) || name.contains(char::is_control) {
        let hint = "none of < > \" : | ? * may be in it, nor a control character";
        return Err(invalid(call, format!("`{name}` cannot name a data file"), Some(hint.to_owned())));
    }
    let odd = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains('\\');
    if name.split('/').any(odd) {
        let hint = "name it with its folders, one `/` before each: `rates/2026.csv`";
        return Err(invalid(call, format!("`{name}` cannot name a data file"), Some(hint.to_owned())));
    }
    if base(name).rsplit_once('.').is_none_or(|(_, ending)| ending.is_empty()) {
        let hint = "apps see by it how to load the file: `rates.csv`";
        return Err(invalid(call, format!("the name `{name}` has no ending"), Some(hint.to_owned())));
    }
    Ok(())
}

fn ensure(call: &mut Call, space: &Space, name: &str, given: ScriptMap) -> Result<Value, ScriptError> {
    let given = options(call, given, &["file", CONTENT])?;
    check_name(call, name)?;
    let (content, sha256, size) = match (given.get("file"), given.get(CONTENT)) {
        (Some(_), None) => {
            let path = text(call, &given, "file")?;
            let arguments = json!({ "path": path });
            let about = call.ask_local("tenantry.file", Effect::Read, format!("file `{path}`"), arguments)?;
            let sha256 = text_of(call, "tenantry.file", &about, "sha256")?;
            let size = about["size"].as_u64().unwrap_or_default();
            (Content::File { path: path.into(), sha256: sha256.clone() }, sha256, size)
        }
        (None, Some(_)) => {
            let text = text(call, &given, CONTENT)?;
            let (sha256, size) = (Digest(Sha256::digest(&text).into()).to_string(), text.len() as u64);
            (Content::Text(text), sha256, size)
        }
        _ => {
            let hint = "`file`, a file of the project, or `content`, a text";
            return Err(invalid(call, "a data file needs one source of its content", Some(hint.to_owned())));
        }
    };
    if size > MOST {
        let title = format!("`{name}` has {} MB; Qlik Cloud takes {} MB in one upload", size >> 20, MOST >> 20);
        return Err(call.refuse("tenantry/data-file-too-large", title));
    }
    let fields = Map::from_iter([(CONTENT.to_owned(), json!(sha256))]);
    let wanted = Wanted { space, name: name.to_owned(), content, sha256, size, fields };
    let mut document = converge::ensure(call, &wanted)?.document;
    if let Some(map) = document.as_object_mut() {
        map.shift_remove(CONTENT);
    }
    Ok(document)
}

fn delete(call: &mut Call, space: &Space, name: &str) -> Result<(), ScriptError> {
    let thing = subject(space, name);
    let find = |call: &mut Call| named(call, space, name);
    converge::remove(call, space.tenant.host_name(), &thing, find, |call, held| {
        let id = text_of(call, "getDataFiles", held, "id")?;
        space.tenant.ask("deleteDataFile", &thing).var("id", id).remove(call)?;
        note(call, space, name, Value::Null)
    })
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// The files that the space's apps load.
    #[rhai_fn(get = "data_files", pure)]
    pub fn data_files(space: &mut Space) -> DataFiles {
        DataFiles(space.clone())
    }

    /// Makes sure the space has a data file of this name with this content; gives it as Qlik describes it.
    ///
    /// Qlik Cloud tells no digest of a data file. So what was sent is noted in the project's state file, with what Qlik Cloud
    /// then told of the file: id, size and dates. A file that is still so is left alone; every other is uploaded anew, as after a
    /// change by somebody else, or from another state file. An undo deletes what was made; what was replaced is not kept.
    ///
    /// - `name`: exact, case matters; with its folders (`rates/2026.csv`), which are made when they are missing.
    /// - `options`: `file`, a file of the project, streamed when it is sent; or `content`, a text. At most 500 MB.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let staging = tenant.spaces.ensure("Staging", "shared");
    /// staging.data_files.ensure("carriers.csv", #{ content: render_text("code,name\n{{ code }},{{ name }}\n", customer) });
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_data_file(
        context: NativeCallContext,
        files: &mut DataFiles,
        name: &str,
        options: ScriptMap,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "space.data_files.ensure")?;
        let document = ensure(&mut call, &files.0, name, options)?;
        script(&call, &document)
    }

    /// The data file of this name as Qlik describes it; an error when there is none.
    ///
    /// - `name`: exact, with its folders; case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let staging = tenant.spaces.ensure("Staging", "shared");
    /// staging.data_files.ensure("carriers.csv", #{ content: "code,name\n" });
    /// log(`${staging.data_files.get("carriers.csv").size} bytes`);
    /// ```
    #[rhai_fn(name = "get", pure, return_raw)]
    pub fn get_data_file(
        context: NativeCallContext,
        files: &mut DataFiles,
        name: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "space.data_files.get")?;
        let document = get(&mut call, &files.0, name)?;
        script(&call, &document)
    }

    /// The data file of this name as Qlik describes it, or `()`.
    ///
    /// - `name`: exact, with its folders; case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let staging = tenant.spaces.ensure("Staging", "shared");
    /// if staging.data_files.find("carriers.csv") == () { log("not yet"); }
    /// ```
    #[rhai_fn(name = "find", pure, return_raw)]
    pub fn find_data_file(
        context: NativeCallContext,
        files: &mut DataFiles,
        name: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "space.data_files.find")?;
        let found = named(&mut call, &files.0, name)?;
        script_or_unit(&call, found.as_ref())
    }

    /// All data files of the space, in whatever folder, as Qlik describes them.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let staging = tenant.spaces.ensure("Staging", "shared");
    /// for held in staging.data_files.list() { log(held.name); }
    /// ```
    #[rhai_fn(name = "list", pure, return_raw)]
    pub fn list_data_files(context: NativeCallContext, files: &mut DataFiles) -> Result<Array, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "space.data_files.list")?;
        let found = all(&mut call, &files.0)?.list(&mut call)?;
        scripts(&call, &found)
    }

    /// Makes sure the space has no data file of this name. Its folders stay.
    ///
    /// - `name`: exact, with its folders; case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let staging = tenant.spaces.ensure("Staging", "shared");
    /// staging.data_files.delete("carriers.csv");
    /// ```
    #[rhai_fn(name = "delete", pure, return_raw)]
    pub fn delete_data_file(
        context: NativeCallContext,
        files: &mut DataFiles,
        name: &str,
    ) -> Result<(), Box<EvalAltResult>> {
        delete(&mut Call::begin(&context, "space.data_files.delete")?, &files.0, name)
    }
}
