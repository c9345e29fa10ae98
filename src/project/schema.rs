use std::path::Path;

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use super::Customer;
use super::document::Node;
use super::input::{InputError, Problem, Source};
use crate::suggest::nearest;

/// What a playbook expects of its customers (`@inputs`): a JSON Schema.
#[derive(Debug)]
pub struct Schema {
    document: Value,
    validator: Validator,
}

impl Schema {
    /// The schema in this JSON or YAML file. It may refer to its own parts, not to other files or addresses.
    ///
    /// # Errors
    /// When it cannot be read or is not a schema.
    pub fn load(path: &Path) -> Result<Self, InputError> {
        let source = Source::read(path)?;
        let tree = Node::read(&source)?;
        let document = tree.to_value();
        let validator = build(&document).map_err(|error| {
            let path: Vec<String> = steps(error.instance_path().as_str());
            let span = tree.place_of(path.iter().map(String::as_str));
            source.problem(span, format!("is not a JSON Schema: {error}"))
        })?;
        Ok(Self { document, validator })
    }

    /// This schema.
    ///
    /// # Errors
    /// When it is not a schema.
    pub fn from_value(document: Value) -> Result<Self, InputError> {
        let validator = build(&document).map_err(|error| Problem::new(format!("is not a JSON Schema: {error}")))?;
        Ok(Self { document, validator })
    }

    /// The schema itself.
    #[must_use]
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// The customer as the playbook gets it: the cells of a spreadsheet row become numbers and flags where the schema
    /// says so; everything else stays as it was written.
    ///
    /// # Errors
    /// Every way in which the customer breaks the schema, each with its place.
    pub fn admit(&self, customer: &Customer) -> Result<Customer, InputError> {
        let mut values = customer.values().clone();
        if customer.is_row() {
            self.type_cells(&mut values, &self.document, 0);
        }
        let customer = customer.with_values(values);
        let mut problems = Vec::new();
        for error in self.validator.iter_errors(customer.values()) {
            self.explain(&customer, &error, &mut problems);
        }
        if problems.is_empty() {
            return Ok(customer);
        }
        problems.sort_by_key(|problem| problem.place.as_ref().map(|place| (place.line, place.column)));
        problems.dedup();
        Err(InputError::new(problems))
    }

    fn type_cells(&self, value: &mut Value, schema: &Value, depth: usize) {
        let Some(schema) = self.follow(schema) else { return };
        match value {
            Value::Object(map) if depth < super::document::DEEPEST => {
                for (key, inner) in map {
                    self.type_cells(inner, &schema["properties"][key.as_str()], depth + 1);
                }
            }
            Value::String(text) => {
                let wants = |kind: &str| match &schema["type"] {
                    Value::String(only) => only == kind,
                    Value::Array(kinds) => kinds.iter().any(|one| one == kind),
                    _ => false,
                };
                let leading_zero =
                    text.trim_start_matches('-').len() > 1 && text.trim_start_matches('-').starts_with('0');
                let typed = match text.to_ascii_lowercase().as_str() {
                    "true" if wants("boolean") => Some(Value::Bool(true)),
                    "false" if wants("boolean") => Some(Value::Bool(false)),
                    _ if wants("string") => None,
                    _ if wants("integer") && !leading_zero => text.parse().ok().map(|number: i64| number.into()),
                    _ if wants("number") => text
                        .parse()
                        .ok()
                        .map(|number: i64| number.into())
                        .or_else(|| text.parse().ok().and_then(serde_json::Number::from_f64).map(Value::Number)),
                    _ => None,
                };
                if let Some(typed) = typed {
                    *value = typed;
                }
            }
            _ => {}
        }
    }

    /// The schema that `schema` refers to inside this document, or itself.
    fn follow<'s>(&'s self, mut schema: &'s Value) -> Option<&'s Value> {
        for _ in 0..16 {
            match schema["$ref"].as_str() {
                Some(reference) => schema = self.document.pointer(reference.strip_prefix('#')?)?,
                None => return Some(schema),
            }
        }
        None
    }

    fn explain(&self, customer: &Customer, error: &ValidationError<'_>, problems: &mut Vec<Problem>) {
        let pointer = error.instance_path().as_str();
        let path = steps(pointer);
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let named = if pointer.is_empty() { String::new() } else { format!("{pointer}: ") };
        let schema = self.document.pointer(parent(error.schema_path().as_str()));
        match error.kind() {
            Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
                let known: Vec<&str> = schema
                    .and_then(|schema| schema["properties"].as_object())
                    .map(|properties| properties.keys().map(String::as_str).collect())
                    .unwrap_or_default();
                for key in unexpected {
                    let hint = match nearest(key, known.iter().copied()) {
                        Some(nearest) => Some(format!("did you mean `{nearest}`?")),
                        None if known.is_empty() => None,
                        None => Some(format!("known are {}", known.join(", "))),
                    };
                    let message = format!("{named}there is no field `{key}`");
                    problems.push(customer.problem_of_key(&path, key, message).maybe_hint(hint));
                }
            }
            Kind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                let wanted = schema.map(|schema| &schema["properties"][name]).and_then(|schema| self.follow(schema));
                let hint = wanted.and_then(describe);
                problems
                    .push(customer.problem_of_missing(&path, format!("{named}`{name}` is missing")).maybe_hint(hint));
            }
            Kind::Enum { options } => {
                let options: Vec<String> = options.as_array().into_iter().flatten().map(plain).collect();
                let given = plain(error.instance());
                let hint =
                    nearest(&given, options.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"));
                let message = format!("{named}`{given}` is not one of {}", options.join(", "));
                problems.push(customer.problem(&path, message).maybe_hint(hint));
            }
            Kind::Type { kind } => {
                let wanted = match kind {
                    TypeKind::Single(kind) => kind_name(&kind.to_string()),
                    TypeKind::Multiple(kinds) => {
                        kinds.iter().map(|kind| kind_name(&kind.to_string())).collect::<Vec<_>>().join(" or ")
                    }
                };
                let message = format!("{named}must be {wanted} and is {}", kind_of(error.instance()));
                problems.push(customer.problem(&path, message).maybe_hint(schema.and_then(describe)));
            }
            Kind::Format { format } => {
                let message = format!("{named}`{}` is not a valid {format}", shortened(error.instance()));
                problems.push(customer.problem(&path, message).maybe_hint(schema.and_then(describe)));
            }
            Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
                self.explain_choice(customer, error, context, problems);
            }
            Kind::Referencing(_) => {
                problems.push(Problem::new(format!("the schema refers to what is not there: {error}")));
            }
            _ => {
                let message = format!("{named}{}", error.masked_with(format!("`{}`", shortened(error.instance()))));
                problems.push(customer.problem(&path, message).maybe_hint(schema.and_then(describe)));
            }
        }
    }

    /// Of several forms that a value may have, the one that was probably meant: its errors lie deepest, and it has fewest.
    fn explain_choice(
        &self,
        customer: &Customer,
        error: &ValidationError<'_>,
        context: &[Vec<ValidationError<'static>>],
        problems: &mut Vec<Problem>,
    ) {
        let at = error.instance_path().as_str();
        let wrong_kind = |branch: &&Vec<ValidationError<'static>>| {
            let own = |error: &ValidationError<'_>| {
                let where_ = error.instance_path().as_str();
                // A constant tells forms apart: `kind: oidc`.
                matches!(error.kind(), Kind::Constant { .. })
                    || (where_ == at && matches!(error.kind(), Kind::Type { .. }))
            };
            (branch.iter().filter(|error| own(error)).count(), branch.len())
        };
        let meant = context.iter().min_by_key(wrong_kind);
        let told = meant.filter(|branch| !branch.is_empty() && wrong_kind(branch).0 == 0);
        if let Some(branch) = told {
            for inner in branch {
                self.explain(customer, inner, problems);
            }
            return;
        }
        let path = steps(at);
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let named = if at.is_empty() { String::new() } else { format!("{at}: ") };
        let mut reasons: Vec<String> = Vec::new();
        for inner in context.iter().filter_map(|branch| branch.first()) {
            let mut inner_problems = Vec::new();
            self.explain(customer, inner, &mut inner_problems);
            reasons.extend(inner_problems.into_iter().map(|problem| problem.message));
        }
        reasons.dedup();
        reasons.truncate(4);
        let message = format!("{named}fits none of the {} forms it may have", context.len());
        problems.push(customer.problem(&path, message).hint(reasons.join("; or ")));
    }
}

fn build(document: &Value) -> Result<Validator, ValidationError<'static>> {
    jsonschema::options().should_validate_formats(true).build(document)
}

/// The schema's own words about a value.
fn describe(schema: &Value) -> Option<String> {
    schema["description"].as_str().or_else(|| schema["title"].as_str()).map(str::to_owned)
}

/// The steps of a JSON pointer.
fn steps(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
}

fn parent(pointer: &str) -> &str {
    pointer.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// A value as a person would write it.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn shortened(value: &Value) -> String {
    let text = plain(value);
    if text.chars().count() > 60 { text.chars().take(57).chain("...".chars()).collect() } else { text }
}

fn kind_name(kind: &str) -> String {
    match kind {
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a set of named values",
        "null" => "empty",
        other => other,
    }
    .to_owned()
}

fn kind_of(value: &Value) -> String {
    match value {
        Value::Null => "empty".to_owned(),
        Value::String(text) => format!("the text `{}`", shortened(&text.as_str().into())),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a set of named values".to_owned(),
        other => format!("`{}`", shortened(other)),
    }
}
