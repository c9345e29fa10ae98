use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::locals::text;
use super::patience::PATIENCE;
use super::{Interpreter, Settlement};
use crate::operation::{Body, Call, Failure, FailureKind, Host, Key, Operation, Outcome, Request, Response, secret};
use crate::store::{Leases, Registry, RegistryError, Tenant, unsettled_hint};

/// Makes sure that no tenant is created twice and none is lost: answers `tenantry.registry.lookup` and
/// `tenantry.registry.adopt`, and stands around the creation of a tenant. Keeps the customer's marks: `tenantry.findMark`,
/// `tenantry.noteMark`.
///
/// The intent is durable before the request goes out, the tenant before its answer goes on. A creation whose end is not
/// known stays in the registry until a person or a look-up settles it; it is never repeated.
#[derive(Clone, Debug)]
pub struct Registered<I> {
    pub(super) inner: I,
    pub(super) registry: Registry,
    pub(super) target: Enrolment,
    pub(super) customer: String,
    pub(super) run: String,
    pub(super) patience: Duration,
}

/// What a target says about tenants.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Enrolment {
    /// It is one tenant: nothing is created or registered.
    Pinned {
        /// The tenant's host name.
        hostname: String,
    },
    /// It is an organization, whose tenants are in the registry.
    Organization {
        /// Under which the registry knows it.
        identity: String,
        /// Whether a tenant may be created even when the registry knows nothing of the organization: there is a list to
        /// look in (a console client), or someone said so (`--new-registry`), or it is the sandbox.
        may_begin: bool,
        /// Whether the organization's tenants can be listed.
        lists: bool,
        /// The licence for new tenants.
        license: License,
    },
}

/// Where the licence key for a new tenant comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum License {
    /// The secret of this name.
    Key(String),
    /// The overview of the tenant with this host name.
    From(String),
    /// None is set: no tenant can be created.
    None,
}

impl<I: Interpreter> Registered<I> {
    /// The registry around `inner`, for one run of one customer.
    pub fn new(
        inner: I,
        registry: Registry,
        target: Enrolment,
        customer: impl Into<String>,
        run: impl Into<String>,
    ) -> Self {
        Self { inner, registry, target, customer: customer.into(), run: run.into(), patience: PATIENCE }
    }

    /// The same with another patience than [`PATIENCE`] with a tenant that does not show up in the organization's list.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The organization's identity.
    fn organization(&self) -> Result<&str, Failure> {
        match &self.target {
            Enrolment::Organization { identity, .. } => Ok(identity),
            Enrolment::Pinned { hostname } => Err(Failure::new(
                FailureKind::Denied,
                "tenantry/pinned",
                format!("this target is pinned to the tenant {hostname}: none is created or registered"),
            )),
        }
    }

    /// Asks the registry where that holds up nobody.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Registry) -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, Failure> {
        Ok(self.registry.ask(question).await?)
    }

    /// Under which name the registry keeps the marks of this target.
    fn scope(&self) -> String {
        match &self.target {
            Enrolment::Organization { identity, .. } => identity.clone(),
            Enrolment::Pinned { hostname } => Leases::tenant(hostname),
        }
    }

    async fn find_mark(&self, arguments: &Value) -> Result<Value, Failure> {
        let (scope, customer, name) = (self.scope(), self.customer.clone(), text(arguments, "name")?.to_owned());
        let mark = self.ask(move |registry| registry.mark(&scope, &customer, &name)).await?;
        Ok(mark.unwrap_or_default())
    }

    async fn note_mark(&self, arguments: &Value) -> Result<Value, Failure> {
        let (scope, customer, name) = (self.scope(), self.customer.clone(), text(arguments, "name")?.to_owned());
        let mark = Some(arguments["mark"].clone()).filter(|mark| !mark.is_null());
        self.ask(move |registry| registry.set_mark(&scope, &customer, &name, mark.as_ref())).await?;
        Ok(Value::Null)
    }

    async fn look_up(&self, key: &Key, operation: &Operation, arguments: &Value) -> Result<Value, Failure> {
        let (identity, lists, license) = match &self.target {
            Enrolment::Pinned { hostname } => return Ok(json!({ "state": "pinned", "hostname": hostname })),
            Enrolment::Organization { identity, lists, license, .. } => (identity, lists, license),
        };
        let customer = text(arguments, "customer")?.to_owned();
        let (organization, asked) = (identity.clone(), customer.clone());
        let (tenant, intent) = self
            .ask(move |registry| Ok((registry.tenant(&organization, &asked)?, registry.intent(&organization, &asked)?)))
            .await?;
        if let Some(tenant) = tenant {
            return Ok(entry("known", &tenant));
        }
        if let Some(intent) = intent {
            let unsettled = |hint: Option<String>| json!({ "state": "unsettled", "since": intent.since.to_string(), "run": intent.run, "hint": hint });
            // Only the run of a customer works on it: nobody waits for this creation any more.
            if !*lists || customer != self.customer {
                return Ok(unsettled(Some(unsettled_hint(&customer))));
            }
            let region = text(arguments, "region")?;
            match self.settle_intent(key, operation, &intent, region).await {
                Ok(Some(tenant)) => return Ok(entry("known", &tenant)),
                Ok(None) => {}
                Err(failure) if failure.code == "tenantry/unsettled" => {
                    let why = failure.detail.map(|detail| format!("{detail}; ")).unwrap_or_default();
                    let what = failure.hint.unwrap_or_else(|| unsettled_hint(&customer));
                    return Ok(unsettled(Some(format!("{why}{what}"))));
                }
                Err(failure) => return Err(failure),
            }
        }
        let mut absent = json!({ "state": "absent", "list": lists });
        match self.may_create(&customer).await? {
            Ok(()) => absent["create"] = json!(true),
            Err(refusal) => {
                absent["create"] = json!(false);
                absent["why"] = json!(refusal.title);
                absent["hint"] = json!(refusal.hint);
            }
        }
        match license {
            License::Key(name) => absent["license"] = json!({ "key": secret::reference(name) }),
            License::From(host) => absent["license"] = json!({ "from": host }),
            License::None => {}
        }
        Ok(absent)
    }

    /// Whether a tenant may be created for `customer`; the inner error says why not.
    async fn may_create(&self, customer: &str) -> Result<Result<(), Failure>, Failure> {
        let Enrolment::Organization { identity, may_begin, license, .. } = &self.target else {
            return Ok(self.organization().map(|_| ()));
        };
        if customer != self.customer {
            let title = format!("this run is for customer `{}`: it creates no tenant for `{customer}`", self.customer);
            return Ok(Err(Failure::new(FailureKind::Denied, "tenantry/other-customer", title)));
        }
        if *license == License::None {
            let failure =
                Failure::new(FailureKind::Denied, "tenantry/no-license", "this target has no licence for new tenants");
            return Ok(Err(failure.hint(
                "add `license_key = { env = \"NAME\" }` or `license_from = \"HOSTNAME\"` to the target in tenantry.toml",
            )));
        }
        let organization = identity.clone();
        if *may_begin || self.ask(move |registry| registry.knows(&organization)).await? {
            return Ok(Ok(()));
        }
        let renewed = if identity.starts_with("license-key-") {
            "; when only the licence key was renewed, name the organization in the target: organization = \"...\""
        } else {
            ""
        };
        let title =
            format!("the registry knows no tenant of organization {identity}, so `{customer}` may have one already");
        let failure = Failure::new(FailureKind::Denied, "tenantry/new-registry", title);
        Ok(Err(failure.hint(format!(
            "bring .tenantry/state.db here from where it was used, or add a console client to the target so that tenants \
             can be listed, or enter the tenant with `tenantry tenants adopt {customer} HOSTNAME`; for the organization's \
             first tenants say --new-registry{renewed}"
        ))))
    }

    async fn adopt(&self, arguments: &Value) -> Result<Value, Failure> {
        let organization = self.organization()?.to_owned();
        let customer = text(arguments, "customer")?;
        if customer != self.customer {
            let title =
                format!("this run is for customer `{}`: it registers no tenant for `{customer}`", self.customer);
            return Err(Failure::new(FailureKind::Denied, "tenantry/other-customer", title));
        }
        let optional = |name: &str| arguments[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let tenant = Tenant {
            customer: customer.to_owned(),
            id: text(arguments, "id")?.to_owned(),
            hostname: text(arguments, "hostname")?.to_owned(),
            alias: optional("alias"),
            region: text(arguments, "region")?.to_owned(),
            name: optional("name"),
            status: optional("status").unwrap_or_else(|| "active".to_owned()),
            created_by_run: None,
        };
        let answer = entry("known", &tenant);
        self.ask(move |registry| registry.adopt(&organization, &tenant)).await?;
        Ok(answer)
    }

    async fn create(&self, key: &Key, operation: &Operation, request: &Request) -> Outcome {
        let organization = self.organization()?.to_owned();
        self.may_create(&self.customer).await??;
        Begun::begin(self, organization.clone(), key, operation).await?.goes_out();
        let answer = match self.inner.perform(key, operation).await {
            Ok(answer) => answer,
            Err(failure) if failure.may_have_acted() => return Err(self.unsettled(failure)),
            Err(failure) => {
                let (customer, run, key) = (self.customer.clone(), self.run.clone(), key.to_string());
                let settled = self.ask(move |registry| registry.take_back(&organization, &customer, &run, &key)).await;
                return Err(if settled.is_ok() { failure } else { self.unsettled(failure) });
            }
        };
        let Some(tenant) = self.created(&answer, request) else {
            let failure = Failure {
                status: Some(answer.status),
                ..Failure::new(
                    FailureKind::Unknown,
                    "tenantry/broken-answer",
                    "the answer to creating a tenant names no tenant, so it is not known which one was created",
                )
            };
            return Err(self.unsettled(failure));
        };
        let (id, hostname) = (tenant.id.clone(), tenant.hostname.clone());
        match self.ask(move |registry| registry.settle_created(&organization, &tenant)).await {
            Ok(()) => Ok(answer),
            Err(failure) => Err(self.unsettled(Failure {
                kind: FailureKind::Unknown,
                detail: Some(format!("tenant {id} ({hostname}) was created, and the registry could not keep it")),
                hint: None,
                ..failure
            })),
        }
    }

    /// The tenant in the answer to its creation.
    fn created(&self, answer: &Response, request: &Request) -> Option<Tenant> {
        let body = answer.json();
        let of_host = match &request.host {
            Host::Register(region) => region.as_str(),
            Host::Console | Host::Tenant(_) => "",
        };
        let present = |text: &&str| !text.is_empty();
        Some(Tenant {
            customer: self.customer.clone(),
            id: body["id"].as_str().filter(present)?.to_owned(),
            hostname: body["hostnames"][0].as_str().filter(present)?.to_owned(),
            alias: body["hostnames"][1].as_str().map(str::to_owned),
            region: body["region"].as_str().filter(present).unwrap_or(of_host).to_owned(),
            // A new tenant's name is its random host label: no name anyone gave.
            name: None,
            status: body["status"].as_str().unwrap_or("active").to_owned(),
            created_by_run: Some(self.run.clone()),
        })
    }

    fn unsettled(&self, failure: Failure) -> Failure {
        let advice = format!(
            "a tenant may have been created for `{}`; nothing is repeated until that is known: {}",
            self.customer,
            unsettled_hint(&self.customer)
        );
        let hint = match &failure.hint {
            Some(hint) => format!("{hint}; {advice}"),
            None => advice,
        };
        failure.hint(hint)
    }

    /// Keeps the registry's entry like the tenant after a successful write to it.
    async fn note(&self, operation: &Operation, request: &Request, answer: &Response) {
        let Ok(organization) = self.organization() else { return };
        let Some(id) = request.path.strip_prefix("/api/v1/tenants/").and_then(|rest| rest.split('/').next()) else {
            return;
        };
        let (mut name, mut alias, mut status) = (None, None, None);
        match (operation.id.as_str(), &request.body) {
            ("patchTenant", Body::Json(Value::Array(changes))) => {
                for change in changes {
                    let value = change["value"].as_str().map(str::to_owned);
                    match change["path"].as_str().map(|path| path.trim_start_matches('/')) {
                        Some("name") => name = value,
                        Some("hostnames/1") => alias = value,
                        _ => {}
                    }
                }
            }
            ("deactivateTenant" | "reactivateTenant", _) => {
                status = answer.json()["status"].as_str().map(str::to_owned);
            }
            _ => return,
        }
        let (organization, id) = (organization.to_owned(), id.to_owned());
        let noted = self
            .ask(move |registry| {
                registry.update(&organization, &id, name.as_deref(), alias.as_deref(), status.as_deref())
            })
            .await;
        if let Err(failure) = noted {
            // The tenant itself is right; the entry only misses what the next look-up brings back.
            tracing::warn!(%failure, "the registry could not note a change of the tenant");
        }
    }
}

fn entry(state: &str, tenant: &Tenant) -> Value {
    json!({
        "state": state,
        "id": tenant.id,
        "hostname": tenant.hostname,
        "alias": tenant.alias,
        "region": tenant.region,
        "name": tenant.name,
        "status": tenant.status,
    })
}

impl<I: Interpreter> Interpreter for Registered<I> {
    fn perform<'a>(&'a self, key: &'a Key, operation: &'a Operation) -> BoxFuture<'a, Outcome> {
        match (&operation.call, operation.id.as_str()) {
            (Call::Local { arguments }, "tenantry.registry.lookup") => {
                async move { self.look_up(key, operation, arguments).await.map(Response::local) }.boxed()
            }
            (Call::Local { arguments }, "tenantry.registry.adopt") => {
                async move { self.adopt(arguments).await.map(Response::local) }.boxed()
            }
            // { name } -> what was noted of the thing; null when nothing was
            (Call::Local { arguments }, "tenantry.findMark") => {
                async move { self.find_mark(arguments).await.map(Response::local) }.boxed()
            }
            // { name, mark } -> nothing; null takes away what was noted
            (Call::Local { arguments }, "tenantry.noteMark") => {
                async move { self.note_mark(arguments).await.map(Response::local) }.boxed()
            }
            (Call::Request(request), "createTenant") => self.create(key, operation, request).boxed(),
            (Call::Request(request), "patchTenant" | "deactivateTenant" | "reactivateTenant") => async move {
                let answer = self.inner.perform(key, operation).await?;
                self.note(operation, request, &answer).await;
                Ok(answer)
            }
            .boxed(),
            _ => self.inner.perform(key, operation),
        }
    }

    fn settle<'a>(
        &'a self,
        key: &'a Key,
        operation: &'a Operation,
        since: Timestamp,
    ) -> BoxFuture<'a, Result<Settlement, Failure>> {
        match (&operation.call, operation.id.as_str()) {
            // Entering the same tenant again changes nothing.
            (Call::Local { .. }, "tenantry.registry.lookup" | "tenantry.registry.adopt") => {
                ready(Ok(Settlement::NotPerformed)).boxed()
            }
            (Call::Request(request), "createTenant") => self.settle_creation(key, operation, request, since).boxed(),
            _ => self.inner.settle(key, operation, since),
        }
    }
}

/// An intent that is in the registry. Dropped before its request goes out (the run was cancelled while the registry
/// wrote), it takes the intent back; from then on only an outcome settles it.
struct Begun {
    registry: Registry,
    organization: String,
    customer: String,
    run: String,
    key: String,
    out: bool,
}

impl Begun {
    async fn begin<I: Interpreter>(
        layer: &Registered<I>,
        organization: String,
        key: &Key,
        operation: &Operation,
    ) -> Result<Self, Failure> {
        let (registry, customer, run) = (layer.registry.clone(), layer.customer.clone(), layer.run.clone());
        let (key, digest) = (key.to_string(), operation.digest().to_string());
        layer
            .ask(move |state| {
                state.begin_create(&organization, &customer, &run, &key, &digest)?;
                Ok(Self { registry, organization, customer, run, key, out: false })
            })
            .await
    }

    fn goes_out(mut self) {
        self.out = true;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if self.out {
            return;
        }
        let registry = self.registry.clone();
        let [organization, customer, run, key] =
            [&mut self.organization, &mut self.customer, &mut self.run, &mut self.key].map(std::mem::take);
        let take_back = move || {
            if let Err(error) = registry.take_back(&organization, &customer, &run, &key) {
                tracing::warn!(%error, "an intent whose request was never sent could not be taken back");
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(take_back)),
            Err(_) => take_back(),
        }
    }
}
