//! What this node holds and can show: lists, single resources byte for byte, exports. A party's node writes a receipt into the patient's ledger before it shows anything.

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_consent::{Terms, purpose};
use chartmesh_identity::{AuthorKey, BlobHash, EntryHash, GrantId, LedgerId};
use chartmesh_ledger::{Action, ReceiptBody, Use};
use chartmesh_records::{Coding, Compartment, ResourceFacts, ResourceKey, Typed, read_bundle, supersedes};
use chartmesh_sealing::{Expected, FileKey, Identity, Key, MAX_CONTENT, MAX_SEALED, OpenedDocument, open_document, wiped};

use crate::{
    api::{ApiError, RecordInfo, ShownInfo, VersionInfo},
    core::Core,
    manifest::Manifest,
    node::Node,
    time,
    view::{Document, Purpose},
    write::{Parts, Writer, seal_body},
};

/// So many bytes of names are in one receipt.
const RECEIPT_BYTES: usize = 4 << 20;
/// A longer name of a record is cut, in bytes.
const MOST_OF_A_NAME: usize = 1024;

/// A resource that is known of, and the document that it is in.
pub(crate) struct Held<'a> {
    pub(crate) facts: ResourceFacts,
    /// Which compartment its author meant it for.
    pub(crate) compartment: Compartment,
    /// Its place in the document's Bundle.
    pub(crate) index: usize,
    /// The document that it is in, or those that hold its parts, in their order.
    pub(crate) places: Vec<(EntryHash, BlobHash)>,
    pub(crate) in_parts: bool,
    pub(crate) author: AuthorKey,
    pub(crate) author_name: &'a str,
    /// Unix seconds, by the author's clock.
    pub(crate) time: i64,
    pub(crate) state: State,
    /// A newer version by somebody who may supersede it is held.
    pub(crate) superseded: bool,
    /// Not in the inbox, where a party's word stands unchecked.
    pub(crate) filed: bool,
}

impl Held<'_> {
    /// What makes it the same as another copy.
    pub(crate) fn version(&self) -> Version {
        Version { author: self.author, key: self.facts.key(), hash: self.facts.hash }
    }

    /// What the API says of it as one of several versions.
    fn info(&self) -> Option<VersionInfo> {
        Some(VersionInfo {
            document: self.places.first()?.1,
            author: self.author_name.to_owned(),
            published: time::instant(self.time),
            superseded: self.superseded,
        })
    }
}

/// One version of a resource, whatever documents it is in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) author: AuthorKey,
    pub(crate) key: ResourceKey,
    pub(crate) hash: [u8; 32],
}

/// Which of several copies is best: readable, whole, least sensitive.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank(State, bool, Compartment);

/// What can be done with a resource or document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// Here, and opens.
    Readable,
    /// Not here, or not to be opened.
    Locked,
    /// Published without authority: kept for the patient to look at, never shown as good.
    Quarantined,
}

impl State {
    fn word(self) -> String {
        match self {
            Self::Readable => "readable",
            Self::Locked => "locked",
            Self::Quarantined => "quarantined",
        }
        .to_owned()
    }
}

/// Where a resource's bytes come from, taken out from under the lock.
enum Source {
    /// The entry at this place of a document's Bundle.
    Bundle(EntryHash, BlobHash, usize),
    Parts(Vec<(EntryHash, BlobHash)>),
}

impl Source {
    fn of(held: &Held<'_>) -> Self {
        match held.places.as_slice() {
            [(publish, blob)] if !held.in_parts => Self::Bundle(*publish, *blob, held.index),
            parts => Self::Parts(parts.to_vec()),
        }
    }
}

/// A document's key, taken out from under the lock.
enum OwnKey {
    Identity(Identity),
    File(FileKey),
}

impl Core {
    /// Every resource that is known of in a ledger, each version once: of copies, the one that is best to open.
    pub(crate) fn resources(&self, id: &LedgerId) -> Result<Vec<Held<'_>>, ApiError> {
        self.resources_like(id, |_| true)
    }

    /// As [`Core::resources`], of those alone that are wanted: all versions of a resource or none.
    fn resources_like(&self, id: &LedgerId, wanted: impl Fn(&ResourceFacts) -> bool) -> Result<Vec<Held<'_>>, ApiError> {
        let (ledger, view) = self.open(id)?;
        let mut best: BTreeMap<Version, (Rank, Held<'_>)> = BTreeMap::new();
        let wholes = self.wholes(id)?;
        let known: BTreeSet<BlobHash> = wholes.iter().flat_map(|whole| &whole.documents).map(Document::blob).collect();
        let inbox = view.catalog(&Compartment::Inbox);
        for whole in &wholes {
            let (document, state) = (whole.first(), whole.state);
            // Whoever has the original needs no extract of it.
            if document.manifest.extract_of.is_some_and(|original| known.contains(&original)) {
                continue;
            }
            for (index, facts) in document.manifest.resources.facts().into_iter().enumerate().filter(|(_, facts)| wanted(facts)) {
                let rank = Rank(state, document.manifest.extract_of.is_some(), facts.compartment());
                let held = Held {
                    facts,
                    compartment: document.manifest.compartment,
                    index,
                    places: whole.places(),
                    in_parts: whole.is_in_parts(),
                    author: document.manifest.author,
                    author_name: &document.manifest.author_name,
                    time: document.manifest.time,
                    state,
                    superseded: false,
                    filed: inbox.is_none() || document.lane != inbox,
                };
                match best.entry(held.version()) {
                    std::collections::btree_map::Entry::Occupied(mut other) if other.get().0 > rank => {
                        other.insert((rank, held));
                    }
                    std::collections::btree_map::Entry::Occupied(_) => {}
                    std::collections::btree_map::Entry::Vacant(vacant) => {
                        vacant.insert((rank, held));
                    }
                }
            }
        }
        let mut all: Vec<Held<'_>> = best.into_values().map(|(_, held)| held).collect();
        let mut versions: BTreeMap<ResourceKey, Vec<usize>> = BTreeMap::new();
        for (index, held) in all.iter().enumerate() {
            versions.entry(held.facts.key()).or_default().push(index);
        }
        let mut old = BTreeSet::new();
        for same in versions.values().filter(|same| same.len() > 1) {
            for a in same {
                let newer = same.iter().any(|b| {
                    let (a, b) = (&all[*a], &all[*b]);
                    let may = b.author == a.author || ledger.is_listed(&b.author);
                    may && b.filed && b.state == State::Readable && supersedes(&b.facts, &a.facts)
                });
                if newer {
                    old.insert(*a);
                }
            }
        }
        for index in old {
            all[index].superseded = true;
        }
        Ok(all)
    }

    /// The resources that count today.
    pub(crate) fn current_resources(&self, id: &LedgerId) -> Result<Vec<Held<'_>>, ApiError> {
        let mut all = self.resources(id)?;
        all.retain(|held| !held.superseded && held.state != State::Quarantined);
        Ok(all)
    }

    pub(crate) fn state(&self, document: &Document<'_>) -> State {
        // What is longer than a document can be does not come.
        if document.quarantined
            || self.bad.contains(&(document.publish, document.blob()))
            || document.manifest.length > MAX_SEALED
            || document.manifest.content_length > MAX_CONTENT
        {
            State::Quarantined
        } else if self.delivered.contains(&(document.publish, document.blob())) {
            State::Readable
        } else {
            State::Locked
        }
    }

    fn list(&self, id: &LedgerId, resource_type: Option<&str>) -> Result<Vec<RecordInfo>, ApiError> {
        let (ledger, view) = self.open(id)?;
        let patient_name = self.other_patient(id);
        let mut records: Vec<RecordInfo> = self
            .resources(id)?
            .into_iter()
            .filter(|held| resource_type.is_none_or(|wanted| held.facts.resource_type == wanted))
            .filter_map(|held| {
                Some(RecordInfo {
                    resource_type: Some(held.facts.resource_type.clone()),
                    id: Some(held.facts.id.clone()),
                    patient: *id,
                    patient_name: patient_name.clone(),
                    category: Some(held.facts.category.to_string()),
                    sensitivity: Some(held.facts.sensitivity().to_string()),
                    sensitivities: held.facts.sensitivities.iter().map(ToString::to_string).collect(),
                    date: held.facts.date.clone(),
                    author: Some(held.author_name.to_owned()),
                    document: held.places.first()?.1,
                    parts: if held.in_parts { held.places.iter().map(|(_, blob)| *blob).collect() } else { Vec::new() },
                    state: held.state.word(),
                    typed: Some(typed(&held.facts.typed).to_owned()),
                    title: held.facts.title.clone(),
                    superseded: held.superseded,
                })
            })
            .collect();
        if resource_type.is_none() {
            let known: BTreeSet<(EntryHash, BlobHash)> = view.documents(ledger).iter().map(|document| (document.publish, document.blob())).collect();
            for lane in ledger.lanes() {
                for (publish, state) in &ledger.lane(lane).publishes {
                    let dark = state.documents.iter().filter(|blob| !known.contains(&(*publish, blob.hash)) && !state.withdrawn.contains_key(&blob.hash));
                    records.extend(dark.map(|blob| RecordInfo {
                        resource_type: None,
                        id: None,
                        patient: *id,
                        patient_name: patient_name.clone(),
                        category: None,
                        sensitivity: None,
                        sensitivities: Vec::new(),
                        date: None,
                        author: None,
                        document: blob.hash,
                        parts: Vec::new(),
                        state: if state.void.is_some() { State::Quarantined.word() } else { State::Locked.word() },
                        typed: None,
                        title: None,
                        superseded: false,
                    }));
                }
            }
        }
        Ok(records)
    }

    /// Under which grant this party reads these resources: one in force that permits them, else the latest that does, else the latest.
    fn reading_grant(&self, id: &LedgerId, facts: &[&ResourceFacts], asked: Option<&Coding>) -> Result<(GrantId, &Terms), ApiError> {
        let (ledger, view) = self.open(id)?;
        let now = time::now();
        let own = view.grants.iter().filter(|(_, open)| open.party == self.keys.party());
        let ranked = own.map(|(grant, open)| {
            let request = crate::duties::read_request(id, &crate::consents::party_reference(&open.party), &open.terms, open.time);
            let permits = facts.iter().all(|facts| matches!(chartmesh_consent::decide(&open.terms, &request, facts), chartmesh_consent::Decision::Permit(_)));
            let live = ledger.lane(&open.circle).grants.get(grant).is_some_and(|state| state.is_live(now));
            let fits = asked.is_none_or(|asked| open.terms.purposes().iter().any(|allowed| purpose::covers(allowed, asked)));
            ((fits, live && permits, permits, live, open.time), *grant, &open.terms)
        });
        let best = ranked.max_by_key(|(rank, grant, _)| (*rank, *grant)).map(|(_, grant, terms)| (grant, terms));
        best.ok_or_else(|| ApiError::refused("no grant of this patient to this node is known").advise("ask the patient for one, then run `chartmesh sync`"))
    }

    /// Writes a receipt, durably, before anything is shown. Nothing for the patient's own device.
    pub(crate) fn receipt(&mut self, id: &LedgerId, what: Vec<String>, facts: &[&ResourceFacts], purpose_word: Option<&str>) -> Result<(), ApiError> {
        if self.is_owner(id) || what.is_empty() {
            return Ok(());
        }
        let asked = purpose_word.map(|word| purpose::parse(word).map_err(|error| ApiError::usage(format_args!("--purpose {word}: {error}")))).transpose()?;
        let (grant, terms) = self.reading_grant(id, facts, asked.as_ref())?;
        let purposes = terms.purposes();
        let purpose = match asked {
            None => purposes.into_iter().next().unwrap_or_else(|| purpose::act_reason(purpose::TREAT)),
            Some(asked) if purposes.iter().any(|allowed| purpose::covers(allowed, &asked)) => asked,
            Some(asked) => {
                return Err(ApiError::refused(format_args!("the patient's consent does not cover {}", purpose::name(&asked)))
                    .advise("`chartmesh consent list` shows what it covers"));
            }
        };
        let (ledger, view) = self.open(id)?;
        let circle = view.grants.get(&grant).map(|open| open.circle).ok_or_else(|| ApiError::failed("an unknown grant"))?;
        let recipient = view.circle_identity(&circle).ok_or_else(|| ApiError::failed("a circle without identity"))?.recipient().clone();
        let own = self.keys.author();
        let first = 1 + ledger.lane(&circle).receipts.iter().filter(|receipt| receipt.author == own).count() as u64;
        let mut writer = Writer::new(self, *id)?;
        for (n, what) in (first..).zip(portions(what)) {
            let body = ReceiptBody { who: writer.core.keys.name.clone(), what, purpose: purpose.code.clone(), time: time::now() };
            let parts = Parts { uses: Some(Use::Grant(grant)), body: Some(seal_body(&body, &recipient)?), ..Parts::default() };
            writer.entry(circle, Action::Receipt { grant, n }, parts)?;
        }
        writer.commit()?;
        Ok(())
    }
}

/// What was read, in lists that fit into a receipt each: whoever wrote a record has named it as it liked.
fn portions(what: Vec<String>) -> Vec<Vec<String>> {
    let mut portions = Vec::new();
    let mut room = 0;
    for name in what {
        let name = if name.len() > MOST_OF_A_NAME { format!("{} ...", name.chars().take(MOST_OF_A_NAME / 4).collect::<String>()) } else { name };
        if portions.is_empty() || room < name.len() {
            portions.push(Vec::new());
            room = RECEIPT_BYTES;
        }
        room -= name.len();
        if let Some(portion) = portions.last_mut() {
            portion.push(name);
        }
    }
    portions
}

fn typed(typed: &Typed) -> &'static str {
    match typed {
        Typed::Ok => "ok",
        Typed::Lossy(_) => "lossy",
        Typed::Failed(_) => "failed",
    }
}

impl Node {
    /// Lists what is held.
    pub(crate) async fn records_list(&self, patient: Option<&str>, resource_type: Option<&str>) -> Result<Vec<RecordInfo>, ApiError> {
        self.with(|core| {
            let ids: Vec<LedgerId> = match patient {
                Some(_) => vec![core.find_patient(patient)?],
                None => core.replica.ledgers.keys().copied().collect(),
            };
            let mut records = Vec::new();
            for id in ids {
                records.extend(core.list(&id, resource_type)?);
            }
            records.sort_by(|a, b| (&a.patient, &b.date, &a.resource_type, &a.id).cmp(&(&b.patient, &a.date, &b.resource_type, &b.id)));
            Ok(records)
        })
    }

    /// One resource, byte for byte as it came in, and what else could be shown in its place.
    pub(crate) async fn records_show(
        &self,
        reference: &str,
        patient: Option<&str>,
        document: Option<&str>,
        purpose: Option<&str>,
        quarantined: bool,
    ) -> Result<ShownInfo, ApiError> {
        let document = document.map(str::to_lowercase);
        let (resource_type, resource_id) = reference
            .split_once('/')
            .ok_or_else(|| ApiError::usage(format_args!("{reference:?} is not TYPE/ID")).advise("`chartmesh records list` shows what is held"))?;
        let (id, source, facts, others) = self.with(|core| {
            let ids: Vec<LedgerId> = match patient {
                Some(_) => vec![core.find_patient(patient)?],
                None => core.replica.ledgers.keys().copied().collect(),
            };
            let mut found = Vec::new();
            for id in ids {
                let matching = core.resources_like(&id, |facts| facts.resource_type == resource_type && facts.id == resource_id)?;
                found.extend(matching.into_iter().map(|held| (id, held)));
            }
            if let Some(beginning) = document.as_deref().filter(|_| !found.is_empty()) {
                found.retain(|(_, held)| held.places.iter().any(|(_, blob)| blob.to_string().starts_with(beginning)));
                let meant: BTreeSet<_> = found.iter().map(|(_, held)| &held.places).collect();
                match meant.len() {
                    0 => {
                        return Err(ApiError::failed(format_args!("no {reference} is in a document {beginning:?}"))
                            .advise("`chartmesh records list --json` shows which documents it is in"));
                    }
                    1 => {}
                    _ => {
                        return Err(
                            ApiError::usage(format_args!("several documents with {reference} begin with {beginning:?}")).advise("give more of its hash")
                        );
                    }
                }
            }
            found.sort_by_key(|(_, held)| (held.state, held.superseded));
            let holders: BTreeSet<LedgerId> = found.iter().map(|(id, _)| *id).collect();
            if holders.len() > 1 {
                return Err(ApiError::usage(format_args!("several patients have a {reference}")).advise("name one with --patient"));
            }
            let mut found = found.into_iter();
            let Some((id, held)) = found.next() else {
                return Err(ApiError::failed(format_args!("no {reference} is held here, or it is not for this node to know"))
                    .advise("`chartmesh records list` shows what is held"));
            };
            match held.state {
                State::Readable => {}
                State::Quarantined if quarantined && core.is_owner(&id) => {}
                State::Locked => {
                    return Err(ApiError::failed(format_args!("{reference} is known here, but it has not arrived in full")).advise("run `chartmesh sync`"));
                }
                State::Quarantined => {
                    let why = "it was published without the patient's authority, or reached the patient's device after the right to write had ended";
                    let error = ApiError::refused(format_args!("{reference} is quarantined: {why}"));
                    return Err(if core.is_owner(&id) {
                        error.advise("--quarantined shows it all the same; what belongs in the chart can be saved to a file and imported")
                    } else {
                        error.advise("the patient can look at it and take it in")
                    });
                }
            }
            let others = found.filter(|(_, other)| document.is_none() && other.state == State::Readable);
            let others: Vec<VersionInfo> = others.filter_map(|(_, other)| other.info()).collect();
            Ok((id, Source::of(&held), held.facts.clone(), others))
        })?;
        let resource = match source {
            Source::Parts(parts) => std::mem::take(&mut *self.join(&id, &parts, &facts).await?.bytes),
            Source::Bundle(publish, blob, index) => {
                let opened = self.open_document(&id, &publish, &blob).await?;
                let resource = wiped(|| {
                    let resources = read_bundle(&opened.content).map_err(|error| ApiError::failed(format_args!("document {}: {error}", blob.short())))?;
                    Ok::<_, ApiError>(resources.into_iter().nth(index).filter(|bytes| facts.hash == *blake3::hash(bytes).as_bytes()))
                })?;
                resource.ok_or_else(|| ApiError::failed(format_args!("document {} is quarantined: it does not hold what its manifest says", blob.short())))?
            }
        };
        // The receipt is on disk before anybody sees a byte.
        self.with(|core| core.receipt(&id, vec![reference.to_owned()], &[&facts], purpose))?;
        Ok(ShownInfo { resource, others })
    }

    /// A sealed document as stored.
    pub(crate) async fn records_sealed(&self, word: &str) -> Result<Vec<u8>, ApiError> {
        let word = word.to_lowercase();
        let found: BTreeSet<BlobHash> = self.with(|core| {
            let blobs = core.replica.ledgers.values().flat_map(|ledger| ledger.lanes().flat_map(|lane| ledger.lane(lane).publishes.values()));
            blobs.flat_map(|publish| &publish.documents).map(|blob| blob.hash).filter(|hash| !word.is_empty() && hash.to_string().starts_with(&word)).collect()
        });
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some(blob), None) => self.blob(&blob).await,
            (None, _) => Err(ApiError::failed(format_args!("no document {word:?} is known here")).advise("`chartmesh records list --json` shows documents")),
            _ => Err(ApiError::usage(format_args!("several documents begin with {word}")).advise("give more of its hash")),
        }
    }

    /// The age identities that open the documents held here, as an identity file of stock age.
    pub(crate) fn key_export(&self) -> Result<Vec<u8>, ApiError> {
        self.with(|core| {
            let mut file = String::from("# age identities of chartmesh. Whoever has this file reads the documents: keep it safe.\n");
            for view in core.views.values() {
                for (epoch, identity) in &view.epochs {
                    file.push_str(&format!("# epoch {epoch}\n{}\n", identity.to_bech32().as_str()));
                }
            }
            file.push_str(&format!("# this node\n{}\n", core.keys.sealing.to_bech32().as_str()));
            Ok(file.into_bytes())
        })
    }

    /// The bytes of a blob that should be here.
    pub(crate) async fn blob(&self, blob: &BlobHash) -> Result<Vec<u8>, ApiError> {
        let bytes = self.0.blobs.read(blob).await.map_err(ApiError::failed)?;
        bytes.ok_or_else(|| ApiError::failed(format_args!("document {} is not here", blob.short())).advise("run `chartmesh sync` to fetch it"))
    }

    /// Opens a document and checks it against its entry.
    pub(crate) async fn open_document(&self, id: &LedgerId, publish: &EntryHash, blob: &BlobHash) -> Result<OpenedDocument, ApiError> {
        let bytes = self.blob(blob).await?;
        let opener = self.with(|core| core.opener(id, publish, blob))?;
        let opened = tokio::task::spawn_blocking(move || opener.open(&bytes));
        opened.await.map_err(|_| ApiError::failed("opening a document was cut short"))?
    }
}

/// What it takes to open one document, taken out from under the lock.
pub(crate) struct Opener {
    key: OwnKey,
    ledger: LedgerId,
    manifest: Manifest,
    compartment: Option<String>,
    continues: Vec<LedgerId>,
}

impl Core {
    /// What it takes to open a document here.
    pub(crate) fn opener(&self, id: &LedgerId, publish: &EntryHash, blob: &BlobHash) -> Result<Opener, ApiError> {
        let (ledger, view) = self.open(id)?;
        let document = view.document(ledger, publish, blob);
        let document = document.ok_or_else(|| ApiError::refused(format_args!("document {} cannot be opened here", blob.short())))?;
        let key = match document.key {
            Key::Identity(identity) => OwnKey::Identity(identity.share()),
            Key::File(file) => OwnKey::File(FileKey::new(*file.expose())),
        };
        let compartment = match document.lane.and_then(|lane| view.lanes.get(&lane)) {
            Some(Purpose::Catalog(compartment)) => Some(compartment.to_string()),
            Some(Purpose::Keyring | Purpose::Circle(_)) | None => None,
        };
        let continues = ledger.charter().continues.into_iter().collect();
        Ok(Opener { key, ledger: *id, manifest: document.manifest.clone(), compartment, continues })
    }
}

impl Opener {
    /// The digests of its resources in their order; none for a part of a resource.
    pub(crate) fn resources(&self) -> Vec<[u8; 32]> {
        if self.manifest.part.is_some() { Vec::new() } else { self.manifest.resources.facts().iter().map(|facts| facts.hash).collect() }
    }

    /// Opens the document's bytes: hash, header, origin, manifest and entry must agree.
    pub(crate) fn open(&self, bytes: &[u8]) -> Result<OpenedDocument, ApiError> {
        let (manifest, blob) = (&self.manifest, self.manifest.blob);
        let expected = Expected {
            hash: blob,
            content_length: manifest.content_length,
            ledger: self.ledger,
            continues: &self.continues,
            compartment: self.compartment.as_deref(),
            publisher: manifest.publisher,
        };
        let opened = match &self.key {
            OwnKey::Identity(identity) => open_document(bytes, identity, &expected),
            OwnKey::File(file) => open_document(bytes, file, &expected),
        };
        let opened = opened.map_err(|error| ApiError::failed(format_args!("document {} is quarantined: {error}", blob.short())))?;
        if opened.origin.author != manifest.author || opened.origin.derived_from != manifest.extract_of {
            return Err(ApiError::failed(format_args!("document {} is quarantined: its manifest names another author than signed it", blob.short())));
        }
        if opened.origin.media_type != manifest.media_type() {
            return Err(ApiError::failed(format_args!(
                "document {} is quarantined: its author signed it as another part than its manifest says",
                blob.short()
            )));
        }
        Ok(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_bounded_whatever_records_are_called() {
        let names = |count: usize, length: usize| (0..count).map(|n| format!("{n:0length$}")).collect::<Vec<_>>();
        assert_eq!(portions(names(3, 5)), [names(3, 5)]);
        let split = portions(names(10_000, 1000));
        assert_eq!(split.len(), 3);
        assert_eq!(split.concat(), names(10_000, 1000), "nothing is left out");
        let [portion] = portions(vec!["x".repeat(9 << 20), String::new()]).try_into().expect("one");
        assert!(portion.len() == 2 && portion[0].len() < 300);
    }
}
