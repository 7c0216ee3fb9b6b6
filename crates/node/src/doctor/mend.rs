//! Mending a home: what is held twice is made again from the other, what peers can supply is taken out and fetched, what nobody has is named.
//!
//! Nothing is destroyed: vault, database and documents that are taken out go to a directory `damaged` of the home, which nothing reads.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use chartmesh_identity::{BlobHash, EntryHash, SigningSecret};
use zeroize::Zeroizing;

use super::{DAMAGED, Examined, LOST, Opened, REPAIRED, documents, examine, tables};
use crate::{
    api::{ApiError, DoctorInfo},
    core::Core,
    home::Home,
    net::{Blobs, file_of, files},
    node::Node,
    recover::wait_for,
    running::CALL_WAIT,
};

/// How long peers may take to supply what is missing.
const FETCH_WAIT: Duration = Duration::from_secs(60);
/// How long after that the rest may take.
const LAST_WAIT: Duration = Duration::from_secs(10);
const NOBODY: &str = "nobody who was reached could supply it: run `chartmesh sync` while a device or custodian of the patient runs; what a provider lost that it had published, the \
patient has; what only this home held, only its source or a backup has";

fn again(error: &ApiError) -> String {
    format!("{error}; run `chartmesh doctor --repair` again when they run")
}

fn wrong(path: &Path) -> impl Fn(io::Error) -> ApiError {
    move |error| ApiError::failed(format_args!("{}: {error}", path.display()))
}

/// Mends what an examination has found.
pub(super) async fn mend(home: &Home, passphrase: Option<&Zeroizing<String>>, examined: Examined) -> Result<DoctorInfo, ApiError> {
    let Examined { mut info, open } = examined;
    let Some(Opened { core, at_rest, vault, whole, incomplete, documents: found, scratch }) = open else { return Ok(info) };
    let checkup = at_rest.check();
    let keep = free(home);
    // The second vault has to be closed to be moved.
    drop(core);
    if vault {
        let replaced = at_rest.replace(scratch.path(), &keep);
        drop(replaced.map_err(|error| ApiError::failed(format_args!("{}: {error}", home.path().display())))?);
    } else {
        drop(at_rest);
    }
    drop(scratch);
    take_out(home, &found, &keep).await?;
    let node = Node::open(home, passphrase).await?;
    let asked = supply(&node, incomplete).await;
    let missing: BTreeSet<BlobHash> = node.with(|core| core.missing().iter().map(|one| one.blob).collect());
    if incomplete && asked.is_ok() {
        node.with(Core::is_complete_again)?;
    }
    let stopped = node.stop().await;
    drop(node);
    stopped?;
    let after = Box::pin(examine(home, passphrase)).await?.info;
    let still: BTreeSet<&str> = after.findings.iter().map(|finding| finding.object.as_str()).collect();
    let gone: BTreeSet<String> = missing.iter().map(documents::called).collect();
    let lost: BTreeSet<&str> =
        checkup.damage.iter().filter(|damage| !whole && incomplete && tables::is_final(damage)).map(|damage| damage.object.as_str()).collect();
    for finding in &mut info.findings {
        if still.contains(finding.object.as_str()) || finding.state == LOST {
            if let (DAMAGED, Err(error)) = (finding.state.as_str(), &asked) {
                finding.advice = Some(again(error));
            }
            continue;
        }
        if gone.contains(&finding.object) {
            (finding.state, finding.advice) = (LOST.into(), Some(NOBODY.into()));
        } else if lost.contains(finding.object.as_str()) {
            let advice = "look through `chartmesh peer list` and `chartmesh status`; add contacts again, and ask patients for their invitations again (`consent invitation`)";
            (finding.state, finding.advice) = (LOST.into(), Some(advice.into()));
        } else if let (true, Err(error)) = (incomplete, &asked)
            && finding.object != "blobs/blobs.db"
        {
            (finding.state, finding.advice) = (LOST.into(), Some(again(error)));
        } else {
            (finding.state, finding.advice) = (REPAIRED.into(), None);
        }
    }
    let known: BTreeSet<String> = info.findings.iter().map(|finding| finding.object.clone()).collect();
    info.findings.extend(after.findings.into_iter().filter(|finding| !known.contains(&finding.object)));
    let DoctorInfo { values, ledgers, charters, entries, documents, opened, .. } = after;
    let kept = keep.exists().then_some(keep);
    Ok(DoctorInfo { values, ledgers, charters, entries, documents, opened, kept, ..info }.judged())
}

/// A directory for what is taken out, which is not there yet.
fn free(home: &Home) -> PathBuf {
    let name = |n: u32| home.path().join(if n == 1 { DAMAGED.to_owned() } else { format!("{DAMAGED}-{n}") });
    (1..).map(name).find(|path| !path.exists()).unwrap_or_else(|| home.path().join(DAMAGED))
}

fn make(keep: &Path) -> Result<(), ApiError> {
    let mut builder = fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700).create(keep).map_err(wrong(keep))
}

/// Takes damaged documents out of the store, and makes its database anew if that is damaged.
async fn take_out(home: &Home, found: &documents::Found, keep: &Path) -> Result<(), ApiError> {
    let dir = home.blobs();
    for blob in &found.bad {
        let file = file_of(&dir, blob);
        if file.exists() {
            make(keep)?;
            fs::copy(&file, keep.join(file.file_name().unwrap_or_default())).map_err(wrong(&file))?;
        }
    }
    if found.database {
        return rebuild(home, &found.bad, keep).await;
    }
    if !found.bad.is_empty() {
        let blobs = Blobs::open(&dir).await.map_err(ApiError::failed)?;
        let bad: Vec<BlobHash> = found.bad.iter().copied().collect();
        blobs.delete(&bad).await.map_err(ApiError::failed)?;
        blobs.shutdown().await.map_err(ApiError::failed)?;
    }
    Ok(())
}

fn beside(home: &Home) -> (PathBuf, PathBuf) {
    (home.path().join("blobs.new"), home.path().join("blobs.old"))
}

/// Makes a new store of all documents that are what they are named for.
async fn rebuild(home: &Home, bad: &BTreeSet<BlobHash>, keep: &Path) -> Result<(), ApiError> {
    let dir = home.blobs();
    let (new, old) = beside(home);
    let blobs = Blobs::open(&new).await.map_err(ApiError::failed)?;
    for blob in files(&dir).map_err(wrong(&dir))?.difference(bad) {
        let file = file_of(&dir, blob);
        let bytes = fs::read(&file).map_err(wrong(&file))?;
        if BlobHash::of(&bytes) == *blob {
            blobs.put(bytes).await.map_err(ApiError::failed)?;
        }
    }
    blobs.shutdown().await.map_err(ApiError::failed)?;
    make(keep)?;
    let database = dir.join("blobs.db");
    if database.exists() {
        fs::copy(&database, keep.join("blobs.db")).map_err(wrong(&database))?;
    }
    fs::rename(&dir, &old).and_then(|()| fs::rename(&new, &dir)).map_err(wrong(&dir))?;
    fs::remove_dir_all(&old).map_err(wrong(&old))
}

/// Finishes or clears away what an interrupted repair left.
pub(super) fn finish(home: &Home) -> Result<(), ApiError> {
    let (new, old) = beside(home);
    if old.exists() && !home.blobs().exists() {
        fs::rename(&old, home.blobs()).map_err(wrong(&old))?;
    }
    for left in [new, old] {
        match fs::remove_dir_all(&left) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(wrong(&left)(error)),
            _ => {}
        }
    }
    Ok(())
}

/// Asks everybody for what is missing.
async fn supply(node: &Node, incomplete: bool) -> Result<(), ApiError> {
    if !incomplete && node.with(|core| core.missing().is_empty()) {
        return Ok(());
    }
    node.start_network(None, false).await?;
    let claimed = claim(node).await;
    let net = node.net().await.ok_or_else(|| ApiError::failed("the network was stopped"))?;
    let synced = node.exchange_all(&net, Instant::now() + FETCH_WAIT).await.and_then(|info| node.with(|core| core.has_asked(&info)));
    // A session may have nothing left to give and still owe bodies that it was asked for, and what is in them may name more.
    let all = |core: &Core| core.missing().is_empty() && core.replica.bodiless.values().all(BTreeSet::is_empty);
    let _ = wait_for(node, Instant::now() + LAST_WAIT, |core| all(core).then_some(Ok(()))).await;
    claimed.and(synced)
}

/// A patient's device that has lost its charter gets it as a new one would: by showing that it holds a root of it.
async fn claim(node: &Node) -> Result<(), ApiError> {
    let root = node.with(|core| {
        let patient = core.keys.patient.as_ref().filter(|patient| !core.replica.ledgers.contains_key(&patient.ledger))?;
        Some((patient.ledger, Zeroizing::new(*patient.root.expose_seed())))
    });
    let Some((ledger, root)) = root else { return Ok(()) };
    let net = node.net().await.ok_or_else(|| ApiError::failed("the network was stopped"))?;
    let own = node.with(|core| core.replica.me.card.signed().clone());
    let holds = |core: &Core| core.replica.ledgers.contains_key(&ledger);
    let mut result = Err(ApiError::unreachable("nobody gave the patient's charter").advise("a custodian must be running `chartmesh serve`"));
    for route in node.callable().into_iter().flat_map(|(_, routes)| routes) {
        let Ok(link) = net.connect(&route, CALL_WAIT).await else { continue };
        let session = node.take_link(link, Some((SigningSecret::from_seed(&root), own.clone())));
        let done = |core: &Core| core.sessions.current(session, &route.endpoint).is_none_or(|slot| slot.settled).then_some(Ok(()));
        // Whoever does not answer in time is not the one.
        let _ = wait_for(node, Instant::now() + FETCH_WAIT, done).await;
        if node.with(|core| holds(core)) {
            result = Ok(());
            break;
        }
    }
    result
}

/// Takes damaged documents out of a running node and waits until they have come again.
pub(super) async fn fetch_again(node: &Node, bad: &BTreeSet<BlobHash>, info: &mut DoctorInfo) -> Result<(), ApiError> {
    let keep = free(&node.0.home);
    for blob in bad {
        let file = file_of(&node.0.home.blobs(), blob);
        if file.exists() {
            make(&keep)?;
            fs::copy(&file, keep.join(file.file_name().unwrap_or_default())).map_err(wrong(&file))?;
            info.kept = Some(keep.clone());
        }
    }
    node.0.blobs.delete(&bad.iter().copied().collect::<Vec<_>>()).await.map_err(ApiError::failed)?;
    node.with(|core| {
        let marks: BTreeSet<(EntryHash, BlobHash)> = core.delivered.iter().filter(|(_, blob)| bad.contains(blob)).copied().collect();
        core.unmark(&marks)?;
        core.tell_pending();
        Ok::<_, ApiError>(())
    })?;
    node.0.signals.sources.notify_one();
    let left = |core: &Core| core.missing().iter().map(|one| one.blob).filter(|blob| bad.contains(blob)).collect::<BTreeSet<_>>();
    // What has not come by then is lost for now, and said to be.
    let _ = wait_for(node, Instant::now() + FETCH_WAIT, |core| left(core).is_empty().then_some(Ok(()))).await;
    let left: BTreeSet<String> = node.with(|core| left(core)).iter().map(documents::called).collect();
    let was: BTreeSet<String> = bad.iter().map(documents::called).collect();
    for finding in info.findings.iter_mut().filter(|finding| was.contains(&finding.object)) {
        let lost = left.contains(&finding.object);
        (finding.state, finding.advice) = if lost { (LOST.into(), Some(NOBODY.into())) } else { (REPAIRED.into(), None) };
    }
    info.documents += (bad.len() - left.len()) as u64;
    Ok(())
}
