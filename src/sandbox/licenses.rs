//! The licence: one pool of seats for the organization, assigned by subject (licenses API, entitlement management).

use http::StatusCode;
use serde_json::{Value, json};

use super::context::{Answer, Context, Handled, text};
use super::filter::{Fields, Filter};
use super::paging::{self, Paging, page_as};
use super::refusal::Refusal;
use super::resources::Resource;
use super::state::Document;

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("getLicenseOverview", overview),
        ("getLicenseStatus", status),
        ("getLicenseSettings", settings),
        ("updateLicenseSettings", change_settings),
        ("getLicenseAssignments", list),
        ("addLicenseAssignments", add),
        ("updateLicenseAssignments", update),
        ("deleteLicenseAssignments", delete),
        ("getLicenseConsumption", consumption),
    ],
    seed: None,
};

/// Where the organization keeps how many seats of a kind are taken that are no documents here: a model knows them by
/// their number only.
pub(super) const UNLISTED: &str = "seatsUnlisted";

const PRODUCT: &str = "Qlik Sense Enterprise SaaS";

/// How many seats of a kind there are; none when the licence has no such kind.
fn units(context: &Context<'_>, kind: &str) -> Option<i64> {
    context.organization().get("seats")?.get(kind)?.as_i64()
}

fn used(context: &Context<'_>, kind: &str) -> i64 {
    let listed = context.collection_in(&context.home(), "seats").count("type", kind);
    let unlisted = context.organization().get(UNLISTED).and_then(|held| held[kind].as_i64()).unwrap_or(0);
    i64::try_from(listed).unwrap_or(i64::MAX).saturating_add(unlisted)
}

/// The period of the licence as an ISO 8601 interval of days.
fn valid(organization: &Value) -> String {
    let day = |field: &str| text(organization, field).split('T').next().unwrap_or_default().to_owned();
    format!("{}/{}", day("startsAt"), day("endsAt"))
}

fn overview(context: &mut Context<'_>) -> Handled {
    let organization = context.organization();
    let kinds = organization.get("seats").and_then(Value::as_object).cloned().unwrap_or_default();
    let allotments = kinds.iter().map(|(kind, units)| {
        // Minutes are used, seats are assigned.
        let class = if kind == "analyzer_time" { "time" } else { "assigned" };
        json!({"name": kind, "units": units, "unitsUsed": used(context, kind), "overage": 0, "usageClass": class})
    });
    let body = json!({
        "licenseNumber": organization["licenseNumber"], "licenseKey": organization["licenseKey"],
        "secondaryNumber": organization["subscriptionId"], "status": "Ok", "trial": false, "origin": "External",
        "product": PRODUCT, "valid": valid(&organization), "version": "1", "updated": organization["created"],
        "parameters": [], "allotments": allotments.collect::<Vec<Value>>(),
    });
    Ok(Answer::ok(&body))
}

fn status(context: &mut Context<'_>) -> Handled {
    let organization = context.organization();
    let body = json!({
        "type": "Signed", "trial": false, "valid": valid(&organization), "origin": "External", "status": "Ok",
        "product": PRODUCT, "deactivated": false, "extensionStatus": "Unavailable",
    });
    Ok(Answer::ok(&body))
}

/// The tenant's settings. The facts do not say what a new tenant has; off is the safe reading.
fn current(context: &Context<'_>) -> Value {
    let held = context.get("settings", "licenses");
    held.map_or_else(|| json!({"autoAssignProfessional": false, "autoAssignAnalyzer": false}), |held| (*held).clone())
}

fn settings(context: &mut Context<'_>) -> Handled {
    Ok(Answer::ok(&current(context)))
}

fn change_settings(context: &mut Context<'_>) -> Handled {
    let flag = |name: &str| match context.body.get(name) {
        None => Ok(json!(false)),
        Some(Value::Bool(flag)) => Ok(json!(flag)),
        Some(_) => Err(Refusal::bad_request(format!("{name} must be true or false")).pointer(format!("/{name}"))),
    };
    let next = json!({
        "autoAssignProfessional": flag("autoAssignProfessional")?, "autoAssignAnalyzer": flag("autoAssignAnalyzer")?,
    });
    context.put("settings", "licenses", next.clone());
    Ok(Answer::ok(&next))
}

const FIELDS: Fields = Fields { eq: &["subject", "type"], co: &["subject"] };

fn list(context: &mut Context<'_>) -> Handled {
    let mut seats = context.collection_in(&context.home(), "seats").documents();
    if let Some(filter) = context.parameter("filter") {
        seats = Filter::parse(filter, FIELDS)?.apply(seats);
    }
    if context.flag("orphans") {
        let users = context.collection("users");
        seats.retain(|seat| users.find_exact("subject", text(seat, "subject")).is_none());
    }
    paging::sort(context, &mut seats, &["subject", "type", "created", "excess"], "")?;
    page_as(context, seats, Paging::forward("page", 20, 100).without_self(), |_, seat| {
        json!({
            "subject": seat["subject"], "type": seat["type"], "excess": seat["excess"], "created": seat["created"],
        })
    })
}

/// Minutes that sessions in Qlik's engine took of a capacity: there are no such sessions here.
fn consumption(context: &mut Context<'_>) -> Handled {
    if let Some(filter) = context.parameter("filter") {
        Filter::parse(filter, Fields { eq: &["endTime"], co: &[] })?;
    }
    page_as(context, Vec::new(), Paging::forward("page", 200, 200).without_self(), |_, event| event.clone())
}

/// The seats of a subject.
fn seats(context: &Context<'_>, subject: &str) -> Vec<Document> {
    let mut seats = context.collection_in(&context.home(), "seats").find("subject", subject);
    seats.retain(|seat| text(seat, "subject") == subject);
    seats
}

fn key(kind: &str, subject: &str) -> String {
    format!("{kind}:{subject}")
}

fn seat(context: &mut Context<'_>, kind: &str, subject: &str) {
    let id = key(kind, subject);
    let seat = json!({"id": id, "subject": subject, "type": kind, "excess": false, "created": context.timestamp()});
    context.put_in(&context.home(), "seats", &id, seat);
}

/// Whether a seat of a kind is free.
fn free(context: &Context<'_>, kind: &str) -> bool {
    units(context, kind).is_some_and(|units| units < 0 || used(context, kind) < units)
}

/// What a first sign-in takes when the tenant assigns seats by itself: professional before analyzer, nothing when the
/// pool is empty.
pub(super) fn take_at_login(context: &mut Context<'_>, subject: &str) {
    let settings = current(context);
    let wished = [("autoAssignProfessional", "professional"), ("autoAssignAnalyzer", "analyzer")];
    if !seats(context, subject).is_empty() {
        return;
    }
    let kind = wished.into_iter().find(|(flag, kind)| settings[*flag] == true && free(context, kind));
    if let Some((_, kind)) = kind {
        seat(context, kind, subject);
    }
}

/// The seat a bot takes (overview: up to one professional seat per region).
pub(super) fn take_for_bot(context: &mut Context<'_>, subject: &str) {
    if seats(context, subject).is_empty() && free(context, "professional") {
        seat(context, "professional", subject);
    }
}

/// The id of the document of that seat.
pub(super) fn bot_seat(client: &str) -> String {
    key("professional", &format!("qlikbot\\{client}"))
}

/// How one item of a 207 went wrong.
struct Wrong(StatusCode, &'static str, String);

impl Wrong {
    fn missing() -> Self {
        Self(StatusCode::NOT_FOUND, "LICENSES-016", "Assignment not found.".to_owned())
    }

    fn full() -> Self {
        let title = "No available allotment error, No available allotment.";
        Self(StatusCode::FORBIDDEN, "LICENSES-011", title.to_owned())
    }

    fn bad(title: String) -> Self {
        Self(StatusCode::BAD_REQUEST, "HTTP-400", title)
    }
}

/// Answers 207: each item of the list, with its status and what went wrong.
fn each(
    context: &mut Context<'_>,
    list: &str,
    work: impl Fn(&mut Context<'_>, &Value) -> Result<StatusCode, Wrong>,
) -> Handled {
    let items = context.body.get(list).and_then(Value::as_array).cloned();
    let items =
        items.ok_or_else(|| Refusal::bad_request(format!("{list} must be a list")).pointer(format!("/{list}")))?;
    let mut told = Vec::with_capacity(items.len());
    for item in items {
        let mut line = item.clone();
        match work(context, &item) {
            Ok(status) => line["status"] = json!(status.as_u16()),
            Err(Wrong(status, code, title)) => {
                line["status"] = json!(status.as_u16());
                line["code"] = json!(code);
                line["title"] = json!(title);
            }
        }
        told.push(line);
    }
    Ok(Answer::multi(told))
}

fn kind<'i>(context: &Context<'_>, item: &'i Value) -> Result<&'i str, Wrong> {
    let kind = text(item, "type");
    match units(context, kind) {
        Some(_) if kind != "analyzer_time" => Ok(kind),
        _ => Err(Wrong::bad(format!("Unknown assignment type {kind}"))),
    }
}

fn subject(item: &Value) -> Result<&str, Wrong> {
    Some(text(item, "subject"))
        .filter(|subject| !subject.is_empty())
        .ok_or_else(|| Wrong::bad("Missing subject".to_owned()))
}

fn add(context: &mut Context<'_>) -> Handled {
    each(context, "add", |context, item| {
        let (kind, subject) = (kind(context, item)?, subject(item)?);
        let held = seats(context, subject);
        // What a repeat answers is not published: the same seat again changes nothing, another kind needs `update`.
        if held.iter().any(|seat| text(seat, "type") == kind) {
            return Ok(StatusCode::OK);
        }
        if let Some(other) = held.first() {
            let title = format!("Assignment of type {} exists", text(other, "type"));
            return Err(Wrong(StatusCode::CONFLICT, "HTTP-409", title));
        }
        if !free(context, kind) {
            return Err(Wrong::full());
        }
        seat(context, kind, subject);
        Ok(StatusCode::CREATED)
    })
}

fn update(context: &mut Context<'_>) -> Handled {
    each(context, "update", |context, item| {
        let subject = subject(item)?;
        let from = Some(text(item, "sourceSubject")).filter(|from| !from.is_empty()).unwrap_or(subject);
        let source = text(item, "sourceType");
        let held = seats(context, from).into_iter().find(|seat| source.is_empty() || text(seat, "type") == source);
        let held = held.ok_or_else(Wrong::missing)?;
        let was = text(&held, "type");
        let wish = if item.get("type").is_some() { kind(context, item)? } else { was };
        if wish != was && !free(context, wish) {
            return Err(Wrong::full());
        }
        context.remove_in(&context.home(), "seats", &key(was, from));
        seat(context, wish, subject);
        Ok(if from == subject { StatusCode::OK } else { StatusCode::CREATED })
    })
}

fn delete(context: &mut Context<'_>) -> Handled {
    each(context, "delete", |context, item| {
        let (subject, kind) = (subject(item)?, text(item, "type"));
        let gone = context.remove_in(&context.home(), "seats", &key(kind, subject));
        gone.map(|_| StatusCode::OK).ok_or_else(Wrong::missing)
    })
}
