//! `chartmesh consent import`.

use std::path::PathBuf;

use chartmesh_node::api::{GrantInfo, Request};
use clap::Args;

use crate::{
    context::Context,
    failure::{Failure, Outcome},
    files,
};

/// Grant what a FHIR R4 Consent says; who it names must be a contact
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The Consent, as JSON
    file: PathBuf,
}

impl Import {
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let info: GrantInfo = context.ask(Request::ConsentImport { consent: files::read(&self.file)? }).await?;
        context.output.answer(&info, super::render)?;
        Ok(Outcome::Done)
    }
}
