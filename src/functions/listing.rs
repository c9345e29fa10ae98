use serde_json::{Value, json};

use super::request::Ask;
use super::tenant::Tenant;
use crate::playbook::{Call, ScriptError};

/// A list that is read once per run and kept up to date by what the run itself writes.
///
/// What an earlier process of the run has read does not count: since it ended, others may have written.
///
/// Branches do not see each other's notes, and a join keeps only one branch's copy of the list; so what is written is
/// noted item by item, under its natural key, and wins over the list.
pub(super) struct Listing {
    name: String,
}

impl Listing {
    /// The list called `name` of this tenant.
    pub(super) fn of(call: &Call, tenant: &Tenant, name: &str) -> Self {
        Self { name: note(call, tenant, name) }
    }

    /// The item of this natural key, from the notes or from the list that `read` asks for. `fresh` asks in any case:
    /// the service has just said that the notes are not the whole truth.
    pub(super) fn find(
        &self,
        call: &mut Call,
        key: &str,
        fresh: bool,
        is_it: impl Fn(&Value) -> bool,
        read: impl FnOnce() -> Ask,
    ) -> Result<Option<Value>, ScriptError> {
        if let (false, Some(item)) = (fresh, call.note(&self.item(key))) {
            return Ok(Some(item).filter(|item| !item.is_null()));
        }
        let list = match self.held(call) {
            Some(list) if !fresh => list,
            _ => Value::Array(self.read(call, read())?),
        };
        Ok(list.as_array().into_iter().flatten().find(|item| is_it(item)).cloned())
    }

    /// The list as it is now, noted for look-ups to come.
    pub(super) fn read(&self, call: &mut Call, ask: Ask) -> Result<Vec<Value>, ScriptError> {
        let list = ask.list(call)?;
        call.set_note(&self.name, Value::Array(list.clone()));
        call.set_note(&self.process(), json!(call.process()));
        Ok(list)
    }

    /// The list as this process of the run has read it.
    fn held(&self, call: &Call) -> Option<Value> {
        let list = call.note(&self.name)?;
        let read_in = call.note(&self.process()).and_then(|process| process.as_u64());
        call.process().is_none_or(|process| read_in == Some(process)).then_some(list)
    }

    fn process(&self) -> String {
        format!("process of {}", self.name)
    }

    /// The list, when it was read in this run and what has this natural key was not written since.
    pub(super) fn noted(&self, call: &Call, key: &str) -> Option<Vec<Value>> {
        if call.note(&self.item(key)).is_some() {
            return None;
        }
        match self.held(call) {
            Some(Value::Array(list)) => Some(list),
            _ => None,
        }
    }

    /// Notes what was written under this natural key; `null` when it was removed.
    pub(super) fn wrote(&self, call: &Call, key: &str, item: Value) {
        call.set_note(&self.item(key), item);
    }

    /// How many items the list held when it was read.
    pub(super) fn len(&self, call: &Call) -> usize {
        call.note(&self.name).and_then(|list| list.as_array().map(Vec::len)).unwrap_or_default()
    }

    fn item(&self, key: &str) -> String {
        format!("{}/{key}", self.name)
    }
}

/// The name of a note about this tenant that [`forget_all`] makes nobody find again.
pub(super) fn note(call: &Call, tenant: &Tenant, name: &str) -> String {
    let epoch = call.note(&epoch(tenant)).and_then(|epoch| epoch.as_u64()).unwrap_or_default();
    format!("{name}@{}#{epoch}", tenant.host_name())
}

fn epoch(tenant: &Tenant) -> String {
    format!("epoch@{}", tenant.host_name())
}

/// Forgets what was read of this tenant: something was written past the functions that know what it means.
pub(super) fn forget_all(call: &Call, tenant: &Tenant) {
    let name = epoch(tenant);
    let next = call.note(&name).and_then(|epoch| epoch.as_u64()).unwrap_or_default() + 1;
    call.set_note(&name, json!(next));
}
