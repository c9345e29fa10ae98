//! The disk really is full: the program runs on a file system that has room for so much and no more, or under a limit of
//! the system on the size of files. It must end saying that it cannot record, having sent nothing that is not on record,
//! and with room again `run --resume` must come to the right end, with everything there once.
//!
//! The limit on files is there wherever there is a shell. The small file system takes a namespace of the user's own,
//! which some machines do not give.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tenantry::sandbox::{Sandbox, Settings};
use tenantry::store::{Entry, Journal, RunFilter, State};
use tenantry::surroundings::SystemClock;

use crate::support::command_line::{Ended, Folder, Served};

const PLAYBOOK: &str = "let tenant = tenants::ensure(customer);
for name in [\"One\", \"Two\"] { tenant.spaces.ensure(name, \"shared\"); }
parallel([\"Three\", \"Four\", \"Five\"], |name| tenant.spaces.ensure(name, \"managed\"));
tenant.groups.ensure(\"Readers\");
";
const SPACES: [&str; 5] = ["Five", "Four", "One", "Three", "Two"];

/// From a disk that has no room for an empty state file to one that has room for the whole run.
const KILOBYTES: std::ops::Range<usize> = 40..560;
const STEP: usize = 24;

/// How there comes to be no room.
#[derive(Clone, Copy, Debug)]
enum Limit {
    /// No file may grow beyond it: a write says so, in place of the signal that would kill.
    OnFiles,
    /// The state folder is a file system of this size.
    OnDisk,
}

impl Limit {
    /// What comes before the first run, what the run is started with, and what makes room again.
    fn script(self, kilobytes: usize) -> String {
        let (before, start, room) = match self {
            Self::OnFiles => (String::new(), format!("trap '' XFSZ; ulimit -f {};", kilobytes * 2), ""),
            Self::OnDisk => (
                format!("mount -t tmpfs -o size={kilobytes}k,mode=700 tmpfs .tenantry"),
                String::new(),
                "mount -o remount,size=64m .tenantry",
            ),
        };
        format!(
            "set -e
mkdir -p .tenantry full
{before}
code=0
( {start} exec $RUN --json >first.json 2>first.txt ) || code=$?
echo $code >first.code
cp -R .tenantry served.db served.db-wal full
{room}
$PROGRAM state check --json >check.json 2>check.txt || [ $code = 4 ]
$RUN --resume --json >second.json 2>second.txt
$PROGRAM state check --json >after.json 2>after.txt
"
        )
    }

    fn shell(self) -> Command {
        match self {
            Self::OnFiles => Command::new("sh"),
            Self::OnDisk => own_namespace(),
        }
    }

    /// Whether this machine lets everybody have a small file system. Tried on a folder of the test's own, and only where
    /// nobody else sees it.
    fn is_possible(self) -> bool {
        let folder = Folder::empty();
        let tried = || own_namespace().args(["-c", "mount -t tmpfs tmpfs ."]).current_dir(folder.path()).output();
        matches!(self, Self::OnFiles) || tried().is_ok_and(|tried| tried.status.success())
    }
}

/// A shell whose mounts are its own and end with it. Where there is no such thing it does not start.
fn own_namespace() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "--propagation", "private", "sh"]);
    command
}

/// What came of the first run.
#[derive(Debug, Default)]
struct Seen {
    /// The state file could not even be opened.
    refused: usize,
    /// The run ended because it could not be recorded.
    ended: usize,
    /// Such runs that had written something.
    half_way: usize,
    /// There was room.
    succeeded: usize,
}

fn read(folder: &Folder, name: &str) -> String {
    std::fs::read_to_string(folder.path().join(name)).unwrap()
}

fn told(folder: &Folder, name: &str) -> Value {
    let text = read(folder, name);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"))
}

/// What a served sandbox has, by its file.
struct World(Value);

impl World {
    fn of(file: &Path) -> Self {
        Self(Sandbox::open(file, Settings::default()).unwrap().snapshot().to_json())
    }

    fn tenants(&self) -> Vec<String> {
        let tenants = self.0["organization"]["tenants"].as_array();
        tenants.into_iter().flatten().map(|tenant| tenant["id"].as_str().unwrap().to_owned()).collect()
    }

    fn names(&self, collection: &str) -> Vec<String> {
        let names = |id: String| -> Vec<String> {
            let list = self.0["tenants"][&id][collection].as_array();
            list.into_iter().flatten().map(|entry| entry["document"]["name"].as_str().unwrap().to_owned()).collect()
        };
        let mut names: Vec<String> = self.tenants().into_iter().flat_map(names).collect();
        names.sort();
        names
    }
}

/// Nothing is in the sandbox whose intent is not on record.
fn all_is_on_record(folder: &Folder) -> usize {
    let world = World::of(&folder.path().join("full/served.db"));
    let mut intents = Vec::new();
    let mut look = |journal: Journal| {
        for run in journal.runs(&RunFilter::default()).unwrap() {
            for logged in journal.entries(&run.opening.id).unwrap() {
                if let Entry::Intent { operation, .. } = logged.entry {
                    intents.push(format!("{} {}", operation.id, operation.subject));
                }
            }
        }
    };
    match State::open(&folder.path().join("full/.tenantry/state.db"), std::sync::Arc::new(SystemClock::default())) {
        Ok(state) => look(state.journal()),
        Err(error) => panic!("{error}"),
    }
    let spaces = world.names("spaces").into_iter().map(|name| format!("createSpace space \"{name}\""));
    let groups = world.names("groups").into_iter().filter(|name| name == "Readers");
    let made: Vec<String> = spaces.chain(groups.map(|name| format!("createGroup group \"{name}\""))).collect();
    for made in &made {
        assert!(intents.contains(made), "{made} is not on record: {intents:?}");
    }
    let created = intents.iter().any(|intent| intent.starts_with("createTenant "));
    assert!(world.tenants().is_empty() || created, "a tenant is not on record: {intents:?}");
    made.len() + world.tenants().len()
}

fn trial(limit: Limit, kilobytes: usize, seen: &mut Seen) {
    let folder = Folder::empty();
    folder.write("play.rhai", PLAYBOOK);
    folder.write("hb.yaml", "code: hb\nname: Harbour Logistics\nregion: eu\n");
    let served = Served::start(&folder, "--state served.db");
    let id = served.text("client_id");
    let client = format!("{{ client_id = \"{id}\", client_secret = {{ env = \"SECRET\" }} }}");
    folder.add_settings(&format!(
        "[targets.local]\naddress = \"{}\"\nlicense_key = {{ env = \"KEY\" }}\nconsole = {client}\nregions.eu = {client}",
        served.text("url")
    ));
    let mut shell = limit.shell();
    let program = env!("CARGO_BIN_EXE_tenantry");
    shell
        .args(["-c", &limit.script(kilobytes)])
        .current_dir(folder.path())
        .env("PROGRAM", program)
        .env("RUN", format!("{program} run play.rhai --customer hb.yaml --target local"))
        .env("SECRET", served.text("client_secret"))
        .env("KEY", served.text("license_key"));
    let ended = Ended::of(shell.output().unwrap());
    assert_eq!(served.end().0, Some(0));
    let shown = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    assert_eq!(ended.code, Some(0), "{ended:?}\n{}\n{}", shown("first.txt"), shown("second.txt"));

    let first = told(&folder, "first.json");
    let run = &first["runs"][0];
    match read(&folder, "first.code").trim() {
        "4" => seen.refused += 1,
        "1" => {
            let made = all_is_on_record(&folder);
            let failure = &run["error"]["failure"];
            assert!(failure["hint"].as_str().unwrap().contains("make sure that there is room on the disk"), "{first}");
            // Who cannot even write down that it works on the customer has no run yet.
            if failure["code"] == "tenantry/registry" {
                assert_eq!((&run["requests"], made), (&json!(0), 0), "{first}");
                seen.refused += 1;
            } else {
                assert_eq!(failure["code"], "tenantry/journal", "{first}");
                seen.ended += 1;
                seen.half_way += usize::from(made > 0);
            }
        }
        "0" => seen.succeeded += 1,
        code => panic!("it ended with {code}: {}", read(&folder, "first.txt")),
    }
    // What a full disk leaves is not damaged.
    for check in ["check.json", "after.json"] {
        if std::fs::metadata(folder.path().join(check)).unwrap().len() > 0 {
            assert_eq!(told(&folder, check)["whole"], true, "{check}: {}", read(&folder, check));
        }
    }
    let second = told(&folder, "second.json");
    assert_eq!(second["runs"][0]["status"], "succeeded", "{second}");
    let known =
        State::open(&folder.path().join("full/.tenantry/state.db"), std::sync::Arc::new(SystemClock::default()))
            .unwrap()
            .journal()
            .ids()
            .unwrap();
    if !known.is_empty() && run["status"] != "succeeded" {
        assert_eq!(second["runs"][0]["run"].as_str(), known.last().map(String::as_str), "it is gone on with");
    }
    let world = World::of(&folder.path().join("served.db"));
    assert_eq!((world.tenants().len(), world.names("spaces")), (1, SPACES.map(str::to_owned).to_vec()));
    assert_eq!(world.names("groups").iter().filter(|name| *name == "Readers").count(), 1);
}

fn sweep(limit: Limit) -> Seen {
    let mut seen = Seen::default();
    for kilobytes in KILOBYTES.step_by(STEP) {
        let tried = std::panic::AssertUnwindSafe(|| trial(limit, kilobytes, &mut seen));
        if let Err(panic) = std::panic::catch_unwind(tried) {
            let why = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            panic!("{limit:?}, {kilobytes} KB: {why}");
        }
    }
    seen
}

#[test]
fn on_a_full_disk_a_run_ends_and_with_room_again_it_goes_on() {
    let possible = [Limit::OnFiles, Limit::OnDisk].into_iter().filter(|limit| limit.is_possible());
    let sweeps: Vec<(Limit, Seen)> = std::thread::scope(|scope| {
        let started: Vec<_> = possible.map(|limit| (limit, scope.spawn(move || sweep(limit)))).collect();
        started.into_iter().map(|(limit, sweep)| (limit, sweep.join().unwrap())).collect()
    });
    // Without this it would pass where neither way takes effect.
    for (limit, seen) in &sweeps {
        let all_kinds = seen.refused > 0 && seen.ended > 5 && seen.half_way > 3 && seen.succeeded > 0;
        assert!(all_kinds, "{limit:?}: {seen:?}");
    }
}
