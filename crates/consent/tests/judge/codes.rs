//! The published code systems, as far as a Consent leans on how their codes lie below each other.
//!
//! From HL7 Terminology 7.0.1 (`hl7.terminology.r4`): `v3-ActReason` 3.1.0, `v3-ActCode` 9.0.0, `v3-Confidentiality`.

use std::sync::LazyLock;

pub(crate) const ACT_REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
pub(crate) const ACT_CODE: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
pub(crate) const CONFIDENTIALITY: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";
pub(crate) const PARTICIPATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
pub(crate) const CONSENT_ACTION: &str = "http://terminology.hl7.org/CodeSystem/consentaction";
pub(crate) const CONSENT_SCOPE: &str = "http://terminology.hl7.org/CodeSystem/consentscope";
pub(crate) const RESOURCE_TYPES: &str = "http://hl7.org/fhir/resource-types";
pub(crate) const OWN_SENSITIVITY: &str = "https://chartmesh.org/fhir/CodeSystem/sensitivity";
pub(crate) const OWN_CATEGORY: &str = "https://chartmesh.org/fhir/CodeSystem/category";
pub(crate) const OWN_ACTION: &str = "https://chartmesh.org/fhir/CodeSystem/consent-action";

/// Confidentiality, lowest first.
pub(crate) const LEVELS: &str = "ULMNRV";

/// `v3-ActReason`: each code, and what lies directly below it.
const REASONS: &str = "
    PurposeOfUse: HMARKT HOPERAT HPAYMT HRESCH PATRQT PUBHLTH TREAT
    HOPERAT: CAREMGT DONAT FRAUD GOV HACCRED HCOMPL HDECD HDIRECT HDM HLEGAL HOUTCOMS HPRGRP HQUALIMP HSYSADMIN MEMADMIN MILCDM
    HOPERAT: MLTRAINING PATADMIN PATSFTY PERFMSR RECORDMGT SYSDEV TRAIN
    HSYSADMIN: LABELING METAMGT
    SYSDEV: HTEST
    HPAYMT: CLMATTCH COVAUTH COVERAGE PMTDS REMITADV
    COVERAGE: ELIGDTRM ELIGVER ENROLLM MILDCRG
    HRESCH: BIORCH CLINTRCH DSRCH POARCH TRANSRCH
    CLINTRCH: CLINTRCHNPC CLINTRCHPC PRECLINTRCH
    PATRQT: FAMRQT PWATRNY SUPNWK
    PUBHLTH: DISASTER THREAT
    TREAT: CLINTRL COC ETREAT POPHLTH TREATDS
    ETREAT: BTG ERTREAT";

/// `v3-ActCode`, information sensitivity: the same.
const SENSITIVE: &str = "
    SPI: BH MH PSY PSYTHPN SUD
    BH: COGN DVD EMOTDIS
    SUD: ETHUD OPIOIDUD";

/// What a deny of the wider code is taken to mean beside what is published: earlier editions, and what the definitions say.
const ALSO_MEANT: &str = "
    BH: MH SUD
    MH: PSY MENCAT
    PSY: PSYTHPN
    SUD: ETH DRGIS 42CFRPart2
    ETH: ETHUD OPIOIDUD
    SEX: STD PREGNANT SOGI
    GDIS: SCA SICKLE
    VIO: SDV
    SDV: MST";

/// Why chartmesh keeps a record apart, least restrictive first, each with the codes that are about it.
pub(crate) const KINDS: [(&str, &str); 7] = [
    ("general", ""),
    ("mental-health", "SPI BH MH PSY PSYTHPN COGN DVD EMOTDIS MENCAT"),
    ("substance-use", "SPI BH SUD ETH ETHUD OPIOIDUD DRGIS 42CFRPart2"),
    ("sexual-reproductive", "SEX STD PREGNANT SOGI"),
    ("hiv", "HIV"),
    ("genetic", "GDIS SCA SICKLE"),
    ("violence", "VIO SDV MST"),
];

/// The code of `v3-ActCode` that says the same as one of chartmesh's sensitivities.
pub(crate) fn standard(kind: &str) -> Option<&'static str> {
    ["mental-health MH", "substance-use SUD", "sexual-reproductive SEX", "hiv HIV", "genetic GDIS", "violence VIO"]
        .iter()
        .filter_map(|pair| pair.split_once(' '))
        .find_map(|(own, code)| (own == kind).then_some(code))
}

/// Wide and narrow codes of a table.
type Pairs = Vec<(&'static str, &'static str)>;

fn pairs(table: &'static str) -> Pairs {
    let lines = table.lines().filter_map(|line| line.trim().split_once(": "));
    lines.flat_map(|(parent, children)| children.split(' ').map(move |child| (parent, child))).collect()
}

static REASON_PAIRS: LazyLock<Pairs> = LazyLock::new(|| pairs(REASONS));
static SENSITIVE_PAIRS: LazyLock<Pairs> = LazyLock::new(|| pairs(SENSITIVE));
static MEANT_PAIRS: LazyLock<Pairs> = LazyLock::new(|| [pairs(SENSITIVE), pairs(ALSO_MEANT)].concat());

fn below(pairs: &Pairs, wide: &str, narrow: &str) -> bool {
    wide == narrow || pairs.iter().any(|(parent, child)| *child == narrow && below(pairs, wide, parent))
}

/// Whether one purpose is another, or lies below it.
pub(crate) fn reason_within(wide: &str, narrow: &str) -> bool {
    below(&REASON_PAIRS, wide, narrow)
}

/// Whether one sensitivity code is another, or is published as lying below it.
pub(crate) fn sensitivity_within(wide: &str, narrow: &str) -> bool {
    below(&SENSITIVE_PAIRS, wide, narrow)
}

/// Whether a deny of the one is also meant of the other.
pub(crate) fn meant_by(wide: &str, narrow: &str) -> bool {
    below(&MEANT_PAIRS, wide, narrow)
}

/// Where one of chartmesh's sensitivities stands among them.
pub(crate) fn rank(kind: &str) -> usize {
    KINDS.iter().position(|(own, _)| *own == kind).expect("a sensitivity of chartmesh")
}

/// Whether a code of `v3-ActCode` is about one of chartmesh's sensitivities.
pub(crate) fn is_about(code: &str, kind: &str) -> bool {
    KINDS[rank(kind)].1.split(' ').any(|about| about == code)
}

/// Whether a code of `v3-ActCode` is about any of them.
pub(crate) fn is_about_any(code: &str) -> bool {
    KINDS.iter().any(|(kind, _)| is_about(code, kind))
}
