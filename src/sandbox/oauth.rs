//! Access tokens for clients: `POST /oauth/token` (authenticate platform operations; OAuth M2M and impersonation).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderName, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::context::{Answer, Context, Handled, text};
use super::dispatch::basic;
use super::hosts::Place;
use super::oauth_clients::IMPERSONATION;
use super::refusal::Refusal;
use super::resources::Resource;
use super::state::Document;
use super::token::{self, Grant};
use super::{estate, ids, oauth_clients, oauth_tokens, source_tenant, users};

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("requestOauthToken", request_token),
        ("requestAnonymousEmbedToken", anonymous_token),
        ("revokeOauthToken", revoke),
        ("authorizeOauthClient", authorize),
        ("getOauthServerMetadata", metadata),
    ],
    seed: None,
};

/// What a regional client may do; the set is fixed (create a regional OAuth client).
const REGIONAL_SCOPES: &[&str] = &["admin_classic", "tenants:create", "tenants:deactivate", "tenants:reactivate"];
/// What a client may do on the console host (organization API, get started).
const CONSOLE_SCOPES: &[&str] = &["cloud-console.tenants:read"];
/// What Qlik's own clients for TypeScript and Python ask for when they are told nothing, also where its samples make
/// tenants with them. That it takes nothing from a regional client is an assumption; that it is refused cannot be.
const UNTOLD: &str = "user_default";

fn malformed(detail: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "HTTP-400", "Bad request").detail(detail)
}

/// Who asks for a token.
enum Client {
    /// The organization's client, which acts in every region and on the console host.
    Regional,
    /// One of the tenant's own.
    Own(Document),
}

impl Client {
    /// What it may be granted at most.
    fn scopes(&self, place: &Place) -> Vec<String> {
        let fixed = |scopes: &[&str]| scopes.iter().map(|scope| (*scope).to_owned()).collect();
        match self {
            Self::Regional if *place == Place::Console => fixed(CONSOLE_SCOPES),
            Self::Regional => fixed(REGIONAL_SCOPES),
            Self::Own(client) => {
                let held = client["allowedScopes"].as_array().into_iter().flatten();
                held.filter_map(Value::as_str).map(str::to_owned).collect()
            }
        }
    }
}

/// The client that this id and secret are of.
fn client(context: &mut Context<'_>, id: &str, secret: &str) -> Result<Client, Refusal> {
    for (home, organization) in context.homes() {
        let held = estate::clients(&organization).into_iter().find(|client| client.id == id);
        // A client that acts elsewhere is answered as one that there is not: no other answer is published.
        if held.is_some_and(|client| client.secret == secret && client.acts_at(context.place)) {
            context.is_of(home);
            return Ok(Client::Regional);
        }
    }
    let own = context.get("oauthClients", id).filter(|_| oauth_clients::knows(context, id, secret));
    own.map(Client::Own).ok_or_else(|| Refusal::unauthorized("invalid client credentials"))
}

fn request_token(context: &mut Context<'_>) -> Handled {
    let form = form(context)?;
    let (id, secret) = match context.header("authorization").and_then(basic) {
        Some((id, secret)) => (id, Some(secret)),
        None => {
            (text(&form, "client_id").to_owned(), form.get("client_secret").and_then(Value::as_str).map(str::to_owned))
        }
    };
    let grant_type = text(&form, "grant_type");
    match grant_type {
        "client_credentials" | IMPERSONATION => {}
        "" => return Err(malformed("grant_type is missing")),
        known @ ("refresh_token" | "authorization_code" | "urn:ietf:params:oauth:grant-type:token-exchange") => {
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
    let client = client(context, &id, &secret)?;
    source_tenant::found(context);
    let wish = match (&client, text(&form, "scope").trim()) {
        (Client::Regional, UNTOLD) => "",
        (_, wish) => wish,
    };
    let scope = scope(&client.scopes(context.place), wish)?;
    let user = match (&client, grant_type) {
        (_, IMPERSONATION) => Some(impersonated(context, &client, &form)?),
        (Client::Own(held), grant) if !oauth_clients::has(held, "allowedGrantTypes", grant) => {
            return Err(malformed("the client may not use this grant_type"));
        }
        _ if matches!(context.place, Place::Tenant(_)) => Some(users::bot(context, &id)?),
        _ => None,
    };
    let as_user = user.clone().filter(|_| grant_type == IMPERSONATION);
    let (token, answer) = issued(context, id, user, scope);
    if let (Client::Own(client), Some(user)) = (&client, as_user) {
        let exp = context.now.as_second() + token::LIFE_SECONDS;
        oauth_tokens::note(context, &id_of(&token), &user, client, exp);
    }
    Ok(answer)
}

/// A token, and the answer that holds it.
fn issued(context: &Context<'_>, id: String, user: Option<String>, scope: String) -> (String, Answer) {
    let kind = if *context.place == Place::Console { "Bearer" } else { "bearer" };
    let exp = context.now.as_second() + token::LIFE_SECONDS;
    let grant = Grant { host: context.host.to_owned(), client: id, user, scope: scope.clone(), exp };
    let ends = context.now + jiff::SignedDuration::from_secs(token::LIFE_SECONDS);
    let token = token::issue(text(&context.organization(), "tokenKey"), &grant);
    let body = json!({
        "access_token": token,
        "token_type": kind,
        "expires_at": ids::timestamp(ends),
        "expires_in": token::LIFE_SECONDS,
        "scope": scope,
    });
    let answer = Answer::ok(&body).with(header::CACHE_CONTROL, "no-store");
    (token, answer.with(HeaderName::from_static("pragma"), "no-cache"))
}

/// A token for whoever looks at something embedded. It acts as nobody; what its `eac` gives access to is not simulated.
fn anonymous_token(context: &mut Context<'_>) -> Handled {
    let id = text(&context.body, "client_id").to_owned();
    let client = context.get("oauthClients", &id).filter(|client| text(client, "appType") == "anonymous-embed");
    let client = client.ok_or_else(|| Refusal::unauthorized("the client is none for anonymous embedding"))?;
    let scopes = Client::Own(client).scopes(context.place).join(" ");
    Ok(issued(context, id, None, scopes).1)
}

/// Where a person would log in and consent: the tenant's login page, which nobody sees here. So whoever must not be asked
/// learns that somebody would have to log in.
fn authorize(context: &mut Context<'_>) -> Handled {
    let given = |name: &str| context.parameter(name).unwrap_or_default();
    let client = context.get("oauthClients", given("client_id")).ok_or_else(|| malformed("there is no such client"))?;
    let redirect = given("redirect_uri");
    if !oauth_clients::has(&client, "redirectUris", redirect) {
        return Err(malformed("redirect_uri is none of the client's"));
    }
    if given("code_challenge_method") != "S256" || given("state").is_empty() {
        return Err(malformed("state and code_challenge_method=S256 are needed"));
    }
    let back = |error: &str| {
        let mut link = url::Url::parse(redirect).map_err(|_| malformed("redirect_uri is no address"))?;
        link.query_pairs_mut().append_pair("error", error).append_pair("state", given("state"));
        Ok(Answer::redirect(StatusCode::FOUND, link.as_str()))
    };
    let held = Client::Own(client.clone()).scopes(context.place);
    let wish = given("scope");
    if given("response_type") != "code" {
        back("unsupported_response_type")
    } else if wish.split([' ', ',']).any(|wish| wish != "offline_access" && !held.iter().any(|scope| scope == wish)) {
        back("invalid_scope")
    } else if given("prompt") == "none" {
        back("login_required")
    } else {
        Ok(Answer::redirect(StatusCode::FOUND, &context.link("/login")))
    }
}

/// What is granted: a wish can only narrow what the client has.
fn scope(held: &[String], wish: &str) -> Result<String, Refusal> {
    if wish.is_empty() {
        return Ok(held.join(" "));
    }
    let kept: Vec<&str> = wish.split_whitespace().filter(|wish| held.iter().any(|scope| scope == wish)).collect();
    if kept.is_empty() { Err(malformed("none of the scopes is one of the client's")) } else { Ok(kept.join(" ")) }
}

/// The user a client acts as. It must exist, the tenant must trust the client, and the scope is to be said (impersonation
/// clients; guiding principles). Which status each breach gets is not published; they are assumed.
fn impersonated(context: &Context<'_>, client: &Client, form: &Value) -> Result<String, Refusal> {
    let Client::Own(client) = client else {
        return Err(malformed("only a tenant's own client can act as a user"));
    };
    if !oauth_clients::has(client, "allowedGrantTypes", IMPERSONATION) {
        return Err(malformed("the client may not use this grant_type"));
    }
    if client["connectionConfig"]["consentMethod"] != "trusted" {
        return Err(Refusal::forbidden("the tenant does not trust the client: its consentMethod is not trusted"));
    }
    if text(form, "scope").is_empty() {
        return Err(malformed("scope is missing"));
    }
    let wanted = text(&form["user_lookup"], "value");
    let user = match text(&form["user_lookup"], "field") {
        "userId" => context.get("users", wanted),
        "subject" => context.collection("users").find_exact("subject", wanted),
        _ => return Err(malformed("user_lookup.field must be subject or userId")),
    };
    let user = user.ok_or_else(|| malformed("there is no such user"))?;
    match text(&user, "status") {
        "active" => Ok(text(&user, "id").to_owned()),
        _ => Err(Refusal::forbidden("the user is not active")),
    }
}

/// What a token is known by, which gives nothing of it away.
fn id_of(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(token))
}

/// Whether a token was given up.
pub(super) fn is_revoked(context: &Context<'_>, token: &str) -> bool {
    oauth_tokens::is_revoked(context, || id_of(token))
}

/// A token that is none, or none any more, is as good as revoked (RFC 7009). Tokens that are granted alike within one second
/// are the same here, and revoked together.
fn revoke(context: &mut Context<'_>) -> Handled {
    let form = form(context)?;
    let token = text(&form, "token");
    if token.is_empty() {
        return Err(malformed("token is missing"));
    }
    let read = |organization: &Value| token::read(text(organization, "tokenKey"), token, context.now);
    let grant = context.homes().iter().find_map(|(_, organization)| read(organization));
    if let Some(grant) = grant.filter(|grant| grant.host == context.host) {
        oauth_tokens::give_up(context, &id_of(token), grant.exp);
    }
    Ok(Answer { status: StatusCode::OK, headers: Vec::new(), body: Bytes::new() })
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
        "grant_types_supported": ["client_credentials", IMPERSONATION],
    });
    Ok(Answer::ok(&body))
}
