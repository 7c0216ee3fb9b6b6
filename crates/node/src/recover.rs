//! Recovery: a new device for a patient who has the words and can reach a custodian or another device.
//!
//! The words' root of rank 0 claims the ledger from the responder, which serves the claimant as a device. The new charter version suspends every earlier device at what was
//! seen of its entries, lists this one, and replaces keyring and epochs, which the lost device knows.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use chartmesh_identity::{AuthorKey, BlobHash, Card, CharterHash, EntryHash, Kind, LaneId, LedgerId, PartyKey, RecoveryWords, Signed, SigningSecret, Ticket};
use chartmesh_ledger::{
    Action, BarState, Charter, Custodian, Entry, Head, KeyBody, KeyringKey, LaneKey, Ledger, MAX_LIST, MAX_MEMBERS, Peer, Refusal, Root, Seed, Use, decode,
};
use chartmesh_sealing::{Identity, open};
use chartmesh_vault::Vault;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    api::{ApiError, PeerSource},
    charter::{device, keyring_body, recovery_recipient},
    core::Core,
    duties::{renew_all, store_keys},
    home::Home,
    net::Route,
    node::{Doing, Node},
    peers::routes,
    secrets::{Keys, PatientSecrets, Secrets, seed},
    session::Slot,
    setup::{begin_vault, check_name, finish_vault},
    view::{Purpose, View},
    write::{Parts, Writer},
};

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovered {
    /// The ledger.
    pub ledger: LedgerId,
    /// Entries that came back.
    pub entries: u64,
    /// Documents that came back.
    pub documents: u64,
    /// Documents known of that did not.
    pub missing: u64,
    /// Devices that have no authority any more.
    pub suspended: u64,
}

/// So many heads all recoveries together put into a charter at most, some 125 bytes each: a charter has at most 1 MiB.
const MOST_HEADS: usize = 7_000;
/// So many identities of a circle from before are kept.
const MOST_IDENTITIES: usize = 64;
/// So many Bars of one lane are no reason to cut a device's log: thousands of accesses that ended.
const MOST_BARS: usize = ALL_BARS / 4 * 3;
/// So many Bars an Epoch can cover beside all devices that a charter may list.
const ALL_BARS: usize = MAX_LIST - MAX_MEMBERS;
/// What a home is called until the ledger tells the patient's name.
const UNNAMED: &str = "Patient";

/// Makes a new device for a patient who lost the old one, from the words and any custodian or other device. If it is cut off, there is no home, and it can be done again.
///
/// One that was struck off may hold what is old, and what the other devices have signed since loses its authority: that takes `former`.
pub fn recover<'a>(
    home: &'a Home,
    words: &'a RecoveryWords,
    from: PeerSource,
    former: bool,
    name: Option<&'a str>,
    passphrase: Option<&'a Zeroizing<String>>,
    wait: Duration,
) -> Doing<'a, Recovered> {
    Box::pin(attempt(home, words, from, former, name, passphrase, wait))
}

/// [`recover`].
async fn attempt(
    home: &Home,
    words: &RecoveryWords,
    from: PeerSource,
    former: bool,
    name: Option<&str>,
    passphrase: Option<&Zeroizing<String>>,
    wait: Duration,
) -> Result<Recovered, ApiError> {
    let deadline = Instant::now() + wait;
    let (route, card) = source(from)?;
    let secrets = Secrets::generate(name.unwrap_or(UNNAMED).trim(), Kind::Patient);
    check_name(&secrets)?;
    let was_there = home.path().exists().then(|| made(home).filter(|path| path.exists()).collect());
    let node = Node::with_vault(home, begin_vault(home, &secrets)?).await?;
    let result = run(&node, words, &route, card, former, name, secrets, passphrase, deadline).await;
    let stopped = node.stop().await;
    drop(node);
    match result {
        Ok(recovered) => stopped.map(|()| recovered),
        // From the new charter on this is the patient's only device: it stays.
        Err(error) if Vault::exists(home.path()) => Err(error.advise("this home is the patient's device now; run `chartmesh sync` to finish")),
        Err(error) => {
            undo(home, was_there.as_ref());
            Err(error)
        }
    }
}

/// Where the responder is, from a ticket or a card.
fn source(from: PeerSource) -> Result<(Vec<Route>, Option<Signed<Card>>), ApiError> {
    match from {
        PeerSource::Ticket(text) => {
            let ticket: Ticket = text.parse().map_err(ApiError::usage)?;
            Ok((vec![Route { endpoint: ticket.endpoint, addresses: ticket.addresses, relay: None }], None))
        }
        PeerSource::File(bytes) => {
            let card = Card::read(&bytes).map_err(ApiError::failed)?;
            Ok((routes(&card), Some(card.signed().clone())))
        }
    }
}

/// What lies in a home before it counts as one.
fn made(home: &Home) -> impl Iterator<Item = PathBuf> {
    ["commits", "lock", "vault.new", "blobs"].into_iter().map(|name| home.path().join(name))
}

/// Leaves nothing behind of a home that came to nothing, but what was there before.
fn undo(home: &Home, was_there: Option<&Vec<PathBuf>>) {
    let Some(was_there) = was_there else {
        let _ = std::fs::remove_dir_all(home.path());
        return;
    };
    for path in made(home).filter(|path| !was_there.contains(path)) {
        let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    }
}

#[allow(clippy::too_many_arguments, reason = "one sequence of steps, named for what they need")]
async fn run(
    node: &Node,
    words: &RecoveryWords,
    routes: &[Route],
    card: Option<Signed<Card>>,
    former: bool,
    name: Option<&str>,
    secrets: Secrets,
    passphrase: Option<&Zeroizing<String>>,
    deadline: Instant,
) -> Result<Recovered, ApiError> {
    node.start_network(None, false).await?;
    let net = node.net().await.ok_or_else(|| ApiError::failed("the network was stopped"))?;
    let mut link = None;
    for route in routes {
        link = Some(net.connect(route, deadline.saturating_duration_since(Instant::now())).await);
        if matches!(link, Some(Ok(_))) {
            break;
        }
    }
    let link = link.ok_or_else(|| ApiError::unreachable("no endpoint is known"))?;
    let link = link.map_err(|error| ApiError::unreachable(error).advise("the custodian or other device must be running `chartmesh serve`"))?;
    let own = node.with(|core| core.replica.me.card.signed().clone());
    let remote = link.remote();
    let session = node.take_link(link, Some((words.root(), own)));
    drop(net);
    let root = words.root().root();
    let holds = |core: &Core| core.replica.ledgers.iter().find(|(_, ledger)| ledger.charter().rank(&root) == Some(0)).map(|(id, _)| *id);
    wait_for(node, deadline, |core| match core.sessions.current(session, &remote) {
        None => Some(Err(ApiError::refused("whoever answered hung up").advise("is it a custodian or device of this patient?"))),
        Some(slot) if slot.settled => Some(match holds(core) {
            Some(id) if former || !was_struck_off(core, id, slot) => Ok(()),
            Some(id) => Err(may_be_old(core, id)),
            None => Err(ApiError::refused("whoever answered holds no ledger of these words")
                .advise("check the words, and that it is a custodian or device of this patient")),
        }),
        Some(_) => None,
    })
    .await?;
    let suspended = node.with(|core| {
        let id = holds(core).ok_or_else(|| ApiError::failed("the ledger is gone"))?;
        if let Some(card) = card.and_then(|card| card.verify().ok()).or_else(|| core.sessions.current(session, &remote).and_then(|slot| slot.peer().cloned())) {
            core.peers.meet(card, true, None, &core.vault)?;
        }
        // What it has signed counts only once it is kept.
        take_over(core, id, words, name, secrets, passphrase).inspect_err(|_| core.fall_silent())
    })?;
    node.tend().await?;
    // Best effort from here on: what has not come yet comes with the next sync.
    let _ = wait_for(node, deadline, |core| {
        let done = core.sessions.current(session, &remote).is_none_or(|slot| slot.settled) && core.missing().is_empty();
        done.then_some(Ok(()))
    })
    .await;
    node.with(|core| {
        let id = core.own_ledger()?;
        let ledger = core.ledger(&id)?;
        Ok(Recovered { ledger: id, entries: ledger.len() as u64, documents: core.delivered.len() as u64, missing: core.missing().len() as u64, suspended })
    })
}

/// Whether the responder is neither device nor custodian by what it holds itself: its session counts as a device's for the claim alone.
fn was_struck_off(core: &Core, id: LedgerId, slot: &Slot) -> bool {
    let standing = slot.peer().map(|card| core.replica.standing(id, &card.profile.party, &slot.remote()));
    !matches!(standing, Some(Peer::Device(_) | Peer::Custodian(_)))
}

/// Why the words are not used on what a responder holds that was struck off.
fn may_be_old(core: &Core, id: LedgerId) -> ApiError {
    let heard = core.replica.checkpoints.values().filter(|checkpoint| checkpoint.ledger == id).map(|checkpoint| checkpoint.time).max();
    let heard = heard.map_or_else(String::new, |time| format!(": it last heard from the patient at {}", crate::time::instant(time)));
    ApiError::refused(format_args!("whoever answered is no custodian or device of this patient any more, and what it holds may be old{heard}"))
        .advise("first ask the others; if a stolen device struck it off, or there is no other, add --former: what was signed since and is not there loses its authority")
}

/// Waits until the question has an answer.
pub(crate) async fn wait_for<T>(node: &Node, deadline: Instant, mut answer: impl FnMut(&Core) -> Option<Result<T, ApiError>>) -> Result<T, ApiError> {
    loop {
        let changed = node.0.signals.sessions.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if let Some(answer) = node.with(|core| answer(core)) {
            return answer;
        }
        if tokio::time::timeout_at(deadline.into(), changed).await.is_err() {
            return Err(ApiError::unreachable("not everything came back in time").advise("try again with a better connection"));
        }
    }
}

/// Opens the keyring with the words, then makes this device the only one. How many were suspended. The home is there once all of it is on disk, and nothing of it is sent before.
fn take_over(
    core: &mut Core,
    id: LedgerId,
    words: &RecoveryWords,
    name: Option<&str>,
    mut secrets: Secrets,
    passphrase: Option<&Zeroizing<String>>,
) -> Result<u64, ApiError> {
    let keyring = find_keyring(core, &id, words)?;
    if let (None, Some(found)) = (name, keyring.name) {
        let said = std::mem::replace(&mut secrets.name, found);
        // Whoever has the lost device may have put anything there.
        if check_name(&secrets).is_err() {
            secrets.name = said;
        }
    }
    let root = seed();
    secrets.patient =
        Some(PatientSecrets { ledger: id, root, keyring_secret: Seed::new(*keyring.secret.expose()), keyring: Seed::new(*keyring.identity.expose()) });
    let before = as_decided(core.ledger(&id)?)?;
    let mut view = View::owner(Identity::from_seed(keyring.identity.expose()), keyring.secret, &before);
    view.read_all(&before);
    let held = held_keys(&before, &view);
    // The lost device knows the old keyring: a new one takes its place.
    if let Some(patient) = &mut secrets.patient {
        patient.keyring = seed();
    }
    contacts(core, &view)?;
    core.vault.set_secrets(secrets.to_vault());
    core.keys = Keys::from_secrets(&secrets);
    let contact = core.replica.me.card.contact.clone();
    core.replica.me.card = Card { profile: core.keys.profile(), contact }.sign(&core.keys.signing).map_err(ApiError::failed)?;
    let patient = secrets.patient.as_ref().ok_or_else(|| ApiError::failed("no patient"))?;
    let own_root = SigningSecret::from_seed(patient.root.expose()).root();
    let keyring_recipient = Identity::from_seed(patient.keyring.expose()).recipient().clone();
    let this = device(&core.keys);
    let fences = fences(&before, &view);
    let suspended = fences.len() as u64;
    let fenced = under(&before, words, &fences)?;
    let custodians = granted_custodians(core.ledger(&id)?, [&before, &fenced], &view)?;
    let taken_away = taken_away(&before, &fenced, &view);
    let mut writer = Writer::new(core, id)?;
    writer.charter_by_words(&words.root(), |next| {
        suspend(next, &fences);
        next.devices.push(this);
        next.custodians = custodians;
        next.roots.retain(|root| root.rank == 0);
        next.roots.push(Root { key: own_root, rank: 1 });
        next.recovery = recovery_recipient(words);
        next.keyring = keyring_recipient.clone();
    })?;
    let lane = crate::charter::keyring_lane(&patient.keyring_secret);
    for recipient in [recovery_recipient(words), writer.core.keys.recipient().clone()] {
        let body = keyring_body(patient, &secrets.name, &recipient)?;
        writer.entry(lane, Action::Key {}, Parts::body(body))?;
    }
    for (lane, action) in taken_away {
        writer.entry(lane, action, Parts::default())?;
    }
    store_keys(&mut writer, &id, held)?;
    // The charter is a new one: all is read anew with it.
    writer.commit()?;
    renew_all(core, &id)?;
    finish_vault(&mut core.vault, passphrase)?;
    Ok(suspended)
}

/// The ledger under the charter that the words decided last: a device's root may have suspended the honest devices since.
fn as_decided(ledger: &Ledger) -> Result<Ledger, ApiError> {
    let versions: BTreeMap<CharterHash, _> = ledger.charter_versions().collect();
    let mut path = Vec::new();
    let mut at = Some(ledger.decided().0);
    while let Some(charter) = at.and_then(|hash| versions.get(&hash)) {
        at = (*charter).clone().verify().map_err(ApiError::failed)?.prev;
        path.push((*charter).clone());
    }
    let mut charters = path.into_iter().rev();
    let wrong = |error: Refusal| ApiError::failed(format_args!("the charters: {error}"));
    let mut decided = Ledger::begin(charters.next().ok_or_else(|| ApiError::failed("a ledger without a charter"))?).map_err(wrong)?;
    for charter in charters {
        decided.add_charter(charter).map_err(wrong)?;
    }
    decided.add_all(ledger.lanes().flat_map(|lane| ledger.entries(lane)).cloned().collect());
    Ok(decided)
}

/// How far the entries stand of each device that the words listed and that is not suspended. The others have no authority.
///
/// A charter has bounds, and whoever has a device can make as many lanes as it likes: those that have a name here come first, and of what room there is half is left for later.
fn fences(ledger: &Ledger, view: &View) -> Vec<(AuthorKey, Vec<Head>)> {
    let order = |head: &Head| match view.lanes.get(&head.lane) {
        Some(Purpose::Keyring | Purpose::Catalog(_)) => 0,
        Some(Purpose::Circle(_)) => 1,
        None => 2,
    };
    let charter = ledger.charter();
    let devices: Vec<AuthorKey> = charter.active_devices().map(|device| device.key).collect();
    let taken: usize = charter.devices.iter().filter_map(|device| device.suspended.as_ref()).map(Vec::len).sum();
    let most = MOST_HEADS.saturating_sub(taken) / 2 / devices.len().max(1);
    let bars: BTreeMap<&LaneId, usize> = ledger.lanes().map(|lane| (lane, most_bars(ledger, &devices, lane))).collect();
    let fence = |device: &AuthorKey| {
        let mut heads: Vec<Head> = bars.iter().filter_map(|(lane, bars)| last_sound(ledger, view, lane, device, *bars)).collect();
        heads.sort_by_key(order);
        heads.truncate(most);
        (*device, heads)
    };
    devices.iter().map(fence).collect()
}

fn suspend(next: &mut Charter, fences: &[(AuthorKey, Vec<Head>)]) {
    for device in &mut next.devices {
        if let Some((_, fence)) = fences.iter().find(|(key, _)| *key == device.key) {
            device.suspended = Some(fence.clone());
        }
    }
}

/// The ledger as it is once the devices are suspended, which may settle what was forked.
fn under(before: &Ledger, words: &RecoveryWords, fences: &[(AuthorKey, Vec<Head>)]) -> Result<Ledger, ApiError> {
    let mut ledger = as_decided(before)?;
    let base = ledger.charter().clone();
    let (version, prev) = (base.version + 1, Some(ledger.charter_hash()));
    let mut next = Charter { version, prev, ledger: Some(ledger.id()), signer: words.root().root(), ..base };
    suspend(&mut next, fences);
    ledger.add_charter(Signed::sign(next, &words.root()).signed().clone()).map_err(|error| ApiError::failed(format_args!("the charters: {error}")))?;
    Ok(ledger)
}

/// What was taken away and would be given again, since it lies beyond a fence or on another branch; and the end of every grant that the patient could not see: whoever has the lost device can give
/// one id to several, or seal what it says to nobody.
fn taken_away(before: &Ledger, fenced: &Ledger, view: &View) -> Vec<(LaneId, Action)> {
    let mut actions = Vec::new();
    for lane in fenced.lanes() {
        let (was, is) = (before.lane(lane), fenced.lane(lane));
        for (grant, state) in is.grants.iter().filter(|(_, state)| state.revoked.is_none()) {
            let revoked = was.revokes.get(grant).and_then(|revokes| revokes.first()).map(|revoke| revoke.fence.clone());
            // What it says may still come, or the key to it.
            let may_come = fenced.get(&state.entry).is_some_and(|entry| entry.body.is_none() && entry.header.body.is_some())
                || (view.circle_identity(lane).is_none() && view.is_named(lane, &format!("circle/{}", state.party)));
            let is_seen = may_come || view.grants.get(grant).is_some_and(|open| open.circle == *lane && open.party == state.party);
            let fence = revoked.or_else(|| (!is_seen).then(|| fenced.fence_of(lane, |rests| *rests == Use::Grant(*grant))));
            actions.extend(fence.map(|fence| (*lane, Action::Revoke { grant: *grant, fence })));
        }
        for (publish, state) in &is.publishes {
            let withdrawn = was.publishes.get(publish).into_iter().flat_map(|was| &was.withdrawn);
            let documents: Vec<BlobHash> = withdrawn.map(|(blob, _)| *blob).filter(|blob| !state.withdrawn.contains_key(blob)).collect();
            // What took its place may be on the other branch: where its bytes are left, they stay.
            if !documents.is_empty() {
                actions.push((*lane, Action::Withdraw { publish: *publish, documents, erase: false }));
            }
        }
    }
    actions
}

/// The last entry of a device's log in a lane before anything that would bind the patient for ever: what this program does not know and must, or more Bars than are left to it. Of a log that was
/// forked, on the branch with the most documents, grants and keys; whoever has the device can make another one at any place.
fn last_sound(ledger: &Ledger, view: &View, lane: &LaneId, device: &AuthorKey, bars: usize) -> Option<Head> {
    let counts = |entry: &Entry| match &entry.header.action {
        Action::Publish { .. } => view.knows(entry.hash()),
        Action::Grant { id, .. } => view.grants.contains_key(id),
        Action::Key {} => true,
        _ => false,
    };
    // What counts, and Bars, on the way to each entry that may be reached.
    let mut reached: BTreeMap<EntryHash, (usize, usize)> = BTreeMap::new();
    let mut last: Option<(usize, Head)> = None;
    for entry in ledger.entries_after(lane, device, 0) {
        let (header, hash) = (&entry.header, entry.hash());
        let Some((worth, seen)) = header.prev.map_or(Some((0, 0)), |prev| reached.get(&prev).copied()) else { continue };
        let (worth, seen) = (worth + usize::from(counts(entry)), seen + usize::from(matches!(header.action, Action::Bar { .. })));
        if header.critical() || seen > bars {
            continue;
        }
        reached.insert(hash, (worth, seen));
        if last.as_ref().is_none_or(|(most, head)| (worth, header.seq) > (*most, head.seq)) {
            last = Some((worth, Head { lane: *lane, author: *device, seq: header.seq, hash }));
        }
    }
    last.map(|(_, head)| head)
}

/// How many Bars of a lane may stand of each device. Later Epochs have to cover them all: where there are too many for that, the devices share half of what those that were suspended before have
/// left, so that some is left after each recovery.
fn most_bars(ledger: &Ledger, devices: &[AuthorKey], lane: &LaneId) -> usize {
    let bars = &ledger.lane(lane).bars;
    if bars.len() <= MOST_BARS {
        return usize::MAX;
    }
    let of_others = |bars: &Vec<BarState>| bars.iter().filter_map(|bar| ledger.get(&bar.entry)).any(|bar| !devices.contains(&bar.author()));
    let others = bars.values().filter(|bars| of_others(bars)).count();
    ALL_BARS.saturating_sub(others) / 2 / devices.len().max(1)
}

/// Custodians that any version lists and a grant in force names. Others the patient would never see: whoever has the lost device may have listed them, and may have left out who should be there. Who was listed first comes first, since there is not room for everybody.
fn granted_custodians(held: &Ledger, [before, fenced]: [&Ledger; 2], view: &View) -> Result<Vec<Custodian>, ApiError> {
    let now = crate::time::now();
    let mut named: BTreeMap<PartyKey, bool> = BTreeMap::new();
    for (grant, open) in view.grants.iter().filter(|(_, open)| open.terms.custodian) {
        let circle = fenced.lane(&open.circle);
        if circle.grants.contains_key(grant) {
            let in_force = open.terms.expires.is_none_or(|end| now < end);
            let revoked = [before, fenced].iter().any(|ledger| ledger.lane(&open.circle).revokes.contains_key(grant));
            *named.entry(open.party).or_default() |= in_force && !revoked;
        }
    }
    let mut kept: Vec<Custodian> = Vec::new();
    for version in held.charters() {
        for listed in version.clone().verify().map_err(ApiError::failed)?.custodians.iter().filter(|listed| named.get(&listed.party) == Some(&true)) {
            if kept.len() < MAX_MEMBERS && kept.iter().all(|other| other.party != listed.party) {
                kept.push(listed.clone());
            }
        }
    }
    Ok(kept)
}

/// Takes the cards of all parties over from the grants, so that this device can reach them.
fn contacts(core: &mut Core, view: &View) -> Result<(), ApiError> {
    let cards: Vec<_> =
        view.grants.values().filter_map(|grant| Some(grant.card.clone()?.verify().ok()?).filter(|card| card.profile.party == grant.party)).collect();
    for card in cards {
        core.peers.meet(card, true, None, &core.vault)?;
    }
    Ok(())
}

/// The newest keyring that the words open.
fn find_keyring(core: &Core, id: &LedgerId, words: &RecoveryWords) -> Result<KeyringKey, ApiError> {
    let ledger = core.ledger(id)?;
    let recovery = Identity::from_seed(&words.recovery_seed());
    let decided = ledger.decided_charter();
    let (lane, wanted) = (decided.keyring_lane, &decided.keyring);
    let keyrings = ledger.entries(&lane).filter(|entry| ledger.is_listed(&entry.author())).filter_map(|entry| {
        let body = open(entry.body.as_ref()?, &recovery).ok()?;
        decode::<KeyBody>(&body).ok()?.keyring.filter(|keyring| crate::charter::keyring_lane(&keyring.secret) == lane)
    });
    // The one that was decided on; where that has not come here, the newest that the words open.
    let mut found = None;
    for keyring in keyrings {
        let in_force = |keyring: &KeyringKey| Identity::from_seed(keyring.identity.expose()).recipient() == wanted;
        if !found.as_ref().is_some_and(in_force) || in_force(&keyring) {
            found = Some(keyring);
        }
    }
    found.ok_or_else(|| ApiError::failed("the keyring could not be opened with these words").advise("check the words; another custodian may have a newer copy"))
}

/// Every lane and epoch identity that can be read, and a new one for each circle.
fn held_keys(ledger: &Ledger, view: &View) -> Vec<LaneKey> {
    let mut keys = Vec::new();
    for (lane, purpose) in &view.lanes {
        if let Purpose::Circle(party) = purpose {
            // The lost device knows those that were: a new one comes last, and is sealed to from now on.
            let old: Vec<Seed> = view.circle_identities(lane).map(|identity| Seed::new(*identity.expose_seed())).collect();
            let old = old.into_iter().rev().take(MOST_IDENTITIES).rev();
            keys.extend(old.chain([seed()]).map(|identity| LaneKey { lane: *lane, epoch: None, purpose: party.to_string(), identity }));
        }
    }
    for (epoch, identity) in &view.epochs {
        let Some(lane) = ledger.get(epoch).map(|entry| entry.header.lane) else { continue };
        let Some(Purpose::Catalog(compartment)) = view.lanes.get(&lane) else { continue };
        keys.push(LaneKey { lane, epoch: Some(*epoch), purpose: compartment.to_string(), identity: Seed::new(*identity.expose_seed()) });
    }
    keys
}

#[cfg(test)]
mod tests;
