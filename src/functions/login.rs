use rhai::Map as ScriptMap;
use rhai::plugin::*;
use serde_json::{Map, Value, json};

use super::globals;
use super::identity_providers::{changed_note, jwt_note};
use super::keys::note_of;
use super::options::{invalid, options, text};
use super::request::unexpected;
use super::tenant::Tenant;
use crate::event::Change;
use crate::operation::{Effect, FailureKind, HeaderText, secret};
use crate::playbook::{Call, ScriptError};

/// How long a token signed here holds: the samples take 30 to 60 seconds, Qlik allows an hour (qlik.dev, JWT).
const LIFE: i64 = 60;
/// Clocks differ: the token begins to hold this much earlier.
const SKEW: i64 = 5;

/// Opens a session as the user would. Runs when an identity provider of this tenant changed in this run, or when the run
/// was asked to verify logins; a first login makes the user and may take a seat.
fn verify(call: &mut Call, tenant: &Tenant, user: ScriptMap, key: Option<ScriptMap>) -> Result<(), ScriptError> {
    let user = options(call, user, &["subject", "name", "email", "groups"])?;
    let subject_name = text(call, &user, "subject")?;
    let (name, email) = (text(call, &user, "name")?, text(call, &user, "email")?);
    let credentials = credentials(call, tenant, key)?;
    let subject = format!("login of {subject_name}");
    let changed = call.note(&changed_note(tenant)) == Some(json!(true));
    if !changed && !call.verify_requested() {
        call.step(Change::Unchanged, subject, Vec::new());
        return Ok(());
    }
    let now = globals::now(call)?;
    let Ok(now) = now.parse::<jiff::Timestamp>() else { return Err(unexpected(call, "tenantry.now", "a time")) };
    let now = now.as_second();
    let mut claims = Map::new();
    let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    put("sub", json!(subject_name));
    put("subType", json!("user"));
    put("name", json!(name));
    put("email", json!(email));
    put("email_verified", json!(true));
    put("iss", json!(credentials.issuer));
    put("aud", json!("qlik.api/login/jwt-session"));
    put("iat", json!(now));
    put("nbf", json!(now - SKEW));
    put("exp", json!(now + LIFE));
    if let Some(groups) = user.get("groups") {
        put("groups", groups.clone());
    }
    put("jti", json!(globals::uuid(call)?));
    let arguments = json!({ "key": credentials.key, "kid": credentials.kid, "claims": claims });
    let signed = call.ask_local("tenantry.signJwt", Effect::Probe, subject.clone(), arguments)?;
    let Some(token) = secret::name(&signed["token"]) else {
        return Err(unexpected(call, "tenantry.signJwt", "a token"));
    };
    let ask = tenant.ask("exchangeJwtForSession", subject.clone());
    let outcome = ask.header("authorization", HeaderText::Bearer(token.to_owned())).attempt(call)?;
    match outcome {
        Ok(_) => {
            call.step(Change::Verified, subject, Vec::new());
            Ok(())
        }
        Err(mut failure) => {
            if failure.kind == FailureKind::Refused && failure.hint.is_none() {
                failure.hint = Some(format!(
                    "the tenant refused a token with issuer {} and key id {}: compare them with its identity provider",
                    credentials.issuer, credentials.kid
                ));
            }
            Err(call.throw(failure))
        }
    }
}

/// What a token is signed with.
struct Credentials {
    key: String,
    issuer: String,
    kid: String,
}

fn credentials(call: &Call, tenant: &Tenant, given: Option<ScriptMap>) -> Result<Credentials, ScriptError> {
    let provider = call.note(&jwt_note(tenant)).unwrap_or_default();
    let given = match given {
        Some(given) => {
            let known = ["name", "issuer", "kid", "certificate", "publicKey", "expires", "expired"];
            options(call, given, &known)?
        }
        None => Map::new(),
    };
    let field = |name: &str, otherwise: &Value| -> Option<String> {
        given.get(name).and_then(Value::as_str).or_else(|| otherwise.as_str()).map(str::to_owned)
    };
    // The key whose certificate the provider was given.
    let held = provider["pem"].as_str().and_then(|pem| call.note(&note_of(pem))).unwrap_or_default();
    match (field("name", &held), field("issuer", &provider["issuer"]), field("kid", &provider["kid"])) {
        (Some(key), Some(issuer), Some(kid)) => Ok(Credentials { key, issuer, kid }),
        (None, ..) => Err(invalid(
            call,
            "it is not known which key signs this tenant's logins",
            Some("pass it: `tenant.verify_login(user, keys::ensure(\"name\"))`".to_owned()),
        )),
        _ => Err(invalid(
            call,
            "no JWT identity provider of this tenant was ensured in this run",
            Some("ensure it first, or pass `#{ name, issuer, kid }` as the key".to_owned()),
        )),
    }
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// Opens a session as this user through the tenant's JWT identity provider, with the key whose certificate the provider
    /// was given in this run.
    ///
    /// It does so when an identity provider changed in this run or `--verify` was given; otherwise nothing is sent. A first
    /// login makes the user, and takes a seat where seats are assigned automatically.
    ///
    /// - `user`: `subject`, `name`, `email` and, if wanted, `groups`.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let key = keys::ensure("hb-portal");
    /// tenant.identity_providers.ensure(#{
    ///     provider: "external", protocol: "jwtAuth",
    ///     options: #{ issuer: "https://id.halyard.example/hb", staticKeys: [#{ kid: "a", pem: key.certificate }] },
    /// });
    /// tenant.verify_login(#{ subject: "hb|probe", name: "Probe", email: "probe@halyard.example" });
    /// ```
    #[rhai_fn(name = "verify_login", pure, return_raw)]
    pub fn verify_with_known_key(
        context: NativeCallContext,
        tenant: &mut Tenant,
        user: ScriptMap,
    ) -> Result<(), Box<EvalAltResult>> {
        verify(&mut Call::begin(&context, "tenant.verify_login")?, tenant, user, None)
    }

    /// Opens a session as this user, with this key.
    ///
    /// - `user`: `subject`, `name`, `email` and, if wanted, `groups`.
    /// - `key`: what `keys::ensure(name)` gives; `issuer` and `kid` may be added where the provider was not ensured in this run.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let key = keys::ensure("hb-portal");
    /// tenant.identity_providers.ensure(#{
    ///     provider: "external", protocol: "jwtAuth",
    ///     options: #{ issuer: "https://id.halyard.example/hb", staticKeys: [#{ kid: "a", pem: key.certificate }] },
    /// });
    /// tenant.verify_login(#{ subject: "hb|probe", name: "Probe", email: "probe@halyard.example" }, key);
    /// ```
    #[rhai_fn(name = "verify_login", pure, return_raw)]
    pub fn verify_with_key(
        context: NativeCallContext,
        tenant: &mut Tenant,
        user: ScriptMap,
        key: ScriptMap,
    ) -> Result<(), Box<EvalAltResult>> {
        verify(&mut Call::begin(&context, "tenant.verify_login")?, tenant, user, Some(key))
    }
}
