//! `chartmesh init`.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use chartmesh_identity::{Kind, RecoveryWords};
use chartmesh_node::{
    api::{ApiError, CardInfo},
    setup,
};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::{
    context::Context,
    failure::{Failure, Outcome},
    files,
    plain::plain,
};

/// Make keys for a patient, a practitioner, an organization or a custodian
///
/// A patient also gets a ledger, and 24 recovery words that bring everything back if this device is lost. The words are shown once, or
/// written to a file; they are kept nowhere else.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Who this node acts for
    kind: Role,
    /// The name on the contact card, as others will read it
    #[arg(long)]
    name: String,
    /// Keep the keys without a passphrase, where the machine itself protects the disk
    #[arg(long)]
    no_passphrase: bool,
    /// Write the recovery words to this new file, which only its owner can read
    #[arg(long, value_name = "FILE")]
    recovery_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// A person who decides about their own records
    Patient,
    /// A clinician
    Practitioner,
    /// A hospital, a clinic, a laboratory
    Organization,
    /// Keeps and serves what it cannot read, so that a patient's device may be off
    Custodian,
}

impl From<Role> for Kind {
    fn from(role: Role) -> Self {
        match role {
            Role::Patient => Self::Patient,
            Role::Practitioner => Self::Practitioner,
            Role::Organization => Self::Organization,
            Role::Custodian => Self::Custodian,
        }
    }
}

/// The new node (schemas/cli/init.schema.json).
#[derive(Serialize)]
struct InitInfo<'a> {
    #[serde(flatten)]
    card: &'a CardInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_file: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_words: Option<&'a str>,
}

impl Init {
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let home = context.home()?;
        if self.recovery_file.is_some() && self.kind != Role::Patient {
            return Err(ApiError::usage("only a patient has recovery words").advise("the same command without --recovery-file").into());
        }
        let passphrase = context.new_passphrase(self.no_passphrase)?;
        // Made first: words that could not be written would be lost.
        let file = self.recovery_file.as_deref().map(|path| Ok::<_, ApiError>((files::create_secret(path)?, files::full(path)?))).transpose()?;
        let path = file.as_ref().map(|(_, path)| path.clone());
        let made = setup::draft(&home, self.kind.into(), &self.name).and_then(|draft| {
            // Before there is a home: one whose words nobody has must not be.
            let kept = keep(file, draft.words.as_ref());
            Ok((draft.finish(passphrase.as_ref())?, kept))
        });
        let (made, (written, words)) = made.inspect_err(|_| {
            if let Some(path) = &path {
                // It is empty, or its words are good for nothing; if it stays, no harm is done.
                let _ = fs::remove_file(path);
            }
        })?;
        let info = InitInfo { card: &made.card, recovery_file: written.as_deref(), recovery_words: words.as_deref().map(String::as_str) };
        context.output.answer(&info, render)?;
        Ok(Outcome::Done)
    }
}

/// Writes the words to the file; gives the path, or else the words, which then have to be shown.
fn keep(file: Option<(File, PathBuf)>, words: Option<&RecoveryWords>) -> (Option<PathBuf>, Option<zeroize::Zeroizing<String>>) {
    let Some(words) = words.map(RecoveryWords::expose) else { return (None, None) };
    match file.map(|(file, path)| write(file, &words).map(|()| path)) {
        Some(Ok(path)) => (Some(path), None),
        Some(Err(_)) | None => (None, Some(words)),
    }
}

fn write(mut file: File, words: &str) -> io::Result<()> {
    file.write_all(words.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

fn render(info: &InitInfo<'_>) -> String {
    let mut text = format!("{} is set up ({}).\n  ticket: {}\n", plain(&info.card.name), info.card.kind, info.card.ticket);
    if let Some(ledger) = &info.card.ledger {
        text.push_str(&format!("  ledger: {ledger}\n"));
    }
    if let Some(path) = info.recovery_file {
        text.push_str(&format!("\nThe recovery words are in {}.\n{CARE}", path.display()));
    }
    if let Some(words) = info.recovery_words {
        text.push_str("\nRecovery words, shown this once:\n\n");
        let words: Vec<_> = words.split(' ').collect();
        for row in 0..words.len().div_ceil(4) {
            let cells = words.iter().enumerate().skip(row * 4).take(4).map(|(index, word)| format!("{:>4} {word:<10}", index + 1));
            text.push_str(cells.collect::<String>().trim_end());
            text.push('\n');
        }
        text.push_str(&format!("\n{CARE}"));
    }
    text
}

const CARE: &str = "Keep them on paper, in a safe place: they bring everything back, to you or to whoever finds them.\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> CardInfo {
        CardInfo {
            name: "Maria Alvarez".into(),
            kind: "patient".into(),
            ticket: "chartmesh:AQ".into(),
            card: "00".into(),
            party: "01".into(),
            endpoint: "02".into(),
            addresses: Vec::new(),
            ledger: None,
            signed: "03".into(),
        }
    }

    #[test]
    fn words_are_shown_in_order() {
        let words = (1..=24).map(|n| format!("word{n}")).collect::<Vec<_>>().join(" ");
        let text = render(&InitInfo { card: &card(), recovery_file: None, recovery_words: Some(&words) });
        insta::assert_snapshot!(text, @r"
        Maria Alvarez is set up (patient).
          ticket: chartmesh:AQ

        Recovery words, shown this once:

           1 word1        2 word2        3 word3        4 word4
           5 word5        6 word6        7 word7        8 word8
           9 word9       10 word10      11 word11      12 word12
          13 word13      14 word14      15 word15      16 word16
          17 word17      18 word18      19 word19      20 word20
          21 word21      22 word22      23 word23      24 word24

        Keep them on paper, in a safe place: they bring everything back, to you or to whoever finds them.
        ");
    }

    #[test]
    fn words_that_are_in_a_file_are_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("words");
        let words = RecoveryWords::generate();
        let (written, shown) = keep(Some((files::create_secret(&path).unwrap(), path.clone())), Some(&words));
        assert_eq!((written, shown), (Some(path.clone()), None));
        assert_eq!(fs::read_to_string(path).unwrap().trim_end(), *words.expose());
        assert_eq!(keep(None, Some(&words)).1, Some(words.expose()));
    }
}
