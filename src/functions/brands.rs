use std::collections::BTreeMap;

use rhai::plugin::*;
use rhai::{Array, Map as ScriptMap};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::converge::{self, Resource, Updated, oldest};
use super::options::{invalid, listed, options, script, script_or_unit, scripts, text};
use super::request::{Ask, patch, text_of, unexpected};
use super::tenant::Tenant;
use crate::event::{Change, FieldChange};
use crate::operation::{Content, Digest, Effect, Outcome, Payload};
use crate::playbook::{Call, ScriptError};

/// `tenant.brands`.
#[derive(Clone, Debug)]
pub(super) struct Brands(pub(super) Tenant);

/// The files of a brand: their kinds by the ending of their names, and how many bytes Qlik takes (brands API). Styles are
/// left out: Qlik says that they do nothing yet.
const FILES: [(&str, &[&str], u64); 2] =
    [("logo", &["png", "jpg", "jpeg"], 300 << 10), ("favIcon", &["ico"], 100 << 10)];

/// A file of the project.
struct File {
    path: String,
    sha256: String,
}

struct Wanted<'t> {
    tenant: &'t Tenant,
    name: String,
    /// `description`, and the SHA-256 of each file.
    fields: Map<String, Value>,
    files: BTreeMap<&'static str, File>,
}

impl Resource for Wanted<'_> {
    fn scope(&self) -> String {
        self.tenant.host_name().to_owned()
    }

    fn subject(&self) -> String {
        subject(&self.name)
    }

    fn wanted(&self) -> &Map<String, Value> {
        &self.fields
    }

    fn find(&self, call: &mut Call) -> Result<Option<Value>, ScriptError> {
        let Some(mut brand) = named(call, self.tenant, &self.name)? else { return Ok(None) };
        for id in self.files.keys() {
            brand[*id] = self.held(call, &brand, id)?;
        }
        Ok(Some(brand))
    }

    fn create(&self, call: &mut Call) -> Result<Outcome, ScriptError> {
        let mut ask =
            self.tenant.ask("createBrand", self.subject()).part("name", None, Content::Json(json!(self.name)));
        if let Some(description) = self.fields.get("description") {
            ask = ask.part("description", None, Content::Json(description.clone()));
        }
        for (id, file) in &self.files {
            ask = file.part(ask, id);
        }
        ask.attempt(call)
    }

    fn update(&self, call: &mut Call, current: &Value, changes: &[FieldChange]) -> Result<Updated, ScriptError> {
        let id = text_of(call, "getBrands", current, "id")?;
        let (files, words): (Vec<_>, Vec<_>) =
            changes.iter().cloned().partition(|change| self.files.contains_key(change.field.as_str()));
        if !words.is_empty() {
            let body = patch(&words, &self.fields, |field| format!("/{field}"));
            self.tenant.ask("patchBrand", self.subject()).var("brand-id", &id).json(body).send(call)?;
        }
        for (name, file) in &self.files {
            if files.iter().any(|change| change.field == **name) {
                self.put(call, current, name, file)?;
            }
        }
        let response = self.tenant.ask("getBrand", self.subject()).var("brand-id", id).send(call)?;
        Ok(Updated::To(response.json().clone()))
    }
}

impl Wanted<'_> {
    fn file_ask(&self, call: &Call, operation: &'static str, brand: &Value, file: &str) -> Result<Ask, ScriptError> {
        let id = text_of(call, "getBrands", brand, "id")?;
        let subject = format!("{file} of {}", self.subject());
        Ok(self.tenant.ask(operation, subject).var("brand-id", id).var("brand-file-id", file))
    }

    /// The SHA-256 of a file as the brand has it; `null` when it has none. What its `eTag` is made of is not published, so
    /// the file itself is read.
    fn held(&self, call: &mut Call, brand: &Value, file: &str) -> Result<Value, ScriptError> {
        if !has(brand, file) {
            return Ok(Value::Null);
        }
        match self.file_ask(call, "getBrandFile", brand, file)?.attempt(call)? {
            Ok(response) => match &response.payload {
                Payload::Bytes(bytes) => Ok(json!(Digest(Sha256::digest(bytes).into()).to_string())),
                Payload::Empty => Ok(Value::Null),
                Payload::Json(_) => Err(unexpected(call, "getBrandFile", "a picture")),
            },
            Err(failure) if failure.status == Some(404) => Ok(Value::Null),
            Err(failure) => Err(call.throw(failure)),
        }
    }

    /// Puts a file in its place, whether there is one or not.
    fn put(&self, call: &mut Call, brand: &Value, name: &str, file: &File) -> Result<(), ScriptError> {
        if has(brand, name) {
            file.part(self.file_ask(call, "updateBrandFile", brand, name)?, "file").send(call)?;
            return Ok(());
        }
        match file.part(self.file_ask(call, "createBrandFile", brand, name)?, "file").attempt(call)? {
            Ok(_) => Ok(()),
            // It is there meanwhile: perhaps by this very request, whose answer was lost.
            Err(failure) if matches!(failure.status, Some(400 | 409)) => {
                let held = self.tenant.ask("getBrand", self.subject());
                let id = text_of(call, "getBrands", brand, "id")?;
                let held = held.var("brand-id", id).send(call)?.json().clone();
                if self.held(call, &held, name)? == json!(file.sha256) { Ok(()) } else { Err(call.throw(failure)) }
            }
            Err(failure) => Err(call.throw(failure)),
        }
    }
}

impl File {
    fn part(&self, ask: Ask, name: &str) -> Ask {
        let file_name = self.path.rsplit('/').next();
        ask.part(name, file_name, Content::File { path: self.path.clone().into(), sha256: self.sha256.clone() })
    }
}

/// Whether the brand has a file of this id.
fn has(brand: &Value, file: &str) -> bool {
    brand["files"].as_array().into_iter().flatten().any(|held| held["id"].as_str() == Some(file))
}

fn subject(name: &str) -> String {
    format!("brand \"{name}\"")
}

fn all(tenant: &Tenant) -> Ask {
    tenant.ask("getBrands", "brands").query("limit", "100")
}

fn named(call: &mut Call, tenant: &Tenant, name: &str) -> Result<Option<Value>, ScriptError> {
    let held = all(tenant).list(call)?;
    Ok(oldest(call, held, "brands", ("name", name), "createdAt"))
}

fn get(call: &mut Call, tenant: &Tenant, name: &str) -> Result<Value, ScriptError> {
    match named(call, tenant, name)? {
        Some(brand) => Ok(brand),
        None => Err(call.throw(tenant.lacks(&subject(name)))),
    }
}

fn ensure(call: &mut Call, tenant: &Tenant, given: ScriptMap) -> Result<Value, ScriptError> {
    let mut fields = options(call, given, &["name", "description", "logo", "favIcon"])?;
    let name = text(call, &fields, "name")?;
    fields.shift_remove("name");
    if fields.contains_key("description") {
        text(call, &fields, "description")?;
    }
    let mut files = BTreeMap::new();
    for (id, endings, most) in FILES {
        if fields.contains_key(id) {
            let file = file(call, text(call, &fields, id)?, id, endings, most)?;
            fields.insert(id.to_owned(), json!(file.sha256));
            files.insert(id, file);
        }
    }
    let wanted = Wanted { tenant, name, fields, files };
    let mut document = converge::ensure(call, &wanted)?.document;
    if let Some(map) = document.as_object_mut() {
        for (id, ..) in FILES {
            map.shift_remove(id);
        }
    }
    Ok(document)
}

/// A file of the project, when it is one that Qlik takes in this place.
fn file(call: &mut Call, path: String, id: &str, endings: &[&str], most: u64) -> Result<File, ScriptError> {
    let ending = path.rsplit_once('.').map_or("", |(_, ending)| ending).to_ascii_lowercase();
    if !endings.contains(&ending.as_str()) {
        let hint = format!("the endings allowed are {}", listed(endings));
        return Err(invalid(call, format!("`{path}` cannot be the {id} of a brand"), Some(hint)));
    }
    let about = call.ask_local("tenantry.file", Effect::Read, format!("file `{path}`"), json!({ "path": path }))?;
    let size = about["size"].as_u64().unwrap_or_default();
    if size > most {
        let title =
            format!("`{path}` has {} KB; Qlik Cloud takes {} KB for a {id}", size.div_ceil(1 << 10), most >> 10);
        return Err(call.refuse("tenantry/brand-file-too-large", title));
    }
    Ok(File { sha256: text_of(call, "tenantry.file", &about, "sha256")?, path })
}

/// Puts a brand in use, or out of use.
fn switch(call: &mut Call, tenant: &Tenant, name: &str, on: bool) -> Result<(), ScriptError> {
    // One brand is in use: whoever switches another meanwhile, means the same thing.
    call.claim(tenant.host_name(), "the brand in use")?;
    let subject = subject(name);
    let brand = get(call, tenant, name)?;
    if (brand["active"] == true) == on {
        call.step(converge::earlier(call, &subject), subject, Vec::new());
        return Ok(());
    }
    let id = text_of(call, "getBrands", &brand, "id")?;
    let operation = if on { "activateBrand" } else { "deactivateBrand" };
    tenant.ask(operation, &subject).var("brand-id", id).send(call)?;
    let change = FieldChange { field: "active".to_owned(), before: json!(!on), after: json!(on) };
    call.step(Change::Acted, subject, vec![change]);
    Ok(())
}

fn delete(call: &mut Call, tenant: &Tenant, name: &str) -> Result<(), ScriptError> {
    let subject = subject(name);
    let find = |call: &mut Call| named(call, tenant, name);
    converge::remove(call, tenant.host_name(), &subject, find, |call, brand| {
        let id = text_of(call, "getBrands", brand, "id")?;
        tenant.ask("deleteBrand", &subject).var("brand-id", id).remove(call)
    })
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// Makes sure there is a brand like this; gives it as Qlik describes it. It is not in use before it is activated.
    ///
    /// - `options`: `name`, exact; `description`; `logo`, a PNG or JPG file of the project of at most 300 KB; `favIcon`, an
    ///   ICO file of at most 100 KB. What is not mentioned is left alone.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.brands.ensure(#{ name: "Harbour", logo: "content/brands/hb.png", favIcon: "content/brands/hb.ico" });
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_brand(
        context: NativeCallContext,
        brands: &mut Brands,
        options: ScriptMap,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.brands.ensure")?;
        let document = ensure(&mut call, &brands.0, options)?;
        script(&call, &document)
    }

    /// The brand of this name as Qlik describes it; an error when there is none.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.brands.ensure(#{ name: "Harbour" });
    /// log(tenant.brands.get("Harbour").active);
    /// ```
    #[rhai_fn(name = "get", pure, return_raw)]
    pub fn get_brand(
        context: NativeCallContext,
        brands: &mut Brands,
        name: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.brands.get")?;
        let document = get(&mut call, &brands.0, name)?;
        script(&call, &document)
    }

    /// The brand of this name as Qlik describes it, or `()`.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// if tenant.brands.find("Harbour") == () { log("not yet"); }
    /// ```
    #[rhai_fn(name = "find", pure, return_raw)]
    pub fn find_brand(
        context: NativeCallContext,
        brands: &mut Brands,
        name: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.brands.find")?;
        let found = named(&mut call, &brands.0, name)?;
        script_or_unit(&call, found.as_ref())
    }

    /// All brands of the tenant as Qlik describes them.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// for brand in tenant.brands.list() { log(brand.name); }
    /// ```
    #[rhai_fn(name = "list", pure, return_raw)]
    pub fn list_brands(context: NativeCallContext, brands: &mut Brands) -> Result<Array, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.brands.list")?;
        let found = all(&brands.0).list(&mut call)?;
        scripts(&call, &found)
    }

    /// Makes sure this brand is the one in use. It takes the place of any other.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.brands.ensure(#{ name: "Harbour", logo: "content/brands/hb.png" });
    /// tenant.brands.activate("Harbour");
    /// ```
    #[rhai_fn(name = "activate", pure, return_raw)]
    pub fn activate_brand(
        context: NativeCallContext,
        brands: &mut Brands,
        name: &str,
    ) -> Result<(), Box<EvalAltResult>> {
        switch(&mut Call::begin(&context, "tenant.brands.activate")?, &brands.0, name, true)
    }

    /// Makes sure this brand is not in use. Without one the tenant looks as Qlik made it.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.brands.ensure(#{ name: "Harbour" });
    /// tenant.brands.deactivate("Harbour");
    /// ```
    #[rhai_fn(name = "deactivate", pure, return_raw)]
    pub fn deactivate_brand(
        context: NativeCallContext,
        brands: &mut Brands,
        name: &str,
    ) -> Result<(), Box<EvalAltResult>> {
        switch(&mut Call::begin(&context, "tenant.brands.deactivate")?, &brands.0, name, false)
    }

    /// Makes sure there is no brand of this name. Without the one in use the tenant looks as Qlik made it.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.brands.delete("Harbour");
    /// ```
    #[rhai_fn(name = "delete", pure, return_raw)]
    pub fn delete_brand(context: NativeCallContext, brands: &mut Brands, name: &str) -> Result<(), Box<EvalAltResult>> {
        delete(&mut Call::begin(&context, "tenant.brands.delete")?, &brands.0, name)
    }
}
