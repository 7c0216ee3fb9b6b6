//! `chartmesh consent show`.

use chartmesh_node::api::{GrantInfo, Request};
use clap::Args;

use crate::{
    context::Context,
    failure::{Failure, Outcome},
};

/// Show one grant
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Its id, or the beginning of it
    grant: String,
}

impl Show {
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let info: GrantInfo = context.ask(Request::ConsentShow { grant: self.grant.clone() }).await?;
        context.output.answer(&info, super::render)?;
        Ok(Outcome::Done)
    }
}
