//! Dry runs held against runs: what a plan says is done, nothing else is, and then there is nothing left to do.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, Request};
use serde_json::{Value, json};

use super::canonical::Canonical;
use super::case::Case;
use super::storm::{Storm, StormError};
use super::world::{Ended, World};
use crate::host::{Plan, RunReport, RunStatus};
use crate::interpreter::STAND_IN;
use crate::operation::RecordedOutcome;
use crate::plan::SavedPlan;
use crate::project::Customer;
use crate::sandbox::{Difference, MODEL_CLIENT, Sandbox, Scope, State};
use crate::store::{Entry, RunFilter};
use crate::surroundings::Random;

/// How many things somebody else changes at most.
const MEDDLING: usize = 6;

/// What one rehearsal came to.
#[derive(Clone, Debug, Default)]
pub struct Rehearsed {
    /// What must not be; empty when all is right.
    pub findings: Vec<String>,
    /// How many writes the plan had.
    pub planned: usize,
    /// Whether the plan had nothing to do.
    pub empty: bool,
    /// Whether the playbook would not have come to its end.
    pub failing: bool,
    /// Whether somebody changed something between plan and apply, and the run stopped before it wrote what differs.
    pub stopped: bool,
}

/// What many rehearsals came to.
#[derive(Clone, Debug, Default)]
pub struct Rehearsals {
    /// How many there were.
    pub plans: u64,
    /// How many writes they planned.
    pub writes: u64,
    /// How many had nothing to do.
    pub empty: u64,
    /// How many planned a run that fails, which then failed the same way.
    pub failing: u64,
    /// How many stopped because somebody had changed something since.
    pub stopped: u64,
    /// Those that were not right: the case, the seed and what was found.
    pub failures: Vec<(String, u64, Vec<String>)>,
}

impl Rehearsals {
    pub(super) fn add(&mut self, case: &Case, seed: u64, done: Rehearsed) {
        self.plans += 1;
        self.writes += done.planned as u64;
        self.empty += u64::from(done.empty);
        self.failing += u64::from(done.failing);
        self.stopped += u64::from(done.stopped);
        if !done.findings.is_empty() {
            self.failures.push((case.to_string(), seed, done.findings));
        }
    }
}

impl Storm {
    /// Draws a tenant and a customer by `seed`, plans the case's playbook for them, applies the plan, and plans again.
    ///
    /// # Errors
    /// When no world or host can be made.
    pub async fn rehearse(&self, seed: u64) -> Result<Rehearsed, StormError> {
        let random = Random::from_seed(seed);
        let world = World::new(self.settings(&super::plan::Plan::default()))?;
        let mut done = Rehearsed::default();
        let Some(base) = self.customers.first() else { return Ok(done) };
        self.prepare(&world).await?;
        if one_of(&random, 3) > 0 {
            match world.sheltered()?.run(&self.playbook, base, &self.runtime).await {
                Ended::Reported(report) if report.status == RunStatus::Succeeded => {}
                ended => return Err(StormError::Calm(format!("{ended:?}"))),
            }
        }
        meddle(world.sandbox(), &random);
        let Ok(customer) = self.playbook.admit(&odd(base, &random)) else { return Ok(done) };
        let process = world.sheltered()?;
        // The first token on a tenant makes things there, with the sandbox's source tenant the tenant itself.
        drop(token(world.sandbox(), world.sandbox().source_tenant()));
        let before = world.sandbox().snapshot();
        let runs = || world.state().journal().runs(&RunFilter::default()).map_or(0, |runs| runs.len());
        let runs_before = runs();
        let plan = process.host().plan(&self.playbook, &customer, "sandbox").plan_here(&self.runtime).await;
        if without_tokens(&world.sandbox().snapshot()) != without_tokens(&before) || runs() != runs_before {
            done.findings.push("the plan itself wrote something".to_owned());
        }
        done.planned = plan.writes.values().map(|count| *count as usize).sum();
        done.empty = !plan.has_changes();
        let Some(saved) = plan.saved() else {
            done.failing = true;
            self.fails_as_planned(&world, &customer, &plan, &mut done).await?;
            return Ok(done);
        };
        let text = serde_json::to_string(&saved).unwrap_or_default();
        for (name, secret) in &self.case.secrets {
            if text.contains(secret.as_str()) {
                done.findings.push(format!("the plan tells the secret `{name}`"));
            }
        }
        let Ok(saved) = serde_json::from_str::<SavedPlan>(&text) else {
            done.findings.push("the saved plan cannot be read back".to_owned());
            return Ok(done);
        };
        let somebody = one_of(&random, 3) == 0;
        if somebody {
            meddle(world.sandbox(), &random);
        }
        let between = world.sandbox().snapshot();
        let report = self.applied(&process, saved.clone()).await?;
        let performed = performed(&world, &report.run);
        let mut allowed: BTreeMap<String, i64> = BTreeMap::new();
        for write in &saved.writes {
            *allowed.entry(write.key.id.clone()).or_default() += 1;
        }
        for (write, count) in &performed {
            if allowed.get(write).is_none_or(|planned| planned < count) {
                done.findings.push(format!("{write} was written and not planned"));
            }
        }
        if report.status != RunStatus::Succeeded {
            done.stopped = somebody;
            if !somebody {
                done.findings.push(format!("applying ended with {:?}", report.error.map(|error| error.message)));
            }
            return Ok(done);
        }
        for (write, count) in &allowed {
            if performed.get(write).is_none_or(|performed| performed < count) {
                done.findings.push(format!("{write} was planned and not written"));
            }
        }
        if !somebody {
            let client = world.sandbox().credentials().client_id;
            let expected = with_changes(between, plan.modelled(), &client, &self.case.secrets);
            let real = Canonical::of(&without_content(world.sandbox().snapshot()));
            let lines = Canonical::of(&without_content(expected)).differences(&real);
            done.findings
                .extend(lines.into_iter().filter(|line| is_modelled(line)).map(|line| format!("state: {line}")));
        }
        let again = process.host().plan(&self.playbook, &customer, "sandbox").plan_here(&self.runtime).await;
        if again.has_changes() || again.error.is_some() {
            let left: Vec<&str> = again.changes.iter().map(|change| change.subject.as_str()).collect();
            let error = again.error.as_ref().map(|error| error.message.clone());
            done.findings.push(format!("planned again there is still something to do: {left:?} {error:?}"));
        }
        Ok(done)
    }

    async fn applied(&self, process: &super::Process, saved: SavedPlan) -> Result<RunReport, StormError> {
        let run = process.host().apply(saved).map_err(|error| StormError::Playbook(Box::new(error)))?;
        match process.follow(run, &self.runtime).await {
            Ended::Reported(report) => Ok(*report),
            ended => Err(StormError::Calm(format!("{ended:?}"))),
        }
    }

    /// A plan that fails is right when the run fails the same way.
    async fn fails_as_planned(
        &self,
        world: &World,
        customer: &Customer,
        plan: &Plan,
        done: &mut Rehearsed,
    ) -> Result<(), StormError> {
        let process = world.sheltered()?;
        let Ended::Reported(report) = process.run(&self.playbook, customer, &self.runtime).await else {
            return Ok(());
        };
        let title = |error: &crate::playbook::Diagnostic| error.message.clone();
        let (planned, real) = (plan.error.as_ref().map(title), report.error.as_ref().map(title));
        if planned != real {
            done.findings.push(format!("planned to fail with {planned:?}, and failed with {real:?}"));
        }
        Ok(())
    }
}

fn one_of(random: &Random, count: usize) -> usize {
    let mut bytes = [0; 4];
    random.fill(&mut bytes);
    usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(0) % count.max(1)
}

/// The writes that a run performed, counted: of branches that want the same thing, chance says which one does it.
fn performed(world: &World, run: &str) -> BTreeMap<String, i64> {
    let entries = world.state().journal().entries(run).unwrap_or_default();
    let mut intended = BTreeMap::new();
    let mut performed: BTreeMap<String, i64> = BTreeMap::new();
    for logged in entries {
        match logged.entry {
            Entry::Intent { key, operation, .. } if operation.effect.is_write() && operation.request().is_some() => {
                intended.insert(key, operation.id);
            }
            Entry::Outcome { key, outcome, .. } if !matches!(outcome, RecordedOutcome::Failure(_)) => {
                if let Some(write) = intended.remove(&key) {
                    *performed.entry(write).or_default() += 1;
                }
            }
            _ => {}
        }
    }
    performed
}

/// Somebody else changes a few things in some tenant, by what the service offers.
fn meddle(sandbox: &Sandbox, random: &Random) {
    const DELETED: [(&str, &str); 8] = [
        ("groups", "groups"),
        ("webIntegrations", "web-integrations"),
        ("cspOrigins", "csp-origins"),
        ("apps", "apps"),
        ("collections", "collections"),
        ("themes", "themes"),
        ("extensions", "extensions"),
        ("brands", "brands"),
    ];
    let state = sandbox.snapshot();
    let tenants = state.collection(&Scope::Organization, "tenants").documents();
    let Some(tenant) = tenants.get(one_of(random, tenants.len())) else { return };
    let (Some(id), Some(host)) = (tenant["id"].as_str(), tenant["hostnames"][0].as_str()) else { return };
    let scope = Scope::tenant(id);
    let Some(token) = token(sandbox, host) else { return };
    for _ in 0..one_of(random, MEDDLING + 1) {
        let state = sandbox.snapshot();
        let pick = |collection: &str| {
            let all = state.collection(&scope, collection).documents();
            all.get(one_of(random, all.len())).cloned()
        };
        let id_of = |document: &Value| document["id"].as_str().unwrap_or_default().to_owned();
        match one_of(random, 6) {
            0 => {
                let (collection, path) = DELETED[one_of(random, DELETED.len())];
                if let Some(held) = pick(collection) {
                    send(sandbox, host, &token, Method::DELETE, &format!("{path}/{}", id_of(&held)), &Value::Null);
                }
            }
            1 => {
                if let Some(held) = pick("spaces") {
                    let name = json!([{ "op": "replace", "path": "/name", "value": format!("Renamed {}", one_of(random, 99)) }]);
                    send(sandbox, host, &token, Method::PATCH, &format!("spaces/{}", id_of(&held)), &name);
                }
            }
            2 => {
                if let Some(held) = pick("assignments") {
                    let path =
                        format!("spaces/{}/assignments/{}", held["spaceId"].as_str().unwrap_or_default(), id_of(&held));
                    let roles = json!({ "roles": ["consumer"] });
                    let gone = one_of(random, 2) == 0;
                    let method = if gone { Method::DELETE } else { Method::PUT };
                    send(sandbox, host, &token, method, &path, if gone { &Value::Null } else { &roles });
                }
            }
            3 => {
                let name = json!([{ "op": "replace", "path": "/name", "value": "Somebody's" }]);
                send(sandbox, host, &token, Method::PATCH, &format!("tenants/{id}"), &name);
            }
            4 => {
                if let Some(held) = pick("groups") {
                    let roles = json!([{ "op": "replace", "path": "/assignedRoles", "value": [] }]);
                    send(sandbox, host, &token, Method::PATCH, &format!("groups/{}", id_of(&held)), &roles);
                }
            }
            _ => {
                let name = format!("Extra {}", one_of(random, 99));
                let space = json!({ "name": name, "type": "shared" });
                send(sandbox, host, &token, Method::POST, "spaces", &space);
            }
        }
    }
}

fn token(sandbox: &Sandbox, host: &str) -> Option<String> {
    let credentials = sandbox.credentials();
    let body = json!({
        "client_id": credentials.client_id,
        "client_secret": credentials.client_secret,
        "grant_type": "client_credentials",
    });
    let request = Request::post(format!("https://{host}/oauth/token")).header("content-type", "application/json");
    let answer = sandbox.handle(request.body(Bytes::from(body.to_string())).ok()?);
    let answer: Value = serde_json::from_slice(answer.body()).ok()?;
    answer["access_token"].as_str().map(str::to_owned)
}

/// What is refused changes nothing, which is as good.
fn send(sandbox: &Sandbox, host: &str, token: &str, method: Method, path: &str, body: &Value) {
    let bytes = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let request = Request::builder()
        .method(method)
        .uri(format!("https://{host}/api/v1/{path}"))
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(bytes);
    if let Ok(request) = request {
        drop(sandbox.handle(request));
    }
}

/// The customer with something of its own: odd names, more or less of what there may be.
fn odd(base: &Customer, random: &Random) -> Customer {
    const NAMES: [&str; 6] = ["Ünïcode 表", "it's \"quoted\"", "a & b <c>", "percent %20", "{{ braces }}", "Ops"];
    let mut values = base.values().clone();
    for _ in 0..one_of(random, 4) {
        let name = NAMES[one_of(random, NAMES.len())];
        match one_of(random, 6) {
            0 => push(&mut values["groups"], json!({ "name": name, "roles": [] })),
            1 => push(&mut values["spaces"], json!({ "name": name, "type": "shared" })),
            2 => push(
                &mut values["csp"],
                json!({ "name": name, "origin": format!("cdn{}.example", random.uuid()), "imgSrc": true }),
            ),
            3 => {
                if let Some(values) = values.as_object_mut() {
                    for optional in ["impersonation", "settings", "extensions", "brand"] {
                        if one_of(random, 2) == 0 {
                            values.remove(optional);
                        }
                    }
                }
            }
            4 => values["name"] = json!(name),
            _ => {
                if let Some(apps) = values["apps"].as_array_mut() {
                    apps.pop();
                }
            }
        }
    }
    Customer::from_value(values).unwrap_or_else(|_| base.clone())
}

fn push(list: &mut Value, item: Value) {
    if let Some(list) = list.as_array_mut() {
        list.push(item);
    }
}

/// A state without what tokens leave behind.
fn without_tokens(state: &State) -> Value {
    let mut json = state.to_json();
    if let Some(tenants) = json["tenants"].as_object_mut() {
        for collections in tenants.values_mut() {
            if let Some(collections) = collections.as_object_mut() {
                collections.remove("audits");
            }
        }
    }
    json
}

/// Whether a line is about something that a model of a tenant holds as the service does.
fn is_modelled(line: &str) -> bool {
    const OTHERS: [&str; 9] = [
        " audits/",
        " counters/",
        " usedTokens/",
        " reloads/",
        " tempContents/",
        " oauthSecrets/",
        " seats/",
        " users/",
        " organization/",
    ];
    !OTHERS.iter().any(|other| line.contains(other))
}

/// A state with what a model says a run changes in it.
fn with_changes(mut state: State, changes: &[Difference], client: &str, secrets: &BTreeMap<String, String>) -> State {
    for Difference { scope, collection, id, before, after } in changes {
        match (state.get(scope, collection, id), after) {
            (_, None) => drop(state.remove(scope, collection, id)),
            (Some(held), Some(after)) => {
                let before = before.as_deref().cloned().unwrap_or_default();
                let mut document = (*held).clone();
                let names = before.as_object().into_iter().flatten().chain(after.as_object().into_iter().flatten());
                for (name, _) in names {
                    match after.get(name) {
                        None => drop(document.as_object_mut().and_then(|fields| fields.shift_remove(name))),
                        Some(value) if before.get(name) != Some(value) => document[name] = disclosed(value, secrets),
                        Some(_) => {}
                    }
                }
                state.put(scope, collection, id, document.into());
            }
            (None, Some(after)) => {
                let mut document = disclosed(after, secrets);
                // The bot of a model's client stands for that of the real one.
                if document["clientId"] == MODEL_CLIENT {
                    document["clientId"] = json!(client);
                    document["subject"] = json!(format!("qlikbot\\{client}"));
                }
                state.put(scope, collection, id, document.into());
            }
        }
    }
    state
}

/// A document with the secrets that a model has only stand-ins for.
fn disclosed(document: &Value, secrets: &BTreeMap<String, String>) -> Value {
    match document {
        Value::String(text) => match text.strip_prefix(STAND_IN).and_then(|name| secrets.get(name)) {
            Some(secret) => json!(secret),
            None => document.clone(),
        },
        Value::Array(items) => items.iter().map(|item| disclosed(item, secrets)).collect(),
        Value::Object(map) => map.iter().map(|(name, item)| (name.clone(), disclosed(item, secrets))).collect(),
        plain => plain.clone(),
    }
}

/// A state without what apps hold: a model knows only what a tenant shows of them.
fn without_content(mut state: State) -> State {
    for tenant in state.collection(&Scope::Organization, "tenants").documents() {
        let scope = Scope::tenant(tenant["id"].as_str().unwrap_or_default());
        let apps: Vec<(String, Value)> =
            state.collection(&scope, "apps").iter().map(|(id, app)| (id.to_owned(), (**app).clone())).collect();
        for (id, mut app) in apps {
            if let Some(fields) = app.as_object_mut() {
                fields.retain(|name, _| !name.starts_with('$'));
            }
            state.put(&scope, "apps", &id, app.into());
        }
    }
    state
}
