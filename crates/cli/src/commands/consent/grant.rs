//! `chartmesh consent grant`.

use chartmesh_node::api::{GrantInfo, Request};
use clap::Args;

use super::terms::Terms;
use crate::{
    context::Context,
    failure::{Failure, Outcome},
};

/// Let a contact read, write or keep records; prints the id of the grant on the first line
#[derive(Debug, Args)]
pub(crate) struct Grant {
    /// The contact's short name
    peer: String,
    #[command(flatten)]
    terms: Terms,
}

impl Grant {
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let info: GrantInfo = context.ask(Request::ConsentGrant { peer: self.peer.clone(), terms: self.terms.input() }).await?;
        context.output.answer(&info, super::render)?;
        Ok(Outcome::Done)
    }
}
