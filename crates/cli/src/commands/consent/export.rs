//! `chartmesh consent export`.

use chartmesh_node::api::Request;
use clap::Args;

use crate::{
    context::Context,
    failure::{Failure, Outcome},
};

/// Print a grant as a FHIR R4 Consent
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Its id, or the beginning of it
    grant: String,
}

impl Export {
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let consent: Vec<u8> = context.ask(Request::ConsentExport { grant: self.grant.clone() }).await?;
        context.output.resource(&consent)?;
        Ok(Outcome::Done)
    }
}
