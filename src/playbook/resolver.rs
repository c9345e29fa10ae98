//! Finds what a playbook imports: `import "lib/branding" as branding;` is `lib/branding.rhai` beside the importing
//! file, and always inside the project.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rhai::{AST, Engine, EvalAltResult, GlobalRuntimeState, Module, ModuleResolver, Position, Scope, Shared};

use super::branch::with_current;

/// Source files by their path relative to the project, as read; diagnostics show lines from here.
#[derive(Default)]
pub(super) struct Sources(Mutex<Files>);

/// The text of each file, and its compiled form once there is one.
type Files = HashMap<String, (Arc<str>, Option<AST>)>;

impl Sources {
    fn files(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn text(&self, file: &str) -> Option<Arc<str>> {
        self.files().get(file).map(|(text, _)| Arc::clone(text))
    }

    /// The compiled form of `text`, compiled anew only when the text has changed.
    pub(super) fn compile(&self, engine: &Engine, file: &str, text: &Arc<str>) -> Result<AST, rhai::ParseError> {
        if let Some((known, Some(ast))) = self.files().get(file)
            && known == text
        {
            return Ok(ast.clone());
        }
        self.files().insert(file.to_owned(), (Arc::clone(text), None));
        let mut ast = engine.compile(&**text)?;
        ast.set_source(file);
        self.files().insert(file.to_owned(), (Arc::clone(text), Some(ast.clone())));
        Ok(ast)
    }
}

/// Resolves imports inside one project.
pub(super) struct ProjectResolver {
    root: PathBuf,
    sources: Arc<Sources>,
}

impl ProjectResolver {
    pub(super) fn new(root: PathBuf, sources: Arc<Sources>) -> Self {
        Self { root, sources }
    }

    /// The project-relative path that `import path` in `source` means.
    fn locate(&self, source: Option<&str>, path: &str) -> Result<String, String> {
        let folder = source.and_then(|source| Path::new(source).parent()).unwrap_or(Path::new(""));
        let mut place = PathBuf::new();
        for component in folder.join(path).components() {
            match component {
                Component::Normal(part) => place.push(part),
                Component::CurDir => {}
                Component::ParentDir if place.pop() => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    return Err(format!("`{path}` leaves the project; imports stay inside it"));
                }
            }
        }
        let mut file = place.into_os_string();
        file.push(".rhai");
        let file = PathBuf::from(file);
        let name = file.to_string_lossy().replace('\\', "/");
        let real = self.root.join(&file).canonicalize().map_err(|_| missing(&self.root, &file, path, &name))?;
        let root = self.root.canonicalize().map_err(|error| error.to_string())?;
        // A link may point anywhere.
        if real.starts_with(root) {
            Ok(name)
        } else {
            Err(format!("`{path}` leaves the project; imports stay inside it"))
        }
    }

    fn load(
        &self,
        engine: &Engine,
        global: &mut GlobalRuntimeState,
        scope: &mut Scope,
        path: &str,
        file: &str,
    ) -> Result<Shared<Module>, Box<EvalAltResult>> {
        let read = || match std::fs::read_to_string(self.root.join(file)) {
            Ok(text) => Ok(Arc::from(text)),
            Err(error) => Err(format!("cannot read {file}: {error}")),
        };
        let text = with_current(|shared, _| shared.library(file, read)).unwrap_or_else(read)?;
        let wrap =
            |error: Box<EvalAltResult>| Box::new(EvalAltResult::ErrorInModule(file.to_owned(), error, Position::NONE));
        let ast = self.sources.compile(engine, file, &text).map_err(|error| wrap(error.into()))?;
        if !with_current(|_, branch| branch.begin_loading(file)).unwrap_or(true) {
            return Err(format!("`{path}` is imported by something it imports itself").into());
        }
        let module = Module::eval_ast_as_new_raw(engine, scope, global, &ast);
        let _ = with_current(|_, branch| branch.end_loading());
        Ok(module.map_err(wrap)?.into())
    }
}

fn missing(root: &Path, file: &Path, path: &str, name: &str) -> String {
    let folder = root.join(file).parent().map(Path::to_path_buf).unwrap_or_default();
    let wanted = Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| {
        let entry = PathBuf::from(entry.file_name());
        (entry.extension()? == "rhai").then(|| entry.file_stem().map(|stem| stem.to_string_lossy().into_owned()))?
    });
    let names: Vec<String> = names.collect();
    match crate::suggest::nearest(&wanted, names.iter().map(String::as_str)) {
        Some(near) => {
            // The message depends on that file, so it counts as used.
            let near_file = Path::new(name).with_file_name(format!("{near}.rhai"));
            let content = std::fs::read(root.join(&near_file)).unwrap_or_default();
            let shown = near_file.to_string_lossy().replace('\\', "/");
            let _ = with_current(|shared, _| shared.tell_read(&shown, &content.into()));
            format!("there is no {name}; did you mean `{}`?", path.replace(&wanted, near))
        }
        None => format!("there is no {name}; a path is taken from the importing file, without `.rhai`"),
    }
}

impl ModuleResolver for ProjectResolver {
    fn resolve(
        &self,
        engine: &Engine,
        source: Option<&str>,
        path: &str,
        position: Position,
    ) -> Result<Shared<Module>, Box<EvalAltResult>> {
        let mut global = engine.new_global_runtime_state();
        global.source = source.map(Into::into);
        self.resolve_raw(engine, &mut global, &mut Scope::new(), path, position)
    }

    fn resolve_raw(
        &self,
        engine: &Engine,
        global: &mut GlobalRuntimeState,
        _scope: &mut Scope,
        path: &str,
        position: Position,
    ) -> Result<Shared<Module>, Box<EvalAltResult>> {
        let at = |message: String| Box::new(EvalAltResult::ErrorRuntime(message.into(), position));
        let file = self.locate(global.source(), path).map_err(at)?;
        if let Some(module) = with_current(|_, branch| branch.module(&file)).flatten() {
            return Ok(module);
        }
        let module = self.load(engine, global, &mut Scope::new(), path, &file).map_err(|mut error| {
            if error.position().is_none() {
                error.set_position(position);
            }
            error
        })?;
        let _ = with_current(|_, branch| branch.set_module(file, module.clone()));
        Ok(module)
    }
}
