//! Chains of scheduled tasks: which runs after which (scheduling tasks API).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::context::{Answer, Context, Handled, text};
use super::resources::Resource;
use super::state::Document;
use super::task_runs;
use super::tasks::{self, TASKS};

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("getTaskGraphParents", parents),
        ("getTaskGraphChildren", children),
        ("getTaskGraphAncestors", ancestors),
        ("getTaskGraphDescendants", descendants),
        ("getTaskSubgraph", subgraph),
    ],
    seed: None,
};

/// How deep a graph is looked at unless told otherwise: as deep as one may ask.
const LEVELS: usize = 100;

/// What the event of another task's end must say for a task to run: the other's id, and its end when it matters.
fn awaited(task: &Value) -> impl Iterator<Item = (&str, Option<&str>)> {
    let events = task["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    events.iter().filter(|event| text(event, "source") == "system-events.task").filter_map(|event| {
        let correlation = event["correlation"].as_array()?;
        let said = |name: &str| {
            let held = correlation.iter().find(|held| text(held, "contextAttributeName") == name)?;
            held["contextAttributeValue"].as_str()
        };
        Some((said("id")?, said("status")))
    })
}

/// The tasks after which a task runs.
pub(super) fn parents_of(context: &Context<'_>, task: &Value) -> Vec<Document> {
    awaited(task).filter_map(|(id, _)| context.get(TASKS, id)).collect()
}

/// The tasks that run after a task.
pub(super) fn children_of(context: &Context<'_>, task: &Value) -> Vec<Document> {
    let all = context.collection(TASKS).documents();
    all.into_iter().filter(|held| awaited(held).any(|(id, _)| id == text(task, "id"))).collect()
}

/// The moments since `since` at which other tasks' ends made a task run, each with the name of the other.
pub(super) fn fired(context: &Context<'_>, task: &Value, since: Timestamp, chain: usize) -> Vec<(Timestamp, String)> {
    let mut moments = Vec::new();
    for (id, wanted) in awaited(task) {
        let Some(parent) = context.get(TASKS, id) else { continue };
        let due = tasks::due_of_task(context, &parent, chain + 1);
        for reload in task_runs::on_record(context, &parent, due) {
            let run = task_runs::base(context, &reload);
            let ended = run["endedAt"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
            let is_wanted = wanted.is_none_or(|wanted| text(&run, "status").eq_ignore_ascii_case(wanted));
            if let Some(ended) = ended.filter(|at| *at > since && *at <= context.now && is_wanted) {
                moments.push((ended, text(&parent, "name").to_owned()));
            }
        }
    }
    moments.sort();
    moments
}

fn parents(context: &mut Context<'_>) -> Handled {
    let task = tasks::asked(context)?;
    tasks::page(context, parents_of(context, &task))
}

fn children(context: &mut Context<'_>) -> Handled {
    let task = tasks::asked(context)?;
    tasks::page(context, children_of(context, &task))
}

fn ancestors(context: &mut Context<'_>) -> Handled {
    graph(context, true, false)
}

fn descendants(context: &mut Context<'_>) -> Handled {
    graph(context, false, true)
}

fn subgraph(context: &mut Context<'_>) -> Handled {
    graph(context, true, true)
}

/// The tasks around one, breadth first. An edge leads from a task to the one that runs after it.
fn graph(context: &Context<'_>, up: bool, down: bool) -> Handled {
    let root = tasks::asked(context)?;
    let levels = context.parameter("level").and_then(|level| level.parse().ok()).unwrap_or(LEVELS);
    let mut depths = BTreeMap::from([(text(&root, "id").to_owned(), 0)]);
    let (mut vertices, mut edges) = (vec![root.clone()], Vec::new());
    for upwards in [true, false].into_iter().filter(|upwards| if *upwards { up } else { down }) {
        let mut front = vec![root.clone()];
        for depth in 1..=levels {
            let mut next = Vec::new();
            for task in front {
                let found = if upwards { parents_of(context, &task) } else { children_of(context, &task) };
                for other in found {
                    let (source, target) = if upwards { (&other, &task) } else { (&task, &other) };
                    let edge = json!({"source": source["id"], "target": target["id"], "attrs": {"depth": depth}});
                    if !edges
                        .iter()
                        .any(|held: &Value| held["source"] == edge["source"] && held["target"] == edge["target"])
                    {
                        edges.push(edge);
                    }
                    if depths.insert(text(&other, "id").to_owned(), depth).is_none() {
                        vertices.push(other.clone());
                        next.push(other);
                    }
                }
            }
            if next.is_empty() {
                break;
            }
            front = next;
        }
    }
    let vertices: Vec<Value> = vertices
        .iter()
        .map(|task| {
            let topology = [("isChild", parents_of(context, task)), ("isParent", children_of(context, task))];
            let mut vertex = json!({"taskId": task["id"], "attrs": {"depth": depths[text(task, "id")]}});
            for (name, held) in topology {
                vertex["attrs"][name] = json!(!held.is_empty());
            }
            if context.flag("withTask") && tasks::is_open(context, task) {
                vertex["task"] = tasks::shown(context, task);
            }
            vertex
        })
        .collect();
    Ok(Answer::ok(&json!({"taskId": root["id"], "vertices": vertices, "edges": edges})))
}
