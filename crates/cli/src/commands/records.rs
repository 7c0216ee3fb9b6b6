//! `chartmesh records`.

use std::{collections::BTreeMap, path::PathBuf};

use chartmesh_identity::LedgerId;
use chartmesh_node::api::{ApiError, ExportInfo, RecordInfo, Request, ShownInfo, VersionInfo};
use clap::Subcommand;

use crate::{
    context::Context,
    failure::{Failure, Outcome},
    files::{self, Readers},
    plain::{count, minute, plain, short},
    table::{Column, Table, wrap},
};

/// So many versions of a record are named.
const MOST_VERSIONS: usize = 8;

/// Health records: what this node holds and may open
#[derive(Debug, Subcommand)]
pub(crate) enum Records {
    /// List the records, the locked ones too
    List {
        /// Only this patient: alias, name or ledger id
        #[arg(long)]
        patient: Option<String>,
        /// Only this FHIR type, such as Observation
        #[arg(long = "type", value_name = "TYPE")]
        resource_type: Option<String>,
    },
    /// Print one record, byte for byte as its source sent it
    Show {
        /// Which one, such as Observation/123
        #[arg(value_name = "TYPE/ID")]
        reference: String,
        /// Whose: alias, name or ledger id
        #[arg(long)]
        patient: Option<String>,
        /// Which version, if several are held: the one in this sealed document, by its hash or the beginning of it
        #[arg(long, value_name = "HASH")]
        document: Option<String>,
        /// What for (HL7 v3-ActReason code); the patient sees it [default: the first that the consent names]
        #[arg(long, value_name = "CODE")]
        purpose: Option<String>,
        /// Show it even if it was set aside, published without your authority; for patients
        #[arg(long)]
        quarantined: bool,
    },
    /// Write everything readable into a directory, as FHIR Bundles
    Export {
        /// The directory; it is made if it is not there
        directory: PathBuf,
        /// Whose: alias, name or ledger id
        #[arg(long)]
        patient: Option<String>,
        /// What for (HL7 v3-ActReason code); the patient sees it [default: the first that the consent names]
        #[arg(long, value_name = "CODE")]
        purpose: Option<String>,
    },
    /// Write a sealed document as it is stored: an age file
    Sealed {
        /// Its hash, or the beginning of it
        document: String,
        /// Where to
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

impl Records {
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        match self {
            Self::List { patient, resource_type } => {
                let records: Vec<RecordInfo> = context.ask(Request::RecordsList { patient: patient.clone(), resource_type: resource_type.clone() }).await?;
                context.output.answer(&records, |records| list(records))?;
            }
            Self::Show { reference, patient, document, purpose, quarantined } => {
                let (reference, document) = (reference.clone(), document.clone());
                let request = Request::RecordsShow {
                    reference: reference.clone(),
                    patient: patient.clone(),
                    document,
                    purpose: purpose.clone(),
                    quarantined: *quarantined,
                };
                let shown: ShownInfo = context.ask(request).await?;
                context.output.resource(&shown.resource)?;
                if !shown.others.is_empty() {
                    context.output.complain(&others(&reference, &shown.others));
                }
            }
            Self::Export { directory, patient, purpose } => {
                let request = Request::RecordsExport { directory: files::full(directory)?, patient: patient.clone(), purpose: purpose.clone() };
                let info: ExportInfo = context.ask(request).await?;
                context.output.answer(&info, exported)?;
                if !info.damaged.is_empty() {
                    return Err(ApiError::failed("not everything could be read")
                        .advise("the answer says what, and why; `chartmesh sync` fetches what is missing")
                        .into());
                }
            }
            Self::Sealed { document, out } => {
                let bytes: Vec<u8> = context.ask(Request::RecordsSealed { document: document.clone() }).await?;
                context.output.answer(&files::write(out, &bytes, Readers::Umask)?, files::Written::words)?;
            }
        }
        Ok(Outcome::Done)
    }
}

/// That there is more under this reference than what was shown.
fn others(reference: &str, others: &[VersionInfo]) -> String {
    let number = count(others.len() as u64, "other version", "other versions");
    let (are, one) = if others.len() == 1 { ("is", "it") } else { ("are", "one") };
    let named = others.iter().take(MOST_VERSIONS).map(|other| {
        let older = if other.superseded { " (older)" } else { "" };
        format!("{} by {}, {}{older}", short(&other.document), plain(&other.author), minute(&other.published))
    });
    let more = others.len().saturating_sub(MOST_VERSIONS);
    let more = if more > 0 { format!("; and {more} more (`chartmesh records list --json`)") } else { String::new() };
    format!("{number} of {} {are} held; name {one} with --document: {}{more}", plain(reference), named.collect::<Vec<_>>().join("; "))
}

fn exported(info: &ExportInfo) -> String {
    let mut text = format!("wrote {} in {} to {}\n", count(info.resources, "record", "records"), count(info.files, "file", "files"), info.directory.display());
    if !info.damaged.is_empty() {
        text.push_str("\nNot written:\n");
        for damaged in &info.damaged {
            text.push_str(&wrap(&format!("{}: {}", plain(&damaged.position), plain(&damaged.reason)), "  - ", "    "));
        }
    }
    text
}

fn list(records: &[RecordInfo]) -> String {
    if records.is_empty() {
        return "No records.\n".to_owned();
    }
    let mut patients: BTreeMap<LedgerId, Vec<&RecordInfo>> = BTreeMap::new();
    for record in records {
        patients.entry(record.patient).or_default().push(record);
    }
    let several = patients.len() > 1;
    let parts = patients.iter().map(|(patient, records)| {
        let heading = match records.first().and_then(|record| record.patient_name.as_deref()) {
            None if !several => String::new(),
            Some(name) => format!("{} ({})\n", plain(name), short(patient)),
            None => format!("Patient {}\n", short(patient)),
        };
        format!("{heading}{}", of_one(records))
    });
    parts.collect::<Vec<_>>().join("\n")
}

fn of_one(records: &[&RecordInfo]) -> String {
    let mut compartments: BTreeMap<String, Vec<&RecordInfo>> = BTreeMap::new();
    for record in records {
        let compartment = match (&record.sensitivity, &record.category) {
            (Some(sensitivity), Some(category)) => format!("{sensitivity}/{category}"),
            // Last of all: what is known least of.
            _ => "~".to_owned(),
        };
        compartments.entry(compartment).or_default().push(record);
    }
    let mut versions: BTreeMap<String, u64> = BTreeMap::new();
    for record in records {
        *versions.entry(name(record)).or_default() += 1;
    }
    let mut text = String::new();
    for (compartment, records) in &compartments {
        text.push_str(&format!("{}\n", if compartment == "~" { "not known to this node" } else { compartment }));
        let mut table = Table::new([Column::whole("DATE"), Column::whole("RECORD"), Column::cut("WHAT", 20)]);
        for record in records {
            let reference = name(record);
            let shared = versions.get(&reference).is_some_and(|number| *number > 1);
            table.row([day(record), reference, what(record, shared)]);
        }
        text.push_str(&table.render());
        text.push('\n');
    }
    let states = [("readable", "readable"), ("locked", "locked"), ("quarantined", "set aside, because they were published without authority")];
    let tally = states.iter().filter_map(|(state, words)| {
        let number = records.iter().filter(|record| record.state == *state).count();
        (number > 0).then(|| format!("{number} {words}"))
    });
    format!("{text}{}\n", tally.collect::<Vec<_>>().join(", "))
}

fn day(record: &RecordInfo) -> String {
    record.date.as_deref().map(|date| date.chars().take(10).collect()).unwrap_or_default()
}

fn name(record: &RecordInfo) -> String {
    match (&record.resource_type, &record.id) {
        (Some(resource_type), Some(id)) => format!("{resource_type}/{id}"),
        (Some(resource_type), None) => resource_type.clone(),
        (None, _) => format!("document {}", short(&record.document)),
    }
}

/// What is to be said of a record; with its author, if others go by the same reference.
fn what(record: &RecordInfo, shared: bool) -> String {
    let by = record.author.as_ref().filter(|_| shared).map(|author| format!("by {author}"));
    let mut marks: Vec<&str> = by.as_deref().into_iter().collect();
    match record.state.as_str() {
        "readable" => {}
        other => marks.push(other),
    }
    if record.superseded {
        marks.push("older version");
    }
    match record.typed.as_deref() {
        Some("lossy") => marks.push("not fully understood"),
        Some("failed") => marks.push("not understood"),
        _ => {}
    }
    let marks = if marks.is_empty() { String::new() } else { format!("[{}] ", marks.join(", ")) };
    format!("{marks}{}", record.title.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use chartmesh_identity::BlobHash;

    use super::*;

    fn record(patient: u8, title: Option<&str>) -> RecordInfo {
        RecordInfo {
            resource_type: title.map(|_| "DiagnosticReport".into()),
            id: title.map(|_| "0b6c2b3a-4e0f-4a7e-9a0e-1f2d3c4b5a69".into()),
            patient: LedgerId::new([patient; 32]),
            patient_name: (patient == 2).then(|| "Maria \u{202e}Alvarez".into()),
            category: title.map(|_| "results".into()),
            sensitivity: title.map(|_| "sexual-reproductive".into()),
            sensitivities: Vec::new(),
            date: title.map(|_| "2026-03-02T09:41:00+01:00".into()),
            author: None,
            document: BlobHash::new([7; 32]),
            parts: Vec::new(),
            state: if title.is_some() { "readable" } else { "locked" }.into(),
            typed: None,
            title: title.map(Into::into),
            superseded: false,
        }
    }

    #[test]
    fn a_list_fits_and_says_what_is_locked() {
        let lossy = RecordInfo { typed: Some("lossy".into()), superseded: true, ..record(1, Some("HbA1c")) };
        insta::assert_snapshot!(list(&[record(1, Some("Chlamydia test, with a very long title")), lossy, record(1, None)]), @r"
        sexual-reproductive/results
        DATE        RECORD                                                 WHAT
        2026-03-02  DiagnosticReport/0b6c2b3a-4e0f-4a7e-9a0e-1f2d3c4b5a69  Chlamydia test, with a very long…
        2026-03-02  DiagnosticReport/0b6c2b3a-4e0f-4a7e-9a0e-1f2d3c4b5a69  [older version, not fully unders…

        not known to this node
        DATE  RECORD                 WHAT
              document 070707070707  [locked]

        2 readable, 1 locked
        ");
    }

    #[test]
    fn versions_under_one_reference_are_told_apart() {
        let by = |author: &str, title| RecordInfo { author: Some(author.into()), id: Some("same".into()), ..record(1, Some(title)) };
        let alone = RecordInfo { author: Some("Dr Lee".into()), ..record(1, Some("Alone")) };
        insta::assert_snapshot!(list(&[by("Saint Anne", "First"), by("Harbour Clinic", "Second"), alone]), @r"
        sexual-reproductive/results
        DATE        RECORD                                                 WHAT
        2026-03-02  DiagnosticReport/same                                  [by Saint Anne] First
        2026-03-02  DiagnosticReport/same                                  [by Harbour Clinic] Second
        2026-03-02  DiagnosticReport/0b6c2b3a-4e0f-4a7e-9a0e-1f2d3c4b5a69  Alone

        3 readable
        ");
    }

    #[test]
    fn other_versions_are_named() {
        let version = |byte, author: &str, superseded| VersionInfo {
            document: BlobHash::new([byte; 32]),
            author: author.into(),
            published: "2026-03-02T09:41:07Z".into(),
            superseded,
        };
        insta::assert_snapshot!(others("Observation/same", &[version(7, "Saint\n Anne", false)]),
            @"1 other version of Observation/same is held; name it with --document: 070707070707 by Saint Anne, 2026-03-02 09:41");
        insta::assert_snapshot!(others("Observation/same", &[version(7, "Saint Anne", false), version(8, "Dr Lee", true)]),
            @"2 other versions of Observation/same are held; name one with --document: 070707070707 by Saint Anne, 2026-03-02 09:41; 080808080808 by Dr Lee, 2026-03-02 09:41 (older)");
        let many: Vec<_> = (0..10).map(|byte| version(byte, "Dr Lee", true)).collect();
        assert!(others("Observation/same", &many).ends_with("(older); and 2 more (`chartmesh records list --json`)"));
    }

    #[test]
    fn several_patients_are_kept_apart() {
        let text = list(&[record(2, Some("B")), record(1, Some("A")), record(2, Some("C"))]);
        assert!(text.starts_with("Patient 010101010101\n") && text.contains("\nMaria Alvarez (020202020202)\n"), "{text}");
        assert!(text.find("  A\n").unwrap() < text.find("B\n").unwrap() && text.contains("\n2 readable\n"), "{text}");
        assert_eq!(list(&[]), "No records.\n");
    }
}
