use rhai::{Dynamic, EvalAltResult, Position};
use serde_json::{Value, json};

use crate::operation::{Failure, Site};

/// An error of a host function as a script catches it: it can be read and thrown on, not forged.
#[derive(Clone, Debug)]
pub struct Thrown {
    failure: Failure,
    operation: String,
    site: Option<Site>,
}

impl Thrown {
    /// An error of `operation`, asked at `site`.
    #[must_use]
    pub fn new(failure: Failure, operation: impl Into<String>, site: Option<Site>) -> Self {
        Self { failure, operation: operation.into(), site }
    }

    /// What went wrong.
    #[must_use]
    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    /// The operation's id, or the function's name when it refused before asking.
    #[must_use]
    pub fn operation(&self) -> &str {
        &self.operation
    }

    /// Where it happened; a re-throw elsewhere does not change it.
    #[must_use]
    pub fn site(&self) -> Option<&Site> {
        self.site.as_ref()
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "code": self.failure.code,
            "status": self.failure.status,
            "title": self.failure.title,
            "detail": self.failure.detail,
            "operation": self.operation,
            "trace": self.failure.trace,
            "hint": self.failure.hint,
        })
    }

    pub(super) fn into_error(self, position: Position) -> Box<EvalAltResult> {
        Box::new(EvalAltResult::ErrorRuntime(Dynamic::from(self), position))
    }
}

/// Registers what a script can read of an error.
pub(super) fn register(engine: &mut rhai::Engine) {
    fn text(value: Option<&String>) -> Dynamic {
        value.map_or(Dynamic::UNIT, Into::into)
    }
    engine
        .register_type_with_name::<Thrown>("Error")
        .register_get("code", |thrown: &mut Thrown| thrown.failure.code.clone())
        .register_get("status", |thrown: &mut Thrown| {
            thrown.failure.status.map_or(Dynamic::UNIT, |status| i64::from(status).into())
        })
        .register_get("title", |thrown: &mut Thrown| thrown.failure.title.clone())
        .register_get("detail", |thrown: &mut Thrown| text(thrown.failure.detail.as_ref()))
        .register_get("operation", |thrown: &mut Thrown| thrown.operation.clone())
        .register_get("trace", |thrown: &mut Thrown| text(thrown.failure.trace.as_ref()))
        .register_get("hint", |thrown: &mut Thrown| text(thrown.failure.hint.as_ref()))
        .register_fn("to_string", |thrown: &mut Thrown| thrown.failure.to_string())
        .register_fn("to_debug", |thrown: &mut Thrown| thrown.failure.to_string());
}
