//! Themes: zips with a `.qext` file, kept whole (themes API; build a theme).

use http::{StatusCode, header};
use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::blobs::{CONTENT, hex};
use super::context::{Answer, Context, Handled, text};
use super::package::{self, Fault};
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
    ],
    seed: None,
};

const THEMES: &str = "themes";
/// Themes are deleted softly: what was there is known to be gone.
const GONE: &str = "deletedThemes";

/// What may be said of a theme, in its `.qext` file or beside it.
const TEXTS: &[&str] =
    &["author", "description", "homepage", "icon", "keywords", "license", "name", "repository", "supplier", "version"];
/// What may be said beside it only.
const BESIDE: &[&str] = &["tags", "dependencies"];

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

/// A theme without what is not shown.
fn shown(theme: &Value) -> Value {
    let mut theme = theme.clone();
    if let Some(fields) = theme.as_object_mut() {
        fields.remove(CONTENT);
    }
    theme
}

fn list(context: &mut Context<'_>) -> Handled {
    let themes: Vec<Value> = context.collection(THEMES).iter().map(|(_, theme)| shown(theme)).collect();
    Ok(Answer::ok(&json!({"data": themes})))
}

/// The theme of the path, by its id or by the name of its `.qext` file.
fn asked(context: &Context<'_>) -> Result<Document, Refusal> {
    let key = context.var("id");
    let by_name = |collection: &str| context.collection(collection).find_exact("qextFilename", &key);
    if let Some(theme) = context.get(THEMES, &key).or_else(|| by_name(THEMES)) {
        return Ok(theme);
    }
    if context.get(GONE, &key).or_else(|| by_name(GONE)).is_some() {
        return Err(refuse(StatusCode::GONE, format!("theme {key} has been deleted")));
    }
    Err(refuse(StatusCode::NOT_FOUND, format!("there is no theme {key}")))
}

fn get(context: &mut Context<'_>) -> Handled {
    Ok(Answer::ok(&shown(&*asked(context)?)))
}

/// Puts what the request brings into a theme: what its file says, then what is said beside it.
fn fill(context: &mut Context<'_>, theme: &mut Value) -> Result<(), Refusal> {
    let file = context.part("file").map(|part| part.bytes.clone());
    let data = context.part("data").map(|part| part.document.clone());
    if file.is_none() && data.is_none() {
        return Err(invalid("neither file nor data is given"));
    }
    if let Some(bytes) = file {
        let package = package::theme(&bytes).map_err(|fault| match fault {
            Fault::Kind(message) => unsupported(message),
            Fault::Invalid(message) => invalid(message),
        })?;
        for field in TEXTS {
            if let Some(value) = package.about.get(*field).filter(|value| value.is_string()) {
                theme[*field] = value.clone();
            }
        }
        if let Some(value) = package.about.get("dependencies") {
            theme["dependencies"] = value.clone();
        }
        theme["type"] = package.about["type"].clone();
        theme["qextFilename"] = json!(package.identity);
        theme["qextVersion"] = json!(text(&package.about, "version"));
        theme["file"] = json!({"md5": hex(&Md5::digest(&bytes)), "contentLength": bytes.len()});
        theme[CONTENT] = json!(&*context.keep(bytes));
    }
    if let Some(data) = data {
        let Some(data) = data.as_object() else {
            return Err(unsupported("data is not a JSON object"));
        };
        for (field, value) in data {
            if TEXTS.contains(&field.as_str()) || BESIDE.contains(&field.as_str()) {
                theme[field] = value.clone();
            }
        }
    }
    if theme.get("qextFilename").is_none() {
        theme["qextFilename"] = theme["name"].clone();
        theme["type"] = json!("theme");
    }
    if text(theme, "name").is_empty() {
        return Err(invalid("the theme has no name"));
    }
    Ok(())
}

/// Refuses a theme whose name or `.qext` file another one has.
fn alone(context: &Context<'_>, theme: &Value) -> Result<(), Refusal> {
    let themes = context.collection(THEMES);
    for field in ["qextFilename", "name"] {
        let held = text(theme, field);
        let other = themes.iter().any(|(id, other)| text(other, field) == held && id != text(theme, "id"));
        if other {
            let meta = json!({"message": format!("a theme with {field} {held} exists"), "resourceName": "theme"});
            return Err(refuse(StatusCode::CONFLICT, "").meta(meta));
        }
    }
    Ok(())
}

fn create(context: &mut Context<'_>) -> Handled {
    let mut theme = json!({"tags": []});
    fill(context, &mut theme)?;
    let (id, now) = (context.new_id(), context.timestamp());
    theme["id"] = json!(id);
    theme["tenantId"] = json!(context.tenant_id());
    theme["userId"] = json!(context.user_id());
    theme["createdAt"] = json!(now);
    theme["updateAt"] = json!(now);
    alone(context, &theme)?;
    context.put(THEMES, &id, theme.clone());
    Ok(Answer::created(&shown(&theme)))
}

/// Answers with a list of the one theme, as published.
fn change(context: &mut Context<'_>) -> Handled {
    let before = asked(context)?;
    let mut theme = (*before).clone();
    fill(context, &mut theme)?;
    alone(context, &theme)?;
    theme["updateAt"] = json!(context.timestamp());
    let id = text(&theme, "id").to_owned();
    context.put(THEMES, &id, theme.clone());
    Ok(Answer::ok(&json!({"data": [shown(&theme)]})))
}

fn delete(context: &mut Context<'_>) -> Handled {
    let theme = asked(context)?;
    let id = text(&theme, "id");
    context.remove(THEMES, id);
    context.put(GONE, id, json!({"id": id, "qextFilename": theme["qextFilename"]}));
    Ok(Answer::no_content())
}

/// The zip as it was uploaded.
fn archive(context: &mut Context<'_>) -> Handled {
    let theme = asked(context)?;
    match context.content(&theme) {
        Some(bytes) => {
            let named = format!("attachment; filename=\"{}.zip\"", text(&theme, "qextFilename"));
            Ok(Answer::bytes("application/zip", bytes).with(header::CONTENT_DISPOSITION, &named))
        }
        None => Err(refuse(StatusCode::NOT_FOUND, "the theme has no file")),
    }
}

/// One file of the zip.
fn file(context: &mut Context<'_>) -> Handled {
    let theme = asked(context)?;
    let path = context.var("filepath");
    let held = context.content(&theme).and_then(|bytes| package::file(&bytes, &path));
    let held = held.ok_or_else(|| refuse(StatusCode::NOT_FOUND, format!("the theme has no file {path}")))?;
    let kind = package::kind(&path).unwrap_or("application/octet-stream");
    Ok(Answer::bytes(kind, held))
}
