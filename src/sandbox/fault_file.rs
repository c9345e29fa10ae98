//! Faults as a person writes them down: a small TOML file.

use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

use super::faults::{Arrival, Fault, FaultError, Faults};
use super::hosts::is_host;
use super::lags::{Lags, Limits};
use super::schedule::{Chance, Rates};
use crate::contract::contract;

/// What goes wrong, by a list and by chance. Made of the text of a TOML file:
///
/// ```toml
/// [[strike]]
/// operation = "importApp"     # the first two imports do not come through; without it, any request
/// times = 2
/// fault = "failed:503"
///
/// [[strike]]
/// operation = "createSpace"
/// from = 3                    # the third such request
/// fault = "lost-done"         # it was done, and the answer is lost
///
/// [chance]                    # besides, one request in fifty is one too many
/// seed = 7
/// rates = { limited = 0.02 }
///
/// [lags]                      # a new app is in the index of items five seconds later
/// index = 5
///
/// [limits]                    # the published rate limits are kept
/// tiers = true
/// ```
#[derive(Debug)]
pub struct FaultFile {
    strikes: Vec<Strike>,
    /// How many requests each strike has seen that it is about.
    seen: Mutex<Vec<u64>>,
    chance: Option<Chance>,
    lags: Lags,
    limits: Limits,
}

/// A file of faults cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FaultFileError {
    /// It is no TOML, or none of this form.
    #[error("{0}")]
    Form(#[from] toml::de::Error),
    /// A fault that there is not.
    #[error(transparent)]
    Fault(#[from] FaultError),
    /// An operation that there is not.
    #[error("`{operation}` is no operation of Qlik's REST API{}", nearest(operation))]
    Operation {
        /// What the file says.
        operation: String,
    },
    /// A host that there cannot be.
    #[error("`{host}` is no host of Qlik Cloud; write it whole, such as `halyard-hb.eu.qlikcloud.com`")]
    Host {
        /// What the file says.
        host: String,
    },
    /// Requests and times are counted from 1.
    #[error("`from` and `times` are counted from 1")]
    Count,
    /// Chances that cannot be.
    #[error("a chance goes from 0 to 1, and so does their sum")]
    Chance,
}

fn nearest(operation: &str) -> String {
    match contract().nearest(operation).first() {
        Some(nearest) => format!("; did you mean `{nearest}`?"),
        None => String::new(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    strike: Vec<WrittenStrike>,
    chance: Option<WrittenChance>,
    #[serde(default)]
    lags: Lags,
    #[serde(default)]
    limits: Limits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStrike {
    operation: Option<String>,
    host: Option<String>,
    #[serde(default = "one")]
    from: u64,
    #[serde(default = "one")]
    times: u64,
    fault: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenChance {
    seed: u64,
    rates: Rates,
}

fn one() -> u64 {
    1
}

#[derive(Debug)]
struct Strike {
    operation: Option<String>,
    host: Option<String>,
    /// Which of its requests are struck, counted from 1.
    requests: std::ops::Range<u64>,
    fault: Fault,
}

impl FaultFile {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// When it is no TOML of this form, or names a fault or an operation that there is not.
    pub fn parse(text: &str) -> Result<Self, FaultFileError> {
        let written: Written = toml::from_str(text)?;
        let strikes = written.strike.into_iter().map(Strike::read).collect::<Result<Vec<_>, _>>()?;
        let seen = Mutex::new(vec![0; strikes.len()]);
        let chance = written.chance.map(WrittenChance::read).transpose()?;
        Ok(Self { strikes, seen, chance, lags: written.lags, limits: written.limits })
    }

    /// How far parts of the cloud lag behind: for [`Settings::lags`](super::Settings).
    #[must_use]
    pub fn lags(&self) -> Lags {
        self.lags
    }

    /// Which rate limits are kept: for [`Settings::limits`](super::Settings).
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }
}

impl Strike {
    fn read(written: WrittenStrike) -> Result<Self, FaultFileError> {
        if let Some(operation) = written.operation.as_ref().filter(|id| contract().operation(id).is_none()) {
            return Err(FaultFileError::Operation { operation: operation.clone() });
        }
        if written.from == 0 || written.times == 0 {
            return Err(FaultFileError::Count);
        }
        let requests = written.from..written.from.saturating_add(written.times);
        let host = written.host.map(|host| host.to_ascii_lowercase());
        if let Some(host) = host.as_ref().filter(|host| !is_host(host)) {
            return Err(FaultFileError::Host { host: host.clone() });
        }
        Ok(Self { operation: written.operation, host, requests, fault: written.fault.parse()? })
    }
}

impl WrittenChance {
    fn read(self) -> Result<Chance, FaultFileError> {
        if self.rates.are_possible() { Ok(Chance::new(self.seed, self.rates)) } else { Err(FaultFileError::Chance) }
    }
}

impl Faults for FaultFile {
    fn strike(&self, arrival: &Arrival<'_>) -> Option<Fault> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut struck = None;
        for (strike, seen) in self.strikes.iter().zip(seen.iter_mut()) {
            let host = strike.host.as_ref().is_none_or(|host| host == arrival.host);
            if host && strike.operation.as_ref().is_none_or(|operation| operation == arrival.operation) {
                *seen += 1;
                if strike.requests.contains(seen) {
                    struck = struck.or_else(|| Some(strike.fault.clone()));
                }
            }
        }
        struck.or_else(|| self.chance.as_ref()?.strike(arrival))
    }
}
