//! From a request to the handler of the operation it means: host, contract, token, body.

use std::collections::BTreeMap;

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};

use super::context::{Answer, Asked, Context, Handled, Look, text};
use super::hosts::{self, Place};
use super::refusal::{Refusal, Shape};
use super::settings::Settings;
use super::state::{Scope, State};
use super::store::Change;
use super::{estate, ids, oauth, published, resources, scopes, token};
use crate::contract::{Published, Role};
use crate::operation::Effect;

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
    /// What the handler looked at, for a request of a model.
    pub(super) looked: Vec<Look>,
}

/// Who asks, for a request that shows no token because it comes from a model of a tenant: what is looked at is noted.
#[derive(Clone, Debug)]
pub(super) struct Trusted(pub(super) token::Grant);

/// How long contents are in whose place the request has their digest, by digest: a plan leaves large ones where they are.
#[derive(Clone, Debug)]
pub struct InBrief(pub BTreeMap<String, u64>);

/// Operations that bring their own proof of who is there, or ask for it.
const OWN_PROOF: &[&str] = &["exchangeJwtForSession", "login"];

/// Whether a host has an operation.
fn offered(place: &Place, operation: &Published) -> bool {
    match (place, operation.host) {
        (Place::Nowhere, _) => false,
        // The link in the answer of `createTenant` leads to the register host.
        (Place::Register { .. }, Role::Tenant) => operation.id == "getTenant",
        (_, Role::Any)
        | (Place::Tenant(_), Role::Tenant)
        | (Place::Console, Role::Console)
        | (Place::Register { .. }, Role::Register) => true,
        _ => false,
    }
}

/// Whether a request may change something, so that it must wait for others that do.
pub(super) fn may_write(method: &Method) -> bool {
    !(method == Method::GET || method == Method::HEAD)
}

/// What a read is shown in place of the state, given whose documents it reads and as which user; nothing when it is
/// shown what is there.
pub(super) type Sight<'s> = &'s dyn Fn(&Scope, Option<&str>) -> Option<State>;

/// The operation a request means on the host it names.
pub(super) fn operation(request: &Request<Bytes>) -> Option<&'static Published> {
    published::find(request.method(), request.uri().path()).map(|(operation, _)| operation)
}

/// Whether an operation is only done for who shows a token.
pub(super) fn wants_token(operation: &Published) -> bool {
    !(operation.anonymous || OWN_PROOF.contains(&operation.id))
}

/// Answers one request from a state.
pub(super) fn answer(
    request: &Request<Bytes>,
    state: State,
    sight: Sight<'_>,
    Settings { clock, random, lags, .. }: &Settings,
) -> Outcome {
    let uri = request.uri();
    let host = uri.host().unwrap_or_default().to_ascii_lowercase();
    let base = request.extensions().get::<Base>().map_or_else(|| format!("https://{host}"), |base| base.0.clone());
    let base = base.trim_end_matches('/');
    let (place, home) = hosts::find(&state, &host, clock.now());
    let query = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let asked = Asked {
        place: &place,
        home,
        host: &host,
        base,
        path: uri.path(),
        query,
        headers: request.headers(),
        bytes: request.body(),
        now: clock.now(),
        random,
        lags: *lags,
    };
    let before = state.clone();
    let mut context = Context::new(asked, state);
    if let Some(Trusted(grant)) = request.extensions().get() {
        context.grant = Some(grant.clone());
        context.watch();
    }
    if let Some(InBrief(lengths)) = request.extensions().get() {
        context.lengths.clone_from(lengths);
    }
    let mut violations = Vec::new();
    let handled = handle(request.method(), &mut context, sight, &mut violations);
    let (answer, kept) = match handled {
        Ok(answer) => {
            if may_write(request.method())
                && let Some((operation, _)) = published::find(request.method(), uri.path())
            {
                context.leave_events(&before, operation);
            }
            (answer, true)
        }
        Err(refusal) => {
            let trace = ids::hex(random, 32);
            (Answer::json(refusal.status(), &refusal.body(Shape::of(uri.path()), &trace)), false)
        }
    };
    let looked = context.looked();
    let (state, made) = context.into_changes();
    let changed = (kept && !made.is_empty()).then_some((state, made));
    Outcome { response: respond(answer), changed, violations, looked }
}

pub(super) fn respond(answer: Answer) -> Response<Bytes> {
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

fn handle(method: &Method, context: &mut Context<'_>, sight: Sight<'_>, violations: &mut Vec<Violation>) -> Handled {
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
        // Two pages give two codes; the one about tokens gives the other (delete a tenant, delete tenants).
        let code = if path == "/oauth/token" { "TENANT_DEACTIVATED" } else { "TENANT_DISABLED" };
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, code, "Tenant is disabled"));
    }
    let found = published::find(method, path).filter(|(operation, _)| offered(context.place, operation));
    let Some((operation, vars)) = found else {
        violated("", "no published operation on this host has this method and path".to_owned());
        return Err(Refusal::new(StatusCode::NOT_FOUND, "HTTP-404", "Not found"));
    };
    if wants_token(operation) && context.grant.is_none() {
        let (grant, home) = granted(method, operation, context)?;
        context.grant = Some(grant);
        context.is_of(home);
    }
    let Some(handler) = resources::handler(operation.id) else {
        violated(operation.id, "the operation is not simulated".to_owned());
        let title = format!("{} is not simulated", operation.id);
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "SANDBOX-501", &title));
    };
    let read = published::read(operation, context.header("content-type"), context.bytes)
        .inspect_err(|refusal| violated(operation.id, refusal.to_string()))?;
    let checked = published::check(operation, &vars, &context.query, context.headers, context.bytes, &read);
    checked.map_err(|found| {
        for one in &found {
            violated(operation.id, one.to_string());
        }
        published::refuse(operation, &found)
    })?;
    (context.vars, context.body, context.parts) = (vars, read.body, read.parts);
    if operation.effect == Effect::Read && !may_write(method) {
        context.look_back(sight);
    }
    handler(context)
}

/// What the request's token or session grants, when it is good on this host, and the organization whose it is.
fn granted(method: &Method, operation: &Published, context: &Context<'_>) -> Result<(token::Grant, Scope), Refusal> {
    let bearer = context
        .header("authorization")
        .and_then(|value| value.split_once(' '))
        .filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim().to_owned());
    let session = cookie(context, "eas.sid").zip(cookie(context, "eas.sid.sig"));
    let (token, by_session) = match (bearer, session) {
        (Some(bearer), _) => (bearer, false),
        (None, Some((signed, signature))) => (format!("{signed}.{signature}"), true),
        (None, None) => return Err(Refusal::unauthorized("no bearer token")),
    };
    let found = context.homes().into_iter().find_map(|(home, organization)| {
        let grant = token::read(text(&organization, "tokenKey"), &token, context.now)?;
        (grant.host == context.host).then_some((grant, home, organization))
    });
    let (grant, home, organization) =
        found.ok_or_else(|| Refusal::unauthorized("the token is not valid on this host, or no longer"))?;
    let regional = !by_session && estate::clients(&organization).iter().any(|client| client.id == grant.client);
    let own = !regional && context.get("oauthClients", &grant.client).is_some();
    let known = if by_session { grant.client.is_empty() } else { regional || own };
    let user = grant.user.as_ref().map(|user| context.get("users", user));
    if !known || matches!(user, Some(None)) || oauth::is_revoked(context, &token) {
        return Err(Refusal::unauthorized("the token's client or user is gone"));
    }
    scopes::check(operation, &grant.scope)?;
    // What a user may do by its roles, and a token by most scopes, is not simulated: a session, a client that acts as a
    // user, and one without the scope of an administrator or of the resource only read.
    let acts_as_itself = user.flatten().is_some_and(|user| text(&user, "clientId") == grant.client);
    let writes = acts_as_itself && scopes::may_write(operation, &grant.scope);
    let in_tenant = matches!(context.place, Place::Tenant(_));
    if may_write(method) && in_tenant && (by_session || !writes) {
        let what = if by_session { "a session" } else { "this token" };
        return Err(Refusal::forbidden(&format!("{what} in the sandbox can only read")));
    }
    Ok((grant, home))
}

/// The value of a cookie the client sent.
fn cookie(context: &Context<'_>, name: &str) -> Option<String> {
    let pairs = context.header("cookie")?.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find(|(held, _)| *held == name).map(|(_, value)| value.to_owned())
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
