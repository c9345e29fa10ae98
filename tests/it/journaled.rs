//! The journal around an interpreter: what is recorded, and what a run that goes on does with it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, poll};
use jiff::Timestamp;
use serde_json::{Value, json};
use tenantry::interpreter::{Decision, Interpreter, Journaled, Journaling, Record, Replay, Settlement};
use tenantry::operation::{
    Body, Call, Effect, Failure, FailureKind, HeaderText, Host, Key, Operation, Outcome, Payload, Request, Response,
    Site, Written,
};
use tenantry::store::{
    CommitHook, Ending, Entry, Fingerprints, Logged, Opening, RunKind, RunLog, SecretSource, State, Vault, Verdict,
};
use tenantry::surroundings::{Clock, Random, RuntimeClock};

const RUN: &str = "run-1";

/// Answers and settles as told, in order, and remembers what was asked.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    answers: VecDeque<Outcome>,
    settlements: VecDeque<Result<Settlement, Failure>>,
    asked: Vec<String>,
    look: Option<State>,
    fills: Option<Arc<Full>>,
    /// What the journal held last when something was asked.
    seen: Vec<String>,
}

impl Scripted {
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }
}

impl Interpreter for Scripted {
    fn perform<'a>(&'a self, key: &'a Key, _: &'a Operation) -> BoxFuture<'a, Outcome> {
        let mut script = self.0.lock().unwrap();
        script.asked.push(key.to_string());
        if let Some(state) = &script.look {
            let last = state.journal().entries(RUN).unwrap().pop().map(|logged| told(&logged.entry));
            script.seen.extend(last);
        }
        if let Some(disk) = &script.fills {
            disk.0.store(true, Ordering::SeqCst);
        }
        match script.answers.pop_front() {
            Some(answer) => std::future::ready(answer).boxed(),
            None => std::future::pending().boxed(),
        }
    }

    fn settle<'a>(
        &'a self,
        key: &'a Key,
        operation: &'a Operation,
        _: Timestamp,
    ) -> BoxFuture<'a, Result<Settlement, Failure>> {
        let mut script = self.0.lock().unwrap();
        script.asked.push(format!("settle {key} {}", operation.subject));
        match script.settlements.pop_front() {
            Some(settlement) => std::future::ready(settlement).boxed(),
            None => std::future::pending().boxed(),
        }
    }
}

/// One run of a state, over a scripted world.
struct World {
    state: State,
    inner: Scripted,
    log: RunLog,
    vault: Vault,
    clock: Arc<dyn Clock>,
    record: Record,
}

impl World {
    async fn new() -> Self {
        Self::on(|state| state).await
    }

    async fn on(process: impl FnOnce(State) -> State) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(RuntimeClock::starting_at("2026-11-24T08:00:00Z".parse().unwrap()));
        let state = process(State::in_memory(Arc::clone(&clock)).unwrap());
        let opening = Opening {
            id: RUN.to_owned(),
            kind: RunKind::Run,
            playbook: "play.rhai".to_owned(),
            scope: "org".to_owned(),
            customer: "harbour".to_owned(),
            target: "sandbox".to_owned(),
            inputs: json!({}),
            verify: false,
            plan: None,
            release: "0".to_owned(),
        };
        let log = state.journal().begin(opening).await.unwrap();
        Self { state, inner: Scripted::default(), log, vault: Vault::in_memory(), clock, record: Record::default() }
    }

    /// The layer for this run as it is now.
    fn layer(&self, answers: impl IntoIterator<Item = Outcome>) -> Journaled<Scripted> {
        let mut script = self.inner.0.lock().unwrap();
        script.answers = answers.into_iter().collect();
        script.asked.clear();
        drop(script);
        Journaled::new(
            self.inner.clone(),
            Journaling {
                run: RUN.to_owned(),
                log: self.log.clone(),
                record: self.record.clone(),
                fingerprints: Fingerprints::new(self.vault.clone(), Random::from_seed(7)),
                clock: Arc::clone(&self.clock),
            },
        )
    }

    fn settling(&self, settlements: impl IntoIterator<Item = Result<Settlement, Failure>>) {
        self.inner.0.lock().unwrap().settlements = settlements.into_iter().collect();
    }

    /// The process ends and another goes on.
    async fn resumed(mut self) -> Self {
        let (_, entries, log) = self.state.journal().reopen(RUN).await.unwrap();
        self.record = Record::of(&entries);
        self.log = log;
        self
    }

    fn entries(&self) -> Vec<Logged> {
        self.state.journal().entries(RUN).unwrap()
    }

    fn told(&self) -> Vec<String> {
        self.entries().iter().map(|logged| told(&logged.entry)).collect()
    }
}

fn told(entry: &Entry) -> String {
    match entry {
        Entry::Intent { key, attempt, .. } => format!("intent {key} {attempt}"),
        Entry::Outcome { key, attempt, outcome, .. } => {
            let outcome = Outcome::from(outcome.clone());
            let what = outcome.map_or_else(|failure| failure.code, |answer| answer.status.to_string());
            format!("outcome {key} {attempt}: {what}")
        }
        Entry::Settled { key, attempt, performed, evidence } => {
            format!("settled {key} {attempt}: {} by {evidence}", if performed.is_some() { "done" } else { "not done" })
        }
        Entry::Accepted { key } => format!("accepted {key}"),
        other => format!("{other:?}"),
    }
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

/// An operation that is told apart by its subject and its value.
fn operation(id: &str, value: &str, line: usize) -> Operation {
    let effect = if id.starts_with("get") { Effect::Read } else { Effect::Create };
    Operation {
        id: id.to_owned(),
        call: Call::Request(Request {
            host: Host::Tenant("h.eu.qlikcloud.com".to_owned()),
            method: if effect == Effect::Read { http::Method::GET } else { http::Method::POST },
            path: "/api/v1/spaces".to_owned(),
            query: Vec::new(),
            headers: BTreeMap::new(),
            body: Body::Json(json!({ "name": value })),
            next: None,
        }),
        effect,
        subject: format!("\"{value}\""),
        site: Some(Site { file: "play.rhai".to_owned(), line, column: 5 }),
    }
}

async fn ask(layer: &Journaled<Scripted>, at: &str, value: &str) -> Outcome {
    let key = key(at);
    layer.perform(&key, &operation(&key.id, value, 3)).await
}

#[expect(clippy::unnecessary_wraps, reason = "it stands where an outcome is expected")]
fn answer(status: u16, id: &str) -> Outcome {
    Ok(Response { status, headers: BTreeMap::new(), payload: Payload::Json(json!({ "id": id })) })
}

fn id(outcome: Outcome) -> Value {
    outcome.unwrap().json()["id"].clone()
}

fn failed(kind: FailureKind, code: &str) -> Outcome {
    Err(Failure::new(kind, code, "it failed"))
}

fn unknown() -> Outcome {
    failed(FailureKind::Unknown, "tenantry/timeout")
}

fn cannot_tell() -> Result<Settlement, Failure> {
    Err(Failure::new(FailureKind::Unknown, "tenantry/unsettled", "it is not known").detail("nothing tells"))
}

fn performed(id: &str) -> Result<Settlement, Failure> {
    answer(201, id).map(Settlement::Performed)
}

#[tokio::test(start_paused = true)]
async fn an_intent_is_durable_before_it_is_sent_and_its_outcome_before_the_script_goes_on() {
    let world = World::new().await;
    let layer = world.layer([answer(200, "l"), answer(201, "s1")]);
    world.inner.0.lock().unwrap().look = Some(world.state.clone());
    ask(&layer, "0:getSpaces#0", "a").await.unwrap();
    assert_eq!(id(ask(&layer, "0:createSpace#0", "a").await), "s1");
    assert_eq!(world.inner.0.lock().unwrap().seen, ["intent 0:createSpace#0 0"], "before the read there was nothing");
    assert_eq!(
        world.told(),
        ["outcome 0:getSpaces#0 0: 200", "intent 0:createSpace#0 0", "outcome 0:createSpace#0 0: 201"]
    );
    // What was read says what was asked; of a write the intent does.
    let entries = world.entries();
    let says = |place: usize| matches!(&entries[place].entry, Entry::Outcome { operation: Some(_), .. });
    assert!(says(0) && !says(2));
    assert!(!layer.is_replayed(&key("0:createSpace#0")));
}

#[tokio::test(start_paused = true)]
async fn finished_calls_are_answered_from_the_record_and_the_last_one_starts_again() {
    let world = World::new().await;
    let layer = world.layer([
        answer(200, "l"),
        failed(FailureKind::Refused, "SPACES-1"),
        answer(200, "l2"),
        answer(201, "s2"),
        answer(201, "s3"),
    ]);
    ask(&layer, "0:getSpaces#0", "a").await.unwrap();
    ask(&layer, "0:createSpace#0", "a").await.unwrap_err();
    ask(&layer, "1:getSpaces#0", "b").await.unwrap();
    ask(&layer, "1:createSpace#0", "b").await.unwrap();
    ask(&layer, "1:createSpace#1", "c").await.unwrap();

    let world = world.resumed().await;
    let before = world.told();
    let layer = world.layer([answer(200, "fresh"), answer(201, "new")]);
    layer.settle_left(&BTreeMap::new()).await.unwrap();
    // The first call is finished: nothing is sent, and a failure is told again.
    assert_eq!(id(ask(&layer, "0:getSpaces#0", "a").await), "l");
    assert_eq!(ask(&layer, "0:createSpace#0", "a").await.unwrap_err().code, "SPACES-1");
    assert!(world.inner.asked().is_empty() && layer.is_replayed(&key("0:createSpace#0")));
    assert_eq!(world.told(), before, "nothing is recorded twice");
    // The second is not: what it read is read again, what it wrote is not written again.
    assert_eq!(id(ask(&layer, "1:getSpaces#0", "b").await), "fresh");
    assert_eq!(id(ask(&layer, "1:createSpace#0", "b").await), "s2");
    assert_eq!(id(ask(&layer, "1:createSpace#1", "c").await), "s3");
    assert_eq!(world.inner.asked(), ["1:getSpaces#0"]);
    assert!(!layer.is_replayed(&key("1:getSpaces#0")) && layer.is_replayed(&key("1:createSpace#1")));
    // And what comes next is done.
    assert_eq!(id(ask(&layer, "2:createSpace#0", "d").await), "new");

    // A third process finds the second call finished, with what was read last.
    let world = world.resumed().await;
    let layer = world.layer([]);
    assert_eq!(id(ask(&layer, "1:getSpaces#0", "b").await), "fresh");
    assert_eq!(id(ask(&layer, "1:createSpace#1", "c").await), "s3");
    assert!(world.inner.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_write_that_did_not_succeed_or_is_another_is_done_in_the_call_that_starts_again() {
    let world = World::new().await;
    let layer = world.layer([failed(FailureKind::Refused, "SPACES-1"), answer(201, "s1")]);
    ask(&layer, "0:createSpace#0", "a").await.unwrap_err();
    ask(&layer, "0:createSpace#1", "b").await.unwrap();
    let world = world.resumed().await;
    let layer = world.layer([answer(201, "s2"), answer(201, "s3")]);
    assert_eq!(id(ask(&layer, "0:createSpace#0", "a").await), "s2");
    assert_eq!(id(ask(&layer, "0:createSpace#1", "other").await), "s3");
    ask(&layer, "1:getSpaces#0", "x").now_or_never();
    let told = world.told();
    assert_eq!(told[4..6], ["intent 0:createSpace#0 1", "outcome 0:createSpace#0 1: 201"]);
    assert_eq!(told[6..8], ["intent 0:createSpace#1 1", "outcome 0:createSpace#1 1: 201"]);

    // Once the call is finished, the last attempts are what was told.
    let layer = world.layer([answer(200, "l")]);
    ask(&layer, "1:getSpaces#0", "x").await.unwrap();
    let world = world.resumed().await;
    let layer = world.layer([]);
    assert_eq!(id(ask(&layer, "0:createSpace#0", "a").await), "s2");
    assert_eq!(id(ask(&layer, "0:createSpace#1", "other").await), "s3");
}

/// An answer that says of each of several things how it went.
#[expect(clippy::unnecessary_wraps, reason = "it stands where an outcome is expected")]
fn several(statuses: &[u16]) -> Outcome {
    let data: Vec<Value> = statuses.iter().map(|status| json!({ "status": status })).collect();
    Ok(Response { status: 207, headers: BTreeMap::new(), payload: Payload::Json(json!({ "data": data, "id": "207" })) })
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_in_all_its_parts_is_asked_again_when_its_call_starts_again() {
    for (statuses, then) in [(&[503, 403][..], "new"), (&[201, 403], "207"), (&[201], "207"), (&[], "207")] {
        let world = World::new().await;
        ask(&world.layer([several(statuses)]), "0:addLicenseAssignments#0", "a").await.unwrap();
        let world = world.resumed().await;
        let again = ask(&world.layer([answer(207, "new")]), "0:addLicenseAssignments#0", "a").await;
        assert_eq!(id(again), then, "{statuses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_done_is_known_again_at_another_place_of_its_call() {
    let world = World::new().await;
    let layer = world.layer([answer(201, "s0"), answer(201, "s1")]);
    ask(&layer, "0:createSpace#0", "a").await.unwrap();
    ask(&layer, "0:createSpace#1", "b").await.unwrap();
    // Started again, the call finds the first one there and asks for the second only, for lists lag behind.
    let world = world.resumed().await;
    let layer = world.layer([answer(201, "twice")]);
    assert_eq!(id(ask(&layer, "0:createSpace#0", "b").await), "s1");
    assert!(world.inner.asked().is_empty() && layer.is_replayed(&key("0:createSpace#0")));
    // The record of one write answers once.
    assert_eq!(id(ask(&layer, "0:createSpace#1", "b").await), "twice");
    let told = world.told();
    assert_eq!(
        told[4..6],
        ["intent 0:createSpace#0 1", "settled 0:createSpace#0 1: done by recorded as 0:createSpace#1"]
    );
    ask(&layer, "1:createSpace#0", "c").now_or_never();

    let world = world.resumed().await;
    let layer = world.layer([]);
    assert_eq!(id(ask(&layer, "0:createSpace#0", "b").await), "s1");
    assert_eq!(id(ask(&layer, "0:createSpace#1", "b").await), "twice");
}

#[tokio::test(start_paused = true)]
async fn branches_are_each_where_they_are() {
    let world = World::new().await;
    let layer = world.layer((0..4).map(|number| answer(201, &format!("s{number}"))));
    ask(&layer, "0:createSpace#0", "z").await.unwrap();
    ask(&layer, "2[0].0:createSpace#0", "a").await.unwrap();
    ask(&layer, "2[1].0:getSpaces#0", "b").await.unwrap();
    ask(&layer, "2[0].1:getSpaces#0", "c").await.unwrap();
    let world = world.resumed().await;
    let layer = world.layer([answer(200, "live"), answer(200, "live")]);
    // A new process meets them in another order.
    assert_eq!(id(ask(&layer, "2[1].0:getSpaces#0", "b").await), "live");
    assert_eq!(id(ask(&layer, "0:createSpace#0", "z").await), "s0");
    assert_eq!(id(ask(&layer, "2[0].0:createSpace#0", "a").await), "s1");
    assert_eq!(id(ask(&layer, "2[0].1:getSpaces#0", "c").await), "live");
    assert_eq!(world.inner.asked(), ["2[1].0:getSpaces#0", "2[0].1:getSpaces#0"]);
}

/// A run of three finished calls, each with a read and a write, and a fourth.
async fn three_calls() -> World {
    let world = World::new().await;
    let layer = world.layer((0..7).map(|number| answer(200, &format!("n{number}"))));
    for call in 0..3 {
        let value = format!("v{call}");
        ask(&layer, &format!("{call}:getSpaces#0"), &value).await.unwrap();
        ask(&layer, &format!("{call}:createSpace#0"), &value).await.unwrap();
    }
    ask(&layer, "3:createSpace#0", "last").await.unwrap();
    world.inner.asked();
    world.resumed().await
}

#[tokio::test(start_paused = true)]
async fn a_playbook_that_asks_something_else_ends_its_run() {
    let world = three_calls().await;
    for (at, value, detail) in [
        (
            "1:createSpace#0",
            "new",
            "it asks `createSpace` for \"new\" at play.rhai:9:5 (1:createSpace#0), where the run had asked `createSpace` for \"v1\" at play.rhai:3:5",
        ),
        (
            "1:createGroup#0",
            "g",
            "it asks `createGroup` for \"g\" at play.rhai:9:5 (1:createGroup#0), where the run had asked `getSpaces` for \"v1\" at play.rhai:3:5",
        ),
        (
            "0[1].0:createGroup#0",
            "g",
            "it asks `createGroup` for \"g\" at play.rhai:9:5 (0[1].0:createGroup#0), where the run had asked nothing",
        ),
    ] {
        let layer = world.layer([]);
        let key = key(at);
        let failure = layer.perform(&key, &operation(&key.id, value, 9)).await.unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Cancelled, "tenantry/diverged"));
        assert_eq!(failure.detail.unwrap(), detail);
        assert!(failure.hint.unwrap().contains("tenantry runs resume run-1 --accept-changes"));
        assert!(world.inner.asked().is_empty());
    }
    // A line that has moved is no change.
    let layer = world.layer([]);
    let moved = operation("createSpace", "v1", 90);
    assert_eq!(id(layer.perform(&key("1:createSpace#0"), &moved).await), "n3");
}

#[tokio::test(start_paused = true)]
async fn an_accepted_change_goes_on_live_from_its_call() {
    let world = three_calls().await;
    let layer = world.layer((0..4).map(|number| answer(201, &format!("live{number}")))).accept_changes(true);
    assert_eq!(id(ask(&layer, "0:getSpaces#0", "v0").await), "n0");
    assert_eq!(id(ask(&layer, "0:createSpace#0", "v0").await), "n1");
    // The first that this call asks is another: nothing of it and of what came after counts any more.
    assert_eq!(id(ask(&layer, "1:getSpaces#0", "changed").await), "live0");
    assert_eq!(id(ask(&layer, "1:createSpace#0", "v1").await), "live1");
    assert_eq!(id(ask(&layer, "2:getSpaces#0", "v2").await), "live2");
    assert_eq!(layer.restart(), None);
    assert!(world.told().contains(&"accepted 1:getSpaces#0".to_owned()));

    // Whoever goes on with that finds the call unfinished that was.
    let world = world.resumed().await;
    let layer = world.layer([answer(201, "again")]);
    assert_eq!(id(ask(&layer, "0:createSpace#0", "v0").await), "n1");
    assert_eq!(id(ask(&layer, "1:getSpaces#0", "changed").await), "live0");
    assert_eq!(id(ask(&layer, "1:createSpace#0", "v1").await), "live1");
    assert_eq!(id(ask(&layer, "2:getSpaces#0", "v2").await), "again");
    assert_eq!(world.inner.asked(), ["2:getSpaces#0"]);
}

#[tokio::test(start_paused = true)]
async fn no_write_is_decided_on_what_was_replayed_in_a_changed_call() {
    let world = three_calls().await;
    let layer = world.layer([]).accept_changes(true);
    assert_eq!(id(ask(&layer, "1:getSpaces#0", "v1").await), "n2");
    let failure = ask(&layer, "1:createSpace#0", "changed").await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Cancelled, "tenantry/diverged"));
    assert!(world.inner.asked().is_empty());
    assert_eq!(layer.restart(), Some(key("1:createSpace#0")));

    // Started again, the whole call is live.
    let world = world.resumed().await;
    let layer = world.layer([answer(200, "l"), answer(201, "s")]).accept_changes(true);
    layer.live_from(&key("1:createSpace#0")).await.unwrap();
    assert_eq!(id(ask(&layer, "0:createSpace#0", "v0").await), "n1");
    assert_eq!(id(ask(&layer, "1:getSpaces#0", "v1").await), "l");
    assert_eq!(id(ask(&layer, "1:createSpace#0", "changed").await), "s");
    assert_eq!(world.inner.asked(), ["1:getSpaces#0", "1:createSpace#0"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_looked_up_at_once() {
    let world = World::new().await;
    // It was done.
    let layer = world.layer([unknown()]);
    world.settling([performed("found")]);
    assert_eq!(id(ask(&layer, "0:createSpace#0", "a").await), "found");
    assert_eq!(world.inner.asked(), ["0:createSpace#0", "settle 0:createSpace#0 \"a\""]);
    // It was not: it is done again.
    let layer = world.layer([unknown(), answer(201, "second")]);
    world.settling([Ok(Settlement::NotPerformed)]);
    assert_eq!(id(ask(&layer, "1:createSpace#0", "b").await), "second");
    assert_eq!(
        world.told(),
        [
            "intent 0:createSpace#0 0",
            "settled 0:createSpace#0 0: done by a look-up",
            "intent 1:createSpace#0 0",
            "settled 1:createSpace#0 0: not done by a look-up",
            "intent 1:createSpace#0 1",
            "outcome 1:createSpace#0 1: 201",
        ]
    );
    // Three times in all; then it is known that nothing was done.
    let layer = world.layer([unknown(), unknown(), unknown()]);
    world.settling([Ok(Settlement::NotPerformed), Ok(Settlement::NotPerformed), Ok(Settlement::NotPerformed)]);
    let failure = ask(&layer, "2:createSpace#0", "c").await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Unsent, "tenantry/timeout"));
    assert_eq!(world.inner.asked().len(), 6);
    assert_eq!(world.told().last().unwrap(), "outcome 2:createSpace#0 2: tenantry/timeout");
    assert!(Record::of(&world.entries()).unsettled().is_empty());
    // A read is never looked up.
    let layer = world.layer([unknown()]);
    ask(&layer, "3:getSpaces#0", "d").await.unwrap_err();
    assert_eq!(world.inner.asked(), ["3:getSpaces#0"]);

    // What a look-up found is what the run was told.
    let world = world.resumed().await;
    let layer = world.layer([]);
    assert_eq!(id(ask(&layer, "0:createSpace#0", "a").await), "found");
    assert_eq!(id(ask(&layer, "1:createSpace#0", "b").await), "second");
    assert_eq!(ask(&layer, "2:createSpace#0", "c").await.unwrap_err().kind, FailureKind::Unsent);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_told_goes_to_the_script_and_is_asked_when_the_run_goes_on() {
    let world = World::new().await;
    let layer = world.layer([unknown(), answer(201, "s"), unknown()]);
    world.settling([cannot_tell(), cannot_tell()]);
    let failure = ask(&layer, "0:createSpace#0", "caught").await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Unknown, "tenantry/timeout"));
    assert_eq!(failure.detail.as_deref(), Some("nothing tells"));
    ask(&layer, "1:createSpace#0", "b").await.unwrap();
    ask(&layer, "2:createSpace#0", "c").await.unwrap_err();

    // The playbook has learnt of the first and went on; only the second stands in the way.
    let world = world.resumed().await;
    let layer = world.layer([]);
    world.settling([cannot_tell()]);
    let failure = layer.settle_left(&BTreeMap::new()).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Unknown, "tenantry/unsettled"));
    assert_eq!(world.inner.asked(), ["settle 2:createSpace#0 \"c\""]);
    world.settling([performed("found")]);
    layer.settle_left(&BTreeMap::new()).await.unwrap();
    assert_eq!(ask(&layer, "0:createSpace#0", "caught").await.unwrap_err(), failure_of_caught());
    assert_eq!(id(ask(&layer, "1:createSpace#0", "b").await), "s");
    assert_eq!(id(ask(&layer, "2:createSpace#0", "c").await), "found");
    assert_eq!(world.inner.asked(), ["settle 2:createSpace#0 \"c\""], "nothing was sent");
}

fn failure_of_caught() -> Failure {
    unknown().unwrap_err().detail("nothing tells")
}

#[tokio::test(start_paused = true)]
async fn writes_without_an_outcome_are_settled_in_order_before_the_script_starts() {
    let world = World::new().await;
    let layer = world.layer([]);
    // The process dies while three branches wait for answers.
    for at in ["0[0].0:createSpace#0", "0[1].0:createSpace#0", "0[2].0:createSpace#0"] {
        let _ = poll!(std::pin::pin!(ask(&layer, at, at)));
    }
    let world = world.resumed().await;
    let layer = world.layer([answer(201, "again")]);
    world.settling([performed("found"), Ok(Settlement::NotPerformed)]);
    let decided = BTreeMap::from([(key("0[1].0:createSpace#0"), Decision::NotPerformed)]);
    layer.settle_left(&decided).await.unwrap();
    assert_eq!(
        world.told()[3..],
        [
            "settled 0[0].0:createSpace#0 0: done by a look-up",
            "settled 0[1].0:createSpace#0 0: not done by a person",
            "settled 0[2].0:createSpace#0 0: not done by a look-up",
        ]
    );
    let at = |branch: u32| format!("0[{branch}].0:createSpace#0");
    assert_eq!(id(ask(&layer, &at(0), &at(0)).await), "found");
    assert_eq!(id(ask(&layer, &at(1), &at(1)).await), "again");
    assert_eq!(world.told().last().unwrap(), "outcome 0[1].0:createSpace#0 1: 201");
    // A decision about what is known is a mistake.
    let decided = BTreeMap::from([(key("0[0].0:createSpace#0"), Decision::Performed)]);
    let world = world.resumed().await;
    let failure = world.layer([]).settle_left(&decided).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Denied, "tenantry/settled"));
}

#[tokio::test(start_paused = true)]
async fn a_person_may_say_that_it_was_done() {
    let world = World::new().await;
    let layer = world.layer([]);
    let _ = poll!(std::pin::pin!(ask(&layer, "0:createSpace#0", "a")));
    let world = world.resumed().await;
    let layer = world.layer([]);
    layer.settle_left(&BTreeMap::from([(key("0:createSpace#0"), Decision::Performed)])).await.unwrap();
    let told = ask(&layer, "0:createSpace#0", "a").await.unwrap();
    assert_eq!((told.status, told.payload), (200, Payload::Empty));
    assert!(world.inner.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn look_ups_are_given_up_when_the_run_is_to_end() {
    let world = World::new().await;
    let over = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&over);
    let layer = world.layer([unknown()]).until(move || {
        let ended = Arc::clone(&ended);
        futures_util::future::poll_fn(move |_| {
            if ended.load(Ordering::SeqCst) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .boxed()
    });
    let mut asking = std::pin::pin!(ask(&layer, "0:createSpace#0", "a"));
    assert!(poll!(&mut asking).is_pending(), "it is being looked up");
    over.store(true, Ordering::SeqCst);
    assert_eq!(asking.await.unwrap_err().code, "tenantry/timeout");
    assert_eq!(Record::of(&world.entries()).unsettled().len(), 1);
}

/// A disk that is full from the moment it is told.
#[derive(Default)]
struct Full(AtomicBool);

impl CommitHook for Full {
    fn before(&self) -> Verdict {
        if self.0.load(Ordering::SeqCst) { Verdict::Full } else { Verdict::Go }
    }

    fn after(&self) -> Verdict {
        Verdict::Go
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_when_the_journal_cannot_be_written() {
    let disk = Arc::new(Full::default());
    let hook = Arc::clone(&disk);
    let world = World::on(move |state| state.as_process(hook)).await;
    let layer = world.layer([answer(201, "s"), answer(200, "l")]);
    ask(&layer, "0:createSpace#0", "a").await.unwrap();
    disk.0.store(true, Ordering::SeqCst);
    let failure = ask(&layer, "1:createSpace#0", "b").await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Cancelled, "tenantry/journal"));
    assert!(failure.hint.unwrap().contains("tenantry runs resume run-1"));
    assert_eq!(world.inner.asked(), ["0:createSpace#0"]);
    // A read goes on, for it changes nothing; but no write comes after what was not recorded, though there is room again.
    ask(&layer, "1:getSpaces#0", "b").await.unwrap();
    disk.0.store(false, Ordering::SeqCst);
    let failure = ask(&layer, "1:createSpace#0", "b").await.unwrap_err();
    assert_eq!(failure.code, "tenantry/journal");
    assert_eq!(world.inner.asked(), ["1:getSpaces#0"]);
    // It goes on where the record ends.
    let world = world.resumed().await;
    let layer = world.layer([answer(201, "s2")]);
    layer.settle_left(&BTreeMap::new()).await.unwrap();
    assert_eq!(id(ask(&layer, "0:createSpace#0", "a").await), "s");
    assert_eq!(id(ask(&layer, "1:createSpace#0", "b").await), "s2");
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_cannot_be_recorded_ends_the_run_and_is_looked_up_later() {
    let disk = Arc::new(Full::default());
    let hook = Arc::clone(&disk);
    let world = World::on(move |state| state.as_process(hook)).await;
    let layer = world.layer([answer(201, "s")]);
    // The disk fills while the service is at work.
    world.inner.0.lock().unwrap().fills = Some(Arc::clone(&disk));
    let failure = ask(&layer, "0:createSpace#0", "a").await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Cancelled, "tenantry/journal"));
    assert_eq!(world.inner.asked(), ["0:createSpace#0"]);
    disk.0.store(false, Ordering::SeqCst);
    assert_eq!(Record::of(&world.entries()).unsettled()[0].key, key("0:createSpace#0"));
}

#[tokio::test(start_paused = true)]
async fn an_intent_notes_a_keyed_fingerprint_of_every_secret_and_no_secret() {
    let world = World::new().await;
    world.vault.add("smtp", SecretSource::literal("canary"));
    world.vault.add("token", SecretSource::literal("canary"));
    let layer = world.layer([answer(201, "s"), answer(201, "s")]);
    let mut write = operation("createSpace", "a", 3);
    let Call::Request(request) = &mut write.call else { unreachable!() };
    request.body =
        Body::Json(json!({ "list": [{ "password": { "$secret": "smtp" } }], "no": { "$secret": "missing" } }));
    request.headers.insert("authorization".to_owned(), HeaderText::Bearer("token".to_owned()));
    layer.perform(&key("0:createSpace#0"), &write).await.unwrap();
    let fingerprints = |world: &World, place: usize| match &world.entries()[place].entry {
        Entry::Intent { secrets, .. } => secrets.clone(),
        other => panic!("{other:?}"),
    };
    let first = fingerprints(&world, 0);
    assert_eq!(first.keys().collect::<Vec<_>>(), ["smtp", "token"]);
    assert!(first["smtp"] == first["token"] && first["smtp"].len() == 32);
    assert!(!format!("{:?}", world.entries()).contains("canary"));
    // The same vault gives the same fingerprint to another process; another text or another key do not.
    let print = async |vault: &Vault| Fingerprints::new(vault.clone(), Random::from_seed(9)).of("smtp").await.unwrap();
    assert_eq!(print(&world.vault).await, first["smtp"]);
    let other = Vault::in_memory();
    other.add("smtp", SecretSource::literal("canary"));
    assert_ne!(print(&other).await, first["smtp"]);
    world.vault.add("smtp", SecretSource::literal("rotated"));
    assert_ne!(print(&world.vault).await, first["smtp"]);
}

#[tokio::test(start_paused = true)]
async fn a_session_is_told_what_was_carried_out_before() {
    let world = World::new().await;
    let layer = world.layer([
        answer(200, "l"),
        failed(FailureKind::Refused, "SPACES-1"),
        answer(201, "s1"),
        unknown(),
        unknown(),
        unknown(),
    ]);
    world.settling([performed("found"), Ok(Settlement::NotPerformed), cannot_tell()]);
    ask(&layer, "0:getSpaces#0", "read").await.unwrap();
    ask(&layer, "0:createSpace#0", "refused").await.unwrap_err();
    ask(&layer, "0:createSpace#1", "made").await.unwrap();
    ask(&layer, "1:createSpace#0", "found").await.unwrap();
    ask(&layer, "2:createSpace#0", "lost").await.unwrap_err();
    assert_eq!(layer.written(), Written::default(), "what this process does is no news to it");
    let world = world.resumed().await;
    let mut expected = Written::default();
    expected.note(&key("0:createSpace#1"), "\"made\"", Effect::Create);
    expected.note(&key("1:createSpace#0"), "\"found\"", Effect::Create);
    assert_eq!(world.layer([]).written(), expected);
    // What was settled before the script starts counts too.
    let layer = world.layer([]);
    world.settling([performed("late")]);
    layer.settle_left(&BTreeMap::new()).await.unwrap();
    expected.note(&key("2:createSpace#0"), "\"lost\"", Effect::Create);
    assert_eq!(layer.written(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_replay_answers_from_the_record_alone() {
    let world = three_calls().await;
    let replay = Replay::new(world.record.clone());
    let ask = async |at: &str, value: &str| {
        let key = key(at);
        replay.perform(&key, &operation(&key.id, value, 3)).await
    };
    assert_eq!(id(ask("2:getSpaces#0", "v2").await), "n4");
    assert_eq!(id(ask("3:createSpace#0", "last").await), "n6", "the last call too");
    assert_eq!(ask("1:createSpace#0", "changed").await.unwrap_err().code, "tenantry/diverged");
    assert_eq!(ask("1:createGroup#0", "g").await.unwrap_err().code, "tenantry/diverged");
    let failure = ask("3:createSpace#1", "more").await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Cancelled, "tenantry/record-ends"));
    assert!(world.inner.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_the_log_besides_operations_is_no_operation() {
    let world = World::new().await;
    world.log.note(&Entry::Began { process: "process 1".to_owned() });
    world.log.end(Ending::Failed, json!({})).await.unwrap();
    let layer_world = world.resumed().await;
    let layer = layer_world.layer([answer(201, "s")]);
    layer.settle_left(&BTreeMap::new()).await.unwrap();
    assert_eq!(id(ask(&layer, "0:createSpace#0", "a").await), "s");
}
