//! `chartmesh recover`.

use std::{path::PathBuf, time::Duration};

use chartmesh_identity::RecoveryWords;
use chartmesh_node::{
    api::ApiError,
    setup::{self, Recovered},
};
use clap::Args;

use crate::{
    context::Context,
    duration,
    failure::{Failure, Outcome},
    files,
    plain::count,
};

/// Bring a patient's records back on a new device, from the recovery words
///
/// The words, and any custodian or device that is still there, are enough. The lost device has no authority afterwards.
#[derive(Debug, Args)]
pub(crate) struct Recover {
    /// A file with the 24 recovery words
    #[arg(long, value_name = "FILE")]
    words_file: PathBuf,
    /// The ticket, or a file with the card, of a custodian or a device of the patient
    #[arg(long, value_name = "TICKET|FILE")]
    from: String,
    /// Also from one that is no custodian or device of the patient any more; what was signed since and is not there loses its authority
    #[arg(long)]
    former: bool,
    /// The name on the new card; by default that of the lost device
    #[arg(long)]
    name: Option<String>,
    /// Keep the keys without a passphrase, where the machine itself protects the disk
    #[arg(long)]
    no_passphrase: bool,
    /// Give up after this time
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration::parse)]
    timeout: Duration,
}

impl Recover {
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let home = context.home()?;
        let words = RecoveryWords::parse(&files::read_secret(&self.words_file)?).map_err(|error| {
            ApiError::failed(format_args!("{}: {error}", self.words_file.display())).advise("compare the file with the words as they were written down")
        })?;
        let from = files::source(&self.from)?;
        let passphrase = context.new_passphrase(self.no_passphrase)?;
        context.output.progress("bringing back what the words open ...");
        let info = setup::recover(&home, &words, from, self.former, self.name.as_deref(), passphrase.as_ref(), self.timeout).await?;
        context.output.answer(&info, render)?;
        Ok(Outcome::Done)
    }
}

fn render(info: &Recovered) -> String {
    let mut text = format!(
        "Back: {} and {}.\n  ledger: {}\n",
        count(info.entries, "ledger entry", "ledger entries"),
        count(info.documents, "document", "documents"),
        info.ledger
    );
    if info.missing > 0 {
        text.push_str(&format!("{} still missing: `chartmesh sync` fetches what others hold.\n", count(info.missing, "document is", "documents are")));
    }
    if info.suspended > 0 {
        text.push_str(&format!("{} no authority any more.\n", count(info.suspended, "earlier device has", "earlier devices have")));
    }
    text
}

#[cfg(test)]
mod tests {
    use chartmesh_identity::LedgerId;

    use super::*;

    #[test]
    fn what_is_missing_is_said() {
        let info = Recovered { ledger: LedgerId::new([1; 32]), entries: 240, documents: 56, missing: 1, suspended: 1 };
        insta::assert_snapshot!(render(&info), @r"
        Back: 240 ledger entries and 56 documents.
          ledger: 0101010101010101010101010101010101010101010101010101010101010101
        1 document is still missing: `chartmesh sync` fetches what others hold.
        1 earlier device has no authority any more.
        ");
    }
}
