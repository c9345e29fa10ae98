//! `tenantry run`: one playbook for one or many customers.

use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use serde_json::json;
use tenantry::{Cancel, Customer, EVENT_VERSION, Event, Host, Playbook, Run, RunReport, RunStatus};

use super::arguments::{Common, RunArguments};
use super::console::Console;
use super::exit::Exit;
use super::interrupt::Interrupts;
use super::project::{self, Stopped};
use crate::report::{self, Paint, Trouble};

/// How many customers run at once when nobody says.
const PARALLEL: usize = 16;

pub(crate) async fn run(console: &Arc<Console>, common: &Common, arguments: &RunArguments) -> Exit {
    let prepared = match prepare(console, common, arguments).await {
        Ok(prepared) => prepared,
        Err((troubles, exit)) => {
            if common.json {
                console.json(&json!({ "runs": [], "errors": troubles }));
            }
            console.troubles(troubles);
            return exit;
        }
    };
    let Prepared { host, playbook, customers, target, events } = prepared;
    let parallel = arguments.parallel.map(usize::from).or(host.project().defaults().concurrency).unwrap_or(PARALLEL);
    let run = |customer| arguments.pace.of(host.run(&playbook, customer, &target).verify(arguments.verify));
    let runs: Vec<Run> = customers.iter().map(run).collect();
    let cancels: Vec<Cancel> = runs.iter().map(Run::canceller).collect();
    let following = Following::new(console, &customers, events);
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

/// Everything a run needs, found good.
struct Prepared {
    host: Host,
    playbook: Playbook,
    customers: Vec<Customer>,
    target: String,
    events: Option<Events>,
}

/// Reads and checks everything before anything is sent, and tells every problem there is.
async fn prepare(console: &Console, common: &Common, arguments: &RunArguments) -> Result<Prepared, Stopped> {
    let (host, target) = project::host(common, |builder| builder.new_registry(arguments.new_registry))?;
    let mut troubles = Vec::new();
    let playbook = host
        .playbook(project::playbook(host.project(), &arguments.playbook))
        .map_err(|error| troubles.push(Trouble::from(&error)));
    let paths = arguments.customer.iter().chain(&arguments.customers).map(std::path::PathBuf::as_path);
    let customers = Customer::load_all(paths).unwrap_or_else(|error| {
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
    let (true, Ok(playbook)) = (troubles.is_empty(), playbook) else {
        return Err((troubles, Exit::Configuration));
    };
    let events = match &arguments.events {
        None => None,
        Some(path) => Some(Events::open(path).map_err(|trouble| (vec![trouble], Exit::Configuration))?),
    };
    console.progress(format!("opening {target}"));
    let opened = host.open_target(&target).await;
    if let Err(error) = opened {
        console.end_progress();
        let exit = Exit::of(&error.failure);
        return Err((vec![Trouble::from(&error.failure).note("target", target)], exit));
    }
    Ok(Prepared { host, playbook, customers: admitted, target, events })
}

/// Where events go as JSON lines.
enum Events {
    Error,
    File(RefCell<std::fs::File>),
}

impl Events {
    fn open(path: &Path) -> Result<Self, Trouble> {
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
    fn new(console: &'c Console, customers: &[Customer], events: Option<Events>) -> Self {
        let widest = customers.iter().map(|customer| customer.code().len()).max();
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
            Event::Operation { operation, status, failure, .. } => {
                add(&self.requests);
                if self.console.verbose() > 1 {
                    let end = match (status, failure) {
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
        Event::Step { customer, .. } | Event::Log { customer, .. } => Some(customer),
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
                .note(if customers.len() == 1 { "customer" } else { "customers" }, customers.join(", "))
                .help("run the same command again: what is done stays, and only what is missing is written");
            console.trouble(&trouble);
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
