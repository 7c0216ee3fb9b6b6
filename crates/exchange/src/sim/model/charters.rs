//! Which charter version is in force, and which are the last ones of its rivals.

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_identity::{AuthorKey, CharterHash};
use chartmesh_ledger::Charter;

/// The version in force, and the last versions under which something may stand: several while it is contested.
pub(super) fn in_force(charters: &BTreeMap<CharterHash, &Charter>) -> (Charter, Vec<Charter>) {
    let first = charters.iter().find(|(_, charter)| charter.version == 0).map(|(hash, _)| *hash).expect("a ledger begins with a version 0");
    let mut last = first;
    // As long as one follows, that one.
    loop {
        match rivals(charters, &last).as_slice() {
            [] => return (charters[&last].clone(), vec![charters[&last].clone()]),
            [next] => last = *next,
            several => {
                let mut ends = Vec::new();
                several.iter().for_each(|rival| follow(charters, rival, &mut ends));
                return (charters[&last].clone(), ends);
            }
        }
    }
}

/// Everybody whom a version that is not void lists as a device.
pub(super) fn devices(charters: &BTreeMap<CharterHash, &Charter>) -> BTreeSet<AuthorKey> {
    let mut devices = BTreeSet::new();
    let mut kept: Vec<CharterHash> = charters.iter().filter(|(_, charter)| charter.version == 0).map(|(hash, _)| *hash).collect();
    while let Some(version) = kept.pop() {
        devices.extend(charters[&version].devices.iter().map(|device| device.key));
        kept.extend(rivals(charters, &version));
    }
    devices
}

fn follow(charters: &BTreeMap<CharterHash, &Charter>, version: &CharterHash, ends: &mut Vec<Charter>) {
    let next = rivals(charters, version);
    if next.is_empty() {
        ends.push(charters[version].clone());
    }
    next.iter().for_each(|rival| follow(charters, rival, ends));
}

/// Those that follow a version and are not void: of the lowest rank number among them; of rank 0 one alone.
fn rivals(charters: &BTreeMap<CharterHash, &Charter>, version: &CharterHash) -> Vec<CharterHash> {
    let roots = &charters[version].roots;
    let rank = |charter: &Charter| roots.iter().find(|root| root.key == charter.signer).map(|root| root.rank);
    let following = || charters.iter().filter(|(_, charter)| charter.prev == Some(*version));
    let Some(lowest) = following().filter_map(|(_, charter)| rank(charter)).min() else { return Vec::new() };
    let mut rivals: Vec<CharterHash> = following().filter(|(_, charter)| rank(charter) == Some(lowest)).map(|(hash, _)| *hash).collect();
    rivals.sort_unstable();
    if lowest == 0 {
        rivals.truncate(1);
    }
    rivals
}
