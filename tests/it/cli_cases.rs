//! The whole screen of the command line for bad input, case by case.
//!
//! Every folder of `tests/cases` with a file `cmd` is a case: its files are laid over `tests/cases/base` as a project,
//! each line of `cmd` is run there, and exit code, standard output and standard error are compared with `screen.txt`.
//! A new case is files, no code; `TENANTRY_CASES=update cargo test cli_cases` writes the screens, to be read before they
//! are kept. Some files mean more:
//!
//! - `server`: a server that answers each request with the next of these blocks, the last one for ever; blocks are
//!   separated by `---`. Its address stands for `{SERVER}` in `tenantry.toml`.
//! - `setup`: a word for what cannot lie here as a file, see [`set_up`].
//! - `dot-tenantry`: the project's `.tenantry`.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use regex::Regex;
use tempfile::TempDir;
use tenantry::sandbox::{Sandbox, Settings};

/// Nothing here waits long; a case that hangs is a defect of its own.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

#[test]
fn bad_input_gets_its_screen() {
    let update = std::env::var_os("TENANTRY_CASES").is_some_and(|value| value == "update");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("cmd").is_file())
        .collect();
    cases.sort();
    assert!(cases.len() > 30, "the cases are found");
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (screen, file) = (play(case), case.join("screen.txt"));
                    let expected = std::fs::read_to_string(&file).unwrap_or_default();
                    if screen == expected {
                        continue;
                    }
                    if update {
                        std::fs::write(&file, screen).unwrap();
                    } else {
                        let name = case.file_name().unwrap().to_string_lossy().into_owned();
                        wrong
                            .lock()
                            .unwrap()
                            .push(format!("=== {name}: expected\n{expected}\n=== but it is\n{screen}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}\nTENANTRY_CASES=update writes what it is now", wrong.join("\n"));
}

/// Runs a case and writes down what its screens show.
fn play(case: &Path) -> String {
    let project = TempDir::new().unwrap();
    for source in [&folder().join("base"), case] {
        copy(source, project.path());
    }
    let server = std::fs::read_to_string(case.join("server")).ok().map(|script| serve(&script));
    let settings = project.path().join("tenantry.toml");
    if let (Some(server), Ok(text)) = (&server, std::fs::read_to_string(&settings)) {
        std::fs::write(&settings, text.replace("{SERVER}", server)).unwrap();
    }
    let _kept = std::fs::read_to_string(case.join("setup")).ok().map(|word| set_up(word.trim(), project.path()));
    let mut screen = String::new();
    for line in std::fs::read_to_string(case.join("cmd")).unwrap().lines().filter(|line| !line.is_empty()) {
        let (code, out, error) = command(project.path(), line);
        writeln!(screen, "$ tenantry {line}\n[exit {code}]").unwrap();
        for (name, text) in [("stdout", out), ("stderr", error)] {
            if !text.is_empty() {
                writeln!(screen, "[{name}]\n{}", redacted(&text, project.path(), server.as_deref()).trim_end())
                    .unwrap();
            }
        }
    }
    screen
}

/// Runs the program as a person would, but with an empty environment, so that every machine shows the same.
fn command(project: &Path, line: &str) -> (String, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tenantry"))
        .args(line.split_whitespace())
        .current_dir(project)
        .env_clear()
        .env("TENANTRY_TEST_SECRET", "canary-secret")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut out, mut error) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        error.read_to_string(&mut text).unwrap();
        text
    });
    let (sender, ended) = std::sync::mpsc::channel::<()>();
    let id = child.id();
    let watching = std::thread::spawn(move || {
        if ended.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = Command::new("kill").arg("-9").arg(id.to_string()).status();
        }
    });
    let mut text = String::new();
    out.read_to_string(&mut text).unwrap();
    let status = child.wait().unwrap();
    drop(sender);
    watching.join().unwrap();
    let error = reading.join().unwrap();
    assert!(!text.contains("canary") && !error.contains("canary"), "a secret is shown: {text}{error}");
    assert!(!error.contains("panicked"), "it panicked: {error}");
    (status.code().map_or_else(|| status.to_string(), |code| code.to_string()), text, error)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if ["cmd", "screen.txt", "server", "setup"].contains(&name) {
            continue;
        }
        let target = to.join(if name == "dot-tenantry" { ".tenantry" } else { name });
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, target).unwrap();
        }
    }
}

/// What cannot lie in a folder. What is given back is kept until the case is over.
fn set_up(word: &str, project: &Path) -> Option<Sandbox> {
    match word {
        // Somebody else works on the project's sandbox.
        "sandbox-held" => Some(Sandbox::open(&project.join(".tenantry/sandbox.db"), Settings::default()).unwrap()),
        // Two pictures that do not get smaller, together larger than any theme may be.
        "large-pictures" => {
            let mut state = 1_u64;
            let bytes: Vec<u8> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .take(16 * 1024 * 1024)
            .collect();
            for name in ["harbour.png", "ships.png"] {
                std::fs::write(project.join("templates/theme").join(name), &bytes).unwrap();
            }
            None
        }
        other => panic!("what is {other}?"),
    }
}

/// A server without manners. Gives its address.
fn serve(script: &str) -> String {
    let blocks: Vec<String> = script.split("---\n").map(|block| block.trim_start().to_owned()).collect();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    if blocks == ["NOBODY\n"] {
        // The port is free again, and nobody listens.
        return address;
    }
    let blocks = Arc::new(blocks);
    std::thread::spawn(move || {
        for (index, stream) in listener.incoming().enumerate() {
            let block = blocks[index.min(blocks.len() - 1)].clone();
            if let Ok(stream) = stream {
                std::thread::spawn(move || answer(stream, &block));
            }
        }
    });
    address
}

fn answer(mut stream: TcpStream, block: &str) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    // A token's request and the others are small: their bodies come along.
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(read) => request.extend_from_slice(&buffer[..read]),
        }
    }
    let text = match block.split_once("\n\n") {
        Some((head, body)) => {
            let body = body.trim_end();
            let length = if head.contains("Content-Length") {
                String::new()
            } else {
                format!("\r\nContent-Length: {}", body.len())
            };
            format!("{}{length}\r\nConnection: close\r\n\r\n{body}", head.replace('\n', "\r\n"))
        }
        None => format!("{}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", block.trim_end().replace('\n', "\r\n")),
    };
    let _ = stream.write_all(text.as_bytes());
}

/// Takes out what differs from run to run.
fn redacted(text: &str, project: &Path, server: Option<&str>) -> String {
    let mut text = text.replace(&project.display().to_string(), "[PROJECT]");
    if let Some(server) = server {
        text = text.replace(server, "[SERVER]").replace(server.trim_start_matches("http://"), "[SERVER]");
    }
    for (pattern, name) in [
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[UUID]"),
        (r"\b[0-9a-f]{32}\b", "[TRACE]"),
        (r"\b[a-z0-9]{15}\.(eu|us|uk|de|ap|sg|jp|in)\.qlikcloud\.com", "[HOST].$1.qlikcloud.com"),
        (r"\btenant [A-Za-z0-9_-]{32} ", "tenant [ID] "),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[TIME]"),
        (r"127\.0\.0\.1:\d+", "[SERVER]"),
        (r"\b\d{16}\b", "[NUMBER]"),
    ] {
        text = Regex::new(pattern).unwrap().replace_all(&text, name).into_owned();
    }
    text
}
