//! What a model's requests do to the organization's pool of seats, and what a sandbox knows of it.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::context::text;
use super::hosts;
use super::licenses::UNLISTED;
use super::model::{CLIENT, Model};
use super::service::Sandbox;
use super::state::{SELF, Scope, State};

/// A seat that somebody takes of the pool, or gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeatChange {
    /// `professional` or `analyzer`.
    pub kind: String,
    /// Who: seats are held by subject in the whole organization.
    pub subject: String,
    /// Whether it is taken.
    pub taken: bool,
    /// Whether it is asked for. Else a tenant that assigns seats by itself gives it at the first access, when there is
    /// one left.
    pub asked: bool,
}

const SEATS: &str = "seats";

impl Model {
    /// What was asked of the model comes to in seats. The bots of the model's own client are not counted.
    ///
    /// A user of a tenant with auto-assign on takes a seat "at first access", until the pool is empty (qlik.dev, platform
    /// operations: overview); that it is a professional one where both kinds are assigned is an assumption.
    #[must_use]
    pub fn seats(&self) -> Vec<SeatChange> {
        let (mut seats, mut users) = (Vec::new(), Vec::new());
        for difference in self.changes() {
            let shown = difference.after.as_ref().or(difference.before.as_ref());
            let Some(document) = shown else { continue };
            let subject = text(document, "subject").to_owned();
            match &difference.scope {
                Scope::Organization if *difference.collection == *SEATS && !is_own(&subject) => {
                    if difference.before.is_some() == difference.after.is_some() {
                        continue;
                    }
                    let (kind, taken) = (text(document, "type").to_owned(), difference.after.is_some());
                    seats.push(SeatChange { kind, subject, taken, asked: true });
                }
                Scope::Tenant(_) if *difference.collection == *"users" && difference.before.is_none() => {
                    users.push((difference.scope.clone(), subject));
                }
                _ => {}
            }
        }
        let held = self.now.collection(&Scope::Organization, SEATS);
        for (scope, subject) in users {
            let settings = self.now.get(&scope, "settings", "licenses").unwrap_or_default();
            let wished = [("autoAssignProfessional", "professional"), ("autoAssignAnalyzer", "analyzer")];
            let kind = wished.into_iter().find(|(flag, _)| settings[*flag] == true);
            if let Some((_, kind)) =
                kind.filter(|_| !is_own(&subject) && held.find_exact("subject", &subject).is_none())
            {
                seats.push(SeatChange { kind: kind.to_owned(), subject, taken: true, asked: false });
            }
        }
        seats
    }

    /// The hosts of tenants that get users, and of which nobody has shown whether they assign seats by themselves.
    #[must_use]
    pub fn unsettled_hosts(&self) -> Vec<String> {
        let with_users = |id: &str| {
            self.changes().iter().any(|difference| {
                *difference.collection == *"users"
                    && difference.before.is_none()
                    && difference.scope == Scope::tenant(id)
            })
        };
        let tenants = self.base.collection(&Scope::Organization, "tenants");
        let unknown = tenants
            .iter()
            .filter(|(id, _)| with_users(id) && self.now.get(&Scope::tenant(id), "settings", "licenses").is_none());
        unknown.filter_map(|(_, tenant)| tenant["hostnames"][0].as_str().map(str::to_owned)).collect()
    }

    /// Whether this subject has a seat, as far as anybody has shown.
    #[must_use]
    pub fn has_seat(&self, subject: &str) -> bool {
        self.base.collection(&Scope::Organization, SEATS).find_exact("subject", subject).is_some()
    }

    /// Tells the model of the organization's licence, whichever tenant has shown it.
    pub fn learn_license(&mut self, operation: &str, answer: &Value) {
        if let Ok(request) = Request::get("https://organization/").body(Bytes::new()) {
            self.learn(operation, &request, answer);
        }
    }

    /// How many seats there are nobody has said: then there are enough of each.
    pub(super) fn without_bounds(organization: &mut Value) {
        organization[SEATS] = json!({ "professional": -1, "analyzer": -1 });
    }
}

/// Whether it is the bot of a model's own client.
fn is_own(subject: &str) -> bool {
    subject.strip_prefix("qlikbot\\") == Some(CLIENT)
}

impl Sandbox {
    /// What `getLicenseOverview` and `getLicenseAssignments` answer of the pool, for whoever holds the sandbox itself.
    #[must_use]
    pub fn pool(&self) -> [(&'static str, Value); 2] {
        let state: State = self.snapshot();
        let organization = state.get(&Scope::Organization, "organization", SELF).unwrap_or_default();
        let seats = state.collection(&Scope::Organization, SEATS);
        let used = |kind: &str| seats.count("type", kind) as u64 + organization[UNLISTED][kind].as_u64().unwrap_or(0);
        let kinds = organization[SEATS].as_object();
        let allotments: Vec<Value> = kinds
            .into_iter()
            .flatten()
            .map(|(kind, units)| json!({ "name": kind, "units": units, "unitsUsed": used(kind), "overage": 0 }))
            .collect();
        let number = &organization["licenseNumber"];
        let listed: Vec<Value> = seats.documents().iter().map(|seat| Value::clone(seat)).collect();
        [
            ("getLicenseOverview", json!({ "licenseNumber": number, "allotments": allotments })),
            ("getLicenseAssignments", json!({ "data": listed })),
        ]
    }

    /// Whether the bot of the sandbox's own client is in the tenant that has this host name at `now`.
    #[must_use]
    pub fn has_bot(&self, hostname: &str, now: Timestamp) -> bool {
        let state = self.snapshot();
        let subject = format!("qlikbot\\{}", self.credentials().client_id);
        let tenant = hosts::tenant(&state, &hostname.to_ascii_lowercase(), now);
        let scope = tenant.map(|tenant| Scope::tenant(text(&tenant, "id")));
        scope.is_some_and(|scope| state.collection(&scope, "users").find_exact("subject", &subject).is_some())
    }
}

/// Which client's bots have a seat already, by region.
pub type Seated = Arc<dyn Fn(&str) -> bool + Send + Sync>;
