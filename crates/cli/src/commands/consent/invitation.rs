//! `chartmesh consent invitation`.

use std::path::PathBuf;

use chartmesh_node::api::Request;
use clap::Args;

use crate::{
    context::Context,
    failure::{Failure, Outcome},
    files::{self, Readers, Written},
};

/// Write the invitation that goes with a grant, to be carried as a file; only the contact can open it
#[derive(Debug, Args)]
pub(crate) struct Invitation {
    /// The grant's id, or the beginning of it
    grant: String,
    /// Where to
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Invitation {
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let bytes: Vec<u8> = context.ask(Request::ConsentInvitation { grant: self.grant.clone() }).await?;
        context.output.answer(&files::write(&self.out, &bytes, Readers::Umask)?, Written::words)?;
        Ok(Outcome::Done)
    }
}
