//! A schedule carried out: four nodes on hosts of their own, who converge, are cut off, go on with what they do, and converge again.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Child, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    chart::{self, CHART, MENTAL_HEALTH, Names, set},
    network::{self, Network, Site, Wire},
    schedule::{ALL, Cable, Deed, EVERYBODY, Fault, GENERAL, Layout, PROVIDERS, Schedule, Who},
    world::{Home, Serving, World, until},
};

/// How long convergence may take before it is no use to wait on.
const GIVE_UP: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const LISTEN: &str = "0.0.0.0:7117";
const RELAY_PORT: u16 = 3340;

/// A grant that was made.
struct Granted {
    id: String,
    terms: &'static [&'static str],
    live: bool,
}

struct Person {
    home: Home,
    wire: Wire,
    /// Ends before its home and its host.
    serving: Serving,
}

struct Relay {
    child: Child,
    host: String,
}

/// The lab of one schedule.
pub(crate) struct Outage<'a> {
    people: BTreeMap<Who, Person>,
    relay: Option<Relay>,
    program: Option<&'a Path>,
    wires: BTreeMap<Cable, Wire>,
    network: Network,
    world: World,
    schedule: &'a Schedule,
    grants: BTreeMap<Who, Vec<Granted>>,
    /// What the patient imported and the clinic wrote.
    added: Names,
}

/// What a schedule came to.
pub(crate) struct Outcome {
    /// From the mending of the cables until everybody had everything; the reason if that did not come.
    pub(crate) healed: Result<Duration, String>,
    /// How the patient's node and the clinic's were connected then.
    pub(crate) path: Option<String>,
}

fn name(who: Who) -> &'static str {
    match who {
        Who::Patient => "maria",
        Who::Custodian => "vaultco",
        Who::Clinic => "clinic",
        Who::Practice => "practice",
    }
}

fn kind(who: Who) -> &'static str {
    match who {
        Who::Patient => "patient",
        Who::Custodian => "custodian",
        Who::Clinic => "organization",
        Who::Practice => "practitioner",
    }
}

/// Nothing but the time goes by.
fn pass(time: Duration) {
    let (_kept, never) = mpsc::channel::<()>();
    assert_eq!(never.recv_timeout(time), Err(mpsc::RecvTimeoutError::Timeout));
}

impl<'a> Outage<'a> {
    /// Builds the network and the homes, on perfect cables; everybody has met, and the clinic has its grant.
    pub(crate) fn prepare(schedule: &'a Schedule, program: Option<&'a Path>) -> Self {
        let (world, mut network) = (World::new(), Network::new());
        let mut wires = BTreeMap::new();
        let mut sites = [Site::Internet; 2];
        if schedule.layout != Layout::Open {
            for (number, place) in sites.iter_mut().enumerate() {
                let (site, line) = network.site();
                *place = site;
                wires.insert(Cable::Line(number), line);
            }
        }
        let mut relay = None;
        if let Some(program) = program.filter(|_| schedule.layout == Layout::Relayed) {
            let wire = network.host("relay", Site::Internet);
            wires.insert(Cable::Relay, wire);
            let config = world.write(
                "relay.toml",
                format!("http_bind_addr = \"0.0.0.0:{RELAY_PORT}\"\nenable_quic_addr_discovery = false\nenable_metrics = false\n").as_bytes(),
            );
            relay = Some((Relay::start(&network.name(wire), program, &config), format!("http://{}:{RELAY_PORT}", network.address(wire))));
        }
        let mut people = BTreeMap::new();
        for who in EVERYBODY {
            let site = match who {
                Who::Patient => sites[0],
                Who::Clinic | Who::Practice => sites[1],
                Who::Custodian => Site::Internet,
            };
            let wire = network.host(name(who), site);
            wires.insert(Cable::Of(who), wire);
            let home = world.home_on(&network.name(wire), kind(who), name(who));
            if let Some((_, url)) = &relay {
                std::fs::write(home.path().join("config.json"), format!("{{\"relay\":\"{url}\"}}")).expect("writing the configuration");
            }
            let serving = home.serve_at(LISTEN);
            people.insert(who, Person { home, wire, serving });
        }
        let relay = relay.map(|(relay, _)| relay);
        let mut outage = Self { people, relay, program, wires, network, world, schedule, grants: BTreeMap::new(), added: Names::new() };
        outage.meet();
        outage
    }

    fn home(&self, who: Who) -> &Home {
        &self.people[&who].home
    }

    fn meet(&mut self) {
        let patient = self.home(Who::Patient);
        let file = self.world.write("chart.json", &chart::bundle(CHART));
        patient.json(&["import", &file]);
        patient.meets(self.home(Who::Custodian));
        patient.grants(name(Who::Custodian), &["--custodian"]);
        for who in PROVIDERS {
            if self.schedule.layout == Layout::Apart {
                let card = self.world.name(&format!("{}.card", name(who)));
                self.home(who).json(&["card", "--out", &card]);
                patient.json(&["peer", "add", &card, "--alias", name(who)]);
            } else {
                patient.meets(self.home(who));
            }
        }
        self.grant(Who::Clinic, self.schedule.terms);
    }

    fn grant(&mut self, who: Who, terms: &'static [&'static str]) {
        let patient = self.home(Who::Patient);
        let id = patient.grants(name(who), terms);
        if self.schedule.layout == Layout::Apart {
            let file = self.world.name(&format!("{id}.invitation"));
            patient.json(&["consent", "invitation", &id, "--out", &file]);
            self.home(who).json(&["peer", "add", &file]);
        }
        self.grants.entry(who).or_default().push(Granted { id, terms, live: true });
    }

    /// Carries the schedule out.
    pub(crate) fn run(mut self) -> Outcome {
        let begun = Instant::now();
        if let Err(unmet) = self.converge(begun) {
            return Outcome { healed: Err(format!("before anything went wrong: {unmet}")), path: None };
        }
        for (cable, delay, loss) in &self.schedule.quality {
            self.network.slow(self.wires[cable], Duration::from_millis(*delay), *loss);
        }
        let cut = Instant::now();
        for fault in &self.schedule.faults {
            match fault {
                Fault::Cut(cable, how) => self.network.cut(self.wires[cable], *how),
                Fault::Renumbered(cable) => self.network.renumber(self.wires[cable]),
                Fault::RelayRestarted => {
                    if let Some(relay) = &mut self.relay {
                        relay.stop();
                    }
                }
            }
        }
        for (number, deed) in self.schedule.deeds.iter().enumerate() {
            self.carry_out(number, *deed);
        }
        pass(self.schedule.outage.saturating_sub(cut.elapsed()));
        let relay = self.relay.take().map(|relay| relay.host.clone());
        for fault in &self.schedule.faults {
            if let Fault::Cut(cable, _) = fault {
                self.network.mend(self.wires[cable]);
            }
        }
        let mended = Instant::now();
        if let Some((host, program)) = relay.zip(self.program) {
            self.relay = Some(Relay::start(&host, program, &self.world.name("relay.toml")));
        }
        let healed = self.converge(mended);
        let path = self.path_to_clinic();
        self.end();
        Outcome { healed, path }
    }

    fn carry_out(&mut self, number: usize, deed: Deed) {
        let id = format!("during-{number}");
        match deed {
            Deed::Import | Deed::Write => {
                let file = self.world.write(&format!("{id}.json"), &chart::result(&id));
                let info = match deed {
                    Deed::Import => self.home(Who::Patient).json(&["import", &file]),
                    _ => self.home(Who::Clinic).json(&["import", &file, "--for", name(Who::Patient)]),
                };
                assert_eq!(info["published"], 1, "{info}");
                self.added.insert(format!("Observation/{id}"));
            }
            Deed::Grant(who, terms) => self.grant(who, terms),
            Deed::Revoke(who) => {
                let granted = self.grants.get_mut(&who).and_then(|all| all.iter_mut().find(|granted| granted.live)).expect("a grant in force");
                granted.live = false;
                let id = granted.id.clone();
                self.home(Who::Patient).json(&["consent", "revoke", &id]);
            }
            Deed::Sync(who) => {
                let ran = self.home(who).run(&["sync", "--timeout", "3s"]);
                assert!(matches!(ran.code, 0 | 4), "{}", ran.stderr);
            }
        }
    }

    /// How long after `since` everybody has everything, or what is still missing when that no longer matters.
    fn converge(&self, since: Instant) -> Result<Duration, String> {
        loop {
            let unmet = self.unmet();
            let Some(unmet) = unmet else { return Ok(since.elapsed()) };
            if since.elapsed() > GIVE_UP {
                return Err(unmet);
            }
            pass(LOOK_AGAIN);
        }
    }

    /// The first thing that is not as it is to be, as far as the programs say.
    fn unmet(&self) -> Option<String> {
        let patient = self.home(Who::Patient);
        let status = patient.json(&["status"]);
        if status["peers"].as_array().is_none_or(|peers| !peers.iter().any(|peer| peer["name"] == name(Who::Custodian) && peer["online"] == true)) {
            return Some("the patient's node has no session with the custodian's".into());
        }
        let records = patient.records();
        let own = chart::names(&records, |record| record["state"] == "readable");
        let all: Names = CHART.iter().map(|(name, _)| (*name).to_owned()).chain(self.added.iter().cloned()).collect();
        if own != all {
            return Some(format!("the patient has {} of {} records", own.len(), all.len()));
        }
        let log = entries(patient);
        for who in PROVIDERS {
            let Some(grants) = self.grants.get(&who) else { continue };
            if let Some(unmet) = self.unmet_of(who, grants, &records, &log) {
                return Some(format!("{}: {unmet}", name(who)));
            }
        }
        let kept = entries(self.home(Who::Custodian));
        if kept.keys().ne(log.keys()) {
            return Some(format!("the custodian has {} entries of {}", kept.len(), log.len()));
        }
        let documents = |status: &Value| (status["documents"].as_u64(), status["pending"].as_u64());
        let held = documents(&self.home(Who::Custodian).json(&["status"]));
        let wanted = documents(&patient.json(&["status"]));
        if held != wanted || held.1 != Some(0) {
            return Some(format!("the custodian has documents {held:?}, the patient {wanted:?}"));
        }
        // All of this at one time, or a node that has news would not be seen.
        (entries(patient).len() != log.len()).then(|| "the patient's ledger is still growing".into())
    }

    fn unmet_of(&self, who: Who, grants: &[Granted], records: &[Value], log: &Log) -> Option<String> {
        let home = self.home(who);
        let readable = chart::readable(home);
        let live = grants.iter().find(|granted| granted.live);
        let open = live.map_or_else(Names::new, |granted| chart::names(records, |record| is_open(granted.terms, record)));
        // What was opened once stays.
        if !open.is_subset(&readable) || (grants.len() == 1 && live.is_some() && open != readable) {
            return Some(format!("reads {} records, is to read {}", readable.len(), open.len()));
        }
        let told = home.json(&["consent", "list"]);
        for granted in grants {
            let state = if granted.live { "active" } else { "revoked" };
            // A grant that had ended before it was heard of may never come.
            let heard = told.as_array().and_then(|all| all.iter().find(|told| told["grant"] == granted.id.as_str()));
            if heard.is_none() && !granted.live {
                continue;
            }
            if heard.is_none_or(|heard| heard["state"] != state) {
                return Some(format!("has not heard that a grant is {state}"));
            }
            if !granted.live && self.home(Who::Patient).json(&["consent", "show", &granted.id])["confirmed"].as_array().is_none_or(Vec::is_empty) {
                return Some("the patient has not heard that the end of a grant was heard of".into());
            }
        }
        let held = entries(home);
        if let Some(entry) = held.keys().find(|entry| !log.contains_key(*entry)) {
            return Some(format!("the patient lacks its entry {}", &entry[..8]));
        }
        let ends = |of: &mut dyn Iterator<Item = &String>| {
            let mut ends: BTreeMap<&(String, String), u64> = BTreeMap::new();
            for entry in of {
                let (lane, seq) = &log[entry];
                let end = ends.entry(lane).or_default();
                *end = (*end).max(*seq);
            }
            ends
        };
        let (theirs, ours) = (ends(&mut held.keys()), ends(&mut log.keys()));
        let behind = live.and_then(|_| theirs.iter().find(|(lane, seq)| ours[**lane] != **seq));
        behind.map(|(lane, seq)| format!("is at {seq} of {} in {}", ours[*lane], lane.0))
    }

    fn path_to_clinic(&self) -> Option<String> {
        let status = self.home(Who::Patient).json(&["status"]);
        let clinic = status["peers"].as_array()?.iter().find(|peer| peer["name"] == name(Who::Clinic))?;
        clinic["path"].as_str().map(str::to_owned)
    }

    /// Nobody has been asked or told anything who was not named; everybody's ledger is sound; everybody can stop.
    fn end(mut self) {
        assert_eq!(self.network.strays(), Names::new(), "packets were sent to addresses that nobody has configured");
        let from = self.people[&Who::Custodian].wire;
        until("what is sent elsewhere is seen", || {
            // It may be lost, like any other.
            self.network.stray(from);
            !self.network.strays().is_empty()
        });
        for (_, person) in std::mem::take(&mut self.people) {
            assert_eq!(person.home.json(&["ledger", "verify"])["ok"], true);
            person.serving.stop();
        }
    }
}

fn is_open(terms: &[&str], record: &Value) -> bool {
    let kept = set(MENTAL_HEALTH);
    match terms {
        terms if terms == ALL => true,
        terms if terms == GENERAL => record["sensitivity"] == "general",
        _ => !chart::is_one_of(&kept)(record),
    }
}

/// Entries by hash, with lane and author, and the place in them.
type Log = BTreeMap<String, ((String, String), u64)>;

fn entries(home: &Home) -> Log {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let log = home.json(&["ledger", "log"]);
    let one = |entry: &Value| (text(&entry["entry"]), ((text(&entry["lane"]), text(&entry["author"])), entry["seq"].as_u64().expect("a number")));
    log.as_array().expect("an array").iter().map(one).collect()
}

impl Relay {
    fn start(host: &str, program: &Path, config: &str) -> Self {
        let mut command = network::on(host, program.to_str().expect("a plain path"));
        let child = command
            .args(["--dev", "--config-path", config])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the relay starts");
        let relay = Self { child, host: host.to_owned() };
        until("the relay listens", || {
            let sockets = network::on(host, "cat").args(["/proc/net/tcp", "/proc/net/tcp6"]).output().expect("cat");
            String::from_utf8_lossy(&sockets.stdout).lines().any(|line| line.contains(&format!(":{RELAY_PORT:04X} ")) && line.contains(" 0A "))
        });
        relay
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop();
    }
}
