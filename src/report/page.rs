//! Pages that need nothing else: for a browser, a phone, a printer.

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::Value;

use super::text::clean;

/// How all pages look.
const LOOK: &str = include_str!("page.css");

/// A page of this template.
///
/// # Errors
/// When the template of this release is wrong.
pub(super) fn html_page(template: &str, page: &Value) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|name| if name == "page.css" { AutoEscape::None } else { AutoEscape::Html });
    environment.set_recursion_limit(64);
    environment.add_template("page.css", LOOK)?;
    environment.render_str(template, Serde(cleaned(page)))
}

/// The value without characters that would play with whoever looks at the page.
fn cleaned(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::from(clean(text)),
        Value::Array(items) => items.iter().map(cleaned).collect(),
        Value::Object(map) => map.iter().map(|(key, item)| (key.clone(), cleaned(item))).collect(),
        plain => plain.clone(),
    }
}
