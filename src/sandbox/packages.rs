//! Themes and extensions: zips with a `.qext` file, kept whole (themes and extensions API; build a theme; build an
//! extension).

use bytes::Bytes;
use http::{StatusCode, header};
use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::archive::{self, Fault, Package};
use super::blobs::{CONTENT, hex};
use super::context::{Answer, Context, Handled, text};
use super::refusal::Refusal;
use super::resources::Resource;
use super::state::Document;

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("getThemes", list),
        ("uploadTheme", create),
        ("getTheme", get),
        ("patchTheme", change),
        ("deleteTheme", delete),
        ("downloadTheme", archive),
        ("downloadFileFromTheme", file),
        ("getExtensions", list),
        ("uploadExtension", create),
        ("getExtension", get),
        ("patchExtension", change),
        ("deleteExtension", delete),
        ("downloadExtension", archive),
        ("downloadFileFromExtension", file),
    ],
    seed: None,
};

/// What tells a theme from an extension.
struct Kind {
    noun: &'static str,
    collection: &'static str,
    /// They are deleted softly: what was there is known to be gone.
    gone: &'static str,
    /// Its type, when nothing says so.
    type_: &'static str,
    read: fn(&Bytes) -> Result<Package, Fault>,
    /// What its `.qext` file may say that the other's does not.
    also: &'static [&'static str],
    /// What may be said of it beside its file only.
    beside: &'static [&'static str],
    /// Whether the answer to a change is a list of the one, as it is published for themes.
    listed: bool,
}

const THEME: Kind = Kind {
    noun: "theme",
    collection: "themes",
    gone: "deletedThemes",
    type_: "theme",
    read: archive::theme,
    also: &[],
    beside: &["tags", "dependencies"],
    listed: true,
};

const EXTENSION: Kind = Kind {
    noun: "extension",
    collection: "extensions",
    gone: "deletedExtensions",
    type_: "visualization",
    read: archive::extension,
    also: &["loadpath", "preview"],
    beside: &["bundle", "bundled", "checksum", "dependencies", "deprecated", "supernova", "tags", "type"],
    listed: false,
};

/// What may be said in the `.qext` file or beside it.
const TEXTS: &[&str] =
    &["author", "description", "homepage", "icon", "keywords", "license", "name", "repository", "supplier", "version"];

/// Which of the two the request is about.
fn kind(context: &Context<'_>) -> &'static Kind {
    if context.path.starts_with("/api/v1/extensions") { &EXTENSION } else { &THEME }
}

/// A refusal in the words of this service: the explanation stands in `meta`.
fn refuse(status: StatusCode, message: impl Into<String>) -> Refusal {
    let title = status.canonical_reason().unwrap_or_default();
    Refusal::new(status, &format!("HTTP-{}", status.as_u16()), title).meta(json!({"message": message.into()}))
}

/// The refusal of a request whose parts do not fit.
pub(super) fn invalid(message: impl Into<String>) -> Refusal {
    refuse(StatusCode::UNPROCESSABLE_ENTITY, message)
}

/// The refusal of a body that is of another kind.
pub(super) fn unsupported(message: impl Into<String>) -> Refusal {
    refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
}

/// A package without what is not shown.
fn shown(package: &Value) -> Value {
    let mut package = package.clone();
    if let Some(fields) = package.as_object_mut() {
        fields.remove(CONTENT);
    }
    package
}

fn list(context: &mut Context<'_>) -> Handled {
    let held = context.collection(kind(context).collection);
    let data: Vec<Value> = held.iter().map(|(_, package)| shown(package)).collect();
    Ok(Answer::ok(&json!({"data": data})))
}

/// The package of the path, by its id or by the name of its `.qext` file.
fn asked(context: &Context<'_>) -> Result<Document, Refusal> {
    let (kind, key) = (kind(context), context.var("id"));
    let find = |collection: &str| {
        let by_name = || context.collection(collection).find_exact("qextFilename", &key);
        context.get(collection, &key).or_else(by_name)
    };
    match find(kind.collection) {
        Some(package) => Ok(package),
        None if find(kind.gone).is_some() => {
            Err(refuse(StatusCode::GONE, format!("{} {key} has been deleted", kind.noun)))
        }
        None => Err(refuse(StatusCode::NOT_FOUND, format!("there is no {} {key}", kind.noun))),
    }
}

fn get(context: &mut Context<'_>) -> Handled {
    Ok(Answer::ok(&shown(&*asked(context)?)))
}

/// Puts what the request brings into a package: what its file says, then what is said beside it.
fn fill(context: &mut Context<'_>, package: &mut Value) -> Result<(), Refusal> {
    let kind = kind(context);
    let file = context.part("file").map(|part| part.bytes.clone());
    let data = context.part("data").map(|part| part.document.clone());
    if file.is_none() && data.is_none() {
        return Err(invalid("neither file nor data is given"));
    }
    if let Some(bytes) = file {
        let read = (kind.read)(&bytes).map_err(|fault| match fault {
            Fault::Kind(message) => unsupported(message),
            Fault::Invalid(message) => invalid(message),
        })?;
        for field in TEXTS.iter().chain(kind.also) {
            if let Some(value) = read.about.get(*field).filter(|value| value.is_string()) {
                package[*field] = value.clone();
            }
        }
        if let Some(value) = read.about.get("dependencies") {
            package["dependencies"] = value.clone();
        }
        package["type"] = read.about["type"].clone();
        package["qextFilename"] = json!(read.identity);
        package["qextVersion"] = json!(text(&read.about, "version"));
        package["file"] = json!({"md5": hex(&Md5::digest(&bytes)), "contentLength": bytes.len()});
        package[CONTENT] = json!(&*context.keep(bytes));
    }
    if let Some(data) = data {
        let Some(data) = data.as_object() else {
            return Err(unsupported("data is not a JSON object"));
        };
        for (field, value) in data {
            if [TEXTS, kind.also, kind.beside].iter().any(|known| known.contains(&field.as_str())) {
                package[field] = value.clone();
            }
        }
    }
    if package.get("qextFilename").is_none() {
        package["qextFilename"] = package["name"].clone();
    }
    if package.get("type").is_none() {
        package["type"] = json!(kind.type_);
    }
    if text(package, "name").is_empty() {
        return Err(invalid(format!("the {} has no name", kind.noun)));
    }
    Ok(())
}

/// Refuses a package whose name or `.qext` file another one has.
fn alone(context: &Context<'_>, package: &Value) -> Result<(), Refusal> {
    let noun = kind(context).noun;
    let packages = context.collection(kind(context).collection);
    for field in ["qextFilename", "name"] {
        let held = text(package, field);
        let other = packages.iter().any(|(id, other)| text(other, field) == held && id != text(package, "id"));
        if other {
            let meta = json!({"message": format!("{noun} with {field} {held} exists"), "resourceName": noun});
            return Err(refuse(StatusCode::CONFLICT, "").meta(meta));
        }
    }
    Ok(())
}

fn create(context: &mut Context<'_>) -> Handled {
    let mut package = json!({"tags": []});
    fill(context, &mut package)?;
    let (id, now) = (context.new_id(), context.timestamp());
    package["id"] = json!(id);
    package["tenantId"] = json!(context.tenant_id());
    package["userId"] = json!(context.user_id());
    package["createdAt"] = json!(now);
    package["updateAt"] = json!(now);
    alone(context, &package)?;
    context.put(kind(context).collection, &id, package.clone());
    Ok(Answer::created(&shown(&package)))
}

fn change(context: &mut Context<'_>) -> Handled {
    let before = asked(context)?;
    let mut package = (*before).clone();
    fill(context, &mut package)?;
    alone(context, &package)?;
    package["updateAt"] = json!(context.timestamp());
    let (kind, id) = (kind(context), text(&package, "id").to_owned());
    context.put(kind.collection, &id, package.clone());
    let shown = shown(&package);
    Ok(Answer::ok(&if kind.listed { json!({"data": [shown]}) } else { shown }))
}

fn delete(context: &mut Context<'_>) -> Handled {
    let (kind, package) = (kind(context), asked(context)?);
    let id = text(&package, "id");
    context.remove(kind.collection, id);
    context.put(kind.gone, id, json!({"id": id, "qextFilename": package["qextFilename"]}));
    Ok(Answer::no_content())
}

/// The zip as it was uploaded.
fn archive(context: &mut Context<'_>) -> Handled {
    let package = asked(context)?;
    match context.content(&package) {
        Some(bytes) => {
            let named = format!("attachment; filename=\"{}.zip\"", text(&package, "qextFilename"));
            Ok(Answer::bytes("application/zip", bytes).with(header::CONTENT_DISPOSITION, &named))
        }
        None => Err(refuse(StatusCode::NOT_FOUND, format!("the {} has no file", kind(context).noun))),
    }
}

/// One file of the zip.
fn file(context: &mut Context<'_>) -> Handled {
    let (noun, package) = (kind(context).noun, asked(context)?);
    let path = context.var("filepath");
    let held = context.content(&package).and_then(|bytes| archive::file(&bytes, &path));
    let held = held.ok_or_else(|| refuse(StatusCode::NOT_FOUND, format!("the {noun} has no file {path}")))?;
    let kind = archive::kind(&path).unwrap_or("application/octet-stream");
    Ok(Answer::bytes(kind, held))
}
