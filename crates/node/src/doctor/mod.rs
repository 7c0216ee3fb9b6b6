//! The doctor: whether everything at rest in a home is as it was written, and mending what is not.
//!
//! A closed home is looked at without being opened, because what is damaged may not open: the vault reads its own files (`chartmesh_vault::AtRest`), what it can read makes a
//! second vault in a scratch directory, and that is what ledgers and documents are checked with (`tables.rs`, `documents.rs`). So looking changes nothing. A repair puts the
//! second vault into the place of the first, makes the database of documents anew, takes out documents that are damaged and asks peers for them (`mend.rs`). What it takes
//! out is kept in a directory `damaged` of the home.
//!
//! A home with a running node is looked at through it; there only documents can be mended.

mod documents;
mod mend;
mod tables;

use std::path::{Path, PathBuf};

use chartmesh_vault::{AtRest, VaultError};
use zeroize::Zeroizing;

use crate::{
    api::{ApiError, DoctorInfo, FindingInfo},
    core::Core,
    home::Home,
    node::{Node, advised, patiently},
};

const DAMAGED: &str = "damaged";
const REPAIRED: &str = "repaired";
const LOST: &str = "lost";

/// Looks at a home that no node has open, and mends it if asked to.
pub(crate) async fn at_rest(home: &Home, passphrase: Option<&Zeroizing<String>>, repair: bool) -> Result<DoctorInfo, ApiError> {
    mend::finish(home)?;
    let examined = Box::pin(examine(home, passphrase)).await?;
    if repair && !examined.info.findings.is_empty() { Box::pin(mend::mend(home, passphrase, examined)).await } else { Ok(examined.info) }
}

/// What looking at a closed home has come to.
struct Examined {
    info: DoctorInfo,
    /// None if the key file does not open: then nothing can be mended.
    open: Option<Opened>,
}

/// What a repair goes on with. Fields are dropped in order: the scratch directory last.
struct Opened {
    core: Core,
    at_rest: AtRest,
    /// The vault must be replaced.
    vault: bool,
    /// Nothing that was ever committed is gone.
    whole: bool,
    /// Some of it has to come from peers.
    incomplete: bool,
    documents: documents::Found,
    scratch: Scratch,
}

async fn examine(home: &Home, passphrase: Option<&Zeroizing<String>>) -> Result<Examined, ApiError> {
    let mut info = DoctorInfo::default();
    if let Err(error) = home.config() {
        info.note("config.json", error.what, "the node does not start with it", Some("correct the file, or remove it: all settings are optional"));
    }
    let at_rest = match patiently(home, passphrase, AtRest::open).await {
        Ok(at_rest) => at_rest,
        Err(error @ VaultError::KeyFile(_)) => {
            let meaning = "nothing of the vault can be opened without it, by anybody";
            let advice = advised(home, &error).advice;
            info.note("keys.age", error.to_string(), meaning, advice.as_deref());
            documents::check_files(&home.blobs(), &mut info);
            return Ok(Examined { info: info.judged(), open: None });
        }
        Err(error) => return Err(advised(home, &error)),
    };
    let wrong = |error: VaultError| ApiError::failed(format_args!("{}: {error}", home.path().display()));
    let scratch = Scratch::make(home)?;
    let checkup = at_rest.check();
    info.values = checkup.values;
    let (vault, whole) = at_rest.rescue(scratch.path()).map_err(wrong)?;
    info.findings.extend(checkup.damage.iter().map(|damage| tables::explain(damage, whole)));
    let changed = tables::settle(&vault, &checkup, whole, &mut info)?;
    let core = Core::load(vault)?;
    for (id, bodiless) in core.replica.bodiless.iter().filter(|(_, bodiless)| !bodiless.is_empty()) {
        let problem = format!("the sealed bodies of {} entries are missing", bodiless.len());
        info.note(format!("ledger {}", id.short()), problem, tables::ENTRIES, Some(tables::MENDS));
    }
    let lacks_own = core.replica.ledgers.keys().any(|id| core.lacks_own(id, |_| true));
    let incomplete = changed || !whole || core.is_incomplete() || lacks_own || core.replica.bodiless.values().any(|bodiless| !bodiless.is_empty());
    let documents = documents::look(home, scratch.path(), &core, &mut info).await?;
    let open = Opened { core, at_rest, vault: changed || !checkup.damage.is_empty(), whole, incomplete, documents, scratch };
    Ok(Examined { info: info.judged(), open: Some(open) })
}

impl Node {
    /// Looks at the home of this node while it runs.
    pub(crate) async fn doctor(&self, repair: bool) -> Result<DoctorInfo, ApiError> {
        let mut info = DoctorInfo::default();
        if let Err(error) = self.0.home.config() {
            info.note("config.json", error.what, "the node does not start with it again", Some("correct the file, or remove it: all settings are optional"));
        }
        let checkup = self.with(|core| core.vault.check()).map_err(ApiError::failed)?;
        info.values = checkup.values;
        info.findings.extend(checkup.damage.iter().map(|damage| {
            let found = tables::explain(damage, false);
            FindingInfo { advice: Some("stop the node, then `chartmesh doctor --repair`".into()), ..found }
        }));
        let verified = self.ledger_verify()?;
        (info.ledgers, info.charters, info.entries) = (verified.ledgers, verified.charters, verified.entries);
        if self.with(|core| core.is_incomplete()) {
            info.note("this home", "its repair is not finished", tables::UNFINISHED, Some("stop the node, then `chartmesh doctor --repair`"));
        }
        if checkup.damage.is_empty() {
            for problem in verified.problems {
                info.note("ledger", problem, tables::ENTRIES, Some("stop the node, then `chartmesh doctor --repair`"));
            }
        }
        let bad = documents::look_running(self, &mut info).await?;
        if repair && !bad.is_empty() {
            mend::fetch_again(self, &bad, &mut info).await?;
        }
        Ok(info.judged())
    }
}

impl DoctorInfo {
    fn note(&mut self, object: impl Into<String>, problem: impl Into<String>, meaning: &str, advice: Option<&str>) {
        let (object, problem) = (object.into(), problem.into());
        self.findings.push(FindingInfo { object, problem, state: DAMAGED.into(), meaning: meaning.into(), advice: advice.map(Into::into) });
    }

    fn judged(mut self) -> Self {
        self.ok = self.findings.iter().all(|finding| finding.state == REPAIRED);
        self
    }
}

/// A directory to work in, in the home so that nothing leaves it. Removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn make(home: &Home) -> Result<Self, ApiError> {
        let path = home.path().join("check");
        let scratch = Self(path);
        scratch.remove();
        let made = std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(scratch.path());
        made.map_err(|error| {
            ApiError::failed(format_args!("{}: {error}", scratch.0.display())).advise("the doctor needs room for a second vault in the home")
        })?;
        Ok(scratch)
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn remove(&self) {
        // One that a crash left is in nobody's way but the next doctor's.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.remove();
    }
}
