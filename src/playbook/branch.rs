//! What the branches of one session share, and what each has of its own. Host functions reach both through the
//! branch that runs on their thread.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rhai::{Dynamic, EvalAltResult, Position};
use serde_json::Value;

use super::Limits;
use crate::event::Step;
use crate::operation::{BranchStep, CallKey, Failure, Processes, Site, Written};
use crate::surroundings::{Clock, span};

/// Why a session ended before its script did.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stop {
    /// The run was cancelled.
    #[error("the run was cancelled")]
    Cancelled,
    /// The run took longer than it was given.
    #[error("the run took longer than its {}", span(*.0))]
    TimedOut(Duration),
    /// The budget of script steps is used up.
    #[error("the playbook took more than {0} steps")]
    Steps(u64),
    /// The budget of script time is used up.
    #[error("the playbook's own code ran for more than {} s", .0.as_secs())]
    Time(Duration),
    /// The budget of memory is used up.
    #[error("the playbook held more than {} MB of memory", .0 >> 20)]
    Memory(usize),
    /// Calls or data are nested too deep.
    #[error("the playbook's calls are nested too deep for its stack")]
    Stack,
    /// The budget of operations is used up.
    #[error("the playbook asked for more than {0} operations")]
    Operations(u32),
    /// The machine has no stack for another branch of a `parallel`.
    #[error("the machine has no memory for another branch of `parallel`: {0}")]
    Branch(String),
    /// A host function failed in a way that is a defect of the host.
    #[error("a host function failed unexpectedly: {0}")]
    Panicked(String),
    /// The host ended it with an operation that no script is to go on after.
    #[error("{failure}")]
    Ended {
        /// Why.
        failure: Box<Failure>,
        /// The operation that was asked.
        operation: String,
        /// Where it was asked.
        site: Option<Site>,
    },
}

impl Stop {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Steps(_) | Self::Time(_) => {
                Some("look for a loop that never ends; if the work is real, raise `limits` in tenantry.toml")
            }
            Self::Memory(_) => Some(
                "look for a string, array or map that keeps growing; if it is real, raise `limits` in tenantry.toml",
            ),
            Self::Stack => Some("look for a function that calls itself without end"),
            Self::Operations(_) => {
                Some("look for requests inside a loop; if they are real, raise `limits` in tenantry.toml")
            }
            Self::Panicked(_) => {
                Some("this is a defect of the host or of a function its embedder registered: please report it")
            }
            Self::Branch(_) => Some("run fewer customers at once, or allow the process more memory"),
            Self::TimedOut(_) => Some("go on with what is missing by resuming the run; `--timeout` gives it more time"),
            Self::Cancelled | Self::Ended { .. } => None,
        }
    }
}

/// Something a host function told.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// A piece of work was finished.
    Step(Step),
    /// The playbook logged a line.
    Log {
        /// `debug`, `info` or `warn`.
        level: String,
        /// The text.
        message: String,
        /// Where.
        site: Option<Site>,
    },
    /// The session used a file of the project: told once for each, before any operation that depends on it.
    Read {
        /// The file, relative to the project, with `/` between folders.
        path: String,
        /// What it held.
        content: Bytes,
    },
}

/// A file of the project that a host call used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileUse {
    /// The file, relative to the project.
    pub path: String,
    /// The call.
    pub call: CallKey,
    /// Where it stands.
    pub site: Option<Site>,
}

/// What all branches of a session share.
pub(crate) struct Shared {
    pub(super) limits: Limits,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) customer: Dynamic,
    pub(super) verify: bool,
    pub(super) memory: Cell<isize>,
    pub(super) output: RefCell<serde_json::Map<String, Value>>,
    steps: Cell<u64>,
    operations: Cell<u32>,
    script_time: Cell<Duration>,
    turn_began: Cell<Duration>,
    stop: RefCell<Option<Stop>>,
    is_stopped: Cell<bool>,
    told: RefCell<Vec<Told>>,
    read: RefCell<HashSet<String>>,
    /// `None` unless somebody wants to know.
    pub(super) uses: RefCell<Option<Vec<FileUse>>>,
    libraries: RefCell<HashMap<String, Arc<str>>>,
    claims: RefCell<HashMap<(String, String), Vec<Claim>>>,
    pub(super) written: RefCell<Written>,
    pub(super) processes: RefCell<Processes>,
}

#[derive(Clone)]
struct Claim {
    branch: Vec<BranchStep>,
    site: Option<Site>,
}

impl Shared {
    pub(super) fn new(limits: Limits, clock: Arc<dyn Clock>, customer: Dynamic, verify: bool) -> Self {
        Self {
            limits,
            clock,
            customer,
            verify,
            memory: Cell::new(0),
            output: RefCell::default(),
            steps: Cell::new(0),
            operations: Cell::new(0),
            script_time: Cell::new(Duration::ZERO),
            turn_began: Cell::new(Duration::ZERO),
            stop: RefCell::new(None),
            is_stopped: Cell::new(false),
            told: RefCell::default(),
            read: RefCell::default(),
            uses: RefCell::default(),
            libraries: RefCell::default(),
            claims: RefCell::default(),
            written: RefCell::default(),
            processes: RefCell::default(),
        }
    }

    /// Counts one script step; the count.
    pub(super) fn count_step(&self) -> u64 {
        let steps = self.steps.get() + 1;
        self.steps.set(steps);
        steps
    }

    /// Counts one operation.
    pub(super) fn count_operation(&self) -> Result<(), Stop> {
        let operations = self.operations.get() + 1;
        self.operations.set(operations);
        if operations > self.limits.operations { Err(Stop::Operations(self.limits.operations)) } else { Ok(()) }
    }

    /// Script time so far, the running turn included.
    pub(super) fn script_time(&self) -> Duration {
        self.script_time.get() + self.clock.elapsed().saturating_sub(self.turn_began.get())
    }

    pub(super) fn stop(&self, reason: Stop) {
        self.stop.borrow_mut().get_or_insert(reason);
        self.is_stopped.set(true);
    }

    /// Whether the session ends; asked at every step.
    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.get()
    }

    pub(super) fn stopped(&self) -> Option<Stop> {
        self.stop.borrow().clone()
    }

    /// The error that ends a branch and that no script can catch.
    pub(super) fn termination(&self) -> Box<EvalAltResult> {
        let reason = self.stopped().unwrap_or(Stop::Cancelled);
        Box::new(EvalAltResult::ErrorTerminated(Dynamic::from(reason), Position::NONE))
    }

    pub(super) fn tell(&self, told: Told) {
        self.told.borrow_mut().push(told);
    }

    pub(super) fn take_told(&self) -> Vec<Told> {
        std::mem::take(&mut self.told.borrow_mut())
    }

    /// Tells that the session used this file, unless it has been told.
    pub(super) fn tell_read(&self, path: &str, content: &Bytes) {
        let mut read = self.read.borrow_mut();
        if !read.contains(path) {
            read.insert(path.to_owned());
            self.tell(Told::Read { path: path.to_owned(), content: content.clone() });
        }
    }

    /// The text of a library: what `read` gives, and the same again for every branch of the session, so that a file
    /// which changes meanwhile is one file to it.
    pub(super) fn library<E>(&self, file: &str, read: impl FnOnce() -> Result<Arc<str>, E>) -> Result<Arc<str>, E> {
        if let Some(text) = self.libraries.borrow().get(file) {
            return Ok(Arc::clone(text));
        }
        let text = read()?;
        self.tell_read(file, &Bytes::copy_from_slice(text.as_bytes()));
        self.libraries.borrow_mut().insert(file.to_owned(), Arc::clone(&text));
        Ok(text)
    }

    /// Notes that `branch` deals with `subject`. Where another branch of the same `parallel` does so too, that
    /// branch's site.
    pub(super) fn claim(
        &self,
        branch: &[BranchStep],
        scope: &str,
        subject: &str,
        site: Option<Site>,
    ) -> Result<(), Option<Site>> {
        let mut claims = self.claims.borrow_mut();
        let holders = claims.entry((scope.to_owned(), subject.to_owned())).or_default();
        if let Some(other) = holders.iter().find(|other| are_siblings(&other.branch, branch)) {
            return Err(other.site.clone());
        }
        if !holders.iter().any(|holder| holder.branch == branch) {
            holders.push(Claim { branch: branch.to_vec(), site });
        }
        Ok(())
    }
}

/// Whether two branches may run at the same time: they part at different elements of one `parallel`.
fn are_siblings(one: &[BranchStep], other: &[BranchStep]) -> bool {
    one.iter().zip(other).find(|(a, b)| a != b).is_some_and(|(a, b)| a.call == b.call)
}

/// One branch of a session.
pub(crate) struct Branch {
    pub(super) path: Vec<BranchStep>,
    parent: Option<Rc<Branch>>,
    calls: Cell<u32>,
    notes: RefCell<BTreeMap<String, Value>>,
    loading: RefCell<Vec<String>>,
    modules: RefCell<HashMap<String, Module>>,
}

type Module = rhai::Shared<rhai::Module>;

impl Branch {
    pub(super) fn root() -> Rc<Self> {
        Rc::new(Self {
            path: Vec::new(),
            parent: None,
            calls: Cell::new(0),
            notes: RefCell::default(),
            loading: RefCell::default(),
            modules: RefCell::default(),
        })
    }

    pub(super) fn child(self: &Rc<Self>, step: BranchStep) -> Rc<Self> {
        let mut path = self.path.clone();
        path.push(step);
        Rc::new(Self {
            path,
            parent: Some(Rc::clone(self)),
            calls: Cell::new(0),
            notes: RefCell::default(),
            loading: RefCell::default(),
            modules: RefCell::default(),
        })
    }

    /// The ordinal of a host call that begins now.
    pub(super) fn begin_call(&self) -> u32 {
        let call = self.calls.get();
        self.calls.set(call + 1);
        call
    }

    /// The ordinal of the host call that began last.
    pub(super) fn current_call(&self) -> u32 {
        self.calls.get().saturating_sub(1)
    }

    /// A note of this branch or of one it descends from.
    ///
    /// Branches do not see each other's notes, so that what a branch asks never depends on which was faster.
    pub(super) fn note(&self, name: &str) -> Option<Value> {
        match self.notes.borrow().get(name) {
            Some(value) => Some(value.clone()),
            None => self.parent.as_ref()?.note(name),
        }
    }

    pub(super) fn set_note(&self, name: &str, value: Value) {
        self.notes.borrow_mut().insert(name.to_owned(), value);
    }

    /// Notes that this branch loads `file`; whether it is not loading it already, here or further up.
    pub(super) fn begin_loading(&self, file: &str) -> bool {
        let loading = |branch: &Self| branch.loading.borrow().iter().any(|other| other == file);
        let mut ancestors = std::iter::successors(Some(self), |branch| branch.parent.as_deref());
        if ancestors.any(loading) {
            return false;
        }
        self.loading.borrow_mut().push(file.to_owned());
        true
    }

    pub(super) fn end_loading(&self) {
        self.loading.borrow_mut().pop();
    }

    /// A module that this branch, or one it descends from, has loaded.
    ///
    /// Loading runs the module's own statements, which may ask. So branches do not see each other's modules, and a
    /// branch's keys do not depend on which was faster.
    pub(super) fn module(&self, file: &str) -> Option<Module> {
        match self.modules.borrow().get(file) {
            Some(module) => Some(module.clone()),
            None => self.parent.as_ref()?.module(file),
        }
    }

    pub(super) fn set_module(&self, file: String, module: Module) {
        self.modules.borrow_mut().insert(file, module);
    }

    /// The modules of a branch that is at its end.
    pub(super) fn take_modules(&self) -> HashMap<String, Module> {
        self.modules.take()
    }

    pub(super) fn absorb(&self, child: &Self) {
        self.notes.borrow_mut().append(&mut child.notes.borrow_mut());
    }
}

thread_local! {
    static CURRENT: RefCell<Option<(Rc<Shared>, Rc<Branch>)>> = const { RefCell::new(None) };
}

/// Makes `branch` the one that runs on this thread, until the guard is dropped.
pub(super) fn enter(shared: &Rc<Shared>, branch: &Rc<Branch>) -> Entered {
    shared.turn_began.set(shared.clock.elapsed());
    let before = CURRENT.replace(Some((Rc::clone(shared), Rc::clone(branch))));
    Entered { before, shared: Rc::clone(shared) }
}

/// See [`enter`].
pub(super) struct Entered {
    before: Option<(Rc<Shared>, Rc<Branch>)>,
    shared: Rc<Shared>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.shared.script_time.set(self.shared.script_time());
        CURRENT.set(self.before.take());
    }
}

/// The session and branch that run on this thread.
pub(super) fn current() -> Option<(Rc<Shared>, Rc<Branch>)> {
    CURRENT.with_borrow(Clone::clone)
}

/// Reads something of the running session without cloning its handles.
pub(super) fn with_current<T>(read: impl FnOnce(&Rc<Shared>, &Rc<Branch>) -> T) -> Option<T> {
    CURRENT.with_borrow(|current| current.as_ref().map(|(shared, branch)| read(shared, branch)))
}
