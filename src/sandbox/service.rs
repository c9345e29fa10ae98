//! The sandbox itself: a state, a file to keep it in, and the order in which requests change it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use serde_json::json;

use super::dispatch::{self, Sight, Violation};
use super::estate::{self, Client};
use super::exchange::History;
use super::faults::{Fault, Faults, Touched};
use super::lags::{self, Counters, Lags, Limits};
use super::refusal::Shape;
use super::settings::{self, Credentials, Settings};
use super::state::{Document, SELF, Scope, State};
use super::store::{Change, OpenError, Store};

/// Violations beyond these are forgotten, oldest first.
const VIOLATIONS_KEPT: usize = 1_000;

/// A simulated Qlik Cloud: one organization with its tenants. A cheap handle; clones are the same sandbox.
#[derive(Clone)]
pub struct Sandbox {
    shared: Arc<Shared>,
    /// What goes wrong with requests that come through this handle.
    faults: Option<Arc<dyn Faults>>,
}

struct Shared {
    settings: Settings,
    /// Held by the one request that may change something, while it is worked on.
    turn: Mutex<()>,
    /// Held for moments only, so that readers never wait for work.
    inner: Mutex<Inner>,
    /// Rung when changes reached the disk, or failed to.
    flushed: Condvar,
    store: Option<Mutex<Store>>,
    /// How many requests faults were asked about.
    arrived: AtomicU64,
    /// Whether there are faults anywhere that may ask what was there before.
    remembers: AtomicBool,
    /// For the limits and for what must wake first.
    counters: Mutex<Counters>,
}

struct Inner {
    /// With every change that was made.
    latest: State,
    /// With every change that is on the disk; what readers see.
    durable: State,
    /// Made, not yet being written.
    queue: Vec<Change>,
    /// How many requests changed something, and how many of them were settled, well or not.
    made: u64,
    settled: u64,
    /// The requests whose changes the disk refused: after the first, up to the second.
    failures: Vec<(u64, u64, String)>,
    writing: bool,
    /// What there was before the last changes; empty when no faults can ask for it.
    history: History,
    violations: std::collections::VecDeque<Violation>,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sandbox").field("organization", &self.organization()).finish_non_exhaustive()
    }
}

impl Sandbox {
    /// A sandbox that is gone with its last handle.
    #[must_use]
    pub fn in_memory(settings: Settings) -> Self {
        Self::from_state(State::default(), settings)
    }

    /// A sandbox in memory that goes on from a state.
    #[must_use]
    pub fn from_state(mut state: State, settings: Settings) -> Self {
        for (scope, organization) in settings::found(&state, &settings) {
            state.put(&scope, "organization", SELF, Arc::new(organization));
        }
        Self::around(state, settings, None)
    }

    /// A sandbox kept in a file: each change is on the disk before it is answered. The file is made when it is
    /// missing, with its folder, and is held until the last handle is gone.
    ///
    /// # Errors
    /// [`OpenError::Held`] when another process has the file, [`OpenError::Corrupt`] when it cannot be read.
    pub fn open(path: &Path, settings: Settings) -> Result<Self, OpenError> {
        let (mut store, mut state) = Store::open(path)?;
        for (scope, organization) in settings::found(&state, &settings) {
            let organization: Document = Arc::new(organization);
            if state.get(&scope, "organization", SELF).as_ref() == Some(&organization) {
                continue;
            }
            let place = state.put(&scope, "organization", SELF, organization.clone());
            let change = Change::Document {
                scope,
                collection: "organization".into(),
                id: SELF.into(),
                now: Some((place, organization)),
            };
            store
                .write(&[change])
                .map_err(|error| OpenError::Unreachable { path: path.to_owned(), reason: error.to_string() })?;
        }
        Ok(Self::around(state, settings, Some(store)))
    }

    fn around(state: State, settings: Settings, store: Option<Store>) -> Self {
        let inner = Inner {
            latest: state.clone(),
            durable: state,
            queue: Vec::new(),
            made: 0,
            settled: 0,
            failures: Vec::new(),
            writing: false,
            history: History::default(),
            violations: std::collections::VecDeque::new(),
        };
        let faults = settings.faults.clone();
        let shared = Arc::new(Shared {
            remembers: AtomicBool::new(faults.is_some()),
            settings,
            turn: Mutex::new(()),
            inner: Mutex::new(inner),
            flushed: Condvar::new(),
            store: store.map(Mutex::new),
            arrived: AtomicU64::new(0),
            counters: Mutex::default(),
        });
        Self { shared, faults }
    }

    /// A copy in memory that goes its own way from here, without the faults: free, whatever the state holds.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::around(self.snapshot(), Settings { faults: None, ..self.shared.settings.clone() }, None)
    }

    /// What was there before the last `changes` of this scope, as far back as the cloud lags and the user was there.
    pub(super) fn earlier(&self, scope: &Scope, user: Option<&str>, changes: usize) -> Option<State> {
        self.inner().history.before(self.now(), scope, user, changes)
    }

    /// The same sandbox on another road: requests through this handle meet these faults in place of those of the
    /// settings.
    #[must_use]
    pub fn through(&self, faults: Arc<dyn Faults>) -> Self {
        self.shared.remembers.store(true, Ordering::Relaxed);
        Self { shared: Arc::clone(&self.shared), faults: Some(faults) }
    }

    /// What goes wrong with requests.
    pub(super) fn faults(&self) -> Option<&Arc<dyn Faults>> {
        self.faults.as_ref()
    }

    /// The number of the request that has come now.
    pub(super) fn count(&self) -> u64 {
        self.shared.arrived.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What a request is answered that comes too early, or is one too many; `None` for all others.
    pub(super) fn turned_away(&self, request: &Request<Bytes>, host: &str) -> Option<Response<Bytes>> {
        let Settings { lags, limits, .. } = &self.shared.settings;
        if *lags == Lags::default() && *limits == Limits::default() {
            return None;
        }
        let (operation, now) = (dispatch::operation(request)?, self.now());
        let mut counters = self.shared.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = counters.count(*limits, &self.snapshot(), now, host, operation, &lags::user(request));
        if let Some(wait) = wait {
            return Fault::Limited { wait }.instead(request.uri().path());
        }
        let sleeps = counters.sleeps(*lags, host, operation, now);
        sleeps.then(|| lags::asleep().response(Shape::of(request.uri().path())))
    }

    /// The state now.
    #[must_use]
    pub fn snapshot(&self) -> State {
        self.inner().durable.clone()
    }

    /// The moment, by the sandbox's clock.
    pub(super) fn now(&self) -> jiff::Timestamp {
        self.shared.settings.clock.now()
    }

    /// The organizations, the first one first: the name in the estate (empty without one), the licence key, the clients.
    #[must_use]
    pub fn organizations(&self) -> Vec<(String, String, Vec<Client>)> {
        let state = self.snapshot();
        let documents = state.organizations().into_iter().filter_map(|home| state.get(&home, "organization", SELF));
        let told = |document: Document| {
            (settings::text(&document, "name"), settings::text(&document, "licenseKey"), estate::clients(&document))
        };
        documents.map(told).collect()
    }

    /// What a partner needs to work with the organization; without an id where an estate names clients of single regions.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        let document = self.about();
        Credentials {
            client_id: settings::text(&document, "clientId"),
            client_secret: settings::text(&document, "clientSecret"),
            license_key: settings::text(&document, "licenseKey"),
        }
    }

    /// The organization's identity: its licence number.
    #[must_use]
    pub fn organization(&self) -> String {
        settings::text(&self.about(), "licenseNumber")
    }

    /// The host name of the tenant in which the partner keeps the apps that customers get copies of. It comes into being with
    /// the first token that is asked for there.
    #[must_use]
    pub fn source_tenant(&self) -> &'static str {
        super::source_tenant::HOST
    }

    /// The requests that broke the contract or meant nothing simulated, oldest first: for tests that allow none.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.inner().violations.iter().cloned().collect()
    }

    /// Whether [`handle`](Self::handle) waits for the disk on a request with this method: then it must not be called on a
    /// thread that others wait for.
    #[must_use]
    pub fn waits_for_disk(&self, method: &http::Method) -> bool {
        self.shared.store.is_some() && dispatch::may_write(method)
    }

    /// Answers one request. Its address is absolute (`https://<host>/<path>?<query>`); see
    /// [`Base`](super::Base) for the links in the answer. Waits for the disk when the request changes something. Faults
    /// of the settings do not strike here; see [`exchange`](Self::exchange).
    #[must_use]
    pub fn handle(&self, request: Request<Bytes>) -> Response<Bytes> {
        self.work(&request, &|_, _| None, &mut |_, _| {})
    }

    /// The same, with what a read is shown and who is told what was done, in the order in which it is done.
    pub(super) fn work(
        &self,
        request: &Request<Bytes>,
        sight: Sight<'_>,
        done: &mut dyn FnMut(StatusCode, Vec<Touched>),
    ) -> Response<Bytes> {
        if !dispatch::may_write(request.method()) {
            let state = self.snapshot();
            let outcome = dispatch::answer(request, state, sight, &self.shared.settings);
            debug_assert!(outcome.changed.is_none(), "a GET changed something: {}", request.uri());
            Self::note(&mut self.inner(), outcome.violations);
            done(outcome.response.status(), Vec::new());
            return outcome.response;
        }
        loop {
            let turn = self.shared.turn.lock().unwrap_or_else(PoisonError::into_inner);
            let (state, failures) = {
                let inner = self.inner();
                (inner.latest.clone(), inner.failures.len())
            };
            let outcome = dispatch::answer(request, state.clone(), sight, &self.shared.settings);
            let mut inner = self.inner();
            if inner.failures.len() != failures {
                // The state it was worked out on holds changes that are not saved and are gone again.
                continue;
            }
            Self::note(&mut inner, outcome.violations);
            let mut touched = Vec::new();
            if let Some((later, changes)) = outcome.changed {
                if self.shared.remembers.load(Ordering::Relaxed) {
                    touched = Touched::all(&state, &changes);
                    inner.history.note(self.now(), state, &changes);
                }
                inner.latest = later;
                inner.made += 1;
                match &self.shared.store {
                    Some(_) => inner.queue.extend(changes),
                    None => inner.durable = inner.latest.clone(),
                }
            }
            let Some(store) = &self.shared.store else {
                drop(inner);
                done(outcome.response.status(), touched);
                return outcome.response;
            };
            // Also when nothing was changed: the answer may tell of changes that are still on their way to the disk.
            let mine = inner.made;
            if inner.settled >= mine {
                drop(inner);
                done(outcome.response.status(), touched);
                return outcome.response;
            }
            drop(turn);
            let (response, touched) = match self.settle(inner, store, mine) {
                Ok(()) => (outcome.response, touched),
                Err(reason) => (unwritten(&reason), Vec::new()),
            };
            done(response.status(), touched);
            return response;
        }
    }

    /// Waits until the changes up to `mine` are on the disk. Whoever finds nobody writing writes all that is queued,
    /// so that many requests share one flush.
    fn settle<'s>(&'s self, mut inner: MutexGuard<'s, Inner>, store: &Mutex<Store>, mine: u64) -> Result<(), String> {
        loop {
            if inner.settled >= mine {
                let failure = inner.failures.iter().find(|(after, upto, _)| *after < mine && mine <= *upto);
                return failure.map_or(Ok(()), |(_, _, reason)| Err(reason.clone()));
            }
            if inner.writing {
                inner = self.shared.flushed.wait(inner).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            inner.writing = true;
            let changes = std::mem::take(&mut inner.queue);
            let (state, upto) = (inner.latest.clone(), inner.made);
            drop(inner);
            let written = store.lock().unwrap_or_else(PoisonError::into_inner).write(&changes);
            inner = self.inner();
            inner.writing = false;
            match written {
                Ok(()) => {
                    inner.durable = state;
                    inner.settled = upto;
                }
                Err(error) => {
                    // What was made meanwhile stands on what failed, so it goes too.
                    inner.latest = inner.durable.clone();
                    inner.queue.clear();
                    inner.history = History::default();
                    let failure = (inner.settled, inner.made, error.to_string());
                    inner.failures.push(failure);
                    inner.settled = inner.made;
                }
            }
            self.shared.flushed.notify_all();
        }
    }

    fn note(inner: &mut Inner, violations: Vec<Violation>) {
        for violation in violations {
            tracing::debug!(
                operation = violation.operation,
                request = violation.request,
                message = violation.message,
                "the sandbox refused a request that breaks the contract"
            );
            if inner.violations.len() == VIOLATIONS_KEPT {
                inner.violations.pop_front();
            }
            inner.violations.push_back(violation);
        }
    }

    fn about(&self) -> Document {
        self.inner().durable.get(&Scope::Organization, "organization", SELF).unwrap_or_default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.shared.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer when the disk refused: nothing was done.
fn unwritten(reason: &str) -> Response<Bytes> {
    let error =
        json!({"code": "HTTP-500", "title": "Internal server error", "detail": format!("state not saved: {reason}")});
    let mut response = Response::new(Bytes::from(json!({"errors": [error]}).to_string()));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(sandbox: &Sandbox, host: &str) -> StatusCode {
        let held = sandbox.credentials();
        let body = json!({
            "client_id": held.client_id, "client_secret": held.client_secret, "grant_type": "client_credentials",
        });
        let request = Request::post(format!("https://{host}/oauth/token")).body(body.to_string().into()).unwrap();
        sandbox.handle(request).status()
    }

    #[test]
    fn what_the_disk_refuses_did_not_happen() {
        let folder = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::open(&folder.path().join("sandbox.db"), Settings::default()).unwrap();
        let mut state = sandbox.snapshot();
        let tenant = json!({"id": "t", "status": "active", "hostnames": ["one.eu.qlikcloud.com"]});
        let role = json!({"id": "r", "name": "TenantAdmin", "type": "default", "level": "admin"});
        state.put(&Scope::Organization, "tenants", "t", Arc::new(tenant));
        state.put(&Scope::tenant("t"), "roles", "r", Arc::new(role));
        let (before, store) = (state.clone(), sandbox.shared.store.as_ref().unwrap());
        {
            let mut inner = sandbox.inner();
            (inner.latest, inner.durable) = (state.clone(), state);
        }
        store.lock().unwrap().refuse_writes(true);
        assert_eq!(token(&sandbox, "one.eu.qlikcloud.com"), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(sandbox.snapshot(), before);
        assert_eq!(token(&sandbox, "console.qlikcloud.com"), StatusCode::OK, "what changes nothing goes on");
        store.lock().unwrap().refuse_writes(false);
        assert_eq!(token(&sandbox, "one.eu.qlikcloud.com"), StatusCode::OK);
        assert_eq!(before.diff(&sandbox.snapshot()).len(), 2);
    }
}
