//! Every function a playbook can call says what it does, names its parameters, and has an example that runs.

use std::sync::Arc;

use serde_json::{Value, json};
use tenantry::render::Templates;

use crate::functions_driver::Project;

struct Function {
    signature: String,
    parameters: Vec<String>,
    comments: String,
    getter: bool,
}

impl Function {
    fn example(&self) -> Option<&str> {
        Some(self.comments.split_once("```rhai\n")?.1.split_once("```")?.0)
    }
}

fn functions() -> Vec<Function> {
    let mut engine = rhai::Engine::new_raw();
    tenantry::functions::register(&mut engine, &Arc::new(Templates::new(".")));
    let metadata: Value = serde_json::from_str(&engine.gen_fn_metadata_to_json(true).unwrap()).unwrap();
    let mut found = Vec::new();
    collect(&metadata, &mut found);
    assert!(found.len() > 60, "only {} functions were found", found.len());
    found
}

fn collect(metadata: &Value, found: &mut Vec<Function>) {
    for function in metadata["functions"].as_array().into_iter().flatten() {
        let text = |field: &str| function[field].as_str().unwrap_or_default().to_owned();
        let parameters = function["params"].as_array().into_iter().flatten();
        let comments = function["docComments"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let comments = comments.flat_map(str::lines).map(|line| {
            let line = line.trim_start().strip_prefix("///").unwrap_or(line);
            line.strip_prefix(' ').unwrap_or(line)
        });
        found.push(Function {
            signature: text("signature"),
            parameters: parameters.filter_map(|parameter| parameter["name"].as_str()).map(str::to_owned).collect(),
            comments: comments.flat_map(|line| [line, "\n"]).collect(),
            getter: ["get$", "to_string(", "to_debug("].iter().any(|start| text("signature").starts_with(start)),
        });
    }
    for module in metadata["modules"].as_object().into_iter().flatten() {
        collect(module.1, found);
    }
}

#[test]
fn every_function_is_documented() {
    let mut lacking = Vec::new();
    for function in functions() {
        let Function { signature, comments, .. } = &function;
        if comments.trim().is_empty() {
            lacking.push(format!("{signature}: says nothing"));
            continue;
        }
        if function.getter {
            continue;
        }
        if function.example().is_none() {
            lacking.push(format!("{signature}: no example"));
        }
        // The first parameter of a method is what it is called on.
        let own = function.parameters.iter().filter(|name| {
            ![
                "_",
                "context",
                "tenant",
                "settings",
                "licenses",
                "providers",
                "groups",
                "roles",
                "users",
                "spaces",
                "space",
                "integrations",
                "tasks",
                "origins",
                "themes",
                "extensions",
                "apps",
                "app",
                "brands",
                "clients",
                "items",
                "collections",
                "collection",
                "tags",
                "policies",
                "encryption",
                "automations",
                "automation",
                "connections",
                "files",
            ]
            .contains(&name.as_str())
        });
        for name in own {
            if !comments.contains(&format!("- `{}`", name.trim_start_matches("r#"))) {
                lacking.push(format!("{signature}: parameter `{name}` is not explained"));
            }
        }
    }
    assert!(lacking.is_empty(), "{}", lacking.join("\n"));
}

#[test]
fn every_example_runs() {
    let customer = json!({
        "code": "hb", "name": "Harbour Logistics", "region": "eu", "alias": "halyard-hb",
        "idp": { "issuer": "https://id.halyard.example/hb", "kid": "a" },
        "theme": { "id": "hb-theme", "primary": "#0B3C5D", "accent": "#F2A104" },
        "groups": [{ "name": "hb-viewers" }],
    });
    let mut failed = Vec::new();
    for function in functions().iter().filter(|function| !function.getter) {
        let Some(example) = function.example() else { continue };
        if let Some(error) = Project::stock(customer.clone()).play(example).error {
            failed.push(format!("{}\n{example}\n{error:#?}", function.signature));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
