//! Many plans, on several threads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::case::Case;
use super::plan::Plan;
use super::rehearsal::Rehearsals;
use super::storm::{Outcome, Storm, StormError};
use crate::sandbox::Fault;

/// Carries out many plans for many cases. Each thread has a runtime of its own.
pub struct Many {
    /// The cases; a seed takes one of them.
    pub cases: Vec<Case>,
    /// How many threads work.
    pub threads: usize,
    /// Makes a thread's runtime: `current_thread`, its clock paused.
    pub runtime: fn() -> std::io::Result<tokio::runtime::Runtime>,
}

/// What many plans came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many plans were carried out.
    pub plans: u64,
    /// How many things went wrong in them: faults, deaths, full disks.
    pub harm: u64,
    /// How many processes lived.
    pub processes: u64,
    /// How many of them died.
    pub deaths: u64,
    /// How many requests were made.
    pub requests: u64,
    /// The points of the longest life of each case, by its name.
    pub points: BTreeMap<String, u64>,
    /// The plans that did not end well.
    pub failures: Vec<Failed>,
}

/// A plan that did not end well.
#[derive(Clone, Debug)]
pub struct Failed {
    /// The case's place in the list.
    pub case: usize,
    /// The plan, shrunk.
    pub plan: Plan,
    /// What it came to.
    pub outcome: Outcome,
}

/// No more failures than these are shrunk: each takes long, and the first ones tell most.
const SHRUNK: usize = 3;

impl Many {
    /// Carries out the plans of these seeds.
    ///
    /// # Errors
    /// When a case cannot be run at all.
    pub fn by_chance(&self, seeds: std::ops::Range<u64>) -> Result<Tally, StormError> {
        let next = AtomicU64::new(seeds.start);
        self.carry_out(&|storms| {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return Ok(None);
            }
            let case = self.case_of(seed);
            let storm = storms.of(case)?;
            Ok(Some((case, Plan::drawn(seed, storm.actors(), storm.calm()))))
        })
    }

    /// The case that a seed takes.
    #[must_use]
    pub fn case_of(&self, seed: u64) -> usize {
        usize::try_from(seed % self.cases.len().max(1) as u64).unwrap_or(0)
    }

    /// Kills the first process of each case at its first point, at its second, and so on, until one lives to its end.
    ///
    /// # Errors
    /// When a case cannot be run at all.
    pub fn every_kill(&self) -> Result<Tally, StormError> {
        let next: Vec<AtomicU64> = self.cases.iter().map(|_| AtomicU64::new(1)).collect();
        let survived: Vec<AtomicBool> = self.cases.iter().map(|_| AtomicBool::new(false)).collect();
        let draw = |storms: &mut Storms<'_>| {
            let left = survived.iter().position(|survived| !survived.load(Ordering::Relaxed));
            let Some(case) = left else { return Ok(None) };
            let point = next[case].fetch_add(1, Ordering::Relaxed);
            Ok(Some((case, storms.of(case)?.kill_at(point))))
        };
        self.watched(&draw, &|case, outcome| {
            if outcome.deaths == 0 {
                survived[case].store(true, Ordering::Relaxed);
            }
        })
    }

    /// Strikes each request of each case with each of these faults, one at a time.
    ///
    /// # Errors
    /// When a case cannot be run at all.
    pub fn every_fault(&self, faults: &[Fault]) -> Result<Tally, StormError> {
        let faults: Vec<(usize, &Fault)> =
            (0..self.cases.len()).flat_map(|case| faults.iter().map(move |fault| (case, fault))).collect();
        let place = Mutex::new((0, 0));
        let draw = |storms: &mut Storms<'_>| {
            let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                let (number, request) = *place;
                let Some((case, fault)) = faults.get(number) else { return Ok(None) };
                let storm = storms.of(*case)?;
                if request < storm.calm().requests {
                    *place = (number, request + 1);
                    return Ok(Some((*case, storm.fault_at(request + 1, (*fault).clone()))));
                }
                *place = (number + 1, 0);
            }
        };
        self.carry_out(&draw)
    }

    /// Carries out the plans that `draw` gives until it gives none.
    ///
    /// # Errors
    /// When a case cannot be run at all.
    pub fn carry_out(&self, draw: &Draw<'_>) -> Result<Tally, StormError> {
        self.watched(draw, &|_, _| {})
    }

    fn watched(&self, draw: &Draw<'_>, watch: &(dyn Fn(usize, &Outcome) + Sync)) -> Result<Tally, StormError> {
        let tally = Mutex::new(Tally::default());
        let work = || -> Result<(), StormError> {
            let runtime = (self.runtime)()?;
            let mut storms = Storms { many: self, runtime: &runtime, known: BTreeMap::new() };
            while let Some((case, plan)) = draw(&mut storms)? {
                let storm = storms.of(case)?;
                let outcome = runtime.block_on(storm.weather(&plan))?;
                watch(case, &outcome);
                let ill = !outcome.is_right();
                let shrinks = {
                    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                    tally.add(&self.cases[case].to_string(), &plan, &outcome);
                    ill && tally.failures.len() < SHRUNK
                };
                if ill {
                    let plan = if shrinks { runtime.block_on(storm.shrink(plan))? } else { plan };
                    let failed = Failed { case, plan, outcome };
                    tally.lock().unwrap_or_else(PoisonError::into_inner).failures.push(failed);
                }
            }
            Ok(())
        };
        self.together(&work)?;
        Ok(tally.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Plans, applies and plans again what these seeds draw.
    ///
    /// # Errors
    /// When a case cannot be run at all.
    pub fn rehearse(&self, seeds: std::ops::Range<u64>) -> Result<Rehearsals, StormError> {
        let (next, sum) = (AtomicU64::new(seeds.start), Mutex::new(Rehearsals::default()));
        self.together(&|| {
            let runtime = (self.runtime)()?;
            let mut storms = Storms { many: self, runtime: &runtime, known: BTreeMap::new() };
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return Ok(());
                }
                let case = self.case_of(seed);
                let done = runtime.block_on(storms.of(case)?.rehearse(seed))?;
                sum.lock().unwrap_or_else(PoisonError::into_inner).add(&self.cases[case], seed, done);
            }
        })?;
        Ok(sum.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does the work on every thread until all are done; the first error counts.
    fn together(&self, work: &(dyn Fn() -> Result<(), StormError> + Sync)) -> Result<(), StormError> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads.max(1)).map(|_| scope.spawn(work)).collect();
            let mut ended = Ok(());
            for thread in threads {
                match thread.join() {
                    Ok(done) => ended = ended.and(done),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            ended
        })
    }
}

/// Gives the next plan and the case it is for.
pub type Draw<'d> = dyn Fn(&mut Storms<'_>) -> Result<Option<(usize, Plan)>, StormError> + Sync + 'd;

/// The storms of one thread, made as they are needed.
pub struct Storms<'m> {
    many: &'m Many,
    runtime: &'m tokio::runtime::Runtime,
    known: BTreeMap<usize, std::rc::Rc<Storm>>,
}

impl Storms<'_> {
    /// The storm of the case at this place in the list.
    ///
    /// # Errors
    /// When the case cannot be run at all.
    pub fn of(&mut self, case: usize) -> Result<std::rc::Rc<Storm>, StormError> {
        if let Some(known) = self.known.get(&case) {
            return Ok(std::rc::Rc::clone(known));
        }
        let storm = std::rc::Rc::new(self.runtime.block_on(Storm::new(self.many.cases[case].clone()))?);
        self.known.insert(case, std::rc::Rc::clone(&storm));
        Ok(storm)
    }
}

impl Tally {
    fn add(&mut self, case: &str, plan: &Plan, outcome: &Outcome) {
        self.plans += 1;
        self.harm += plan.weight() as u64;
        self.processes += outcome.points.len() as u64;
        self.deaths += outcome.deaths as u64;
        self.requests += outcome.requests as u64;
        let longest = outcome.points.iter().max().copied().unwrap_or_default();
        let points = self.points.entry(case.to_owned()).or_default();
        *points = longest.max(*points);
    }
}
