//! The one place where the simulation asks the contract.

use std::collections::BTreeMap;

use http::Method;

use crate::contract::{Published, contract};

/// The operation that a request means, and the values of the path's variables, decoded.
pub(super) fn find(method: &Method, path: &str) -> Option<(&'static Published, BTreeMap<String, String>)> {
    contract().find(method, path)
}
