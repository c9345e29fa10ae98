use http::Method;
use serde_json::Value;

use super::{Body, Effect, PatchStep, Request};

impl Request {
    /// Whether sending it a second time changes nothing that the first did not. `effect`: what performing it does.
    ///
    /// Reads and probes are. `PUT` and `DELETE` are by HTTP's own rules. A `PATCH` is when it only sets fields to given
    /// values: Qlik's JSON Patch dialect also has words that add, renew or move. Everything else, creates above all, is
    /// not.
    #[must_use]
    pub fn is_harmless_to_repeat(&self, effect: Effect) -> bool {
        match effect {
            Effect::Read | Effect::Probe => true,
            Effect::Create | Effect::Act => false,
            Effect::Update | Effect::Delete => match self.method {
                Method::PUT | Method::DELETE => true,
                Method::PATCH => match &self.body {
                    Body::Json(Value::Array(changes)) => changes.iter().all(sets_a_field),
                    Body::Json(Value::Object(_)) => true,
                    _ => false,
                },
                _ => false,
            },
        }
    }
}

fn sets_a_field(change: &Value) -> bool {
    matches!(PatchStep::of(change).word.as_str(), "replace" | "set" | "unset" | "remove-value")
}
