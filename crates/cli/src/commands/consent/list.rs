//! `chartmesh consent list`.

use chartmesh_node::api::{GrantInfo, Request};
use clap::Args;

use crate::{
    context::Context,
    failure::{Failure, Outcome},
    plain::{patient, short},
    table::{Column, Table},
};

/// What every grant says that does not end by itself.
const USUAL: [&str; 1] = ["This holds until you take it back."];

/// List all grants, the ended ones too
#[derive(Debug, Args)]
pub(crate) struct List {}

impl List {
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let grants: Vec<GrantInfo> = context.ask(Request::ConsentList).await?;
        context.output.answer(&grants, |grants| table(grants))?;
        Ok(Outcome::Done)
    }
}

fn table(grants: &[GrantInfo]) -> String {
    if grants.is_empty() {
        return "No grants yet. `chartmesh consent grant PEER` makes one.\n".to_owned();
    }
    let day = |instant: &str| instant.chars().take(10).collect::<String>();
    let mut table = Table::new([
        Column::whole("GRANT"),
        Column::cut("PATIENT", 16).only_if(grants.iter().any(|grant| grant.patient_name.is_some())),
        Column::cut("TO", 16),
        Column::whole("STATE"),
        Column::whole("SINCE"),
        Column::whole("UNTIL"),
        Column::number("OPENS"),
        Column::whole("CONFIRMED"),
        Column::whole("TERMS"),
    ]);
    for grant in grants {
        let until = grant.until.as_deref().map(day).unwrap_or_default();
        table.row([
            short(&grant.grant),
            patient(grant.patient_name.as_deref(), &grant.patient),
            grant.peer.clone(),
            grant.state.clone(),
            day(&grant.since),
            until,
            grant.readable.to_string(),
            confirmed(grant).to_owned(),
            terms(grant),
        ]);
    }
    table.render()
}

/// Whether the grantee has heard of it, as far as this node can know.
fn confirmed(grant: &GrantInfo) -> &'static str {
    let own = grant.patient_name.is_none();
    match grant.state.as_str() {
        _ if !grant.confirmed.is_empty() => "yes",
        "revoked" => "no",
        // Only the patient's node is told that a grant has arrived.
        "active" if own => "no",
        _ => "-",
    }
}

/// What sets it apart from other grants; the rest is for `consent show`.
fn terms(grant: &GrantInfo) -> String {
    let told: Vec<&str> = grant.terms.iter().map(String::as_str).filter(|sentence| !USUAL.contains(sentence)).collect();
    told.join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn grants_are_listed_with_their_state() {
        let revoked = GrantInfo { confirmed: Vec::new(), ..example("revoked") };
        insta::assert_snapshot!(table(&[example("active"), revoked, GrantInfo { confirmed: Vec::new(), ..example("expired") }]), @r"
        GRANT         TO      STATE    SINCE       UNTIL       OPENS  CONFIRMED  TERMS
        2a2a2a2a2a2a  Dr Lee  active   2026-03-02  2026-06-01    312  yes        may read everything but not mental-health
        2a2a2a2a2a2a  Dr Lee  revoked  2026-03-02  2026-06-01    312  no         may read everything but not mental-health
        2a2a2a2a2a2a  Dr Lee  expired  2026-03-02  2026-06-01    312  -          may read everything but not mental-health
        ");
    }

    #[test]
    fn whoever_is_no_patient_sees_whose_grants_they_are() {
        let grant = GrantInfo { patient_name: Some("Maria Alvarez".into()), confirmed: Vec::new(), until: None, ..example("active") };
        insta::assert_snapshot!(table(&[grant]), @r"
        GRANT         PATIENT        TO      STATE   SINCE       UNTIL  OPENS  CONFIRMED  TERMS
        2a2a2a2a2a2a  Maria Alvarez  Dr Lee  active  2026-03-02           312  -          may read everything but not mental-health
        ");
    }

    #[test]
    fn no_exception_is_cut_off() {
        let kept = ["All records are shared.", "Substance use records are not shared.", "The purpose must be treatment."];
        let mut terms: Vec<String> = kept.map(str::to_owned).to_vec();
        terms.push("HIV test results and measurements are not shared.".to_owned());
        terms.push(USUAL[0].to_owned());
        let text = table(&[GrantInfo { terms, ..example("active") }]);
        assert!(text.trim_end().ends_with("HIV test results and measurements are not shared."), "{text}");
        assert!(kept.iter().all(|sentence| text.contains(sentence)), "{text}");
    }
}
