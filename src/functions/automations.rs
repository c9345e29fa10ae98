use std::sync::Arc;

use rhai::plugin::*;
use rhai::{Array, Map as ScriptMap};
use serde_json::{Map, Value, json};

use super::automation_definition::{SENT, SPACE, STATE, STATES, from_file, from_map, holds, schedules, told};
use super::converge::{self, Resource, Updated, oldest};
use super::options::{invalid, script};
use super::request::{Ask, equals, text_of};
use super::spaces::Space;
use super::tenant::Tenant;
use super::users::User;
use crate::event::{Change, FieldChange};
use crate::operation::Outcome;
use crate::playbook::{Call, ScriptError};

/// `tenant.automations`.
#[derive(Clone, Debug)]
pub(super) struct Automations(Tenant);

/// One automation.
#[derive(Clone, Debug)]
pub(super) struct Automation {
    tenant: Tenant,
    id: String,
    document: Arc<Value>,
}

struct Wanted<'t> {
    tenant: &'t Tenant,
    name: String,
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
        let Some(entry) = named(call, self.tenant, &self.name)? else { return Ok(None) };
        let mut document = definition(call, self.tenant, &entry)?;
        // What Qlik's editor adds to a block is no difference.
        if let Some(wanted) = self.fields.get("workspace")
            && holds(&document["workspace"], wanted)
        {
            document["workspace"] = wanted.clone();
        }
        Ok(Some(document))
    }

    fn create(&self, call: &mut Call) -> Result<Outcome, ScriptError> {
        let mut body = self.fields.clone();
        body.shift_remove(STATE);
        body.insert("name".to_owned(), json!(self.name));
        self.tenant.ask("workflowsCreateAutomation", self.subject()).json(Value::Object(body)).attempt(call)
    }

    fn update(&self, call: &mut Call, current: &Value, changes: &[FieldChange]) -> Result<Updated, ScriptError> {
        let id = text_of(call, "workflowsGetAutomation", current, "id")?;
        let differs = |field: &str| changes.iter().any(|change| change.field == field);
        if SENT.iter().any(|field| differs(field)) {
            // What a full update leaves out would be reset.
            let mut body = Map::new();
            body.insert("name".to_owned(), json!(self.name));
            for field in SENT {
                match self.fields.get(field).or_else(|| current.get(field)) {
                    Some(value) if field == "schedules" => drop(body.insert(field.to_owned(), schedules(value))),
                    Some(value) => drop(body.insert(field.to_owned(), value.clone())),
                    None => {}
                }
            }
            let ask = self.tenant.ask("workflowsUpdateAutomation", self.subject()).var("id", &id);
            ask.json(Value::Object(body)).send(call)?;
        }
        if differs(SPACE) {
            let ask = self.tenant.ask("workflowsChangeSpaceAutomation", self.subject()).var("id", &id);
            ask.json(json!({ SPACE: self.fields[SPACE] })).send(call)?;
        }
        if differs(STATE) {
            turn(call, self.tenant, &self.subject(), &id, self.fields[STATE] == STATES[0])?;
        }
        Ok(Updated::InPlace)
    }

    fn view(&self, field: &str, value: &Value) -> Value {
        match field {
            "workspace" => json!(told(value)),
            "schedules" => schedules(value),
            _ => value.clone(),
        }
    }
}

impl Automation {
    fn of(call: &Call, tenant: &Tenant, document: Value) -> Result<Self, ScriptError> {
        let id = text_of(call, "workflowsGetAutomations", &document, "id")?;
        Ok(Self { tenant: tenant.clone(), id, document: Arc::new(document) })
    }

    pub(super) fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        self.document["name"].as_str().unwrap_or_default()
    }

    pub(super) fn subject(&self) -> String {
        subject(self.name())
    }
}

fn subject(name: &str) -> String {
    format!("automation \"{name}\"")
}

fn all(tenant: &Tenant) -> Ask {
    tenant.ask("workflowsGetAutomations", "automations").query("limit", "200")
}

/// The automation of this name as lists have it: without its definition.
fn named(call: &mut Call, tenant: &Tenant, name: &str) -> Result<Option<Value>, ScriptError> {
    let found = all(tenant).query("filter", equals("name", name)).list(call)?;
    Ok(oldest(call, found, "automations", ("name", name), "createdAt"))
}

/// The whole of it, which Qlik shows to its owner.
fn definition(call: &mut Call, tenant: &Tenant, entry: &Value) -> Result<Value, ScriptError> {
    let id = text_of(call, "workflowsGetAutomations", entry, "id")?;
    let subject = subject(entry["name"].as_str().unwrap_or_default());
    match tenant.ask("workflowsGetAutomation", subject).var("id", id).attempt(call)? {
        Ok(response) => Ok(response.json().clone()),
        Err(failure) if failure.status == Some(403) => {
            let owner = entry["ownerId"].as_str().unwrap_or("somebody else");
            let hint = format!(
                "it is {owner}'s: let its owner give it to the bot (`change_owner`, which costs its history and connections), \
                 or give the client the scope `admin.automations`"
            );
            Err(call.throw(failure.hint(hint)))
        }
        Err(failure) => Err(call.throw(failure)),
    }
}

fn get(call: &mut Call, tenant: &Tenant, name: &str) -> Result<Automation, ScriptError> {
    match named(call, tenant, name)? {
        Some(entry) => Automation::of(call, tenant, entry),
        None => Err(call.throw(tenant.lacks(&subject(name)))),
    }
}

fn ensure(
    call: &mut Call,
    tenant: &Tenant,
    name: &str,
    mut fields: Map<String, Value>,
    space: Option<&Space>,
) -> Result<Automation, ScriptError> {
    if name.is_empty() {
        return Err(invalid(call, "an automation needs a name", None));
    }
    if let Some(space) = space {
        if space.kind() != "shared" {
            let title = format!("\"{}\" is a {} space; automations lie in shared ones", space.name(), space.kind());
            return Err(invalid(call, title, None));
        }
        fields.insert(SPACE.to_owned(), json!(space.id));
    }
    let state = fields.get(STATE).cloned();
    let mut document = converge::ensure(call, &Wanted { tenant, name: name.to_owned(), fields })?.document;
    // A create whose answer was lost is known from the list, which does not have all of it.
    if document.get("workspace").is_none() {
        document = definition(call, tenant, &document)?;
    }
    // A new one is always available at first.
    if let Some(state) = state.filter(|state| document[STATE] != *state) {
        let id = text_of(call, "workflowsCreateAutomation", &document, "id")?;
        turn(call, tenant, &subject(name), &id, state == STATES[0])?;
        document[STATE] = state;
    }
    Automation::of(call, tenant, document)
}

/// Asks for one of the two states.
fn turn(call: &mut Call, tenant: &Tenant, subject: &str, id: &str, on: bool) -> Result<(), ScriptError> {
    let operation = if on { "workflowsEnableAutomation" } else { "workflowsDisableAutomation" };
    tenant.ask(operation, subject).var("id", id).send(call)?;
    Ok(())
}

/// Makes sure that it can be run, or cannot.
fn switch(call: &mut Call, automation: &Automation, on: bool) -> Result<(), ScriptError> {
    let (tenant, subject) = (&automation.tenant, automation.subject());
    call.claim(tenant.host_name(), &subject)?;
    let entry = now(call, automation)?;
    if (entry[STATE] == STATES[0]) == on {
        call.step(converge::earlier(call, &subject), subject, Vec::new());
        return Ok(());
    }
    turn(call, tenant, &subject, &automation.id, on)?;
    call.step(Change::Acted, subject, Vec::new());
    Ok(())
}

/// The automation as lists have it now.
fn now(call: &mut Call, automation: &Automation) -> Result<Value, ScriptError> {
    let found = all(&automation.tenant).query("filter", equals("name", automation.name())).list(call)?;
    match found.into_iter().find(|held| held["id"] == *automation.id) {
        Some(entry) => Ok(entry),
        None => Err(call.throw(automation.tenant.lacks(&automation.subject()))),
    }
}

fn change_owner(call: &mut Call, automation: &Automation, user: &User) -> Result<(), ScriptError> {
    let (tenant, subject) = (&automation.tenant, automation.subject());
    if user.tenant.host_name() != tenant.host_name() {
        return Err(invalid(call, "the user belongs to another tenant", None));
    }
    call.claim(tenant.host_name(), &subject)?;
    let entry = now(call, automation)?;
    if entry["ownerId"] == *user.id {
        call.step(converge::earlier(call, &subject), subject, Vec::new());
        return Ok(());
    }
    let ask = tenant.ask("workflowsChangeOwnerAutomation", &subject).var("id", &automation.id);
    ask.json(json!({ "userId": user.id })).send(call)?;
    let change = FieldChange { field: "ownerId".to_owned(), before: entry["ownerId"].clone(), after: json!(user.id) };
    call.step(Change::Updated, subject, vec![change]);
    Ok(())
}

fn delete(call: &mut Call, tenant: &Tenant, name: &str) -> Result<(), ScriptError> {
    let subject = subject(name);
    let find = |call: &mut Call| named(call, tenant, name);
    converge::remove(call, tenant.host_name(), &subject, find, |call, entry| {
        let id = text_of(call, "workflowsGetAutomations", entry, "id")?;
        tenant.ask("workflowsDeleteAutomation", &subject).var("id", id).remove(call)
    })
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// The tenant's automations, by the newer of the two generations of Qlik's API (`/api/workflows/automations`): both
    /// see the same ones, and only the newer has the tenant's limits and the log of a run. Source: workflows automations
    /// specification.
    #[rhai_fn(get = "automations", pure)]
    pub fn automations(tenant: &mut Tenant) -> Automations {
        Automations(tenant.clone())
    }

    /// Makes sure there is an automation of this name with this definition; gives it.
    ///
    /// Names may repeat in Qlik Cloud: the oldest is meant. What is defined is compared with what is there, block by block,
    /// so that a change somebody made in the editor is undone. An automation of somebody else's is an error: Qlik shows its
    /// definition only to its owner (deploy an automation to a tenant).
    ///
    /// - `name`: exact, case matters.
    /// - `definition`: Qlik's own `workspace`, `description`, `schedules`, `maxConcurrentRuns`, and `state` (`"available"` or
    ///   `"disabled"`); what is left out stays. A whole exported automation is taken too: the rest of it is dropped.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.automations.ensure("Nothing yet", #{ description: "Does nothing", workspace: #{ blocks: [], variables: [] } });
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_automation(
        context: NativeCallContext,
        automations: &mut Automations,
        name: &str,
        definition: ScriptMap,
    ) -> Result<Automation, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.automations.ensure")?;
        let fields = from_map(&call, definition)?;
        ensure(&mut call, &automations.0, name, fields, None)
    }

    /// Makes sure there is an automation of this name with this definition, in this space; gives it.
    ///
    /// - `name`: exact, case matters.
    /// - `definition`: as without a space.
    /// - `space`: a shared space, into which it is moved when it lies elsewhere.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let space = tenant.spaces.ensure("Staging", "shared");
    /// tenant.automations.ensure("Nothing yet", #{ workspace: #{ blocks: [], variables: [] } }, space);
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_in_space(
        context: NativeCallContext,
        automations: &mut Automations,
        name: &str,
        definition: ScriptMap,
        space: Space,
    ) -> Result<Automation, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.automations.ensure")?;
        let fields = from_map(&call, definition)?;
        ensure(&mut call, &automations.0, name, fields, Some(&space))
    }

    /// Makes sure there is an automation of this name as this exported file defines it; gives it. Nothing else of the file is
    /// read: ids, owner and token of where it came from stay there.
    ///
    /// - `name`: exact, case matters.
    /// - `file`: a JSON file of the project, of at most 8 MB.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.automations.ensure("Add new user to Production", "content/automations/Add new user to Production.json");
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_from_file(
        context: NativeCallContext,
        automations: &mut Automations,
        name: &str,
        file: &str,
    ) -> Result<Automation, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.automations.ensure")?;
        let fields = from_file(&mut call, file)?;
        ensure(&mut call, &automations.0, name, fields, None)
    }

    /// Makes sure there is an automation of this name as this exported file defines it, in this space; gives it.
    ///
    /// - `name`: exact, case matters.
    /// - `file`: a JSON file of the project, of at most 8 MB.
    /// - `space`: a shared space, into which it is moved when it lies elsewhere.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let space = tenant.spaces.ensure("Staging", "shared");
    /// tenant.automations.ensure("Greet", "content/automations/Add new user to Production.json", space);
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_from_file_in_space(
        context: NativeCallContext,
        automations: &mut Automations,
        name: &str,
        file: &str,
        space: Space,
    ) -> Result<Automation, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.automations.ensure")?;
        let fields = from_file(&mut call, file)?;
        ensure(&mut call, &automations.0, name, fields, Some(&space))
    }

    /// The automation of this name, whoever owns it; an error when there is none.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.automations.ensure("Nothing yet", #{ workspace: #{ blocks: [], variables: [] } });
    /// log(tenant.automations.get("Nothing yet").document.runMode);
    /// ```
    #[rhai_fn(name = "get", pure, return_raw)]
    pub fn get_automation(
        context: NativeCallContext,
        automations: &mut Automations,
        name: &str,
    ) -> Result<Automation, Box<EvalAltResult>> {
        get(&mut Call::begin(&context, "tenant.automations.get")?, &automations.0, name)
    }

    /// The automation of this name, whoever owns it, or `()`.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// if tenant.automations.find("Greet") == () { log("not yet"); }
    /// ```
    #[rhai_fn(name = "find", pure, return_raw)]
    pub fn find_automation(
        context: NativeCallContext,
        automations: &mut Automations,
        name: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.automations.find")?;
        match named(&mut call, &automations.0, name)? {
            Some(entry) => Ok(Dynamic::from(Automation::of(&call, &automations.0, entry)?)),
            None => Ok(Dynamic::UNIT),
        }
    }

    /// All automations of the tenant, whoever owns them.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// for automation in tenant.automations.list() { log(automation.name); }
    /// ```
    #[rhai_fn(name = "list", pure, return_raw)]
    pub fn list_automations(
        context: NativeCallContext,
        automations: &mut Automations,
    ) -> Result<Array, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.automations.list")?;
        let found = all(&automations.0).list(&mut call)?;
        found.into_iter().map(|entry| Ok(Dynamic::from(Automation::of(&call, &automations.0, entry)?))).collect()
    }

    /// Makes sure the tenant has no automation of this name; its runs go with it. Of several the oldest is deleted.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.automations.delete("Greet");
    /// ```
    #[rhai_fn(name = "delete", pure, return_raw)]
    pub fn delete_automation(
        context: NativeCallContext,
        automations: &mut Automations,
        name: &str,
    ) -> Result<(), Box<EvalAltResult>> {
        delete(&mut Call::begin(&context, "tenant.automations.delete")?, &automations.0, name)
    }

    /// Makes sure the automation can be run.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let greet = tenant.automations.ensure("Greet", #{ workspace: #{ blocks: [], variables: [] }, state: "disabled" });
    /// greet.enable();
    /// ```
    #[rhai_fn(name = "enable", pure, return_raw)]
    pub fn enable_automation(
        context: NativeCallContext,
        automation: &mut Automation,
    ) -> Result<(), Box<EvalAltResult>> {
        switch(&mut Call::begin(&context, "automation.enable")?, automation, true)
    }

    /// Makes sure the automation cannot be run.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.automations.ensure("Greet", #{ workspace: #{ blocks: [], variables: [] } }).disable();
    /// ```
    #[rhai_fn(name = "disable", pure, return_raw)]
    pub fn disable_automation(
        context: NativeCallContext,
        automation: &mut Automation,
    ) -> Result<(), Box<EvalAltResult>> {
        switch(&mut Call::begin(&context, "automation.disable")?, automation, false)
    }

    /// Makes sure the automation is this user's. Qlik forgets its runs and detaches its connections then, and shows its
    /// definition to the new owner only: `ensure` fails from there on.
    ///
    /// - `user`: a user of the same tenant.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let greet = tenant.automations.ensure("Greet", #{ workspace: #{ blocks: [], variables: [] } });
    /// greet.change_owner(tenant.users.ensure(#{ subject: "hb|ada", name: "Ada" }));
    /// ```
    #[rhai_fn(name = "change_owner", pure, return_raw)]
    pub fn change_owner_of(
        context: NativeCallContext,
        automation: &mut Automation,
        user: User,
    ) -> Result<(), Box<EvalAltResult>> {
        change_owner(&mut Call::begin(&context, "automation.change_owner")?, automation, &user)
    }

    /// The automation's id.
    #[rhai_fn(get = "id", pure)]
    pub fn id(automation: &mut Automation) -> String {
        automation.id.clone()
    }

    /// The automation's name.
    #[rhai_fn(get = "name", pure)]
    pub fn name(automation: &mut Automation) -> String {
        automation.name().to_owned()
    }

    /// The automation as Qlik describes it. What `ensure` gives has its `executionToken`, a secret, which starts it from
    /// outside; what lists show has not.
    #[rhai_fn(get = "document", pure, return_raw)]
    pub fn document(context: NativeCallContext, automation: &mut Automation) -> Result<Dynamic, Box<EvalAltResult>> {
        script(&Call::begin(&context, "automation.document")?, &automation.document)
    }

    /// The automation as text: what it is, and its name.
    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn to_text(automation: &mut Automation) -> String {
        automation.subject()
    }
}
