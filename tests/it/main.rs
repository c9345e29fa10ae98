//! Behaviour through the public face. One binary, one module per topic.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod contract;
mod functions_driver;
mod functions_globals;
mod functions_people;
mod functions_stock;
mod functions_tenants;
mod host;
mod layers;
mod live;
mod live_embedded;
mod live_http;
mod playbook;
mod project;
mod registry;
mod render;
mod sandbox_csp_origins;
mod sandbox_frame;
mod sandbox_groups;
mod sandbox_identity_providers;
mod sandbox_licenses;
mod sandbox_login;
mod sandbox_oauth;
mod sandbox_odd;
mod sandbox_roles;
mod sandbox_server;
mod sandbox_spaces;
mod sandbox_support;
mod sandbox_tenants;
mod sandbox_themes;
mod sandbox_users;
mod sandbox_web_integrations;
mod support;
mod vault;
