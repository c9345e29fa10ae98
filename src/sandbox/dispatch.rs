//! From a request to the handler of the operation it means: host, contract, token, body.

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::Value;

use super::context::{Answer, Asked, Context, Handled, text};
use super::hosts::{self, Place};
use super::refusal::{Refusal, Shape};
use super::settings;
use super::state::{SELF, Scope, State};
use super::store::Change;
use super::{ids, published, resources, token};
use crate::surroundings::{Clock, Random};

/// The address with which links in the answer begin: what the client put before the path of the host it asked, for
/// example `http://127.0.0.1:4848/halyard.eu.qlikcloud.com`. Without it links begin with `https://<host>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base(pub String);

/// A request that breaks the contract, or means nothing that is simulated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The operation; empty when the path is no operation's.
    pub operation: String,
    /// Method and path.
    pub request: String,
    /// What is wrong, with the pointer to it.
    pub message: String,
}

/// What became of a request.
pub(super) struct Outcome {
    pub(super) response: Response<Bytes>,
    /// The state and what was changed in it; none when nothing was.
    pub(super) changed: Option<(State, Vec<Change>)>,
    pub(super) violations: Vec<Violation>,
}

/// Operations that need no token.
const PUBLIC: &[&str] = &[
    "requestOauthToken",
    "revokeOauthToken",
    "requestAnonymousEmbedToken",
    "getOauthServerMetadata",
    "authorizeOauth",
    "login",
    "exchangeJwtForSession",
];

/// Operations of the register hosts, and whether tenants' hosts have them too.
const REGISTER: &[(&str, bool)] = &[
    ("createTenant", false),
    ("deactivateTenant", false),
    ("reactivateTenant", false),
    ("getTenant", true),
    ("requestOauthToken", true),
    ("getOauthServerMetadata", true),
];

/// Operations of the console host, and whether tenants' hosts have them too.
const CONSOLE: &[(&str, bool)] =
    &[("listOrganizationTenants", false), ("requestOauthToken", true), ("getOauthServerMetadata", true)];

fn offered(place: &Place, operation: &str) -> bool {
    let listed = |list: &[(&str, bool)]| list.iter().any(|(id, _)| *id == operation);
    match place {
        Place::Register { .. } => listed(REGISTER),
        Place::Console => listed(CONSOLE),
        Place::Tenant(_) => !REGISTER.iter().chain(CONSOLE).any(|(id, shared)| *id == operation && !shared),
        Place::Nowhere => false,
    }
}

/// Whether a request may change something, so that it must wait for others that do.
pub(super) fn may_write(method: &Method) -> bool {
    !(method == Method::GET || method == Method::HEAD)
}

/// Answers one request from a state.
pub(super) fn answer(request: &Request<Bytes>, state: State, clock: &dyn Clock, random: &Random) -> Outcome {
    let uri = request.uri();
    let host = uri.host().unwrap_or_default().to_ascii_lowercase();
    let base = request.extensions().get::<Base>().map_or_else(|| format!("https://{host}"), |base| base.0.clone());
    let base = base.trim_end_matches('/');
    let place = hosts::find(&state, &host);
    let query = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let asked = Asked {
        place: &place,
        host: &host,
        base,
        path: uri.path(),
        query,
        headers: request.headers(),
        bytes: request.body(),
        now: clock.now(),
        random,
    };
    let mut context = Context::new(asked, state);
    let mut violations = Vec::new();
    let handled = handle(request.method(), &mut context, &mut violations);
    let (answer, kept) = match handled {
        Ok(answer) => (answer, true),
        Err(refusal) => {
            let trace = ids::hex(random, 32);
            (Answer::json(refusal.status(), &refusal.body(Shape::of(uri.path()), &trace)), false)
        }
    };
    let (state, changes) = context.into_changes();
    let changed = (kept && !changes.is_empty()).then_some((state, changes));
    Outcome { response: respond(answer), changed, violations }
}

fn respond(answer: Answer) -> Response<Bytes> {
    let length = HeaderValue::from(answer.body.len());
    let mut response = Response::new(answer.body);
    *response.status_mut() = answer.status;
    for (name, value) in answer.headers {
        response.headers_mut().append(name, value);
    }
    if answer.status != StatusCode::NO_CONTENT {
        response.headers_mut().insert(header::CONTENT_LENGTH, length);
    }
    response
}

fn handle(method: &Method, context: &mut Context<'_>, violations: &mut Vec<Violation>) -> Handled {
    if *context.place == Place::Nowhere {
        let title = "No authentication configured for this hostname";
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "LOGIN-2", title));
    }
    let path = context.path;
    let mut violated = |operation: &str, message: String| {
        let (operation, request) = (operation.to_owned(), format!("{method} {path}"));
        violations.push(Violation { operation, request, message });
    };
    if path == "/resources/autogenerated/product-info.json" && *method == Method::GET {
        return Ok(product_info());
    }
    if let Place::Tenant(tenant) = context.place
        && text(tenant, "status") != "active"
    {
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "TENANT_DISABLED", "Tenant is disabled"));
    }
    let found = published::find(method, path).filter(|found| offered(context.place, found.id));
    let Some(found) = found else {
        violated("", "no published operation on this host has this method and path".to_owned());
        return Err(Refusal::new(StatusCode::NOT_FOUND, "HTTP-404", "Not found"));
    };
    if !PUBLIC.contains(&found.id) {
        context.grant = Some(granted(context)?);
    }
    let Some(handler) = resources::handler(found.id) else {
        violated(found.id, "the operation is not simulated".to_owned());
        let title = format!("{} is not simulated", found.id);
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "SANDBOX-501", &title));
    };
    context.vars = found.vars;
    context.body = body(context).inspect_err(|refusal| violated(found.id, format!("{refusal:?}")))?;
    handler(context)
}

/// The body as JSON: what is declared as JSON must be it, other kinds are left to the handler.
fn body(context: &Context<'_>) -> Result<Value, Refusal> {
    let kind = context.header("content-type").unwrap_or("application/json");
    if context.bytes.is_empty() || !kind.to_ascii_lowercase().contains("json") {
        return Ok(Value::Null);
    }
    serde_json::from_slice(context.bytes)
        .map_err(|error| Refusal::bad_request(format!("the request body is not JSON: {error}")))
}

/// What the request's token grants, when it is good on this host.
fn granted(context: &Context<'_>) -> Result<token::Grant, Refusal> {
    let bearer = context
        .header("authorization")
        .and_then(|value| value.split_once(' '))
        .filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let Some(bearer) = bearer else {
        return Err(Refusal::unauthorized("no bearer token"));
    };
    let organization = context.state().get(&Scope::Organization, "organization", SELF).unwrap_or_default();
    let key = settings::text(&organization, "tokenKey");
    let grant = token::read(&key, bearer, context.now)
        .filter(|grant| grant.host == context.host)
        .ok_or_else(|| Refusal::unauthorized("the token is not valid on this host, or no longer"))?;
    let known = grant.client == text(&organization, "clientId");
    let present = grant.user.as_ref().is_none_or(|user| context.get("users", user).is_some());
    if known && present { Ok(grant) } else { Err(Refusal::unauthorized("the token's client or user is gone")) }
}

/// What `GET /resources/autogenerated/product-info.json` says: clients ask it to learn that a host is Qlik Cloud.
fn product_info() -> Answer {
    let body = serde_json::json!({
        "composition": {"deploymentType": "QlikSenseCloud", "productLabel": "Qlik Cloud", "productName": "Qlik Cloud"},
    });
    Answer::ok(&body)
}

/// The id and secret of HTTP's basic authentication.
pub(super) fn basic(value: &str) -> Option<(String, String)> {
    let (kind, encoded) = value.split_once(' ')?;
    if !kind.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}
