//! A request on a road that can break: what strikes it, and what comes back.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::context::Answer;
use super::dispatch;
use super::faults::{Arrival, Fault, Served};
use super::hosts::split;
use super::refusal::{Refusal, Shape};
use super::service::Sandbox;
use super::state::{Scope, State};
use super::store::Change;

/// How many changes are remembered for reads of what was there before.
const REMEMBERED: usize = 64;

/// For how long a change may be missed by reads: nothing of the cloud lags further behind.
const LAG: SignedDuration = SignedDuration::from_secs(8);

impl Sandbox {
    /// Answers one request as [`handle`](Self::handle) does, unless a fault of the settings strikes it. `None` says that
    /// the connection is lost and no answer comes. Holds up no thread.
    pub async fn exchange(&self, request: Request<Bytes>) -> Option<Response<Bytes>> {
        let (response, over) = self.travel(request).await?;
        // Here a body is there as a whole or not at all.
        if let Some(over) = over {
            tokio::time::sleep(over).await;
        }
        Some(response)
    }

    /// The same, with over how much time the body of the answer comes. One that breaks off is shorter than its head says.
    pub(super) async fn travel(&self, request: Request<Bytes>) -> Option<(Response<Bytes>, Option<Duration>)> {
        let operation = dispatch::operation(&request);
        let host = request.uri().host().unwrap_or_default().to_ascii_lowercase();
        if let Some(response) = self.turned_away(&request, &host) {
            return Some((response, None));
        }
        let mut struck = None;
        let mut ordinal = 0;
        if let Some(faults) = self.faults() {
            ordinal = self.count();
            let operation = operation.map_or("", |operation| operation.id);
            struck = faults.strike(&Arrival { ordinal, operation, method: request.method(), host: &host });
        }
        // Only a tenant can be disabled.
        let in_tenant = split(&host).is_some_and(|(label, _)| label != "register");
        struck = struck.filter(|fault| *fault != Fault::Disabled || in_tenant);
        let over = match struck {
            Some(Fault::Slow { over }) => Some(over),
            _ => None,
        };
        let late = match struck {
            Some(Fault::Late { by }) => Some(by),
            _ => None,
        };
        let silent = matches!(struck, Some(Fault::Silent { .. }));
        let work = Work { sandbox: self.clone(), ordinal, host, fault: struck, request };
        let answer = match late {
            // On its way: it arrives whether or not anyone still waits for its answer.
            Some(by) => tokio::spawn(async move {
                tokio::time::sleep(by).await;
                work.answer().await
            })
            .await
            .unwrap_or_else(|error| Some(broken(&error))),
            None => work.answer().await,
        };
        if silent { std::future::pending().await } else { answer.map(|response| (response, over)) }
    }
}

/// A request's work panicked; what it would have changed is not kept.
fn broken(error: &tokio::task::JoinError) -> Response<Bytes> {
    let refusal = Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "HTTP-500", "Internal server error");
    refusal.detail(error.to_string()).response(Shape::Plain)
}

/// One request and what strikes it.
struct Work {
    sandbox: Sandbox,
    ordinal: u64,
    host: String,
    fault: Option<Fault>,
    request: Request<Bytes>,
}

impl Work {
    /// Performs it where that holds up nobody.
    async fn answer(self) -> Option<Response<Bytes>> {
        if !self.sandbox.waits_for_disk(self.request.method()) {
            return self.perform();
        }
        tokio::task::spawn_blocking(move || self.perform()).await.unwrap_or_else(|error| Some(broken(&error)))
    }

    fn perform(self) -> Option<Response<Bytes>> {
        let Some(faults) = self.sandbox.faults() else { return Some(self.sandbox.handle(self.request)) };
        let Self { sandbox, request, fault, .. } = &self;
        let operation = dispatch::operation(request);
        let path = request.uri().path();
        let mut served = Served {
            ordinal: self.ordinal,
            operation: operation.map_or("", |operation| operation.id),
            host: self.host.clone(),
            status: None,
            touched: Vec::new(),
            fault: fault.clone(),
        };
        let wants_token = operation.is_some_and(dispatch::wants_token);
        if let Some(fault) = fault.as_ref().filter(|fault| !fault.is_done(wants_token)) {
            faults.note(&served);
            return fault.instead(path);
        }
        let sight = |scope: &Scope, user: Option<&str>| match fault {
            Some(Fault::Stale { changes }) => sandbox.earlier(scope, user, *changes),
            _ => None,
        };
        let parted = match fault {
            Some(Fault::Partly { status, code }) => Parted::of(served.operation, request, *status, code),
            _ => None,
        };
        if let Some(Parted { request: None, line }) = &parted {
            faults.note(&served);
            return Some(multi(vec![line.clone()]));
        }
        let sent = parted.as_ref().and_then(|parted| parted.request.as_ref()).unwrap_or(request);
        let response = sandbox.work(sent, &sight, &mut |status, touched| {
            served.status = Some(status);
            served.touched = touched;
            faults.note(&served);
        });
        let response = match parted {
            Some(parted) => parted.answer(response),
            None => response,
        };
        match fault {
            Some(fault) => fault.after(response, path),
            None => Some(response),
        }
    }
}

/// A request for several things without its last one, and what is said of that one.
struct Parted {
    /// None when there was only one.
    request: Option<Request<Bytes>>,
    line: Value,
}

/// Operations that answer 207, with the list of things in their body.
const SEVERAL: [(&str, &str); 3] =
    [("addLicenseAssignments", "add"), ("updateLicenseAssignments", "update"), ("deleteLicenseAssignments", "delete")];

impl Parted {
    fn of(operation: &str, request: &Request<Bytes>, status: StatusCode, code: &str) -> Option<Self> {
        let (_, list) = SEVERAL.into_iter().find(|(id, _)| *id == operation)?;
        let mut body: Value = serde_json::from_slice(request.body()).ok()?;
        let things = body.get_mut(list)?.as_array_mut()?;
        let mut line = things.pop().filter(Value::is_object)?;
        line["status"] = json!(status.as_u16());
        line["code"] = json!(code);
        line["title"] = json!(status.canonical_reason().unwrap_or("Refused"));
        let alone = things.is_empty();
        let mut parted = request.clone();
        *parted.body_mut() = body.to_string().into();
        Some(Self { request: (!alone).then_some(parted), line })
    }

    /// The answer with the line of the thing that was left out.
    fn answer(self, response: Response<Bytes>) -> Response<Bytes> {
        let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        match body["data"].as_array() {
            Some(lines) if response.status() == StatusCode::MULTI_STATUS => {
                multi(lines.iter().cloned().chain([self.line]).collect())
            }
            _ => response,
        }
    }
}

fn multi(lines: Vec<Value>) -> Response<Bytes> {
    dispatch::respond(Answer::multi(lines))
}

/// What there was before each of the last changes.
#[derive(Default)]
pub(super) struct History(VecDeque<Past>);

struct Past {
    at: Timestamp,
    before: State,
    scopes: Vec<Scope>,
}

impl History {
    pub(super) fn note(&mut self, at: Timestamp, before: State, changes: &[Change]) {
        let mut scopes = Vec::new();
        for change in changes {
            if let Change::Document { scope, .. } = change
                && !scopes.contains(scope)
            {
                scopes.push(scope.clone());
            }
        }
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(Past { at, before, scopes });
    }

    pub(super) fn before(&self, now: Timestamp, scope: &Scope, user: Option<&str>, changes: usize) -> Option<State> {
        let there = |past: &&Past| user.is_none_or(|user| past.before.get(scope, "users", user).is_some());
        let touching = self.0.iter().rev().filter(|past| past.scopes.contains(scope)).take(changes);
        touching.take_while(|past| past.at + LAG > now).take_while(there).last().map(|past| past.before.clone())
    }
}
