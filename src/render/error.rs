use std::error::Error as _;

use minijinja::ErrorKind;

use super::filters::REQUIRED;

/// The filters a template is likely to want; the engine does not list its own.
const FILTERS: [&str; 18] = [
    "qvs", "slug", "required", "default", "lower", "upper", "title", "trim", "replace", "join", "split", "length",
    "tojson", "first", "last", "sort", "unique", "map",
];

/// Why a template could not be rendered, with the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{title}", self.place().map(|place| place + ": ").unwrap_or_default())]
#[non_exhaustive]
pub struct RenderError {
    /// What kind of mistake it is.
    pub kind: RenderErrorKind,
    /// What is wrong, in one sentence.
    pub title: String,
    /// The template, relative to `templates/`.
    pub template: Box<str>,
    /// The line in the template (for [`RenderErrorKind::Document`], in what it turned into), counted from 1.
    pub line: Option<usize>,
    /// The column in characters, counted from 1.
    pub column: Option<usize>,
    /// That line's text.
    pub source_line: Option<Box<str>>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Kinds of mistakes in templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RenderErrorKind {
    /// There is no such template, or its name leads out of the folder.
    NotFound,
    /// The text is not a template.
    Syntax,
    /// A value is missing.
    MissingValue,
    /// A secret would become text.
    Secret,
    /// What the template turned into is not the document that its name promises.
    Document,
    /// The template does too much work.
    Budget,
    /// The folder cannot become a bundle.
    Bundle,
    /// Anything else that went wrong while it was rendered.
    Evaluation,
}

impl RenderError {
    pub(super) fn new(kind: RenderErrorKind, template: &str, title: impl Into<String>) -> Self {
        Self {
            kind,
            title: title.into(),
            template: template.into(),
            line: None,
            column: None,
            source_line: None,
            hint: None,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn secret(template: &str, name: &str) -> Self {
        Self::new(RenderErrorKind::Secret, template, format!("secret `{name}` cannot become text"))
            .hint("write it alone, as `{{ name }}`, into a .json or .yaml template that goes into a request body")
    }

    pub(super) fn forged(template: &str) -> Self {
        Self::new(RenderErrorKind::Secret, template, "a template's own text cannot name a secret")
            .hint("pass it with the values: `render(path, #{ key: secret(\"name\") })`")
    }

    pub(super) fn document(
        template: &str,
        language: &str,
        why: &str,
        place: Option<(usize, usize)>,
        text: &str,
    ) -> Self {
        let mut error = Self::new(
            RenderErrorKind::Document,
            template,
            format!("what the template turns into is not {language}: {why}"),
        )
        .hint(format!(
            "the place is in the rendered text; in {language} templates `{{{{ x }}}}` writes its own quotes, so none go around it"
        ));
        if let Some((line, column)) = place {
            error.at(text, line, column);
        }
        error
    }

    pub(super) fn from_engine(template: &str, error: &minijinja::Error) -> Self {
        // An error inside an included template, a macro or a block arrives wrapped: the innermost knows the place.
        let mut root = error;
        while let Some(inner) = root.source().and_then(|source| source.downcast_ref::<minijinja::Error>()) {
            root = inner;
        }
        let detail = root.detail().unwrap_or_default();
        let source = root.template_source();
        let expression = source.zip(root.range()).and_then(|(source, range)| source.get(range)).map(str::trim);
        let (kind, title) = match root.kind() {
            ErrorKind::UndefinedError => {
                let before = source.zip(root.range()).and_then(|(source, range)| source.get(..range.start));
                (RenderErrorKind::MissingValue, missing(detail, expression, before))
            }
            ErrorKind::TemplateNotFound if detail.is_empty() || detail.ends_with("does not exist") => {
                (RenderErrorKind::NotFound, format!("there is no template `{}`", named(detail).unwrap_or(template)))
            }
            ErrorKind::TemplateNotFound => (RenderErrorKind::NotFound, detail.to_owned()),
            ErrorKind::SyntaxError => (RenderErrorKind::Syntax, format!("not a template: {detail}")),
            ErrorKind::OutOfFuel => (RenderErrorKind::Budget, "the template does too much work".to_owned()),
            _ if detail.ends_with("cannot become text") => (RenderErrorKind::Secret, detail.to_owned()),
            kind if detail.is_empty() => (RenderErrorKind::Evaluation, kind.to_string()),
            _ => (RenderErrorKind::Evaluation, detail.to_owned()),
        };
        let mut found = Self::new(kind, root.name().unwrap_or(template), title);
        if let (Some(source), Some(line)) = (source, root.line()) {
            let column = root.range().map_or(1, |range| column(source, range.start));
            found.at(source, line, column);
        } else {
            found.line = root.line();
        }
        found.hint = hint(root.kind(), detail, kind);
        found
    }

    fn at(&mut self, text: &str, line: usize, column: usize) {
        self.line = Some(line);
        self.column = Some(column);
        self.source_line =
            text.lines().nth(line.saturating_sub(1)).map(|text| text.chars().take(400).collect::<String>().into());
    }

    /// `idp/jwt.json:7:20`, as far as it is known.
    #[must_use]
    pub fn place(&self) -> Option<String> {
        if self.template.is_empty() {
            return None;
        }
        Some(match (self.line, self.column) {
            (Some(line), Some(column)) => format!("{}:{line}:{column}", self.template),
            (Some(line), None) => format!("{}:{line}", self.template),
            _ => self.template.to_string(),
        })
    }

    /// The place, and the line with a mark under the column.
    #[must_use]
    pub fn snippet(&self) -> Option<String> {
        let place = self.place()?;
        let (Some(line), Some(text)) = (self.line, &self.source_line) else { return Some(place) };
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        let mark: String = text
            .chars()
            .take(self.column.unwrap_or(1).saturating_sub(1))
            .map(|letter| if letter == '\t' { '\t' } else { ' ' })
            .collect();
        Some(format!("{place}\n{gutter} |\n{number} | {text}\n{gutter} | {mark}^"))
    }
}

fn missing(detail: &str, expression: Option<&str>, before: Option<&str>) -> String {
    match detail.strip_prefix(REQUIRED) {
        Some(why) => match before.and_then(filtered) {
            Some(value) => format!("`{value}` has no value: {why}"),
            None => format!("a required value is missing: {why}"),
        },
        None => match named(detail).or(expression) {
            Some(name) => format!("`{name}` has no value"),
            None => "a value is missing".to_owned(),
        },
    }
}

/// The value that a filter stands behind, from the text before the filter: the engine's span leaves it out.
fn filtered(before: &str) -> Option<&str> {
    let value = before.trim_end().strip_suffix('|')?;
    let value =
        value.rsplit(['{', '%', '(', ',']).next()?.trim_matches(|letter: char| letter == '-' || letter.is_whitespace());
    (!value.is_empty()).then_some(value)
}

/// The quoted name inside an engine message.
fn named(detail: &str) -> Option<&str> {
    let quote = detail.find(['`', '\'', '"'])?;
    let mark = detail[quote..].chars().next()?;
    let rest = &detail[quote + 1..];
    rest.split_once(mark).map(|(name, _)| name).filter(|name| !name.is_empty())
}

fn hint(engine: ErrorKind, detail: &str, kind: RenderErrorKind) -> Option<String> {
    match (kind, engine) {
        (RenderErrorKind::MissingValue, _) => Some(
            "give it in the values, or write `{{ x | default(\"...\") }}` or `{% if x %}` where it may be left out"
                .into(),
        ),
        (RenderErrorKind::Secret, _) => {
            Some("secrets may only be written into .json and .yaml templates that go into a request body".into())
        }
        (_, ErrorKind::UnknownFilter) => nearest_filter(detail),
        _ => None,
    }
}

/// The known filter nearest to the one an engine message names.
fn nearest_filter(detail: &str) -> Option<String> {
    let name = named(detail).or_else(|| detail.split_whitespace().nth(1))?;
    crate::suggest::nearest(name, FILTERS).map(|near| format!("did you mean `{near}`?"))
}

fn column(source: &str, offset: usize) -> usize {
    let before = source.get(..offset).unwrap_or_default();
    before.rsplit('\n').next().unwrap_or_default().chars().count() + 1
}
