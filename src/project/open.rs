//! From settings to what a run needs: a vault with every source, and the target's credentials, identity and licence.

use std::collections::BTreeMap;
use std::sync::Arc;

use secrecy::ExposeSecret as _;

use super::{Access, ClientCredentials, OrganizationTarget, PinnedTarget, Project, SourceTarget, Target};
use crate::interpreter::{IdentitySource, License};
use crate::operation::Failure;
use crate::qlik::{self, Addresses, Credentials, OauthClient};
use crate::store::{CommandLimits, Environment, Sink, Vault};

impl Project {
    /// A vault with all secrets of the settings. Nothing is read before it is needed: a target that is not used may
    /// lack its secrets.
    #[must_use]
    pub fn vault(&self, environment: Arc<dyn Environment>) -> Vault {
        let vault =
            Vault::new(environment, Sink::Folder(self.state_folder().join("secrets")), CommandLimits::default());
        for (name, source) in self.secrets() {
            vault.add(name, source.clone());
        }
        for target in self.targets().values() {
            target.enter(&vault);
        }
        vault
    }
}

impl Target {
    fn enter(&self, vault: &Vault) {
        let enter_client = |scope: &str, client: &ClientCredentials| {
            vault.add(format!("{scope}/client_id"), client.client_id.clone());
            vault.add(format!("{scope}/client_secret"), client.client_secret.clone());
        };
        let enter_access = |scope: &str, key: &str, access: &Access| match access {
            Access::Client(client) => enter_client(scope, client),
            Access::ApiKey(source) => vault.add(key, source.clone()),
        };
        let enter_source = |scope: &str, source: Option<&SourceTarget>| {
            if let Some(access) = source.and_then(|source| source.access.as_ref()) {
                enter_access(scope, &format!("{scope}/api_key"), access);
            }
        };
        match self {
            Self::Sandbox => {}
            Self::Organization(target) => {
                enter_source(&target.scope("source"), target.source.as_ref());
                if let Some(console) = &target.console {
                    enter_client(&target.scope("console"), console);
                }
                for (region, client) in &target.regions {
                    enter_client(&target.scope(&format!("regions/{region}")), client);
                }
                if let Some(key) = &target.license_key {
                    vault.add(target.scope("license_key"), key.clone());
                }
            }
            Self::Pinned(target) => {
                enter_source(&target.scope("source"), target.source.as_ref());
                enter_access(&target.scope("tenant"), &target.scope("api_key"), &target.access);
            }
        }
    }
}

impl OrganizationTarget {
    /// The name under which the vault keeps a secret of this target. Playbooks cannot ask for it: it has slashes.
    fn scope(&self, part: &str) -> String {
        format!("target/{}/{part}", self.name)
    }

    /// Who tenantry is to the organization's hosts. Client ids are read here, their secrets only at the socket.
    ///
    /// # Errors
    /// When a client id comes from a source that cannot be read.
    pub async fn credentials(&self, vault: &Vault) -> Result<Credentials, Failure> {
        let mut regions = BTreeMap::new();
        for region in self.regions.keys() {
            regions.insert(region.clone(), client(vault, &self.scope(&format!("regions/{region}"))).await?);
        }
        let console = match &self.console {
            Some(_) => Some(client(vault, &self.scope("console")).await?),
            None => None,
        };
        with_source(Credentials::Organization { regions, console }, self.source.as_ref(), vault, &self.scope("source"))
            .await
    }

    /// Where the organization's identity comes from.
    #[must_use]
    pub fn identity(&self) -> IdentitySource {
        match (&self.organization, &self.license_from) {
            (Some(organization), _) => IdentitySource::Given(organization.clone()),
            (None, Some(host)) => IdentitySource::LicenseOf(host.clone()),
            (None, None) => IdentitySource::LicenseKey(self.scope("license_key")),
        }
    }

    /// Where the licence key for new tenants comes from.
    #[must_use]
    pub fn license(&self) -> License {
        match (&self.license_key, &self.license_from) {
            (Some(_), _) => License::Key(self.scope("license_key")),
            (None, Some(host)) => License::From(host.clone()),
            (None, None) => License::None,
        }
    }

    /// Where its hosts are reached.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }
}

impl PinnedTarget {
    fn scope(&self, part: &str) -> String {
        format!("target/{}/{part}", self.name)
    }

    /// Who tenantry is to the tenant.
    ///
    /// # Errors
    /// When the client id comes from a source that cannot be read.
    pub async fn credentials(&self, vault: &Vault) -> Result<Credentials, Failure> {
        let access = opened_by(&self.access, vault, &self.scope("tenant"), self.scope("api_key")).await?;
        let credentials = Credentials::Pinned { host: self.tenant.clone(), access };
        with_source(credentials, self.source.as_ref(), vault, &self.scope("source")).await
    }
}

/// What opens a tenant. `scope` is where the vault has its client, `key` where it has its API key.
async fn opened_by(access: &Access, vault: &Vault, scope: &str, key: String) -> Result<qlik::Access, Failure> {
    Ok(match access {
        Access::Client(_) => qlik::Access::Client(client(vault, scope).await?),
        Access::ApiKey(_) => qlik::Access::ApiKey(key),
    })
}

/// The credentials, with those of a source tenant that has some of its own.
async fn with_source(
    credentials: Credentials,
    source: Option<&SourceTarget>,
    vault: &Vault,
    scope: &str,
) -> Result<Credentials, Failure> {
    let Some(SourceTarget { tenant, access: Some(access) }) = source else { return Ok(credentials) };
    let access = opened_by(access, vault, scope, format!("{scope}/api_key")).await?;
    Ok(Credentials::With { host: tenant.clone(), access, others: Box::new(credentials) })
}

async fn client(vault: &Vault, scope: &str) -> Result<OauthClient, Failure> {
    let id = vault.text(&format!("{scope}/client_id")).await?;
    Ok(OauthClient { id: id.expose_secret().to_owned(), secret: format!("{scope}/client_secret") })
}
