use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::value::{Enumerator, Object};
use serde_json::Value as Json;

use super::RenderError;
use crate::operation::secret;

/// The values of one rendering, in the engine's form.
pub(super) struct Values {
    root: minijinja::Value,
    secrets: BTreeSet<String>,
    leaked: Leaked,
}

type Leaked = Arc<Mutex<Option<String>>>;

impl Values {
    pub(super) fn new(json: &Json) -> Self {
        let leaked = Leaked::default();
        let mut secrets = BTreeSet::new();
        let root = convert(json, &leaked, &mut secrets);
        Self { root, secrets, leaked }
    }

    pub(super) fn root(&self) -> minijinja::Value {
        self.root.clone()
    }

    pub(super) fn has_secrets(&self) -> bool {
        !self.secrets.is_empty()
    }

    /// The secret that was turned into text since the last call.
    pub(super) fn take_leaked(&self) -> Option<String> {
        self.leaked.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Refuses references that did not come in with the values: a template's text cannot name a secret by itself.
    pub(super) fn check_references(&self, template: &str, document: &Json) -> Result<(), RenderError> {
        match document {
            Json::Array(items) => items.iter().try_for_each(|item| self.check_references(template, item)),
            Json::Object(map) => match secret::name(document) {
                Some(name) if self.secrets.contains(name) => Ok(()),
                _ if map.contains_key(secret::KEY) => Err(RenderError::forged(template)),
                _ => map.values().try_for_each(|item| self.check_references(template, item)),
            },
            _ => Ok(()),
        }
    }
}

fn convert(json: &Json, leaked: &Leaked, secrets: &mut BTreeSet<String>) -> minijinja::Value {
    match json {
        Json::Null => minijinja::Value::from(()),
        Json::Bool(flag) => minijinja::Value::from(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), _, _) => minijinja::Value::from(number),
            (_, Some(number), _) => minijinja::Value::from(number),
            (_, _, number) => minijinja::Value::from(number.unwrap_or(f64::NAN)),
        },
        Json::String(text) => minijinja::Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(|item| convert(item, leaked, secrets)).collect(),
        Json::Object(map) => {
            if let Some(name) = secret::name(json) {
                secrets.insert(name.to_owned());
                return minijinja::Value::from_object(Secret { name: name.to_owned(), leaked: leaked.clone() });
            }
            let items = map.iter().map(|(key, item)| (key.clone(), convert(item, leaked, secrets)));
            minijinja::Value::from(items.collect::<BTreeMap<_, _>>())
        }
    }
}

/// A secret inside a template: as JSON it is its reference, as text it is refused.
#[derive(Debug)]
pub(super) struct Secret {
    pub(super) name: String,
    leaked: Leaked,
}

impl Object for Secret {
    fn get_value(self: &Arc<Self>, key: &minijinja::Value) -> Option<minijinja::Value> {
        (key.as_str() == Some(secret::KEY)).then(|| minijinja::Value::from(self.name.as_str()))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&[secret::KEY])
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        *self.leaked.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.name.clone());
        f.write_str("***")
    }
}
