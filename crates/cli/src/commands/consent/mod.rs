//! `chartmesh consent`.

mod export;
mod grant;
mod import;
mod invitation;
mod list;
mod preview;
mod revoke;
mod show;
mod terms;

use chartmesh_node::api::GrantInfo;
use clap::Subcommand;

use crate::{
    context::Context,
    failure::{Failure, Outcome},
    plain::{count, minute, plain, short},
    table::bullets,
};

/// Consent: who may read or write, and what
#[derive(Debug, Subcommand)]
pub(crate) enum Consent {
    Preview(preview::Preview),
    Grant(grant::Grant),
    List(list::List),
    Show(show::Show),
    Revoke(revoke::Revoke),
    Export(export::Export),
    Import(import::Import),
    Invitation(invitation::Invitation),
}

impl Consent {
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        match self {
            Self::Preview(command) => command.run(context).await,
            Self::Grant(command) => command.run(context).await,
            Self::List(command) => command.run(context).await,
            Self::Show(command) => command.run(context).await,
            Self::Revoke(command) => command.run(context).await,
            Self::Export(command) => command.run(context).await,
            Self::Import(command) => command.run(context).await,
            Self::Invitation(command) => command.run(context).await,
        }
    }
}

/// A grant in full. Its id stands alone on the first line, so that a script can take it from there.
fn render(grant: &GrantInfo) -> String {
    let mut text = format!("{}\n{} ({})", grant.grant, plain(&grant.peer), grant.state);
    text.push_str(&format!(", since {}", minute(&grant.since)));
    if let Some(until) = &grant.until {
        text.push_str(&format!(", until {}", minute(until)));
    }
    text.push('\n');
    if let Some(reason) = &grant.reason {
        text.push_str(&format!("reason: {}\n", plain(reason)));
    }
    text.push_str(&bullets(&grant.terms));
    text.push_str(&format!("opens {} today\n", count(grant.readable, "record", "records")));
    let beside: Vec<String> = grant.beside.iter().map(short).collect();
    let peer = plain(&grant.peer);
    if !beside.is_empty() {
        let (others, opens) = (count(beside.len() as u64, "other grant", "other grants"), count(grant.open, "record", "records"));
        text.push_str(&format!(
            "Take a look: {peer} has {others} in force ({}), and what any of them opens is open: {opens} today. `chartmesh consent revoke` ends one.\n",
            beside.join(", ")
        ));
    } else if grant.state != "active" {
        text.push_str(&format!("Nothing new opens for {peer}, and nothing more is taken from there. What was received before cannot be taken back.\n"));
    }
    for note in &grant.notes {
        text.push_str(&format!("{}\n", plain(note)));
    }
    if !grant.confirmed.is_empty() {
        let nodes: Vec<_> = grant.confirmed.iter().map(|node| plain(node)).collect();
        text.push_str(&format!("confirmed by {}\n", nodes.join(", ")));
    }
    text
}

#[cfg(test)]
fn example(state: &str) -> GrantInfo {
    use chartmesh_identity::{GrantId, LedgerId};
    GrantInfo {
        grant: GrantId::new([0x2a; 16]),
        patient: LedgerId::new([1; 32]),
        patient_name: None,
        peer: "Dr \u{202e}Lee".into(),
        party: "b2".into(),
        state: state.into(),
        terms: vec!["may read everything".into(), "but not mental-health".into()],
        since: "2026-03-02T09:41:07Z".into(),
        until: Some("2026-06-01T00:00:00Z".into()),
        reason: (state == "revoked").then(|| "moved \u{202e}away".into()),
        write: false,
        ready: None,
        custodian: false,
        purpose: vec!["TREAT".into()],
        readable: 312,
        beside: Vec::new(),
        open: 312,
        notes: Vec::new(),
        confirmed: vec!["Dr Lee".into()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_grant_says_what_cannot_be_taken_back() {
        insta::assert_snapshot!(render(&GrantInfo { readable: 0, ..example("revoked") }), @r"
        2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a
        Dr Lee (revoked), since 2026-03-02 09:41, until 2026-06-01 00:00
        reason: moved away
          - may read everything
          - but not mental-health
        opens 0 records today
        Nothing new opens for Dr Lee, and nothing more is taken from there. What was received before cannot be taken back.
        confirmed by Dr Lee
        ");
    }

    #[test]
    fn other_grants_to_the_same_peer_are_told_of() {
        use chartmesh_identity::GrantId;
        insta::assert_snapshot!(render(&GrantInfo { readable: 0, beside: vec![GrantId::new([0x3b; 16])], open: 340, ..example("revoked") }), @r"
        2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a
        Dr Lee (revoked), since 2026-03-02 09:41, until 2026-06-01 00:00
        reason: moved away
          - may read everything
          - but not mental-health
        opens 0 records today
        Take a look: Dr Lee has 1 other grant in force (3b3b3b3b3b3b), and what any of them opens is open: 340 records today. `chartmesh consent revoke` ends one.
        confirmed by Dr Lee
        ");
    }

    #[test]
    fn a_grant_begins_with_its_id() {
        insta::assert_snapshot!(render(&example("active")), @r"
        2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a2a
        Dr Lee (active), since 2026-03-02 09:41, until 2026-06-01 00:00
          - may read everything
          - but not mental-health
        opens 312 records today
        confirmed by Dr Lee
        ");
    }
}
