//! From a method and a path to the operation that answers there.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::violation::{Place, Violation};
use crate::suggest::did_you_mean;

/// The variables of a path by name, decoded.
pub type PathVars = BTreeMap<String, String>;

/// Everything but RFC 3986's unreserved characters is encoded.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A path's segments as a tree. A variable matches whatever its name, because Qlik names the same position differently
/// in different paths (`{appId}` and `{guid}`).
#[derive(Debug, Default)]
pub(super) struct Routes {
    literals: HashMap<&'static str, Routes>,
    variable: Option<Box<Routes>>,
    /// Operations that end here.
    ends: Vec<(Method, usize)>,
    /// Operations whose last variable takes all segments from here on.
    rests: Vec<(Method, usize)>,
}

impl Routes {
    /// Enters the operation of that `index`. `takes_rest`: its last variable may contain slashes.
    pub(super) fn insert(&mut self, method: Method, template: &'static str, takes_rest: bool, index: usize) {
        let mut node = self;
        let mut segments = segments(template).peekable();
        while let Some(segment) = segments.next() {
            if takes_rest && segments.peek().is_none() {
                node.rests.push((method, index));
                return;
            }
            node = match variable_name(segment) {
                Some(_) => node.variable.get_or_insert_default(),
                None => node.literals.entry(segment).or_default(),
            };
        }
        node.ends.push((method, index));
    }

    /// The operation for `method` at `path`. A literal segment is preferred to a variable, a single variable to one that
    /// takes the rest; where the preferred branch has nothing for the method the next is tried.
    pub(super) fn find(&self, method: &Method, path: &str) -> Option<usize> {
        let segments: Vec<&str> = segments(path).collect();
        self.walk(method, &segments)
    }

    fn walk(&self, method: &Method, segments: &[&str]) -> Option<usize> {
        let Some((first, rest)) = segments.split_first() else {
            return of_method(&self.ends, method);
        };
        if let Some(found) = self.literals.get(first).and_then(|next| next.walk(method, rest)) {
            return Some(found);
        }
        if first.is_empty() {
            return None;
        }
        let single = self.variable.as_ref().and_then(|next| next.walk(method, rest));
        single.or_else(|| of_method(&self.rests, method))
    }
}

fn of_method(ends: &[(Method, usize)], method: &Method) -> Option<usize> {
    ends.iter().find(|(known, _)| known == method).map(|(_, index)| *index)
}

fn segments(path: &str) -> std::str::Split<'_, char> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

fn variable_name(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// The names of a template's variables, in order.
pub(super) fn variables(template: &'static str) -> impl Iterator<Item = &'static str> {
    segments(template).filter_map(variable_name)
}

/// The variables of `path`, which is known to match `template`. `None` when one is not UTF-8.
pub(super) fn extract(template: &str, takes_rest: bool, path: &str) -> Option<PathVars> {
    let mut variables = PathVars::new();
    let mut given = segments(path);
    let mut names = segments(template).peekable();
    while let Some(segment) = names.next() {
        let value = given.next()?;
        let Some(name) = variable_name(segment) else { continue };
        let mut value = decode(value)?.into_owned();
        if takes_rest && names.peek().is_none() {
            for more in given.by_ref() {
                value.push('/');
                value.push_str(&decode(more)?);
            }
        }
        variables.insert(name.to_owned(), value);
    }
    Some(variables)
}

fn decode(segment: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(segment).decode_utf8().ok()
}

/// `template` with its variables filled in and percent-encoded.
pub(super) fn expand(
    template: &'static str,
    takes_rest: bool,
    values: &BTreeMap<String, String>,
) -> Result<String, Violation> {
    if let Some(unknown) = values.keys().find(|given| !variables(template).any(|known| known == given.as_str())) {
        return Err(Violation::new(Place::Path, unknown, format!("`{template}` has no variable `{unknown}`"))
            .hint(did_you_mean(unknown, variables(template))));
    }
    let mut path = String::with_capacity(template.len() + 32);
    let mut names = segments(template).peekable();
    while let Some(segment) = names.next() {
        path.push('/');
        let Some(name) = variable_name(segment) else {
            path.push_str(segment);
            continue;
        };
        let value = values
            .get(name)
            .ok_or_else(|| Violation::new(Place::Path, name, format!("path variable `{name}` is missing")))?;
        // Only a variable that takes the rest has segments of its own; elsewhere a slash is part of the value.
        let parts: Vec<&str> =
            if takes_rest && names.peek().is_none() { value.split('/').collect() } else { vec![value.as_str()] };
        for (place, part) in parts.into_iter().enumerate() {
            if let Some(reason) = unaddressable(part) {
                return Err(Violation::new(Place::Path, name, format!("path variable `{name}` {reason}: `{value}`")));
            }
            if place > 0 {
                path.push('/');
            }
            path.extend(utf8_percent_encode(part, RESERVED));
        }
    }
    Ok(path)
}

/// URL libraries resolve `.` and `..` however they are encoded, so such a value would address another resource; an
/// empty one would address the list.
fn unaddressable(part: &str) -> Option<&'static str> {
    match part {
        "" => Some("has an empty segment"),
        "." | ".." => Some("may not be a dot segment"),
        _ => None,
    }
}
