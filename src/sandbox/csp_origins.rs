//! Content security policy: the outside origins a tenant's pages may use (CSP origins API; manage CSP).

use http::StatusCode;
use serde_json::{Value, json};

use super::context::{Answer, Context, Handled, text};
use super::paging::{self, Paging, page};
use super::refusal::Refusal;
use super::resources::Resource;
use super::state::Document;

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("getCSPEntries", list),
        ("createCSPEntry", create),
        ("getCSPHeader", header),
        ("getCSPEntry", get),
        ("updateCSPEntry", replace),
        ("deleteCSPEntry", delete),
    ],
    seed: None,
};

const PAGING: Paging = Paging::next_prev(20, 100);
const SORTS: &[&str] = &["name", "origin", "createdDate", "modifiedDate"];
/// The most entries, and the most characters of the header they make (manage CSP).
const ENTRIES: usize = 256;
const HEADER: usize = 6_144;

/// The flags of an entry and the directive each adds the origin to.
const DIRECTIVES: &[(&str, &str)] = &[
    ("childSrc", "child-src"),
    ("connectSrc", "connect-src"),
    ("connectSrcWSS", "connect-src"),
    ("fontSrc", "font-src"),
    ("formAction", "form-action"),
    ("frameAncestors", "frame-ancestors"),
    ("frameSrc", "frame-src"),
    ("imgSrc", "img-src"),
    ("mediaSrc", "media-src"),
    ("objectSrc", "object-src"),
    ("scriptSrc", "script-src"),
    ("styleSrc", "style-src"),
    ("workerSrc", "worker-src"),
];

/// The service's name for what is not there is not published.
const MISSING: &str = "HTTP-404";

fn is_set(entry: &Value, flag: &str) -> bool {
    entry.get(flag) == Some(&Value::Bool(true))
}

/// Whether a text holds the parts of a search in their order; `*` stands for anything, also at both ends.
fn contains(held: &str, search: &str) -> bool {
    let held = held.to_lowercase();
    let mut rest = held.as_str();
    search.to_lowercase().split('*').all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

fn list(context: &mut Context<'_>) -> Handled {
    let passes = |entry: &Document| {
        let texts = ["name", "origin"]
            .into_iter()
            .all(|field| context.parameter(field).is_none_or(|search| contains(text(entry, field), search)));
        let flags = DIRECTIVES.iter().all(|(flag, _)| {
            context.parameter(flag).is_none_or(|value| value.eq_ignore_ascii_case("true") == is_set(entry, flag))
        });
        texts && flags
    };
    let mut found: Vec<Document> = context.collection("cspOrigins").documents().into_iter().filter(passes).collect();
    paging::sort(context, &mut found, SORTS, "")?;
    page(context, found, PAGING)
}

/// An entry as the request gives it, with every flag.
fn given(context: &Context<'_>, own: &str) -> Result<Value, Refusal> {
    let mut entry = context.body.clone();
    let origin = text(&entry, "origin").to_owned();
    if origin.is_empty() || origin.contains(|sign: char| sign.is_whitespace() || ";,'\"".contains(sign)) {
        return Err(Refusal::bad_request("origin must be one origin"));
    }
    // That one origin has one entry is assumed: nothing published says what a second one would do.
    let held = context.collection("cspOrigins").find("origin", &origin);
    if held.iter().any(|held| text(held, "id") != own) {
        return Err(Refusal::bad_request(format!("there is an entry for {origin}")));
    }
    for (flag, _) in DIRECTIVES {
        if entry.get(*flag).is_none() {
            entry[*flag] = json!(false);
        }
    }
    Ok(entry)
}

/// Stores an entry, when the header stays short enough with it.
fn keep(context: &mut Context<'_>, id: &str, entry: Value) -> Result<(), Refusal> {
    context.put("cspOrigins", id, entry);
    let length = policy(context).len();
    if length > HEADER {
        let detail = format!("the header would have {length} characters, at most {HEADER} are allowed");
        return Err(Refusal::bad_request(detail));
    }
    Ok(())
}

fn create(context: &mut Context<'_>) -> Handled {
    let mut entry = given(context, "")?;
    if context.collection("cspOrigins").len() >= ENTRIES {
        return Err(Refusal::bad_request(format!("the tenant has {ENTRIES} entries, which is the most it may")));
    }
    let (id, now) = (context.new_id(), context.timestamp());
    entry["id"] = json!(id);
    entry["createdDate"] = json!(now);
    entry["modifiedDate"] = json!(now);
    keep(context, &id, entry.clone())?;
    Ok(Answer::created(&entry))
}

/// The entry of the path.
fn asked(context: &Context<'_>) -> Result<Document, Refusal> {
    context.get("cspOrigins", &context.var("id")).ok_or_else(|| Refusal::not_found(MISSING))
}

fn get(context: &mut Context<'_>) -> Handled {
    Ok(Answer::ok(&*asked(context)?))
}

/// The whole entry: what the request leaves out is gone, a flag is off.
fn replace(context: &mut Context<'_>) -> Handled {
    let before = asked(context)?;
    let id = text(&before, "id");
    let mut entry = given(context, id)?;
    entry["id"] = before["id"].clone();
    entry["createdDate"] = before["createdDate"].clone();
    entry["modifiedDate"] = json!(context.timestamp());
    keep(context, id, entry.clone())?;
    Ok(Answer::ok(&entry))
}

fn delete(context: &mut Context<'_>) -> Handled {
    asked(context)?;
    context.remove("cspOrigins", &context.var("id"));
    Ok(Answer::no_content())
}

/// The header of all entries. What Qlik itself puts in it is not published: only `'self'` stands for it.
fn policy(context: &Context<'_>) -> String {
    let entries = context.collection("cspOrigins").documents();
    let mut directives = vec!["default-src 'self'".to_owned()];
    let mut names: Vec<&str> = DIRECTIVES.iter().map(|(_, name)| *name).collect();
    names.dedup();
    for name in names {
        let mut origins: Vec<String> = Vec::new();
        for (flag, _) in DIRECTIVES.iter().filter(|(_, held)| *held == name) {
            for entry in entries.iter().filter(|entry| is_set(entry, flag)) {
                let origin = text(entry, "origin");
                origins.push(if *flag == "connectSrcWSS" { socket(origin) } else { origin.to_owned() });
            }
        }
        if !origins.is_empty() {
            directives.push(format!("{name} 'self' {}", origins.join(" ")));
        }
    }
    directives.join("; ")
}

/// An origin for web sockets: its host, with their scheme.
fn socket(origin: &str) -> String {
    let host = origin.split_once("://").map_or(origin, |(_, host)| host);
    format!("wss://{host}")
}

fn header(context: &mut Context<'_>) -> Handled {
    let accepted = context.header("accept").unwrap_or("*/*").to_ascii_lowercase();
    if !["*/*", "application/*", "application/json"].iter().any(|kind| accepted.contains(kind)) {
        return Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, "HTTP-406", "Not Acceptable"));
    }
    Ok(Answer::ok(&json!({"Content-Security-Policy": policy(context)})))
}
