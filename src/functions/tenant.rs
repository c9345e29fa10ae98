//! A tenant, as a script holds it.

use std::fmt;
use std::sync::Arc;

use rhai::plugin::*;
use serde_json::Value;

use super::brands::Brands;
use super::csp_origins::CspOrigins;
use super::encryption::Encryption;
use super::extensions::Extensions;
use super::groups::Groups;
use super::identity_providers::IdentityProviders;
use super::ip_policies::IpPolicies;
use super::licenses::Licenses;
use super::listing::note;
use super::oauth_clients::OauthClients;
use super::request::Ask;
use super::roles::Roles;
use super::spaces::Spaces;
use super::tenant_documents::TenantDocument;
use super::tenant_settings::TenantSettings;
use super::themes::Themes;
use super::users::Users;
use super::web_integrations::WebIntegrations;
use crate::operation::{Failure, FailureKind, Host};
use crate::playbook::{Call, ScriptError};

/// One tenant, as a script holds it.
#[derive(Clone)]
pub(super) struct Tenant(Arc<Facts>);

struct Facts {
    id: String,
    host: Host,
    host_name: String,
    region: String,
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tenant {}", self.0.host_name)
    }
}

impl Tenant {
    pub(super) fn new(id: String, host_name: String, region: String) -> Self {
        Self(Arc::new(Facts { id, host: Host::Tenant(host_name.clone()), host_name, region }))
    }

    pub(super) fn id(&self) -> &str {
        &self.0.id
    }

    pub(super) fn host(&self) -> &Host {
        &self.0.host
    }

    pub(super) fn host_name(&self) -> &str {
        &self.0.host_name
    }

    pub(super) fn region(&self) -> &str {
        &self.0.region
    }

    /// A request to this tenant.
    pub(super) fn ask(&self, id: &'static str, subject: impl Into<String>) -> Ask {
        Ask::new(&self.0.host, id, subject)
    }

    pub(super) fn subject(&self) -> String {
        format!("tenant {}", self.0.host_name)
    }

    /// What a `get` was asked for is not there. `what`: `space "Staging"`.
    pub(super) fn lacks(&self, what: &str) -> Failure {
        let title = format!("there is no {what} in {}", self.0.host_name);
        Failure::new(FailureKind::Refused, "tenantry/not-found", title)
    }

    pub(super) fn note(&self, call: &Call) -> String {
        note(call, self, "tenant")
    }

    /// The tenant's own document, read once per run.
    pub(super) fn document(&self, call: &mut Call) -> Result<Value, ScriptError> {
        match call.note(&self.note(call)) {
            Some(document) => Ok(document),
            None => self.read(call),
        }
    }

    pub(super) fn read(&self, call: &mut Call) -> Result<Value, ScriptError> {
        let response = self.ask("getTenant", self.subject()).var("tenantId", self.id()).send(call)?;
        let document = response.json().clone();
        self.remember(call, document.clone());
        Ok(document)
    }

    pub(super) fn remember(&self, call: &Call, document: Value) {
        call.set_note(&self.note(call), document);
    }
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// The tenant's id.
    #[rhai_fn(get = "id", pure)]
    pub fn id(tenant: &mut Tenant) -> String {
        tenant.id().to_owned()
    }

    /// The tenant's random system host name, which never changes.
    #[rhai_fn(get = "hostname", pure)]
    pub fn hostname(tenant: &mut Tenant) -> String {
        tenant.host_name().to_owned()
    }

    /// The tenant's region, such as `eu`.
    #[rhai_fn(get = "region", pure)]
    pub fn region(tenant: &mut Tenant) -> String {
        tenant.region().to_owned()
    }

    /// The tenant's address in a browser.
    #[rhai_fn(get = "url", pure)]
    pub fn url(tenant: &mut Tenant) -> String {
        format!("https://{}", tenant.host_name())
    }

    /// The tenant's own settings: name, alias, flags.
    #[rhai_fn(get = "settings", pure)]
    pub fn settings(tenant: &mut Tenant) -> TenantSettings {
        TenantSettings(tenant.clone())
    }

    /// How long users' sessions last.
    #[rhai_fn(get = "sessions", pure)]
    pub fn sessions(tenant: &mut Tenant) -> TenantDocument {
        TenantDocument::sessions(tenant.clone())
    }

    /// How many API keys users may have, and for how long.
    #[rhai_fn(get = "api_keys", pure)]
    pub fn api_keys(tenant: &mut Tenant) -> TenantDocument {
        TenantDocument::api_keys(tenant.clone())
    }

    /// Whether users may set data alerts.
    #[rhai_fn(get = "data_alerts", pure)]
    pub fn data_alerts(tenant: &mut Tenant) -> TenantDocument {
        TenantDocument::data_alerts(tenant.clone())
    }

    /// Whether users may share by e-mail, and subscribe to reports.
    #[rhai_fn(get = "sharing", pure)]
    pub fn sharing(tenant: &mut Tenant) -> TenantDocument {
        TenantDocument::sharing(tenant.clone())
    }

    /// From which addresses the tenant can be used.
    #[rhai_fn(get = "ip_policies", pure)]
    pub fn ip_policies(tenant: &mut Tenant) -> IpPolicies {
        IpPolicies(tenant.clone())
    }

    /// The keys that the tenant's data is encrypted with.
    #[rhai_fn(get = "encryption", pure)]
    pub fn encryption(tenant: &mut Tenant) -> Encryption {
        Encryption(tenant.clone())
    }

    /// Licences: the pool of seats, who holds one, automatic assignment.
    #[rhai_fn(get = "licenses", pure)]
    pub fn licenses(tenant: &mut Tenant) -> Licenses {
        Licenses(tenant.clone())
    }

    /// The tenant's identity providers.
    #[rhai_fn(get = "identity_providers", pure)]
    pub fn identity_providers(tenant: &mut Tenant) -> IdentityProviders {
        IdentityProviders(tenant.clone())
    }

    /// The tenant's groups.
    #[rhai_fn(get = "groups", pure)]
    pub fn groups(tenant: &mut Tenant) -> Groups {
        Groups(tenant.clone())
    }

    /// The tenant's roles.
    #[rhai_fn(get = "roles", pure)]
    pub fn roles(tenant: &mut Tenant) -> Roles {
        Roles(tenant.clone())
    }

    /// The tenant's users.
    #[rhai_fn(get = "users", pure)]
    pub fn users(tenant: &mut Tenant) -> Users {
        Users(tenant.clone())
    }

    /// The tenant's spaces.
    #[rhai_fn(get = "spaces", pure)]
    pub fn spaces(tenant: &mut Tenant) -> Spaces {
        Spaces(tenant.clone())
    }

    /// The tenant's web integrations: who may embed it.
    #[rhai_fn(get = "web_integrations", pure)]
    pub fn web_integrations(tenant: &mut Tenant) -> WebIntegrations {
        WebIntegrations(tenant.clone())
    }

    /// The tenant's own OAuth clients: for embedding, and for acting as its users.
    #[rhai_fn(get = "oauth_clients", pure)]
    pub fn oauth_clients(tenant: &mut Tenant) -> OauthClients {
        OauthClients(tenant.clone())
    }

    /// The tenant's content security policy.
    #[rhai_fn(get = "csp_origins", pure)]
    pub fn csp_origins(tenant: &mut Tenant) -> CspOrigins {
        CspOrigins(tenant.clone())
    }

    /// The tenant's themes.
    #[rhai_fn(get = "themes", pure)]
    pub fn themes(tenant: &mut Tenant) -> Themes {
        Themes(tenant.clone())
    }

    /// The tenant's visualization extensions.
    #[rhai_fn(get = "extensions", pure)]
    pub fn extensions(tenant: &mut Tenant) -> Extensions {
        Extensions(tenant.clone())
    }

    /// The tenant's brands: logo and favicon.
    #[rhai_fn(get = "brands", pure)]
    pub fn brands(tenant: &mut Tenant) -> Brands {
        Brands(tenant.clone())
    }

    /// The tenant as text: its host name.
    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn to_text(tenant: &mut Tenant) -> String {
        tenant.host_name().to_owned()
    }
}
