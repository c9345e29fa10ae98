//! Access tokens for clients: `POST /oauth/token` (authenticate platform operations; OAuth M2M).

use http::{HeaderName, StatusCode, header};
use serde_json::{Value, json};

use super::context::{Answer, Context, Handled, text};
use super::dispatch::basic;
use super::hosts::Place;
use super::refusal::Refusal;
use super::resources::Resource;
use super::token::{self, Grant};
use super::{ids, users};

pub(super) const RESOURCE: Resource =
    Resource { routes: &[("requestOauthToken", request_token), ("getOauthServerMetadata", metadata)], seed: None };

/// What a regional client may do; the set is fixed (create a regional OAuth client).
const REGIONAL_SCOPES: &[&str] = &["admin_classic", "tenants:create", "tenants:deactivate", "tenants:reactivate"];
/// What a client may do on the console host (organization API, get started).
const CONSOLE_SCOPES: &[&str] = &["cloud-console.tenants:read"];

fn malformed(detail: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "HTTP-400", "Bad request").detail(detail)
}

fn request_token(context: &mut Context<'_>) -> Handled {
    let form = form(context)?;
    let (id, secret) = match context.header("authorization").and_then(basic) {
        Some((id, secret)) => (id, Some(secret)),
        None => {
            (text(&form, "client_id").to_owned(), form.get("client_secret").and_then(Value::as_str).map(str::to_owned))
        }
    };
    match text(&form, "grant_type") {
        "client_credentials" => {}
        "" => return Err(malformed("grant_type is missing")),
        known @ ("refresh_token"
        | "authorization_code"
        | "urn:ietf:params:oauth:grant-type:token-exchange"
        | "urn:qlik:oauth:user-impersonation") => {
            let title = format!("requestOauthToken with grant type {known} is not simulated");
            return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "SANDBOX-501", &title));
        }
        other => return Err(malformed(&format!("unsupported grant_type `{other}`"))),
    }
    if id.is_empty() {
        return Err(malformed("client_id is missing"));
    }
    let Some(secret) = secret else {
        return Err(malformed("client_secret is missing"));
    };
    let organization = context.organization();
    if id != text(&organization, "clientId") || secret != text(&organization, "clientSecret") {
        return Err(
            Refusal::new(StatusCode::UNAUTHORIZED, "HTTP-401", "Unauthorized").detail("invalid client credentials")
        );
    }
    let (scopes, kind, user) = match context.place {
        Place::Console => (CONSOLE_SCOPES, "Bearer", None),
        Place::Tenant(_) => (REGIONAL_SCOPES, "bearer", Some(users::bot(context, &id)?)),
        _ => (REGIONAL_SCOPES, "bearer", None),
    };
    // A wish can only narrow what the client has.
    let scope = match text(&form, "scope") {
        "" => scopes.join(" "),
        wish => {
            let kept: Vec<&str> = wish.split_whitespace().filter(|scope| scopes.contains(scope)).collect();
            if kept.is_empty() {
                return Err(malformed("none of the scopes is one of the client's"));
            }
            kept.join(" ")
        }
    };
    let exp = context.now.as_second() + token::LIFE_SECONDS;
    let grant = Grant { host: context.host.to_owned(), client: id, user, exp };
    let ends = context.now + jiff::SignedDuration::from_secs(token::LIFE_SECONDS);
    let body = json!({
        "access_token": token::issue(text(&organization, "tokenKey"), &grant),
        "token_type": kind,
        "expires_at": ids::timestamp(ends),
        "expires_in": token::LIFE_SECONDS,
        "scope": scope,
    });
    Ok(Answer::ok(&body).with(header::CACHE_CONTROL, "no-store").with(HeaderName::from_static("pragma"), "no-cache"))
}

/// The fields of the request, whether they came as JSON or as a form.
fn form(context: &Context<'_>) -> Result<Value, Refusal> {
    let kind = context.header("content-type").unwrap_or_default().to_ascii_lowercase();
    if kind.starts_with("application/x-www-form-urlencoded") {
        let pairs = url::form_urlencoded::parse(context.bytes).into_owned();
        return Ok(Value::Object(pairs.map(|(name, value)| (name, Value::String(value))).collect()));
    }
    match &context.body {
        Value::Object(_) => Ok(context.body.clone()),
        Value::Null if context.header("authorization").and_then(basic).is_some() => Ok(json!({})),
        _ => Err(malformed("the body must be a JSON object or a form")),
    }
}

fn metadata(context: &mut Context<'_>) -> Handled {
    let body = json!({
        "issuer": context.base,
        "authorization_endpoint": context.link("/oauth/authorize"),
        "token_endpoint": context.link("/oauth/token"),
        "revocation_endpoint": context.link("/oauth/revoke"),
        "response_types_supported": ["code"],
        "grant_types_supported": ["client_credentials"],
    });
    Ok(Answer::ok(&body))
}
