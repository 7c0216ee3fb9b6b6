//! `chartmesh doctor`.

use chartmesh_node::api::{DoctorInfo, Request};
use clap::Args;

use crate::{
    context::Context,
    failure::{Failure, Outcome},
    plain::{count, plain},
};

/// Check that everything stored is as it was written, and mend what is not; the exit code is 1 if damage is left
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Mend what can be mended: from what is held twice, and from peers who can be reached
    #[arg(long)]
    repair: bool,
}

impl Doctor {
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        context.output.progress("checking ...");
        let info: DoctorInfo = context.ask_closed(Request::Doctor { repair: self.repair }).await?;
        context.output.answer(&info, render)?;
        Ok(if info.ok { Outcome::Done } else { Outcome::Wrong })
    }
}

fn render(info: &DoctorInfo) -> String {
    let mut text = match (info.ok, info.findings.is_empty()) {
        (true, true) => "All is well.\n".to_owned(),
        (true, false) => "All is well again.\n".to_owned(),
        (false, _) => "Something is damaged.\n".to_owned(),
    };
    text.push_str(&format!(
        "Sound: {}; {}, {}, {}; {}, of which {} can be opened here.\n",
        count(info.values, "stored value", "stored values"),
        count(info.ledgers, "ledger", "ledgers"),
        count(info.charters, "charter version", "charter versions"),
        count(info.entries, "entry", "entries"),
        count(info.documents, "sealed document", "sealed documents"),
        info.opened,
    ));
    for finding in &info.findings {
        text.push_str(&format!(
            "\n{}: {}\n  what:  {}\n  means: {}\n",
            finding.state,
            plain(&finding.object),
            plain(&finding.problem),
            plain(&finding.meaning)
        ));
        if let Some(advice) = &finding.advice {
            text.push_str(&format!("  try:   {}\n", plain(advice)));
        }
    }
    if let Some(kept) = &info.kept {
        text.push_str(&format!("\nWhat was taken out is kept in {}; remove it when all is well.\n", plain(&kept.display().to_string())));
    }
    text
}

#[cfg(test)]
mod tests {
    use chartmesh_node::api::FindingInfo;

    use super::*;

    #[test]
    fn findings_say_what_they_mean_and_what_to_do() {
        let sound = DoctorInfo { ok: true, values: 240, ledgers: 1, charters: 2, entries: 90, documents: 57, opened: 57, ..DoctorInfo::default() };
        insta::assert_snapshot!(render(&sound), @r"
        All is well.
        Sound: 240 stored values; 1 ledger, 2 charter versions, 90 entries; 57 sealed documents, of which 57 can be opened here.
        ");
        let finding = |state: &str, advice: Option<&str>| FindingInfo {
            object: "document 3f2a".into(),
            problem: "its bytes are not those that it is named for".into(),
            state: state.into(),
            meaning: "its content cannot be shown".into(),
            advice: advice.map(Into::into),
        };
        let damaged = DoctorInfo {
            ok: false,
            findings: vec![finding("repaired", None), finding("lost", Some("run `chartmesh sync`"))],
            kept: Some("/home/x/damaged".into()),
            ..sound
        };
        insta::assert_snapshot!(render(&damaged), @r"
        Something is damaged.
        Sound: 240 stored values; 1 ledger, 2 charter versions, 90 entries; 57 sealed documents, of which 57 can be opened here.

        repaired: document 3f2a
          what:  its bytes are not those that it is named for
          means: its content cannot be shown

        lost: document 3f2a
          what:  its bytes are not those that it is named for
          means: its content cannot be shown
          try:   run `chartmesh sync`

        What was taken out is kept in /home/x/damaged; remove it when all is well.
        ");
    }
}
