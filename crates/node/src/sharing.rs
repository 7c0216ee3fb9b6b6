//! Single documents for terms finer than a compartment: their file keys in Envelopes, and extracts of those that the terms cover in part.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use bytes::Bytes;
use chartmesh_consent::{Coverage, Request, Scope, coverage, decide_scope, select};
use chartmesh_identity::{BlobHash, EntryHash, GrantId, LaneId, LedgerId, to_canonical};
use chartmesh_ledger::{Action, EnvelopeBody};
use chartmesh_records::{ResourceFacts, write_bundle};
use chartmesh_sealing::{FileKey, Key, MAX_CONTENT, Packer, file_key};
use serde_bytes::ByteBuf;
use zeroize::Zeroizing;

use crate::{
    api::ApiError,
    consents::party_reference,
    core::Core,
    duties::{notices, read_request},
    filing::listed,
    grants::document_key,
    manifest::{Listed, Manifest},
    node::Node,
    publish::{LEVEL, MANIFEST_BYTES, Outgoing, Word, publish},
    time,
    view::{Document, OpenGrant},
    write::{Parts, Writer, seal_body},
};

/// Documents whose keys one Envelope hands over at most.
const MAX_SHARED: usize = 1024;

/// Documents of a grant's catalogs that finer terms let it have, and how.
struct Share {
    grant: GrantId,
    publish: EntryHash,
    manifest: Manifest,
    /// Positions of the resources that are covered; all of them if none is left out.
    covered: Vec<usize>,
}

/// A grant under finer terms.
struct Finer<'a> {
    grant: GrantId,
    open: &'a OpenGrant,
    /// The documents whose keys it has.
    given: BTreeSet<(EntryHash, BlobHash)>,
    request: Request,
    /// Those that its terms cover in part.
    catalogs: BTreeSet<LaneId>,
}

impl Node {
    /// Hands over single documents under terms finer than a compartment; where a document is covered in part, an extract of it is published first. Whether there was any.
    pub(crate) async fn share_documents(&self, id: LedgerId) -> Result<bool, ApiError> {
        let shares = self.with(|core| core.shares(&id))?;
        let (whole, parts): (Vec<Share>, Vec<Share>) = shares.into_iter().partition(|share| share.covered.len() == share.manifest.resources.len());
        if !parts.is_empty() && self.extract(id, parts).await? {
            return Ok(true);
        }
        if whole.is_empty() {
            return Ok(false);
        }
        let mut keys: BTreeMap<(EntryHash, BlobHash), FileKey> = BTreeMap::new();
        for share in &whole {
            let place = (share.publish, share.manifest.blob);
            if let std::collections::btree_map::Entry::Vacant(vacant) = keys.entry(place) {
                match self.file_key(&id, &place.0, &place.1).await {
                    Ok(key) => {
                        vacant.insert(key);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a document could not be handed over");
                        self.with(|core| core.bad.insert(place));
                    }
                }
            }
        }
        self.with(|core| core.hand_over_documents(&id, &whole, &keys))
    }

    /// Publishes extracts. Whether there was any that could be.
    async fn extract(&self, id: LedgerId, parts: Vec<Share>) -> Result<bool, ApiError> {
        let publisher = self.with(|core| core.publisher(id));
        let mut made: BTreeSet<(BlobHash, Vec<usize>)> = BTreeSet::new();
        let mut outgoing = Vec::new();
        for share in parts {
            if !made.insert((share.manifest.blob, share.covered.clone())) {
                continue;
            }
            let Ok(opened) = self.open_document(&id, &share.publish, &share.manifest.blob).await else {
                self.with(|core| core.bad.insert((share.publish, share.manifest.blob)));
                continue;
            };
            let Some(resources) = listed(&share.manifest, &opened.content) else {
                self.with(|core| core.bad.insert((share.publish, share.manifest.blob)));
                continue;
            };
            let facts = share.manifest.resources.facts();
            let covered: Vec<_> = share.covered.iter().filter_map(|index| Some((facts.get(*index)?, resources.get(*index)?.as_slice()))).collect();
            let compartment = share.manifest.compartment;
            // A party's list may have been packed as no honest one is.
            let facts: Vec<ResourceFacts> = covered.iter().map(|(facts, _)| (*facts).clone()).collect();
            let content = Zeroizing::new(write_bundle(&compartment, &covered));
            if content.len() as u64 > MAX_CONTENT || Packer::new(LEVEL).ok().and_then(|mut packer| Listed::new(&facts, &mut packer)).is_none() {
                tracing::warn!(document = share.manifest.blob.short(), "an extract is longer than a document can be");
                continue;
            }
            let Some(place) = self.with(|core| core.place(&id, &compartment))? else { continue };
            outgoing.push(Outgoing {
                place,
                compartment,
                content: Bytes::from_owner(content),
                word: Word::Own(facts),
                extract_of: Some(share.manifest.blob),
                part: None,
            });
        }
        let stored = self.seal_and_store(publisher, Box::new(outgoing.into_iter())).await?;
        self.with(|core| {
            let mut writer = Writer::new(core, id)?;
            publish(&mut writer, stored)?;
            Ok(!writer.commit()?.is_empty())
        })
    }

    async fn file_key(&self, id: &LedgerId, publish: &EntryHash, blob: &BlobHash) -> Result<FileKey, ApiError> {
        let bytes = self.blob(blob).await?;
        self.with(|core| {
            let (ledger, view) = core.open(id)?;
            match view.document(ledger, publish, blob).map(|document| document.key) {
                Some(Key::Identity(identity)) => file_key(&bytes, identity).map_err(ApiError::failed),
                Some(Key::File(key)) => Ok(FileKey::new(*key.expose())),
                None => Err(ApiError::failed(format_args!("document {} cannot be opened here", blob.short()))),
            }
        })
    }
}

impl Core {
    /// Documents that live grants with finer terms are owed.
    fn shares(&self, id: &LedgerId) -> Result<Vec<Share>, ApiError> {
        let finer = self.finer(id)?;
        if finer.is_empty() {
            return Ok(Vec::new());
        }
        let (ledger, view) = self.open(id)?;
        let documents = view.documents(ledger);
        let here = |document: &&Document<'_>| !document.quarantined && self.delivered.contains(&(document.publish, document.blob()));
        let mut extracts: BTreeMap<BlobHash, Vec<&Document<'_>>> = BTreeMap::new();
        for extract in documents.iter().filter(|document| document.party.is_none()).filter(here) {
            if let Some(original) = extract.manifest.extract_of {
                extracts.entry(original).or_default().push(extract);
            }
        }
        // Only what this device has looked into, or some device has published, is decided on by its manifest.
        let ready = |document: &&Document<'_>| {
            let place = (document.publish, document.blob());
            let known = document.party.is_none() || self.checked.contains(&place);
            known && document.manifest.extract_of.is_none() && !self.bad.contains(&place)
        };
        let mut shares = Vec::new();
        for document in documents.iter().filter(here).filter(ready) {
            let manifest = document.manifest;
            let mut wanting = finer.iter().filter(|finer| document.lane.is_some_and(|lane| finer.catalogs.contains(&lane))).peekable();
            if wanting.peek().is_none() {
                continue;
            }
            let facts = manifest.resources.facts();
            for Finer { grant, open, given, request, .. } in wanting {
                let selection = select(&open.terms, request, manifest.compartment, &facts);
                if selection.permitted.is_empty() {
                    continue;
                }
                let covered = || selection.permitted.iter().filter_map(|index| facts.get(*index)).map(|facts| facts.hash);
                let holds_them = |extract: &&&Document<'_>| extract.manifest.resources.facts().iter().map(|facts| facts.hash).eq(covered());
                let target = if selection.permitted.len() == facts.len() {
                    Some(document)
                } else {
                    extracts.get(&manifest.blob).and_then(|extracts| extracts.iter().find(holds_them)).copied()
                };
                let share = match target {
                    Some(target) if given.contains(&(target.publish, target.blob())) => continue,
                    Some(target) => Share {
                        grant: *grant,
                        publish: target.publish,
                        manifest: target.manifest.clone(),
                        covered: (0..target.manifest.resources.len()).collect(),
                    },
                    None => Share { grant: *grant, publish: document.publish, manifest: manifest.clone(), covered: selection.permitted },
                };
                shares.push(share);
            }
        }
        Ok(shares)
    }

    /// Live grants whose terms cover some catalogs in part.
    fn finer(&self, id: &LedgerId) -> Result<Vec<Finer<'_>>, ApiError> {
        let (ledger, view) = self.open(id)?;
        let now = time::now();
        let mut finer = Vec::new();
        for (grant, open) in &view.grants {
            let Some(state) = ledger.lane(&open.circle).grants.get(grant).filter(|state| state.is_live(now)) else { continue };
            let in_part = view.catalogs().filter(|(_, compartment)| coverage(&open.terms, **compartment) == Coverage::Partial);
            let catalogs: BTreeSet<LaneId> = in_part.map(|(lane, _)| lane).collect();
            if !catalogs.is_empty() {
                let given = state.envelopes.iter().flat_map(|envelope| envelope.documents.iter().copied()).collect();
                finer.push(Finer { grant: *grant, open, given, request: read_request(id, &party_reference(&open.party), &open.terms, now), catalogs });
            }
        }
        Ok(finer)
    }

    /// Whether there was any for which there is a key.
    fn hand_over_documents(&mut self, id: &LedgerId, shares: &[Share], keys: &BTreeMap<(EntryHash, BlobHash), FileKey>) -> Result<bool, ApiError> {
        let now = time::now();
        let mut by_grant: BTreeMap<GrantId, Vec<&Share>> = BTreeMap::new();
        for share in shares {
            by_grant.entry(share.grant).or_default().push(share);
        }
        let mut writer = Writer::new(self, *id)?;
        for (grant, shares) in by_grant {
            let lengths: Vec<usize> = shares.iter().map(|share| share.manifest.plain_length()).collect();
            for shares in portions(&lengths).into_iter().filter_map(|portion| shares.get(portion)) {
                let (_, view) = writer.core.open(id)?;
                let open = view.grants.get(&grant).ok_or_else(|| ApiError::failed("an unknown grant"))?;
                let request = read_request(id, &party_reference(&open.party), &open.terms, now);
                let mut files = Vec::new();
                let mut documents = Vec::new();
                for share in shares {
                    let place = (share.publish, share.manifest.blob);
                    let blob = share.manifest.blob.to_string();
                    let resources = share.manifest.resources.facts();
                    let scope = Scope::Document { id: &blob, compartment: share.manifest.compartment, resources: &resources };
                    let Ok(permit) = decide_scope(&open.terms, &request, scope) else {
                        tracing::warn!(document = share.manifest.blob.short(), "a document is not covered after all");
                        continue;
                    };
                    let Some(key) = keys.get(&place) else { continue };
                    files.push(document_key(permit, share.publish, &share.manifest, key)?);
                    documents.push(place);
                }
                if files.is_empty() {
                    continue;
                }
                let body = EnvelopeBody { catalogs: Vec::new(), files, notices: notices(&open.terms), terms: ByteBuf::from(to_canonical(&open.terms)) };
                let circle = open.circle;
                let identity = view.circle_identity(&circle).ok_or_else(|| ApiError::failed("a circle without identity"))?;
                let body = seal_body(&body, identity.recipient())?;
                writer.entry(circle, Action::Envelope { grant, epochs: Vec::new(), documents, catalogs: Vec::new() }, Parts::body(body))?;
            }
        }
        Ok(!writer.commit()?.is_empty())
    }
}

/// How many shares with manifests of these lengths go into one Envelope, whose lists and body are bounded.
fn portions(lengths: &[usize]) -> Vec<Range<usize>> {
    let mut portions = Vec::new();
    let (mut start, mut size) = (0, 0);
    for (at, length) in lengths.iter().enumerate() {
        if at > start && (at - start == MAX_SHARED || size + length > MANIFEST_BYTES) {
            portions.push(start..at);
            (start, size) = (at, 0);
        }
        size += length;
    }
    portions.push(start..lengths.len());
    portions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_bounded_in_number_and_bytes() {
        assert_eq!(portions(&[1; 2050]), [0..1024, 1024..2048, 2048..2050]);
        assert_eq!(portions(&[MANIFEST_BYTES / 2; 5]), [0..2, 2..4, 4..5]);
        assert_eq!(portions(&[1, MANIFEST_BYTES + 1, MANIFEST_BYTES, 1]), [0..1, 1..2, 2..3, 3..4], "one that is longer goes alone");
    }
}
