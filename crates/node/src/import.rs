//! Import: files become documents of the patient's ledger. A patient imports its own; a provider publishes for a patient who let it write.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read,
    path::Path,
};

use bytes::Bytes;
use chartmesh_identity::{GrantId, LaneId, LedgerId};
use chartmesh_ledger::Use;
use chartmesh_records::{Compartment, Draft, Import, Input, MAX_IMPORT, Resource, Typed, import, write_bundle};
use chartmesh_vault::Table;
use zeroize::Zeroizing;

use crate::{
    api::{ApiError, ImportInfo, ImportPath, RefusedInfo},
    aside::aside,
    consents::id_of,
    core::{Core, with_article},
    node::Node,
    parts,
    publish::{Outgoing, Place, Word, publish},
    view::Document,
    write::Writer,
};

/// Deepest nesting of directories that is walked.
const MAX_NESTING: usize = 32;

impl Node {
    /// Imports files and directories.
    pub(crate) async fn import(&self, paths: Vec<ImportPath>, patient: Option<&str>) -> Result<ImportInfo, ApiError> {
        let id = self.with(|core| -> Result<_, ApiError> {
            core.check()?;
            if core.keys.patient.is_none() && patient.is_none() {
                return Err(ApiError::usage(format_args!("{} publishes for a patient", with_article(core.keys.kind))).advise("name the patient with --for"));
            }
            core.find_patient(patient)
        })?;
        let (files, skipped, read) = aside(move || -> Result<_, ApiError> {
            let Found { files, skipped } = collect(&paths)?;
            let count = files.len() as u64;
            Ok((count, skipped, read(files)?))
        })
        .await
        .map_err(|_| ApiError::failed("reading was cut short"))??;
        let _one_at_a_time = self.0.changes.lock().await;
        let info = ImportInfo { files, skipped, resources: read.resources as u64, ..ImportInfo::default() };
        self.publish_import(id, info, read).await
    }

    async fn publish_import(&self, id: LedgerId, mut info: ImportInfo, read: Import) -> Result<ImportInfo, ApiError> {
        info.mixed = self.with(|core| core.is_mixed(&id, &read.drafts))?;
        info.refused = read
            .refused
            .into_iter()
            .map(|refused| RefusedInfo { position: format!("{}: {}", refused.input, refused.position), reason: refused.reason })
            .collect();
        let marked = read.drafts.iter().flat_map(|draft| &draft.resources).filter(|resource| resource.facts.typed != Typed::Ok);
        info.marked = marked.map(|resource| (resource.facts.key(), resource.facts.hash)).collect::<BTreeSet<_>>().len() as u64;
        let (fresh, unchanged) = self.with(|core| core.sift(&id, read.drafts))?;
        info.unchanged = unchanged;
        let compartments: BTreeSet<Compartment> = fresh.iter().map(|draft| draft.compartment).collect();
        let (publisher, places) = self.with(|core| -> Result<_, ApiError> {
            if core.is_owner(&id) {
                core.ensure_catalogs(&id, compartments.iter().copied())?;
            }
            let places = compartments
                .iter()
                .map(|compartment| Ok((*compartment, core.writing_place(&id, compartment)?)))
                .collect::<Result<BTreeMap<_, _>, ApiError>>()?;
            Ok((core.publisher(id), places))
        })?;
        let owner = self.with(|core| core.is_owner(&id));
        let mut published = BTreeSet::new();
        let mut marks = Vec::new();
        let mut outgoing = Vec::with_capacity(fresh.len());
        for draft in fresh {
            let Some(place) = places.get(&draft.compartment).cloned() else { continue };
            published.extend(draft.resources.iter().map(|resource| (resource.facts.key(), resource.facts.hash)));
            // What an owner has published it can read again.
            if !owner {
                marks.extend(draft.resources.iter().map(|resource| (draft.compartment, resource.facts.key(), resource.facts.hash)));
            }
            *info.compartments.entry(draft.compartment.to_string()).or_default() += documents(&draft);
            info.documents += documents(&draft);
            outgoing.push((place, draft));
        }
        info.published = published.len() as u64;
        drop(published);
        if outgoing.is_empty() {
            return Ok(info);
        }
        let stored = self.seal_and_store(publisher, Box::new(outgoing.into_iter().flat_map(|(place, draft)| seal_later(place, draft)))).await?;
        self.with(|core| {
            let notes: Vec<_> = marks.iter().map(|(compartment, key, hash)| core.note(&id, compartment, key, hash)).collect();
            let mut writer = Writer::new(core, id)?;
            publish(&mut writer, stored)?;
            for note in notes {
                writer.batch().put(Table::Documents, &note, Vec::new());
            }
            writer.commit()
        })?;
        if owner {
            self.settle(id).await?;
        }
        Ok(info)
    }
}

/// How many documents a draft becomes.
fn documents(draft: &Draft) -> u64 {
    match draft.resources.first().filter(|_| draft.is_large()) {
        Some(large) => parts::lengths(large.bytes.len()).len() as u64,
        None => 1,
    }
}

/// The documents of a draft, each made when it is asked for.
fn seal_later(place: Place, mut draft: Draft) -> Box<dyn Iterator<Item = Outgoing> + Send> {
    let compartment = draft.compartment;
    if draft.is_large()
        && let Some(Resource { facts, bytes }) = draft.resources.pop()
    {
        let lengths = parts::lengths(bytes.len());
        return Box::new(parts::cut(bytes, lengths).map(move |(part, content)| Outgoing {
            place: place.clone(),
            compartment,
            content,
            word: Word::Own(vec![facts.clone()]),
            extract_of: None,
            part: Some(part),
        }));
    }
    let resources: Vec<_> = draft.resources.iter().map(|resource| (&resource.facts, &resource.bytes[..])).collect();
    let content = Bytes::from_owner(Zeroizing::new(write_bundle(&compartment, &resources)));
    let facts = draft.resources.into_iter().map(|resource: Resource| resource.facts).collect();
    Box::new(std::iter::once(Outgoing { place, compartment, content, word: Word::Own(facts), extract_of: None, part: None }))
}

impl Core {
    /// Whether records are of several patients, or of another than those that are here already.
    fn is_mixed(&self, id: &LedgerId, drafts: &[Draft]) -> Result<bool, ApiError> {
        let facts = || drafts.iter().flat_map(|draft| &draft.resources).map(|resource| &resource.facts);
        let own = facts().filter(|facts| facts.resource_type == "Patient").map(|facts| facts.id.as_str());
        let named = facts().filter_map(|facts| facts.subject.as_deref()).filter(|subject| subject.contains("Patient/")).map(id_of);
        let imported: BTreeSet<&str> = own.chain(named).collect();
        let known = self.patients(id)?;
        let other = !imported.is_empty() && !known.is_empty() && !imported.iter().any(|imported| known.contains(*imported));
        Ok(other || imported.len() > 1)
    }

    /// Leaves out what is published already in the same compartment, byte for byte. How many different resources that were.
    fn sift(&self, id: &LedgerId, drafts: Vec<Draft>) -> Result<(Vec<Draft>, u64), ApiError> {
        let owner = self.is_owner(id);
        let held = |document: &Document<'_>| {
            owner
                && document.party.is_none()
                && !document.quarantined
                && document.manifest.extract_of.is_none()
                && self.delivered.contains(&(document.publish, document.blob()))
        };
        let known: BTreeSet<_> = self
            .wholes(id)?
            .into_iter()
            .filter(|whole| whole.all(held))
            .map(|whole| whole.first().manifest)
            .flat_map(|manifest| manifest.resources.facts().into_iter().map(move |facts| (manifest.compartment, facts.key(), facts.hash)))
            .collect();
        if owner && known.is_empty() {
            return Ok((drafts, 0));
        }
        let mut unchanged = BTreeSet::new();
        let mut fresh_keys = BTreeSet::new();
        let mut fresh = Vec::new();
        for mut draft in drafts {
            let compartment = draft.compartment;
            let mut kept = Vec::new();
            for resource in draft.resources {
                let key = (compartment, resource.facts.key(), resource.facts.hash);
                let noted = !owner && self.vault.get(Table::Documents, &self.note(id, &key.0, &key.1, &key.2)).map_err(ApiError::failed)?.is_some();
                if noted || known.contains(&key) {
                    unchanged.insert((key.1, key.2));
                } else {
                    fresh_keys.insert((key.1, key.2));
                    kept.push(resource);
                }
            }
            if !kept.is_empty() {
                draft.resources = kept;
                fresh.push(draft);
            }
        }
        Ok((fresh, unchanged.difference(&fresh_keys).count() as u64))
    }

    /// The name under which a provider remembers what it has published and may not be able to read.
    fn note(&self, id: &LedgerId, compartment: &Compartment, key: &chartmesh_records::ResourceKey, hash: &[u8; 32]) -> Vec<u8> {
        let name = chartmesh_identity::to_canonical(&(id, compartment.to_string(), key, serde_bytes::Bytes::new(hash)));
        self.vault.hide(Table::Documents, &name).to_vec()
    }

    /// Where this node puts documents of a compartment: its catalog where it may write there, else the inbox.
    fn writing_place(&self, id: &LedgerId, compartment: &Compartment) -> Result<Place, ApiError> {
        if self.is_owner(id) {
            return self.place(id, compartment)?.ok_or_else(|| ApiError::failed(format_args!("{compartment} has no usable epoch")));
        }
        for wanted in [*compartment, Compartment::Inbox] {
            if let Some(place) = self.admitted_place(id, &wanted, |_| true)? {
                return Ok(place);
            }
        }
        Err(ApiError::refused(format_args!("{} has not let this node write", self.patient_name(id)))
            .advise("ask the patient for a grant with --write, then run `chartmesh sync`"))
    }

    /// Whether what a grant to write needs is here: its party may write to the inbox, whatever else it may.
    pub(crate) fn may_write(&self, id: &LedgerId, grant: &GrantId) -> Result<bool, ApiError> {
        Ok(self.admitted_place(id, &Compartment::Inbox, |under| under == grant)?.is_some())
    }

    /// Where a party may write under such a grant: in a catalog of the compartment to whose epoch its maker, if it was a device that is lost since, has no key.
    fn admitted_place(&self, id: &LedgerId, compartment: &Compartment, under: impl Fn(&GrantId) -> bool) -> Result<Option<Place>, ApiError> {
        let (ledger, view) = self.open(id)?;
        let now = crate::time::now();
        let place = |lane: LaneId| {
            let state = ledger.lane(&lane);
            let access = view.writes.get(&lane)?.iter().filter(|access| under(&access.grant)).find(|access| {
                let grant = view.grants.get(&access.grant).and_then(|open| ledger.lane(&open.circle).grants.get(&access.grant));
                grant.is_some_and(|grant| grant.is_live(now)) && state.admits.contains_key(&access.id) && !state.bars.contains_key(&access.id)
            })?;
            let (epoch, recipient) = state.usable_epoch()?;
            let made_by = state.epochs.get(&epoch).map(|epoch| epoch.author)?;
            let uses = Some(Use::Admit { id: access.id, salt: access.salt });
            ledger.is_active(&made_by).then(|| Place { lane, compartment: *compartment, epoch, recipient: recipient.clone(), uses })
        };
        Ok(view.catalogs().filter(|(_, of)| *of == compartment).find_map(|(lane, _)| place(lane)))
    }
}

/// What there is to import.
#[derive(Default)]
struct Found {
    /// Files to read, in the order of their names.
    files: Vec<ImportPath>,
    /// How many files and links were passed over.
    skipped: u64,
}

/// Walks directories for `.json` and `.ndjson`. Links in them are followed to files, not to directories: they may lead in circles.
fn collect(paths: &[ImportPath]) -> Result<Found, ApiError> {
    let mut found = Found::default();
    for path in paths {
        walk(path.clone(), 0, &mut found)?;
    }
    if found.files.is_empty() {
        let called: Vec<String> = paths.iter().map(|path| path.called.display().to_string()).collect();
        return Err(ApiError::failed(format_args!("there is no .json or .ndjson file to import in {}", called.join(", ")))
            .advise("a file of another name is read if it is named itself"));
    }
    Ok(found)
}

fn walk(at: ImportPath, depth: usize, found: &mut Found) -> Result<(), ApiError> {
    let wrong = |error: std::io::Error| unreadable(&at, &error);
    let is_link = depth > 0 && std::fs::symlink_metadata(&at.path).map_err(wrong)?.is_symlink();
    let kind = match std::fs::metadata(&at.path) {
        Ok(kind) if !(is_link && kind.is_dir()) => kind,
        Err(error) if !is_link => return Err(wrong(error)),
        _ => {
            found.skipped += 1;
            return Ok(());
        }
    };
    if kind.is_dir() {
        if depth == MAX_NESTING {
            return Err(ApiError::failed(format_args!("{}: nested too deeply", at.called.display())));
        }
        let mut inside =
            std::fs::read_dir(&at.path).map_err(wrong)?.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        inside.sort();
        return inside.iter().try_for_each(|name| walk(ImportPath { path: at.path.join(name), called: at.called.join(name) }, depth + 1, found));
    }
    // What was named itself is read whatever it is called.
    if depth == 0 || (has_extension(&at.path, &["json", "ndjson", "jsonl"]) && kind.is_file()) {
        found.files.push(at);
    } else {
        found.skipped += 1;
    }
    Ok(())
}

fn has_extension(path: &Path, names: &[&str]) -> bool {
    path.extension().and_then(|extension| extension.to_str()).is_some_and(|extension| names.iter().any(|name| extension.eq_ignore_ascii_case(name)))
}

fn unreadable(at: &ImportPath, error: &std::io::Error) -> ApiError {
    let failed = ApiError::failed(format_args!("cannot read {}: {error}", at.called.display()));
    if error.kind() == std::io::ErrorKind::NotFound { failed.advise("look for a slip in the name, and which directory this is") } else { failed }
}

/// A whole file, unless it is larger than an import may be.
fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let most = MAX_IMPORT as u64;
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    // Devices and pipes do not tell their length.
    if length <= most {
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default() + 1);
        file.take(most + 1).read_to_end(&mut bytes)?;
        if bytes.len() <= MAX_IMPORT {
            return Ok(bytes);
        }
    }
    Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, format!("it is larger than the {most} bytes that one import takes")))
}

/// Reads the files one after the other; what cannot be read ends the import before anything of it is written.
fn read(files: Vec<ImportPath>) -> Result<Import, ApiError> {
    let mut failed = None;
    let inputs = files.into_iter().map_while(|at| match read_file(&at.path) {
        Ok(bytes) => {
            let name = at.called.to_string_lossy().into_owned();
            let lines = has_extension(&at.path, &["ndjson", "jsonl"]);
            Some(if lines { Input::lines(name, bytes) } else { Input::new(name, bytes) })
        }
        Err(error) => {
            failed = Some(unreadable(&at, &error));
            None
        }
    });
    let read = import(inputs).map_err(|error| ApiError::failed(error).advise("nothing was imported; mend or leave out that file"));
    match failed {
        Some(error) => Err(error),
        None => read,
    }
}
