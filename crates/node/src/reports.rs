//! What the ledgers say: the log, its verification, exports, and who opened what.

use std::collections::BTreeMap;

use chartmesh_identity::{LedgerId, Signed, from_canonical, to_canonical};
use chartmesh_ledger::{Action, CertCache, Charter, Entry, Ledger, RawEntry, Use, Verdict};
use chartmesh_vault::Bodies;
use serde::{Deserialize, Serialize};

use crate::{
    api::{ApiError, AuditInfo, LogInfo, VerifyInfo},
    core::Core,
    node::Node,
    time,
    view::Purpose,
    write::{Parts, Writer, seal_body},
};

/// A ledger as a file: signed objects only, so that a stranger can check it (schemas/chartmesh.cddl, `ledger-file`).
#[derive(Serialize, Deserialize)]
struct LedgerFile {
    format: String,
    charters: Vec<Signed<Charter>>,
    entries: Vec<RawEntry>,
}

const FORMAT: &str = "chartmesh-ledger/1";

impl Node {
    /// The entries of the ledgers held.
    pub(crate) fn ledger_log(&self, patient: Option<&str>) -> Result<Vec<LogInfo>, ApiError> {
        self.with(|core| {
            let mut log = Vec::new();
            for id in core.chosen(patient)? {
                log.extend(core.log(&id)?);
            }
            log.sort_by(|a, b| (&a.time, &a.lane, a.seq, &a.entry).cmp(&(&b.time, &b.lane, b.seq, &b.entry)));
            Ok(log)
        })
    }

    /// Checks signatures, links, rules and forks of the ledgers as they are stored.
    pub(crate) fn ledger_verify(&self) -> Result<VerifyInfo, ApiError> {
        let mut info = VerifyInfo { ok: true, ledgers: 0, charters: 0, entries: 0, forks: Vec::new(), problems: Vec::new() };
        self.with(|core| {
            for id in core.replica.ledgers.keys() {
                match core.vault.load_ledger(id, Bodies::Read) {
                    Ok(stored) => verify(stored.charters, stored.entries, &mut info),
                    Err(error) => info.problems.push(format!("ledger {}: {error}", id.short())),
                }
            }
        });
        info.ok = info.problems.is_empty() && info.forks.is_empty();
        Ok(info)
    }

    /// A ledger as a file.
    pub(crate) fn ledger_export(&self, patient: Option<&str>) -> Result<Vec<u8>, ApiError> {
        self.with(|core| {
            core.check()?;
            let id = core.find_patient(patient)?;
            let ledger = core.ledger(&id)?;
            let entries = ledger.lanes().flat_map(|lane| ledger.entries(lane)).map(Entry::to_raw).collect();
            Ok(to_canonical(&LedgerFile { format: FORMAT.to_owned(), charters: ledger.charters().cloned().collect(), entries }))
        })
    }

    /// Who opened what, when, what for.
    pub(crate) fn audit(&self, patient: Option<&str>) -> Result<Vec<AuditInfo>, ApiError> {
        self.with(|core| {
            let mut audit = Vec::new();
            for id in core.chosen(patient)? {
                let patient_name = core.other_patient(&id);
                let (ledger, view) = core.open(&id)?;
                for lane in ledger.lanes() {
                    for receipt in &ledger.lane(lane).receipts {
                        let Some(body) = view.receipts.get(&receipt.entry) else { continue };
                        let revoked = ledger.lane(lane).grants.get(&receipt.grant).and_then(|grant| grant.revoked.as_ref()).map(|revoked| revoked.time);
                        let before = revoked.is_some_and(|revoked| body.time < revoked);
                        audit.push(AuditInfo {
                            time: time::instant(body.time),
                            patient: id,
                            patient_name: patient_name.clone(),
                            party: core.party_name(&id, &receipt.party),
                            who: body.who.clone(),
                            what: body.what.clone(),
                            purpose: body.purpose.clone(),
                            grant: receipt.grant,
                            after_withdrawal: receipt.late && !before,
                            told_late: receipt.late && before,
                        });
                    }
                }
            }
            audit.sort_by(|a, b| (&a.time, &a.party, &a.what).cmp(&(&b.time, &b.party, &b.what)));
            Ok(audit)
        })
    }
}

impl Core {
    fn chosen(&self, patient: Option<&str>) -> Result<Vec<LedgerId>, ApiError> {
        match patient {
            Some(_) => Ok(vec![self.find_patient(patient)?]),
            None => Ok(self.replica.ledgers.keys().copied().collect()),
        }
    }

    fn log(&self, id: &LedgerId) -> Result<Vec<LogInfo>, ApiError> {
        let (ledger, view) = self.open(id)?;
        let patient_name = self.other_patient(id);
        let mut log = Vec::new();
        for lane in ledger.lanes() {
            let name = match view.lanes.get(lane) {
                Some(Purpose::Keyring) => "keyring".to_owned(),
                Some(Purpose::Circle(party)) => format!("circle of {}", self.party_name(id, party)),
                Some(Purpose::Catalog(compartment)) => format!("catalog {compartment}"),
                None if *lane == ledger.charter().keyring_lane => "keyring".to_owned(),
                None => lane.to_string(),
            };
            let state = ledger.lane(lane);
            log.extend(ledger.entries(lane).map(|entry| LogInfo {
                entry: entry.hash().to_string(),
                patient: *id,
                patient_name: patient_name.clone(),
                lane: name.clone(),
                author: self.author_name(id, &entry.author(), &entry.party()),
                seq: entry.header.seq,
                time: time::instant(entry.header.time),
                action: action(&entry.header.action),
                verdict: verdict(state.verdicts.get(&entry.hash())),
            }));
        }
        Ok(log)
    }

    /// A party's word, in its circles, that it has heard of a Revoke and serves nothing of it.
    pub(crate) fn confirm_revocations(&mut self) -> Result<(), ApiError> {
        let own = self.keys.party();
        let mut due: BTreeMap<LedgerId, Vec<_>> = BTreeMap::new();
        for (id, member) in &self.memberships {
            let state = self.ledger(id)?.lane(&member.circle);
            for (grant, state) in state.grants.iter().filter(|(_, state)| state.party == own) {
                let Some(revoked) = &state.revoked else { continue };
                let author = self.keys.author();
                if !state.confirms.iter().any(|confirm| confirm.revoke == revoked.entry && confirm.author == author) {
                    due.entry(*id).or_default().push((member.circle, *grant, revoked.entry));
                }
            }
        }
        due.retain(|id, confirms| self.may_sign(id).is_ok() && confirms.iter().all(|(circle, ..)| !self.lacks_own(id, |lane| lane == circle)));
        for (id, confirms) in due {
            let body = chartmesh_ledger::ConfirmBody { node: self.keys.name.clone(), purged: false };
            let mut sealed = Vec::new();
            for (circle, grant, revoke) in confirms {
                let (_, view) = self.open(&id)?;
                let Some(identity) = view.circle_identity(&circle) else { continue };
                sealed.push((circle, grant, revoke, seal_body(&body, identity.recipient())?));
            }
            let mut writer = Writer::new(self, id)?;
            for (circle, grant, revoke, body) in sealed {
                let parts = Parts { uses: Some(Use::Grant(grant)), body: Some(body), ..Parts::default() };
                writer.entry(circle, Action::Confirm { revoke }, parts)?;
            }
            writer.commit()?;
        }
        Ok(())
    }
}

/// Checks an exported ledger. Needs no home: anybody can.
pub fn verify_ledger_file(bytes: &[u8]) -> VerifyInfo {
    let mut info = VerifyInfo { ok: true, ledgers: 0, charters: 0, entries: 0, forks: Vec::new(), problems: Vec::new() };
    verify_file(bytes, &mut info);
    info.ok = info.problems.is_empty() && info.forks.is_empty();
    info
}

fn verify_file(bytes: &[u8], info: &mut VerifyInfo) {
    match from_canonical::<LedgerFile>(bytes) {
        Ok(file) if file.format == FORMAT => verify(file.charters, file.entries, info),
        Ok(_) => info.problems.push("the file is a ledger of another version".to_owned()),
        Err(error) => info.problems.push(format!("the file is not a ledger: {error}")),
    }
}

fn verify(charters: Vec<Signed<Charter>>, entries: Vec<RawEntry>, info: &mut VerifyInfo) {
    info.ledgers += 1;
    let mut charters = charters.into_iter();
    let Some(genesis) = charters.next() else {
        info.problems.push("a ledger without a charter".to_owned());
        return;
    };
    let mut ledger = match Ledger::begin(genesis) {
        Ok(ledger) => ledger,
        Err(error) => {
            info.problems.push(format!("the first charter: {error}"));
            return;
        }
    };
    info.charters += 1;
    for charter in charters {
        match ledger.add_charter(charter) {
            Ok(_) => info.charters += 1,
            Err(error) => info.problems.push(format!("ledger {}: {error}", ledger.id().short())),
        }
    }
    let mut certs = CertCache::new();
    let mut sound = Vec::new();
    for (index, raw) in entries.into_iter().enumerate() {
        match Entry::read_with(raw, &mut certs) {
            Ok(entry) => sound.push(entry),
            Err(error) => info.problems.push(format!("entry {index} of ledger {}: {error}", ledger.id().short())),
        }
    }
    let outcome = ledger.add_all(sound);
    info.entries += outcome.added.len() as u64;
    info.problems.extend(outcome.refused.iter().map(|(entry, why)| format!("entry {}: {why}", entry.short())));
    if ledger.contested() {
        info.problems.push(format!("ledger {}: rival charters are signed by roots of one rank", ledger.id().short()));
    }
    for proof in ledger.forks() {
        info.forks.push(match proof.verify() {
            Ok(fork) => format!("author {} signed entry {} of lane {} twice", fork.author.short(), fork.seq, fork.lane.short()),
            Err(error) => format!("a fork whose proof does not verify: {error}"),
        });
    }
}

/// An action in plain words.
fn action(action: &Action) -> String {
    match action {
        Action::Key {} => "stores keys".to_owned(),
        Action::Grant { id, .. } => format!("grants {}", id.short()),
        Action::Envelope { grant, epochs, documents, catalogs } => {
            let (compartments, documents) = (counted(epochs.len(), "compartment"), counted(documents.len(), "document"));
            format!("hands over keys under {}: {compartments}, {documents}, {} to write in", grant.short(), catalogs.len())
        }
        Action::Revoke { grant, .. } => format!("revokes {}", grant.short()),
        Action::Receipt { grant, n } => format!("receipt {n} under {}", grant.short()),
        Action::Confirm { revoke } => format!("confirms revocation {}", revoke.short()),
        Action::Request {} => "asks for access".to_owned(),
        Action::Admit { id, .. } => format!("admits writer {}", id.short()),
        Action::Bar { id, .. } => format!("bars {}", id.short()),
        Action::Epoch { supersedes, .. } => format!("new epoch, superseding {}", supersedes.len()),
        Action::Publish { documents } => format!("publishes {}", counted(documents.len(), "document")),
        Action::Withdraw { documents, erase, .. } => format!(
            "withdraws {}{}",
            if documents.is_empty() { "all documents".to_owned() } else { counted(documents.len(), "document") },
            if *erase { ", to be erased" } else { "" }
        ),
        Action::Unknown { code, .. } => format!("unknown action {code}"),
    }
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn verdict(verdict: Option<&Verdict>) -> String {
    match verdict {
        Some(Verdict::Stands) => "stands".to_owned(),
        Some(Verdict::Stale) => "stale".to_owned(),
        Some(Verdict::Void(why)) => format!("void: {why:?}").to_lowercase(),
        Some(Verdict::NoEffect) | None => "no effect".to_owned(),
    }
}
