//! Invitations: how a party comes to take part in a ledger.

use chartmesh_consent::{Scope, decide_scope};
use chartmesh_exchange::Event;
use chartmesh_identity::{Card, LedgerId, PartyKey, Signed, Verified};
use chartmesh_ledger::Invitation;
use chartmesh_sealing::{open, seal};

use crate::{api::ApiError, core::Core, time};

impl Core {
    /// The sealed invitation for a party with a live grant; none from a device whose word counts no more.
    pub(crate) fn invitation(&self, id: &LedgerId, party: &PartyKey) -> Result<Option<Vec<u8>>, ApiError> {
        if self.may_sign(id).is_err() {
            return Ok(None);
        }
        let (ledger, view) = self.open(id)?;
        let Some((circle, identity)) = view.circle(party) else { return Ok(None) };
        let Some(card) = self.peers.get(party).map(|peer| &peer.card) else { return Ok(None) };
        let now = time::now();
        let live = ledger.lane(&circle).grants.iter().filter(|(_, grant)| grant.party == *party && grant.is_live(now));
        let permit = live.filter_map(|(grant, _)| view.grants.get(grant)).find_map(|open| {
            let request = crate::duties::read_request(id, &crate::consents::party_reference(party), &open.terms, now);
            decide_scope(&open.terms, &request, Scope::Circle).ok()
        });
        let Some(permit) = permit else { return Ok(None) };
        let custodians = ledger.charter().custodians.iter().filter_map(|custodian| self.peers.get(&custodian.party)).map(|peer| peer.card.signed().clone());
        let nodes = std::iter::once(self.replica.me.card.signed().clone()).chain(custodians).collect();
        let invitation = Invitation {
            ledger: *id,
            author: self.keys.author(),
            charters: ledger.standing_charters().cloned().collect(),
            circle,
            identity: crate::grants::circle_key(permit, identity)?,
            nodes,
        };
        let signed = Signed::sign(invitation, &self.keys.signing);
        seal(signed.as_bytes(), &card.profile.recipient).map(|sealed| Some(sealed.bytes)).map_err(ApiError::failed)
    }

    /// What an invitation says that is sealed to this node.
    pub(crate) fn open_invitation(&self, sealed: &[u8]) -> Result<Verified<Invitation>, ApiError> {
        let Ok(bytes) = open(sealed, &self.keys.sealing) else {
            return Err(ApiError::refused("the invitation is not sealed to this node"));
        };
        Signed::<Invitation>::from_bytes(bytes.to_vec()).verify().map_err(|error| ApiError::refused(format_args!("the invitation: {error}")))
    }

    /// Takes part in the ledger of an invitation. Which.
    pub(crate) fn accept_invitation(&mut self, invitation: &Invitation, from: Option<PartyKey>) -> Result<LedgerId, ApiError> {
        let is_new = self.join(invitation)?;
        let nodes: Vec<_> = self.memberships.get(&invitation.ledger).into_iter().flat_map(|member| &member.nodes).cloned().collect();
        for card in nodes.iter().filter_map(|card| Card::read(card.as_bytes()).ok()) {
            let known = self.peers.get(&card.profile.party).is_some();
            if !known && card.profile.party != self.keys.party() {
                self.peers.meet(card, false, None, &self.vault)?;
            }
        }
        tracing::info!(ledger = invitation.ledger.short(), from = from.map(|from| from.short()), is_new, "an invitation was accepted");
        if is_new {
            for id in self.sessions.ids() {
                self.event(id, Event::Opened(invitation.ledger));
            }
            self.sessions.signals.dial.notify_one();
        }
        Ok(invitation.ledger)
    }
}
