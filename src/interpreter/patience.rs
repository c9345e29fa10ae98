use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::surroundings::Clock;

/// How long a look-up that finds nothing is repeated before it is believed: lists lag behind, and a request whose
/// answer nobody waits for any more may still arrive.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The pause before the second look; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Nothing that was begun so long ago is still on its way, whatever a client waited for before it sent it.
const LONG_AGO: SignedDuration = SignedDuration::from_hours(1);

/// What is left of the patience with a look-up that finds nothing.
pub(super) struct Patience {
    left: Duration,
    pause: Duration,
}

impl Patience {
    /// Patience of this length, from now on, with what was begun at `since`.
    pub(super) fn new(clock: &dyn Clock, since: Timestamp, length: Duration) -> Self {
        let long_ago = clock.now().duration_since(since) >= LONG_AGO;
        Self { left: if long_ago { Duration::ZERO } else { length }, pause: FIRST_PAUSE }
    }

    /// Waits before another look; `false` when patience has ended.
    pub(super) async fn another_look(&mut self) -> bool {
        if self.left.is_zero() {
            return false;
        }
        let pause = self.pause.min(self.left);
        tokio::time::sleep(pause).await;
        self.left = self.left.saturating_sub(pause);
        self.pause *= 2;
        true
    }
}
