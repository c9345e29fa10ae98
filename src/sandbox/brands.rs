//! Brands: a tenant's logo and favicon, of which one set is in use (brands API; brand a tenant).
//!
//! Not published, and so assumed: that files are known by their first bytes, that a wrong or second file is refused with
//! 400, that a name must not be empty, what `eTag` and `path` of a file look like.

use bytes::Bytes;
use http::StatusCode;
use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::blobs::{CONTENT, hex};
use super::context::{Answer, Context, Handled, text};
use super::paging::{self, Paging};
use super::patch;
use super::refusal::Refusal;
use super::resources::Resource;
use super::state::Document;

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("getBrands", list),
        ("createBrand", create),
        ("getActiveBrand", active),
        ("getBrand", get),
        ("patchBrand", change),
        ("deleteBrand", delete),
        ("activateBrand", activate),
        ("deactivateBrand", deactivate),
        ("getBrandFile", download),
        ("createBrandFile", add_file),
        ("updateBrandFile", replace_file),
        ("deleteBrandFile", remove_file),
    ],
    seed: None,
};

const BRANDS: &str = "brands";
/// The files of brands, each under its brand's id and its own.
pub(super) const FILES: &str = "brandFiles";

const PAGING: Paging = Paging::after_before(5, 100);

/// The files a brand may have, and how many bytes of each.
const SIZES: [(&str, usize); 3] = [("logo", 300 << 10), ("favIcon", 100 << 10), ("styles", 100 << 10)];

fn file_key(brand: &str, file: &str) -> String {
    format!("{brand}/{file}")
}

/// A brand with its files.
fn shown(context: &Context<'_>, brand: &Value) -> Value {
    let id = text(brand, "id");
    let held = SIZES.iter().filter_map(|(file, _)| context.get(FILES, &file_key(id, file)));
    let mut brand = brand.clone();
    brand["files"] = held.map(|file| shown_file(&file)).collect();
    brand
}

fn shown_file(file: &Value) -> Value {
    let mut file = file.clone();
    if let Some(fields) = file.as_object_mut() {
        fields.remove(CONTENT);
    }
    file
}

fn not_found() -> Refusal {
    Refusal::not_found("HTTP-404").detail("The resource was not found.")
}

/// The brand of the path.
fn asked(context: &Context<'_>) -> Result<Document, Refusal> {
    context.get(BRANDS, &context.var("brand-id")).ok_or_else(not_found)
}

fn list(context: &mut Context<'_>) -> Handled {
    let mut found = context.collection(BRANDS).documents();
    paging::sort(context, &mut found, &["id", "createdAt", "updatedAt"], "-id")?;
    paging::page_as(context, found, PAGING, shown)
}

fn get(context: &mut Context<'_>) -> Handled {
    Ok(Answer::ok(&shown(context, &*asked(context)?)))
}

/// The brand in use.
fn in_use(context: &Context<'_>) -> Option<Document> {
    let brands = context.collection(BRANDS);
    brands.iter().find(|(_, brand)| brand["active"] == true).map(|(_, brand)| brand.clone())
}

/// Leads to the brand in use; an empty object when it is Qlik's own.
fn active(context: &mut Context<'_>) -> Handled {
    Ok(match in_use(context) {
        Some(brand) => {
            let link = context.link(&format!("/api/v1/brands/{}", text(&brand, "id")));
            Answer::redirect(StatusCode::MOVED_PERMANENTLY, &link)
        }
        None => Answer::ok(&json!({})),
    })
}

fn named(name: &str) -> Result<(), Refusal> {
    if name.trim().is_empty() {
        return Err(Refusal::bad_request("name must not be empty").pointer("/name"));
    }
    Ok(())
}

/// Names may repeat.
fn create(context: &mut Context<'_>) -> Handled {
    let said = |field: &str| context.part(field).and_then(|part| part.document.as_str()).unwrap_or_default().to_owned();
    let (name, description) = (said("name"), said("description"));
    named(&name)?;
    let (id, now, user) = (context.new_id(), context.timestamp(), context.user_id());
    for (file, _) in SIZES {
        if let Some(bytes) = context.part(file).map(|part| part.bytes.clone()) {
            keep(context, &id, file, bytes)?;
        }
    }
    let brand = json!({
        "id": id, "name": name, "description": description, "active": false,
        "createdAt": now, "createdBy": user, "updatedAt": now, "updatedBy": user,
    });
    context.put(BRANDS, &id, brand.clone());
    Ok(Answer::created(&shown(context, &brand)))
}

/// Stores a changed brand with who changed it and when.
fn touch(context: &mut Context<'_>, mut brand: Value) -> Value {
    brand["updatedAt"] = json!(context.timestamp());
    brand["updatedBy"] = json!(context.user_id());
    let id = text(&brand, "id").to_owned();
    context.put(BRANDS, &id, brand.clone());
    brand
}

fn change(context: &mut Context<'_>) -> Handled {
    let before = asked(context)?;
    let mut brand = (*before).clone();
    let fields: &[&str] = &["/name", "/description"];
    for step in patch::steps(context, &[("add", fields), ("replace", fields), ("remove", &["/description"])])? {
        let value = if step.op == "remove" { String::new() } else { step.text()?.to_owned() };
        if step.path == "/name" {
            named(&value)?;
        }
        patch::set(&mut brand, &step.path, json!(value));
    }
    if brand != *before {
        touch(context, brand);
    }
    Ok(Answer::no_content())
}

/// Without the brand in use the tenant has Qlik's own again.
fn delete(context: &mut Context<'_>) -> Handled {
    let brand = asked(context)?;
    let id = text(&brand, "id");
    for (file, _) in SIZES {
        context.remove(FILES, &file_key(id, file));
    }
    context.remove(BRANDS, id);
    Ok(Answer::no_content())
}

/// Puts the brand in use in place of any other, or out of use.
fn switch(context: &mut Context<'_>, on: bool) -> Handled {
    let mut brand = (*asked(context)?).clone();
    if (brand["active"] == true) != on {
        if let Some(other) = in_use(context).filter(|_| on) {
            let mut other = (*other).clone();
            other["active"] = json!(false);
            touch(context, other);
        }
        brand["active"] = json!(on);
        brand = touch(context, brand);
    }
    Ok(Answer::ok(&shown(context, &brand)))
}

fn activate(context: &mut Context<'_>) -> Handled {
    switch(context, true)
}

fn deactivate(context: &mut Context<'_>) -> Handled {
    switch(context, false)
}

/// What a file is, by its first bytes; the reason when it is none that its place takes.
fn kind(file: &str, bytes: &[u8]) -> Result<&'static str, &'static str> {
    match file {
        "logo" if bytes.starts_with(b"\x89PNG\r\n\x1a\n") => Ok("image/png"),
        "logo" if bytes.starts_with(b"\xFF\xD8\xFF") => Ok("image/jpeg"),
        "logo" => Err("a logo is a PNG or JPG file"),
        "favIcon" if bytes.starts_with(b"\0\0\x01\0") => Ok("image/x-icon"),
        "favIcon" => Err("a favIcon is an ICO file"),
        _ if serde_json::from_slice::<Value>(bytes).is_ok() => Ok("application/json"),
        _ => Err("styles are a JSON file"),
    }
}

/// Keeps a file of a brand; gives it as it is shown.
fn keep(context: &mut Context<'_>, brand: &str, file: &str, bytes: Bytes) -> Result<Value, Refusal> {
    let most = SIZES.iter().find(|(held, _)| *held == file).map_or(0, |(_, size)| *size);
    if bytes.len() > most {
        return Err(Refusal::bad_request(format!("{file} has more than {} KB", most >> 10)));
    }
    let kind = kind(file, &bytes).map_err(Refusal::bad_request)?;
    let tag = hex(&Md5::digest(&bytes));
    let document = json!({
        "id": file, "contentType": kind, "eTag": tag, "path": format!("/api/v1/brands/{brand}/files/{file}"),
        CONTENT: &*context.keep(bytes),
    });
    context.put(FILES, &file_key(brand, file), document.clone());
    Ok(shown_file(&document))
}

/// The brand and the file of the path, with the file's document when there is one.
fn asked_file(context: &Context<'_>) -> Result<(Document, String, Option<Document>), Refusal> {
    let (brand, file) = (asked(context)?, context.var("brand-file-id"));
    let held = context.get(FILES, &file_key(text(&brand, "id"), &file));
    Ok((brand, file, held))
}

fn download(context: &mut Context<'_>) -> Handled {
    let (_, file, held) = asked_file(context)?;
    let bytes = held.and_then(|held| context.content(&held)).ok_or_else(not_found)?;
    let kind = kind(&file, &bytes).unwrap_or("application/octet-stream");
    Ok(Answer::bytes(kind, bytes))
}

/// Takes the file that the form brings.
fn take(context: &mut Context<'_>, brand: &Value, file: &str) -> Result<Value, Refusal> {
    let bytes = context.part("file").map(|part| part.bytes.clone());
    let bytes = bytes.ok_or_else(|| Refusal::bad_request("the form has no part `file`"))?;
    let kept = keep(context, text(brand, "id"), file, bytes)?;
    touch(context, brand.clone());
    Ok(kept)
}

fn add_file(context: &mut Context<'_>) -> Handled {
    let (brand, file, held) = asked_file(context)?;
    if held.is_some() {
        return Err(Refusal::bad_request(format!("the brand has a {file} already")));
    }
    Ok(Answer::created(&take(context, &brand, &file)?))
}

fn replace_file(context: &mut Context<'_>) -> Handled {
    let (brand, file, held) = asked_file(context)?;
    held.ok_or_else(not_found)?;
    Ok(Answer::ok(&take(context, &brand, &file)?))
}

fn remove_file(context: &mut Context<'_>) -> Handled {
    let (brand, file, held) = asked_file(context)?;
    held.ok_or_else(not_found)?;
    context.remove(FILES, &file_key(text(&brand, "id"), &file));
    touch(context, (*brand).clone());
    Ok(Answer::no_content())
}
