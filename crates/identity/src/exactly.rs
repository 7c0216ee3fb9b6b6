//! Arrays of exactly so many items.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, SeqAccess, Visitor},
};

/// A tuple, read from an array that holds its items and nothing more: serde by itself leaves what an array has beyond a tuple, and one value had several encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exactly<T>(pub T);

macro_rules! exactly {
    ($length:literal: $($item:ident $at:literal),+) => {
        impl<'de, $($item: Deserialize<'de>),+> Deserialize<'de> for Exactly<($($item),+)> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Items<T>(PhantomData<T>);
                impl<'de, $($item: Deserialize<'de>),+> Visitor<'de> for Items<($($item),+)> {
                    type Value = ($($item),+);

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, "an array of {} items", $length)
                    }

                    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
                        let items = ($(seq.next_element::<$item>()?.ok_or_else(|| S::Error::invalid_length($at, &self))?),+);
                        match seq.next_element::<IgnoredAny>()? {
                            None => Ok(items),
                            Some(_) => Err(S::Error::invalid_length($length + 1, &self)),
                        }
                    }
                }
                deserializer.deserialize_tuple($length, Items(PhantomData)).map(Self)
            }
        }
    };
}
exactly! { 2: A 0, B 1 }
exactly! { 3: A 0, B 1, C 2 }

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LedgerId, from_canonical, to_canonical};

    #[test]
    fn nothing_is_left_over() {
        assert_eq!(from_canonical(&[0x82, 1, 2]), Ok(Exactly((1, 2))));
        assert_eq!(from_canonical(&[0x83, 1, 2, 3]), Ok(Exactly((1, 2, 3))));
        for bytes in [&[0x80][..], &[0x81, 1], &[0x83, 1, 2, 3], &[0x84, 1, 2, 3, 4]] {
            assert!(from_canonical::<Exactly<(u8, u8)>>(bytes).is_err());
        }
        let id = LedgerId::of(b"x");
        let mut longer = to_canonical(&id);
        longer[0] += 1;
        longer.push(7);
        assert_eq!(from_canonical(&to_canonical(&id)), Ok(id));
        assert!(from_canonical::<LedgerId>(&longer).is_err());
    }
}
