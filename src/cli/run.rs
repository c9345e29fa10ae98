//! `tenantry run`: one playbook for one or many customers.

use std::sync::Arc;

use serde_json::json;
use tenantry::{Customer, History, Host, Playbook, Run, RunRecord};

use super::arguments::{Common, RunArguments};
use super::console::Console;
use super::exit::Exit;
use super::follow::{self, Events};
use super::project::{self, Stopped};
use crate::report::Trouble;

/// How many customers run at once when nobody says.
pub(crate) const PARALLEL: usize = 16;

pub(crate) async fn run(console: &Arc<Console>, common: &Common, arguments: &RunArguments) -> Exit {
    let prepared = match prepare(console, common, arguments).await {
        Ok(prepared) => prepared,
        Err((troubles, exit)) => {
            if common.json {
                console.json(&json!({ "runs": [], "errors": troubles }));
            }
            console.troubles(troubles);
            return exit;
        }
    };
    let Prepared { host, runs, customers, events } = prepared;
    let parallel = arguments.parallel.map(usize::from).or(host.project().defaults().concurrency).unwrap_or(PARALLEL);
    let codes: Vec<&str> = customers.iter().map(Customer::code).collect();
    follow::follow(console, common, runs, &codes, parallel, events).await
}

/// Everything that is to run, found good.
struct Prepared {
    host: Host,
    runs: Vec<Run>,
    customers: Vec<Customer>,
    events: Option<Events>,
}

/// Reads and checks everything before anything is sent, and tells every problem there is.
async fn prepare(console: &Console, common: &Common, arguments: &RunArguments) -> Result<Prepared, Stopped> {
    let (host, target) = project::host(common, |builder| builder.new_registry(arguments.what.new_registry))?;
    let (playbook, admitted) = project::read(&host, &arguments.what)?;
    let events = match &arguments.events {
        None => None,
        Some(path) => Some(Events::open(path).map_err(|trouble| (vec![trouble], Exit::Configuration))?),
    };
    console.progress(format!("opening {target}"));
    let opened = host.open_target(&target).await;
    if let Err(error) = opened {
        console.end_progress();
        let exit = Exit::of(&error.failure);
        return Err((vec![Trouble::from(&error.failure).note("target", target)], exit));
    }
    let runs = Choice { console, arguments, host: &host, playbook: &playbook, target: &target };
    let runs = runs.make(&admitted).await?;
    Ok(Prepared { host, runs, customers: admitted, events })
}

/// Which customers' last runs go on, and which begin anew.
struct Choice<'c> {
    console: &'c Console,
    arguments: &'c RunArguments,
    host: &'c Host,
    playbook: &'c Playbook,
    target: &'c str,
}

impl Choice<'_> {
    async fn make(&self, customers: &[Customer]) -> Result<Vec<Run>, Stopped> {
        let mut last = Vec::with_capacity(customers.len());
        for customer in customers {
            let unfinished = if self.arguments.fresh {
                None
            } else {
                let found = self.host.unfinished(self.playbook, customer, self.target).await;
                found.map_err(|error| (vec![Trouble::from(&error.failure)], Exit::Failed))?
            };
            last.push(unfinished);
        }
        let mut unfinished: Vec<&RunRecord> = Vec::new();
        for record in last.iter().flatten() {
            if self.wrote(record).await {
                unfinished.push(record);
            }
        }
        let resume = self.arguments.resume || (!unfinished.is_empty() && self.ask(&unfinished));
        let mut runs = Vec::with_capacity(customers.len());
        for (customer, last) in customers.iter().zip(&last) {
            let run = match last {
                Some(record) if resume => self.resumed(customer, record)?,
                _ => {
                    last.iter().filter(|record| unfinished.contains(record)).for_each(|record| self.leave(record));
                    self.host.run(self.playbook, customer, self.target).verify(self.arguments.what.verify)
                }
            };
            runs.push(self.arguments.pace.of(run));
        }
        Ok(runs)
    }

    /// Whether a run wrote anything: one that did not is as well begun anew.
    async fn wrote(&self, record: &RunRecord) -> bool {
        let history = self.host.history(&record.opening.id).await;
        let wrote = |history: History| history.operations.iter().any(|asked| asked.operation.effect.is_write());
        history.map_or(true, wrote)
    }

    /// Asks whoever sits there.
    fn ask(&self, unfinished: &[&RunRecord]) -> bool {
        if !self.console.can_ask() {
            return false;
        }
        self.console.end_progress();
        match unfinished {
            [one] => {
                let opening = &one.opening;
                self.console.line(&format!(
                    "the last run of {} for `{}` did not come to its end: run {}, {}",
                    opening.playbook,
                    opening.customer,
                    opening.id,
                    one.status.as_str()
                ));
                self.console.ask("Resume it?", true)
            }
            several => {
                let customers: Vec<&str> = several.iter().map(|record| record.opening.customer.as_str()).collect();
                self.console.line(&format!(
                    "the last runs for {} customers did not come to their end: {}",
                    several.len(),
                    customers.join(", ")
                ));
                self.console.ask("Resume them?", true)
            }
        }
    }

    fn resumed(&self, customer: &Customer, record: &RunRecord) -> Result<Run, Stopped> {
        let opening = &record.opening;
        if *customer.values() != opening.inputs {
            let trouble = Trouble::warning(format!(
                "the values of `{}` have changed since run {} began: it goes on with those it had",
                opening.customer, opening.id
            ));
            self.console.trouble(&trouble.help("`--fresh` begins anew with the values as they are now"));
        }
        let run = self.host.resume(&opening.id);
        run.map_err(|diagnostic| (vec![Trouble::from(&diagnostic)], Exit::Configuration))
    }

    /// Says which run will not be gone on with any more.
    fn leave(&self, record: &RunRecord) {
        let opening = &record.opening;
        self.console.told(&format!(
            "note: the last run for `{}` did not come to its end ({}); this begins anew. --resume, or `tenantry runs \
             resume {}`, would have gone on with it",
            opening.customer,
            record.status.as_str(),
            opening.id
        ));
    }
}
