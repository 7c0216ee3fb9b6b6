//! Contact cards: who a party is, pinned by hash, and where it can be reached, which may change.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    cbor::to_canonical,
    hidden::is_plain_name,
    ids::{CardHash, EndpointKey, PartyKey, Recipient},
    keys::SigningSecret,
    signed::{Named, Payload, Signed, SignedError, Verified},
};

/// Longest name on a card, in characters.
const MAX_NAME: usize = 120;
/// Most endpoints or addresses on a card.
const MAX_PLACES: usize = 32;

/// What kind of party a card speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A patient's device.
    Patient,
    /// A clinician.
    Practitioner,
    /// A hospital, a clinic, a laboratory.
    Organization,
    /// A node that keeps and serves ciphertext it cannot read.
    Custodian,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Patient => "patient",
            Self::Practitioner => "practitioner",
            Self::Organization => "organization",
            Self::Custodian => "custodian",
        })
    }
}

/// The stable part of a card; its hash alone is pinned, so a change of any of it blocks and asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Name for people, up to 120 characters, no control characters.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The key that grants name.
    pub party: PartyKey,
    /// What is sealed to this party goes to this recipient.
    pub recipient: Recipient,
    /// Counts deliberate changes of the stable part, from 1.
    pub version: u64,
}

impl Profile {
    /// What peers pin.
    pub fn hash(&self) -> CardHash {
        CardHash::of(&to_canonical(self))
    }
}

/// The part of a card that may change: the highest counter wins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// The party's iroh endpoints.
    pub endpoints: Vec<EndpointKey>,
    /// `IP:PORT` where they were last reachable.
    pub addresses: Vec<String>,
    /// URL of a relay, if the party uses one.
    pub relay: Option<String>,
    /// Grows with every change.
    pub counter: u64,
}

/// A contact card, signed by the party that it speaks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Who it is.
    pub profile: Profile,
    /// Where it is.
    pub contact: Contact,
}

/// Why a card is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CardError {
    /// Not signed by the party it names, or not a card at all.
    #[error("not a valid card: {0}")]
    Signed(#[from] SignedError),
    /// A name that is empty, too long, or has characters that a reader does not see.
    #[error("not a valid card: a name has 1 to {MAX_NAME} characters, all of which can be seen")]
    Name,
    /// Too many addresses, or too long ones.
    #[error("not a valid card: its contact part is out of bounds")]
    Contact,
}

impl Payload for Card {
    const TYP: &'static str = "application/chartmesh-card+cbor";

    fn again(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl Named for Card {
    fn signer(&self) -> [u8; 32] {
        *self.profile.party.as_bytes()
    }
}

impl Card {
    /// Signs the card of the party whose key this is.
    pub fn sign(self, key: &SigningSecret) -> Result<Verified<Self>, CardError> {
        self.check()?;
        Ok(Signed::sign(self, key))
    }

    /// Reads and verifies a card.
    pub fn read(bytes: &[u8]) -> Result<Verified<Self>, CardError> {
        let card = Signed::<Self>::from_bytes(bytes.to_vec()).verify()?;
        card.check()?;
        Ok(card)
    }

    fn check(&self) -> Result<(), CardError> {
        let name = &self.profile.name;
        if name.trim().is_empty() || name.chars().count() > MAX_NAME || !is_plain_name(name) {
            return Err(CardError::Name);
        }
        let places = self.contact.endpoints.len().max(self.contact.addresses.len());
        let long = self.contact.addresses.iter().chain(&self.contact.relay).any(|address| address.len() > 256);
        if places > MAX_PLACES || long {
            return Err(CardError::Contact);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(name: &str) -> (SigningSecret, Card) {
        let key = SigningSecret::from_seed(&[1; 32]);
        let recipient = Recipient::from_bytes(&[9; Recipient::LEN]).unwrap();
        let profile = Profile { name: name.into(), kind: Kind::Practitioner, party: key.party(), recipient, version: 1 };
        (key, Card { profile, contact: Contact::default() })
    }

    #[test]
    fn a_card_reads_back_and_only_its_stable_part_is_pinned() {
        let (key, card) = card("Dr Lee");
        let signed = card.clone().sign(&key).unwrap();
        let read = Card::read(signed.as_bytes()).unwrap();
        assert_eq!(*read, card);
        let moved = Card { contact: Contact { counter: 9, ..Contact::default() }, ..card.clone() };
        assert_eq!(moved.profile.hash(), card.profile.hash());
        let renamed = Profile { name: "Dr Leo".into(), ..card.profile.clone() };
        assert_ne!(renamed.hash(), card.profile.hash());
    }

    #[test]
    fn somebody_elses_key_and_wild_names_are_refused() {
        let (_, honest) = card("Dr Lee");
        let thief = SigningSecret::from_seed(&[2; 32]);
        let forged = honest.sign(&thief).unwrap();
        assert_eq!(Card::read(forged.as_bytes()).unwrap_err(), CardError::Signed(SignedError::Signature));
        for name in ["", "   ", "a\u{1b}[2J", "Dr Lee\u{200b}", &"x".repeat(121)] {
            let (key, card) = card(name);
            assert_eq!(card.sign(&key).unwrap_err(), CardError::Name);
        }
    }
}
