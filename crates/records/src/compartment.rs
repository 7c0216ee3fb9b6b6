//! The two axes that decide which key opens a resource, and the compartment they span.
//!
//! Pure values: no I/O, no clock. Their text forms (`results`, `mental-health`,
//! `mental-health/results`, `inbox`) are wire format and what a patient types on a command line.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What kind of record a resource is; the coarse choice a patient makes when sharing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    /// Who the patient is: Patient, RelatedPerson, Person.
    Identity,
    /// Allergies, problems, medications, immunizations, procedures.
    Summary,
    /// Observations, reports, specimens.
    Results,
    /// Imaging studies and media.
    Imaging,
    /// Documents, compositions and other prose.
    Notes,
    /// Care plans, goals, orders, appointments.
    Plans,
    /// Encounters, claims, coverage, practitioners, organisations and all else.
    Admin,
}

impl Category {
    /// Every category, in order.
    pub const ALL: [Self; 7] = [Self::Identity, Self::Summary, Self::Results, Self::Imaging, Self::Notes, Self::Plans, Self::Admin];

    /// The kebab-case name that is written to the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Summary => "summary",
            Self::Results => "results",
            Self::Imaging => "imaging",
            Self::Notes => "notes",
            Self::Plans => "plans",
            Self::Admin => "admin",
        }
    }
}

/// How delicate a record is. The order is restrictiveness, ascending: of several, the greatest wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sensitivity {
    /// Nothing that the code lists or the source's labels mark.
    General,
    /// Mental and behavioural health.
    MentalHealth,
    /// Substance use, which United States law guards further (42 CFR Part 2).
    SubstanceUse,
    /// Sexual and reproductive health.
    SexualReproductive,
    /// HIV and AIDS.
    Hiv,
    /// Genetic tests and what they tell about relatives.
    Genetic,
    /// Violence suffered or threatened: a leak can endanger the patient.
    Violence,
}

impl Sensitivity {
    /// Every sensitivity, least restrictive first.
    pub const ALL: [Self; 7] = [Self::General, Self::MentalHealth, Self::SubstanceUse, Self::SexualReproductive, Self::Hiv, Self::Genetic, Self::Violence];

    /// The kebab-case name that is written to the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::General => "general",
            Self::MentalHealth => "mental-health",
            Self::SubstanceUse => "substance-use",
            Self::SexualReproductive => "sexual-reproductive",
            Self::Hiv => "hiv",
            Self::Genetic => "genetic",
            Self::Violence => "violence",
        }
    }
}

/// The unit of decryption: one key epoch at a time opens one compartment of one patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compartment {
    /// Records of one sensitivity and one category.
    Clinical {
        /// The most restrictive sensitivity of what it holds.
        sensitivity: Sensitivity,
        /// The category of what it holds.
        category: Category,
    },
    /// What others have sent and the patient has not sorted yet.
    Inbox,
}

impl Compartment {
    /// Every compartment: the inbox, and each sensitivity with each category.
    pub fn all() -> impl Iterator<Item = Self> {
        Sensitivity::ALL
            .into_iter()
            .flat_map(|sensitivity| Category::ALL.into_iter().map(move |category| Self::Clinical { sensitivity, category }))
            .chain([Self::Inbox])
    }
}

/// A text that names no category, sensitivity or compartment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a {wanted}: expected {expected}")]
pub struct UnknownName {
    wanted: &'static str,
    expected: String,
}

fn unknown(wanted: &'static str, names: &[&str]) -> UnknownName {
    UnknownName { wanted, expected: format!("one of {}", names.join(", ")) }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Category {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|category| category.as_str() == text).ok_or_else(|| unknown("category", &Self::ALL.map(Self::as_str)))
    }
}

impl fmt::Display for Sensitivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Sensitivity {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|sensitivity| sensitivity.as_str() == text).ok_or_else(|| unknown("sensitivity", &Self::ALL.map(Self::as_str)))
    }
}

impl fmt::Display for Compartment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clinical { sensitivity, category } => f.pad(&format!("{sensitivity}/{category}")),
            Self::Inbox => f.pad("inbox"),
        }
    }
}

impl FromStr for Compartment {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        if text == "inbox" {
            return Ok(Self::Inbox);
        }
        let (sensitivity, category) = text
            .split_once('/')
            .ok_or_else(|| UnknownName { wanted: "compartment", expected: "inbox or SENSITIVITY/CATEGORY, such as general/results".to_owned() })?;
        Ok(Self::Clinical { sensitivity: sensitivity.parse()?, category: category.parse()? })
    }
}

impl Serialize for Compartment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Compartment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Compartment;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a compartment, such as general/results or inbox")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Compartment, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for compartment in Compartment::all() {
            assert_eq!(compartment.to_string().parse(), Ok(compartment));
            let json = serde_json::to_string(&compartment).unwrap();
            assert_eq!(json, format!("\"{compartment}\""));
            assert_eq!(serde_json::from_str::<Compartment>(&json).unwrap(), compartment);
        }
        assert_eq!(Compartment::all().count(), 50);
    }

    #[test]
    fn serde_names_equal_display_names() {
        for category in Category::ALL {
            assert_eq!(serde_json::to_string(&category).unwrap(), format!("\"{category}\""));
            assert_eq!(category.to_string().parse(), Ok(category));
        }
        for sensitivity in Sensitivity::ALL {
            assert_eq!(serde_json::to_string(&sensitivity).unwrap(), format!("\"{sensitivity}\""));
            assert_eq!(sensitivity.to_string().parse(), Ok(sensitivity));
        }
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_possible_ones() {
        let error = "mental/results".parse::<Compartment>().unwrap_err().to_string();
        assert!(error.contains("mental-health"), "{error}");
        let error = "results".parse::<Compartment>().unwrap_err().to_string();
        assert!(error.contains("SENSITIVITY/CATEGORY"), "{error}");
    }
}
