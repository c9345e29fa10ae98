use std::fmt;
use std::sync::Arc;

use rhai::{Dynamic, EvalAltResult, FuncRegistration, Module, NativeCallContext};

use super::options;
use crate::operation::{self, Failure, FailureKind};
use crate::playbook::{Call, ScriptError};
use crate::render::{RenderError, RenderErrorKind, Rendered, Templates};

/// A bundle as a script holds it.
#[derive(Clone)]
pub(super) struct Bundle(pub(super) Arc<operation::Bundle>);

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bundle of {} files", self.0.files().len())
    }
}

type Result<T> = std::result::Result<T, Box<EvalAltResult>>;

/// The three functions carry the project's templates with them, so they are made anew for every engine.
pub(super) fn module(templates: &Arc<Templates>) -> Module {
    let mut module = Module::new();
    let own = Arc::clone(templates);
    FuncRegistration::new("render")
        .in_global_namespace()
        .with_params_info(["path: &str", "values: Dynamic", "Result<Dynamic, Box<EvalAltResult>>"])
        .with_comments([
            "/// Renders a template with these values.",
            "///",
            "/// - `path`: the template, relative to `templates/`. One that ends in `.json` or `.yaml` gives a map or list, any",
            "///   other a text.",
            "/// - `values`: a map, such as `customer`. A value that the template needs and that is missing is an error that",
            "///   names it and the template's line.",
            "///",
            "/// ```rhai",
            "/// let values = #{ customer: customer, certificate: keys::ensure(\"hb-portal\").certificate };",
            "/// let provider = render(\"idp/jwt.json\", values);",
            "/// ```",
        ])
        .set_into_module(&mut module, move |context: NativeCallContext, path: &str, values: Dynamic| -> Result<Dynamic> {
            let call = Call::begin(&context, "render")?;
            let values = options::json(&call, "values", &values)?;
            match using(&call, &own, |own| own.render(path, &values))? {
                Rendered::Json(document) => options::script(&call, &document),
                Rendered::Text(text) => Ok(text.into()),
            }
        });
    let own = Arc::clone(templates);
    FuncRegistration::new("render_text")
        .in_global_namespace()
        .with_params_info(["text: &str", "values: Dynamic", "Result<String, Box<EvalAltResult>>"])
        .with_comments([
            "/// Renders a short template given in place, as text.",
            "///",
            "/// - `text`: the template.",
            "/// - `values`: a map, such as `customer`.",
            "///",
            "/// ```rhai",
            "/// let name = render_text(\"{{ name }} Analytics\", #{ name: \"Harbour\" });",
            "/// ```",
        ])
        .set_into_module(
            &mut module,
            move |context: NativeCallContext, text: &str, values: Dynamic| -> Result<String> {
                let call = Call::begin(&context, "render_text")?;
                let values = options::json(&call, "values", &values)?;
                using(&call, &own, |own| own.render_text(text, &values))
            },
        );
    let own = Arc::clone(templates);
    FuncRegistration::new("bundle")
        .in_global_namespace()
        .with_params_info(["folder: &str", "values: Dynamic", "Result<Bundle, Box<EvalAltResult>>"])
        .with_comments([
            "/// Renders a folder of templates into a bundle: what a theme is uploaded from.",
            "///",
            "/// - `folder`: the folder, relative to `templates/`. Its text files are templates, other files are copied; file names",
            "///   may hold `{{ }}`.",
            "/// - `values`: a map, such as `customer`.",
            "///",
            "/// ```rhai",
            "/// let theme = bundle(\"themes/customer\", customer);",
            "/// ```",
        ])
        .set_into_module(
            &mut module,
            move |context: NativeCallContext, folder: &str, values: Dynamic| -> Result<Bundle> {
                let call = Call::begin(&context, "bundle")?;
                let values = options::json(&call, "values", &values)?;
                using(&call, &own, |own| own.bundle(folder, &values)).map(|bundle| Bundle(Arc::new(bundle)))
            },
        );
    module
}

/// Renders, and tells the files it took, whether it came out or not.
fn using<T>(
    call: &Call,
    templates: &Templates,
    render: impl FnOnce(&Templates) -> std::result::Result<T, RenderError>,
) -> Result<T> {
    let (rendered, files) = templates.noting(render);
    for file in files {
        call.read(&file.path, &file.content);
    }
    rendered.map_err(|error| failed(call, &error))
}

fn failed(call: &Call, error: &RenderError) -> ScriptError {
    let code = match error.kind {
        RenderErrorKind::NotFound => "tenantry/no-template",
        RenderErrorKind::MissingValue => "tenantry/missing-value",
        RenderErrorKind::Secret => "tenantry/secret",
        _ => "tenantry/template",
    };
    let mut failure = Failure::new(FailureKind::Denied, code, error.title.clone());
    // Without a line the place is the template alone, which the title names.
    failure.detail = error.line.and_then(|_| error.snippet());
    failure.hint.clone_from(&error.hint);
    call.throw(failure)
}
