//! Runs for real: requests go to Qlik Cloud, or to a sandbox that is served over HTTP.

use futures_util::future::BoxFuture;

use super::Interpreter;
use crate::operation::{Key, Operation, Outcome};
use crate::qlik::{Client, HttpSettings, HttpTransport, Proxy, Settings};

/// Performs requests over sockets.
///
/// Make one for each target and use it on one runtime only: its connections, tokens and limits are shared by all runs
/// there. Nothing is opened before the first request.
pub struct Live(Client<HttpTransport>);

impl Live {
    /// An interpreter for the target that `settings` describe. A target on this machine is never reached through a
    /// proxy of the system's.
    #[must_use]
    pub fn new(settings: Settings, mut http: HttpSettings) -> Self {
        if http.proxy == Proxy::System && settings.addresses.is_loopback() {
            http.proxy = Proxy::None;
        }
        Self(Client::new(HttpTransport::new(http), settings))
    }
}

impl Interpreter for Live {
    fn perform<'a>(&'a self, key: &'a Key, operation: &'a Operation) -> BoxFuture<'a, Outcome> {
        Box::pin(self.0.perform(key, operation))
    }
}
