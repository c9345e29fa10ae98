use super::options::invalid;
use crate::playbook::{Call, ScriptError};

/// A web origin, `https://host` with a port where it is odd, as browsers send it; wildcards are refused.
pub(super) fn check_web_origin(call: &Call, origin: &str) -> Result<String, ScriptError> {
    let wrong = |why: &str| {
        Err(invalid(
            call,
            format!("`{origin}` is not an origin: {why}"),
            Some(
                "write scheme and host, such as `https://portal.harbour.example`, with a port where it is odd"
                    .to_owned(),
            ),
        ))
    };
    if origin.contains('*') {
        return wrong("Qlik Cloud takes no wildcards here");
    }
    let Ok(url) = url::Url::parse(origin) else { return wrong("it cannot be read as an address") };
    if !matches!(url.scheme(), "http" | "https") {
        return wrong("it must begin with https:// or http://");
    }
    if url.host_str().is_none_or(str::is_empty) {
        return wrong("it has no host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("it holds a user name or password");
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return wrong("it goes on after the host");
    }
    Ok(url.origin().ascii_serialization())
}
