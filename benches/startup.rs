//! From starting the binary to its first operation, and a whole `run` of nothing else.
//!
//! `cargo bench --bench startup` starts the release binary over and over with a playbook that asks for the time and
//! ends: what remains is start-up, the project, the engine and the embedded sandbox's file.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(clippy::unchecked_time_subtraction, reason = "the clock does not go back")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use tenantry::surroundings::{Clock as _, SystemClock};

const ROUNDS: usize = 30;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tenantry.toml"), "").unwrap();
    std::fs::write(folder.path().join("first.rhai"), "now();").unwrap();
    std::fs::write(folder.path().join("hb.yaml"), "code: hb\n").unwrap();
    let watch = SystemClock::default();
    let (mut firsts, mut wholes) = (Vec::new(), Vec::new());
    for _ in 0..=ROUNDS {
        let began = watch.elapsed();
        let mut child = Command::new(env!("CARGO_BIN_EXE_tenantry"))
            .args(["run", "first.rhai", "--customer", "hb.yaml", "--events", "-"])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let first = BufReader::new(child.stderr.take().unwrap())
            .lines()
            .map_while(Result::ok)
            .find(|line| line.contains("\"event\":\"operation\""))
            .map(|_| watch.elapsed() - began);
        assert!(child.wait().unwrap().success());
        firsts.push(first.expect("the run asks for one operation"));
        wholes.push(watch.elapsed() - began);
    }
    let show = |name: &str, times: &mut Vec<Duration>| {
        times.remove(0);
        times.sort();
        let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
        println!(
            "{name}: median {:.1} ms, best {:.1} ms",
            milliseconds(times[times.len() / 2]),
            milliseconds(times[0])
        );
    };
    show("start to first operation", &mut firsts);
    show("whole process", &mut wholes);
}
