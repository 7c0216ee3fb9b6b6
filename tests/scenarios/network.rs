//! Hosts in network namespaces, and the cables between them: one "internet" that is a bridge, hosts on it, and private networks behind routers. Cables have delay and loss, can be cut and mended;
//! hosts can get another address. Whatever is sent to an address outside of all this is seen.
//!
//! Needs root, iproute2 and TAP devices. With nftables a router is a NAT; without, private networks have routes to the internet and back, and none to each other.

use std::{
    collections::BTreeSet,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::cable::{Cable, Elsewhere};

/// Where programs of the system are, whatever `PATH` says.
const PLACES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
/// What every name of a namespace begins with; then the test's process.
const PREFIX: &str = "cmlab";
/// An address outside of the network. It stands for all that nobody has configured.
const ELSEWHERE: &str = "198.51.100.53";

/// A network, gone when dropped.
pub(crate) struct Network {
    id: String,
    plugs: Vec<Plug>,
    /// Private networks.
    sites: u8,
    translates: bool,
    elsewhere: Elsewhere,
}

/// A host's connection, in the order of their making.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wire(usize);

/// How a cable is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The plug is pulled: the host sees that.
    Unplugged,
    /// Nothing arrives any more, and nobody is told.
    Silent,
}

/// Where a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Site {
    Internet,
    /// The private network of this number, from 1.
    Private(u8),
}

struct Plug {
    host: String,
    cable: Cable,
    /// The namespace and the device at the other end.
    far: (String, String),
    /// The first three bytes of addresses there.
    prefix: String,
    number: u8,
    delay: Duration,
    loss_percent: u64,
}

/// A command on a host.
pub(crate) fn on(host: &str, program: &str) -> Command {
    let mut command = Command::new(tool("ip").unwrap_or_else(|| PathBuf::from("ip")));
    command.args(["netns", "exec", host, program]);
    command
}

fn tool(name: &str) -> Option<PathBuf> {
    PLACES.iter().map(|place| Path::new(place).join(name)).find(|path| path.exists())
}

fn output(name: &str, args: &[&str]) -> Output {
    let program = tool(name).unwrap_or_else(|| panic!("{name} is not installed"));
    Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn succeeds(name: &str, args: &[&str]) -> bool {
    output(name, args).status.success()
}

fn must(name: &str, args: &[&str]) {
    let output = output(name, args);
    assert!(output.status.success(), "{name} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Whether networks can be made here; says so if not.
pub(crate) fn is_possible() -> bool {
    let probe = format!("{PREFIX}{}probe", std::process::id());
    let why = if tool("ip").is_none() {
        Some("iproute2 is not installed")
    } else if !succeeds("ip", &["netns", "add", &probe]) {
        Some("network namespaces cannot be made here (that needs root)")
    } else {
        let works = succeeds("ip", &["-n", &probe, "tuntap", "add", "dev", "eth0", "mode", "tap"]);
        must("ip", &["netns", "del", &probe]);
        (!works).then_some("TAP devices cannot be made here")
    };
    if let Some(why) = why {
        let _ = writeln!(std::io::stderr(), "skipped: network lab: {why}");
    }
    why.is_none()
}

/// Removes what tests that were killed have left.
pub(crate) fn sweep() {
    let listed = output("ip", &["netns", "list"]);
    for name in String::from_utf8_lossy(&listed.stdout).lines().filter_map(|line| line.split(' ').next()) {
        let process = name.strip_prefix(PREFIX).map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            remove(name);
        }
    }
}

fn remove(namespace: &str) {
    let _ = output("ip", &["netns", "del", namespace]);
    let _ = std::fs::remove_dir_all(Path::new("/etc/netns").join(namespace));
}

impl Network {
    pub(crate) fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let id = format!("{PREFIX}{}x{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let network = Self { id, plugs: Vec::new(), sites: 0, translates: tool("nft").is_some(), elsewhere: Elsewhere::new() };
        let internet = network.add("internet");
        let ip = |args: &[&str]| must("ip", &[&["-n", &internet], args].concat());
        ip(&["link", "add", "br0", "type", "bridge"]);
        ip(&["link", "set", "br0", "up"]);
        ip(&["addr", "add", "203.0.113.1/24", "dev", "br0"]);
        must("ip", &["link", "set", &network.elsewhere.end, "netns", &internet, "name", "elsewhere"]);
        ip(&["link", "set", "elsewhere", "arp", "off", "up"]);
        ip(&["route", "add", "default", "dev", "elsewhere"]);
        // Private addresses mean nothing here.
        ip(&["route", "add", "blackhole", "10.0.0.0/8"]);
        forward(&internet);
        network
    }

    fn namespace(&self, name: &str) -> String {
        format!("{}{name}", self.id)
    }

    fn add(&self, name: &str) -> String {
        let namespace = self.namespace(name);
        must("ip", &["netns", "add", &namespace]);
        must("ip", &["-n", &namespace, "link", "set", "lo", "up"]);
        namespace
    }

    /// A private network behind a router; the router's own cable.
    pub(crate) fn site(&mut self) -> (Site, Wire) {
        self.sites += 1;
        let site = self.sites;
        let router = format!("router{site}");
        let wire = self.plug(&router, Site::Internet, 200 + site);
        let router = self.namespace(&router);
        let ip = |args: &[&str]| must("ip", &[&["-n", &router], args].concat());
        ip(&["link", "add", "br0", "type", "bridge"]);
        ip(&["link", "set", "br0", "up"]);
        ip(&["addr", "add", &format!("10.{site}.0.1/24"), "dev", "br0"]);
        forward(&router);
        if self.translates {
            for rule in ["add table ip nat", "add chain ip nat out { type nat hook postrouting priority 100 ; }", "add rule ip nat out oifname eth0 masquerade"]
            {
                must("ip", &[&["netns", "exec", &router, "nft"][..], &rule.split(' ').collect::<Vec<_>>()].concat());
            }
        } else {
            must("ip", &["-n", &self.namespace("internet"), "route", "add", &format!("10.{site}.0.0/24"), "via", &self.address(wire)]);
            for other in (1..5).filter(|other| *other != site) {
                ip(&["route", "add", "blackhole", &format!("10.{other}.0.0/24")]);
            }
        }
        (Site::Private(site), wire)
    }

    /// A host; its cable.
    pub(crate) fn host(&mut self, name: &str, site: Site) -> Wire {
        let number = u8::try_from(self.plugs.len()).expect("few hosts") + 10;
        self.plug(name, site, number)
    }

    /// The namespace at the near end of a cable.
    pub(crate) fn name(&self, wire: Wire) -> String {
        self.plugs[wire.0].host.clone()
    }

    /// The address at the near end of a cable.
    pub(crate) fn address(&self, wire: Wire) -> String {
        self.plugs[wire.0].address()
    }

    fn plug(&mut self, name: &str, site: Site, number: u8) -> Wire {
        let host = self.add(name);
        let (far, prefix) = match site {
            Site::Internet => (self.namespace("internet"), "203.0.113".to_owned()),
            Site::Private(site) => (self.namespace(&format!("router{site}")), format!("10.{site}.0")),
        };
        let cable = Cable::new(u64::from(number));
        let device = format!("to{}", self.plugs.len());
        must("ip", &["link", "set", &cable.ends[0], "netns", &host, "name", "eth0"]);
        must("ip", &["link", "set", &cable.ends[1], "netns", &far, "name", &device]);
        must("ip", &["-n", &far, "link", "set", &device, "master", "br0", "up"]);
        must("ip", &["-n", &host, "link", "set", "eth0", "up"]);
        // Who looks names up is seen doing it.
        let settings = Path::new("/etc/netns").join(&host);
        let servers = format!("nameserver {ELSEWHERE}\n");
        std::fs::create_dir_all(&settings).and_then(|()| std::fs::write(settings.join("resolv.conf"), servers)).expect("writing to /etc/netns");
        let plug = Plug { host, cable, far: (far, device), prefix, number, delay: Duration::ZERO, loss_percent: 0 };
        plug.configure();
        self.plugs.push(plug);
        Wire(self.plugs.len() - 1)
    }

    /// Gives a cable its delay there and back, and its loss each way.
    pub(crate) fn slow(&mut self, wire: Wire, delay: Duration, loss_percent: u64) {
        let plug = &mut self.plugs[wire.0];
        (plug.delay, plug.loss_percent) = (delay, loss_percent);
        plug.cable.set(delay, loss_percent);
    }

    pub(crate) fn cut(&self, wire: Wire, how: Cut) {
        let plug = &self.plugs[wire.0];
        plug.cable.set(plug.delay, 100);
        if how == Cut::Unplugged {
            plug.carrier("off");
        }
    }

    pub(crate) fn mend(&self, wire: Wire) {
        let plug = &self.plugs[wire.0];
        plug.carrier("on");
        plug.cable.set(plug.delay, plug.loss_percent);
    }

    /// The host gets another address, and loses the one it had.
    pub(crate) fn renumber(&mut self, wire: Wire) {
        let old = self.address(wire);
        let plug = &mut self.plugs[wire.0];
        must("ip", &["-n", &plug.host, "addr", "del", &format!("{old}/24"), "dev", "eth0"]);
        let was = plug.number;
        // Hosts have numbers from 10 and get those from 110; routers have those from 201 and get those from 221.
        plug.number += if was < 200 { 100 } else { 20 };
        plug.configure();
        if !self.translates && was > 200 {
            must("ip", &["-n", &self.namespace("internet"), "route", "replace", &format!("10.{}.0.0/24", was - 200), "via", &self.address(wire)]);
        }
    }

    /// Addresses outside of the network that packets were sent to.
    pub(crate) fn strays(&self) -> BTreeSet<String> {
        self.elsewhere.seen()
    }

    /// Sends a packet to an address outside of the network, to see that it is seen.
    pub(crate) fn stray(&self, from: Wire) {
        let script = format!("echo > /dev/udp/{ELSEWHERE}/53");
        must("ip", &["netns", "exec", &self.name(from), "bash", "-c", &script]);
    }
}

impl Plug {
    fn address(&self) -> String {
        format!("{}.{}", self.prefix, self.number)
    }

    fn configure(&self) {
        must("ip", &["-n", &self.host, "addr", "add", &format!("{}/24", self.address()), "dev", "eth0"]);
        must("ip", &["-n", &self.host, "route", "replace", "default", "via", &format!("{}.1", self.prefix)]);
    }

    fn carrier(&self, state: &str) {
        for (namespace, device) in [(self.host.as_str(), "eth0"), (&self.far.0, &self.far.1)] {
            must("ip", &["-n", namespace, "link", "set", device, "carrier", state]);
        }
    }
}

fn forward(namespace: &str) {
    must("ip", &["netns", "exec", namespace, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
}

impl Drop for Network {
    fn drop(&mut self) {
        self.plugs.iter().map(|plug| plug.host.clone()).chain([self.namespace("internet")]).for_each(|namespace| remove(&namespace));
    }
}
