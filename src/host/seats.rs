//! The seats that plans need, held against the pool that all tenants of an organization share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::Inner;
use super::connection::Connection;
use super::planned::Plan;
use crate::interpreter::{Enrolment, FirstToken, License, Overlay, Planned};
use crate::operation::{Failure, FailureKind, Host};
use crate::playbook::Diagnostic;
use crate::sandbox::SeatChange;

/// What a plan needs of one kind of seat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seats {
    /// `professional` or `analyzer`.
    #[serde(rename = "type")]
    pub kind: String,
    /// How many it takes, less those it gives back.
    pub needed: i64,
    /// How many are free before it, and after the plans before it; none when that is not known.
    pub left: Option<i64>,
    /// Whether the licence has no bound for this kind.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unbounded: bool,
}

/// What a plan does to the pool, and what it has read of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Need {
    changes: Vec<SeatChange>,
    /// The clients whose bots come to a region for the first time.
    bots: BTreeSet<String>,
    pool: Option<BTreeMap<String, Free>>,
}

/// How many seats of a kind nobody holds.
#[derive(Clone, Copy, Debug)]
enum Free {
    Seats(i64),
    Unbounded,
}

const PROFESSIONAL: &str = "professional";

/// Where the organization's licence can be read while the customer's tenant does not exist: never where that would be the
/// client's first token.
pub(super) async fn licensed(host: &Inner, connection: &Connection, gate: &FirstToken) -> Option<String> {
    let Enrolment::Organization { identity, license, .. } = connection.enrolment() else { return None };
    let named = match license {
        License::From(hostname) => Some(hostname.clone()),
        License::Key(_) | License::None => None,
    };
    for hostname in named.into_iter().chain(connection.source()) {
        if gate.is_open(&hostname).await {
            return Some(hostname);
        }
    }
    let identity = identity.clone();
    let tenants = host.registry.ask(move |registry| registry.tenants(&identity)).await.ok()?;
    tenants.into_iter().find(|tenant| tenant.status == "active").map(|tenant| tenant.hostname)
}

/// The clients that have a bot, and with it perhaps a seat, in some tenant of the organization.
pub(super) async fn seated(host: &Inner, connection: &Connection) -> BTreeSet<String> {
    if let Some(own) = connection.own() {
        let (client, [_, (_, seats)]) = (own.credentials().client_id, own.pool());
        let subject = format!("qlikbot\\{client}");
        let held = seats["data"].as_array().is_some_and(|seats| seats.iter().any(|seat| seat["subject"] == subject));
        return held.then_some(client).into_iter().collect();
    }
    let Enrolment::Organization { identity, .. } = connection.enrolment() else { return BTreeSet::new() };
    let identity = identity.clone();
    let tenants = host.registry.ask(move |registry| registry.tenants(&identity)).await.unwrap_or_default();
    tenants.into_iter().filter_map(|tenant| connection.client(&Host::Register(tenant.region))).collect()
}

impl Need {
    /// What the planned writes need. Reads the pool when they need anything, unless the script has.
    pub(super) async fn of(
        overlay: &Overlay,
        planned: &[Planned],
        connection: &Connection,
        seated: &BTreeSet<String>,
        first_tokens: &[String],
    ) -> Self {
        let changes = overlay.seats().await;
        // Where the client got its first token for this plan, its bot has taken its seat already.
        let there = first_tokens.iter().filter_map(|name| connection.client(&Host::Tenant(name.clone())));
        let there: BTreeSet<String> = there.collect();
        let created = planned.iter().filter(|write| write.operation.id == "createTenant");
        let clients = created.filter_map(|write| connection.client(&write.operation.request()?.host));
        let has_none = |client: &String| {
            !seated.contains(client) && !there.contains(client) && !overlay.has_seat(&format!("qlikbot\\{client}"))
        };
        let bots: BTreeSet<String> = clients.filter(has_none).collect();
        let pool = if changes.is_empty() && bots.is_empty() { None } else { overlay.pool().await };
        Self { changes, bots, pool: pool.and_then(|overview| free(&overview)) }
    }
}

/// What an overview says of each kind: `units` and `overage` less `unitsUsed`; -1 is without bound (licenses REST API).
fn free(overview: &Value) -> Option<BTreeMap<String, Free>> {
    let allotments = overview["allotments"].as_array()?;
    let kinds = allotments.iter().filter_map(|pool| {
        let number = |field: &str| pool[field].as_i64().unwrap_or_default();
        let (units, overage) = (number("units"), number("overage"));
        let free = if units < 0 || overage < 0 {
            Free::Unbounded
        } else {
            Free::Seats(units.saturating_add(overage).saturating_sub(number("unitsUsed")))
        };
        Some((pool["name"].as_str()?.to_owned(), free))
    });
    Some(kinds.collect())
}

/// What the plans of a command have taken of one pool so far.
#[derive(Default)]
struct Ledger {
    /// The subjects that have a seat by then, and the bots' clients.
    holders: BTreeSet<(String, String)>,
    taken: BTreeMap<String, i64>,
    /// Who takes how many of a kind.
    before: BTreeMap<String, Vec<String>>,
}

/// Holds plans that are made together against the pool they share, in their order: what those before need is not left for
/// those after. A plan that needs more than is left fails.
pub fn share_seats(plans: &mut [Plan]) {
    let mut ledgers: BTreeMap<String, Ledger> = BTreeMap::new();
    for plan in plans {
        let Some(need) = plan.need().filter(|_| plan.error.is_none()).cloned() else { continue };
        ledgers.entry(plan.target.clone()).or_default().enter(plan, &need);
    }
}

impl Ledger {
    fn enter(&mut self, plan: &mut Plan, need: &Need) {
        let kinds: BTreeSet<&str> = need.changes.iter().map(|change| change.kind.as_str()).collect();
        let kinds = kinds.into_iter().chain((!need.bots.is_empty()).then_some(PROFESSIONAL));
        let mut seats = Vec::new();
        let mut held = Vec::new();
        for kind in kinds.collect::<BTreeSet<&str>>() {
            let counted = Count::of(need, kind, &self.holders);
            let taken = self.taken.get(kind).copied().unwrap_or_default();
            let (left, unbounded) = match need.pool.as_ref().map(|pool| pool.get(kind)) {
                None => (None, false),
                Some(Some(Free::Unbounded)) => (None, true),
                Some(Some(Free::Seats(free))) => (Some(free.saturating_sub(taken).max(0)), false),
                // A licence by capacity has no such seats, and nobody takes one.
                Some(None) => (Some(0), false),
            };
            // What is given to whoever comes is given as far as it goes: only what is asked for can be too much.
            let bots = left.map_or(counted.bots, |left| counted.bots.min(left));
            let later = left.map_or(counted.later, |left| counted.later.min((left - bots - counted.asked).max(0)));
            if let Some(left) = left.filter(|left| counted.asked > 0 && counted.asked > left - bots) {
                plan.fail(Diagnostic::of_failure(&self.too_many(kind, counted.asked, left - bots)));
            }
            let needed = bots + counted.asked + later;
            if needed != 0 {
                seats.push(Seats { kind: kind.to_owned(), needed, left, unbounded });
            }
            held.push((kind.to_owned(), needed));
        }
        plan.seats = seats;
        if plan.error.is_some() {
            return;
        }
        for (kind, needed) in held.into_iter().filter(|(_, needed)| *needed != 0) {
            *self.taken.entry(kind.clone()).or_default() += needed;
            self.before.entry(kind).or_default().push(format!("`{}` {needed}", plan.customer));
        }
        for change in &need.changes {
            let holder = (change.kind.clone(), change.subject.clone());
            if change.taken {
                self.holders.insert(holder);
            } else {
                self.holders.remove(&holder);
            }
        }
        self.holders.extend(need.bots.iter().map(|client| bot(client)));
    }

    fn too_many(&self, kind: &str, asked: i64, left: i64) -> Failure {
        let title = format!("{asked} {kind} seats are needed and {left} are left");
        let failure = Failure::new(FailureKind::Denied, "tenantry/no-seats", title)
            .hint("free seats of users who are gone, ask Qlik for more, or leave customers out");
        match self.before.get(kind) {
            None => failure,
            Some(before) => failure.detail(format!("planned before it: {}", before.join(", "))),
        }
    }
}

/// How many seats of a kind a plan takes.
struct Count {
    /// By bots of clients that come to a region for the first time: before anything else.
    bots: i64,
    /// By requests.
    asked: i64,
    /// By users, when they come.
    later: i64,
}

impl Count {
    fn of(need: &Need, kind: &str, holders: &BTreeSet<(String, String)>) -> Self {
        let mut count = Self { bots: 0, asked: 0, later: 0 };
        for change in need.changes.iter().filter(|change| change.kind == kind) {
            let held = holders.contains(&(change.kind.clone(), change.subject.clone()));
            match (change.taken, change.asked) {
                // Whoever has a seat by then takes no second one.
                (true, _) if held => {}
                (true, true) => count.asked += 1,
                (true, false) => count.later += 1,
                (false, _) => count.asked -= 1,
            }
        }
        if kind == PROFESSIONAL {
            let new = need.bots.iter().filter(|client| !holders.contains(&bot(client)));
            count.bots = i64::try_from(new.count()).unwrap_or(i64::MAX);
        }
        count
    }
}

/// How a ledger knows a client's bots.
fn bot(client: &str) -> (String, String) {
    (PROFESSIONAL.to_owned(), format!("qlikbot\\{client}"))
}

/// Whether the client of a region's tenants is one of these.
pub(super) fn in_regions(connection: &Arc<Connection>, seated: &BTreeSet<String>) -> crate::sandbox::Seated {
    let (connection, seated) = (Arc::clone(connection), seated.clone());
    Arc::new(move |region| {
        let client = connection.client(&Host::Register(region.to_owned()));
        client.is_some_and(|client| seated.contains(&client))
    })
}
