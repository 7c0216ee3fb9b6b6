//! Sessions between two homes whose frames are carried by hand: what each side says, without network or fetcher.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chartmesh_exchange::{Effect, Event, Frame, Side};
use chartmesh_identity::{BlobHash, EndpointKey, Kind};
use chartmesh_ledger::{Action, Blob};
use chartmesh_sealing::MAX_SEALED;
use chartmesh_vault::Batch;
use tokio::sync::mpsc;

use super::{Out, Outbox, Slot, Source};
use crate::{
    api::{PeerSource, Request, TermsInput},
    core::Core,
    home::Home,
    net::{ALPN, MAX_FRAME, Route},
    node::Node,
    setup,
    write::{Parts, Writer},
};

const WAIT: Duration = Duration::from_secs(10);
const RESULT: &str = r#"{"resourceType":"Observation","id":"hba1c","status":"final","code":{"text":"HbA1c"},"subject":{"reference":"Patient/maria"}}"#;

/// A node at home, and its endpoint.
async fn node(directory: &tempfile::TempDir, kind: Kind, name: &str) -> (Node, EndpointKey) {
    let home = Home::new(directory.path().join(name));
    setup::init(&home, kind, name, None).expect("a home");
    let node = Node::open(&home, None).await.expect("a node");
    let endpoint = node.with(|core| {
        core.set_contact(Vec::new(), None).expect("a contact");
        core.keys.endpoint_key()
    });
    (node, endpoint)
}

/// Takes the place of a node on the network.
async fn in_place_of(node: &Node) -> iroh::Endpoint {
    let seed = node.with(|core| *core.keys.endpoint.expose());
    let builder = iroh::Endpoint::builder(iroh::endpoint::presets::Minimal).secret_key(iroh::SecretKey::from_bytes(&seed)).alpns(vec![ALPN.to_vec()]);
    let here = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    builder.clear_ip_transports().bind_addr(here).expect("an address").bind().await.expect("an endpoint")
}

/// In place of a node: it can be called, and answers nothing. Says when it is asked for something over the link.
async fn mute(node: &Node) -> (iroh::Endpoint, tokio::sync::oneshot::Receiver<()>) {
    let endpoint = in_place_of(node).await;
    let (asked, heard) = tokio::sync::oneshot::channel();
    let accepting = endpoint.clone();
    tokio::spawn(async move {
        let connection = accepting.accept().await.expect("a call").await.expect("a connection");
        let (_link, _request) = (connection.accept_bi().await, connection.accept_bi().await);
        let _ = asked.send(());
        connection.closed().await;
    });
    (endpoint, heard)
}

/// Two ends of a session.
struct Meeting<'n> {
    ends: [(&'n Node, u64, mpsc::Receiver<Out>); 2],
}

impl<'n> Meeting<'n> {
    fn begin(caller: &'n (Node, EndpointKey), called: &'n (Node, EndpointKey)) -> Self {
        let end = |(node, _): &'n (Node, EndpointKey), side, remote| {
            let (outbox, out) = Outbox::new(1000);
            let id = node.with(|core| core.attach(side, remote, [7; 32], outbox, None));
            (node, id, out.queue)
        };
        Self { ends: [end(caller, Side::Initiator, called.1), end(called, Side::Responder, caller.1)] }
    }

    /// Carries one frame to each side. Whether there was any.
    fn carry(&mut self) -> bool {
        let mut any = false;
        for (from, to) in [(0, 1), (1, 0)] {
            let (node, id, _) = &self.ends[to];
            let (node, id) = (*node, *id);
            match self.ends[from].2.try_recv() {
                Ok(Out::Frame(frame)) => node.with(|core| core.event(id, Event::Frame(frame))),
                Ok(Out::Beside(frame)) => node.with(|core| core.beside(id, frame)),
                Ok(Out::Close(_)) | Err(_) => continue,
            }
            any = true;
        }
        any
    }

    /// Carries all there is; whether each side was settled at any time meanwhile.
    fn carry_all(&mut self) -> [bool; 2] {
        let mut settled = [false; 2];
        while self.carry() {
            for (seen, (node, id, _)) in settled.iter_mut().zip(&self.ends) {
                *seen |= node.with(|core| core.sessions.slot(*id).is_some_and(|slot| slot.settled));
            }
        }
        settled
    }

    fn end(self) {
        for (node, id, _) in &self.ends {
            node.with(|core| core.detach(*id, "gone"));
        }
    }
}

/// A patient that has granted a clinic everything, and the clinic that has heard of one document and not fetched it.
async fn announced(directory: &tempfile::TempDir) -> [(Node, EndpointKey); 2] {
    let nodes = [node(directory, Kind::Patient, "maria").await, node(directory, Kind::Practitioner, "clinic").await];
    announce(directory, &nodes[0], &nodes[1]).await;
    assert_eq!(nodes[1].0.with(|core| core.missing().len()), 1);
    nodes
}

async fn announce(directory: &tempfile::TempDir, patient: &(Node, EndpointKey), clinic: &(Node, EndpointKey)) {
    let file = directory.path().join("result.json");
    std::fs::write(&file, RESULT).expect("a file");
    patient.0.ask(Request::Import { paths: vec![file.into()], patient: None }).await.expect("imported");
    let card = clinic.0.with(|core| core.replica.me.card.as_bytes().to_vec());
    patient.0.ask(Request::PeerAdd { source: PeerSource::File(card), alias: Some("clinic".into()) }).await.expect("added");
    patient.0.ask(Request::ConsentGrant { peer: "clinic".into(), terms: TermsInput::default() }).await.expect("granted");
    let mut first = Meeting::begin(patient, clinic);
    first.carry_all();
    first.end();
}

#[tokio::test]
async fn what_an_earlier_session_left_to_be_fetched_keeps_the_next_one_open() {
    let directory = tempfile::tempdir().expect("a directory");
    let nodes = announced(&directory).await;
    for (caller, called) in [(0, 1), (1, 0)] {
        let mut again = Meeting::begin(&nodes[caller], &nodes[called]);
        assert_eq!(again.carry_all(), [false; 2], "{caller} calls {called}: neither takes the other for done while a document is to be fetched");
        // The clinic cannot ask, and neither takes the other for done; it asks and is not given it, and nothing more comes of this session.
        let clinic = &nodes[1].0;
        for (refused, settled) in [(false, [false; 2]), (true, [true; 2])] {
            clinic.with(|core| {
                let missing = core.missing();
                let refused = refused.then_some((nodes[0].1, missing[0].blob)).into_iter().collect();
                core.sessions.note_fetched(&core.sources(&missing[0]), &[], &refused);
                core.tell_pending();
            });
            assert_eq!(again.carry_all(), settled);
        }
        again.end();
    }
}

/// Who has not heard yet of what lets this node have a document refuses it, and is asked again once it has heard.
#[tokio::test]
async fn what_is_refused_before_the_peer_has_heard_all_is_still_to_be_fetched() {
    let directory = tempfile::tempdir().expect("a directory");
    let nodes = announced(&directory).await;
    let clinic = &nodes[1].0;
    let mut again = Meeting::begin(&nodes[0], &nodes[1]);
    let refuse = |sources: &[Source], blob| {
        clinic.with(|core| {
            core.sessions.note_fetched(sources, &[], &BTreeSet::from([(nodes[0].1, blob)]));
            core.tell_pending();
        });
    };
    let asked = || clinic.with(|core| core.missing().first().map(|one| (core.sources(one), one.blob)).expect("one is missing"));
    while asked().0.is_empty() {
        assert!(again.carry());
    }
    let (sources, blob) = asked();
    refuse(&sources, blob);
    let signals = &clinic.0.signals;
    let mut wakes = std::pin::pin!(signals.fetch.notified());
    while wakes.as_mut().enable() {
        wakes.set(signals.fetch.notified());
    }
    assert_eq!(again.carry_all(), [false; 2]);
    assert!(wakes.as_mut().enable(), "it is asked again");
    let (sources, blob) = asked();
    refuse(&sources, blob);
    assert_eq!(again.carry_all(), [true; 2]);
    nodes[0].0.with(|core| core.leave_all());
    again.carry_all();
    assert_eq!(clinic.with(|core| core.sessions.ended[&nodes[0].1].clone()), None);
}

/// With whom it has documents to be fetched it is not done, whoever ends the session.
#[tokio::test]
async fn who_leaves_before_all_is_exchanged_is_not_reached() {
    let directory = tempfile::tempdir().expect("a directory");
    let nodes = announced(&directory).await;
    for leaves in [0, 1] {
        let mut again = Meeting::begin(&nodes[0], &nodes[1]);
        again.carry_all();
        nodes[leaves].0.with(|core| core.leave_all());
        again.carry_all();
        for (node, other) in [(0, 1), (1, 0)] {
            let why = nodes[node].0.with(|core| core.sessions.ended[&nodes[other].1].clone());
            assert_eq!(why.as_deref(), Some("its session ended before all was exchanged"));
        }
        again.end();
    }
}

/// Anybody may call, under as many keys as they like: nothing is kept of them.
#[tokio::test]
async fn of_strangers_who_called_and_left_nothing_is_noted() {
    let directory = tempfile::tempdir().expect("a directory");
    let (custodian, stranger) = (node(&directory, Kind::Organization, "custodian").await, node(&directory, Kind::Practitioner, "stranger").await);
    let mut meeting = Meeting::begin(&stranger, &custodian);
    meeting.carry_all();
    assert_eq!(custodian.0.with(|core| core.sessions.met().count()), 1);
    meeting.end();
    assert_eq!(custodian.0.with(|core| core.sessions.ended.clone()), BTreeMap::new());
    assert_eq!(stranger.0.with(|core| core.sessions.ended.len()), 1);
}

/// Whom an invitation does not reach is told of; who holds the ledger without it is exchanged with.
#[tokio::test]
async fn an_invitation_that_is_too_long_ends_no_session() {
    let directory = tempfile::tempdir().expect("a directory");
    let nodes = announced(&directory).await;
    let (patient, clinic) = (&nodes[0].0, nodes[1].1);
    for arrived in [false, true] {
        let mut again = Meeting::begin(&nodes[0], &nodes[1]);
        patient.with(|core| {
            core.arrived.clear();
            core.carry_out(again.ends[0].1, vec![Effect::InvitationTooLong { length: 3 << 20 }]);
        });
        let cannot = || patient.with(|core| core.sessions.met().any(|(_, _, slot)| slot.remote() == clinic && core.cannot_invite(slot)));
        while patient.with(|core| core.sessions.met().next().is_none()) {
            assert!(again.carry());
        }
        assert!(cannot());
        if arrived {
            again.carry_all();
            assert!(!cannot(), "it holds the ledger");
        }
        again.end();
    }
}

/// Anybody can begin a ledger, and whoever takes part in it gives it room.
#[tokio::test]
async fn a_patient_takes_part_in_what_a_contact_invites_to_and_in_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let nodes = [node(&directory, Kind::Patient, "daughter").await, node(&directory, Kind::Patient, "mother").await];
    let [(daughter, _), (mother, _)] = &nodes;
    let card = |node: &Node| PeerSource::File(node.with(|core| core.replica.me.card.as_bytes().to_vec()));
    daughter.ask(Request::PeerAdd { source: card(mother), alias: Some("mother".into()) }).await.expect("a contact");
    daughter.ask(Request::ConsentGrant { peer: "mother".into(), terms: TermsInput::default() }).await.expect("a grant");
    let ledger = daughter.with(|core| core.own_ledger().expect("a patient"));
    let takes_part = || mother.with(|core| core.replica.ledgers.contains_key(&ledger));
    let mut meeting = Meeting::begin(&nodes[0], &nodes[1]);
    meeting.carry_all();
    assert!(!takes_part() && mother.with(|core| core.sessions.met().count()) == 1);
    mother.ask(Request::PeerAdd { source: card(daughter), alias: None }).await.expect("a contact");
    assert!(takes_part());
    meeting.carry_all();
    assert!(mother.with(|core| core.ledger(&ledger).expect("a ledger").len()) > 0, "the same session goes on");
    meeting.end();
}

/// A custodian that has not heard of a patient's new device takes it for a stranger, and gives it everything once it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_device_gets_from_a_custodian_what_it_was_refused_at_first() {
    let directory = tempfile::tempdir().expect("a directory");
    let here = Some(([127, 0, 0, 1], 0).into());
    let custodian = node(&directory, Kind::Custodian, "vaultco").await;
    custodian.0.start_network(here, false).await.expect("a network");
    let old = Home::new(directory.path().join("old"));
    let words = setup::init(&old, Kind::Patient, "Maria", None).expect("a home").words.expect("words");
    let old = Node::open(&old, None).await.expect("a node");
    let file = directory.path().join("result.json");
    std::fs::write(&file, RESULT).expect("a file");
    let card = custodian.0.with(|core| core.replica.me.card.as_bytes().to_vec());
    for request in [
        Request::Import { paths: vec![file.into()], patient: None },
        Request::PeerAdd { source: PeerSource::File(card), alias: Some("vaultco".into()) },
        Request::ConsentGrant { peer: "vaultco".into(), terms: TermsInput { custodian: true, ..TermsInput::default() } },
        Request::Sync { timeout_ms: 60_000 },
    ] {
        old.ask(request).await.expect("done");
    }
    old.start_network(here, false).await.expect("a network");
    let ticket = PeerSource::Ticket(old.with(|core| core.card_info().ticket));
    let home = Home::new(directory.path().join("new"));
    setup::recover(&home, &words, ticket, false, None, None, Duration::from_secs(60)).await.expect("a new device");
    old.stop().await.expect("the end");

    let new = Node::open(&home, None).await.expect("a node");
    new.with(|core| core.forget(|_| true)).expect("stored");
    new.0.blobs.delete(&new.0.blobs.list().await.expect("a list")).await.expect("deleted");
    new.start_network(here, false).await.expect("a network");
    let net = new.net().await.expect("a network");
    let addresses = custodian.0.net().await.expect("a network").addresses();
    let new = (new.clone(), new.with(|core| core.keys.endpoint_key()));
    let link = net.connect(&Route { endpoint: custodian.1, addresses, relay: None }, WAIT).await.expect("a link");
    let (mut sender, mut receiver) = link.split();
    let (outbox, mut out) = Outbox::new(1000);
    let id = new.0.with(|core| core.attach(Side::Initiator, custodian.1, [7; 32], outbox, None));
    let take = |frame| new.0.with(|core| core.event(id, Event::Frame(frame)));
    let Some(Out::Frame(hello)) = out.queue.recv().await else { panic!() };
    sender.send(&hello).await.expect("sent");
    take(receiver.recv().await.expect("received").expect("a hello"));
    // They have met, and the new device says nothing further before it has asked.
    let until = async |is_so: &dyn Fn(&Slot, usize) -> bool| {
        loop {
            let told = new.0.0.signals.sessions.notified();
            if new.0.with(|core| core.sessions.slot(id).is_none_or(|slot| is_so(slot, core.missing().len()))) {
                return;
            }
            told.await;
        }
    };
    until(&|slot, _| slot.asked_early || !slot.not_given.is_empty()).await;
    let says = async {
        while let Some(Out::Frame(frame)) = out.queue.recv().await {
            sender.send(&frame).await.expect("sent");
        }
    };
    let hears = async {
        while let Ok(Some(frame)) = receiver.recv().await {
            take(frame);
        }
    };
    let done = until(&|slot, missing| {
        assert!(!slot.settled || missing == 0, "there is more to be had");
        missing == 0
    });
    tokio::select! {
        () = says => panic!("the session ended"),
        () = hears => panic!("the link ended"),
        () = done => {}
    }
    assert_eq!(new.0.with(|core| core.missing().len()), 0);
    drop(net);
    for (node, _) in [new, custodian] {
        node.stop().await.expect("the end");
    }
}

/// It cannot confirm a revocation, and what comes of it and of other patients comes all the same.
#[tokio::test]
async fn a_node_that_may_not_sign_still_takes_in_what_comes() {
    let directory = tempfile::tempdir().expect("a directory");
    let nodes = announced(&directory).await;
    let (patient, clinic) = (&nodes[0].0, &nodes[1].0);
    clinic.with(|core| core.vault.spend_everywhere(&core.keys.author()).expect("noted"));
    let crate::api::Response::Grants(grants) = patient.ask(Request::ConsentList {}).await.expect("a list") else { panic!() };
    patient.ask(Request::ConsentRevoke { grant: grants[0].grant.to_string(), reason: None }).await.expect("revoked");
    let mut session = Meeting::begin(&nodes[0], &nodes[1]);
    session.carry_all();
    assert!(clinic.with(|core| core.sessions.slot(session.ends[1].1).is_some()), "the session goes on");
    session.end();
    clinic.tend().await.expect("nothing that cannot be done is tried");
    let id = patient.with(|core| core.own_ledger().expect("a patient"));
    let revoked = |core: &mut Core| {
        core.ledger(&id).expect("held").lanes().any(|lane| {
            let grants = &core.ledger(&id).expect("held").lane(lane).grants;
            grants.values().any(|grant| grant.revoked.is_some())
        })
    };
    assert!(clinic.with(revoked), "the revocation has come");
}

/// Whoever has moved shows it in the session that there is: the other side keeps the card, and looks whether it still sends to where the peer was.
#[tokio::test]
async fn a_new_address_is_told_within_the_session_and_kept_of_those_who_are_known() {
    let directory = tempfile::tempdir().expect("a directory");
    let nodes = announced(&directory).await;
    let [(patient, _), (clinic, clinic_endpoint)] = &nodes;
    let party = clinic.with(|core| core.keys.party());
    let mut meeting = Meeting::begin(&nodes[0], &nodes[1]);
    meeting.carry_all();
    let places = ["192.0.2.1:7117", "192.0.2.2:7117"];
    for place in places {
        clinic.with(|core| core.set_contact(vec![place.to_owned()], None).expect("a contact"));
        meeting.carry_all();
        patient.with(|core| {
            let known = core.peers.get(&party).expect("a contact");
            assert_eq!(known.card.contact.addresses, [place]);
            assert_eq!(core.sessions.met().count(), 1, "the session goes on");
        });
    }
    assert_eq!(patient.with(|core| std::mem::take(&mut core.sessions.left)), BTreeMap::from([(*clinic_endpoint, BTreeSet::from([places[0].to_owned()]))]));
    // Where strangers are is nobody's business but the session's.
    let strangers = [node(&directory, Kind::Organization, "one").await, node(&directory, Kind::Organization, "other").await];
    let mut meeting = Meeting::begin(&strangers[0], &strangers[1]);
    meeting.carry_all();
    strangers[0].0.with(|core| core.set_contact(vec![places[0].to_owned()], None).expect("a contact"));
    meeting.carry_all();
    strangers[1].0.with(|core| {
        assert_eq!(core.sessions.met().next().map(|(_, card, _)| card.contact.addresses.clone()), Some(vec![places[0].to_owned()]));
        assert!(core.peers.iter().next().is_none() && core.sessions.left.is_empty());
    });
}

/// What is lost of the card among the other frames may never come again: it also comes beside them.
#[tokio::test]
async fn a_card_that_is_lost_among_the_other_frames_comes_beside_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let nodes = announced(&directory).await;
    let [(patient, _), (clinic, _)] = &nodes;
    let mut meeting = Meeting::begin(&nodes[0], &nodes[1]);
    let ids = [meeting.ends[0].1, meeting.ends[1].1];
    let place = vec!["192.0.2.1:7117".to_owned()];
    clinic.with(|core| core.set_contact(place.clone(), None).expect("a contact"));
    let (early, card) = (Frame::Bye.encode(), clinic.with(|core| Frame::Card { card: core.replica.me.card.signed().clone() }.encode()));
    patient.with(|core| core.beside(ids[0], card));
    assert!(patient.with(|core| core.sessions.slot(ids[0]).is_some()), "one that comes before the peer has shown any is passed over");
    meeting.carry_all();
    patient.with(|core| core.beside(ids[0], early));
    patient.with(|core| core.beside(ids[0], b"nonsense".to_vec()));

    let elsewhere = vec!["192.0.2.2:7117".to_owned()];
    clinic.with(|core| core.set_contact(elsewhere.clone(), None).expect("a contact"));
    let mut said = Vec::new();
    while let Ok(out) = meeting.ends[1].2.try_recv() {
        said.push(out);
    }
    let [Out::Frame(lost), Out::Beside(beside)] = said.as_slice() else { panic!("a frame, and the same beside") };
    assert_eq!(lost, beside);
    patient.with(|core| core.beside(ids[0], beside.clone()));
    // It comes after all, when there is nothing new in it.
    patient.with(|core| core.event(ids[0], Event::Frame(lost.clone())));
    let shown = patient.with(|core| core.sessions.slot(ids[0]).and_then(Slot::peer).map(|card| card.contact.addresses.clone()));
    assert_eq!(shown, Some(elsewhere));
}

/// Where a guest is, only its connection tells.
#[tokio::test]
async fn who_has_moved_calls_its_guests_where_they_were_seen_unless_they_call() {
    let directory = tempfile::tempdir().expect("a directory");
    let nodes = [node(&directory, Kind::Patient, "maria").await, node(&directory, Kind::Practitioner, "clinic").await];
    let [(_, guest), (clinic, _)] = &nodes;
    let _meeting = Meeting::begin(&nodes[0], &nodes[1]);
    let sessions = || clinic.with(|core| (core.sessions.is_up(guest), core.sessions.guests()));
    let route = Route { endpoint: *guest, addresses: vec!["192.0.2.7:40112".parse().expect("an address")], relay: None };
    clinic.with(|core| core.renew_all(&BTreeSet::new(), |_| Some(route.clone())));
    assert_eq!(sessions(), (true, vec![route.clone()]), "the guest may hear of it");
    let mut meeting = Meeting::begin(&nodes[1], &nodes[0]);
    assert_eq!(sessions(), (true, vec![route.clone()]), "whether it answers is to be seen");
    meeting.carry_all();
    assert_eq!(sessions(), (true, Vec::new()));
    clinic.with(|core| core.renew_all(&BTreeSet::from([*guest]), |_| Some(route.clone())));
    assert_eq!(sessions(), (false, Vec::new()), "a contact is called as its card says");
}

/// Documents of one patient do not wait for the node of another that does not answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_does_not_answer_holds_up_no_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let clinic = node(&directory, Kind::Practitioner, "clinic").await;
    let mut patients = [node(&directory, Kind::Patient, "maria").await, node(&directory, Kind::Patient, "jan").await];
    for patient in &patients {
        announce(&directory, patient, &clinic).await;
    }
    patients.sort_by_key(|(_, endpoint)| *endpoint);
    let [silent, answering] = &patients;
    let (mute, asked) = mute(&silent.0).await;
    let anywhere = Some("127.0.0.1:0".parse().expect("an address"));
    for (node, _) in [answering, &clinic] {
        node.start_network(anywhere, false).await.expect("a network");
    }
    let net = clinic.0.net().await.expect("a network");
    let route = |endpoint, address: std::net::SocketAddr| Route { endpoint, addresses: vec![address], relay: None };
    // What is said over the links is carried by hand; what is fetched goes over them.
    let _to_mute = net.connect(&route(silent.1, mute.bound_sockets()[0]), WAIT).await.expect("a link");
    let answers = answering.0.net().await.expect("a network").addresses()[0];
    let _to_answering = net.connect(&route(answering.1, answers), WAIT).await.expect("a link");
    let mut first = Meeting::begin(silent, &clinic);
    first.carry_all();
    asked.await.expect("it is asked");
    let mut second = Meeting::begin(answering, &clinic);
    second.carry_all();
    loop {
        let told = clinic.0.0.signals.sessions.notified();
        if clinic.0.with(|core| core.missing().len()) == 1 {
            break;
        }
        told.await;
    }
    clinic.0.with(|core| {
        let missing = core.missing();
        let sources = core.sources(&missing[0]);
        assert_eq!(sources.iter().map(|source| source.peer.endpoint).collect::<Vec<_>>(), [silent.1]);
        let given_up = core.sessions.slot(sources[0].session).is_some_and(|slot| slot.not_given.contains(&missing[0].blob));
        assert!(!given_up, "the other was fetched meanwhile");
    });
    [first, second].into_iter().for_each(Meeting::end);
    drop(net);
    answering.0.stop_network().await;
    clinic.0.stop_network().await;
    mute.close().await;
}

#[tokio::test]
async fn what_cannot_be_as_it_is_said_to_be_is_not_waited_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let (node, _) = node(&directory, Kind::Patient, "maria").await;
    let compartment = "general/notes".parse().expect("a compartment");
    node.with(|core| {
        let id = core.own_ledger().expect("a patient");
        core.ensure_catalogs(&id, [compartment]).expect("a catalog");
        let place = core.place(&id, &compartment).expect("a view").expect("an epoch");
        let publish = |core: &mut Core, hash, lengths: &[u64]| {
            let mut writer = Writer::new(core, id).expect("a writer");
            let documents = lengths.iter().map(|length| Blob { hash, length: *length }).collect();
            let entry = writer.entry(place.lane, Action::Publish { documents }, Parts { epoch: Some(place.epoch), ..Parts::default() }).expect("an entry");
            writer.commit().expect("stored");
            entry
        };
        let lengths = |core: &Core| core.missing().iter().map(|one| one.length).collect::<BTreeSet<u64>>();
        for length in [MAX_SEALED, MAX_SEALED + 1, u64::MAX] {
            publish(core, BlobHash::of(&length.to_le_bytes()), &[length]);
        }
        assert_eq!(lengths(core), [MAX_SEALED].into());
        let hash = BlobHash::of(b"document");
        let entries = [100, 101, 100].map(|length| publish(core, hash, &[length]));
        assert_eq!(lengths(core), [MAX_SEALED, 100, 101].into());
        core.deliver([(entries[0], hash)], &mut Batch::new());
        assert_eq!(lengths(core), [MAX_SEALED, 100].into(), "it is here, and is not 101 bytes long");
        let other = BlobHash::of(b"another");
        let both = publish(core, other, &[200, 1]);
        publish(core, other, &[200]);
        core.deliver([(both, other)], &mut Batch::new());
        assert_eq!(lengths(core), [MAX_SEALED, 100, 200].into(), "who says two lengths of what it has given hides no other Publish of it");
    });
    node.stop().await.expect("stopped");
}

/// Both may call at the same time, and the peer's call may be taken just when it has answered this side's.
#[tokio::test]
async fn a_peer_that_calls_back_at_once_has_still_shown_its_card() {
    let directory = tempfile::tempdir().expect("a directory");
    let nodes = [node(&directory, Kind::Patient, "maria").await, node(&directory, Kind::Practitioner, "clinic").await];
    let mut first = Meeting::begin(&nodes[0], &nodes[1]);
    let (node, id, _) = &first.ends[0];
    let (node, id, remote) = (*node, *id, nodes[1].1);
    let has_shown = || node.with(|core| core.sessions.slot(id).is_some_and(|slot| slot.peer().is_some()));
    while !has_shown() {
        assert!(first.carry(), "the first session is begun");
    }
    let mut second = Meeting::begin(&nodes[1], &nodes[0]);
    assert!(node.with(|core| core.sessions.slot(id).is_none()), "the second has taken its place");
    let wanted = nodes[1].0.with(|core| core.replica.me.card.profile.hash());
    let asked = node.shown_card(id, &remote, wanted);
    let (card, _) = tokio::join!(asked, async { second.carry_all() });
    assert_eq!(card.expect("a card").profile.hash(), wanted);
}

/// Else the link would stay open, and the peer would wait on it for a session that is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_link_of_a_peer_that_does_not_read_is_cut() {
    let directory = tempfile::tempdir().expect("a directory");
    let (patient, _) = node(&directory, Kind::Patient, "maria").await;
    let (silent, called) = node(&directory, Kind::Practitioner, "clinic").await;
    let (clinic, _asked) = mute(&silent).await;
    patient.start_network(Some("127.0.0.1:0".parse().expect("an address")), false).await.expect("a network");
    let net = patient.net().await.expect("a network");
    let route = Route { endpoint: called, addresses: clinic.bound_sockets(), relay: None };
    let (id, _) = patient.call(&net, &[route], WAIT).await.expect("a link");
    patient.with(|core| core.carry_out(id, (0..4).map(|_| Effect::Send(vec![0; MAX_FRAME])).collect()));
    // More than the peer's window holds waits now, and at some time so much that there is no room.
    patient.with(|core| {
        while core.sessions.slot(id).is_some() {
            core.carry_out(id, vec![Effect::Send(Vec::new())]);
        }
        assert_eq!(core.sessions.ended[&called].as_deref(), Some("the peer does not read what it asks for"));
    });
    tokio::time::timeout(WAIT, async {
        while net.path(&called).is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the connection ends");
    drop(net);
    patient.stop().await.expect("the end");
}

/// A session that is lost before all was exchanged may have given way to another that is lost as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_calls_once_more_whose_session_it_has_lost() {
    let directory = tempfile::tempdir().expect("a directory");
    let (patient, clinic) = (node(&directory, Kind::Patient, "maria").await.0, node(&directory, Kind::Practitioner, "clinic").await.0);
    let breaking = in_place_of(&clinic).await;
    let card = clinic.with(|core| {
        core.set_contact(breaking.bound_sockets().iter().map(ToString::to_string).collect(), None).expect("a contact");
        core.replica.me.card.as_bytes().to_vec()
    });
    patient.ask(Request::PeerAdd { source: PeerSource::File(card), alias: Some("clinic".into()) }).await.expect("added");
    patient.start_network(Some("127.0.0.1:0".parse().expect("an address")), false).await.expect("a network");
    let net = patient.net().await.expect("a network");
    let answering = async {
        let mut calls = 0;
        while calls < 2 {
            // On a busy machine it may be called twice at a time: one of them is used.
            let Ok(connection) = breaking.accept().await.expect("a call").await else { continue };
            calls += usize::from(connection.accept_bi().await.is_ok());
            connection.close(0u32.into(), b"");
        }
    };
    let (synced, called) = tokio::join!(patient.exchange_all(&net, std::time::Instant::now() + WAIT), tokio::time::timeout(WAIT, answering));
    called.expect("it calls twice");
    assert_eq!(synced.expect_err("nobody has answered").kind, crate::api::ErrorKind::Unreachable);
}
