use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use rhai::{AST, Dynamic, Engine, Scope};
use serde_json::Value;

use super::branch::Shared;
use super::coroutine::{Body, on_own_stack};
use super::resolver::{ProjectResolver, Sources};
use super::session::{Ended, Session};
use super::value::from_json_read_only;
use super::{Diagnostic, Extension, Header, Limits, engine};
use crate::operation::Site;
use crate::surroundings::Clock;

/// A playbook's text and header, read from a project.
#[derive(Clone, Debug)]
pub struct Playbook {
    file: String,
    source: Arc<str>,
    header: Header,
}

impl Playbook {
    /// Reads a playbook; `file` is relative to the project `root`, or absolute and inside it.
    ///
    /// # Errors
    /// When it cannot be read, lies outside the project, or its header is wrong.
    pub fn load(root: &Path, file: &Path) -> Result<Self, Diagnostic> {
        let shown = file.display();
        let real = root.join(file).canonicalize().map_err(|error| {
            Diagnostic::new(format!("cannot read the playbook {shown}: {error}"))
                .hint("give the path of a `.rhai` file, such as playbooks/onboard.rhai")
        })?;
        let real_root = root
            .canonicalize()
            .map_err(|error| Diagnostic::new(format!("cannot read the project {}: {error}", root.display())))?;
        let relative = real.strip_prefix(&real_root).map_err(|_| {
            Diagnostic::new(format!("the playbook {shown} lies outside the project {}", root.display()))
                .hint("run from the project's folder, or give it with --project")
        })?;
        let source = std::fs::read_to_string(&real)
            .map_err(|error| Diagnostic::new(format!("cannot read the playbook {shown}: {error}")))?;
        Self::from_source(&slashed(relative), source)
    }

    /// A playbook that stands in no file; imports are taken from the folder of `file`.
    ///
    /// # Errors
    /// When its header is wrong.
    pub fn from_source(file: &str, source: impl Into<Arc<str>>) -> Result<Self, Diagnostic> {
        let source = source.into();
        let header = Header::parse(&source).map_err(|error| Diagnostic::of_header(error, file, &source))?;
        Ok(Self { file: file.to_owned(), source, header })
    }

    /// Its path relative to the project.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Places `diagnostic` at the first occurrence of `text` in the header.
    pub(crate) fn place_of(&self, text: &str, diagnostic: Diagnostic) -> Diagnostic {
        let found = self.source.lines().enumerate().find_map(|(index, line)| {
            let at = line.trim_start().starts_with("//!").then(|| line.find(text))??;
            Some(Site { file: self.file.clone(), line: index + 1, column: line[..at].chars().count() + 1 })
        });
        match found {
            Some(site) => diagnostic.at(site, Some(&self.source)),
            None => diagnostic,
        }
    }

    /// Its text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What it says about itself.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }
}

fn slashed(path: &Path) -> String {
    let parts = path.components().filter_map(|component| match component {
        Component::Normal(part) => Some(part.to_string_lossy()),
        _ => None,
    });
    parts.collect::<Vec<_>>().join("/")
}

/// How a session is started.
#[derive(Clone)]
pub struct Start {
    /// The customer's values.
    pub customer: Value,
    /// What the run may use.
    pub limits: Limits,
    /// For the budget of script time.
    pub clock: Arc<dyn Clock>,
    /// Whether logins are verified even when nothing changed.
    pub verify: bool,
}

/// Compiles playbooks of one project and starts them. It stays on its thread; sessions share it.
pub struct Runtime {
    engine: Rc<Engine>,
    sources: Arc<Sources>,
}

impl Runtime {
    /// A runtime for the project in `root`, with `extensions` added to its engine.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, extensions: &[Extension]) -> Self {
        #[cfg_attr(
            not(feature = "sync"),
            expect(
                clippy::arc_with_non_send_sync,
                reason = "Rhai's resolvers must be thread-safe when its `sync` is on"
            )
        )]
        let sources = Arc::new(Sources::default());
        let resolver = ProjectResolver::new(root.into(), Arc::clone(&sources));
        Self { engine: Rc::new(engine::build(resolver, extensions)), sources }
    }

    /// Compiles a playbook, to find syntax errors before anything is started.
    ///
    /// # Errors
    /// The first syntax error.
    pub fn check(&self, playbook: &Playbook) -> Result<(), Diagnostic> {
        self.compile(playbook).map(|_| ())
    }

    /// Starts a playbook: a session that has not run yet.
    ///
    /// # Errors
    /// When the playbook has a syntax error, or the customer's values cannot be held by scripts.
    pub fn start(&self, playbook: &Playbook, start: Start) -> Result<Session, Diagnostic> {
        let ast = self.compile(playbook)?;
        let customer = from_json_read_only(&start.customer)
            .map_err(|error| Diagnostic::new(format!("the customer's values cannot be used: {error}")))?;
        let shared = Rc::new(Shared::new(start.limits, start.clock, customer, start.verify));
        shared.tell_read(&playbook.file, &Bytes::copy_from_slice(playbook.source.as_bytes()));
        let engine = Rc::clone(&self.engine);
        let body: Body<'static> =
            Box::new(move || Ended::Result(engine.eval_ast_with_scope::<Dynamic>(&mut Scope::new(), &ast)));
        Session::new(shared, body, self.explainer(playbook))
            .map_err(|error| Diagnostic::new(format!("no stack for a session: {error}")))
    }

    /// What turns an error of `playbook` into a diagnostic.
    fn explainer(&self, playbook: &Playbook) -> Explainer {
        Explainer { file: playbook.file.clone(), sources: Arc::clone(&self.sources), engine: Rc::clone(&self.engine) }
    }

    /// Compiles on a coroutine's stack: the parser calls itself as deep as the text is nested.
    fn compile(&self, playbook: &Playbook) -> Result<AST, Diagnostic> {
        let (engine, sources) = (Rc::clone(&self.engine), Arc::clone(&self.sources));
        let (file, source) = (playbook.file.clone(), Arc::clone(&playbook.source));
        let compiled = on_own_stack(move || sources.compile(&engine, &file, &source))
            .map_err(|why| Diagnostic::new(format!("the compiler failed unexpectedly: {why}")))?;
        compiled.map_err(|error| self.explainer(playbook).explain(&error.into()))
    }
}

/// Turns errors into diagnostics.
#[derive(Clone)]
pub(super) struct Explainer {
    file: String,
    sources: Arc<Sources>,
    engine: Rc<Engine>,
}

impl Explainer {
    pub(super) fn explain(&self, error: &rhai::EvalAltResult) -> Diagnostic {
        Diagnostic::of_error(error, &self.file, &self.sources, &self.engine)
    }
}
