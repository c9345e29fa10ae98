use std::sync::Arc;

use rhai::plugin::*;
use rhai::{Array, Map as ScriptMap};
use serde_json::{Map, Value, json};

use super::apps::App;
use super::converge::{self, Resource, Updated};
use super::items;
use super::options::{invalid, json as given_json, options, script, scripts, suggestion, text};
use super::request::{Ask, patch, replace, text_of};
use super::tenant::Tenant;
use super::waiting;
use crate::event::{Change, FieldChange};
use crate::operation::{Failure, FailureKind, Outcome};
use crate::playbook::{Call, ScriptError};

/// `tenant.collections`, or `tenant.tags`: Qlik's tags are collections of the type `public`.
#[derive(Clone, Debug)]
pub(super) struct Collections {
    tenant: Tenant,
    tags: bool,
}

/// One collection or tag.
#[derive(Clone, Debug)]
pub(super) struct Collection {
    tenant: Tenant,
    id: String,
    document: Arc<Value>,
    /// Whether it is to be governed, which it can be from its first item on.
    to_be_governed: bool,
}

const PRIVATE: &str = "private";
const GOVERNED: &str = "publicgoverned";
const TAG: &str = "public";

/// How long a new app may take to appear in the index of items, in seconds: an assumption, nothing is published.
const INDEXED: u64 = 60;

impl Collections {
    fn subject(&self, name: &str) -> String {
        format!("{} \"{name}\"", if self.tags { "tag" } else { "collection" })
    }

    fn ask(&self, subject: impl Into<String>) -> Ask {
        let ask = self.tenant.ask("getCollections", subject).query("limit", "100");
        if self.tags { ask.query("type", TAG) } else { ask.query("types", format!("{PRIVATE},{GOVERNED}")) }
    }

    /// Names of collections may repeat, names of tags do not: of several the one of this type is meant, else the oldest.
    fn named(&self, call: &mut Call, name: &str, kind: &str) -> Result<Option<Value>, ScriptError> {
        let mut same = self.ask(self.subject(name)).query("name", name).list(call)?;
        same.retain(|held| held["name"].as_str() == Some(name));
        if same.len() > 1 {
            same.sort_by_key(|held| (held["type"] != kind, held["createdAt"].as_str().map(str::to_owned)));
            call.log("warn", format!("{} collections are called \"{name}\"; the oldest is used", same.len()));
        }
        Ok(same.into_iter().next())
    }

    fn handle(&self, call: &Call, document: Value, to_be_governed: bool) -> Result<Collection, ScriptError> {
        let id = text_of(call, "getCollections", &document, "id")?;
        Ok(Collection { tenant: self.tenant.clone(), id, document: Arc::new(document), to_be_governed })
    }
}

struct Wanted<'c> {
    home: &'c Collections,
    name: String,
    kind: &'c str,
    fields: Map<String, Value>,
}

impl Resource for Wanted<'_> {
    fn scope(&self) -> String {
        self.home.tenant.host_name().to_owned()
    }

    fn subject(&self) -> String {
        self.home.subject(&self.name)
    }

    fn wanted(&self) -> &Map<String, Value> {
        &self.fields
    }

    fn find(&self, call: &mut Call) -> Result<Option<Value>, ScriptError> {
        self.home.named(call, &self.name, self.kind)
    }

    fn create(&self, call: &mut Call) -> Result<Outcome, ScriptError> {
        // A governed one is made private: without an item it cannot be anything else.
        let kind = if self.kind == GOVERNED { PRIVATE } else { self.kind };
        let mut body = json!({ "name": self.name, "type": kind });
        if let Some(map) = body.as_object_mut() {
            map.extend(self.fields.clone());
        }
        self.home.tenant.ask("createCollection", self.subject()).json(body).attempt(call)
    }

    fn update(&self, call: &mut Call, current: &Value, changes: &[FieldChange]) -> Result<Updated, ScriptError> {
        let id = text_of(call, "getCollections", current, "id")?;
        let body = patch(changes, &self.fields, |field| format!("/{field}"));
        let ask = self.home.tenant.ask("patchCollection", self.subject()).var("collectionId", id);
        Ok(Updated::To(ask.json(body).send(call)?.json().clone()))
    }
}

impl Collection {
    fn name(&self) -> &str {
        self.document["name"].as_str().unwrap_or_default()
    }

    fn kind(&self) -> &str {
        self.document["type"].as_str().unwrap_or_default()
    }

    fn home(&self) -> Collections {
        Collections { tenant: self.tenant.clone(), tags: self.kind() == TAG }
    }

    fn subject(&self) -> String {
        self.home().subject(self.name())
    }

    /// Gives it this type, and tells the step.
    fn become_kind(&self, call: &mut Call, kind: &str) -> Result<Value, ScriptError> {
        let ask = self.tenant.ask("patchCollection", self.subject()).var("collectionId", &self.id);
        let document = ask.json(replace([("/type".to_owned(), &json!(kind))])).send(call)?.json().clone();
        let change = FieldChange { field: "type".to_owned(), before: json!(self.kind()), after: json!(kind) };
        call.step(Change::Updated, self.subject(), vec![change]);
        Ok(document)
    }
}

fn ensure(
    call: &mut Call,
    home: &Collections,
    name: &str,
    kind: &str,
    given: ScriptMap,
) -> Result<Collection, ScriptError> {
    if name.is_empty() {
        return Err(invalid(call, "a name is needed", None));
    }
    if !home.tags && ![PRIVATE, GOVERNED].contains(&kind) {
        let hint = match kind {
            TAG => "collections of the type `public` are tags: `tenant.tags.ensure(name)`".to_owned(),
            other => suggestion(other, &[PRIVATE, GOVERNED]),
        };
        return Err(invalid(call, format!("`{kind}` is not a type of collection"), Some(hint)));
    }
    let fields = options(call, given, &["description"])?;
    if fields.contains_key("description") && fields["description"] != "" {
        text(call, &fields, "description")?;
    }
    let wanted = Wanted { home, name: name.to_owned(), kind, fields };
    let document = converge::ensure(call, &wanted)?.document;
    let mut collection = home.handle(call, document, kind == GOVERNED)?;
    let may_be = kind != GOVERNED || collection.document["itemCount"].as_u64().unwrap_or_default() > 0;
    if collection.kind() != kind && may_be {
        collection.document = Arc::new(collection.become_kind(call, kind)?);
    }
    Ok(collection)
}

/// What is put into a collection, or taken out.
enum Member<'m> {
    App(&'m App),
    /// An item as Qlik describes it.
    Item(Value),
}

impl Member<'_> {
    fn subject(&self) -> String {
        match self {
            Self::App(app) => format!("app \"{}\"", app.name()),
            Self::Item(item) => format!("item \"{}\"", item["name"].as_str().unwrap_or_default()),
        }
    }

    /// Its entry in the index as it is now, which says what it is in.
    fn look(&self, call: &mut Call, collection: &Collection) -> Result<Option<Value>, ScriptError> {
        match self {
            Self::App(app) => match items::seen(call, &collection.tenant, app.id()) {
                Some(item) => Ok(Some(item)),
                None => items::of_resource(call, &collection.tenant, "app", app.id()),
            },
            Self::Item(item) => {
                let id = text_of(call, "getItems", item, "id")?;
                match collection.tenant.ask("getItem", self.subject()).var("itemId", id).attempt(call)? {
                    Ok(response) => Ok(Some(response.json().clone())),
                    Err(failure) if failure.status == Some(404) => Ok(None),
                    Err(failure) => Err(call.throw(failure)),
                }
            }
        }
    }

    /// The same for what must be there. The index lags, so it is waited for.
    fn must(&self, call: &mut Call, collection: &Collection) -> Result<Value, ScriptError> {
        if let Some(item) = waiting::wait(call, INDEXED, |call| self.look(call, collection))? {
            return Ok(item);
        }
        let title = format!("{} is not in the index of items", self.subject());
        let hint = "a new app appears there a moment later: run the playbook again";
        Err(call.throw(Failure::new(FailureKind::Unknown, "tenantry/not-indexed", title).hint(hint)))
    }
}

fn is_in(item: &Value, collection: &Collection) -> bool {
    item["collectionIds"].as_array().is_some_and(|ids| ids.iter().any(|id| id.as_str() == Some(&collection.id)))
}

/// Notes that the item is now in the collection, or no longer.
fn note(call: &Call, collection: &Collection, mut item: Value, is_in: bool) {
    if let Some(ids) = item["collectionIds"].as_array_mut() {
        ids.retain(|id| id.as_str() != Some(&collection.id));
        ids.extend(is_in.then(|| json!(collection.id)));
        items::saw(call, &collection.tenant, &item);
    }
}

fn add(call: &mut Call, collection: &Collection, member: &Member<'_>) -> Result<(), ScriptError> {
    let subject = format!("{} in {}", member.subject(), collection.subject());
    call.claim(collection.tenant.host_name(), &subject)?;
    let item = member.must(call, collection)?;
    let change = if is_in(&item, collection) {
        converge::earlier(call, &subject)
    } else {
        let id = text_of(call, "getItems", &item, "id")?;
        let ask = collection.tenant.ask("addCollectionItem", &subject).var("collectionId", &collection.id);
        match ask.json(json!({ "id": id })).attempt(call)? {
            // The index lags here too: it is in it already.
            Err(failure) if failure.status == Some(409) => converge::earlier(call, &subject),
            Err(failure) => return Err(call.throw(failure)),
            Ok(_) => Change::Created,
        }
    };
    note(call, collection, item, true);
    call.step(change, subject, Vec::new());
    let governed = format!("{} is governed", collection.id);
    if collection.to_be_governed && collection.kind() != GOVERNED && call.note(&governed).is_none() {
        collection.become_kind(call, GOVERNED)?;
        call.set_note(&governed, json!(true));
    }
    Ok(())
}

fn remove(call: &mut Call, collection: &Collection, member: &Member<'_>) -> Result<(), ScriptError> {
    let subject = format!("{} in {}", member.subject(), collection.subject());
    let find = |call: &mut Call| Ok(member.look(call, collection)?.filter(|item| is_in(item, collection)));
    converge::remove(call, collection.tenant.host_name(), &subject, find, |call, item| {
        let id = text_of(call, "getItems", item, "id")?;
        let ask = collection.tenant.ask("deleteCollectionItem", &subject).var("collectionId", &collection.id);
        ask.var("itemId", id).remove(call)?;
        note(call, collection, item.clone(), false);
        Ok(())
    })
}

/// The app, when it is one of the same tenant.
fn app<'m>(call: &Call, collection: &Collection, app: &'m App) -> Result<Member<'m>, ScriptError> {
    if app.tenant().host_name() != collection.tenant.host_name() {
        return Err(invalid(call, format!("app \"{}\" belongs to another tenant", app.name()), None));
    }
    Ok(Member::App(app))
}

fn item(call: &Call, given: ScriptMap) -> Result<Member<'static>, ScriptError> {
    let item = given_json(call, "item", &given.into())?;
    if item["id"].as_str().is_some_and(|id| !id.is_empty()) && item.get("resourceType").is_some() {
        return Ok(Member::Item(item));
    }
    let hint = "give an app, or what `tenant.items` gives";
    Err(invalid(call, "this map is no item", Some(hint.to_owned())))
}

fn delete(call: &mut Call, home: &Collections, name: &str) -> Result<(), ScriptError> {
    let subject = home.subject(name);
    let find = |call: &mut Call| home.named(call, name, "");
    converge::remove(call, home.tenant.host_name(), &subject, find, |call, document| {
        let id = text_of(call, "getCollections", document, "id")?;
        home.tenant.ask("deleteCollection", &subject).var("collectionId", id).remove(call)
    })
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// The tenant's collections: those of the bot's own, and the governed ones that everybody sees. Tags are apart.
    #[rhai_fn(get = "collections", pure)]
    pub fn collections(tenant: &mut Tenant) -> Collections {
        Collections { tenant: tenant.clone(), tags: false }
    }

    /// The tenant's tags.
    #[rhai_fn(get = "tags", pure)]
    pub fn tags(tenant: &mut Tenant) -> Collections {
        Collections { tenant: tenant.clone(), tags: true }
    }

    /// Makes sure there is a tag of this name.
    ///
    /// - `name`: exact, case matters; unique among tags.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let app = tenant.spaces.ensure("Staging", "shared").import_app("content/apps/Shipment Tracking.qvf");
    /// tenant.tags.ensure("logistics").add(app);
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_tag(
        context: NativeCallContext,
        tags: &mut Collections,
        name: &str,
    ) -> Result<Collection, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.tags.ensure")?;
        if !tags.tags {
            return Err(invalid(&call, "a collection needs a type: `private` or `publicgoverned`", None));
        }
        ensure(&mut call, tags, name, TAG, ScriptMap::new())
    }

    /// Makes sure there is a collection of this name and type.
    ///
    /// - `name`: exact, case matters. Names of collections may repeat: of several the oldest is meant.
    /// - `type`: `"private"`, or `"publicgoverned"`, which everybody sees. Qlik governs no empty collection: it stays
    ///   private until something is added to what this gives.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let app = tenant.spaces.ensure("Staging", "shared").import_app("content/apps/Shipment Tracking.qvf");
    /// tenant.collections.ensure("Featured", "publicgoverned").add(app);
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_plain(
        context: NativeCallContext,
        collections: &mut Collections,
        name: &str,
        r#type: &str,
    ) -> Result<Collection, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.collections.ensure")?;
        ensure(&mut call, collections, name, r#type, ScriptMap::new())
    }

    /// Makes sure there is a collection of this name and type with these fields.
    ///
    /// - `name`: exact, case matters.
    /// - `type`: `"private"` or `"publicgoverned"`.
    /// - `options`: `description`. What is left out is left as it is.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.collections.ensure("Featured", "private", #{ description: "What to begin with" });
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_with(
        context: NativeCallContext,
        collections: &mut Collections,
        name: &str,
        r#type: &str,
        options: ScriptMap,
    ) -> Result<Collection, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.collections.ensure")?;
        ensure(&mut call, collections, name, r#type, options)
    }

    /// The collection or tag of this name; an error when there is none.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.tags.ensure("logistics");
    /// log(tenant.tags.get("logistics").id);
    /// ```
    #[rhai_fn(name = "get", pure, return_raw)]
    pub fn get_collection(
        context: NativeCallContext,
        collections: &mut Collections,
        name: &str,
    ) -> Result<Collection, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.collections.get")?;
        match collections.named(&mut call, name, "")? {
            Some(document) => collections.handle(&call, document, false),
            None => Err(call.throw(collections.tenant.lacks(&collections.subject(name)))),
        }
    }

    /// The collection or tag of this name, or `()`.
    ///
    /// - `name`: exact, case matters.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// if tenant.tags.find("logistics") == () { log("not yet"); }
    /// ```
    #[rhai_fn(name = "find", pure, return_raw)]
    pub fn find_collection(
        context: NativeCallContext,
        collections: &mut Collections,
        name: &str,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.collections.find")?;
        match collections.named(&mut call, name, "")? {
            Some(document) => Ok(Dynamic::from(collections.handle(&call, document, false)?)),
            None => Ok(Dynamic::UNIT),
        }
    }

    /// All collections, or all tags.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// for tag in tenant.tags.list() { log(tag.name); }
    /// ```
    #[rhai_fn(name = "list", pure, return_raw)]
    pub fn list_collections(
        context: NativeCallContext,
        collections: &mut Collections,
    ) -> Result<Array, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.collections.list")?;
        let found = collections.ask(if collections.tags { "tags" } else { "collections" }).list(&mut call)?;
        found.into_iter().map(|document| Ok(Dynamic::from(collections.handle(&call, document, false)?))).collect()
    }

    /// Makes sure there is no collection or tag of this name. What was in it stays.
    ///
    /// - `name`: exact, case matters. Of several collections the oldest goes.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.tags.delete("logistics");
    /// ```
    #[rhai_fn(name = "delete", pure, return_raw)]
    pub fn delete_collection(
        context: NativeCallContext,
        collections: &mut Collections,
        name: &str,
    ) -> Result<(), Box<EvalAltResult>> {
        delete(&mut Call::begin(&context, "tenant.collections.delete")?, collections, name)
    }

    /// Makes sure this app is in the collection, or has the tag.
    ///
    /// - `app`: an app of the same tenant.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let app = tenant.spaces.ensure("Staging", "shared").import_app("content/apps/Shipment Tracking.qvf");
    /// tenant.tags.ensure("logistics").add(app);
    /// ```
    #[rhai_fn(name = "add", pure, return_raw)]
    pub fn add_app(
        context: NativeCallContext,
        collection: &mut Collection,
        app: App,
    ) -> Result<(), Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "collection.add")?;
        let member = super::app(&call, collection, &app)?;
        add(&mut call, collection, &member)
    }

    /// Makes sure this item is in the collection, or has the tag.
    ///
    /// - `item`: an item as `tenant.items` gives it.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.spaces.ensure("Staging", "shared").import_app("content/apps/Shipment Tracking.qvf");
    /// tenant.tags.ensure("logistics").add(tenant.items.get(#{ resourceType: "app", name: "Shipment Tracking" }));
    /// ```
    #[rhai_fn(name = "add", pure, return_raw)]
    pub fn add_item(
        context: NativeCallContext,
        collection: &mut Collection,
        item: ScriptMap,
    ) -> Result<(), Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "collection.add")?;
        let member = super::item(&call, item)?;
        add(&mut call, collection, &member)
    }

    /// Makes sure this app is not in the collection, or does not have the tag.
    ///
    /// - `app`: an app of the same tenant.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let app = tenant.spaces.ensure("Staging", "shared").import_app("content/apps/Shipment Tracking.qvf");
    /// tenant.tags.ensure("logistics").remove(app);
    /// ```
    #[rhai_fn(name = "remove", pure, return_raw)]
    pub fn remove_app(
        context: NativeCallContext,
        collection: &mut Collection,
        app: App,
    ) -> Result<(), Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "collection.remove")?;
        let member = super::app(&call, collection, &app)?;
        remove(&mut call, collection, &member)
    }

    /// Makes sure this item is not in the collection, or does not have the tag.
    ///
    /// - `item`: an item as `tenant.items` gives it.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// let tag = tenant.tags.ensure("logistics");
    /// for item in tag.items() { tag.remove(item); }
    /// ```
    #[rhai_fn(name = "remove", pure, return_raw)]
    pub fn remove_item(
        context: NativeCallContext,
        collection: &mut Collection,
        item: ScriptMap,
    ) -> Result<(), Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "collection.remove")?;
        let member = super::item(&call, item)?;
        remove(&mut call, collection, &member)
    }

    /// All items in the collection, as Qlik describes them.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// for item in tenant.tags.ensure("logistics").items() { log(item.name); }
    /// ```
    #[rhai_fn(name = "items", pure, return_raw)]
    pub fn items_of(context: NativeCallContext, collection: &mut Collection) -> Result<Array, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "collection.items")?;
        let ask = collection.tenant.ask("getCollectionItems", format!("items of {}", collection.subject()));
        let found = ask.var("collectionId", &collection.id).query("limit", "100").list(&mut call)?;
        scripts(&call, &found)
    }

    /// The collection's id.
    #[rhai_fn(get = "id", pure)]
    pub fn id(collection: &mut Collection) -> String {
        collection.id.clone()
    }

    /// The collection's name.
    #[rhai_fn(get = "name", pure)]
    pub fn name(collection: &mut Collection) -> String {
        collection.name().to_owned()
    }

    /// The collection as Qlik describes it.
    #[rhai_fn(get = "document", pure, return_raw)]
    pub fn document(context: NativeCallContext, collection: &mut Collection) -> Result<Dynamic, Box<EvalAltResult>> {
        script(&Call::begin(&context, "collection.document")?, &collection.document)
    }

    /// The collection as text: what it is, and its name.
    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn to_text(collection: &mut Collection) -> String {
        collection.subject()
    }
}
