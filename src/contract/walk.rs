//! Walks a value along its schema and collects what does not fit.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::fault::Fault;
use super::schema::{Additional, Format, Schema, Types};
use super::violation::{Place, Violation};
use crate::operation::secret;

/// More violations than anybody reads are not collected.
const ENOUGH: usize = 32;

/// Deeper values are taken unseen: the boundary to scripts and the parser both refuse them before.
const DEEPEST: usize = 256;

/// How a value is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Whether it is sent by us: then a secret reference stands for a string, and what only the service sets is not
    /// missed.
    pub(super) request: bool,
    /// Whether members that the schema does not list are refused.
    pub(super) unknown: bool,
}

/// A step from a value into a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step<'v> {
    Member(&'v str),
    Item(usize),
}

/// A fault and where it is.
type Found<'v> = (Vec<Step<'v>>, Fault);

/// One walk.
struct Walk<'v> {
    manner: Manner,
    at: Vec<Step<'v>>,
    found: Vec<Found<'v>>,
}

/// What of `value` does not fit `schema`. `subject` names the value as a whole: "the body", "`limit`".
pub(super) fn faults(schema: &Schema, value: &Value, manner: Manner, place: Place, subject: &str) -> Vec<Violation> {
    let mut walk = Walk { manner, at: Vec::new(), found: Vec::new() };
    walk.value(schema, value, manner.unknown);
    walk.found
        .into_iter()
        .map(|(at, fault)| {
            let subject = name(&at).unwrap_or_else(|| subject.to_owned());
            fault.violation(place, pointer(&at), &subject)
        })
        .collect()
}

impl<'v> Walk<'v> {
    /// Checks one value. `unknown`: unlisted members are refused here; a part of a composition leaves that to the whole.
    fn value(&mut self, schema: &Schema, value: &'v Value, unknown: bool) {
        if self.at.len() > DEEPEST || self.found.len() >= ENOUGH {
            return;
        }
        let schema = schema.resolved();
        if self.manner.request && secret::name(value).is_some() {
            if !schema.types.admits(Types::named("string")) {
                self.fault(Fault::Type { wanted: schema.types, found: Types::named("string") });
            }
            return;
        }
        let found = Types::of(value);
        if !schema.types.admits(found) {
            self.fault(Fault::Type { wanted: schema.types, found });
            return;
        }
        if !schema.choices.is_empty() && !schema.choices.iter().any(|choice| is_choice(choice, value)) {
            self.fault(Fault::Choice { found: value.clone(), allowed: schema.choices.clone() });
        }
        // An alternative tells its unknown members itself, unless the whole lists some too: then only the union of all
        // lists can tell.
        let alternatives_tell =
            !schema.any_of.is_empty() && schema.all_of.is_empty() && schema.properties().next().is_none();
        match value {
            Value::String(text) => self.text(schema, text),
            Value::Number(number) => self.number(schema, number.as_f64().unwrap_or(0.0)),
            Value::Array(items) => self.items(schema, items),
            Value::Object(members) => self.members(schema, members, unknown && !alternatives_tell),
            Value::Null | Value::Bool(_) => {}
        }
        for part in &schema.all_of {
            self.value(part, value, false);
        }
        if !schema.any_of.is_empty() {
            self.alternatives(&schema.any_of, value, unknown && alternatives_tell);
        }
    }

    fn text(&mut self, schema: &Schema, text: &'v str) {
        if schema.min_length.is_some() || schema.max_length.is_some() {
            let length = text.chars().count();
            if let Some(most) = schema.max_length.filter(|most| length > *most) {
                self.fault(Fault::TooLong { length, most });
            }
            if let Some(least) = schema.min_length.filter(|least| length < *least) {
                self.fault(Fault::TooShort { length, least });
            }
        }
        if let Some(pattern) = schema.pattern.as_ref().filter(|pattern| !pattern.matches(text)) {
            self.fault(Fault::Pattern { text: text.to_owned(), pattern: pattern.source().to_owned() });
        }
        if let Some(wanted) = schema.format.and_then(|format| misformatted(format, text)) {
            self.fault(Fault::Format { text: text.to_owned(), wanted });
        }
    }

    fn number(&mut self, schema: &Schema, number: f64) {
        let int32 = schema.format == Some(Format::Int32);
        let most = schema.maximum.or(int32.then_some(f64::from(i32::MAX)));
        let least = schema.minimum.or(int32.then_some(f64::from(i32::MIN)));
        if let Some(most) = most.filter(|most| number > *most) {
            self.fault(Fault::TooLarge { number, most });
        }
        if let Some(least) = least.filter(|least| number < *least) {
            self.fault(Fault::TooSmall { number, least });
        }
        if let Some(of) = schema.multiple_of.filter(|of| number % *of != 0.0) {
            self.fault(Fault::NotMultiple { number, of });
        }
    }

    fn items(&mut self, schema: &Schema, items: &'v [Value]) {
        let count = items.len();
        if let Some(most) = schema.max_items.filter(|most| count > *most) {
            self.fault(Fault::TooManyItems { count, most });
        }
        if let Some(least) = schema.min_items.filter(|least| count < *least) {
            self.fault(Fault::TooFewItems { count, least });
        }
        if schema.unique_items {
            // Such lists are scopes, tags and origins: short, and of strings.
            let mut seen = std::collections::HashSet::with_capacity(count);
            if let Some(index) = items.iter().position(|item| !seen.insert(item.to_string())) {
                self.fault(Fault::Repeated { index });
            }
        }
        let Some(like) = &schema.items else { return };
        for (index, item) in items.iter().enumerate() {
            self.at.push(Step::Item(index));
            self.value(like, item, self.manner.unknown);
            self.at.pop();
        }
    }

    fn members(&mut self, schema: &Schema, members: &'v Map<String, Value>, unknown: bool) {
        if let Some(most) = schema.max_properties.filter(|most| members.len() > *most) {
            self.fault(Fault::TooManyMembers { count: members.len(), most });
        }
        let closed = unknown.then(|| {
            let mut names = Vec::new();
            schema.known(&mut names).then_some(names)
        });
        for (name, member) in members {
            self.at.push(Step::Member(name));
            match (schema.property(name), &schema.additional) {
                (Some(like), _) => self.value(like, member, self.manner.unknown),
                (None, Additional::Like(like)) => self.value(like, member, self.manner.unknown),
                (None, Additional::Any | Additional::Unstated) => {}
            }
            if let Some(Some(known)) = closed.as_ref().filter(|known| !is_known(known.as_ref(), name)) {
                let mut known = known.clone();
                known.sort_unstable();
                known.dedup();
                self.fault(Fault::Unknown { name: name.clone(), known });
            }
            self.at.pop();
        }
        // After the unknown ones: what is missing is then often there under a wrong name.
        for name in &schema.required {
            let theirs = self.manner.request && schema.property(name).is_some_and(|known| known.resolved().read_only);
            if !members.contains_key(*name) && !theirs {
                self.fault(Fault::Missing { name });
            }
        }
    }

    /// Enough that one alternative fits. When none does, the faults of the one that was most likely meant are told.
    fn alternatives(&mut self, alternatives: &[Schema], value: &'v Value, unknown: bool) {
        let depth = self.at.len();
        let mut tried = Vec::with_capacity(alternatives.len());
        for alternative in alternatives {
            let mut walk = Self { manner: self.manner, at: self.at.clone(), found: Vec::new() };
            walk.value(alternative, value, unknown);
            if walk.found.is_empty() {
                return;
            }
            tried.push(walk.found);
        }
        let mut wanted = Types::default();
        let all_types = tried.iter().all(|faults| match faults.as_slice() {
            [(at, Fault::Type { wanted: types, .. })] if at.len() == depth => {
                wanted = wanted.or(*types);
                true
            }
            _ => false,
        });
        if all_types {
            self.fault(Fault::Type { wanted, found: Types::of(value) });
            return;
        }
        let unlikeness = |faults: &Vec<Found>| {
            let weight = |(at, fault): &Found| fault.weight(at.len() > depth + 1);
            let strange = faults.iter().filter(|(_, fault)| fault.is_strange()).count();
            (faults.iter().map(weight).sum::<u32>(), strange)
        };
        let Some(likeliest) = (0..tried.len()).min_by_key(|index| unlikeness(&tried[*index])) else { return };
        let mut faults = tried.swap_remove(likeliest);
        // Where the alternatives differ by one field and it has none of their values, all of them are allowed.
        for (at, fault) in &mut faults {
            let Some(allowed) = fault.discriminator() else { continue };
            for (_, other) in tried.iter_mut().flatten().filter(|(other, _)| same(other, at)) {
                allowed.extend(other.discriminator().into_iter().flat_map(std::mem::take));
            }
        }
        self.found.extend(faults);
    }

    fn fault(&mut self, fault: Fault) {
        if self.found.len() < ENOUGH {
            self.found.push((self.at.clone(), fault));
        }
    }
}

fn same(a: &[Step], b: &[Step]) -> bool {
    a == b
}

fn is_known(known: Option<&Vec<&'static str>>, name: &str) -> bool {
    known.is_none_or(|known| known.contains(&name))
}

/// Whether `value` is the published `choice`. JSON-Patch paths hold variables: `/systemGroups/{id}/assignedRoles`.
fn is_choice(choice: &Value, value: &Value) -> bool {
    match (choice, value) {
        (Value::String(choice), Value::String(value)) if choice.contains('{') => {
            let mut segments = value.split('/');
            choice.split('/').all(|known| {
                segments.next().is_some_and(|given| given == known || (known.starts_with('{') && !given.is_empty()))
            }) && segments.next().is_none()
        }
        _ => choice == value,
    }
}

fn misformatted(format: Format, text: &str) -> Option<&'static str> {
    match format {
        Format::Uuid => uuid::Uuid::try_parse(text).is_err().then_some("a UUID"),
        Format::DateTime => {
            text.parse::<jiff::Timestamp>().is_err().then_some("a date and time like 2026-11-24T08:00:00Z")
        }
        Format::Date => text.parse::<jiff::civil::Date>().is_err().then_some("a date like 2026-11-24"),
        Format::Int32 | Format::Binary => None,
    }
}

/// How a person calls the place: "`name`", "`roles[1]`".
fn name(at: &[Step]) -> Option<String> {
    let member = at.iter().rposition(|step| matches!(step, Step::Member(_)));
    let mut text = String::from("`");
    if let Some(Step::Member(name)) = member.map(|member| at[member]) {
        text.push_str(name);
    } else if at.is_empty() {
        return None;
    }
    for step in &at[member.map_or(0, |member| member + 1)..] {
        if let Step::Item(index) = step {
            let _ = write!(text, "[{index}]");
        }
    }
    text.push('`');
    Some(text)
}

fn pointer(at: &[Step]) -> String {
    let mut text = String::new();
    for step in at {
        let _ = match step {
            Step::Member(name) => write!(text, "/{}", name.replace('~', "~0").replace('/', "~1")),
            Step::Item(index) => write!(text, "/{index}"),
        };
    }
    text
}
