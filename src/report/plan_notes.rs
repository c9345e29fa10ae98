//! What there is to know of plans besides what they change.

use std::collections::BTreeMap;

use tenantry::{Plan, PlannedChange, Seats};

use super::plan_text::listed;
use super::text::{clean_line, count};

/// What a person is to know before these plans are applied, in sentences.
pub(super) fn notes(plans: &[&Plan]) -> Vec<String> {
    let mut hosts: Vec<&str> = plans.iter().flat_map(|plan| &plan.first_tokens).map(String::as_str).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let mut notes: Vec<String> = seats(plans).into_iter().collect();
    if !hosts.is_empty() {
        let hosts = listed(hosts.into_iter());
        notes.push(format!("this client's first token on {hosts}: its bot user is there now, and may have a seat"));
    }
    let steps = plans.iter().flat_map(|plan| &plan.changes).flat_map(|change| &change.requests);
    let lasting = steps.filter(|request| request.irreversible.is_some()).count();
    if lasting > 0 {
        notes.push(format!("{} cannot be taken back", count(lasting as u64, "step")));
    }
    notes
}

/// What a person is to know of one change, in sentences.
pub(super) fn warnings(planned: &PlannedChange) -> Vec<String> {
    let mut warnings = Vec::new();
    for request in &planned.requests {
        if request.assumed {
            warnings.push(clean_line(&format!("outcome of {} assumed from the contract", request.operation)));
        }
        let lasting = request.irreversible.as_ref().map(|why| clean_line(&format!("cannot be taken back: {why}")));
        warnings.extend(lasting.filter(|why| !warnings.contains(why)));
    }
    warnings
}

/// The seats that all of them need, and how many the first finds.
fn seats(plans: &[&Plan]) -> Option<String> {
    let mut kinds: BTreeMap<&str, (i64, &Seats)> = BTreeMap::new();
    for seats in plans.iter().flat_map(|plan| &plan.seats) {
        kinds.entry(&seats.kind).or_insert((0, seats)).0 += seats.needed;
    }
    let kind = |(kind, (needed, seats)): (&str, (i64, &Seats))| {
        let left = match seats.left {
            _ if seats.unbounded => "as many as you like".to_owned(),
            Some(left) => left.to_string(),
            None => "not known how many are".to_owned(),
        };
        let kind = clean_line(kind);
        match u64::try_from(needed) {
            Ok(needed) => format!("{} needed, {left} left", count(needed, &format!("{kind} seat"))),
            Err(_) => format!("{} given back, {left} left", count(needed.unsigned_abs(), &format!("{kind} seat"))),
        }
    };
    (!kinds.is_empty()).then(|| kinds.into_iter().map(kind).collect::<Vec<_>>().join("; "))
}
