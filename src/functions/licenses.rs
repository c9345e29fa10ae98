use std::collections::BTreeMap;

use rhai::plugin::*;
use rhai::{Array, Map as ScriptMap};
use serde_json::{Map, Value, json};

use super::converge::{earlier, settle};
use super::options::{self, invalid, only, options, script, suggestion, text};
use super::request::unexpected;
use super::tenant::Tenant;
use crate::event::{Change, FieldChange};
use crate::operation::{Failure, FailureKind, refused_items};
use crate::playbook::{Call, ScriptError};

/// `tenant.licenses`.
#[derive(Clone, Debug)]
pub(super) struct Licenses(pub(super) Tenant);

/// The kinds of seat that one user can be given.
const TYPES: [&str; 2] = ["professional", "analyzer"];

/// How many seats go into one request.
const BATCH: usize = 100;

fn auto_assign(call: &mut Call, tenant: &Tenant, given: ScriptMap) -> Result<(), ScriptError> {
    let given = options(call, given, &["professional", "analyzer", "autoAssignProfessional", "autoAssignAnalyzer"])?;
    let mut wanted = Map::new();
    for (field, value) in given {
        let field = match field.as_str() {
            "professional" => "autoAssignProfessional".to_owned(),
            "analyzer" => "autoAssignAnalyzer".to_owned(),
            _ => field,
        };
        if !value.is_boolean() {
            return Err(invalid(
                call,
                format!("`{field}` is {}; true or false is needed", options::kind(&value)),
                None,
            ));
        }
        wanted.insert(field, value);
    }
    let subject = "automatic assignment of seats".to_owned();
    settle(
        call,
        tenant.host_name(),
        &subject,
        &wanted,
        |_, value| value.clone(),
        |call| Ok(tenant.ask("getLicenseSettings", subject.clone()).send(call)?.json().clone()),
        |call, current, _| {
            // The settings are replaced as a whole.
            let mut whole = Map::new();
            for field in ["autoAssignProfessional", "autoAssignAnalyzer"] {
                if let Some(value) = wanted.get(field).or_else(|| current.get(field)) {
                    whole.insert(field.to_owned(), value.clone());
                }
            }
            tenant.ask("updateLicenseSettings", subject.clone()).json(Value::Object(whole)).send(call)?;
            Ok(())
        },
    )?;
    Ok(())
}

/// What is to be done about one wanted seat.
struct Seat {
    subject: String,
    kind: String,
    /// The seat the subject has now.
    held: Option<String>,
}

fn ensure_seats(call: &mut Call, tenant: &Tenant, given: &Array) -> Result<(), ScriptError> {
    let wanted = wanted_seats(call, given)?;
    for subject in wanted.keys() {
        // Seats belong to the organization, not to one tenant.
        call.claim("seats", subject)?;
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let held = tenant.ask("getLicenseAssignments", "seats").query("limit", "100").list(call)?;
    let held: BTreeMap<&str, &str> =
        held.iter().filter_map(|seat| Some((seat["subject"].as_str()?, seat["type"].as_str()?))).collect();
    let seats: Vec<Seat> = wanted
        .into_iter()
        .map(|(subject, kind)| Seat { held: held.get(subject.as_str()).map(|held| (*held).to_owned()), subject, kind })
        .collect();
    let (right, missing): (Vec<Seat>, Vec<Seat>) =
        seats.into_iter().partition(|seat| seat.held.as_deref() == Some(&seat.kind));
    if !right.is_empty() {
        call.step(earlier(call, &told(&right)), told(&right), Vec::new());
    }
    if missing.is_empty() {
        return Ok(());
    }
    check_pool(call, tenant, &missing)?;
    let (new, other): (Vec<Seat>, Vec<Seat>) = missing.into_iter().partition(|seat| seat.held.is_none());
    // What a change frees may be what a new seat needs.
    for batch in other.chunks(BATCH) {
        let update: Value = batch
            .iter()
            .map(|seat| json!({ "subject": seat.subject, "sourceType": seat.held, "type": seat.kind }))
            .collect();
        let ask = tenant.ask("updateLicenseAssignments", told(batch)).json(json!({ "update": update }));
        assign(call, ask, "updateLicenseAssignments", batch, Change::Updated)?;
    }
    for batch in new.chunks(BATCH) {
        let add: Value = batch.iter().map(|seat| json!({ "subject": seat.subject, "type": seat.kind })).collect();
        let ask = tenant.ask("addLicenseAssignments", told(batch)).json(json!({ "add": add }));
        assign(call, ask, "addLicenseAssignments", batch, Change::Created)?;
    }
    Ok(())
}

fn wanted_seats(call: &Call, given: &Array) -> Result<BTreeMap<String, String>, ScriptError> {
    let mut wanted = BTreeMap::new();
    for seat in given {
        let Value::Object(seat) = options::json(call, "seat", seat)? else {
            return Err(invalid(
                call,
                "a seat is a map",
                Some("write `#{ subject: \"hb|1001\", type: \"analyzer\" }`".to_owned()),
            ));
        };
        only(call, &seat, &["subject", "type"])?;
        let (subject, kind) = (text(call, &seat, "subject")?, text(call, &seat, "type")?);
        if !TYPES.contains(&kind.as_str()) {
            return Err(invalid(
                call,
                format!("`{kind}` is not a seat one user can be given"),
                Some(suggestion(&kind, &TYPES)),
            ));
        }
        if let Some(other) = wanted.insert(subject.clone(), kind.clone())
            && other != kind
        {
            return Err(invalid(call, format!("`{subject}` is given two different seats"), None));
        }
    }
    Ok(wanted)
}

/// Sends one batch and tells each item that the service took.
fn assign(
    call: &mut Call,
    ask: super::request::Ask,
    operation: &str,
    batch: &[Seat],
    change: Change,
) -> Result<(), ScriptError> {
    let response = ask.send(call)?;
    let result = read_items(call, operation, response.json(), "subject");
    // What was taken stays taken, whatever became of the others.
    let refused: Vec<&str> = refused_items(response.json()).filter_map(|item| item["subject"].as_str()).collect();
    let mut fields = Vec::new();
    for seat in batch.iter().filter(|seat| !refused.contains(&seat.subject.as_str())) {
        fields.push(FieldChange { field: seat.subject.clone(), before: json!(seat.held), after: json!(seat.kind) });
    }
    if !fields.is_empty() {
        call.step(change, told(batch), fields);
    }
    result
}

fn told(seats: &[Seat]) -> String {
    match seats {
        [one] => format!("{} seat of {}", one.kind, one.subject),
        many => format!("{} seats", many.len()),
    }
}

/// The pool is the organization's: taking more than is free would fail for some and not for others.
fn check_pool(call: &mut Call, tenant: &Tenant, missing: &[Seat]) -> Result<(), ScriptError> {
    let overview = tenant.ask("getLicenseOverview", "licence").send(call)?.json().clone();
    let Some(allotments) = overview["allotments"].as_array() else {
        return Err(unexpected(call, "getLicenseOverview", "`allotments`"));
    };
    for kind in TYPES {
        let needed = missing.iter().filter(|seat| seat.kind == kind).count();
        if needed == 0 {
            continue;
        }
        let Some(pool) = allotments.iter().find(|pool| pool["name"].as_str() == Some(kind)) else {
            return Err(call.throw(
                Failure::new(FailureKind::Denied, "tenantry/no-seats", format!("the licence has no {kind} seats"))
                    .hint("a subscription by capacity gives access by role, not by seat: leave the seats out"),
            ));
        };
        let units = |field: &str| pool[field].as_i64().unwrap_or_default();
        // -1 means without bound.
        if units("units") < 0 || units("overage") < 0 {
            continue;
        }
        let freed = missing.iter().filter(|seat| seat.held.as_deref() == Some(kind)).count();
        let free = units("units") + units("overage") - units("unitsUsed");
        let needed = i64::try_from(needed).unwrap_or(i64::MAX);
        if needed > free + i64::try_from(freed).unwrap_or_default() {
            return Err(call.throw(
                Failure::new(
                    FailureKind::Denied,
                    "tenantry/no-seats",
                    format!("{needed} {kind} seats are needed and {} are free", free.max(0)),
                )
                .detail(format!("{} of {} are in use in the whole organization", units("unitsUsed"), units("units")))
                .hint("free seats of users who are gone, or ask Qlik for more"),
            ));
        }
    }
    Ok(())
}

/// Reads every item of a 207: the status as a whole says nothing. Throws one error that names all that failed.
fn read_items(call: &Call, operation: &str, body: &Value, key: &str) -> Result<(), ScriptError> {
    let Some(items) = body["data"].as_array() else { return Err(unexpected(call, operation, "a list in `data`")) };
    let failed: Vec<&Value> = refused_items(body).collect();
    let Some(first) = failed.first() else { return Ok(()) };
    let line = |item: &&Value| {
        let what = item["title"].as_str().or_else(|| item["detail"].as_str()).unwrap_or("refused");
        format!("{}: {what} ({})", item[key].as_str().unwrap_or("?"), item["code"].as_str().unwrap_or("no code"))
    };
    let mut failure = Failure::new(
        FailureKind::Refused,
        first["code"].as_str().unwrap_or("tenantry/partial"),
        format!("{} of {} items were refused", failed.len(), items.len()),
    )
    .detail(failed.iter().map(line).collect::<Vec<_>>().join("; "));
    failure.status = first["status"].as_u64().and_then(|status| u16::try_from(status).ok());
    Err(call.throw(failure))
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// The organization's licence as Qlik describes it: its pools of seats under `allotments`, each with `units` and
    /// `unitsUsed` over all tenants. The licence key is a secret.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// for pool in tenant.licenses.overview().allotments { log(pool.name); }
    /// ```
    #[rhai_fn(name = "overview", pure, return_raw)]
    pub fn overview(context: NativeCallContext, licenses: &mut Licenses) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.licenses.overview")?;
        let overview = licenses.0.ask("getLicenseOverview", "licence").send(&mut call)?;
        script(&call, overview.json())
    }

    /// Sets whether users take a seat by themselves when they first come.
    ///
    /// - `options`: `professional`, `analyzer`: true or false. What is left out is left as it is.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.licenses.auto_assign(#{ professional: false, analyzer: false });
    /// ```
    #[rhai_fn(name = "auto_assign", pure, return_raw)]
    pub fn set_auto_assign(
        context: NativeCallContext,
        licenses: &mut Licenses,
        options: ScriptMap,
    ) -> Result<(), Box<EvalAltResult>> {
        auto_assign(&mut Call::begin(&context, "tenant.licenses.auto_assign")?, &licenses.0, options)
    }

    /// Makes sure these subjects have these seats. Seats that others hold stay.
    ///
    /// Checks first that the organization's pool has enough. When some are refused, the others are kept and the error names
    /// every refused one.
    ///
    /// - `seats`: a list of `#{ subject, type }` with the type `"professional"` or `"analyzer"`.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.licenses.ensure_seats([#{ subject: "hb|1001", type: "analyzer" }]);
    /// ```
    #[rhai_fn(name = "ensure_seats", pure, return_raw)]
    pub fn seats(context: NativeCallContext, licenses: &mut Licenses, seats: Array) -> Result<(), Box<EvalAltResult>> {
        ensure_seats(&mut Call::begin(&context, "tenant.licenses.ensure_seats")?, &licenses.0, &seats)
    }
}
