//! The frames of a session: what they hold, how they are encoded, and how large each may be.
//!
//! A frame is one deterministic CBOR object (schemas/exchange.cddl). Everything that comes from a peer is counted before it is decoded and bounded after it, so that no
//! frame costs more memory than a small multiple of its length. This file touches nothing but bytes.

use chartmesh_identity::{AuthorKey, Card, CborError, CharterHash, EntryHash, Exactly, LaneId, LedgerId, Signed, from_canonical, to_canonical};
use chartmesh_ledger::{Charter, Checkpoint, Claim, RawEntry};
use serde::{Deserialize, Deserializer, Serialize};
use serde_bytes::ByteBuf;
use thiserror::Error;

/// Longest frame, in bytes.
pub const MAX_FRAME: usize = 4 << 20;
/// Most CBOR items (strings, integers, arrays, maps) in a frame.
const MAX_ITEMS: usize = 100_000;
/// Length at which a list of entries is cut into another frame, in bytes.
pub const CHUNK: usize = 256 << 10;
/// Longest entry that is put together from parts, in bytes: a header of 1 MiB, a body of 16 MiB, and their framing.
pub const MAX_ENTRY: usize = (17 << 20) + 1024;
/// Most heads in one `Heads` frame; more are told in further frames.
pub(crate) const HEADS_PER_FRAME: usize = 2_000;
/// Most charters, versions or entries that one frame lists.
pub(crate) const MAX_LIST: usize = 8_192;
/// Longest sealed invitation, in bytes.
pub const MAX_INVITATION: usize = 3 << 20;

/// The tip of one author's log: author, sequence number, hash. A forked log has several.
pub type Tip = (AuthorKey, u64, EntryHash);

fn lanes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(LaneId, Vec<Tip>)>, D::Error> {
    let lanes: Vec<Exactly<(LaneId, Vec<Exactly<Tip>>)>> = Vec::deserialize(deserializer)?;
    Ok(lanes.into_iter().map(|Exactly((lane, tips))| (lane, tips.into_iter().map(|Exactly(tip)| tip).collect())).collect())
}

fn pairs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(LaneId, i64)>, D::Error> {
    let pairs: Vec<Exactly<(LaneId, i64)>> = Vec::deserialize(deserializer)?;
    Ok(pairs.into_iter().map(|Exactly(pair)| pair).collect())
}

/// What one side says to the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Frame {
    /// The first frame of either side; the responder's answers the initiator's.
    Hello {
        /// Versions of this protocol that the sender speaks.
        versions: Vec<u64>,
        /// Who the sender is; the endpoint of the connection must be on it.
        card: Signed<Card>,
        /// Fresh and random: a claim to this sender signs it.
        nonce: ByteBuf,
    },
    /// The sender can be reached elsewhere than its hello said: its card as it is now.
    Card {
        /// With a higher counter than the last one that the sender showed; the stable part is the same, and the endpoint of the connection is on it.
        card: Signed<Card>,
    },
    /// A root's word that the sender's new card is its patient's (recovery).
    Claim {
        /// Signed over the receiver's endpoint and nonce.
        claim: Signed<Claim>,
    },
    /// Names a ledger and what the sender believes the pair to share of it.
    Open {
        /// Which.
        ledger: LedgerId,
        /// Names this opening in its answer and in all acknowledgements until the next: odd from the initiator, even from the responder, and each higher than the sender's last.
        opening: u64,
        /// BLAKE3 over all that the pair shares, as far as the sender knows: 32 bytes.
        digest: ByteBuf,
        /// From a party to a device or custodian: tips that it holds of logs that it is not, or no longer, served. Empty for a party whose grants are all live.
        #[serde(deserialize_with = "lanes")]
        beyond: Vec<(LaneId, Vec<Tip>)>,
    },
    /// The sender has named every ledger that it means to name for now.
    Named,
    /// Answer to `Open`: not held, or not for you. Nobody can tell which. Said unasked by who stops serving.
    Unknown {
        /// Which.
        ledger: LedgerId,
        /// Of which opening.
        opening: u64,
    },
    /// Answer to `Open`: the same digest here.
    Same {
        /// Which.
        ledger: LedgerId,
        /// To which opening.
        opening: u64,
    },
    /// What the sender holds of a ledger, as far as the receiver may know.
    Heads {
        /// Which.
        ledger: LedgerId,
        /// Of which opening.
        opening: u64,
        /// Charter versions.
        charters: Vec<CharterHash>,
        /// Per lane the tips of every log, each fork's too.
        #[serde(deserialize_with = "lanes")]
        lanes: Vec<(LaneId, Vec<Tip>)>,
        /// Time of the newest checkpoint per circle lane, in seconds since 1970.
        #[serde(deserialize_with = "pairs")]
        checkpoints: Vec<(LaneId, i64)>,
        /// Whether the sender, a party, waits for `Held` before it gives entries; told in the last frame.
        confirm: bool,
        /// False if another `Heads` frame of this ledger follows.
        last: bool,
    },
    /// To a party that has told its heads: which of them are here, so that it need not send what it was not told of.
    Held {
        /// Which ledger.
        ledger: LedgerId,
        /// Of which opening.
        opening: u64,
        /// Per lane some of the tips that the party named.
        #[serde(deserialize_with = "lanes")]
        lanes: Vec<(LaneId, Vec<Tip>)>,
        /// False if another `Held` frame of this ledger follows.
        last: bool,
    },
    /// Charter versions, oldest first.
    Charters {
        /// Which ledger.
        ledger: LedgerId,
        /// As they were signed.
        charters: Vec<Signed<Charter>>,
    },
    /// Entries: per lane the devices' logs first, each log in its order.
    Entries {
        /// Which ledger.
        ledger: LedgerId,
        /// Headers and bodies.
        entries: Vec<RawEntry>,
    },
    /// Asks for entries again that came without their sealed bodies.
    Want {
        /// Which ledger.
        ledger: LedgerId,
        /// Which entries.
        entries: Vec<EntryHash>,
    },
    /// A piece of one entry that is too long for a frame.
    Part {
        /// Which ledger.
        ledger: LedgerId,
        /// The next bytes of the entry's encoding.
        bytes: ByteBuf,
        /// Whether these are the last.
        last: bool,
    },
    /// The newest checkpoint of a circle lane.
    Checkpoint {
        /// Which ledger.
        ledger: LedgerId,
        /// As it was signed.
        checkpoint: Signed<Checkpoint>,
    },
    /// What has come is on disk, and whether there is more to give.
    Done {
        /// Which ledger.
        ledger: LedgerId,
        /// Of which opening.
        opening: u64,
        /// How many frames of content (charters, entries, parts, checkpoints) of this ledger have come since that opening.
        got: u64,
        /// How many `Want` of this ledger since that opening were answered: every body that was asked for and can be given has been sent.
        answered: u64,
        /// Whether the sender has sent all it has for the receiver.
        done: bool,
    },
    /// How many blobs the sender still means to fetch from the receiver.
    Pending {
        /// Zero: none.
        blobs: u64,
    },
    /// An invitation, sealed to the receiver.
    Invite {
        /// An age file.
        sealed: ByteBuf,
    },
    /// The sender is about to hang up.
    Bye,
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// Longer than [`MAX_FRAME`].
    #[error("a frame of {0} bytes is too long")]
    Length(usize),
    /// A list or a string is longer than its bound.
    #[error("too many {0} in a frame")]
    Bounds(&'static str),
    /// Not the deterministic CBOR of a frame.
    #[error("not a frame: {0}")]
    Cbor(#[from] CborError),
}

impl Frame {
    /// The frame's bytes.
    pub fn encode(&self) -> Vec<u8> {
        to_canonical(self)
    }

    /// Reads a frame. Signatures in it are not looked at.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        if bytes.len() > MAX_FRAME {
            return Err(FrameError::Length(bytes.len()));
        }
        if !items_within(bytes, MAX_ITEMS) {
            return Err(FrameError::Bounds("items"));
        }
        let frame: Self = from_canonical(bytes)?;
        frame.check()?;
        Ok(frame)
    }

    /// A short name for traces and errors.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::Card { .. } => "card",
            Self::Claim { .. } => "claim",
            Self::Open { .. } => "open",
            Self::Named => "named",
            Self::Unknown { .. } => "unknown",
            Self::Same { .. } => "same",
            Self::Heads { .. } => "heads",
            Self::Held { .. } => "held",
            Self::Charters { .. } => "charters",
            Self::Entries { .. } => "entries",
            Self::Want { .. } => "want",
            Self::Part { .. } => "part",
            Self::Checkpoint { .. } => "checkpoint",
            Self::Done { .. } => "done",
            Self::Pending { .. } => "pending",
            Self::Invite { .. } => "invite",
            Self::Bye => "bye",
        }
    }

    /// The ledger that the sender shows to hold by saying this.
    pub(crate) fn names(&self) -> Option<LedgerId> {
        match self {
            Self::Open { ledger, .. }
            | Self::Same { ledger, .. }
            | Self::Heads { ledger, .. }
            | Self::Held { ledger, .. }
            | Self::Charters { ledger, .. }
            | Self::Entries { ledger, .. }
            | Self::Want { ledger, .. }
            | Self::Part { ledger, .. }
            | Self::Checkpoint { ledger, .. }
            | Self::Done { ledger, .. } => Some(*ledger),
            Self::Hello { .. }
            | Self::Card { .. }
            | Self::Claim { .. }
            | Self::Named
            | Self::Unknown { .. }
            | Self::Pending { .. }
            | Self::Invite { .. }
            | Self::Bye => None,
        }
    }

    fn check(&self) -> Result<(), FrameError> {
        let fits = |ok: bool, what: &'static str| if ok { Ok(()) } else { Err(FrameError::Bounds(what)) };
        match self {
            Self::Hello { versions, nonce, .. } => {
                fits(versions.len() <= 16, "versions")?;
                fits(nonce.len() == 32, "bytes of a nonce")
            }
            Self::Open { digest, beyond, .. } => {
                fits(digest.len() == 32, "bytes of a digest")?;
                fits(heads_fit(beyond), "heads")
            }
            Self::Heads { charters, lanes, checkpoints, .. } => {
                fits(charters.len() <= MAX_LIST && checkpoints.len() <= MAX_LIST, "versions")?;
                fits(heads_fit(lanes), "heads")
            }
            Self::Held { lanes, .. } => fits(heads_fit(lanes), "heads"),
            Self::Charters { charters, .. } => fits(charters.len() <= MAX_LIST, "charters"),
            Self::Entries { entries, .. } => fits(entries.len() <= MAX_LIST, "entries"),
            Self::Want { entries, .. } => fits(entries.len() <= MAX_LIST, "entries"),
            Self::Part { bytes, .. } => fits(bytes.len() <= CHUNK, "bytes of a part"),
            Self::Invite { sealed } => fits(sealed.len() <= MAX_INVITATION, "bytes of an invitation"),
            Self::Card { .. }
            | Self::Claim { .. }
            | Self::Named
            | Self::Unknown { .. }
            | Self::Same { .. }
            | Self::Checkpoint { .. }
            | Self::Done { .. }
            | Self::Pending { .. }
            | Self::Bye => Ok(()),
        }
    }
}

fn heads_fit(lanes: &[(LaneId, Vec<Tip>)]) -> bool {
    lanes.len() <= MAX_LIST && lanes.iter().map(|(_, tips)| tips.len()).sum::<usize>() <= MAX_LIST
}

/// Whether the bytes hold at most so many CBOR items, counted without building any (RFC 8949, section 3). Indefinite lengths, which our
/// encoding does not have, count as too many; what is cut short is left to the decoder.
fn items_within(bytes: &[u8], most: usize) -> bool {
    let mut at = 0usize;
    let mut items = 0usize;
    while let Some(&initial) = bytes.get(at) {
        items += 1;
        if items > most {
            return false;
        }
        let width = match initial & 0x1f {
            0..24 => 0usize,
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => return false,
        };
        let Some(argument) = bytes.get(at + 1..at + 1 + width) else { return true };
        at += 1 + width;
        if matches!(initial >> 5, 2 | 3) {
            let length = if width == 0 { u64::from(initial & 0x1f) } else { argument.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)) };
            let Ok(length) = usize::try_from(length) else { return true };
            let Some(next) = at.checked_add(length) else { return true };
            at = next;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use ciborium::Value;
    use proptest::prelude::*;

    use super::*;

    fn every_frame() -> Vec<Frame> {
        let ledger = LedgerId::of(b"l");
        let lanes = vec![(LaneId::new([1; 32]), vec![(AuthorKey::new([2; 32]), 3, EntryHash::of(b"e"))])];
        let charters = vec![CharterHash::of(b"c")];
        let raw = RawEntry { header: Signed::from_bytes(vec![1]), body: Some(ByteBuf::from(vec![2])) };
        vec![
            Frame::Hello { versions: vec![1], card: Signed::from_bytes(vec![1]), nonce: ByteBuf::from([0; 32]) },
            Frame::Card { card: Signed::from_bytes(vec![1]) },
            Frame::Claim { claim: Signed::from_bytes(vec![1]) },
            Frame::Open { ledger, opening: 3, digest: ByteBuf::from([0; 32]), beyond: lanes.clone() },
            Frame::Named,
            Frame::Unknown { ledger, opening: 3 },
            Frame::Same { ledger, opening: 3 },
            Frame::Heads { ledger, opening: 3, charters, lanes: lanes.clone(), checkpoints: vec![(LaneId::new([1; 32]), -4)], confirm: true, last: true },
            Frame::Held { ledger, opening: 3, lanes, last: false },
            Frame::Charters { ledger, charters: vec![Signed::from_bytes(vec![1])] },
            Frame::Entries { ledger, entries: vec![raw.clone(), RawEntry { body: None, ..raw }] },
            Frame::Want { ledger, entries: vec![EntryHash::of(b"e")] },
            Frame::Part { ledger, bytes: ByteBuf::from([1]), last: true },
            Frame::Checkpoint { ledger, checkpoint: Signed::from_bytes(vec![1]) },
            Frame::Done { ledger, opening: 3, got: 1, answered: 1, done: true },
            Frame::Pending { blobs: 2 },
            Frame::Invite { sealed: ByteBuf::from([1]) },
            Frame::Bye,
        ]
    }

    /// Each with one array that has one item more.
    fn grown(value: &Value) -> Vec<Value> {
        match value {
            Value::Array(items) => {
                let longer = Value::Array(items.iter().cloned().chain([Value::from(7)]).collect());
                let within = (0..items.len()).flat_map(|at| {
                    grown(&items[at])
                        .into_iter()
                        .map(move |item| Value::Array(items.iter().enumerate().map(|(other, old)| if other == at { &item } else { old }).cloned().collect()))
                });
                within.chain([longer]).collect()
            }
            Value::Map(entries) => (0..entries.len())
                .flat_map(|at| {
                    grown(&entries[at].1).into_iter().map(move |value| {
                        let mut entries = entries.clone();
                        entries[at].1 = value;
                        Value::Map(entries)
                    })
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn no_array_has_items_beyond_its_type() {
        let mut refused = 0;
        for frame in every_frame() {
            for longer in grown(&from_canonical(&frame.encode()).unwrap()) {
                let bytes = to_canonical(&longer);
                match Frame::decode(&bytes) {
                    Ok(read) => assert_eq!(read.encode(), bytes, "a list of numbers"),
                    Err(_) => refused += 1,
                }
            }
        }
        assert!(refused > 40, "{refused}");
    }

    #[test]
    fn every_frame_comes_back_under_its_own_name() {
        let mut names = std::collections::BTreeSet::new();
        for frame in every_frame() {
            let bytes = frame.encode();
            assert_eq!(Frame::decode(&bytes), Ok(frame.clone()));
            assert!(names.insert(frame.name()));
            let wire = bytes.windows(frame.name().len()).any(|window| window == frame.name().as_bytes());
            assert!(wire, "{} is not its name on the wire", frame.name());
            for end in 0..bytes.len() {
                assert!(Frame::decode(&bytes[..end]).is_err());
            }
        }
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_is_decoded() {
        assert_eq!(Frame::decode(&vec![0; MAX_FRAME + 1]), Err(FrameError::Length(MAX_FRAME + 1)));
        let mut flood = vec![0x9a, 0x00, 0x10, 0x00, 0x00];
        flood.resize(1 << 20, 0x00);
        assert_eq!(Frame::decode(&flood), Err(FrameError::Bounds("items")));
        let mut endless = vec![0x9f];
        endless.resize(1 << 20, 0x00);
        assert_eq!(Frame::decode(&endless), Err(FrameError::Bounds("items")));
    }

    #[test]
    fn lists_and_strings_have_bounds() {
        let ledger = LedgerId::of(b"l");
        let entries = vec![EntryHash::of(b"e"); MAX_LIST + 1];
        for (frame, what) in [
            (Frame::Want { ledger, entries }, "entries"),
            (Frame::Part { ledger, bytes: ByteBuf::from(vec![0; CHUNK + 1]), last: true }, "bytes of a part"),
            (Frame::Open { ledger, opening: 1, digest: ByteBuf::from([0; 31]), beyond: Vec::new() }, "bytes of a digest"),
            (Frame::Invite { sealed: ByteBuf::from(vec![0; MAX_INVITATION + 1]) }, "bytes of an invitation"),
            (Frame::Hello { versions: vec![1; 17], card: Signed::from_bytes(vec![1]), nonce: ByteBuf::from([0; 32]) }, "versions"),
        ] {
            assert_eq!(Frame::decode(&frame.encode()), Err(FrameError::Bounds(what)));
        }
    }

    #[test]
    fn unknown_frames_and_keys_are_refused() {
        for other in ["{\"x\": 1}", "\"x\""] {
            let bytes = if other.starts_with('{') { vec![0xa1, 0x61, b'x', 0x01] } else { vec![0x61, b'x'] };
            assert!(matches!(Frame::decode(&bytes), Err(FrameError::Cbor(_))), "{other}");
        }
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(frame) = Frame::decode(&bytes) {
                prop_assert_eq!(frame.encode(), bytes);
            }
        }

        #[test]
        fn a_changed_frame_never_panics(which in 0usize..18, at in any::<u16>(), to in any::<u8>()) {
            let mut bytes = every_frame()[which].encode();
            let at = usize::from(at) % bytes.len();
            bytes[at] = to;
            let _ = Frame::decode(&bytes);
        }
    }
}
