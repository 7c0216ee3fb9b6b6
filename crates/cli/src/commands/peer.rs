//! `chartmesh peer`.

use chartmesh_node::api::{PeerInfo, Request};
use clap::Subcommand;

use crate::{
    context::Context,
    failure::{Failure, Outcome},
    files,
    plain::plain,
    table::{Column, Table, wrap},
};

/// Contacts: whom this node knows
#[derive(Debug, Subcommand)]
pub(crate) enum Peer {
    /// Add a contact from its ticket, or from a file with its card or an invitation
    Add {
        /// A ticket (`chartmesh:...`) or a file
        #[arg(value_name = "TICKET|FILE")]
        source: String,
        /// A short name for it here
        #[arg(long)]
        alias: Option<String>,
    },
    /// List the contacts
    List,
    /// Forget a contact that has no grant in force
    Remove {
        /// Its short name
        alias: String,
    },
}

impl Peer {
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        match self {
            Self::Add { source, alias } => {
                let source = files::source(source)?;
                let info: PeerInfo = context.ask(Request::PeerAdd { source, alias: alias.clone() }).await?;
                context.output.answer(&info, added)?;
            }
            Self::List => {
                let peers: Vec<PeerInfo> = context.ask(Request::PeerList).await?;
                context.output.answer(&peers, |peers| table(peers))?;
            }
            Self::Remove { alias } => {
                let info: PeerInfo = context.ask(Request::PeerRemove { alias: alias.clone() }).await?;
                context.output.answer(&info, |info| format!("{} is no longer a contact.\n", plain(&info.name)))?;
            }
        }
        Ok(Outcome::Done)
    }
}

fn added(info: &PeerInfo) -> String {
    let mut text = format!("{}: {} ({})\n  key {}\n", plain(&info.alias), plain(&info.name), info.kind, info.party);
    if info.blocked {
        text.push_str(&wrap(BLOCKED, "  ", "  "));
    }
    text
}

const BLOCKED: &str = "its card has changed: nothing is exchanged until you have asked them, removed the contact and added it again";

fn table(peers: &[PeerInfo]) -> String {
    if peers.is_empty() {
        return "No contacts yet. `chartmesh peer add TICKET` adds one.\n".to_owned();
    }
    let mut table = Table::new([Column::cut("ALIAS", 12), Column::cut("NAME", 16), Column::whole("KIND"), Column::whole("KEY"), Column::cut("STATE", 16)]);
    for peer in peers {
        let state = if peer.blocked { "blocked: its card has changed".to_owned() } else { peer.addresses.first().cloned().unwrap_or_default() };
        table.row([peer.alias.clone(), peer.name.clone(), peer.kind.clone(), peer.party.chars().take(12).collect(), state]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_are_told_apart() {
        let peer = |alias: &str, name: &str, blocked| PeerInfo {
            alias: alias.into(),
            name: name.into(),
            kind: "practitioner".into(),
            card: "00".repeat(32),
            party: "a1b2c3d4e5f60718".into(),
            endpoints: Vec::new(),
            addresses: vec!["192.0.2.7:4433".into()],
            blocked,
        };
        insta::assert_snapshot!(table(&[peer("lee", "Dr \u{202e}Lee", false), peer("st-marys", "St Mary's Hospital", true)]), @r"
        ALIAS     NAME                KIND          KEY           STATE
        lee       Dr Lee              practitioner  a1b2c3d4e5f6  192.0.2.7:4433
        st-marys  St Mary's Hospital  practitioner  a1b2c3d4e5f6  blocked: its card has changed
        ");
        insta::assert_snapshot!(added(&peer("lee", "Dr Lee", true)), @r"
        lee: Dr Lee (practitioner)
          key a1b2c3d4e5f60718
          its card has changed: nothing is exchanged until you have asked them, removed the contact and
          added it again
        ");
    }
}
