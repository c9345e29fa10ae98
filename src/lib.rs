//! An embeddable scripting host that onboards customers to Qlik Cloud tenants.
//!
//! Partners write playbooks in Rhai; the host turns them into safe, repeatable operations on one Qlik Cloud tenant per
//! customer. Playbooks ask, interpreters perform: a script never touches the network.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use tenantry::{Customer, Host};
//!
//! let host = Host::builder().root("my-project").build()?;
//! let playbook = host.playbook("playbooks/onboard.rhai")?;
//! let customer = Customer::from_value(serde_json::json!({ "code": "hb", "name": "Harbour Logistics" }))?;
//! let report = host.run(&playbook, &customer, "sandbox").await;
//! println!("{:?}", report.tenant);
//! # Ok(())
//! # }
//! ```

pub mod contract;
pub mod event;
pub mod explain;
pub mod functions;
pub mod history;
mod host;
pub mod interpreter;
pub mod operation;
pub mod plan;
pub mod playbook;
pub mod project;
pub mod qlik;
pub mod render;
pub mod sandbox;
pub mod simulate;
pub mod store;
mod suggest;
pub mod surroundings;
pub mod undo;

pub use contract::contract;
pub use event::{Change, EVENT_VERSION, Event, FieldChange, Step};
pub use explain::{
    CustomerValues, EqualInput, ExplainError, Explained, ExplainedCall, ExplainedObject, ExplainedOperation, Mention,
    Object, Relation, TracedCall,
};
pub use history::{
    Fate, Figures, History, HistoryError, Moment, PastEvent, PastOperation, PastStep, Process, RunSummary, UsedFile,
};
pub use host::{
    BuildError, Cancel, Difference, Host, HostBuilder, Listing, Plan, PlannedChange, PlannedRequest, Planning,
    Playbook, RecordedTenant, Replayed, Run, RunReport, RunStatus, Seats, TenantSummary, TenantsError, Undo, UndoError,
    UndoReport, UndoStep, UndoVerdict, Unmentioned, Verdict, Whose, share_seats,
};
pub use interpreter::{LocalOperation, Stray, Trace, TraceKind};
pub use operation::{Failure, FailureKind, Site};
pub use playbook::{Diagnostic, MeteredAllocator};
pub use project::{Customer, InputError, Problem, Project, SETTINGS_FILE};
pub use sandbox::{OpenError as SandboxError, Sandbox, Settings as SandboxSettings, listen as listen_for_sandbox};
pub use store::{
    CareError, Counts, Ending, Environment, Exported, Finding, Gravity, Health, Imported, Intent, Prunable,
    PrunableRun, Retention, RunFilter, RunKind, RunRecord, RunState, State, StateError, Tenant,
};

/// Its Rust is compiled like any other example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
