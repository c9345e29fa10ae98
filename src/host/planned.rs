//! What a plan says: what would change, by which requests, and what it takes to apply it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::report::RunStatus;
use super::seats::{Need, Seats};
use super::unmentioned::Unmentioned;
use crate::contract::{Tier, contract};
use crate::event::{Change, FieldChange, Step};
use crate::interpreter::{Planned, STAND_IN, Seen};
use crate::operation::{CallKey, Effect, Key, Site, secret};
use crate::plan::{Allowed, FORMAT, Guard, Reading, SavedPlan, verdicts};
use crate::playbook::Diagnostic;
use crate::sandbox::{Difference, Scope};

/// What a playbook would do for a customer. Ids, host names and times that the service will choose appear by name, as in a
/// saved plan: `${0:createTenant#0/id}` is the `id` in the answer to the operation of that key.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The playbook.
    pub playbook: String,
    /// The customer's code.
    pub customer: String,
    /// The target it was planned against.
    pub target: String,
    /// When it was made.
    pub made: String,
    /// Whether the playbook would come to its end.
    pub status: RunStatus,
    /// What would change, in the order of the program.
    pub changes: Vec<PlannedChange>,
    /// What the last run of this playbook has ensured and this plan does not mention, when that is asked for. Nothing
    /// removes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmentioned: Option<Vec<Unmentioned>>,
    /// What the playbook would put out.
    pub output: Map<String, Value>,
    /// Requests to read that were made, by rate limit.
    pub reads: BTreeMap<Tier, u32>,
    /// Requests to write that a run would make, by rate limit.
    pub writes: BTreeMap<Tier, u32>,
    /// The least time that the rate limits allow a run to take, in seconds.
    pub least_seconds: u64,
    /// The seats it needs, by kind; none when it does nothing to the pool.
    pub seats: Vec<Seats>,
    /// Tenants, by host name, where reading for this plan took the client's first token: its bot user is there now.
    pub first_tokens: Vec<String>,
    /// What may end a plan, and whether it did.
    pub guards: Vec<Guard>,
    /// Why it would fail.
    pub error: Option<Diagnostic>,
    /// What it takes to apply it.
    #[serde(skip)]
    pub(super) material: Option<Box<Material>>,
}

/// What a plan is applied by.
#[derive(Clone, Debug)]
pub(super) struct Material {
    pub(super) scope: String,
    pub(super) inputs: Value,
    pub(super) verify: bool,
    pub(super) files: BTreeMap<String, String>,
    pub(super) planned: Vec<Planned>,
    pub(super) seen: Seen,
    pub(super) changes: Vec<Difference>,
    pub(super) need: Need,
}

/// One thing that would change.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedChange {
    /// What would happen to it.
    pub change: Change,
    /// The thing: `space "Staging"`.
    pub subject: String,
    /// Field by field, as far as it is known. Secrets appear as `***`.
    pub fields: Vec<FieldChange>,
    /// Where in the playbook.
    pub site: Option<Site>,
    /// The requests it takes.
    pub requests: Vec<PlannedRequest>,
}

/// One request that would be made.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedRequest {
    /// Its key in the run.
    pub key: String,
    /// The operation.
    pub operation: String,
    /// What it does.
    pub effect: Effect,
    /// The host it goes to.
    pub host: String,
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// Whether its outcome is assumed from the contract, because nothing is known of what it does.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub assumed: bool,
    /// Why it cannot be taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub irreversible: Option<String>,
}

impl Plan {
    /// What it does to the pool of seats.
    pub(super) fn need(&self) -> Option<&Need> {
        self.material.as_ref().map(|material| &material.need)
    }

    /// Notes why it would fail, and which guard says so.
    pub(super) fn fail(&mut self, error: Diagnostic) {
        self.status = if error.cancelled { RunStatus::Cancelled } else { RunStatus::Failed };
        let code = error.failure.as_ref().map(|failure| failure.code.as_str());
        self.guards = verdicts(code.map(|code| (code, error.message.as_str())));
        self.error = Some(error);
    }

    /// Whether a run would change anything.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// What a run would change in what the target has, document by document, as the model of it has them.
    #[must_use]
    pub fn modelled(&self) -> &[Difference] {
        self.material.as_ref().map_or(&[], |material| &material.changes)
    }

    /// The plan in the form in which it is kept and applied. None when the playbook would not come to its end.
    #[must_use]
    pub fn saved(&self) -> Option<SavedPlan> {
        let material = self.material.as_ref().filter(|_| self.error.is_none())?;
        let mut writes: Vec<Allowed> = material
            .planned
            .iter()
            .map(|write| Allowed {
                key: write.key.clone(),
                effect: write.operation.effect,
                subject: write.operation.subject.clone(),
                site: write.operation.site.clone(),
                request: write.canonical.clone(),
            })
            .collect();
        let order = |one: &Key, other: &Key| one.call_key().cmp(&other.call_key());
        writes.sort_by(|one, other| order(&one.key, &other.key));
        let mut symbols = material.seen.symbols.clone();
        symbols.sort_by(|one, other| order(&one.key, &other.key).then_with(|| one.pointer.cmp(&other.pointer)));
        let mut reads: Vec<Reading> = material
            .seen
            .reads
            .iter()
            .map(|(key, subject, digest)| Reading {
                key: key.clone(),
                subject: subject.clone(),
                digest: digest.clone(),
            })
            .collect();
        reads.sort_by(|one, other| order(&one.key, &other.key));
        let plan = SavedPlan {
            format: FORMAT,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            made: self.made.clone(),
            playbook: self.playbook.clone(),
            target: self.target.clone(),
            scope: material.scope.clone(),
            customer: self.customer.clone(),
            inputs: material.inputs.clone(),
            verify: material.verify,
            contract: crate::contract::digest(),
            files: material.files.clone(),
            writes,
            symbols,
            reads,
            guards: self.guards.clone(),
            // A plan is data of our own and always has a form.
            shown: serde_json::to_value(self).unwrap_or_default(),
            digest: String::new(),
        };
        Some(plan.sealed())
    }
}

/// What the script told, with the requests that each takes; and the requests that nobody told of.
pub(super) fn changes(told: Vec<Step>, planned: Vec<Planned>) -> Vec<PlannedChange> {
    let mut by_call: BTreeMap<CallKey, Vec<Planned>> = BTreeMap::new();
    for write in planned {
        by_call.entry(write.key.call_key()).or_default().push(write);
    }
    let mut changes: Vec<(Option<CallKey>, PlannedChange)> = Vec::new();
    for step in told.into_iter().filter(|step| step.change.is_write()) {
        let writes = step.call.as_ref().and_then(|call| by_call.remove(call)).unwrap_or_default();
        let fields = fields(&step, &writes);
        let change = PlannedChange {
            change: step.change,
            subject: step.subject,
            fields,
            site: step.site,
            requests: writes.iter().map(PlannedRequest::of).collect(),
        };
        changes.push((step.call, change));
    }
    for (call, writes) in by_call {
        let Some(first) = writes.first() else { continue };
        let change = match first.operation.effect {
            Effect::Create => Change::Created,
            Effect::Delete => Change::Deleted,
            Effect::Act => Change::Acted,
            Effect::Update | Effect::Read | Effect::Probe => Change::Updated,
        };
        let change = PlannedChange {
            change,
            subject: first.operation.subject.clone(),
            fields: files(&writes).chain(seen(&writes)).collect(),
            site: first.operation.site.clone(),
            requests: writes.iter().map(PlannedRequest::of).collect(),
        };
        changes.push((Some(call), change));
    }
    changes.sort_by(|one, other| one.0.cmp(&other.0));
    changes.into_iter().map(|(_, change)| change).collect()
}

impl PlannedRequest {
    fn of(planned: &Planned) -> Self {
        let request = planned.operation.request();
        Self {
            key: planned.key.to_string(),
            operation: planned.operation.id.clone(),
            effect: planned.operation.effect,
            host: request.map(|request| request.host.name()).unwrap_or_default(),
            method: request.map(|request| request.method.to_string()).unwrap_or_default(),
            path: request.map(|request| request.path.clone()).unwrap_or_default(),
            assumed: planned.assumed,
            irreversible: planned.irreversible.clone(),
        }
    }
}

/// What a step changes, field by field and, of an archive, file by file.
fn fields(step: &Step, writes: &[Planned]) -> Vec<FieldChange> {
    let mut fields: Vec<FieldChange> = files(writes).collect();
    // The digest of an archive says no more than its files.
    let is_told = |field: &&FieldChange| fields.is_empty() || field.field != "md5";
    let told: Vec<FieldChange> = step.fields.iter().filter(is_told).map(shown).collect();
    fields.extend(if step.fields.is_empty() { seen(writes) } else { told });
    fields
}

fn files(writes: &[Planned]) -> impl Iterator<Item = FieldChange> {
    writes.iter().flat_map(|write| &write.files).map(|file| FieldChange {
        field: file.path.clone(),
        before: file.before.clone(),
        after: file.after.clone(),
    })
}

/// The fields of a document that change in what a tenant has, where the script did not tell.
fn seen(writes: &[Planned]) -> Vec<FieldChange> {
    /// What every change changes.
    const NOISE: [&str; 8] = [
        "updatedAt",
        "lastUpdated",
        "lastUpdatedAt",
        "modifiedDate",
        "updatedBy",
        "statusLastUpdatedAt",
        "links",
        "etag",
    ];
    let mut fields = Vec::new();
    for difference in writes.iter().flat_map(|write| &write.changed) {
        let Difference { scope: Scope::Tenant(_), before: Some(before), after: Some(after), .. } = difference else {
            continue;
        };
        let names = before.as_object().into_iter().flatten().chain(after.as_object().into_iter().flatten());
        for (name, _) in names {
            let known = fields.iter().any(|field: &FieldChange| field.field == *name);
            if before[name] != after[name] && !known && !NOISE.contains(&name.as_str()) && !name.starts_with('$') {
                let field =
                    FieldChange { field: name.clone(), before: before[name].clone(), after: after[name].clone() };
                fields.push(shown(&field));
            }
        }
    }
    fields
}

/// A change as it may be shown: with `***` for secrets.
fn shown(field: &FieldChange) -> FieldChange {
    let value = |value: &Value| without_stand_ins(secret::masked(value));
    FieldChange { field: field.field.clone(), before: value(&field.before), after: value(&field.after) }
}

/// A model has words in place of secrets.
fn without_stand_ins(value: Value) -> Value {
    match value {
        Value::String(text) if text.starts_with(STAND_IN) => Value::from("***"),
        Value::Array(items) => items.into_iter().map(without_stand_ins).collect(),
        Value::Object(map) => map.into_iter().map(|(key, item)| (key, without_stand_ins(item))).collect(),
        plain => plain,
    }
}

/// The least time in which the rate limits allow these writes: a tier gives its figure a minute, measured over five, and an
/// operation with a limit of its own gives that a minute.
pub(super) fn least_seconds(planned: &[Planned]) -> u64 {
    let mut counts: BTreeMap<(String, &'static str), (u64, u64, u64)> = BTreeMap::new();
    for write in planned {
        let (Some(published), Some(request)) = (contract().operation(&write.operation.id), write.operation.request())
        else {
            continue;
        };
        let host = request.host.name();
        let minute = u64::from(published.per_minute);
        let (lane, budget, window) = match published.tier {
            Tier::Tier1 => ("tier1", minute * 5, 300),
            Tier::Tier2 => ("tier2", minute * 5, 300),
            Tier::Special => (published.id, minute, 60),
        };
        counts.entry((host, lane)).or_insert((0, budget, window)).0 += 1;
    }
    // A window's budget goes out at once; each further one waits for the window before it to pass.
    let windows = |(count, budget, window): &(u64, u64, u64)| count.saturating_sub(1) / (*budget).max(1) * window;
    counts.values().map(windows).max().unwrap_or(0)
}
