//! `tenantry tenants`: what the registry knows.

use serde_json::json;
use tenantry::{Host, Intent, Listing, Stray, Tenant, Trace, TraceKind, Verdict};

use super::arguments::{Common, TenantsArguments, TenantsCommand};
use super::console::Console;
use super::exit::Exit;
use super::project::{self, Stopped};
use crate::report::{self, Trouble};

pub(crate) async fn tenants(console: &Console, common: &Common, arguments: &TenantsArguments) -> Exit {
    let done = match &arguments.command {
        TenantsCommand::List => list(console, common).await,
        TenantsCommand::Strays => strays(console, common).await,
        TenantsCommand::Adopt { customer, hostname: Some(hostname), .. } => {
            adopt(console, common, customer, hostname).await
        }
        TenantsCommand::Adopt { customer, hostname: None, .. } => not_created(console, common, customer).await,
    };
    match done {
        Ok(()) => Exit::Success,
        Err((troubles, exit)) => {
            if common.json {
                console.json(&json!({ "errors": troubles }));
            }
            console.troubles(troubles);
            exit
        }
    }
}

fn host(common: &Common) -> Result<(Host, String), Stopped> {
    project::host(common, |builder| builder)
}

fn stopped(error: &tenantry::TenantsError) -> Stopped {
    (vec![Trouble::from(&error.failure)], Exit::of(&error.failure))
}

async fn list(console: &Console, common: &Common) -> Result<(), Stopped> {
    let (host, target) = host(common)?;
    let listing = host.tenants(&target).await.map_err(|error| stopped(&error))?;
    let Listing { organization, tenants, unsettled } = &listing;
    if common.json {
        console.json(&json!({ "organization": organization, "tenants": tenants, "unsettled": unsettled }));
    } else if tenants.is_empty() {
        console.told(&format!("the registry has no tenants of organization {organization} (target {target})"));
    } else {
        console.data(&table(tenants, console));
    }
    console.troubles(unsettled.iter().map(open_end));
    Ok(())
}

fn table(tenants: &[Tenant], console: &Console) -> String {
    let rows = tenants.iter().map(|tenant| {
        let alias = tenant.alias.clone().unwrap_or_default();
        let columns = [&tenant.customer, &tenant.status, &tenant.region, &tenant.hostname, &alias, &tenant.id];
        columns.into_iter().cloned().collect()
    });
    report::table(&["CUSTOMER", "STATUS", "REGION", "HOSTNAME", "ALIAS", "ID"], rows.collect(), console.out())
}

fn open_end(intent: &Intent) -> Trouble {
    let customer = &intent.customer;
    Trouble::warning(format!("a tenant may have been created for `{customer}`: the end of its creation is not known"))
        .note("begun", format!("{} by run {}", intent.since, intent.run))
        .help("look in the management console for a tenant created at that time")
        .help(format!("when it is there: tenantry tenants adopt {customer} HOSTNAME"))
        .help(format!("when it is not: tenantry tenants adopt {customer} --not-created"))
}

async fn strays(console: &Console, common: &Common) -> Result<(), Stopped> {
    let (host, target) = host(common)?;
    let strays = host.strays(&target).await.map_err(|error| stopped(&error))?;
    if common.json {
        console.json(&json!({ "strays": strays }));
    } else if strays.is_empty() {
        console.told(&format!("the registry knows every tenant of the organization (target {target})"));
    } else {
        console.data(&stray_table(&strays, console));
        console.told("`tenantry tenants adopt CUSTOMER HOSTNAME` enters one as a customer's");
    }
    Ok(())
}

fn stray_table(strays: &[Stray], console: &Console) -> String {
    let rows = strays.iter().map(|stray| {
        let created = stray.created.map(report::moment).unwrap_or_default();
        let name = stray.name.as_ref().or(stray.alias.as_ref()).cloned().unwrap_or_default();
        let past: Vec<String> = stray.past.iter().map(told).collect();
        vec![created, stray.status.clone(), stray.region.clone(), stray.hostname.clone(), name, past.join("; ")]
    });
    report::table(&["CREATED", "STATUS", "REGION", "HOSTNAME", "NAME", "PAST RUNS"], rows.collect(), console.out())
}

fn told(trace: &Trace) -> String {
    let (run, customer) = (&trace.run, &trace.customer);
    match trace.says {
        TraceKind::Created => format!("run {run} created it for `{customer}`"),
        TraceKind::MayHaveCreated => format!("run {run} may have created it for `{customer}`"),
    }
}

async fn adopt(console: &Console, common: &Common, customer: &str, hostname: &str) -> Result<(), Stopped> {
    let (host, target) = host(common)?;
    let tenant = host.adopt(&target, customer, hostname).await.map_err(|error| stopped(&error))?;
    if common.json {
        console.json(&json!({ "tenant": tenant }));
    } else {
        console.told(&format!("{} is registered as the tenant of `{customer}`", tenant.hostname));
    }
    Ok(())
}

async fn not_created(console: &Console, common: &Common, customer: &str) -> Result<(), Stopped> {
    let (host, target) = host(common)?;
    let verdict = host.settle_not_created(&target, customer).await.map_err(|error| stopped(&error))?;
    let settled = verdict == Verdict::Settled;
    if common.json {
        console.json(&json!({ "settled": settled }));
    }
    if settled {
        console.told(&format!("settled: no tenant was created for `{customer}`; the next run creates one"));
        Ok(())
    } else {
        let trouble = Trouble::new(format!("no creation with an unknown end is noted for `{customer}`"))
            .help("see `tenantry tenants list`");
        Err((vec![trouble], Exit::Failed))
    }
}
