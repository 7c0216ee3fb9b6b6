//! A cable between two hosts: two TAP devices, and threads that carry frames from one to the other, late and with losses. So it needs no `netem` in the kernel, and a frame travels as it would on a
//! wire: segmented, and with its checksums.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use tappers::Tap;

use crate::chance::Chance;

/// More than any frame.
const FRAME: usize = 1 << 16;

/// A cable; frames are carried until its devices are gone.
pub(crate) struct Cable {
    quality: Arc<Quality>,
    /// The devices at its ends, as they are called until they are moved to their hosts.
    pub(crate) ends: [String; 2],
}

#[derive(Default)]
struct Quality {
    /// One way, in microseconds.
    delay: AtomicU64,
    /// In a hundred.
    loss: AtomicU64,
}

impl Cable {
    /// A perfect one, with ends on this host.
    pub(crate) fn new(seed: u64) -> Self {
        let taps = [Arc::new(tap()), Arc::new(tap())];
        let ends = [name(&taps[0]), name(&taps[1])];
        let quality = Arc::new(Quality::default());
        let [near, far] = taps;
        carry(near.clone(), far.clone(), quality.clone(), Chance::new(2 * seed));
        carry(far, near, quality.clone(), Chance::new(2 * seed + 1));
        Self { quality, ends }
    }

    /// Sets the delay there and back, and the loss each way.
    pub(crate) fn set(&self, delay: Duration, loss_percent: u64) {
        self.quality.delay.store(u64::try_from(delay.as_micros() / 2).expect("a short delay"), Ordering::Relaxed);
        self.quality.loss.store(loss_percent, Ordering::Relaxed);
    }
}

fn tap() -> Tap {
    Tap::new().expect("a TAP device")
}

fn name(tap: &Tap) -> String {
    tap.name().expect("it has a name").name().to_string_lossy().into_owned()
}

fn carry(from: Arc<Tap>, to: Arc<Tap>, quality: Arc<Quality>, mut chance: Chance) {
    let (sender, under_way) = mpsc::channel::<(Instant, Vec<u8>)>();
    // Both end when the devices do.
    std::thread::spawn(move || {
        let mut frame = vec![0; FRAME];
        while let Ok(length) = from.recv(&mut frame) {
            if chance.percent(quality.loss.load(Ordering::Relaxed)) {
                continue;
            }
            let due = Instant::now() + Duration::from_micros(quality.delay.load(Ordering::Relaxed));
            if sender.send((due, frame[..length].to_vec())).is_err() {
                return;
            }
        }
    });
    std::thread::spawn(move || {
        for (due, frame) in under_way {
            // This is the delay of the cable; nothing waits for it.
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            // An end that is down loses what comes.
            let _ = to.send(&frame);
        }
    });
}

/// The end of the world: takes what is sent to addresses that nobody has.
pub(crate) struct Elsewhere {
    seen: Arc<Mutex<BTreeSet<String>>>,
    /// Its device, as it is called until it is moved.
    pub(crate) end: String,
}

impl Elsewhere {
    pub(crate) fn new() -> Self {
        let tap = tap();
        let end = name(&tap);
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let all = seen.clone();
        std::thread::spawn(move || {
            let mut frame = vec![0; FRAME];
            while let Ok(length) = tap.recv(&mut frame) {
                all.lock().unwrap_or_else(PoisonError::into_inner).extend(destination(&frame[..length]));
            }
        });
        Self { seen, end }
    }

    /// Where packets were sent to.
    pub(crate) fn seen(&self) -> BTreeSet<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The address that a frame's packet is for, but for those of the device's own link.
fn destination(frame: &[u8]) -> Option<String> {
    let packet = frame.get(14..)?;
    match frame[12..14] {
        [0x08, 0x00] => {
            let bytes: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            Some(Ipv4Addr::from(bytes)).filter(|address| !address.is_multicast()).map(|address| address.to_string())
        }
        [0x86, 0xdd] => {
            let bytes: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            Some(Ipv6Addr::from(bytes)).filter(|address| !address.is_multicast() && !address.is_unicast_link_local()).map(|address| address.to_string())
        }
        _ => None,
    }
}
