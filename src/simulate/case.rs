//! What a storm is made for: a playbook and customers of a project.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::plan::Plan;
use crate::interpreter::Layer;
use crate::playbook::Playbook;
use crate::project::{Customer, InputError, Project};

/// A playbook and the customers it is run for, all at once.
#[derive(Clone)]
pub struct Case {
    /// The project.
    pub project: Project,
    /// The playbook's path in it.
    pub playbook: PathBuf,
    /// The playbook that makes what this one works on; it is run first, without harm.
    pub first: Vec<PathBuf>,
    /// A customer for each actor; the same one twice makes two runs race for it.
    pub customers: Vec<Customer>,
    /// Texts of the secrets that the project names: ones that can be recognized wherever they show up.
    pub secrets: BTreeMap<String, String>,
    /// A layer around what performs operations, to see whether the storm finds a defect there. How all ends when nothing
    /// goes wrong is found out without it.
    pub layer: Option<Layer>,
}

impl Case {
    /// A case of a project, with a recognizable text for each secret of its settings.
    #[must_use]
    pub fn new(project: &Project, playbook: impl Into<PathBuf>, customers: Vec<Customer>) -> Self {
        let secrets = project.secrets().keys().map(|name| (name.clone(), format!("canary-{name}-4b1d"))).collect();
        let playbook = playbook.into();
        let first = after(project, &playbook);
        Self { project: project.clone(), playbook, first, customers, secrets, layer: None }
    }

    /// The command that carries out a plan for this case again, in this program's own repository.
    #[must_use]
    pub fn command(&self, plan: &Plan) -> String {
        let codes: Vec<&str> = self.customers.iter().map(Customer::code).collect();
        let (playbook, codes) = (self.playbook.display(), codes.join(","));
        format!("cargo run --release --example storm -- --playbook {playbook} --customers {codes} --faults '{plan}'")
    }

    /// Each playbook of a project (`playbooks/*.rhai`) for each customer (`customers/`) alone.
    ///
    /// # Errors
    /// When the customers cannot be read.
    pub fn alone(project: &Project) -> Result<Vec<Self>, InputError> {
        let customers = Customer::load(&project.root().join("customers"))?;
        let each = |playbook: PathBuf| {
            let of = move |customer: &Customer| Self::new(project, &playbook, vec![customer.clone()]);
            customers.iter().map(of).collect::<Vec<_>>()
        };
        Ok(playbooks(project.root()).into_iter().flat_map(each).collect())
    }

    /// Each playbook of a project for every two neighbours among the customers at once, and for one customer twice.
    ///
    /// # Errors
    /// When the customers cannot be read.
    pub fn together(project: &Project) -> Result<Vec<Self>, InputError> {
        let customers = Customer::load(&project.root().join("customers"))?;
        let mut all = Vec::new();
        for playbook in playbooks(project.root()) {
            for pair in customers.windows(2) {
                all.push(Self::new(project, &playbook, pair.to_vec()));
            }
            if let Some(customer) = customers.first() {
                all.push(Self::new(project, &playbook, vec![customer.clone(), customer.clone()]));
            }
        }
        Ok(all)
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Case").field(&self.to_string()).finish()
    }
}

impl fmt::Display for Case {
    /// The playbook and the codes of the customers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codes: Vec<&str> = self.customers.iter().map(Customer::code).collect();
        write!(f, "{} for {}", self.playbook.display(), codes.join(", "))
    }
}

/// What the playbook's header says it comes after, and what that comes after, the first one first; one that cannot be read
/// says nothing, and fails when it is run.
fn after(project: &Project, playbook: &Path) -> Vec<PathBuf> {
    let mut chain: Vec<PathBuf> = Vec::new();
    let mut last = playbook.to_owned();
    while let Some(before) = Playbook::load(project.root(), &last).ok().and_then(|text| text.header().after.clone()) {
        last = before.into();
        if chain.contains(&last) {
            break;
        }
        chain.insert(0, last.clone());
    }
    chain
}

/// The playbooks of a project, by name; those in folders below are libraries.
fn playbooks(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root.join("playbooks")).into_iter().flatten();
    let mut all: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "rhai"))
        .filter_map(|path| Some(path.strip_prefix(root).ok()?.to_owned()))
        .collect();
    all.sort();
    all
}
