//! The code lists under `schemas/labels`: which codes tell of something sensitive.
//!
//! A code is compared whole, or by its beginning where the classification says where it belongs (ICD,
//! ATC). Systems are compared after translating object identifiers, version suffixes and national
//! editions to the URI that FHIR names.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::set::Set;
use crate::{Coding, Sensitivity};

const FILES: [&str; 6] = [
    include_str!("../../../../schemas/labels/mental-health.json"),
    include_str!("../../../../schemas/labels/substance-use.json"),
    include_str!("../../../../schemas/labels/sexual-reproductive.json"),
    include_str!("../../../../schemas/labels/hiv.json"),
    include_str!("../../../../schemas/labels/genetic.json"),
    include_str!("../../../../schemas/labels/violence.json"),
];

const SNOMED: &str = "http://snomed.info/sct";
const ICD_10: &str = "http://hl7.org/fhir/sid/icd-10";
const ICD_10_CM: &str = "http://hl7.org/fhir/sid/icd-10-cm";
const ICD_9_CM: &str = "http://hl7.org/fhir/sid/icd-9-cm";

/// Names that sources use for the systems of the lists.
const ALIASES: [(&str, &str); 12] = [
    ("urn:oid:2.16.840.1.113883.6.96", SNOMED),
    ("urn:oid:2.16.840.1.113883.6.1", "http://loinc.org"),
    ("urn:oid:2.16.840.1.113883.6.88", "http://www.nlm.nih.gov/research/umls/rxnorm"),
    ("urn:oid:2.16.840.1.113883.6.3", ICD_10),
    ("urn:oid:2.16.840.1.113883.6.4", "http://www.cms.gov/Medicare/Coding/ICD10"),
    ("urn:oid:2.16.840.1.113883.6.73", "http://www.whocc.no/atc"),
    ("urn:oid:2.16.840.1.113883.6.90", ICD_10_CM),
    ("urn:oid:2.16.840.1.113883.6.103", ICD_9_CM),
    ("urn:oid:2.16.840.1.113883.12.292", "http://hl7.org/fhir/sid/cvx"),
    ("urn:oid:1.2.276.0.76.5.409", ICD_10),
    ("http://hl7.org/fhir/sid/icd-9-cm/diagnosis", ICD_9_CM),
    ("http://www.icd10data.com/icd10pcs", "http://www.cms.gov/Medicare/Coding/ICD10"),
];

#[derive(Deserialize)]
struct File {
    sensitivity: Sensitivity,
    codes: Vec<Entry>,
    #[serde(default)]
    prefixes: Vec<Prefix>,
}

#[derive(Deserialize)]
struct Entry {
    system: String,
    code: String,
}

#[derive(Deserialize)]
struct Prefix {
    system: String,
    prefix: String,
}

#[derive(Default)]
struct Lists {
    systems: BTreeMap<String, System>,
}

#[derive(Default)]
struct System {
    codes: BTreeMap<String, Set>,
    /// Sorted by prefix; several sensitivities may share one.
    prefixes: BTreeMap<String, Set>,
    longest: usize,
}

/// The files are part of the program: that each one parses is a test's promise, and one that did not
/// would leave its sensitivity without codes.
static LISTS: LazyLock<Lists> = LazyLock::new(|| {
    let mut lists = Lists::default();
    for file in FILES.iter().filter_map(|text| serde_json::from_str::<File>(text).ok()) {
        let set = Set::of(file.sensitivity);
        for entry in file.codes {
            let system = canonical(&entry.system);
            let code = canonical_code(&system, &entry.code).into_owned();
            lists.systems.entry(system.into_owned()).or_default().codes.entry(code).or_default().add(set);
        }
        for entry in file.prefixes {
            let system = canonical(&entry.system);
            let prefix = canonical_code(&system, &entry.prefix).into_owned();
            let system = lists.systems.entry(system.into_owned()).or_default();
            system.longest = system.longest.max(prefix.len());
            system.prefixes.entry(prefix).or_default().add(set);
        }
    }
    lists
});

/// What the lists say of one code.
pub(crate) fn sensitivities_of(coding: &Coding) -> Set {
    let system = canonical(&coding.system);
    let Some(list) = LISTS.systems.get(system.as_ref()) else {
        return Set::default();
    };
    let code = canonical_code(&system, &coding.code);
    let mut found = list.codes.get(code.as_ref()).copied().unwrap_or_default();
    for end in 1..=list.longest.min(code.len()) {
        if let Some(set) = code.get(..end).and_then(|prefix| list.prefixes.get(prefix)) {
            found.add(*set);
        }
    }
    found
}

fn canonical(system: &str) -> Cow<'_, str> {
    let system = system.trim().trim_end_matches('/');
    let system = system.split_once('|').map_or(system, |(uri, _)| uri);
    if system.starts_with("http://terminology.hl7.org/") {
        return Cow::Borrowed(system);
    }
    if let Some((_, known)) = ALIASES.iter().find(|(alias, _)| *alias == system) {
        return Cow::Borrowed(known);
    }
    // SNOMED CT editions and versions: http://snomed.info/sct/731000124108/version/20230901
    if system.starts_with("http://snomed.info/sct") || system.starts_with("https://snomed.info/sct") || system.starts_with("http://snomed.info/xsct") {
        return Cow::Borrowed(SNOMED);
    }
    if !system.as_bytes().windows(3).any(|part| part.eq_ignore_ascii_case(b"icd")) {
        return plain(system);
    }
    let lower = system.to_ascii_lowercase();
    if lower.contains("icd-10-cm") || lower.contains("icd10cm") {
        return Cow::Borrowed(ICD_10_CM);
    }
    if lower.contains("icd-10-pcs") || lower.contains("icd10pcs") {
        return Cow::Borrowed("http://www.cms.gov/Medicare/Coding/ICD10");
    }
    // National editions share the chapters of ICD-10: icd-10-gm, icd-10-nl, icd-10-am, ...
    if lower.contains("icd-10-") || lower.ends_with("icd-10") || lower.ends_with("icd10") {
        return Cow::Borrowed(ICD_10);
    }
    plain(system)
}

fn plain(system: &str) -> Cow<'_, str> {
    match system.strip_prefix("https://") {
        Some(rest) => Cow::Owned(format!("http://{rest}")),
        None => Cow::Borrowed(system),
    }
}

/// ICD codes are written with and without their point, and in either case.
fn canonical_code<'a>(system: &str, code: &'a str) -> Cow<'a, str> {
    let code = code.trim();
    if system.contains("/icd-") { Cow::Owned(code.replace('.', "").to_ascii_uppercase()) } else { Cow::Borrowed(code) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn most(system: &str, code: &str) -> Sensitivity {
        sensitivities_of(&Coding::new(system, code)).most()
    }

    #[test]
    fn every_file_parses_and_has_the_sensitivity_of_its_name() {
        let expected = Sensitivity::ALL.into_iter().skip(1);
        for (text, sensitivity) in FILES.iter().zip(expected) {
            let file: File = serde_json::from_str(text).expect("a label file");
            assert_eq!(file.sensitivity, sensitivity);
            assert!(!file.codes.is_empty());
            for entry in &file.codes {
                assert!(!sensitivities_of(&Coding::new(&*entry.system, &*entry.code)).is_empty(), "{}|{}", entry.system, entry.code);
            }
            for entry in &file.prefixes {
                assert!(!entry.prefix.is_empty(), "a prefix that would match any code of {}", entry.system);
            }
        }
    }

    #[test]
    fn a_code_is_found_whole_and_by_prefix() {
        assert_eq!(most(SNOMED, "370143000"), Sensitivity::MentalHealth);
        assert_eq!(most(SNOMED, "3701430001"), Sensitivity::General);
        assert_eq!(most(ICD_10_CM, "F32.1"), Sensitivity::MentalHealth);
        assert_eq!(most(ICD_10_CM, "F321"), Sensitivity::MentalHealth);
        assert_eq!(most(ICD_10_CM, "f11.20"), Sensitivity::SubstanceUse);
        assert_eq!(most(ICD_10, "B20"), Sensitivity::Hiv);
        assert_eq!(most(ICD_10_CM, "I10"), Sensitivity::General);
        assert_eq!(most("http://example.org", "F32.1"), Sensitivity::General);
    }

    #[test]
    fn a_system_is_known_by_its_other_names() {
        for system in ["urn:oid:2.16.840.1.113883.6.96", "http://snomed.info/sct/731000124108", "http://snomed.info/sct|2023", "https://snomed.info/sct"] {
            assert_eq!(most(system, "370143000"), Sensitivity::MentalHealth, "{system}");
        }
        for system in ["urn:oid:2.16.840.1.113883.6.90", "http://fhir.de/CodeSystem/bfarm/icd-10-gm", "http://hl7.org/fhir/sid/icd-10-nl"] {
            assert_eq!(most(system, "F32.1"), Sensitivity::MentalHealth, "{system}");
        }
    }
}
