//! Signing in with a user JWT: `POST /login/jwt-session` (implement JWT authorization; login API).

use http::{StatusCode, header};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use super::context::{Answer, Context, Handled, text};
use super::refusal::Refusal;
use super::resources::Resource;
use super::state::Document;
use super::token::{self, Grant};
use super::{ids, licenses, users};

pub(super) const RESOURCE: Resource = Resource { routes: &[("exchangeJwtForSession", exchange)], seed: None };

const AUDIENCE: &str = "qlik.api/login/jwt-session";
/// A token may be good for at most an hour.
const WINDOW_SECONDS: i64 = 3600;
/// How far clocks may be apart when the identity provider does not say.
const TOLERANCE_SECONDS: i64 = 5;
const REQUIRED: &[&str] =
    &["sub", "subType", "name", "email", "email_verified", "iss", "aud", "jti", "iat", "nbf", "exp"];

fn refused(detail: &str) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "HTTP-401", "Unauthorized").detail(detail)
}

/// A token whose claims are wrong, as it was seen in the field.
fn invalid(detail: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "INTERNAL-TOKEN-1", "Invalid token request")
        .detail(format!("JWT_LOGIN_VALIDATIONS {detail}"))
}

fn exchange(context: &mut Context<'_>) -> Handled {
    let token = context
        .header("authorization")
        .and_then(|value| value.split_once(' '))
        .filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim().to_owned())
        .ok_or_else(|| refused("no bearer token"))?;
    let (provider, claims) = verified(context, &token)?;
    check(context, &provider, &claims)?;
    once(context, &claims)?;
    let groups = groups(context, &claims);
    let user = signed_in(context, &claims, groups)?;
    licenses::take_at_login(context, text(&claims, "sub"));
    Ok(session(context, user))
}

/// The identity provider of a token and the token's claims, when its key signed them.
fn verified(context: &Context<'_>, token: &str) -> Result<(Document, Value), Refusal> {
    let head = jsonwebtoken::decode_header(token).map_err(|_| refused("the token is no JWT"))?;
    if matches!(head.alg, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) {
        return Err(refused("the token is signed with a shared secret"));
    }
    let kid = head.kid.ok_or_else(|| refused("the token names no kid"))?;
    let claims: Value =
        jsonwebtoken::dangerous::insecure_decode(token).map_err(|_| refused("the token is no JWT"))?.claims;
    let issuer = text(&claims, "iss");
    let ours = |provider: &Document| {
        let options = &provider["options"];
        text(provider, "protocol") == "jwtAuth"
            && provider.get("active") != Some(&Value::Bool(false))
            && options.get("jwtLoginEnabled") != Some(&Value::Bool(false))
            && text(options, "issuer") == issuer
            && text(&options["staticKeys"][0], "kid") == kid
    };
    let provider = context
        .collection("identityProviders")
        .documents()
        .into_iter()
        .find(ours)
        .ok_or_else(|| refused("no active identity provider has this issuer and kid"))?;
    let pem = text(&provider["options"]["staticKeys"][0], "pem");
    let key = key(pem, head.alg).ok_or_else(|| refused("the identity provider's key does not fit the token"))?;
    // Only the signature: the times are held against the sandbox's clock.
    let mut validation = Validation::new(head.alg);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    jsonwebtoken::decode::<Value>(token, &key, &validation).map_err(|_| refused("the signature is not good"))?;
    Ok((provider, claims))
}

/// The key of a PEM text that may have lost its line breaks, as official code sends it: a certificate's or a bare one.
fn key(pem: &str, algorithm: Algorithm) -> Option<DecodingKey> {
    let (_, rest) = pem.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once("-----END ")?;
    let body: Vec<u8> = body.replace("\\n", "").bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let lines: Vec<&str> = body.chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    let whole = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"));
    let key = match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => DecodingKey::from_ec_pem(whole.as_bytes()),
        Algorithm::EdDSA => DecodingKey::from_ed_pem(whole.as_bytes()),
        _ => DecodingKey::from_rsa_pem(whole.as_bytes()),
    };
    key.ok()
}

fn check(context: &Context<'_>, provider: &Value, claims: &Value) -> Result<(), Refusal> {
    let missing = REQUIRED.iter().find(|claim| claims.get(**claim).is_none_or(Value::is_null));
    if let Some(claim) = missing {
        return Err(invalid(&format!("Missing required claim: {claim}")));
    }
    for claim in ["sub", "name", "email", "jti"] {
        if text(claims, claim).is_empty() {
            return Err(invalid(&format!("Invalid claim: {claim}")));
        }
    }
    if text(claims, "subType") != "user" {
        return Err(invalid("Invalid claim: subType"));
    }
    let audience = &claims["aud"];
    if *audience != AUDIENCE && !audience.as_array().is_some_and(|list| list.iter().any(|held| *held == AUDIENCE)) {
        return Err(invalid("Invalid claim: aud"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "fractions of a second do not matter")]
    let seconds = |claim: &str| {
        let value = &claims[claim];
        let whole = value.as_i64().or_else(|| value.as_f64().map(|value| value as i64));
        whole.ok_or_else(|| invalid(&format!("Invalid claim: {claim}")))
    };
    let (not_before, expires) = (seconds("nbf")?, seconds("exp")?);
    seconds("iat")?;
    if expires.saturating_sub(not_before) > WINDOW_SECONDS {
        return Err(invalid("The token is valid for more than 3600 seconds"));
    }
    let tolerance = provider.get("clockToleranceSec").and_then(Value::as_i64).unwrap_or(TOLERANCE_SECONDS);
    let now = context.now.as_second();
    if now + tolerance < not_before {
        return Err(refused("the token is not valid yet"));
    }
    if now - tolerance >= expires {
        return Err(refused("the token has expired"));
    }
    Ok(())
}

/// Refuses a token that was used before; forgets those that have ended.
fn once(context: &mut Context<'_>, claims: &Value) -> Result<(), Refusal> {
    let used = context.collection("usedTokens");
    let id = format!("{}|{}", text(claims, "iss"), text(claims, "jti"));
    if used.get(&id).is_some() {
        return Err(refused("the token was used before"));
    }
    let now = context.now.as_second();
    // 7200 is the largest tolerance a provider may have.
    let over = |token: &Value| token["exp"].as_i64().is_none_or(|exp| exp + 7200 < now);
    for (id, _) in used.iter().take_while(|(_, token)| over(token)) {
        context.remove("usedTokens", id);
    }
    context.put("usedTokens", &id, json!({"id": id, "exp": claims["exp"]}));
    Ok(())
}

/// The identity provider's groups that the token names and the tenant has, made first when the tenant is set to;
/// none when the token says nothing of groups.
fn groups(context: &mut Context<'_>, claims: &Value) -> Option<Vec<Value>> {
    let names = claims.get("groups")?.as_array()?.clone();
    let settings = context.get("settings", "groups");
    let makes = settings.is_some_and(|settings| settings["autoCreateGroups"] == true);
    let mut found = Vec::new();
    for name in names.iter().filter_map(Value::as_str) {
        let held = context.collection("groups").find("name", name).into_iter();
        let mut held = held.filter(|group| text(group, "name") == name && text(group, "providerType") == "idp");
        match held.next() {
            Some(group) => found.push(json!({"id": group["id"]})),
            None if makes => {
                let (id, now) = (context.new_id(), context.timestamp());
                let group = json!({
                    "id": id, "tenantId": context.tenant_id(), "name": name, "status": "active",
                    "providerType": "idp", "assignedRoles": [], "createdAt": now, "lastUpdatedAt": now,
                });
                context.put("groups", &id, group);
                found.push(json!({"id": id}));
            }
            None => {}
        }
    }
    Some(found)
}

/// The id of the token's user, made with the first sign-in and kept up to date with each.
fn signed_in(context: &mut Context<'_>, claims: &Value, groups: Option<Vec<Value>>) -> Result<String, Refusal> {
    let Some(held) = context.collection("users").find_exact("subject", text(claims, "sub")) else {
        let fields = json!({
            "subject": claims["sub"], "name": claims["name"], "email": claims["email"], "status": "active",
            "assignedGroups": groups.unwrap_or_default(),
        });
        return Ok(users::add(context, fields));
    };
    if text(&held, "status") == "disabled" {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "AUTH-5", "User is not a member of tenant"));
    }
    let mut user = (*held).clone();
    user["name"] = claims["name"].clone();
    user["email"] = claims["email"].clone();
    user["status"] = json!("active");
    if let Some(groups) = groups {
        let custom = |group: &&Value| {
            context.get("groups", text(group, "id")).is_some_and(|group| text(&group, "providerType") == "custom")
        };
        let kept: Vec<Value> = held["assignedGroups"]
            .as_array()
            .map(|held| held.iter().filter(custom).cloned().collect())
            .unwrap_or_default();
        user["assignedGroups"] = json!([kept, groups].concat());
    }
    let id = text(&held, "id").to_owned();
    if user != *held {
        user["lastUpdatedAt"] = json!(context.timestamp());
        context.put("users", &id, user);
    }
    Ok(id)
}

/// 200 and the session's cookies.
fn session(context: &Context<'_>, user: String) -> Answer {
    let exp = context.now.as_second() + token::LIFE_SECONDS;
    let grant =
        Grant { host: context.host.to_owned(), client: String::new(), user: Some(user), scope: String::new(), exp };
    let session = token::issue(text(&context.organization(), "tokenKey"), &grant);
    let (signed, signature) = session.rsplit_once('.').unwrap_or_default();
    let csrf = ids::label(context.random, 32);
    let flags = "Path=/; Secure; SameSite=None";
    Answer::ok(&json!({}))
        .with(header::SET_COOKIE, &format!("eas.sid={signed}; {flags}; HttpOnly"))
        .with(header::SET_COOKIE, &format!("eas.sid.sig={signature}; {flags}; HttpOnly"))
        .with(header::SET_COOKIE, &format!("_csrfToken={csrf}; {flags}"))
}
