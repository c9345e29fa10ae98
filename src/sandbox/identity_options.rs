//! What identity providers of each protocol must have, and what they show of it (identity providers API; examples of
//! identity provider configurations).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::context::text;
use super::refusal::Refusal;

/// Seconds that clocks may be apart when nothing is said.
const TOLERANCE: u64 = 5;
/// The most seconds that may be said.
const MOST_TOLERANCE: f64 = 7200.0;

/// What is shown of the settings of a protocol. Secrets never are.
pub(super) fn shown(protocol: &str, options: &Value) -> Value {
    let fields: &[&str] = match protocol {
        "jwtAuth" => &["issuer", "staticKeys"],
        "SAML" => &["allowIdpInitiatedLogin", "certificates", "claimsMapping", "entityId", "nameIdFormat", "signOnUrl"],
        _ => &[
            "blockOfflineAccessScope",
            "claimsMapping",
            "clientId",
            "decryptingKey",
            "discoveryUrl",
            "emailVerifiedAlwaysTrue",
            "issuer",
            "openid_configuration",
            "realm",
            "scope",
        ],
    };
    let shown = fields.iter().filter_map(|field| Some(((*field).to_owned(), options.get(*field)?.clone())));
    let mut shown = Value::Object(shown.collect());
    if let Some(key) = shown.get_mut("decryptingKey").and_then(Value::as_object_mut) {
        key.remove("jwks");
    }
    shown
}

fn refuse(detail: &str, pointer: &str) -> Refusal {
    Refusal::bad_request(detail).pointer(pointer)
}

/// Checks a provider, new or changed, and fills in what has a default.
pub(super) fn check(provider: &mut Value) -> Result<(), Refusal> {
    if text(provider, "provider") == "qlik" {
        return Ok(());
    }
    if let Some(tolerance) = provider.get("clockToleranceSec") {
        if !tolerance.as_f64().is_some_and(|seconds| (0.0..=MOST_TOLERANCE).contains(&seconds)) {
            return Err(refuse("clockToleranceSec is from 0 to 7200", "/clockToleranceSec"));
        }
    } else {
        provider["clockToleranceSec"] = json!(TOLERANCE);
    }
    let interactive = provider.get("interactive") == Some(&Value::Bool(true));
    match text(provider, "protocol") {
        "jwtAuth" if interactive => Err(refuse("a JWT identity provider is not interactive", "/interactive")),
        "jwtAuth" => {
            provider["interactive"] = json!(false);
            jwt(&provider["options"])
        }
        "SAML" if !interactive => Err(refuse("a SAML identity provider is interactive", "/interactive")),
        "SAML" => {
            tested_or_not(provider)?;
            each(provider, |options, _, pointer| saml(options, pointer))
        }
        _ if interactive => {
            tested_or_not(provider)?;
            each(provider, interactive_oidc)
        }
        _ => {
            if provider.get("pendingOptions").is_some() || provider.get("options").is_none() {
                return Err(refuse("an identity provider that is not interactive takes options", "/options"));
            }
            each(provider, |options, _, pointer| endpoints(options, pointer))
        }
    }
}

/// Settings that a person must test stand in `pendingOptions`; with `skipVerify` they stand in `options` and are live at
/// once. `skipVerify` is asked of new providers only, which have no id yet.
fn tested_or_not(provider: &Value) -> Result<(), Refusal> {
    let skips = provider.get("skipVerify") == Some(&Value::Bool(true));
    let new = provider.get("id").is_none();
    match (provider.get("options"), provider.get("pendingOptions")) {
        (None, None) => Err(refuse("options or pendingOptions must be given", "/options")),
        (Some(_), Some(_)) if new => Err(refuse("only one of options and pendingOptions is taken", "/pendingOptions")),
        (Some(_), None) if new && !skips => {
            Err(refuse("options need skipVerify; without it pendingOptions are taken", "/options"))
        }
        _ => Ok(()),
    }
}

fn each(provider: &Value, check: impl Fn(&Value, &str, &str) -> Result<(), Refusal>) -> Result<(), Refusal> {
    for field in ["options", "pendingOptions"] {
        if let Some(options) = provider.get(field) {
            check(options, text(provider, "provider"), &format!("/{field}"))?;
        }
    }
    Ok(())
}

fn jwt(options: &Value) -> Result<(), Refusal> {
    if text(options, "issuer").is_empty() {
        return Err(refuse("the issuer is missing", "/options/issuer"));
    }
    let keys = options.get("staticKeys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let [key] = keys else {
        return Err(refuse("an identity provider has one key", "/options/staticKeys"));
    };
    if text(key, "kid").is_empty() {
        return Err(refuse("the key has no kid", "/options/staticKeys/0/kid"));
    }
    if !is_public_pem(text(key, "pem")) {
        let detail = "the pem is no certificate or public key in PEM";
        return Err(refuse(detail, "/options/staticKeys/0/pem"));
    }
    Ok(())
}

/// Whether a text is a certificate or a public key in PEM; it may have lost its line breaks, as official code sends it.
fn is_public_pem(pem: &str) -> bool {
    let body = || {
        let (_, rest) = pem.trim().split_once("-----BEGIN ")?;
        let (label, rest) = rest.split_once("-----")?;
        let (body, rest) = rest.split_once("-----END ")?;
        let known = ["CERTIFICATE", "PUBLIC KEY", "RSA PUBLIC KEY"].contains(&label);
        (known && rest.starts_with(&format!("{label}-----"))).then_some(body)
    };
    body().is_some_and(|body| {
        let body: String = body.replace("\\n", "").split_ascii_whitespace().collect();
        !body.is_empty() && STANDARD.decode(body).is_ok()
    })
}

/// Where the provider is, in one of two ways.
fn endpoints(options: &Value, pointer: &str) -> Result<(), Refusal> {
    if options.get("claimsMapping").is_none() {
        return Err(refuse("claimsMapping is missing", &format!("{pointer}/claimsMapping")));
    }
    if text(options, "discoveryUrl").is_empty() && options.get("openid_configuration").is_none() {
        let detail = "discoveryUrl or openid_configuration must be given";
        return Err(refuse(detail, &format!("{pointer}/discoveryUrl")));
    }
    let realm = text(options, "realm");
    let first = realm.starts_with(|sign: char| sign.is_ascii_alphanumeric());
    let rest = realm.chars().all(|sign| sign.is_ascii_alphanumeric() || ".-_".contains(sign));
    if options.get("realm").is_some() && !(first && rest && (2..=254).contains(&realm.len())) {
        let detail = "a realm has 2 to 254 letters, digits, dots, dashes and underscores";
        return Err(refuse(detail, &format!("{pointer}/realm")));
    }
    if text(options, "scope").chars().count() > 254 {
        return Err(refuse("a scope has at most 254 characters", &format!("{pointer}/scope")));
    }
    Ok(())
}

fn interactive_oidc(options: &Value, provider: &str, pointer: &str) -> Result<(), Refusal> {
    for field in ["clientId", "clientSecret"] {
        if text(options, field).is_empty() {
            return Err(refuse(&format!("{field} is missing"), &format!("{pointer}/{field}")));
        }
    }
    if options.get("emailVerifiedAlwaysTrue").is_some() && !["adfs", "azureAD"].contains(&provider) {
        let detail = "only adfs and azureAD take emailVerifiedAlwaysTrue";
        return Err(refuse(detail, &format!("{pointer}/emailVerifiedAlwaysTrue")));
    }
    endpoints(options, pointer)
}

fn saml(options: &Value, pointer: &str) -> Result<(), Refusal> {
    if let Some(metadata) = options.get("metadata") {
        let raw = STANDARD.decode(text(metadata, "raw"));
        if raw.is_ok_and(|raw| !raw.is_empty()) {
            return Ok(());
        }
        return Err(refuse("metadata.raw is no XML in base64", &format!("{pointer}/metadata/raw")));
    }
    for field in ["entityId", "signOnUrl"] {
        if text(options, field).is_empty() {
            let detail = format!("{field} is missing, and so is metadata");
            return Err(refuse(&detail, &format!("{pointer}/{field}")));
        }
    }
    let certificates = options.get("certificates").and_then(Value::as_array).map_or(0, Vec::len);
    if !(1..=5).contains(&certificates) {
        return Err(refuse("1 to 5 certificates must be given", &format!("{pointer}/certificates")));
    }
    Ok(())
}
