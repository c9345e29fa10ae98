//! What goes wrong in a world, as data with a text form.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::sandbox::{Arrival, Chance, Fault, Faults as _, Rates};
use crate::surroundings::Random;

/// Who runs in a world and what goes wrong there.
///
/// Its text is a list of words: `seed=7` (of ids, host names and pauses), `12=lost-done` (a fault of the 12th request to
/// Qlik Cloud, see [`Fault`]), and for each actor, counted from 0, `1:kill=57` (its next life ends at its 57th point),
/// `1:full=30+4` (in its next life 4 commits from the 30th on find the disk full) or `1:left=20` (the playbook before its own
/// was left at its 20th point). `1:live` is a life without harm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Decides what is left to chance.
    pub seed: u64,
    /// By the number of the request, counted from 1 over all processes.
    pub faults: BTreeMap<u64, Fault>,
    /// Who works in the world, all at once.
    pub actors: Vec<Actor>,
}

/// Someone who starts a process again and again until its playbook has come to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// The point, counted from 1, at which the playbook that its own comes after was left; it is gone on with when the
    /// actor has done what it can. None when that playbook had come to its end.
    pub left: Option<u64>,
    /// What its first processes meet; later ones live without harm.
    pub lives: Vec<Life>,
}

/// What one process meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// The point at which it dies, counted from 1.
    pub kill: Option<u64>,
    /// When its disk is full.
    pub full: Option<Full>,
}

/// A disk that is full for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// The first commit that finds it full, counted from 1.
    pub from: u64,
    /// How many do.
    pub commits: u64,
}

impl Full {
    pub(super) fn holds(self, commit: u64) -> bool {
        (self.from..self.from.saturating_add(self.commits)).contains(&commit)
    }
}

impl Life {
    /// A life that ends at this point.
    #[must_use]
    pub fn until(point: u64) -> Self {
        Self { kill: Some(point), full: None }
    }
}

/// What runs without harm come to, over all customers of a case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calm {
    /// How many points a run has.
    pub points: u64,
    /// How many requests it makes.
    pub requests: u64,
    /// How many points a run of the playbook before it has; 0 when there is none.
    pub before: u64,
}

impl Plan {
    /// A plan in which this many actors work and nothing goes wrong.
    #[must_use]
    pub fn calm(seed: u64, actors: usize) -> Self {
        Self { seed, faults: BTreeMap::new(), actors: vec![Actor::default(); actors] }
    }

    /// A plan drawn by chance for a case whose runs without harm are like `calm`: faults of all kinds, deaths, full disks, and
    /// in half of them a playbook before it that was left on its way. Half of the plans are mild, so that runs also come far.
    #[must_use]
    pub fn drawn(seed: u64, actors: usize, calm: Calm) -> Self {
        let random = Random::from_seed(seed);
        let below = |bound: u64| {
            let mut bytes = [0; 8];
            random.fill(&mut bytes);
            u64::from_le_bytes(bytes) % bound.max(1)
        };
        let Calm { points, requests, before } = calm;
        let mut plan = Self::calm(seed, actors);
        let strength = if below(2) == 0 { 1.0 } else { 4.0 };
        let rates = Rates {
            refused: 0.002,
            limited: 0.004,
            storms: 0.003,
            failed: 0.005,
            failed_done: 0.005,
            lost: 0.005,
            lost_done: 0.005,
            expired: 0.003,
            stale: 0.005,
            late: 0.02,
            cut: 0.004,
            slow: 0.004,
            partly: 0.01,
            // Whoever disables a tenant ends its runs for good.
            disabled: 0.0,
        };
        let chance = Chance::new(below(u64::MAX), rates.times(strength));
        let arrival = |ordinal| Arrival { ordinal, operation: "createSpace", method: &http::Method::POST, host: "" };
        let strike = |ordinal| Some((ordinal, chance.strike(&arrival(ordinal))?));
        plan.faults.extend((1..=requests * 4).filter_map(strike));
        for actor in &mut plan.actors {
            for _ in 0..below(4) {
                let kill = (below(3) > 0).then(|| 1 + below(points + points / 8));
                let full = (below(6) == 0).then(|| Full { from: 1 + below(points / 3), commits: 1 + below(8) });
                actor.lives.push(Life { kill, full });
            }
        }
        if before > 0 && below(2) == 0 {
            for actor in &mut plan.actors {
                actor.left = Some(1 + below(before + before / 8));
            }
            plan.faults.extend((requests * 4 + 1..=requests * 4 + before).filter_map(strike));
        }
        plan
    }

    /// Each thing that goes wrong.
    #[must_use]
    pub fn harms(&self) -> Vec<Harm> {
        let mut all: Vec<Harm> = self.faults.keys().map(|request| Harm::Fault(*request)).collect();
        for (actor, lives) in self.actors.iter().enumerate() {
            all.extend(lives.left.map(|_| Harm::Left { actor }));
            for (number, life) in lives.lives.iter().enumerate() {
                all.extend(life.kill.map(|_| Harm::Kill { actor, life: number }));
                all.extend(life.full.map(|_| Harm::Full { actor, life: number }));
            }
        }
        all
    }

    /// The plan in which these things do not go wrong.
    #[must_use]
    pub fn without(&self, harms: &[Harm]) -> Self {
        let mut less = self.clone();
        for harm in harms {
            match *harm {
                Harm::Fault(request) => drop(less.faults.remove(&request)),
                Harm::Left { actor } => less.actors[actor].left = None,
                Harm::Kill { actor, life } => less.actors[actor].lives[life].kill = None,
                Harm::Full { actor, life } => less.actors[actor].lives[life].full = None,
            }
        }
        for actor in &mut less.actors {
            while actor.lives.last() == Some(&Life::default()) {
                actor.lives.pop();
            }
        }
        less
    }

    /// How many things go wrong.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.harms().len()
    }
}

/// One thing that goes wrong in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// The fault of this request.
    Fault(u64),
    /// The playbook before was left.
    Left {
        /// By whom.
        actor: usize,
    },
    /// A process dies.
    Kill {
        /// Whose.
        actor: usize,
        /// Which of the actor's lives, counted from 0.
        life: usize,
    },
    /// A process finds its disk full.
    Full {
        /// Whose.
        actor: usize,
        /// Which of the actor's lives, counted from 0.
        life: usize,
    },
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed={}", self.seed)?;
        for (request, fault) in &self.faults {
            write!(f, " {request}={fault}")?;
        }
        for (number, actor) in self.actors.iter().enumerate() {
            if let Some(point) = actor.left {
                write!(f, " {number}:left={point}")?;
            }
            for life in &actor.lives {
                let mut words = Vec::new();
                words.extend(life.kill.map(|point| format!("kill={point}")));
                words.extend(life.full.map(|full| format!("full={}+{}", full.from, full.commits)));
                if words.is_empty() {
                    words.push("live".to_owned());
                }
                write!(f, " {number}:{}", words.join("&"))?;
            }
        }
        Ok(())
    }
}

/// The text is not a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a word of a plan: write seed=N, REQUEST=FAULT, ACTOR:kill=POINT, ACTOR:full=COMMIT+COUNT, \
     ACTOR:left=POINT or ACTOR:live"
)]
pub struct PlanError(String);

impl FromStr for Plan {
    type Err = PlanError;

    /// Reads what [`Plan`]'s `Display` writes; actors without words have to be added.
    fn from_str(text: &str) -> Result<Self, PlanError> {
        let mut plan = Self::default();
        for word in text.split_whitespace() {
            add(&mut plan, word).ok_or_else(|| PlanError(word.to_owned()))?;
        }
        Ok(plan)
    }
}

fn add(plan: &mut Plan, word: &str) -> Option<()> {
    if let Some(seed) = word.strip_prefix("seed=") {
        plan.seed = seed.parse().ok()?;
        return Some(());
    }
    let (name, rest) = word.split_once(['=', ':'])?;
    if word.as_bytes().get(name.len()) == Some(&b'=') {
        plan.faults.insert(name.parse().ok()?, rest.parse().ok()?);
        return Some(());
    }
    let actor: usize = name.parse().ok().filter(|actor| *actor < 64)?;
    if plan.actors.len() <= actor {
        plan.actors.resize(actor + 1, Actor::default());
    }
    if let Some(point) = rest.strip_prefix("left=") {
        plan.actors[actor].left = Some(point.parse().ok()?);
        return Some(());
    }
    let mut life = Life::default();
    for part in rest.split('&') {
        match part.split_once('=') {
            None if part == "live" => {}
            Some(("kill", point)) => life.kill = Some(point.parse().ok()?),
            Some(("full", span)) => {
                let (from, commits) = span.split_once('+')?;
                life.full = Some(Full { from: from.parse().ok()?, commits: commits.parse().ok()? });
            }
            _ => return None,
        }
    }
    plan.actors[actor].lives.push(life);
    Some(())
}
