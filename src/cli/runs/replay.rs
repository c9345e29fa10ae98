//! `tenantry runs replay`: whether a recorded run comes to the same once more.

use serde_json::{Value, json};
use tenantry::{Difference, Replayed};

use super::super::arguments::Common;
use super::super::console::Console;
use super::super::exit::Exit;
use super::super::project::Stopped;
use crate::report::Trouble;

/// A recorded document is no more than a line here.
const SHOWN: usize = 300;

pub(super) async fn replay(console: &Console, common: &Common, run: &str) -> Result<Exit, Stopped> {
    let host = super::host(common)?;
    let replayed = host.replay(run).await;
    let replayed = replayed.map_err(|diagnostic| (vec![Trouble::from(&diagnostic)], Exit::Configuration))?;
    if common.json {
        let mut value = serde_json::to_value(&replayed).unwrap_or_default();
        value["identical"] = json!(replayed.is_identical());
        console.json(&value);
    }
    match &replayed.difference {
        None => {
            if !common.json {
                console.data(&summary(&replayed));
            }
            Ok(Exit::Success)
        }
        Some(difference) => {
            console.trouble(&differs(&replayed, difference));
            Ok(Exit::Failed)
        }
    }
}

fn summary(replayed: &Replayed) -> String {
    let Replayed { run, playbook, customer, operations, steps, .. } = replayed;
    let extent = if replayed.complete { "identical" } else { "identical as far as it was recorded" };
    let count = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
    let (operations, steps) = (count(*operations, "operation"), count(*steps, "step"));
    format!("run {run} of {playbook} for `{customer}`: {extent} ({operations}, {steps})")
}

fn differs(replayed: &Replayed, difference: &Difference) -> Trouble {
    let shown = |value: Option<&Value>| match value.map(Value::to_string) {
        None => "nothing".to_owned(),
        Some(text) => match text.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text,
        },
    };
    let trouble = Trouble::new(format!("the replay of run {} comes to something else", replayed.run))
        .note("first", &difference.what);
    if difference.recorded.is_none() && difference.replayed.is_none() {
        return trouble;
    }
    trouble.note("recorded", shown(difference.recorded.as_ref())).note("replayed", shown(difference.replayed.as_ref()))
}
