use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::csv;
use super::document::{DEEPEST, EXTENSIONS, Kind, Node};
use super::input::{InputError, Problem, Source};
use crate::operation::secret;

/// The values of one customer, as a playbook sees them in `customer`.
///
/// They are an object with a text `code`, which is the customer's key in the registry: small letters, digits and `-`,
/// at most 41. Whole numbers fit 64 signed bits, nothing is nested more than 128 deep, and no key is `$secret`.
#[derive(Clone, Debug)]
pub struct Customer {
    code: String,
    values: Value,
    origin: Option<Arc<Origin>>,
}

/// Where a customer was read.
#[derive(Debug)]
struct Origin {
    source: Arc<Source>,
    places: Places,
}

#[derive(Debug)]
enum Places {
    Tree(Node),
    Row(Range<usize>),
}

impl Customer {
    /// A customer of these values.
    ///
    /// # Errors
    /// When they are not what a customer's values must be.
    pub fn from_value(values: Value) -> Result<Self, InputError> {
        check(&values, 1).map_err(Problem::new)?;
        Self::new(values, None)
    }

    /// The customers in a file or folder: one of a YAML, JSON or TOML file, many of a CSV file, and those of all such
    /// files of a folder, by file name. Hidden files, other files and inner folders are left out.
    ///
    /// # Errors
    /// Every problem of every file; and two customers with one code, naming both places.
    pub fn load(path: &Path) -> Result<Vec<Self>, InputError> {
        Self::load_all([path])
    }

    /// The customers in all these files and folders, as [`Customer::load`] reads each; their codes differ.
    ///
    /// # Errors
    /// Every problem of every file; and two customers with one code, naming both places.
    pub fn load_all<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Result<Vec<Self>, InputError> {
        let (mut customers, mut problems) = (Vec::new(), Vec::new());
        for path in paths {
            let files = if path.is_dir() { in_folder(path) } else { Ok(vec![path.to_owned()]) };
            match files {
                Ok(files) => {
                    for file in files {
                        match Self::read(&file) {
                            Ok(read) => customers.extend(read),
                            Err(error) => problems.extend(error.problems().iter().cloned()),
                        }
                    }
                }
                Err(error) => problems.extend(error.problems().iter().cloned()),
            }
        }
        let mut seen: BTreeMap<&str, &Self> = BTreeMap::new();
        for customer in &customers {
            if let Some(first) = seen.insert(&customer.code, customer) {
                let message = format!("the code `{}` is also in {}", customer.code, first.whereabouts());
                problems.push(customer.problem(&["code"], message).hint("each customer needs a code of its own"));
            }
        }
        if problems.is_empty() { Ok(customers) } else { Err(InputError::new(problems)) }
    }

    fn read(file: &Path) -> Result<Vec<Self>, InputError> {
        let source = Arc::new(Source::read(file)?);
        if file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
            let rows = csv::read(&source)?;
            if rows.is_empty() {
                return Err(Problem::new("has no customers")
                    .file(file)
                    .hint("one row below the column names for each")
                    .into());
            }
            let (mut customers, mut problems) = (Vec::new(), Vec::new());
            for row in rows {
                let origin = Origin { source: Arc::clone(&source), places: Places::Row(row.span) };
                match Self::new(Value::Object(row.values), Some(Arc::new(origin))) {
                    Ok(customer) => customers.push(customer),
                    Err(error) => problems.extend(error.problems().iter().cloned()),
                }
            }
            return if problems.is_empty() { Ok(customers) } else { Err(InputError::new(problems)) };
        }
        let tree = Node::read(&source)?;
        let values = tree.to_value();
        Ok(vec![Self::new(values, Some(Arc::new(Origin { source, places: Places::Tree(tree) })))?])
    }

    fn new(values: Value, origin: Option<Arc<Origin>>) -> Result<Self, InputError> {
        let mut customer = Self { code: String::new(), values, origin };
        let form = "small letters, digits and `-`, beginning with a letter or digit, at most 41";
        let (path, message, hint): (&[&str], _, _) = match &customer.values {
            Value::Object(values) => match values.get("code") {
                Some(Value::String(code)) if is_code(code) => {
                    customer.code = code.clone();
                    return Ok(customer);
                }
                Some(Value::String(code)) => {
                    (&["code"], format!("`{code}` cannot be a customer's code"), format!("use {form}"))
                }
                Some(Value::Number(code)) => {
                    (&["code"], "`code` must be text".to_owned(), format!("write it in quotes: \"{code}\""))
                }
                Some(_) => (&["code"], "`code` must be text".to_owned(), format!("use {form}")),
                None => (&[], "a customer needs a `code`".to_owned(), format!("add one: {form}")),
            },
            _ => (&[], "a customer must be a set of named values".to_owned(), "begin with code: NAME".to_owned()),
        };
        Err(customer.problem(path, message).hint(hint).into())
    }

    /// The customer's key in the registry.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The values: an object.
    #[must_use]
    pub fn values(&self) -> &Value {
        &self.values
    }

    /// The file it was read from.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.origin.as_ref().map(|origin| origin.source.path.as_path())
    }

    /// Whether every value is text because a spreadsheet knows nothing else.
    pub(super) fn is_row(&self) -> bool {
        self.origin.as_ref().is_some_and(|origin| matches!(origin.places, Places::Row(_)))
    }

    pub(super) fn with_values(&self, values: Value) -> Self {
        Self { values, ..self.clone() }
    }

    /// A problem with the value at the end of `path`.
    pub(super) fn problem(&self, path: &[&str], message: impl Into<String>) -> Problem {
        self.problem_at(message, |tree| tree.place_of(path.iter().copied()))
    }

    /// A problem with the key `key` in the object at the end of `path`.
    pub(super) fn problem_of_key(&self, path: &[&str], key: &str, message: impl Into<String>) -> Problem {
        self.problem_at(message, |tree| {
            tree.place_of_key(path.iter().copied(), key).unwrap_or_else(|| tree.place_of(path.iter().copied()))
        })
    }

    /// A problem with what is missing in the object at the end of `path`: shown at the object's first line.
    pub(super) fn problem_of_missing(&self, path: &[&str], message: impl Into<String>) -> Problem {
        self.problem_at(message, |tree| match path.split_last() {
            Some((last, parents)) => {
                tree.place_of_key(parents.iter().copied(), last).unwrap_or_else(|| tree.place_of(path.iter().copied()))
            }
            None => match &tree.kind {
                Kind::Map(entries) if !entries.is_empty() => entries[0].key_span.clone(),
                _ => tree.span.clone(),
            },
        })
    }

    fn problem_at(&self, message: impl Into<String>, place: impl FnOnce(&Node) -> Range<usize>) -> Problem {
        match &self.origin {
            None => Problem::new(message),
            Some(origin) => {
                let span = match &origin.places {
                    Places::Tree(tree) => place(tree),
                    Places::Row(span) => span.clone(),
                };
                origin.source.problem(span, message)
            }
        }
    }

    /// File, and line where a file holds many.
    fn whereabouts(&self) -> String {
        let Some(origin) = &self.origin else { return "another customer".to_owned() };
        let file = origin.source.path.display();
        match (&origin.places, self.problem(&[], "").place) {
            (Places::Row(_), Some(place)) => format!("{file}:{}", place.line),
            _ => file.to_string(),
        }
    }
}

fn in_folder(folder: &Path) -> Result<Vec<PathBuf>, InputError> {
    let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let entries = entries.map_err(|error| Problem::new(format!("cannot be read: {error}")).file(folder))?;
    let mut files: Vec<PathBuf> = entries
        .into_iter()
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .filter(|path| {
            let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
            extension == "csv" || EXTENSIONS.contains(&extension.as_str())
        })
        .collect();
    files.sort();
    if files.is_empty() {
        let hint = format!("customers are files that end with .{} or .csv", EXTENSIONS.join(", ."));
        return Err(Problem::new("has no customers").file(folder).hint(hint).into());
    }
    Ok(files)
}

fn is_code(code: &str) -> bool {
    code.len() <= 41
        && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !code.starts_with('-')
        && !code.is_empty()
}

/// What is checked with places when values come from a file.
fn check(value: &Value, depth: usize) -> Result<(), String> {
    if depth > DEEPEST {
        return Err(format!("values are nested more than {DEEPEST} deep"));
    }
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| check(item, depth + 1)),
        Value::Object(map) => map.iter().try_for_each(|(key, item)| {
            if key == secret::KEY {
                return Err("the key `$secret` is reserved".to_owned());
            }
            check(item, depth + 1)
        }),
        Value::Number(number) if number.is_u64() && number.as_i64().is_none() => {
            Err(format!("the number {number} is too large to be kept exactly: give it as text"))
        }
        _ => Ok(()),
    }
}
