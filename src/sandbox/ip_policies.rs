//! IP policies: the addresses from which a tenant may be used (core ip-policies API). That requests from elsewhere are
//! blocked is not simulated: everybody who plays with a sandbox calls from their own machine.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::context::{Answer, Context, Handled, text};
use super::filter::{Fields, Filter};
use super::paging::{self, Paging, page};
use super::patch;
use super::refusal::Refusal;
use super::resources::Resource;
use super::state::Document;

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("getIpPolicies", list),
        ("createIpPolicy", create),
        ("getIpPolicy", get),
        ("patchIpPolicy", change),
        ("deleteIpPolicy", delete),
    ],
    seed: None,
};

const PAGING: Paging = Paging::forward("page", 20, 100);
const SORTS: &[&str] = &["enabled", "createdAt", "updatedAt", "name"];
const FILTERS: Fields = Fields { eq: &["enabled", "id"], co: &[] };

fn list(context: &mut Context<'_>) -> Handled {
    let mut found = context.collection("ipPolicies").documents();
    if let Some(filter) = context.parameter("filter") {
        found = Filter::parse(filter, FILTERS)?.apply(found);
    }
    paging::sort(context, &mut found, SORTS, "")?;
    page(context, found, PAGING)
}

/// Whether this is an IPv4 address, or a range of them as CIDR writes it.
fn is_range(text: &str) -> bool {
    let (address, bits) = text.split_once('/').unwrap_or((text, "32"));
    address.parse::<Ipv4Addr>().is_ok() && bits.parse::<u8>().is_ok_and(|bits| bits <= 32)
}

fn checked(policy: &Value) -> Result<(), Refusal> {
    let ips = policy["allowedIps"].as_array().map(Vec::as_slice).unwrap_or_default();
    if ips.is_empty() {
        return Err(Refusal::bad_request("allowedIps must not be empty").pointer("/allowedIps"));
    }
    match ips.iter().find(|ip| !ip.as_str().is_some_and(is_range)) {
        Some(ip) => Err(Refusal::bad_request(format!("{ip} is no IPv4 address or range")).pointer("/allowedIps")),
        None => Ok(()),
    }
}

/// A name may be given again: the API publishes no conflict for it.
fn create(context: &mut Context<'_>) -> Handled {
    let body = &context.body;
    let (id, now, user) = (context.new_id(), context.timestamp(), context.user_id());
    let policy = json!({
        "id": id, "tenantId": context.tenant_id(), "name": text(body, "name"), "allowedIps": body["allowedIps"],
        "enabled": body["enabled"] == true, "editable": true, "deletable": true, "toggleable": true,
        "createdAt": now, "createdBy": user, "updatedAt": now, "updatedBy": user,
    });
    checked(&policy)?;
    context.put("ipPolicies", &id, policy.clone());
    Ok(Answer::created(&policy))
}

/// The policy of the path.
fn asked(context: &Context<'_>) -> Result<Document, Refusal> {
    context.get("ipPolicies", &context.var("id")).ok_or_else(|| Refusal::not_found("HTTP-404"))
}

fn get(context: &mut Context<'_>) -> Handled {
    Ok(Answer::ok(&*asked(context)?))
}

fn change(context: &mut Context<'_>) -> Handled {
    let before = asked(context)?;
    let mut policy = (*before).clone();
    for step in patch::steps(context, &[("replace", &["/enabled", "/name", "/allowedIps"])])? {
        match &*step.path {
            "/enabled" => drop(step.flag()?),
            "/name" => drop(step.text()?),
            _ => {}
        }
        patch::set(&mut policy, &step.path, step.value);
    }
    checked(&policy)?;
    if policy != *before {
        policy["updatedAt"] = json!(context.timestamp());
        policy["updatedBy"] = json!(context.user_id());
        context.put("ipPolicies", &context.var("id"), policy);
    }
    Ok(Answer::no_content())
}

fn delete(context: &mut Context<'_>) -> Handled {
    asked(context)?;
    context.remove("ipPolicies", &context.var("id"));
    Ok(Answer::no_content())
}
