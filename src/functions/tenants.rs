//! Which tenant is a customer's: the registry's, the organization's, or a new one.

use rhai::plugin::*;
use serde_json::{Map, Value, json};

use super::converge;
use super::options;
use super::request::{Ask, text_of, unexpected};
use super::sources;
use super::tenant::Tenant;
use super::tenant_settings;
use crate::event::{Change, FieldChange};
use crate::operation::{Effect, Failure, FailureKind, Host};
use crate::playbook::{Call, ScriptError};

/// Answers what is known of a customer's tenant.
const LOOKUP: &str = "tenantry.registry.lookup";

/// What a customer's document says about its tenant.
struct Wanted {
    code: String,
    region: String,
    name: Option<String>,
    alias: Option<String>,
    datacenter: Option<String>,
}

impl Wanted {
    fn read(call: &Call, customer: &Dynamic) -> Result<Self, ScriptError> {
        let Ok(map) = customer.as_map_ref() else {
            return Err(options::invalid(
                call,
                format!("a customer is a map with `code` and `region`, not {}", customer.type_name()),
                None,
            ));
        };
        let field = |name: &str| -> Result<Option<String>, ScriptError> {
            match map.get(name) {
                None => Ok(None),
                Some(value) if value.is_unit() => Ok(None),
                Some(value) => match value.as_immutable_string_ref() {
                    Ok(text) if !text.is_empty() => Ok(Some(text.to_string())),
                    _ => Err(options::invalid(call, format!("the customer's `{name}` must be a text"), None)),
                },
            }
        };
        let needed = |name: &str| {
            field(name)?.ok_or_else(|| options::invalid(call, format!("the customer has no `{name}`"), None))
        };
        Ok(Self {
            code: needed("code")?,
            region: needed("region")?,
            name: field("name")?,
            alias: field("alias")?,
            datacenter: field("datacenter")?,
        })
    }

    fn subject(&self) -> String {
        format!("tenant of {}", self.code)
    }

    /// Name and alias as a patch of the tenant would set them, checked before anything is sent.
    fn stamp(&self, call: &Call) -> Result<Map<String, Value>, ScriptError> {
        let mut stamp = Map::new();
        if let Some(name) = &self.name {
            stamp.insert("name".to_owned(), json!(name));
        }
        if let Some(alias) = &self.alias {
            stamp.insert("alias".to_owned(), json!(tenant_settings::alias(call, alias, &self.region)?));
        }
        Ok(stamp)
    }
}

/// What the host knows of a customer's tenant.
enum Known {
    Tenant(Tenant),
    /// The one tenant the target is.
    Pinned(Tenant),
    /// None, and what creating one needs.
    Absent(Value),
}

fn ensure(call: &mut Call, customer: &Dynamic) -> Result<Tenant, ScriptError> {
    let wanted = Wanted::read(call, customer)?;
    let stamp = wanted.stamp(call)?;
    call.claim("tenants", &wanted.subject())?;
    let absent = match look_up(call, &wanted)? {
        Known::Tenant(tenant) => {
            let document = tenant.document(call)?;
            active(call, tenant.host_name(), &document)?;
            let set = finish_stamp(call, &tenant, &document, stamp.clone())?;
            // This call made it, before it had to start again.
            if converge::earlier(call, &wanted.subject()) == Change::Created {
                prove(call, &tenant)?;
                call.step(Change::Created, tenant.subject(), from_nothing(stamp));
            } else {
                let change = if set.is_empty() { Change::Unchanged } else { Change::Updated };
                call.step(change, tenant.subject(), from_nothing(set));
            }
            return Ok(tenant);
        }
        Known::Pinned(tenant) => {
            let document = tenant.document(call)?;
            active(call, tenant.host_name(), &document)?;
            call.step(Change::Unchanged, tenant.subject(), Vec::new());
            return Ok(tenant);
        }
        Known::Absent(absent) => absent,
    };
    if stamp.is_empty() {
        return Err(options::invalid(
            call,
            "the customer has neither `name` nor `alias`",
            Some("give it one: without it another machine cannot find its tenant and would make a second".to_owned()),
        ));
    }
    if absent["list"].as_bool() == Some(true)
        && let Some(host_name) = listed(call, &wanted, &stamp)?
    {
        let tenant = enter(call, &wanted, &host_name)?;
        let document = tenant.document(call)?;
        let set = finish_stamp(call, &tenant, &document, stamp)?;
        if !set.is_empty() {
            call.step(Change::Updated, tenant.subject(), from_nothing(set));
        }
        return Ok(tenant);
    }
    if absent["create"].as_bool() == Some(false) {
        let why = absent["why"].as_str().unwrap_or("no tenant can be created here");
        let mut failure = Failure::new(FailureKind::Denied, "tenantry/no-create", why);
        failure.hint = absent["hint"].as_str().map(str::to_owned);
        return Err(call.throw(failure));
    }
    let license = license(call, &absent["license"])?;
    let mut body = json!({ "licenseKey": license });
    if let Some(datacenter) = &wanted.datacenter {
        body["datacenter"] = json!(datacenter);
    }
    let register = Host::Register(wanted.region.clone());
    let response = Ask::new(&register, "createTenant", wanted.subject()).json(body).send(call)?;
    let created = response.json().clone();
    let id = text_of(call, "createTenant", &created, "id")?;
    let Some(host_name) = created["hostnames"][0].as_str() else {
        return Err(unexpected(call, "createTenant", "a host name"));
    };
    let tenant = Tenant::new(id, host_name.to_owned(), wanted.region.clone());
    tenant.remember(call, created.clone());
    // Only a name or an alias tells a tenant apart from a stray one, so both are set before anything can fail.
    if !stamp.is_empty() {
        tenant_settings::write(call, &tenant, &stamp)?;
    }
    prove(call, &tenant)?;
    call.step(Change::Created, tenant.subject(), from_nothing(stamp));
    Ok(tenant)
}

/// Sets the name and the alias that a tenant never got, because the run that created it ended before it was set; gives
/// what was set. Those it has are left alone: they may be meant so.
fn finish_stamp(
    call: &mut Call,
    tenant: &Tenant,
    document: &Value,
    mut stamp: Map<String, Value>,
) -> Result<Map<String, Value>, ScriptError> {
    let label = tenant.host_name().split('.').next();
    stamp.retain(|field, _| match field.as_str() {
        "alias" => document["hostnames"][1].is_null(),
        // A tenant that nobody has named is called by its random host label.
        _ => document["name"].as_str() == label,
    });
    if !stamp.is_empty() {
        tenant_settings::write(call, tenant, &stamp)?;
    }
    Ok(stamp)
}

fn from_nothing(fields: Map<String, Value>) -> Vec<FieldChange> {
    fields.into_iter().map(|(field, after)| FieldChange { field, before: Value::Null, after }).collect()
}

/// Asks the registry for the customer's tenant; a target may also pin one.
fn look_up(call: &mut Call, wanted: &Wanted) -> Result<Known, ScriptError> {
    let arguments = json!({ "customer": wanted.code, "region": wanted.region });
    let found = call.ask_local(LOOKUP, Effect::Read, wanted.subject(), arguments)?;
    match found["state"].as_str() {
        Some("known") => {
            let id = text_of(call, LOOKUP, &found, "id")?;
            let host_name = text_of(call, LOOKUP, &found, "hostname")?;
            let region = found["region"].as_str().unwrap_or(&wanted.region).to_owned();
            Ok(Known::Tenant(Tenant::new(id, host_name, region)))
        }
        Some("pinned") => {
            let host_name = text_of(call, LOOKUP, &found, "hostname")?;
            at(call, &host_name).map(|(tenant, _)| Known::Pinned(tenant))
        }
        Some("absent") => Ok(Known::Absent(found)),
        Some("unsettled") => {
            let since = found["since"].as_str().unwrap_or("earlier");
            let mut failure = Failure::new(
                FailureKind::Denied,
                "tenantry/unsettled",
                format!("creating a tenant for `{}` was begun {since} and its end is not known", wanted.code),
            );
            failure.hint = found["hint"].as_str().map(str::to_owned);
            Err(call.throw(failure))
        }
        _ => Err(unexpected(call, LOOKUP, "a known `state`")),
    }
}

/// The licence key for a new tenant, as a reference: the target's own, or the one another tenant's overview names.
fn license(call: &mut Call, source: &Value) -> Result<Value, ScriptError> {
    if !source["key"].is_null() {
        return Ok(source["key"].clone());
    }
    let Some(host_name) = source["from"].as_str() else {
        return Err(call.refuse("tenantry/no-license", "this target has no licence for new tenants"));
    };
    let host = Host::Tenant(host_name.to_owned());
    let overview = Ask::new(&host, "getLicenseOverview", format!("licence of {host_name}")).send(call)?;
    match &overview.json()["licenseKey"] {
        Value::Null => Err(unexpected(call, "getLicenseOverview", "`licenseKey`")),
        key => Ok(key.clone()),
    }
}

/// The customer's tenant in the organization's list: by alias, else by name, in its region.
fn listed(call: &mut Call, wanted: &Wanted, stamp: &Map<String, Value>) -> Result<Option<String>, ScriptError> {
    let alias = stamp.get("alias").and_then(Value::as_str);
    if alias.is_none() && wanted.name.is_none() {
        return Ok(None);
    }
    let all = Ask::new(&Host::Console, "listOrganizationTenants", "tenants of the organization")
        .query("limit", "100")
        .list(call)?;
    let domain = format!(".{}.qlikcloud.com", wanted.region);
    let host_names = |tenant: &Value| -> Vec<String> {
        tenant["hostnames"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let here: Vec<Value> = all
        .into_iter()
        .filter(|tenant| tenant["status"].as_str() != Some("deleted"))
        .filter(|tenant| host_names(tenant).first().is_some_and(|name| name.ends_with(&domain)))
        .collect();
    // Also a tenant that is out of service keeps its alias: a new one could not have it. Its name may be used again.
    let by_alias: Vec<&Value> = here
        .iter()
        .filter(|tenant| alias.is_some_and(|alias| host_names(tenant).iter().any(|name| name == alias)))
        .collect();
    let found = if by_alias.is_empty() {
        let same = |tenant: &&Value| {
            tenant["status"].as_str() == Some("active")
                && wanted.name.is_some()
                && tenant["name"].as_str() == wanted.name.as_deref()
        };
        here.iter().filter(same).collect()
    } else {
        by_alias
    };
    match found[..] {
        [] => Ok(None),
        [one] => {
            let host_name = host_names(one).into_iter().next();
            if let Some(host_name) = &host_name {
                active(call, host_name, one)?;
            }
            Ok(host_name)
        }
        _ => {
            let names: Vec<String> = found.iter().filter_map(|tenant| host_names(tenant).into_iter().next()).collect();
            Err(call.throw(
                Failure::new(
                    FailureKind::Denied,
                    "tenantry/ambiguous-tenant",
                    format!("the organization has {} tenants that may be the one of `{}`", names.len(), wanted.code),
                )
                .detail(names.join(", "))
                .hint("enter the right one with `tenantry tenants adopt CUSTOMER HOSTNAME`"),
            ))
        }
    }
}

/// A tenant that does not answer as itself would receive another customer's settings.
fn prove(call: &mut Call, tenant: &Tenant) -> Result<(), ScriptError> {
    let response = tenant.ask("getMyUser", tenant.subject()).send(call)?;
    let answered = response.json()["tenantId"].as_str().unwrap_or_default();
    if answered == tenant.id() {
        return Ok(());
    }
    Err(call.throw(
        Failure::new(
            FailureKind::Refused,
            "tenantry/wrong-tenant",
            format!("{} answers as another tenant", tenant.host_name()),
        )
        .detail(format!("it says its id is `{answered}`, not `{}`", tenant.id())),
    ))
}

fn active(call: &Call, host_name: &str, document: &Value) -> Result<(), ScriptError> {
    match document["status"].as_str() {
        None | Some("active") => Ok(()),
        Some(status) => Err(call.throw(
            Failure::new(FailureKind::Refused, "tenantry/tenant-not-active", format!("{host_name} is {status}"))
                .hint("reactivate it first, or adopt another tenant for this customer"),
        )),
    }
}

/// The tenant that answers at this host name.
pub(super) fn at(call: &mut Call, host_name: &str) -> Result<(Tenant, Value), ScriptError> {
    let Some(region) = region_of(host_name) else {
        return Err(options::invalid(
            call,
            format!("`{host_name}` is not a tenant's host name"),
            Some("give the whole name, such as `q7m2v9k4x1b8tz0.eu.qlikcloud.com`".to_owned()),
        ));
    };
    let asked = Host::Tenant(host_name.to_owned());
    let response = Ask::new(&asked, "getMyTenant", format!("tenant {host_name}")).send(call)?;
    let document = response.json().clone();
    let id = text_of(call, "getMyTenant", &document, "id")?;
    // Everything goes to the system host name: an alias may change hands.
    let system = document["hostnames"][0].as_str().unwrap_or(host_name).to_owned();
    let region = document["region"].as_str().unwrap_or(region).to_owned();
    let tenant = Tenant::new(id, system, region);
    tenant.remember(call, document.clone());
    Ok((tenant, document))
}

fn region_of(host_name: &str) -> Option<&str> {
    let (label, rest) = host_name.split_once('.')?;
    let plain = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
    };
    let (region, _) = rest.split_once('.')?;
    (plain(label) && plain(rest)).then_some(region)
}

fn get(call: &mut Call, customer: &Dynamic) -> Result<Tenant, ScriptError> {
    if let Ok(host_name) = customer.as_immutable_string_ref() {
        let host_name = host_name.to_string();
        return at(call, &host_name).map(|(tenant, _)| tenant);
    }
    let wanted = Wanted::read(call, customer)?;
    match look_up(call, &wanted)? {
        Known::Tenant(tenant) | Known::Pinned(tenant) => Ok(tenant),
        Known::Absent(_) => Err(call.throw(
            Failure::new(
                FailureKind::Denied,
                "tenantry/no-tenant",
                format!("customer `{}` has no tenant", wanted.code),
            )
            .hint(
                "`tenants::ensure(customer)` creates one; `tenants::adopt(customer, hostname)` enters one that exists",
            ),
        )),
    }
}

fn adopt(call: &mut Call, customer: &Dynamic, host_name: &str) -> Result<Tenant, ScriptError> {
    let wanted = Wanted::read(call, customer)?;
    call.claim("tenants", &wanted.subject())?;
    if let Known::Tenant(tenant) | Known::Pinned(tenant) = look_up(call, &wanted)? {
        let document = tenant.document(call)?;
        let is_it = document["hostnames"].as_array().is_some_and(|names| names.iter().any(|name| name == host_name));
        if is_it || tenant.host_name() == host_name {
            active(call, tenant.host_name(), &document)?;
            call.step(Change::Unchanged, tenant.subject(), Vec::new());
            return Ok(tenant);
        }
    }
    enter(call, &wanted, host_name)
}

/// Enters the tenant at this host name into the registry as the customer's.
fn enter(call: &mut Call, wanted: &Wanted, host_name: &str) -> Result<Tenant, ScriptError> {
    let (tenant, document) = at(call, host_name)?;
    active(call, tenant.host_name(), &document)?;
    let arguments = json!({
        "customer": wanted.code, "id": tenant.id(), "hostname": tenant.host_name(), "region": tenant.region(),
        "alias": document["hostnames"][1], "name": document["name"], "status": document["status"],
    });
    call.ask_local("tenantry.registry.adopt", Effect::Update, wanted.subject(), arguments)?;
    call.step(Change::Acted, format!("{}, adopted for {}", tenant.subject(), wanted.code), Vec::new());
    Ok(tenant)
}

pub(super) fn module() -> Module {
    exported_module!(namespace)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod namespace {
    /// The customer's tenant: the one in the registry, else the one in the organization's list that has its alias or its
    /// name, else a new one.
    ///
    /// A new tenant gets the customer's name and alias at once, so that it can be told apart from a stray one. A target
    /// that pins a tenant always gives that one.
    ///
    /// - `customer`: a map with `code` and `region`; `name`, `alias` and `datacenter` are used when they are there.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// ```
    #[rhai_fn(name = "ensure", return_raw)]
    pub fn ensure_tenant(context: NativeCallContext, customer: Dynamic) -> Result<Tenant, Box<EvalAltResult>> {
        ensure(&mut Call::begin(&context, "tenants::ensure")?, &customer)
    }

    /// The tenant of a customer, or the one that answers at a host name; an error when there is none.
    ///
    /// - `customer`: a map with `code` and `region`, or a host name such as `"q7m2v9k4x1b8tz0.eu.qlikcloud.com"`.
    ///
    /// ```rhai
    /// tenants::ensure(customer);
    /// let tenant = tenants::get(customer);
    /// ```
    #[rhai_fn(name = "get", return_raw)]
    pub fn get_tenant(context: NativeCallContext, customer: Dynamic) -> Result<Tenant, Box<EvalAltResult>> {
        get(&mut Call::begin(&context, "tenants::get")?, &customer)
    }

    /// Enters a tenant that exists into the registry as the customer's.
    ///
    /// - `customer`: a map with `code` and `region`.
    /// - `hostname`: the tenant's host name, random or alias.
    ///
    /// ```rhai
    /// let known = tenants::ensure(customer).hostname;
    /// let tenant = tenants::adopt(customer, known);
    /// ```
    #[rhai_fn(name = "adopt", return_raw)]
    pub fn adopt_tenant(
        context: NativeCallContext,
        customer: Dynamic,
        hostname: &str,
    ) -> Result<Tenant, Box<EvalAltResult>> {
        adopt(&mut Call::begin(&context, "tenants::adopt")?, &customer, hostname)
    }

    /// The target's source tenant, where the apps lie that customers get copies of: `source` in `tenantry.toml`. Nothing is
    /// written there but what exports need.
    ///
    /// ```rhai
    /// let apps = tenants::source().spaces.get("Apps").apps.list();
    /// ```
    #[rhai_fn(name = "source", return_raw)]
    pub fn source_tenant(context: NativeCallContext) -> Result<Tenant, Box<EvalAltResult>> {
        sources::source(&mut Call::begin(&context, "tenants::source")?)
    }
}
