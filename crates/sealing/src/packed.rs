//! Bytes made smaller before they are sealed: one zstd frame that states its content's length (RFC 8878, section 3.1.1).

use thiserror::Error;
use zeroize::Zeroizing;
use zstd::bulk::Compressor;
use zstd::zstd_safe::{find_frame_compressed_size, get_frame_content_size};

/// There is no memory to pack anything, or the level is none of zstd's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("compression cannot begin")]
pub struct PackError;

/// Packs one thing after the other in the same tables, which take longer to make than a small thing to pack. It holds fragments of what it has packed until it is dropped.
pub struct Packer(Compressor<'static>);

impl Packer {
    /// `level` is zstd's, 1 to 19; 3 is a good one.
    ///
    /// # Errors
    /// There is no memory for the tables.
    pub fn new(level: i32) -> Result<Self, PackError> {
        Compressor::new(level).map(Self).map_err(|_| PackError)
    }

    /// Packs bytes. None if that is not possible for want of memory.
    pub fn pack(&mut self, content: &[u8]) -> Option<Vec<u8>> {
        self.0.compress(content).ok()
    }

    /// Packs bytes to where there is room for them. How many they are then.
    pub(crate) fn pack_to(&mut self, content: &[u8], room: &mut [u8]) -> Option<usize> {
        self.0.compress_to_buffer(content, room).ok()
    }
}

/// How many bytes are packed there, as the frame states it: none if it does not, or if these bytes are anything but one frame.
pub fn packed_length(bytes: &[u8]) -> Option<u64> {
    let alone = find_frame_compressed_size(bytes).ok()? == bytes.len();
    get_frame_content_size(bytes).ok()?.filter(|_| alone)
}

/// What was packed, if it is at most `limit` bytes: nothing more is made room for.
pub fn unpack(bytes: &[u8], limit: usize) -> Option<Zeroizing<Vec<u8>>> {
    let length = usize::try_from(packed_length(bytes)?).ok().filter(|length| *length <= limit)?;
    let content = Zeroizing::new(zstd::bulk::decompress(bytes, length).ok()?);
    (content.len() == length).then_some(content)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pack(content: &[u8], level: i32) -> Option<Vec<u8>> {
        Packer::new(level).unwrap().pack(content)
    }

    #[test]
    fn what_was_packed_before_makes_no_difference() {
        let mut packer = Packer::new(3).unwrap();
        for content in [&b"content content content"[..], &[7; 100_000], b"", b"content"] {
            assert_eq!(packer.pack(content), pack(content, 3));
        }
    }

    #[test]
    fn what_is_not_one_frame_of_a_stated_length_is_nothing() {
        let packed = pack(b"content content content", 3).unwrap();
        assert_eq!(unpack(&packed, 23).unwrap().as_slice(), b"content content content");
        assert_eq!(packed_length(&packed), Some(23));
        assert_eq!(unpack(&packed, 22), None);
        assert_eq!(unpack(&[packed.as_slice(), &packed].concat(), 100), None);
        assert_eq!(unpack(&packed[..packed.len() - 1], 100), None);
        assert_eq!(unpack(&[&packed[..], &[0]].concat(), 100), None);
        let mut silent = zstd::bulk::Compressor::new(3).unwrap();
        silent.include_contentsize(false).unwrap();
        let stream = silent.compress(b"content").unwrap();
        assert_eq!(packed_length(&stream), None);
        assert_eq!(unpack(&stream, 100), None);
    }

    #[test]
    fn a_bomb_is_seen_by_its_label() {
        let bomb = pack(&vec![0; 64 << 20], 19).unwrap();
        assert!(bomb.len() < 10_000);
        assert_eq!(unpack(&bomb, 16 << 20), None);
    }

    proptest! {
        #[test]
        fn bytes_come_back(content in proptest::collection::vec(0u8..9, 0..3000), level in 1i32..12) {
            prop_assert_eq!(unpack(&pack(&content, level).unwrap(), content.len()).unwrap().to_vec(), content);
        }

        #[test]
        fn nonsense_is_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(unpack(&bytes, 1 << 20), None);
        }

        #[test]
        fn damage_is_noticed_or_harmless(content in proptest::collection::vec(0u8..9, 1..500), at: proptest::sample::Index, with in 1u8..) {
            let mut packed = pack(&content, 3).unwrap();
            *at.get_mut(&mut packed) ^= with;
            prop_assert!(unpack(&packed, 1 << 16).is_none_or(|content| content.len() <= 1 << 16));
        }
    }
}
