use rhai::{Dynamic, Engine, FnPtr, Map, NativeCallContext};

use super::call::{Call, ScriptError};
use super::coroutine::{Body, fork_join};
use super::session::Ended;
use crate::operation::{Failure, FailureKind};
use crate::suggest::nearest;

/// Seconds between two looks, and in all, unless a playbook says otherwise.
const EVERY: u64 = 5;
const WITHIN: u64 = 300;

/// The longest wait, in seconds: a day.
const LONGEST: i64 = 86_400;

/// `wait_until(|| condition, #{ every, within })`.
///
/// The looks are a branch of their own: what they ask has keys below that of the call, so however many there are, the
/// keys of what the playbook asks later stay the same. Time is counted by the pauses, which are operations: a run that
/// goes on with an earlier one has waited as long as that.
pub(super) fn register(engine: &mut Engine) {
    let comments = [
        "/// Calls the closure again and again, until it gives something else than `false` or `()`; gives that. It looks at once,",
        "/// then every 5 seconds, for 300 seconds. When there is still nothing, it fails with the code `tenantry/waited`.",
        "///",
        "/// ```rhai",
        "/// let tenant = tenants::ensure(customer);",
        "/// tenant.spaces.ensure(\"Staging\", \"shared\");",
        "/// let staging = wait_until(|| tenant.spaces.find(\"Staging\"));",
        "/// ```",
    ];
    rhai::FuncRegistration::new("wait_until")
        .with_params_info(["condition: FnPtr", "Dynamic"])
        .with_comments(comments)
        .register_into_engine(engine, |context: NativeCallContext<'_>, condition: FnPtr| {
            wait_until(&context, &condition, &Map::new())
        });
    let comments = [
        "/// Calls the closure again and again, as often and as long as these options say.",
        "///",
        "/// - `options`: `every`, the seconds between two looks, 5 unless given; `within`, the seconds it waits in all, 300",
        "///   unless given. The time that the looks take comes on top.",
        "///",
        "/// ```rhai",
        "/// let tenant = tenants::ensure(customer);",
        "/// tenant.spaces.ensure(\"Staging\", \"shared\");",
        "/// wait_until(|| tenant.spaces.find(\"Staging\") != (), #{ every: 2, within: 120 });",
        "/// ```",
    ];
    rhai::FuncRegistration::new("wait_until")
        .with_params_info(["condition: FnPtr", "options: Map", "Dynamic"])
        .with_comments(comments)
        .register_into_engine(engine, |context: NativeCallContext<'_>, condition: FnPtr, options: Map| {
            wait_until(&context, &condition, &options)
        });
}

fn wait_until(context: &NativeCallContext<'_>, condition: &FnPtr, options: &Map) -> Result<Dynamic, ScriptError> {
    let call = Call::begin(context, "wait_until")?;
    let known = ["every", "within"];
    if let Some(field) = options.keys().find(|field| !known.contains(&field.as_str())) {
        let failure = Failure::new(FailureKind::Denied, "tenantry/invalid", format!("unknown field `{field}`"));
        let near = nearest(field, known)
            .map_or("known are `every`, `within`".to_owned(), |near| format!("did you mean `{near}`?"));
        return Err(call.throw(failure.hint(near)));
    }
    let every = seconds(&call, options, "every", EVERY)?;
    let within = seconds(&call, options, "within", WITHIN)?;
    let looks = Box::new(|| Ended::Result(look(context, condition, every, within))) as Body<'_>;
    let ended = fork_join(vec![looks]).and_then(|mut all| all.pop());
    match ended {
        None => Err(call.refuse("tenantry/outside", "`wait_until` works only inside a run")),
        Some(Ended::Result(Ok(found))) if is_there(&found) => Ok(found),
        Some(Ended::Result(Ok(_))) => {
            let title = format!("what `wait_until` waits for did not come within {within} s");
            let failure = Failure::new(FailureKind::Refused, "tenantry/waited", title);
            Err(call.throw(failure.hint("give it more time with `within`, or run the playbook again later")))
        }
        Some(Ended::Result(Err(error))) => Err(error),
        Some(Ended::Panicked(_) | Ended::Stopped) => Err(call.termination()),
    }
}

/// Looks until something is there; gives what it saw last.
fn look(context: &NativeCallContext<'_>, condition: &FnPtr, every: u64, within: u64) -> Result<Dynamic, ScriptError> {
    let mut waited = 0;
    loop {
        let found = condition.call_within_context::<Dynamic>(context, ())?;
        if is_there(&found) || waited >= within {
            return Ok(found);
        }
        let pause = every.min(within - waited);
        Call::begin(context, "wait_until")?.pause(pause)?;
        waited += pause;
    }
}

fn is_there(found: &Dynamic) -> bool {
    !found.is_unit() && found.as_bool() != Ok(false)
}

fn seconds(call: &Call, options: &Map, field: &str, otherwise: u64) -> Result<u64, ScriptError> {
    let Some(given) = options.get(field) else { return Ok(otherwise) };
    let seconds = given.as_int().ok().filter(|seconds| (1..=LONGEST).contains(seconds));
    seconds.and_then(|seconds| u64::try_from(seconds).ok()).ok_or_else(|| {
        let title = format!("`{field}` is a whole number of seconds from 1 to {LONGEST}");
        call.refuse("tenantry/invalid", title)
    })
}
