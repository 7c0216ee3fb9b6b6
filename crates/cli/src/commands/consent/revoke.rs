//! `chartmesh consent revoke`.

use chartmesh_node::api::{GrantInfo, Request};
use clap::Args;

use crate::{
    context::Context,
    failure::{Failure, Outcome},
};

/// End a grant: nothing that comes after can be opened under it
///
/// What was read before stays known to who has read it.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// Its id, or the beginning of it
    grant: String,
    /// Why; only the patient and the contact can read it
    #[arg(long)]
    reason: Option<String>,
}

impl Revoke {
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let info: GrantInfo = context.ask(Request::ConsentRevoke { grant: self.grant.clone(), reason: self.reason.clone() }).await?;
        context.output.answer(&info, super::render)?;
        Ok(Outcome::Done)
    }
}
