//! What there is to know of plans besides what they change.

use std::collections::BTreeMap;

use tenantry::{Plan, Seats};

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
    notes
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
