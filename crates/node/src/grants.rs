//! Consent as a patient gives and ends it, and the only places where a key is handed to anybody: each uses up a [`Permit`].

use chartmesh_consent::{Permit, PermitScope, Terms};
use chartmesh_identity::{AccessId, EntryHash, GrantId, LaneId, LedgerId, PartyKey, to_canonical};
use chartmesh_ledger::{AccessKey, Action, Custodian, DEFAULT_MAX_AGE, FileKey as SharedKey, GrantBody, LaneKey, Seed, SharedFile, Use};
use chartmesh_records::Compartment;
use chartmesh_sealing::{FileKey, Identity};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::{
    api::{ApiError, GrantInfo, TermsInput},
    core::Core,
    duties::{open_to_writers, store_keys},
    manifest::Manifest,
    node::Node,
    write::{Parts, Writer, seal_body},
};

/// What an Envelope says of one catalog besides its identity.
pub(crate) struct AccessParts {
    pub(crate) lane: LaneId,
    pub(crate) compartment: Compartment,
    pub(crate) epoch: EntryHash,
    pub(crate) access: AccessId,
    pub(crate) salt: Option<[u8; 16]>,
}

/// Hands over the identity of a whole compartment. Uses up the permit for it.
pub(crate) fn compartment_key(permit: Permit, parts: AccessParts, identity: &Identity) -> Result<AccessKey, ApiError> {
    if *permit.scope() != PermitScope::Compartment(parts.compartment) {
        return Err(ApiError::refused(format_args!("the permit is not for {}", parts.compartment)));
    }
    Ok(AccessKey { identity: Some(Seed::new(*identity.expose_seed())), ..write_key(parts) })
}

/// Hands over the key of one document. Uses up the permit for it.
pub(crate) fn document_key(permit: Permit, publish: EntryHash, manifest: &Manifest, key: &FileKey) -> Result<SharedFile, ApiError> {
    if *permit.scope() != PermitScope::Document(manifest.blob.to_string()) {
        return Err(ApiError::refused(format_args!("the permit is not for document {}", manifest.blob.short())));
    }
    Ok(SharedFile { publish, blob: manifest.blob, key: SharedKey::new(*key.expose()), manifest: ByteBuf::from(to_canonical(manifest)) })
}

/// Hands over the identity of a party's own circle. Uses up the permit for it.
pub(crate) fn circle_key(permit: Permit, identity: &Identity) -> Result<Seed, ApiError> {
    if *permit.scope() != PermitScope::Circle {
        return Err(ApiError::refused("the permit is not for a circle"));
    }
    Ok(Seed::new(*identity.expose_seed()))
}

/// Tells how to write in a catalog; opens nothing.
pub(crate) fn write_key(parts: AccessParts) -> AccessKey {
    AccessKey { lane: parts.lane, compartment: parts.compartment.to_string(), epoch: parts.epoch, identity: None, salt: parts.salt, access: parts.access }
}

/// Body of a Revoke: why.
#[derive(Serialize, Deserialize)]
pub(crate) struct RevokeBody {
    pub(crate) reason: String,
}

impl Node {
    /// Grants a peer access and hands over what that takes.
    pub(crate) async fn consent_grant(&self, peer: &str, input: &TermsInput) -> Result<GrantInfo, ApiError> {
        let terms = crate::terms::parse(input, crate::time::now())?;
        self.with(|core| {
            core.own_ledger()?;
            core.peers.find(peer)?.check_asked(input)
        })?;
        self.grant(peer, terms).await
    }

    /// Grants terms that are at hand.
    pub(crate) async fn grant(&self, peer: &str, terms: Terms) -> Result<GrantInfo, ApiError> {
        let _one_at_a_time = self.0.changes.lock().await;
        let (id, grant) = self.with(|core| core.grant(peer, &terms))?;
        self.settle(id).await?;
        self.with(|core| core.grant_info(&id, &grant))
    }

    /// Ends a grant: a Revoke, then bars, new epochs and envelopes for the readers who stay.
    pub(crate) async fn consent_revoke(&self, grant: &str, reason: Option<&str>) -> Result<GrantInfo, ApiError> {
        let _one_at_a_time = self.0.changes.lock().await;
        let (id, grant) = self.with(|core| core.revoke(grant, reason))?;
        self.settle(id).await?;
        self.with(|core| core.grant_info(&id, &grant))
    }
}

impl Core {
    fn grant(&mut self, peer: &str, terms: &Terms) -> Result<(LedgerId, GrantId), ApiError> {
        let id = self.own_ledger()?;
        let peer = self.peers.find(peer)?;
        peer.check_terms(terms)?;
        let (party, name, card_hash) = (peer.party(), peer.name().to_owned(), peer.card.profile.hash());
        let endpoint = peer.card.contact.endpoints.first().copied();
        let card = peer.card.as_bytes().to_vec();
        if terms.write {
            self.ensure_catalogs(&id, open_to_writers())?;
        }
        let grant = GrantId::random();
        let mut writer = Writer::new(self, id)?;
        let (circle, recipient) = circle(&mut writer, &id, &party)?;
        let body =
            GrantBody { terms: ByteBuf::from(to_canonical(terms)), party_name: name, purpose: terms.describe().join(" "), card: Some(ByteBuf::from(card)) };
        let body = seal_body(&body, &recipient)?;
        writer.entry(circle, Action::Grant { id: grant, party, until: terms.expires, max_age: DEFAULT_MAX_AGE }, Parts::body(body))?;
        if terms.custodian {
            let endpoint = endpoint.ok_or_else(|| ApiError::failed("the custodian's card lists no endpoint"))?;
            writer.charter(|next| {
                next.custodians.retain(|custodian| custodian.party != party);
                next.custodians.push(Custodian { party, card: card_hash, endpoint });
            })?;
        }
        writer.commit()?;
        Ok((id, grant))
    }

    fn revoke(&mut self, word: &str, reason: Option<&str>) -> Result<(LedgerId, GrantId), ApiError> {
        let id = self.own_ledger()?;
        let grant = self.find_grant(&id, word)?;
        let (ledger, view) = self.open(&id)?;
        let open = view.grants.get(&grant).ok_or_else(|| ApiError::failed("an unknown grant"))?;
        let (circle, party, custodian) = (open.circle, open.party, open.terms.custodian);
        let state = ledger.lane(&circle).grants.get(&grant).ok_or_else(|| ApiError::failed("the grant does not stand"))?;
        if state.revoked.is_some() {
            return Err(ApiError::failed(format_args!("grant {} is revoked already", grant.short())));
        }
        // A device that was lost may have given its id to another grant as well: it ends wherever it stands.
        let standing = ledger.lanes().filter(|lane| ledger.lane(lane).grants.get(&grant).is_some_and(|state| state.revoked.is_none()));
        let fences: Vec<_> = standing.map(|lane| (*lane, ledger.fence_of(lane, |rests| *rests == Use::Grant(grant)))).collect();
        let recipient = view.circle_identity(&circle).ok_or_else(|| ApiError::failed("a circle without identity"))?.recipient().clone();
        let elsewhere = view.grants.iter().any(|(other, open)| {
            *other != grant
                && open.party == party
                && open.terms.custodian
                && ledger.lane(&circle).grants.get(other).is_some_and(|state| state.revoked.is_none())
        });
        let body = seal_body(&RevokeBody { reason: reason.unwrap_or_default().to_owned() }, &recipient)?;
        let mut writer = Writer::new(self, id)?;
        for (lane, fence) in fences {
            let parts = if lane == circle { Parts::body(body.clone()) } else { Parts::default() };
            writer.entry(lane, Action::Revoke { grant, fence }, parts)?;
        }
        if custodian && !elsewhere {
            writer.charter(|next| next.custodians.retain(|listed| listed.party != party))?;
        }
        writer.commit()?;
        Ok((id, grant))
    }

    /// The grant that a user means by its id or the beginning of it.
    pub(crate) fn find_grant(&self, id: &LedgerId, word: &str) -> Result<GrantId, ApiError> {
        let (_, view) = self.open(id)?;
        let found: Vec<&GrantId> = view.grants.keys().filter(|grant| !word.is_empty() && grant.to_string().starts_with(&word.to_lowercase())).collect();
        match found.as_slice() {
            [one] => Ok(**one),
            [] => Err(ApiError::failed(format_args!("no grant {word:?}")).advise("`chartmesh consent list` shows the grants")),
            _ => Err(ApiError::usage(format_args!("several grants begin with {word}")).advise("give more of its id")),
        }
    }
}

/// The circle of a party; its identity goes into the keyring when it is new.
fn circle(writer: &mut Writer<'_>, id: &LedgerId, party: &PartyKey) -> Result<(LaneId, chartmesh_identity::Recipient), ApiError> {
    let (_, view) = writer.core.open(id)?;
    if let Some((lane, identity)) = view.circle(party) {
        return Ok((lane, identity.recipient().clone()));
    }
    let secret = &writer.core.keys.patient.as_ref().ok_or_else(|| ApiError::refused("only a patient's device grants"))?.keyring_secret;
    let lane = LaneId::derive(secret.expose(), format!("circle/{party}").as_bytes());
    let identity = Identity::generate();
    let key = LaneKey { lane, epoch: None, purpose: party.to_string(), identity: Seed::new(*identity.expose_seed()) };
    store_keys(writer, id, vec![key])?;
    Ok((lane, identity.recipient().clone()))
}

#[cfg(test)]
mod tests;
