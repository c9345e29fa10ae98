//! Plans of many customers, by what they have in common: who reviews three hundred of them reads three shapes.

use std::collections::BTreeSet;

use tenantry::{Plan, PlannedChange, RunStatus};

use super::step::word;

/// Plans that change the same kinds of things, at the same lines, in the same fields. How many of a kind, their names and
/// values are each customer's own.
pub(crate) struct Shape<'p> {
    pub(crate) plans: Vec<&'p Plan>,
    form: Form,
}

#[derive(PartialEq)]
struct Form {
    ended: (RunStatus, Option<String>),
    kinds: BTreeSet<Kind>,
    leaves: bool,
}

/// What changes of one kind have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    change: &'static str,
    noun: String,
    site: Option<String>,
    fields: BTreeSet<String>,
    operations: BTreeSet<String>,
}

/// The plans by their shapes, in the order in which these come first.
pub(crate) fn shapes(plans: &[Plan]) -> Vec<Shape<'_>> {
    let mut shapes: Vec<Shape<'_>> = Vec::new();
    for plan in plans {
        let form = Form {
            ended: (plan.status, plan.error.as_ref().map(|error| error.message.clone())),
            kinds: plan.changes.iter().map(Kind::of).collect(),
            leaves: plan.unmentioned.as_ref().is_some_and(|left| !left.is_empty()),
        };
        match shapes.iter_mut().find(|shape| shape.form == form) {
            Some(shape) => shape.plans.push(plan),
            None => shapes.push(Shape { plans: vec![plan], form }),
        }
    }
    shapes
}

impl Kind {
    pub(crate) fn of(change: &PlannedChange) -> Self {
        let (noun, name) = named(&change.subject);
        // Files are named after what they belong to.
        let field = |field: &str| if name.is_empty() { field.to_owned() } else { field.replace(name, "*") };
        Self {
            change: word(change.change),
            noun: noun.to_owned(),
            site: change.site.as_ref().map(|site| format!("{}:{}", site.file, site.line)),
            fields: change.fields.iter().map(|change| field(&change.field)).collect(),
            operations: change.requests.iter().map(|request| request.operation.clone()).collect(),
        }
    }
}

/// What a thing is, and its name: `space` and `Staging` of `space "Staging"`.
fn named(subject: &str) -> (&str, &str) {
    match subject.split_once('"') {
        Some((noun, name)) => (noun.trim_end(), name.split('"').next().unwrap_or_default()),
        None => (subject, ""),
    }
}

impl<'p> Shape<'p> {
    /// The customers, by code.
    pub(crate) fn customers(&self) -> impl ExactSizeIterator<Item = &'p str> {
        self.plans.iter().map(|plan| plan.customer.as_str())
    }

    /// The plan that stands for all.
    pub(crate) fn first(&self) -> &'p Plan {
        // A shape begins with a plan.
        self.plans[0]
    }

    /// What the other customers' plans have of this kind.
    pub(crate) fn others(&self, kind: &Kind) -> impl Iterator<Item = (&'p Plan, &'p PlannedChange)> {
        let of = |plan: &'p Plan| plan.changes.iter().map(move |change| (plan, change));
        self.plans.iter().skip(1).copied().flat_map(of).filter(move |(_, change)| Kind::of(change) == *kind)
    }
}
