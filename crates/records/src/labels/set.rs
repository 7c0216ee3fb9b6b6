//! A set of sensitivities in a byte: what spreading works on.

use std::collections::BTreeSet;

use crate::Sensitivity;

/// Sensitivities other than `general`; empty means general.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Set(u8);

impl Set {
    /// Every sensitivity: for what is known to be restricted and not known why.
    pub(crate) const EVERY: Self = Self(0b111_1110);

    /// The set of one; `General` gives the empty set.
    pub(crate) const fn of(sensitivity: Sensitivity) -> Self {
        match sensitivity {
            Sensitivity::General => Self(0),
            Sensitivity::MentalHealth => Self(1 << 1),
            Sensitivity::SubstanceUse => Self(1 << 2),
            Sensitivity::SexualReproductive => Self(1 << 3),
            Sensitivity::Hiv => Self(1 << 4),
            Sensitivity::Genetic => Self(1 << 5),
            Sensitivity::Violence => Self(1 << 6),
        }
    }

    /// Both sets together.
    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Adds another set; says whether that added anything.
    pub(crate) fn add(&mut self, other: Self) -> bool {
        let before = self.0;
        self.0 |= other.0;
        self.0 != before
    }

    /// Whether it holds nothing, which means general.
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn contains(self, sensitivity: Sensitivity) -> bool {
        self.0 & Self::of(sensitivity).0 != 0
    }

    /// The most restrictive member, or `General`.
    pub(crate) fn most(self) -> Sensitivity {
        Sensitivity::ALL.into_iter().rev().find(|&sensitivity| self.contains(sensitivity)).unwrap_or(Sensitivity::General)
    }

    /// As facts state it: never empty, `General` only alone.
    pub(crate) fn to_facts(self) -> BTreeSet<Sensitivity> {
        if self.is_empty() {
            return BTreeSet::from([Sensitivity::General]);
        }
        Sensitivity::ALL.into_iter().filter(|&sensitivity| self.contains(sensitivity)).collect()
    }
}

impl<'a> FromIterator<&'a Sensitivity> for Set {
    fn from_iter<I: IntoIterator<Item = &'a Sensitivity>>(all: I) -> Self {
        all.into_iter().fold(Self::default(), |set, &one| set.with(Self::of(one)))
    }
}
