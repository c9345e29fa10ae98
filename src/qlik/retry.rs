//! When a request is sent again. The table stands in the module's documentation.

use std::time::Duration;

use tokio::time::Instant;

use crate::operation::{Failure, FailureKind};
use crate::surroundings::Random;

/// How long and how often a request is tried.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// How often a request is sent at most, refusals by rate not counted.
    pub attempts: u32,
    /// The first pause; each further one is twice as long.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// No attempt begins later than this after the first one.
    pub budget: Duration,
    /// How long a request lets itself be put off by rate limits in all.
    pub throttle_budget: Duration,
    /// For how long after its creation a tenant that does not hand out tokens yet is believed to be on its way.
    pub settling: Duration,
    /// How many redirects are followed.
    pub redirects: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(10),
            budget: Duration::from_secs(120),
            throttle_budget: Duration::from_secs(900),
            settling: Duration::from_secs(60),
            redirects: 5,
        }
    }
}

/// An attempt that failed, and what would have to be true to send the request again.
#[derive(Debug)]
pub(super) struct Setback {
    pub(super) failure: Failure,
    pub(super) remedy: Remedy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// It would fail again.
    None,
    /// The server did not act: send it again.
    Again,
    /// The server may have acted: send it again only where a repeat is harmless, after the pause it asked for.
    WhereHarmless(Option<Duration>),
    /// The server put it off for so long. It did not act.
    Later(Duration),
    /// The token was not taken. The server did not act.
    NewToken,
}

impl Setback {
    pub(super) fn last(failure: Failure) -> Self {
        Self { failure, remedy: Remedy::None }
    }
}

/// The attempts at one request.
pub(super) struct Attempts<'a> {
    policy: &'a RetryPolicy,
    random: &'a Random,
    harmless: bool,
    is_write: bool,
    begun: Instant,
    made: u32,
    /// Time spent in the limiter's queues, which counts on no budget.
    queued: Duration,
    put_off: Duration,
    new_token: bool,
    doubtful: bool,
    carried_out: bool,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(policy: &'a RetryPolicy, random: &'a Random, harmless: bool, is_write: bool) -> Self {
        Self {
            policy,
            random,
            harmless,
            is_write,
            begun: Instant::now(),
            made: 0,
            queued: Duration::ZERO,
            put_off: Duration::ZERO,
            new_token: false,
            doubtful: false,
            carried_out: false,
        }
    }

    /// Notes that the server acted and sent us elsewhere for its answer (303): whatever comes of that, a write is over.
    pub(super) fn carried_out(&mut self) {
        self.carried_out |= self.is_write;
    }

    /// Which attempt is next, counted from 1.
    pub(super) fn number(&self) -> u32 {
        self.made + 1
    }

    /// Notes time spent waiting for a place.
    pub(super) fn queued(&mut self, span: Duration) {
        self.queued += span;
    }

    /// After a setback: how long to wait before the next attempt, or the failure that ends it.
    pub(super) fn after(&mut self, setback: Setback) -> Result<Duration, Failure> {
        if self.carried_out {
            self.doubtful = true;
            return Err(self.conclude(setback.failure));
        }
        let pause = match setback.remedy {
            Remedy::None => None,
            Remedy::Later(span) => {
                self.put_off += span;
                // The lane itself is paused: nothing to wait for here.
                if self.put_off <= self.policy.throttle_budget {
                    Some(Duration::ZERO)
                } else {
                    let hint = format!(
                        "The service asks to wait {} s, longer than this request may be put off.",
                        span.as_secs()
                    );
                    return Err(self.conclude(setback.failure.hint(hint)));
                }
            }
            Remedy::NewToken => (!std::mem::replace(&mut self.new_token, true)).then_some(Duration::ZERO),
            Remedy::Again => self.backoff(None),
            Remedy::WhereHarmless(asked) => {
                self.doubtful |= self.is_write && setback.failure.kind == FailureKind::Unknown;
                if self.harmless { self.backoff(asked) } else { None }
            }
        };
        pause.ok_or_else(|| self.conclude(setback.failure))
    }

    fn backoff(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.made += 1;
        let doubled = self.policy.first_pause.saturating_mul(1 << (self.made - 1).min(16));
        let pause = doubled.min(self.policy.longest_pause).mul_f64(0.5 + self.random.fraction() / 2.0);
        let pause = asked.map_or(pause, |asked| asked.max(pause));
        let spent = self.begun.elapsed().saturating_sub(self.queued);
        (self.made < self.policy.attempts && spent + pause <= self.policy.budget).then_some(pause)
    }

    /// A refusal of a repeat, or of what a redirect led to, says nothing about what was sent before.
    fn conclude(&self, mut failure: Failure) -> Failure {
        if self.doubtful && failure.kind != FailureKind::Unknown {
            failure.kind = FailureKind::Unknown;
            failure
                .hint
                .get_or_insert_with(|| "What was sent before this answer may have been carried out.".to_owned());
        }
        failure
    }
}
