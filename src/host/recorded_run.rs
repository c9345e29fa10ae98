//! A run as its journal has it, with its files, ready to be gone through once more.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt as _;

use super::earlier::Earlier;
use super::{Host, builder};
use crate::interpreter::{Interpreter as _, Permitted, Record, Replay};
use crate::operation::{Failure, FailureKind, Key, Operation, Outcome, Written};
use crate::playbook::{Diagnostic, Playbook, Runtime, Session, Start};
use crate::store::{Entry, Journal, Logged, RunKind, RunRecord};

/// A run of a playbook, from its record alone: no network, no project, no secret.
pub(super) struct RecordedRun {
    pub(super) record: RunRecord,
    pub(super) entries: Vec<Logged>,
    pub(super) earlier: Earlier,
    folder: Folder,
}

impl RecordedRun {
    /// Reads the run of this id; the beginning is enough. Blocks.
    pub(super) fn open(host: &Host, id: &str) -> Result<Self, Diagnostic> {
        let failed = |failure: Failure| Diagnostic::of_failure(&failure);
        let journal = host.0.state.journal();
        let record = journal.run(id).map_err(|error| failed(error.into()))?;
        if let RunKind::Undo(of) = &record.opening.kind {
            let title = format!("run {} takes back run {of}: it has no playbook to replay", record.opening.id);
            return Err(failed(Failure::new(FailureKind::Denied, "tenantry/run-kind", title)));
        }
        let entries = journal.entries(&record.opening.id).map_err(|error| failed(error.into()))?;
        let earlier = Earlier::up_to_now(&entries);
        let folder = Folder::new(host, &record.opening.id)?;
        folder.fill(&journal, &earlier)?;
        Ok(Self { record, entries, earlier, folder })
    }

    /// The run's script at its start, and what answers it.
    pub(super) fn start(&self, host: &Host) -> Result<(Session, Permitted<Replay>), Diagnostic> {
        let (opening, folder) = (&self.record.opening, self.folder.0.as_path());
        let runtime = Runtime::new(folder, &builder::extensions(folder, &host.0.functions));
        let playbook = Playbook::load(folder, Path::new(&opening.playbook))?;
        let permits = host.permits(&playbook)?;
        let start = Start {
            customer: opening.inputs.clone(),
            limits: host.0.limits,
            clock: Arc::clone(&host.0.clock),
            verify: opening.verify,
        };
        let mut session = runtime.start(&playbook, start)?;
        session.set_written(written_before(&self.entries));
        session.set_processes(self.earlier.record.processes_as_they_were());
        Ok((session, Permitted::new(Replay::new(self.earlier.record.clone()), permits)))
    }
}

/// A folder for the files of a run, gone when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(host: &Host, run: &str) -> Result<Self, Diagnostic> {
        let place = host.0.project.state_folder().join("replay");
        let unusable = |error: std::io::Error| {
            Diagnostic::new(format!("a folder for the replay cannot be made in {}: {error}", place.display()))
        };
        crate::store::private_folder(&place).map_err(unusable)?;
        // Another replay of the same run may be under way, or have died.
        for number in 0_u32.. {
            let folder = place.join(format!("{run}-{number}"));
            match std::fs::create_dir(&folder) {
                Ok(()) => return Ok(Self(folder)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(unusable(error)),
            }
        }
        Err(Diagnostic::new("there are too many replays"))
    }

    /// Writes every file as the run used it last.
    fn fill(&self, journal: &Journal, earlier: &Earlier) -> Result<(), Diagnostic> {
        for (path, digest) in &earlier.files {
            let relative = Path::new(path);
            // A path of the project's, or the journal is not ours.
            if !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
                return Err(Diagnostic::new(format!("the recorded file `{path}` lies outside the project")));
            }
            let content = journal.content(digest).map_err(|error| Diagnostic::of_failure(&error.into()))?;
            let content = content.ok_or_else(|| Diagnostic::new(format!("the journal no longer has `{path}`")))?;
            let place = self.0.join(relative);
            let unwritable = |error| Diagnostic::new(format!("cannot write {}: {error}", place.display()));
            place.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(unwritable)?;
            std::fs::write(&place, content).map_err(unwritable)?;
        }
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "the folder of a replay could not be removed");
        }
    }
}

/// What the record says to an operation.
pub(super) fn answer(answers: &Permitted<Replay>, key: &Key, operation: &Operation) -> Outcome {
    let waits = || Err(Failure::new(FailureKind::Cancelled, "tenantry/record-ends", "the record cannot be read"));
    answers.perform(key, operation).now_or_never().unwrap_or_else(waits)
}

/// The place where the last process went to work on a run.
pub(super) fn last_began(entries: &[Logged]) -> usize {
    entries.iter().rposition(|logged| matches!(logged.entry, Entry::Began { .. })).unwrap_or(0)
}

/// What the last process knew to be written when it started its script: by those before it, as far as was known or found
/// out by then.
fn written_before(entries: &[Logged]) -> Written {
    let (before, last) = entries.split_at(last_began(entries));
    let settles = |logged: &&Logged| matches!(logged.entry, Entry::Settled { .. } | Entry::File { .. });
    // Whatever is settled first of all is of those before: its own attempts come later.
    let first = last.iter().skip(1).take_while(settles);
    Record::of(&before.iter().chain(first).cloned().collect::<Vec<_>>()).written()
}
