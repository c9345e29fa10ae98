use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use rhai::{EvalAltResult, NativeCallContext, Position};
use serde_json::Value;

use super::branch::{Branch, FileUse, Shared, Told, current};
use super::coroutine::suspend;
use super::session::{Resume, Suspend};
use super::thrown::Thrown;
use crate::event::{Change, FieldChange, Step};
use crate::operation::{
    Call as Performed, CallKey, Effect, Failure, FailureKind, Key, Operation, Outcome, PAUSE, Response, Site,
};

/// An error on its way through a script.
pub type ScriptError = Box<EvalAltResult>;

/// One host call: what a host function uses to ask for operations and to tell what it did.
///
/// Begin one at the start of every host function that may ask, always, so that keys do not depend on what happens
/// inside it.
pub struct Call {
    shared: Rc<Shared>,
    branch: Rc<Branch>,
    ordinal: u32,
    function: &'static str,
    position: Position,
    site: Option<Site>,
    asked: BTreeMap<String, u32>,
    last: Option<String>,
}

impl Call {
    /// Begins a host call of the function named `function`.
    ///
    /// # Errors
    /// When the run has ended, or outside a session.
    pub fn begin(context: &NativeCallContext, function: &'static str) -> Result<Self, ScriptError> {
        let Some((shared, branch)) = current() else {
            return Err("host functions work only inside a run".into());
        };
        if shared.stopped().is_some() {
            return Err(shared.termination());
        }
        let position = context.call_position();
        let site = context.call_source().zip(position.line()).map(|(file, line)| Site {
            file: file.to_owned(),
            line,
            column: position.position().unwrap_or(1),
        });
        let ordinal = branch.begin_call();
        Ok(Self { shared, branch, ordinal, function, position, site, asked: BTreeMap::new(), last: None })
    }

    /// Asks for an operation and waits for its answer.
    ///
    /// # Errors
    /// When it fails: an error the script can catch. When the run ends: one it cannot.
    pub fn ask(&mut self, operation: Operation) -> Result<Response, ScriptError> {
        let id = operation.id.clone();
        self.try_ask(operation)?.map_err(|failure| self.throw_for(failure, id))
    }

    /// Asks for an operation that the host or its embedder performs, and gives its answer.
    ///
    /// # Errors
    /// As [`Call::ask`].
    pub fn ask_local(
        &mut self,
        id: &str,
        effect: Effect,
        subject: impl Into<String>,
        arguments: Value,
    ) -> Result<Value, ScriptError> {
        let (id, call, subject) = (id.to_owned(), Performed::Local { arguments }, subject.into());
        Ok(self.ask(Operation { id, call, effect, subject, site: None })?.json().clone())
    }

    /// Waits so many seconds. It is recorded: a resumed run does not wait again for what it has waited for.
    ///
    /// # Errors
    /// As [`Call::ask`].
    pub fn pause(&mut self, seconds: u64) -> Result<(), ScriptError> {
        let subject = format!("a pause of {seconds} s");
        self.ask_local(PAUSE, Effect::Read, subject, serde_json::json!({ "seconds": seconds })).map(drop)
    }

    /// Asks for an operation and waits for its outcome, good or bad.
    ///
    /// # Errors
    /// Only when the run ends.
    pub fn try_ask(&mut self, mut operation: Operation) -> Result<Outcome, ScriptError> {
        if let Err(stop) = self.shared.count_operation() {
            self.shared.stop(stop);
        }
        if self.shared.stopped().is_some() {
            return Err(self.shared.termination());
        }
        let ordinal = self.asked.entry(operation.id.clone()).or_insert(0);
        let key =
            Key { branch: self.branch.path.clone(), call: self.ordinal, id: operation.id.clone(), ordinal: *ordinal };
        *ordinal += 1;
        self.last = Some(operation.id.clone());
        operation.site.clone_from(&self.site);
        match suspend(Suspend::Ask(key, Box::new(operation))) {
            Some(Resume::Answer(outcome)) => Ok(outcome),
            _ => Err(self.shared.termination()),
        }
    }

    /// Notes that this branch deals with `subject` within `scope` (a tenant, say).
    ///
    /// # Errors
    /// When another branch of the same `parallel` does so too: they would race.
    pub fn claim(&self, scope: &str, subject: &str) -> Result<(), ScriptError> {
        self.shared.claim(&self.branch.path, scope, subject, self.site.clone()).map_err(|other| {
            let mut sites =
                [other, self.site.clone()].map(|site| site.map_or_else(String::new, |site| site.to_string()));
            sites.sort();
            let [one, two] = sites;
            let title = format!("two branches of one `parallel` both deal with {subject}");
            let detail = if one == two { format!("both at {one}") } else { format!("one at {one}, one at {two}") };
            let failure = Failure::new(FailureKind::Denied, "tenantry/branches-collide", title)
                .detail(detail)
                .hint("give the elements different names, or do this outside `parallel`");
            self.throw(failure)
        })
    }

    /// Tells that a piece of work is done: the line a person sees.
    pub fn step(&self, change: Change, subject: impl Into<String>, fields: Vec<FieldChange>) {
        let call = self.key();
        let (subject, site) = (subject.into(), self.site.clone());
        self.shared.tell(Told::Step(Step { change, subject, fields, site, call: Some(call) }));
    }

    /// Logs a line for the playbook.
    pub fn log(&self, level: &str, message: impl Into<String>) {
        self.shared.tell(Told::Log { level: level.to_owned(), message: message.into(), site: self.site.clone() });
    }

    /// Tells that the call used a file of the project, given relative to it: a run is replayed from what was told.
    /// Only the first time counts.
    pub fn read(&self, path: &str, content: &Bytes) {
        if let Some(uses) = self.shared.uses.borrow_mut().as_mut() {
            uses.push(FileUse { path: path.to_owned(), call: self.key(), site: self.site.clone() });
        }
        self.shared.tell_read(path, content);
    }

    /// Adds to the run's output; later values replace earlier ones of the same name.
    pub fn output(&self, values: serde_json::Map<String, Value>) {
        self.shared.output.borrow_mut().extend(values);
    }

    /// An error the script can catch, placed at this call. What a service answered belongs to the operation asked last,
    /// everything else to the function.
    #[must_use]
    pub fn throw(&self, failure: Failure) -> ScriptError {
        let asked = self.last.as_deref().filter(|_| failure.status.is_some());
        let operation = asked.unwrap_or(self.function).to_owned();
        self.throw_for(failure, operation)
    }

    /// An error saying that the call itself is wrong: nothing was sent.
    #[must_use]
    pub fn refuse(&self, code: &str, title: impl Into<String>) -> ScriptError {
        self.throw(Failure::new(FailureKind::Denied, code, title))
    }

    fn throw_for(&self, failure: Failure, operation: String) -> ScriptError {
        Thrown::new(failure, operation, self.site.clone()).into_error(self.position)
    }

    /// Whether this run was asked to verify logins.
    #[must_use]
    pub fn verify_requested(&self) -> bool {
        self.shared.verify
    }

    /// What this very host call did to `subject` before it had to start again, in an earlier process of the run;
    /// normally nothing. What it finds done may be its own work.
    #[must_use]
    pub fn written(&self, subject: &str) -> Vec<Effect> {
        self.shared.written.borrow().of(&self.key(), subject).collect()
    }

    /// The process of the run that carries out this very host call; none when the call had finished without asking anything: it
    /// went by what it knew.
    #[must_use]
    pub fn process(&self) -> Option<u64> {
        self.shared.processes.borrow().of_call(&self.key())
    }

    /// A note this branch, or one it descends from, made earlier in the run.
    #[must_use]
    pub fn note(&self, name: &str) -> Option<Value> {
        self.branch.note(name)
    }

    /// Makes a note for later calls of this branch; the parent sees it once the branches have joined.
    pub fn set_note(&self, name: &str, value: Value) {
        self.branch.set_note(name, value);
    }

    /// Where in the playbook this call stands.
    #[must_use]
    pub fn site(&self) -> Option<&Site> {
        self.site.as_ref()
    }

    fn key(&self) -> CallKey {
        CallKey { branch: self.branch.path.clone(), call: self.ordinal }
    }

    pub(super) fn termination(&self) -> ScriptError {
        self.shared.termination()
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }
}
