//! A run's work, wherever its script is driven: open, go through the script, close.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::watch;

use super::apply::{self, Keeping};
use super::connection::{Connection, Turn};
use super::drive::{Driven, Ending, is_to_end};
use super::earlier::Earlier;
use super::open_log::OpenLog;
use super::report::RunReport;
use super::resume::Resume;
use super::run::Timeouts;
use super::teller::{Scribe, Teller};
use super::{Host, Playbook};
use crate::interpreter::{Applied, Interpreter, Journaled, Journaling, Permitted, Sourced};
use crate::operation::{Failure, Key, Outcome, Site};
use crate::playbook::{Diagnostic, RecordedLine, Runtime, Session, Start};
use crate::project::Customer;
use crate::store::{Entry, JournalError, Lease, Logged, Opening, RunKind, RunLog};

/// What a run is about.
pub(super) struct Work {
    pub(super) host: Host,
    pub(super) playbook: Playbook,
    pub(super) customer: Customer,
    pub(super) verify: bool,
    pub(super) timeouts: Timeouts,
    pub(super) resume: Option<Resume>,
    pub(super) keeping: Option<Keeping>,
    pub(super) teller: Arc<Teller>,
}

/// Why a run is to end.
type EndingSender = watch::Sender<Option<Ending>>;

/// What is there while a run goes.
struct Opened {
    connection: Arc<Connection>,
    /// What performs operations, under the journal.
    performs: Arc<dyn Interpreter>,
    log: OpenLog,
    earlier: Earlier,
    turn: Turn,
}

/// The layer that records.
type Recorder = Journaled<Arc<dyn Interpreter>>;

impl Work {
    /// Does it all. `pass` goes through the script once; a changed playbook may need it twice.
    pub(super) async fn run<F, D>(&self, ending: &EndingSender, pass: F) -> RunReport
    where
        F: Fn(Scribe, Arc<dyn Interpreter>) -> D,
        D: Future<Output = Driven>,
    {
        self.teller.started();
        let mut opened = match self.open(ending.subscribe()).await {
            Ok(opened) => opened,
            Err(diagnostic) => return self.refused(diagnostic),
        };
        let driven = self.passes(&mut opened, ending, pass).await;
        self.close(opened, driven).await
    }

    /// Opens the target and the journal. A run that is to end meanwhile does not wait for the target, nor for its turn.
    async fn open(&self, mut ending: watch::Receiver<Option<Ending>>) -> Result<Opened, Diagnostic> {
        let host = &self.host.0;
        let place = async {
            let connection = host.connections.get(host, &self.teller.target).await?;
            let (lease, turn) = connection.take(host, self.customer.code(), &self.teller.run).await?;
            Ok::<_, Failure>((connection, lease, turn))
        };
        let (connection, lease, turn) = tokio::select! {
            biased;
            () = is_to_end(&mut ending) => return Err(ended(&ending)),
            place = place => place.map_err(|failure| Diagnostic::of_failure(&failure))?,
        };
        let opened = self.begin(connection, lease, turn).await;
        opened.map_err(|failure| Diagnostic::of_failure(&failure))
    }

    /// Begins the run in the journal, or takes it up again.
    async fn begin(&self, connection: Arc<Connection>, lease: Lease, turn: Turn) -> Result<Opened, Failure> {
        let host = &self.host.0;
        let journal = host.state.journal();
        let (scope, code) = (connection.scope(), self.customer.code().to_owned());
        if let Some(keeping) = &self.keeping {
            apply::check_scope(&keeping.plan, &scope)?;
        }
        let recent = journal.ask(move |journal| journal.last_work(&scope, &code)).await?;
        let (log, mut earlier) = if self.resume.is_some() {
            // Whoever had the run before has let go of it by now.
            let run = self.teller.run.clone();
            let record = journal.ask(move |journal| journal.run(&run)).await?;
            super::resume::check(&record)?;
            super::resume::check_scope(&record, &connection.scope())?;
            let (_, entries, log) = journal.reopen(&self.teller.run).await?;
            (log, Earlier::of(&entries))
        } else {
            (journal.begin(self.opening(&connection)).await?, Earlier::default())
        };
        let log = OpenLog::new(log, &self.teller.run, self.customer.code());
        log.note(&Entry::Began { process: host.state.process() });
        if let Some((path, content)) = self.playbook.schema_file() {
            earlier.note_file(&log, path, content);
        }
        let (customer, run) = (self.customer.code(), self.teller.run.as_str());
        let performs = connection.interpreter(host, lease, customer, run, recent, self.timeouts.operation);
        let performs = Arc::new(Sourced::new(performs, connection.source()));
        Ok(Opened { connection, performs, log, earlier, turn })
    }

    fn opening(&self, connection: &Connection) -> Opening {
        Opening {
            id: self.teller.run.clone(),
            kind: RunKind::Run,
            playbook: self.playbook.file().to_owned(),
            scope: connection.scope(),
            customer: self.customer.code().to_owned(),
            target: self.teller.target.clone(),
            inputs: self.customer.values().clone(),
            verify: self.verify,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            plan: self.keeping.as_ref().map(|keeping| keeping.plan.digest.clone()),
        }
    }

    /// Goes through the script, and once more when changes were accepted that only show in the middle of a host call.
    async fn passes<F, D>(&self, opened: &mut Opened, ending: &EndingSender, pass: F) -> Driven
    where
        F: Fn(Scribe, Arc<dyn Interpreter>) -> D,
        D: Future<Output = Driven>,
    {
        let mut resume = self.resume.clone();
        let mut before = super::drive::Counts::default();
        loop {
            let record = &opened.earlier.record;
            let (operations, left) = (record.operations(), record.unsettled().len());
            let (recorder, scribe) = self.recorder(opened, ending);
            if let Some(resume) = resume.take() {
                if let Err(diagnostic) = self.settle(&recorder, &resume, ending).await {
                    return Driven::refused(diagnostic);
                }
                self.teller.resumed(operations, left);
            }
            let mut driven = self.kept(Arc::clone(&recorder), |performs| pass(scribe, performs)).await;
            driven.counts += before;
            let Some(key) = recorder.restart() else {
                return self.explained(&recorder, &opened.earlier, driven).await;
            };
            before = driven.counts;
            if let Err(failure) = recorder.live_from(&key).await {
                return Driven::refused(Diagnostic::of_failure(&failure));
            }
            // The script starts again, as if another process had taken the run up.
            match self.entries().await {
                Ok(entries) => opened.earlier = Earlier::of(&entries),
                Err(error) => return Driven::refused(Diagnostic::of_failure(&error.into())),
            }
            opened.log.note(&Entry::Began { process: self.host.0.state.process() });
        }
    }

    /// Goes through the script within what the playbook is permitted, and within the plan when there is one.
    async fn kept<D: Future<Output = Driven>>(
        &self,
        recorder: Arc<Recorder>,
        pass: impl FnOnce(Arc<dyn Interpreter>) -> D,
    ) -> Driven {
        let permits = self.playbook.permits.clone();
        let Some(Keeping { plan, unchanged }) = &self.keeping else {
            return pass(Arc::new(Permitted::new(recorder, permits))).await;
        };
        let applied = Arc::new(Applied::new(recorder, plan, *unchanged));
        if self.resume.is_some() {
            match self.entries().await {
                Ok(entries) => answers(entries).for_each(|(key, outcome)| applied.recall(&key, &outcome)),
                Err(error) => return Driven::refused(Diagnostic::of_failure(&error.into())),
            }
        }
        let mut driven = pass(Arc::new(Permitted::new(Arc::clone(&applied), permits))).await;
        let left = applied.left();
        if driven.output.is_ok() && !left.is_empty() {
            driven.output = Err(apply::unfinished(&left));
        }
        driven
    }

    /// What the journal has of the run by now.
    async fn entries(&self) -> Result<Vec<Logged>, JournalError> {
        let run = self.teller.run.clone();
        self.host.0.state.journal().ask(move |journal| journal.entries(&run)).await
    }

    fn recorder(&self, opened: &mut Opened, ending: &EndingSender) -> (Arc<Recorder>, Scribe) {
        let earlier = &mut opened.earlier;
        let host = &self.host.0;
        let log = RunLog::clone(&opened.log);
        let journaling = Journaling {
            run: self.teller.run.clone(),
            log: log.clone(),
            record: std::mem::take(&mut earlier.record),
            fingerprints: host.fingerprints.clone(),
            clock: Arc::clone(&host.clock),
        };
        let accept = self.resume.as_ref().is_some_and(|resume| resume.accept_changes);
        let ending = ending.clone();
        let until = move || {
            let mut ending = ending.subscribe();
            async move { is_to_end(&mut ending).await }.boxed()
        };
        let recorder =
            Arc::new(Journaled::new(Arc::clone(&opened.performs), journaling).accept_changes(accept).until(until));
        let scribe = Scribe {
            teller: Arc::clone(&self.teller),
            log,
            journaled: Arc::clone(&recorder),
            files: RefCell::new(earlier.files.clone()),
            logs: Cell::new(earlier.logs),
        };
        (recorder, scribe)
    }

    /// Finds out what became of the writes whose end is not known, before anything is sent.
    async fn settle(&self, recorder: &Recorder, resume: &Resume, ending: &EndingSender) -> Result<(), Diagnostic> {
        let mut ending = ending.subscribe();
        let settled = tokio::select! {
            biased;
            () = is_to_end(&mut ending) => return Err(ended(&ending)),
            settled = recorder.settle_left(&resume.decided) => settled,
        };
        settled.map_err(|failure| Diagnostic::of_failure(&failure))
    }

    /// Shows where the playbook as it was had asked something else.
    async fn explained(&self, recorder: &Recorder, earlier: &Earlier, mut driven: Driven) -> Driven {
        if let (Err(diagnostic), Some(site)) = (&mut driven.output, recorder.diverged()) {
            let text = self.recorded_text(earlier, &site).await;
            diagnostic.recorded = Some(Box::new(RecordedLine::of(site, text.as_deref())));
        }
        driven
    }

    /// The text of a file as the run had used it.
    async fn recorded_text(&self, earlier: &Earlier, site: &Site) -> Option<String> {
        let digest = earlier.files.get(&site.file)?.clone();
        let content = self.host.0.state.journal().ask(move |journal| journal.content(&digest)).await;
        String::from_utf8(content.ok()??).ok()
    }

    /// Starts the script.
    pub(super) fn start(&self, runtime: &Runtime, scribe: &Scribe) -> Result<Session, Diagnostic> {
        let host = &self.host.0;
        let start = Start {
            customer: self.customer.values().clone(),
            limits: host.limits,
            clock: Arc::clone(&host.clock),
            verify: self.verify,
        };
        let mut session = runtime.start(&self.playbook.text, start)?;
        session.set_written(scribe.journaled.written());
        session.set_processes(scribe.journaled.processes());
        Ok(session)
    }

    /// Ends a run in the journal and gives its report.
    async fn close(&self, opened: Opened, mut driven: Driven) -> RunReport {
        let Opened { connection, performs, mut log, mut earlier, turn } = opened;
        if self.resume.as_ref().is_some_and(|resume| resume.accept_changes)
            && let Ok(now) = self.entries().await
        {
            // What was accepted on the way took back what had been kept.
            earlier = Earlier::up_to_now(&now);
        }
        driven.changes = earlier.changes(driven.changes);
        let tenant = connection.tenant_of(&self.host.0, self.customer.code()).await;
        let mut report = RunReport::new(&self.teller.run, self.customer.code(), driven, tenant);
        report.recorded = true;
        report.keeps_plan = self.keeping.is_some();
        if let Err(error) = log.end(&report).await {
            report.not_recorded(error);
        }
        // With the layers go the leases, and then the turn.
        drop(performs);
        drop(turn);
        self.teller.finished(&report);
        report
    }

    /// The report of a run that did not begin.
    pub(super) fn refused(&self, diagnostic: Diagnostic) -> RunReport {
        let report = RunReport::new(&self.teller.run, self.customer.code(), Driven::refused(diagnostic), None);
        self.teller.finished(&report);
        report
    }
}

/// What a run was answered so far, by what is on record or was found out since.
fn answers(entries: Vec<Logged>) -> impl Iterator<Item = (Key, Outcome)> {
    entries.into_iter().filter_map(|logged| match logged.entry {
        Entry::Outcome { key, outcome, .. } => Some((key, outcome.into())),
        Entry::Settled { key, performed, .. } => Some((key, performed?.into())),
        _ => None,
    })
}

/// Why a run ends that has not come to its script.
fn ended(ending: &watch::Receiver<Option<Ending>>) -> Diagnostic {
    let reason = ending.borrow().unwrap_or(Ending::Cancelled);
    Diagnostic::of_stop(&reason.into())
}
