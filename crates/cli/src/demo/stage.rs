//! Who acts in the demonstration: real nodes in one process, each with a home directory, an endpoint and a socket of its own.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use chartmesh_identity::Kind;
use chartmesh_node::{
    Node,
    api::{ApiError, CardInfo, ExportInfo, ImportInfo, PeerInfo, PeerSource, RecordInfo, Request, ShownInfo, SyncInfo},
    home::Home,
    setup,
};
use serde_json::Value;

use crate::{
    answer::{self, Answer},
    files::{self, Readers},
};

/// How long something may take that needs several nodes.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the nodes are left to themselves.
const BY_ITSELF: Duration = Duration::from_secs(15);
/// How long one exchange may take.
const EXCHANGE: Duration = Duration::from_secs(10);
/// Between two looks at whether something has arrived.
const PAUSE: Duration = Duration::from_millis(50);

/// The four nodes and their directory.
pub(crate) struct Stage {
    directory: PathBuf,
    pub(crate) patient: Actor,
    pub(crate) hospital: Actor,
    pub(crate) clinic: Actor,
    pub(crate) custodian: Actor,
}

/// One node.
pub(crate) struct Actor {
    /// What it is called in the story, and as a contact of the others.
    pub(crate) alias: &'static str,
    /// The name on its card.
    pub(crate) name: &'static str,
    kind: Kind,
    home: Home,
    node: Option<Node>,
}

impl Stage {
    /// Nobody is there yet.
    pub(crate) fn new(directory: PathBuf) -> Self {
        let actor = |alias, name, kind| Actor { alias, name, kind, home: Home::new(directory.join(alias)), node: None };
        Self {
            patient: actor("patient", "Maria Alvarez-Lind", Kind::Patient),
            hospital: actor("hospital", "Saint Anne Hospital", Kind::Organization),
            clinic: actor("clinic", "Harbour Street Clinic", Kind::Organization),
            custodian: actor("custodian", "Safe Harbour Storage", Kind::Custodian),
            directory,
        }
    }

    /// Everybody, the patient first.
    pub(crate) fn everybody(&self) -> [&Actor; 4] {
        [&self.patient, &self.hospital, &self.clinic, &self.custodian]
    }

    /// Makes the four homes and starts their nodes.
    pub(crate) async fn set_up(&mut self) -> Result<(), ApiError> {
        for actor in [&mut self.patient, &mut self.hospital, &mut self.clinic, &mut self.custodian] {
            // The words are of no use to anybody: this patient does not exist.
            setup::init(&actor.home, actor.kind, actor.name, None)?;
            actor.come().await?;
        }
        Ok(())
    }

    /// The patient and each of the others exchange cards; the others do not learn of one another.
    pub(crate) async fn introduce(&self) -> Result<(), ApiError> {
        for other in [&self.hospital, &self.clinic, &self.custodian] {
            self.patient.meet(other).await?;
            other.meet(&self.patient).await?;
        }
        Ok(())
    }

    /// A file with a Bundle, as it would arrive from outside.
    pub(crate) fn deliver(&self, name: &str, bundle: &[u8]) -> Result<PathBuf, ApiError> {
        files::write(&self.directory.join(name), bundle, Readers::Owner).map(|written| written.file)
    }

    /// Opens everything that this node can open, by way of an export, and gives the references of what came out.
    pub(crate) async fn open_everything(&self, actor: &Actor, name: &str) -> Result<BTreeSet<String>, ApiError> {
        let directory = self.directory.join(name);
        let info: ExportInfo = actor.ask(Request::RecordsExport { directory, patient: None, purpose: None }).await?;
        let mut references = BTreeSet::new();
        for entry in std::fs::read_dir(&info.directory).map_err(|error| files::cannot("read", &info.directory, &error))? {
            let path = entry.map_err(|error| files::cannot("read", &info.directory, &error))?.path();
            references.extend(references_in(&path)?);
        }
        Ok(references)
    }

    /// Ends all nodes that are up.
    pub(crate) async fn stop(&mut self) -> Result<(), ApiError> {
        let Self { patient, hospital, clinic, custodian, .. } = self;
        let (patient, hospital, clinic, custodian) = tokio::join!(patient.leave(), hospital.leave(), clinic.leave(), custodian.leave());
        patient.and(hospital).and(clinic).and(custodian)
    }
}

/// The `Type/id` of every resource in an exported Bundle.
fn references_in(path: &Path) -> Result<Vec<String>, ApiError> {
    let bytes = std::fs::read(path).map_err(|error| files::cannot("read", path, &error))?;
    let bundle: Value = serde_json::from_slice(&bytes).map_err(|error| ApiError::failed(format_args!("{} is not JSON: {error}", path.display())))?;
    let entries = bundle["entry"].as_array().into_iter().flatten();
    Ok(entries
        .filter_map(|entry| {
            let resource = &entry["resource"];
            Some(format!("{}/{}", resource["resourceType"].as_str()?, resource["id"].as_str()?))
        })
        .collect())
}

impl Actor {
    /// Starts the node on a free port of loopback.
    pub(crate) async fn come(&mut self) -> Result<(), ApiError> {
        let node = Node::open(&self.home, None).await?;
        // Kept first, so that it is stopped whatever happens.
        self.node.insert(node).serve(Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))).await?;
        Ok(())
    }

    /// Stops the node, as if the device were switched off.
    pub(crate) async fn leave(&mut self) -> Result<(), ApiError> {
        match self.node.take() {
            Some(node) => node.stop().await,
            None => Ok(()),
        }
    }

    /// Asks this node.
    pub(crate) async fn ask<T: Answer>(&self, request: Request) -> Result<T, ApiError> {
        let node = self.node.as_ref().ok_or_else(|| ApiError::unreachable(format_args!("the node of the {} is switched off", self.alias)))?;
        answer::expect(node.ask(request).await?)
    }

    async fn meet(&self, other: &Self) -> Result<(), ApiError> {
        let card: CardInfo = other.ask(Request::Card).await?;
        let _: PeerInfo = self.ask(Request::PeerAdd { source: PeerSource::Ticket(card.ticket), alias: Some(other.alias.to_owned()) }).await?;
        Ok(())
    }

    /// Imports a file.
    pub(crate) async fn import(&self, path: PathBuf, patient: Option<&str>) -> Result<ImportInfo, ApiError> {
        self.ask(Request::Import { paths: vec![path.into()], patient: patient.map(str::to_owned) }).await
    }

    /// What this node lists.
    pub(crate) async fn records(&self) -> Result<Vec<RecordInfo>, ApiError> {
        self.ask(Request::RecordsList { patient: None, resource_type: None }).await
    }

    /// One record, byte for byte.
    pub(crate) async fn show(&self, reference: &str) -> Result<Vec<u8>, ApiError> {
        let request = Request::RecordsShow { reference: reference.to_owned(), patient: None, document: None, purpose: None, quarantined: false };
        Ok(self.ask::<ShownInfo>(request).await?.resource)
    }

    /// One exchange with everyone who is there. That somebody is not is no failure here: what comes of it is looked at afterwards.
    pub(crate) async fn sync(&self) -> Result<(), ApiError> {
        let timeout_ms = u64::try_from(EXCHANGE.as_millis()).unwrap_or(u64::MAX);
        match self.ask::<SyncInfo>(Request::Sync { timeout_ms }).await {
            Err(error) if error.kind != chartmesh_node::api::ErrorKind::Unreachable => Err(error),
            _ => Ok(()),
        }
    }

    /// Waits until what this node lists is as it should be; if it does not come by itself, asks everybody for it. Whether it came before patience ended.
    pub(crate) async fn comes_about(&self, fits: impl Fn(&[RecordInfo]) -> bool) -> Result<bool, ApiError> {
        let begin = Instant::now();
        loop {
            if fits(&self.records().await?) {
                return Ok(true);
            }
            if begin.elapsed() > PATIENCE {
                return Ok(false);
            }
            if begin.elapsed() > BY_ITSELF {
                self.sync().await?;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// `Type/id` of a record that is known.
pub(crate) fn reference(record: &RecordInfo) -> Option<String> {
    Some(format!("{}/{}", record.resource_type.as_ref()?, record.id.as_ref()?))
}

/// The references of what is readable in a list.
pub(crate) fn readable(records: &[RecordInfo]) -> BTreeSet<String> {
    records.iter().filter(|record| record.state == "readable").filter_map(reference).collect()
}
