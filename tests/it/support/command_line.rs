//! The program itself, run as a person or a script would run it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A project in a folder of its own.
pub(crate) struct Folder {
    folder: TempDir,
}

impl Folder {
    /// An empty one.
    pub(crate) fn empty() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    /// The stock project.
    pub(crate) fn stock() -> Self {
        let own = Self::empty();
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        for name in ["playbooks", "templates", "customers", "schemas", "content"] {
            copy(&source.join(name), &own.path().join(name));
        }
        std::fs::copy(source.join("tenantry.toml"), own.path().join("tenantry.toml")).unwrap();
        own
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn add_settings(&self, text: &str) {
        let before = std::fs::read_to_string(self.path().join("tenantry.toml")).unwrap_or_default();
        self.write("tenantry.toml", &format!("{before}\n{text}"));
    }

    /// The program with these arguments, in this folder and an empty environment.
    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tenantry"));
        command.args(arguments.split_whitespace()).current_dir(self.path()).env_clear().stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &str) -> Ended {
        Ended::of(self.command(arguments).output().unwrap())
    }

    /// The program on a terminal of its own, with this typed into it. Gives its exit code and all it showed.
    pub(crate) fn on_a_terminal(&self, arguments: &str, typed: &str) -> (Option<i32>, String) {
        let program = format!("{} {arguments}", env!("CARGO_BIN_EXE_tenantry"));
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--echo", "never", "--command", &program, "/dev/null"])
            .current_dir(self.path())
            .env("TERM", "dumb")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, target).unwrap();
        }
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) error: String,
}

impl Ended {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), error: text(output.stderr) }
    }

    /// The one object on standard output.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.error))
    }
}

/// `tenantry sandbox`, listening.
pub(crate) struct Served {
    child: Child,
    rest: BufReader<ChildStdout>,
    /// What it said when it listened.
    pub(crate) told: Value,
}

impl Served {
    pub(crate) fn start(folder: &Folder, arguments: &str) -> Self {
        let mut command = folder.command(&format!("sandbox --port 0 --json {arguments}"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut rest = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        rest.read_line(&mut line).unwrap();
        let told = serde_json::from_str(&line).unwrap();
        Self { child, rest, told }
    }

    pub(crate) fn text(&self, field: &str) -> &str {
        self.told[field].as_str().unwrap()
    }

    /// Asks it to end, as Ctrl-C does. Gives the exit code and what else it printed.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        signal(&self.child, "INT");
        let mut rest = String::new();
        self.rest.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One plain request, as curl sends it, sharing nothing with the library. Gives head and body of the answer.
pub(crate) fn exchange(address: &str, request: &str, headers: &[&str], body: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    let headers: String = headers.iter().flat_map(|header| [header, "\r\n"]).collect();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: {address}\r\n{headers}Content-Type: \
         application/x-www-form-urlencoded\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let body = answer.split_off(end + 4);
    (String::from_utf8(answer).unwrap(), body)
}

/// Sends a signal to a process of this test.
pub(crate) fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status().unwrap();
    assert!(status.success());
}
