//! Every resource that is simulated: one line each.

use super::context::{Context, Handled};
use super::{
    apps, assignments, audits, automation_connections, automation_connectors, automation_runs, automations, brands,
    console, csp_origins, data_connections, data_files, encryption, groups, identity_providers, ip_policies,
    item_collections, items, licenses, login, oauth, oauth_clients, oauth_tokens, packages, quotas, reloads, roles,
    shares, spaces, task_graphs, task_runs, tasks, temp_contents, tenant_documents, tenants, users, web_integrations,
};

/// How an operation is simulated.
pub(super) type Handler = fn(&mut Context<'_>) -> Handled;

/// One resource's part of the simulation.
pub(super) struct Resource {
    /// Its operations, by operationId.
    pub(super) routes: &'static [(&'static str, Handler)],
    /// What a new tenant has of it from the beginning; called with the new tenant's documents.
    pub(super) seed: Option<fn(&mut Context<'_>)>,
}

/// The resources. Seeds run in this order.
pub(super) const RESOURCES: &[Resource] = &[
    oauth::RESOURCE,
    oauth_clients::RESOURCE,
    oauth_tokens::RESOURCE,
    login::RESOURCE,
    console::RESOURCE,
    tenants::RESOURCE,
    licenses::RESOURCE,
    roles::RESOURCE,
    groups::RESOURCE,
    identity_providers::RESOURCE,
    users::RESOURCE,
    spaces::RESOURCE,
    assignments::RESOURCE,
    shares::RESOURCE,
    web_integrations::RESOURCE,
    csp_origins::RESOURCE,
    packages::RESOURCE,
    brands::RESOURCE,
    tenant_documents::RESOURCE,
    ip_policies::RESOURCE,
    encryption::RESOURCE,
    apps::RESOURCE,
    temp_contents::RESOURCE,
    reloads::RESOURCE,
    tasks::RESOURCE,
    data_files::RESOURCE,
    data_connections::RESOURCE,
    task_runs::RESOURCE,
    task_graphs::RESOURCE,
    items::RESOURCE,
    item_collections::RESOURCE,
    automations::RESOURCE,
    automation_runs::RESOURCE,
    automation_connections::RESOURCE,
    automation_connectors::RESOURCE,
    audits::RESOURCE,
    quotas::RESOURCE,
];

/// The handler of an operation; none when it is not simulated.
pub(super) fn handler(operation: &str) -> Option<Handler> {
    let routes = RESOURCES.iter().flat_map(|resource| resource.routes);
    routes.into_iter().find(|(id, _)| *id == operation).map(|(_, handler)| *handler)
}

/// Gives a new tenant what every tenant has.
pub(super) fn seed(context: &mut Context<'_>) {
    for seed in RESOURCES.iter().filter_map(|resource| resource.seed) {
        seed(context);
    }
}
