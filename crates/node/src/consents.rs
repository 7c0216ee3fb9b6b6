//! Grants as they are listed, previewed, and exchanged as FHIR Consents.

use std::collections::{BTreeMap, BTreeSet};

use chartmesh_consent::{ConsentMeta, ConsentState, Imported, Recipient, Terms, from_fhir, select, to_fhir};
use chartmesh_identity::{GrantId, LedgerId, PartyKey};
use chartmesh_records::Compartment;

use crate::{
    api::{ApiError, GrantInfo, PreviewInfo, PreviewLine, TermsInput},
    core::Core,
    duties::{notices, read_request},
    node::Node,
    peers::Peer,
    reading::{Held, State, Version},
    time,
    view::Document,
};

impl Node {
    /// What a peer would see under these terms, decided by the code that enforces them.
    pub(crate) fn consent_preview(&self, peer: &str, input: &TermsInput) -> Result<PreviewInfo, ApiError> {
        let now = time::now();
        let terms = crate::terms::parse(input, now)?;
        self.with(|core| {
            let id = core.own_ledger()?;
            let peer = core.peers.find(peer)?;
            peer.check_asked(input)?;
            peer.check_terms(&terms)?;
            let beside = core.in_force(&id, &peer.party())?;
            let mut foreseen = core.foresee(&id, &terms, &peer.party(), now)?;
            for (grant, granted) in &beside {
                for (version, one) in core.foresee(&id, granted, &peer.party(), now)?.into_iter().filter(|(_, one)| one.permitted) {
                    let because = vec![format!("shared already by grant {}", grant.short())];
                    let known = foreseen.entry(version).or_insert(Foreseen { permitted: false, compartment: one.compartment, because: Vec::new() });
                    if !known.permitted {
                        *known = Foreseen { because, ..one };
                    }
                }
            }
            let mut lines: BTreeMap<Compartment, PreviewLine> = BTreeMap::new();
            for one in foreseen.values() {
                let line = lines.entry(one.compartment).or_insert_with(|| PreviewLine {
                    compartment: one.compartment.to_string(),
                    readable: 0,
                    closed: 0,
                    because: Vec::new(),
                });
                *(if one.permitted { &mut line.readable } else { &mut line.closed }) += 1;
                for words in &one.because {
                    if !line.because.contains(words) {
                        line.because.push(words.clone());
                    }
                }
            }
            Ok(PreviewInfo {
                peer: peer.name().to_owned(),
                terms: terms.describe(),
                beside: beside.iter().map(|(grant, _)| *grant).collect(),
                readable: foreseen.values().filter(|one| one.permitted).count() as u64,
                closed: foreseen.values().filter(|one| !one.permitted).count() as u64,
                compartments: lines.into_values().collect(),
                notices: notices(&terms),
            })
        })
    }

    /// All grants that are known here.
    pub(crate) fn consent_list(&self) -> Result<Vec<GrantInfo>, ApiError> {
        self.with(|core| {
            let ids: Vec<LedgerId> = core.replica.ledgers.keys().copied().collect();
            let mut grants = Vec::new();
            for id in ids {
                let (_, view) = core.open(&id)?;
                for grant in view.grants.keys() {
                    grants.push(core.grant_info(&id, grant)?);
                }
            }
            grants.sort_by(|a, b| (&a.since, a.grant).cmp(&(&b.since, b.grant)));
            Ok(grants)
        })
    }

    /// One grant.
    pub(crate) fn consent_show(&self, word: &str) -> Result<GrantInfo, ApiError> {
        self.with(|core| {
            let (id, grant) = core.find_any_grant(word)?;
            core.grant_info(&id, &grant)
        })
    }

    /// A grant as a FHIR R4 Consent.
    pub(crate) fn consent_export(&self, word: &str) -> Result<Vec<u8>, ApiError> {
        self.with(|core| {
            let (id, grant) = core.find_any_grant(word)?;
            let (ledger, view) = core.open(&id)?;
            let open = view.grants.get(&grant).ok_or_else(|| ApiError::failed("an unknown grant"))?;
            let state = ledger.lane(&open.circle).grants.get(&grant);
            let live = state.is_some_and(|state| state.is_live(time::now()));
            let patient = core.current_resources(&id)?.into_iter().find(|held| held.facts.resource_type == "Patient");
            let meta = ConsentMeta {
                patient: patient.map_or_else(|| format!("{LEDGER}{id}"), |held| format!("Patient/{}", held.facts.id)),
                grantee: party_reference(&open.party),
                grantee_name: Some(open.party_name.clone()),
                grant: format!("urn:chartmesh:grant:{grant}"),
                date: time::instant(open.time),
                state: if live { ConsentState::Active } else { ConsentState::Inactive },
            };
            to_fhir(&open.terms, &meta).map_err(ApiError::failed)
        })
    }

    /// Grants what a FHIR Consent says: to `peer`, whom it calls `named`, or else to the contact that it names.
    pub(crate) async fn consent_import(&self, consent: &[u8], peer: Option<&str>, named: Option<String>) -> Result<GrantInfo, ApiError> {
        let imported = from_fhir(consent).map_err(|error| ApiError::failed(format_args!("the Consent cannot be taken over: {error}")))?;
        let (alias, terms, foreign) = self.with(|core| {
            let own = core.own_ledger()?;
            let known: BTreeSet<String> = core.patients(&own)?;
            let foreign = imported
                .patient
                .as_deref()
                .filter(|patient| !patient.starts_with(LEDGER))
                .is_some_and(|patient| !known.is_empty() && !known.contains(id_of(patient)));
            if imported.patient.as_deref().and_then(|patient| patient.strip_prefix(LEDGER)).is_some_and(|patient| patient != own.to_string()) {
                return Err(ApiError::failed("the Consent is of another patient (Consent.patient)"));
            }
            let (peer, called) = core.recipient(&imported, peer, named)?;
            let (alias, name, party) = (peer.alias.clone(), peer.name().to_owned(), party_reference(&peer.party()));
            let others: BTreeSet<&str> = imported
                .recipients
                .iter()
                .map(|named| named.reference.as_str())
                .filter(|named| *named != party && !called.iter().any(|one| one == named))
                .collect();
            let advice = if others.is_empty() {
                "`chartmesh consent revoke` ends a grant; `chartmesh consent list` shows them".to_owned()
            } else {
                format!("it names {}; if that is {name}, say so with --to {alias} --named REFERENCE", others.into_iter().collect::<Vec<_>>().join(", "))
            };
            let terms = imported
                .clone()
                .grant_to(&party, &called, time::now())
                .map_err(|why| ApiError::failed(format_args!("the Consent cannot be granted to {name}: {why}")).advise(advice))?;
            Ok((alias, terms, foreign))
        })?;
        let mut info = self.grant(&alias, terms).await?;
        if foreign {
            info.notes.push(
                "The Consent names another Patient (Consent.patient) than the records here do. If it is not meant for this patient, revoke the grant."
                    .to_owned(),
            );
        }
        Ok(info)
    }

    /// The sealed invitation of a grant.
    pub(crate) fn consent_invitation(&self, word: &str) -> Result<Vec<u8>, ApiError> {
        self.with(|core| {
            let id = core.own_ledger()?;
            core.may_sign(&id)?;
            let grant = core.find_grant(&id, word)?;
            let (_, view) = core.open(&id)?;
            let party = view.grants.get(&grant).map(|open| open.party).ok_or_else(|| ApiError::failed("an unknown grant"))?;
            core.invitation(&id, &party)?
                .ok_or_else(|| ApiError::refused("the grant is not in force").advise("`chartmesh consent list` shows which grants are"))
        })
    }
}

/// How a party is written in a Consent.
const PARTY: &str = "urn:chartmesh:party:";
/// How a patient without a Patient resource is.
const LEDGER: &str = "urn:chartmesh:ledger:";

/// A party as consent and FHIR name it.
pub(crate) fn party_reference(party: &PartyKey) -> String {
    format!("{PARTY}{party}")
}

/// The id that a literal reference to a Patient ends in.
pub(crate) fn id_of(reference: &str) -> &str {
    reference.split_once("/_history/").map_or(reference, |(current, _)| current).rsplit(['/', ':']).next().unwrap_or_default()
}

impl Core {
    /// The ids of the Patient resources in a chart.
    pub(crate) fn patients(&self, id: &LedgerId) -> Result<BTreeSet<String>, ApiError> {
        let all = self.current_resources(id)?.into_iter().filter(|held| held.facts.resource_type == "Patient");
        Ok(all.map(|held| held.facts.id.clone()).collect())
    }

    /// Whom a Consent is for, and the references by which it calls them.
    fn recipient(&self, imported: &Imported, peer: Option<&str>, named: Option<String>) -> Result<(&Peer, Vec<String>), ApiError> {
        let known = |called: &Recipient, peer: &Peer| {
            called.reference == party_reference(&peer.party()) || called.reference == peer.name() || called.name.as_deref() == Some(peer.name())
        };
        if let Some(word) = peer {
            if named.as_ref().is_some_and(|named| !imported.recipients.iter().any(|called| called.reference == *named)) {
                return Err(ApiError::usage(format_args!("the Consent names no recipient {:?}", named.unwrap_or_default())));
            }
            return Ok((self.peers.find(word)?, named.into_iter().collect()));
        }
        let found: Vec<&Peer> = self.peers.iter().filter(|peer| peer.added && imported.recipients.iter().any(|called| known(called, peer))).collect();
        match found.as_slice() {
            [peer] => Ok((peer, imported.recipients.iter().filter(|called| known(called, peer)).map(|called| called.reference.clone()).collect())),
            [] => Err(ApiError::failed("the Consent names nobody who is a contact here")
                .advise("say whom to grant it to with --to; `chartmesh peer list` shows the contacts, `chartmesh peer add` adds one")),
            _ => Err(ApiError::failed("the Consent names several contacts").advise("say with --to whom to grant it to, and import it once for each")),
        }
    }

    fn find_any_grant(&self, word: &str) -> Result<(LedgerId, GrantId), ApiError> {
        let mut last = ApiError::failed(format_args!("no grant {word:?}")).advise("`chartmesh consent list` shows the grants");
        for id in self.replica.ledgers.keys() {
            match self.find_grant(id, word) {
                Ok(grant) => return Ok((*id, grant)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// A grant for the API.
    pub(crate) fn grant_info(&self, id: &LedgerId, grant: &GrantId) -> Result<GrantInfo, ApiError> {
        let (ledger, view) = self.open(id)?;
        let open = view.grants.get(grant).ok_or_else(|| ApiError::failed("an unknown grant"))?;
        let state = ledger.lane(&open.circle).grants.get(grant);
        let now = time::now();
        let revoked = state.and_then(|state| state.revoked.as_ref());
        let word = match state {
            None => "void",
            Some(_) if revoked.is_some() => "revoked",
            Some(state) if !state.is_live(now) => "expired",
            Some(_) => "active",
        };
        let until = revoked.map(|revoked| revoked.time).or(open.terms.expires).map(time::instant);
        let mut in_force = self.in_force(id, &open.party)?;
        let opens = self.count_open(id, &open.party, &in_force)?;
        let readable = if word == "active" { self.count_open(id, &open.party, &[(*grant, &open.terms)])? } else { 0 };
        in_force.retain(|(other, _)| other != grant);
        let mut confirmed: Vec<String> = Vec::new();
        if let Some(state) = state {
            let party = self.party_name(id, &state.party);
            if state.confirms.is_empty() {
                if revoked.is_none() && self.heard.contains(&(*id, *grant)) {
                    confirmed.push(party);
                }
            } else {
                confirmed.extend(state.confirms.iter().map(|confirm| self.author_name(id, &confirm.author, &confirm.party)));
                confirmed.sort();
                confirmed.dedup();
            }
        }
        let ready = if word == "active" && open.terms.write && !self.is_owner(id) { Some(self.may_write(id, grant)?) } else { None };
        let mut notes = view.notices.get(grant).cloned().unwrap_or_default();
        if ready == Some(false) {
            notes.push("What this node needs in order to write has not arrived yet: `chartmesh sync` fetches it.".to_owned());
        }
        Ok(GrantInfo {
            grant: *grant,
            patient: *id,
            patient_name: self.other_patient(id),
            peer: open.party_name.clone(),
            party: open.party.to_string(),
            state: word.to_owned(),
            terms: open.terms.describe(),
            since: time::instant(open.time),
            until,
            reason: view.reasons.get(grant).filter(|_| word == "revoked").cloned(),
            write: open.terms.write,
            ready,
            custodian: open.terms.custodian,
            purpose: open.terms.purposes().into_iter().map(|purpose| purpose.code).collect(),
            readable,
            beside: in_force.into_iter().map(|(other, _)| other).collect(),
            open: opens,
            notes,
            confirmed,
        })
    }

    /// The grants in force to a party, as far as they can be read here.
    fn in_force(&self, id: &LedgerId, party: &PartyKey) -> Result<Vec<(GrantId, &Terms)>, ApiError> {
        let (ledger, view) = self.open(id)?;
        let now = time::now();
        let live = |grant: &GrantId, circle| ledger.lane(circle).grants.get(grant).is_some_and(|state| state.is_live(now));
        Ok(view.grants.iter().filter(|(grant, open)| open.party == *party && live(grant, &open.circle)).map(|(grant, open)| (*grant, &open.terms)).collect())
    }

    /// How many resources these grants open together: for the patient all that there are, for the party those that have arrived.
    fn count_open(&self, id: &LedgerId, party: &PartyKey, grants: &[(GrantId, &Terms)]) -> Result<u64, ApiError> {
        let now = time::now();
        let mut open = BTreeSet::new();
        for (_, terms) in grants {
            open.extend(self.foresee(id, terms, party, now)?.into_iter().filter(|(_, one)| one.permitted).map(|(version, _)| version));
        }
        Ok(open.len() as u64)
    }

    /// What a party sees under these terms, document by document as it is enforced: a resource is open if any copy of it is.
    fn foresee(&self, id: &LedgerId, terms: &Terms, party: &PartyKey, now: i64) -> Result<BTreeMap<Version, Foreseen>, ApiError> {
        let (ledger, view) = self.open(id)?;
        let request = read_request(id, &party_reference(party), terms, now);
        let current: BTreeSet<Version> = self.current_resources(id)?.iter().map(Held::version).collect();
        let mut foreseen: BTreeMap<_, Foreseen> = BTreeMap::new();
        let counts = |document: &Document<'_>| {
            if self.is_owner(id) { !document.quarantined && document.manifest.extract_of.is_none() } else { self.state(document) == State::Readable }
        };
        for document in view.documents(ledger).iter().filter(|document| counts(document)) {
            let manifest = document.manifest;
            let resources = manifest.resources.facts();
            let words = |reasons: &[chartmesh_consent::Reason]| reasons.iter().map(|reason| reason.words.clone()).collect::<Vec<_>>();
            let mut note = |index: usize, permitted: bool, because: Vec<String>| {
                let Some(facts) = resources.get(index) else { return };
                let key = Version { author: manifest.author, key: facts.key(), hash: facts.hash };
                if !current.contains(&key) {
                    return;
                }
                let one = Foreseen { permitted, compartment: manifest.compartment, because };
                let better = foreseen
                    .get(&key)
                    .is_none_or(|known| (known.permitted, std::cmp::Reverse(known.compartment)) < (permitted, std::cmp::Reverse(one.compartment)));
                if better {
                    foreseen.insert(key, one);
                }
            };
            let selection = select(terms, &request, manifest.compartment, &resources);
            let granted = selection.permit.as_ref().map(|permit| words(permit.because())).unwrap_or_default();
            for index in selection.permitted {
                note(index, true, granted.clone());
            }
            for (index, denied) in selection.denied {
                note(index, false, words(&denied.because));
            }
        }
        Ok(foreseen)
    }
}

/// What would become of one resource.
struct Foreseen {
    permitted: bool,
    compartment: Compartment,
    because: Vec<String>,
}
