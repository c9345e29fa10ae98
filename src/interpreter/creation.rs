//! What became of a tenant's creation: the registry knows, or the organization's list shows.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::patience::Patience;
use super::reading::{key_of, reading};
use super::registered::{Enrolment, Registered};
use super::settlement::look_up_failed;
use super::strays::{Stray, region_of, strays};
use super::{Interpreter, Settlement, cannot_tell};
use crate::contract::contract;
use crate::operation::{Failure, Host, Key, Operation, Payload, Request, Response};
use crate::store::{Intent, RegistryError, Tenant, unsettled_hint};

impl<I: Interpreter> Registered<I> {
    /// Whether a `createTenant` of this run was performed.
    pub(super) async fn settle_creation(
        &self,
        key: &Key,
        operation: &Operation,
        request: &Request,
        since: Timestamp,
    ) -> Result<Settlement, Failure> {
        let (Enrolment::Organization { identity, .. }, Host::Register(region)) = (&self.target, &request.host) else {
            return self.inner.settle(key, operation, since).await;
        };
        let (organization, customer) = (identity.clone(), self.customer.clone());
        let (tenant, intent) = self
            .ask(move |registry| {
                Ok((registry.tenant(&organization, &customer)?, registry.intent(&organization, &customer)?))
            })
            .await?;
        if let Some(tenant) = tenant {
            // A tenant of another run was there first: this creation was refused. One that was adopted settles it.
            let ours = tenant.created_by_run.as_ref().is_none_or(|run| *run == self.run);
            return if ours { self.performed(key, operation, &tenant).await } else { Ok(Settlement::NotPerformed) };
        }
        // Without an intent of its own nothing was ever sent.
        let Some(intent) = intent.filter(|intent| intent.run == self.run && intent.key == key.to_string()) else {
            return Ok(Settlement::NotPerformed);
        };
        match self.settle_intent(key, operation, &intent, region).await? {
            Some(tenant) => self.performed(key, operation, &tenant).await,
            None => Ok(Settlement::NotPerformed),
        }
    }

    /// Looks for the tenant that an intent has made in `region`. What is found is adopted; an intent that has made none is taken
    /// back.
    pub(super) async fn settle_intent(
        &self,
        key: &Key,
        operation: &Operation,
        intent: &Intent,
        region: &str,
    ) -> Result<Option<Tenant>, Failure> {
        let Enrolment::Organization { identity, lists: true, .. } = &self.target else {
            return Err(self.unknown(cannot_tell(operation, "the tenants of the organization cannot be listed here")));
        };
        let mut patience = Patience::new(self.registry.clock(), intent.since, self.patience);
        loop {
            let organization = identity.clone();
            let owned = self.ask(move |registry| registry.tenants(&organization)).await?;
            let all = strays(&self.inner, key, &owned).await;
            let all = all.map_err(|why| self.unknown(look_up_failed(operation, &why)))?;
            let found: Vec<&Stray> = all.iter().filter(|stray| stray.may_come_from(region, intent.since)).collect();
            let Some(first) = found.first() else {
                if patience.another_look().await {
                    continue;
                }
                let (organization, own) = (identity.clone(), intent.clone());
                self.ask(move |registry| registry.take_back(&organization, &own.customer, &own.run, &own.key)).await?;
                return Ok(None);
            };
            if found.len() > 1 && found.len() > self.rivals(identity, intent, region, &found).await? {
                return Err(self.ambiguous(operation, &found));
            }
            let tenant = Tenant {
                customer: intent.customer.clone(),
                id: first.id.clone(),
                hostname: first.hostname.clone(),
                alias: None,
                region: region.to_owned(),
                name: None,
                status: first.status.clone(),
                created_by_run: Some(intent.run.clone()),
            };
            let (organization, adopted) = (identity.clone(), tenant.clone());
            let entered = self.registry.ask(move |registry| registry.settle_created(&organization, &adopted)).await;
            match entered {
                Ok(()) => return Ok(Some(tenant)),
                // Another run was faster; there is one fewer now.
                Err(RegistryError::TakenBy(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// How many creations with an unknown end may have made some of these tenants: they are all alike, so that it does not
    /// matter which takes which.
    async fn rivals(&self, organization: &str, own: &Intent, region: &str, found: &[&Stray]) -> Result<usize, Failure> {
        let organization = organization.to_owned();
        let all: Vec<(Intent, Option<String>)> = self
            .ask(move |registry| {
                let journal = registry.journal();
                let intents = registry.intents(&organization)?;
                let with_region = |intent: Intent| {
                    let region = region_of(&journal, &intent);
                    (intent, region)
                };
                Ok(intents.into_iter().map(with_region).collect())
            })
            .await?;
        let may = |intent: &Intent| found.iter().any(|stray| stray.may_come_from(region, intent.since));
        let same = |known: &Option<String>| known.as_deref() == Some(region);
        Ok(all.iter().filter(|(intent, known)| intent == own || (same(known) && may(intent))).count())
    }

    /// The failure with what a person does about a tenant: the registry must learn of it too.
    fn unknown(&self, failure: Failure) -> Failure {
        failure.hint(unsettled_hint(&self.customer))
    }

    fn ambiguous(&self, operation: &Operation, found: &[&Stray]) -> Failure {
        let names: Vec<String> = found.iter().map(|stray| stray.shown()).collect();
        let customer = &self.customer;
        let why = format!(
            "{} tenants that nobody knows were created since then, any of which may be the one: {}",
            names.len(),
            names.join(", ")
        );
        cannot_tell(operation, &why).hint(format!(
            "find out which is the one of `{customer}`, such as by its creator in the management console, then \
             `tenantry tenants adopt {customer} HOSTNAME`, or `tenantry tenants adopt {customer} --not-created`"
        ))
    }

    /// The tenant's own document, in place of the answer that made it.
    async fn performed(&self, key: &Key, operation: &Operation, tenant: &Tenant) -> Result<Settlement, Failure> {
        let read = contract().operation("getMyTenant").expect("the contract holds the tenant's own document");
        let host = Host::Tenant(tenant.hostname.clone());
        let own = reading(read, host, read.path.to_owned(), Vec::new(), &operation.subject);
        let answer = self.inner.perform(&key_of(key, read, 0), &own).await;
        let answer = answer.map_err(|why| self.unknown(look_up_failed(operation, &why)))?;
        let payload = Payload::Json(answer.json().clone());
        Ok(Settlement::Performed(Response { status: 201, headers: BTreeMap::new(), payload }))
    }
}
