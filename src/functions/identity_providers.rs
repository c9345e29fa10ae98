use std::cell::Cell;

use rhai::plugin::*;
use rhai::{Array, Map as ScriptMap};
use serde_json::{Map, Value, json};

use super::converge::{self, Resource, Updated};
use super::keys::one_line;
use super::listing::Listing;
use super::options::{invalid, listed, only, options, script, scripts, suggestion, text};
use super::request::{Ask, replace, text_of};
use super::tenant::Tenant;
use crate::event::{Change, FieldChange};
use crate::operation::{Outcome, secret};
use crate::playbook::{Call, ScriptError};

/// `tenant.identity_providers`.
#[derive(Clone, Debug)]
pub(super) struct IdentityProviders(pub(super) Tenant);

/// Source of the lists below: Qlik's identity-providers specification.
const FIELDS: [&str; 12] = [
    "tenantIds",
    "provider",
    "protocol",
    "interactive",
    "active",
    "description",
    "clockToleranceSec",
    "createNewUsersOnLogin",
    "postLogoutRedirectUri",
    "skipVerify",
    "options",
    "pendingOptions",
];
const JWT_OPTIONS: [&str; 3] = ["jwtLoginEnabled", "issuer", "staticKeys"];
const OIDC_OPTIONS: [&str; 15] = [
    "realm",
    "scope",
    "clientId",
    "clientSecret",
    "discoveryUrl",
    "openid_configuration",
    "claimsMapping",
    "idTokenSignatureAlg",
    "decryptingKey",
    "blockOfflineAccessScope",
    "useClaimsFromIdToken",
    "emailVerifiedAlwaysTrue",
    "audience",
    "allowedClientIds",
    "issuer",
];
const OIDC_PROVIDERS: [&str; 7] = ["auth0", "okta", "generic", "salesforce", "keycloak", "adfs", "azureAD"];

/// Options that have a patch path of their own; any other change replaces `/options` as a whole.
const OPTION_PATHS: [&str; 3] = ["options.realm", "options.discoveryUrl", "options.claimsMapping"];
const PLAIN_PATHS: [&str; 4] = ["active", "description", "postLogoutRedirectUri", "clockToleranceSec"];

/// Longest description.
const MAX_DESCRIPTION: usize = 128;

/// Which kind of provider, with its natural key.
#[derive(Debug)]
enum Kind {
    Jwt { issuer: String },
    Oidc { provider: String, discovery: String },
}

impl Kind {
    fn key(&self) -> String {
        match self {
            Self::Jwt { issuer } => format!("jwtAuth {issuer}"),
            Self::Oidc { provider, discovery } => format!("{provider} {discovery}"),
        }
    }

    fn is(&self, held: &Value) -> bool {
        match self {
            Self::Jwt { issuer } => {
                held["protocol"].as_str() == Some("jwtAuth") && held["options"]["issuer"].as_str() == Some(issuer)
            }
            Self::Oidc { provider, discovery } => {
                held["protocol"].as_str() == Some("OIDC")
                    && held["provider"].as_str() == Some(provider)
                    && discovery_of(&held["options"]) == Some(discovery)
            }
        }
    }
}

/// What tells one OIDC provider from another: where its configuration is found, or the issuer it names.
fn discovery_of(options: &Value) -> Option<&str> {
    options["discoveryUrl"].as_str().or_else(|| options["openid_configuration"]["issuer"].as_str())
}

struct Wanted<'t> {
    tenant: &'t Tenant,
    kind: Kind,
    body: Value,
    /// What is compared: plain fields, and options as `options.realm`. Secrets are not among them.
    fields: Map<String, Value>,
    listing: Listing,
    looked: Cell<bool>,
}

impl Resource for Wanted<'_> {
    fn scope(&self) -> String {
        self.tenant.host_name().to_owned()
    }

    fn subject(&self) -> String {
        format!("identity provider {}", self.kind.key())
    }

    fn wanted(&self) -> &Map<String, Value> {
        &self.fields
    }

    fn find(&self, call: &mut Call) -> Result<Option<Value>, ScriptError> {
        let read = || list(self.tenant);
        let found =
            self.listing.find(call, &self.kind.key(), self.looked.replace(true), |held| self.kind.is(held), read)?;
        Ok(found.map(|held| self.comparable(flat(held))))
    }

    fn create(&self, call: &mut Call) -> Result<Outcome, ScriptError> {
        self.tenant.ask("createIdp", self.subject()).json(self.body.clone()).attempt(call)
    }

    fn update(&self, call: &mut Call, current: &Value, changes: &[FieldChange]) -> Result<Updated, ScriptError> {
        let id = text_of(call, "getIdps", current, "id")?;
        match self.kind {
            // A JWT provider takes only a new description: for anything else it must be made anew.
            Kind::Jwt { .. } if changes.iter().all(|change| change.field == "description") => {
                self.patch(call, &id, vec![("/description".to_owned(), self.fields["description"].clone())])?;
                Ok(Updated::InPlace)
            }
            Kind::Jwt { .. } => self.replace(call, &id),
            Kind::Oidc { .. } => {
                let paths = self.paths(call, changes)?;
                self.patch(call, &id, paths)?;
                Ok(Updated::InPlace)
            }
        }
    }

    fn view(&self, field: &str, value: &Value) -> Value {
        if field == "options.staticKeys" { keys(value) } else { value.clone() }
    }
}

impl Wanted<'_> {
    /// The held provider with what its answer leaves out or adds made equal, so that only real differences show.
    fn comparable(&self, mut held: Value) -> Value {
        for (field, value) in &self.fields {
            let before = &mut held[field.as_str()];
            match field.as_str() {
                // A key whose certificate is not given back is known by its id.
                "options.staticKeys" if before[0]["pem"].is_null() && before[0]["kid"] == value[0]["kid"] => {
                    *before = value.clone();
                }
                // The service adds mappings of its own.
                "options.claimsMapping" => {
                    if let (Some(before), Some(wanted)) = (before.as_object_mut(), value.as_object()) {
                        before.retain(|claim, _| wanted.contains_key(claim));
                    }
                }
                _ if before.is_null() && value == &json!(false) => *before = json!(false),
                _ => {}
            }
        }
        held
    }

    fn patch(&self, call: &mut Call, id: &str, changes: Vec<(String, Value)>) -> Result<(), ScriptError> {
        let body = replace(changes.iter().map(|(path, value)| (path.clone(), value)));
        self.tenant.ask("patchIdp", self.subject()).var("id", id).json(body).send(call)?;
        Ok(())
    }

    /// Logins fail between the two requests; Qlik offers no other way to change a key.
    fn replace(&self, call: &mut Call, id: &str) -> Result<Updated, ScriptError> {
        self.tenant.ask("deleteIdp", self.subject()).var("id", id).send(call)?;
        self.listing.wrote(call, &self.kind.key(), Value::Null);
        let created = self.tenant.ask("createIdp", self.subject()).json(self.body.clone()).attempt(call)?;
        match created {
            Ok(response) => Ok(Updated::Replaced(response.json().clone())),
            Err(mut failure) => {
                let note = "the old provider is gone and the new one could not be made: nobody can log in through it";
                failure.detail = Some(failure.detail.map_or(note.to_owned(), |detail| format!("{detail}; {note}")));
                failure.hint.get_or_insert_with(|| "put it right and run again".to_owned());
                Err(call.throw(failure))
            }
        }
    }

    fn paths(&self, call: &Call, changes: &[FieldChange]) -> Result<Vec<(String, Value)>, ScriptError> {
        let mut paths = Vec::new();
        let whole = changes
            .iter()
            .any(|change| change.field.starts_with("options.") && !OPTION_PATHS.contains(&change.field.as_str()));
        if whole {
            paths.push(("/options".to_owned(), self.body["options"].clone()));
        }
        for change in changes {
            let field = change.field.as_str();
            if field.starts_with("options.") {
                if !whole {
                    paths.push((format!("/{}", field.replace('.', "/")), self.fields[field].clone()));
                }
            } else if PLAIN_PATHS.contains(&field) {
                paths.push((format!("/{field}"), self.fields[field].clone()));
            } else {
                return Err(invalid(
                    call,
                    format!("`{field}` of {} cannot be changed", self.subject()),
                    Some(format!("it is {}: set it so, or remove the provider first", change.before)),
                ));
            }
        }
        Ok(paths)
    }
}

/// The wanted keys and the held ones in one form.
fn keys(keys: &Value) -> Value {
    keys.as_array()
        .into_iter()
        .flatten()
        .map(|key| {
            let pem = key["pem"].as_str().map(one_line);
            json!({ "kid": key["kid"], "pem": pem })
        })
        .collect()
}

/// A provider with its options beside its fields, as `options.realm`.
fn flat(mut held: Value) -> Value {
    let options = held["options"].as_object().cloned().unwrap_or_default();
    for (name, value) in options {
        held[format!("options.{name}")] = value;
    }
    held
}

/// The provider without what [`flat`] added.
fn plain(mut held: Value) -> Value {
    if let Some(map) = held.as_object_mut() {
        let added: Vec<(String, Value)> = map
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix("options.")?.to_owned(), value.clone())))
            .collect();
        map.retain(|name, _| !name.starts_with("options."));
        if !added.is_empty() && !map.get("options").is_some_and(Value::is_object) {
            map.insert("options".to_owned(), json!({}));
        }
        for (name, value) in added {
            map["options"][name] = value;
        }
    }
    held
}

fn list(tenant: &Tenant) -> Ask {
    tenant.ask("getIdps", "identity providers").query("limit", "100")
}

fn wanted<'t>(call: &Call, tenant: &'t Tenant, given: ScriptMap) -> Result<Wanted<'t>, ScriptError> {
    let mut body = options(call, given, &FIELDS)?;
    if body.get("description").and_then(Value::as_str).is_some_and(|text| text.chars().count() > MAX_DESCRIPTION) {
        return Err(invalid(call, format!("`description` has more than {MAX_DESCRIPTION} characters"), None));
    }
    body.entry("tenantIds").or_insert_with(|| json!([tenant.id()]));
    let protocol = text(call, &body, "protocol")?;
    let provider = text(call, &body, "provider")?;
    let (kind, compared) = match protocol.as_str() {
        "jwtAuth" => (jwt(call, &mut body)?, &["options.issuer", "options.staticKeys"][..]),
        "OIDC" => (
            oidc(call, &body, provider)?,
            // The service does not give back what is secret, nor what only steers the making.
            &[
                "options.realm",
                "options.scope",
                "options.clientId",
                "options.discoveryUrl",
                "options.openid_configuration",
                "options.claimsMapping",
                "options.blockOfflineAccessScope",
                "options.emailVerifiedAlwaysTrue",
            ][..],
        ),
        other => {
            return Err(invalid(
                call,
                format!("providers of protocol `{other}` are not ensured yet"),
                Some("use \"jwtAuth\" or \"OIDC\"; `tenant.request(\"createIdp\", ...)` makes any".to_owned()),
            ));
        }
    };
    let body = Value::Object(body);
    let as_compared = flat(body.clone());
    let plain = ["description", "clockToleranceSec", "createNewUsersOnLogin", "postLogoutRedirectUri", "active"];
    let fields = plain
        .iter()
        .chain(compared)
        .filter_map(|field| Some(((*field).to_owned(), as_compared.get(*field)?.clone())))
        .filter(|(_, value)| !value.is_null() && secret::name(value).is_none())
        .collect();
    let listing = Listing::of(call, tenant, "identity providers");
    Ok(Wanted { tenant, kind, body, fields, listing, looked: Cell::new(false) })
}

fn jwt(call: &Call, body: &mut Map<String, Value>) -> Result<Kind, ScriptError> {
    let Some(Value::Object(given)) = body.get_mut("options") else {
        return Err(invalid(call, "a JWT identity provider needs `options` with `issuer` and `staticKeys`", None));
    };
    only(call, given, &JWT_OPTIONS)?;
    let issuer = text(call, given, "issuer")?;
    let Some(Value::Array(list)) = given.get_mut("staticKeys") else {
        return Err(invalid(call, "`staticKeys` is missing: a list of one `#{ kid, pem }`", None));
    };
    let [Value::Object(key)] = &mut list[..] else {
        return Err(invalid(call, "`staticKeys` must hold exactly one `#{ kid, pem }`: Qlik allows one key", None));
    };
    only(call, key, &["kid", "pem"])?;
    text(call, key, "kid")?;
    let pem = one_line(&text(call, key, "pem")?);
    if !pem.starts_with("-----BEGIN ") {
        return Err(invalid(
            call,
            "`pem` is not a certificate or public key in PEM form",
            Some("take it from `keys::ensure(name).certificate`".to_owned()),
        ));
    }
    key.insert("pem".to_owned(), json!(pem));
    Ok(Kind::Jwt { issuer })
}

fn oidc(call: &Call, body: &Map<String, Value>, provider: String) -> Result<Kind, ScriptError> {
    if !OIDC_PROVIDERS.contains(&provider.as_str()) {
        let hint = format!("{}; known are {}", suggestion(&provider, &OIDC_PROVIDERS), listed(&OIDC_PROVIDERS));
        return Err(invalid(call, format!("`{provider}` is not a provider of OIDC logins"), Some(hint)));
    }
    if body.contains_key("pendingOptions") || body.get("skipVerify") != Some(&json!(true)) {
        return Err(invalid(
            call,
            "an OIDC identity provider is ensured with `options` and `skipVerify: true`",
            Some("otherwise a person must test it in a browser before it works".to_owned()),
        ));
    }
    let Some(Value::Object(given)) = body.get("options") else {
        return Err(invalid(call, "`options` is missing", None));
    };
    only(call, given, &OIDC_OPTIONS)?;
    match discovery_of(&body["options"]) {
        Some(discovery) => Ok(Kind::Oidc { provider, discovery: discovery.to_owned() }),
        None => Err(invalid(call, "`options` needs `discoveryUrl` or `openid_configuration` with an `issuer`", None)),
    }
}

/// Whether a provider of this tenant was made or changed in this run.
pub(super) fn changed_note(tenant: &Tenant) -> String {
    format!("identity provider changed@{}", tenant.host_name())
}

/// The last JWT provider this run ensured in the tenant.
pub(super) fn jwt_note(tenant: &Tenant) -> String {
    format!("jwt provider@{}", tenant.host_name())
}

fn ensure(call: &mut Call, tenant: &Tenant, given: ScriptMap) -> Result<Value, ScriptError> {
    let wanted = wanted(call, tenant, given)?;
    let converged = converge::ensure(call, &wanted)?;
    let document = plain(converged.document);
    if converged.change != Change::Unchanged {
        // The answer need not hold all that was sent: keep what decides the next comparison.
        let noted = match (&document, &wanted.body) {
            (Value::Object(held), Value::Object(sent)) => {
                let mut noted = sent.clone();
                noted.extend(held.clone());
                Value::Object(noted)
            }
            _ => document.clone(),
        };
        wanted.listing.wrote(call, &wanted.kind.key(), noted);
        call.set_note(&changed_note(tenant), json!(true));
    }
    if let Kind::Jwt { issuer } = &wanted.kind {
        let key = &wanted.body["options"]["staticKeys"][0];
        call.set_note(&jwt_note(tenant), json!({ "issuer": issuer, "kid": key["kid"], "pem": key["pem"] }));
    }
    Ok(document)
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// Makes sure the tenant has this identity provider; gives it as Qlik describes it.
    ///
    /// A JWT provider is known by its issuer. When its key or certificate differs it is removed and made anew, because Qlik
    /// changes nothing but the description in place; logins fail in between. An OIDC provider is known by `provider` and
    /// `discoveryUrl`; what can be read back is compared, secrets are not.
    ///
    /// - `options`: Qlik's fields: `provider`, `protocol` (`"jwtAuth"` or `"OIDC"`), `options`, `description`,
    ///   `clockToleranceSec`; for OIDC also `interactive`, `skipVerify: true`, `createNewUsersOnLogin`,
    ///   `postLogoutRedirectUri`. `tenantIds` is filled in.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let key = keys::ensure("hb-portal");
    /// tenant.identity_providers.ensure(#{
    ///     provider: "external", protocol: "jwtAuth", description: "portal",
    ///     options: #{
    ///         issuer: "https://id.halyard.example/hb",
    ///         staticKeys: [#{ kid: "2026-11-a", pem: key.certificate }],
    ///     },
    /// });
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_provider(
        context: NativeCallContext,
        providers: &mut IdentityProviders,
        options: ScriptMap,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.identity_providers.ensure")?;
        let document = ensure(&mut call, &providers.0, options)?;
        script(&call, &document)
    }

    /// All identity providers of the tenant as Qlik describes them.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// for provider in tenant.identity_providers.list() { log(provider.protocol); }
    /// ```
    #[rhai_fn(name = "list", pure, return_raw)]
    pub fn list_providers(
        context: NativeCallContext,
        providers: &mut IdentityProviders,
    ) -> Result<Array, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.identity_providers.list")?;
        let found = list(&providers.0).list(&mut call)?;
        scripts(&call, &found)
    }
}
