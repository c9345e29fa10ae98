//! What a playbook can call: one file per Qlik resource.
//!
//! Each function decides which operations are needed, in which order, and what comes back; performing them is somebody
//! else's work. Three files hold what all resources share: `request` makes operations from the contract, `converge` is
//! the one way to *ensure* something, `options` reads the maps that scripts pass.
//!
//! Verbs mean the same everywhere: `ensure` reads, compares, and creates or changes only what differs; `get` fails when
//! there is none, `find` gives `()`, `list` gives all pages. Fields carry Qlik's own names.

#![allow(unreachable_pub, reason = "Rhai exports the public functions of a module, which nobody else can reach")]
#![allow(clippy::unnecessary_box_returns, reason = "Rhai's errors are boxed everywhere")]
#![allow(clippy::wildcard_imports, reason = "Rhai's export macros need all of its plugin prelude")]

mod apps;
mod automation_connections;
mod automation_definition;
mod automation_runs;
mod automations;
mod brands;
mod collections;
mod converge;
mod csp_origins;
mod data_connections;
mod data_files;
mod encryption;
mod extensions;
mod globals;
mod groups;
mod identity_providers;
mod ip_policies;
mod items;
mod keys;
mod licenses;
mod listing;
mod login;
mod marker;
mod oauth_clients;
mod operations;
mod options;
mod origins;
mod packages;
mod reloads;
mod render;
mod request;
mod roles;
mod sources;
mod spaces;
mod tasks;
mod tenant;
mod tenant_documents;
mod tenant_settings;
mod tenants;
mod themes;
mod users;
mod waiting;
mod web_integrations;

use std::sync::Arc;

use rhai::{Engine, Module, Shared};

use crate::render::Templates;

/// The functions of one resource.
struct Room {
    /// The namespace of functions that are not methods: `tenants::ensure`.
    namespace: Option<&'static str>,
    module: Shared<Module>,
}

thread_local! {
    /// Built once per thread and shared by all its engines: an engine per run then costs next to nothing.
    static ROOMS: Vec<Room> = rooms();
}

fn rooms() -> Vec<Room> {
    [
        (None, globals::module()),
        (Some("tenants"), tenants::module()),
        (None, tenant::methods()),
        (None, tenant_settings::methods()),
        (None, tenant_documents::methods()),
        (None, ip_policies::methods()),
        (None, encryption::methods()),
        (None, licenses::methods()),
        (None, identity_providers::methods()),
        (Some("keys"), keys::module()),
        (None, groups::methods()),
        (None, roles::methods()),
        (None, users::methods()),
        (None, spaces::methods()),
        (None, apps::methods()),
        (None, reloads::methods()),
        (None, tasks::methods()),
        (None, items::methods()),
        (None, collections::methods()),
        (None, automations::methods()),
        (None, automation_runs::methods()),
        (None, automation_connections::methods()),
        (None, data_connections::methods()),
        (None, data_files::methods()),
        (None, web_integrations::methods()),
        (None, oauth_clients::methods()),
        (None, csp_origins::methods()),
        (None, themes::methods()),
        (None, extensions::methods()),
        (None, brands::methods()),
        (None, login::methods()),
        (None, operations::methods()),
    ]
    .map(|(namespace, module)| Room { namespace, module: Shared::new(module) })
    .into()
}

/// Registers all of it. `render`, `render_text` and `bundle` use these templates.
pub fn register(engine: &mut Engine, templates: &Arc<Templates>) {
    engine
        .register_type_with_name::<tenant::Tenant>("Tenant")
        .register_type_with_name::<tenant_settings::TenantSettings>("TenantSettings")
        .register_type_with_name::<tenant_documents::TenantDocument>("TenantDocument")
        .register_type_with_name::<encryption::Encryption>("Encryption")
        .register_type_with_name::<ip_policies::IpPolicies>("IpPolicies")
        .register_type_with_name::<licenses::Licenses>("Licenses")
        .register_type_with_name::<identity_providers::IdentityProviders>("IdentityProviders")
        .register_type_with_name::<groups::Groups>("Groups")
        .register_type_with_name::<groups::Group>("Group")
        .register_type_with_name::<roles::Roles>("Roles")
        .register_type_with_name::<users::Users>("Users")
        .register_type_with_name::<users::User>("User")
        .register_type_with_name::<spaces::Spaces>("Spaces")
        .register_type_with_name::<spaces::Space>("Space")
        .register_type_with_name::<apps::Apps>("Apps")
        .register_type_with_name::<apps::App>("App")
        .register_type_with_name::<tasks::Tasks>("Tasks")
        .register_type_with_name::<items::Items>("Items")
        .register_type_with_name::<collections::Collections>("Collections")
        .register_type_with_name::<collections::Collection>("Collection")
        .register_type_with_name::<automations::Automations>("Automations")
        .register_type_with_name::<automations::Automation>("Automation")
        .register_type_with_name::<automation_connections::AutomationConnections>("AutomationConnections")
        .register_type_with_name::<data_connections::DataConnections>("DataConnections")
        .register_type_with_name::<data_files::DataFiles>("DataFiles")
        .register_type_with_name::<web_integrations::WebIntegrations>("WebIntegrations")
        .register_type_with_name::<oauth_clients::OauthClients>("OauthClients")
        .register_type_with_name::<csp_origins::CspOrigins>("CspOrigins")
        .register_type_with_name::<themes::Themes>("Themes")
        .register_type_with_name::<extensions::Extensions>("Extensions")
        .register_type_with_name::<brands::Brands>("Brands")
        .register_type_with_name::<render::Bundle>("Bundle");
    ROOMS.with(|rooms| {
        for room in rooms {
            match room.namespace {
                Some(namespace) => engine.register_static_module(namespace, room.module.clone()),
                None => engine.register_global_module(room.module.clone()),
            };
        }
    });
    engine.register_global_module(Shared::new(render::module(templates)));
}
