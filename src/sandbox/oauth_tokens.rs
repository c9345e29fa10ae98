//! Tokens that a client got to act as a user: listed, and given up one by one (oauth-tokens specification).
//!
//! Published are the fields, and that administrators see everybody's. Assumed is which tokens these are: those of a
//! client that acts as somebody who is there, as long as they last; what a client gets for itself, a session and an anonymous
//! token are none. When one was used last is not noted, and nothing tells on which device.

use http::StatusCode;
use serde_json::{Value, json};

use super::context::{Answer, Context, Handled, text};
use super::paging::{self, Paging};
use super::refusal::Refusal;
use super::resources::Resource;
use super::spaces::Caller;
use super::state::Document;

pub(super) const RESOURCE: Resource =
    Resource { routes: &[("getOauthTokens", list), ("deleteOauthToken", delete)], seed: None };

/// The collection's name.
const TOKENS: &str = "oauthTokens";
/// What was given up before it ran out.
const REVOKED: &str = "revokedTokens";

/// The page size is not published; other lists of this size have it.
const PAGING: Paging = Paging::forward("page", 20, 100);

fn is_over(held: &Value, now: i64) -> bool {
    held["exp"].as_i64().is_none_or(|exp| exp <= now)
}

/// Forgets the oldest of a collection that have run out.
fn tidy(context: &mut Context<'_>, collection: &str) {
    let now = context.now.as_second();
    let held = context.collection(collection);
    for (id, _) in held.iter().take_while(|(_, held)| is_over(held, now)) {
        context.remove(collection, id);
    }
}

/// Notes a token that acts as a user, under an id that gives nothing of it away.
pub(super) fn note(context: &mut Context<'_>, id: &str, user: &str, client: &Value, exp: i64) {
    tidy(context, TOKENS);
    let token = json!({
        "id": id, "userId": user, "tenantId": context.tenant_id(), "description": client["clientName"],
        "clientId": client["clientId"], "exp": exp,
    });
    context.put(TOKENS, id, token);
}

/// Whether the token of this id was given up.
pub(super) fn is_revoked(context: &Context<'_>, id: impl FnOnce() -> String) -> bool {
    let revoked = context.collection(REVOKED);
    !revoked.is_empty() && revoked.get(&id()).is_some()
}

/// The token of this id is no good any more.
pub(super) fn give_up(context: &mut Context<'_>, id: &str, exp: i64) {
    tidy(context, REVOKED);
    context.remove(TOKENS, id);
    context.put(REVOKED, id, json!({"exp": exp}));
}

/// Whether a token is good: neither its client nor its user went meanwhile.
fn is_good(context: &Context<'_>, token: &Value) -> bool {
    !is_over(token, context.now.as_second())
        && context.get("users", text(token, "userId")).is_some()
        && context.get("oauthClients", text(token, "clientId")).is_some()
}

fn sees(caller: &Caller, token: &Value) -> bool {
    caller.is_admin() || text(token, "userId") == caller.id()
}

fn shown(token: &Value) -> Value {
    let mut token = token.clone();
    if let Some(fields) = token.as_object_mut() {
        fields.retain(|field, _| !["clientId", "exp"].contains(&&**field));
    }
    token
}

fn list(context: &mut Context<'_>) -> Handled {
    let caller = Caller::of(context);
    let user = context.parameter("userId").filter(|user| !user.is_empty());
    let held = context.collection(TOKENS).documents();
    let wanted = |token: &Document| {
        sees(&caller, token) && user.is_none_or(|user| text(token, "userId") == user) && is_good(context, token)
    };
    let mut found: Vec<Document> = held.into_iter().filter(wanted).collect();
    paging::sort(context, &mut found, &["userId"], "userId")?;
    paging::page_as(context, found, PAGING, |_, token| shown(token))
}

fn delete(context: &mut Context<'_>) -> Handled {
    let id = context.var("tokenId");
    let caller = Caller::of(context);
    let token = context.get(TOKENS, &id).filter(|token| sees(&caller, token) && is_good(context, token));
    let token = token.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "HTTP-404", "Not found"))?;
    give_up(context, &id, token["exp"].as_i64().unwrap_or_default());
    Ok(Answer::no_content())
}
