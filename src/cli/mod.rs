//! The command line: each subcommand parses, calls the library, and prints. It uses what the library gives any
//! embedder, and is the only part that reads the environment, hears signals and ends the process.

mod apply;
mod arguments;
mod console;
mod environment;
mod exit;
mod follow;
mod html;
mod interrupt;
mod logs;
mod plan;
mod project;
mod run;
mod runs;
mod sandbox;
mod state;
mod tenants;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;

use self::arguments::{Arguments, Command};
use self::console::Console;
use self::exit::Exit;
use crate::report::Trouble;

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    let exit = match Arguments::parse() {
        Ok(arguments) => command(arguments),
        Err(exit) => exit,
    };
    exit.into()
}

fn command(arguments: Arguments) -> Exit {
    let console = Arc::new(Console::new(arguments.common.quiet, arguments.common.verbose));
    if let Err(trouble) = logs::start(&console) {
        console.trouble(&trouble);
        return Exit::Usage;
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            console.trouble(&Trouble::new(format!("cannot start: {error}")));
            return Exit::Internal;
        }
    };
    let common = &arguments.common;
    let ended = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            match &arguments.command {
                Command::Apply(arguments) => apply::apply(&console, common, arguments).await,
                Command::Plan(arguments) => plan::plan(&console, common, arguments).await,
                Command::Run(arguments) => run::run(&console, common, arguments).await,
                Command::Runs(arguments) => runs::runs(&console, common, arguments).await,
                Command::Sandbox(arguments) => sandbox::sandbox(&console, common, arguments).await,
                Command::State(arguments) => state::state(&console, common, arguments),
                Command::Tenants(arguments) => tenants::tenants(&console, common, arguments).await,
            }
        })
    }));
    ended.unwrap_or_else(|_| {
        let trouble = Trouble::new("tenantry itself failed: this is a defect of it")
            .help("please report it, with the lines above and the command you ran");
        console.trouble(&trouble);
        Exit::Internal
    })
}
