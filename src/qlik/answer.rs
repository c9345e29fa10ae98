//! What an answer means: a response, or one of Qlik Cloud's many error bodies made into one [`Failure`].

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::addresses::Base;
use super::transport::{Incoming, TransportError, TransportErrorKind};
use crate::operation::{Failure, FailureKind, Payload, Response, secret};

/// How much of a body that makes no sense is shown.
const EXCERPT: usize = 200;

/// Headers that never leave the client.
const HIDDEN: [&str; 5] = ["set-cookie", "authorization", "proxy-authorization", "www-authenticate", "cookie"];

/// The code of a body that should have been JSON.
pub(super) const NOT_JSON: &str = "tenantry/not-json";

/// What the body of a good answer has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// A JSON document or nothing.
    Json,
    /// Whatever its content type says.
    Anything,
}

/// A good answer as a response; its secrets are still text.
pub(super) fn response(incoming: &Incoming, expected: Expected) -> Result<Response, Failure> {
    let payload = payload(incoming, expected)?;
    let headers: BTreeMap<String, String> = incoming
        .headers
        .iter()
        .filter(|(name, _)| !HIDDEN.contains(&name.as_str()))
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect();
    Ok(Response { status: incoming.status.as_u16(), headers, payload })
}

fn payload(incoming: &Incoming, expected: Expected) -> Result<Payload, Failure> {
    let body = &incoming.body;
    if body.is_empty() {
        return Ok(Payload::Empty);
    }
    let declared = content_type(&incoming.headers);
    let is_json = declared == "application/json" || declared.ends_with("+json");
    if expected == Expected::Anything && !is_json && !declared.is_empty() {
        return Ok(Payload::Bytes(body.clone()));
    }
    let wrong = |what: &str| {
        let mut failure = Failure::new(FailureKind::Unknown, NOT_JSON, what.to_owned())
            .detail(shown(body))
            .hint("Check that the target's address leads to Qlik Cloud and not to a proxy or a login page.");
        failure.status = Some(incoming.status.as_u16());
        failure
    };
    match serde_json::from_slice::<Value>(body) {
        // Only tenantry writes references to secrets; one from outside would have a secret sent to whoever made it up.
        Ok(value) if secret::holds_key(&value) => Err(wrong("the answer uses the reserved key `$secret`")),
        // An error page can be valid JSON: a bare string or number is no answer to anything.
        Ok(value @ (Value::Object(_) | Value::Array(_))) => Ok(Payload::Json(value)),
        Ok(Value::Null) => Ok(Payload::Json(Value::Null)),
        Ok(value) if expected == Expected::Anything => Ok(Payload::Json(value)),
        Ok(_) => Err(wrong("the answer is neither an object nor a list")),
        Err(_) if expected == Expected::Anything && !is_json => Ok(Payload::Bytes(body.clone())),
        Err(error) if error.is_eof() => Err(wrong("the answer's JSON ends in the middle")),
        Err(_) if declared.is_empty() || is_json => Err(wrong("the answer is not JSON")),
        Err(_) => Err(wrong(&format!("the answer is `{}`, not JSON", excerpt(&declared)))),
    }
}

/// An answer that says no. `is_write` tells whether a missing answer leaves a doubt.
pub(super) fn refusal(incoming: &Incoming, is_write: bool) -> Failure {
    let status = incoming.status;
    let refused = status.is_client_error() || status == StatusCode::NOT_IMPLEMENTED || !is_write;
    let kind = if refused { FailureKind::Refused } else { FailureKind::Unknown };
    let reason = status.canonical_reason().unwrap_or("unexpected status").to_owned();
    let mut failure = Failure::new(kind, format!("HTTP-{}", status.as_u16()), reason);
    failure.status = Some(status.as_u16());
    failure.trace = header_text(&incoming.headers, "x-b3-traceid");
    if incoming.body.iter().all(u8::is_ascii_whitespace) {
        return failure;
    }
    match serde_json::from_slice(&incoming.body) {
        Ok(Value::Object(body)) => read_object(&mut failure, &body),
        Ok(Value::Array(errors)) => read_errors(&mut failure, &errors),
        Ok(value) => failure.detail = Some(excerpt(text(&value).as_deref().unwrap_or_default())),
        Err(_) => {
            let declared = content_type(&incoming.headers);
            if declared.contains("html") || incoming.body.trim_ascii_start().starts_with(b"<") {
                NOT_JSON.clone_into(&mut failure.code);
                failure.hint = Some(
                    "A page instead of JSON: a proxy, a gateway or a wrong address answered, perhaps not Qlik Cloud."
                        .to_owned(),
                );
            }
            failure.detail = Some(shown(&incoming.body));
        }
    }
    failure
}

fn read_object(failure: &mut Failure, body: &Map<String, Value>) {
    if let Some(trace) = field(body, "traceId") {
        failure.trace = Some(trace);
    }
    if let Some(Value::Array(errors)) = body.get("errors")
        && !errors.is_empty()
    {
        // Licences put a sentence beside the list; spaces repeat the first error; the list is the better source.
        if let Some(message) = field(body, "message").or_else(|| field(body, "detail")) {
            failure.detail = Some(message);
        }
        read_errors(failure, errors);
        return;
    }
    read_error(failure, body);
}

fn read_errors(failure: &mut Failure, errors: &[Value]) {
    let mut errors = errors.iter();
    match errors.next() {
        Some(Value::Object(first)) => read_error(failure, first),
        Some(Value::String(text)) => failure.detail = Some(excerpt(text)),
        _ => {}
    }
    let others: Vec<String> = errors
        .filter_map(Value::as_object)
        .map(|error| [field(error, "code"), field(error, "title")].into_iter().flatten().collect::<Vec<_>>().join(" "))
        .filter(|text| !text.is_empty())
        .collect();
    if !others.is_empty() {
        add_detail(failure, &format!("also: {}", others.join("; ")));
    }
}

fn read_error(failure: &mut Failure, error: &Map<String, Value>) {
    // OAuth speaks its own language: `error` is the code there, and a class name elsewhere.
    let code = field(error, "code")
        .or_else(|| if error.contains_key("error_description") { field(error, "error") } else { None });
    if let Some(code) = code {
        failure.code = code;
    }
    let said = ["title", "message", "error_description", "error"].iter().find_map(|name| field(error, name));
    if let Some(said) = said {
        failure.title = said;
    }
    if let Some(detail) = field(error, "detail").or_else(|| field(error, "context")) {
        failure.detail = Some(detail);
    } else if failure.detail.as_ref() == Some(&failure.title) {
        failure.detail = None;
    }
    if let Some(Value::Object(source)) = error.get("source") {
        failure.pointer = field(source, "pointer").or_else(|| field(source, "parameter"));
    }
    if let Some(meta) = error.get("meta") {
        for said in meta_texts(meta) {
            add_detail(failure, &said);
        }
    }
    if let Some(trace) = field(error, "traceId") {
        failure.trace = Some(trace);
    }
}

/// What `meta` says in words: a list of sentences for tenants, an `explain` for items.
fn meta_texts(meta: &Value) -> Vec<String> {
    match meta {
        Value::String(text) => vec![excerpt(text)],
        Value::Array(items) => items.iter().flat_map(meta_texts).collect(),
        Value::Object(map) => ["explain", "message", "title", "detail", "reason"]
            .iter()
            .find_map(|name| field(map, name))
            .into_iter()
            .collect(),
        _ => Vec::new(),
    }
}

fn add_detail(failure: &mut Failure, text: &str) {
    match &mut failure.detail {
        None => failure.detail = Some(text.to_owned()),
        Some(detail) if detail.contains(text) => {}
        Some(detail) => {
            detail.push_str("; ");
            detail.push_str(text);
        }
    }
}

/// A field as text: services write codes and statuses as numbers or strings.
fn field(map: &Map<String, Value>, name: &str) -> Option<String> {
    map.get(name).and_then(text).map(|text| safe(&text, 2_000)).filter(|text| !text.is_empty())
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// An exchange that ended without an answer.
pub(super) fn transport_failure(error: &TransportError, base: &Base, is_write: bool) -> Failure {
    let host = &base.host;
    let title = match error.kind {
        TransportErrorKind::Unreachable => format!("{host} cannot be reached"),
        TransportErrorKind::TimedOut => format!("{host} did not answer in time"),
        TransportErrorKind::Broken => format!("the connection to {host} broke before it answered"),
        TransportErrorKind::Truncated => format!("the answer of {host} ended in the middle"),
        TransportErrorKind::TooLarge => format!("the answer of {host} is too large"),
        TransportErrorKind::File => "a file to be sent cannot be read".to_owned(),
        TransportErrorKind::Elsewhere => {
            "the content to be sent did not come whole from the host that has it".to_owned()
        }
    };
    let kind = match error.status {
        // Who has half of a body acts on none of it.
        _ if matches!(error.kind, TransportErrorKind::File | TransportErrorKind::Elsewhere) => FailureKind::Unsent,
        _ if !error.sent => FailureKind::Unsent,
        // The status came, so the server's mind is known even though its words are lost.
        Some(status) if status.is_client_error() => FailureKind::Refused,
        Some(status) if status.is_server_error() && !is_write => FailureKind::Refused,
        _ => FailureKind::Unknown,
    };
    let message = safe(&error.message, 500);
    // A host that a target has elsewhere is looked for where it is.
    let elsewhere = base.url.host_str() != Some(host);
    let detail = if elsewhere { format!("{}: {message}", base.url.as_str().trim_end_matches('/')) } else { message };
    let mut failure = Failure::new(kind, error.kind.code(), title).detail(detail);
    failure.status = error.status.map(|status| status.as_u16());
    if error.kind == TransportErrorKind::Unreachable {
        failure.hint = Some("Check the target's address, the network and any proxy.".to_owned());
    }
    failure
}

/// No server may ask for more: a figure that is a lie must not overflow a clock.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// How long the server asks to be left alone: `Retry-After` in seconds or as a date, else the sentence Qlik Cloud writes.
pub(super) fn retry_after(headers: &HeaderMap, failure: &Failure, now: Timestamp) -> Option<Duration> {
    asked_wait(headers, failure, now).map(|span| span.min(LONGEST_WAIT))
}

fn asked_wait(headers: &HeaderMap, failure: &Failure, now: Timestamp) -> Option<Duration> {
    if let Some(text) = header_text(headers, header::RETRY_AFTER.as_str()) {
        if let Ok(seconds) = text.trim().parse::<u64>() {
            return Some(Duration::from_secs(seconds));
        }
        if let Ok(date) = httpdate::parse_http_date(text.trim()) {
            let date = date.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
            let now = u64::try_from(now.as_second()).unwrap_or_default();
            return Some(Duration::from_secs(date.saturating_sub(now)));
        }
    }
    // "You need to wait 13 seconds until limit is lifted."
    let rest = failure.detail.as_deref()?.split_once("wait ")?.1;
    let (number, unit) = rest.split_once(' ')?;
    unit.starts_with("second").then(|| number.parse().ok().map(Duration::from_secs))?
}

fn content_type(headers: &HeaderMap) -> String {
    let text = header_text(headers, header::CONTENT_TYPE.as_str()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn shown(body: &Bytes) -> String {
    format!("it begins `{}`", excerpt(&String::from_utf8_lossy(&body[..body.len().min(EXCERPT * 4)])))
}

/// The beginning of a text from outside, safe to print on a terminal.
pub(super) fn excerpt(text: &str) -> String {
    safe(text, EXCERPT)
}

fn safe(text: &str, length: usize) -> String {
    let mut kept = String::new();
    let mut space = false;
    for (count, character) in text.trim().chars().enumerate() {
        if count >= length {
            kept.push('…');
            break;
        }
        if character.is_whitespace() {
            space = true;
            continue;
        }
        if std::mem::take(&mut space) {
            kept.push(' ');
        }
        // Control characters, and those that turn the direction of writing, can hide what a line says.
        let hides = character.is_control()
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        kept.push(if hides { '\u{fffd}' } else { character });
    }
    kept
}

/// Whether a refusal says that the tenant is out of service, so that no token will ever help.
pub(super) fn is_disabled_tenant(failure: &Failure) -> bool {
    failure.status == Some(StatusCode::UNAUTHORIZED.as_u16())
        && matches!(failure.code.as_str(), "TENANT_DISABLED" | "TENANT_DEACTIVATED")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn incoming(status: u16, content_type: &str, body: Vec<u8>) -> Incoming {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        Incoming { status: StatusCode::from_u16(status).unwrap(), headers, body: body.into() }
    }

    fn json() -> impl Strategy<Value = Value> {
        let name = prop::sample::select(vec![
            "errors", "code", "title", "detail", "meta", "source", "pointer", "traceId", "error", "message", "status",
            "explain",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,20}".prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((name.clone(), inner), 0..6)
                    .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_a_server_says_ends_in_a_failure_that_can_be_printed(
            body in prop_oneof![json().prop_map(|value| value.to_string().into_bytes()), prop::collection::vec(any::<u8>(), 0..400)],
            status in 300_u16..600,
            is_write in any::<bool>(),
            content_type in prop::sample::select(vec!["application/json", "text/html", "x"]),
        ) {
            let failure = refusal(&incoming(status, content_type, body.clone()), is_write);
            prop_assert!(!failure.code.is_empty() && !failure.title.is_empty());
            prop_assert!(!failure.to_string().contains(char::is_control), "{failure}");
            prop_assert_eq!(failure.kind == FailureKind::Unknown, is_write && !(400..500).contains(&status) && status != 501);
            for expected in [Expected::Json, Expected::Anything] {
                if let Err(failure) = response(&incoming(200, content_type, body.clone()), expected) {
                    prop_assert!(!failure.to_string().contains(char::is_control), "{failure}");
                }
            }
        }
    }
}
