//! `chartmesh audit`.

use chartmesh_consent::purpose;
use chartmesh_node::api::{AuditInfo, Request};
use clap::Args;

use crate::{
    context::Context,
    failure::{Failure, Outcome},
    plain::{count, minute, patient, several},
    table::{Column, Table},
};

/// Show who opened which records, when and what for
#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// Only this patient: alias, name or ledger id
    #[arg(long)]
    patient: Option<String>,
}

impl Audit {
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let audit: Vec<AuditInfo> = context.ask(Request::Audit { patient: self.patient.clone() }).await?;
        context.output.answer(&audit, |audit| table(audit))?;
        Ok(Outcome::Done)
    }
}

fn table(audit: &[AuditInfo]) -> String {
    if audit.is_empty() {
        return "Nobody has opened a record so far, as far as this node has heard.\n".to_owned();
    }
    let several = several(audit.iter().map(|access| access.patient));
    let mut table = Table::new([
        Column::whole("TIME (UTC)"),
        Column::cut("PATIENT", 12).only_if(several),
        Column::cut("WHO", 14),
        Column::cut("AT", 14),
        Column::whole("WHAT"),
        Column::cut("FOR", 9),
        Column::whole(""),
    ]);
    for access in audit {
        let what = match access.what.as_slice() {
            [one] => one.clone(),
            many => count(many.len() as u64, "record", "records"),
        };
        let mark = match (access.after_withdrawal, access.told_late) {
            (true, _) => "after withdrawal",
            (false, true) => "told after withdrawal",
            (false, false) => "",
        };
        table.row([
            minute(&access.time),
            patient(access.patient_name.as_deref(), &access.patient),
            access.who.clone(),
            access.party.clone(),
            what,
            purpose::name(&purpose::act_reason(&access.purpose)),
            mark.to_owned(),
        ]);
    }
    let late = audit.iter().filter(|access| access.after_withdrawal).count() as u64;
    let warning = if late == 0 { String::new() } else { format!("\n{} after consent was withdrawn.\n", count(late, "access", "accesses")) };
    format!("{}{warning}", table.render())
}

#[cfg(test)]
mod tests {
    use chartmesh_identity::{GrantId, LedgerId};

    use super::*;

    #[test]
    fn accesses_after_withdrawal_stand_out() {
        let access = |what: &[&str], after_withdrawal| AuditInfo {
            time: "2026-03-02T09:41:07Z".into(),
            patient: LedgerId::new([1; 32]),
            patient_name: None,
            party: "Harbour Clinic".into(),
            who: "Dr Lee".into(),
            what: what.iter().map(|what| (*what).to_owned()).collect(),
            purpose: "TREAT".into(),
            grant: GrantId::new([2; 16]),
            after_withdrawal,
            told_late: !after_withdrawal && what.len() == 3,
        };
        insta::assert_snapshot!(table(&[access(&["Observation/hba1c-1"], false), access(&["Observation/1", "Observation/2"], true), access(&["a", "b", "c"], false)]), @r"
        TIME (UTC)        WHO     AT              WHAT                 FOR
        2026-03-02 09:41  Dr Lee  Harbour Clinic  Observation/hba1c-1  treatment
        2026-03-02 09:41  Dr Lee  Harbour Clinic  2 records            treatment  after withdrawal
        2026-03-02 09:41  Dr Lee  Harbour Clinic  3 records            treatment  told after withdrawal

        1 access after consent was withdrawn.
        ");
        let other = AuditInfo { patient: LedgerId::new([9; 32]), patient_name: Some("Maria Alvarez".into()), ..access(&["Observation/hba1c-1"], false) };
        insta::assert_snapshot!(table(&[access(&["Observation/hba1c-1"], false), other]), @r"
        TIME (UTC)        PATIENT        WHO     AT              WHAT                 FOR
        2026-03-02 09:41  010101010101   Dr Lee  Harbour Clinic  Observation/hba1c-1  treatment
        2026-03-02 09:41  Maria Alvarez  Dr Lee  Harbour Clinic  Observation/hba1c-1  treatment
        ");
    }
}
