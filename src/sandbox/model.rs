//! A model of real tenants: told what they have, it works out what requests would do to them.
//!
//! It holds two states. `base` is what was shown of the real tenants, `now` the same with everything that was asked of
//! the model since. A read that both states answer alike has nothing to do with what was asked; of one that they answer
//! differently, the difference is what the requests made.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use serde_json::{Value, json};

use super::context::{Asked, Context, Look, text};
use super::dispatch::{self, Base, Trusted};
use super::hosts::{self, Place};
use super::licenses;
use super::mirror::{self, MIRRORS};
use super::pool::Seated;
use super::settings::Settings;
use super::state::{Difference, SELF, Scope, State};
use super::token::Grant;
use super::{published, resources, settings, users};
use crate::surroundings::{Clock, Random};

/// What a client of a model calls itself.
pub const CLIENT: &str = "plan";
/// What it may do: everything that the one it stands for may.
const SCOPES: &str = "admin_classic tenants:create tenants:deactivate tenants:reactivate cloud-console.tenants:read";

/// A model of real tenants. A plain value: copy it to try something.
#[derive(Clone)]
pub struct Model {
    pub(super) base: State,
    pub(super) now: State,
    settings: Settings,
    /// The user that acts in each tenant, by the tenant's host name.
    users: BTreeMap<String, String>,
    /// The ids of the tenants that the model itself made.
    born: BTreeSet<String>,
    /// The documents that differ in the two states, or once did.
    touched: BTreeSet<(Scope, Arc<str>, Arc<str>)>,
    /// Whose documents they are.
    changed: BTreeSet<Scope>,
    /// The ids of those that only the model has.
    made: HashSet<Arc<str>>,
    /// Where the client that the model stands for has the seat of its bots already.
    seated: Option<Seated>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Model").field("born", &self.born).finish_non_exhaustive()
    }
}

/// Which state a read is answered from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// What was shown of the real tenants.
    Base,
    /// With what was asked since.
    Now,
}

/// What a write came to.
#[derive(Debug)]
pub struct Done {
    /// The answer.
    pub response: Response<Bytes>,
    /// What it changed; empty when it was refused.
    pub changed: Vec<Difference>,
    /// What must be known of the real tenant before a refusal is believed.
    pub wanted: Vec<Wanted>,
}

/// Something that the model does not know of a real tenant: an operation that shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// The operation.
    pub operation: &'static str,
    /// The variables of its path.
    pub variables: BTreeMap<String, String>,
}

impl Model {
    /// A model that knows nothing yet. What it makes has its ids from `random` and its times from `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, random: Random) -> Self {
        let settings = Settings { clock: Arc::clone(&clock), random: random.clone(), ..Settings::default() };
        let mut base = State::default();
        let (_, mut organization) = settings::found(&base, &settings).swap_remove(0);
        // Whose licence it is, the real register host knows.
        organization["licenseKey"] = json!("");
        organization["clientId"] = json!(CLIENT);
        Self::without_bounds(&mut organization);
        base.put(&Scope::Organization, "organization", SELF, Arc::new(organization));
        Self {
            now: base.clone(),
            base,
            settings,
            users: BTreeMap::new(),
            born: BTreeSet::new(),
            touched: BTreeSet::new(),
            changed: BTreeSet::new(),
            made: HashSet::new(),
            seated: None,
        }
    }

    /// Tells the model in which regions the client it stands for has a bot already: another one takes no seat of its own
    /// there (overview: up to one professional seat per region).
    pub fn seat_bots(&mut self, seated: Seated) {
        self.seated = Some(seated);
    }

    /// Whether an operation is simulated.
    #[must_use]
    pub fn simulates(operation: &str) -> bool {
        resources::handler(operation).is_some()
    }

    /// Whether the tenant of this host was made by the model: nothing of it is anywhere else.
    #[must_use]
    pub fn is_born(&self, host: &str) -> bool {
        self.tenant(host).is_some_and(|tenant| self.born.contains(text(&tenant, "id")))
    }

    /// Whether the model has been told of this host's tenant, or made it.
    #[must_use]
    pub fn knows(&self, host: &str) -> bool {
        self.users.contains_key(host) || self.is_born(host)
    }

    /// Whether anything was changed in the tenant of this host, or in what all tenants share.
    #[must_use]
    pub fn is_changed(&self, host: &str) -> bool {
        let scope = self.tenant(host).map(|tenant| Scope::tenant(text(&tenant, "id")));
        self.changed.contains(&Scope::Organization) || scope.is_some_and(|scope| self.changed.contains(&scope))
    }

    fn tenant(&self, host: &str) -> Option<super::state::Document> {
        hosts::tenant(&self.now, host, self.settings.clock.now())
    }

    /// Tells the model of a real tenant, and of the user that acts in it, as `getMyTenant` and `getMyUser` show them.
    pub fn meet(&mut self, host: &str, tenant: &Value, user: &Value) {
        // Two may have asked at once, and one of them may have changed something since.
        if self.knows(host) {
            return;
        }
        let id = text(tenant, "id").to_owned();
        let (mut tenant, user) = (tenant.clone(), user.clone());
        // A target may reach the tenant by another name than it has itself.
        let hostnames = tenant["hostnames"].as_array_mut();
        match hostnames {
            Some(names) if !names.iter().any(|name| name == host) => names.push(json!(host)),
            Some(_) => {}
            None => tenant["hostnames"] = json!([host]),
        }
        self.users.insert(host.to_owned(), text(&user, "id").to_owned());
        let (tenant, user_id) = (Arc::new(tenant), text(&user, "id").to_owned());
        let user = Arc::new(user);
        for state in [&mut self.base, &mut self.now] {
            state.put(&Scope::Organization, "tenants", &id, tenant.clone());
            if !user_id.is_empty() {
                state.put(&Scope::tenant(&id), "users", &user_id, user.clone());
            }
        }
    }

    /// Tells the model what a real tenant answered to a read. What was changed here since stays changed.
    pub fn learn(&mut self, operation: &str, request: &Request<Bytes>, answer: &Value) {
        let before = self.base.clone();
        let (place, home) = self.place(request);
        let (host, base) = (host_of(request), String::new());
        let mut context = Context::new(asked(request, (&place, home), &host, &base, &self.settings), before.clone());
        if let Some((_, variables)) = published::find(request.method(), request.uri().path()) {
            context.vars = variables;
        }
        mirror::learn(&mut context, operation, answer);
        let (after, _) = context.into_changes();
        for difference in before.diff(&after) {
            let Difference { scope, collection, id, after, .. } = difference;
            let Some(document) = after else { continue };
            if !self.touched.contains(&(scope.clone(), collection.clone(), id.clone())) {
                self.now.put(&scope, &collection, &id, document);
            }
        }
        self.base = after;
    }

    /// Answers a read from one of the states.
    #[must_use]
    pub fn read(&self, request: &Request<Bytes>, view: View) -> Response<Bytes> {
        let state = if view == View::Base { &self.base } else { &self.now };
        let request = self.trusted(request);
        dispatch::answer(&request, state.clone(), &|_, _| None, &self.settings).response
    }

    /// Does what a write asks, in the model only.
    pub fn write(&mut self, request: &Request<Bytes>) -> Done {
        let trusted = self.trusted(request);
        let outcome = dispatch::answer(&trusted, self.now.clone(), &|_, _| None, &self.settings);
        let mut done = Done { response: outcome.response, changed: Vec::new(), wanted: Vec::new() };
        if let Some((after, _)) = outcome.changed {
            done.changed = self.now.diff(&after);
            self.now = after;
            self.touch(&done.changed);
            self.note_births(&done.changed);
        } else if !done.response.status().is_success() && !self.is_born(&host_of(request)) {
            done.wanted = wanted(request, &outcome.looked);
        }
        done
    }

    /// Whether a word is the id of a document that the model made, which no real tenant knows.
    #[must_use]
    pub fn has_made(&self, word: &str) -> bool {
        self.made.contains(word)
    }

    /// What differs from what was shown of the real tenants.
    #[must_use]
    pub fn changes(&self) -> Vec<Difference> {
        let differences = self.touched.iter().map(|(scope, collection, id)| Difference {
            scope: scope.clone(),
            collection: collection.clone(),
            id: id.clone(),
            before: self.base.get(scope, collection, id),
            after: self.now.get(scope, collection, id),
        });
        differences.filter(|held| held.before != held.after).collect()
    }

    fn touch(&mut self, changed: &[Difference]) {
        for Difference { scope, collection, id, .. } in changed {
            if self.base.get(scope, collection, id).is_none() {
                self.made.insert(id.clone());
            }
            self.changed.insert(scope.clone());
            self.touched.insert((scope.clone(), collection.clone(), id.clone()));
        }
    }

    fn note_births(&mut self, changed: &[Difference]) {
        for difference in changed {
            let is_tenant = difference.scope == Scope::Organization && *difference.collection == *"tenants";
            let Some(tenant) = difference.after.as_ref().filter(|_| is_tenant && difference.before.is_none()) else {
                continue;
            };
            let Some(host) = tenant["hostnames"][0].as_str().map(str::to_owned) else { continue };
            self.born.insert(text(tenant, "id").to_owned());
            // Its bot comes with the client's first token.
            let request = Request::get(format!("https://{host}/")).body(Bytes::new());
            let Ok(request) = request else { continue };
            let (place, home) = self.place(&request);
            let base = String::new();
            let about = asked(&request, (&place, home), &host, &base, &self.settings);
            let mut context = Context::new(about, self.now.clone());
            if let Ok(user) = users::bot(&mut context, CLIENT) {
                let (mut after, _) = context.into_changes();
                if self.seated.as_ref().is_some_and(|seated| seated(text(tenant, "region"))) {
                    after.remove(&Scope::Organization, "seats", &licenses::bot_seat(CLIENT));
                }
                self.touch(&self.now.diff(&after));
                self.now = after;
                self.users.insert(host, user);
            }
        }
    }

    fn place(&self, request: &Request<Bytes>) -> (Place, Scope) {
        hosts::find(&self.now, &host_of(request), self.settings.clock.now())
    }

    /// The same request as one of whom the model stands for.
    fn trusted(&self, request: &Request<Bytes>) -> Request<Bytes> {
        let host = host_of(request);
        let user = self.users.get(&host).cloned().or_else(|| {
            let tenant = self.tenant(&host)?;
            let mut names = tenant["hostnames"].as_array().into_iter().flatten().filter_map(Value::as_str);
            names.find_map(|name| self.users.get(name).cloned())
        });
        let exp = self.settings.clock.now().as_second() + super::token::LIFE_SECONDS;
        let grant = Grant { host, client: CLIENT.to_owned(), user, scope: SCOPES.to_owned(), exp };
        let mut trusted = request.clone();
        trusted.extensions_mut().insert(Trusted(grant));
        if trusted.extensions().get::<Base>().is_none() {
            let base = format!("https://{}", host_of(request));
            trusted.extensions_mut().insert(Base(base));
        }
        trusted
    }
}

fn host_of(request: &Request<Bytes>) -> String {
    request.uri().host().unwrap_or_default().to_ascii_lowercase()
}

fn asked<'r>(
    request: &'r Request<Bytes>,
    (place, home): (&'r Place, Scope),
    host: &'r str,
    base: &'r str,
    settings: &'r Settings,
) -> Asked<'r> {
    let query = url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned();
    Asked {
        place,
        home,
        host,
        base,
        path: request.uri().path(),
        query: query.collect(),
        headers: request.headers(),
        bytes: request.body(),
        now: settings.clock.now(),
        random: &settings.random,
        lags: settings.lags,
    }
}

/// The operations that show what a handler looked at.
fn wanted(request: &Request<Bytes>, looked: &[Look]) -> Vec<Wanted> {
    let (_, given) = published::find(request.method(), request.uri().path()).unzip();
    let given = given.unwrap_or_default();
    let mut found = BTreeSet::new();
    for look in looked {
        let Some(mirror) = MIRRORS.iter().find(|mirror| mirror.collection == look.collection) else { continue };
        let operation = if look.id.is_some() { mirror.get } else { mirror.list };
        let Some((published, last)) = published::of(operation) else { continue };
        let mut variables: BTreeMap<String, String> = BTreeMap::new();
        let complete = published.variables().all(|name| {
            let value = match &look.id {
                Some(id) if last == Some(name) => Some(id.clone()),
                _ => given.get(name).cloned(),
            };
            value.filter(|value| !value.is_empty()).is_some_and(|value| {
                variables.insert(name.to_owned(), value);
                true
            })
        });
        if complete && published.method == Method::GET {
            found.insert(Wanted { operation: published.id, variables });
        }
    }
    found.into_iter().collect()
}
