//! Security labels: the confidentiality scale and the sensitivity codes, and how they subsume.
//!
//! Sources: <http://terminology.hl7.org/CodeSystem/v3-Confidentiality>,
//! <http://terminology.hl7.org/CodeSystem/v3-ActCode> (`_InformationSensitivityPolicy`), and for
//! what a label in a consent reaches <https://hl7.org/fhir/R4/consent-definitions.html#Consent.provision.securityLabel>.

use chartmesh_records::{Coding, ResourceFacts, Sensitivity};

/// Code system of confidentiality.
pub const CONFIDENTIALITY: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";
/// Code system of sensitivities, consent directives and privacy laws.
pub const ACT_CODE: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";

/// A sensitivity code: its code, what it falls under, and chartmesh's sensitivities it belongs to.
struct Known {
    code: &'static str,
    /// Each of these includes it when denied: as published, in this edition or an earlier one, or by what its definition says.
    under: &'static [&'static str],
    groups: &'static [Sensitivity],
}

const MENTAL: &[Sensitivity] = &[Sensitivity::MentalHealth];
const SUBSTANCE: &[Sensitivity] = &[Sensitivity::SubstanceUse];
const SEXUAL: &[Sensitivity] = &[Sensitivity::SexualReproductive];
const GENETIC: &[Sensitivity] = &[Sensitivity::Genetic];
const VIOLENCE: &[Sensitivity] = &[Sensitivity::Violence];

const KNOWN: &[Known] = &[
    Known { code: "SPI", under: &[], groups: &[Sensitivity::MentalHealth, Sensitivity::SubstanceUse] },
    Known { code: "BH", under: &["SPI"], groups: &[Sensitivity::MentalHealth, Sensitivity::SubstanceUse] },
    Known { code: "MH", under: &["BH", "SPI"], groups: MENTAL },
    Known { code: "PSY", under: &["MH", "BH", "SPI"], groups: MENTAL },
    Known { code: "PSYTHPN", under: &["PSY", "MH", "BH", "SPI"], groups: MENTAL },
    Known { code: "COGN", under: &["BH", "SPI"], groups: MENTAL },
    Known { code: "DVD", under: &["BH", "SPI"], groups: MENTAL },
    Known { code: "EMOTDIS", under: &["BH", "SPI"], groups: MENTAL },
    Known { code: "MENCAT", under: &["MH", "BH", "SPI"], groups: MENTAL },
    Known { code: "SUD", under: &["BH", "SPI"], groups: SUBSTANCE },
    Known { code: "ETH", under: &["SUD", "BH", "SPI"], groups: SUBSTANCE },
    Known { code: "ETHUD", under: &["ETH", "SUD", "BH", "SPI"], groups: SUBSTANCE },
    Known { code: "OPIOIDUD", under: &["ETH", "SUD", "BH", "SPI"], groups: SUBSTANCE },
    Known { code: "DRGIS", under: &["SUD", "BH", "SPI"], groups: SUBSTANCE },
    Known { code: "42CFRPart2", under: &["SUD", "BH", "SPI"], groups: SUBSTANCE },
    Known { code: "SEX", under: &[], groups: SEXUAL },
    Known { code: "STD", under: &["SEX"], groups: SEXUAL },
    Known { code: "PREGNANT", under: &["SEX"], groups: SEXUAL },
    Known { code: "SOGI", under: &["SEX"], groups: SEXUAL },
    Known { code: "HIV", under: &[], groups: &[Sensitivity::Hiv] },
    Known { code: "GDIS", under: &[], groups: GENETIC },
    Known { code: "SCA", under: &["GDIS"], groups: GENETIC },
    Known { code: "SICKLE", under: &["GDIS"], groups: GENETIC },
    Known { code: "VIO", under: &[], groups: VIOLENCE },
    Known { code: "SDV", under: &["VIO"], groups: VIOLENCE },
    Known { code: "MST", under: &["SDV", "VIO"], groups: VIOLENCE },
];

/// What `v3-ActCode` 9.0.0 publishes as subsuming: narrow, wide. A permit follows this alone: whoever permits psychiatry has not permitted
/// psychotherapy notes.
const PUBLISHED: &[(&str, &[&str])] = &[
    ("BH", &["SPI"]),
    ("COGN", &["BH", "SPI"]),
    ("DVD", &["BH", "SPI"]),
    ("EMOTDIS", &["BH", "SPI"]),
    ("MH", &["SPI"]),
    ("PSY", &["SPI"]),
    ("PSYTHPN", &["SPI"]),
    ("SUD", &["SPI"]),
    ("ETHUD", &["SUD", "SPI"]),
    ("OPIOIDUD", &["SUD", "SPI"]),
];

fn known(coding: &Coding) -> Option<&'static Known> {
    (coding.system == ACT_CODE).then(|| KNOWN.iter().find(|known| known.code == coding.code))?
}

/// The standard code that says the same as one of chartmesh's sensitivities; none for `general`.
pub(crate) fn standard(sensitivity: Sensitivity) -> Option<Coding> {
    let code = match sensitivity {
        Sensitivity::General => return None,
        Sensitivity::MentalHealth => "MH",
        Sensitivity::SubstanceUse => "SUD",
        Sensitivity::SexualReproductive => "SEX",
        Sensitivity::Hiv => "HIV",
        Sensitivity::Genetic => "GDIS",
        Sensitivity::Violence => "VIO",
    };
    Some(Coding::new(ACT_CODE, code))
}

/// Whether a code is a security label rather than a code of clinical content.
pub(crate) fn is_label(coding: &Coding) -> bool {
    level(coding).is_some() || known(coding).is_some()
}

/// The rank of a confidentiality code, U to V.
pub(crate) fn level(coding: &Coding) -> Option<usize> {
    (coding.system == CONFIDENTIALITY).then(|| ["U", "L", "M", "N", "R", "V"].iter().position(|code| *code == coding.code))?
}

/// All labels of a resource: the source's and ours.
pub(crate) fn of(facts: &ResourceFacts) -> impl Iterator<Item = &Coding> {
    facts.security.iter().chain(&facts.labels)
}

/// The highest confidentiality that a resource is labelled with.
pub(crate) fn highest(facts: &ResourceFacts) -> Option<usize> {
    of(facts).filter_map(level).max()
}

/// Chartmesh's sensitivities that a code belongs to; those of an unknown code are only `general`,
/// so that permitting it opens nothing that is sensitive for another reason.
pub(crate) fn groups(coding: &Coding) -> &'static [Sensitivity] {
    known(coding).map_or(&[Sensitivity::General], |known| known.groups)
}

/// Whether a permit of `wide` is one of `narrow`.
fn subsumes(wide: &Coding, narrow: &Coding) -> bool {
    let published = || PUBLISHED.iter().any(|(code, under)| *code == narrow.code && under.contains(&wide.code.as_str()));
    wide == narrow || (wide.system == ACT_CODE && narrow.system == ACT_CODE && published())
}

/// Whether a deny of `wide` is one of `narrow`.
fn includes(wide: &Coding, narrow: &Coding) -> bool {
    wide == narrow || (wide.system == ACT_CODE && known(narrow).is_some_and(|known| known.under.contains(&wide.code.as_str())))
}

/// Whether a permit for `code` reaches a resource: it carries the code or one below, and it is not
/// in a compartment for something more restrictive.
pub(crate) fn permit_reaches(code: &Coding, facts: &ResourceFacts) -> bool {
    groups(code).contains(&facts.sensitivity()) && of(facts).any(|label| subsumes(code, label))
}

/// Whether a deny of `code` reaches a resource: it carries the code, one below or one above, or it
/// has that sensitivity without saying which kind of it.
pub(crate) fn deny_reaches(code: &Coding, facts: &ResourceFacts) -> bool {
    if of(facts).any(|label| includes(code, label) || includes(label, code)) {
        return true;
    }
    let Some(known_code) = known(code) else {
        return false;
    };
    known_code.groups.iter().any(|group| {
        let says_which_kind = of(facts).any(|label| known(label).is_some_and(|label| label.groups.contains(group)));
        facts.sensitivities.contains(group) && !says_which_kind
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::facts;

    fn act(code: &str) -> Coding {
        Coding::new(ACT_CODE, code)
    }

    #[test]
    fn codes_subsume_downwards_when_permitting_and_both_ways_when_denying() {
        let mut resource = facts("Observation", "1");
        resource.sensitivities = [Sensitivity::SubstanceUse].into();
        resource.security = vec![act("ETHUD")];
        assert!(permit_reaches(&act("SUD"), &resource));
        assert!(!permit_reaches(&act("ETH"), &resource), "not published as below it");
        assert!(!permit_reaches(&act("OPIOIDUD"), &resource));
        assert!(!deny_reaches(&act("OPIOIDUD"), &resource));
        resource.security = vec![act("ETH")];
        assert!(!permit_reaches(&act("ETHUD"), &resource));
        assert!(deny_reaches(&act("ETHUD"), &resource));
        resource.security.clear();
        assert!(deny_reaches(&act("ETHUD"), &resource), "which kind is not said");
    }

    #[test]
    fn permitting_one_sensitivity_does_not_open_a_more_restrictive_one() {
        let mut resource = facts("Condition", "1");
        resource.sensitivities = [Sensitivity::MentalHealth, Sensitivity::Hiv].into();
        resource.security = vec![act("PSY"), act("HIV")];
        assert!(!permit_reaches(&act("PSY"), &resource));
        assert!(permit_reaches(&act("HIV"), &resource));
        assert!(deny_reaches(&act("PSY"), &resource));
    }

    #[test]
    fn a_permit_follows_what_is_published_and_a_deny_goes_further() {
        let mut resource = facts("DocumentReference", "1");
        resource.sensitivities = [Sensitivity::MentalHealth].into();
        resource.security = vec![act("PSYTHPN")];
        for wide in ["PSY", "MH", "BH"] {
            assert!(!permit_reaches(&act(wide), &resource), "{wide}");
            assert!(deny_reaches(&act(wide), &resource), "{wide}");
        }
        assert!(permit_reaches(&act("SPI"), &resource) && deny_reaches(&act("SPI"), &resource));
        resource.security = vec![act("STD")];
        resource.sensitivities = [Sensitivity::SexualReproductive].into();
        assert!(!permit_reaches(&act("SEX"), &resource) && deny_reaches(&act("SEX"), &resource));
    }

    #[test]
    fn every_known_code_lists_all_its_ancestors() {
        for known in KNOWN {
            for parent in known.under {
                let parent = KNOWN.iter().find(|other| other.code == *parent).expect("a parent is known");
                assert!(parent.under.iter().all(|grand| known.under.contains(grand)), "{}", known.code);
            }
        }
        for (code, under) in PUBLISHED {
            let known = KNOWN.iter().find(|known| known.code == *code).expect("what is published is known");
            assert!(under.iter().all(|wide| known.under.contains(wide)), "{code}");
        }
    }
}
