//! Templates: text with `{{ }}` and a customer's values become request bodies, files and theme bundles.
//!
//! # Writing templates
//!
//! The language is Jinja2's, as `minijinja` speaks it. Templates live under the project's `templates/` folder and are named
//! relative to it. A line that holds only a `{% %}` tag leaves no empty line behind.
//!
//! **One rule for quotes**: in `.json`, `.yaml`, `.yml` and `.qext` templates `{{ x }}` writes a *JSON value*, with its
//! quotes, so no quotes go around it; in `.html` the text is escaped for HTML; everywhere else it is written as it is.
//!
//! ```json
//! { "issuer": {{ idp.issuer }}, "groups": {{ groups }}, "name": {{ code ~ "-portal" }} }
//! ```
//!
//! **A missing value is an error** that names it and shows the line. `{% if x %}`, `x is defined` and `x | default(...)`
//! may ask for one. `{{ x | required("why it is needed") }}` says why.
//!
//! Own filters: `qvs` (a literal of a Qlik load script), `slug` (lower-case words joined by hyphens), `required`.
//!
//! **Secrets** may be written only into `.json` and `.yaml` templates meant for a request: what is written is a
//! reference, which the host replaces when it sends the request. Turning one into text is refused.
//!
//! A template cannot leave its folder, and its work and memory are bounded.

mod bundle;
mod environment;
mod error;
mod filters;
mod used;
mod values;

use std::path::PathBuf;

use minijinja::Environment;
use serde_json::Value;

pub use error::{RenderError, RenderErrorKind};
pub use used::UsedFile;

use crate::operation::Bundle;
use environment::Format;
use used::Contents;
use values::Values;

/// Where templates lie in a project.
const FOLDER: &str = "templates";

/// What a template turned into.
#[derive(Clone, Debug, PartialEq)]
pub enum Rendered {
    /// A document, from a `.json`, `.yaml` or `.qext` template.
    Json(Value),
    /// Anything else.
    Text(String),
}

/// The templates of a project. Each is read once and kept.
#[derive(Debug)]
pub struct Templates {
    root: PathBuf,
    environment: Environment<'static>,
    contents: Contents,
}

impl Templates {
    /// The templates under `templates/` of the project in `project`.
    #[must_use]
    pub fn new(project: impl Into<PathBuf>) -> Self {
        let (root, contents) = (project.into().join(FOLDER), Contents::default());
        Self { environment: environment::build(root.clone(), contents.clone()), root, contents }
    }

    /// Does `work`, such as a rendering, and says which files it used, in order, each once: also when it failed.
    pub fn noting<T>(&self, work: impl FnOnce(&Self) -> T) -> (T, Vec<UsedFile>) {
        used::noting(&self.contents, || work(self))
    }

    /// Renders template text given in place, as plain text.
    ///
    /// # Errors
    /// When the text is not a template, a value is missing, a secret would become text, or the work exceeds its bounds.
    pub fn render_text(&self, template: &str, values: &Value) -> Result<String, RenderError> {
        self.render_named_text("the text", template, &Values::new(values))
    }

    /// Renders the template at `path`, relative to `templates/`. One that ends in `.json`, `.yaml`, `.yml` or `.qext` (a
    /// final `.j2` aside) yields a document, any other its text.
    ///
    /// # Errors
    /// As [`Templates::render_text`]; also when there is no such template, or it does not yield the document that its name
    /// promises.
    pub fn render(&self, path: &str, values: &Value) -> Result<Rendered, RenderError> {
        let values = Values::new(values);
        let text = self.render_file(path, &values)?;
        match Format::of(path) {
            format @ (Format::Json | Format::Yaml) => {
                let document = environment::parse(format, path, &text)?;
                values.check_references(path, &document)?;
                Ok(Rendered::Json(document))
            }
            Format::Text => Ok(Rendered::Text(text)),
        }
    }

    /// Renders a folder under `templates/`: every text file is a template (a final `.j2` is dropped from its name), files
    /// that are not UTF-8 are copied as they are, names that begin with `.` are left out. File names may hold `{{ }}`.
    ///
    /// # Errors
    /// As [`Templates::render`]; also when there is no such folder, it is too large, or two files get the same name.
    pub fn bundle(&self, folder: &str, values: &Value) -> Result<Bundle, RenderError> {
        bundle::render(self, folder, &Values::new(values))
    }

    fn render_named_text(&self, name: &str, template: &str, values: &Values) -> Result<String, RenderError> {
        let rendered = self.environment.render_named_str(name, template, values.root());
        Self::finish(name, rendered, values, true)
    }

    fn render_file(&self, path: &str, values: &Values) -> Result<String, RenderError> {
        used::template(path);
        let rendered = self.environment.get_template(path).and_then(|template| template.render(values.root()));
        Self::finish(path, rendered, values, Format::of(path) == Format::Text)
    }

    fn finish(
        name: &str,
        rendered: Result<String, minijinja::Error>,
        values: &Values,
        plain: bool,
    ) -> Result<String, RenderError> {
        // The formatter refuses a secret with its line; what gets round it (`~`, `tojson`) is caught here.
        let leaked = values.take_leaked();
        let text = rendered.map_err(|error| RenderError::from_engine(name, &error))?;
        match leaked {
            Some(secret) => Err(RenderError::secret(name, &secret)),
            None if plain && values.has_secrets() && text.contains(crate::operation::secret::KEY) => {
                Err(RenderError::secret(name, "secret"))
            }
            None => Ok(text),
        }
    }
}
