use rhai::Map as ScriptMap;
use rhai::plugin::*;
use serde_json::{Map, Value};

use super::listing::forget_all;
use super::options::{self, invalid, script};
use super::request::Ask;
use super::tenant::Tenant;
use crate::contract::{BodyKind, Published, Role, contract};
use crate::event::Change;
use crate::operation::{Content, Effect, Failure, FailureKind, HeaderText, Host, Payload, secret};
use crate::playbook::{Call, ScriptError};

fn request(call: &mut Call, tenant: &Tenant, id: &str, mut given: ScriptMap) -> Result<Dynamic, ScriptError> {
    let Some(published) = contract().operation(id) else {
        let near: Vec<String> = contract().nearest(id).into_iter().map(|near| format!("`{near}`")).collect();
        let hint = if near.is_empty() { None } else { Some(format!("did you mean {}?", near.join(" or "))) };
        let mut failure = Failure::new(
            FailureKind::Denied,
            "tenantry/unknown-operation",
            format!("Qlik Cloud has no operation `{id}`"),
        );
        failure.hint = hint;
        return Err(call.throw(failure));
    };
    // A bundle has no JSON form, so it is taken out first.
    let file = given.remove("file");
    let given = options::options(call, given, &["path", "query", "headers", "body"])?;
    let subject = subject(published, &given);
    let mut ask = Ask::of(&host(tenant, published), published, subject.clone());
    for (name, value) in map(call, &given, "path")? {
        ask = ask.var(name, plain(call, name, value)?);
    }
    for (name, value) in map(call, &given, "query")? {
        ask = match value {
            // Several values of one parameter are joined, as Qlik's own toolkit does.
            Value::Array(items) => {
                let items: Result<Vec<_>, _> = items.iter().map(|item| plain(call, name, item)).collect();
                ask.query(name, items?.join(","))
            }
            value => ask.query(name, plain(call, name, value)?),
        };
    }
    for (name, value) in map(call, &given, "headers")? {
        let value = match secret::name(value) {
            Some(secret) if name.eq_ignore_ascii_case("authorization") => HeaderText::Bearer(secret.to_owned()),
            _ => HeaderText::Text(plain(call, name, value)?),
        };
        ask = ask.header(name, value);
    }
    ask = body(call, ask, published, given.get("body"), file)?;
    let response = ask.send(call)?;
    if published.effect.is_write() {
        // Something was written past the functions that know what it means.
        forget_all(call, tenant);
    }
    if let Some(change) = change(published.effect) {
        call.step(change, subject, Vec::new());
    }
    match &response.payload {
        Payload::Json(document) => script(call, document),
        Payload::Empty => Ok(Dynamic::UNIT),
        Payload::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.into()),
            Err(_) => Err(call.throw(
                Failure::new(FailureKind::Unknown, "tenantry/binary-answer", format!("`{id}` answered with a file"))
                    .hint("a script cannot hold files"),
            )),
        },
    }
}

fn host(tenant: &Tenant, published: &Published) -> Host {
    match published.host {
        Role::Register => Host::Register(tenant.region().to_owned()),
        Role::Console => Host::Console,
        Role::Tenant | Role::Any => tenant.host().clone(),
    }
}

/// The operation with what its path names: `updateSpace (spaceId 63a1)`.
fn subject(published: &Published, given: &Map<String, Value>) -> String {
    let named: Vec<String> = published
        .variables()
        .filter_map(|name| Some(format!("{name} {}", given.get("path")?.get(name)?.as_str()?)))
        .collect();
    if named.is_empty() { published.id.to_owned() } else { format!("{} ({})", published.id, named.join(", ")) }
}

fn change(effect: Effect) -> Option<Change> {
    match effect {
        Effect::Read | Effect::Probe => None,
        Effect::Create => Some(Change::Created),
        Effect::Update => Some(Change::Updated),
        Effect::Delete => Some(Change::Deleted),
        Effect::Act => Some(Change::Acted),
    }
}

fn map<'g>(
    call: &Call,
    given: &'g Map<String, Value>,
    field: &str,
) -> Result<impl Iterator<Item = (&'g str, &'g Value)>, ScriptError> {
    match given.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) => Ok(Some(map)),
        Some(other) => Err(invalid(call, format!("`{field}` is {}; a map is needed", options::kind(other)), None)),
    }
    .map(|map| map.into_iter().flatten().map(|(name, value)| (name.as_str(), value)))
}

/// A parameter as text.
fn plain(call: &Call, name: &str, value: &Value) -> Result<String, ScriptError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        other if secret::name(other).is_some() => {
            Err(invalid(call, format!("a secret cannot be the parameter `{name}`"), None))
        }
        other => Err(invalid(call, format!("`{name}` is {}; a text or number is needed", options::kind(other)), None)),
    }
}

fn body(
    call: &Call,
    ask: Ask,
    published: &Published,
    given: Option<&Value>,
    file: Option<Dynamic>,
) -> Result<Ask, ScriptError> {
    let kind = published.body.as_ref().map(|body| body.kind);
    let multipart = kind == Some(BodyKind::Multipart);
    if let Some(BodyKind::Bytes | BodyKind::Chunk) = kind {
        return Err(invalid(call, format!("`{}` takes a file, which scripts cannot send yet", published.id), None));
    }
    let mut ask = ask;
    if let Some(file) = file {
        let bundle = file.try_cast::<super::render::Bundle>().filter(|_| multipart);
        let Some(bundle) = bundle else {
            let title = format!("`file` of `{}` cannot be that", published.id);
            return Err(invalid(call, title, Some("it is a bundle, for operations that take a form".to_owned())));
        };
        ask = ask.part("file", Some("bundle.zip"), Content::Bundle((*bundle.0).clone()));
    }
    match given {
        None => Ok(ask),
        // In a form, every field is a part of its own.
        Some(Value::Object(fields)) if multipart => {
            Ok(fields.iter().fold(ask, |ask, (name, value)| ask.part(name, None, Content::Json(value.clone()))))
        }
        Some(value) => Ok(ask.json(value.clone())),
    }
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// Performs any published operation that needs no parameters; gives its answer.
    ///
    /// - `operation_id`: Qlik's operationId: `"getQuotas"`.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// log(tenant.request("getLicenseSettings").autoAssignAnalyzer);
    /// ```
    #[rhai_fn(name = "request", pure, return_raw)]
    pub fn request_plain(
        context: NativeCallContext,
        tenant: &mut Tenant,
        operation_id: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        request(&mut Call::begin(&context, "tenant.request")?, tenant, operation_id, ScriptMap::new())
    }

    /// Performs any published operation; gives its answer. It is checked against Qlik's published contract before it is sent,
    /// and goes to the host that serves it. A list comes page by page, as Qlik answers it.
    ///
    /// - `operation_id`: Qlik's operationId: `"createSpace"`.
    /// - `options`: `path`, the variables of its path; `query`; `headers`; `body`; `file`, a bundle for operations that take a
    ///   form.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let space = tenant.request("createSpace", #{ body: #{ name: "Sandbox", type: "shared" } });
    /// tenant.request("deleteSpace", #{ path: #{ spaceId: space.id } });
    /// ```
    #[rhai_fn(name = "request", pure, return_raw)]
    pub fn request_with(
        context: NativeCallContext,
        tenant: &mut Tenant,
        operation_id: &str,
        options: ScriptMap,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        request(&mut Call::begin(&context, "tenant.request")?, tenant, operation_id, options)
    }
}
