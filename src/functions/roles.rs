use rhai::Array;
use rhai::plugin::*;
use serde_json::Value;

use super::options::{script, script_or_unit, scripts};
use super::request::equals;
use super::tenant::Tenant;
use crate::playbook::{Call, ScriptError};

/// `tenant.roles`.
#[derive(Clone, Debug)]
pub(super) struct Roles(pub(super) Tenant);

/// The role of exactly this name: names are case-sensitive and ids differ from tenant to tenant.
fn named(call: &mut Call, tenant: &Tenant, name: &str) -> Result<Option<Value>, ScriptError> {
    let found = tenant
        .ask("getRoles", format!("role {name}"))
        .query("filter", equals("name", name))
        .query("limit", "100")
        .list(call)?;
    Ok(found.into_iter().find(|role| role["name"].as_str() == Some(name)))
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// The role of this name as Qlik describes it; an error when there is none.
    ///
    /// - `name`: exact, case matters: `"Steward"`.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// log(tenant.roles.get("TenantAdmin").id);
    /// ```
    #[rhai_fn(name = "get", pure, return_raw)]
    pub fn get_role(context: NativeCallContext, roles: &mut Roles, name: &str) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.roles.get")?;
        match named(&mut call, &roles.0, name)? {
            Some(role) => script(&call, &role),
            None => Err(call.throw(
                roles
                    .0
                    .lacks(&format!("role `{name}`"))
                    .hint("role names are case-sensitive; `tenant.roles.list()` gives them all"),
            )),
        }
    }

    /// The role of this name as Qlik describes it, or `()`.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// if tenant.roles.find("Reader") == () { log("no such role"); }
    /// ```
    #[rhai_fn(name = "find", pure, return_raw)]
    pub fn find_role(context: NativeCallContext, roles: &mut Roles, name: &str) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.roles.find")?;
        let found = named(&mut call, &roles.0, name)?;
        script_or_unit(&call, found.as_ref())
    }

    /// All roles of the tenant as Qlik describes them.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// for role in tenant.roles.list() { log(role.name); }
    /// ```
    #[rhai_fn(name = "list", pure, return_raw)]
    pub fn list_roles(context: NativeCallContext, roles: &mut Roles) -> Result<Array, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.roles.list")?;
        let found = roles.0.ask("getRoles", "roles").query("limit", "100").list(&mut call)?;
        scripts(&call, &found)
    }
}
