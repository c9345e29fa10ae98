//! Audits: what happened in a tenant (audits API). Which events there are, and how many are kept, is told in `events`.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::StatusCode;
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::context::{Answer, Context, Handled};
use super::events::{self, Event};
use super::paging::{self, Paging, page};
use super::refusal::Refusal;
use super::resources::Resource;
use super::{blobs, ids};

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("getAudits", list),
        ("getAudit", get),
        ("getArchivedAudits", archive),
        ("getAuditsSettings", settings),
        ("getAuditSources", sources),
        ("getAuditTypes", types),
        ("fetchConsumptionAppAudits", consumption),
    ],
    seed: None,
};

const PAGING: Paging = Paging::next_prev(10, 100);
const SORTS: &[&str] = &["source", "eventType", "eventTime"];
/// How long an event is in the list, before it is only in the archive: 90 days.
const TTL: SignedDuration = SignedDuration::from_hours(24 * 90);

/// An event as the archive has it.
fn archived(context: &Context<'_>, event: &Event) -> Value {
    let tenant = context.tenant_id();
    let digest = blobs::hex(&Sha256::digest(format!("{tenant} {}", event.number)));
    let uuid = [&digest[..8], &digest[8..12], &digest[12..16], &digest[16..20], &digest[20..32]].join("-");
    let mut details = event.details();
    let mut shown = json!({
        "source": event.source, "contentType": "application/json", "eventType": event.name, "eventId": uuid,
        "eventTime": ids::timestamp(events::moment(event)), "eventTypeVersion": "1.0.0", "tenantId": tenant,
        "data": details["data"].take(), "extensions": details["extensions"].take(),
    });
    if !event.user.is_empty() {
        shown["userId"] = json!(event.user);
    }
    shown
}

/// An event as the list has it.
fn shown(context: &Context<'_>, event: &Event) -> Value {
    let id = event.id();
    let mut shown = archived(context, event);
    shown["links"] = json!({"self": {"href": context.link(&format!("/api/v1/audits/{id}"))}});
    shown["id"] = json!(id);
    shown
}

fn is_recent(context: &Context<'_>, event: &Event) -> bool {
    events::moment(event) + TTL > context.now
}

fn list(context: &mut Context<'_>) -> Handled {
    let wish = |name: &str| context.parameter(name).filter(|wish| !wish.is_empty()).map(str::to_owned);
    let (kind, source, user) = (wish("eventType"), wish("source"), wish("userId"));
    let ids = wish("id").map(|ids| ids.split(',').map(|id| id.trim().to_owned()).collect::<Vec<_>>());
    let span = wish("eventTime").map(|text| span(&text)).transpose()?;
    let is = |wish: &Option<String>, held: &str| wish.as_deref().is_none_or(|wish| wish == held);
    let wanted = |event: &Arc<Event>| {
        is_recent(context, event)
            && is(&kind, &event.name)
            && is(&source, &event.source)
            && is(&user, &event.user)
            && span.is_none_or(|(from, to)| (from..=to).contains(&events::moment(event)))
            && ids.as_ref().is_none_or(|ids| ids.contains(&event.id()))
    };
    let trail = context.trail();
    let mut found: Vec<_> =
        trail.iter().filter(|event| wanted(event)).map(|event| Arc::new(shown(context, event))).collect();
    if context.parameter("sort").is_none_or(|sort| sort.starts_with('-')) {
        found.reverse();
    }
    paging::sort(context, &mut found, SORTS, "-eventTime")?;
    page(context, found, PAGING)
}

/// Reads `<start>/<end>`, both included.
fn span(text: &str) -> Result<(Timestamp, Timestamp), Refusal> {
    let ends = text.split_once('/').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    ends.ok_or_else(|| {
        let form =
            "eventTime must be two times with a slash between them: 2021-07-14T18:41:15.00Z/2021-07-14T18:41:15.99Z";
        Refusal::bad_request(form).parameter("eventTime")
    })
}

fn get(context: &mut Context<'_>) -> Handled {
    let id = context.var("id");
    let number = Event::number_of(&id).ok_or_else(|| Refusal::not_found("HTTP-404"))?;
    let trail = context.trail();
    let place = trail.binary_search_by_key(&number, |event| event.number).ok();
    let event = place.and_then(|place| trail.get(place)).filter(|event| event.id() == id);
    let event = event.filter(|event| is_recent(context, event)).ok_or_else(|| Refusal::not_found("HTTP-404"))?;
    Ok(Answer::ok(&shown(context, event)))
}

/// What the list has no more. A day of which there is nothing is an empty list: no refusal is published.
fn archive(context: &mut Context<'_>) -> Handled {
    let wish = context.parameter("date").unwrap_or_default();
    if wish.len() != 10 || wish.parse::<Date>().is_err() {
        return Err(Refusal::bad_request("date must be a day such as 2020-02-20").parameter("date"));
    }
    let day = |event: &Event| events::moment(event).strftime("%Y-%m-%d").to_string();
    let trail = context.trail();
    let old = trail.iter().filter(|event| !is_recent(context, event) && day(event) == wish);
    let data: Vec<Value> = old.map(|event| archived(context, event)).collect();
    Ok(Answer::ok(&json!({"data": data})))
}

fn settings(_: &mut Context<'_>) -> Handled {
    Ok(Answer::ok(&json!({"data": {"EventTTL": TTL.as_secs(), "ArchiveEnabled": true}})))
}

/// Those that are published, and those that the tenant has besides.
fn all(context: &Context<'_>, known: impl Iterator<Item = String>, of: impl Fn(&Event) -> String) -> Handled {
    let names: BTreeSet<String> = known.chain(context.trail().iter().map(|event| of(event))).collect();
    Ok(Answer::ok(&json!({"data": names, "links": {"self": {"href": context.link(context.path)}}})))
}

fn sources(context: &mut Context<'_>) -> Handled {
    all(context, events::known().map(|(_, source)| source.to_owned()), |event| event.source.to_string())
}

fn types(context: &mut Context<'_>) -> Handled {
    all(context, events::known().map(|(name, _)| name), |event| event.name.to_string())
}

/// The simulated organization has seats, not capacity; which of the documented statuses that gets is assumed.
fn consumption(_: &mut Context<'_>) -> Handled {
    let detail = "the consumption app is there for capacity subscriptions only";
    Err(Refusal::new(StatusCode::FORBIDDEN, "HTTP-403", "Forbidden").detail(detail))
}
