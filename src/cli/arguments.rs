use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, ArgGroup, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use tenantry::Run;
use tenantry::interpreter::Decision;
use tenantry::operation::Key;

use super::environment;
use super::exit::Exit;

/// Scripted onboarding for Qlik Cloud: one tenant per customer, from nothing to configured.
#[derive(Debug, Parser)]
#[command(name = "tenantry", version, arg_required_else_help = true, subcommand_required = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every subcommand takes.
#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Common {
    /// The project's folder; by default the nearest one upwards with a tenantry.toml, else the current folder
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) project: Option<PathBuf>,
    /// The target from tenantry.toml to act on; by default the project's, else the embedded `sandbox`
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) target: Option<String>,
    /// Print the result as JSON on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print no progress: only results and errors
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Print more: fields that change (-v), every operation (-vv)
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Carry out plans that were saved: exactly those writes, or a stop before the first that differs
    Apply(ApplyArguments),
    /// Show what a playbook would do for one or many customers; nothing is written
    #[command(visible_alias = "drift")]
    Plan(PlanArguments),
    /// Run a playbook for one or many customers
    Run(RunArguments),
    /// Show what runs did
    Runs(RunsArguments),
    /// Serve a simulated Qlik Cloud over HTTP on this machine until Ctrl-C
    Sandbox(SandboxArguments),
    /// Look after the state file: the registry of tenants and the journal of runs
    State(StateArguments),
    /// Show the tenants in the registry, or enter one by hand
    Tenants(TenantsArguments),
}

#[derive(Args, Debug)]
pub(crate) struct ApplyArguments {
    /// What `tenantry plan --out` wrote
    #[arg(value_name = "PLAN", required = true)]
    pub(crate) plans: Vec<PathBuf>,
    /// Stop also when anything that was read is not as it was, whether or not that matters
    #[arg(long)]
    pub(crate) only_if_unchanged: bool,
    /// Create tenants although the registry is empty and the organization's tenants cannot be listed
    #[arg(long)]
    pub(crate) new_registry: bool,
    #[command(flatten)]
    pub(crate) pace: Pace,
    /// Write one JSON line for each event to a file; `-` is standard error
    #[arg(long, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct PlanArguments {
    #[command(flatten)]
    pub(crate) what: What,
    /// Save the plan, to be applied; several go into a folder of this name
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Show also what the last run of this playbook has ensured and the plan does not mention any more
    #[arg(long)]
    pub(crate) prune: bool,
    /// Write the plans as one HTML page that needs nothing else
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Go on where reading a tenant takes this client's first token there: that makes its bot user and may take a seat
    #[arg(long)]
    pub(crate) allow_first_token: bool,
    /// How many customers are planned at once; by default 16
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) parallel: Option<u16>,
}

/// Which playbook for which customers.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("who").required(true).multiple(true)))]
pub(crate) struct What {
    /// The playbook: a .rhai file of the project
    #[arg(value_name = "PLAYBOOK")]
    pub(crate) playbook: PathBuf,
    /// A customer's file: YAML, JSON or TOML. May be given several times
    #[arg(long, value_name = "FILE", group = "who")]
    pub(crate) customer: Vec<PathBuf>,
    /// Many customers: a folder of such files, or a CSV file with one in each row
    #[arg(long, value_name = "DIR|CSV", group = "who")]
    pub(crate) customers: Vec<PathBuf>,
    /// Verify logins even when no identity provider changed
    #[arg(long)]
    pub(crate) verify: bool,
    /// Create tenants although the registry is empty and the organization's tenants cannot be listed
    #[arg(long)]
    pub(crate) new_registry: bool,
}

impl What {
    /// The files and folders of the customers.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &std::path::Path> {
        self.customer.iter().chain(&self.customers).map(PathBuf::as_path)
    }
}

#[derive(Args, Debug)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) what: What,
    /// Go on with the last runs that did not come to their end; begin the others
    #[arg(long, conflicts_with = "fresh")]
    pub(crate) resume: bool,
    /// Begin anew, and do not ask about runs that did not come to their end
    #[arg(long)]
    pub(crate) fresh: bool,
    #[command(flatten)]
    pub(crate) pace: Pace,
    /// How many customers run at once; by default `concurrency` of tenantry.toml, else 16
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) parallel: Option<u16>,
    /// Write one JSON line for each event to a file; `-` is standard error
    #[arg(long, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,
}

/// How long things may take; by default as tenantry.toml says.
#[derive(Args, Debug)]
pub(crate) struct Pace {
    /// End each run after so long at its next operation, such as `90`, `90s`, `5m` or `1h`
    #[arg(long, value_name = "SECONDS|5m", value_parser = span)]
    pub(crate) timeout: Option<Duration>,
    /// Give up an operation that takes longer, its repeats included
    #[arg(long, value_name = "SECONDS|5m", value_parser = span)]
    pub(crate) operation_timeout: Option<Duration>,
}

impl Pace {
    /// The run with what the command line says.
    pub(crate) fn of(&self, run: Run) -> Run {
        let run = match self.timeout {
            Some(limit) => run.timeout(limit),
            None => run,
        };
        match self.operation_timeout {
            Some(limit) => run.operation_timeout(limit),
            None => run,
        }
    }
}

/// Reads `90`, `90s`, `1.5m`, `2h`.
fn span(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1.0),
        Some((at, 'm')) => (&text[..at], 60.0),
        Some((at, 'h')) => (&text[..at], 3_600.0),
        _ => (text, 1.0),
    };
    let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds = plain.then(|| number.parse::<f64>().ok()).flatten().map(|number| number * unit);
    let span = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    span.filter(|span| !span.is_zero() && span.as_secs() <= 31_536_000)
        .ok_or_else(|| "a time reads like `90` (seconds), `90s`, `5m` or `1h`, up to a year".to_owned())
}

#[derive(Args, Debug)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct RunsArguments {
    #[command(subcommand)]
    pub(crate) command: RunsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// List runs, the latest first
    List(RunsListArguments),
    /// Show what a run did; with -v every operation and the fields that changed
    Show(RunsShowArguments),
    /// Explain a call of a run, or a thing in a tenant by the calls that dealt with it
    Explain(ExplainArguments),
    /// Go on with a run that did not come to its end: what it has done is not done again
    Resume(ResumeArguments),
    /// Run a recorded run once more from its record alone, and say whether it comes to the same
    Replay {
        /// The run's id, or its beginning
        #[arg(value_name = "RUN")]
        run: String,
    },
    /// Take back what a run did: shown first, then done, the last write first
    Undo(UndoArguments),
}

#[derive(Args, Debug)]
pub(crate) struct UndoArguments {
    /// The run's id, or its beginning
    #[arg(value_name = "RUN")]
    pub(crate) run: String,
    /// Do it without asking
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) yes: bool,
    /// Only show what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ResumeArguments {
    /// The run's id, or its beginning
    #[arg(value_name = "RUN")]
    pub(crate) run: String,
    /// Go on also where the playbook has changed: from there on everything is done by the changed one
    #[arg(long)]
    pub(crate) accept_changes: bool,
    /// You have looked: what became of a write whose end nobody could find out. May be given several times
    #[arg(long, value_name = "KEY=performed|not-performed", value_parser = decision)]
    pub(crate) settled: Vec<(Key, Decision)>,
    /// Create tenants although the registry is empty and the organization's tenants cannot be listed
    #[arg(long)]
    pub(crate) new_registry: bool,
    #[command(flatten)]
    pub(crate) pace: Pace,
    /// Write one JSON line for each event to a file; `-` is standard error
    #[arg(long, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,
}

/// Reads `1:createSpace#0=performed`.
fn decision(text: &str) -> Result<(Key, Decision), String> {
    let (key, word) = text.rsplit_once('=').ok_or("it reads like `1:createSpace#0=performed`")?;
    let decision = match word {
        "performed" => Decision::Performed,
        "not-performed" => Decision::NotPerformed,
        _ => return Err(format!("`{word}` is neither `performed` nor `not-performed`")),
    };
    Ok((key.parse().map_err(|error: tenantry::operation::KeyError| error.to_string())?, decision))
}

#[derive(Args, Debug)]
pub(crate) struct RunsListArguments {
    /// Only runs for the customer of this code
    #[arg(long, value_name = "CODE")]
    pub(crate) customer: Option<String>,
    /// Only runs of this playbook: its path, or the end of it
    #[arg(long, value_name = "PLAYBOOK")]
    pub(crate) playbook: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
}

#[derive(Args, Debug)]
pub(crate) struct RunsShowArguments {
    /// The run's id, or enough of it to know it by
    #[arg(value_name = "RUN")]
    pub(crate) run: String,
    /// Write it as one HTML page that needs nothing else; without a name to standard output
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with = "json")]
    #[expect(clippy::option_option, reason = "not asked for, without a name, with one")]
    pub(crate) html: Option<Option<PathBuf>>,
}

#[derive(Args, Debug)]
pub(crate) struct ExplainArguments {
    /// A call's key as `runs show -v` tells it, or its beginning; or a thing's id, name or address
    #[arg(value_name = "KEY|OBJECT")]
    pub(crate) wanted: String,
    /// Look only in this run: its id, or its beginning
    #[arg(long, value_name = "ID")]
    pub(crate) run: Option<String>,
}

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct SandboxArguments {
    #[command(subcommand)]
    pub(crate) command: Option<SandboxCommand>,
    /// The port; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub(crate) port: u16,
    /// The address to listen on; by default this machine only
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) host: Option<IpAddr>,
    /// Keep the state in this file; by default it is gone at the end
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// What goes wrong: a TOML file of faults, by a list and by chance (docs/sandbox.md)
    #[arg(long, value_name = "FILE")]
    pub(crate) faults: Option<PathBuf>,
    /// The organizations there are, with their licences and clients: a TOML file (docs/sandbox.md)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["client_id", "client_secret", "license_key"])]
    pub(crate) estate: Option<PathBuf>,
    /// The OAuth client's id; by default the state's, else a new one
    #[arg(long, value_name = "TEXT", env = "TENANTRY_SANDBOX_CLIENT_ID", hide_env_values = true)]
    pub(crate) client_id: Option<String>,
    /// The OAuth client's secret. The variable keeps it out of the process list
    #[arg(long, value_name = "TEXT", env = "TENANTRY_SANDBOX_CLIENT_SECRET", hide_env_values = true)]
    pub(crate) client_secret: Option<String>,
    /// The licence key that creates tenants. The variable keeps it out of the process list
    #[arg(long, value_name = "TEXT", env = "TENANTRY_SANDBOX_LICENSE_KEY", hide_env_values = true)]
    pub(crate) license_key: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SandboxCommand {
    /// Copy a sandbox's state into a new file, from which a sandbox can go on
    Snapshot {
        /// The file to make; one that exists stays untouched
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The state to copy; by default that of the project's embedded sandbox
        #[arg(long, value_name = "FILE")]
        state: Option<PathBuf>,
    },
    /// Show what is different between two states: by tenant, resource and name, field by field
    Diff {
        /// The first state
        #[arg(value_name = "A")]
        before: PathBuf,
        /// The second one
        #[arg(value_name = "B")]
        after: PathBuf,
    },
    /// Copy a tenant's configuration from a target, read only and with `***` for secret fields, into a state for a sandbox
    Record(RecordArguments),
    /// Empty a sandbox's state, and take its tenants out of the registry
    Reset(ResetArguments),
}

#[derive(Args, Debug)]
pub(crate) struct RecordArguments {
    /// The tenant that the registry has for the customer of this code
    #[arg(long, value_name = "CODE", conflicts_with = "tenant")]
    pub(crate) customer: Option<String>,
    /// The tenant with this host name; without it and a customer, the one that the target is pinned to
    #[arg(long, value_name = "HOST")]
    pub(crate) tenant: Option<String>,
    /// The file to make; one that exists stays untouched
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct ResetArguments {
    /// The state to empty; by default that of the project's embedded sandbox
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// Do it without asking, also when the registry knows tenants of it
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) yes: bool,
    /// Only show what would go
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Args, Debug)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct StateArguments {
    #[command(subcommand)]
    pub(crate) command: StateCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StateCommand {
    /// Look whether everything in it is as it was written, and whether somebody has something to find out
    Check,
    /// Copy it, also while runs are at work, into a file that can take its place
    Backup {
        /// The file to make; one that exists stays untouched
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Write all of it as lines of JSON, without secrets, for another machine or another program
    Export {
        /// The file to make; one that exists stays untouched. `-` is standard output
        #[arg(value_name = "FILE", default_value = "-")]
        file: PathBuf,
    },
    /// Enter what `state export` wrote: all of it, or nothing when something here says otherwise
    Import {
        /// The file that `state export` made
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Remove old runs: shown first, then done. The latest of each customer and playbook, what can be resumed and what
    /// the registry names always stay
    Prune(PruneArguments),
}

#[derive(Args, Debug)]
pub(crate) struct PruneArguments {
    /// How many runs of each customer and playbook stay, however old
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) keep: u16,
    /// Remove only runs that ended longer ago than this, such as `90d` or `36h`
    #[arg(long, value_name = "90d|36h", default_value = "90d", value_parser = age)]
    pub(crate) older_than: Duration,
    /// Do it without asking
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) yes: bool,
    /// Only show what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Reads `90d`, `36h`.
fn age(text: &str) -> Result<Duration, String> {
    let hours = match text.char_indices().last() {
        Some((at, 'd')) => text[..at].parse::<u32>().ok().and_then(|days| days.checked_mul(24)),
        Some((at, 'h')) => text[..at].parse().ok(),
        _ => None,
    };
    hours
        .map(|hours: u32| Duration::from_secs(u64::from(hours) * 3600))
        .ok_or_else(|| "an age reads like `90d` (days) or `36h` (hours)".to_owned())
}

#[derive(Args, Debug)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct TenantsArguments {
    #[command(subcommand)]
    pub(crate) command: TenantsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TenantsCommand {
    /// Show which customer has which tenant, and creations whose end is not known
    List,
    /// Show the tenants of the organization that no customer has, with what past runs say about them
    Strays,
    /// Enter a tenant that exists as a customer's, or say that a creation made none
    Adopt {
        /// The customer's code
        customer: String,
        /// The tenant's host name
        #[arg(required_unless_present = "not_created", conflicts_with = "not_created")]
        hostname: Option<String>,
        /// You have looked: the creation whose end was not known made no tenant
        #[arg(long)]
        not_created: bool,
    },
}

impl Arguments {
    /// The arguments of this process; help, version and wrong usage are printed here.
    pub(crate) fn parse() -> Result<Self, Exit> {
        let command = Self::command().after_help(format!("{}\n{}", Exit::table(), environment::TABLE));
        let parsed = command.try_get_matches().and_then(|matches| Self::from_arg_matches(&matches));
        parsed.map_err(|error| {
            // Nobody is there to be told when printing fails.
            let _ = error.print();
            if error.exit_code() == 0 { Exit::Success } else { Exit::Usage }
        })
    }
}
