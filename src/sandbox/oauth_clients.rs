//! The OAuth clients of a tenant, with their secrets and whether the tenant trusts them (OAuth clients API; machine to
//! machine and impersonation clients).

use http::StatusCode;
use serde_json::{Value, json};

use super::context::{Answer, Context, Handled, text};
use super::filter::{Fields, Filter};
use super::ids;
use super::paging::{self, Paging, page_as};
use super::patch;
use super::refusal::Refusal;
use super::resources::Resource;
use super::state::Document;

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("getOAuthClients", list),
        ("createOAuthClient", create),
        ("getOAuthClient", get),
        ("patchOAuthClient", change),
        ("deleteOAuthClient", delete),
        ("publishOAuthClient", publish),
        ("createOAuthClientSecret", create_secret),
        ("deleteOAuthClientSecret", delete_secret),
        ("getOAuthClientConnectionConfig", get_connection),
        ("patchOAuthClientConnectionConfig", change_connection),
        ("deleteOAuthClientConnectionConfig", delete_connection),
    ],
    seed: None,
};

const PAGING: Paging = Paging::next_prev(20, 100);
const SORTS: &[&str] = &["clientId", "clientName", "appType", "tenantId", "createdAt", "updatedAt"];
const FILTERS: Fields = Fields { eq: &["clientId", "clientName", "appType", "tenantId", "createdByType"], co: &[] };
/// What a patch may change; the rest stays as it was made.
const PATHS: &[&str] = &[
    "/allowedOrigins",
    "/clientName",
    "/clientUri",
    "/description",
    "/logoUri",
    "/redirectUris",
    "/allowedScopes",
    "/allowedGrantTypes",
    "/publicKeys",
    "/allowedAuthMethods",
    "/jwksUri",
];
/// How many secrets a client has at one time, and addresses in each of its lists.
const SECRETS: usize = 5;
const ADDRESSES: usize = 5;

/// The grant by which a client acts as a user.
pub(super) const IMPERSONATION: &str = "urn:qlik:oauth:user-impersonation";

fn secrets(context: &Context<'_>, client: &str) -> Vec<Document> {
    context.collection("oauthSecrets").find("clientId", client)
}

/// Whether a client has this secret.
pub(super) fn knows(context: &Context<'_>, client: &str, secret: &str) -> bool {
    secrets(context, client).iter().any(|held| text(held, "text") == secret)
}

/// Makes a secret. What its hint is made of is not published: its last five characters are assumed.
fn add_secret(context: &mut Context<'_>, client: &str) -> Value {
    let taken = secrets(context, client);
    loop {
        let secret = ids::hex(context.random, 64);
        let hint = &secret[secret.len() - 5..];
        if taken.iter().any(|held| text(held, "hint") == hint) {
            continue;
        }
        let document = json!({
            "clientId": client, "hint": hint, "text": secret, "createdAt": context.timestamp(),
            "createdBy": context.user_id(),
        });
        context.put("oauthSecrets", &format!("{client} {hint}"), document.clone());
        return document;
    }
}

fn hint(secret: &Value) -> Value {
    json!({"hint": secret["hint"], "createdAt": secret["createdAt"], "createdBy": secret["createdBy"]})
}

/// A client with the hints of its secrets and the tenant's connection to it.
fn shown(context: &Context<'_>, client: &Value) -> Value {
    let mut client = client.clone();
    let held: Vec<Value> = secrets(context, text(&client, "clientId")).iter().map(|secret| hint(secret)).collect();
    client["clientSecrets"] = held.into();
    client
}

fn list(context: &mut Context<'_>) -> Handled {
    let mut found = context.collection("oauthClients").documents();
    if let Some(filter) = context.parameter("filter") {
        found = Filter::parse(filter, FILTERS)?.apply(found);
    }
    paging::sort(context, &mut found, SORTS, "")?;
    page_as(context, found, PAGING, shown)
}

/// Whether the client's fields go together.
fn checked(client: &Value) -> Result<(), Refusal> {
    if text(client, "clientName").trim().is_empty() {
        return Err(Refusal::bad_request("clientName must not be empty").pointer("/clientName"));
    }
    for field in ["redirectUris", "allowedOrigins"] {
        if client[field].as_array().is_some_and(|list| list.len() > ADDRESSES) {
            let detail = format!("{field} may hold at most {ADDRESSES}");
            return Err(Refusal::bad_request(detail).pointer(format!("/{field}")));
        }
    }
    if text(client, "appType") != "web" && client["allowedGrantTypes"].as_array().is_some_and(|list| !list.is_empty()) {
        let detail = "allowedGrantTypes are only for clients of the type web";
        return Err(Refusal::bad_request(detail).pointer("/allowedGrantTypes"));
    }
    let keys = client.get("publicKeys").is_some() || client.get("jwksUri").is_some();
    if has(client, "allowedAuthMethods", "private_key_jwt") && !keys {
        return Err(Refusal::bad_request("private_key_jwt needs publicKeys").pointer("/publicKeys"));
    }
    Ok(())
}

/// Whether a list of the client holds this text.
pub(super) fn has(client: &Value, field: &str, wanted: &str) -> bool {
    client[field].as_array().is_some_and(|list| list.iter().any(|held| held == wanted))
}

/// Only clients of the type web keep secrets; by what else they show who they are must be said.
fn wants_secret(client: &Value) -> bool {
    text(client, "appType") == "web"
        && (client.get("allowedAuthMethods").is_none() || has(client, "allowedAuthMethods", "client_secret"))
}

/// A name may be given again: the API publishes no conflict for it.
fn create(context: &mut Context<'_>) -> Handled {
    let mut client = context.body.clone();
    checked(&client)?;
    let (id, now) = (ids::hex(context.random, 32), context.timestamp());
    let with_secret = wants_secret(&client);
    let trusted = client["connectionConfig"]["consentMethod"] == "trusted";
    client["connectionConfig"] = json!({"consentMethod": if trusted { "trusted" } else { "required" }});
    for (field, value) in [
        ("clientId", json!(id)),
        ("createdAt", json!(now)),
        ("updatedAt", json!(now)),
        ("createdByType", json!("user")),
    ] {
        client[field] = value;
    }
    if text(&client, "appType") == "web" && client.get("allowedAuthMethods").is_none() {
        client["allowedAuthMethods"] = json!(["client_secret"]);
    }
    context.put("oauthClients", &id, client.clone());
    // Clients without a secret answer with an empty one: the field is published as always there.
    let secret = if with_secret { add_secret(context, &id)["text"].clone() } else { json!("") };
    let mut answer = shown(context, &client);
    answer["clientSecret"] = secret;
    Ok(Answer::created(&answer))
}

/// The client of the path.
fn asked(context: &Context<'_>) -> Result<Document, Refusal> {
    context.get("oauthClients", &context.var("id")).ok_or_else(|| Refusal::not_found("HTTP-404"))
}

fn get(context: &mut Context<'_>) -> Handled {
    let client = asked(context)?;
    Ok(Answer::ok(&shown(context, &client)))
}

fn change(context: &mut Context<'_>) -> Handled {
    let before = asked(context)?;
    let mut client = (*before).clone();
    for step in patch::steps(context, &[("add", PATHS), ("replace", PATHS), ("remove", PATHS)])? {
        if step.op == "remove" {
            if let Some(map) = client.as_object_mut() {
                map.shift_remove(step.path.trim_start_matches('/'));
            }
        } else {
            patch::set(&mut client, &step.path, step.value);
        }
    }
    checked(&client)?;
    let id = context.var("id");
    if client != *before {
        client["updatedAt"] = json!(context.timestamp());
        context.put("oauthClients", &id, client.clone());
    }
    if wants_secret(&client) && !wants_secret(&before) && secrets(context, &id).is_empty() {
        let secret = add_secret(context, &id);
        return Ok(Answer::json(StatusCode::ACCEPTED, &json!({"clientSecret": secret["text"]})));
    }
    Ok(Answer::no_content())
}

fn delete(context: &mut Context<'_>) -> Handled {
    asked(context)?;
    let id = context.var("id");
    if context.header("qlik-confirm-delete") != Some(&id) {
        return Err(Refusal::bad_request("the header qlik-confirm-delete must hold the client's id"));
    }
    for secret in secrets(context, &id) {
        context.remove("oauthSecrets", &format!("{id} {}", text(&secret, "hint")));
    }
    context.remove("oauthClients", &id);
    Ok(Answer::no_content())
}

/// Publishing again is assumed to be harmless. Other tenants do not see the client here.
fn publish(context: &mut Context<'_>) -> Handled {
    let mut client = (*asked(context)?).clone();
    if client.get("publishedAt").is_none() {
        client["publishedAt"] = json!(context.timestamp());
        context.put("oauthClients", &context.var("id"), client.clone());
    }
    Ok(Answer::created(&json!({"publishedAt": client["publishedAt"]})))
}

fn create_secret(context: &mut Context<'_>) -> Handled {
    let client = asked(context)?;
    let id = context.var("id");
    if !wants_secret(&client) {
        return Err(Refusal::bad_request("the client does not show who it is by a secret"));
    }
    if secrets(context, &id).len() >= SECRETS {
        return Err(Refusal::conflict("HTTP-409", format!("the client has {SECRETS} secrets already")));
    }
    let mut secret = add_secret(context, &id);
    secret["clientSecret"] = secret["text"].take();
    if let Some(map) = secret.as_object_mut() {
        map.shift_remove("text");
    }
    Ok(Answer::created(&secret))
}

fn delete_secret(context: &mut Context<'_>) -> Handled {
    asked(context)?;
    let id = format!("{} {}", context.var("id"), context.var("hint"));
    context.remove("oauthSecrets", &id).ok_or_else(|| Refusal::not_found("HTTP-404"))?;
    Ok(Answer::no_content())
}

fn get_connection(context: &mut Context<'_>) -> Handled {
    Ok(Answer::ok(&asked(context)?["connectionConfig"]))
}

fn connect(context: &mut Context<'_>, consent: &str) -> Handled {
    let mut client = (*asked(context)?).clone();
    client["connectionConfig"]["consentMethod"] = json!(consent);
    context.put("oauthClients", &context.var("id"), client);
    Ok(Answer::no_content())
}

fn change_connection(context: &mut Context<'_>) -> Handled {
    let steps = patch::steps(context, &[("replace", &["/consentMethod"])])?;
    let mut consent = text(&asked(context)?["connectionConfig"], "consentMethod").to_owned();
    for step in steps {
        step.text()?.clone_into(&mut consent);
    }
    connect(context, &consent)
}

/// A client of this tenant whose connection is deleted is assumed to ask for consent again.
fn delete_connection(context: &mut Context<'_>) -> Handled {
    connect(context, "required")
}
