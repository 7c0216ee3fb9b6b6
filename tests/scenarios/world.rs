//! Homes, and the program run on them as a person would: one process per command, `serve` in the background, real sockets on loopback.
//!
//! Whatever a scenario does, no command may panic, hang, end with an unknown exit code, print an answer that its schema does not know, or leave a file in the temporary directory.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{network, schema};

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long a condition may stay unmet.
const SOON: Duration = Duration::from_secs(40);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// The code of a command that was killed.
pub(crate) const KILLED: i32 = -1;

/// A directory with the homes of one scenario.
pub(crate) struct World {
    dir: TempDir,
}

/// One home directory.
pub(crate) struct Home {
    path: PathBuf,
    temporary: PathBuf,
    /// The host that its programs run on, if it is not this one: the name of a network namespace.
    host: Option<String>,
    /// The file that its passphrase is in.
    passphrase: Option<String>,
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

/// A command under way.
pub(crate) struct Running {
    child: Child,
    args: Vec<String>,
    outputs: mpsc::Receiver<(bool, Vec<u8>)>,
    /// How many of its outputs are not yet at their end.
    open: u8,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    killed: bool,
}

impl World {
    pub(crate) fn new() -> Self {
        let world = Self { dir: TempDir::new().expect("a temporary directory") };
        std::fs::create_dir(world.temporary()).expect("a temporary directory");
        world
    }

    /// The temporary directory of every command.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.path("temporary")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The path of a file, as an argument.
    pub(crate) fn name(&self, name: &str) -> String {
        text(&self.path(name))
    }

    /// Writes a file; its path, as an argument.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.path(name), bytes).expect("writing a test file");
        self.name(name)
    }

    /// A home that has not been set up.
    pub(crate) fn bare(&self, name: &str) -> Home {
        Home { path: self.path(name), temporary: self.temporary(), host: None, passphrase: None }
    }

    /// A home, set up without a passphrase; a patient's words are in `NAME.words`.
    pub(crate) fn home(&self, kind: &str, name: &str) -> Home {
        self.set_up(self.bare(name), kind, name)
    }

    /// The same, with a passphrase.
    pub(crate) fn protected_home(&self, kind: &str, name: &str) -> Home {
        let passphrase = Some(self.write(&format!("{name}.passphrase"), b"three blind mice"));
        self.set_up(Home { passphrase, ..self.bare(name) }, kind, name)
    }

    /// The same as [`World::home`], in a directory called `NAME` below another one.
    pub(crate) fn home_in(&self, dir: &Path, kind: &str, name: &str) -> Home {
        self.set_up(Home { path: dir.join(name), ..self.bare(name) }, kind, name)
    }

    /// The same, on another host.
    pub(crate) fn home_on(&self, host: &str, kind: &str, name: &str) -> Home {
        self.set_up(Home { host: Some(host.to_owned()), ..self.bare(name) }, kind, name)
    }

    fn set_up(&self, home: Home, kind: &str, name: &str) -> Home {
        let words = self.name(&format!("{name}.words"));
        let mut args = vec!["init", kind, "--name", name];
        if home.passphrase.is_none() {
            args.push("--no-passphrase");
        }
        if kind == "patient" {
            args.extend(["--recovery-file", &words]);
        }
        home.json(&args);
        home
    }

    /// A copy of a home as it is on disk.
    pub(crate) fn copy(&self, home: &Home, name: &str) -> Home {
        let copy = Home { passphrase: home.passphrase.clone(), ..self.bare(name) };
        let status = Command::new("cp").arg("-a").arg(home.path()).arg(copy.path()).status().expect("cp");
        assert!(status.success());
        copy
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(files(&self.temporary()), Vec::<PathBuf>::new(), "left in the temporary directory");
        }
    }
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> String {
    path.to_str().expect("a plain path").to_owned()
}

/// Every file below a directory.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(&dir).expect("a directory").map(|entry| entry.expect("an entry")) {
            if entry.file_type().expect("a type").is_dir() { waiting.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found.sort();
    found
}

/// The permission bits of a file.
pub(crate) fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).expect("a file").permissions().mode() & 0o777
}

/// Whether a sequence of bytes occurs in others.
pub(crate) fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// Waits until something is so, looking now and then; fails when it takes too long.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let (_kept, never) = mpsc::channel::<()>();
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        assert_eq!(never.recv_timeout(LOOK_AGAIN), Err(mpsc::RecvTimeoutError::Timeout));
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

    /// A command on this home, not yet started.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_chartmesh-under-test");
        let mut command = self.host.as_deref().map_or_else(|| Command::new(program), |host| network::on(host, program));
        command.env_clear().env("HOME", &self.path).env("TMPDIR", &self.temporary).arg("--home").arg(&self.path);
        if let Some(file) = &self.passphrase {
            command.args(["--passphrase-file", file]);
        }
        command.args(args);
        command
    }

    /// Starts a command.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        let mut child = self.command(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let (sender, outputs) = mpsc::channel();
        drain(child.stdout.take().expect("stdout is piped"), false, sender.clone());
        drain(child.stderr.take().expect("stderr is piped"), true, sender);
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Running { child, args, outputs, open: 2, stdout: Vec::new(), stderr: Vec::new(), killed: false }
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.start(args).end()
    }

    /// Runs a command that must succeed.
    pub(crate) fn ok(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?} on {}\n{}\n{}", self.path.display(), ran.text(), ran.stderr);
        ran
    }

    /// Runs a command that must end with this code, and returns what it said on stderr. It must have said something.
    pub(crate) fn fails(&self, code: i32, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, code, "{args:?} on {}\n{}\n{}", self.path.display(), ran.text(), ran.stderr);
        assert!(ran.stdout.is_empty() && ran.stderr.starts_with("error: "), "{args:?}\n{}\n{}", ran.text(), ran.stderr);
        ran.stderr
    }

    /// Runs a command that must succeed, with `--json`; the answer, which must be as its schema says.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend(args);
        let answer = self.ok(&all).json();
        schema::check_answer(args, &answer);
        answer
    }

    /// Starts `serve` on a free port of loopback and awaits its ready line.
    pub(crate) fn serve(&self) -> Serving {
        self.serve_at("127.0.0.1:0")
    }

    /// Starts `serve` on an address and awaits its ready line.
    pub(crate) fn serve_at(&self, address: &str) -> Serving {
        let child = self.command(&["--json", "serve", "--listen", address]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        // From here on it is killed if something fails.
        let mut serving = Serving { child, ready: Value::Null };
        let child = &mut serving.child;
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("stdout is piped")).read_line(&mut line).expect("a line");
        if line.is_empty() {
            let mut said = String::new();
            child.stderr.as_mut().expect("stderr is piped").read_to_string(&mut said).expect("text");
            panic!("serve did not become ready: {said}");
        }
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("ready line ({error}): {line}"));
        assert_eq!(ready["ready"], true);
        schema::check("ready", &ready);
        serving.ready = ready;
        serving
    }

    /// The ticket, with the addresses of a running node if there is one.
    pub(crate) fn ticket(&self) -> String {
        self.json(&["card"])["ticket"].as_str().expect("a ticket").to_owned()
    }

    /// The ledger of a patient.
    pub(crate) fn ledger(&self) -> String {
        self.json(&["card"])["ledger"].as_str().expect("a ledger").to_owned()
    }

    /// Adds a running node as a contact called by the name of its home.
    pub(crate) fn meets(&self, other: &Home) {
        let alias = other.path.file_name().and_then(|name| name.to_str()).expect("a name");
        self.json(&["peer", "add", &other.ticket(), "--alias", alias]);
    }

    /// Grants; the id of the grant.
    pub(crate) fn grants(&self, peer: &str, terms: &[&str]) -> String {
        let mut args = vec!["consent", "grant", peer];
        args.extend(terms);
        self.json(&args)["grant"].as_str().expect("an id").to_owned()
    }

    /// The records that the node lists.
    pub(crate) fn records(&self) -> Vec<Value> {
        self.json(&["records", "list"]).as_array().expect("an array").clone()
    }
}

impl Running {
    /// Awaits the end.
    pub(crate) fn end(mut self) -> Ran {
        if !self.ends_within(PATIENCE) {
            let _ = self.child.kill();
            panic!("{:?} does not end", self.args);
        }
        let status = self.child.wait().expect("it ends");
        // One that was killed has no exit code.
        let code = status.code().unwrap_or(KILLED);
        let stderr = String::from_utf8_lossy(&self.stderr).into_owned();
        assert!((self.killed && code == KILLED) || (0..=4).contains(&code), "{:?} ended with {status}:\n{stderr}", self.args);
        assert!(!stderr.contains("panicked"), "{:?}:\n{stderr}", self.args);
        Ran { code, stdout: self.stdout, stderr }
    }

    /// Awaits the end, but no longer than this. Whether it came.
    pub(crate) fn ends_within(&mut self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        while self.open > 0 {
            match self.outputs.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((true, bytes)) => self.stderr = bytes,
                Ok((false, bytes)) => self.stdout = bytes,
                Err(_) => return false,
            }
            self.open -= 1;
        }
        true
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once, if it has not ended yet.
    pub(crate) fn kill(&mut self) {
        self.killed = true;
        self.child.kill().expect("kill");
    }
}

fn drain(mut pipe: impl Read + Send + 'static, is_stderr: bool, sender: mpsc::Sender<(bool, Vec<u8>)>) {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What could be read counts; a scenario that has failed no longer listens.
        let _ = pipe.read_to_end(&mut bytes);
        let _ = sender.send((is_stderr, bytes));
    });
}

impl Serving {
    /// Ends it as a person would, and awaits its end, which must be a good one. What it said on stderr.
    pub(crate) fn stop(self) -> String {
        let (code, said) = self.terminate();
        assert_eq!(code, 0, "serve ends with 0 on SIGTERM: {said}");
        said
    }

    /// Ends it as a person would, and awaits its end. Its exit code, and what it said on stderr.
    pub(crate) fn terminate(mut self) -> (i32, String) {
        self.signal("TERM");
        until("serve ends on SIGTERM", || self.child.try_wait().expect("it can be waited for").is_some());
        let status = self.child.wait().expect("it has ended");
        let mut said = String::new();
        self.child.stderr.take().expect("stderr is piped").read_to_string(&mut said).expect("text");
        assert!(!said.contains("panicked"), "{said}");
        (status.code().unwrap_or(KILLED), said)
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(mut self) {
        self.signal("KILL");
        let status = self.child.wait().expect("it ends");
        assert_eq!(status.signal(), Some(9), "serve had ended by itself: {status}");
    }

    pub(crate) fn signal(&self, name: &str) {
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
