//! The zstd frames of a document's plaintext (RFC 8878, section 3.1): a skippable frame with the header, one frame with the content, a skippable frame of zeros that pads the whole
//! to a Padmé size. `zstd -d` skips the first and the last.

use thiserror::Error;

/// Magic of the skippable frame with the header.
const HEADER: u32 = 0x184D_2A50;
/// Magic of the skippable frame with the padding.
const PADDING: u32 = 0x184D_2A51;
/// Magic of a zstd frame.
const ZSTD: u32 = 0xFD2F_B528;
/// Magic and length of a skippable frame.
const FRAME_START: usize = 8;
/// Longest header, in bytes.
pub(crate) const MAX_HEADER: usize = 64 * 1024;

/// Which part of a document's layout is not as it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LayoutError {
    /// The first frame is not a skippable one with a header of at most 64 KiB.
    #[error("no header")]
    Header,
    /// No zstd frame follows.
    #[error("no zstd frame after the header")]
    Content,
    /// What follows the content is not one skippable frame of zeros that ends at the Padmé size.
    #[error("padding that is missing, of another length or not empty")]
    Padding,
}

/// The next length, in bytes, that a padded length may have: Padmé ("Reducing Metadata Leakage from Encrypted Files and Communication with PURBs", section 4).
///
/// A length is rounded up so that it leaks O(log log n) bits; it grows by 12 % at most.
pub fn padme(length: u64) -> u64 {
    let Some(exponent) = length.checked_ilog2().filter(|exponent| *exponent > 0) else { return length };
    let kept = exponent.ilog2() + 1;
    let mask = (1u64 << exponent.saturating_sub(kept)) - 1;
    length.saturating_add(mask) & !mask
}

/// Header, content and padding one after another. `compress` writes the frame with the content to the room that it is given, of `most` bytes, and says how long it is: so there is no copy of it.
/// `None` if the header is too long, or `compress` says so.
pub(crate) fn join(header: &[u8], most: usize, compress: impl FnOnce(&mut [u8]) -> Option<usize>) -> Option<Vec<u8>> {
    if header.len() > MAX_HEADER {
        return None;
    }
    let total = |content: usize| {
        let bare = FRAME_START + header.len() + content + FRAME_START;
        Some((bare, usize::try_from(padme(bare as u64)).ok()?))
    };
    // The buffer never moves and leaves no copy behind.
    let mut plaintext = Vec::with_capacity(total(most)?.1);
    start(&mut plaintext, HEADER, header.len())?;
    plaintext.extend_from_slice(header);
    let at = plaintext.len();
    plaintext.resize(at + most, 0);
    let length = compress(plaintext.get_mut(at..)?)?;
    plaintext.truncate(at + length);
    let (bare, total) = total(length)?;
    start(&mut plaintext, PADDING, total - bare)?;
    plaintext.resize(total, 0);
    Some(plaintext)
}

fn start(to: &mut Vec<u8>, magic: u32, length: usize) -> Option<()> {
    to.extend_from_slice(&magic.to_le_bytes());
    to.extend_from_slice(&u32::try_from(length).ok()?.to_le_bytes());
    Some(())
}

/// The header and the compressed content; every other byte is accounted for.
pub(crate) fn split(plaintext: &[u8]) -> Result<(&[u8], &[u8]), LayoutError> {
    let (header, rest) = skippable(plaintext, HEADER).ok_or(LayoutError::Header)?;
    if header.len() > MAX_HEADER {
        return Err(LayoutError::Header);
    }
    if rest.first_chunk() != Some(&ZSTD.to_le_bytes()) {
        return Err(LayoutError::Content);
    }
    let length = zstd::zstd_safe::find_frame_compressed_size(rest).map_err(|_| LayoutError::Content)?;
    let (content, rest) = rest.split_at_checked(length).ok_or(LayoutError::Content)?;
    let (zeros, rest) = skippable(rest, PADDING).ok_or(LayoutError::Padding)?;
    let bare = plaintext.len() - zeros.len();
    if !rest.is_empty() || plaintext.len() as u64 != padme(bare as u64) || zeros.iter().any(|byte| *byte != 0) {
        return Err(LayoutError::Padding);
    }
    Ok((header, content))
}

fn skippable(bytes: &[u8], magic: u32) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*found) != magic {
        return None;
    }
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn joined(header: &[u8], compressed: &[u8]) -> Option<Vec<u8>> {
        // More room than it takes.
        join(header, compressed.len() + 100, |room| {
            room[..compressed.len()].copy_from_slice(compressed);
            Some(compressed.len())
        })
    }

    #[test]
    fn padme_gives_the_published_sizes() {
        let sizes = [(0, 0), (1, 1), (2, 2), (8, 8), (9, 10), (10, 10), (11, 12), (17, 18), (100, 104), (1000, 1024), (4097, 4352), (1_000_000, 1_015_808)];
        for (length, padded) in sizes {
            assert_eq!(padme(length), padded, "{length}");
        }
    }

    #[test]
    fn few_sizes_are_left() {
        // Between two powers of two, 15 takes 4 bits to write: 16 steps, and both ends.
        let sizes: BTreeSet<u64> = (1u64 << 15..=1 << 16).map(padme).collect();
        assert_eq!(sizes.len(), 17);
    }

    #[test]
    fn frames_of_another_shape_are_named() {
        let compressed = zstd::bulk::compress(b"content", 3).unwrap();
        let good = joined(b"header", &compressed).unwrap();
        assert_eq!(split(&good), Ok((&b"header"[..], compressed.as_slice())));
        assert_eq!(split(&[]), Err(LayoutError::Header));
        assert_eq!(split(&good[14..]), Err(LayoutError::Header));
        assert_eq!(split(&good[..14]), Err(LayoutError::Content));
        assert_eq!(split(&good[..14 + compressed.len()]), Err(LayoutError::Padding));
        assert_eq!(split(&[good.as_slice(), &[0]].concat()), Err(LayoutError::Padding));
        let twice = joined(b"header", &[compressed.as_slice(), &compressed].concat()).unwrap();
        assert_eq!(split(&twice), Err(LayoutError::Padding));
        let hidden = joined(b"header", &[&good[14..], compressed.as_slice()].concat()).unwrap();
        assert!(split(&hidden).is_err());
        assert!(joined(&vec![0; MAX_HEADER + 1], &compressed).is_none());
    }

    #[test]
    fn zeros_beyond_the_padme_size_and_words_in_the_padding_are_refused() {
        let compressed = zstd::bulk::compress(&[7; 3000], 3).unwrap();
        let header = [1; 300];
        let mut marked = joined(&header, &compressed).unwrap();
        let padding = marked.len() - (2 * FRAME_START + header.len() + compressed.len());
        assert!(padding > 0);
        *marked.last_mut().unwrap() = 1;
        assert_eq!(split(&marked), Err(LayoutError::Padding));
        let mut longer = joined(&header, &compressed).unwrap();
        let at = longer.len() - padding - 4;
        longer.extend([0; 64]);
        longer[at..at + 4].copy_from_slice(&(padding as u32 + 64).to_le_bytes());
        assert_eq!(split(&longer), Err(LayoutError::Padding));
    }

    proptest! {
        #[test]
        fn padme_only_grows_and_by_twelve_percent_at_most(length in 1u64..1 << 45) {
            let padded = padme(length);
            prop_assert!(padded >= length);
            prop_assert!(u128::from(padded) * 100 <= u128::from(length) * 112);
            prop_assert_eq!(padme(padded), padded);
            prop_assert!(padme(length + 1) >= padded);
        }

        #[test]
        fn frames_come_back_and_the_whole_has_a_padme_size(header in proptest::collection::vec(any::<u8>(), 0..400), content in proptest::collection::vec(any::<u8>(), 0..3000)) {
            let compressed = zstd::bulk::compress(&content, 3).unwrap();
            let plaintext = joined(&header, &compressed).unwrap();
            prop_assert_eq!(padme(plaintext.len() as u64), plaintext.len() as u64);
            prop_assert_eq!(split(&plaintext), Ok((header.as_slice(), compressed.as_slice())));
        }

        #[test]
        fn nonsense_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(split(&bytes).is_err());
        }
    }
}
