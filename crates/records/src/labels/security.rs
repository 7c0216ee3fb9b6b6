//! `meta.security`, in and out: HL7 confidentiality and sensitivity codes.
//!
//! Systems: THO `v3-Confidentiality` (U < L < M < N < R < V) and THO `v3-ActCode`, information
//! sensitivity policies. Out go DS4P labels: exactly one confidentiality code, then sensitivity codes.

use super::set::Set;
use crate::{Coding, Sensitivity};

const CONFIDENTIALITY: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";
const ACT_CODE: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";

/// What a source says in `meta.security`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Sensitivities it names.
    pub(crate) sensitivities: Set,
    /// The highest confidentiality it names, as [`confidentiality_rank`].
    pub(crate) confidentiality: Option<u8>,
    /// It names a sensitivity that says "restricted" without saying why.
    pub(crate) unexplained: bool,
}

impl Found {
    /// The sensitivities of a resource, given what its codes say. Labels and codes are taken together.
    ///
    /// Restricted (R, V, or a sensitivity without a reason) and nothing that says why: it may be any of
    /// them, so it counts as every one, and whatever terms except any sensitivity except it too.
    pub(crate) fn with_codes(self, codes: Set) -> Set {
        let known = self.sensitivities.with(codes);
        let restricted = self.unexplained || self.confidentiality.is_some_and(|rank| rank >= RESTRICTED);
        if restricted && known.is_empty() { Set::EVERY } else { known }
    }
}

/// Rank of `N`.
pub(crate) const NORMAL: u8 = 3;
const RESTRICTED: u8 = 4;
const RANKS: [&str; 6] = ["U", "L", "M", "N", "R", "V"];

/// Place of a confidentiality code in U < L < M < N < R < V.
pub(crate) fn confidentiality_rank(coding: &Coding) -> Option<u8> {
    if !same_system(&coding.system, CONFIDENTIALITY, "http://hl7.org/fhir/v3/Confidentiality", "urn:oid:2.16.840.1.113883.5.25") {
        return None;
    }
    RANKS.iter().position(|&code| code == coding.code).and_then(|rank| u8::try_from(rank).ok())
}

fn same_system(system: &str, now: &str, then: &str, oid: &str) -> bool {
    let system = system.split_once('|').map_or(system, |(uri, _)| uri);
    system == now || system == then || system == oid
}

/// Reads `meta.security`.
pub(crate) fn found(security: &[Coding]) -> Found {
    let mut found = Found::default();
    for coding in security {
        if let Some(rank) = confidentiality_rank(coding) {
            found.confidentiality = found.confidentiality.max(Some(rank));
        } else if same_system(&coding.system, ACT_CODE, "http://hl7.org/fhir/v3/ActCode", "urn:oid:2.16.840.1.113883.5.4") {
            match meaning(&coding.code) {
                Meaning::Sensitivities(named) => {
                    found.sensitivities.add(named.iter().collect());
                }
                Meaning::Unexplained => found.unexplained = true,
                Meaning::Nothing => {}
            }
        }
    }
    found
}

enum Meaning {
    Sensitivities(&'static [Sensitivity]),
    Unexplained,
    Nothing,
}

/// The information sensitivity policies of v3-ActCode. Its other codes (obligations, refrains, laws other
/// than 42 CFR Part 2) and demographic sensitivities say nothing of what a record is about.
fn meaning(code: &str) -> Meaning {
    use Sensitivity::{Genetic, Hiv, MentalHealth, SexualReproductive, SubstanceUse, Violence};
    match code {
        "MH" | "PSY" | "PSYTHPN" | "COGN" | "DVD" | "EMOTDIS" | "MENCAT" => Meaning::Sensitivities(&[MentalHealth]),
        "BH" => Meaning::Sensitivities(&[MentalHealth, SubstanceUse]),
        "SUD" | "ETH" | "ETHUD" | "OPIOIDUD" | "DRGIS" | "42CFRPart2" => Meaning::Sensitivities(&[SubstanceUse]),
        "SEX" | "STD" | "SOGI" | "PREGNANT" => Meaning::Sensitivities(&[SexualReproductive]),
        "HIV" => Meaning::Sensitivities(&[Hiv]),
        "GDIS" | "SCA" | "SICKLE" => Meaning::Sensitivities(&[Genetic]),
        "SDV" | "MST" => Meaning::Sensitivities(&[SexualReproductive, Violence]),
        "VIO" => Meaning::Sensitivities(&[Violence]),
        "SPI" | "TBOO" | "ADOL" | "CEL" | "EMP" | "PDS" | "PHY" | "PRS" | "DIA" => Meaning::Unexplained,
        _ => Meaning::Nothing,
    }
}

fn code_of(sensitivity: Sensitivity) -> Option<&'static str> {
    match sensitivity {
        Sensitivity::General => None,
        Sensitivity::MentalHealth => Some("MH"),
        Sensitivity::SubstanceUse => Some("SUD"),
        Sensitivity::SexualReproductive => Some("SEX"),
        Sensitivity::Hiv => Some("HIV"),
        Sensitivity::Genetic => Some("GDIS"),
        Sensitivity::Violence => Some("VIO"),
    }
}

/// The labels of a resource: one confidentiality (the source's, at least R if anything is sensitive, N if
/// nothing is known), then a code for each sensitivity.
pub(crate) fn assigned(source: Option<u8>, sensitivities: Set) -> Vec<Coding> {
    let at_least = if sensitivities.is_empty() { source.unwrap_or(NORMAL) } else { source.unwrap_or(NORMAL).max(RESTRICTED) };
    let confidentiality = RANKS.get(usize::from(at_least)).copied().unwrap_or("V");
    let codes = sensitivities.to_facts().into_iter().filter_map(code_of);
    std::iter::once(Coding::new(CONFIDENTIALITY, confidentiality)).chain(codes.map(|code| Coding::new(ACT_CODE, code))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(codes: &[(&str, &str)]) -> Found {
        found(&codes.iter().map(|(system, code)| Coding::new(*system, *code)).collect::<Vec<_>>())
    }

    #[test]
    fn named_sensitivities_are_taken_and_restriction_alone_counts_as_all() {
        assert_eq!(read(&[(ACT_CODE, "PSY")]).with_codes(Set::default()), Set::of(Sensitivity::MentalHealth));
        assert_eq!(read(&[(CONFIDENTIALITY, "R"), (ACT_CODE, "HIV")]).with_codes(Set::default()), Set::of(Sensitivity::Hiv));
        assert_eq!(read(&[(CONFIDENTIALITY, "R")]).with_codes(Set::of(Sensitivity::Genetic)), Set::of(Sensitivity::Genetic));
        assert_eq!(read(&[(CONFIDENTIALITY, "V")]).with_codes(Set::default()), Set::EVERY);
        assert_eq!(read(&[(ACT_CODE, "SPI")]).with_codes(Set::default()), Set::EVERY);
        assert_eq!(read(&[(CONFIDENTIALITY, "N"), (ACT_CODE, "AUDIT")]).with_codes(Set::default()), Set::default());
    }

    #[test]
    fn our_own_labels_read_back_as_what_they_say() {
        for bits in 0..64u8 {
            let set: Set = Sensitivity::ALL.iter().skip(1).enumerate().filter(|(index, _)| bits & (1 << index) != 0).map(|(_, one)| one).collect();
            let labels = assigned(None, set);
            assert_eq!(labels.iter().filter(|label| confidentiality_rank(label).is_some()).count(), 1);
            assert_eq!(found(&labels).with_codes(Set::default()), set);
        }
    }

    #[test]
    fn a_source_is_never_made_less_confidential() {
        let first = |source, set| assigned(source, set).first().map(|label| label.code.clone());
        assert_eq!(first(None, Set::default()).as_deref(), Some("N"));
        assert_eq!(first(Some(1), Set::default()).as_deref(), Some("L"));
        assert_eq!(first(Some(5), Set::default()).as_deref(), Some("V"));
        assert_eq!(first(Some(5), Set::of(Sensitivity::Hiv)).as_deref(), Some("V"));
        assert_eq!(first(Some(1), Set::of(Sensitivity::Hiv)).as_deref(), Some("R"));
    }
}
