//! The Rhai engine as playbooks get it: every limit set, nothing that reads a clock, chance, the disk or the network.

use std::rc::Rc;
use std::time::Duration;

use rhai::packages::Package;
use rhai::packages::{
    ArithmeticPackage, BasicArrayPackage, BasicBlobPackage, BasicFnPackage, BasicIteratorPackage, BasicMapPackage,
    BasicMathPackage, BasicStringPackage, BitFieldPackage, LanguageCorePackage, LogicPackage, MoreStringPackage,
};
use rhai::{Dynamic, Engine, EvalContext, OptimizationLevel};

use super::branch::{Shared, Stop, Told, with_current};
use super::coroutine::{memory_is_metered, meter, remaining_stack, suspend};
use super::resolver::ProjectResolver;
use super::session::Suspend;
use super::{Extension, Secret, natives, parallel, thrown, waiting};

/// What one run of a playbook may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Script steps, over all branches.
    pub steps: u64,
    /// Time the script itself computes, waiting not counted.
    pub script_time: Duration,
    /// Memory the script holds, in bytes.
    pub memory: usize,
    /// Operations it asks for.
    pub operations: u32,
}

impl Default for Limits {
    /// 20 million steps, 30 s of computing, 64 MB, 20,000 operations.
    fn default() -> Self {
        Self { steps: 20_000_000, script_time: Duration::from_secs(30), memory: 64 << 20, operations: 20_000 }
    }
}

/// After how many steps a busy script lets others run.
const BREATH: u64 = 20_000;
/// How often the clock is read.
const CLOCK_EVERY: u64 = 1_024;
/// How much stack must remain, in bytes.
const STACK_RESERVE: usize = 256 << 10;

/// Builds an engine whose imports stay inside `resolver`'s project.
pub(super) fn build(resolver: ProjectResolver, extensions: &[Extension]) -> Engine {
    let mut engine = Engine::new_raw();
    packages(&mut engine);
    limits(&mut engine);
    engine
        .disable_symbol("eval")
        .set_optimization_level(OptimizationLevel::Simple)
        .set_fail_on_invalid_map_property(true)
        .set_module_resolver(resolver)
        .on_print(|text| {
            tell("info", text.to_owned());
        })
        .on_debug(|text, source, position| {
            let place = source.map_or_else(String::new, |source| format!("{source}:{position}: "));
            tell("debug", format!("{place}{text}"));
        })
        .on_progress(|_| progress());
    #[expect(deprecated, reason = "volatile in name only: the one way to make a value visible in every scope")]
    engine.on_var(|name, index, context| Ok(customer(name, index, &context)));
    engine.register_type_with_name::<Secret>("Secret");
    thrown::register(&mut engine);
    natives::register(&mut engine);
    parallel::register(&mut engine);
    waiting::register(&mut engine);
    for extension in extensions {
        extension(&mut engine);
    }
    engine
}

/// The standard library without its clock and its sleep.
fn packages(engine: &mut Engine) {
    LanguageCorePackage::new().register_into_engine(engine);
    ArithmeticPackage::new().register_into_engine(engine);
    LogicPackage::new().register_into_engine(engine);
    BitFieldPackage::new().register_into_engine(engine);
    BasicMathPackage::new().register_into_engine(engine);
    BasicStringPackage::new().register_into_engine(engine);
    MoreStringPackage::new().register_into_engine(engine);
    BasicIteratorPackage::new().register_into_engine(engine);
    BasicFnPackage::new().register_into_engine(engine);
    BasicArrayPackage::new().register_into_engine(engine);
    BasicBlobPackage::new().register_into_engine(engine);
    BasicMapPackage::new().register_into_engine(engine);
}

/// Every limit, alike in debug and release builds. Steps are counted per session, see [`progress`]: Rhai's own count
/// begins anew in every branch.
fn limits(engine: &mut Engine) {
    engine
        .set_max_call_levels(64)
        .set_max_expr_depths(64, 64)
        .set_max_operations(0)
        .set_max_modules(256)
        .set_max_functions(4_096)
        .set_max_variables(4_096)
        .set_max_strings_interned(1_024);
    let size = if memory_is_metered() { 0 } else { 100_000 };
    engine.set_max_array_size(size).set_max_map_size(size).set_max_string_size(size * 100);
}

fn tell(level: &str, message: String) {
    let _ = with_current(|shared, _| {
        shared.tell(Told::Log { level: level.to_owned(), message, site: None });
    });
}

/// `customer` is visible everywhere, unless the script has a variable of that name nearer by.
fn customer(name: &str, index: usize, context: &EvalContext) -> Option<Dynamic> {
    if name != "customer" || index > 0 || context.scope().contains(name) {
        return None;
    }
    with_current(|shared, _| shared.customer.clone())
}

/// Called after every script step: a value ends the script in a way it cannot catch.
fn progress() -> Option<Dynamic> {
    let (stop, breathe) = with_current(|shared, _| {
        let steps = shared.count_step();
        (budget(shared, steps), steps.is_multiple_of(BREATH))
    })?;
    if let Some(reason) = stop {
        return Some(Dynamic::from(reason));
    }
    if breathe {
        let _ = suspend(Suspend::Breathe);
        // The session may have ended meanwhile.
        return with_current(|shared, _| shared.stopped()).flatten().map(Dynamic::from);
    }
    None
}

fn budget(shared: &Rc<Shared>, steps: u64) -> Option<Stop> {
    // A native function may have swallowed the error that was to end the branch: `sort` does so with its comparer's.
    if shared.is_stopped() {
        return shared.stopped();
    }
    let limits = &shared.limits;
    let reason = if steps > limits.steps {
        Stop::Steps(limits.steps)
    } else if usize::try_from(meter()).is_ok_and(|held| held > limits.memory) {
        Stop::Memory(limits.memory)
    } else if remaining_stack().is_some_and(|left| left < STACK_RESERVE) {
        Stop::Stack
    } else if steps.is_multiple_of(CLOCK_EVERY) && shared.script_time() > limits.script_time {
        Stop::Time(limits.script_time)
    } else {
        return None;
    };
    shared.stop(reason.clone());
    Some(reason)
}
