//! Which part of the simulated Qlik Cloud a host name means.

use jiff::Timestamp;
use serde_json::Value;

use super::context::text;
use super::source_tenant;
use super::state::{Document, Scope, State};

/// Regions and the data centers behind them, as the tenants API lists them. Kept as data: the names of the last two
/// do not follow the provider's own (fact sheet, glossary).
pub(super) const REGIONS: [(&str, &str); 7] = [
    ("us", "us-east-1"),
    ("eu", "eu-west-1"),
    ("uk", "eu-west-2"),
    ("de", "eu-central-1"),
    ("jp", "ap-northeast-1"),
    ("ap", "ap-southeast-1"),
    ("sg", "ap-southeast-2"),
];

pub(super) const DOMAIN: &str = "qlikcloud.com";
const CONSOLE: &str = "console.qlikcloud.com";

/// Whether a name, in small letters, is one that a host of the cloud can have: the console's, or a label in a region.
pub(super) fn is_host(name: &str) -> bool {
    name == CONSOLE
        || split(name).is_some_and(|(label, _)| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}

/// What answers on a host.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Place {
    /// `register.<region>.qlikcloud.com`: makes and retires tenants of the region.
    Register { region: &'static str },
    /// `console.qlikcloud.com`: lists the organization's tenants.
    Console,
    /// A tenant, by its random host name or its alias.
    Tenant(Document),
    /// Nothing.
    Nowhere,
}

/// What answers on the host of this name, and the organization whose tenant it is; the first one elsewhere.
pub(super) fn find(state: &State, host: &str, now: Timestamp) -> (Place, Scope) {
    if host == CONSOLE {
        return (Place::Console, Scope::Organization);
    }
    if let Some((label, region)) = split(host)
        && label == "register"
    {
        return (Place::Register { region }, Scope::Organization);
    }
    match tenant_with_home(state, host, now) {
        Some((home, tenant)) => (Place::Tenant(tenant), home),
        None => (Place::Nowhere, Scope::Organization),
    }
}

/// The tenant that has this host name or alias.
pub(super) fn tenant(state: &State, host: &str, now: Timestamp) -> Option<Document> {
    tenant_with_home(state, host, now).map(|(_, tenant)| tenant)
}

/// The same, with the organization it is of.
pub(super) fn tenant_with_home(state: &State, host: &str, now: Timestamp) -> Option<(Scope, Document)> {
    if host == source_tenant::HOST {
        return Some((Scope::Organization, source_tenant::document()));
    }
    state.organizations().into_iter().find_map(|home| {
        let tenants = state.collection(&home, "tenants");
        let tenant = tenants.find("hostnames", host).into_iter().find(|tenant| !is_purged(tenant, now))?;
        Some((home, tenant))
    })
}

/// Where the day of a deactivated tenant's end is kept.
pub(super) const PURGE: &str = "deletionStartsAt";

/// Whether a deactivated tenant's time is over: then it is gone for good, and its names are free.
pub(super) fn is_purged(tenant: &Value, now: Timestamp) -> bool {
    text(tenant, PURGE).parse::<Timestamp>().is_ok_and(|ends| ends <= now)
}

/// The label and the region of a host name in a region.
pub(super) fn split(host: &str) -> Option<(&str, &'static str)> {
    let (label, rest) = host.split_once('.')?;
    let (region, domain) = rest.split_once('.')?;
    let (region, _) = REGIONS.into_iter().find(|(known, _)| *known == region)?;
    (domain == DOMAIN).then_some((label, region))
}

/// The host name with this label in a region.
pub(super) fn name(label: &str, region: &str) -> String {
    format!("{label}.{region}.{DOMAIN}")
}
