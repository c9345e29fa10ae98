//! The simulated Qlik Cloud: a function from request to response over a state of JSON documents.
//!
//! [`Sandbox::handle`] answers in process what `https://register.<region>.qlikcloud.com`,
//! `https://console.qlikcloud.com` and every tenant's host would answer. A request goes this way: the host name says
//! which part is meant (`hosts`), the contract says which operation (`published`), the bearer token is checked
//! (`token`), then the operation's handler works on a `Context` and gives an answer or a refusal,
//! which is put in the words of its service (`refusal`). Only a request that is answered well changes anything, and
//! what it changes is on the disk before the answer leaves (`service`, `store`).
//!
//! # A new resource
//!
//! One file, and one line in `resources`:
//!
//! ```ignore
//! //! Web integrations.
//! pub(super) const RESOURCE: Resource = Resource {
//!     routes: &[("createWebIntegration", create), ("getWebIntegrations", list)], // by operationId
//!     seed: None, // or a function that gives a new tenant what it has from the beginning
//! };
//!
//! fn create(context: &mut Context<'_>) -> Handled {
//!     let id = context.new_id();
//!     let mut document = context.body.clone(); // unknown fields stay
//!     document["id"] = json!(id);
//!     context.put("webIntegrations", &id, document.clone()); // of the tenant the request came for
//!     Ok(Answer::created(&document))
//! }
//!
//! fn list(context: &mut Context<'_>) -> Handled {
//!     let all = context.collection("webIntegrations").documents(); // a free copy, oldest first
//!     paging::page(context, all, Paging::after_before(10, 100))
//! }
//! ```
//!
//! - `context.var("id")` is a variable of the path, `context.parameter("name")` one of the query, `context.body` the
//!   JSON body, `context.bytes` the raw one, `context.part("file")` a part of a form. All of them have passed the contract's check;
//!   `published::refuse` is the place for a service's own code for requests that do not.
//! - `collection(name).find(field, text)` is a look-up without regard to case, `find_exact` one with it; a field
//!   listed in `collection::keys` is looked up without a walk.
//! - Refuse with `Err(Refusal::...)`: the error body takes the form of the service by the path (`Shape::of`).
//! - `patch::steps` reads Qlik's JSON Patch, `Filter::parse` a SCIM filter, `Answer::multi` answers 207.
//! - Collections others read, with these names: `users`, `groups` (members' `assignedGroups` come from a login's claims
//!   by name and `providerType`), `roles` (`roles::assigned` turns a request's list into what is shown),
//!   `identityProviders` (a login looks for active ones with `protocol: jwtAuth`, by `options.issuer` and the first
//!   key's `kid`), `settings` (one document per service: `licenses`, `groups` with `autoCreateGroups`).
//! - Archives and the like stay out of the documents: `context.keep(bytes)` gives their name, the document holds it in
//!   the field `blobs::CONTENT` (which is not shown), `context.content(&document)` gives the bytes back.
//! - Documents of the organization a request is for (tenants, seats) are reached with `context.home()` and `*_in`.

#![allow(clippy::unnecessary_wraps, reason = "every handler has the form of one that can refuse")]

mod apps;
mod archive;
mod assignments;
mod audits;
mod automation_connections;
mod automation_connectors;
mod automation_runs;
mod automations;
mod blobs;
mod brands;
mod collection;
mod compare;
mod console;
mod context;
mod csp_origins;
mod data_connections;
mod data_files;
mod dispatch;
mod encryption;
mod estate;
mod events;
mod exchange;
mod fault_file;
mod faults;
mod fidelity;
mod filter;
mod groups;
mod hosts;
mod identity_options;
mod identity_providers;
mod ids;
mod ip_policies;
mod item_collections;
mod items;
mod lags;
mod licenses;
mod login;
mod mirror;
mod model;
mod multipart;
mod oauth;
mod oauth_clients;
mod oauth_tokens;
mod packages;
mod paging;
mod patch;
mod pool;
mod published;
mod quotas;
mod recording;
mod recurrence;
mod refusal;
mod reloads;
mod resources;
mod roles;
mod schedule;
mod scopes;
mod server;
mod service;
mod settings;
mod shares;
mod source_tenant;
mod spaces;
mod state;
mod state_file;
mod store;
mod task_graphs;
mod task_runs;
mod tasks;
mod temp_contents;
mod tenant_documents;
mod tenants;
mod token;
mod users;
mod web_integrations;

pub use collection::Collection;
/// The name of the file in which a project's embedded sandbox keeps its state, in the folder of the project's state.
pub const STATE_FILE: &str = "sandbox.db";

pub use compare::{Compared, Comparison, FieldCompared, How};
pub use dispatch::{Base, InBrief, Violation};
pub use estate::{Client, Estate, EstateError, Reach};
pub use fault_file::{FaultFile, FaultFileError};
pub use faults::{Arrival, Fault, FaultError, Faults, Served, Touch, Touched};
pub use fidelity::{Fidelity, Standing, fidelity};
pub use lags::{Lags, Limits};
pub use model::{CLIENT as MODEL_CLIENT, Done, Model, View, Wanted};
pub use pool::{SeatChange, Seated};
pub use quotas::Edition;
pub use recording::{Gives, Recording, SOURCES, Source};
pub use schedule::{Chance, Listed, Rates, Recorded, STORM};
pub use server::{ServerLimits, listen};
pub use service::Sandbox;
pub use settings::{Credentials, Settings};
pub use state::{Difference, Document, NotAState, Scope, State};
pub use state_file::Reset;
pub use store::OpenError;
