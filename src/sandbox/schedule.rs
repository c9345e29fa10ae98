//! Faults by a list, and faults by chance.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

use super::faults::{Arrival, Fault, Faults, Served};
use crate::contract::contract;
use crate::surroundings::Random;

/// Strikes the n-th requests, each with its fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed(BTreeMap<u64, Fault>);

impl Listed {
    /// A fault for the request of each number, counted from 1.
    pub fn new(faults: impl IntoIterator<Item = (u64, Fault)>) -> Self {
        Self(faults.into_iter().collect())
    }
}

impl Faults for Listed {
    fn strike(&self, arrival: &Arrival<'_>) -> Option<Fault> {
        self.0.get(&arrival.ordinal).cloned()
    }
}

/// How often each kind of fault strikes, from 0 to 1. What is left of 1 goes well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rates {
    /// Refused with a status that the operation documents.
    pub refused: f64,
    /// One too many.
    pub limited: f64,
    /// How often [`STORM`] requests in a row are each one too many.
    pub storms: f64,
    /// A server's error, nothing done.
    pub failed: f64,
    /// A server's error although it was done.
    pub failed_done: f64,
    /// The connection lost, nothing done.
    pub lost: f64,
    /// The answer lost.
    pub lost_done: f64,
    /// The token not taken.
    pub expired: f64,
    /// A read of what was there before.
    pub stale: f64,
    /// Late.
    pub late: f64,
    /// The answer breaks off.
    pub cut: f64,
    /// The answer comes slowly.
    pub slow: f64,
    /// One of several things refused.
    pub partly: f64,
    /// The tenant disabled.
    pub disabled: f64,
}

impl Rates {
    /// All of them so many times as high.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self {
            refused: self.refused * factor,
            limited: self.limited * factor,
            storms: self.storms * factor,
            failed: self.failed * factor,
            failed_done: self.failed_done * factor,
            lost: self.lost * factor,
            lost_done: self.lost_done * factor,
            expired: self.expired * factor,
            stale: self.stale * factor,
            late: self.late * factor,
            cut: self.cut * factor,
            slow: self.slow * factor,
            partly: self.partly * factor,
            disabled: self.disabled * factor,
        }
    }

    /// Whether each is a chance, and all of them together are.
    #[must_use]
    pub fn are_possible(&self) -> bool {
        let Self { refused, limited, storms, failed, failed_done, lost, lost_done, expired, .. } = *self;
        let Self { stale, late, cut, slow, partly, disabled, .. } = *self;
        let before = [refused, limited, storms, failed, failed_done, lost, lost_done, expired];
        let all = before.into_iter().chain([stale, late, cut, slow, partly, disabled]).collect::<Vec<f64>>();
        all.iter().all(|rate| (0.0..=1.0).contains(rate)) && all.iter().sum::<f64>() <= 1.0
    }
}

/// How many requests in a row a storm of 429s takes.
pub const STORM: u64 = 6;

/// Strikes by chance: the same requests are struck in the same way for the same seed.
#[derive(Clone, Debug)]
pub struct Chance {
    seed: u64,
    rates: Rates,
}

impl Chance {
    /// Chance of this seed.
    #[must_use]
    pub fn new(seed: u64, rates: Rates) -> Self {
        Self { seed, rates }
    }

    /// What the request with this number draws: nothing that was drawn before has a part in it.
    fn of(&self, salt: u64, number: u64) -> Random {
        let mixed = (self.seed ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ number;
        Random::from_seed(mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9))
    }
}

impl Faults for Chance {
    fn strike(&self, arrival: &Arrival<'_>) -> Option<Fault> {
        let rates = &self.rates;
        let wait = |random: &Random| Duration::from_secs(1 + u64::from(one_of(random, 12)));
        let storm = self.of(1, arrival.ordinal / STORM);
        if storm.fraction() < rates.storms {
            return Some(Fault::Limited { wait: wait(&storm) });
        }
        let random = self.of(2, arrival.ordinal);
        let mut drawn = random.fraction();
        let mut falls = |rate: f64| {
            let hit = (0.0..rate).contains(&drawn);
            drawn -= rate;
            hit
        };
        if falls(rates.refused) {
            return refusal(arrival.operation, &random);
        }
        Some(if falls(rates.limited) {
            Fault::Limited { wait: wait(&random) }
        } else if falls(rates.failed) {
            Fault::Failed { status: broken(&random), done: false }
        } else if falls(rates.failed_done) {
            Fault::Failed { status: broken(&random), done: true }
        } else if falls(rates.lost) {
            Fault::Lost { done: false }
        } else if falls(rates.lost_done) {
            Fault::Lost { done: true }
        } else if falls(rates.expired) {
            Fault::Expired
        } else if falls(rates.stale) {
            Fault::Stale { changes: 1 + usize::from(one_of(&random, 8)) }
        } else if falls(rates.late) {
            Fault::Late { by: Duration::from_millis(1 + 37 * u64::from(one_of(&random, 100))) }
        } else if falls(rates.cut) {
            Fault::Cut { bytes: usize::from(one_of(&random, 200)) }
        } else if falls(rates.slow) {
            Fault::Slow { over: Duration::from_millis(1 + 37 * u64::from(one_of(&random, 100))) }
        } else if falls(rates.partly) {
            let status = broken(&random);
            Fault::Partly { status, code: format!("HTTP-{}", status.as_u16()) }
        } else if falls(rates.disabled) {
            Fault::Disabled
        } else {
            return None;
        })
    }
}

/// A number from 0 up to but not including `count`.
fn one_of(random: &Random, count: u8) -> u8 {
    let mut byte = [0];
    random.fill(&mut byte);
    byte[0] % count.max(1)
}

fn broken(random: &Random) -> StatusCode {
    const ALL: [StatusCode; 4] = [
        StatusCode::INTERNAL_SERVER_ERROR,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ];
    ALL[usize::from(one_of(random, 4))]
}

/// A refusal that the operation documents and that says nothing false about what is there.
fn refusal(operation: &str, random: &Random) -> Option<Fault> {
    let published = contract().operation(operation)?;
    let told = |status: &&StatusCode| published.statuses.contains(&status.as_str());
    let statuses: Vec<StatusCode> =
        [StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN].into_iter().filter(|status| told(&status)).collect();
    let count = u8::try_from(statuses.len()).ok().filter(|count| *count > 0)?;
    let status = statuses[usize::from(one_of(random, count))];
    Some(Fault::Refused { status, code: format!("HTTP-{}", status.as_u16()) })
}

/// Faults, and what became of every request, kept in order. Clones share what was kept.
#[derive(Clone)]
pub struct Recorded {
    faults: Arc<dyn Faults>,
    served: Arc<Mutex<Vec<Served>>>,
}

impl Recorded {
    /// Keeps what becomes of the requests that `faults` strikes or spares.
    #[must_use]
    pub fn new(faults: Arc<dyn Faults>) -> Self {
        Self { faults, served: Arc::default() }
    }

    /// What became of the requests so far.
    #[must_use]
    pub fn served(&self) -> Vec<Served> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The list that strikes in the same way as happened so far.
    #[must_use]
    pub fn list(&self) -> Listed {
        Listed::new(self.served().into_iter().filter_map(|served| Some((served.ordinal, served.fault?))))
    }
}

impl std::fmt::Debug for Recorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorded").field("served", &self.served()).finish_non_exhaustive()
    }
}

impl Faults for Recorded {
    fn strike(&self, arrival: &Arrival<'_>) -> Option<Fault> {
        self.faults.strike(arrival)
    }

    fn note(&self, served: &Served) {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).push(served.clone());
        self.faults.note(served);
    }
}
