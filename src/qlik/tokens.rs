//! One access token for each host, fetched when first needed and anew when four fifths of its life are over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use tokio::time::Instant;

use crate::operation::{Failure, FailureKind};

/// After a refresh that failed although the old token still holds, so long passes before the next one.
const LATER: Duration = Duration::from_secs(30);

/// A token as the service gave it.
pub(super) struct Fetched {
    pub(super) text: SecretString,
    /// How long it lives, counted from the moment it was asked for.
    pub(super) life: Duration,
}

/// A token that may be used now.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) text: Arc<SecretString>,
    /// Tells this token from the ones before and after it.
    pub(super) serial: u64,
}

/// The tokens of every host.
#[derive(Default)]
pub(super) struct Tokens {
    slots: Mutex<HashMap<String, Arc<Slot>>>,
}

#[derive(Default)]
struct Slot {
    state: Mutex<State>,
    /// Held while a token is fetched: the others wait for what comes of it.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    kept: Option<Kept>,
    /// How many fetches have ended.
    fetches: u64,
    /// Why the last one failed, if it did.
    failure: Option<Failure>,
}

struct Kept {
    token: Token,
    refresh_at: Instant,
    ends_at: Instant,
}

impl Slot {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self) -> Option<Token> {
        let state = self.state();
        state.kept.as_ref().filter(|kept| kept.refresh_at > Instant::now()).map(|kept| kept.token.clone())
    }
}

impl Tokens {
    /// A token for the host at `base`; `fetch` is called when one is needed and no other caller is fetching it.
    pub(super) async fn get<F>(&self, base: &str, fetch: impl FnOnce() -> F) -> Result<Token, Failure>
    where
        F: Future<Output = Result<Fetched, Failure>>,
    {
        let slot = self.slot(base);
        if let Some(token) = slot.fresh() {
            return Ok(token);
        }
        let seen = slot.state().fetches;
        let _fetching = slot.fetching.lock().await;
        if let Some(token) = slot.fresh() {
            return Ok(token);
        }
        {
            let state = slot.state();
            if let Some(failure) = state.failure.as_ref().filter(|_| state.fetches > seen) {
                return Err(failure.clone());
            }
        }
        let asked = Instant::now();
        let fetched = fetch().await;
        let mut state = slot.state();
        state.fetches += 1;
        match fetched {
            Ok(Fetched { text, life }) => {
                let token = Token { text: Arc::new(text), serial: state.fetches };
                state.kept =
                    Some(Kept { token: token.clone(), refresh_at: asked + life.mul_f64(0.8), ends_at: asked + life });
                state.failure = None;
                Ok(token)
            }
            // A service that cannot be reached for a moment is no reason to stop while the old token holds.
            Err(failure) if failure.kind != FailureKind::Refused => {
                let now = Instant::now();
                if let Some(kept) = state.kept.as_mut().filter(|kept| kept.ends_at > now + LATER) {
                    kept.refresh_at = now + LATER;
                    return Ok(kept.token.clone());
                }
                state.failure = Some(failure.clone());
                Err(failure)
            }
            Err(failure) => {
                state.kept = None;
                state.failure = Some(failure.clone());
                Err(failure)
            }
        }
    }

    /// Forgets the token with this serial: the service would not take it.
    pub(super) fn forget(&self, base: &str, serial: u64) {
        let slot = self.slot(base);
        let mut state = slot.state();
        if state.kept.as_ref().is_some_and(|kept| kept.token.serial == serial) {
            state.kept = None;
        }
    }

    fn slot(&self, base: &str) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(base) {
            return slot.clone();
        }
        slots.entry(base.to_owned()).or_default().clone()
    }
}
