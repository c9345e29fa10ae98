//! The one place where the simulation asks the contract.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use super::multipart::{self, Part};
use super::refusal::Refusal;
use super::{packages, web_integrations};
use crate::contract::{Asked, BodyKind, PathVars, Place, Published, Sent, Violation, contract};

/// The operation that a request means, and the values of the path's variables, decoded.
pub(super) fn find(method: &Method, path: &str) -> Option<(&'static Published, PathVars)> {
    contract().find(method, path)
}

/// The operation of this id, with the last variable of its path.
pub(super) fn of(operation: &str) -> Option<(&'static Published, Option<&'static str>)> {
    let published = contract().operation(operation)?;
    Some((published, published.variables().last()))
}

/// Operations whose requests have more forms than the contract can say; their handlers check them.
const UNCHECKED: &[&str] = &["requestOauthToken", "authorizeOauthClient", "exchangeJwtForSession"];

/// The body of a request, read as its operation takes it.
#[derive(Clone, Debug, Default)]
pub(super) struct Read {
    /// A JSON body; null when it is none.
    pub(super) body: Value,
    /// The parts of a form.
    pub(super) parts: Vec<Part>,
}

/// Reads the body of a request.
///
/// # Errors
/// 400 when it is not what its content type says.
pub(super) fn read(operation: &Published, kind: Option<&str>, bytes: &Bytes) -> Result<Read, Refusal> {
    let kind = kind.unwrap_or("application/json");
    let expects_bytes =
        operation.body.as_ref().is_some_and(|body| matches!(body.kind, BodyKind::Bytes | BodyKind::Chunk));
    let says = kind.to_ascii_lowercase();
    if bytes.is_empty() || expects_bytes {
        return Ok(Read::default());
    }
    if says.starts_with("multipart/form-data") {
        let parts =
            multipart::parts(kind, bytes).map_err(|reason| Refusal::bad_request(format!("broken form: {reason}")))?;
        return Ok(Read { parts, ..Read::default() });
    }
    if says.contains("json") {
        let body = serde_json::from_slice(bytes).map_err(|error| match operation.tag {
            "web-integrations" => web_integrations::unreadable(),
            _ => Refusal::bad_request(format!("the request body is not JSON: {error}")),
        })?;
        return Ok(Read { body, ..Read::default() });
    }
    Ok(Read::default())
}

/// Checks a request against the contract.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn check(
    operation: &Published,
    variables: &PathVars,
    query: &[(String, String)],
    headers: &HeaderMap,
    bytes: &Bytes,
    read: &Read,
) -> Result<(), Vec<Violation>> {
    if UNCHECKED.contains(&operation.id) {
        return Ok(());
    }
    let body = if !read.parts.is_empty() {
        Sent::Parts(
            read.parts.iter().map(|part| (part.name.as_str(), part.file.is_none().then_some(&part.document))).collect(),
        )
    } else if !read.body.is_null() {
        Sent::Json(&read.body)
    } else if bytes.is_empty() {
        Sent::Nothing
    } else {
        Sent::Bytes
    };
    let query = query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    operation.check(&Asked { variables: variables.clone(), query, headers: None, body }.with_headers(headers))
}

/// The refusal of a request that breaks the contract, with the code the service has for it where one is published.
pub(super) fn refuse(operation: &Published, violations: &[Violation]) -> Refusal {
    let told: Vec<String> = violations.iter().map(ToString::to_string).collect();
    let told = told.join("; ");
    let first = violations.first();
    let refusal = match operation.id {
        "patchTenant" => Refusal::new(StatusCode::BAD_REQUEST, "TENANTS-10", "Invalid PATCH request")
            .meta(json!({"code": "TENANTS-10", "title": told})),
        "createTenant" if told.contains("licenseKey") => {
            Refusal::new(StatusCode::BAD_REQUEST, "TENANTS-21", "Missing licenseKey property").detail(told)
        }
        "createWebIntegration" if told.contains("missing") => web_integrations::missing(told),
        "createWebIntegration" => web_integrations::invalid(told),
        "uploadTheme" | "patchTheme" | "uploadExtension" | "patchExtension" => {
            let whole = first.is_some_and(|first| ["", "/data"].contains(&&*first.pointer));
            if whole { packages::unsupported(told) } else { packages::invalid(told) }
        }
        "patchWebIntegration" => web_integrations::invalid_patch(told),
        _ => Refusal::bad_request(told),
    };
    match first {
        Some(violation) if violation.place == Place::Body => refusal.pointer(violation.pointer.as_str()),
        Some(violation) if violation.place == Place::Query => refusal.parameter(violation.pointer.as_str()),
        _ => refusal,
    }
}
