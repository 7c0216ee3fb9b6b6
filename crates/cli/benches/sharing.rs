//! Sharing once, against what a person would use for it today: `rage`, or `age` where that is not installed, and `rsync`, and `sendme` where that is. Two shares: 10,000 documents of 4 KiB, and one attachment.
//! Both sides begin with plain files and contacts made, each with the receiver's daemon running, and end with the receiver holding the same content in the clear, byte for byte.
//!
//! - *chartmesh*: `import`, `consent grant`, `sync` on the sender's side; `records export` on the receiver's. Everything is checked, labelled, signed, granted, and synced to disk.
//! - *each by itself*: one `rage` process for each file, as a shell loop does it; `rsync` to a daemon or `sendme`; one `rage -d` for each file.
//! - *in one stream*: `tar | rage`, `rsync` or `sendme`, `rage -d | tar`. Nothing can then be shown, fetched, shared or taken back by itself.
//!
//! `cargo bench -p chartmesh --bench sharing`; `CHARTMESH_DOCUMENTS=N` and `CHARTMESH_ATTACHMENT_MB=N` set other sizes, `CHARTMESH_PROGRAM=FILE` takes
//! another build of the program. A resource is held in memory and bounded by 1 GiB
//! as JSON, so the attachment is 1,000 MB of JSON by default. Without `age` and `rsync` it says so and ends.

#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const DOCUMENT: usize = 4096;

fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(otherwise)
}

/// A process that ends with this value.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// Runs a command that must succeed; what it printed.
fn run(command: &mut Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().expect("it starts");
    assert!(output.status.success(), "{command:?}");
    output.stdout
}

/// Letters that a compressor makes little shorter, always the same ones.
struct Noise(u64);

impl Noise {
    fn letters(&mut self, count: usize) -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::with_capacity(count + 10);
        while text.len() < count {
            // splitmix64
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut bits = self.0;
            bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            bits ^= bits >> 31;
            text.extend((0..10).map(|letter| char::from(LETTERS[(bits >> (6 * letter) & 63) as usize])));
        }
        text.truncate(count);
        text
    }
}

/// Results of 4 KiB, each of an encounter of its own and so a document of its own.
fn documents(directory: &Path, count: usize) {
    std::fs::create_dir(directory).expect("a directory");
    let mut noise = Noise(1);
    for n in 0..count {
        let head = format!(
            r#"{{"resourceType":"Observation","id":"o{n}","status":"final","code":{{"text":"HbA1c"}},"subject":{{"reference":"Patient/m"}},"encounter":{{"reference":"Encounter/e{n}"}},"effectiveDateTime":"2024-03-01T09:00:00Z","note":[{{"text":""#
        );
        let rest = r#""}]}"#;
        let text = noise.letters(DOCUMENT - head.len() - rest.len());
        std::fs::write(directory.join(format!("o{n}.json")), format!("{head}{text}{rest}")).expect("a file");
    }
}

/// One attachment, as a FHIR Binary of so many bytes.
fn attachment(directory: &Path, bytes: usize) {
    std::fs::create_dir(directory).expect("a directory");
    let (head, rest) = (r#"{"resourceType":"Binary","id":"scan","contentType":"application/dicom","data":""#, r#""}"#);
    let mut file = std::fs::File::create(directory.join("scan.json")).expect("a file");
    let mut noise = Noise(2);
    file.write_all(head.as_bytes()).expect("a write");
    let mut left = (bytes - head.len() - rest.len()) / 4 * 4;
    while left > 0 {
        let now = left.min(4 << 20);
        file.write_all(noise.letters(now).as_bytes()).expect("a write");
        left -= now;
    }
    file.write_all(rest.as_bytes()).expect("a write");
}

fn chartmesh(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CHARTMESH_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_chartmesh").into()));
    command.arg("--home").arg(home).args(args);
    command
}

/// How long it takes with chartmesh: sender's import, grant and sync; receiver's export.
fn with_chartmesh(world: &Path, from: &Path) -> [Duration; 3] {
    let (patient, clinic, words) = (world.join("patient"), world.join("clinic"), world.join("words"));
    run(&mut chartmesh(&patient, &["init", "patient", "--name", "patient", "--no-passphrase", "--recovery-file", path(&words)]));
    run(&mut chartmesh(&clinic, &["init", "practitioner", "--name", "clinic", "--no-passphrase"]));
    let mut serving = Daemon(chartmesh(&clinic, &["--json", "serve", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().expect("it starts"));
    let mut line = String::new();
    BufReader::new(serving.0.stdout.as_mut().expect("stdout is piped")).read_line(&mut line).expect("a line");
    let card: serde_json::Value = serde_json::from_slice(&run(&mut chartmesh(&clinic, &["--json", "card"]))).expect("JSON");
    run(&mut chartmesh(&patient, &["peer", "add", card["ticket"].as_str().expect("a ticket"), "--alias", "clinic"]));

    let start = Instant::now();
    run(&mut chartmesh(&patient, &["import", path(from)]));
    let imported = start.elapsed();
    run(&mut chartmesh(&patient, &["consent", "grant", "clinic"]));
    run(&mut chartmesh(&patient, &["sync", "--timeout", "1h"]));
    let shared = start.elapsed();
    let out = world.join("export");
    let info = run(&mut chartmesh(&clinic, &["--json", "records", "export", path(&out)]));
    let all = start.elapsed();
    let info: serde_json::Value = serde_json::from_slice(&info).expect("JSON");
    let count = std::fs::read_dir(from).expect("a directory").count();
    assert_eq!(info["resources"], count, "everything came over");
    [imported, shared - imported, all - shared]
}

fn found(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// rage, or age.
struct Age {
    program: String,
    key: PathBuf,
    recipient: String,
}

impl Age {
    fn find(world: &Path) -> Option<Self> {
        let program = ["rage", "age"].into_iter().find(|name| found(name)).filter(|_| found("rsync") && found("tar"))?;
        let key = world.join("key.txt");
        let made = Command::new(format!("{program}-keygen")).args(["-o", path(&key)]).stderr(Stdio::null()).status();
        assert!(made.is_ok_and(|made| made.success()), "{program}-keygen");
        let text = std::fs::read_to_string(&key).expect("a key");
        let recipient = text.lines().find_map(|line| line.strip_prefix("# public key: ")).expect("a recipient").to_owned();
        Some(Self { program: program.to_owned(), key, recipient })
    }

    fn seal(&self, from: &Path, to: &Path) {
        run(Command::new(&self.program).args(["-r", &self.recipient, "-o", path(to), path(from)]));
    }

    fn open(&self, from: &Path, to: &Path) {
        run(Command::new(&self.program).args(["-d", "-i", path(&self.key), "-o", path(to), path(from)]));
    }
}

/// How sealed files get from one directory to another.
enum Mover {
    /// To a daemon on loopback, by its address.
    Rsync(String),
    /// Offered and fetched over loopback, without any relay.
    Sendme,
}

impl Mover {
    /// The daemon is handed the one connection that comes, as inetd does it: there is nothing to wait for.
    fn rsync(world: &Path, into: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("rsync://{}/in/", listener.local_addr().expect("an address"));
        let config = world.join("rsyncd.conf");
        std::fs::write(&config, format!("use chroot = no\n[in]\npath = {}\nread only = no\nuid = root\ngid = root\n", path(into))).expect("a file");
        std::thread::spawn(move || {
            let (connection, _) = listener.accept().expect("a connection");
            let mut daemon = Command::new("rsync");
            daemon.args(["--daemon", "--config", path(&config)]).stdin(OwnedFd::from(connection)).stdout(Stdio::null());
            assert!(daemon.status().expect("rsync").success(), "rsync --daemon");
        });
        Self::Rsync(address)
    }

    /// Takes a file or directory there, under its own name.
    fn carry(&self, from: &Path, into: &Path) {
        let Self::Rsync(address) = self else {
            let mut command = Command::new("sendme");
            command.arg("send").arg(from).args(["--relay", "disabled", "--no-progress"]).current_dir(from.parent().expect("a directory"));
            let mut sender = Daemon(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("sendme"));
            let lines = BufReader::new(sender.0.stdout.take().expect("stdout is piped")).lines().map_while(Result::ok);
            let ticket = lines.map(|line| line.trim().to_owned()).find_map(|line| line.strip_prefix("sendme receive ").map(str::to_owned));
            let mut receive = Command::new("sendme");
            receive.args(["receive", &ticket.expect("a ticket"), "--relay", "disabled", "--no-progress"]).current_dir(into);
            assert!(receive.stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::null()).status().expect("sendme").success(), "sendme receive");
            return;
        };
        run(Command::new("rsync").args(["-a", path(from), address]));
    }
}

fn each(from: &Path, to: &Path, work: impl Fn(&Path, &Path)) {
    std::fs::create_dir_all(to).expect("a directory");
    for file in std::fs::read_dir(from).expect("a directory").map(|file| file.expect("a file").path()) {
        work(&file, &to.join(file.file_name().expect("a name")));
    }
}

/// One process for each file.
fn one_by_one(age: &Age, mover: &Mover, world: &Path, from: &Path, into: &Path) -> [Duration; 3] {
    let (sealed, out) = (world.join("sealed"), world.join("out"));
    let start = Instant::now();
    each(from, &sealed, |from, to| age.seal(from, to));
    let prepared = start.elapsed();
    mover.carry(&sealed, into);
    let moved = start.elapsed();
    each(&into.join("sealed"), &out, |from, to| age.open(from, to));
    let all = start.elapsed();
    run(Command::new("diff").args(["-rq", path(from), path(&out)]));
    [prepared, moved - prepared, all - moved]
}

/// Everything in one file.
fn in_one(age: &Age, mover: &Mover, world: &Path, from: &Path, into: &Path) -> [Duration; 3] {
    let (sealed, out) = (world.join("sealed.age"), world.join("out"));
    std::fs::create_dir(&out).expect("a directory");
    let piped = |from: &mut Command, to: &mut Command| {
        let mut first = from.stdout(Stdio::piped()).spawn().expect("it starts");
        let second = to.stdin(first.stdout.take().expect("stdout is piped")).status().expect("it runs");
        assert!(first.wait().expect("it ends").success() && second.success());
    };
    let start = Instant::now();
    piped(Command::new("tar").args(["-C", path(from), "-c", "."]), Command::new(&age.program).args(["-r", &age.recipient, "-o", path(&sealed)]));
    let prepared = start.elapsed();
    mover.carry(&sealed, into);
    let moved = start.elapsed();
    let arrived = into.join("sealed.age");
    piped(Command::new(&age.program).args(["-d", "-i", path(&age.key), path(&arrived)]), Command::new("tar").args(["-C", path(&out), "-x"]));
    let all = start.elapsed();
    run(Command::new("diff").args(["-rq", path(from), path(&out)]));
    [prepared, moved - prepared, all - moved]
}

/// A way to share with other tools.
type Way = fn(&Age, &Mover, &Path, &Path, &Path) -> [Duration; 3];

fn compare(what: &str, make: impl Fn(&Path)) {
    let sum = |parts: &[Duration; 3]| parts.iter().sum::<Duration>().as_secs_f64();
    // Each in a directory of its own that is gone before the next begins: one gigabyte is held several times over on each side.
    let in_world = |work: &dyn Fn(&Path, &Path) -> [Duration; 3]| {
        let world = tempfile::tempdir().expect("a temporary directory");
        let from = world.path().join("from");
        make(&from);
        work(world.path(), &from)
    };
    println!("{what}, in seconds: prepared, moved, opened");
    let ours = in_world(&|world, from| with_chartmesh(world, from));
    let tell = |name: &str, parts: &[Duration; 3]| {
        let [prepared, moved, opened] = parts.map(|part| part.as_secs_f64());
        println!("{name:<27}{:8.2} = {prepared:.2} + {moved:.2} + {opened:.2}, ratio {:.2}", sum(parts), sum(parts) / sum(&ours));
    };
    tell("chartmesh", &ours);
    let ways: [(&str, Way); 2] = [("each by itself", one_by_one), ("tar, in one stream", in_one)];
    for (name, way) in ways {
        for sendme in [false, true] {
            if sendme && !found("sendme") {
                continue;
            }
            let parts = in_world(&|world, from| {
                let (age, into) = (Age::find(world).expect("age and rsync"), world.join("arrived"));
                std::fs::create_dir(&into).expect("a directory");
                let mover = if sendme { Mover::Sendme } else { Mover::rsync(world, &into) };
                way(&age, &mover, world, from, &into)
            });
            tell(&format!("{name}, {}", if sendme { "sendme" } else { "rsync" }), &parts);
        }
    }
}

fn main() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let Some(age) = Age::find(directory.path()) else {
        println!("skipped: it takes age (or rage), rsync and tar");
        return;
    };
    let (count, megabytes) = (number("CHARTMESH_DOCUMENTS", 10_000), number("CHARTMESH_ATTACHMENT_MB", 1_000));
    println!("against {}; aim: every ratio above 1", age.program);
    if count > 0 {
        compare(&format!("{count} documents of {DOCUMENT} bytes"), |from| documents(from, count));
    }
    if megabytes > 0 {
        compare(&format!("one attachment of {megabytes} MB"), |from| attachment(from, megabytes * 1_000_000));
    }
}
