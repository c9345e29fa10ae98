//! How far the simulation can be trusted, operation by operation.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::resources;
use crate::contract::{Published, contract};

/// What is simulated, and by whose word.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Fidelity {
    /// The operation.
    pub operation: &'static Published,
    /// How it is answered.
    pub standing: Standing,
}

/// How an operation is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As the published specification of its service says.
    Documented,
    /// So too, and where nothing is published as assumed here.
    Assumed(Vec<String>),
    /// With 501 and its name.
    NotSimulated,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    assumptions: Vec<Assumption>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Assumption {
    what: String,
    of: Vec<String>,
}

/// How each operation of the contract is answered, in the contract's order.
///
/// # Panics
/// Never: the embedded file is held to its form by a test.
#[must_use]
pub fn fidelity() -> Vec<Fidelity> {
    let file: File = toml::from_str(include_str!("assumptions.toml")).expect("the embedded assumptions can be read");
    let mut assumed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for assumption in file.assumptions {
        for id in assumption.of {
            assumed.entry(id).or_default().push(assumption.what.clone());
        }
    }
    let standing = |operation: &Published| match assumed.get(operation.id) {
        _ if resources::handler(operation.id).is_none() => Standing::NotSimulated,
        Some(what) => Standing::Assumed(what.clone()),
        None => Standing::Documented,
    };
    contract().operations().map(|operation| Fidelity { operation, standing: standing(operation) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_assumption_is_about_what_is_simulated() {
        let file: File = toml::from_str(include_str!("assumptions.toml")).unwrap();
        for id in file.assumptions.iter().flat_map(|assumption| &assumption.of) {
            assert!(contract().operation(id).is_some(), "{id} is no operation");
            assert!(resources::handler(id).is_some(), "{id} is not simulated");
        }
    }
}
