//! Answers to "does this rule match?": yes, no, or a doubt, and sets of them.
//!
//! Deciding on one resource gives sets with a single member; deciding on a whole compartment, of
//! which the resources are not known, gives the set of every answer that one of them could cause.
//! One evaluator serves both, so coverage and decisions cannot drift apart.

use crate::policy::Effect;

/// A set of possible answers; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answers(u8);

impl Answers {
    pub(crate) const YES: Self = Self(1);
    pub(crate) const DOUBT: Self = Self(2);
    pub(crate) const NO: Self = Self(4);
    pub(crate) const YES_OR_NO: Self = Self(5);
    pub(crate) const ANY: Self = Self(7);

    pub(crate) fn of(yes: bool) -> Self {
        if yes { Self::YES } else { Self::NO }
    }

    #[cfg(test)]
    pub(crate) fn is_yes(self) -> bool {
        self == Self::YES
    }

    pub(crate) fn is_no(self) -> bool {
        self == Self::NO
    }

    /// Kleene's OR: yes beats doubt beats no.
    pub(crate) fn or(self, other: Self) -> Self {
        self.pairwise(other, u8::min)
    }

    /// Kleene's AND: no beats doubt beats yes.
    pub(crate) fn and(self, other: Self) -> Self {
        self.pairwise(other, u8::max)
    }

    fn pairwise(self, other: Self, pick: fn(u8, u8) -> u8) -> Self {
        let mut bits = 0;
        for a in [1, 2, 4] {
            for b in [1, 2, 4] {
                if self.0 & a != 0 && other.0 & b != 0 {
                    bits |= pick(a, b);
                }
            }
        }
        Self(bits)
    }

    /// Whether a rule applies: for a permit (and within a permit's own limits) a doubt is a no, for
    /// a deny it is a yes.
    pub(crate) fn applies(self, lens: Effect) -> Applies {
        let doubt = self.0 & 2 != 0;
        let permits = lens == Effect::Permit;
        Applies { can: self.0 & 1 != 0 || (doubt && !permits), can_fail: self.0 & 4 != 0 || (doubt && permits) }
    }
}

/// Whether something can hold and whether it can fail; at least one of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Applies {
    pub(crate) can: bool,
    pub(crate) can_fail: bool,
}

impl Applies {
    pub(crate) fn and(self, other: Self) -> Self {
        Self { can: self.can && other.can, can_fail: self.can_fail || other.can_fail }
    }
}

/// A set of possible outcomes of a rule; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcomes(u8);

impl Outcomes {
    pub(crate) const DENY: Self = Self(1);
    pub(crate) const PERMIT: Self = Self(2);
    /// The rule does not apply.
    pub(crate) const NONE: Self = Self(4);
    const MEMBERS: [Self; 3] = [Self::DENY, Self::PERMIT, Self::NONE];

    pub(crate) fn of(effect: Effect) -> Self {
        match effect {
            Effect::Permit => Self::PERMIT,
            Effect::Deny => Self::DENY,
        }
    }

    pub(crate) fn contains(self, one: Self) -> bool {
        self.0 & one.0 != 0
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Two rules side by side: deny overrides permit, either overrides silence.
    pub(crate) fn beside(self, other: Self) -> Self {
        let mut bits = 0;
        for a in Self::MEMBERS {
            for b in Self::MEMBERS {
                if self.contains(a) && other.contains(b) {
                    bits |= a.0.min(b.0);
                }
            }
        }
        Self(bits)
    }

    /// Exceptions over the rule that they sit in: where they are silent, the rule speaks.
    pub(crate) fn over(self, rule: Self) -> Self {
        if self.contains(Self::NONE) { Self(self.0 & !Self::NONE.0).union(rule) } else { self }
    }

    /// Keeps `which` only as far as a condition holds; where it fails there is silence.
    pub(crate) fn only_if(self, which: Self, condition: Applies) -> Self {
        if !self.contains(which) {
            return self;
        }
        let mut bits = self.0;
        if condition.can_fail {
            bits |= Self::NONE.0;
        }
        if !condition.can {
            bits &= !which.0;
        }
        Self(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kleene_tables() {
        assert_eq!(Answers::YES.or(Answers::DOUBT), Answers::YES);
        assert_eq!(Answers::NO.or(Answers::DOUBT), Answers::DOUBT);
        assert_eq!(Answers::YES.and(Answers::DOUBT), Answers::DOUBT);
        assert_eq!(Answers::NO.and(Answers::DOUBT), Answers::NO);
        assert_eq!(Answers::ANY.and(Answers::NO), Answers::NO);
        assert_eq!(Answers::YES_OR_NO.or(Answers::NO), Answers::YES_OR_NO);
    }

    #[test]
    fn a_doubt_denies_and_never_permits() {
        assert!(!Answers::DOUBT.applies(Effect::Permit).can);
        assert!(!Answers::DOUBT.applies(Effect::Deny).can_fail);
    }

    #[test]
    fn deny_overrides_and_exceptions_come_first() {
        assert_eq!(Outcomes::PERMIT.beside(Outcomes::DENY), Outcomes::DENY);
        assert_eq!(Outcomes::NONE.beside(Outcomes::PERMIT), Outcomes::PERMIT);
        assert_eq!(Outcomes::PERMIT.over(Outcomes::DENY), Outcomes::PERMIT);
        assert_eq!(Outcomes::NONE.over(Outcomes::DENY), Outcomes::DENY);
    }
}
