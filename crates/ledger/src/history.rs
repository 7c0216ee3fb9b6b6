//! All charter versions held, and which of them holds.
//!
//! Among versions that follow the same one, the lowest rank wins and voids its rivals with all that follows them; of several of rank 0 the lowest hash wins. Several of one
//! higher rank leave the charter contested: the version before them stays in force, what gives stands only if it would under every one of them, and what takes away stands
//! if it would under any.
//!
//! No root reaches above its rank: it neither adds nor drops roots of a lower rank number, and only rank 0 replaces the recovery recipient. So whoever steals a device cannot
//! lock out the recovery words.

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_identity::{AuthorKey, CharterHash, LedgerId, Signed, Verified};

use crate::{
    charter::{Charter, Device},
    fence::Head,
    refusal::{Added, Refusal},
};

const MAX_CHARTER: usize = 1 << 20;
/// So many roots, devices and custodians each a charter lists at most.
pub const MAX_MEMBERS: usize = 128;
const MAX_HEADS: usize = 65_536;

#[derive(Debug)]
pub(crate) struct History {
    genesis: CharterHash,
    held: BTreeMap<CharterHash, Verified<Charter>>,
    children: BTreeMap<CharterHash, BTreeSet<CharterHash>>,
    holder: CharterHash,
    heads: Vec<CharterHash>,
    devices: BTreeSet<AuthorKey>,
    listed: BTreeSet<AuthorKey>,
}

impl History {
    pub(crate) fn begin(genesis: Signed<Charter>) -> Result<Self, Refusal> {
        let charter = read(genesis)?;
        if charter.version != 0 || charter.prev.is_some() || charter.ledger.is_some() {
            return Err(Refusal::Version(charter.version));
        }
        if charter.rank(&charter.signer).is_none() {
            return Err(Refusal::NotARoot(0));
        }
        let genesis = CharterHash::of(charter.as_bytes());
        let devices: BTreeSet<_> = charter.devices.iter().map(|device| device.key).collect();
        let held = BTreeMap::from([(genesis, charter)]);
        Ok(Self { genesis, held, children: BTreeMap::new(), holder: genesis, heads: vec![genesis], listed: devices.clone(), devices })
    }

    pub(crate) fn id(&self) -> LedgerId {
        self.genesis.as_ledger()
    }

    pub(crate) fn add(&mut self, charter: Signed<Charter>) -> Result<Added, Refusal> {
        let hash = CharterHash::of(charter.as_bytes());
        if self.held.contains_key(&hash) {
            return Ok(Added::Known);
        }
        let charter = read(charter)?;
        let version = charter.version;
        if charter.ledger != Some(self.id()) {
            return Err(Refusal::OtherLedger);
        }
        let prev = charter.prev.ok_or(Refusal::Version(version))?;
        let parent = self.held.get(&prev).ok_or(Refusal::UnknownParent { version, prev })?;
        follows(parent, &charter)?;
        self.devices.extend(charter.devices.iter().map(|device| device.key));
        self.held.insert(hash, charter);
        self.children.entry(prev).or_default().insert(hash);
        self.resolve();
        Ok(Added::New)
    }

    fn resolve(&mut self) {
        let mut contested = None;
        let mut heads = Vec::new();
        let mut open = vec![self.genesis];
        self.listed.clear();
        while let Some(hash) = open.pop() {
            self.listed.extend(self.held[&hash].devices.iter().map(|device| device.key));
            let rivals = self.rivals(&hash);
            match rivals.as_slice() {
                [] => heads.push(hash),
                [only] => open.push(*only),
                several => {
                    contested.get_or_insert(hash);
                    open.extend(several);
                }
            }
        }
        heads.sort_unstable();
        self.holder = contested.or(heads.first().copied()).unwrap_or(self.genesis);
        self.heads = heads;
    }

    /// What may follow a version: one, or several that rank 0 has to decide between.
    fn rivals(&self, parent: &CharterHash) -> Vec<CharterHash> {
        let (Some(children), Some(charter)) = (self.children.get(parent), self.held.get(parent)) else { return Vec::new() };
        let rank = |hash: &CharterHash| self.held.get(hash).and_then(|child| charter.rank(&child.signer)).unwrap_or(u64::MAX);
        let Some(lowest) = children.iter().map(rank).min() else { return Vec::new() };
        let winners = children.iter().filter(|child| rank(child) == lowest).copied();
        if lowest == 0 { winners.take(1).collect() } else { winners.collect() }
    }

    pub(crate) fn charter(&self, hash: &CharterHash) -> &Charter {
        &self.held[hash]
    }

    /// The version in force.
    pub(crate) fn holder(&self) -> &Charter {
        self.charter(&self.holder)
    }

    /// The hash of the version in force.
    pub(crate) fn holder_hash(&self) -> CharterHash {
        self.holder
    }

    /// The last version up to the one in force that rank 0 has signed, or version 0.
    pub(crate) fn decided(&self) -> CharterHash {
        let mut at = self.holder;
        while let Some(prev) = self.charter(&at).prev {
            if self.charter(&prev).rank(&self.charter(&at).signer) == Some(0) {
                return at;
            }
            at = prev;
        }
        at
    }

    /// The version in force, or the last of every rival.
    pub(crate) fn heads(&self) -> impl Iterator<Item = &Charter> {
        self.heads.iter().map(|hash| self.charter(hash))
    }

    pub(crate) fn head_hashes(&self) -> &[CharterHash] {
        &self.heads
    }

    pub(crate) fn contested(&self) -> bool {
        self.heads.len() > 1
    }

    /// Whether any version held lists it as a device.
    pub(crate) fn is_device(&self, author: &AuthorKey) -> bool {
        self.devices.contains(author)
    }

    /// Whether a version that is not void lists it as a device.
    pub(crate) fn is_listed(&self, author: &AuthorKey) -> bool {
        self.listed.contains(author)
    }

    /// Everybody whom any version held lists as a device.
    pub(crate) fn devices(&self) -> &BTreeSet<AuthorKey> {
        &self.devices
    }

    /// The versions that are not void, predecessors first.
    fn standing(&self) -> BTreeSet<CharterHash> {
        let mut standing = BTreeSet::new();
        for head in &self.heads {
            let mut at = Some(*head);
            while let Some(hash) = at.filter(|hash| standing.insert(*hash)) {
                at = self.charter(&hash).prev;
            }
        }
        standing
    }

    /// All versions held with their hashes, those that are not void before the others, predecessors first, then by hash.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&CharterHash, &Verified<Charter>)> {
        let standing = self.standing();
        let mut all: Vec<_> = self.held.iter().collect();
        all.sort_by_key(|(hash, charter)| (!standing.contains(*hash), charter.version, **hash));
        all.into_iter()
    }

    /// As [`History::all`], without what is void.
    pub(crate) fn all_standing(&self) -> impl Iterator<Item = &Verified<Charter>> {
        let standing = self.standing();
        self.all().take(standing.len()).map(|(_, charter)| charter)
    }
}

fn read(charter: Signed<Charter>) -> Result<Verified<Charter>, Refusal> {
    if charter.as_bytes().len() > MAX_CHARTER {
        return Err(Refusal::Bounds("bytes"));
    }
    let charter = charter.verify()?;
    let unique = |count: usize, distinct: usize| count == distinct && count <= MAX_MEMBERS;
    let roots: BTreeSet<_> = charter.roots.iter().map(|root| root.key).collect();
    if roots.is_empty() || !unique(charter.roots.len(), roots.len()) {
        return Err(Refusal::Bounds("roots"));
    }
    let devices: BTreeSet<_> = charter.devices.iter().map(|device| device.key).collect();
    if !unique(charter.devices.len(), devices.len()) {
        return Err(Refusal::Bounds("devices"));
    }
    let custodians: BTreeSet<_> = charter.custodians.iter().map(|custodian| custodian.party).collect();
    if !unique(charter.custodians.len(), custodians.len()) {
        return Err(Refusal::Bounds("custodians"));
    }
    if charter.devices.iter().any(|device| device.suspended.as_ref().is_some_and(|heads| heads.len() > MAX_HEADS)) {
        return Err(Refusal::Bounds("fences"));
    }
    Ok(charter)
}

fn follows(parent: &Charter, child: &Charter) -> Result<(), Refusal> {
    let version = child.version;
    if parent.version.checked_add(1) != Some(version) {
        return Err(Refusal::Version(version));
    }
    if parent.threshold != 1 {
        return Err(Refusal::Threshold(version));
    }
    let signer = parent.rank(&child.signer).ok_or(Refusal::NotARoot(version))?;
    let above = |charter: &Charter| charter.roots.iter().filter(|root| root.rank < signer).map(|root| (root.key, root.rank)).collect::<BTreeSet<_>>();
    if above(parent) != above(child) {
        return Err(Refusal::AboveRank(version));
    }
    if signer > 0 && parent.recovery != child.recovery {
        return Err(Refusal::Recovery(version));
    }
    for before in &parent.devices {
        let device = before.key;
        let after = child.device(&device).filter(|after| after.role == before.role).ok_or(Refusal::DropsDevice { version, device })?;
        if !stays_suspended(before, after) {
            return Err(Refusal::Revives { version, device });
        }
    }
    Ok(())
}

/// A fence may be lowered, never raised.
fn stays_suspended(before: &Device, after: &Device) -> bool {
    let Some(fence) = &before.suspended else { return true };
    let Some(lower) = &after.suspended else { return false };
    lower
        .iter()
        .filter(|head| head.author == after.key)
        .all(|head| cut(fence, head).is_some_and(|limit| head.seq < limit.seq || (head.seq == limit.seq && head.hash == limit.hash)))
}

/// Where a fence cuts the log that `head` is of.
fn cut<'a>(fence: &'a [Head], head: &Head) -> Option<&'a Head> {
    fence.iter().filter(|limit| limit.lane == head.lane && limit.author == head.author).min_by_key(|limit| (limit.seq, limit.hash))
}
