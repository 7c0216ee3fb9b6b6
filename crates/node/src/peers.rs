//! Contacts: cards that are pinned by the hash of their stable part, with short names.

use std::{collections::BTreeMap, net::SocketAddr};

use chartmesh_consent::Terms;
use chartmesh_identity::{Card, Kind, PartyKey, Signed, Verified, from_canonical, to_canonical};
use chartmesh_vault::{Batch, Table, Vault};
use serde::{Deserialize, Serialize};

use crate::{
    api::{ApiError, PeerInfo, TermsInput},
    core::with_article,
    net::Route,
};

/// A contact as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    alias: String,
    card: Signed<Card>,
    rival: Option<Signed<Card>>,
    added: bool,
}

/// A contact.
pub(crate) struct Peer {
    /// Short name, unique here.
    pub(crate) alias: String,
    /// Its card; the hash of its profile is what is pinned.
    pub(crate) card: Verified<Card>,
    /// A card of the same party with another stable part: nothing is exchanged until the user has decided.
    pub(crate) rival: Option<Verified<Card>>,
    /// Added by the user, and not merely met.
    pub(crate) added: bool,
}

impl Peer {
    /// As it is stored.
    pub(crate) fn read(value: &[u8]) -> Result<Self, ApiError> {
        let stored: Stored = from_canonical(value).map_err(|error| ApiError::failed(format_args!("a stored contact: {error}")))?;
        let verify = |card: Signed<Card>| card.verify().map_err(|error| ApiError::failed(format_args!("the stored card of {}: {error}", stored.alias)));
        let card = verify(stored.card)?;
        let rival = stored.rival.map(verify).transpose()?;
        Ok(Self { alias: stored.alias.clone(), card, rival, added: stored.added })
    }

    /// Its party key.
    pub(crate) fn party(&self) -> PartyKey {
        self.card.profile.party
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.card.profile.name
    }

    /// Whoever keeps records sealed is not given everything to read because an option was left out.
    pub(crate) fn check_asked(&self, asked: &TermsInput) -> Result<(), ApiError> {
        if self.card.profile.kind == Kind::Custodian && !asked.custodian && !asked.write && asked.read.is_empty() {
            return Err(ApiError::usage(format_args!("{} is a custodian", self.name()))
                .advise("--custodian lets it keep sealed copies; to let it read as well, say what with --read"));
        }
        Ok(())
    }

    /// Whether it may be granted such terms at all.
    pub(crate) fn check_terms(&self, terms: &Terms) -> Result<(), ApiError> {
        let (name, kind) = (self.name(), self.card.profile.kind);
        if self.rival.is_some() {
            return Err(ApiError::refused(format_args!("the card of {name} has changed since it was added"))
                .advise("ask them whether they changed it; then `chartmesh peer remove` and `peer add` again"));
        }
        if terms.custodian && kind != Kind::Custodian {
            return Err(ApiError::usage(format_args!("{name} is {}, not a custodian", with_article(kind)))
                .advise("--custodian is for nodes made with `chartmesh init custodian`"));
        }
        if terms.custodian && self.card.contact.endpoints.is_empty() {
            return Err(ApiError::failed(format_args!("the card of {name} lists no endpoint")));
        }
        Ok(())
    }

    /// What the API says of it.
    pub(crate) fn info(&self) -> PeerInfo {
        PeerInfo {
            alias: self.alias.clone(),
            name: self.name().to_owned(),
            kind: self.card.profile.kind.to_string(),
            card: self.card.profile.hash().to_string(),
            party: self.party().to_string(),
            endpoints: self.card.contact.endpoints.iter().map(ToString::to_string).collect(),
            addresses: self.card.contact.addresses.clone(),
            blocked: self.rival.is_some(),
        }
    }
}

/// How to reach what a card speaks for: one route per endpoint.
pub(crate) fn routes(card: &Card) -> Vec<Route> {
    let addresses: Vec<SocketAddr> = card.contact.addresses.iter().filter_map(|address| address.parse().ok()).collect();
    card.contact.endpoints.iter().map(|endpoint| Route { endpoint: *endpoint, addresses: addresses.clone(), relay: card.contact.relay.clone() }).collect()
}

/// What became of a card that was met.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Met {
    /// Not known before, or nothing new in it.
    Fine,
    /// Its stable part differs from what is pinned: blocked.
    Changed,
}

/// All contacts, by party key.
#[derive(Default)]
pub(crate) struct Peers(BTreeMap<PartyKey, Peer>);

impl Peers {
    /// Reads the contacts of a vault.
    pub(crate) fn load(vault: &Vault) -> Result<Self, ApiError> {
        let mut peers = BTreeMap::new();
        for (_, value) in vault.scan(Table::Peers, &[]).map_err(ApiError::failed)? {
            let peer = Peer::read(&value)?;
            peers.insert(peer.party(), peer);
        }
        Ok(Self(peers))
    }

    /// All of them, by party key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.0.values()
    }

    /// The contact with this key.
    pub(crate) fn get(&self, party: &PartyKey) -> Option<&Peer> {
        self.0.get(party)
    }

    /// The contact that a user means: by alias, name, party key or card hash. Only those that the user has added: anybody may call itself by any name.
    pub(crate) fn find(&self, word: &str) -> Result<&Peer, ApiError> {
        let added = || self.0.values().filter(|peer| peer.added);
        let mut found: Vec<&Peer> = added().filter(|peer| peer.alias == word).collect();
        if found.is_empty() {
            found = added().filter(|peer| peer.name() == word || peer.party().to_string() == word || peer.card.profile.hash().to_string() == word).collect();
        }
        match found.as_slice() {
            [peer] => Ok(peer),
            [] => Err(ApiError::failed(format_args!("no contact is called {word:?}"))
                .advise("`chartmesh peer list` shows the contacts; `chartmesh peer add` adds one")),
            _ => Err(ApiError::failed(format_args!("several contacts are called {word:?}")).advise("use the alias that `chartmesh peer list` shows")),
        }
    }

    /// Takes note of a verified card. A newer contact part is kept; another stable part blocks.
    pub(crate) fn meet(&mut self, card: Verified<Card>, added: bool, alias: Option<&str>, vault: &Vault) -> Result<Met, ApiError> {
        let party = card.profile.party;
        let alias = match (self.0.get(&party), alias) {
            (Some(known), None) if known.added || !added => known.alias.clone(),
            (None, _) if !added => String::new(),
            (_, wish) => self.free_alias(wish, &card.profile.name, &party)?,
        };
        let met = match self.0.get_mut(&party) {
            None => {
                self.0.insert(party, Peer { alias, card, rival: None, added });
                Met::Fine
            }
            Some(known) => {
                let changed = known.card.profile != card.profile;
                let same = known.alias == alias && known.added | added == known.added;
                if changed {
                    known.rival = Some(card);
                } else if card.contact.counter > known.card.contact.counter {
                    known.card = card;
                } else if same {
                    return Ok(if known.rival.is_some() { Met::Changed } else { Met::Fine });
                }
                known.alias = alias;
                known.added |= added;
                if known.rival.is_some() { Met::Changed } else { Met::Fine }
            }
        };
        self.store(&party, vault)?;
        Ok(met)
    }

    /// Forgets a contact.
    pub(crate) fn remove(&mut self, party: &PartyKey, vault: &Vault) -> Result<(), ApiError> {
        self.0.remove(party);
        let mut batch = Batch::new();
        batch.remove(Table::Peers, party.as_bytes());
        vault.commit(batch).map_err(ApiError::failed)
    }

    fn store(&self, party: &PartyKey, vault: &Vault) -> Result<(), ApiError> {
        let Some(peer) = self.0.get(party) else { return Ok(()) };
        let stored = Stored {
            alias: peer.alias.clone(),
            card: peer.card.signed().clone(),
            rival: peer.rival.as_ref().map(|card| card.signed().clone()),
            added: peer.added,
        };
        vault.put(Table::Peers, party.as_bytes(), &to_canonical(&stored)).map_err(ApiError::failed)
    }

    fn free_alias(&self, wish: Option<&str>, name: &str, party: &PartyKey) -> Result<String, ApiError> {
        let taken = |alias: &str| self.0.values().any(|peer| peer.added && peer.alias == alias && peer.party() != *party);
        if let Some(wish) = wish {
            let plain = !wish.is_empty() && wish.len() <= 64 && wish.chars().all(|c| c.is_alphanumeric() || "-_.@".contains(c));
            return match (plain, taken(wish)) {
                (false, _) => Err(ApiError::usage(format_args!("{wish:?} cannot be an alias")).advise("letters, digits and -_.@ make an alias")),
                (_, true) => Err(ApiError::failed(format_args!("another contact is already called {wish}"))),
                _ => Ok(wish.to_owned()),
            };
        }
        let word = |c: char| if c.is_alphanumeric() { c.to_lowercase().next().unwrap_or('-') } else { '-' };
        let mut base: String = name.chars().map(word).take(40).collect();
        while base.contains("--") {
            base = base.replace("--", "-");
        }
        let base = base.trim_matches('-');
        let base = if base.is_empty() { "peer" } else { base };
        Ok((1..).map(|n| if n == 1 { base.to_owned() } else { format!("{base}-{n}") }).find(|alias| !taken(alias)).unwrap_or_default())
    }
}
