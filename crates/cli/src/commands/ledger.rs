//! `chartmesh ledger`.

use std::path::PathBuf;

use chartmesh_node::api::{LogInfo, Request, VerifyInfo};
use clap::Subcommand;

use crate::{
    context::Context,
    failure::{Failure, Outcome},
    files::{self, Readers},
    plain::{count, minute, patient, several},
    table::{Column, Table, bullets},
};

/// The signed ledger: who was given what, by whom, and when
#[derive(Debug, Subcommand)]
pub(crate) enum Ledger {
    /// List the entries
    Log {
        /// Only this patient: alias, name or ledger id
        #[arg(long)]
        patient: Option<String>,
    },
    /// Check every signature and every rule; the exit code is 1 if something is wrong
    Verify {
        /// An exported ledger, instead of what this node holds
        file: Option<PathBuf>,
    },
    /// Write the ledger to a file that anybody can check
    Export {
        /// Where to
        file: PathBuf,
        /// Whose: alias, name or ledger id
        #[arg(long)]
        patient: Option<String>,
    },
}

impl Ledger {
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        match self {
            Self::Log { patient } => {
                let log: Vec<LogInfo> = context.ask(Request::LedgerLog { patient: patient.clone() }).await?;
                context.output.answer(&log, |log| table(log))?;
            }
            Self::Verify { file } => {
                let info: VerifyInfo = match file.as_deref() {
                    Some(file) => chartmesh_node::verify_ledger_file(&files::read(file)?),
                    None => context.ask(Request::LedgerVerify).await?,
                };
                context.output.answer(&info, verified)?;
                if !info.ok {
                    return Ok(Outcome::Wrong);
                }
            }
            Self::Export { file, patient } => {
                let bytes: Vec<u8> = context.ask(Request::LedgerExport { patient: patient.clone() }).await?;
                context.output.answer(&files::write(file, &bytes, Readers::Umask)?, files::Written::words)?;
            }
        }
        Ok(Outcome::Done)
    }
}

fn table(log: &[LogInfo]) -> String {
    if log.is_empty() {
        return "No entries.\n".to_owned();
    }
    let several = several(log.iter().map(|entry| entry.patient));
    let mut table = Table::new([
        Column::whole("TIME (UTC)"),
        Column::cut("PATIENT", 12).only_if(several),
        Column::cut("LANE", 14),
        Column::cut("BY", 12),
        Column::number("NO"),
        Column::cut("ACTION", 16),
        Column::cut("VERDICT", 8),
    ]);
    for entry in log {
        table.row([
            minute(&entry.time),
            patient(entry.patient_name.as_deref(), &entry.patient),
            entry.lane.clone(),
            entry.author.clone(),
            entry.seq.to_string(),
            entry.action.clone(),
            entry.verdict.clone(),
        ]);
    }
    table.render()
}

fn verified(info: &VerifyInfo) -> String {
    let checked =
        [count(info.ledgers, "ledger", "ledgers"), count(info.charters, "charter version", "charter versions"), count(info.entries, "entry", "entries")]
            .join(", ");
    let mut text = format!("{}: {checked} checked.\n", if info.ok { "All is well" } else { "Something is wrong" });
    if !info.forks.is_empty() {
        text.push_str("\nForks (one author wrote two different entries in one place):\n");
        text.push_str(&bullets(&info.forks));
    }
    if !info.problems.is_empty() {
        text.push_str("\nProblems:\n");
        text.push_str(&bullets(&info.problems));
    }
    text
}

#[cfg(test)]
mod tests {
    use chartmesh_identity::LedgerId;

    use super::*;

    #[test]
    fn entries_are_listed_with_their_verdict() {
        let entry = |lane: &str, action: &str, verdict: &str| LogInfo {
            entry: "00".into(),
            patient: LedgerId::new([1; 32]),
            patient_name: None,
            lane: lane.into(),
            author: "Maria Alvarez".into(),
            seq: 12,
            time: "2026-03-02T09:41:07Z".into(),
            action: action.into(),
            verdict: verdict.into(),
        };
        let log = [
            entry("circle Dr Lee", "grant 0a1b2c3d", "stands"),
            entry("catalog mental-health/results", "publish 3 documents", "void: after the fence of its grant"),
        ];
        insta::assert_snapshot!(table(&log), @r"
        TIME (UTC)        LANE                  BY             NO  ACTION               VERDICT
        2026-03-02 09:41  circle Dr Lee         Maria Alvarez  12  grant 0a1b2c3d       stands
        2026-03-02 09:41  catalog mental-heal…  Maria Alvarez  12  publish 3 documents  void: after the fen…
        ");
        let other = LogInfo { patient: LedgerId::new([9; 32]), patient_name: Some("Rui Costa".into()), ..entry("keyring", "stores keys", "stands") };
        insta::assert_snapshot!(table(&[entry("keyring", "stores keys", "stands"), other]), @r"
        TIME (UTC)        PATIENT       LANE     BY             NO  ACTION       VERDICT
        2026-03-02 09:41  010101010101  keyring  Maria Alvarez  12  stores keys  stands
        2026-03-02 09:41  Rui Costa     keyring  Maria Alvarez  12  stores keys  stands
        ");
    }

    #[test]
    fn a_verification_names_what_is_wrong() {
        let good = VerifyInfo { ok: true, ledgers: 1, charters: 1, entries: 240, forks: Vec::new(), problems: Vec::new() };
        insta::assert_snapshot!(verified(&good), @r"
        All is well: 1 ledger, 1 charter version, 240 entries checked.
        ");
        let bad = VerifyInfo { ok: false, forks: vec!["entry 12".into()], problems: vec!["a signature does not match".into()], ..good };
        insta::assert_snapshot!(verified(&bad), @r"
        Something is wrong: 1 ledger, 1 charter version, 240 entries checked.

        Forks (one author wrote two different entries in one place):
          - entry 12

        Problems:
          - a signature does not match
        ");
    }
}
