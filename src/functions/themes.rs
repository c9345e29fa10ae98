use rhai::plugin::*;
use rhai::{Array, Map as ScriptMap};

use super::options::{script, script_or_unit, scripts};
use super::packages::{Endings, Kind};
use super::render::Bundle;
use super::tenant::Tenant;
use crate::playbook::Call;

/// `tenant.themes`.
#[derive(Clone, Debug)]
pub(super) struct Themes(pub(super) Tenant);

const KIND: Kind = Kind {
    noun: "theme",
    one: "a theme",
    many: "themes",
    list: "getThemes",
    upload: "uploadTheme",
    patch: "patchTheme",
    delete: "deleteTheme",
    endings: Endings::Only(&[
        "qext", "json", "css", "html", "htm", "png", "jpg", "jpeg", "gif", "svg", "woff", "woff2", "ttf", "otf", "eot",
    ]),
    types: |held| if held == "theme" { Ok(()) } else { Err("theme") },
    needs: &["theme.json"],
};

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
        let document = KIND.ensure(&mut call, &themes.0, &bundle.0, ScriptMap::new())?;
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
        let document = KIND.ensure(&mut call, &themes.0, &bundle.0, options)?;
        script(&call, &document)
    }

    /// The theme of this name as Qlik describes it; an error when there is none.
    ///
    /// - `name`: that of its `.qext` file without the ending; case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.themes.ensure(bundle("themes/customer", customer));
    /// log(tenant.themes.get("hb-theme").id);
    /// ```
    #[rhai_fn(name = "get", pure, return_raw)]
    pub fn get_theme(
        context: NativeCallContext,
        themes: &mut Themes,
        name: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.themes.get")?;
        let document = KIND.get(&mut call, &themes.0, name)?;
        script(&call, &document)
    }

    /// The theme of this name as Qlik describes it, or `()`.
    ///
    /// - `name`: that of its `.qext` file without the ending; case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// if tenant.themes.find("hb-theme") == () { log("not yet"); }
    /// ```
    #[rhai_fn(name = "find", pure, return_raw)]
    pub fn find_theme(
        context: NativeCallContext,
        themes: &mut Themes,
        name: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.themes.find")?;
        let found = KIND.find(&mut call, &themes.0, name)?;
        script_or_unit(&call, found.as_ref())
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
        let found = KIND.all(&mut call, &themes.0)?;
        scripts(&call, &found)
    }

    /// Makes sure the tenant has no theme of this name.
    ///
    /// - `name`: that of its `.qext` file without the ending; case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.themes.delete("hb-theme");
    /// ```
    #[rhai_fn(name = "delete", pure, return_raw)]
    pub fn delete_theme(context: NativeCallContext, themes: &mut Themes, name: &str) -> Result<(), Box<EvalAltResult>> {
        KIND.remove(&mut Call::begin(&context, "tenant.themes.delete")?, &themes.0, name)
    }
}
