//! Canaries: everything that must stay secret holds a marker that is found nowhere else, and after a whole story every place where it could have ended up is searched.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    os::unix::{fs::FileExt, process::ExitStatusExt},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use memchr::memmem::{self, Finder};
use serde_json::{Value, json};

use crate::world::{Home, World, files, until};

/// Begins every marker of what a record says. Its length is a multiple of three, so that base64 of it is found at each of three alignments.
const RECORD: &str = "canary-3f9a-record";
/// Begins every marker of what a list shows of a record: a node that is running knows the lists.
const LISTED: &str = "canary-3f9a-listed";
/// Begins what a user gives as an argument, which other users of the machine can see.
const GIVEN: &str = "canary-3f9a-giving";
/// Begins the markers of passphrases.
const PASSPHRASE: &str = "canary-3f9a-phrase";
/// What age writes its identities as.
const IDENTITY: &str = "AGE-SECRET-KEY-";

/// How often processes are looked at; a command lives longer.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A marker in the forms in which it could be written: as text of one or two bytes a letter, in hexadecimal, in base64.
fn forms(marker: &str) -> Vec<Vec<u8>> {
    let text = marker.as_bytes();
    let wide = text.iter().flat_map(|&byte| [byte, 0]).collect();
    let hex = text.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes();
    let mut all = vec![text.to_vec(), wide, hex];
    // At each alignment, those letters that depend on the marker alone.
    for skipped in 0..3 {
        let whole = &text[skipped..skipped + (text.len() - skipped) / 3 * 3];
        all.push(base64(whole).into_bytes());
    }
    all
}

/// Base64 without padding, of whole groups of three bytes.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = bytes.chunks_exact(3).map(|group| group.iter().fold(0_usize, |number, &byte| number << 8 | usize::from(byte)));
    groups.flat_map(|number| [18, 12, 6, 0].map(|shift| char::from(LETTERS[number >> shift & 63]))).collect()
}

/// Looks for markers in bytes.
struct Search(Vec<(String, Finder<'static>)>);

impl Search {
    fn new<'a>(markers: impl IntoIterator<Item = &'a str>) -> Self {
        Self(markers.into_iter().flat_map(|marker| forms(marker).into_iter().map(|form| (marker.to_owned(), Finder::new(&form).into_owned()))).collect())
    }

    /// The markers that are there.
    fn found(&self, bytes: &[u8]) -> BTreeSet<String> {
        self.0.iter().filter(|(_, finder)| finder.find(bytes).is_some()).map(|(marker, _)| marker.clone()).collect()
    }

    /// The markers that the memory of a process holds; none, with a word, where it may not be read.
    fn in_memory(&self, process: u32) -> Option<BTreeSet<String>> {
        let memory = match File::open(format!("/proc/{process}/mem")) {
            Ok(memory) => memory,
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "skipped: memory is not searched, it cannot be read ({error})");
                return None;
            }
        };
        let mut found = BTreeSet::new();
        for line in BufReader::new(File::open(format!("/proc/{process}/maps")).expect("maps")).lines() {
            let line = line.expect("a line");
            let (range, rest) = line.split_once(' ').expect("a range");
            let (start, end) = range.split_once('-').expect("a range");
            let [start, end] = [start, end].map(|number| u64::from_str_radix(number, 16).expect("an address"));
            if !rest.starts_with('r') || line.ends_with("[vvar]") || line.ends_with("[vsyscall]") {
                continue;
            }
            let mut bytes = vec![0; usize::try_from(end - start).expect("a size")];
            // A range that was given back meanwhile holds nothing.
            let mut read = 0;
            while let Ok(more @ 1..) = memory.read_at(&mut bytes[read..], start + read as u64) {
                read += more;
            }
            let here = self.found(&bytes[..read]);
            if !here.is_empty() {
                let (_, place) = rest.rsplit_once(' ').unwrap_or_default();
                let _ = writeln!(std::io::stderr(), "{here:?} in the memory of {process} at {range} {place}");
            }
            found.extend(here);
        }
        Some(found)
    }
}

/// What every process of the program was started with, collected while it lives.
struct Arguments {
    over: mpsc::Sender<()>,
    watcher: thread::JoinHandle<BTreeSet<Vec<u8>>>,
}

impl Arguments {
    fn watch() -> Self {
        let (over, ended) = mpsc::channel();
        let watcher = thread::spawn(move || {
            let mut seen = BTreeSet::new();
            while ended.recv_timeout(LOOK_AGAIN) == Err(mpsc::RecvTimeoutError::Timeout) {
                for process in fs::read_dir("/proc").expect("processes").flatten() {
                    let told = ["cmdline", "environ"].map(|name| fs::read(process.path().join(name)).unwrap_or_default()).concat();
                    if memmem::find(&told, b"chartmesh-under-test").is_some() {
                        seen.insert(told);
                    }
                }
            }
            seen
        });
        Self { over, watcher }
    }

    fn end(self) -> Vec<u8> {
        self.over.send(()).expect("it runs");
        self.watcher.join().expect("it ends").into_iter().flatten().collect()
    }
}

/// A process that does not outlive the test, whatever becomes of that.
struct Process(Child);

impl Process {
    fn end(&mut self, signal: &str) -> ExitStatus {
        assert!(Command::new("kill").args([&format!("-{signal}"), &self.0.id().to_string()]).status().expect("kill").success());
        self.0.wait().expect("it ends")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// All packets of loopback, if they may be captured.
struct Capture(Process);

impl Capture {
    fn begin(file: &Path) -> Option<Self> {
        let started = Command::new("tcpdump").args(["-i", "lo", "-U", "-s", "0", "-w"]).arg(file).arg("udp or tcp").stderr(Stdio::piped()).spawn();
        let mut capture = match started {
            Ok(child) => Process(child),
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "skipped: packets are not captured, no tcpdump ({error})");
                return None;
            }
        };
        let mut said = String::new();
        BufReader::new(capture.0.stderr.take().expect("stderr is piped")).read_line(&mut said).expect("text");
        if !said.contains("listening on") {
            let _ = writeln!(std::io::stderr(), "skipped: packets are not captured: {said}");
            return None;
        }
        Some(Self(capture))
    }

    fn end(mut self) {
        self.0.end("TERM");
    }
}

/// What every text of the marked chart begins with.
fn thrice() -> String {
    RECORD.repeat(3)
}

/// A chart in which everything is marked.
fn chart() -> Vec<u8> {
    let code = |code: &str, title: &str| json!({"coding": [{"system": "http://snomed.info/sct", "code": code, "display": format!("{LISTED}{title}")}], "text": format!("{LISTED}{title}")});
    // Three times: a whole copy of a record has that, while what zstd leaves behind of one, which is not ours to wipe, has each repetition but once.
    let say = |what: &str| format!("{}{what}", thrice());
    let subject = json!({"reference": "Patient/m"});
    let div = format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{}</div>", say("narrative"));
    let attached = base64(say("attached").repeat(30).as_bytes());
    let resources = [
        json!({"resourceType": "Patient", "id": "m", "birthDate": "1971-04-02", "name": [{"family": format!("{LISTED}family")}], "telecom": [{"system": "phone", "value": say("phone")}],
            "text": {"status": "generated", "div": div}}),
        json!({"resourceType": "Condition", "id": "hiv", "subject": subject, "code": code("165816005", "hiv"), "recordedDate": "2024-06-07", "note": [{"text": say("note")}]}),
        json!({"resourceType": "Condition", "id": "diabetes", "subject": subject, "code": code("44054006", "diabetes"), "recordedDate": "2024-03-01",
            "extension": [{"url": "https://example.org/x", "valueString": say("extension")}], "note": [{"text": say("long").repeat(4000)}]}),
        json!({"resourceType": "DocumentReference", "id": "letter", "status": "current", "subject": subject, "date": "2024-06-07T10:00:00Z",
            "content": [{"attachment": {"contentType": "text/plain", "data": attached, "title": say("title")}}]}),
    ];
    let entries: Vec<Value> = resources.into_iter().map(|resource| json!({"resource": resource})).collect();
    serde_json::to_vec(&json!({"resourceType": "Bundle", "type": "collection", "entry": entries})).expect("JSON")
}

/// A command that may dump as much core as it likes, in a directory of its own.
fn careless(home: &Home, cwd: &Path, args: &[&str]) -> Command {
    let inner = home.command(args);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -c unlimited; exec \"$0\" \"$@\""]).arg(inner.get_program()).args(inner.get_args());
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(cwd);
    command
}

/// A node that tells everything it has to tell into a file.
fn serve(home: &Home, cwd: &Path, log: &Path, passphrase: &str) -> Process {
    let mut command = careless(home, cwd, &["-vv", "--json", "--passphrase-file", passphrase, "serve", "--listen", "127.0.0.1:0"]);
    let log = File::options().create(true).append(true).open(log).expect("a log");
    let mut node = Process(command.stdout(Stdio::piped()).stderr(log).spawn().expect("it starts"));
    let mut ready = String::new();
    BufReader::new(node.0.stdout.as_mut().expect("stdout is piped")).read_line(&mut ready).expect("a line");
    assert!(ready.contains("ready"), "{ready}");
    node
}

#[test]
fn marked_records_leave_no_trace_outside_of_what_is_sealed() {
    let world = World::new();
    let (cwd, logs, packets) = (world.path("cwd"), world.path("logs"), world.path("packets"));
    fs::create_dir(&cwd).expect("a directory");
    fs::create_dir(&logs).expect("a directory");
    let arguments = Arguments::watch();
    let capture = Capture::begin(&packets);
    let mut said = Vec::new();

    let names = ["maria", "clinic", "keeper"];
    let homes = names.map(|name| world.bare(name));
    let phrases = names.map(|name| world.write(&format!("{name}.phrase"), format!("{PASSPHRASE}{name}\n").as_bytes()));
    let words = world.name("maria.words");
    for ((home, name), phrase) in homes.iter().zip(names).zip(&phrases) {
        let kind = ["patient", "practitioner", "custodian"][names.iter().position(|other| *other == name).expect("one of them")];
        let mut args = vec!["--passphrase-file", phrase, "init", kind, "--name", name];
        if kind == "patient" {
            args.extend(["--recovery-file", &words]);
        }
        home.ok(&args);
    }
    let mut nodes: Vec<Process> = homes.iter().zip(names).zip(&phrases).map(|((home, name), phrase)| serve(home, &cwd, &logs.join(name), phrase)).collect();
    let [maria, clinic, keeper] = &homes;
    // A command that asks a running node needs no passphrase, and its answers on stdout are for the user alone.
    let mut tell = |home: &Home, args: &[&str]| {
        let mut all = vec!["-vv"];
        all.extend(args);
        let ran = home.run(&all);
        said.extend(ran.stderr.as_bytes());
        ran
    };
    maria.meets(clinic);
    maria.meets(keeper);
    let file = world.write("chart.json", &chart());
    let mut grants = Vec::new();
    for args in [&["import", &file][..], &["consent", "grant", "keeper", "--custodian"], &["consent", "grant", "clinic", "--read", "general"], &["sync"]] {
        let ran = tell(maria, args);
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.stderr);
        grants.extend(ran.text().lines().next().map(str::to_owned));
    }
    until("the clinic reads", || clinic.records().iter().any(|record| record["id"] == "letter" && record["state"] == "readable"));
    let shown = tell(clinic, &["records", "show", "DocumentReference/letter"]);
    assert!(shown.text().contains(&format!("{RECORD}title")), "it is the record: {}", shown.stderr);
    let exported = world.name("exported");
    assert_eq!(tell(clinic, &["records", "export", &exported]).code, 0);
    assert_eq!(tell(maria, &["records", "show", "Condition/hiv"]).code, 0);
    // What goes wrong tells nothing either.
    let nonsense = world.write("nonsense.json", format!("{{\"resourceType\":\"Patient\",\"{RECORD}key\":{RECORD}value}}").as_bytes());
    let strange = world.write(
        "strange.json",
        json!({"resourceType": "Observation", "id": "x", "status": [format!("{RECORD}status")], "subject": {"reference": "Patient/m"}}).to_string().as_bytes(),
    );
    for args in [&["import", &nonsense][..], &["import", &strange], &["records", "show", "Observation/x"], &["records", "show", "Condition/none"]] {
        tell(maria, args);
    }
    assert_ne!(tell(clinic, &["records", "show", "Condition/hiv"]).code, 0, "that was not granted");
    assert_eq!(tell(maria, &["consent", "revoke", &grants[2], "--reason", &format!("{GIVEN}reason")]).code, 0);
    tell(maria, &["sync"]);

    // Memory: all questions are answered, the nodes go on.
    let secret = Search::new([thrice().as_str(), PASSPHRASE, IDENTITY]);
    for (node, name) in nodes.iter().zip(names) {
        until(&format!("the memory of {name} holds nothing of records"), || secret.in_memory(node.0.id()).is_none_or(|found| found.is_empty()));
    }
    // The search would have found it: titles are known as long as a node runs.
    if let Some(found) = Search::new([LISTED]).in_memory(nodes[0].0.id()) {
        assert!(found.contains(LISTED), "a search of memory finds what is there");
    }

    // Core files: a process that breaks down in the middle of everything leaves none.
    let other = Command::new("/bin/sh").args(["-c", "ulimit -c unlimited; exec sleep 1000"]).current_dir(&logs).spawn();
    let control = Process(other.expect("it starts")).end("ABRT");
    let end = nodes[1].end("ABRT");
    assert_eq!(end.signal(), Some(6), "{end}");
    if !control.core_dumped() {
        let _ = writeln!(std::io::stderr(), "skipped: core files are not written on this machine");
    }
    assert!(!end.core_dumped(), "a core was dumped");
    for left in files(&logs).into_iter().filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("core"))) {
        fs::remove_file(left).expect("the control's core");
    }
    assert_eq!(files(&cwd), Vec::<std::path::PathBuf>::new(), "left in the working directory");
    for node in [0, 2] {
        let end = nodes[node].end("TERM");
        assert_eq!(end.code(), Some(0), "{end}");
    }

    // Whatever was written, said or sent.
    let all = Search::new([RECORD, LISTED, GIVEN, PASSPHRASE, IDENTITY]);
    let captured = capture.map(Capture::end).is_some();
    if captured {
        let size = fs::metadata(&packets).expect("a capture").len();
        assert!(size > 20_000, "the nodes' packets are in the capture: {size} bytes");
        assert_eq!(all.found(&fs::read(&packets).expect("a capture")), BTreeSet::new(), "in packets");
    }
    let arguments = arguments.end();
    assert_eq!(
        all.found(&arguments),
        BTreeSet::from([GIVEN.to_owned()]),
        "what a user gave is in arguments, and nothing else is in them or in the environment"
    );
    assert_eq!(all.found(&said), BTreeSet::new(), "on stderr");
    for path in homes.iter().flat_map(|home| files(home.path())).chain(files(&logs)) {
        let bytes = fs::read(&path).unwrap_or_default();
        assert_eq!(all.found(&bytes), BTreeSet::new(), "in {}", path.display());
    }
    assert!(names.iter().all(|name| fs::metadata(logs.join(name)).is_ok_and(|log| log.len() > 0)), "the nodes had something to tell");
    let in_export = files(Path::new(&exported)).iter().any(|path| all.found(&fs::read(path).expect("a file")).contains(RECORD));
    assert!(in_export, "and a search of files finds what is there");
}
