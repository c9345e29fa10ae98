//! Tenants of an organization that no registry row owns.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;

use super::Interpreter;
use super::looked_up::CLOCK_SKEW;
use super::reading::{all_items, reading};
use crate::contract::contract;
use crate::operation::{Failure, Host, Key, RecordedOutcome};
use crate::store::{Entry, Intent, Journal, RunFilter, Tenant};

/// No tenant appears in the list later than this after its creation was begun.
const WINDOW: SignedDuration = SignedDuration::from_hours(1);

/// A tenant of an organization that no registry row owns: made by hand, by another program, or by a run that never
/// learnt of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stray {
    /// The tenant's id.
    pub id: String,
    /// Its random system host name.
    pub hostname: String,
    /// Its alias host name, when it has one.
    pub alias: Option<String>,
    /// Its name, when somebody gave it one.
    pub name: Option<String>,
    /// Its region: `eu`.
    pub region: String,
    /// Its status in Qlik's words: `active`, `disabled`.
    pub status: String,
    /// When it was created.
    #[serde(serialize_with = "as_text")]
    pub created: Option<Timestamp>,
    /// What past runs say about it.
    pub past: Vec<Trace>,
}

/// What a past run says about a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// The run.
    pub run: String,
    /// The customer it was for.
    pub customer: String,
    /// What it did.
    pub says: TraceKind,
}

/// What a past run did with a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceKind {
    /// It created it.
    Created,
    /// It began to create one in that region about then, and does not know what came of it.
    MayHaveCreated,
}

#[expect(clippy::ref_option, reason = "what serde calls")]
fn as_text<S: serde::Serializer>(moment: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match moment {
        Some(moment) => serializer.collect_str(moment),
        None => serializer.serialize_none(),
    }
}

impl Stray {
    /// An item of the organization's list; a deleted tenant is none.
    fn of(item: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let hostname = text(&item["hostnames"][0])?;
        let (label, domain) = hostname.split_once('.')?;
        // The list names the datacenter; what a register host is called by stands in the tenant's own name.
        let region = domain.split('.').next().unwrap_or_default().to_owned();
        let created = ["createdAt", "created"].iter().find_map(|field| item[*field].as_str()?.parse().ok());
        let status = text(&item["status"]).unwrap_or_else(|| "active".to_owned());
        Some(Self {
            id: text(&item["id"])?,
            alias: text(&item["hostnames"][1]),
            name: text(&item["name"]).filter(|name| name != label),
            region,
            created,
            past: Vec::new(),
            hostname,
            status,
        })
        .filter(|stray| stray.status != "deleted")
    }

    /// Whether nobody has touched it since it was created.
    fn is_blank(&self) -> bool {
        self.status == "active" && self.alias.is_none() && self.name.is_none()
    }

    /// Whether it may have come from a creation in `region` that was begun at `since`.
    pub(super) fn may_come_from(&self, region: &str, since: Timestamp) -> bool {
        let in_time = self.created.is_none_or(|created| created >= since - CLOCK_SKEW && created <= since + WINDOW);
        self.region == region && self.is_blank() && in_time
    }

    /// As a message names it.
    pub(super) fn shown(&self) -> String {
        match self.created {
            Some(created) => format!("{} ({}, created {created})", self.id, self.hostname),
            None => format!("{} ({})", self.id, self.hostname),
        }
    }
}

/// The tenants of the organization's list that are none of `owned`, the oldest first.
pub(crate) async fn strays<I: Interpreter + ?Sized>(
    interpreter: &I,
    key: &Key,
    owned: &[Tenant],
) -> Result<Vec<Stray>, Failure> {
    let list = contract().operation("listOrganizationTenants").expect("the contract holds the organization's list");
    let first = reading(list, Host::Console, list.path.to_owned(), Vec::new(), "tenants of the organization");
    let items = all_items(interpreter, key, list, first).await?;
    let mut found: Vec<Stray> = items.iter().filter_map(Stray::of).collect();
    found.retain(|stray| !owned.iter().any(|tenant| tenant.id == stray.id));
    found.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    Ok(found)
}

/// The region in which a creation was begun, as its run recorded it. Blocks.
pub(crate) fn region_of(journal: &Journal, intent: &Intent) -> Option<String> {
    journal.entries(&intent.run).ok()?.into_iter().find_map(|logged| match logged.entry {
        Entry::Intent { key, operation, .. } if key.to_string() == intent.key => match &operation.request()?.host {
            Host::Register(region) => Some(region.clone()),
            Host::Console | Host::Tenant(_) => None,
        },
        _ => None,
    })
}

/// Notes at each stray what past runs of the organization say about it. Blocks.
pub(crate) fn trace(strays: &mut [Stray], journal: &Journal, organization: &str, intents: &[Intent]) {
    let filter = RunFilter { scope: Some(organization.to_owned()), ..RunFilter::default() };
    for run in journal.runs(&filter).unwrap_or_default() {
        // A run whose record is damaged says nothing.
        let entries = journal.entries(&run.opening.id).unwrap_or_default();
        for stray in &mut *strays {
            let created = entries.iter().any(|logged| match &logged.entry {
                Entry::Outcome { key, outcome, .. } if key.id == "createTenant" => names(outcome, &stray.id),
                Entry::Settled { key, performed: Some(outcome), .. } if key.id == "createTenant" => {
                    names(outcome, &stray.id)
                }
                _ => false,
            });
            if created {
                let (run, customer) = (run.opening.id.clone(), run.opening.customer.clone());
                stray.past.push(Trace { run, customer, says: TraceKind::Created });
            }
        }
    }
    for intent in intents {
        let Some(region) = region_of(journal, intent) else { continue };
        for stray in strays.iter_mut().filter(|stray| stray.may_come_from(&region, intent.since)) {
            let (run, customer) = (intent.run.clone(), intent.customer.clone());
            stray.past.push(Trace { run, customer, says: TraceKind::MayHaveCreated });
        }
    }
}

fn names(outcome: &RecordedOutcome, id: &str) -> bool {
    matches!(outcome, RecordedOutcome::Answer { json: Some(json), .. } if json["id"].as_str() == Some(id))
}
