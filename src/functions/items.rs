use rhai::plugin::*;
use rhai::{Array, Map as ScriptMap};
use serde_json::{Map, Value};

use super::listing::note;
use super::options::{invalid, kind, options, script, script_or_unit, scripts, suggestion};
use super::request::Ask;
use super::tenant::Tenant;
use crate::playbook::{Call, ScriptError};

/// `tenant.items`.
#[derive(Clone, Debug)]
pub(super) struct Items(pub(super) Tenant);

/// What a list of items is narrowed by, in Qlik's words (items API).
const FILTERS: [&str; 16] = [
    "collectionId",
    "createdByUserId",
    "id",
    "name",
    "notCreatedByUserId",
    "notOwnerId",
    "ownerId",
    "query",
    "resourceId",
    "resourceIds",
    "resourceLink",
    "resourceSubType",
    "resourceType",
    "sort",
    "spaceId",
    "spaceType",
];

/// What items are of (items API).
const TYPES: [&str; 19] = [
    "app",
    "qlikview",
    "qvapp",
    "genericlink",
    "sharingservicetask",
    "note",
    "dataasset",
    "dataset",
    "automation",
    "automl-experiment",
    "automl-deployment",
    "assistant",
    "dataproduct",
    "dataqualityrule",
    "glossary",
    "knowledgebase",
    "script",
    "semantictype",
    "page",
];

/// A text, or a list of texts separated by commas, as Qlik takes several.
fn text_of(call: &Call, field: &str, value: &Value) -> Result<String, ScriptError> {
    let texts = match value {
        Value::Array(list) => list.iter().map(Value::as_str).collect::<Option<Vec<_>>>(),
        value => value.as_str().map(|text| vec![text]),
    };
    match texts {
        Some(texts) => Ok(texts.join(",")),
        None => Err(invalid(call, format!("`{field}` is {}; a text or a list of texts is needed", kind(value)), None)),
    }
}

/// The items that a script asks for. Qlik's search finds every name that contains what is given; these have it exactly.
fn wanted(call: &mut Call, tenant: &Tenant, given: ScriptMap) -> Result<Vec<Value>, ScriptError> {
    let given = options(call, given, &FILTERS)?;
    let mut ask = tenant.ask("getItems", "items").query("limit", "100");
    for (field, value) in &given {
        ask = ask.query(field, text_of(call, field, value)?);
    }
    check(call, &given)?;
    let mut found = ask.list(call)?;
    if let Some(name) = given.get("name") {
        found.retain(|item| item["name"] == *name);
    }
    Ok(found)
}

/// Refuses what Qlik would refuse, or find nothing for.
fn check(call: &Call, given: &Map<String, Value>) -> Result<(), ScriptError> {
    let Some(types) = given.get("resourceType") else {
        return match ["resourceId", "resourceIds", "resourceLink"].iter().find(|field| given.contains_key(**field)) {
            Some(field) => {
                let hint = "say what it is of: `resourceType: \"app\"`".to_owned();
                Err(invalid(call, format!("`{field}` needs `resourceType`"), Some(hint)))
            }
            None => Ok(()),
        };
    };
    let types = text_of(call, "resourceType", types)?;
    // Types may carry their subtypes: `app[qvd,chart-monitoring],qvapp`.
    match types.split(',').find(|name| !types.contains('[') && !TYPES.contains(name)) {
        Some(unknown) => {
            Err(invalid(call, format!("`{unknown}` is not a type of items"), Some(suggestion(unknown, &TYPES))))
        }
        None => Ok(()),
    }
}

/// Notes the entry of a resource, which says what it is in, so that nobody in this run needs to ask for it again.
pub(super) fn saw(call: &Call, tenant: &Tenant, item: &Value) {
    if let Some(resource) = item["resourceId"].as_str() {
        call.set_note(&note(call, tenant, &format!("item of {resource}")), item.clone());
    }
}

/// The entry of a resource, when it was noted.
pub(super) fn seen(call: &Call, tenant: &Tenant, resource: &str) -> Option<Value> {
    call.note(&note(call, tenant, &format!("item of {resource}")))
}

/// The entry of a resource in the index; `None` when it is not there (yet: the index lags).
pub(super) fn of_resource(
    call: &mut Call,
    tenant: &Tenant,
    kind: &str,
    id: &str,
) -> Result<Option<Value>, ScriptError> {
    let ask: Ask = tenant.ask("getItems", format!("item of {kind} {id}"));
    let found = ask.query("resourceType", kind).query("resourceId", id).list(call)?;
    Ok(found.into_iter().find(|item| item["resourceId"].as_str() == Some(id)))
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// The tenant's items: the index of what lies in its spaces, apps among them. It is read only, and lags: what was just
    /// made appears a moment later.
    #[rhai_fn(get = "items", pure)]
    pub fn items(tenant: &mut Tenant) -> Items {
        Items(tenant.clone())
    }

    /// All items that are so, as Qlik describes them, the oldest first.
    ///
    /// - `options`: Qlik's own filters: `resourceType`, `resourceId`, `resourceIds`, `resourceLink`, `resourceSubType`,
    ///   `name` (exact, case matters), `query` (a part of the name or the description), `spaceId`, `spaceType`,
    ///   `collectionId`, `id`, `ownerId`, `notOwnerId`, `createdByUserId`, `notCreatedByUserId`; and `sort`. Several values
    ///   of one are given as a list.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let staging = tenant.spaces.ensure("Staging", "shared");
    /// for item in tenant.items.list(#{ resourceType: "app", spaceId: staging.id }) { log(item.name); }
    /// ```
    #[rhai_fn(name = "list", pure, return_raw)]
    pub fn list_items(
        context: NativeCallContext,
        items: &mut Items,
        options: ScriptMap,
    ) -> Result<Array, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.items.list")?;
        let found = wanted(&mut call, &items.0, options)?;
        scripts(&call, &found)
    }

    /// The item that is so, as Qlik describes it, or `()`. When several are, it is the oldest.
    ///
    /// - `options`: as for `list`.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// if tenant.items.find(#{ resourceType: "app", name: "Shipment Tracking" }) == () { log("not yet"); }
    /// ```
    #[rhai_fn(name = "find", pure, return_raw)]
    pub fn find_item(
        context: NativeCallContext,
        items: &mut Items,
        options: ScriptMap,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.items.find")?;
        let found = wanted(&mut call, &items.0, options)?;
        script_or_unit(&call, found.first())
    }

    /// The item that is so, as Qlik describes it; an error when there is none. When several are, it is the oldest.
    ///
    /// - `options`: as for `list`.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.spaces.ensure("Staging", "shared").import_app("content/apps/Shipment Tracking.qvf");
    /// log(tenant.items.get(#{ resourceType: "app", name: "Shipment Tracking" }).id);
    /// ```
    #[rhai_fn(name = "get", pure, return_raw)]
    pub fn get_item(
        context: NativeCallContext,
        items: &mut Items,
        options: ScriptMap,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.items.get")?;
        let asked = options.get("name").map_or_else(|| "item like this".to_owned(), |name| format!("item \"{name}\""));
        match wanted(&mut call, &items.0, options)?.first() {
            Some(item) => script(&call, item),
            None => Err(call.throw(items.0.lacks(&asked))),
        }
    }
}
