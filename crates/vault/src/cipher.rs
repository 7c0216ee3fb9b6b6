//! How a value is protected at rest: XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) under the vault key, with a random 24-byte nonce.
//!
//! The additional data are format, table and key, so that a value opens only in its own place. An older value of the same place put back shows in the tally (`tally.rs`).

use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce, aead::AeadInOut};
use zeroize::Zeroizing;

use crate::Table;

const NONCE: usize = 24;
const FORMAT: &[u8] = b"chartmesh vault 1";

/// The key of one vault.
pub(crate) struct Cipher {
    aead: XChaCha20Poly1305,
    names: Zeroizing<[u8; 32]>,
    traces: Zeroizing<[u8; 32]>,
}

impl Cipher {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let names = Zeroizing::new(blake3::derive_key("chartmesh vault 1 hidden names", key));
        let traces = Zeroizing::new(blake3::derive_key("chartmesh vault 1 traces of rows", key));
        Self { aead: XChaCha20Poly1305::new(key.into()), names, traces }
    }

    /// `nonce || ciphertext || tag`.
    pub(crate) fn seal(&self, table: Table, key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).expect("the operating system's random source");
        let mut sealed = Vec::with_capacity(NONCE + value.len() + 16);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(value);
        let tag = self
            .aead
            .encrypt_inout_detached(&XNonce::from(nonce), &place(table, key), sealed[NONCE..].as_mut().into())
            .expect("values are bounded far below the cipher's limit");
        sealed.extend_from_slice(&tag);
        sealed
    }

    /// The value, if this is what [`Self::seal`] made for that place.
    pub(crate) fn open(&self, table: Table, key: &[u8], sealed: Vec<u8>) -> Option<Zeroizing<Vec<u8>>> {
        let mut sealed = Zeroizing::new(sealed);
        let nonce: [u8; NONCE] = sealed.get(..NONCE)?.try_into().ok()?;
        sealed.drain(..NONCE);
        self.aead.decrypt_in_place(&XNonce::from(nonce), &place(table, key), &mut *sealed).ok()?;
        Some(sealed)
    }

    /// A key for a name that shall not be readable on disk.
    pub(crate) fn hide(&self, table: Table, name: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.names);
        *hasher.update(&[table.tag()]).update(name).finalize().as_bytes()
    }

    /// What a row adds to the tally of the vault.
    pub(crate) fn trace(&self, table: Table, key: &[u8], record: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.traces);
        hasher.update(&[table.tag()]).update(&(key.len() as u64).to_be_bytes()).update(key);
        *hasher.update(record).finalize().as_bytes()
    }
}

fn place(table: Table, key: &[u8]) -> Vec<u8> {
    [FORMAT, &[table.tag()], key].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_value_opens_in_its_own_place_and_nowhere_else(key: Vec<u8>, value: Vec<u8>, at: usize, bit in 0u8..8) {
            let cipher = Cipher::new(&[1; 32]);
            let sealed = cipher.seal(Table::Peers, &key, &value);
            prop_assert_eq!(cipher.open(Table::Peers, &key, sealed.clone()).unwrap().to_vec(), value);
            prop_assert!(cipher.open(Table::Names, &key, sealed.clone()).is_none());
            prop_assert!(cipher.open(Table::Peers, &[&key[..], b"x"].concat(), sealed.clone()).is_none());
            prop_assert!(Cipher::new(&[2; 32]).open(Table::Peers, &key, sealed.clone()).is_none());
            let mut damaged = sealed.clone();
            let at = at % damaged.len();
            damaged[at] ^= 1 << bit;
            prop_assert!(cipher.open(Table::Peers, &key, damaged).is_none());
            prop_assert!(cipher.open(Table::Peers, &key, sealed[..at].to_vec()).is_none());
        }
    }

    #[test]
    fn one_value_is_never_sealed_twice_alike() {
        let cipher = Cipher::new(&[1; 32]);
        assert_ne!(cipher.seal(Table::Peers, b"k", b"v"), cipher.seal(Table::Peers, b"k", b"v"));
    }

    #[test]
    fn hidden_names_differ_by_vault_table_and_name() {
        let cipher = Cipher::new(&[1; 32]);
        let all =
            [cipher.hide(Table::Names, b"a"), cipher.hide(Table::Names, b"b"), cipher.hide(Table::Peers, b"a"), Cipher::new(&[2; 32]).hide(Table::Names, b"a")];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
