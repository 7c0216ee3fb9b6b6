//! What comes back, whatever whoever has the lost device did before.

use chartmesh_identity::{AccessId, GrantId, to_canonical};
use chartmesh_ledger::{EntryHeader, Fence};

use super::*;
use crate::{
    api::{Request, Response, TermsInput},
    core::INCOMPLETE,
    setup,
};

async fn patient(directory: &tempfile::TempDir) -> (Node, RecoveryWords) {
    let home = Home::new(directory.path().join("home"));
    let words = setup::init(&home, Kind::Patient, "Maria", None).expect("a home").words.expect("words");
    (Node::open(&home, None).await.expect("a node"), words)
}

fn import(directory: &tempfile::TempDir, name: &str) -> Request {
    let record = directory.path().join(name);
    std::fs::write(&record, format!(r#"{{"resourceType":"Observation","id":"{name}","status":"final","code":{{"text":"HbA1c"}}}}"#)).expect("a file");
    Request::Import { paths: vec![record.into()], patient: None }
}

/// Whoever has the lost device can write entries of the keyring until it is suspended.
#[tokio::test]
async fn a_keyring_that_names_other_lanes_is_passed_over() {
    let directory = tempfile::tempdir().expect("a directory");
    let (node, words) = patient(&directory).await;
    node.with(|core| {
        let id = core.own_ledger().expect("a patient");
        let patient = core.keys.patient.as_ref().expect("a patient");
        let (secret, identity) = (*patient.keyring_secret.expose(), *patient.keyring.expose_seed());
        let lane = core.ledger(&id).expect("a ledger").charter().keyring_lane;
        for _ in 0..4 {
            let keyring = KeyringKey { ledger: id, name: None, secret: seed(), identity: Seed::new(identity) };
            let body = crate::write::seal_body(&KeyBody { keys: Vec::new(), keyring: Some(keyring) }, &recovery_recipient(&words)).expect("sealed");
            let mut writer = Writer::new(core, id).expect("a writer");
            writer.entry(lane, Action::Key {}, Parts::body(body)).expect("an entry");
            writer.commit().expect("stored");
        }
        assert_eq!(find_keyring(core, &id, &words).expect("a keyring").secret.expose(), &secret);
    });
    node.stop().await.expect("the end");
}

/// A charter of the lost device's root may suspend it before anything that it has ever signed.
#[tokio::test]
async fn what_was_signed_before_a_thief_suspends_the_device_counts() {
    let directory = tempfile::tempdir().expect("a directory");
    let (node, _) = patient(&directory).await;
    node.ask(import(&directory, "first")).await.expect("an import");
    node.with(|core| {
        let id = core.own_ledger().expect("a patient");
        let mut writer = Writer::new(core, id).expect("a writer");
        writer.charter(|next| next.devices.iter_mut().for_each(|device| device.suspended = Some(Vec::new()))).expect("a charter");
        writer.commit().expect("stored");
        let (ledger, view) = core.open(&id).expect("a view");
        assert!(view.catalogs().next().is_some() && view.documents(ledger).iter().all(|document| document.quarantined), "nothing of it stands");
        let before = as_decided(ledger).expect("a ledger");
        let patient = core.keys.patient.as_ref().expect("a patient");
        let mut view = View::owner(patient.keyring.share(), Seed::new(*patient.keyring_secret.expose()), &before);
        view.read_all(&before);
        assert!(view.documents(&before).iter().all(|document| !document.quarantined) && !held_keys(&before, &view).is_empty());
        let [(device, heads)] = fences(&before, &view).try_into().expect("one device");
        assert_eq!((device, heads.len()), (core.keys.author(), before.lanes().count()));
    });
    node.stop().await.expect("the end");
}

/// A root of a device signs whatever it likes: also what nobody could follow, or whom the patient never named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_thief_makes_of_the_charter_does_not_outlast_the_words() {
    let directory = tempfile::tempdir().expect("a directory");
    let (stolen, words) = patient(&directory).await;
    stolen.ask(import(&directory, "first")).await.expect("an import");
    stolen.with(|core| {
        let id = core.own_ledger().expect("a patient");
        let patient = core.keys.patient.as_ref().expect("a patient");
        let (secret, identity) = (Seed::new(*patient.keyring_secret.expose()), seed());
        let keyring = Identity::from_seed(identity.expose()).recipient().clone();
        let lane = core.ledger(&id).expect("a ledger").charter().keyring_lane;
        let body = KeyBody { keys: Vec::new(), keyring: Some(KeyringKey { ledger: id, name: None, secret, identity }) };
        let body = crate::write::seal_body(&body, &recovery_recipient(&words)).expect("sealed");
        let accomplice =
            chartmesh_ledger::Custodian { party: SigningSecret::generate().party(), card: core.keys.profile().hash(), endpoint: core.keys.endpoint_key() };
        let mut writer = Writer::new(core, id).expect("a writer");
        writer.entry(lane, Action::Key {}, Parts::body(body)).expect("an entry");
        writer
            .charter(|next| {
                next.threshold = 2;
                next.min_suite = 99;
                next.crit.push("whatever".into());
                next.keyring = keyring;
                next.keyring_lane = chartmesh_identity::LaneId::new([7; 32]);
                next.custodians.push(accomplice);
                // There is no place for another one.
                while next.devices.len() < 128 {
                    next.devices.push(chartmesh_ledger::Device { key: SigningSecret::generate().author(), ..next.devices[0].clone() });
                }
            })
            .expect("a charter");
        writer.commit().expect("stored");
    });
    let node = recovered(stolen, &directory, &words).await;
    let Response::Records(records) = node.ask(Request::RecordsList { patient: None, resource_type: None }).await.expect("a list") else { panic!() };
    assert_eq!(records.len(), 1);
    node.ask(import(&directory, "second")).await.expect("an import");
    node.with(|core| {
        let ledger = core.ledger(&core.own_ledger().expect("a patient")).expect("a ledger");
        assert!(ledger.may_give() && ledger.charter().custodians.is_empty());
    });
    node.stop().await.expect("the end");
}

/// A contact, and what it is granted.
async fn grant(node: &Node, alias: &str, kind: Kind, terms: TermsInput) {
    let key = SigningSecret::generate();
    let recipient = Identity::generate().recipient().clone();
    let profile = chartmesh_identity::Profile { name: alias.into(), kind, party: key.party(), recipient, version: 1 };
    let contact = chartmesh_identity::Contact { endpoints: vec![key.endpoint()], counter: 1, ..Default::default() };
    let card = Card { profile, contact }.sign(&key).expect("a card").as_bytes().to_vec();
    node.ask(Request::PeerAdd { source: PeerSource::File(card), alias: Some(alias.into()) }).await.expect("a contact");
    node.ask(Request::ConsentGrant { peer: alias.into(), terms }).await.expect("a grant");
}

/// The new device, once all has come back, and the lost one has no authority.
async fn recovered(lost: Node, directory: &tempfile::TempDir, words: &RecoveryWords) -> Node {
    lost.serve(Some(([127, 0, 0, 1], 0).into())).await.expect("a network");
    let ticket = lost.with(|core| core.card_info().ticket);
    let new = Home::new(directory.path().join("new"));
    let back = recover(&new, words, PeerSource::Ticket(ticket), false, None, None, Duration::from_secs(600)).await.expect("a new device");
    assert_eq!((back.documents, back.missing, back.suspended), (1, 0, 1));
    lost.stop().await.expect("the end");
    Node::open(&new, None).await.expect("a node")
}

/// It signs, and what it signs counts.
async fn publishes(node: &Node, directory: &tempfile::TempDir) {
    let Response::Imported(info) = node.ask(import(directory, "second")).await.expect("it signs") else { panic!() };
    assert_eq!(info.published, 1);
}

/// As a device that was stolen signs them: one after the other in its log of a lane.
fn sign(core: &mut Core, lane: LaneId, (mut seq, mut prev): (u64, Option<EntryHash>), crit: &[&str], actions: impl Iterator<Item = Action>) {
    let id = core.own_ledger().expect("a patient");
    let key = SigningSecret::from_seed(&core.keys.signing.expose_seed());
    let entries: Vec<Entry> = actions
        .map(|action| {
            let (author, suite, time) = (key.author(), chartmesh_ledger::SUITE, 0);
            let (cert, uses, epoch, body, unknown) = (None, None, None, None, Vec::new());
            let crit = crit.iter().map(|name| (*name).to_owned()).collect();
            let header = EntryHeader { suite, ledger: id, lane, author, cert, seq, prev, time, action, uses, epoch, body, crit, unknown };
            let entry = Entry::sign(header, None, &key);
            (seq, prev) = (seq + 1, Some(entry.hash()));
            entry
        })
        .collect();
    let added = core.replica.ledgers.get_mut(&id).expect("a ledger").add_all(entries).added;
    core.persist(id, &[], &added).expect("stored");
}

/// What whoever has the device signs in its lanes and says of the patient stands; all of it lies before the fence, and the words are used once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_thief_signs_does_not_keep_the_chart_from_being_used_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let (stolen, words) = patient(&directory).await;
    stolen.ask(import(&directory, "first")).await.expect("an import");
    grant(&stolen, "reader", Kind::Practitioner, TermsInput::default()).await;
    for n in 0..MAX_MEMBERS + 9 {
        let custodian = TermsInput { custodian: true, ..TermsInput::default() };
        if n == 100 {
            // A charter lists no more than so many, but the next one may list others.
            stolen.with(|core| {
                let mut writer = Writer::new(core, core.own_ledger().expect("a patient")).expect("a writer");
                writer.charter(|next| next.custodians.clear()).expect("a charter");
                writer.commit().expect("stored");
            });
        }
        grant(&stolen, &format!("custodian-{n}"), Kind::Custodian, custodian).await;
    }
    stolen.with(|core| {
        let id = core.own_ledger().expect("a patient");
        let (ledger, view) = core.open(&id).expect("a view");
        // Over before it begins, which its header does not say.
        let reader = view.grants.values().find(|open| open.party_name == "reader").expect("a grant");
        let (lane, party) = (reader.circle, reader.party);
        let terms = chartmesh_consent::Terms { expires: Some(1), ..reader.terms.clone() };
        let body = chartmesh_ledger::GrantBody {
            terms: serde_bytes::ByteBuf::from(to_canonical(&terms)),
            party_name: "reader".into(),
            purpose: String::new(),
            card: None,
        };
        let body = crate::write::seal_body(&body, view.circle_identity(&lane).expect("an identity").recipient()).expect("sealed");
        // The keyring by another name.
        let patient = core.keys.patient.as_ref().expect("a patient");
        let keyring = KeyringKey {
            ledger: id,
            name: Some("\u{202e}".repeat(200)),
            secret: Seed::new(*patient.keyring_secret.expose()),
            identity: Seed::new(*patient.keyring.expose_seed()),
        };
        let named = crate::write::seal_body(&KeyBody { keys: Vec::new(), keyring: Some(keyring) }, &recovery_recipient(&words)).expect("sealed");
        let keyring_lane = ledger.charter().keyring_lane;
        let lanes: Vec<LaneId> = view.lanes.keys().copied().filter(|lane| *lane != keyring_lane).collect();
        let mut writer = Writer::new(core, id).expect("a writer");
        writer.entry(lane, Action::Grant { id: GrantId::random(), party, until: None, max_age: 9 }, Parts::body(body)).expect("an entry");
        writer.entry(keyring_lane, Action::Key {}, Parts::body(named)).expect("an entry");
        writer.commit().expect("stored");
        for lane in lanes {
            let nonsense = || [Action::Unknown { code: "nonsense".into(), raw: vec![0xa0] }].into_iter();
            let (seq, prev) = core.ledger(&id).expect("a ledger").next(&lane, &core.keys.author());
            sign(core, lane, (seq, prev), &["nonsense"], nonsense());
            sign(core, lane, (1, None), &[], nonsense());
        }
    });
    let node = recovered(stolen, &directory, &words).await;
    publishes(&node, &directory).await;
    let Response::Records(records) = node.ask(Request::RecordsList { patient: None, resource_type: None }).await.expect("a list") else { panic!() };
    assert!(records.iter().filter(|record| record.state == "readable").count() == 2, "{records:?}");
    node.with(|core| {
        let id = core.own_ledger().expect("a patient");
        let (ledger, view) = core.open(&id).expect("a view");
        assert_eq!((ledger.charter().custodians.len(), core.keys.name.as_str()), (MAX_MEMBERS, UNNAMED));
        let reader = view.grants.iter().find(|(_, open)| open.party_name == "reader" && open.terms.expires.is_none()).expect("a grant");
        let state = &ledger.lane(&reader.1.circle).grants[reader.0];
        let given = |lane: &LaneId| ledger.lane(lane).usable.is_some_and(|epoch| state.envelopes.iter().any(|envelope| envelope.epochs.contains(&epoch)));
        assert!(view.catalogs().all(|(lane, _)| !ledger.lane(&lane).frozen_giving && given(&lane)));
    });
    node.stop().await.expect("the end");
}

/// As in a home that was put back from a copy and went on: the branch with less is left, and with it what was taken away there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_revoked_stays_so_and_what_nobody_can_see_ends() {
    let directory = tempfile::tempdir().expect("a directory");
    let (stolen, words) = patient(&directory).await;
    stolen.ask(import(&directory, "first")).await.expect("an import");
    grant(&stolen, "left", Kind::Practitioner, TermsInput::default()).await;
    grant(&stolen, "stays", Kind::Practitioner, TermsInput::default()).await;
    let of = |core: &Core, name: &str| {
        let (_, view) = core.open(&core.own_ledger().expect("a patient")).expect("a view");
        view.grants.iter().find(|(_, open)| open.party_name == name).map(|(grant, open)| (*grant, open.circle, open.party)).expect("a grant")
    };
    let (left, circle, party) = stolen.with(|core| of(core, "left"));
    let (stays, _, _) = stolen.with(|core| of(core, "stays"));
    stolen.ask(Request::ConsentRevoke { grant: left.to_string(), reason: None }).await.expect("a revoke");
    let hidden = LaneId::new([5; 32]);
    stolen.with(|core| {
        let id = core.own_ledger().expect("a patient");
        let entries: Vec<Entry> = core.ledger(&id).expect("a ledger").entries(&circle).cloned().collect();
        let at = entries.iter().find(|entry| matches!(entry.header.action, Action::Revoke { .. })).expect("a revoke");
        let nonsense = || (0..9).map(|_| Action::Unknown { code: "nonsense".into(), raw: vec![0xa0] });
        sign(core, circle, (at.header.seq, at.header.prev), &[], nonsense());
        // To one who was let go, and under an id that is somebody else's too.
        let given = [GrantId::random(), stays].map(|id| Action::Grant { id, party, until: None, max_age: 9 });
        let mut writer = Writer::new(core, id).expect("a writer");
        for action in given {
            writer.entry(hidden, action, Parts::body(vec![1; 300])).expect("an entry");
        }
        let silent = Action::Grant { id: GrantId::random(), party, until: None, max_age: 9 };
        writer.entry(hidden, silent, Parts::default()).expect("an entry");
        writer.commit().expect("stored");
    });
    let node = recovered(stolen, &directory, &words).await;
    node.with(|core| {
        let id = core.own_ledger().expect("a patient");
        assert_eq!(of(core, "left"), (left, circle, party));
        let (ledger, view) = core.open(&id).expect("a view");
        assert!(ledger.lane(&circle).grants[&left].revoked.is_some(), "it was revoked");
        assert!(ledger.lane(&hidden).grants.len() == 3 && ledger.lane(&hidden).grants.values().all(|grant| grant.revoked.is_some()));
        let kept = &ledger.lane(&view.grants[&stays].circle).grants[&stays];
        assert!(kept.revoked.is_none() && kept.envelopes.len() < 9, "it is not handed over again and again: {}", kept.envelopes.len());
        let given = |lane: &LaneId| ledger.lane(lane).usable.is_some_and(|epoch| kept.envelopes.iter().any(|envelope| envelope.epochs.contains(&epoch)));
        assert!(view.catalogs().next().is_some() && view.catalogs().all(|(lane, _)| given(&lane)), "and goes on reading");
    });
    node.stop().await.expect("the end");
}

/// An Epoch names all that it supersedes and covers, and a list has bounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thief_that_signs_thousands_of_bars_and_epochs_does_not_close_the_chart_to_the_words() {
    let directory = tempfile::tempdir().expect("a directory");
    let (stolen, words) = patient(&directory).await;
    stolen.ask(import(&directory, "first")).await.expect("an import");
    stolen.with(|core| {
        let id = core.own_ledger().expect("a patient");
        let lane = core.open(&id).expect("a view").1.catalogs().next().expect("a catalog").0;
        let bars = (0..MAX_LIST as u128).map(|n| Action::Bar { id: AccessId::new(n.to_be_bytes()), fence: Fence::default() });
        let recipient = Identity::generate().recipient().clone();
        let epoch = |_| Action::Epoch { recipient: recipient.clone(), supersedes: Vec::new(), covers: Vec::new(), past: Fence::default() };
        let next = |core: &Core| core.ledger(&id).expect("a ledger").next(&lane, &core.keys.author());
        let place = next(core);
        sign(core, lane, place, &[], (0..MAX_LIST + 9).map(epoch));
        let place = next(core);
        sign(core, lane, place, &[], bars);
    });
    let node = recovered(stolen, &directory, &words).await;
    publishes(&node, &directory).await;
    node.with(|core| {
        let id = core.own_ledger().expect("a patient");
        let (ledger, view) = core.open(&id).expect("a view");
        for (lane, _) in view.catalogs() {
            let state = ledger.lane(&lane);
            assert!(state.bars.len() < MOST_BARS && state.usable.is_some_and(|epoch| view.epochs.contains_key(&epoch)));
        }
        assert!(view.documents(ledger).iter().all(|document| !document.quarantined));
    });
    node.stop().await.expect("the end");
}

/// Nobody else holds what was lost, or can say that it is all: the damaged home itself is whom the words are shown to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_sign_any_more_and_is_alone_makes_a_new_device_of_the_same_home() {
    let directory = tempfile::tempdir().expect("a directory");
    let home = Home::new(directory.path().join("home"));
    let words = setup::init(&home, Kind::Patient, "Maria", None).expect("a home").words.expect("words");
    let damaged = Node::open(&home, None).await.expect("a node");
    damaged.ask(import(&directory, "first")).await.expect("an import");
    damaged.with(|core| core.vault.put(chartmesh_vault::Table::Meta, INCOMPLETE, &[]).expect("stored"));
    damaged.stop().await.expect("the end");
    drop(damaged);

    let damaged = Node::open(&home, None).await.expect("a node");
    assert!(damaged.ask(import(&directory, "second")).await.is_err_and(|error| error.advice.is_some_and(|advice| advice.contains("this home's ticket"))));
    let node = recovered(damaged, &directory, &words).await;
    let Response::Imported(info) = node.ask(import(&directory, "third")).await.expect("it signs") else { panic!() };
    assert_eq!(info.published, 1);
    node.stop().await.expect("the end");
}
