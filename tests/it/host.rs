//! Whole runs through the library's face, on a sandbox in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use tenantry::sandbox::{Sandbox, Settings};
use tenantry::store::{Registry, Vault};
use tenantry::surroundings::SystemClock;
use tenantry::{Customer, Host, RunReport, RunStatus};

/// A host on an empty project with a sandbox in memory.
pub(crate) fn host() -> (tempfile::TempDir, Host) {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::builder()
        .root(folder.path())
        .environment(Arc::new(BTreeMap::new()))
        .vault(Vault::in_memory())
        .registry(Registry::in_memory(Arc::new(SystemClock::default())).unwrap())
        .sandbox(Sandbox::in_memory(Settings::default()))
        .lanes(1)
        .build()
        .unwrap();
    (folder, host)
}

fn customer() -> Customer {
    let values = json!({
        "code": "hb", "name": "Harbour Logistics", "region": "eu", "alias": "halyard-hb.eu.qlikcloud.com",
    });
    Customer::from_value(values).unwrap()
}

fn run(host: &Host, source: &str) -> RunReport {
    let playbook = host.playbook_from_text("playbooks/test.rhai", source).unwrap();
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(async { host.run(&playbook, &customer(), "sandbox").await })
}

#[test]
fn a_tenant_is_created_once() {
    let (_folder, host) = host();
    let source = r#"
        let tenant = tenants::ensure(customer);
        let staging = tenant.spaces.ensure("Staging", "shared");
        output(#{ url: tenant.url, space: staging.name });
    "#;
    let first = run(&host, source);
    assert_eq!(first.status, RunStatus::Succeeded, "{:?}", first.error);
    println!("{}", serde_json::to_string_pretty(&first).unwrap());
    let second = run(&host, source);
    assert_eq!(second.writes, 0);
    assert_eq!(second.tenant, first.tenant);
}
