//! Runs in progress: what is told of them, how they are interrupted, and how they ended.

use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use serde_json::json;
use tenantry::{Cancel, EVENT_VERSION, Event, Run, RunReport, RunStatus};

use super::arguments::Common;
use super::console::Console;
use super::exit::Exit;
use super::interrupt::Interrupts;
use crate::report::{self, Paint, Trouble};

/// Runs all of these, so many at once, and tells what happens. `customers`: their codes, in the order of the runs.
pub(crate) async fn follow(
    console: &Arc<Console>,
    common: &Common,
    runs: Vec<Run>,
    customers: &[&str],
    parallel: usize,
    events: Option<Events>,
) -> Exit {
    let cancels: Vec<Cancel> = runs.iter().map(Run::canceller).collect();
    let following = Following::new(console, customers, events);
    following.show();
    // At most so many are started; the others wait here and have cost nothing yet.
    let running = stream::iter(runs).map(|run| following.follow(run)).buffered(parallel).collect();
    let reports: Vec<RunReport> = {
        let mut running = std::pin::pin!(running);
        let mut interrupts = Interrupts::listen();
        let mut asked = false;
        loop {
            tokio::select! {
                biased;
                () = interrupts.next() => {
                    if asked {
                        console.end_progress();
                        stop_at_once();
                    }
                    asked = true;
                    cancels.iter().for_each(Cancel::cancel);
                    console.line("interrupted: operations in progress are ended; press Ctrl-C again to stop at once");
                }
                reports = &mut running => break reports,
            }
        }
    };
    console.end_progress();
    finish(console, common, &reports)
}

/// Where events go as JSON lines.
pub(crate) enum Events {
    Error,
    File(RefCell<std::fs::File>),
}

impl Events {
    pub(crate) fn open(path: &Path) -> Result<Self, Trouble> {
        if path == Path::new("-") {
            return Ok(Self::Error);
        }
        match std::fs::File::create(path) {
            Ok(file) => Ok(Self::File(RefCell::new(file))),
            Err(error) => Err(Trouble::new(format!("the events file {} cannot be written: {error}", path.display()))),
        }
    }

    fn write(&self, console: &Console, event: &Event) {
        let Ok(mut line) = serde_json::to_value(event) else { return };
        line["version"] = json!(EVENT_VERSION);
        match self {
            Self::Error => console.line(&line.to_string()),
            // A full disk must not end a run.
            Self::File(file) => drop(writeln!(file.borrow_mut(), "{line}")),
        }
    }
}

/// What is known of all runs while they go, and how it is told.
struct Following<'c> {
    console: &'c Console,
    events: Option<Events>,
    /// How wide customers' codes are shown; none are when there is but one.
    widest: Option<usize>,
    total: usize,
    started: Cell<usize>,
    ended: Cell<usize>,
    failed: Cell<usize>,
    requests: Cell<usize>,
}

impl<'c> Following<'c> {
    fn new(console: &'c Console, customers: &[&str], events: Option<Events>) -> Self {
        let widest = customers.iter().map(|customer| customer.len()).max();
        Self {
            console,
            events,
            widest: widest.filter(|_| customers.len() > 1),
            total: customers.len(),
            started: Cell::new(0),
            ended: Cell::new(0),
            failed: Cell::new(0),
            requests: Cell::new(0),
        }
    }

    /// Awaits a run and tells what happens in it.
    async fn follow(&self, mut run: Run) -> RunReport {
        add(&self.started);
        self.show();
        let mut events = run.events();
        let mut report = std::pin::pin!(run.into_future());
        let report = loop {
            tokio::select! {
                biased;
                Some(event) = events.next() => self.event(&event, run_customer(&event)),
                report = &mut report => break report,
            }
        };
        // What was told before the end and not yet heard.
        while let Some(Some(event)) = futures_util::FutureExt::now_or_never(events.next()) {
            self.event(&event, run_customer(&event));
        }
        add(&self.ended);
        if report.status == RunStatus::Failed {
            add(&self.failed);
            if let (Some(_), Some(error)) = (self.widest, &report.error) {
                let word = self.console.error().paint(Paint::Red, "failed   ");
                let message = report::clean_line(&error.message);
                self.console.told(&format!("{}{word}  {message}", self.prefix(&report.customer)));
            }
        }
        self.show();
        report
    }

    fn event(&self, event: &Event, customer: Option<&str>) {
        if let Some(events) = &self.events {
            events.write(self.console, event);
        }
        let style = self.console.error();
        let prefix = customer.map(|customer| self.prefix(customer)).unwrap_or_default();
        match event {
            // What an earlier process did has been told by it.
            Event::Step { replayed: true, .. } | Event::Log { replayed: true, .. } => {}
            Event::RunResumed { run, recorded, settled, .. } => {
                let settled = match settled {
                    0 => String::new(),
                    1 => "; of 1 write it was found out what became of it".to_owned(),
                    settled => format!("; of {settled} writes it was found out what became of them"),
                };
                let told = format!("run {run} goes on: {recorded} operations are on record{settled}");
                self.console.told(&format!("{prefix}{}  {told}", style.paint(Paint::Cyan, "resumed  ")));
            }
            Event::Step { step, .. } => {
                self.console.told(&report::step(&prefix, step, style));
                if self.console.verbose() > 0 && step.change.is_write() {
                    for line in report::fields(step, style) {
                        self.console.told(&format!("{}{line}", " ".repeat(prefix.len())));
                    }
                }
            }
            Event::Log { level, message, site, .. } => {
                if level == "debug" && self.console.verbose() == 0 {
                    return;
                }
                let site =
                    site.as_ref().map(|site| style.paint(Paint::Dim, &format!("  ({site})"))).unwrap_or_default();
                self.console.told(&format!("{prefix}{level:9}  {}{site}", report::clean_line(message)));
            }
            Event::Operation { operation, status, failure, replayed, .. } => {
                if !replayed {
                    add(&self.requests);
                }
                if self.console.verbose() > 1 {
                    let end = match (status, failure) {
                        _ if *replayed => "on record".to_owned(),
                        (_, Some(failure)) => report::clean_line(&failure.to_string()),
                        (Some(status), None) => status.to_string(),
                        (None, None) => String::new(),
                    };
                    self.console.told(&style.paint(Paint::Dim, &format!("{prefix}{:9}  {operation} {end}", "")));
                }
                self.show();
            }
            _ => {}
        }
    }

    fn prefix(&self, customer: &str) -> String {
        self.widest.map(|widest| format!("{customer:widest$}  ")).unwrap_or_default()
    }

    /// Brings the progress line up to date.
    fn show(&self) {
        let requests = self.requests.get();
        let (ended, running) = (self.ended.get(), self.started.get() - self.ended.get());
        let failed = match self.failed.get() {
            0 => String::new(),
            failed => format!(", {failed} failed"),
        };
        self.console.progress(if self.widest.is_none() {
            format!("{requests} operations")
        } else {
            format!("{ended} of {} customers, {running} running{failed}, {requests} operations", self.total)
        });
    }
}

fn add(counter: &Cell<usize>) {
    counter.set(counter.get() + 1);
}

fn run_customer(event: &Event) -> Option<&str> {
    match event {
        Event::Step { customer, .. } | Event::Log { customer, .. } | Event::RunResumed { customer, .. } => {
            Some(customer)
        }
        _ => None,
    }
}

/// Tells how it ended: errors, the table, and the exit code.
fn finish(console: &Console, common: &Common, reports: &[RunReport]) -> Exit {
    let many = reports.len() > 1;
    // One fault often fails many runs: it is shown once, with everyone it struck.
    let mut troubles: Vec<(Trouble, Vec<&str>)> = Vec::new();
    let failed = reports.iter().filter(|report| report.status == RunStatus::Failed);
    for (report, error) in failed.filter_map(|report| Some((report, report.error.as_ref()?))) {
        let trouble = Trouble::from(error);
        match troubles.iter_mut().find(|(known, _)| known.is_like(&trouble)) {
            Some((_, customers)) => customers.push(&report.customer),
            None => troubles.push((trouble, vec![&report.customer])),
        }
    }
    if !troubles.is_empty() && !console.quiet() {
        console.line("");
    }
    console.troubles(troubles.into_iter().map(|(trouble, customers)| match customers.as_slice() {
        [customer] => {
            if many {
                trouble.note("customer", *customer)
            } else {
                trouble
            }
        }
        customers => trouble.note("customers", customers.join(", ")),
    }));
    let (late, cancelled): (Vec<&RunReport>, Vec<&RunReport>) =
        of(reports, RunStatus::Cancelled).partition(|report| report.timed_out());
    for (ended, title) in [(cancelled, "interrupted before the end"), (late, "out of time before the end")] {
        let customers: Vec<&str> = ended.iter().map(|report| report.customer.as_str()).collect();
        if !customers.is_empty() {
            let trouble = Trouble::warning(title)
                .note(if customers.len() == 1 { "customer" } else { "customers" }, customers.join(", "));
            console.trouble(&trouble.help(how_to_go_on(&ended)));
        }
    }
    if common.json {
        console.json(&json!({ "runs": reports }));
    } else {
        if !console.quiet() {
            console.line("");
        }
        console.data(&table(reports, console));
    }
    exit(reports)
}

/// How to go on with runs that were cancelled: all that was done stays.
fn how_to_go_on(ended: &[&RunReport]) -> String {
    let resumable: Vec<&&RunReport> = ended.iter().filter(|report| report.is_resumable()).collect();
    match (resumable.as_slice(), ended.len()) {
        ([one, ..], _) if one.keeps_plan() => "go on with it: the same command again".to_owned(),
        ([one], 1) => format!("go on with it: `tenantry runs resume {}`", one.run),
        ([], _) => "nothing was begun: run the same command again".to_owned(),
        _ => "go on with them: the same command with `--resume`".to_owned(),
    }
}

fn of(reports: &[RunReport], status: RunStatus) -> impl Iterator<Item = &RunReport> {
    reports.iter().filter(move |report| report.status == status)
}

fn table(reports: &[RunReport], console: &Console) -> String {
    let rows = reports.iter().map(|report| {
        let url = report.tenant.as_ref().map(|tenant| tenant.url.clone()).unwrap_or_default();
        vec![
            report.customer.clone(),
            report.status.as_str().to_owned(),
            report::changes(report.changes.iter().map(|step| step.change)),
            report.requests.to_string(),
            report.writes.to_string(),
            url,
        ]
    });
    let head = ["CUSTOMER", "STATUS", "CHANGES", "REQUESTS", "WRITES", "TENANT"];
    report::table(&head, rows.collect(), console.out())
}

fn exit(reports: &[RunReport]) -> Exit {
    let failed: Vec<&RunReport> = of(reports, RunStatus::Failed).collect();
    if of(reports, RunStatus::Cancelled).next().is_some() {
        Exit::Interrupted
    } else if failed.is_empty() {
        Exit::Success
    } else if failed.len() < reports.len() {
        Exit::Partial
    } else {
        let refused = |report: &&RunReport| {
            let failure = report.error.as_ref().and_then(|error| error.failure.as_ref());
            failure.is_some_and(|failure| Exit::of(failure) == Exit::Authentication)
        };
        if failed.iter().all(refused) { Exit::Authentication } else { Exit::Failed }
    }
}

/// The person does not want to wait for what is in progress.
fn stop_at_once() -> ! {
    #[expect(clippy::disallowed_methods, clippy::exit, reason = "the second Ctrl-C means now")]
    std::process::exit(Exit::Interrupted as i32)
}
