//! Purposes of use: the part of HL7 `v3-ActReason` below `PurposeOfUse`, and its hierarchy.
//!
//! Source: <http://terminology.hl7.org/CodeSystem/v3-ActReason> (property `subsumedBy`).

use chartmesh_records::Coding;

/// The code system of purposes of use.
pub const ACT_REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
/// The top of the hierarchy; it covers every purpose of every system.
pub const ANY: &str = "PurposeOfUse";
/// Treatment: what terms cover that name no purpose.
pub const TREAT: &str = "TREAT";

/// Code, parent, words for a patient.
const HIERARCHY: &[(&str, &str, &str)] = &[
    ("HMARKT", ANY, "marketing"),
    ("HOPERAT", ANY, "health care operations"),
    ("CAREMGT", "HOPERAT", "care management"),
    ("DONAT", "HOPERAT", "organ donation"),
    ("FRAUD", "HOPERAT", "fraud detection"),
    ("GOV", "HOPERAT", "government processes"),
    ("HACCRED", "HOPERAT", "accreditation"),
    ("HCOMPL", "HOPERAT", "compliance"),
    ("HDECD", "HOPERAT", "handling a death"),
    ("HDIRECT", "HOPERAT", "directories"),
    ("HDM", "HOPERAT", "care delivery management"),
    ("HLEGAL", "HOPERAT", "legal proceedings"),
    ("HOUTCOMS", "HOPERAT", "measuring outcomes"),
    ("HPRGRP", "HOPERAT", "program reporting"),
    ("HQUALIMP", "HOPERAT", "quality improvement"),
    ("HSYSADMIN", "HOPERAT", "system administration"),
    ("LABELING", "HSYSADMIN", "labeling"),
    ("METAMGT", "HSYSADMIN", "metadata management"),
    ("MEMADMIN", "HOPERAT", "member administration"),
    ("MILCDM", "HOPERAT", "military command"),
    ("MLTRAINING", "HOPERAT", "training of machine learning"),
    ("PATADMIN", "HOPERAT", "patient administration"),
    ("PATSFTY", "HOPERAT", "patient safety"),
    ("PERFMSR", "HOPERAT", "performance measures"),
    ("RECORDMGT", "HOPERAT", "records management"),
    ("SYSDEV", "HOPERAT", "system development"),
    ("HTEST", "SYSDEV", "tests with made-up data"),
    ("TRAIN", "HOPERAT", "training"),
    ("HPAYMT", ANY, "payment"),
    ("CLMATTCH", "HPAYMT", "claim attachments"),
    ("COVAUTH", "HPAYMT", "coverage authorization"),
    ("COVERAGE", "HPAYMT", "coverage"),
    ("ELIGDTRM", "COVERAGE", "eligibility determination"),
    ("ELIGVER", "COVERAGE", "eligibility verification"),
    ("ENROLLM", "COVERAGE", "enrollment"),
    ("MILDCRG", "COVERAGE", "military discharge"),
    ("PMTDS", "HPAYMT", "payment decision support"),
    ("REMITADV", "HPAYMT", "remittance advice"),
    ("HRESCH", ANY, "research"),
    ("BIORCH", "HRESCH", "biomedical research"),
    ("CLINTRCH", "HRESCH", "clinical trial research"),
    ("CLINTRCHNPC", "CLINTRCH", "clinical trial research without patient care"),
    ("CLINTRCHPC", "CLINTRCH", "clinical trial research with patient care"),
    ("PRECLINTRCH", "CLINTRCH", "preclinical trial research"),
    ("DSRCH", "HRESCH", "disease specific research"),
    ("POARCH", "HRESCH", "ancestry research"),
    ("TRANSRCH", "HRESCH", "translational research"),
    ("PATRQT", ANY, "the patient's own request"),
    ("FAMRQT", "PATRQT", "a family member's request"),
    ("PWATRNY", "PATRQT", "a legal representative's request"),
    ("SUPNWK", "PATRQT", "a supporter's request"),
    ("PUBHLTH", ANY, "public health"),
    ("DISASTER", "PUBHLTH", "disaster response"),
    ("THREAT", "PUBHLTH", "prevention of a threat"),
    ("TREAT", ANY, "treatment"),
    ("CLINTRL", "TREAT", "care within a clinical trial"),
    ("COC", "TREAT", "coordination of care"),
    ("ETREAT", "TREAT", "emergency treatment"),
    ("BTG", "ETREAT", "breaking the glass in an emergency"),
    ("ERTREAT", "ETREAT", "emergency room treatment"),
    ("POPHLTH", "TREAT", "population health"),
    ("TREATDS", "TREAT", "treatment decision support"),
];

/// The purpose of a `v3-ActReason` code.
pub fn act_reason(code: &str) -> Coding {
    Coding::new(ACT_REASON, code)
}

/// A purpose that no name or code stands for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a purpose of use: expected a code of v3-ActReason such as TREAT (treatment), ETREAT (emergency), HPAYMT (payment), HOPERAT (operations), HRESCH (research), PUBHLTH (public health), PATRQT (patient's request), or SYSTEM|CODE"
)]
pub struct UnknownPurpose;

/// Reads a purpose as typed: a `v3-ActReason` code in any letter case, or `SYSTEM|CODE`.
///
/// # Errors
/// The text is neither.
pub fn parse(text: &str) -> Result<Coding, UnknownPurpose> {
    if let Some((system, code)) = text.rsplit_once('|') {
        return if system.is_empty() || code.is_empty() { Err(UnknownPurpose) } else { Ok(Coding::new(system, code)) };
    }
    HIERARCHY.iter().map(|(code, _, _)| *code).chain([ANY]).find(|code| code.eq_ignore_ascii_case(text)).map(act_reason).ok_or(UnknownPurpose)
}

/// Whether terms for `allowed` cover a request for `asked`: the same purpose or one below it.
pub fn covers(allowed: &Coding, asked: &Coding) -> bool {
    if allowed == asked || is_any(allowed) {
        return true;
    }
    if allowed.system != ACT_REASON || asked.system != ACT_REASON {
        return false;
    }
    let mut code = asked.code.as_str();
    while let Some((_, parent, _)) = HIERARCHY.iter().find(|(child, _, _)| *child == code) {
        if *parent == allowed.code {
            return true;
        }
        code = parent;
    }
    false
}

/// Whether it is the top of the hierarchy.
pub fn is_any(purpose: &Coding) -> bool {
    purpose.system == ACT_REASON && purpose.code == ANY
}

/// The purpose in words for a patient; an unknown code stands for itself.
pub fn name(purpose: &Coding) -> String {
    if is_any(purpose) {
        return "any purpose".to_owned();
    }
    HIERARCHY
        .iter()
        .find(|(code, _, _)| purpose.system == ACT_REASON && *code == purpose.code)
        .map_or_else(|| format!("\u{201c}{}\u{201d}", purpose.code), |(_, _, words)| (*words).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_has_one_top_and_no_loop() {
        for (code, _, _) in HIERARCHY {
            assert!(covers(&act_reason(ANY), &act_reason(code)), "{code}");
            assert_eq!(HIERARCHY.iter().filter(|(other, _, _)| other == code).count(), 1, "{code}");
            let mut at = *code;
            for _ in 0..5 {
                at = HIERARCHY.iter().find(|(child, _, _)| *child == at).map_or(ANY, |(_, parent, _)| parent);
            }
            assert_eq!(at, ANY, "{code} does not reach the top");
        }
    }

    #[test]
    fn treatment_covers_emergencies_and_not_the_other_way_round() {
        assert!(covers(&act_reason(TREAT), &act_reason("BTG")));
        assert!(covers(&act_reason("ETREAT"), &act_reason("BTG")));
        assert!(!covers(&act_reason("BTG"), &act_reason("ETREAT")));
        assert!(!covers(&act_reason(TREAT), &act_reason("HRESCH")));
        assert!(!covers(&act_reason(TREAT), &act_reason(ANY)));
        assert!(!covers(&act_reason(TREAT), &Coding::new("urn:x", "BTG")));
    }

    #[test]
    fn purposes_are_read_in_any_case_and_refused_with_a_hint() {
        assert_eq!(parse("treat"), Ok(act_reason("TREAT")));
        assert_eq!(parse("urn:x|Foo"), Ok(Coding::new("urn:x", "Foo")));
        let error = parse("curiosity").unwrap_err().to_string();
        assert!(error.contains("TREAT"), "{error}");
        assert!(parse("|x").is_err());
    }
}
