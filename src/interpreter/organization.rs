use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use super::Interpreter;
use crate::operation::secret::SecretStore;
use crate::operation::{Call, Effect, Failure, FailureKind, Host, Key, Operation, Request, hex};

/// Who the organization of a target is, found out once.
///
/// Two targets of one organization must come to the same answer, because they share its tenants in the registry.
#[derive(Debug)]
pub struct Organization {
    source: IdentitySource,
    found: OnceCell<String>,
}

/// Where the identity of an organization comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentitySource {
    /// The settings, or the sandbox, say it.
    Given(String),
    /// The licence number that a tenant of the organization reports, by its host name.
    LicenseOf(String),
    /// A fingerprint of the licence key, which is the secret of this name: where nothing better is known.
    LicenseKey(String),
}

impl Organization {
    /// An organization to be found by `source`.
    #[must_use]
    pub fn new(source: IdentitySource) -> Self {
        Self { source, found: OnceCell::new() }
    }

    /// The identity under which the registry knows it.
    ///
    /// # Errors
    /// When the licence cannot be read. A later call tries again.
    pub async fn identity(&self, ask: &dyn Interpreter, secrets: &dyn SecretStore) -> Result<String, Failure> {
        let find = async || match &self.source {
            IdentitySource::Given(identity) => Ok(identity.clone()),
            IdentitySource::LicenseOf(host) => license_number(ask, host).await,
            IdentitySource::LicenseKey(name) => {
                let key = secrets.read(name).await?;
                let digest = Sha256::digest(key.expose_secret().trim());
                let prefix = hex(&digest[..8]);
                Ok(format!("license-key-{prefix}"))
            }
        };
        self.found.get_or_try_init(find).await.cloned()
    }
}

/// `GET licenses/overview` (qlik.dev, licenses REST API).
async fn license_number(ask: &dyn Interpreter, host: &str) -> Result<String, Failure> {
    let operation = Operation {
        id: "getLicenseOverview".to_owned(),
        call: Call::Request(Request::new(
            Host::Tenant(host.to_owned()),
            http::Method::GET,
            "/api/v1/licenses/overview",
        )),
        effect: Effect::Read,
        subject: format!("licence of {host}"),
        site: None,
    };
    // Asked for the target, before any run: there is no host call to count it under.
    let key = Key { branch: Vec::new(), call: 0, id: operation.id.clone(), ordinal: 0 };
    let answer = ask.perform(&key, &operation).await?;
    match answer.json()["licenseNumber"].as_str() {
        Some(number) if !number.is_empty() => Ok(number.to_owned()),
        _ => Err(Failure::new(
            FailureKind::Denied,
            "tenantry/organization",
            format!("{host} does not report a licence number, so the organization is not known"),
        )
        .hint("name it in tenantry.toml: `organization = \"...\"` in the target, the same in every target of the organization")),
    }
}
