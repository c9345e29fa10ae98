//! `tenantry sandbox record`: the configuration of a tenant at a target, as a state that a sandbox goes on from.

use serde_json::json;
use tenantry::{RecordedTenant, Whose};

use super::super::arguments::{Common, RecordArguments};
use super::super::console::Console;
use super::super::exit::Exit;
use super::super::project::{self, Stopped};
use crate::report::{Trouble, count};

pub(super) async fn record(console: &Console, common: &Common, arguments: &RecordArguments) -> Result<Exit, Stopped> {
    let RecordArguments { customer, tenant, out } = arguments;
    // Before anything is asked, and again when it is written.
    if out.exists() {
        let trouble = Trouble::new(format!("{} exists, and stays as it is", out.display())).help("name a new file");
        return Err((vec![trouble], Exit::Configuration));
    }
    let (host, target) = project::host(common, |builder| builder)?;
    let whose = match (customer, tenant) {
        (Some(customer), _) => Whose::Customer(customer.clone()),
        (None, Some(tenant)) => Whose::Host(tenant.clone()),
        (None, None) => Whose::Pinned,
    };
    console.progress(format!("reading from {target}"));
    let recorded = host.record(&target, whose).await;
    console.end_progress();
    let RecordedTenant { hostname, state, things, missing, .. } =
        recorded.map_err(|error| (vec![Trouble::from(&error.failure)], Exit::of(&error.failure)))?;
    state.save(out).map_err(super::stopped)?;
    for (operation, failure) in &missing {
        console.trouble(&Trouble::warning(format!("{operation} was refused, so what it tells is left out: {failure}")));
    }
    if common.json {
        let missing: Vec<_> = missing.iter().map(|(operation, _)| operation).collect();
        console.json(&json!({
            "version": super::VERSION, "tenant": hostname, "file": out.display().to_string(), "things": things,
            "missing": missing,
        }));
    } else {
        let things = count(things as u64, "thing");
        console.told(&format!("{} has {things} of {hostname}, with `***` in place of secret fields", out.display()));
        console.told("not in it: what is inside apps, the content of data files, and runs of automations");
    }
    Ok(Exit::Success)
}
