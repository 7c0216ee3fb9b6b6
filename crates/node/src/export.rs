//! Export: what is readable here, as files of FHIR Bundles.
//!
//! A file appears under its name when all of it is known to be right and is on disk. Until then it is called [`UNFINISHED`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use chartmesh_identity::{BlobHash, EntryHash, LedgerId};
use chartmesh_records::{Compartment, ResourceFacts, bundle_around, read_bundle};
use tokio::task::JoinSet;

use crate::{
    api::{ApiError, ExportInfo, RefusedInfo},
    aside::aside,
    node::Node,
    reading::{Held, State},
};

/// So many documents are opened and written side by side: a file is done when it is on disk, and disks take several at once.
const AT_ONCE: usize = 8;
/// Extension of a file that is being written.
const UNFINISHED: &str = "unfinished";

/// What an export needs of a resource in parts.
struct Attachment {
    parts: Vec<(EntryHash, BlobHash)>,
    compartment: Compartment,
    facts: ResourceFacts,
}

impl Attachment {
    fn of(held: &Held<'_>) -> Option<Self> {
        held.in_parts.then(|| Self { parts: held.places.clone(), compartment: held.compartment, facts: held.facts.clone() })
    }
}

impl Node {
    /// Writes everything readable as FHIR Bundles into an empty directory.
    pub(crate) async fn records_export(&self, directory: &Path, patient: Option<&str>, purpose: Option<&str>) -> Result<ExportInfo, ApiError> {
        let (id, documents) = self.with(|core| {
            let id = core.find_patient(patient)?;
            let readable = core.resources(&id)?.into_iter().filter(|held| held.state == State::Readable);
            let wanted: BTreeMap<(EntryHash, BlobHash), Option<Attachment>> =
                readable.filter_map(|held| Some((*held.places.first()?, Attachment::of(&held)))).collect();
            Ok::<_, ApiError>((id, wanted))
        })?;
        let made = prepare(directory)?;
        let receipt = self.with(|core| {
            let (ledger, view) = core.open(&id)?;
            if core.is_owner(&id) {
                return Ok(());
            }
            let facts: Vec<ResourceFacts> = view
                .documents(ledger)
                .into_iter()
                .filter(|document| documents.contains_key(&(document.publish, document.blob())))
                .flat_map(|document| document.manifest.resources.facts())
                .collect();
            let what = facts.iter().map(|facts| format!("{}/{}", facts.resource_type, facts.id)).collect::<BTreeSet<_>>().into_iter().collect();
            core.receipt(&id, what, &facts.iter().collect::<Vec<_>>(), purpose)
        });
        if let Err(error) = receipt {
            if made {
                let _ = std::fs::remove_dir(directory);
            }
            return Err(error);
        }
        let mut info = ExportInfo { directory: directory.to_owned(), files: 0, resources: 0, damaged: Vec::new() };
        let mut written = BTreeSet::new();
        let mut waiting = documents.into_iter();
        let mut running = JoinSet::new();
        loop {
            while running.len() < AT_ONCE
                && let Some(((publish, blob), attachment)) = waiting.next()
            {
                let (node, directory) = (self.clone(), directory.to_owned());
                match attachment {
                    // Opens several parts side by side itself.
                    Some(attachment) => {
                        let ended = node.export_attachment(&id, directory, &publish, &blob, attachment).await;
                        info.count(&blob, ended, &mut written)?;
                    }
                    None => {
                        running.spawn(async move { (blob, node.export_document(&id, directory, &publish, &blob).await) });
                    }
                }
            }
            let Some(ended) = running.join_next().await else { break };
            let (blob, ended) = ended.map_err(|_| ApiError::failed("the export was cut short"))?;
            info.count(&blob, ended, &mut written)?;
        }
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(|error| unwritten(directory, &error))?;
        info.damaged.sort_by(|a, b| a.position.cmp(&b.position));
        info.resources = written.len() as u64;
        Ok(info)
    }

    /// Writes one document as a Bundle; the hashes of the resources that it holds.
    async fn export_document(&self, id: &LedgerId, directory: PathBuf, publish: &EntryHash, blob: &BlobHash) -> Result<Vec<[u8; 32]>, ExportError> {
        let bytes = self.blob(blob).await?;
        let opener = self.with(|core| core.opener(id, publish, blob))?;
        let (publish, blob) = (*publish, *blob);
        let work = aside(move || {
            let opened = opener.open(&bytes)?;
            let resources = read_bundle(&opened.content).map_err(ApiError::failed)?;
            let mut file = Unfinished::new(&directory, &opened.header.compartment, &publish, &blob)?;
            file.write(&opened.content)?;
            file.finish()?;
            Ok(resources.iter().map(|resource| *blake3::hash(resource).as_bytes()).collect())
        });
        work.await.map_err(|_| ExportError::Directory(ApiError::failed("the export was cut short")))?
    }

    /// Writes a resource in parts as a Bundle, each part when it is opened; its hash.
    async fn export_attachment(
        &self,
        id: &LedgerId,
        directory: PathBuf,
        publish: &EntryHash,
        blob: &BlobHash,
        attachment: Attachment,
    ) -> Result<Vec<[u8; 32]>, ExportError> {
        let Attachment { parts, compartment, facts } = attachment;
        let (before, after) = bundle_around(&compartment, &facts);
        let (publish, blob) = (*publish, *blob);
        let begun: Option<Unfinished> = None;
        let written = self.in_order(id, &parts, &facts, begun, move |file, opened| {
            let file = match file {
                Some(file) => file,
                None => {
                    let file = file.insert(Unfinished::new(&directory, &opened.header.compartment, &publish, &blob)?);
                    file.write(&before)?;
                    file
                }
            };
            file.write(&opened.content)
        });
        let written = written.await?;
        let finished = aside(move || {
            let Some(mut file) = written else { return Ok(()) };
            file.write(&after)?;
            file.finish()
        });
        finished.await.map_err(|_| ExportError::Directory(ApiError::failed("the export was cut short")))??;
        Ok(vec![facts.hash])
    }
}

/// Why a document was not exported.
enum ExportError {
    /// It cannot be read.
    Document(ApiError),
    /// It cannot be written, and so none can.
    Directory(ApiError),
}

impl From<ApiError> for ExportError {
    fn from(error: ApiError) -> Self {
        Self::Document(error)
    }
}

impl ExportInfo {
    fn count(&mut self, blob: &BlobHash, ended: Result<Vec<[u8; 32]>, ExportError>, written: &mut BTreeSet<[u8; 32]>) -> Result<(), ApiError> {
        match ended {
            Ok(resources) => {
                written.extend(resources);
                self.files += 1;
            }
            Err(ExportError::Document(error)) => self.damaged.push(RefusedInfo { position: format!("document {}", blob.short()), reason: error.what }),
            Err(ExportError::Directory(error)) => return Err(error),
        }
        Ok(())
    }
}

/// A file that is being written. It is gone if it is not finished.
struct Unfinished {
    file: File,
    /// What it is called.
    path: PathBuf,
    /// What it will be called.
    finished: PathBuf,
}

impl Unfinished {
    /// A document that two Publishes name may be written twice at the same time, to the same end.
    fn new(directory: &Path, compartment: &str, publish: &EntryHash, blob: &BlobHash) -> Result<Self, ExportError> {
        use std::os::unix::fs::OpenOptionsExt;

        let finished = directory.join(format!("{}-{blob}.json", compartment.replace('/', "-")));
        let path = finished.with_added_extension(publish.to_string()).with_added_extension(UNFINISHED);
        match File::options().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => Ok(Self { file, path, finished }),
            // Its header names a compartment of any length.
            Err(error) if matches!(error.kind(), ErrorKind::InvalidFilename | ErrorKind::InvalidInput) => {
                Err(ExportError::Document(ApiError::failed("its compartment makes no file's name")))
            }
            Err(error) => Err(ExportError::Directory(unwritten(&path, &error))),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        self.file.write_all(bytes).map_err(|error| ExportError::Directory(unwritten(&self.path, &error)))
    }

    /// On disk, and under its name.
    fn finish(self) -> Result<(), ExportError> {
        let named = self.file.sync_all().and_then(|()| std::fs::rename(&self.path, &self.finished));
        named.map_err(|error| ExportError::Directory(unwritten(&self.finished, &error)))
    }
}

impl Drop for Unfinished {
    /// Once it is finished there is none.
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn unwritten(path: &Path, error: &std::io::Error) -> ApiError {
    ApiError::failed(format_args!("{}: {error}", path.display()))
}

/// Makes a directory that only its owner reads, or takes one that is there and empty. Whether it was made.
fn prepare(directory: &Path) -> Result<bool, ApiError> {
    use std::os::unix::fs::DirBuilderExt;

    let wrong = |error: std::io::Error| unwritten(directory, &error);
    let made = !directory.exists();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(wrong)?;
    if std::fs::read_dir(directory).map_err(wrong)?.next().is_some() {
        return Err(ApiError::failed(format_args!("{} is not empty", directory.display())).advise("name a new directory"));
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_name_when_it_is_finished_and_takes_no_other_place() {
        let dir = tempfile::tempdir().expect("a directory");
        let names = || std::fs::read_dir(dir.path()).expect("a directory").count();
        let begin = |publish: u8, hash: &BlobHash| Unfinished::new(dir.path(), "general/notes", &EntryHash::new([publish; 32]), hash).map_err(|_| "not begun");
        let mut alike = [7; 32];
        let first = BlobHash::new(alike);
        alike[31] = 8;
        for (hash, count) in [(first, 1), (BlobHash::new(alike), 2)] {
            let (mut file, mut again) = (begin(1, &hash).expect("begun"), begin(2, &hash).expect("named by two"));
            let path = dir.path().join(format!("general-notes-{hash}.json"));
            assert!(file.write(b"{}").is_ok() && again.write(b"{}").is_ok() && !path.exists());
            assert!(file.finish().is_ok() && again.finish().is_ok());
            assert_eq!((std::fs::read(path).expect("a file"), names()), (b"{}".to_vec(), count));
        }
        let given_up = begin(1, &first).expect("begun");
        assert_eq!(names(), 3);
        drop(given_up);
        assert_eq!(names(), 2);
    }

    #[test]
    fn a_compartment_that_makes_no_name_is_the_documents_fault_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let begin = |directory: &Path, compartment: &str| Unfinished::new(directory, compartment, &EntryHash::new([1; 32]), &BlobHash::new([2; 32])).err();
        for compartment in ["x".repeat(64 << 10).as_str(), "a\0b"] {
            assert!(matches!(begin(dir.path(), compartment), Some(ExportError::Document(_))));
        }
        assert!(matches!(begin(&dir.path().join("none"), "general/notes"), Some(ExportError::Directory(_))));
    }
}
