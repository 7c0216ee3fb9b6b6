//! `chartmesh sync`.

use std::time::Duration;

use chartmesh_node::api::{Request, SyncInfo};
use clap::Args;

use crate::{
    context::Context,
    duration,
    failure::{Failure, Outcome},
    plain::{count, plain},
    table::bullets,
};

/// Exchange what is new with everyone who can be reached, then stop
#[derive(Debug, Args)]
pub(crate) struct Sync {
    /// Give up after this time
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration::parse)]
    timeout: Duration,
}

impl Sync {
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let timeout_ms = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        context.output.progress("exchanging ...");
        let info: SyncInfo = context.ask(Request::Sync { timeout_ms }).await?;
        context.output.answer(&info, render)?;
        Ok(Outcome::Done)
    }
}

fn render(info: &SyncInfo) -> String {
    let reached: Vec<_> = info.reached.iter().map(|name| plain(name)).collect();
    let mut text = format!(
        "Reached {}: {} and {} received, {} still to come.\n",
        if reached.is_empty() { "nobody".to_owned() } else { reached.join(", ") },
        count(info.entries, "ledger entry", "ledger entries"),
        count(info.documents, "document", "documents"),
        info.pending
    );
    if !info.missed.is_empty() {
        text.push_str("Not reached, or not done in time:\n");
        text.push_str(&bullets(&info.missed));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_missed_is_said() {
        let info = SyncInfo { reached: vec!["Dr Lee".into()], missed: vec!["St Mary's: no answer".into()], entries: 1, documents: 20, pending: 3 };
        insta::assert_snapshot!(render(&info), @r"
        Reached Dr Lee: 1 ledger entry and 20 documents received, 3 still to come.
        Not reached, or not done in time:
          - St Mary's: no answer
        ");
    }
}
