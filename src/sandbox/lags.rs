//! How far parts of the cloud lag behind others, and its published rate limits: switched on when wanted.
//!
//! Known is that these lags are there, not how they look (fact sheet, section 4.7): which status a request gets before it is
//! time, and for how long, is assumed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::context::text;
use super::hosts;
use super::refusal::Refusal;
use super::state::{Scope, State};
use crate::contract::{Published, Tier};

/// How far parts of the cloud lag behind, in seconds; 0 is not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Lags {
    /// A new app appears in the index of items so much later.
    pub index: u32,
    /// A new space can be published to so much later; before, 404.
    pub publish: u32,
    /// Who sees a published app by a group's role only, gets 403 for so long.
    pub readers: u32,
    /// The first call to a tenant's automations wakes them; for so long 503.
    pub automations: u32,
}

impl Lags {
    /// Whether so many seconds have not yet passed since `moment`, a time as documents have it.
    pub(super) fn holds(seconds: u32, moment: &str, now: Timestamp) -> bool {
        let since = moment.parse::<Timestamp>().ok().map(|moment| now.duration_since(moment));
        seconds > 0 && since.is_some_and(|since| since < SignedDuration::from_secs(i64::from(seconds)))
    }
}

/// The published limits: how many requests a user may make in a tenant (rate limiting). Off unless switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// By tier, for each user in each tenant: 1,000 and 100 a minute over five minutes, or the operation's own number.
    pub tiers: bool,
    /// For all users of a tenant together: half of what its users might make each by themselves. Taken at its word, a tenant
    /// that has only the bot allows half of what the bot may make.
    pub tenant: bool,
}

/// How long requests of a tier count, and those of an operation with a limit of its own.
const WINDOW: i64 = 300;
const OWN_WINDOW: i64 = 60;

/// Whose requests of which kind are counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    host: String,
    /// None for all users of the tenant.
    user: Option<String>,
    /// The tier, or the operation that has a limit of its own.
    kind: &'static str,
}

/// What was counted, and which tenants' automations are awake since when.
#[derive(Debug, Default)]
pub(super) struct Counters {
    asked: BTreeMap<Key, VecDeque<Timestamp>>,
    woken: BTreeMap<String, Timestamp>,
}

impl Counters {
    /// Counts a request; how long to wait when it is one too many. Those count for nothing.
    pub(super) fn count(
        &mut self,
        limits: Limits,
        state: &State,
        now: Timestamp,
        host: &str,
        operation: &Published,
        user: &str,
    ) -> Option<Duration> {
        let (kind, window) = match operation.tier {
            Tier::Tier1 => ("tier 1", WINDOW),
            Tier::Tier2 => ("tier 2", WINDOW),
            Tier::Special => (operation.id, OWN_WINDOW),
        };
        let per_user = i64::from(operation.per_minute) * window / 60;
        let mut books = Vec::new();
        if limits.tiers {
            books.push((Some(user.to_owned()), per_user));
        }
        if limits.tenant
            && let Some(tenant) = hosts::tenant(state, host, now)
        {
            let users = state.collection(&Scope::tenant(text(&tenant, "id")), "users").len();
            let users = i64::try_from(users).unwrap_or(i64::MAX).max(1);
            books.push((None, per_user.saturating_mul(users) / 2));
        }
        let mut wait = None;
        for (user, most) in &books {
            let key = Key { host: host.to_owned(), user: user.clone(), kind };
            let asked = self.asked.entry(key).or_default();
            while asked.front().is_some_and(|first| *first + SignedDuration::from_secs(window) <= now) {
                asked.pop_front();
            }
            if asked.len() >= usize::try_from(*most).unwrap_or(usize::MAX) {
                let free = asked.front().map_or(now, |first| *first + SignedDuration::from_secs(window));
                wait = wait.max(Some(free.duration_since(now)));
            }
        }
        if let Some(wait) = wait {
            // Whole seconds, and never too few of them.
            return Some(Duration::from_secs(wait.unsigned_abs().as_secs() + 1));
        }
        for (user, _) in books {
            let key = Key { host: host.to_owned(), user, kind };
            self.asked.entry(key).or_default().push_back(now);
        }
        None
    }

    /// Whether the tenant's automations still sleep; the first call wakes them.
    pub(super) fn sleeps(&mut self, lags: Lags, host: &str, operation: &Published, now: Timestamp) -> bool {
        let woken = match lags.automations {
            0 => return false,
            _ if !operation.tag.contains("automation") => return false,
            _ => *self.woken.entry(host.to_owned()).or_insert(now),
        };
        now.duration_since(woken) < SignedDuration::from_secs(i64::from(lags.automations))
    }
}

/// What a tenant says whose automations still sleep.
pub(super) fn asleep() -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "HTTP-503", "Service unavailable")
        .detail("the tenant's automations are starting")
}

/// Who a request counts for: the client or user that its token names, whether or not the token is good.
pub(super) fn user(request: &Request<Bytes>) -> String {
    let header = request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let claims = header.rsplit(' ').next().and_then(|token| token.split('.').nth(1));
    let claims = claims.and_then(|claims| URL_SAFE_NO_PAD.decode(claims).ok());
    let claims: Value = claims.and_then(|claims| serde_json::from_slice(&claims).ok()).unwrap_or_default();
    ["user", "client"]
        .iter()
        .map(|field| text(&claims, field))
        .find(|held| !held.is_empty())
        .unwrap_or_default()
        .to_owned()
}
