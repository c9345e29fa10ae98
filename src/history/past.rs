use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize as _;
use serde_json::Value;

use super::Shortener;
use crate::event::Step;
use crate::operation::{Effect, Failure, FailureKind, Key, RecordedOperation, RecordedOutcome, Site};
use crate::playbook::Diagnostic;
use crate::store::{Ending, Entry, Journal, JournalError, Logged, RunRecord, RunState};

/// What one run did, in the order in which it happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct History {
    /// The run.
    pub run: RunRecord,
    /// Enough of its id to name it.
    pub short: String,
    /// Each process that went to work on it: the first, and those that resumed it.
    pub processes: Vec<Process>,
    /// Every attempt at every operation, by when it was begun; a read by when it was answered.
    pub operations: Vec<PastOperation>,
    /// What host functions told. What a resume tells again is here once.
    pub steps: Vec<PastStep>,
    /// What the playbook logged. What a resume logs again is here once.
    pub logs: Vec<PastLog>,
    /// The files of the project that were used.
    pub files: Vec<UsedFile>,
    /// Where changes of the playbook were accepted.
    pub accepted: Vec<Accepted>,
    /// The report with which it ended last.
    pub report: Option<Value>,
    /// The scripts it ran, with their places in the journal.
    scripts: Vec<(u64, String, String)>,
}

/// A process at work on a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The process, as a person would say it.
    pub name: String,
    /// The place in the journal at which it begins.
    pub sequence: u64,
    /// When it went to work.
    pub began: Timestamp,
    /// The last that is known of it.
    pub until: Timestamp,
    /// How it ended the run; `None` when it did not come to that.
    pub ending: Option<Ending>,
    /// Whether it is the one before, which started the script again because changes of the playbook were accepted.
    pub again: bool,
}

/// One attempt at an operation.
#[derive(Clone, Debug, PartialEq)]
pub struct PastOperation {
    /// Its key.
    pub key: Key,
    /// Which attempt at this key, counted from 0.
    pub attempt: u32,
    /// Which of the run's processes made it, counted from 0.
    pub process: usize,
    /// Its place in the journal.
    pub sequence: u64,
    /// What was asked.
    pub operation: RecordedOperation,
    /// When it was begun. Only of writes is this noted.
    pub began: Option<Timestamp>,
    /// When it was answered.
    pub ended: Option<Timestamp>,
    /// What came back.
    pub outcome: Option<RecordedOutcome>,
    /// What was found out later, when what came back did not say it.
    pub settled: Option<Settled>,
    /// Whether it does not count any more, because a changed playbook was accepted since. It was performed all the same.
    pub set_aside: bool,
}

/// What was found out about a write whose end was not known.
#[derive(Clone, Debug, PartialEq)]
pub struct Settled {
    /// When.
    pub at: Timestamp,
    /// Its answer, when it was performed.
    pub performed: Option<RecordedOutcome>,
    /// Who or what says so.
    pub evidence: String,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fate {
    /// It was done.
    Done,
    /// It failed, and changed nothing.
    Failed,
    /// Its end was not known; it was found not to have been performed.
    NotPerformed,
    /// Its end is not known: it may have been performed.
    Unknown,
    /// A process is at work on it.
    InProgress,
}

impl Fate {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::NotPerformed => "not_performed",
            Self::Unknown => "unknown",
            Self::InProgress => "in_progress",
        }
    }
}

/// A line of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// The place that is meant.
    pub site: Site,
    /// The line.
    pub text: String,
    /// How many characters of it are meant.
    pub width: usize,
}

/// A step with its time.
#[derive(Clone, Debug, PartialEq)]
pub struct PastStep {
    /// When it was told.
    pub at: Timestamp,
    /// Its place in the journal.
    pub sequence: u64,
    /// The step.
    pub step: Step,
}

/// A line that the playbook logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastLog {
    /// When.
    pub at: Timestamp,
    /// Its place in the journal.
    pub sequence: u64,
    /// `debug`, `info` or `warn`.
    pub level: String,
    /// The text.
    pub message: String,
    /// Where in the playbook.
    pub site: Option<Site>,
}

/// The playbook had changed, and that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// When.
    pub at: Timestamp,
    /// Its place in the journal.
    pub sequence: u64,
    /// The operation at which it showed: its host call and all after it went on live.
    pub key: Key,
}

/// A file that a run used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedFile {
    /// When it was used first.
    pub at: Timestamp,
    /// Its place in the journal.
    pub sequence: u64,
    /// Its path in the project.
    pub path: String,
    /// SHA-256 of its content, in hex.
    pub digest: String,
}

/// Requests to Qlik Cloud, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Those that changed nothing.
    pub reads: u32,
    /// Those that made, changed, removed or set in motion something.
    pub writes: u32,
    /// Tokens and logins.
    pub probes: u32,
}

impl PastOperation {
    /// What came back, or what was found out later.
    #[must_use]
    pub fn answer(&self) -> Option<&RecordedOutcome> {
        let settled = self.settled.as_ref().and_then(|settled| settled.performed.as_ref());
        settled.or(self.outcome.as_ref())
    }

    /// Why it failed, when it did.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self.answer() {
            Some(RecordedOutcome::Failure(failure)) => Some(failure),
            _ => None,
        }
    }

    /// The status of its answer, good or bad.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self.answer()? {
            RecordedOutcome::Answer { status, .. } => Some(*status),
            RecordedOutcome::Failure(failure) => failure.status,
        }
    }

    /// The JSON body of its answer.
    #[must_use]
    pub fn json(&self) -> Option<&Value> {
        match self.answer()? {
            RecordedOutcome::Answer { json, .. } => json.as_ref(),
            RecordedOutcome::Failure(_) => None,
        }
    }

    fn is_open(&self) -> bool {
        match &self.outcome {
            None => true,
            Some(RecordedOutcome::Failure(failure)) => {
                failure.kind == FailureKind::Unknown && self.operation.effect.is_write()
            }
            Some(RecordedOutcome::Answer { .. }) => false,
        }
    }
}

impl History {
    /// What the journal's entries of a run say.
    pub(crate) fn of(run: RunRecord, entries: Vec<Logged>) -> Self {
        let mut reader = Reader {
            history: Self {
                short: run.opening.id.clone(),
                run,
                processes: Vec::new(),
                operations: Vec::new(),
                steps: Vec::new(),
                logs: Vec::new(),
                files: Vec::new(),
                accepted: Vec::new(),
                report: None,
                scripts: Vec::new(),
            },
            open: BTreeMap::new(),
            told: Repeats::default(),
            logged: Repeats::default(),
        };
        for logged in entries {
            reader.read(logged);
        }
        reader.history
    }

    /// What one run did, with its scripts and the short form of its id. Blocks.
    pub(crate) fn read(journal: &Journal, id: &str) -> Result<Self, JournalError> {
        let run = journal.run(id)?;
        let entries = journal.entries(&run.opening.id)?;
        let mut history = Self::of(run, entries);
        history.short = Shortener::new(&journal.ids()?).of(&history.run.opening.id);
        let scripts = history.script_paths();
        for file in history.files.iter().filter(|file| scripts.contains(&file.path)) {
            if let Some(content) = journal.content(&file.digest)? {
                let text = String::from_utf8_lossy(&content).into_owned();
                history.scripts.push((file.sequence, file.path.clone(), text));
            }
        }
        Ok(history)
    }

    /// The files in which something was asked or told.
    fn script_paths(&self) -> BTreeSet<String> {
        let asked = self.operations.iter().map(|attempt| &attempt.operation.site);
        let told = self.steps.iter().map(|told| &told.step.site);
        let logged = self.logs.iter().map(|line| &line.site);
        let sites = asked.chain(told).chain(logged).flatten();
        sites.map(|site| site.file.clone()).chain([self.run.opening.playbook.clone()]).collect()
    }

    /// The script that a place belongs to, as it was when the entry of this `sequence` was written.
    #[must_use]
    pub fn script(&self, site: &Site, sequence: u64) -> Option<&str> {
        let mut known = self.scripts.iter().rev().filter(|(_, path, _)| *path == site.file);
        let before = known.clone().find(|(read, ..)| *read < sequence);
        before.or_else(|| known.next_back()).map(|(_, _, text)| text.as_str())
    }

    /// The place in the script with its line, as a diagnostic shows it.
    #[must_use]
    pub fn line(&self, site: &Site, sequence: u64) -> Option<SourceLine> {
        let text = self.script(site, sequence)?.lines().nth(site.line.checked_sub(1)?)?.to_owned();
        let width = site.width(&text);
        Some(SourceLine { site: site.clone(), text, width })
    }

    /// What became of an attempt of this run.
    #[must_use]
    pub fn fate(&self, operation: &PastOperation) -> Fate {
        if let Some(settled) = &operation.settled {
            return match settled.performed {
                Some(RecordedOutcome::Answer { .. }) => Fate::Done,
                _ => Fate::NotPerformed,
            };
        }
        let at_work = self.run.status == RunState::Running && operation.process + 1 == self.processes.len();
        match &operation.outcome {
            Some(RecordedOutcome::Answer { .. }) => Fate::Done,
            None if at_work => Fate::InProgress,
            _ if operation.is_open() => Fate::Unknown,
            _ => Fate::Failed,
        }
    }

    /// Writes whose end is not known.
    pub fn unsettled(&self) -> impl Iterator<Item = &PastOperation> {
        self.operations.iter().filter(|operation| self.fate(operation) == Fate::Unknown)
    }

    /// What was made, changed, removed or set in motion.
    pub fn changes(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().map(|told| &told.step).filter(|step| step.change.is_write())
    }

    /// The requests that went out, counted.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for attempt in &self.operations {
            let denied = attempt.failure().is_some_and(|failure| failure.kind == FailureKind::Denied);
            if denied || attempt.operation.request().is_none() {
                continue;
            }
            match attempt.operation.effect {
                Effect::Read => tally.reads += 1,
                Effect::Probe => tally.probes += 1,
                Effect::Create | Effect::Update | Effect::Delete | Effect::Act => tally.writes += 1,
            }
        }
        tally
    }

    /// Why it failed, when it did.
    #[must_use]
    pub fn error(&self) -> Option<Diagnostic> {
        Diagnostic::deserialize(self.report.as_ref()?.get("error")?).ok()
    }

    /// How many processes went to work on it.
    #[must_use]
    pub fn process_count(&self) -> usize {
        self.processes.iter().filter(|process| !process.again).count()
    }

    /// How long processes were at work on it, without the time between them.
    #[must_use]
    pub fn at_work(&self) -> SignedDuration {
        self.processes.iter().map(|process| process.until.duration_since(process.began)).sum()
    }
}

/// Reads entries, one after the other.
struct Reader {
    history: History,
    /// Where the writes are whose answer has not come yet.
    open: BTreeMap<(Key, u32), usize>,
    told: Repeats,
    logged: Repeats,
}

impl Reader {
    fn read(&mut self, Logged { sequence, at, entry }: Logged) {
        if let Entry::Began { process } = entry {
            let before = self.history.processes.last();
            let accepted = self.history.accepted.last().map_or(0, |accepted| accepted.sequence);
            let again = before
                .is_some_and(|before| before.name == process && before.ending.is_none() && before.sequence < accepted);
            let began = Process { name: process, sequence, began: at, until: at, ending: None, again };
            self.history.processes.push(began);
            self.told.begin();
            self.logged.begin();
            return;
        }
        if let Some(process) = self.history.processes.last_mut() {
            process.until = at;
        }
        let process = self.history.processes.len().saturating_sub(1);
        match entry {
            Entry::Began { .. } => {}
            Entry::File { path, digest } => {
                let known = self.history.files.iter().rev().find(|file| file.path == path);
                if known.is_none_or(|known| known.digest != digest) {
                    self.history.files.push(UsedFile { at, sequence, path, digest });
                }
            }
            Entry::Intent { key, attempt, operation, .. } => {
                self.open.insert((key.clone(), attempt), self.history.operations.len());
                let began = Some(at);
                self.add(PastOperation {
                    key,
                    attempt,
                    process,
                    sequence,
                    operation: *operation,
                    began,
                    ended: None,
                    outcome: None,
                    settled: None,
                    set_aside: false,
                });
            }
            Entry::Outcome { key, attempt, operation, outcome } => match (self.begun(&key, attempt), operation) {
                (Some(begun), _) => {
                    begun.ended = Some(at);
                    begun.outcome = Some(outcome);
                }
                (None, Some(operation)) => self.add(PastOperation {
                    key,
                    attempt,
                    process,
                    sequence,
                    operation: *operation,
                    began: None,
                    ended: Some(at),
                    outcome: Some(outcome),
                    settled: None,
                    set_aside: false,
                }),
                // An answer to what nobody asked says nothing.
                (None, None) => {}
            },
            Entry::Settled { key, attempt, performed, evidence } => {
                let mut attempts = self.history.operations.iter_mut().rev();
                if let Some(begun) = attempts.find(|begun| begun.key == key && begun.attempt == attempt) {
                    begun.settled = Some(Settled { at, performed, evidence });
                }
            }
            Entry::Accepted { key } => {
                let call = key.call_key();
                for attempt in &mut self.history.operations {
                    attempt.set_aside |=
                        attempt.key.call_key() == call || attempt.key.is_after(&call.branch, call.call);
                }
                self.history.accepted.push(Accepted { at, sequence, key });
            }
            Entry::Step(step) => {
                if self.told.is_new(&serde_json::to_string(&step).unwrap_or_default()) {
                    self.history.steps.push(PastStep { at, sequence, step });
                }
            }
            Entry::Log { level, message, site } => {
                if self.logged.is_new(&format!("{level} {site:?} {message}")) {
                    self.history.logs.push(PastLog { at, sequence, level, message, site });
                }
            }
            Entry::Ended { status, report } => {
                if let Some(process) = self.history.processes.last_mut() {
                    process.ending = Some(status);
                }
                self.history.report = Some(report);
            }
        }
    }

    fn add(&mut self, operation: PastOperation) {
        self.history.operations.push(operation);
    }

    /// The attempt that was begun and whose answer has not come yet.
    fn begun(&mut self, key: &Key, attempt: u32) -> Option<&mut PastOperation> {
        let place = self.open.remove(&(key.clone(), attempt))?;
        self.history.operations.get_mut(place)
    }
}

/// Tells what is new from what a resume, which goes through the playbook from its start, tells again.
#[derive(Default)]
struct Repeats {
    /// How often each was told by the process that told it most often.
    known: BTreeMap<String, u32>,
    /// How often by this process.
    now: BTreeMap<String, u32>,
}

impl Repeats {
    fn begin(&mut self) {
        self.now.clear();
    }

    fn is_new(&mut self, text: &str) -> bool {
        let now = self.now.entry(text.to_owned()).or_default();
        *now += 1;
        let known = self.known.entry(text.to_owned()).or_default();
        let new = *now > *known;
        *known = (*known).max(*now);
        new
    }
}
