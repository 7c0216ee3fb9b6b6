//! Resources too large for one document travel in parts: documents of their own, each with the next bytes of the resource as its content and the same facts in its manifest.
//!
//! Sharing, fetching, keeping and withdrawing take a part for what it is, a document. Only where something is listed, shown or compared with its labels are parts put together:
//! here. [`Whole`] is what then counts as one.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use chartmesh_identity::{BlobHash, EntryHash, LedgerId, Signed};
use chartmesh_records::{MAX_IMPORT, MAX_PART, Outline, ResourceFacts};
use chartmesh_sealing::{OpenedDocument, Origin};
use n0_future::task::AbortOnDropHandle;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::{
    api::ApiError,
    aside::aside,
    core::Core,
    manifest::Manifest,
    node::Node,
    reading::State,
    view::{Document, View},
};

/// Parts that are opened side by side.
const AHEAD: usize = 3;

/// Which of how many parts of a resource a document holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Part {
    /// From 1.
    pub(crate) index: u32,
    /// At least 2.
    pub(crate) count: u32,
}

/// Documents that are shown as one: a single one, or the parts of a resource.
pub(crate) struct Whole<'a> {
    /// Never empty; parts in their order.
    pub(crate) documents: Vec<Document<'a>>,
    /// Every part is known of.
    complete: bool,
    /// That of the worst of them; locked if one is not known of.
    pub(crate) state: State,
}

impl<'a> Whole<'a> {
    /// The first, which stands for all: they have one manifest but for their place, length and hash.
    pub(crate) fn first(&self) -> &Document<'a> {
        &self.documents[0]
    }

    /// Whether it is a resource in parts.
    pub(crate) fn is_in_parts(&self) -> bool {
        self.first().manifest.part.is_some()
    }

    /// Whether every document of it fulfils something, and none is unknown.
    pub(crate) fn all(&self, fulfils: impl Fn(&Document<'a>) -> bool) -> bool {
        self.complete && self.documents.iter().all(fulfils)
    }

    /// Where its documents are.
    pub(crate) fn places(&self) -> Vec<(EntryHash, BlobHash)> {
        self.documents.iter().map(|document| (document.publish, document.blob())).collect()
    }
}

impl Core {
    /// Every document whose manifest is known, with the parts of one resource together.
    ///
    /// Parts belong together if their author published them as those of the same bytes, at the same moment, under the same facts and in the same catalog. Of two for one place the
    /// one that is of more use is taken, and what was published without authority stays apart, so that nobody can spoil another's resource.
    pub(crate) fn wholes<'a>(&'a self, id: &LedgerId) -> Result<Vec<Whole<'a>>, ApiError> {
        let (ledger, view): (_, &View) = self.open(id)?;
        let mut wholes = Vec::new();
        let mut by_resource: BTreeMap<_, BTreeMap<u32, (State, Document<'a>)>> = BTreeMap::new();
        for document in view.documents(ledger) {
            let state = self.state(&document);
            let manifest = document.manifest;
            let Some(part) = manifest.part else {
                wholes.push(Whole { documents: vec![document], complete: true, state });
                continue;
            };
            if manifest.resources.len() != 1 || part.count < 2 || !(1..=part.count).contains(&part.index) {
                wholes.push(Whole { documents: vec![document], complete: false, state: State::Quarantined });
                continue;
            }
            let facts = manifest.resources.as_bytes();
            let key = (document.lane, document.quarantined, manifest.author, manifest.time, manifest.compartment, part.count, facts);
            let places = by_resource.entry(key).or_default();
            if places.get(&part.index).is_none_or(|(known, _)| state < *known) {
                places.insert(part.index, (state, document));
            }
        }
        wholes.extend(by_resource.into_values().filter_map(|places| {
            let worst = places.values().map(|(state, _)| *state).max()?;
            let documents: Vec<Document<'_>> = places.into_values().map(|(_, document)| document).collect();
            let manifest = documents.first()?.manifest;
            let complete = manifest.part.is_some_and(|part| documents.len() as u64 == u64::from(part.count));
            let lengths = documents.iter().try_fold(0u64, |sum, document| sum.checked_add(document.manifest.content_length));
            // What cannot be is not waited for.
            let facts = manifest.resources.facts();
            let fits = lengths.zip(facts.first()).is_some_and(|(sum, facts)| sum == facts.length || (!complete && sum < facts.length));
            let state = match (fits, complete) {
                (false, _) => State::Quarantined,
                (true, false) => worst.max(State::Locked),
                (true, true) => worst,
            };
            Some(Whole { documents, complete, state })
        }));
        Ok(wholes)
    }
}

/// A resource put together from its parts.
pub(crate) struct Joined {
    /// The resource's own bytes.
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// The author's word on each part, and the part's length.
    pub(crate) origins: Vec<(Signed<Origin>, usize)>,
}

impl Node {
    /// Puts a resource together from its parts.
    pub(crate) async fn join(&self, id: &LedgerId, parts: &[(EntryHash, BlobHash)], facts: &ResourceFacts) -> Result<Joined, ApiError> {
        // As long as the whole will be: the buffer never moves and leaves no copy behind.
        let bytes = Zeroizing::new(Vec::with_capacity(length(facts)?));
        let joined = Joined { bytes, origins: Vec::with_capacity(parts.len()) };
        self.in_order(id, parts, facts, joined, |joined, opened| {
            joined.bytes.extend_from_slice(&opened.content);
            joined.origins.push((opened.header.origin, opened.content.len()));
            Ok(())
        })
        .await
    }

    /// Opens the parts of a resource, hands each to `take` in order and away from the threads that answer, and checks the whole. What `take` made of them counts only if that is right.
    /// The part that is taken and the next four are in memory.
    pub(crate) async fn in_order<T: Send + 'static, E: From<ApiError> + Send + 'static>(
        &self,
        id: &LedgerId,
        parts: &[(EntryHash, BlobHash)],
        facts: &ResourceFacts,
        mut taken: T,
        take: impl Fn(&mut T, OpenedDocument) -> Result<(), E> + Send + 'static,
    ) -> Result<T, E> {
        let (hand, mut handed) = mpsc::channel::<OpenedDocument>(1);
        let (mut left, hash) = (length(facts)?, facts.hash);
        let unlike = |what| quarantined(facts, what);
        let (longer, other) = (unlike("its parts are longer than it is"), unlike("its parts do not make up what their manifests say"));
        let taking = AbortOnDropHandle::new(aside(move || {
            let (mut hasher, mut outline) = (blake3::Hasher::new(), Outline::default());
            while let Some(opened) = handed.blocking_recv() {
                let Some(rest) = left.checked_sub(opened.content.len()) else { return Err(longer.into()) };
                left = rest;
                hasher.update(&opened.content);
                outline.update(&opened.content);
                take(&mut taken, opened)?;
            }
            if hasher.finalize() == hash && outline.is_resource() { Ok(taken) } else { Err(other.into()) }
        }));
        let mut waiting = parts.iter().copied();
        let mut opening = VecDeque::new();
        let mut whole = Ok(());
        loop {
            while opening.len() < AHEAD
                && let Some((publish, blob)) = waiting.next()
            {
                let (node, id) = (self.clone(), *id);
                opening.push_back(AbortOnDropHandle::new(tokio::spawn(async move { node.open_document(&id, &publish, &blob).await })));
            }
            let Some(opened) = opening.pop_front() else { break };
            match opened.await.unwrap_or_else(|_| Err(unlike("opening it was cut short"))) {
                // Whoever takes has given up, and says why.
                Ok(opened) => {
                    if hand.send(opened).await.is_err() {
                        break;
                    }
                }
                Err(error) => {
                    whole = Err(error.into());
                    break;
                }
            }
        }
        drop(hand);
        let taken = taking.await.unwrap_or_else(|_| Err(unlike("putting it together was cut short").into()));
        whole.and(taken)
    }
}

fn quarantined(facts: &ResourceFacts, what: &str) -> ApiError {
    ApiError::failed(format_args!("{}/{} is quarantined: {what}", facts.resource_type, facts.id))
}

fn length(facts: &ResourceFacts) -> Result<usize, ApiError> {
    usize::try_from(facts.length).ok().filter(|length| *length <= MAX_IMPORT).ok_or_else(|| quarantined(facts, "it is too large"))
}

/// How long each part of a resource of this length is.
pub(crate) fn lengths(length: usize) -> Vec<usize> {
    (0..length).step_by(MAX_PART).map(|at| MAX_PART.min(length - at)).collect()
}

/// Cuts a resource into parts of these lengths, without a copy.
pub(crate) fn cut(bytes: Bytes, lengths: Vec<usize>) -> impl Iterator<Item = (Part, Bytes)> + Send {
    let count = u32::try_from(lengths.len()).unwrap_or(u32::MAX);
    let mut at = 0;
    lengths.into_iter().zip(1..).map(move |(length, index)| {
        let start = at;
        at = (start + length).min(bytes.len());
        (Part { index, count }, bytes.slice(start..at))
    })
}

/// The media type that the author signs (RFC 6838): for a part also which of how many, and of what, by its BLAKE3.
pub(crate) fn media_type(part: Option<Part>, resources: &[ResourceFacts]) -> String {
    let whole = "application/fhir+json";
    match (part, resources.first()) {
        (Some(Part { index, count }), Some(facts)) => format!("{whole}; part={index}; parts={count}; of={}", BlobHash::new(facts.hash)),
        _ => whole.to_owned(),
    }
}

impl Manifest {
    /// The media type that its origin must have.
    pub(crate) fn media_type(&self) -> String {
        let facts = self.part.map(|_| self.resources.facts());
        media_type(self.part, &facts.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use chartmesh_identity::Kind;
    use chartmesh_records::{Category, Compartment, Sensitivity, read_bundle, read_resource};
    use chartmesh_sealing::Packer;

    use super::*;
    use crate::{
        home::Home,
        manifest::Listed,
        publish::{Outgoing, Word, publish},
        setup,
        write::Writer,
    };

    /// One part as it is published, whatever its author has signed.
    struct Said {
        part: Part,
        signed: Part,
        content: Vec<u8>,
    }

    fn said(index: u32, count: u32, content: &[u8]) -> Said {
        Said { part: Part { index, count }, signed: Part { index, count }, content: content.to_vec() }
    }

    fn resource(id: &str) -> Vec<u8> {
        format!(r#"{{"resourceType":"Binary","id":"{id}","data":"QUJD"}}"#).into_bytes()
    }

    /// Publishes parts as those of a resource that has these facts.
    async fn publish_as(node: &Node, facts: &ResourceFacts, parts: Vec<Said>) {
        let compartment = Compartment::Clinical { sensitivity: Sensitivity::General, category: Category::Notes };
        let (id, publisher, place) = node.with(|core| {
            let id = core.own_ledger().expect("a patient");
            core.ensure_catalogs(&id, [compartment]).expect("a catalog");
            (id, core.publisher(id), core.place(&id, &compartment).expect("a view").expect("an epoch"))
        });
        let mut outgoing = Vec::new();
        for Said { part, signed, content } in parts {
            let resources = vec![facts.clone()];
            let author = publisher.key.author();
            let origin = Origin {
                ledger: id,
                content: *blake3::hash(&content).as_bytes(),
                media_type: media_type(Some(signed), &resources),
                labels: vec![compartment.to_string()],
                time: publisher.now,
                supersedes: Vec::new(),
                author,
                derived_from: None,
            };
            let manifest = Manifest {
                blob: BlobHash::of(&content),
                length: 0,
                publisher: author,
                content_length: content.len() as u64,
                compartment,
                author,
                author_name: publisher.name.clone(),
                time: publisher.now,
                resources: Listed::new(&resources, &mut Packer::new(3).expect("memory")).expect("short"),
                extract_of: None,
                part: Some(part),
            };
            let origin = Signed::sign(origin, &publisher.key).signed().clone();
            outgoing.push(Outgoing {
                place: place.clone(),
                compartment,
                content: content.into(),
                word: Word::Given(origin, Box::new(manifest)),
                extract_of: None,
                part: Some(part),
            });
        }
        let stored = node.seal_and_store(publisher, Box::new(outgoing.into_iter())).await.expect("sealed");
        node.with(|core| {
            let mut writer = Writer::new(core, id).expect("a writer");
            publish(&mut writer, stored).expect("published");
            writer.commit().expect("stored");
        });
    }

    #[tokio::test]
    async fn parts_are_shown_only_as_their_author_signed_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let home = Home::new(dir.path().join("home"));
        assert!(setup::init(&home, Kind::Patient, "maria", None).is_ok());
        let node = Node::open(&home, None).await.expect("a node");
        let facts = |id: &str| read_resource(&resource(id)).expect("a resource");
        let halves = |id: &str| {
            let bytes = resource(id);
            let (first, second) = bytes.split_at(20);
            (first.to_vec(), second.to_vec())
        };
        let two = |id: &str| {
            let (first, second) = halves(id);
            vec![said(1, 2, &first), said(2, 2, &second)]
        };
        publish_as(&node, &facts("good"), two("good")).await;
        // In the other order, as one that swaps them would say.
        let mut swapped = two("swapped");
        swapped[0].part.index = 2;
        swapped[1].part.index = 1;
        publish_as(&node, &facts("swapped"), swapped).await;
        publish_as(&node, &facts("changed"), two("unlike!")).await;
        publish_as(&node, &facts("missing"), vec![said(2, 2, &halves("missing").1)]).await;
        publish_as(&node, &facts("beyond"), vec![said(3, 2, &halves("beyond").1)]).await;
        publish_as(&node, &facts("longer"), vec![said(1, 2, &resource("longer")), said(2, 2, b" ")]).await;
        let trailing = [resource("trailing"), b" ".to_vec()].concat();
        let told = ResourceFacts { hash: *blake3::hash(&trailing).as_bytes(), length: trailing.len() as u64, ..facts("trailing") };
        publish_as(&node, &told, vec![said(1, 2, &resource("trailing")), said(2, 2, b" ")]).await;

        let mut states = BTreeMap::new();
        for record in node.records_list(None, None).await.expect("a list") {
            states.insert(record.id.expect("an id"), (record.state, record.parts.len()));
        }
        let state = |id: &str| states.get(id).map(|(state, parts)| (state.as_str(), *parts));
        assert_eq!(states.len(), 7);
        for readable in ["good", "swapped", "changed", "trailing"] {
            assert_eq!(state(readable), Some(("readable", 2)), "{readable}");
        }
        assert_eq!(state("missing"), Some(("locked", 1)));
        assert_eq!(state("beyond"), Some(("quarantined", 1)));
        assert_eq!(state("longer"), Some(("quarantined", 2)));
        for (id, why) in [
            ("swapped", "signed it as another part"),
            ("changed", "do not make up"),
            ("trailing", "do not make up"),
            ("missing", "has not arrived in full"),
            ("beyond", "quarantined"),
            ("longer", "quarantined"),
        ] {
            let shown = node.records_show(&format!("Binary/{id}"), None, None, None, false).await;
            assert!(shown.as_ref().is_err_and(|error| error.to_string().contains(why)), "{id}: {shown:?}");
        }
        assert_eq!(node.records_show("Binary/good", None, None, None, false).await.expect("readable").resource, resource("good"));
        let exported = dir.path().join("export");
        let info = node.records_export(&exported, None, None).await.expect("an export");
        assert_eq!((info.files, info.resources, info.damaged.len()), (1, 1, 3), "swapped, changed and trailing are damaged");
        let files: Vec<_> = std::fs::read_dir(&exported).expect("a directory").map(|file| file.expect("a file").path()).collect();
        assert_eq!(files.len(), 1, "nothing of the others is left: {files:?}");
        let bundle = std::fs::read(&files[0]).expect("a file");
        assert_eq!(read_bundle(&bundle).expect("a bundle"), [resource("good")]);
        node.stop().await.expect("stopped");
    }

    #[test]
    fn parts_make_up_the_whole_in_order() {
        for length in [MAX_PART + 1, 2 * MAX_PART, 2 * MAX_PART + 5] {
            let bytes: Vec<u8> = (0u8..251).cycle().take(length).collect();
            let parts: Vec<_> = cut(bytes.clone().into(), lengths(length)).collect();
            let count = u32::try_from(parts.len()).expect("few");
            assert_eq!(count as usize, length.div_ceil(MAX_PART));
            assert!(parts.iter().zip(1..).all(|((part, _), index)| *part == Part { index, count }));
            assert!(parts.iter().map(|(_, bytes)| &bytes[..]).collect::<Vec<_>>().concat() == bytes);
        }
    }
}
