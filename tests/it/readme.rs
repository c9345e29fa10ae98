//! What the README and the pages in docs tell people to type is typed here.

use std::path::Path;
use std::process::Stdio;

use crate::support::command_line::{Ended, Folder, signal};

/// Fenced blocks of one language, each with the text before it.
fn blocks(text: &str, language: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut before = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(fence) = line.strip_prefix("```") else {
            before.push_str(line);
            before.push('\n');
            continue;
        };
        let body: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
        if fence == language {
            found.push((std::mem::take(&mut before), body.join("\n")));
        }
    }
    found
}

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The file that the text before a block says to save it as.
fn file_name(before: &str) -> &str {
    before.rsplit("Save it as `").next().and_then(|rest| rest.split('`').next()).unwrap()
}

#[test]
fn the_readmes_commands_do_what_it_says() {
    let (readme, project) = (page("README.md"), Folder::stock());
    for (before, playbook) in blocks(&readme, "rhai") {
        project.write(file_name(&before), &playbook);
    }
    let commands: Vec<String> = blocks(&readme, "sh").into_iter().map(|(_, command)| command).collect();
    assert!(commands.len() >= 5 && commands.iter().all(|command| command.lines().count() == 1), "{commands:?}");
    for command in commands {
        // This very run.
        if command == "cargo test" {
            continue;
        }
        let arguments = command.strip_prefix("cargo run --release -- ").unwrap_or_else(|| panic!("{command}"));
        if arguments == "sandbox" {
            // Its usual port may be taken here.
            let mut child = project.command("sandbox --port 0 --json").stdout(Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            let out = child.stdout.take().unwrap();
            std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
            signal(&child, "INT");
            assert!(child.wait().unwrap().success() && line.contains("http://127.0.0.1:"), "{line}");
            continue;
        }
        let ended = project.run(arguments);
        assert_eq!(ended.code, Some(0), "{command}: {ended:?}");
    }
    let again = project.run("run playbooks/onboard.rhai --customers customers/ --json");
    let writes: Vec<u64> =
        again.json()["runs"].as_array().unwrap().iter().map(|run| run["writes"].as_u64().unwrap()).collect();
    assert_eq!(writes, [0, 0, 0], "the first command again");
}

#[test]
fn a_change_of_a_customer_is_all_that_is_written() {
    let project = Folder::stock();
    assert_eq!(project.run("run playbooks/onboard.rhai --customers customers/ --quiet").code, Some(0));
    let file = project.path().join("customers/harbour.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("- { name: Staging, type: shared }", "- { name: Workshop, type: shared }"))
        .unwrap();
    let ended = project.run("run playbooks/onboard.rhai --customers customers/ --json");
    let changes: Vec<String> = changes(&ended);
    assert_eq!(changes, ["created space \"Workshop\""]);
}

fn changes(ended: &Ended) -> Vec<String> {
    let report = ended.json();
    let runs = report["runs"].as_array().unwrap().iter();
    runs.flat_map(|run| run["changes"].as_array().unwrap().clone())
        .map(|step| format!("{} {}", step["change"].as_str().unwrap(), step["subject"].as_str().unwrap()))
        .collect()
}

#[test]
fn the_pages_in_docs_tell_nobody_to_type_anything_else() {
    for name in ["docs/architecture.md", "docs/benchmarks.md"] {
        assert!(blocks(&page(name), "sh").is_empty(), "{name}: run its commands here");
    }
}

#[test]
fn the_settings_of_a_real_organization_are_settings() {
    let project = Folder::stock();
    for (_, settings) in blocks(&page("README.md"), "toml") {
        project.add_settings(&settings);
    }
    let ended = project.run("tenants list --target prod");
    // They are understood; only the secret is missing here.
    assert!(ended.error.contains("op") && !ended.error.contains("unknown"), "{ended:?}");
}
