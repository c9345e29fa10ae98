//! `tenantry runs explain`: why a call was made, and which calls dealt with a thing.

use serde_json::json;
use tenantry::{ExplainError, Explained};

use super::super::arguments::{Common, ExplainArguments};
use super::super::console::Console;
use super::super::exit::Exit;
use super::super::project::Stopped;
use crate::report::{self, Trouble};

pub(super) async fn explain(console: &Console, common: &Common, arguments: &ExplainArguments) -> Result<Exit, Stopped> {
    let host = super::host(common)?;
    let explained = match host.explain(&arguments.wanted, arguments.run.as_deref()).await {
        Ok(explained) => explained,
        Err(error) => return several(console, common, &error),
    };
    if common.json {
        console.json(&report::explained_json(&explained));
    } else {
        if let (Explained::Call(_), None) = (&explained, &arguments.run) {
            console.told("in the latest run that has this call; --run looks in another");
        }
        console.data(&report::explained_text(&explained, console.verbose(), console.out(), console.width()));
    }
    if let Explained::Object(object) = &explained {
        console.troubles(unread(&object.unread));
    }
    Ok(Exit::Success)
}

/// Runs that could not be searched are told beside what the others say.
fn unread(why: &[String]) -> impl Iterator<Item = Trouble> {
    why.iter().map(|why| Trouble::warning(why.clone()).help("what that run did is missing here"))
}

/// Things that are called alike are data: a script may choose among them.
fn several(console: &Console, common: &Common, error: &ExplainError) -> Result<Exit, Stopped> {
    let trouble = error.hints().iter().fold(Trouble::new(error.to_string()), Trouble::help);
    let ExplainError::Several { objects, .. } = error else {
        return Err(([trouble].into_iter().chain(unread(error.unread())).collect(), Exit::Configuration));
    };
    if common.json {
        let objects: Vec<_> = objects.iter().map(report::object_json).collect();
        console.json(&json!({ "version": report::VERSION, "objects": objects, "errors": [trouble] }));
    } else {
        console.data(&report::objects_table(objects, console.out()));
    }
    console.trouble(&trouble);
    Ok(Exit::Configuration)
}
