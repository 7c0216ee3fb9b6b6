//! Homes, and the program run on them as a person would: one process per command, `serve` in the background, real sockets on loopback.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// A directory with the homes of one scenario.
pub(crate) struct World {
    dir: TempDir,
}

/// One home directory.
pub(crate) struct Home {
    path: PathBuf,
}

/// What a command came to.
pub(crate) struct Ran {
    /// Exit code.
    pub(crate) code: i32,
    /// Bytes on stdout.
    pub(crate) stdout: Vec<u8>,
    /// Text on stderr.
    pub(crate) stderr: String,
}

/// A running `serve`; killed when dropped.
pub(crate) struct Serving {
    child: Child,
    /// The line it printed when it was ready.
    pub(crate) ready: Value,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { dir: TempDir::new().expect("a temporary directory") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("writing a test file");
        path
    }

    /// A home that has not been set up.
    pub(crate) fn bare(&self, name: &str) -> Home {
        Home { path: self.path(name) }
    }

    /// A home, set up without a passphrase; a patient's words are in `NAME.words`.
    pub(crate) fn home(&self, kind: &str, name: &str) -> Home {
        let home = self.bare(name);
        let words = self.path(&format!("{name}.words"));
        let mut args = vec!["init", kind, "--name", name, "--no-passphrase"];
        let words = words.to_str().expect("a plain path").to_owned();
        if kind == "patient" {
            args.extend(["--recovery-file", &words]);
        }
        home.ok(&args);
        home
    }
}

impl Ran {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {}\n{}", self.text(), self.stderr))
    }
}

impl Home {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chartmesh-under-test"));
        command.env_clear().env("HOME", &self.path).arg("--home").arg(&self.path).args(args);
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        let output: Output = self.command(args).stdin(Stdio::null()).output().expect("the program starts");
        Ran { code: output.status.code().unwrap_or(-1), stdout: output.stdout, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
    }

    /// Runs a command that must succeed.
    pub(crate) fn ok(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?} on {}\n{}\n{}", self.path.display(), ran.text(), ran.stderr);
        ran
    }

    /// Runs a command that must end with this code, and returns what it said on stderr.
    pub(crate) fn fails(&self, code: i32, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, code, "{args:?} on {}\n{}\n{}", self.path.display(), ran.text(), ran.stderr);
        ran.stderr
    }

    /// Runs a command that must succeed, with `--json`.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend(args);
        self.ok(&all).json()
    }

    /// Starts `serve` on a free port of loopback and awaits its ready line.
    pub(crate) fn serve(&self) -> Serving {
        let mut child = self.command(&["--json", "serve", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("stdout is piped")).read_line(&mut line).expect("a line");
        if line.is_empty() {
            let mut said = String::new();
            child.stderr.as_mut().expect("stderr is piped").read_to_string(&mut said).expect("text");
            panic!("serve did not become ready: {said}");
        }
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("ready line ({error}): {line}"));
        assert_eq!(ready["ready"], true);
        Serving { child, ready }
    }

    /// The ticket, with the addresses of a running node if there is one.
    pub(crate) fn ticket(&self) -> String {
        self.json(&["card"])["ticket"].as_str().expect("a ticket").to_owned()
    }

    /// The records that the node lists.
    pub(crate) fn records(&self) -> Vec<Value> {
        self.json(&["records", "list"]).as_array().expect("an array").clone()
    }
}

impl Serving {
    /// Ends it as a person would, and awaits its end.
    pub(crate) fn stop(mut self) {
        self.signal("TERM");
        let status = self.child.wait().expect("it ends");
        assert_eq!(status.code(), Some(0), "serve ends with 0 on SIGTERM");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The published data, if it is here.
pub(crate) fn data() -> Option<PathBuf> {
    let data = std::env::var_os("CHARTMESH_DATA").map(PathBuf::from);
    if data.is_none() {
        let _ = writeln!(std::io::stderr(), "skipped: CHARTMESH_DATA is not set");
    }
    data
}
