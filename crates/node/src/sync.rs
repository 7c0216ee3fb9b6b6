//! Contacts over the network, and one exchange with everyone who can be reached.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use chartmesh_identity::{Card, CardHash, EndpointKey, Ticket};
use chartmesh_ledger::Peer as Holder;

use crate::{
    api::{ApiError, PeerInfo, PeerSource, PeerStatus, StatusInfo, SyncInfo},
    core::Core,
    net::{Net, Route},
    node::Node,
    peers::{Met, Peer, routes},
};

/// What an age file begins with: an invitation is one.
const AGE: &[u8] = b"age-encryption.org/v1";
/// How long a ticket's endpoint may take to show its card.
const CARD_WAIT: Duration = Duration::from_secs(15);

impl Node {
    /// Adds a contact: a ticket is resolved over iroh, a card or an invitation is taken from a file.
    pub(crate) async fn peer_add(&self, source: PeerSource, alias: Option<String>) -> Result<PeerInfo, ApiError> {
        let (card, pinned) = match source {
            PeerSource::Ticket(text) => {
                let ticket: Ticket = text.parse().map_err(|error| ApiError::usage(format_args!("{error}")).advise("`chartmesh card` prints a ticket"))?;
                if self.with(|core| ticket.endpoint == core.keys.endpoint_key()) {
                    return Err(ApiError::usage("that is this node's own ticket").advise("give it to the others, and add the tickets that they give you"));
                }
                (self.fetch_card(&ticket).await?, Some(ticket.card))
            }
            PeerSource::File(bytes) if bytes.starts_with(AGE) => return self.add_invitation(&bytes, alias.as_deref()),
            PeerSource::File(bytes) => (Card::read(&bytes).map_err(|error| ApiError::failed(error).advise("`chartmesh card --out FILE` writes a card"))?, None),
        };
        self.with(|core| {
            if pinned.is_some_and(|pinned| pinned != card.profile.hash()) {
                return Err(ApiError::refused("whoever answered there is not whom the ticket names").advise("ask for a new ticket"));
            }
            let party = card.profile.party;
            if party == core.keys.party() {
                return Err(ApiError::usage("that is this node's own card"));
            }
            let met = core.peers.meet(card, true, alias.as_deref(), &core.vault)?;
            let peer = core.peers.get(&party).ok_or_else(|| ApiError::failed("the contact was not kept"))?;
            if met == Met::Changed {
                return Err(ApiError::refused(format_args!("the card of {} differs from the one that was added before", peer.name()))
                    .advise("ask them whether they changed it; then `chartmesh peer remove` and `peer add` again"));
            }
            let info = peer.info();
            core.heed(&party);
            core.sessions.signals.dial.notify_one();
            Ok(info)
        })
    }

    fn add_invitation(&self, bytes: &[u8], alias: Option<&str>) -> Result<PeerInfo, ApiError> {
        self.with(|core| {
            let invitation = core.open_invitation(bytes)?;
            let ledger = core.accept_invitation(&invitation, None)?;
            let mut patients = core.memberships.get(&ledger).into_iter().flat_map(|member| &member.nodes).filter_map(|card| Card::read(card.as_bytes()).ok());
            let patient = patients.rfind(|card| card.profile.kind == chartmesh_identity::Kind::Patient);
            let patient = patient.ok_or_else(|| ApiError::failed("the invitation names no device of the patient"))?;
            let party = patient.profile.party;
            core.peers.meet(patient, true, alias, &core.vault)?;
            core.peers.get(&party).map(Peer::info).ok_or_else(|| ApiError::failed("the contact was not kept"))
        })
    }

    /// Forgets a contact; what it was granted stays granted.
    pub(crate) fn peer_remove(&self, alias: &str) -> Result<PeerInfo, ApiError> {
        self.with(|core| {
            let peer = core.peers.find(alias)?;
            let (info, party) = (peer.info(), peer.party());
            if let Some(patient) = &core.keys.patient {
                let (ledger, view) = core.open(&patient.ledger)?;
                let now = crate::time::now();
                let live = view.circle(&party).is_some_and(|(circle, _)| ledger.lane(&circle).grants.values().any(|grant| grant.is_live(now)));
                if live && info.blocked {
                    tracing::warn!("a contact with a grant in force is removed because its card changed");
                } else if live {
                    return Err(ApiError::refused(format_args!("{} still has a grant in force", info.name)).advise("`chartmesh consent revoke` ends it"));
                }
            }
            core.peers.remove(&party, &core.vault)?;
            Ok(info)
        })
    }

    /// The network, started for a while if it does not run. Whether it was.
    async fn borrow_network(&self) -> Result<(std::sync::Arc<Net>, bool), ApiError> {
        if let Some(net) = self.net().await {
            return Ok((net, false));
        }
        self.start_network(None, false).await?;
        let net = self.net().await.ok_or_else(|| ApiError::failed("the network was stopped"))?;
        Ok((net, true))
    }

    async fn fetch_card(&self, ticket: &Ticket) -> Result<chartmesh_identity::Verified<Card>, ApiError> {
        let (net, borrowed) = self.borrow_network().await?;
        let route = Route { endpoint: ticket.endpoint, addresses: ticket.addresses.clone(), relay: self.0.home.config()?.relay };
        let result = self.ask_card(&net, route, ticket.card).await;
        drop(net);
        if borrowed {
            self.stop_network().await;
        }
        result
    }

    async fn ask_card(&self, net: &Net, route: Route, wanted: CardHash) -> Result<chartmesh_identity::Verified<Card>, ApiError> {
        let (id, remote) = self.call(net, std::slice::from_ref(&route), CARD_WAIT).await.map_err(|error| {
            error.advise("the other node must be running (`chartmesh serve`) and reachable; or take its card as a file (`chartmesh card --out`)")
        })?;
        self.shown_card(id, &remote, wanted).await
    }

    /// The card that the peer of a session shows, or of the one that has taken its place: it may have called meanwhile.
    pub(crate) async fn shown_card(&self, id: u64, remote: &EndpointKey, wanted: CardHash) -> Result<chartmesh_identity::Verified<Card>, ApiError> {
        let deadline = Instant::now() + CARD_WAIT;
        loop {
            let changed = self.0.signals.sessions.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let seen = self.with(|core| match core.sessions.current(id, remote) {
                Some(slot) => slot.peer().cloned().map(Ok),
                None => Some(Err(ApiError::unreachable(format_args!("{} hung up before it showed its card", remote.short())))),
            });
            match seen {
                Some(Ok(card)) if card.profile.hash() == wanted => return Ok(card),
                Some(Ok(_)) => return Err(ApiError::refused("whoever answered there is not whom the ticket names").advise("ask for a new ticket")),
                Some(Err(error)) => return Err(error),
                None => {}
            }
            if tokio::time::timeout_at(deadline.into(), changed).await.is_err() {
                return Err(ApiError::unreachable(format_args!("{} did not show its card in time", remote.short())));
            }
        }
    }

    /// One exchange with everyone who can be reached: calls all, and returns when both sides of each session have nothing left to give, or when the time is over.
    pub(crate) async fn sync(&self, wait: Duration) -> Result<SyncInfo, ApiError> {
        let deadline = Instant::now() + wait;
        let (net, borrowed) = self.borrow_network().await?;
        let result = self.exchange_all(&net, deadline).await;
        drop(net);
        if borrowed {
            self.stop_network().await;
        }
        let info = result?;
        self.with(|core| if core.is_incomplete() && core.has_asked(&info).is_ok() { core.is_complete_again() } else { Ok(()) })?;
        // Whoever is replaced would take its own word for the patient's.
        self.with(|core| core.keys.patient.as_ref().map_or(Ok(()), |patient| core.may_sign(&patient.ledger)))?;
        Ok(info)
    }

    /// [`Node::sync`] over a network that runs, whether or not this node may sign.
    pub(crate) async fn exchange_all(&self, net: &Net, deadline: Instant) -> Result<SyncInfo, ApiError> {
        let before = self.with(|core| (std::mem::take(&mut core.sessions.received), core.delivered.len()));
        let targets = self.callable();
        let endpoints: BTreeSet<EndpointKey> = targets.iter().flat_map(|(_, routes)| routes).map(|route| route.endpoint).collect();
        self.with(|core| core.sessions.ended.retain(|endpoint, _| endpoints.contains(endpoint)));
        let mut missed: BTreeMap<String, String> = BTreeMap::new();
        let mut sessions: Vec<(String, u64, EndpointKey)> = Vec::new();
        let calls = targets.into_iter().map(|(name, routes)| async move {
            let up = self.with(|core| {
                let mut met = core.sessions.met();
                met.find(|(_, _, slot)| routes.iter().any(|route| route.endpoint == slot.remote())).map(|(id, _, slot)| (id, slot.remote()))
            });
            match up {
                Some(up) => (name, Ok(up)),
                None => (name, self.call(net, &routes, left(deadline)).await),
            }
        });
        for (name, called) in n0_future::join_all(calls).await {
            match called {
                Ok((id, remote)) => sessions.push((name, id, remote)),
                Err(error) => {
                    missed.insert(name, error.what);
                }
            }
        }
        let called = !sessions.is_empty() || !missed.is_empty();
        let mut reached = Vec::new();
        if self.await_settled(&sessions, true, deadline).await? {
            self.call_lost(net, &mut sessions, deadline).await;
            self.await_settled(&sessions, false, deadline).await?;
        }
        for (name, id, remote) in sessions {
            let reason = self.with(|core| match core.sessions.current(id, &remote) {
                Some(slot) if core.cannot_invite(slot) => {
                    Some("its invitation is too long to be sent; carry it as a file (`chartmesh consent invitation`)".to_owned())
                }
                Some(slot) if slot.settled => None,
                Some(_) => Some("not done in time".to_owned()),
                None => core.sessions.ended.get(&remote).cloned().unwrap_or_else(|| Some("its session was lost".to_owned())),
            });
            match reason {
                None => reached.push(name),
                Some(reason) => {
                    missed.insert(name, reason);
                }
            }
        }
        if called && reached.is_empty() {
            // Whose own disk has failed has ended its sessions itself.
            self.with(|core| core.check())?;
            let all = missed.iter().map(|(name, reason)| format!("{name}: {reason}")).collect::<Vec<_>>().join("; ");
            return Err(ApiError::unreachable(format_args!("nobody could be reached ({all})"))
                .advise("the others must be running `chartmesh serve`; `chartmesh peer list` shows where they were last"));
        }
        Ok(self.with(|core| SyncInfo {
            reached,
            missed: missed.into_iter().map(|(name, reason)| format!("{name}: {reason}")).collect(),
            entries: core.sessions.received,
            documents: (core.delivered.len() - before.1.min(core.delivered.len())) as u64,
            pending: core.missing().len() as u64,
        }))
    }

    /// Calls those once more whose session was lost before all was exchanged: it may have given way to a call of the peer's, and that may have been lost as well.
    async fn call_lost(&self, net: &Net, sessions: &mut [(String, u64, EndpointKey)], deadline: Instant) {
        let callable = self.callable();
        let calls = sessions.iter_mut().filter(|(_, id, remote)| self.with(|core| core.sessions.is_lost(*id, remote))).map(async |(_, id, remote)| {
            let mut all = callable.iter().map(|(_, routes)| routes);
            let Some(routes) = all.find(|routes| routes.iter().any(|route| route.endpoint == *remote)) else { return };
            if let Ok(called) = self.call(net, routes, left(deadline)).await {
                (*id, *remote) = called;
            }
        });
        n0_future::join_all(calls).await;
    }

    /// Waits until these sessions are settled and stay so after this node has done its duties; or, if that is wanted, until one is lost. Whether that is why it
    /// returns.
    async fn await_settled(&self, sessions: &[(String, u64, EndpointKey)], or_lost: bool, deadline: Instant) -> Result<bool, ApiError> {
        let settled = |core: &mut Core| {
            let current = |(_, id, remote): &(String, u64, EndpointKey)| core.sessions.current(*id, remote);
            sessions.iter().filter_map(current).all(|slot| slot.settled && slot.peer().is_some() && !core.awaits_answer(slot))
        };
        let lost = |core: &mut Core| or_lost && sessions.iter().any(|(_, id, remote)| core.sessions.is_lost(*id, remote));
        loop {
            if tokio::time::timeout_at(deadline.into(), self.until(|core| lost(core) || settled(core))).await.is_err() {
                return Ok(false);
            }
            if self.with(lost) {
                return Ok(true);
            }
            self.tend().await?;
            if self.with(settled) {
                return Ok(false);
            }
        }
    }

    /// Waits until something about sessions is so.
    pub(crate) async fn until(&self, is_so: impl Fn(&mut Core) -> bool) {
        loop {
            let changed = self.0.signals.sessions.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.with(&is_so) {
                return;
            }
            changed.await;
        }
    }

    /// The state of the node.
    pub(crate) async fn status(&self) -> Result<StatusInfo, ApiError> {
        let net = self.net().await;
        let documents = self.0.blobs.len().await.map_err(ApiError::failed)? as u64;
        Ok(self.with(|core| {
            let peers = core.peers.iter().map(|peer| {
                let party = peer.party();
                let slot = core.sessions.met().find(|(_, card, _)| card.profile.party == party).map(|(_, _, slot)| slot);
                let path = net.as_ref().and_then(|net| routes(&peer.card).iter().find_map(|route| net.path(&route.endpoint))).filter(|_| slot.is_some());
                PeerStatus {
                    name: peer.name().to_owned(),
                    kind: peer.card.profile.kind.to_string(),
                    online: slot.is_some(),
                    path: path.as_ref().map(|path| if path.relayed { "relayed" } else { "direct" }.to_owned()),
                    round_trip_us: path.as_ref().map(|path| u64::try_from(path.rtt.as_micros()).unwrap_or(u64::MAX)),
                    pending: slot.map_or(0, crate::session::Slot::pending),
                    blocked: peer.rival.is_some(),
                }
            });
            let peers = peers.collect();
            StatusInfo {
                name: core.keys.name.clone(),
                kind: core.keys.kind.to_string(),
                running: net.is_some(),
                ledgers: core.replica.ledgers.len() as u64,
                documents,
                pending: core.missing().len() as u64,
                notice: core.replica.ledgers.keys().find_map(|id| core.may_sign(id).err()).map(|error| error.what),
                peers,
            }
        }))
    }
}

impl Core {
    /// Whether in an exchange those were asked who hold what this node may have lost: for a patient's device a custodian or another device, for all others somebody; who has none of these, everybody.
    pub(crate) fn has_asked(&self, info: &SyncInfo) -> Result<(), ApiError> {
        let own = self.keys.patient.as_ref().map(|patient| patient.ledger);
        let complete = match own {
            Some(id) => {
                let keeps = |peer| matches!(peer, Holder::Device(_) | Holder::Custodian(_));
                let holds = |card: &Card, slot: &crate::session::Slot| slot.names(&id) && keeps(self.replica.standing(id, &card.profile.party, &slot.remote()));
                let charter = self.ledger(&id)?.charter();
                let alone = charter.custodians.is_empty() && charter.active_devices().count() <= 1;
                self.sessions.met().any(|(_, card, slot)| slot.settled && holds(card, slot)) || alone && info.missed.is_empty()
            }
            None => {
                let lacks = self.replica.ledgers.keys().any(|id| self.lacks_own(id, |_| true));
                !lacks && (self.replica.ledgers.is_empty() || !info.reached.is_empty())
            }
        };
        if complete {
            return Ok(());
        }
        let who = if own.is_some() {
            "no custodian and no other device of the patient has given what it holds"
        } else {
            "not all that this node has signed has come again"
        };
        let why = if info.missed.is_empty() { String::new() } else { format!(" ({})", info.missed.join("; ")) };
        Err(ApiError::unreachable(format_args!("{who}{why}")))
    }
}

/// How long a call may take.
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).min(crate::running::CALL_WAIT)
}
