use std::net::Ipv4Addr;

use rhai::plugin::*;
use rhai::{Array, Map as ScriptMap};
use serde_json::{Map, Value, json};

use super::converge::{self, Resource, Updated, oldest};
use super::options::{invalid, options, script, script_or_unit, scripts, text, text_set};
use super::request::{Ask, patch, text_of};
use super::tenant::Tenant;
use crate::event::FieldChange;
use crate::operation::{Failure, FailureKind, Outcome};
use crate::playbook::{Call, ScriptError};

/// `tenant.ip_policies`.
#[derive(Clone, Debug)]
pub(super) struct IpPolicies(pub(super) Tenant);

/// A range of IPv4 addresses; one address is a range of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u32,
    mask: u32,
}

impl Range {
    /// An address, or a range as CIDR writes it: `203.0.113.0/24`.
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/').unwrap_or((text, "32"));
        let address = u32::from(address.parse::<Ipv4Addr>().ok()?);
        let bits = bits.parse::<u32>().ok().filter(|bits| *bits <= 32)?;
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        Some(Self { first: address & mask, mask })
    }

    fn holds(self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask == self.first
    }

    fn is_public(self) -> bool {
        let first = Ipv4Addr::from(self.first);
        self.mask == 0 || !(first.is_private() || first.is_loopback() || first.is_link_local())
    }
}

struct Wanted<'t> {
    tenant: &'t Tenant,
    name: String,
    fields: Map<String, Value>,
    caller: Option<Ipv4Addr>,
}

impl Resource for Wanted<'_> {
    fn scope(&self) -> String {
        self.tenant.host_name().to_owned()
    }

    fn subject(&self) -> String {
        subject(&self.name)
    }

    fn wanted(&self) -> &Map<String, Value> {
        &self.fields
    }

    fn find(&self, call: &mut Call) -> Result<Option<Value>, ScriptError> {
        named(call, self.tenant, &self.name)
    }

    fn create(&self, call: &mut Call) -> Result<Outcome, ScriptError> {
        let mut body = Value::Object(self.fields.clone());
        body["name"] = json!(self.name);
        keeps_in(call, self.tenant, self.caller, "", Some(&body))?;
        self.tenant.ask("createIpPolicy", self.subject()).json(body).attempt(call)
    }

    fn update(&self, call: &mut Call, current: &Value, changes: &[FieldChange]) -> Result<Updated, ScriptError> {
        let id = text_of(call, "getIpPolicies", current, "id")?;
        let after = converge::merged(current, &self.fields);
        keeps_in(call, self.tenant, self.caller, &id, Some(&after))?;
        let body = patch(changes, &self.fields, |field| format!("/{field}"));
        self.tenant.ask("patchIpPolicy", self.subject()).var("id", id).json(body).send(call)?;
        Ok(Updated::InPlace)
    }

    fn view(&self, field: &str, value: &Value) -> Value {
        if field != "allowedIps" {
            return value.clone();
        }
        text_set(value)
    }
}

fn subject(name: &str) -> String {
    format!("IP policy \"{name}\"")
}

fn all(tenant: &Tenant) -> Ask {
    tenant.ask("getIpPolicies", "IP policies").query("limit", "100")
}

fn named(call: &mut Call, tenant: &Tenant, name: &str) -> Result<Option<Value>, ScriptError> {
    let held = all(tenant).list(call)?;
    Ok(oldest(call, held, "IP policies", ("name", name), "createdAt"))
}

/// Refuses a change after which the caller itself could not come in any more: once one policy is enabled, Qlik blocks
/// every address that is in none (core ip-policies specification).
fn keeps_in(
    call: &mut Call,
    tenant: &Tenant,
    caller: Option<Ipv4Addr>,
    changed: &str,
    after: Option<&Value>,
) -> Result<(), ScriptError> {
    let held = all(tenant).list(call)?;
    let others = held.iter().filter(|policy| policy["id"].as_str() != Some(changed));
    let enabled: Vec<&Value> = others.chain(after).filter(|policy| policy["enabled"] == true).collect();
    if enabled.is_empty() {
        return Ok(());
    }
    let Some(caller) = caller else { return Err(no_caller(call)) };
    let ranges = enabled.iter().flat_map(|policy| policy["allowedIps"].as_array().into_iter().flatten());
    let mut ranges = ranges.filter_map(|range| Range::parse(range.as_str()?));
    if ranges.any(|range| range.holds(caller)) {
        return Ok(());
    }
    Err(call.throw(
        Failure::new(FailureKind::Denied, "tenantry/locked-out", format!("{caller} would be locked out of the tenant"))
            .detail("it is in no enabled IP policy, and Qlik Cloud blocks all addresses that are in none")
            .hint("add the address from which you call Qlik Cloud to `allowedIps`"),
    ))
}

fn no_caller(call: &Call) -> ScriptError {
    invalid(
        call,
        "an enabled IP policy needs `caller`, the address from which you call Qlik Cloud",
        Some("it is checked that it is in an enabled policy, so that nobody is locked out".to_owned()),
    )
}

fn address(call: &Call, text: &str) -> Result<Ipv4Addr, ScriptError> {
    text.parse().map_err(|_| invalid(call, format!("`{text}` is not an IPv4 address"), None))
}

fn ensure(call: &mut Call, tenant: &Tenant, name: &str, given: ScriptMap) -> Result<Value, ScriptError> {
    if name.is_empty() {
        return Err(invalid(call, "an IP policy needs a name", None));
    }
    let mut fields = options(call, given, &["allowedIps", "enabled", "caller"])?;
    let caller = if fields.contains_key("caller") { Some(text(call, &fields, "caller")?) } else { None };
    fields.shift_remove("caller");
    let caller = caller.map(|caller| address(call, &caller)).transpose()?;
    let ips = fields.get("allowedIps").and_then(Value::as_array).filter(|ips| !ips.is_empty());
    let Some(ips) = ips else {
        return Err(invalid(call, "`allowedIps` must be a list of IPv4 addresses or ranges", None));
    };
    for ip in ips {
        match ip.as_str().and_then(Range::parse) {
            Some(range) if range.is_public() => {}
            Some(_) => {
                let hint = "Qlik Cloud sees the public address behind which your network is".to_owned();
                return Err(invalid(call, format!("{ip} is a private address"), Some(hint)));
            }
            None => {
                let hint = "write `203.0.113.7`, or `203.0.113.0/24` for a range".to_owned();
                return Err(invalid(call, format!("{ip} is not an IPv4 address or range"), Some(hint)));
            }
        }
    }
    match fields.get("enabled") {
        Some(Value::Bool(true)) if caller.is_none() => return Err(no_caller(call)),
        None | Some(Value::Bool(_)) => {}
        Some(_) => return Err(invalid(call, "`enabled` must be true or false", None)),
    }
    let converged = converge::ensure(call, &Wanted { tenant, name: name.to_owned(), fields, caller })?;
    Ok(converged.document)
}

fn delete(call: &mut Call, tenant: &Tenant, name: &str, caller: Option<&str>) -> Result<(), ScriptError> {
    let caller = caller.map(|caller| address(call, caller)).transpose()?;
    let subject = subject(name);
    let find = |call: &mut Call| named(call, tenant, name);
    converge::remove(call, tenant.host_name(), &subject, find, |call, policy| {
        let id = text_of(call, "getIpPolicies", policy, "id")?;
        if policy["enabled"] == true {
            keeps_in(call, tenant, caller, &id, None)?;
        }
        tenant.ask("deleteIpPolicy", &subject).var("id", id).remove(call)
    })
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// Makes sure there is an IP policy like this; gives it as Qlik describes it. As soon as one policy is enabled, the tenant
    /// can be used from the addresses in enabled policies only.
    ///
    /// - `name`: exact, case matters.
    /// - `options`: `allowedIps`, IPv4 addresses and ranges such as `203.0.113.0/24`; `enabled`; `caller`, the public address
    ///   from which you call Qlik Cloud: a change after which it would be in no enabled policy is refused. What is not
    ///   mentioned is left alone.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.ip_policies.ensure("offices", #{
    ///     allowedIps: ["203.0.113.0/24", "198.51.100.7"], enabled: true, caller: "198.51.100.7",
    /// });
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_policy(
        context: NativeCallContext,
        policies: &mut IpPolicies,
        name: &str,
        options: ScriptMap,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.ip_policies.ensure")?;
        let document = ensure(&mut call, &policies.0, name, options)?;
        script(&call, &document)
    }

    /// The IP policy of this name as Qlik describes it; an error when there is none.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.ip_policies.ensure("offices", #{ allowedIps: ["203.0.113.0/24"] });
    /// log(tenant.ip_policies.get("offices").enabled);
    /// ```
    #[rhai_fn(name = "get", pure, return_raw)]
    pub fn get_policy(
        context: NativeCallContext,
        policies: &mut IpPolicies,
        name: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.ip_policies.get")?;
        match named(&mut call, &policies.0, name)? {
            Some(document) => script(&call, &document),
            None => Err(call.throw(policies.0.lacks(&subject(name)))),
        }
    }

    /// The IP policy of this name as Qlik describes it, or `()`.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// if tenant.ip_policies.find("offices") == () { log("open to all"); }
    /// ```
    #[rhai_fn(name = "find", pure, return_raw)]
    pub fn find_policy(
        context: NativeCallContext,
        policies: &mut IpPolicies,
        name: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.ip_policies.find")?;
        let found = named(&mut call, &policies.0, name)?;
        script_or_unit(&call, found.as_ref())
    }

    /// All IP policies of the tenant as Qlik describes them.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// for policy in tenant.ip_policies.list() { log(policy.name); }
    /// ```
    #[rhai_fn(name = "list", pure, return_raw)]
    pub fn list_policies(context: NativeCallContext, policies: &mut IpPolicies) -> Result<Array, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.ip_policies.list")?;
        let found = all(&policies.0).list(&mut call)?;
        scripts(&call, &found)
    }

    /// Makes sure there is no IP policy of this name. With the last enabled one the tenant is open to all addresses again;
    /// while others are enabled, say who calls.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.ip_policies.delete("offices");
    /// ```
    #[rhai_fn(name = "delete", pure, return_raw)]
    pub fn delete_policy(
        context: NativeCallContext,
        policies: &mut IpPolicies,
        name: &str,
    ) -> Result<(), Box<EvalAltResult>> {
        delete(&mut Call::begin(&context, "tenant.ip_policies.delete")?, &policies.0, name, None)
    }

    /// Makes sure there is no IP policy of this name, unless the caller would then be in no enabled one.
    ///
    /// - `name`: exact, case matters.
    /// - `caller`: the public address from which you call Qlik Cloud.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.ip_policies.delete("offices", "198.51.100.7");
    /// ```
    #[rhai_fn(name = "delete", pure, return_raw)]
    pub fn delete_policy_as(
        context: NativeCallContext,
        policies: &mut IpPolicies,
        name: &str,
        caller: &str,
    ) -> Result<(), Box<EvalAltResult>> {
        delete(&mut Call::begin(&context, "tenant.ip_policies.delete")?, &policies.0, name, Some(caller))
    }
}
