//! Memory of the real program, as the kernel counts it: a node that serves and has nothing to do, one that holds a megabyte of records, and one that imports a Bundle of 60 MB; the bare
//! alternative in the same run is to parse the same file with serde_json and do nothing with it.
//!
//! `cargo bench -p chartmesh --bench footprint`; `CHARTMESH_MEGABYTES=N` sets another size of the Bundle, `CHARTMESH_PROGRAM=FILE` takes another
//! build of the program. Linux only: it reads `/proc`.

#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::{
    io::{BufRead, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// In the environment of this program, when it is started by itself to parse a file and tell how much memory that took.
const PARSE: &str = "CHARTMESH_PARSE";
const MIB: f64 = 1024.0 * 1024.0;
/// How often memory is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Memory counts as that of an idle node once it has not changed for so long.
const QUIET: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(60);

/// A field of `/proc/PID/status`, in bytes; none once the process has ended.
fn memory(process: &str, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// A Bundle of so many bytes: results of about a kilobyte, twenty in each encounter.
fn bundle(path: &Path, bytes: u64) -> u64 {
    let mut file = BufWriter::new(std::fs::File::create(path).expect("a file"));
    let mut written = 0;
    let mut put = |text: &str| {
        written += text.len() as u64;
        file.write_all(text.as_bytes()).expect("a write");
        written
    };
    put(r#"{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Patient","id":"m"}}"#);
    let note = "measured at rest, in the sitting position, with the cuff at heart level; ".repeat(8);
    for n in 0u64.. {
        let (encounter, day, month, year) = (n / 20, 1 + n / 20 % 28, 1 + n / 560 % 12, 1960 + n / 6720 % 64);
        if n.is_multiple_of(20) {
            put(&format!(
                r#",{{"resource":{{"resourceType":"Encounter","id":"e{encounter}","status":"finished","class":{{"code":"AMB"}},"subject":{{"reference":"Patient/m"}},"period":{{"start":"{year}-{month:02}-{day:02}T09:00:00Z"}}}}}}"#
            ));
        }
        let so_far = put(&format!(
            r#",{{"resource":{{"resourceType":"Observation","id":"o{n}","status":"final","code":{{"coding":[{{"system":"http://loinc.org","code":"4548-4"}}],"text":"HbA1c"}},"subject":{{"reference":"Patient/m"}},"encounter":{{"reference":"Encounter/e{encounter}"}},"effectiveDateTime":"{year}-{month:02}-{day:02}T09:00:00Z","valueQuantity":{{"value":6.{n},"unit":"%"}},"note":[{{"text":"{note}"}}]}}}}"#
        ));
        if so_far > bytes {
            put("]}");
            file.flush().expect("a write");
            return n + 1;
        }
    }
    unreachable!("a Bundle has an end")
}

fn program(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CHARTMESH_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_chartmesh").into()));
    command.arg("--home").arg(home).args(args).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// Runs a command to its end: the most memory it had, and how long it took.
fn run(mut command: Command) -> (u64, Duration, Vec<u8>) {
    let start = Instant::now();
    let mut child = command.spawn().expect("the program starts");
    let stdout = child.stdout.take().expect("stdout is piped");
    let (sender, output) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        sender.send(BufReader::new(stdout).read_to_end(&mut bytes).map(|_| bytes))
    });
    let process = child.id().to_string();
    let mut most = 0;
    let bytes = loop {
        most = most.max(memory(&process, "VmHWM").unwrap_or_default());
        if let Ok(bytes) = output.recv_timeout(LOOK_AGAIN) {
            break bytes;
        }
    };
    assert!(child.wait().expect("its status").success(), "{command:?}");
    (most, start.elapsed(), bytes.expect("its output"))
}

/// A running `serve`, ended when dropped.
struct Serving(Child);

impl Serving {
    fn start(home: &Path) -> Self {
        let mut child = program(home, &["--json", "serve", "--listen", "127.0.0.1:0"]).spawn().expect("the program starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("stdout is piped")).read_line(&mut line).expect("a line");
        assert!(line.contains("ready"), "{line}");
        Self(child)
    }

    fn memory(&self, field: &str) -> u64 {
        memory(&self.0.id().to_string(), field).expect("it runs")
    }

    /// Its memory once that does not change any more, and how much of it is not the program's own file.
    fn idle(&self) -> String {
        let deadline = Instant::now() + PATIENCE;
        let (mut last, mut since) = (self.memory("VmRSS"), Instant::now());
        while since.elapsed() < QUIET && Instant::now() < deadline {
            std::thread::sleep(LOOK_AGAIN);
            let now = self.memory("VmRSS");
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        format!("{:7.1} MiB, {:.1} of it without pages of files", mib(last), mib(self.memory("RssAnon")))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn home(directory: &Path, name: &str) -> PathBuf {
    let home = directory.join(name);
    let words = directory.join(format!("{name}.words"));
    let words = words.to_str().expect("a plain path");
    run(program(&home, &["init", "patient", "--name", name, "--no-passphrase", "--recovery-file", words]));
    home
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB
}

fn main() {
    if let Some(path) = std::env::var_os(PARSE) {
        let parsed: serde_json::Value = serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON");
        std::hint::black_box(&parsed);
        return;
    }
    let megabytes = std::env::var("CHARTMESH_MEGABYTES").ok().and_then(|size| size.parse().ok()).unwrap_or(60);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (small, large) = (directory.path().join("small.json"), directory.path().join("large.json"));
    bundle(&small, 1_000_000);
    let resources = bundle(&large, megabytes * 1_000_000);
    let path = |path: &Path| path.to_str().expect("a plain path").to_owned();

    let empty = home(directory.path(), "empty");
    let idle = Serving::start(&empty).idle();
    println!("idle, serving, holds nothing          {idle}  (aim: less than 64)");

    let held = home(directory.path(), "held");
    run(program(&held, &["import", &path(&small)]));
    println!("idle, serving, holds 1 MB of records  {}  (aim: less than 64)", Serving::start(&held).idle());

    let mut parse = Command::new(std::env::current_exe().expect("this program"));
    parse.env(PARSE, &large).stdout(Stdio::piped());
    let (bare, _, _) = run(parse);
    let whole = home(directory.path(), "whole");
    let (most, took, _) = run(program(&whole, &["import", &path(&large)]));
    println!("{resources} resources in a Bundle of {megabytes} MB");
    println!("serde_json, parsed and dropped        {:7.1} MiB at most", mib(bare));
    println!(
        "import                                {:7.1} MiB at most, ratio {:.2}, {:.1} s  (aim: less than 300)",
        mib(most),
        bare as f64 / most as f64,
        took.as_secs_f64()
    );

    println!("idle, serving, holds all of it        {}", Serving::start(&whole).idle());
}
