//! Reads that an interpreter makes on its own account.

use serde_json::Value;

use super::Interpreter;
use crate::contract::{ParameterPlace, Published};
use crate::operation::{Call, Effect, Failure, FailureKind, Host, Key, Operation, Request};

/// More pages than this is a list that never ends.
const MAX_PAGES: usize = 10_000;

/// A read of what `read` gives at `path`.
pub(crate) fn reading(
    read: &Published,
    host: Host,
    path: String,
    query: Vec<(String, String)>,
    subject: &str,
) -> Operation {
    Operation {
        id: read.id.to_owned(),
        call: Call::Request(Request { query, ..Request::new(host, read.method.clone(), path) }),
        effect: Effect::Read,
        subject: subject.to_owned(),
        site: None,
    }
}

/// The key of a read on behalf of the operation of `key`.
pub(super) fn key_of(key: &Key, read: &Published, page: usize) -> Key {
    let ordinal = u32::try_from(page).unwrap_or(u32::MAX);
    Key { branch: key.branch.clone(), call: key.call, id: read.id.to_owned(), ordinal }
}

/// All items of the list that `first` asks for, page by page.
pub(crate) async fn all_items<I: Interpreter + ?Sized>(
    interpreter: &I,
    key: &Key,
    list: &Published,
    mut page: Operation,
) -> Result<Vec<Value>, Failure> {
    if let Call::Request(request) = &mut page.call
        && list.parameters_in(ParameterPlace::Query).any(|known| known.name == "limit")
    {
        let most = list.paging.and_then(|paging| paging.max_limit).unwrap_or(100).min(100);
        request.query.push(("limit".to_owned(), most.to_string()));
    }
    let mut found = Vec::new();
    for number in 0..MAX_PAGES {
        let answer = interpreter.perform(&key_of(key, list, number), &page).await?;
        let Some(items) = answer.json()["data"].as_array().or_else(|| answer.json().as_array()) else {
            return Err(unexpected(format!("the answer to `{}` holds no list", list.id)));
        };
        found.extend(items.iter().cloned());
        let link = answer.json()["links"]["next"]["href"].as_str().filter(|link| !link.is_empty());
        let Call::Request(request) = &mut page.call else { break };
        match link {
            None => return Ok(found),
            Some(link) if Some(link) == request.next.as_deref() => break,
            Some(link) => request.next = Some(link.to_owned()),
        }
    }
    Err(unexpected(format!("`{}` does not answer with a list that ends", list.id)))
}

fn unexpected(title: String) -> Failure {
    Failure::new(FailureKind::Unknown, "tenantry/unexpected-answer", title)
}
