use std::cell::Cell;
use std::sync::Arc;

use rhai::plugin::*;
use rhai::{Array, Map as ScriptMap};
use serde_json::{Map, Value, json};

use super::converge::{self, Resource, Updated};
use super::groups::Group;
use super::listing::Listing;
use super::options::{invalid, listed, options, script, scripts, suggestion, text, text_set};
use super::request::{Ask, patch, text_of};
use super::sources;
use super::tenant::Tenant;
use super::users::User;
use crate::event::{Change, FieldChange};
use crate::operation::Outcome;
use crate::playbook::{Call, ScriptError};

/// `tenant.spaces`.
#[derive(Clone, Debug)]
pub(super) struct Spaces(pub(super) Tenant);

/// One space.
#[derive(Clone, Debug)]
pub(super) struct Space {
    pub(super) tenant: Tenant,
    pub(super) id: String,
    pub(super) document: Arc<Value>,
}

impl Space {
    pub(super) fn name(&self) -> &str {
        self.document["name"].as_str().unwrap_or_default()
    }

    pub(super) fn kind(&self) -> &str {
        self.document["type"].as_str().unwrap_or_default()
    }
}

/// The types a space can be made with.
const TYPES: [&str; 3] = ["shared", "managed", "data"];

/// Not allowed in a space's name. Source: Qlik's spaces specification, `POST /spaces`.
const FORBIDDEN: [char; 9] = ['"', '*', '?', '<', '>', '/', '|', '\\', ':'];

const MAX_NAME: usize = 256;

/// Which role a space of which type knows: shared, managed, data. Source: qlik.dev, space roles.
const ROLES: [(&str, [bool; 3]); 10] = [
    ("consumer", [true, true, true]),
    ("contributor", [false, true, false]),
    ("dataconsumer", [true, true, true]),
    ("facilitator", [true, true, true]),
    ("operator", [false, true, true]),
    ("producer", [true, false, true]),
    ("publisher", [false, true, true]),
    ("basicconsumer", [false, true, false]),
    ("codeveloper", [true, false, false]),
    ("datapreview", [false, false, true]),
];

struct Wanted<'t> {
    tenant: &'t Tenant,
    name: String,
    kind: String,
    fields: Map<String, Value>,
}

impl Resource for Wanted<'_> {
    fn scope(&self) -> String {
        self.tenant.host_name().to_owned()
    }

    fn subject(&self) -> String {
        subject(&self.name)
    }

    fn wanted(&self) -> &Map<String, Value> {
        &self.fields
    }

    fn find(&self, call: &mut Call) -> Result<Option<Value>, ScriptError> {
        named(call, self.tenant, &self.name)
    }

    fn accept(&self, call: &Call, current: &Value) -> Result<(), ScriptError> {
        match current["type"].as_str() {
            Some(kind) if kind != self.kind => Err(invalid(
                call,
                format!("{} is a {kind} space, not a {} one", self.subject(), self.kind),
                Some("a space keeps its type: choose another name, or remove it first".to_owned()),
            )),
            _ => Ok(()),
        }
    }

    fn create(&self, call: &mut Call) -> Result<Outcome, ScriptError> {
        let mut body = json!({ "name": self.name, "type": self.kind });
        if let Some(map) = body.as_object_mut() {
            map.extend(self.fields.clone());
        }
        all(call, self.tenant).wrote(call, &self.name, Value::Bool(true));
        self.tenant.ask("createSpace", self.subject()).json(body).attempt(call)
    }

    fn update(&self, call: &mut Call, current: &Value, changes: &[FieldChange]) -> Result<Updated, ScriptError> {
        let id = text_of(call, "getSpaces", current, "id")?;
        let body = patch(changes, &self.fields, |field| format!("/{field}"));
        all(call, self.tenant).wrote(call, &self.name, Value::Bool(true));
        let response = self.tenant.ask("patchSpace", self.subject()).var("spaceId", id).json(body).send(call)?;
        Ok(if response.json().is_object() { Updated::To(response.json().clone()) } else { Updated::InPlace })
    }
}

fn subject(name: &str) -> String {
    format!("space \"{name}\"")
}

/// The space of exactly this name. Qlik's search finds every name that contains it, in any case.
fn named(call: &mut Call, tenant: &Tenant, name: &str) -> Result<Option<Value>, ScriptError> {
    let found = tenant.ask("getSpaces", subject(name)).query("name", name).query("limit", "100").list(call)?;
    Ok(found.into_iter().find(|space| space["name"].as_str() == Some(name)))
}

/// The list of the tenant's spaces, once a script has asked for it.
fn all(call: &Call, tenant: &Tenant) -> Listing {
    Listing::of(call, tenant, "spaces")
}

/// The same as it was listed in this run, else as it is.
fn found(call: &mut Call, tenant: &Tenant, name: &str) -> Result<Option<Value>, ScriptError> {
    let listed = all(call, tenant).noted(call, name).unwrap_or_default();
    match listed.into_iter().find(|space| space["name"].as_str() == Some(name)) {
        Some(space) => Ok(Some(space)),
        None => named(call, tenant, name),
    }
}

fn ensure(call: &mut Call, tenant: &Tenant, name: &str, kind: &str, given: ScriptMap) -> Result<Space, ScriptError> {
    if let Some(letter) = name.chars().find(|letter| FORBIDDEN.contains(letter)) {
        return Err(invalid(
            call,
            format!("a space cannot be called `{name}`: `{letter}` is not allowed"),
            Some("leave out \" * ? < > / | \\ :".to_owned()),
        ));
    }
    if name.trim().is_empty() || name.chars().count() > MAX_NAME {
        return Err(invalid(call, format!("a space's name has 1 to {MAX_NAME} characters"), None));
    }
    if !TYPES.contains(&kind) {
        let hint = format!("{}; the types are {}", suggestion(kind, &TYPES), listed(&TYPES));
        return Err(invalid(call, format!("`{kind}` is not a type of space"), Some(hint)));
    }
    let fields = options(call, given, &["description", "ownerId"])?;
    // The owner can only be changed once the space is there.
    let (owner, fields): (Map<_, _>, Map<_, _>) = fields.into_iter().partition(|(field, _)| field == "ownerId");
    let mut wanted = Wanted { tenant, name: name.to_owned(), kind: kind.to_owned(), fields };
    let mut converged = converge::ensure(call, &wanted)?;
    if !owner.is_empty() {
        let changes = converge::changes(&owner, &converged.document, |_, value| value.clone());
        if !changes.is_empty() {
            wanted.fields = owner;
            if let Updated::To(document) = wanted.update(call, &converged.document, &changes)? {
                converged.document = document;
            }
            call.step(Change::Updated, wanted.subject(), changes);
        }
    }
    handle(call, tenant, converged.document)
}

fn handle(call: &Call, tenant: &Tenant, document: Value) -> Result<Space, ScriptError> {
    let id = text_of(call, "getSpaces", &document, "id")?;
    Ok(Space { tenant: tenant.clone(), id, document: Arc::new(document) })
}

fn delete(call: &mut Call, tenant: &Tenant, name: &str) -> Result<(), ScriptError> {
    let subject = subject(name);
    let find = |call: &mut Call| named(call, tenant, name);
    converge::remove(call, tenant.host_name(), &subject, find, |call, document| {
        let id = text_of(call, "getSpaces", document, "id")?;
        all(call, tenant).wrote(call, name, Value::Bool(true));
        match tenant.ask("deleteSpace", &subject).var("spaceId", id).attempt(call)? {
            Err(failure) if failure.status == Some(412) => {
                Err(call.throw(failure.hint("the space is not empty: remove its content first")))
            }
            Err(failure) if failure.status != Some(404) => Err(call.throw(failure)),
            _ => Ok(()),
        }
    })
}

/// Who gets a role in a space.
struct Assignee {
    kind: String,
    id: String,
    name: String,
}

struct Assignment<'s> {
    space: &'s Space,
    assignee: Assignee,
    listing: Listing,
    looked: Cell<bool>,
    fields: Map<String, Value>,
}

impl Resource for Assignment<'_> {
    fn scope(&self) -> String {
        self.space.tenant.host_name().to_owned()
    }

    fn subject(&self) -> String {
        format!("{} in {}", self.assignee.name, subject(self.space.name()))
    }

    fn wanted(&self) -> &Map<String, Value> {
        &self.fields
    }

    fn find(&self, call: &mut Call) -> Result<Option<Value>, ScriptError> {
        let is_it = |held: &Value| held["assigneeId"].as_str() == Some(&self.assignee.id);
        let fresh = self.looked.replace(true);
        self.listing.find(call, &self.assignee.id, fresh, is_it, || assignments(self.space))
    }

    fn create(&self, call: &mut Call) -> Result<Outcome, ScriptError> {
        let body = json!({
            "type": self.assignee.kind, "assigneeId": self.assignee.id, "roles": self.fields["roles"],
        });
        self.space
            .tenant
            .ask("createSpaceAssignment", self.subject())
            .var("spaceId", &self.space.id)
            .json(body)
            .attempt(call)
    }

    fn update(&self, call: &mut Call, current: &Value, _: &[FieldChange]) -> Result<Updated, ScriptError> {
        let id = text_of(call, "getSpaceAssignments", current, "id")?;
        self.space
            .tenant
            .ask("updateSpaceAssignment", self.subject())
            .var("spaceId", &self.space.id)
            .var("assignmentId", id)
            .json(json!({ "roles": self.fields["roles"] }))
            .send(call)?;
        Ok(Updated::InPlace)
    }

    fn view(&self, _: &str, value: &Value) -> Value {
        text_set(value)
    }
}

pub(super) fn assignments(space: &Space) -> Ask {
    space
        .tenant
        .ask("getSpaceAssignments", format!("assignments of {}", subject(space.name())))
        .var("spaceId", &space.id)
        .query("limit", "100")
}

fn listing(call: &Call, space: &Space) -> Listing {
    Listing::of(call, &space.tenant, &format!("assignments of {}", space.id))
}

fn assign(call: &mut Call, space: &Space, assignee: Assignee, given: Array) -> Result<(), ScriptError> {
    let roles = roles(call, space, &given)?;
    let listing = listing(call, space);
    let mut fields = Map::new();
    fields.insert("roles".to_owned(), roles.into());
    // The same assignee may be named by its id elsewhere.
    call.claim(space.tenant.host_name(), &format!("assignee {} in {}", assignee.id, subject(space.name())))?;
    let assignment = Assignment { space, assignee, listing, looked: Cell::new(false), fields };
    let converged = converge::ensure(call, &assignment)?;
    if converged.change.is_write() {
        let mut held = converged.document;
        held["assigneeId"] = json!(assignment.assignee.id);
        assignment.listing.wrote(call, &assignment.assignee.id, held);
    }
    Ok(())
}

/// The roles, checked against what a space of this type knows.
fn roles(call: &Call, space: &Space, given: &Array) -> Result<Vec<String>, ScriptError> {
    let known: Vec<&str> = ROLES.iter().map(|(role, _)| *role).collect();
    let kind = space.kind();
    let column = TYPES.iter().position(|known| *known == kind);
    let mut roles = Vec::new();
    for role in given {
        let Ok(role) = role.as_immutable_string_ref() else {
            return Err(invalid(call, "roles are given as a list of texts", None));
        };
        let Some((name, types)) = ROLES.iter().find(|(known, _)| *known == role.as_str()) else {
            let hint = suggestion(&role, &known);
            return Err(invalid(call, format!("`{}` is not a role of a space", *role), Some(hint)));
        };
        if column.is_some_and(|column| !types[column]) {
            let allowed: Vec<&str> = ROLES
                .iter()
                .filter(|(_, types)| column.is_some_and(|column| types[column]))
                .map(|(role, _)| *role)
                .collect();
            return Err(invalid(
                call,
                format!("a {kind} space such as \"{}\" has no role `{name}`", space.name()),
                Some(format!("a {kind} space knows {}", listed(&allowed))),
            ));
        }
        if !roles.iter().any(|known| known == name) {
            roles.push((*name).to_owned());
        }
    }
    if roles.is_empty() {
        return Err(invalid(call, "an assignment needs at least one role", None));
    }
    Ok(roles)
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// Makes sure there is a space of this name and type.
    ///
    /// - `name`: exact, case matters; unique over all types.
    /// - `type`: `"shared"`, `"managed"` or `"data"`. A space keeps its type: another one is an error.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let staging = tenant.spaces.ensure("Staging", "shared");
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_plain(
        context: NativeCallContext,
        spaces: &mut Spaces,
        name: &str,
        r#type: &str,
    ) -> Result<Space, Box<EvalAltResult>> {
        ensure(&mut Call::begin(&context, "tenant.spaces.ensure")?, &spaces.0, name, r#type, ScriptMap::new())
    }

    /// Makes sure there is a space of this name and type with these fields.
    ///
    /// - `name`: exact, case matters; unique over all types.
    /// - `type`: `"shared"`, `"managed"` or `"data"`.
    /// - `options`: `description`, `ownerId`. What is left out is left as it is.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.spaces.ensure("Production", "managed", #{ description: "What customers see" });
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_with(
        context: NativeCallContext,
        spaces: &mut Spaces,
        name: &str,
        r#type: &str,
        options: ScriptMap,
    ) -> Result<Space, Box<EvalAltResult>> {
        ensure(&mut Call::begin(&context, "tenant.spaces.ensure")?, &spaces.0, name, r#type, options)
    }

    /// The space of this name; an error when there is none.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.spaces.ensure("Staging", "shared");
    /// log(tenant.spaces.get("Staging").id);
    /// ```
    #[rhai_fn(name = "get", pure, return_raw)]
    pub fn get_space(context: NativeCallContext, spaces: &mut Spaces, name: &str) -> Result<Space, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.spaces.get")?;
        match found(&mut call, &spaces.0, name)? {
            Some(document) => handle(&call, &spaces.0, document),
            None => Err(call.throw(spaces.0.lacks(&subject(name)))),
        }
    }

    /// The space of this name, or `()`.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// if tenant.spaces.find("Staging") == () { log("not yet"); }
    /// ```
    #[rhai_fn(name = "find", pure, return_raw)]
    pub fn find_space(
        context: NativeCallContext,
        spaces: &mut Spaces,
        name: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.spaces.find")?;
        match found(&mut call, &spaces.0, name)? {
            Some(document) => Ok(Dynamic::from(handle(&call, &spaces.0, document)?)),
            None => Ok(Dynamic::UNIT),
        }
    }

    /// All spaces of the tenant. Calls of `get` and `find` that follow in this run, in branches too, need no look of their own
    /// for those that it has.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// for space in tenant.spaces.list() { log(space.name); }
    /// ```
    #[rhai_fn(name = "list", pure, return_raw)]
    pub fn list_spaces(context: NativeCallContext, spaces: &mut Spaces) -> Result<Array, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.spaces.list")?;
        let ask = spaces.0.ask("getSpaces", "spaces").query("limit", "100");
        let found = all(&call, &spaces.0).read(&mut call, ask)?;
        found.into_iter().map(|document| Ok(Dynamic::from(handle(&call, &spaces.0, document)?))).collect()
    }

    /// Removes the space of this name. It must be empty. Nothing happens when there is none.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.spaces.ensure("Scratch", "shared");
    /// tenant.spaces.delete("Scratch");
    /// ```
    #[rhai_fn(name = "delete", pure, return_raw)]
    pub fn delete_space(context: NativeCallContext, spaces: &mut Spaces, name: &str) -> Result<(), Box<EvalAltResult>> {
        delete(&mut Call::begin(&context, "tenant.spaces.delete")?, &spaces.0, name)
    }

    /// Makes sure that tenantry's own user may edit in this shared space, as exporting its apps needs. `import_app` does it by
    /// itself; imports that run side by side do it once when it was done before.
    ///
    /// ```rhai
    /// let templates = tenants::source().spaces.get("Apps");
    /// templates.ensure_own_access();
    /// ```
    #[rhai_fn(name = "ensure_own_access", pure, return_raw)]
    pub fn ensure_own_access(context: NativeCallContext, space: &mut Space) -> Result<(), Box<EvalAltResult>> {
        sources::let_edit(&mut Call::begin(&context, "space.ensure_own_access")?, space)
    }

    /// Makes sure this group has exactly these roles in the space.
    ///
    /// - `group`: a group of the same tenant.
    /// - `roles`: role names. Which of them a space knows depends on its type; others are refused before anything is sent.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let live = tenant.spaces.ensure("Production", "managed");
    /// live.assign(tenant.groups.ensure("hb-viewers"), ["consumer"]);
    /// ```
    #[rhai_fn(name = "assign", pure, return_raw)]
    pub fn assign_group(
        context: NativeCallContext,
        space: &mut Space,
        group: Group,
        roles: Array,
    ) -> Result<(), Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "space.assign")?;
        let name = format!("group \"{}\"", group.document["name"].as_str().unwrap_or(&group.id));
        same_tenant(&call, space, &group.tenant, &name)?;
        assign(&mut call, space, Assignee { kind: "group".to_owned(), id: group.id, name }, roles)
    }

    /// Makes sure this user has exactly these roles in the space.
    ///
    /// - `user`: a user of the same tenant.
    /// - `roles`: role names.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let ada = tenant.users.ensure(#{ subject: "hb|1001", email: "ada@harbour.example", name: "Ada" });
    /// tenant.spaces.ensure("Staging", "shared").assign(ada, ["producer"]);
    /// ```
    #[rhai_fn(name = "assign", pure, return_raw)]
    pub fn assign_user(
        context: NativeCallContext,
        space: &mut Space,
        user: User,
        roles: Array,
    ) -> Result<(), Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "space.assign")?;
        let name = format!("user \"{}\"", user.document["subject"].as_str().unwrap_or(&user.id));
        same_tenant(&call, space, &user.tenant, &name)?;
        assign(&mut call, space, Assignee { kind: "user".to_owned(), id: user.id, name }, roles)
    }

    /// Makes sure the group of this id has exactly these roles in the space.
    ///
    /// - `group_id`: a group's id.
    /// - `roles`: role names.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let id = tenant.groups.ensure("hb-viewers").id;
    /// tenant.spaces.ensure("Production", "managed").assign(id, ["consumer"]);
    /// ```
    #[rhai_fn(name = "assign", pure, return_raw)]
    pub fn assign_id(
        context: NativeCallContext,
        space: &mut Space,
        group_id: &str,
        roles: Array,
    ) -> Result<(), Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "space.assign")?;
        let assignee =
            Assignee { kind: "group".to_owned(), id: group_id.to_owned(), name: format!("group {group_id}") };
        assign(&mut call, space, assignee, roles)
    }

    /// Makes sure whoever is meant has exactly these roles in the space.
    ///
    /// - `assignee`: `type`, one of `"user"`, `"group"` and `"bot"`, and `assigneeId`.
    /// - `roles`: role names.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let id = tenant.groups.ensure("hb-viewers").id;
    /// tenant.spaces.ensure("Production", "managed").assign(#{ type: "group", assigneeId: id }, ["consumer"]);
    /// ```
    #[rhai_fn(name = "assign", pure, return_raw)]
    pub fn assign_map(
        context: NativeCallContext,
        space: &mut Space,
        assignee: ScriptMap,
        roles: Array,
    ) -> Result<(), Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "space.assign")?;
        let given = options(&call, assignee, &["type", "assigneeId"])?;
        let (kind, id) = (text(&call, &given, "type")?, text(&call, &given, "assigneeId")?);
        if !["user", "group", "bot"].contains(&kind.as_str()) {
            return Err(invalid(
                &call,
                format!("`{kind}` is not an assignee's type"),
                Some("user, group or bot".into()),
            ));
        }
        let name = format!("{kind} {id}");
        assign(&mut call, space, Assignee { kind, id, name }, roles)
    }

    /// Who has which roles in the space, as Qlik describes it. Calls of `assign` that follow in this run, in branches too,
    /// need no look of their own.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// for held in tenant.spaces.ensure("Production", "managed").assignments() { log(held.assigneeId); }
    /// ```
    #[rhai_fn(name = "assignments", pure, return_raw)]
    pub fn list_assignments(context: NativeCallContext, space: &mut Space) -> Result<Array, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "space.assignments")?;
        let found = listing(&call, space).read(&mut call, assignments(space))?;
        scripts(&call, &found)
    }

    /// The space's id.
    #[rhai_fn(get = "id", pure)]
    pub fn id(space: &mut Space) -> String {
        space.id.clone()
    }

    /// The space's name.
    #[rhai_fn(get = "name", pure)]
    pub fn name(space: &mut Space) -> String {
        space.name().to_owned()
    }

    /// The space's type: `shared`, `managed` or `data`.
    #[rhai_fn(get = "type", pure)]
    pub fn kind(space: &mut Space) -> String {
        space.kind().to_owned()
    }

    /// The space as Qlik describes it.
    #[rhai_fn(get = "document", pure, return_raw)]
    pub fn document(context: NativeCallContext, space: &mut Space) -> Result<Dynamic, Box<EvalAltResult>> {
        script(&Call::begin(&context, "space.document")?, &space.document)
    }

    /// The space as text: its name.
    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn to_text(space: &mut Space) -> String {
        subject(space.name())
    }
}

/// A handle of another tenant has an id that means nothing here.
fn same_tenant(call: &Call, space: &Space, tenant: &Tenant, name: &str) -> Result<(), ScriptError> {
    if tenant.host_name() == space.tenant.host_name() {
        return Ok(());
    }
    let hint = format!("the space is in {}, the other in {}", space.tenant.host_name(), tenant.host_name());
    Err(invalid(call, format!("{name} belongs to another tenant"), Some(hint)))
}
