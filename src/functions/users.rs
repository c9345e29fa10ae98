use std::sync::Arc;

use rhai::plugin::*;
use rhai::{Array, Map as ScriptMap};
use serde_json::{Map, Value, json};

use super::converge::{self, Resource, Updated};
use super::options::{invalid, options, role_names, roles_by_name, script, text};
use super::request::{equals, patch, text_of};
use super::tenant::Tenant;
use crate::event::FieldChange;
use crate::operation::{Failure, FailureKind, Outcome};
use crate::playbook::{Call, ScriptError};

/// `tenant.users`.
#[derive(Clone, Debug)]
pub(super) struct Users(pub(super) Tenant);

/// One user.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) tenant: Tenant,
    pub(super) id: String,
    pub(super) document: Arc<Value>,
}

/// What a user may be given. Source: Qlik's users specification, `POST /users`.
const FIELDS: [&str; 6] = ["subject", "email", "name", "assignedRoles", "picture", "status"];

/// What a patch can change of them. Source: `PATCH /users/{userId}`.
const CHANGEABLE: [&str; 3] = ["name", "assignedRoles", "status"];

struct Wanted<'t> {
    tenant: &'t Tenant,
    key: String,
    /// All that is given, for the create.
    body: Map<String, Value>,
    /// What is compared.
    fields: Map<String, Value>,
    /// Roles that must be among the user's, whatever others there are.
    at_least: Option<&'static str>,
}

impl Resource for Wanted<'_> {
    fn scope(&self) -> String {
        self.tenant.host_name().to_owned()
    }

    fn subject(&self) -> String {
        subject(&self.key)
    }

    fn wanted(&self) -> &Map<String, Value> {
        &self.fields
    }

    fn find(&self, call: &mut Call) -> Result<Option<Value>, ScriptError> {
        by(call, self.tenant, "subject", &self.key)
    }

    fn accept(&self, call: &Call, current: &Value) -> Result<(), ScriptError> {
        let wanted = self.body.get("email").and_then(Value::as_str);
        let held = current["email"].as_str();
        match (wanted, held) {
            (Some(wanted), Some(held)) if !wanted.eq_ignore_ascii_case(held) => Err(invalid(
                call,
                format!("{} has the e-mail address {held}; it cannot be changed to {wanted}", self.subject()),
                Some("Qlik Cloud takes it from the identity provider at the next login".to_owned()),
            )),
            _ => Ok(()),
        }
    }

    fn create(&self, call: &mut Call) -> Result<Outcome, ScriptError> {
        self.tenant.ask("createUser", self.subject()).json(Value::Object(self.body.clone())).attempt(call)
    }

    fn update(&self, call: &mut Call, current: &Value, changes: &[FieldChange]) -> Result<Updated, ScriptError> {
        let id = text_of(call, "getUsers", current, "id")?;
        let mut fields = self.fields.clone();
        if let (Some(needed), Some(roles)) = (self.at_least, fields.get_mut("assignedRoles")) {
            let held = role_names(&current["assignedRoles"]);
            let mut all: Vec<Value> =
                held.as_array().into_iter().flatten().map(|name| json!({ "name": name })).collect();
            all.push(json!({ "name": needed }));
            *roles = all.into();
        }
        let body = patch(changes, &fields, |field| format!("/{field}"));
        let response = self.tenant.ask("patchUser", self.subject()).var("userId", id).json(body).send(call)?;
        // A patch may be answered with 207: then some of the changes were made.
        if response.status == 207 {
            read_errors(call, response.json())?;
        }
        Ok(Updated::To(converge::merged(current, &fields)))
    }

    fn view(&self, field: &str, value: &Value) -> Value {
        match (field, self.at_least) {
            ("assignedRoles", Some(needed)) => {
                let names = role_names(value);
                let has = names.as_array().is_some_and(|names| names.iter().any(|name| name == needed));
                if has { json!([needed]) } else { names }
            }
            ("assignedRoles", None) => role_names(value),
            _ => value.clone(),
        }
    }
}

/// Throws one error that names all changes that were refused.
fn read_errors(call: &Call, body: &Value) -> Result<(), ScriptError> {
    let errors = body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(first) = errors.first() else { return Ok(()) };
    let told = errors.iter().filter_map(|error| error["detail"].as_str().or_else(|| error["title"].as_str()));
    let title = format!("{} of the changes were refused", errors.len());
    let mut failure = Failure::new(FailureKind::Refused, first["code"].as_str().unwrap_or("tenantry/partial"), title)
        .detail(told.collect::<Vec<_>>().join("; "));
    failure.status = Some(207);
    failure.pointer = first["source"]["pointer"].as_str().map(str::to_owned);
    Err(call.throw(failure))
}

fn subject(key: &str) -> String {
    format!("user \"{key}\"")
}

/// The user whose field is exactly this. Qlik's filter ignores case.
fn by(call: &mut Call, tenant: &Tenant, field: &str, value: &str) -> Result<Option<Value>, ScriptError> {
    let found = tenant
        .ask("getUsers", subject(value))
        .query("filter", equals(field, value))
        .query("limit", "100")
        .list(call)?;
    let same = |user: &Value| {
        user[field]
            .as_str()
            .is_some_and(|held| if field == "email" { held.eq_ignore_ascii_case(value) } else { held == value })
    };
    Ok(found.into_iter().find(same))
}

fn read(call: &Call, given: ScriptMap) -> Result<(String, Map<String, Value>), ScriptError> {
    let mut body = options(call, given, &FIELDS)?;
    roles_by_name(call, &mut body, "assignedRoles")?;
    Ok((text(call, &body, "subject")?, body))
}

fn ensure(
    call: &mut Call,
    tenant: &Tenant,
    given: ScriptMap,
    at_least: Option<&'static str>,
) -> Result<User, ScriptError> {
    let (key, mut body) = read(call, given)?;
    if let Some(role) = at_least {
        text(call, &body, "email")?;
        body.insert("assignedRoles".to_owned(), json!([{ "name": role }]));
        body.insert("status".to_owned(), json!("active"));
    }
    let fields = CHANGEABLE.iter().filter_map(|field| Some(((*field).to_owned(), body.get(*field)?.clone()))).collect();
    let wanted = Wanted { tenant, key, body, fields, at_least };
    let converged = converge::ensure(call, &wanted)?;
    handle(call, tenant, converged.document)
}

fn handle(call: &Call, tenant: &Tenant, document: Value) -> Result<User, ScriptError> {
    let id = text_of(call, "getUsers", &document, "id")?;
    Ok(User { tenant: tenant.clone(), id, document: Arc::new(document) })
}

/// By the one field given: `subject`, `email` or `id`.
fn look_up(call: &mut Call, tenant: &Tenant, given: ScriptMap) -> Result<(String, Option<Value>), ScriptError> {
    let fields = options(call, given, &["subject", "email", "id"])?;
    let mut fields = fields.into_iter();
    match (fields.next(), fields.next()) {
        (Some((field, Value::String(value))), None) if !value.is_empty() => {
            let found = by(call, tenant, &field, &value)?;
            Ok((format!("{field} \"{value}\""), found))
        }
        _ => Err(invalid(
            call,
            "a user is looked up by one of `subject`, `email` and `id`",
            Some("write `#{ subject: \"hb|1001\" }`".to_owned()),
        )),
    }
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// Makes sure there is a user of this subject with these fields.
    ///
    /// - `user`: `subject`, which names the user; `name`, `email`, `picture`, `status`; `assignedRoles`, the full list of role
    ///   names. What is left out is left as it is. The e-mail address and picture of a user who exists stay.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.users.ensure(#{ subject: "hb|1001", email: "ada@harbour.example", name: "Ada" });
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_user(
        context: NativeCallContext,
        users: &mut Users,
        user: ScriptMap,
    ) -> Result<User, Box<EvalAltResult>> {
        ensure(&mut Call::begin(&context, "tenant.users.ensure")?, &users.0, user, None)
    }

    /// Makes sure this Qlik Account user can recover the tenant: active, and `TenantAdmin` directly rather than through a
    /// group. Other roles stay. Do this before an identity provider of the customer replaces Qlik Account.
    ///
    /// - `user`: `subject` of the Qlik Account, `email`, `name`.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.users.ensure_recovery_admin(#{
    ///     subject: "auth0|a1b2", email: "ops@halyard.example", name: "Halyard Ops",
    /// });
    /// ```
    #[rhai_fn(name = "ensure_recovery_admin", pure, return_raw)]
    pub fn ensure_recovery_admin(
        context: NativeCallContext,
        users: &mut Users,
        user: ScriptMap,
    ) -> Result<User, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.users.ensure_recovery_admin")?;
        if let Some(field) = ["assignedRoles", "status"].into_iter().find(|field| user.contains_key(*field)) {
            return Err(invalid(&call, format!("`{field}` is given by what a recovery admin is"), None));
        }
        ensure(&mut call, &users.0, user, Some("TenantAdmin"))
    }

    /// The user with this subject, e-mail address or id; an error when there is none.
    ///
    /// - `by`: one of `subject`, `email`, `id`.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.users.ensure(#{ subject: "hb|1001", email: "ada@harbour.example", name: "Ada" });
    /// log(tenant.users.get(#{ email: "ada@harbour.example" }).id);
    /// ```
    #[rhai_fn(name = "get", pure, return_raw)]
    pub fn get_user(context: NativeCallContext, users: &mut Users, by: ScriptMap) -> Result<User, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.users.get")?;
        match look_up(&mut call, &users.0, by)? {
            (_, Some(document)) => handle(&call, &users.0, document),
            (what, None) => Err(call.throw(users.0.lacks(&format!("user with {what}")))),
        }
    }

    /// The user with this subject, e-mail address or id, or `()`.
    ///
    /// - `by`: one of `subject`, `email`, `id`.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// if tenant.users.find(#{ subject: "hb|1001" }) == () { log("not yet"); }
    /// ```
    #[rhai_fn(name = "find", pure, return_raw)]
    pub fn find_user(
        context: NativeCallContext,
        users: &mut Users,
        by: ScriptMap,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.users.find")?;
        match look_up(&mut call, &users.0, by)? {
            (_, Some(document)) => Ok(Dynamic::from(handle(&call, &users.0, document)?)),
            (_, None) => Ok(Dynamic::UNIT),
        }
    }

    /// All users of the tenant.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// for user in tenant.users.list() { log(user.subject); }
    /// ```
    #[rhai_fn(name = "list", pure, return_raw)]
    pub fn list_users(context: NativeCallContext, users: &mut Users) -> Result<Array, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.users.list")?;
        let found = users.0.ask("getUsers", "users").query("limit", "100").list(&mut call)?;
        found.into_iter().map(|document| Ok(Dynamic::from(handle(&call, &users.0, document)?))).collect()
    }

    /// The user's id in this tenant.
    #[rhai_fn(get = "id", pure)]
    pub fn id(user: &mut User) -> String {
        user.id.clone()
    }

    /// The user's subject, the same in every tenant.
    #[rhai_fn(get = "subject", pure)]
    pub fn subject_of(user: &mut User) -> String {
        user.document["subject"].as_str().unwrap_or_default().to_owned()
    }

    /// The user's name.
    #[rhai_fn(get = "name", pure)]
    pub fn name(user: &mut User) -> String {
        user.document["name"].as_str().unwrap_or_default().to_owned()
    }

    /// The user's e-mail address; empty when there is none.
    #[rhai_fn(get = "email", pure)]
    pub fn email(user: &mut User) -> String {
        user.document["email"].as_str().unwrap_or_default().to_owned()
    }

    /// The user as Qlik describes it.
    #[rhai_fn(get = "document", pure, return_raw)]
    pub fn document(context: NativeCallContext, user: &mut User) -> Result<Dynamic, Box<EvalAltResult>> {
        script(&Call::begin(&context, "user.document")?, &user.document)
    }

    /// The user as text: its subject.
    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn to_text(user: &mut User) -> String {
        subject(user.document["subject"].as_str().unwrap_or_default())
    }
}
