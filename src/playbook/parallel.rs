use rhai::{Array, Dynamic, Engine, EvalAltResult, FnPtr, NativeCallContext};

use super::call::{Call, ScriptError};
use super::coroutine::{Body, fork_join};
use super::session::Ended;
use super::value::detach;

/// `parallel(list, |x| ...)`: runs the closure for every element, several at once, and gives the results in order.
///
/// Each branch works on copies of what the closure captured. When branches fail, the others finish, and the error of
/// the first failed element is thrown.
pub(super) fn register(engine: &mut Engine) {
    rhai::FuncRegistration::new("parallel")
        .with_params_info(["list: Array", "closure: FnPtr", "Array"])
        .with_comments([
            "/// Calls the closure for every element of the list, at most eight at once, and returns the results in order.",
            "///",
            "/// Every branch works on copies of what the closure captured. When some fail, the others still finish, and",
            "/// the error of the first failed element is thrown.",
            "///",
            "/// ```rhai",
            "/// let groups = parallel(customer.groups, |g| tenant.groups.ensure(g.name));",
            "/// ```",
        ])
        .register_into_engine(engine, parallel);
}

fn parallel(context: NativeCallContext, items: Array, closure: FnPtr) -> Result<Array, ScriptError> {
    let call = Call::begin(&context, "parallel")?;
    let (context, closure) = (&context, &closure);
    let bodies = items.into_iter().map(|mut item| {
        Box::new(move || {
            let mut closure = closure.clone();
            closure.iter_curry_mut().chain([&mut item]).for_each(detach);
            let result = closure.call_within_context::<Dynamic>(context, (item,));
            Ended::Result(result.or_else(|error| match *error {
                // `exit` ends the branch it stands in.
                EvalAltResult::Exit(value, _) => Ok(value),
                other => Err(Box::new(other)),
            }))
        }) as Body<'_>
    });
    let Some(ended) = fork_join(bodies.collect()) else {
        return Err(call.refuse("tenantry/outside", "`parallel` works only inside a run"));
    };
    ended
        .into_iter()
        .map(|ended| match ended {
            Ended::Result(result) => result.map_err(|error| in_parallel(&call, context, error)),
            Ended::Panicked(_) | Ended::Stopped => Err(call.termination()),
        })
        .collect()
}

/// Keeps the place of `parallel` in the script's call stack.
fn in_parallel(call: &Call, context: &NativeCallContext, error: ScriptError) -> ScriptError {
    if matches!(*error, EvalAltResult::ErrorTerminated(..)) {
        return error;
    }
    let source = context.call_source().unwrap_or_default().to_owned();
    Box::new(EvalAltResult::ErrorInFunctionCall("parallel".to_owned(), source, error, call.position()))
}
