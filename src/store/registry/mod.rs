pub(super) mod marks;
pub(super) mod rows;

use std::fmt;

use jiff::Timestamp;
use rusqlite::Connection;
use serde::Serialize;

use self::rows::{IntentRow, TenantRow};
use super::{Journal, State, StateError, totals};
use crate::operation::{Failure, FailureKind};
use crate::surroundings::Clock;

/// Which customer of which organization has which tenant, durably (`.tenantry/state.db`).
///
/// Creating a tenant cannot be repeated and cannot be looked up by name. So an [`Intent`] is written before the request
/// goes out, and the tenant after the answer came; an intent that is left says that a tenant may exist.
///
/// Every method blocks until the disk has it.
#[derive(Clone)]
pub struct Registry(State);

/// A customer's tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tenant {
    /// The customer's code.
    pub customer: String,
    /// The tenant's id.
    pub id: String,
    /// Its random system host name, which never changes.
    pub hostname: String,
    /// Its alias host name, when one was set.
    pub alias: Option<String>,
    /// Its region: `eu`.
    pub region: String,
    /// Its name, when one was set.
    pub name: Option<String>,
    /// Its status in Qlik's words: `active`, `disabled`.
    pub status: String,
    /// The run that created it; none when it was adopted.
    pub created_by_run: Option<String>,
}

/// A tenant creation that was begun and whose end is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Intent {
    /// The customer's code.
    pub customer: String,
    /// The run that began it.
    pub run: String,
    /// The operation's key in that run.
    pub key: String,
    /// The fingerprint of the request.
    pub digest: String,
    /// When.
    #[serde(serialize_with = "as_text")]
    pub since: Timestamp,
}

fn as_text<S: serde::Serializer>(since: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(since)
}

/// The registry cannot do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The state file cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// An earlier creation for this customer has no known end.
    #[error("creating a tenant for `{}` was begun {} by run {} and its end is not known", .0.customer, .0.since, .0.run)]
    Unsettled(Box<Intent>),
    /// The customer has a tenant already.
    #[error("customer `{}` already has tenant {} ({})", .0.customer, .0.id, .0.hostname)]
    HasTenant(Box<Tenant>),
    /// The tenant is another customer's already.
    #[error("tenant {} ({}) is already registered for customer `{}`", .0.id, .0.hostname, .0.customer)]
    TakenBy(Box<Tenant>),
}

impl RegistryError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::State(error) => return error.hint(),
            Self::Unsettled(intent) => unsettled_hint(&intent.customer),
            Self::HasTenant(_) | Self::TakenBy(_) => "see `tenantry tenants list`".to_owned(),
        })
    }
}

/// What a person does about a creation whose end is not known.
pub(crate) fn unsettled_hint(customer: &str) -> String {
    format!(
        "look for the tenant with `tenantry tenants strays --target T` or in the console; when it is there, \
         `tenantry tenants adopt {customer} HOSTNAME`, when it is not, `tenantry tenants adopt {customer} --not-created`"
    )
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        let code = match &error {
            RegistryError::Unsettled(_) => "tenantry/unsettled",
            RegistryError::HasTenant(_) | RegistryError::TakenBy(_) => "tenantry/registered",
            _ => "tenantry/registry",
        };
        let failure = Self::new(FailureKind::Denied, code, error.to_string());
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("path", &self.0.path()).finish_non_exhaustive()
    }
}

impl Registry {
    pub(super) fn new(state: State) -> Self {
        Self(state)
    }

    /// Asks where that holds up nobody.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Self) -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, RegistryError> {
        let registry = self.clone();
        self.0.off_thread(move || question(&registry)).await
    }

    /// What runs of the same state did.
    pub(crate) fn journal(&self) -> Journal {
        self.0.journal()
    }

    /// Where its times come from.
    pub(crate) fn clock(&self) -> &dyn Clock {
        self.0.clock()
    }

    /// The customer's tenant.
    ///
    /// # Errors
    /// When the state file cannot be read.
    pub fn tenant(&self, organization: &str, customer: &str) -> Result<Option<Tenant>, RegistryError> {
        self.read(|state| Ok(TenantRow::of(state, organization, customer)?.map(|row| row.tenant)))
    }

    /// The customer's creation whose end is not known.
    ///
    /// # Errors
    /// When the state file cannot be read.
    pub fn intent(&self, organization: &str, customer: &str) -> Result<Option<Intent>, RegistryError> {
        self.read(|state| Ok(IntentRow::of(state, organization, customer)?.map(|row| row.intent)))
    }

    /// All tenants of an organization, by customer.
    ///
    /// # Errors
    /// When the state file cannot be read.
    pub fn tenants(&self, organization: &str) -> Result<Vec<Tenant>, RegistryError> {
        self.read(|state| Ok(TenantRow::all(state, organization)?.into_iter().map(|row| row.tenant).collect()))
    }

    /// All creations of an organization whose end is not known, by customer.
    ///
    /// # Errors
    /// When the state file cannot be read.
    pub fn intents(&self, organization: &str) -> Result<Vec<Intent>, RegistryError> {
        self.read(|state| Ok(IntentRow::all(state, organization)?.into_iter().map(|row| row.intent).collect()))
    }

    /// Whether anything is known of an organization: a registry that knows nothing may be the wrong one.
    ///
    /// # Errors
    /// When the state file cannot be read.
    pub fn knows(&self, organization: &str) -> Result<bool, RegistryError> {
        self.read(|state| {
            let known = "SELECT EXISTS (SELECT 1 FROM tenants WHERE organization = ?1)
                         OR EXISTS (SELECT 1 FROM intents WHERE organization = ?1)";
            state.query_row(known, [organization], |row| row.get(0))
        })
    }

    /// Notes that a tenant is about to be created. Durable when this returns.
    ///
    /// # Errors
    /// When the customer has a tenant, or an earlier creation for it has no known end; or the state file cannot be
    /// written.
    pub fn begin_create(
        &self,
        organization: &str,
        customer: &str,
        run: &str,
        key: &str,
        digest: &str,
    ) -> Result<(), RegistryError> {
        let since = self.0.clock().now();
        let [organization, customer, run, key, digest] = [organization, customer, run, key, digest].map(str::to_owned);
        self.change(move |state| {
            // What follows cannot be taken back, so a row that the disk lost must not look like none.
            let tenants = TenantRow::all(state, &organization)?;
            let intents = IntentRow::all(state, &organization)?;
            if let Some(known) = tenants.into_iter().find(|row| row.tenant.customer == customer) {
                return Ok(Err(RegistryError::HasTenant(Box::new(known.tenant))));
            }
            if let Some(known) = intents.into_iter().find(|row| row.intent.customer == customer) {
                return Ok(Err(RegistryError::Unsettled(Box::new(known.intent))));
            }
            IntentRow { organization, intent: Intent { customer, run, key, digest, since } }.put(state)?;
            Ok(Ok(()))
        })
    }

    /// Notes the tenant that was created and settles the intent, in one step. Durable when this returns.
    ///
    /// # Errors
    /// When the customer or the tenant is registered otherwise, or the state file cannot be written: the intent stays.
    pub fn settle_created(&self, organization: &str, tenant: &Tenant) -> Result<(), RegistryError> {
        self.enter(organization, tenant)
    }

    /// Settles an intent whoever wrote it, because someone looked and there is no tenant. Says whether there was one. Durable when this returns.
    ///
    /// # Errors
    /// When the state file cannot be written.
    pub fn settle_not_created(&self, organization: &str, customer: &str) -> Result<bool, RegistryError> {
        let [organization, customer] = [organization, customer].map(str::to_owned);
        self.change(move |state| {
            let Some(intent) = IntentRow::of(state, &organization, &customer)? else { return Ok(Ok(false)) };
            intent.remove(state)?;
            Ok(Ok(true))
        })
    }

    /// Takes back an intent that this run wrote at this key: its request was never sent, or was refused. One that another
    /// run has written meanwhile stays. Durable when this returns.
    ///
    /// # Errors
    /// When the state file cannot be written.
    pub fn take_back(&self, organization: &str, customer: &str, run: &str, key: &str) -> Result<bool, RegistryError> {
        let [organization, customer, run, key] = [organization, customer, run, key].map(str::to_owned);
        self.change(move |state| match IntentRow::of(state, &organization, &customer)? {
            Some(row) if row.intent.run == run && row.intent.key == key => {
                row.remove(state)?;
                Ok(Ok(true))
            }
            _ => Ok(Ok(false)),
        })
    }

    /// Enters a tenant that exists, or brings its entry up to date (an alias or name that is not given stays); settles an intent of the customer. Durable when
    /// this returns.
    ///
    /// # Errors
    /// When the customer has another tenant, the tenant is another customer's, or the state file cannot be written.
    pub fn adopt(&self, organization: &str, tenant: &Tenant) -> Result<(), RegistryError> {
        self.enter(organization, tenant)
    }

    fn enter(&self, organization: &str, tenant: &Tenant) -> Result<(), RegistryError> {
        let now = self.0.clock().now().to_string();
        let (organization, tenant) = (organization.to_owned(), tenant.clone());
        self.change(move |state| {
            let before = TenantRow::of(state, &organization, &tenant.customer)?;
            if let Some(known) = before.as_ref().filter(|known| known.tenant.id != tenant.id) {
                return Ok(Err(RegistryError::HasTenant(Box::new(known.tenant.clone()))));
            }
            if let Some(known) = TenantRow::by_id(state, &organization, &tenant.id)?
                && known.tenant.customer != tenant.customer
            {
                return Ok(Err(RegistryError::TakenBy(Box::new(known.tenant))));
            }
            let mut row = TenantRow { organization, tenant, created_at: now.clone(), updated_at: now };
            if let Some(before) = &before {
                let (own, known) = (&mut row.tenant, &before.tenant);
                own.alias = own.alias.take().or_else(|| known.alias.clone());
                own.name = own.name.take().or_else(|| known.name.clone());
                own.created_by_run.clone_from(&known.created_by_run);
                row.created_at.clone_from(&before.created_at);
            }
            row.put(state, before.as_ref())?;
            if let Some(intent) = IntentRow::of(state, &row.organization, &row.tenant.customer)? {
                intent.remove(state)?;
            }
            Ok(Ok(()))
        })
    }

    /// Brings name, alias or status of a registered tenant up to date; what is `None` stays. Says whether the tenant is
    /// registered.
    ///
    /// # Errors
    /// When the state file cannot be written.
    pub fn update(
        &self,
        organization: &str,
        id: &str,
        name: Option<&str>,
        alias: Option<&str>,
        status: Option<&str>,
    ) -> Result<bool, RegistryError> {
        let now = self.0.clock().now().to_string();
        let [organization, id] = [organization, id].map(str::to_owned);
        let [name, alias, status] = [name, alias, status].map(|text| text.map(str::to_owned));
        self.change(move |state| {
            let Some(before) = TenantRow::by_id(state, &organization, &id)? else { return Ok(Ok(false)) };
            let mut row = TenantRow { updated_at: now, ..before.clone() };
            row.tenant.name = name.or(row.tenant.name);
            row.tenant.alias = alias.or(row.tenant.alias);
            row.tenant.status = status.unwrap_or(row.tenant.status);
            row.put(state, Some(&before))?;
            Ok(Ok(true))
        })
    }

    /// Takes a customer's tenant out of the registry; the tenant itself stays. Says whether there was one.
    ///
    /// # Errors
    /// When the state file cannot be written.
    pub fn forget(&self, organization: &str, customer: &str) -> Result<bool, RegistryError> {
        let [organization, customer] = [organization, customer].map(str::to_owned);
        self.change(move |state| {
            let Some(tenant) = TenantRow::of(state, &organization, &customer)? else { return Ok(Ok(false)) };
            tenant.remove(state)?;
            state.execute("DELETE FROM marks WHERE organization = ?1 AND customer = ?2", [&organization, &customer])?;
            Ok(Ok(true))
        })
    }

    /// Takes everything of an organization out of the registry: for a sandbox that was reset.
    ///
    /// # Errors
    /// When the state file cannot be written.
    pub fn drop_organization(&self, organization: &str) -> Result<(), RegistryError> {
        let organization = organization.to_owned();
        self.change(move |state| {
            for table in [TenantRow::TABLE, IntentRow::TABLE] {
                state.execute(&format!("DELETE FROM {table} WHERE organization = ?1"), [&organization])?;
                totals::forget(state, table, &organization)?;
            }
            state.execute("DELETE FROM marks WHERE organization = ?1", [&organization])?;
            Ok(Ok(()))
        })
    }

    fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<Result<T, RegistryError>> + Send + 'static,
    ) -> Result<T, RegistryError> {
        self.0.change(work)
    }

    fn read<T>(&self, look: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, RegistryError> {
        self.0.read(look)
    }
}
