//! The program killed at any moment (`kill -9`) while it onboards, and what the next command makes of it.
//!
//! Each round is a customer of its own. The program is killed after a line of its events that chance picks, sometimes
//! twice; then `run --resume` goes on. At the end the sandbox it worked on, another process, has one tenant for each
//! customer and everything in it once, and the registry has the same tenants.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use tenantry::sandbox::{Sandbox, Settings};

use crate::support::command_line::{Ended, Folder, Served};

const SEED: u64 = 20_261_124;
const WORKERS: u64 = 4;
const ROUNDS: u64 = 25;

const PLAYBOOK: &str = "let tenant = tenants::ensure(customer);
for name in [\"One\", \"Two\"] { tenant.spaces.ensure(name, \"shared\"); }
parallel([\"Three\", \"Four\", \"Five\"], |name| tenant.spaces.ensure(name, \"managed\"));
tenant.groups.ensure(\"Readers\");
tenant.users.ensure(#{ subject: `${customer.code}|ada`, name: \"Ada\", email: \"ada@x.example\" });
log(\"written\");
output(#{ url: tenant.url });
";

/// As many events as a run tells, about.
const EVENTS: u32 = 30;

struct World {
    project: Folder,
    served: Served,
}

impl World {
    fn new() -> Self {
        let project = Folder::empty();
        project.write("play.rhai", PLAYBOOK);
        let served = Served::start(&project, "--state served.db");
        let id = served.text("client_id");
        let client = format!("{{ client_id = \"{id}\", client_secret = {{ env = \"SECRET\" }} }}");
        project.add_settings(&format!(
            "[targets.local]\naddress = \"{}\"\nlicense_key = {{ env = \"KEY\" }}\nconsole = {client}\nregions.eu = {client}",
            served.text("url")
        ));
        Self { project, served }
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = self.project.command(&format!("{arguments} --target local"));
        command.env("SECRET", self.served.text("client_secret")).env("KEY", self.served.text("license_key"));
        command
    }

    /// Runs the program until it has told so many events, then kills it.
    fn killed_after(&self, arguments: &str, events: u32) {
        let mut child = self
            .command(&format!("{arguments} --events -"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let told = lines.filter(|line| line.contains("\"event\":")).take(events as usize).count();
        assert!(told <= events as usize);
        // It goes on while it is being killed, or has just ended.
        let _ = child.kill();
        child.wait().unwrap();
    }

    /// Gives how many operations the last command answered from the record of the ones that were killed.
    fn round(&self, code: &str, seed: u64) -> u64 {
        let mut random = StdRng::seed_from_u64(seed);
        self.project.write(&format!("{code}.yaml"), &format!("code: {code}\nname: Customer {code}\nregion: eu\n"));
        let run = format!("run play.rhai --customer {code}.yaml --resume");
        for _ in 0..random.random_range(1..=2) {
            self.killed_after(&run, random.random_range(0..EVENTS));
        }
        let ended = Ended::of(self.command(&format!("{run} --json")).output().unwrap());
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let run = ended.json()["runs"][0].clone();
        assert_eq!(run["status"], "succeeded", "{ended:?}");
        run["replayed"].as_u64().unwrap()
    }

    /// Everything is there once.
    fn check(self, codes: &[String]) {
        let listed = Ended::of(self.command("tenants list --json").output().unwrap()).json();
        let registered: BTreeMap<String, String> = listed["tenants"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tenant| (text(&tenant["customer"]), text(&tenant["id"])))
            .collect();
        assert_eq!(registered.keys().collect::<Vec<_>>(), codes.iter().collect::<Vec<_>>());
        assert_eq!(listed["unsettled"], serde_json::json!([]));
        let strays = Ended::of(self.command("tenants strays --json").output().unwrap());
        assert_eq!(strays.code, Some(0), "{strays:?}");
        assert_eq!(self.served.end().0, Some(0));

        let sandbox = Sandbox::open(&self.project.path().join("served.db"), Settings::default()).unwrap();
        let state = sandbox.snapshot().to_json();
        let tenants: Vec<String> =
            state["organization"]["tenants"].as_array().unwrap().iter().map(|entry| text(&entry["id"])).collect();
        assert_eq!(tenants.len(), codes.len(), "one tenant for each customer");
        for (code, id) in &registered {
            assert!(tenants.contains(id), "{code}");
            let names = |collection: &str, field: &str| -> Vec<String> {
                let list =
                    state["tenants"][id][collection].as_array().unwrap_or_else(|| panic!("{code}: {collection}"));
                let mut names: Vec<String> = list.iter().map(|entry| text(&entry["document"][field])).collect();
                names.sort();
                names
            };
            let spaces = names("spaces", "name");
            assert_eq!(spaces, ["Five", "Four", "One", "Three", "Two"], "{code}");
            assert_eq!(names("groups", "name").iter().filter(|name| *name == "Readers").count(), 1, "{code}");
            let ada = format!("{code}|ada");
            assert_eq!(names("users", "subject").iter().filter(|subject| **subject == ada).count(), 1, "{code}");
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

#[test]
fn killed_at_any_moment_a_run_is_resumed_and_everything_is_there_once() {
    let (resumed, untouched) = (AtomicU64::new(0), AtomicU64::new(0));
    let (resumed, untouched) = (&resumed, &untouched);
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            scope.spawn(move || {
                let world = World::new();
                let mut codes = Vec::new();
                for round in 0..ROUNDS {
                    let (code, seed) = (format!("c{round:02}"), SEED + worker * 1000 + round);
                    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.round(&code, seed)));
                    let Ok(replayed) = done else { panic!("round {round} of seed {seed} failed") };
                    (if replayed > 0 { resumed } else { untouched }).fetch_add(1, Ordering::Relaxed);
                    codes.push(code);
                }
                world.check(&codes);
            });
        }
    });
    // Killed before anything was done, or after all was: such rounds are there too.
    let (resumed, untouched) = (resumed.load(Ordering::Relaxed), untouched.load(Ordering::Relaxed));
    assert!(resumed > 40 && untouched > 0, "{resumed} resumed, {untouched} not");
}
