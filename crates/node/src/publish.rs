//! From resources to published documents: sealing on all cores, blobs on disk, then the Publish entries that name them.
//!
//! Sealing runs in a blocking task of its own, round by round, while the round before is being stored: at most three rounds are held sealed. Storing ends early when it fails, and sealing with it.

use std::{collections::BTreeMap, iter::Peekable, sync::Arc};

use bytes::Bytes;
use chartmesh_identity::{AuthorKey, BlobHash, EntryHash, LaneId, LedgerId, Recipient, Signed, SigningSecret, to_canonical};
use chartmesh_ledger::{Action, Blob, PublishBody, Use};
use chartmesh_records::{Compartment, ResourceFacts};
use chartmesh_sealing::{Header, Origin, Packer, seal_document};
use serde_bytes::ByteBuf;
use tokio::sync::mpsc;

use crate::{
    api::ApiError,
    aside::{aside, side_by_side, workers},
    core::Core,
    manifest::{Listed, Manifest},
    node::Node,
    parts::{Part, media_type},
    write::{Parts, Writer, seal_body},
};

/// zstd's level for documents and lists: a good bargain between size and time.
pub(crate) const LEVEL: i32 = 3;
/// Documents that one Publish names at most.
const PER_PUBLISH: usize = 256;
/// Bytes of manifests in one entry at most, before their lists are packed, unless a single one is longer.
pub(crate) const MANIFEST_BYTES: usize = 4 << 20;
/// Documents of a round, and bytes of them, roughly; but at least a document for each core.
const DOCUMENTS_PER_ROUND: usize = 64;
const PER_ROUND: usize = 8 << 20;

/// Where a document goes: a catalog, and the epoch that is to be used there.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) lane: LaneId,
    pub(crate) compartment: Compartment,
    pub(crate) epoch: EntryHash,
    pub(crate) recipient: Recipient,
    /// Under what a party writes there.
    pub(crate) uses: Option<Use>,
}

/// A document to be sealed and published.
pub(crate) struct Outgoing {
    pub(crate) place: Place,
    /// Which compartment it is meant for; differs from the place's in the inbox.
    pub(crate) compartment: Compartment,
    pub(crate) content: Bytes,
    pub(crate) word: Word,
    pub(crate) extract_of: Option<BlobHash>,
    /// That the content is a part of the one resource.
    pub(crate) part: Option<Part>,
}

/// Whose word a document is.
pub(crate) enum Word {
    /// That of whoever seals it, on these resources.
    Own(Vec<ResourceFacts>),
    /// Its author's, with the manifest that goes with it.
    Given(Signed<Origin>, Box<Manifest>),
}

/// Who seals.
#[derive(Clone)]
pub(crate) struct Publisher {
    pub(crate) ledger: LedgerId,
    pub(crate) key: Arc<SigningSecret>,
    pub(crate) name: String,
    pub(crate) now: i64,
}

impl Publisher {
    fn author(&self) -> AuthorKey {
        self.key.author()
    }

    pub(crate) fn header(&self, place: &Place, origin: Signed<Origin>) -> Header {
        Header { ledger: self.ledger, compartment: place.compartment.to_string(), publisher: self.author(), origin }
    }

    fn seal(&self, outgoing: Outgoing, packer: &mut Packer) -> Result<Sealed, ApiError> {
        let Outgoing { place, compartment, content, word, extract_of, part } = outgoing;
        let (origin, author, author_name, time, resources) = match word {
            Word::Given(origin, manifest) => (origin, manifest.author, manifest.author_name, manifest.time, manifest.resources),
            Word::Own(facts) => {
                let resources = Listed::new(&facts, packer).ok_or_else(|| ApiError::failed("the list of a document's resources is too long"))?;
                let origin = Origin {
                    ledger: self.ledger,
                    content: *BlobHash::of(&content).as_bytes(),
                    media_type: media_type(part, &facts),
                    labels: vec![compartment.to_string()],
                    time: self.now,
                    supersedes: Vec::new(),
                    author: self.author(),
                    derived_from: extract_of,
                };
                (Signed::sign(origin, &self.key).signed().clone(), self.author(), self.name.clone(), self.now, resources)
            }
        };
        let header = self.header(&place, origin);
        let document = seal_document(&content, &header, &place.recipient, packer).map_err(ApiError::failed)?;
        let manifest = Manifest {
            blob: document.hash,
            length: document.bytes.len() as u64,
            publisher: self.author(),
            content_length: document.content_length,
            compartment,
            author,
            author_name,
            time,
            resources,
            extract_of,
            part,
        };
        Ok(Sealed { place, bytes: document.bytes, manifest })
    }
}

/// A sealed document, not yet on disk.
struct Sealed {
    place: Place,
    bytes: Vec<u8>,
    manifest: Manifest,
}

/// Seals on all cores, in the order given.
fn seal_all(publisher: &Publisher, outgoing: Vec<Outgoing>) -> Result<Vec<Sealed>, ApiError> {
    side_by_side(outgoing, || Packer::new(LEVEL).map_err(ApiError::failed), |packer, one| publisher.seal(one, packer))
}

/// A round keeps every core at work, be it with parts that fill it alone.
fn next_round(outgoing: &mut Peekable<impl Iterator<Item = Outgoing>>) -> Vec<Outgoing> {
    let mut round: Vec<Outgoing> = Vec::new();
    let mut size = 0;
    while let Some(one) = outgoing.next_if(|_| round.len() < workers() || (round.len() < DOCUMENTS_PER_ROUND && size < PER_ROUND)) {
        size += one.content.len();
        round.push(one);
    }
    round
}

/// A document that is sealed and on disk.
pub(crate) struct Stored {
    place: Place,
    manifest: Manifest,
}

impl Node {
    /// Seals documents and puts them on disk. Nothing names them yet.
    pub(crate) async fn seal_and_store(&self, publisher: Publisher, outgoing: Box<dyn Iterator<Item = Outgoing> + Send>) -> Result<Vec<Stored>, ApiError> {
        let (rounds, mut sealed) = mpsc::channel(1);
        let sealing = aside(move || {
            let mut outgoing = outgoing.peekable();
            while outgoing.peek().is_some() {
                let round = next_round(&mut outgoing);
                if rounds.blocking_send(seal_all(&publisher, round)?).is_err() {
                    // Storing has failed, and says why.
                    break;
                }
            }
            // What is left of the resources is wiped while the documents go to disk.
            drop(rounds);
            Ok::<_, ApiError>(())
        });
        let mut stored = Vec::new();
        while let Some(round) = sealed.recv().await {
            let (documents, bytes): (Vec<_>, Vec<_>) = round.into_iter().map(|one| (Stored { place: one.place, manifest: one.manifest }, one.bytes)).unzip();
            self.0.blobs.put_many(bytes).await.map_err(|error| self.break_off(error))?;
            stored.extend(documents);
        }
        self.0.blobs.sync().await.map_err(|error| self.break_off(error))?;
        sealing.await.map_err(|_| ApiError::failed("sealing was cut short"))??;
        Ok(stored)
    }
}

/// Writes the Publish entries of documents that are on disk. The caller commits.
pub(crate) fn publish(writer: &mut Writer<'_>, stored: Vec<Stored>) -> Result<Vec<(EntryHash, BlobHash)>, ApiError> {
    let mut by_lane: BTreeMap<LaneId, Vec<Stored>> = BTreeMap::new();
    for one in stored {
        by_lane.entry(one.place.lane).or_default().push(one);
    }
    let mut published = Vec::new();
    for (lane, documents) in by_lane {
        let mut documents = documents.into_iter().peekable();
        while let Some(Stored { place, manifest: first }) = documents.next() {
            let mut size = first.plain_length();
            let mut manifests = vec![first];
            while let Some(next) = documents.next_if(|next| manifests.len() < PER_PUBLISH && size + next.manifest.plain_length() <= MANIFEST_BYTES) {
                size += next.manifest.plain_length();
                manifests.push(next.manifest);
            }
            let body = PublishBody { manifests: manifests.iter().map(|manifest| ByteBuf::from(to_canonical(manifest))).collect() };
            let parts = Parts { uses: place.uses, epoch: Some(place.epoch), body: Some(seal_body(&body, &place.recipient)?) };
            let documents = manifests.iter().map(|manifest| Blob { hash: manifest.blob, length: manifest.length }).collect();
            let entry = writer.entry(lane, Action::Publish { documents }, parts)?;
            published.extend(manifests.iter().map(|manifest| (entry, manifest.blob)));
            writer.sealed(entry, manifests);
        }
    }
    writer.delivered(published.iter().copied());
    Ok(published)
}

impl Core {
    /// Who seals, for one ledger.
    pub(crate) fn publisher(&self, ledger: LedgerId) -> Publisher {
        Publisher { ledger, key: self.keys.signing.clone(), name: self.keys.name.clone(), now: crate::time::now() }
    }

    /// Where a patient's device puts documents of a compartment, if there is a catalog with a usable epoch.
    pub(crate) fn place(&self, id: &LedgerId, compartment: &Compartment) -> Result<Option<Place>, ApiError> {
        let (ledger, view) = self.open(id)?;
        let Some(lane) = view.catalog(compartment) else { return Ok(None) };
        let usable = ledger.lane(&lane).usable_epoch();
        Ok(usable.map(|(epoch, recipient)| Place { lane, compartment: *compartment, epoch, recipient: recipient.clone(), uses: None }))
    }
}
