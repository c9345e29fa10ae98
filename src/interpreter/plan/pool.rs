//! The organization's pool of seats, which all its tenants share: what of it a plan needs, and what is left.

use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::{Of, Overlay};
use crate::contract::contract;
use crate::interpreter::reading::reading;
use crate::operation::{Call, Host, Key, Operation, Request};
use crate::sandbox::{SeatChange, Seated};

const OVERVIEW: &str = "getLicenseOverview";
/// What every tenant answers for the whole organization (qlik.dev, licenses REST API).
const SHARED: [&str; 2] = [OVERVIEW, "getLicenseAssignments"];

/// What is known of the organization's licence.
#[derive(Default)]
pub(super) struct License {
    /// A tenant that shows it while the customer's own does not exist.
    host: Option<String>,
    overview: Mutex<Option<Value>>,
}

impl License {
    /// Keeps what a tenant answers about it.
    pub(super) fn hear(&self, operation: &str, answer: &Value) {
        if operation == OVERVIEW {
            *self.overview.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer.clone());
        }
    }

    fn overview(&self) -> Option<Value> {
        self.overview.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Overlay {
    /// The same with what is known of the organization: a tenant that shows its licence while the customer's own does not
    /// exist, and where the client has the seat of its bots already.
    #[must_use]
    pub fn organization(mut self, host: Option<String>, seated: Seated) -> Self {
        self.license.host = host;
        self.shared.model().seat_bots(seated);
        self
    }

    /// Takes note of what an operation answers about the licence, when that is known without asking.
    pub fn know_license(&self, operation: &str, answer: &Value) {
        self.license.hear(operation, answer);
        self.shared.model().learn_license(operation, answer);
    }

    /// What a tenant that does not exist yet would answer for the whole organization another one knows.
    pub(super) async fn look_at_license(&self, key: &Key, operation: &Operation, request: &Request) {
        let Some(host) = self.license.host.as_ref().filter(|_| SHARED.contains(&operation.id.as_str())) else { return };
        let mut there = operation.clone();
        there.call = Call::Request(Request { host: Host::Tenant(host.clone()), next: None, ..request.clone() });
        if let Ok(answer) = self.whole(Of::Target, key, &there).await {
            self.shared.model().learn_license(&operation.id, answer.json());
        }
    }

    /// The seats that the planned writes take and give back. Asks a tenant that gets users whether it assigns seats by
    /// itself, when nobody has shown that.
    pub async fn seats(&self) -> Vec<SeatChange> {
        let unsettled = self.shared.model().unsettled_hosts();
        for host in unsettled {
            self.look(&host, "getLicenseSettings").await;
        }
        self.shared.model().seats()
    }

    /// The licence's overview as a tenant answers it: as the script has read it, or read now. None when there is no tenant
    /// to ask, or it does not answer.
    pub async fn pool(&self) -> Option<Value> {
        if self.license.overview().is_none() {
            let hosts: Vec<String> = {
                let (model, notes) = (self.shared.model(), self.notes());
                let asked = notes.planned.iter().filter_map(|planned| match &planned.operation.request()?.host {
                    Host::Tenant(host) => Some(host.clone()),
                    Host::Register(_) | Host::Console => None,
                });
                asked.filter(|host| !model.is_born(host)).collect()
            };
            if let Some(host) = hosts.first().or(self.license.host.as_ref()) {
                self.look(host, OVERVIEW).await;
            }
        }
        self.license.overview()
    }

    /// Whether the licence shows a seat of this subject.
    #[must_use]
    pub fn has_seat(&self, subject: &str) -> bool {
        self.shared.model().has_seat(subject)
    }

    /// Reads what the plan needs to know and no script has asked for.
    async fn look(&self, host: &str, operation: &str) {
        let Some(published) = contract().operation(operation) else { return };
        let host = Host::Tenant(host.to_owned());
        let look = reading(published, host, published.path.to_owned(), Vec::new(), "licence");
        let key = Key { branch: Vec::new(), call: 0, id: operation.to_owned(), ordinal: 0 };
        if let (Ok(answer), Some(request)) = (self.ask(&key, &look).await, look.request()) {
            self.learn(&look, request, &answer);
        }
    }
}
