//! The one file with unsafe code: stackful coroutines for scripts, and the allocator that meters them.
//!
//! Three things need it, each with its reason beside it:
//! - a host function deep inside Rhai suspends the coroutine it runs on, through a pointer to that coroutine's
//!   `Yielder` kept while it runs ([`suspend`]);
//! - the branches of `parallel` borrow the parent's call context, which lives on the parent's suspended stack
//!   ([`fork_join`]);
//! - memory is metered by a global allocator ([`MeteredAllocator`]), and allocators are unsafe to implement.
#![allow(unsafe_code, reason = "see the module's documentation; nowhere else in the crate")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use corosensei::stack::{DefaultStack, Stack};
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::session::{Ended, Resume, Suspend};

/// Address space per coroutine, in bytes. Pages are mapped when touched, so an ordinary session holds about 11 KB of
/// it; the rest lets the deepest value that fits the memory budget be dropped, which Rust does recursively.
const STACK: usize = 256 << 20;

/// How many stacks a thread keeps for its next coroutines.
#[cfg(unix)]
const KEPT_STACKS: usize = 32;

/// How much of a kept stack stays resident, in bytes: what an ordinary branch uses.
#[cfg(unix)]
const KEPT_BYTES: usize = 64 << 10;

/// What a branch runs.
pub(crate) type Body<'a> = Box<dyn FnOnce() -> Ended + 'a>;

/// A coroutine that runs one branch of a session.
pub(super) struct Fiber {
    /// `None` only while dropping.
    coroutine: Option<Coroutine<Resume, Suspend, Ended, DefaultStack>>,
    yielder: Rc<Cell<*const Yielder<Resume, Suspend>>>,
    limit: usize,
}

/// What a fiber did when it was resumed.
pub(super) enum Turn {
    /// It waits.
    Suspended(Suspend),
    /// It is over.
    Ended(Ended),
}

/// The coroutine that runs on this thread at this moment.
#[derive(Clone, Copy)]
struct Active {
    yielder: *const Yielder<Resume, Suspend>,
    limit: usize,
}

const NOBODY: Active = Active { yielder: ptr::null(), limit: 0 };

thread_local! {
    static ACTIVE: Cell<Active> = const { Cell::new(NOBODY) };
}

impl Fiber {
    /// A coroutine for `body`, not yet started.
    pub(super) fn new(body: Body<'static>) -> std::io::Result<Self> {
        let stack = new_stack()?;
        let limit = stack.limit().get();
        let yielder = Rc::new(Cell::new(ptr::null()));
        let own = Rc::clone(&yielder);
        let coroutine = Coroutine::with_stack(stack, move |here: &Yielder<Resume, Suspend>, first: Resume| {
            own.set(ptr::from_ref(here));
            ACTIVE.set(Active { yielder: here, limit });
            if matches!(first, Resume::Stop) {
                return Ended::Stopped;
            }
            // A panic must not cross Rhai's caller unnoticed: it ends the branch, and with it the session.
            catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| Ended::Panicked(panic_text(&*payload)))
        });
        Ok(Self { coroutine: Some(coroutine), yielder, limit })
    }

    /// Runs it until it suspends or ends.
    pub(super) fn resume(&mut self, input: Resume) -> Turn {
        let Some(coroutine) = &mut self.coroutine else { return Turn::Ended(Ended::Stopped) };
        let before = ACTIVE.replace(Active { yielder: self.yielder.get(), limit: self.limit });
        let result = coroutine.resume(input);
        ACTIVE.set(before);
        match result {
            CoroutineResult::Yield(suspend) => Turn::Suspended(suspend),
            CoroutineResult::Return(ended) => Turn::Ended(ended),
        }
    }

    /// Whether it has ended.
    pub(super) fn is_done(&self) -> bool {
        self.coroutine.as_ref().is_none_or(Coroutine::done)
    }
}

impl Drop for Fiber {
    fn drop(&mut self) {
        if let Some(coroutine) = self.coroutine.take_if(|coroutine| coroutine.done()) {
            keep_stack(coroutine.into_stack());
        }
    }
}

#[cfg(unix)]
thread_local! {
    static STACKS: std::cell::RefCell<Vec<DefaultStack>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// A stack that an earlier coroutine of this thread has left, or a new one: mapping and unmapping one takes longer than
/// a short branch runs.
fn new_stack() -> std::io::Result<DefaultStack> {
    #[cfg(unix)]
    if let Some(stack) = STACKS.with_borrow_mut(Vec::pop) {
        return Ok(stack);
    }
    DefaultStack::new(STACK)
}

#[cfg(not(unix))]
fn keep_stack(_stack: DefaultStack) {}

#[cfg(unix)]
fn keep_stack(stack: DefaultStack) {
    let (limit, base) = (stack.limit().get(), stack.base().get());
    let deep = base.saturating_sub(KEPT_BYTES).saturating_sub(limit);
    // SAFETY: the range is the lower part of a mapping that this stack owns, page-aligned at both ends; no coroutine
    // lives on it any more, so nobody misses its content.
    let trimmed = unsafe { libc::madvise(ptr::without_provenance_mut(limit), deep, libc::MADV_DONTNEED) } == 0;
    // During a thread's end there is no list any more; the stack is unmapped then.
    let _ = STACKS.try_with(|stacks| {
        let mut stacks = stacks.borrow_mut();
        if trimmed && stacks.len() < KEPT_STACKS {
            stacks.push(stack);
        }
    });
}

/// Does `work` on a coroutine's stack: what is nested deep is compiled, explained and dropped by calls as deep.
///
/// # Errors
/// When there is no stack, or the work panics.
pub(super) fn on_own_stack<T: 'static>(work: impl FnOnce() -> T + 'static) -> Result<T, String> {
    let slot = Rc::new(Cell::new(None));
    let result = Rc::clone(&slot);
    let body: Body<'static> = Box::new(move || {
        result.set(Some(work()));
        Ended::Stopped
    });
    let mut fiber = Fiber::new(body).map_err(|error| error.to_string())?;
    if let Turn::Ended(Ended::Panicked(message)) = fiber.resume(Resume::Go) {
        return Err(message);
    }
    slot.take().ok_or_else(|| "it did not come to its end".to_owned())
}

fn panic_text(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

/// Suspends the branch that runs on this thread; gives back what it is resumed with. `None` outside a branch.
pub(super) fn suspend(what: Suspend) -> Option<Resume> {
    let active = ACTIVE.get();
    if active.yielder.is_null() {
        return None;
    }
    // SAFETY: `ACTIVE` holds a yielder only between a fiber's resumption and its next suspension or end, on the thread
    // that resumed it; the yielder lives on that fiber's stack for the fiber's whole life; and this code runs on that
    // stack, since fibers are resumed only by the session, which clears or restores `ACTIVE` around every resumption.
    Some(unsafe { &*active.yielder }.suspend(what))
}

/// How much of the running branch's stack is left, in bytes; `None` outside a branch.
pub(super) fn remaining_stack() -> Option<usize> {
    let active = ACTIVE.get();
    let here = 0_u8;
    (!active.yielder.is_null()).then(|| ptr::from_ref(&here).addr().saturating_sub(active.limit))
}

/// Runs `bodies` as branches of the running one and waits for all of them. `None` outside a branch.
///
/// The bodies may borrow from the caller's stack: the caller is suspended until every one of them is gone.
pub(super) fn fork_join(bodies: Vec<Body<'_>>) -> Option<Vec<Ended>> {
    let alive = Rc::new(());
    let bodies: Vec<Body<'_>> = bodies
        .into_iter()
        .map(|body| {
            let guard = Rc::clone(&alive);
            Box::new(move || {
                let ended = body();
                drop(guard);
                ended
            }) as Body<'_>
        })
        .collect();
    // SAFETY: only the lifetime changes. Every body holds a clone of `alive` and whatever it borrowed until it is
    // dropped or has returned, and this function does not return before that: the check below ends the process if the
    // session ever resumed the parent too early.
    let bodies: Vec<Body<'static>> = unsafe { std::mem::transmute::<Vec<Body<'_>>, Vec<Body<'static>>>(bodies) };
    let resumed = suspend(Suspend::Fork(bodies));
    if Rc::strong_count(&alive) != 1 {
        std::process::abort();
    }
    match resumed? {
        Resume::Joined(ended) => Some(ended),
        _ => Some(vec![Ended::Stopped]),
    }
}

/// A global allocator that counts what the running session holds, so that a playbook's memory budget can be enforced.
///
/// The `tenantry` binary installs it. An embedder may too:
/// `#[global_allocator] static ALLOCATOR: tenantry::MeteredAllocator = tenantry::MeteredAllocator;`
/// Without it Rhai's own size limits apply, which are slower for large arrays.
#[derive(Debug, Default)]
pub struct MeteredAllocator;

static INSTALLED: AtomicBool = AtomicBool::new(false);

thread_local! {
    static METER: Cell<isize> = const { Cell::new(0) };
}

/// Whether [`MeteredAllocator`] is this process's allocator.
pub(super) fn memory_is_metered() -> bool {
    INSTALLED.load(Ordering::Relaxed)
}

/// Sets this thread's meter; gives back what it read.
pub(super) fn switch_meter(reading: isize) -> isize {
    METER.replace(reading)
}

/// What this thread's meter reads, in bytes.
pub(super) fn meter() -> isize {
    METER.get()
}

fn count(difference: isize) {
    // During a thread's end the meter may be gone already; nobody reads it then.
    let _ = METER.try_with(|meter| meter.set(meter.get().wrapping_add(difference)));
}

// SAFETY: every call is passed on to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for MeteredAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !INSTALLED.load(Ordering::Relaxed) {
            INSTALLED.store(true, Ordering::Relaxed);
        }
        count(layout.size().cast_signed());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout.size().cast_signed().wrapping_neg());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.cast_signed().wrapping_sub(layout.size().cast_signed()));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
