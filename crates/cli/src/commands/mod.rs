//! The commands, one file each; the doc comments are the help texts.

mod audit;
mod card;
mod consent;
mod demo;
mod doctor;
mod import;
mod init;
mod key;
mod ledger;
mod peer;
mod records;
mod recover;
mod serve;
mod status;
mod sync;

use clap::Subcommand;

use crate::{
    context::Context,
    failure::{Failure, Outcome},
};

/// A command with its arguments.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(init::Init),
    Recover(recover::Recover),
    Card(card::Card),
    #[command(subcommand)]
    Peer(peer::Peer),
    Serve(serve::Serve),
    Import(import::Import),
    #[command(subcommand)]
    Records(records::Records),
    #[command(subcommand)]
    Key(key::Key),
    #[command(subcommand)]
    Consent(consent::Consent),
    #[command(subcommand)]
    Ledger(ledger::Ledger),
    Audit(audit::Audit),
    Sync(sync::Sync),
    Status(status::Status),
    Doctor(doctor::Doctor),
    Demo(demo::Demo),
}

impl Command {
    /// Runs it.
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        match self {
            Self::Init(command) => command.run(context),
            Self::Recover(command) => command.run(context).await,
            Self::Card(command) => command.run(context).await,
            Self::Peer(command) => command.run(context).await,
            Self::Serve(command) => command.run(context).await,
            Self::Import(command) => command.run(context).await,
            Self::Records(command) => command.run(context).await,
            Self::Key(command) => command.run(context).await,
            Self::Consent(command) => command.run(context).await,
            Self::Ledger(command) => command.run(context).await,
            Self::Audit(command) => command.run(context).await,
            Self::Sync(command) => command.run(context).await,
            Self::Status(command) => command.run(context).await,
            Self::Doctor(command) => command.run(context).await,
            Self::Demo(command) => command.run(context).await,
        }
    }
}
