use rhai::plugin::*;
use rhai::{Array, Map as ScriptMap};

use super::options::{script, script_or_unit, scripts};
use super::packages::{Endings, Kind};
use super::render::Bundle;
use super::tenant::Tenant;
use crate::playbook::Call;

/// `tenant.extensions`.
#[derive(Clone, Debug)]
pub(super) struct Extensions(pub(super) Tenant);

/// Endings of the kinds of files that extensions may not hold: programs, libraries, core dumps, Java applets, zips, shell,
/// batch, AWK and PHP scripts (help.qlik.com, extensions). Qlik looks at the content; that the ending tells it is an
/// assumption.
const REFUSED: &[&str] = &[
    "awk", "bash", "bat", "bin", "class", "cmd", "com", "core", "dll", "dylib", "exe", "jar", "ksh", "msi", "o", "php",
    "sh", "so", "sys", "zip", "zsh",
];

const KIND: Kind = Kind {
    noun: "extension",
    one: "an extension",
    many: "extensions",
    list: "getExtensions",
    upload: "uploadExtension",
    patch: "patchExtension",
    delete: "deleteExtension",
    endings: Endings::AllBut(REFUSED),
    types: |held| if held.is_empty() || held == "theme" { Err("visualization") } else { Ok(()) },
    needs: &[],
};

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// Makes sure the tenant has this extension; gives it as Qlik describes it. It is uploaded only when its content differs.
    ///
    /// Qlik's limits are checked first: one `.qext` file at the top, whose name is the extension's identity; at most 500 files,
    /// 30 MB zipped and 100 MB unpacked; no programs, scripts or archives. Hosts that it loads from, such as a map's tiles,
    /// need a CSP origin.
    ///
    /// - `bundle`: what `bundle(folder, values)` gives.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.extensions.ensure(bundle("extensions/route-map", customer));
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_extension(
        context: NativeCallContext,
        extensions: &mut Extensions,
        bundle: Bundle,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.extensions.ensure")?;
        let document = KIND.ensure(&mut call, &extensions.0, &bundle.0, ScriptMap::new())?;
        script(&call, &document)
    }

    /// Makes sure the tenant has this extension with these options.
    ///
    /// - `bundle`: what `bundle(folder, values)` gives.
    /// - `options`: `tags`, a list of texts.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.extensions.ensure(bundle("extensions/route-map", customer), #{ tags: ["halyard"] });
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_extension_with(
        context: NativeCallContext,
        extensions: &mut Extensions,
        bundle: Bundle,
        options: ScriptMap,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.extensions.ensure")?;
        let document = KIND.ensure(&mut call, &extensions.0, &bundle.0, options)?;
        script(&call, &document)
    }

    /// The extension of this name as Qlik describes it; an error when there is none.
    ///
    /// - `name`: that of its `.qext` file without the ending; case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.extensions.ensure(bundle("extensions/route-map", customer));
    /// log(tenant.extensions.get("route-map").id);
    /// ```
    #[rhai_fn(name = "get", pure, return_raw)]
    pub fn get_extension(
        context: NativeCallContext,
        extensions: &mut Extensions,
        name: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.extensions.get")?;
        let document = KIND.get(&mut call, &extensions.0, name)?;
        script(&call, &document)
    }

    /// The extension of this name as Qlik describes it, or `()`.
    ///
    /// - `name`: that of its `.qext` file without the ending; case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// if tenant.extensions.find("route-map") == () { log("not yet"); }
    /// ```
    #[rhai_fn(name = "find", pure, return_raw)]
    pub fn find_extension(
        context: NativeCallContext,
        extensions: &mut Extensions,
        name: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.extensions.find")?;
        let found = KIND.find(&mut call, &extensions.0, name)?;
        script_or_unit(&call, found.as_ref())
    }

    /// All extensions of the tenant as Qlik describes them.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// for extension in tenant.extensions.list() { log(extension.name); }
    /// ```
    #[rhai_fn(name = "list", pure, return_raw)]
    pub fn list_extensions(
        context: NativeCallContext,
        extensions: &mut Extensions,
    ) -> Result<Array, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.extensions.list")?;
        let found = KIND.all(&mut call, &extensions.0)?;
        scripts(&call, &found)
    }

    /// Makes sure the tenant has no extension of this name.
    ///
    /// - `name`: that of its `.qext` file without the ending; case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.extensions.delete("route-map");
    /// ```
    #[rhai_fn(name = "delete", pure, return_raw)]
    pub fn delete_extension(
        context: NativeCallContext,
        extensions: &mut Extensions,
        name: &str,
    ) -> Result<(), Box<EvalAltResult>> {
        KIND.remove(&mut Call::begin(&context, "tenant.extensions.delete")?, &extensions.0, name)
    }
}
