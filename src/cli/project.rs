//! What every command does first: the project is found, and most build a host on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tenantry::{Customer, Host, HostBuilder, InputError, Playbook, Project};

use super::arguments::{Common, What};
use super::console::Console;
use super::environment::ProcessEnvironment;
use super::exit::Exit;
use crate::report::Trouble;

/// Why a command ends before it began.
pub(crate) type Stopped = (Vec<Trouble>, Exit);

/// The project that the command line means.
pub(crate) fn find(common: &Common) -> Result<Project, Stopped> {
    let found = match &common.project {
        Some(folder) if !folder.is_dir() => {
            let trouble = Trouble::new(format!("there is no folder {}", folder.display()))
                .help("--project names the folder that holds playbooks/ and tenantry.toml");
            return Err((vec![trouble], Exit::Configuration));
        }
        Some(folder) => Project::open(folder),
        None => {
            let here = std::env::current_dir().map_err(|error| {
                (vec![Trouble::new(format!("the current folder cannot be read: {error}"))], Exit::Configuration)
            })?;
            // Short paths are shown when it is the current one.
            let root = here.ancestors().find(|folder| folder.join(tenantry::SETTINGS_FILE).is_file());
            Project::open(root.filter(|root| *root != here).unwrap_or(Path::new(".")))
        }
    };
    found.map_err(|error| of_input(&error))
}

/// A host on the project, and the name of the target that is meant.
pub(crate) fn host(common: &Common, set: impl FnOnce(HostBuilder) -> HostBuilder) -> Result<(Host, String), Stopped> {
    let project = find(common)?;
    let target = common.target.clone().unwrap_or_else(|| project.defaults().target.clone());
    project.target(&target).map_err(|error| of_input(&error))?;
    let builder = Host::builder().project(project).environment(Arc::new(ProcessEnvironment));
    match set(builder).build() {
        Ok(host) => Ok((host, target)),
        Err(error) => Err((vec![Trouble::from(&error)], Exit::Configuration)),
    }
}

/// The playbook and its customers, each as the playbook gets it. Every problem is told, and nothing is sent before.
pub(crate) fn read(host: &Host, what: &What) -> Result<(Playbook, Vec<Customer>), Stopped> {
    let mut troubles = Vec::new();
    let playbook = host
        .playbook(self::playbook(host.project(), &what.playbook))
        .map_err(|error| troubles.push(Trouble::from(&error)));
    let customers = Customer::load_all(what.paths()).unwrap_or_else(|error| {
        troubles.extend(error.problems().iter().map(Trouble::from));
        Vec::new()
    });
    let mut admitted = Vec::with_capacity(customers.len());
    if let Ok(playbook) = &playbook {
        for customer in &customers {
            match playbook.admit(customer) {
                Ok(customer) => admitted.push(customer),
                Err(error) => troubles.extend(error.problems().iter().map(Trouble::from)),
            }
        }
    }
    match playbook {
        Ok(playbook) if troubles.is_empty() => Ok((playbook, admitted)),
        _ => Err((troubles, Exit::Configuration)),
    }
}

fn of_input(error: &InputError) -> Stopped {
    (error.problems().iter().map(Trouble::from).collect(), Exit::Configuration)
}

/// A playbook's path for the host: the person means it from the current folder, or else from the project's.
pub(crate) fn playbook(project: &Project, path: &Path) -> PathBuf {
    if project.root() == Path::new(".") {
        return path.to_owned();
    }
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Whether what was shown is to be done: it was said already, or somebody is asked. Without a terminal nobody can be.
pub(crate) fn agreed(console: &Console, common: &Common, yes: bool) -> Result<bool, Stopped> {
    if yes {
        return Ok(true);
    }
    if !common.json && console.can_ask() {
        return Ok(console.ask("Do this?", false));
    }
    let trouble = Trouble::new("nothing was done: nobody was there to be asked")
        .help("`--yes` does it without asking, `--dry-run` only shows it");
    Err((vec![trouble], Exit::Usage))
}
