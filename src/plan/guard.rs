use serde::{Deserialize, Serialize};

/// What may end a plan, and whether it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    /// `permissions`, `seats` or `first_token`.
    pub name: String,
    /// Whether it ended the plan.
    pub fired: bool,
    /// Why it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The guards there are, each with the codes of the failures by which it ends a plan.
const GUARDS: [(&str, &[&str]); 3] = [
    // Only what the playbook's @permits line names is written.
    ("permissions", &["tenantry/not-permitted"]),
    // No more seats are given than the licence has. The second is Qlik Cloud's own word for it.
    ("seats", &["tenantry/no-seats", "LICENSES-011"]),
    // No client comes to a tenant for the first time without being asked for.
    ("first_token", &["tenantry/first-token"]),
];

/// What each guard says of a plan that ended with a failure of this code and message, or without one.
#[must_use]
pub fn verdicts(ended: Option<(&str, &str)>) -> Vec<Guard> {
    let verdict = |(name, codes): &(&str, &[&str])| {
        let why = ended.filter(|(code, _)| codes.contains(code)).map(|(_, why)| why.to_owned());
        Guard { name: (*name).to_owned(), fired: why.is_some(), why }
    };
    GUARDS.iter().map(verdict).collect()
}
