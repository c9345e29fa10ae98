//! Brings the rooms together: a [`Host`] runs playbooks of one project for customers against targets.

mod apply;
mod builder;
mod connection;
mod drive;
mod earlier;
mod irreversible;
mod lane;
mod named;
mod open_log;
mod past;
mod plan;
mod planned;
mod record;
mod recorded_run;
mod replay;
mod report;
mod resume;
mod run;
mod seats;
mod teller;
mod trace;
mod undo;
mod unmentioned;
mod work;

pub use builder::{BuildError, HostBuilder};
pub use connection::{Listing, Verdict};
pub use plan::Planning;
pub use planned::{Plan, PlannedChange, PlannedRequest};
pub use record::{RecordedTenant, Whose};
pub use replay::{Difference, Replayed};
pub use report::{RunReport, RunStatus, TenantSummary};
pub use run::{Cancel, Run};
pub use seats::{Seats, share_seats};
pub use undo::{Undo, UndoError, UndoReport, UndoStep, UndoVerdict};
pub use unmentioned::Unmentioned;

use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Runtime;

use self::connection::Connections;
use self::lane::Lanes;
use crate::interpreter::{LocalOperations, Permits, Stray};
use crate::playbook::{self, Diagnostic, Limits};
use crate::project::{Customer, InputError, Project, Schema};
use crate::store::{Fingerprints, Registry, State, Tenant, Vault};
use crate::surroundings::{Clock, Random};

/// Runs playbooks of one project. A cheap handle; clones are the same host.
///
/// It has threads of its own, so its futures work on any runtime.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    project: Project,
    clock: Arc<dyn Clock>,
    random: Random,
    limits: Limits,
    timeouts: run::Timeouts,
    vault: Vault,
    fingerprints: Fingerprints,
    state: State,
    registry: Registry,
    locals: Arc<LocalOperations>,
    connections: Connections,
    lanes: Lanes,
    extensions: Vec<playbook::Extension>,
    /// Those of the embedder among them.
    functions: Vec<playbook::Extension>,
    /// `None` only while dropping.
    io: Option<Runtime>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The last handle may be dropped on a runtime's own thread, where waiting is not allowed.
        if let Some(io) = self.io.take() {
            io.shutdown_background();
        }
    }
}

/// A playbook that has been read, compiled once, and whose inputs and permissions are understood.
#[derive(Clone)]
pub struct Playbook {
    text: playbook::Playbook,
    schema: Option<Arc<(Schema, Vec<u8>)>>,
    permits: Permits,
}

impl Playbook {
    /// Its path relative to the project.
    #[must_use]
    pub fn file(&self) -> &str {
        self.text.file()
    }

    /// What it says it is for.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.text.header().text
    }

    /// The customer as this playbook gets it: checked against the schema it names, if any.
    ///
    /// # Errors
    /// Every way in which the customer breaks the schema, each with its place.
    pub fn admit(&self, customer: &Customer) -> Result<Customer, InputError> {
        self.schema.as_ref().map_or_else(|| Ok(customer.clone()), |schema| schema.0.admit(customer))
    }

    /// The schema's path in the project and what the file held.
    fn schema_file(&self) -> Option<(&str, &[u8])> {
        let path = self.text.header().inputs.as_deref()?;
        Some((path, &self.schema.as_ref()?.1))
    }
}

/// A target cannot be opened, a tenant cannot be adopted, or the registry not be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{failure}")]
pub struct TenantsError {
    /// What went wrong.
    pub failure: crate::operation::Failure,
}

impl Host {
    /// A host to be built.
    #[must_use]
    pub fn builder() -> HostBuilder {
        HostBuilder::default()
    }

    /// The project it runs.
    #[must_use]
    pub fn project(&self) -> &Project {
        &self.0.project
    }

    /// The state file it works on: registry of tenants, journal of runs, leases.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.0.state
    }

    /// Reads a playbook, compiles it, and reads the schema its header names.
    ///
    /// # Errors
    /// When it or its schema cannot be read, its syntax or header is wrong, or it names an unknown permission.
    pub fn playbook(&self, file: impl AsRef<Path>) -> Result<Playbook, Diagnostic> {
        self.understand(playbook::Playbook::load(self.0.project.root(), file.as_ref())?)
    }

    /// A playbook from text, as if it stood in `file` of the project.
    ///
    /// # Errors
    /// As [`Host::playbook`].
    pub fn playbook_from_text(&self, file: &str, text: impl Into<Arc<str>>) -> Result<Playbook, Diagnostic> {
        self.understand(playbook::Playbook::from_source(file, text)?)
    }

    /// What a playbook may do, as it says itself.
    fn permits(&self, text: &playbook::Playbook) -> Result<Permits, Diagnostic> {
        let Some(words) = &text.header().permits else { return Ok(Permits::everything()) };
        let namespaces: Vec<&str> = self.0.locals.namespaces().collect();
        Permits::parse(words.iter().map(String::as_str), &namespaces).map_err(|error| {
            let mut diagnostic = Diagnostic::new(format!("in the @permits line, {error}"));
            diagnostic.hints.extend(error.hint.clone());
            text.place_of(&error.word, diagnostic)
        })
    }

    fn understand(&self, text: playbook::Playbook) -> Result<Playbook, Diagnostic> {
        self.0.lanes.check(&text)?;
        let permits = self.permits(&text)?;
        let schema = match &text.header().inputs {
            None => None,
            Some(file) => {
                let path = self.0.project.root().join(file);
                let schema = Schema::load(&path)
                    .map_err(|error| text.place_of(file, Diagnostic::new(format!("in the @inputs line, {error}"))))?;
                // Read a second time: a file that changes just now is not what was checked, but it is what a person finds.
                Some(Arc::new((schema, std::fs::read(&path).unwrap_or_default())))
            }
        };
        Ok(Playbook { text, schema, permits })
    }

    /// A runtime of the caller's own thread, for [`Run::run_here`].
    #[must_use]
    pub fn local_runtime(&self) -> playbook::Runtime {
        playbook::Runtime::new(self.0.project.root(), &self.0.extensions)
    }

    /// A run of `playbook` for `customer` against the target of this name: await it for its report.
    pub fn run(&self, playbook: &Playbook, customer: &Customer, target: &str) -> Run {
        Run::new(self.clone(), playbook.clone(), customer.clone(), target.to_owned())
    }

    /// Opens a target before its first run: reads the credentials, takes the embedded sandbox for this process, asks
    /// which organization it is. A run does it by itself; many runs would all tell the same error.
    ///
    /// # Errors
    /// When there is no such target, a secret cannot be read, or the target cannot be reached.
    pub async fn open_target(&self, target: &str) -> Result<(), TenantsError> {
        let (host, target) = (self.clone(), target.to_owned());
        self.on_io(async move { host.0.connections.get(&host.0, &target).await.map(drop) }).await
    }

    /// The same before its first plan, which is not to be a client's first token on a tenant unless that is allowed.
    ///
    /// # Errors
    /// As [`Host::open_target`], and when finding out which organization it is takes a first token that is not allowed.
    pub async fn open_target_to_plan(&self, target: &str, allow_first_token: bool) -> Result<(), TenantsError> {
        let (host, target) = (self.clone(), target.to_owned());
        let opened = async move { host.0.connections.get_to_plan(&host.0, &target, allow_first_token).await.map(drop) };
        self.on_io(opened).await
    }

    /// The tenants the registry has for the target's organization, and the creations whose end is not known.
    ///
    /// # Errors
    /// When the target or the registry cannot be used.
    pub async fn tenants(&self, target: &str) -> Result<Listing, TenantsError> {
        let (host, target) = (self.clone(), target.to_owned());
        self.on_io(async move { host.0.connections.listing(&host.0, &target).await }).await
    }

    /// The tenants of the target's organization that no registry row owns, the oldest first, with what past runs say
    /// about them. The tenant that the target takes its licence from is none.
    ///
    /// # Errors
    /// When the target cannot list the organization's tenants, or it or the registry cannot be used.
    pub async fn strays(&self, target: &str) -> Result<Vec<Stray>, TenantsError> {
        let (host, target) = (self.clone(), target.to_owned());
        self.on_io(async move { host.0.connections.strays(&host.0, &target).await }).await
    }

    /// Enters a tenant that exists into the registry as `customer`'s, after asking it who it is.
    ///
    /// # Errors
    /// When the tenant does not answer, or the customer or the tenant is taken.
    pub async fn adopt(&self, target: &str, customer: &str, hostname: &str) -> Result<Tenant, TenantsError> {
        let (host, target) = (self.clone(), target.to_owned());
        let (customer, hostname) = (customer.to_owned(), hostname.to_owned());
        self.on_io(async move { host.0.connections.adopt(&host.0, &target, &customer, &hostname).await }).await
    }

    /// Settles a creation whose end was not known: the person who looked says there is no tenant.
    ///
    /// # Errors
    /// When there is no such creation.
    pub async fn settle_not_created(&self, target: &str, customer: &str) -> Result<Verdict, TenantsError> {
        let (host, target, customer) = (self.clone(), target.to_owned(), customer.to_owned());
        self.on_io(async move { host.0.connections.settle_not_created(&host.0, &target, &customer).await }).await
    }

    /// Performs `work` on the host's own runtime, wherever the caller is.
    async fn on_io<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, crate::operation::Failure>> + Send + 'static,
    ) -> Result<T, TenantsError> {
        let ended = || {
            use crate::operation::{Failure, FailureKind};
            Failure::new(FailureKind::Unsent, "tenantry/ended", "the host has ended")
        };
        let Some(io) = self.0.io.as_ref() else { return Err(TenantsError { failure: ended() }) };
        let task = io.spawn(work);
        task.await.unwrap_or_else(|_| Err(ended())).map_err(|failure| TenantsError { failure })
    }
}
