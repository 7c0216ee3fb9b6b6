//! `chartmesh status`.

use chartmesh_node::api::{Request, StatusInfo};
use clap::Args;

use crate::{
    context::Context,
    failure::{Failure, Outcome},
    plain::{count, plain},
    table::{Column, Table},
};

/// Show what this node holds, and whom it is connected to
#[derive(Debug, Args)]
pub(crate) struct Status {}

impl Status {
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let info: StatusInfo = context.ask(Request::Status).await?;
        context.output.answer(&info, render)?;
        Ok(Outcome::Done)
    }
}

fn render(info: &StatusInfo) -> String {
    let mut text = format!(
        "{} ({}), {}\n{}, {} held, {} still to come\n",
        plain(&info.name),
        info.kind,
        if info.running { "running" } else { "not running" },
        count(info.ledgers, "patient", "patients"),
        count(info.documents, "document", "documents"),
        info.pending
    );
    if let Some(notice) = &info.notice {
        text.push_str(&format!("attention: {}\n", plain(notice)));
    }
    if !info.peers.is_empty() {
        let mut table =
            Table::new([Column::cut("PEER", 16), Column::whole("KIND"), Column::whole("STATE"), Column::number("ROUND TRIP"), Column::number("TO COME")]);
        for peer in &info.peers {
            let state = match (peer.blocked, peer.online, peer.path.as_deref()) {
                (true, ..) => "blocked: its card has changed".to_owned(),
                (false, true, Some(path)) => format!("online, {path}"),
                (false, true, None) => "online".to_owned(),
                (false, false, _) => "offline".to_owned(),
            };
            let trip = peer.round_trip_us.map(|trip| format!("{}.{} ms", trip / 1000, trip % 1000 / 100)).unwrap_or_default();
            table.row([peer.name.clone(), peer.kind.clone(), state, trip, peer.pending.to_string()]);
        }
        text.push('\n');
        text.push_str(&table.render());
    }
    text
}

#[cfg(test)]
mod tests {
    use chartmesh_node::api::PeerStatus;

    use super::*;

    #[test]
    fn peers_are_shown_with_their_state() {
        let peer = |name: &str, online, blocked| PeerStatus {
            name: name.into(),
            kind: "practitioner".into(),
            online,
            path: online.then(|| "direct".into()),
            round_trip_us: online.then_some(12_345),
            pending: 3,
            blocked,
        };
        let peers = vec![peer("Dr Lee", true, false), peer("Dr Who", false, false), peer("Dr No", false, true)];
        let info =
            StatusInfo { name: "Maria Alvarez".into(), kind: "patient".into(), running: true, ledgers: 1, documents: 57, pending: 0, notice: None, peers };
        insta::assert_snapshot!(render(&info), @r"
        Maria Alvarez (patient), running
        1 patient, 57 documents held, 0 still to come

        PEER    KIND          STATE                          ROUND TRIP  TO COME
        Dr Lee  practitioner  online, direct                    12.3 ms        3
        Dr Who  practitioner  offline                                          3
        Dr No   practitioner  blocked: its card has changed                    3
        ");
    }
}
