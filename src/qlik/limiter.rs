//! How fast each host may be asked: the published limits, kept on this side so that a 429 is the exception.
//!
//! Qlik Cloud counts per tier, user and tenant: 1,000 reads and 100 writes a minute, both measured over five minutes to allow
//! bursts; a few operations have a limit of their own, per minute (<https://qlik.dev/apis/rest/rate-limiting/>). The
//! shortest legal schedule is to send a whole window's budget at once and then wait for the window to pass, so that
//! is what a [`Limiter`] allows: a log of the last window, not a smooth rate. A leaky bucket such as governor's would
//! be up to five minutes slower for the first thousand writes, or overrun the limit.
//!
//! A request holds its place until one window after its *answer*: the service counted it at some moment before that,
//! so a request that takes over the place can never be one too many, however slow the road was.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Above this many lanes, those without memory are dropped.
const TIDY_ABOVE: usize = 1024;

/// Which budget a request draws on, and how large it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Quota {
    /// The tier, or the id of an operation with a limit of its own.
    pub(super) lane: &'static str,
    /// How many requests one window allows.
    pub(super) budget: usize,
    /// The window.
    pub(super) window: Duration,
}

impl Quota {
    /// A tier of so many requests a minute, measured over five.
    pub(super) fn tier(lane: &'static str, per_minute: u32) -> Self {
        Self { lane, budget: per_minute as usize * 5, window: Duration::from_secs(300) }
    }

    /// An operation of so many requests a minute.
    pub(super) fn special(operation: &'static str, per_minute: u32) -> Self {
        Self { lane: operation, budget: per_minute as usize, window: Duration::from_secs(60) }
    }

    /// The window and a little more, since the service's own slices of time are not known.
    fn hold(&self) -> Duration {
        self.window + self.window / 100
    }
}

/// Keeps the limits of every host.
#[derive(Debug)]
pub(super) struct Limiter {
    counting: bool,
    lanes: Mutex<HashMap<(String, &'static str), Arc<Lane>>>,
}

#[derive(Debug, Default)]
struct Lane {
    /// First come, first served: tokio's mutex is fair.
    queue: tokio::sync::Mutex<()>,
    state: Mutex<LaneState>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct LaneState {
    under_way: usize,
    /// When each place becomes free, in order.
    taken_until: VecDeque<Instant>,
    paused_until: Option<Instant>,
}

impl Lane {
    fn state(&self) -> MutexGuard<'_, LaneState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Limiter {
    /// A limiter. One that does not count only heeds 429s: for a service in the same process.
    pub(super) fn new(counting: bool) -> Self {
        Self { counting, lanes: Mutex::default() }
    }

    /// Waits for a place.
    pub(super) async fn enter(&self, base: &str, quota: &Quota) -> Place {
        let lane = self.lane(base, quota.lane);
        {
            let _first = lane.queue.lock().await;
            while let Some(free) = self.wait_for(&lane, quota) {
                match free {
                    Free::At(moment) => {
                        tokio::select! {
                            () = tokio::time::sleep_until(moment) => {}
                            () = lane.changed.notified() => {}
                        }
                    }
                    Free::WhenAnswered => lane.changed.notified().await,
                }
            }
        }
        Place { lane, hold: self.counting.then(|| quota.hold()) }
    }

    /// Lets nobody into the lane for so long.
    pub(super) fn pause(&self, base: &str, quota: &Quota, span: Duration) {
        let lane = self.lane(base, quota.lane);
        let until = Instant::now() + span;
        let mut state = lane.state();
        state.paused_until = Some(state.paused_until.map_or(until, |earlier| earlier.max(until)));
    }

    /// Takes a place, or says when to look again.
    fn wait_for(&self, lane: &Lane, quota: &Quota) -> Option<Free> {
        let mut state = lane.state();
        let now = Instant::now();
        if let Some(until) = state.paused_until {
            if until > now {
                return Some(Free::At(until));
            }
            state.paused_until = None;
        }
        if self.counting {
            while state.taken_until.front().is_some_and(|until| *until <= now) {
                state.taken_until.pop_front();
            }
            if state.under_way + state.taken_until.len() >= quota.budget.max(1) {
                return Some(state.taken_until.front().map_or(Free::WhenAnswered, |until| Free::At(*until)));
            }
        }
        state.under_way += 1;
        None
    }

    fn lane(&self, base: &str, lane: &'static str) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (base.to_owned(), lane);
        if let Some(lane) = lanes.get(&key) {
            return lane.clone();
        }
        if lanes.len() >= TIDY_ABOVE {
            let now = Instant::now();
            lanes.retain(|_, lane| {
                let state = lane.state();
                Arc::strong_count(lane) > 1
                    || state.under_way > 0
                    || state.taken_until.back().is_some_and(|until| *until > now)
                    || state.paused_until.is_some_and(|until| until > now)
            });
        }
        lanes.entry(key).or_default().clone()
    }
}

enum Free {
    At(Instant),
    WhenAnswered,
}

/// A place in a lane: dropped when the request it was for has been answered or given up.
#[derive(Debug)]
pub(super) struct Place {
    lane: Arc<Lane>,
    hold: Option<Duration>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.lane.state();
        state.under_way -= 1;
        if let Some(hold) = self.hold {
            state.taken_until.push_back(Instant::now() + hold);
        }
        drop(state);
        self.lane.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn send(limiter: &Limiter, base: &str, quota: &Quota, answer_after: Duration) -> Instant {
        let place = limiter.enter(base, quota).await;
        let sent = Instant::now();
        tokio::time::sleep(answer_after).await;
        drop(place);
        sent
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_is_sent_at_once_and_the_next_follows_within_five_per_cent_of_the_bound() {
        let limiter = Limiter::new(true);
        let quota = Quota::tier("tier2", 100);
        let latency = Duration::from_millis(100);
        let begin = Instant::now();
        let sent = futures_util::future::join_all((0..1_500).map(|_| send(&limiter, "a", &quota, latency))).await;
        // However late within its flight the service counted each request, no five minutes held more than 500.
        for window in sent.windows(501) {
            assert!(window[500] >= window[0] + latency + Duration::from_secs(300));
        }
        assert_eq!(sent[499] - begin, Duration::ZERO);
        let bound = Duration::from_secs(600);
        assert!(begin.elapsed() <= bound + bound / 20, "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn lanes_and_hosts_do_not_wait_for_each_other() {
        let limiter = Limiter::new(true);
        let special = Quota::special("reload", 1);
        let begin = Instant::now();
        send(&limiter, "a", &special, Duration::ZERO).await;
        send(&limiter, "b", &special, Duration::ZERO).await;
        send(&limiter, "a", &Quota::tier("tier1", 1000), Duration::ZERO).await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
        limiter.pause("a", &Quota::tier("tier2", 100), Duration::from_secs(7));
        send(&limiter, "a", &Quota::tier("tier1", 1000), Duration::ZERO).await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
        send(&limiter, "a", &Quota::tier("tier2", 100), Duration::ZERO).await;
        assert_eq!(begin.elapsed().as_secs(), 7);
        send(&limiter, "a", &special, Duration::ZERO).await;
        assert_eq!(begin.elapsed().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_given_up_frees_its_turn_but_not_its_place() {
        let limiter = Limiter::new(true);
        let quota = Quota::special("reload", 1);
        let begin = Instant::now();
        drop(limiter.enter("a", &quota).await);
        {
            let waiting = limiter.enter("a", &quota);
            assert!(tokio::time::timeout(Duration::from_secs(1), waiting).await.is_err());
        }
        send(&limiter, "a", &quota, Duration::ZERO).await;
        assert_eq!(begin.elapsed().as_secs(), 60);
    }
}
