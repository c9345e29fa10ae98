//! `tenantry sandbox reset`: the sandbox begins anew, and the registry forgets its tenants.

use std::sync::Arc;

use serde_json::json;
use tenantry::sandbox::Reset;
use tenantry::surroundings::SystemClock;
use tenantry::{CareError, State};

use super::super::arguments::{Common, ResetArguments};
use super::super::console::Console;
use super::super::exit::Exit;
use super::super::project::{self, Stopped};
use crate::report::{Trouble, count};

pub(super) fn reset(console: &Console, common: &Common, arguments: &ResetArguments) -> Result<Exit, Stopped> {
    let project = project::find(common)?;
    let path = super::file(&project, arguments.state.as_deref());
    let held = Reset::hold(&path).map_err(super::stopped)?;
    let organizations = held.organizations();
    let state = project.state_file();
    let state = if state.exists() {
        Some(State::open(&state, Arc::new(SystemClock::default())).map_err(|error| broken(&error.into()))?)
    } else {
        None
    };
    let mut known = Vec::new();
    for organization in &organizations {
        let Some(state) = &state else { continue };
        let registry = state.registry();
        let rows = registry.tenants(organization).and_then(|tenants| Ok((tenants, registry.intents(organization)?)));
        let (tenants, intents) = rows.map_err(|error| (vec![Trouble::new(error.to_string())], Exit::Configuration))?;
        known.extend(tenants.into_iter().map(|tenant| tenant.customer));
        known.extend(intents.into_iter().map(|intent| intent.customer));
    }
    known.sort();
    let tenants = held.state().tenants().len();
    let shown = path.display().to_string();
    if !common.json {
        let (tenants, rows) = (count(tenants as u64, "tenant"), count(known.len() as u64, "customer"));
        console.told(&format!("{shown} has {tenants}; the registry knows {rows} of it"));
        if !known.is_empty() {
            console.told(&format!("to be forgotten: {}", known.join(", ")));
        }
    }
    // Nobody misses what no customer's registry row stands for.
    let agreed = !arguments.dry_run && (known.is_empty() || project::agreed(console, common, arguments.yes)?);
    if agreed {
        // The rows first: a sandbox without rows can be reset again, rows without their sandbox could not be found.
        for (organization, state) in organizations.iter().zip(std::iter::repeat(&state)) {
            let Some(state) = state else { continue };
            let dropped = state.registry().drop_organization(organization);
            dropped.map_err(|error| (vec![Trouble::new(error.to_string())], Exit::Configuration))?;
        }
        held.empty().map_err(super::stopped)?;
    }
    if common.json {
        console.json(&json!({
            "version": super::VERSION, "state": shown, "tenants": tenants, "customers": known, "reset": agreed,
        }));
    } else if agreed {
        console.told("the next run on it begins with a new organization");
    }
    Ok(Exit::Success)
}

fn broken(error: &CareError) -> Stopped {
    (vec![error.hint().into_iter().fold(Trouble::new(error.to_string()), Trouble::help)], Exit::Configuration)
}
