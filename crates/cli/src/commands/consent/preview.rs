//! `chartmesh consent preview`.

use chartmesh_node::api::{PreviewInfo, Request};
use clap::Args;

use super::terms::Terms;
use crate::{
    context::Context,
    failure::{Failure, Outcome},
    plain::{count, plain, short},
    table::{Column, Table, bullets},
};

/// Show what a contact would be able to read, and change nothing
#[derive(Debug, Args)]
pub(crate) struct Preview {
    /// The contact's short name
    peer: String,
    #[command(flatten)]
    terms: Terms,
}

impl Preview {
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let info: PreviewInfo = context.ask(Request::ConsentPreview { peer: self.peer.clone(), terms: self.terms.input() }).await?;
        context.output.answer(&info, render)?;
        Ok(Outcome::Done)
    }
}

fn render(info: &PreviewInfo) -> String {
    let mut text = format!("{}\n{}", plain(&info.peer), bullets(&info.terms));
    text.push_str(&format!("would open {}; {} would stay closed\n", count(info.readable, "record", "records"), info.closed));
    if !info.beside.is_empty() {
        let beside: Vec<String> = info.beside.iter().map(short).collect();
        text.push_str(&format!("Counted along is what is open already by {}: {}\n", count(beside.len() as u64, "grant", "grants"), beside.join(", ")));
    }
    if !info.compartments.is_empty() {
        let mut table = Table::new([Column::whole("COMPARTMENT"), Column::number("OPEN"), Column::number("CLOSED"), Column::cut("BECAUSE", 20)]);
        for line in &info.compartments {
            table.row([line.compartment.clone(), line.readable.to_string(), line.closed.to_string(), line.because.join("; ")]);
        }
        text.push('\n');
        text.push_str(&table.render());
    }
    if !info.notices.is_empty() {
        text.push_str("\nThese notices go with the records:\n");
        text.push_str(&bullets(&info.notices));
    }
    text
}

#[cfg(test)]
mod tests {
    use chartmesh_node::api::PreviewLine;

    use super::*;

    #[test]
    fn a_preview_says_what_opens_and_why() {
        let line = |compartment: &str, readable, closed, because: &str| PreviewLine {
            compartment: compartment.into(),
            readable,
            closed,
            because: vec![because.into()],
        };
        let info = PreviewInfo {
            peer: "Dr Lee".into(),
            terms: vec!["may read everything".into(), "but not mental-health".into()],
            beside: vec![chartmesh_identity::GrantId::new([0x3b; 16])],
            readable: 300,
            closed: 12,
            compartments: vec![line("general/results", 300, 0, "may read everything"), line("mental-health/notes", 0, 12, "but not mental-health")],
            notices: vec!["42 CFR part 2 prohibits unauthorized use or disclosure of these records.".into()],
        };
        insta::assert_snapshot!(render(&info), @r"
        Dr Lee
          - may read everything
          - but not mental-health
        would open 300 records; 12 would stay closed
        Counted along is what is open already by 1 grant: 3b3b3b3b3b3b

        COMPARTMENT          OPEN  CLOSED  BECAUSE
        general/results       300       0  may read everything
        mental-health/notes     0      12  but not mental-health

        These notices go with the records:
          - 42 CFR part 2 prohibits unauthorized use or disclosure of these records.
        ");
    }
}
