//! Targets, opened: who performs requests there, and under which name the registry knows their organization.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::{OnceCell, OwnedMutexGuard};

use super::Inner;
use crate::interpreter::{
    self, Embedded, Enrolment, IdentitySource, Interpreter, Layer, Leased, License, Live, Locals, LookedUp,
    Organization, PATIENCE, Registered, Stray, Timed, refused_first_token,
};
use crate::operation::secret::SecretStore as _;
use crate::operation::{Call, Effect, Failure, FailureKind, Host, Key, Operation, Request};
use crate::project::Target;
use crate::qlik::{Access, Addresses, Credentials, HttpSettings, RetryPolicy, Settings};
use crate::sandbox::{self, Sandbox};
use crate::store::{Intent, Lease, Leases, RunFilter, Tenant};

/// What the builder says about targets.
pub(super) struct Wiring {
    pub(super) http: HttpSettings,
    pub(super) sandbox: Option<Sandbox>,
    pub(super) layers: Vec<Layer>,
    pub(super) new_registry: bool,
}

/// The open targets of a host, by name.
pub(super) struct Connections {
    wiring: Wiring,
    open: Mutex<HashMap<String, Arc<OnceCell<Arc<Connection>>>>>,
    /// By target, the tenant on which opening it for a plan needed the client's first token.
    first: Mutex<HashMap<String, String>>,
}

/// An open target. Its tokens, limits and connections are shared by all runs.
pub(super) struct Connection {
    interpreter: Arc<dyn Interpreter>,
    enrolment: Enrolment,
    addresses: Addresses,
    /// The source tenant's host name.
    source: Option<String>,
    /// How long a look-up that finds nothing is not believed there.
    patience: Duration,
    /// Held by the run that works on a pinned target.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Who tenantry is there; nobody in particular in the embedded sandbox, which is its own.
    credentials: Option<Credentials>,
    own: Option<Sandbox>,
    /// Tenants that a look into registry and journal found, with the latest run there was at the time.
    been: Mutex<HashMap<String, (Option<String>, bool)>>,
}

/// What a run holds while it works on a pinned target.
pub(super) type Turn = Option<OwnedMutexGuard<()>>;

/// The registry's tenants of a target's organization.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The organization's identity.
    pub organization: String,
    /// The tenants, by customer.
    pub tenants: Vec<Tenant>,
    /// Creations whose end is not known.
    pub unsettled: Vec<Intent>,
}

/// What became of an unsettled creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is settled: no tenant was created.
    Settled,
    /// There was nothing to settle.
    Nothing,
}

impl Connections {
    pub(super) fn new(wiring: Wiring) -> Self {
        Self { wiring, open: Mutex::default(), first: Mutex::default() }
    }

    /// The same for a plan. Where opening it would need the client's first token on a tenant, that must be allowed.
    pub(super) async fn get_to_plan(
        &self,
        host: &Inner,
        name: &str,
        allowed: bool,
    ) -> Result<Arc<Connection>, Failure> {
        let is_open = {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.get(name).is_some_and(|cell| cell.initialized())
        };
        if let (false, Ok(Target::Organization(organization))) = (is_open, host.project.target(name))
            && let IdentitySource::LicenseOf(hostname) = organization.identity()
        {
            // Every run on this target has begun with the same question to the same tenant.
            let target = name.to_owned();
            let journal = host.state.journal();
            let runs = journal.ask(|journal| journal.runs(&RunFilter::default())).await?;
            if !runs.iter().any(|run| run.opening.target == target) {
                if !allowed {
                    return Err(refused_first_token(&hostname));
                }
                self.first.lock().unwrap_or_else(PoisonError::into_inner).insert(target, hostname);
            }
        }
        self.get(host, name).await
    }

    /// The tenant on which opening this target for a plan needed the client's first token.
    pub(super) fn first(&self, name: &str) -> Option<String> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The target of this name, opened once.
    pub(super) async fn get(&self, host: &Inner, name: &str) -> Result<Arc<Connection>, Failure> {
        let cell = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(open.entry(name.to_owned()).or_default())
        };
        cell.get_or_try_init(|| async { self.connect(host, name).await.map(Arc::new) }).await.cloned()
    }

    async fn connect(&self, host: &Inner, name: &str) -> Result<Connection, Failure> {
        let target = host.project.target(name).map_err(|error| {
            let failure = Failure::new(FailureKind::Denied, "tenantry/target", error.to_string());
            match error.problems().iter().find_map(|problem| problem.hint.clone()) {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        })?;
        match target {
            Target::Sandbox => self.sandbox(host).await,
            Target::Organization(organization) => {
                let credentials = organization.credentials(&host.vault).await?;
                let addresses = organization.addresses();
                let interpreter = self.live(host, credentials.clone(), addresses.clone());
                let identity = Organization::new(organization.identity());
                let identity = identity.identity(&interpreter, &host.vault).await?;
                let lists = organization.console.is_some();
                let enrolment = Enrolment::Organization {
                    identity,
                    may_begin: lists || self.wiring.new_registry,
                    lists,
                    license: organization.license(),
                };
                let source = organization.source.as_ref().map(|source| source.tenant.clone());
                Ok(Connection::live(interpreter, credentials, enrolment, addresses, source))
            }
            Target::Pinned(pinned) => {
                let credentials = pinned.credentials(&host.vault).await?;
                let addresses = pinned.addresses.clone();
                let interpreter = self.live(host, credentials.clone(), addresses.clone());
                let enrolment = Enrolment::Pinned { hostname: pinned.tenant.clone() };
                let source = pinned.source.as_ref().map(|source| source.tenant.clone());
                Ok(Connection::live(interpreter, credentials, enrolment, addresses, source))
            }
        }
    }

    fn live(&self, host: &Inner, credentials: Credentials, addresses: Addresses) -> Live {
        let settings = Settings {
            addresses,
            credentials,
            secrets: Arc::new(host.vault.clone()),
            limits: true,
            retry: RetryPolicy::default(),
            clock: Arc::clone(&host.clock),
            random: host.random.clone(),
        };
        Live::new(settings, self.wiring.http.clone())
    }

    /// The embedded sandbox: the builder's, or the one whose state lies in the project.
    async fn sandbox(&self, host: &Inner) -> Result<Connection, Failure> {
        // What was made by our own sandbox is in its lists at once.
        let (sandbox, patience) = if let Some(sandbox) = &self.wiring.sandbox {
            (sandbox.clone(), PATIENCE)
        } else {
            let path = host.project.state_folder().join(sandbox::STATE_FILE);
            let settings = sandbox::Settings {
                clock: Arc::clone(&host.clock),
                random: host.random.clone(),
                ..sandbox::Settings::default()
            };
            let opened = crate::store::blocking(move || Sandbox::open(&path, settings)).await.map_err(|error| {
                Failure::new(FailureKind::Denied, "tenantry/sandbox", error.to_string()).hint(error.hint())
            })?;
            (opened, Duration::ZERO)
        };
        let identity = IdentitySource::Given(sandbox.organization());
        let license = format!("sandbox/{}/license-key", sandbox.organization());
        host.vault.keep(&license, SecretString::from(sandbox.credentials().license_key));
        let source = Some(sandbox.source_tenant().to_owned());
        let interpreter =
            Embedded::new(sandbox.clone(), Arc::new(host.vault.clone()), Arc::clone(&host.clock), host.random.clone());
        let interpreter: Arc<dyn Interpreter> = Arc::new(interpreter);
        let identity = Organization::new(identity).identity(&*interpreter, &host.vault).await?;
        Ok(Connection {
            interpreter,
            enrolment: Enrolment::Organization {
                identity,
                may_begin: true,
                lists: true,
                license: License::Key(license),
            },
            addresses: Addresses::Direct,
            source,
            patience,
            turn: Arc::default(),
            credentials: None,
            own: Some(sandbox),
            been: Mutex::default(),
        })
    }

    pub(super) async fn listing(&self, host: &Inner, target: &str) -> Result<Listing, Failure> {
        let organization = self.get(host, target).await?.organization()?;
        let identity = organization.clone();
        let known = host.registry.ask(move |registry| Ok((registry.tenants(&identity)?, registry.intents(&identity)?)));
        let (tenants, unsettled) = known.await?;
        Ok(Listing { organization, tenants, unsettled })
    }

    pub(super) async fn strays(&self, host: &Inner, target: &str) -> Result<Vec<Stray>, Failure> {
        let connection = self.get(host, target).await?;
        let organization = connection.organization()?;
        let Enrolment::Organization { lists: true, license, .. } = &connection.enrolment else {
            let title = format!("the target `{target}` cannot list the tenants of its organization");
            let failure = Failure::new(FailureKind::Denied, "tenantry/no-list", title);
            return Err(
                failure.hint("give it a console client in tenantry.toml: `console = { client_id, client_secret }`")
            );
        };
        let identity = organization.clone();
        let known = host.registry.ask(move |registry| Ok((registry.tenants(&identity)?, registry.intents(&identity)?)));
        let (owned, intents) = known.await?;
        let key = Key { branch: Vec::new(), call: 0, id: "listOrganizationTenants".to_owned(), ordinal: 0 };
        let mut found = interpreter::strays(&*connection.interpreter, &key, &owned).await?;
        if let License::From(source) = license {
            found.retain(|stray| stray.hostname != *source && stray.alias.as_ref() != Some(source));
        }
        found.retain(|stray| connection.source.as_ref() != Some(&stray.hostname));
        host.registry
            .ask(move |registry| {
                interpreter::trace(&mut found, &registry.journal(), &organization, &intents);
                Ok(found)
            })
            .await
            .map_err(Failure::from)
    }

    pub(super) async fn adopt(
        &self,
        host: &Inner,
        target: &str,
        customer: &str,
        hostname: &str,
    ) -> Result<Tenant, Failure> {
        let connection = self.get(host, target).await?;
        let organization = connection.organization()?;
        let operation = my_tenant(hostname);
        let key = Key { branch: Vec::new(), call: 0, id: operation.id.clone(), ordinal: 0 };
        let answer = connection.interpreter.perform(&key, &operation).await?;
        let tenant = as_tenant(customer, answer.json()).ok_or_else(|| {
            let title = format!("{hostname} did not say which tenant it is");
            Failure::new(FailureKind::Denied, "tenantry/not-a-tenant", title)
        })?;
        let adopted = tenant.clone();
        host.registry.ask(move |registry| registry.adopt(&organization, &adopted)).await?;
        Ok(tenant)
    }

    pub(super) async fn settle_not_created(
        &self,
        host: &Inner,
        target: &str,
        customer: &str,
    ) -> Result<Verdict, Failure> {
        let organization = self.get(host, target).await?.organization()?;
        let customer = customer.to_owned();
        let settled = host.registry.ask(move |registry| registry.settle_not_created(&organization, &customer)).await?;
        Ok(if settled { Verdict::Settled } else { Verdict::Nothing })
    }
}

impl Connection {
    /// Under which name runs against this target are kept: two targets of one organization are one.
    pub(super) fn scope(&self) -> String {
        match &self.enrolment {
            Enrolment::Organization { identity, .. } => identity.clone(),
            Enrolment::Pinned { hostname } => Leases::tenant(hostname),
        }
    }

    /// To a service that is reached over HTTP.
    fn live(
        interpreter: Live,
        credentials: Credentials,
        enrolment: Enrolment,
        addresses: Addresses,
        source: Option<String>,
    ) -> Self {
        Self {
            interpreter: Arc::new(interpreter),
            enrolment,
            addresses,
            source,
            patience: PATIENCE,
            turn: Arc::default(),
            credentials: Some(credentials),
            own: None,
            been: Mutex::default(),
        }
    }

    /// The embedded sandbox, where nobody minds a client's first token.
    pub(super) fn own(&self) -> Option<&Sandbox> {
        self.own.as_ref()
    }

    /// The client whose bot goes to the tenants of this host, by its id. None where an API key opens them.
    pub(super) fn client(&self, at: &Host) -> Option<String> {
        match &self.credentials {
            None => self.own.as_ref().map(|own| own.credentials().client_id),
            Some(known) => match known.access(at) {
                Ok(Access::Client(client)) => Some(client.id),
                Ok(Access::ApiKey(_)) | Err(_) => None,
            },
        }
    }

    /// Whether the registry or the journal shows that the target's client was on the tenant of this host name before.
    /// That it is still the same client is taken for granted: neither knows which one it was. An API key needs no token.
    pub(super) async fn was_at(&self, host: &Inner, hostname: &str) -> Result<bool, Failure> {
        if let Some(own) = &self.own {
            return Ok(own.has_bot(hostname, host.clock.now()));
        }
        let access = self.credentials.as_ref().map(|known| known.access(&Host::Tenant(hostname.to_owned())));
        // A host that is none of the target's is refused before any token is asked for.
        if matches!(access, Some(Err(_) | Ok(Access::ApiKey(_)))) {
            return Ok(true);
        }
        let (scope, hostname) = (self.scope(), hostname.to_ascii_lowercase());
        let identity = self.organization().ok();
        let latest = RunFilter { scope: Some(scope.clone()), limit: Some(1), ..RunFilter::default() };
        let latest = host.state.journal().ask(move |journal| journal.runs(&latest)).await?;
        let latest = latest.into_iter().next().map(|run| run.opening.id);
        let known = self.been.lock().unwrap_or_else(PoisonError::into_inner).get(&hostname).cloned();
        if let Some((of, was)) = known
            && (was || of == latest)
        {
            return Ok(was);
        }
        let registered = match identity {
            None => false,
            Some(identity) => {
                let tenants = host.registry.ask(move |registry| registry.tenants(&identity)).await?;
                let is = |name: &str| name.eq_ignore_ascii_case(&hostname);
                tenants.iter().any(|tenant| is(&tenant.hostname) || tenant.alias.as_deref().is_some_and(is))
            }
        };
        let asked = hostname.clone();
        let was = registered || host.state.journal().ask(move |journal| journal.was_at(&scope, &asked)).await?;
        self.been.lock().unwrap_or_else(PoisonError::into_inner).insert(hostname, (latest, was));
        Ok(was)
    }

    /// Makes sure that no other run is at work for this customer, or on the one tenant of a pinned target. The runs of
    /// this process on one tenant are given it one after the other.
    pub(super) async fn take(&self, host: &Inner, customer: &str, run: &str) -> Result<(Lease, Turn), Failure> {
        let (name, turn) = match &self.enrolment {
            Enrolment::Organization { identity, .. } => (Leases::customer(identity, customer), None),
            Enrolment::Pinned { hostname } => {
                (Leases::tenant(hostname), Some(Arc::clone(&self.turn).lock_owned().await))
            }
        };
        Ok((host.state.leases().take(&name, run).await?, turn))
    }

    /// The source tenant's host name, when the target has one.
    pub(super) fn source(&self) -> Option<String> {
        self.source.clone()
    }

    /// What performs requests there, with no layer that knows of a run: for looking.
    pub(super) fn target(&self) -> &dyn Interpreter {
        &*self.interpreter
    }

    /// The same, to be kept.
    pub(super) fn shared(&self) -> Arc<dyn Interpreter> {
        Arc::clone(&self.interpreter)
    }

    /// What the target says about tenants.
    pub(super) fn enrolment(&self) -> &Enrolment {
        &self.enrolment
    }

    /// Whether the customer has a tenant in the registry that is not deactivated.
    pub(super) async fn tenant_is_active(&self, host: &Inner, customer: &str) -> bool {
        let Enrolment::Organization { identity, .. } = &self.enrolment else { return false };
        let (identity, customer) = (identity.clone(), customer.to_owned());
        let tenant = host.registry.ask(move |registry| registry.tenant(&identity, &customer)).await;
        tenant.is_ok_and(|tenant| tenant.is_some_and(|tenant| tenant.status == "active"))
    }

    /// What performs the operations of one run: the target's interpreter, with the layers that know of it.
    pub(super) fn interpreter(
        &self,
        host: &Inner,
        lease: Lease,
        customer: &str,
        run: &str,
        recent: Option<jiff::Timestamp>,
        operation_timeout: Option<Duration>,
    ) -> Arc<dyn Interpreter> {
        let locals = Locals::new(Arc::clone(&self.interpreter), Arc::clone(&host.locals));
        let timed = Timed::new(locals, operation_timeout);
        // A look-up as a whole is not bound by the time of one operation: each of its reads is.
        let looked_up = LookedUp::new(timed, Arc::clone(&host.clock)).patience(self.patience).after(recent);
        let registered = Registered::new(looked_up, host.registry.clone(), self.enrolment.clone(), customer, run)
            .patience(self.patience);
        let leased = Leased::new(registered, host.state.leases(), run, [lease]).beside(self.source.clone());
        let leased: Arc<dyn Interpreter> = Arc::new(leased);
        host.connections.wiring.layers.iter().fold(leased, |inner, layer| layer(inner))
    }

    /// The organization's identity; a pinned target has none.
    fn organization(&self) -> Result<String, Failure> {
        match &self.enrolment {
            Enrolment::Organization { identity, .. } => Ok(identity.clone()),
            Enrolment::Pinned { hostname } => Err(Failure::new(
                FailureKind::Denied,
                "tenantry/pinned",
                format!("this target is pinned to the tenant {hostname}: the registry holds nothing of it"),
            )),
        }
    }

    /// The tenant that the target is pinned to.
    pub(super) fn pinned(&self) -> Option<String> {
        match &self.enrolment {
            Enrolment::Pinned { hostname } => Some(hostname.clone()),
            Enrolment::Organization { .. } => None,
        }
    }

    /// The customer's tenant as the registry has it after a run.
    pub(super) async fn tenant_of(&self, host: &Inner, customer: &str) -> Option<super::TenantSummary> {
        let tenant = match &self.enrolment {
            Enrolment::Pinned { hostname } => {
                return Some(self.summary(String::new(), hostname.clone(), None));
            }
            Enrolment::Organization { identity, .. } => {
                let (identity, customer) = (identity.clone(), customer.to_owned());
                host.registry.ask(move |registry| registry.tenant(&identity, &customer)).await.ok()??
            }
        };
        Some(self.summary(tenant.id, tenant.hostname, tenant.alias))
    }

    fn summary(&self, id: String, hostname: String, alias: Option<String>) -> super::TenantSummary {
        let name = alias.unwrap_or_else(|| hostname.clone());
        let url = self.addresses.shown(&name);
        super::TenantSummary { id, hostname, url }
    }
}

/// The registry's entry for a tenant that was there before.
fn as_tenant(customer: &str, document: &serde_json::Value) -> Option<Tenant> {
    let text = |value: &serde_json::Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let hostname = text(&document["hostnames"][0])?;
    let of_host = hostname.split('.').nth(1).unwrap_or_default().to_owned();
    Some(Tenant {
        customer: customer.to_owned(),
        id: text(&document["id"])?,
        alias: text(&document["hostnames"][1]),
        region: text(&document["region"]).unwrap_or(of_host),
        name: text(&document["name"]),
        status: text(&document["status"]).unwrap_or_else(|| "active".to_owned()),
        created_by_run: None,
        hostname,
    })
}

/// `GET tenants/me` (qlik.dev, tenants REST API).
pub(super) fn my_tenant(hostname: &str) -> Operation {
    Operation {
        id: "getMyTenant".to_owned(),
        call: Call::Request(Request::new(Host::Tenant(hostname.to_owned()), http::Method::GET, "/api/v1/tenants/me")),
        effect: Effect::Read,
        subject: format!("tenant {hostname}"),
        site: None,
    }
}
