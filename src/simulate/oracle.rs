//! What must be true at the end, whatever went wrong on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

use super::canonical::{Canonical, REPEATED};
use super::world::World;
use crate::event::Event;
use crate::interpreter::Record;
use crate::sandbox::{Scope, Served, State, Touch};
use crate::store::{Entry, Journal, RunFilter};

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which promise is broken, in a word: `state`, `twice`, `lost`, `unsettled`, `orphan`, `seats`, `secret`, `contract`,
    /// `journal`, `replay`, `stuck`.
    pub promise: &'static str,
    /// What was found.
    pub what: String,
}

impl Finding {
    pub(super) fn new(promise: &'static str, what: impl Into<String>) -> Self {
        Self { promise, what: what.into() }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.promise, self.what)
    }
}

/// Everything that is wrong with a world in which all is over. `expected` is how it ends without faults, `outputs` what
/// nobody's secrets may show up in.
pub(super) fn examine(
    world: &World,
    expected: &Canonical,
    outputs: &[(&str, &str)],
    secrets: &[String],
) -> Vec<Finding> {
    let state = world.sandbox().snapshot();
    let served = world.ledger().served();
    let mut found = Vec::new();
    for difference in expected.differences(&Canonical::of(&state)) {
        found.push(Finding::new("state", difference));
    }
    found.extend(made_twice(&served));
    found.extend(orphans(world, &state));
    found.extend(too_many_seats(&served, &state));
    found.extend(lost(world));
    let told = secrets_of_clients(&state);
    found.extend(lost_secrets(world, &told));
    found.extend(unsettled(world));
    let made: Vec<String> = told.values().flatten().cloned().chain(tokens_of_automations(&state)).collect();
    for (place, text) in outputs {
        found.extend(leaks(place, text, secrets));
        found.extend(leaks(place, text, &made));
    }
    for violation in world.sandbox().violations() {
        found.push(Finding::new("contract", format!("{} {}", violation.request, violation.message)));
    }
    found
}

/// Things that were made although they were there.
fn made_twice(served: &[Served]) -> Vec<Finding> {
    let mut there: BTreeMap<(Scope, &str, &str), (u64, &str)> = BTreeMap::new();
    let mut found = Vec::new();
    for one in served {
        for touched in &one.touched {
            // Tenants have no name of their own when they are made: those are counted against the registry.
            if touched.collection == "tenants" || REPEATED.contains(&touched.collection.as_str()) {
                continue;
            }
            let thing = (touched.scope.clone(), &*touched.collection, &*touched.subject);
            match touched.how {
                Touch::Made => {
                    if let Some((before, id)) = there.insert(thing, (one.ordinal, &touched.id))
                        && id != touched.id
                    {
                        let what = format!(
                            "{} {:?} was made by request {before} and again by request {} ({})",
                            touched.collection, touched.subject, one.ordinal, one.operation
                        );
                        found.push(Finding::new("twice", what));
                    }
                }
                Touch::Removed => drop(there.remove(&thing)),
                Touch::Changed => {}
            }
        }
    }
    found
}

/// Tenants without a row in the registry, rows without a tenant, creations whose end is not known.
fn orphans(world: &World, state: &State) -> Vec<Finding> {
    let (registry, organization) = (world.state().registry(), world.sandbox().organization());
    let mut found = Vec::new();
    let rows = match registry.tenants(&organization) {
        Ok(rows) => rows,
        Err(error) => return vec![Finding::new("orphan", format!("the registry cannot be read: {error}"))],
    };
    let there = state.tenants();
    for id in &there {
        if rows.iter().filter(|row| row.id == *id).count() != 1 {
            found.push(Finding::new("orphan", format!("tenant {id} is not one customer's in the registry")));
        }
    }
    for row in rows.iter().filter(|row| !there.contains(&row.id)) {
        found.push(Finding::new(
            "orphan",
            format!("the registry has tenant {} of {}, which is not there", row.id, row.customer),
        ));
    }
    match registry.intents(&organization) {
        Ok(intents) => found.extend(intents.iter().map(|intent| {
            Finding::new("orphan", format!("a creation for {} by run {} is not settled", intent.customer, intent.run))
        })),
        Err(error) => found.push(Finding::new("orphan", format!("the registry cannot be read: {error}"))),
    }
    found
}

/// Moments at which more seats were assigned than there are.
fn too_many_seats(served: &[Served], state: &State) -> Vec<Finding> {
    let organization = state.get(&Scope::Organization, "organization", "self").unwrap_or_default();
    let mut used: BTreeMap<String, i64> = BTreeMap::new();
    let mut found = Vec::new();
    let seats =
        |one: &Served| one.touched.iter().filter(|touched| touched.collection == "seats").cloned().collect::<Vec<_>>();
    for one in served {
        for seat in seats(one) {
            let kind = seat.subject.rsplit(' ').next().unwrap_or_default().to_owned();
            let count = used.entry(kind.clone()).or_default();
            match seat.how {
                Touch::Made => *count += 1,
                Touch::Removed => *count -= 1,
                Touch::Changed => {}
            }
            let units = organization["seats"].get(&kind).and_then(Value::as_i64).unwrap_or_default();
            if *count > units {
                found.push(Finding::new(
                    "seats",
                    format!("request {} took {kind} seat {count} of {units}", one.ordinal),
                ));
            }
        }
    }
    found
}

/// The secrets of each OAuth client that has some.
fn secrets_of_clients(state: &State) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for tenant in state.tenants() {
        for secret in state.collection(&Scope::tenant(&tenant), "oauthSecrets").documents() {
            let field = |name: &str| secret[name].as_str().unwrap_or_default().to_owned();
            all.entry(field("clientId")).or_default().push(field("text"));
        }
    }
    all
}

/// The tokens by which automations are started from outside.
fn tokens_of_automations(state: &State) -> Vec<String> {
    let tenants = state.tenants();
    let held = tenants.iter().flat_map(|tenant| state.collection(&Scope::tenant(tenant), "automations").documents());
    held.filter_map(|automation| automation["executionToken"].as_str().map(str::to_owned)).collect()
}

/// OAuth clients whose secrets nobody has: Qlik tells each once.
fn lost_secrets(world: &World, told: &BTreeMap<String, Vec<String>>) -> Vec<Finding> {
    let lost = told.iter().filter(|(_, texts)| !texts.iter().any(|text| world.sink().holds(text)));
    lost.map(|(client, _)| Finding::new("lost", format!("no secret of OAuth client {client} is in the sink"))).collect()
}

/// Secrets in what the world's processes put out.
fn leaks(place: &str, text: &str, secrets: &[String]) -> Vec<Finding> {
    let leaking = text.lines().filter(|line| secrets.iter().any(|secret| line.contains(secret.as_str())));
    leaking.map(|line| Finding::new("secret", format!("in {place}: {line}"))).collect()
}

/// All runs of the journal with all their entries, as text.
pub(super) fn journal(world: &World) -> String {
    let journal = world.state().journal();
    let mut text = String::new();
    let runs = match journal.runs(&RunFilter::default()) {
        Ok(runs) => runs,
        Err(error) => return format!("the journal cannot be read: {error}\n"),
    };
    for run in runs.iter().rev() {
        let opening = serde_json::to_string(&run.opening).unwrap_or_default();
        let _ = writeln!(text, "run {opening} {}", run.status.as_str());
        match journal.entries(&run.opening.id) {
            Ok(entries) => {
                for one in entries {
                    let entry = serde_json::to_string(&one.entry).unwrap_or_default();
                    let _ = writeln!(text, "{} {} {entry}", one.sequence, one.at);
                }
            }
            Err(error) => {
                let _ = writeln!(text, "{error}");
            }
        }
    }
    text
}

/// Writes of which the journal does not say whether they were carried out.
fn unsettled(world: &World) -> Vec<Finding> {
    let journal = world.state().journal();
    let mut found = Vec::new();
    for run in journal.runs(&RunFilter::default()).unwrap_or_default() {
        let id = run.opening.id;
        match journal.entries(&id) {
            Ok(entries) => found.extend(Record::of(&entries).unsettled().iter().map(|write| {
                Finding::new("unsettled", format!("{} of run {id} ({})", write.key, run.status.as_str()))
            })),
            Err(error) => found.push(Finding::new("journal", error.to_string())),
        }
    }
    found
}

/// Writes that a playbook was told of and the journal does not have.
fn lost(world: &World) -> Vec<Finding> {
    let journal = world.state().journal();
    let mut found = Vec::new();
    let mut runs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for told in world.ledger().told() {
        let Event::Operation { run, key, effect, failure: None, .. } = told.event else { continue };
        if !effect.is_write() {
            continue;
        }
        let kept = runs.entry(run.clone()).or_insert_with(|| answered(&journal, &run));
        if !kept.contains(&key) {
            found.push(Finding::new("lost", format!("the journal of run {run} has no outcome of {key}")));
        }
    }
    found
}

/// The keys whose outcome a run's journal has.
fn answered(journal: &Journal, run: &str) -> BTreeSet<String> {
    let entries = journal.entries(run).unwrap_or_default();
    let keys = entries.into_iter().filter_map(|logged| match logged.entry {
        Entry::Outcome { key, .. } | Entry::Settled { key, performed: Some(_), .. } => Some(key.to_string()),
        _ => None,
    });
    keys.collect()
}
