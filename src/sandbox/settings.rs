//! What a simulated organization is given, and what it is known by.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::estate::Estate;
use super::faults::Faults;
use super::lags::{Lags, Limits};
use super::quotas::Edition;
use super::state::{SELF, Scope, State};
use crate::surroundings::{Clock, Random, SystemClock};

/// The seats an organization has when nothing else is said: enough for the reference customers and a fleet of tests.
const SEATS: [(&str, i64); 2] = [("professional", 100), ("analyzer", 10_000)];

/// How many tenants one licence gives in a region, unless told otherwise (OEM playbook, single or multi tenant).
const TENANTS: usize = 8_500;

/// How long the licence lasts: long enough for any story.
const TERM_DAYS: i64 = 3_650;

/// What a sandbox is made from. What is left open is taken from the state that is opened, else from chance.
#[derive(Clone)]
pub struct Settings {
    /// The time of every token, timestamp and expiry.
    pub clock: Arc<dyn Clock>,
    /// Where ids, host names and secrets come from.
    pub random: Random,
    /// The regional client's id; the console host takes it too.
    pub client_id: Option<String>,
    /// The regional client's secret.
    pub client_secret: Option<String>,
    /// The licence key that creates tenants.
    pub license_key: Option<String>,
    /// Units per kind of seat (`professional`, `analyzer`, `analyzer_time`), shared by all tenants.
    pub seats: Option<BTreeMap<String, i64>>,
    /// How many tenants the licence allows.
    pub tenant_quota: Option<usize>,
    /// The subscription's edition.
    pub edition: Option<Edition>,
    /// The organizations there are to be; one when there is none.
    pub estate: Option<Estate>,
    /// What goes wrong with requests; nothing when there is none.
    pub faults: Option<Arc<dyn Faults>>,
    /// How far parts of the cloud lag behind; none unless said otherwise.
    pub lags: Lags,
    /// Which of the published rate limits are kept; none unless said otherwise.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock::default()),
            random: Random::from_system(),
            client_id: None,
            client_secret: None,
            license_key: None,
            seats: None,
            tenant_quota: None,
            edition: None,
            estate: None,
            faults: None,
            lags: Lags::default(),
            limits: Limits::default(),
        }
    }
}

impl std::fmt::Debug for Settings {
    /// Without the secrets.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Settings")
            .field("client_id", &self.client_id)
            .field("seats", &self.seats)
            .field("tenant_quota", &self.tenant_quota)
            .finish_non_exhaustive()
    }
}

/// What a partner needs to work with the simulated organization.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The regional client's id, good in every region and on the console host.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// The licence key that `createTenant` wants.
    pub license_key: String,
}

impl std::fmt::Debug for Credentials {
    /// Without the secrets.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Credentials").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

/// The organizations' own documents, made or brought up to the settings. The first organization of an estate is the one
/// that a state has had before there were others; an organization that the estate does not name stays as it is.
pub(super) fn found(state: &State, settings: &Settings) -> Vec<(Scope, Value)> {
    let mut founded = vec![(Scope::Organization, first(state, settings))];
    for (place, organization) in settings.estate.iter().flat_map(|estate| estate.organizations().iter().enumerate()) {
        let scope = Scope::Another(organization.name.as_str().into());
        if place > 0 {
            let held = state.get(&scope, "organization", SELF);
            founded.push((scope, held.map_or_else(|| fresh(settings), |held| (*held).clone())));
        }
        if let Some((_, document)) = founded.last_mut() {
            organization.apply(document, &settings.random);
        }
    }
    founded
}

fn first(state: &State, settings: &Settings) -> Value {
    let held = state.get(&Scope::Organization, "organization", SELF);
    let mut document = match held {
        Some(held) if held.get("clientSecret").is_some() => (*held).clone(),
        // Of a recorded one only a part is known.
        held => {
            let (mut fresh, known) = (fresh(settings), held.unwrap_or_default());
            if let (Some(fresh), Some(known)) = (fresh.as_object_mut(), known.as_object()) {
                fresh.extend(known.clone());
            }
            fresh
        }
    };
    let given = [
        ("clientId", &settings.client_id),
        ("clientSecret", &settings.client_secret),
        ("licenseKey", &settings.license_key),
    ];
    for (field, value) in given {
        if let Some(value) = value {
            document[field] = json!(value);
        }
    }
    if let Some(seats) = &settings.seats {
        document["seats"] = json!(seats);
    }
    if let Some(quota) = settings.tenant_quota {
        document["tenantQuota"] = json!(quota);
    }
    if let Some(edition) = settings.edition {
        document["edition"] = json!(edition.name());
    }
    document
}

fn fresh(settings: &Settings) -> Value {
    let random = &settings.random;
    let now = settings.clock.now();
    let seats: BTreeMap<&str, i64> = SEATS.into_iter().collect();
    json!({
        "clientId": super::ids::hex(random, 32),
        "clientSecret": super::ids::hex(random, 64),
        // Qlik's keys are signed tokens and begin so; only the beginning is imitated.
        "licenseKey": format!("eyJ{}", super::ids::letters(random, 93)),
        "licenseNumber": super::ids::digits(random, 16),
        "subscriptionId": super::ids::hex(random, 24),
        "tokenKey": super::ids::hex(random, 64),
        "seats": seats,
        "tenantQuota": TENANTS,
        "edition": Edition::default().name(),
        "created": super::ids::timestamp(now),
        "startsAt": super::ids::timestamp(now),
        "endsAt": super::ids::timestamp(now + jiff::SignedDuration::from_hours(24 * TERM_DAYS)),
    })
}

/// A text field of the organization's document.
pub(super) fn text(organization: &Value, field: &str) -> String {
    organization.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}
