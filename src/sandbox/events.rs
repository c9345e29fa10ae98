//! What writes leave behind: events, as the audits API tells them.
//!
//! No handler makes them. When a request has changed something, each document that it made, changed or removed in a
//! collection of [`KINDS`] becomes an event; a write that touched none of these becomes one that is named after its
//! operation. Names and sources are those of qlik.dev's event pages (2026-04 to 2026-06); what these do not have is named
//! in the same way, which is an assumption. Issued tokens leave no event here, even where they are listed afterwards.
//!
//! Events stand beside the documents, not among them: they are no part of a tenant's configuration. A tenant keeps the
//! latest [`KEPT`], fewer when there are very many tenants, so that a state does not grow without end.

use std::borrow::Cow;
use std::sync::Arc;

use imbl::{OrdMap, Vector};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::context::{Context, text};
use super::state::{Document, Scope, State};
use super::store::Change;
use crate::contract::Published;
use crate::operation::Effect;

/// How many events a tenant keeps.
const KEPT: usize = 1_000;
/// How many all tenants keep together, as long as each may keep the fewest.
const KEPT_TOGETHER: usize = 200_000;
const KEPT_LEAST: usize = 50;

/// Whose documents become events.
struct Kind {
    collection: &'static str,
    source: &'static str,
    /// What names begin with.
    stem: &'static str,
    /// How they end: made, changed, removed.
    ends: [&'static str; 3],
    /// The field that names the thing it is a part of; empty when it is a thing of its own.
    part_of: &'static str,
}

const ENDS: [&str; 3] = ["created", "updated", "deleted"];

const fn kind(collection: &'static str, source: &'static str, stem: &'static str) -> Kind {
    Kind { collection, source, stem, ends: ENDS, part_of: "" }
}

const KINDS: &[Kind] = &[
    kind("tenants", "com.qlik/tenants", "com.qlik.tenant"),
    kind("users", "com.qlik/identities", "com.qlik.v1.user"),
    kind("groups", "com.qlik/identities", "com.qlik.v1.group"),
    kind("systemGroups", "com.qlik/identities", "com.qlik.v1.group"),
    kind("roles", "com.qlik/identities", "com.qlik.v1.role"),
    kind("spaces", "com.qlik/spaces", "com.qlik.space"),
    Kind { part_of: "spaceId", ..kind("assignments", "com.qlik/spaces", "com.qlik.space.assignment") },
    Kind { part_of: "spaceId", ..kind("shares", "com.qlik/spaces", "com.qlik.space.share") },
    kind("apps", "com.qlik/engine", "com.qlik.app"),
    kind("oauthClients", "com.qlik/oauth-clients", "com.qlik.v1.oauth-client"),
    Kind { part_of: "clientId", ..kind("oauthSecrets", "com.qlik/oauth-clients", "com.qlik.v1.oauth-client.secret") },
    kind("webIntegrations", "com.qlik/web-integrations", "com.qlik.web-integration"),
    kind("ipPolicies", "com.qlik/iam-resources", "com.qlik.core.ip-policy"),
    kind("identityProviders", "com.qlik/identity-providers", "com.qlik.v1.identity-provider"),
    // A seat that is given is published as one that changed.
    Kind {
        ends: ["updated", "updated", "deleted"],
        ..kind("seats", "com.qlik/licenses", "com.qlik.license.assignment")
    },
];

/// Writes whose events have names of their own, whatever they touched.
const NAMED: &[(&str, &str, &str)] = &[
    ("deactivateTenant", "com.qlik/tenants", "com.qlik.v1.tenant.deactivated"),
    ("reactivateTenant", "com.qlik/tenants", "com.qlik.v1.tenant.reactivated"),
    ("publishApp", "com.qlik/engine", "com.qlik.app.published"),
    ("republishApp", "com.qlik/engine", "com.qlik.app.published"),
    ("exportApp", "com.qlik/engine", "com.qlik.app.exported"),
    ("patchGroupsSettings", "com.qlik/identities", "com.qlik.v1.group-setting.updated"),
    ("patchAuthSettings", "com.qlik/auth-settings", "com.qlik.core.auth-settings.updated"),
    ("publishOAuthClient", "com.qlik/oauth-clients", "com.qlik.v1.oauth-client.published"),
    (
        "patchOAuthClientConnectionConfig",
        "com.qlik/oauth-clients",
        "com.qlik.v1.oauth-client.connection-config.updated",
    ),
    (
        "deleteOAuthClientConnectionConfig",
        "com.qlik/oauth-clients",
        "com.qlik.v1.oauth-client.connection-config.deleted",
    ),
];

/// The fields of a document that an event tells: no other could be a secret.
const TOLD: &[&str] = &[
    "name",
    "subject",
    "email",
    "status",
    "type",
    "description",
    "ownerId",
    "spaceId",
    "assigneeId",
    "roles",
    "assignedRoles",
    "assignedGroups",
    "hostnames",
    "deletionStartsAt",
    "providerType",
    "provider",
    "protocol",
    "active",
    "enabled",
    "allowedIps",
    "validOrigins",
    "clientId",
    "clientName",
    "appType",
    "hint",
    "originAppId",
    "publishTime",
];

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    /// Which of its tenant it is, counted from 1.
    pub(super) number: u64,
    /// When, in milliseconds since 1970.
    pub(super) at: i64,
    pub(super) name: Cow<'static, str>,
    pub(super) source: Cow<'static, str>,
    /// Who did it; empty when no user of the tenant did.
    pub(super) user: Box<str>,
    /// Its `data` and `extensions`, as JSON: read by few, kept by all.
    details: Box<str>,
}

impl Event {
    /// What it is known by: when it was, and which it is.
    pub(super) fn id(&self) -> String {
        format!("{:08x}{:016x}", self.at / 1_000, self.number)
    }

    /// The number in what an event is known by.
    pub(super) fn number_of(id: &str) -> Option<u64> {
        u64::from_str_radix(id.get(8..24).filter(|_| id.len() == 24)?, 16).ok()
    }

    /// `{"data", "extensions"}`
    pub(super) fn details(&self) -> Value {
        serde_json::from_str(&self.details).unwrap_or_default()
    }

    /// The form in which it is kept.
    pub(super) fn to_json(&self) -> Value {
        let details = self.details();
        json!({
            "number": self.number, "at": self.at, "eventType": self.name, "source": self.source, "userId": self.user,
            "details": details,
        })
    }

    /// What [`to_json`](Self::to_json) gave.
    pub(super) fn from_json(value: &Value) -> Option<Self> {
        Some(Self {
            number: value.get("number")?.as_u64()?,
            at: value.get("at")?.as_i64()?,
            name: value.get("eventType")?.as_str()?.to_owned().into(),
            source: value.get("source")?.as_str()?.to_owned().into(),
            user: value.get("userId")?.as_str()?.into(),
            details: value.get("details")?.to_string().into(),
        })
    }
}

/// The events of all tenants, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Trails(OrdMap<Arc<str>, Vector<Arc<Event>>>);

impl Trails {
    /// The events of a tenant, oldest first.
    pub(super) fn of(&self, tenant: &str) -> Vector<Arc<Event>> {
        self.0.get(tenant).cloned().unwrap_or_default()
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Vector<Arc<Event>>)> {
        self.0.iter()
    }

    /// The number the next event of a tenant has.
    fn next(&self, tenant: &str) -> u64 {
        self.0.get(tenant).and_then(Vector::last).map_or(1, |last| last.number + 1)
    }

    /// Adds an event and drops what is too old for it. Returns the number that none is below any more.
    pub(super) fn add(&mut self, tenant: &Arc<str>, event: Arc<Event>) -> u64 {
        let room = (KEPT_TOGETHER / self.0.len().max(1)).clamp(KEPT_LEAST, KEPT);
        let trail = self.0.entry(tenant.clone()).or_default();
        trail.push_back(event);
        while trail.len() > room {
            trail.pop_front();
        }
        trail.front().map_or(0, |first| first.number)
    }
}

/// The names and sources there can be, apart from those after operations.
pub(super) fn known() -> impl Iterator<Item = (String, &'static str)> {
    let kinds = KINDS.iter().flat_map(|kind| kind.ends.map(|end| (format!("{}.{end}", kind.stem), kind.source)));
    kinds.chain(NAMED.iter().map(|(_, source, name)| ((*name).to_owned(), *source)))
}

/// The events of what a request changed in the state it found.
pub(super) fn left(before: &State, context: &Context<'_>, operation: &Published, changes: &[Change]) -> Vec<Change> {
    if changes.is_empty() {
        return Vec::new();
    }
    let here = context.tenant_id();
    let named = NAMED.iter().find(|(id, ..)| *id == operation.id);
    let mut trails = context.state().trails().clone();
    let mut left = Vec::new();
    let mut seen: Vec<(&Scope, &str, &str)> = Vec::new();
    let mut leave = |tenant: &str, name: Cow<'static, str>, source: Cow<'static, str>, user: String, details: Value| {
        let tenant: Arc<str> = tenant.into();
        let event = Arc::new(Event {
            number: trails.next(&tenant),
            at: context.now.as_millisecond(),
            name,
            source,
            user: user.into(),
            details: details.to_string().into(),
        });
        let first = trails.add(&tenant, event.clone());
        left.push(Change::Event { tenant, event, first });
    };
    let mut told = false;
    for change in changes {
        let Change::Document { scope, collection, id, .. } = change else { continue };
        let Some(kind) = KINDS.iter().find(|kind| *kind.collection == **collection) else { continue };
        if seen.contains(&(scope, collection, id)) {
            continue;
        }
        seen.push((scope, collection, id));
        let tenant = match scope {
            Scope::Tenant(tenant) if **tenant == *here => &**tenant,
            // What a new tenant begins with was not written by anybody.
            Scope::Tenant(_) => continue,
            _ if kind.collection == "tenants" => id,
            _ => &*here,
        };
        let (was, is) = (before.get(scope, collection, id), context.get_in(scope, collection, id));
        let end = match (&was, &is) {
            (None, Some(_)) => kind.ends[0],
            (Some(was), Some(is)) if was != is => kind.ends[1],
            (Some(_), None) => kind.ends[2],
            _ => continue,
        };
        if tenant.is_empty() {
            continue;
        }
        let name = match named {
            Some((_, source, name)) if *source == kind.source => Cow::Borrowed(*name),
            _ => format!("{}.{end}", kind.stem).into(),
        };
        // Who signs in for the first time is the one who did it.
        let user = match (&*context.user_id(), kind.collection) {
            ("", "users") => id.to_string(),
            (user, _) => user.to_owned(),
        };
        leave(tenant, name, kind.source.into(), user, details(kind, id, was.as_ref(), is.as_ref()));
        told = true;
    }
    let leaves = operation.effect != Effect::Read && operation.id != "requestOauthToken";
    if !told && !here.is_empty() && !changes.is_empty() && leaves {
        let (name, source) = match named {
            Some((_, source, name)) => (Cow::Borrowed(*name), Cow::Borrowed(*source)),
            None => after(operation),
        };
        let vars: Map<String, Value> =
            context.vars.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect();
        let made = changes.iter().find_map(|change| match change {
            Change::Document { id, now: Some(_), .. } => Some(&**id),
            _ => None,
        });
        let id = context.vars.values().last().map(String::as_str).or(made);
        let mut data = Map::new();
        data.extend(id.map(|id| ("id".to_owned(), json!(id))));
        data.extend(vars.into_iter().filter(|(name, _)| name != "id"));
        leave(&here, name, source, context.user_id(), json!({"data": data, "extensions": {}}));
    }
    left
}

/// The name and the source of an event of which nothing is published: after the operation's service.
fn after(operation: &Published) -> (Cow<'static, str>, Cow<'static, str>) {
    let service = operation.tag.rsplit('/').next().unwrap_or(operation.tag);
    let thing = match (service.strip_suffix("ies"), service.strip_suffix('s')) {
        (Some(stem), _) => format!("{stem}y"),
        (None, Some(stem)) => stem.to_owned(),
        (None, None) => service.to_owned(),
    };
    let end = match operation.effect {
        Effect::Create => ENDS[0],
        Effect::Delete => ENDS[2],
        _ => ENDS[1],
    };
    (format!("com.qlik.v1.{thing}.{end}").into(), format!("com.qlik/{service}").into())
}

fn details(kind: &Kind, id: &str, was: Option<&Document>, is: Option<&Document>) -> Value {
    let of = |document: Option<&Document>, field: &str| {
        let document = document?;
        document.get(field).or_else(|| document.get("attributes")?.get(field)).cloned()
    };
    let Some(shown) = is.or(was) else { return json!({}) };
    let mut data = Map::new();
    data.insert("id".to_owned(), json!(id));
    let mut updates = Vec::new();
    for field in TOLD {
        let (old, new) = (of(was, field), of(is, field));
        if is.is_some() && was.is_some() && old != new {
            updates.push(json!({"property": field, "oldValue": old, "newValue": new}));
        }
        if let Some(value) = new.or(old) {
            data.insert((*field).to_owned(), value);
        }
    }
    let mut extensions = Map::new();
    for field in ["ownerId", "spaceId"] {
        if let Some(Value::String(value)) = of(Some(shown), field) {
            extensions.insert(field.to_owned(), json!(value));
        }
    }
    if !kind.part_of.is_empty() {
        extensions.insert("topLevelResourceId".to_owned(), json!(text(shown, kind.part_of)));
    }
    if !updates.is_empty() {
        extensions.insert("updates".to_owned(), json!(updates));
    }
    json!({"data": data, "extensions": extensions})
}

/// When an event was.
pub(super) fn moment(event: &Event) -> Timestamp {
    Timestamp::from_millisecond(event.at).unwrap_or_default()
}
