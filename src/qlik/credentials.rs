//! Who tenantry is to each host of a target. A host for which there are no credentials is never called.

use std::collections::BTreeMap;

use crate::operation::{Failure, FailureKind, Host};

/// The credentials of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// An organization: one client for each region, and perhaps one for the console.
    Organization {
        /// The regional clients by region (`eu`).
        regions: BTreeMap<String, OauthClient>,
        /// The organization's client, which lists tenants.
        console: Option<OauthClient>,
    },
    /// One tenant and nothing else.
    Pinned {
        /// The tenant's host name.
        host: String,
        /// What opens it.
        access: Access,
    },
    /// One more tenant, with an access of its own.
    With {
        /// The tenant's host name.
        host: String,
        /// What opens it.
        access: Access,
        /// What opens everything else.
        others: Box<Credentials>,
    },
}

/// An OAuth client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OauthClient {
    /// Its id.
    pub id: String,
    /// The name of its secret in the secret store.
    pub secret: String,
}

/// What opens a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// An OAuth client: a token is fetched from the host itself.
    Client(OauthClient),
    /// An API key, by its name in the secret store.
    ApiKey(String),
}

impl Credentials {
    /// What opens `host`.
    ///
    /// # Errors
    /// When the host is not one of the target's: a failure of kind `Denied`.
    pub fn access(&self, host: &Host) -> Result<Access, Failure> {
        match self {
            Self::With { host: own, access, others } => match host {
                Host::Tenant(name) if name.eq_ignore_ascii_case(own) => Ok(access.clone()),
                _ => others.access(host),
            },
            Self::Pinned { host: pinned, access } => match host {
                Host::Tenant(name) if name.eq_ignore_ascii_case(pinned) => Ok(access.clone()),
                _ => Err(foreign(host).hint(format!("This target is pinned to the tenant {pinned}."))),
            },
            Self::Organization { regions, console } => {
                let region = match host {
                    Host::Console => {
                        return console.clone().map(Access::Client).ok_or_else(|| {
                            foreign(host).hint(
                                "This target has no console client. With one it can list the organization's tenants.",
                            )
                        });
                    }
                    Host::Register(region) => region.as_str(),
                    Host::Tenant(name) => region_of(name).ok_or_else(|| {
                        foreign(host).hint("A tenant's host name reads `<label>.<region>.qlikcloud.com`.")
                    })?,
                };
                regions.get(region).cloned().map(Access::Client).ok_or_else(|| {
                    let known: Vec<&str> = regions.keys().map(String::as_str).collect();
                    foreign(host).hint(format!(
                        "This target has no client for the region `{region}`; it has {}.",
                        if known.is_empty() { "none".to_owned() } else { known.join(", ") }
                    ))
                })
            }
        }
    }
}

fn foreign(host: &Host) -> Failure {
    Failure::new(FailureKind::Denied, "tenantry/foreign-host", format!("{host} is not a host of this target"))
        .detail("nothing was sent: only the target's hosts may be called")
}

/// The region in a tenant's host name.
fn region_of(host: &str) -> Option<&str> {
    let mut labels = host.strip_suffix(".qlikcloud.com")?.split('.');
    let (label, region) = (labels.next()?, labels.next()?);
    (labels.next().is_none() && !label.is_empty() && label != "register" && !region.is_empty()).then_some(region)
}
