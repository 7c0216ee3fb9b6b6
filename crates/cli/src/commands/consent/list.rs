//! `chartmesh consent list`.

use chartmesh_node::api::{GrantInfo, Request};
use clap::Args;

use crate::{
    context::Context,
    failure::{Failure, Outcome},
    plain::short,
    table::{Column, Table},
};

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
        Column::cut("TO", 14),
        Column::whole("STATE"),
        Column::whole("SINCE"),
        Column::whole("UNTIL"),
        Column::number("OPENS"),
        Column::cut("TERMS", 16),
    ]);
    for grant in grants {
        let until = grant.until.as_deref().map(day).unwrap_or_default();
        table.row([short(&grant.grant), grant.peer.clone(), grant.state.clone(), day(&grant.since), until, grant.readable.to_string(), grant.terms.join(" ")]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn grants_are_listed_with_their_state() {
        insta::assert_snapshot!(table(&[example("active"), example("revoked")]), @r"
        GRANT         TO      STATE    SINCE       UNTIL       OPENS  TERMS
        2a2a2a2a2a2a  Dr Lee  active   2026-03-02  2026-06-01    312  may read everything but not mental-he…
        2a2a2a2a2a2a  Dr Lee  revoked  2026-03-02  2026-06-01    312  may read everything but not mental-he…
        ");
    }
}
