//! What the README and the pages in docs tell people to type is typed here, in the order in which they read it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use regex::Regex;
use serde_json::Value;

use crate::support::command_line::{Ended, Folder, Served, exchange};

/// Commands that are not run here, and why.
const NOT_RUN: [(&str, &str); 2] = [
    ("cargo test", "this very run"),
    ("cargo run --example embed", "`host::the_example_runs` runs it and reads what it prints"),
];
/// Commands that do not end with 0, and how: some are killed, and a plan with something to do says so.
const ENDED: [(&str, Option<i32>); 4] = [
    ("cargo run --release -- run playbooks/onboard.rhai --customer trial.yaml", None),
    ("tenantry plan playbooks/hydrate.rhai --customer customers/harbour.yaml --out hb.plan.json", Some(2)),
    ("tenantry drift playbooks/onboard.rhai --customer customers/harbour.yaml -v", Some(2)),
    ("tenantry plan playbooks/hydrate.rhai --customers customers --out plans", Some(2)),
];
/// Pages besides the README whose `sh` fences are typed here.
const TYPED: [&str; 3] = ["docs/concepts/plan.md", "docs/runs.md", "docs/state.md"];
/// What a fence may be called: each is looked after below, but for `rust,no_run`, which rustdoc compiles.
const LANGUAGES: [&str; 6] = ["jinja", "rhai", "rust,no_run", "sh", "text", "toml"];
/// How the program is called: from its sources, or installed.
const PROGRAMS: [&str; 2] = ["cargo run --release -- ", "tenantry "];
/// Programs that every machine has.
const COMMON: [&str; 5] = ["cp ", "echo ", "mkdir ", "mv ", "sed "];

/// A fenced block, with the text between it and the one before.
struct Block {
    language: String,
    before: String,
    body: String,
}

impl Block {
    /// The file that the text before says to save it as.
    fn file(&self) -> &str {
        let text = self.before.rsplit(" as `").next().unwrap();
        text.split('`').next().filter(|name| name.contains('/')).unwrap_or_else(|| panic!("save where? {}", self.body))
    }
}

fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut before = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            before.push_str(line);
            before.push('\n');
            continue;
        };
        let body: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
        found.push(Block { language: language.to_owned(), before: std::mem::take(&mut before), body: body.join("\n") });
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).unwrap()
}

/// Name and text of the README and of every page in docs.
fn pages() -> Vec<(PathBuf, String)> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|ending| ending == "md")).collect();
    paths.push(root().join("README.md"));
    paths.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

/// A reader who does what the README says, with two terminals.
struct Person {
    project: Folder,
    /// What runs in the other terminal.
    served: Option<Served>,
    token: String,
}

impl Person {
    fn new() -> Self {
        Self { project: Folder::stock(), served: None, token: String::new() }
    }

    /// Types every command of a page and saves every file. Gives how many commands there were.
    fn follows(&mut self, page: &str) -> usize {
        let mut commands = 0;
        for block in blocks(page) {
            match block.language.as_str() {
                "sh" => {
                    for command in block.body.lines() {
                        self.types(command);
                        commands += 1;
                    }
                }
                "rhai" | "jinja" => drop(self.project.write(block.file(), &block.body)),
                _ => {}
            }
        }
        commands
    }

    fn types(&mut self, command: &str) {
        if NOT_RUN.iter().any(|(known, _)| *known == command) {
            return;
        }
        if command.starts_with("curl ") {
            return self.curl(command);
        }
        if COMMON.iter().any(|program| command.starts_with(program)) {
            let ended = self.shell(command);
            assert_eq!(ended.code, Some(0), "{command}: {ended:?}");
            return;
        }
        let arguments = PROGRAMS.iter().find_map(|program| command.strip_prefix(program));
        let arguments = arguments.unwrap_or_else(|| panic!("nobody runs `{command}`"));
        if let Some(arguments) = arguments.strip_prefix("sandbox") {
            // Its usual port may be taken here.
            self.served = Some(Served::start(&self.project, arguments));
            return;
        }
        if let Some(served) = self.served.take() {
            assert_eq!(served.end().0, Some(0));
        }
        let arguments = if arguments.contains("RUN") { &arguments.replace("RUN", &self.last_run()) } else { arguments };
        let ended = self.shell(&format!("exec '{}' {arguments}", env!("CARGO_BIN_EXE_tenantry")));
        let code = ENDED.iter().find(|(known, _)| *known == command).map_or(Some(0), |(_, code)| *code);
        assert_eq!(ended.code, code, "{command}: {ended:?}");
    }

    /// A line, as the reader's shell takes it: with its quotes.
    fn shell(&self, line: &str) -> Ended {
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(self.project.path()).env_clear().env("PATH", "/usr/bin:/bin");
        Ended::of(command.stdin(Stdio::null()).output().unwrap())
    }

    /// The id of the run that began last.
    fn last_run(&self) -> String {
        let listed = self.project.run("runs list --json").json();
        listed["runs"][0]["id"].as_str().unwrap().to_owned()
    }

    /// Sends what curl would: not every machine has it.
    fn curl(&mut self, command: &str) {
        let address = self.served.as_ref().expect("a server runs").text("url").trim_start_matches("http://");
        let command = command.replace("127.0.0.1:8080", address).replace("TOKEN", &self.token);
        let words: Vec<String> = Regex::new(r#""([^"]*)"|(\S+)"#)
            .unwrap()
            .captures_iter(&command)
            .map(|found| found.get(1).or(found.get(2)).unwrap().as_str().to_owned())
            .collect();
        let (mut path, mut data, mut headers) = (None, Vec::new(), Vec::new());
        let mut words = words.iter().map(String::as_str).skip(1);
        while let Some(word) = words.next() {
            match word {
                "-s" => {}
                "-d" => data.push(words.next().unwrap()),
                "-H" => headers.push(words.next().unwrap()),
                url => path = Some(url.strip_prefix(&format!("http://{address}")).unwrap()),
            }
        }
        let method = if data.is_empty() { "GET" } else { "POST" };
        let request = format!("{method} {}", path.unwrap());
        let (head, body) = exchange(address, &request, &headers, &data.join("&"));
        assert!(head.starts_with("HTTP/1.1 200"), "{command}: {head}");
        let answer: Value = serde_json::from_slice(&body).unwrap();
        if let Some(token) = answer["access_token"].as_str() {
            token.clone_into(&mut self.token);
        }
    }
}

#[test]
fn the_readmes_commands_do_what_it_says() {
    let mut person = Person::new();
    let commands = person.follows(&readme());
    assert!(commands >= 10, "only {commands} commands were found");
    let project = person.project;
    let again = project.run("run playbooks/onboard.rhai --customers customers/ --json");
    let writes: Vec<u64> =
        again.json()["runs"].as_array().unwrap().iter().map(|run| run["writes"].as_u64().unwrap()).collect();
    assert_eq!(writes, [0, 0, 0], "the first command again");
    let welcome = project.run("run playbooks/welcome.rhai --customer customers/harbour.yaml");
    assert!(welcome.error.contains("Welcome, Harbour Logistics: your analytics are at https://"), "{welcome:?}");
    // The run that was killed was resumed, did all it had to, and was taken back.
    let runs = project.run("runs list --customer trial --json").json()["runs"].clone();
    assert_eq!((&runs[0]["undo_of"], &runs[0]["status"]), (&runs[1]["id"], &"succeeded".into()), "{runs}");
    assert_eq!((&runs[1]["processes"], &runs[1]["unsettled"]), (&2.into(), &0.into()), "{runs}");
    // The error it shows is the one that comes.
    let staging = project.path().join("playbooks/staging.rhai");
    let broken = std::fs::read_to_string(&staging).unwrap().replace("spaces.ensure", "spaces.ensur");
    std::fs::write(&staging, broken).unwrap();
    let ended = project.run("run playbooks/staging.rhai --customer customers/harbour.yaml --quiet");
    let shown: Vec<Block> = blocks(&readme()).into_iter().filter(|block| block.language == "text").collect();
    assert_eq!(shown.iter().map(|block| block.body.as_str()).collect::<Vec<_>>(), [ended.error.trim_end()]);
}

#[test]
fn what_other_pages_tell_to_type_works_on_the_stock_project() {
    for page in TYPED {
        let mut person = Person::new();
        assert_eq!(person.project.run("run playbooks/onboard.rhai --customers customers/ --quiet").code, Some(0));
        assert!(person.follows(&std::fs::read_to_string(root().join(page)).unwrap()) > 0, "{page}");
    }
}

#[test]
fn a_change_of_a_customer_is_all_that_is_written() {
    let project = Folder::stock();
    assert_eq!(project.run("run playbooks/onboard.rhai --customers customers/ --quiet").code, Some(0));
    let file = project.path().join("customers/harbour.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("accent: \"#F2A104\""));
    std::fs::write(&file, text.replace("accent: \"#F2A104\"", "accent: \"#D1495B\"")).unwrap();
    let ended = project.run("run playbooks/onboard.rhai --customers customers/ --json");
    assert_eq!(changes(&ended), ["updated theme \"hb-theme\""]);
}

fn changes(ended: &Ended) -> Vec<String> {
    let report = ended.json();
    let runs = report["runs"].as_array().unwrap().iter();
    runs.flat_map(|run| run["changes"].as_array().unwrap().clone())
        .map(|step| format!("{} {}", step["change"].as_str().unwrap(), step["subject"].as_str().unwrap()))
        .collect()
}

#[test]
fn no_page_tells_anybody_to_type_what_is_not_run() {
    let inline = Regex::new(r"`((?:cargo |tenantry |tests/clients/)[^`\n]+)`").unwrap();
    for (path, text) in pages() {
        for Block { language, body, .. } in blocks(&text) {
            assert!(LANGUAGES.contains(&language.as_str()), "{}: who runs ```{language}?", path.display());
            let typed = path.ends_with("README.md") || TYPED.iter().any(|page| path.ends_with(page));
            assert!(language != "sh" || typed, "{}: who runs {body}?", path.display());
        }
        // Within a sentence: a benchmark takes minutes and asserts nothing, but it must be there.
        for command in inline.captures_iter(&text).map(|found| found.get(1).unwrap().as_str().to_owned()) {
            let named = |prefix: &str| command.strip_prefix(prefix).map(|name| format!("{name}.rs"));
            let there = if let Some(file) = named("cargo bench --bench ") {
                root().join("benches").join(file).is_file()
            } else if let Some(file) = named("cargo test --test it ") {
                root().join("tests/it").join(file).is_file()
            } else if command.starts_with("tests/clients/") {
                // CI runs them beside these tests: they need node and Python.
                root().join(command.split(' ').next().unwrap_or_default()).exists()
            } else {
                is_understood(&command)
            };
            assert!(there, "{}: `{command}`", path.display());
        }
    }
}

/// Whether the program knows a command with such arguments: it then gets as far as a project that has nothing, which is
/// enough for some.
fn is_understood(command: &str) -> bool {
    let Some(arguments) = command.strip_prefix("tenantry ") else { return false };
    arguments == "--help" || arguments == "sandbox" || matches!(Folder::empty().run(arguments).code, Some(0 | 4))
}

#[test]
fn the_settings_of_a_real_organization_are_settings() {
    let project = Folder::stock();
    for block in blocks(&readme()) {
        if block.language == "toml" {
            project.add_settings(&block.body);
        }
    }
    let ended = project.run("tenants list --target prod");
    // They are understood; only the vault is missing here.
    assert!(ended.error.starts_with("error: secret `target/prod/license_key`: command `op`"), "{ended:?}");
}

#[test]
fn the_exit_codes_are_those_of_the_program() {
    let (help, readme) = (Folder::empty().run("--help").out, readme());
    let table = help.split_once("Exit codes:\n").unwrap().1.split("\n\n").next().unwrap();
    for line in table.lines() {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        assert!(readme.contains(&format!("| {code} | {meaning} |")), "{line}");
    }
    assert_eq!(table.lines().count(), 9);
}
