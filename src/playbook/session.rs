//! A playbook that has been started: a pure generator of operations.
//!
//! ```text
//! loop { for (key, operation) in session.asked() { perform it; session.answer(&key, outcome) } }
//! ```
//!
//! The session owns the tree of its branches. Whoever drives it sees keys and operations only, never a coroutine.

use std::any::Any;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use rhai::{Dynamic, EvalAltResult};
use serde_json::Value;

use super::Diagnostic;
use super::branch::{Branch, FileUse, Shared, Stop, Told, enter};
use super::coroutine::{Body, Fiber, Turn, on_own_stack, switch_meter};
use super::runtime::Explainer;
use crate::operation::{BranchStep, Failure, Key, Operation, Outcome, Processes, Written};

/// How many branches of one `parallel` run at once.
const BRANCHES_AT_ONCE: usize = 8;

/// What a suspended branch is resumed with.
pub(crate) enum Resume {
    /// Begin, or go on after a breath.
    Go,
    /// The answer to what it asked.
    Answer(Outcome),
    /// Its branches are done.
    Joined(Vec<Ended>),
    /// The session ends.
    Stop,
}

/// Why a branch suspends.
pub(crate) enum Suspend {
    /// It asks for an operation.
    Ask(Key, Box<Operation>),
    /// It waits for these branches.
    Fork(Vec<Body<'static>>),
    /// It has been busy for a while and lets others run.
    Breathe,
}

/// How a branch ended.
pub(crate) enum Ended {
    /// With a value or the script's own error.
    Result(Result<Dynamic, Box<EvalAltResult>>),
    /// A host function panicked.
    Panicked(String),
    /// It never began, because the session had ended.
    Stopped,
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It has more to do before it waits: call again.
    Busy,
    /// It waits for answers.
    Waiting,
    /// It has ended.
    Finished,
}

struct Node {
    fiber: Option<Fiber>,
    branch: Rc<Branch>,
    /// The parent's place in the tree and this branch's index in its `parallel`.
    parent: Option<(usize, usize)>,
    state: State,
}

enum State {
    Ready(Resume),
    Asked(Key),
    Joining { waiting: VecDeque<(usize, Body<'static>)>, ended: Vec<Option<Ended>>, branches: Vec<Rc<Branch>> },
    Done,
}

/// A started playbook, suspended at its next operations. It stays on the thread that started it.
pub struct Session {
    nodes: Vec<Node>,
    ready: VecDeque<usize>,
    asked: Vec<(Key, Operation)>,
    shared: Rc<Shared>,
    explainer: Explainer,
    leftovers: Vec<Box<dyn Any>>,
    result: Option<Result<Dynamic, Box<EvalAltResult>>>,
}

impl Session {
    pub(super) fn new(shared: Rc<Shared>, body: Body<'static>, explainer: Explainer) -> std::io::Result<Self> {
        let root = Node {
            fiber: Some(Fiber::new(body)?),
            branch: Branch::root(),
            parent: None,
            state: State::Ready(Resume::Go),
        };
        Ok(Self {
            nodes: vec![root],
            ready: VecDeque::from([0]),
            asked: Vec::new(),
            shared,
            explainer,
            leftovers: Vec::new(),
            result: None,
        })
    }

    /// Tells what earlier processes of the run have written: a host call that starts again counts it as its own work.
    pub fn set_written(&mut self, written: Written) {
        self.shared.written.replace(written);
    }

    /// Tells which process carried out each host call: what another one has read is no ground to write on.
    pub fn set_processes(&mut self, processes: Processes) {
        self.shared.processes.replace(processes);
    }

    /// Notes from now on which host call uses which file, for [`Session::take_uses`].
    pub fn note_uses(&mut self) {
        self.shared.uses.borrow_mut().get_or_insert_default();
    }

    /// The files that host calls used, in order, every use of them.
    pub fn take_uses(&mut self) -> Vec<FileUse> {
        self.shared.uses.borrow_mut().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Runs the script until it asks, ends, or has been busy for a while.
    pub fn advance(&mut self) -> Progress {
        while let Some(index) = self.ready.pop_front() {
            if self.resume(index) {
                return Progress::Busy;
            }
            if let Some(stop) = self.shared.stopped() {
                self.stop(stop);
            }
        }
        if self.result.is_some() { Progress::Finished } else { Progress::Waiting }
    }

    /// Runs the script until it waits or ends, and gives the operations it has asked for since the last call.
    pub fn asked(&mut self) -> Vec<(Key, Operation)> {
        while self.advance() == Progress::Busy {}
        self.take_asked()
    }

    /// The operations asked for since the last call, without running the script.
    pub fn take_asked(&mut self) -> Vec<(Key, Operation)> {
        std::mem::take(&mut self.asked)
    }

    /// Hands in the outcome of an operation. One that nobody waits for is ignored.
    pub fn answer(&mut self, key: &Key, outcome: Outcome) {
        let waiting =
            self.nodes.iter_mut().enumerate().find(|(_, node)| matches!(&node.state, State::Asked(k) if k == key));
        if let Some((index, node)) = waiting {
            node.state = State::Ready(Resume::Answer(outcome));
            self.ready.push_back(index);
        }
    }

    /// What host functions have told since the last call: steps, log lines.
    pub fn told(&mut self) -> Vec<Told> {
        self.shared.take_told()
    }

    /// Ends the session: every suspended branch is resumed with an error that scripts cannot catch, children first.
    pub fn cancel(&mut self) {
        self.stop(Stop::Cancelled);
    }

    /// Ends the session as [`Session::cancel`] does, because its run has taken longer than `limit`.
    pub fn time_out(&mut self, limit: Duration) {
        self.stop(Stop::TimedOut(limit));
    }

    /// Ends the session with the failure of an operation, as [`Session::cancel`] does: it is what the session ends with.
    pub fn end(&mut self, operation: &Operation, failure: Failure) {
        let (failure, operation, site) = (Box::new(failure), operation.id.clone(), operation.site.clone());
        self.stop(Stop::Ended { failure, operation, site });
    }

    /// Whether the script has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.result.is_some()
    }

    /// The playbook's output, or why it did not come to its end. An unfinished session is cancelled.
    ///
    /// # Errors
    /// What went wrong, with its place.
    pub fn finish(mut self) -> Result<serde_json::Map<String, Value>, Diagnostic> {
        if self.result.is_none() {
            self.cancel();
        }
        let output = self.shared.output.take();
        let Some(Err(error)) = self.result.replace(Ok(Dynamic::UNIT)) else { return Ok(output) };
        let explainer = self.explainer.clone();
        // What was thrown may be nested as deep as a script can nest it.
        let told = on_own_stack(move || explainer.explain(&error));
        Err(told.unwrap_or_else(|why| Diagnostic::new(format!("the playbook failed, and why cannot be told: {why}"))))
    }

    /// Keeps what nobody will look at until it can be dropped on a stack that is deep enough for it.
    fn leave<T: 'static>(&mut self, leftover: T) {
        self.leftovers.push(Box::new(leftover));
    }

    fn leave_modules(&mut self, index: usize) {
        let modules = self.nodes[index].branch.take_modules();
        if !modules.is_empty() {
            self.leave(modules);
        }
    }

    /// Runs one branch until it suspends or ends.
    fn turn(&mut self, index: usize, input: Resume) -> Option<Turn> {
        let node = &mut self.nodes[index];
        let fiber = node.fiber.as_mut()?;
        let _entered = enter(&self.shared, &node.branch);
        let outside = switch_meter(self.shared.memory.get());
        let turn = fiber.resume(input);
        self.shared.memory.set(switch_meter(outside));
        Some(turn)
    }

    /// Resumes one branch; whether it only took a breath.
    fn resume(&mut self, index: usize) -> bool {
        let input = match std::mem::replace(&mut self.nodes[index].state, State::Done) {
            State::Ready(input) => input,
            other => {
                self.nodes[index].state = other;
                return false;
            }
        };
        let Some(turn) = self.turn(index, input) else { return false };
        match turn {
            Turn::Suspended(Suspend::Breathe) => {
                self.nodes[index].state = State::Ready(Resume::Go);
                self.ready.push_back(index);
                return true;
            }
            Turn::Suspended(Suspend::Ask(key, operation)) => {
                self.nodes[index].state = State::Asked(key.clone());
                self.asked.push((key, *operation));
            }
            Turn::Suspended(Suspend::Fork(bodies)) => self.fork(index, bodies),
            Turn::Ended(ended) => self.ended(index, ended),
        }
        false
    }

    fn fork(&mut self, parent: usize, bodies: Vec<Body<'static>>) {
        let count = bodies.len();
        self.nodes[parent].state = State::Joining {
            waiting: bodies.into_iter().enumerate().collect(),
            ended: (0..count).map(|_| None).collect(),
            branches: Vec::with_capacity(count),
        };
        for _ in 0..BRANCHES_AT_ONCE {
            self.start_next(parent);
        }
        self.join_when_done(parent);
    }

    /// Starts the next waiting branch of `parent`, if there is one.
    fn start_next(&mut self, parent: usize) {
        let State::Joining { waiting, .. } = &mut self.nodes[parent].state else { return };
        let Some((index, body)) = waiting.pop_front() else { return };
        let step = BranchStep {
            call: self.nodes[parent].branch.current_call(),
            index: u32::try_from(index).unwrap_or(u32::MAX),
        };
        let branch = self.nodes[parent].branch.child(step);
        if let State::Joining { branches, .. } = &mut self.nodes[parent].state {
            branches.push(Rc::clone(&branch));
        }
        match Fiber::new(body) {
            Ok(fiber) => {
                let place = self.nodes.len();
                self.nodes.push(Node {
                    fiber: Some(fiber),
                    branch,
                    parent: Some((parent, index)),
                    state: State::Ready(Resume::Go),
                });
                self.ready.push_back(place);
            }
            Err(error) => self.shared.stop(Stop::Branch(error.to_string())),
        }
    }

    fn ended(&mut self, index: usize, ended: Ended) {
        self.nodes[index].fiber = None;
        self.nodes[index].state = State::Done;
        self.leave_modules(index);
        if let Ended::Panicked(message) = &ended {
            self.shared.stop(Stop::Panicked(message.clone()));
        }
        if self.shared.stopped().is_some() {
            // The branch that used up a budget knows the place; the others only learn of it.
            match ended {
                Ended::Result(Err(error)) if self.result.is_none() => self.result = Some(Err(error)),
                other => self.leave(other),
            }
            return;
        }
        match self.nodes[index].parent {
            Some((parent, position)) => {
                self.child_ended(parent, position, ended);
                self.start_next(parent);
                self.join_when_done(parent);
            }
            None => {
                self.result = Some(match ended {
                    Ended::Result(Ok(value)) => {
                        self.leave(value);
                        Ok(Dynamic::UNIT)
                    }
                    Ended::Result(Err(error)) => Err(error),
                    Ended::Panicked(_) | Ended::Stopped => Err(self.shared.termination()),
                });
            }
        }
    }

    fn child_ended(&mut self, parent: usize, index: usize, result: Ended) {
        if let State::Joining { ended, .. } = &mut self.nodes[parent].state {
            ended[index] = Some(result);
        }
    }

    /// When every branch of `parent` has ended: merges their notes in order and makes the parent ready.
    fn join_when_done(&mut self, parent: usize) {
        let State::Joining { ended, branches, .. } = &mut self.nodes[parent].state else { return };
        if ended.iter().any(Option::is_none) {
            return;
        }
        let results = ended.drain(..).flatten().collect();
        // They began in the list's order, so a later element's note wins, whoever was faster.
        for branch in std::mem::take(branches) {
            self.nodes[parent].branch.absorb(&branch);
        }
        self.nodes[parent].state = State::Ready(Resume::Joined(results));
        self.ready.push_back(parent);
        // The youngest nodes are the finished branches: forget them, so that long runs stay small.
        while self.nodes.last().is_some_and(|node| matches!(node.state, State::Done) && node.parent.is_some()) {
            self.nodes.pop();
        }
    }

    fn stop(&mut self, reason: Stop) {
        self.shared.stop(reason);
        self.asked.clear();
        self.ready.clear();
        // A branch's stack may hold what its children borrow, so children end first; they always come later in `nodes`.
        for index in (0..self.nodes.len()).rev() {
            // Branches that never began borrow from this one's stack: they go before it does.
            let state = std::mem::replace(&mut self.nodes[index].state, State::Done);
            if matches!(state, State::Joining { .. } | State::Ready(Resume::Joined(_))) {
                let _ = on_own_stack(move || drop(state));
            }
            if self.nodes[index].fiber.as_ref().is_none_or(Fiber::is_done) {
                continue;
            }
            let turn = self.turn(index, Resume::Stop);
            self.leave_modules(index);
            // A fiber that suspends in spite of the stop keeps its stack for ever rather than being torn down.
            if let (Some(Turn::Suspended(_)), Some(fiber)) = (&turn, self.nodes[index].fiber.take()) {
                std::mem::forget(fiber);
            }
            // A built-in that swallows errors may let the script come to its end: it was ended all the same.
            match turn {
                Some(Turn::Ended(Ended::Result(Err(error)))) if index == 0 && self.result.is_none() => {
                    self.result = Some(Err(error));
                }
                other => self.leave(other),
            }
        }
        self.nodes.truncate(1);
        self.result.get_or_insert_with(|| Err(self.shared.termination()));
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.result.is_none() {
            self.stop(Stop::Cancelled);
        }
        let leftovers = (std::mem::take(&mut self.leftovers), self.result.take());
        let _ = on_own_stack(move || drop(leftovers));
    }
}
