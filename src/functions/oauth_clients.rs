use rhai::plugin::*;
use rhai::{Array, Map as ScriptMap};
use serde_json::{Map, Value, json};

use super::converge::{self, Resource, Updated, oldest};
use super::options::{invalid, kind, listed, options, script, script_or_unit, scripts, suggestion, text, text_set};
use super::origins::check_web_origin;
use super::request::{Ask, equals, replace, text_of};
use super::tenant::Tenant;
use crate::event::{Change, FieldChange};
use crate::operation::{Effect, Failure, FailureKind, HeaderText, Outcome};
use crate::playbook::{Call, ScriptError};

/// `tenant.oauth_clients`.
#[derive(Clone, Debug)]
pub(super) struct OauthClients(pub(super) Tenant);

/// What is told of a client. How it shows who it is stays Qlik's default, a secret: `private_key_jwt` needs a key of the
/// partner's, which `tenant.request` can send. Source: Qlik's oauth-clients specification.
const FIELDS: [&str; 9] = [
    "appType",
    "description",
    "clientUri",
    "logoUri",
    "redirectUris",
    "allowedOrigins",
    "allowedScopes",
    "allowedGrantTypes",
    "consentMethod",
];
const LISTS: [&str; 4] = ["redirectUris", "allowedOrigins", "allowedScopes", "allowedGrantTypes"];
const TYPES: [&str; 4] = ["web", "native", "spa", "anonymous-embed"];
const IMPERSONATION: &str = "urn:qlik:oauth:user-impersonation";
const GRANTS: [&str; 2] = ["client_credentials", IMPERSONATION];
const CONSENTS: [&str; 2] = ["required", "trusted"];

/// How many addresses a client's lists may hold, and how many secrets a client may have at one time.
const MAX_ADDRESSES: usize = 5;
const MAX_SECRETS: usize = 5;

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
        let Some(mut client) = named(call, self.tenant, &self.name)? else { return Ok(None) };
        if self.fields.contains_key("consentMethod") {
            client["consentMethod"] = self.consent(call, &client)?;
        }
        Ok(Some(client))
    }

    fn accept(&self, call: &Call, current: &Value) -> Result<(), ScriptError> {
        if current["appType"] == self.fields["appType"] {
            return Ok(());
        }
        Err(invalid(
            call,
            format!("{} is of the type {}, which cannot be changed", self.subject(), current["appType"]),
            Some("delete it first, or give the new one another name".to_owned()),
        ))
    }

    fn create(&self, call: &mut Call) -> Result<Outcome, ScriptError> {
        let mut body = self.fields.clone();
        body.insert("clientName".to_owned(), json!(self.name));
        let consent = body.shift_remove("consentMethod");
        if consent == Some(json!("trusted")) {
            body.insert("connectionConfig".to_owned(), json!({ "consentMethod": "trusted" }));
        }
        let outcome = self.tenant.ask("createOAuthClient", self.subject()).json(Value::Object(body)).attempt(call)?;
        if let Ok(response) = &outcome
            && consent.is_some_and(|wanted| {
                wanted == "trusted" && response.json()["connectionConfig"]["consentMethod"] != wanted
            })
        {
            // The consent of a new client is a later addition to the API; where it is not known, it is a step of its own.
            self.connect(call, response.json())?;
        }
        Ok(outcome)
    }

    fn update(&self, call: &mut Call, current: &Value, changes: &[FieldChange]) -> Result<Updated, ScriptError> {
        let (consent, own): (Vec<_>, Vec<_>) = changes.iter().partition(|change| change.field == "consentMethod");
        if !own.is_empty() {
            let id = text_of(call, "getOAuthClients", current, "clientId")?;
            let steps: Value = own
                .iter()
                .map(|change| {
                    // What is not there yet is added: `replace` wants something to replace (RFC 6902).
                    let op = if current[&change.field].is_null() { "add" } else { "replace" };
                    json!({ "op": op, "path": format!("/{}", change.field), "value": self.fields[&change.field] })
                })
                .collect();
            self.tenant.ask("patchOAuthClient", self.subject()).var("id", id).json(steps).send(call)?;
        }
        if !consent.is_empty() {
            self.connect(call, current)?;
        }
        Ok(Updated::InPlace)
    }

    fn view(&self, field: &str, value: &Value) -> Value {
        if !LISTS.contains(&field) {
            return value.clone();
        }
        text_set(value)
    }
}

impl Wanted<'_> {
    /// Whether the tenant trusts the client, or its users are asked.
    fn consent(&self, call: &mut Call, client: &Value) -> Result<Value, ScriptError> {
        let listed = &client["connectionConfig"]["consentMethod"];
        if !listed.is_null() {
            return Ok(listed.clone());
        }
        let id = text_of(call, "getOAuthClients", client, "clientId")?;
        match self.tenant.ask("getOAuthClientConnectionConfig", self.subject()).var("id", id).attempt(call)? {
            Ok(response) => Ok(response.json()["consentMethod"].clone()),
            Err(failure) if failure.status == Some(404) => Ok(json!("required")),
            Err(failure) => Err(call.throw(failure)),
        }
    }

    fn connect(&self, call: &mut Call, client: &Value) -> Result<(), ScriptError> {
        let id = text_of(call, "createOAuthClient", client, "clientId")?;
        let body = replace([("/consentMethod".to_owned(), &self.fields["consentMethod"])]);
        self.tenant.ask("patchOAuthClientConnectionConfig", self.subject()).var("id", id).json(body).send(call)?;
        Ok(())
    }
}

fn subject(name: &str) -> String {
    format!("OAuth client \"{name}\"")
}

fn all(tenant: &Tenant) -> Ask {
    tenant.ask("getOAuthClients", "OAuth clients").query("limit", "100")
}

fn named(call: &mut Call, tenant: &Tenant, name: &str) -> Result<Option<Value>, ScriptError> {
    let mut found = all(tenant).query("filter", equals("clientName", name)).list(call)?;
    found.retain(|held| held["deletedAt"].is_null());
    Ok(oldest(call, found, "OAuth clients", ("clientName", name), "createdAt"))
}

fn get(call: &mut Call, tenant: &Tenant, name: &str) -> Result<Value, ScriptError> {
    match named(call, tenant, name)? {
        Some(client) => Ok(client),
        None => Err(call.throw(tenant.lacks(&subject(name)))),
    }
}

/// One of a few words.
fn word(call: &Call, field: &str, value: &Value, known: &[&str]) -> Result<(), ScriptError> {
    match value.as_str() {
        Some(word) if known.contains(&word) => Ok(()),
        Some(word) => Err(invalid(call, format!("`{field}` cannot be `{word}`"), Some(suggestion(word, known)))),
        None => Err(invalid(call, format!("`{field}` is {}; one of {} is needed", kind(value), listed(known)), None)),
    }
}

/// Refuses what Qlik would refuse, or what could never work.
fn check(call: &Call, fields: &mut Map<String, Value>) -> Result<(), ScriptError> {
    let kind_of = text(call, fields, "appType")?;
    word(call, "appType", &fields["appType"], &TYPES)?;
    for field in LISTS {
        let Some(value) = fields.get_mut(field) else { continue };
        let Some(items) = value.as_array_mut().filter(|items| items.iter().all(Value::is_string)) else {
            return Err(invalid(call, format!("`{field}` must be a list of texts"), None));
        };
        if ["redirectUris", "allowedOrigins"].contains(&field) && items.len() > MAX_ADDRESSES {
            let title = format!("`{field}` has {} entries; Qlik takes {MAX_ADDRESSES}", items.len());
            return Err(invalid(call, title, None));
        }
        for item in items.iter_mut() {
            if field == "allowedGrantTypes" {
                word(call, field, item, &GRANTS)?;
            } else if field == "allowedOrigins" {
                *item = json!(check_web_origin(call, item.as_str().unwrap_or_default())?);
            }
        }
    }
    if let Some(consent) = fields.get("consentMethod") {
        word(call, "consentMethod", consent, &CONSENTS)?;
    }
    let grants = fields.get("allowedGrantTypes").and_then(Value::as_array);
    if kind_of != "web" && grants.is_some_and(|grants| !grants.is_empty()) {
        return Err(invalid(call, "`allowedGrantTypes` are only for clients of the type `web`", None));
    }
    let acts_as_users = grants.is_some_and(|grants| grants.iter().any(|grant| grant == IMPERSONATION));
    if acts_as_users && fields.get("consentMethod") != Some(&json!("trusted")) {
        return Err(invalid(
            call,
            "a client that acts as users must be trusted",
            Some("add `consentMethod: \"trusted\"`: Qlik gives it no token otherwise".to_owned()),
        ));
    }
    Ok(())
}

fn ensure(call: &mut Call, tenant: &Tenant, name: &str, given: ScriptMap) -> Result<Value, ScriptError> {
    if name.is_empty() {
        return Err(invalid(call, "an OAuth client needs a name", None));
    }
    let mut fields = options(call, given, &FIELDS)?;
    check(call, &mut fields)?;
    let converged = converge::ensure(call, &Wanted { tenant, name: name.to_owned(), fields })?;
    let mut client = converged.document;
    if let Some(map) = client.as_object_mut() {
        map.shift_remove("consentMethod");
    }
    if client["appType"] == "web" {
        client["clientSecret"] = secret(call, tenant, name, &client)?;
    }
    Ok(client)
}

/// The client's secret as a reference. Qlik tells a secret once: when the sink has none of the client's, because the answer
/// was lost or another machine has it, the client gets one more.
fn secret(call: &mut Call, tenant: &Tenant, name: &str, client: &Value) -> Result<Value, ScriptError> {
    let told = &client["clientSecret"];
    if !told.is_null() && told != "" {
        say_where(call, name, told);
        return Ok(told.clone());
    }
    let id = text_of(call, "getOAuthClients", client, "clientId")?;
    let names: Vec<String> = hints(client).iter().map(|hint| kept_as(tenant, &id, Some(hint))).collect();
    let names: Vec<String> = names.into_iter().chain([kept_as(tenant, &id, None)]).collect();
    let subject = secret_subject(name);
    let kept = call.ask_local("tenantry.kept", Effect::Read, subject, json!({ "names": names }))?;
    if !kept.is_null() {
        return Ok(kept);
    }
    Ok(add_secret(call, tenant, name, client)?["clientSecret"].clone())
}

/// The name under which `qlik::Client` keeps what Qlik tells once: by what was made, not by who made it.
fn kept_as(tenant: &Tenant, id: &str, hint: Option<&str>) -> String {
    let of = hint.map_or_else(|| id.to_owned(), |hint| format!("{id}/{hint}"));
    format!("answer/{}/oauth-clients/{of}/clientSecret", tenant.host_name())
}

fn secret_subject(name: &str) -> String {
    format!("secret of {}", subject(name))
}

fn say_where(call: &Call, name: &str, secret: &Value) {
    if let Some(kept) = crate::operation::secret::name(secret) {
        call.log("info", format!("the {} is kept as `{kept}`", secret_subject(name)));
    }
}

/// The hints of the client's secrets, the newest first.
fn hints(client: &Value) -> Vec<&str> {
    let mut held: Vec<&Value> = client["clientSecrets"].as_array().into_iter().flatten().collect();
    held.sort_by(|a, b| b["createdAt"].as_str().cmp(&a["createdAt"].as_str()));
    held.into_iter().filter_map(|secret| secret["hint"].as_str()).collect()
}

fn add_secret(call: &mut Call, tenant: &Tenant, name: &str, client: &Value) -> Result<Value, ScriptError> {
    let held = hints(client);
    let repeated = !call.written(&secret_subject(name)).is_empty();
    if held.len() >= MAX_SECRETS && !repeated {
        return Err(call.throw(
            Failure::new(
                FailureKind::Denied,
                "tenantry/too-many-secrets",
                format!("{} has {MAX_SECRETS} secrets, which is all it may have", subject(name)),
            )
            .detail(format!("their hints, the newest first: {}", listed(&held)))
            .hint(format!("delete one that nobody uses: `tenant.oauth_clients.delete_secret(\"{name}\", hint)`")),
        ));
    }
    let id = text_of(call, "getOAuthClients", client, "clientId")?;
    let response = tenant.ask("createOAuthClientSecret", secret_subject(name)).var("id", id).send(call)?;
    let secret = response.json().clone();
    call.step(Change::Created, secret_subject(name), Vec::new());
    say_where(call, name, &secret["clientSecret"]);
    Ok(secret)
}

fn rotate(call: &mut Call, tenant: &Tenant, name: &str) -> Result<Value, ScriptError> {
    call.claim(tenant.host_name(), &subject(name))?;
    let client = get(call, tenant, name)?;
    add_secret(call, tenant, name, &client)
}

fn delete_secret(call: &mut Call, tenant: &Tenant, name: &str, hint: &str) -> Result<(), ScriptError> {
    let subject = format!("secret {hint} of {}", subject(name));
    let find = |call: &mut Call| {
        let client = named(call, tenant, name)?;
        Ok(client.filter(|client| hints(client).contains(&hint)))
    };
    converge::remove(call, tenant.host_name(), &subject, find, |call, client| {
        let id = text_of(call, "getOAuthClients", client, "clientId")?;
        tenant.ask("deleteOAuthClientSecret", &subject).var("id", id).var("hint", hint).remove(call)
    })
}

fn publish(call: &mut Call, tenant: &Tenant, name: &str) -> Result<(), ScriptError> {
    call.claim(tenant.host_name(), &subject(name))?;
    let client = get(call, tenant, name)?;
    if !client["publishedAt"].is_null() {
        call.step(converge::earlier(call, &subject(name)), subject(name), Vec::new());
        return Ok(());
    }
    let id = text_of(call, "getOAuthClients", &client, "clientId")?;
    tenant.ask("publishOAuthClient", subject(name)).var("id", id).send(call)?;
    call.step(Change::Acted, subject(name), Vec::new());
    Ok(())
}

fn delete(call: &mut Call, tenant: &Tenant, name: &str) -> Result<(), ScriptError> {
    let subject = subject(name);
    let find = |call: &mut Call| named(call, tenant, name);
    converge::remove(call, tenant.host_name(), &subject, find, |call, client| {
        let id = text_of(call, "getOAuthClients", client, "clientId")?;
        let ask = tenant.ask("deleteOAuthClient", &subject).var("id", &id);
        ask.header("qlik-confirm-delete", HeaderText::Text(id)).remove(call)
    })
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// Makes sure the tenant has an OAuth client like this, for embedding or for acting as its users; gives it as Qlik
    /// describes it. One of the type `web` comes with its `clientSecret`, a secret, which Qlik tells once and which is kept
    /// in the secret sink. When the sink has none of the client's, it gets another.
    ///
    /// - `name`: the client's name, exact.
    /// - `options`: `appType`: `web`, `native`, `spa` or `anonymous-embed`, which cannot be changed later; `description`,
    ///   `clientUri`, `logoUri`; `redirectUris` and `allowedOrigins`, at most 5; `allowedScopes`; `allowedGrantTypes` of a
    ///   `web` client: `client_credentials`, `urn:qlik:oauth:user-impersonation`; `consentMethod`: `required` or `trusted`.
    ///   What is not mentioned is left alone.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let client = tenant.oauth_clients.ensure("portal", #{
    ///     appType: "web", allowedScopes: ["user_default"],
    ///     allowedGrantTypes: ["urn:qlik:oauth:user-impersonation"], consentMethod: "trusted",
    /// });
    /// output(#{ client: client.clientId });
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_client(
        context: NativeCallContext,
        clients: &mut OauthClients,
        name: &str,
        options: ScriptMap,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.oauth_clients.ensure")?;
        let document = ensure(&mut call, &clients.0, name, options)?;
        script(&call, &document)
    }

    /// The OAuth client of this name as Qlik describes it, without its secret; an error when there is none.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.oauth_clients.ensure("portal", #{ appType: "spa" });
    /// log(tenant.oauth_clients.get("portal").clientId);
    /// ```
    #[rhai_fn(name = "get", pure, return_raw)]
    pub fn get_client(
        context: NativeCallContext,
        clients: &mut OauthClients,
        name: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.oauth_clients.get")?;
        let document = get(&mut call, &clients.0, name)?;
        script(&call, &document)
    }

    /// The OAuth client of this name as Qlik describes it, or `()`.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// if tenant.oauth_clients.find("portal") == () { log("not yet"); }
    /// ```
    #[rhai_fn(name = "find", pure, return_raw)]
    pub fn find_client(
        context: NativeCallContext,
        clients: &mut OauthClients,
        name: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.oauth_clients.find")?;
        let found = named(&mut call, &clients.0, name)?;
        script_or_unit(&call, found.as_ref())
    }

    /// All OAuth clients of the tenant as Qlik describes them. The regional client is none of them.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// for client in tenant.oauth_clients.list() { log(client.clientName); }
    /// ```
    #[rhai_fn(name = "list", pure, return_raw)]
    pub fn list_clients(context: NativeCallContext, clients: &mut OauthClients) -> Result<Array, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.oauth_clients.list")?;
        let found = all(&clients.0).list(&mut call)?;
        scripts(&call, &found)
    }

    /// Gives the OAuth client one more secret, each time it is called; the others stay good, so that whoever uses them can
    /// change over. Gives `#{ clientId, clientSecret, hint }` and when and by whom it was made. A client has at most 5.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let client = tenant.oauth_clients.ensure("portal", #{ appType: "web" });
    /// let next = tenant.oauth_clients.rotate_secret("portal");
    /// // When nobody uses the earlier one any more:
    /// for held in client.clientSecrets { tenant.oauth_clients.delete_secret("portal", held.hint); }
    /// ```
    #[rhai_fn(name = "rotate_secret", pure, return_raw)]
    pub fn rotate_client_secret(
        context: NativeCallContext,
        clients: &mut OauthClients,
        name: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.oauth_clients.rotate_secret")?;
        let document = rotate(&mut call, &clients.0, name)?;
        script(&call, &document)
    }

    /// Makes sure the OAuth client has no secret with this hint. Who still uses it gets no token any more.
    ///
    /// - `name`: exact, case matters.
    /// - `hint`: one of the client's `clientSecrets`, as Qlik tells it.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.oauth_clients.ensure("portal", #{ appType: "web" });
    /// tenant.oauth_clients.delete_secret("portal", "1f0c9");
    /// ```
    #[rhai_fn(name = "delete_secret", pure, return_raw)]
    pub fn delete_client_secret(
        context: NativeCallContext,
        clients: &mut OauthClients,
        name: &str,
        hint: &str,
    ) -> Result<(), Box<EvalAltResult>> {
        delete_secret(&mut Call::begin(&context, "tenant.oauth_clients.delete_secret")?, &clients.0, name, hint)
    }

    /// Makes sure the OAuth client is published: every tenant of the region can then use it. Qlik has no way back.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.oauth_clients.ensure("portal", #{ appType: "spa" });
    /// tenant.oauth_clients.publish("portal");
    /// ```
    #[rhai_fn(name = "publish", pure, return_raw)]
    pub fn publish_client(
        context: NativeCallContext,
        clients: &mut OauthClients,
        name: &str,
    ) -> Result<(), Box<EvalAltResult>> {
        publish(&mut Call::begin(&context, "tenant.oauth_clients.publish")?, &clients.0, name)
    }

    /// Makes sure there is no OAuth client of this name. Its tokens and secrets are good no longer.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.oauth_clients.delete("portal");
    /// ```
    #[rhai_fn(name = "delete", pure, return_raw)]
    pub fn delete_client(
        context: NativeCallContext,
        clients: &mut OauthClients,
        name: &str,
    ) -> Result<(), Box<EvalAltResult>> {
        delete(&mut Call::begin(&context, "tenant.oauth_clients.delete")?, &clients.0, name)
    }
}
