//! A state file that was cut off or in which a bit has flipped: whoever opens it gets an error or a right answer.
//!
//! What is right: after a cut, what stood there at one moment of the past, as after a crash at that moment; after a
//! flipped bit, exactly what was written. One exception is the database's: the last transaction in its log is left out
//! when it does not add up, since that is how the log looks where power failed before anybody was told.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use tempfile::TempDir;
use tenantry::event::{Change, Step};
use tenantry::store::{
    Ending, Entry, Intent, JournalError, Logged, Opening, RegistryError, RunFilter, RunKind, RunLog, RunState, State,
    StateError, Tenant,
};
use tenantry::surroundings::{Clock, SystemClock};

const SEED: u64 = 20_261_124;

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::default())
}

/// A folder in memory where there is one: every trial syncs.
fn folder() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap()
}

/// Everything that a state file says.
#[derive(Clone, Debug, PartialEq)]
struct Everything {
    tenants: Vec<Tenant>,
    intents: Vec<Intent>,
    runs: Vec<(String, RunState, Option<String>)>,
    entries: Vec<Vec<Logged>>,
    contents: Vec<Vec<u8>>,
}

impl Everything {
    fn shown(&self) -> String {
        let lengths: Vec<usize> = self.entries.iter().map(Vec::len).collect();
        format!("{:?}\n{:?}\n{:?}\nentries {lengths:?}", self.tenants, self.intents, self.runs)
    }
}

/// Why it cannot be said.
#[derive(Debug)]
struct Refused(String);

impl From<StateError> for Refused {
    fn from(error: StateError) -> Self {
        Self(error.to_string())
    }
}

impl From<RegistryError> for Refused {
    fn from(error: RegistryError) -> Self {
        Self(error.to_string())
    }
}

impl From<JournalError> for Refused {
    fn from(error: JournalError) -> Self {
        Self(error.to_string())
    }
}

fn read(state: &State) -> Result<Everything, Refused> {
    let (registry, journal) = (state.registry(), state.journal());
    let runs = journal.runs(&RunFilter::default())?;
    // As `run` asks whether there is one to be resumed.
    for customer in ["hb", "fw"] {
        let asked = RunFilter {
            scope: Some("org".to_owned()),
            customer: Some(customer.to_owned()),
            playbook: Some("playbooks/onboard.rhai".to_owned()),
            limit: None,
        };
        let of_customer = journal.runs(&asked)?;
        let expected: Vec<_> = runs.iter().filter(|run| run.opening.customer == customer).cloned().collect();
        assert!(of_customer == expected, "two answers to one question");
        let latest = journal.runs(&RunFilter { limit: Some(1), ..asked })?;
        assert!(latest[..] == expected[..expected.len().min(1)], "two answers to one question");
    }
    let mut entries = Vec::new();
    let mut contents = Vec::new();
    for run in &runs {
        let own = journal.entries(&run.opening.id)?;
        for logged in &own {
            if let Entry::File { digest, .. } = &logged.entry {
                // An entry names it, so it cannot be that there is none.
                contents.push(journal.content(digest)?.ok_or_else(|| Refused(format!("{digest} is missing")))?);
            }
        }
        entries.push(own);
    }
    Ok(Everything {
        tenants: registry.tenants("org")?,
        intents: registry.intents("org")?,
        runs: runs.into_iter().map(|run| (run.opening.id, run.status, run.superseded_by)).collect(),
        entries,
        contents,
    })
}

fn opening(id: &str, customer: &str) -> Opening {
    Opening {
        id: id.to_owned(),
        kind: RunKind::Run,
        playbook: "playbooks/onboard.rhai".to_owned(),
        scope: "org".to_owned(),
        customer: customer.to_owned(),
        target: "sandbox".to_owned(),
        inputs: json!({ "code": customer, "name": "Harbour Logistics", "users": ["a", "b", "c"] }),
        verify: false,
        plan: None,
        release: "0.1.0".to_owned(),
    }
}

fn step(number: usize) -> Entry {
    let subject = format!("space \"{number}\", {}", "which has a long name ".repeat(number % 7));
    Entry::Step(Step { change: Change::Created, subject, fields: Vec::new(), call: None, site: None })
}

fn tenant(customer: &str, id: &str) -> Tenant {
    Tenant {
        customer: customer.to_owned(),
        id: id.to_owned(),
        hostname: format!("{id}.eu.qlikcloud.com"),
        alias: None,
        region: "eu".to_owned(),
        name: None,
        status: "active".to_owned(),
        created_by_run: Some("run-1".to_owned()),
    }
}

/// The two files of a state whose process was killed, and everything they have said at any moment.
struct Killed {
    database: Vec<u8>,
    log: Vec<u8>,
    /// What was acknowledged, step by step.
    past: Vec<Everything>,
    /// How long the log was at each step.
    lengths: Vec<usize>,
}

fn log_of(path: &Path) -> PathBuf {
    path.with_file_name("state.db-wal")
}

impl Killed {
    /// Two customers, runs that ended, one at work. Most of it lies in the database, the end in its log.
    async fn new() -> Self {
        let folder = folder();
        let path = folder.path().join("state.db");
        let mut own = Self { database: Vec::new(), log: Vec::new(), past: Vec::new(), lengths: Vec::new() };
        for part in 0..2 {
            let state = State::open(&path, clock()).unwrap();
            own.write(part, &state, &path).await;
            if part == 1 {
                own.database = std::fs::read(&path).unwrap();
                own.log = std::fs::read(log_of(&path)).unwrap();
            }
        }
        own
    }

    async fn write(&mut self, part: usize, state: &State, path: &Path) {
        let (registry, journal) = (state.registry(), state.journal());
        let acknowledged = |own: &mut Self| {
            // Whoever opens the copy finds no process at work.
            let mut now = read(state).unwrap();
            for (_, run, _) in &mut now.runs {
                *run = if *run == RunState::Running { RunState::Interrupted } else { *run };
            }
            own.past.push(now);
            own.lengths.push(std::fs::read(log_of(path)).map_or(0, |log| log.len()));
        };
        acknowledged(self);
        for customer in ["fw", "hb"] {
            let id = format!("run-{part}-{customer}");
            let log: RunLog = journal.begin(opening(&id, customer)).await.unwrap();
            acknowledged(self);
            log.note_file("playbooks/onboard.rhai", &b"let tenant = tenants::ensure(customer); ".repeat(20));
            log.append(&Entry::Began { process: "process 1".to_owned() }).await.unwrap();
            acknowledged(self);
            // Nobody waited for the file, so its entry may have become durable alone.
            let mut alone = self.past.last().unwrap().clone();
            let run = alone.runs.iter().position(|(known, ..)| *known == id).unwrap();
            alone.entries[run].pop();
            self.past.insert(self.past.len() - 1, alone);
            self.lengths.insert(self.lengths.len() - 1, *self.lengths.last().unwrap());
            if part == 0 {
                registry.begin_create("org", customer, &id, "0:createTenant#0", "ab12").unwrap();
                acknowledged(self);
                registry.settle_created("org", &tenant(customer, &format!("t-{customer}"))).unwrap();
                acknowledged(self);
            }
            for number in 0..if part == 0 { 20 } else { 2 } {
                log.append(&step(number)).await.unwrap();
                acknowledged(self);
            }
            if customer == "fw" {
                log.end(Ending::Succeeded, json!({ "output": { "url": "https://t.eu.qlikcloud.com" } })).await.unwrap();
                acknowledged(self);
                registry.begin_create("org", &format!("c{part}"), &id, "0:createTenant#0", "ab12").unwrap();
                acknowledged(self);
            }
        }
    }

    /// Panics when it says anything but what was written.
    fn must_be_last(&self, everything: &Everything) {
        let moment = self.moment(everything);
        assert!(self.past[moment] == self.past[self.past.len() - 1], "{moment} instead of {}", self.past.len() - 1);
    }

    /// The moment of the past at which everything was so.
    fn moment(&self, everything: &Everything) -> usize {
        let moment = self.past.iter().rposition(|past| past == everything);
        moment.unwrap_or_else(|| panic!("it was never so: {}", everything.shown()))
    }
}

/// What is tried: a cut or a flipped bit, and the folder for it.
struct Trial<'t> {
    place: &'t Path,
    /// Whether a run is gone on with as well.
    resumes: bool,
}

impl Trial<'_> {
    /// Opens a copy of the two files. A run that goes on must go on from what they say.
    fn open(&self, database: &[u8], log: &[u8]) -> Result<Everything, Refused> {
        let path = self.place.join("state.db");
        // Of an earlier trial.
        let _ = std::fs::remove_file(self.place.join("state.db-shm"));
        std::fs::write(&path, database).unwrap();
        std::fs::write(log_of(&path), log).unwrap();
        let state = State::open(&path, clock())?;
        let everything = read(&state)?;
        let at_work = everything.runs.iter().position(|(_, run, _)| *run == RunState::Interrupted);
        if let Some(run) = at_work.filter(|_| self.resumes) {
            let id = &everything.runs[run].0;
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (entries, later) = runtime.block_on(async {
                let (_, entries, log) = state.journal().reopen(id).await?;
                log.append(&step(99)).await?;
                Ok::<_, Refused>((entries, state.journal().entries(id)?))
            })?;
            assert_eq!(entries, everything.entries[run]);
            assert_eq!((&later[..entries.len()], later.len()), (entries.as_slice(), entries.len() + 1));
        }
        Ok(everything)
    }
}

/// Makes every trial. Gives how many were refused.
fn all<T: Sync + std::fmt::Debug>(
    trials: &[T],
    attempt: impl Fn(&Trial<'_>, &T) -> Result<(), Refused> + Sync,
) -> usize {
    let (next, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let folder = folder();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(trial) = trials.get(number) else { return };
                    let place = Trial { place: folder.path(), resumes: number % 8 == 0 };
                    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| attempt(&place, trial)));
                    match caught {
                        Ok(Ok(())) => {}
                        Ok(Err(Refused(why))) => {
                            assert!(!why.is_empty());
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(panic) => panic!("the trial was {trial:?}, of seed {SEED}: {panic:?}"),
                    }
                }
            });
        }
    });
    refused.into_inner()
}

fn sampled(range: Range<usize>, count: usize) -> Vec<usize> {
    let mut random = StdRng::seed_from_u64(SEED);
    (0..count).map(|_| random.random_range(range.clone())).collect()
}

#[tokio::test]
async fn a_log_that_was_cut_off_says_what_was_true_once() {
    let killed = Killed::new().await;
    let (end, steps) = (killed.log.len(), killed.lengths.len());
    let tail = killed.lengths[steps - 3];
    assert!(tail < end && killed.lengths[steps - 2] < end, "the last commits are in the log");
    // Every byte of the last commit, many of the one before, and some of all the others.
    let mut cuts: Vec<usize> = (killed.lengths[steps - 2]..=end).collect();
    cuts.extend((tail..end).step_by(7));
    cuts.extend(sampled(0..tail, 400));
    let refused = all(&cuts, |trial, cut| {
        let everything = trial.open(&killed.database, &killed.log[..*cut])?;
        let found = killed.moment(&everything);
        // Nothing is missing that lies in the part that is left.
        let acknowledged = killed.lengths.iter().rposition(|length| length <= cut).unwrap();
        assert!(found >= acknowledged, "{found} < {acknowledged}");
        Ok(())
    });
    assert_eq!(refused, 0, "a log that was cut off is a crash like any other");
}

#[tokio::test]
async fn a_database_that_was_cut_off_is_refused_or_says_what_was_true_once() {
    let killed = Killed::new().await;
    let end = killed.database.len();
    let mut cuts: Vec<usize> = (end - 4096..end).step_by(8).collect();
    cuts.extend(0..64);
    cuts.extend(sampled(0..end, 400));
    let refused = all(&cuts, |trial, cut| {
        let everything = trial.open(&killed.database[..*cut], &killed.log)?;
        assert_eq!(killed.moment(&everything), killed.past.len() - 1, "the log has what came last");
        Ok(())
    });
    assert!(refused * 4 > cuts.len(), "{refused} of {}: much of what was cut off lies in the log", cuts.len());
    // Without its log it is what it was before there was one, when it is whole.
    let alone: Vec<usize> = cuts.into_iter().filter(|cut| *cut > 0).collect();
    let refused = all(&alone, |trial, cut| {
        let everything = trial.open(&killed.database[..*cut], &[])?;
        killed.moment(&everything);
        Ok(())
    });
    assert!(refused * 10 > alone.len() * 9, "{refused} of {}", alone.len());
}

/// Flips the bit of this number.
fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

#[tokio::test]
async fn a_bit_that_flipped_in_the_database_is_refused_or_without_effect() {
    let killed = Killed::new().await;
    // Every bit of the database's header and of the first page's, and some of all the others.
    let mut bits: Vec<usize> = (0..112 * 8).collect();
    bits.extend(sampled(0..killed.database.len() * 8, 1500));
    let refused = all(&bits, |trial, bit| {
        let everything = trial.open(&flipped(&killed.database, *bit), &killed.log)?;
        killed.must_be_last(&everything);
        Ok(())
    });
    assert!(refused > 100, "{refused}");
    // The same where nothing is in the log.
    let whole = whole(&killed);
    let expected = Trial { place: folder().path(), resumes: false }.open(&whole, &[]).unwrap();
    killed.must_be_last(&expected);
    let refused = all(&bits, |trial, bit| {
        let everything = trial.open(&flipped(&whole, bit % (whole.len() * 8)), &[])?;
        killed.must_be_last(&everything);
        Ok(())
    });
    assert!(refused > 100, "{refused}");
}

/// The database after everything in its log went into it.
fn whole(killed: &Killed) -> Vec<u8> {
    let folder = folder();
    let path = folder.path().join("state.db");
    std::fs::write(&path, &killed.database).unwrap();
    std::fs::write(log_of(&path), &killed.log).unwrap();
    drop(State::open(&path, clock()).unwrap());
    assert!(!log_of(&path).exists());
    std::fs::read(&path).unwrap()
}

#[tokio::test]
async fn a_bit_that_flipped_in_the_log_is_refused_or_without_effect() {
    const FRAME: usize = 24 + 4096;
    let killed = Killed::new().await;
    let (end, steps) = (killed.log.len(), killed.lengths.len());
    let last = killed.lengths[steps - 2];
    // Every bit of the log's header and of the last frames', and some of all the others.
    let mut bits: Vec<usize> = (0..32 * 8).collect();
    let frames = (32..end).step_by(FRAME);
    bits.extend(frames.rev().take(6).flat_map(|frame| frame * 8..(frame + 24) * 8));
    bits.extend(sampled(0..end * 8, 1200));
    let refused = all(&bits, |trial, bit| {
        let everything = trial.open(&killed.database, &flipped(&killed.log, *bit))?;
        let moment = killed.moment(&everything);
        if bit / 8 >= last {
            assert!(moment >= steps - 2, "{moment}");
        } else {
            killed.must_be_last(&everything);
        }
        Ok(())
    });
    assert!(refused * 2 > bits.len(), "{refused} of {}", bits.len());
}
