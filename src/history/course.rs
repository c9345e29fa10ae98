use jiff::{SignedDuration, Timestamp};

use super::past::{Accepted, PastLog, PastStep, Process};
use super::{History, PastOperation};

/// One thing that happened in a run.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'h> {
    /// When.
    pub at: Timestamp,
    /// Which of the run's processes was at work, counted from 0.
    pub process: usize,
    /// How long it had been at work.
    pub since: SignedDuration,
    /// What happened.
    pub event: PastEvent<'h>,
}

/// What happened in a run.
#[derive(Clone, Copy, Debug)]
pub enum PastEvent<'h> {
    /// A process went to work.
    Began(&'h Process),
    /// The last that is known of a process.
    Left(&'h Process),
    /// An operation was begun; a read was answered.
    Operation(&'h PastOperation),
    /// A host function told what it did.
    Step(&'h PastStep),
    /// The playbook logged a line.
    Log(&'h PastLog),
    /// Changes of the playbook were accepted.
    Accepted(&'h Accepted),
}

impl History {
    /// Everything that happened, in order.
    #[must_use]
    pub fn course(&self) -> Vec<Moment<'_>> {
        let mut course: Vec<(u64, Timestamp, PastEvent<'_>)> = Vec::new();
        for (number, process) in self.processes.iter().enumerate() {
            course.push((process.sequence, process.began, PastEvent::Began(process)));
            let next = self.processes.get(number + 1);
            if next.is_none_or(|next| !next.again) {
                let end = next.map_or(u64::MAX, |next| next.sequence);
                course.push((end, process.until, PastEvent::Left(process)));
            }
        }
        course.extend(self.steps.iter().map(|step| (step.sequence, step.at, PastEvent::Step(step))));
        course.extend(self.logs.iter().map(|line| (line.sequence, line.at, PastEvent::Log(line))));
        course.extend(self.accepted.iter().map(|told| (told.sequence, told.at, PastEvent::Accepted(told))));
        course.extend(self.operations.iter().map(|attempt| {
            let at = attempt.began.or(attempt.ended).unwrap_or(self.run.began);
            (attempt.sequence, at, PastEvent::Operation(attempt))
        }));
        // A process has left before the next begins.
        course.sort_by_key(|(sequence, _, event)| (*sequence, matches!(event, PastEvent::Began(_))));
        let mut process = 0;
        let mut moments = Vec::with_capacity(course.len());
        for (sequence, at, event) in course {
            let left = matches!(event, PastEvent::Left(_));
            while !left && self.processes.get(process + 1).is_some_and(|next| next.sequence <= sequence) {
                process += 1;
            }
            let began = self.processes.get(process).map_or(self.run.began, |process| process.began);
            moments.push(Moment { at, process, since: at.duration_since(began), event });
        }
        moments
    }
}
