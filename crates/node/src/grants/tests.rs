//! What a revoke writes.

use chartmesh_identity::{Card, Contact, Kind, Profile, SigningSecret};
use chartmesh_sealing::Identity;

use crate::{
    api::{GrantInfo, PeerSource, Request, Response, TermsInput},
    home::Home,
    node::Node,
    setup,
};

/// Each is of a compartment of its own.
const RECORDS: [&str; 3] = [
    r#"{"resourceType":"Observation","id":"o","status":"final","code":{"text":"HbA1c"},"subject":{"reference":"Patient/m"}}"#,
    r#"{"resourceType":"Condition","id":"c","code":{"text":"Asthma"},"subject":{"reference":"Patient/m"}}"#,
    r#"{"resourceType":"DocumentReference","id":"d","status":"current","subject":{"reference":"Patient/m"},"content":[{"attachment":{"title":"Letter"}}]}"#,
];

async fn granted(patient: &Node, n: usize) -> GrantInfo {
    let key = SigningSecret::generate();
    let profile =
        Profile { name: format!("Dr {n}"), kind: Kind::Practitioner, party: key.party(), recipient: Identity::generate().recipient().clone(), version: 1 };
    let contact = Contact { endpoints: vec![SigningSecret::generate().endpoint()], counter: 1, ..Contact::default() };
    let card = Card { profile, contact }.sign(&key).expect("a card").as_bytes().to_vec();
    let alias = format!("reader-{n}");
    patient.ask(Request::PeerAdd { source: PeerSource::File(card), alias: Some(alias.clone()) }).await.expect("a contact");
    let Response::Grant(info) = patient.ask(Request::ConsentGrant { peer: alias, terms: TermsInput::default() }).await.expect("a grant") else { panic!() };
    info
}

/// Entries that a revoke takes where so many compartments were granted and so many readers stay, for each number of readers.
async fn written(compartments: usize, readers: &[usize]) -> Vec<usize> {
    let directory = tempfile::tempdir().expect("a directory");
    let home = Home::new(directory.path().join("home"));
    setup::init(&home, Kind::Patient, "Maria", None).expect("a home");
    let patient = Node::open(&home, None).await.expect("a node");
    let paths = RECORDS.iter().take(compartments).enumerate().map(|(n, record)| {
        let path = directory.path().join(format!("{n}.json"));
        std::fs::write(&path, record).expect("a file");
        path.into()
    });
    patient.ask(Request::Import { paths: paths.collect(), patient: None }).await.expect("an import");
    let entries = || patient.with(|core| core.replica.ledgers.values().map(chartmesh_ledger::Ledger::len).sum::<usize>());
    let (mut staying, mut counts) = (0, Vec::new());
    for readers in readers {
        while staying < *readers {
            granted(&patient, staying).await;
            staying += 1;
        }
        let leaves = granted(&patient, 1_000 + staying).await;
        let before = entries();
        patient.ask(Request::ConsentRevoke { grant: leaves.grant.to_string(), reason: None }).await.expect("a revoke");
        counts.push(entries() - before);
    }
    patient.stop().await.expect("the end");
    counts
}

#[tokio::test]
async fn a_revoke_writes_one_entry_for_each_reader_who_stays_and_some_for_each_compartment() {
    let readers = [1, 4, 10];
    let one = written(1, &readers).await;
    let (two, three) = (written(2, &readers).await, written(3, &readers).await);
    for counts in [&one, &two, &three] {
        assert_eq!(counts.iter().map(|count| count - counts[0]).collect::<Vec<_>>(), [0, 3, 9], "one envelope for each reader: {counts:?}");
    }
    for (one, (two, three)) in one.iter().zip(two.iter().zip(&three)) {
        assert!(
            two > one && three - two == two - one && two - one <= 3,
            "a bar, an epoch and its key for each compartment, whoever stays: {one} {two} {three}"
        );
    }
}
