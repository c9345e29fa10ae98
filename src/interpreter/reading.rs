//! Reads that an interpreter makes on its own account.

use futures_util::future::BoxFuture;
use serde_json::Value;

use super::Interpreter;
use crate::contract::{ParameterPlace, Published};
use crate::operation::{Call, Effect, Failure, FailureKind, Host, Key, Operation, Outcome, Payload, Request, Response};

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
    let ask = |number, page: Operation| -> BoxFuture<'_, Outcome> {
        Box::pin(async move { interpreter.perform(&key_of(key, list, number), &page).await })
    };
    let answer = whole(&page, ask).await?;
    let items = answer.json()["data"].as_array().or_else(|| answer.json().as_array());
    items.cloned().ok_or_else(|| unexpected(format!("the answer to `{}` holds no list", list.id)))
}

/// The answer to an operation with all its pages in one, when it is a list. `ask` is given the number of each page.
pub(super) async fn whole<'a>(first: &Operation, ask: impl Fn(usize, Operation) -> BoxFuture<'a, Outcome>) -> Outcome {
    let mut page = first.clone();
    let mut whole: Option<Response> = None;
    for number in 0..MAX_PAGES {
        let answer = ask(number, page.clone()).await?;
        let link = answer.json()["links"]["next"]["href"].as_str().filter(|link| !link.is_empty()).map(str::to_owned);
        let whole = match &mut whole {
            None => whole.insert(answer),
            Some(whole) => {
                let (held, more) = (items(whole), answer.json()["data"].as_array());
                if let (Some(held), Some(more)) = (held, more) {
                    held.extend(more.iter().cloned());
                }
                whole
            }
        };
        let Call::Request(request) = &mut page.call else { break };
        match link {
            Some(link) if Some(&link) == request.next.as_ref() => break,
            Some(link) => request.next = Some(link),
            None => {
                if let Payload::Json(held) = &mut whole.payload
                    && let Some(links) = held.get_mut("links").and_then(Value::as_object_mut)
                {
                    links.shift_remove("next");
                }
                return Ok(whole.clone());
            }
        }
    }
    Err(unexpected(format!("`{}` does not answer with a list that ends", first.id)))
}

/// The items of an answer that is a page of a list.
fn items(answer: &mut Response) -> Option<&mut Vec<Value>> {
    match &mut answer.payload {
        Payload::Json(held) => held.get_mut("data")?.as_array_mut(),
        Payload::Empty | Payload::Bytes(_) => None,
    }
}

fn unexpected(title: String) -> Failure {
    Failure::new(FailureKind::Unknown, "tenantry/unexpected-answer", title)
}
