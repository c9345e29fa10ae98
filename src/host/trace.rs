//! How the script of a recorded run came to one of its calls: found out by going through it once more from its record,
//! up to that call, which then fails. The error goes the way back through all functions, and so shows them.

use std::collections::VecDeque;

use super::Host;
use super::recorded_run::{RecordedRun, answer};
use crate::explain::TracedCall;
use crate::operation::{CallKey, Failure, FailureKind, Site};
use crate::playbook::{Diagnostic, FileUse};

/// What the call fails with here.
const TRACED: &str = "tenantry/traced";

/// The way to a call of a run. `None` when the run cannot be gone through, as an undo cannot. Blocks.
pub(super) fn trace(host: &Host, run: &str, call: &CallKey, site: Option<&Site>) -> Option<TracedCall> {
    let recorded = RecordedRun::open(host, run).ok()?;
    let (mut session, answers) = recorded.start(host).ok()?;
    session.note_uses();
    let mut open = VecDeque::new();
    loop {
        open.extend(session.asked());
        session.told();
        let Some((key, operation)) = open.pop_front().filter(|_| !session.is_finished()) else { break };
        if key.call_key() == *call {
            session.answer(&key, Err(Failure::new(FailureKind::Refused, TRACED, "the call was reached")));
            continue;
        }
        match answer(&answers, &key, &operation) {
            Err(failure) if failure.kind == FailureKind::Cancelled => {
                session.end(&operation, failure);
                break;
            }
            outcome => session.answer(&key, outcome),
        }
    }
    let files = relevant(session.take_uses(), call, site);
    // A script may have caught it, or another branch have failed before.
    let is_it = |error: &Diagnostic| error.failure.as_ref().is_some_and(|failure| failure.code == TRACED);
    let stack = session.finish().err().filter(is_it).map(|error| error.stack);
    Some(TracedCall { stack, files })
}

/// The files that were used on the line of the call; when none was, those before it in its branch. The last one first.
fn relevant(uses: Vec<FileUse>, call: &CallKey, site: Option<&Site>) -> Vec<FileUse> {
    let mut before: Vec<FileUse> = Vec::new();
    for used in uses.into_iter().rev().filter(|used| leads_to(&used.call, call)) {
        if !before.iter().any(|known| known.path == used.path) {
            before.push(used);
        }
    }
    let line = |site: Option<&Site>| site.map(|site| (site.file.clone(), site.line));
    let is_on_line = |used: &FileUse| line(used.site.as_ref()) == line(site);
    if before.iter().any(is_on_line) {
        before.retain(is_on_line);
    }
    before
}

/// Whether what `call` does can depend on what `earlier` did in its own branch or one that it comes from.
fn leads_to(earlier: &CallKey, call: &CallKey) -> bool {
    let depth = earlier.branch.len();
    call.branch.starts_with(&earlier.branch)
        && earlier.call <= call.branch.get(depth).map_or(call.call, |step| step.call)
}
