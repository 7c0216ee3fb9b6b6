//! Whether every sealed document that should be here is: its bytes those that it is named for, known to the database, and, where this node can open it, what its entry says.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use chartmesh_identity::{BlobHash, EntryHash, LedgerId};
use chartmesh_records::read_bundle;
use chartmesh_sealing::wiped;

use crate::{
    api::{ApiError, DoctorInfo},
    core::Core,
    home::Home,
    net::{file_of, files, is_unfinished, unreadable},
    node::Node,
    reading::Opener,
};

const AGAIN: &str = "its content cannot be shown; the patient's devices and custodians supply it again";
const MENDS: &str = "`chartmesh doctor --repair`, best while a device or custodian of the patient runs";
const DATABASE: &str = "the documents are there, and it is made anew from them";

/// What has to be mended.
#[derive(Default)]
pub(super) struct Found {
    /// Missing or damaged.
    pub(super) bad: BTreeSet<BlobHash>,
    /// The database does not say what is there.
    pub(super) database: bool,
}

/// What a document is called in a finding.
pub(super) fn called(blob: &BlobHash) -> String {
    format!("document {blob}")
}

/// Every document that should be here, with what it takes to open it where this node can.
fn wanted(core: &Core) -> BTreeMap<BlobHash, Vec<(LedgerId, EntryHash)>> {
    let mut wanted: BTreeMap<BlobHash, Vec<(LedgerId, EntryHash)>> = BTreeMap::new();
    for (publish, blob) in &core.delivered {
        let withdrawn = |ledger: &chartmesh_ledger::Ledger| {
            let state = ledger.get(publish).and_then(|entry| ledger.lane(&entry.header.lane).publishes.get(publish));
            state.is_some_and(|state| state.withdrawn.get(blob) == Some(&true))
        };
        if core.replica.ledgers.values().any(withdrawn) {
            continue;
        }
        let places = wanted.entry(*blob).or_default();
        places.extend(core.replica.ledgers.keys().filter(|id| core.opener(id, publish, blob).is_ok()).map(|id| (*id, *publish)));
    }
    wanted
}

/// Whether bytes are what their entry says, all the way down to the resources.
fn holds(opener: &Opener, bytes: &[u8]) -> Result<(), String> {
    let opened = opener.open(bytes).map_err(|error| error.what)?;
    let expected = opener.resources();
    if expected.is_empty() {
        return Ok(());
    }
    let resources = read_bundle(&opened.content).map_err(|error| error.to_string())?;
    let same = resources.len() == expected.len() && resources.iter().zip(expected).all(|(bytes, hash)| *blake3::hash(bytes).as_bytes() == hash);
    if same { Ok(()) } else { Err("it does not hold what its manifest says".to_owned()) }
}

fn check_one(core: &Core, blob: &BlobHash, places: &[(LedgerId, EntryHash)], bytes: &[u8], info: &mut DoctorInfo) -> bool {
    if BlobHash::of(bytes) != *blob {
        info.note(called(blob), "its bytes are not those that it is named for", AGAIN, Some(MENDS));
        return false;
    }
    info.documents += 1;
    let mut opened = false;
    for (id, publish) in places {
        // A document that never was what it should be is quarantined where it is shown; it is not damaged.
        opened |= core.opener(id, publish, blob).is_ok_and(|opener| wiped(|| holds(&opener, bytes)).is_ok());
    }
    info.opened += u64::from(opened);
    true
}

/// Looks at the documents of a closed home.
pub(super) async fn look(home: &Home, scratch: &Path, core: &Core, info: &mut DoctorInfo) -> Result<Found, ApiError> {
    let dir = home.blobs();
    let wanted = wanted(core);
    let mut found = Found::default();
    for (blob, places) in &wanted {
        let sound = match std::fs::read(file_of(&dir, blob)) {
            Ok(bytes) => check_one(core, blob, places, &bytes, info),
            Err(error) => {
                info.note(called(blob), format!("its file cannot be read: {error}"), AGAIN, Some(MENDS));
                false
            }
        };
        if !sound {
            found.bad.insert(*blob);
        }
    }
    let sound: Vec<BlobHash> = wanted.keys().filter(|blob| !found.bad.contains(blob)).copied().collect();
    // One whose making was cut off is made again when the node starts.
    let is_made = dir.join("blobs.db").exists() && !is_unfinished(&dir).map_err(ApiError::failed)?;
    if !sound.is_empty() || is_made {
        let problem = match unreadable(&dir, scratch, &sound).await {
            Ok(unreadable) if unreadable.is_empty() => None,
            Ok(unreadable) => Some(format!("it does not lead to {} documents that are there", unreadable.len())),
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = problem {
            found.database = true;
            info.note("blobs/blobs.db", problem, DATABASE, Some("`chartmesh doctor --repair`"));
        }
    }
    Ok(found)
}

/// Looks at the documents of a running node, through its store. Those that are damaged.
pub(super) async fn look_running(node: &Node, info: &mut DoctorInfo) -> Result<BTreeSet<BlobHash>, ApiError> {
    let mut bad = BTreeSet::new();
    let wanted = node.with(|core| wanted(core));
    for (blob, places) in wanted {
        match node.0.blobs.get(&blob).await {
            Ok(Some(bytes)) => {
                if !node.with(|core| check_one(core, &blob, &places, &bytes, info)) {
                    bad.insert(blob);
                }
            }
            // It may have been withdrawn meanwhile.
            Ok(None) | Err(_) if !node.with(|core| core.delivered.iter().any(|(_, delivered)| *delivered == blob)) => {}
            Ok(None) => {
                info.note(called(&blob), "it is not there", AGAIN, Some(MENDS));
                bad.insert(blob);
            }
            Err(error) => {
                info.note(called(&blob), error.to_string(), AGAIN, Some(MENDS));
                bad.insert(blob);
            }
        }
    }
    Ok(bad)
}

/// All that can be said of documents without keys: whether their bytes are those that they are named for.
pub(super) fn check_files(dir: &Path, info: &mut DoctorInfo) {
    let Ok(all) = files(dir) else { return };
    for blob in all {
        match std::fs::read(file_of(dir, &blob)) {
            Ok(bytes) if BlobHash::of(&bytes) == blob => info.documents += 1,
            _ => info.note(called(&blob), "its bytes are not those that it is named for, or it had not come in full", AGAIN, None),
        }
    }
}
