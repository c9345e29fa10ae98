use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};
use serde_json::Value;

use super::RenderError;
use super::filters;
use super::used::{self, Contents};
use super::values::Secret;

/// Bounds one rendering: about two million steps, or 128 MB of text.
const FUEL: u64 = 2_000_000;
/// Scripts call templates on small stacks; no honest template nests this deep.
const RECURSION: usize = 120;
/// A template longer than this is a mistake.
const MAX_TEMPLATE: u64 = 8 << 20;

/// What a template's name promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Yaml,
    Text,
}

impl Format {
    pub(super) fn of(path: &str) -> Self {
        match extension(path).as_deref() {
            Some("json" | "qext") => Self::Json,
            Some("yaml" | "yml") => Self::Yaml,
            _ => Self::Text,
        }
    }
}

fn extension(path: &str) -> Option<String> {
    let path = path.strip_suffix(".j2").unwrap_or(path);
    Path::new(path).extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase())
}

pub(super) fn build(root: PathBuf, contents: Contents) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_debug(true);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
    if let Ok(syntax) =
        SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()
    {
        environment.set_syntax(syntax);
    }
    environment.set_auto_escape_callback(|name| match Format::of(name) {
        Format::Json | Format::Yaml => AutoEscape::Json,
        Format::Text => match extension(name).as_deref() {
            Some("html" | "htm") => AutoEscape::Html,
            _ => AutoEscape::None,
        },
    });
    environment.set_formatter(|out, state, value| {
        if *state.auto_escape() != AutoEscape::Json
            && let Some(secret) = value.downcast_object_ref::<Secret>()
        {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("secret `{}` cannot become text", secret.name),
            ));
        }
        minijinja::escape_formatter(out, state, value)
    });
    filters::register(&mut environment);
    environment.set_path_join_callback(|name, _| {
        used::template(name);
        name.into()
    });
    environment.set_loader(move |name| load(&root, name, &contents));
    environment
}

fn load(root: &Path, name: &str, contents: &Contents) -> Result<Option<String>, Error> {
    let Some(path) = inside(root, name).map_err(|why| Error::new(ErrorKind::TemplateNotFound, why))? else {
        return Ok(None);
    };
    let unreadable = |error: std::io::Error| {
        Error::new(ErrorKind::InvalidOperation, format!("template `{name}` cannot be read: {error}"))
    };
    let size = std::fs::metadata(&path).map_err(unreadable)?.len();
    if size > MAX_TEMPLATE {
        return Err(Error::new(ErrorKind::InvalidOperation, format!("template `{name}` is larger than 8 MB")));
    }
    let content = std::fs::read(&path).map_err(unreadable)?;
    contents.keep(name, Bytes::copy_from_slice(&content));
    match String::from_utf8(content) {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(Error::new(ErrorKind::InvalidOperation, format!("template `{name}` is not UTF-8 text"))),
    }
}

/// The file or folder called `name` under `root`, when there is one. Says why a name that leads elsewhere is refused.
pub(super) fn inside(root: &Path, name: &str) -> Result<Option<PathBuf>, String> {
    let plain = !name.is_empty()
        && !name.contains(['\\', '\0'])
        && !name.contains(':')
        && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if !plain {
        return Err(format!("`{name}` does not name something inside the templates folder"));
    }
    // Links may point anywhere; what they point at must still lie inside.
    let Ok(path) = root.join(name).canonicalize() else { return Ok(None) };
    match root.canonicalize() {
        Ok(root) if path.starts_with(&root) => Ok(Some(path)),
        _ => Err(format!("`{name}` leads out of the templates folder")),
    }
}

/// Reads what a template turned into as the document that its name promises.
pub(super) fn parse(format: Format, name: &str, text: &str) -> Result<Value, RenderError> {
    match format {
        Format::Yaml => serde_saphyr::from_str(text).map_err(|error| {
            let place = error.location().map(|place| (count(place.line()), count(place.column())));
            RenderError::document(name, "YAML", &error.without_snippet().to_string(), place, text)
        }),
        Format::Json | Format::Text => serde_json::from_str(text).map_err(|error| {
            let place = (error.line() > 0).then(|| (error.line(), error.column().max(1)));
            RenderError::document(name, "JSON", &error.to_string(), place, text)
        }),
    }
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
