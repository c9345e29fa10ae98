//! Data files: what apps load from the spaces they lie in (data-files API).
//!
//! Not published, and so assumed: which roles of a space may write its files, which endings are taken, that `name` finds the
//! whole name with its folders, and what the ids of the built-in connections are.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::blobs::{self, CONTENT};
use super::context::{Answer, Context, Handled, text};
use super::paging::{self, Paging};
use super::refusal::Refusal;
use super::resources::Resource;
use super::spaces::Caller;
use super::state::Document;
use super::temp_contents;

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("getDataFiles", list),
        ("uploadDataFile", create),
        ("getDataFile", get),
        ("reuploadDataFile", replace),
        ("deleteDataFile", delete),
        ("changeDataFileOwner", change_owner),
        ("moveDataFile", change_space),
        ("moveDataFiles", change_spaces),
        ("deleteDataFiles", delete_many),
        ("getDataFilesConnections", connections),
        ("getDataFileConnection", connection),
        ("getDataFilesQuotas", quotas),
    ],
    seed: None,
};

/// The collection's name; spaces know it too.
const FILES: &str = "dataFiles";

const PAGING: Paging = Paging::forward("page", 20, 1000);
const SORTED: [&str; 5] = ["name", "size", "modifiedDate", "folder", "baseName"];

/// Endings that files may have, and those of files that Qlik keeps for itself.
const ENDINGS: [&str; 17] = [
    "csv", "dat", "html", "inc", "json", "kml", "parquet", "prj", "qvd", "qvs", "qvw", "skv", "tab", "tsv", "txt",
    "xls", "xlsx",
];
const INTERNAL: [&str; 3] = ["dxf", "gml", "qrep"];

/// How large a file and all files of a user may be (the specification's examples).
const MAX_FILE: u64 = 524_288_000;
const MAX_LARGE: u64 = 6_442_450_944;

/// Roles with which one writes a space's files.
const WRITES: [&str; 4] = ["producer", "facilitator", "codeveloper", "publisher"];

fn refuse(status: StatusCode, code: &str, title: &str) -> Refusal {
    Refusal::new(status, code, title)
}

fn bad(code: &str, title: &str) -> Refusal {
    refuse(StatusCode::BAD_REQUEST, code, title)
}

fn missing() -> Refusal {
    refuse(StatusCode::NOT_FOUND, "HTTP-404", "A data file or folder with the specified ID was not found")
}

fn forbidden() -> Refusal {
    refuse(StatusCode::FORBIDDEN, "HTTP-403", "Forbidden")
}

/// The built-in connections that a real tenant has shown: their ids are its own.
const SHOWN: &str = "dataFileConnections";

/// The id of the built-in connection through which a space's files are reached; an empty id is the personal space.
fn connection_of(context: &Context<'_>, space: &str) -> String {
    let shown = context.collection(SHOWN).documents();
    if let Some(shown) = shown.iter().find(|shown| text(shown, "spaceId") == space) {
        return text(shown, "id").to_owned();
    }
    let digest = blobs::hex(&Sha256::digest(format!("{} {space}", context.tenant_id())));
    [&digest[..8], &digest[8..12], &digest[12..16], &digest[16..20], &digest[20..32]].join("-")
}

/// The space that a connection reaches: nothing for the personal one.
fn space_of(context: &Context<'_>, connection: &str) -> Result<String, Refusal> {
    if connection.is_empty() || connection == connection_of(context, "") {
        return Ok(String::new());
    }
    let caller = Caller::of(context);
    let spaces = context.collection("spaces").documents();
    let space = spaces.iter().find(|space| connection_of(context, text(space, "id")) == connection);
    let space = space.ok_or_else(|| bad("DF-014", "The specified connection cannot be found"))?;
    if caller.sees(space) { Ok(text(space, "id").to_owned()) } else { Err(forbidden()) }
}

fn sees(context: &Context<'_>, caller: &Caller, file: &Value) -> bool {
    match text(file, "spaceId") {
        "" => text(file, "ownerId") == caller.id(),
        space => context.get("spaces", space).is_some_and(|space| caller.sees(&space)),
    }
}

/// Whether the caller may write in a space; administrators may in managed ones without a role.
pub(super) fn writes(context: &Context<'_>, caller: &Caller, space: &str) -> bool {
    space.is_empty()
        || context.get("spaces", space).is_some_and(|space| {
            caller.publishes(&space) || caller.roles(&space).iter().any(|role| WRITES.contains(&role.as_str()))
        })
}

fn is_changed_by(context: &Context<'_>, caller: &Caller, file: &Value) -> bool {
    sees(context, caller, file) && writes(context, caller, text(file, "spaceId"))
}

/// The file of the path, when the caller sees it.
fn asked(context: &Context<'_>, id: &str) -> Result<Document, Refusal> {
    context.get(FILES, id).filter(|file| sees(context, &Caller::of(context), file)).ok_or_else(missing)
}

fn changeable(context: &Context<'_>, id: &str) -> Result<Document, Refusal> {
    let file = asked(context, id)?;
    if is_changed_by(context, &Caller::of(context), &file) { Ok(file) } else { Err(forbidden()) }
}

/// All files and folders of one space, or of the personal space of a user.
fn in_space(context: &Context<'_>, space: &str, owner: &str) -> Vec<Document> {
    let all = context.collection(FILES).documents();
    let lies =
        |file: &Document| text(file, "spaceId") == space && (!space.is_empty() || text(file, "ownerId") == owner);
    all.into_iter().filter(lies).collect()
}

fn named(context: &Context<'_>, space: &str, owner: &str, name: &str) -> Option<Document> {
    in_space(context, space, owner).into_iter().find(|file| text(file, "name") == name)
}

fn below(name: &str, folder: &str) -> bool {
    name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn shown(context: &Context<'_>, file: &Value) -> Value {
    let mut shown = file.clone();
    if let Some(fields) = shown.as_object_mut() {
        fields.retain(|field, _| !field.starts_with('$'));
    }
    let caller = Caller::of(context);
    let mut actions = vec!["read", "list"];
    if is_changed_by(context, &caller, file) {
        actions.extend(["update", "delete", "change_owner", "change_space"]);
    }
    shown["actions"] = json!(actions);
    let held = if file["folder"] == true {
        in_space(context, text(file, "spaceId"), text(file, "ownerId"))
    } else {
        Vec::new()
    };
    let name = text(file, "name");
    shown["folderStats"] = stats(held.iter().filter(|held| below(text(held, "name"), name)), name);
    shown
}

/// What lies below a folder, or in a space when the folder is nameless.
fn stats<'f>(held: impl Iterator<Item = &'f Document>, folder: &str) -> Value {
    let (mut files, mut folders, mut own_files, mut own_folders, mut size) = (0, 0, 0, 0, 0);
    for file in held {
        let own = i64::from(text(file, "folderPath") == folder);
        if file["folder"] == true {
            (folders, own_folders) = (folders + 1, own_folders + own);
        } else {
            (files, own_files) = (files + 1, own_files + own);
            size += file["size"].as_i64().unwrap_or_default();
        }
    }
    json!({
        "totalFileCount": files, "directFileCount": own_files, "totalFolderCount": folders, "directFolderCount": own_folders,
        "aggregateFileSize": size, "aggregateAppScopedFileSize": 0, "aggregateInternalFileSize": 0,
        "directAppScopedFileCount": 0, "directInternalFileCount": 0, "totalAppScopedFileCount": 0, "totalInternalFileCount": 0,
    })
}

/// A page whose links are all there, with or without an address.
fn page(context: &Context<'_>, found: Vec<Document>, show: impl Fn(&Context<'_>, &Value) -> Value) -> Handled {
    let answer = paging::page_as(context, found, PAGING, show)?;
    let mut body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    for link in ["self", "next", "prev"] {
        if body["links"].get(link).is_none() {
            body["links"][link] = json!({"href": null});
        }
    }
    Ok(Answer::ok(&body))
}

/// `*` and `?` in a name, without regard to case.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.to_lowercase().chars().collect(), name.to_lowercase().chars().collect());
    let (mut at, mut read, mut star) = (0, 0, None);
    while read < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(sign) if *sign == '?' || *sign == name[read] => (at, read) = (at + 1, read + 1),
            _ => match star {
                Some((place, from)) => {
                    star = Some((place, from + 1));
                    (at, read) = (place + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|sign| *sign == '*')
}

fn list(context: &mut Context<'_>) -> Handled {
    let caller = Caller::of(context);
    let given = |name: &str| context.parameter(name).filter(|value| !value.is_empty());
    let mut found: Vec<Document> = match given("connectionId") {
        Some(connection) => in_space(context, &space_of(context, connection)?, caller.id()),
        None if context.flag("includeAllSpaces") || given("ownerId").is_some() => {
            context.collection(FILES).documents().into_iter().filter(|file| sees(context, &caller, file)).collect()
        }
        None => in_space(context, "", caller.id()),
    };
    let folder = match (given("folderId"), given("folderPath")) {
        (Some(_), Some(_)) => return Err(bad("DF-003", "folderPath and folderId are mutually exclusive")),
        (Some(id), None) => {
            let folder = context.get(FILES, id).filter(|file| file["folder"] == true);
            Some(folder.map(|folder| text(&folder, "name").to_owned()).ok_or_else(|| bad("DF-005", "no such folder"))?)
        }
        (None, path) => path.map(str::to_owned),
    };
    let own = context.flag("excludeSubFolders");
    let app = given("appId");
    found.retain(|file| {
        let name = text(file, "name");
        let is_folder = file["folder"] == true;
        let wanted = if is_folder { context.flag("includeFolders") } else { !context.flag("excludeFiles") };
        wanted
            && folder.as_ref().is_none_or(|folder| below(name, folder))
            && (!own || text(file, "folderPath") == folder.as_deref().unwrap_or_default())
            && given("name").is_none_or(|wanted| wanted == name)
            && given("baseNameWildcard").is_none_or(|wanted| matches(wanted, text(file, "baseName")))
            && given("ownerId").is_none_or(|owner| owner == text(file, "ownerId"))
            && given("notOwnerId").is_none_or(|owner| owner != text(file, "ownerId"))
            && match app {
                None => text(file, "appId").is_empty(),
                Some("*") => !text(file, "appId").is_empty(),
                Some(app) => app == text(file, "appId"),
            }
    });
    paging::sort(context, &mut found, &SORTED, "").map_err(|_| bad("DF-002", "The sort specification is invalid"))?;
    page(context, found, shown)
}

/// The whole name that a request gives, below the folder it names.
fn whole_name(context: &Context<'_>, given: &Value, is_folder: bool) -> Result<String, Refusal> {
    let mut name = text(given, "name").to_owned();
    if let Some(id) = given["folderId"].as_str() {
        let folder = context.get(FILES, id).filter(|folder| folder["folder"] == true);
        let folder = folder.ok_or_else(|| bad("DF-005", "The specified parent folder cannot be found"))?;
        name = format!("{}/{name}", text(&folder, "name"));
    }
    let odd = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains('\\');
    if name.split('/').any(odd) {
        return Err(bad("DF-015", "The provided filename must be in canonical form"));
    }
    let ending =
        name.rsplit('/').next().and_then(|base| base.rsplit_once('.')).map(|(_, ending)| ending.to_lowercase());
    match ending {
        _ if is_folder => Ok(name),
        None => Err(bad("DF-011", "The specified file name is missing a file extension")),
        Some(ending) if ENDINGS.contains(&ending.as_str()) || INTERNAL.contains(&ending.as_str()) => Ok(name),
        Some(_) => Err(bad("DF-010", "The specified file name contains an invalid file extension")),
    }
}

/// The content that a request brings, with its size; none for a folder, and where it brings none.
fn content(context: &Context<'_>, given: &Value) -> Result<Option<(u64, Bytes)>, Refusal> {
    let sized = |bytes: Bytes| (bytes.len() as u64, bytes);
    let brought = if let Some(id) = given["tempContentFileId"].as_str() {
        let bytes = temp_contents::content(context, id);
        Some(sized(bytes.ok_or_else(|| bad("DF-012", "no such temporary content file"))?))
    } else if let Some(id) = given["sourceId"].as_str() {
        let source = asked(context, id).map_err(|_| bad("DF-017", "The specified source file could not be found"))?;
        if source["folder"] == true {
            return Err(bad("DF-018", "The source and target must both be files"));
        }
        context.content(&source).map(sized)
    } else {
        context.part("File").map(|part| (context.length(part), part.bytes.clone()))
    };
    let size = brought.as_ref().map_or(0, |(size, _)| *size);
    if size > MAX_FILE && given.get("tempContentFileId").is_none() {
        return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, "HTTP-413", "The file exceeds the maximum size"));
    }
    Ok(brought)
}

fn place(file: &mut Value, name: &str, parent: Option<&Value>) {
    let (path, base) = name.rsplit_once('/').map_or((None, name), |(path, base)| (Some(path), base));
    file["name"] = json!(name);
    file["baseName"] = json!(base);
    file["folderPath"] = json!(path);
    file["folderId"] = parent.map_or(Value::Null, |parent| parent["id"].clone());
}

fn new(context: &Context<'_>, space: &str, is_folder: bool) -> Value {
    let now = context.timestamp();
    let mut file = json!({
        "id": context.random.uuid().to_string(), "size": 0, "folder": is_folder, "ownerId": context.user_id(),
        "appId": null, "createdDate": now, "modifiedDate": now, "contentUpdatedDate": null, "spaceId": null,
    });
    if !space.is_empty() {
        file["spaceId"] = json!(space);
    }
    file
}

/// The folder that holds a name, made when it is missing, with those that hold it.
fn parent(context: &mut Context<'_>, space: &str, name: &str) -> Result<Option<Document>, Refusal> {
    let Some((path, _)) = name.rsplit_once('/') else { return Ok(None) };
    match named(context, space, &context.user_id(), path) {
        Some(held) if held["folder"] == true => return Ok(Some(held)),
        Some(_) => return Err(bad("DF-008", "The parent is a file, not a folder")),
        None => {}
    }
    let above = parent(context, space, path)?;
    let mut folder = new(context, space, true);
    place(&mut folder, path, above.as_deref());
    context.put(FILES, text(&folder, "id"), folder.clone());
    Ok(Some(Arc::new(folder)))
}

fn hold(context: &mut Context<'_>, file: &mut Value, (size, bytes): (u64, Bytes)) {
    file["size"] = json!(size);
    file["contentUpdatedDate"] = json!(context.timestamp());
    file[CONTENT] = json!(&*context.keep(bytes));
}

fn given(context: &Context<'_>) -> Value {
    context.part("Json").map(|part| part.document.clone()).unwrap_or_default()
}

fn conflict() -> Refusal {
    refuse(StatusCode::CONFLICT, "HTTP-409", "A file or folder with the same name already exists")
}

fn create(context: &mut Context<'_>) -> Handled {
    let given = given(context);
    let is_folder = given["folder"] == true;
    let space = space_of(context, text(&given, "connectionId"))?;
    if !writes(context, &Caller::of(context), &space) {
        return Err(refuse(StatusCode::FORBIDDEN, "DF-013", "Access to the specified space is forbidden"));
    }
    let name = whole_name(context, &given, is_folder)?;
    let brought = if is_folder { None } else { content(context, &given)? };
    if !is_folder && brought.is_none() {
        return Err(bad("HTTP-400", "neither a file nor a source of its content is given"));
    }
    if named(context, &space, &context.user_id(), &name).is_some() {
        return Err(conflict());
    }
    let above = parent(context, &space, &name)?;
    let mut file = new(context, &space, is_folder);
    file["appId"] = given.get("appId").cloned().unwrap_or_default();
    place(&mut file, &name, above.as_deref());
    if let Some(brought) = brought {
        hold(context, &mut file, brought);
    }
    context.put(FILES, text(&file, "id"), file.clone());
    Ok(Answer::created(&shown(context, &file)))
}

fn get(context: &mut Context<'_>) -> Handled {
    let file = asked(context, &context.var("id"))?;
    Ok(Answer::ok(&shown(context, &file)))
}

/// Everything below a folder.
fn held_by(context: &Context<'_>, folder: &Value) -> Vec<Document> {
    if folder["folder"] != true {
        return Vec::new();
    }
    let all = in_space(context, text(folder, "spaceId"), text(folder, "ownerId"));
    all.into_iter().filter(|file| below(text(file, "name"), text(folder, "name"))).collect()
}

/// Moves a file or folder to another name and space, with what lies below it.
fn relocate(
    context: &mut Context<'_>,
    before: &Value,
    mut file: Value,
    name: &str,
    space: &str,
) -> Result<Value, Refusal> {
    let moved = text(before, "name") != name || text(before, "spaceId") != space;
    if moved && named(context, space, text(&file, "ownerId"), name).is_some() {
        return Err(conflict());
    }
    let held = if moved { held_by(context, before) } else { Vec::new() };
    let above = parent(context, space, name)?;
    let in_space = if space.is_empty() { Value::Null } else { json!(space) };
    file["spaceId"] = in_space.clone();
    place(&mut file, name, above.as_deref());
    context.put(FILES, text(&file, "id"), file.clone());
    for inner in held {
        let rest = text(&inner, "name").strip_prefix(text(before, "name")).unwrap_or_default();
        let mut inner = (*inner).clone();
        let folder = inner["folderId"].clone();
        inner["spaceId"] = in_space.clone();
        let whole = format!("{name}{rest}");
        place(&mut inner, &whole, None);
        inner["folderId"] = folder;
        context.put(FILES, text(&inner, "id"), inner.clone());
    }
    Ok(file)
}

/// The owner is whoever uploaded it last.
fn replace(context: &mut Context<'_>) -> Handled {
    let before = changeable(context, &context.var("id"))?;
    let given = given(context);
    let is_folder = before["folder"] == true;
    // Without a connection it goes to the personal space.
    let space = space_of(context, text(&given, "connectionId"))?;
    if !writes(context, &Caller::of(context), &space) {
        return Err(refuse(StatusCode::FORBIDDEN, "DF-013", "Access to the specified space is forbidden"));
    }
    let name = if given["name"].is_string() || given["folderId"].is_string() {
        whole_name(context, &given, is_folder)?
    } else {
        text(&before, "name").to_owned()
    };
    let brought = if is_folder { None } else { content(context, &given)? };
    let mut file = (*before).clone();
    file["ownerId"] = json!(context.user_id());
    file["modifiedDate"] = json!(context.timestamp());
    if let Some(brought) = brought {
        hold(context, &mut file, brought);
    }
    let file = relocate(context, &before, file, &name, &space)?;
    Ok(Answer::created(&shown(context, &file)))
}

fn remove(context: &mut Context<'_>, id: &str) -> Result<(), Refusal> {
    let file = changeable(context, id)?;
    for held in held_by(context, &file) {
        context.remove(FILES, text(&held, "id"));
    }
    context.remove(FILES, id);
    Ok(())
}

fn delete(context: &mut Context<'_>) -> Handled {
    remove(context, &context.var("id"))?;
    Ok(Answer::no_content())
}

/// Only what lies at the root of its space changes hands.
fn at_root(context: &Context<'_>, id: &str) -> Result<Document, Refusal> {
    let file = asked(context, id)?;
    let caller = Caller::of(context);
    if (is_changed_by(context, &caller, &file) || caller.is_admin()) && text(&file, "folderPath").is_empty() {
        return Ok(file);
    }
    Err(forbidden())
}

fn change_owner(context: &mut Context<'_>) -> Handled {
    let before = at_root(context, &context.var("id"))?;
    let owner = text(&context.body, "ownerId").to_owned();
    if context.get("users", &owner).is_none() {
        return Err(bad("DF-006", "The specified owner cannot be found"));
    }
    let (space, name) = (text(&before, "spaceId").to_owned(), text(&before, "name").to_owned());
    if space.is_empty() && owner != text(&before, "ownerId") && named(context, "", &owner, &name).is_some() {
        return Err(conflict());
    }
    for held in [vec![before.clone()], held_by(context, &before)].concat() {
        let mut held = (*held).clone();
        held["ownerId"] = json!(owner);
        context.put(FILES, text(&held, "id"), held.clone());
    }
    Ok(Answer::no_content())
}

fn move_to(context: &mut Context<'_>, id: &str, space: &str) -> Result<(), Refusal> {
    let before = at_root(context, id)?;
    if !space.is_empty() && context.get("spaces", space).is_none() {
        return Err(bad("DF-009", "The specified space cannot be found"));
    }
    let name = text(&before, "name").to_owned();
    relocate(context, &before, (*before).clone(), &name, space).map(drop)
}

fn change_space(context: &mut Context<'_>) -> Handled {
    let space = text(&context.body, "spaceId").to_owned();
    move_to(context, &context.var("id"), &space)?;
    Ok(Answer::no_content())
}

/// One line of a batch's answer.
fn line(id: &str, done: Result<(), Refusal>) -> Value {
    match done {
        Ok(()) => json!({"id": id, "status": 204, "code": "HTTP-204"}),
        Err(refusal) => {
            let status = refusal.status().as_u16();
            json!({"id": id, "status": status, "code": format!("HTTP-{status}"), "title": refusal.to_string()})
        }
    }
}

fn change_spaces(context: &mut Context<'_>) -> Handled {
    let wanted = context.body["change-space"].as_array().cloned().unwrap_or_default();
    let mut lines = Vec::new();
    for item in wanted {
        let done = move_to(context, text(&item, "id"), text(&item, "spaceId"));
        lines.push(line(text(&item, "id"), done));
    }
    Ok(Answer::multi(lines))
}

fn delete_many(context: &mut Context<'_>) -> Handled {
    let body = context.body.clone();
    let ids = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().map(|item| text(item, "id").to_owned()).collect()
    };
    let mut wanted = ids(&body["delete"]);
    let roots = |held: Vec<Document>| -> Vec<String> {
        let held = held.iter().filter(|file| text(file, "folderPath").is_empty());
        held.map(|file| text(file, "id").to_owned()).collect()
    };
    for space in ids(&body["deleteAllBySpace"]).iter().filter(|space| !space.is_empty()) {
        wanted.extend(roots(in_space(context, space, "")));
    }
    if body["deleteAllFromPersonalSpace"] == true {
        wanted.extend(roots(in_space(context, "", &context.user_id())));
    }
    let mut lines = Vec::new();
    for id in wanted {
        let done = remove(context, &id);
        lines.push(line(&id, done));
    }
    Ok(Answer::multi(lines))
}

fn connection_shown(context: &Context<'_>, space: &str) -> Value {
    let path = if space.is_empty() { "mydatafiles" } else { space };
    let mut shown = json!({
        "id": connection_of(context, space), "name": "DataFiles", "type": "qix-datafiles.exe", "spaceId": null,
        "connectStatement": format!("CUSTOM CONNECT TO \"provider=qix-datafiles.exe;path={path};\""),
    });
    if !space.is_empty() {
        shown["spaceId"] = json!(space);
    }
    if context.flag("includeSpaceStats") {
        shown["spaceStats"] = stats(in_space(context, space, &context.user_id()).iter(), "");
    }
    shown
}

fn connections(context: &mut Context<'_>) -> Handled {
    let caller = Caller::of(context);
    let mut spaces = vec![String::new()];
    if !context.flag("personal") {
        let all = context.collection("spaces").documents();
        spaces.extend(all.iter().filter(|space| caller.sees(space)).map(|space| text(space, "id").to_owned()));
    }
    if let Some(wanted) = context.parameter("spaceId").filter(|wanted| !wanted.is_empty()) {
        spaces.retain(|space| space == wanted);
    }
    if context.parameter("name").is_some_and(|name| !name.is_empty() && name != "DataFiles") {
        spaces.clear();
    }
    let mut found: Vec<Document> =
        spaces.iter().map(|space| Arc::new(json!({"id": space, "spaceId": space}))).collect();
    paging::sort(context, &mut found, &["spaceId"], "")
        .map_err(|_| bad("DF-002", "The sort specification is invalid"))?;
    page(context, found, |context, held| connection_shown(context, text(held, "id")))
}

fn connection(context: &mut Context<'_>) -> Handled {
    let space = space_of(context, &context.var("id")).map_err(|refusal| match refusal.status() {
        StatusCode::BAD_REQUEST => missing(),
        _ => refusal,
    })?;
    Ok(Answer::ok(&connection_shown(context, &space)))
}

fn quotas(context: &mut Context<'_>) -> Handled {
    let own = context.collection(FILES).documents();
    let own = own.iter().filter(|file| text(file, "ownerId") == context.user_id());
    let size: i64 = own.filter_map(|file| file["size"].as_i64()).sum();
    Ok(Answer::ok(&json!({
        "size": size, "maxSize": i64::MAX, "maxFileSize": MAX_FILE, "maxLargeFileSize": MAX_LARGE,
        "allowedExtensions": ENDINGS, "allowedInternalExtensions": INTERNAL,
    })))
}
