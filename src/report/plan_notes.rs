//! What there is to know of plans besides what they change.

use tenantry::Plan;

use super::plan_text::listed;

/// What a person is to know before these plans are applied, in sentences.
pub(super) fn notes(plans: &[&Plan]) -> Vec<String> {
    let mut hosts: Vec<&str> = plans.iter().flat_map(|plan| &plan.first_tokens).map(String::as_str).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let mut notes = Vec::new();
    if !hosts.is_empty() {
        let hosts = listed(hosts.into_iter());
        notes.push(format!("this client's first token on {hosts}: its bot user is there now, and may have a seat"));
    }
    notes
}
