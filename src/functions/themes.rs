use rhai::plugin::*;
use rhai::{Array, Map as ScriptMap};
use serde_json::{Map, Value, json};

use super::converge::{self, Resource, Updated};
use super::options::{invalid, listed, options, script, scripts};
use super::render::Bundle;
use super::request::{Ask, text_of};
use super::tenants::Tenant;
use crate::event::FieldChange;
use crate::operation::{self, Content, Outcome};
use crate::playbook::{Call, ScriptError};

/// `tenant.themes`.
#[derive(Clone, Debug)]
pub(super) struct Themes(pub(super) Tenant);

/// Qlik's limits on a theme (qlik.dev changelog 70; help.qlik.com, themes).
const MAX_ZIP: u64 = 30 << 20;
const MAX_FILE: u64 = 30 << 20;
const MAX_UNPACKED: u64 = 100 << 20;
const MAX_FILES: usize = 500;

/// What a theme may hold, by the ending of the file's name.
const ENDINGS: [&str; 15] =
    ["qext", "json", "css", "html", "htm", "png", "jpg", "jpeg", "gif", "svg", "woff", "woff2", "ttf", "otf", "eot"];

struct Wanted<'t> {
    tenant: &'t Tenant,
    /// The name of the `.qext` file without its ending: a theme's identity.
    identity: String,
    bundle: &'t operation::Bundle,
    fields: Map<String, Value>,
}

impl Resource for Wanted<'_> {
    fn scope(&self) -> String {
        self.tenant.host_name().to_owned()
    }

    fn subject(&self) -> String {
        format!("theme \"{}\"", self.identity)
    }

    fn wanted(&self) -> &Map<String, Value> {
        &self.fields
    }

    fn find(&self, call: &mut Call) -> Result<Option<Value>, ScriptError> {
        let themes = all(self.tenant).list(call)?;
        let identity = |theme: &Value| {
            theme["qextFilename"].as_str().map(|name| name.strip_suffix(".qext").unwrap_or(name).to_owned())
        };
        Ok(themes.into_iter().find(|theme| identity(theme).as_deref() == Some(&self.identity)).map(|mut theme| {
            theme["md5"] = theme["file"]["md5"].clone();
            theme
        }))
    }

    fn create(&self, call: &mut Call) -> Result<Outcome, ScriptError> {
        self.with_file(self.tenant.ask("uploadTheme", self.subject())).attempt(call)
    }

    fn update(&self, call: &mut Call, current: &Value, changes: &[FieldChange]) -> Result<Updated, ScriptError> {
        let id = text_of(call, "getThemes", current, "id")?;
        let ask = self.tenant.ask("patchTheme", self.subject()).var("id", id);
        let ask =
            if changes.iter().any(|change| change.field == "md5") { self.with_file(ask) } else { self.with_data(ask) };
        let response = ask.send(call)?;
        // The contract wraps the one theme in a list.
        let theme = response.json()["data"].get(0).unwrap_or(response.json());
        Ok(if theme["id"].is_string() { Updated::To(theme.clone()) } else { Updated::InPlace })
    }
}

impl Wanted<'_> {
    fn with_file(&self, ask: Ask) -> Ask {
        let name = format!("{}.zip", self.identity);
        self.with_data(ask.part("file", Some(&name), Content::Bundle(self.bundle.clone())))
    }

    fn with_data(&self, ask: Ask) -> Ask {
        match self.fields.get("tags") {
            Some(tags) => ask.part("data", None, Content::Json(json!({ "tags": tags }))),
            None => ask,
        }
    }
}

fn all(tenant: &Tenant) -> Ask {
    tenant.ask("getThemes", "themes")
}

fn ensure(
    call: &mut Call,
    tenant: &Tenant,
    bundle: &operation::Bundle,
    given: ScriptMap,
) -> Result<Value, ScriptError> {
    let mut fields = options(call, given, &["tags"])?;
    let identity = check(call, bundle)?;
    let zipped = |error: zip::result::ZipError| invalid(call, format!("the theme cannot be zipped: {error}"), None);
    let size = bundle.zip().map_err(zipped)?.len() as u64;
    if size > MAX_ZIP {
        return Err(too_large(call, format!("the theme's zip is {}; Qlik Cloud takes {}", mb(size), mb(MAX_ZIP))));
    }
    let md5 = bundle.zip_md5().map_err(zipped)?;
    fields.insert("md5".to_owned(), json!(md5));
    let wanted = Wanted { tenant, identity, bundle, fields };
    let mut document = converge::ensure(call, &wanted)?.document;
    if let Some(map) = document.as_object_mut() {
        map.shift_remove("md5");
    }
    Ok(document)
}

/// Everything Qlik Cloud would refuse, found before it is sent. Gives the theme's identity.
fn check(call: &Call, bundle: &operation::Bundle) -> Result<String, ScriptError> {
    if bundle.files().len() > MAX_FILES {
        return Err(too_large(
            call,
            format!("the theme has {} files; Qlik Cloud takes {MAX_FILES}", bundle.files().len()),
        ));
    }
    for (path, content) in bundle.files() {
        if content.len() as u64 > MAX_FILE {
            return Err(too_large(
                call,
                format!("`{path}` is {}; Qlik Cloud takes files up to {}", mb(content.len() as u64), mb(MAX_FILE)),
            ));
        }
        let ending = path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map_or("", |(_, ending)| ending);
        if !ENDINGS.contains(&ending.to_ascii_lowercase().as_str()) {
            return Err(invalid(
                call,
                format!("a theme cannot hold `{path}`"),
                Some(format!("the endings allowed are {}", listed(&ENDINGS))),
            ));
        }
    }
    if bundle.unpacked_size() > MAX_UNPACKED {
        return Err(too_large(
            call,
            format!("the theme is {} unpacked; Qlik Cloud takes {}", mb(bundle.unpacked_size()), mb(MAX_UNPACKED)),
        ));
    }
    let document = |path: &str| -> Result<Value, ScriptError> {
        let content = bundle.file(path).map(AsRef::as_ref).unwrap_or_default();
        serde_json::from_slice(content)
            .map_err(|error| invalid(call, format!("`{path}` of the theme is not JSON: {error}"), None))
    };
    let qext: Vec<&str> = bundle
        .files()
        .map(|(path, _)| path)
        .filter(|path| path.strip_suffix(".qext").is_some_and(|name| !name.contains('/')))
        .collect();
    let [qext] = qext[..] else {
        return Err(invalid(
            call,
            format!("a theme needs one .qext file at its top; this has {}", qext.len()),
            Some("its name is the theme's identity: `hb-theme.qext`".to_owned()),
        ));
    };
    let about = document(qext)?;
    if about["type"].as_str() != Some("theme") {
        return Err(invalid(call, format!("`{qext}` does not say `\"type\": \"theme\"`"), None));
    }
    if about["name"].as_str().is_none_or(str::is_empty) {
        return Err(invalid(call, format!("`{qext}` has no `name`"), None));
    }
    if bundle.file("theme.json").is_none() {
        return Err(invalid(call, "a theme needs `theme.json` at its top", None));
    }
    document("theme.json")?;
    Ok(qext.strip_suffix(".qext").unwrap_or(qext).to_owned())
}

fn too_large(call: &Call, title: String) -> ScriptError {
    call.refuse("tenantry/theme-too-large", title)
}

fn mb(bytes: u64) -> String {
    format!("{}.{} MB", bytes >> 20, ((bytes % (1 << 20)) * 10) >> 20)
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// Makes sure the tenant has this theme; gives it as Qlik describes it. It is uploaded only when its content differs.
    ///
    /// Qlik's limits are checked first: one `.qext` file at the top, whose name is the theme's identity; `theme.json`; at most
    /// 500 files, 30 MB zipped and 100 MB unpacked; only HTML, CSS, JSON, pictures and fonts.
    ///
    /// - `bundle`: what `bundle(folder, values)` gives.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.themes.ensure(bundle("themes/customer", customer));
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_theme(
        context: NativeCallContext,
        themes: &mut Themes,
        bundle: Bundle,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.themes.ensure")?;
        let document = ensure(&mut call, &themes.0, &bundle.0, ScriptMap::new())?;
        script(&call, &document)
    }

    /// Makes sure the tenant has this theme with these options.
    ///
    /// - `bundle`: what `bundle(folder, values)` gives.
    /// - `options`: `tags`, a list of texts.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.themes.ensure(bundle("themes/customer", customer), #{ tags: ["halyard"] });
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_theme_with(
        context: NativeCallContext,
        themes: &mut Themes,
        bundle: Bundle,
        options: ScriptMap,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.themes.ensure")?;
        let document = ensure(&mut call, &themes.0, &bundle.0, options)?;
        script(&call, &document)
    }

    /// All themes of the tenant as Qlik describes them.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// for theme in tenant.themes.list() { log(theme.name); }
    /// ```
    #[rhai_fn(name = "list", pure, return_raw)]
    pub fn list_themes(context: NativeCallContext, themes: &mut Themes) -> Result<Array, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.themes.list")?;
        let found = all(&themes.0).list(&mut call)?;
        scripts(&call, &found)
    }
}
