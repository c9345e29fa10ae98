//! Runs of the past, written into the journal of a project entry by entry, at times of the test's choice.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tenantry::event::{Change, FieldChange, Step};
use tenantry::operation::{
    Body, Call, Effect, Failure, Host, Key, Operation, Outcome, Payload, RecordedOperation, Request, Response, Site,
};
use tenantry::store::{Ending, Entry, Opening, Registry, RunKind, RunLog, State, Tenant};
use tenantry::surroundings::Clock;

use super::command_line::Folder;

/// When the first run of every test begins.
const START: &str = "2026-11-24T08:00:00Z";

/// A clock that stands until the test moves it.
struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_microsecond(self.0.load(Ordering::Relaxed)).unwrap()
    }

    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

/// The past of a project.
pub(crate) struct Past {
    clock: Arc<SetClock>,
    state: State,
}

/// A run being written down.
pub(crate) struct PastRun {
    clock: Arc<SetClock>,
    log: RunLog,
    /// Reads that were asked: only their answers are noted.
    asked: Mutex<Vec<(Key, RecordedOperation)>>,
}

pub(crate) fn opening(id: &str, customer: Value) -> Opening {
    Opening {
        id: id.to_owned(),
        kind: RunKind::Run,
        playbook: "playbooks/onboard.rhai".to_owned(),
        scope: "org-1".to_owned(),
        customer: customer["code"].as_str().unwrap().to_owned(),
        target: "sandbox".to_owned(),
        inputs: customer,
        verify: false,
        release: "0.1.0".to_owned(),
        plan: None,
    }
}

/// The registered tenant of a customer.
pub(crate) fn tenant(customer: &str, run: &str) -> Tenant {
    Tenant {
        customer: customer.to_owned(),
        id: format!("id-{customer}"),
        hostname: format!("{customer}.eu.qlikcloud.com"),
        alias: None,
        region: "eu".to_owned(),
        name: Some("Harbour".to_owned()),
        status: "active".to_owned(),
        created_by_run: Some(run.to_owned()),
    }
}

/// A place in a playbook: `playbooks/onboard.rhai:5:8`.
pub(crate) fn site(text: &str) -> Site {
    let parts: Vec<&str> = text.split(':').collect();
    Site { file: parts[0].to_owned(), line: parts[1].parse().unwrap(), column: parts[2].parse().unwrap() }
}

impl Past {
    pub(crate) fn of(folder: &Folder) -> Self {
        let start: Timestamp = START.parse().unwrap();
        let clock = Arc::new(SetClock(AtomicI64::new(start.as_microsecond())));
        let state = State::open(&folder.path().join(".tenantry/state.db"), Arc::clone(&clock) as Arc<dyn Clock>);
        Self { clock, state: state.unwrap() }
    }

    /// Sets the clock to so many milliseconds after the start.
    pub(crate) fn at(&self, milliseconds: i64) -> &Self {
        self.clock.at(milliseconds);
        self
    }

    /// The registry of the same state.
    pub(crate) fn registry(&self) -> Registry {
        self.state.registry()
    }

    /// A lease that is not given back before this process ends.
    pub(crate) async fn lease(&self, name: &str, run: &str) {
        std::mem::forget(self.state.leases().take(name, run).await.unwrap());
    }

    /// Begins a run.
    pub(crate) async fn begin(&self, opening: Opening) -> PastRun {
        let log = self.state.journal().begin(opening).await.unwrap();
        PastRun { clock: Arc::clone(&self.clock), log, asked: Mutex::default() }
    }

    /// Begins a run, which does so much and ends so.
    pub(crate) async fn ended(&self, opening: Opening, writes: u32, ending: Ending) {
        let run = self.begin(opening).await;
        run.process("process 1");
        for number in 0..writes {
            let (key, subject) = (format!("{number}:createSpace#0"), format!("space \"{number}\""));
            run.asks(&key, Effect::Create, "POST /api/v1/spaces", &subject, "playbooks/onboard.rhai:4:15", json!({}));
            run.answers(&key, 201, json!({ "id": format!("space-{number}") }));
            run.step(Change::Created, &subject, &number.to_string(), "playbooks/onboard.rhai:4:15", &[]);
        }
        run.end(ending).await;
    }

    /// Goes on with a run in another process.
    pub(crate) async fn resume(&self, id: &str) -> PastRun {
        let (_, _, log) = self.state.journal().reopen(id).await.unwrap();
        PastRun { clock: Arc::clone(&self.clock), log, asked: Mutex::default() }
    }
}

impl SetClock {
    fn at(&self, milliseconds: i64) {
        let start: Timestamp = START.parse().unwrap();
        self.0.store(start.as_microsecond() + milliseconds * 1000, Ordering::Relaxed);
    }
}

impl PastRun {
    pub(crate) fn at(&self, milliseconds: i64) -> &Self {
        self.clock.at(milliseconds);
        self
    }

    pub(crate) fn process(&self, name: &str) -> &Self {
        self.log.note(&Entry::Began { process: name.to_owned() });
        self
    }

    pub(crate) fn file(&self, path: &str, text: &str) -> &Self {
        self.log.note_file(path, text.as_bytes());
        self
    }

    /// An operation is asked; `request` is its method and path, or empty for a local one.
    pub(crate) fn asks(&self, key: &str, effect: Effect, request: &str, subject: &str, at: &str, body: Value) -> &Self {
        self.attempts(key, 0, effect, request, subject, at, body)
    }

    #[expect(clippy::too_many_arguments, reason = "an operation has as many parts")]
    pub(crate) fn attempts(
        &self,
        key: &str,
        attempt: u32,
        effect: Effect,
        request: &str,
        subject: &str,
        at: &str,
        body: Value,
    ) -> &Self {
        let key: Key = key.parse().unwrap();
        let call = match request.split_once(' ') {
            None => Call::Local { arguments: body },
            Some((method, path)) => Call::Request(Request {
                host: if path == "/api/v1/tenants" {
                    Host::Register("eu".to_owned())
                } else {
                    Host::Tenant("q7m2k9.eu.qlikcloud.com".to_owned())
                },
                method: method.parse().unwrap(),
                path: path.to_owned(),
                query: Vec::new(),
                headers: std::collections::BTreeMap::new(),
                body: if body.is_null() { Body::Empty } else { Body::Json(body) },
                next: None,
            }),
        };
        let operation =
            Operation { id: key.id.clone(), call, effect, subject: subject.to_owned(), site: Some(site(at)) };
        let operation = RecordedOperation::from(&operation);
        if effect.is_write() {
            let secrets = std::collections::BTreeMap::new();
            self.log.note(&Entry::Intent { key, attempt, operation: Box::new(operation), secrets });
        } else {
            self.asked.lock().unwrap().push((key, operation));
        }
        self
    }

    pub(crate) fn answers(&self, key: &str, status: u16, json: Value) -> &Self {
        let payload = if json.is_null() { Payload::Empty } else { Payload::Json(json) };
        let headers = std::collections::BTreeMap::new();
        self.outcome(key, 0, &Ok(Response { status, headers, payload }))
    }

    pub(crate) fn outcome(&self, key: &str, attempt: u32, outcome: &Outcome) -> &Self {
        let key: Key = key.parse().unwrap();
        let mut asked = self.asked.lock().unwrap();
        let operation = asked.iter().position(|(known, _)| *known == key).map(|place| Box::new(asked.remove(place).1));
        self.log.note(&Entry::Outcome { key, attempt, operation, outcome: outcome.into() });
        drop(asked);
        self
    }

    pub(crate) fn fails(&self, key: &str, failure: Failure) -> &Self {
        self.outcome(key, 0, &Err(failure))
    }

    pub(crate) fn settles(&self, key: &str, performed: Option<Value>, evidence: &str) -> &Self {
        let answer = |json| {
            let outcome: Outcome = Ok(Response::local(json));
            (&outcome).into()
        };
        let performed = performed.map(answer);
        let (key, evidence) = (key.parse().unwrap(), evidence.to_owned());
        self.log.note(&Entry::Settled { key, attempt: 0, performed, evidence });
        self
    }

    pub(crate) fn accepts(&self, key: &str) -> &Self {
        self.log.note(&Entry::Accepted { key: key.parse().unwrap() });
        self
    }

    pub(crate) fn step(
        &self,
        change: Change,
        subject: &str,
        call: &str,
        at: &str,
        fields: &[(&str, Value, Value)],
    ) -> &Self {
        let field = |(field, before, after): &(&str, Value, Value)| FieldChange {
            field: (*field).to_owned(),
            before: before.clone(),
            after: after.clone(),
        };
        let key: Key = format!("{call}:x#0").parse().unwrap();
        self.log.note(&Entry::Step(Step {
            change,
            subject: subject.to_owned(),
            fields: fields.iter().map(field).collect(),
            site: Some(site(at)),
            call: Some(key.call_key()),
        }));
        self
    }

    pub(crate) fn logs(&self, level: &str, message: &str, at: &str) -> &Self {
        let (level, message, site) = (level.to_owned(), message.to_owned(), Some(site(at)));
        self.log.note(&Entry::Log { level, message, site });
        self
    }

    pub(crate) async fn end(&self, status: Ending) {
        self.end_with(status, Value::Null).await;
    }

    pub(crate) async fn end_with(&self, status: Ending, report: Value) {
        self.log.end(status, report).await.unwrap();
    }

    /// The process dies: what was noted is there, and no end.
    pub(crate) async fn dies(&self) {
        // An entry that is durable has all earlier ones before it.
        self.log
            .append(&Entry::Log { level: "debug".to_owned(), message: "going on".to_owned(), site: None })
            .await
            .unwrap();
    }
}
