use rhai::plugin::*;
use rhai::{Array, Map as ScriptMap};

use super::publishing::{publish, roll_back};
use super::staging::{Content, import};
use super::{App, Apps, delete, entries, found, listing, subject, update};
use crate::functions::options::script;
use crate::functions::spaces::Space;
use crate::playbook::Call;

pub(in crate::functions) fn methods() -> Module {
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
        import(&mut Call::begin(&context, "space.import_app")?, space, &Content::File(file), ScriptMap::new())
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
        import(&mut Call::begin(&context, "space.import_app")?, space, &Content::File(file), options)
    }

    /// Makes sure the space has an app with the content of another tenant's app, of the source tenant above all; gives that
    /// copy. It is called as the app is, and its description has the app's words and version.
    ///
    /// The app is exported only when it was modified or reloaded since its last import, and streamed from its tenant to this
    /// one. It must lie in a shared space; tenantry's own user gets the role `producer` there when it has no such role.
    ///
    /// - `app`: exactly the one that is meant.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let app = tenants::source().spaces.get("Apps").apps.get("Shipment Tracking");
    /// tenant.spaces.ensure("Staging", "shared").import_app(app);
    /// ```
    #[rhai_fn(name = "import_app", pure, return_raw)]
    pub fn import_app_plain(
        context: NativeCallContext,
        space: &mut Space,
        app: App,
    ) -> Result<App, Box<EvalAltResult>> {
        import(&mut Call::begin(&context, "space.import_app")?, space, &Content::App(&app), ScriptMap::new())
    }

    /// Makes sure the space has an app with the content of another tenant's app, with these options.
    ///
    /// - `app`: exactly the one that is meant.
    /// - `options`: as for a file. With `NoData` it is exported without its data too.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let app = tenants::source().spaces.get("Apps").apps.get("Shipment Tracking");
    /// tenant.spaces.ensure("Staging", "shared").import_app(app, #{ name: "Tracking", version: "2.3.0", NoData: true });
    /// ```
    #[rhai_fn(name = "import_app", pure, return_raw)]
    pub fn import_app_with(
        context: NativeCallContext,
        space: &mut Space,
        app: App,
        options: ScriptMap,
    ) -> Result<App, Box<EvalAltResult>> {
        import(&mut Call::begin(&context, "space.import_app")?, space, &Content::App(&app), options)
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
        match found(&mut call, &apps.0, name)? {
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
        Ok(found(&mut call, &apps.0, name)?.map_or(Dynamic::UNIT, Dynamic::from))
    }

    /// All apps of the space, as the tenant's index has them. Calls that follow in this run, in branches too, look for apps of
    /// the space in this list and not once more in the index, until they write there.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// for app in tenant.spaces.ensure("Staging", "shared").apps.list() { log(app.name); }
    /// ```
    #[rhai_fn(name = "list", pure, return_raw)]
    pub fn list_apps(context: NativeCallContext, apps: &mut Apps) -> Result<Array, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "space.apps.list")?;
        let found = listing(&call, &apps.0).read(&mut call, entries(&apps.0, None))?;
        found.iter().map(|entry| Ok(Dynamic::from(App::listed(&call, &apps.0, entry)?))).collect()
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
