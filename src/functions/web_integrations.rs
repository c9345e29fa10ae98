use rhai::Array;
use rhai::plugin::*;
use serde_json::{Map, Value, json};

use super::converge::{self, Resource, Updated, oldest};
use super::options::{invalid, script, script_or_unit, scripts, text_set};
use super::origins::check_web_origin;
use super::request::{Ask, replace, text_of};
use super::tenant::Tenant;
use crate::event::FieldChange;
use crate::operation::Outcome;
use crate::playbook::{Call, ScriptError};

/// `tenant.web_integrations`.
#[derive(Clone, Debug)]
pub(super) struct WebIntegrations(pub(super) Tenant);

struct Wanted<'t> {
    tenant: &'t Tenant,
    name: String,
    fields: Map<String, Value>,
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
        let body = json!({ "name": self.name, "validOrigins": self.fields["validOrigins"] });
        self.tenant.ask("createWebIntegration", self.subject()).json(body).attempt(call)
    }

    fn update(&self, call: &mut Call, current: &Value, _: &[FieldChange]) -> Result<Updated, ScriptError> {
        let id = text_of(call, "getWebIntegrations", current, "id")?;
        let body = replace([("/validOrigins".to_owned(), &self.fields["validOrigins"])]);
        self.tenant.ask("patchWebIntegration", self.subject()).var("id", id).json(body).send(call)?;
        Ok(Updated::InPlace)
    }

    fn view(&self, _: &str, value: &Value) -> Value {
        text_set(value)
    }
}

fn subject(name: &str) -> String {
    format!("web integration \"{name}\"")
}

fn all(tenant: &Tenant) -> Ask {
    tenant.ask("getWebIntegrations", "web integrations").query("limit", "100")
}

fn named(call: &mut Call, tenant: &Tenant, name: &str) -> Result<Option<Value>, ScriptError> {
    let held = all(tenant).list(call)?;
    Ok(oldest(call, held, "web integrations", ("name", name), "created"))
}

fn ensure(call: &mut Call, tenant: &Tenant, name: &str, origins: &Array) -> Result<Value, ScriptError> {
    if name.is_empty() {
        return Err(invalid(call, "a web integration needs a name", None));
    }
    let mut valid: Vec<String> = Vec::new();
    for origin in origins {
        let Ok(origin) = origin.as_immutable_string_ref() else {
            return Err(invalid(call, "origins are given as a list of texts", None));
        };
        let origin = check_web_origin(call, &origin)?;
        if !valid.contains(&origin) {
            valid.push(origin);
        }
    }
    let mut fields = Map::new();
    fields.insert("validOrigins".to_owned(), valid.into());
    let converged = converge::ensure(call, &Wanted { tenant, name: name.to_owned(), fields })?;
    Ok(converged.document)
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// Makes sure there is a web integration of this name with exactly these origins; gives it as Qlik describes it. Its
    /// `id` goes into the `qlik-web-integration-id` header of the pages that embed the tenant.
    ///
    /// - `name`: exact, case matters.
    /// - `origins`: whole origins such as `"https://portal.harbour.example:8443"`; wildcards are refused.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.web_integrations.ensure("portal", ["https://portal.harbour.example"]);
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_integration(
        context: NativeCallContext,
        integrations: &mut WebIntegrations,
        name: &str,
        origins: Array,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.web_integrations.ensure")?;
        let document = ensure(&mut call, &integrations.0, name, &origins)?;
        script(&call, &document)
    }

    /// The web integration of this name as Qlik describes it; an error when there is none.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.web_integrations.ensure("portal", ["https://portal.harbour.example"]);
    /// log(tenant.web_integrations.get("portal").id);
    /// ```
    #[rhai_fn(name = "get", pure, return_raw)]
    pub fn get_integration(
        context: NativeCallContext,
        integrations: &mut WebIntegrations,
        name: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.web_integrations.get")?;
        match named(&mut call, &integrations.0, name)? {
            Some(document) => script(&call, &document),
            None => Err(call.throw(integrations.0.lacks(&subject(name)))),
        }
    }

    /// The web integration of this name as Qlik describes it, or `()`.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// if tenant.web_integrations.find("portal") == () { log("not yet"); }
    /// ```
    #[rhai_fn(name = "find", pure, return_raw)]
    pub fn find_integration(
        context: NativeCallContext,
        integrations: &mut WebIntegrations,
        name: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.web_integrations.find")?;
        let found = named(&mut call, &integrations.0, name)?;
        script_or_unit(&call, found.as_ref())
    }

    /// All web integrations of the tenant as Qlik describes them.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// for held in tenant.web_integrations.list() { log(held.name); }
    /// ```
    #[rhai_fn(name = "list", pure, return_raw)]
    pub fn list_integrations(
        context: NativeCallContext,
        integrations: &mut WebIntegrations,
    ) -> Result<Array, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.web_integrations.list")?;
        let found = all(&integrations.0).list(&mut call)?;
        scripts(&call, &found)
    }
}
