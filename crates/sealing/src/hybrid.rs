//! The `mlkem768x25519` recipient stanza (C2SP age specification) on age's public traits, until age has a type of its own for it.
//!
//! HPKE SealBase (RFC 9180, section 6.1) of the file key: KEM MLKEM768-X25519, KDF HKDF-SHA256, AEAD ChaCha20Poly1305, no associated data.

use std::{cell::OnceCell, collections::HashSet, io};

use age::{DecryptError, EncryptError};
use age_core::{
    format::{FILE_KEY_BYTES, FileKey, Stanza},
    secrecy::ExposeSecret,
};
use data_encoding::BASE64_NOPAD;
use hpke::{Deserializable, HpkeError, OpModeR, OpModeS, Serializable, aead::ChaCha20Poly1305, kdf::HkdfSha256, kem::XWing};
use zeroize::Zeroizing;

use crate::{
    keys,
    xwing::{EncappedKey, ExpandedXWing, PrivateKey, PublicKey},
};

const TAG: &str = "mlkem768x25519";
const INFO: &[u8] = b"age-encryption.org/mlkem768x25519";
/// Keeps age from mixing this recipient with one that a quantum computer breaks.
const LABEL: &str = "postquantum";
/// The file key and the tag of ChaCha20Poly1305.
const BODY: usize = FILE_KEY_BYTES + 16;

/// Wraps the file key for one recipient and keeps a copy of it for the sealer.
pub(crate) struct Wrapper {
    public: PublicKey,
    pub(crate) file_key: OnceCell<keys::FileKey>,
}

impl Wrapper {
    /// `None` if the bytes are no public key.
    pub(crate) fn new(recipient: &chartmesh_identity::Recipient) -> Option<Self> {
        let public = PublicKey::from_bytes(recipient.as_bytes()).ok()?;
        Some(Self { public, file_key: OnceCell::new() })
    }
}

impl age::Recipient for Wrapper {
    fn wrap_file_key(&self, file_key: &FileKey) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        let secret = file_key.expose_secret();
        let (enc, body) = hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, XWing>(&OpModeS::Base, &self.public, INFO, secret, b"")
            .map_err(|error| EncryptError::Io(io::Error::other(error)))?;
        self.file_key.get_or_init(|| keys::FileKey::new(*secret));
        let stanza = Stanza { tag: TAG.into(), args: vec![BASE64_NOPAD.encode(&enc.to_bytes())], body };
        Ok((vec![stanza], HashSet::from([LABEL.into()])))
    }
}

impl age::Identity for PrivateKey {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        (stanza.tag == TAG).then(|| unwrap(self, stanza)).and_then(Result::transpose)
    }
}

/// `Ok(None)` if the stanza is for somebody else.
fn unwrap(key: &PrivateKey, stanza: &Stanza) -> Result<Option<FileKey>, DecryptError> {
    let [enc] = stanza.args.as_slice() else { return Err(DecryptError::InvalidHeader) };
    let enc = BASE64_NOPAD.decode(enc.as_bytes()).map_err(|_| DecryptError::InvalidHeader)?;
    let enc = EncappedKey::from_bytes(&enc).map_err(|_| DecryptError::InvalidHeader)?;
    // Before decrypting: ChaCha20Poly1305 commits to no key, and a longer body could open under several (age specification, "scrypt recipient stanza").
    if stanza.body.len() != BODY {
        return Err(DecryptError::InvalidHeader);
    }
    match hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, ExpandedXWing>(&OpModeR::Base, key, &enc, INFO, &stanza.body, b"") {
        Ok(opened) => {
            let opened = Zeroizing::new(opened);
            let file_key: [u8; FILE_KEY_BYTES] = opened.as_slice().try_into().map_err(|_| DecryptError::InvalidHeader)?;
            let file_key = Zeroizing::new(file_key);
            Ok(Some(FileKey::init_with_mut(|to| to.copy_from_slice(file_key.as_slice()))))
        }
        Err(HpkeError::OpenError) => Ok(None),
        Err(_) => Err(DecryptError::InvalidHeader),
    }
}

#[cfg(test)]
mod tests {
    use age::{Identity as _, Recipient as _};
    use chartmesh_identity::Recipient;

    use super::*;

    fn stanza() -> (PrivateKey, Stanza) {
        let key = PrivateKey::expand(&[1; 32]);
        let wrapper = Wrapper::new(&Recipient::from_bytes(&key.public_bytes()).unwrap()).unwrap();
        let (mut stanzas, labels) = wrapper.wrap_file_key(&FileKey::new(Box::new([7; 16]))).unwrap();
        assert_eq!(labels, HashSet::from(["postquantum".to_owned()]));
        assert_eq!(wrapper.file_key.get().unwrap().expose(), &[7; 16]);
        (key, stanzas.pop().unwrap())
    }

    #[test]
    fn its_own_key_opens_it_and_no_other() {
        let (key, stanza) = stanza();
        assert_eq!(key.unwrap_stanza(&stanza).unwrap().ok().unwrap().expose_secret(), &[7; 16]);
        assert!(PrivateKey::expand(&[2; 32]).unwrap_stanza(&stanza).is_none());
    }

    #[test]
    fn a_stanza_of_another_shape_is_refused_before_any_decryption() {
        type Bend = fn(&mut Stanza);
        let bends: [Bend; 6] = [
            |stanza| stanza.args.push("more".into()),
            |stanza| stanza.args.clear(),
            |stanza| stanza.args[0].truncate(1400),
            |stanza| stanza.args[0].push('='),
            |stanza| stanza.body.truncate(31),
            |stanza| stanza.body.push(0),
        ];
        for (at, bend) in bends.into_iter().enumerate() {
            let (key, mut stanza) = stanza();
            bend(&mut stanza);
            assert!(matches!(key.unwrap_stanza(&stanza), Some(Err(DecryptError::InvalidHeader))), "bend {at}");
        }
        let (key, mut other) = stanza();
        other.tag = "MLKEM768x25519".into();
        assert!(key.unwrap_stanza(&other).is_none());
    }

    #[test]
    fn bytes_that_are_no_key_are_no_recipient() {
        assert!(Wrapper::new(&Recipient::from_bytes(&[0xff; Recipient::LEN]).unwrap()).is_none());
    }
}
