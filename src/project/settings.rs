use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::document::parse_toml;
use super::input::{InputError, Problem, Source};
use super::reader::{Reader, Table};
use super::target::{SANDBOX, Target};
use crate::store::{SecretSource, plain_name};
use crate::suggest::nearest;

/// The name of the settings file in a project's folder.
pub const SETTINGS_FILE: &str = "tenantry.toml";

/// A partner's project: its folder and what its settings say. Without a settings file it is all defaults, and the
/// embedded sandbox is the only target.
#[derive(Clone, Debug)]
pub struct Project {
    root: PathBuf,
    state: Option<PathBuf>,
    targets: BTreeMap<String, Target>,
    secrets: BTreeMap<String, SecretSource>,
    defaults: Defaults,
    limits: RunLimits,
}

/// What is taken when the command line does not say (`[defaults]`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Defaults {
    /// The target (`target`).
    pub target: String,
    /// How many customers run at once (`concurrency`).
    pub concurrency: Option<usize>,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { target: SANDBOX.to_owned(), concurrency: None }
    }
}

/// What one run of a playbook may use (`[limits]`); what is `None` is left to the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunLimits {
    /// Script steps (`steps`).
    pub steps: Option<u64>,
    /// Seconds that the script itself computes, waiting not counted (`script_seconds`).
    pub script_seconds: Option<u64>,
    /// Megabytes that the script holds (`memory_mb`).
    pub memory_mb: Option<u64>,
    /// Operations (`operations`).
    pub operations: Option<u64>,
    /// Seconds from its beginning to its end (`run_seconds`).
    pub run_seconds: Option<u64>,
    /// Seconds that one operation takes, its repeats included (`operation_seconds`).
    pub operation_seconds: Option<u64>,
}

impl Project {
    /// The project in this folder.
    ///
    /// # Errors
    /// When there is a settings file that cannot be used: every problem in it.
    pub fn open(root: &Path) -> Result<Self, InputError> {
        let path = within(root, SETTINGS_FILE);
        let mut project = Self {
            root: root.to_owned(),
            state: None,
            targets: BTreeMap::from([(SANDBOX.to_owned(), Target::Sandbox)]),
            secrets: BTreeMap::new(),
            defaults: Defaults::default(),
            limits: RunLimits::default(),
        };
        if path.exists() {
            project.read(&Source::read(&path)?)?;
        }
        Ok(project)
    }

    /// The project that `folder` belongs to: the nearest folder upwards with a settings file, or else `folder` itself. A
    /// relative `folder` is followed upwards only as far as it is written.
    ///
    /// # Errors
    /// When its settings file cannot be used.
    pub fn find(folder: &Path) -> Result<Self, InputError> {
        let root = folder.ancestors().find(|folder| folder.join(SETTINGS_FILE).is_file()).unwrap_or(folder);
        Self::open(root)
    }

    /// Its folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where tenantry keeps the project's state: registry, sandbox, made secrets. `.tenantry` in its folder unless told
    /// otherwise.
    #[must_use]
    pub fn state_folder(&self) -> PathBuf {
        self.state.clone().unwrap_or_else(|| within(&self.root, ".tenantry"))
    }

    /// The state file in that folder: the registry and the journal.
    #[must_use]
    pub fn state_file(&self) -> PathBuf {
        self.state_folder().join("state.db")
    }

    /// The same project with its state in another folder.
    #[must_use]
    pub fn state_in(mut self, folder: impl Into<PathBuf>) -> Self {
        self.state = Some(folder.into());
        self
    }

    /// The targets by name; the sandbox is always among them.
    #[must_use]
    pub fn targets(&self) -> &BTreeMap<String, Target> {
        &self.targets
    }

    /// The target of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn target(&self, name: &str) -> Result<&Target, InputError> {
        self.targets.get(name).ok_or_else(|| {
            let known = || self.targets.keys().map(String::as_str);
            let near = nearest(name, known()).map(|nearest| format!("did you mean `{nearest}`?"));
            let hint = near.unwrap_or_else(|| {
                let known = known().collect::<Vec<_>>().join(", ");
                format!("known are {known}; others are described in {SETTINGS_FILE} under [targets.{name}]")
            });
            Problem::new(format!("there is no target `{name}`")).hint(hint).into()
        })
    }

    /// The sources of the secrets that playbooks may read, by name (`[secrets]`).
    #[must_use]
    pub fn secrets(&self) -> &BTreeMap<String, SecretSource> {
        &self.secrets
    }

    /// What is taken when the command line does not say.
    #[must_use]
    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// What one run may use.
    #[must_use]
    pub fn limits(&self) -> &RunLimits {
        &self.limits
    }

    fn read(&mut self, source: &Source) -> Result<(), InputError> {
        let document = parse_toml(source).map_err(hide_line)?;
        let root = self.root.clone();
        let mut reader = Reader { source, problems: Vec::new(), root: &root, hidden: Vec::new() };
        let mut table = Table::new(SETTINGS_FILE, document.span(), document.get_ref());

        if let Some(targets) = table.table(&mut reader, "targets", "the targets") {
            for (name, target) in targets.named(&mut reader, "target") {
                if name.value == SANDBOX {
                    reader.wrong(name.span, "the target `sandbox` is built in", Some("choose another name"));
                } else if !target_name(&name.value) {
                    let hint = "use small letters, digits and `-`, beginning with a letter";
                    reader.wrong(name.span, format!("`{}` cannot be a target's name", name.value), Some(hint));
                } else if let Some(read) = Target::read(&mut reader, &name.value, target) {
                    self.targets.insert(name.value, read);
                }
            }
        }
        if let Some(secrets) = table.table(&mut reader, "secrets", "the secrets") {
            for (name, source) in secrets.named_secrets(&mut reader) {
                if plain_name(&name.value) {
                    self.secrets.insert(name.value, source);
                } else {
                    let hint = "use letters, digits, `.`, `_` and `-`, at most 64";
                    reader.wrong(name.span, format!("`{}` cannot be a secret's name", name.value), Some(hint));
                }
            }
        }
        if let Some(mut defaults) = table.table(&mut reader, "defaults", "the defaults") {
            let target = defaults.text(&mut reader, "target");
            self.defaults.concurrency =
                defaults.number(&mut reader, "concurrency", 1..=10_000).and_then(|number| usize::try_from(number).ok());
            defaults.finish(&mut reader);
            if let Some(target) = target {
                // A target with a problem of its own is not missing.
                let described = document.get_ref().get("targets").and_then(|targets| targets.get_ref().as_table());
                let described = described.is_some_and(|targets| targets.contains_key(target.value.as_str()));
                if let Err(error) = self.target(&target.value)
                    && !described
                {
                    let problem = &error.problems()[0];
                    reader.wrong(target.span, problem.message.clone(), problem.hint.as_deref());
                }
                self.defaults.target = target.value;
            }
        }
        if let Some(mut limits) = table.table(&mut reader, "limits", "the limits") {
            self.limits = RunLimits {
                steps: limits.number(&mut reader, "steps", 1..=1_000_000_000_000),
                script_seconds: limits.number(&mut reader, "script_seconds", 1..=86_400),
                memory_mb: limits.number(&mut reader, "memory_mb", 1..=65_536),
                operations: limits.number(&mut reader, "operations", 1..=10_000_000),
                run_seconds: limits.number(&mut reader, "run_seconds", 1..=31_536_000),
                operation_seconds: limits.number(&mut reader, "operation_seconds", 1..=31_536_000),
            };
            limits.finish(&mut reader);
        }
        table.finish(&mut reader);

        let problems = reader.finish();
        if problems.is_empty() { Ok(()) } else { Err(InputError::new(problems)) }
    }
}

/// A path of the project; in the current folder it is shown as people write it, without `./`.
fn within(root: &Path, name: &str) -> PathBuf {
    if root == Path::new(".") { PathBuf::from(name) } else { root.join(name) }
}

/// A line that is not TOML may hold a secret all the same: its value is not shown.
fn hide_line(mut problem: Problem) -> Problem {
    if let Some(place) = &mut problem.place
        && let Some((key, value)) = place.text.split_once('=')
        && ["secret", "key", "token", "pass"].iter().any(|word| place.text.to_lowercase().contains(word))
    {
        let value: String = value.chars().map(|char| if char.is_alphanumeric() { '*' } else { char }).collect();
        place.text = format!("{key}={value}");
    }
    problem
}

fn target_name(name: &str) -> bool {
    name.len() <= 40
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
