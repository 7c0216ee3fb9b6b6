//! Tickets: what is read aloud, pasted or scanned to make first contact. A ticket names a card by hash and says where to fetch it.
//!
//! `chartmesh:` and base64url (RFC 4648, section 5, no padding) of: version 1, card hash (32), endpoint id (32), then per address hint a tag 4 or 6, the address and the port.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use thiserror::Error;

use crate::ids::{CardHash, EndpointKey};

const SCHEME: &str = "chartmesh:";
const VERSION: u8 = 1;
/// Most address hints in a ticket.
const MAX_ADDRESSES: usize = 4;

/// First contact with a party.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// What the fetched card must hash to.
    pub card: CardHash,
    /// The endpoint that serves the card.
    pub endpoint: EndpointKey,
    /// Where it may be reached, up to four.
    pub addresses: Vec<SocketAddr>,
}

/// Why a text is not a ticket.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TicketError {
    /// No `chartmesh:` in front.
    #[error("a ticket begins with {SCHEME}")]
    Scheme,
    /// A later version.
    #[error("this ticket is of version {0}, which this program does not know")]
    Version(u8),
    /// Mistyped or cut short.
    #[error("the ticket is damaged or cut short")]
    Damaged,
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(self.card.as_bytes());
        bytes.extend_from_slice(self.endpoint.as_bytes());
        for address in self.addresses.iter().take(MAX_ADDRESSES) {
            match address.ip() {
                IpAddr::V4(ip) => {
                    bytes.push(4);
                    bytes.extend_from_slice(&ip.octets());
                }
                IpAddr::V6(ip) => {
                    bytes.push(6);
                    bytes.extend_from_slice(&ip.octets());
                }
            }
            bytes.extend_from_slice(&address.port().to_be_bytes());
        }
        write!(f, "{SCHEME}{}", data_encoding::BASE64URL_NOPAD.encode(&bytes))
    }
}

/// Takes `N` bytes off the front.
fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], TicketError> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(TicketError::Damaged)?;
    *rest = tail;
    Ok(*head)
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let encoded = text.trim().strip_prefix(SCHEME).ok_or(TicketError::Scheme)?;
        let bytes = data_encoding::BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| TicketError::Damaged)?;
        let mut rest = bytes.as_slice();
        match take::<1>(&mut rest)? {
            [VERSION] => {}
            [other] => return Err(TicketError::Version(other)),
        }
        let card = CardHash::new(take(&mut rest)?);
        let endpoint = EndpointKey::new(take(&mut rest)?);
        let mut addresses = Vec::new();
        while !rest.is_empty() && addresses.len() < MAX_ADDRESSES {
            let ip = match take::<1>(&mut rest)? {
                [4] => IpAddr::V4(Ipv4Addr::from(take::<4>(&mut rest)?)),
                [6] => IpAddr::V6(Ipv6Addr::from(take::<16>(&mut rest)?)),
                _ => return Err(TicketError::Damaged),
            };
            addresses.push(SocketAddr::new(ip, u16::from_be_bytes(take(&mut rest)?)));
        }
        if !rest.is_empty() {
            return Err(TicketError::Damaged);
        }
        Ok(Self { card, endpoint, addresses })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn tickets_read_back(card: [u8; 32], endpoint: [u8; 32], addresses in proptest::collection::vec((any::<IpAddr>(), any::<u16>()), 0..4)) {
            let addresses = addresses.into_iter().map(|(ip, port)| SocketAddr::new(ip, port)).collect();
            let ticket = Ticket { card: CardHash::new(card), endpoint: EndpointKey::new(endpoint), addresses };
            prop_assert_eq!(ticket.to_string().parse::<Ticket>().unwrap(), ticket);
        }

        #[test]
        fn nonsense_is_an_error(text in ".{0,200}") {
            prop_assert!(text.parse::<Ticket>().is_err());
        }
    }

    #[test]
    fn cut_tickets_are_damaged_and_later_versions_named() {
        let address = "127.0.0.1:4433".parse().unwrap();
        let text = Ticket { card: CardHash::new([1; 32]), endpoint: EndpointKey::new([2; 32]), addresses: vec![address] }.to_string();
        assert!(text.len() <= 120, "{} characters", text.len());
        assert_eq!(text[..text.len() - 4].parse::<Ticket>(), Err(TicketError::Damaged));
        let later = format!("chartmesh:{}", data_encoding::BASE64URL_NOPAD.encode(&[9]));
        assert_eq!(later.parse::<Ticket>(), Err(TicketError::Version(9)));
    }
}
