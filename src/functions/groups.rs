use std::sync::Arc;

use rhai::plugin::*;
use rhai::{Array, Map as ScriptMap};
use serde_json::{Map, Value, json};

use super::converge::{self, Resource, Updated, settle};
use super::options::{self, invalid, options, role_names, roles_by_name, script};
use super::request::{equals, patch, text_of};
use super::tenant::Tenant;
use crate::event::FieldChange;
use crate::operation::Outcome;
use crate::playbook::{Call, ScriptError};

/// `tenant.groups`.
#[derive(Clone, Debug)]
pub(super) struct Groups(pub(super) Tenant);

/// One group.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) tenant: Tenant,
    pub(super) id: String,
    pub(super) document: Arc<Value>,
}

/// The group every user is in (qlik.dev, manage groups).
const EVERYONE: &str = "000000000000000000000001";

/// What a group's options may hold. Source: Qlik's groups specification, `POST /groups`.
const FIELDS: [&str; 4] = ["assignedRoles", "description", "providerType", "status"];

/// Longest name of a group.
const MAX_NAME: usize = 256;

struct Wanted<'t> {
    tenant: &'t Tenant,
    name: String,
    provider_type: String,
    fields: Map<String, Value>,
}

impl Resource for Wanted<'_> {
    fn scope(&self) -> String {
        self.tenant.host_name().to_owned()
    }

    fn subject(&self) -> String {
        // A custom group and one of an identity provider may share a name.
        if self.provider_type == "idp" { subject(&self.name) } else { format!("custom {}", subject(&self.name)) }
    }

    fn wanted(&self) -> &Map<String, Value> {
        &self.fields
    }

    fn find(&self, call: &mut Call) -> Result<Option<Value>, ScriptError> {
        named(call, self.tenant, &self.name, Some(&self.provider_type))
    }

    fn accept(&self, call: &Call, current: &Value) -> Result<(), ScriptError> {
        let wanted = self.fields.get("description");
        if self.provider_type == "custom" || wanted.is_none() || wanted == current.get("description") {
            return Ok(());
        }
        Err(invalid(
            call,
            format!("the description of {} cannot be changed", self.subject()),
            Some("only custom groups take another description: leave it out".to_owned()),
        ))
    }

    fn create(&self, call: &mut Call) -> Result<Outcome, ScriptError> {
        let mut body = json!({ "name": self.name, "providerType": self.provider_type, "status": "active" });
        if let Some(map) = body.as_object_mut() {
            map.extend(self.fields.clone());
        }
        self.tenant.ask("createGroup", self.subject()).json(body).attempt(call)
    }

    fn update(&self, call: &mut Call, current: &Value, changes: &[FieldChange]) -> Result<Updated, ScriptError> {
        let id = text_of(call, "getGroups", current, "id")?;
        write(call, self.tenant, &id, self.subject(), changes, &self.fields)?;
        Ok(Updated::InPlace)
    }

    fn view(&self, field: &str, value: &Value) -> Value {
        view(field, value)
    }
}

fn subject(name: &str) -> String {
    format!("group \"{name}\"")
}

fn view(field: &str, value: &Value) -> Value {
    if field == "assignedRoles" { role_names(value) } else { value.clone() }
}

/// Qlik's specification names these paths without a slash, its tutorials with one; both work.
fn write(
    call: &mut Call,
    tenant: &Tenant,
    id: &str,
    subject: String,
    changes: &[FieldChange],
    wanted: &Map<String, Value>,
) -> Result<(), ScriptError> {
    let body = patch(changes, wanted, str::to_owned);
    tenant.ask("patchGroup", subject).var("groupId", id).json(body).send(call)?;
    Ok(())
}

/// The group of exactly this name. Qlik's filter ignores case.
fn named(
    call: &mut Call,
    tenant: &Tenant,
    name: &str,
    provider_type: Option<&str>,
) -> Result<Option<Value>, ScriptError> {
    let found = tenant
        .ask("getGroups", subject(name))
        .query("filter", equals("name", name))
        .query("limit", "100")
        .list(call)?;
    let of_type = |group: &Value, wanted: &str| group["providerType"].as_str().unwrap_or("idp") == wanted;
    let mut exact: Vec<Value> = found.into_iter().filter(|group| group["name"].as_str() == Some(name)).collect();
    if let Some(wanted) = provider_type {
        exact.retain(|group| of_type(group, wanted));
    }
    exact.sort_by_key(|group| !of_type(group, "idp"));
    Ok(exact.into_iter().next())
}

fn ensure(call: &mut Call, tenant: &Tenant, name: &str, given: ScriptMap) -> Result<Group, ScriptError> {
    if name.is_empty() || name.chars().count() > MAX_NAME {
        return Err(invalid(call, format!("a group's name has 1 to {MAX_NAME} characters"), None));
    }
    let mut fields = options(call, given, &FIELDS)?;
    roles_by_name(call, &mut fields, "assignedRoles")?;
    let provider_type = match fields.shift_remove("providerType") {
        None => "idp".to_owned(),
        Some(Value::String(text)) if text == "idp" || text == "custom" => text,
        Some(_) => return Err(invalid(call, "`providerType` is \"idp\" or \"custom\"", None)),
    };
    let wanted = Wanted { tenant, name: name.to_owned(), provider_type, fields };
    let converged = converge::ensure(call, &wanted)?;
    handle(call, tenant, converged.document)
}

fn handle(call: &Call, tenant: &Tenant, document: Value) -> Result<Group, ScriptError> {
    let id = text_of(call, "getGroups", &document, "id")?;
    Ok(Group { tenant: tenant.clone(), id, document: Arc::new(document) })
}

fn get(call: &mut Call, tenant: &Tenant, name: &str) -> Result<Group, ScriptError> {
    match named(call, tenant, name, None)? {
        Some(document) => handle(call, tenant, document),
        None => Err(call.throw(tenant.lacks(&subject(name)))),
    }
}

fn settings(call: &mut Call, tenant: &Tenant, given: ScriptMap) -> Result<(), ScriptError> {
    let wanted = options(call, given, &["autoCreateGroups", "syncIdpGroups"])?;
    let subject = format!("group settings of tenant {}", tenant.host_name());
    settle(
        call,
        tenant.host_name(),
        &subject,
        &wanted,
        |_, value| value.clone(),
        |call| Ok(tenant.ask("getGroupsSettings", subject.clone()).send(call)?.json().clone()),
        |call, _, changes| {
            let body = patch(changes, &wanted, |field| format!("/{field}"));
            tenant.ask("patchGroupsSettings", subject.clone()).json(body).send(call)?;
            Ok(())
        },
    )?;
    Ok(())
}

/// Sets Everyone's roles to what `wanted` makes of the present ones.
fn everyone(
    call: &mut Call,
    tenant: &Tenant,
    wanted: impl FnOnce(&Call, &[Value]) -> Result<Vec<Value>, ScriptError>,
) -> Result<(), ScriptError> {
    let subject = "group Everyone".to_owned();
    call.claim(tenant.host_name(), &subject)?;
    let document = tenant.ask("getGroup", subject.clone()).var("groupId", EVERYONE).send(call)?.json().clone();
    let present: Vec<Value> = document["assignedRoles"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|role| role["name"].as_str())
        .map(|name| json!({ "name": name }))
        .collect();
    let mut fields = Map::new();
    fields.insert("assignedRoles".to_owned(), wanted(call, &present)?.into());
    let changes = converge::changes(&fields, &document, view);
    let change = if changes.is_empty() {
        converge::earlier(call, &subject)
    } else {
        write(call, tenant, EVERYONE, subject.clone(), &changes, &fields)?;
        crate::event::Change::Updated
    };
    call.step(change, subject, changes);
    Ok(())
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// Makes sure there is a group of this name.
    ///
    /// - `name`: exact, case matters. The members of a group of an identity provider come from a claim of the same name.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let viewers = tenant.groups.ensure("hb-viewers");
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_plain(
        context: NativeCallContext,
        groups: &mut Groups,
        name: &str,
    ) -> Result<Group, Box<EvalAltResult>> {
        ensure(&mut Call::begin(&context, "tenant.groups.ensure")?, &groups.0, name, ScriptMap::new())
    }

    /// Makes sure there is a group of this name, and that it has these fields.
    ///
    /// - `name`: exact, case matters.
    /// - `options`: `assignedRoles`, the full list of role names; `description`, which only custom groups can change;
    ///   `providerType`, `"idp"` (the default) or `"custom"`; `status`, `"active"`. What is left out is left as it is.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.groups.ensure("hb-keyusers", #{ assignedRoles: ["PrivateAnalyticsContentCreator"] });
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_with(
        context: NativeCallContext,
        groups: &mut Groups,
        name: &str,
        options: ScriptMap,
    ) -> Result<Group, Box<EvalAltResult>> {
        ensure(&mut Call::begin(&context, "tenant.groups.ensure")?, &groups.0, name, options)
    }

    /// The group of this name; an error when there is none.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.groups.ensure("hb-viewers");
    /// log(tenant.groups.get("hb-viewers").id);
    /// ```
    #[rhai_fn(name = "get", pure, return_raw)]
    pub fn get_group(context: NativeCallContext, groups: &mut Groups, name: &str) -> Result<Group, Box<EvalAltResult>> {
        get(&mut Call::begin(&context, "tenant.groups.get")?, &groups.0, name)
    }

    /// The group of this name, or `()`.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// if tenant.groups.find("hb-viewers") == () { log("not yet"); }
    /// ```
    #[rhai_fn(name = "find", pure, return_raw)]
    pub fn find_group(
        context: NativeCallContext,
        groups: &mut Groups,
        name: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.groups.find")?;
        match named(&mut call, &groups.0, name, None)? {
            Some(document) => Ok(Dynamic::from(handle(&call, &groups.0, document)?)),
            None => Ok(Dynamic::UNIT),
        }
    }

    /// All groups of the tenant, without the system's own.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// for group in tenant.groups.list() { log(group.name); }
    /// ```
    #[rhai_fn(name = "list", pure, return_raw)]
    pub fn list_groups(context: NativeCallContext, groups: &mut Groups) -> Result<Array, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.groups.list")?;
        let found = groups.0.ask("getGroups", "groups").query("limit", "100").list(&mut call)?;
        found.into_iter().map(|document| Ok(Dynamic::from(handle(&call, &groups.0, document)?))).collect()
    }

    /// Sets what differs of the tenant's group settings.
    ///
    /// - `options`: `autoCreateGroups`, whether a login makes the groups that its token names; `syncIdpGroups`, deprecated.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.groups.settings(#{ autoCreateGroups: true });
    /// ```
    #[rhai_fn(name = "settings", pure, return_raw)]
    pub fn set_settings(
        context: NativeCallContext,
        groups: &mut Groups,
        options: ScriptMap,
    ) -> Result<(), Box<EvalAltResult>> {
        settings(&mut Call::begin(&context, "tenant.groups.settings")?, &groups.0, options)
    }

    /// Sets the roles that every user of the tenant has.
    ///
    /// - `options`: `assignedRoles`, the full list of role names.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.groups.everyone(#{ assignedRoles: [] });
    /// ```
    #[rhai_fn(name = "everyone", pure, return_raw)]
    pub fn set_everyone(
        context: NativeCallContext,
        groups: &mut Groups,
        options: ScriptMap,
    ) -> Result<(), Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.groups.everyone")?;
        let mut given = options::options(&call, options, &["assignedRoles"])?;
        roles_by_name(&call, &mut given, "assignedRoles")?;
        let Some(Value::Array(roles)) = given.shift_remove("assignedRoles") else {
            return Err(invalid(&call, "`assignedRoles` is missing", None));
        };
        everyone(&mut call, &groups.0, |_, _| Ok(roles))
    }

    /// Takes these roles from the ones that every user of the tenant has, and leaves the others.
    ///
    /// - `roles`: role names.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.groups.everyone_without(["AutomationCreator", "SharedSpaceCreator"]);
    /// ```
    #[rhai_fn(name = "everyone_without", pure, return_raw)]
    pub fn strip_everyone(
        context: NativeCallContext,
        groups: &mut Groups,
        roles: Array,
    ) -> Result<(), Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.groups.everyone_without")?;
        let mut given = Map::new();
        given.insert("roles".to_owned(), options::json(&call, "roles", &roles.into())?);
        roles_by_name(&call, &mut given, "roles")?;
        let unwanted = role_names(&given["roles"]);
        everyone(&mut call, &groups.0, |_, present| {
            let unwanted = unwanted.as_array().cloned().unwrap_or_default();
            Ok(present.iter().filter(|role| !unwanted.contains(&role["name"])).cloned().collect())
        })
    }

    /// The group's id.
    #[rhai_fn(get = "id", pure)]
    pub fn id(group: &mut Group) -> String {
        group.id.clone()
    }

    /// The group's name.
    #[rhai_fn(get = "name", pure)]
    pub fn name(group: &mut Group) -> String {
        group.document["name"].as_str().unwrap_or_default().to_owned()
    }

    /// The group as Qlik describes it.
    #[rhai_fn(get = "document", pure, return_raw)]
    pub fn document(context: NativeCallContext, group: &mut Group) -> Result<Dynamic, Box<EvalAltResult>> {
        script(&Call::begin(&context, "group.document")?, &group.document)
    }

    /// The group as text: its name.
    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn to_text(group: &mut Group) -> String {
        subject(group.document["name"].as_str().unwrap_or_default())
    }
}
