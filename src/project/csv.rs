//! Customers as rows of a spreadsheet. Every cell is text, so that leading zeros stay; the playbook's schema says which
//! cells are numbers or flags. A dot in a column's name makes nested values: `brand.color`.

use std::ops::Range;

use serde_json::{Map, Value};

use super::input::{InputError, Problem, Source};

/// A row and its line.
pub(super) struct Row {
    pub(super) values: Map<String, Value>,
    pub(super) span: Range<usize>,
}

pub(super) fn read(source: &Source) -> Result<Vec<Row>, InputError> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter(&source.text))
        .trim(csv::Trim::All)
        .from_reader(source.text.as_bytes());
    let columns = match reader.headers() {
        Ok(headers) => columns(source, headers)?,
        Err(error) => return Err(malformed(source, &error).into()),
    };
    let (mut rows, mut problems) = (Vec::new(), Vec::new());
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                problems.push(malformed(source, &error));
                continue;
            }
        };
        // Spreadsheets write rows of empty cells below the last one.
        if record.iter().all(str::is_empty) {
            continue;
        }
        let start = record.position().map_or(0, |position| usize::try_from(position.byte()).unwrap_or(usize::MAX));
        let mut values = Map::new();
        for (path, cell) in columns.iter().zip(&record) {
            if !cell.is_empty() {
                insert(&mut values, path, cell);
            }
        }
        rows.push(Row { values, span: line(source, start) });
    }
    if problems.is_empty() { Ok(rows) } else { Err(InputError::new(problems)) }
}

/// Comma, semicolon or tab: whichever the first line has most of.
fn delimiter(text: &str) -> u8 {
    let first = text.lines().next().unwrap_or_default();
    let count = |delimiter: u8| first.bytes().filter(|byte| *byte == delimiter).count();
    [b',', b';', b'\t'].into_iter().rev().max_by_key(|delimiter| count(*delimiter)).unwrap_or(b',')
}

/// The path that each column's name stands for.
fn columns(source: &Source, headers: &csv::StringRecord) -> Result<Vec<Vec<String>>, InputError> {
    let mut problems = Vec::new();
    let mut columns: Vec<Vec<String>> = Vec::new();
    for (number, name) in headers.iter().enumerate() {
        let path: Vec<String> = name.split('.').map(|step| step.trim().to_owned()).collect();
        let wrong = |message: String, hint: &str| source.problem(line(source, 0), message).hint(hint);
        if path.iter().any(String::is_empty) {
            let message = format!("column {} has no name, or a part of it is empty: `{name}`", number + 1);
            problems.push(wrong(message, "name each column in the first line; a dot makes nested values: brand.color"));
        } else if path.iter().any(|step| step == crate::operation::secret::KEY) {
            problems.push(wrong("the key `$secret` is reserved".to_owned(), "choose another name"));
        } else if let Some(other) = columns.iter().find(|other| other.starts_with(&path) || path.starts_with(other)) {
            let message = if *other == path {
                format!("column `{name}` is here twice")
            } else {
                format!("columns `{}` and `{name}` contradict each other: one is inside the other", other.join("."))
            };
            problems.push(wrong(message, "rename one of them"));
        }
        columns.push(path);
    }
    if problems.is_empty() { Ok(columns) } else { Err(InputError::new(problems)) }
}

fn insert(values: &mut Map<String, Value>, path: &[String], cell: &str) {
    match path {
        [] => {}
        [last] => {
            values.insert(last.clone(), cell.into());
        }
        [first, rest @ ..] => {
            let inner = values.entry(first.clone()).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                insert(inner, rest, cell);
            }
        }
    }
}

/// The whole line that begins at or before this byte.
fn line(source: &Source, at: usize) -> Range<usize> {
    let rest = source.text.get(at..).unwrap_or_default();
    // The position of a record may stand on the line ends before it.
    let start = at + (rest.len() - rest.trim_start_matches(['\r', '\n']).len());
    let end = source.text[start..].find('\n').map_or(source.text.len(), |length| start + length);
    start..end
}

fn malformed(source: &Source, error: &csv::Error) -> Problem {
    let at = error.position().map_or(0, |position| usize::try_from(position.byte()).unwrap_or(usize::MAX));
    let message = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("this row has {len} cells where the first line has {expected_len}")
        }
        _ => format!("is not CSV: {error}"),
    };
    source
        .problem(line(source, at.min(source.text.len())), message)
        .hint("put a cell that holds the delimiter in quotes")
}
