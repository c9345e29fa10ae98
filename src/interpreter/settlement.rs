use crate::operation::{Failure, FailureKind, Operation, Response};

/// What a look-up found out about an operation whose end was not known.
#[derive(Clone, Debug, PartialEq)]
pub enum Settlement {
    /// It was performed, and this is its answer as far as the service still tells it.
    Performed(Response),
    /// It was not performed, or performing it once more does no harm: it may be asked again.
    NotPerformed,
}

/// Nothing tells whether `operation` was performed. `why` completes the sentence "it is not known, because ...".
pub(crate) fn cannot_tell(operation: &Operation, why: &str) -> Failure {
    let title = format!("it is not known whether `{}` for {} was performed", operation.id, operation.subject);
    Failure::new(FailureKind::Unknown, "tenantry/unsettled", title).detail(why).hint(decide_hint("RUN", "KEY"))
}

/// What a person does about an operation that nobody can settle.
pub(super) fn decide_hint(run: &str, key: &str) -> String {
    format!(
        "look in the tenant whether it was done, then say so: `tenantry runs resume {run} --settled '{key}=performed'` or \
         `--settled '{key}=not-performed'`"
    )
}

/// A look-up that failed tells nothing; one that was cancelled is no look-up.
pub(super) fn look_up_failed(operation: &Operation, why: &Failure) -> Failure {
    if why.kind == FailureKind::Cancelled {
        return why.clone();
    }
    cannot_tell(operation, &format!("looking it up failed: {why}"))
}
